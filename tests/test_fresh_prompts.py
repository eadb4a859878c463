"""Fresh prompts by the command, over real HTTP: none twice, alike in length, in a file that notebook 01 takes."""

import json
import random
import re

import numpy as np
import pytest
from fake_openai import KEY, completion, error

from attnent.analysis import comparison as stats
from attnent.study.command import main
from attnent.tasks.factual_creative import load

WORDS = [
    a + b for a in ("bal", "cor", "dun", "fel", "gim", "hos", "jar", "kep") for b in ("a", "ith", "on", "ula", "ex")
]


def batch(body: dict) -> list[str]:
    """20 prompts of made-up words, always the same for one request: creative ones a few words longer."""
    asked = body["messages"][-1]["content"]
    rng = random.Random(asked + str(body.get("seed", "")))
    extra = 4 if "made up: a story" in asked else 0
    return [" ".join(rng.choices(WORDS, k=rng.randint(8, 16) + extra)) for _ in range(20)]


@pytest.fixture
def command(server, tmp_path):
    """Runs `attnent prompts` into tmp_path; gives the exit status and the file."""
    out = tmp_path / "fresh.json"

    def run(*more: str) -> int:
        return main(["prompts", "--llm", "fake-1", "--base-url", server.base_url, "--out", str(out), *more])

    return run, out


def answer_batches(body: dict) -> dict:
    return completion(json.dumps({"prompts": batch(body)}))


def test_the_file_is_one_that_notebook_01_takes(command, server, capsys):
    run, out = command
    server.answer = answer_batches
    assert run("--n", "30") == 0
    table = load(out, n=30)
    assert table["kind"].value_counts().to_dict() == {"factual": 30, "creative": 30}
    assert "AUROC of length" in capsys.readouterr().out


def test_chosen_prompts_are_closer_in_length_than_those_written(command, server):
    run, out = command
    server.answer = answer_batches
    run("--n", "30")
    written = {"factual": [], "creative": []}
    for body in server.asked:
        asked = body["messages"][-1]["content"]
        written["creative" if "made up: a story" in asked else "factual"] += map(len, map(str.split, batch(body)))
    chosen = {kind: [len(text.split()) for text in json.loads(out.read_text())[kind]] for kind in written}
    before, after = (
        abs(stats.auroc(np.array(one["creative"]), np.array(one["factual"])) - 0.5) for one in (written, chosen)
    )
    assert before > 0.3
    assert after < before / 2


def test_neither_near_duplicates_nor_shipped_prompts_are_taken(command, server):
    run, out = command
    shipped = load("shipped", n=100)["prompt"].tolist()

    def repetitive(body):
        prompts = batch(body)
        return completion(json.dumps({"prompts": [shipped[0].upper(), *prompts, prompts[0] + "!", "", "two\nlines"]}))

    server.answer = repetitive
    assert run("--n", "20") == 0
    prompts = [text for kind in ("factual", "creative") for text in json.loads(out.read_text())[kind]]
    plain = [" ".join(sorted(re.findall(r"\w+", text.casefold()))) for text in prompts]
    assert len(set(plain)) == len(plain) == 40
    assert shipped[0].upper() not in prompts
    assert all(text.strip() and "\n" not in text for text in prompts)


def test_a_second_run_asks_for_nothing_and_gives_the_same(command, server):
    run, out = command
    server.answer = answer_batches
    run("--n", "30")
    n_asked, first = len(server.asked), out.read_bytes()
    out.unlink()
    assert run("--n", "30") == 0
    assert len(server.asked) == n_asked
    assert out.read_bytes() == first


def test_a_batch_that_cannot_be_read_is_made_up_for(command, server):
    run, out = command
    calls = []

    def sometimes(body):
        calls.append(body)
        return completion("I would rather not.") if len(calls) % 3 == 0 else answer_batches(body)

    server.answer = sometimes
    assert run("--n", "30") == 0
    assert len(load(out, n=30)) == 60


def test_too_few_prompts_write_nothing_and_say_how_many_there_were(command, server, capsys):
    run, out = command
    server.answer = lambda body: completion(json.dumps({"prompts": ["Tell me about the only thing there is."]}))
    assert run("--n", "5") == 2
    message = capsys.readouterr().err
    assert "only 1 factual and 0 creative prompts of 5" in message
    assert not out.exists()


def test_the_budget_stops_the_asking_and_keeps_what_was_answered(command, server, capsys):
    run, out = command
    usage = {"prompt_tokens": 300, "completion_tokens": 1_500}
    server.answer = lambda body: answer_batches(body) | {"usage": usage}
    prices = ("--usd-per-million", "10", "100")
    assert run("--n", "60", "--max-usd", "0.3", *prices) == 2
    assert "not asked" in capsys.readouterr().err
    assert not out.exists()
    n_asked = len(server.asked)
    assert n_asked > 0
    assert run("--n", "60", "--max-usd", "30", *prices) == 0
    bodies = [json.dumps(body) for body in server.asked]
    assert len(set(bodies[:n_asked])) == n_asked
    assert not set(bodies[:n_asked]) & set(bodies[n_asked:])


def test_a_file_that_is_there_is_not_written_over(command, server, capsys):
    run, out = command
    out.write_text("mine")
    assert run() == 2
    assert out.read_text() == "mine"
    assert server.asked == []
    assert "exists already" in capsys.readouterr().err


def test_no_key_is_in_any_file_or_message(command, server, tmp_path, capsys, monkeypatch):
    run, _ = command
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.answer = answer_batches
    run("--n", "10")
    server.answer = lambda body: error(401, f"Incorrect API key provided: {KEY}")
    assert run("--n", "200") == 2
    said = capsys.readouterr()
    assert KEY not in said.out + said.err
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert KEY.encode() not in path.read_bytes(), path


def test_without_a_key_the_command_says_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert main(["prompts", "--llm", "gpt-4o-mini", "--out", str(tmp_path / "fresh.json")]) == 2
    assert "OPENAI_API_KEY" in capsys.readouterr().err


def test_no_prompts_at_all_cannot_be_asked_for(command, capsys):
    run, _ = command
    assert run("--n", "0") == 2
    assert "at least 1" in capsys.readouterr().err
