"""The exact critic: in the bundled world the gold chain of each problem tells the first wrong step."""

from collections.abc import Sequence

from attnent.critic.critics import Case, Finding, step_at
from attnent.critic.quotes import CriticError
from attnent.tiny.chance import WorldError
from attnent.tiny.checking import first_error
from attnent.tiny.reading import read_problem


def exact_critic(cases: Sequence[Case]) -> list[Finding]:
    """The first wrong step of each solution. Raises CriticError for a problem that is not of the bundled world."""
    return [_first_wrong(case) for case in cases]


def _first_wrong(case: Case) -> Finding:
    try:
        problem = read_problem(case.problem, case.gold)
    except WorldError as error:
        raise CriticError(
            f"the exact critic knows only the bundled world, but {error}; use the arithmetic checker or an LLM"
        ) from error
    wrong = first_error(problem, case.solution)
    if wrong is None or not case.solution.strip():
        return Finding("none found", explanation=None if wrong is None else "the solution is empty")
    step = step_at(case.solution, wrong.start)
    explanation = f"{wrong.expected} should stand here"
    return Finding("found", step, wrong.start, wrong.stop, "exact", wrong.kind, explanation, step)
