"""Maps of layers by heads. Labelled data in, plotly Figure out."""

from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from attnent.analysis.heads import stands_out
from attnent.show import style

_REACH = 0.25  # of AUROC, from 0.5 to the ends of its scale: maps of noise stay pale
_ENDS = {"tickvals": [0.25, 0.4, 0.5, 0.6, 0.75], "ticktext": ["≤ 0.25", "0.4", "0.5", "0.6", "≥ 0.75"]}
_LINE = 16  # pixels of a line above a panel
_CELL, _LOWEST, _HIGHEST = 20, 180, 560  # pixels of a layer, and of a panel


class Panel(NamedTuple):
    """One map: its title, (layer, head) values, and where they stand out."""

    title: str  # in lines
    values: xr.DataArray
    marked: xr.DataArray | None = None


def auroc_maps(maps: Mapping[str, Mapping[str, xr.Dataset]], *, title: str) -> go.Figure:
    """Layer x head maps of `analysis.head_map`, a row a measure and a column a stage ("raw", "lengths fixed" ...).

    All have one scale, the same on every figure: 0.5 is white, and colours are full at 0.25 and 0.75. A head that
    stands out beyond chance has a triangle that points up where its value is above 0.5, and down where it is below; the
    title of a panel counts these heads. A missing value has a cross.
    """
    stages = list(dict.fromkeys(stage for by_stage in maps.values() for stage in by_stage))
    panels = {
        (row, stages.index(stage)): Panel(_counting(measure, stage, found), found.auroc, stands_out(found))
        for row, (measure, by_stage) in enumerate(maps.items())
        for stage, found in by_stage.items()
    }
    scale = {"colorscale": "RdBu_r", "cmin": 0.5 - _REACH, "cmid": 0.5, "cmax": 0.5 + _REACH, "colorbar": _ENDS}
    return _head_maps(panels, title=title, scale=scale, scale_title="AUROC")


def _counting(measure: str, stage: str, found: xr.Dataset) -> str:
    name = style.axis_title(measure).partition(" (")[0]
    n_heads = f"{int(stands_out(found).sum())} of {int(found.p_max_t.count())} heads beyond chance"
    return f"{name}, {stage}\n{n_heads}{style.counted(found.auroc.attrs)}"


def level_maps(maps: Mapping[str, xr.DataArray], measure: str, *, title: str) -> go.Figure:
    """Layer x head maps of one measure, a panel a group, on one scale from 0 to the largest value on any map.

    Lightness rises with the value.
    """
    named = {f"{group}{style.counted(values.attrs)}": values for group, values in maps.items()}
    panels = {(0, col): Panel(*panel) for col, panel in enumerate(named.items())}
    largest = max((float(values.max()) for values in maps.values()), default=1.0)
    scale = {"colorscale": "Cividis", "cmin": 0.0, "cmax": largest}
    return _head_maps(panels, title=title, scale=scale, scale_title=style.axis_title(measure))


def _head_maps(
    panels: Mapping[tuple[int, int], Panel], *, title: str, scale: Mapping[str, Any], scale_title: str
) -> go.Figure:
    if all(panel.values.isnull().all() for panel in panels.values()):
        return style.too_few(title)
    n_rows, n_cols = (1 + max(place) for place in zip(*panels, strict=True))
    n_layers, n_heads = (max(panel.values.sizes[of] for panel in panels.values()) for of in ("layer", "head"))
    names = {at: style.wrapped(panel.title, 112 // n_cols) for at, panel in panels.items()}
    above = _LINE * max(name.count("<br>") for name in names.values())
    each, gap = int(np.clip(_CELL * n_layers, _LOWEST, _HIGHEST)), above + 4 * _LINE
    inside = n_rows * each + (n_rows - 1) * gap
    figure = make_subplots(
        rows=n_rows,
        cols=n_cols,
        subplot_titles=[names.get(at, "") for at in product(range(n_rows), range(n_cols))],
        shared_yaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=gap / inside,
    )
    for (row, col), panel in panels.items():
        _add_map(figure, panel, row + 1, col + 1, mark=float(np.clip(560 / (n_cols * n_heads), 5, 10)))
    for update, n in ((figure.update_xaxes, n_heads), (figure.update_yaxes, n_layers)):
        update(type="category", range=[-0.5, n - 0.5], dtick=max(1, n // 8), showgrid=False, mirror=True)
    figure.update_xaxes(title_text="head", row=n_rows).update_yaxes(title_text="layer", col=1)
    bar = {"title": {"text": scale_title, "side": "right"}, "thickness": 16}
    figure.update_layout(coloraxis={**scale, "colorbar": bar | scale.get("colorbar", {})}, meta={"opens": "head"})
    figure.update_annotations(font_size=13)
    return style.titled(figure, title, inside=inside, above=above - _LINE)


def _add_map(figure: go.Figure, panel: Panel, row: int, col: int, *, mark: float) -> None:
    values = panel.values.transpose("layer", "head")
    heads, layers = values["head"].to_numpy(), values["layer"].to_numpy()
    name = style.shown(panel.title.splitlines()[0])
    said = f"{name}<br>layer %{{y}}, head %{{x}}: %{{z:.3f}}<extra></extra>"
    heat = go.Heatmap(x=heads, y=layers, z=values.to_numpy(), coloraxis="coloraxis", name=name, hovertemplate=said)
    figure.add_trace(heat, row, col)
    marks = {"x-thin": (values.isnull(), "missing", style.NEUTRAL)}
    if panel.marked is not None:  # dark lines are seen on light cells, the white within on dark ones
        marks["triangle-up"] = panel.marked & (values > 0.5), "beyond chance, above 0.5", "#222"
        marks["triangle-down"] = panel.marked & (values < 0.5), "beyond chance, below 0.5", "#222"
    for symbol, (where, meaning, line) in marks.items():
        at_layer, at_head = np.nonzero(where.transpose("layer", "head").to_numpy())
        if at_layer.size:
            marker = {"symbol": symbol, "color": "white", "size": mark, "line": {"color": line, "width": 1.5}}
            marked = go.Scatter(x=heads[at_head], y=layers[at_layer], mode="markers", marker=marker, hoverinfo="skip")
            figure.add_trace(marked.update(name=f"{name}: {meaning}", showlegend=False), row, col)
