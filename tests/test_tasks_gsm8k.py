"""GSM8K: examples, reading answers, grading."""

import json
import os
import re
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnent.tasks import TaskError, gsm8k
from attnent.tasks.gsm8k import grade, grade_flexible, grade_strict, read_answer, surface
from attnent.tiny import world

SHARED = os.environ.get("ATTNENT_SHARED")
needs_shared = pytest.mark.skipif(not SHARED, reason="ATTNENT_SHARED names no folder with the real GSM8K files")

PROBLEMS = [
    {
        "question": f"Ida has {k} plums and buys 2 more. How many?",
        "answer": f"{k} + 2 = {k + 2}.\nSo many.\n#### {k + 2}",
    }
    for k in range(11)
]


def jsonl(folder: Path, rows: list) -> Path:
    path = folder / "problems.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


# ----------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("$18.00", 18),
        (r"\boxed{18}", 18),
        ("**18**", 18),
        ("18 mph (over 3 hours)", 18),
        ("1,080", 1080),
        ("1,00,000", 100_000),
        (r"1{,}080", 1080),
        ("-3", -3),
        ("−3", -3),
        ("-$5", -5),
        ("$-5", -5),
        ("3/4", Fraction(3, 4)),
        ("½", Fraction(1, 2)),
        ("1½", Fraction(3, 2)),
        ("1 1/2", Fraction(3, 2)),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"$1\frac{1}{2}$", Fraction(3, 2)),
        (r"$\boxed{\dfrac{3}{4}}$", Fraction(3, 4)),
        ("18 - 2 = 16", 16),
        ("１８", 18),
        ("٣٤", 34),
        ("50%", 50),
        (r"50\%", 50),
        ("18 apples.", 18),
        (".5", Fraction(1, 2)),
        ("2 million", 2_000_000),
        ("18 m²", 18),
        ("1 000", 1000),
        ("1'000", 1000),
        ("10^3", 1000),
        ("10³", 1000),
        (r"1.8\times 10^{1}", 18),
        (r"\dfrac{-36}{-2}", 18),
        ("20 - 2, so 18", 18),
        ("2 * 9", 18),
        ("2 × 9", 18),
        ("36 / 2", 18),
        ("half", Fraction(1, 2)),
        ("two and a half", Fraction(5, 2)),
        ("2 and a half", Fraction(5, 2)),
        ("three quarters", Fraction(3, 4)),
        ("half a dozen", 6),
        ("18 or more", 18),
    ],
)
@pytest.mark.parametrize(
    "sentence", ["{}", "The final answer is {}", "So **the answer is** {}.", "20 - 4 = 16\n\nAnswer: {}"]
)
def test_a_number_is_read_however_it_is_written(sentence, written, value):
    assert read_answer(sentence.format(written)).value == value


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("The final answer is 18", "final answer"),
        ("**Final Answer**\n18", "final answer"),
        ("#### 18", "####"),
        (r"So \[\boxed{x = 18}\]", "boxed"),
        ("The answer is 18.", "the answer is"),
        ("Answer: 18", "answer:"),
        ("So 20 - 2 = 18\nA: 18", "A:"),
        ("They have 18", "last"),
    ],
)
def test_how_the_number_was_found_is_recorded(text, how):
    assert read_answer(text) == (18, how)


def test_a_text_without_a_number_has_no_answer():
    assert read_answer("I cannot solve this.") == (None, "none")


@pytest.mark.parametrize("written", ["18 or 20", "18 or 20 dollars", "18 dollars or 20 dollars", "eighteen or twenty"])
@pytest.mark.parametrize("sentence", ["{}", "The final answer is {}", "It was 7. So **the answer is** {}."])
def test_of_two_numbers_to_choose_from_none_is_the_answer(sentence, written):
    assert read_answer(sentence.format(written)) == (None, "none")


def test_one_quantity_in_two_units_is_no_choice():
    assert read_answer("The final answer is 1.5 hours or 90 minutes").value == Fraction(3, 2)


@pytest.mark.parametrize("written", ["5-10", "5 - 3 of them", "5 / 0", "5 ** 999"])
def test_what_cannot_be_calculated_is_read_at_its_first_number(written):
    assert read_answer(f"The final answer is {written}").value == 5


def test_the_last_anchor_counts():
    assert read_answer("The answer is 5. No: the final answer is 7.").value == 7


def test_an_anchor_without_a_number_is_passed_over():
    assert read_answer("The final answer is 7.\n#### Step by step").value == 7


def test_a_heading_of_four_hashes_is_no_answer():
    assert read_answer("#### 1. Total cost\nIt is 20").value == 20


