"""Arithmetic in plain English: its problems are distinct, its gold chains right, its answers read."""

import re
from collections import Counter
from itertools import combinations
from random import Random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnent.store.examples import SAFE_ID
from attnent.tasks import TaskError, gsm8k, plain

MANY = plain.load(5_000, seed=100)
EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")


def has_value(left: int, operator: str, right: int, result: int) -> bool:
    """Whether an equation is true, by counting alone: no operator but + is used."""
    if operator == "+":
        return sum([left, right]) == result
    if operator == "-":
        return sum([result, right]) == left
    if operator == "*":
        return sum([right] * left) == result
    return sum([result] * right) == left


def worked(solution: str) -> list[tuple[int, str, int, int]]:
    found = EQUATION.findall(solution)
    return [(int(left), operator, int(right), int(result)) for left, operator, right, result in found]


def test_five_thousand_problems_of_one_seed_are_distinct_and_have_ids_fit_for_file_names():
    assert MANY["question"].is_unique
    assert MANY["id"].is_unique
    assert MANY["id"].map(lambda name: bool(SAFE_ID.fullmatch(name))).all()
    assert (MANY["group"] == MANY["id"]).all()


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(0, 8))
def test_the_problems_for_a_smaller_n_begin_those_for_a_larger(seed, n, more):
    pd.testing.assert_frame_equal(plain.load(n, seed), plain.load(n + more, seed).head(n))


def test_sets_of_two_seeds_rarely_share_a_problem():
    sets = [set(plain.load(400, seed)["id"]) for seed in range(300, 304)]
    shared = [len(one & other) for one, other in combinations(sets, 2)]
    assert sum(shared) / len(shared) < 1


def test_every_equation_of_a_gold_chain_is_true_and_works_with_numbers_told_or_worked_out():
    for row in MANY.itertuples():
        known = {int(number) for number in re.findall(r"\d+", row.question)}
        for left, operator, right, result in worked(row.gold_solution):
            assert has_value(left, operator, right, result), row.gold_solution
            assert {left, right} <= known, row.gold_solution
            assert result >= 2, row.gold_solution
            known.add(result)


@given(st.integers(0, 10**9), st.sampled_from([1, 2, 3, 4]))
def test_the_answer_is_the_last_result_at_every_level_and_seed(seed, level):
    row = plain._row(Random(seed), level)
    chain = worked(row["gold_solution"])
    assert all(has_value(*equation) for equation in chain)
    assert len(chain) == row["n_gold_steps"] == (1 if level <= 2 else 2)
    assert row["gold"] == str(chain[-1][3])
    assert gsm8k.read_answer(row["gold_solution"]).value == chain[-1][3]


def test_the_gold_answer_is_what_is_read_of_the_gold_solution():
    read = [gsm8k.read_answer(solution) for solution in MANY["gold_solution"]]
    assert [str(answer.value) for answer in read] == MANY["gold"].tolist()
    assert {answer.how for answer in read} == {"####"}


def test_the_answer_shown_before_a_problem_is_read_and_never_its_own():
    for row in MANY.head(1_000).itertuples():
        shown = [turn["content"] for turn in row.prompt if turn["role"] == "assistant"]
        answers = [gsm8k.read_answer(solution) for solution in shown]
        assert [answer.how for answer in answers] == ["the answer is"] * plain.N_SHOWN
        assert row.gold not in [str(answer.value) for answer in answers]


def test_a_prompt_shows_solved_problems_of_the_same_operations_and_ends_with_the_question():
    for row in MANY.head(1_000).itertuples():
        operators = [operator for _, operator, _, _ in worked(row.gold_solution)]
        *shown, asked = row.prompt
        assert asked == {"role": "user", "content": row.question}
        for turn in shown[1::2]:
            assert [operator for _, operator, _, _ in worked(turn["content"])] == operators


def test_of_every_six_problems_two_are_of_level_one_and_of_level_two():
    assert Counter(MANY["level"][:3_000]) == {1: 1_000, 2: 1_000, 3: 500, 4: 500}


def test_small_numbers_have_one_digit_and_large_ones_come_with_two():
    numbers = MANY["question"].str.findall(r"\d+").map(lambda found: max(map(int, found)))
    assert numbers[MANY["level"].isin([1, 3])].max() <= 9
    assert numbers[MANY["level"].isin([2, 4])].min() >= 10


def test_every_template_is_told_and_every_operation_in_it():
    assert len(plain.TEMPLATES) >= 20
    firsts = Counter(operator for solution in MANY["gold_solution"] for _, operator, _, _ in worked(solution))
    assert min(firsts[operator] for operator in "+-*/") > 500


def test_no_placeholder_is_left_and_no_pronoun_contradicts_a_name():
    texts = "\n".join([*MANY["question"], *MANY["gold_solution"]])
    assert not set("{}") & set(texts)
    pronouns = {name: {he, his, he.capitalize(), his.capitalize()} for name, he, his in plain._DECLARED["people"]}
    for question in MANY["question"]:
        name = next(word for word in re.findall(r"\w+", question) if word in pronouns)
        assert {"he", "she", "his", "her", "He", "She", "His", "Her"} & set(question.split()) <= pronouns[name]


def test_gsm8k_gives_them_by_their_name_with_the_columns_of_its_other_sources():
    table = gsm8k.load("plain", n=12, seed=100)
    pd.testing.assert_frame_equal(table, plain.load(12, 100))
    assert {"id", "prompt", "gold", "group", "question", "n_gold_steps", "gold_solution", "level"} == set(table)


@pytest.mark.parametrize(
    ("asked", "message"), [({"n": 0}, "n is 0; pass at least 1"), ({"n": 4, "shots": 2}, "shots is 2, but plain")]
)
def test_what_cannot_be_given_is_refused(asked, message):
    with pytest.raises(TaskError, match=message):
        gsm8k.load("plain", **asked)


def test_every_problem_is_of_one_kind_and_all_kinds_are_told():
    questions = plain.load(400, 3)["question"]
    table = plain.kinds(questions)
    assert (table.sum(axis=1) == 1).all()
    assert table.index.equals(questions.index)
    assert table.shape[1] == len(plain.TEMPLATES)
    for place, template in enumerate(plain.TEMPLATES):  # no question is of two
        asked = template.asked.format_map(dict.fromkeys(re.findall(r"{(\w+)}", template.asked), "7"))
        assert [number for number, one in enumerate(plain._ASKED) if one.fullmatch(asked)] == [place]


def test_what_is_no_plain_problem_has_no_kind():
    with pytest.raises(TaskError, match="is no plain problem"):
        plain.kinds(pd.Series(["How many?"]))
