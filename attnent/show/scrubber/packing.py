"""What a Scrubber sends to the browser, as bytes: a header (JSON), 4-byte numbers, 1-byte levels.

Numbers of single heads are rounded to one of 255 levels between the smallest and the largest value that this head takes
in this response, so that they are wrong by at most 1/508 of that range; means over heads, the token's own numbers and
the weights on its top keys are exact float32. What is missing or not finite has a code of its own and is shown as
missing. Each Trace is looked at once and can then be forgotten.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import traitlets
import xarray as xr
from jaxtyping import Float, UInt8

from attnent.show.scrubber.colours import PALETTE, REVERSED
from attnent.show.scrubber.explained import EXPLAINED
from attnent.show.scrubber.usual import Usual, joined, usual
from attnent.trace import (
    CANDIDATES,
    DERIVED,
    MEASURES,
    TOP_KEYS,
    TOP_MEASURES,
    mean_of,
    measures_in,
    title_and_unit,
    values_of,
)

LIMIT_MB = 128  # what a browser still opens in seconds
LEVELS = 255  # the codes 0 to 254; 255 is what is missing
_MISSING = 255
_N_SAMPLES = 1_000_000  # values of heads that say where the colours of their map end
_NOT_MEASURES = ("step", "token_id", "char_start", "char_end")
_OF_ENTROPY = ("normalized_entropy", "effective_keys", "kl_to_uniform")  # the browser makes their maps from its map
_LIMITS = {"confidence": [0.0, 1.0]}  # of colours; of other measures they are those of what is shown


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
    known = [name for name in (*MEASURES, *DERIVED) if all(name in measures_in(trace) for trace in examples)]
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
        about: dict[str, Any] = {
            "name": name,
            "title": str(attrs["long_name"]),
            "unit": unit,
            "said": EXPLAINED.get(name, ""),
        }
        has_map = name in maps or (name in _OF_ENTROPY and "entropy" in maps)
        about |= {"sent": name in maps, "map": has_map, "of_tokens": name in of_tokens}
        about |= {"is_derived": name in DERIVED, "reversed": name in REVERSED}
        measures.append(about)
    return measures


def size_mb(trace: xr.Dataset, n_steps: int, maps: Sequence[str]) -> float:
    """What a response of so many steps takes that is otherwise like this Trace."""
    n_cells = trace.sizes["layer"] * trace.sizes["head"] * len(maps)
    n_words = 2 * len(measures_of([trace], maps)) + 5 + 2 * trace.sizes["rank"] + trace.sizes["layer"]  # of a step
    if _looks(trace):
        n_words += 2 * int(np.prod([trace.sizes[axis] for axis in ("top_layer", "top_head", "place")]))
    return (n_steps * (n_cells + 4 * n_words) + 8 * n_cells) / 2**20


# ---- what is sent


class Shown(NamedTuple):
    """Traces by their ids, and what is known of each: grade and error spans."""

    traces: Iterable[tuple[str, xr.Dataset]]
    labels: Mapping[str, dict[str, Any]]
    groups: Mapping[str, str]  # the grade of every response of `tokens` too
    tokens: pd.DataFrame | None  # of all responses among which these are usual; None: among themselves


def pack(
    shown: Shown, measures: list[dict[str, Any]], decode: Callable[[int], str] | None
) -> tuple[bytes, dict[str, Any], Float[np.ndarray, " step"]]:
    """The bytes, their header, and the means of the first measure in the first response."""
    names = [one["name"] for one in measures]
    words, levels, responses, tables, texts = _Block(), _Block(), [], [], {}
    samples = {name: ([], []) for name in names}
    n_samples = max(1, min(10_000, _N_SAMPLES // len(shown.labels)))
    for id_, trace in shown.traces:
        groups = _groups(trace)
        numbers, codes, means = _numbers(trace, measures, samples, n_samples)
        place = {"id": id_, "groups": groups, "words": words.add(numbers), "levels": levels.add(codes)}
        responses.append(place | shown.labels[id_] | _facts(trace))
        tables.append(_columns(id_, trace, means))
        texts |= _texts(trace, groups, decode, texts)
    for one in measures:
        of_steps, of_heads = samples[one["name"]]
        one["limits"] = _LIMITS.get(one["name"]) or _ends(of_steps, 0.0)
        one["map_limits"] = _ends(of_heads, 0.01)
    tokens = pd.DataFrame({name: np.concatenate([table[name] for table in tables]) for name in tables[0]})
    by_model = {str(model): _usual(rows, shown, names) for model, rows in tokens.groupby("model", sort=False)}
    cells = sorted({cell for common in by_model.values() for cell in common.like["cell"].dropna().unique()})
    usual_of = {id_: part for common in by_model.values() for id_, part in _usual_words(common, names, cells)}
    for one in responses:
        one["usual"] = words.add(usual_of.get(one["id"], np.empty(0, np.float32)))
    header = {
        "measures": measures,
        "responses": responses,
        "texts": texts,
        "palette": PALETTE,
        "cells": cells,
        "bands": [_band(words, model, *one) for model, common in by_model.items() for one in common.bands.items()],
        "n_words": words.n,
    }
    return _headed(header, [*words.parts, *levels.parts]), header, tables[0][names[0]]


def _headed(header: Mapping[str, Any], parts: Sequence[np.ndarray]) -> bytes:
    """How long the header is, the header in JSON up to a multiple of 4 bytes, and the numbers."""
    text = json.dumps(header, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([len(text).to_bytes(4, "little"), text, *(part.tobytes() for part in parts)])


class _Block:
    """Arrays one after the other; where each begins is what `add` gives back."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.n = 0

    def add(self, values: np.ndarray) -> int:
        self.parts.append(values)
        self.n += values.size
        return self.n - values.size


