"""A Trace: the record of one response, a plain `xarray.Dataset`; and the quantities derived from it.

    dims    layer (the model's own indices), head, step
    data    the measures below, or those that were asked for, (layer, head, step) float32; missing is NaN. They are of
            weights on keys alone, which add up to 1; where a layer has a learned sink, sink_share is the share of the
            softmax that goes to it, and the model's own weights are 1 - share of these. Where columns were asked for,
            also what each key receives, (layer, head, key) float32: key is a position of prompt and
            response but the last token. Where top keys were asked for, top_key int32 and top_weight float32 (top_layer,
            top_head, step, place): the keys of largest weight and their weights, descending, the lower of equal ones
            first; -1 and NaN for none
    coords  layer_kind (layer); n_keys (layer, step); token_id, token, char_start, char_end, logprob, token_entropy,
            token_varentropy (step); candidate_id, candidate_probability (step, rank): the likeliest next tokens; with
            top keys also top_layer, top_head: those that were asked for, and key_token (key), the text of each key
    attrs   prompt, response, finish_reason, n_prompt, model, revision, dtype, seed, sampling, versions, schema_version;
            of a prompt with images also images, the SHA-256 of the pixels of each, and image_keys, the positions of
            their tokens where these stand among those of the prompt (JSON lists)

Step t is the forward pass whose logits chose generated token t; step 0 is the last row of the prompt pass. This room
works without torch and without a model.
"""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import xarray as xr

SCHEMA_VERSION = 2

# name: (long name, unit)
MEASURES = {
    "entropy": ("attention entropy", "nat"),
    "varentropy": ("attention varentropy", "nat^2"),
    "collision_entropy": ("attention collision entropy", "nat"),
    "max_weight": ("largest attention weight", "1"),
    "sink_mass": ("weight on the first visible key", "1"),
    "prompt_mass": ("weight on the prompt", "1"),
    "self_mass": ("weight on the query's own position", "1"),
    "previous_mass": ("weight on the previous position", "1"),
}
SINK_MEASURES = {"sink_share": ("share of the softmax that goes to a learned sink", "1")}
KEY_MEASURES = {
    "received_mass": ("mean weight from the queries that see the key, its own included", "1"),
    "own_mass": ("weight of the key's own query on it", "1"),
}
TOP_MEASURES = {
    "top_key": ("position of the keys with the largest weights, from 0 at the first token of the prompt", "1"),
    "top_weight": ("the largest weights of the row", "1"),
}
TOP_KEYS = (*TOP_MEASURES, "top_layer", "top_head", "key_token")
STEP_NUMBERS = ("token_id", "char_start", "char_end", "logprob", "token_entropy", "token_varentropy")
CANDIDATES = ("candidate_id", "candidate_probability")
ATTRIBUTES = (
    "schema_version", "prompt", "response", "finish_reason", "n_prompt", "model", "revision", "dtype", "seed",
    "sampling", "versions",
)  # fmt: skip
IMAGE_ATTRIBUTES = ("images", "image_keys")
_TOKEN_MEASURES = {
    "logprob": ("log-probability", "nat"),
    "token_entropy": ("token entropy", "nat"),
    "token_varentropy": ("token varentropy", "nat^2"),
}
_COLUMNS = {  # of a run's tables
    "n_steps": ("response length", "tokens"),
    "n_prompt": ("prompt length", "tokens"),
    "n_gold_steps": ("length of the gold solution", "steps"),
    "n_children": ("people who act in the problem", "1"),
}
_LINE = re.compile(r"\S(?:[^\n]*\S)?")
_SENTENCE_GAP = re.compile(r"(?<=[.!?])\s++(?=[^a-z])|(?<!\s)\s++(?=####)")
_ABBREVIATION = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|Rs|vs|approx|lbs?|oz|ft|hrs?|e\.g|i\.e|a\.m|p\.m)\.$", re.IGNORECASE
)
_ITEM = re.compile(r"\d{1,9}\.")  # of a list
_NUMBERS_AT_ONCE = 2**14  # in float64 they stay in a cache
SINK_LIMIT = 0.999  # past it float32 masses no longer determine what lies beside the sink


class TraceError(ValueError):
    """A Trace or its file does not fit the schema, or there is no such measure."""


