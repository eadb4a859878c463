"""Traces as files: safetensors, one response each, with a checksum of every tensor and text."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from attnent.store.files import checksum, write_whole
from attnent.trace import (
    CANDIDATES,
    KEY_MEASURES,
    MEASURES,
    SCHEMA_VERSION,
    SINK_MEASURES,
    STEP_NUMBERS,
    TOP_KEYS,
    NotRecordedError,
    TraceError,
    make_trace,
    measure,
    needed_by,
    not_recorded,
    title_and_unit,
)

_TENSORS = ("layer", "n_keys", *STEP_NUMBERS, *CANDIDATES)
_MAYBE = (*MEASURES, *SINK_MEASURES, *KEY_MEASURES, *TOP_KEYS)


class SchemaError(TraceError):
    """A whole file of another version of the schema: not damaged, but not to be read."""


class _Texts(NamedTuple):
    """What a file says beside its tensors, each a JSON text."""

    attrs: str
    token: str
    layer_kind: str
    belongs_to: str  # to which response of which run
    checksums: str  # of each tensor


def save_trace(trace: xr.Dataset, path: Path, *, belongs_to: str = "") -> None:
    """Write one Trace as safetensors with a checksum of every tensor and text: the file is whole or absent.

    `belongs_to` names the response and the run; who reads can ask for it. Raises DiskFullError, OSError.
    """
    asked = [name for name in _MAYBE if name in trace.variables]
    arrays = {name: np.ascontiguousarray(_numbers(trace[name].values)) for name in (*asked, *_TENSORS)}
    texts = _Texts(
        attrs=json.dumps(dict(trace.attrs)),
        token=json.dumps(trace["token"].values.tolist()),
        layer_kind=json.dumps(trace["layer_kind"].values.tolist()),
        belongs_to=belongs_to,
        checksums=json.dumps({name: _checksum(values) for name, values in arrays.items()}),
    )
    write_whole(path, save(arrays, metadata=texts._asdict() | {"checksum": checksum("\0".join(texts))}))


def load_trace(path: Path, *, belongs_to: str | None = None) -> xr.Dataset:
    """Read a Trace written by `save_trace`.

    Raises TraceError, naming the file, where it is damaged or belongs to another response than the one asked for.
    """
    texts, arrays = _read(path, None, belongs_to)
    try:
        return make_trace(
            {name: arrays.pop(name) for name in (*MEASURES, *SINK_MEASURES) if name in arrays},
            layer=arrays.pop("layer").tolist(),
            layer_kind=json.loads(texts.layer_kind),
            n_keys=arrays.pop("n_keys"),
            token=json.loads(texts.token),
            keys={name: arrays.pop(name) for name in KEY_MEASURES if name in arrays},
            tops={name: _texts_or_numbers(arrays.pop(name)) for name in TOP_KEYS if name in arrays},
            steps=arrays,
            attrs=json.loads(texts.attrs),
        )
    except (KeyError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def load_measure(path: Path, name: str, *, belongs_to: str | None = None) -> xr.DataArray:
    """One measure of a saved Trace, read without the others. Raises TraceError as `load_trace` and `measure` do."""
    recorded = needed_by(name)
    texts, arrays = _read(path, [*recorded, "layer", "n_keys"], belongs_to)
    dims = ("layer", "head", "step")
    shape = dict(zip(dims, arrays[recorded[0]].shape, strict=True))
    part = xr.Dataset(
        {
            one: (dims, arrays[one], dict(zip(("long_name", "units"), title_and_unit(one), strict=True)))
            for one in recorded
        },
        coords={
            "layer": arrays["layer"],
            "head": np.arange(shape["head"]),
            "step": np.arange(shape["step"]),
            "layer_kind": ("layer", np.asarray(json.loads(texts.layer_kind))),
            "n_keys": (("layer", "step"), arrays["n_keys"]),
        },
    )
    return measure(part, name)


class Extent(NamedTuple):
    """How large a Trace is."""

    layers: dict[int, str]  # the kind of each
    n_heads: int
    n_steps: int


def extent_of(path: Path, *, belongs_to: str | None = None) -> Extent:
    """How large a saved Trace is, its measures unread. Raises TraceError as `load_trace` does."""
    texts, arrays = _read(path, ["layer"], belongs_to)
    try:
        with safe_open(path, framework="numpy") as file:
            _, n_heads, n_steps = file.get_slice("entropy").get_shape()
        return Extent(dict(zip(arrays["layer"].tolist(), json.loads(texts.layer_kind), strict=True)), n_heads, n_steps)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def _read(path: Path, names: Sequence[str] | None, belongs_to: str | None) -> tuple[_Texts, dict[str, np.ndarray]]:
    """The texts and these tensors of a file, each held against its checksum; None: all that were written."""
    try:
        with safe_open(path, framework="numpy") as file:
            found = file.metadata() or {}
            texts = _Texts(**{name: found.get(name, "") for name in _Texts._fields})
            if found.get("checksum") != checksum("\0".join(texts)):
                raise ValueError("its texts are not those that were written")
            if json.loads(texts.attrs)["schema_version"] != SCHEMA_VERSION:
                raise SchemaError(f"{path} was written by another version of attnent; read it with that one")
            checksums = json.loads(texts.checksums)
            for name in names or ():
                if name not in checksums:
                    raise not_recorded(name)
            arrays = {name: file.get_tensor(name) for name in names or checksums}
        for name, values in arrays.items():
            if checksums[name] != _checksum(values):
                raise ValueError(f"the numbers of {name} are not those that were written")
    except (SchemaError, NotRecordedError):
        raise
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise _damaged(path, str(error)) from error
    if belongs_to is not None and texts.belongs_to != belongs_to:
        raise _damaged(path, "it belongs to another response or run")
    return texts, arrays


def _numbers(values: np.ndarray) -> np.ndarray:
    """Texts as the bytes of their JSON list, which a tensor can hold; numbers as they are."""
    return np.frombuffer(json.dumps(values.tolist()).encode(), np.uint8) if values.dtype == object else values


def _texts_or_numbers(values: np.ndarray) -> Any:
    return json.loads(values.tobytes()) if values.dtype == np.uint8 else values


def _checksum(values: np.ndarray) -> str:
    return checksum(f"{values.dtype} {values.shape} ", np.ascontiguousarray(values).data)


def _damaged(path: Path, reason: str) -> TraceError:
    return TraceError(f"the trace file {path} is damaged ({reason}); record the run again to replace it")
