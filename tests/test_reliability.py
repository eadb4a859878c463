"""Brier, AUPRC, calibration error and the bins of a reliability diagram."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnent.analysis import StatsError
from attnent.analysis.intervals import wilson
from attnent.detectors.calibration import auprc, brier, ece, reliability

CONFIDENCE = np.array([0.1, 0.3, 0.6, 0.9])
IS_RIGHT = np.array([False, True, False, True])

answers = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40).map(
    lambda rows: (np.array([row[0] / 8 for row in rows]), np.array([row[1] for row in rows]))
)


def test_brier_by_hand():
    assert brier(CONFIDENCE, IS_RIGHT) == pytest.approx((0.01 + 0.49 + 0.36 + 0.01) / 4)


def test_auprc_by_hand():
    # errors are found first and third: precision 1/1 and 2/3
    assert auprc(1 - CONFIDENCE, ~IS_RIGHT) == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_without_errors_auprc_is_undetermined():
    assert np.isnan(auprc(CONFIDENCE, np.zeros(4, bool)))


def test_calibration_error_by_hand():
    # bins 0.2 against 1/2, and 0.75 against 1/2
    assert ece(CONFIDENCE, IS_RIGHT, n_bins=2) == pytest.approx((0.3 + 0.25) / 2)


def test_each_bin_counts_as_the_answers_in_it():
    # three answers of 0.2, of which a third is right, and one of 0.8, which is
    found = ece(np.array([0.2, 0.2, 0.2, 0.8]), np.array([True, False, False, True]), n_bins=2)
    assert found == pytest.approx((3 * (1 / 3 - 0.2) + 0.2) / 4)


@given(answers)
def test_a_confidence_that_is_the_truth_has_no_error_of_any_kind(case):
    _, is_right = case
    assert brier(is_right.astype(float), is_right) == 0
    assert ece(is_right.astype(float), is_right) == 0


@given(answers)
def test_the_calibration_error_of_a_constant_is_its_distance_from_the_share_right(case):
    _, is_right = case
    assert ece(np.full(len(is_right), 0.25), is_right) == pytest.approx(abs(0.25 - is_right.mean()))


@given(answers, st.integers(1, 12))
def test_bins_rise_hold_everyone_once_and_never_part_equal_confidences(case, n_bins):
    confidence, is_right = case
    bins = reliability(confidence, is_right, n_bins=n_bins)
    assert bins["n"].sum() == len(confidence)
    assert np.average(bins["confidence"], weights=bins["n"]) == pytest.approx(confidence.mean())
    assert np.average(bins["share"], weights=bins["n"]) == pytest.approx(is_right.mean())
    by_value = [
        reliability(confidence[confidence == value], is_right[confidence == value]) for value in set(confidence)
    ]
    assert {len(one) for one in by_value} == {1}
    assert bins["confidence"].is_monotonic_increasing


def test_bins_of_different_confidences_hold_as_many_each():
    confidence = np.random.default_rng(0).random(1_000)
    assert reliability(confidence, confidence > 0.5)["n"].tolist() == [100] * 10


def test_the_intervals_of_independent_answers_are_those_of_wilson():
    bins = reliability(np.full(40, 0.7), np.arange(40) < 29)
    assert bins.loc[bins.index[0], ["share", "low", "high"]].tolist() == pytest.approx(list(wilson(29, 40)))


def test_answers_that_are_copies_make_no_interval_narrower():
    is_right = np.arange(40) < 29
    once = reliability(np.full(40, 0.7), is_right).iloc[0]
    thrice = reliability(np.full(120, 0.7), np.tile(is_right, 3), np.tile(np.arange(40), 3)).iloc[0]
    assert thrice["high"] - thrice["low"] == pytest.approx(once["high"] - once["low"], rel=0.02)
    assert (once["n"], thrice["n"]) == (40, 120)


def test_answers_of_a_cluster_that_have_nothing_in_common_count_each():
    is_right = np.random.default_rng(0).random(900) < 0.7
    alone = reliability(np.full(900, 0.7), is_right).iloc[0]
    in_threes = reliability(np.full(900, 0.7), is_right, np.arange(900) // 3).iloc[0]
    assert in_threes["high"] - in_threes["low"] == pytest.approx(alone["high"] - alone["low"], rel=0.1)


def test_of_answers_that_are_all_right_the_clusters_are_counted():
    found = reliability(np.full(30, 0.7), np.ones(30, bool), np.arange(30) % 15).iloc[0]
    assert found["low"] == pytest.approx(wilson(15, 15).low)


@pytest.mark.parametrize("measure", [brier, ece, reliability])
def test_what_is_no_probability_is_refused(measure):
    for confidence in (np.array([0.2, 1.2]), np.array([0.2, np.nan])):
        with pytest.raises(StatsError, match="outside 0 to 1"):
            measure(confidence, np.array([True, False]))
    with pytest.raises(StatsError, match="no responses"):
        measure(np.empty(0), np.empty(0, bool))
