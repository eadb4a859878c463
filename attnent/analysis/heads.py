"""Head by head: one number a response and head, compared over all heads at once. Maps explore; they decide nothing.

p is adjusted over all heads of a map by max-T permutation (Westfall & Young 1993): clusters change places with those of
like size, and members within each; where the groups have few such, the scores of whole clusters change sign instead.
"""

import functools
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy import stats as sps

from attnent.analysis.comparison import fewest_clusters, two_groups
from attnent.analysis.intervals import FEWEST, N_RESAMPLES, StatsError
from attnent.analysis.regression import MOST_EXPLAINED, basis_of, bent, blocks_of_like_size, estimates, explained
from attnent.analysis.verdicts import Comparison
from attnent.analysis.windows import in_window

SHOWN_BELOW = 0.05  # of p: from here on a head stands out


def head_map(
    values: xr.DataArray,
    groups: pd.Series,
    a: str,
    b: str,
    *,
    clusters: pd.Series | None = None,
    covariates: pd.DataFrame | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """AUROC of group `a` over `b` for every head, and p when clusters, and members within them, change places.

    `values` is (response, layer, head), one number a response and head; `clusters` says which responses are not
    independent. With `covariates`, by response, what they explain is taken away, linear and squared, and the residuals
    are permuted (Freedman & Lane 1983); auroc is then Phi(d / sqrt 2) of the group coefficient d in residual standard
    deviations, as in `compare_adjusted`, and a response that lacks a covariate is left out. Where few clusters have
    one of like size in the other group, p is by `_sign_flips`. A head with a missing number is NaN, and so are all
    where a group has fewer than FEWEST clusters or the covariates explain it (MOST_EXPLAINED). Returns auroc and
    p_max_t, both (layer, head).
    """
    names = pd.Index(values["response"].to_numpy())
    table = pd.DataFrame(index=names) if covariates is None else covariates.reindex(names).dropna()
    two, is_a, codes = two_groups(table, [], groups, a, b, clusters)
    flat = values.transpose("response", "layer", "head").to_numpy().astype(float)[names.get_indexer(two.index)]
    usable = np.asarray(~np.isnan(flat).any(axis=0))
    counts = {"n_a": int(is_a.sum()), "n_b": int((~is_a).sum())}
    design = bent(two)
    if (
        fewest_clusters(is_a, codes) < FEWEST
        or not usable.any()
        or explained(is_a.astype(float), design) > MOST_EXPLAINED
    ):
        return _map(values, np.zeros_like(usable), np.empty(0), np.empty(0), counts)
    rng = np.random.default_rng(seed)
    kept = flat[:, usable]
    if not _alike(codes, is_a):
        tested = sps.rankdata(kept, axis=0) if covariates is None else kept
        statistic, null = _sign_flips(tested, is_a, design, codes, rng)
    elif covariates is None:
        statistic, null = _permuted_labels(kept, is_a, _exchanges(codes, rng))
    else:
        statistic, null = _permuted_residuals(kept, is_a, design, _exchanges(codes, rng))
    exceed = null[:, None] >= statistic - 1e-12
    p = (exceed.sum(axis=0) + 1) / (len(null) + 1)
    return _map(values, usable, estimates(kept, is_a, None if covariates is None else design), p, counts)


def head_maps(values: xr.DataArray, comparison: Comparison) -> dict[str, xr.Dataset]:
    """The `head_map` of a Comparison as it is and with all its controls, over its window.

    `values` is a measure of all responses, (response, layer, head, step), as `Run.stack` gives it.
    """
    if comparison.compared is None or comparison.window is None:
        raise StatsError("this comparison does not tell its responses; give one that `controlled` made")
    groups, clusters, covariates = comparison.compared
    of_heads = in_window(values.sel(response=values["response"].isin(groups.index)), comparison.window)
    mapped = functools.partial(head_map, of_heads, groups, comparison.a, comparison.b, clusters=clusters)
    return {"raw": mapped(), "all controls": mapped(covariates=covariates)}


def _exchanges(clusters: Int[np.ndarray, " response"], rng: np.random.Generator) -> Iterator[Int[np.ndarray, " n"]]:
    """Orders of the responses in which clusters of like size have changed places, and members within each cluster.

    Both levels, as Winkler et al. 2015 (NeuroImage 123): where clusters span the groups, the second tells them apart.
    """
    blocks = blocks_of_like_size(clusters)
    for _ in range(N_RESAMPLES):
        order = np.empty(len(clusters), int)
        for block in blocks:
            moved = block[rng.permutation(len(block))]
            order[block] = moved if block.shape[1] == 1 else rng.permuted(moved, axis=1)
        yield order


def _alike(clusters: Int[np.ndarray, " response"], is_a: Bool[np.ndarray, " response"]) -> bool:
    """Whether half of the clusters, or more, have one of like size in the other group to change places with."""
    blocks = blocks_of_like_size(clusters)
    mixed = [block for block in blocks if 0 < is_a[block].sum() < block.size]
    return 2 * sum(map(len, mixed)) >= sum(map(len, blocks))


# what is tested of every cell, and the largest of it on the map in every resample
_Tested = tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " resample"]]


