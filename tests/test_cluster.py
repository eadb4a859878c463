"""One recording shared among Ray workers: the numbers of one process, whatever dies on the way."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Generator

import pandas as pd
import psutil
import pytest
from test_recorder import EXAMPLES, GIVEN, SETTINGS, N, assert_same_numbers
from test_sweep import PARAMETERS, TOLD, words, write

import attnent as ae
from attnent.cluster import sharing
from attnent.cluster.sharing import Worker, how_to_load, shared
from attnent.cluster.workers import Workers, workers_of
from attnent.model.replaying import reading
from attnent.study.command import main
from attnent.study.sweep.cluster import workers_told

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own processes and sockets


@pytest.fixture(scope="module")
def tiny():
    return ae.load_model("tiny")


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A run of one process."""
    return ae.record(*tiny, EXAMPLES, out_dir=tmp_path_factory.mktemp("whole"), **SETTINGS)


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, which recordings and sweeps join."""
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield ray
    ray.shutdown()


# ---- what is asked for


@pytest.mark.parametrize(
    ("asked", "on_gpu", "found"),
    [(1, False, Workers(1)), (3, False, Workers(3)), (3, True, Workers(3, gpus=1)), (Workers(2, 0.5), True, ...)],
)
def test_a_number_of_workers_gives_each_a_gpu_where_the_model_is_on_one(asked, on_gpu, found):
    assert workers_of(asked, on_gpu=on_gpu) == (asked if found is ... else found)


@pytest.mark.parametrize(
    ("asked", "on_gpu", "complaint"),
    [
        (0, False, "give 1 worker or more"),
        (True, False, "must be a number of workers or ae.Workers"),
        (2.0, False, "must be a number of workers or ae.Workers"),
        (Workers(2, gpus=-1), False, "no fewer than 0 GPUs"),
        (Workers(2), True, "give ae.Workers"),
    ],
)
def test_workers_that_cannot_be_are_refused(asked, on_gpu, complaint):
    with pytest.raises(ValueError, match=complaint):
        workers_of(asked, on_gpu=on_gpu)


def test_a_model_that_load_model_did_not_load_cannot_be_loaded_by_workers(llama, tokenizer, tmp_path):
    with pytest.raises(ae.RunError, match=r"give one that ae.load_model loaded, or workers=1"):
        ae.record(llama, tokenizer, EXAMPLES, out_dir=tmp_path, **SETTINGS, workers=2)


def test_weights_that_are_not_those_of_the_workers_are_refused():
    model, tokenizer = ae.load_model("tiny")
    model.get_input_embeddings().weight.data[0, 0] += 1
    with pytest.raises(ae.RunError, match="a worker's weights of tiny are not those of this process"):
        Worker().load(how_to_load(model, Workers(2)), tokenizer)


def test_a_worker_is_told_the_commit_of_weights_from_the_hub_and_the_whole_path_of_a_folder(tmp_path, monkeypatch):
    model, tokenizer = ae.load_model("tiny")
    for one in (model, tokenizer):
        one.save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    local, _ = ae.load_model("model", dtype="bfloat16", device_map="cpu")
    told = how_to_load(local, Workers(2))
    assert told["name"] == "model"
    about = {"dtype": "bfloat16", "revision": None, "device_map": "cpu", "tp_plan": None}
    assert told["loaded"] == {"name": str(tmp_path / "model"), **about}
    with pytest.raises(ae.RunError, match="give device_map='cpu'"):
        how_to_load(ae.load_model("model", device_map="meta")[0], Workers(2, gpus=1))
    local.config._commit_hash = "abc"
    assert how_to_load(local, Workers(2, gpus=1))["loaded"] == {
        **told["loaded"],
        "revision": "abc",
        "device_map": "auto",
    }


def test_a_worker_reads_given_texts_as_one_process_does(tiny):
    prompts, texts = GIVEN["prompt"].tolist(), GIVEN["text"].tolist()
    worker, batch = Worker(), [7, 2, 4]
    worker.load(how_to_load(tiny[0], Workers(2)), tiny[1])
    found = worker.traces_of(reading, [[prompts[index] for index in batch], [texts[index] for index in batch]])
    for trace, one in zip(found, reading(*tiny, prompts, texts).traces_of(batch), strict=True):
        assert trace.identical(one)


def test_a_cluster_that_does_not_answer_is_said_at_once(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(ae.RunError, match=r"no Ray cluster answers at 127.0.0.1:9; start it, or see to RAY_ADDRESS"):
        ae.record(*tiny, EXAMPLES, out_dir=tmp_path, **SETTINGS, workers=2)


# ---- what comes of it


def at_work() -> list[psutil.Process]:
    """The workers that make traces, on this machine."""
    return [one for one in psutil.Process().children(recursive=True) if one.name() == "ray::Worker.traces_of"]


@contextlib.contextmanager
def meanwhile(act: Callable[[], object]) -> Generator[None]:
    """Try over and over beside what runs here, until it acts; that it did is asserted."""
    over, acted = threading.Event(), []

    def go_on() -> None:
        while not acted and not over.wait(0.02):
            acted.extend([True] if act() else [])

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert acted


@pytest.mark.slow
def test_two_workers_give_the_numbers_of_one_process_though_one_is_killed(tiny, whole, tmp_path, cluster):
    def kill_one() -> list[None]:
        return [os.kill(process.pid, signal.SIGKILL) for process in at_work()[:1]]

    with meanwhile(kill_one):
        run = ae.record(*tiny, EXAMPLES, out_dir=tmp_path, **SETTINGS, workers=2)
    assert_same_numbers(run, whole)
    pd.testing.assert_frame_equal(run.tokens, whole.tokens)
    pd.testing.assert_frame_equal(run.responses, whole.responses)
    assert run.folder.name == whole.folder.name
    assert run.manifest["sessions"][0]["workers"] == 2
    assert not at_work()


@pytest.mark.slow
def test_a_batch_that_ends_its_worker_again_and_again_is_an_error_that_names_it(tiny, cluster, monkeypatch):
    monkeypatch.setattr(sharing, "MOST_DEATHS", 2)  # each takes a while

    def deadly(model, tokenizer, items):
        os.kill(os.getpid(), signal.SIGKILL)

    results = shared(*tiny, deadly, [list("abcd")], [[3, 1]], Workers(1))
    with pytest.raises(ae.RunError, match="2 workers died at the examples number 3, 1; give each more memory"):
        next(results)


RECORDS = f"""
if x == 6:
    raise ValueError("x is six")
