"""Statistics of recorded responses: curves, group comparisons, maps over heads; each with its interval.

The unit is the response: tokens of one response are not independent, and tests that count them as such find effects
where there are none. Tables in, tables out; nothing here draws, and nothing here knows a model.
"""

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import statsmodels.api as sm
import xarray as xr
from jaxtyping import Float, Real
from scipy import stats as sps
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.multitest import multipletests

from attnent.analysis.intervals import CONFIDENCE, FEWEST, N_RESAMPLES, NO_INTERVAL, Interval, StatsError, wilson

# ---- windows and means: what is compared


def response_means(tokens: pd.DataFrame, *, first: int | None = None, last: int | None = None) -> pd.DataFrame:
    """Mean of every numeric column of a token table for each response, indexed by response_id.

    `first` (or `last`) keeps only the first (last) so many steps of each response and drops responses that are shorter.
    """
    if first is not None and last is not None:
        raise StatsError("give first or last, not both")
    window = first if first is not None else last
    if window is not None:
        length = tokens.groupby("response_id")["step"].transform("size")
        place = tokens["step"] if first is not None else length - 1 - tokens["step"]
        tokens = tokens[(length >= window) & (place < window)]
    numbers = tokens.select_dtypes("number").drop(
        columns=["step", "token_id", "char_start", "char_end"], errors="ignore"
    )
    return numbers.groupby(tokens["response_id"], sort=False).mean()


def matched_window(n_steps: pd.Series, groups: pd.Series, *, keep: float = 0.9) -> int:
    """The longest window of first steps that at least the share `keep` of each group's responses fill; 0 for none."""
    if n_steps.empty:
        return 0
    by_group = n_steps.groupby(groups.to_numpy())
    return int(by_group.quantile(1 - keep, interpolation="lower").min())


def curve(
    tokens: pd.DataFrame, measure: str, groups: pd.Series, *, from_end: bool = False, at_least: int = 5
) -> pd.DataFrame:
    """Mean of a measure over responses at each step and its interval (Student's t over responses).

    `groups` maps response_id to a group. Columns: group, step, mean, low, high, n. Steps reached by fewer than
    `at_least` responses of a group are left out. `from_end` counts steps backwards: -1 is the last.
    """
    table = tokens[["response_id", "step", measure]].dropna().assign(group=lambda t: t["response_id"].map(groups))
    if from_end:
        length = tokens.groupby("response_id")["step"].max() + 1
        table["step"] -= table["response_id"].map(length)
    by_step = table.groupby(["group", "step"], observed=True)[measure]
    result = by_step.agg(mean="mean", sem="sem", n="size").reset_index()
    result = result[result["n"] >= at_least]
    half = sps.t.ppf((1 + CONFIDENCE) / 2, result["n"] - 1) * result["sem"]
    return result.assign(low=result["mean"] - half, high=result["mean"] + half).drop(columns="sem")


# ---- two groups


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
    return result.assign(p_holm=_holm(result["p"]))


def _holm(p: pd.Series) -> pd.Series:
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
    return result.assign(p_holm=_holm(result["p"]))


def _signed_rank(values: Float[np.ndarray, " n"]) -> float:
    return float(sps.wilcoxon(values).pvalue) if values.any() else 1.0


def compare_paired_adjusted(
    differences: pd.DataFrame, measures: Sequence[str], covariates: Sequence[str]
) -> pd.DataFrame:
    """What is left of paired differences where those of the covariates are nought, on the scale of AUROC.

    Ordinary least squares of the measure's difference on the covariates' differences, with robust (HC3) errors; the
    intercept in residual standard deviations, d, is shown as Phi(d), the share of positive differences in a normal
    population with that mean. Columns auroc, low, high; NaN below FEWEST responses.
    """
    rows = {}
    for measure in measures:
        kept = differences[[measure, *covariates]].dropna()
        rows[measure] = NO_INTERVAL
        if len(kept) >= max(FEWEST, len(covariates) + 3) and kept[measure].nunique() > 1:
            varying = [name for name in covariates if kept[name].nunique() > 1]
            design = sm.add_constant(kept[varying] / kept[varying].std(), has_constant="add")
            fit = sm.OLS(kept[measure], design).fit(cov_type="HC3")
            if fit.scale > 1e-12 * kept[measure].var():
                ends = (fit.params["const"], *fit.conf_int(alpha=1 - CONFIDENCE).loc["const"])
                rows[measure] = Interval(*(float(sps.norm.cdf(end / np.sqrt(fit.scale))) for end in ends))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["auroc", "low", "high"])


