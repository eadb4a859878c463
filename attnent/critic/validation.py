"""How far a critic can be trusted: planted errors, agreement with itself and with others, ProcessBench.

Shares come with their Wilson interval: of `n`, `estimate`, between `low` and `high`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field, StrictInt, StringConstraints, ValidationError
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from attnent.analysis.intervals import Interval, wilson
from attnent.critic.critics import Case, Finding, examine
from attnent.critic.planting import MISTAKES, Planted, plant_error
from attnent.critic.quotes import CriticError
from attnent.llm import LLM

_SEPARATOR = "\n\n"  # between the steps of a ProcessBench sample
_ANSWERED = ("found", "none found", "format only")


def _share(hits: Sequence[bool] | pd.Series) -> dict[str, Any]:
    return wilson(sum(hits), len(hits))._asdict() | {"n": len(hits)}


# ---- planted errors


def planted_errors(critic: str | LLM, problems: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """How a critic (see `mark`) does on right solutions, clean and with one planted error each.

    `problems` has the columns `question` and `gold_solution`. Rows: each of MISTAKES, the share of errors located (what
    the critic marks overlaps the planted characters), and "clean", the share of right solutions said to be wrong.
    Columns `estimate`, `low`, `high`, `n`, `n_no_answer` (which count as not located) and `n_no_place` (solutions that
    no error can be planted in; not in `n`).
    """
    clean = [Case(*texts, texts[1]) for texts in problems[["question", "gold_solution"]].itertuples(index=False)]
    rows = {}
    for mistake in MISTAKES:
        planted = [(case, place) for case in clean if (place := plant_error(case.solution, mistake, seed))]
        findings = examine(critic, [case._replace(solution=place.solution) for case, place in planted])
        located = [_overlaps(finding, place) for finding, (_, place) in zip(findings, planted, strict=True)]
        rows[mistake] = _row(located, findings) | {"n_no_place": len(clean) - len(planted)}
    findings = examine(critic, clean)
    rows["clean"] = _row([finding.outcome == "found" for finding in findings], findings) | {"n_no_place": 0}
    return pd.DataFrame.from_dict(rows, orient="index")


def _overlaps(finding: Finding, place: Planted) -> bool:
    if finding.start is None or finding.stop is None:
        return False
    return finding.start < place.stop and place.start < finding.stop


def _row(hits: Sequence[bool], findings: Sequence[Finding]) -> dict[str, Any]:
    return _share(hits) | {"n_no_answer": sum(finding.outcome not in _ANSWERED for finding in findings)}


# ---- agreement


class Repeats(NamedTuple):
    """Agreement of a critic with itself, over responses answered every time."""

    identical: Interval  # the share in which one line is named every time
    n: int
    kappa: float  # Fleiss 1971, of the lines named (-1: none); NaN where only one was ever named


def agreement_over_repeats(errors: pd.DataFrame, judge: str) -> Repeats:
    """Agreement of the repeats `judge`, `judge#1`, ... in the labels `errors` of a run (see `mark`).

    Raises CriticError where there are no repeats.
    """
    names = errors["judge"].astype(str)
    lines = _lines(errors[(names == judge) | names.str.fullmatch(rf"{re.escape(judge)}#\d+")])
    if lines.shape[1] < 2:
        raise CriticError(f"{judge!r} was asked {lines.shape[1]} times; mark with repeats=2 or more")
    lines = lines.dropna().astype(int)
    varied = len(lines) > 0 and np.unique(lines).size > 1
    kappa = float(fleiss_kappa(aggregate_raters(lines.to_numpy())[0])) if varied else np.nan
    return Repeats(wilson(sum(lines.nunique(axis=1) == 1), len(lines)), len(lines), kappa)


def agreement_with(errors: pd.DataFrame, judge: str, reference: str) -> pd.DataFrame:
    """How far `judge` agrees with `reference` on the responses that both examined, from the labels of a run.

    Rows: "same verdict" (both name a line or both name none), "same line" (of those where both name one), "first of
    reference found" (the judge names the line of the reference, of all where the reference names one). Columns
    `estimate`, `low`, `high`, `n`.
    """
    lines = _lines(errors[errors["judge"].isin([judge, reference])])
    missing = {judge, reference} - set(lines.columns)
    if missing:
        raise CriticError(
            f"the labels hold nothing by {', '.join(sorted(missing))}; mark the run with that critic first"
        )
    both = lines.dropna().astype(int)
    named, same = both >= 0, both[judge] == both[reference]
    rows = {
        "same verdict": named[judge] == named[reference],
        "same line": same[named.all(axis=1)],
        "first of reference found": same[named[reference]],
    }
    return pd.DataFrame.from_dict({name: _share(hits) for name, hits in rows.items()}, orient="index")


def _lines(errors: pd.DataFrame) -> pd.DataFrame:
    """The line that each judge named, (response, judge); -1 where it found none, NaN where it gave no answer."""
    latest = errors.drop_duplicates(["response_id", "judge"], keep="last")
    answered = latest[latest["outcome"].isin(_ANSWERED)]
    return answered.assign(line=answered["line"].fillna(-1)).pivot(index="response_id", columns="judge", values="line")


# ---- ProcessBench


class Sample(BaseModel):
    """One line of a file in the format of ProcessBench; `label` is the first wrong step, -1 where there is none."""

    problem: str
    steps: list[Annotated[str, StringConstraints(pattern=r"\S")]] = Field(min_length=1)
    label: StrictInt = Field(ge=-1)


class ProcessBench(NamedTuple):
    """Accuracy on solutions with an error (the first wrong step is named), on those without (none is), and F1."""

    wrong: Interval
    right: Interval
    f1: float  # harmonic mean of the two accuracies; NaN where either kind of solution is missing
    n_no_answer: int


def read_process_bench(path: str | Path) -> list[Sample]:
    """The samples of a jsonl file in the format of ProcessBench (Zheng et al. 2024, arXiv:2412.06559).

    Raises CriticError that names the line which is damaged or lacks a field.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CriticError(
            f"{path} cannot be read ({error}); give a jsonl file in the format of ProcessBench"
        ) from error
    samples = [_sample(line, f"line {number} of {path}") for number, line in enumerate(lines, 1) if line.strip()]
    if not samples:
        raise CriticError(f"{path} holds no samples; give a jsonl file in the format of ProcessBench")
    return samples


