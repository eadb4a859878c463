"""PRR and AUGRC: by hand, against the curves they are the areas of, and as laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnent.analysis import StatsError
from attnent.analysis.comparison import auroc
from attnent.detectors.rejection import augrc, augrc_interval, prr, prr_interval, risk_coverage

EACH = np.arange(4.0)


@st.composite
def scored(draw):
    """Scores with ties, and errors of both kinds."""
    rows = draw(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=4, max_size=30))
    scores, wrong = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    wrong[:2] = True, False
    return scores, wrong


def test_prr_by_hand():
    # kept 4, 3: errors of 2/4, 1/3, mean 5/12; the oracle's 2/4, 1/3; chance 1/2
    assert prr(EACH, np.array([False, True, False, True])) == pytest.approx((1 / 2 - 5 / 12) / (1 / 2 - 5 / 12))
    # kept 4, 3, 2, 1: 2/4, 1/3, 1/2, 0, mean 1/3; the oracle's 2/4, 1/3, 0, 0, mean 5/24
    wrong = np.array([False, True, False, True])
    assert prr(EACH, wrong, max_rejection=1.0) == pytest.approx((1 / 2 - 1 / 3) / (1 / 2 - 5 / 24))


def test_augrc_by_hand():
    # among the 1, 2, 3, 4 lowest: 0, 1, 1, 2 errors
    assert augrc(EACH, np.array([False, True, False, True])) == pytest.approx((0 + 1 + 1 + 2) / 4 / 4)


def test_the_curve_by_hand():
    curve = risk_coverage(EACH, np.array([False, True, False, True]))
    np.testing.assert_allclose(curve["coverage"], [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve["risk"], [0, 1 / 2, 1 / 3, 1 / 2])
    np.testing.assert_allclose(curve["generalized_risk"], [0, 1 / 4, 1 / 4, 1 / 2])


@given(scored())
def test_augrc_is_the_mean_of_the_generalised_curve_and_follows_from_auroc(case):
    scores, wrong = case
    n, n_wrong = len(scores), int(wrong.sum())
    assert augrc(scores, wrong) == pytest.approx(risk_coverage(scores, wrong)["generalized_risk"].mean())
    pairs = (1 - auroc(scores[wrong], scores[~wrong])) * n_wrong * (n - n_wrong)
    assert augrc(scores, wrong) == pytest.approx((pairs + n_wrong * (n_wrong + 1) / 2) / n**2)


@given(scored(), st.sampled_from([0.5, 0.8, 1.0]))
def test_prr_is_the_area_of_the_curve_between_chance_and_the_oracle(case, most):
    scores, wrong = case
    n_rejected = int(most * len(scores))
    own, best = (risk_coverage(by, wrong)["risk"].tail(n_rejected).mean() for by in (scores, wrong.astype(float)))
    assert prr(scores, wrong, max_rejection=most) == pytest.approx((wrong.mean() - own) / (wrong.mean() - best))


@given(scored())
def test_a_score_that_is_the_error_has_prr_one_and_its_opposite_less_than_nought(case):
    _, wrong = case
    assert prr(wrong.astype(float), wrong) == pytest.approx(1)
    assert prr(1.0 - wrong, wrong) < 0


@given(scored())
def test_a_score_that_is_the_same_for_all_is_chance(case):
    scores, wrong = case
    assert prr(np.zeros_like(scores), wrong) == pytest.approx(0, abs=1e-9)


@given(scored(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(case, random):
    scores, wrong = case
    order = np.array(random.sample(range(len(scores)), len(scores)))
    for measure in (prr, augrc):
        assert measure(scores[order], wrong[order]) == pytest.approx(measure(scores, wrong))


@given(scored())
def test_only_the_ranks_of_scores_count(case):
    scores, wrong = case
    for measure in (prr, augrc):
        assert measure(np.exp(scores), wrong) == pytest.approx(measure(scores, wrong))


def test_errors_may_be_partial():
    quality = np.array([1.0, 0.2, 0.7, 0.4])
    assert prr(1 - quality, 1 - quality) == pytest.approx(1)
    assert augrc(EACH, 1 - quality) == pytest.approx(np.cumsum(1 - quality).sum() / 16)


@pytest.mark.parametrize("wrong", [np.zeros(4, bool), np.ones(4, bool)])
def test_prr_is_undetermined_where_all_are_right_or_all_wrong(wrong):
    assert np.isnan(prr(EACH, wrong))


@pytest.mark.parametrize("measure", [prr, augrc, risk_coverage])
def test_what_is_missing_or_no_error_is_refused(measure):
    with pytest.raises(StatsError, match="1 of 2 scores are missing"):
        measure(np.array([0.0, np.nan]), np.array([True, False]))
    with pytest.raises(StatsError, match="outside 0 to 1"):
        measure(np.array([0.0, 1.0]), np.array([0.5, 1.2]))
    with pytest.raises(StatsError, match="no responses"):
        measure(np.empty(0), np.empty(0, bool))


def simulated(seed: int, n: int = 200):
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < 0.4
    return rng.normal(size=n) + 1.5 * wrong, wrong


@pytest.mark.parametrize(("interval", "measure"), [(prr_interval, prr), (augrc_interval, augrc)])
def test_an_interval_holds_its_estimate_and_is_the_same_every_time(interval, measure):
    scores, wrong = simulated(0)
    found = interval(scores, wrong, np.arange(200))
    assert found.estimate == pytest.approx(measure(scores, wrong))
    assert found.low < found.estimate < found.high
    assert interval(scores, wrong, np.arange(200)) == found


@pytest.mark.parametrize("interval", [prr_interval, augrc_interval])
def test_responses_that_say_the_same_make_no_interval_narrower(interval):
    scores, wrong = simulated(1)
    once = interval(scores, wrong, np.arange(200))
    thrice = interval(np.tile(scores, 3), np.tile(wrong, 3), np.tile(np.arange(200), 3))
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.02)


@pytest.mark.parametrize("interval", [prr_interval, augrc_interval])
def test_too_few_clusters_have_no_interval(interval):
    scores, wrong = simulated(2)
    assert np.isnan(interval(scores, wrong, np.arange(200) % 9)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("interval", "measure"), [(prr_interval, prr), (augrc_interval, augrc)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(interval, measure):
    truth = measure(*simulated(0, n=200_000))
    found = [interval(*simulated(seed), np.arange(200)) for seed in range(1, 201)]
    assert 0.90 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99
