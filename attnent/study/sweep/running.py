"""Running a sweep: each run a process of its own, told of as it starts and ends; what is done is not done again."""

import contextlib
import signal
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal, NamedTuple

from attnent.store.files import DiskFullError
from attnent.study.estimate import minutes as in_words
from attnent.study.index import write_index
from attnent.study.notebook import same_before
from attnent.study.sweep.executors import Executor, Local
from attnent.study.sweep.grid import ExecutorName, Job
from attnent.study.sweep.processes import Ended

Status = Literal["ok", "done before", "failed", "failed before", "timed out", "killed", "stopped"]


class Result(NamedTuple):
    """What came of a run."""

    status: Status
    said: str = ""
    seconds: float | None = None

    @property
    def is_bad(self) -> bool:
        return self.status not in ("ok", "done before")


def run_jobs(
    jobs: Sequence[Job],
    out_dir: Path,
    *,
    executor: ExecutorName = "local",
    settings: Mapping[str, Any] | None = None,
    at_once: int | None = None,
    minutes: float | None = None,
    retry_failed: bool = False,
) -> int:
    """Run what is not done yet, print a table of what came of all, write the index; gives back how many are not ok.

    `executor` is where: processes here, `at_once` of them (1), or jobs of a cluster, all given to it at once where
    `at_once` is None; `settings` are the cluster's own for a job. A run that takes longer than `minutes` is ended.
    When interrupted or terminated, all children and their kernels are ended, and the same call goes on. Raises
    StudyError where the cluster cannot be used.
    """
    results: dict[Path, Result] = {}
    with _terminated_as_interrupted():
        place = _executor_of(executor, settings or {}, out_dir, None if minutes is None else 60 * minutes)
        with ThreadPoolExecutor(at_once or (1 if executor == "local" else max(len(jobs), 1))) as pool:
            try:
                waiting = {}
                for number, job in enumerate(jobs, start=1):
                    name = f"[{number}/{len(jobs)}] {title_of(job)}"
                    waiting[pool.submit(_run, job, name, place, retry_failed)] = job
                for done in as_completed(waiting):
                    results[waiting[done].folder] = done.result()
            finally:
                place.end()
                pool.shutdown(cancel_futures=True)  # where it was interrupted, what waits never starts
                if out_dir.is_dir():
                    _write_index(out_dir)
    bad = [result for result in results.values() if result.is_bad]
    rows = [(title_of(job), *_cells(results[job.folder])) for job in jobs]
    print("\n" + aligned([("run", "status", "time"), *(row[:3] for row in rows)]), flush=True)
    print(f"{len(jobs) - len(bad)} of {len(jobs)} are done", flush=True)
    return len(bad)


def _write_index(out_dir: Path) -> None:
    try:
        write_index(out_dir)
    except DiskFullError as error:  # what came of the runs is told all the same
        print(error, flush=True)


def title_of(job: Job) -> str:
    """A run in a line: its notebook, model, and the parameters that are not the defaults."""
    changed = [f"{name}={value}" for name, value in job.changed.items()]
    return " ".join([job.notebook.stem, *([str(job.values["model"])] if "model" in job.values else []), *changed])


def before(job: Job, *, retry_failed: bool = False) -> Result | None:
    """What came of a run before that is not to be run again; None where it is to run."""
    outcome = same_before(job.notebook, job.values, job.folder)
    if outcome is None:
        return None
    if outcome.status == "complete":
        return Result("done before")
    return None if retry_failed else Result("failed before", f"{_last(outcome.error)} (--retry-failed runs it again)")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table as text, its columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _executor_of(name: ExecutorName, settings: Mapping[str, Any], out_dir: Path, seconds: float | None) -> Executor:
    """Where the runs run. Raises StudyError."""
    if name == "slurm":
        from attnent.study.sweep.slurm import Slurm

        return Slurm(settings, out_dir, seconds)
    if name == "ray":
        from attnent.study.sweep.cluster import Ray

        return Ray(settings, seconds)
    return Local(seconds)


def _run(job: Job, name: str, executor: Executor, retry_failed: bool) -> Result:
    result = before(job, retry_failed=retry_failed)  # asked late: another sweep may have done it meanwhile
    if result is None:
        print(f"{name} {executor.begins}", flush=True)
        about = {"notebook": str(job.notebook.resolve()), "values": job.values, "folder": str(job.folder)}
        result = _result(job, executor.run({**about, "cwd": str(Path.cwd())}))
    status, took, said = _cells(result)
    print(f"{name} {status}{f' ({took})' * bool(took)}{f': {said}' * bool(said)}", flush=True)
    return result


def _result(job: Job, ended: Ended | None) -> Result:
    if ended is None:
        return Result("stopped")
    if ended.how in ("timed out", "killed"):
        return Result(ended.how, ended.said, ended.seconds)
    outcome = same_before(job.notebook, job.values, job.folder) if ended.how == "done" else None
    if outcome is None:
        return Result("failed", _last(ended.said), ended.seconds)
    if outcome.status == "complete":
        return Result("ok", outcome.answer, ended.seconds)
    return Result("failed", _last(outcome.error), ended.seconds)


def _cells(result: Result) -> tuple[str, str, str]:
    return result.status, "" if result.seconds is None else in_words(result.seconds), result.said


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


@contextlib.contextmanager
def _terminated_as_interrupted() -> Generator[None]:
    """SIGTERM, of a scheduler or a container, ends a sweep as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
