"""Head by head: one number a response and head, compared over all heads at once. Maps explore; they decide nothing.

p is adjusted over all heads of a map by max-T permutation (Westfall & Young 1993).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float
from scipy import stats as sps

from attnent.analysis.intervals import FEWEST, N_RESAMPLES

SHOWN_BELOW = 0.05  # of p: from here on a head stands out


def head_map(values: xr.DataArray, groups: pd.Series, a: str, b: str, *, seed: int = 0) -> xr.Dataset:
    """AUROC of group `a` over `b` for every head, and p when responses are permuted between the groups.

    `values` is (response, layer, head), one number a response and head; a head with a missing number is NaN, and
    so are all where a group has fewer than FEWEST responses. Returns auroc and p_max_t, both (layer, head).
    """
    of_response = groups.loc[values["response"].to_numpy()].to_numpy()
    compared = np.isin(of_response, [a, b])
    is_a = of_response[compared] == a
    flat = values.transpose("layer", "head", "response").to_numpy().astype(float)[..., compared]
    n_a, n_b = int(is_a.sum()), int((~is_a).sum())
    usable = np.asarray(~np.isnan(flat).any(axis=-1))
    ranks = sps.rankdata(flat[usable], axis=-1).T

    def of_heads(rows_a: np.ndarray) -> np.ndarray:
        return (ranks[rows_a].sum(axis=0) - n_a * (n_a + 1) / 2) / (n_a * n_b)

    def largest(rows_a: np.ndarray, rows_b: np.ndarray) -> float:
        return np.abs(of_heads(rows_a) - 0.5).max()

    if min(n_a, n_b) < FEWEST or not usable.any():
        return _map(values, np.zeros_like(usable), np.empty(0), np.empty(0), "AUROC", {"n_a": n_a, "n_b": n_b})
    observed = of_heads(np.flatnonzero(is_a))
    null = sps.permutation_test(
        (np.flatnonzero(is_a), np.flatnonzero(~is_a)),
        largest,
        n_resamples=N_RESAMPLES,
        alternative="greater",
        rng=np.random.default_rng(seed),
    ).null_distribution
    return _map(values, usable, observed, _p(np.abs(observed - 0.5), null), "AUROC", {"n_a": n_a, "n_b": n_b})


def paired_head_map(differences: xr.DataArray, *, seed: int = 0) -> xr.Dataset:
    """For every head the share of responses with a positive difference, and p when signs of responses are flipped.

    `differences` is (response, layer, head), part less part of one response; p is of the largest |t| over the map
    (Nichols & Holmes 2002). Returns auroc (the share) and p_max_t, both (layer, head); NaN below FEWEST responses and
    where a number is missing.
    """
    values = differences.transpose("layer", "head", "response").to_numpy().astype(float)
    n = values.shape[-1]
    usable = np.asarray(~np.isnan(values).any(axis=-1) & (values != 0).any(axis=-1))
    name = "share of responses"
    if n < FEWEST or not usable.any():
        return _map(differences, np.zeros_like(usable), np.empty(0), np.empty(0), name, {"n": n})
    kept = values[usable]
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
    share = (np.sign(kept).mean(axis=-1) + 1) / 2
    p = _p(result.statistic, result.null_distribution.max(axis=-1))
    return _map(differences, usable, share, p, name, {"n": n})


def _p(observed: Float[np.ndarray, " cell"], largest: Float[np.ndarray, " resample"]) -> Float[np.ndarray, " cell"]:
    exceed = largest[:, None] >= observed - 1e-12
    return (exceed.sum(axis=0) + 1) / (len(largest) + 1)


def _map(
    like: xr.DataArray,
    usable: Bool[np.ndarray, "layer head"],
    auroc: Float[np.ndarray, " cell"],
    p: Float[np.ndarray, " cell"],
    name: str,
    counts: Mapping[str, int],
) -> xr.Dataset:
    filled = [np.full(usable.shape, np.nan) for _ in range(2)]
    for whole, cells in zip(filled, (auroc, p), strict=True):
        whole[usable] = cells
    dims = ("layer", "head")
    return xr.Dataset(
        {
            "auroc": (dims, filled[0], {"long_name": name, **counts}),
            "p_max_t": (dims, filled[1], {"long_name": "p, adjusted over heads (max-T)"}),
        },
        coords={name: like[name] for name in dims},
        attrs=counts,
    )


def stands_out(found: xr.Dataset) -> xr.DataArray:
    """Which heads of a map, (layer, head), differ by more than chance gives anywhere on it."""
    return found.p_max_t < SHOWN_BELOW


def head_levels(values: xr.DataArray, groups: pd.Series) -> dict[str, xr.DataArray]:
    """The mean over responses of every head, (layer, head), for each group; attribute n counts them.

    `values` is (response, layer, head).
    """
    of_group = {
        str(name): values.sel(response=values["response"].isin(members.index))
        for name, members in groups.groupby(groups)
    }
    return {name: own.mean("response").assign_attrs(n=own.sizes["response"]) for name, own in of_group.items()}
