"""Solutions that other models wrote: loaded with their labels, read by replay, graded as their file says."""

import json

import pandas as pd
import pytest

import attnent as ae
from attnent.tasks import TaskError, gsm8k

QUESTION = "Ida has {} plums and buys 2 more. How many?"
RIGHT, WRONG = "{0} + 2 = <<{0}+2={1}>>{1} plums\nA: {1}", "{0} + 2 = <<{0}+2={2}>>{2} plums\nA: {2}"


def solution(k: int, is_right: bool) -> str:
    return (RIGHT if is_right else WRONG).format(k, k + 2, k + 3)


def by_problem(n: int = 4) -> list[dict]:
    """As OpenAI's example_model_solutions.jsonl has them."""
    return [
        {
            "question": QUESTION.format(k),
            "ground_truth": f"{k} + 2 = {k + 2}\nA: {k + 2}",
            "small": {"is_correct": k % 2 == 0, "solution": solution(k, k % 2 == 0)},
            "large": {"is_correct": True, "solution": solution(k, True)},
        }
        for k in range(n)
    ]


def by_solution(n: int = 4, **more) -> list[dict]:
    return [
        {"question": QUESTION.format(k), "answer": f"#### {k + 2}", "solution": solution(k, True), "is_correct": True}
        | more
        for k in range(n)
    ]


@pytest.fixture
def file(tmp_path):
    def write(rows: list[dict]):
        path = tmp_path / "solutions.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return path

    return write


def test_a_file_by_problem_gives_a_row_a_solution(file):
    examples = gsm8k.load(file(by_problem()), n=8).set_index(["group", "writer"])
    assert len(examples) == 8
    assert examples["label"].value_counts().to_dict() == {"correct": 6, "incorrect": 2}
    assert examples.groupby(level="group").size().tolist() == [2] * 4


def test_each_solution_has_its_own_label_and_writer(file):
    for row in gsm8k.load(file(by_problem()), n=8).itertuples():
        k = int(row.gold) - 2
        is_right = row.writer == "large" or k % 2 == 0
        assert row.label == ("correct" if is_right else "incorrect")
        assert row.text.endswith(f"A: {k + 2 if is_right else k + 3}")


def test_the_marks_of_a_calculator_are_taken_off(file):
    texts = gsm8k.load(file(by_problem()), n=8)["text"]
    assert not texts.str.contains("<<").any()
    assert "0 + 2 = 2 plums\nA: 2" in set(texts)


def test_a_file_by_solution_is_read_alike(file):
    examples = gsm8k.load(file(by_solution(model="mine")), n=4)
    assert set(examples["label"]) == {"correct"}
    assert set(examples["writer"]) == {"mine"}
    assert set(gsm8k.load(file(by_solution()), n=4)["writer"]) == {"unknown"}


def test_by_problem_a_label_of_the_whole_row_is_none_of_its_solutions(file):
    examples = gsm8k.load(file([row | {"is_correct": False, "writer": "who"} for row in by_problem()]), n=8)
    assert examples["label"].value_counts().to_dict() == {"correct": 6, "incorrect": 2}
    assert set(examples["writer"]) == {"small", "large"}


def test_a_column_called_label_in_a_file_of_problems_is_no_label(file):
    problems = [{"question": QUESTION.format(k), "answer": f"#### {k + 2}", "label": "hard"} for k in range(4)]
    assert "label" not in gsm8k.load(file(problems), n=4)


def without(rows: list[dict], name: str) -> list[dict]:
    return [{key: cell for key, cell in row.items() if key != name} for row in rows]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (without(by_solution(), "is_correct"), "4 solutions of .* have no label, `is_correct` true or false.*row 0"),
        (by_solution(is_correct="yes"), "4 solutions of .* have no label"),
        ([*by_solution(3), *by_solution(1, is_correct=None)], "1 solutions of .* have no label.*row 3"),
        (by_solution(solution=" "), "4 solutions of .* are empty"),
        (without(by_solution(), "answer"), "lacks the columns 'answer'"),
        ([row | {"small": {"solution": "A: 3"}} for row in by_problem(2)], "2 solutions of .* have no label"),
        ([row | {"small": None} for row in by_problem(3)[:1]] + by_problem(1), "1 solutions of .* have no label"),
        (by_solution(30, is_correct=None), "row 19 and 10 more"),
    ],
)
def test_a_file_of_solutions_that_cannot_be_used_is_one_clear_sentence(file, rows, says):
    with pytest.raises(TaskError, match=says) as raised:
        gsm8k.load(file(rows), n=1)
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reading")
    path = folder / "solutions.jsonl"
    rows = by_problem()
    rows[1]["large"]["is_correct"] = False  # the file says so, whatever its text says
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    examples = gsm8k.load(path, n=8)
    return ae.record(*ae.load_model("tiny"), examples, task="gsm8k", reads="text", out_dir=folder, progress=False)


def test_solutions_that_were_read_have_the_grades_of_their_file(run):
    grades = gsm8k.grade_run(run)
    labels = run.examples.set_index("id")["label"]
    assert grades.to_dict() == labels.to_dict()
    assert set(run.labels("grades")["judge"]) == {gsm8k.LABELLED}


def test_no_solution_that_was_read_counts_as_cut(run):
    assert set(run.responses["finish_reason"]) == {"given"}
    rules = gsm8k.grades_by_rule(run.responses)
    assert set(rules["this reading"]) == {"correct", "incorrect"}


def test_the_critic_examines_what_the_file_calls_wrong(run):
    marked = ae.critic.mark(run, "arithmetic")
    labels = run.examples.set_index("id")["label"]
    assert set(marked["response_id"]) == set(labels.index[labels == "incorrect"])
    assert (marked["outcome"] == "found").sum() == 2  # the third is right in all but its label
    assert isinstance(marked, pd.DataFrame)
