"""The confidence: it finds what was planted, sees nothing of what it is tested on, and refuses what it cannot judge."""

import json

import numpy as np
import pandas as pd
import pytest
from graded import GRADES, TOKENS, WRONG, graded_run
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import made_up_trace
from safetensors.numpy import load_file, save_file
from sklearn.decomposition import PCA
from sklearn.isotonic import IsotonicRegression
from sklearn.preprocessing import StandardScaler

from attnent import ConfidenceError, Run, critic, fit_confidence, load_confidence, load_model, record
from attnent.analysis import auroc
from attnent.detectors import features, learning, lessons
from attnent.detectors.frozen import Frozen
from attnent.detectors.labelled import labelled
from attnent.detectors.learning import Candidate, Rows, calibrated, drawn, fits, folds
from attnent.store.traces import save_trace
from attnent.tasks import gsm8k


@pytest.fixture(scope="module")
def few_candidates():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"N_COMPONENTS": (8,), "PENALTIES": (0.1,), "N_TREES": 5}.items():
            patch.setattr(learning, name, value)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return graded_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture(scope="module")
def confidence(run, few_candidates):
    return fit_confidence(run)


@pytest.fixture(scope="module")
def of_any_model(run, tmp_path_factory, few_candidates):
    other = graded_run(tmp_path_factory.mktemp("other") / "run", seed=1, model="another", n_layers=4, n_heads=6)
    return fit_confidence([run, other], by_head=False)


def told_apart(table: pd.DataFrame) -> float:
    return auroc(*(table.loc[table["is_right"] == kind, "confidence"].to_numpy() for kind in (True, False)))


