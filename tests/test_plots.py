"""Figures hold what they were given, say their units, and never compute."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from plotly.colors import hex_to_rgb
from test_trace import filled

from attnent.analysis import Comparison, StatsError
from attnent.show import plots, style
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
    assert style.axis_title(measure) != measure


def late(n_late):
    """A curve whose last steps have so many responses, and bands that are wide and reach below 0."""
    table = curve_table().assign(n=lambda t: np.where(t["step"] > 4, n_late, 30))
    wide = (table["step"] > 4) * 50
    return table.assign(low=table["low"] - wide, high=table["high"] + wide)


def test_steps_that_few_responses_reach_do_not_set_the_scale_and_it_is_said():
    axis = plots.curves({"entropy": late(2)}, title="t").layout
    assert axis.yaxis.range == pytest.approx((-0.4, 8.4)), "0 to 8, and a twentieth on either side"
    assert axis.xaxis2.title.text == "step (token); scale: steps that a tenth of each group reaches"


def test_where_enough_responses_reach_every_step_all_of_them_set_the_scale():
    axis = plots.curves({"entropy": late(3)}, title="t").layout
    assert axis.yaxis.range is None
    assert axis.xaxis2.title.text == "step (token)"


@pytest.mark.parametrize(
    ("measure", "ends"),
    [
        ("varentropy", (0, 59)), ("normalized_entropy", (0, 1)), ("sink_mass", (0, 1)), ("logprob", (-46, 0)),
        ("effective_keys", (0, 59)), ("n_steps", (-46, 59)),
    ],
)  # fmt: skip
def test_a_band_ends_where_its_measure_does(measure, ends):
    figure = plots.curves({measure: late(3).assign(high=lambda t: t["high"].clip(upper=59))}, title="t")
    bands = np.concatenate([trace.y for trace in figure.data if trace.fill == "toself"])
    assert (bands.min(), bands.max()) == ends


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


def auroc_maps(**by_stage):
    return plots.auroc_maps({"normalized_entropy": by_stage}, title="t")


def test_maps_mark_the_heads_that_stand_out_on_either_side_of_chance():
    values = np.linspace(0, 1, 15).reshape(3, 5)
    figure = auroc_maps(raw=heads(values, np.where(abs(values - 0.5) > 0.4, 0.01, 0.5)))
    heat, above, below = figure.data
    np.testing.assert_array_equal(heat.z, values)
    assert list(heat.y) == [2, 5, 7]
    assert list(zip(above.y, above.x, strict=True)) == [(7, 3), (7, 4)]
    assert list(zip(below.y, below.x, strict=True)) == [(2, 0), (2, 1)]
    assert above.marker.symbol != below.marker.symbol


@pytest.mark.parametrize("lowest", [0.1, 0.45])
def test_all_maps_of_all_figures_share_one_narrow_scale_around_no_difference(lowest):
    figure = auroc_maps(raw=heads([[0.52, lowest]]), fixed=heads([[0.5, 0.54]]))
    assert {one.coloraxis for one in figure.data if one.type == "heatmap"} == {"coloraxis"}
    scale = figure.layout.coloraxis
    assert (scale.cmin, scale.cmax) == (0.25, 0.75)
    assert (scale.colorbar.ticktext[0], scale.colorbar.ticktext[-1]) == ("≤ 0.25", "≥ 0.75")


def test_a_click_on_a_map_may_open_the_head_and_layer_of_its_cell():
    for figure in (
        auroc_maps(raw=heads([[0.2, 0.9]])),
        plots.level_maps({"a": heads([[0.1, 0.9]]).auroc}, "entropy", title="t"),
    ):
        assert figure.layout.meta == {"opens": "head"}
        assert (list(figure.data[0].x), list(figure.data[0].y)) == ([0, 1], [2])


def test_a_measure_has_a_row_of_maps_and_a_stage_a_column():
    found = {"raw": heads([[0.2, 0.9]]), "lengths fixed": heads([[0.4, 0.6]])}
    figure = plots.auroc_maps({"entropy": found, "varentropy": found}, title="t")
    names = [panel.text.partition("<br>")[0] for panel in figure.layout.annotations]
    assert names == [f"attention {of}, {stage}" for of in ("entropy", "varentropy") for stage in found]
    left, right, below, _ = (figure.layout[f"xaxis{n}"].domain for n in ("", "2", "3", "4"))
    assert left == below
    assert left[1] < right[0]


def test_a_stage_that_a_measure_lacks_leaves_its_place_empty():
    one, two = {"raw": heads([[0.2]])}, {"raw": heads([[0.3]]), "fixed": heads([[0.4]])}
    figure = plots.auroc_maps({"entropy": one, "varentropy": two}, title="t")
    assert [trace.xaxis for trace in figure.data] == ["x", "x3", "x4"]


def test_a_map_counts_the_heads_that_stand_out_among_those_that_could_be_compared():
    found = heads([[0.2, np.nan, 0.9]], np.array([[0.5, 0.5, 0.01]]), n_a=41, n_b=40)
    [panel] = auroc_maps(raw=found).layout.annotations
    assert panel.text == "normalized attention entropy, raw<br>1 of 2 heads beyond chance (n = 41 + 40)"


def test_a_missing_value_on_a_map_is_marked_as_missing():
    _, missing = auroc_maps(raw=heads([[0.2, np.nan, 0.7]])).data
    assert (list(missing.y), list(missing.x)) == ([2], [1])


def test_maps_of_differences_darken_and_part_in_hue_on_both_sides_of_no_difference():
    scale = auroc_maps(raw=heads([[0.1, 0.9]])).layout.coloraxis.colorscale
    colours = [[int(number) for number in colour[4:-1].split(",")] for _, colour in scale]
    light = [np.dot((0.2126, 0.7152, 0.0722), colour) for colour in colours]
    middle = len(light) // 2
    assert light == sorted(light[:middle]) + sorted(light[middle:], reverse=True)
    assert np.argmax(colours[0]) == 2, "blue where lower"
    assert np.argmax(colours[-1]) == 0, "red where higher"


def test_the_lightness_of_levels_rises_with_the_value():
    of_heads = plots.level_maps({"a": heads([[0.1, 0.9]]).auroc}, "entropy", title="t").layout.coloraxis
    of_layers = plots.response(make_trace(**filled())).data[-1]
    for scale in (of_heads.colorscale, of_layers.colorscale):
        light = [np.dot((0.2126, 0.7152, 0.0722), hex_to_rgb(colour)) for _, colour in scale]
        assert light == sorted(light)


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


def test_a_grade_has_one_look_in_every_figure_whatever_stands_beside_it():
    wrong = [style.in_order(groups)["wrong"] for groups in (["wrong", "right"], ["right", "wrong"], ["other", "wrong"])]
    assert wrong == [style.in_order(["incorrect"])["incorrect"]] * 3
    assert len(set(style.in_order(["other", "wrong", "incorrect", "right"]).values())) == 4


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
    assert long.title.pad.t > short.title.pad.t, "plotly centres lines on where one would stand"


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


def effect_table(rows=("entropy",), estimate=0.6, **columns):
    return pd.DataFrame({"auroc": estimate, "low": estimate - 0.05, "high": estimate + 0.1} | columns, index=[*rows])


def test_effects_say_how_many_responses_were_compared():
    table = effect_table(n_a=94, n_b=100)
    assert plots.effects({"raw": table}, title="t", a="x", b="y").data[0].name == "raw (n = 94 + 100)"


def test_effects_show_each_interval():
    figure = plots.effects({"raw": effect_table(), "held": effect_table()}, title="t", a="x", b="y")
    assert len(figure.data) == 2
    np.testing.assert_allclose(figure.data[0].error_x.array, [0.1])
    np.testing.assert_allclose(figure.data[0].error_x.arrayminus, [0.05])
    assert "AUROC, x over y" in figure.layout.xaxis.title.text


def test_a_null_band_lies_behind_its_mark_and_is_named_once():
    table = effect_table(["entropy", "varentropy"], null_low=[0.46, np.nan], null_high=[0.52, np.nan])
    figure = plots.effects({"raw": table, "held": table}, title="t", a="x", b="y")
    bands = [one for one in figure.data if one.name == "null band (95 %)"]
    assert bands == list(figure.data[:2])
    assert [band.showlegend for band in bands] == [True, False]
    for band, marks in zip(bands, figure.data[2:], strict=True):
        np.testing.assert_allclose([band.x[0] - band.error_x.array[0], band.x[0] + band.error_x.array[0]], [0.46, 0.52])
        assert list(band.y) == list(marks.y)


def test_rows_of_effects_may_be_subgroups_under_their_own_names():
    figure = plots.effects({"raw": effect_table(["stories", "<i>poems</i>"])}, title="t", a="x", b="y")
    assert figure.layout.yaxis.ticktext == ("stories", "&lt;i&gt;poems&lt;/i&gt;")


def compared(*estimates, n=(40, 60), measures=("varentropy", "entropy")):
    stages = zip(("raw", "window", "lengths fixed", "baselines fixed"), estimates, strict=True)
    of_stages = {stage: effect_table(measures, estimate, p=0.1, n_a=n[0], n_b=n[1]) for stage, estimate in stages}
    return Comparison("wrong", "right", of_stages, "window")


def replicated():
    sets = {f"set {k}": compared(0.9, 0.6 - k / 20, 0.7, 0.5 + k / 10) for k in (1, 2, 3)}
    return replace(compared(0.9, 0.52, 0.7, 0.61, n=(120, 180)), sets=sets)


def test_a_forest_has_a_row_a_set_and_the_pool_below_where_it_is_tested_and_under_all_controls():
    tested, controlled = plots.forest(replicated(), "varentropy", title="t").data
    np.testing.assert_allclose(tested.x, [0.55, 0.5, 0.45, 0.52])
    np.testing.assert_allclose(controlled.x, [0.6, 0.7, 0.8, 0.61])
    np.testing.assert_allclose(controlled.error_x.array, 0.1)
    assert list(tested.marker.symbol) == ["square"] * 3 + ["diamond"]
    assert max(tested.marker.size) == tested.marker.size[-1] > tested.marker.size[0]


def test_a_forest_says_how_many_each_set_rests_on_and_how_much_sets_differ():
    figure = plots.forest(replicated(), ["varentropy", "entropy"], title="t")
    labels = [f"set {k} (n = 40 + 60)" for k in (1, 2, 3)]
    assert list(figure.layout.yaxis.ticktext) == [*labels, "pooled (n = 120 + 180)"]
    between = replicated().heterogeneity.loc["entropy", "baselines fixed"]
    titles = [panel.text for panel in figure.layout.annotations]
    assert titles[3] == f"attention entropy, baselines fixed<br>0.61 [0.56, 0.71], I² = {between:.0%}"


def test_a_forest_without_sets_is_one_row():
    figure = plots.forest(compared(0.9, 0.6, 0.6, 0.6), "entropy", title="t")
    assert figure.layout.yaxis.ticktext == ("all responses (n = 40 + 60)",)
    assert "I²" not in figure.layout.annotations[0].text


def test_a_set_where_a_measure_is_missing_keeps_its_row_without_a_mark():
    comparison = replicated()
    comparison.sets["set 2"].stages["window"].loc["varentropy", ["auroc", "low", "high"]] = np.nan
    figure = plots.forest(comparison, "varentropy", title="t")
    assert np.isnan(figure.data[0].x).tolist() == [False, True, False, False]
    assert len(figure.layout.yaxis.ticktext) == 4


def test_a_forest_of_a_measure_that_was_not_compared_names_those_that_were():
    with pytest.raises(StatsError, match="no measure 'entropi' was compared; choose one of varentropy, entropy"):
        plots.forest(replicated(), "entropi", title="t")


def test_what_is_too_small_to_matter_is_shaded_in_every_panel_of_effects_and_forests():
    effects = plots.effects({"raw": effect_table()}, title="t", a="x", b="y")
    forest = plots.forest(replicated(), ["varentropy", "entropy"], title="t")
    for figure, n_panels in ((effects, 1), (forest, 4)):
        zones = [shape for shape in figure.layout.shapes if shape.type == "rect"]
        assert [(zone.x0, zone.x1) for zone in zones] == [(0.45, 0.55)] * n_panels


def solutions():
    """Values, subgroups and groups of six responses; the last has no subgroup."""
    table = pd.DataFrame(
        {
            "value": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
            "subgroup": ["two", "ten", "ten", "two", "two", None],
            "group": ["right", "right", "wrong", "wrong", "wrong", "wrong"],
        },
        index=[f"r{k}" for k in range(6)],
    )
    return table["value"], table["subgroup"], table["group"]


def test_strips_hold_every_response_that_has_a_subgroup_beside_its_own():
    right, wrong = plots.strips(*solutions(), "entropy", title="t").data
    assert dict(zip(right.x, right.y, strict=True)) == {0.1: "two (n = 1 + 2)", 0.2: "ten (n = 1 + 1)"}
    assert list(wrong.x) == [0.3, 0.4, 0.5]
    assert list(wrong.hovertext) == ["r2", "r3", "r4"]
    assert wrong.boxpoints == "all"


def test_the_groups_of_strips_differ_in_mark_as_well_as_in_colour():
    right, wrong = plots.strips(*solutions(), "entropy", title="t").data
    assert (right.name, wrong.name) == ("right (n = 2)", "wrong (n = 3)")
    assert right.marker.symbol != wrong.marker.symbol
    assert right.marker.color != wrong.marker.color


def test_strips_stand_in_the_order_of_their_categories():
    values, subgroups, groups = solutions()
    in_order = subgroups.astype(pd.CategoricalDtype(["two", "three", "ten"]))
    axis = plots.strips(values, in_order, groups, "entropy", title="t").layout.yaxis
    assert [label.partition(" (")[0] for label in axis.categoryarray] == ["two", "ten"]
    assert axis.autorange == "reversed", "the first on top"


def test_subgroups_of_one_group_each_have_their_strip_in_the_middle_of_their_row():
    values, subgroups, groups = solutions()
    assert plots.strips(values, subgroups, groups, "entropy", title="t").layout.boxmode == "group"
    alone = groups.map({"right": "two", "wrong": "ten"})
    assert plots.strips(values, alone, groups, "entropy", title="t").layout.boxmode == "overlay"


def test_subgroups_that_are_numbers_are_no_places_on_an_axis():
    values, _, groups = solutions()
    figure = plots.strips(values, pd.Series([10, 2, 2, 10, 2, 2], values.index), groups, "entropy", title="t")
    assert figure.layout.yaxis.type == "category"
    assert [label.partition(" (")[0] for label in figure.layout.yaxis.categoryarray] == ["2", "10"]


def test_where_there_is_nothing_to_show_the_figure_says_so():
    nothing = effect_table(estimate=np.nan)
    values, subgroups, groups = solutions()
    for figure in (
        plots.effects({"raw": nothing}, title="t", a="x", b="y"),
        plots.effects({}, title="t", a="x", b="y"),
        plots.forest(compared(*[np.nan] * 4), "entropy", title="t"),
        plots.strips(values * np.nan, subgroups, groups, "entropy", title="t"),
        auroc_maps(raw=heads([[np.nan]])),
        plots.auroc_maps({}, title="t"),
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
