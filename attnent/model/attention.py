"""Watching attention while a model runs, without changing what it computes.

transformers lets an attention function be registered by name. Ours returns the output of transformers' own `sdpa`
function, bit for bit, and puts the measures of each watched row where the weights would be: a tensor of shape
(batch, head, query, channel) that transformers then carries out of the model as one of its `attentions`.
This room knows models only as modules with a `layer_idx`; it knows no tokenizer and no task.
"""

import inspect
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from attnent.model.columns import Columns
from attnent.model.entropy import Masses, RowStats, masses, stats_of_moments, weights_and_moments_
from attnent.model.layers import KINDS, kind_of, layered
from attnent.model.tops import Tops

NAME = "attnent"
MEASURES = RowStats._fields + Masses._fields
CHANNELS = (*MEASURES, "n_keys", "layer", "kind")
SCORES_AT_ONCE = 2**20  # rows are taken in blocks of about this many scores
KEY_NUMBERS_AT_ONCE = 2**19  # on a CPU keys are upcast in blocks of about this many numbers, 2 MB in float32

# Keywords that models pass along and that do not change the weights beyond what the mask already says.
_HARMLESS = {
    "position_ids", "position_embeddings", "cache_position", "past_key_values", "use_cache", "sliding_window",
    "deterministic", "num_items_in_batch", "output_attentions", "output_hidden_states", "output_router_logits",
    "return_dict",
}  # fmt: skip


class CaptureError(RuntimeError):
    """Attention cannot be captured, or not exactly; the message says what to do."""


class LayerStats(NamedTuple):
    """The measures of one layer in one forward pass, each (batch, head, query); `kind` is one of KINDS."""

    entropy: Float[Tensor, "batch head query"]  # nat
    varentropy: Float[Tensor, "batch head query"]  # nat^2
    collision_entropy: Float[Tensor, "batch head query"]  # nat
    max_weight: Float[Tensor, "batch head query"]
    sink_mass: Float[Tensor, "batch head query"]
    prompt_mass: Float[Tensor, "batch head query"]
    self_mass: Float[Tensor, "batch head query"]
    previous_mass: Float[Tensor, "batch head query"]
    n_keys: Int[Tensor, "batch head query"]  # visible keys; padding never counts
    kind: str


@dataclass
class Watch:
    """What the attention function must know of the pass it is in; hung on every module that has a layer index."""

    n_rows: int | None = 1  # the last n query rows; None: all of them
    n_generated: Int[Tensor, "#query"] = field(default_factory=lambda: torch.zeros(1, dtype=torch.long))
    sees_image: Tensor | None = None  # (batch, 1, query, 1), 0 on rows that may see no image; None: all may see it
    columns: Columns | None = None  # takes in what the keys receive from all rows
    tops: Tops | None = None  # takes in the top keys of the watched rows


@dataclass
class Recording:
    """What `capture` has seen: one dictionary {layer: LayerStats} for each forward pass, in order."""

    passes: list[dict[int, LayerStats]] = field(default_factory=list)

    @property
    def stats(self) -> dict[int, LayerStats]:
        """The measures of the latest forward pass, by the model's own layer index."""
        if not self.passes:
            raise CaptureError("no forward pass was captured; call the model inside the `with capture(model)` block")
        return self.passes[-1]


