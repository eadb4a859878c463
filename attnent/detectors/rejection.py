"""What a score is worth to someone who declines to answer where it is high: PRR, AUGRC and the curves behind them.

A score is higher where a response is more likely wrong; an error is 1 where it is wrong, 0 where it is right, or
between. Responses of equal score count as the mean over all their orders, so that the order of rows does not matter.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Integer, Real

from attnent.analysis.comparison import fewest_clusters
from attnent.analysis.intervals import CONFIDENCE, FEWEST, NO_INTERVAL, Interval, StatsError

MAX_REJECTION = 0.5
N_RESAMPLES = 1_000

Errors = Bool[np.ndarray, " response"] | Real[np.ndarray, " response"]


def prr(scores: Real[np.ndarray, " response"], errors: Errors, *, max_rejection: float = MAX_REJECTION) -> float:
    """Prediction rejection ratio (Malinin et al. 2017): 0 for a score that knows nothing, 1 for one that knows all.

    (r - a) / (r - o), with a the mean error of what is kept while 0, 1, 2 ... responses of n are rejected, fewer than
    `max_rejection` n, the highest scores first; o the same of a score that is the error, r that of chance, the mean of
    all errors. As in lm-polygraph, but that its chance is the mean of 1,000 drawn orders; its benchmark reports
    max_rejection 0.5, as here, beside 1.0, which is the default of its class. NaN where all errors are the same, or
    responses so few that none is rejected.
    """
    _check(scores, errors)
    return float(_prr(scores, errors, np.ones((1, len(scores)), int), max_rejection)[0])


def augrc(scores: Real[np.ndarray, " response"], errors: Errors) -> float:
    """Area under the generalised risk-coverage curve (Traub et al. 2024, arXiv 2407.01032); lower is better.

    The mean over k of the errors among the k lowest scores, over n: the risk that an answer is both given and wrong.
    With w of n responses wrong it is ((1 - AUROC) w (n - w) + w (w + 1) / 2) / n^2, and so about w / (2 n) by chance.
    """
    _check(scores, errors)
    return float(_augrc(scores, errors, np.ones((1, len(scores)), int))[0])


def prr_interval(
    scores: Real[np.ndarray, " response"],
    errors: Errors,
    clusters: Int[np.ndarray, " response"],
    *,
    max_rejection: float = MAX_REJECTION,
) -> Interval:
    """`prr` with its 95 % interval: percentiles over clusters drawn anew with replacement, the same every time.

    Undetermined where fewer than FEWEST clusters hold a response that is wrong, or one that is right.
    """
    return _resampled(lambda *drawn: _prr(*drawn, max_rejection), scores, errors, clusters)


def augrc_interval(
    scores: Real[np.ndarray, " response"], errors: Errors, clusters: Int[np.ndarray, " response"]
) -> Interval:
    """`augrc` with its 95 % interval, as `prr_interval` has it."""
    return _resampled(_augrc, scores, errors, clusters)


def risk_coverage(scores: Real[np.ndarray, " response"], errors: Errors) -> pd.DataFrame:
    """A row for each number k of responses kept, the lowest scores: coverage, risk and generalized_risk (1).

    coverage k / n; risk, the mean error of what is kept; generalized_risk, its product with coverage.
    """
    _check(scores, errors)
    n_kept = np.arange(1, len(scores) + 1)
    kept = pd.Series(errors, dtype=float).groupby(scores).transform("mean")[np.argsort(scores)].cumsum().to_numpy()
    columns = {"coverage": n_kept, "risk": kept * len(scores) / n_kept, "generalized_risk": kept}
    return pd.DataFrame(columns) / len(scores)


# ---- inside: a response may be there several times, or not at all (weight), in each of many samples


def _check(scores: Real[np.ndarray, " response"], errors: Errors) -> None:
    if len(scores) == 0:
        raise StatsError("there are no responses; give at least one")
    if n_missing := int(np.isnan(scores).sum()):
        raise StatsError(f"{n_missing} of {len(scores)} scores are missing; leave those responses out")
    if not (np.min(errors) >= 0 and np.max(errors) <= 1):
        raise StatsError("errors lie outside 0 to 1, or are missing; give 1 for wrong and 0 for right")


def _by_tie(
    scores: Real[np.ndarray, " response"], errors: Errors, weights: Integer[np.ndarray, "sample response"]
) -> tuple[Float[np.ndarray, "sample tie"], Float[np.ndarray, "sample tie"]]:
    """How many responses have each score, from the lowest on, and the sum of their errors."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    sorted_ = weights[:, order].astype(float)
    return np.add.reduceat(sorted_, starts, axis=1), np.add.reduceat(sorted_ * errors[order], starts, axis=1)


def _augrc(
    scores: Real[np.ndarray, " response"], errors: Errors, weights: Integer[np.ndarray, "sample response"]
) -> Float[np.ndarray, " sample"]:
    n, wrong = _by_tie(scores, errors, weights)
    before = wrong.cumsum(axis=1) - wrong
    return (n * before + wrong * (n + 1) / 2).sum(axis=1) / n.sum(axis=1) ** 2


def _prr(
    scores: Real[np.ndarray, " response"],
    errors: Errors,
    weights: Integer[np.ndarray, "sample response"],
    max_rejection: float,
) -> Float[np.ndarray, " sample"]:
    chance = weights @ errors / weights.sum(axis=1)
    of_score, of_oracle = (_risk(*_by_tie(by, errors, weights), max_rejection) for by in (scores, errors.astype(float)))
    with np.errstate(invalid="ignore"):
        return np.where(np.isclose(chance, of_oracle), np.nan, (chance - of_score) / (chance - of_oracle))


def _risk(
    n: Float[np.ndarray, "sample tie"], wrong: Float[np.ndarray, "sample tie"], max_rejection: float
) -> Float[np.ndarray, " sample"]:
    """Mean over k, from the most rejected to none, of the mean error of the k kept.

    Within a tie the errors kept grow in a line, a + b k, so that their mean over k sums to a (1/k + ...) + b.
    """
    total = n.sum(axis=1, keepdims=True)
    n_rejected = (max_rejection * total).astype(int)
    kept = n.cumsum(axis=1)
    stop, start = (np.maximum(edge, total - n_rejected).astype(int) for edge in (kept, kept - n))
    slope = np.divide(wrong, n, out=np.zeros_like(n), where=n > 0)
    level = wrong.cumsum(axis=1) - slope * kept
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(total.max()) + 1))])
    sums = (level * (harmonic[stop] - harmonic[start]) + slope * (stop - start)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return sums / n_rejected[:, 0]


def _resampled(
    measure: Callable[..., Float[np.ndarray, " sample"]],
    scores: Real[np.ndarray, " response"],
    errors: Errors,
    clusters: Int[np.ndarray, " response"],
) -> Interval:
    _check(scores, errors)
    if fewest_clusters(errors > 0.5, clusters) < FEWEST:
        return NO_INTERVAL
    of_cluster = np.unique(clusters, return_inverse=True)[1]
    n_clusters = of_cluster.max() + 1
    drawn = np.random.default_rng(0).integers(n_clusters, size=(N_RESAMPLES, n_clusters))
    times = np.stack([np.bincount(sample, minlength=n_clusters) for sample in drawn])
    low, high = np.nanquantile(
        measure(scores, errors, times[:, of_cluster]), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    )
    return Interval(float(measure(scores, errors, np.ones((1, len(scores)), int))[0]), float(low), float(high))
