"""Running a sweep: each run a process of its own, told of as it starts and ends; what is done is not done again."""

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from attnent.study.estimate import minutes as in_words
from attnent.study.index import write_index
from attnent.study.notebook import same_before
from attnent.study.sweep.grid import Job

_COMMAND = [sys.executable, "-m", "attnent.study.sweep.job"]
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
    jobs: Sequence[Job], out_dir: Path, *, at_once: int = 1, minutes: float | None = None, retry_failed: bool = False
) -> int:
    """Run what is not done yet, print a table of what came of all, write the index; gives back how many are not ok.

    A run that takes longer than `minutes` is ended. When interrupted or terminated, all children and their kernels
    are ended, and the same call goes on.
    """
    results: dict[Path, Result] = {}
    children = _Children(minutes)
    with _terminated_as_interrupted(), ThreadPoolExecutor(at_once) as pool:
        try:
            waiting = {}
            for place, job in enumerate(jobs, start=1):
                name = f"[{place}/{len(jobs)}] {title_of(job)}"
                waiting[pool.submit(_run, job, name, children, retry_failed)] = job
            for done in as_completed(waiting):
                results[waiting[done].folder] = done.result()
        finally:
            children.end()
            if out_dir.is_dir():
                write_index(out_dir)
    bad = [result for result in results.values() if result.is_bad]
    rows = [(title_of(job), *_cells(results[job.folder])) for job in jobs]
    print("\n" + aligned([("run", "status", "time"), *(row[:3] for row in rows)]), flush=True)
    print(f"{len(jobs) - len(bad)} of {len(jobs)} are done", flush=True)
    return len(bad)


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


class _Children:
    """The processes of the runs; ended, with all that they started, when their time is over or the sweep's is."""

    def __init__(self, minutes: float | None) -> None:
        self._seconds = None if minutes is None else 60 * minutes
        self._running: set[subprocess.Popen] = set()
        self._lock, self._is_over = threading.Lock(), False

    def run(self, job: Job) -> Result:
        told = {"notebook": str(job.notebook), "values": job.values, "folder": str(job.folder)}
        with tempfile.TemporaryFile() as output:
            with self._lock:
                if self._is_over:
                    return Result("stopped")
                child = subprocess.Popen(
                    _COMMAND,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C comes to the sweep alone, which then ends them
                )
                self._running.add(child)
            start = time.monotonic()
            try:
                child.communicate(json.dumps(told).encode() + b"\n", timeout=self._seconds)
            except subprocess.TimeoutExpired:
                _end(child)
                return Result("timed out", "what it recorded is kept; the same command goes on", self._seconds)
            finally:
                self._running.discard(child)
            output.seek(0)
            return self._result(job, child.returncode, output.read(), time.monotonic() - start)

    def end(self) -> None:
        with self._lock:
            self._is_over = True
        for child in list(self._running):
            _end(child)

    def _result(self, job: Job, code: int, output: bytes, seconds: float) -> Result:
        if self._is_over:
            return Result("stopped")
        if code < 0:
            return Result("killed", f"by signal {-code}; the same command goes on", seconds)
        outcome = None if code else same_before(job.notebook, job.values, job.folder)
        if outcome is None:
            return Result("failed", _last(output.decode(errors="replace")), seconds)
        if outcome.status == "complete":
            return Result("ok", outcome.answer, seconds)
        return Result("failed", _last(outcome.error), seconds)


def _run(job: Job, name: str, children: _Children, retry_failed: bool) -> Result:
    result = before(job, retry_failed=retry_failed)  # asked late: another sweep may have done it meanwhile
    if result is None:
        print(f"{name} starts", flush=True)
        result = children.run(job)
    status, took, said = _cells(result)
    print(f"{name} {status}{f' ({took})' * bool(took)}{f': {said}' * bool(said)}", flush=True)
    return result


def _cells(result: Result) -> tuple[str, str, str]:
    return result.status, "" if result.seconds is None else in_words(result.seconds), result.said


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


def _end(child: subprocess.Popen) -> None:
    """Kill a run before it can call itself failed, then its kernel and what that started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        run = psutil.Process(child.pid)
        for process in (run, *run.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    child.wait()


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
