"""The same comparison in several sets or subgroups: pooled, and how far they agree."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats as sps
from scipy.special import expit, logit
from statsmodels.stats.meta_analysis import CombineResults, combine_effects

from attnent.analysis.comparison import holm
from attnent.analysis.intervals import CONFIDENCE, StatsError

Z = float(sps.norm.ppf((1 + CONFIDENCE) / 2))


def disjoint_sets(clusters: pd.Series, n_sets: int) -> pd.Series:
    """Responses dealt to `n_sets` sets, "set 1" ..., whole clusters at random, the same every time."""
    n_clusters = clusters.nunique()
    if not 1 <= n_sets <= max(n_clusters, 1):
        raise StatsError(f"{n_clusters} clusters cannot make {n_sets} sets; give between 1 and {max(n_clusters, 1)}")
    dealt = np.random.default_rng(0).permutation(n_clusters) % n_sets + 1
    return pd.Series(dealt[pd.factorize(clusters)[0]], index=clusters.index).map("set {}".format)


class Logit(NamedTuple):
    """An AUROC on the logit scale, and its standard error there."""

    estimate: float
    error: float


def on_logit(row: pd.Series) -> Logit:
    """auroc, low, high of a row; a complete separation, which has none, as half a pair of responses short of it.

    The error is that of the wider side of the interval; NaN where the row is undetermined.
    """
    pairs = 2 * row.get("n_a", row.get("n", 100)) * row.get("n_b", 1) + 2
    auroc, low, high = np.clip(row[["auroc", "low", "high"]].astype(float), 1 / pairs, 1 - 1 / pairs)
    return Logit(float(logit(auroc)), float(max(logit(high) - logit(auroc), logit(auroc) - logit(low)) / Z))


def combined(rows: Sequence[pd.Series]) -> tuple[CombineResults, Float[np.ndarray, " row"]] | None:
    """Random-effects meta-analysis of rows that have a number (Paule & Mandel 1982), and the weight of each.

    None where fewer than two do.
    """
    effects = [effect for effect in map(on_logit, rows) if effect.error > 0]
    if len(effects) < 2:
        return None
    estimates, errors = np.array(effects).T
    with np.errstate(divide="ignore"):  # of effects that are one and the same
        found = combine_effects(estimates, errors**2, method_re="iterated")
    return found, 1 / (errors**2 + found.tau2)


def pool(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of several of the same measures: auroc, low, high, p and Holm-adjusted p by `combined`; counts summed.

    A set in which a measure is undetermined is left out of its row; a row that fewer than half of the sets determine is
    undetermined. `overlap` is the mean over all sets, and a null band is that of the pooled estimate.
    """
    rows = {measure: _pooled_row([table.loc[measure] for table in tables]) for measure in tables[0].index}
    result = pd.DataFrame.from_dict(rows, orient="index", columns=tables[0].columns).rename_axis(tables[0].index.name)
    return result.assign(p_holm=holm(result["p"])) if "p" in result else result


def _pooled_row(rows: Sequence[pd.Series]) -> pd.Series:
    known = [row for row in rows if on_logit(row).error >= 0]
    if 2 * len(known) < len(rows):
        known = []
    row = (known or rows)[0].copy()
    for count in row.index.intersection(["n", "n_a", "n_b"]):
        row[count] = sum(one[count] for one in known or rows)
    if "overlap" in row:
        row["overlap"] = np.mean([one["overlap"] for one in rows])
    if not known:
        row[row.index.intersection(["auroc", "low", "high", "p", "null_low", "null_high"])] = np.nan
    found = combined(known)
    if found is None:
        return row
    result, weights = found
    of_all = result.summary_frame(use_t=False).loc["random effect"]
    row[["auroc", "low", "high"]] = expit(of_all[["eff", "ci_low", "ci_upp"]].to_numpy(float))
    if "p" in row:
        row["p"] = 2 * sps.norm.sf(abs(of_all["eff"]) / of_all["sd_eff"])
    if "null_low" in row:
        row[["null_low", "null_high"]] = _pooled_band(
            [one for one in known if on_logit(one).error > 0], weights / weights.sum()
        )
    return row


def _pooled_band(rows: Sequence[pd.Series], weights: Float[np.ndarray, " row"]) -> Float[np.ndarray, "2"]:
    low, high = logit(np.clip([one[["null_low", "null_high"]].astype(float) for one in rows], 1e-6, 1 - 1e-6)).T
    middle, half = (weights * (low + high) / 2).sum(), np.sqrt((weights**2 * ((high - low) / 2) ** 2).sum())
    return expit(np.array([middle - half, middle + half]))


def heterogeneity(tables: Sequence[pd.DataFrame], measure: str) -> tuple[float, float]:
    """How far sets or subgroups disagree: I² (Higgins 2003) in [0, 1], and p of Cochran's Q; NaN below two of them.

    Where they share responses Q is conservative.
    """
    found = combined([table.loc[measure] for table in tables if measure in table.index])
    if found is None:
        return np.nan, np.nan
    between = float(found[0].i2)  # beyond these ends where effects are one and the same
    return between if 0 <= between <= 1 else 0.0, float(found[0].test_homogeneity().pvalue)
