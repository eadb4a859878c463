"""An alarm that sounds at the first token whose confidence lies below a threshold, and how often it is a false one.

A false alarm is one anywhere in a right answer. The unit is the cluster (problem, entity): its lowest value is the
smallest of any token of its right answers. Any score may stand for the confidence that is higher where a token is more
likely right.
"""

import math
import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from attnent.analysis.intervals import StatsError, wilson
from attnent.detectors.calibration import clustered_share

_ANSWER = ["run", "response_id"]


def clusters_needed(false_alarms: float) -> int:
    """The fewest clusters with a right answer that allow so low a rate of false alarms: 99 for 0.01."""
    if not 0 < false_alarms < 1:
        raise StatsError(f"false_alarms is {false_alarms}; give a share between 0 and 1, such as 0.01")
    return math.ceil(1 / false_alarms - 1 - 1e-9)


def alarm_threshold(lowest: Float[np.ndarray, " cluster"], false_alarms: float, *, never: float = -math.inf) -> float:
    """The highest threshold with P(a new cluster's lowest value lies below it) <= false_alarms.

    The k-th smallest of n lowest values, k = floor(false_alarms (n + 1)): a new cluster that is exchangeable with these
    falls below it with probability k / (n + 1) at most, whatever the distribution (Papadopoulos et al. 2002, inductive
    confidence machines). Where n is too small for k = 1, a warning says so and `never` is given back, which no value
    lies below. Raises StatsError for a rate outside (0, 1).
    """
    needed, n = clusters_needed(false_alarms), len(lowest)
    if n < needed:
        warnings.warn(
            f"no alarm can sound: {100 * false_alarms:g} % false alarms need {needed} clusters with a right answer, "
            f"and there are {n}; record more, or allow more false alarms",
            stacklevel=2,
        )
        return never
    k = math.floor(false_alarms * (n + 1) + 1e-9)
    return float(np.partition(lowest, k - 1)[k - 1])


def lowest_when_right(answers: pd.DataFrame, tokens: pd.DataFrame, score: str = "confidence") -> pd.Series:
    """The lowest value of a score over the tokens of a cluster's right answers, by cluster.

    `answers` has run, response_id, cluster, is_right; `tokens` run, response_id and the score.
    """
    right = answers.loc[answers["is_right"], [*_ANSWER, "cluster"]]
    return tokens[[*_ANSWER, score]].merge(right, on=_ANSWER).groupby("cluster")[score].min().dropna()


def alarms_in_wrong(
    answers: pd.DataFrame, tokens: pd.DataFrame, threshold: float, score: str = "confidence"
) -> pd.DataFrame:
    """A row a wrong answer whose first wrong token is known: where that stands, and the alarm.

    Columns: run, response_id, cluster, wrong_step, alarm_step (NaN: never), sounded ("before", "at", "after", "never"),
    lead (tokens from the alarm to the wrong token; NaN unless before). The first wrong token is the first in `tokens`
    whose `is_right` is false; alarms are looked for among the tokens given.
    """
    wrong = answers.loc[~answers["is_right"].astype(bool), [*_ANSWER, "cluster"]]
    steps = {
        "wrong_step": tokens.loc[~tokens["is_right"].astype(bool)],
        "alarm_step": tokens.loc[tokens[score] < threshold],
    }
    for name, some in steps.items():
        first = some.groupby(_ANSWER)["step"].min().astype(float).rename(name)
        wrong = wrong.join(first, on=_ANSWER)
    wrong = wrong.dropna(subset="wrong_step").reset_index(drop=True)
    lead = wrong["wrong_step"] - wrong["alarm_step"]
    sounded = np.select([lead > 0, lead == 0, lead < 0], ["before", "at", "after"], "never")
    return wrong.assign(sounded=sounded, lead=lead.where(lead > 0))


def early_warning(
    answers: pd.DataFrame, tokens: pd.DataFrame, scores: Mapping[str, pd.Series], *, false_alarms: float = 0.01
) -> pd.DataFrame:
    """A row a score: how often its alarm sounds before the first wrong token, at one rate of false alarms.

    `answers` and `tokens` are those of a Confidence, of runs where the place of the error is known; `scores` have the
    index of `tokens` and are higher where a token is more likely right. Each threshold is chosen on one half of the
    clusters, the same for all scores; all else is of the other half: n_clusters with a right answer, the share of them
    with a false alarm (false_alarms, low, high); n_wrong answers, the shares of them where the alarm sounds before
    (with low, high: clustered), at and after the wrong token, or never, and the median number of tokens (median_lead)
    by which those before it lead. Intervals are Wilson's, 95 %. A score that foresees nothing warns before the wrong
    token too, in a share of at most about its false alarms.
    """
    chosen = _one_half(answers["cluster"])
    rows = {}
    for name, values in scores.items():
        scored = tokens.assign(score=values)
        if n_missing := int(scored["score"].isna().sum()):
            raise StatsError(f"{name} is missing for {n_missing} tokens; leave those out")
        threshold = alarm_threshold(lowest_when_right(answers[chosen], scored, "score").to_numpy(float), false_alarms)
        lowest = lowest_when_right(answers[~chosen], scored, "score")
        false = wilson(int((lowest < threshold).sum()), len(lowest))
        wrong = alarms_in_wrong(answers[~chosen], scored, threshold, "score")
        sounded = wrong["sounded"]
        before = clustered_share((sounded == "before").to_numpy(), pd.factorize(wrong["cluster"])[0])
        rows[name] = {
            "threshold": threshold,
            "n_clusters": len(lowest),
            **dict(zip(("false_alarms", "false_alarms_low", "false_alarms_high"), false, strict=True)),
            "n_wrong": len(wrong),
            **dict(zip(("before", "before_low", "before_high"), before, strict=True)),
            **{when: float((sounded == when).mean()) for when in ("at", "after", "never")},
            "median_lead": float(wrong["lead"].median()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")


def _one_half(clusters: pd.Series) -> pd.Series:
    """Which rows are of the half of the clusters that thresholds are chosen on, the same every time."""
    names = np.sort(np.asarray(clusters.unique()))
    drawn = np.random.default_rng(0).permutation(names)[: len(names) // 2]
    return clusters.isin(drawn)
