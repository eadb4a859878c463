"""One comparison in several models: pooled over them, what a further model would show, and how it goes with size.

Sets of clusters lie within a model, and models within the pool: a model counts once, however much it wrote.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats as sps
from scipy.special import expit

from attnent.analysis.comparison import holm
from attnent.analysis.intervals import CONFIDENCE, FEWEST, NO_INTERVAL, Interval
from attnent.analysis.pooling import combined, on_logit
from attnent.analysis.regression import MOST_EXPLAINED
from attnent.analysis.verdicts import Comparison, Verdict

POOL = "pooled"
FEWEST_SIZES = 3  # of one family, for a slope
_ENDS = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
_SIZE_IN_NAME = re.compile(r"[-_. ]?\d+(?:\.\d+)?[kmbt](?![a-z0-9])", re.IGNORECASE)


def over_models(models: Mapping[str, Comparison]) -> Comparison:
    """One Comparison of several models, which are its `sets`: every stage pooled by `pool_models`."""
    first = next(iter(models.values()))
    stages = {stage: pool_models([one.stages[stage] for one in models.values()]) for stage in first.stages}
    return replace(first, stages=stages, window=None, sets=dict(models), subgroups={}, learned=None, compared=None)


def pool_models(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of several models' tables, of the measures that all have.

    Random effects on the logit scale (Paule & Mandel 1982) with Student's t on k - 1 degrees of freedom, which is the
    interval of Hartung & Knapp (2001), never narrower than that of a single effect: two models leave one degree of
    freedom. auroc, low, high, p, p_holm; counts summed; `tau`, the standard deviation between models (logit);
    `next_low` and `next_high`, between which the effect of a further model would lie (Higgins et al. 2009; from three
    models on); `n_models` that have a number. NaN below two.
    """
    measures = [name for name in tables[0].index if all(name in table.index for table in tables)]
    rows = {measure: _pooled([table.loc[measure] for table in tables]) for measure in measures}
    result = pd.DataFrame.from_dict(rows, orient="index").rename_axis("measure")
    return result.assign(p_holm=holm(result["p"]))


def _pooled(rows: Sequence[pd.Series]) -> dict[str, float]:
    known = [one for one in rows if on_logit(one).error > 0]
    row = {name: float(sum(one[name] for one in known)) for name in ("n_a", "n_b")}
    row |= {"overlap": float(np.mean([one["overlap"] for one in rows]))} if "overlap" in rows[0] else {}
    row |= dict.fromkeys(["auroc", "low", "high", "p", "tau", "next_low", "next_high"], np.nan)
    found = combined(known)
    if found is None:
        return row | {"n_models": float(len(known))}
    result, weights = found
    mean, error = result.summary_frame(use_t=False).loc["random effect", ["eff", "sd_eff"]].astype(float)
    n, first = len(weights), on_logit(known[0]).error
    row["auroc"], row["tau"] = expit(mean), np.sqrt(max(0.0, 1 / weights[0] - first**2))
    row["low"], row["high"] = expit(mean + error * sps.t.ppf(_ENDS, n - 1))
    row["p"] = 2 * sps.t.sf(abs(mean) / error, n - 1)
    if n > 2:
        row["next_low"], row["next_high"] = expit(mean + np.hypot(error, row["tau"]) * sps.t.ppf(_ENDS, n - 2))
    return row | {"n_models": float(n)}


def by_model(comparisons: Mapping[str, Comparison]) -> pd.DataFrame:
    """A row a question, model and primary measure: sizes, AUROC where it is tested and under all controls, verdict.

    Each comparison is of `over_models`. A verdict is followed by what a model has too little of.
    """
    rows = {}
    for question, comparison in comparisons.items():
        for name, one in comparison.sets.items():
            for measure, verdict in one.verdict.items():
                rows[question, name, measure] = {
                    "n first": verdict.n_a,
                    "n second": verdict.n_b,
                    one.tested: f"{verdict.tested}",
                    one.last: f"{verdict.controlled}",
                    "in sets": f"{verdict.in_sets} of {verdict.n_sets}" if verdict.n_sets else "",
                    "verdict": verdict.outcome + _lacking(one, verdict),
                }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis(["question", "model", "measure"])


