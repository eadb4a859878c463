"""Critics: each is given solved problems and says of each where the first error is.

A critic is any function from Cases to Findings, in order. Here are the arithmetic checker and a language model.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, Field

from attnent.critic.equations.checking import check_arithmetic
from attnent.critic.quotes import CriticError, How, find_quote, split_steps
from attnent.llm import LLM, Answer, Request

Kind = Literal[
    "arithmetic", "misread", "wrong operation", "missing step", "units", "copying", "format only", "none found"
]

INSTRUCTION = """You examine solutions of word problems. You are given a problem{gold_too} and a student's solution \
whose lines are numbered in square brackets, from 0.

Find the first line in which the student's solution goes wrong: everything before it is right, and what it says is \
false, or does not follow from the problem, or skips something that is needed. Later lines that only carry the error \
on do not count. A different but valid way to the right answer is no error.

Give
- step: the number of that line;
- quote: the wrong part of that line, copied character by character from it. Quote a clause or a whole equation, never \
a bare number; leave out the number in brackets;
- kind: arithmetic (a calculation with a wrong result), misread (the problem says something else), wrong operation \
(right numbers, wrong calculation), missing step (something needed was left out before this line), units (units mixed \
or converted wrongly), copying (a number taken over wrongly from the problem or an earlier line), format only (the \
reasoning is right and only the form of the answer is not as asked), none found (there is no error);
- explanation: one or two sentences: what is wrong and what would be right.

For "none found" and "format only" give the last line as step and an empty quote."""


class Verdict(BaseModel):
    """What a language model is asked to say of a solution."""

    explanation: str = Field(description="what is wrong, and what would be right, in one or two sentences")
    step: int = Field(description="number of the first wrong line")
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
    characters [start, stop) of step `step`; `claimed_step` is the step that the critic named, which may be another.
    """

    outcome: str
    step: int | None = None
    start: int | None = None
    stop: int | None = None
    how: How | None = None
    kind: str | None = None
    explanation: str | None = None
    claimed_step: int | None = None


Critic = Callable[[Sequence[Case]], list[Finding]]


def arithmetic_critic(cases: Sequence[Case]) -> list[Finding]:
    """The first false equation of each solution."""
    return [_first_false(case.solution) for case in cases]


def _first_false(solution: str) -> Finding:
    found = check_arithmetic(solution)
    if not found:
        return Finding("none found")
    first = found[0]
    explanation = f"the left side is {first.left}, the right side {first.right}"
    step = step_at(solution, first.start)
    return Finding("found", step, first.start, first.stop, "exact", "arithmetic", explanation, step)


def llm_critic(llm: LLM, *, repeat: int = 0, progress: bool = True) -> Critic:
    """A language model as critic; an answer that it gave before is not paid for again.

    What the model refuses, garbles or leaves unfinished is an outcome of its own; so is a place that does not exist
    ("malformed"). Asking raises LLMError where nothing can be asked at all.
    """

    def critic(cases: Sequence[Case]) -> list[Finding]:
        asked = [place for place, case in enumerate(cases) if split_steps(case.solution)]
        answers = llm.ask([verdict_request(cases[place], repeat=repeat) for place in asked], progress=progress)
        findings = [Finding("none found", explanation="the solution is empty")] * len(cases)
        for place, answer in zip(asked, answers, strict=True):
            findings[place] = _read(answer, cases[place].solution)
        return findings

    return critic


def verdict_request(case: Case, *, repeat: int = 0) -> Request:
    """The question to a language model: the problem, the right solution where known, and the numbered lines."""
    spans = split_steps(case.solution)
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
    said = Finding(verdict.kind, kind=verdict.kind, explanation=verdict.explanation, claimed_step=verdict.step)
    if verdict.kind in ("none found", "format only"):
        return said
    try:
        start, stop, how = find_quote(verdict.quote, solution, verdict.step)
    except CriticError as error:
        return said._replace(outcome="malformed", explanation=f"{error}: {verdict.explanation}")
    return said._replace(outcome="found", step=step_at(solution, start), start=start, stop=stop, how=how)


def step_at(solution: str, start: int) -> int:
    """The step, as `split_steps` counts, that holds the character at `start`."""
    return next(index for index, (_, stop) in enumerate(split_steps(solution)) if start < stop)
