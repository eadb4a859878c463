"""The Scrubber: token-level measures of responses, to be scrubbed by eye; live in Jupyter, and alone in a file.

The same JavaScript serves three lives: a notebook with a kernel, an executed notebook opened afresh, and a static page.
All data goes to the browser once, as bytes (`_pack`). Numbers of single heads are rounded to one of 255 levels between
the smallest and the largest value that this head takes in this response, so that they are wrong by at most 1/508 of
that range; means over heads and the token's own numbers are exact float32. What is missing or not finite has a code of
its own and is shown as missing. Text is data everywhere and never markup.
"""

import base64
import html
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import anywidget
import numpy as np
import pandas as pd
import traitlets
import xarray as xr
from nbformat import NotebookNode
from plotly.colors import hex_to_rgb, sequential

from attnent.runs import Run, RunError
from attnent.trace import CANDIDATES, DERIVED, MEASURES, STEP_NUMBERS, measure

LIMIT_MB = 128  # what a browser still opens in seconds
MAPS = ("entropy", "varentropy", "sink_mass", "prompt_mass")
LEVELS = 255  # the codes 0 to 254; 255 is what is missing
_MISSING = 255
_NOT_MEASURES = ("step", "token_id", "char_start", "char_end")
_TOKEN_TITLES = {
    "logprob": "log-probability of the token",
    "token_entropy": "token entropy",
    "token_varentropy": "token varentropy",
}
_FOLDER = Path(__file__).parent
_WIDGETS = "application/vnd.jupyter.widget-state+json"
_SHOWN_TOKENS = 400  # how many tokens the coloured text shows where no script may run

Source = Run | xr.Dataset | Sequence[xr.Dataset] | Mapping[str, xr.Dataset]


class ScrubberError(traitlets.TraitError):
    """The Scrubber cannot show what was asked; the message says what to do."""


