"""Which answers and which tokens of Runs are known to be right or wrong: from their labels, before a trace is read."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int

from attnent.detectors.frozen import ConfidenceError
from attnent.runs import Run, RunError

Judges = str | Sequence[str] | None


class Labelled(NamedTuple):
    """What is known; the rows of `answers` are numbered from 0, and `tokens` names an answer by its number."""

    answers: pd.DataFrame  # source (number of the run), run, response_id, cluster, is_right
    tokens: pd.DataFrame  # answer (rising), step, is_right, token_entropy

    def steps_of(self, answer: int) -> Int[np.ndarray, " token"]:
        """The steps of an answer's labelled tokens."""
        first, last = np.searchsorted(self.tokens["answer"], [answer, answer + 1])
        return self.tokens["step"].to_numpy()[first:last]


def labelled(runs: Sequence[Run], judges: Judges = None) -> Labelled:
    """Answers graded correct or incorrect; and their tokens that wrote text, where it is known which are wrong.

    Where wrong answers have error spans (labels "errors"), the tokens of a span are wrong, those before it right, and
    those after it, which follow from the error, are left out, like all of a wrong answer without a span. In a run
    without such labels each token is what its answer is. Clusters are the examples' column "group" within a task, or
    the response. Of several judges of a run the one who labelled last counts, or the last of `judges`. Raises
    ConfidenceError where a run has no grades, or none of these judges.
    """
    if not runs:
        raise ConfidenceError("there are no runs to learn from; give at least one")
    names = ["/".join(run.folder.resolve().parts[-3:]) for run in runs]
    if len(set(names)) < len(names):
        raise ConfidenceError(f"two of the runs are called {max(names, key=names.count)}; give each run once")
    parts, n_answers = [], 0
    for source, run in enumerate(runs):
        answers = _answers(run, judges).assign(source=source, run=names[source])
        answers.index += n_answers
        parts.append(Labelled(answers, _tokens(run, answers, judges)))
        n_answers += len(answers)
    answers, tokens = (pd.concat(tables) for tables in zip(*parts, strict=True))
    return Labelled(answers, tokens.sort_values("answer", kind="stable", ignore_index=True))


def _answers(run: Run, judges: Judges) -> pd.DataFrame:
    grades = _of_one_judge(run, "grades", judges)
    if grades is None:
        raise ConfidenceError(f"{run.folder} has no grades, so nothing tells right from wrong; grade it first")
    if judges and not set(grades["judge"]) <= _names(judges):
        raise ConfidenceError(f"{run.folder} has no grades by {', '.join(sorted(_names(judges)))}; name who graded it")
    known = grades.loc[grades["grade"].isin(["correct", "incorrect"]), ["response_id", "grade"]]
    responses = run.responses
    groups = responses["group"] if "group" in responses else pd.Series(pd.NA, responses.index)
    task = run.manifest["identity"].get("task", "")
    of = responses[["response_id"]].assign(
        cluster=f"{task} " + groups.astype(object).where(groups.notna(), responses["response_id"]).astype(str),
    )
    answers = of.merge(known, on="response_id")
    return answers.assign(is_right=answers.pop("grade").eq("correct"))


def _tokens(run: Run, answers: pd.DataFrame, judges: Judges) -> pd.DataFrame:
    tokens = run.tokens[["response_id", "step", "char_start", "char_end", "token_entropy"]]
    tokens = tokens[tokens["char_end"] > tokens["char_start"]]
    tokens = tokens.merge(answers[["response_id", "is_right"]].reset_index(names="answer"), on="response_id")
    errors = _of_one_judge(run, "errors", judges)
    if errors is not None:
        found = errors[errors["outcome"] == "found"].set_index("response_id")
        spans = found.reindex(columns=["token_start", "token_stop"]).astype(float)
        tokens = tokens.join(spans, on="response_id")
        tokens = tokens[tokens["is_right"] | (tokens["step"] < tokens["token_stop"])]
        tokens = tokens.assign(is_right=tokens["is_right"] | (tokens["step"] < tokens["token_start"]))
    return tokens[["answer", "step", "is_right", "token_entropy"]]


def _of_one_judge(run: Run, name: str, judges: Judges) -> pd.DataFrame | None:
    """The labels of the judge who labelled last, of `judges` if any of them did; None where there are no labels."""
    try:
        labels = run.labels(name)
    except RunError:
        return None
    asked = labels[labels["judge"].isin(_names(judges))]
    kept = asked if len(asked) else labels
    return kept[kept["judge"] == kept["judge"].iloc[-1]]


def _names(judges: Judges) -> set[str]:
    return {judges} if isinstance(judges, str) else set(judges or ())
