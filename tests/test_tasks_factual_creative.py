"""Factual and creative prompts: the shipped ones, those of the bundled world, those of a file."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz import fuzz
from scipy.stats import mannwhitneyu

from attnent.analysis import auroc
from attnent.store.examples import check_examples, plain_cells
from attnent.tasks import TaskError, choose, factual_creative

SHIPPED = factual_creative.load("shipped", n=100)
N_WORDS = SHIPPED["prompt"].str.split().str.len()
FACTUAL = SHIPPED["kind"] == "factual"
SOURCES = ("tiny", "shipped", "pairs")
PAIRS = factual_creative.load("pairs", n=96).pivot(index="pair", columns="kind", values="prompt")
FORM = re.compile(  # how much of what a prompt asks for
    r"paragraph|(few|three|five) sentences|(four|five|six) .*?lines|(short|brief) (letter|dialogue|leaflet|notice|note"
    r"|report|speech|announcement|description|instructions|guidebook entry)|definition|recipe|museum label|job "
    r"description|news item|step by step|List (five|six)"
)
PAIRED_FILE = {"subjects": ["Ada", "Ur", "rain"], "factual": ["Who?", "Where?", "Why?"], "creative": ["A", "B", "C"]}


def prompts_file(folder: Path, content: object) -> Path:
    (folder / "prompts.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "prompts.json"


def test_a_hundred_prompts_of_each_kind_are_shipped():
    assert SHIPPED["kind"].value_counts().to_dict() == {"factual": 100, "creative": 100}


def test_no_two_shipped_prompts_are_near_duplicates():
    texts = [re.sub(r"\W+", " ", prompt.lower()) for prompt in SHIPPED["prompt"]]
    alike = [(a, b) for place, a in enumerate(texts) for b in texts[:place] if fuzz.token_sort_ratio(a, b) > 80]
    assert alike == []


def test_the_number_of_words_does_not_tell_the_kinds_apart():
    assert mannwhitneyu(N_WORDS[FACTUAL], N_WORDS[~FACTUAL]).pvalue > 0.3


def test_both_kinds_have_the_same_mean_number_of_words():
    assert N_WORDS[FACTUAL].mean() == pytest.approx(N_WORDS[~FACTUAL].mean(), rel=0.03)


def test_both_kinds_have_the_same_spread_of_words():
    assert N_WORDS[FACTUAL].std() == pytest.approx(N_WORDS[~FACTUAL].std(), rel=0.03)


def test_both_kinds_have_like_numbers_of_characters():
    n_chars = SHIPPED["prompt"].str.len()
    assert n_chars[FACTUAL].mean() == pytest.approx(n_chars[~FACTUAL].mean(), rel=0.03)


def test_every_shipped_prompt_has_a_genre():
    assert SHIPPED.groupby("kind")["genre"].agg(set).to_dict() == {
        "factual": {"facts"},
        "creative": {"stories", "poems", "other"},
    }


@pytest.mark.parametrize(
    ("words", "genre"), [("fairy tale|ghost story|fable", "stories"), ("poem|sonnet|song ", "poems")]
)
def test_the_genre_of_a_shipped_prompt_goes_with_it_through_the_choice(words, genre):
    chosen = factual_creative.load("shipped", n=90, seed=3)
    asked = chosen[(chosen["kind"] == "creative") & chosen["prompt"].str.contains(words)]
    assert len(asked) > 2
    assert set(asked["genre"]) == {genre}


def test_prompts_of_the_bundled_world_are_facts_stories_and_poems():
    examples = factual_creative.load("tiny", n=40)
    counts = examples.groupby("kind")["genre"].value_counts().to_dict()
    assert counts == {("factual", "facts"): 40, ("creative", "stories"): 20, ("creative", "poems"): 20}


def test_prompts_about_the_same_person_are_one_cluster():
    factual = factual_creative.load("tiny", n=480).query("kind == 'factual'")
    assert factual[factual_creative.CLUSTER].value_counts().max() == 4
    assert all(
        name in prompt for name, prompt in zip(factual[factual_creative.CLUSTER], factual["prompt"], strict=True)
    )


@pytest.mark.parametrize("source", SOURCES)
def test_ids_are_unique_and_safe_as_file_names(source):
    ids = factual_creative.load(source, n=53)["id"]
    assert ids.is_unique
    assert ids.str.fullmatch(r"[A-Za-z0-9_-]+").all()


@pytest.mark.parametrize("source", SOURCES)
def test_a_smaller_subset_begins_each_kind_of_a_larger(source):
    small, large = (factual_creative.load(source, n=n, seed=2).groupby("kind")["id"].agg(list) for n in (7, 31))
    assert all(large[kind][:7] == small[kind] for kind in ("factual", "creative"))


def test_the_bundled_world_is_the_default():
    assert factual_creative.load(n=3).equals(factual_creative.load("tiny", n=3))


def test_more_than_there_is_says_how_many_there_are():
    with pytest.raises(TaskError, match="n is 101, but there are 100 factual prompts"):
        factual_creative.load("shipped", n=101)


def test_more_than_the_bundled_world_has_is_refused():
    with pytest.raises(TaskError, match="cannot give n=1000 prompts of each kind"):
        factual_creative.load("tiny", n=1000)


def test_a_local_file_gives_its_prompts(tmp_path):
    path = prompts_file(tmp_path, {"factual": ["Who was Ada?", "Where is Ur?"], "creative": ["Sing.", "Rhyme."]})
    assert set(factual_creative.load(path, n=2)["prompt"]) == {"Who was Ada?", "Where is Ur?", "Sing.", "Rhyme."}


def test_the_genre_of_a_prompt_from_a_file_is_its_kind(tmp_path):
    examples = factual_creative.load(prompts_file(tmp_path, {"factual": ["Who?"], "creative": ["Sing."]}), n=1)
    assert examples["genre"].tolist() == examples["kind"].tolist() == ["factual", "creative"]


@pytest.mark.parametrize("content", [[], {"factual": ["a"]}, {"factual": "a", "creative": ["b"]}])
def test_a_file_without_the_two_lists_is_refused(tmp_path, content):
    with pytest.raises(TaskError, match="lacks the lists `factual` and `creative`"):
        factual_creative.load(prompts_file(tmp_path, content), n=1)


def test_empty_prompts_are_listed_together(tmp_path):
    with pytest.raises(TaskError, match=r"2 prompts of .*: factual 1, creative 0"):
        factual_creative.load(prompts_file(tmp_path, {"factual": ["a", " "], "creative": [3]}), n=1)


def test_a_file_that_is_not_json_is_refused(tmp_path):
    (tmp_path / "prompts.json").write_text("factual: a")
    with pytest.raises(TaskError, match="is not JSON"):
        factual_creative.load(tmp_path / "prompts.json", n=1)


def test_an_unknown_source_names_the_known_ones():
    with pytest.raises(
        TaskError, match="unknown source 'hub': pass 'tiny', 'shipped', 'pairs' or the path of a json file"
    ):
        factual_creative.load("hub", n=1)


@given(st.integers(1, 23), st.integers(), st.permutations(range(23)))
def test_the_chosen_rows_do_not_depend_on_the_order_of_the_data(n, seed, order):
    straight = pd.DataFrame({"id": [f"item-{k}" for k in range(23)]})
    mixed = pd.DataFrame({"id": [f"item-{k}" for k in order]})
    assert choose(straight, n, seed=seed, what="rows").equals(choose(mixed, n, seed=seed, what="rows"))


# ----------------------------------------------------------------------------------------------- pairs, and their texts


def asked_for(prompt: str) -> str:
    """The form that a prompt asks for, without what stands between "four" and "lines"."""
    found = FORM.search(prompt)
    assert found, prompt
    return re.sub(r"^(four|five|six) .*lines", r"\1 lines", found[0])


def answered(examples: pd.DataFrame) -> pd.DataFrame:
    """The table of responses of a Run of these examples."""
    responses = examples.rename(columns={"id": "response_id"})
    return plain_cells(responses.assign(response="read " + responses["response_id"], n_steps=3))


def test_ninety_six_pairs_are_shipped_a_third_of_each_genre():
    examples = factual_creative.load("pairs", n=96)
    counts = examples.groupby("kind")["genre"].value_counts().to_dict()
    assert counts == {("factual", "facts"): 96} | {("creative", of): 32 for of in ("stories", "poems", "other")}
    assert PAIRS.notna().all(axis=None)


def test_no_two_prompts_of_pairs_are_the_same():
    assert pd.concat([PAIRS["factual"], PAIRS["creative"]]).str.lower().is_unique


def test_both_prompts_of_a_pair_name_its_subject():
    assert all(re.search(rf"\b{pair}\b", prompt) for pair, row in PAIRS.iterrows() for prompt in row)


def test_both_prompts_of_a_pair_begin_with_the_same_verb():
    first = PAIRS.map(lambda prompt: prompt.split()[0])
    assert (first["factual"] == first["creative"]).all()


def test_both_prompts_of_a_pair_ask_for_the_same_form():
    assert PAIRS["factual"].map(asked_for).to_dict() == PAIRS["creative"].map(asked_for).to_dict()


def test_the_prompts_of_a_pair_differ_by_two_words_at_most():
    n_words = PAIRS.map(lambda prompt: len(prompt.split()))
    assert (n_words["factual"] - n_words["creative"]).abs().max() <= 2


def test_both_kinds_of_pairs_have_the_same_mean_number_of_words():
    n_words = PAIRS.map(lambda prompt: len(prompt.split())).mean()
    assert n_words["creative"] == pytest.approx(n_words["factual"], rel=0.03)


@pytest.mark.parametrize("length", [len, lambda prompt: len(prompt.split())], ids=["characters", "words"])
def test_no_length_of_a_prompt_tells_the_kinds_of_pairs_apart(length):
    lengths = PAIRS.map(length)
    assert 0.45 < auroc(lengths["creative"].to_numpy(), lengths["factual"].to_numpy()) < 0.55


def test_pairs_are_chosen_as_a_whole():
    examples = factual_creative.load("pairs", n=17, seed=4)
    of_kind = examples.groupby("kind")["pair"].agg(list)
    assert of_kind["factual"] == of_kind["creative"]
    assert (examples["group"] == examples["pair"]).all()
    assert all(pair in prompt for pair, prompt in zip(examples["pair"], examples["prompt"], strict=True))


def test_more_pairs_than_there_are_is_refused():
    with pytest.raises(TaskError, match="n is 97, but there are 96 pairs"):
        factual_creative.load("pairs", n=97)


@pytest.mark.parametrize(
    ("words", "genre"),
    [
        ("verse|rhyme|lyrical|ballad|poetry", "poems"),
        (" story|fairy tale|fable", "stories"),
        ("letter|recipe|dialogue|leaflet", "other"),
    ],
)
def test_the_genre_of_a_creative_prompt_stays_with_its_pair(words, genre):
    examples = factual_creative.load("pairs", n=60, seed=2).query("kind == 'creative'")
    of_words = examples[examples["prompt"].str.contains(words) & ~examples["prompt"].str.contains("love letters")]
    assert len(of_words) > 4
    assert set(of_words["genre"]) == {genre}


def test_another_seed_chooses_other_pairs():
    one, other = (set(factual_creative.load("pairs", n=30, seed=seed)["pair"]) for seed in (1, 2))
    assert 0 < len(one & other) < 30


def test_a_file_with_subjects_holds_pairs(tmp_path):
    examples = factual_creative.load(prompts_file(tmp_path, PAIRED_FILE), n=3).set_index(["pair", "kind"])["prompt"]
    assert examples["Ur"].to_dict() == {"factual": "Where?", "creative": "B"}
    assert examples["rain"].to_dict() == {"factual": "Why?", "creative": "C"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"creative": ["A", "B"]}, "has 3 subjects, 3 factual, 2 creative; with `subjects` the lists are pairs"),
        ({"subjects": ["Ada", "Ur", "Ada"]}, "1 subjects of .* name more than one pair.*: Ada"),
        ({"subjects": ["Ada", "Ur", " "]}, "`subjects` of .* is no list of texts"),
        ({"subjects": "Ada"}, "`subjects` of .* is no list of texts"),
    ],
)
def test_subjects_that_make_no_pairs_are_refused(tmp_path, change, message):
    with pytest.raises(TaskError, match=message):
        factual_creative.load(prompts_file(tmp_path, PAIRED_FILE | change), n=1)


@pytest.mark.parametrize("source", SOURCES)
def test_prompts_of_every_source_can_be_paired(source):
    examples = factual_creative.paired(source, n=23, seed=5)
    assert examples.groupby("pair")["kind"].agg(set).map({"factual", "creative"}.__eq__).all()
    assert examples["pair"].nunique() == 23
    columns = [column for column in examples if column != "pair"]
    assert examples[columns].equals(factual_creative.load(source, n=23, seed=5)[columns])


@pytest.mark.parametrize("source", SOURCES)
def test_a_smaller_set_of_pairs_begins_a_larger(source):
    small, large = (factual_creative.paired(source, n=n).groupby("kind").head(5)[["id", "pair"]] for n in (5, 19))
    assert small.to_numpy().tolist() == large.to_numpy().tolist()


@pytest.mark.parametrize("source", SOURCES)
def test_every_text_is_read_under_both_prompts_of_its_pair(source):
    examples = factual_creative.paired(source, n=7)
    table = factual_creative.crossed(answered(examples))
    asked = examples.set_index(["pair", "kind"])
    assert len(table) == 28
    for row in table.itertuples():
        own = asked.loc[row.pair, row.kind_of_text]
        assert row.prompt == asked.loc[row.pair, row.kind_of_prompt]["prompt"]
        assert (row.text, row.group, row.genre) == ("read " + own["id"], own["group"], own["genre"])
        assert row.id == f"{own['id']}.under.{row.kind_of_prompt}"


def test_crossed_examples_can_be_recorded():
    check_examples(factual_creative.crossed(answered(factual_creative.paired("pairs", n=3))))


def test_messages_are_crossed_as_messages():
    examples = factual_creative.paired("pairs", n=2)
    examples["prompt"] = [[{"role": "user", "content": prompt}] for prompt in examples["prompt"]]
    table = factual_creative.crossed(answered(examples))
    assert sorted(table["prompt"].map(lambda messages: messages[0]["content"]).unique()) == sorted(
        messages[0]["content"] for messages in examples["prompt"]
    )


@pytest.mark.parametrize("text", ["", " \n", None])
def test_a_pair_without_both_texts_is_left_out(text):
    responses = answered(factual_creative.paired("pairs", n=3))
    responses.loc[4, "response"] = text
    assert set(factual_creative.crossed(responses)["pair"]) == set(responses["pair"]) - {responses.at[4, "pair"]}


def test_a_pair_without_both_responses_is_left_out():
    responses = answered(factual_creative.paired("pairs", n=3))
    assert set(factual_creative.crossed(responses.drop(4))["pair"]) == set(responses["pair"]) - {
        responses.at[4, "pair"]
    }


def test_no_whole_pair_is_an_error():
    responses = answered(factual_creative.paired("pairs", n=3))
    with pytest.raises(TaskError, match="no pair has a text of each kind"):
        factual_creative.crossed(responses[responses["kind"] == "factual"])


def test_two_responses_to_a_prompt_are_an_error():
    responses = answered(factual_creative.paired("pairs", n=2))
    with pytest.raises(TaskError, match=f"pair {responses.at[0, 'pair']} has two responses of one kind"):
        factual_creative.crossed(pd.concat([responses, responses.head(1)]))


def test_responses_of_prompts_that_are_not_paired_are_refused():
    responses = answered(factual_creative.load("shipped", n=2))
    with pytest.raises(TaskError, match="the table of responses lacks the columns 'pair'"):
        factual_creative.crossed(responses)
