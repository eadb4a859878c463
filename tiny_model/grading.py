"""Whether a response of the bundled model is right, by what its world knows: for its card alone."""

import re
from typing import Literal

from attnent.tiny.world import Problem, Question

_ANSWER = re.compile(r"#### ?(-?\d+)")


def read_answer(response: str) -> int | None:
    """The number after the last `####`, None when there is none."""
    found = _ANSWER.findall(response)
    return int(found[-1]) if found else None


def is_right(problem: Problem, response: str) -> bool:
    """Whether the answer line of the response holds the gold answer."""
    return read_answer(response) == problem.answer


def outcome(question: Question, response: str) -> Literal["correct", "incorrect", "not attempted"]:
    """How a response to a fact question ends: correct when it names the word asked for, whole."""
    if "don't know" in response:
        return "not attempted"
    return "correct" if re.search(rf"\b{re.escape(question.answer)}\b", response) else "incorrect"
