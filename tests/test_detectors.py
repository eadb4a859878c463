"""Published scores on traces whose numbers a hand can follow, alone and in a batch."""

import math

import numpy as np
import pytest
import xarray as xr
from made_up import made_up_trace

from attnent.detectors import columns, heads, tokens
from attnent.detectors.batches import batch
from attnent.detectors.scores import DETECTORS
from attnent.trace import TraceError

LN2 = math.log(2)


def with_measures(trace: xr.Dataset, **values) -> xr.Dataset:
    """The trace with some measures set, each broadcast to its shape."""
    return trace.assign({name: trace[name] * 0 + np.asarray(value, np.float32) for name, value in values.items()})


def with_tokens(trace: xr.Dataset, **values) -> xr.Dataset:
    return trace.assign_coords({name: ("step", np.asarray(value, np.float32)) for name, value in values.items()})


@pytest.fixture
def two_steps() -> xr.Dataset:
    """Two steps; chosen tokens of probability 1/2 and 1/4; entropies 1 and 3 nat, varentropies 2 and 4 nat^2."""
    trace = made_up_trace(["a", "b"], n_layers=3, n_heads=2)
    return with_tokens(trace, logprob=[-LN2, -2 * LN2], token_entropy=[1, 3], token_varentropy=[2, 4])


@pytest.mark.parametrize(
    ("score", "by_hand"),
    [
        (tokens.mean_token_entropy, 2),
        (tokens.max_token_entropy, 3),
        (tokens.last_token_entropy, 3),
        (tokens.mean_token_varentropy, 3),
        (tokens.perplexity, 2**1.5),
        (tokens.negative_log_likelihood, 3 * LN2),
        (tokens.least_likely_token, 2 * LN2),
    ],
)
def test_scores_of_tokens_are_those_of_a_hand(two_steps, score, by_hand):
    assert float(score(two_steps)) == pytest.approx(by_hand, rel=1e-6)


def test_head_entropy_is_one_half_of_a_row_that_two_keys_share(two_steps):
    even = with_measures(two_steps, collision_entropy=LN2)  # p = (1/2, 1/2): 1 - sum p^2 = 1/2
    np.testing.assert_allclose(heads.head_entropy(even), 0.5, rtol=1e-6)
    assert float(heads.mean_head_entropy(even)) == pytest.approx(0.5, rel=1e-6)


def test_the_question_alone_is_read_from_the_first_row(two_steps):
    rows = with_measures(two_steps, collision_entropy=[LN2, 2 * LN2])  # 1/2, then 3/4
    np.testing.assert_allclose(heads.question_entropy(rows), 0.5, rtol=1e-6)
    np.testing.assert_allclose(heads.head_entropy(rows), 0.625, rtol=1e-6)


def test_attention_divergence_is_ln_k_less_the_entropy(two_steps):
    rows = with_measures(two_steps, entropy=LN2)  # 9 and 10 visible keys
    by_hand = (math.log(9) + math.log(10)) / 2 - LN2
    np.testing.assert_allclose(heads.attention_divergence(rows), by_hand, rtol=1e-6)


def test_lookback_compares_the_mean_weight_of_keys():
    # Step 1 sees 9 prompt keys and 1 generated one; .9 on the prompt is .1 a key, and .1 is on the other: 1/2.
    trace = with_measures(made_up_trace(["a", "b"]), prompt_mass=[1.0, 0.9])
    np.testing.assert_allclose(heads.lookback(trace), 0.5, rtol=1e-5)


def test_lookback_windows_are_means_of_eight_steps():
    trace = with_measures(made_up_trace(["a"] * 10), prompt_mass=0.5)
    ratio = [(0.5 / 9) / (0.5 / 9 + 0.5 / t) for t in range(1, 10)]
    windows = heads.lookback_windows(trace)
    assert windows.sizes["window"] == 2
    np.testing.assert_allclose(windows.isel(layer=0, head=0), [np.mean(ratio[:7]), np.mean(ratio[7:])], rtol=1e-5)


