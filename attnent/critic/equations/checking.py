"""The false equations of a solution, by exact fractions; algebra and whatever is in doubt is left alone."""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product
from typing import Literal, NamedTuple, TypeGuard, get_args

from attnent.critic.equations.expressions import (
    Expression,
    NotArithmeticError,
    Number,
    Operation,
    Operator,
    Token,
    numbers_in,
    parse,
    parse_number,
    tokenize,
)

_MOST_TOKENS = 80  # of the clause on one side of an equals sign; a longer one is left alone
_MOST_BITS = 10_000  # of a power
_NOTE = re.compile(r"<<([^<>\n]*)>>")
_COPY = 40  # characters after a calculator note in which its result is written
_LINE = re.compile(r"[^\n]+")

_ROUGHLY = ("round", "remainder", "nearest", "approximat")  # words that say that the result is not exact
_FLOATING = Fraction(1, 10**12)  # relative error of what a calculator shows, such as 26.666666666666668
_TO_WHOLE = Fraction(1, 100)  # relative error of a quotient that may be rounded to a whole number: 100/3 = 33


class FalseEquation(NamedTuple):
    """A false equation: its text, the characters [start, stop) that it takes, and the values of its two sides."""

    text: str
    start: int
    stop: int
    left: Fraction
    right: Fraction


class Calculation(NamedTuple):
    """One operation on two numbers with its result as stated, and the characters of the equation that it is part of."""

    left: Fraction
    operator: Operator
    right: Fraction
    result: Fraction
    start: int
    stop: int


class _Side(NamedTuple):
    """One side of an equation: the ways to read it, the likeliest first; its tokens; whether it links two equations."""

    readings: list[Expression]
    tokens: Sequence[Token]
    linked: bool = False


def check_arithmetic(solution: str) -> list[FalseEquation]:
    """The false equations of a solution, in order; each link of a chain `a = b = c` counts for itself.

    Read are numbers with thousands separators, currency and percent signs, fractions, mixed numbers, units between the
    operands, parentheses, powers, LaTeX, and the calculator notes of GSM8K (`<<48/2=24>>24`), whose result must be the
    number after them. A result may be rounded to the digits shown (to a whole number only after a division, and only by
    1 %: 100/3 = 33 may stand, 11/5 = 2 is false), and a decimal may be cut there.

    Left alone is what is not arithmetic with certainty: unknowns, times, dates, ratios, equations across lines, numbers
    in words, and what compares units (`3 hours = 180 minutes`); units in a calculation are not converted, and
    `30 minutes * 2 = 1 hour` is false. An equation that has a true reading is not false: `20%` is 1/5 or 20, `10 + 20%`
    is 12, and in `3 * 4 = 12 + 5 = 17` the 12 is meant.
    """
    found: list[FalseEquation] = []
    for line in _LINE.finditer(solution):
        found += _check(solution, tokenize(line[0]), line.start())
        for note in _NOTE.finditer(line[0]):
            found += _check(solution, tokenize(note[1]), line.start() + note.start(1))
            found += _check_copy(solution, note, line.start())
    outer: list[FalseEquation] = []
    for one in sorted(found, key=lambda one: (one.start, -one.stop)):
        if not outer or one.stop > outer[-1].stop:
            outer.append(one)
    return outer


def calculations(solution: str) -> Iterator[Calculation]:
    """What the equations of a solution calculate, right or wrong, in order; calculator notes are not read.

    `2 + 3 + 4 = 10` is two calculations: `2 + 3 = 5`, worked out here, and `5 + 4 = 10`, as it is stated. An equation
    that has no value (8 / 0) is left alone.
    """
    for line in _LINE.finditer(solution):
        for left, right in _equations(tokenize(line[0])):
            place = line.start() + left.tokens[0].start, line.start() + _end(right.tokens)
            try:
                stated = _value(right.readings[-1], "share")
                parts = [
                    Calculation(_value(one.left, "share"), one.operator, _value(one.right, "share"), value, *place)
                    for one in _operations(left.readings[0])
                    for value in [_value(one, "share")]
                ]
            except NotArithmeticError:
                continue
            if parts:
                yield from parts[:-1]
                yield parts[-1]._replace(result=stated)


def _operations(expression: Expression) -> list[Operation]:
    """The operations of an expression in the order in which they are done."""
    if isinstance(expression, Number):
        return []
    return [*_operations(expression.left), *_operations(expression.right), expression]


