"""SimpleQA judged by a language model over real HTTP: what it says is a grade, everything else is none."""

import json

import pandas as pd
import pytest
from fake_openai import KEY, completion
from spelt import spelt_trace

from attnent.analysis.grades import agreement
from attnent.llm import LLM
from attnent.runs import Run
from attnent.tasks import simpleqa

ANSWERS = {"Paris": "CORRECT", "Lyon": "INCORRECT", "I do not know.": "NOT_ATTEMPTED"}


@pytest.fixture
def run(tmp_path) -> Run:
    examples = pd.DataFrame(
        {
            "id": [f"question-{number}" for number in range(len(ANSWERS))],
            "prompt": "What is the capital of France?",
            "question": "What is the capital of France?",
            "gold": "Paris",
        }
    )
    run = Run.start(tmp_path / "run", identity={"task": "simpleqa"}, examples=examples)
    for name, response in zip(examples["id"], ANSWERS, strict=True):
        run.save(name, spelt_trace(response).assign_attrs(finish_reason="eos"))
    return run


def asked_about(body: dict) -> dict[str, str]:
    """The case that a request to the judge holds."""
    text = body["messages"][-1]["content"].split("meant for you.", 1)[1]
    return json.JSONDecoder().raw_decode(text.strip())[0]


def judge(run: Run, server) -> LLM:
    return LLM("judge-1", cache=run.folder / "llm_cache.sqlite", base_url=server.base_url)


def test_grades_are_those_of_the_model_and_are_kept_under_its_name(run, server):
    server.answer = lambda body: completion(json.dumps({"grade": ANSWERS[asked_about(body)["answer"]]}))
    grades = simpleqa.grade(run, judge(run, server), progress=False)
    assert grades.tolist() == ["correct", "incorrect", "not_attempted"]
    kept = run.labels("grades")
    assert set(kept["judge"]) == {"judge-1"}
    assert kept.set_index("response_id")["grade"].to_dict() == grades.to_dict()


def test_the_judge_is_asked_by_schema_for_one_of_three_words_and_sees_question_reference_and_answer(run, server):
    server.answer = lambda body: completion('{"grade": "CORRECT"}')
    simpleqa.grade(run, judge(run, server), progress=False)
    for body in server.asked:
        schema = body["response_format"]["json_schema"]["schema"]
        assert schema["properties"]["grade"]["enum"] == ["CORRECT", "INCORRECT", "NOT_ATTEMPTED"]
        assert asked_about(body)["reference"] == "Paris"
    assert {asked_about(body)["answer"] for body in server.asked} == set(ANSWERS)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (completion("INCORRECT"), "malformed"),
        (completion('{"grade": "MAYBE"}'), "malformed"),
        (completion(None, message={"refusal": "I cannot grade this."}), "refused"),
        (completion('{"grade": "COR', finish_reason="length"), "cut off"),
        (completion("", finish_reason="content_filter"), "filtered"),
    ],
)
def test_what_is_no_grade_is_kept_visibly_and_counted_nowhere(run, server, answer, outcome):
    server.answer = lambda body: answer
    grades = simpleqa.grade(run, judge(run, server), progress=False)
    assert set(grades) == {outcome}
    assert set(run.labels("grades")["grade"]) == {outcome}
    offline = simpleqa.grade_offline(run)
    assert agreement(offline, grades, simpleqa.OUTCOMES).table.to_numpy().sum() == 0


def test_both_judges_stand_side_by_side_and_are_compared(run, server):
    server.answer = lambda body: completion(json.dumps({"grade": ANSWERS[asked_about(body)["answer"]]}))
    by_model = simpleqa.grade(run, judge(run, server), progress=False)
    offline = simpleqa.grade_offline(run)
    assert run.labels("grades").groupby("judge").size().to_dict() == {"judge-1": 3, simpleqa.OFFLINE: 3}
    table = agreement(offline.rename("rules"), by_model.rename("model"), simpleqa.OUTCOMES).table
    assert table.to_numpy().trace() == 3


def test_a_second_judging_asks_nothing_and_no_key_is_in_any_file(run, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.answer = lambda body: completion('{"grade": "CORRECT"}')
    first = simpleqa.grade(run, judge(run, server), progress=False)
    n_asked = len(server.asked)
    assert simpleqa.grade(run, judge(run, server), progress=False).equals(first)
    assert len(server.asked) == n_asked == len(ANSWERS)
    assert any(KEY in value for headers in server.headers for value in headers.values())
    for path in (path for path in run.folder.rglob("*") if path.is_file()):
        assert KEY.encode() not in path.read_bytes(), path


def test_a_language_model_tells_whether_two_answers_say_the_same(run, server):
    server.answer = lambda body: completion(
        json.dumps({"grade": "CORRECT" if asked_about(body)["answer"] == "in Oslo" else "NOT_ATTEMPTED"})
    )
    same = simpleqa.same_answer_by(judge(run, server))
    assert same("Where?", "Oslo", "in Oslo")
    assert not same("Where?", "Oslo", "who knows")
    assert asked_about(server.asked[0]) | {"reference": "Oslo", "answer": "in Oslo"} == asked_about(server.asked[0])
