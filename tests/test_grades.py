"""Grades counted: shares with their intervals, F, accuracy by rule; Cohen's kappa of two judges."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as sps
from statsmodels.stats.inter_rater import cohens_kappa

from attnent.analysis.grades import accuracy, agreement, mean_by_cluster, outcome_shares, share_by_cluster
from attnent.analysis.intervals import FEWEST, Interval, StatsError, wilson

GRADES = ["correct", "incorrect", "not_attempted"]
MANY_GRADES = st.lists(st.sampled_from(GRADES), min_size=1, max_size=40)


# ------------------------------------------------------------------------------------------------------------ shares


def test_shares_of_a_known_case():
    table = outcome_shares(["correct"] * 5 + ["incorrect"] * 8 + ["not_attempted"] * 7)
    np.testing.assert_allclose(table["share"], [5 / 20, 8 / 20, 7 / 20, 5 / 13, 2 * 5 / (20 + 13)], rtol=1e-12)
    assert list(table["n"]) == [5, 8, 7, 13, 20]


@given(MANY_GRADES)
def test_f_is_the_harmonic_mean_of_correct_and_correct_given_attempted(grades):
    shares = outcome_shares(grades)["share"]
    correct, given_attempted = shares["correct"], shares["correct_given_attempted"]
    expected = 2 * correct * given_attempted / (correct + given_attempted) if correct else 0.0
    np.testing.assert_allclose(shares["f"], expected, rtol=1e-12)


def test_f_of_many_responses_has_the_interval_of_the_delta_method():
    counts = np.array([300, 240, 160])
    table = outcome_shares(np.repeat(GRADES, counts).tolist())
    n, c, a = counts.sum(), counts[0], counts[:2].sum()
    slopes = np.array([2 / (n + a) - 2 * c / (n + a) ** 2, -2 * c / (n + a) ** 2, 0])  # of f by each count
    spread = np.sqrt(slopes**2 @ counts - (slopes @ counts) ** 2 / n)
    np.testing.assert_allclose(
        table.loc["f", ["low", "high"]], table.loc["f", "share"] + 1.96 * spread * np.array([-1, 1]), atol=0.004
    )


def test_eight_of_ten_has_the_interval_of_wilson():
    table = outcome_shares(["correct"] * 8 + ["incorrect"] * 2)
    np.testing.assert_allclose(table.loc["correct", ["low", "high"]], [0.490162, 0.943318], atol=1e-6)


@given(MANY_GRADES)
def test_intervals_hold_their_share(grades):
    table = outcome_shares(grades).dropna()
    assert ((table["low"] <= table["share"] + 1e-12) & (table["share"] <= table["high"] + 1e-12)).all()


def test_no_grades_at_all_have_no_shares():
    assert outcome_shares([])["share"].isna().all()


def test_an_unknown_grade_is_refused():
    with pytest.raises(StatsError, match="unknown grades 'not attempted'"):
        outcome_shares(["not attempted"])


def test_every_rule_has_its_accuracy():
    grades = pd.DataFrame({"mine": ["correct"] * 8 + ["truncated"] * 2, "flexible": ["incorrect"] * 10})
    table = accuracy(grades)
    assert list(table.index) == ["mine", "flexible"]
    assert list(table["n"]) == [8, 0]
    np.testing.assert_allclose(table.loc["mine", ["share", "low", "high"]], [0.8, 0.490162, 0.943318], atol=1e-6)


# -------------------------------------------------------------------------------------------------------- two judges


def two_judges(n: int, share_alike: float) -> tuple[pd.Series, pd.Series]:
    rng = np.random.default_rng(0)
    one = rng.choice(GRADES, n, p=[0.5, 0.3, 0.2])
    other = np.where(rng.random(n) < share_alike, one, rng.choice(GRADES, n))
    ids = [f"r{place}" for place in range(n)]
    return pd.Series(one, ids, name="rules"), pd.Series(other, ids, name="model")


def test_kappa_and_its_interval_are_close_to_those_of_the_asymptotic_theory():
    found = agreement(*two_judges(211, 0.7), GRADES)
    theory = cohens_kappa(found.table)
    assert found.kappa.estimate == pytest.approx(theory.kappa, rel=1e-12)
    assert found.kappa.low == pytest.approx(theory.kappa_low, abs=0.03)
    assert found.kappa.high == pytest.approx(theory.kappa_upp, abs=0.03)


def test_the_table_counts_every_pair_of_grades_with_the_first_judge_in_its_rows():
    one = pd.Series(["correct", "correct", "incorrect"], list("abc"), name="rules")
    other = pd.Series(["incorrect", "incorrect", "correct"], list("abc"), name="model")
    table = agreement(one, other, GRADES).table
    assert table.loc["correct", "incorrect"] == 2
    assert table.loc["incorrect", "correct"] == 1
    assert table.to_numpy().sum() == 3
    assert (table.index.name, table.columns.name) == ("rules", "model")


def test_only_responses_that_both_judges_graded_are_compared():
    one = pd.Series(["correct", "correct", "incorrect"], list("abc"))
    other = pd.Series(["correct", "refused", "correct"], list("abd"))
    assert agreement(one, other, GRADES).table.to_numpy().sum() == 1


def test_judges_who_never_graded_the_same_response_have_an_empty_table():
    one, other = pd.Series(["correct"], ["a"]), pd.Series(["correct"], ["b"])
    found = agreement(one, other, GRADES)
    assert found.table.to_numpy().sum() == 0
    assert format(found.kappa) == "undetermined"


def test_judges_who_give_one_grade_only_have_no_kappa():
    always = pd.Series(["correct"] * 17)
    assert format(agreement(always, always, GRADES).kappa) == "undetermined"


def test_a_few_responses_have_a_table_but_no_kappa():
    one, other = two_judges(FEWEST - 1, 1.0)
    found = agreement(one, other, GRADES)
    assert format(found.kappa) == "undetermined"
    assert found.table.to_numpy().sum() == FEWEST - 1


def test_resamples_without_a_second_grade_are_no_trouble():
    once = pd.Series(["correct"] * 16 + ["incorrect"])
    assert agreement(once, once, GRADES).kappa == Interval(1.0, 1.0, 1.0)


# ---- by clusters


@given(st.lists(st.booleans(), min_size=2, max_size=40))
def test_a_share_with_clusters_of_one_has_wilsons_interval(right):
    found = share_by_cluster(pd.Series(right), pd.Series(range(len(right))))
    np.testing.assert_allclose(found, wilson(sum(right), len(right)), atol=1e-12)


def test_responses_counted_five_times_tell_no_more_of_a_share():
    right = pd.Series([True] * 7 + [False] * 13)
    again = share_by_cluster(right.repeat(5), pd.Series(range(20)).repeat(5))
    np.testing.assert_allclose(again, share_by_cluster(right, pd.Series(range(20))), atol=0.01)


def test_a_share_where_all_are_right_rests_on_its_clusters():
    found = share_by_cluster(pd.Series([True] * 40), pd.Series(range(40)) // 4)
    np.testing.assert_allclose(found, wilson(10, 10))


def test_a_share_of_none_is_undetermined():
    assert np.isnan(share_by_cluster(pd.Series([], dtype=bool), pd.Series([], dtype=object)).estimate)


@given(st.lists(st.tuples(st.floats(-3, 3), st.integers(0, 14)), min_size=15, max_size=40))
def test_a_mean_has_the_interval_of_a_regression_with_errors_by_clusters(rows):
    values, clusters = (pd.Series(column, dtype=float) for column in zip(*rows, strict=True))
    found = mean_by_cluster(values, clusters)
    if clusters.nunique() < FEWEST:
        assert np.isnan(found.estimate)
        return
    fit = sm.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}, use_t=True
    )
    n = clusters.nunique()
    half = sps.t.ppf(0.975, n - 1) * fit.bse.iloc[0] * np.sqrt(n / (n - 1))
    np.testing.assert_allclose(found, [values.mean(), values.mean() - half, values.mean() + half], atol=1e-7)
