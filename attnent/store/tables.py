"""The tables of a Run, made from its traces: kept as parquet, and grown by what is new."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attnent.store.files import checksum, read_sealed, write_sealed, write_whole
from attnent.trace import MEASURES, STEP_NUMBERS, means_of, measures_in

MEANS = (*MEASURES, "normalized_entropy", "sinkless_entropy", "sinkless_varentropy")
TOKEN_MEANS = ("logprob", "token_entropy", "token_varentropy")
ABOUT = ("response", "finish_reason", "n_prompt")  # of a response, from its trace
_STEP_COLUMNS = ("token", *STEP_NUMBERS)
TABLES = ("responses", "tokens")

State = Mapping[str, list[int]]  # of each trace file, by response id: what changes with it
Read = Callable[[Iterable[str]], Iterator[tuple[str, xr.Dataset]]]  # the whole traces of these responses


def tables(folder: Path, examples: pd.DataFrame, state: State, read: Read) -> list[pd.DataFrame]:
    """The responses and the tokens of the traces in `state`; only those that have changed are read.

    Tables that are torn or damaged are made anew. `examples` has a row a response, with the column response_id.
    """
    known, contents = read_tables(folder)
    kept = [pd.read_parquet(BytesIO(content)) for content in contents]
    same = [name for name, seen in state.items() if known.get(name) == seen]
    if len(same) == len(state) == len(known):
        return kept
    about, tokens = [], []
    for name, trace in read([name for name in state if name not in set(same)]):
        tokens.append(token_table(trace).assign(response_id=name))
        about.append({"response_id": name} | {column: trace.attrs[column] for column in ABOUT})
        about[-1]["n_steps"] = trace.sizes["step"]
    if kept and not about and len(same) == len(known):  # what is not in the tables cannot be read
        return kept
    parts = [[table[table["response_id"].isin(same)]] for table in kept] if same else [[], []]
    if about:
        for part, rows in zip(parts, _rows(examples, about, tokens), strict=True):
            part.append(rows)
    place = {name: number for number, name in enumerate(state)}
    joined = [_in_order(pd.concat(part), place) for part in parts] if any(parts) else []
    if joined:
        made = {*same, *(row["response_id"] for row in about)}
        _save(folder, joined, {name: seen for name, seen in state.items() if name in made})
    return joined


def made_from(folder: Path) -> State:
    """What the tables on disk were made from; nothing where they are not whole."""
    return read_tables(folder)[0]


def read_tables(folder: Path) -> tuple[State, list[bytes]]:
    """What the tables on disk were made from, and the tables as parquet; nothing where they are not whole."""
    try:
        about = read_sealed(folder / "tables.json")
        contents = [(folder / f"{name}.parquet").read_bytes() for name in TABLES]
        if about["checksums"] == [checksum(content) for content in contents]:
            return about["made_from"], contents
    except (OSError, ValueError, KeyError):  # or just being replaced by another process
        pass
    return {}, []


def token_table(trace: xr.Dataset) -> pd.DataFrame:
    """A row a step of one Trace: the token's columns, and each measure's mean over heads and self-attention layers.

    NaN where a measure was not recorded.
    """
    columns = {name: trace.variables[name].values for name in ("step", *_STEP_COLUMNS)}
    known = set(measures_in(trace))
    means = means_of(trace, [name for name in MEANS if name in known])
    return pd.DataFrame(columns | {name: means.get(name, np.nan) for name in MEANS})


def _rows(
    examples: pd.DataFrame, about: list[dict[str, Any]], of_traces: list[pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    tokens = pd.concat(of_traces, ignore_index=True)
    tokens.insert(0, "response_id", tokens.pop("response_id"))
    means = tokens.groupby("response_id", sort=False)[[*MEANS, *TOKEN_MEANS]].mean()
    responses = examples.merge(pd.DataFrame(about), on="response_id")
    return responses.merge(means, left_on="response_id", right_index=True), tokens


def _in_order(table: pd.DataFrame, place: Mapping[str, int]) -> pd.DataFrame:
    by_place = table["response_id"].map(place).argsort(kind="stable")
    return table.iloc[by_place].reset_index(drop=True)


def _save(folder: Path, joined: list[pd.DataFrame], made_from: State) -> None:
    try:
        keep_tables(folder, [table.to_parquet(index=False) for table in joined], made_from)
    except OSError as error:
        warnings.warn(f"the tables of {folder} cannot be kept ({error})", stacklevel=4)


def keep_tables(folder: Path, contents: Sequence[bytes], made_from: State) -> None:
    """Write the two tables, as parquet, and what they were made from. Raises DiskFullError, OSError."""
    for name, content in zip(TABLES, contents, strict=True):
        write_whole(folder / f"{name}.parquet", content)
    checksums = [checksum(content) for content in contents]
    write_sealed(folder / "tables.json", {"made_from": made_from, "checksums": checksums})


def state_of(path: Path) -> list[int]:
    """What changes with a trace file; the time of its last change of any kind cannot be set back."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]
