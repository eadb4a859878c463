"""What of a Run folder is whole, what is damaged and what is missing."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import xarray as xr

from attnent.store.labels import read_labels
from attnent.trace import TraceError


class Verification(NamedTuple):
    """Ids of the responses that are whole, what is damaged and why, ids of the responses that have no trace."""

    whole: list[str]
    damaged: dict[str, str]
    missing: list[str]

    @property
    def is_complete(self) -> bool:
        """Whether every response is there and nothing is damaged."""
        return not self.damaged and not self.missing


def verify(
    asked: Iterable[str], recorded: Sequence[str], read: Callable[[str], xr.Dataset], labels: Path
) -> Verification:
    """Read every trace and every file in the folder of labels."""
    damaged: dict[str, str] = {}
    for response_id in recorded:
        try:
            read(response_id)
        except TraceError as error:
            damaged[response_id] = str(error)
    whole = [response_id for response_id in recorded if response_id not in damaged]
    for path in sorted(labels.glob("*.jsonl")):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            read_labels(path)
        damaged |= {f"labels {path.stem}": str(one.message) for one in said}
    return Verification(whole, damaged, [response_id for response_id in asked if response_id not in set(recorded)])
