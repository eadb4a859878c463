"""Where each wrong response of a Run went wrong, kept in its labels/errors.jsonl.

A row a wrong response and judge:

    response_id, judge     "exact", "arithmetic" or the name of a language model ("#k" after it for repeat k > 0)
    outcome                "found", "none found", "format only", or why a language model gave no answer
    step, quote, kind      the step as `split_steps` counts, the wrong text in it, and what is wrong
    explanation            in words
    claimed_step           the step that the critic named; `step` is the one that its quote stands in
    token_start, token_stop, how   token steps [start, stop) of the quote, and how `align` found them
    step_start, step_stop          token steps [start, stop) of the whole step

What was not found is missing. A response whose outcome is "found" has all of them.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import xarray as xr

from attnent.critic.exact import exact_critic
from attnent.critic.critics import Case, Critic, Finding, arithmetic_critic, llm_critic
from attnent.critic.quotes import CriticError, split_steps, token_span
from attnent.llm import LLM
from attnent.runs import Run
from attnent.tasks import gsm8k

COLUMNS = (
    "response_id", "judge", "outcome", "step", "quote", "kind", "explanation", "claimed_step",
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
    return _mark(run, exact_critic, "exact", wrong_responses(run))


def mark_arithmetic(run: Run) -> pd.DataFrame:
    """The first false equation of each wrong response of a gsm8k run; returns the rows of the judge "arithmetic"."""
    return _mark(run, arithmetic_critic, "arithmetic", wrong_responses(run))


def mark_llm(run: Run, llm: LLM, response_ids: Sequence[str] | None = None, *, repeats: int = 1) -> pd.DataFrame:
    """What a language model says of each wrong response (or of those named), asked `repeats` times.

    Returns the rows of the judges `llm.model`, `llm.model#1` ..., kept in the run whatever the outcome. Raises
    CriticError for a run of another task or an unknown response, LLMError where nothing can be asked.
    """
    if repeats < 1:
        raise CriticError(f"repeats is {repeats}; ask at least once")
    wrong = wrong_responses(run)
    chosen = wrong if response_ids is None else list(response_ids)
    unknown = sorted(set(chosen) - set(run.recorded))
    if unknown:
        raise CriticError(f"{run.folder} has no response {unknown[0]!r}; run.recorded lists those it has")
    judges = [llm.model, *(f"{llm.model}#{repeat}" for repeat in range(1, repeats))]
    return pd.concat(
        [_mark(run, llm_critic(llm, repeat=repeat), judge, chosen) for repeat, judge in enumerate(judges)],
        ignore_index=True,
    )


def _mark(run: Run, critic: Critic, judge: str, response_ids: Sequence[str]) -> pd.DataFrame:
    """Ask a critic about these responses and keep what it says."""
    examples = run.examples.set_index("id")
    traces = {response_id: run.trace(response_id) for response_id in response_ids}
    cases = [
        Case(examples.loc[name, "question"], examples.loc[name, "gold_solution"], trace.attrs["response"])
        for name, trace in traces.items()
    ]
    rows = [
        {"response_id": name, "judge": judge} | _row(finding, trace)
        for (name, trace), finding in zip(traces.items(), critic(cases), strict=True)
    ]
    return _keep(run, rows, judge)


def _row(finding: Finding, trace: xr.Dataset) -> dict[str, Any]:
    """What a critic found, with the token steps of it."""
    row = {name: value for name, value in finding._asdict().items() if name not in ("start", "stop")}
    if finding.step is None or finding.start is None or finding.stop is None:
        return row
    response = trace.attrs["response"]
    row["quote"] = response[finding.start : finding.stop]
    row["token_start"], row["token_stop"] = token_span(trace, finding.start, finding.stop)
    row["step_start"], row["step_stop"] = token_span(trace, *split_steps(response)[finding.step])
    return row


def _keep(run: Run, rows: list[dict[str, Any]], judge: str) -> pd.DataFrame:
    """Add to the labels of the run what they do not say yet; return the rows of this judge about these responses."""
    path = run.folder / "labels" / "errors.jsonl"
    known = run.labels("errors").to_dict(orient="records") if path.is_file() else []
    before = {row["response_id"]: _without_missing(row) for row in known if row["judge"] == judge}
    new = [row for row in rows if before.get(row["response_id"]) != _without_missing(row)]
    if new:
        run.add_labels("errors", [dict.fromkeys(COLUMNS) | row for row in new])
    return pd.DataFrame([_without_missing(row) for row in rows], columns=list(COLUMNS))


def _without_missing(row: dict[str, Any]) -> dict[str, Any]:
    """The row as it comes back from a table, so that what is written compares equal to what was read."""
    return {name: value for name, value in row.items() if not pd.isna(value)}
