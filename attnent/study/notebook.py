"""Notebooks run headless with other parameters: executed by papermill, signed, and reported as a page."""

import contextlib
import datetime
import logging
import os
import sys
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill
from filelock import FileLock, Timeout
from nbclient.exceptions import CellTimeoutError
from nbformat.sign import NotebookNotary
from papermill.exceptions import PapermillExecutionError
from pydantic import ValidationError

from attnent.progress import HEADLESS
from attnent.store.files import DiskFullError, saying_where_full, sweep, write_whole
from attnent.store.folders import digest, one_segment
from attnent.study import StudyError
from attnent.study.index import Outcome, outcome_in, reason_of
from attnent.study.parameters import changed_parameters, check_names, parameters_of, source_of
from attnent.study.report import answer_of, question_of, title_of, write_report

NO_MODEL = "all models"  # the folder of what takes no model


def run_notebook(notebook: Path, parameters: Mapping[str, Any], folder: Path, *, again: bool = True) -> Outcome:
    """Execute one notebook and keep notebook.ipynb, report.html and outcome.json in `folder`.

    The outcome says "complete" only where every cell ran. A failed notebook is kept too, with the error in it. Waits
    for another process that writes the folder; what is complete there already is run only `again`. Raises StudyError,
    with nothing written, for a parameter that the notebook does not have or whose value does not fit; and where the
    folder cannot be written.
    """
    known = parameters_of(notebook)
    check_names(parameters, known, f"{notebook.name} has")
    values = {name: known[name].take(value) for name, value in parameters.items()}
    changed = changed_parameters(known, values)
    try:
        with saying_where_full(folder), _held(folder):
            before = None if again else same_before(notebook, values, folder)
            if before is not None and before.status == "complete":
                return before
            return _run_into(notebook, values, changed, folder)
    except DiskFullError as error:
        raise StudyError(str(error)) from error
    except OSError as error:
        reason = f"{error.strerror or error}; choose another --out-dir"
        raise StudyError(f"cannot write to {error.filename or folder} ({reason})") from error


def study_folder(out_dir: Path, model: str, notebook: Path, parameters: Mapping[str, Any]) -> Path:
    """Where a study keeps a notebook: out_dir/study/model/notebook, and within it a folder for other parameters.

    One that takes no model has a folder of its own.
    """
    known = parameters_of(notebook)
    folder = out_dir / "study" / (one_segment(model) if "model" in known else NO_MODEL) / notebook.stem
    changed = changed_parameters(known, parameters)
    return folder / digest(changed) if changed else folder


def same_before(notebook: Path, parameters: Mapping[str, Any], folder: Path) -> Outcome | None:
    """What came of this notebook, as it is now, with these parameters before; None where nothing did."""
    outcome, changed = outcome_in(folder), changed_parameters(parameters_of(notebook), parameters)
    if outcome is None or outcome.source not in ("", source_of(notebook)):
        return None
    is_same = outcome.changed == changed and outcome.parameters.get("model") == parameters.get("model")
    return outcome if is_same else None


@contextlib.contextmanager
def _held(folder: Path) -> Generator[None]:
    """Make the folder and hold it against other processes; one that holds it is waited for."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"  another study is writing {folder}; waiting for it to end", flush=True)
        lock.acquire()
    try:
        sweep(folder)
        yield
    finally:
        lock.release()


def _run_into(notebook: Path, values: dict[str, Any], changed: dict[str, Any], folder: Path) -> Outcome:
    temporary = folder / "notebook.running.ipynb"
    (folder / "outcome.json").unlink(missing_ok=True)  # what stands there is of an earlier run
    source = source_of(notebook)
    started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    error = _execute(notebook, values, temporary)
    node = nbformat.read(temporary, as_version=4)
    NotebookNotary().sign(node)
    write_report(temporary, folder / "report.html")
    about = {
        "notebook": notebook.name,
        "title": title_of(node),
        "question": question_of(node),
        "parameters": values,
        "changed": changed,
        "source": source,
        "status": "failed" if error else "complete",
        "error": error,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 1),
    }
    try:
        outcome = Outcome.model_validate(answer_of(node) | about)
    except ValidationError as wrong:
        said = f"its answer cannot be listed ({reason_of(wrong)})"
        outcome = Outcome.model_validate(about | {"status": "failed", "error": error or said})
    temporary.replace(folder / "notebook.ipynb")
    write_whole(folder / "outcome.json", outcome.model_dump_json(indent=2))
    return outcome


def _execute(notebook: Path, values: dict[str, Any], into: Path) -> str:
    """Run all cells and keep the executed notebook. Gives back what went wrong; empty where nothing did."""
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of parameters that it overlooks
    try:
        with _environment(HEADLESS, "1"):
            papermill.execute_notebook(
                str(notebook),
                str(into),
                parameters=values,
                kernel_name="python3",
                cwd=str(Path.cwd()),  # so that relative paths mean what they mean to who gave them
                progress_bar=sys.stderr.isatty(),
                stdout_file=sys.stdout,
                coalesce_streams=True,
                extra_arguments=["--log-level=ERROR"],  # the kernel warns of its loopback sockets, every time
            )
    except PapermillExecutionError as failure:
        return f"{failure.ename}: {failure.evalue}"
    except (RuntimeError, CellTimeoutError) as failure:  # the kernel died, or never came to life
        return f"{failure}; what ran before is kept, start it again to go on"
    return ""


@contextlib.contextmanager
def _environment(name: str, value: str) -> Generator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
