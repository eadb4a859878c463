"""Wrong spans against their like in right solutions: what place and form make is held, what the error makes stays."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import xarray as xr
from scipy.stats import norm
from solutions import solved

from attnent.analysis import Comparison, curve, places, pseudo_errors, stands_out, wrong_line
from attnent.analysis.places import RIGHT, WRONG
from attnent.analysis.regression import bent, estimates
from attnent.show import words

BASELINES = ["token_entropy", "logprob"]


def marked(n: int = 60, *, shift: float = 0.0, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tokens of n wrong and n right solutions and their comparable lines; x is noise and place, and `shift` is where
    it is wrong."""
    tokens, responses, spans, right = solved(n)
    rng = np.random.default_rng(seed)
    rows = places.comparable(tokens, responses, spans, right)
    line = tokens["response_id"].map(spans["line"])
    for name in ("x", *BASELINES):
        tokens[name] = rng.normal(size=len(tokens)) + tokens["line"]
    tokens["x"] += shift * (tokens["line"] == line)
    return tokens, rows


def found_in(tokens: pd.DataFrame, rows: pd.DataFrame, **settings) -> Comparison:
    return wrong_line.controlled(tokens, rows, measures=["x"], primary=["x"], **{"n_draws": 0} | settings)


def test_an_effect_of_the_error_is_found_under_all_controls():
    found = found_in(*marked(shift=1.0))
    for stage in ("place and class", "expression fixed", "baselines fixed"):
        assert found.interval(stage, "x").low > 0.6
    assert found.verdict["x"].outcome == "present"


def test_a_null_is_not_called_an_effect():
    verdict = found_in(*marked()).verdict["x"]
    assert verdict.outcome != "present"
    assert verdict.side == ""
    assert verdict.tested.low < 0.5 < verdict.tested.high


def test_what_the_operator_makes_is_held_fixed():
    tokens, rows = marked()
    is_wrong = tokens["response_id"].isin(rows.loc[rows["group"] == WRONG, "response_id"])
    marked_line = tokens["response_id"].map(rows[rows["group"] == WRONG].set_index("response_id")["line"])
    chance = np.where(is_wrong & (tokens["line"] == marked_line), 0.8, 0.2)
    minus = np.random.default_rng(1).random(len(tokens)) < chance
    by_line = pd.Series(minus).groupby([tokens["response_id"], tokens["line"]]).transform("first")
    tokens["x"] += 2.0 * by_line
    of_row = by_line.set_axis(pd.MultiIndex.from_frame(tokens[["response_id", "step"]]))
    signs = of_row.loc[pd.MultiIndex.from_frame(rows[["response_id", "start"]])].to_numpy()
    found = found_in(tokens, rows.assign(operator=np.where(signs, "-", "+")))
    assert found.interval("place and class", "x").low > 0.6
    assert found.interval("expression fixed", "x").low < 0.5 < found.interval("expression fixed", "x").high


def test_the_tested_stage_is_least_squares_on_group_place_and_form():
    tokens, rows = marked(shift=0.3)
    rows = rows.assign(operator=np.random.default_rng(2).choice([*"+-*"], len(rows)))
    got = found_in(tokens, rows).stages["expression fixed"].loc["x"]
    right = rows.loc[rows["group"] == RIGHT, "response_id"].unique()
    means = tokens[tokens["response_id"].isin(right)].groupby("cell")["x"].agg(["mean", "size"])
    left = tokens["x"] - tokens["cell"].map(means["mean"].where(means["size"] >= 20))
    y = []
    for row in rows.itertuples():
        own = tokens["response_id"] == row.response_id
        inside = own & tokens["step"].between(row.start, row.stop - 1)
        y.append(left[inside].mean() - left[own & ~inside].mean())
    line, n = rows["line"].to_numpy(float), rows["n_lines"].to_numpy(float)
    columns = [
        rows["group"] == WRONG,
        np.ones(len(rows)),
        line,
        line**2,
        n,
        n**2,
        line / (n - 1),
        (line / (n - 1)) ** 2,
    ]
    columns += [line == 0, line == n - 1, *(rows["operator"] == sign for sign in "+-")]
    fit = sm.OLS(np.array(y), np.column_stack([np.asarray(column, float) for column in columns])).fit()
    effect = fit.params[0] / np.sqrt(fit.scale)
    np.testing.assert_allclose(got["auroc"], norm.cdf(effect / np.sqrt(2)), rtol=1e-9)


def test_sets_of_problems_are_pooled_and_agree():
    found = found_in(*marked(96, shift=1.0), n_sets=4, n_draws=20)
    assert list(found.sets) == ["set 1", "set 2", "set 3", "set 4"]
    assert found.verdict["x"].n_sets == 4
    assert found.verdict["x"].n_a == 96
    assert sum(one.stages["raw"].loc["x", "n_a"] for one in found.sets.values()) == 96
    assert found.stages["raw"]["null_low"].notna().all()


