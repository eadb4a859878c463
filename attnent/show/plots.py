"""Figures: labelled data in, plotly Figure out. Nothing here computes a statistic.

Groups differ in colour (Okabe & Ito, safe for colour-blind readers), in dash and in mark, and the lightness of maps
rises with the value, so that a figure can be read in greyscale too. Units stand on every axis. Text that a model or a
user wrote is shown as it is: plotly would take <b> in it for markup.
"""

import textwrap
from collections.abc import Hashable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from attnent.analysis.heads import stands_out
from attnent.trace import measure as values_of
from attnent.trace import title_and_unit, without_cross

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "diamond", "square", "x", "triangle-up", "cross")
NEUTRAL = "#767676"  # seen on white as on black
_AXIS = {"showline": True, "linecolor": "#888", "ticks": "outside", "gridcolor": "#eee", "zeroline": False}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 13, "color": "#222"},
        "title": {"x": 0.01, "xanchor": "left", "y": 1, "yanchor": "top", "yref": "container", "pad": {"t": 12}}
        | {"font": {"size": 16}},
        "plot_bgcolor": "white",
        "paper_bgcolor": "white",
        "colorway": list(COLOURS),
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#999", "activecolor": "#555"},
        "margin": {"l": 70, "r": 30, "t": 84, "b": 60},
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)
_MOST_MARKS = 12  # on a line, which its dash and its marks tell from others
_TITLE_WIDTH, _TITLE_LENGTH = 96, 240  # characters
_TICKS, _TICK_LENGTH = 80, 14  # most token labels on an axis, and the characters of each


def axis_title(measure: str) -> str:
    """The name of a measure with its unit, as it stands on an axis."""
    name, unit = title_and_unit(measure)
    return name if unit == "1" else f"{name} ({unit.replace('^2', '²')})"


def _shown(text: str) -> str:
    """Text as it is, where plotly would read markup."""
    return escape(text, quote=False)


def _title(text: str) -> str:
    text = textwrap.shorten(text, _TITLE_LENGTH, placeholder=" …") if len(text) > _TITLE_LENGTH else text
    return "<br>".join(_shown(line) for line in textwrap.wrap(text, _TITLE_WIDTH))


def _titled(figure: go.Figure, title: str, *, height: int, margin: Mapping[str, int] | None = None) -> go.Figure:
    """The figure under the common template, with room above for its title and its legend."""
    shown = _title(title)
    above = {"t": TEMPLATE.layout.margin.t + 20 * shown.count("<br>")}
    return figure.update_layout(template=TEMPLATE, title_text=shown, height=height, margin=above | dict(margin or {}))


def _in_order(groups: Iterable[Hashable]) -> dict[str, dict[str, str]]:
    """The colour, dash and symbol of each group, by its place."""
    return {
        str(group): {
            "colour": COLOURS[place % len(COLOURS)],
            "dash": DASHES[place % len(DASHES)],
            "symbol": SYMBOLS[place % len(SYMBOLS)],
        }
        for place, group in enumerate(groups)
    }


def _groups(tables: Iterable[pd.DataFrame]) -> list[Hashable]:
    """All groups, in the order of their categories where they have one, so that a group keeps its line everywhere."""
    columns = [table["group"] for table in tables]
    in_order = [of.cat.categories if isinstance(of.dtype, pd.CategoricalDtype) else of.unique() for of in columns]
    return list(dict.fromkeys(group for groups in in_order for group in groups))


def curves(
    by_measure: Mapping[str, pd.DataFrame], *, title: str, window: int | None = None, x_title: str = "step (token)"
) -> go.Figure:
    """Mean over responses at each step, a panel a measure, with 95 % bands and n at each step below.

    Each table has the columns group, step, mean, low, high, n (`analysis.curve`); where group is categorical, a group
    has the line of its category. `window` shades the matched window; steps on both sides of 0 have a line there.
    """
    if all(table.empty for table in by_measure.values()):
        return _too_few(title)
    looks = _in_order(_groups(by_measure.values()))
    n_rows = len(by_measure) + 1
    heights = [1.0] * len(by_measure) + [0.35]
    figure = make_subplots(rows=n_rows, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=heights)
    for row, (measure, tables) in enumerate(by_measure.items(), start=1):
        for group, table in tables.groupby("group", sort=False, observed=True):
            _curve(figure, table, str(group), looks[str(group)], row, n_row=n_rows if row == 1 else None)
        figure.update_yaxes(title_text=axis_title(measure), row=row, col=1)
    if window is not None:
        figure.add_vrect(x0=-0.5, x1=window - 0.5, fillcolor="#888", opacity=0.12, line_width=0, row="all", col=1)
        x_title += f"; shaded: the matched window of {window} steps"
    steps = pd.concat([table["step"] for table in by_measure.values()])
    if steps.min() < 0 < steps.max():
        figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1, "dash": "dot"}, row="all", col=1)
    figure.update_yaxes(title_text="responses", rangemode="tozero", row=n_rows, col=1)
    figure.update_xaxes(title_text=x_title, row=n_rows, col=1)
    return _titled(figure, title, height=270 * len(by_measure) + 210)