class Scrubber(anywidget.AnyWidget):
    """Scrub through the tokens of responses, live or from a file.

    `traces_or_run` is a Run, one Trace, a sequence of Traces (whose ids are then "0", "1", ...) or a mapping of ids to
    Traces. `grades` maps response ids to grades; `errors` is a table with the columns response_id, token_start,
    token_stop (half-open steps) and, where known, judge, kind and explanation. A Run's own labels "grades" and
    "errors" are taken where these are not given. `maps` names the measures sent for every head; of all others the
    means over heads and self-attention layers are sent. `decode` gives the text of a token id (`tokenizer.decode`);
    without it, candidates that no response contains are shown by their id.

    What is shown can be read and set: `response` and `compared` (ids; compared "" is none), `step`, `measure`,
    `overlay` (a second curve; "" is none), `layer` and `head` (the head followed; -1 is the mean), `grade` (the grade
    shown; "" is all). Raises ScrubberError for what does not exist.
    """

    _esm = _FOLDER / "scrubber.js"
    _css = _FOLDER / "scrubber.css"

    data = traitlets.Bytes().tag(sync=True)
    response = traitlets.Unicode().tag(sync=True)
    compared = traitlets.Unicode("").tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    measure = traitlets.Unicode().tag(sync=True)
    overlay = traitlets.Unicode("").tag(sync=True)
    layer = traitlets.Int(-1).tag(sync=True)
    head = traitlets.Int(-1).tag(sync=True)
    grade = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        traces_or_run: Source,
        *,
        grades: Mapping[str, str] | pd.Series | None = None,
        errors: pd.DataFrame | None = None,
        maps: Sequence[str] = MAPS,
        decode: Callable[[int], str] | None = None,
    ) -> None:
        traces = _traces(traces_or_run)
        if isinstance(traces_or_run, Run):
            grades = _grades_of(traces_or_run) if grades is None else grades
            errors = _errors_of(traces_or_run) if errors is None else errors
        packed = _pack(traces, _checked_grades(grades, traces), _by_response(errors, traces), tuple(maps), decode)
        self._header = packed.header
        self._coloured_text = packed.coloured_text
        self._responses = {one["id"]: one for one in packed.header["responses"]}
        first = packed.header["responses"][0]["id"]
        super().__init__(data=packed.data, response=first, measure=maps[0], overlay=_overlay(packed.header))

    @classmethod
    def of(
        cls,
        run: Run,
        response_ids: Iterable[str],
        *,
        megabytes: float = 32,
        maps: Sequence[str] = MAPS,
        **settings: Any,
    ) -> "Scrubber":
        """A Scrubber of these responses, as many of the first as so many MB hold, but one at least.

        For notebooks that are saved and sent: a response of a large model can take several MB. `settings` are those of
        a Scrubber.
        """
        chosen: dict[str, xr.Dataset] = {}
        left = megabytes
        for id_ in response_ids:
            trace = run.trace(id_)
            left -= _megabytes([trace], maps)
            if chosen and left < 0:
                break
            chosen[id_] = trace
        return cls(chosen, maps=maps, **settings)

    def save(self, path: str | Path) -> None:
        """Write one HTML file that scrubs without a kernel and asks the network for nothing."""
        shown = {name: getattr(self, name) for name in _STATE}
        entry = {"state": shown, "buffers": [{"path": ["data"], "data": base64.b64encode(self.data).decode()}]}
        title = "attnent: " + ", ".join(list(self._responses)[:3]) + ("" if len(self._responses) <= 3 else ", ...")
        nonce = secrets.token_hex(16)
        body, scripts = element(entry, fallback=self._coloured_text), page_scripts(nonce=nonce)
        page = _PAGE.format(nonce=nonce, title=html.escape(title), body=body, scripts=scripts)
        whole, temporary = Path(path), Path(path).with_suffix(".tmp")
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(whole)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        n = len(self._responses)
        text = f"Scrubber of {n} response{'s' * (n != 1)}; open the notebook where widgets can be shown"
        return data | {"text/plain": text, "text/html": self._coloured_text}, metadata

    @traitlets.validate("response", "compared")
    def _check_response(self, proposal: traitlets.Bunch) -> str:
        name, value = proposal.trait.name, proposal.value
        if value in self._responses or (name == "compared" and not value):
            return value
        raise ScrubberError(f"there is no response {value!r} to show; choose one of {_listed(self._responses)}")

    @traitlets.validate("measure", "overlay")
    def _check_measure(self, proposal: traitlets.Bunch) -> str:
        name, value = proposal.trait.name, proposal.value
        known = [one["name"] for one in self._header["measures"]]
        if value in known or (name == "overlay" and not value):
            return value
        raise ScrubberError(f"there is no measure {value!r} to show; choose one of {', '.join(known)}")

    @traitlets.validate("step")
    def _check_step(self, proposal: traitlets.Bunch) -> int:
        if 0 <= proposal.value < max(1, self._n_steps):
            return proposal.value
        raise ScrubberError(
            f"what is shown has {self._n_steps} steps, so there is no step {proposal.value}; they count from 0"
        )

    @traitlets.validate("layer", "head")
    def _check_place(self, proposal: traitlets.Bunch) -> int:
        axis, value = proposal.trait.name, proposal.value
        known = self._places(axis)
        if value == -1 or value in known:
            return value
        raise ScrubberError(
            f"response {self.response!r} has no {axis} {value}; choose one of {_listed(known)}, or -1 for the mean"
        )

    @traitlets.validate("grade")
    def _check_grade(self, proposal: traitlets.Bunch) -> str:
        known = {one["grade"] for one in self._responses.values()}
        if proposal.value in known | {""}:
            return proposal.value
        raise ScrubberError(f"no response has the grade {proposal.value!r}; choose one of {_listed(sorted(known))}")

    @traitlets.observe("response", "compared")
    def _stay_inside(self, _: Any) -> None:
        """A response that is shorter, or of another shape, cannot be shown where the one before it was."""
        self.step = min(self.step, max(0, self._n_steps - 1))
        if self.layer not in {-1, *self._places("layer")} or self.head not in {-1, *self._places("head")}:
            self.layer = self.head = -1

    @property
    def _n_steps(self) -> int:
        """Steps of the longer of the two responses shown."""
        return max(len(self._responses[id_]["tokens"]) for id_ in (self.response, self.compared or self.response))

    def _places(self, axis: str) -> list[int]:
        one = self._responses[self.response]
        return one["layers"] if axis == "layer" else list(range(one["n_heads"]))


_STATE = ("response", "compared", "step", "measure", "overlay", "layer", "head", "grade")


