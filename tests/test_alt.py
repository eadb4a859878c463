"""What a figure shows is said to those who do not see it."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest
from test_plots import auroc_maps, curve_table, effect_table, heads, solutions

from attnent.show import plots, style
from attnent.show.alt import alt_text


def saved(figure):
    """A figure as a notebook holds it."""
    return json.loads(figure.to_json())


def test_a_curve_is_told_by_its_title_its_axes_and_the_ends_of_its_lines():
    said = alt_text(saved(plots.curves({"entropy": curve_table()}, title="Attention")))
    assert said == (
        "Attention. Lines of attention entropy (nat), responses over step (token): "
        "factual from 0 at first to 6 at last; creative from 3 at first to 9 at last."
    )


def test_marks_with_intervals_are_told_by_their_number_and_range():
    figure = plots.effects({"raw": effect_table(["a", "b"], np.array([0.6, 0.7]))}, title="t", a="x", b="y")
    assert alt_text(saved(figure)).endswith("too small to matter): raw, 2 from 0.6 to 0.7.")


def test_maps_are_told_each_by_its_title_without_their_marks():
    said = alt_text(saved(auroc_maps(raw=heads([[0.2, np.nan, 0.9]], p=0.01))))
    assert said == "t. Maps of layer over head: normalized attention entropy, raw, 2 from 0.2 to 0.9."


def test_strips_are_told_by_their_groups():
    said = alt_text(saved(plots.strips(*solutions(), "entropy", title="t")))
    assert "right (n = 2), 2 from 0.1 to 0.2; wrong (n = 3), 3 from 0.3 to 0.5" in said


def test_where_nothing_is_drawn_the_sentence_in_its_place_is_told():
    assert alt_text(saved(style.too_few("t"))) == "t. nothing to show: too few responses in the groups"


def test_text_is_told_as_a_reader_sees_it():
    figure = plots.curves({"entropy": curve_table().assign(group="<b>x</b>")}, title="a <i>b</i>")
    assert alt_text(saved(figure)).startswith("a <i>b</i>. Lines")
    assert "<b>x</b> from 0 at first" in alt_text(saved(figure))


def test_of_many_traces_the_first_are_told_and_the_others_counted():
    said = alt_text(saved(go.Figure([go.Scatter(y=[1, 2], name=f"line {k}") for k in range(12)])))
    assert said.count("at last") == 8
    assert said.endswith("; and 4 more.")


@pytest.mark.parametrize(
    "figure", [go.Figure(), go.Figure(go.Scatter(y=["a", "b"])), go.Figure(go.Heatmap(z=[[None]]))]
)
def test_a_figure_of_another_kind_is_told_as_far_as_it_goes(figure):
    assert isinstance(alt_text(saved(figure)), str)
