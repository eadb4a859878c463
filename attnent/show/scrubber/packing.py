"""What a Scrubber sends to the browser, as bytes: a header (JSON), 4-byte numbers, 1-byte levels.

Numbers of single heads are rounded to one of 255 levels between the smallest and the largest value that this head takes
in this response, so that they are wrong by at most 1/508 of that range; means over heads and the token's own numbers
are exact float32. What is missing or not finite has a code of its own and is shown as missing. Each Trace is looked at
once and can then be forgotten.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import traitlets
import xarray as xr
from jaxtyping import Float, UInt8

from attnent.show.scrubber.page import PALETTE
from attnent.trace import CANDIDATES, DERIVED, MEASURES, measure, title_and_unit, without_cross

LIMIT_MB = 128  # what a browser still opens in seconds
LEVELS = 255  # the codes 0 to 254; 255 is what is missing
_MISSING = 255
_N_SAMPLES = 1_000_000  # values of heads that say where the colours of their map end
_NOT_MEASURES = ("step", "token_id", "char_start", "char_end")


class ScrubberError(traitlets.TraitError):
    """The Scrubber cannot show what was asked; the message says what to do."""


class Levels(NamedTuple):
    """Rounded numbers of heads; the code is 255 where one is missing."""

    code: UInt8[np.ndarray, "step layer head"]
    low: Float[np.ndarray, "layer head"]
    high: Float[np.ndarray, "layer head"]


def to_levels(values: Float[np.ndarray, "layer head step"]) -> Levels:
    """Round to 255 levels between each head's smallest and largest value; what is not finite keeps a code."""
    known = np.isfinite(values)
    low = np.where(known, values, np.inf).min(axis=-1, initial=np.inf)
    high = np.where(known, values, -np.inf).max(axis=-1, initial=-np.inf)
    low, high = (np.where(known.any(axis=-1), end, 0.0).astype(np.float32) for end in (low, high))
    width = np.where(high > low, high - low, 1.0).astype(np.float64)
    code = np.rint((np.where(known, values, 0.0) - low[..., None]) / width[..., None] * (LEVELS - 1))
    code = np.where(known, np.clip(code, 0, LEVELS - 1), _MISSING).astype(np.uint8)
    return Levels(np.ascontiguousarray(code.transpose(2, 0, 1)), low, high)


# ---- what can be sent


def measures_of(examples: Sequence[xr.Dataset], maps: Sequence[str]) -> list[dict[str, Any]]:
    """What can be chosen: the measures sent for every head, the other measures of attention, what a token has.

    `examples` are Traces that have among them all that any has.
    """
    known = [*MEASURES, *DERIVED]
    if not maps or set(maps) - set(known):
        unknown = ", ".join(repr(name) for name in maps if name not in known) or "no measure"
        raise ScrubberError(f"{unknown} cannot be sent for every head; choose maps from {', '.join(known)}")
    of_tokens = {
        str(name): values.attrs
        for trace in reversed(examples)
        for name, values in trace.variables.items()
        if values.dims == ("step",) and values.dtype.kind in "fiub" and name not in _NOT_MEASURES
    }
    measures = []
    for name in dict.fromkeys([*maps, *known, *of_tokens]):
        title, unit = title_and_unit(name)
        attrs = {"long_name": title, "units": unit} | of_tokens.get(name, {})
        unit = "" if attrs["units"] == "1" else str(attrs["units"]).replace("^2", "²")
        about = {"name": name, "title": str(attrs["long_name"]), "unit": unit}
        measures.append(about | {"map": name in maps, "of_tokens": name in of_tokens})
    return measures


def size_mb(trace: xr.Dataset, n_steps: int, maps: Sequence[str]) -> float:
    """What a response of so many steps takes that is otherwise like this Trace."""
    n_cells = trace.sizes["layer"] * trace.sizes["head"] * len(maps)
    n_words = len(measures_of([trace], maps)) + 4 + 2 * trace.sizes["rank"]  # of a step
    return (n_steps * (n_cells + 4 * n_words) + 8 * n_cells) / 2**20


# ---- what is sent


