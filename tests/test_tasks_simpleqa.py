"""SimpleQA: examples, and the offline judge.

`data/simpleqa_graded.jsonl`: 683 hand-graded answers in five parts, each labelled before the judge saw it. The judge
was written after `development` (239) and `held_out` (157), mended after `fresh` (129) and again after `attacked` (106:
bounds, exceptions, questions denied, refusals that begin with "no", currencies, `C++`), to which `attacked_again` (52)
has the same in other words. At first sight it judged .975, .968, .853, .57 and .981 of them right; the mistakes of
`development`, `fresh` and `attacked` were used to mend it, those of `held_out` never. For answers that nobody had in
mind when the rules were written .853 is the honest figure.
"""

import json
import os
import time
from collections import defaultdict
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnent.tasks import TaskError, simpleqa
from attnent.tasks.simpleqa import judge_offline
from attnent.tiny import world
from tiny_model.grading import outcome

SHARED = os.environ.get("ATTNENT_SHARED")
needs_shared = pytest.mark.skipif(not SHARED, reason="ATTNENT_SHARED names no folder with real SimpleQA rows")

GRADED = [
    json.loads(line)
    for line in (Path(__file__).parent / "data/simpleqa_graded.jsonl").read_text(encoding="utf-8").splitlines()
]
WHO, WHEN, COUNT = (
    "Who painted the mural?",
    "On what day, month, and year did it open?",
    "How many arches does it have?",
)

DATES = st.dates(min_value=date(1000, 1, 1), max_value=date(2099, 12, 31))
MONTHS = [date(2000, month, 1).strftime("%B") for month in range(1, 13)]


def accuracy(by: str) -> dict[str, float]:
    """The share of graded cases that the judge gets right, for each value of a field."""
    right = defaultdict(list)
    for case in GRADED:
        right[case[by]].append(judge_offline(case["question"], case["gold"], case["answer"]) == case["label"])
    return {value: float(np.mean(hits)) for value, hits in right.items()}


# ------------------------------------------------------------------------------------------------------ graded cases


def test_there_are_enough_graded_cases_of_every_label():
    assert pd.Series([case["label"] for case in GRADED]).value_counts().min() >= 60


def test_no_graded_case_stands_twice():
    assert len({(case["question"], case["gold"], case["answer"]) for case in GRADED}) == len(GRADED)


def test_at_least_97_per_cent_of_the_graded_cases_are_judged_right():
    hits = [judge_offline(case["question"], case["gold"], case["answer"]) == case["label"] for case in GRADED]
    assert np.mean(hits) >= 0.97


def test_cases_that_never_shaped_the_judge_are_judged_right_at_96_per_cent():
    assert accuracy("part")["held_out"] >= 0.96


def test_every_kind_of_answer_is_judged_right_at_its_floor():
    floors = defaultdict(lambda: 0.95, {"title": 0.92, "contradiction": 0.9})
    assert {kind: share for kind, share in accuracy("kind").items() if share < floors[kind]} == {}


# -------------------------------------------------------------------------------------------------------------- laws


@given(st.text(min_size=1).filter(lambda text: any(char.isalnum() for char in text)))
def test_the_gold_answer_is_correct(gold):
    assert judge_offline(WHO, gold, gold) == "correct"


@given(st.text(), st.text(), st.text())
def test_judging_never_raises(question, gold, answer):
    assert judge_offline(question, gold, answer) in simpleqa.OUTCOMES


@given(
    st.sampled_from(["Paris", "150 (acceptable range: anything between 148 and 152)", "June 2019"]),
    st.text("\u200f\u0301 .\n…"),
)
def test_an_answer_without_letters_is_not_attempted(gold, answer):
    assert judge_offline(WHO, gold, answer) == "not_attempted"


@given(st.integers(148, 152))
def test_every_number_of_the_range_is_correct(n):
    assert (
        judge_offline(COUNT, "150 (acceptable range: anything between 148 and 152)", f"It has {n} arches.") == "correct"
    )


