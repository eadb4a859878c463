"""The maths of an attention row: scores or weights in; entropy, varentropy and masses out.

A *row* is the distribution of one query over its visible keys. This room knows neither a model nor a token: it
sees tensors whose last axis is `key`, and a key that is not visible has the score -inf. Logarithms are natural.
Equation names follow the README's table of measures.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

# exp() of these is exactly 0 in the dtype, and 0 * -110 is 0 where 0 * -inf would be NaN.
_FLOOR = {torch.float32: -110.0, torch.float64: -750.0}


class Moments(NamedTuple):
    """What a row's measures are made of."""

    peak: Float[Tensor, "*row"]  # largest score
    log_z: Float[Tensor, "*row"]  # ln sum exp(score - peak)
    mean: Float[Tensor, "*row"]  # E[score - peak] under the weights, <= 0
    variance: Float[Tensor, "*row"]  # Var[score] under the weights
    log_q: Float[Tensor, "*row"]  # ln sum weights^2


class RowStats(NamedTuple):
    """The measures of a row that need nothing but its weights."""

    entropy: Float[Tensor, "*row"]  # nat; H = -sum p ln p
    varentropy: Float[Tensor, "*row"]  # nat^2; sum p (-ln p - H)^2, the variance of surprisal within the row
    collision_entropy: Float[Tensor, "*row"]  # nat; -ln sum p^2 (Renyi, order 2), <= H
    max_weight: Float[Tensor, "*row"]  # 1


class Masses(NamedTuple):
    """How much weight a row puts on certain keys; each in [0, 1], NaN where there is no such key."""

    sink_mass: Float[Tensor, "*row"]  # on the first visible key
    prompt_mass: Float[Tensor, "*row"]  # on the visible keys of the prompt, sink included
    self_mass: Float[Tensor, "*row"]  # on the query's own position, the last visible key
    previous_mass: Float[Tensor, "*row"]  # on the position before it


def weights_and_moments_(scores: Float[Tensor, "*row key"]) -> tuple[Float[Tensor, "*row key"], Moments]:
    """Softmax over the visible keys with its moments; in place, so the scores (float32 or float64) are spent.

    Both are NaN (the peak -inf) where no key is visible.
    """
    peak = scores.amax(dim=-1)
    origin = peak.masked_fill(peak == -torch.inf, torch.nan)
    centred = scores.sub_(origin.unsqueeze(-1)).clamp_(min=_FLOOR[scores.dtype])
    weights = centred.softmax(dim=-1)
    log_z = -weights.amax(dim=-1).log()
    mean = torch.linalg.vecdot(weights, centred)
    centred -= mean.unsqueeze(-1)  # centre before squaring: E[s^2] - E[s]^2 can be negative
    variance = torch.linalg.vecdot(weights, centred.square_())
    log_q = torch.linalg.vecdot(weights, weights).log()
    return weights, Moments(peak, log_z, mean, variance, log_q)


def stats_of_moments(moments: Moments) -> RowStats:
    """H = ln z - E[d]; V = Var[d] (surprisal is ln z - d, so the variances agree); H2 = -ln q; max = 1 / z."""
    return RowStats(moments.log_z - moments.mean, moments.variance, -moments.log_q, (-moments.log_z).exp())


def masses(
    weights: Float[Tensor, "batch head query key"],
    first: Int[Tensor, "*row"],
    last: Int[Tensor, "*row"],
    n_generated: Int[Tensor, "#query"],
) -> Masses:
    """Weight on sink, prompt, own and previous key.

    `first` and `last` are the indices of the first and last visible key of each row; the row's query sits at `last`,
    and the `n_generated` keys up to and including it are generated ones, all before them prompt.
    """
    rows = weights.shape[:-1]

    def at(index: Tensor) -> Tensor:
        return weights.gather(-1, index.expand(rows).unsqueeze(-1)).squeeze(-1)

    keys = torch.arange(weights.shape[-1], device=weights.device)
    is_prompt = keys <= (last - n_generated).unsqueeze(-1)
    return Masses(
        at(first),
        _weight_on(weights, is_prompt.to(weights.dtype)),
        at(last),
        at((last - 1).clamp(min=0)).masked_fill(last == first, torch.nan),
    )


def _weight_on(
    weights: Float[Tensor, "batch head query key"], chosen: Float[Tensor, "*#row key"]
) -> Float[Tensor, "batch head query"]:
    """The sum over the keys with a 1; a product, so that the weights are not copied, where the heads choose alike."""
    chosen = chosen.view(*[1] * (weights.ndim - chosen.ndim), *chosen.shape)
    if chosen.shape[1] != 1:
        return torch.linalg.vecdot(weights, chosen.expand_as(weights))
    return (chosen.transpose(1, 2) @ weights.permute(0, 2, 3, 1)).squeeze(2).transpose(1, 2)
