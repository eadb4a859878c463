"""Can the line where a solution went wrong be found without reading it: from its place, the logits, attention?

Each way of looking gives every line of a wrong response a score and names the highest. Knows nothing of how the true
line was found.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats as sps
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from attnent.analysis.intervals import FEWEST, N_RESAMPLES, NO_INTERVAL, Interval, wilson
from attnent.analysis.places import adjusted, heads_by_token
from attnent.analysis.verdicts import BASELINES, COMPARED

N_FOLDS = 5
OF_LOGITS = ("highest mean token entropy", "highest single token entropy", "lowest summed log-probability")


def line_scores(
    tokens: pd.DataFrame,
    spans: pd.DataFrame,
    right: Sequence[str],
    stacks: Sequence[xr.DataArray] = (),
    *,
    measures: Sequence[str] = COMPARED,
    clusters: pd.Series | None = None,
) -> pd.DataFrame:
    """How much each line of the wrong responses looks like the moment, in a column for each way of looking.

    Rows are lines, indexed by response_id and line. Ways: its place; OF_LOGITS, the mean and the largest token entropy
    and the summed log-probability as they are; its mean of one measure, place and class taken away (`adjusted`); and
    probes, which learn from other problems (`clusters`, by response_id): of place, of all that the logits tell, of
    attention (all `measures`; every head of `stacks`, (response, layer, head, step)), and of these together.
    """
    written = tokens["response_id"].isin(spans.index) & (tokens["line"] >= 0)
    keys = [tokens.loc[written, name] for name in ("response_id", "line")]

    def line_means(values: pd.DataFrame) -> pd.DataFrame:
        return adjusted(tokens, values, right)[written].groupby(keys, sort=False).mean()

    of_line = tokens[written].groupby(["response_id", "line"], sort=False)
    entropy, logprob = of_line["token_entropy"], of_line["logprob"].sum(min_count=1)
    of_logits = pd.concat([entropy.mean(), entropy.max(), -logprob], axis=1, keys=OF_LOGITS)
    logits, attention = line_means(tokens[[*BASELINES]]), line_means(tokens[[*measures]])
    heads = [line_means(heads_by_token(tokens, values)).add_prefix(f"{values.name} ") for values in stacks]
    response, line = (pd.Series(logits.index.get_level_values(level), logits.index) for level in (0, 1))
    from_end = response.groupby(level=0).transform("size") - 1 - line
    place = pd.DataFrame({"line": line, "line squared": line**2, "from end": from_end, "from end squared": from_end**2})
    features = {
        "place": [place],
        "logits": [of_logits, logits],
        "place and logits": [place, of_logits, logits],
        "place and attention": [place, attention],
        **({"place and attention, head by head": [place, *heads]} if heads else {}),
        "logits and attention": [of_logits, logits, attention, *heads],
        "place, logits and attention": [place, of_logits, logits, attention, *heads],
    }
    is_moment = line == response.map(spans["line"])
    problem = response if clusters is None else response.map(clusters)
    probes = {
        f"probe: {name}": _probe(pd.concat(those, axis=1), is_moment, problem) for name, those in features.items()
    }
    alone = {"first line": -line, "last line": line, **of_logits}
    alone |= {f"highest {name.replace('_', ' ')}": attention[name] for name in measures}
    return pd.DataFrame(alone | probes)


def _probe(features: pd.DataFrame, is_moment: pd.Series, clusters: pd.Series) -> pd.Series:
    """Log-odds of a logistic regression for lines of problems that it never saw.

    Features are less their mean over the response, since lines of one response compete; what a line lacks counts as
    usual. NaN below FEWEST problems, and where a feature is missing everywhere.
    """
    if clusters.nunique() < FEWEST or is_moment.nunique() < 2 or features.isna().all().any():
        return pd.Series(np.nan, index=features.index)
    within = (features - features.groupby(level=0, sort=False).transform("mean")).fillna(0.0)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1_000))
    log_odds = cross_val_predict(
        model, within.to_numpy(), is_moment, groups=clusters, cv=GroupKFold(N_FOLDS), method="decision_function"
    )
    return pd.Series(log_odds, index=features.index)


def top_1(scores: pd.DataFrame, wrong: pd.Series) -> pd.DataFrame:
    """1 where the line of highest score is the moment's, else 0: a row a response and a column a way of looking.

    `scores` is indexed by response_id and line, and `wrong` maps response_id to the line. A missing score is the
    lowest; where all of a response are missing, so is the hit.
    """
    by_response = scores.fillna(-np.inf).groupby(level="response_id", sort=False)
    named = by_response.idxmax().map(lambda place: place[1])
    hits = named.eq(wrong.reindex(named.index), axis=0).astype(float)
    return hits.where(scores.notna().groupby(level="response_id", sort=False).any())


def shares_found(hits: pd.DataFrame, n_lines: pd.Series) -> pd.DataFrame:
    """How often each way finds the moment, with its Wilson interval, beside chance: the mean of 1 / lines.

    `n_lines` is by response_id. Columns estimate, low, high, n.
    """
    rows = {"chance": ((1 / n_lines.loc[hits.index]).mean(), np.nan, np.nan, len(hits))}
    for way, column in hits.items():
        found = column.dropna()
        rows[str(way)] = (*wilson(found.sum(), len(found)), len(found))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["estimate", "low", "high", "n"])


def strongest(hits: pd.DataFrame) -> str:
    """The way without attention that finds the moment most often: of place, OF_LOGITS and their probes."""
    ways = [
        "first line",
        "last line",
        *OF_LOGITS,
        *(f"probe: {name}" for name in ("place", "logits", "place and logits")),
    ]
    return str(hits[ways].mean().fillna(0.0).idxmax())


def gain(hits: pd.DataFrame, way: str, over: str, *, clusters: pd.Series | None = None, seed: int = 0) -> Interval:
    """How much more often `way` finds the moment than `over` on the same responses.

    The interval is a percentile bootstrap of whole `clusters` (problems, by response_id; None: each its own). NaN below
    FEWEST of them.
    """
    difference = (hits[way] - hits[over]).dropna()
    problem = difference.index if clusters is None else clusters.reindex(difference.index)
    sums = difference.groupby(np.asarray(problem)).agg(["sum", "size"]).to_numpy(float).T
    if sums.shape[1] < FEWEST:
        return NO_INTERVAL
    result = sps.bootstrap(
        tuple(sums),
        lambda total, n, axis=-1: total.sum(axis) / n.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=N_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return Interval(float(difference.mean()), *map(float, result.confidence_interval))
