"""How long a study will take at most, said before it starts: from what it took before, else from the model's speed."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from attnent.study.index import Outcome

ANALYSIS_SECONDS = 45.0  # of one notebook, whatever the model: its kernel, tables, figures and pages
RECORDS = ("n", "max_new_tokens", "batch_size")  # parameters of notebooks that let a model write
_OF_A_RECORDING = (*RECORDS, "prompts", "source", "shots", "temperature", "seed", "layers")  # alike: recorded once


class Speed(BaseModel):
    """What `attnent.model.speed` says of a model on this machine; seconds, and tokens a second."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    loading: float
    tokens_per_second: float


def estimate(values: Mapping[Path, Mapping[str, Any]], folders: Mapping[Path, Path]) -> str:
    """One line for a study of these notebooks with all their parameters, kept in these folders; "" where none is known.

    Responses are counted as long as they may become, so it is an upper bound; what is recorded already takes no time.
    """
    seconds = {notebook: before for notebook, folder in folders.items() if (before := took(folder)) is not None}
    new = {notebook: given for notebook, given in values.items() if notebook not in seconds}
    speed = None
    if recording := [given for given in new.values() if set(RECORDS) <= set(given)]:
        speed = measured(recording[0])
        if speed is None:
            return ""
    seen: set[str] = set()
    for notebook, given in new.items():
        n_tokens = most_tokens(given, seen) if speed else 0
        seconds[notebook] = ANALYSIS_SECONDS + (speed.loading + n_tokens / speed.tokens_per_second if speed else 0)
    told = f", as the model writes {speed.tokens_per_second:.0f} tokens a second here" if speed else ""
    each = ", ".join(f"{notebook.name[:2]} {minutes(seconds[notebook])}" for notebook in values)
    return f"Estimate: at most {minutes(sum(seconds.values()))}{told} ({each})"


def took(folder: Path) -> float | None:
    """How long a notebook took before, whole as it is now."""
    try:
        outcome = Outcome.model_validate_json((folder / "outcome.json").read_bytes())
    except (OSError, ValidationError):
        return None
    return outcome.seconds if outcome.status == "complete" else None


def measured(given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Speed | None:
    """The speed of the model in a process of its own, which gives its memory back; None where it cannot be loaded."""
    options = {
        "--batch-size": given["batch_size"],
        "--dtype": given.get("dtype"),
        "--device-map": given.get("device_map"),
    }
    told = [text for name, value in options.items() if value is not None for text in (name, str(value))]
    command = [sys.executable, "-m", "attnent.model.speed", given["model"], *told]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return Speed.model_validate(json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return None  # the notebooks will say what is wrong with it


def most_tokens(given: Mapping[str, Any], seen: set[str]) -> int:
    """How many tokens a notebook writes and reads at most; none where one before it records the same."""
    if not set(RECORDS) <= set(given):
        return 0
    recording = json.dumps({name: given.get(name) for name in _OF_A_RECORDING})
    if recording in seen:
        return 0
    seen.add(recording)
    times = 2 * (1 + 2) if "prompts" in given else 1  # two kinds of prompts; each response is written, and read twice
    if "n_samples" in given:  # problems and questions, written several times, whether they are true, and texts
        times = 2 * (given["n_samples"] + 2)
    return times * given["n"] * given["max_new_tokens"]


def minutes(seconds: float) -> str:
    """A time in seconds, minutes or hours."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
