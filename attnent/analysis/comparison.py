"""Two groups of responses, or two parts of each response, compared measure by measure, each with its interval.

The unit is the cluster (problem, entity, topic), then the response, never the token. Tables in, tables out; nothing
here draws, and nothing here knows a model.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Real
from scipy import stats as sps
from scipy.optimize import brentq
from scipy.special import expit, logit

from attnent.analysis.intervals import CONFIDENCE, FEWEST, NO_INTERVAL, Interval, StatsError, wilson


def auroc(
    a: Real[np.ndarray, "*sample n_a"], b: Real[np.ndarray, "*sample n_b"], axis: int = -1
) -> Float[np.ndarray, "*sample"] | float:
    """P(a > b) + P(a = b) / 2: 0.5 is no difference; 2 AUROC - 1 is Cliff's delta (Mann & Whitney 1947)."""
    a, b = np.moveaxis(np.asarray(a, float), axis, -1), np.moveaxis(np.asarray(b, float), axis, -1)
    n_a, n_b = a.shape[-1], b.shape[-1]
    ranks = sps.rankdata(np.concatenate([a, b], axis=-1), axis=-1)
    return (ranks[..., :n_a].sum(-1) - n_a * (n_a + 1) / 2) / (n_a * n_b)


class Test(NamedTuple):
    """An effect on the scale of AUROC with its 95 % interval, and p of no difference."""

    interval: Interval
    p: float


NO_TEST = Test(NO_INTERVAL, np.nan)
NO_DIFFERENCE = Test(Interval(0.5, 0.5, 0.5), 1.0)


def influence(
    values: Real[np.ndarray, " response"], is_a: Bool[np.ndarray, " response"]
) -> tuple[float, Float[np.ndarray, " response"]]:
    """AUROC of group a over the others, and what each response adds to its error.

    The sum of their squares is the variance of DeLong et al. (1988), but for the small-sample factor.
    """
    a, b = values[is_a], values[~is_a]
    ranks = sps.rankdata(np.concatenate([a, b]))
    above = (ranks[: len(a)] - sps.rankdata(a)) / len(b)  # the share of b that each of a exceeds
    below = 1 - (ranks[len(a) :] - sps.rankdata(b)) / len(a)
    estimate = float(above.mean())
    added = np.empty(len(values))
    added[is_a], added[~is_a] = (above - estimate) / len(a), (below - estimate) / len(b)
    return estimate, added


def fewest_clusters(is_a: Bool[np.ndarray, " response"], clusters: Int[np.ndarray, " response"]) -> int:
    """The clusters of the group that has fewer of them."""
    return min(len(np.unique(clusters[of])) for of in (is_a, ~is_a))


def auroc_test(
    values: Real[np.ndarray, " response"],
    is_a: Bool[np.ndarray, " response"],
    clusters: Int[np.ndarray, " response"],
) -> Test:
    """AUROC of group a over the others where responses of one cluster are not independent, also across the groups.

    Variance by structural components summed within clusters (Obuchowski 1997, Biometrics 53; with clusters of one,
    DeLong et al. 1988); the interval on the logit scale; p by Student's t with Satterthwaite's degrees of freedom,
    which with clusters of one is the test of Brunner & Munzel (2000): spreads need not be equal. Groups that separate
    completely have the interval of Newcombe (2006, method 5). NaN below FEWEST clusters in a group.
    """
    in_a, in_b = np.unique(clusters[is_a]), np.unique(clusters[~is_a])
    n_a, n_b, n = len(in_a), len(in_b), len(np.union1d(in_a, in_b))
    if min(n_a, n_b) < FEWEST:
        return NO_TEST
    if np.ptp(values) == 0:
        return NO_DIFFERENCE
    estimate, added = influence(values, is_a)
    sums_a, sums_b = (np.bincount(clusters, np.where(of, added, 0.0)) for of in (is_a, ~is_a))
    of_a, of_b = n_a / (n_a - 1) * (sums_a**2).sum(), n_b / (n_b - 1) * (sums_b**2).sum()
    variance = of_a + of_b + 2 * n / (n - 1) * (sums_a * sums_b).sum()
    if estimate in (0.0, 1.0) or variance <= 0:
        return Test(_newcombe(estimate, n_a, n_b), _of_means(values, is_a, clusters))
    freedom = (of_a + of_b) ** 2 / (of_a**2 / (n_a - 1) + of_b**2 / (n_b - 1))
    error = np.sqrt(variance)
    reach = sps.t.ppf((1 + CONFIDENCE) / 2, freedom) * error / (estimate * (1 - estimate))
    low, high = (float(expit(logit(estimate) + side * reach)) for side in (-1, 1))
    return Test(Interval(estimate, low, high), float(2 * sps.t.sf(abs(estimate - 0.5) / error, freedom)))


