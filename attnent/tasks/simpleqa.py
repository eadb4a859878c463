"""SimpleQA: short questions with one short answer (Wei et al. 2024, arXiv:2411.04368). Load, and judge.

The default of the real data is SimpleQA Verified (Haas et al. 2025, arXiv:2509.07968). Answers are judged by a language
model, in a wording of our own, or by rules, which need none and are a fallback. Every judge keeps its grades in the Run
under its own name: never mix two in one table.
"""

import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import unquote

import numpy as np
import pandas as pd
from pydantic import BaseModel

from attnent import tasks
from attnent.llm import LLM, Request
from attnent.rules import Outcome
from attnent.rules.commitment import split_sentences
from attnent.rules.judge import judge_offline
from attnent.runs import Run
from attnent.tasks import TaskError, choose, facts, from_hub, from_world, local_file, need_columns, refuse, text_ids

CLUSTER = "group"  # the column of whom or what is asked about: what a model knows of one is of a piece
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
OFFLINE = "offline rules"

_HUB = "google/simpleqa-verified"
_LOCAL = "a csv file with the columns `problem` and `answer`"
_KINDS = ("topic", "answer_type", "multi_step", "requires_reasoning")  # what SimpleQA Verified says of a question
_WIKIPEDIA_PAGE = re.compile(r"wikipedia\.org/wiki/(.+?)(?=[?#\s]|['\"]?,\s*['\"]?https?:|['\"]?]|$)")


# ------------------------------------------------------------------------------------------------------------- examples


def load(source: str | Path = "tiny", *, n: int, seed: int = 0) -> pd.DataFrame:
    """`n` questions, a row each; the questions for a smaller `n` are the beginning of those for a larger.

    `source` is "tiny" (the bundled world), "facts" (real ones from tables, see `facts.load`), "hub"
    (`google/simpleqa-verified`) or the path of a csv with `problem` and `answer`. The question is asked as it is; of
    facts, with leave to know none.

    Columns: `id`, `prompt`, `gold`, `group` (the person asked about in the bundled world; else the first Wikipedia page
    among the `urls` that a question was written from, without one the question), `question`; of the bundled world and
    of facts also `tier` and `attribute`, of other sources `topic`, `answer_type`, `multi_step` and
    `requires_reasoning` where they have them.
    """
    if source == "tiny":
        return _from_world(n, seed)
    if source == "facts":
        return facts.load(n, seed)
    if source == "hub":
        table = from_hub(_HUB, config=None, split="eval", instead=_LOCAL)
    else:
        table = _read_csv(local_file(source, names=("tiny", "facts", "hub"), instead=_LOCAL))
    return choose(_examples(table, where=f"the source {str(source)!r}"), n, seed=seed, what="questions")


def source_of(source: str, model: str) -> str:
    """What "auto" means for a model: its world, SimpleQA Verified, or where that cannot be fetched "facts"."""
    return tasks.source_of(source, model, dataset=_HUB, offline="facts")


def _from_world(n: int, seed: int) -> pd.DataFrame:
    from attnent.tiny import world

    columns = {"id": "id", "prompt": "question", "gold": "answer", "group": "entity", "question": "question"}
    return from_world(world.questions, n, seed, columns | {"tier": "tier", "attribute": "attribute"}, what="questions")


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} cannot be read as csv ({str(error).strip()}); pass {_LOCAL}") from error


def _examples(table: pd.DataFrame, *, where: str) -> pd.DataFrame:
    """Questions as a table; gold answers without a letter or digit are an error that lists them all."""
    need_columns(table, ("problem", "answer"), where)
    questions, answers = ([str(text).strip() for text in table[name]] for name in ("problem", "answer"))
    ids, groups = text_ids("simpleqa", questions)
    empty = (row for row, answer in enumerate(answers) if not any(char.isalnum() for char in answer))
    refuse((f"{ids[row]} (row {row})" for row in empty), f"gold answers of {where} are empty")
    frame = pd.DataFrame({"id": ids, "prompt": questions, "gold": answers, "group": groups, "question": questions})
    if "urls" in table.columns:
        pages = table["urls"].astype(str).str.extract(_WIKIPEDIA_PAGE, expand=False).map(unquote, na_action="ignore")
        of_question = pd.Series(pages.to_numpy(object)).groupby(groups).transform("first")
        frame["group"] = of_question.where(of_question.notna(), frame["group"])
    for column in _KINDS:
        if column in table.columns:
            frame[column] = table[column].to_numpy()
    return frame


