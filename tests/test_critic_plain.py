"""The exact critic on arithmetic in plain English: which step is marked, and that no right solution is."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnent.critic import CriticError, planted_errors
from attnent.critic.chains import NoChainError, read_chain
from attnent.critic.critics import Case, Finding, examine
from attnent.critic.equations import calculations
from attnent.tasks import gsm8k, plain

QUESTION = "Ida has 8 plums. She buys 7 more and then gives 5 plums to Ole. How many plums does Ida have now?"
GOLD = "Ida has 8 + 7 = 15 plums after buying more.\nIda has 15 - 5 = 10 plums now.\n#### 10"


def found(solution: str, gold: str = GOLD, question: str = QUESTION) -> Finding:
    return examine("exact", [Case(question, gold, solution)])[0]


def marked(solution: str) -> tuple[str | None, str]:
    """The kind of what is marked, and the marked text."""
    finding = found(solution)
    return finding.kind, solution[finding.start or 0 : finding.stop or 0]


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_no_gold_solution_is_marked(seed):
    for row in plain.load(6, seed).itertuples():
        assert found(row.gold_solution, row.gold_solution, row.question).outcome == "none found"


@pytest.mark.parametrize(
    "solution",
    [
        "She has 8 + 7 = 15 plums. Then 15 - 5 = 10 plums are left. The answer is 10.",
        "7 plums + 8 plums = 15 plums\n15 − 5 = 10",
        "First 8 - 5 = 3. Then 3 + 7 = 10. #### 10",
        "8 + 7 - 5 = 10",
        "8 + 7 = 15 - 5 = 10",
        "She has 8 + 7 = 15. So 8 + 7 = 15 it is, and 15 - 5 = 10. Indeed 2 * 5 = 10.",
        "The answer is 10.",
        "ten",
    ],
)
def test_a_right_answer_by_true_equations_is_not_marked_whatever_led_there(solution):
    assert found(solution).outcome == "none found"


@pytest.mark.parametrize(
    ("solution", "kind", "quote"),
    [
        ("8 + 7 = 14\n14 - 5 = 9\nThe answer is 9.", "slip", "8 + 7 = 14"),
        ("7 + 8 = 15. 15 - 5 = 11. The answer is 11.", "slip", "15 - 5 = 11"),
        ("8 + 7 - 5 = 11", "slip", "8 + 7 - 5 = 11"),
        ("$8 x 7 = $56\nThe answer is 56.", "wrong operand", "$8 x 7 = $56"),
        ("8 + 7 = 15\n15 / 2 = 7.5", "wrong operand", "15 / 2 = 7.5"),
        ("8 + 7 = 15.5, 15.5 - 5 = 10.5", "slip", "8 + 7 = 15.5"),
        ("8 + 7 = 15\n15 + 5 = 20\nThe answer is 20.", "wrong operand", "15 + 5 = 20"),
        ("8 + 17 = 25. The answer is 25.", "copying", "8 + 17 = 25"),
        ("8 + 7 = 15. The answer is 15.", "missing step", "15"),
        ("8 + 7 = 15, 15 - 5 = 10, 10 + 7 = 17. The answer is 17.", "wrong operand", "10 + 7 = 17"),
        ("8 + 7 = 15\n15 - 5 = 10\nThe answer is 12.", "copying", "12"),
        ("8 + 7 = 15. So 8 + 7 = 15, and 15 - 5 = 11. The answer is 11.", "slip", "15 - 5 = 11"),
        ("She has 12 plums.", "missing step", "12"),
        ("She has twelve plums.", "missing step", "She has twelve plums."),
        ("She has some plums.", "missing step", "She has some plums."),
        ("8 + 7 = 14, so 15 - 5 = 10", "slip", "8 + 7 = 14"),
    ],
)
def test_the_first_wrong_step_is_marked(solution, kind, quote):
    assert marked(solution) == (kind, quote)


def test_an_answer_that_no_equation_leads_to_is_marked_where_it_stands_last():
    solution = "It is 12, I think. The answer is 12."
    assert found(solution).start == solution.rindex("12")


@given(st.integers(0, 10**6), st.integers(1, 500), st.data())
def test_another_answer_is_always_marked_within_the_solution(seed, other, data):
    row = plain.load(6, seed).iloc[data.draw(st.integers(0, 5))]
    solution = re.sub(r"#### \d+", f"The answer is {other}.", row["gold_solution"])
    finding = found(solution, row["gold_solution"], row["question"])
    assert (finding.outcome == "found") == (str(other) != row["gold"])
    if finding.outcome == "found":
        assert solution[finding.start : finding.stop] == str(other)


def test_planted_errors_are_located_and_clean_solutions_left_alone():
    table = planted_errors("exact", gsm8k.load("plain", n=60, seed=100))
    assert table.loc["clean", "estimate"] == 0
    assert table.drop("clean")["estimate"].min() == 1


def test_a_long_expression_is_worked_out_from_left_to_right():
    said = [tuple(one[:4]) for one in calculations("2 + 3 * 4 - 1 = 12")]
    assert said == [(3, "*", 4, 12), (2, "+", 12, 14), (14, "-", 1, 12)]


def test_a_chain_of_equations_states_the_number_after_each_sign():
    assert [tuple(one[:4]) for one in calculations("8 + 7 = 14 - 5 = 9")] == [(8, "+", 7, 14), (14, "-", 5, 9)]


def test_what_has_no_value_is_no_calculation():
    assert list(calculations("8 / 0 = 3 and 5 = 5")) == []


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        ("", "does not end in the last result"),
        ("Ida has 15 plums.\n#### 15", "no step of a chain: 'Ida has 15"),
        ("8 + 7 = 15\n#### 16", "does not end in the last result"),
        ("8 + 7 = 16\n#### 16", "no step of a chain"),
        ("8 + 6 = 14\n#### 14", "no step of a chain"),
        ("8 + 7 = 15\n8 - 5 = 3\n#### 3", "no step of a chain: '8 - 5"),
        ("8 + 7 = <<8+7=15>>15\n#### 15", "no step of a chain"),
        ("5 / 8 = 0.625\n#### 0.625", "no step of a chain"),
    ],
)
def test_a_gold_solution_that_does_not_tell_every_step_is_refused(gold, message):
    with pytest.raises(NoChainError, match=message):
        read_chain(QUESTION, gold)
    with pytest.raises(CriticError, match=r"the source plain.*use the arithmetic checker or an LLM"):
        found("The answer is 3.", gold)
