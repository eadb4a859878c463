"""Two groups of responses, or two parts of each response, compared measure by measure, each with its interval.

The unit is the response. Tables in, tables out; nothing here draws, and nothing here knows a model.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import statsmodels.api as sm
from jaxtyping import Float, Real
from scipy import stats as sps
from statsmodels.stats.multitest import multipletests

from attnent.analysis.intervals import CONFIDENCE, FEWEST, N_RESAMPLES, NO_INTERVAL, Interval, wilson


def auroc(
    a: Real[np.ndarray, "*sample n_a"], b: Real[np.ndarray, "*sample n_b"], axis: int = -1
) -> Float[np.ndarray, "*sample"] | float:
    """P(a > b) + P(a = b) / 2: 0.5 is no difference; 2 AUROC - 1 is Cliff's delta (Mann & Whitney 1947)."""
    a, b = np.moveaxis(np.asarray(a, float), axis, -1), np.moveaxis(np.asarray(b, float), axis, -1)
    n_a, n_b = a.shape[-1], b.shape[-1]
    ranks = sps.rankdata(np.concatenate([a, b], axis=-1), axis=-1)
    return (ranks[..., :n_a].sum(-1) - n_a * (n_a + 1) / 2) / (n_a * n_b)


def auroc_interval(a: Real[np.ndarray, " n_a"], b: Real[np.ndarray, " n_b"], *, seed: int = 0) -> Interval:
    """AUROC with its percentile bootstrap interval over responses; NaN where a group has too few.

    Below about 20 responses the interval is too narrow, and where the groups separate it is a point.
    """
    if min(len(a), len(b)) < FEWEST:
        return NO_INTERVAL
    result = sps.bootstrap(
        (a, b),
        auroc,
        n_resamples=N_RESAMPLES,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return Interval(float(auroc(a, b)), *map(float, result.confidence_interval))


def adjusted_auroc(table: pd.DataFrame, measure: str, is_a: pd.Series, covariates: Sequence[str]) -> Interval:
    """What is left of the difference with the covariates held fixed, on the scale of AUROC.

    Ordinary least squares of the measure on group and covariates, linear and squared, with robust (HC3) errors; the
    group coefficient in residual standard deviations, d, is shown as Phi(d / sqrt 2), the AUROC of two normal groups
    that far apart. NaN where a group has fewer than FEWEST responses, where the covariates tell the groups apart
    completely, or where they determine the measure.
    """
    kept = table[[measure, *covariates]].dropna()
    if is_a.loc[kept.index].value_counts().reindex([True, False], fill_value=0).min() < FEWEST:
        return NO_INTERVAL
    constant = kept.eq(kept.iloc[0]).all()
    if constant[measure]:
        return Interval(0.5, 0.5, 0.5)
    varying = [name for name in covariates if not constant[name]]
    scaled = (kept[varying] - kept[varying].mean()) / kept[varying].std()
    bent = (scaled**2).loc[:, kept[varying].nunique() > 2].add_suffix(" squared")
    design = sm.add_constant(scaled.join(bent).assign(group=is_a.loc[kept.index].astype(float)))
    alone = np.linalg.matrix_rank(design, tol=1e-6) > np.linalg.matrix_rank(design.drop(columns="group"), tol=1e-6)
    if not alone or len(kept) <= design.shape[1]:  # nothing tells group and covariates apart
        return NO_INTERVAL
    fit = sm.OLS(kept[measure], design).fit(cov_type="HC3")
    if fit.scale <= 1e-12 * kept[measure].var():  # the covariates say all of it: what is left is rounding
        return NO_INTERVAL
    spread = np.sqrt(fit.scale)
    effects = (fit.params["group"], *fit.conf_int(alpha=1 - CONFIDENCE).loc["group"])
    return Interval(*(float(sps.norm.cdf(effect / spread / np.sqrt(2))) for effect in effects))


def compare(
    table: pd.DataFrame,
    measures: Sequence[str],
    groups: pd.Series,
    a: str,
    b: str,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """A row a measure: AUROC of group `a` over group `b` with interval, Mann-Whitney p, Holm-adjusted over the rows.

    `table` has a row a response, and `groups` the same index. Responses where a measure is missing are left out of its
    row; n_a and n_b count those that are in. Where a group has fewer than FEWEST the row is NaN.
    """
    rows = []
    for measure in measures:
        values = table[measure].dropna()
        of_a, of_b = (values[groups.loc[values.index] == name].to_numpy(float) for name in (a, b))
        interval = auroc_interval(of_a, of_b, seed=seed)
        row = {"measure": measure, "n_a": len(of_a), "n_b": len(of_b), "auroc": interval.estimate}
        row |= {"low": interval.low, "high": interval.high, "p": np.nan}
        if not np.isnan(interval.estimate):
            row["p"] = float(sps.mannwhitneyu(of_a, of_b).pvalue)
        rows.append(row)
    result = pd.DataFrame(rows).set_index("measure")
    return result.assign(p_holm=holm(result["p"]))


def holm(p: pd.Series) -> pd.Series:
    """p-values adjusted over those that are not missing (Holm 1979)."""
    tested = p.dropna()
    adjusted = multipletests(tested, method="holm")[1] if len(tested) else []
    return pd.Series(adjusted, index=tested.index, dtype=float).reindex(p.index)


def compare_adjusted(
    table: pd.DataFrame, measures: Sequence[str], groups: pd.Series, a: str, b: str, covariates: Sequence[str]
) -> pd.DataFrame:
    """As `compare`, with the covariates (columns of `table`) held fixed: auroc, low, high as `adjusted_auroc` says."""
    two = table[groups.loc[table.index].isin([a, b])]
    is_a = groups.loc[two.index] == a
    rows = {measure: adjusted_auroc(two, measure, is_a, covariates) for measure in measures}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["auroc", "low", "high"])


def compare_paired(differences: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """A row a measure: how often, and by how much, one part of a response exceeds another part of the same response.

    `differences` has a row a response, part less part. `auroc` is the share of responses with a positive difference,
    ties counted half (0.5: no difference, as for AUROC), low and high its Wilson interval; `mean` is in the unit of the
    measure; p is Wilcoxon's signed rank, Holm-adjusted over the rows. NaN below FEWEST responses.
    """
    rows = []
    for measure in measures:
        values = differences[measure].dropna().to_numpy(float)
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
