"""Texts read under either prompt of their pair: what follows the text, what the prompt, and what token classes do."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sps

from attnent.analysis import StatsError, places
from attnent.analysis.crossing import CREATIVE, EFFECTS, FACTUAL, adjusted, differences, effects

KINDS = (FACTUAL, CREATIVE)


def read_crossed(n: int) -> pd.DataFrame:
    """The examples of n pairs, a row a reading."""
    rows = [
        (f"{text}-{pair}.under.{prompt}", pair, text, prompt) for pair, text, prompt in product(range(n), KINDS, KINDS)
    ]
    columns = ["response_id", "pair", "kind_of_text", "kind_of_prompt"]
    return pd.DataFrame(rows, columns=columns).set_index("response_id")


def noise(examples: pd.DataFrame, seed: int, n_measures: int = 1) -> pd.DataFrame:
    """Means of measures that no kind changes; pairs and texts differ."""
    random = np.random.default_rng(seed)
    n = len(examples) // 4
    of_pair, of_text = random.normal(size=(n, 1, 1, n_measures)), random.normal(size=(n, 2, 1, n_measures))
    values = of_pair + of_text + random.normal(size=(n, 2, 2, n_measures))
    return pd.DataFrame(values.reshape(4 * n, -1), examples.index).add_prefix("measure ")


def planted(kind: pd.Series) -> pd.DataFrame:
    """Means of one measure in which 3 standard deviations stand between what is creative and factual in `kind`."""
    examples = read_crossed(40)
    return noise(examples, 0).add(3.0 * (examples[kind.name] == CREATIVE), axis=0)


READINGS = st.lists(st.floats(-1e3, 1e3), min_size=12, max_size=12)


@settings(max_examples=25)
@given(READINGS)
def test_both_is_the_sum_of_the_texts_and_the_prompts_effect(values):
    examples = read_crossed(3)
    each = differences(pd.DataFrame({"x": values}, examples.index), examples)
    np.testing.assert_allclose(each["both"], each["text"] + each["prompt"], atol=1e-9)


@settings(max_examples=25)
@given(READINGS)
def test_the_interaction_is_the_own_prompt_less_the_partners(values):
    examples = read_crossed(3)
    own = examples["kind_of_text"] == examples["kind_of_prompt"]
    signed = pd.Series(values, examples.index) * np.where(own, 0.5, -0.5)
    each = differences(pd.DataFrame({"x": values}, examples.index), examples)
    np.testing.assert_allclose(each["interaction", "x"], signed.groupby(examples["pair"]).sum(), atol=1e-9)


@settings(max_examples=25)
@given(READINGS)
def test_kinds_that_change_names_change_the_sign_of_all_but_the_interaction(values):
    examples = read_crossed(3)
    swapped = examples.replace({FACTUAL: CREATIVE, CREATIVE: FACTUAL})
    means = pd.DataFrame({"x": values}, examples.index)
    sign = np.array([{"interaction": 1}.get(effect, -1) for effect in EFFECTS])
    np.testing.assert_allclose(differences(means, swapped), differences(means, examples) * sign, atol=1e-9)


@settings(max_examples=25)
@given(READINGS, st.permutations(range(12)))
def test_the_order_of_the_readings_has_no_effect(values, order):
    examples = read_crossed(3)
    means = pd.DataFrame({"x": values}, examples.index)
    mixed = differences(means.iloc[order], examples.iloc[::-1]).sort_index()
    pd.testing.assert_frame_equal(mixed, differences(means, examples))


def test_an_effect_of_text_and_prompt_is_read_as_it_was_made():
    examples = read_crossed(2)
    of_text, of_prompt = (examples[name] == CREATIVE for name in ("kind_of_text", "kind_of_prompt"))
    means = (2.0 * of_text + 0.5 * of_prompt + 0.25 * (of_text & of_prompt)).to_frame("x")
    assert differences(means, examples).xs("x", axis=1, level="measure").iloc[0].to_dict() == {
        "text": 2.125, "prompt": 0.625, "interaction": 0.125, "both": 2.75,
    }  # fmt: skip


@pytest.mark.parametrize("carrier", ["text", "prompt"])
def test_an_effect_shows_where_it_was_planted_and_nowhere_else(carrier):
    examples = read_crossed(40)
    found = effects(planted(examples[f"kind_of_{carrier}"]), examples).xs("measure 0", level="measure")
    other = {"text": "prompt", "prompt": "text"}[carrier]
    assert found["p_holm"].lt(0.001).to_dict() == {carrier: True, "both": True, other: False, "interaction": False}
    assert found.at[carrier, "mean_low"] < 3 < found.at[carrier, "mean_high"]
    assert found.at[other, "mean_low"] < 0 < found.at[other, "mean_high"]


def test_the_interval_and_d_z_of_the_mean_are_those_of_a_paired_t_test():
    examples = read_crossed(23)
    means = noise(examples, 5)
    found, each = effects(means, examples).loc["both", "measure 0"], differences(means, examples)["both", "measure 0"]
    t_test = sps.ttest_1samp(each, 0)
    interval = t_test.confidence_interval()
    np.testing.assert_allclose(found[["mean_low", "mean_high"]].astype(float), [interval.low, interval.high])
    np.testing.assert_allclose(found["d_z"], t_test.statistic / np.sqrt(23))


def test_p_is_below_a_twentieth_in_a_twentieth_of_null_data():
    examples = read_crossed(25)
    found = effects(noise(examples, 11, n_measures=300), examples)
    shares = (found["p"] < 0.05).groupby("effect").mean()
    assert shares.between(0.02, 0.085).all(), shares.to_dict()
    holds = (found["mean_low"] < 0) & (found["mean_high"] > 0)
    assert holds.groupby("effect").mean().between(0.92, 0.98).all()


@pytest.mark.parametrize("reading", range(4))
def test_a_pair_that_lacks_a_reading_is_left_out(reading):
    examples = read_crossed(12)
    found = effects(noise(examples, 3).drop(index=examples.index[reading]), examples)
    assert set(found["n"]) == {11}


def test_few_pairs_say_nothing():
    examples = read_crossed(9)
    assert effects(noise(examples, 3), examples)[["auroc", "p", "p_holm", "mean_low", "d_z"]].isna().all(axis=None)


def test_the_rows_are_effects_and_measures():
    examples = read_crossed(12)
    index = effects(noise(examples, 3, n_measures=2), examples).index
    assert index.tolist() == list(product(EFFECTS, ["measure 0", "measure 1"]))
    assert index.names == ["effect", "measure"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda examples: examples.drop(columns="pair"), "the examples lack pair"),
        (lambda examples: examples.replace(CREATIVE, "poetic"), "a reading is of no known kind"),
        (lambda examples: examples.iloc[1:], "a reading is of no known kind"),
        (lambda examples: examples.assign(pair=0), "a text was read twice under one prompt"),
    ],
)
def test_what_was_not_read_crossed_is_refused(change, message):
    examples = read_crossed(12)
    with pytest.raises(StatsError, match=message):
        effects(noise(examples, 3), change(examples))


# ------------------------------------------------------------------------------------------- token classes held fixed


WORDS, NUMBERS = [" a", " b"], [" 1", " 2"]


def tokens_of(examples: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Placed tokens of the readings; a factual text has four numbers in five tokens, a creative one four words."""
    tables, texts = [], {}
    for name, row in examples.iterrows():
        random = np.random.default_rng([seed, row["pair"], KINDS.index(row["kind_of_text"])])  # under both the same
        n = int(random.integers(60, 90))
        numbers = random.random(n) < (0.8 if row["kind_of_text"] == FACTUAL else 0.2)
        token = np.where(numbers, random.choice(NUMBERS, n), random.choice(WORDS, n))
        about = {"response_id": name, "step": range(n), "token": token}
        tables.append(pd.DataFrame(about | {"char_start": np.arange(n) * 2, "char_end": np.arange(n) * 2 + 2}))
        texts[name] = "".join(token)
    responses = pd.DataFrame({"response_id": list(texts), "response": list(texts.values())})
    return places.placed(pd.concat(tables, ignore_index=True), responses)


