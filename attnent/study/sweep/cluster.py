"""Runs as tasks of a Ray cluster."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnent.cluster.connection import ADDRESS, joined
from attnent.store import RunError
from attnent.study import StudyError
from attnent.study.parameters import parameters_of
from attnent.study.sweep.executors import Executor, Told
from attnent.study.sweep.processes import Ended, run_here

_SECONDS_BETWEEN_LOOKS, _SECONDS_TO_END = 1.0, 10.0
_SECONDS_AT_MOST = 2e6  # 23 days: Ray can interrupt a wait that has an end, and a longer one has none


class Ray(Executor):
    """Tasks with the options that Ray gives tasks. Needs one file system for all machines.

    A run that shares its recording among workers takes no CPU of its own, so that runs never keep them from starting.
    """

    begins = "is submitted"

    def __init__(self, settings: Mapping[str, Any], seconds: float | None) -> None:
        super().__init__(seconds)
        self._joined = contextlib.ExitStack()
        self._cluster = self._joined.enter_context(joined())
        import ray
        from ray import exceptions

        self._ray, self._errors, self._task = ray, exceptions, ray.remote(_run)
        self._settings = {"max_retries": 0, **settings}
        try:
            self._task.options(**self._settings)
        except (ValueError, TypeError) as error:
            self._joined.close()
            raise StudyError(f"the settings of Ray cannot be used ({str(error).splitlines()[0]})") from error

    def end(self) -> None:
        super().end()
        self._joined.close()

    def _start(self, told: Told) -> Any:
        n_cpus = 1 if workers_told(told) == 1 else 0
        return self._task.options(**{"num_cpus": n_cpus, **self._settings}).remote(told, self._seconds)

    def _wait(self, run: Any) -> Ended:
        while not self._ray.wait([run], timeout=_SECONDS_BETWEEN_LOOKS)[0]:
            self._cluster.check()
        try:
            return self._ray.get(run)
        except self._errors.RayTaskError as error:
            raise error.cause from None
        except self._errors.RayError as error:
            reason = str(error).splitlines()[0]
            return Ended("killed", f"by Ray ({reason}); the same command goes on")

    def _stop(self, run: Any) -> None:
        with contextlib.suppress(RunError):  # where the cluster is gone, nothing can be told it
            self._cluster.check()
            self._ray.cancel(run)
            self._ray.wait([run], timeout=_SECONDS_TO_END)  # it ends its processes


def workers_told(told: Told) -> int:
    """How many workers share what the run records."""
    defaults = {name: known.default for name, known in parameters_of(Path(told["notebook"])).items()}
    return (defaults | told["values"]).get("workers", 1)


def _run(told: Told, seconds: float | None) -> Ended:
    """On the machine that Ray chose; a recording of the run that shares itself among workers joins the same cluster."""
    import ray

    return run_here(told, seconds or _SECONDS_AT_MOST, {ADDRESS: ray.get_runtime_context().gcs_address})
