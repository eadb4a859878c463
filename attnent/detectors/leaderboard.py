"""What each score is worth: alone, and what it adds to what is known without it.

The unit is the cluster. Increments are differences of AUROC of cross-fitted models on the same responses, with the
paired variance of DeLong et al. (1988) by clusters (Obuchowski 1997).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy import stats as sps
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from attnent.analysis.comparison import compare, fewest_clusters, holm, influence
from attnent.analysis.intervals import CONFIDENCE, FEWEST, StatsError
from attnent.analysis.pooling import disjoint_sets
from attnent.analysis.regression import bent
from attnent.detectors.rejection import augrc_interval, prr_interval

N_FOLDS = 5
SMALLEST = 0.01  # a rise of AUROC below it is too small to matter
TOKEN_BASELINES = ("mean_token_entropy", "max_token_entropy", "perplexity", "negative_log_likelihood")


class Increment(NamedTuple):
    """How much AUROC rises, its 95 % interval and p of no rise or fall; NaN where nothing can be said."""

    estimate: float
    low: float
    high: float
    p: float


NOTHING = Increment(*[np.nan] * 4)


def worth(scores: pd.DataFrame, is_wrong: pd.Series, clusters: pd.Series) -> pd.DataFrame:
    """A row a score, the largest AUROC first: AUROC, PRR and AUGRC with 95 % intervals by clusters, and n.

    Columns: auroc, low, high (higher: more likely wrong); prr, augrc and `_low`, `_high` of both. A row is of the
    responses that have the score; NaN where too few are right or wrong.
    """
    _check(scores, (), is_wrong, clusters)
    kinds = is_wrong.map({True: "wrong", False: "right"})
    table = compare(scores, [*scores], kinds, "wrong", "right", clusters)[["auroc", "low", "high"]]
    rows = {}
    for name in scores:
        there = scores[name].notna()
        given = scores.loc[there, name].to_numpy(float), is_wrong[there].to_numpy(), pd.factorize(clusters[there])[0]
        rows[name] = (
            (*prr_interval(*given), *augrc_interval(*given), there.sum()) if there.any() else [np.nan] * 6 + [0]
        )
    columns = [f"{measure}{end}" for measure in ("prr", "augrc") for end in ("", "_low", "_high")]
    rejection = pd.DataFrame.from_dict(rows, orient="index", columns=[*columns, "n"])
    return table.join(rejection).rename_axis("detector").sort_values("auroc", ascending=False)


def known_from(
    columns: pd.DataFrame,
    is_wrong: Bool[np.ndarray, " response"],
    clusters: Int[np.ndarray, " response"],
    seed: int = 0,
) -> Float[np.ndarray, " response"]:
    """Cross-fitted log-odds of being wrong by a logistic regression on columns and their squares, clusters whole."""
    design = bent(columns.rank(pct=True).fillna(0.5))[:, 1:]
    if not design.size:
        return np.zeros(len(columns))
    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed).split(design, is_wrong, clusters)
    model = LogisticRegression(max_iter=1000)
    return cross_val_predict(model, design, is_wrong, cv=list(folds), method="decision_function")


def paired_increment(
    with_it: Float[np.ndarray, " response"],
    without: Float[np.ndarray, " response"],
    is_wrong: Bool[np.ndarray, " response"],
    clusters: Int[np.ndarray, " response"],
) -> Increment:
    """AUROC of one score less that of another on the same responses; NaN below FEWEST clusters in a group."""
    n_clusters = len(np.unique(clusters))
    if fewest_clusters(is_wrong, clusters) < FEWEST:
        return NOTHING
    (one, added), (other, before) = influence(with_it, is_wrong), influence(without, is_wrong)
    sums = np.bincount(clusters, added - before)
    error = np.sqrt(n_clusters / (n_clusters - 1) * (sums**2).sum())
    if error == 0:
        return Increment(one - other, one - other, one - other, 1.0)
    reach = sps.t.ppf((1 + CONFIDENCE) / 2, n_clusters - 1) * error
    p = float(2 * sps.t.sf(abs(one - other) / error, n_clusters - 1))
    return Increment(one - other, one - other - reach, one - other + reach, p)


def increments(
    scores: pd.DataFrame,
    known: Sequence[str],
    is_wrong: pd.Series,
    clusters: pd.Series,
    *,
    n_sets: int = 4,
    seed: int = 0,
) -> pd.DataFrame:
    """What each column of `scores` adds to the columns `known` of it, a row a column, the largest first.

    Columns: increment, low, high, p, p_holm, n, `sets`, in how many of `n_sets` disjoint sets of clusters it is above
    0, and `verdict`: "present" where it is above 0 with its interval, beyond chance among all rows (Holm) and in half
    of the sets; "absent" where its interval ends below SMALLEST; else "undecided". A column of noise lies a little
    below 0, since it is learned from too: no interval below 0 says more than that a score adds nothing. A row is of
    the responses that have the score. Raises StatsError for a column that is not there.
    """
    _check(scores, known, is_wrong, clusters)
    rows = {}
    without: dict[bytes, Float[np.ndarray, " response"]] = {}  # what is known, by the responses it is learned from
    for name in scores.columns.drop(list(known)):
        there = scores[[name, *known]].notna().all(axis=1)
        kept, wrong = scores[there], is_wrong[there].to_numpy()
        codes = pd.factorize(clusters[there])[0]
        rows[name] = (*NOTHING, np.nan, len(kept))
        if len(kept) and fewest_clusters(wrong, codes) >= max(FEWEST, N_FOLDS):
            rows_of = there.to_numpy().tobytes()
            if rows_of not in without:
                without[rows_of] = known_from(kept[[*known]], wrong, codes, seed)
            with_it, before = known_from(kept[[*known, name]], wrong, codes, seed), without[rows_of]
            above = [
                paired_increment(with_it[part], before[part], wrong[part], pd.factorize(codes[part])[0]).estimate > 0
                for part in _parts(clusters[there], n_sets)
            ]
            rows[name] = (*paired_increment(with_it, before, wrong, codes), sum(above), len(kept))
    columns = ["increment", "low", "high", "p", "sets", "n"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("detector")
    table = table.assign(p_holm=holm(table["p"])).sort_values("increment", ascending=False)
    is_present = (table["low"] > 0) & (table["p_holm"] < 1 - CONFIDENCE) & (2 * table["sets"] >= n_sets)
    verdict = np.select([is_present, table["high"] < SMALLEST], ["present", "absent"], "undecided")
    return table.assign(verdict=np.where(table["increment"].isna(), "", verdict))


def _parts(clusters: pd.Series, n_sets: int) -> list[Bool[np.ndarray, " response"]]:
    sets = disjoint_sets(clusters, min(n_sets, clusters.nunique()))
    return [(sets == name).to_numpy() for name in sorted(sets.unique())]


def _check(scores: pd.DataFrame, known: Sequence[str], is_wrong: pd.Series, clusters: pd.Series) -> None:
    if missing := [name for name in known if name not in scores]:
        raise StatsError(f"there is no score {', '.join(missing)}; there are {', '.join(scores.columns)}")
    for name, other in (("is_wrong", is_wrong), ("clusters", clusters)):
        if not other.index.equals(scores.index):
            raise StatsError(f"scores and {name} have different indexes; give {name} by the responses of scores")
    if is_wrong.dtype != bool:
        raise StatsError(f"is_wrong holds {is_wrong.dtype}; say of every response whether it was wrong, True or False")