def _listed(names: Any) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _overlay(header: Mapping[str, Any]) -> str:
    names = [one["name"] for one in header["measures"]]
    return next((name for name in ("confidence", "token_entropy") if name in names), "")


# ---- what is shown: traces, grades, error spans


def _traces(source: Source) -> dict[str, xr.Dataset]:
    if isinstance(source, Run):
        traces = dict(source.traces())
    elif isinstance(source, xr.Dataset):
        traces = {"0": source}
    elif isinstance(source, Mapping):
        traces = {str(id_): trace for id_, trace in source.items()}
    else:
        several = source if isinstance(source, Sequence) else [source]
        traces = {str(place): trace for place, trace in enumerate(several)}
    strangers = sorted({type(trace).__name__ for trace in traces.values() if not isinstance(trace, xr.Dataset)})
    if strangers:
        raise ScrubberError(f"a Scrubber shows a Run or Traces, not {_listed(strangers)}; give what `ae.generate` gave")
    if not traces:
        raise ScrubberError("there are no responses to show; give at least one Trace, or a Run that has recorded some")
    for id_, trace in traces.items():
        lacking = {*MEASURES, *STEP_NUMBERS, *CANDIDATES, "token", "layer_kind", "n_keys"} - set(trace.variables)
        if lacking:
            raise ScrubberError(
                f"response {id_!r} is not a whole Trace, it lacks {_listed(sorted(lacking))}; give Traces"
            )
    return traces


def _grades_of(run: Run) -> dict[str, str]:
    """The grade of each response; where judges disagree, what each of them said."""
    try:
        labels = run.labels("grades")
    except RunError:  # nothing was graded
        return {}
    return labels.groupby("response_id")["grade"].agg(lambda said: " / ".join(dict.fromkeys(said))).to_dict()


def _errors_of(run: Run) -> pd.DataFrame | None:
    try:
        labels = run.labels("errors")
    except RunError:  # no critic has looked
        return None
    return labels if "token_start" in labels else None  # none has found anything


def _checked_grades(grades: Mapping[str, str] | pd.Series | None, traces: Mapping[str, Any]) -> dict[str, str]:
    given = {} if grades is None else {str(id_): str(grade) for id_, grade in grades.items()}
    if given and not set(given) & set(traces):
        raise ScrubberError(f"none of the grades is of a response shown; their ids should be {_listed(traces)}")
    return given


def _by_response(errors: pd.DataFrame | None, traces: Mapping[str, xr.Dataset]) -> dict[str, list[dict[str, Any]]]:
    spans: dict[str, list[dict[str, Any]]] = {id_: [] for id_ in traces}
    if errors is None:
        return spans
    lacking = {"response_id", "token_start", "token_stop"} - set(errors.columns)
    if lacking:
        raise ScrubberError(f"the errors lack the column {' and '.join(sorted(lacking))}")
    for row in errors.dropna(subset=["token_start", "token_stop"]).to_dict(orient="records"):
        id_ = str(row["response_id"])
        if id_ not in spans:
            continue
        start, stop = int(row["token_start"]), int(row["token_stop"])
        n_steps = traces[id_].sizes["step"]
        if not 0 <= start < stop <= n_steps:
            raise ScrubberError(
                f"the error span {start} to {stop} of response {id_!r} lies outside its {n_steps} steps"
            )
        said = {name: _text(row.get(name)) for name in ("judge", "kind", "explanation")}
        spans[id_].append({"start": start, "stop": stop} | said)
    return spans


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


# ---- what is sent: a header (JSON), 4-byte numbers, 1-byte levels


class _Packed(NamedTuple):
    data: bytes
    header: dict[str, Any]
    coloured_text: str


class Levels(NamedTuple):
    """Rounded numbers of heads: `code` (step, layer, head) uint8, 255 where missing; `low` and `high` (layer, head)."""

    code: np.ndarray
    low: np.ndarray
    high: np.ndarray


def to_levels(values: np.ndarray) -> Levels:
    """Round (layer, head, step) numbers to 255 levels between each head's smallest and largest; NaN keeps a code."""
    known = np.isfinite(values)
    low = np.where(known, values, np.inf).min(axis=-1, initial=np.inf)
    high = np.where(known, values, -np.inf).max(axis=-1, initial=-np.inf)
    low, high = (np.where(known.any(axis=-1), end, 0.0).astype(np.float32) for end in (low, high))
    width = np.where(high > low, high - low, 1.0).astype(np.float64)
    code = np.rint((np.where(known, values, 0.0) - low[..., None]) / width[..., None] * (LEVELS - 1))
    code = np.where(known, np.clip(code, 0, LEVELS - 1), _MISSING).astype(np.uint8)
    return Levels(np.ascontiguousarray(code.transpose(2, 0, 1)), low, high)


