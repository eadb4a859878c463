"""Run folders to the Hub: shards of what it lacks, then the small files that have changed."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from attnent.hub import HubError
from attnent.hub.index import (
    EXAMPLES,
    RUN,
    TABLE_FILES,
    Content,
    Index,
    Moved,
    begins_with,
    contents_here,
    differing,
    sessions_of,
    trace_path,
)
from attnent.hub.repository import Repository, check_place, make_repository
from attnent.hub.shards import grouped, pack
from attnent.progress import Progress
from attnent.runs import Run, RunError, runs_below
from attnent.store.files import sweep, temporary_name
from attnent.store.folders import digest, one_segment
from attnent.store.tables import read_tables, state_of
from attnent.trace import TraceError

SHARD_SIZE = 500_000_000  # bytes


def push(
    folder: str | Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    shard_size: int = SHARD_SIZE,
    progress: bool = True,
) -> list[Moved]:
    """Bring every Run at or below a folder to the data set repository `repo` ("user/name") of the Hub.

    The repository, and the branch `revision`, are made where they are not there; `private` keeps a new one from
    others. The token is huggingface_hub's own (HF_TOKEN, or hf auth login). Each Run goes to task/model/parameters, or
    where its folder is not named so, to where it lies below `folder`. New traces go in shards of at most `shard_size`
    bytes, each committed by itself, so that a push that ends early is taken up again; a Run that is being recorded is
    pushed as far as it is. No trace or label that is there is overwritten. Raises RunError, of which HubError is one.
    """
    runs = {place_of(run, Path(folder)): run for run in _runs(Path(folder))}
    repository = make_repository(repo, revision, private=private)
    return [_push(repository, place, run, shard_size, progress) for place, run in runs.items()]


def _runs(folder: Path) -> list[Run]:
    places = runs_below(folder)
    if not places:
        raise RunError(f"there is no Run at or below {folder}; give a folder that a recording made")
    return [Run(folder / place) for place in places]


def place_of(run: Run, below: Path) -> str:
    """Where a Run goes in a repository."""
    folder, identity = run.folder.resolve(), run.manifest["identity"]
    *_, task, model, name = ("", "", *folder.parts)
    if name == digest(identity) and task == one_segment(str(identity.get("task"))):
        return check_place(f"{task}/{model}/{name}")
    relative = folder.relative_to(below.resolve()).as_posix()
    return check_place(name if relative == "." else relative)


def _push(repository: Repository, place: str, run: Run, shard_size: int, progress: bool) -> Moved:
    there = repository.index(place)
    here = contents_here(run.folder)
    _check(repository, place, run, there, here)
    index = (there or Index(manifest=run.manifest)).model_copy(update={"manifest": run.manifest})
    is_whole = {name: _is_whole(run, name) for name in here.keys() - index.traces.keys()}
    new = sorted(name for name, whole in is_whole.items() if whole)
    damaged = sorted(is_whole.keys() - {*new})
    files = dict(_files(run, index))
    index = index.model_copy(update={"files": index.files | {name: Content.of(files[name]) for name in files}})
    n_bytes = sum(len(content) for content in files.values())
    temporary = Path(tempfile.gettempdir())
    sweep(temporary)
    with Progress(len(new), f"pushing {place}", shown=progress and bool(new)) as bar:
        for group in grouped({name: here[name].size for name in new}, shard_size):
            path = temporary_name(temporary / "attnent-shard")
            try:
                shard = pack({name: trace_path(run.folder, name) for name in group}, path)
                index = index.model_copy(update={"shards": [*index.shards, shard]})
                repository.commit(place, {**files, shard.name: path}, index)
            finally:
                path.unlink(missing_ok=True)
            files, n_bytes = {}, n_bytes + shard.size
            bar.advance(len(group))
    tables = _tables(run, index)
    if tables:
        contents = {name: Content.of(content) for name, content in tables.items()}
        update = {"files": index.files | contents, "tables_of": sorted(index.traces)}
        index = index.model_copy(update=update)
    if files or tables:
        repository.commit(place, {**files, **tables}, index)
    n_bytes += sum(len(content) for content in tables.values())
    return Moved(place, len(new), len(index.traces), n_bytes, damaged)


def _check(repository: Repository, place: str, run: Run, there: Index | None, here: dict[str, Content]) -> None:
    """Raise HubError unless all that the repository holds of a Run is here, and the same."""
    if there is None:
        return
    where = f"{place} of {repository.name}"
    if other := differing(there.manifest, run.manifest):
        raise HubError(f"{where} was recorded with other parameters ({other} differ); push to another repository")
    changed = [name for name, content in there.traces.items() if here.get(name, content) != content]
    if changed:
        raise HubError(
            f"{len(changed)} traces of {run.folder} ({changed[0]} first) are not those of {where}; nothing there is "
            "overwritten: pull them where they are damaged here, else push to another repository"
        )
    lacking = [name for name in there.traces if name not in here]
    lacking += [
        name
        for name in there.files
        if name.startswith("labels/") and not begins_with(run.folder / name, there.files[name])
    ]
    lacking += [one for one in sessions_of(there.manifest) if one not in sessions_of(run.manifest)]
    if lacking:
        raise HubError(f"{where} holds responses or labels that are not here; pull them first, then push again")


def _is_whole(run: Run, response_id: str) -> bool:
    try:
        run.trace(response_id)
    except (TraceError, RunError):
        return False
    return True


def _files(run: Run, index: Index) -> Iterator[tuple[str, bytes]]:
    """The small files that are not yet in the repository; of labels, the whole lines."""
    for path in (run.folder / RUN, run.folder / EXAMPLES, *sorted((run.folder / "labels").glob("*.jsonl"))):
        name, content = path.relative_to(run.folder).as_posix(), path.read_bytes()
        if path.suffix == ".jsonl":
            content = content[: content.rfind(b"\n") + 1]
        if content and index.files.get(name) != Content.of(content):
            yield name, content


def _tables(run: Run, index: Index) -> dict[str, bytes]:
    """The tables, where they are those of exactly the traces that were pushed, and new."""
    made, contents = read_tables(run.folder)
    if not made or made != {name: state_of(trace_path(run.folder, name)) for name in index.traces}:
        return {}
    tables = dict(zip(TABLE_FILES, contents, strict=True))
    return tables if any(index.files.get(name) != Content.of(tables[name]) for name in tables) else {}
