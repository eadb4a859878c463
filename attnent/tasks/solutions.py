"""Solutions that other models wrote, with labels: what a reader's attention is recorded on. Knows no model."""

import re
from typing import Any

import pandas as pd

from attnent.tasks import refuse

COLUMNS = ("text", "label", "writer")
LABELS = {True: "correct", False: "incorrect"}
_CALCULATION = re.compile(r"<<[^<>\n]{0,200}>>")


def holds(table: pd.DataFrame) -> bool:
    """Whether a table of problems brings solutions: as a column, or as OpenAI's files do, in one cell a model."""
    return "solution" in table or bool(_writers(table))


def unfolded(table: pd.DataFrame, *, where: str) -> pd.DataFrame:
    """A row a solution: `question`, `answer` (the gold solution), `text` (the solution), `label` and `writer`.

    `table` has a row a solution with `question`, `answer` or `ground_truth`, `solution`, `is_correct` (true or false)
    and where it is known `model`, who wrote it; or a row a problem with {"solution", "is_correct"} under the name of
    each model, as in OpenAI's example_model_solutions.jsonl. The marks of a calculator (`<<48/2=24>>`), which no reader
    was meant to see, are taken off. Raises TaskError where a solution is empty or has no label.
    """
    table = table.rename(columns={"ground_truth": "answer", "model": "writer"})
    if writers := _writers(table):
        shared = table.drop(columns=[*writers, "solution", "is_correct", "writer"], errors="ignore")
        parts = [
            shared.join(pd.DataFrame(table[name].map(_cell).tolist(), table.index)).assign(writer=name)
            for name in writers
        ]
        table = pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)
    labels = table["is_correct"].map(_label) if "is_correct" in table else pd.Series("", table.index)
    texts = table["solution"].astype(str).str.replace(_CALCULATION, "", regex=True)
    refuse(_rows(labels == ""), f"solutions of {where} have no label, `is_correct` true or false")
    refuse(_rows(texts.str.strip() == ""), f"solutions of {where} are empty")
    known = [name for name in ("question", "answer", "writer") if name in table]
    return table[known].assign(text=texts, label=labels, writer=table.get("writer", "unknown"))


def _writers(table: pd.DataFrame) -> list[str]:
    """The columns that hold solutions of one model each."""
    return [name for name in table if table[name].map(lambda cell: isinstance(cell, dict) and "solution" in cell).any()]


def _cell(cell: Any) -> dict[str, Any]:
    given = cell if isinstance(cell, dict) else {}
    return {"solution": given.get("solution", ""), "is_correct": given.get("is_correct")}


def _label(is_correct: Any) -> str:
    return LABELS[bool(is_correct)] if isinstance(is_correct, bool) else ""


def _rows(bad: pd.Series) -> list[str]:
    return [f"row {row}" for row in bad.index[bad]]
