"""What a model's modules say of its layers."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel

KINDS = ("self", "sliding", "cross")


def layered(model: PreTrainedModel) -> list[Any]:
    """The modules that know the index of their layer."""
    return [module for module in model.modules() if isinstance(getattr(module, "layer_idx", None), int)]


def is_cross(module: nn.Module) -> bool:
    """Whether its keys are no tokens of the text."""
    return bool(getattr(module, "is_cross_attention", False)) or "CrossAttention" in type(module).__name__


def kind_of(module: Any, others: dict[str, Any]) -> str:
    """One of KINDS; `others` are further keywords that the module passes to its attention."""
    if is_cross(module):
        return "cross"
    types = getattr(getattr(module, "config", None), "layer_types", None)
    is_local = types is not None and types[module.layer_idx] in ("sliding_attention", "chunked_attention")
    return "sliding" if is_local or others.get("sliding_window") is not None else "self"