def test_each_kind_of_error_is_compared_with_the_same_right_lines():
    tokens, rows = marked()
    slips = tokens["response_id"].isin(rows.loc[rows["error"] == "slip", "response_id"])
    line = tokens["response_id"].map(rows[rows["group"] == WRONG].set_index("response_id")["line"])
    tokens["x"] += np.where(slips, 1.0, -1.0) * (tokens["line"] == line)
    found = found_in(tokens, rows, by_error=True)
    n_right = int((rows["group"] == RIGHT).sum())
    sizes = {kind: one.stages["raw"].loc["x", ["n_a", "n_b"]].tolist() for kind, one in found.subgroups.items()}
    assert sizes == {"slip": [30, n_right], "copying": [30, n_right]}
    assert found.interaction["x"] < 0.001
    assert found.verdict["x"].outcome == "mixed"


# ---- pseudo-errors


def test_pseudo_errors_stand_where_wrong_lines_stand_in_right_solutions_alone():
    _, rows = marked()
    drawn = pseudo_errors.drawn(rows, seed=3)
    right = rows[rows["group"] == RIGHT]
    pseudo, others = (drawn[drawn["group"] == group] for group in (WRONG, RIGHT))
    assert set(drawn.index) <= set(right.index)
    assert len(pseudo) == 30  # half of the right solutions
    assert pseudo["response_id"].is_unique
    assert not set(pseudo["response_id"]) & set(others["response_id"])
    assert set(pseudo["line"]) == {1, 2}
    assert others.groupby("response_id").size().equals(others.groupby("response_id")["n_lines"].first())


def test_the_fast_estimates_are_those_of_the_comparisons():
    tokens, rows = marked(shift=0.5)
    rows = rows.assign(operator=np.random.default_rng(2).choice([*"+-*"], len(rows)))
    found = found_in(tokens, rows)
    stages = wrong_line._stages(tokens, rows, ["x"], "rest")
    for name, (table, measures, covariates) in stages.items():
        design = bent(table[[*covariates]]) if covariates else None
        got = estimates(table[[*measures]].to_numpy(), (rows["group"] == WRONG).to_numpy(), design)
        np.testing.assert_allclose(got, found.stages[name]["auroc"], rtol=1e-9)


def test_the_null_band_shows_what_place_makes_and_closes_in_on_no_difference_where_it_is_held():
    tokens, rows = marked(120)
    tokens["x"] += 5.0 * (tokens["line"] == 0)  # where no wrong line stands
    found = found_in(tokens, rows, n_draws=100)
    raw, held = (found.stages[stage].loc["x"] for stage in ("raw", "place and class"))
    assert raw["null_low"] < raw["auroc"] < raw["null_high"] < 0.4
    assert held["null_low"] < 0.5 < held["null_high"]


def test_lines_that_have_nothing_before_them_neither_count_nor_are_drawn():
    tokens, responses, spans, right = solved(60)
    at_start = spans.assign(line=0, start=0, stop=9)
    spans = pd.concat([spans[:30], at_start[30:]])
    tokens[["x", *BASELINES]] = np.random.default_rng(0).normal(size=(len(tokens), 3))
    rows = places.comparable(tokens, responses, spans, right)
    found = found_in(tokens, rows, ordinary="before", n_draws=20)
    assert found.verdict["x"].n_a == 30
    without = found_in(tokens, rows[rows["line"] > 0], ordinary="before", n_draws=20)
    for stage, table in found.stages.items():
        assert table[["null_low", "null_high"]].notna().all(axis=None)
        pd.testing.assert_frame_equal(table, without.stages[stage])


@pytest.mark.slow
def test_pseudo_errors_are_called_different_in_three_to_seven_of_a_hundred():
    called = []
    for seed in range(200):
        tokens, rows = marked(40, seed=seed)
        drawn = pseudo_errors.drawn(rows, seed=seed)
        p = found_in(tokens[tokens["response_id"].isin(drawn["response_id"])], drawn).stages["expression fixed"]["p"]
        called.append(p < 0.05)
    assert 0.02 <= np.mean(called) <= 0.075


# ---- around, and head by head


def test_the_curve_around_the_error_weighs_right_ones_by_the_places_of_the_wrong_ones():
    tokens, rows = marked(30)
    rare = (rows["group"] == WRONG) & (rows["line"] == 2) & (rows["n_lines"] > 3)
    rows = rows[~rare | rows["response_id"].isin(["wrong-1", "wrong-5"])]
    tokens["x"] = tokens["line"].clip(lower=0) * 1.0
    found = wrong_line.around(tokens, rows, ["x"], reach=4)["x"]
    at_start = found[found["step"] == 0].set_index("group")
    np.testing.assert_allclose(at_start["mean"], rows.loc[rows["group"] == WRONG, "line"].mean())
    assert at_start["n"].to_dict() == {WRONG: 22, RIGHT: 30}
    assert (found["step"].min(), found["step"].max()) == (-4, 4)


