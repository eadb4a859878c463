"""Difficulty told from the prompt: it finds what was planted, leaks nothing, and refuses what it cannot use."""

import numpy as np
import pandas as pd
import pytest

from attnent.analysis import FEWEST, StatsError, auroc
from attnent.analysis.difficulty import added, predicted

N = 300


def drawn(log_odds: np.ndarray, rng: np.random.Generator) -> pd.Series:
    """Which responses are wrong, each with its probability."""
    return pd.Series(rng.random(len(log_odds)) < 1 / (1 + np.exp(-log_odds)))


def told_apart(difficulty: pd.Series, is_hard: pd.Series) -> float:
    return auroc(difficulty[is_hard].to_numpy(), difficulty[~is_hard].to_numpy())


@pytest.mark.parametrize(
    "truth",
    [lambda x, y: 2 * x, lambda x, y: 3 * (np.abs(x) - 0.7), lambda x, y: 4 * x * (y > 0)],
    ids=["straight", "bent", "in company"],
)
def test_what_was_planted_is_nearly_all_found(truth):
    rng = np.random.default_rng(1)
    features = pd.DataFrame(rng.normal(size=(600, 3)), columns=list("xyz"))
    planted = pd.Series(truth(features["x"], features["y"]))
    is_hard = drawn(planted.to_numpy(), rng)
    assert told_apart(predicted(features, is_hard), is_hard) > told_apart(planted, is_hard) - 0.06


def test_where_there_is_nothing_to_find_nothing_is_found():
    rng = np.random.default_rng(2)
    features = pd.DataFrame(rng.normal(size=(N, 5)))
    draws = [drawn(np.zeros(N), rng) for _ in range(3)]
    assert np.mean([told_apart(predicted(features, drew), drew) for drew in draws]) == pytest.approx(0.5, abs=0.07)


def test_what_only_the_other_responses_of_a_cluster_tell_is_not_used():
    rng = np.random.default_rng(3)
    clusters = pd.Series(np.repeat(np.arange(60), 5))
    features = pd.DataFrame(rng.normal(size=(60, 2))).iloc[clusters].reset_index(drop=True)
    is_hard = drawn(4 * rng.choice([-1, 1], 60), rng)[clusters].reset_index(drop=True)
    assert told_apart(predicted(features, is_hard, clusters), is_hard) == pytest.approx(0.5, abs=0.1)
    assert told_apart(predicted(features, is_hard), is_hard) > 0.7


def test_responses_of_one_cluster_that_look_alike_are_equally_difficult():
    rng = np.random.default_rng(4)
    clusters = pd.Series(np.tile(np.arange(N // 2), 2))
    features = pd.DataFrame(rng.normal(size=(N // 2, 2))).iloc[clusters].reset_index(drop=True)
    difficulty = predicted(features, drawn(features[0].to_numpy(), rng), clusters)
    assert (difficulty.groupby(clusters).nunique() == 1).all()


def test_the_log_odds_are_those_of_being_wrong():
    rng = np.random.default_rng(5)
    features = pd.DataFrame({"x": rng.normal(size=N)})
    is_hard = drawn(2 * features["x"].to_numpy() - 1, rng)
    assert np.mean(1 / (1 + np.exp(-predicted(features, is_hard)))) == pytest.approx(is_hard.mean(), abs=0.03)


def test_the_same_seed_gives_the_same_difficulty():
    rng = np.random.default_rng(6)
    features, is_hard = pd.DataFrame(rng.normal(size=(40, 2))), drawn(np.zeros(40), rng)
    first = predicted(features, is_hard, seed=7)
    assert first.equals(predicted(features, is_hard, seed=7))
    assert not first.equals(predicted(features, is_hard, seed=8))


def test_unknown_values_constant_columns_and_huge_numbers_are_borne():
    rng = np.random.default_rng(7)
    x = rng.normal(size=N)
    features = pd.DataFrame({"x": x, "constant": 1, "unknown": np.nan, "huge": np.exp(8 * x**2), "tall": x > 1})
    is_hard = drawn(2 * x, rng)
    features.loc[::10, "x"] = np.nan
    difficulty = predicted(features, is_hard)
    assert np.isfinite(difficulty).all()
    assert told_apart(difficulty, is_hard) > 0.75


def few(n_hard: int) -> pd.Series:
    return pd.Series([True] * n_hard + [False] * (60 - n_hard))


@pytest.mark.parametrize("n_hard", [0, FEWEST - 1, 60 - FEWEST + 1, 60])
def test_too_few_of_a_class_have_no_difficulty(n_hard):
    assert predicted(pd.DataFrame({"x": range(60)}), few(n_hard)).isna().all()


@pytest.mark.parametrize("clusters", [[1] * 60, [1] * 30 + [2] * 30], ids=["one cluster", "a class in one cluster"])
def test_a_class_that_stands_in_one_cluster_has_no_difficulty(clusters):
    assert predicted(pd.DataFrame({"x": range(60)}), few(30), pd.Series(clusters)).isna().all()


def test_no_columns_tell_no_difficulty():
    assert predicted(pd.DataFrame(index=range(60)), few(30)).isna().all()


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"is_hard": few(30).set_axis(range(1, 61))}, "features and is_hard have different indexes"),
        ({"clusters": pd.Series(range(50))}, "features and clusters have different indexes"),
        ({"is_hard": few(30).astype(object).where(few(30))}, "is_hard holds object"),
        ({"clusters": pd.Series([np.nan, *range(59)])}, "1 responses have no cluster"),
        ({"features": pd.DataFrame({"x": range(60), "tier": "head"})}, "the columns tier are no numbers"),
        ({"features": pd.DataFrame({"x": [np.inf] * 60})}, "infinite"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_by_name(changed, complaint):
    given = {"features": pd.DataFrame({"x": range(60)}), "is_hard": few(30)} | changed
    with pytest.raises(StatsError, match=complaint):
        predicted(**given)


def test_difficulty_stands_beside_each_response_that_was_graded_and_no_other():
    rng = np.random.default_rng(3)
    names = [f"r{place}" for place in range(80)]
    features = pd.DataFrame({"x": rng.normal(size=80)}, index=names)
    is_hard = pd.Series(rng.random(80) < 0.5, index=names)[:60]
    responses = pd.DataFrame({"response_id": names[::-1], "group": [f"g{place // 2}" for place in range(80)][::-1]})
    found = added(responses, features, is_hard, "group").set_index("response_id")["difficulty"]
    clusters = responses.set_index("response_id")["group"].loc[names[:60]]
    wanted = predicted(features[:60], is_hard, clusters)
    assert found[names[60:]].isna().all()
    np.testing.assert_array_equal(found[names[:60]], wanted)
