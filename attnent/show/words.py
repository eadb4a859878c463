"""What a comparison found, in sentences: the maths decides (`analysis.verdicts`), here it is worded."""

import html
import math
from dataclasses import dataclass
from typing import Any

from attnent.analysis.intervals import FEWEST, Interval
from attnent.analysis.verdicts import Comparison, Verdict
from attnent.trace import title_and_unit

_WHERE = {"window": "in no common window", "against right": "against the same line of right solutions"}
ANSWER = "application/vnd.attnent.answer+json"


@dataclass(frozen=True)
class Answer:
    """What a notebook found: shown by its cell tagged `answer`, and listed by the study's index."""

    text: str  # plain text, without markup
    n: int  # responses that it rests on
    accuracy: float | None = None  # share of right responses, where there is one
    effect: Interval | None = None  # the main effect, on the scale of AUROC: 0.5 is no difference
    effect_name: str = ""  # what the main effect is: "AUROC of normalized attention entropy, wrong over right"

    def _repr_mimebundle_(self, **_kwargs: Any) -> dict[str, Any]:
        known = self.effect is not None and not math.isnan(self.effect.estimate)
        facts = {
            "answer": self.text,
            "n": self.n,
            "accuracy": self.accuracy,
            "effect": self.effect if known else None,
            "effect_name": self.effect_name,
        }
        shown = f'<p class="answer"><strong>Answer.</strong> {html.escape(self.text)}</p>'
        return {"text/plain": f"Answer. {self.text}", "text/html": shown, ANSWER: facts}


def answer(comparison: Comparison, *, n: int, accuracy: float | None = None) -> Answer:
    """The `sentences` on a comparison as the answer of a notebook; its main effect is that of the first measure."""
    main = comparison.primary[0]
    name = f"AUROC of {title_and_unit(main)[0]}, {comparison.a} over {comparison.b} {comparison.unit}"
    effect = comparison.interval(comparison.tested, main)
    return Answer(sentences(comparison), n, accuracy, effect, name)


def sentences(comparison: Comparison) -> str:
    """A sentence for each primary measure: what differs, with interval, and whether it is left under all controls."""
    said = (_sentence(comparison, measure, verdict) for measure, verdict in comparison.verdict.items())
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in said)


def _sentence(comparison: Comparison, measure: str, verdict: Verdict) -> str:
    name, a, b, unit = title_and_unit(measure)[0], comparison.a, comparison.b, comparison.unit
    counts = f"n = {verdict.n_a} {a}, {verdict.n_b} {b}"
    if math.isnan(verdict.tested.estimate):
        return f"{name} cannot be compared ({counts}; at least {FEWEST} {unit} are needed in each group)"
    differs = f"{name} is {verdict.side} in {a} than in {b} {unit}"
    said = {
        "present": f"{differs}, also under control (present)",
        "absent": f"{name} does not differ between {a} and {b} {unit} (absent)",
        "undecided": f"whether {name} differs between {a} and {b} {unit} is undecided",
    }[verdict.outcome]
    if verdict.outcome == "undecided" and verdict.side:
        said = f"{differs}, but control leaves that undecided"
    where = f"in the first {comparison.window} steps" if comparison.window else _WHERE[comparison.tested]
    return f"{said}: AUROC {verdict.tested} {where}, {verdict.controlled} with all controls ({counts})"
