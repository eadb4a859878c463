"""Tokens know their place, wrong spans find their like in right solutions, and contrasts cancel what is common."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from solutions import right_and_wrong, run_of, solved

from attnent.analysis import places
from attnent.analysis.places import RIGHT, WRONG


def test_every_token_knows_its_line_and_its_class():
    tokens, _ = run_of({"one": 3})
    assert tokens["line"].tolist() == [*[0] * 9, -1, *[1] * 9, -1, *[2] * 9, -1, -1]
    assert set(tokens["n_lines"]) == {3}
    classes = tokens["cell"].str.split().str[0].tolist()
    assert classes[:10] == ["word", "word", "space", *["number", "operator"] * 2, "number", "mark", "space"]
    assert classes[-1] == "end"


def test_the_tenths_of_a_response_run_from_nought_to_nine():
    tokens, _ = run_of({"one": 3})
    tenths = tokens["cell"].str.split().str[1].astype(int)
    assert tenths.is_monotonic_increasing
    assert set(tenths) == set(range(10))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_adjusted_values_of_right_tokens_have_mean_nought_in_every_cell(seed):
    tokens, _, right = right_and_wrong(12)
    values = pd.DataFrame({"x": np.random.default_rng(seed).normal(size=len(tokens))}, index=tokens.index)
    usual = tokens["response_id"].isin(right)
    means = places.adjusted(tokens, values, right)[usual].groupby(tokens.loc[usual, "cell"]).mean()["x"]
    np.testing.assert_allclose(means.dropna(), 0.0, atol=1e-12)
    assert means.notna().any()


def test_a_cell_with_few_right_tokens_says_nothing():
    tokens, _, right = right_and_wrong(12)
    values = pd.DataFrame({"x": 1.0}, index=tokens.index)
    assert places.adjusted(tokens, values, right[:1])["x"].isna().all()


def test_spans_are_read_from_what_a_critic_found():
    errors = pd.DataFrame(
        {
            "response_id": ["a", "b"],
            "outcome": ["found", "none found"],
            "kind": ["slip", None],
            "line": [2, np.nan],
            "line_start": [20, np.nan],
            "line_stop": [30, np.nan],
            "token_start": [23, np.nan],
            "token_stop": [28, np.nan],
        }
    )
    assert places.spans_of(errors).loc["a"].to_dict() == {
        "line": 2, "start": 20, "stop": 30, "quote_start": 23, "quote_stop": 28, "kind": "slip"
    }  # fmt: skip
    assert list(places.spans_of(errors).index) == ["a"]


# ---- spans as rows


def one_of(*texts: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Token and response tables of responses whose tokens are single characters."""
    responses = pd.DataFrame({"response_id": [f"r{number}" for number in range(len(texts))], "response": texts})
    tokens = [
        pd.DataFrame({"response_id": name, "step": range(len(text)), "token": [*text], "char_start": range(len(text))})
        for name, text in responses.itertuples(index=False)
    ]
    tokens = pd.concat(tokens, ignore_index=True)
    responses = responses.assign(group=responses["response_id"])
    return places.placed(tokens.assign(char_end=tokens["char_start"] + 1), responses), responses


def wrong_span(text: str, quote: str, line: int) -> pd.DataFrame:
    start = text.index(quote)
    edges = {"line": line, "start": 0, "stop": 0, "quote_start": start, "quote_stop": start + len(quote)}
    return pd.DataFrame({**edges, "kind": "slip"}, index=pd.Index(["r0"], name="response_id"))


def test_a_wrong_solution_gives_its_wrong_line_and_a_right_one_every_line():
    tokens, responses, spans, right = solved(6)
    rows = places.comparable(tokens, responses, spans, right)
    wrong = rows[rows["group"] == WRONG].set_index("response_id")
    pd.testing.assert_frame_equal(
        wrong[["line", "start", "stop"]], spans.loc[wrong.index, ["line", "start", "stop"]], check_dtype=False
    )
    assert len(wrong) == 6
    assert (wrong["error"] == spans["kind"]).all()
    n_lines = tokens.groupby("response_id")["n_lines"].first()
    assert rows[rows["group"] == RIGHT].groupby("response_id").size().to_dict() == n_lines[right].to_dict()
    assert (rows["cluster"] == "problem of " + rows["response_id"]).all()


def test_an_equation_is_compared_with_equations_alone_and_only_as_far_as_it_goes():
    wrong, right = "Tom has 43-3=30 left.\nSo 30.", "Ann has 10/2=5 left of 9.\nShe has 5+1=6 and 7."
    tokens, responses = one_of(wrong, right)
    rows = places.comparable(tokens, responses, wrong_span(wrong, "43-3=30 left", 0), ["r1"], "quote")
    texts = [
        (group, responses.set_index("response_id")["response"][name][start:stop])
        for group, name, start, stop in rows[["group", "response_id", "start", "stop"]].itertuples(index=False)
    ]
    assert texts == [(WRONG, "43-3=30"), (RIGHT, "10/2=5"), (RIGHT, "5+1=6")]
    assert rows["operator"].tolist() == ["-", "/", "+"]
    assert rows["first_digits"].tolist() == [2, 2, 1]
    assert rows["n_tokens"].tolist() == [7, 6, 5]


