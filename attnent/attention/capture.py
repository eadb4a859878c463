"""Watching attention while a model runs, without changing what it computes.

transformers lets an attention function be registered by name. Ours returns the output of transformers' own `sdpa`
function, bit for bit, and puts the measures of each watched row where the weights would be: a tensor of shape
(batch, head, query, channel) that transformers then carries out of the model as one of its `attentions`. Of a model
whose attention is eager, because it was loaded so or because sdpa knows no softcap and no learned sink, the output is
that of its own eager function, whose weights of one layer are whole for a moment.
This room knows models only as modules with the index of a layer; it knows no tokenizer and no task.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from attnent.attention import CaptureError
from attnent.attention.columns import Columns
from attnent.attention.deferral import WAITS, Deferred
from attnent.attention.layers import KINDS, index_of, kind_of, layered
from attnent.attention.overhearing import can_be_overheard, overhearing
from attnent.attention.ranks import ALONE, Ranks, ranks_of
from attnent.attention.rows import MEASURES, Rows, exact, measure, receive
from attnent.attention.tops import Tops

NAME, EAGER = "attnent", "attnent_eager"
CHANNELS = (*MEASURES, "n_keys", "layer", "kind")  # on layers with a learned sink, "sink_share" comes before "layer"

# Keywords that models pass along and that do not change the weights beyond what the mask already says.
_HARMLESS = {
    "position_ids", "position_embeddings", "cache_position", "past_key_values", "use_cache", "sliding_window",
    "deterministic", "num_items_in_batch", "output_attentions", "output_hidden_states", "output_router_logits",
    "return_dict",
}  # fmt: skip
_KNOWN_BY_EAGER = _HARMLESS | {"softcap", "s_aux"}


class LayerStats(NamedTuple):
    """The measures of one layer in one forward pass, each (batch, head, query); `kind` is one of KINDS.

    They are of the weights on keys alone; where the layer has a learned sink, the model's own are 1 - share of these.
    """

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
    sink_share: Float[Tensor, "batch head query"] | None = None  # of the softmax, to a learned sink; None without one


@dataclass
class Watch:
    """What the attention function must know of the pass it is in; hung on every module that has a layer index."""

    n_rows: int | None = 1  # the last n query rows; None: all of them
    n_generated: Int[Tensor, "#query"] = field(default_factory=lambda: torch.zeros(1, dtype=torch.long))
    sees_image: Tensor | None = None  # (batch, 1, query, 1), 0 on rows that may see no image; None: all may see it
    columns: Columns | None = None  # takes in what the keys receive from all rows
    tops: Tops | None = None  # takes in the top keys of the watched rows
    deferred: Deferred | None = None  # takes in decoding steps; None: each is measured at once
    ranks: Ranks = ALONE  # that share the model

    def share(self, ranks: Ranks) -> None:
        """The model is shared among these, each of which has some of the heads."""
        self.ranks = ranks
        for taking_in in (self.columns, self.tops):
            if taking_in is not None:
                taking_in.ranks = ranks


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
    """Have every attention layer of the model measured as `watch` says, until the block is left, however it is."""
    modules = _watchable(model)
    watch.share(ranks_of(model))
    # Outer modules first: transformers hands what is set on a configuration down to those inside it.
    configs: list[Any] = [m.config for m in model.modules() if hasattr(m, "config")]
    before = [(config, config._attn_implementation) for config in configs]
    with ExitStack() as stack:
        for reader in _image_readers(modules):
            handle = reader.register_forward_pre_hook(_note_image_rows, with_kwargs=True)
            stack.callback(handle.remove)
        try:
            by_eager = [module for module in modules if _is_eager(model, module)]
            for module in modules:
                module.attnent_watch = watch
                if can_be_overheard(module):
                    stack.enter_context(overhearing(module, _heard))
                elif hasattr(module, "config"):
                    module.config._attn_implementation = EAGER if module in by_eager else NAME
            yield
            if watch.deferred is not None:
                watch.deferred.finish()
        finally:
            if watch.deferred is not None:
                watch.deferred.drop()
            for config, implementation in before:
                config._attn_implementation = implementation
            for module in modules:
                del module.attnent_watch


def _watchable(model: PreTrainedModel) -> list[Any]:
    """The modules that are to be watched. Raises CaptureError where the model cannot be, or is already."""
    name, modules = type(model).__name__, layered(model)
    if not model._can_set_attn_implementation():
        modules = [module for module in modules if can_be_overheard(module)]
    if not modules:
        raise CaptureError(
            f"{name} never calls transformers' attention interface, so nothing can be captured; "
            "use a model of a family listed in the README"
        )
    if model.config.is_encoder_decoder:
        raise CaptureError(f"{name} is an encoder-decoder, which attnent does not record; use a decoder-only model")
    if any(type(module).__name__ == "DiffLlamaAttention" for module in modules):
        raise CaptureError(f"{name} subtracts one attention from another, which attnent does not record; use another")
    if any(index_of(module) < 0 for module in modules):
        raise CaptureError(f"the layers of {name} share one attention, which does not know in which it is; use another")
    if any(hasattr(module, "attnent_watch") for module in modules):
        raise CaptureError(f"this {name} is being captured already; leave that block before entering another")
    return modules


def _is_eager(model: PreTrainedModel, module: Any) -> bool:
    """Whether a module's attention is eager, or would be right in no other way that can be followed."""
    config = getattr(module, "config", None)
    return config is not None and (config._attn_implementation == "eager" or not model._supports_sdpa)


