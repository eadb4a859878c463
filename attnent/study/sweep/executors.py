"""Where the processes of a sweep run. What all executors share is here, and the one for this machine."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from attnent.study.sweep.processes import Ended, Process

Told = Mapping[str, Any]  # what job.py is told of a run, and `cwd`, the folder from which it runs


class Executor(ABC):
    """Starts runs, from as many threads as are to run at once, until the sweep ends; then all that run are ended."""

    begins = "starts"  # what is said of a run that is given to it

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds  # after which a run is ended
        self._running: set[Any] = set()
        self._lock, self._over = threading.Lock(), threading.Event()

    def run(self, told: Told) -> Ended | None:
        """Run to the end; None where the sweep ended first."""
        with self._lock:
            if self._over.is_set():
                return None
            run = self._start(told)
            self._running.add(run)
        try:
            ended = self._wait(run)
        finally:
            self._running.discard(run)
        return None if self._over.is_set() else ended

    def end(self) -> None:
        """End all that run, and start no more."""
        with self._lock:
            self._over.set()
        for run in list(self._running):
            self._stop(run)

    @abstractmethod
    def _start(self, told: Told) -> Any: ...

    @abstractmethod
    def _wait(self, run: Any) -> Ended: ...

    @abstractmethod
    def _stop(self, run: Any) -> None: ...


class Local(Executor):
    """Processes of this machine."""

    def _start(self, told: Told) -> Process:
        return Process(told, own_session=True)  # Ctrl-C comes to the sweep alone, which then ends them

    def _wait(self, run: Process) -> Ended:
        return run.wait(self._seconds)

    def _stop(self, run: Process) -> None:
        run.end()
