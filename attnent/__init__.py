"""attnent: entropy and varentropy of a model's attention, token by token, and whether they tell right from wrong."""

import importlib
from typing import TYPE_CHECKING, Any

# Attributes load when first used: `import attnent` is light, and files can be analysed without torch.
_NAMES = {
    "cluster.workers": ("Workers",),
    "detectors.confidence": ("ConfidenceError", "fit_confidence", "load_confidence"),
    "hub": ("HubError",),
    "hub.pulling": ("pull",),
    "hub.pushing": ("push",),
    "attention.capture": ("capture", "CaptureError"),
    "model.generation": ("attention_row", "generate"),
    "model.looking": ("attention_on_image",),
    "model.loading": ("load_model", "ModelError"),
    "model.prompts": ("PromptError",),
    "model.recorder": ("record",),
    "model.replaying": ("read_again", "replay"),
    "model.sampling": ("add_samples",),
    "model.states": ("trace_of_states",),
    "attention.tops": ("TopKeys",),
    "runs": ("load_runs", "Run", "RunError"),
    "store.folders": ("model_name", "out_folder"),
    "show.scrubber": ("Scrubber", "ScrubberError"),
    "trace": (
        "TraceError", "normalized_entropy", "effective_keys", "kl_to_uniform", "sinkless_entropy",
        "sinkless_varentropy", "lookback_ratio",
    ),
}  # fmt: skip
_HOMES = {name: home for home, names in _NAMES.items() for name in names}
_ROOMS = {name: name for name in ("analysis", "critic", "detectors", "llm", "tasks")}
_ROOMS |= {name: f"show.{name}" for name in ("knobs", "plots", "words", "worth")}

__all__ = [*_HOMES, *_ROOMS]

if TYPE_CHECKING:
    from attnent import analysis, critic, detectors, llm, tasks
    from attnent.attention.capture import CaptureError, capture
    from attnent.attention.tops import TopKeys
    from attnent.cluster.workers import Workers
    from attnent.detectors.confidence import ConfidenceError, fit_confidence, load_confidence
    from attnent.hub import HubError
    from attnent.hub.pulling import pull
    from attnent.hub.pushing import push
    from attnent.model.generation import attention_row, generate
    from attnent.model.loading import ModelError, load_model
    from attnent.model.looking import attention_on_image
    from attnent.model.prompts import PromptError
    from attnent.model.recorder import record
    from attnent.model.replaying import read_again, replay
    from attnent.model.sampling import add_samples
    from attnent.model.states import trace_of_states
    from attnent.runs import Run, RunError, load_runs
    from attnent.show import knobs, plots, words, worth
    from attnent.show.scrubber import Scrubber, ScrubberError
    from attnent.store.folders import model_name, out_folder
    from attnent.trace import (
        TraceError,
        effective_keys,
        kl_to_uniform,
        lookback_ratio,
        normalized_entropy,
        sinkless_entropy,
        sinkless_varentropy,
    )


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"attnent.{_HOMES[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"attnent.{_ROOMS[name]}")
    raise AttributeError(f"attnent has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