@given(st.integers(0, 10**9).filter(lambda n: not 148 <= n <= 152))
def test_every_number_outside_the_range_is_incorrect(n):
    assert (
        judge_offline(COUNT, "150 (acceptable range: anything between 148 and 152)", f"It has {n} arches.")
        == "incorrect"
    )


@given(DATES)
def test_a_date_is_recognised_in_every_order(day):
    month = MONTHS[day.month - 1]
    gold = f"{month} {day.day}, {day.year}"
    for written in (f"{day.day} {month} {day.year}", f"{month[:3]}. {day.day}, {day.year}", day.isoformat()):
        assert judge_offline(WHEN, gold, f"It opened on {written}.") == "correct"


@given(DATES)
def test_a_date_without_its_day_is_not_attempted(day):
    month = MONTHS[day.month - 1]
    assert judge_offline(WHEN, f"{day.day} {month} {day.year}", f"It opened in {month} {day.year}.") == "not_attempted"


@given(
    st.sampled_from(["{}", "It was {}.", "I think it was {}.", "**{}**", "The answer is {}."]), st.sampled_from(GRADED)
)
def test_the_gold_answer_in_a_sentence_is_correct(sentence, case):
    if case["gold"] not in ("No", "May"):
        assert judge_offline(case["question"], case["gold"], sentence.format(case["gold"].rstrip("."))) == "correct"


@pytest.mark.parametrize("wrapping", ["**{}**", "1. {}", "As of my last knowledge update in 2023, {}"])
def test_markup_and_a_preamble_change_hardly_a_verdict(wrapping):
    cases = GRADED[::3]
    as_it_is = [judge_offline(case["question"], case["gold"], case["answer"]) for case in cases]
    wrapped = [judge_offline(case["question"], case["gold"], wrapping.format(case["answer"])) for case in cases]
    assert np.mean([one == other for one, other in zip(as_it_is, wrapped, strict=True)]) >= 0.985


@pytest.mark.parametrize(
    ("gold", "answer", "label"),
    [
        ("The Louvre", "Louvre", "correct"),
        ("St. Moritz", "Saint Moritz", "correct"),
        ("Ada Marsh", "Nils Falk\nAda Marsh", "incorrect"),
        ("1 July 1999", "The answer is 1 July 1999 or 2 July 1999.", "incorrect"),
    ],
)
def test_what_no_graded_case_shows_is_judged_right(gold, answer, label):
    assert judge_offline("Which is meant?", gold, answer) == label


def test_a_currency_that_only_the_question_names_counts():
    assert judge_offline("How much, in euros, was the fine?", "5", "$5") == "incorrect"


def test_nothing_of_another_kind_is_nought():
    assert judge_offline("How much did it cost?", "0 euros", "$5") == "incorrect"
    assert judge_offline("How long is it?", "0 metres", "It took 5 hours.") == "incorrect"


