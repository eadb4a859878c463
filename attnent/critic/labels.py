"""Where each wrong response of a Run went wrong, kept in its labels/errors.jsonl.

A row a wrong response and judge:

    response_id, judge     "exact", "arithmetic" or the name of a language model ("#k" after it for repeat k > 0)
    outcome                "found", "none found", "format only", or why a language model gave no answer
    line, quote, kind      the line as `split_lines` counts, the wrong text in it, and what is wrong
    explanation            in words
    claimed_line           the line that the critic named; `line` is the one that its quote stands in
    token_start, token_stop, how   steps [start, stop) of the quote, and how it was found (`find_quote`)
    line_start, line_stop          steps [start, stop) of the whole line

What was not found is missing. A response whose outcome is "found" has all of them.
"""

from typing import Any

import pandas as pd

from attnent.critic.critics import Case, Finding, examine
from attnent.critic.quotes import CriticError, token_span
from attnent.llm import LLM
from attnent.runs import Run, RunError
from attnent.tasks import gsm8k
from attnent.trace import split_lines

COLUMNS = (
    "response_id", "judge", "outcome", "line", "quote", "kind", "explanation", "claimed_line",
    "token_start", "token_stop", "line_start", "line_stop", "how",
)  # fmt: skip


def mark(run: Run, critic: str | LLM, *, repeats: int = 1) -> pd.DataFrame:
    """Where each wrong response of a gsm8k run went wrong; the rows, which are kept in the run.

    `critic` is "exact" (bundled world, plain arithmetic), "arithmetic", or a language model, which is asked `repeats`
    times: as the judges `llm.model`, `llm.model#1` ... Raises CriticError for another critic or a run of another
    source, LLMError where nothing can be asked.
    """
    if repeats < 1:
        raise CriticError(f"repeats is {repeats}; ask at least once")
    if repeats > 1 and not isinstance(critic, LLM):
        raise CriticError(f"repeats is {repeats}, but the critic {critic!r} says the same each time; leave repeats out")
    wrong = wrong_responses(run)
    cases = [Case(*texts) for texts in wrong[["question", "gold_solution", "response"]].itertuples(index=False)]
    judge = critic.model if isinstance(critic, LLM) else critic
    rows = []
    for repeat in range(repeats):
        findings = examine(critic, cases, repeat=repeat)
        rows += keep(run, f"{judge}#{repeat}" if repeat else judge, located(run, wrong, findings))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def wrong_responses(run: Run) -> pd.DataFrame:
    """The finished responses of a gsm8k run whose answer is not the gold answer. Raises CriticError."""
    responses = run.responses
    missing = {"question", "gold", "gold_solution"} - set(responses.columns)
    if missing:
        raise CriticError(
            f"{run.folder} is no run of gsm8k (its examples lack {', '.join(sorted(missing))}); give one of task gsm8k"
        )
    return responses[[gsm8k.outcome(row) == "incorrect" for _, row in responses.iterrows()]]


def located(run: Run, wrong: pd.DataFrame, findings: list[Finding]) -> list[dict[str, Any]]:
    """What was found in each wrong response, with the steps of it."""
    tokens = dict(list(run.tokens.groupby("response_id")[["char_start", "char_end"]]))
    rows = []
    columns = wrong[["response_id", "response"]].itertuples(index=False, name=None)
    for (name, response), finding in zip(columns, findings, strict=True):
        row = {"response_id": name} | finding._asdict()
        start, stop = row.pop("start"), row.pop("stop")
        if finding.outcome == "found":
            places = tokens[name].to_numpy().T
            row["quote"] = response[start:stop]
            row["token_start"], row["token_stop"] = token_span(*places, start, stop)
            row["line_start"], row["line_stop"] = token_span(*places, *split_lines(response)[row["line"]])
        rows.append({key: value for key, value in row.items() if value is not None})
    return rows


def keep(run: Run, judge: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with their judge; what the labels of the run do not say yet is added to them."""
    try:
        labels = run.labels("errors")
    except RunError:  # there are none
        labels = pd.DataFrame(columns=list(COLUMNS))
    known = labels[labels["judge"] == judge].to_dict(orient="records")
    before = {row["response_id"]: {key: value for key, value in row.items() if not pd.isna(value)} for row in known}
    rows = [{"judge": judge} | row for row in rows]
    if new := [row for row in rows if row != before.get(row["response_id"])]:
        run.add_labels("errors", [dict.fromkeys(COLUMNS) | row for row in new])
    return rows
