"""The first wrong step of a solution in real text, by the gold chain of its problem."""

import re
from fractions import Fraction

from attnent.critic.equations import Calculation, calculations, check_arithmetic
from attnent.tasks.gsm8k import read_answer
from attnent.tiny.checking import FirstError, Said, SaidAnswer, first_difference
from attnent.tiny.problems import Problem, Step


class NoChainError(ValueError):
    """A gold solution that does not tell every right step."""


def read_chain(question: str, gold: str) -> Problem:
    """The problem whose gold solution is a chain: a true equation `a o b = c` a line, then `#### c` of the last.

    Every step but the first works with the result before it; its other operand, and both of the first, are told in the
    question. Raises NoChainError for any other solution, and where there are calculator notes: other ways lead to the
    answers of real problems too.
    """
    *lines, last = gold.split("\n")
    told = [int(number) for number in re.findall(r"\d+", question)]
    steps: list[Step] = []
    for line in lines:
        step = _gold_step(line, steps[-1].result if steps else None, len(steps))
        if step is None or not set(step.given) <= set(told):
            raise NoChainError(f"this line of its gold solution is no step of a chain: {line[:80]!r}")
        steps.append(step)
    if not steps or last != f"#### {steps[-1].result}":
        raise NoChainError(f"its gold solution does not end in the last result: {gold[-80:]!r}")
    return Problem("", question, tuple(steps), steps[-1].result, len(told) > 1 + len(steps), 1)


def _gold_step(line: str, before: int | None, index: int) -> Step | None:
    said = [_in_whole(one) for one in calculations(line)]
    numbers = [number for one in said for number in (one.left, one.right, one.result)]
    if len(said) != 1 or "<<" in line or check_arithmetic(line) or any(type(number) is Fraction for number in numbers):
        return None
    left, right, result = map(int, numbers)
    sources = (None, None)
    if before is not None:
        if before not in (left, right):
            return None
        sources = (index - 1, None) if left == before else (None, index - 1)
    return Step(left, said[0].operator, right, result, line, *sources)


def first_wrong(problem: Problem, solution: str) -> FirstError | None:
    """The first wrong step of a solution; its kind as in `attnent.tiny.checking.first_error`.

    The answer is what `read_answer` reads. None where it is right and every equation is true, whatever way led there;
    an equation that is repeated counts once.
    """
    answer = read_answer(solution).value
    if answer == problem.answer and not check_arithmetic(solution):
        return None
    said: dict[tuple, Said] = {}
    for one in map(_in_whole, calculations(solution)):
        said.setdefault(one[:4], one)
    return first_difference(problem, solution, list(said.values()), _place(solution, answer))


def _in_whole(one: Calculation) -> Said:
    """A calculation with whole numbers where they are."""
    left, right, result = (
        int(number) if number.denominator == 1 else number for number in (one.left, one.right, one.result)
    )
    return Said(left, one.operator, right, result, one.start, one.stop)


def _place(solution: str, answer: Fraction | None) -> SaidAnswer | None:
    """Where the answer stands: its last mention in digits, else the last line."""
    if answer is None:
        return None
    places = [match.span() for match in re.finditer(rf"(?<![\d.,]){re.escape(str(answer))}(?![\d/]|[.,]\d)", solution)]
    last_line = (solution.rstrip().rfind("\n") + 1, len(solution.rstrip()))
    return SaidAnswer(answer, *(places[-1] if places else last_line))
