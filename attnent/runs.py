"""A Run folder: the Traces of many prompts under one set of parameters, with what is known about them.

    run.json                            identity, parameters, versions, status, counts, timings
    examples.jsonl                      what was asked, one example a line
    traces/<response id>.safetensors    one response each, whole or absent
    responses.parquet, tokens.parquet   tables made from the traces, and tables.json, which says from which
    labels/<name>.jsonl                 grades and error spans, appended a line at a time

All of it carries checksums: what is damaged is said and left out, and never read as if it were whole.

Everything here works from files, without torch and without a model.
"""

import functools
import json
import warnings
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr
from filelock import FileLock, Timeout

from attnent.store import RunError
from attnent.store.examples import SAFE_ID, check_examples, plain_cells, read_examples, write_examples
from attnent.store.files import DiskFullError, read_sealed, sweep, write_sealed
from attnent.store.folders import digest, model_name
from attnent.store.labels import append_labels, read_labels
from attnent.store.tables import made_from, state_of, tables
from attnent.store.traces import Extent, SchemaError, extent_of, load_measure, load_trace, save_trace
from attnent.store.verification import Verification, verify
from attnent.trace import SCHEMA_VERSION, NotRecordedError, TraceError, needed_by, of_layers

_What = TypeVar("_What")


_MOST_LISTED = 8  # Runs that an error names


