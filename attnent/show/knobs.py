"""Knobs above a figure: model, measure, groups, layer and head, over what is recorded.

Nothing here runs a model or computes a statistic: a knob asks `analysis` for another table of a Run's files and `plots`
for another figure. Live in JupyterLab; an executed notebook and a report show the figure that was drawn first.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import xarray as xr
from ipywidgets import Dropdown, HBox, Layout, Output, SelectMultiple, ValueWidget, VBox
from plotly.io.base_renderers import PlotlyRenderer

from attnent import analysis
from attnent.analysis.verdicts import LENGTHS
from attnent.runs import Run, RunError
from attnent.show import plots, style
from attnent.store.folders import model_name
from attnent.trace import DERIVED, MEASURES, TraceError, without_cross

GroupsOf = Callable[[Run], pd.Series]  # of a Run: the group of each response, by response_id
_KNOB, _WIDE_KNOB = Layout(width="auto", max_width="24em"), Layout(width="34em")
_ALL = "all"  # of a knob: the mean over all layers or heads


class Knobs(VBox):
    """Knobs above a figure that is drawn anew when one of them is turned; `figure` is the one shown.

    `fill` gives the knobs the choices that a Run and its groups offer; `draw` makes the figure from the Run, its groups
    and the knobs' values by name. What cannot be drawn is said in a sentence where the figure would be.
    """

    def __init__(
        self,
        run: Run,
        groups_of: GroupsOf,
        knobs: Mapping[str, ValueWidget],
        *,
        fill: Callable[[Run, pd.Series, Mapping[str, Any]], None],
        draw: Callable[..., go.Figure],
    ) -> None:
        self.figure = go.Figure()
        self._groups_of, self._fill, self._draw, self._knobs = groups_of, fill, draw, knobs
        self._model = Dropdown(options=runs_beside(run), value=run, description="model", layout=_WIDE_KNOB)
        self._output = Output()
        row = HBox([self._model, *knobs.values()], layout=Layout(flex_flow="row wrap"))
        super().__init__([row, self._output])
        self._choose_run()
        self._model.observe(self._choose_run, "value")
        for knob in knobs.values():
            knob.observe(self._redraw, "value")

    def _choose_run(self, _change: object = None) -> None:
        self._groups: pd.Series | None = None  # until it is known, knobs that are being filled draw nothing
        try:
            groups = self._groups_of(self._model.value)
            if groups.empty:
                raise RunError("none of its responses has one")
            self._fill(self._model.value, groups, self._knobs)
        except (RunError, KeyError) as error:
            self._say(f"this recording has no such groups ({error})")
        else:
            self._groups = groups
            self._redraw()

    def _redraw(self, _change: object = None) -> None:
        if self._groups is None:
            return
        try:
            values = {name: knob.value for name, knob in self._knobs.items()}
            self.figure = self._draw(self._model.value, self._groups, **values)
        except (RunError, TraceError, analysis.StatsError) as error:
            self._say(str(error))
        else:
            self._show(PlotlyRenderer(style.CONFIG).to_mimebundle(self.figure.to_dict()))

    def _say(self, sentence: str) -> None:
        self._show({"text/plain": sentence})

    def _show(self, data: dict[str, Any]) -> None:
        self._output.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The knobs, and beside them what they show for readers that know no widgets."""
        [output] = self._output.outputs
        return super()._repr_mimebundle_(**kwargs) | output["data"]


def curves(run: Run, groups_of: GroupsOf, *, measure: str = "entropy") -> Knobs:
    """The mean of a measure over responses at each step, by group; knobs: model, measure, groups, layer and head.

    `groups_of(run)` maps response_id to a group; it is asked again for each model, a Run of the same task recorded
    beside this one. Means are over all self-attention layers and all heads unless one is chosen.
    """
    knobs = {
        "measure": _measures(measure),
        "shown": SelectMultiple(description="groups", rows=3, layout=_KNOB),
        "layer": Dropdown(description="layer", layout=_KNOB),
        "head": Dropdown(description="head", layout=_KNOB),
    }
    return Knobs(run, groups_of, knobs, fill=_fill_curves, draw=_draw_curves)


def _fill_curves(run: Run, groups: pd.Series, knobs: Mapping[str, Any]) -> None:
    names = sorted(groups.unique())
    knobs["shown"].options, knobs["shown"].value = names, names
    trace = run.trace(run.recorded[0])
    for axis in ("layer", "head"):
        _offer(knobs[axis], [(f"all {axis}s", _ALL), *((f"{axis} {at}", at) for at in trace[axis].values.tolist())])