def _curve(
    figure: go.Figure, table: pd.DataFrame, group: str, look: Mapping[str, str], row: int, *, n_row: int | None
) -> None:
    """One group's band and line in a panel and, where `n_row` names the panel for it, its number of responses."""
    name = _shown(group)
    figure.add_scatter(
        x=[*table["step"], *table["step"][::-1]],
        y=[*table["high"], *table["low"][::-1]],
        mode="lines",
        fill="toself",
        fillcolor=_faded(look["colour"]),
        line={"width": 0},
        hoverinfo="skip",
        legendgroup=name,
        showlegend=False,
        row=row,
        col=1,
    )
    figure.add_scatter(
        x=table["step"],
        y=table["mean"],
        mode="lines+markers",
        line={"color": look["colour"], "dash": look["dash"], "width": 2},
        marker={"symbol": look["symbol"], "size": 7, "maxdisplayed": _MOST_MARKS},
        name=name,
        legendgroup=name,
        showlegend=row == 1,
        customdata=table["n"],
        hovertemplate=f"{name}, step %{{x}}: %{{y:.3f}} (n = %{{customdata}})<extra></extra>",
        row=row,
        col=1,
    )
    if n_row is not None:
        figure.add_scatter(
            x=table["step"],
            y=table["n"],
            mode="lines",
            line={"color": look["colour"], "dash": look["dash"], "width": 1.5, "shape": "hv"},
            legendgroup=name,
            showlegend=False,
            hovertemplate=f"{name}, step %{{x}}: n = %{{y}}<extra></extra>",
            row=n_row,
            col=1,
        )


def _faded(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.2)"


def effects(tables: Mapping[str, pd.DataFrame], *, title: str, a: str, b: str, paired: bool = False) -> go.Figure:
    """AUROC with 95 % intervals, a row a measure and a mark a kind of comparison (raw, windowed, adjusted ...).

    Each table is indexed by measure and has the columns auroc, low, high; 0.5 is no difference. `paired` says that `a`
    and `b` are parts of the same responses.
    """
    scale = "share of responses or AUROC" if paired else "AUROC"
    if all(table["auroc"].isna().all() for table in tables.values()):
        return _too_few(title)
    rows = list(dict.fromkeys(measure for table in tables.values() for measure in table.index))
    looks = _in_order(tables)
    figure = go.Figure()
    for place, (kind, table) in enumerate(tables.items()):
        shift = (place - (len(tables) - 1) / 2) * 0.2
        figure.add_scatter(
            x=table["auroc"],
            y=[rows.index(measure) + shift for measure in table.index],
            error_x=_interval_bars(table["auroc"], table["low"], table["high"]),
            mode="markers",
            marker={"color": looks[kind]["colour"], "symbol": looks[kind]["symbol"], "size": 9},
            name=f"{_shown(kind)}{_counted(table.max().to_dict())}",
            customdata=np.stack([table["low"], table["high"]], axis=-1),
            hovertemplate=f"{_shown(kind)}: %{{x:.3f}} [%{{customdata[0]:.3f}}, %{{customdata[1]:.3f}}]<extra></extra>",
        )
    figure.add_vline(x=0.5, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text=f"{scale}, {_shown(a)} over {_shown(b)} (0.5: no difference)", range=[-0.02, 1.02])
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[axis_title(row) for row in rows],
        range=[len(rows) - 0.4, -0.6],
        automargin=True,
    )
    return _titled(figure, title, height=170 + 56 * len(rows))


def _interval_bars(estimate: pd.Series, low: pd.Series, high: pd.Series) -> dict[str, Any]:
    bars = {"type": "data", "symmetric": False, "thickness": 1.5, "width": 3}
    return bars | {"array": high - estimate, "arrayminus": estimate - low}


def _counted(counts: Mapping[Any, Any]) -> str:
    """The responses of either group (n_a, n_b), or of the only one (n), where they are known."""
    known = [f"{counts[name]:.0f}" for name in ("n_a", "n_b", "n") if name in counts]
    return f" (n = {' + '.join(known)})" if known else ""


