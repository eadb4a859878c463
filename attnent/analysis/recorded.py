"""What is recorded of many models: the Runs of a task read together, a table a model, and compared alike."""

import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from attnent.analysis.difficulty import added
from attnent.analysis.grades import mean_by_cluster, share_by_cluster
from attnent.analysis.verdicts import LENGTHS, Comparison, controlled
from attnent.analysis.windows import difference
from attnent.runs import Run, RunError, load_runs
from attnent.store.folders import model_name

_MAY_DIFFER = ("seed", "examples", "columns", "top_keys")  # between Runs of one model that are taken together
_CHECKSUMS = ("revision", "chat_template", "examples")  # which tell a reader nothing


class Contrast(NamedTuple):
    """What is asked of every model alike: responses of group `a` over those of group `b`."""

    task: str
    a: str
    b: str
    column: str  # of the table of all Runs: the group of each response
    cluster: str = "group"
    lengths: Sequence[str] = LENGTHS  # held fixed where responses have them
    surface: Callable[[pd.DataFrame], pd.DataFrame] | None = None  # of the responses: what prompts show of difficulty
    outcomes: Collection[str] = ()  # the grades that count for accuracy, where responses are right or wrong
    by: Callable[[pd.DataFrame], pd.Series | None] | None = None  # of the responses: the subgroup of each


class Recorded(NamedTuple):
    """The responses of one model to the prompts of one task, in all Runs that are taken together.

    `responses` and `tokens` are the tables of a Run, with a response_id that is unique over Runs and the column
    `example`, its id in the Run. `groups` has by response_id what the contrast's column says.
    """

    n_parameters: float  # NaN where its Runs do not say
    responses: pd.DataFrame
    tokens: pd.DataFrame
    groups: pd.Series


@dataclass(frozen=True)
class Reading:
    """What was read of one task: `models` by name, from the smallest; `runs` has a row a Run, left out or not."""

    contrast: Contrast
    models: Mapping[str, Recorded]
    runs: pd.DataFrame

    def compared(self, *, n_sets: int) -> dict[str, Comparison]:
        """The groups of each model under ever more control, the lengths and the difficulty of prompts held fixed."""
        return {name: _compared(one, self.contrast, n_sets) for name, one in self.models.items()}

    def differences(self, measure: str) -> pd.DataFrame:
        """The `difference` of the groups at each step; `group` is the model."""
        asked = (measure, self.contrast.a, self.contrast.b)
        tables = [_difference(one, *asked).assign(group=name) for name, one in self.models.items()]
        return pd.concat(tables, ignore_index=True)

    def accuracy(self) -> pd.DataFrame:
        """The share of right responses of each model with its 95 % interval by clusters: estimate, low, high, n."""
        of = {name: self._right(one) for name, one in self.models.items()}
        rows = {name: (*share_by_cluster(one["right"], one["cluster"]), len(one)) for name, one in of.items()}
        return pd.DataFrame.from_dict(rows, orient="index", columns=["estimate", "low", "high", "n"])

    def in_common(self) -> pd.DataFrame:
        """A row a pair of models: `examples` that both answered, and how much oftener the first was right on them.

        The difference is paired, with its 95 % interval by clusters: difference, low, high; NaN where nothing is
        graded, and below FEWEST clusters.
        """
        rows = {}
        for (one, of_one), (other, of_other) in itertools.combinations(self.models.items(), 2):
            n = len({*of_one.responses["example"]} & {*of_other.responses["example"]})
            first, second = (self._right(of).groupby("example") for of in (of_one, of_other))
            less = (first["right"].mean() - second["right"].mean()).dropna()
            rows[one, other] = (n, *mean_by_cluster(less, first["cluster"].first()[less.index]))
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["examples", "difference", "low", "high"])
        return table.set_axis(pd.MultiIndex.from_tuples(list(rows), names=["model", "other"]))

    def _right(self, one: Recorded) -> pd.DataFrame:
        """A row a response that has an outcome: its example, its cluster, whether it was right."""
        graded = one.groups[one.groups.isin(list(self.contrast.outcomes))]
        about = one.responses.set_index("response_id").loc[graded.index]
        return pd.DataFrame(
            {"example": about["example"], "cluster": about[self.contrast.cluster], "right": graded == "correct"}
        )


def _compared(one: Recorded, contrast: Contrast, n_sets: int) -> Comparison:
    responses, lengths = one.responses, [name for name in contrast.lengths if name in one.responses]
    if contrast.surface is not None:
        graded = one.groups[one.groups.isin(list(contrast.outcomes)) & (one.groups != "truncated")]
        responses = added(responses, contrast.surface(responses), graded == contrast.a, contrast.cluster)
        lengths = [*lengths, "difficulty"]
    return controlled(
        *(one.tokens, responses, one.groups, contrast.a, contrast.b),
        lengths=lengths,
        cluster=contrast.cluster,
        n_sets=n_sets,
        by=None if contrast.by is None else contrast.by(responses),
    )


def _difference(one: Recorded, measure: str, a: str, b: str) -> pd.DataFrame:
    return difference(one.tokens, measure, one.groups, a, b)


def sizes(readings: Mapping[str, Reading]) -> dict[str, float]:
    """The number of parameters of every model, from the smallest; NaN where none of its Runs says it."""
    rows = [(name, one.n_parameters) for reading in readings.values() for name, one in reading.models.items()]
    known = pd.DataFrame(rows, columns=["model", "n"]).groupby("model")["n"].max()
    return known.sort_values(kind="stable").to_dict()


