"""A Run folder works from files alone: these tests make Traces by hand and never load a model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import attnent as ae
from attnent.runs import Run
from attnent.store.files import write_sealed
from attnent.store.folders import model_name, one_segment
from attnent.trace import ATTRIBUTES, CANDIDATES, MEASURES, STEP_NUMBERS, make_trace

N_LAYERS, N_HEADS = 2, 3


def trace_of(text: str, n_steps: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    steps = {name: np.zeros(n_steps, np.int32) for name in STEP_NUMBERS}
    steps |= {name: rng.random((n_steps, 5)).astype(np.float32) for name in CANDIDATES}
    attrs = dict.fromkeys(ATTRIBUTES, "") | {"schema_version": 2, "n_prompt": 4, "seed": 0, "response": text}
    return make_trace(
        {name: rng.random((N_LAYERS, N_HEADS, n_steps)).astype(np.float32) for name in MEASURES},
        layer=[0, 1],
        layer_kind=["self", "self"],
        n_keys=np.tile(4 + np.arange(n_steps), (N_LAYERS, 1)),
        token=list("x" * n_steps),
        steps=steps,
        attrs=attrs,
    )


EXAMPLES = pd.DataFrame({"id": ["a", "b", "c"], "prompt": ["one", "two", "three"], "kind": ["u", "v", "u"]})
IDENTITY = {"task": "test", "seed": 0}


@pytest.fixture
def run(tmp_path):
    run = Run.start(tmp_path / "run", identity=IDENTITY, examples=EXAMPLES)
    for place, response_id in enumerate(EXAMPLES["id"]):
        run.save(response_id, trace_of(f"text {response_id}", 5 + 2 * place, seed=place))
    return run


def test_a_saved_trace_comes_back_equal(run):
    assert run.trace("b").identical(trace_of("text b", 7, seed=1))


def test_the_responses_table_has_a_row_a_response_with_the_examples_columns(run):
    table = run.responses
    assert table["response_id"].tolist() == ["a", "b", "c"]
    assert table["kind"].tolist() == ["u", "v", "u"]
    assert table["n_steps"].tolist() == [5, 7, 9]


def test_a_token_row_holds_the_mean_over_layers_and_heads(run):
    row = run.tokens.query("response_id == 'c' and step == 3").iloc[0]
    np.testing.assert_allclose(row["entropy"], run.trace("c").entropy.values[:, :, 3].mean(), rtol=1e-6)


def test_a_stack_reads_nothing_but_what_its_measure_needs(run, monkeypatch):
    from attnent.store import traces

    read = []
    whole = traces._read

    def spy(path, names, belongs_to):
        read.append(tuple(names))
        return whole(path, names, belongs_to)

    monkeypatch.setattr(traces, "_read", spy)
    run.stack("entropy")
    assert set(read) == {("layer",), ("entropy", "layer", "n_keys")}


def test_a_stack_of_a_part_is_that_part_of_the_whole(run):
    whole, part = run.stack("sinkless_entropy"), run.stack("sinkless_entropy", layers=[1], first=6)
    assert part.identical(whole.sel(layer=[1]).isel(step=slice(6)))
    assert run.stack("entropy", first=100).identical(run.stack("entropy"))


def test_a_layer_that_was_not_recorded_is_refused(run):
    with pytest.raises(ae.TraceError, match=r"the layers \[7\] were not recorded; there are \[0, 1\]"):
        run.stack("entropy", layers=[1, 7])


def test_a_stack_tells_where_each_response_ends_and_skips_a_damaged_one(run):
    path = run.folder / "traces" / "b.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.warns(UserWarning, match=r"b\.safetensors is damaged"):
        stack = run.stack("entropy")
    assert stack["response"].values.tolist() == ["a", "c"]
    assert stack["n_steps"].values.tolist() == [5, 9]


@pytest.mark.parametrize("measure", ["entropy", "normalized_entropy"])
def test_a_stack_holds_each_trace_and_nan_after_its_end(run, measure):
    stack = run.stack(measure)
    assert stack.dims == ("response", "layer", "head", "step")
    assert stack.shape == (3, N_LAYERS, N_HEADS, 9)
    wanted = run.trace("a").entropy if measure == "entropy" else ae.normalized_entropy(run.trace("a"))
    np.testing.assert_array_equal(stack.sel(response="a").values[..., :5], wanted.values)
    assert stack.sel(response="a").values[..., 5:].size == np.isnan(stack.sel(response="a").values[..., 5:]).sum()


def test_tables_follow_when_a_response_is_recorded_again(run):
    before = run.responses.set_index("response_id")["entropy"]
    run.save("a", trace_of("text a", 5, seed=99))
    after = run.responses.set_index("response_id")["entropy"]
    assert before["a"] != after["a"]
    assert before["b"] == after["b"]


def test_a_damaged_trace_is_skipped_with_a_warning_that_names_it(run):
    path = run.folder / "traces" / "b.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"b\.safetensors is damaged"):
        assert [response_id for response_id, _ in run.traces()] == ["a", "c"]


def test_a_damaged_trace_is_said_each_time_a_table_is_read_without_it(run):
    path = run.folder / "traces" / "b.safetensors"
    path.write_bytes(path.read_bytes()[:-100] + bytes(100))
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"b\.safetensors is damaged"):
            assert run.responses["response_id"].tolist() == ["a", "c"]
    assert not run.verify().is_complete
    assert list(run.verify().damaged) == ["b"]


def test_traces_that_were_exchanged_are_not_read_for_each_other(run):
    a, b = (run.folder / "traces" / f"{name}.safetensors" for name in "ab")
    a.rename(run.folder / "other"), b.rename(a), (run.folder / "other").rename(b)
    assert sorted(run.verify().damaged) == ["a", "b"]


def test_a_trace_of_other_parameters_is_not_read(run, tmp_path):
    other = Run.start(tmp_path / "other", identity=IDENTITY | {"seed": 1}, examples=EXAMPLES)
    other.save("a", trace_of("text a", 5))
    (other.folder / "traces" / "a.safetensors").replace(run.folder / "traces" / "a.safetensors")
    with pytest.raises(ae.TraceError, match="belongs to another"):
        run.trace("a")


def test_a_trace_changed_without_a_trace_of_it_in_size_or_time_is_read_again(run):
    before = run.responses.set_index("response_id")["entropy"]
    path = run.folder / "traces" / "a.safetensors"
    about = path.stat()
    run.save("a", trace_of("text a", 5, seed=99))
    assert path.stat().st_size == about.st_size
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert run.responses.set_index("response_id")["entropy"]["a"] != before["a"]


def test_one_new_trace_costs_the_reading_of_one(tmp_path, monkeypatch):
    run = Run.start(tmp_path / "run", identity=IDENTITY, examples=EXAMPLES)
    run.save("c", trace_of("text c", 9))
    run.save("a", trace_of("text a", 5))
    assert run.responses["response_id"].tolist() == ["a", "c"]
    run.save("b", trace_of("text b", 7))
    read = []
    monkeypatch.setattr(Run, "trace", lambda self, name, whole=Run.trace: read.append(name) or whole(self, name))
    grown = run.responses, run.tokens
    assert read == ["b"]
    for name in ("responses.parquet", "tokens.parquet", "tables.json"):
        (run.folder / name).unlink()
    for one, at_once in zip(grown, (run.responses, run.tokens), strict=True):
        pd.testing.assert_frame_equal(one, at_once, check_dtype=False)


@pytest.mark.parametrize("name", ["responses.parquet", "tokens.parquet", "tables.json"])
def test_a_flipped_bit_in_a_table_is_found_and_the_table_made_again(run, name):
    wanted = run.responses, run.tokens
    whole = (run.folder / name).read_bytes()
    for place in np.random.default_rng(0).integers(0, len(whole), 25):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        (run.folder / name).write_bytes(flipped)
        for got, want in zip((run.responses, run.tokens), wanted, strict=True):
            pd.testing.assert_frame_equal(got, want, check_dtype=False)


@pytest.mark.parametrize("name", ["run.json", "examples.jsonl"])
def test_a_flipped_bit_in_what_was_asked_is_refused(run, name):
    whole = (run.folder / name).read_bytes()
    for place in range(0, len(whole), 3):
        flipped = bytearray(whole)
        flipped[place] ^= 2
        (run.folder / name).write_bytes(flipped)
        try:
            again = Run(run.folder)
        except ae.RunError:
            continue
        assert again.manifest == run.manifest  # white space
        pd.testing.assert_frame_equal(again.examples, run.examples)


def test_examples_cut_at_a_line_end_are_refused(run):
    path = run.folder / "examples.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(ae.RunError, match=r"damaged .examples\.jsonl is not what was written"):
        Run.start(run.folder, identity=IDENTITY, examples=EXAMPLES)


def test_traces_without_a_manifest_are_not_mixed_with_new_ones(run):
    (run.folder / "run.json").unlink()
    with pytest.raises(ae.RunError, match=r"holds traces but no run\.json"):
        Run.start(run.folder, identity=IDENTITY | {"seed": 1}, examples=EXAMPLES)


def test_a_folder_of_another_schema_is_refused(run):
    write_sealed(run.folder / "run.json", run.manifest | {"schema_version": 99})
    with pytest.raises(ae.RunError, match=r"another version of attnent \(schema 99"):
        Run(run.folder)


def test_a_damaged_trace_is_set_aside_so_that_it_is_recorded_again(run):
    path = run.folder / "traces" / "b.safetensors"
    path.write_bytes(b"nonsense")
    assert run.discard_damaged() == ["b"]
    assert run.recorded == ["a", "c"]


def test_other_parameters_are_refused_and_named(run):
    with pytest.raises(ae.RunError, match=r"other parameters .seed differ"):
        Run.start(run.folder, identity=IDENTITY | {"seed": 1}, examples=EXAMPLES)


def test_the_same_parameters_take_the_folder_up_again(run):
    assert Run.start(run.folder, identity=IDENTITY, examples=EXAMPLES).recorded == ["a", "b", "c"]


def test_a_second_writer_in_another_process_is_refused(run):
    code = (
        "import sys; from attnent.runs import Run, RunError\n"
        f"run = Run({str(run.folder)!r})\n"
        "try:\n"
        "    with run.locked(): sys.exit(1)\n"
        "except RunError as error: print(error)\n"
    )
    with run.locked():
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "another process is recording" in result.stdout


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ae.RunError, match="not a Run folder"):
        Run(tmp_path)


def test_a_broken_manifest_is_refused(run):
    (run.folder / "run.json").write_text("{")
    with pytest.raises(ae.RunError, match="damaged"):
        Run(run.folder)


def test_an_unwritable_folder_is_refused_with_advice(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ae.RunError, match="choose another out_dir"):
        Run.start(tmp_path / "file" / "run", identity=IDENTITY, examples=EXAMPLES)


@pytest.mark.parametrize(
    ("examples", "complaint"),
    [
        (EXAMPLES.drop(columns="prompt"), "lack the column prompt"),
        (EXAMPLES.iloc[:0], "no examples"),
        (EXAMPLES.assign(id="a"), "same id"),
        (EXAMPLES.assign(id=["a", "../b", "c"]), "cannot name a file"),
        (EXAMPLES.assign(id=[1, 2, 3]), "cannot name a file"),
        (EXAMPLES.assign(gold=[18, "3/4", None]), "cannot be kept"),
        (EXAMPLES.assign(n_steps=3), "column n_steps, which a Run makes itself"),
    ],
)
def test_examples_that_cannot_be_recorded_are_refused(tmp_path, examples, complaint):
    with pytest.raises(ae.RunError, match=complaint):
        Run.start(tmp_path / "run", identity=IDENTITY, examples=examples)


def test_an_unknown_response_or_measure_is_named(run):
    with pytest.raises(ae.RunError, match="no response 'z'"):
        run.trace("z")
    with pytest.raises(ae.TraceError, match="no measure 'entropie'"):
        run.stack("entropie")


def test_a_run_says_what_it_is(run):
    assert repr(run) == f"<Run test, 3 of 3 responses, seed 0: {run.folder}>"


def test_a_run_of_a_model_folder_that_reads_says_so(tmp_path):
    identity = {"task": "gsm8k", "model": "/models/small", "reads": "text"}
    run = Run.start(tmp_path / "run", identity=identity, examples=EXAMPLES)
    assert repr(run) == f"<Run gsm8k, small, 0 of 3 responses, reads text: {run.folder}>"


def test_the_only_run_below_a_folder_is_opened(tmp_path):
    run = Run.start(tmp_path / "gsm8k" / "tiny" / "abc", identity=IDENTITY, examples=EXAMPLES)
    for above in (tmp_path, tmp_path / "gsm8k", tmp_path / "gsm8k" / "tiny"):
        assert Run(above).folder == run.folder


def test_several_runs_below_a_folder_are_listed_with_what_differs(tmp_path):
    folders = [tmp_path / "tiny" / name for name in "ab"]
    for seed, folder in enumerate(folders):
        run = Run.start(folder, identity={"task": "test", "temperature": 0.5, "seed": seed}, examples=EXAMPLES)
    run.save("a", trace_of("text", 5))
    (tmp_path / "tiny" / "c").mkdir()
    (tmp_path / "tiny" / "c" / "run.json").write_text("torn")
    with pytest.raises(ae.RunError) as refused:
        Run(tmp_path)
    assert str(refused.value).splitlines() == [
        f"{tmp_path} holds 3 Runs; give the folder of one:",
        f"  {folders[0]}: 0 of 3 responses, seed 0",
        f"  {folders[1]}: 1 of 3 responses, seed 1",
        f"  {tmp_path / 'tiny' / 'c'}: damaged",
    ]


def test_many_runs_below_a_folder_are_counted_and_eight_are_named(tmp_path):
    for seed in range(11):
        Run.start(tmp_path / f"{seed:02}", identity={"task": "test", "seed": seed}, examples=EXAMPLES)
    with pytest.raises(ae.RunError, match="holds 11 Runs") as refused:
        Run(tmp_path)
    assert str(refused.value).splitlines()[8:] == [f"  {tmp_path / '07'}: 0 of 3 responses, seed 7", "  and 3 more"]


def test_a_relative_out_dir_is_taken_from_above_the_folder_of_the_notebooks(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_quickstart.ipynb").touch()
    for here in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(here)
        assert ae.out_folder("runs") == tmp_path / "runs"
        assert ae.out_folder(tmp_path / "else") == tmp_path / "else"


@pytest.mark.parametrize("name", ["../../etc", "/abs/model", "a/b", "..", "a\\..\\b", "...", ""])
def test_no_name_of_a_model_leads_out_of_its_folder(name):
    assert one_segment(name) not in ("", ".", "..")
    assert Path(one_segment(name)).name == one_segment(name)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("tiny", "tiny"),
        ("org/model", "org/model"),
        ("/models/SmolLM2-135M/", "SmolLM2-135M"),
        ("./mine", "mine"),
        ("C:\\models\\q4.gguf", "q4"),
        ("org/model.Q4_1.GGUF", "model.Q4_1"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_a_model_is_called_by_the_last_part_of_its_path_and_by_its_hub_id(model, name):
    assert model_name(model) == name


def test_an_id_that_leaves_the_folder_is_refused(run):
    with pytest.raises(ae.RunError, match="cannot name a file"):
        run.trace("../../secret")


def test_of_a_judges_labels_for_a_response_the_last_counts(run):
    run.add_labels("grades", [{"response_id": "a", "judge": "rule", "grade": "correct"}])
    run.add_labels("grades", [{"response_id": "a", "judge": "rule", "grade": "incorrect"}])
    run.add_labels("grades", [{"response_id": "a", "judge": "model", "grade": "correct"}])
    labels = run.labels("grades").set_index("judge")["grade"]
    assert labels.to_dict() == {"rule": "incorrect", "model": "correct"}


def test_a_label_without_its_judge_is_refused(run):
    with pytest.raises(ae.RunError, match="judge"):
        run.add_labels("grades", [{"response_id": "a", "grade": "correct"}])


def test_grades_are_kept_once_under_the_name_of_their_judge(run):
    for _ in range(2):
        grades = run.grade(lambda row: "right" if row["response"].endswith("b") else "wrong", judge="letter b")
    assert grades.to_dict() == {"a": "wrong", "b": "right", "c": "wrong"}
    assert len((run.folder / "labels" / "grades.jsonl").read_text().splitlines()) == 3
    assert set(run.labels("grades")["judge"]) == {"letter b"}


def test_a_changed_grade_is_appended_and_counts(run):
    run.grade(lambda row: "wrong", judge="j")
    run.grade(lambda row: "right" if row["response_id"] == "a" else "wrong", judge="j")
    assert len((run.folder / "labels" / "grades.jsonl").read_text().splitlines()) == 4
    assert run.labels("grades").set_index("response_id")["grade"].to_dict() == {
        "a": "right",
        "b": "wrong",
        "c": "wrong",
    }


def test_grades_are_those_of_one_judge_and_an_unknown_one_is_named(run):
    run.add_labels("grades", [{"response_id": "a", "judge": "rule", "grade": "correct"}])
    run.add_labels("grades", [{"response_id": "a", "judge": "model", "grade": "incorrect"}])
    assert run.grades("rule").to_dict() == {"a": "correct"}
    with pytest.raises(ae.RunError, match="no grades by 'nobody', but by model, rule"):
        run.grades("nobody")


def test_an_empty_file_of_labels_is_no_label(run):
    (run.folder / "labels").mkdir()
    (run.folder / "labels" / "grades.jsonl").touch()
    with pytest.raises(ae.RunError, match="no labels 'grades' yet"):
        run.labels("grades")
    assert len(run.grade(lambda row: "right", judge="j")) == 3
    assert run.grades("j").to_dict() == {"a": "right", "b": "right", "c": "right"}


@pytest.mark.parametrize("grade", [float("nan"), {1, 2}, b"bytes", np.int64(3)])
def test_a_grade_that_cannot_be_kept_is_refused_before_anything_is_written(run, grade):
    rows = [{"response_id": "a", "judge": "j", "grade": "right"}, {"response_id": "b", "judge": "j", "grade": grade}]
    with pytest.raises(ae.RunError, match="cannot be kept"):
        run.add_labels("grades", rows)
    assert not (run.folder / "labels" / "grades.jsonl").exists()


def test_a_flipped_bit_in_a_label_is_said_and_the_label_left_out(run):
    run.add_labels("grades", [{"response_id": name, "judge": "j", "grade": "right"} for name in "abc"])
    path = run.folder / "labels" / "grades.jsonl"
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.warns(UserWarning, match="half-written or damaged"):
            assert set(run.labels("grades")["grade"]) == {"right"}
        assert list(run.verify().damaged) == ["labels grades"]


def test_a_half_written_label_is_skipped_and_does_not_swallow_the_next(run):
    run.add_labels("grades", [{"response_id": "a", "judge": "j", "grade": "right"}])
    with (run.folder / "labels" / "grades.jsonl").open("a") as file:
        file.write('{"response_id": "b", "jud')
    run.add_labels("grades", [{"response_id": "c", "judge": "j", "grade": "wrong"}])
    with pytest.warns(UserWarning, match="line 2 of .* is half-written or damaged"):
        assert run.labels("grades")["response_id"].tolist() == ["a", "c"]


def test_line_separators_within_a_text_do_not_cut_it(tmp_path):
    odd = EXAMPLES.assign(prompt=["one\u2028two", "three\x85four", "five\nsix"])
    assert (
        Run.start(tmp_path / "run", identity=IDENTITY, examples=odd).examples["prompt"].tolist()
        == odd["prompt"].tolist()
    )


def test_a_torn_table_is_built_again(run):
    wanted = run.responses
    (run.folder / "responses.parquet").write_bytes(b"PAR1 torn")
    pd.testing.assert_frame_equal(run.responses, wanted, check_dtype=False)


def test_a_table_made_before_the_last_response_is_not_taken_for_whole(tmp_path):
    run = Run.start(tmp_path / "run", identity=IDENTITY, examples=EXAMPLES)
    run.save("a", trace_of("text a", 5))
    assert len(run.responses) == 1
    run.save("b", trace_of("text b", 6))
    assert len(run.responses) == 2


def test_analysis_of_a_run_needs_no_torch(run):
    code = (
        "import sys, attnent as ae\n"
        f"run = ae.Run({str(run.folder)!r})\n"
        "run.responses, run.tokens, run.stack('sinkless_entropy'), ae.lookback_ratio(run.trace('a'))\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_temporary_file_is_left_behind(run):
    run.update_manifest(status="complete")
    assert run.responses is not None
    assert not list(run.folder.rglob("*.tmp"))
    assert json.loads((run.folder / "run.json").read_text())["status"] == "complete"


def test_examples_that_are_no_table_are_refused(tmp_path):
    code = (  # in a process of its own, where types are not checked
        "import sys; from attnent.runs import Run\n"
        "try: Run.start(sys.argv[1], identity={}, examples=[{'id': 'a', 'prompt': 'p'}])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code, tmp_path / "run"], capture_output=True, text=True, check=True)
    assert said.stdout == "RunError the examples are a list; give a table (pandas) with id and prompt\n"
