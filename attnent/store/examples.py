"""What was asked: the examples of a Run, one JSON object a line, written once."""

import json
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa

from attnent.store import RunError
from attnent.store.files import checksum, write_whole
from attnent.store.tables import ABOUT, MEANS, TOKEN_MEANS

SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
OWN_COLUMNS = {"response_id", "n_steps", *ABOUT, *MEANS, *TOKEN_MEANS}  # of a Run's tables


def write_examples(folder: Path, examples: pd.DataFrame) -> str:
    """Write examples.jsonl and give back its checksum."""
    lines = "".join(json.dumps(row) + "\n" for row in examples.to_dict(orient="records"))
    write_whole(folder / "examples.jsonl", lines)
    return checksum(lines)


def read_examples(folder: Path, expected: str) -> pd.DataFrame:
    """The examples. Raises OSError, or ValueError where they have another checksum than the one expected."""
    content = (folder / "examples.jsonl").read_bytes()
    if checksum(content) != expected:
        raise ValueError("examples.jsonl is not what was written")
    return pd.DataFrame([json.loads(line) for line in content.split(b"\n") if line])


def plain_cells(examples: pd.DataFrame) -> pd.DataFrame:
    """The examples as a table of plain cells: what is nested becomes JSON text."""
    return examples.map(lambda cell: json.dumps(cell) if isinstance(cell, list | dict) else cell)


def check_examples(examples: pd.DataFrame) -> None:
    """Raise RunError where examples could not be recorded and kept, before anything is generated."""
    if not isinstance(examples, pd.DataFrame):
        raise RunError(f"the examples are a {type(examples).__name__}; give a table (pandas) with id and prompt")
    missing = {"id", "prompt"} - set(examples.columns)
    if missing:
        raise RunError(f"the examples lack the column {' and '.join(sorted(missing))}")
    if examples.empty:
        raise RunError("there are no examples to record; give at least one")
    if not examples["id"].is_unique:
        raise RunError("two examples have the same id; make the ids unique, since each names a file")
    taken = OWN_COLUMNS & set(examples.columns)
    if taken:
        raise RunError(f"the examples have the column {', '.join(sorted(taken))}, which a Run makes itself; rename it")
    unsafe = [id_ for id_ in examples["id"] if not isinstance(id_, str) or not SAFE_ID.fullmatch(id_)]
    if unsafe:
        raise RunError(f"the id {unsafe[0]!r} cannot name a file; use text of letters, digits, '-', '_' and '.'")
    try:
        json.dumps(examples.to_dict(orient="records"))
        pa.Table.from_pandas(plain_cells(examples), preserve_index=False)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise RunError(
            f"the examples hold a cell that cannot be kept ({error}); give each column text, numbers or lists alone"
        ) from error
