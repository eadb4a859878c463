"""The instrument: how likely every token and every answer is right, from what a Trace shows of the model's attention.

    confidence = fit_confidence(runs)              learned from answers and tokens that are known to be right or wrong
    scored = confidence.score(trace)               the Trace with `confidence` (step), and attrs["answer_confidence"]
    confidence.stream(model, tokenizer, prompt)    the confidence in each token as the model writes it, and alarms
    confidence.answers, confidence.tokens          what it says of those it learned from, each time without them
    confidence.save(path); load_confidence(path)   one file, and no pickle

A token's confidence is known as soon as it is written: it depends on its own step and the WINDOW - 1 before it. It is
the probability that the token is no error, given that none stood before it. Numbers of heads belong to one model;
`by_head=False` learns from their mean and spread instead, which may be asked of any model, and tell less.
"""

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float64

from attnent.detectors import alarms, features
from attnent.detectors.frozen import FORMAT, ConfidenceError, Frozen, read, write
from attnent.detectors.labelled import Judges, labelled
from attnent.detectors.learning import fits
from attnent.detectors.lessons import Heads, lessons, traces_of
from attnent.runs import Run
from attnent.store.folders import one_segment
from attnent.trace import joined

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from attnent.model.prompts import Prompt

__all__ = ["Confidence", "ConfidenceError", "Scored", "fit_confidence", "load_confidence"]


class Scored(NamedTuple):
    """A token as it was written."""

    step: int
    token: str  # joined, these are the response
    confidence: float
    alarm: bool  # the confidence lies below the threshold of the alarm


@dataclass(frozen=True, eq=False)
class Confidence:
    """A fitted instrument: made by `fit_confidence` or `load_confidence`."""

    about: dict[str, Any]  # what it was fitted on, and how
    answers: pd.DataFrame  # run, response_id, cluster, is_right, confidence: of a fit that saw nothing of the cluster
    tokens: pd.DataFrame  # run, response_id, step, is_right, confidence (likewise), token_entropy
    of_token: Frozen
    of_answer: Frozen

    def score(self, trace: xr.Dataset) -> xr.Dataset:
        """The Trace with `confidence` (step), in [0, 1], of each token; attrs["answer_confidence"] of the whole.

        Raises ConfidenceError for a trace of another model or of other heads than it was fitted on, or without what
        it needs.
        """
        confidence = self.token_confidence(trace)
        of_answer = features.of_answer(trace, by_head=self.about["by_head"])
        about = {"long_name": "confidence", "units": "1"}
        scored = trace.assign(confidence=("step", confidence, about))
        return scored.assign_attrs(answer_confidence=float(self.of_answer.predict(of_answer[None])[0]))

    def token_confidence(self, trace: xr.Dataset) -> Float64[np.ndarray, " step"]:
        """The confidence in each token; a later step changes none of an earlier one. Raises as `score` does."""
        features.check_whole(trace)
        if self.about["by_head"]:
            Heads(*self.about["heads"]).check(trace)
        return self.of_token.predict(features.of_tokens(trace, by_head=self.about["by_head"]))

    def threshold(self, false_alarms: float) -> float:
        """The confidence below which an alarm sounds, in at most so large a share of clusters while all is right.

        From `answers` and `tokens`, which were scored without their cluster (`alarms.alarm_threshold`, to be read as a
        cross-conformal bound: what scores new answers learned from all of them). 0, below which nothing lies, with a
        warning, where there are too few clusters for so low a rate. Raises StatsError for a rate outside (0, 1).
        """
        lowest = alarms.lowest_when_right(self.answers, self.tokens).to_numpy(float)
        return alarms.alarm_threshold(lowest, false_alarms, never=0.0)

    def stream(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        prompt: "Prompt",
        *,
        false_alarms: float | None = 0.01,
        **settings: Any,
    ) -> Generator[Scored]:
        """Each token of a response as the model writes it, the `confidence` that `score` gives it, and the alarm.

        An alarm sounds in at most a share `false_alarms` of clusters while all is right (`threshold`); None: never.
        `settings` are max_new_tokens, temperature and seed, as for `generate`. Closing the iterator stops the model.
        Raises what `generate` and `score` raise.
        """
        from attnent.model.streaming import stream  # needs torch

        threshold = 0.0 if false_alarms is None else self.threshold(false_alarms)
        return self.follow(stream(model, tokenizer, prompt, **settings), threshold)

    def follow(self, steps: Generator[xr.Dataset], threshold: float = 0.0) -> Generator[Scored]:
        """What `stream` gives, of Traces of one step each; no more than WINDOW of them are kept."""
        window: deque[xr.Dataset] = deque(maxlen=features.WINDOW)
        with closing(steps):
            for trace in steps:
                window.append(trace)
                confidence = float(self.token_confidence(joined(window))[-1])
                wrote_text = bool(trace["char_end"].item() > trace["char_start"].item())
                alarm = wrote_text and confidence < threshold
                yield Scored(trace["step"].item(), trace["token"].item(), confidence, alarm)

    def save(self, path: str | Path) -> None:
        """Keep it, with its tables, as one safetensors file, whole or not at all. Raises OSError."""
        kept = {f"{whose}/{name}": array for whose in _PARTS for name, array in getattr(self, whose).arrays().items()}
        of = pd.MultiIndex.from_frame(self.answers[_ANSWER])
        kept["tokens/answer"] = of.get_indexer(pd.MultiIndex.from_frame(self.tokens[_ANSWER]))
        kept |= {f"tokens/{name}": self.tokens[name].to_numpy() for name in _TOKEN_NUMBERS}
        kept |= {f"answers/{name}": self.answers[name].to_numpy() for name in _ANSWER_NUMBERS}
        texts = {name: self.answers[name].tolist() for name in _ANSWER_TEXTS}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write(Path(path), kept, {"about": self.about, "answers": texts})


