"""Whether what was learned on one task or model holds on another: a matrix of AUROC, the diagonal out of fold."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from attnent.analysis.comparison import auroc_test
from attnent.analysis.intervals import FEWEST
from attnent.detectors.confidence import Confidence, ConfidenceError
from attnent.detectors.labelled import labelled
from attnent.runs import Run


def transfer(runs: Mapping[str, Run], fitted: Mapping[str, Confidence]) -> pd.DataFrame:
    """A row a pair: how well a confidence `fitted_on` one run tells wrong answers from right ones where it is `asked`.

    `fitted` has the names of `runs`. Columns: fitted_on, asked, auroc (1 - confidence, wrong over right), low, high
    (95 %, by clusters), n. On the diagonal each answer is judged by a fit that saw nothing of its cluster. Raises
    ConfidenceError where heads differ: runs of different models need fits with by_head=False.
    """
    rows = []
    for name, run in runs.items():
        answers = labelled([run]).answers
        for other, confidence in fitted.items():
            said = confidence.answers["confidence"].to_numpy() if other == name else _asked(confidence, run, answers)
            is_wrong = ~answers["is_right"].to_numpy(bool)
            test = auroc_test(1 - said, is_wrong, pd.factorize(answers["cluster"])[0])
            rows.append((other, name, *test.interval, len(answers)))
    return pd.DataFrame(rows, columns=["fitted_on", "asked", "auroc", "low", "high", "n"])


def _asked(confidence: Confidence, run: Run, answers: pd.DataFrame) -> np.ndarray:
    return np.array([confidence.score(run.trace(id_)).attrs["answer_confidence"] for id_ in answers["response_id"]])


def square(found: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """AUROC, low and high of `transfer`, each with a row a fit and a column a run."""
    order = list(dict.fromkeys(found["asked"]))
    auroc, low, high = (
        found.pivot(index="fitted_on", columns="asked", values=of)
        .reindex(index=order, columns=order)
        .rename_axis(index="fitted on")
        for of in ("auroc", "low", "high")
    )
    return auroc, low, high


def comparable(runs: Mapping[str, Run]) -> dict[str, Run]:
    """Those of the runs that an instrument can be fitted on: written by their model, and graded."""
    kept = {}
    for name, run in runs.items():
        try:
            enough = labelled([run]).answers["is_right"].value_counts().reindex([True, False], fill_value=0).min()
        except ConfidenceError:  # not graded
            continue
        if enough >= FEWEST and "reads" not in run.manifest["identity"]:
            kept[name] = run
    return kept
