"""Run folders from the Hub: the traces that are missing here, each checked, and run.json at the end."""

import shutil
from pathlib import Path
from typing import Any

from attnent.hub import HubError
from attnent.hub.index import (
    EXAMPLES,
    RUN,
    TABLE_FILES,
    Index,
    Moved,
    begins_with,
    contents_here,
    differing,
    sessions_of,
    trace_path,
)
from attnent.hub.repository import Repository, open_repository
from attnent.hub.shards import unpack
from attnent.progress import Progress
from attnent.runs import Run, locked
from attnent.store.files import saying_where_full, temporary_name, write_sealed, write_whole
from attnent.store.folders import digest
from attnent.store.labels import join_labels
from attnent.store.tables import keep_tables, made_from, state_of
from attnent.store.traces import load_trace
from attnent.trace import SCHEMA_VERSION, TraceError


def pull(
    repo: str,
    folder: str | Path = "runs",
    *,
    only: str | None = None,
    revision: str | None = None,
    progress: bool = True,
) -> list[Moved]:
    """Bring the Runs of the data set repository `repo` ("user/name") of the Hub into a folder.

    All of them, or those at or below the path `only`, such as "simpleqa/tiny". What is here already is not brought
    again; a trace is compared with its SHA-256, then renamed into place, and run.json is written last, so that a pull
    that ends early is taken up again. Labels that were added here and there are joined, those from there first:
    where a judge spoke twice of a response, what was said here counts. Raises HubError; RunError where another process
    records into a folder; DiskFullError.
    """
    repository = open_repository(repo, revision)
    places = repository.places(only)
    if not places:
        where = f"{repo} below {only}" if only else repo
        raise HubError(f"there is no Run in {where}; push one there, or give another path")
    targets = {place: _inside(Path(folder), place) for place in places}
    return [_pull(repository, place, target, progress) for place, target in targets.items()]


def _inside(folder: Path, place: str) -> Path:
    """The folder of a place. Raises HubError where links lead out of the folder that was given."""
    target = folder / place
    if not target.resolve().is_relative_to(folder.resolve()):
        raise HubError(f"{target} leads out of {folder}; remove the link, or give the folder that it leads to")
    return target


def _pull(repository: Repository, place: str, target: Path, progress: bool) -> Moved:
    index = repository.index(place)
    if index is None or not {RUN, EXAMPLES} <= set(index.files):
        raise HubError(f"{place} of {repository.name} holds no whole Run; push it again")
    if (version := index.manifest["schema_version"]) != SCHEMA_VERSION:
        raise HubError(
            f"{place} of {repository.name} was recorded by another version of attnent (schema {version}, here "
            f"{SCHEMA_VERSION}); pull it with that one"
        )
    with saying_where_full(target):
        (target / "traces").mkdir(parents=True, exist_ok=True)
        with locked(target):
            return _fill(repository, place, target, index, progress)


def _fill(repository: Repository, place: str, target: Path, index: Index, progress: bool) -> Moved:
    mine = Run(target).manifest if (target / RUN).is_file() else None
    damaged = _set_aside(target, mine, index, f"{place} of {repository.name}")
    missing = {name for name in index.traces if not trace_path(target, name).is_file()}
    n_bytes = 0
    with Progress(len(missing), f"pulling {place}", shown=progress and bool(missing)) as bar:
        for shard in index.shards:
            if wanted := missing & set(shard.traces):
                download = temporary_name(target / "shard")
                download.mkdir()
                try:
                    path = repository.fetch(f"{place}/{shard.name}", download)
                    unpack(shard, path, wanted, target / "traces", bar.advance)
                finally:
                    shutil.rmtree(download, ignore_errors=True)
                n_bytes += shard.size
    n_bytes += _bring_labels(repository, place, target, index) + _bring_tables(repository, place, target, index)
    if not mine:
        write_whole(target / EXAMPLES, repository.read(f"{place}/{EXAMPLES}", index.files[EXAMPLES]))
        n_bytes += index.files[EXAMPLES].size
    if changed := _joined(mine, index.manifest):
        write_sealed(target / RUN, changed)
    return Moved(place, len(missing), len(Run(target).recorded), n_bytes, damaged)


def _set_aside(target: Path, mine: dict[str, Any] | None, index: Index, where: str) -> list[str]:
    """Ids of the traces that are damaged here, which are set aside as recording does.

    Raises HubError, with all left as it is, where the folder is another Run, or a whole trace in it is another.
    """
    if mine and (other := differing(index.manifest, mine)):
        raise HubError(f"{target} was recorded with other parameters than {where} ({other} differ); pull elsewhere")
    here = contents_here(target)
    if not mine and here.keys() - index.traces.keys():
        raise HubError(f"{target} has no run.json, and holds traces that {where} does not; pull elsewhere")
    changed = [name for name, content in index.traces.items() if here.get(name, content) != content]
    owner = digest(index.manifest["identity"])
    for name in changed:
        try:
            load_trace(trace_path(target, name), belongs_to=f"{name} {owner}")
        except TraceError:
            continue
        raise HubError(
            f"the trace {name} in {target} is not that of {where}, and both are whole; nothing here is overwritten: "
            "pull elsewhere"
        )
    for name in changed:
        trace_path(target, name).replace(trace_path(target, name).with_suffix(".damaged"))
    return changed


def _bring_labels(repository: Repository, place: str, target: Path, index: Index) -> int:
    """Join the labels with those here; gives back how many bytes came."""
    n_bytes = 0
    for name, content in index.files.items():
        if name.startswith("labels/") and not begins_with(target / name, content):
            join_labels(target / name, repository.read(f"{place}/{name}", content))
            n_bytes += content.size
    return n_bytes


def _bring_tables(repository: Repository, place: str, target: Path, index: Index) -> int:
    """Take the tables where they are of more responses than those here; gives back how many bytes came."""
    states = {name: state_of(path) for name in index.traces if (path := trace_path(target, name)).is_file()}
    known = made_from(target)
    n_known = sum(known[name] == state for name, state in states.items() if name in known)
    if n_known >= len(index.tables_of) or not {*TABLE_FILES} <= {*index.files} or not {*index.tables_of} <= {*states}:
        return 0
    contents = [repository.read(f"{place}/{name}", index.files[name]) for name in TABLE_FILES]
    keep_tables(target, contents, {name: states[name] for name in index.tables_of})
    return sum(len(content) for content in contents)


def _joined(mine: dict[str, Any] | None, theirs: dict[str, Any]) -> dict[str, Any] | None:
    """What run.json is to say, so that no session is lost; None where it says so already."""
    if mine is None:
        return theirs
    only_mine = [one for one in sessions_of(mine) if one not in sessions_of(theirs)]
    if all(one in sessions_of(mine) for one in sessions_of(theirs)):
        return None
    return mine | {"sessions": [*sessions_of(theirs), *only_mine], "status": "recording"} if only_mine else theirs
