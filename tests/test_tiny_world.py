import re
import subprocess
import sys
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnent.tiny import world
from attnent.tiny.problems import split_of
from tiny_model.documents import creative_document, fact_documents
from tiny_model.grading import is_right, outcome, read_answer
from tiny_model.tales import poem
from tiny_model.telling import describe, strangers

POOL = [*world.problems(100), *world.problems(100, seed=1, split="train")]
pooled = st.sampled_from(POOL)
GENRE_WORDS = {
    "facts": ("all about", "life", "know of"),
    "stories": ("tale of", "story about", "story with", "tale about"),
    "poems": ("poem", "lines"),
}
TIERS = ("head", "middle", "tail", "never")
EVALUATE = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b}


def equations(text):
    return re.findall(r"(\d+)([-+*/])(\d+)=(\d+)", text)


# ---------------------------------------------------------------------------------------------------------- problems


@given(pooled)
def test_every_chain_evaluates_to_its_answer(problem):
    for step, (left, operator, right, result) in zip(problem.steps, equations(problem.solution), strict=True):
        assert (step.left, step.operator, step.right, step.result) == (int(left), operator, int(right), int(result))
        assert EVALUATE[operator](int(left), int(right)) == int(result) >= 0
    assert problem.steps[-1].result == problem.answer == read_answer(problem.solution)


@given(pooled)
def test_every_operand_comes_from_an_earlier_step_or_from_the_problem(problem):
    spelt = {2: r"doubles|\b2\b", 3: r"triples|\b3\b"}
    for index, step in enumerate(problem.steps):
        for number, source in ((step.left, step.left_from), (step.right, step.right_from)):
            if source is None:
                assert re.search(spelt.get(number, rf"\b{number}\b"), problem.question)
            else:
                assert source < index
                assert problem.steps[source].result == number


def test_problems_have_two_to_six_steps_one_or_two_children_and_some_distract():
    assert {problem.n_steps for problem in POOL} == {2, 3, 4, 5, 6}
    assert {problem.n_children for problem in POOL} == {1, 2}
    assert 40 < sum(problem.distractor for problem in POOL) < 120


@given(pooled)
def test_a_problem_without_distractor_uses_every_number_it_tells(problem):
    told = {int(number) for number in re.findall(r"\d+", problem.question)}
    used = {number for step in problem.steps for number in step.given}
    assert problem.distractor or told <= used


def test_nearly_every_problem_with_a_distractor_tells_a_number_it_does_not_use():
    distracting = [problem for problem in POOL if problem.distractor]
    n_useless = 0
    for problem in distracting:
        told = Counter(int(number) for number in re.findall(r"\d+", problem.question))
        used = Counter(number for step in problem.steps for number in step.given)
        n_useless += bool(told - used)
    assert n_useless > 0.9 * len(distracting)


def test_every_problem_belongs_to_the_split_it_was_asked_for():
    assert {split_of(problem.question) for problem in POOL[:100]} == {"test"}
    assert {split_of(problem.question) for problem in POOL[100:]} == {"train"}


def test_the_training_text_holds_no_test_problem(monkeypatch):
    from tiny_model import train

    monkeypatch.setattr(train, "fact_documents", lambda rng: [])
    documents = [document for phase in train.corpus(train.PHASES, 0, 0.01) for document in phase]
    questions = [document.prompt for document in documents if document.kind == "problem"]
    assert len(questions) > 100
    assert {split_of(question) for question in questions} == {"train"}


def test_problems_are_distinct():
    assert len({problem.id for problem in POOL}) == len({problem.question for problem in POOL}) == len(POOL)


def test_a_shorter_list_is_the_beginning_of_a_longer_and_another_seed_gives_another():
    assert world.problems(10) == POOL[:10]
    assert world.problems(10, seed=2) != POOL[:10]


def test_the_first_problem_is_the_same_on_every_platform():
    assert POOL[0].id == "problem-d2f5cca49c37"
    assert world.questions(1)[0].id == "livia-zeller-instrument"


# ------------------------------------------------------------------------------------------------------- first error

PROBLEM = world.Problem(
    id="by-hand",
    question="Tom has 15 apples. Ana has 41 apples. He gets 12 more from Ana. He gives 5 friends 3 each. "
    "Sam is 9 years old. How many apples does Tom have now?",
    steps=(
        world.Step(15, "+", 12, 27, "Tom has 15+12=27 now."),
        world.Step(5, "*", 3, 15, "The friends get 5*3=15."),
        world.Step(27, "-", 15, 12, "Tom has 27-15=12 left.", 0, 1),
    ),
    answer=12,
    distractor=True,
    n_children=1,
)