class NotRecordedError(TraceError):
    """A measure or layer that was left out of this Trace."""


def not_recorded(name: str) -> NotRecordedError:
    return NotRecordedError(f"{name} was not recorded here; record again with it among the measures")


def make_trace(
    measures: Mapping[str, np.ndarray],
    *,
    layer: list[int],
    layer_kind: list[str],
    n_keys: np.ndarray,
    token: list[str],
    steps: Mapping[str, np.ndarray],
    attrs: Mapping[str, Any],
    keys: Mapping[str, np.ndarray] | None = None,
    tops: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Assemble a Trace and check it against the schema.

    `measures` maps MEASURES, or some of them with the entropy, to (layer, head, step), and SINK_MEASURES where a layer
    has a learned sink; `n_keys` is (layer, step);
    `steps` maps STEP_NUMBERS to (step,) and CANDIDATES to (step, rank); `keys`, where given, maps KEY_MEASURES to
    (layer, head, key), and `tops` TOP_KEYS to what a Trace has of them. Raises TraceError where something is missing or
    left over.
    """
    if not {"entropy"} <= set(measures) <= {*MEASURES, *SINK_MEASURES}:
        raise TraceError(
            f"a Trace has some of the measures {list(MEASURES)}, the entropy always, but these were given: "
            f"{sorted(measures)}"
        )
    _same("steps", steps, (*STEP_NUMBERS, *CANDIDATES))
    _same("attributes", set(attrs) - {*IMAGE_ATTRIBUTES}, ATTRIBUTES)
    if keys:
        _same("measures of keys", keys, KEY_MEASURES)
    if tops:
        _same("top keys", tops, TOP_KEYS)
    return xr.Dataset(
        {
            name: (
                dims,
                np.asarray(values[name], np.int32 if name == "top_key" else np.float32),
                {"long_name": what, "units": unit},
            )
            for dims, values, known in (
                (("layer", "head", "step"), measures, MEASURES | SINK_MEASURES),
                (("layer", "head", "key"), keys, KEY_MEASURES),
                (("top_layer", "top_head", "step", "place"), tops, TOP_MEASURES),
            )
            if values
            for name, (what, unit) in known.items()
            if name in values
        },
        coords={
            "layer": np.asarray(layer),
            "head": np.arange(next(iter(measures.values())).shape[1]),
            "step": np.arange(len(token)),
            "layer_kind": ("layer", np.asarray(layer_kind)),
            "n_keys": (("layer", "step"), np.asarray(n_keys, np.int32)),
            "token": ("step", np.asarray(token, dtype=object)),
            **{name: ("step", steps[name], _unit(name)) for name in STEP_NUMBERS},
            **{name: (("step", "rank"), steps[name], _unit(name)) for name in CANDIDATES},
            **({"key": np.arange(attrs["n_prompt"] + len(token) - 1)} if keys or tops else {}),
            **(_of_top_keys(tops) if tops else {}),
        },
        attrs={name: attrs[name] for name in (*ATTRIBUTES, *IMAGE_ATTRIBUTES) if name in attrs},
    )


def _of_top_keys(tops: Mapping[str, Any]) -> dict[str, Any]:
    key_token = ("key", np.asarray(tops["key_token"], dtype=object))
    return {"top_layer": tops["top_layer"], "top_head": tops["top_head"], "key_token": key_token}


def recorded_for(measures: Iterable[str] | None) -> tuple[str, ...]:
    """The recorded measures that these are made of, and the entropy; all for None. Raises TraceError for others."""
    if isinstance(measures, str):
        raise TraceError(f"measures is {measures!r}, but must be a list of names, or None for all")
    asked = MEASURES if measures is None else {"entropy"}.union(*map(needed_by, measures))
    return tuple(name for name in MEASURES if name in asked)


def part_of(trace: xr.Dataset, measures: Sequence[str], layers: Sequence[int] | None) -> xr.Dataset:
    """A Trace with these recorded measures alone, and of these layers; None is all. All else stays."""
    part = trace.drop_vars([name for name in MEASURES if name not in measures])
    return part if layers is None else of_layers(part, layers)


def joined(traces: Iterable[xr.Dataset]) -> xr.Dataset:
    """Consecutive steps of one response as one Trace, with the attributes of the last."""
    parts = list(traces)
    whole = xr.concat(parts, "step", data_vars="minimal", coords="minimal", compat="override", join="override")
    return whole.assign_attrs(parts[-1].attrs)


def _unit(name: str) -> dict[str, str]:
    units = {name: unit for name, (_, unit) in _TOKEN_MEASURES.items()} | {"candidate_probability": "1"}
    return {"units": units[name]} if name in units else {}


def _same(what: str, got: Iterable[str], wanted: Any) -> None:
    if set(got) != set(wanted):
        raise TraceError(f"a Trace has the {what} {sorted(wanted)}, but these were given: {sorted(got)}")


# ---- derived quantities: exact, from what a Trace holds, in float64
# Computed on arrays whose last axes are layer, head and step: coordinates, which are one Trace's own, take their time.


class _Rows:
    """The rows of a Trace as float64 arrays, (..., layer, head, step); what has no heads has one for all of them.

    What several quantities are made of is made once.
    """

    def __init__(
        self, trace: xr.Dataset, layers: slice = slice(None), whole: dict[str, np.ndarray] | None = None
    ) -> None:
        self._trace, self._layers = trace, layers  # by place
        self._whole = {} if whole is None else whole  # of all layers, as recorded
        self._measures: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._measures:
            self._measures[name] = self._of(name, ("layer", "head", "step"))
        return self._measures[name]

    def of(self, layers: slice) -> "_Rows":
        """Those of some layers, by place."""
        return _Rows(self._trace, layers, self._whole)

    @property
    def keys(self) -> np.ndarray:
        """Visible keys; NaN where a row sees none."""
        keys = self._of("n_keys", ("layer", "step"))[..., None, :]
        return _where(keys > 0, keys)

    @property
    def step(self) -> np.ndarray:
        return self._of("step", ("step",))

    @functools.cached_property
    def sink(self) -> np.ndarray:
        """Weight on the first visible key; NaN past SINK_LIMIT."""
        sink = self["sink_mass"]
        return _where(sink <= SINK_LIMIT, sink)

    @functools.cached_property
    def log_sink(self) -> np.ndarray:
        """ln of that weight, which only counts times the weight: 0 where that is 0."""
        return np.log(np.where(self.sink > 0, self.sink, 1.0))

    def recorded(self, name: str) -> np.ndarray:
        """As it was recorded, in float32."""
        return self._values(name, ("layer", "head", "step"))

    def _of(self, name: str, axes: tuple[str, ...]) -> np.ndarray:
        return self._values(name, axes).astype(np.float64)

    def _values(self, name: str, axes: tuple[str, ...]) -> np.ndarray:
        if name not in self._whole:
            self._whole[name] = _recorded(self._trace, name).transpose(..., *axes).values
        values = self._whole[name]
        return values[..., self._layers, *(slice(None) for _ in axes[1:])] if "layer" in axes else values


def _recorded(trace: xr.Dataset, name: str) -> xr.Variable:
    if name not in trace.variables:
        raise not_recorded(name)
    return trace.variables[name]


def _where(is_known: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(is_known, values, np.nan)


def normalized_entropy(trace: xr.Dataset) -> xr.DataArray:
    """H / ln k for k visible keys, in [0, 1]; NaN for k = 1."""
    return _labelled(trace, "normalized_entropy")


def _normalized_entropy(rows: _Rows) -> np.ndarray:
    keys = rows.keys
    return rows["entropy"] / np.log(_where(keys > 1, keys))


def effective_keys(trace: xr.Dataset) -> xr.DataArray:
    """exp H: the number of keys that a uniform row of the same entropy would see."""
    return _labelled(trace, "effective_keys")


def _effective_keys(rows: _Rows) -> np.ndarray:
    return np.exp(rows["entropy"])


def kl_to_uniform(trace: xr.Dataset) -> xr.DataArray:
    """KL(p || uniform) = ln k - H in nat, k the visible keys of that very row."""
    return _labelled(trace, "kl_to_uniform")


def _kl_to_uniform(rows: _Rows) -> np.ndarray:
    return np.log(rows.keys) - rows["entropy"]


def sinkless_entropy(trace: xr.Dataset) -> xr.DataArray:
    """Entropy (nat) of the row without its first visible key, renormalised: H' = (H - h(s)) / (1 - s).

    s is the sink mass and h(s) = -s ln s - (1-s) ln(1-s). NaN past s = 0.999, where it is ill-conditioned.
    """
    return _labelled(trace, "sinkless_entropy")


def _sinkless_entropy(rows: _Rows) -> np.ndarray:
    rest = 1 - rows.sink
    return (rows["entropy"] + rows.sink * rows.log_sink) / rest + np.log(rest)


def sinkless_varentropy(trace: xr.Dataset) -> xr.DataArray:
    """Varentropy (nat^2) of the row without its first visible key, by the law of total variance.

    V' = [V - s (-ln s - H)^2] / (1-s) - (H' - ln(1-s) - H)^2 = [V - (ln s + H)^2 s / (1-s)] / (1-s). NaN past
    s = 0.999, where it is ill-conditioned.
    """
    return _labelled(trace, "sinkless_varentropy")


def _sinkless_varentropy(rows: _Rows) -> np.ndarray:
    rest = 1 - rows.sink
    from_sink = (rows.log_sink + rows["entropy"]) ** 2 * (rows.sink / rest)
    return ((rows["varentropy"] - from_sink) / rest).clip(min=0.0)


def lookback_ratio(trace: xr.Dataset) -> xr.DataArray:
    """A / (A + B): A and B are the mean weight per token on prompt keys and on generated keys (arXiv 2407.07071).

    Only keys that exist and are visible at that step are counted; NaN while there is no generated key or no prompt key.
    """
    return _labelled(trace, "lookback_ratio")


def _lookback_ratio(rows: _Rows) -> np.ndarray:
    keys, on_prompt = rows.keys, rows["prompt_mass"]
    generated = np.minimum(rows.step, keys)
    of_prompt_key = on_prompt / _where(keys > generated, keys - generated)
    of_generated_key = (1 - on_prompt) / _where(generated > 0, generated)
    return of_prompt_key / (of_prompt_key + of_generated_key)


# name: (its values from rows, long name, unit)
DERIVED = {
    "normalized_entropy": (_normalized_entropy, "normalized attention entropy", "1"),
    "effective_keys": (_effective_keys, "effective keys", "1"),
    "kl_to_uniform": (_kl_to_uniform, "divergence of attention from uniform", "nat"),
    "sinkless_entropy": (_sinkless_entropy, "sinkless attention entropy", "nat"),
    "sinkless_varentropy": (_sinkless_varentropy, "sinkless attention varentropy", "nat^2"),
    "lookback_ratio": (_lookback_ratio, "lookback ratio", "1"),
}
_NEEDED = {  # what is recorded, beside the number of keys; of all others the entropy
    "sinkless_entropy": ("entropy", "sink_mass"),
    "sinkless_varentropy": ("entropy", "varentropy", "sink_mass"),
    "lookback_ratio": ("entropy", "prompt_mass"),
}


def needed_by(name: str) -> tuple[str, ...]:
    """The recorded measures that a measure is made of. Raises TraceError for an unknown name."""
    _check_measure(name)
    if name in MEASURES or name in SINK_MEASURES:
        return (name,)
    return _NEEDED.get(name, ("entropy",))


def measures_in(trace: xr.Dataset) -> list[str]:
    """The recorded and derived measures that a Trace can tell."""
    return [name for name in (*MEASURES, *DERIVED) if all(one in trace.variables for one in needed_by(name))]


def _check_measure(name: str) -> None:
    if name not in MEASURES and name not in DERIVED and name not in SINK_MEASURES:
        raise TraceError(f"there is no measure {name!r}; choose one of {', '.join([*MEASURES, *DERIVED])}")


def title_and_unit(name: str) -> tuple[str, str]:
    """The long name of a measure, a token's number or a column of a run's tables, and its unit ("1": none)."""
    derived = {name: about for name, (_, *about) in DERIVED.items()}
    known = MEASURES | SINK_MEASURES | KEY_MEASURES | TOP_MEASURES | derived | _TOKEN_MEASURES | _COLUMNS
    title, unit = known.get(name, (name.replace("_", " "), "1"))
    return title, unit


_Layered = TypeVar("_Layered", xr.Dataset, xr.DataArray)


def of_layers(values: _Layered, layers: Sequence[int]) -> _Layered:
    """What has layers, of these alone. Raises NotRecordedError for others."""
    if unknown := sorted(set(layers) - set(values["layer"].values.tolist())):
        raise NotRecordedError(f"the layers {unknown} were not recorded; there are {values['layer'].values.tolist()}")
    return values.sel(layer=list(layers))


def without_cross(values: _Layered) -> _Layered:
    """What has layers, without its cross-attention layers, whose keys are no tokens."""
    return values.sel(layer=values["layer_kind"] != "cross")


def measure(trace: xr.Dataset, name: str) -> xr.DataArray:
    """A recorded or derived measure by its name, (layer, head, step). Raises TraceError for an unknown name."""
    _check_measure(name)
    if name in DERIVED:
        return _labelled(trace, name)
    _recorded(trace, name)
    return trace[name]


def values_of(trace: xr.Dataset, name: str) -> np.ndarray:
    """The same as a bare array, (..., layer, head, step): many times as fast where there are many Traces."""
    return _values_of(_Rows(trace), name)


def _values_of(rows: _Rows, name: str) -> np.ndarray:
    _check_measure(name)
    if name not in DERIVED:
        return rows.recorded(name)
    of_rows, _, _ = DERIVED[name]
    return of_rows(rows)


def mean_of(trace: xr.Dataset, name: str) -> np.ndarray:
    """A measure's mean over heads and self-attention layers, (step,), of what is known; NaN where nothing is."""
    return means_of(trace, [name])[name]