@contextmanager
def capture(model: PreTrainedModel, *, prompt_rows: bool = False) -> Generator[Recording]:
    """Record the attention measures of every forward pass made inside the block.

    By default of the last query row only; `prompt_rows=True` takes all rows, in blocks, never a T x T matrix. All keys
    count as prompt here, and a row of right padding is measured from the last token before it. While the block lasts,
    the model's outputs carry our channels as `attentions`. The model is restored however the block is left. Raises
    CaptureError where a model cannot be captured or uses attention that the measures would not describe exactly.

        with capture(model) as recording:
            model(**inputs)
        recording.stats[layer].entropy  # (batch, head, query), nat
    """
    recording = Recording()

    def ask(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return args, {**kwargs, "output_attentions": True, "return_dict": True}

    def keep(module: nn.Module, args: tuple, outputs: Any) -> None:
        recording.passes.append(stats_of_pass(model, getattr(outputs, "attentions", None)))

    with watching(model, Watch(n_rows=None if prompt_rows else 1)):
        handles = [model.register_forward_pre_hook(ask, with_kwargs=True), model.register_forward_hook(keep)]
        try:
            yield recording
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def watching(model: PreTrainedModel, watch: Watch) -> Generator[None]:
    """Switch every attention layer of the model to the capturing function, and back however the block is left."""
    name = type(model).__name__
    modules = layered(model)
    if not modules or not model._can_set_attn_implementation():
        raise CaptureError(
            f"{name} never calls transformers' attention interface, so nothing can be captured; "
            "use a model of a family listed in the README"
        )
    if model.config.is_encoder_decoder:
        raise CaptureError(f"{name} is an encoder-decoder, which attnent does not record; use a decoder-only model")
    if any(hasattr(module, "attnent_watch") for module in modules):
        raise CaptureError(f"this {name} is being captured already; leave that block before entering another")
    # Outer modules first: transformers hands what is set on a configuration down to those inside it.
    configs: list[Any] = [m.config for m in model.modules() if hasattr(m, "config")]
    before = [(config, config._attn_implementation) for config in configs]
    handles = [
        module.register_forward_pre_hook(_note_image_rows, with_kwargs=True) for module in _image_readers(modules)
    ]
    try:
        for module in modules:
            module.attnent_watch = watch
            if hasattr(module, "config"):
                module.config._attn_implementation = NAME
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation = implementation
        for module in modules:
            del module.attnent_watch
        for handle in handles:
            handle.remove()


def _image_readers(modules: Sequence[nn.Module]) -> list[nn.Module]:
    return [m for m in modules if "full_text_row_masked_out_mask" in inspect.signature(m.forward).parameters]


def _note_image_rows(module: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    """Mllama lets rows that may see no image see all of it, and drops the result later: its mask alone hides that."""
    module.attnent_watch.sees_image = kwargs.get("full_text_row_masked_out_mask")


def stats_of_pass(model: PreTrainedModel, attentions: Sequence[Tensor | None] | None) -> dict[int, LayerStats]:
    """The `attentions` of one forward pass as {layer: LayerStats}."""
    layers = {}
    for channels in attentions or ():
        if channels is None or not _is_ours(channels):
            continue
        layer, stats = unpack(channels)
        if layer in layers:
            raise CaptureError(
                f"layer {layer} of {type(model).__name__} attends more than once in a forward pass, "
                "which attnent cannot record; use another model"
            )
        layers[layer] = stats
    if not layers:
        raise CaptureError(
            f"{type(model).__name__} gave back no attention statistics, so nothing can be captured; "
            "use a model of a family listed in the README"
        )
    return layers


def unpack(channels: Float[Tensor, "batch head query channel"]) -> tuple[int, LayerStats]:
    """The layer index and the named measures of what travelled in the weights' place."""
    *measures, n_keys, layer, kind = channels.unbind(-1)
    return int(layer.flatten()[0]), LayerStats(*measures, n_keys.long(), KINDS[int(kind.flatten()[0]) + len(KINDS)])


def _is_ours(channels: Tensor) -> bool:
    """Whether a tensor in the weights' place is one of ours: its last channel is negative, as no weight ever is."""
    return channels.shape[-1] == len(CHANNELS) and bool(channels.flatten()[-1] < 0)


def attention(
    module: Any,
    query: Float[Tensor, "batch head query width"],
    key: Float[Tensor, "batch group key width"],
    value: Float[Tensor, "batch group key value_width"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention function that transformers calls: sdpa's output, and the measures in the place of the weights."""
    watch: Watch | None = getattr(module, "attnent_watch", None)
    if watch is not None:
        _refuse_unknown(module, others)
    output, _ = sdpa_attention_forward(
        module,
        query,
        key,
        value,
        attention_mask,
        scaling=scaling,
        dropout=dropout,
        is_causal=is_causal,
        position_bias=position_bias,
        **{name: given for name, given in others.items() if name != "output_attentions"},
    )
    if watch is None:
        return output, None
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    kind = kind_of(module, others)
    if kind == "cross" and attention_mask is not None and watch.sees_image is not None:
        blind = watch.sees_image.to(attention_mask.device) == 0
        attention_mask = attention_mask.masked_fill(blind, torch.finfo(attention_mask.dtype).min)
    with torch.no_grad():
        measured = _measure(
            query, key, attention_mask, scaling, causal, position_bias, watch, module.layer_idx, kind != "cross"
        )
    return output, torch.nn.functional.pad(measured, (0, 2)) + _address(module.layer_idx, kind, measured)


def _address(layer: int, kind: str, like: Tensor) -> Float[Tensor, " channel"]:
    address = torch.zeros(len(CHANNELS), dtype=like.dtype, device=like.device)
    address[-2], address[-1] = layer, KINDS.index(kind) - len(KINDS)
    return address


def _refuse_unknown(module: nn.Module, others: dict[str, Any]) -> None:
    unknown = sorted(name for name, given in others.items() if given is not None and name not in _HARMLESS)
    if unknown:
        raise CaptureError(
            f"{type(module).__name__} passes {', '.join(unknown)} to its attention, which changes the weights in a way "
            "that attnent does not know, so its numbers would be wrong; use another model"
        )


def _measure(
    query: Float[Tensor, "batch head query width"],
    key: Float[Tensor, "batch group key width"],
    mask: Tensor | None,
    scaling: float | None,
    causal: bool,
    position_bias: Tensor | None,
    watch: Watch,
    layer: int,
    sees_tokens: bool,
) -> Float[Tensor, "batch head row measure"]:
    """All MEASURES and n_keys of the watched rows, a block of rows at a time; the columns take in the rows before."""
    batch, n_heads, n_queries, _ = query.shape
    exact = torch.promote_types(query.dtype, torch.float32)  # bfloat16 scores would put 3e-2 nat of error in H
    start = 0 if watch.n_rows is None else max(n_queries - watch.n_rows, 0)
    n_generated = watch.n_generated.to(query.device)
    columns = watch.columns if causal and sees_tokens else None
    step = max(SCORES_AT_ONCE // (batch * n_heads * key.shape[2]), 1)
    blocks = []
    for first, stop in ((0, 0 if columns is None else start), (start, n_queries)):
        keys = key.to(exact) if stop - first > step else key  # once for all blocks
        for top in range(first, stop, step):
            rows = slice(top, min(top + step, stop))
            scores, visible = _scores(query, keys, mask, scaling, causal, position_bias, rows)
            if top < start:
                weights = scores.softmax(dim=-1)
            else:
                generated = n_generated if len(n_generated) == 1 else n_generated[top - start : rows.stop - start]
                weights, last, measured = _measure_rows(scores, visible, generated, causal and sees_tokens)
                blocks.append(measured)
                if watch.tops is not None and causal and sees_tokens:
                    watch.tops.add(layer, weights, visible, last)
            if columns is not None:
                columns.add_(layer, weights, visible, top - n_queries, key.shape[2])
    return torch.cat(blocks, dim=2) if len(blocks) > 1 else blocks[0]


def _scores(
    query: Float[Tensor, "batch head query width"],
    key: Float[Tensor, "batch group key width"],
    mask: Tensor | None,
    scaling: float | None,
    causal: bool,
    position_bias: Tensor | None,
    rows: slice,
) -> tuple[Float[Tensor, "batch head row visible_key"], Bool[Tensor, "#batch #head row visible_key"] | None]:
    """The scores of a block of rows, -inf on hidden keys, and which keys are visible; None stands for all."""
    batch, n_heads, n_queries, width = query.shape
    n_groups, n_keys = key.shape[1], key.shape[2]
    exact = torch.promote_types(query.dtype, torch.float32)
    scale = width**-0.5 if scaling is None else scaling
    mask = mask if mask is None else mask.expand(-1, -1, n_queries, -1)
    if mask is None and causal and n_queries > 1:
        n_keys = rows.stop  # no row of this block sees further
    grouped = query[:, :, rows].to(exact).reshape(batch, n_groups, -1, width) * scale
    scores = _products(grouped, key[:, :, :n_keys]).view(batch, n_heads, rows.stop - rows.start, n_keys)
    visible = _visible(mask, rows, n_queries, n_keys, causal, query.device)
    if mask is not None and mask.dtype != torch.bool:
        scores += mask[:, :, rows, :n_keys]
    if position_bias is not None:
        scores += position_bias[:, :, rows, :n_keys]
    if visible is not None:
        hidden = torch.zeros(visible.shape, dtype=scores.dtype, device=scores.device).masked_fill_(~visible, -torch.inf)
        scores += hidden  # much faster than masking the scores of every head
    return scores, visible


def _products(
    query: Float[Tensor, "batch group row width"], key: Float[Tensor, "batch group key width"]
) -> Float[Tensor, "batch group row key"]:
    """query @ key^T in the dtype of the query.

    On a CPU the keys are upcast a few megabytes at a time, which stay in its cache; a fresh copy of all of them would
    cost several times the product.
    """
    if key.dtype == query.dtype or key.device.type != "cpu":
        return query @ key.to(query.dtype).transpose(-1, -2)
    batch, n_groups, n_keys, width = key.shape
    queries, keys = query.flatten(0, 1), key.flatten(0, 1)
    products = queries.new_empty(batch * n_groups, queries.shape[1], n_keys)
    n_at_once = max(KEY_NUMBERS_AT_ONCE // (n_keys * width), 1)
    for start in range(0, len(keys), n_at_once):
        part = slice(start, start + n_at_once)
        torch.bmm(queries[part], keys[part].to(query.dtype).transpose(-1, -2), out=products[part])
    return products.view(batch, n_groups, -1, n_keys)


def _visible(
    mask: Tensor | None, rows: slice, n_queries: int, n_keys: int, causal: bool, device: torch.device
) -> Bool[Tensor, "#batch #head row key"] | None:
    """Which keys each row may see; None stands for all."""
    if mask is not None:
        block = mask[:, :, rows, :n_keys]
        return block if block.dtype == torch.bool else block > torch.finfo(block.dtype).min / 2
    if not causal or n_queries == 1:
        return None
    # No mask with several queries means causal, aligned upper-left (as sdpa's own is_causal).
    return (torch.arange(n_keys, device=device) <= torch.arange(rows.start, rows.stop, device=device)[:, None])[
        None, None
    ]


def _measure_rows(
    scores: Float[Tensor, "batch head row key"],
    visible: Bool[Tensor, "#batch #head row key"] | None,
    n_generated: Int[Tensor, "#row"],
    has_tokens_as_keys: bool,
) -> tuple[Float[Tensor, "batch head row key"], Int[Tensor, "*#row"], Float[Tensor, "batch head row measure"]]:
    """The weights of a block of rows, their last visible key and their measures; in place, so the scores are spent."""
    n_keys = scores.shape[-1]
    if visible is None:
        visible_keys = torch.tensor(n_keys, device=scores.device)
        first, last = torch.zeros_like(visible_keys), visible_keys - 1
    else:
        visible_keys = visible.sum(-1)
        first = visible.to(torch.uint8).argmax(-1)
        last = n_keys - 1 - visible.flip(-1).to(torch.uint8).argmax(-1)
    weights, found = weights_and_moments_(scores)
    stats = stats_of_moments(found)
    if has_tokens_as_keys:
        on_tokens = masses(weights, first, last, n_generated)
    else:
        on_tokens = Masses(*[torch.full_like(stats.entropy, torch.nan)] * len(Masses._fields))
    counted = visible_keys.to(scores.dtype).expand_as(stats.entropy)
    return weights, last, torch.stack((*stats, *on_tokens, counted), dim=-1)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
