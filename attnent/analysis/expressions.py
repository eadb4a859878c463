"""The expressions of a solution by their form: what stands beside what in its text, never whether it is true."""

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

Kind = Literal["equation", "result", "operand", "number", "words"]  # the first that a passage holds describes it
KINDS: tuple[Kind, ...] = ("equation", "result", "operand", "number", "words")

_NUMBER = re.compile(r"(?<![\d.,])\d++(?:,\d{3}(?!\d))*+(?:\.\d++)?+")
_OPERAND = rf"[($€£]{{0,2}}{_NUMBER.pattern}[)%]{{0,2}}(?: [A-Za-z]{{1,20}}){{0,2}}"
_OPERATOR = re.compile(r" ?(\\times|\\div|\\cdot|(?<= )x(?= )|[-+*/×·÷−]) ?")
_EQUATION = re.compile(
    rf"({_OPERAND}(?:{_OPERATOR.pattern}{_OPERAND}){{1,9}}) ?= ?([-−]?[($€£]{{0,2}}{_NUMBER.pattern})"
)
_COMMON = {"×": "*", "·": "*", "x": "*", "\\times": "*", "\\cdot": "*", "÷": "/", "\\div": "/", "−": "-"}


class Expression(NamedTuple):
    """An equation, or a number by its place: the result of an equation, one of its operands, or by itself.

    It takes the characters [start, stop). The operator is + - * / or "several" (of a number: that of its equation), ""
    where there is none. Digits are those of the first and the last operand and of the result; a number alone is its
    own result.
    """

    kind: Kind
    start: int
    stop: int
    operator: str = ""
    first_digits: int = 0
    last_digits: int = 0
    result_digits: int = 0


def expressions(text: str) -> list[Expression]:
    """All equations `a + b = c` of a text, of up to ten operands, and all its numbers, in the order they start."""
    found, after = [], 0
    for equation in _EQUATION.finditer(text):
        found += _numbers(text, after, equation.start(), "number")
        left, stop = equation.end(1), equation.end()
        operands = _numbers(text, equation.start(), left, "operand")
        result = _numbers(text, left, stop, "result")
        signs = {_COMMON.get(sign[1], sign[1]) for sign in _between(text, operands)}
        operator = signs.pop() if len(signs) == 1 else "several"
        digits = operands[0].result_digits, operands[-1].result_digits, result[0].result_digits
        whole = Expression("equation", equation.start(), stop, operator, *digits)
        found += [whole, *(part._replace(operator=operator) for part in (*operands, *result))]
        after = stop
    return found + _numbers(text, after, len(text), "number")


def _numbers(text: str, start: int, stop: int, kind: Kind) -> list[Expression]:
    return [
        Expression(kind, *number.span(), result_digits=sum(sign.isdigit() for sign in number[0]))
        for number in _NUMBER.finditer(text, start, stop)
    ]


def _between(text: str, operands: Iterable[Expression]) -> list[re.Match[str]]:
    """The operator that stands before each operand but the first."""
    first, *others = operands
    signs, after = [], first.stop
    for operand in others:
        signs += [sign for sign in [*_OPERATOR.finditer(text, after, operand.start)][-1:]]
        after = operand.stop
    return signs


def described(found: Iterable[Expression], start: int, stop: int) -> Expression:
    """What tells of the characters [start, stop): the first expression in them of the first of KINDS that is there."""
    within = (one for one in found if start <= one.start and one.stop <= stop)
    return min(within, key=lambda one: KINDS.index(one.kind), default=Expression("words", start, stop))