def pack(
    traces: Iterable[tuple[str, xr.Dataset]],
    measures: list[dict[str, Any]],
    labels: Mapping[str, dict[str, Any]],
    decode: Callable[[int], str] | None,
) -> tuple[bytes, dict[str, Any], Float[np.ndarray, " step"]]:
    """The bytes, their header, and the means of the first measure in the first response.

    `labels` are the grade and the error spans of each response by its id.
    """
    responses, words, levels, n_words, n_levels, texts = [], [], [], 0, 0, {}
    samples = {one["name"]: ([], []) for one in measures}
    n_samples = max(1, min(10_000, _N_SAMPLES // len(labels)))
    for id_, trace in traces:
        groups = _groups(trace)
        numbers, codes = _numbers(trace, measures, samples, n_samples)
        place = {"id": id_, "groups": groups, "words": n_words, "levels": n_levels}
        responses.append(place | labels[id_] | _facts(trace))
        texts |= _texts(trace, groups, decode, texts)
        words.append(numbers)
        levels.append(codes)
        n_words, n_levels = n_words + numbers.size, n_levels + codes.size
    for one in measures:
        of_steps, of_heads = samples[one["name"]]
        one |= {"limits": _ends(of_steps, 0.0), "map_limits": _ends(of_heads, 0.01)}
    header = {"measures": measures, "responses": responses, "texts": texts, "palette": PALETTE, "n_words": n_words}
    text = json.dumps(header, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    data = b"".join([len(text).to_bytes(4, "little"), text, *words, *levels])
    return data, header, words[0][: len(responses[0]["tokens"])]


def _facts(trace: xr.Dataset) -> dict[str, Any]:
    facts = {name: str(trace.attrs.get(name) or "") for name in ("prompt", "model", "finish_reason")}
    return facts | {
        "layers": trace["layer"].values.tolist(),
        "kinds": trace["layer_kind"].values.tolist(),
        "n_heads": trace.sizes["head"],
        "n_ranks": trace.sizes["rank"],
        "tokens": [str(token) for token in trace["token"].values],
        "special": np.flatnonzero(trace["char_start"].values == trace["char_end"].values).tolist(),
    }


def _numbers(
    trace: xr.Dataset, measures: list[dict[str, Any]], samples: Mapping[str, Any], n_samples: int
) -> tuple[Float[np.ndarray, " word"], UInt8[np.ndarray, " code"]]:
    """Words and levels of a response, in the order in which scrubber.js reads them; a part goes to `samples`."""
    own, means, ranges, codes = without_cross(trace), [], [], []
    for name, is_map in ((one["name"], one["map"]) for one in measures):
        of_steps, of_heads = samples[name]
        means.append(_means(own, name))
        of_steps.append(means[-1])
        if is_map:
            values = measure(trace, name).transpose("layer", "head", "step").values
            few = values.size <= n_samples
            of_heads.append(values.ravel() if few else np.random.default_rng(0).choice(values.ravel(), n_samples))
            rounded = to_levels(values)
            ranges += [rounded.low.ravel(), rounded.high.ravel()]
            codes.append(rounded.code.ravel())
    tokens = [trace[name].values.ravel() for name in ("token_id", *CANDIDATES)]
    words = np.concatenate([*means, *_masses(own), *tokens, *ranges]).astype(np.float32)  # ids: exact to 2**24
    words[~np.isfinite(words)] = np.nan
    return words, np.concatenate(codes)


def _means(trace: xr.Dataset, name: str) -> np.ndarray:
    """A measure's mean over layers and heads, or a number of every token, (step,); NaN where there is none."""
    if name in MEASURES or name in DERIVED:
        return measure(trace, name).mean(["layer", "head"]).values
    return trace[name].values if name in trace.variables else np.full(trace.sizes["step"], np.nan)


def _masses(trace: xr.Dataset) -> list[np.ndarray]:
    """Mean weight on the sink, on the rest of the prompt and on generated text, (step,) each; together 1."""
    sink, prompt = (trace[name].variable.astype(np.float64) for name in ("sink_mass", "prompt_mass"))
    prompt = prompt.clip(min=sink)  # rounded, it may be less than its first key's
    parts = (sink, prompt - sink, (1 - prompt).clip(min=0))
    return [part.mean(["layer", "head"]).values for part in parts]


def _groups(trace: xr.Dataset) -> list[list[int]]:
    """[start, stop) of consecutive steps whose tokens are parts of one character."""
    starts, ends = trace["char_start"].values, trace["char_end"].values
    same = (starts[1:] == starts[:-1]) & (ends[1:] == ends[:-1]) & (ends[1:] > starts[1:])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(int)))
    return [[int(first), int(last) + 1] for first, last in edges.reshape(-1, 2)]


def _texts(
    trace: xr.Dataset, groups: list[list[int]], decode: Callable[[int], str] | None, known: Mapping[int, str]
) -> dict[int, str]:
    """The text of each candidate's id: decoded, or else as the response holds it."""
    if decode is not None:
        return {id_: str(decode(id_)) for id_ in np.unique(trace["candidate_id"]).tolist() if id_ not in known}
    parts = {step for first, stop in groups for step in range(first, stop)}
    tokens = zip(trace["token_id"].values.tolist(), trace["token"].values, strict=True)
    return {id_: str(token) for step, (id_, token) in enumerate(tokens) if step not in parts}


def _ends(values: list[np.ndarray], beyond: float) -> list[float] | None:
    """Where colours begin and end, the same for all responses; a share of the values may lie beyond either end."""
    known = np.concatenate(values) if values else np.empty(0)
    known = known[np.isfinite(known)].astype(np.float64)
    return np.quantile(known, [beyond, 1 - beyond]).tolist() if known.size else None
