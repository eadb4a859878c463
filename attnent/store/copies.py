"""Folders that are whole or absent: filled under a temporary name, sealed with the checksum of each file, renamed."""

import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attnent.store.files import checksum_of, read_sealed, saying_where_full, sweep, temporary_name, write_sealed

SEAL = "seal.json"


@contextmanager
def new_copy(folder: Path, facts: Mapping[str, Any]) -> Generator[Path]:
    """A temporary folder to fill, which takes the place of `folder` at the end. Raises DiskFullError, OSError.

    What killed processes left beside it is removed.
    """
    with saying_where_full(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder.parent)
        temporary = temporary_name(folder)
        temporary.mkdir()
        try:
            yield temporary
            write_sealed(temporary / SEAL, {"facts": dict(facts), "files": _checksums(temporary)})
            _replace(folder, temporary)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def facts_of(folder: Path) -> dict[str, Any] | None:
    """What `new_copy` was told of a folder; None unless every file is there as it was written."""
    try:
        seal = read_sealed(folder / SEAL)
        return seal["facts"] if seal["files"] == _checksums(folder) else None
    except (OSError, ValueError):
        return None


def _checksums(folder: Path) -> dict[str, str]:
    return {path.name: checksum_of(path) for path in sorted(folder.iterdir()) if path.name != SEAL}


def _replace(folder: Path, temporary: Path) -> None:
    """Rename `temporary` to `folder`; what another process put there whole in the meantime may stay."""
    if folder.exists() and facts_of(folder) != read_sealed(temporary / SEAL)["facts"]:
        old = temporary_name(folder)
        os.rename(folder, old)
        shutil.rmtree(old, ignore_errors=True)
    if not folder.exists():
        os.rename(temporary, folder)
