"""What was measured at each step of one response, put together as a Trace."""

import functools
import json
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from attnent.attention.capture import LayerStats
from attnent.attention.entropy import stats_of_moments, weights_and_moments_
from attnent.model.loading import name_of, revision_of
from attnent.model.prompts import EncodedPrompt
from attnent.model.quantised import dtype_of
from attnent.model.spelling import Spelling
from attnent.trace import KEY_MEASURES, MEASURES, SCHEMA_VERSION, make_trace

N_CANDIDATES = 5


class TokenStats(NamedTuple):
    """What the next-token distribution said at each step, before temperature."""

    token_entropy: Float[Tensor, "*item"]  # nat
    token_varentropy: Float[Tensor, "*item"]  # nat^2
    logprob: Float[Tensor, "*item"]  # nat, of the chosen token
    candidate_id: Int[Tensor, "*item rank"]
    candidate_probability: Float[Tensor, "*item rank"]


def token_stats_(logits: Float[Tensor, "*item token"], chosen: Int[Tensor, "*item"]) -> TokenStats:
    """What the next-token distributions say, and of the chosen token; in place, so the logits (float32) are spent."""
    of_chosen = logits.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
    probabilities, found = weights_and_moments_(logits)
    stats = stats_of_moments(found)
    likeliest = probabilities.topk(min(N_CANDIDATES, probabilities.shape[-1]), dim=-1)
    return TokenStats(
        stats.entropy, stats.varentropy, of_chosen - found.peak - found.log_z, likeliest.indices, likeliest.values
    )


def of_item(stats: LayerStats, row: int, steps: slice = slice(None)) -> LayerStats:
    """One item of a batch: each measure (head, step)."""
    numbers = {name: one[row, :, steps] for name, one in stats._asdict().items() if isinstance(one, Tensor)}
    return stats._replace(**numbers)


def assemble(
    model: PreTrainedModel,
    item: EncodedPrompt,
    token_ids: list[int],
    spelling: Spelling,
    layers: dict[int, LayerStats],
    tokens: TokenStats,
    sampling: dict[str, Any],
    *,
    finish_reason: str,
    seed: int,
    columns: dict[int, dict[str, Tensor]] | None = None,
    tops: dict[str, Any] | None = None,
) -> xr.Dataset:
    """`columns`: of each layer whose keys are tokens, KEY_MEASURES (head, key); `tops`: what `Tops.of_item` gives."""
    ordered = dict(sorted(layers.items()))
    return make_trace(
        _measures(list(ordered.values())),
        layer=list(ordered),
        layer_kind=[stats.kind for stats in ordered.values()],
        n_keys=np.stack([stats.n_keys[0].cpu().numpy() for stats in ordered.values()]),
        token=spelling.token,
        steps={
            "token_id": np.asarray(token_ids, np.int32),
            "char_start": np.asarray(spelling.char_start, np.int32),
            "char_end": np.asarray(spelling.char_end, np.int32),
            **{name: _numpy(values) for name, values in tokens._asdict().items()},
        },
        keys=None if columns is None else _columns(columns, list(ordered), len(item.token_ids) + len(token_ids) - 1),
        tops=tops,
        attrs={
            "schema_version": SCHEMA_VERSION,
            "prompt": item.prompt if isinstance(item.prompt, str) else json.dumps(list(item.prompt)),
            "response": spelling.text,
            "finish_reason": finish_reason,
            "n_prompt": len(item.token_ids),
            "model": name_of(model),
            "revision": revision_of(model),
            "dtype": dtype_of(model),
            "seed": seed,
            "sampling": json.dumps(sampling),
            "versions": versions(),
            **_of_images(item, layers),
        },
    )


def _of_images(item: EncodedPrompt, layers: dict[int, LayerStats]) -> dict[str, str]:
    """Which images a prompt has, and which of its keys are theirs, where these stand among its tokens."""
    if not item.images:
        return {}
    if any(stats.kind == "cross" for stats in layers.values()):
        return {"images": json.dumps(item.digests)}
    keys = [place for place, token_id in enumerate(item.token_ids) if token_id == item.image_token]
    return {"images": json.dumps(item.digests), "image_keys": json.dumps(keys)}


def _measures(layers: list[LayerStats]) -> dict[str, np.ndarray]:
    """MEASURES (layer, head, step), and SINK_MEASURES where any layer has a learned sink: NaN on the others."""
    measures = {name: _stack_layers([getattr(stats, name) for stats in layers]) for name in MEASURES}
    if any(stats.sink_share is not None for stats in layers):
        shares = [stats.entropy * torch.nan if (own := stats.sink_share) is None else own for stats in layers]
        measures["sink_share"] = _stack_layers(shares)
    return measures


@functools.cache
def versions() -> str:
    """Those of what makes a Trace, as it says them (JSON)."""
    return json.dumps({name: version(name) for name in ("attnent", "torch", "transformers")})


def _columns(columns: dict[int, dict[str, Tensor]], layers: list[int], n_keys: int) -> dict[str, np.ndarray]:
    """KEY_MEASURES (layer, head, key); NaN on layers whose keys are no tokens."""
    nothing = dict.fromkeys(KEY_MEASURES, torch.empty(0, n_keys))
    return {name: _stack_layers([columns.get(layer, nothing)[name] for layer in layers]) for name in KEY_MEASURES}


def _stack_layers(layers: list[Float[Tensor, "_ place"]]) -> np.ndarray:
    """(layer, head, step or key); layers with fewer heads are filled up with NaN."""
    n_heads = max(len(values) for values in layers)
    filled = [
        torch.nn.functional.pad(values.float().cpu(), (0, 0, 0, n_heads - len(values)), value=torch.nan)
        for values in layers
    ]
    return torch.stack(filled).numpy()


def _numpy(values: Tensor) -> np.ndarray:
    """float32 numbers or int32 ids, on the CPU."""
    return values.to(torch.float32 if values.is_floating_point() else torch.int32).cpu().numpy()


def ending(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    """Why what a model wrote ends where it does: "eos" or "length"."""
    return "eos" if token_ids[-1] in eos_ids(model, tokenizer) else "length"


def eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return {token_id for token_id in (*ids, tokenizer.eos_token_id) if token_id is not None}
