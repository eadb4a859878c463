"""Figures hold what they were given, say their units, and never compute."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from attnent import plots
from attnent.trace import DERIVED, MEASURES


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


def test_maps_share_one_fixed_colour_scale_and_mark_the_heads_asked_for():
    values = xr.DataArray(
        np.linspace(0, 1, 15).reshape(3, 5), {"layer": [2, 5, 7], "head": range(5)}, ("layer", "head")
    )
    marked = values > 0.9
    figure = plots.head_maps(
        {"entropy": values}, title="t", colour_title="AUROC", limits=(0.0, 1.0), marked={"entropy": marked}
    )
    heat, dots = figure.data
    np.testing.assert_array_equal(heat.z, values)
    assert list(heat.y) == [2, 5, 7]
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0.0, 1.0)
    assert list(zip(dots.y, dots.x, strict=True)) == [(7, 3), (7, 4)]


def test_effects_show_each_interval():
    table = pd.DataFrame({"auroc": [0.6], "low": [0.55], "high": [0.7]}, index=["entropy"])
    figure = plots.effects({"raw": table, "held": table}, title="t", a="x", b="y")
    assert len(figure.data) == 2
    np.testing.assert_allclose(figure.data[0].error_x.array, [0.1])
    np.testing.assert_allclose(figure.data[0].error_x.arrayminus, [0.05])
    assert "AUROC, x over y" in figure.layout.xaxis.title.text


def test_where_there_is_nothing_to_show_the_figure_says_so():
    nothing = pd.DataFrame({"auroc": [np.nan], "low": [np.nan], "high": [np.nan]}, index=["entropy"])
    empty_map = xr.DataArray([[np.nan]], {"layer": [0], "head": [0]}, ("layer", "head"))
    for figure in (
        plots.effects({"raw": nothing}, title="t", a="x", b="y"),
        plots.head_maps({"entropy": empty_map}, title="t", colour_title="c"),
        plots.head_maps({}, title="t", colour_title="c"),
        plots.curves({"entropy": curve_table().head(0)}, title="t"),
    ):
        assert "too few responses" in figure.layout.annotations[0].text