def _facts(trace: xr.Dataset) -> dict[str, Any]:
    facts: dict[str, Any] = {name: str(trace.attrs.get(name) or "") for name in ("prompt", "model", "finish_reason")}
    if np.isfinite(confidence := float(trace.attrs.get("answer_confidence", np.nan))):
        facts["confidence"] = confidence
    return facts | {
        "layers": trace["layer"].values.tolist(),
        "kinds": trace["layer_kind"].values.tolist(),
        "n_heads": trace.sizes["head"],
        "n_ranks": trace.sizes["rank"],
        "tokens": [str(token) for token in trace["token"].values],
        "special": np.flatnonzero(trace["char_start"].values == trace["char_end"].values).tolist(),
        "looks": looks_of(trace),
    }


def _looks(trace: xr.Dataset) -> bool:
    """Whether the Trace tells at which keys its rows look."""
    return set(TOP_KEYS) <= set(trace.variables)


def looks_of(trace: xr.Dataset) -> dict[str, Any] | None:
    """Of which heads the top keys are known, and the tokens of the prompt; None where they are not."""
    if not _looks(trace):
        return None
    return {
        "layers": trace["top_layer"].values.tolist(),
        "heads": trace["top_head"].values.tolist(),
        "n_places": trace.sizes["place"],
        "prompt": [str(token) for token in trace["key_token"].values[: trace.attrs["n_prompt"]]],
    }


def look_words(trace: xr.Dataset) -> Float[np.ndarray, " word"]:
    """Keys and then weights, each by step, layer, head and place; nothing where they are not known."""
    parts = (trace[name].transpose("step", "top_layer", "top_head", "place") for name in TOP_MEASURES if _looks(trace))
    return np.concatenate([np.empty(0), *(part.values.ravel() for part in parts)]).astype(np.float32)


def look_message(id_: str, trace: xr.Dataset, tokens: Sequence[str]) -> bytes:
    """Where the heads of one response of these tokens look, as bytes: a header in JSON, then `look_words`.

    Raises ScrubberError where it was read without its top keys, or as other tokens.
    """
    looks = looks_of(trace)
    if looks is None:
        raise ScrubberError("what `read` gave back has no top keys; let it read with top_keys=8")
    if trace["token"].values.tolist() != [*tokens]:
        raise ScrubberError("what `read` gave back has other tokens than this response; read with ae.read_again")
    return _headed({"id": id_, "n": trace.sizes["step"], **looks}, [look_words(trace)])


