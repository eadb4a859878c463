"""Alarms: the rate of false ones, and when they sound."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnent.analysis.intervals import StatsError
from attnent.detectors.alarms import (
    alarm_threshold,
    alarms_in_wrong,
    clusters_needed,
    early_warning,
    lowest_when_right,
)


@given(st.lists(st.integers(0, 30), min_size=2, max_size=120), st.integers(1, 99))
def test_of_exchangeable_clusters_a_left_out_one_falls_below_the_threshold_at_the_chosen_rate_at_most(values, percent):
    """Each of n + 1 clusters left out in turn is the new one: what exchangeability says, counted."""
    values, rate = np.array(values, float), percent / 100
    if len(values) - 1 < clusters_needed(rate):
        return
    false = sum(one < alarm_threshold(np.delete(values, i), rate) for i, one in enumerate(values))
    assert false <= rate * len(values) + 1e-9


@given(st.integers(1, 400), st.integers(1, 99))
def test_distinct_values_use_up_the_rate_that_their_number_allows(n, percent):
    rate = percent / 100
    if n < clusters_needed(rate):
        return
    below = sum(range(n) < np.full(n, alarm_threshold(np.arange(n, dtype=float), rate)))
    assert below == percent * (n + 1) // 100 - 1


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.5, 1), (0.3, 3)])
def test_so_many_clusters_are_needed_and_are_enough(rate, needed):
    assert clusters_needed(rate) == needed
    assert alarm_threshold(np.ones(needed), rate) == 1


def test_with_too_few_clusters_no_alarm_sounds_and_the_warning_says_how_many_are_needed():
    with pytest.warns(UserWarning, match=r"1 % false alarms need 99 clusters with a right answer, and there are 98"):
        assert alarm_threshold(np.ones(98), 0.01) == -math.inf


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 5.0])
def test_a_rate_outside_zero_to_one_is_refused(rate):
    with pytest.raises(StatsError, match="between 0 and 1"):
        alarm_threshold(np.ones(9), rate)


def tables(responses: list[tuple[str, list[bool], list[float]]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Answers and tokens of responses, each with its cluster, which tokens are right, and their confidence."""
    answers, tokens = [], []
    for number, (cluster, is_right, confidence) in enumerate(responses):
        of = {"run": "r", "response_id": str(number)}
        answers.append(of | {"cluster": cluster, "is_right": all(is_right)})
        for step, (right, value) in enumerate(zip(is_right, confidence, strict=True)):
            tokens.append(of | {"step": step, "is_right": right, "confidence": value})
    return pd.DataFrame(answers), pd.DataFrame(tokens)


def test_the_lowest_value_of_a_cluster_is_over_the_tokens_of_its_right_answers_alone():
    answers, tokens = tables(
        [("a", [True, True], [0.9, 0.4]), ("a", [True], [0.5]), ("a", [True, False], [0.1, 0.2]), ("b", [False], [0.3])]
    )
    assert lowest_when_right(answers, tokens).to_dict() == {"a": 0.4}


def test_an_alarm_sounds_before_at_or_after_the_wrong_token_or_never():
    right_until_two = [True, True, False, False]
    answers, tokens = tables(
        [
            ("a", right_until_two, [0.1, 0.9, 0.9, 0.1]),
            ("b", right_until_two, [0.9, 0.9, 0.1, 0.1]),
            ("c", right_until_two, [0.9, 0.9, 0.9, 0.1]),
            ("d", right_until_two, [0.9, 0.5, 0.9, 0.9]),
            ("e", [True], [0.1]),
        ]
    )
    found = alarms_in_wrong(answers, tokens, 0.5)
    assert found["sounded"].tolist() == ["before", "at", "after", "never"]
    assert found["wrong_step"].tolist() == [2] * 4
    np.testing.assert_array_equal(found["alarm_step"], [0, 2, 3, np.nan])
    np.testing.assert_array_equal(found["lead"], [2, np.nan, np.nan, np.nan])


def drawn(n_clusters: int, seed: int, *, foresees: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A right and a wrong answer of ten tokens in each cluster; one wrong from token 6 on, perhaps unsure from 4 on."""
    random, responses = np.random.default_rng(seed), []
    for cluster in range(n_clusters):
        sure = random.uniform(0.5, 1, (2, 10))
        if foresees:
            sure[1, 4:] = random.uniform(0, 0.3, 6)
        responses.append((f"c{cluster}", [True] * 10, sure[0].tolist()))
        responses.append((f"c{cluster}", [True] * 6 + [False] * 4, sure[1].tolist()))
    return tables(responses)


def test_a_score_that_foresees_the_error_warns_before_it_and_another_does_not():
    answers, tokens = drawn(240, 0, foresees=True)
    noise = pd.Series(np.random.default_rng(1).random(len(tokens)), tokens.index)
    found = early_warning(answers, tokens, {"confidence": tokens["confidence"], "noise": noise}, false_alarms=0.05)
    assert (found["n_clusters"].tolist(), found["n_wrong"].tolist()) == ([120, 120], [120, 120])
    assert found.loc["confidence", ["before", "median_lead", "never"]].tolist() == [1, 2, 0]
    assert found.loc["noise", "before"] < 0.15
    np.testing.assert_allclose(found[["before", "at", "after", "never"]].sum(axis=1), 1)


def test_over_many_draws_the_rate_of_false_alarms_is_the_chosen_one_at_most():
    rates = []
    for seed in range(40):
        answers, tokens = drawn(80, seed, foresees=False)
        found = early_warning(answers, tokens, {"confidence": tokens["confidence"]}, false_alarms=0.1)
        rates.append(found.loc["confidence", "false_alarms"])
    assert 0.06 < np.mean(rates) < 0.11  # (4 - 1) / 41 to 4 / 41 expected


def test_a_score_that_is_missing_for_some_tokens_is_refused():
    answers, tokens = drawn(40, 0, foresees=False)
    with pytest.raises(StatsError, match="confidence is missing for 1 tokens"):
        early_warning(answers, tokens, {"confidence": tokens["confidence"].where(tokens.index > 0)}, false_alarms=0.1)


def test_where_no_answer_is_wrong_the_shares_are_undetermined():
    answers, tokens = tables([(f"c{i}", [True], [0.5]) for i in range(40)])
    found = early_warning(answers, tokens, {"confidence": tokens["confidence"]}, false_alarms=0.1)
    assert found.loc["confidence", ["before", "at", "median_lead"]].isna().all()
