"""A run of right solutions with and without planted errors, recorded from a run of the bundled model."""

import pytest
from spelt import written

import attnent as ae
from attnent.critic import CriticError, mark, mark_planted, planted_examples
from attnent.critic.planting import MISTAKES
from attnent.runs import Run
from attnent.tasks import gsm8k


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    model, tokenizer = ae.load_model("tiny")
    folder = tmp_path_factory.mktemp("runs")
    return ae.record(model, tokenizer, gsm8k.load("tiny", n=6, seed=5), task="gsm8k", out_dir=folder, progress=False)


@pytest.fixture(scope="module")
def again(run, tmp_path_factory) -> Run:
    model, tokenizer = ae.load_model("tiny")
    folder = tmp_path_factory.mktemp("planted")
    examples = planted_examples(run)
    return ae.record(model, tokenizer, examples, task="gsm8k", reads="text", out_dir=folder, progress=False)


def test_each_right_response_is_there_as_it_was_and_with_an_error(run):
    is_right = [gsm8k.outcome(row) == "correct" for _, row in run.responses.iterrows()]
    right, examples = run.responses.loc[is_right, "response_id"], planted_examples(run)
    assert 0 < len(right) < len(run.examples)
    assert examples["id"].tolist() == [f"{name}-{kind}" for name in right for kind in ("right", "planted")]
    assert (examples["group"].iloc[::2].to_numpy() == examples["group"].iloc[1::2].to_numpy()).all()


def test_the_two_differ_in_the_span_of_the_error_alone(run):
    examples = planted_examples(run)
    for clean, wrong in zip(examples.iloc[::2].itertuples(), examples.iloc[1::2].itertuples(), strict=True):
        assert clean.text[: wrong.start] + wrong.text[wrong.start : wrong.stop] + clean.text[wrong.stop :] == wrong.text
        assert clean.text[wrong.start] != wrong.text[wrong.start]
        assert clean.start == clean.stop


def test_mistakes_come_in_turn(run):
    planted = planted_examples(run).query("mistake != ''")
    assert planted["mistake"].tolist()[:3] == list(MISTAKES)


def test_another_seed_plants_elsewhere(run):
    assert (planted_examples(run)["text"] != planted_examples(run, seed=1)["text"]).any()
    assert planted_examples(run).equals(planted_examples(run))


def test_grades_say_which_responses_hold_an_error(again):
    mark_planted(again)
    grades = again.grades("planted")
    assert {name.rsplit("-")[-1]: grade for name, grade in grades.items()} == {
        "right": "correct",
        "planted": "incorrect",
    }


def test_labels_name_the_tokens_that_write_the_error(again):
    rows = mark_planted(again)
    responses = again.responses.set_index("response_id")
    assert rows["response_id"].tolist() == responses.index[responses["mistake"] != ""].tolist()
    assert set(rows["outcome"]) == {"found"}
    for row in rows.itertuples():
        about = responses.loc[row.response_id]
        trace = again.trace(row.response_id)
        assert written(trace, row.token_start, row.token_stop) == about["text"][about["start"] : about["stop"]]
        assert row.token_stop == row.token_start + 1, "a token a digit or sign"
        assert row.line_start <= row.token_start < row.line_stop


def test_every_planted_error_makes_the_equation_of_its_line_false(again):
    planted, false = mark_planted(again), mark(again, "arithmetic")
    assert false["response_id"].tolist() == planted["response_id"].tolist()
    assert false["line"].tolist() == planted["line"].tolist()


def test_marking_again_adds_nothing(again):
    mark_planted(again)
    before = len(again.labels("errors")), (again.folder / "labels" / "errors.jsonl").stat().st_size
    mark_planted(again)
    assert (len(again.labels("errors")), (again.folder / "labels" / "errors.jsonl").stat().st_size) == before


def test_a_run_of_other_examples_holds_no_planted_errors(run):
    with pytest.raises(CriticError, match=r"holds no planted errors.*planted_examples"):
        mark_planted(run)


def test_without_right_responses_nothing_can_be_planted(again, run, tmp_path):
    wrong = run.examples.assign(gold="-1")
    other = Run.start(tmp_path / "run", identity={"task": "gsm8k"}, examples=wrong)
    other.save(wrong["id"].iloc[0], run.trace(wrong["id"].iloc[0]))
    with pytest.raises(CriticError, match=r"no response of .* is right"):
        planted_examples(other)
