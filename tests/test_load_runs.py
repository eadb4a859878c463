"""One table over several Runs."""

import numpy as np
import pandas as pd
import pytest
from made_up import made_up_trace

import attnent as ae


def recorded(folder, *, model: str, seed: int, ids=("a", "b")) -> ae.Run:
    examples = pd.DataFrame({"id": [*ids], "prompt": "Why?", "group": "g"})
    identity = {"task": "mine", "model": model, "seed": seed, "temperature": 0.0}
    run = ae.Run.start(folder / model / str(seed), identity=identity, examples=examples)
    for place, id_ in enumerate(ids):
        run.save(id_, made_up_trace(list("abcd"), seed=seed + place))
    return run


def test_the_responses_of_all_runs_stand_below_each_other_with_what_tells_runs_apart(tmp_path):
    one, two = recorded(tmp_path, model="small", seed=0), recorded(tmp_path, model="large", seed=1)
    table = ae.load_runs(tmp_path)
    assert [*table.columns[:3]] == ["run", "model", "seed"]
    assert "temperature" not in table, "it is the same in all of them"
    assert table[["run", "model", "seed", "response_id"]].to_numpy().tolist() == [
        ["large/1", "large", 1, "a"], ["large/1", "large", 1, "b"],
        ["small/0", "small", 0, "a"], ["small/0", "small", 0, "b"],
    ]  # fmt: skip
    expected = pd.concat([two.responses, one.responses])["entropy"]
    np.testing.assert_array_equal(table["entropy"], expected)


def test_each_judge_has_its_column_and_what_is_not_graded_is_missing(tmp_path):
    run = recorded(tmp_path, model="small", seed=0)
    recorded(tmp_path, model="large", seed=0)
    run.add_labels("grades", [{"response_id": "a", "judge": "exact", "grade": "correct"}])
    run.add_labels("grades", [{"response_id": "a", "judge": "me", "grade": "incorrect"}])
    table = ae.load_runs(tmp_path).set_index(["model", "response_id"])
    assert table.loc[("small", "a"), ["grade by exact", "grade by me"]].tolist() == ["correct", "incorrect"]
    assert table["grade by exact"].notna().sum() == 1


def test_a_single_run_is_a_table_too(tmp_path):
    run = recorded(tmp_path, model="small", seed=0)
    assert ae.load_runs(run.folder)["run"].tolist() == [".", "."]


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ae.RunError, match="there is no Run with responses at or below"):
        ae.load_runs(tmp_path)


def test_a_run_that_has_recorded_nothing_yet_is_left_out(tmp_path):
    recorded(tmp_path, model="small", seed=0)
    examples = pd.DataFrame({"id": ["a"], "prompt": "Why?"})
    ae.Run.start(tmp_path / "begun", identity={"task": "mine", "model": "begun"}, examples=examples)
    assert set(ae.load_runs(tmp_path)["model"]) == {"small"}
