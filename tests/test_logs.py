"""Logs of other tools as tables: formats told apart, ids, scores, what is damaged or does not fit together.

data/lm_eval_samples.jsonl was written by lm-eval 0.4.13 (hf, --apply_chat_template, --log_samples, two filters) and
data/inspect.eval by inspect_ai 0.3.285 (hf, match), both with the bundled model on five of its problems.
"""

import json
import sys
import time
from pathlib import Path

import pytest

from attnent.logs import LogError, read_log

DATA = Path(__file__).parent / "data"
HARNESS, INSPECT = DATA / "lm_eval_samples.jsonl", DATA / "inspect.eval"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]


def lines(path: Path, *rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def asked(custom_id: str, messages=CHAT) -> dict:
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": {"messages": messages}}


def answered(custom_id: str, text="4", **more) -> dict:
    body = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": {"completion_tokens": 1}}
    return {"custom_id": custom_id, "response": {"status_code": 200, "body": body}, "error": None} | more


def harness_row(doc_id: int = 0, filter_: str = "none", text="4", **more) -> dict:
    return {
        "doc_id": doc_id,
        "doc": {},
        "target": "4",
        "arguments": {"gen_args_0": {"arg_0": "2 + 2?", "arg_1": {"until": []}}},
        "resps": [[text]],
        "filtered_resps": [text],
        "filter": filter_,
        "metrics": ["exact_match"],
        "exact_match": 1.0,
    } | more


def request(*outputs: dict, **more) -> dict:
    """A RequestOutput of vLLM 0.11 and later."""
    ids = {
        "prompt_token_ids": [1, 2],
        "prompt_logprobs": None,
        "encoder_prompt": None,
        "encoder_prompt_token_ids": None,
    }
    others = {"metrics": None, "lora_request": None, "num_cached_tokens": 0, "kv_transfer_params": None}
    return {"request_id": "0", "prompt": "2 + 2?", "outputs": list(outputs), "finished": True} | ids | others | more


def written(token_ids: list[int], text: str | None = "4", **more) -> dict:
    """A CompletionOutput of vLLM."""
    about = {"cumulative_logprob": None, "logprobs": None, "routed_experts": None, "lora_request": None}
    ended = {"finish_reason": "stop", "stop_reason": None}
    return {"index": 0, "text": text, "token_ids": token_ids} | about | ended | more


# ---- lm-evaluation-harness


def test_a_log_of_the_harness_has_a_row_a_document_with_the_score_of_each_filter():
    table, rendered, notes = read_log(HARNESS)
    assert table["id"].tolist() == ["0", "1", "2", "3", "4"]
    assert set(table["scores"][0]) == {"exact_match,strict-match", "exact_match,flexible-extract"}
    assert table["text"][0].endswith("#### 127")
    assert table["target"][0] == "127"
    assert table["prompt"][0].startswith("<|bos|><|user|>Tom owns 111 shells.")
    assert rendered
    assert notes == ()


def test_a_task_of_likelihoods_is_refused(tmp_path):
    request = {"gen_args_0": {"arg_0": "2 + 2?", "arg_1": " 4"}}
    with pytest.raises(LogError, match=r"line 1 of .* holds likelihoods .* generate_until"):
        read_log(lines(tmp_path / "samples.jsonl", harness_row(arguments=request)))


def test_several_requests_for_one_document_are_refused(tmp_path):
    request = harness_row()["arguments"]["gen_args_0"]
    with pytest.raises(LogError, match=r"line 1 of .* holds 2 requests for one document"):
        read_log(
            lines(tmp_path / "samples.jsonl", harness_row(arguments={"gen_args_0": request, "gen_args_1": request}))
        )


def test_arguments_as_older_versions_of_the_harness_wrote_them_are_read(tmp_path):
    row = harness_row(arguments=[["2 + 2?", {"until": []}]])
    del row["metrics"], row["filter"]
    table = read_log(lines(tmp_path / "samples.jsonl", row)).table
    assert table["prompt"].tolist() == ["2 + 2?"]
    assert table["scores"].tolist() == [{"exact_match": 1.0}]


def test_messages_that_the_harness_sent_to_a_server_are_messages(tmp_path):
    request = {"gen_args_0": {"arg_0": [json.dumps(CHAT)], "arg_1": {"until": []}}}
    log = read_log(lines(tmp_path / "samples.jsonl", harness_row(arguments=request)))
    assert log.table["prompt"].tolist() == [CHAT]
    assert not log.rendered


def test_scores_of_several_responses_together_are_not_kept(tmp_path):
    log = read_log(lines(tmp_path / "samples.jsonl", harness_row(7, resps=[["4", "5"]])))
    assert log.table["id"].tolist() == ["7.1", "7.2"]
    assert log.table["scores"].tolist() == [{}, {}]
    assert "1 documents have several responses" in log.notes[0]


def test_two_responses_to_one_document_under_two_filters_are_refused(tmp_path):
    rows = harness_row(3, "strict"), harness_row(3, "flexible", text="5")
    with pytest.raises(LogError, match=r"line 2 of .* another response to document 3"):
        read_log(lines(tmp_path / "samples.jsonl", *rows))


# ---- Inspect


def test_a_log_of_inspect_has_a_row_a_sample():
    pytest.importorskip("inspect_ai")
    table, rendered, notes = read_log(INSPECT)
    assert set(table["id"]) == ids_of_problems()
    assert [message["role"] for message in table["prompt"][0]] == ["user"]
    assert table.set_index("id")["target"]["problem-d2f5cca49c37"] == "127"
    assert {scores["match"] for scores in table["scores"]} == {"C", "I"}
    assert not rendered
    assert notes == ()


def ids_of_problems() -> set[str]:
    return {json.loads(line)["doc"]["key"] for line in HARNESS.read_text().splitlines()}


def test_without_inspect_a_log_of_it_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(LogError, match=r"pip install 'attnent\[inspect\]'"):
        read_log(INSPECT)


def test_half_a_log_of_inspect_is_refused(tmp_path):
    pytest.importorskip("inspect_ai")
    (tmp_path / "half.eval").write_bytes(INSPECT.read_bytes()[:4000])
    with pytest.raises(LogError, match=r"inspect_ai cannot read .*half\.eval"):
        read_log(tmp_path / "half.eval")


# ---- OpenAI's batches


def test_a_batch_is_joined_to_its_input_by_id(tmp_path):
    output = lines(tmp_path / "out.jsonl", answered("b", "no"), answered("a", "yes"))
    given = lines(tmp_path / "in.jsonl", asked("a"), asked("b", [{"role": "user", "content": "3?"}]))
    table = read_log(output, batch_input=given).table.set_index("id")
    assert table["text"].to_dict() == {"b": "no", "a": "yes"}
    assert table["prompt"]["a"] == CHAT
    assert table["n_tokens"]["a"] == 1


def test_ids_of_a_batch_without_a_partner_are_named(tmp_path):
    output = lines(tmp_path / "out.jsonl", answered("a"), answered("late"))
    log = read_log(output, batch_input=lines(tmp_path / "in.jsonl", asked("a"), asked("lost")))
    assert log.table["left_out"].tolist() == ["", "no prompt"]
    assert log.notes == (
        f"1 requests of {tmp_path / 'in.jsonl'} have no response: 'lost'",
        f"1 responses of {tmp_path / 'out.jsonl'} have no request in {tmp_path / 'in.jsonl'}: 'late'",
    )


def test_a_batch_without_its_input_asks_for_it(tmp_path):
    with pytest.raises(LogError, match="--batch-input FILE"):
        read_log(lines(tmp_path / "out.jsonl", answered("a")))


def test_an_id_that_a_batch_has_twice_is_refused(tmp_path):
    output = lines(tmp_path / "out.jsonl", answered("a"), answered("a"))
    with pytest.raises(LogError, match=r"line 2 of .* the custom_id 'a' a second time"):
        read_log(output, batch_input=lines(tmp_path / "in.jsonl", asked("a")))


def test_errors_and_calls_of_tools_in_a_batch_are_left_out(tmp_path):
    failed = answered("a", response={"status_code": 500, "body": {"error": {"message": "x"}}})
    calls = answered("b", None)
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    output = lines(tmp_path / "out.jsonl", failed, calls, answered("c"))
    table = read_log(
        output, batch_input=lines(tmp_path / "in.jsonl", asked("a"), asked("b"), asked("c", picture))
    ).table
    expected = ["the server answered with an error", "no response", "the conversation holds more than text"]
    assert table["left_out"].tolist() == expected


def test_the_parts_of_a_message_are_one_text(tmp_path):
    parts = [{"type": "text", "text": "2 +"}, {"type": "text", "text": " 2?"}]
    given = lines(tmp_path / "in.jsonl", asked("a", [{"role": "user", "content": parts}]))
    table = read_log(lines(tmp_path / "out.jsonl", answered("a")), batch_input=given).table
    assert table["prompt"][0] == [{"role": "user", "content": "2 + 2?"}]


# ---- vLLM


def test_a_request_of_vllm_has_a_row_an_output_with_its_very_tokens(tmp_path):
    one, other = written([5, 6]), written([7], "x", index=1)
    read = read_log(lines(tmp_path / "out.jsonl", request(one, other), request(one, request_id="1")))
    assert read.table["id"].tolist() == ["0.1", "0.2", "1"]
    assert read.table["prompt_ids"].tolist() == [[1, 2]] * 3
    assert read.table["token_ids"].tolist() == [[5, 6], [7], [5, 6]]
    assert read.table["text"].tolist() == ["4", "x", "4"]
    assert read.rendered


def test_the_logprobs_of_vllm_are_those_of_the_tokens_it_chose(tmp_path):
    steps = [{"5": {"logprob": -0.5, "rank": 2}, "9": {"logprob": -0.1, "rank": 1}}, {"6": {"logprob": -1.5}}]
    read = read_log(lines(tmp_path / "out.jsonl", request(written([5, 6], logprobs=steps)))).table
    assert read["logprobs"].tolist() == [[-0.5, -1.5]]


def test_requests_of_vllm_with_images_or_unfinished_are_left_out(tmp_path):
    image = {"multi_modal_placeholders": {"image": [{"offset": 1, "length": 9}]}}
    rows = request(written([5]), **image), request(written([5]), finished=False), request(written([], None))
    read = read_log(lines(tmp_path / "out.jsonl", *rows)).table
    expected = ["the conversation holds more than text", "the request was not finished", "no response"]
    assert read["left_out"].tolist() == expected


@pytest.mark.parametrize("ids", [[1, "2"], [1.5], "12", [True]])
def test_token_ids_that_are_none_are_named(tmp_path, ids):
    with pytest.raises(
        LogError, match=r"^line 1 of .*out\.jsonl has prompt_token_ids that are no list of whole numbers"
    ):
        read_log(lines(tmp_path / "out.jsonl", request(written([5]), prompt_token_ids=ids)))


def test_a_dump_without_outputs_is_refused(tmp_path):
    with pytest.raises(LogError, match=r"line 1 of .* has no outputs"):
        read_log(lines(tmp_path / "out.jsonl", request() | {"outputs": "RequestOutput(...)"}))


def test_a_batch_of_vllm_with_token_ids_needs_no_input(tmp_path):
    chat, text = answered("a"), answered("b")
    chat["response"]["body"]["prompt_token_ids"] = [1, 2]
    chat["response"]["body"]["choices"][0] |= {"token_ids": [5], "logprobs": {"content": [{"logprob": -0.5}]}}
    text["response"]["body"]["choices"] = [{"text": "5", "prompt_token_ids": [3], "token_ids": [6], "logprobs": None}]
    read = read_log(lines(tmp_path / "out.jsonl", chat, text, answered("c"))).table
    assert read["text"].tolist() == ["4", "5", "4"]
    assert read["prompt_ids"].tolist() == [[1, 2], [3], None]
    assert read["token_ids"].tolist() == [[5], [6], None]
    assert read["logprobs"].tolist() == [[-0.5], None, None]
    assert read["left_out"].tolist() == ["", "", "no prompt"]


def test_a_plain_jsonl_may_hold_the_very_tokens(tmp_path):
    rows = {"prompt_token_ids": [1], "token_ids": [5]}, {"prompt": "2 + 2?", "response": "4"}
    read = read_log(lines(tmp_path / "any.jsonl", *rows)).table
    assert read["prompt_ids"].tolist() == [[1], None]
    assert read["token_ids"].tolist() == [[5], None]


# ---- any jsonl


def test_a_plain_jsonl_keeps_what_it_knows(tmp_path):
    rows = {"prompt": CHAT, "response": "4", "id": 7, "target": 4, "is_correct": True}, {"prompt": "", "response": "5"}
    table = read_log(lines(tmp_path / "any.jsonl", *rows)).table
    assert table["id"].tolist() == ["7", "line-2"]
    assert table["target"].tolist() == ["4", None]
    assert table["scores"].tolist() == [{"is_correct": True}, {}]


def test_repeated_and_odd_ids_become_unique_names_of_files(tmp_path):
    ids = ["a", "a", "a-2", "a", "../x y", "<b>", "é" * 300]
    rows = [{"id": id_, "prompt": "p", "response": "r"} for id_ in ids]
    table = read_log(lines(tmp_path / "any.jsonl", *rows)).table
    assert table["id"][:4].tolist() == ["a", "a-3", "a-2", "a-4"]
    assert table["id"].is_unique
    assert table["id"].str.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}").all()
    assert table["log_id"].tolist() == ids