def _equations(tokens: list[Token]) -> Iterator[tuple[_Side, _Side]]:
    """Both sides of each equation of one line."""
    signs = [place for place, token in enumerate(tokens) if token.kind == "="]
    for before, sign, after in zip([-1, *signs], signs, [*signs[1:], len(tokens)], strict=False):
        left = _left_side(tokens[before + 1 : sign], linked=before >= 0)
        right = _right_side(tokens[sign + 1 : after])
        if left and right and _is_claim(left, right):
            yield left, right


def _check(solution: str, tokens: list[Token], offset: int) -> Iterator[FalseEquation]:
    """The false equations of one line; `offset` is the place in the solution where its tokens begin to count."""
    for left, right in _equations(tokens):
        if _is_false(left, right):
            start, stop = offset + left.tokens[0].start, offset + _end(right.tokens)
            values = (_value(side.readings[0], "share") for side in (left, right))
            yield FalseEquation(solution[start:stop], start, stop, *values)


def _check_copy(solution: str, note: re.Match[str], offset: int) -> Iterator[FalseEquation]:
    """Whether the number after a calculator note is its result, which may be rounded or told without its sign."""
    following = tokenize(note.string[note.end() : note.end() + _COPY])
    result, copy = parse_number(tokenize(note[1].rpartition("=")[2])), parse_number(following)
    between = note.string[note.end() : note.end() + following[0].start] if following else ""
    if result is None or copy is None or between.strip() or _goes_on(following[0], following[1:]):
        return
    without_sign = result._replace(value=abs(result.value))
    near = copy.step == 1 and abs(without_sign.value - abs(copy.value)) < 1
    if not near and _is_false(_Side([without_sign], []), _Side([copy], [])):
        start, stop = offset + note.start(), offset + note.end() + following[0].stop
        yield FalseEquation(solution[start:stop], start, stop, result.value, copy.value)


def _left_side(tokens: Sequence[Token], *, linked: bool) -> _Side | None:
    """The longest expression that ends where the tokens end; None where what is before it may belong to it."""
    ends = [place for place, token in enumerate(tokens) if token.kind == "end"]
    clause = tokens[ends[-1] + 1 if ends else 0 :]
    if len(clause) > _MOST_TOKENS or not (found := _endings(clause)):
        return None
    start, longest = found[0]
    formula = start > 0 and clause[start].kind == "-" and clause[start].stop < clause[start + 1].start
    of_thing = any(number.is_part and number.units[:1] == ("of",) for number in numbers_in(longest))
    if formula or of_thing or not _stands_alone(clause[:start]):
        return None  # `the cost - 5`, `5 + 1/2 of the cake`, `half of 5`
    return _Side([one for _, one in found], clause[start:], linked=linked and start == 0)


def _endings(clause: Sequence[Token]) -> list[tuple[int, Expression]]:
    """The longest expression that ends where the clause ends, and those that begin after a dash in it; their places."""
    found: list[tuple[int, Expression]] = []
    depths = [(token.kind == "(") - (token.kind == ")") for token in clause]
    reach = 0
    for start, token in enumerate(clause):
        begins = token.kind in ("number", "(", "-", "+", "frac") and (not found or _may_be_dash(clause, start))
        if not begins or start < reach or sum(depths[start:]):
            continue
        try:
            expression, n_tokens = parse(clause[start:])
        except NotArithmeticError:
            continue
        if start + n_tokens < len(clause):
            reach = start + n_tokens  # nothing that begins before it goes beyond it
        elif not (found and isinstance(expression, Number)):
            found.append((start, expression))
    return found


def _may_be_dash(clause: Sequence[Token], start: int) -> bool:
    """Whether the minus at this place or before it may be a dash or a sign: nothing or a word is to its left."""
    minus = next((place for place in (start, start - 1) if place >= 0 and clause[place].kind == "-"), None)
    return minus is not None and (minus == 0 or clause[minus - 1].kind == "word")


def _stands_alone(before: Sequence[Token]) -> bool:
    """Whether an expression after these tokens of its clause has a value of its own."""
    while before and before[-1].text.lower() in ("of", "the"):
        before = before[:-1]
    if not before:
        return True
    last, word = before[-1], before[-1].text.lower()
    if last.kind != "word":
        return last.kind == "("
    if word == "by":
        return not any(token.text.lower().startswith(("divid", "multipl")) for token in before)
    others = [token.kind for token in before if token.kind != "word"]
    return not others or others[-1] not in ("+", "*", "^", "frac")


