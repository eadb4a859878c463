"""A comparison under ever more control, and the verdict on it. Decided here, worded elsewhere."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats as sps
from scipy.special import logit

from attnent.analysis.comparison import compare, holm
from attnent.analysis.intervals import CONFIDENCE, Interval
from attnent.analysis.pooling import disjoint_sets, heterogeneity, on_logit, pool
from attnent.analysis.regression import compare_adjusted
from attnent.analysis.windows import matched_window, response_means

Stage = Literal["raw", "window", "lengths fixed", "place and class", "expression fixed", "baselines fixed"]
Outcome = Literal["present", "absent", "mixed", "undecided"]
Side = Literal["higher", "lower", ""]

PRIMARY = ("normalized_entropy", "varentropy")  # what is tested, fixed beforehand; all else explores
COMPARED = ("entropy", *PRIMARY, "sinkless_entropy", "sinkless_varentropy", "sink_mass")
BASELINES = ("token_entropy", "logprob")  # what the logits alone tell
LENGTHS = ("n_prompt", "n_steps")
SMALLEST = (0.45, 0.55)  # an AUROC between these is too small to matter


class Verdict(NamedTuple):
    """What was decided of one measure.

    `mixed`: subgroups differ (Q test) and lie on both sides of 0.5 where it is tested. `present`: it differs where it
    is tested, its intervals lie on the same side of 0.5 there and in every stage after, and at least half of the sets
    show it under all controls. `absent`: under all controls it lies within SMALLEST by two one-sided tests at 5 %
    (Schuirmann 1987). Otherwise `undecided`.
    """

    outcome: Outcome
    side: Side  # of `a` where it is tested; "" where no difference is shown there
    tested: Interval
    controlled: Interval  # under all controls
    n_a: int
    n_b: int
    in_sets: int  # sets whose interval under all controls leaves out 0.5, on the side of the pooled estimate
    n_sets: int
    power: float  # with which an AUROC at the edge of SMALLEST would be seen under all controls
    made_by_control: bool  # no difference where it is tested, one under all controls
    overlap: float  # share of the group's variance that all controls explain


class Compared(NamedTuple):
    """The responses that a Comparison is of: each one's group, its cluster, and what the last stage holds fixed."""

    groups: pd.Series
    clusters: pd.Series
    covariates: pd.DataFrame


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
    sets: Mapping[str, "Comparison"] = field(default_factory=dict)  # of which `stages` are the pool; empty: one set
    subgroups: Mapping[str, "Comparison"] = field(default_factory=dict)
    learned: pd.DataFrame | None = None  # the last stage without assuming how covariates act (`cross_fitted`)
    compared: Compared | None = None

    def interval(self, stage: Stage, measure: str) -> Interval:
        """The AUROC of a measure at a stage; undetermined where the stage does not hold it."""
        return _interval(self.stages[stage], measure)

    def table(self) -> pd.DataFrame:
        """A row a measure and a column a stage, AUROC [95 % interval].

        Then the last stage as learned, where there is one; and of the primary measures the sets that show a difference
        under all controls, and the verdict.
        """
        rows = list(dict.fromkeys(measure for table in self.stages.values() for measure in table.index))
        tables: dict[str, pd.DataFrame] = {**self.stages} | ({} if self.learned is None else {"learned": self.learned})
        shown = {name: [_shown(table, measure) for measure in rows] for name, table in tables.items()}
        verdicts = self.verdict
        if self.sets:
            of = {name: f"{verdict.in_sets} of {verdict.n_sets}" for name, verdict in verdicts.items()}
            shown["in sets"] = [of.get(name, "") for name in rows]
        outcomes = {name: verdict.outcome for name, verdict in verdicts.items()}
        return pd.DataFrame(shown | {"verdict": [outcomes.get(name, "") for name in rows]}, index=rows)

    @property
    def last(self) -> Stage:
        """The stage with all controls."""
        return [*self.stages][-1]

    @property
    def heterogeneity(self) -> pd.DataFrame:
        """I² over the sets, in [0, 1]: a row a measure and a column a stage."""
        found = {}
        for stage, table in self.stages.items():
            of_sets = [one.stages[stage] for one in self.sets.values()]
            found[stage] = {name: heterogeneity(of_sets, name)[0] for name in table.index}
        return pd.DataFrame(found)

    @property
    def interaction(self) -> pd.Series:
        """p that the subgroups differ where they are tested (Cochran's Q), by primary measure, Holm-adjusted."""
        tables = [one.stages[self.tested] for one in self.subgroups.values()]
        return holm(pd.Series({name: heterogeneity(tables, name)[1] for name in self.primary}, dtype=float))

    @property
    def by_subgroup(self) -> pd.DataFrame:
        """A row a subgroup and primary measure: its size, and AUROC [95 % interval] at every stage."""
        rows = {}
        for name, one in self.subgroups.items():
            for measure in self.primary:
                n_a, n_b = one.stages[self.tested].loc[measure, ["n_a", "n_b"]].astype(int)
                shown = {stage: f"{one.interval(stage, measure)}" for stage in one.stages}
                rows[name, measure] = {f"n {self.a}": n_a, f"n {self.b}": n_b} | shown
        return pd.DataFrame.from_dict(rows, orient="index")

    @property
    def verdict(self) -> dict[str, Verdict]:
        """The verdict on each primary measure."""
        rows = self.stages[self.tested].loc[[*self.primary]]
        differs = holm(rows["p"]) < 1 - CONFIDENCE
        disagree = self.interaction < 1 - CONFIDENCE
        return {name: self._verdict(name, bool(differs[name]), bool(disagree[name])) for name in self.primary}

    def _verdict(self, measure: str, differs: bool, disagree: bool) -> Verdict:
        names = list(self.stages)
        intervals = [self.interval(stage, measure) for stage in names[names.index(self.tested) :]]
        tested, final = intervals[0], intervals[-1]
        of_sets = [_side(one.interval(self.last, measure)) for one in self.sets.values()]
        n_sets = sum(not np.isnan(one.interval(self.last, measure).estimate) for one in self.sets.values())
        in_sets = of_sets.count(1 if final.estimate > 0.5 else -1)
        in_subgroups = {_side(one.interval(self.tested, measure)) for one in self.subgroups.values()}
        outcome: Outcome = "undecided"
        if disagree and {1, -1} <= in_subgroups:
            outcome = "mixed"
        elif differs and {_side(interval) for interval in intervals} in ({1}, {-1}) and 2 * in_sets >= n_sets:
            outcome = "present"
        elif _equivalent(self.stages[self.last].loc[measure]):
            outcome = "absent"
        row, last = self.stages[self.tested].loc[measure], self.stages[self.last].loc[measure]
        return Verdict(
            outcome,
            side=("higher" if tested.estimate > 0.5 else "lower") if differs else "",
            tested=tested,
            controlled=final,
            n_a=int(row["n_a"]),
            n_b=int(row["n_b"]),
            in_sets=in_sets,
            n_sets=n_sets,
            power=_power(last),
            made_by_control=not differs and _side(final) != 0,
            overlap=float(last.get("overlap", np.nan)),
        )


