"""What a comparison found, in sentences: the maths decides (`analysis.verdicts`), here it is worded."""

import html
import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from attnent.analysis.across import FEWEST_SIZES
from attnent.analysis.intervals import CONFIDENCE, FEWEST, Interval
from attnent.analysis.regression import MOST_EXPLAINED
from attnent.analysis.verdicts import SMALLEST, Comparison, Verdict
from attnent.trace import title_and_unit

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


def answer(comparison: Comparison, *, n: int, accuracy: float | None = None, whose: str = "") -> Answer:
    """The `sentences` on a comparison as the answer of a notebook; its main effect is that of the first measure.

    `whose` attention it is, where it is not that of who wrote the responses, is said first.
    """
    main = comparison.primary[0]
    name = f"AUROC of {title_and_unit(main)[0]}, {comparison.a} over {comparison.b} {comparison.unit}"
    effect = comparison.interval(comparison.tested, main)
    said = f"{whose[0].upper()}{whose[1:]}: {sentences(comparison)}" if whose else sentences(comparison)
    return Answer(said, n, accuracy, effect, name)


def sentences(comparison: Comparison) -> str:
    """One sentence, a clause a primary measure: what differs, with interval, and what is left under all controls.

    What was left undecided is followed by the share of such comparisons that would show a difference worth the name.
    """
    verdicts = comparison.verdict
    clauses = [_clause(comparison, name, one, is_first=not at) for at, (name, one) in enumerate(verdicts.items())]
    counted, said = next(iter(verdicts.values())), "; ".join(clauses)
    n = f"n = {counted.n_a} {comparison.a}, {counted.n_b} {comparison.b}"
    open_ = [f"{one.power:.0%}" for one in verdicts.values() if _is_open(one)]
    power = f"; with all controls one of {SMALLEST[1]:.2f} would be seen in {' and '.join(open_)}" if open_ else ""
    return f"{said[0].upper()}{said[1:]} ({n}{power})."


def _is_open(verdict: Verdict) -> bool:
    known = not math.isnan(verdict.tested.estimate + verdict.controlled.estimate)
    return known and verdict.outcome == "undecided" and not verdict.made_by_control


def _clause(comparison: Comparison, measure: str, verdict: Verdict, *, is_first: bool) -> str:
    """What is known of one measure; the first clause names the groups for all."""
    name, a, b, unit = title_and_unit(measure)[0], comparison.a, comparison.b, comparison.unit
    if math.isnan(verdict.tested.estimate):
        return f"{name} cannot be compared, which takes at least {FEWEST} {unit} of each group in a set"
    if verdict.outcome == "mixed":
        return f"{name} differs one way and the other (mixed): {_by_subgroup(comparison, measure)}"
    differs = f"{name} is {verdict.side}" + f" in {a} than in {b} {unit}" * is_first
    between = f" between {a} and {b} {unit}" * is_first
    said = {
        "present": f"{differs} (present)",
        "absent": f"{name} does not differ{between} (absent)",
        "undecided": f"whether {name} differs{between} is undecided",
    }[verdict.outcome]
    if verdict.outcome == "absent" and verdict.side:
        said = f"{differs}, but not under control (absent)"
    elif verdict.outcome == "undecided" and verdict.side:
        said = f"{differs}, undecided under control"
    elif verdict.made_by_control:
        said = f"{name} differs{between} only under control, which makes the difference (undecided)"
    return f"{said}: AUROC {verdict.tested}, {_controlled(verdict)}"


def _by_subgroup(comparison: Comparison, measure: str) -> str:
    """Where `a` is higher and where lower, each with its AUROC and sets, and that of all together."""
    shown = []
    for name, one in comparison.subgroups.items():
        effect = one.interval(one.tested, measure)
        side = "higher" if effect.low > 0.5 else "lower" if effect.high < 0.5 else ""
        shown += [f"{side} in {name}, AUROC {effect}"] if side else []
    together = comparison.interval(comparison.tested, measure)
    return f"{'; '.join(shown)}; {together} together"


def _controlled(verdict: Verdict) -> str:
    """What is left under all controls, and in how many sets, or why nothing can be said."""
    if math.isnan(verdict.controlled.estimate):
        why = f", which explain {verdict.overlap:.0%} of the groups" if verdict.overlap > MOST_EXPLAINED else ""
        return f"undetermined with all controls{why}"
    sets = f", in {verdict.in_sets} of {verdict.n_sets} sets" if verdict.n_sets > 1 else ""
    return f"{verdict.controlled} with all controls{sets}"