def _right_side(tokens: Sequence[Token]) -> _Side | None:
    """The longest expression that the tokens begin with; None where what is after it may belong to it."""
    end = next((place for place, token in enumerate(tokens) if token.kind == "end"), len(tokens))
    clause = tokens[:end]
    if len(clause) > _MOST_TOKENS or any(token.text.lower().startswith(_ROUGHLY) for token in clause):
        return None
    try:
        expression, n_tokens = parse(clause)
    except NotArithmeticError:
        return None
    if _goes_on(clause[n_tokens - 1], clause[n_tokens:]):
        return None
    first = None if isinstance(expression, Number) else parse_number(clause)
    return _Side([expression, first] if first else [expression], clause[:n_tokens])


def _goes_on(last: Token, following: Sequence[Token]) -> bool:
    """Whether what follows an expression belongs to its value: `5 | + x`, `2 | y`, `10 | 000`."""
    kinds = [token.kind for token in following[:2]]
    if not kinds or kinds[0] in ("word", "(", ")"):
        return False
    if kinds[0] == "odd":
        name, apart = following[0].text, following[0].start > last.stop
        named = apart and name.isalpha() and name.isupper() and kinds[1:] in ([], ["word"])
        return last.kind != "word" and not named
    return last.kind != "word" if kinds[0] == "number" else kinds[0] != "-" or kinds[1:] == ["odd"]


def _end(tokens: Sequence[Token]) -> int:
    """Where the last number stops, with the parentheses that close after it."""
    last = max(place for place, token in enumerate(tokens) if token.kind == "number")
    while last + 1 < len(tokens) and tokens[last + 1].kind == ")":
        last += 1
    return tokens[last].stop


# ---- is it true?


def _is_claim(left: _Side, right: _Side) -> bool:
    """Whether the equation says something about numbers, and not about units (`12 eggs = 1 dozen`) or names."""
    here, there = left.readings[0], right.readings[0]
    if not _is_lone(here):
        return True
    if _is_lone(there):
        return left.linked and not here.units and not there.units
    return left.linked and (
        here.percent or not all(number.percent for number in numbers_in(there))
    )  # `48 = 100% + 20%` names a whole


def _is_lone(expression: Expression) -> TypeGuard[Number]:
    return isinstance(expression, Number) and (
        not expression.quotient or (expression.value < 1 and any(unit.isalpha() for unit in expression.units))
    )


def _is_false(left: _Side, right: _Side) -> bool:
    """Whether both sides have a value and no way to read them makes them equal, up to the rounding of digits shown."""
    try:
        return not any(
            _agree(here_value, here, there_value, there)
            for here, there in product(left.readings, right.readings)
            for here_value, there_value in product(_values(here), _values(there))
        )
    except NotArithmeticError:
        return False


def _agree(here: Fraction, left: Expression, there: Fraction, right: Expression) -> bool:
    if here == there or abs(here - there) <= abs(here) * _FLOATING:
        return True
    return _is_rounding(there, right, here, left) or _is_rounding(here, left, there, right)


def _is_rounding(shown: Fraction, number: Expression, exact: Fraction, origin: Expression) -> bool:
    """Whether `shown`, as the number is written, is `exact` rounded to its last digit, or cut there if a decimal.

    Only what is divided or a share may be rounded to a whole number, and only a little.
    """
    if not isinstance(number, Number) or not number.step or not number.value:
        return False
    last_digit, error = abs(number.step * shown / number.value), abs(exact - shown)
    if number.step == 1 and not number.percent:
        return _divides(origin) and 2 * error <= last_digit and error <= abs(exact) * _TO_WHOLE
    return 2 * error <= last_digit or (abs(shown) < abs(exact) and error < last_digit)


def _divides(expression: Expression) -> bool:
    if isinstance(expression, Number):
        return expression.is_part
    return expression.operator == "/" or _divides(expression.left) or _divides(expression.right)


Percent = Literal["share", "number", "of what is before"]


def _values(expression: Expression) -> set[Fraction]:
    """The values of an expression by all readings of percent signs."""
    ambiguous = any(number.percent for number in numbers_in(expression))
    return {_value(expression, percent) for percent in (get_args(Percent) if ambiguous else ("share",))}


def _value(expression: Expression, percent: Percent) -> Fraction:
    """The value of an expression. Raises NotArithmeticError where it has none, or one too large to work out."""
    if isinstance(expression, Number):
        return expression.value / 100 if expression.percent and percent != "number" else expression.value
    left, right = _value(expression.left, percent), _value(expression.right, percent)
    if percent == "of what is before" and isinstance(expression.right, Number) and expression.right.percent:
        right *= left if expression.operator in "+-" else 1
    match expression.operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/" if right:
            return left / right
        case "^" if (
            right.denominator == 1
            and abs(right) * max(abs(left.numerator), left.denominator).bit_length() < _MOST_BITS
            and left
        ):
            return left ** int(right)
    raise NotArithmeticError("the expression has no value, or one too large to work out")