class Run:
    """One Run folder; `Run.start` makes or resumes one for recording.

    `Run(folder)` opens a recorded one: the folder itself, or one of those above it (the model's, the task's) where it
    is the only Run below. Raises RunError, which lists them where there are several.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = _only_run(Path(folder))
        self._manifest_path = self.folder / "run.json"
        try:
            self.manifest: dict[str, Any] = read_sealed(self._manifest_path)
            self.examples = read_examples(self.folder, self.manifest["examples_checksum"])
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
        known = [str(about["task"])] if "task" in about else []
        known += [model_name(str(about["model"]))] if "model" in about else []
        known.append(f"{len(self.recorded)} of {len(self.examples)} responses")
        known += [f"{name} {about[name]}" for name in ("reads", "temperature", "seed") if name in about]
        return f"<Run {', '.join(known)}: {self.folder}>"

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
            before = run.manifest["identity"]
            differing = sorted(name for name in {*before, *identity} if before.get(name) != identity.get(name))
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
        about = {"schema_version": SCHEMA_VERSION, "identity": identity, "status": "recording"}
        write_sealed(folder / "run.json", about | {"examples_checksum": write_examples(folder, examples)})
        return cls(folder)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the folder against a second writer, for as long as this process lives at most. Raises RunError."""
        with locked(self.folder):
            yield

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

    def stack(self, name: str, *, layers: Sequence[int] | None = None, first: int | None = None) -> xr.DataArray:
        """One measure of all responses, (response, layer, head, step), NaN after a response's last step.

        So it is on a layer that one of them does not have: without an image none reads it.

        `name` is a recorded or a derived measure; nothing else is read. `n_steps` (response) tells where each ends. Of
        a large run a part fits where all does not: these `layers`, the `first` steps. Raises TraceError for an unknown
        measure or layer and for what was not recorded, RunError for an empty run.
        """
        needed_by(name)
        extents = dict(self._each(lambda one: extent_of(self._trace_path(one), belongs_to=self._belonging(one))))
        known = _kinds(extents.values())
        kinds = known if layers is None or not extents else of_layers(known, layers)
        place = {layer: number for number, layer in enumerate(kinds["layer"].values.tolist())}
        kept: list[str] = []
        stacked, attrs = np.empty((0, 0, 0, 0)), {}
        for response_id, values in self._each(lambda one: self._measure(one, name, place, first), extents):
            if not kept:
                longest = max(extent.n_steps for extent in extents.values())
                n_heads = max(extent.n_heads for extent in extents.values())
                n_most = longest if first is None else min(first, longest)
                stacked = np.full((len(extents), len(place), n_heads, n_most), np.nan, values.dtype)
                attrs = values.attrs
            rows = [place[layer] for layer in values["layer"].values.tolist()]
            stacked[len(kept)][rows, : values.sizes["head"], : values.sizes["step"]] = values.values
            kept.append(response_id)
        if not kept:
            raise RunError(f"{self.folder} holds no responses yet; record some first")
        return xr.DataArray(
            stacked[: len(kept)],
            dims=("response", "layer", "head", "step"),
            coords={
                "response": kept,
                "n_steps": ("response", [extents[response_id].n_steps for response_id in kept]),
                "layer": list(place),
                "layer_kind": ("layer", kinds.values),
                "head": np.arange(stacked.shape[2]),
                "step": np.arange(stacked.shape[-1]),
            },
            name=name,
            attrs=attrs,
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

    def verify(self) -> Verification:
        """Read everything there is and say what is whole, what is damaged and what is missing."""
        return verify(self.examples["id"], self.recorded, self.trace, self.folder / "labels")

    # ---- inside

    def _trace_path(self, response_id: str) -> Path:
        if not SAFE_ID.fullmatch(response_id):
            raise RunError(f"{response_id!r} cannot name a file; use letters, digits, '-', '_' and '.'")
        return self.folder / "traces" / f"{response_id}.safetensors"

    def _labels_path(self, name: str) -> Path:
        return self.folder / "labels" / f"{name}.jsonl"

    def _belonging(self, response_id: str) -> str:
        """What a trace file says that it is: of this response, under these parameters."""
        return f"{response_id} {self._digest}"

    @functools.cached_property
    def _digest(self) -> str:
        return digest(self.manifest["identity"])

    def _measure(self, response_id: str, name: str, layers: Collection[int], n_steps: int | None) -> xr.DataArray:
        """Of these layers those that the response has."""
        values = load_measure(self._trace_path(response_id), name, belongs_to=self._belonging(response_id))
        there = [layer for layer in values["layer"].values.tolist() if layer in layers]
        return values.isel(step=slice(n_steps)).sel(layer=there)

    def _each(
        self, read: Callable[[str], _What], response_ids: Iterable[str] | None = None
    ) -> Iterator[tuple[str, _What]]:
        """(response id, what is read of it); a damaged file is skipped with a warning that names it."""
        for response_id in self.recorded if response_ids is None else response_ids:
            try:
                yield response_id, read(response_id)
            except NotRecordedError:
                raise
            except TraceError as error:
                warnings.warn(f"skipped: {error}", stacklevel=3)

    def _state(self) -> dict[str, list[int]]:
        return {name: state_of(self._trace_path(name)) for name in self.recorded}

    def _tables(self) -> list[pd.DataFrame]:
        examples = plain_cells(self.examples).rename(columns={"id": "response_id"})
        found = tables(self.folder, examples, self._state(), lambda names: self._each(self.trace, names))
        if not found:
            raise RunError(f"{self.folder} holds no responses yet; record some first")
        return found


def _kinds(extents: Iterable[Extent]) -> xr.DataArray:
    """The kind of each layer that any of them has, (layer,)."""
    kinds = {layer: kind for extent in extents for layer, kind in extent.layers.items()}
    return xr.DataArray([kinds[layer] for layer in sorted(kinds)], {"layer": sorted(kinds)}, ["layer"])


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold a folder of traces as `Run.locked` does, whether it is a Run already or not yet. Raises RunError."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            for one in (folder, folder / "traces"):
                sweep(one)
            yield
    except Timeout:
        raise RunError(
            f"another process is recording into {folder}; wait for it to end, or choose another out_dir"
        ) from None


def load_runs(folder: str | Path) -> pd.DataFrame:
    """The responses of every Run at or below a folder as one table, a row a response; a Run without any is left out.

    Before the columns of `Run.responses` stand `run` (where it lies below the folder), `model`, and the parameters in
    which the Runs differ; after them a column `grade by <judge>` for each judge. Raises RunError where there is no Run.
    """
    folder = Path(folder)
    runs = {place: run for place in runs_below(folder) if (run := Run(folder / place)).recorded}
    if not runs:
        raise RunError(f"there is no Run with responses at or below {folder}; give a folder that a recording made")
    differing = ["model", *(name for name in _differing(runs.values()) if name not in ("model", "task"))]
    parts = []
    for place, run in runs.items():
        about = {name: run.manifest["identity"].get(name) for name in differing}
        responses = run.responses.rename(columns={name: f"{name} of the example" for name in ("run", *differing)})
        told = pd.DataFrame({"run": str(place)} | about, index=responses.index)
        parts.append(told.join(responses).join(_grades(run), on="response_id"))
    return pd.concat(parts, ignore_index=True)


def _grades(run: Run) -> pd.DataFrame:
    """A column a judge, by response_id."""
    try:
        labels = run.labels("grades")
    except RunError:  # nobody has given any
        return pd.DataFrame()
    last = labels.drop_duplicates(["response_id", "judge"], keep="last")
    return last.pivot(index="response_id", columns="judge", values="grade").add_prefix("grade by ")


def runs_below(folder: Path) -> list[Path]:
    """Where Runs lie at or below a folder, as deep as a recording puts them: task/model/parameters."""
    found = (path.parent for below in ("", "*/", "*/*/", "*/*/*/") for path in folder.glob(f"{below}run.json"))
    return sorted(path.relative_to(folder) for path in found)


def _differing(runs: Iterable[Run]) -> list[str]:
    """The parameters in which Runs differ."""
    identities = [run.manifest["identity"] for run in runs]
    names = dict.fromkeys(name for identity in identities for name in identity)
    return [name for name in names if len({json.dumps(identity.get(name)) for identity in identities}) > 1]


def _only_run(folder: Path) -> Path:
    """The folder, or the one Run below it."""
    if (folder / "run.json").is_file():
        return folder
    found = [folder / place for place in runs_below(folder)]
    if not found:
        raise RunError(
            f"{folder} is not a Run folder (it has no run.json, nor has one below it); give a folder that a recording "
            "made"
        )
    if len(found) > 1:
        listed = "\n".join(f"  {line}" for line in _told(found[:_MOST_LISTED]))
        more = f"\n  and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
        raise RunError(f"{folder} holds {len(found)} Runs; give the folder of one:\n{listed}{more}")
    return found[0]


def _told(folders: Sequence[Path]) -> list[str]:
    """A line a Run: its folder, how many responses it has, and the parameters in which these Runs differ."""
    runs: dict[Path, Run | None] = {}
    for folder in folders:
        try:
            runs[folder] = Run(folder)
        except RunError:
            runs[folder] = None
    differing = _differing(run for run in runs.values() if run)
    lines = []
    for folder, run in runs.items():
        about = run.manifest["identity"] if run else {}
        said = [f"{len(run.recorded)} of {len(run.examples)} responses"] if run else ["damaged"]
        lines.append(
            f"{folder}: " + ", ".join([*said, *(f"{name} {about[name]}" for name in differing if name in about)])
        )
    return lines