def across(comparisons: Mapping[str, Comparison], slopes: pd.DataFrame, *, n: int) -> Answer:
    """What holds over models, a clause a question (each of `across.over_models`), and whether it goes with size.

    `slopes` is of `across.slopes`. The main effect is that of the first question that has a number. Where there is but
    one model the answer is on it, and says that a comparison needs two.
    """
    models = list(dict.fromkeys(name for one in comparisons.values() for name in one.sets))
    begin, shown = f"Pooled over {len(models)} models, with all controls", dict(comparisons)
    if len(models) == 1:
        begin = f"There is one model, {models[0]}, and a comparison needs two; with all controls"
        shown = {name: one.sets[models[0]] for name, one in comparisons.items()}
    outcomes = Counter(str(verdict.outcome) for one in shown.values() for verdict in one.verdict.values())
    counted = [f"{outcomes[of] or 'none'} {of}" for of in dict.fromkeys(["present", "absent", *outcomes])]
    primary = next(iter(shown.values())).primary
    clauses = [f"{name} {_effects(one, is_pool=len(models) > 1)}" for name, one in shown.items()]
    text = (
        f"{begin}, of {outcomes.total()} effects {', '.join(counted)}. AUROC of "
        f"{' and of '.join(title_and_unit(measure)[0] for measure in primary)}: {'; '.join(clauses)}. "
    )
    text += _in_single(comparisons) * (len(models) > 1) + _with_size(slopes)
    effects = {name: one.interval(one.last, primary[0]) for name, one in shown.items()}
    main = next((name for name, effect in effects.items() if not math.isnan(effect.estimate)), next(iter(effects)))
    name = f"AUROC of {title_and_unit(primary[0])[0]} with all controls, {main}"
    return Answer(text, n, effect=effects[main], effect_name=name)


def _effects(comparison: Comparison, *, is_pool: bool) -> str:
    """The primary measures under all controls; of pools, with how many models they rest on."""
    verdicts = comparison.verdict.values()
    shown = " and ".join(f"{one.controlled}{f' ({one.outcome})' * (one.outcome != 'undecided')}" for one in verdicts)
    n = max(one.n_sets for one in verdicts)
    return f"{shown} ({n} model{'s' * (n != 1)})" if is_pool else shown


def _in_single(comparisons: Mapping[str, Comparison]) -> str:
    found = [
        f"{title_and_unit(measure)[0]}, {name}, in {model}"
        for name, one in comparisons.items()
        for model, of in one.sets.items()
        for measure, verdict in of.verdict.items()
        if verdict.outcome == "present"
    ]
    return f"Present in a single model: {'; '.join(found)}. " if found else "Nothing is present in a single model. "


def _with_size(slopes: pd.DataFrame) -> str:
    known = slopes.dropna(subset="p")
    if known.empty:
        return f"Whether effects change with size cannot be told: no family has a number at {FEWEST_SIZES} sizes."
    changing = known[known["p_holm"] < 1 - CONFIDENCE]
    said = [f"{title_and_unit(measure)[0]} in {family}, {name}" for name, family, measure in changing.index]
    which = f": {'; '.join(said)}" if said else ""
    return f"With size {len(said) or 'none'} of {len(known)} effects change{'s' * (len(said) < 2)}{which}."


def increments(
    over: Mapping[str, pd.DataFrame], score: str, alone: pd.Series, *, n: int, known: str, counts: Collection[str]
) -> Answer:
    """What one score, named beforehand, adds to what is `known`, a clause a task, and how many of the others do.

    Each table is of `detectors.leaderboard.increments`; the others are those that `counts` names. `alone` is the row of
    the score in the first task (auroc, low, high), which is the main effect.
    """
    clauses = []
    for task, table in over.items():
        row, others = table.loc[score], table[table.index.isin(list(counts)) & table["increment"].notna()]
        present = int((others["verdict"] == "present").sum())
        said = "too few responses" if math.isnan(row["increment"]) else f"{_rise(row)}, {row['verdict']}"
        clauses.append(f"{task} {said} ({present} of {len(others)} published attention scores add something)")
    text = f"Beyond {known}, attnent's instrument adds to the AUROC of {'; '.join(clauses)}."
    effect = Interval(*map(float, alone[["auroc", "low", "high"]]))
    name = f"AUROC of the instrument alone, wrong over right, {next(iter(over))}"
    return Answer(text, n, effect=effect, effect_name=name)


def _rise(row: pd.Series) -> str:
    return f"{row['increment']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
