"""What each key receives from the queries that see it: sums over blocks of rows, never a T x T matrix."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnent.attention.ranks import ALONE, Ranks

Part = tuple[slice, slice]  # some items of a batch and some of their heads


class _Sums(NamedTuple):
    """Of one layer, over the rows that count, on the layer's own device."""

    received: Float[Tensor, "batch head position"]
    own: Float[Tensor, "batch head position"]
    n_rows: Float[Tensor, "batch 1 position"]  # that see the key


class Columns:
    """The column sums of every layer, over all passes of a batch.

    `counts` tells of each position so far whether its query counts: padding never does, nor what follows an end of
    text. It grows by `follow`, up to `n_new` positions; `ends` are the ids of end-of-text tokens.
    """

    def __init__(self, counts: Bool[Tensor, "batch position"], *, n_new: int = 0, ends: Sequence[int] = ()) -> None:
        self._counts = counts
        self._n_positions = counts.shape[1] + n_new
        self._ends = torch.tensor(ends, dtype=torch.long, device=counts.device)
        self._layers: dict[int, _Sums] = {}
        self.ranks: Ranks = ALONE  # that share the model

    def follow(self, chosen: Int[Tensor, " batch"]) -> None:
        """The next position of each item is this token; an end of text, and all after it, does not count."""
        goes_on = self._counts[:, -1] & ~torch.isin(chosen.to(self._ends.device), self._ends)
        self._counts = torch.cat([self._counts, goes_on.unsqueeze(1)], dim=1)

    @property
    def n_positions(self) -> int:
        """How many positions there are so far, padding counted."""
        return self._counts.shape[1]

    def add_(
        self,
        layer: int,
        weights: Float[Tensor, "item head row key"],
        visible: Bool[Tensor, "#item 1 row key"],
        places: tuple[int, int],
        part: Part,
        of: Float[Tensor, "batch all_heads row _"],
    ) -> None:
        """Add some items and heads of a block of rows; in place, so the weights are spent.

        `places` are the positions of the first row and the first key: a windowed cache has dropped those before. `of`
        is a tensor of the whole block.
        """
        (top, low), (items, heads) = places, part
        rows, keys = slice(top, top + weights.shape[2]), slice(low, low + weights.shape[3])
        counts = self._counts[items, None, rows, None].to(weights.device)
        weights.masked_fill_(~counts, 0.0)
        if layer not in self._layers:
            batch, n_heads = of.shape[:2]
            n_of_each = (n_heads, n_heads, 1)
            self._layers[layer] = _Sums(*(weights.new_zeros(batch, n, self._n_positions) for n in n_of_each))
        sums = self._layers[layer]
        sums.received[items, heads, keys] += weights.sum(dim=2)
        sums.own[items, heads, rows] = weights.diagonal(top - low, dim1=2, dim2=3)
        if heads.start == 0:
            sums.n_rows[items, :, keys] += (counts & visible).sum(dim=2)

    def of_item(self, row: int, n_keys: int) -> dict[int, dict[str, Float[Tensor, "head {n_keys}"]]]:
        """Of each layer, the mean weight each of an item's keys receives, and the weight each puts on itself."""
        first = int(self._counts[row].int().argmax())
        keys = slice(first, first + n_keys)
        return {
            layer: {
                "received_mass": sums.received[row, :, keys] / sums.n_rows[row, :, keys],
                "own_mass": sums.own[row, :, keys],
            }
            for layer, sums in self._whole.items()
        }

    @functools.cached_property
    def _whole(self) -> dict[int, _Sums]:
        """The sums of each layer, of the heads of all ranks."""
        joined = self.ranks.joined
        return {
            layer: _Sums(joined(sums.received), joined(sums.own), sums.n_rows) for layer, sums in self._layers.items()
        }
