"""Queries and keys that vllm-lens saved, to Traces: no model runs.

Its `activations`, asked for with `output_qk`, are `attn_q` (layer, position, head, width) and `attn_k` (layer,
position, group, width), after rope, of prompt and response but the last token; `qk_layers`, the model's own indices of
these layers; and `qk_meta`, what the kernel of each was told. A server sends tensors as base64 of zstd.
"""

import base64
import binascii
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from attnent.attention.rows import MEASURES, Rows, measure
from attnent.model.assembly import N_CANDIDATES, versions
from attnent.model.prompts import encode_prompt, is_token_ids, text_of_ids
from attnent.model.spelling import spell
from attnent.trace import SCHEMA_VERSION, SINK_MEASURES, TraceError, make_trace

SENT_AS = {"torch.float32": "float32", "torch.float16": "float16", "torch.bfloat16": "int16"}


class StatesError(TraceError):
    """Queries and keys that are damaged or do not fit; the message says what to do."""


class _Layer(NamedTuple):
    index: int
    query: Float[Tensor, "position head width"]
    key: Float[Tensor, "position group width"]
    scale: float
    window: int | None  # how many keys a row sees at most, its own included
    slopes: list[float] | None  # of ALiBi, a head each
    cap: float | None  # scores become cap tanh(score / cap)
    sinks: list[float] | None  # learned scores that no key has, a head each


def trace_of_states(
    states: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int] | Int[np.ndarray, " _"],
    response: Sequence[int] | Int[np.ndarray, " _"],
    *,
    model: str = "",
    logprobs: Sequence[Any] | None = None,
) -> xr.Dataset:
    """The Trace that `replay` of the same tokens gives, from queries and keys that vllm-lens saved.

    `states` are its `activations`, as in its outputs or as its server sends them, of all layers or some; `prompt` and
    `response` are token ids, and `model` is a name. `logprobs` of the response are numbers, or what vLLM has by token
    id; what they do not tell is NaN. finish_reason is "eos" or "given". Raises StatesError where the states are
    damaged, of other tokens, or of attention that the measures do not describe, and PromptError for bad token ids.
    """
    if not is_token_ids(prompt) or not is_token_ids(response):
        raise StatesError("prompt and response of saved states must be token ids, one at least; give those of vLLM")
    prompt_ids, token_ids = encode_prompt(tokenizer, prompt), encode_prompt(tokenizer, response, name="the response")
    n_prompt, n_steps = len(prompt_ids), len(token_ids)
    layers = list(_layers(states, n_prompt + n_steps - 1))
    with torch.inference_mode():
        measured = [measure(_rows(one, n_prompt, n_steps), one.index)[0] for one in layers]
    names = (*MEASURES, "n_keys", *SINK_MEASURES)
    padded = [torch.nn.functional.pad(one, (0, len(names) - one.shape[-1]), value=torch.nan) for one in measured]
    numbers = dict(zip(names, torch.stack(padded).movedim(-1, 0).float().numpy(), strict=True))
    told = [*MEASURES, *(SINK_MEASURES if any(one.sinks for one in layers) else ())]
    spelling = spell(tokenizer, token_ids)
    return make_trace(
        {name: numbers[name] for name in told},
        layer=[one.index for one in layers],
        layer_kind=["self" if one.window is None else "sliding" for one in layers],
        n_keys=numbers["n_keys"][:, 0],
        token=spelling.token,
        steps={
            "token_id": np.asarray(token_ids, np.int32),
            "char_start": np.asarray(spelling.char_start, np.int32),
            "char_end": np.asarray(spelling.char_end, np.int32),
            **_of_tokens(token_ids, logprobs),
        },
        attrs={
            "schema_version": SCHEMA_VERSION,
            "prompt": text_of_ids(tokenizer, prompt_ids),
            "response": spelling.text,
            "finish_reason": "eos" if token_ids[-1] == tokenizer.eos_token_id else "given",
            "n_prompt": n_prompt,
            "model": model,
            "revision": "",
            "dtype": str(layers[0].query.dtype).removeprefix("torch."),
            "seed": 0,
            "sampling": json.dumps({"method": "states"}),
            "versions": versions(),
        },
    )