def means_of(trace: xr.Dataset, names: Iterable[str]) -> dict[str, np.ndarray]:
    """`mean_of` for several measures; what derived ones have in common is made once, of few layers at a time."""
    names, rows, has_tokens = list(names), _Rows(trace), trace.variables["layer_kind"].values != "cross"
    n_at_once = max(1, _NUMBERS_AT_ONCE // max(1, trace.sizes["head"] * trace.sizes["step"]))
    blocks = [slice(first, first + n_at_once) for first in range(0, len(has_tokens), n_at_once)]
    sums, n = ({name: np.zeros(trace.sizes["step"]) for name in names} for _ in range(2))
    for layers, is_derived in ((slice(None), False), *((block, True) for block in blocks)):
        part, counts = rows.of(layers), has_tokens[layers]
        for name in (name for name in names if (name in DERIVED) == is_derived):
            values = _values_of(part, name) if counts.all() else _values_of(part, name)[counts]
            total, n_known = values.sum(axis=(0, 1), dtype=np.float64), values.shape[0] * values.shape[1]
            if np.isnan(total).any():
                known = ~np.isnan(values)
                total = np.where(known, values, 0.0).sum(axis=(0, 1), dtype=np.float64)
                n_known = known.sum(axis=(0, 1))
            sums[name] += total
            n[name] += n_known
    return {name: sums[name] / np.where(n[name] > 0, n[name], np.nan) for name in names}


def _labelled(trace: xr.Dataset, name: str) -> xr.DataArray:
    _, long_name, units = DERIVED[name]
    axes = trace.variables["entropy"].transpose(..., "layer", "head", "step").dims
    values = xr.DataArray(values_of(trace, name), trace["entropy"].coords, axes, name=name)
    return values.assign_attrs(long_name=long_name, units=units)


# ---- the lines of a response


def split_lines(response: str) -> list[tuple[int, int]]:
    """Character spans [start, stop) of the lines that are not blank; of a single line, those of its sentences.

    Spans leave out surrounding white space. An empty response has no lines.
    """
    lines = [match.span() for match in _LINE.finditer(response)]
    return lines if len(lines) != 1 else _sentences(response, *lines[0])


def _sentences(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    spans = []
    for gap in _SENTENCE_GAP.finditer(text, start, stop):
        end = gap.start()
        abbreviated = _ABBREVIATION.search(text, max(start, end - len("approx.")), end)
        if not abbreviated and not _ITEM.fullmatch(text, start, end):
            spans.append((start, end))
            start = gap.end()
    return [*spans, (start, stop)]
