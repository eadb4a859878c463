"""Expressions are found by their form, and a passage is described by the best of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnent.analysis.expressions import KINDS, described, expressions


def equations(text: str) -> list[tuple]:
    return [(text[one.start : one.stop], *one[3:]) for one in expressions(text) if one.kind == "equation"]


@pytest.mark.parametrize(
    ("text", "equation"),
    [
        ("Rosa has 43+31=74 now.", ("43+31=74", "+", 2, 2, 2)),
        ("16 eggs - 3 eggs = 13 eggs", ("16 eggs - 3 eggs = 13", "-", 2, 1, 2)),
        ("So $13 x $2 = $26.", ("$13 x $2 = $26", "*", 2, 1, 2)),
        ("<<48/2=24>>24", ("48/2=24", "/", 2, 1, 2)),
        ("12,000÷3=4,000", ("12,000÷3=4,000", "/", 5, 1, 4)),
        ("3 \\times 4 + 2 = 14", ("3 \\times 4 + 2 = 14", "several", 1, 1, 2)),
        ("10−3 = −7", ("10−3 = −7", "-", 2, 1, 1)),
    ],
)
def test_an_equation_is_known_by_its_operator_and_digits(text, equation):
    assert equations(text) == [equation]


@pytest.mark.parametrize("text", ["2+3", "x = 7", "no number", "in 1999 or 2000", "3=3"])
def test_what_has_no_operator_or_no_result_is_no_equation(text):
    assert equations(text) == []


def test_a_number_is_known_by_its_place():
    found = expressions("of 9: 10/2=5 left")
    kinds = [(one.kind, one.start, one.operator) for one in found]
    assert kinds == [
        ("number", 3, ""), ("equation", 6, "/"), ("operand", 6, "/"), ("operand", 9, "/"), ("result", 11, "/")
    ]  # fmt: skip


def test_a_passage_is_described_by_its_first_equation_else_a_number_else_as_words():
    text = "Of 9 eggs 4+4=8 and 8+1=9 are gone"
    found = expressions(text)
    assert text[slice(*described(found, 0, len(text))[1:3])] == "4+4=8"
    assert described(found, 0, 9).kind == "number"
    assert described(found, 0, 2)[:3] == ("words", 0, 2)
    assert described(found, 12, len(text)).kind == "equation"  # the first is cut, the second is whole
    assert described(found, 12, 16).kind == "result"


@given(st.text(alphabet="12 +-*/=.,x$()ab", max_size=60))
def test_expressions_lie_in_the_text_in_order_and_no_number_counts_twice(text):
    found = expressions(text)
    assert all(0 <= one.start < one.stop <= len(text) and one.kind in KINDS for one in found)
    assert [one.start for one in found] == sorted(one.start for one in found)
    numbers = [one for one in found if one.kind != "equation"]
    assert len({one.start for one in numbers}) == len(numbers)
