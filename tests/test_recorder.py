"""Recording into a Run folder with the bundled model: resumed, killed, locked, refused."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import attnent as ae

N = 9
EXAMPLES = pd.DataFrame(
    {"id": [f"e{i}" for i in range(N)], "prompt": [f"Tell me about {'the ' * i}sea." for i in range(N)], "kind": "x"}
)
SETTINGS = {"task": "test", "max_new_tokens": 12, "batch_size": 3, "temperature": 0.9, "seed": 5, "progress": False}


@pytest.fixture(scope="module")
def tiny():
    return ae.load_model("tiny")


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A run that was never interrupted."""
    return ae.record(*tiny, EXAMPLES, out_dir=tmp_path_factory.mktemp("whole"), **SETTINGS)


def assert_same_numbers(run, other):
    assert run.recorded == other.recorded
    for response_id, trace in run.traces():
        assert trace.identical(other.trace(response_id)), response_id


def test_the_folder_is_named_by_task_model_and_parameters(whole):
    assert whole.folder.parts[-3:-1] == ("test", "tiny")
    assert whole.manifest["identity"]["seed"] == 5


def test_the_manifest_says_what_was_run_and_how_long_it_took(whole):
    assert whole.manifest["status"] == "complete"
    assert whole.manifest["counts"] == {"examples": N, "recorded": N, "damaged_and_replaced": 0}
    assert whole.manifest["identity"]["revision"]
    assert whole.manifest["identity"]["chat_template"]
    assert set(whole.manifest["versions"]) == {"attnent", "torch", "transformers"}
    assert whole.manifest["sessions"][0]["responses"] == N
    assert whole.manifest["n_parameters"] == 2_705_856


def test_what_is_recorded_already_is_not_done_again(tiny, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.folder.glob("traces/*")}
    ae.record(*tiny, EXAMPLES, folder=whole.folder, **SETTINGS)
    assert {path: path.stat().st_mtime_ns for path in whole.folder.glob("traces/*")} == before


def test_a_run_that_lost_responses_ends_with_the_same_numbers(tiny, whole, tmp_path):
    run = ae.record(*tiny, EXAMPLES, out_dir=tmp_path, **SETTINGS)
    for response_id in ("e0", "e4", "e5"):
        (run.folder / "traces" / f"{response_id}.safetensors").unlink()
    assert_same_numbers(ae.record(*tiny, EXAMPLES, out_dir=tmp_path, **SETTINGS), whole)


def test_a_damaged_trace_is_recorded_again_and_counted(tiny, whole, tmp_path):
    run = ae.record(*tiny, EXAMPLES, out_dir=tmp_path, **SETTINGS)
    path = run.folder / "traces" / "e3.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    again = ae.record(*tiny, EXAMPLES, out_dir=tmp_path, **SETTINGS)
    assert again.manifest["counts"]["damaged_and_replaced"] == 1
    assert_same_numbers(again, whole)


KILLED = """
import sys, pandas as pd, torch, attnent as ae
torch.set_num_threads(1)  # as the process that resumes: matrix products add up in another order on two
examples = pd.read_json(sys.argv[1], orient="records")
settings = {"task": "test", "max_new_tokens": 12, "batch_size": 3, "temperature": 0.9, "seed": 5, "progress": False}
ae.record(*ae.load_model("tiny"), examples, folder=sys.argv[2], **settings)
"""


