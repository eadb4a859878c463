"""What is left of a difference with covariates held fixed: by least squares, and by cross-fitted learners."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy import stats as sps
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from attnent.analysis.comparison import NO_DIFFERENCE, NO_TEST, Test, auroc, fewest_clusters, holm, two_groups
from attnent.analysis.intervals import CONFIDENCE, FEWEST, Interval

MOST_EXPLAINED = 0.75  # of the variance of the group by the covariates: above it nothing comparable is left
N_FOLDS = 5
FEWEST_TO_LEARN = 50  # clusters a group must have for `cross_fitted`


class _Held(NamedTuple):
    """A test with covariates held fixed, and R² of the group on them."""

    test: Test
    overlap: float


def bent(covariates: pd.DataFrame) -> Float[np.ndarray, "response column"]:
    """Covariates that vary, standardised, and the squares of those that take more than two values; first a constant."""
    varying = covariates.loc[:, covariates.nunique() > 1].astype(float)
    scaled = (varying - varying.mean()) / varying.std()
    squares = scaled.loc[:, varying.nunique() > 2] ** 2
    return np.column_stack([np.ones(len(covariates)), scaled, squares])


def explained(group: Float[np.ndarray, " response"], design: Float[np.ndarray, "response column"]) -> float:
    """R² of the group on the covariates, adjusted for their number (Wherry 1931): 1 leaves nothing to compare."""
    rest = _residuals(group, design)
    freedom = len(group) - np.linalg.matrix_rank(design)
    if freedom <= 0 or np.ptp(group) == 0:
        return 1.0
    return max(0.0, float(1 - (rest @ rest / freedom) / group.var(ddof=1)))


def _residuals(
    of: Float[np.ndarray, "response ..."], design: Float[np.ndarray, "response column"]
) -> Float[np.ndarray, "response ..."]:
    return of - design @ np.linalg.lstsq(design, of, rcond=None)[0]


def basis_of(design: Float[np.ndarray, "response column"]) -> Float[np.ndarray, "response rank"]:
    """Orthonormal columns that span those of the design."""
    basis, sizes, _ = np.linalg.svd(design, full_matrices=False)
    return basis[:, sizes > 1e-9 * sizes[0]]


def estimates(
    values: Float[np.ndarray, "response cell"],
    is_a: Bool[np.ndarray, " response"],
    design: Float[np.ndarray, "response column"] | None,
) -> Float[np.ndarray, " cell"]:
    """AUROC of many columns at once, without tests: as `compare`, or with a design held fixed as `compare_adjusted`."""
    if design is None:
        return np.asarray(auroc(values[is_a].T, values[~is_a].T))
    basis = basis_of(design)
    both = np.column_stack([is_a, values])
    left = both - basis @ (basis.T @ both)
    group, rest = left[:, 0], left[:, 1:]
    effect = group @ rest / (group @ group)
    spread = np.sqrt(((rest - np.outer(group, effect)) ** 2).sum(axis=0) / max(len(rest) - basis.shape[1] - 1, 1))
    known = spread > 1e-6 * values.std(axis=0)  # else the covariates say all of it
    distance = np.divide(effect, spread, out=np.full_like(effect, np.nan), where=known)
    return np.where(np.ptp(values, axis=0) == 0, 0.5, sps.norm.cdf(distance / np.sqrt(2)))


def blocks_of_like_size(clusters: Int[np.ndarray, " response"]) -> list[Int[np.ndarray, "cluster member"]]:
    """The places of the members of each cluster, a row a cluster; an array for all clusters of one size."""
    members = pd.Series(np.arange(len(clusters))).groupby(clusters).agg(list)
    return [np.array(of_size.tolist()) for _, of_size in members.groupby(members.map(len))]


def held_fixed(
    values: Float[np.ndarray, " response"],
    is_a: Bool[np.ndarray, " response"],
    covariates: pd.DataFrame,
    clusters: Int[np.ndarray, " response"],
) -> _Held:
    """The difference of two groups with covariates held fixed, on the scale of AUROC.

    Ordinary least squares of the values on group and covariates, linear and squared; errors by the jackknife over
    clusters (CR3, Bell & McCaffrey 2002; HC3 with clusters of one) and Student's t; the group coefficient in residual
    standard deviations, d, is shown as Phi(d / sqrt 2), the AUROC of two normal groups that far apart. NaN where a
    group has fewer than FEWEST clusters, where the covariates explain more than MOST_EXPLAINED of the group, or where
    they determine the values.
    """
    if fewest_clusters(is_a, clusters) < FEWEST:
        return _Held(NO_TEST, np.nan)
    others, group = bent(covariates), is_a.astype(float)
    overlap = explained(group, others)
    if np.ptp(values) == 0:
        return _Held(NO_DIFFERENCE, overlap)
    if overlap > MOST_EXPLAINED:
        return _Held(NO_TEST, overlap)
    design = np.column_stack([group, others])
    rest = _residuals(values, design)
    rank = int(np.linalg.matrix_rank(design))
    freedom = len(np.unique(clusters)) - rank
    spread = np.sqrt(rest @ rest / max(len(rest) - rank, 1))
    if freedom < 1 or spread <= 1e-6 * values.std():  # the covariates say all of it: what is left is rounding
        return _Held(NO_TEST, overlap)
    effect = np.linalg.lstsq(design, values, rcond=None)[0][0]
    error = _jackknife_error(design, rest, clusters)
    return _Held(_on_scale_of_auroc(effect, error, spread, freedom), overlap)


def _jackknife_error(
    design: Float[np.ndarray, "response column"],
    rest: Float[np.ndarray, " response"],
    clusters: Int[np.ndarray, " response"],
) -> float:
    """The standard error of the first coefficient when whole clusters are left out in turn."""
    row = np.linalg.pinv(design)[0]  # the coefficient is row @ values
    basis = basis_of(design)
    total = 0.0
    for members in blocks_of_like_size(clusters):  # all clusters of one size at once: (cluster, member)
        leverage = basis[members] @ basis[members].swapaxes(1, 2)
        outside = np.linalg.pinv(np.eye(members.shape[1]) - leverage, hermitian=True) @ rest[members][..., None]
        total += float(((row[members] * outside[..., 0]).sum(axis=1) ** 2).sum())
    return float(np.sqrt(total))


def _on_scale_of_auroc(effect: float, error: float, spread: float, freedom: int) -> Test:
    reach = sps.t.ppf((1 + CONFIDENCE) / 2, freedom) * error
    effects = (effect, effect - reach, effect + reach)
    p = float(2 * sps.t.sf(abs(effect) / error, freedom)) if error > 0 else np.nan
    return Test(Interval(*(float(sps.norm.cdf(one / spread / np.sqrt(2))) for one in effects)), p)


def cross_fitted(
    values: Float[np.ndarray, " response"],
    is_a: Bool[np.ndarray, " response"],
    covariates: pd.DataFrame,
    clusters: Int[np.ndarray, " response"],
) -> _Held:
    """As `held_fixed`, but without assuming how the covariates act: double machine learning (Chernozhukov et al. 2018).

    Values and group are each predicted from the covariates by least squares and trees boosted upon it, for
    clusters that the learners never saw; what is left of the one is set against what is left of the other (partially
    linear model), with errors clustered. `overlap` is what the learners explain of the group. NaN below FEWEST_TO_LEARN
    clusters in a group; below 200 its p is somewhat too small (7 to 10 % false positives at 5 %): a second opinion.
    """
    n_clusters = len(np.unique(clusters))
    columns = bent(covariates)[:, 1:]
    if fewest_clusters(is_a, clusters) < FEWEST_TO_LEARN or not columns.size or np.ptp(values) == 0:
        return _Held(NO_TEST, np.nan)

    def left(of: Float[np.ndarray, " response"]) -> Float[np.ndarray, " response"]:
        trees = GradientBoostingRegressor(init=LinearRegression(), n_estimators=50, max_depth=2, random_state=0)
        scaled = (of - of.mean()) / of.std()
        return scaled - cross_val_predict(trees, columns, scaled, groups=clusters, cv=GroupKFold(N_FOLDS))

    of_values, of_group = left(values), left(is_a.astype(float))
    overlap = max(0.0, float(1 - (of_group**2).mean()))
    if overlap > MOST_EXPLAINED:
        return _Held(NO_TEST, overlap)
    weight = of_group @ of_group
    effect = of_group @ of_values / weight
    rest = of_values - effect * of_group
    sums = np.bincount(clusters, of_group * rest)
    error = np.sqrt(n_clusters / (n_clusters - 1) * (sums**2).sum()) / weight
    per_group = is_a.std()  # the group was standardised: one standard deviation of it is this much of its 0 to 1
    return _Held(_on_scale_of_auroc(effect / per_group, error / per_group, rest.std(), n_clusters - 1), overlap)


def compare_adjusted(
    table: pd.DataFrame,
    measures: Sequence[str],
    groups: pd.Series,
    a: str,
    b: str,
    covariates: Sequence[str],
    clusters: pd.Series | None = None,
    *,
    learned: bool = False,
) -> pd.DataFrame:
    """As `compare`, with the covariates (columns of `table`) held fixed by `held_fixed`, or `learned`, `cross_fitted`.

    `overlap` is the share of the group's variance that the covariates explain.
    """
    two, is_a, codes = two_groups(table, [*measures, *covariates], groups, a, b, clusters)
    hold = cross_fitted if learned else held_fixed
    rows = {}
    for measure in measures:
        there = two[[measure, *covariates]].notna().all(axis=1).to_numpy()
        kept, of_a = two[there], is_a[there]
        test, overlap = hold(kept[measure].to_numpy(float), of_a, kept[[*covariates]], codes[there])
        rows[measure] = (*test.interval, test.p, int(of_a.sum()), int((~of_a).sum()), overlap)
    columns = ["auroc", "low", "high", "p", "n_a", "n_b", "overlap"]
    result = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return result.rename_axis("measure").assign(p_holm=holm(result["p"]))
