"""A run as a process of its own on this machine: started, waited for, and ended with all that it started."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import psutil

_COMMAND = [sys.executable, "-m", "attnent.study.sweep.job"]


class Ended(NamedTuple):
    """How the process of a run ended, wherever it ran."""

    how: Literal["done", "failed", "timed out", "killed"]
    said: str = ""  # its output, or what is known of its end
    seconds: float | None = None


class Process:
    """The process of a run that is told of as one line of JSON; see job.py."""

    def __init__(
        self, told: Mapping[str, Any], *, own_session: bool = False, environment: Mapping[str, str] | None = None
    ) -> None:
        self._told, self._start = told, time.monotonic()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115, `wait` closes it
        self._child = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            cwd=told["cwd"],
            env={**os.environ, **(environment or {})},
            start_new_session=own_session,
        )

    def wait(self, seconds: float | None) -> Ended:
        """How it ended, by itself or after so many seconds."""
        with self._output:
            try:
                self._child.communicate(json.dumps(self._told).encode() + b"\n", timeout=seconds)
            except subprocess.TimeoutExpired:
                self.end()
                return Ended("timed out", "what it recorded is kept; the same command goes on", seconds)
            took, code = time.monotonic() - self._start, self._child.returncode
            if code < 0:
                return Ended("killed", f"by signal {-code}; the same command goes on", took)
            self._output.seek(0)
            return Ended("failed" if code else "done", self._output.read().decode(errors="replace"), took)

    def end(self) -> None:
        """Kill the run before it can call itself failed, then its kernel and what that started."""
        if self._child.poll() is not None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            run = psutil.Process(self._child.pid)
            for process in (run, *run.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._child.wait()


def run_here(told: Mapping[str, Any], seconds: float | None, environment: Mapping[str, str] | None = None) -> Ended:
    """Run to the end on the machine to which a cluster gave the run; what interrupts this ends the run."""
    process = Process(told, environment=environment)
    try:
        return process.wait(seconds)
    finally:
        process.end()
