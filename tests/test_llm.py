"""The client of paid models, against a real server over HTTP: what is recorded of every fault, and what it costs."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Literal

import pytest
from fake_openai import KEY, FakeServer, completion, error
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pytest_httpserver import HTTPServer
from werkzeug import Response

from attnent.llm import LLM, LLMError, Request, check
from attnent.llm.cache import AnswerCache, Kept
from attnent.llm.replies import find_object


class City(BaseModel):
    city: str


@pytest.fixture
def make(server, tmp_path):
    """Makes a client of the fake server, with its cache in tmp_path."""

    def client(model: str = "fake-1", **settings) -> LLM:
        return LLM(model, **{"cache": tmp_path / "cache.sqlite", "base_url": server.base_url} | settings)

    return client


def questions(n: int, **settings) -> list[Request]:
    return [Request([{"role": "user", "content": f"Which city is number {k}?"}], City, **settings) for k in range(n)]


def rows(tmp_path) -> list[sqlite3.Row]:
    with sqlite3.connect(tmp_path / "cache.sqlite") as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute("SELECT * FROM answers ORDER BY rowid").fetchall()
    connection.close()
    return found


def ask_one(llm: LLM):
    [answer] = llm.ask(questions(1), progress=False)
    return answer


# ---- answers


def test_answers_come_in_the_order_of_the_requests(make, server):
    server.answer = lambda body: completion(json.dumps({"city": body["messages"][-1]["content"][21:23].strip("? ")}))
    answers = make().ask(questions(17), progress=False)
    assert [answer.value for answer in answers] == [City(city=str(place)) for place in range(17)]


def test_everything_about_an_answer_is_kept_with_it(make, tmp_path):
    ask_one(make())
    [row] = rows(tmp_path)
    assert (row["outcome"], row["text"], row["model"], row["fingerprint"]) == (
        "answered",
        '{"city": "Ur"}',
        "fake-1-2026",
        "fp_7",
    )
    assert (row["n_input"], row["n_output"], row["repeat"]) == (20, 5, 0)
    assert json.loads(row["request"])["messages"][0]["content"].startswith("Which city is number 0?")
    assert json.loads(row["schema"])["properties"].keys() == {"city"}


def test_the_schema_goes_to_the_server_both_as_a_parameter_and_in_words(make, server):
    ask_one(make())
    [body] = server.asked
    assert body["response_format"]["json_schema"]["strict"] is True
    assert '"properties": {"city"' in body["messages"][-1]["content"]


def test_temperature_and_seed_are_sent_only_when_they_are_set(make, server):
    ask_one(make())
    ask_one(make(temperature=0.0, seed=0))
    assert not {"temperature", "seed"} & set(server.asked[0])
    assert (server.asked[1]["temperature"], server.asked[1]["seed"]) == (0.0, 0)


@pytest.mark.parametrize(
    "text",
    [
        '{"city": "Ur"}',
        '```json\n{"city": "Ur"}\n```',
        'Here it is: {"city": "Ur"} - glad to help {you}!',
        '{"thought": "it is old"} so {"city": "Ur"}',
        '{"city": "Ur"} or, again, {"city": "Ur"}',
    ],
)
def test_an_answer_is_found_bare_fenced_or_in_prose(make, server, text):
    server.answer = lambda body: completion(text)
    answer = ask_one(make())
    assert (answer.outcome, answer.value) == ("answered", City(city="Ur"))


@pytest.mark.parametrize(
    "text", ["Ur, I think.", '{"city": "U', '{"town": "Ur"}', '{"city": 3}', "", None, "[[[" * 999]
)
def test_text_without_the_object_asked_for_is_malformed_and_kept(make, server, tmp_path, text):
    server.answer = lambda body: completion(text)
    answer = ask_one(make())
    assert (answer.outcome, answer.value, answer.text) == ("malformed", None, text or "")
    assert rows(tmp_path)[0]["outcome"] == "malformed"


def test_two_objects_that_differ_are_malformed_rather_than_a_guess(make, server):
    server.answer = lambda body: completion('{"city": "Ur"}, or rather {"city": "Uruk"}')
    assert ask_one(make()).outcome == "malformed"


class Grade(BaseModel):
    grade: Literal["A", "B"]


@given(st.text(alphabet='ab {}[]":,\\\n'), st.sampled_from("AB"), st.text(alphabet="ab ]:,\\\n"))
def test_an_object_is_found_whatever_text_without_another_stands_around_it(before, grade, after):
    found = find_object(f'{before.replace("{", "")}{{"grade": "{grade}"}}{after}', Grade)
    assert found == Grade(grade=grade)


@given(st.text(alphabet='ab{}[]":,\\1e-'))
def test_no_text_makes_the_search_for_an_object_fail(text):
    assert find_object(text, Grade) is None


@pytest.mark.parametrize(
    "piece", ['[{"a":', '{"a":', "{ ", '{"', '{"a', '{"grade": "A", "a": [{}, ', '{"grade": "A"} ', '{"grade": 1} ']
)
def test_an_object_is_looked_for_in_100_000_characters_within_a_second(piece):
    text = piece * (100_000 // len(piece))
    start = time.monotonic()
    found = find_object(text, Grade)
    assert time.monotonic() - start < 1
    assert found == (Grade(grade="A") if piece == '{"grade": "A"} ' else None)


def test_an_answer_is_found_behind_a_page_of_formulas():
    assert find_object(r"\frac{12}{7} = {x}^{2}, " * 2000 + '{"grade": "B"}', Grade) == Grade(grade="B")


# ---- faults that are outcomes


def test_a_refusal_is_an_outcome_with_its_words(make, server, tmp_path):
    server.answer = lambda body: completion(None, message={"refusal": "I cannot help with cities."})
    answer = ask_one(make())
    assert (answer.outcome, answer.text) == ("refused", "I cannot help with cities.")
    assert rows(tmp_path)[0]["outcome"] == "refused"


@pytest.mark.parametrize(("reason", "outcome"), [("length", "cut off"), ("content_filter", "filtered")])
def test_an_answer_that_was_cut_off_or_filtered_says_so(make, server, tmp_path, reason, outcome):
    server.answer = lambda body: completion('{"city": "U', finish_reason=reason)
    assert ask_one(make()).outcome == outcome
    assert rows(tmp_path)[0]["outcome"] == outcome


def test_a_server_that_is_busy_is_asked_again_after_the_time_it_names(make, server):
    server.in_turn(error(429, "slow down"), error(429, "slow down"), completion('{"city": "Ur"}'))
    assert ask_one(make()).outcome == "answered"
    assert len(server.asked) == 3


def test_the_seconds_of_retry_after_are_waited(make, server):
    busy = Response("busy", 429, headers={"Retry-After": "0.4"})
    server.in_turn(busy, completion('{"city": "Ur"}'))
    start = time.monotonic()
    assert ask_one(make()).outcome == "answered"
    assert time.monotonic() - start >= 0.4


def test_a_server_that_keeps_failing_is_a_failure_that_is_not_kept(make, server, tmp_path):
    server.answer = lambda body: error(500, "out of order")
    answer = ask_one(make(max_retries=2))
    assert (answer.outcome, len(server.asked)) == ("failed", 3)
    assert "500" in answer.text
    assert rows(tmp_path) == []


def test_a_failure_is_asked_again_the_next_time(make, server):
    server.answer = lambda body: error(500, "out of order")
    assert ask_one(make(max_retries=0)).outcome == "failed"
    server.answer = lambda body: completion('{"city": "Ur"}')
    assert ask_one(make()).outcome == "answered"


def test_a_server_that_does_not_answer_in_time_is_a_failure(make, server):
    server.seconds = 0.5
    answer = ask_one(make(max_retries=0, timeout=0.1))
    assert (answer.outcome, answer.text) == ("failed", "no answer in time")


NONSENSE = [
    Response("<html>Welcome to the hotel network</html>", content_type="text/html"),
    Response("<html>Welcome</html>", content_type="application/json"),
    Response("", content_type="application/json"),
    completion("{}", choices=[]),
    completion("{}", choices=None),
    {"error": "an error with status 200"},
    {"choices": "none"},
]


@pytest.mark.parametrize("said", NONSENSE, ids=range(len(NONSENSE)))
def test_a_reply_that_is_no_chat_completion_is_a_failure(make, server, tmp_path, said):
    server.answer = lambda body: said
    answer = ask_one(make())
    assert answer.outcome == "failed"
    assert "no chat completion" in answer.text
    assert rows(tmp_path) == []


def test_a_fault_of_one_request_leaves_the_others_alone(make, server):
    server.answer = lambda body: (
        error(400, "too long") if "number 3" in body["messages"][-1]["content"] else completion('{"city": "Ur"}')
    )
    outcomes = [answer.outcome for answer in make().ask(questions(7), progress=False)]
    assert outcomes == ["answered"] * 3 + ["failed"] + ["answered"] * 3


# ---- parameters that a server refuses


def refusing(name: str, message: str, status: int = 400):
    return lambda body: error(status, message, param=name) if name in body else completion('{"city": "Ur"}')


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("temperature", "Unsupported value: 'temperature' does not support 0.2 with this model."),
        ("seed", "Unrecognized request argument supplied: seed"),
        ("response_format", "This response_format type is unavailable now"),
        ("response_format", "bad request"),
        ("max_tokens", "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
    ],
)
def test_a_parameter_that_is_refused_is_left_out_from_then_on(make, server, tmp_path, name, message, status):
    server.answer = refusing(name, message, status)
    llm = make(temperature=0.2, seed=5, concurrency=1)
    answers = llm.ask(questions(3), progress=False)
    assert [answer.left_out for answer in answers] == [(name,)] * 3
    assert len(server.asked) == 4, "it was sent once, and never again"
    assert [json.loads(row["left_out"]) for row in rows(tmp_path)] == [[name]] * 3
    assert all(name not in json.loads(row["request"]) for row in rows(tmp_path))


def test_a_refused_max_tokens_goes_under_its_newer_name(make, server):
    server.answer = refusing("max_tokens", "Use 'max_completion_tokens' instead of 'max_tokens'.")
    make().ask(questions(1, max_tokens=77), progress=False)
    assert server.asked[1]["max_completion_tokens"] == 77


def test_several_parameters_may_be_refused_one_after_the_other(make, server):
    def answer(body):
        refused = next((name for name in ("seed", "temperature", "response_format") if name in body), None)
        return error(400, f"{refused} is not supported") if refused else completion('{"city": "Ur"}')

    server.answer = answer
    assert ask_one(make(temperature=1.0, seed=1)).left_out == ("response_format", "seed", "temperature")


def test_a_complaint_about_one_request_alone_leaves_nothing_out_of_the_others(make, server):
    server.answer = lambda body: (
        error(400, "too long for this temperature")
        if "number 0" in body["messages"][-1]["content"]
        else completion('{"city": "Ur"}')
    )
    answers = make(temperature=0.5, concurrency=1).ask(questions(2), progress=False)
    assert [(answer.outcome, answer.left_out) for answer in answers] == [("failed", ()), ("answered", ())]


def test_what_was_left_out_does_not_make_it_another_request(make, server):
    server.answer = refusing("temperature", "temperature is not supported")
    ask_one(make(temperature=0.2))
    n_asked = len(server.asked)
    assert ask_one(make(temperature=0.2)).left_out == ("temperature",)
    assert len(server.asked) == n_asked


# ---- faults that end the run


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (error(401, f"Incorrect API key provided: {KEY}"), "refused the key .401.; set OPENAI_API_KEY"),
        (error(402, "Insufficient balance"), "add credit"),
        (error(403, "not for you"), "does not let this key use 'fake-1'"),
        (error(404, "The model `fake-1` does not exist"), "knows no model 'fake-1'.*check model and base_url"),
        (error(429, "You exceeded your current quota", code="insufficient_quota"), "no credit left"),
    ],
)
def test_what_every_request_would_meet_ends_the_run_at_once_with_one_sentence(make, server, said, advice):
    server.answer = lambda body: said
    with pytest.raises(LLMError, match=advice) as caught:
        make(concurrency=2, max_retries=0).ask(questions(40), progress=False)
    assert len(server.asked) <= 3, "nothing is asked after that"
    assert KEY not in str(caught.value)


def test_what_was_answered_before_the_run_ended_is_kept(make, server, tmp_path):
    server.in_turn(completion('{"city": "Ur"}'), completion('{"city": "Ur"}'), error(401, "expired"))
    with pytest.raises(LLMError):
        make(concurrency=1).ask(questions(9), progress=False)
    assert len(rows(tmp_path)) == 2


def test_a_server_that_is_not_there_ends_the_run(tmp_path):
    llm = LLM("m", cache=tmp_path / "cache.sqlite", base_url="http://127.0.0.1:9/v1", max_retries=1)
    with pytest.raises(LLMError, match=r"127\.0\.0\.1:9/v1 cannot be reached; check the network and base_url"):
        llm.ask(questions(1), progress=False)


def test_without_a_key_it_is_said_what_works_without_one(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    llm = LLM("gpt-4o", cache=tmp_path / "cache.sqlite", base_url="https://api.openai.com/v1")
    with pytest.raises(LLMError, match=r"set OPENAI_API_KEY.*offline judge, the exact critic.*arithmetic checker"):
        llm.ask(questions(1), progress=False)


def test_a_server_on_this_machine_needs_no_key(make, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert ask_one(make()).outcome == "answered"


def test_answers_that_are_kept_need_no_key(make, monkeypatch, tmp_path):
    ask_one(make())
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setattr("attnent.llm.server.is_loopback", lambda base_url: False)
    assert ask_one(make(usd_per_million=(1.0, 1.0))).cached


# ---- the cache


def test_a_repeated_run_asks_nothing_and_gives_the_same(make, server):
    server.answer = lambda body: completion(f'{{"city": "number {len(server.asked)}"}}')
    first = make().ask(questions(5), progress=False)
    again = make().ask(questions(5), progress=False)
    assert len(server.asked) == 5
    assert [answer.value for answer in again] == [answer.value for answer in first]
    assert [answer.cached for answer in first + again] == [False] * 5 + [True] * 5


@pytest.mark.parametrize(
    "other",
    [
        {"settings": {"model": "fake-2"}},
        {"settings": {"temperature": 0.3}},
        {"settings": {"seed": 3}},
        {"request": {"repeat": 1}},
        {"request": {"max_tokens": 9}},
        {"request": {"schema": Grade}},
        {"request": {"messages": [{"role": "user", "content": "Another?"}]}},
    ],
    ids=str,
)
def test_whatever_differs_about_a_request_makes_it_another_one(make, server, other):
    ask_one(make())
    [request] = questions(1)
    make(**other.get("settings", {})).ask([request._replace(**other.get("request", {}))], progress=False)
    assert len(server.asked) == 2


def test_another_server_is_asked_for_itself(make, server):
    ask_one(make())
    with HTTPServer(threaded=True) as second:
        other = FakeServer(second)
        ask_one(make(base_url=other.base_url))
        assert len(other.asked) == 1


def test_repeats_have_seeds_of_their_own(make, server):
    make(seed=10, concurrency=1).ask([questions(1, repeat=k)[0] for k in range(3)], progress=False)
    assert [body["seed"] for body in server.asked] == [10, 11, 12]


def test_the_same_request_twice_in_a_list_is_asked_once(make, server):
    answers = make().ask(questions(1) * 3, progress=False)
    assert len(server.asked) == 1
    assert [answer.value for answer in answers] == [City(city="Ur")] * 3


def test_a_damaged_cache_is_said_before_anything_is_asked(make, server, tmp_path):
    (tmp_path / "cache.sqlite").write_bytes(b"no database, but long enough to be looked at" * 99)
    with pytest.raises(LLMError, match=r"cache\.sqlite cannot be read or written .*move the file away"):
        ask_one(make())
    assert server.asked == []


def test_damage_that_is_no_text_is_said_too(make, server, tmp_path):
    ask_one(make())
    path = tmp_path / "cache.sqlite"
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE attempts", b"CREATE TABL\xeb attempts"))
    with pytest.raises(LLMError, match=r"cache\.sqlite cannot be read or written .*move the file away"):
        ask_one(make())


def test_an_answer_that_was_damaged_is_asked_again(make, server, tmp_path):
    make().ask(questions(3), progress=False)
    path = tmp_path / "cache.sqlite"
    path.write_bytes(path.read_bytes().replace(b'{"city": "Ur"}', b'{"city": "Er"}', 1))
    answers = make().ask(questions(3), progress=False)
    assert [answer.value for answer in answers] == [City(city="Ur")] * 3
    assert len(server.asked) == 4
    assert all(answer.cached for answer in make().ask(questions(3), progress=False))


def test_a_flipped_bit_never_gives_another_answer(tmp_path):
    path, random = tmp_path / "cache.sqlite", Random(0)
    about = ("http://x", "{}", "{}", 0, "[]", "answered")
    kept = [Kept(f"{k:064x}", *about, f"answer {k} é", "m", None, k, 7, k / 7, "now") for k in range(40)]
    for one in kept:
        AnswerCache(path).add(one)
    whole, n_damaged = path.read_bytes(), 0
    for _ in range(400):
        flipped = bytearray(whole)
        flipped[random.randrange(len(whole))] ^= 1 << random.randrange(8)
        path.write_bytes(flipped)
        try:
            found = AnswerCache(path).get([one.key for one in kept])
        except LLMError:
            found = {}
        n_damaged += len(found) < len(kept)
        assert found.items() <= {one.key: one for one in kept}.items()
    assert n_damaged > 50


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
def test_a_cache_cut_short_is_empty_or_said(make, tmp_path, share):
    make().ask(questions(9), progress=False)
    path = tmp_path / "cache.sqlite"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    try:
        n_cached = make().price(questions(9)).n_cached
    except LLMError as error:
        n_cached, said = 0, str(error)
        assert said.startswith("the answers kept in")
    assert n_cached < 9


ASK = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a test started in the background would ignore
from pydantic import BaseModel
from pytest_httpserver import HTTPServer
from attnent.llm import LLM, Request
class City(BaseModel):
    city: str
requests = [Request([{"role": "user", "content": f"Which city is number {k}?"}], City) for k in range(int(sys.argv[3]))]
answers = LLM("fake-1", cache=sys.argv[1], base_url=sys.argv[2], concurrency=3).ask(requests)
print(json.dumps([answer.outcome for answer in answers]))
"""