def _numbers(
    trace: xr.Dataset, measures: list[dict[str, Any]], samples: Mapping[str, Any], n_samples: int
) -> tuple[Float[np.ndarray, " word"], UInt8[np.ndarray, " code"], dict[str, Float[np.ndarray, " step"]]]:
    """Words and levels of a response, in the order in which data.js reads them, and its means.

    A part of the values goes to `samples`.
    """
    means, ranges, codes = {}, [], []
    for one in measures:
        name, (of_steps, of_heads) = one["name"], samples[one["name"]]
        if name not in MEASURES and name not in DERIVED:
            means[name] = trace[name].values if name in trace.variables else np.full(trace.sizes["step"], np.nan)
            of_steps.append(means[name])
            continue
        means[name] = mean_of(trace, name)
        of_steps.append(means[name])
        if one["map"]:
            values = values_of(trace, name)
            few = values.size <= n_samples
            of_heads.append(values.ravel() if few else np.random.default_rng(0).choice(values.ravel(), n_samples))
        if one["sent"]:
            rounded = to_levels(values)
            ranges += [rounded.low.ravel(), rounded.high.ravel()]
            codes.append(rounded.code.ravel())
    tokens = [trace[name].values.ravel() for name in ("token_id", *CANDIDATES)]
    n_keys = trace["n_keys"].transpose("step", "layer").values.ravel()
    words = [*means.values(), *_masses(trace), *tokens, n_keys, *ranges, look_words(trace)]
    return _words(words), np.concatenate(codes), means


def _words(parts: Sequence[np.ndarray]) -> Float[np.ndarray, " word"]:
    """One after the other; ids are exact to 2**24, and what is not finite is NaN."""
    words = np.concatenate(parts).astype(np.float32)
    words[~np.isfinite(words)] = np.nan
    return words


# ---- what is usual


def _columns(id_: str, trace: xr.Dataset, means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A row a token, with the columns that `Run.tokens` has."""
    columns = {name: trace.variables[name].values for name in ("step", "token", "char_start", "char_end")}
    about = {"response_id": id_, "model": str(trace.attrs.get("model") or "")}
    n_steps = trace.sizes["step"]
    return {name: np.array([text] * n_steps, object) for name, text in about.items()} | columns | dict(means)


def _usual(tokens: pd.DataFrame, shown: Shown, names: Sequence[str]) -> Usual:
    """Among all responses where they are given, of measures that they have; else among those shown."""
    known = [name for name in names if shown.tokens is not None and name in shown.tokens]
    among_shown = usual(tokens, shown.groups, [name for name in names if name not in known])
    if shown.tokens is None:
        return among_shown
    return joined(usual(shown.tokens, shown.groups, known), among_shown)


def _usual_words(
    common: Usual, names: Sequence[str], cells: Sequence[str]
) -> Iterator[tuple[str, Float[np.ndarray, " word"]]]:
    """Of each response: percentiles by measure; of each token the place of its cell, and how many are like it."""
    places = pd.Index(cells).get_indexer(common.like["cell"])
    table = np.vstack([common.percentiles[[*names]].to_numpy().T, places, common.like["n"]])
    ids = common.like.index.get_level_values(0).to_numpy()
    edges = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1), len(ids)] if len(ids) else []
    for start, stop in pairwise(edges):
        yield str(ids[start]), _words([*table[:, start:stop]])


def _band(words: _Block, model: str, about: tuple[str, str], values: Float[np.ndarray, "4 step"]) -> dict[str, Any]:
    group, name = about
    place = {"model": model, "group": group, "measure": name, "n_steps": values.shape[1]}
    return place | {"words": words.add(_words([*values]))}


def _masses(trace: xr.Dataset) -> list[Float[np.ndarray, " step"]]:
    """Mean weight on the sink, on the rest of the prompt and on generated text; together 1. NaN where not recorded."""
    if not {"sink_mass", "prompt_mass"} <= set(trace.variables):
        return [np.full(trace.sizes["step"], np.nan)] * 3
    sink, prompt = (mean_of(trace, name) for name in ("sink_mass", "prompt_mass"))
    prompt = prompt.clip(min=sink)  # rounded, it may be less than its first key's
    return [sink, prompt - sink, (1 - prompt).clip(min=0)]


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
        ids = np.unique(trace["candidate_id"]).tolist()
        return {id_: str(decode(id_)) for id_ in ids if id_ >= 0 and id_ not in known}
    parts = {step for first, stop in groups for step in range(first, stop)}
    tokens = zip(trace["token_id"].values.tolist(), trace["token"].values, strict=True)
    return {id_: str(token) for step, (id_, token) in enumerate(tokens) if step not in parts}


def _ends(values: list[np.ndarray], beyond: float) -> list[float] | None:
    """Where colours begin and end, the same for all responses; a share of the values may lie beyond either end."""
    known = np.concatenate(values) if values else np.empty(0)
    known = known[np.isfinite(known)].astype(np.float64)
    return np.quantile(known, [beyond, 1 - beyond]).tolist() if known.size else None
