"""A Run folder: the Traces of many prompts under one set of parameters, with what is known about them.

    run.json                            identity, parameters, versions, status, counts, timings
    examples.jsonl                      what was asked, one example a line
    traces/<response id>.safetensors    one response each, whole or absent
    responses.parquet, tokens.parquet   tables, rebuilt from the traces whenever those have changed
    labels/<name>.jsonl                 grades and error spans, appended a line at a time

Everything here works from files, without torch and without a model.
"""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from filelock import FileLock, Timeout

from attnent.trace import MEASURES, STEP_NUMBERS, TraceError, check_trace_file, load_trace, measure, save_trace

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_MEANS = (*MEASURES, "normalized_entropy", "sinkless_entropy", "sinkless_varentropy")
_STEP_COLUMNS = ("token", *STEP_NUMBERS)
_RESPONSE_COLUMNS = ("response", "finish_reason", "n_prompt", "n_steps")
_TOKEN_MEANS = ("logprob", "token_entropy", "token_varentropy")


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
            self.manifest: dict[str, Any] = json.loads(self._manifest_path.read_text(encoding="utf-8"))
            self.examples = pd.DataFrame(_read_lines(self.folder / "examples.jsonl"))
        except (OSError, ValueError) as error:
            raise RunError(
                f"the Run folder {self.folder} is damaged ({error}); move it away and record again"
            ) from error

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
        lines = (json.dumps(row) + "\n" for row in examples.to_dict(orient="records"))
        _write_text(folder / "examples.jsonl", "".join(lines))
        _write_text(folder / "run.json", json.dumps({"identity": identity, "status": "recording"}, indent=2))
        return cls(folder)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the folder against a second writer, for as long as this process lives at most. Raises RunError."""
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                yield
        except Timeout:
            raise RunError(
                f"another process is recording into {self.folder}; wait for it to end, or choose another out_dir"
            ) from None

    def save(self, response_id: str, trace: xr.Dataset) -> None:
        """Keep one response, whole or not at all."""
        save_trace(trace, self._trace_path(response_id))

    def update_manifest(self, **changes: Any) -> None:
        """Set entries of run.json, at once or not at all."""
        self.manifest |= changes
        _write_text(self._manifest_path, json.dumps(self.manifest, indent=2, ensure_ascii=False))

    def discard_damaged(self) -> list[str]:
        """Set aside the trace files that cannot be read, so that they are recorded again; gives back their ids."""
        damaged = []
        for response_id in self.recorded:
            path = self._trace_path(response_id)
            try:
                check_trace_file(path)
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
        return load_trace(path)

    def traces(self) -> Iterator[tuple[str, xr.Dataset]]:
        """(response id, Trace) of every response recorded; a damaged file is skipped with a warning that names it."""
        for response_id in self.recorded:
            try:
                yield response_id, self.trace(response_id)
            except TraceError as error:
                warnings.warn(f"skipped: {error}", stacklevel=2)

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

        `name` is a recorded or a derived measure. Raises TraceError for an unknown one, RunError for an empty run.
        """
        values = [(response_id, measure(trace, name)) for response_id, trace in self.traces()]
        if not values:
            raise RunError(f"{self.folder} holds no responses yet; record some first")
        _, first = values[0]
        stacked = np.full(
            (len(values), *first.shape[:2], max(one.sizes["step"] for _, one in values)), np.nan, first.dtype
        )
        for row, (_, one) in zip(stacked, values, strict=True):
            row[..., : one.sizes["step"]] = one.values
        return xr.DataArray(
            stacked,
            dims=("response", "layer", "head", "step"),
            coords={
                "response": [response_id for response_id, _ in values],
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
        path = self.folder / "labels" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=60), path.open("a", encoding="utf-8") as file:
            torn = file.tell() > 0 and path.read_bytes()[-1:] != b"\n"
            file.write("\n" * torn + "".join(json.dumps(dict(row)) + "\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())

    def labels(self, name: str) -> pd.DataFrame:
        """The labels of one kind; where a judge labelled a response more than once, the last counts."""
        path = self.folder / "labels" / f"{name}.jsonl"
        if not path.is_file():
            raise RunError(f"{self.folder} has no labels {name!r} yet")
        rows = pd.DataFrame(_read_lines(path, skip_torn=True))
        return rows.drop_duplicates(["response_id", "judge"], keep="last", ignore_index=True)

    def grade(self, grade: Callable[[pd.Series], str], *, judge: str) -> pd.Series:
        """The grade of every response, by response_id; kept as labels of that judge in labels/grades.jsonl.

        `grade` is given a row of `responses`. What the judge said before and still says is not written again.
        """
        grades = self.responses.set_index("response_id", drop=False).apply(grade, axis=1).rename("grade")
        path = self.folder / "labels" / "grades.jsonl"
        known = self.labels("grades").query("judge == @judge") if path.is_file() else pd.DataFrame()
        before = {} if known.empty else known.set_index("response_id")["grade"].to_dict()
        changed = grades[[before.get(response_id) != given for response_id, given in grades.items()]]
        rows = [{"response_id": response_id, "judge": judge, "grade": given} for response_id, given in changed.items()]
        if rows:
            self.add_labels("grades", rows)
        return grades

    # ---- inside

    def _trace_path(self, response_id: str) -> Path:
        if not _SAFE_ID.fullmatch(response_id):
            raise RunError(f"{response_id!r} cannot name a file; use letters, digits, '-', '_' and '.'")
        return self.folder / "traces" / f"{response_id}.safetensors"

    def _tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        paths = [self.folder / f"{name}.parquet" for name in ("responses", "tokens")]
        made_from = self._state_of_traces()
        try:
            if all(_made_from(path) == made_from for path in paths):
                responses, tokens = (pd.read_parquet(path) for path in paths)
                return responses, tokens
        except (OSError, ValueError):  # torn, or replaced by another process just now: they can be built at any time
            pass
        tables = self._build_tables()
        try:
            for path, table in zip(paths, tables, strict=True):
                temporary = path.with_suffix(f".{os.getpid()}.tmp")
                table.attrs = {"made_from": made_from}
                table.to_parquet(temporary, index=False)
                temporary.replace(path)
        except OSError as error:
            warnings.warn(f"the tables of {self.folder} cannot be kept ({error.strerror})", stacklevel=3)
        return tables

    def _state_of_traces(self) -> str:
        """Changes whenever a trace file is added, replaced or removed."""
        files = sorted((self.folder / "traces").glob("*.safetensors"))
        return digest([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files])

    def _build_tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        about, tokens = [], []
        for response_id, trace in self.traces():
            about.append(
                {"id": response_id, "n_steps": trace.sizes["step"]}
                | {name: trace.attrs[name] for name in _RESPONSE_COLUMNS if name != "n_steps"}
            )
            tokens.append(token_table(trace).assign(response_id=response_id))
        if not about:
            raise RunError(f"{self.folder} holds no responses yet; record some first")
        token_rows = pd.concat(tokens, ignore_index=True)
        token_rows.insert(0, "response_id", token_rows.pop("response_id"))
        means = token_rows.groupby("response_id", sort=False)[[*_MEANS, *_TOKEN_MEANS]].mean()
        examples = _flat(self.examples).merge(pd.DataFrame(about), on="id")
        responses = examples.merge(means, left_on="id", right_index=True)
        return responses.rename(columns={"id": "response_id"}), token_rows


def token_table(trace: xr.Dataset) -> pd.DataFrame:
    """A row a step of one Trace: the token's columns, and each measure's mean over heads and self-attention layers."""
    own = trace.sel(layer=trace.layer_kind != "cross")
    columns = {"step": trace.step.values} | {name: trace[name].values for name in _STEP_COLUMNS}
    means = {name: measure(own, name).mean(["layer", "head"]).values for name in _MEANS}
    return pd.DataFrame(columns | means)


def _flat(examples: pd.DataFrame) -> pd.DataFrame:
    """The examples as a table of plain cells: what is nested becomes JSON text."""
    return examples.map(lambda cell: json.dumps(cell) if isinstance(cell, list | dict) else cell)


def check_examples(examples: pd.DataFrame) -> None:
    """Raise RunError where examples could not be recorded and kept, before anything is generated."""
    missing = {"id", "prompt"} - set(examples.columns)
    if missing:
        raise RunError(f"the examples lack the column {' and '.join(sorted(missing))}")
    if examples.empty:
        raise RunError("there are no examples to record; give at least one")
    if not examples["id"].is_unique:
        raise RunError("two examples have the same id; make the ids unique, since each names a file")
    taken = {"response_id", *_RESPONSE_COLUMNS, *_MEANS, *_TOKEN_MEANS} & set(examples.columns)
    if taken:
        raise RunError(f"the examples have the column {', '.join(sorted(taken))}, which a Run makes itself; rename it")
    unsafe = [id_ for id_ in examples["id"] if not isinstance(id_, str) or not _SAFE_ID.fullmatch(id_)]
    if unsafe:
        raise RunError(f"the id {unsafe[0]!r} cannot name a file; use text of letters, digits, '-', '_' and '.'")
    try:
        json.dumps(examples.to_dict(orient="records"))
        pa.Table.from_pandas(_flat(examples), preserve_index=False)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise RunError(
            f"the examples hold a cell that cannot be kept ({error}); give each column text, numbers or lists alone"
        ) from error


def _made_from(path: Path) -> str | None:
    """The state of the traces that a table was made from; None where it does not say."""
    attributes = (pq.read_schema(path).metadata or {}).get(b"PANDAS_ATTRS", b"{}")
    return json.loads(attributes).get("made_from")


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that stand for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _read_lines(path: Path, *, skip_torn: bool = False) -> list[dict[str, Any]]:
    """The rows of a jsonl file; `skip_torn` leaves out, with a warning, what a killed writer left half written."""
    rows = []
    for line in path.read_bytes().split(b"\n"):
        try:
            rows += [json.loads(line)] if line else []
        except ValueError:
            if not skip_torn:
                raise
            warnings.warn(f"skipped a half-written line of {path}", stacklevel=3)
    return rows


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