def pools(comparisons: Mapping[str, Comparison]) -> pd.DataFrame:
    """A row a question and primary measure: the models pooled where it is tested and under all controls, verdict.

    `models` are those with a number under all controls; `tau` and `next model` as in `pool_models`, I² as in
    `heterogeneity`, all three under all controls.
    """
    rows = {}
    for question, comparison in comparisons.items():
        for measure, verdict in comparison.verdict.items():
            last = comparison.stages[comparison.last].loc[measure]
            known = last[["auroc", "next_low", "next_high"]].astype(float)
            ends = NO_INTERVAL if known.isna().any() else Interval(*known)
            rows[question, measure] = {
                "models": verdict.n_sets,
                comparison.tested: f"{verdict.tested}",
                comparison.last: f"{verdict.controlled}",
                "in models": f"{verdict.in_sets} of {verdict.n_sets}",
                "I²": comparison.heterogeneity.loc[measure, comparison.last],
                "tau": last["tau"],
                "next model": f"{ends}",
                "verdict": verdict.outcome,
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["question", "measure"])


def _lacking(one: Comparison, verdict: Verdict) -> str:
    """Why a model has no number, in the terms of the table."""
    if np.isnan(verdict.tested.estimate):
        n, group = min((verdict.n_a, one.a), (verdict.n_b, one.b))
        return f": n {group} {n}" + (f" in {len(one.sets)} sets" if n >= FEWEST and one.sets else "")
    if np.isnan(verdict.controlled.estimate):
        return f": controls explain {verdict.overlap:.0%}" if verdict.overlap > MOST_EXPLAINED else ": too few"
    return ""


# ---- size


class Slope(NamedTuple):
    """How an effect changes with ten times as many parameters, on the logit scale, with its 95 % interval."""

    per_tenfold: Interval
    p: float
    n_models: int


def family_of(model: str) -> str:
    """The family that the name of a model tells: what stands before its size, without who published it."""
    return _SIZE_IN_NAME.split(model.rsplit("/", 1)[-1], maxsplit=1)[0] or model


def families(sizes: Mapping[str, float]) -> dict[str, list[str]]:
    """The models of each family of which at least FEWEST_SIZES sizes are known, from the smallest."""
    known = pd.Series(sizes, dtype=float).dropna().sort_values()
    by_family = known.groupby([family_of(name) for name in known.index], sort=False)
    return {str(family): [*own.index] for family, own in by_family if own.nunique() >= FEWEST_SIZES}


def slope(comparison: Comparison, measure: str, sizes: Mapping[str, float]) -> Slope:
    """Meta-regression of a measure's effect under all controls on the logarithm of size, over the models in `sizes`.

    Least squares weighted by 1 / error^2, with a dispersion between models of at least 1 and Student's t (Thompson &
    Sharp 1999). Undetermined where fewer than FEWEST_SIZES models have a number.
    """
    effects = {name: on_logit(comparison.sets[name].stages[comparison.last].loc[measure]) for name in sizes}
    known = {name: effect for name, effect in effects.items() if effect.error > 0}
    if len({sizes[name] for name in known}) < FEWEST_SIZES:
        return Slope(NO_INTERVAL, np.nan, len(known))
    estimates, errors = np.array([*known.values()]).T
    design = sm.add_constant(np.log10([sizes[name] for name in known]))
    fit = sm.WLS(estimates, design, weights=errors**-2).fit()
    error = np.sqrt(fit.normalized_cov_params[1, 1] * max(1.0, fit.scale))
    middle, freedom = float(fit.params[1]), int(fit.df_resid)
    low, high = (float(end) for end in middle + error * sps.t.ppf(_ENDS, freedom))
    return Slope(Interval(middle, low, high), float(2 * sps.t.sf(abs(middle) / error, freedom)), len(known))


def slopes(comparisons: Mapping[str, Comparison], sizes: Mapping[str, float]) -> pd.DataFrame:
    """A row a question, family of FEWEST_SIZES sizes and primary measure: models, slope, low, high, p, p_holm."""
    rows = {}
    for question, comparison in comparisons.items():
        known = {name: sizes[name] for name in comparison.sets}
        for family, models in families(known).items():
            for measure in comparison.primary:
                found = slope(comparison, measure, {name: known[name] for name in models})
                rows[question, family, measure] = (found.n_models, *found.per_tenfold, found.p)
    index = pd.MultiIndex.from_tuples(rows, names=["question", "family", "measure"])
    table = pd.DataFrame([*rows.values()], index, columns=["models", "slope", "low", "high", "p"])
    return table.assign(p_holm=holm(table["p"]))