def _rows(layer: _Layer, n_prompt: int, n_steps: int) -> Rows:
    """The rows that chose the tokens of the response."""
    query, key = (one.movedim(0, 1)[None] for one in (layer.query[n_prompt - 1 :], layer.key))
    before = torch.arange(len(layer.key)) - torch.arange(n_prompt - 1, len(layer.key))[:, None]  # (row, key), <= 0
    is_seen = None if layer.window is None else ((before <= 0) & (before > -layer.window))[None, None]
    bias = None if layer.slopes is None else torch.tensor(layer.slopes)[None, :, None, None] * before
    reach = n_prompt if is_seen is None else None
    sink, n_generated = None if layer.sinks is None else torch.tensor(layer.sinks), torch.arange(n_steps)
    return Rows(query, key, is_seen, reach, layer.scale, bias, n_generated, sees_tokens=True, cap=layer.cap, sink=sink)


def _of_tokens(token_ids: list[int], logprobs: Sequence[Any] | None) -> dict[str, np.ndarray]:
    """What logprobs tell of each step: numbers, or by token id the `logprob` and the `rank` of some tokens."""
    n_steps = len(token_ids)
    known = {name: np.full(n_steps, np.nan, np.float32) for name in ("logprob", "token_entropy", "token_varentropy")}
    ids = np.full((n_steps, N_CANDIDATES), -1, np.int32)
    shares = np.full((n_steps, N_CANDIDATES), np.nan, np.float32)
    if logprobs is not None and len(logprobs) != n_steps:
        raise StatesError(f"there are {len(logprobs)} logprobs for {n_steps} tokens; give those of the response")
    for step, given in enumerate(logprobs or ()):
        if not isinstance(given, Mapping):
            known["logprob"][step] = np.nan if given is None else given
            continue
        for token_id, logprob, rank in _by_token(given):
            if token_id == token_ids[step]:
                known["logprob"][step] = logprob
            if rank is not None and 1 <= rank <= N_CANDIDATES:
                ids[step, rank - 1], shares[step, rank - 1] = token_id, math.exp(logprob)
    return known | {"candidate_id": ids, "candidate_probability": shares}


def _by_token(given: Mapping[Any, Any]) -> Iterator[tuple[int, float, int | None]]:
    """(token id, logprob, rank) of what vLLM tells of a step. Raises StatesError."""
    for token_id, one in given.items():
        try:
            about = one if isinstance(one, Mapping) else vars(one)
            yield int(token_id), float(about["logprob"]), about.get("rank")
        except (TypeError, ValueError, KeyError) as error:
            raise StatesError(
                f"logprobs hold {token_id!r}: {one!r}; give a number a step, or what vLLM's LLM has by token id"
            ) from error


# ---- what vllm-lens saves


def _layers(states: Mapping[str, Any], n_positions: int) -> Iterator[_Layer]:
    """What it saved of each layer, checked. Raises StatesError."""
    missing = [name for name in ("attn_q", "attn_k", "qk_layers", "qk_meta") if name not in states]
    if missing:
        raise StatesError(
            f'the states have no {missing[0]}; ask vllm-lens for them with extra_args={{"output_qk": True}}'
        )
    indices, about = (_unwrapped(states[name]) for name in ("qk_layers", "qk_meta"))
    query, key = (_tensor(states[name], name, n_positions) for name in ("attn_q", "attn_k"))
    are_lists = isinstance(indices, list) and isinstance(about, list)
    if not are_lists or not all(type(one) is int and one >= 0 for one in indices):
        raise StatesError("qk_layers or qk_meta are no lists, of the indices of layers and what is told of them")
    if not len(query) == len(key) == len(indices) == len(set(indices)) == len(about) or not indices:
        raise StatesError(
            f"the states have the queries of {len(query)} layers, the keys of {len(key)}, {len(set(indices))} indices "
            f"and {len(about)} qk_meta; save them again, as many of each"
        )
    n_heads, n_groups = query.shape[2], key.shape[2]
    if query.shape[3] != key.shape[3] or n_heads % n_groups:
        raise StatesError(
            f"queries of {n_heads} heads of width {query.shape[3]} do not go with keys of {n_groups} of width "
            f"{key.shape[3]}; save the states of all heads together"
        )
    for place in sorted(range(len(indices)), key=indices.__getitem__):
        yield _layer(indices[place], query[place], key[place], about[place])


