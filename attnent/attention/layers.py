"""What a model's modules say of its layers."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel

KINDS = ("self", "sliding", "cross")


def layered(model: PreTrainedModel) -> list[Any]:
    """The modules that know the index of their layer."""
    return [module for module in model.modules() if isinstance(index_of(module), int)]


def index_of(module: Any) -> Any:
    """The index of its layer, where it knows one."""
    return getattr(module, "layer_idx", getattr(module, "layer_id", None))  # the latter in GPT-Neo


def is_cross(module: nn.Module) -> bool:
    """Whether its keys are no tokens of the text."""
    return bool(getattr(module, "is_cross_attention", False)) or "CrossAttention" in type(module).__name__


def kind_of(module: Any, others: dict[str, Any]) -> str:
    """One of KINDS; `others` are further keywords that the module passes to its attention."""
    if is_cross(module):
        return "cross"
    types = getattr(getattr(module, "config", None), "layer_types", None)
    is_local = types is not None and types[index_of(module)] in ("sliding_attention", "chunked_attention")
    is_local |= getattr(module, "attention_type", None) == "local"  # in GPT-Neo
    return "sliding" if is_local or others.get("sliding_window") is not None else "self"


def indices(model: PreTrainedModel) -> set[int]:
    """Of its layers that have attention, as the model counts them."""
    return {index_of(module) for module in layered(model) if "Attention" in type(module).__name__}


def context_length(model: PreTrainedModel) -> int | None:
    """How many tokens the model can attend to, where its configuration says so."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def chosen(what: str, asked: Any, known: set[int]) -> tuple[int, ...] | None:
    """Of layers or heads those that are asked for, each once, in ascending order; None is all. Raises ValueError."""
    if asked is None:
        return None
    try:
        numbers = set(asked)
    except TypeError:
        raise ValueError(f"the {what} are {asked!r}, but must be a list of numbers, or None") from None
    unknown = sorted(numbers - known, key=repr)
    if unknown or not numbers:
        in_a_row = len(known) > 1 and len(known) == max(known) - min(known) + 1
        there = f"{min(known)} to {max(known)}" if in_a_row else ", ".join(map(str, sorted(known))) or "none"
        raise ValueError(f"the {what} are {unknown}, but the model has {there}; name some of these, or None for all")
    return tuple(sorted(int(one) for one in numbers))
