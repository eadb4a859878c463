"""One model shared among processes that torchrun starts: each rank holds some heads of every layer.

transformers shares it (`tp_plan`). Every pass is one of all ranks; what each measured of its heads is joined here.
"""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Int, Num
from torch import Tensor
from transformers import PreTrainedModel

from attnent.attention import CaptureError

_Asked = TypeVar("_Asked")
_Made = TypeVar("_Made")


class Ranks(NamedTuple):
    """The processes that share a model; of one that is not shared there is one."""

    n: int = 1
    here: int = 0  # the number of this one; the first alone writes
    n_heads: int | None = None  # of a layer, on all ranks together
    device: torch.device | None = None  # on which this one can send
    group: Any = None

    def split(self, n_heads: int) -> bool:
        """Whether so many heads of a layer, on this rank, are not all; some models keep all on every rank.

        Raises CaptureError where they are neither all nor an equal part.
        """
        if self.n > 1 and n_heads * self.n != self.n_heads != n_heads:
            raise CaptureError(
                f"a layer has {n_heads} heads on one of {self.n} processes, which is no equal part of {self.n_heads}, "
                "so they cannot be put in order; load the model without tp_plan"
            )
        return self.n > 1 and n_heads != self.n_heads

    def joined(self, values: Num[Tensor, "batch head *_"]) -> Num[Tensor, "batch all_heads *_"]:
        """The heads of all ranks, in order; each rank has the same shape."""
        if not self.split(values.shape[1]):
            return values
        here = values.to(self.device).contiguous()
        there = [torch.empty_like(here) for _ in range(self.n)]
        dist.all_gather(there, here, group=self.group)
        return torch.cat(there, dim=1).to(values.device)

    def agreed(self, chosen: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """What the first rank chose: numbers that differ in a rounding must not part the ranks."""
        if self.n > 1:
            dist.broadcast(chosen, group_src=0, group=self.group)
        return chosen

    @contextmanager
    def leading(self, make: Callable[[_Asked], _Made]) -> Generator[Callable[[_Asked], _Made]]:
        """`make` as the first rank calls it while the others `follow`, to the end of the block.

        Where the block fails they are not told, since they may be within a pass: torchrun ends them.
        """

        def told(asked: _Asked) -> _Made:
            self._from_first(asked)
            return make(asked)

        yield told
        self._from_first(None)

    def follow(self, make: Callable[[Any], Any]) -> None:
        """Make what the first rank makes, until it is done."""
        while (asked := self._from_first(None)) is not None:
            make(asked)

    def _from_first(self, value: Any) -> Any:
        told = [value]
        if self.n > 1:
            dist.broadcast_object_list(told, group_src=0, group=self.group, device=self.device)
        return told[0]


ALONE = Ranks()


def ranks_of(model: PreTrainedModel) -> Ranks:
    """The processes that share a model."""
    mesh: Any = getattr(model, "_device_mesh", None)
    if mesh is None or "tp" not in mesh.mesh_dim_names or mesh["tp"].size() == 1:
        return ALONE
    mesh, n_heads = mesh["tp"], model.config.get_text_config().num_attention_heads
    return Ranks(mesh.size(), mesh.get_local_rank(), n_heads, torch.device(mesh.device_type), mesh.get_group())


def are_several() -> bool:
    """Whether this process is one of several that may have to make the same passes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_first() -> bool:
    """Whether this is the process that speaks, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"
