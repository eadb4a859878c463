"""Do the comparisons keep their word? `python benchmarks/calibration.py` plants the truth and counts.

How often each public comparison finds a difference at 5 % where there is none; how often the 95 % interval of `compare`
holds the true AUROC; how often a planted difference is found, beside what theory promises. A simulation is a column
of a table, and a few designs (who is in which group and cluster) bear many columns. `--write` puts the tables between
the marks in README.md.
"""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy import stats as sps
from statsmodels.stats.power import TTestIndPower

from attnent.analysis import (
    BASELINES,
    Comparison,
    compare,
    compare_adjusted,
    compare_paired,
    head_map,
    locating,
    stands_out,
    wrong_line,
)
from attnent.analysis.places import comparable, placed
from attnent.analysis.pooling import pool

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- calibration -->", "<!-- /calibration -->"
LEVEL = 0.05
ICC = 0.6  # of the values within clusters; questions about one entity had .67
WIDER = 1.85  # times: the spread of group a where spreads differ
N_SETS, N_SUBGROUPS = 4, 3
APART = 0.2  # standard deviations: the spread of the true shifts of sets that differ
HEADS = (6, 6)  # layers, heads a layer

Hits = Float[np.ndarray, " simulation"]  # 1 where it happened, 0 where not, NaN where there is no number


class Sizes(NamedTuple):
    """How many responses the groups have."""

    a: int
    b: int

    def __str__(self) -> str:
        return f"{self.a}" if self.a == self.b else f"{self.a} : {self.b}"


BALANCED = tuple(Sizes(n, n) for n in (10, 20, 50, 100, 200))
ONE_TO_NINE = (Sizes(10, 90), Sizes(20, 180), Sizes(50, 450))
TO_LEARN = (Sizes(100, 100), Sizes(400, 400))


@dataclass(frozen=True)
class Case:
    """Something that happens in a share of simulations: `once` makes so many of them upon one design."""

    once: Callable[[Sizes, int, np.random.Generator], Hits]
    n: int = 2_000  # simulations
    each: int = 50  # of them upon one design
    sizes: tuple[Sizes, ...] = BALANCED + ONE_TO_NINE

    def share(self, sizes: Sizes, n: int | None = None, seed: int = 0) -> float:
        """The share of simulations that have a number; NaN where fewer than nine in ten do."""
        rng = np.random.default_rng([seed, *sizes])
        hits = np.concatenate([self.once(sizes, self.each, rng) for _ in range(0, n or self.n, self.each)])
        return float(np.nanmean(hits)) if np.isfinite(hits).mean() >= 0.9 else np.nan


# ------------------------------------------------------------------------------------------------------------- designs


class Design(NamedTuple):
    """Who is in which group and in which cluster."""

    is_a: Bool[np.ndarray, " response"]
    clusters: Int[np.ndarray, " response"]

    @property
    def told(self) -> dict:
        """The groups as the comparisons take them."""
        return {"groups": pd.Series(np.where(self.is_a, "a", "b")), "a": "a", "b": "b"}

    def noise(self, rng: np.random.Generator, *shape: int) -> Float[np.ndarray, "response ..."]:
        """Standard normal numbers that go together within clusters."""
        of_cluster = rng.normal(size=(self.clusters.max() + 1, *shape))[self.clusters]
        return np.sqrt(ICC) * of_cluster + np.sqrt(1 - ICC) * rng.normal(size=(len(self.is_a), *shape))


