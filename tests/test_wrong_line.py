"""The wrong moment against ordinary tokens: what place, class and response make cancels, what it makes stays."""

import numpy as np
import pandas as pd
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from solutions import right_and_wrong, run_of

from attnent.analysis import Comparison
from attnent.analysis import wrong_line as moment
from attnent.show import words


def test_every_token_knows_its_line_and_its_class():
    tokens, _ = run_of({"one": 3})
    assert tokens["line"].tolist() == [*[0] * 9, -1, *[1] * 9, -1, *[2] * 9, -1, -1]
    assert set(tokens["n_lines"]) == {3}
    classes = tokens["cell"].str.split().str[0].tolist()
    assert classes[:10] == ["word", "word", "space", *["number", "operator"] * 2, "number", "mark", "space"]
    assert classes[-1] == "end"


def test_the_tenths_of_a_response_run_from_nought_to_nine():
    tokens, _ = run_of({"one": 3})
    tenths = tokens["cell"].str.split().str[1].astype(int)
    assert tenths.is_monotonic_increasing
    assert set(tenths) == set(range(10))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_adjusted_values_of_right_tokens_have_mean_nought_in_every_cell(seed):
    tokens, _, right = right_and_wrong(12)
    values = pd.DataFrame({"x": np.random.default_rng(seed).normal(size=len(tokens))}, index=tokens.index)
    usual = tokens["response_id"].isin(right)
    means = moment.adjusted(tokens, values, right)[usual].groupby(tokens.loc[usual, "cell"]).mean()["x"]
    np.testing.assert_allclose(means.dropna(), 0.0, atol=1e-12)
    assert means.notna().any()


def test_a_cell_with_few_right_tokens_says_nothing():
    tokens, _, right = right_and_wrong(12)
    values = pd.DataFrame({"x": 1.0}, index=tokens.index)
    adjusted = moment.adjusted(tokens, values, right[:1])
    assert adjusted["x"].isna().all()


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_what_sets_whole_responses_apart_cancels(seed):
    tokens, spans, _ = right_and_wrong(12)
    rng = np.random.default_rng(seed)
    values = pd.DataFrame({"x": rng.normal(size=len(tokens))}, index=tokens.index)
    level = pd.Series(rng.normal(size=24), index=tokens["response_id"].unique())
    shifted = values.add(tokens["response_id"].map(level), axis=0)
    for ordinary in ("rest", "before"):
        pd.testing.assert_frame_equal(
            moment.differences(tokens, values, spans, ordinary=ordinary),
            moment.differences(tokens, shifted, spans, ordinary=ordinary),
        )


def test_what_place_and_class_make_is_taken_away():
    tokens, spans, right = right_and_wrong()
    by_cell = {cell: float(number) for number, cell in enumerate(sorted(set(tokens["cell"])))}
    values = pd.DataFrame({"x": tokens["cell"].map(by_cell)})
    assert (moment.differences(tokens, values, spans)["x"].abs() > 0.1).any()
    left = moment.differences(tokens, moment.adjusted(tokens, values, right), spans)["x"]
    np.testing.assert_allclose(left, 0.0, atol=1e-9)


def test_what_the_moment_makes_stays():
    tokens, spans, right = right_and_wrong()
    values = pd.DataFrame({"x": moment.inside(tokens, spans).astype(float)})
    left = moment.differences(tokens, moment.adjusted(tokens, values, right), spans)["x"]
    np.testing.assert_allclose(left, 1.0)
    assert len(left) == len(spans)


def test_what_comes_after_the_moment_does_not_count_as_before():
    tokens, spans, _ = right_and_wrong()
    after = tokens["step"] >= tokens["response_id"].map(spans["stop"])
    values = pd.DataFrame({"x": after.astype(float)})
    assert (moment.differences(tokens, values, spans)["x"] < 0).all()
    assert (moment.differences(tokens, values, spans, ordinary="before")["x"] == 0).all()


def test_a_moment_at_the_very_beginning_has_nothing_before_it():
    tokens, spans, _ = right_and_wrong()
    at_start = spans.assign(start=0, stop=9)
    assert moment.differences(tokens, pd.DataFrame({"x": tokens["step"]}), at_start, ordinary="before").empty


def test_a_partner_is_a_right_response_with_as_many_lines_and_serves_once():
    tokens, spans, right = right_and_wrong()
    pairs = moment.partners(tokens, spans, right)
    n_lines = tokens.groupby("response_id")["n_lines"].first()
    assert len(pairs) == len(spans)
    assert set(pairs.index) <= set(right)
    assert pairs.index.is_unique
    assert pairs["wrong"].is_unique
    assert (n_lines.loc[pairs.index].to_numpy() == n_lines.loc[pairs["wrong"]].to_numpy()).all()
    of_line = tokens[moment.inside(tokens, pairs)].groupby("response_id")["line"].agg(["min", "max"])
    assert (of_line["min"] == pairs["line"].loc[of_line.index]).all()
    assert (of_line["max"] == pairs["line"].loc[of_line.index]).all()


