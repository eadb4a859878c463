"""`attnent replay`: logs to Runs, with the bundled model as the reader."""

import json
from pathlib import Path

import numpy as np
import pytest

import attnent as ae
from attnent.study.command import main

DATA = Path(__file__).parent / "data"
HARNESS = DATA / "lm_eval_samples.jsonl"
QUESTION, ANSWER = "Tom has 3 shells and buys 4 more. How many?", "3 + 4 = 7\n#### 7"


def lines(path: Path, *rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_in(folder: Path) -> ae.Run:
    return ae.Run(folder / "runs")


@pytest.fixture
def replay(tmp_path):
    return lambda log, *more: main(["replay", str(log), "--out-dir", str(tmp_path / "runs"), *more])


def test_a_log_of_the_harness_gives_what_generating_gave(replay, tmp_path):
    assert replay(HARNESS, "--task", "sums") == 0
    run = run_in(tmp_path)
    row = json.loads(HARNESS.read_text().splitlines()[0])
    model, tokenizer = ae.load_model("tiny")
    [written] = ae.generate(model, tokenizer, [row["doc"]["question"]], max_new_tokens=64, progress=False)
    read = run.trace("0")
    n = read.sizes["step"]
    assert written.attrs["response"] == read.attrs["response"] == row["resps"][0][0]
    assert (read["token_id"].values == written["token_id"].values[:n]).all()
    np.testing.assert_allclose(read["entropy"].values, written["entropy"].values[..., :n], atol=1e-4)


def test_scores_become_grades_once_and_all_is_said(replay, tmp_path, capsys):
    replay(HARNESS)
    replay(HARNESS)
    run = run_in(tmp_path)
    assert run.grades("exact_match,strict-match").to_dict() == dict.fromkeys("01234", "correct")
    assert len((run.folder / "labels" / "grades.jsonl").read_text().splitlines()) == 10
    said = capsys.readouterr().out
    assert "5 of 5 responses were read" in said
    assert "tokenised anew: all 5" in said
    assert "exact_match,flexible-extract: 5 correct, kept as labels 'grades'" in said


def test_scores_that_are_neither_right_nor_wrong_are_kept_as_scores(replay, tmp_path):
    rows = [
        {"prompt": QUESTION, "response": ANSWER, "id": id_, "score": score} for id_, score in (("a", 0.5), ("b", 1))
    ]
    replay(lines(tmp_path / "any.jsonl", *rows))
    labels = run_in(tmp_path).labels("scores").set_index("response_id")
    assert labels["score"].to_dict() == {"a": 0.5, "b": 1}


def test_what_cannot_be_read_is_left_out_with_its_reason(replay, tmp_path, capsys):
    unread = {
        "empty": {"prompt": QUESTION, "response": ""},
        "unasked": {"response": ANSWER, "prompt": None},
        "blank": {"prompt": " ", "response": ANSWER},
        "long": {"prompt": QUESTION, "response": ANSWER * 100},
        "half": {"prompt": QUESTION, "response": "\ud800"},
        "role": {"prompt": [{"role": "developer", "content": QUESTION}], "response": ANSWER},
        "tool": {"prompt": [{"role": "tool", "content": QUESTION}], "response": ANSWER},
    }
    rows = [{"id": "good", "prompt": QUESTION, "response": ANSWER}, *({"id": id_} | row for id_, row in unread.items())]
    assert replay(lines(tmp_path / "any.jsonl", *rows)) == 0
    assert run_in(tmp_path).recorded == ["good"]
    said = capsys.readouterr().out
    for reason in (
        "left out 1: empty response (empty)",
        "left out 1: no prompt (unasked)",
        "left out 1: the prompt is empty; remove it or give it some text (blank)",
        "left out 1: longer than the model's context of 512 tokens (long)",
        "left out 1: the response holds half of a character (half)",
        "left out 1: The roles of the bundled model are system, user and assistant. (role)",
        "left out 1: the conversation holds more than text (tool)",
    ):
        assert reason in said


def test_a_log_of_which_nothing_can_be_read_is_refused(replay, tmp_path, capsys):
    assert replay(lines(tmp_path / "any.jsonl", {"prompt": QUESTION, "response": ""})) == 2
    assert "can be read: left out 1: empty response (line-1)" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_text_is_put_into_the_template_and_rendered_text_is_not(replay, tmp_path):
    rendered = f"<|bos|><|user|>{QUESTION}<|end|><|assistant|>"
    replay(lines(tmp_path / "asked.jsonl", {"prompt": QUESTION, "response": ANSWER}))
    replay(lines(tmp_path / "rendered.jsonl", {"prompt": rendered, "response": ANSWER}), "--no-template")
    one, other = (ae.Run(tmp_path / "runs" / task).trace("line-1") for task in ("asked", "rendered"))
    np.testing.assert_array_equal(one["entropy"].values, other["entropy"].values)


@pytest.mark.parametrize("more", [[], ["--template"]])
def test_a_template_is_not_applied_twice(replay, tmp_path, capsys, more):
    log = lines(tmp_path / "any.jsonl", {"prompt": f"<|user|>{QUESTION}", "response": ANSWER})
    assert replay(log, *more) == 2
    assert "in a chat template already; read the prompts as they are with --no-template" in capsys.readouterr().err


def test_marks_of_another_template_are_said(replay, tmp_path, capsys):
    log = lines(tmp_path / "any.jsonl", {"prompt": f"<|im_start|>{QUESTION}", "response": ANSWER})
    assert replay(log, "--no-template") == 0
    assert "<|im_start|>, marks of another model's template" in capsys.readouterr().out


def test_other_numbers_of_tokens_than_the_log_counts_are_said(replay, tmp_path, capsys):
    body = {"choices": [{"message": {"content": ANSWER}}], "usage": {"completion_tokens": 3}}
    output = lines(tmp_path / "out.jsonl", {"custom_id": "a", "response": {"status_code": 200, "body": body}})
    asked = {"custom_id": "a", "body": {"messages": [{"role": "user", "content": QUESTION}]}}
    assert replay(output, "--batch-input", str(lines(tmp_path / "in.jsonl", asked))) == 0
    assert "of 1 whose tokens the log counts, 1 have another number here" in capsys.readouterr().out


def test_a_damaged_line_is_one_sentence(replay, tmp_path, capsys):
    (tmp_path / "any.jsonl").write_text('{"prompt": "a", "resp\n')
    assert replay(tmp_path / "any.jsonl") == 2
    assert capsys.readouterr().err.startswith(f"attnent: line 1 of {tmp_path / 'any.jsonl'} is no JSON")


def test_a_log_of_inspect_becomes_a_run(replay, tmp_path):
    pytest.importorskip("inspect_ai")
    assert replay(DATA / "inspect.eval") == 0
    run = run_in(tmp_path)
    assert len(run.recorded) == 5
    assert set(run.grades("match")) == {"correct", "incorrect"}