def asking_process(server, tmp_path, n: int) -> subprocess.Popen:
    command = [sys.executable, "-c", ASK, str(tmp_path / "cache.sqlite"), server.base_url, str(n)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


def test_a_killed_process_loses_at_most_what_was_in_flight(make, server, tmp_path):
    server.seconds = 0.05
    process = asking_process(server, tmp_path, 60)
    wait_until(lambda: len(server.asked) >= 20)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    n_asked, n_kept = len(server.asked), len(rows(tmp_path))
    assert n_asked < 60
    assert n_asked - n_kept <= 3, "no more than the three in flight"
    answers = make().ask(questions(60), progress=False)
    assert [answer.outcome for answer in answers] == ["answered"] * 60
    assert len(server.asked) - n_asked == 60 - n_kept, "the second run asks for the rest alone"


def test_an_interrupted_process_keeps_what_is_in_flight_and_ends(server, tmp_path):
    server.seconds = 0.1
    process = asking_process(server, tmp_path, 60)
    wait_until(lambda: len(server.asked) >= 6)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in said
    assert len(rows(tmp_path)) == len(server.asked) < 60


def test_two_processes_share_a_cache(server, tmp_path):
    processes = [asking_process(server, tmp_path, 30) for _ in range(2)]
    for process in processes:
        out, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert json.loads(out.splitlines()[-1]) == ["answered"] * 30


# ---- money


def test_the_price_is_said_before_anything_is_asked(make, server, capsys):
    make(usd_per_million=(5.0, 5.0)).ask(questions(2), progress=True)
    llm = make(usd_per_million=(1000.0, 1000.0), max_usd=0.0)
    llm.ask(questions(5))
    line = capsys.readouterr().out.splitlines()[-2]
    price = llm.price(questions(5))
    assert line == (
        f"fake-1: 5 requests, 2 of them answered before; 3 new, about ${price.usd:.2f}, "
        f"at most ${price.most_usd:.2f} (limit $0.00, spent $0.00)"
    )


def test_asking_for_the_price_asks_nothing(make, server):
    assert make().price(questions(4))[:3] == (4, 0, 4)
    assert server.asked == []


def test_the_largest_price_is_above_what_any_tokenizer_can_make_of_it(make):
    [request] = questions(1, max_tokens=100)
    n_bytes = len(request.messages[0]["content"].encode())
    assert make(usd_per_million=(1e6, 0.0)).price([request]).most_usd > n_bytes
    assert make(usd_per_million=(0.0, 1e6)).price([request]).most_usd == 100


def test_what_an_answer_cost_is_its_tokens_times_their_price(make):
    assert ask_one(make(usd_per_million=(2.0, 7.0))).usd == pytest.approx((20 * 2 + 5 * 7) / 1e6)


def test_nothing_is_asked_above_the_budget_and_what_there_is_is_kept(make, server, tmp_path):
    llm = make(usd_per_million=(0.0, 1000.0), max_usd=0.012, concurrency=4)  # an answer costs 0.005, at most 0.005
    answers = llm.ask(questions(9, max_tokens=5), progress=False)
    outcomes = [answer.outcome for answer in answers]
    assert sorted(outcomes) == ["answered"] * 2 + ["not asked"] * 7
    assert len(server.asked) == len(rows(tmp_path)) == 2
    assert "raise max_usd" in answers[outcomes.index("not asked")].text


def test_requests_wait_while_those_in_flight_may_turn_out_cheap(make, server):
    server.seconds = 0.02
    llm = make(usd_per_million=(0.0, 1000.0), max_usd=0.1, concurrency=8)  # an answer costs 0.005, at most 0.09
    outcomes = [answer.outcome for answer in llm.ask(questions(3, max_tokens=90), progress=False)]
    assert outcomes == ["answered"] * 3
    assert server.most_at_once == 1


def test_an_answer_that_does_not_say_its_tokens_counts_as_the_largest(make, server):
    server.answer = lambda body: completion('{"city": "Ur"}', usage=None)
    llm = make(usd_per_million=(0.0, 1000.0), max_usd=0.1)
    assert [answer.outcome for answer in llm.ask(questions(2, max_tokens=90), progress=False)].count("answered") == 1


@pytest.mark.parametrize("status", [413, 429])
def test_a_refused_request_costs_nothing(make, server, status):
    server.in_turn(error(status, "not this one"), completion('{"city": "Ur"}'))
    llm = make(usd_per_million=(0.0, 1000.0), max_usd=0.1, max_retries=0, concurrency=1)
    assert [answer.outcome for answer in llm.ask(questions(2, max_tokens=90), progress=False)] == ["failed", "answered"]


def test_retries_are_paid_for_like_first_attempts(make, server):
    server.answer = lambda body: error(500, "out of order")
    llm = make(usd_per_million=(0.0, 1000.0), max_usd=0.022)  # an attempt costs at most 0.005
    answers = llm.ask(questions(4, max_tokens=5), progress=False)
    assert len(server.asked) == 4
    assert "raise max_usd" in answers[-1].text


def test_attempts_that_time_out_are_paid_for(make, server):
    server.seconds = 0.4
    llm = make(usd_per_million=(0.0, 1000.0), max_usd=0.012, timeout=0.1)  # an attempt costs at most 0.005
    ask = llm.ask(questions(1, max_tokens=5), progress=False)
    assert (ask[0].outcome, len(server.asked)) == ("not asked", 2)


def test_a_server_that_was_never_reached_costs_nothing(make, tmp_path):
    llm = make(base_url="http://127.0.0.1:9/v1", usd_per_million=(0.0, 1000.0), max_retries=0)
    with pytest.raises(LLMError):
        llm.ask(questions(1, max_tokens=5), progress=False)
    assert AnswerCache(tmp_path / "cache.sqlite").spent() == 0


def test_what_was_spent_is_what_the_answers_cost(make, tmp_path):
    answers = make(usd_per_million=(2.0, 7.0)).ask(questions(5), progress=False)
    assert AnswerCache(tmp_path / "cache.sqlite").spent() == pytest.approx(sum(answer.usd for answer in answers))


@pytest.mark.parametrize("said", ["answer", "failure"])
def test_starting_again_brings_no_new_budget(make, server, said):
    server.answer = lambda body: completion('{"city": "Ur"}') if said == "answer" else error(500, "out of order")
    for start in range(4):
        llm = make(f"fake-{start}", usd_per_million=(0.0, 1000.0), max_usd=0.022, max_retries=0)
        llm.ask(questions(3, max_tokens=5), progress=False)
    assert len(server.asked) == 4, "as many as 0.022 covers at 0.005 each"


def test_an_attempt_of_a_killed_process_counts_the_most_it_may_have_cost(make, server, tmp_path):
    AnswerCache(tmp_path / "cache.sqlite").set_aside(0.018, limit=1.0)  # and nobody came to settle it
    llm = make(usd_per_million=(0.0, 1000.0), max_usd=0.022)
    assert llm.ask(questions(1, max_tokens=5), progress=False)[0].outcome == "not asked"
    assert server.asked == []


def test_all_who_ask_at_once_through_one_file_share_its_budget(make, server):
    server.seconds = 0.05
    clients = [make(f"fake-{place}", usd_per_million=(0.0, 1000.0), max_usd=0.052) for place in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda llm: llm.ask(questions(9, max_tokens=5), progress=False), clients))
    assert len(server.asked) == 10