def surface(examples: pd.DataFrame) -> pd.DataFrame:
    """What a question shows before it is answered: a row an example, a column a number.

    `examples` has `id` or `response_id`, which is the index then, and `question`: its lengths (`n_characters`,
    `n_words`), `n_capitals` (words with one, after the first), `n_numbers` and `n_years`. `tier`, `attribute` and what
    SimpleQA Verified says of it give a column of 0 and 1 for each of their values, such as `tier_head`; `popularity`
    gives `log_popularity`, 0 where there is none.
    """
    name = "response_id" if "response_id" in examples else "id"
    need_columns(examples, (name, "question"), "the table of questions")
    questions = examples["question"].set_axis(pd.Index(examples[name]))
    features = {
        "n_characters": questions.str.len(),
        "n_words": questions.str.split().str.len(),
        "n_capitals": questions.str.count(r"(?<=\s)[^\w\s]*[A-Z]"),
        "n_numbers": questions.str.count(r"\d+(?:[.,]\d+)*"),
        "n_years": questions.str.count(r"\b(?:1\d|20)\d\d\b"),
    }
    if "popularity" in examples:
        features["log_popularity"] = np.log(examples["popularity"].set_axis(questions.index)).fillna(0)
    kinds = [column for column in ("tier", "attribute", *_KINDS) if column in examples]
    said = examples[kinds].astype(str).set_axis(questions.index)
    return pd.get_dummies(pd.DataFrame(features).join(said), columns=kinds).astype(float)


# -------------------------------------------------------------------------------------------------------------- judging

INSTRUCTIONS = files("attnent.tasks").joinpath("judge.md").read_text(encoding="utf-8")


class Verdict(BaseModel):
    """What the judge has to answer."""

    grade: Literal["CORRECT", "INCORRECT", "NOT_ATTEMPTED"]


def request(question: str, gold: str, answer: str) -> Request:
    """What the judge is asked about one answer."""
    case = json.dumps({"question": question, "reference": gold, "answer": answer}, ensure_ascii=False, indent=1)
    return Request([{"role": "user", "content": f"{INSTRUCTIONS}\n{case}"}], Verdict, max_tokens=1_000)


def grade(run: Run, llm: LLM, *, progress: bool = True) -> pd.Series:
    """What the model says of every response, by response_id; kept as grades of the judge `llm.model` in the Run.

    A response that got no grade has in its place what happened instead ("refused", "malformed", "cut off", "filtered",
    "failed", "not asked"), and one that was cut before it answered "truncated": never count these, select
    `simpleqa.OUTCOMES`. Raises LLMError.
    """
    responses = run.responses
    asked = [request(*texts) for texts in responses[["question", "gold", "response"]].itertuples(index=False)]
    answers = llm.ask(asked, progress=progress)
    grades = [answer.value.grade.lower() if isinstance(answer.value, Verdict) else answer.outcome for answer in answers]
    given = dict(zip(responses["response_id"], grades, strict=True))
    return run.grade(lambda row: _unless_truncated(row, given[row["response_id"]]), judge=llm.model)


def grade_offline(run: Run) -> pd.Series:
    """What the offline rules say of every response, by response_id; kept as grades of the judge OFFLINE in the Run.

    A response that was cut before it answered has "truncated" in place of an outcome.
    """

    def graded(row: pd.Series) -> str:
        return _unless_truncated(row, judge_offline(row["question"], row["gold"], row["response"]))

    return run.grade(graded, judge=OFFLINE)


def same_answer(question: str, one: str, other: str) -> bool:
    """Whether two answers to a question say the same by the offline rules, the one taken as the gold answer."""
    return judge_offline(question, one, other) == "correct"


def same_answer_by(llm: LLM) -> Callable[[str, str, str], bool]:
    """As `same_answer`, by what a model says; what it gives no grade is not the same."""

    def same(question: str, one: str, other: str) -> bool:
        verdict = llm.ask([request(question, one, other)], progress=False)[0].value
        return isinstance(verdict, Verdict) and verdict.grade == "CORRECT"

    return same


def _unless_truncated(row: pd.Series, grade: str) -> str:
    """The grade; "truncated" where the limit of tokens ended the first sentence and nothing right was said by then."""
    unfinished = row["finish_reason"] == "length" and len(split_sentences(f"{row['response']} ...")) < 2
    return "truncated" if unfinished and grade in ("incorrect", "not_attempted") else grade