def accuracies(readings: Mapping[str, Reading]) -> pd.DataFrame:
    """The `accuracy` of every model on every task that is graded, a row "task, model"; no row where none is."""
    tables = [
        one.accuracy().rename(lambda model, task=one.contrast.task: f"{task}, {model}")
        for one in readings.values()
        if one.contrast.outcomes
    ]
    return pd.concat([pd.DataFrame(columns=["estimate", "low", "high", "n"], dtype=float), *tables])


# ---- reading


def read(
    out_dir: str | Path,
    contrasts: Mapping[str, Contrast],
    *,
    models: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
) -> dict[str, Reading]:
    """What is recorded below `out_dir` for each contrast that anything is recorded for; nothing of it is changed.

    Runs of one model that differ in seed and examples alone are taken together, the same response to an example once;
    of several kinds that with the most responses. Left out are Runs that read what others wrote, those that are not
    graded, and those of other `models` (names as in titles) or `seeds` than are asked for. Damaged traces are skipped
    with a warning. Raises RunError where nothing is left.
    """
    found = {name: _read(Path(out_dir), contrast, models, seeds) for name, contrast in contrasts.items()}
    if any(reading.models for reading in found.values()):
        return {name: reading for name, reading in found.items() if reading.models}
    known = sorted({name for reading in found.values() for name in reading.runs.get("model", ())})
    if known:
        asked = f"models {', '.join(models)}" if models is not None else "these seeds"
        raise RunError(f"below {out_dir} there is no graded Run of {asked}; recorded are {', '.join(known)}")
    raise RunError(
        f"nothing is recorded below {out_dir}; run `attnent sweep sweeps/offline.yaml`, or `attnent study 01 02 03` "
        "for each model"
    )


def _read(out_dir: Path, contrast: Contrast, models: Collection[str] | None, seeds: Collection[int] | None) -> Reading:
    folder = out_dir / contrast.task
    if next(folder.glob("*/*/traces/*.safetensors"), None) is None:
        return Reading(contrast, {}, pd.DataFrame())
    table = load_runs(folder)
    runs = {place: Run(folder / place) for place in table["run"].unique()}
    about = pd.DataFrame([_about(run, table[table["run"] == place], contrast) for place, run in runs.items()], [*runs])
    for name, wanted in (("model", models), ("seed", seeds)):
        if wanted is not None:
            about.loc[~about[name].isin(list(wanted)), "left out"] = "not asked for"
    usable = about[about["left out"] == ""]
    by_kind = usable.groupby(["model", "kind"])["responses"].sum().sort_values(kind="stable")
    largest = dict(by_kind.index)  # the last of a model
    other = usable["kind"] != usable["model"].map(largest)
    about.loc[other[other].index, "left out"] = "other parameters or prompts"
    kept = about[about["left out"] == ""].sort_values(["parameters", "model"], kind="stable")
    found = {
        str(name): _together(table[table["run"].isin(own.index)], {place: runs[place] for place in own.index}, contrast)
        for name, own in kept.groupby("model", sort=False)
    }
    differing = table.drop_duplicates("run").set_index("run").loc[:, :"response_id"].iloc[:, 1:-1]
    shown = about.drop(columns=["kind", "seed"]).join(differing.drop(columns=[*_CHECKSUMS], errors="ignore"))
    shown = shown.astype({"parameters": "Int64"}).set_axis([run.folder.name for run in runs.values()])
    return Reading(contrast, found, shown)


def _about(run: Run, responses: pd.DataFrame, contrast: Contrast) -> dict[str, Any]:
    """A row on one Run; `kind` is the same for Runs that can be taken together."""
    identity = run.manifest["identity"]
    fixed = {name: value for name, value in identity.items() if name not in _MAY_DIFFER}
    left_out = ""
    if "reads" in identity:
        left_out = "reads what others wrote"
    elif contrast.column not in responses or responses[contrast.column].isna().all():
        left_out = "not graded"
    return {
        "model": model_name(str(identity["model"])),
        "parameters": _n_parameters(run),
        "responses": len(responses),
        "left out": left_out,
        "seed": identity.get("seed"),
        "kind": json.dumps([fixed, [*run.examples.dropna(axis=1, how="all")]], sort_keys=True),
    }


def _n_parameters(run: Run) -> float:
    return float(run.manifest.get("n_parameters", np.nan))


def _together(table: pd.DataFrame, runs: Mapping[str, Run], contrast: Contrast) -> Recorded:
    """The Runs of one model as one; `table` has their rows of the table of all."""
    ids = {place: f"{run.folder.name}/" for place, run in runs.items()}
    tables = [run.responses.assign(run=place, example=run.responses["response_id"]) for place, run in runs.items()]
    responses = pd.concat(tables, ignore_index=True).drop_duplicates(["example", "response"], ignore_index=True)
    responses["response_id"] = responses["run"].map(ids) + responses["example"]
    tokens = [run.tokens.assign(response_id=ids[place] + run.tokens["response_id"]) for place, run in runs.items()]
    together = pd.concat(tokens, ignore_index=True)
    of = pd.Series(table[contrast.column].to_numpy(), table["run"].map(ids) + table["response_id"])
    return Recorded(
        n_parameters=float(np.fmax.reduce([_n_parameters(run) for run in runs.values()])),
        responses=responses,
        tokens=together[together["response_id"].isin(responses["response_id"])],
        groups=of.reindex(responses["response_id"]).dropna(),
    )
