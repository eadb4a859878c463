"""The maths of an attention row: scores or weights in; entropy, varentropy and masses out.

A *row* is the distribution of one query over its visible keys. This room knows neither a model nor a token: it
sees tensors whose last axis is `key`, and a key that is not visible has the score -inf. Logarithms are natural.
Equation names follow the README's table of measures.
"""

from collections.abc import Sequence
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


def weights_and_moments_(
    scores: Float[Tensor, "*row key"], spare: Sequence[Tensor | None] = (None, None)
) -> tuple[Float[Tensor, "*row key"], Moments]:
    """Softmax over the visible keys with its moments; in place, so the scores (float32 or float64) are spent.

    Both are NaN (the peak -inf) where no key is visible. `spare` is two like them to be used, since fresh memory costs
    more than the sums; the weights then lie in the first.
    """
    into, products = spare
    peak = scores.amax(dim=-1)
    centred = scores.sub_(peak.unsqueeze(-1)).clamp_(min=_FLOOR[scores.dtype])  # inf - inf is NaN, and remains it
    weights = torch.softmax(centred, dim=-1, out=into)
    log_z = -weights.amax(dim=-1).log()
    mean = dot(weights, centred, into=products)
    centred -= mean.unsqueeze(-1)  # centre before squaring: E[s^2] - E[s]^2 can be negative
    variance = dot(weights, centred.square_(), into=centred)
    log_q = 2 * torch.linalg.vector_norm(weights, dim=-1).log()
    return weights, Moments(peak, log_z, mean, variance, log_q)


def stats_of_moments(moments: Moments) -> RowStats:
    """H = ln z - E[d]; V = Var[d] (surprisal is ln z - d, so the variances agree); H2 = -ln q; max = 1 / z."""
    return RowStats(moments.log_z - moments.mean, moments.variance, -moments.log_q, (-moments.log_z).exp())


def masses(
    weights: Float[Tensor, "batch head query key"],
    first: Int[Tensor, "*row"],
    last: Int[Tensor, "*row"],
    n_generated: Int[Tensor, "#query"],
    *,
    into: Float[Tensor, "batch head query key"] | None = None,
) -> Masses:
    """Weight on sink, prompt, own and previous key.

    `first` and `last` are the indices of the first and last visible key of each row; the row's query sits at `last`,
    and the `n_generated` keys up to and including it are generated ones, all before them prompt. `into` is memory to
    be used.
    """
    places = torch.stack((first, last, (last - 1).clamp(min=0)), dim=-1)
    on_first, on_last, on_previous = weights.gather(-1, places.expand(*weights.shape[:-1], 3)).unbind(-1)
    keys = torch.arange(weights.shape[-1], device=weights.device)
    is_prompt = keys <= (last - n_generated).unsqueeze(-1)
    return Masses(
        on_first,
        dot(weights, is_prompt.to(weights.dtype), into=into),
        on_last,
        on_previous.masked_fill(last == first, torch.nan),
    )


def dot(
    a: Float[Tensor, "*row key"], b: Float[Tensor, "*#row key"], *, into: Float[Tensor, "*row key"] | None
) -> Float[Tensor, "*row"]:
    """The sum over keys of a b; the products are left in `into`."""
    return torch.mul(a, b, out=into).sum(dim=-1)
