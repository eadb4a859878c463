"""Scores of several samples of one prompt."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attnent as ae
from attnent.detectors import sampling
from attnent.runs import RunError
from attnent.tasks import gsm8k, simpleqa


def same_letter(question: str, one: str, other: str) -> bool:
    return one[0] == other[0]


def test_answers_that_mean_the_same_both_ways_share_a_class():
    assert sampling.semantic_classes("?", ["ab", "b", "ac", "a"], same_letter) == [0, 1, 0, 0]
    assert sampling.semantic_classes("?", ["a", "ab"], lambda q, one, other: len(one) > len(other)) == [0, 1]


def test_semantic_entropy_is_that_of_the_shares_of_classes():
    assert sampling.semantic_entropy([0, 0, 1, 1]) == pytest.approx(math.log(2))
    assert sampling.semantic_entropy([0, 0, 0]) == 0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_semantic_entropy_lies_between_zero_and_ln_n_and_ignores_the_order(classes):
    value = sampling.semantic_entropy(classes)
    assert 0 <= value <= math.log(len(classes)) + 1e-12
    assert value == pytest.approx(sampling.semantic_entropy(classes[::-1]))


def test_inconsistency_is_the_share_of_samples_that_say_something_else():
    assert sampling.inconsistency([0, 0, 1, 0]) == pytest.approx(1 / 3)
    assert np.isnan(sampling.inconsistency([0]))


def test_the_answer_in_question_is_no_sample_of_itself():
    answers = pd.DataFrame({"answer": ["a"], "one": ["b"], "two": ["b"]}, index=["x"])
    row = sampling.of_samples(answers, pd.Series({"x": "?"}), same_letter).loc["x"]
    assert row["semantic_entropy"] == 0
    assert row["inconsistency"] == 1


def test_p_false_is_the_share_of_false(tmp_path):
    model, tokenizer = ae.load_model("tiny")
    responses = pd.DataFrame({"response_id": ["x"], "question": ["Who?"], "response": [" Mira "]})
    run = ae.record(
        model, tokenizer, sampling.asked_whether_true(responses), task="p_true", out_dir=tmp_path, reads="text",
        progress=False,
    )  # fmt: skip
    likelihood = {id_: trace["logprob"].values.sum() for id_, trace in run.traces()}
    by_hand = np.exp(likelihood["x-False"]) / (np.exp(likelihood["x-False"]) + np.exp(likelihood["x-True"]))
    assert sampling.p_false(run)["x"] == pytest.approx(by_hand, rel=1e-5)


def test_samples_are_drawn_once_and_are_the_same_in_any_batch(tmp_path):
    model, tokenizer = ae.load_model("tiny")
    examples = simpleqa.load("tiny", n=5)
    texts = []
    for batch_size in (1, 4):
        run = ae.record(model, tokenizer, examples, task="t", out_dir=tmp_path / str(batch_size), progress=False)
        names = ae.add_samples(model, tokenizer, run, 2, max_new_tokens=12, batch_size=batch_size, progress=False)
        before = run._labels_path("samples").read_bytes()
        assert ae.add_samples(model, tokenizer, run, 2, max_new_tokens=12, progress=False) == names
        assert run._labels_path("samples").read_bytes() == before
        table = run.labels("samples").pivot(index="response_id", columns="judge", values="text")
        assert list(table.columns) == names
        texts.append(table)
    pd.testing.assert_frame_equal(*texts)
    assert (texts[0][names[0]] != texts[0][names[1]]).any()


def test_samples_wait_for_no_other_recording(tmp_path):
    model, tokenizer = ae.load_model("tiny")
    run = ae.record(model, tokenizer, simpleqa.load("tiny", n=1), task="t", out_dir=tmp_path, progress=False)
    with ae.Run(run.folder).locked(), pytest.raises(RunError, match="another process"):
        ae.add_samples(model, tokenizer, run, 1, max_new_tokens=4, progress=False)


def test_fewer_than_no_samples_are_refused(tmp_path):
    model, tokenizer = ae.load_model("tiny")
    run = ae.record(model, tokenizer, simpleqa.load("tiny", n=1), task="t", out_dir=tmp_path, progress=False)
    with pytest.raises(ValueError, match="must be 0 or more"):
        ae.add_samples(model, tokenizer, run, -1, progress=False)


def test_solutions_are_the_same_where_their_numbers_are():
    assert gsm8k.same_answer("?", "So 3 + 4 = 7. The answer is 7.", "#### 7")
    assert not gsm8k.same_answer("?", "no number", "no number")


def test_answers_are_the_same_by_the_rules_of_the_judge():
    assert simpleqa.same_answer("Where was Mira born?", "Oslo", "She was born in Oslo.")
    assert not simpleqa.same_answer("Where was Mira born?", "Oslo", "Bergen")
