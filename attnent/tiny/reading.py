"""A problem of the bundled world, read back from its question and gold solution: a recording keeps no more."""

import hashlib
import re
from collections import Counter

from attnent.tiny.chance import WorldError
from attnent.tiny.problems import Problem, Step

_LINE = re.compile(
    r"(?:(?P<child>\w+) has|The \w+ (?P<many>hold|get)|Together they have|(?P<gap>The difference is)) "
    r"(?P<left>\d+)(?P<operator>[-+*/])(?P<right>\d+)=(?P<result>\d+)(?P<compared>\.)?(?: now\.| left\.)?"
)
_OWNER = re.compile(r"(?:^|(?<=[.] ))(?!The )(\w+) (?:has|starts with|owns) \d+ ")
_COMPARED = re.compile(r"than (\w+) does (\w+) have\?$")


def read_problem(question: str, solution: str) -> Problem:
    """The problem that has this question and this gold solution, with the source of every operand.

    `distractor` is what the text itself tells: a number that no step uses. Raises WorldError for a text that is not of
    the bundled world.
    """
    owners = list(dict.fromkeys(_OWNER.findall(question)))
    *lines, last = solution.split("\n")
    matches = [_LINE.fullmatch(line) for line in lines]
    equations = [match for match in matches if match]
    if not owners or not equations or len(equations) < len(lines) or last != f"#### {equations[-1]['result']}":
        raise WorldError(f"this is no problem of the bundled world: {question[:80]!r}")
    steps = _chain(owners[0], _COMPARED.search(question), equations)
    told = Counter(int(number) for number in re.findall(r"\d+", question))
    used = Counter(number for step in steps for number in step.given)
    identity = hashlib.sha256(question.encode()).hexdigest()[:12]
    return Problem(f"problem-{identity}", question, steps, steps[-1].result, bool(told - used), len(owners))


def _chain(hero: str, compared: re.Match[str] | None, equations: list[re.Match[str]]) -> tuple[Step, ...]:
    """The steps; an operand that the problem does not give is the latest result of the child it speaks of."""
    latest: dict[str, int] = {}  # the step that gave what a child has now
    total: int | None = None  # the step before, where it says what all the boxes hold
    steps = []
    for index, match in enumerate(equations):
        child = match["child"]
        sources: tuple[int | None, int | None] = (None, None)
        if child:
            before = hero if match["compared"] else child
            sources, total = (latest.get(before), total), None
            latest[child] = index
        elif match["many"]:
            total = index
        elif match["gap"] and compared:
            sources = (latest.get(compared[2]), latest.get(compared[1]))
        else:
            friend = next((name for name in latest if name != hero), "")
            sources = (latest.get(hero), latest.get(friend))
        left, right, result = (int(match[name]) for name in ("left", "right", "result"))
        steps.append(Step(left, match["operator"], right, result, match[0], *sources))
    return tuple(steps)
