"""How far a critic can be trusted: planted errors, agreement with itself and with others, ProcessBench."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa
from statsmodels.stats.proportion import proportion_confint

from attnent.critic.exact import exact_critic
from attnent.critic.critics import Case, Critic, Finding
from attnent.critic.planting import MISTAKES, Planted, plant_error
from attnent.critic.quotes import CriticError, split_steps
from attnent.runs import Run
from attnent.tasks import gsm8k

_SEPARATOR = "\n\n"  # between the steps of a ProcessBench sample
_ANSWERED = ("found", "none found", "format only")


class Share(NamedTuple):
    """`n` of `total`, and the Wilson interval of the share (1) at 95 %; NaN where the total is 0."""

    n: int
    total: int
    share: float
    low: float
    high: float


def share_of(n: int, total: int) -> Share:
    """A share with its Wilson interval (Wilson 1927, JASA 22)."""
    if total == 0:
        return Share(n, total, np.nan, np.nan, np.nan)
    low, high = proportion_confint(n, total, method="wilson")
    return Share(n, total, n / total, max(0.0, float(low)), min(1.0, float(high)))


# ---- planted errors


def planted_errors(critic: Critic, problems: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """How a critic does on right solutions, clean and with one planted error each.

    `problems` has the columns `question` and `gold_solution`. Rows: each of MISTAKES, where `share` is how many of the
    errors were located (what the critic marks overlaps the planted characters), and "clean", where it is how many right
    solutions were said to be wrong. Columns `n`, `total`, `share`, `low`, `high` (Wilson, 95 %), `n_no_answer` (which
    count as not located) and `n_no_place` (solutions that no error can be planted in; not in the total).
    """
    clean = [Case(*texts, texts[1]) for texts in problems[["question", "gold_solution"]].itertuples(index=False)]
    rows = {}
    for mistake in MISTAKES:
        planted = [(case, place) for case in clean if (place := _planted(case, mistake, seed))]
        findings = critic([case._replace(solution=place.solution) for case, place in planted])
        n = sum(_overlaps(finding, place) for finding, (_, place) in zip(findings, planted, strict=True))
        rows[mistake] = _row(n, findings) | {"n_no_place": len(clean) - len(planted)}
    findings = critic(clean)
    rows["clean"] = _row(sum(finding.outcome == "found" for finding in findings), findings) | {"n_no_place": 0}
    return pd.DataFrame.from_dict(rows, orient="index")


def _planted(case: Case, mistake: str, seed: int) -> Planted | None:
    try:
        return plant_error(case.solution, mistake, seed)
    except CriticError:
        return None


def _overlaps(finding: Finding, place: Planted) -> bool:
    return (
        finding.start is not None
        and finding.stop is not None
        and (finding.start < place.stop and place.start < finding.stop)
    )


def _row(n: int, findings: Sequence[Finding]) -> dict[str, Any]:
    n_no_answer = sum(finding.outcome not in _ANSWERED for finding in findings)
    return share_of(n, len(findings))._asdict() | {"n_no_answer": n_no_answer}


# ---- agreement


class Repeats(NamedTuple):
    """Agreement of a critic with itself: responses answered every time, share of one step named every time, kappa."""

    identical: Share
    kappa: float  # Fleiss 1971, of the steps named (-1: none); NaN where only one was ever named


def agreement_over_repeats(errors: pd.DataFrame, judge: str) -> Repeats:
    """Agreement of the repeats `judge`, `judge#1`, ... in the labels `errors` of a run (see `mark_llm`).

    Raises CriticError where there are no repeats.
    """
    names = errors["judge"].astype(str)
    own = errors[(names == judge) | names.str.fullmatch(rf"{re.escape(judge)}#\d+")]
    steps = _steps(own)
    if steps.shape[1] < 2:
        raise CriticError(f"{judge!r} was asked {steps.shape[1]} times; mark with repeats=2 or more")
    steps = steps.dropna().astype(int)
    same = share_of(int((steps.nunique(axis=1) == 1).sum()), len(steps))
    varied = len(steps) > 0 and np.unique(steps).size > 1
    return Repeats(same, float(fleiss_kappa(aggregate_raters(steps.to_numpy())[0])) if varied else np.nan)


def agreement_with(errors: pd.DataFrame, judge: str, reference: str) -> pd.DataFrame:
    """How far `judge` agrees with `reference` on the responses that both examined, from the labels of a run.

    Rows, each a Share: "same verdict" (both name a step or both name none), "same step" (of those where both name one),
    "first of reference found" (the judge names the step of the reference, of all where the reference names one).
    """
    steps = _steps(errors[errors["judge"].isin([judge, reference])])
    missing = {judge, reference} - set(steps.columns)
    if missing:
        raise CriticError(
            f"the labels hold nothing by {', '.join(sorted(missing))}; mark the run with that critic first"
        )
    both = steps.dropna().astype(int)
    named, same = both >= 0, both[judge] == both[reference]
    each, reference_named = named.all(axis=1), named[reference]
    rows = {
        "same verdict": share_of(int((named[judge] == reference_named).sum()), len(both)),
        "same step": share_of(int((same & each).sum()), int(each.sum())),
        "first of reference found": share_of(int((same & reference_named).sum()), int(reference_named.sum())),
    }
    return pd.DataFrame.from_dict({name: row._asdict() for name, row in rows.items()}, orient="index")


def _steps(errors: pd.DataFrame) -> pd.DataFrame:
    """The step that each judge named, (response, judge); -1 where it found none, NaN where it gave no answer."""
    latest = errors.drop_duplicates(["response_id", "judge"], keep="last")
    answered = latest[latest["outcome"].isin(_ANSWERED)]
    return answered.assign(step=answered["step"].fillna(-1)).pivot(index="response_id", columns="judge", values="step")


# ---- ProcessBench


class Sample(NamedTuple):
    """One line of a file in the format of ProcessBench; `label` is the first wrong step, -1 where there is none."""

    id: str
    problem: str
    steps: list[str]
    label: int
    final_answer_correct: bool


class ProcessBench(NamedTuple):
    """Accuracy on solutions with an error (the first wrong step is named), on those without (none is), and F1."""

    wrong: Share
    right: Share
    f1: float  # harmonic mean of the two accuracies; NaN where either kind of solution is missing
    n_no_answer: int


def read_process_bench(path: str | Path) -> list[Sample]:
    """The samples of a jsonl file in the format of ProcessBench (Zheng et al. 2024, arXiv:2412.06559).

    Raises CriticError that names the line which is damaged or lacks a field.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CriticError(
            f"{path} cannot be read ({error}); give a jsonl file in the format of ProcessBench"
        ) from error
    samples = [_sample(line, f"line {number} of {path}") for number, line in enumerate(lines, 1) if line.strip()]
    if not samples:
        raise CriticError(f"{path} holds no samples; give a jsonl file in the format of ProcessBench")
    return samples


