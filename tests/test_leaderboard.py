"""What a score adds: paired, clustered, cross-fitted, and nothing where there is nothing."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from attnent.analysis import StatsError
from attnent.detectors import probes
from attnent.detectors.leaderboard import increments, paired_increment, worth
from attnent.detectors.scores import DETECTORS, titled
from attnent.show import words


def drawn(
    n_clusters: int, of_each: int = 1, *, seed: int = 0, told: float = 0.0
) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Responses whose errors difficulty tells in part; `told` is how much of the rest a score tells."""
    random = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(n_clusters), of_each)
    n = len(clusters)
    difficulty, rest = random.normal(size=n_clusters)[clusters], random.normal(size=n)
    is_wrong = difficulty + rest + random.logistic(size=n) > 0
    score = told * rest + (1 - told) * random.normal(size=n)
    table = pd.DataFrame({"difficulty": difficulty, "score": score})
    return table, pd.Series(is_wrong), pd.Series(clusters)


def test_a_score_that_tells_what_difficulty_does_not_is_present():
    row = increments(*_with_known(drawn(400, told=1.0))).loc["score"]
    assert row["low"] > 0.02
    assert row["verdict"] == "present"
    assert row["sets"] == 4


def test_a_copy_of_what_is_known_adds_nothing():
    table, *rest = drawn(400)
    row = increments(table.assign(score=table["difficulty"]), ["difficulty"], *rest).loc["score"]
    assert row["verdict"] == "absent"
    assert abs(row["increment"]) < 0.005


def _with_known(given):
    table, is_wrong, clusters = given
    return table, ["difficulty"], is_wrong, clusters