def _image_readers(modules: Sequence[nn.Module]) -> list[nn.Module]:
    return [m for m in modules if "full_text_row_masked_out_mask" in inspect.signature(m.forward).parameters]


def _note_image_rows(module: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    """Mllama lets rows that may see no image see all of it; only what a layer is told beside the mask says which."""
    module.attnent_watch.sees_image = kwargs.get("full_text_row_masked_out_mask")


def stats_of_pass(
    model: PreTrainedModel, attentions: Sequence[Tensor | None] | None, deferred: Deferred | None = None
) -> dict[int, LayerStats]:
    """The `attentions` of one forward pass, or of many joined, as {layer: LayerStats}; `deferred` fills in its rows."""
    layers, ranks = {}, ranks_of(model)
    for channels in attentions or ():
        if channels is None or not _is_ours(channels):
            continue
        layer = int(channels[0, 0, 0, -2])
        if layer in layers or (deferred is not None and not deferred.fill_(layer, channels[..., :-2])):
            raise CaptureError(
                f"layer {layer} of {type(model).__name__} attends more than once in a forward pass, "
                "which attnent cannot record; use another model"
            )
        layers[layer] = _unpacked(ranks.joined(channels))
    if not layers:
        raise CaptureError(
            f"{type(model).__name__} gave back no attention statistics, so nothing can be captured; "
            "use a model of a family listed in the README"
        )
    return layers


def _unpacked(channels: Float[Tensor, "batch head query channel"]) -> LayerStats:
    """The named measures of what travelled in the weights' place."""
    numbers = dict(zip((*MEASURES, "n_keys", "sink_share"), channels[..., :-2].unbind(-1), strict=False))
    numbers["n_keys"] = numbers["n_keys"].long()
    return LayerStats(**numbers, kind=KINDS[int(channels[0, 0, 0, -1]) + len(KINDS)])


def _is_ours(channels: Tensor) -> bool:
    """Whether a tensor in the weights' place is one of ours: its last channel is negative, as no weight ever is."""
    return channels.shape[-1] - len(CHANNELS) in (0, 1) and bool(channels.flatten()[-1] < 0)


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
    *,
    by_eager: bool = False,
    **others: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention function that transformers calls: sdpa's output, and the measures in the place of the weights.

    `by_eager`: the output of the eager function of the module's own file. It alone knows `softcap` (scores become
    softcap tanh(score / softcap)) and `s_aux` (a learned sink: a score of each head that no key has).
    """
    watch: Watch | None = getattr(module, "attnent_watch", None)
    others.pop("output_attentions", None)
    own = _own_eager(module) if by_eager else None
    known = _HARMLESS if own is None else _KNOWN_BY_EAGER
    if watch is not None and not others.keys() <= known:
        _refuse_unknown(module, others, known)
    given: dict[str, Any] = {"scaling": scaling, "dropout": dropout, "is_causal": is_causal}
    given |= {"position_bias": position_bias} | others
    if own is None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **given)
    else:
        said = {name: one for name, one in given.items() if one is not None}
        output, _ = own(module, query, key, value, attention_mask, **said)
    if watch is None:
        return output, None
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    kind = kind_of(module, others)
    if kind == "cross" and attention_mask is not None and watch.sees_image is not None:
        blind = watch.sees_image.to(attention_mask.device) == 0
        attention_mask = attention_mask.masked_fill(blind, torch.finfo(attention_mask.dtype).min)
    rows = _rows(query, key, attention_mask, scaling, causal, position_bias, watch, kind != "cross")
    if own is not None:
        rows = rows._replace(cap=others.get("softcap"), sink=others.get("s_aux"))
    return output, _told(module, rows, causal, kind, watch)


def _own_eager(module: Any) -> Callable[..., tuple[Tensor, Tensor]] | None:
    """The eager attention of the file in which a module's class stands, or one that it is made from."""
    files = (sys.modules.get(one.__module__) for one in type(module).__mro__)
    return next((file.eager_attention_forward for file in files if hasattr(file, "eager_attention_forward")), None)


