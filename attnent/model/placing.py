"""Where a model lies: on one device or many, on disk what does not fit, or shared among processes of torchrun."""

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers import __version__ as transformers_version

from attnent.model.quantised import quantised_by


class PlacingError(ValueError):
    """A model cannot be put there; the message says what to do."""


def placed(config: Any, device_map: str | dict | None, tp_plan: str | None) -> dict[str, Any]:
    """What `from_pretrained` is to be told of the place for a model of this configuration. Raises PlacingError."""
    if tp_plan is None:
        return {"device_map": device_map}
    if tp_plan != "auto":
        raise PlacingError(f'tp_plan is {tp_plan!r}, but must be "auto" (the plan of the model\'s family) or None')
    if device_map not in ("auto", None):
        raise PlacingError(
            f"device_map is {device_map!r} beside a tp_plan, which puts a part of every layer on the device of each "
            "process: give one of them"
        )
    if "WORLD_SIZE" not in os.environ:
        raise PlacingError(
            "a tp_plan shares a model among processes that torchrun starts: run the script by "
            "`torchrun --nproc-per-node 2 script.py`, with the number of your GPUs"
        )
    n_ranks = int(os.environ["WORLD_SIZE"])
    if n_ranks == 1:
        return {"device_map": device_map}
    if method := quantised_by(config):
        raise PlacingError(
            f"weights that {method} quantised cannot be shared among processes: load them without tp_plan"
        )
    _check_heads(config.get_text_config(), n_ranks)
    n_here, n_devices = int(os.environ.get("LOCAL_WORLD_SIZE", n_ranks)), torch.accelerator.device_count()
    if 0 < n_devices < n_here:
        raise PlacingError(
            f"{n_here} processes here are to share {n_devices} devices: start as many as there are devices"
        )
    return {"distributed_config": _distributed()}


def _check_heads(config: Any, n_ranks: int) -> None:
    plan = getattr(config, "base_model_tp_plan", None)
    if not plan:
        raise PlacingError(
            f"transformers has no plan by which processes would share a model of the family {config.model_type!r}: "
            "load it without tp_plan"
        )
    if "colwise" not in {style for part, style in plan.items() if "att" in part}:
        return  # every rank has all heads
    for what, n in (
        ("heads", config.num_attention_heads),
        ("groups of keys and values", getattr(config, "num_key_value_heads", None) or config.num_attention_heads),
    ):
        if n % n_ranks:
            raise PlacingError(
                f"{n_ranks} processes cannot share {n} {what} evenly: start a number of them that divides {n}"
            )


def _distributed() -> Any:
    try:
        from transformers.distributed.configuration_utils import DistributedConfig

        return DistributedConfig(tp_plan="auto")
    except (ImportError, TypeError) as error:
        raise PlacingError(
            f"a tp_plan needs transformers 5.23 or later, and here is {transformers_version}: "
            "run `pip install --upgrade transformers`"
        ) from error


def put(load: Callable[..., PreTrainedModel], where: dict[str, Any]) -> PreTrainedModel:
    """What `load` gives when it is told where. Weights that go to disk in another form than they are in the files, as
    experts do, lie in a temporary folder (of TMPDIR) that goes when the model goes."""
    device_map = where.get("device_map")
    if not isinstance(device_map, str) and "disk" not in (device_map or {}).values():
        return load(**where)
    folder = Path(tempfile.mkdtemp(prefix="attnent-weights-"))
    try:
        model = load(**where, offload_folder=folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if any(folder.iterdir()):
        weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    else:
        folder.rmdir()
    return model


def device_of(model: PreTrainedModel) -> torch.device:
    """On which a model takes its inputs: where the embedding is offloaded, its weights are on none."""
    if model.device.type != "meta":
        return model.device
    hooks = (getattr(module, "_hf_hook", None) for module in model.modules())
    runs_on = (getattr(hook, "execution_device", None) for hook in hooks)
    return torch.device(next((device for device in runs_on if device is not None), model.device))


def parameters_of(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Every parameter by its name, wherever it lies; none of a model that was loaded without weights."""
    is_empty = device_of(model).type == "meta"
    for name, values in model.named_parameters():
        held: Any = values
        if hasattr(held, "full_tensor"):  # shared among ranks
            yield name, held.full_tensor()
        elif hasattr(held, "__tensor_flatten__"):  # packed, as torchao does
            yield from ((f"{name}.{part}", getattr(held, part)) for part in held.__tensor_flatten__()[0])
        elif not held.is_meta:
            yield name, held
        elif not is_empty and name not in model.all_tied_weights_keys:
            yield name, _brought(model, name)


def _brought(model: PreTrainedModel, name: str) -> Tensor:
    from transformers.integrations.accelerate import load_offloaded_parameter

    return load_offloaded_parameter(model, name)
