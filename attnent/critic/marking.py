"""Where each wrong response of a Run went wrong, kept in its labels/errors.jsonl.

A row a wrong response and judge:

    response_id, judge     "exact", "arithmetic" or the name of a language model ("#k" after it for repeat k > 0)
    outcome                "found", "none found", "format only", or why a language model gave no answer
    step, quote, kind      the step as `split_steps` counts, the wrong text in it, and what is wrong
    explanation            in words
    token_start, token_stop, how   token steps [start, stop) of the quote, and how `align` found them
    step_start, step_stop          token steps [start, stop) of the whole step

What was not found is missing. A response whose outcome is "found" has all of them.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import xarray as xr

from attnent.critic.steps import CriticError, How, split_steps, token_span
from attnent.runs import Run
from attnent.tasks import gsm8k

COLUMNS = (
    "response_id", "judge", "outcome", "step", "quote", "kind", "explanation",
    "token_start", "token_stop", "step_start", "step_stop", "how",
)  # fmt: skip


def wrong_responses(run: Run) -> list[str]:
    """Ids of the finished responses of a gsm8k run whose answer is not the gold answer. Raises CriticError."""
    responses = run.responses
    missing = {"question", "gold", "gold_solution"} - set(responses.columns)
    if missing:
        raise CriticError(
            f"{run.folder} is no run of gsm8k (its examples lack {', '.join(sorted(missing))}); give one of task gsm8k"
        )
    columns = responses[["response_id", "response", "gold", "finish_reason"]].itertuples(index=False, name=None)
    return [
        response_id
        for response_id, response, gold, finish_reason in columns
        if gsm8k.grade(response, gold, finish_reason=finish_reason) == "incorrect"
    ]


def mark_exact(run: Run) -> pd.DataFrame:
    """The first wrong step of each wrong response to a problem of the bundled world, exactly, by its gold chain.

    `kind` is "slip", "wrong operand", "copying" or "missing step" (see `attnent.tiny.world.first_error`). A missing
    step has no tokens of its own: what is marked is the equation that stands in its place, or the answer line (the
    last line if there is none) where the response has no more equations. Returns the rows of the judge "exact", which
    are kept in the run. Raises CriticError for a run of another source.
    """
    from attnent.tiny.chance import WorldError
    from attnent.tiny.checking import first_error
    from attnent.tiny.reading import read_problem

    examples = run.examples.set_index("id")
    rows = []
    for response_id in wrong_responses(run):
        example, trace = examples.loc[response_id], run.trace(response_id)
        try:
            problem = read_problem(example["question"], example["gold_solution"])
        except WorldError as error:
            raise CriticError(
                f"the exact critic knows only the bundled world, but {error}; mark this run with mark_arithmetic or "
                "mark_llm"
            ) from error
        row: dict[str, Any] = {"response_id": response_id, "judge": "exact", "outcome": "none found"}
        wrong = first_error(problem, trace.attrs["response"])
        if wrong and trace.attrs["response"].strip():
            explanation = f"{wrong.expected} should stand here"
            row |= {"outcome": "found", "kind": wrong.kind, "explanation": explanation}
            row |= _marked(trace, wrong.start, wrong.stop)
        rows.append(row)
    return _keep(run, rows, ["exact"])


def _marked(trace: xr.Dataset, start: int, stop: int, how: How = "exact") -> dict[str, Any]:
    """The columns that say where the characters [start, stop) of the response stand."""
    response = trace.attrs["response"]
    token_start, token_stop = token_span(trace, start, stop)
    steps = split_steps(response)
    step = next(index for index, (_, last) in enumerate(steps) if start < last)
    step_start, step_stop = token_span(trace, *steps[step])
    return {
        "step": step,
        "quote": response[start:stop],
        "token_start": token_start,
        "token_stop": token_stop,
        "step_start": step_start,
        "step_stop": step_stop,
        "how": how,
    }


def _keep(run: Run, rows: list[dict[str, Any]], judges: Sequence[str]) -> pd.DataFrame:
    """Add to the labels of the run what they do not say yet; return all rows of these judges, one a response."""
    rows = [dict.fromkeys(COLUMNS) | row for row in rows]
    path = run.folder / "labels" / "errors.jsonl"
    known = run.labels("errors").to_dict(orient="records") if path.is_file() else []
    before = {(row["response_id"], row["judge"]): _plain(row) for row in known}
    new = [row for row in rows if before.get((row["response_id"], row["judge"])) != _plain(row)]
    if new:
        run.add_labels("errors", new)
    if not rows:
        return pd.DataFrame(columns=list(COLUMNS))
    kept, asked = run.labels("errors"), {row["response_id"] for row in rows}
    chosen = kept["judge"].isin(judges) & kept["response_id"].isin(asked)
    return kept[chosen].reindex(columns=list(COLUMNS)).reset_index(drop=True)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """The row without what is missing, so that rows read back from a table compare equal to those written."""
    return {name: value for name, value in row.items() if not pd.isna(value)}
