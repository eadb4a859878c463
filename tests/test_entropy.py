"""Laws of the measures of a row, in float64 where they are exact."""

import math

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from attnent.attention.entropy import RowStats, masses, stats_of_moments, weights_and_moments_

score = st.floats(-30, 30, allow_subnormal=False)
rows = arrays(np.float64, st.tuples(st.sampled_from([2, 3]), st.integers(1, 23)), elements=score).map(torch.from_numpy)


def stats_of_scores(scores: torch.Tensor) -> RowStats:
    """The measures of rows of scores, which stay as they are."""
    return stats_of_moments(weights_and_moments_(scores.clone())[1])


def of_weights(weights: torch.Tensor) -> RowStats:
    """The measures of rows of weights by the sums of their definitions."""
    surprisal = -weights.log().nan_to_num(neginf=0.0)
    entropy = (weights * surprisal).sum(-1)
    varentropy = (weights * (surprisal - entropy.unsqueeze(-1)) ** 2).sum(-1)
    return RowStats(entropy, varentropy, -(weights**2).sum(-1).log(), weights.amax(-1))


def assert_same(got, want, atol=1e-9) -> None:
    for name in want._fields:
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), atol=atol, err_msg=name)


@given(rows)
def test_entropy_lies_between_zero_and_log_k(scores):
    entropy = stats_of_scores(scores).entropy
    assert (entropy >= -1e-12).all()
    assert (entropy <= math.log(scores.shape[-1]) + 1e-12).all()


@given(rows)
def test_varentropy_is_never_negative(scores):
    assert (stats_of_scores(scores.float()).varentropy >= 0).all()


@given(rows)
def test_collision_entropy_is_at_most_the_entropy_and_at_least_half_the_min_entropy(scores):
    stats = stats_of_scores(scores)
    assert (stats.collision_entropy <= stats.entropy + 1e-12).all()
    assert (stats.collision_entropy >= -stats.max_weight.log() - 1e-12).all()


@given(st.integers(1, 1009), score)
def test_uniform_rows_have_entropy_log_k_and_no_varentropy(k, level):
    stats = stats_of_scores(torch.full((k,), level, dtype=torch.float64))
    np.testing.assert_allclose([*stats], [math.log(k), 0.0, math.log(k), 1 / k], atol=1e-10, err_msg=str(stats._fields))


def test_one_hot_rows_have_neither_entropy_nor_varentropy():
    scores = torch.full((3, 7), -torch.inf)
    scores[[0, 1, 2], [0, 3, 6]] = 1.0
    assert_same(stats_of_scores(scores), of_weights(torch.eye(7)[[0, 3, 6]]), atol=0)
    assert stats_of_scores(scores).entropy.tolist() == [0, 0, 0]
    assert stats_of_scores(scores).varentropy.tolist() == [0, 0, 0]


@given(rows, rows)
def test_entropies_and_varentropies_of_independent_rows_add(a, b):
    a, b = a[:1], b[:1]
    together = stats_of_scores((a.unsqueeze(-1) + b.unsqueeze(-2)).flatten(1))
    apart_a, apart_b = stats_of_scores(a), stats_of_scores(b)
    for name in ("entropy", "varentropy", "collision_entropy"):
        np.testing.assert_allclose(
            getattr(together, name), getattr(apart_a, name) + getattr(apart_b, name), atol=1e-9, err_msg=name
        )


@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(scores, random):
    order = list(range(scores.shape[-1]))
    random.shuffle(order)
    assert_same(stats_of_scores(scores[:, order]), stats_of_scores(scores))


@given(rows, st.floats(-1e3, 1e3))
def test_a_constant_added_to_all_scores_changes_nothing(scores, shift):
    assert_same(stats_of_scores(scores + shift), stats_of_scores(scores))


@given(rows, st.data())
def test_masked_keys_add_nothing(scores, data):
    n_masked = data.draw(st.integers(1, 5))
    where = data.draw(st.permutations(range(scores.shape[-1] + n_masked)))
    masked = torch.cat([scores, torch.full((len(scores), n_masked), -torch.inf, dtype=torch.float64)], dim=-1)
    assert_same(stats_of_scores(masked[:, where]), stats_of_scores(scores))


@given(rows, st.floats(0.3, 3.0))
def test_varentropy_is_the_derivative_of_entropy_by_the_log_of_temperature(scores, temperature):
    log_temperature = torch.tensor(math.log(temperature), dtype=torch.float64, requires_grad=True)
    weights = (scores[0] / log_temperature.exp()).softmax(-1)
    torch.special.entr(weights).sum().backward()
    np.testing.assert_allclose(
        stats_of_scores(scores[0] / temperature).varentropy, log_temperature.grad, atol=1e-8, rtol=1e-8
    )


@given(rows)
def test_scores_and_weights_give_the_same_measures(scores):
    assert_same(stats_of_scores(scores), of_weights(scores.softmax(-1)))


@given(rows)
def test_the_measures_agree_with_the_sums_of_their_definitions(scores):
    stats = stats_of_scores(scores)
    visible = np.ones(scores.shape[-1], bool)
    for at, p in enumerate(scores.softmax(-1).numpy()):
        wanted = oracle.row(p, visible, len(p) - 1, len(p))
        for name in stats._fields:
            np.testing.assert_allclose(getattr(stats, name)[at], wanted[name], atol=1e-9, err_msg=name)


# ---- precision and extremes


def test_double_scores_stay_double():
    assert stats_of_scores(torch.zeros(3, dtype=torch.float64)).entropy.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gap", [111.0, 1e4, 1e30])
def test_a_far_higher_score_takes_all_the_weight(dtype, gap):
    stats = stats_of_scores(torch.tensor([[0.0, gap, 0.0], [-gap, -2 * gap, -2 * gap]], dtype=dtype))
    np.testing.assert_allclose(torch.stack([*stats]), [[0, 0], [0, 0], [0, 0], [1, 1]], atol=1e-40)


def test_two_equal_extreme_scores_share_the_weight():
    stats = stats_of_scores(torch.tensor([1e4, -1e4, 1e4, torch.finfo(torch.float32).min]))
    np.testing.assert_allclose([*stats], [math.log(2), 0, math.log(2), 0.5], atol=1e-6)


def test_a_row_that_sees_no_key_is_missing_in_every_measure():
    scores = torch.tensor([[-torch.inf] * 3, [0.0] * 3])
    for name, values in stats_of_scores(scores)._asdict().items():
        assert values.isnan().tolist() == [True, False], name


# ---- masses


def test_masses_are_read_at_the_right_keys():
    weights = torch.tensor([0.02, 0.03, 0.05, 0.07, 0.11, 0.13, 0.59]).expand(2, 3, 1, 7)
    one = torch.tensor
    got = masses(weights, first=one([[[1]]]), last=one([[[5]]]), n_generated=one([2]))
    for name, want in {"sink_mass": 0.03, "prompt_mass": 0.17, "self_mass": 0.13, "previous_mass": 0.11}.items():
        np.testing.assert_allclose(getattr(got, name), np.full((2, 3, 1), want), atol=1e-6, err_msg=name)


def test_a_query_that_sees_only_itself_has_no_previous_key():
    got = masses(torch.ones(1, 1, 1, 1), torch.tensor(0), torch.tensor(0), torch.tensor([0]))
    assert got.previous_mass.isnan().all()
    assert got.self_mass.item() == got.sink_mass.item() == got.prompt_mass.item() == 1
