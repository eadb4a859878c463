"""A model whose layers lie on several devices, or on disk, gives the numbers of one that is whole."""

import gc

import accelerate
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import CONTEXT, N_GROUPS, N_HEADS, N_LAYERS, byte_level_tokenizer, random_llama
from test_generation import PROMPTS
from torch.testing._internal.two_tensor import TwoTensor
from transformers import MixtralConfig, MixtralForCausalLM

from attnent.attention.capture import capture
from attnent.model.generation import generate
from attnent.model.loading import checksum_of, load_model
from attnent.model.placing import device_of
from attnent.model.recorder import record
from attnent.model.replaying import replay
from attnent.model.streaming import stream, whole

PARTS = ("model.embed_tokens", *(f"model.layers.{n}" for n in range(N_LAYERS)), "model.norm", "model.rotary_emb")
EVERYTHING = {"columns": True, "top_keys": 4, "progress": False}


def devices(*on_disk):
    return {part: "disk" if part in on_disk else "cpu" for part in (*PARTS, "lm_head")}


SOME_LAYERS = devices("model.layers.1", "model.layers.2")
PLACES = {"layers": SOME_LAYERS, "embedding": devices("model.embed_tokens", "lm_head"), "all": {"": "disk"}}


def saved(model, path):
    model.save_pretrained(path)
    byte_level_tokenizer().save_pretrained(path)
    return str(path)


def mixtral():
    """Its experts are put together when they are loaded."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "head_dim": 8, "num_local_experts": 4, "vocab_size": 263}
    heads = {"num_attention_heads": N_HEADS, "num_key_value_heads": N_GROUPS, "num_hidden_layers": N_LAYERS}
    ids = {"bos_token_id": None, "eos_token_id": 262, "pad_token_id": 261, "max_position_embeddings": CONTEXT}
    return MixtralForCausalLM(MixtralConfig(**sizes, **heads, **ids, initializer_range=0.3)).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that has its embedding in two places."""
    return saved(random_llama(tie_word_embeddings=True), tmp_path_factory.mktemp("models") / "small")


def assert_same(got, want):
    assert got.attrs == want.attrs
    assert got.token_id.values.tolist() == want.token_id.values.tolist()
    for name in want.data_vars:
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)


@pytest.mark.parametrize("place", PLACES)
def test_the_traces_of_an_offloaded_model_are_those_of_the_whole_one(folder, place):
    model, tokenizer = load_model(folder)
    offloaded, _ = load_model(folder, device_map=PLACES[place])
    given = {"max_new_tokens": 35, "batch_size": 4, "temperature": 1.0} | EVERYTHING
    for got, want in zip(*(generate(one, tokenizer, PROMPTS, **given) for one in (offloaded, model)), strict=True):
        assert_same(got, want)
    texts = ["the than"] * len(PROMPTS)
    for got, want in zip(
        *(replay(one, tokenizer, PROMPTS, texts, **EVERYTHING) for one in (offloaded, model)), strict=True
    ):
        assert_same(got, want)


def test_an_offloaded_model_is_streamed_and_captured_as_the_whole_one(folder):
    model, tokenizer = load_model(folder)
    offloaded, _ = load_model(folder, device_map=PLACES["all"])
    streamed = (
        whole(tokenizer, list(stream(one, tokenizer, "an ant", max_new_tokens=5))) for one in (offloaded, model)
    )
    assert_same(*streamed)
    stats = []
    for one in (offloaded, model):
        with capture(one, prompt_rows=True) as recording, torch.inference_mode():
            one(torch.arange(9)[None])
        stats.append(recording.stats)
    for layer in range(N_LAYERS):
        assert torch.equal(stats[0][layer].entropy, stats[1][layer].entropy)


def test_a_model_whose_weights_are_brought_from_memory_is_that_of_the_whole_one(folder):
    model, tokenizer = load_model(folder)
    brought, _ = load_model(folder)
    accelerate.cpu_offload(brought, execution_device=torch.device("cpu"))
    assert brought.device.type == "meta"
    assert checksum_of(brought) == checksum_of(model)
    given = {"max_new_tokens": 5} | EVERYTHING
    for got, want in zip(*(generate(one, tokenizer, PROMPTS, **given) for one in (brought, model)), strict=True):
        assert_same(got, want)


@pytest.mark.parametrize("place", PLACES)
def test_the_fingerprint_of_an_offloaded_model_is_that_of_its_weights(folder, tmp_path, place):
    model, _ = load_model(folder)
    assert checksum_of(load_model(folder, device_map=PLACES[place])[0]) == checksum_of(model)
    model.model.layers[1].self_attn.q_proj.weight.data[0, 0] += 1
    other, _ = load_model(saved(model, tmp_path), device_map=PLACES[place])
    assert checksum_of(other) == checksum_of(model)


def test_the_fingerprint_follows_what_stands_for_packed_weights():
    model, other = random_llama(), random_llama()
    for one, scale in ((model, 2.0), (other, 3.0)):
        weight = one.lm_head.weight.data
        one.lm_head.weight = torch.nn.Parameter(TwoTensor(weight, torch.full_like(weight, scale)))
    assert checksum_of(model) != checksum_of(other)


def test_a_run_of_an_offloaded_model_is_that_of_the_whole_one(folder, tmp_path):
    examples = pd.DataFrame({"id": ["a", "b"], "prompt": ["the thin ant", "in"]})
    given = {"task": "ants", "max_new_tokens": 3, "progress": False}
    model, tokenizer = load_model(folder)
    run = record(model, tokenizer, examples, out_dir=tmp_path, **given)
    offloaded, _ = load_model(folder, device_map=PLACES["all"])
    again = record(offloaded, tokenizer, examples, out_dir=tmp_path, **given)
    assert again.folder == run.folder
    elsewhere = record(offloaded, tokenizer, examples, out_dir=tmp_path / "elsewhere", **given)
    about = elsewhere.manifest
    assert (about["identity"], about["device"]) == (run.manifest["identity"], "cpu")
    assert about["n_parameters"] == run.manifest["n_parameters"] == model.num_parameters()


def test_inputs_go_where_an_offloaded_embedding_is_brought(folder):
    model, _ = load_model(folder, device_map=PLACES["embedding"])
    assert model.device.type == "meta"
    assert device_of(model).type == "cpu"


def test_weights_that_are_written_anew_lie_in_a_folder_that_goes_with_the_model(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    folder = saved(mixtral(), tmp_path / "model")
    model, tokenizer = load_model(folder)
    offloaded, _ = load_model(folder, device_map=SOME_LAYERS)
    [place] = (tmp_path / "weights").iterdir()
    assert any(place.iterdir())
    given = {"max_new_tokens": 5} | EVERYTHING
    for got, want in zip(*(generate(one, tokenizer, PROMPTS, **given) for one in (offloaded, model)), strict=True):
        assert_same(got, want)
    del offloaded
    gc.collect()
    assert not place.exists()


def test_a_model_that_cannot_be_loaded_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    folder = saved(random_llama(), tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(RuntimeError, match="does not hold a model"):
        load_model(folder, device_map={"": "disk"})
    assert list((tmp_path / "weights").iterdir()) == []