def head_map(values: xr.DataArray, groups: pd.Series, a: str, b: str, *, seed: int = 0) -> xr.Dataset:
    """AUROC of group `a` over `b` for every head, and p adjusted over all heads by max-T permutation.

    `values` is (response, layer, head), one number a response and head; a head with a missing number is NaN, and
    so are all where a group has fewer than FEWEST responses.
    Returns auroc and p_max_t, both (layer, head) (Westfall & Young 1993).
    """
    of_response = groups.loc[values["response"].to_numpy()].to_numpy()
    compared = np.isin(of_response, [a, b])
    is_a = of_response[compared] == a
    shape = tuple(values.sizes[name] for name in ("layer", "head"))
    flat = values.transpose("response", "layer", "head").to_numpy().reshape(len(compared), np.prod(shape))[compared]
    n_a, n_b = int(is_a.sum()), int((~is_a).sum())
    counts = {"n_a": n_a, "n_b": n_b}
    auroc_of, p_of = (np.full(flat.shape[1], np.nan) for _ in range(2))
    usable = ~np.isnan(flat).any(axis=0)
    ranks = sps.rankdata(flat[:, usable], axis=0)

    def of_heads(rows_a: np.ndarray) -> np.ndarray:
        return (ranks[rows_a].sum(axis=0) - n_a * (n_a + 1) / 2) / (n_a * n_b)

    def largest(rows_a: np.ndarray, rows_b: np.ndarray) -> float:
        return np.abs(of_heads(rows_a) - 0.5).max()

    if min(n_a, n_b) >= FEWEST and usable.any():
        result = sps.permutation_test(
            (np.flatnonzero(is_a), np.flatnonzero(~is_a)),
            largest,
            n_resamples=N_RESAMPLES,
            alternative="greater",
            rng=np.random.default_rng(seed),
        )
        auroc_of[usable] = of_heads(np.flatnonzero(is_a))
        exceed = result.null_distribution[:, None] >= np.abs(auroc_of[usable] - 0.5) - 1e-12
        p_of[usable] = (exceed.sum(axis=0) + 1) / (len(result.null_distribution) + 1)
    return xr.Dataset(
        {
            "auroc": (("layer", "head"), auroc_of.reshape(shape), {"long_name": f"AUROC, {a} over {b}"} | counts),
            "p_max_t": (("layer", "head"), p_of.reshape(shape), {"long_name": "p, adjusted over heads (max-T)"}),
        },
        coords={name: values[name] for name in ("layer", "head")},
        attrs=counts,
    )


def paired_head_map(differences: xr.DataArray, *, seed: int = 0) -> xr.Dataset:
    """For every head the share of responses with a positive difference, and p adjusted over all heads.

    `differences` is (response, layer, head), part less part of one response. p is that of the largest |t| over the map
    when the signs of whole responses are flipped at random (max-T: Westfall & Young 1993; Nichols & Holmes 2002).
    Returns auroc (the share) and p_max_t, both (layer, head); NaN below FEWEST responses and where a number is missing.
    """
    values = differences.transpose("layer", "head", "response").to_numpy().astype(float)
    n = values.shape[-1]
    share, p = (np.full(values.shape[:2], np.nan) for _ in range(2))
    usable = ~np.isnan(values).any(axis=-1) & (values != 0).any(axis=-1)
    if n >= FEWEST and usable.any():
        kept = values[usable]
        share[usable] = (np.sign(kept).mean(axis=-1) + 1) / 2
        result = sps.permutation_test(
            (kept,),
            lambda x, axis: np.abs(sps.ttest_1samp(x, 0.0, axis=axis).statistic),
            permutation_type="samples",
            vectorized=True,
            n_resamples=N_RESAMPLES,
            batch=20,
            axis=-1,
            alternative="greater",
            rng=np.random.default_rng(seed),
        )
        largest = result.null_distribution.max(axis=-1)
        exceed = largest[:, None] >= result.statistic - 1e-12
        p[usable] = (exceed.sum(axis=0) + 1) / (len(largest) + 1)
    return xr.Dataset(
        {
            "auroc": (
                ("layer", "head"),
                share,
                {"long_name": "share of responses with a positive difference", "n": values.shape[-1]},
            ),
            "p_max_t": (("layer", "head"), p, {"long_name": "p, adjusted over heads (max-T)"}),
        },
        coords={name: differences[name] for name in ("layer", "head")},
    )


