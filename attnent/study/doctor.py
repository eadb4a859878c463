"""`attnent doctor`: what this machine has for attnent, and which Llama 3.2 models it could hold. No key is shown."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import psutil
from huggingface_hub import constants, get_token
from platformdirs import user_cache_dir

GB = 1e9
N_TOKENS = 2_048  # of prompt and response, for which keys and values are counted
_LEAST_DISK = 1.0  # GB
_MARGIN, _ASIDE = 1.1, 1.0  # of what is derived, for activations; GB, for torch and the tables
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Found(NamedTuple):
    """One thing that was looked at; `is_enough` where attnent works with it."""

    what: str
    said: str
    is_enough: bool = True


class Size(NamedTuple):
    """A published model: parameters, and the numbers that keys and values of one token take."""

    name: str
    n_parameters: float
    cache_numbers: int  # 2 x layers x key heads x width


LLAMA = (  # the published configurations
    Size("Llama-3.2-1B", 1.24e9, 2 * 16 * 8 * 64),
    Size("Llama-3.2-3B", 3.21e9, 2 * 28 * 8 * 128),
    Size("Llama-3.2-11B-Vision", 10.7e9, 2 * 40 * 8 * 128),
    Size("Llama-3.2-90B-Vision", 88.6e9, 2 * 100 * 8 * 128),
)


def gigabytes(size: Size, n_bytes: int) -> float:
    """What weights and one response of N_TOKENS take, with numbers of so many bytes."""
    return _MARGIN * n_bytes * (size.n_parameters + size.cache_numbers * N_TOKENS) / GB + _ASIDE


def placed(size: Size, devices: Mapping[str, float], memory: float) -> str:
    """Where a model would go and as what, the quickest way first; `devices` and `memory` are free GB."""
    half, whole = gigabytes(size, 2), gigabytes(size, 4)
    for name, free in devices.items():
        if half <= free:
            return f'fits on {name} (dtype="bfloat16", device_map="{name}"; {half:.0f} GB)'
    if len(devices) > 1 and half <= sum(devices.values()):
        return f'fits on all GPUs together (dtype="bfloat16", device_map="auto"; {half:.0f} GB)'
    for dtype, needed in (("float32", whole), ("bfloat16", half)):
        if needed <= memory:
            return f'fits in memory, slowly (dtype="{dtype}", device_map="cpu"; {needed:.0f} GB)'
    if devices and half <= sum(devices.values()) + memory:
        return f'fits in GPU and memory together, slowly (dtype="bfloat16", device_map="auto"; {half:.0f} GB)'
    return f"does not fit: bfloat16 takes {half:.0f} GB"


def findings(out_dir: Path) -> Iterator[Found]:
    """Everything that is looked at, one after the other."""
    import torch  # takes its time to load

    yield Found("Python", platform.python_version())
    yield Found("attnent", f"{version('attnent')}, transformers {version('transformers')}")
    yield Found("torch", f"{torch.__version__}, {torch.get_num_threads()} threads")
    devices = {
        f"cuda:{place}": torch.cuda.mem_get_info(place)[0] / GB
        for place in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    }
    named = [f"{torch.cuda.get_device_name(name)}, {free:.0f} GB free" for name, free in devices.items()]
    named += ["Apple GPU (mps)"] if torch.backends.mps.is_available() else []
    yield Found("GPU", "; ".join(named) or "none; the bundled model and SmolLM2 do without")
    memory = psutil.virtual_memory()
    yield Found("memory", f"{memory.available / GB:.0f} of {memory.total / GB:.0f} GB free, {os.cpu_count()} cores")
    yield _disk(out_dir)
    token = "there" if get_token() else "none; gated models such as Llama need one: hf auth login"
    yield Found("Hub token", token)
    key = "there" if os.environ.get("OPENAI_API_KEY") else "none; judges and critics by language model need one"
    yield Found("OpenAI key", key)
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    yield Found("browser", browser or "no Chromium; light pages and the tests in a browser need one")
    for what, folder in (("Hub cache", constants.HF_HUB_CACHE), ("attnent cache", user_cache_dir("attnent"))):
        yield _writable(what, Path(folder))
    for size in LLAMA:
        yield Found(size.name, placed(size, devices, memory.available / GB))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that there is."""
    return next(one for one in (folder, *folder.absolute().parents) if one.is_dir())


def _disk(out_dir: Path) -> Found:
    free = shutil.disk_usage(_existing(out_dir)).free / GB
    said = f"{free:.0f} GB free for {out_dir}"
    return Found("disk", said if free >= _LEAST_DISK else f"{said}; recordings need more", free >= _LEAST_DISK)


def _writable(what: str, folder: Path) -> Found:
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            return Found(what, str(folder))
    except OSError as error:
        return Found(what, f"{folder} cannot be written ({error.strerror}); make it writable, or move it", False)


def doctor(out_dir: Path) -> int:
    """Print what is found, a line each; 1 where something is not enough."""
    return 1 if _printed(findings(out_dir)) else 0


def _printed(found: Iterable[Found]) -> int:
    """How many of them are not enough."""
    n_wanting = 0
    for what, said, is_enough in found:
        print(f"{' ' if is_enough else '!'} {what:<22}{said}", flush=True)
        n_wanting += not is_enough
    return n_wanting