def test_a_process_killed_while_recording_is_resumed_to_the_same_numbers(tiny, whole, tmp_path):
    (tmp_path / "examples.json").write_text(EXAMPLES.to_json(orient="records"))
    folder = tmp_path / "run"
    child = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / "examples.json", folder])
    deadline = time.monotonic() + 60
    while not list(folder.glob("traces/*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    left = ae.Run(folder).recorded
    assert 0 < len(left) < N, "the test must kill in the middle"
    assert json.loads((folder / "run.json").read_text())["status"] == "recording"
    assert_same_numbers(ae.record(*tiny, EXAMPLES, folder=folder, **SETTINGS), whole)


def test_other_parameters_for_the_same_folder_are_refused_and_nothing_is_lost(tiny, whole):
    before = sorted(whole.folder.glob("traces/*"))
    with pytest.raises(ae.RunError, match=r"other parameters \(temperature differ\)"):
        ae.record(*tiny, EXAMPLES, folder=whole.folder, **SETTINGS | {"temperature": 0.0})
    assert sorted(whole.folder.glob("traces/*")) == before


def test_other_parameters_get_a_folder_of_their_own(tiny, whole, tmp_path):
    run = ae.record(*tiny, EXAMPLES.head(2), out_dir=tmp_path, **SETTINGS)
    assert run.folder.name != whole.folder.name


def test_every_prompt_is_checked_before_any_is_run(tiny, tmp_path):
    examples = EXAMPLES.assign(prompt=[*EXAMPLES["prompt"][:-1], " "])
    with pytest.raises(ae.PromptError, match="prompt 8 is empty"):
        ae.record(*tiny, examples, out_dir=tmp_path, **SETTINGS)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_prompts_may_be_lists_of_messages(tiny, tmp_path):
    turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "I don't know."}]
    examples = pd.DataFrame({"id": ["a"], "prompt": [[*turns, {"role": "user", "content": "Tell me about the sea."}]]})
    run = ae.record(*tiny, examples, out_dir=tmp_path, **SETTINGS)
    assert json.loads(run.trace("a").attrs["prompt"]) == examples["prompt"][0]
    assert json.loads(run.responses["prompt"][0]) == examples["prompt"][0]
    assert ae.record(*tiny, examples, out_dir=tmp_path, **SETTINGS).folder == run.folder


def test_a_model_with_other_weights_gets_a_folder_of_its_own(tiny, tmp_path):
    folders = []
    for change in (0.0, 0.01):
        model, tokenizer = ae.load_model("tiny")
        model.get_input_embeddings().weight.data[0, 0] += change
        model.save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        local = ae.load_model(str(tmp_path / "model"))
        folders.append(ae.record(*local, EXAMPLES.head(1), out_dir=tmp_path / "runs", **SETTINGS).folder)
    assert folders[0] != folders[1]


def test_capture_stays_a_function_after_everything_else_was_used(tiny):
    model, tokenizer = tiny
    ae.generate(model, tokenizer, ["Hello."], max_new_tokens=2, progress=False)
    for _ in range(2):
        with ae.capture(model) as recording:
            model(**tokenizer("Hello.", return_tensors="pt"))
    assert recording.stats[0].entropy.shape == (1, 6, 1)


def test_the_recorded_numbers_are_those_of_replay(tiny, whole):
    trace = whole.trace("e7")
    again = ae.replay(*tiny, EXAMPLES["prompt"][7], trace.token_id.values)
    for measure in trace.data_vars:
        np.testing.assert_allclose(again[measure].values, trace[measure].values, atol=1e-4)


# ---- responses that were written elsewhere

GIVEN = EXAMPLES.assign(text=[f"A tale of {'the ' * i}sea." for i in range(N)])
READING = {"task": "test", "batch_size": 3, "progress": False}


@pytest.fixture(scope="module")
def read(tiny, tmp_path_factory):
    return ae.record(*tiny, GIVEN, reads="text", out_dir=tmp_path_factory.mktemp("read"), **READING)


def test_texts_given_are_read_as_replay_reads_them(tiny, read):
    assert read.responses["response"].tolist() == GIVEN["text"].tolist()
    trace, again = read.trace("e7"), ae.replay(*tiny, GIVEN["prompt"][7], GIVEN["text"][7])
    np.testing.assert_allclose(trace.entropy, again.entropy, atol=1e-4)


def test_the_identity_of_what_was_read_names_the_column_and_no_sampling(read):
    identity = read.manifest["identity"]
    assert identity["reads"] == "text"
    assert not {"temperature", "seed", "max_new_tokens"} & set(identity)


def test_a_reading_that_lost_responses_ends_with_the_same_numbers(tiny, read, tmp_path):
    again = ae.record(*tiny, GIVEN, reads="text", folder=tmp_path / "run", **READING)
    for name in ("e1", "e5"):
        (again.folder / "traces" / f"{name}.safetensors").unlink()
    assert_same_numbers(ae.record(*tiny, GIVEN, reads="text", folder=tmp_path / "run", **READING), read)


def test_a_column_to_read_that_is_not_there_is_an_error_that_names_those_that_are(tiny, tmp_path):
    with pytest.raises(ae.RunError, match="no column 'texts' to read; they have id, prompt, kind, text"):
        ae.record(*tiny, GIVEN, reads="texts", out_dir=tmp_path, **READING)