def _interval(table: pd.DataFrame, measure: str) -> Interval:
    return Interval(*table.reindex([measure]).loc[measure, ["auroc", "low", "high"]])


def _shown(table: pd.DataFrame, measure: str) -> str:
    return f"{_interval(table, measure)}" if measure in table.index else ""


def _side(interval: Interval) -> int:
    """1 where an interval lies above 0.5, -1 below, 0 where it holds 0.5 or is missing."""
    return int(interval.low > 0.5) - int(interval.high < 0.5)


def _equivalent(row: pd.Series) -> bool:
    """Whether two one-sided tests at 5 % place an AUROC within SMALLEST."""
    estimate, error = on_logit(row)
    reach = sps.norm.ppf(CONFIDENCE) * error
    return bool(logit(SMALLEST[0]) <= estimate - reach and estimate + reach <= logit(SMALLEST[1]))


def _power(row: pd.Series) -> float:
    """The chance that a difference at the edge of SMALLEST is seen (two-sided 5 %) with an error as the row's."""
    edge, error = logit(SMALLEST[1]), on_logit(row).error
    if not error > 0:
        return np.nan
    z = sps.norm.ppf((1 + CONFIDENCE) / 2)
    return float(sps.norm.sf(z - edge / error) + sps.norm.cdf(-z - edge / error))


