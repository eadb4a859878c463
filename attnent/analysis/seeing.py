"""Layers that read an image beside those that read the text, response by response and step by step."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats as sps

from attnent.analysis.intervals import CONFIDENCE, NO_INTERVAL, Interval, StatsError
from attnent.runs import Run

IMAGE, TEXT = "layers that read the image", "layers that read the text"


def by_kind(run: Run, measures: Sequence[str]) -> pd.DataFrame:
    """Means of measures over the heads and layers of each kind, a row a step of a response and kind.

    Columns: response_id (of the response and the kind), response, kind, step, and the measures; `analysis.curves` takes
    it with `kinds`. Raises StatsError where no layer reads images apart from the text.
    """
    parts = []
    for measure in measures:
        stack = run.stack(measure)
        is_image = stack["layer_kind"] == "cross"
        if not is_image.any():
            raise StatsError(
                "no layer here reads images apart from the text; give a model that has such layers, such as Llama 3.2 "
                "Vision, and prompts with images"
            )
        for kind, layers in ((IMAGE, is_image), (TEXT, ~is_image)):
            mean = stack.sel(layer=layers).mean(["layer", "head"]).rename(measure).drop_vars("n_steps")
            parts.append(mean.to_series().dropna().to_frame("value").assign(kind=kind, measure=measure).reset_index())
    table = pd.concat(parts).pivot_table(index=["response", "kind", "step"], columns="measure", values="value")
    table = table.reset_index().rename_axis(columns=None)
    return table.assign(response_id=table["response"] + " " + table["kind"])


def kinds(table: pd.DataFrame) -> pd.Series:
    """The kind of each response_id of `by_kind`."""
    return table.drop_duplicates("response_id").set_index("response_id")["kind"]


def means(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Of each response the mean over its steps, a column a kind."""
    return table.pivot_table(index="response", columns="kind", values=measure)


def turning(table: pd.DataFrame, measure: str) -> pd.Series:
    """Of each response the measure in the last third of its steps less that in the first, on layers that read images.

    Responses of fewer than three steps are left out.
    """
    of_image = table[table["kind"] == IMAGE].sort_values("step").groupby("response")[measure]
    third = {name: (values.to_numpy(), len(values) // 3) for name, values in of_image if len(values) >= 3}
    return pd.Series({name: values[-n:].mean() - values[:n].mean() for name, (values, n) in third.items()}, dtype=float)


def mean_with_interval(values: pd.Series) -> Interval:
    """The mean over responses with its interval (Student's t); undetermined for fewer than two."""
    known = values.dropna().to_numpy(float)
    if len(known) < 2:
        return NO_INTERVAL
    half = sps.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1) * sps.sem(known)
    return Interval(float(np.mean(known)), float(np.mean(known) - half), float(np.mean(known) + half))


def layer_steps(run: Run, measure: str) -> xr.DataArray:
    """A measure's mean over responses and heads, (layer, step), of the layers that read images."""
    stack = run.stack(measure)
    return stack.sel(layer=stack["layer_kind"] == "cross").mean(["response", "head"])
