"""A Run folder: the Traces of many prompts under one set of parameters, with what is known about them.

    run.json                            identity, parameters, versions, status, counts, timings
    examples.jsonl                      what was asked, one example a line
    traces/<response id>.safetensors    one response each, whole or absent
    responses.parquet, tokens.parquet   tables made from the traces, and tables.json, which says from which
    labels/<name>.jsonl                 grades and error spans, appended a line at a time

All of it carries checksums: what is damaged is said and left out, and never read as if it were whole.

Everything here works from files, without torch and without a model.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr
from filelock import FileLock, Timeout

from attnent.store.files import DiskFullError, checksum, read_sealed, sweep, write_sealed, write_whole
from attnent.store.labels import append_labels, read_labels
from attnent.store.tables import ABOUT, MEANS, TOKEN_MEANS, made_from, plain_cells, tables
from attnent.store.traces import SchemaError, load_measure, load_trace, n_steps_of, save_trace
from attnent.trace import SCHEMA_VERSION, TraceError, needed_by

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_OWN_COLUMNS = {"response_id", "n_steps", *ABOUT, *MEANS, *TOKEN_MEANS}
_What = TypeVar("_What")


class RunError(RuntimeError):
    """A Run folder cannot be used as asked; the message says what to do."""


class Run:
    """One Run folder. `Run(folder)` opens a recorded one; `Run.start` makes or resumes one for recording."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._manifest_path = self.folder / "run.json"
        if not self._manifest_path.is_file():
            raise RunError(
                f"{self.folder} is not a Run folder (it has no run.json); give a folder that a recording made"
            )
        try:
            self.manifest: dict[str, Any] = read_sealed(self._manifest_path)
            content = (self.folder / "examples.jsonl").read_bytes()
            if checksum(content) != self.manifest["examples_checksum"]:
                raise ValueError("examples.jsonl is not what was written")
            self.examples = pd.DataFrame([json.loads(line) for line in content.split(b"\n") if line])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"the Run folder {self.folder} is damaged ({error}); move it away and record again"
            ) from error
        if self.manifest["schema_version"] != SCHEMA_VERSION:
            raise RunError(
                f"{self.folder} was recorded by another version of attnent (schema {self.manifest['schema_version']}, "
                f"here {SCHEMA_VERSION}); open it with that one, or record again elsewhere"
            )

    def __repr__(self) -> str:
        about = self.manifest["identity"]
        known = ", ".join(f"{name} {about[name]}" for name in ("task", "model") if name in about)
        return f"<Run {self.folder}: {known}, {len(self.recorded)} of {len(self.examples)} responses>"

    # ---- recording

    @classmethod
    def start(cls, folder: str | Path, *, identity: Mapping[str, Any], examples: pd.DataFrame) -> "Run":
        """Make the folder, or take up the one that is there.

        `identity` is all that determines the numbers; a folder made with another one is refused. `examples` has at
        least the columns `id` and `prompt`. Raises RunError.
        """
        folder = Path(folder)
        identity = json.loads(json.dumps(identity))
        check_examples(examples)
        try:
            (folder / "traces").mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".start.lock", timeout=30):
                return cls._start(folder, identity, examples)
        except DiskFullError as error:
            raise RunError(str(error)) from error
        except (OSError, Timeout) as error:
            reason = getattr(error, "strerror", None) or "another process is starting it"
            raise RunError(f"cannot write to {folder} ({reason}); choose another out_dir") from error

    @classmethod
    def _start(cls, folder: Path, identity: dict[str, Any], examples: pd.DataFrame) -> "Run":
        if (folder / "run.json").exists():
            run = cls(folder)
            differing = sorted(
                name
                for name in {*run.manifest["identity"], *identity}
                if run.manifest["identity"].get(name) != identity.get(name)
            )
            if differing:
                raise RunError(
                    f"{folder} was recorded with other parameters ({', '.join(differing)} differ); "
                    "give the same parameters or another folder"
                )
            return run
        if any((folder / "traces").glob("*.safetensors")):
            raise RunError(
                f"{folder} holds traces but no run.json, so that nothing says of what; "
                "put its run.json back, or give another folder"
            )
        lines = "".join(json.dumps(row) + "\n" for row in examples.to_dict(orient="records"))
        write_whole(folder / "examples.jsonl", lines)
        about = {"schema_version": SCHEMA_VERSION, "identity": identity, "examples_checksum": checksum(lines)}
        write_sealed(folder / "run.json", about | {"status": "recording"})
        return cls(folder)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the folder against a second writer, for as long as this process lives at most. Raises RunError."""
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                for folder in (self.folder, self.folder / "traces"):
                    sweep(folder)
                yield
        except Timeout:
            raise RunError(
                f"another process is recording into {self.folder}; wait for it to end, or choose another out_dir"
            ) from None

    def save(self, response_id: str, trace: xr.Dataset) -> None:
        """Keep one response, whole or not at all."""
        save_trace(trace, self._trace_path(response_id), belongs_to=self._belonging(response_id))

    def update_manifest(self, **changes: Any) -> None:
        """Set entries of run.json, at once or not at all."""
        self.manifest |= changes
        write_sealed(self._manifest_path, self.manifest)

    def discard_damaged(self) -> list[str]:
        """Set aside the trace files that cannot be read, so that they are recorded again; gives back their ids.

        What has not changed since a table was made from it was whole then and is not read again.
        """
        damaged, state, seen = [], self._state(), made_from(self.folder)
        for response_id in (name for name in state if state[name] != seen.get(name)):
            path = self._trace_path(response_id)
            try:
                self.trace(response_id)
            except SchemaError as error:
                raise RunError(str(error)) from error
            except TraceError:
                path.replace(path.with_suffix(".damaged"))
                damaged.append(response_id)
        return damaged

    # ---- reading

    @property
    def recorded(self) -> list[str]:
        """Ids of the responses that have a trace file, in the order of the examples."""
        present = {path.stem for path in (self.folder / "traces").glob("*.safetensors")}
        return [response_id for response_id in self.examples["id"] if response_id in present]

    def trace(self, response_id: str) -> xr.Dataset:
        """The Trace of one response. Raises RunError for an unknown id, TraceError for a damaged file."""
        path = self._trace_path(response_id)
        if not path.is_file():
            raise RunError(f"{self.folder} has no response {response_id!r}; run.recorded lists those it has")
        return load_trace(path, belongs_to=self._belonging(response_id))

    def traces(self) -> Iterator[tuple[str, xr.Dataset]]:
        """(response id, Trace) of every response recorded; a damaged file is skipped with a warning that names it."""
        return self._each(self.trace)

    @property
    def responses(self) -> pd.DataFrame:
        """A row a response: the example's columns, then response, finish_reason, n_prompt, n_steps, mean measures."""
        return self._tables()[0]

    @property
    def tokens(self) -> pd.DataFrame:
        """A row a token: response_id, step, what is known of it, and each measure's mean over layers and heads."""
        return self._tables()[1]

    def stack(self, name: str) -> xr.DataArray:
        """One measure of all responses, (response, layer, head, step), NaN after a response's last step.

        `name` is a recorded or a derived measure; nothing else is read. `n_steps` (response) tells where each ends.
        Raises TraceError for an unknown one, RunError for an empty run.
        """
        needed_by(name)
        n_steps = dict(self._each(lambda response_id: n_steps_of(self._trace_path(response_id))))
        kept: list[str] = []
        stacked, first = np.empty(0), None
        for response_id, values in self._each(lambda one: self._measure(one, name), n_steps):
            if first is None:
                first = values
                shape = (len(n_steps), values.sizes["layer"], values.sizes["head"], max(n_steps.values()))
                stacked = np.full(shape, np.nan, values.dtype)
            stacked[len(kept), ..., : values.sizes["step"]] = values.values
            kept.append(response_id)
        if first is None:
            raise RunError(f"{self.folder} holds no responses yet; record some first")
        return xr.DataArray(
            stacked[: len(kept)],
            dims=("response", "layer", "head", "step"),
            coords={
                "response": kept,
                "n_steps": ("response", [n_steps[response_id] for response_id in kept]),
                **{name: first[name] for name in ("layer", "head", "layer_kind")},
                "step": np.arange(stacked.shape[-1]),
            },
            name=name,
            attrs=first.attrs,
        )

    def add_labels(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append to labels/<name>.jsonl; every row names its `response_id` and the `judge` that gave it."""
        if not all({"response_id", "judge"} <= set(row) for row in rows):
            raise RunError("every label needs a response_id and a judge")
        try:
            append_labels(self._labels_path(name), rows)
        except (TypeError, ValueError) as error:
            raise RunError(f"a label {name!r} cannot be kept ({error}); give text, finite numbers or None") from error

    def labels(self, name: str) -> pd.DataFrame:
        """The labels of one kind; where a judge labelled a response more than once, the last counts.

        A line that is torn or damaged is left out with a warning. Raises RunError where there are no labels.
        """
        path = self._labels_path(name)
        rows = read_labels(path) if path.is_file() else []
        if not rows:
            raise RunError(f"{self.folder} has no labels {name!r} yet")
        return pd.DataFrame(rows).drop_duplicates(["response_id", "judge"], keep="last", ignore_index=True)

    def grades(self, judge: str) -> pd.Series:
        """What one judge said of each response, by response_id. Raises RunError where it graded none."""
        labels = self.labels("grades")
        given = labels[labels["judge"] == judge].set_index("response_id")["grade"]
        if given.empty:
            raise RunError(
                f"{self.folder} has no grades by {judge!r}, but by {', '.join(sorted(set(labels['judge'])))}"
            )
        return given

    def grade(self, grade: Callable[[pd.Series], str], *, judge: str) -> pd.Series:
        """The grade of every response, by response_id; kept as labels of that judge in labels/grades.jsonl.

        `grade` is given a row of `responses`. What the judge said before and still says is not written again.
        """
        grades = self.responses.set_index("response_id", drop=False).apply(grade, axis=1).rename("grade")
        try:
            before = self.grades(judge).to_dict()
        except RunError:  # nothing was graded yet
            before = {}
        changed = grades[[before.get(response_id) != given for response_id, given in grades.items()]]
        rows = [{"response_id": response_id, "judge": judge, "grade": given} for response_id, given in changed.items()]
        if rows:
            self.add_labels("grades", rows)
        return grades

    def verify(self) -> "Verification":
        """Read everything there is and say what is whole, what is damaged and what is missing."""
        damaged: dict[str, str] = {}
        for response_id in self.recorded:
            try:
                self.trace(response_id)
            except TraceError as error:
                damaged[response_id] = str(error)
        for path in sorted((self.folder / "labels").glob("*.jsonl")):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                read_labels(path)
            damaged |= {f"labels {path.stem}": str(one.message) for one in said}
        missing = [response_id for response_id in self.examples["id"] if response_id not in set(self.recorded)]
        return Verification([name for name in self.recorded if name not in damaged], damaged, missing)

    # ---- inside

    def _trace_path(self, response_id: str) -> Path:
        if not _SAFE_ID.fullmatch(response_id):
            raise RunError(f"{response_id!r} cannot name a file; use letters, digits, '-', '_' and '.'")
        return self.folder / "traces" / f"{response_id}.safetensors"

    def _labels_path(self, name: str) -> Path:
        return self.folder / "labels" / f"{name}.jsonl"

    def _belonging(self, response_id: str) -> str:
        """What a trace file says that it is: of this response, under these parameters."""
        return f"{response_id} {digest(self.manifest['identity'])}"

    def _measure(self, response_id: str, name: str) -> xr.DataArray:
        return load_measure(self._trace_path(response_id), name, belongs_to=self._belonging(response_id))

    def _each(
        self, read: Callable[[str], _What], response_ids: Iterable[str] | None = None
    ) -> Iterator[tuple[str, _What]]:
        """(response id, what is read of it); a damaged file is skipped with a warning that names it."""
        for response_id in self.recorded if response_ids is None else response_ids:
            try:
                yield response_id, read(response_id)
            except TraceError as error:
                warnings.warn(f"skipped: {error}", stacklevel=3)

    def _state(self) -> dict[str, list[int]]:
        """What changes with a trace file; the time of its last change of any kind cannot be set back."""
        stats = {name: self._trace_path(name).stat() for name in self.recorded}
        return {name: [one.st_size, one.st_mtime_ns, one.st_ctime_ns] for name, one in stats.items()}

    def _tables(self) -> list[pd.DataFrame]:
        examples = plain_cells(self.examples).rename(columns={"id": "response_id"})
        found = tables(self.folder, examples, self._state(), lambda names: self._each(self.trace, names))
        if not found:
            raise RunError(f"{self.folder} holds no responses yet; record some first")
        return found


class Verification(NamedTuple):
    """What `Run.verify` found: ids of whole responses, what is damaged and why, ids that have no trace."""

    whole: list[str]
    damaged: dict[str, str]
    missing: list[str]

    @property
    def is_complete(self) -> bool:
        """Whether every response is there and nothing is damaged."""
        return not self.damaged and not self.missing


def check_examples(examples: pd.DataFrame) -> None:
    """Raise RunError where examples could not be recorded and kept, before anything is generated."""
    missing = {"id", "prompt"} - set(examples.columns)
    if missing:
        raise RunError(f"the examples lack the column {' and '.join(sorted(missing))}")
    if examples.empty:
        raise RunError("there are no examples to record; give at least one")
    if not examples["id"].is_unique:
        raise RunError("two examples have the same id; make the ids unique, since each names a file")
    taken = _OWN_COLUMNS & set(examples.columns)
    if taken:
        raise RunError(f"the examples have the column {', '.join(sorted(taken))}, which a Run makes itself; rename it")
    unsafe = [id_ for id_ in examples["id"] if not isinstance(id_, str) or not _SAFE_ID.fullmatch(id_)]
    if unsafe:
        raise RunError(f"the id {unsafe[0]!r} cannot name a file; use text of letters, digits, '-', '_' and '.'")
    try:
        json.dumps(examples.to_dict(orient="records"))
        pa.Table.from_pandas(plain_cells(examples), preserve_index=False)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise RunError(
            f"the examples hold a cell that cannot be kept ({error}); give each column text, numbers or lists alone"
        ) from error


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that stand for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def out_folder(out_dir: str | Path) -> Path:
    """The absolute folder that a notebook's `out_dir` means, wherever the notebook is run.

    A relative one is taken from the working folder, or, where that is the very folder of the notebooks (as in
    JupyterLab), from the folder above it.
    """
    here = Path.cwd()
    return (here.parent if (here / "00_quickstart.ipynb").is_file() else here) / out_dir


def one_segment(name: str) -> str:
    """A name of a model or task as one part of a path, which cannot lead out of the folder it stands in."""
    return name.strip("/\\").replace("/", "--").replace("\\", "--").lstrip(".") or "unnamed"
