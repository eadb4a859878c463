"""A comparison under ever more control, and the verdict on it. Decided here, worded elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pandas as pd

from attnent.analysis.comparison import compare, compare_adjusted, holm
from attnent.analysis.intervals import CONFIDENCE, Interval
from attnent.analysis.windows import matched_window, response_means

Stage = Literal["raw", "window", "lengths fixed", "place and class", "against right", "baselines fixed"]
Outcome = Literal["present", "absent", "undecided"]

PRIMARY = ("normalized_entropy", "varentropy")  # what is tested, fixed beforehand; all else explores
COMPARED = ("entropy", *PRIMARY, "sinkless_entropy", "sinkless_varentropy", "sink_mass")
BASELINES = ("token_entropy", "logprob")  # what the logits alone tell
LENGTHS = ("n_prompt", "n_steps")
SMALLEST = (0.45, 0.55)  # an AUROC between these is too small to matter


class Verdict(NamedTuple):
    """What was decided of one measure.

    `present`: it differs where it is tested, and its intervals lie on the same side of 0.5 there and in every stage
    after. `absent`: under all controls its interval lies within SMALLEST. Otherwise `undecided`.
    """

    outcome: Outcome
    side: Literal["higher", "lower", ""]  # of `a` where it is tested; "" where no difference is shown there
    tested: Interval
    controlled: Interval  # under all controls
    n_a: int
    n_b: int


@dataclass(frozen=True)
class Comparison:
    """Group `a` over group `b` under ever more control: a table a stage, each holding fixed what those before it do.

    A table is indexed by measure and has the columns auroc, low, high, and where it is a test p, n_a and n_b (or n).
    """

    a: str
    b: str
    stages: Mapping[Stage, pd.DataFrame]
    tested: Stage  # whose p-values decide about the primary measures, Holm-adjusted over them
    primary: tuple[str, ...] = PRIMARY
    unit: str = "responses"  # what is compared
    window: int | None = None  # first steps that are compared from the second stage on; None: all

    def interval(self, stage: Stage, measure: str) -> Interval:
        """The AUROC of a measure at a stage; undetermined where the stage does not hold it."""
        return Interval(*self.stages[stage].reindex([measure]).loc[measure, ["auroc", "low", "high"]])

    def table(self) -> pd.DataFrame:
        """A row a measure and a column a stage, AUROC [95 % interval]; last the verdict on the primary measures."""
        rows = dict.fromkeys(measure for table in self.stages.values() for measure in table.index)
        shown = {
            stage: [f"{self.interval(stage, name)}" if name in table.index else "" for name in rows]
            for stage, table in self.stages.items()
        }
        outcomes = {name: verdict.outcome for name, verdict in self.verdict.items()}
        return pd.DataFrame(shown | {"verdict": [outcomes.get(name, "") for name in rows]}, index=[*rows])

    @property
    def verdict(self) -> dict[str, Verdict]:
        """The verdict on each primary measure."""
        rows = self.stages[self.tested].loc[[*self.primary]]
        differs = holm(rows["p"]) < 1 - CONFIDENCE
        return {name: self._verdict(name, rows.loc[name], bool(differs[name])) for name in self.primary}

    def _verdict(self, measure: str, row: pd.Series, differs: bool) -> Verdict:
        names = list(self.stages)
        intervals = [self.interval(stage, measure) for stage in names[names.index(self.tested) :]]
        tested, final = intervals[0], intervals[-1]
        outcome: Outcome = "undecided"
        if differs and {_side(interval) for interval in intervals} in ({1}, {-1}):
            outcome = "present"
        elif SMALLEST[0] <= final.low and final.high <= SMALLEST[1]:
            outcome = "absent"
        side = ("higher" if tested.estimate > 0.5 else "lower") if differs else ""
        return Verdict(outcome, side, tested, final, int(row["n_a"]), int(row["n_b"]))


def _side(interval: Interval) -> int:
    """1 where an interval lies above 0.5, -1 below, 0 where it holds 0.5 or is missing."""
    return int(interval.low > 0.5) - int(interval.high < 0.5)


def controlled(
    tokens: pd.DataFrame,
    responses: pd.DataFrame,
    groups: pd.Series,
    a: str,
    b: str,
    *,
    measures: Sequence[str] = COMPARED,
    primary: Sequence[str] = PRIMARY,
    lengths: Sequence[str] = LENGTHS,
) -> Comparison:
    """Groups of responses under ever more control: raw, windowed, lengths held fixed, token baselines held fixed too.

    The `lengths` are columns of `responses`; they and BASELINES, columns of `tokens`, are rows of their own, so that
    what they alone would tell stands beside every measure. `groups` maps response_id to a group; responses of other
    groups are left out.
    """
    about = responses.set_index("response_id")
    groups = groups[groups.isin([a, b])]
    window = matched_window(about.loc[groups.index, "n_steps"], groups)
    rows = [*measures, *BASELINES, *lengths]

    def table(means: pd.DataFrame) -> pd.DataFrame:
        return means.join(about[[*lengths]], how="inner").loc[lambda t: t.index.isin(groups.index), rows]

    windowed = table(response_means(tokens, first=window))
    stages: dict[Stage, pd.DataFrame] = {
        "raw": compare(table(response_means(tokens)), rows, groups, a, b),
        "window": compare(windowed, rows, groups, a, b),
        "lengths fixed": compare_adjusted(windowed, [*measures, *BASELINES], groups, a, b, lengths),
        "baselines fixed": compare_adjusted(windowed, measures, groups, a, b, [*lengths, *BASELINES]),
    }
    return Comparison(a, b, stages, "window", tuple(primary), window=window)
