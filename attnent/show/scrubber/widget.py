"""The widget: what it is given, and the state of what is shown."""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import anywidget
import pandas as pd
import traitlets
import xarray as xr

from attnent.runs import Run, RunError
from attnent.show.scrubber.packing import LIMIT_MB, ScrubberError, measures_of, pack, size_mb
from attnent.show.scrubber.page import FOLDER, STATE, coloured_text, page
from attnent.store.files import write_whole
from attnent.trace import CANDIDATES, MEASURES, STEP_NUMBERS

MAPS = ("entropy", "varentropy", "sink_mass", "prompt_mass")

_SPAN = ["response_id", "token_start", "token_stop", "judge", "kind", "explanation"]
_VARIABLES = {*MEASURES, *STEP_NUMBERS, *CANDIDATES, "token", "layer_kind", "n_keys"}

Source = Run | xr.Dataset | Sequence[xr.Dataset] | Mapping[str, xr.Dataset]


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
    shown; "" is all). Raises ScrubberError for what does not exist, and for more than a browser opens in seconds.
    """

    _esm = FOLDER / "scrubber.js"
    _css = FOLDER / "scrubber.css"

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
        traces, examples, n_steps = _shown(traces_or_run)
        megabytes = sum(size_mb(one, n, maps) for one, n in zip(cycle(examples), n_steps.values(), strict=False))
        if megabytes > LIMIT_MB:
            raise ScrubberError(
                f"{len(n_steps)} responses with {len(maps)} measures of every head are {megabytes:,.0f} MB, above the "
                f"{LIMIT_MB} MB that a browser opens in seconds; give fewer responses, or fewer maps"
            )
        if isinstance(traces_or_run, Run):
            grades = _grades_of(traces_or_run) if grades is None else grades
            errors = _labels_of(traces_or_run, "errors", _SPAN) if errors is None else errors
        given, spans = _checked_grades(grades, n_steps), _by_response(errors, n_steps)
        labels = {id_: {"grade": given.get(id_, ""), "errors": spans[id_]} for id_ in n_steps}
        measures = measures_of(examples, maps)
        data, header, means = pack(traces, measures, labels, decode)
        self._coloured_text = coloured_text(header["responses"][0], header["measures"][0], means)
        self._responses = {one["id"]: one for one in header["responses"]}
        self._measures = [one["name"] for one in measures]
        overlay = next((name for name in ("confidence", "token_entropy") if name in self._measures), "")
        super().__init__(data=data, response=next(iter(self._responses)), measure=maps[0], overlay=overlay)

    @classmethod
    def of(cls, run: Run, response_ids: Iterable[str], *, megabytes: float = 32, **settings: Any) -> "Scrubber":
        """A Scrubber of these responses, as many of the first as so many MB hold, but one at least.

        For notebooks that are saved and sent: a response of a large model can take several MB. `settings` are those of
        a Scrubber.
        """
        chosen: dict[str, xr.Dataset] = {}
        for id_ in response_ids:
            trace = run.trace(id_)
            megabytes -= size_mb(trace, trace.sizes["step"], settings.get("maps", MAPS))
            if chosen and megabytes < 0:
                break
            chosen[id_] = trace
        return cls(chosen, **settings)

    def save(self, path: str | Path) -> None:
        """Write one HTML file that scrubs without a kernel and asks the network for nothing."""
        state = {name: getattr(self, name) for name in STATE}
        entry = {"state": state, "buffers": [{"path": ["data"], "data": base64.b64encode(self.data).decode()}]}
        title = "attnent: " + ", ".join(list(self._responses)[:3]) + ("" if len(self._responses) <= 3 else ", ...")
        write_whole(Path(path), page(title, entry, fallback=self._coloured_text))

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        n = len(self._responses)
        text = f"Scrubber of {n} response{'s' * (n != 1)}; open the notebook where widgets can be shown"
        return data | {"text/plain": text, "text/html": self._coloured_text}, metadata

    @traitlets.validate(*STATE)
    def _check(self, proposal: traitlets.Bunch) -> Any:
        name, value = proposal.trait.name, proposal.value
        known = self._known(name)
        if value not in known:
            raise ScrubberError(f"there is no {name} {value!r} to show; choose one of {_listed(map(repr, known))}")
        return value

    def _known(self, name: str) -> Sequence[str] | Sequence[int]:
        """What can be shown: -1 is the mean, "" none or all."""
        if name == "step":
            return range(max(1, self._n_steps))
        if name == "layer":
            return [-1, *self._responses[self.response]["layers"]]
        if name == "head":
            return range(-1, self._responses[self.response]["n_heads"])
        if name == "grade":
            return sorted({"", *(one["grade"] for one in self._responses.values())})
        known = self._measures if name in ("measure", "overlay") else list(self._responses)
        return ["", *known] if name in ("compared", "overlay") else known

    @traitlets.observe("response", "compared")
    def _stay_inside(self, _: Any) -> None:
        """A response that is shorter, or of another shape, cannot be shown where the one before it was."""
        self.step = min(self.step, max(0, self._n_steps - 1))
        if self.layer not in self._known("layer") or self.head not in self._known("head"):
            self.layer = self.head = -1

    @property
    def _n_steps(self) -> int:
        """Steps of the longer of the two responses shown."""
        return max(len(self._responses[id_]["tokens"]) for id_ in (self.response, self.compared or self.response))


def _listed(names: Iterable[Any]) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


# ---- what it is given: traces, grades, error spans


def _shown(source: Source) -> tuple[Iterable[tuple[str, xr.Dataset]], list[xr.Dataset], dict[str, int]]:
    """Traces by their ids, examples that have among them all that any has, and the number of steps of each.

    A Run is read one response at a time: together they may be more than the memory holds.
    """
    if isinstance(source, Run):
        examples = [trace for _, trace in islice(source.traces(), 1)]
        n_steps = source.responses.set_index("response_id")["n_steps"].to_dict() if examples else {}
        traces = ((id_, trace) for id_, trace in source.traces() if id_ in n_steps)  # more may be recorded just now
    else:
        source = [source] if isinstance(source, xr.Dataset) else source
        named = source.items() if isinstance(source, Mapping) else enumerate(source)
        traces = [(str(id_), _whole(str(id_), trace)) for id_, trace in named]
        examples, n_steps = [trace for _, trace in traces], {id_: trace.sizes["step"] for id_, trace in traces}
    if not examples:
        raise ScrubberError("there are no responses to show; give at least one Trace, or a Run that has recorded some")
    return traces, examples, n_steps


def _whole(id_: str, trace: Any) -> xr.Dataset:
    if not isinstance(trace, xr.Dataset):
        kind = type(trace).__name__
        raise ScrubberError(f"a Scrubber shows a Run or Traces, not {kind}; give what `ae.generate` gave")
    if lacking := ", ".join(sorted(_VARIABLES - set(trace.variables))):
        raise ScrubberError(f"response {id_!r} is not a whole Trace, it lacks {lacking}; give Traces")
    return trace


def _labels_of(run: Run, name: str, columns: list[str]) -> pd.DataFrame:
    try:
        return run.labels(name).reindex(columns=columns)
    except RunError:  # nobody has given any
        return pd.DataFrame(columns=columns)


def _grades_of(run: Run) -> dict[str, str]:
    """The grade of each response; where judges disagree, what each of them said."""
    graded = _labels_of(run, "grades", ["response_id", "grade"]).groupby("response_id")["grade"]
    return {str(id_): " / ".join(dict.fromkeys(said)) for id_, said in graded}


def _checked_grades(grades: Mapping[str, str] | pd.Series | None, ids: Iterable[str]) -> dict[str, str]:
    given = {} if grades is None else {str(id_): str(grade) for id_, grade in grades.items()}
    if given and not set(given) & set(ids):
        raise ScrubberError(f"none of the grades is of a response shown; their ids should be {_listed(ids)}")
    return given


def _by_response(errors: pd.DataFrame | None, n_steps: Mapping[str, int]) -> dict[str, list[dict[str, Any]]]:
    """The spans of each response: start, stop, and what is said of it."""
    spans: dict[str, list[dict[str, Any]]] = {id_: [] for id_ in n_steps}
    if errors is None:
        return spans
    if lacking := set(_SPAN[:3]) - set(errors.columns):
        raise ScrubberError(f"the errors lack the column {' and '.join(sorted(lacking))}")
    for id_, start, stop, *said in errors.reindex(columns=_SPAN).dropna(subset=_SPAN[1:3]).itertuples(index=False):
        if (n := n_steps.get(str(id_))) is None:
            continue  # a response that is not shown
        if not 0 <= start < stop <= n:
            raise ScrubberError(f"the error span {start} to {stop} of response {id_!r} lies outside its {n} steps")
        texts = ("" if pd.isna(text) else str(text) for text in said)
        place = {"start": int(start), "stop": int(stop)}
        spans[str(id_)].append(place | dict(zip(_SPAN[3:], texts, strict=True)))
    return spans
