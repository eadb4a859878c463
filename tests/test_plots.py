"""Figures hold what they were given, say their units, and never compute."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from plotly.colors import hex_to_rgb
from test_trace import filled

from attnent.show import plots
from attnent.trace import DERIVED, MEASURES, TraceError, make_trace


def curve_table(n_steps=7):
    rows = [
        {"group": group, "step": step, "mean": step + shift, "low": step + shift - 1, "high": step + shift + 1, "n": 11}
        for group, shift in (("factual", 0), ("creative", 3))
        for step in range(n_steps)
    ]
    return pd.DataFrame(rows)


def test_a_curve_figure_holds_means_bands_and_counts():
    figure = plots.curves({"entropy": curve_table()}, title="t", window=4)
    means = {trace.name: trace.y for trace in figure.data if trace.name in ("factual", "creative")}
    np.testing.assert_array_equal(means["creative"], np.arange(7) + 3)
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    np.testing.assert_array_equal(bands[0].y[:7], np.arange(7) + 1)
    assert any(trace.y is not None and list(trace.y) == [11] * 7 for trace in figure.data), "n at each step"


def test_the_matched_window_is_shaded_and_said():
    figure = plots.curves({"entropy": curve_table()}, title="t", window=4)
    assert {(shape.x0, shape.x1) for shape in figure.layout.shapes} == {(-0.5, 3.5)}
    assert "window of 4 steps" in figure.layout.xaxis2.title.text


def test_units_stand_on_the_axes():
    figure = plots.curves({"entropy": curve_table(), "varentropy": curve_table()}, title="t")
    assert figure.layout.yaxis.title.text == "attention entropy (nat)"
    assert figure.layout.yaxis2.title.text == "attention varentropy (nat²)"


@pytest.mark.parametrize("measure", [*MEASURES, *DERIVED])
def test_every_measure_has_a_name_for_its_axis(measure):
    assert plots.axis_title(measure) != measure


def test_groups_differ_in_dash_as_well_as_in_colour():
    figure = plots.curves({"entropy": curve_table()}, title="t")
    lines = {trace.name: trace.line for trace in figure.data if trace.name in ("factual", "creative")}
    assert lines["factual"].dash != lines["creative"].dash
    assert lines["factual"].color != lines["creative"].color


def heads(auroc, p=1.0, **counts) -> xr.Dataset:
    """A map as `analysis.head_map` gives it, with layers that are not counted from nought."""
    auroc = np.asarray(auroc, float)
    coords = {"layer": [2, 5, 7][: len(auroc)], "head": range(auroc.shape[1])}
    values = xr.DataArray(auroc, coords, ("layer", "head"), attrs={"long_name": "AUROC"} | counts)
    return xr.Dataset({"auroc": values, "p_max_t": xr.where(values.notnull(), p, np.nan)})


def test_maps_share_one_fixed_colour_scale_and_mark_the_heads_that_stand_out_on_either_side_of_chance():
    values = np.linspace(0, 1, 15).reshape(3, 5)
    figure = plots.auroc_maps({"entropy": heads(values, np.where(abs(values - 0.5) > 0.4, 0.01, 0.5))}, title="t")
    heat, above, below = figure.data
    np.testing.assert_array_equal(heat.z, values)
    assert list(heat.y) == [2, 5, 7]
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0.0, 1.0)
    assert list(zip(above.y, above.x, strict=True)) == [(7, 3), (7, 4)]
    assert list(zip(below.y, below.x, strict=True)) == [(2, 0), (2, 1)]
    assert above.marker.symbol != below.marker.symbol


def test_a_map_counts_the_heads_that_stand_out_among_those_that_could_be_compared():
    found = heads([[0.2, np.nan, 0.9]], np.array([[0.5, 0.5, 0.01]]), n_a=41, n_b=40)
    [panel] = plots.auroc_maps({"normalized_entropy": found}, title="t").layout.annotations
    assert panel.text == "normalized attention entropy<br>1 of 2 heads beyond chance (n = 41 + 40)"


def test_a_missing_value_on_a_map_is_marked_as_missing():
    _, missing = plots.auroc_maps({"entropy": heads([[0.2, np.nan, 0.7]])}, title="t").data
    assert (list(missing.y), list(missing.x)) == ([2], [1])


def test_the_lightness_of_every_map_rises_with_the_value():
    of_heads = plots.auroc_maps({"a": heads([[0.1, 0.9]])}, title="t").layout.coloraxis
    of_layers = plots.response(make_trace(**filled())).data[-1]
    for scale in (of_heads.colorscale, of_layers.colorscale):
        lightness = [np.dot((0.2126, 0.7152, 0.0722), hex_to_rgb(colour)) for _, colour in scale]
        assert lightness == sorted(lightness)


def test_the_levels_of_all_groups_stand_on_one_scale_from_nought():
    levels = {"right": heads([[0.5, 2.0]]).auroc, "wrong": heads([[0.1, 3.0]]).auroc}
    figure = plots.level_maps(levels, "entropy", title="t")
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0.0, 3.0)
    assert figure.layout.coloraxis.colorbar.title.text == "attention entropy (nat)"


def test_steps_on_both_sides_of_a_moment_have_a_line_at_it_and_others_none():
    around = curve_table().assign(step=lambda t: t["step"] - 1)
    assert len(plots.curves({"entropy": around}, title="t").layout.shapes) == 2
    assert not plots.curves({"entropy": curve_table()}, title="t").layout.shapes


def test_a_group_keeps_its_line_where_others_are_hidden_or_missing():
    both = curve_table().assign(group=lambda t: t["group"].astype(pd.CategoricalDtype(["factual", "creative"])))
    only = both[both["group"] == "creative"]
    lines = [
        next(one.line for one in plots.curves({"entropy": table}, title="t").data if one.name == "creative")
        for table in (both, only)
    ]
    assert lines[0] == lines[1]


def test_a_curve_hidden_by_its_legend_takes_its_band_and_its_count_along():
    figure = plots.curves({"entropy": curve_table()}, title="t")
    assert [one.legendgroup for one in figure.data].count("creative") == 3
    assert all(one.legendgroup for one in figure.data)


def test_more_groups_than_colours_still_differ():
    tables = [curve_table().assign(group=lambda t, k=k: t["group"] + str(k)) for k in range(4)]
    figure = plots.curves({"entropy": pd.concat(tables)}, title="t")
    assert len({one.name for one in figure.data if one.name}) == 8


HOSTILE = "<b>bold</b> &amp; <img src=x onerror=alert(1)>"


def test_text_that_a_model_wrote_is_shown_and_not_taken_for_markup():
    given = filled() | {"token": [HOSTILE] * 7}
    figure = plots.response(make_trace(**given), title=HOSTILE)
    curve = plots.curves({"entropy": curve_table().assign(group=HOSTILE)}, title=HOSTILE)
    for text in (
        figure.layout.title.text,
        *figure.data[0].customdata,
        *figure.layout.xaxis3.ticktext,
        curve.layout.title.text,
        *(one.name or "" for one in curve.data),
        *(one.hovertemplate.removesuffix("<extra></extra>") for one in curve.data if one.hovertemplate),
    ):
        assert "<" not in text
    assert "&lt;b&gt;bold&lt;/b&gt; &amp;amp;" in figure.layout.title.text


def test_a_long_title_is_broken_into_lines_with_room_for_them():
    short, long = (plots.lines({}, title=title, y_title="y").layout for title in ("short", "word " * 30))
    assert long.title.text.count("<br>") == 1
    assert long.margin.t > short.margin.t


def test_a_long_response_labels_a_part_of_its_tokens_each_of_them_short():
    many = 400
    given = filled()
    given["measures"] = {name: np.zeros((2, 3, many)) for name in MEASURES}
    given["steps"] = {name: np.resize(values, (many, *values.shape[1:])) for name, values in given["steps"].items()}
    trace = make_trace(**given | {"n_keys": np.full((2, many), 9), "token": ["antidisestablishmentarianism"] * many})
    labels = plots.response(trace).layout.xaxis3.ticktext
    assert 40 <= len(labels) <= 80
    assert max(map(len, labels)) <= 14


def test_a_figure_of_an_unknown_measure_names_those_there_are():
    with pytest.raises(TraceError, match="no measure 'entropi'; choose one of entropy"):
        plots.response(make_trace(**filled()), ["entropi"])


def test_effects_say_how_many_responses_were_compared():
    table = pd.DataFrame({"auroc": [0.6], "low": [0.5], "high": [0.7], "n_a": [94], "n_b": [100]}, index=["entropy"])
    assert plots.effects({"raw": table}, title="t", a="x", b="y").data[0].name == "raw (n = 94 + 100)"


def test_effects_show_each_interval():
    table = pd.DataFrame({"auroc": [0.6], "low": [0.55], "high": [0.7]}, index=["entropy"])
    figure = plots.effects({"raw": table, "held": table}, title="t", a="x", b="y")
    assert len(figure.data) == 2
    np.testing.assert_allclose(figure.data[0].error_x.array, [0.1])
    np.testing.assert_allclose(figure.data[0].error_x.arrayminus, [0.05])
    assert "AUROC, x over y" in figure.layout.xaxis.title.text


def test_where_there_is_nothing_to_show_the_figure_says_so():
    nothing = pd.DataFrame({"auroc": [np.nan], "low": [np.nan], "high": [np.nan]}, index=["entropy"])
    for figure in (
        plots.effects({"raw": nothing}, title="t", a="x", b="y"),
        plots.auroc_maps({"entropy": heads([[np.nan]])}, title="t"),
        plots.level_maps({}, "entropy", title="t"),
        plots.curves({"entropy": curve_table().head(0)}, title="t"),
    ):
        assert "too few responses" in figure.layout.annotations[0].text


def test_a_map_says_how_many_responses_it_rests_on():
    [panel] = plots.level_maps({"correct": heads([[0.1]], n=41).auroc}, "entropy", title="t").layout.annotations
    assert panel.text == "correct (n = 41)"


def test_shares_stand_beside_chance_where_it_is_given_and_say_how_many_they_rest_on():
    table = pd.DataFrame(
        {"estimate": [0.25, 0.5, 0.4], "low": [np.nan, 0.4, 0.3], "high": [np.nan, 0.6, 0.5], "n": [90, 90, 90]},
        index=["chance", "<b>one</b>", "another"],
    )
    with_chance = plots.shares(table, title="Found", x_title="share")
    assert with_chance.layout.annotations[0].text == "chance 0.25"
    assert "n = 90" in with_chance.layout.title.text
    assert len(with_chance.data[0].x) == 2
    assert "<b>" not in with_chance.data[0].y[0]
    without = plots.shares(table.drop(index="chance").assign(n=[90, 80]), title="Found", x_title="share")
    assert not without.layout.annotations
    assert [label.split("(")[1] for label in without.data[0].y] == ["n = 90)", "n = 80)"]