import attnent as ae, pandas as pd
settings = {SETTINGS} | {{"seed": x, "batch_size": 5, "folder": f"{{out_dir}}/recorded{{x}}", "workers": workers}}
nothing = ae.load_model("tiny", device_map="meta")
ae.record(*nothing, pd.DataFrame({EXAMPLES.to_dict("list")}).head(5), **settings)"""


@pytest.mark.slow
def test_options_that_ray_does_not_know_are_refused(tmp_path, cluster, capsys):
    write(tmp_path / "notebooks" / "07_any.ipynb", PARAMETERS, TOLD)
    (tmp_path / "sweep.yaml").write_text("executor: ray\nray: {num_gpu: 1}")
    assert main(words(tmp_path, str(tmp_path / "sweep.yaml"))) == 2
    assert "Invalid option keyword num_gpu for remote functions" in capsys.readouterr().err


def test_a_run_whose_notebook_shares_its_recording_by_default_takes_no_cpu_from_its_workers(tmp_path):
    notebook = write(tmp_path / "notebooks" / "07_any.ipynb", f"workers: int = 2\n{PARAMETERS}")
    assert workers_told({"notebook": str(notebook), "values": {}}) == 2
    assert workers_told({"notebook": str(notebook), "values": {"workers": 1}}) == 1


@pytest.mark.slow
def test_runs_of_a_sweep_and_the_workers_of_their_recordings_share_one_cluster(tiny, tmp_path, cluster, capsys):
    write(tmp_path / "notebooks" / "07_records.ipynb", f"workers: int = 2\n{PARAMETERS}", TOLD, RECORDS)
    assert main(words(tmp_path, "07", "-p", "x=5,6", "--executor", "ray")) == 1
    said = capsys.readouterr().out
    assert "[1/2] 07_records tiny x=5 is submitted" in said
    assert "x=5 ok" in said
    assert "): x is 5." in said
    assert "): ValueError: x is six" in said
    one = ae.record(*tiny, EXAMPLES.head(5), folder=tmp_path / "one", **SETTINGS | {"batch_size": 5})
    assert_same_numbers(ae.Run(tmp_path / "runs" / "recorded5"), one)


@pytest.mark.slow
def test_where_the_head_is_killed_the_same_call_goes_on_with_a_cluster_of_its_own(tiny, tmp_path, cluster):
    """The last one, since it leaves no cluster."""
    settings = SETTINGS | {"batch_size": 1}

    def kill_head() -> list[None]:
        if not list(tmp_path.glob("run/traces/*.safetensors")):
            return []
        family = psutil.Process().children(recursive=True)
        return [process.kill() for process in family if process.name() in ("gcs_server", "raylet")]

    with meanwhile(kill_head), pytest.raises(ae.RunError, match="the Ray cluster is gone"):
        ae.record(*tiny, EXAMPLES, folder=tmp_path / "run", **settings, workers=2)
    cluster.shutdown()
    left = ae.Run(tmp_path / "run").verify()
    assert not left.damaged
    assert 0 < len(left.whole) < N
    before = psutil.Process().children(recursive=True)
    run = ae.record(*tiny, EXAMPLES, folder=tmp_path / "run", **settings, workers=2)
    assert_same_numbers(run, ae.record(*tiny, EXAMPLES, folder=tmp_path / "one", **settings))
    assert psutil.Process().children(recursive=True) == before
