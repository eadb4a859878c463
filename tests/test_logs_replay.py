"""`attnent replay`: logs to Runs, with the bundled model as the reader."""

import json
from pathlib import Path

import numpy as np
import pytest

import attnent as ae
from attnent.model.prompts import encode_prompt
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


@pytest.fixture(scope="module")
def tiny():
    return ae.load_model("tiny")


@pytest.fixture(scope="module")
def written(tiny):
    """A response as the model wrote it, of tokens that its text would not give: the last word in letters."""
    [trace] = ae.generate(*tiny, [QUESTION], max_new_tokens=12, progress=False)
    ids, halves = trace["token_id"].values.tolist(), [tiny[1].convert_tokens_to_ids(part) for part in "shells"]
    return [*ids, *halves], encode_prompt(tiny[1], QUESTION)


def dumped(tokenizer, prompt_ids, token_ids, **more) -> dict:
    text, prompt = tokenizer.decode(token_ids, skip_special_tokens=True), tokenizer.decode(prompt_ids)
    output = {"index": 0, "text": text, "token_ids": token_ids, "finish_reason": "length"} | more
    return {"request_id": "0", "prompt": prompt, "prompt_token_ids": prompt_ids, "outputs": [output], "finished": True}


def test_the_very_tokens_of_vllm_are_read(replay, tmp_path, capsys, tiny, written):
    token_ids, prompt_ids = written
    want = ae.replay(*tiny, prompt_ids, token_ids)
    logprobs = [{str(id_): {"logprob": float(p)}} for id_, p in zip(token_ids, want["logprob"], strict=True)]
    assert replay(lines(tmp_path / "out.jsonl", dumped(tiny[1], prompt_ids, token_ids, logprobs=logprobs))) == 0
    got = run_in(tmp_path).trace("0")
    assert got["token_id"].values.tolist() == token_ids != tiny[1](want.attrs["response"]).input_ids
    assert got.attrs["n_prompt"] == len(prompt_ids)
    np.testing.assert_array_equal(got["entropy"].values, want["entropy"].values)
    said = capsys.readouterr().out
    assert "read as the very tokens of the log: 1 prompts and 1 responses of 1" in said
    assert "the logprobs of 1 lie within 0 nat of those that the log has" in said
    assert "tokenised anew" not in said


def test_lines_with_and_without_token_ids_are_read_together(replay, tmp_path, capsys, tiny, written):
    token_ids, prompt_ids = written
    rows = (
        {"id": "both", "prompt_token_ids": prompt_ids, "token_ids": token_ids},
        {"id": "response", "prompt": QUESTION, "token_ids": token_ids},
        {"id": "text", "prompt": QUESTION, "response": ANSWER},
    )
    assert replay(lines(tmp_path / "any.jsonl", *rows)) == 0
    run = run_in(tmp_path)
    assert run.recorded == ["both", "response", "text"]
    np.testing.assert_allclose(run.trace("both")["entropy"], run.trace("response")["entropy"], atol=1e-5)
    said = capsys.readouterr().out
    assert "the very tokens of the log: 1 prompts and 2 responses of 3" in said
    assert "tokenised anew: 1" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt_token_ids": [5, 6]}, "are not the same to this tokenizer: another one wrote them"),
        ({"token_ids": [5, 6]}, "are not the same to this tokenizer: another one wrote them"),
        ({"token_ids": [99_999]}, "the response holds token ids outside the tokenizer's vocabulary"),
        ({"prompt_token_ids": [99_999]}, "the prompt holds token ids outside the tokenizer's vocabulary"),
    ],
)
def test_tokens_of_another_tokenizer_are_not_read(replay, tmp_path, capsys, tiny, written, change, said):
    ids = dict(zip(("token_ids", "prompt_token_ids"), written, strict=True))
    row = {"prompt": QUESTION, "response": tiny[1].decode(ids["token_ids"], skip_special_tokens=True)} | ids
    assert replay(lines(tmp_path / "any.jsonl", row | change)) == 2
    assert said in capsys.readouterr().err


def test_what_an_engine_has_cut_off_a_text_does_not_make_it_another(replay, tmp_path, tiny, written):
    row = dumped(tiny[1], written[1], written[0], text=ANSWER[:3], finish_reason="stop")
    row["outputs"][0]["text"] = tiny[1].decode(written[0])[:-5] + "\ufffd"
    assert replay(lines(tmp_path / "out.jsonl", row)) == 0


def test_a_stop_string_of_the_engine_is_said(replay, tmp_path, capsys, tiny, written):
    replay(lines(tmp_path / "out.jsonl", dumped(tiny[1], *reversed(written), finish_reason="stop")))
    assert "1 ended at a stop string of the engine" in capsys.readouterr().out


def test_a_log_of_inspect_becomes_a_run(replay, tmp_path):
    pytest.importorskip("inspect_ai")
    assert replay(DATA / "inspect.eval") == 0
    run = run_in(tmp_path)
    assert len(run.recorded) == 5
    assert set(run.grades("match")) == {"correct", "incorrect"}
