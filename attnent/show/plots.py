"""Figures: labelled data in, plotly Figure out. Units stand on every axis.

Nothing here computes a statistic, but that plotly finds the quartiles of the strips.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from attnent.analysis.across import POOL
from attnent.analysis.intervals import StatsError
from attnent.analysis.verdicts import SMALLEST, Comparison, Stage
from attnent.show import style
from attnent.show.maps import auroc_maps, level_maps
from attnent.show.pictures import gallery, looks, step_map
from attnent.trace import measure as values_of
from attnent.trace import title_and_unit, without_cross

__all__ = [
    "auroc_maps",
    "by_size",
    "curves",
    "differences",
    "effects",
    "forest",
    "forests",
    "gallery",
    "level_maps",
    "lines",
    "looks",
    "response",
    "shares",
    "step_map",
    "strips",
]

_MOST_MARKS = 12  # on a line, which its dash and its marks tell from others
_SHARES = ("_mass", "normalized_entropy", "max_weight", "lookback_ratio", "confidence")  # lie between 0 and 1
_TICKS, _TICK_LENGTH = 80, 14  # most token labels on an axis, and the characters of each


# ---- over the steps


def curves(
    by_measure: Mapping[str, pd.DataFrame], *, title: str, window: int | None = None, x_title: str = "step (token)"
) -> go.Figure:
    """Mean over responses at each step, a panel a measure, with pointwise 95 % bands and n at each step below.

    Each table has the columns group, step, mean, low, high, n (`analysis.curve`); where group is categorical, a group
    has the line of its category. `window` shades the matched window; steps on both sides of 0 have a line there. Steps
    that fewer than a tenth of a group's responses reach do not set the scale; what lies beyond is cut, and it is said.
    """
    if all(table.empty for table in by_measure.values()):
        return style.too_few(title)
    groups = dict.fromkeys(group for table in by_measure.values() for group in style.ordered(table["group"]))
    looks = style.in_order(groups)
    n_rows = len(by_measure) + 1
    heights = [1.0] * len(by_measure) + [0.35]
    figure = make_subplots(rows=n_rows, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=heights)
    for row, (measure, tables) in enumerate(by_measure.items(), start=1):
        for group, table in tables.groupby("group", sort=False, observed=True):
            place = {"row": row, "n_row": n_rows if row == 1 else None}
            _curve(figure, table, measure, str(group), looks[str(group)], **place)
        figure.update_yaxes(title_text=style.axis_title(measure), range=_scale(tables, measure), row=row, col=1)
    if any(figure.layout[axis].range for axis in figure.layout if axis.startswith("yaxis")):
        x_title += "; scale: steps that a tenth of each group reaches"
    if window is not None:
        figure.add_vrect(x0=-0.5, x1=window - 0.5, fillcolor="#888", opacity=0.12, line_width=0, row="all", col=1)
        x_title += f"; shaded: the matched window of {window} steps"
    steps = pd.concat([table["step"] for table in by_measure.values()])
    if steps.min() < 0 < steps.max():
        figure.add_vline(x=0, line=style.THIN, row="all", col=1)
    figure.update_yaxes(title_text="responses", rangemode="tozero", row=n_rows, col=1)
    figure.update_xaxes(title_text=x_title, row=n_rows, col=1)
    return style.titled(figure, title, inside=270 * len(by_measure) + 66)


def _curve(
    figure: go.Figure, table: pd.DataFrame, measure: str, group: str, look: style.Look, *, row: int, n_row: int | None
) -> None:
    """One group's band and line in a panel and, where `n_row` names the panel for it, its number of responses."""
    name, steps, line = style.shown(group), table["step"], {"color": look.colour, "dash": look.dash}
    own = {"legendgroup": name, "showlegend": False, "mode": "lines"}
    low, high = (table[end].clip(*_bounds(measure)) for end in ("low", "high"))
    band = {"x": [*steps, *steps[::-1]], "y": [*high, *low[::-1]], "fill": "toself"}
    faint = {"fillcolor": style.faded(look.colour, 0.2), "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_trace(go.Scatter(own | band | faint), row, 1)
    said = f"{name}, step %{{x}}: %{{y:.3f}} (n = %{{customdata[0]}})<extra></extra>"
    means = {"x": steps, "y": table["mean"], "name": name, "hovertemplate": said}
    means |= {"customdata": np.stack([table["n"], low, high], axis=-1), "meta": {"columns": ["n", "low", "high"]}}
    figure.add_trace(go.Scatter(own | means | _line(look) | {"showlegend": row == 1}), row, 1)
    if n_row is not None:
        said = f"{name}, step %{{x}}: n = %{{y}}<extra></extra>"
        counts = {"x": steps, "y": table["n"], "line": line | {"width": 1.5, "shape": "hv"}, "hovertemplate": said}
        figure.add_trace(go.Scatter(own | counts), n_row, 1)


def differences(by_question: Mapping[str, pd.DataFrame], measure: str, *, title: str) -> go.Figure:
    """A measure in one group of responses less that in another at each step, a panel a question and a line a model.

    Each table has the columns group (the model), step, mean, low, high, n (`analysis.difference`); the scale is as for
    `curves`. A line at 0 is no difference.
    """
    shown = {question: table for question, table in by_question.items() if not table.empty}
    if not shown:
        return style.too_few(title)
    looks = style.in_order(dict.fromkeys(model for table in shown.values() for model in table["group"].unique()))
    each, gap, unit = 230, 60, title_and_unit(measure)[1]
    inside = len(shown) * (each + gap) - gap
    figure = make_subplots(rows=len(shown), cols=1, subplot_titles=[*shown], vertical_spacing=min(1, gap / inside))
    told: set[str] = set()
    for row, table in enumerate(shown.values(), start=1):
        for model, own in table.groupby("group", sort=False):
            _curve(figure, own, "difference", str(model), looks[str(model)], row=row, n_row=None)
            figure.data[-1].showlegend = model not in told
            told.add(str(model))
        figure.update_yaxes(range=_scale(table, "difference"), row=row, col=1)
    figure.add_hline(y=0, line=style.THIN, row="all", col=1)
    figure.update_yaxes(title_text="difference" if unit == "1" else f"difference ({unit.replace('^2', '²')})")
    figure.update_xaxes(title_text="step (token)", row=len(shown), col=1).update_annotations(font_size=13)
    return style.titled(figure, title, inside=inside, above=24).update_layout(legend_y=1 + 24 / inside)


def _bounds(measure: str) -> tuple[float | None, float | None]:
    """Between what a mean of the measure lies, where that is known."""
    if measure == "logprob":
        return None, 0.0
    if measure.endswith(_SHARES):
        return 0.0, 1.0
    return (0.0 if title_and_unit(measure)[1] in ("nat", "nat^2") or measure == "effective_keys" else None), None


def _scale(table: pd.DataFrame, measure: str) -> list[float] | None:
    """The ends of the axis, where some steps do not count for it; else None."""
    most = table.groupby("group", observed=True)["n"].transform("max")
    few = table.loc[table["n"] < most / 10, "step"]
    counted = table[~table["step"].isin(few)]
    ends = [
        [of["low"].clip(*_bounds(measure)).min(), of["high"].clip(*_bounds(measure)).max()] for of in (counted, table)
    ]
    (low, high), (lowest, highest) = ends
    pad = (high - low) / 20
    return [low - pad, high + pad] if lowest < low - pad or highest > high + pad else None


def _line(look: style.Look) -> dict[str, object]:
    return {
        "mode": "lines+markers",
        "line": {"color": look.colour, "dash": look.dash, "width": 2},
        "marker": {"symbol": look.symbol, "size": 7, "maxdisplayed": _MOST_MARKS},
    }


def lines(by_name: Mapping[str, xr.DataArray], *, title: str, y_title: str) -> go.Figure:
    """Several quantities of one response over its steps; each is (step,)."""
    figure = go.Figure()
    for (name, values), look in zip(by_name.items(), style.in_order(by_name).values(), strict=True):
        figure.add_scatter(x=values["step"].to_numpy(), y=values.to_numpy(), name=style.shown(name), **_line(look))
    figure.update_xaxes(title_text="step (token)")
    figure.update_yaxes(title_text=y_title)
    return style.titled(figure, title, inside=276)


# ---- what a comparison found


def effects(tables: Mapping[str, pd.DataFrame], *, title: str, a: str, b: str, x_title: str | None = None) -> go.Figure:
    """AUROC with 95 % intervals, a row a measure or subgroup, and a mark a kind of comparison (raw, windowed ...).

    Each table is indexed by measure (or subgroup) and has the columns auroc, low, high; where it has null_low and
    null_high, a grey bar behind a mark spans them. 0.5 is no difference; the zone of no interest is shaded. `x_title`
    says so where the numbers are shares of pairs.
    """
    if all(table["auroc"].isna().all() for table in tables.values()):
        return style.too_few(title)
    rows = list(dict.fromkeys(row for table in tables.values() for row in table.index))
    figure, marks = go.Figure(), []
    for place, (kind, look) in enumerate(style.in_order(tables).items()):
        table, shift = tables[kind], (place - (len(tables) - 1) / 2) * 0.2
        y = [rows.index(row) + shift for row in table.index]
        if "null_low" in table:
            figure.add_trace(_null_band(table, y).update(showlegend=not figure.data))
        marker = {"color": look.colour, "symbol": look.symbol, "size": 9}
        name, said = f"{kind}{style.counted(table.max())}", [f"{row}, {kind}" for row in table.index]
        marks.append(style.intervals(table[["auroc", "low", "high"]], y, said, marker=marker, name=name))
    figure.add_traces(marks)
    _no_difference(figure)
    figure.update_xaxes(title_text=x_title or _over(a, b), range=[-0.02, 1.02])
    labels = [style.wrapped(style.axis_title(str(row))) for row in rows]
    figure.update_yaxes(tickvals=[*range(len(rows))], ticktext=labels, automargin=True)
    figure.update_yaxes(range=[len(rows) - 0.4, -0.6])
    return style.titled(figure, title, inside=26 + 56 * len(rows))


def _null_band(table: pd.DataFrame, y: Sequence[float]) -> go.Scatter:
    low, high, grey = table["null_low"], table["null_high"], "rgba(128,128,128,0.45)"
    bars = {"type": "data", "array": (high - low) / 2, "thickness": 10, "width": 0, "color": grey}
    looks = {"mode": "markers", "marker": {"symbol": "square", "color": grey, "size": 10}, "hoverinfo": "skip"}
    return go.Scatter(looks, x=(low + high) / 2, y=y, error_x=bars, name="null band (95 %)")


def _no_difference(figure: go.Figure) -> None:
    """A line at 0.5, and the zone around it that is too small to matter."""
    figure.add_vrect(
        x0=SMALLEST[0], x1=SMALLEST[1], fillcolor=style.COLOURS[2], opacity=0.1, line_width=0, layer="below"
    )
    figure.add_vline(x=0.5, line=style.THIN)


def _over(a: str, b: str) -> str:
    low, high = SMALLEST
    return f"AUROC, {style.shown(a)} over {style.shown(b)} (0.5: no difference; {low} to {high}: too small to matter)"


def forest(comparison: Comparison, measures: str | Sequence[str], *, title: str) -> go.Figure:
    """AUROC with 95 % intervals in each disjoint set and, as a diamond below them, pooled; a row of panels a measure.

    Shown are the tested stage and the stage under all controls, the zone of no interest shaded. I² is the share of the
    variance between sets that chance does not explain. Raises StatsError for a measure that was not compared.
    """
    measures = [measures] if isinstance(measures, str) else list(measures)
    if unknown := [name for name in measures if name not in comparison.stages[comparison.tested].index]:
        known = ", ".join(comparison.stages[comparison.tested].index)
        raise StatsError(f"no measure {unknown[0]!r} was compared; choose one of {known}")
    stages = list(dict.fromkeys([comparison.tested, comparison.last]))
    n_sets = len(comparison.sets)
    rows = {**comparison.sets, "pooled" if n_sets else f"all {comparison.unit}": comparison}
    panels = {(measure, stage): _by_set(rows, measure, stage) for measure in measures for stage in stages}
    every = pd.concat(panels.values())
    if every["auroc"].isna().all():
        return style.too_few(title)
    each, gap = 30 + 30 * len(rows), 80
    inside = len(measures) * (each + gap) - gap
    figure = make_subplots(
        rows=len(measures),
        cols=len(stages),
        subplot_titles=[_pooled_title(comparison, *panel) for panel in panels],
        shared_yaxes=True,
        horizontal_spacing=0.06,
        vertical_spacing=min(1, gap / inside),
    )
    is_pool, y = np.arange(len(rows)) == n_sets, [*range(len(rows))]
    marker = {"color": style.COLOURS[0], "size": np.where(is_pool, 15, 8), "opacity": 1}
    marker["symbol"] = np.where(is_pool, "diamond", "square")
    for place, ((measure, stage), table) in enumerate(panels.items()):
        row, col = 1 + place // len(stages), 1 + place % len(stages)
        marks = style.intervals(table, y, list(rows), marker=marker, name=f"{title_and_unit(measure)[0]}, {stage}")
        figure.add_trace(marks.update(showlegend=False), row, col)
        labels = [style.wrapped(name) + style.counted(table.loc[name].dropna()) for name in rows]
        figure.update_yaxes(tickvals=y, ticktext=labels, automargin=True, row=row, col=col)
    _no_difference(figure)
    reach = np.nanmax([0.1, *(every[["low", "high"]] - 0.5).abs().max()]) + 0.02
    figure.update_xaxes(range=[0.5 - reach, 0.5 + reach], dtick=0.1).update_yaxes(range=[n_sets + 0.6, -0.6])
    figure.update_annotations(font_size=13)
    figure.add_annotation(
        text=_over(comparison.a, comparison.b), x=0.5, y=0, yshift=-34, xref="paper", yref="paper", yanchor="top",
        showarrow=False,
    )  # fmt: skip
    return style.titled(figure, title, inside=inside)


def _by_set(rows: Mapping[str, Comparison], measure: str, stage: Stage) -> pd.DataFrame:
    of_sets = {name: one.stages[stage].reindex([measure]).loc[measure] for name, one in rows.items()}
    return pd.DataFrame(of_sets).T.reindex(columns=["auroc", "low", "high", "n_a", "n_b"])


def _pooled_title(comparison: Comparison, measure: str, stage: Stage) -> str:
    said = f"{title_and_unit(measure)[0]}, {stage}<br>{comparison.interval(stage, measure)}"
    between = comparison.heterogeneity[stage].get(measure, np.nan)
    return said if np.isnan(between) else f"{said}, I² = {between:.0%}"


def forests(
    comparisons: Mapping[str, Comparison], *, title: str, sizes: Mapping[str, float] | None = None
) -> go.Figure:
    """AUROC with 95 % intervals of each model and, as a diamond below them, pooled; a row of panels a question.

    The models are the `sets` of each comparison (`across.over_models`) and the columns its primary measures; open marks
    are where it is tested, filled ones under all controls, and a grey bar spans where a further model would lie.
    `sizes` are the models' parameters, where they are known.
    """
    known = [one.stages[one.tested]["auroc"] for of in comparisons.values() for one in of.sets.values()]
    if not known or pd.concat(known).isna().all():
        return style.too_few(title)
    measures = next(iter(comparisons.values())).primary
    heights, gap = [30 + 50 * (len(one.sets) + (len(one.sets) > 1)) for one in comparisons.values()], 84
    inside = sum(heights) + gap * (len(heights) - 1)
    titles = [_question(name, one, of) for name, one in comparisons.items() for of in measures]
    figure = make_subplots(
        rows=len(comparisons), cols=len(measures), row_heights=heights, subplot_titles=titles, shared_yaxes=True,
        horizontal_spacing=0.06, vertical_spacing=min(1, gap / inside),
    )  # fmt: skip
    for row, one in enumerate(comparisons.values(), start=1):
        rows = {**one.sets} | ({POOL: one} if len(one.sets) > 1 else {})
        labels = [_model(name, one.stages[one.tested].loc[measures[0]], sizes or {}) for name, one in rows.items()]
        for col, measure in enumerate(measures, start=1):
            traces = _of_models(one, rows, measure)
            figure.add_traces(traces, rows=row, cols=col)
            figure.update_yaxes(tickvals=[*range(len(rows))], ticktext=labels, automargin=True, row=row, col=col)
            figure.update_yaxes(range=[len(rows) - 0.4, -0.6], row=row, col=col)
    told: set[str] = set()
    for trace in figure.data:
        trace.showlegend = trace.legendgroup not in told
        told.add(trace.legendgroup)
    _no_difference(figure)
    figure.update_xaxes(range=[0, 1], dtick=0.25).update_annotations(font_size=13)
    low, high = SMALLEST
    text = f"AUROC (0.5: no difference;<br>{low} to {high}: too small to matter)"
    figure.add_annotation(text=text, x=0.5, y=0, yshift=-34, xref="paper", yref="paper", yanchor="top", showarrow=False)
    figure = style.titled(figure, title, inside=inside, above=50).update_layout(legend_y=1 + 56 / inside)
    return figure.update_layout(height=figure.layout.height + 20, margin_b=figure.layout.template.layout.margin.b + 20)


def _question(name: str, comparison: Comparison, measure: str) -> str:
    """A panel's title: what is asked, of which measure, and the pool of two models or more under all controls."""
    said = f"<b>{style.shown(name)}</b><br>{title_and_unit(measure)[0]}"
    pooled = comparison.interval(comparison.last, measure)
    between = comparison.heterogeneity.loc[measure, comparison.last]
    return said if np.isnan(pooled.estimate) else f"{said}<br>{pooled}, I² = {between:.0%}"


def _model(name: str, row: pd.Series, sizes: Mapping[str, float]) -> str:
    """A model's label: its name, its parameters where they are known, and how many responses are compared."""
    size = sizes.get(name, np.nan)
    about = ("" if np.isnan(size) else style.in_short(size)) + style.counted(row)
    return f"{style.wrapped(name)}<br>{about.strip()}"


def _of_models(comparison: Comparison, rows: Mapping[str, Comparison], measure: str) -> list[go.Scatter]:
    """The marks of a panel: models and their pool, where it is tested and under all controls."""
    is_pool = np.array([name == POOL for name in rows])
    row = comparison.stages[comparison.last].loc[measure]
    traces = []
    if not np.isnan(row.get("next_low", np.nan)):
        band = pd.DataFrame({"null_low": [row["next_low"]], "null_high": [row["next_high"]]})
        traces.append(_null_band(band, [len(rows) - 1 + 0.17]).update(name="a further model (95 %)"))
    for place, stage in enumerate(dict.fromkeys([comparison.tested, comparison.last])):
        symbols = np.where(is_pool, "diamond", "square") if place else np.where(is_pool, "diamond-open", "square-open")
        marker = {"color": style.COLOURS[1 - place], "size": np.where(is_pool, 14, 8), "symbol": symbols, "opacity": 1}
        table, y = _by_set(rows, measure, stage), [at + (0.17 if place else -0.17) for at in range(len(rows))]
        said = [f"{name}, {title_and_unit(measure)[0]}, {stage}" for name in rows]
        traces.append(style.intervals(table, y, said, marker=marker, name=stage))
    return [trace.update(legendgroup=trace.name) for trace in traces]


def by_size(
    comparison: Comparison, families: Mapping[str, Sequence[str]], sizes: Mapping[str, float], *, title: str
) -> go.Figure:
    """The effect under all controls of each model of a family over its number of parameters; a panel a measure."""
    models = {name: comparison.sets[name] for own in families.values() for name in own}
    tables = {measure: _by_set(models, measure, comparison.last) for measure in comparison.primary}
    if all(table["auroc"].isna().all() for table in tables.values()):
        return style.too_few(title)
    names = [title_and_unit(measure)[0] for measure in tables]
    figure = make_subplots(rows=1, cols=len(tables), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.06)
    for col, table in enumerate(tables.values(), start=1):
        for (family, own), look in zip(families.items(), style.in_order(families).values(), strict=True):
            marks = style.intervals(table.loc[own], [sizes[name] for name in own], own, marker={}, name=family)
            marks.update(x=marks.y, y=marks.x, error_y=marks.error_x.to_plotly_json(), error_x=None, **_line(look))
            said = "%{text}: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]<extra></extra>"
            figure.add_trace(marks.update(hovertemplate=said, legendgroup=family, showlegend=col == 1), 1, col)
    low, high = SMALLEST
    figure.add_hrect(y0=low, y1=high, fillcolor=style.COLOURS[2], opacity=0.1, line_width=0, layer="below")
    figure.add_hline(y=0.5, line=style.THIN)
    ticks = sorted({sizes[name] for name in models})
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[*map(style.in_short, ticks)], title_text="parameters")
    figure.update_yaxes(title_text=f"AUROC, {comparison.last}", col=1).update_annotations(font_size=13)
    return style.titled(figure, title, inside=276, above=24).update_layout(legend_y=1 + 24 / 276)