@pytest.mark.slow
@pytest.mark.parametrize("of_each", [1, 3])
def test_noise_is_seldom_above_nothing(of_each):
    lows = [
        increments(*_with_known(drawn(240 // of_each, of_each, seed=seed))).loc["score", "low"] for seed in range(120)
    ]
    assert np.mean(np.array(lows) > 0) <= 0.05  # 0 and 0.01 were measured: an added column is learned from too


def test_the_increment_is_the_difference_of_two_aurocs_and_its_sign_turns_with_them():
    table, is_wrong, clusters = drawn(80, 2, told=0.7)
    scores, wrong, codes = table.to_numpy().T, is_wrong.to_numpy(), clusters.to_numpy()
    there, back = paired_increment(*scores, wrong, codes), paired_increment(*scores[::-1], wrong, codes)
    by_hand = roc_auc_score(wrong, scores[0]) - roc_auc_score(wrong, scores[1])
    assert there.estimate == pytest.approx(by_hand)
    assert (there.estimate, there.low) == pytest.approx((-back.estimate, -back.high))


def test_the_paired_interval_covers_where_scores_are_correlated_and_responses_come_in_threes():
    covered = 0
    truth = np.mean([_difference(2_000, seed)[0] for seed in range(20, 30)])
    for seed in range(200, 400):
        _, low, high = _difference(60, seed)
        covered += low <= truth <= high
    assert covered / 200 > 0.9


def _difference(n_clusters: int, seed: int) -> tuple[float, float, float]:
    random = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(n_clusters), 3)
    shared = random.normal(size=n_clusters)[clusters] + random.normal(size=3 * n_clusters)
    wrong = shared + random.logistic(size=len(shared)) > 0
    one, other = shared + random.normal(size=(2, len(shared))) * [[0.5], [1.5]]
    return paired_increment(one, other, wrong, clusters)[:3]


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_worth_is_the_same_in_any_order_of_rows(seed):
    table, is_wrong, clusters = drawn(30, seed=seed)
    order = np.random.default_rng(seed).permutation(len(table))
    mixed = worth(table.iloc[order], is_wrong.iloc[order], clusters.iloc[order])[["auroc", "prr", "augrc"]]
    straight = worth(table, is_wrong, clusters)[["auroc", "prr", "augrc"]]
    pd.testing.assert_frame_equal(mixed.loc[straight.index], straight)


def test_scores_that_are_missing_leave_their_row_alone():
    table, is_wrong, clusters = drawn(60)
    table["some"] = table["difficulty"].where(table.index < 40)
    table["none"] = np.nan
    found = worth(table, is_wrong, clusters)
    assert found["n"].to_dict() == {"difficulty": 60, "score": 60, "some": 40, "none": 0}
    added = increments(table, ["difficulty"], is_wrong, clusters)
    assert added.loc["none", "verdict"] == ""
    assert added.loc["some", "n"] == 40


@pytest.mark.parametrize("kind", ["one class", "three responses"])
def test_where_nothing_can_be_said_rows_are_empty(kind):
    table, is_wrong, clusters = drawn(60)
    if kind == "one class":
        is_wrong[:] = True
    else:
        table, is_wrong, clusters = table[:3], is_wrong[:3], clusters[:3]
    assert worth(table, is_wrong, clusters)["auroc"].isna().all()
    assert increments(table, ["difficulty"], is_wrong, clusters)["increment"].isna().all()


def test_a_constant_score_adds_nothing():
    table, is_wrong, clusters = drawn(100)
    row = increments(table.assign(score=1.0), ["difficulty"], is_wrong, clusters).loc["score"]
    assert (row["increment"], row["p"], row["verdict"]) == (0, 1, "absent")


def test_unknown_columns_and_other_indexes_are_refused():
    table, is_wrong, clusters = drawn(30)
    with pytest.raises(StatsError, match="no score hardness"):
        increments(table, ["hardness"], is_wrong, clusters)
    with pytest.raises(StatsError, match="different indexes"):
        worth(table, is_wrong[::-1], clusters)
    with pytest.raises(StatsError, match="True or False"):
        worth(table, is_wrong.astype(int), clusters)


# ---- probes


def features_of(n: int, *, seed: int = 0, clusters_of: int = 2):
    random = np.random.default_rng(seed)
    features = random.normal(size=(n, 3, 4)).astype(np.float32)
    is_wrong = features[:, 1, 2] + 0.5 * random.normal(size=n) > 0
    return features, is_wrong, np.arange(n) // clusters_of


@pytest.mark.parametrize("name", ["head_entropy_probe", "attention_divergence_probe"])
def test_a_probe_finds_the_head_that_tells(name):
    features, is_wrong, clusters = features_of(200)
    scores = probes.cross_fitted(features, is_wrong, clusters, probes.PROBES[name])
    assert roc_auc_score(is_wrong, scores) > 0.85


def test_a_probe_never_sees_the_cluster_that_it_is_asked_about():
    # Labels are drawn by cluster and features name the cluster: who has seen it knows the answer, nobody else does.
    random = np.random.default_rng(1)
    clusters = np.repeat(np.arange(60), 4)
    features = random.normal(size=(60, 2, 20))[clusters].astype(np.float32)
    is_wrong = (random.random(60) > 0.5)[clusters]
    scores = probes.cross_fitted(features, is_wrong, clusters, probes.PROBES["lookback_probe"])
    assert 0.3 < roc_auc_score(is_wrong, scores) < 0.7


def test_windows_are_fitted_one_by_one_and_averaged():
    features, is_wrong, clusters = features_of(120)
    windows = np.repeat(features[:, None], 3, axis=1)
    windows[::2, 2] = np.nan
    scores = probes.cross_fitted(windows, is_wrong, clusters, probes.PROBES["lookback_windows_probe"])
    assert not np.isnan(scores).any()
    assert roc_auc_score(is_wrong, scores) > 0.85


@pytest.mark.parametrize("kind", ["constant", "missing", "one class", "few"])
def test_a_probe_that_cannot_be_fitted_gives_no_scores(kind):
    features, is_wrong, clusters = features_of(60)
    if kind == "constant":
        features[:] = 1
    elif kind == "missing":
        features[:] = np.nan
    elif kind == "one class":
        is_wrong[:] = False
    else:
        features, is_wrong, clusters = features[:3], is_wrong[:3], clusters[:3]
    assert np.isnan(probes.cross_fitted(features, is_wrong, clusters, probes.PROBES["head_entropy_probe"])).all()


def test_heads_that_are_never_seen_do_not_harm_a_probe():
    features, is_wrong, clusters = features_of(100)
    features[:, 0] = np.nan  # a layer of cross-attention
    scores = probes.cross_fitted(features, is_wrong, clusters, probes.PROBES["head_entropy_probe"])
    assert roc_auc_score(is_wrong, scores) > 0.8


# ---- words


def test_the_answer_says_what_the_instrument_adds_and_how_many_others_do():
    table, is_wrong, clusters = drawn(300, told=1.0)
    table = table.rename(columns={"score": "rauq"}).assign(instrument=table["difficulty"])
    over = increments(table, ["difficulty"], is_wrong, clusters)
    alone = worth(table, is_wrong, clusters).loc["instrument"]
    said = words.increments({"problems": over}, "instrument", alone, n=300, known="difficulty", counts=["rauq"])
    assert "Beyond difficulty, attnent's instrument adds to the AUROC of problems" in said.text
    assert "absent (1 of 1 published attention scores add something)" in said.text
    assert said.effect.estimate == alone["auroc"]


def test_a_table_of_detectors_has_their_titles_and_families():
    table = titled(pd.DataFrame({"auroc": [0.5, 0.6]}, index=["rauq", "p_false"]))
    assert list(table.index) == ["RAUQ, alpha 0.2", "1 - P(True)"]
    assert list(table["family"]) == ["attention", "sampling"]
    assert len({about.title for about in DETECTORS.values()}) == len(DETECTORS)


@pytest.mark.slow
def test_every_score_of_the_tasks_is_of_the_same_responses(tmp_path, monkeypatch):
    import attnent as ae
    from attnent.detectors import learning
    from attnent.study import cases

    monkeypatch.setattr(learning, "N_COMPONENTS", (4,))  # so that it is quick
    monkeypatch.setattr(learning, "PENALTIES", (0.1,))

    model, tokenizer = ae.load_model("tiny")
    settings = {"n": 40, "n_samples": 2, "max_new_tokens": 120, "batch_size": 20, "seed": 5}
    found = cases.recorded(model, tokenizer, "tiny", out_dir=tmp_path, **settings)
    assert list(found) == ["problems", "questions", "creative text"]
    for name, case in found.items():
        assert case.scores.index.equals(case.is_wrong.index)
        assert case.scores.index.equals(case.clusters.index)
        assert set(case.scores) <= set(DETECTORS), name
        assert case.is_wrong.any()
        assert not case.is_wrong.all()
    expected = {"semantic_entropy", "inconsistency", "p_false", "sink_score_probe", "lap_eigvals_probe", "instrument"}
    assert expected <= set(found["problems"].scores) & set(found["questions"].scores)
