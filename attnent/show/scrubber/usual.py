"""What is usual: where a token's numbers lie among those of its like, and where a group's lie at each step."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from attnent.analysis.places import FEWEST_IN_CELL, cells

FEWEST = 5  # responses of a group that a step must have to say what is usual there
_QUANTILES = (0.1, 0.5, 0.9)

Bands = dict[tuple[str, str], Float[np.ndarray, "4 step"]]  # by group and measure: 10, 50 and 90 %, and responses


class Usual(NamedTuple):
    """Of each token, by (response_id, step), what it is like and how it compares; and the bands of each group."""

    percentiles: pd.DataFrame  # a column a measure: the share of like tokens that are lower, 0 to 100
    like: pd.DataFrame  # cell: the class of the token and the tenth where it stands; n: tokens in that cell
    bands: Bands


def usual(tokens: pd.DataFrame, groups: Mapping[str, str], measures: Sequence[str]) -> Usual:
    """What is usual in a table with the columns of `Run.tokens`; `groups` are those of responses, "" where none is.

    Like tokens are those of one class in one tenth of a response; where there are fewer than FEWEST_IN_CELL, the
    percentile is NaN. A band ends at the first step that fewer than FEWEST responses of its group reach.
    """
    tokens = tokens.set_index(pd.MultiIndex.from_frame(tokens[["response_id", "step"]]).set_names([None, None]))
    of_token = cells(tokens)
    in_cell = tokens[[*measures]].groupby(of_token)
    n_known = in_cell.transform("count")
    percentiles = 100 * (in_cell.rank() - 0.5) / n_known.where(n_known >= FEWEST_IN_CELL)
    bands: Bands = {}
    named = np.array([groups.get(id_, "") for id_ in tokens["response_id"]], dtype=object)
    for group, rows in tokens.groupby(named):
        by_step = rows.groupby("step")
        n = by_step.size()
        reached = (n >= FEWEST).to_numpy().cumprod().astype(bool)
        quantiles = by_step[[*measures]].quantile(np.array(_QUANTILES)).unstack()
        for name in measures if reached.any() else ():
            bands[str(group), name] = np.vstack([quantiles[name].to_numpy(float).T, n])[:, reached]
    like = pd.DataFrame({"cell": of_token, "n": of_token.groupby(of_token).transform("size")})
    return Usual(percentiles, like, bands)


def joined(of_all: Usual, of_shown: Usual) -> Usual:
    """What all responses say, and of measures that they lack what those say that are shown."""
    places = of_shown.like.index
    percentiles = of_all.percentiles.reindex(places).join(of_shown.percentiles)
    return Usual(percentiles, of_all.like.reindex(places), of_shown.bands | of_all.bands)
