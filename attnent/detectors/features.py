"""What the confidence is told of a token and of an answer: attention, and the next-token distribution.

A token's features are of its own step and of the WINDOW - 1 steps before it, so that they are known as it is written.
Neither a position nor a length is among them: long answers are more often wrong, and a score that counted tokens would
say that and nothing of the model. Layers of cross-attention are left out. What is not known is NaN.
"""

import numpy as np
import xarray as xr
from jaxtyping import Float, Float32

from attnent.detectors.frozen import ConfidenceError
from attnent.trace import measure, without_cross

WINDOW = 5  # steps that the features of one token look at: its own and those just before it
OF_HEADS = ("normalized_entropy", "varentropy", "sink_mass", "prompt_mass")
OF_TOKENS = ("token_entropy", "token_varentropy", "logprob")  # and the gap between the two likeliest candidates
RECORDED = ("entropy", "varentropy", "sink_mass", "prompt_mass")  # what the numbers of heads are made of
NEEDED = (*RECORDED, "n_keys", *OF_TOKENS, "candidate_probability")


def check_whole(trace: xr.Dataset) -> None:
    """Raise ConfidenceError where a trace lacks what the features are made of."""
    missing = [name for name in NEEDED if name not in trace.variables]
    if missing:
        raise ConfidenceError(f"the trace lacks {', '.join(missing)}; give one that attnent recorded, with all of it")


def of_tokens(trace: xr.Dataset, *, by_head: bool) -> Float32[np.ndarray, "step feature"]:
    """One row a step: the numbers of its heads (`n_of_heads`); then of the token, of the one before, of the last few.

    Where not `by_head`, heads are told by their mean and spread in each third of the depth, which any model has.
    """
    heads, numbers = _heads(trace), _numbers(trace)
    overall = _mean(heads, (1, 2))
    beside = [numbers, _before(numbers, 1), _lately(numbers), _lately(overall)]
    return _known(np.concatenate([_flat(heads, by_head), *beside], axis=1))


def of_answer(trace: xr.Dataset, *, by_head: bool) -> Float32[np.ndarray, " feature"]:
    """Means of what heads show over the steps that wrote text; then mean, largest and least of a token's numbers."""
    wrote = trace["char_end"].values > trace["char_start"].values
    steps = wrote if wrote.any() else np.ones_like(wrote)
    heads, numbers = _heads(trace)[steps], _numbers(trace)[steps]
    extremes = [np.fmax.reduce(numbers), np.fmin.reduce(numbers)]
    return _known(np.concatenate([_mean(_flat(heads, by_head), 0), _mean(numbers, 0), *extremes]))


def n_of_heads(trace: xr.Dataset, *, by_head: bool) -> int:
    """How many features, the first ones, tell of heads."""
    return _flat(_heads(trace.isel(step=slice(1))), by_head).shape[1]


def _heads(trace: xr.Dataset) -> Float[np.ndarray, "step layer head measure"]:
    own = without_cross(trace[list(RECORDED)])
    values = [measure(own, name).transpose("step", "layer", "head").values for name in OF_HEADS]
    return np.stack(values, axis=-1).astype(np.float64)


def _numbers(trace: xr.Dataset) -> Float[np.ndarray, "step number"]:
    first, second = trace["candidate_probability"].transpose("rank", "step").values[:2]
    return np.stack([*(trace[name].values for name in OF_TOKENS), first - second], axis=1).astype(np.float64)


def _flat(heads: Float[np.ndarray, "step layer head measure"], by_head: bool) -> Float[np.ndarray, "step feature"]:
    """Every head by itself, or mean and spread of thirds; a layer on the border of two thirds counts to both."""
    n_steps, n_layers, *_ = heads.shape
    if by_head:
        return heads.reshape(n_steps, -1)
    thirds = [heads[:, n_layers * third // 3 : -(-n_layers * (third + 1) // 3)] for third in range(3)]
    means = [_mean(part, (1, 2)) for part in thirds]
    spreads = [
        _mean((part - mean[:, None, None]) ** 2, (1, 2)) ** 0.5 for part, mean in zip(thirds, means, strict=True)
    ]
    return np.concatenate([*means, *spreads], axis=1)


def _before(values: Float[np.ndarray, "step number"], n: int) -> Float[np.ndarray, "step number"]:
    """What they were n steps earlier; NaN where there was no such step."""
    earlier = np.full_like(values, np.nan)
    earlier[n:] = values[: max(len(values) - n, 0)]
    return earlier


def _lately(values: Float[np.ndarray, "step number"]) -> Float[np.ndarray, "step number"]:
    """Their mean over the WINDOW - 1 steps before each, as far as there were any."""
    return _mean(np.stack([_before(values, n) for n in range(1, WINDOW)]), 0)


def _mean(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """The mean of what is known; NaN where nothing is."""
    n_known = np.sum(~np.isnan(values), axis=axis)
    return np.where(n_known > 0, np.nansum(values, axis=axis) / np.maximum(n_known, 1), np.nan)


def _known(values: Float[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    return np.where(np.isfinite(values), values, np.nan).astype(np.float32)
