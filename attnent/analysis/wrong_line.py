"""The moment a response went wrong, against the other tokens of the same response.

A moment is a span of steps that a critic marked. The unit is the response: every comparison is one difference a
response, moment less ordinary tokens, so what sets whole responses apart (length, difficulty) cancels. What the place
in the response and the class of the token explain is taken away first, by what tokens of that place and class are in
right responses. Tables in, tables out; nothing here knows how a moment was found.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Int

from attnent.analysis.comparison import compare, compare_adjusted, compare_paired
from attnent.analysis.verdicts import BASELINES, COMPARED, PRIMARY, Comparison, Stage
from attnent.trace import split_lines

TENTHS = 10
FEWEST_IN_CELL = 20  # reference tokens a cell must have to say what is usual there
WRONG, RIGHT = "wrong", "right"

Ordinary = Literal["rest", "before"]  # the rest of the response, or only what stands before the span


# ---- tokens, their places, and the tokens of a moment


def placed(tokens: pd.DataFrame, responses: pd.DataFrame) -> pd.DataFrame:
    """The token table of a Run with the place of every token: `line`, `n_lines` and `cell`.

    A line is one of `split_lines`, counted from 0; -1 is what stands between lines. A cell is a class of tokens
    (number, operator, word, mark, space, end) in one tenth of the response.
    """
    spans = responses.set_index("response_id")["response"].map(split_lines)
    by_response = tokens.groupby("response_id", sort=False)
    lines = [_lines(rows, spans[name]) for name, rows in by_response]
    tenth = tokens["step"] * TENTHS // (by_response["step"].transform("max") + 1)
    return tokens.assign(
        line=np.concatenate(lines),
        n_lines=tokens["response_id"].map(spans.map(len)),
        cell=_token_classes(tokens) + " " + tenth.astype(str),
    )


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


def inside(tokens: pd.DataFrame, spans: pd.DataFrame) -> pd.Series:
    """Which tokens lie in the span of their response; `spans` is indexed by response_id: start and stop (half open)."""
    start, stop = (tokens["response_id"].map(spans[edge]) for edge in ("start", "stop"))
    return (tokens["step"] >= start) & (tokens["step"] < stop)


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


def partners(tokens: pd.DataFrame, spans: pd.DataFrame, right: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """The same place in a right response with as many lines, for each wrong one: what place alone would make.

    `spans` is indexed by the wrong response_id: line, start, stop. The partner of a whole line is the whole line; of
    any other span, that which stands as far from the start of the line. A right response is used once at most; a wrong
    one that finds none is left out. Indexed by the right response_id: line, start, stop, and wrong, its partner.
    """
    rng = np.random.default_rng(seed)
    n_lines = tokens.groupby("response_id", sort=False)["n_lines"].first()
    usable = n_lines[n_lines.index.isin(set(right))]
    free = {n: list(rng.permutation(names)) for n, names in usable.groupby(usable).groups.items()}
    found = [
        {"response_id": str(free[n_lines[name]].pop()), "wrong": name, "line": line}
        for name, line in spans["line"].items()
        if free.get(n_lines[name])
    ]
    pairs = pd.DataFrame(found, columns=["response_id", "wrong", "line"])
    steps = tokens.groupby(["response_id", "line"])["step"]
    edges = pd.DataFrame({"start": steps.min(), "stop": steps.max() + 1})
    line_of_wrong, line_of_right = (
        edges.reindex(pd.MultiIndex.from_frame(pairs[[who, "line"]])) for who in ("wrong", "response_id")
    )
    span = spans.loc[pairs["wrong"], ["start", "stop"]].to_numpy()
    whole = (span == line_of_wrong.to_numpy()).all(axis=1, keepdims=True)
    shifted = span + (line_of_right["start"].to_numpy() - line_of_wrong["start"].to_numpy())[:, None]
    pairs[["start", "stop"]] = np.where(whole, line_of_right.to_numpy(), shifted)
    return pairs.set_index("response_id")


def in_pairs(tokens: pd.DataFrame, spans: pd.DataFrame, right: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """The spans that have a partner, and their `partners`, indexed by response_id: start, stop, group.

    The group is WRONG or RIGHT.
    """
    pairs = partners(tokens, spans, right, seed=seed)
    both = pd.concat([spans.loc[pairs["wrong"]].assign(group=WRONG), pairs.assign(group=RIGHT)])
    return both[["start", "stop", "group"]]


def around(
    tokens: pd.DataFrame, spans: pd.DataFrame, right: Sequence[str], *, reach: int = 20, seed: int = 0
) -> tuple[pd.DataFrame, pd.Series]:
    """The tokens up to `reach` steps from the start of each span, and of its partner's, with `step` counted from there.

    Gives them with the group of each response: WRONG or RIGHT.
    """
    pairs = partners(tokens, spans, right, seed=seed)
    start = pd.concat([spans["start"], pairs["start"]])
    groups = pd.Series(np.where(start.index.isin(pairs.index), RIGHT, WRONG), index=start.index)
    step = tokens["step"] - tokens["response_id"].map(start)
    return tokens.assign(step=step)[step.abs() <= reach], groups


# ---- one difference a response


def adjusted(tokens: pd.DataFrame, values: pd.DataFrame, right: Sequence[str]) -> pd.DataFrame:
    """`values` (a row a token of `tokens`) less their mean over the tokens of right responses in the same cell.

    NaN where the right responses have fewer than FEWEST_IN_CELL tokens of that class in that tenth.
    """
    usual = tokens["response_id"].isin(right)
    cells = tokens.loc[usual, "cell"]
    common = cells.groupby(cells).size() >= FEWEST_IN_CELL
    means = values[usual].groupby(cells).mean()[common]
    return values - means.reindex(tokens["cell"]).set_axis(values.index)


def differences(
    tokens: pd.DataFrame, values: pd.DataFrame, spans: pd.DataFrame, *, ordinary: Ordinary = "rest"
) -> pd.DataFrame:
    """Mean of `values` over each span less that over the ordinary tokens, a row a response that has both.

    `values` has a row a token of `tokens`. Ordinary are the rest of the response, or only what stands before the span.
    """
    moment = inside(tokens, spans)
    start = tokens["response_id"].map(spans["start"])
    others = start.notna() & ~moment if ordinary == "rest" else tokens["step"] < start
    of_moment, of_others = (
        values[chosen].groupby(tokens.loc[chosen, "response_id"], sort=False).mean() for chosen in (moment, others)
    )
    return (of_moment - of_others).dropna(how="all")


def controlled(
    tokens: pd.DataFrame,
    spans: pd.DataFrame,
    right: Sequence[str],
    *,
    measures: Sequence[str] = COMPARED,
    primary: Sequence[str] = PRIMARY,
    ordinary: Ordinary = "rest",
    seed: int = 0,
) -> Comparison:
    """Moment less ordinary tokens under ever more control.

    Raw and with place and class taken away (`adjusted`), where auroc is the share of responses with a positive
    difference; these differences against those at the same place of right responses (`partners`); and the last with
    the differences of the token baselines held fixed too.
    """
    rows = [*measures, *BASELINES]
    pairs = in_pairs(tokens, spans, right, seed=seed)
    values = adjusted(tokens, tokens[rows], right)
    both, groups = differences(tokens, values, pairs, ordinary=ordinary), pairs["group"]
    stages: dict[Stage, pd.DataFrame] = {
        "raw": compare_paired(differences(tokens, tokens[rows], spans, ordinary=ordinary), rows),
        "place and class": compare_paired(differences(tokens, values, spans, ordinary=ordinary), rows),
        "against right": compare(both, rows, groups, WRONG, RIGHT),
        "baselines fixed": compare_adjusted(both, measures, groups, WRONG, RIGHT, BASELINES),
    }
    return Comparison(WRONG, RIGHT, stages, "against right", tuple(primary), unit="lines")


# ---- head by head


def head_differences(
    tokens: pd.DataFrame, values: xr.DataArray, spans: pd.DataFrame, right: Sequence[str]
) -> xr.DataArray:
    """Span less rest in every head of a stacked measure, (response, layer, head, step): (response, layer, head).

    Place and class are taken away as in `adjusted`.
    """
    of_tokens = heads_by_token(tokens, values)
    found = differences(tokens, adjusted(tokens, of_tokens, right), spans)
    return xr.DataArray(
        found.to_numpy().reshape(-1, values.sizes["layer"], values.sizes["head"]),
        dims=("response", "layer", "head"),
        coords={"response": found.index.to_numpy(), **{name: values[name] for name in ("layer", "head")}},
    )


def heads_by_token(tokens: pd.DataFrame, values: xr.DataArray) -> pd.DataFrame:
    """A stacked measure, (response, layer, head, step), as a table: a row a token and a column a head."""
    by_step = values.transpose("response", "step", "layer", "head").to_numpy()
    row = pd.Index(values["response"].to_numpy()).get_indexer(tokens["response_id"])
    return pd.DataFrame(by_step[row, tokens["step"].to_numpy()].reshape(len(tokens), -1), index=tokens.index)
