"""Scores of several samples of one prompt, and of the model's own word on its answer.

Which answers mean the same is told by a rule or a language model, given as `same(question, one, other)`.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from attnent.runs import Run

Same = Callable[[str, str, str], bool]

_ASKED = "Question: {question}\nPossible answer: {answer}\nIs the possible answer true or false? Say True or False."
VERDICTS = ("True", "False")


def semantic_classes(question: str, answers: Sequence[str], same: Same) -> list[int]:
    """The class of each answer: that of the first earlier one that means the same, both ways (arXiv 2302.09664)."""
    first_of: list[str] = []
    classes = []
    for answer in answers:
        found = (
            number
            for number, other in enumerate(first_of)
            if answer == other or (same(question, other, answer) and same(question, answer, other))
        )
        number = next(found, len(first_of))
        if number == len(first_of):
            first_of.append(answer)
        classes.append(number)
    return classes


def semantic_entropy(classes: Sequence[int]) -> float:
    """-sum_c f_c ln f_c (nat), f_c the share of samples in class c: discrete (Farquhar et al. 2024, Nature 630)."""
    shares = np.array(list(Counter(classes).values())) / len(classes)
    return float(-(shares * np.log(shares)).sum())


def inconsistency(classes: Sequence[int]) -> float:
    """1 - the share of the other samples in the class of the first, the answer in question (arXiv 2203.11171)."""
    if len(classes) < 2:
        return np.nan
    return 1 - sum(one == classes[0] for one in classes[1:]) / (len(classes) - 1)


def of_samples(answers: pd.DataFrame, questions: pd.Series, same: Same) -> pd.DataFrame:
    """`semantic_entropy` of the samples and `inconsistency` of the answer with them, a row a response.

    `answers` has a row a response: the answer in question in its first column, a sample in each other one. A single
    sample has no entropy: NaN.
    """
    rows = {}
    for id_, (answer, *samples) in zip(answers.index, answers.itertuples(index=False), strict=True):
        classes = semantic_classes(questions[id_], [answer, *samples], same)
        rows[id_] = (semantic_entropy(classes[1:]) if len(samples) > 1 else np.nan, inconsistency(classes))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["semantic_entropy", "inconsistency"])


def asked_whether_true(responses: pd.DataFrame) -> pd.DataFrame:
    """Examples to record with `reads="text"`: of each answer, whether it is True and whether it is False.

    `responses` has `response_id`, `question` and `response`. See `p_false`.
    """
    about = responses[["response_id", "question", "response"]].itertuples(index=False)
    rows = [
        {
            "id": f"{one.response_id}-{verdict}",
            "prompt": _ASKED.format(question=one.question, answer=one.response.strip()),
            "text": verdict,
            "of": one.response_id,
        }
        for one in about
        for verdict in VERDICTS
    ]
    return pd.DataFrame(rows)


def p_false(run: Run) -> pd.Series:
    """1 - P(True) of each answer, of a run of `asked_whether_true` (arXiv 2207.05221): P(False) / (P(True) + P(False)).

    The probability of a verdict is that of all its tokens.
    """
    likelihood = run.tokens.groupby("response_id")["logprob"].sum()
    table = run.examples.assign(logprob=run.examples["id"].map(likelihood))
    by_verdict = table.pivot(index="of", columns="text", values="logprob")
    return 1 / (1 + np.exp(by_verdict["True"] - by_verdict["False"])).rename("p_false")