@dataclass
class _Block:
    """Arrays of one kind, one after the other; `add` gives the place where an array begins, in items."""

    dtype: type
    arrays: list[np.ndarray] = field(default_factory=list)
    size: int = 0

    def add(self, array: np.ndarray) -> int:
        place = self.size
        self.arrays.append(np.ascontiguousarray(array, self.dtype).ravel())
        self.size += array.size
        return place

    def bytes(self) -> bytes:
        return b"".join(array.tobytes() for array in self.arrays)


def _pack(
    traces: Mapping[str, xr.Dataset],
    grades: Mapping[str, str],
    errors: Mapping[str, list[dict[str, Any]]],
    maps: tuple[str, ...],
    decode: Callable[[int], str] | None,
) -> _Packed:
    measures = _measures(traces, maps)
    _check_size(traces, maps)
    words, levels, samples = _Block(np.float32), _Block(np.uint8), {name: ([], []) for name in measures}
    responses = []
    for id_, trace in traces.items():
        numbers = _numbers(trace, measures, maps, samples)
        responses.append(
            {
                "id": id_,
                "grade": grades.get(id_, ""),
                "errors": errors[id_],
                "layers": [int(layer) for layer in trace["layer"].values],
                "kinds": [str(kind) for kind in trace["layer_kind"].values],
                "n_heads": trace.sizes["head"],
                "n_ranks": trace.sizes["rank"],
                "tokens": [str(token) for token in trace["token"].values],
                "groups": _groups(trace),
                "special": np.flatnonzero(trace["char_start"].values == trace["char_end"].values).tolist(),
                "words": words.add(numbers.words),
                "levels": levels.add(numbers.levels),
            }
            | {name: _text(trace.attrs.get(name)) for name in ("prompt", "model", "finish_reason")}
        )
    about = [_about(name, traces) | _limits(*samples[name]) | {"map": name in maps} for name in measures]
    header = {
        "measures": about,
        "responses": responses,
        "texts": _texts(traces, decode),
        "colours": _COLOURS,
        "n_words": words.size,
    }
    text = json.dumps(header, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    data = len(text).to_bytes(4, "little") + text + words.bytes() + levels.bytes()
    return _Packed(data, header, _coloured_text(responses[0], about[0], words.arrays[0]))


class _Numbers(NamedTuple):
    """One response: `words` (means, masses, candidates, ranges of heads) and `levels`, each in one row."""

    words: np.ndarray
    levels: np.ndarray


def _numbers(trace: xr.Dataset, measures: list[str], maps: tuple[str, ...], samples: dict[str, Any]) -> _Numbers:
    """The numbers of one response, in the order in which scrubber.js reads them; a part of them goes to `samples`."""
    means, ranges, codes = [], [], []
    for name in measures:
        of_steps, of_heads = samples[name]
        values = _values(trace, name)
        rows = values if values.ndim == 1 else _mean(values[trace["layer_kind"].values != "cross"])
        of_steps.append(rows)
        means.append(rows)
        if name in maps:
            of_heads.append(_sample(values))
            rounded = to_levels(values)
            ranges += [rounded.low.ravel(), rounded.high.ravel()]
            codes.append(rounded.code.ravel())
    tokens = [trace[name].values.ravel() for name in ("token_id", "candidate_id", "candidate_probability")]
    words = np.concatenate([*means, *_masses(trace), *tokens, *ranges]).astype(np.float32)  # ids: exact to 2**24
    words[~np.isfinite(words)] = np.nan
    return _Numbers(words, np.concatenate(codes))


def _sample(values: np.ndarray, n: int = 10_000) -> np.ndarray:
    """All of the values where they are few, else `n` drawn at random, the same each time."""
    if values.size <= n:
        return values.ravel()
    return values.ravel()[np.random.default_rng(0).integers(values.size, size=n)]


def _measures(traces: Mapping[str, xr.Dataset], maps: tuple[str, ...]) -> list[str]:
    """What can be chosen: the measures sent for every head, the other measures of attention, what a token has."""
    known = [*MEASURES, *DERIVED]
    if not maps or set(maps) - set(known):
        unknown = ", ".join(repr(name) for name in maps if name not in known) or "no measure"
        raise ScrubberError(f"{unknown} cannot be sent for every head; choose maps from {', '.join(known)}")
    of_tokens = dict.fromkeys(
        str(name)
        for trace in traces.values()
        for name, values in trace.variables.items()
        if values.dims == ("step",) and values.dtype.kind in "fiub" and name not in _NOT_MEASURES
    )
    return list(dict.fromkeys([*maps, *known, *of_tokens]))


def _check_size(traces: Mapping[str, xr.Dataset], maps: tuple[str, ...]) -> None:
    megabytes = _megabytes(traces.values(), maps)
    if megabytes > LIMIT_MB:
        raise ScrubberError(
            f"{len(traces)} responses with {len(maps)} measures of every head are {megabytes:,.0f} MB, above the "
            f"{LIMIT_MB} MB that a browser opens in seconds; give fewer responses, or fewer maps"
        )


def _megabytes(traces: Iterable[xr.Dataset], maps: Sequence[str]) -> float:
    """What the levels of every head take, a byte each."""
    return sum(trace.sizes["step"] * trace.sizes["layer"] * trace.sizes["head"] for trace in traces) * len(maps) / 2**20


def _values(trace: xr.Dataset, name: str) -> np.ndarray:
    """A measure of every head, (layer, head, step), or a number of every token, (step,); NaN where there is none."""
    if name in MEASURES or name in DERIVED:
        return measure(trace, name).transpose("layer", "head", "step").values
    if name in trace.variables:
        return trace[name].values.astype(np.float64)
    return np.full(trace.sizes["step"], np.nan)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean of what is known over layers and heads, (step,); NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=(0, 1))
    total = np.where(known, values, 0.0).sum(axis=(0, 1), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _masses(trace: xr.Dataset) -> list[np.ndarray]:
    """Mean weight on the sink, on the rest of the prompt and on generated text, (step,) each; together 1."""
    own = trace["layer_kind"].values != "cross"
    sink, prompt = (_values(trace, name)[own].astype(np.float64) for name in ("sink_mass", "prompt_mass"))
    return [_mean(part) for part in (sink, np.maximum(prompt - sink, 0), np.maximum(1 - np.maximum(sink, prompt), 0))]


def _groups(trace: xr.Dataset) -> list[list[int]]:
    """[start, stop) of consecutive steps whose tokens are parts of one character."""
    starts, ends = trace["char_start"].values, trace["char_end"].values
    same = (starts[1:] == starts[:-1]) & (ends[1:] == ends[:-1]) & (ends[1:] > starts[1:])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(int)))
    return [[int(first), int(last) + 1] for first, last in edges.reshape(-1, 2)]


