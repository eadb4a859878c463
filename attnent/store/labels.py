"""Labels: one JSON object a line, appended, each with a checksum; what is torn or damaged is left out and said."""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from attnent.store.files import checksum, saying_where_full, write_whole


def append_labels(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows at the end, all of them serialised before the file is opened.

    Raises ValueError or TypeError, with nothing written, where JSON cannot keep one; DiskFullError.
    """
    lines = "".join(_line(row) for row in rows).encode()
    with saying_where_full(path.parent):
        path.parent.mkdir(exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=60), path.open("ab") as file:
            torn = file.tell() > 0 and path.read_bytes()[-1:] != b"\n"
            file.write(b"\n" * torn + lines)
            file.flush()
            os.fsync(file.fileno())


def join_labels(path: Path, elsewhere: bytes) -> None:
    """Put the lines that were added elsewhere before those that were added here, after what both begin with.

    So no line is lost, and what was said here counts as said last. Raises DiskFullError, OSError.
    """
    with saying_where_full(path.parent):
        path.parent.mkdir(exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=60):
            ours = path.read_bytes().split(b"\n") if path.is_file() else [b""]
            theirs = elsewhere.removesuffix(b"\n").split(b"\n")
            same = [our == their for our, their in zip(ours, theirs, strict=False)]
            n_same = [*same, False].index(False)
            write_whole(path, b"\n".join([*theirs, *ours[n_same:]]))


def read_labels(path: Path) -> list[dict[str, Any]]:
    """All whole rows; a line that is half written or was changed since is left out with a warning."""
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            if line:
                row = json.loads(line)
                if row.pop("checksum") != checksum(json.dumps(row)):
                    raise ValueError("changed")
                rows.append(row)
        except (ValueError, KeyError, AttributeError, TypeError):
            warnings.warn(f"skipped line {number} of {path}, which is half-written or damaged", stacklevel=3)
    return rows


def _line(row: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in row.items() if name != "checksum"}
    text = json.dumps(kept, allow_nan=False)
    return json.dumps(kept | {"checksum": checksum(text)}) + "\n"
