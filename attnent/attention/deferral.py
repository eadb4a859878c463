"""Decoding steps that wait, to be measured many together: their queries are kept, and the keys of the last step.

One query at a time reads all keys once more at each step, and runs some thirty small operations a layer. So layers that
are alike are measured together, too, where their scores are few.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnent.attention.columns import Columns
from attnent.attention.rows import SCORES_AT_ONCE, Rows, measure
from attnent.attention.tops import Tops

STEPS_AT_ONCE = 32
WAITS = -1.0  # stands in place of an entropy


class Deferred:
    """Of a batch the steps that wait, and the measures of those that did, of each layer on its own device."""

    def __init__(self, columns: Columns | None = None, tops: Tops | None = None) -> None:
        self._columns, self._tops = columns, tops
        self._steps: dict[int, list[tuple[Tensor, Any, Tensor]]] = {}  # that wait: query, mask and n_generated
        self._latest: dict[int, Rows] = {}  # of those, the last
        self._measured: dict[int, list[Float[Tensor, "batch head row measure"]]] = {}
        self.blanks: dict[int, Tensor] = {}  # what goes out of the model in place of the measures of a step

    def take(self, layer: int, step: Rows) -> bool:
        """Keep a step to be measured later; False where it is not certain that it then can be.

        Those before it are measured now where it does not go on from them.
        """
        mask = step.mask
        if step.query.shape[2] != 1 or step.bias is not None or step.are_scores:
            return False
        if mask is not None and mask.shape[1] != 1:
            return False
        if layer in self._latest and not _goes_on(self._latest[layer], step):
            self._measure([layer])
        if len(self._steps.get(layer, ())) == STEPS_AT_ONCE:
            self._measure(list(self._steps))
        self._steps.setdefault(layer, []).append((step.query, mask, step.n_generated))
        self._latest[layer] = step
        return True

    def fill_(self, layer: int, measures: Float[Tensor, "batch head row measure"]) -> bool:
        """Put what was measured where `WAITS` stands; False, and nothing put, where that are not as many rows."""
        waited = measures[0, 0, :, 0] == WAITS
        found = torch.cat(self._measured.get(layer, [measures[:, :, :0]]), dim=2)
        if found.shape[2] != waited.sum():
            return False
        measures[:, :, waited] = found.to(measures.device)
        return True

    @torch.inference_mode()
    def finish(self) -> None:
        """Measure what still waits."""
        self._measure(list(self._steps))

    def drop(self) -> None:
        """Forget what still waits."""
        self._steps.clear()
        self._latest.clear()

    @torch.no_grad()
    def _measure(self, layers: Sequence[int]) -> None:
        """Measure what waits of these layers; those alike, where they have few scores, as if they were one batch."""
        groups: dict[Any, list[int]] = {}
        for layer in layers:
            groups.setdefault(self._form(layer), []).append(layer)
        for alike in groups.values():
            n_at_once = self._n_at_once(alike[0])
            for some in (alike[start : start + n_at_once] for start in range(0, len(alike), n_at_once)):
                measured = measure(self._taken(some), some[0], self._columns, self._tops)
                for layer, of_layer in zip(some, measured.chunk(len(some)), strict=True):
                    self._measured.setdefault(layer, []).append(of_layer)

    def _form(self, layer: int) -> tuple[Any, ...]:
        """The same of layers whose rows can be measured together."""
        latest, masks = self._latest[layer], tuple(id(mask) for _, mask, _ in self._steps[layer])
        of_keys = latest.key.shape, latest.key.dtype, latest.key.device
        sink = None if latest.sink is None else layer  # each layer's own
        return latest.query.shape, *of_keys, latest.scale, latest.cap, sink, masks

    def _n_at_once(self, layer: int) -> int:
        """How many layers like this one are measured together."""
        if self._columns is not None or self._tops is not None:
            return 1
        query, key = self._latest[layer].query, self._latest[layer].key
        return max(SCORES_AT_ONCE // (query[..., 0].numel() * len(self._steps[layer]) * key.shape[2]), 1)

    def _taken(self, layers: Sequence[int]) -> Rows:
        """What waited of layers that are alike, one below the other in the place of a batch."""
        steps, latest = [self._steps.pop(layer) for layer in layers], [self._latest.pop(layer) for layer in layers]
        n_rows, n_keys = len(steps[0]), latest[0].key.shape[2]
        mask = None if latest[0].mask is None else _joined([mask for _, mask, _ in steps[0]], n_keys)
        return latest[0]._replace(
            query=torch.cat([torch.cat([query for query, *_ in of_layer], dim=2) for of_layer in steps]),
            key=torch.cat([step.key for step in latest]) if len(layers) > 1 else latest[0].key,
            mask=mask if mask is None or len(mask) == 1 else mask.repeat(len(layers), 1, 1, 1),
            reach=n_keys - n_rows + 1 if mask is None else None,
            n_generated=torch.cat([n_generated for *_, n_generated in steps[0]]),
            places=(latest[0].places[0] - n_rows + 1, latest[0].places[1]),
        )


def _goes_on(before: Rows, now: Rows) -> bool:
    """Whether the keys are those of the step before and one more, or lie in the same place under a mask."""
    if (before.query.shape, before.scale) != (now.query.shape, now.scale):
        return False
    if before.mask is None or now.mask is None:
        return before.mask is now.mask and now.key.shape[2] == before.key.shape[2] + 1
    if before.mask.shape[0] != now.mask.shape[0] or before.mask.dtype != now.mask.dtype:
        return False
    is_in_place = now.key.shape == before.key.shape and now.key.data_ptr() == before.key.data_ptr()
    return is_in_place or now.key.shape[2] == before.key.shape[2] + 1


def _joined(masks: Sequence[Tensor], n_keys: int) -> Tensor:
    """The masks of steps one below the other; keys that came later are hidden."""
    nothing = False if masks[0].dtype == torch.bool else torch.finfo(masks[0].dtype).min
    joined = masks[0].new_full((len(masks[0]), 1, len(masks), n_keys), nothing)
    for row, mask in enumerate(masks):
        joined[:, :, row, : mask.shape[3]] = mask[:, :, 0]
    return joined