def strips(values: pd.Series, subgroups: pd.Series, groups: pd.Series, measure: str, *, title: str) -> go.Figure:
    """A measure of single responses, a strip a subgroup: every response a dot, each group with median and quartiles.

    `values`, `subgroups` and `groups` are indexed by response; one that is missing in any is left out. Subgroups and
    groups stand in the order of their categories, else sorted.
    """
    table = pd.DataFrame({"value": values, "subgroup": subgroups, "group": groups}).dropna()
    if table.empty:
        return style.too_few(title)
    n = pd.crosstab(table["subgroup"], table["group"])
    labels = {of: f"{style.wrapped(str(of))} (n = {' + '.join(str(k) for k in n.loc[of] if k)})" for of in n.index}
    figure = go.Figure()
    for group, look in zip(n.columns, style.in_order(n.columns).values(), strict=True):
        own = table[table["group"] == group]
        figure.add_box(
            x=own["value"], y=own["subgroup"].astype(object).map(labels), orientation="h", offsetgroup=str(group),
            name=f"{style.shown(str(group))} (n = {len(own)})", boxpoints="all", jitter=0.7, pointpos=0,
            showwhiskers=False, line={"color": look.colour, "width": 2}, fillcolor=style.faded(look.colour, 0.15),
            marker={"color": style.faded(look.colour, 0.6), "symbol": look.symbol, "size": 5},
            hovertext=own.index, hovertemplate="%{hovertext}: %{x:.3f}<extra></extra>",
        )  # fmt: skip
    together = (n > 0).sum(axis=1).max() > 1
    figure.update_layout(boxmode="group" if together else "overlay", boxgap=0.2)
    figure.update_xaxes(title_text=style.axis_title(measure))
    in_turn = {"type": "category", "categoryorder": "array", "categoryarray": [*labels.values()]}
    figure.update_yaxes(in_turn, autorange="reversed", automargin=True)
    return style.titled(figure, title, inside=30 + (90 if together else 60) * len(labels))


