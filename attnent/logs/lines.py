"""Files of JSON objects, one a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnent.logs.responses import LogError


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line that is not blank. Raises LogError for one that is damaged."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _object(line, f"line {number} of {path}")
    except OSError as error:
        raise LogError(f"cannot read {path} ({error.strerror}); give the path of a log") from error


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LogError(f"{where} is no JSON ({error}); mend or remove that line") from error
    if not isinstance(found, dict):
        raise LogError(f"{where} is no JSON object but {type(found).__name__}; mend or remove that line")
    return found
