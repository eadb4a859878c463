"""attnent: entropy and varentropy of a model's attention, token by token, and whether they tell right from wrong."""

import importlib
from typing import TYPE_CHECKING, Any

# Attributes load when first used: `import attnent` is light, and files can be analysed without torch.
_HOMES = {
    "load_model": "models",
    "ModelError": "models",
    "capture": "capturing",
    "CaptureError": "capturing",
    "generate": "generation",
    "replay": "generation",
    "PromptError": "prompts",
    "record": "recording",
    "Run": "runs",
    "RunError": "runs",
    "TraceError": "trace",
    "normalized_entropy": "trace",
    "effective_keys": "trace",
    "kl_to_uniform": "trace",
    "sinkless_entropy": "trace",
    "sinkless_varentropy": "trace",
    "lookback_ratio": "trace",
    "Scrubber": "scrubber",
    "ScrubberError": "scrubber",
}
_ROOMS = ("critic", "plots", "stats", "tasks", "trace")

__all__ = [*_HOMES, *_ROOMS]

if TYPE_CHECKING:
    from attnent import critic, plots, stats, tasks, trace
    from attnent.capturing import CaptureError, capture
    from attnent.generation import generate, replay
    from attnent.models import ModelError, load_model
    from attnent.prompts import PromptError
    from attnent.recording import record
    from attnent.runs import Run, RunError
    from attnent.scrubber import Scrubber, ScrubberError
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
        return importlib.import_module(f"attnent.{name}")
    raise AttributeError(f"attnent has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