EXAMPLES = read_crossed(20)
TOKENS = tokens_of(EXAMPLES)
OF_CLASS = TOKENS["cell"].str.contains("number") * 1.0 + TOKENS["step"] / TOKENS.groupby("response_id")[
    "step"
].transform("max")
PLACED = OF_CLASS.groupby(TOKENS["cell"]).transform("first")  # the same in all tokens of a cell


def text_effect(values: pd.Series, first: int | None = None) -> pd.DataFrame:
    means = adjusted(TOKENS.assign(x=values), EXAMPLES, ["x"], first=first)
    return differences(means, EXAMPLES).xs("x", axis=1, level="measure")


@pytest.mark.parametrize("first", [None, 50])
def test_an_effect_of_token_classes_alone_is_gone_where_they_are_held(first):
    raw = PLACED.groupby(TOKENS["response_id"]).mean().to_frame("x")
    assert differences(raw, EXAMPLES)["text", "x"].max() < -0.3
    np.testing.assert_allclose(text_effect(PLACED, first), 0.0, atol=1e-12)


def test_an_effect_of_the_text_is_not_taken_up_by_the_classes_that_go_with_it():
    creative = TOKENS["response_id"].map(EXAMPLES["kind_of_text"]) == CREATIVE
    np.testing.assert_allclose(text_effect(PLACED + 0.7 * creative)["text"], 0.7, atol=1e-12)