def _heard(module: Any, query: Tensor, key: Tensor, mask: Tensor | None, **others: Any) -> Tensor:
    """What stands in the weights' place where a module's attention was overheard; scores may stand as queries."""
    watch: Watch = module.attnent_watch
    _refuse_unknown(module, others, set())
    scaling = 1.0 if key.shape[-1] == 0 else None
    rows = _rows(query, key, mask, scaling, True, None, watch, True)
    return _told(module, rows, True, kind_of(module, {}), watch)


def _told(module: Any, rows: Rows, causal: bool, kind: str, watch: Watch) -> Float[Tensor, "batch head row channel"]:
    """The measures of the watched rows with their address, or what stands there while they wait."""
    layer, deferred = index_of(module), watch.deferred
    if deferred is not None and kind == "self" and causal and deferred.take(layer, rows):
        if layer not in deferred.blanks:
            waits = rows.query.new_full((*rows.query.shape[:3], rows.n_numbers), WAITS, dtype=exact(rows.query))
            deferred.blanks[layer] = _addressed(waits, layer, kind)
        return deferred.blanks[layer]
    with torch.no_grad():
        return _addressed(_measured(rows, layer, causal, watch), layer, kind)


def _rows(query, key, mask, scaling, causal, position_bias, watch, sees_tokens) -> Rows:
    """The query rows of a pass."""
    n_queries, n_keys = query.shape[2], key.shape[2]
    if mask is not None and mask.shape[2:] != (n_queries, n_keys):
        mask = mask[..., :n_keys].expand(-1, -1, n_queries, -1)
    # No mask with several queries means causal, aligned upper-left (as sdpa's own is_causal).
    reach = 1 if mask is None and causal and n_queries > 1 else None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    end = 0 if watch.columns is None else watch.columns.n_positions
    places = end - n_queries, end - n_keys
    return Rows(query, key, mask, reach, scale, position_bias, watch.n_generated, sees_tokens, places)


def _measured(rows: Rows, layer: int, causal: bool, watch: Watch) -> Float[Tensor, "batch head row measure"]:
    """The measures of the watched rows; the columns take in the rows before as well."""
    n_queries, on_text = rows.query.shape[2], causal and rows.sees_tokens
    start = 0 if watch.n_rows is None else max(n_queries - watch.n_rows, 0)
    columns, tops = (watch.columns, watch.tops) if on_text else (None, None)
    if columns is not None and start > 0:
        receive(rows.part(0, start), layer, columns)
    watched = rows.part(start, n_queries)._replace(n_generated=watch.n_generated)
    return measure(watched, layer, columns, tops)


def _addressed(
    measured: Float[Tensor, "batch head row measure"], layer: int, kind: str
) -> Float[Tensor, "batch head row channel"]:
    address = torch.zeros(measured.shape[-1] + 2, dtype=measured.dtype, device=measured.device)
    address[-2], address[-1] = layer, KINDS.index(kind) - len(KINDS)
    return torch.nn.functional.pad(measured, (0, 2)) + address


def _refuse_unknown(module: nn.Module, others: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(name for name, given in others.items() if given is not None and name not in known)
    if unknown:
        raise CaptureError(
            f"{type(module).__name__} passes {', '.join(unknown)} to its attention, which changes the weights in a way "
            "that attnent does not know, so its numbers would be wrong; use another model"
        )


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
AttentionInterface.register(EAGER, functools.partial(attention, by_eager=True))
AttentionMaskInterface.register(EAGER, eager_mask)
