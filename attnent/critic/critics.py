"""The critics: each is given solved problems and says of each where the first error is.

"exact"         where the gold chain of each problem tells the first wrong step: the bundled world, plain arithmetic
"arithmetic"    the first false equation (`attnent.critic.equations`)
an LLM          a language model, asked
"""

from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import Literal, NamedTuple

from pydantic import AliasChoices, BaseModel, Field

from attnent.critic.chains import NoChainError, first_wrong, read_chain
from attnent.critic.equations import check_arithmetic
from attnent.critic.quotes import CriticError, How, find_quote
from attnent.llm import LLM, Answer, Request
from attnent.tiny.chance import WorldError
from attnent.tiny.checking import FirstError, first_error
from attnent.tiny.reading import read_problem
from attnent.trace import split_lines

Kind = Literal[
    "arithmetic", "misread", "wrong operation", "missing step", "units", "copying", "format only", "none found"
]

INSTRUCTION = files("attnent.critic").joinpath("critic.md").read_text(encoding="utf-8").rstrip("\n")


class Verdict(BaseModel):
    """What a language model is asked to say of a solution; most protocols call the line a step."""

    explanation: str = Field(description="what is wrong, and what would be right, in one or two sentences")
    line: int = Field(description="number of the first wrong line", validation_alias=AliasChoices("line", "step"))
    quote: str = Field(description="the wrong clause of that line, verbatim")
    kind: Kind


class Case(NamedTuple):
    """A problem, its right solution ("" where it is not known), and the solution to examine."""

    problem: str
    gold: str
    solution: str


class Finding(NamedTuple):
    """What a critic says of one solution.

    `outcome` is "found", "none found", "format only", or why there is no answer. Where found, the error is in the
    characters [start, stop) of line `line`; `claimed_line` is the line that the critic named, which may be another.
    """

    outcome: str
    line: int | None = None
    start: int | None = None
    stop: int | None = None
    how: How | None = None
    kind: str | None = None
    explanation: str | None = None
    claimed_line: int | None = None


def examine(critic: str | LLM, cases: Sequence[Case], *, repeat: int = 0) -> list[Finding]:
    """What a critic says of each solution, in order; `repeat` asks a language model again.

    Raises CriticError for an unknown critic or a problem that it cannot know, LLMError where nothing can be asked.
    """
    if isinstance(critic, LLM):
        return _asked(critic, cases, repeat)
    if critic not in OFFLINE:
        raise CriticError(
            f"there is no critic {critic!r}; give {' or '.join(map(repr, OFFLINE))}, or an attnent.llm.LLM"
        )
    return [OFFLINE[critic](case) for case in cases]


def _first_wrong(case: Case) -> Finding:
    """The first wrong step by the gold chain; `kind` as in `attnent.tiny.checking.first_error`.

    A missing step is marked at the equation that stands in its place, or at the answer line (the last line if there is
    none) where there are no more equations.
    """
    find = _by_gold(case)
    if not case.solution.strip():
        return Finding("none found", explanation="the solution is empty")
    wrong = find(case.solution)
    if wrong is None:
        return Finding("none found")
    return found_at(case.solution, wrong.start, wrong.stop, wrong.kind, f"{wrong.expected} should stand here")


def _by_gold(case: Case) -> Callable[[str], FirstError | None]:
    """What finds the first wrong step: of the bundled world, whose texts have one form, or of real text."""
    try:
        return partial(first_error, read_problem(case.problem, case.gold))
    except WorldError:
        pass
    try:
        return partial(first_wrong, read_chain(case.problem, case.gold))
    except NoChainError as error:
        raise CriticError(
            "the exact critic knows only the bundled world and problems whose gold solution is a chain with an "
            f"equation a line (the source plain), but {error}; use the arithmetic checker or an LLM"
        ) from error


def _first_false(case: Case) -> Finding:
    for first in check_arithmetic(case.solution):
        explanation = f"the left side is {first.left}, the right side {first.right}"
        return found_at(case.solution, first.start, first.stop, "arithmetic", explanation)
    return Finding("none found")


OFFLINE: dict[str, Callable[[Case], Finding]] = {"exact": _first_wrong, "arithmetic": _first_false}
_EXACT_FOR = ("tiny", "plain")  # sources whose gold chains are known step by step


def offline_for(source: str) -> str:
    """The critic without a key that sees most of what can go wrong in the problems of a source."""
    return "exact" if source in _EXACT_FOR else "arithmetic"


def found_at(solution: str, start: int, stop: int, kind: str, explanation: str) -> Finding:
    line = _line_at(solution, start)
    return Finding("found", line, start, stop, "exact", kind, explanation, line)


def _line_at(solution: str, start: int) -> int:
    return next(index for index, (_, stop) in enumerate(split_lines(solution)) if start < stop)


# ---- a language model


def _asked(llm: LLM, cases: Sequence[Case], repeat: int) -> list[Finding]:
    """What the model says; no answer is an outcome of its own, and a place that does not exist is "malformed"."""
    asked = [place for place, case in enumerate(cases) if split_lines(case.solution)]
    answers = llm.ask([_request(cases[place], repeat) for place in asked])
    findings = [Finding("none found", explanation="the solution is empty")] * len(cases)
    for place, answer in zip(asked, answers, strict=True):
        findings[place] = _read(answer, cases[place].solution)
    return findings


def _request(case: Case, repeat: int) -> Request:
    spans = split_lines(case.solution)
    lines = "\n".join(f"[{number}] {case.solution[start:stop]}" for number, (start, stop) in enumerate(spans))
    gold = f"Right solution:\n{case.gold}\n\n" if case.gold else ""
    messages = [
        {"role": "system", "content": INSTRUCTION.format(gold_too=", a right solution of it" if case.gold else "")},
        {"role": "user", "content": f"Problem:\n{case.problem}\n\n{gold}Student's solution:\n{lines}"},
    ]
    return Request(messages, Verdict, repeat)


def _read(answer: Answer, solution: str) -> Finding:
    verdict = answer.value
    if not isinstance(verdict, Verdict):
        return Finding(answer.outcome, explanation=answer.text or None)
    said = Finding(verdict.kind, kind=verdict.kind, explanation=verdict.explanation, claimed_line=verdict.line)
    if verdict.kind in ("none found", "format only"):
        return said
    try:
        start, stop, how = find_quote(verdict.quote, solution, verdict.line)
    except CriticError as error:
        return said._replace(outcome="malformed", explanation=f"{error}: {verdict.explanation}")
    return said._replace(outcome="found", line=_line_at(solution, start), start=start, stop=stop, how=how)
