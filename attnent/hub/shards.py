"""Traces packed into tar files: the same traces give the same bytes, and only what the index names is unpacked."""

import io
import tarfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from attnent.hub import HubError
from attnent.hub.index import Content, Shard
from attnent.store.files import saying_where_full, write_whole

_ENDING = ".safetensors"


def pack(traces: Mapping[str, Path], path: Path) -> Shard:
    """Write trace files as one tar, in the order of their names and without times or owners. Raises DiskFullError."""
    packed = {}
    with saying_where_full(path.parent), tarfile.open(path, "w") as tar:
        for name in sorted(traces):
            content = traces[name].read_bytes()
            packed[name] = Content.of(content)
            member = tarfile.TarInfo(name + _ENDING)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    whole = Content.of_file(path)
    return Shard(sha256=whole.sha256, size=whole.size, traces=packed)


def unpack(shard: Shard, path: Path, wanted: Collection[str], folder: Path, said: Callable[[int], None]) -> None:
    """Write the wanted traces of a shard into a folder, each whole or not at all.

    Nothing else is taken out of the tar, and no path in it is followed. Raises HubError where the tar, of which then
    nothing is kept, or a trace in it is not what the index says; DiskFullError.
    """
    refused = HubError(f"the shard {shard.name} is not what was pushed, and nothing of it is kept; pull once more")
    if Content.of_file(path) != Content(sha256=shard.sha256, size=shard.size):
        raise refused
    left = set(wanted)
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                name = member.name.removesuffix(_ENDING)
                if name in left and member.size == shard.traces[name].size and (file := tar.extractfile(member)):
                    content = file.read()
                    if Content.of(content) != shard.traces[name]:
                        raise refused
                    write_whole(folder / (name + _ENDING), content)
                    left.remove(name)
                    said(1)
    except (tarfile.TarError, KeyError) as error:
        raise refused from error
    if left:
        raise refused


def grouped(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Names in order, in groups of at most so many bytes, or of one that is larger."""
    groups: list[list[str]] = []
    filled = 0
    for name in sorted(sizes):
        if not groups or filled + sizes[name] > most:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += sizes[name]
    return groups
