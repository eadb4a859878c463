"""Arithmetic in plain English: word problems of one or two steps with their gold chains. Knows no model.

`plain.json` holds the sentences. In them a, b and c stand for amounts, k and m for how many times, x for the result of
the first step; `{a + b}` in a worked line becomes an equation such as `3 + 4 = 7`.
"""

import json
import re
from importlib.resources import files
from random import Random
from typing import NamedTuple

import pandas as pd

from attnent.tasks import TaskError, text_ids
from attnent.tiny.chance import between, pick, shuffled

LEVELS = ((1, "small"), (1, "large"), (2, "small"), (2, "large"))  # steps and numbers, from level 1
IN_TURN = (1, 2, 1, 2, 3, 4)  # the levels of every six problems
AMOUNTS = {"small": (2, 9), "large": (10, 30)}
TIMES = {"small": (2, 4), "large": (2, 5)}
LEAST, MOST = 2, 750  # of a result, where a template does not say less
N_SHOWN = 2  # solved problems of the same kind before each

_DECLARED = json.loads(files("attnent.tasks").joinpath("plain.json").read_text(encoding="utf-8"))
_EQUATION = re.compile(r"\{(\w) ([-+*/]) (\w)\}")
_CALCULATE = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}


class Template(NamedTuple):
    """A question and the lines of its solution, with names for words and numbers; `most` bounds every result."""

    asked: str
    worked: list[str]
    most: int = MOST


class Told(NamedTuple):
    """A problem, the lines of its gold solution, and its answer."""

    question: str
    lines: list[str]
    answer: int


TEMPLATES = tuple(Template(**one) for one in _DECLARED["problems"])

_ASKED = [re.compile(re.sub(r"\\{\w+\\}", ".+?", re.escape(one.asked))) for one in TEMPLATES]


def load(n: int, seed: int = 0) -> pd.DataFrame:
    """`n` problems, a row each; the problems for a smaller `n` are the beginning of those for a larger.

    Columns: `id`; `group`, the problem; `prompt`, messages: N_SHOWN problems of the same kind with their solutions,
    then the problem (SmolLM2-135M-Instruct is right on one in ten alone, on four in ten so); `gold`; `question`;
    `level`, 1 to 4 (LEVELS: one step, then two, each with small numbers, then with large ones); `n_gold_steps`;
    `gold_solution`, a line a step and the answer, `#### 7`. Raises TaskError where n is below 1.

    Each seed draws its own set: two of 800 problems share about one, at most four among sixteen sets.
    """
    if n < 1:
        raise TaskError(f"n is {n}; pass at least 1")
    rng = Random(f"plain {seed}")
    found: dict[str, dict[str, object]] = {}
    while len(found) < n:
        row = _row(rng, IN_TURN[len(found) % len(IN_TURN)])
        found.setdefault(str(row["question"]), row)
    table = pd.DataFrame(list(found.values()))
    ids, groups = text_ids("plain", table["question"])
    table.insert(0, "id", ids)
    table.insert(1, "group", groups)
    return table


def kinds(questions: pd.Series) -> pd.DataFrame:
    """Which template each problem is of: a column of 0 and 1 a template, with the index of `questions`.

    Raises TaskError for a question that is of none.
    """
    numbers = questions.map(_template_of)
    if (unknown := numbers < 0).any():
        raise TaskError(f"{questions[unknown].iloc[0]!r} is no plain problem; give questions of source='plain'")
    return pd.get_dummies(numbers, prefix="template").astype(float)


def _template_of(question: str) -> int:
    """The place of a problem's template in TEMPLATES; -1 where it has none."""
    return next((place for place, asked in enumerate(_ASKED) if asked.fullmatch(question)), -1)


def _row(rng: Random, level: int) -> dict[str, object]:
    n_steps, size = LEVELS[level - 1]
    template = pick(rng, [one for one in TEMPLATES if len(one.worked) == n_steps])
    told = _tell(rng, template, size)
    turns: list[str] = []
    while len(turns) < 2 * N_SHOWN:
        shown = _tell(rng, template, size)
        if shown.answer != told.answer:  # so an answer that is copied is wrong
            turns += [shown.question, "\n".join([*shown.lines, f"The answer is {shown.answer}."])]
    roles = ("user", "assistant") * N_SHOWN + ("user",)
    return {
        "prompt": [{"role": role, "content": text} for role, text in zip(roles, [*turns, told.question], strict=True)],
        "gold": str(told.answer),
        "question": told.question,
        "level": level,
        "n_gold_steps": n_steps,
        "gold_solution": "\n".join([*told.lines, f"#### {told.answer}"]),
    }


def _tell(rng: Random, template: Template, size: str) -> Told:
    """A random problem of a template."""
    words = {kind: pick(rng, names) for kind, names in _DECLARED["words"].items()}
    (words["name"], words["he"], words["his"]), (words["friend"], *_), (words["other"], *_) = shuffled(
        rng, _DECLARED["people"]
    )[:3]
    words |= {"He": words["he"].capitalize(), "His": words["his"].capitalize()}
    while True:
        numbers = {name: between(rng, *AMOUNTS[size]) for name in "abc"}
        numbers |= {name: between(rng, *TIMES[size]) for name in "km"}
        if lines := _work(template, numbers):
            lines = [line.format(**words) for line in lines]
            return Told(template.asked.format(**words, **numbers), lines, numbers["xy"[len(lines) - 1]])


def _work(template: Template, numbers: dict[str, int]) -> list[str]:
    """The lines with their equations, whose results are added to the numbers; none where the numbers do not fit."""
    lines = []
    for result, line in zip("xy", template.worked, strict=False):
        left, operator, right = _EQUATION.findall(line)[0]
        left, right = numbers[left], numbers[right]
        numbers[result] = _CALCULATE[operator](left, right)
        exact = operator != "/" or left % right == 0
        if not exact or not LEAST <= numbers[result] <= template.most:
            return []
        lines.append(_EQUATION.sub(f"{left} {operator} {right} = {numbers[result]}", line))
    return lines