def test_number_words_count_after_an_anchor():
    assert read_answer("The final answer is twenty-one.").value == 21


def test_what_the_answer_is_not_is_passed_over():
    assert read_answer("The answer is not 20 but 18.").value == 18


def test_a_solution_that_starts_with_a_label_is_read_at_its_end():
    assert read_answer("A: She has 16 eggs and eats 3.\n16 - 3 = 13\nand 13 * 2 = 26").value == 26


@given(st.integers())
def test_every_integer_is_read_exactly(n):
    assert read_answer(f"The final answer is {n}").value == n


@given(st.integers(-(10**12), 10**12))
def test_thousands_separators_change_nothing(n):
    assert read_answer(f"The final answer is ${n:,}.").value == n


@given(st.integers(-999, 999), st.integers(1, 999))
def test_every_fraction_is_read_exactly(top, bottom):
    assert read_answer(f"The final answer is {top}/{bottom}").value == Fraction(top, bottom)


@given(st.decimals(-(10**6), 10**6, places=3))
def test_every_decimal_is_read_exactly(number):
    assert read_answer(f"\\boxed{{{number}}}").value == Fraction(number)


@given(st.text())
def test_reading_never_raises(text):
    assert read_answer(text).how in {"final answer", "####", "boxed", "the answer is", "answer:", "A:", "last", "none"}


