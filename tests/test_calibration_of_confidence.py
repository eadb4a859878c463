"""How well scores tell wrong tokens, with the clusters that they stand in."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from attnent.detectors import calibration


def answers_and_tokens(n_answers: int = 60, *, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Answers of ten tokens in pairs of one cluster; confidence is lower where a token is wrong."""
    random = np.random.default_rng(seed)
    names = [f"a{number}" for number in range(n_answers)]
    answers = pd.DataFrame(
        {"run": "r", "response_id": names, "cluster": [f"c{number // 2}" for number in range(n_answers)]}
    )
    tokens = answers[["run", "response_id"]].loc[np.repeat(np.arange(n_answers), 10)].reset_index(drop=True)
    is_right = random.random(len(tokens)) > 0.2
    confidence = np.clip(0.5 + 0.2 * is_right + 0.2 * random.normal(size=len(tokens)), 0, 1)
    return answers, tokens.assign(step=np.tile(np.arange(10), n_answers), is_right=is_right, confidence=confidence)


def test_auroc_and_auprc_of_tokens_are_those_of_scikit_learn():
    answers, tokens = answers_and_tokens()
    row = calibration.of_tokens(answers, tokens, {"confidence": tokens["confidence"]}).loc["confidence"]
    is_wrong = ~tokens["is_right"]
    assert row["AUROC"] == pytest.approx(roc_auc_score(is_wrong, -tokens["confidence"]))
    assert row["AUPRC"] == pytest.approx(average_precision_score(is_wrong, -tokens["confidence"]))
    assert (row["n"], row["n_wrong"]) == (600, is_wrong.sum())
    assert row["low"] < row["AUROC"] < row["high"]


def test_tokens_of_one_cluster_count_for_less():
    answers, tokens = answers_and_tokens(20)
    many = pd.concat([tokens] * 5, ignore_index=True)  # the same tokens again say nothing new
    once, again = (
        calibration.of_tokens(answers, table, {"confidence": table["confidence"]}).loc["confidence"]
        for table in (tokens, many)
    )
    assert again["high"] - again["low"] == pytest.approx(once["high"] - once["low"], rel=0.05)


def test_the_summary_of_a_confidence_holds_its_parts():
    _, tokens = answers_and_tokens()
    row = calibration.summary(tokens["confidence"], tokens["is_right"], tokens["response_id"])
    right = tokens["is_right"].to_numpy()
    assert row["share right"] == pytest.approx(right.mean())
    assert row["by chance"] == pytest.approx(1 - right.mean())
    assert row["Brier"] == pytest.approx(((tokens["confidence"] - right) ** 2).mean())