def shares(table: pd.DataFrame, *, title: str, x_title: str) -> go.Figure:
    """Shares with their 95 % intervals, a row a way; where there is a row `chance`, it is a line across all of them.

    `table` is indexed by the way and has the columns estimate, low, high, n.
    """
    ways = table.drop(index="chance", errors="ignore")
    one_n = ways["n"].nunique() == 1
    figure = go.Figure(
        go.Scatter(
            x=ways["estimate"],
            y=[_shown(str(way)) + ("" if one_n else f" (n = {n:.0f})") for way, n in ways["n"].items()],
            error_x=_interval_bars(ways["estimate"], ways["low"], ways["high"]),
            mode="markers",
            marker={"color": COLOURS[0], "size": 9},
            customdata=ways[["low", "high"]],
            hovertemplate="%{y}: %{x:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}]<extra></extra>",
        )
    )
    if "chance" in table.index:
        chance = float(table.loc["chance", "estimate"])
        figure.add_vline(
            x=chance, line={"color": NEUTRAL, "width": 1, "dash": "dot"}, annotation_text=f"chance {chance:.2f}"
        )
    figure.update_xaxes(title_text=x_title, range=[-0.02, 1.02])
    figure.update_yaxes(autorange="reversed", automargin=True)
    whole = f"{title} (n = {ways['n'].iloc[0]:.0f})" if one_n else title
    return _titled(figure, whole, height=170 + 36 * len(ways))


def auroc_maps(maps: Mapping[str, xr.Dataset], *, title: str) -> go.Figure:
    """Layer x head maps of `analysis.head_map` or `paired_head_map`, a panel a measure, on one scale from 0 to 1.

    A head that stands out beyond chance has a triangle that points up where its value is above 0.5, and down where it
    is below; the title of a panel counts these heads. A missing value has a cross.
    """
    panels = {name: axis_title(name).partition(" (")[0] for name in maps}
    for name, found in maps.items():
        panels[name] += f"<br>{int(stands_out(found).sum())} of {int(found.p_max_t.count())} heads beyond chance"
    colour_title = next(iter(maps.values())).auroc.attrs["long_name"]
    values = {panels[name]: found.auroc for name, found in maps.items()}
    marked = {panels[name]: stands_out(found) for name, found in maps.items()}
    return _head_maps(values, title=title, colour_title=colour_title, limits=(0.0, 1.0), marked=marked)


def level_maps(maps: Mapping[str, xr.DataArray], measure: str, *, title: str) -> go.Figure:
    """Layer x head maps of one measure, a panel a group, on one scale from 0 to the largest value on any map."""
    largest = max((float(values.max()) for values in maps.values()), default=1.0)
    return _head_maps(maps, title=title, colour_title=axis_title(measure), limits=(0.0, largest), marked={})