def shares(table: pd.DataFrame, *, title: str, x_title: str) -> go.Figure:
    """Shares with their 95 % intervals, a row a way; where there is a row `chance`, it is a line across all of them.

    `table` is indexed by the way and has the columns estimate, low, high, n.
    """
    ways = table.drop(index="chance", errors="ignore")
    one_n = ways["n"].nunique() == 1
    labels = [style.wrapped(str(way)) + ("" if one_n else f" (n = {n:.0f})") for way, n in ways["n"].items()]
    marks = ways[["estimate", "low", "high"]]
    figure = go.Figure(style.intervals(marks, labels, [*ways.index], marker={"color": style.COLOURS[0], "size": 9}))
    if "chance" in table.index:
        chance = float(table.loc["chance", "estimate"])
        said = {"text": f"chance {chance:.2f}", "xanchor": "center", "yanchor": "bottom"}
        figure.add_vline(x=chance, line=style.THIN, annotation=said)
    figure.update_xaxes(title_text=x_title, range=[-0.02, 1.02])
    figure.update_yaxes(range=[len(ways) - 0.5, -0.5], automargin=True)
    title = f"{title} (n = {ways['n'].iloc[0]:.0f})" if one_n else title
    return style.titled(figure, title, inside=26 + 36 * len(ways))


