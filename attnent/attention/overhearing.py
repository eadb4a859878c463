"""Attention that modules work out in place, without transformers' interface: what they ask of torch is overheard.

Nothing they compute is changed. Those that ask for sdpa are measured by its queries and keys; those that ask for the
softmax of their scores, which are whole in any case, by these.
"""

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from attnent.attention import CaptureError

# Of these it is known that each pass asks once, and that nothing else comes between the scores and the values.
_KNOWN = {
    "BloomAttention", "CodeGenAttention", "FalconAttention", "GPTJAttention", "GPTNeoSelfAttention", "MptAttention",
}  # fmt: skip

_OF_SDPA = {"dropout_p", "is_causal"}  # and change no weight beyond what the mask says

Hear = Callable[..., Tensor]  # of module, query, key and mask what stands in the weights' place


def can_be_overheard(module: Any) -> bool:
    """Whether it is of a class of transformers' own that is known to tell all."""
    return type(module).__name__ in _KNOWN and type(module).__module__.startswith("transformers.models.")


@contextmanager
def overhearing(module: Any, hear: Hear) -> Generator[None]:
    """While the block lasts, what `hear` makes of its attention goes out of the module in the place of the weights."""
    before, was_own = module.forward, "forward" in vars(module)

    @functools.wraps(before)
    def forward(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        if "output_attentions" in kwargs:
            kwargs["output_attentions"] = False  # with it Falcon would leave sdpa
        with _Overhearing(module, hear, kwargs.get("attention_mask")) as heard:
            output, _ = before(*args, **kwargs)
        return output, heard.told

    module.forward = forward
    try:
        yield
    finally:
        if was_own:
            module.forward = before
        else:
            del module.forward


class _Overhearing(TorchFunctionMode):
    """Hears the attention of one pass through a module, whose mask has numbers to add, or True where it hides."""

    def __init__(self, module: Any, hear: Hear, mask: Tensor | None) -> None:
        super().__init__()
        self._module, self._hear, self._mask = module, hear, mask
        self.told: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        output = func(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            query, key, _ = args
            mask, others = kwargs.pop("attn_mask"), {name: kwargs[name] for name in kwargs if name not in _OF_SDPA}
            self._tell(query, key, mask, **others)
        elif func is functional.softmax:
            (scores,) = args
            no_keys = scores.new_empty(*scores.shape[:2], scores.shape[-1], 0)
            self._tell(scores, no_keys, _seen(scores, self._mask))
        return output

    def _tell(self, query: Tensor, key: Tensor, mask: Tensor | None, **others: Any) -> None:
        if self.told is not None:
            raise CaptureError(
                f"{type(self._module).__name__} attends more than once in a forward pass, which attnent cannot record; "
                "use another model"
            )
        self.told = self._hear(self._module, query, key, mask, **others)


def _seen(scores: Float[Tensor, "batch head row key"], mask: Tensor | None) -> Bool[Tensor, "#batch #head row key"]:
    """Which keys the rows see, the same for all heads: neither mask nor a number in the scores' place hides them."""
    smallest = max(torch.finfo(scores.dtype).min, torch.finfo(torch.float32).min)
    seen = scores[:, :1] > smallest / 2
    if mask is None:
        return seen
    return seen & (~mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2)