def _newcombe(estimate: float, n_a: int, n_b: int) -> Interval:
    """The interval of a complete separation: where the score equation of Hanley & McNeil's variance ends it."""
    z, middle = sps.norm.ppf((1 + CONFIDENCE) / 2), (n_a + n_b) / 2 - 1

    def beyond(auroc: float) -> float:
        spread = 1 + middle * ((1 - auroc) / (2 - auroc) + auroc / (1 + auroc))
        return abs(estimate - auroc) - z * np.sqrt(auroc * (1 - auroc) * spread / (n_a * n_b))

    end = float(brentq(beyond, 1e-9, 1 - 1e-9))
    return Interval(estimate, min(end, estimate), max(end, estimate))


def _of_means(
    values: Real[np.ndarray, " response"], is_a: Bool[np.ndarray, " response"], clusters: Int[np.ndarray, " response"]
) -> float:
    """Mann-Whitney p of the means of the clusters."""
    a, b = (pd.Series(values[of]).groupby(clusters[of]).mean() for of in (is_a, ~is_a))
    return float(sps.mannwhitneyu(a, b).pvalue)


def compare(
    table: pd.DataFrame,
    measures: Sequence[str],
    groups: pd.Series,
    a: str,
    b: str,
    clusters: pd.Series | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """A row a measure: AUROC of group `a` over group `b`, its 95 % interval, p (`auroc_test`) and Holm-adjusted p.

    `table` has a row a response; `groups` and `clusters` have its index, and `clusters` says which responses are not
    independent (None: all are). Responses where a measure is missing are left out of its row; n_a and n_b count those
    that are in. Where a group has fewer than FEWEST clusters the row is NaN. Nothing is drawn: `seed` has no effect.
    """
    two, is_a, codes = two_groups(table, measures, groups, a, b, clusters)
    rows = {}
    for measure in measures:
        there = two[measure].notna().to_numpy()
        of_a = is_a[there]
        test = auroc_test(two.loc[there, measure].to_numpy(float), of_a, codes[there])
        rows[measure] = (*test.interval, test.p, int(of_a.sum()), int((~of_a).sum()))
    result = pd.DataFrame.from_dict(rows, orient="index", columns=["auroc", "low", "high", "p", "n_a", "n_b"])
    return result.rename_axis("measure").assign(p_holm=holm(result["p"]))


def two_groups(
    table: pd.DataFrame,
    columns: Sequence[str],
    groups: pd.Series,
    a: str,
    b: str,
    clusters: pd.Series | None,
) -> tuple[pd.DataFrame, Bool[np.ndarray, " response"], Int[np.ndarray, " response"]]:
    """The responses of the two groups, which are of `a`, and the number of each one's cluster."""
    if missing := [name for name in columns if name not in table]:
        raise StatsError(f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    if a == b:
        raise StatsError(f"{a!r} cannot be compared with itself; give two different groups")
    of_response = groups.reindex(table.index)
    two = table[of_response.isin([a, b]).to_numpy()]
    codes = np.arange(len(two))
    if clusters is not None:
        named = clusters.reindex(two.index)
        if named.isna().any():
            raise StatsError(f"{int(named.isna().sum())} responses have no cluster; give one for each response")
        codes = pd.factorize(named)[0]
    return two, (of_response[two.index] == a).to_numpy(bool), codes


def holm(p: pd.Series) -> pd.Series:
    """p-values adjusted over those that are not missing (Holm 1979)."""
    tested = p.dropna().sort_values()
    at_least = tested * np.arange(len(tested), 0, -1)
    return at_least.cummax().clip(upper=1.0).reindex(p.index)


def compare_paired(
    differences: pd.DataFrame, measures: Sequence[str], clusters: pd.Series | None = None
) -> pd.DataFrame:
    """A row a measure: how often, and by how much, one part of a response exceeds another part of the same response.

    `differences` has a row a response, part less part; those of one cluster are averaged first. `auroc` is the share
    with a positive difference, ties counted half (0.5: no difference, as for AUROC), low and high its Wilson interval;
    `mean` is in the unit of the measure; p is Wilcoxon's signed rank, Holm-adjusted over the rows. NaN below FEWEST.
    """
    rows = []
    for measure in measures:
        each = differences[measure].dropna()
        values = (each if clusters is None else each.groupby(clusters.reindex(each.index)).mean()).to_numpy(float)
        row = {"measure": measure, "n": len(values), "auroc": np.nan, "low": np.nan, "high": np.nan}
        row |= {"mean": values.mean() if len(values) else np.nan, "p": np.nan}
        if len(values) >= FEWEST:
            above = (values > 0).sum() + (values == 0).sum() / 2
            share = wilson(above, len(values))
            row |= {"auroc": share.estimate, "low": share.low, "high": share.high, "p": _signed_rank(values)}
        rows.append(row)
    result = pd.DataFrame(rows).set_index("measure")
    return result.assign(p_holm=holm(result["p"]))


def _signed_rank(values: Float[np.ndarray, " n"]) -> float:
    return float(sps.wilcoxon(values).pvalue) if values.any() else 1.0
