"""Runs of made-up traces, graded, with a signal planted in some heads."""

from pathlib import Path

import pandas as pd
from made_up import made_up_trace

from attnent.runs import Run

TOKENS = ["Tom", " has", " ", "3", "+", "4", "=", "7", ""]
WRONG = (4, 6)  # the steps of an error
GRADES = {"right": "correct", "wrong": "incorrect"}


def graded_run(
    folder: Path,
    n: int = 40,
    *,
    seed: int = 0,
    model: str = "made-up",
    grades: dict[str, str] | None = GRADES,
    errors: str | None = "found",
    **layers: int,
) -> Run:
    """n responses, every second one wrong: at its wrong tokens two heads and the next token are less certain.

    `grades` and `errors` are what the judges say of right and wrong ones; None: there was no such judge.
    """
    kinds = {f"r{number:03d}": ("right", "wrong")[number % 2] for number in range(n)}
    examples = pd.DataFrame({"id": [*kinds], "prompt": "p"})
    run = Run.start(folder, identity={"task": "made", "seed": seed}, examples=examples)
    for number, (response_id, kind) in enumerate(kinds.items()):
        trace = made_up_trace(TOKENS, seed=1_000 * seed + number, **layers).assign_attrs(model=model)
        if kind == "wrong":
            trace["varentropy"][1, 2:4, slice(*WRONG)] += 2
            trace["token_entropy"][slice(*WRONG)] += 2
        run.save(response_id, trace)
    if grades:
        run.add_labels("grades", [{"response_id": name, "judge": "j", "grade": grades[kinds[name]]} for name in kinds])
    if errors:
        about = {"judge": "exact", "outcome": errors, "token_start": WRONG[0], "token_stop": WRONG[1]}
        run.add_labels("errors", [{"response_id": name} | about for name in kinds if kinds[name] == "wrong"])
    return run
