"""What a sweep will take: time, memory and disk of each run, where they can be told without fetching anything."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from attnent.study.estimate import ANALYSIS_SECONDS, RECORDS, Speed, measured, minutes, most_tokens
from attnent.study.parameters import parameters_of
from attnent.study.sweep.grid import Job
from attnent.study.sweep.running import aligned, before, title_of
from attnent.tiny import MODEL_DIR, vision

BYTES_A_HEAD = 32  # of a trace, for each token and layer
NOTE = """\
Time and disk are at most: every response as long as it may become. Memory is the weights alone.
A trace takes 32 bytes a token, layer and head: 200 tokens 3.3 MB at 16 x 32 heads, 33 MB at 80 x 64.
The parameter `layers` records fewer of them; in Python ae.record(measures=...) also fewer of the eight measures."""
_OF_A_MODEL = ("model", "revision", "dtype", "device_map", "batch_size")


class Size(NamedTuple):
    """How large a model is."""

    n_layers: int
    n_heads: int
    n_bytes: int  # of its weights


class Needs(NamedTuple):
    """What a run takes, in seconds and bytes; None where it is not known."""

    seconds: float | None
    memory: int | None
    disk: int | None


def table_of(jobs: Sequence[Job], *, retry_failed: bool = False) -> str:
    """The runs of a sweep, what is to be done of each, what that will take, and the sum."""
    rows, needed, models = [("", "run", "state", "time", "memory", "disk")], [], _Models()
    for place, job in enumerate(jobs, start=1):
        stood = before(job, retry_failed=retry_failed)
        needs = None if stood else models.needs_of(job)
        state = stood.status if stood else _state_of(job)
        rows.append((str(place), title_of(job), state, *(_shown(needs) if needs else ("", "", ""))))
        needed += [needs] if needs else []
    known = [needs for needs in needed if None not in needs]
    time = minutes(math.fsum(needs.seconds or 0 for needs in known))
    disk = _size(sum(needs.disk or 0 for needs in known))
    unknown = f"; unknown for {len(needed) - len(known)}" * (len(needed) > len(known))
    return f"{aligned(rows)}\n{len(needed)} of {len(jobs)} to run: at most {time} and {disk} of disk{unknown}\n{NOTE}"


def size_of(given: Mapping[str, Any]) -> Size | None:
    """How large the model of a run is; None where its configuration does not lie on this machine."""
    import torch  # these take their time to load
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    name, dtype = given["model"], given.get("dtype", "auto")
    if name == "smollm2":
        return Size(30, 9, 134_515_008 * (4 if dtype == "auto" else getattr(torch, dtype).itemsize))
    if name in ("tiny", "tiny-vision") and dtype == "auto":
        dtype = "float32"
    if name == "tiny-vision":
        model, _ = vision.built()
        return Size(vision.N_LAYERS, vision.N_HEADS, model.num_parameters() * getattr(torch, dtype).itemsize)
    own = {"revision": given.get("revision"), "local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(MODEL_DIR if name == "tiny" else name, **own)
        loader = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
        width = (config.dtype or torch.float32) if dtype == "auto" else getattr(torch, dtype)
        with torch.device("meta"):
            model = loader.from_config(config)
        text = config.get_text_config()
        n_parameters = sum(values.numel() for values in model.parameters())
        return Size(text.num_hidden_layers, text.num_attention_heads, n_parameters * width.itemsize)
    except (OSError, ValueError, AttributeError):
        return None


class _Models:
    """What is found out about each model once, and what of it is counted already."""

    def __init__(self) -> None:
        self._sizes: dict[str, Size | None] = {}
        self._speeds: dict[str, Speed | None] = {}
        self._seen: dict[str, set[str]] = {}

    def needs_of(self, job: Job) -> Needs:
        given = {name: parameter.default for name, parameter in parameters_of(job.notebook).items()} | job.values
        if "model" not in given:
            return Needs(ANALYSIS_SECONDS, 0, 0)
        key = str([given.get(name) for name in _OF_A_MODEL])
        if key not in self._sizes:
            self._sizes[key] = size_of(given)
        size = self._sizes[key]
        if size is None:
            return Needs(None, None, None)
        if not set(RECORDS) <= set(given):
            return Needs(ANALYSIS_SECONDS, size.n_bytes, 0)
        if key not in self._speeds:
            self._speeds[key] = measured(given, {**os.environ, "HF_HUB_OFFLINE": "1"})
        speed, n_tokens = self._speeds[key], most_tokens(given, self._seen.setdefault(key, set()))
        seconds = ANALYSIS_SECONDS + speed.loading + n_tokens / speed.tokens_per_second if speed else None
        n_layers = size.n_layers if given.get("layers") is None else len(set(given["layers"]))
        return Needs(seconds, size.n_bytes, n_tokens * n_layers * size.n_heads * BYTES_A_HEAD)


def _state_of(job: Job) -> str:
    if not job.folder.is_dir():
        return "new"
    return "to run again" if (job.folder / "outcome.json").exists() else "half-done"


def _shown(needs: Needs) -> tuple[str, str, str]:
    time = "unknown" if needs.seconds is None else minutes(needs.seconds)
    return time, _size(needs.memory), _size(needs.disk)


def _size(n_bytes: int | None) -> str:
    if n_bytes is None:
        return "unknown"
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
