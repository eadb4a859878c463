"""The wrong line is found where something tells it, and no more often than place allows where nothing does."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from solutions import right_and_wrong

from attnent.analysis import locating as finding
from attnent.analysis import wrong_line as moment


def lines_of(n: int, rng: np.random.Generator) -> tuple[pd.MultiIndex, pd.Series]:
    names = [f"wrong-{number}" for number in range(n)]
    index = pd.MultiIndex.from_product([names, range(4)], names=["response_id", "line"])
    return index, pd.Series(rng.integers(0, 4, n), index=names)


def test_the_line_of_highest_score_is_taken_and_a_missing_score_never():
    index, wrong = lines_of(20, np.random.default_rng(0))
    is_wrong = index.get_level_values(1) == wrong.loc[index.get_level_values(0)].to_numpy()
    scores = pd.DataFrame({"good": is_wrong + 0.0, "missing": np.where(is_wrong, np.nan, 0.0)}, index=index)
    hits = finding.top_1(scores, wrong)
    assert (hits["good"] == 1).all()
    assert (hits["missing"] == 0).all()


def test_shares_stand_beside_chance():
    index, wrong = lines_of(20, np.random.default_rng(0))
    hits = finding.top_1(pd.DataFrame({"first": -index.get_level_values(1)}, index=index), wrong)
    table = finding.shares_found(hits, pd.Series(4, index=wrong.index))
    assert table.loc["chance", "estimate"] == 0.25
    assert table.loc["first", "estimate"] == (wrong == 0).mean()
    assert table.loc["first", "low"] < table.loc["first", "estimate"] < table.loc["first", "high"]


def test_a_probe_finds_what_attention_tells_and_learns_nothing_from_noise():
    tokens, spans, right = right_and_wrong(90)
    rng = np.random.default_rng(1)
    tokens[["token_entropy", "logprob", "noise"]] = rng.normal(size=(len(tokens), 3))
    tokens["signal"] = rng.normal(size=len(tokens)) + 2.0 * moment.inside(tokens, spans)
    ids = list(tokens["response_id"].unique())
    noise = xr.DataArray(
        rng.normal(size=(len(ids), 2, 3, 51)),
        dims=("response", "layer", "head", "step"),
        coords={"response": ids, "layer": [0, 1], "head": range(3)},
        name="entropy",
    )
    hits = finding.top_1(
        finding.line_scores(tokens, spans, right, [noise], measures=["signal", "noise"]), spans["line"]
    )
    assert hits["highest signal"].mean() > 0.9
    assert hits["probe: place and attention"].mean() > 0.9
    place = hits["probe: place"].mean()
    for way in ("probe: place and attention, head by head", "probe: place and logits"):
        assert hits[way].mean() == pytest.approx(place, abs=0.15)


def test_a_probe_is_missing_where_there_are_few_responses():
    tokens, spans, right = right_and_wrong(6)
    tokens[["token_entropy", "logprob", "x"]] = np.random.default_rng(0).normal(size=(len(tokens), 3))
    scores = finding.line_scores(tokens, spans, right, measures=["x"])
    assert scores["probe: place"].isna().all()
    assert finding.top_1(scores, spans["line"])["probe: place"].isna().all()
    assert (
        len(scores)
        == tokens.loc[tokens["response_id"].isin(spans.index) & (tokens["line"] >= 0)]
        .groupby(["response_id", "line"])
        .ngroups
    )


def test_a_gain_is_the_difference_on_the_same_responses():
    hits = pd.DataFrame({"a": [1.0] * 30 + [0.0] * 10, "b": [1.0] * 20 + [0.0] * 20})
    gain = finding.gain(hits, "a", "b")
    assert gain.estimate == 0.25
    assert 0 < gain.low < 0.25 < gain.high < 0.5
    assert np.isnan(finding.gain(hits[:5], "a", "b").estimate)


def test_where_nothing_is_wrong_nothing_is_found():
    tokens, spans, right = right_and_wrong(6)
    tokens[["token_entropy", "logprob", "x"]] = np.random.default_rng(0).normal(size=(len(tokens), 3))
    hits = finding.top_1(finding.line_scores(tokens, spans[:0], right, measures=["x"]), spans["line"][:0])
    table = finding.shares_found(hits, tokens.groupby("response_id")["n_lines"].first())
    assert (table["n"] == 0).all()
    assert table["estimate"].isna().all()


def test_without_right_responses_only_place_names_a_line():
    tokens, spans, _ = right_and_wrong(30)
    tokens[["token_entropy", "logprob", "x"]] = np.random.default_rng(0).normal(size=(len(tokens), 3))
    hits = finding.top_1(finding.line_scores(tokens, spans, [], measures=["x"]), spans["line"])
    known = hits.columns[hits.notna().all()]
    assert list(known) == ["first line", "last line", "probe: place"]
    assert hits.drop(columns=known).isna().all(axis=None)
