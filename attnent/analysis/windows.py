"""Which steps are compared: windows, their means for each response, and the mean of all responses at each step.

The unit is the response: tokens of one response are not independent, and tests that count them as such find effects
where there are none.
"""

from collections.abc import Sequence

import pandas as pd
import xarray as xr
from scipy import stats as sps

from attnent.analysis.intervals import CONFIDENCE, StatsError

FEWEST_AT_STEP = 5  # responses that a mean at one step rests on


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


def last_steps(tokens: pd.DataFrame, n: int) -> pd.DataFrame:
    """The last `n` steps of each response that has as many, counted from 0 again."""
    by_response = tokens.groupby("response_id")["step"]
    place = n - by_response.transform("size") + tokens["step"]
    return tokens.assign(step=place)[(place >= 0) & (by_response.transform("size") >= n)]


def matched_window(n_steps: pd.Series, groups: pd.Series) -> int:
    """The longest window of first steps that nine of ten responses of each group fill; 0 for none."""
    if n_steps.empty:
        return 0
    return int(n_steps.groupby(groups.to_numpy()).quantile(0.1, interpolation="lower").min())


def in_window(values: xr.DataArray, window: int) -> xr.DataArray:
    """Means over the first `window` steps, (response, layer, head), of the responses that have as many.

    `values` is a measure of all responses, (response, layer, head, step), as `Run.stack` gives it.
    """
    reached = values.sel(response=(values["n_steps"] >= window) & (window > 0))
    return reached.isel(step=slice(window)).mean("step")


def curve(tokens: pd.DataFrame, measure: str, groups: pd.Series, *, from_end: bool = False) -> pd.DataFrame:
    """Mean of a measure over responses at each step and its interval (Student's t over responses).

    `groups` maps response_id to a group. Columns: group, step, mean, low, high, n. Steps reached by fewer than
    FEWEST_AT_STEP responses of a group are left out. `from_end` counts steps backwards: -1 is the last.
    """
    result = _means(tokens, measure, groups, from_end=from_end)
    half = sps.t.ppf((1 + CONFIDENCE) / 2, result["n"] - 1) * result["sem"]
    return result.assign(low=result["mean"] - half, high=result["mean"] + half).drop(columns="sem")


def _means(tokens: pd.DataFrame, measure: str, groups: pd.Series, *, from_end: bool = False) -> pd.DataFrame:
    """Columns group, step, mean, sem (its standard error), n."""
    table = tokens[["response_id", "step", measure]].dropna().assign(group=lambda t: t["response_id"].map(groups))
    if from_end:
        length = tokens.groupby("response_id")["step"].max() + 1
        table["step"] -= table["response_id"].map(length)
    by_step = table.groupby(["group", "step"], observed=True)[measure]
    result = by_step.agg(mean="mean", sem="sem", n="size").reset_index()
    return result[result["n"] >= FEWEST_AT_STEP]


def difference(tokens: pd.DataFrame, measure: str, groups: pd.Series, a: str, b: str) -> pd.DataFrame:
    """Mean of a measure over responses of group `a` less that of `b` at each step, with its interval (Welch's t).

    Columns: step, mean, low, high, n (of the smaller group). Steps that fewer than FEWEST_AT_STEP responses of either
    group reach are left out.
    """
    means = _means(tokens, measure, groups).set_index("step")
    of_a, of_b = (means[means["group"] == group] for group in (a, b))
    both = of_a.add_suffix("_a").join(of_b.add_suffix("_b"), how="inner")
    on_a, on_b = both["sem_a"] ** 2, both["sem_b"] ** 2
    freedom = (on_a + on_b) ** 2 / (on_a**2 / (both["n_a"] - 1) + on_b**2 / (both["n_b"] - 1))
    middle, half = both["mean_a"] - both["mean_b"], sps.t.ppf((1 + CONFIDENCE) / 2, freedom) * (on_a + on_b) ** 0.5
    found = {"mean": middle, "low": middle - half, "high": middle + half, "n": both[["n_a", "n_b"]].min(axis=1)}
    return pd.DataFrame(found).reset_index()


def curves(
    tokens: pd.DataFrame,
    groups: pd.Series,
    measures: Sequence[str] = ("entropy", "varentropy"),
    *,
    from_end: bool = False,
) -> dict[str, pd.DataFrame]:
    """The `curve` of each measure."""
    return {measure: curve(tokens, measure, groups, from_end=from_end) for measure in measures}