def _sample(line: str, where: str) -> Sample:
    wanted = "a JSON object with id, problem, steps (a list of texts), label (a step or -1) and final_answer_correct"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise CriticError(f"{where} is damaged ({error}); it must be {wanted}") from error
    missing = set(Sample._fields) - set(row) if isinstance(row, Mapping) else set(Sample._fields)
    if missing:
        raise CriticError(f"{where} lacks {', '.join(sorted(missing))}; it must be {wanted}")
    steps, label = row["steps"], row["label"]
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) and step.strip() for step in steps):
        raise CriticError(f"the steps in {where} are not a list of texts; it must be {wanted}")
    if type(label) is not int or not -1 <= label < len(steps):
        raise CriticError(f"the label in {where} is {label!r}, but there are {len(steps)} steps; it must be {wanted}")
    return Sample(str(row["id"]), str(row["problem"]), steps, label, bool(row["final_answer_correct"]))


def exact_samples(run: Run) -> list[Sample]:
    """The finished responses of a run of the bundled world as ProcessBench samples, labelled by the exact critic.

    Raises CriticError for a run of another source.
    """
    responses = run.responses
    responses = responses[(responses["finish_reason"] != "length") & (responses["response"].str.strip() != "")]
    columns = responses.reindex(columns=["response_id", "question", "gold_solution", "gold", "response"])
    samples = []
    for name, question, gold_solution, gold, response in columns.itertuples(index=False, name=None):
        [finding] = exact_critic([Case(str(question), str(gold_solution), response)])
        steps = [response[start:stop] for start, stop in split_steps(response)]
        label = -1 if finding.step is None else finding.step
        samples.append(Sample(name, question, steps, label, gsm8k.grade(response, gold) == "correct"))
    return samples


def process_bench(critic: Critic, samples: Sequence[Sample]) -> ProcessBench:
    """F1 of a critic on ProcessBench samples; no right solution is shown, and no answer counts as a miss."""
    findings = critic([Case(sample.problem, "", _SEPARATOR.join(sample.steps)) for sample in samples])
    named = [_named_step(sample, finding) for sample, finding in zip(samples, findings, strict=True)]
    hits = {True: [], False: []}
    for sample, step in zip(samples, named, strict=True):
        hits[sample.label >= 0].append(step == sample.label)
    wrong, right = (share_of(sum(hits[kind]), len(hits[kind])) for kind in (True, False))
    both = wrong.share + right.share
    f1 = 2 * wrong.share * right.share / both if both else both
    return ProcessBench(wrong, right, f1, sum(step is None for step in named))


def _named_step(sample: Sample, finding: Finding) -> int | None:
    """The sample's step that a finding lies in, -1 for none, None where the critic gave no answer."""
    if finding.outcome not in _ANSWERED:
        return None
    if finding.start is None:
        return -1
    stops = np.cumsum([len(step) + len(_SEPARATOR) for step in sample.steps])
    return int(np.searchsorted(stops, finding.start, side="right"))
