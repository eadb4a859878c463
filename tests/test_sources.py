"""What the source "auto" of a notebook means for a model, and what problems of each source show."""

import numpy as np
import pandas as pd
import pytest

from attnent import tasks
from attnent.critic import offline_for
from attnent.tasks import gsm8k, simpleqa


@pytest.fixture
def hub(monkeypatch):
    """Whether the Hub gives data sets; which ones it was asked for."""
    asked = []

    def set_to(gives: bool):
        def given(dataset: str) -> bool:
            asked.append(dataset)
            return gives

        monkeypatch.setattr(tasks, "_given_by_hub", given)
        return asked

    return set_to


@pytest.mark.parametrize(
    ("task", "model", "gives", "source"),
    [
        (simpleqa, "tiny", True, "tiny"),
        (simpleqa, "a/model", True, "hub"),
        (simpleqa, "a/model", False, "facts"),
        (simpleqa, "smollm2", True, "hub"),
        (gsm8k, "tiny", True, "tiny"),
        (gsm8k, "a/model", True, "hub"),
        (gsm8k, "a/model", False, "plain"),
        (gsm8k, "smollm2", True, "plain"),
    ],
)
def test_auto_suits_the_model_and_what_can_be_fetched(hub, task, model, gives, source):
    hub(gives)
    assert task.source_of("auto", model) == source


def test_a_source_that_is_named_is_itself_and_nobody_is_asked(hub):
    asked = hub(False)
    assert simpleqa.source_of("my.csv", "a/model") == "my.csv"
    assert gsm8k.source_of("hub", "smollm2") == "hub"
    assert asked == []


def test_a_data_set_that_was_fetched_before_is_given_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    assert not tasks._given_by_hub("a/set")
    (tmp_path / "a___set").mkdir()
    assert tasks._given_by_hub("a/set")


def test_problems_whose_gold_chain_is_known_have_the_exact_critic():
    assert [offline_for(source) for source in ("tiny", "plain", "hub", "my.jsonl")] == ["exact"] * 2 + [
        "arithmetic"
    ] * 2


def test_strata_are_levels_of_plain_problems_and_else_steps():
    plain = gsm8k.load("plain", n=12).rename(columns={"id": "response_id"})
    assert set(gsm8k.strata(plain)) == {"level 1", "level 2", "level 3", "level 4"}
    steps = pd.DataFrame({"response_id": list("abcd"), "n_gold_steps": [1, 2, 4, 9]})
    assert gsm8k.strata(steps).tolist() == ["1-2 steps", "1-2 steps", "4 steps", "5 or more"]


def test_the_surface_of_a_problem_tells_its_level_and_of_a_solution_who_wrote_it():
    plain = gsm8k.load("plain", n=6)
    assert gsm8k.surface(plain)["level"].tolist() == plain["level"].tolist()
    written = plain.assign(writer=["one", "other"] * 3)
    assert gsm8k.surface(written)["writer_other"].tolist() == [0.0, 1.0] * 3


def test_the_surface_of_a_fact_tells_its_popularity_on_a_logarithmic_scale():
    facts = simpleqa.load("facts", n=200)
    shown = simpleqa.surface(facts)["log_popularity"].to_numpy()
    known = facts["popularity"].notna().to_numpy()
    np.testing.assert_allclose(np.exp(shown[known]), facts["popularity"].to_numpy()[known])
    assert (shown[~known] == 0).all()
    assert (~known).any()
