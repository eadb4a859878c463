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

from attnent.tasks import TaskError, choose, factual_creative

SHIPPED = factual_creative.load("shipped", n=100)
N_WORDS = SHIPPED["prompt"].str.split().str.len()
FACTUAL = SHIPPED["kind"] == "factual"


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


@pytest.mark.parametrize("source", ["tiny", "shipped"])
def test_ids_are_unique_and_safe_as_file_names(source):
    ids = factual_creative.load(source, n=53)["id"]
    assert ids.is_unique
    assert ids.str.fullmatch(r"[A-Za-z0-9_-]+").all()


@pytest.mark.parametrize("source", ["tiny", "shipped"])
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
    with pytest.raises(TaskError, match="unknown source 'hub': pass 'tiny', 'shipped' or the path of a json file"):
        factual_creative.load("hub", n=1)


@given(st.integers(1, 23), st.integers(), st.permutations(range(23)))
def test_the_chosen_rows_do_not_depend_on_the_order_of_the_data(n, seed, order):
    straight = pd.DataFrame({"id": [f"item-{k}" for k in range(23)]})
    mixed = pd.DataFrame({"id": [f"item-{k}" for k in order]})
    assert choose(straight, n, seed=seed, what="rows").equals(choose(mixed, n, seed=seed, what="rows"))