def rows(n: int, *, is_right: np.ndarray | None = None, clusters: np.ndarray | None = None, seed: int = 0) -> Rows:
    """Rows of noise, 6 features of heads and 2 others."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 8)).astype(np.float32)
    is_right = rng.random(n) < 0.5 if is_right is None else is_right
    clusters = np.arange(n) if clusters is None else clusters
    return Rows(values, 6, is_right, clusters, folds(is_right, clusters, learning.N_FOLDS, 0), np.ones(n))


def left_out(given: Rows) -> pd.DataFrame:
    said = fits(given, 0).predict_left_out(given.features, given.fold)
    return pd.DataFrame({"is_right": given.is_right, "confidence": said})


# ---- what it finds


def test_an_error_that_heads_betray_is_found_in_answers_and_in_tokens(confidence):
    assert told_apart(confidence.answers) > 0.9
    assert told_apart(confidence.tokens) > 0.95


def test_an_error_is_found_without_the_numbers_of_single_heads(of_any_model):
    assert told_apart(of_any_model.answers) > 0.85
    assert told_apart(of_any_model.tokens) > 0.9


def test_labels_of_chance_are_told_apart_by_chance(few_candidates):
    assert told_apart(left_out(rows(300))) == pytest.approx(0.5, abs=0.1)


def test_what_only_the_other_rows_of_a_cluster_tell_is_not_used(few_candidates):
    clusters = np.repeat(np.arange(60), 5)
    is_right = (np.random.default_rng(1).random(60) < 0.5)[clusters]
    given = rows(300, is_right=is_right, clusters=clusters)
    alike = given._replace(features=given.features[clusters])
    assert told_apart(left_out(alike)) == pytest.approx(0.5, abs=0.15)
    assert told_apart(left_out(rows(300, is_right=is_right)._replace(features=alike.features))) > 0.7


def test_what_is_bent_is_left_to_trees(few_candidates):
    given = rows(300)
    bent = given._replace(is_right=np.abs(given.features[:, 7]) > 0.7)
    assert fits(bent, 0).chosen.startswith("boosted trees")
    assert told_apart(left_out(bent)) > 0.9


def test_the_confidence_is_how_often_it_is_right(few_candidates):
    given = rows(400)
    right = np.random.default_rng(2).random(400) < 1 / (1 + np.exp(-2 * given.features[:, 7]))
    table = left_out(given._replace(is_right=right))
    for _, part in table.groupby(table["confidence"] > 0.5):
        assert part["confidence"].mean() == pytest.approx(part["is_right"].mean(), abs=0.06)


def test_tokens_that_were_drawn_speak_for_all(run, few_candidates, monkeypatch):
    monkeypatch.setattr(lessons, "MOST_TOKENS", 90)
    found = fit_confidence(run)
    assert found.about["n_tokens_learned_from"] == 90
    assert len(found.tokens) == 280
    assert found.tokens["confidence"].mean() == pytest.approx(found.tokens["is_right"].mean(), abs=0.05)


def test_the_same_seed_gives_the_same_confidence(few_candidates):
    given = rows(100)
    assert np.array_equal(left_out(given), left_out(given))


# ---- what counts as right and wrong


def test_of_a_wrong_answer_tokens_up_to_the_end_of_the_error_count(run):
    answers, tokens = labelled([run])
    wrong = tokens[tokens["answer"] == answers.index[~answers["is_right"]][0]]
    assert wrong["step"].tolist() == [*range(WRONG[1])]
    assert wrong.loc[~wrong["is_right"], "step"].tolist() == [*range(*WRONG)]


def test_of_a_right_answer_every_token_that_wrote_text_is_right(run):
    answers, tokens = labelled([run])
    right = tokens[tokens["answer"] == answers.index[answers["is_right"]][0]]
    assert right["step"].tolist() == [*range(len(TOKENS) - 1)]
    assert right["is_right"].all()


def test_without_error_labels_each_token_is_what_its_answer_is(tmp_path):
    tokens = labelled([graded_run(tmp_path / "run", 4, errors=None)]).tokens
    assert tokens.groupby("answer")["is_right"].agg(set).map(list).tolist() == [[True], [False]] * 2
    assert len(tokens) == 4 * (len(TOKENS) - 1)


def test_a_wrong_answer_whose_error_was_not_found_gives_no_tokens(tmp_path):
    tokens = labelled([graded_run(tmp_path / "run", 4, errors="none found")]).tokens
    assert set(tokens["answer"]) == {0, 2}


def test_answers_that_are_neither_right_nor_wrong_are_left_out(tmp_path):
    answers, _ = labelled([graded_run(tmp_path / "run", 4, grades=GRADES | {"wrong": "not_attempted"})])
    assert answers["is_right"].tolist() == [True, True]


def test_the_judge_who_graded_last_counts_or_the_one_who_is_named(tmp_path):
    run = graded_run(tmp_path / "run", 2)
    run.add_labels("grades", [{"response_id": "r000", "judge": "k", "grade": "incorrect"}])
    assert labelled([run]).answers["is_right"].tolist() == [False]
    assert labelled([run], "j").answers["is_right"].tolist() == [True, False]


# ---- folds


@given(st.integers(0, 1_000), st.integers(1, 4))
def test_no_cluster_is_learned_from_and_tested_on(seed, n_of_a_cluster):
    clusters = np.repeat(np.arange(40), n_of_a_cluster)
    is_right = np.random.default_rng(seed).permutation(len(clusters)) % 2 == 0
    fold = folds(is_right, clusters, 5, seed)
    assert all(len(set(fold[clusters == cluster])) == 1 for cluster in clusters)


def test_an_answer_and_its_tokens_are_left_out_together(run):
    given = lessons.lessons([run], labelled([run]), by_head=True, seed=0)
    fold_of = dict(zip(given.answers.clusters, given.answers.fold, strict=True))
    assert [fold_of[cluster] for cluster in given.tokens.clusters] == given.tokens.fold.tolist()


def test_samples_of_one_group_are_one_cluster_and_those_of_other_tasks_another(tmp_path):
    runs = []
    for task in ("sums", "names"):
        examples = pd.DataFrame({"id": ["a", "b"], "prompt": "p", "group": [7, 7]})
        run = Run.start(tmp_path / task, identity={"task": task}, examples=examples)
        for name in examples["id"]:
            run.save(name, made_up_trace(TOKENS))
        run.add_labels("grades", [{"response_id": name, "judge": "j", "grade": "correct"} for name in "ab"])
        runs.append(run)
    assert labelled(runs).answers["cluster"].tolist() == ["sums 7", "sums 7", "names 7", "names 7"]


@given(st.integers(1, 30), st.integers(1, 200), st.integers(2, 50))
def test_drawn_rows_stand_for_all_of_their_class(n_wrong, n_right, n_most):
    is_right = np.arange(n_wrong + n_right) >= n_wrong
    taken, weights = drawn(is_right, n_most, 0)
    assert len(np.unique(taken)) == min(n_most, len(is_right))
    assert weights[is_right[taken]].sum() == pytest.approx(n_right)
    assert weights[~is_right[taken]].sum() == pytest.approx(n_wrong)


# ---- calibration and frozen models


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(-99, 99), st.booleans()), min_size=1, max_size=30))
def test_calibration_rises_and_is_never_certain(known):
    margins, is_right = (np.array(part) for part in zip(*known, strict=True))
    knots, probabilities = calibrated(margins / 9, is_right, np.ones(len(margins)))
    assert (np.diff(knots) > 0).all()
    assert (np.diff(probabilities) > 0).all()
    assert 0 < probabilities[0] <= probabilities[-1] < 1


@pytest.mark.parametrize("candidate", [Candidate(4, 0.1), Candidate(4, None)], ids=str)
def test_a_frozen_model_says_what_scikit_learn_says(candidate):
    given = rows(200)
    values = given.features.astype(float)
    values[::7, 2] = np.nan
    is_right = given.features[:, 0] + given.features[:, 7] ** 2 > 0.5
    scaler = StandardScaler().fit(values)
    standard = np.nan_to_num(scaler.transform(values))
    pca = PCA(4, svd_solver="randomized", random_state=3).fit(standard[:, :6])
    coordinates = np.hstack([pca.transform(standard[:, :6]), standard[:, 6:]])
    model = candidate.fitted(coordinates, is_right, np.ones(200), 3)
    margins = model.decision_function(coordinates)
    knots = calibrated(margins, is_right, np.ones(200))
    frozen = learning.frozen(learning._space(values, 6, 4, 3), model, *knots)
    np.testing.assert_allclose(frozen.margin(values), margins, atol=1e-6)
    level = IsotonicRegression(out_of_bounds="clip").fit(*knots)
    np.testing.assert_allclose(frozen.predict(values), level.predict(margins), atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 3.5, np.nan], ids=["zero", "constant", "never known"])
def test_features_that_never_vary_give_each_row_the_share_that_is_right(value, few_candidates):
    given = rows(120, is_right=np.arange(120) % 3 > 0)
    table = left_out(given._replace(features=np.full_like(given.features, value)))
    assert table["confidence"].between(0.6, 0.72).all()


# ---- features


def test_a_later_step_changes_no_earlier_confidence(confidence, of_any_model):
    trace = made_up_trace(TOKENS, seed=9)
    for one in (confidence, of_any_model):
        whole = one.token_confidence(trace)
        for n in range(1, len(TOKENS)):
            cut = one.token_confidence(trace.isel(step=slice(n)))
            np.testing.assert_allclose(cut, whole[:n], atol=1e-9)


@pytest.mark.parametrize("by_head", [True, False])
def test_a_token_depends_on_its_window_and_on_nothing_before_it(by_head):
    trace = made_up_trace(TOKENS)
    whole, window, less = (
        features.of_tokens(trace.isel(step=slice(-n, None)), by_head=by_head)[-1]
        for n in (len(TOKENS), features.WINDOW, features.WINDOW - 1)
    )
    np.testing.assert_allclose(window, whole, rtol=1e-6)
    assert not np.allclose(less, whole, rtol=1e-6)


def test_cross_attention_is_left_out():
    trace = made_up_trace(TOKENS, kinds=["self", "cross", "sliding"])
    trace["entropy"][1] = np.nan
    own = features.of_tokens(trace.isel(layer=[0, 2]), by_head=True)
    np.testing.assert_array_equal(features.of_tokens(trace, by_head=True), own)
    assert features.n_of_heads(trace, by_head=True) == 2 * 5 * len(features.OF_HEADS)


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4, 7])
def test_any_model_has_thirds(n_layers):
    trace = made_up_trace(TOKENS, n_layers=n_layers)
    assert np.isfinite(features.of_answer(trace, by_head=False)).all()
    assert features.n_of_heads(trace, by_head=False) == 2 * 3 * len(features.OF_HEADS)


def test_a_row_that_saw_one_key_has_a_confidence(confidence):
    trace = made_up_trace(TOKENS)
    trace["n_keys"][:, 0] = 1
    assert np.isnan(features.of_tokens(trace, by_head=True)[0]).any()
    scored = confidence.score(trace)
    assert scored["confidence"].notnull().all()
    assert 0 < scored.attrs["answer_confidence"] < 1


def test_the_end_of_text_changes_no_answer():
    trace = made_up_trace(TOKENS)
    np.testing.assert_array_equal(
        features.of_answer(trace, by_head=True), features.of_answer(trace.isel(step=slice(-1)), by_head=True)
    )


# ---- scoring, saving


def test_a_scored_trace_has_a_confidence_for_every_step_and_for_the_whole(confidence):
    scored = confidence.score(made_up_trace(TOKENS, seed=5))
    assert scored["confidence"].dims == ("step",)
    assert scored["confidence"].attrs == {"long_name": "confidence", "units": "1"}
    assert scored["confidence"].min() >= 0
    assert scored["confidence"].max() <= 1
    assert isinstance(scored.attrs["answer_confidence"], float)


def test_the_tables_say_what_was_learned_from(confidence):
    assert [*confidence.answers] == ["run", "response_id", "cluster", "is_right", "confidence"]
    assert [*confidence.tokens] == ["run", "response_id", "step", "is_right", "confidence", "token_entropy"]
    for table in (confidence.answers, confidence.tokens):
        assert table["confidence"].between(0, 1).all()


def test_what_is_saved_and_loaded_is_the_same(confidence, of_any_model, tmp_path):
    trace = made_up_trace(TOKENS, seed=6)
    for one in (confidence, of_any_model):
        one.save(tmp_path / "it.safetensors")
        loaded = load_confidence(tmp_path / "it.safetensors")
        assert loaded.about == one.about
        pd.testing.assert_frame_equal(loaded.answers, one.answers)
        pd.testing.assert_frame_equal(loaded.tokens, one.tokens)
        assert loaded.score(trace).identical(one.score(trace))


def test_a_file_that_was_changed_anywhere_is_refused(confidence, tmp_path):
    path = tmp_path / "it.safetensors"
    confidence.save(path)
    whole = path.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ConfidenceError, match=r"it\.safetensors"):
            load_confidence(path)


def test_a_file_that_is_cut_is_refused(confidence, tmp_path):
    path = tmp_path / "it.safetensors"
    confidence.save(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ConfidenceError, match="damaged"):
        load_confidence(path)


def test_a_file_of_another_version_is_refused_by_its_number(confidence, tmp_path):
    path = tmp_path / "it.safetensors"
    confidence.save(path)
    save_file(load_file(path), path, metadata={"kind": "attnent confidence", "format": "9", "about": json.dumps({})})
    with pytest.raises(ConfidenceError, match=r"another version of attnent \(format 9, here 1\)"):
        load_confidence(path)


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfidenceError, match="there is no confidence file"):
        load_confidence(tmp_path / "none")
    save_trace(made_up_trace(TOKENS), tmp_path / "trace")
    with pytest.raises(ConfidenceError, match="is no confidence file"):
        load_confidence(tmp_path / "trace")
    (tmp_path / "text").write_text("words")
    with pytest.raises(ConfidenceError, match="is damaged or no confidence file"):
        load_confidence(tmp_path / "text")


def test_every_array_of_a_frozen_model_is_kept(confidence):
    again = Frozen.of(confidence.of_token.arrays())
    values = features.of_tokens(made_up_trace(TOKENS), by_head=True)
    np.testing.assert_array_equal(again.predict(values), confidence.of_token.predict(values))


# ---- refusals


@pytest.mark.parametrize(
    ("trace", "complaint"),
    [
        (made_up_trace(TOKENS).assign_attrs(model="b"), "of the model 'b', whose heads are not those of 'made-up'"),
        (made_up_trace(TOKENS, n_layers=4), "5 heads in the layers .0, 1, 2, 3., but .* 5 in the layers .0, 1, 2."),
        (made_up_trace(TOKENS, n_heads=6), "6 heads in"),
        (made_up_trace(TOKENS, kinds=["self", "self", "cross"]), "in the layers .0, 1.,"),
        (made_up_trace(TOKENS).drop_vars(["varentropy", "logprob"]), "the trace lacks varentropy, logprob"),
    ],
    ids=["model", "layers", "heads", "kinds", "measures"],
)
def test_a_trace_that_it_was_not_fitted_for_is_refused(confidence, trace, complaint):
    with pytest.raises(ConfidenceError, match=complaint):
        confidence.score(trace)


def test_a_confidence_without_heads_takes_any_model(of_any_model):
    scored = of_any_model.score(made_up_trace(TOKENS, n_layers=7, n_heads=2).assign_attrs(model="a third"))
    assert scored["confidence"].notnull().all()


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"n": 3}, "of the 3 labelled answers 2 are right and 1 wrong, in 2 and 1 clusters"),
        ({"grades": {"right": "correct", "wrong": "correct"}}, "40 are right and 0 wrong"),
        ({"grades": {"right": "incorrect", "wrong": "incorrect"}}, "0 are right and 40 wrong"),
        ({"grades": {"right": "truncated", "wrong": "truncated"}}, "of the 0 labelled answers"),
        ({"grades": None}, "has no grades"),
        ({"errors": "none found"}, "labelled tokens 160 are right and 0 wrong"),
    ],
    ids=["three", "none wrong", "none right", "all truncated", "no grades", "no error found"],
)
def test_runs_that_hold_too_little_are_refused(tmp_path, given, complaint):
    with pytest.raises(ConfidenceError, match=complaint):
        fit_confidence(graded_run(tmp_path / "run", **given))


def test_heads_of_several_models_are_not_mixed(run, tmp_path):
    with pytest.raises(ConfidenceError, match=r"several models \(another, made-up\).*by_head=False"):
        fit_confidence([run, graded_run(tmp_path / "run", 2, model="another")])


def test_a_run_is_given_once_and_there_is_one(run):
    with pytest.raises(ConfidenceError, match="give each run once"):
        fit_confidence([run, run])
    with pytest.raises(ConfidenceError, match="no runs"):
        fit_confidence([])


def test_a_judge_who_graded_nothing_is_named(run):
    with pytest.raises(ConfidenceError, match="no grades by nobody"):
        fit_confidence(run, judges="nobody")


def test_more_heads_than_memory_are_refused_with_what_to_lower(run, monkeypatch):
    monkeypatch.setattr(lessons, "MOST_NUMBERS", 100_000)
    with pytest.raises(ConfidenceError, match="give by_head=False, or fewer responses"):
        fit_confidence(run)


def test_rows_of_too_few_clusters_are_refused():
    with pytest.raises(ConfidenceError, match="fewer than 5 clusters"):
        folds(np.arange(40) % 2 == 0, np.arange(40) % 4, 5, 0)


# ---- the bundled model


@pytest.mark.slow
def test_the_bundled_model_betrays_some_of_its_errors(tmp_path, few_candidates):
    model, tokenizer = load_model("tiny")
    examples = gsm8k.load("tiny", n=200, seed=11)
    run = record(model, tokenizer, examples, task="gsm8k", out_dir=tmp_path, max_new_tokens=120, progress=False)
    gsm8k.grade_run(run)
    critic.mark(run, "exact")
    found = fit_confidence(run)
    assert told_apart(found.answers) > 0.65
    assert told_apart(found.tokens) > 0.65
    assert found.score(run.trace(run.recorded[0]))["confidence"].notnull().all()
