"""Many Traces as one Dataset with a dimension `response`, NaN where a response has ended: what a score is taken of."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from attnent.runs import Run
from attnent.trace import KEY_MEASURES, MEASURES, TraceError

TOKEN_NUMBERS = ("logprob", "token_entropy", "token_varentropy")
AT_ONCE = 50  # responses


def batch(traces: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Traces of one model, by id, as one Dataset: (response, layer, head, step), and (response, ..., key) of columns.

    Raises TraceError where they differ in layers or heads.
    """
    first = next(iter(traces.values()))
    for id_, trace in traces.items():
        if not (trace["layer"].equals(first["layer"]) and trace.sizes["head"] == first.sizes["head"]):
            raise TraceError(f"the trace {id_!r} has other layers or heads than the first; give traces of one model")
    names = [*MEASURES, *TOKEN_NUMBERS, "n_keys", *(name for name in KEY_MEASURES if _all_have(traces, name))]
    padded = {name: _padded([trace[name].variable for trace in traces.values()]) for name in names}
    about: dict[str, Any] = {
        "response": list(traces),
        "n_steps": ("response", [trace.sizes["step"] for trace in traces.values()]),
    }
    about |= {"n_prompt": ("response", [trace.attrs["n_prompt"] for trace in traces.values()])}
    about |= {name: first[name].variable for name in ("layer", "head", "layer_kind")}
    about["step"] = np.arange(max(trace.sizes["step"] for trace in traces.values()))
    return xr.Dataset(padded, about)


def batches(run: Run) -> Iterator[xr.Dataset]:
    """The responses of a run, some at once; a damaged one is left out with a warning that names it."""
    waiting: dict[str, xr.Dataset] = {}
    for id_, trace in run.traces():
        waiting[id_] = trace
        if len(waiting) == AT_ONCE:
            yield batch(waiting)
            waiting = {}
    if waiting:
        yield batch(waiting)


def _all_have(traces: Mapping[str, xr.Dataset], name: str) -> bool:
    return all(name in trace for trace in traces.values())


def _padded(parts: list[xr.Variable]) -> xr.Variable:
    shape = (len(parts), *np.max([part.shape for part in parts], axis=0))
    values = np.full(shape, np.nan, np.float32)
    for place, part in enumerate(parts):
        values[(place, *map(slice, part.shape))] = part.values
    return xr.Variable(("response", *parts[0].dims), values)
