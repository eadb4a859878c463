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

from attnent.attention.columns import Part
from attnent.attention.layers import chosen, context_length, index_of, indices, is_cross, layered
from attnent.attention.ranks import ALONE, Ranks

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
    cross = {index_of(module) for module in modules if is_cross(module)}
    n_heads = getattr(model.config.get_text_config(), "num_attention_heads", 0)
    layers = chosen("layers of top_keys", asked.layers, indices(model))
    heads = chosen("heads of top_keys", asked.heads, set(range(n_heads)))
    if layers and (named := cross & {*layers}):
        raise ValueError(f"the keys of layer {min(named)} are no tokens; leave it out of the layers of top_keys")
    return TopKeys(int(asked.n), layers, heads)


class Tops:
    """The top keys of all measured rows of a batch, over all passes, each on its layer's own device."""

    def __init__(self, asked: TopKeys) -> None:
        self._asked = asked
        self._blocks: dict[int, list[Int[Tensor, "batch head row place"]]] = {}
        self.ranks: Ranks = ALONE  # that share the model

    def add(
        self,
        layer: int,
        weights: Float[Tensor, "item head row key"],
        visible: Tensor | None,
        last: Int[Tensor, "*#row"],
        part: Part = (slice(0, None), slice(0, None)),
        of: Float[Tensor, "batch all_heads row _"] | None = None,
    ) -> None:
        """Add some items and heads of a block of rows, which is like `of`; its first part comes first.

        The rows' queries sit at `last`, an index of `weights`; `visible` None stands for all keys. Weight and distance
        of a key make one number, which is then unique: of equal weights the earlier key is first.
        """
        n, layers, asked = self._asked
        if layers is not None and layer not in layers:
            return
        (items, heads), of = part, weights if of is None else of
        if self.ranks.split(of.shape[1]):
            asked = None  # each rank keeps as many, and those that are asked for are chosen among all
        chosen = [head for head in range(of.shape[1]) if asked is None or head in asked]
        if items.start == heads.start == 0:
            whole = of.new_full((len(of), len(chosen), of.shape[2], n), -1, dtype=torch.long)
            self._blocks.setdefault(layer, []).append(whole)
        here = [place for place, head in enumerate(chosen) if 0 <= head - heads.start < weights.shape[1]]
        if asked is not None:
            weights = weights[:, [chosen[place] - heads.start for place in here]]
        back = last.unsqueeze(-1) - torch.arange(weights.shape[-1], device=weights.device)
        if visible is not None:
            back = torch.where(visible, back, torch.iinfo(back.dtype).min)  # hidden keys, of weight 0, are below all
        ranked = weights.float().view(torch.int32).long()
        ranked <<= _BITS  # in place: fresh memory costs more than the sums
        ranked += back
        found = ranked.topk(min(n, ranked.shape[-1]), dim=-1).values
        self._blocks[layer][-1][items, here, :, : found.shape[-1]] = found

    @functools.cached_property
    def _rows(self) -> dict[int, np.ndarray]:
        """(batch, head, row, place) of each layer."""
        rows = {}
        for layer, blocks in sorted(self._blocks.items()):
            found = torch.cat(blocks, dim=2)
            if self.ranks.split(found.shape[1]):
                found = self.ranks.joined(found)
                found = found if self._asked.heads is None else found[:, self._asked.heads]
            rows[layer] = found.cpu().numpy()
        return rows

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