HOSTILE = [
    *(
        "1",
        "1,",
        "1,222",
        "1 ",
        "####",
        "\\boxed{",
        "final answer ",
        "the answer ",
        "<<",
        "\\frac{1",
        "(",
        "twenty ",
        "½",
    ),
    *("-", "\n", " ", "\u0301", "\u202e7", "שלום 3 ", "not 1", "e\u0301\u0323", "A: ", "9" * 50 + " ", "2 * ", "1 or "),
    *("1 000 ", "10^3 ", "2 - ", "half ", "2 and a half "),
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hundred_thousand_characters_are_read_in_time(piece):
    start = time.process_time()
    read_answer(piece * (100_000 // len(piece)))
    assert time.process_time() - start < 2  # a second, and as much again for the type checks of the tests


# ----------------------------------------------------------------------------------------------------------- grading


@pytest.mark.parametrize(("response", "outcome"), [("#### 18", "correct"), ("#### 19", "incorrect"), ("", "incorrect")])
def test_a_response_is_graded_by_its_number(response, outcome):
    assert grade(response, "18") == outcome


def test_a_response_cut_at_the_limit_is_truncated_whatever_it_says():
    assert grade("The final answer is 18", "18", finish_reason="length") == "truncated"


def test_a_whole_gold_solution_can_be_the_gold_answer():
    assert grade("The final answer is 1080", "12 * 90 = 1080\n#### 1,080") == "correct"


def test_a_gold_answer_without_a_number_is_an_error():
    with pytest.raises(TaskError, match="gold answer 'none' holds no number"):
        grade("18", "none")


@pytest.mark.parametrize(
    ("response", "strict", "flexible"),
    [
        ("#### 1,080", "correct", "correct"),
        ("The final answer is $1080.", "incorrect", "correct"),
        ("#### $1080", "incorrect", "correct"),
        ("#### 1080 (over 3 hours)", "correct", "incorrect"),
        ("#### 1080.00", "incorrect", "incorrect"),
        ("", "incorrect", "incorrect"),
    ],
)
def test_the_rules_of_the_field_keep_their_faults(response, strict, flexible):
    assert (grade_strict(response, "1080"), grade_flexible(response, "1080")) == (strict, flexible)


def test_the_strict_rule_has_a_form_for_the_final_answer():
    assert grade_strict("The final answer is 1080", "1,080", form="final answer") == "correct"


def test_every_response_has_its_grade_by_each_rule():
    responses = pd.DataFrame({"response": ["The final answer is 1,080", "#### 1080", "So 7"], "gold": "1080"})
    table = gsm8k.grades_by_rule(responses.assign(response_id=list("abc"), finish_reason=["eos", "length", "eos"]))
    assert table.to_dict("index") == {
        "a": {"this reading": "correct", "strict (####)": "incorrect", "flexible": "correct"},
        "b": {"this reading": "truncated", "strict (####)": "correct", "flexible": "correct"},
        "c": {"this reading": "incorrect", "strict (####)": "incorrect", "flexible": "incorrect"},
    }


def test_without_hashes_the_strict_rule_looks_for_the_final_answer():
    responses = pd.DataFrame({"response_id": ["a"], "response": "The final answer is 7", "gold": "7"})
    table = gsm8k.grades_by_rule(responses.assign(finish_reason="eos"))
    assert table.at["a", "strict (final answer)"] == "correct"


# ---------------------------------------------------------------------------------------------------------- examples


def test_examples_of_a_local_file_have_the_columns_of_the_task(tmp_path):
    table = gsm8k.load(jsonl(tmp_path, PROBLEMS), n=11)
    assert list(table.columns) == ["id", "prompt", "gold", "group", "question", "n_gold_steps", "gold_solution"]
    assert set(table["gold"]) == {str(k + 2) for k in range(11)}
    assert set(table["n_gold_steps"]) == {2}


def test_a_smaller_subset_begins_a_larger_one(tmp_path):
    path = jsonl(tmp_path, PROBLEMS)
    assert list(gsm8k.load(path, n=5, seed=3)["id"]) == list(gsm8k.load(path, n=11, seed=3)["id"])[:5]


def test_another_seed_gives_another_order(tmp_path):
    path = jsonl(tmp_path, PROBLEMS)
    assert list(gsm8k.load(path, n=11, seed=0)["id"]) != list(gsm8k.load(path, n=11, seed=1)["id"])


def test_the_order_of_the_file_does_not_matter(tmp_path):
    forwards = list(gsm8k.load(jsonl(tmp_path, PROBLEMS), n=7)["id"])
    assert list(gsm8k.load(jsonl(tmp_path, PROBLEMS[::-1]), n=7)["id"]) == forwards


def test_the_same_question_twice_has_two_ids_and_one_group(tmp_path):
    table = gsm8k.load(jsonl(tmp_path, [PROBLEMS[0], PROBLEMS[0]]), n=2)
    assert (table["id"].nunique(), table["group"].nunique()) == (2, 1)


def test_more_than_there_is_says_how_many_there_are(tmp_path):
    with pytest.raises(TaskError, match="n is 12, but there are 11 problems"):
        gsm8k.load(jsonl(tmp_path, PROBLEMS), n=12)


def test_gold_answers_that_cannot_be_read_are_listed_together(tmp_path):
    bad = [{"question": "Why?", "answer": "because"}, {"question": "How?", "answer": "#### so"}]
    with pytest.raises(TaskError, match=r"2 gold answers .*\(row 11\), gsm8k-\w+ \(row 12\)"):
        gsm8k.load(jsonl(tmp_path, PROBLEMS + bad), n=2)


def test_a_file_without_the_columns_says_which(tmp_path):
    with pytest.raises(TaskError, match="lacks the columns 'answer'"):
        gsm8k.load(jsonl(tmp_path, [{"question": "Why?"}]), n=1)


def test_a_line_that_is_not_json_is_named(tmp_path):
    (tmp_path / "broken.jsonl").write_text('{"question": "a", "answer": "1"}\n{oops\n')
    with pytest.raises(TaskError, match=r"line 2 of .* is not JSON"):
        gsm8k.load(tmp_path / "broken.jsonl", n=1)


def test_an_unknown_source_names_the_known_ones():
    with pytest.raises(
        TaskError, match="unknown source 'gsm9k': pass 'tiny', 'plain', 'hub' or the path of a jsonl file"
    ):
        gsm8k.load("gsm9k", n=1)


def test_a_hub_that_cannot_be_reached_says_which_file_to_pass(monkeypatch):
    import datasets

    def unreachable(*arguments: object, **settings: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(
        TaskError, match=r"openai/gsm8k cannot be loaded .*no route.*pass as source the path of a jsonl file"
    ):
        gsm8k.load("hub", n=1)


def test_the_hub_gives_the_same_examples_as_the_file(monkeypatch, tmp_path):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *arguments, **settings: datasets.Dataset.from_list(PROBLEMS))
    assert list(gsm8k.load("hub", n=5)["id"]) == list(gsm8k.load(jsonl(tmp_path, PROBLEMS), n=5)["id"])


def test_a_problem_of_the_bundled_world_is_asked_as_it_is():
    table = gsm8k.load("tiny", n=7)
    assert list(table["prompt"]) == list(table["question"])


def test_gold_solutions_of_the_bundled_world_are_graded_correct():
    table = gsm8k.load("tiny", n=101)
    assert {grade(row["gold_solution"], row["gold"]) for row in table.to_dict("records")} == {"correct"}


def test_what_a_problem_of_the_bundled_world_shows_is_what_it_was_made_of():
    made = world.problems(151, seed=2)
    shown = surface(gsm8k.load("tiny", n=151, seed=2))
    for problem in made:
        row = shown.loc[problem.id]
        operators = Counter(step.operator for step in problem.steps)
        assert [row[name] for name in ("n_plus", "n_minus", "n_times", "n_divided")] == [operators[o] for o in "+-*/"]
        assert row["largest_result"] == max(step.result for step in problem.steps)
        assert (row["n_gold_steps"], row["n_children"]) == (problem.n_steps, problem.n_children)
        told = [int(number) for number in re.findall(r"\d+", problem.question)]
        assert (row["n_numbers"], row["largest_number"]) == (len(told), max(told))


def test_what_a_problem_shows_is_counted():
    question = "Lee pays $1,250.50 for two halls. He rents half of them out, twice, for 40%. How much is left?"
    shown = surface(pd.DataFrame({"response_id": ["a"], "question": [question]}))
    assert shown.loc["a"].to_dict() == {
        "n_characters": len(question),
        "n_words": 19,
        "n_sentences": 3,
        "n_numbers": 2,
        "largest_number": 1250.5,
        "n_digits": 8,
        "digit_sum": 17,
        "n_number_words": 1,
        "n_times_words": 2,
    }


@pytest.mark.parametrize(
    ("solution", "counts"),
    [
        ("48/2 = <<48/2=24>>24 clips.\n48+24 = <<48+24=72>>72 clips.\n#### 72", (1, 0, 0, 1, 72)),
        ("She has 3 x 4 = 12 and (12 - 2) * $1.50 = $15.\n#### 15", (0, 1, 2, 0, 15)),
        ("Nothing is worked out: it is a follow-up, 5-a-side.\n#### 5", (0, 0, 0, 0, 0)),
    ],
)
def test_the_operators_of_a_gold_solution_are_counted_once_each(solution, counts):
    shown = surface(pd.DataFrame({"id": ["a"], "question": ["?"], "gold_solution": [solution]}))
    assert tuple(shown.loc["a", ["n_plus", "n_minus", "n_times", "n_divided", "largest_result"]]) == counts


def test_what_a_problem_shows_is_by_response_where_there_are_responses():
    shown = surface(pd.DataFrame({"response_id": ["r"], "id": ["a"], "question": ["?"]}))
    assert (shown.index.name, shown.index.tolist()) == ("response_id", ["r"])


def test_a_table_without_questions_shows_nothing():
    with pytest.raises(TaskError, match="the table of problems lacks the columns 'question'"):
        surface(pd.DataFrame({"id": ["a"]}))


def test_exemplars_are_refused_for_the_bundled_world():
    with pytest.raises(TaskError, match="pass shots=0"):
        gsm8k.load("tiny", n=1, shots=8)


def test_eight_exemplars_make_seventeen_turns(tmp_path):
    turns = gsm8k.load(jsonl(tmp_path, PROBLEMS), n=1, shots=8)["prompt"][0]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 8 + ["user"]


def test_nine_exemplars_are_too_many():
    with pytest.raises(TaskError, match="shots is 9, but there are 8 exemplars"):
        gsm8k.prompt_for("Why?", shots=9)


def test_every_equation_of_the_exemplars_holds():
    import re

    for _, solution in gsm8k.EXEMPLARS:
        for left, right in re.findall(r"([\d.]+ [-+*/] [\d. +*/-]*?[\d.]+) = ([\d.]+\d|\d)", solution):
            assert eval(left) == float(right), (left, right)  # our own text, digits and signs only


def test_the_last_result_of_an_exemplar_is_its_answer():
    for _, solution in gsm8k.EXEMPLARS:
        before, _, answer = solution.rpartition("The final answer is ")
        assert read_answer(before.splitlines()[-1].rsplit("=", 1)[1].split()[0]).value == Fraction(answer)


# --------------------------------------------------------------------------------------------------------- real data


@needs_shared
def test_every_gold_answer_of_the_real_test_set_is_read():
    rows = [json.loads(line) for line in (Path(str(SHARED)) / "data/gsm8k_test.jsonl").read_text().splitlines()]
    wanted = [Fraction(row["answer"].rsplit("####", 1)[1].strip().replace(",", "")) for row in rows]
    assert [read_answer(row["answer"]) for row in rows] == [(value, "####") for value in wanted]
    assert len(rows) == 1319


@needs_shared
def test_every_label_of_real_model_solutions_is_reproduced():
    rows = [
        json.loads(line) for line in (Path(str(SHARED)) / "data/gsm8k_model_solutions.jsonl").read_text().splitlines()
    ]
    graded = [
        (grade(entry["solution"], row["ground_truth"]) == "correct", entry["is_correct"])
        for row in rows
        for entry in row.values()
        if isinstance(entry, dict)
    ]
    assert len(graded) == 5276
    assert all(got == label for got, label in graded)
