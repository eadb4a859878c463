"""What a repository holds of one Run."""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, NonNegativeInt, StringConstraints, model_validator

from attnent.store.examples import SAFE_ID
from attnent.store.tables import TABLES

INDEX = "run_index.json"
RUN, EXAMPLES = "run.json", "examples.jsonl"
TABLE_FILES = [f"{name}.parquet" for name in TABLES]

_NAMES = "|".join(re.escape(name) for name in (RUN, EXAMPLES, *TABLE_FILES))
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_ResponseId = Annotated[str, StringConstraints(pattern=f"^{SAFE_ID.pattern}$")]
_FileName = Annotated[str, StringConstraints(pattern=rf"^(?:{_NAMES}|labels/{SAFE_ID.pattern}\.jsonl)$")]


class Content(BaseModel):
    """What a file or trace holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sha256: _Sha256
    size: NonNegativeInt

    @classmethod
    def of(cls, content: bytes) -> "Content":
        return cls(sha256=hashlib.sha256(content).hexdigest(), size=len(content))

    @classmethod
    def of_file(cls, path: Path) -> "Content":
        with path.open("rb") as file:
            return cls(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=file.tell())


class Shard(Content):
    """A tar of traces, named by its SHA-256."""

    traces: dict[_ResponseId, Content]

    @property
    def name(self) -> str:
        return f"traces/{self.sha256}.tar"


class Index(BaseModel):
    """All that is there: `manifest` is the content of run.json, `tables_of` the responses in the tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    index_version: Literal[1] = 1
    manifest: dict[str, Any]
    files: dict[_FileName, Content] = {}
    shards: list[Shard] = []
    tables_of: list[_ResponseId] = []

    @model_validator(mode="after")
    def _is_of_a_run(self) -> "Index":
        about = self.manifest
        expected = {"identity": dict, "examples_checksum": str, "schema_version": int}
        if not all(isinstance(about.get(name), kind) for name, kind in expected.items()):
            raise ValueError("the manifest is not that of a Run")
        if not isinstance(sessions_of(about), list):
            raise ValueError("the sessions are not a list")
        return self

    @property
    def traces(self) -> dict[str, Content]:
        return {name: content for shard in self.shards for name, content in shard.traces.items()}


class Moved(NamedTuple):
    """What travelled of the Run at `place`: `n_new` of its `n_responses`, `n_bytes` in all.

    `damaged` are ids of traces found damaged here: left out of a push, set aside by a pull and brought anew.
    """

    place: str
    n_new: int
    n_responses: int
    n_bytes: int
    damaged: list[str]

    def said(self, *, done: str, with_damaged: str) -> str:
        """A sentence."""
        size = f"{self.n_bytes / 1e6:.1f} MB {done}"
        damaged = f"; damaged here, so {with_damaged}: {', '.join(self.damaged)}" if self.damaged else ""
        return f"{self.place}: {self.n_new} new of {self.n_responses} responses, {size}{damaged}"


def contents_here(run_folder: Path) -> dict[str, Content]:
    """What each trace file of a folder holds, by response id."""
    return {path.stem: Content.of_file(path) for path in sorted((run_folder / "traces").glob("*.safetensors"))}


def trace_path(run_folder: Path, response_id: str) -> Path:
    return run_folder / "traces" / f"{response_id}.safetensors"


def differing(one: dict[str, Any], other: dict[str, Any]) -> str:
    """The parameters in which the Runs of two manifests differ, and their examples; nothing where they are the same."""
    a, b = ({**about["identity"], "the examples": about["examples_checksum"]} for about in (one, other))
    return ", ".join(name for name in {**a, **b} if json.dumps(a.get(name)) != json.dumps(b.get(name)))


def sessions_of(manifest: dict[str, Any]) -> list[Any]:
    """What run.json tells of each recording."""
    return manifest.get("sessions", [])


def begins_with(path: Path, known: Content) -> bool:
    """Whether a file is there and begins with what is known."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return Content.of(file.read(known.size)) == known