HOSTILE = [
    *("Paris, or ", "not ", "I don't ", "I not ", "1,222", " ", "(", "(1)", "a.b. ", "23 October ", "\u0301", "مرحبا "),
    *("A and ", "x", "1", "-", "\n", "* ", "It was A. ", "no information ", "twenty ", "\u202eabc", "שלום ", "ẹ́", "½"),
    *("1/2/", "or ", "A/", "Paris? No. ", "before 1999 ", "more than 5 ", "no, ", "1 000 ", "2 and a half ", "C++ "),
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hundred_thousand_characters_are_judged_in_time_as_answer_as_gold_answer_and_as_question(piece):
    long = piece * (100_000 // len(piece))
    start = time.process_time()
    judge_offline(WHO, "Paris", long)
    judge_offline(WHO, long, "It was Paris (1).")
    judge_offline(long, "Paris", "It was Paris (1).")
    assert time.process_time() - start < 2  # a second, and as much again for the type checks of the tests


# ----------------------------------------------------------------------------------------------------- bundled world


def test_answers_of_the_bundled_world_are_correct():
    assert {judge_offline(one.question, one.answer, one.answer_text) for one in world.questions(211)} == {"correct"}


def test_answers_about_another_person_of_the_bundled_world_are_judged_as_the_world_judges_them():
    asked = world.questions(211)
    for one, other in pairwise(asked):
        answer = other.answer_text.replace(other.entity, one.entity)
        assert judge_offline(one.question, one.answer, answer) == outcome(one, answer).replace(" ", "_")


def test_examples_of_the_bundled_world_are_grouped_by_person():
    table = simpleqa.load("tiny", n=211)
    assert table["id"].is_unique
    assert all(row["group"] in row["question"] for row in table.to_dict("records"))


def test_examples_of_the_bundled_world_say_their_tier_and_attribute():
    table = simpleqa.load("tiny", n=211)
    assert set(table["tier"]) == {"head", "middle", "tail", "never"}
    assert set(table["attribute"]) == set(world.ATTRIBUTES)


def test_more_questions_than_the_bundled_world_has_are_refused():
    with pytest.raises(TaskError, match=r"cannot give n=5000 questions: .*1500"):
        simpleqa.load("tiny", n=5000)


# ------------------------------------------------------------------------------------------ what a question looks like


def test_what_a_question_shows_is_counted():
    question = "In which year did the “Royal Society” of Newport, founded in 1901, get 2,500 members?"
    shown = simpleqa.surface(pd.DataFrame({"id": ["a"], "question": [question]}))
    assert shown.loc["a"].to_dict() == {
        "n_characters": len(question),
        "n_words": 15,
        "n_capitals": 3,
        "n_numbers": 2,
        "n_years": 1,
    }


def test_each_tier_and_attribute_is_a_column_of_its_own():
    examples = simpleqa.load("tiny", n=101)
    shown = simpleqa.surface(examples)
    for column in ("tier", "attribute"):
        for value in examples[column].unique():
            assert shown[f"{column}_{value}"].tolist() == (examples[column] == value).tolist()


def test_what_is_said_of_real_questions_is_kept_and_shown(tmp_path):
    path = csv(
        tmp_path, problem=["Who?", "When?"], answer=["Ada", "1815"], topic=["Art", "Art"], multi_step=[True, False]
    )
    examples = simpleqa.load(path, n=2)
    shown = simpleqa.surface(examples.rename(columns={"id": "response_id"}))
    assert shown.index.name == "response_id"
    assert shown.filter(like="_step").sum().to_dict() == {"multi_step_False": 1, "multi_step_True": 1}
    assert (shown["topic_Art"] == 1).all()


def test_a_table_without_questions_shows_nothing():
    with pytest.raises(TaskError, match="the table of questions lacks the columns 'question'"):
        simpleqa.surface(pd.DataFrame({"id": ["a"]}))


# ------------------------------------------------------------------------------------------------------- local files


def csv(folder: Path, **columns: list[str]) -> Path:
    pd.DataFrame(columns).to_csv(folder / "questions.csv", index=False)
    return folder / "questions.csv"


def test_a_local_file_gives_its_rows_with_topic_and_kind(tmp_path):
    path = csv(
        tmp_path,
        problem=["Who?", "Where?"],
        answer=["Ada", "York"],
        topic=["Art", "Other"],
        answer_type=["Person", "Place"],
    )
    table = simpleqa.load(path, n=2)
    assert list(table.columns) == ["id", "prompt", "gold", "group", "question", "topic", "answer_type"]


WIKIPEDIA = "https://en.wikipedia.org/wiki"


@pytest.mark.parametrize(
    ("urls", "page"),
    [
        (f"https://a.org/x,{WIKIPEDIA}/Ada_Lovelace,{WIKIPEDIA}/London", "Ada_Lovelace"),
        (f"{WIKIPEDIA}/Paris,_Texas, https://a.org", "Paris,_Texas"),
        (f"['{WIKIPEDIA}/K%C3%B6ln#History', 'https://a.org']", "Köln"),
        (f"https://en.m.wikipedia.org/wiki/Ada_(ship)?action=raw,{WIKIPEDIA}/B", "Ada_(ship)"),
        (f'["{WIKIPEDIA}/Valentine\'s_Day"]', "Valentine's_Day"),
    ],
)
def test_a_question_belongs_to_the_first_wikipedia_page_it_was_written_from(tmp_path, urls, page):
    table = simpleqa.load(csv(tmp_path, problem=["Who?"], answer=["Ada"], urls=[urls]), n=1)
    assert table[simpleqa.CLUSTER].tolist() == [page]


def test_a_question_from_no_wikipedia_page_stands_for_itself(tmp_path):
    path = csv(tmp_path, problem=["Who?", "Where?"], answer=["Ada", "York"], urls=["https://a.org", ""])
    table = simpleqa.load(path, n=2)
    assert table["group"].tolist() == table["id"].tolist()


def test_the_same_question_is_one_group_whatever_it_was_written_from(tmp_path):
    urls = ["https://a.org", f"{WIKIPEDIA}/Ada", f"{WIKIPEDIA}/Other"]
    path = csv(tmp_path, problem=["Who?"] * 3, answer=["Ada"] * 3, urls=urls)
    assert set(simpleqa.load(path, n=3)["group"]) == {"Ada"}


def test_where_a_question_was_written_from_does_not_change_its_id(tmp_path):
    plain = simpleqa.load(csv(tmp_path, problem=["Who?"], answer=["Ada"]), n=1)
    sourced = simpleqa.load(csv(tmp_path, problem=["Who?"], answer=["Ada"], urls=[f"{WIKIPEDIA}/Ada"]), n=1)
    assert plain["id"].equals(sourced["id"])


def test_an_answer_that_reads_like_a_missing_value_stays_text(tmp_path):
    assert list(simpleqa.load(csv(tmp_path, problem=["Which code?"], answer=["NA"]), n=1)["gold"]) == ["NA"]


def test_a_file_without_the_columns_says_which(tmp_path):
    with pytest.raises(TaskError, match="lacks the columns 'problem', 'answer'; found 'q', 'a'"):
        simpleqa.load(csv(tmp_path, q=["Who?"], a=["Ada"]), n=1)


def test_empty_gold_answers_are_listed_together(tmp_path):
    path = csv(tmp_path, problem=["Who?", "Where?", "When?"], answer=["Ada", "", "..."])
    with pytest.raises(TaskError, match=r"2 gold answers .* are empty; .*\(row 1\), .*\(row 2\)"):
        simpleqa.load(path, n=1)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(TaskError, match="cannot be read as csv"):
        simpleqa.load(tmp_path / "empty.csv", n=1)


def test_a_hub_that_cannot_be_reached_says_which_file_to_pass(monkeypatch):
    import datasets

    def unreachable(*arguments: object, **settings: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(
        TaskError, match=r"google/simpleqa-verified cannot be loaded .*pass as source the path of a csv file"
    ):
        simpleqa.load("hub", n=1)


# --------------------------------------------------------------------------------------------------------- real data


@needs_shared
def test_every_real_gold_answer_is_correct_in_a_sentence():
    table = simpleqa.load(Path(str(SHARED)) / "data/simpleqa_verified_sample.csv", n=35)
    assert {
        judge_offline(row["question"], row["gold"], "It was " + row["gold"]) for row in table.to_dict("records")
    } == {"correct"}


@needs_shared
def test_no_real_gold_answer_is_correct_for_another_question():
    table = simpleqa.load(Path(str(SHARED)) / "data/simpleqa_verified_sample.csv", n=35)
    crossed = [
        (row["question"], other)
        for row in table.to_dict("records")
        for other in table["gold"]
        if other != row["gold"] and judge_offline(row["question"], row["gold"], other) == "correct"
    ]
    assert crossed == []
