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
from scipy import stats as sps
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.stats.proportion import proportion_confint

from attnent.critic import split_steps
from attnent.stats import CONFIDENCE, FEWEST, N_RESAMPLES, NO_INTERVAL, Interval

TENTHS = 10
FEWEST_IN_CELL = 20  # reference tokens a cell must have to say what is usual there
N_FOLDS = 5


# ---- tokens, their places, and the tokens of a moment


def placed(tokens: pd.DataFrame, responses: pd.DataFrame) -> pd.DataFrame:
    """The token table of a Run with the place of every token: `line`, `n_lines` and `cell`.

    A line is a step of the solution, counted from 0 as the critic counts. A cell is a class of tokens (number,
    operator, word, mark, space, end) in one tenth of the response.
    """
    spans = responses.set_index("response_id")["response"].map(split_steps)
    by_response = tokens.groupby("response_id", sort=False)
    lines = [_lines(rows["char_start"].to_numpy(), spans[name]) for name, rows in by_response]
    tenth = tokens["step"] * TENTHS // (by_response["step"].transform("max") + 1)
    return tokens.assign(
        line=np.concatenate(lines),
        n_lines=tokens["response_id"].map(spans.map(len)),
        cell=_token_classes(tokens) + " " + tenth.astype(str),
    )


def _lines(char_start: Int[np.ndarray, " step"], spans: Sequence[tuple[int, int]]) -> Int[np.ndarray, " step"]:
    """The line that each token begins in; what stands between two lines belongs to the first of them."""
    starts = [start for start, _ in spans]
    return np.maximum(np.searchsorted(starts, char_start, side="right") - 1, 0)


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


def partners(tokens: pd.DataFrame, spans: pd.DataFrame, right: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """The same line in a right response with as many lines, for each wrong one: what place alone would make.

    `spans` is indexed by the wrong response_id: line, start, stop. A right response is used once at most; a wrong one
    that finds none is left out. Indexed by the right response_id: line, start, stop, wrong, and shift, how many steps
    later its line starts.
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
    of_wrong = pairs.join(edges, on=["wrong", "line"])["start"]
    pairs = pairs.join(edges, on=["response_id", "line"])
    return pairs.assign(shift=pairs["start"] - of_wrong).set_index("response_id")


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
    tokens: pd.DataFrame, values: pd.DataFrame, spans: pd.DataFrame, *, ordinary: Literal["rest", "before"] = "rest"
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


# ---- head by head


def head_differences(
    tokens: pd.DataFrame, values: xr.DataArray, spans: pd.DataFrame, right: Sequence[str]
) -> xr.DataArray:
    """Span less rest in every head of a stacked measure, (response, layer, head, step): (response, layer, head).

    Place and class are taken away as in `adjusted`.
    """
    by_step = values.transpose("response", "step", "layer", "head").to_numpy()
    row = pd.Index(values["response"].to_numpy()).get_indexer(tokens["response_id"])
    of_tokens = pd.DataFrame(by_step[row, tokens["step"].to_numpy()].reshape(len(tokens), -1), index=tokens.index)
    found = differences(tokens, adjusted(tokens, of_tokens, right), spans)
    return xr.DataArray(
        found.to_numpy().reshape(-1, values.sizes["layer"], values.sizes["head"]),
        dims=("response", "layer", "head"),
        coords={"response": found.index.to_numpy(), **{name: values[name] for name in ("layer", "head")}},
    )


# ---- finding the moment


def line_means(tokens: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Mean of `values` over the tokens of every line, indexed by response_id and line."""
    return values.groupby([tokens["response_id"], tokens["line"]], sort=False).mean()


def probe(features: pd.DataFrame, is_moment: pd.Series) -> pd.Series:
    """How much each line looks like a moment to a logistic regression that never saw its response (5 folds).

    Rows are lines, indexed by response_id and line; what is missing counts as usual (0). Log-odds.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1_000))
    response = features.index.get_level_values("response_id")
    log_odds = cross_val_predict(
        model,
        features.fillna(0.0).to_numpy(),
        is_moment,
        groups=response,
        cv=GroupKFold(N_FOLDS),
        method="decision_function",
    )
    return pd.Series(log_odds, index=features.index)


def top_1(scores: pd.DataFrame, wrong: pd.Series) -> pd.DataFrame:
    """Whether the line of highest score is the moment's, a row a response and a column a way of scoring.

    `scores` is indexed by response_id and line, a missing score is the lowest; `wrong` maps response_id to the line.
    """
    best = scores.fillna(-np.inf).groupby(level="response_id").idxmax().map(lambda place: place[1])
    return best.eq(wrong.reindex(best.index), axis=0)


def shares_found(hits: pd.DataFrame, n_lines: pd.Series) -> pd.DataFrame:
    """How often each way finds the moment, with its Wilson interval, beside chance: the mean of 1 / lines.

    Columns estimate, low, high, n.
    """
    rows = {"chance": (float((1 / n_lines.loc[hits.index]).mean()), np.nan, np.nan, len(hits))}
    for way, found in hits.items():
        low, high = proportion_confint(found.sum(), len(found), 1 - CONFIDENCE, method="wilson")
        rows[str(way)] = (found.mean(), low, high, len(found))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["estimate", "low", "high", "n"])


def gain(hits: pd.DataFrame, way: str, over: str, *, seed: int = 0) -> Interval:
    """How much more often `way` finds the moment than `over` on the same responses (percentile bootstrap)."""
    difference = (hits[way].astype(float) - hits[over].astype(float)).to_numpy()
    if len(difference) < FEWEST:
        return NO_INTERVAL
    result = sps.bootstrap(
        (difference,), np.mean, n_resamples=N_RESAMPLES, method="percentile", rng=np.random.default_rng(seed)
    )
    return Interval(float(difference.mean()), *map(float, result.confidence_interval))
