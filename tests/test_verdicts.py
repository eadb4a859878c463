"""The same comparison in sets and subgroups: how it is pooled, and what is decided of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from statsmodels.stats.meta_analysis import combine_effects
from test_analysis import HIGH, LOW, NONE, OPEN, comparison_of, tokens_of

from attnent import analysis
from attnent.analysis.pooling import disjoint_sets, heterogeneity, on_logit, pool

Z = 1.959963984540054


@given(st.lists(st.integers(0, 30), min_size=8, max_size=60), st.integers(1, 4))
def test_sets_hold_whole_clusters_and_differ_by_one_at_most(clusters, n_sets):
    of = pd.Series(clusters, index=[f"r{place}" for place in range(len(clusters))]).map("c{}".format)
    if of.nunique() < n_sets:
        with pytest.raises(analysis.StatsError, match="cannot make"):
            disjoint_sets(of, n_sets)
        return
    sets = disjoint_sets(of, n_sets)
    assert (sets.groupby(of).nunique() == 1).all()
    n_clusters = of.groupby(sets).nunique()
    assert len(n_clusters) == n_sets
    assert n_clusters.max() - n_clusters.min() <= 1


def test_sets_are_no_pattern_of_the_order():
    of = pd.Series(range(400))
    even = (of % 2 == 0).groupby(disjoint_sets(of, 4)).mean()
    assert even.between(0.35, 0.65).all()


def row_of(auroc: float, error: float) -> pd.Series:
    low, high = expit(logit(auroc) + np.array([-Z, Z]) * error)
    return pd.Series({"auroc": auroc, "low": low, "high": high, "p": 0.5, "n_a": 40, "n_b": 60})


def tables_of(*rows: pd.Series) -> list[pd.DataFrame]:
    return [row.to_frame("x").T.rename_axis("measure") for row in rows]


def test_pooling_like_sets_weighs_them_by_their_inverse_variance():
    rows = [row_of(0.60, 0.2), row_of(0.62, 0.3), row_of(0.58, 0.25)]
    found = pool(tables_of(*rows)).loc["x"]
    weights = 1 / np.array([0.2, 0.3, 0.25]) ** 2
    middle = (weights * logit([0.60, 0.62, 0.58])).sum() / weights.sum()
    wanted = expit(middle + np.array([0, -Z, Z]) / np.sqrt(weights.sum()))
    np.testing.assert_allclose(found[["auroc", "low", "high"]].astype(float), wanted, rtol=1e-6)
    assert (found["n_a"], found["n_b"]) == (120, 180)


def test_sets_that_disagree_widen_the_interval_and_show_in_i2():
    rows = [row_of(0.3, 0.1), row_of(0.5, 0.1), row_of(0.7, 0.1)]
    found = pool(tables_of(*rows)).loc["x"]
    whole = combine_effects(logit([0.3, 0.5, 0.7]), np.full(3, 0.01), method_re="iterated").summary_frame()
    assert found["high"] == pytest.approx(expit(whole.loc["random effect", "ci_upp"]), rel=1e-6)
    i2, p = heterogeneity(tables_of(*rows), "x")
    assert i2 > 0.9
    assert p < 0.001


def test_what_fewer_than_half_of_the_sets_determine_is_undetermined():
    nothing = row_of(0.6, 0.2) * np.nan
    found = pool(tables_of(nothing, nothing, row_of(0.9, 0.2))).loc["x"]
    assert found[["auroc", "low", "high", "p"]].isna().all()


def test_a_set_that_tells_nothing_is_left_out_and_one_alone_is_itself():
    nothing = row_of(0.6, 0.2) * np.nan
    one = pool(tables_of(nothing, row_of(0.6, 0.2))).loc["x"]
    assert one["auroc"] == pytest.approx(0.6)
    assert np.isnan(pool(tables_of(nothing, nothing)).loc["x", "auroc"])
    assert np.isnan(heterogeneity(tables_of(nothing, row_of(0.6, 0.2)), "x")[0])


def test_a_set_that_separates_completely_is_pooled_at_a_finite_place():
    apart = pd.Series({"auroc": 1.0, "low": 0.9, "high": 1.0, "p": 0.0, "n_a": 20, "n_b": 20})
    assert 0 < on_logit(apart).error < 3
    found = pool(tables_of(apart, row_of(0.95, 0.3))).loc["x"]
    assert 0.93 < found["auroc"] < 1


def with_subgroups(one, other, **settings) -> analysis.Comparison:
    subgroups = {"stories": comparison_of(one, one, one), "poems": comparison_of(other, other, other)}
    return replace(comparison_of(OPEN, OPEN, OPEN, **settings), subgroups=subgroups)


def test_subgroups_on_both_sides_are_mixed():
    found = with_subgroups(HIGH, LOW, p=0.5)
    assert found.interaction["x"] < 0.01
    assert found.verdict["x"].outcome == "mixed"
    assert found.by_subgroup.loc[("stories", "x"), "window"] == "0.70 [0.60, 0.80]"


@pytest.mark.parametrize("other", [HIGH, OPEN, NONE])
def test_subgroups_that_do_not_oppose_each_other_are_not_mixed(other):
    assert with_subgroups(HIGH, other, p=0.5).verdict["x"].outcome != "mixed"


def test_a_difference_that_control_alone_makes_is_said_to_be_made():
    verdict = comparison_of(OPEN, HIGH, HIGH, p=0.5).verdict["x"]
    assert verdict.made_by_control
    assert verdict.outcome == "undecided"
    assert not comparison_of(HIGH, HIGH, HIGH).verdict["x"].made_by_control


@pytest.mark.parametrize(("auroc", "error", "outcome"), [(0.5, 0.11, "absent"), (0.5, 0.13, "undecided")])
def test_absence_is_two_one_sided_tests_at_five_percent(auroc, error, outcome):
    # ln(.55 / .45) = 0.2007 is 1.645 errors of 0.122
    interval = tuple(row_of(auroc, error)[["auroc", "low", "high"]])
    assert comparison_of(OPEN, OPEN, interval, p=0.5).verdict["x"].outcome == outcome


def test_power_is_the_chance_to_see_the_edge_of_what_matters():
    error = logit(0.55) / (Z + 0.8416212)  # 80 % power
    verdict = comparison_of(OPEN, OPEN, tuple(row_of(0.5, error)[["auroc", "low", "high"]]), p=0.5).verdict["x"]
    assert verdict.power == pytest.approx(0.8, abs=0.001)


def test_sets_count_that_show_a_difference_on_the_side_of_their_pool():
    sets = {f"set {place}": comparison_of(one, one, one) for place, one in enumerate((HIGH, HIGH, OPEN, LOW))}
    found = analysis.pooled(sets)
    assert (found.verdict["x"].in_sets, found.verdict["x"].n_sets) == (2, 4)
    assert found.table()["in sets"].tolist() == ["2 of 4"]


@pytest.mark.parametrize(("shown", "outcome"), [(2, "present"), (1, "undecided")])
def test_what_fewer_than_half_of_the_sets_show_is_not_present(shown, outcome):
    mild = (0.57, 0.49, 0.65)
    each = [HIGH] * shown + [mild] * (4 - shown)
    found = analysis.pooled({f"set {place}": comparison_of(HIGH, HIGH, one) for place, one in enumerate(each)})
    assert found.interval("baselines fixed", "x").low > 0.5
    assert found.verdict["x"].outcome == outcome


def recorded(n: int = 160, seed: int = 0):
    """Responses of two genres, one higher and one lower than facts, of entities that each have two."""
    rng = np.random.default_rng(seed)
    names = [f"r{place}" for place in range(n)]
    genre = pd.Series(rng.choice(["facts", "facts", "stories", "poems"], n), index=names)
    lengths = rng.integers(6, 12, n)
    tokens = tokens_of(dict(zip(names, lengths, strict=True)), value=lambda step: rng.normal())
    shift = tokens["response_id"].map(genre.map({"facts": 0, "stories": 2.0, "poems": -2.0}))
    tokens["x"] += shift
    tokens = tokens.assign(token_entropy=rng.normal(size=len(tokens)), logprob=rng.normal(size=len(tokens)))
    responses = pd.DataFrame({"response_id": names, "n_steps": lengths, "n_prompt": rng.integers(3, 9, n)})
    responses["group"] = [f"e{place // 2}" for place in range(n)]
    kind = genre.eq("facts").map({True: "factual", False: "creative"})
    return tokens, responses, kind, genre.where(genre != "facts")


def test_two_effects_that_cancel_are_found_in_their_genres_and_in_every_set():
    tokens, responses, kind, genre = recorded()
    found = analysis.controlled(
        tokens, responses, kind, "creative", "factual", measures=["x"], primary=["x"], n_sets=2, by=genre
    )
    assert [*found.sets] == ["set 1", "set 2"]
    assert found.verdict["x"].outcome == "mixed"
    for name, side in (("stories", 1), ("poems", 0)):
        assert round(found.subgroups[name].interval("baselines fixed", "x").estimate) == side
        assert [*found.subgroups[name].sets] == ["set 1", "set 2"]
    assert found.stages["window"].loc["x", ["n_a", "n_b"]].sum() == responses["n_steps"].ge(found.window).sum()


def test_a_subgroup_that_the_sets_have_too_few_of_is_compared_over_all_of_them():
    tokens, responses, kind, genre = recorded()
    told = {"measures": ["x"], "primary": ["x"], "n_sets": 8, "by": genre}
    found = analysis.controlled(tokens, responses, kind, "creative", "factual", **told).subgroups["poems"]
    assert not found.sets
    assert found.interval("window", "x").high < 0.5


def test_of_some_steps_alone_the_window_is_what_is_left_of_them():
    tokens, responses, kind, _ = recorded()
    last = analysis.last_steps(tokens, 3)
    found = analysis.controlled(last, responses, kind, "creative", "factual", measures=["x"], primary=["x"])
    assert found.window == 3
    assert found.stages["window"].loc["x", ["n_a", "n_b"]].sum() == len(responses)


def test_without_a_column_of_clusters_every_response_is_its_own():
    tokens, responses, kind, _ = recorded()
    told = {"measures": ["x"], "primary": ["x"]}
    free = analysis.controlled(tokens, responses.drop(columns="group"), kind, "creative", "factual", **told)
    tied = analysis.controlled(tokens, responses, kind, "creative", "factual", **told)
    assert free.interval("window", "x").estimate == tied.interval("window", "x").estimate
    assert free.interval("window", "x") != tied.interval("window", "x")


def test_no_responses_at_all_are_undecided():
    tokens, responses, kind, _ = recorded()
    told = {"measures": ["x"], "primary": ["x"], "n_sets": 4}
    found = analysis.controlled(tokens, responses, kind[:0], "creative", "factual", **told)
    assert found.verdict["x"].outcome == "undecided"


def test_the_maps_of_a_comparison_are_of_its_window_raw_and_with_what_its_last_stage_holds_fixed():
    tokens, responses, kind, _ = recorded()
    found = analysis.controlled(tokens, responses, kind, "creative", "factual", measures=["x"], primary=["x"])
    names = responses["response_id"].to_numpy()
    values = np.full((len(names), 1, 2, 12), np.nan)
    of_response = tokens.groupby("response_id")["x"].agg(list)
    for place, name in enumerate(names):
        values[place, :, :, : len(of_response[name])] = of_response[name]
    coords = {"response": names, "n_steps": ("response", responses["n_steps"].to_numpy())}
    stacked = xr.DataArray(
        values, dims=("response", "layer", "head", "step"), coords=coords | {"layer": [0], "head": [0, 1]}
    )
    maps = analysis.head_maps(stacked, found)
    for name, stage in (("raw", "window"), ("all controls", "baselines fixed")):
        np.testing.assert_allclose(maps[name].auroc, found.stages[stage].loc["x", "auroc"], rtol=1e-5)


def test_a_comparison_that_does_not_tell_its_responses_has_no_maps():
    with pytest.raises(analysis.StatsError, match="does not tell its responses"):
        analysis.head_maps(xr.DataArray(), comparison_of(HIGH, HIGH, HIGH))