@pytest.mark.parametrize(
    ("response", "step", "kind", "wrong"),
    [
        ("Tom has 15+12=28 now.\nThe friends get 5*3=15.\nTom has 28-15=13 left.\n#### 13", 0, "slip", "15+12=28"),
        ("Tom has 15+12=27 now.\nThe friends get 5*3=15.\nTom has 27-15=13 left.\n#### 13", 2, "slip", "27-15=13"),
        (
            "Tom has 15+41=56 now.\nThe friends get 5*3=15.\nTom has 56-15=41 left.\n#### 41",
            0,
            "wrong operand",
            "15+41=56",
        ),
        ("Tom has 15-12=3 now.\nThe friends get 5*3=15.\n#### 3", 0, "wrong operand", "15-12=3"),
        ("Tom has 15+12=27 now.\nThe friends get 9*3=27.\nTom has 27-27=0 left.\n#### 0", 1, "wrong operand", "9*3=27"),
        ("Tom has 15+13=28 now.\nThe friends get 5*3=15.\nTom has 28-15=13 left.\n#### 13", 0, "copying", "15+13=28"),
        ("Tom has 51+12=63 now.\nThe friends get 5*3=15.\nTom has 63-15=48 left.\n#### 48", 0, "copying", "51+12=63"),
        ("Tom has 15+12=27 now.\nThe friends get 5*3=15.\nTom has 27-15=12 left.\n#### 21", 3, "copying", "#### 21"),
        ("The friends get 5*3=15.\nTom has 15-15=0 left.\n#### 0", 0, "missing step", "5*3=15"),
        ("Tom has 15+12=27 now.\n#### 27", 1, "missing step", "#### 27"),
        (
            "Tom has 15+12=27 now.\nThe friends get 5*3=15.\nTom has 27-15=12 left.",
            3,
            "missing step",
            "Tom has 27-15=12 left.",
        ),
        ("I don't know.", 0, "missing step", "I don't know."),
        (
            "Tom has 15+12=27 now.\nThe friends get 5*3=15.\nTom has 27-15=12 left.\nTom has 12-9=3 left.\n#### 3",
            3,
            "wrong operand",
            "12-9=3",
        ),
    ],
)
def test_the_first_wrong_step_is_found_with_its_kind_and_place(response, step, kind, wrong):
    error = world.first_error(PROBLEM, response)
    assert (error.step, error.kind, response[error.start : error.stop]) == (step, kind, wrong)


@pytest.mark.parametrize(
    "response",
    [
        PROBLEM.solution,
        "Tom has 12+15=27 now.\nThe friends get 3*5=15.\nTom has 27-15=12 left.\n#### 12",
        "The friends get 5*3=15.\nTom has 15+12=27 now.\nTom has 27-15=12 left.\n#### 12",
        "5 * 3 = 15\n15 - 15 = 0\n0 + 12 = 12\n#### 12",
    ],
)
def test_a_right_chain_in_any_order_has_no_error(response):
    assert world.first_error(PROBLEM, response) is None


def test_a_true_chain_of_other_numbers_that_ends_in_the_answer_is_still_wrong():
    error = world.first_error(PROBLEM, "Tom has 9+5=14 now.\nThe friends get 2*1=2.\nTom has 14-2=12 left.\n#### 12")
    assert (error.step, error.kind) == (0, "wrong operand")


def test_no_gold_solution_is_flagged():
    assert not [problem for problem in POOL if world.first_error(problem, problem.solution)]


def with_line(problem, index, equation):
    step = problem.steps[index]
    line = step.text.replace(f"{step.left}{step.operator}{step.right}={step.result}", equation)
    return problem.solution.replace(step.text, line, 1)


@given(pooled, st.integers(0, 5), st.integers(1, 9), st.booleans())
def test_every_planted_slip_is_found(problem, index, difference, up):
    step = problem.steps[index % problem.n_steps]
    wrong = step.result + difference if up or step.result < difference else step.result - difference
    response = with_line(problem, index % problem.n_steps, f"{step.left}{step.operator}{step.right}={wrong}")
    error = world.first_error(problem, response)
    assert (error.step, error.kind) == (index % problem.n_steps, "slip")
    assert response[error.start : error.stop] == f"{step.left}{step.operator}{step.right}={wrong}"


@given(pooled, st.integers(0, 5), st.integers(0, 20))
def test_every_planted_wrong_operand_is_found_at_its_step(problem, index, choice):
    index %= problem.n_steps
    step = problem.steps[index]
    told = [int(number) for number in re.findall(r"\d+", problem.question)]
    others = [number for number in told if number not in (step.left, step.right)]
    if others and step.operator in "+-":
        number = others[choice % len(others)]
        result = step.left + number if step.operator == "+" else step.left - number
        response = with_line(problem, index, f"{step.left}{step.operator}{number}={result}")
        error = world.first_error(problem, response)
        assert error.step == index
        assert error.kind in ("wrong operand", "missing step")


@given(pooled, st.integers(0, 5))
def test_every_left_out_step_is_found(problem, index):
    index %= problem.n_steps
    lines = problem.solution.split("\n")
    error = world.first_error(problem, "\n".join(lines[:index] + lines[index + 1 :]))
    assert error.step == index


@given(pooled, st.integers(1, 50))
def test_every_planted_answer_line_is_found(problem, difference):
    response = problem.solution.replace(f"#### {problem.answer}", f"#### {problem.answer + difference}")
    error = world.first_error(problem, response)
    assert (error.step, error.kind) == (problem.n_steps, "copying")
    assert not is_right(problem, response)


