"""Models from GGUF files: checked, dequantised, and kept converted, so that they load fast the next time.

The converted copy is a folder like any other model's, in the user's cache, named by the SHA-256 of the file.
"""

import re
from pathlib import Path
from typing import Any

import platformdirs
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers import __version__ as transformers_version

from attnent.store.copies import facts_of, new_copy
from attnent.store.weights import GgufError, checked, quantisation_of, sha256_of


def converted(path: Path, dtype: str | torch.dtype) -> tuple[Path, dict[str, str]]:
    """The folder that holds the model of a GGUF file, dequantised to `dtype`, and what the weights are.

    They are a dict of file, quantisation, sha256 and name. "auto" is `fast_dtype()`. Raises GgufError.
    """
    try:
        sha256 = sha256_of(path)
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
        facts = made_from | {"quantisation": quantisation_of(reader)}
        _convert(path, reader, dtype, folder, facts)
    quantisation = facts["quantisation"]
    stem = re.sub(rf"[-._]{re.escape(quantisation)}$", "", path.stem, flags=re.IGNORECASE)
    name = f"{stem}-{quantisation}-gguf" + ("" if quantisation in ("F32", "F16", "BF16") else "-dequantised")
    return folder, {"name": name, "file": path.name, "quantisation": quantisation, "sha256": sha256}


def fast_dtype() -> torch.dtype:
    """bfloat16 on an accelerator or on a CPU that multiplies in it, float32 otherwise."""
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    fast = torch.accelerator.is_available() or any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if fast else torch.float32


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
    loaded: Any = AutoModelForCausalLM.from_pretrained(source, config=config, **own)
    model, missing = loaded[0], loaded[1]["missing_keys"]
    n_held = sum(int(tensor.n_elements) for tensor in reader.tensors)
    n_taken = sum(values.numel() for values in model.parameters())
    if n_held != n_taken or missing:
        raise GgufError(
            f"{path} does not hold what transformers' {type(model).__name__} takes ({n_held:,} numbers for "
            f"{n_taken:,}, {len(missing)} tensors missing), so it would be read wrongly: load the model from the Hub "
            "or a local folder"
        )
    return model, tokenizer
