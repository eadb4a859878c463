"""What is said of a comparison: its verdict, its intervals, and how many responses it rests on."""

import json

import numpy as np
from test_analysis import HIGH, LOW, NONE, OPEN, comparison_of
from test_verdicts import with_subgroups

from attnent.analysis import pooled
from attnent.analysis.intervals import NO_INTERVAL, Interval
from attnent.show import words
from attnent.show.words import ANSWER, Answer


def said(*stages, **settings) -> str:
    return words.sentences(comparison_of(*stages, **settings))


def test_a_difference_is_said_with_its_side_and_both_intervals():
    assert said(HIGH, HIGH, (0.66, 0.58, 0.74)) == (
        "X is higher in wrong than in right responses (present): AUROC 0.70 [0.60, 0.80], 0.66 [0.58, 0.74] with all "
        "controls (n = 50 wrong, 40 right)."
    )
    assert said(LOW, LOW, LOW).startswith("X is lower in wrong than in right responses")


def test_a_difference_that_control_takes_is_not_said_without_that():
    assert said(HIGH, HIGH, OPEN) == (
        "X is higher in wrong than in right responses, undecided under control: AUROC 0.70 [0.60, 0.80], 0.52 "
        "[0.44, 0.60] with all controls (n = 50 wrong, 40 right; with all controls one of 0.55 would be seen in 23%)."
    )


def test_where_nothing_is_known_it_is_said():
    assert said(OPEN, OPEN, OPEN, p=0.5).startswith("Whether x differs between wrong and right responses is undecided:")
    assert said(OPEN, OPEN, NONE, p=0.5).startswith("X does not differ between wrong and right responses (absent): ")


def test_what_control_explains_away_is_said_to_be_absent_under_it():
    wanted = (
        "X is higher in wrong than in right responses, but not under control (absent): AUROC 0.70 [0.60, 0.80], 0.50"
    )
    assert said(HIGH, HIGH, NONE).startswith(wanted)


def test_subgroups_that_oppose_each_other_are_said_with_their_sides():
    assert words.sentences(with_subgroups(HIGH, LOW, p=0.5)) == (
        "X differs one way and the other (mixed): higher in stories, AUROC 0.70 [0.60, 0.80]; lower in poems, AUROC "
        "0.30 [0.20, 0.40]; 0.52 [0.44, 0.60] together (n = 50 wrong, 40 right)."
    )


def test_a_difference_that_control_makes_is_said_to_be_made():
    assert "only under control, which makes the difference (undecided)" in said(OPEN, HIGH, HIGH, p=0.5)


def test_controls_that_leave_nothing_to_compare_are_said_with_what_they_explain():
    found = comparison_of(HIGH, HIGH, (np.nan,) * 3)
    found.stages["baselines fixed"]["overlap"] = 0.83
    assert "undetermined with all controls, which explain 83% of the groups" in words.sentences(found)


def test_the_sets_that_show_a_difference_are_counted():
    sets = {name: comparison_of(HIGH, HIGH, one) for name, one in (("set 1", HIGH), ("set 2", OPEN))}
    assert "with all controls, in 1 of 2 sets" in words.sentences(pooled(sets))


def test_too_few_responses_are_said_to_be_too_few():
    nothing = (np.nan,) * 3
    assert "cannot be compared, which takes at least 10 responses of each group in a set (n = 50 wrong" in said(
        nothing, nothing, nothing, p=np.nan
    )


def test_an_answer_carries_the_tested_effect_of_the_first_measure():
    answer = words.answer(comparison_of(HIGH, LOW, OPEN), n=90, accuracy=0.5)
    assert answer.effect == HIGH
    assert answer.effect_name == "AUROC of x, wrong over right responses"
    assert (answer.n, answer.accuracy) == (90, 0.5)


def test_an_effect_that_could_not_be_determined_is_not_listed():
    nothing = (np.nan,) * 3
    answer = words.answer(comparison_of(nothing, nothing, nothing, p=np.nan), n=0)
    assert answer._repr_mimebundle_()[words.ANSWER]["effect"] is None


def test_an_answer_tells_its_facts_beside_its_text():
    bundle = Answer("a < b", n=7, accuracy=0.5, effect=Interval(0.6, 0.5, 0.7), effect_name="e")._repr_mimebundle_()
    assert "a &lt; b" in bundle["text/html"]
    assert json.loads(json.dumps(bundle[ANSWER])) == {
        "answer": "a < b", "n": 7, "accuracy": 0.5, "effect": [0.6, 0.5, 0.7], "effect_name": "e"
    }  # fmt: skip


def test_an_effect_that_could_not_be_determined_is_none():
    assert Answer("a", n=7, effect=NO_INTERVAL)._repr_mimebundle_()[ANSWER]["effect"] is None


def test_a_readers_attention_is_called_so():
    found = comparison_of(HIGH, HIGH, HIGH)
    said = words.answer(found, n=90, whose="a reader's attention").text
    assert said == f"A reader's attention: {words.sentences(found)}"
    assert words.answer(found, n=90).text == words.sentences(found)
