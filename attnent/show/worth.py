"""Figures of what scores and confidences are worth. Labelled data in, plotly Figure out; nothing here computes."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from attnent.show import style

__all__ = ["increments", "matrix", "reliability", "risk_coverage"]

_MOST_MARKS = 12  # on a line
_LEAST_REACH = 0.2  # of AUROC, from 0.5 to the ends of a scale: a matrix of noise stays pale
_CELL_HEIGHT = 64  # pixels


def increments(
    tables: Mapping[str, pd.DataFrame], *, title: str, x_title: str = "AUROC added to {} (0: nothing)"
) -> go.Figure:
    """What each score adds, with its 95 % interval, a panel for each thing it is added to and a row a score.

    Tables are indexed by the name of the score and have the columns family, increment, low, high; where they have n, it
    is said, where rows differ in it at each. Rows are in the order of the last panel, the largest first, in the colour
    of their family; one that is categorical has the colour of its category. What is undetermined has no mark.
    """
    if all(table["increment"].isna().all() for table in tables.values()):
        return style.too_few(title)
    every = pd.concat([table.sort_values("increment", ascending=False) for table in [*tables.values()][::-1]])
    last = every[~every.index.duplicated()]
    places = pd.Series(range(len(last)), last.index)
    looks = style.in_order(style.ordered(last["family"].sort_values()))
    figure = make_subplots(cols=len(tables), shared_yaxes=True, horizontal_spacing=0.04)
    for column, (known, table) in enumerate(tables.items(), start=1):
        figure.add_vline(x=0, line=style.THIN, col=column, row=1, exclude_empty_subplots=False)
        for family, rows in table.groupby("family", observed=True):
            look, said = looks[str(family)], [f"{name}, {family}, added to {known}" for name in rows.index]
            marker = {"color": look.colour, "symbol": look.symbol, "size": 8}
            marks, y = rows[["increment", "low", "high"]], places[rows.index].tolist()
            shown = style.intervals(marks, y, said, marker=marker, name=str(family))
            is_first = str(family) not in {mark.name for mark in figure.data}
            figure.add_trace(shown.update(legendgroup=str(family), showlegend=is_first), row=1, col=column)
        figure.update_xaxes(title_text=x_title.format(known), row=1, col=column)
    one_n = "n" not in last or last.loc[last["increment"].notna(), "n"].nunique() == 1
    counts = [""] * len(last) if one_n else [f" (n = {n:.0f})" for n in last["n"]]
    unknown = [", undetermined" if missing else "" for missing in last["increment"].isna()]
    labels = [style.shown(str(name)) + n + why for name, n, why in zip(last.index, counts, unknown, strict=True)]
    figure.update_yaxes(tickvals=places, ticktext=labels, range=[len(last) - 0.4, -0.6], automargin=True)
    title = f"{title} (n = {last['n'].max():.0f})" if one_n and "n" in last else title
    return style.titled(figure, title, inside=26 + 24 * len(last))


def reliability(table: pd.DataFrame, *, title: str, of: str = "answers") -> go.Figure:
    """The share that is right against the confidence, a mark a bin with its 95 % interval; below, how many there are.

    `table` has the columns confidence, share, low, high, n (`detectors.calibration.reliability`). On the dotted
    diagonal a confidence is what it says; `of` names what was judged.
    """
    if table.empty:
        return style.too_few(title)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[1, 0.28])
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line=style.THIN, name="as it says", hoverinfo="skip", row=1, col=1
    )
    whiskers = {"array": table["high"] - table["share"], "arrayminus": table["share"] - table["low"]}
    figure.add_scatter(
        x=table["confidence"], y=table["share"], mode="markers", name="share right",
        error_y={"type": "data", "symmetric": False, "thickness": 1.5, "width": 3} | whiskers,
        customdata=table[["low", "high", "n"]], meta={"columns": ["low", "high", "n"]},
        marker={"color": style.COLOURS[0], "size": 9},
        hovertemplate="confidence %{x:.3f}: %{y:.3f} right [%{customdata[0]:.3f}, %{customdata[1]:.3f}] "
        "(n = %{customdata[2]})<extra></extra>", row=1, col=1,
    )  # fmt: skip
    figure.add_bar(
        x=table["confidence"], y=table["n"], width=0.012, marker_color=style.COLOURS[0], showlegend=False,
        hovertemplate="confidence %{x:.3f}: n = %{y}<extra></extra>", row=2, col=1,
    )  # fmt: skip
    figure.update_xaxes(range=[-0.02, 1.02])
    figure.update_xaxes(title_text="mean confidence in the bin", row=2, col=1)
    figure.update_yaxes(title_text=f"share of {of} right", range=[-0.02, 1.02], row=1, col=1)
    figure.update_yaxes(title_text=of, rangemode="tozero", nticks=3, row=2, col=1)
    return style.titled(figure, f"{title} (n = {table['n'].sum():.0f})", inside=440)


def risk_coverage(curves: Mapping[str, pd.DataFrame], *, title: str) -> go.Figure:
    """The share wrong of the responses given, over the share given, where those of the highest scores are held back.

    A line a score, each with the columns coverage, risk (`detectors.rejection.risk_coverage`); lower is better. The
    dotted level is that of a score that knows nothing.
    """
    if not curves:
        return style.too_few(title)
    figure = go.Figure()
    for (name, curve), look in zip(curves.items(), style.in_order(curves).values(), strict=True):
        figure.add_scatter(
            x=curve["coverage"], y=curve["risk"], mode="lines+markers", name=style.shown(name),
            line={"color": look.colour, "dash": look.dash, "width": 2},
            marker={"symbol": look.symbol, "size": 7, "maxdisplayed": _MOST_MARKS},
            hovertemplate=f"{style.shown(name)}, %{{x:.0%}} given: %{{y:.3f}} wrong<extra></extra>",
        )  # fmt: skip
    for level in {round(float(curve["risk"].iloc[-1]), 9) for curve in curves.values()}:
        figure.add_hline(y=level, line=style.THIN)
    figure.update_xaxes(title_text="coverage: share of responses that are given", range=[0, 1.01], tickformat=".0%")
    figure.update_yaxes(title_text="risk: share wrong of those given", rangemode="tozero")
    return style.titled(figure, title, inside=360)


def matrix(values: pd.DataFrame, low: pd.DataFrame, high: pd.DataFrame, *, title: str) -> go.Figure:
    """AUROC of what was learned in one place (rows) where it is used (columns), with its 95 % interval in each cell.

    Rows and columns have names, which stand on the axes. White is 0.5, no better than chance; blue is below it. A cell
    that is undetermined is empty but for a dash.
    """
    if values.isna().all(axis=None):
        return style.too_few(title)
    cells = np.stack([table.to_numpy(float) for table in (values, low, high)], axis=-1)
    text = [[_cell(*cell) for cell in row] for row in cells]
    reach = np.nanmax([_LEAST_REACH, *abs(cells[..., 0].ravel() - 0.5)])
    rows, columns = ([style.wrapped(str(name), 22) for name in axis] for axis in (values.index, values.columns))
    bar = {"title": {"text": "AUROC", "side": "right"}, "thickness": 16}
    said = "%{y} → %{x}: %{customdata}<extra></extra>"
    figure = go.Figure(
        go.Heatmap(
            x=columns, y=rows, z=cells[..., 0], text=text, customdata=np.array(text), hovertemplate=said,
            texttemplate="%{text}", colorscale="RdBu_r", zmin=0.5 - reach, zmid=0.5, zmax=0.5 + reach,
            colorbar=bar, xgap=2, ygap=2,
        )
    )  # fmt: skip
    at_row, at_column = np.nonzero(np.isnan(cells[..., 0]))
    for row, column in zip(at_row, at_column, strict=True):
        figure.add_annotation(x=columns[column], y=rows[row], text="–", showarrow=False)
    named = {"type": "category", "showgrid": False, "automargin": True}
    figure.update_xaxes(title_text=values.columns.name, **named)
    figure.update_yaxes(title_text=values.index.name, autorange="reversed", **named)
    return style.titled(figure, title, inside=30 + _CELL_HEIGHT * len(rows))


def _cell(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:.2f}" if np.isnan(low) else f"{value:.2f}<br>[{low:.2f}, {high:.2f}]"