def test_the_curve_around_the_error_has_the_interval_of_student_where_every_row_is_a_problem():
    tokens, rows = marked(30)
    got = wrong_line.around(tokens, rows, ["x"], reach=4)["x"]
    start = rows[rows["group"] == WRONG].set_index("response_id")["start"]
    own = tokens[tokens["response_id"].isin(start.index)]
    own = own.assign(step=own["step"] - own["response_id"].map(start).astype(int))
    want = curve(own[own["step"].abs() <= 4], "x", pd.Series(WRONG, index=start.index))
    columns = ["step", "mean", "low", "high", "n"]
    pd.testing.assert_frame_equal(
        got.loc[got["group"] == WRONG, columns].reset_index(drop=True), want[columns], check_dtype=False
    )


def stack_of(tokens: pd.DataFrame, *, shifted: pd.Series | None = None, seed: int = 0) -> xr.DataArray:
    """Noise of every head, (response, layer, head, step), to which `shifted` tokens add one in the first head."""
    ids = list(tokens["response_id"].unique())
    values = np.random.default_rng(seed).normal(size=(len(ids), 2, 3, 51))
    if shifted is not None:
        where = tokens[shifted]
        values[pd.Index(ids).get_indexer(where["response_id"]), 0, 0, where["step"]] += 1.0
    coords = {"response": ids, "layer": [0, 5], "head": range(3)}
    return xr.DataArray(values, coords, ("response", "layer", "head", "step"), name="entropy")


def test_a_head_that_the_error_moves_stands_out_alone():
    tokens, rows = marked()
    line = tokens["response_id"].map(rows[rows["group"] == WRONG].set_index("response_id")["line"])
    maps = wrong_line.head_maps(tokens, stack_of(tokens, shifted=tokens["line"] == line), rows)
    assert list(maps) == ["raw", "all controls"]
    for found in maps.values():
        assert stands_out(found).to_numpy().tolist() == [[True, False, False], [False, False, False]]
        assert found.auroc[0, 0] > 0.7


def test_each_head_has_what_its_own_table_would_have():
    tokens, rows = marked()
    stack = stack_of(tokens)
    one = stack.sel(layer=5, head=2)
    tokens["x"] = [float(one.sel(response=row.response_id, step=row.step)) for row in tokens.itertuples()]
    maps, found = wrong_line.head_maps(tokens, stack, rows), found_in(tokens, rows)
    for of_map, stage in (("raw", "raw"), ("all controls", "baselines fixed")):
        want = found.stages[stage].loc["x", "auroc"]
        np.testing.assert_allclose(maps[of_map].auroc.sel(layer=5, head=2), want)


def test_heads_of_pseudo_errors_stand_out_no_more_often_than_they_may():
    flagged = []
    for seed in range(10):
        tokens, rows = marked(40, seed=seed)
        maps = wrong_line.head_maps(tokens, stack_of(tokens, seed=seed), pseudo_errors.drawn(rows, seed=seed))
        flagged.append([bool(stands_out(found).any()) for found in maps.values()])
    assert (np.mean(flagged, axis=0) <= 0.3).all()


# ---- what cannot be compared


def test_too_few_wrong_spans_are_not_compared():
    found = found_in(*marked(6), n_draws=3)
    assert "cannot be compared" in words.sentences(found)
    assert found.stages["raw"][["auroc", "null_low"]].isna().all(axis=None)


def test_where_nothing_is_wrong_or_nothing_right_nothing_is_compared():
    tokens, responses, spans, right = solved(12)
    tokens[["x", *BASELINES]] = np.random.default_rng(0).normal(size=(len(tokens), 3))
    for of_wrong, of_right in ((spans[:0], right), (spans, []), (spans[:0], [])):
        rows = places.comparable(tokens, responses, of_wrong, of_right)
        found = found_in(tokens, rows, n_sets=4, by_error=True, n_draws=3)
        assert "cannot be compared" in words.sentences(found)
        assert wrong_line.around(tokens, rows, ["x"])["x"].empty
        maps = wrong_line.head_maps(tokens, stack_of(tokens), rows)
        assert all(one.auroc.isnull().all() for one in maps.values())


def test_a_measure_that_is_missing_is_undetermined_and_leaves_the_others_alone():
    tokens, rows = marked()
    with_missing = tokens.assign(y=np.nan)
    found = wrong_line.controlled(with_missing, rows, measures=["x", "y"], primary=["x", "y"], n_draws=5)
    alone = found_in(tokens, rows, n_draws=5)
    for stage, table in found.stages.items():
        assert np.isnan(table.loc["y", "auroc"])
        pd.testing.assert_series_equal(
            table.loc["x", ["auroc", "low", "high"]], alone.stages[stage].loc["x", ["auroc", "low", "high"]]
        )


def test_a_constant_measure_is_no_difference():
    tokens, rows = marked()
    found = found_in(tokens.assign(x=1.0), rows, n_draws=5)
    assert (found.stages["raw"].loc["x", ["auroc", "low", "high"]] == 0.5).all()