def pooled(sets: Mapping[str, Comparison]) -> Comparison:
    """One Comparison of several of the same kind in disjoint sets: every stage pooled, and so every subgroup."""
    first = next(iter(sets.values()))
    stages = {stage: pool([one.stages[stage] for one in sets.values()]) for stage in first.stages}
    names = dict.fromkeys(name for one in sets.values() for name in one.subgroups)
    subgroups = {
        name: pooled({of: one.subgroups[name] for of, one in sets.items() if name in one.subgroups}) for name in names
    }
    return replace(first, stages=stages, sets=dict(sets), subgroups=subgroups)


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
    cluster: str = "group",
    n_sets: int = 1,
    by: pd.Series | None = None,
) -> Comparison:
    """Groups of responses under ever more control: raw, windowed, lengths held fixed, token baselines held fixed too.

    The `lengths` are columns of `responses` (one that is NaN throughout is left out); they and BASELINES, columns of
    `tokens`, are rows of their own, so that what they alone would tell stands beside every measure. `groups` maps
    response_id to a group; responses of other groups are left out. Responses with the same `cluster`, a column of
    `responses`, are not independent (where there is none, all are). With `n_sets` the comparison is made in as many
    disjoint sets of clusters and pooled. `by` maps response_id to a subgroup, in which the primary measures are
    compared; a response without one stands for all.
    """
    about = responses.set_index("response_id")
    groups = groups[groups.isin([a, b]) & groups.index.isin(about.index)]
    about = about.loc[groups.index]
    clusters = about[cluster] if cluster in about else pd.Series(about.index, about.index)
    lengths = [name for name in lengths if about[name].notna().any()]
    own = tokens[tokens["response_id"].isin(about.index)]
    window = matched_window(own.groupby("response_id").size().reindex(groups.index, fill_value=0), groups)
    means = [response_means(own, first=first).join(about[[*lengths]], how="inner") for first in (None, window)]
    asked = _Asked(*means, groups, a, b, clusters, tuple(lengths), tuple(primary), window)
    n_sets = max(1, min(n_sets, clusters.nunique()))
    of_set = disjoint_sets(clusters, n_sets) if n_sets > 1 else pd.Series("", clusters.index)
    sets = {str(name): members.index for name, members in of_set.groupby(of_set)} or {"": groups.index}

    def replicated(names: pd.Index, shown: Sequence[str], alone: Sequence[str] = ()) -> Comparison:
        each = {name: asked.stages(names.intersection(members), shown, alone) for name, members in sets.items()}
        return pooled(each) if n_sets > 1 else next(iter(each.values()))

    def of_subgroup(names: pd.Index) -> Comparison:
        """By sets, but where these have too few of it, of all at once."""
        by_sets = replicated(names, primary)
        return asked.stages(names, primary) if by_sets.stages["window"]["auroc"].isna().any() else by_sets

    subgroups = {} if by is None else _subgroups(by.reindex(groups.index))
    return replace(
        replicated(groups.index, measures, [*BASELINES, *lengths]),
        subgroups={name: of_subgroup(members) for name, members in subgroups.items()},
        learned=asked.learned(),
        compared=Compared(groups, clusters, means[1][[*lengths, *BASELINES]]),
    )


class _Asked(NamedTuple):
    """What `controlled` compares: means of responses over all steps and in the window, and what is known of them."""

    whole: pd.DataFrame
    windowed: pd.DataFrame
    groups: pd.Series
    a: str
    b: str
    clusters: pd.Series
    lengths: tuple[str, ...]
    primary: tuple[str, ...]
    window: int

    def stages(self, names: pd.Index, shown: Sequence[str], alone: Sequence[str] = ()) -> Comparison:
        """The measures `shown` of the responses `names` at every stage; `alone` are covariates as rows of their own."""
        told = {"groups": self.groups, "a": self.a, "b": self.b, "clusters": self.clusters}
        free, fixed = functools.partial(compare, **told), functools.partial(compare_adjusted, **told)
        whole, windowed = (table[table.index.isin(names)] for table in (self.whole, self.windowed))
        held = [*shown, *(name for name in alone if name in BASELINES)]
        stages: dict[Stage, pd.DataFrame] = {
            "raw": free(whole, [*shown, *alone]),
            "window": free(windowed, [*shown, *alone]),
            "lengths fixed": fixed(windowed, held, covariates=self.lengths),
            "baselines fixed": fixed(windowed, shown, covariates=[*self.lengths, *BASELINES]),
        }
        return Comparison(self.a, self.b, stages, "window", self.primary, window=self.window)

    def learned(self) -> pd.DataFrame:
        """The primary measures at the last stage, without assuming how the covariates act."""
        covariates = [*self.lengths, *BASELINES]
        told = (self.groups, self.a, self.b, covariates, self.clusters)
        return compare_adjusted(self.windowed, self.primary, *told, learned=True)


def _subgroups(by: pd.Series) -> dict[str, pd.Index]:
    """The responses of each subgroup, with those that have none; in the order of its categories, where it has some."""
    names = by.cat.categories if isinstance(by.dtype, pd.CategoricalDtype) else by.dropna().unique()
    return {str(name): by.index[(by == name) | by.isna()] for name in names}
