"""The wrong line is found where something tells it, and no more often than place allows where nothing does."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from solutions import right_and_wrong

from attnent.analysis import locating as finding


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
    start, stop = (tokens["response_id"].map(spans[edge]) for edge in ("start", "stop"))
    inside = (tokens["step"] >= start) & (tokens["step"] < stop)
    tokens["signal"] = rng.normal(size=len(tokens)) + 2.0 * inside
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


def test_the_logits_alone_name_lines_by_mean_largest_and_summed():
    tokens, spans, right = right_and_wrong(12)
    tokens["x"] = 0.0
    place = tokens.groupby(["response_id", "line"]).cumcount()
    tokens["token_entropy"] = np.where((tokens["line"] == 2) & (place == 0), 5.0, 0.0) + (tokens["line"] == 1)
    tokens["logprob"] = -1.0 * (tokens["line"] == 0)
    scores = finding.line_scores(tokens, spans, right, measures=["x"])[[*finding.OF_LOGITS]]
    named = scores.groupby(level="response_id").idxmax().map(lambda where: where[1])
    assert [set(named[way]) for way in finding.OF_LOGITS] == [{1}, {2}, {0}]


def test_a_problem_is_never_both_learnt_from_and_looked_at():
    tokens, spans, right = right_and_wrong(60)
    tokens[["token_entropy", "logprob"]] = 0.0
    twins = pd.Series([f"problem {int(name.split('-')[1]) // 2}" for name in spans.index], index=spans.index)
    own = pd.Series(np.random.default_rng(0).normal(size=30), index=twins.unique())
    of_problem = tokens["response_id"].map(twins).map(own)
    tokens["x"] = np.where(tokens["line"] == tokens["response_id"].map(spans["line"]), of_problem, 0.0)
    by_problem = finding.line_scores(tokens, spans, right, measures=["x"], clusters=twins)
    by_response = finding.line_scores(tokens, spans, right, measures=["x"])
    assert not by_problem["probe: place and attention"].equals(by_response["probe: place and attention"])
    alone = finding.line_scores(tokens, spans, right, measures=["x"], clusters=pd.Series("one", index=spans.index))
    assert alone["probe: place"].isna().all()


def test_the_strongest_way_without_attention_is_the_one_that_finds_most():
    ways = ["first line", "last line", *finding.OF_LOGITS, "highest x"]
    ways += [f"probe: {name}" for name in ("place", "logits", "place and logits", "logits and attention")]
    hits = pd.DataFrame(0.0, index=range(4), columns=ways)
    hits.loc[:2, "lowest summed log-probability"] = 1.0
    hits[["highest x", "probe: logits and attention"]] = 1.0
    assert finding.strongest(hits) == "lowest summed log-probability"
    assert finding.strongest(hits[:0]) == "first line"


def test_a_gain_of_copies_of_a_problem_is_no_surer_than_that_of_the_problems():
    hits = pd.DataFrame({"a": [1.0] * 30 + [0.0] * 10, "b": [1.0] * 20 + [0.0] * 20})
    copies = pd.concat([hits] * 5, ignore_index=True)
    clusters = pd.Series(copies.index % 40, index=copies.index)
    one, copied = finding.gain(hits, "a", "b"), finding.gain(copies, "a", "b", clusters=clusters)
    assert copied.estimate == one.estimate
    assert copied.high - copied.low == pytest.approx(one.high - one.low, abs=0.03)
    assert np.isnan(finding.gain(copies, "a", "b", clusters=clusters % 9).estimate)


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


def test_without_right_responses_only_place_and_the_logits_as_they_are_name_a_line():
    tokens, spans, _ = right_and_wrong(30)
    tokens[["token_entropy", "logprob", "x"]] = np.random.default_rng(0).normal(size=(len(tokens), 3))
    hits = finding.top_1(finding.line_scores(tokens, spans, [], measures=["x"]), spans["line"])
    known = hits.columns[hits.notna().all()]
    assert list(known) == ["first line", "last line", *finding.OF_LOGITS, "probe: place"]
    assert hits.drop(columns=known).isna().all(axis=None)


def test_a_gain_over_problems_asked_twice_is_no_more_certain():
    hits = pd.DataFrame({"a": [1.0] * 30 + [0.0] * 10, "b": [1.0] * 20 + [0.0] * 20})
    twice = pd.concat([hits, hits], ignore_index=True)
    once, again = finding.gain(hits, "a", "b"), finding.gain(twice, "a", "b", clusters=pd.Series([*range(40)] * 2))
    np.testing.assert_allclose(again, once, atol=0.02)


def test_the_strongest_way_without_attention_is_named():
    ways = ["first line", "last line", *finding.OF_LOGITS, "probe: place", "probe: logits", "probe: place and logits"]
    hits = pd.DataFrame(0.0, index=range(20), columns=[*ways, "probe: logits and attention"])
    hits[finding.OF_LOGITS[1]] = hits["probe: logits and attention"] = 1.0
    assert finding.strongest(hits) == finding.OF_LOGITS[1]
