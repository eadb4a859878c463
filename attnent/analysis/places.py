"""Where tokens stand in their solution, and the spans that are compared: wrong ones, and the like of right solutions.

A span is some steps of one response; here each is a row. Tables in, tables out; nothing here knows how a wrong line was
found. A wrong solution gives one row; a right one gives a row for every span of the same sort.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int
from scipy import sparse

from attnent.analysis.expressions import KINDS, described, expressions
from attnent.trace import split_lines

TENTHS = 10
FEWEST_IN_CELL = 20  # reference tokens a cell must have to say what is usual there
WRONG, RIGHT = "wrong", "right"
PLACE = ("line", "n_lines", "share", "first", "last")  # of a row: its line, of how many, how far down, and at an end
COUNTS = ("n_tokens", "first_digits", "last_digits", "result_digits")

Part = Literal["line", "quote"]
Ordinary = Literal["rest", "before"]  # the rest of the response, or only what stands before the span


# ---- tokens


def placed(tokens: pd.DataFrame, responses: pd.DataFrame) -> pd.DataFrame:
    """The token table of a Run with the place of every token: `line`, `n_lines` and `cell` (see `cells`).

    A line is one of `split_lines`, counted from 0; -1 is what stands between lines.
    """
    spans = responses.set_index("response_id")["response"].map(split_lines)
    by_response = tokens.groupby("response_id", sort=False)
    lines = [_lines(rows, spans[name]) for name, rows in by_response]
    return tokens.assign(
        line=np.concatenate(lines), n_lines=tokens["response_id"].map(spans.map(len)), cell=cells(tokens)
    )


def cells(tokens: pd.DataFrame) -> pd.Series:
    """Of each token its class (number, operator, word, mark, space, end) and the tenth of the response, as "word 3"."""
    n_steps = tokens.groupby("response_id", sort=False)["step"].transform("max") + 1
    return _token_classes(tokens) + " " + (tokens["step"] * TENTHS // n_steps).astype(str)


def _lines(tokens: pd.DataFrame, spans: Sequence[tuple[int, int]]) -> Int[np.ndarray, " step"]:
    """The line that each token of one response writes, the first of two; -1 for what stands between lines."""
    starts, stops = np.array([*spans, (np.inf, np.inf)]).T
    line = np.searchsorted(stops, tokens["char_start"], side="right")
    return np.where(tokens["char_end"] > starts[line], line, -1)


def _token_classes(tokens: pd.DataFrame) -> pd.Series:
    text = tokens["token"].str.strip()
    kinds = {
        "end": tokens["char_start"] == tokens["char_end"],
        "space": text == "",
        "number": text.str.contains(r"\d"),
        "word": text.str.contains(r"[^\W_]"),
        "operator": text.str.contains(r"[-+*/=×÷−<>^%]"),
    }
    return pd.Series(np.select(list(kinds.values()), list(kinds), default="mark"), index=tokens.index)


def adjusted(tokens: pd.DataFrame, values: pd.DataFrame, right: Sequence[str]) -> pd.DataFrame:
    """`values` (a row a token of `tokens`) less their mean over the tokens of right responses in the same cell.

    NaN where the right responses have fewer than FEWEST_IN_CELL tokens of that class in that tenth.
    """
    usual = tokens["response_id"].isin(right)
    cells = tokens.loc[usual, "cell"]
    common = cells.groupby(cells).size() >= FEWEST_IN_CELL
    means = values[usual].groupby(cells).mean()[common]
    return values - means.reindex(tokens["cell"]).set_axis(values.index)


# ---- spans as rows


def spans_of(errors: pd.DataFrame) -> pd.DataFrame:
    """The wrong lines that one critic found, indexed by response_id: line, start, stop, and the critic's kind.

    `errors` are its labels (see `attnent.critic`). `quote_start` and `quote_stop` are the span of its quote.
    """
    found = errors[errors["outcome"] == "found"].set_index("response_id")
    edges = {
        "line_start": "start",
        "line_stop": "stop",
        "token_start": "quote_start",
        "token_stop": "quote_stop",
    }
    return found.rename(columns=edges)[["line", *edges.values()]].astype(int).join(found["kind"])


def comparable(
    tokens: pd.DataFrame, responses: pd.DataFrame, spans: pd.DataFrame, right: Sequence[str], part: Part = "line"
) -> pd.DataFrame:
    """The wrong line of each wrong solution, or the expression in its quote, and every one of its like in right ones.

    `tokens` are `placed`, `spans` are `spans_of`. A row has response_id, cluster (the `group` of its response), group
    (WRONG or RIGHT), error (the critic's kind; missing for right ones), its steps start and stop, PLACE, COUNTS, and
    what `described` says of it: expression and operator. An expression is compared with those of its kind alone, and
    any row with solutions of as many lines; what finds no like is left out.
    """
    texts = responses.set_index("response_id")
    names = [name for name in texts.index if name in spans.index or name in set(right)]
    chars = dict(list(tokens[tokens["response_id"].isin(names)].groupby("response_id")[["char_start", "char_end"]]))
    rows = [
        (name, *row)
        for name in names
        if name in chars
        for row in _candidates(texts.at[name, "response"], *chars[name].to_numpy().T, part)
    ]
    columns = ["response_id", "line", "n_lines", "start", "stop", "expression", "operator", *COUNTS[1:]]
    table = pd.DataFrame(rows, columns=columns)
    table = table[_chosen(table, spans, part) | ~table["response_id"].isin(spans.index)]
    table["group"] = np.where(table["response_id"].isin(spans.index), WRONG, RIGHT)
    for like in ("expression", "n_lines"):
        both = set.intersection(*(set(table.loc[table["group"] == of, like]) for of in (WRONG, RIGHT)))
        table = table[table[like].isin(both)]
    return table.assign(
        cluster=table["response_id"].map(texts["group"]),
        error=table["response_id"].map(spans["kind"]),
        share=table["line"] / (table["n_lines"] - 1).clip(lower=1),
        first=(table["line"] == 0).astype(float),
        last=(table["line"] == table["n_lines"] - 1).astype(float),
        n_tokens=table["stop"] - table["start"],
    ).reset_index(drop=True)


def _candidates(
    text: str, char_start: Int[np.ndarray, " step"], char_end: Int[np.ndarray, " step"], part: Part
) -> Iterator[tuple]:
    """Every line of a response, or every expression in its lines: line, n_lines, steps and what it is."""
    found, lines = expressions(text), split_lines(text)
    for line, (start, stop) in enumerate(lines):
        within = [one for one in found if start <= one.start and one.stop <= stop]
        whole = described(within, start, stop)._replace(start=start, stop=stop)
        for one in [whole] if part == "line" else within:
            steps = np.searchsorted(char_end, one.start, "right"), np.searchsorted(char_start, one.stop)
            yield line, len(lines), *map(int, steps), one.kind, *one[3:]


def _chosen(table: pd.DataFrame, spans: pd.DataFrame, part: Part) -> pd.Series:
    """Which candidates of wrong responses are the wrong line, or the first of the best kind in the quote."""
    edges = ("start", "stop") if part == "line" else ("quote_start", "quote_stop")
    start, stop = (table["response_id"].map(spans[edge]) for edge in edges)
    inside = table[(table["start"] >= start) & (table["stop"] <= stop)]
    if part == "line":
        inside = table[table["line"] == table["response_id"].map(spans["line"])]
    best = inside.assign(rank=inside["expression"].map(KINDS.index)).sort_values(["rank", "start"], kind="stable")
    return pd.Series(table.index.isin(best.drop_duplicates("response_id").index), index=table.index)


def just_before(rows: pd.DataFrame, n: int = 5) -> pd.DataFrame:
    """The up to `n` tokens before each span, as rows; what begins its response is left out."""
    start = (rows["start"] - n).clip(lower=0)
    return rows.assign(start=start, stop=rows["start"], n_tokens=rows["start"] - start)[rows["start"] > 0]


def held(rows: pd.DataFrame) -> pd.DataFrame:
    """What the form of each span is, as numbers that can be held fixed: COUNTS, and 0 or 1 for each expression and
    operator."""
    forms = pd.get_dummies(rows[["expression", "operator"]], dtype=float)
    return rows[[*COUNTS]].astype(float).join(forms.loc[:, forms.nunique() > 1])


# ---- one contrast a row


def contrasts(
    tokens: pd.DataFrame, values: pd.DataFrame, rows: pd.DataFrame, *, ordinary: Ordinary = "rest"
) -> pd.DataFrame:
    """Mean of `values` over each span less that over the ordinary tokens of the same response, a row a row of `rows`.

    `values` has a row a token of `tokens`, which keeps the steps of a response together and in order. Ordinary are the
    rest of the response, or only what stands before the span. NaN where there are no such tokens with a value.
    """
    first, size = (of.to_numpy(int) for of in firsts_and_sizes(tokens, rows))
    start, stop = rows["start"].to_numpy(int), rows["stop"].to_numpy(int)
    span = _ones(first + start, first + stop, len(tokens))
    others = _ones(first, first + start, len(tokens))
    if ordinary == "rest":
        others = others + _ones(first + stop, first + size, len(tokens))
    filled, known = values.fillna(0.0).to_numpy(), values.notna().to_numpy(float)
    with np.errstate(invalid="ignore"):
        of_span, of_others = ((chosen @ filled) / (chosen @ known) for chosen in (span, others))
    return pd.DataFrame(of_span - of_others, rows.index, values.columns)


def firsts_and_sizes(tokens: pd.DataFrame, rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """At which row of `tokens` the response of each span begins, and how many tokens it has."""
    size = tokens.groupby("response_id", sort=False).size()
    return rows["response_id"].map(size.cumsum() - size), rows["response_id"].map(size)


def heads_by_token(tokens: pd.DataFrame, values: xr.DataArray) -> pd.DataFrame:
    """A stacked measure, (response, layer, head, step), as a table: a row a token and a column a head."""
    by_step = values.transpose("response", "step", "layer", "head").to_numpy()
    row = pd.Index(values["response"].to_numpy()).get_indexer(tokens["response_id"])
    return pd.DataFrame(by_step[row, tokens["step"].to_numpy()].reshape(len(tokens), -1), index=tokens.index)


def _ones(
    start: Int[np.ndarray, " row"], stop: Int[np.ndarray, " row"], n: int
) -> Float[sparse.csr_array, "row token"]:
    """1 for the tokens [start, stop) of each row."""
    edges = np.cumsum([0, *(stop - start)])
    tokens = np.arange(edges[-1]) + np.repeat(start - edges[:-1], stop - start)
    return sparse.csr_array((np.ones(edges[-1]), tokens, edges), shape=(len(start), n))
