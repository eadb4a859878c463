"""The false equations of a solution, by exact fractions; algebra and whatever is in doubt is left alone."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Literal, NamedTuple

from attnent.critic.equations.expressions import (
    Expression,
    NotArithmeticError,
    Number,
    Operation,
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

# Words before an expression that make its value another: `half of 5 + 3`, `5 more than 2 * 3`, `divided by 2 + 3`.
_CHANGES_VALUE = {
    "half", "twice", "double", "doubled", "thrice", "triple", "tripled", "quadruple", "third", "quarter", "fourth",
    "fifth", "sixth", "tenth", "dozen", "plus", "minus", "times", "less", "than", "negative", "two",
    "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen", "twenty", "thirty",
    "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred", "thousand", "million",
}  # fmt: skip
_LINKS = {"of", "the", "a", "an", "his", "her", "their", "its", "those", "these", "all", "as", "many", "much"}
_ROUGHLY = ("round", "remainder", "nearest", "approximat")  # words that say that the result is not exact
_SPELLINGS = {
    "feet": "foot", "inches": "inch", "pennies": "cent", "penny": "cent", "centuries": "century", "$": "dollar",
    "\\$": "dollar", "¢": "cent", "hr": "hour", "min": "minute", "sec": "second", "lb": "pound", "oz": "ounce",
    "ft": "foot", "centimeter": "cm", "centimetre": "cm", "meter": "metre", "kilometer": "km",
    "kilometre": "km", "gram": "g", "kilogram": "kg", "kilo": "kg", "liter": "litre", "milliliter": "ml",
    "millilitre": "ml", "millimeter": "mm", "tbsp": "tablespoon", "tsp": "teaspoon",
}  # fmt: skip
_CONVERSIONS: dict[tuple[str, str], tuple[int, ...]] = {
    ("minute", "second"): (60,), ("hour", "minute"): (60,), ("hour", "second"): (3600,), ("day", "hour"): (24,),
    ("day", "minute"): (1440,), ("week", "day"): (7, 5), ("week", "hour"): (168,), ("month", "day"): (30, 31, 28, 29),
    ("month", "week"): (4,), ("year", "month"): (12,), ("year", "day"): (365, 366), ("year", "week"): (52,),
    ("decade", "year"): (10,), ("century", "year"): (100,), ("foot", "inch"): (12,), ("yard", "foot"): (3,),
    ("yard", "inch"): (36,), ("mile", "foot"): (5280,), ("mile", "yard"): (1760,), ("cm", "mm"): (10,),
    ("metre", "cm"): (100,), ("km", "metre"): (1000,), ("kg", "g"): (1000,), ("pound", "ounce"): (16,),
    ("ton", "pound"): (2000,), ("litre", "ml"): (1000,), ("pint", "cup"): (2,), ("quart", "pint"): (2,),
    ("quart", "cup"): (4,), ("gallon", "quart"): (4,), ("gallon", "cup"): (16,), ("gallon", "pint"): (8,),
    ("gallon", "ounce"): (128,), ("cup", "ounce"): (8,), ("cup", "tablespoon"): (16,), ("tablespoon", "teaspoon"): (3,),
    ("dollar", "cent"): (100,), ("dollar", "nickel"): (20,), ("dollar", "dime"): (10,), ("dollar", "quarter"): (4,),
    ("nickel", "cent"): (5,), ("dime", "cent"): (10,), ("quarter", "cent"): (25,),
}  # fmt: skip
_DOZEN = 12
_FLOATING = Fraction(1, 10**12)  # relative error of what a calculator shows, such as 26.666666666666668
_TO_WHOLE = Fraction(1, 100)  # relative error of a quotient that may be rounded to a whole number: 100/3 = 33
_REPEATING = (3, 6, 7, 9)  # denominators whose fractions are written as rounded decimals


class FalseEquation(NamedTuple):
    """A false equation: its text, the characters [start, stop) that it takes, and the values of its two sides."""

    text: str
    start: int
    stop: int
    left: Fraction
    right: Fraction


class _Side(NamedTuple):
    """One side of an equation: the ways to read it, the likeliest first, and its tokens.

    `whole`: it begins its clause. `linked`: it stands alone between two equals signs.
    """

    readings: list[Expression]
    tokens: Sequence[Token]
    whole: bool = False
    linked: bool = False


def check_arithmetic(solution: str) -> list[FalseEquation]:
    """The false equations of a solution, in order; each link of a chain `a = b = c` counts for itself.

    Read are numbers with thousands separators, currency and percent signs, fractions, mixed numbers, units between the
    operands, parentheses, powers, LaTeX, and the calculator notes of GSM8K (`<<48/2=24>>24`), whose result must be the
    number after them. A result may be rounded to the digits shown (to a whole number only after a division, and only by
    1 %: 100/3 = 33 may stand, 11/5 = 2 is false), and a decimal may be cut there.

    Left alone is what is not arithmetic with certainty: unknowns, times, dates, ratios, equations across lines, numbers
    in words, and equations that may be true by their units (`3 hours = 180 minutes`). An equation that has a true
    reading is not false: `20%` is 1/5 or 20, `10 + 20%` is 12, and in `3 * 4 = 12 + 5 = 17` the 12 is meant.
    """
    found: list[FalseEquation] = []
    for line in _LINE.finditer(solution):
        found += _check(solution, tokenize(line[0]), line.start())
        for note in _NOTE.finditer(line[0]):
            found += _check(solution, tokenize(note[1]), line.start() + note.start(1))
            found += _check_copy(solution, note, line.start())
    outer = [one for one in found if not any(_holds(other, one) for other in found)]
    return sorted(outer, key=lambda equation: equation.start)


def _holds(outer: FalseEquation, inner: FalseEquation) -> bool:
    return outer != inner and outer.start <= inner.start and inner.stop <= outer.stop


def _check(solution: str, tokens: list[Token], offset: int) -> Iterator[FalseEquation]:
    """The false equations of one line; `offset` is the place in the solution where its tokens begin to count."""
    signs = [place for place, token in enumerate(tokens) if token.kind == "="]
    for before, sign, after in zip([-1, *signs], signs, [*signs[1:], len(tokens)], strict=False):
        left = _left_side(tokens[before + 1 : sign], linked=before >= 0)
        right = _right_side(tokens[sign + 1 : after])
        if left and right and _is_claim(left, right) and _is_false(left, right):
            start, stop = offset + left.tokens[0].start, offset + _end(right.tokens)
            yield FalseEquation(solution[start:stop], start, stop, _plain(left), _plain(right))


def _check_copy(solution: str, note: re.Match[str], offset: int) -> Iterator[FalseEquation]:
    """Whether the number after a calculator note is its result, which may be rounded or told without its sign."""
    following = tokenize(note.string[note.end() : note.end() + _COPY])
    result, copy = parse_number(tokenize(note[1].rpartition("=")[2])), parse_number(following)
    if result is None or copy is None or note.string[note.end() : note.end() + following[0].start].strip():
        return
    if _goes_on(following[0], following[1:]):
        return
    near = copy.step == 1 and abs(abs(result.value) - abs(copy.value)) < 1
    if not near and _is_false(_Side([replace(result, value=abs(result.value))], []), _Side([copy], [])):
        start, stop = offset + note.start(), offset + note.end() + following[0].stop
        yield FalseEquation(solution[start:stop], start, stop, result.value, copy.value)


def _left_side(tokens: Sequence[Token], *, linked: bool) -> _Side | None:
    """The longest expression that ends where the tokens end; None where what is before it may belong to it."""
    ends = [place for place, token in enumerate(tokens) if token.kind == "end"]
    clause = tokens[ends[-1] + 1 if ends else 0 :]
    if len(clause) > _MOST_TOKENS:
        return None
    found: list[tuple[int, Expression]] = []
    for start, token in enumerate(clause):
        if token.kind in ("number", "(", "-", "+", "frac") and (not found or _may_be_dash(clause, start)):
            try:
                expression, n_tokens = parse(clause[start:])
            except NotArithmeticError:
                continue
            if start + n_tokens == len(clause) and not (found and isinstance(expression, Number)):
                found.append((start, expression))
    if not found:
        return None
    start, longest = found[0]
    formula = start > 0 and clause[start].kind == "-" and clause[start].stop < clause[start + 1].start
    if formula or not _stands_alone(clause[:start]) or any(number.of for number in numbers_in(longest)):
        return None  # `the cost - 5`, `half of 5`, `5 + 1/2 of the cake`
    whole = start == 0
    return _Side([one for _, one in found], clause[start:], whole=whole, linked=linked and whole and not ends)


def _may_be_dash(clause: Sequence[Token], start: int) -> bool:
    """Whether the minus at this place or before it may be a dash or a sign: nothing or a word is to its left."""
    minus = next((place for place in (start, start - 1) if place >= 0 and clause[place].kind == "-"), None)
    return minus is not None and (minus == 0 or clause[minus - 1].kind == "word")


def _stands_alone(before: Sequence[Token]) -> bool:
    """Whether an expression after these tokens of its clause has a value of its own."""
    while before and before[-1].kind == "word" and before[-1].text.lower() in _LINKS:
        before = before[:-1]
    if not before:
        return True
    last, word = before[-1], before[-1].text.lower()
    if last.kind == ")":
        return all(token.kind != "(" for token in before)  # the `1)` of a list
    if last.kind != "word":
        return last.kind == "(" or (len(before) == 1 and last.text in "-*+")  # the mark of a list
    if word == "by":
        return not any(token.text.lower().startswith(("divid", "multipl")) for token in before)
    if word in ("per", "every"):
        return all(token.kind != "number" for token in before)
    return word not in _CHANGES_VALUE and _last_but_words(before) not in ("+", "*", "^", "frac")


def _last_but_words(tokens: Sequence[Token]) -> str:
    return next((token.kind for token in reversed(tokens) if token.kind != "word"), "end")


def _right_side(tokens: Sequence[Token]) -> _Side | None:
    """The longest expression that the tokens begin with; None where what is after it may belong to it."""
    end = next((place for place, token in enumerate(tokens) if token.kind == "end"), len(tokens))
    clause = tokens[:end]
    if len(clause) > _MOST_TOKENS or any(token.text.lower().startswith(_ROUGHLY) for token in clause):
        return None
    try:
        expression, n_tokens = parse(clause)
        first = parse_number(clause)
    except NotArithmeticError:
        return None
    if _goes_on(clause[n_tokens - 1], clause[n_tokens:]):
        return None
    return _Side([expression, *([first] if first else [])], clause[:n_tokens])


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
    if not (isinstance(here, Number) and _is_lone(here)):
        return True
    if _is_lone(there):
        return left.linked and _units(left.readings[:1]) == _units(right.readings[:1])
    if not left.linked and (not left.whole or _units(left.readings[:1])):
        return False
    return here.percent or not all(number.percent for number in numbers_in(there))  # `48 = 100% + 20%` names a whole


def _is_lone(expression: Expression) -> bool:
    if not isinstance(expression, Number):
        return False
    return not expression.quotient or (expression.value < 1 and any(unit.isalpha() for unit in expression.units))


def _is_false(left: _Side, right: _Side) -> bool:
    """Whether both sides have a value and no way to read them makes them equal, up to the rounding of digits shown."""
    try:
        return not _may_be_true(left, right)
    except NotArithmeticError:
        return False


def _may_be_true(left: _Side, right: _Side) -> bool:
    both = [*left.readings, *right.readings]
    heads, units = _units(both, n_words=1), _units(both)
    mixed = "dozen" in heads or any(set(pair) <= heads for pair in _CONVERSIONS)
    if mixed and any(_adds(side.readings[0]) for side in (left, right)):
        return True
    factors = [1, *(factor for pair, sizes in _CONVERSIONS.items() if set(pair) <= units for factor in sizes)]
    factors += [_DOZEN] * ("dozen" in units)
    return any(
        _agree(here_value * factor, here, there_value, there) or _agree(here_value, here, there_value * factor, there)
        for here, there in product(left.readings, right.readings)
        for here_value, there_value in product(_values(here), _values(there))
        for factor in factors
    )


def _units(expressions: Sequence[Expression], n_words: int = 3) -> set[str]:
    """The first words after the numbers, in the singular, and the currencies."""
    words = {word.lower() for one in expressions for number in numbers_in(one) for word in number.units[:n_words]}
    return {_SPELLINGS.get(word) or _SPELLINGS.get(word.removesuffix("s")) or word.removesuffix("s") for word in words}


def _adds(expression: Expression) -> bool:
    return isinstance(expression, Operation) and (
        expression.operator in "+-" or _adds(expression.left) or _adds(expression.right)
    )


def _agree(here: Fraction, left: Expression, there: Fraction, right: Expression) -> bool:
    if abs(here - there) <= abs(here) * _FLOATING:
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


def _plain(side: _Side) -> Fraction:
    return _value(side.readings[0], "share", repeating=False)


def _values(expression: Expression) -> set[Fraction]:
    """The values of an expression by all readings of percent signs and of decimals that stand for fractions."""
    percents: tuple[Percent, ...] = ("share", "number", "of what is before")
    if not any(number.percent for number in numbers_in(expression)):
        percents = ("share",)
    return {_value(expression, percent, repeating=repeating) for percent in percents for repeating in (False, True)}


def _value(expression: Expression, percent: Percent, *, repeating: bool) -> Fraction:
    """The value of an expression. Raises NotArithmeticError where it has none, or one too large to work out."""
    if isinstance(expression, Number):
        value = _as_fraction(expression) if repeating else expression.value
        return value / 100 if expression.percent and percent != "number" else value
    left = _value(expression.left, percent, repeating=repeating)
    right = _value(expression.right, percent, repeating=repeating)
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
        case "^" if right.denominator == 1 and abs(right) * max(left.numerator.bit_length(), 1) < _MOST_BITS and left:
            return left ** int(right)
    raise NotArithmeticError("the expression has no value, or one too large to work out")


def _as_fraction(number: Number) -> Fraction:
    """The number, or the repeating fraction that it is the beginning of: 1/3 for 0.33, 200/3 for 66.67."""
    value, step = number.value, number.step
    if not step or not value or (step == 1 and not number.percent) or step > abs(value) * Fraction(6, 100):
        return value
    near = [Fraction(round(value * bottom), bottom) for bottom in _REPEATING]
    best = min(near, key=lambda fraction: abs(fraction - value))
    return best if _is_rounding(value, number, best, number) else value
