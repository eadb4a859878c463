"""Single errors planted in right solutions, at places that are known: what a critic is measured with.

Equations are found here by their look alone and not by the parser of the checker, which is measured with them too.
"""

import re
from random import Random
from typing import NamedTuple

MISTAKES = {"slip": "result", "wrong operand": "right", "wrong operator": "operator"}  # and the part that is changed

_NUMBER = r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)"
_EQUATION = re.compile(
    rf"""(?<![\w.,/^]) (?P<left>{_NUMBER}) (?:[^\S\n]*[^\W\d_]{{2,}}+|%)* [^\S\n)]*
         (?P<operator>[-+*/x×÷–−]) [^\S\n]*+[$£€]?[^\S\n]*+ (?P<right>{_NUMBER}) (?![\w^])
         (?:[^\S\n]*[/(]?[^\W\d_]{{2,}}+|%)* [)\s]* = [^\S\n]*+
         [$£€]?[^\S\n]*+ (?P<result>{_NUMBER}) (?![\w/^]|[.,]\d)""",
    re.VERBOSE,
)
_NOTE = re.compile(r"<<[^<>\n]*>>")
_OTHER = {"+": "-", "-": "+", "–": "+", "−": "+", "*": "/", "x": "/", "×": "÷", "/": "*", "÷": "×"}


class Planted(NamedTuple):
    """A solution with one planted error, in the characters [start, stop); `right` stood there."""

    solution: str
    start: int
    stop: int
    right: str


def plant_error(solution: str, mistake: str, seed: int) -> Planted | None:
    """A copy of a right solution with one error in one of its equations; None where none can be made false.

    - `slip`: one digit of a result is another.
    - `wrong operand`: one digit of the last operand is another.
    - `wrong operator`: plus for minus, times for divided by, and the other way round.

    What is said later is as it was, as if the error were in this place alone. Calculator notes (`<<48/2=24>>`) stay as
    they were; the error is in the text.
    """
    rng = Random(f"{mistake} {seed} {solution}")
    visible = _NOTE.sub(lambda note: " " * len(note[0]), solution)
    places = [match for match in _EQUATION.finditer(visible) if _can_be_false(match)]
    if not places:
        return None
    place = rng.choice(places)
    part = MISTAKES[mistake]
    start, stop = place.span(part)
    wrong = _OTHER[place[part]] if part == "operator" else _other_number(place[part], rng)
    planted = solution[:start] + wrong + solution[stop:]
    return Planted(planted, start, start + len(wrong), place[part])


def _can_be_false(match: re.Match[str]) -> bool:
    """Whether another operator makes another value: nothing is added, and nothing multiplied by 0 or 1."""
    left, right = (float(match[name].replace(",", "")) for name in ("left", "right"))
    return left != 0 and right not in (0, 1)


def _other_number(number: str, rng: Random) -> str:
    """The number with one digit changed, never the first to a zero."""
    place = rng.choice([index for index, char in enumerate(number) if char.isdigit()])
    digit = rng.choice([digit for digit in "0123456789"[place == 0 :] if digit != number[place]])
    return number[:place] + digit + number[place + 1 :]