def _head_maps(
    maps: Mapping[str, xr.DataArray],
    *,
    title: str,
    colour_title: str,
    limits: tuple[float, float],
    marked: Mapping[str, xr.DataArray],
) -> go.Figure:
    if all(values.isnull().all() for values in maps.values()):
        return _too_few(title)
    names = ["<br>".join(map(_shown, name.split("<br>"))) + _counted(values.attrs) for name, values in maps.items()]
    figure = make_subplots(rows=1, cols=len(maps), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.06)
    for col, (name, values) in enumerate(maps.items(), start=1):
        figure.add_heatmap(
            x=values["head"].to_numpy(),
            y=values["layer"].to_numpy(),
            z=values.transpose("layer", "head").to_numpy(),
            coloraxis="coloraxis",
            hovertemplate=f"{_shown(name.split('<br>')[0])}<br>layer %{{y}}, head %{{x}}: %{{z:.3f}}<extra></extra>",
            row=1,
            col=col,
        )
        _mark(figure, values.isnull(), "x-thin", col)
        if name in marked:
            _mark(figure, marked[name] & (values > np.mean(limits)), "triangle-up", col)
            _mark(figure, marked[name] & (values < np.mean(limits)), "triangle-down", col)
        figure.update_xaxes(title_text="head", dtick=max(1, values.sizes["head"] // 8), showgrid=False, row=1, col=col)
        figure.update_yaxes(dtick=max(1, values.sizes["layer"] // 8), showgrid=False, row=1, col=col)
    figure.update_yaxes(title_text="layer", row=1, col=1)
    figure.update_layout(
        coloraxis={
            "colorscale": "Cividis",
            "cmin": limits[0],
            "cmax": limits[1],
            "colorbar": {"title": {"text": colour_title, "side": "right"}},
        }
    )
    n_layers = max(values.sizes["layer"] for values in maps.values())
    figure.update_annotations(font_size=13)
    n_lines = max((name.count("<br>") for name in names), default=0)
    titled = _titled(figure, title, height=max(360, 150 + 22 * n_layers))
    return titled.update_layout(margin_t=titled.layout.margin.t + 16 * n_lines)


def _mark(figure: go.Figure, where: xr.DataArray, symbol: str, col: int) -> None:
    """A mark on every head where `where` (layer, head) is true, seen on dark cells as on light ones."""
    at_layer, at_head = np.nonzero(where.transpose("layer", "head").to_numpy())
    if not at_layer.size:
        return
    figure.add_scatter(
        x=where["head"].to_numpy()[at_head],
        y=where["layer"].to_numpy()[at_layer],
        mode="markers",
        marker={"symbol": symbol, "color": "white", "size": 10, "line": {"color": "#333", "width": 1.5}},
        hoverinfo="skip",
        showlegend=False,
        row=1,
        col=col,
    )


def _too_few(title: str) -> go.Figure:
    """What stands where a figure would be, so that nobody takes an empty plot for a null."""
    figure = go.Figure()
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    text = "nothing to show: too few responses in the groups"
    figure.add_annotation(text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"size": 16})
    return _titled(figure, title, height=220)


def lines(by_name: Mapping[str, xr.DataArray], *, title: str, y_title: str) -> go.Figure:
    """Several quantities of one response over its steps; each is (step,)."""
    figure = go.Figure()
    for (name, values), look in zip(by_name.items(), _in_order(by_name).values(), strict=True):
        figure.add_scatter(
            x=values["step"].to_numpy(),
            y=values.to_numpy(),
            mode="lines+markers",
            line={"color": look["colour"], "dash": look["dash"], "width": 2},
            marker={"symbol": look["symbol"], "size": 7, "maxdisplayed": _MOST_MARKS},
            name=_shown(name),
        )
    figure.update_xaxes(title_text="step (token)")
    figure.update_yaxes(title_text=y_title)
    return _titled(figure, title, height=420)


def response(trace: xr.Dataset, measures: Sequence[str] = ("entropy", "varentropy"), *, title: str = "") -> go.Figure:
    """One response: means over layers and heads of each measure at every token; below, the entropy of every layer.

    Raises TraceError for an unknown measure.
    """
    n_rows = len(measures) + 1
    heights = [1.0] * len(measures) + [1.3]
    figure = make_subplots(rows=n_rows, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=heights)
    steps, tokens = trace["step"].to_numpy(), [_shown(text.replace("\n", "⏎")) for text in trace["token"].to_numpy()]
    for row, measure in enumerate(measures, start=1):
        figure.add_scatter(
            x=steps,
            y=without_cross(values_of(trace, measure)).mean(["layer", "head"]).to_numpy(),
            customdata=tokens,
            mode="lines+markers",
            marker={"size": 5},
            line={"color": COLOURS[0]},
            hovertemplate="step %{x} “%{customdata}”: %{y:.3f}<extra></extra>",
            showlegend=False,
            row=row,
            col=1,
        )
        figure.update_yaxes(title_text=axis_title(measure).removeprefix("attention "), row=row, col=1)
    by_layer = trace.entropy.mean("head").transpose("layer", "step")
    figure.add_heatmap(
        x=steps,
        y=by_layer["layer"].to_numpy(),
        z=by_layer.to_numpy(),
        colorscale="Cividis",
        colorbar={"title": {"text": "entropy (nat)", "side": "right"}, "len": 0.4, "y": 0.18},
        hovertemplate="step %{x}, layer %{y}: %{z:.3f} nat<extra></extra>",
        row=n_rows,
        col=1,
    )
    figure.update_yaxes(title_text="layer", showgrid=False, row=n_rows, col=1)
    every = -(-len(steps) // _TICKS)
    labels = [_shown(_cut(text.replace("\n", "⏎"))) for text in trace["token"].to_numpy()[::every]]
    figure.update_xaxes(
        title_text="token of the response", tickvals=steps[::every], ticktext=labels, tickangle=-60,
        tickfont={"size": 10}, title_standoff=12, automargin=True, row=n_rows, col=1,
    )  # fmt: skip
    return _titled(figure, title, height=200 * len(measures) + 350)


def _cut(text: str) -> str:
    return text if len(text) <= _TICK_LENGTH else text[: _TICK_LENGTH - 1] + "…"