def test_llm_check_is_the_log_of_own_weights_in_the_middle_layer(two_steps):
    own = np.full((3, 2, 2), 1.0)
    own[1, :, 1] = [0.5, 0.25]  # the middle one of three layers; step 0 is the prompt's last position and not counted
    score = heads.llm_check(with_measures(two_steps, self_mass=own))
    assert float(score) == pytest.approx(LN2 + 2 * LN2, rel=1e-6)


def test_rauq_carries_confidence_along_the_head_that_looks_back(two_steps):
    own = np.zeros((3, 2, 2))
    own[:, 1, 1] = 0.8  # head 1 looks at the token before; head 0 does not
    # c_1 = 1/2; c_2 = .2 * 1/4 + .8 * .8 * 1/2 = .37
    score = heads.rauq(with_measures(two_steps, self_mass=own))
    assert float(score) == pytest.approx(-(math.log(0.5) + math.log(0.37)) / 2, rel=1e-6)


def test_rauq_takes_the_least_confident_layer_of_the_middle_third():
    trace = made_up_trace(["a", "b"], n_layers=6, n_heads=1)
    trace = with_tokens(trace, logprob=[-LN2, -LN2])
    own = np.ones((6, 1, 2))
    own[3], own[0] = 0.5, 0.0  # layers 2, 3 and 4 are read: that of the middle which looks back least counts
    carried = 0.2 * 0.5 + 0.8 * 0.5 * 0.5
    score = heads.rauq(with_measures(trace, self_mass=own))
    assert float(score) == pytest.approx(-(math.log(0.5) + math.log(carried)) / 2, rel=1e-6)


def test_each_response_of_a_batch_has_its_own_head():
    one, other = (made_up_trace(["a", "b", "c"][:n], n_heads=4, seed=n) for n in (2, 3))
    together = heads.rauq(batch({"one": one, "other": other}))
    np.testing.assert_allclose(together, [heads.rauq(one), heads.rauq(other)], rtol=1e-6)


def test_sink_scores_and_eigenvalues_are_those_of_a_small_matrix():
    weights = np.array([[1, 0, 0], [0.4, 0.6, 0], [0.2, 0.3, 0.5]])
    received = weights.sum(axis=0) / [3, 2, 1]
    trace = xr.Dataset(
        {
            "received_mass": (("layer", "head", "key"), received[None, None]),
            "own_mass": (("layer", "head", "key"), np.diag(weights)[None, None]),
        },
        {"layer": [0], "head": [0], "layer_kind": ("layer", ["self"])},
    )
    np.testing.assert_allclose(columns.sink_scores(trace)[0, 0], [1.6 / 3, 0.5, 0.45])
    laplacian = np.diag(received) - weights
    eigenvalues = np.sort(np.linalg.eigvals(laplacian).real)[::-1]
    np.testing.assert_allclose(columns.laplacian_eigenvalues(trace)[0, 0], eigenvalues, atol=1e-12)


def test_every_score_of_a_batch_is_that_of_the_trace_alone():
    traces = {
        str(n): made_up_trace(["a"] * n, n_layers=4, kinds=["self", "cross", "self", "sliding"], seed=n)
        for n in (2, 5, 11)
    }
    together = batch(traces)
    functions = [*vars(tokens).values(), *vars(heads).values()]
    scores = [f for f in functions if getattr(f, "__module__", "") in (tokens.__name__, heads.__name__)]
    checked = 0
    for score in scores:
        if score.__name__.startswith("_") or score.__name__ in ("by_head", "lookback_windows"):
            continue
        alone = np.array([score(trace).values for trace in traces.values()])
        np.testing.assert_allclose(score(together).values, alone, rtol=1e-5, err_msg=score.__name__)
        checked += 1
    assert checked > 15


def test_cross_attention_layers_count_in_no_score():
    trace = made_up_trace(["a", "b"], kinds=["self", "cross", "self"])
    other = trace.copy(deep=True)
    other["entropy"][1] += 5
    assert float(heads.attention_entropy(trace)) == float(heads.attention_entropy(other))


def test_traces_of_two_models_make_no_batch():
    with pytest.raises(TraceError, match="other layers or heads"):
        batch({"a": made_up_trace(["a"]), "b": made_up_trace(["a"], n_heads=3)})


def test_there_are_at_least_twenty_published_detectors():
    assert len([name for name, about in DETECTORS.items() if about.family != "confound"]) >= 20
