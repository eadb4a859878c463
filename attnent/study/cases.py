"""The tasks of notebook 05, recorded alike: responses, which of them are wrong, every score of them, an instrument."""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from attnent import critic
from attnent.detectors import sampling, scores
from attnent.detectors.confidence import Confidence, ConfidenceError, fit_confidence
from attnent.model.recorder import record
from attnent.model.sampling import add_samples
from attnent.runs import Run
from attnent.tasks import factual_creative, gsm8k, plain, simpleqa

MOST_TEXTS = 100  # prompts of a kind, of which so many ship
MOST_TOKENS = {"problems": 160, "questions": 64, "creative text": 96}


class Case(NamedTuple):
    """A task as it was recorded; all by response_id, of responses that are right or wrong."""

    run: Run
    scores: pd.DataFrame  # a column a detector
    is_wrong: pd.Series  # of creative text, whether it is creative
    clusters: pd.Series
    confidence: Confidence | None  # none for creative text, and where too few are right or wrong


def recorded(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    *,
    n: int,
    n_samples: int,
    max_new_tokens: int,
    batch_size: int,
    seed: int,
    out_dir: str | Path,
) -> dict[str, Case]:
    """Record, sample, grade and score "problems", "questions" and "creative text"; what is there is not done again.

    `name` is the model's, as `load_model` was given it. `n` problems and questions, each answered `n_samples` times
    more, and half as many prompts of either kind of text. Raises what `record`, the tasks and the critic raise.
    """
    common: dict[str, Any] = {"batch_size": batch_size, "seed": seed}
    most = {of: min(tokens, max_new_tokens) for of, tokens in MOST_TOKENS.items()}
    where = gsm8k.source_of("auto", name), simpleqa.source_of("auto", name), "tiny" if name == "tiny" else "shipped"
    problems, questions, texts = (
        record(model, tokenizer, examples, task=task, max_new_tokens=most[of], temperature=temperature, columns=True,
               out_dir=out_dir, **common)
        for of, task, examples, temperature in (
            ("problems", "gsm8k", gsm8k.load(where[0], n=n, seed=seed), 0.0),
            ("questions", "simpleqa", simpleqa.load(where[1], n=n, seed=seed), 0.0),
            ("creative text", "factual_creative",
             factual_creative.paired(where[2], n=max(1, min(n // 2, MOST_TEXTS)), seed=seed), 0.8),
        )
    )  # fmt: skip
    more: dict[str, dict[str, Any]] = {}
    for of, run, same in (("problems", problems, gsm8k.same_answer), ("questions", questions, simpleqa.same_answer)):
        add_samples(model, tokenizer, run, n_samples, max_new_tokens=most[of], **common)
        about = sampling.asked_whether_true(run.responses)
        asked = record(model, tokenizer, about, task="p_true", reads="text", batch_size=batch_size, out_dir=out_dir)
        more[of] = {"same": same, "asked": asked}
    solved, answered = gsm8k.grade_run(problems), simpleqa.grade_offline(questions)
    critic.mark(problems, critic.offline_for(where[0]))
    seen = gsm8k.surface(problems.responses)
    if where[0] == "plain":
        seen = seen.join(plain.kinds(problems.responses.set_index("response_id")["question"]))
    kind = texts.responses.set_index("response_id")["kind"]
    shown = texts.responses.set_index("response_id")[["n_prompt"]]
    return {
        "problems": _case(
            problems,
            solved[solved != "truncated"].eq("incorrect"),
            seen,
            **more["problems"],
        ),
        "questions": _case(
            questions,
            answered[answered.isin(["correct", "incorrect"])].eq("incorrect"),
            simpleqa.surface(questions.responses),
            **more["questions"],
        ),
        "creative text": _case(texts, kind.eq("creative"), shown),
    }


def planted(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: Run, *, batch_size: int, out_dir: str | Path
) -> Confidence | None:
    """An instrument for the right solutions of a run, read again with and without one planted error; None: too few."""
    try:
        examples = critic.planted_examples(problems)
        run = record(
            model, tokenizer, examples, task="gsm8k_planted", reads="text", batch_size=batch_size, out_dir=out_dir
        )
        critic.mark_planted(run)
        return fit_confidence(run)
    except (critic.CriticError, ConfidenceError):  # none is right, or too few are
        return None


def _case(run: Run, is_wrong: pd.Series, surface: pd.DataFrame, **more: Any) -> Case:
    """What a run was for: with `more`, that of `all_scores`, its answers are right or wrong."""
    table = scores.all_scores(run, is_wrong, surface=surface, cluster="group", **more)
    confidence = None
    if more:
        try:
            confidence = fit_confidence(run)
        except ConfidenceError:  # too few are right, or wrong
            table["instrument"] = float("nan")
        else:
            table["instrument"] = 1 - confidence.answers.set_index("response_id")["confidence"]
    clusters = run.responses.set_index("response_id")["group"].loc[table.index]
    return Case(run, table, is_wrong.loc[table.index], clusters, confidence)