def test_spending_that_is_damaged_is_said_before_anything_is_asked(make, server, tmp_path):
    make(usd_per_million=(0.0, 1000.0)).ask(questions(1, max_tokens=5), progress=False)
    with sqlite3.connect(tmp_path / "cache.sqlite") as connection:
        connection.execute("UPDATE attempts SET usd = usd / 2")
    connection.close()
    with pytest.raises(LLMError, match=r"what was spent through .*cache\.sqlite is damaged; move the file away"):
        make(usd_per_million=(0.0, 1000.0)).ask(questions(2, max_tokens=5), progress=False)
    assert len(server.asked) == 1


def test_a_budget_that_is_raised_goes_on_where_it_stopped(make, server):
    make(usd_per_million=(0.0, 1000.0), max_usd=0.012).ask(questions(6, max_tokens=5), progress=False)
    answers = make(usd_per_million=(0.0, 1000.0), max_usd=1.0).ask(questions(6, max_tokens=5), progress=False)
    assert [answer.outcome for answer in answers] == ["answered"] * 6
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"base_url": "https://example.org/v1"}, "price of 'fake-1' at https://example.org/v1 is not known"),
        ({"base_url": None}, "pass usd_per_million"),
        ({"usd_per_million": (1.0,)}, "pass two prices"),
        ({"usd_per_million": (1.0, -1.0)}, "pass two prices"),
        ({"max_usd": -1.0}, "max_usd is -1"),
        ({"max_usd": float("nan")}, "max_usd is nan"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"base_url": "localhost:8000"}, "pass an address such as"),
        ({"base_url": "http://localhost:eight/v1"}, "pass an address such as"),
        ({"base_url": "http://[::1/v1"}, "pass an address such as"),
        ({"base_url": "https://me:secret@example.org/v1"}, "holds a user, a password or a query"),
        ({"base_url": "me:secret@example.org"}, "holds a user, a password or a query"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, settings, complaint):
    with pytest.raises(LLMError, match=complaint) as caught:
        make(**settings)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "settings", "complaint"),
    [
        ("gpt-4o", {}, "there is no key for https://api.openai.com/v1; set OPENAI_API_KEY"),
        ("gpt-0", {}, "price of 'gpt-0' at https://api.openai.com/v1 is not known"),
        ("gpt-4o", {"base_url": "localhost:8000"}, "pass an address such as"),
        ("gpt-4o", {"base_url": "http://me:secret@localhost/v1"}, "holds a user, a password"),
        (
            "gpt-4o",
            {"base_url": "https://example.org/v1", "usd_per_million": (1.0, 1.0)},
            "no key for https://example.org/v1",
        ),
        ("gpt-4o", {"max_usd": -1.0}, "max_usd is -1"),
    ],
)
def test_before_a_long_recording_it_can_be_checked_whether_anything_could_be_asked(
    monkeypatch, model, settings, complaint
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(LLMError, match=complaint):
        check(model, **settings)


def test_what_can_be_asked_passes_the_check_and_is_not_asked(server, monkeypatch):
    check("fake-1", base_url=server.base_url)
    check("gpt-4o", usd_per_million=(0.0, 0.0))
    monkeypatch.delenv("OPENAI_API_KEY")
    check("fake-1", base_url=server.base_url)
    assert server.asked == []


def test_a_key_with_a_line_end_is_sent_without_it(make, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-9d1e6c3ba25f\r\n")
    assert ask_one(make()).outcome == "answered"
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["sk-“quoted”", "sk-two\nlines"])
def test_a_key_that_cannot_be_sent_is_said_without_showing_it(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(LLMError, match="OPENAI_API_KEY holds a character that no key has") as caught:
        check("gpt-4o")
    assert key not in str(caught.value)


@pytest.mark.parametrize("asked", ["ask", "price"])
def test_half_a_character_in_a_message_is_said_before_anything_is_asked(make, server, asked):
    request = Request([{"role": "user", "content": "Which city is \ud83d?"}], City)
    with pytest.raises(LLMError, match=r"lone surrogate '\\ud83d', after .*Which city is "):
        getattr(make(), asked)([*questions(2), request])
    assert server.asked == []


# ---- many at once


def test_no_more_requests_are_in_flight_than_allowed(make, server):
    server.seconds = 0.05
    make(concurrency=3).ask(questions(12), progress=False)
    assert server.most_at_once == 3


def test_it_can_be_asked_within_a_running_event_loop(make):
    import asyncio

    async def cell():
        return ask_one(make())

    assert asyncio.run(cell()).outcome == "answered"


def test_a_run_without_a_watcher_says_how_far_it_is(make, monkeypatch, capsys):
    monkeypatch.setenv("ATTNENT_HEADLESS", "1")
    make().ask(questions(3))
    assert "asking fake-1: 3 of 3" in capsys.readouterr().out


# ---- secrets


def test_no_key_header_or_cookie_is_in_any_file(make, server, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-9d1e6c3ba25f")
    echo = json.dumps({"city": f"{KEY} org-9d1e6c3ba25f"})
    with_cookie = Response(json.dumps(completion(echo)), headers={"Set-Cookie": "session=c00k1e"})
    server.in_turn(with_cookie, error(400, f"bad key {KEY} of org-9d1e6c3ba25f"), completion(None), completion(echo))
    answers = make(concurrency=1).ask(questions(4), progress=False)
    assert any(KEY in value for value in server.headers[0].values()), "the server did get the key"
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()) + repr(answers).encode()
    for secret in (KEY, "org-9d1e6c3ba25f", "c00k1e", "Bearer", "Authorization"):
        assert secret.encode() not in kept


def test_a_short_placeholder_key_is_not_searched_for_in_answers(make, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server.answer = lambda body: completion('{"city": "none of them"}')
    assert ask_one(make()).value == City(city="none of them")
