"""Notebooks run headless with other parameters: executed by papermill, signed, and reported as a page."""

import ast
import contextlib
import datetime
import json
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
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.sign import NotebookNotary
from papermill.exceptions import PapermillExecutionError

from attnent.progress import HEADLESS
from attnent.study.report import answer_of, question_of, title_of, write_report, write_whole
from attnent.runs import digest

_PLACES = ("model", "out_dir")  # parameters that name a folder by themselves


class SweepError(RuntimeError):
    """A notebook cannot be run as asked; the message says what to do."""


def parameters_of(notebook: Path) -> dict[str, Any]:
    """What a notebook takes as parameters, by name, with its defaults. Raises SweepError where they are no literals.

    Read from the cell tagged `parameters`; papermill itself overlooks those whose type is a union.
    """
    cells = nbformat.read(notebook, as_version=4).cells
    source = "".join(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    try:
        return {
            ast.unparse(node.target): ast.literal_eval(node.value)
            for node in ast.parse(source).body
            if isinstance(node, ast.AnnAssign) and node.value is not None
        }
    except (ValueError, SyntaxError) as error:
        raise SweepError(f"the parameters of {notebook.name} must be literals ({error})") from error


def changed_parameters(notebook: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the parameters given that are not the notebook's defaults, other than the model and out_dir."""
    defaults = parameters_of(notebook)
    return {name: value for name, value in parameters.items() if name not in _PLACES and value != defaults[name]}


def study_folder(out_dir: Path, model: str, notebook: Path, parameters: Mapping[str, Any]) -> Path:
    """Where a study keeps a notebook: out_dir/study/model/notebook, and within it a folder for other parameters."""
    folder = out_dir / "study" / model.strip("/").replace("/", "--") / notebook.stem
    changed = changed_parameters(notebook, parameters)
    return folder / digest(changed) if changed else folder


def run_notebook(notebook: Path, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Execute one notebook and keep notebook.ipynb, report.html and outcome.json in `folder`.

    The outcome says "complete" only where every cell ran. A failed notebook is kept too, with the error in it. Raises
    SweepError for a parameter that the notebook does not have.
    """
    unknown = sorted(set(parameters) - set(parameters_of(notebook)))
    if unknown:
        known = ", ".join(sorted(parameters_of(notebook)))
        raise SweepError(f"{notebook.name} has no parameter {', '.join(unknown)}; it has {known}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SweepError(f"cannot write to {folder} ({error.strerror}); choose another --out-dir") from error
    try:
        with FileLock(folder / ".lock", timeout=0):
            return _run_into(notebook, parameters, folder)
    except Timeout:
        raise SweepError(f"another study is writing {folder}; wait for it, or give another --out-dir") from None


def _run_into(notebook: Path, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    temporary, kept = folder / "notebook.running.ipynb", folder / "notebook.ipynb"
    started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    error = ""
    (folder / "outcome.json").unlink(missing_ok=True)  # what stands there is of an earlier run
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of parameters that it overlooks
    try:
        with _environment(HEADLESS, "1"):
            papermill.execute_notebook(
                str(notebook),
                str(temporary),
                parameters=dict(parameters),
                kernel_name="python3",
                cwd=str(Path.cwd()),  # so that relative paths mean what they mean to who gave them
                progress_bar=sys.stderr.isatty(),
                stdout_file=sys.stdout,
                coalesce_streams=True,
                extra_arguments=["--log-level=ERROR"],  # the kernel warns of its loopback sockets, every time
            )
    except PapermillExecutionError as failure:
        error = f"{failure.ename}: {failure.evalue}"
    except (DeadKernelError, CellTimeoutError) as failure:
        error = f"{failure}; what ran before is kept, start it again to go on"
    node = nbformat.read(temporary, as_version=4)
    NotebookNotary().sign(node)
    write_report(temporary, folder / "report.html")
    outcome = {
        "notebook": notebook.name,
        "title": title_of(node),
        "question": question_of(node),
        **answer_of(node),
        "parameters": dict(parameters),
        "changed": changed_parameters(notebook, parameters),
        "status": "failed" if error else "complete",
        "error": error,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 1),
    }
    temporary.replace(kept)
    write_whole(folder / "outcome.json", json.dumps(outcome, indent=2, ensure_ascii=False))
    return outcome


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
