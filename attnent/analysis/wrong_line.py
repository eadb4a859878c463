"""What attention does where a solution went wrong, against the like of it in right solutions.

A row is a span of one response (`places.comparable`), and its value the mean over the span less that over ordinary
tokens of the same response, so that what sets whole responses apart (length, difficulty) cancels. A wrong solution
gives one row, a right one all of its like; the unit is the problem. Beside every estimate stands what pseudo-errors in
right solutions give. Tables in, tables out; nothing here knows how a wrong line was found.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int
from scipy import stats as sps

from attnent.analysis.comparison import compare
from attnent.analysis.heads import head_map
from attnent.analysis.intervals import CONFIDENCE, FEWEST
from attnent.analysis.places import (
    PLACE,
    RIGHT,
    WRONG,
    Ordinary,
    adjusted,
    contrasts,
    firsts_and_sizes,
    heads_by_token,
    held,
)
from attnent.analysis.pooling import disjoint_sets
from attnent.analysis.pseudo_errors import N_DRAWS, Held, null_bands
from attnent.analysis.regression import compare_adjusted
from attnent.analysis.verdicts import BASELINES, COMPARED, PRIMARY, Comparison, Stage, pooled
from attnent.analysis.windows import FEWEST_AT_STEP

TESTED: Stage = "expression fixed"


# ---- measure by measure


def controlled(
    tokens: pd.DataFrame,
    rows: pd.DataFrame,
    *,
    measures: Sequence[str] = COMPARED,
    primary: Sequence[str] = PRIMARY,
    ordinary: Ordinary = "rest",
    n_sets: int = 1,
    by_error: bool = False,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> Comparison:
    """Wrong spans over those of right solutions, each less its ordinary tokens, under ever more control.

    Raw; with place and class of the tokens taken away (`places.adjusted`) and the place of the line held fixed; with
    the form of the span held fixed too (`places.held`), which is tested; and with the token baselines. Pooled over
    `n_sets` disjoint sets of problems. `null_low` and `null_high` are the band of `n_draws` draws of pseudo-errors.
    `by_error` adds a comparison for each kind of error that FEWEST spans have, all against the same right ones. What
    has nothing ordinary, since it begins its response, is left out.
    """
    if ordinary == "before":
        rows = rows[rows["start"] > 0]
    about = _Asked(tokens, tuple(measures), tuple(primary), ordinary, n_draws, seed)
    n_sets = min(n_sets, rows["cluster"].nunique())
    sets = disjoint_sets(rows["cluster"], n_sets) if n_sets > 1 else pd.Series("", rows.index)
    by_set = {str(name): about.compared(of_set) for name, of_set in rows.groupby(sets)}
    kinds = rows["error"].value_counts() if by_error else pd.Series(dtype=int)
    return replace(
        pooled(by_set) if len(by_set) > 1 else about.compared(rows),
        subgroups={
            str(kind): about.compared(rows[(rows["error"] == kind) | (rows["group"] == RIGHT)])
            for kind, n in kinds.items()
            if n >= FEWEST
        },
    )


class _Asked(NamedTuple):
    """What `controlled` compares, of any rows."""

    tokens: pd.DataFrame
    measures: tuple[str, ...]
    primary: tuple[str, ...]
    ordinary: Ordinary
    n_draws: int
    seed: int

    def compared(self, rows: pd.DataFrame) -> Comparison:
        groups, clusters = rows["group"], rows["cluster"]
        stages = _stages(self.tokens, rows, self.measures, self.ordinary)
        bands = null_bands(rows, stages, n_draws=self.n_draws, seed=self.seed)
        tables = {
            name: compare_adjusted(stage.table, stage.measures, groups, WRONG, RIGHT, stage.covariates, clusters)
            if stage.covariates
            else compare(stage.table, stage.measures, groups, WRONG, RIGHT, clusters)
            for name, stage in stages.items()
        }
        shown = {name: table.join(bands[name]) for name, table in tables.items()}
        return Comparison(WRONG, RIGHT, shown, TESTED, self.primary, unit="spans")


def _stages(tokens: pd.DataFrame, rows: pd.DataFrame, measures: Sequence[str], ordinary: Ordinary) -> dict[Stage, Held]:
    names = [*measures, *BASELINES]
    form = held(rows)
    raw = contrasts(tokens, tokens[names], rows, ordinary=ordinary)
    left = contrasts(tokens, adjusted(tokens, tokens[names], _right(rows)), rows, ordinary=ordinary)
    table = left.join(rows[[*PLACE]]).join(form)
    return {
        "raw": Held(raw, names, ()),
        "place and class": Held(table, names, PLACE),
        TESTED: Held(table, names, (*PLACE, *form)),
        "baselines fixed": Held(table, measures, (*PLACE, *form, *BASELINES)),
    }


def _right(rows: pd.DataFrame) -> list[str]:
    return list(rows.loc[rows["group"] == RIGHT, "response_id"].unique())


# ---- step by step around the beginning of a span


def around(
    tokens: pd.DataFrame, rows: pd.DataFrame, measures: Sequence[str], *, reach: int = 20
) -> dict[str, pd.DataFrame]:
    """Mean of each measure up to `reach` steps from the first token of wrong spans, and of all their like.

    Those of right solutions count so much that each place (line of so many lines) and operator weighs what it weighs
    among the wrong ones; wrong ones without a right one there are left out. Columns as `windows.curve`: the bands are
    pointwise, of Student's t over problems, and n counts these.
    """
    cell = rows.groupby(["line", "n_lines", "operator"]).ngroup()
    count = pd.crosstab(cell, rows["group"]).reindex(columns=[WRONG, RIGHT], fill_value=0)
    kept = rows[cell.isin(count.index[(count > 0).all(axis=1)])]
    per_right = (count[WRONG] / count[RIGHT]).reindex(cell[kept.index]).to_numpy(float)
    weight = np.where(kept["group"] == WRONG, 1.0, per_right)
    first, size = (of.to_numpy()[:, None] for of in firsts_and_sizes(tokens, kept))
    offsets = np.arange(-reach, reach + 1)
    step = kept["start"].to_numpy()[:, None] + offsets
    there = (step >= 0) & (step < size)
    place = np.where(there, first + step, 0)
    curves = {}
    for measure in measures:
        values = np.where(there, tokens[measure].to_numpy(float)[place], np.nan) if len(kept) else np.empty(step.shape)
        of_group = {
            group: _weighted_curve(values[of], weight[of], kept.loc[of, "cluster"].to_numpy(), offsets)
            for group in (WRONG, RIGHT)
            for of in [(kept["group"] == group).to_numpy()]
        }
        curves[measure] = pd.concat(of_group, names=["group"]).reset_index("group")
    return curves


def _weighted_curve(
    values: Float[np.ndarray, "row step"],
    weight: Float[np.ndarray, " row"],
    clusters: np.ndarray,
    steps: Int[np.ndarray, " step"],
) -> pd.DataFrame:
    """Weighted mean at each step, its interval with errors summed within clusters, and how many of these have it."""
    known = ~np.isnan(values)
    weights = known * weight[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(weights * values, axis=0) / weights.sum(axis=0)
        scores = pd.DataFrame(weights * np.nan_to_num(values - mean)).groupby(clusters).sum()
        n = pd.DataFrame(known).groupby(clusters).any().sum().to_numpy()
        error = np.sqrt((scores**2).sum().to_numpy() * n / (n - 1)) / weights.sum(axis=0)
        half = sps.t.ppf((1 + CONFIDENCE) / 2, n - 1) * error
    curve = pd.DataFrame({"step": steps, "mean": mean, "low": mean - half, "high": mean + half, "n": n})
    return curve[n >= FEWEST_AT_STEP]


# ---- head by head


def head_maps(
    tokens: pd.DataFrame, values: xr.DataArray, rows: pd.DataFrame, *, ordinary: Ordinary = "rest", seed: int = 0
) -> dict[str, xr.Dataset]:
    """The `head_map` of wrong spans over right ones, raw and with all that `controlled` holds fixed.

    `values` is a stacked measure, (response, layer, head, step).
    """
    of_tokens = heads_by_token(tokens, values)
    raw = contrasts(tokens, of_tokens, rows, ordinary=ordinary)
    left = contrasts(tokens, adjusted(tokens, of_tokens, _right(rows)), rows, ordinary=ordinary)
    table, _, covariates = _stages(tokens, rows, (), ordinary)["baselines fixed"]

    def mapped(of_rows: pd.DataFrame, covariates: pd.DataFrame | None) -> xr.Dataset:
        of_rows = of_rows.dropna(how="all")
        by_head = of_rows.to_numpy().reshape(len(of_rows), values.sizes["layer"], values.sizes["head"])
        coords = {"response": of_rows.index, **{name: values[name] for name in ("layer", "head")}}
        array = xr.DataArray(by_head, coords, ("response", "layer", "head"))
        told = {"clusters": rows["cluster"], "covariates": covariates, "seed": seed}
        return head_map(array, rows["group"], WRONG, RIGHT, **told)

    return {"raw": mapped(raw, None), "all controls": mapped(left, table[[*covariates]])}
