"""A confidence of random weights."""

import numpy as np
import pandas as pd
import xarray as xr

from attnent.detectors import features
from attnent.detectors.confidence import Confidence
from attnent.detectors.frozen import Frozen, Space, Trees
from attnent.detectors.lessons import Heads


def made_up_confidence(trace: xr.Dataset, *, lowest: list[float] | None = None) -> Confidence:
    """One for the heads of this Trace, with random weights; `lowest` are those of its clusters when right."""
    lowest = np.linspace(0.3, 0.9, 99).tolist() if lowest is None else lowest
    of = {"run": "r", "response_id": [str(number) for number in range(len(lowest))]}
    answers = pd.DataFrame(of | {"cluster": of["response_id"], "is_right": True, "confidence": 0.5})
    tokens = pd.DataFrame(of | {"step": 0, "is_right": True, "confidence": lowest, "token_entropy": 0.1})
    about = {"by_head": True, "heads": list(Heads.of(trace)), "models": [trace.attrs["model"]], "tasks": ["made up"]}
    rows = features.of_tokens(trace, by_head=True), features.of_answer(trace, by_head=True)[None]
    return Confidence(about, answers, tokens, *(_random_classifier(row.shape[1]) for row in rows))


def _random_classifier(n_features: int) -> Frozen:
    random, none = np.random.default_rng(0), np.zeros((0, 1))
    zero, one = np.zeros(n_features), np.ones(n_features)
    space = Space(centre=zero, scale=one, projection=np.zeros((0, 0)))
    no_node = none.astype(int)
    trees = Trees(no_node, none, no_node, no_node, none)
    weight = random.normal(scale=n_features**-0.5, size=n_features)
    ends = np.array([-4.0, 4.0])
    return Frozen(space, np.array(0.0), weight, trees, margins=ends, probabilities=np.array([0.0, 1.0]))
