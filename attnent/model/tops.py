"""Where each measured row looks: its keys of largest weight, from blocks of rows, never a T x T matrix.

A key is named by how far it lies back from the row's own query, so that neither padding nor a cache that has dropped
keys moves it.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from attnent.model.layers import is_cross, layered
from attnent.model.prompts import context_length

_BITS = 32  # of a float32 weight, and of a distance


class TopKeys(NamedTuple):
    """Which keys are kept: of each row the `n` of largest weight, in these layers and heads; None is all of them."""

    n: int = 8
    layers: Sequence[int] | None = None
    heads: Sequence[int] | None = None


def top_keys_of(model: PreTrainedModel, asked: Any) -> TopKeys | None:
    """What was asked for as a number of keys or as TopKeys, in ascending order; None for 0. Raises ValueError."""
    if isinstance(asked, int | np.integer) and not isinstance(asked, bool):
        asked = TopKeys(int(asked)) if asked else None
    if asked is None:
        return None
    if not isinstance(asked, TopKeys) or isinstance(asked.n, bool) or not isinstance(asked.n, int | np.integer):
        raise ValueError(f"top_keys is {asked!r}, but must be a number of keys or ae.TopKeys(n, layers, heads)")
    most = context_length(model)
    if asked.n < 1 or (most is not None and asked.n > most):
        limit = "at least 1" if most is None else f"from 1 to the model's context of {most}"
        raise ValueError(f"top_keys asks for {asked.n} keys of each row, but their number must be {limit}")
    modules = layered(model)
    cross = {module.layer_idx for module in modules if is_cross(module)}
    n_heads = getattr(model.config.get_text_config(), "num_attention_heads", 0)
    layers = _chosen("layer", asked.layers, {module.layer_idx for module in modules})
    heads = _chosen("head", asked.heads, set(range(n_heads)))
    if layers and (named := cross & {*layers}):
        raise ValueError(f"the keys of layer {min(named)} are no tokens; leave it out of the layers of top_keys")
    return TopKeys(int(asked.n), layers, heads)


def _chosen(what: str, asked: Any, known: set[int]) -> tuple[int, ...] | None:
    """Each once, in ascending order; None is all."""
    if asked is None:
        return None
    try:
        chosen = set(asked)
    except TypeError:
        raise ValueError(f"the {what}s of top_keys are {asked!r}, but must be a list of numbers, or None") from None
    unknown = sorted(chosen - known, key=repr)
    if unknown or not chosen:
        there = f"{min(known)} to {max(known)}" if known else "none"
        raise ValueError(
            f"top_keys asks for the {what}s {unknown}, but the model has {there}; name some of these, or None for all"
        )
    return tuple(sorted(int(one) for one in chosen))


class Tops:
    """The top keys of all measured rows of a batch, over all passes, each on its layer's own device."""

    def __init__(self, asked: TopKeys) -> None:
        self._asked = asked
        self._blocks: dict[int, list[Int[Tensor, "batch head row place"]]] = {}

    def add(
        self,
        layer: int,
        weights: Float[Tensor, "batch head row key"],
        visible: Tensor | None,
        last: Int[Tensor, "*#row"],
    ) -> None:
        """Add a block of rows, whose queries sit at `last`, an index of `weights`; `visible` None stands for all keys.

        Weight and distance of a key make one number, which is then unique: of equal weights the earlier key is first.
        """
        n, layers, heads = self._asked
        if layers is not None and layer not in layers:
            return
        if heads is not None:
            weights = weights[:, [head for head in heads if head < weights.shape[1]]]
        back = last.unsqueeze(-1) - torch.arange(weights.shape[-1], device=weights.device)
        if visible is not None:
            back = torch.where(visible, back, torch.iinfo(back.dtype).min)  # hidden keys, of weight 0, are below all
        ranked = weights.float().view(torch.int32).long()
        ranked <<= _BITS  # in place: fresh memory costs more than the sums
        ranked += back
        found = ranked.topk(min(n, ranked.shape[-1]), dim=-1).values
        filled = torch.nn.functional.pad(found, (0, n - found.shape[-1]), value=-1)
        self._blocks.setdefault(layer, []).append(filled)

    @functools.cached_property
    def _rows(self) -> dict[int, np.ndarray]:
        """(batch, head, row, place) of each layer."""
        return {layer: torch.cat(blocks, dim=2).cpu().numpy() for layer, blocks in sorted(self._blocks.items())}

    def of_item(self, row: int, prompt: Sequence[str], response: Sequence[str]) -> dict[str, Any]:
        """TOP_KEYS of one item, given the texts of its tokens; the query of step t is at n_prompt - 1 + t."""
        n_prompt, n_steps = len(prompt), len(response)
        layers = self._asked.layers or tuple(self._rows)
        heads = self._asked.heads or range(max(len(rows[row]) for rows in self._rows.values()))
        ranked = np.full((len(layers), len(heads), n_steps, self._asked.n), -1, np.int64)
        for number, layer in enumerate(layers):
            if layer in self._rows:
                of_layer = self._rows[layer][row, :, :n_steps]
                ranked[number, : len(of_layer)] = of_layer
        weight = (ranked >> _BITS).astype(np.int32).view(np.float32)
        place = np.arange(n_prompt - 1, n_prompt - 1 + n_steps)[:, None] - (ranked & (2**_BITS - 1))
        is_there = (ranked >= 0) & ~np.isnan(weight)
        return {
            "top_layer": np.asarray(layers),
            "top_head": np.asarray(heads),
            "top_key": np.where(is_there, place, -1).astype(np.int32),
            "top_weight": np.where(is_there, weight, np.nan).astype(np.float32),
            "key_token": [*prompt, *response[:-1]],
        }
