"""Runs as jobs of a SLURM cluster, by submitit."""

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnent.study import StudyError
from attnent.study.sweep.executors import Executor, Told
from attnent.study.sweep.processes import Ended, run_here

CLUSTER = "slurm"  # submitit's name of it
_SECONDS_BETWEEN_LOOKS = 1.0
_MINUTES_ASIDE = 5  # of a job, beyond its run


class Slurm(Executor):
    """Jobs with the settings of sbatch as submitit names them; see the folder .submitit for those that were lost.

    That folder is submitit's own and is removed when all jobs gave an answer. Needs one file system for all machines.
    """

    begins = "is submitted"

    def __init__(self, settings: Mapping[str, Any], out_dir: Path, seconds: float | None) -> None:
        super().__init__(seconds)
        try:
            import submitit
        except ImportError as error:
            raise StudyError("SLURM needs submitit: pip install 'attnent[slurm]'") from error
        if seconds is not None:
            settings = {"time": _MINUTES_ASIDE + int(seconds // 60), **settings}
        if not {"time", "timeout_min"} & set(settings):
            raise StudyError("SLURM must know how long a run may take: give `slurm: {time: MINUTES}`, or --timeout")
        (out_dir / ".submitit").mkdir(parents=True, exist_ok=True)
        self._folder, self._is_lost = Path(tempfile.mkdtemp(dir=out_dir / ".submitit")), False
        self._looking = threading.Lock()
        try:
            self._executor = submitit.AutoExecutor(self._folder, cluster=CLUSTER)
            self._executor.update_parameters(**{f"slurm_{name}": value for name, value in settings.items()})
        except (RuntimeError, NameError, ValueError, TypeError, AssertionError) as error:
            self.end()
            raise StudyError(f"the settings of SLURM cannot be used ({str(error).splitlines()[0]})") from error

    def end(self) -> None:
        super().end()
        if not self._is_lost:
            shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._folder.parent.rmdir()  # where no other sweep uses it

    def _start(self, told: Told) -> Any:
        return self._executor.submit(run_here, told, self._seconds)

    def _wait(self, run: Any) -> Ended:
        while not self._is_done(run):
            if self._over.wait(_SECONDS_BETWEEN_LOOKS):
                return Ended("killed")
        error = run.exception()
        if error is None:
            return run.result()
        self._is_lost = True
        where = f"see {self._folder}; the same command goes on"
        if "timed-out" in str(error) or run.state.startswith("TIMEOUT"):
            return Ended("timed out", f"by SLURM; {where}")
        return Ended("killed", f"by SLURM ({run.state}); {where}")

    def _stop(self, run: Any) -> None:
        run.cancel(check=False)

    def _is_done(self, run: Any) -> bool:
        with self._looking:  # many runs share what one call of sacct told
            return run.done()