def _sign_flips(
    values: Float[np.ndarray, "response cell"],
    is_a: Bool[np.ndarray, " response"],
    design: Float[np.ndarray, "response column"],
    clusters: Int[np.ndarray, " response"],
    rng: np.random.Generator,
) -> _Tested:
    """The score of every cell, and the largest on the map when those of whole clusters change sign at random.

    A score is group times values, both less what the design explains, summed within clusters and over them, in
    clustered standard errors (Hemerik, Goeman & Finos 2020, JRSS B 82): sizes and spreads need not be alike.
    """
    both = np.column_stack([is_a, values])
    left = both - design @ np.linalg.lstsq(design, both, rcond=None)[0]
    scores = pd.DataFrame(left[:, :1] * left[:, 1:]).groupby(clusters).sum().to_numpy()
    size = np.sqrt((scores**2).sum(axis=0))
    scores = np.divide(scores, size, out=np.zeros_like(scores), where=size > 0)
    signs = rng.choice([-1.0, 1.0], (N_RESAMPLES, len(scores)))
    return np.abs(scores.sum(axis=0)), np.abs(signs @ scores).max(axis=1)


def _permuted_labels(
    values: Float[np.ndarray, "response cell"],
    is_a: Bool[np.ndarray, " response"],
    orders: Iterator[Int[np.ndarray, " response"]],
) -> _Tested:
    """The distance of every AUROC from 0.5, and the largest when responses take the groups of others."""
    ranks, n_a, n_b = sps.rankdata(values, axis=0), is_a.sum(), (~is_a).sum()
    labels = np.array([is_a, *(is_a[order] for order in orders)], float)
    distances = np.abs((labels @ ranks - n_a * (n_a + 1) / 2) / (n_a * n_b) - 0.5)
    return distances[0], distances[1:].max(axis=1)


def _permuted_residuals(
    values: Float[np.ndarray, "response cell"],
    is_a: Bool[np.ndarray, " response"],
    design: Float[np.ndarray, "response column"],
    orders: Iterator[Int[np.ndarray, " response"]],
) -> _Tested:
    """The partial correlation of group and values, and the largest when residuals take the places of others.

    As Freedman & Lane: each resample is regressed on covariates and group once more.
    """
    basis = basis_of(design)
    group = is_a - basis @ (basis.T @ is_a)
    left = values - basis @ (basis.T @ values)
    scale = np.sqrt((left**2).sum(axis=0))
    known = scale > 1e-6 * values.std(axis=0) * np.sqrt(len(values))  # else the covariates say all of it
    left = np.divide(left, scale, out=np.zeros_like(left), where=known)

    def partial(order: Int[np.ndarray, " response"]) -> Float[np.ndarray, " cell"]:
        kept = np.sqrt(1 - ((basis[order].T @ left) ** 2).sum(axis=0))
        return np.abs(group[order] @ left) / (np.sqrt(group @ group) * kept)

    return partial(np.arange(len(left))), np.array([partial(order).max() for order in orders])


def _map(
    like: xr.DataArray,
    usable: Bool[np.ndarray, "layer head"],
    auroc: Float[np.ndarray, " cell"],
    p: Float[np.ndarray, " cell"],
    counts: Mapping[str, int],
) -> xr.Dataset:
    filled = [np.full(usable.shape, np.nan) for _ in range(2)]
    for whole, cells in zip(filled, (auroc, p), strict=True):
        whole[usable] = cells
    filled[1][np.isnan(filled[0])] = np.nan
    dims = ("layer", "head")
    return xr.Dataset(
        {
            "auroc": (dims, filled[0], {"long_name": "AUROC", **counts}),
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