def test_a_part_of_a_line_is_compared_with_what_stands_as_far_from_the_start_of_the_line():
    tokens, spans, right = right_and_wrong()
    later = tokens["response_id"].isin(right)  # right responses have a blank line before everything
    tokens.loc[later, "step"] += 1
    quotes = spans.assign(start=spans["start"] + 3, stop=spans["start"] + 8)
    pairs = moment.partners(tokens, quotes, right)
    np.testing.assert_array_equal(pairs["start"], quotes.loc[pairs["wrong"], "start"] + 1)
    np.testing.assert_array_equal(pairs["stop"], quotes.loc[pairs["wrong"], "stop"] + 1)


def test_a_wrong_response_without_a_partner_is_left_out():
    tokens, spans, right = right_and_wrong()
    assert len(moment.partners(tokens, spans, right[:4])) == 4
    both = moment.in_pairs(tokens, spans, right[:4])
    assert both["group"].value_counts().to_dict() == {moment.WRONG: 4, moment.RIGHT: 4}
    of_wrong = both[both["group"] == moment.WRONG]
    pd.testing.assert_frame_equal(of_wrong[["start", "stop"]], spans.loc[of_wrong.index, ["start", "stop"]])


def test_each_head_gives_what_its_own_table_would_give():
    tokens, spans, right = right_and_wrong()
    ids = list(tokens["response_id"].unique())
    rng = np.random.default_rng(0)
    stack = xr.DataArray(
        rng.normal(size=(len(ids), 2, 3, 51)),
        dims=("response", "layer", "head", "step"),
        coords={"response": ids, "layer": [0, 5], "head": range(3)},
    )
    got = moment.head_differences(tokens, stack, spans, right)
    one = stack.sel(layer=5, head=2)
    values = [float(one.sel(response=row.response_id, step=row.step)) for row in tokens.itertuples()]
    table = pd.DataFrame({"x": values}, index=tokens.index)
    want = moment.differences(tokens, moment.adjusted(tokens, table, right), spans)["x"]
    np.testing.assert_allclose(got.sel(layer=5, head=2).to_series().loc[want.index], want)


def findings(shift: float, seed: int = 0) -> Comparison:
    """What `controlled` finds in noise to which the moment adds `shift`."""
    tokens, spans, right = right_and_wrong(60)
    rng = np.random.default_rng(seed)
    wrong = moment.inside(tokens, spans)
    for name in ("x", "token_entropy", "logprob"):
        tokens[name] = rng.normal(size=len(tokens)) + tokens["line"] + (shift * wrong if name == "x" else 0.0)
    return moment.controlled(tokens, spans, right, measures=["x"], primary=["x"])


def test_an_effect_of_the_moment_is_found_under_all_controls():
    found = findings(shift=1.0)
    for stage in ("place and class", "against right", "baselines fixed"):
        assert found.interval(stage, "x").low > 0.6
    assert found.verdict["x"].outcome == "present"


def test_a_null_is_not_called_an_effect():
    verdict = findings(shift=0.0).verdict["x"]
    assert (verdict.outcome, verdict.side) == ("undecided", "")
    assert verdict.tested.low < 0.5 < verdict.tested.high


def test_too_few_moments_are_not_compared():
    tokens, spans, right = right_and_wrong(6)
    tokens[["x", "token_entropy", "logprob"]] = np.random.default_rng(0).normal(size=(len(tokens), 3))
    found = moment.controlled(tokens, spans, right, measures=["x"], primary=["x"])
    assert "cannot be compared (n = 0 wrong, 0 right; at least 10 lines" in words.sentences(found)  # no cell is known


def test_steps_around_the_moment_count_from_its_start_in_wrong_and_right():
    tokens, spans, right = right_and_wrong(6)
    table, groups = moment.around(tokens, spans, right, reach=7)
    assert groups.value_counts().to_dict() == {moment.WRONG: 6, moment.RIGHT: 6}
    assert set(table["response_id"]) == set(groups.index)
    assert (table["step"].min(), table["step"].max()) == (-7, 7)
    assert (table.loc[table["step"] == 0, "token"] == "Tom").all()
    assert (table.loc[table["step"] == -1, "token"] == "\n").all()


def test_spans_are_read_from_what_a_critic_found():
    errors = pd.DataFrame(
        {
            "response_id": ["a", "b"],
            "outcome": ["found", "none found"],
            "kind": ["slip", None],
            "line": [2, np.nan],
            "line_start": [20, np.nan],
            "line_stop": [30, np.nan],
            "token_start": [23, np.nan],
            "token_stop": [28, np.nan],
        }
    )
    assert moment.spans_of(errors).loc["a"].to_dict() == {
        "line": 2, "start": 20, "stop": 30, "quote_start": 23, "quote_stop": 28, "kind": "slip"
    }  # fmt: skip
    assert list(moment.spans_of(errors).index) == ["a"]


def test_where_nothing_is_wrong_nothing_is_compared():
    tokens, spans, right = right_and_wrong(6)
    tokens[["x", "token_entropy", "logprob"]] = np.random.default_rng(0).normal(size=(len(tokens), 3))
    found = moment.controlled(tokens, spans[:0], right, measures=["x"], primary=["x"])
    assert "cannot be compared (n = 0 wrong, 0 right" in words.sentences(found)
    around, groups = moment.around(tokens, spans[:0], right)
    assert around.empty
    assert groups.empty
