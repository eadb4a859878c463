"""Scores of the attention of each response, and the features by head that published probes are trained on.

Each takes Traces, (..., layer, head, step). A score is (...); features are (..., layer, head), to be fitted by
`probes`. Row t is the attention in the pass that chose token t; cross-attention layers, whose keys are no tokens, are
left out. Sums over a response run over its steps.
"""

import math
from typing import Any

import numpy as np
import xarray as xr

from attnent.trace import measure, without_cross

WINDOW = 8  # steps, of Lookback Lens


def _mean_over_heads(traces: xr.Dataset, name: str) -> xr.DataArray:
    """mean_t mean_lh of a measure; layers and heads weigh the same."""
    return by_head(traces, name).mean(["layer", "head"])


def by_head(traces: xr.Dataset, name: str) -> xr.DataArray:
    """mean_t of a measure, (..., layer, head)."""
    return measure(without_cross(traces), name).mean("step")


# ---- scores without training


def attention_entropy(traces: xr.Dataset) -> xr.DataArray:
    """mean H (nat) over steps, layers and heads; it grows with the number of keys."""
    return _mean_over_heads(traces, "entropy")


def normalized_attention_entropy(traces: xr.Dataset) -> xr.DataArray:
    """mean H / ln k over steps, layers and heads, k the visible keys."""
    return _mean_over_heads(traces, "normalized_entropy")


def attention_varentropy(traces: xr.Dataset) -> xr.DataArray:
    """mean V (nat^2) over steps, layers and heads."""
    return _mean_over_heads(traces, "varentropy")


def sinkless_attention_entropy(traces: xr.Dataset) -> xr.DataArray:
    """mean H' (nat) over steps, layers and heads: entropy without the first visible key."""
    return _mean_over_heads(traces, "sinkless_entropy")


def sink_mass(traces: xr.Dataset) -> xr.DataArray:
    """mean weight on the first visible key, over steps, layers and heads: a confound of every other score."""
    return _mean_over_heads(traces, "sink_mass")


def mean_head_entropy(traces: xr.Dataset) -> xr.DataArray:
    """mean_lh f_lh of `head_entropy`: Head Entropy without training (arXiv 2602.13699)."""
    return head_entropy(traces).mean(["layer", "head"])


def llm_check(traces: xr.Dataset) -> xr.DataArray:
    """-sum_h mean_t ln a_tt in the middle layer, a_tt the weight of a generated token's position on itself.

    The attention score of LLM-Check (Sriramanan et al., NeurIPS 2024), whose layer is fixed beforehand here: number
    n_layers // 2, counted from 0. NaN for a response of one token, which has no such position.
    """
    own = without_cross(traces)["self_mass"]
    of_layer = own.isel(layer=own.sizes["layer"] // 2).sel(step=own["step"] > 0).astype(np.float64)
    logs: Any = np.log(of_layer + 1e-12)
    return -logs.mean("step").sum("head", skipna=False)


def rauq(traces: xr.Dataset, alpha: float = 0.2) -> xr.DataArray:
    """RAUQ, recurrent attention-based uncertainty (arXiv 2505.20045): max_l -mean_t ln c_t.

    c_1 = P_1; c_t = alpha P_t + (1 - alpha) w_t c_{t-1}, with w_t the weight on the token before, in the pass that
    chose token t (so on the query's own position), of that head of the layer whose mean w is the largest; l runs over
    the middle third of layers. alpha: 0.2, or 0.5 for instruction-tuned models. Each response has its own heads.
    """
    decoder = without_cross(traces)
    n_layers = decoder.sizes["layer"]
    middle = slice(n_layers // 3, math.ceil(2 * n_layers / 3) + 1)
    weight = decoder["self_mass"].isel(layer=middle).sel(step=decoder["step"] > 0).astype(np.float64)
    on_previous = weight.isel(head=weight.mean("step").fillna(-1.0).argmax("head"))
    carry = np.insert(on_previous.transpose("step", "layer", ...).values, 0, 0.0, axis=0)
    probability = np.exp(decoder["logprob"].transpose("step", ...).values.astype(np.float64))[:, None]
    confidence, logs = probability[0], []
    for step in range(len(probability)):
        share = alpha if step else 1.0
        confidence = share * probability[step] + (1 - share) * carry[step] * confidence
        logs.append(np.log(confidence))
    score = (-np.nanmean(np.broadcast_arrays(*logs), axis=0)).max(axis=0)
    return xr.zeros_like(traces["logprob"].isel(step=0, drop=True), np.float64) + score


def rauq_instruct(traces: xr.Dataset) -> xr.DataArray:
    """`rauq` with alpha = 0.5, its setting for instruction-tuned models."""
    return rauq(traces, alpha=0.5)


# ---- features of probes


def head_entropy(traces: xr.Dataset) -> xr.DataArray:
    """f_lh = mean_t (1 - sum p^2) = mean_t (1 - exp(-H2)), H2 the collision entropy (arXiv 2602.13699)."""
    sum_of_squares: Any = np.exp(-without_cross(traces)["collision_entropy"].astype(np.float64))
    return (1 - sum_of_squares).mean("step")


def question_entropy(traces: xr.Dataset) -> xr.DataArray:
    """1 - sum p^2 of the last row of the prompt, before anything is written.

    The paper (arXiv 2602.13699) takes the mean over all rows of the question; a Trace holds its last.
    """
    return head_entropy(traces.isel(step=[0]))


def attention_divergence(traces: xr.Dataset) -> xr.DataArray:
    """mean_t KL(p || uniform) = mean_t (ln k - H), nat, over k visible keys (arXiv 2605.05025)."""
    return by_head(traces, "kl_to_uniform")


def lookback(traces: xr.Dataset) -> xr.DataArray:
    """mean_t of the lookback ratio (arXiv 2407.07071) over the whole response as one span."""
    return by_head(traces, "lookback_ratio")


def lookback_windows(traces: xr.Dataset) -> xr.DataArray:
    """mean of the lookback ratio in each window of 8 steps, (..., window, layer, head) (arXiv 2407.07071).

    A last window that is not full counts as it is; NaN where a response has no step in a window.
    """
    ratio = measure(without_cross(traces), "lookback_ratio")
    windows = ratio.coarsen(step=WINDOW, boundary="pad").construct(step=("window", "place"))
    return windows.mean("place").transpose(..., "window", "layer", "head")