def _layer(index: int, query: Tensor, key: Tensor, about: Any) -> _Layer:
    """One layer by its qk_meta. Raises StatesError where attention is not what the measures describe."""
    n_heads, n_groups = query.shape[1], key.shape[1]
    try:
        scale, (left, right) = float(about["scale"]), about.get("sliding_window") or (-1, -1)
        slopes, sinks = (_numbers(about.get(name)) for name in ("alibi_slopes", "sinks"))
        cap, is_odd = float(about.get("logits_soft_cap") or 0), bool(about.get("use_alibi_sqrt"))
        told = {int(about.get("num_heads_local", n_heads)), *(len(one) for one in (slopes, sinks) if one is not None)}
        n_groups_told = int(about.get("num_kv_heads_local", n_groups))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise StatesError(f"the qk_meta of layer {index} is damaged ({error!r}); save the states again") from error
    if told != {n_heads} or n_groups_told != n_groups:
        raise StatesError(
            f"the qk_meta of layer {index} tells of {' or '.join(map(str, sorted(told)))} heads and {n_groups_told} of "
            f"keys, but {n_heads} and {n_groups} were saved; save the states of all heads together"
        )
    if is_odd or right > 0:
        raise StatesError(
            f"the attention of layer {index} has {'roots of distances' if is_odd else 'a window to the right'}, which "
            "are not measured here; use replay"
        )
    if not (query.isfinite().all() and key.isfinite().all() and 0 < scale < math.inf):
        raise StatesError(f"queries, keys or scale of layer {index} are not finite; save the states again")
    return _Layer(index, query, key, scale, None if left < 0 else int(left) + 1, slopes, cap or None, sinks)


def _numbers(given: Any) -> list[float] | None:
    return None if given is None else [float(one) for one in given]


def _tensor(given: Any, name: str, n_positions: int) -> Float[Tensor, "layer position head width"]:
    """A tensor as it is, or as it was sent. Raises StatesError."""
    if isinstance(given, Mapping) and "data" not in given:
        raise StatesError(f"{name} holds no numbers but a handle to them; fetch these with the client of vllm-lens")
    if not isinstance(given, Tensor | Mapping):
        raise StatesError(f"{name} is a {type(given).__name__} and no tensor; give the activations of vllm-lens")
    shape = tuple(given.shape if isinstance(given, Tensor) else given.get("shape", ()))
    if len(shape) != 4 or not all(type(n) is int and n > 0 for n in shape):
        raise StatesError(f"{name} has the shape {shape}, but must be (layer, position, head, width); save it again")
    if shape[1] != n_positions:
        raise StatesError(
            f"{name} has {shape[1]} positions, but prompt and response without its last token are {n_positions} "
            "tokens; give the token ids of the same request"
        )
    return given.detach().cpu() if isinstance(given, Tensor) else _received(given, name, shape)


def _received(given: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor from base64, of zstd where it says so."""
    kind = given.get("original_dtype", "torch.float32")
    if kind not in SENT_AS or given.get("dtype") != SENT_AS[kind]:
        raise StatesError(f"{name} is of {kind}, sent as {given.get('dtype')}; save it in one of {', '.join(SENT_AS)}")
    n_bytes = math.prod(shape) * np.dtype(SENT_AS[kind]).itemsize
    try:
        content: Any = base64.b64decode(given["data"], validate=True)
        if given.get("compression") == "zstd":
            content = pa.decompress(content, decompressed_size=n_bytes, codec="zstd")
        values = torch.from_numpy(np.frombuffer(content, SENT_AS[kind]).reshape(shape).copy())
    except (binascii.Error, TypeError, ValueError, OSError, MemoryError) as error:
        reason = str(error).splitlines()[0][:200]
        raise StatesError(f"{name} is damaged ({reason}); save it again") from error
    return values.view(torch.bfloat16) if kind == "torch.bfloat16" else values


def _unwrapped(given: Any) -> Any:
    """What is no tensor is sent as {"__json__": value}."""
    return given["__json__"] if isinstance(given, Mapping) and "__json__" in given else given
