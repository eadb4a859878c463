"""Whether a confidence means what it says: of answers said to be right with probability p, a share p is right."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Real
from scipy import stats as sps
from sklearn.metrics import average_precision_score, brier_score_loss

from attnent.analysis.comparison import auroc_test
from attnent.analysis.intervals import NO_INTERVAL, Interval, StatsError, wilson

N_BINS = 10


def brier(confidence: Real[np.ndarray, " response"], is_right: Bool[np.ndarray, " response"]) -> float:
    """Mean (confidence - is_right)^2 (Brier 1950); lower is better, and a constant share p of right has p (1 - p)."""
    _check(confidence)
    return float(brier_score_loss(is_right, confidence, pos_label=True))


def auprc(scores: Real[np.ndarray, " response"], is_wrong: Bool[np.ndarray, " response"]) -> float:
    """Average precision at which a score (higher: more likely wrong) finds errors; by chance their share.

    NaN where nothing is wrong.
    """
    return float(average_precision_score(is_wrong, scores)) if is_wrong.any() else np.nan


def ece(
    confidence: Real[np.ndarray, " response"], is_right: Bool[np.ndarray, " response"], *, n_bins: int = N_BINS
) -> float:
    """Expected calibration error: the mean over responses of |mean confidence - share right| of its bin.

    Bins are those of `reliability`. Chance alone makes it positive: about sqrt(2 p (1 - p) n_bins / (pi n)),
    with p the share of right in every bin.
    """
    bins = reliability(confidence, is_right, n_bins=n_bins)
    return float(np.average(abs(bins["confidence"] - bins["share"]), weights=bins["n"]))


def reliability(
    confidence: Real[np.ndarray, " response"],
    is_right: Bool[np.ndarray, " response"],
    clusters: Int[np.ndarray, " response"] | None = None,
    *,
    n_bins: int = N_BINS,
) -> pd.DataFrame:
    """A row a bin: mean confidence, share of right answers, its 95 % interval low and high, and n.

    The bins hold as many responses each, as nearly as equal confidences, which stay together, allow; where many are
    equal there are fewer. Intervals are Wilson's, with clusters of as many independent responses as have the error of
    the clustered share (Dean & Pagano 2015, J. Surv. Stat. Methodol. 3). Raises StatsError for confidences outside
    [0, 1].
    """
    _check(confidence)
    of_bin = ((sps.rankdata(confidence) - 0.5) / len(confidence) * n_bins).astype(int)
    codes = np.arange(len(confidence)) if clusters is None else clusters
    rows = {}
    for number in np.unique(of_bin):
        inside = of_bin == number
        rows[number] = (confidence[inside].mean(), *clustered_share(is_right[inside], codes[inside]), inside.sum())
    columns = ["confidence", "share", "low", "high", "n"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("bin")


def clustered_share(is_right: Bool[np.ndarray, " response"], clusters: Int[np.ndarray, " response"]) -> Interval:
    """The share that is right, with its 95 % interval as `reliability` has it; undetermined of no responses."""
    if len(is_right) == 0:
        return NO_INTERVAL
    n, share, codes = len(is_right), float(is_right.mean()), np.unique(clusters, return_inverse=True)[1]
    n_clusters = int(codes.max()) + 1
    n_independent = float(n_clusters)
    if 1 < n_clusters < n and 0 < share < 1:
        sums = np.bincount(codes, is_right - share)
        variance = n_clusters / (n_clusters - 1) * (sums**2).sum() / n**2
        n_independent = share * (1 - share) / max(variance, share * (1 - share) / n)
    return wilson(share * n_independent, n_independent)


def _check(confidence: Real[np.ndarray, " response"]) -> None:
    if len(confidence) == 0:
        raise StatsError("there are no responses; give at least one")
    if not (confidence.min() >= 0 and confidence.max() <= 1):
        raise StatsError("confidences lie outside 0 to 1, or are missing; give probabilities, without the missing")


def summary(confidence: pd.Series, is_right: pd.Series, clusters: pd.Series) -> pd.Series:
    """n, the share right, and of the confidence AUROC (wrong over right) with interval, AUPRC of errors, Brier, ECE."""
    said, right = confidence.to_numpy(float), is_right.to_numpy(bool)
    _check(said)
    told = auroc_test(1 - said, ~right, pd.factorize(clusters)[0]).interval
    row = {"n": len(said), "share right": right.mean(), "AUROC": told.estimate, "low": told.low, "high": told.high}
    row |= {"AUPRC of errors": auprc(1 - said, ~right), "by chance": 1 - right.mean()}
    return pd.Series(row | {"Brier": brier(said, right), "ECE": ece(said, right)})


def of_tokens(answers: pd.DataFrame, tokens: pd.DataFrame, scores: Mapping[str, pd.Series]) -> pd.DataFrame:
    """How well scores tell wrong tokens from right ones, a row a score: AUROC with interval, AUPRC, n and n_wrong.

    `answers` and `tokens` are those of a Confidence; `scores` have the index of `tokens` and are higher where a token
    is more likely right. Tokens of one cluster are not independent, and the interval knows it. AUPRC by chance is
    n_wrong / n.
    """
    of = ["run", "response_id"]
    clusters = pd.factorize(tokens[of].merge(answers[[*of, "cluster"]], on=of, how="left")["cluster"])[0]
    is_wrong = ~tokens["is_right"].to_numpy(bool)
    rows = {}
    for name, score in scores.items():
        values = -score.to_numpy(float)
        told = auroc_test(values, is_wrong, clusters).interval
        rows[name] = (*told, auprc(values, is_wrong), len(values), is_wrong.sum())
    columns = ["AUROC", "low", "high", "AUPRC", "n", "n_wrong"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("score")
