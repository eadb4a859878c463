"""A model shared among processes gives the numbers of one that is whole."""

import subprocess
import sys

import numpy as np
import pytest
import ranks
from conftest import N_GROUPS, N_HEADS, byte_level_tokenizer, random_llama
from test_loading import refused
from transformers import OPTConfig, Qwen2Config, Qwen2ForCausalLM

from attnent.attention import CaptureError
from attnent.attention.ranks import Ranks, ranks_of
from attnent.model.loading import load_model
from attnent.runs import Run
from attnent.store.traces import load_trace

HEADS = {"num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 48, "intermediate_size": 32}
NUMBERS = ("n_keys", "logprob", "token_entropy")


def sliding():
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    about = random_llama(**HEADS).config.to_dict() | {"use_sliding_window": True, "sliding_window": 7}
    return Qwen2ForCausalLM(Qwen2Config(**{k: v for k, v in about.items() if k != "model_type"}, layer_types=kinds))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Models on disk, and what two ranks made of them; the Run was begun by one process."""
    folder = tmp_path_factory.mktemp("shared")
    for name, model in zip(ranks.MODELS, (random_llama(**HEADS, tie_word_embeddings=True), sliding()), strict=True):
        model.save_pretrained(folder / name)
        byte_level_tokenizer().save_pretrained(folder / name)
    begun = ranks.loaded(folder / "llama")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save", stops_at("c"))
        with pytest.raises(KeyboardInterrupt):
            ranks.recorded(*begun, folder / "run")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*torchrun, ranks.__file__, folder], timeout=100, check=True)
    return folder


def stops_at(last):
    save = Run.save

    def save_until(run, response_id, trace):
        if response_id == last:
            raise KeyboardInterrupt
        save(run, response_id, trace)

    return save_until


def assert_same(got, want):
    assert got.token_id.values.tolist() == want.token_id.values.tolist()
    assert {**got.attrs} == {**want.attrs}
    for name in (*want.data_vars, *NUMBERS):
        np.testing.assert_allclose(got[name], want[name], rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ranks.MODELS)
def test_the_traces_of_two_ranks_are_those_of_one_process(shared, name):
    want = ranks.traces_of(*ranks.loaded(shared / name))
    for rank in (0, 1):
        for trace_name, trace in want.items():
            assert_same(load_trace(shared / f"rank-{rank}" / name / f"{trace_name}.safetensors"), trace)


@pytest.mark.slow
@pytest.mark.parametrize("name", ranks.MODELS)
def test_what_two_ranks_capture_has_all_heads_in_their_order(shared, name):
    want = ranks.rows_of(*ranks.loaded(shared / name))
    for rank in (0, 1):
        with np.load(shared / f"rank-{rank}" / name / "rows.npz") as got:
            for row_name, values in want.items():
                np.testing.assert_allclose(got[row_name], values, rtol=1e-6, atol=1e-9, err_msg=row_name)


@pytest.mark.slow
def test_a_run_that_one_process_began_and_two_ranks_ended_is_that_of_one_process(shared, tmp_path):
    got, want = Run(shared / "run"), ranks.recorded(*ranks.loaded(shared / "llama"), tmp_path)
    [session] = got.manifest["sessions"]
    assert 0 < session["responses"] < len(ranks.EXAMPLES)
    assert got.manifest["identity"] == want.manifest["identity"]
    assert (got.manifest["ranks"], want.manifest["ranks"]) == (2, 1)
    for response_id, trace in want.traces():
        assert_same(got.trace(response_id), trace)
    for rank in (0, 1):
        assert (shared / f"rank-{rank}" / "run").read_text() == f"complete {len(ranks.EXAMPLES)}"


# ---- refused


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "small"
    random_llama().save_pretrained(path)
    byte_level_tokenizer().save_pretrained(path)
    return path


def test_a_plan_without_torchrun_says_how_to_start(model_folder):
    assert "torchrun --nproc-per-node 2 script.py" in refused(str(model_folder), tp_plan="auto")


@pytest.mark.parametrize("device_map", ["cpu", {"": "cpu"}])
def test_a_plan_beside_a_device_map_is_refused(model_folder, device_map):
    assert "give one of them" in refused(str(model_folder), tp_plan="auto", device_map=device_map)


def test_a_plan_by_another_name_is_refused(model_folder):
    assert "tp_plan is 'colwise'" in refused(str(model_folder), tp_plan="colwise")


@pytest.mark.parametrize(("n_ranks", "what"), [(4, f"{N_HEADS} heads"), (3, f"{N_GROUPS} groups of keys")])
def test_ranks_that_do_not_divide_the_heads_are_refused(model_folder, monkeypatch, n_ranks, what):
    monkeypatch.setenv("WORLD_SIZE", str(n_ranks))
    assert f"{n_ranks} processes cannot share {what}" in refused(str(model_folder), tp_plan="auto")


def test_a_family_without_a_plan_is_refused(tmp_path, monkeypatch):
    OPTConfig().save_pretrained(tmp_path)
    byte_level_tokenizer().save_pretrained(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "no plan" in refused(str(tmp_path), tp_plan="auto")


def test_heads_that_are_no_equal_part_are_refused():
    with pytest.raises(CaptureError, match="no equal part of 8"):
        Ranks(2, 0, 8).split(3)


def test_processes_that_do_not_find_one_another_are_told_from_a_folder_without_a_model(model_folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "")
    assert "found no way to one another" in refused(str(model_folder), tp_plan="auto")


def test_one_process_of_torchrun_has_all_of_the_model(model_folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    model, _ = load_model(str(model_folder), tp_plan="auto")
    assert ranks_of(model).n == 1
