"""The measures of query rows from queries and keys alone, in parts that stay in a cache; knows no forward pass."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnent.attention.columns import Columns, Part
from attnent.attention.entropy import Masses, RowStats, masses, stats_of_moments, weights_and_moments_
from attnent.attention.tops import Tops

MEASURES = RowStats._fields + Masses._fields
KERNEL_DEVICES = ("cuda",)
VISIBLE_AT_ONCE = 2**28  # of rows measured by the kernel; scores are none of its memory
SCORES_AT_ONCE = 2**19  # rows are taken in parts of about this many scores


class Rows(NamedTuple):
    """Query rows of one layer, of positions that follow each other, and what they may see.

    Where only their scores are known, these stand as queries, and the keys have no width.
    """

    query: Float[Tensor, "batch head row width"]
    key: Float[Tensor, "batch group key _"]
    mask: Tensor | None  # (#batch, #head, row, key): True where a row sees a key, or a number to add to its score
    reach: int | None  # without a mask the first row sees so many keys, each next one more; None: all see all
    scale: float
    bias: Tensor | None  # (#batch, #head, row, key), added to the scores
    n_generated: Int[Tensor, "#row"]  # of the keys up to and including the row's own
    sees_tokens: bool
    places: tuple[int, int] = (0, 0)  # of the first row and the first key in the batch; only columns need them
    cap: float | None = None  # scores become cap tanh(score / cap), before mask and bias
    sink: Float[Tensor, " head"] | None = None  # a score of each head that no key has, learned

    @property
    def are_scores(self) -> bool:
        """Whether scores stand in the queries' place."""
        return self.key.shape[-1] == 0

    @property
    def n_numbers(self) -> int:
        """How many numbers `measure` gives of a row."""
        return len(MEASURES) + (1 if self.sink is None else 2)

    def part(self, start: int, stop: int) -> "Rows":
        """The rows from `start` to `stop`, without the keys that are out of their reach."""
        mask, bias = (one if one is None else one[:, :, start:stop] for one in (self.mask, self.bias))
        reach = None if self.reach is None else self.reach + start
        n_keys = self.key.shape[2] if reach is None else reach + stop - start - 1
        query = self.query[:, :, start:stop]
        return self._replace(
            query=query[..., :n_keys] if self.are_scores else query,
            key=self.key[:, :, :n_keys],
            mask=mask,
            reach=reach,
            bias=bias if bias is None else bias[..., :n_keys],
            n_generated=self.n_generated if len(self.n_generated) == 1 else self.n_generated[start:stop],
            places=(self.places[0] + start, self.places[1]),
        )


class Sight(NamedTuple):
    """Which keys rows see."""

    visible: Bool[Tensor, "#batch #head row key"] | None  # None: all from first to last
    first: Int[Tensor, "#batch #head row"]
    last: Int[Tensor, "#batch #head row"]
    n_keys: Int[Tensor, "#batch #head row"]

    def of(self, part: Part) -> "Sight":
        """That of some items and heads."""
        visible = self.visible if self.visible is None else _of(self.visible, part)
        return Sight(visible, _of(self.first, part), _of(self.last, part), _of(self.n_keys, part))

    def spelt_out(self, n_keys: int) -> Bool[Tensor, "#batch #head row {n_keys}"]:
        """Which of so many keys is seen."""
        if self.visible is not None:
            return self.visible
        return torch.arange(n_keys, device=self.last.device) <= self.last.unsqueeze(-1)


def measure(
    rows: Rows, layer: int, columns: Columns | None = None, tops: Tops | None = None
) -> Float[Tensor, "batch head row measure"]:
    """All MEASURES and n_keys of each row, of the weights on its keys alone; columns and tops take these in.

    Where there is a learned sink, also the share of the softmax that goes to it: the model's weights are 1 - share of
    these.
    """
    if columns is None and tops is None and _fits_kernel(rows):
        return _by_kernel(rows)
    blocks = []
    for block in _blocks(rows):
        sight, n_generated = sight_of(block), block.n_generated.to(block.query.device)
        parts = []
        for part, scores, spare in _scores(block, sight):
            seen = sight.of(part)
            sink = None if block.sink is None else block.sink[part[1], None].to(scores)
            weights, measured = _measure_rows(scores, spare, seen, n_generated, block.sees_tokens, sink)
            if tops is not None:
                tops.add(layer, weights, seen.spelt_out(block.key.shape[2]), seen.last, part, of=block.query)
            if columns is not None:
                columns.add_(layer, weights, seen.spelt_out(block.key.shape[2]), block.places, part, of=block.query)
            parts.append(measured.flatten(0, 1))
        blocks.append(torch.cat(parts).view(*block.query.shape[:3], -1))
    return torch.cat(blocks, dim=2) if len(blocks) > 1 else blocks[0]


