"""Files that are whole or absent, whoever writes them and whenever the process is killed."""

import errno
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

_HOST = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())
_TEMPORARY = re.compile(rf"\..+\.{_HOST}-(?P<pid>\d+)-[0-9a-f]+\.tmp")


class DiskFullError(OSError):
    """There is no space left; the message says where."""


@contextmanager
def saying_where_full(folder: Path) -> Generator[None]:
    """Turn what a full disk raises into a DiskFullError that names the folder."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(f"no space left in {folder}; free some, then run again") from error


def write_whole(path: Path, content: str | bytes) -> None:
    """Write to a temporary name, see it on the disk, and rename. Raises DiskFullError, OSError."""
    temporary = temporary_name(path)
    try:
        with saying_where_full(path.parent), temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """A name beside `path` that no other process takes, and by which `sweep` knows whose it was."""
    return path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def sweep(folder: Path) -> None:
    """Remove the temporary files and folders that processes of this machine left there when they were killed."""
    for path in folder.glob(".*.tmp"):
        written_by = _TEMPORARY.fullmatch(path.name)
        if written_by and not _is_alive(int(written_by["pid"])):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is, and is another user's
        return True
    return True


def checksum(*parts: str | bytes | memoryview) -> str:
    """Sixteen hexadecimal digits (XXH3) that change with any bit of the parts joined; no protection against malice."""
    found = xxhash.xxh3_64()
    for part in parts:
        found.update(part.encode() if isinstance(part, str) else part)
    return found.hexdigest()


def checksum_of(path: Path) -> str:
    """The checksum of a file's content, read in parts."""
    found = xxhash.xxh3_64()
    with path.open("rb") as file:
        while part := file.read(1 << 22):
            found.update(part)
    return found.hexdigest()


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with its checksum, whole or not at all."""
    kept = {name: value for name, value in content.items() if name != "checksum"}
    write_whole(path, json.dumps(kept | {"checksum": _seal(kept)}, indent=2, ensure_ascii=False))


def read_sealed(path: Path) -> dict[str, Any]:
    """Read a JSON object that `write_sealed` wrote. Raises OSError, or ValueError where it is not what was written."""
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict) or content.pop("checksum", None) != _seal(content):
        raise ValueError(f"{path.name} is not what was written")
    return content


def _seal(content: Mapping[str, Any]) -> str:
    return checksum(json.dumps(content, sort_keys=True))