def _draw_curves(
    run: Run, groups: pd.Series, *, measure: str, shown: tuple[str, ...], layer: int | str, head: int | str
) -> go.Figure:
    places = {"layer": layer, "head": head}
    one = {name: at for name, at in places.items() if at != _ALL}
    tokens = run.tokens
    if one or measure not in tokens:
        tokens = _tokens_of(_stack(run, measure), one)
    chosen = groups[groups.isin(shown)]
    table = analysis.curve(tokens, measure, chosen.astype(pd.CategoricalDtype(sorted(groups.unique()))))
    where = [f"all {name}s" if at == _ALL else f"{name} {at}" for name, at in places.items()]
    return plots.curves(
        {measure: table},
        title=f"{_model(run)}, {', '.join(where)}: mean over responses, pointwise 95 % bands",
        window=analysis.matched_window(_about(run)["n_steps"][chosen.index], chosen) or None,
    )


def head_map(
    run: Run,
    groups_of: GroupsOf,
    a: str,
    b: str,
    *,
    measure: str = "entropy",
    covariates_of: Callable[[Run], pd.DataFrame] | None = None,
) -> Knobs:
    """AUROC of group `a` over `b` at every head over their matched window, raw and under all controls.

    Knobs: model, measure and the two groups. `groups_of` is as for `curves`; `covariates_of(run)` has by response_id
    what is held fixed beside the token baselines (None: lengths). Where responses have a `group`, it is their cluster.
    Heads are marked where p < 0.05 by max-T permutation.
    """
    knobs = {
        "measure": _measures(measure),
        "a": Dropdown(options=[a], value=a, description="group", layout=_KNOB),
        "b": Dropdown(options=[b], value=b, description="against", layout=_KNOB),
    }
    draw = functools.partial(_draw_head_map, covariates_of or (lambda run: _about(run)[[*LENGTHS]]))
    return Knobs(run, groups_of, knobs, fill=_fill_head_map, draw=draw)


def _fill_head_map(run: Run, groups: pd.Series, knobs: Mapping[str, Any]) -> None:
    names = sorted(groups.unique())
    for place, name in enumerate(("a", "b")):
        _offer(knobs[name], [(group, group) for group in names], otherwise=min(place, len(names) - 1))


def _draw_head_map(
    covariates_of: Callable[[Run], pd.DataFrame], run: Run, groups: pd.Series, *, measure: str, a: str, b: str
) -> go.Figure:
    compared = groups[groups.isin([a, b])]
    window = analysis.matched_window(_about(run)["n_steps"][compared.index], compared)
    values = analysis.in_window(_stack(run, measure), window)
    baselines = analysis.response_means(run.tokens, first=window)[[*analysis.BASELINES]]
    held = covariates_of(run).join(baselines, how="inner")
    own = functools.partial(analysis.head_map, values, compared, a, b, clusters=_about(run).get("group"))
    return plots.auroc_maps(
        {measure: {"raw": own(), "all controls": own(covariates=held)}},
        title=f"{_model(run)}: {a} over {b}, head by head, first {window} steps",
    )


# ---- what the knobs offer


def runs_beside(run: Run) -> list[tuple[str, Run]]:
    """The recordings of the same task in the same place, this one first, each under a label of model and parameters."""
    task, folders = run.manifest["identity"]["task"], run.folder.parent.parent.glob("*/*/run.json")
    others = [_opened(path.parent) for path in sorted(folders) if not path.parent.samefile(run.folder)]
    same = [one for one in others if one and one.recorded and one.manifest["identity"]["task"] == task]
    return [(_label(one), one) for one in [run, *same]]


def _opened(folder: Path) -> Run | None:
    try:
        return Run(folder)
    except RunError:  # damaged: it cannot be chosen
        return None


def _label(run: Run) -> str:
    about = run.manifest["identity"]
    how = "read" if "reads" in about else f"temperature {about['temperature']}, seed {about['seed']}"
    return f"{_model(run)}, n = {len(run.recorded)}, {how}, {run.folder.name}"


def _model(run: Run) -> str:
    return model_name(run.manifest["identity"]["model"])


def _measures(chosen: str) -> Dropdown:
    options = [(style.axis_title(name), name) for name in (*MEASURES, *DERIVED)]
    return Dropdown(options=options, value=chosen, description="measure", layout=_KNOB)


def _offer(knob: Dropdown, options: list[tuple[str, Any]], *, otherwise: int = 0) -> None:
    """Other options; what was chosen stays chosen where it is still among them."""
    before = knob.value
    knob.options = options
    knob.value = before if any(value == before for _, value in options) else options[otherwise][1]


# ---- values


@functools.lru_cache(maxsize=2)
def _stack(run: Run, measure: str) -> xr.DataArray:
    """(response, layer, head, step) without cross-attention layers; the last two are kept."""
    return without_cross(run.stack(measure))


def _tokens_of(values: xr.DataArray, one: Mapping[str, Any]) -> pd.DataFrame:
    """A row a token, as `Run.tokens` has, of `one` layer or head and the mean over what it does not name."""
    means = values.sel(one).mean([name for name in ("layer", "head") if name not in one])
    series = means.transpose("response", "step").to_series().dropna()
    return series.rename(values.name).rename_axis(["response_id", "step"]).reset_index()


def _about(run: Run) -> pd.DataFrame:
    return run.responses.set_index("response_id")
