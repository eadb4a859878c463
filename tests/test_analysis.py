"""Statistics against independent implementations, and against data whose truth is planted."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as sps
from sklearn.metrics import roc_auc_score

from attnent import analysis

samples = arrays(np.float64, st.integers(1, 23), elements=st.integers(-5, 5))


@given(samples, samples)
def test_auroc_agrees_with_scikit_learn(a, b):
    labels = np.concatenate([np.ones(len(a)), np.zeros(len(b))])
    np.testing.assert_allclose(analysis.auroc(a, b), roc_auc_score(labels, np.concatenate([a, b])), rtol=1e-12)


@given(samples, samples)
def test_exchanging_the_groups_mirrors_auroc(a, b):
    np.testing.assert_allclose(analysis.auroc(a, b) + analysis.auroc(b, a), 1.0)


def two_groups(rng, n, shift=0.0):
    index = pd.Index([f"r{i}" for i in range(2 * n)], name="response_id")
    groups = pd.Series(["a"] * n + ["b"] * n, index=index)
    return pd.DataFrame({"x": rng.normal(size=2 * n) + shift * (groups == "a").to_numpy()}, index=index), groups


def test_too_few_responses_give_no_numbers():
    table, groups = two_groups(np.random.default_rng(14), 20)
    kept = table.index[:24]
    result = analysis.compare(table.loc[kept], ["x"], groups.loc[kept], "a", "b")
    assert result[["auroc", "low", "high", "p"]].isna().all(axis=None)
    result = analysis.compare_adjusted(table.loc[kept], ["x"], groups, "a", "b", ["x"])
    assert result[["auroc", "low", "high", "p"]].isna().all(axis=None)


def test_a_map_of_an_empty_group_is_empty():
    values, groups = head_values(np.random.default_rng(15))
    found = analysis.head_map(values, groups, "a", "nobody")
    assert found.auroc.isnull().all()
    assert found.attrs == {"n_a": 40, "n_b": 0}
    assert (found.auroc.attrs["n_a"], found.auroc.attrs["n_b"]) == (40, 0)
    assert analysis.head_map(values, groups, "no", "body").auroc.isnull().all()
    assert analysis.head_map(values[:0], groups, "a", "b").auroc.isnull().all()


def test_a_difference_that_length_explains_is_gone_when_length_is_held_fixed():
    rng = np.random.default_rng(2)
    table, groups = two_groups(rng, 400)
    length = rng.normal(size=800) + (groups == "a")
    table = table.assign(length=length, x=0.8 * length + rng.normal(size=800))
    assert analysis.compare(table, ["x"], groups, "a", "b").loc["x", "low"] > 0.55
    row = analysis.compare_adjusted(table, ["x"], groups, "a", "b", ["length"]).loc["x"]
    assert row["low"] < 0.5 < row["high"]


def test_a_difference_beside_length_is_recovered_on_the_auroc_scale():
    rng = np.random.default_rng(3)
    table, groups = two_groups(rng, 2000, shift=0.6)
    table = table.assign(length=rng.normal(size=4000))
    table["x"] += 2 * table["length"]
    row = analysis.compare_adjusted(table, ["x"], groups, "a", "b", ["length"]).loc["x"]
    assert row["auroc"] == pytest.approx(sps.norm.cdf(0.6 / np.sqrt(2)), abs=0.02)
    assert row["low"] < row["auroc"] < row["high"]


def test_a_difference_that_the_square_of_length_explains_is_gone_too():
    rng = np.random.default_rng(17)
    length = rng.normal(size=800)
    names = pd.Index([f"r{i}" for i in range(800)])
    groups = pd.Series(np.where(length**2 + 0.3 * rng.normal(size=800) > 0.5, "a", "b"), index=names)
    table = pd.DataFrame({"length": length, "x": length**2 + rng.normal(size=800)}, index=names)
    assert analysis.compare(table, ["x"], groups, "a", "b").loc["x", "low"] > 0.6
    row = analysis.compare_adjusted(table, ["x"], groups, "a", "b", ["length"]).loc["x"]
    assert row["low"] < 0.5 < row["high"]


def test_what_covariates_make_indistinguishable_is_left_undetermined():
    table, groups = two_groups(np.random.default_rng(18), 40, shift=0.8)
    table = table.assign(z=(groups == "a") + 3.0, y=np.random.default_rng(19).normal(size=80))
    assert np.isnan(analysis.compare_adjusted(table, ["x"], groups, "a", "b", ["z"]).loc["x", "auroc"])
    assert np.isnan(
        analysis.compare_adjusted(table.assign(x=2 * table["y"]), ["x"], groups, "a", "b", ["y"]).loc["x", "auroc"]
    )


def test_a_constant_measure_shows_no_difference():
    table, groups = two_groups(np.random.default_rng(4), 20)
    table = table.assign(x=1.0, z=range(40))
    assert analysis.compare(table, ["x"], groups, "a", "b").loc["x", "auroc"] == 0.5
    assert analysis.compare_adjusted(table, ["x"], groups, "a", "b", ["z"]).loc["x", "auroc"] == 0.5


def test_missing_numbers_are_left_out_and_counted():
    table, groups = two_groups(np.random.default_rng(5), 20)
    table.iloc[:3] = np.nan
    row = analysis.compare(table, ["x"], groups, "a", "b").loc["x"]
    assert (row["n_a"], row["n_b"]) == (17, 20)


def test_holm_adjusts_over_the_measures_asked_for():
    table, groups = two_groups(np.random.default_rng(6), 50, shift=0.5)
    table = table.assign(y=np.random.default_rng(7).normal(size=100))
    result = analysis.compare(table, ["x", "y"], groups, "a", "b")
    assert result.loc["x", "p_holm"] == pytest.approx(2 * result.loc["x", "p"])


def head_values(rng, n=40, n_layers=3, n_heads=5):
    index = [f"r{i}" for i in range(2 * n)]
    values = rng.normal(size=(2 * n, n_layers, n_heads))
    dims = {"response": index, "layer": range(n_layers), "head": range(n_heads)}
    return xr.DataArray(values, coords=dims, dims=list(dims)), pd.Series(["a"] * n + ["b"] * n, index=index)


def test_the_planted_head_is_the_one_found():
    values, groups = head_values(np.random.default_rng(13))
    values[:40, 1, 3] += 1.5
    found = analysis.head_map(values, groups, "a", "b")
    assert found.auroc.sel(layer=1, head=3) > 0.75
    beyond = np.argwhere((found.p_max_t < 0.05).to_numpy())
    assert beyond.tolist() == [[1, 3]]


def test_a_head_map_agrees_with_auroc_head_by_head():
    values, groups = head_values(np.random.default_rng(9))
    found = analysis.head_map(values, groups, "a", "b")
    for layer, head in [(0, 0), (2, 4)]:
        one = values.sel(layer=layer, head=head).to_numpy()
        np.testing.assert_allclose(found.auroc.sel(layer=layer, head=head), analysis.auroc(one[:40], one[40:]))


def test_a_head_with_missing_numbers_stays_missing():
    values, groups = head_values(np.random.default_rng(10))
    values[5, 2, 2] = np.nan
    found = analysis.head_map(values, groups, "a", "b")
    assert np.isnan(found.auroc.sel(layer=2, head=2))
    assert found.auroc.notnull().sum() == 14


def tokens_of(lengths: dict[str, int], value=lambda step: float(step)) -> pd.DataFrame:
    rows = [(name, step, value(step)) for name, length in lengths.items() for step in range(length)]
    return pd.DataFrame(rows, columns=["response_id", "step", "x"])


def test_windows_take_the_first_or_last_steps_and_drop_shorter_responses():
    tokens = tokens_of({"short": 2, "long": 5})
    assert analysis.response_means(tokens, first=3)["x"].to_dict() == {"long": 1.0}
    assert analysis.response_means(tokens, last=3)["x"].to_dict() == {"long": 3.0}
    assert analysis.response_means(tokens)["x"].to_dict() == {"short": 0.5, "long": 2.0}


def test_the_matched_window_is_filled_by_nine_of_ten_in_each_group():
    n_steps = pd.Series([*range(10, 20), *range(30, 40)])
    groups = pd.Series(["a"] * 10 + ["b"] * 10)
    window = analysis.matched_window(n_steps, groups)
    assert (n_steps[groups == "a"] >= window).mean() >= 0.9
    assert (n_steps[groups == "a"] >= window + 1).mean() < 0.9 or window == 10


@settings(max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 10))
def test_a_window_takes_the_responses_that_fill_it_and_no_step_beyond(n_steps, window):
    values = np.full((len(n_steps), 2, 3, max(n_steps)), np.nan)
    for row, n in zip(values, n_steps, strict=True):
        row[..., :n] = np.arange(n) ** 2
    names = [f"r{place}" for place in range(len(n_steps))]
    coords = {"response": names, "n_steps": ("response", n_steps)}
    stacked = xr.DataArray(values, dims=("response", "layer", "head", "step"), coords=coords)
    found = analysis.in_window(stacked, window)
    filled = [name for name, n in zip(names, n_steps, strict=True) if window >= 1 and n >= window]
    assert found["response"].values.tolist() == filled
    assert found.dims == ("response", "layer", "head")
    if filled:
        np.testing.assert_allclose(found, np.mean(np.arange(window) ** 2))


def test_a_curve_counts_the_responses_that_reach_each_step():
    tokens = tokens_of({f"r{i}": 3 + (i < 5) for i in range(8)})
    found = analysis.curve(tokens, "x", pd.Series("g", index=[f"r{i}" for i in range(8)]))
    assert found["n"].tolist() == [8, 8, 8, 5]
    assert found["mean"].tolist() == [0, 1, 2, 3]


def test_a_curve_from_the_end_aligns_the_last_steps():
    tokens = tokens_of({f"r{i}": 3 + i for i in range(6)})
    found = analysis.curve(tokens, "x", pd.Series("g", index=[f"r{i}" for i in range(6)]), from_end=True)
    assert found["step"].max() == -1
    assert found.set_index("step").loc[-1, "n"] == 6


def test_the_band_of_a_curve_is_students_interval_over_responses():
    tokens = pd.DataFrame({"response_id": list("abcdefg"), "step": 0, "x": [1.0, 2, 3, 4, 5, 6, 9]})
    found = analysis.curve(tokens, "x", pd.Series("g", index=list("abcdefg"))).iloc[0]
    wanted = sps.ttest_1samp(tokens["x"], 0).confidence_interval()
    np.testing.assert_allclose([found["low"], found["high"]], [wanted.low, wanted.high])


def test_a_difference_at_each_step_has_welchs_interval_where_both_groups_have_enough():
    rng = np.random.default_rng(0)
    lengths = {f"a{i}": 2 + (i > 2) for i in range(9)} | {f"b{i}": 2 + (i > 5) for i in range(10)}
    tokens = tokens_of(lengths).assign(x=lambda table: rng.normal(size=len(table)))
    groups = pd.Series({name: name[0] for name in lengths})
    found = analysis.difference(tokens, "x", groups, "a", "b")
    assert found["step"].tolist() == [0, 1], "four of b reach the last step"
    assert found["n"].tolist() == [9, 9]
    of = tokens[tokens["step"] == 1].set_index("response_id")["x"].groupby(groups)
    test = sps.ttest_ind(of.get_group("a"), of.get_group("b"), equal_var=False)
    ends = test.confidence_interval(0.95)
    np.testing.assert_allclose(found.loc[1, ["low", "high"]].astype(float), [ends.low, ends.high])
    assert found.loc[1, "mean"] == pytest.approx(of.mean()["a"] - of.mean()["b"])


def test_under_control_lengths_and_token_baselines_are_rows_of_their_own():
    rng = np.random.default_rng(12)
    names = [f"r{i}" for i in range(40)]
    groups = pd.Series(["a"] * 20 + ["b"] * 20, index=names)
    lengths = rng.integers(6, 12, 40)
    tokens = tokens_of(dict(zip(names, lengths, strict=True)), value=lambda step: rng.normal())
    tokens = tokens.assign(token_entropy=rng.normal(size=len(tokens)), logprob=rng.normal(size=len(tokens)))
    responses = pd.DataFrame({"response_id": names, "n_steps": lengths, "n_prompt": rng.integers(3, 9, 40)})
    found = analysis.controlled(tokens, responses, groups, "a", "b", measures=["x"], primary=["x"])
    whole, windowed, fixed, increment = found.stages.values()
    assert [*whole.index] == [*windowed.index] == ["x", "token_entropy", "logprob", "n_prompt", "n_steps"]
    assert [*fixed.index] == ["x", "token_entropy", "logprob"]
    assert [*increment.index] == ["x"]


def test_what_token_entropy_explains_is_gone_when_it_is_held_fixed():
    rng = np.random.default_rng(16)
    names = [f"r{i}" for i in range(300)]
    groups = pd.Series(["a"] * 150 + ["b"] * 150, index=names)
    doubt = rng.normal(size=300) + (groups == "a").to_numpy()
    tokens = pd.DataFrame({"response_id": names, "step": 0, "token_entropy": doubt, "logprob": rng.normal(size=300)})
    tokens["x"] = doubt + rng.normal(size=300)
    responses = pd.DataFrame({"response_id": names, "n_steps": 1, "n_prompt": rng.integers(3, 9, 300)})
    found = analysis.controlled(tokens, responses, groups, "a", "b", measures=["x"], primary=["x"])
    whole, _, fixed, increment = found.stages.values()
    assert whole.loc["x", "low"] > 0.5
    assert fixed.loc["x", "low"] > 0.5
    assert increment.loc["x", "low"] < 0.5 < increment.loc["x", "high"]


HIGH, LOW, OPEN, NONE = (0.7, 0.6, 0.8), (0.3, 0.2, 0.4), (0.52, 0.44, 0.6), (0.5, 0.46, 0.54)


def comparison_of(window, lengths, baselines, *, p: float = 0.001) -> analysis.Comparison:
    """A comparison whose stages have these intervals; p is of the window."""
    names = ("raw", "window", "lengths fixed", "baselines fixed")
    stages = {
        name: pd.DataFrame([interval], index=["x"], columns=["auroc", "low", "high"])
        for name, interval in zip(names, (HIGH, window, lengths, baselines), strict=True)
    }
    stages["window"] = stages["window"].assign(n_a=50, n_b=40, p=p)
    return analysis.Comparison("wrong", "right", stages, "window", ("x",), window=12)


def test_a_difference_that_every_control_leaves_is_present():
    assert comparison_of(HIGH, HIGH, HIGH).verdict["x"].outcome == "present"
    assert comparison_of(LOW, LOW, LOW).verdict["x"].outcome == "present"


@pytest.mark.parametrize("stages", [(HIGH, HIGH, OPEN), (HIGH, OPEN, HIGH), (HIGH, LOW, LOW), (OPEN, HIGH, HIGH)])
def test_a_difference_that_a_control_takes_or_turns_round_is_undecided(stages):
    assert comparison_of(*stages).verdict["x"].outcome == "undecided"


def test_a_difference_that_is_not_shown_where_it_is_tested_is_undecided():
    verdict = comparison_of(HIGH, HIGH, HIGH, p=0.2).verdict["x"]
    assert (verdict.outcome, verdict.side) == ("undecided", "")


def test_an_interval_too_close_to_chance_to_matter_is_absent_whatever_was_seen_before():
    assert comparison_of(NONE, NONE, NONE, p=0.9).verdict["x"].outcome == "absent"
    assert comparison_of(HIGH, OPEN, NONE).verdict["x"].outcome == "absent"


def test_what_cannot_be_compared_is_undecided():
    nothing = (np.nan,) * 3
    verdict = comparison_of(nothing, nothing, nothing, p=np.nan).verdict["x"]
    assert verdict.outcome == "undecided"
    assert np.isnan(verdict.tested.estimate)


def test_primary_measures_share_their_error_rate_and_no_other_does():
    found = comparison_of(HIGH, HIGH, HIGH, p=0.03)
    both = {name: pd.concat([table, table.set_axis(["y"])]) for name, table in found.stages.items()}
    assert analysis.Comparison("a", "b", both, "window", ("x",)).verdict["x"].outcome == "present"
    assert analysis.Comparison("a", "b", both, "window", ("x", "y")).verdict["x"].outcome == "undecided"


def test_the_table_of_a_comparison_has_a_column_a_stage_and_the_verdict():
    table = comparison_of(HIGH, LOW, OPEN).table()
    assert [*table.columns] == ["raw", "window", "lengths fixed", "baselines fixed", "verdict"]
    assert table.loc["x"].tolist() == [
        "0.70 [0.60, 0.80]", "0.70 [0.60, 0.80]", "0.30 [0.20, 0.40]", "0.52 [0.44, 0.60]", "undecided",
    ]  # fmt: skip


def test_a_stage_that_does_not_hold_a_measure_is_empty_in_the_table():
    found = comparison_of(HIGH, HIGH, HIGH)
    found.stages["raw"].loc["n_steps"] = LOW
    assert found.table().loc["n_steps"].tolist() == ["0.30 [0.20, 0.40]", "", "", "", ""]
    assert f"{found.interval('window', 'n_steps')}" == "undetermined"


# ---- parts of one response


@settings(max_examples=8)
@given(st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=15, max_size=60))
def test_turning_paired_differences_round_mirrors_their_share(values):
    one, other = pd.DataFrame({"x": values}), pd.DataFrame({"x": values}) * -1
    there, back = (analysis.compare_paired(table, ["x"]).loc["x"] for table in (one, other))
    assert there["auroc"] == pytest.approx(1 - back["auroc"])
    assert there["low"] == pytest.approx(1 - back["high"])
    assert there["p"] == pytest.approx(back["p"])
    assert there["low"] <= there["auroc"] <= there["high"]


def test_the_share_of_positive_differences_counts_ties_half():
    table = pd.DataFrame({"x": [1.0] * 6 + [0.0] * 4 + [-1.0] * 2})
    row = analysis.compare_paired(table, ["x"]).loc["x"]
    assert row["auroc"] == pytest.approx(8 / 12)
    assert row["mean"] == pytest.approx(4 / 12)
    assert row["n"] == 12


def test_too_few_pairs_are_not_compared():
    row = analysis.compare_paired(pd.DataFrame({"x": range(1, 10)}), ["x"]).loc["x"]
    assert np.isnan(row["auroc"])
    assert np.isnan(row["p"])