def test_odd_text_is_data(tmp_path):
    text = "</script><b>\u2028\x00\x85 {{x}}\r\n"
    table = read_log(lines(tmp_path / "any.jsonl", {"prompt": text, "response": text})).table
    assert table[["prompt", "text"]].to_numpy().tolist() == [[text, text]]


@pytest.mark.parametrize("damaged", [b'{"prompt": "a", "resp', b"\xff\xfe\x00", b"[1]", b"[" * 200_000])
def test_a_damaged_line_is_named(tmp_path, damaged):
    path = lines(tmp_path / "any.jsonl", {"prompt": "p", "response": "r"})
    path.write_bytes(path.read_bytes() + damaged + b"\n")
    with pytest.raises(LogError, match=r"^line 2 of .*any\.jsonl .*; mend or remove that line$"):
        read_log(path)


@pytest.mark.parametrize(("content", "said"), [("", "no names"), ('{"text": 1}\n', "first line has text")])
def test_a_file_of_another_kind_is_refused(tmp_path, content, said):
    (tmp_path / "any.jsonl").write_text(content)
    with pytest.raises(LogError, match=said):
        read_log(tmp_path / "any.jsonl")


def test_a_log_that_is_not_there_is_said(tmp_path):
    with pytest.raises(LogError, match=r"cannot read .*none.*No such file"):
        read_log(tmp_path / "none")


def test_a_forced_format_is_believed(tmp_path):
    rows = {"prompt": "p", "response": "r", "custom_id": "x"}
    assert read_log(lines(tmp_path / "any.jsonl", rows), format="jsonl").table["text"].tolist() == ["r"]


def test_ten_thousand_responses_of_one_id_take_no_more_than_seconds(tmp_path):
    path = lines(tmp_path / "any.jsonl", *[{"id": "a", "prompt": "p", "response": "r"}] * 10_000)
    start = time.perf_counter()
    assert read_log(path).table["id"].is_unique
    assert time.perf_counter() - start < 3