def _texts(traces: Mapping[str, xr.Dataset], decode: Callable[[int], str] | None) -> dict[int, str]:
    """The text of each candidate's id: decoded, or else as some response holds it."""
    if decode is not None:
        ids = np.unique(np.concatenate([trace["candidate_id"].values.ravel() for trace in traces.values()]))
        return {int(id_): str(decode(int(id_))) for id_ in ids}
    texts: dict[int, str] = {}
    for trace in traces.values():
        parts = {step for first, stop in _groups(trace) for step in range(first, stop)}
        tokens = zip(trace["token_id"].values, trace["token"].values, strict=True)
        texts |= {int(id_): str(token) for step, (id_, token) in enumerate(tokens) if step not in parts}
    return texts


def _about(name: str, traces: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    if name in MEASURES:
        title, unit = MEASURES[name]
    elif name in DERIVED:
        _, title, unit = DERIVED[name]
    else:
        attrs = next(trace[name].attrs for trace in traces.values() if name in trace.variables)
        title = attrs.get("long_name") or _TOKEN_TITLES.get(name) or name.replace("_", " ")
        unit = attrs.get("units", "1")
    unit = "" if unit == "1" else str(unit).replace("^2", "²")
    return {"name": name, "title": str(title), "unit": unit, "of_tokens": name not in {*MEASURES, *DERIVED}}


def _limits(of_steps: list[np.ndarray], of_heads: list[np.ndarray]) -> dict[str, Any]:
    """Where colours begin and end, the same for all responses; a hundredth of the heads may lie beyond either end."""
    return {"limits": _ends(of_steps, 0.0), "map_limits": _ends(of_heads, 0.01)}


def _ends(values: list[np.ndarray], beyond: float) -> list[float] | None:
    known = np.concatenate(values) if values else np.empty(0)
    known = known[np.isfinite(known)].astype(np.float64)
    return np.quantile(known, [beyond, 1 - beyond]).tolist() if known.size else None


# ---- where there is no kernel, and where there are no scripts

_COLOURS = [hex_to_rgb(colour) for colour in sequential.Cividis]
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'nonce-{nonce}'; \
style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>:root {{ color-scheme: light dark; }}
body {{ margin: 1rem auto; padding: 0 1rem; max-width: 1200px; }}</style></head>
<body>{body}
{scripts}</body></html>
"""


def page_scripts(*, nonce: str = "") -> str:
    """The stylesheet and the module, once for a page: it brings every `element` before and after it to life.

    `nonce` is that of the page's own policy, where it has one.
    """
    script = (_FOLDER / "scrubber.js").read_text(encoding="utf-8") + "\nmountAll(document);\n"
    style = (_FOLDER / "scrubber.css").read_text(encoding="utf-8")
    mark = f' nonce="{html.escape(nonce)}"' if nonce else ""
    return f'<style>{style}</style>\n<script type="module"{mark}>\n{script}</script>\n'


def element(entry: Mapping[str, Any], *, fallback: str = "") -> str:
    """The HTML of one Scrubber for a static page, from its entry in a notebook's widget state.

    `fallback` is HTML shown until the module of `page_scripts` runs, and where no script may.
    """
    state = {name: entry["state"][name] for name in _STATE}
    buffer = next(buffer["data"] for buffer in entry["buffers"] if buffer["path"] == ["data"])
    data = base64.b64encode(base64.b64decode(buffer, validate=True)).decode()
    text = json.dumps(state).replace("<", "\\u003c")
    return (
        f'<div class="attnent-scrubber">{fallback}<script type="application/json">{text}</script>'
        f'<script type="text/plain">{data}</script></div>'
    )


def saved_elements(node: NotebookNode) -> dict[str, str]:
    """The `element` of every Scrubber that an executed notebook has kept, by the model id that its outputs name."""
    kept = node.metadata.get("widgets", {}).get(_WIDGETS, {}).get("state", {})
    return {
        model_id: element(entry)
        for model_id, entry in kept.items()
        if entry["state"].get("_anywidget_id") == f"{__name__}.Scrubber"
    }


def _coloured_text(response: Mapping[str, Any], about: Mapping[str, Any], values: np.ndarray) -> str:
    """The first response with its tokens coloured by the first measure: all that plain HTML can show."""
    low, high = about["limits"] or (0.0, 0.0)
    spans = []
    for token, value in zip(response["tokens"][:_SHOWN_TOKENS], values.tolist(), strict=False):
        style = "" if np.isnan(value) else _style((value - low) / (high - low) if high > low else 0.0)
        spans.append(f'<span style="{style}">{html.escape(token)}</span>')
    more = " ..." if len(response["tokens"]) > _SHOWN_TOKENS else ""
    unit = f" {about['unit']}" if about["unit"] else ""
    legend = f"{html.escape(about['title'])}, mean over heads: dark {low:.3g}, bright {high:.3g}{unit}"
    return (
        f"<div><p>Response {html.escape(response['id'])}. {legend}.</p>"
        f'<p style="white-space: pre-wrap">{"".join(spans)}{more}</p></div>'
    )


def _style(share: float) -> str:
    place = min(max(share, 0.0), 1.0) * (len(_COLOURS) - 1)
    below = min(int(place), len(_COLOURS) - 2)
    pair = zip(_COLOURS[below], _COLOURS[below + 1], strict=True)
    colour = tuple(round(a + (b - a) * (place - below)) for a, b in pair)
    return f"background-color: #{bytes(colour).hex()}; color: {_ink(colour)}"


def _ink(colour: tuple[int, ...]) -> str:
    """Black or white, whichever stands out more from a colour (WCAG 2 relative luminance): at least 4.5 to 1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"
