"""What a comparison of wrong spans finds where nothing is wrong: right solutions stand in for the wrong ones.

A pseudo-error is a span of a right solution, at a place where a wrong one stands; it is analysed as if it were wrong.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from attnent.analysis.intervals import CONFIDENCE, FEWEST
from attnent.analysis.places import RIGHT, WRONG
from attnent.analysis.regression import bent, estimates
from attnent.analysis.verdicts import Stage

N_DRAWS = 200


class Held(NamedTuple):
    """A table with a row a span, the measures that are compared in it, and the columns that are held fixed."""

    table: pd.DataFrame
    measures: Sequence[str]
    covariates: Sequence[str]


class _RightRows(NamedTuple):
    """The rows of right solutions: where each stands among all rows, its response as a number, its line.

    `strata` has the responses of as many lines, and the lines of the wrong ones of as many.
    """

    position: Int[np.ndarray, " row"]
    response: Int[np.ndarray, " row"]
    line: Int[np.ndarray, " row"]
    strata: list[tuple[Int[np.ndarray, " response"], Int[np.ndarray, " wrong"]]]

    def draw(self, rng: np.random.Generator) -> tuple[Int[np.ndarray, " kept"], Bool[np.ndarray, " kept"]]:
        """The positions of the rows that a draw keeps, and which of these are pseudo-errors."""
        line_of = np.full(self.response.max(initial=-1) + 1, -1)
        for names, lines in self.strata:
            n = min(len(lines), len(names) // 2)
            line_of[rng.choice(names, n, replace=False)] = rng.choice(lines, n)
        shuffled = rng.permutation(len(self.response))
        there = shuffled[self.line[shuffled] == line_of[self.response[shuffled]]]
        is_wrong = np.zeros(len(self.response), bool)
        is_wrong[there[np.unique(self.response[there], return_index=True)[1]]] = True
        kept = is_wrong | (line_of[self.response] < 0)
        return self.position[kept], is_wrong[kept]


def _right_rows(rows: pd.DataFrame) -> _RightRows:
    is_right = (rows["group"] == RIGHT).to_numpy()
    right, lines = rows[is_right], dict(list(rows[~is_right].groupby("n_lines")["line"]))
    response = pd.factorize(right["response_id"])[0]
    strata = [
        (np.unique(names), lines[n_lines].to_numpy())
        for n_lines, names in pd.Series(response).groupby(right["n_lines"].to_numpy())
        if n_lines in lines
    ]
    return _RightRows(np.flatnonzero(is_right), response, right["line"].to_numpy(), strata)


def drawn(rows: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Rows of right solutions alone, some of them now WRONG: pseudo-errors with lines drawn from the wrong ones'.

    `rows` are `places.comparable`. Of the right solutions of as many lines, as many as there are wrong ones, but at
    most half, are given the line of a wrong one; their other rows are left out.
    """
    position, is_wrong = _right_rows(rows).draw(np.random.default_rng(seed))
    return rows.iloc[position].assign(group=np.where(is_wrong, WRONG, RIGHT))


def null_bands(
    rows: pd.DataFrame,
    stages: Mapping[Stage, Held],
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> dict[Stage, pd.DataFrame]:
    """Where the estimate of each measure lies in 95 of 100 draws of pseudo-errors: null_low, null_high by stage.

    The tables have the index of `rows`. NaN where a group of the draws has fewer than FEWEST responses.
    """
    rng, right, response = np.random.default_rng(seed), _right_rows(rows), pd.factorize(rows["response_id"])[0]
    prepared = {}
    for stage, (table, measures, covariates) in stages.items():
        fixed = table[[*covariates]]
        design = bent(fixed.fillna(fixed.mean())) if len(covariates) else None
        prepared[stage] = table[[*measures]].to_numpy(float), design
    found: dict[Stage, list] = {stage: [] for stage in stages}
    for _ in range(n_draws):
        position, is_wrong = right.draw(rng)
        if min(is_wrong.sum(), len(np.unique(response[position[~is_wrong]]))) < FEWEST:
            continue
        for stage, (values, design) in prepared.items():
            found[stage].append(_estimates(values[position], is_wrong, None if design is None else design[position]))
    edges = {"null_low": (1 - CONFIDENCE) / 2, "null_high": (1 + CONFIDENCE) / 2}
    draws = {stage: pd.DataFrame(found[stage], columns=[*of.measures], dtype=float) for stage, of in stages.items()}
    return {stage: pd.DataFrame({name: of.quantile(q) for name, q in edges.items()}) for stage, of in draws.items()}


def _estimates(
    values: Float[np.ndarray, "row measure"],
    is_a: Bool[np.ndarray, " row"],
    design: Float[np.ndarray, "row column"] | None,
) -> Float[np.ndarray, " measure"]:
    """The `estimates` of the rows that have all measures which any has; NaN where a group has fewer than FEWEST."""
    found = np.full(values.shape[1], np.nan)
    usable = ~np.isnan(values).all(axis=0)
    there = ~np.isnan(values[:, usable]).any(axis=1)
    if usable.any() and min(is_a[there].sum(), (~is_a[there]).sum()) >= FEWEST:
        found[usable] = estimates(values[there][:, usable], is_a[there], None if design is None else design[there])
    return found
