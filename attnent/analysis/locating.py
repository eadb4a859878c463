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
from attnent.analysis.verdicts import BASELINES, COMPARED
from attnent.analysis.wrong_line import adjusted, heads_by_token

N_FOLDS = 5


def line_scores(
    tokens: pd.DataFrame,
    spans: pd.DataFrame,
    right: Sequence[str],
    stacks: Sequence[xr.DataArray] = (),
    *,
    measures: Sequence[str] = COMPARED,
) -> pd.DataFrame:
    """How much each line of the wrong responses looks like the moment, in a column for each way of looking.

    Rows are lines, indexed by response_id and line. Ways: its place; its mean of one measure, place and class taken
    away (`adjusted`); and probes, which learn from the other responses: place alone, with token entropy and
    log-probability, with all `measures`, with every head of `stacks`, (response, layer, head, step), and with all.
    """
    wrong = tokens["response_id"].isin(spans.index)

    def line_means(values: pd.DataFrame) -> pd.DataFrame:
        written = wrong & (tokens["line"] >= 0)
        keys = [tokens.loc[written, name] for name in ("response_id", "line")]
        return adjusted(tokens, values, right)[written].groupby(keys, sort=False).mean()

    logits, attention = line_means(tokens[[*BASELINES]]), line_means(tokens[[*measures]])
    heads = [line_means(heads_by_token(tokens, values)).add_prefix(f"{values.name} ") for values in stacks]
    response, line = (pd.Series(logits.index.get_level_values(level), logits.index) for level in (0, 1))
    from_end = response.groupby(level=0).transform("size") - 1 - line
    place = pd.DataFrame({"line": line, "line squared": line**2, "from end": from_end, "from end squared": from_end**2})
    is_moment = line == response.map(spans["line"])
    features = {
        "place": [place],
        "place and logits": [place, logits],
        "place and attention": [place, attention],
        **({"place and attention, head by head": [place, *heads]} if heads else {}),
        "place, logits and attention": [place, logits, attention, *heads],
    }
    alone = {"first line": -line, "last line": line, "highest token entropy": logits["token_entropy"]}
    alone |= {f"highest {name.replace('_', ' ')}": attention[name] for name in measures}
    probes = {f"probe: {name}": _probe(pd.concat(those, axis=1), is_moment) for name, those in features.items()}
    return pd.DataFrame(alone | probes)


def _probe(features: pd.DataFrame, is_moment: pd.Series) -> pd.Series:
    """Log-odds of a logistic regression for lines of responses that it never saw; what a line lacks counts as usual.

    NaN below FEWEST responses, and where a feature is missing everywhere.
    """
    response = features.index.get_level_values(0)
    if response.nunique() < FEWEST or is_moment.nunique() < 2 or features.isna().all().any():
        return pd.Series(np.nan, index=features.index)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1_000))
    folds = GroupKFold(N_FOLDS)
    log_odds = cross_val_predict(
        model, features.fillna(0.0).to_numpy(), is_moment, groups=response, cv=folds, method="decision_function"
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


def gain(hits: pd.DataFrame, way: str, over: str, *, seed: int = 0) -> Interval:
    """How much more often `way` finds the moment than `over` on the same responses (percentile bootstrap)."""
    difference = (hits[way] - hits[over]).dropna().to_numpy()
    if len(difference) < FEWEST:
        return NO_INTERVAL
    result = sps.bootstrap(
        (difference,), np.mean, n_resamples=N_RESAMPLES, method="percentile", rng=np.random.default_rng(seed)
    )
    return Interval(float(difference.mean()), *map(float, result.confidence_interval))