def design(sizes: Sizes, rng: np.random.Generator, size: int = 1, nested: bool = False) -> Design:
    """Clusters of one size, each within one group or by chance across both."""
    place = np.arange(sum(sizes))
    return Design(place < sizes.a, (place if nested else rng.permutation(place)) // size)


def unlike(sizes: Sizes) -> Design:
    """Clusters of one in group a, of two in group b."""
    place = np.arange(sum(sizes))
    return Design(place < sizes.a, np.where(place < sizes.a, place, sizes.a + (place - sizes.a) // 2))


def columns(values: Float[np.ndarray, "response simulation"]) -> pd.DataFrame:
    """Simulations as measures of a table."""
    return pd.DataFrame(values).rename(columns=str)


def below(p: pd.Series) -> Hits:
    return np.where(p.isna(), np.nan, p < LEVEL)


# ----------------------------------------------------------------------------------------------------------- the cases


def raw(
    sizes: Sizes,
    n: int,
    rng: np.random.Generator,
    *,
    size: int = 1,
    nested: bool = False,
    ignored: bool = False,
    spread: float = 1.0,
    shift: float = 0.0,
) -> Hits:
    """`compare`; `shift` is that of group a in standard deviations."""
    made = design(sizes, rng, size, nested)
    of_a = made.is_a[:, None]
    table = columns(made.noise(rng, n) * np.where(of_a, spread, 1.0) + shift * of_a)
    clusters = None if ignored else pd.Series(made.clusters)
    return below(compare(table, list(table), **made.told, clusters=clusters)["p"])


def covered(sizes: Sizes, n: int, rng: np.random.Generator, *, auroc: float) -> Hits:
    """Whether the interval of `compare` holds the AUROC of two normal groups."""
    made = design(sizes, rng)
    table = columns(made.noise(rng, n) + np.sqrt(2) * sps.norm.ppf(auroc) * made.is_a[:, None])
    found = compare(table, list(table), **made.told)
    return ((found["low"] <= auroc) & (auroc <= found["high"])).to_numpy(float)


class Confounded(NamedTuple):
    """Covariates that differ between the groups, and what they add to a value."""

    covariates: pd.DataFrame
    effect: Float[np.ndarray, " response"]


def confounded(made: Design, rng: np.random.Generator) -> Confounded:
    length = made.noise(rng) + 0.8 * made.is_a
    level = made.noise(rng) + 0.5 * length
    return Confounded(pd.DataFrame({"length": length, "level": level}), length + 0.4 * length**2 - 0.6 * level)


def fixed(sizes: Sizes, n: int, rng: np.random.Generator, *, size: int = 1, learned: bool = False) -> Hits:
    """`compare_adjusted`."""
    made = design(sizes, rng, size)
    covariates, effect = confounded(made, rng)
    table = columns(made.noise(rng, n) + effect[:, None])
    asked = {"covariates": list(covariates), "clusters": pd.Series(made.clusters), "learned": learned}
    return below(compare_adjusted(table.join(covariates), list(table), **made.told, **asked)["p"])


def several(
    sizes: Sizes, rng: np.random.Generator, shifts: Float[np.ndarray, "table simulation"]
) -> list[pd.DataFrame]:
    """The tables of `compare` in independent sets of these sizes, group a shifted by so many standard deviations."""
    made = design(sizes, rng)
    tables = [columns(made.noise(rng, len(shift)) + np.outer(made.is_a, shift)) for shift in shifts]
    return [compare(table, list(table), **made.told) for table in tables]


def sets(sizes: Sizes, n: int, rng: np.random.Generator, *, apart: float = 0.0) -> Hits:
    """`compare` in each of N_SETS, pooled; the true shifts of the sets are normal around none, this far apart."""
    return below(pool(several(sizes, rng, rng.normal(0.0, apart, (N_SETS, n))))["p"])


def subgroups(sizes: Sizes, n: int, rng: np.random.Generator) -> Hits:
    """`Comparison.interaction` of N_SUBGROUPS that are all shifted by half a standard deviation."""
    tables = several(sizes, rng, np.full((N_SUBGROUPS, n), 0.5))
    of = {f"subgroup {place}": Comparison("a", "b", {"raw": one}, "raw") for place, one in enumerate(tables)}
    each = [Comparison("a", "b", {"raw": tables[0]}, "raw", (name,), subgroups=of) for name in tables[0].index]
    return below(pd.concat([one.interaction for one in each]))


def heads(sizes: Sizes, n: int, rng: np.random.Generator, *, size: int | None = 1, controlled: bool = False) -> Hits:
    """Whether `head_map` shows any of heads that go together; clusters are `unlike` without a size."""
    made = design(sizes, rng, size) if size else unlike(sizes)
    covariates, effect = confounded(made, rng)
    asked = {"clusters": pd.Series(made.clusters), "covariates": covariates if controlled else None}
    hits = []
    for seed in rng.integers(2**32, size=n).tolist():
        common = made.noise(rng) + (effect if controlled else 0.0)
        values = common[:, None, None] + made.noise(rng, *HEADS)
        of_heads = xr.DataArray(values, dims=("response", "layer", "head"), coords={"response": covariates.index})
        found = head_map(of_heads, **made.told, **asked, seed=seed)
        hits.append(float(stands_out(found).any()) if found.p_max_t.notnull().any() else np.nan)
    return np.array(hits)


def paired(sizes: Sizes, n: int, rng: np.random.Generator, *, size: int = 1) -> Hits:
    """`compare_paired`, of as many differences as group a has responses."""
    made = design(Sizes(sizes.a, 0), rng, size)
    table = columns(made.noise(rng, n))
    return below(compare_paired(table, list(table), pd.Series(made.clusters))["p"])


def gain(sizes: Sizes, n: int, rng: np.random.Generator) -> Hits:
    """`locating.gain` of a way that guesses as well as the other, and half of the time guesses the same."""
    over, other = rng.random((2, sizes.a, n)) < 0.4
    way = np.where(rng.random((sizes.a, n)) < 0.5, over, other)
    hits = [pd.DataFrame({"way": way[:, place], "over": over[:, place]}, dtype=float) for place in range(n)]
    found = [locating.gain(one, "way", "over", seed=int(rng.integers(2**32))) for one in hits]
    return np.array([np.nan if np.isnan(one.low) else float(not one.low <= 0 <= one.high) for one in found])


def moment(sizes: Sizes, n: int, rng: np.random.Generator) -> Hits:
    """`wrong_line.controlled`, where it is tested, of lines that are called wrong by chance."""
    tokens, responses = solutions(sum(sizes), rng)
    names = list(responses["response_id"])
    wrong = tokens[tokens["response_id"].isin(names[: sizes.a])]
    line = wrong.groupby("response_id")["n_lines"].first().map(rng.integers)
    of_line = wrong[wrong["line"] == wrong["response_id"].map(line)].groupby("response_id")["step"]
    spans = pd.DataFrame({"line": line, "start": of_line.min(), "stop": of_line.max() + 1, "kind": "planted"})
    rows = comparable(tokens, responses, spans, names[sizes.a :])
    lines = tokens.groupby(["response_id", "line"]).ngroup().to_numpy()
    values = [rng.normal(size=(of.max() + 1, n + 2))[of] for of in (lines, np.arange(len(tokens)))]
    measured = columns(sum(values))
    *names, entropy, logprob = measured
    table = tokens.join(measured.rename(columns=dict(zip((entropy, logprob), BASELINES, strict=True))))
    found = wrong_line.controlled(table, rows, measures=names, primary=names, n_draws=0)
    return below(found.stages[found.tested].loc[names, "p"])


def solutions(n: int, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Token and response tables of so many solutions of three to five lines, each an equation."""
    tables, responses = [], []
    for name in map("solution {}".format, range(n)):
        lines = [
            ["So", " ", str(left), sign, str(right), "=", str(left + right), ".", "\n"]
            for left, right, sign in zip(
                *rng.integers(1, 60, (2, 5)), rng.choice(["+", "-", "*"], rng.integers(3, 6)), strict=False
            )
        ]
        texts = [token for line in lines for token in line]
        stops = np.cumsum([len(text) for text in texts])
        about = {"response_id": name, "step": range(len(texts)), "token": texts}
        tables.append(pd.DataFrame(about | {"char_start": stops - [len(text) for text in texts], "char_end": stops}))
        responses.append({"response_id": name, "response": "".join(texts), "group": name})
    of_all = pd.DataFrame(responses)
    return placed(pd.concat(tables, ignore_index=True), of_all), of_all


FALSE_POSITIVES: Mapping[str, Case] = {
    "raw (`compare`)": Case(raw),
    f"raw, spreads {WIDER} : 1": Case(partial(raw, spread=WIDER)),
    "clusters of 2 across the groups": Case(partial(raw, size=2)),
    "clusters of 5 across the groups": Case(partial(raw, size=5)),
    "clusters of 2 within a group": Case(partial(raw, size=2, nested=True)),
    "clusters of 5 within a group": Case(partial(raw, size=5, nested=True)),
    "the same, clusters ignored": Case(partial(raw, size=5, nested=True, ignored=True)),
    "two covariates fixed (`compare_adjusted`)": Case(fixed, n=1_000, each=5),
    "fixed, clusters of 2": Case(partial(fixed, size=2), n=1_000, each=5),
    "fixed as learned": Case(partial(fixed, learned=True), n=400, each=1, sizes=TO_LEARN),
    f"pooled over {N_SETS} such sets": Case(sets, n=1_000),
    f"pooled over {N_SETS} sets that truly differ, by {APART} sd": Case(partial(sets, apart=APART), n=1_000),
    f"{N_SUBGROUPS} such subgroups differ": Case(subgroups, n=1_000),
    "any head of a map of 36 (`head_map`)": Case(heads, n=400, each=1),
    "any head, clusters of 2": Case(partial(heads, size=2), n=400, each=1),
    "any head, clusters of 1 in one group, of 2 in the other": Case(partial(heads, size=None), n=400, each=1),
    "any head, two covariates fixed": Case(partial(heads, controlled=True), n=400, each=1),
    "paired (`compare_paired`)": Case(paired, sizes=BALANCED),
    "paired, clusters of 2": Case(partial(paired, size=2), sizes=BALANCED),
    "the wrong line (`wrong_line.controlled`)": Case(moment, n=400, each=10),
    "gain of a probe (`locating.gain`)": Case(gain, sizes=BALANCED),
}
COVERAGE: Mapping[str, Case] = {f"AUROC {auroc}": Case(partial(covered, auroc=auroc)) for auroc in (0.5, 0.7, 0.92)}
POWER: Mapping[float, Case] = {shift: Case(partial(raw, shift=shift), sizes=BALANCED[1:]) for shift in (0.3, 0.5)}


def theory(shift: float, sizes: Sizes) -> float:
    """Power of the t test of as many responses times 3 / pi, the efficiency of ranks in normal groups (Pitman)."""
    return float(TTestIndPower().power(shift, sizes.a * 3 / np.pi, LEVEL))


# ---------------------------------------------------------------------------------------------------------- the tables


def percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{100 * share:.1f}"


def table(cases: Mapping[str, Case], sizes: Sequence[Sizes], title: str) -> str:
    rows = [
        [label, *(percent(case.share(one)) if one in case.sizes else "–" for one in sizes)]
        for label, case in cases.items()
    ]
    return markdown([title, *map(str, sizes)], rows)


def power_table(sizes: Sequence[Sizes]) -> str:
    rows = [
        [f"{shift} sd", *(f"{percent(case.share(one))} ({percent(theory(shift, one))})" for one in sizes)]
        for shift, case in POWER.items()
    ]
    return markdown(["a planted difference is found, % (theory)", *map(str, sizes)], rows)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def summary() -> str:
    """All tables as Markdown."""
    sizes = [*BALANCED, TO_LEARN[-1], *ONE_TO_NINE]
    parts = [
        table(FALSE_POSITIVES, sizes, "a difference is found where there is none, %"),
        table(COVERAGE, [*BALANCED, *ONE_TO_NINE], "the 95 % interval of `compare` holds the truth, %"),
        power_table(BALANCED[1:]),
    ]
    return "\n\n".join(parts)


def written(readme: str, text: str) -> str:
    """The README with the text between its marks."""
    found = re.subn(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{text}\n{END}", readme, flags=re.DOTALL)
    if found[1] != 1:
        raise ValueError(f"{found[1]} places are marked for the tables; mark one with {BEGIN} and {END}")
    return found[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how often comparisons err, and print it as Markdown.")
    parser.add_argument("--write", action="store_true", help="put the tables into README.md too")
    options = parser.parse_args()
    text = summary()
    print(text)
    if options.write:
        README.write_text(written(README.read_text(), text))


if __name__ == "__main__":
    main()