def head_levels(values: xr.DataArray, groups: pd.Series) -> dict[str, xr.DataArray]:
    """The mean over responses of every head, (layer, head), for each group; attribute n counts them.

    `values` is (response, layer, head).
    """
    of_group = {
        str(name): values.sel(response=values["response"].isin(members.index))
        for name, members in groups.groupby(groups)
    }
    return {name: own.mean("response").assign_attrs(n=own.sizes["response"]) for name, own in of_group.items()}


def in_words(row: pd.Series, name: str, a: str, b: str) -> str:
    """One sentence on a row of `compare`: the effect with its interval, or the null with what it excludes."""
    interval = Interval(row["auroc"], row["low"], row["high"])
    counts = f"n = {int(row['n_a'])} {a}, {int(row['n_b'])} {b}"
    if np.isnan(row["auroc"]):
        return f"{name} cannot be compared ({counts}; at least {FEWEST} responses are needed in each group)"
    if row["p_holm"] < 1 - CONFIDENCE:
        side = "higher" if row["auroc"] > 0.5 else "lower"
        return f"{name} is {side} in {a} than in {b} responses (AUROC {interval}, {counts})"
    furthest = max(row["high"], 1 - row["low"])
    return (
        f"{name} does not tell {a} from {b} responses (AUROC {interval}, {counts}; "
        f"an effect beyond {furthest:.2f} or below {1 - furthest:.2f} is excluded)"
    )


def controlled(
    tokens: pd.DataFrame,
    responses: pd.DataFrame,
    measures: Sequence[str],
    groups: pd.Series,
    a: str,
    b: str,
    *,
    lengths: Sequence[str] = ("n_prompt", "n_steps"),
    baselines: Sequence[str] = ("token_entropy", "logprob"),
) -> dict[str, pd.DataFrame]:
    """The same comparison under ever more control: raw, windowed, lengths held fixed, token baselines held fixed too.

    The `lengths` are columns of `responses`; they and the `baselines`, columns of `tokens`, are rows of their own, so
    that what they alone would tell stands beside every measure. `groups` maps response_id to a group; responses of
    other groups are left out.
    """
    about = responses.set_index("response_id")
    groups = groups[groups.isin([a, b])]
    window = matched_window(about.loc[groups.index, "n_steps"], groups)
    rows = [*measures, *baselines, *lengths]

    def table(means: pd.DataFrame) -> pd.DataFrame:
        return means.join(about[[*lengths]], how="inner").loc[lambda t: t.index.isin(groups.index), rows]

    windowed = table(response_means(tokens, first=window))
    return {
        "all steps": compare(table(response_means(tokens)), rows, groups, a, b),
        f"first {window} steps": compare(windowed, rows, groups, a, b),
        "... and length held fixed": compare_adjusted(windowed, [*measures, *baselines], groups, a, b, lengths),
        "... and token baselines too": compare_adjusted(windowed, measures, groups, a, b, [*lengths, *baselines]),
    }


def verdict(ways: Mapping[str, pd.DataFrame], primary: Mapping[str, str], a: str, b: str) -> str:
    """What `controlled` found for the primary measures (column: name), in words, and what is left under all controls.

    A measure is left where it differs in the window (Holm over the primary measures) and its interval excludes 0.5 on
    the same side there, with the lengths held fixed, and with the token baselines held fixed too.
    """
    _, windowed, fixed, increment = ways.values()
    rows = holm_among(windowed, list(primary))
    if rows["auroc"].isna().all():
        return nothing_compared(rows, primary, a, b)
    sentences = [
        f"{in_words(rows.loc[key], name, a, b)}; with lengths held fixed {interval_of(fixed, key)}, "
        f"with token entropy and log-probability held fixed too {interval_of(increment, key)}"
        for key, name in primary.items()
    ]
    return f"{as_sentences(sentences)} {left_over([rows, fixed, increment], primary)}"


