"""What the confidence learns from: the features of labelled answers and of some of their tokens, read from Runs."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Int

from attnent.analysis import FEWEST
from attnent.detectors import features
from attnent.detectors.frozen import ConfidenceError
from attnent.detectors.labelled import Labelled
from attnent.detectors.learning import N_FOLDS, Rows, drawn, folds
from attnent.runs import Run
from attnent.trace import without_cross

MOST_TOKENS = 12_000  # that are learned from, right and wrong as even as may be
FEWEST_TOKENS = 2_000  # that are learned from where heads are many, if there are as many
MOST_NUMBERS = 1 << 25  # rows x features that are learned from at once: 268 MB, and a few copies of it


class Lessons(NamedTuple):
    """Rows to learn from, of answers and of tokens, both in the same folds; and what they are of."""

    answers: Rows
    tokens: Rows  # those that were drawn
    about: dict[str, Any]  # models, revisions, tasks, by_head, heads


class Heads(NamedTuple):
    """Whose heads they are: numbers of one head say nothing of another."""

    model: str
    layers: list[int]  # without those of cross-attention
    n_heads: int

    @classmethod
    def of(cls, trace: xr.Dataset) -> "Heads":
        own = without_cross(trace)
        return cls(trace.attrs["model"], own["layer"].values.tolist(), own.sizes["head"])

    def check(self, trace: xr.Dataset) -> None:
        """Raise ConfidenceError where a trace has others."""
        other = Heads.of(trace)
        if other.model != self.model:
            raise ConfidenceError(
                f"the trace is of the model {other.model!r}, whose heads are not those of {self.model!r}, which this "
                f"confidence was fitted on; fit one on runs of {other.model!r}, or one with by_head=False"
            )
        if other != self:
            raise ConfidenceError(
                f"the trace has {other.n_heads} heads in the layers {other.layers}, but this confidence was fitted on "
                f"{self.n_heads} in the layers {self.layers}; fit one on runs that were recorded as this trace was"
            )


def lessons(runs: Sequence[Run], known: Labelled, *, by_head: bool, seed: int) -> Lessons:
    """Read the features of every labelled answer, and of tokens drawn from all that are labelled.

    Raises ConfidenceError where right or wrong ones are too few, or heads differ or are too many.
    """
    answers, tokens = known
    clusters = pd.factorize(answers["cluster"])[0]
    answer_of = tokens["answer"].to_numpy()
    is_right, token_is_right = answers["is_right"].to_numpy(bool), tokens["is_right"].to_numpy(bool)
    _check_enough("answers", is_right, clusters)
    _check_enough("tokens", token_is_right, clusters[answer_of])
    firsts = [run.trace(run.recorded[0]) for run in runs]
    if by_head:
        _check_one_model(firsts)
    heads = Heads.of(firsts[0]) if by_head else None
    n_of_heads = features.n_of_heads(firsts[0], by_head=by_head)
    chosen, weights = drawn(token_is_right, _n_most(n_of_heads, len(answers)), seed)
    of_answers, of_tokens = [], []
    for answer, trace in traces_of(runs, answers):
        if heads:
            heads.check(trace)
        steps = tokens["step"].to_numpy()[chosen[slice(*np.searchsorted(answer_of[chosen], [answer, answer + 1]))]]
        of_answers.append(features.of_answer(trace, by_head=by_head))
        of_tokens.append(features.of_tokens(trace, by_head=by_head)[steps])
    fold = folds(is_right, clusters, N_FOLDS, seed)
    of = answer_of[chosen]
    about = {
        "models": sorted({trace.attrs["model"] for trace in firsts}),
        "revisions": sorted({trace.attrs["revision"] for trace in firsts}),
        "tasks": sorted({str(run.manifest["identity"].get("task", "")) for run in runs}),
        "by_head": by_head,
        "heads": heads and list(heads),
    }
    return Lessons(
        Rows(np.stack(of_answers), n_of_heads, is_right, clusters, fold, np.ones(len(answers))),
        Rows(np.concatenate(of_tokens), n_of_heads, token_is_right[chosen], clusters[of], fold[of], weights),
        about,
    )


def traces_of(runs: Sequence[Run], answers: pd.DataFrame) -> Iterator[tuple[int, xr.Dataset]]:
    """The number and the Trace of each labelled answer."""
    for answer, source, response_id in answers[["source", "response_id"]].itertuples(name=None):
        yield answer, runs[source].trace(response_id)


def _check_enough(what: str, is_right: Bool[np.ndarray, " row"], clusters: Int[np.ndarray, " row"]) -> None:
    n_clusters = [len(np.unique(clusters[is_right == kind])) for kind in (True, False)]
    if min(n_clusters) < FEWEST:
        raise ConfidenceError(
            f"of the {len(is_right)} labelled {what} {is_right.sum()} are right and {(~is_right).sum()} wrong, in "
            f"{n_clusters[0]} and {n_clusters[1]} clusters; to learn from them, give runs with at least {FEWEST} "
            "clusters of each"
        )


def _check_one_model(firsts: Sequence[xr.Dataset]) -> None:
    models = sorted({trace.attrs["model"] for trace in firsts})
    if len(models) > 1:
        raise ConfidenceError(
            f"the runs are of several models ({', '.join(models)}), whose heads are not the same; fit each by itself, "
            "or all with by_head=False"
        )


def _n_most(n_of_heads: int, n_answers: int) -> int:
    """How many tokens to learn from; ConfidenceError where even few are more than should be held at once."""
    n_rows = MOST_NUMBERS // n_of_heads
    if n_rows < max(FEWEST_TOKENS, n_answers):
        raise ConfidenceError(
            f"{n_answers} answers with {n_of_heads} numbers of heads each are more than is learned from at once "
            f"({MOST_NUMBERS} numbers); give by_head=False, or fewer responses"
        )
    return min(MOST_TOKENS, n_rows)