# ------------------------------------------------------------------------------------------------------------- facts


def test_tiers_attributes_and_phrasings_are_all_asked():
    questions = world.questions(400)
    assert {question.attribute for question in questions} == set(world.ATTRIBUTES)
    tiers = [question.tier for question in questions]
    assert tiers.count("middle") + tiers.count("tail") > 250
    assert min(tiers.count(tier) for tier in TIERS) >= 8


def test_questions_are_distinct_and_a_shorter_list_is_the_beginning_of_a_longer():
    questions = world.questions(1_500)
    assert len({question.id for question in questions}) == 1_500
    assert world.questions(30) == questions[:30]


def test_answer_and_question_name_entity_and_value():
    for question in world.questions(300, seed=1):
        assert question.entity in question.question
        assert question.answer in question.answer_text
        assert question.answer not in question.question
        assert outcome(question, question.answer_text) == "correct"
        assert outcome(question, question.answer_text.replace(question.answer, "zebra")) == "incorrect"
        assert outcome(question, "I don't know.") == "not attempted"


def test_the_training_text_never_names_people_of_the_tier_never():
    text = " ".join(f"{item.prompt} {item.response}" for item in fact_documents(Random(0)))
    told = {person.tier: person.name in text for person in world.people()}
    assert told == {"head": True, "middle": True, "tail": True, "never": False}
    assert not [person.name for person in world.people() if person.tier == "never" and person.name in text]


def test_no_stranger_has_the_name_of_a_person():
    assert not {person.name for person in world.people()} & set(strangers())


def test_a_description_states_all_facts():
    rng = Random(0)
    for person in world.people():
        assert all(value in describe(rng, person) for value in person.facts.values())


# ------------------------------------------------------------------------------------------------------ long prompts


@pytest.mark.parametrize(("make", "group"), [(world.factual_prompts, "factual"), (world.creative_prompts, "creative")])
def test_each_group_has_at_least_a_hundred_distinct_prompts(make, group):
    prompts = make(120, seed=5)
    assert len({prompt.prompt for prompt in prompts}) == len({prompt.id for prompt in prompts}) == 120
    assert {prompt.group for prompt in prompts} == {group}
    assert make(10, seed=5) == prompts[:10]


def test_every_known_person_is_asked_about_once_before_any_is_asked_about_again():
    asked = [prompt.topic for prompt in world.factual_prompts(560, seed=5)]
    assert len(set(asked[:140])) == 140
    assert asked == asked[:140] * 4


def test_no_prompt_about_a_person_repeats():
    prompts = world.factual_prompts(560, seed=5)
    assert len({prompt.prompt for prompt in prompts}) == len({prompt.id for prompt in prompts}) == 560


def test_who_is_asked_about_again_has_the_number_of_the_time_in_the_id():
    ids = [prompt.id for prompt in world.factual_prompts(560, seed=5)]
    assert ids == [f"{name}{ending}" for ending in ("", "-2", "-3", "-4") for name in ids[:140]]


def test_the_first_prompts_about_people_are_those_that_recordings_were_made_of():
    first, second = world.factual_prompts(2)
    assert (first.id, first.prompt) == ("factual-sybil-dorn", "Describe the whole life of Sybil Dorn.")
    assert (second.id, second.prompt) == ("factual-pavel-garrow", "Give me the life story of Pavel Garrow.")


def test_the_genre_of_a_prompt_is_what_it_asks_for():
    prompts = [*world.factual_prompts(560), *world.creative_prompts(480)]
    wanted = {word: genre for genre, words in GENRE_WORDS.items() for word in words}
    assert {prompt.genre for prompt in prompts} == set(GENRE_WORDS)
    for prompt in prompts:
        [asked] = {genre for word, genre in wanted.items() if word in prompt.prompt}
        assert asked == prompt.genre


def test_stories_and_poems_hardly_repeat():
    rng = Random(0)
    texts = [creative_document(rng).response for _ in range(200)]
    assert len(set(texts)) == 200


def test_a_poem_has_four_lines_and_names_its_muse():
    lines = poem(Random(2), "quiet", "sea").split("\n")
    assert len(lines) == 4
    assert "quiet sea" in lines[0]


# -------------------------------------------------------------------------------------------------- errors and imports


@pytest.mark.parametrize("make", [world.problems, world.questions, world.factual_prompts, world.creative_prompts])
def test_a_negative_number_is_refused_by_name(make):
    with pytest.raises(world.WorldError, match=r"n must be .* but is -1"):
        make(-1)


@pytest.mark.parametrize(
    ("make", "most"), [(world.questions, 1_500), (world.factual_prompts, 560), (world.creative_prompts, 480)]
)
def test_more_than_the_world_holds_is_refused_with_the_limit(make, most):
    assert len(make(most)) == most
    with pytest.raises(world.WorldError, match=f"between 0 and {most}, but is {most + 1}"):
        make(most + 1)


def test_importing_the_world_does_not_import_torch():
    code = "import sys, attnent.tiny.world; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
