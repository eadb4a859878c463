"""The widget: what it is given, and the state of what is shown."""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import anywidget
import pandas as pd
import traitlets
import xarray as xr

from attnent.runs import Run
from attnent.show.scrubber.packing import LIMIT_MB, ScrubberError, Shown, look_message, measures_of, pack, size_mb
from attnent.show.scrubber.page import STATE, STYLE, coloured_text, page, script
from attnent.show.scrubber.sources import Source, checked_grades, given, listed, spans_by_response
from attnent.store.files import write_whole

_MAPS = ("entropy", "varentropy", "sink_mass", "prompt_mass")


class Scrubber(anywidget.AnyWidget):
    """Scrub through the tokens of responses, live or from a file.

    `source` is a Run, several of them (a sequence, or a mapping of names), one Trace, a sequence of Traces (whose ids
    are then "0", "1", ...) or a mapping of ids to Traces. `grades` maps response ids to grades; `errors` is a table
    with the columns response_id, token_start, token_stop (half-open steps) and, where known, judge, kind and
    explanation. A Run's own labels "grades" and "errors" are taken where these are not given. `maps` names the measures
    sent for every head (None: entropy, varentropy, sink and prompt mass, as far as they were recorded); of all others
    the means over heads and self-attention layers are sent. `decode` gives the text of a
    token id (`tokenizer.decode`); without it, candidates that no response contains are shown by their id.

    `tokens` (`run.tokens`) is of all responses among which those shown are usual or not; a Run brings its own, else
    they are compared with each other. `read` reads one response again where it was recorded without its top keys and
    a reader asks where a head looks: `lambda trace: ae.read_again(model, tokenizer, trace)`.

    What is shown can be read and set: `response` and `compared` (ids; compared "" is none), `step`, `measure`,
    `overlay` (a second curve; "" is none), `layer` and `head` (the head followed; -1 is the mean), `grade` (the grade
    shown; "" is all). Raises ScrubberError for what does not exist, and for more than a browser opens in seconds.
    """

    _esm = script()
    _css = STYLE

    data = traitlets.Bytes().tag(sync=True)
    response = traitlets.Unicode().tag(sync=True)
    compared = traitlets.Unicode("").tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    measure = traitlets.Unicode().tag(sync=True)
    overlay = traitlets.Unicode("").tag(sync=True)
    layer = traitlets.Int(-1).tag(sync=True)
    head = traitlets.Int(-1).tag(sync=True)
    grade = traitlets.Unicode("").tag(sync=True)
    can_read = traitlets.Bool(False).tag(sync=True)
    asked = traitlets.Unicode("").tag(sync=True)  # the response that a reader wants read again
    looks = traitlets.Bytes().tag(sync=True)  # where its heads look
    unread = traitlets.List(["", ""]).tag(sync=True)  # the response that could not be read, and why

    def __init__(
        self,
        source: Source,
        *,
        grades: Mapping[str, object] | pd.Series | None = None,
        errors: pd.DataFrame | None = None,
        maps: Sequence[str] | None = None,
        decode: Callable[[int], str] | None = None,
        tokens: pd.DataFrame | None = None,
        read: Callable[[xr.Dataset], xr.Dataset] | None = None,
    ) -> None:
        known = given(source)
        n_steps = known.n_steps
        maps = _maps(known.examples) if maps is None else maps
        megabytes = sum(size_mb(one, n, maps) for one, n in zip(cycle(known.examples), n_steps.values(), strict=False))
        if megabytes > LIMIT_MB:
            raise ScrubberError(
                f"{len(n_steps)} responses with {len(maps)} measures of every head are {megabytes:,.0f} MB, above the "
                f"{LIMIT_MB} MB that a browser opens in seconds; give fewer responses, or fewer maps"
            )
        groups = known.grades if grades is None else checked_grades(grades, n_steps)
        spans = spans_by_response(known.errors if errors is None else errors, n_steps)
        labels = {id_: {"grade": groups.get(id_, ""), "errors": spans[id_]} for id_ in n_steps}
        measures = measures_of(known.examples, maps)
        shown = Shown(known.traces, labels, groups, known.tokens if tokens is None else tokens)
        data, header, means = pack(shown, measures, decode)
        self._coloured_text = coloured_text(header["responses"][0], header["measures"][0], means)
        self._responses = {one["id"]: one for one in header["responses"]}
        self._measures = [one["name"] for one in measures]
        self._trace, self._read = known.trace, read
        overlay = next((name for name in ("confidence", "token_entropy") if name in self._measures), "")
        first = next(iter(self._responses))
        super().__init__(data=data, response=first, measure=maps[0], overlay=overlay, can_read=read is not None)

    @classmethod
    def of(cls, run: Run, response_ids: Iterable[str], *, megabytes: float = 3, **settings: Any) -> "Scrubber":
        """A Scrubber of these responses of a Run, as many of the first as so many MB hold, but one at least.

        For notebooks that are saved and sent, and pages below 8 MB: a response of a large model can take several. They
        are compared with all responses of the Run. `settings` are those of a Scrubber.
        """
        chosen: dict[str, xr.Dataset] = {}
        for id_ in response_ids:
            trace = run.trace(id_)
            megabytes -= size_mb(trace, trace.sizes["step"], settings.get("maps") or _maps([trace]))
            if chosen and megabytes < 0:
                break
            chosen[id_] = trace
        settings.setdefault("tokens", run.tokens)
        return cls(chosen, **settings)

    @traitlets.observe("asked")
    def _read_again(self, change: traitlets.Bunch) -> None:
        """Read the response that was asked for again, and send where its heads look, or why that is not known."""
        id_ = change.new
        if self._read is None or id_ not in self._responses:
            return
        try:
            self.looks = look_message(id_, self._read(self._trace(id_)), self._responses[id_]["tokens"])
            self.unread = ["", ""]
        except Exception as error:
            self.unread = [id_, f"{type(error).__name__}: {error}"]
            raise
        finally:
            self.asked = ""

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
            raise ScrubberError(f"there is no {name} {value!r} to show; choose one of {listed(map(repr, known))}")
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


def _maps(examples: Sequence[xr.Dataset]) -> list[str]:
    """What is sent for every head where nothing else is asked for."""
    return [name for name in _MAPS if all(name in trace.variables for trace in examples)]