def holm_among(table: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """The rows of these measures alone, their p-values adjusted over no others (Holm 1979)."""
    rows = table.loc[list(measures)]
    return rows.assign(p_holm=_holm(rows["p"]))


def nothing_compared(rows: pd.DataFrame, primary: Mapping[str, str], a: str, b: str) -> str:
    """The sentence that stands for a verdict where the groups are too small."""
    return "Nothing could be compared: " + "; ".join(in_words(rows.loc[key], primary[key], a, b) for key in primary)


def as_sentences(texts: Sequence[str]) -> str:
    """Texts as sentences, each with a capital and a full stop."""
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in texts)


def left_over(tables: Sequence[pd.DataFrame], primary: Mapping[str, str]) -> str:
    """Which primary measures differ in the first table and lie on the same side of 0.5 in all of them, in words."""
    left = [
        name
        for key, name in primary.items()
        if tables[0].loc[key, "p_holm"] < 1 - CONFIDENCE and {_side(table.loc[key]) for table in tables} in ({1}, {-1})
    ]
    return f"Left under all controls: {' and '.join(left) or 'nothing'}."


def main_effect(ways: Mapping[str, pd.DataFrame], measure: str) -> Interval:
    """AUROC of a measure in the matched window, as `controlled` found it."""
    _, windowed, *_ = ways.values()
    return interval_of(windowed, measure)


def alone(ways: Mapping[str, pd.DataFrame], controls: Mapping[str, str]) -> str:
    """What each control (row: name) tells by itself over all steps, in words."""
    whole = next(iter(ways.values()))
    return ", ".join(f"{name} {interval_of(whole, key)}" for key, name in controls.items())


def interval_of(table: pd.DataFrame, key: str) -> Interval:
    """The estimate of one row with its interval."""
    return Interval(*table.loc[key, ["auroc", "low", "high"]])


def _side(row: pd.Series) -> int:
    """1 where an interval lies above 0.5, -1 below, 0 where it holds 0.5 or is missing."""
    return int(row["low"] > 0.5) - int(row["high"] < 0.5)


def answer(means: pd.DataFrame, measures: Mapping[str, str], groups: pd.Series, a: str, b: str) -> str:
    """The primary comparison in words; `measures` maps the primary measures to their names."""
    result = compare(means, list(measures), groups, a, b)
    return "; ".join(in_words(result.loc[measure], name, a, b) for measure, name in measures.items())


# ---- two judges


class Agreement(NamedTuple):
    """How far two judges agree on the same responses."""

    kappa: Interval  # Cohen 1960: 0 is chance, 1 always; undetermined where both give one and the same grade only
    table: pd.DataFrame  # how often each pair of grades was given, a row a grade of the first judge


def agreement(one: pd.Series, other: pd.Series, grades: Sequence[str], *, seed: int = 0) -> Agreement:
    """Cohen's kappa with its percentile bootstrap interval over responses, and the confusion table.

    `one` and `other` hold the grades of two judges by response_id; compared are the responses with one of `grades`
    from both. With fewer than FEWEST kappa is undetermined.
    """
    both = pd.concat([one, other], axis=1, join="inner").to_numpy(dtype=object)
    both = both[np.isin(both, list(grades)).all(axis=1)].astype(str)
    counts = pd.crosstab(both[:, 0], both[:, 1]).reindex(index=grades, columns=grades, fill_value=0)
    table = counts.rename_axis(index=one.name, columns=other.name)
    kappa_of = functools.partial(cohen_kappa_score, labels=list(grades))
    with warnings.catch_warnings():  # judges, or resamples, with one and the same grade only
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        warnings.simplefilter("ignore", sps.DegenerateDataWarning)
        if len(both) < FEWEST or np.isnan(kappa := float(kappa_of(*both.T))):
            return Agreement(NO_INTERVAL, table)
        resampled = sps.bootstrap(
            tuple(both.T),
            kappa_of,
            paired=True,
            n_resamples=N_RESAMPLES,
            vectorized=False,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Agreement(Interval(kappa, float(low), float(high)), table)
