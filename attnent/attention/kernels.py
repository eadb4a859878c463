"""The measures of attention rows on a GPU: one pass over the keys, whose scores never leave the chip.

A block of keys is reduced to its moments, as `entropy.weights_and_moments_` does with a whole row, and blocks are
merged (Chan, Golub and LeVeque 1983, here with weights): where two parts have the largest scores a and b, and c is the
larger of them, their sums count e^(a - c) and e^(b - c). Means are taken about the part's own largest score and squares
about its own mean, so that float32 suffices.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float, Int
from torch import Tensor

FEWEST_ROWS, MOST_ROWS = 16, 64  # of one block
N_WARPS = 4
NONE = tl.constexpr(float("-inf"))  # the score of a key that is not there
TINY = tl.constexpr(1e-30)  # in place of a sum of nothing, whose row is NaN in the end


def measure_rows(
    query: Float[Tensor, "batch head row width"],
    key: Float[Tensor, "batch group key width"],
    visible: Bool[Tensor, "#batch #head row key"] | None,
    first: Int[Tensor, "*#row"],
    last: Int[Tensor, "*#row"],
    n_generated: Int[Tensor, "#row"],
    scale: float,
) -> Float[Tensor, "batch head row measure"]:
    """RowStats and Masses of each row in float32, in their order; `first`, `last` and `n_generated` as in `masses`.

    `visible` None: each row sees the keys from `first` to `last`. NaN where no key is visible.
    """
    batch, n_heads, n_rows, width = query.shape
    has_mask = visible is not None
    first, last = (index.expand(batch, n_heads, n_rows).int() for index in (first, last))
    last_prompt = (last - n_generated.to(last.device)).int()
    seen = visible.expand(batch, n_heads, n_rows, key.shape[2]).view(torch.uint8) if has_mask else first[..., None]
    measured = torch.empty(batch, n_heads, n_rows, 8, dtype=torch.float32, device=query.device)
    n_together = min(MOST_ROWS, max(FEWEST_ROWS, triton.next_power_of_2(n_rows)))
    _measure[(triton.cdiv(n_rows, n_together), n_heads, batch)](
        *(query, *query.stride(), key, *key.stride(), seen, *seen.stride()),
        *(first, *first.stride(), last, *last.stride(), last_prompt, *last_prompt.stride()),
        *(measured, scale, n_rows, key.shape[2], width, n_heads // key.shape[1]),
        padded_width=max(16, triton.next_power_of_2(width)),
        n_together=n_together,
        n_keys_together=128 if n_together < MOST_ROWS else 64,
        has_mask=has_mask,
        num_warps=N_WARPS,
    )
    return measured


@triton.jit
def _measure(
    query, q_batch, q_head, q_row, q_width, key, k_batch, k_head, k_row, k_width, seen, s_batch, s_head, s_row, s_key,
    first, f_batch, f_head, f_row, last, l_batch, l_head, l_row, last_prompt, p_batch, p_head, p_row,
    measured, scale, n_rows, n_keys, width, n_heads_a_group,
    padded_width: tl.constexpr, n_together: tl.constexpr, n_keys_together: tl.constexpr, has_mask: tl.constexpr,
):  # fmt: skip
    """A block of rows of one head. What is known of each: see `_merged`."""
    batch, head = tl.program_id(2).to(tl.int64), tl.program_id(1).to(tl.int64)
    rows, columns = tl.program_id(0) * n_together + tl.arange(0, n_together), tl.arange(0, padded_width)
    is_row, is_column = rows < n_rows, columns < width
    query += batch * q_batch + head * q_head
    key += batch * k_batch + (head // n_heads_a_group) * k_head
    seen += batch * s_batch + head * s_head
    of_rows = rows[:, None].to(tl.int64) * q_row + columns[None, :] * q_width
    queries = tl.load(query + of_rows, mask=is_row[:, None] & is_column[None, :], other=0.0)
    sink = tl.load(first + batch * f_batch + head * f_head + rows * f_row, mask=is_row, other=n_keys)
    own = tl.load(last + batch * l_batch + head * l_head + rows * l_row, mask=is_row, other=-1)
    prompt = tl.load(last_prompt + batch * p_batch + head * p_head + rows * p_row, mask=is_row, other=-1)

    peak, of_sink, of_own, of_previous = _all(NONE, rows), _all(NONE, rows), _all(NONE, rows), _all(NONE, rows)
    total, mean, deviation = _all(0.0, rows), _all(0.0, rows), _all(0.0, rows)
    square, on_prompt = _all(0.0, rows), _all(0.0, rows)
    first_sink, last_sink = tl.min(sink), tl.max(tl.where(is_row, sink, -1))
    first_own, last_own = tl.min(tl.where(is_row, own, n_keys)), tl.max(own)
    first_prompt, last_of_prompts = tl.min(tl.where(is_row, prompt, n_keys)), tl.max(prompt)
    for top in range((first_sink // n_keys_together) * n_keys_together, last_own + 1, n_keys_together):
        keys, end = top + tl.arange(0, n_keys_together), top + n_keys_together - 1
        of_keys = keys[None, :].to(tl.int64) * k_row + columns[:, None] * k_width
        block = tl.load(key + of_keys, mask=(keys < n_keys)[None, :] & is_column[:, None], other=0.0)
        scores = tl.dot(queries, block, input_precision="ieee") * scale
        if has_mask:
            of_scores = rows[:, None].to(tl.int64) * s_row + keys[None, :] * s_key
            sees = tl.load(seen + of_scores, mask=is_row[:, None] & (keys < n_keys)[None, :], other=0) != 0
            scores = tl.where(sees, scores, NONE)
        elif (top < last_sink) | (end > first_own):  # else all rows see all of these
            sees = (keys[None, :] >= sink[:, None]) & (keys[None, :] <= own[:, None])
            scores = tl.where(sees, scores, NONE)
        powers, before, here, peak, total, mean, deviation, square = _merged(
            scores, peak, total, mean, deviation, square
        )
        on_prompt *= before
        if end <= first_prompt:
            on_prompt += here * tl.sum(powers, 1)
        elif top <= last_of_prompts:
            on_prompt += here * tl.sum(tl.where(keys[None, :] <= prompt[:, None], powers, 0.0), 1)
        if (top <= last_sink) & (end >= first_sink):
            of_sink = tl.maximum(of_sink, _score_of(sink, scores, keys))
        if (top <= last_own) & (end >= first_own - 1):
            of_own = tl.maximum(of_own, _score_of(own, scores, keys))
            of_previous = tl.maximum(of_previous, _score_of(own - 1, scores, keys))

    sees_any, log_z = total > 0, tl.log(tl.maximum(total, TINY))
    z, origin = tl.maximum(total, TINY), tl.where(total > 0, peak, 0.0)
    measured += ((batch * tl.num_programs(1) + head) * n_rows + rows) * 8
    _store(measured, log_z - mean, sees_any, is_row)
    _store(measured + 1, deviation / z, sees_any, is_row)
    _store(measured + 2, 2.0 * log_z - tl.log(tl.maximum(square, TINY)), sees_any, is_row)
    _store(measured + 3, 1.0 / z, sees_any, is_row)
    _store(measured + 4, tl.exp(of_sink - origin) / z, sees_any, is_row)
    _store(measured + 5, on_prompt / z, sees_any, is_row)
    _store(measured + 6, tl.exp(of_own - origin) / z, sees_any, is_row)
    _store(measured + 7, tl.exp(of_previous - origin) / z, sees_any & (own > sink), is_row)


@triton.jit
def _merged(scores, peak, total, mean, deviation, square):
    """What is known of rows with these scores added, and before it their exponentials and what both parts count.

    `peak` is the largest score, `total` the sum of exp(score - peak), `square` that of exp(2 (score - peak)); `mean` is
    the weighted mean of score - peak, and `deviation` the weighted sum of squared deviations from it.
    """
    peak_here = tl.max(scores, 1)
    centred = tl.maximum(scores - tl.where(peak_here == NONE, 0.0, peak_here)[:, None], -110.0)  # exp: 0, or 1e-48
    powers = tl.exp(centred)
    total_here = tl.sum(powers, 1)
    mean_here = tl.sum(powers * centred, 1) / tl.maximum(total_here, TINY)
    away = centred - mean_here[:, None]
    deviation_here, square_here = tl.sum(powers * away * away, 1), tl.sum(powers * powers, 1)

    new_peak = tl.maximum(peak, peak_here)
    level = tl.where(new_peak == NONE, 0.0, new_peak)
    before, here = tl.exp(peak - level), tl.exp(peak_here - level)
    new_total = before * total + here * total_here
    share = here * total_here / tl.maximum(new_total, TINY)
    apart = tl.where((total > 0) & (peak_here > NONE), (peak_here - peak) + (mean_here - mean), 0.0)
    deviation = before * deviation + here * deviation_here + apart * apart * share * before * total
    mean = tl.where(total > 0, (peak - level) + mean + share * apart, mean_here)
    square = before * before * square + here * here * square_here
    return powers, before, here, new_peak, new_total, mean, deviation, square


@triton.jit
def _score_of(wanted, scores, keys):
    """The score of one key of each row; -inf where it is hidden or not among these."""
    return tl.max(tl.where(keys[None, :] == wanted[:, None], scores, NONE), 1)


@triton.jit
def _all(value, like):
    return tl.zeros(like.shape, tl.float32) + value


@triton.jit
def _store(where, values, is_known, is_row):
    tl.store(where, tl.where(is_known, values, float("nan")), mask=is_row)
