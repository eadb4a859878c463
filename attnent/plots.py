"""Figures: labelled data in, plotly Figure out. Nothing here computes a statistic.

Groups differ in colour (Okabe & Ito, safe for colour-blind readers), in lightness and in dash, so that a figure can be
read in greyscale too. Units stand on every axis.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from attnent.trace import DERIVED, MEASURES

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 13, "color": "#222"},
        "title": {"x": 0.01, "xanchor": "left", "font": {"size": 16}},
        "plot_bgcolor": "white",
        "paper_bgcolor": "white",
        "colorway": list(COLOURS),
        "hovermode": "closest",
        "margin": {"l": 70, "r": 30, "t": 70, "b": 60},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        "xaxis": {"showline": True, "linecolor": "#888", "ticks": "outside", "gridcolor": "#eee", "zeroline": False},
        "yaxis": {"showline": True, "linecolor": "#888", "ticks": "outside", "gridcolor": "#eee", "zeroline": False},
    }
)
_TOKEN_MEASURES = {
    "token_entropy": ("token entropy", "nat"),
    "token_varentropy": ("token varentropy", "nat^2"),
    "logprob": ("log-probability", "nat"),
    "n_steps": ("response length", "tokens"),
    "n_prompt": ("prompt length", "tokens"),
    "n_gold_steps": ("length of the gold solution", "steps"),
    "n_children": ("people who act in the problem", "1"),
}


def axis_title(measure: str) -> str:
    """The name of a measure with its unit, as it stands on an axis."""
    named = MEASURES | {name: about for name, (_, *about) in DERIVED.items()} | _TOKEN_MEASURES
    name, unit = named.get(measure, (measure.replace("_", " "), "1"))
    return name if unit == "1" else f"{name} ({unit.replace('^2', '²')})"


def curves(
    by_measure: Mapping[str, pd.DataFrame], *, title: str, window: int | None = None, x_title: str = "step (token)"
) -> go.Figure:
    """Mean over responses at each step, a panel a measure, with 95 % bands and n at each step below.

    Each table has the columns group, step, mean, low, high, n (`stats.curve`). `window` shades the matched window.
    """
    if all(table.empty for table in by_measure.values()):
        return _too_few(title)
    measures = list(by_measure)
    n_rows = len(measures) + 1
    heights = [1.0] * len(measures) + [0.35]
    figure = make_subplots(rows=n_rows, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=heights)
    for row, measure in enumerate(measures, start=1):
        for place, (group, table) in enumerate(by_measure[measure].groupby("group", sort=False, observed=True)):
            colour, dash = COLOURS[place], DASHES[place]
            _band(figure, table, colour, row)
            figure.add_scatter(
                x=table["step"],
                y=table["mean"],
                mode="lines",
                line={"color": colour, "dash": dash, "width": 2},
                name=str(group),
                legendgroup=str(group),
                showlegend=row == 1,
                customdata=table["n"],
                hovertemplate=f"{group}, step %{{x}}: %{{y:.3f}} (n = %{{customdata}})<extra></extra>",
                row=row,
                col=1,
            )
            if row == 1:
                figure.add_scatter(
                    x=table["step"],
                    y=table["n"],
                    mode="lines",
                    line={"color": colour, "dash": dash, "width": 1.5, "shape": "hv"},
                    legendgroup=str(group),
                    showlegend=False,
                    hovertemplate=f"{group}, step %{{x}}: n = %{{y}}<extra></extra>",
                    row=n_rows,
                    col=1,
                )
        figure.update_yaxes(title_text=axis_title(measure), row=row, col=1)
    if window is not None:
        figure.add_vrect(x0=-0.5, x1=window - 0.5, fillcolor="#888", opacity=0.12, line_width=0, row="all", col=1)
        figure.add_annotation(
            x=window - 0.5, y=1, yref="y domain", text=f"matched window: {window} steps", showarrow=False,
            xanchor="left", yanchor="top", font={"size": 11, "color": "#555"}, row=1, col=1,
        )  # fmt: skip
    figure.update_yaxes(title_text="responses", rangemode="tozero", row=n_rows, col=1)
    figure.update_xaxes(title_text=x_title, row=n_rows, col=1)
    return figure.update_layout(template=TEMPLATE, title=title, height=270 * len(measures) + 190)


def _band(figure: go.Figure, table: pd.DataFrame, colour: str, row: int) -> None:
    figure.add_scatter(
        x=[*table["step"], *table["step"][::-1]],
        y=[*table["high"], *table["low"][::-1]],
        mode="lines",
        fill="toself",
        fillcolor=_faded(colour),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        row=row,
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
    figure = go.Figure()
    for place, (kind, table) in enumerate(tables.items()):
        shift = (place - (len(tables) - 1) / 2) * 0.2
        figure.add_scatter(
            x=table["auroc"],
            y=[rows.index(measure) + shift for measure in table.index],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": table["high"] - table["auroc"],
                "arrayminus": table["auroc"] - table["low"],
                "thickness": 1.5,
                "width": 3,
            },
            mode="markers",
            marker={"color": COLOURS[place], "symbol": ("circle", "diamond", "square", "x")[place], "size": 9},
            name=kind,
            customdata=np.stack([table["low"], table["high"]], axis=-1),
            hovertemplate=f"{kind}: %{{x:.3f}} [%{{customdata[0]:.3f}}, %{{customdata[1]:.3f}}]<extra></extra>",
        )
    figure.add_vline(x=0.5, line={"color": "#555", "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text=f"{scale}, {a} over {b} (0.5: no difference)", range=[-0.02, 1.02])
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=[axis_title(row) for row in rows], autorange="reversed"
    )
    return figure.update_layout(template=TEMPLATE, title=title, height=150 + 56 * len(rows), margin={"l": 240})


def shares(table: pd.DataFrame, *, title: str, x_title: str) -> go.Figure:
    """Shares with their 95 % intervals, a row a way; the row `chance` is a line across all of them.

    `table` is indexed by the way and has the columns estimate, low, high, n.
    """
    ways = table.drop(index="chance")
    figure = go.Figure(
        go.Scatter(
            x=ways["estimate"],
            y=ways.index,
            error_x={
                "type": "data",
                "symmetric": False,
                "array": ways["high"] - ways["estimate"],
                "arrayminus": ways["estimate"] - ways["low"],
                "thickness": 1.5,
                "width": 3,
            },
            mode="markers",
            marker={"color": COLOURS[0], "size": 9},
            customdata=ways[["low", "high"]],
            hovertemplate="%{y}: %{x:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}]<extra></extra>",
        )
    )
    chance = float(table.loc["chance", "estimate"])
    figure.add_vline(
        x=chance, line={"color": "#555", "width": 1, "dash": "dot"}, annotation_text=f"chance {chance:.2f}"
    )
    figure.update_xaxes(title_text=x_title, range=[-0.02, 1.02])
    figure.update_yaxes(autorange="reversed")
    n = int(table.loc["chance", "n"])
    return figure.update_layout(
        template=TEMPLATE, title=f"{title} (n = {n})", height=150 + 36 * len(ways), margin={"l": 300}
    )


def head_maps(
    maps: Mapping[str, xr.DataArray],
    *,
    title: str,
    colour_title: str,
    limits: tuple[float, float] | None = None,
    marked: Mapping[str, xr.DataArray] | None = None,
) -> go.Figure:
    """Layer x head maps side by side under one colour scale; `marked` heads get a dot.

    `limits` fixes the scale; by default it runs from 0 to the largest value on any map.
    """
    names = list(maps)
    if all(values.isnull().all() for values in maps.values()):
        return _too_few(title)
    limits = limits or (0.0, max(float(values.max()) for values in maps.values()))
    figure = make_subplots(rows=1, cols=len(names), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.06)
    for col, name in enumerate(names, start=1):
        values = maps[name].transpose("layer", "head")
        layers, heads = (values[axis].to_numpy() for axis in ("layer", "head"))
        figure.add_heatmap(
            x=heads,
            y=layers,
            z=values.to_numpy(),
            coloraxis="coloraxis",
            hovertemplate=f"{name}<br>layer %{{y}}, head %{{x}}: %{{z:.3f}}<extra></extra>",
            row=1,
            col=col,
        )
        if marked is not None:
            at_layer, at_head = np.nonzero(marked[name].transpose("layer", "head").to_numpy())
            figure.add_scatter(
                x=heads[at_head],
                y=layers[at_layer],
                mode="markers",
                marker={"color": "black", "size": 5, "line": {"color": "white", "width": 1}},
                hoverinfo="skip",
                showlegend=False,
                row=1,
                col=col,
            )
        figure.update_xaxes(title_text="head", dtick=max(1, len(heads) // 8), showgrid=False, row=1, col=col)
        figure.update_yaxes(showgrid=False, row=1, col=col)
    figure.update_yaxes(title_text="layer", row=1, col=1)
    diverging = limits[0] < 0.5 < limits[1] and np.isclose(sum(limits), 1)
    return figure.update_layout(
        template=TEMPLATE,
        title=title,
        height=max(360, 120 + 22 * len(next(iter(maps.values()))["layer"])),
        margin={"t": 90},
        coloraxis={
            "colorscale": "RdBu" if diverging else "Cividis",
            "cmin": limits[0],
            "cmax": limits[1],
            "colorbar": {"title": {"text": colour_title, "side": "right"}},
        },
    )


def _too_few(title: str) -> go.Figure:
    """What stands where a figure would be, so that nobody takes an empty plot for a null."""
    figure = go.Figure().update_layout(template=TEMPLATE, title=title, height=220)
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    text = "nothing to show: too few responses in the groups"
    return figure.add_annotation(
        text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"size": 16}
    )


def lines(by_name: Mapping[str, xr.DataArray], *, title: str, y_title: str) -> go.Figure:
    """Several quantities of one response over its steps; each is (step,)."""
    figure = go.Figure()
    for place, (name, values) in enumerate(by_name.items()):
        figure.add_scatter(
            x=values["step"].to_numpy(),
            y=values.to_numpy(),
            mode="lines",
            line={"color": COLOURS[place], "dash": DASHES[place], "width": 2},
            name=name,
        )
    figure.update_xaxes(title_text="step (token)")
    figure.update_yaxes(title_text=y_title)
    return figure.update_layout(
        template=TEMPLATE, title=title, height=420, legend={"y": -0.22, "yanchor": "top"}, margin={"b": 110}
    )


def response(trace: xr.Dataset, measures: Sequence[str] = ("entropy", "varentropy"), *, title: str = "") -> go.Figure:
    """One response: each measure averaged over layers and heads at every token; below, the entropy of every layer."""
    figure = make_subplots(
        rows=len(measures) + 1,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.05,
        row_heights=[1.0] * len(measures) + [1.3],
    )
    steps, tokens = trace["step"].to_numpy(), [text.replace("\n", "⏎") for text in trace["token"].to_numpy()]
    for row, measure in enumerate(measures, start=1):
        figure.add_scatter(
            x=steps,
            y=trace[measure].mean(["layer", "head"]).to_numpy(),
            customdata=tokens,
            mode="lines+markers",
            marker={"size": 5},
            line={"color": COLOURS[row - 1]},
            hovertemplate="step %{x} “%{customdata}”: %{y:.3f}<extra></extra>",
            showlegend=False,
            row=row,
            col=1,
        )
        figure.update_yaxes(title_text=axis_title(measure).removeprefix("attention "), row=row, col=1)
    by_layer = trace["entropy"].mean("head").transpose("layer", "step")
    figure.add_heatmap(
        x=steps,
        y=by_layer["layer"].to_numpy(),
        z=by_layer.to_numpy(),
        colorscale="Cividis",
        colorbar={"title": {"text": "entropy (nat)", "side": "right"}, "len": 0.4, "y": 0.18},
        hovertemplate="step %{x}, layer %{y}: %{z:.3f} nat<extra></extra>",
        row=len(measures) + 1,
        col=1,
    )
    figure.update_yaxes(title_text="layer", showgrid=False, row=len(measures) + 1, col=1)
    figure.update_xaxes(
        title_text="token of the response", tickvals=steps, ticktext=tokens, tickangle=-60, tickfont={"size": 10},
        row=len(measures) + 1, col=1,
    )  # fmt: skip
    return figure.update_layout(template=TEMPLATE, title=title, height=200 * len(measures) + 330)
