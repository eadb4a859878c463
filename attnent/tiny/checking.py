"""The first wrong step of a solution, exactly: the gold chain of every problem is known."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple

from attnent.tiny.problems import OPERATORS, Problem, Step

ErrorKind = Literal["slip", "wrong operand", "copying", "missing step"]


_EQUATION = re.compile(r"(\d+) ?([-+*/]) ?(\d+) ?= ?(-?\d+)")
_ANSWER = re.compile(r"#### ?(-?\d+)")


class Said(NamedTuple):
    """An equation `left operator right = result` of a response and its place; in real text numbers may be fractions."""

    left: int | Fraction
    operator: str
    right: int | Fraction
    result: int | Fraction
    start: int
    stop: int


class SaidAnswer(NamedTuple):
    """The answer that a response gives and its place."""

    value: int | Fraction
    start: int
    stop: int


@dataclass(frozen=True)
class FirstError:
    """The first wrong step of a response.

    `step` counts the equations of the response from 0 (the answer line counts as one after the last equation);
    `start` and `stop` are the character span of the wrong equation, or of the line that shows the gap, in the response;
    `expected` is the equation or answer that should stand there.
    """

    step: int
    kind: ErrorKind
    start: int
    stop: int
    expected: str


def first_error(problem: Problem, response: str) -> FirstError | None:
    """The first wrong step of `response` measured against the gold chain, None when every step is right.

    Equations `a o b = c` (o one of + - * /) are read in order and compared exactly, in whole numbers, with the gold
    steps at the same place; the operands of + and * may be swapped. At the first place that differs:

    - `slip`: operands and operator are those of the gold step, the result is not.
    - `missing step`: the response has no more equations; or its equation is that of a later gold step (same operator,
      all the numbers which that step takes from the problem, at least one) and holds none of the numbers that the
      gold step takes from the problem; or there is no answer line at all.
    - `copying`: same operator, one operand right, and the other a misspelling of the right one: a number that stands
      neither in the problem nor among the earlier results and differs from the right one by one digit changed, added,
      dropped, or by two neighbours swapped. Also an answer line that differs from the last result.
    - `wrong operand`: any other equation, true or not, and any equation after the last gold step.

    A chain in another order is right when all its equations are true, it ends in the gold answer, has the same
    operators, uses every number that the gold chain takes from the problem exactly as often, and otherwise only its
    own earlier results, each but the last at least once.
    """
    equations = [
        Said(int(match[1]), match[2], int(match[3]), int(match[4]), *match.span())
        for match in _EQUATION.finditer(response)
    ]
    answers = [SaidAnswer(int(match[1]), *match.span()) for match in _ANSWER.finditer(response)]
    return first_difference(problem, response, equations, answers[-1] if answers else None)


def first_difference(
    problem: Problem, response: str, equations: Sequence[Said], answer: SaidAnswer | None
) -> FirstError | None:
    """The same for equations and an answer that are read already."""
    if _right_in_other_order(problem, equations, answer):
        return None
    results: list[int | Fraction] = []
    for index, (left, operator, right, result, *span) in enumerate(equations):
        if index == problem.n_steps:
            return FirstError(index, "wrong operand", *span, f"#### {problem.answer}")
        gold = problem.steps[index]
        expected = f"{gold.left}{gold.operator}{gold.right}={gold.result}"
        if not _same_operation(gold, left, operator, right):
            kind = _operand_kind(problem, index, (left, operator, right), results)
            return FirstError(index, kind, *span, expected)
        if result != gold.result:
            return FirstError(index, "slip", *span, expected)
        results.append(result)
    last_line = (response.rstrip().rfind("\n") + 1, len(response))
    if len(equations) < problem.n_steps:
        gold = problem.steps[len(equations)]
        span = (answer.start, answer.stop) if answer else last_line
        return FirstError(
            len(equations), "missing step", *span, f"{gold.left}{gold.operator}{gold.right}={gold.result}"
        )
    if not answer:
        return FirstError(len(equations), "missing step", *last_line, f"#### {problem.answer}")
    if answer.value != problem.answer:
        return FirstError(len(equations), "copying", answer.start, answer.stop, f"#### {problem.answer}")
    return None


def _same_operation(gold: Step, left: int | Fraction, operator: str, right: int | Fraction) -> bool:
    swapped = operator in "+*" and (right, left) == (gold.left, gold.right)
    return operator == gold.operator and ((left, right) == (gold.left, gold.right) or swapped)


def _operand_kind(
    problem: Problem,
    index: int,
    equation: tuple[int | Fraction, str, int | Fraction],
    results: Sequence[int | Fraction],
) -> ErrorKind:
    """The kind of an equation whose operands or operator are not those of gold step `index`."""
    left, operator, right = equation
    gold = problem.steps[index]
    given: Counter[int | Fraction] = Counter(gold.given)
    for later in problem.steps[index + 1 :]:
        said = Counter((left, right))
        takes_later = later.given and all(said[number] >= n for number, n in Counter(later.given).items())
        if operator == later.operator and takes_later and not given & said:
            return "missing step"
    known = {int(number) for number in re.findall(r"\d+", problem.question)} | set(results)
    orders = [(left, right), (right, left)] if operator in "+*" else [(left, right)]
    for first, second in orders:
        for same, got, want in ((first == gold.left, second, gold.right), (second == gold.right, first, gold.left)):
            if operator == gold.operator and same and got not in known and _misspelt(str(got), str(want)):
                return "copying"
    return "wrong operand"


def _misspelt(got: str, want: str) -> bool:
    """Whether one digit changed, added or dropped, or two neighbours swapped, turns `want` into `got`."""
    short, long = sorted((got, want), key=len)
    if len(short) == len(long):
        differing = [place for place in range(len(got)) if got[place] != want[place]]
        if len(differing) == 2:
            first, second = differing
            return second == first + 1 and got[first] == want[second] and got[second] == want[first]
        return len(differing) == 1
    return len(long) == len(short) + 1 and any(long[:place] + long[place + 1 :] == short for place in range(len(long)))


def _right_in_other_order(problem: Problem, equations: Sequence[Said], answer: SaidAnswer | None) -> bool:
    chain = [one[:4] for one in equations]
    if not answer or answer.value != problem.answer or not chain or chain[-1][3] != problem.answer:
        return False
    if Counter(operator for _, operator, _, _ in chain) != Counter(step.operator for step in problem.steps):
        return False
    for left, operator, right, result in chain:
        exact = operator != "/" or (right != 0 and left % right == 0)
        if not exact or OPERATORS[operator](left, right) != result:
            return False
    operands = [(number, index) for index, (left, _, right, _) in enumerate(chain) for number in (left, right)]
    given = Counter(number for step in problem.steps for number in step.given)
    return _can_source(operands, [result for *_, result in chain], given, frozenset())


def _can_source(operands: list, results: list, given: Counter[int], used: frozenset[int]) -> bool:
    """Whether each operand can come from the problem or an earlier result, with all numbers and all results used."""
    if not operands:
        return not +given and used == frozenset(range(len(results) - 1))
    (number, index), rest = operands[0], operands[1:]
    if given[number] > 0 and _can_source(rest, results, given - Counter([number]), used):
        return True
    earlier = [source for source in range(index) if results[source] == number]
    return any(_can_source(rest, results, given, used | {source}) for source in earlier)