def receive(rows: Rows, layer: int, columns: Columns) -> None:
    """The columns take in the weights of rows that are not measured."""
    for block in _blocks(rows):
        sight = sight_of(block)
        for part, scores, _ in _scores(block, sight):
            visible = sight.of(part).spelt_out(block.key.shape[2])
            columns.add_(layer, scores.softmax(dim=-1), visible, block.places, part, of=block.query)


def sight_of(rows: Rows) -> Sight:
    """Which keys the rows see."""
    n_rows, n_keys, mask = rows.query.shape[2], rows.key.shape[2], rows.mask
    if mask is None:
        own = torch.arange(n_rows, device=rows.query.device)[None, None]
        last = own * 0 + n_keys - 1 if rows.reach is None else own + rows.reach - 1
        return Sight(None, torch.zeros_like(last), last, last + 1)
    visible = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    first = visible.to(torch.uint8).argmax(-1)
    last = n_keys - 1 - visible.flip(-1).to(torch.uint8).argmax(-1)
    return Sight(visible, first, last, visible.sum(-1))


def _blocks(rows: Rows) -> Iterator[Rows]:
    """Blocks of rows of which one group of heads of one item has at most SCORES_AT_ONCE scores."""
    n_heads, n_rows = rows.query.shape[1:3]
    n_groups, n_keys = rows.key.shape[1:3]
    n_at_once = max(SCORES_AT_ONCE // (n_heads // n_groups * n_keys), 1)
    for start in range(0, n_rows, n_at_once):
        yield rows.part(start, min(start + n_at_once, n_rows))


def _scores(rows: Rows, sight: Sight) -> Iterator[tuple[Part, Float[Tensor, "item head row key"], list[Tensor]]]:
    """The scores of a block of rows, -inf on hidden keys, so many items and heads at once as fit, and memory to spare.

    Keys are upcast here, since bfloat16 scores would put 3e-2 nat of error in H. On a CPU that is done for no more keys
    at once than stay in its cache: a fresh copy of all of them would cost several times the product.
    """
    batch, n_heads, n_rows, width = rows.query.shape
    n_groups, n_keys = rows.key.shape[1:3]
    n_each, dtype = n_heads // n_groups, exact(rows.query)
    n_upcast = width if rows.key.dtype != dtype and rows.key.device.type == "cpu" else 0
    n_at_once = max(SCORES_AT_ONCE // (max(n_each * n_rows, n_upcast) * n_keys), 1)
    n_items, n_some = max(n_at_once // n_groups, 1), min(n_at_once, n_groups)
    added = _added(rows, sight)
    space = rows.query.new_empty(3, min(n_items, batch) * n_some * n_each * n_rows * n_keys, dtype=dtype)
    for item in range(0, batch, n_items):
        for group in range(0, n_groups, n_some):
            items, groups = slice(item, min(item + n_items, batch)), slice(group, min(group + n_some, n_groups))
            part = items, slice(groups.start * n_each, groups.stop * n_each)
            query = _of(rows.query, part).to(dtype) * rows.scale
            key = _of(rows.key, (items, groups)).to(dtype).flatten(0, 1)
            scores, *spare = space[:, : query[..., 0].numel() * n_keys].view(3, *query.shape[:3], n_keys)
            if rows.are_scores:
                scores.copy_(query)
            else:
                torch.bmm(query.reshape(len(key), -1, width), key.mT, out=scores.view(len(key), -1, n_keys))
            if rows.cap is not None:
                scores.div_(rows.cap).tanh_().mul_(rows.cap)
            for keys, numbers in added:
                scores[..., keys].add_(_of(numbers, part))
            yield part, scores, spare


def _added(rows: Rows, sight: Sight) -> list[tuple[slice, Tensor]]:
    """What is to be added to the scores of which keys: -inf on hidden ones, and what mask and bias say."""
    added, everywhere, dtype = [], slice(None), exact(rows.query)
    if rows.mask is not None and sight.visible is not None:
        numbers = torch.zeros_like(rows.mask, dtype=dtype) if rows.mask.dtype == torch.bool else rows.mask.to(dtype)
        added.append((everywhere, numbers.masked_fill(~sight.visible, -torch.inf)))
    elif rows.reach is not None and (n_rows := rows.query.shape[2]) > 1:
        triangle = torch.full((1, 1, n_rows, n_rows - 1), -torch.inf, dtype=dtype, device=rows.query.device).triu()
        added.append((slice(rows.reach, None), triangle))  # much faster than masking all scores
    return added if rows.bias is None else [*added, (everywhere, rows.bias)]


def _measure_rows(
    scores: Float[Tensor, "item head row key"],
    spare: Sequence[Tensor],
    sight: Sight,
    n_generated: Int[Tensor, "#row"],
    sees_tokens: bool,
    sink: Float[Tensor, "#head 1"] | None,
) -> tuple[Float[Tensor, "item head row key"], Float[Tensor, "item head row measure"]]:
    """The weights of some rows and their measures; in place, so the scores are spent."""
    weights, found = weights_and_moments_(scores, spare)
    stats = stats_of_moments(found)
    if sees_tokens:
        on_tokens = masses(weights, sight.first, sight.last, n_generated, into=scores)
    else:
        on_tokens = Masses(*[torch.full_like(stats.entropy, torch.nan)] * len(Masses._fields))
    counted = sight.n_keys.to(scores.dtype).expand_as(stats.entropy)
    shares = [] if sink is None else [torch.sigmoid(sink - found.peak - found.log_z)]
    return weights, torch.stack((*stats, *on_tokens, counted, *shares), dim=-1)


def _of(values: Tensor, part: Part) -> Tensor:
    """Of some items and heads, where they differ."""
    for dim, which in enumerate(part):
        if which.stop - which.start < values.shape[dim]:
            values = values.narrow(dim, which.start, which.stop - which.start)
    return values


@functools.cache
def _kernels() -> Any:
    """The kernel of a GPU; None without Triton."""
    try:
        from attnent.attention import kernels
    except ImportError:
        return None
    return kernels


def _fits_kernel(rows: Rows) -> bool:
    """Whether the kernel can measure these rows, and there is one."""
    has_numbers = rows.bias is not None or (rows.mask is not None and rows.mask.dtype != torch.bool)
    if rows.query.device.type not in KERNEL_DEVICES or rows.query.dtype == torch.float64:
        return False
    is_plain = rows.cap is None and rows.sink is None and not rows.are_scores
    return rows.sees_tokens and is_plain and not has_numbers and _kernels() is not None


def _by_kernel(rows: Rows) -> Float[Tensor, "batch head row measure"]:
    """All MEASURES and n_keys of each row."""
    n_at_once, blocks = max(VISIBLE_AT_ONCE // (len(rows.query) * rows.key.shape[2]), 1), []
    for start in range(0, rows.query.shape[2], n_at_once):
        block = rows.part(start, min(start + n_at_once, rows.query.shape[2]))
        sight = sight_of(block)
        seen = sight.visible, sight.first, sight.last
        measured = _kernels().measure_rows(block.query, block.key, *seen, block.n_generated, block.scale)
        n_keys = sight.n_keys.to(measured.dtype).expand(measured.shape[:3])
        blocks.append(torch.cat((measured, n_keys.unsqueeze(-1)), dim=-1))
    return torch.cat(blocks, dim=2) if len(blocks) > 1 else blocks[0]


def exact(query: Tensor) -> torch.dtype:
    """In which the measures of a query are worked out."""
    return torch.promote_types(query.dtype, torch.float32)
