"""Does an effect follow the text or the prompt? Factual and creative texts, each read under either prompt of its pair.

The unit is the pair, never the token. Tables in, tables out; nothing here knows a model.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats as sps

from attnent.analysis.comparison import compare_paired
from attnent.analysis.intervals import CONFIDENCE, FEWEST, StatsError
from attnent.analysis.windows import response_means

FACTUAL, CREATIVE = "factual", "creative"
EFFECTS = ("text", "prompt", "interaction", "both")
_DESIGN = ["pair", "kind_of_text", "kind_of_prompt"]


def differences(means: pd.DataFrame, examples: pd.DataFrame) -> pd.DataFrame:
    """A row a pair and a column each of EFFECTS and measures: what is creative less what is factual.

    With y[text, prompt] the mean of one reading, c creative and f factual:

        text         (y[c, c] - y[f, c] + y[c, f] - y[f, f]) / 2
        prompt       (y[c, c] - y[c, f] + y[f, c] - y[f, f]) / 2
        interaction  (y[c, c] - y[f, c] - y[c, f] + y[f, f]) / 2, which is also own prompt less the partner's
        both         y[c, c] - y[f, f], which is text + prompt

    `means` and `examples` (with `pair`, `kind_of_text`, `kind_of_prompt`) are indexed by response_id. NaN where one of
    the four readings is missing.
    """
    if missing := [name for name in _DESIGN if name not in examples]:
        raise StatsError(f"the examples lack {', '.join(missing)}; give those that were read crossed")
    design = examples.reindex(means.index)[_DESIGN]
    if not design[_DESIGN[1:]].isin([FACTUAL, CREATIVE]).all(axis=None):
        raise StatsError(f"a reading is of no known kind; name texts and prompts {FACTUAL!r} or {CREATIVE!r}")
    if design.duplicated().any():
        raise StatsError("a text was read twice under one prompt; give one reading each")
    pairs = pd.Index(design["pair"].unique(), name="pair").sort_values()

    def y(text: str, prompt: str) -> pd.DataFrame:
        of_cell = (design["kind_of_text"] == text) & (design["kind_of_prompt"] == prompt)
        return means[of_cell].set_axis(design.loc[of_cell, "pair"]).reindex(pairs)

    cc, cf, fc, ff = (y(text, prompt) for text in (CREATIVE, FACTUAL) for prompt in (CREATIVE, FACTUAL))
    text, prompt = (cc - fc + cf - ff) / 2, (cc - cf + fc - ff) / 2
    interaction, whole = (cc - fc - cf + ff) / 2, cc.notna() & cf.notna() & fc.notna() & ff.notna()
    each = dict(zip(EFFECTS, (text, prompt, interaction, (cc - ff)[whole]), strict=True))
    return pd.concat(each, axis=1, names=["effect", "measure"])


def effects(means: pd.DataFrame, examples: pd.DataFrame) -> pd.DataFrame:
    """A row an effect and measure: `differences` by `compare_paired` over pairs, p Holm-adjusted over all rows.

    Beside its columns: mean_low and mean_high, the 95 % interval of the mean by Student's t over pairs, and d_z, the
    mean in standard deviations of the differences (Cohen 1988). NaN below FEWEST pairs.
    """
    each = differences(means, examples)
    named = each.set_axis(each.columns.map(" of ".join), axis=1)
    result = compare_paired(named, list(named)).set_axis(each.columns)
    enough, n, deviation = each.count() >= FEWEST, each.count(), each.std()
    half = (sps.t.ppf((1 + CONFIDENCE) / 2, n - 1) * deviation / np.sqrt(n)).where(enough)
    return result.assign(
        mean_low=result["mean"] - half,
        mean_high=result["mean"] + half,
        d_z=(result["mean"] / deviation.where(deviation > 0)).where(enough),
    )


def adjusted(
    tokens: pd.DataFrame, examples: pd.DataFrame, measures: Sequence[str], *, first: int | None = None
) -> pd.DataFrame:
    """Means of `measures` for each response, each token less what is usual in its cell: for `effects`.

    `tokens` are `places.placed`: a cell is a class of tokens in one tenth of the response. What is usual is the mean
    over the responses of one kind of text of each response's mean in the cell, and of that the mean over both kinds:
    so a long response counts as one, and a cell that one kind fills more does not take up the difference of the kinds.
    Cells that fewer than FEWEST texts of either kind have are left out. `first` keeps the first so many steps of the
    responses that have as many; what is usual is of whole responses. The prompt's effect is that of the same tokens,
    and but for cells left out does not change.
    """
    design = examples.loc[tokens["response_id"].unique(), ["kind_of_text", "pair"]]
    by_response = tokens.groupby(["cell", "response_id"])[list(measures)].mean().reset_index("cell")
    by_response = by_response.join(design)
    by_kind = by_response.groupby(["cell", "kind_of_text"])
    n_texts = by_kind["pair"].nunique().unstack(fill_value=0).reindex(columns=[FACTUAL, CREATIVE], fill_value=0)
    usual = by_kind[list(measures)].mean().groupby("cell").mean()[(n_texts >= FEWEST).all(axis=1)]
    values = tokens[list(measures)] - usual.reindex(tokens["cell"]).set_axis(tokens.index)
    return response_means(tokens[["response_id", "step"]].join(values), first=first)