def _sample(line: str, where: str) -> Sample:
    try:
        sample = Sample.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        wrong = ": ".join([*map(str, first["loc"]), first["msg"]])
    else:
        if sample.label < len(sample.steps):
            return sample
        wrong = f"label: {sample.label}, but there are {len(sample.steps)} steps"
    raise CriticError(
        f"{where} is no sample of ProcessBench ({wrong}); it must be a JSON object with problem, steps (a list of "
        "texts) and label (a step or -1)"
    )


def process_bench(critic: str | LLM, samples: Sequence[Sample]) -> ProcessBench:
    """F1 of a critic (see `mark`) on ProcessBench samples; no right solution is shown, and no answer is a miss."""
    findings = examine(critic, [Case(sample.problem, "", _SEPARATOR.join(sample.steps)) for sample in samples])
    named = [_named_step(sample, finding) for sample, finding in zip(samples, findings, strict=True)]
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for sample, step in zip(samples, named, strict=True):
        hits[sample.label >= 0].append(step == sample.label)
    wrong, right = (wilson(sum(hits[kind]), len(hits[kind])) for kind in (True, False))
    both = wrong.estimate + right.estimate
    f1 = 2 * wrong.estimate * right.estimate / both if both else both
    return ProcessBench(wrong, right, f1, named.count(None))


def _named_step(sample: Sample, finding: Finding) -> int | None:
    """The sample's step that a finding lies in, -1 for none, None where the critic gave no answer."""
    if finding.outcome not in _ANSWERED:
        return None
    if finding.start is None:
        return -1
    stops = np.cumsum([len(step) + len(_SEPARATOR) for step in sample.steps])
    return int(np.searchsorted(stops, finding.start, side="right"))
