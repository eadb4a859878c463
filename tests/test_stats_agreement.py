"""Two judges on the same responses: Cohen's kappa, its interval and the confusion table."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from attnent.analysis import comparison as stats

GRADES = ["correct", "incorrect", "not_attempted"]


def two_judges(n: int, share_alike: float) -> tuple[pd.Series, pd.Series]:
    rng = np.random.default_rng(0)
    one = rng.choice(GRADES, n, p=[0.5, 0.3, 0.2])
    other = np.where(rng.random(n) < share_alike, one, rng.choice(GRADES, n))
    ids = [f"r{place}" for place in range(n)]
    return pd.Series(one, ids, name="rules"), pd.Series(other, ids, name="model")


def test_kappa_and_its_interval_are_close_to_those_of_the_asymptotic_theory(monkeypatch):
    monkeypatch.setattr(stats, "N_RESAMPLES", 300)
    one, other = two_judges(211, 0.7)
    found = stats.agreement(one, other, GRADES)
    theory = cohens_kappa(found.table)
    assert found.kappa.estimate == pytest.approx(theory.kappa, rel=1e-12)
    assert found.kappa.low == pytest.approx(theory.kappa_low, abs=0.03)
    assert found.kappa.high == pytest.approx(theory.kappa_upp, abs=0.03)


def test_the_table_counts_every_pair_of_grades_with_the_first_judge_in_its_rows():
    one = pd.Series(["correct", "correct", "incorrect"], list("abc"), name="rules")
    other = pd.Series(["incorrect", "incorrect", "correct"], list("abc"), name="model")
    table = stats.agreement(one, other, GRADES).table
    assert table.loc["correct", "incorrect"] == 2
    assert table.loc["incorrect", "correct"] == 1
    assert table.to_numpy().sum() == 3
    assert (table.index.name, table.columns.name) == ("rules", "model")


def test_only_responses_that_both_judges_graded_are_compared():
    one = pd.Series(["correct", "correct", "incorrect"], list("abc"))
    other = pd.Series(["correct", "refused", "correct"], list("abd"))
    assert stats.agreement(one, other, GRADES).table.to_numpy().sum() == 1


def test_judges_who_give_one_grade_only_have_no_kappa():
    always = pd.Series(["correct"] * 17)
    assert format(stats.agreement(always, always, GRADES).kappa) == "undetermined"


def test_a_few_responses_have_a_table_but_no_kappa():
    one, other = two_judges(stats.FEWEST - 1, 1.0)
    found = stats.agreement(one, other, GRADES)
    assert format(found.kappa) == "undetermined"
    assert found.table.to_numpy().sum() == stats.FEWEST - 1


def test_resamples_without_a_second_grade_are_no_trouble(monkeypatch):
    monkeypatch.setattr(stats, "N_RESAMPLES", 200)
    once = pd.Series(["correct"] * 16 + ["incorrect"])
    assert stats.agreement(once, once, GRADES).kappa == stats.Interval(1.0, 1.0, 1.0)
