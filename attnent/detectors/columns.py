"""Features of how much weight each key receives: of Traces that were captured with `columns=True`.

Each takes Traces, (..., layer, head, key), and gives (..., layer, head, rank): the largest values of each head, the
largest first; missing where a sequence has fewer positions than that. Positions of the prompt count too.
"""

import numpy as np
import xarray as xr

from attnent.trace import without_cross

N_LARGEST = 10


def sink_scores(traces: xr.Dataset) -> xr.DataArray:
    """The largest sink scores s_i = sum_{u >= i} a_ui / (T - i): the mean weight that key i receives.

    SinkProbe (arXiv 2604.10697), from its abstract and implementations of it; how many it takes could not be checked.
    """
    return _largest(without_cross(traces)["received_mass"])


def laplacian_eigenvalues(traces: xr.Dataset) -> xr.DataArray:
    """The largest eigenvalues of the Laplacian L = D - A of the attention graph, LapEigvals (arXiv 2502.17598).

    d_ii = sum_{u >= i} a_ui / (T - i). Attention is causal, so that L is triangular and its eigenvalues are its
    diagonal, d_ii - a_ii. (The authors' program adds edges between layers; the equations here are the paper's.)
    """
    decoder = without_cross(traces)
    return _largest(decoder["received_mass"] - decoder["own_mass"])


def _largest(values: xr.DataArray) -> xr.DataArray:
    along = values.transpose(..., "key").fillna(-np.inf)
    largest = -np.sort(-along.values, axis=-1)[..., :N_LARGEST]
    dims = (*along.dims[:-1], "rank")
    coords = {name: values[name] for name in ("response", "layer", "head") if name in values.coords}
    return xr.DataArray(np.where(np.isfinite(largest), largest, np.nan), coords, dims)
