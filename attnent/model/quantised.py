"""Models whose weights are quantised as their own configuration says: how they are named, and how much they hold."""

from typing import Any

from transformers import PreTrainedModel


def quantised_by(config: Any) -> str | None:
    """The method, such as "bitsandbytes"; None of weights that are numbers as they are."""
    about = getattr(config, "quantization_config", None)
    method = about.get("quant_method") if isinstance(about, dict) else getattr(about, "quant_method", None)
    return None if about is None else str(getattr(method, "value", method))


def dtype_of(model: PreTrainedModel) -> str:
    """In which a model computes, and what its weights are quantised by: "bfloat16", "bfloat16, weights by gptq"."""
    dtype, method = str(model.dtype).removeprefix("torch."), quantised_by(model.config)
    return dtype if method is None else f"{dtype}, weights by {method}"


def n_parameters(model: PreTrainedModel) -> int:
    """How many numbers the weights of a model stand for, however they are packed."""
    if quantised_by(model.config) is None:
        return model.num_parameters()
    modules: list[Any] = list(model.modules())
    seen: set[int] = set()
    n = 0
    for module in modules:
        own = {id(one): one for one in module.parameters(recurse=False) if id(one) not in seen}
        seen |= own.keys()
        if own and hasattr(module, "in_features") and hasattr(module, "out_features"):
            bias = getattr(module, "bias", None)
            n += module.in_features * module.out_features + (0 if bias is None else bias.numel())
        else:
            n += sum(one.numel() for one in own.values())
    return n