def test_a_result_is_compared_with_results_alone():
    wrong, right = "Tom has 43-3=30 left.\nSo 30.", "Ann has 10/2=5 left of 9.\nShe has 5+1=6 and 7."
    tokens, responses = one_of(wrong, right)
    rows = places.comparable(tokens, responses, wrong_span(wrong, "30 left", 0), ["r1"], "quote")
    assert rows["expression"].tolist() == ["result"] * 3
    assert rows.loc[rows["group"] == RIGHT, "start"].tolist() == [right.index("5 left"), right.index("6 and")]


def test_what_finds_no_like_is_left_out():
    wrong = "Tom has none left.\nSo 30."
    tokens, responses = one_of(wrong, "Ann has 10/2=5 left.\nSo 5.")
    assert places.comparable(tokens, responses, wrong_span(wrong, "none left", 0), ["r1"], "quote").empty
    tokens, responses, spans, right = solved(6)
    of_three = [name for name in right if name in ("right-0", "right-3")]
    rows = places.comparable(tokens, responses, spans, of_three)
    assert set(rows["n_lines"]) == {3}
    assert set(rows.loc[rows["group"] == WRONG, "response_id"]) == {"wrong-0", "wrong-3"}


def test_a_token_that_an_expression_shares_with_its_neighbour_belongs_to_it():
    tokens, responses = run_of({"r0": 3, "r1": 3})
    joined = tokens[~tokens["token"].isin(["+", " "])].copy()  # " 3+" is one token
    joined.loc[joined["token"] == "3", "char_start"] -= 1
    joined.loc[joined["token"] == "3", "char_end"] += 1
    joined["step"] = joined.groupby("response_id").cumcount()
    edges = {"line": 1, "start": 8, "stop": 15, "quote_start": 10, "quote_stop": 14, "kind": "slip"}
    rows = places.comparable(joined, responses, pd.DataFrame(edges, index=["r0"]), ["r1"], "quote")
    assert rows[["start", "stop"]].to_numpy().tolist() == [[10, 14], [2, 6], [10, 14], [18, 22]]


def test_what_stands_just_before_is_as_long_as_there_is_room():
    rows = pd.DataFrame({"start": [0, 2, 9], "stop": [3, 4, 12]})
    assert places.just_before(rows)[["start", "stop", "n_tokens"]].to_numpy().tolist() == [[0, 2, 2], [4, 9, 5]]


def test_what_is_held_of_a_form_are_numbers_that_vary():
    tokens, responses, spans, right = solved(6)
    rows = places.comparable(tokens, responses, spans, right)
    assert list(places.held(rows)) == [*places.COUNTS]  # one operator, one expression: nothing to hold
    assert list(places.held(rows.assign(operator=["+", "-"] * (len(rows) // 2))))[4:] == ["operator_+", "operator_-"]


# ---- contrasts


def by_hand(tokens: pd.DataFrame, rows: pd.DataFrame, ordinary: str) -> list[float]:
    """Means of x in each span less those of the ordinary tokens, one row after the other."""
    found = []
    for row in rows.itertuples():
        own = tokens[tokens["response_id"] == row.response_id]
        inside = own["step"].between(row.start, row.stop - 1)
        others = ~inside if ordinary == "rest" else own["step"] < row.start
        found.append(own.loc[inside, "x"].mean() - own.loc[others, "x"].mean())
    return found


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_a_contrast_is_the_mean_of_the_span_less_that_of_the_ordinary_tokens_that_are_known(seed):
    tokens, responses, spans, right = solved(6)
    rng = np.random.default_rng(seed)
    tokens["x"] = np.where(rng.random(len(tokens)) < 0.1, np.nan, rng.normal(size=len(tokens)))
    rows = places.comparable(tokens, responses, spans, right)
    for ordinary in ("rest", "before"):
        got = places.contrasts(tokens, tokens[["x"]], rows, ordinary=ordinary)["x"]
        np.testing.assert_allclose(got, by_hand(tokens, rows, ordinary))


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_what_sets_whole_responses_apart_cancels(seed):
    tokens, responses, spans, right = solved(6)
    rng = np.random.default_rng(seed)
    values = pd.DataFrame({"x": rng.normal(size=len(tokens))})
    level = pd.Series(rng.normal(size=12), index=tokens["response_id"].unique())
    shifted = values.add(tokens["response_id"].map(level), axis=0)
    rows = places.comparable(tokens, responses, spans, right)
    pd.testing.assert_frame_equal(
        places.contrasts(tokens, values, rows), places.contrasts(tokens, shifted, rows), atol=1e-9
    )


def test_what_place_and_class_make_is_taken_away():
    tokens, responses, spans, right = solved()
    by_cell = {cell: float(number) for number, cell in enumerate(sorted(set(tokens["cell"])))}
    values = pd.DataFrame({"x": tokens["cell"].map(by_cell)})
    rows = places.comparable(tokens, responses, spans, right)
    assert (places.contrasts(tokens, values, rows)["x"].abs() > 0.1).any()
    left = places.contrasts(tokens, places.adjusted(tokens, values, right), rows)["x"]
    np.testing.assert_allclose(left, 0.0, atol=1e-9)


def test_nothing_stands_before_a_first_line():
    tokens, responses, spans, right = solved(6)
    rows = places.comparable(tokens, responses, spans, right)
    before = places.contrasts(tokens, tokens[["step"]].astype(float), rows, ordinary="before")["step"]
    assert (before.isna() == (rows["line"] == 0)).all()
