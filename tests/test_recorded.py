"""The Runs of many models read together: what is taken, what is left out and why, and what models have in common."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import made_up_trace

import attnent as ae
from attnent.analysis import across, recorded

WRONG_OR_RIGHT = recorded.Contrast("mine", "incorrect", "correct", "grade by me", outcomes=("correct", "incorrect"))
ASKED = {"wrong over right": WRONG_OR_RIGHT}
RIGHT = ("correct", "incorrect", "correct", "incorrect", "incorrect")


def record(folder: Path, model: str, *, ids="abcde", seed=0, grades=RIGHT, n_parameters=None, **identity) -> ae.Run:
    """A Run of made-up traces, which are the same wherever example, seed and model are; graded unless told not to."""
    named = {"task": "mine", "model": model, "seed": seed, **identity}
    examples = pd.DataFrame({"id": [*ids], "prompt": "Why?", "group": [f"g{id_}" for id_ in ids]})
    place = "-".join([str(seed), *map(str, identity.values())])
    run = ae.Run.start(folder / "mine" / ae.model_name(model) / place, identity=named, examples=examples)
    for id_ in ids:
        run.save(id_, made_up_trace([*"spoken"], seed=ord(id_) + seed))
    if grades:
        rows = [{"response_id": id_, "judge": "me", "grade": grade} for id_, grade in zip(ids, grades, strict=True)]
        run.add_labels("grades", rows)
    if n_parameters:
        run.update_manifest(n_parameters=n_parameters)
    return run


def read(folder: Path, **asked) -> recorded.Reading:
    return recorded.read(folder, ASKED, **asked)["wrong over right"]


def test_runs_of_two_seeds_are_one_model_and_a_response_that_both_hold_counts_once(tmp_path):
    record(tmp_path, "small", seed=0)
    record(tmp_path, "small", seed=1, ids="defgh")
    reading = read(tmp_path)
    one = reading.models["small"]
    assert one.responses["response_id"].is_unique
    assert set(one.tokens["response_id"]) == set(one.responses["response_id"]) == set(one.groups.index)
    assert one.groups.value_counts().to_dict() == {"incorrect": 5, "correct": 3}
    assert reading.runs["left out"].tolist() == ["", ""]
    assert reading.runs["seed"].tolist() == [0, 1]


def test_another_response_to_the_same_example_counts_too(tmp_path):
    record(tmp_path, "small", seed=0)
    other = record(tmp_path, "small", seed=1)
    for id_ in "abcde":
        other.save(id_, made_up_trace([*"silent"], seed=7))
    assert len(read(tmp_path).models["small"].responses) == 10


def test_models_stand_from_the_smallest_and_those_of_unknown_size_last(tmp_path):
    for model, n in (("large", 3_000_000), ("old", None), ("small", 2_000)):
        record(tmp_path, model, n_parameters=n)
    reading = read(tmp_path)
    assert [*reading.models] == ["small", "large", "old"]
    sizes = recorded.sizes({"q": reading})
    assert [*sizes] == ["small", "large", "old"]
    np.testing.assert_array_equal([*sizes.values()], [2e3, 3e6, np.nan])


def test_a_size_that_one_question_knows_is_known(tmp_path):
    old, new = (tmp_path / name for name in ("old", "new"))
    record(old, "small")
    record(new, "small", n_parameters=2_000)
    assert recorded.sizes({"q": read(old), "r": read(new)}) == {"small": 2e3}


def test_what_is_left_out_says_why(tmp_path):
    record(tmp_path, "small")
    record(tmp_path, "small", seed=1, reads="text")
    record(tmp_path, "small", seed=2, grades=())
    record(tmp_path, "small", seed=3, ids="ab", grades=RIGHT[:2], temperature=0.8)
    record(tmp_path, "large", seed=4)
    reading = read(tmp_path, models=["small"])
    assert reading.runs.set_index("seed")["left out"].to_dict() == {
        0: "", 1: "reads what others wrote", 2: "not graded", 3: "other parameters or prompts", 4: "not asked for"
    }  # fmt: skip
    assert [*reading.models] == ["small"]
    assert len(reading.models["small"].responses) == 5


def test_of_two_kinds_of_recordings_the_one_with_more_responses_is_taken(tmp_path):
    record(tmp_path, "small", ids="ab", grades=RIGHT[:2])
    record(tmp_path, "small", ids="abc", grades=RIGHT[:3], temperature=0.8)
    record(tmp_path, "small", ids="de", grades=RIGHT[:2], seed=1)
    assert sorted(read(tmp_path).models["small"].responses["example"]) == [*"abde"]


def test_only_the_seeds_that_are_asked_for_are_read(tmp_path):
    record(tmp_path, "small", seed=0)
    record(tmp_path, "small", seed=1, ids="vwxyz")
    assert sorted(read(tmp_path, seeds=[1]).models["small"].responses["example"]) == [*"vwxyz"]


def test_where_nothing_is_recorded_it_says_what_to_run(tmp_path):
    ae.Run.start(
        tmp_path / "mine" / "m" / "begun",
        identity={"task": "mine", "model": "m"},
        examples=pd.DataFrame({"id": ["a"], "prompt": "Why?"}),
    )
    with pytest.raises(ae.RunError, match=r"nothing is recorded below .*; run `attnent sweep sweeps/offline.yaml`, or"):
        read(tmp_path)


def test_models_that_are_not_recorded_are_refused_with_those_that_are(tmp_path):
    record(tmp_path, "small")
    with pytest.raises(ae.RunError, match="no graded Run of models smal; recorded are small"):
        read(tmp_path, models=["smal"])


def test_a_question_that_nothing_is_recorded_for_is_left_out(tmp_path):
    record(tmp_path, "small")
    other = WRONG_OR_RIGHT._replace(task="other")
    assert [*recorded.read(tmp_path, ASKED | {"other": other})] == ["wrong over right"]


def test_accuracy_counts_the_grades_that_are_outcomes(tmp_path):
    record(tmp_path, "small", grades=("correct", "incorrect", "correct", "truncated", "correct"))
    row = read(tmp_path).accuracy().loc["small"]
    assert (row["estimate"], row["n"]) == (0.75, 4)
    assert 0 < row["low"] < 0.75 < row["high"] < 1


def test_accuracies_are_of_the_tasks_that_are_graded(tmp_path):
    record(tmp_path, "small")
    ungraded = WRONG_OR_RIGHT._replace(outcomes=())
    both = recorded.read(tmp_path, ASKED | {"other": ungraded})
    assert recorded.accuracies(both)["estimate"].to_dict() == {"mine, small": 0.4}
    assert recorded.accuracies({"other": both["other"]}).empty


def test_models_are_held_against_each_other_on_the_examples_that_both_answered(tmp_path):
    ids = "abcdefghijkl"
    record(tmp_path, "small", ids=ids, grades=["incorrect"] * 6 + ["correct"] * 6, n_parameters=1)
    record(tmp_path, "large", ids=ids[2:], grades=["correct"] * 10, n_parameters=2)
    record(tmp_path, "else", ids="uvxyz", n_parameters=3)
    table = read(tmp_path).in_common()
    assert table["examples"].to_dict() == {("small", "large"): 10, ("small", "else"): 0, ("large", "else"): 0}
    row = table.loc[("small", "large")]
    less = np.array([-1.0] * 4 + [0.0] * 6)
    reach = 2.262157 * less.std(ddof=1) / np.sqrt(10)
    np.testing.assert_allclose(row[["difference", "low", "high"]], [-0.4, -0.4 - reach, -0.4 + reach], rtol=1e-6)
    assert table["difference"].isna().tolist() == [False, True, True]


def test_one_model_alone_has_no_pair_beside_those_of_another_question(tmp_path):
    record(tmp_path, "small", n_parameters=1)
    alone = read(tmp_path).in_common()
    assert (len(alone), alone.index.names) == (0, ["model", "other"])
    record(tmp_path, "large", n_parameters=2)
    assert len(pd.concat({"one": alone, "other": read(tmp_path).in_common()})) == 1


def test_a_model_that_is_never_right_is_kept_and_said_to_be_undecided(tmp_path):
    ids = "abcdefghijkl"
    record(tmp_path, "weak", ids=ids, grades=["incorrect"] * 12, n_parameters=1)
    record(tmp_path, "cut", ids=ids, grades=["truncated"] * 12, n_parameters=2)
    record(tmp_path, "able", ids=ids, grades=["incorrect", "correct"] * 6, n_parameters=3)
    reading = read(tmp_path)
    assert reading.differences("entropy")["group"].unique().tolist() == ["able"]
    found = across.by_model({"q": across.over_models(reading.compared(n_sets=2))})
    verdicts = found.xs("varentropy", level="measure")["verdict"].droplevel("question")
    assert verdicts.to_dict() == {
        "weak": "undecided: n correct 0",
        "cut": "undecided: n correct 0",
        "able": "undecided: n correct 6",
    }
