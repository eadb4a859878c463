"""Grades counted: shares of outcomes, accuracy under several rules, two judges held against each other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from scipy import stats as sps

from attnent.analysis.intervals import CONFIDENCE, FEWEST, N_RESAMPLES, NO_INTERVAL, Interval, StatsError, wilson

_OUTCOMES = ("correct", "incorrect", "not_attempted")
_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


def accuracy(grades: pd.DataFrame) -> pd.DataFrame:
    """The accuracy under every rule of a table with a row a response and a column a rule, with its Wilson interval.

    A row a rule: `n` (how many are correct), `share`, `low`, `high` (1).
    """
    n_correct = {str(rule): int((given == "correct").sum()) for rule, given in grades.items()}
    rows = {rule: _share(n, len(grades)) for rule, n in n_correct.items()}
    return _table(rows, "rule")


def outcome_shares(grades: Sequence[str]) -> pd.DataFrame:
    """Shares of the outcomes of SimpleQA, correct given attempted, and F, each with its interval.

    F is the harmonic mean of the share of correct and of correct given attempted: 2 c / (n + a), with c correct and a
    attempted of n (Wei et al. 2024, arXiv:2411.04368). Wilson intervals for shares, percentile bootstrap over
    responses for F. Rows `correct`, `incorrect`, `not_attempted`, `correct_given_attempted`, `f`; columns `n` (count;
    of the last two the number attempted and the number of all), `share`, `low`, `high` (1). What cannot be computed
    is NaN. Raises StatsError on an unknown grade.
    """
    counts = pd.Series(grades, dtype=object).value_counts()
    if unknown := sorted(set(counts.index) - set(_OUTCOMES)):
        raise StatsError(f"unknown grades {', '.join(map(repr, unknown))}: expected {', '.join(map(repr, _OUTCOMES))}")
    counts = counts.reindex(_OUTCOMES, fill_value=0).to_numpy(int)
    total, n_attempted = int(counts.sum()), int(counts[:2].sum())
    rows = {outcome: _share(n, total) for outcome, n in zip(_OUTCOMES, counts.tolist(), strict=True)}
    rows["correct_given_attempted"] = (n_attempted, wilson(float(counts[0]), n_attempted))
    rows["f"] = (total, _f_with_interval(counts) if total else NO_INTERVAL)
    return _table(rows, "outcome")


def share_by_cluster(is_right: pd.Series, clusters: pd.Series) -> Interval:
    """The share of right responses; those of one cluster are not independent.

    Wilson's interval of as many responses as tell as much (n over the design effect, Korn & Graubard 1998), at most n
    and, where all are alike and nothing can be seen of it, the number of clusters.
    """
    n, right = len(is_right), is_right.to_numpy(float)
    if not n:
        return NO_INTERVAL
    error = _error_by_cluster(right, clusters)
    told = min(float(n), n * right.var() / (n - 1) / error**2) if error > 0 else float(clusters.nunique())
    return wilson(right.mean() * told, told)


def mean_by_cluster(values: pd.Series, clusters: pd.Series) -> Interval:
    """A mean with Student's t over clusters (Liang & Zeger 1986); undetermined below FEWEST of them."""
    n_clusters = clusters.nunique()
    if n_clusters < FEWEST:
        return NO_INTERVAL
    middle, reach = float(values.mean()), sps.t.ppf(_TAILS[1], n_clusters - 1)
    half = reach * _error_by_cluster(values.to_numpy(float), clusters)
    return Interval(middle, middle - half, middle + half)


def _error_by_cluster(values: Float[np.ndarray, " response"], clusters: pd.Series) -> float:
    """The standard error of a mean: of the clusters' summed distances from it."""
    sums = pd.Series(values - values.mean()).groupby(clusters.to_numpy()).sum()
    n = len(sums)
    return float(np.sqrt(n / (n - 1) * (sums**2).sum()) / len(values)) if n > 1 else 0.0


def _f_with_interval(counts: Integer[np.ndarray, " outcome"]) -> Interval:
    low, high = np.quantile(_f(_resampled(counts)), _TAILS)
    return Interval(float(_f(counts)), float(low), float(high))


def _f(counts: Integer[np.ndarray, "*sample outcome"]) -> Float[np.ndarray, "*sample"] | np.float64:
    return 2 * counts[..., 0] / (counts.sum(-1) + counts[..., :2].sum(-1))


def _resampled(counts: Integer[np.ndarray, " kind"]) -> Integer[np.ndarray, "sample kind"]:
    """Counts of as many responses, drawn anew with replacement: N_RESAMPLES times."""
    return np.random.default_rng(0).multinomial(counts.sum(), counts / counts.sum(), N_RESAMPLES)


def _share(n: int, total: int) -> tuple[int, Interval]:
    return n, wilson(float(n), total)


def _table(rows: dict[str, tuple[int, Interval]], name: str) -> pd.DataFrame:
    flat = {key: (n, *interval) for key, (n, interval) in rows.items()}
    return pd.DataFrame.from_dict(flat, orient="index", columns=["n", "share", "low", "high"]).rename_axis(name)


# ---- two judges


class Agreement(NamedTuple):
    """How far two judges agree on the same responses."""

    kappa: Interval  # Cohen 1960: 0 is chance, 1 always; undetermined where both give one and the same grade only
    table: pd.DataFrame  # how often each pair of grades was given, a row a grade of the first judge


def agreement(one: pd.Series, other: pd.Series, grades: Sequence[str]) -> Agreement:
    """Cohen's kappa with its percentile bootstrap interval over responses, and the confusion table.

    `one` and `other` hold the grades of two judges by response_id; compared are the responses with one of `grades`
    from both. With fewer than FEWEST kappa is undetermined.
    """
    both = pd.concat([one, other], axis=1, join="inner")
    both = both[both.isin(list(grades)).all(axis=1)].to_numpy(str)
    counts = pd.crosstab(both[:, 0], both[:, 1]).reindex(index=grades, columns=grades, fill_value=0)
    table = counts.rename_axis(index=one.name, columns=other.name)
    cells = counts.to_numpy()
    kappa = float(_kappa(cells))
    if len(both) < FEWEST or np.isnan(kappa):
        return Agreement(NO_INTERVAL, table)
    low, high = np.nanquantile(_kappa(_resampled(cells.ravel()).reshape(-1, *cells.shape)), _TAILS)
    return Agreement(Interval(kappa, float(low), float(high)), table)


def _kappa(counts: Integer[np.ndarray, "*sample grade grade"]) -> Float[np.ndarray, "*sample"] | np.float64:
    """(p - e) / (1 - e), with p the share alike and e the share alike by chance; NaN where e is 1."""
    total = counts.sum((-1, -2))
    with np.errstate(invalid="ignore"):
        alike = np.trace(counts, axis1=-2, axis2=-1) / total
        by_chance = (counts.sum(-1) * counts.sum(-2)).sum(-1) / total**2
        return (alike - by_chance) / (1 - by_chance)
