"""Figures of what scores are worth hold what they were given, and say it."""

import numpy as np
import pandas as pd
import pytest

from attnent.detectors.calibration import reliability
from attnent.detectors.rejection import risk_coverage
from attnent.show import worth

ADDED = pd.DataFrame(
    {
        "family": ["token", "attention", "token", "attention"],
        "increment": [0.01, 0.03, -0.02, np.nan],
        "low": [0.0, 0.02, -0.03, np.nan],
        "high": [0.02, 0.04, -0.01, np.nan],
        "n": [90, 90, 90, 90],
    },
    index=["perplexity", "RAUQ", "a <b>", "sink"],
)
BINS = reliability(np.linspace(0.01, 0.99, 60), np.arange(60) % 3 > 0, n_bins=5)


def test_what_each_score_adds_stands_in_order_with_its_interval():
    figure = worth.increments({"difficulty": ADDED}, title="t")
    assert figure.layout.yaxis.ticktext == ("RAUQ", "perplexity", "a &lt;b&gt;", "sink, undetermined")
    marks = {trace.name: trace for trace in figure.data}
    np.testing.assert_array_equal(marks["token"].x, [0.01, -0.02])
    np.testing.assert_array_equal(marks["token"].y, [1, 2])
    np.testing.assert_allclose(marks["token"].error_x.arrayminus, [0.01, 0.01])


def test_families_differ_in_colour_and_mark_whatever_their_order():
    looks = [
        {
            trace.name: (trace.marker.color, trace.marker.symbol)
            for trace in worth.increments({"difficulty": table}, title="t").data
        }
        for table in (ADDED, ADDED.assign(increment=-ADDED["increment"]))
    ]
    assert looks[0] == looks[1]
    assert len({colour for colour, _ in looks[0].values()}) == len({symbol for _, symbol in looks[0].values()}) == 2


def test_a_family_keeps_its_colour_where_others_are_missing():
    families = pd.CategoricalDtype(["attention", "sampling", "token"])
    every = worth.increments({"difficulty": ADDED.astype({"family": families})}, title="t").data
    alone = worth.increments(
        {"difficulty": ADDED[ADDED["family"] == "token"].astype({"family": families})}, title="t"
    ).data
    assert alone[0].marker.color == next(trace.marker.color for trace in every if trace.name == "token")


def test_panels_share_their_rows_in_the_order_of_the_last():
    fewer = ADDED[ADDED["family"] != "token"].assign(
        increment=[0.01, 0.02, np.nan][: (ADDED["family"] != "token").sum()]
    )
    figure = worth.increments({"difficulty": ADDED, "difficulty and tokens": fewer}, title="t")
    assert set(figure.layout.yaxis.ticktext) >= {"RAUQ", "perplexity"}
    assert figure.layout.yaxis2.matches == "y"
    assert figure.layout.xaxis2.title.text == "AUROC added to difficulty and tokens (0: nothing)"
    names = [trace.name for trace in figure.data if trace.showlegend]
    assert len(names) == len(set(names)) == ADDED["family"].nunique()


def test_increments_have_a_line_at_nothing():
    [line] = worth.increments({"difficulty": ADDED}, title="t").layout.shapes
    assert (line.x0, line.x1) == (0, 0)


@pytest.mark.parametrize(("counts", "said"), [([90] * 4, "t (n = 90)"), ([90, 80, 90, 90], "t")])
def test_the_number_of_responses_is_said_once_or_at_each_row(counts, said):
    figure = worth.increments({"difficulty": ADDED.assign(n=counts)}, title="t")
    assert figure.layout.title.text == said
    assert ("(n = 80)" in "".join(figure.layout.yaxis.ticktext)) == (said == "t")


def test_a_reliability_diagram_holds_shares_intervals_counts_and_the_diagonal():
    diagonal, shares, counts = worth.reliability(BINS, title="t").data
    assert (diagonal.x, diagonal.y) == ((0, 1), (0, 1))
    np.testing.assert_array_equal(shares.y, BINS["share"])
    np.testing.assert_allclose(shares.y + shares.error_y.array, BINS["high"])
    np.testing.assert_allclose(shares.y - shares.error_y.arrayminus, BINS["low"])
    np.testing.assert_array_equal(counts.y, [12] * 5)


def test_a_risk_curve_is_drawn_as_it_was_given_above_the_level_of_chance():
    scores, wrong = np.arange(8.0), np.array([0, 0, 0, 1, 0, 1, 1, 1], bool)
    curve = risk_coverage(scores, wrong)
    figure = worth.risk_coverage({"a <b>": curve, "other": risk_coverage(-scores, wrong)}, title="t")
    np.testing.assert_array_equal(figure.data[0].y, curve["risk"])
    assert figure.data[0].name == "a &lt;b&gt;"
    assert figure.data[0].line.dash != figure.data[1].line.dash
    assert [shape.y0 for shape in figure.layout.shapes] == [0.5]


def transfer(*rows):
    values = pd.DataFrame(rows, pd.Index(["a", "b"], name="fitted on"), pd.Index(["a", "b"], name="used on"))
    return worth.matrix(values, values - 0.05, values + 0.05, title="t")


def test_a_matrix_writes_each_number_with_its_interval():
    [heat] = transfer([0.9, 0.6], [0.5, 0.4]).data
    assert [*heat.text[0]] == ["0.90<br>[0.85, 0.95]", "0.60<br>[0.55, 0.65]"]


def test_a_matrix_names_what_was_fitted_and_where_it_is_used():
    layout = transfer([0.9, 0.6], [0.5, 0.4]).layout
    assert (layout.yaxis.title.text, layout.xaxis.title.text) == ("fitted on", "used on")
    assert layout.yaxis.autorange == "reversed"


@pytest.mark.parametrize(("highest", "ends"), [(0.9, (0.1, 0.9)), (0.55, (0.3, 0.7))])
def test_the_scale_of_a_matrix_is_centred_on_chance_and_not_filled_by_noise(highest, ends):
    [heat] = transfer([highest, 0.5], [0.5, 0.5]).data
    np.testing.assert_allclose((heat.zmin, heat.zmax), ends)


def test_a_cell_that_is_undetermined_has_a_dash():
    figure = transfer([0.9, np.nan], [0.5, 0.4])
    [dash] = figure.layout.annotations
    assert (dash.x, dash.y, dash.text) == ("b", "a", "–")
    assert figure.data[0].text[0][1] == ""


@pytest.mark.parametrize(
    "figure",
    [
        worth.increments({"difficulty": ADDED.assign(increment=np.nan)}, title="t"),
        worth.reliability(BINS[:0], title="t"),
        worth.risk_coverage({}, title="t"),
        transfer([np.nan, np.nan], [np.nan, np.nan]),
    ],
)
def test_where_there_is_nothing_to_show_it_is_said(figure):
    assert [note.text for note in figure.layout.annotations] == ["nothing to show: too few responses in the groups"]