_PARTS = ("of_token", "of_answer")
_ANSWER = ["run", "response_id"]
_ANSWER_TEXTS, _ANSWER_NUMBERS = (*_ANSWER, "cluster"), ("is_right", "confidence")
_TOKEN_NUMBERS = ("step", "is_right", "confidence", "token_entropy")


def path_of(out_dir: str | Path, model: str) -> Path:
    """Where the confidence of a model is kept in a folder of results, by the name that `load_model` is given."""
    return Path(out_dir) / "confidence" / f"{one_segment(model)}.safetensors"


def load_confidence(path: str | Path) -> Confidence:
    """What `Confidence.save` kept. Raises ConfidenceError where the file is missing, damaged or of another kind."""
    arrays, said = read(Path(path))
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        whose, _, own = name.partition("/")
        parts.setdefault(whose, {})[own] = array
    answers = pd.DataFrame(said["answers"] | {name: parts["answers"][name] for name in _ANSWER_NUMBERS})
    tokens = answers[_ANSWER].iloc[parts["tokens"]["answer"]].reset_index(drop=True)
    tokens = tokens.assign(**{name: parts["tokens"][name] for name in _TOKEN_NUMBERS})
    return Confidence(said["about"], answers, tokens, *(Frozen.of(parts[whose]) for whose in _PARTS))


# ---- fitting


def fit_confidence(
    runs: Run | Sequence[Run], *, judges: Judges = None, by_head: bool = True, seed: int = 0
) -> Confidence:
    """Learn from graded Runs how likely a token and an answer are right.

    Right and wrong are the labels "grades" and, where a run has them, "errors" (`labelled` says how; `judges` whose).
    Logistic regression and boosted trees of several strengths are chosen between and calibrated in folds that split
    no cluster; the tables `answers` and `tokens` come from a second, outer layer of such folds, and what scores other
    traces is fitted to all. Of many tokens some are learned from, all are scored. Runs of several tasks may come
    together; of several models only where not `by_head`. Raises ConfidenceError where there are no grades or too few
    of right and wrong, or heads differ or are too many; TraceError where a trace file is damaged.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    known = labelled(runs, judges)
    given = lessons(runs, known, by_head=by_head, seed=seed)
    of_answers, of_tokens = fits(given.answers, seed), fits(given.tokens, seed)
    fold = given.answers.fold
    answers = known.answers[[*_ANSWER, "cluster", "is_right"]]
    answers = answers.assign(confidence=of_answers.predict_left_out(given.answers.features, fold))
    said = [np.empty(0)]
    for answer, trace in traces_of(runs, known.answers):
        steps = known.steps_of(answer)
        if len(steps):
            said.append(of_tokens.without[fold[answer]].predict(features.of_tokens(trace, by_head=by_head)[steps]))
    tokens = answers[_ANSWER].loc[known.tokens["answer"]].reset_index(drop=True)
    tokens = tokens.assign(
        **{name: known.tokens[name] for name in ("step", "is_right")},
        confidence=np.concatenate(said),
        token_entropy=known.tokens["token_entropy"],
    )
    about = {
        **given.about,
        "n_answers": len(answers),
        "n_tokens": len(tokens),
        "n_tokens_learned_from": len(given.tokens.is_right),
        "n_clusters": answers["cluster"].nunique(),
        "chosen": {"answers": of_answers.chosen, "tokens": of_tokens.chosen},
        "seed": seed,
        "versions": {name: version(name) for name in ("attnent", "numpy", "scikit-learn")},
        "format": FORMAT,
    }
    return Confidence(about, answers, tokens, of_tokens.of_all, of_answers.of_all)