def test_an_effect_of_the_prompt_does_not_change_where_classes_are_held():
    values = pd.Series(np.random.default_rng(2).normal(size=len(TOKENS)), TOKENS.index)
    raw = differences(values.groupby(TOKENS["response_id"]).mean().to_frame("x"), EXAMPLES)["prompt", "x"]
    np.testing.assert_allclose(text_effect(values)["prompt"], raw, atol=1e-12)


def test_a_long_response_counts_as_one():
    values = pd.Series(np.random.default_rng(1).normal(size=len(TOKENS)), TOKENS.index)
    long = TOKENS["response_id"] == EXAMPLES.index[0]
    grown = pd.concat([TOKENS.assign(x=values), *[TOKENS[long].assign(x=values[long])] * 9], ignore_index=True)
    once = adjusted(TOKENS.assign(x=values), EXAMPLES, ["x"])
    np.testing.assert_allclose(adjusted(grown, EXAMPLES, ["x"]).loc[once.index], once, atol=1e-12)


def test_a_cell_that_few_texts_of_a_kind_have_is_left_out():
    odd = TOKENS["cell"].eq("number 0") & TOKENS["response_id"].map(EXAMPLES["kind_of_text"]).eq(CREATIVE)
    odd &= TOKENS["response_id"].map(EXAMPLES["pair"]).ge(9)
    rest = TOKENS[~odd].assign(x=0.0)
    means = adjusted(rest.assign(x=np.where(rest["cell"] == "number 0", 1e6 * rest["step"], 0.0)), EXAMPLES, ["x"])
    np.testing.assert_allclose(means["x"], 0.0)


def test_what_is_usual_lies_half_way_between_the_kinds():
    one_cell = TOKENS[TOKENS["cell"] == "word 3"]
    values = np.random.default_rng(4).normal(size=len(one_cell))
    means = adjusted(one_cell.assign(x=values), EXAMPLES, ["x"])["x"]
    of_kinds = means.groupby(EXAMPLES["kind_of_text"]).mean()
    np.testing.assert_allclose(of_kinds[FACTUAL], -of_kinds[CREATIVE], atol=1e-12)


def test_a_window_drops_the_responses_that_do_not_fill_it():
    n_steps = TOKENS.groupby("response_id").size()
    assert 0 < (n_steps < 80).sum() < len(n_steps)
    kept = adjusted(TOKENS.assign(x=0.0), EXAMPLES, ["x"], first=80).index
    assert set(kept) == set(n_steps.index[n_steps >= 80])