# ---- one response


def response(trace: xr.Dataset, measures: Sequence[str] = ("entropy", "varentropy"), *, title: str = "") -> go.Figure:
    """One response: means over layers and heads of each measure at every token; below, the entropy of every layer.

    Raises TraceError for an unknown measure.
    """
    n_rows = len(measures) + 1
    heights = [1.0] * len(measures) + [1.3]
    figure = make_subplots(rows=n_rows, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=heights)
    steps, tokens = trace["step"].to_numpy(), [text.replace("\n", "⏎") for text in trace["token"].to_numpy()]
    for row, measure in enumerate(measures, start=1):
        figure.add_scatter(
            x=steps, y=without_cross(values_of(trace, measure)).mean(["layer", "head"]).to_numpy(),
            mode="lines+markers", marker={"size": 5}, line={"color": style.COLOURS[0]}, showlegend=False,
            customdata=[*map(style.shown, tokens)], hovertemplate="step %{x} “%{customdata}”: %{y:.3f}<extra></extra>",
            row=row, col=1,
        )  # fmt: skip
        figure.update_yaxes(title_text=style.axis_title(measure).removeprefix("attention "), row=row, col=1)
    by_layer = trace.entropy.mean("head").transpose("layer", "step")
    bar = {"title": {"text": "entropy (nat)", "side": "right"}, "len": 0.4, "y": 0.18}
    said = "step %{x}, layer %{y}: %{z:.3f} nat<extra></extra>"
    heat = {"x": steps, "y": by_layer["layer"].to_numpy(), "z": by_layer.to_numpy(), "hovertemplate": said}
    figure.add_trace(go.Heatmap(heat, colorscale="Cividis", colorbar=bar), n_rows, 1)
    figure.update_yaxes(title_text="layer", showgrid=False, row=n_rows, col=1)
    every = -(-len(steps) // _TICKS)
    short = [text if len(text) <= _TICK_LENGTH else text[: _TICK_LENGTH - 1] + "…" for text in tokens[::every]]
    figure.update_xaxes(
        title_text="token of the response", tickvals=steps[::every], ticktext=[*map(style.shown, short)], tickangle=-60,
        tickfont={"size": 10}, title_standoff=12, automargin=True, row=n_rows, col=1,
    )  # fmt: skip
    return style.titled(figure, title, inside=200 * len(measures) + 206)
