"""An estimate with its interval, and what every comparison here holds to."""

from typing import NamedTuple

import numpy as np
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
N_RESAMPLES = 2_000
FEWEST = 10  # responses a group must have to be compared


class StatsError(ValueError):
    """A comparison that the data cannot bear; the message says why."""


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        if np.isnan(self.estimate):
            return "undetermined"
        spec = spec or ".2f"
        return f"{self.estimate:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


NO_INTERVAL = Interval(np.nan, np.nan, np.nan)


def wilson(n: int | float, total: int | float) -> Interval:
    """The share n / total with its interval (Wilson 1927, JASA 22); undetermined where the total is 0."""
    if total == 0:
        return NO_INTERVAL
    low, high = proportion_confint(n, total, 1 - CONFIDENCE, method="wilson")
    return Interval(n / total, max(0.0, float(low)), min(1.0, float(high)))
