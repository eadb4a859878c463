"""Models whose weights are quantised: watched as any other, and named by what they are."""

import warnings

import numpy as np
import oracle
import pytest
import torch
from conftest import byte_level_tokenizer, random_llama
from test_loading import refused
from test_placing import saved
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from attnent.attention.capture import capture
from attnent.model.generation import generate
from attnent.model.loading import checksum_of, load_model, revision_of
from attnent.model.quantised import n_parameters
from attnent.model.replaying import replay

SIZES = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "head_dim": 16,
    "tie_word_embeddings": True,
}
METHODS = {"8 bit": "bitsandbytes", "4 bit": "bitsandbytes", "packed": "compressed-tensors"}
PROMPT, RESPONSE = "the thin ant", "an inn in the"


def with_bitsandbytes(plain, path, config):
    model = AutoModelForCausalLM.from_pretrained(plain, quantization_config=config, device_map="cpu")
    model.save_pretrained(path)


def with_compressed_tensors(plain, path):
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        apply_quantization_config,
    )

    model = AutoModelForCausalLM.from_pretrained(plain)
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(num_bits=8, strategy="channel"))
    about = {"quantization_status": "frozen", "format": "pack-quantized", "ignore": ["lm_head"]}
    apply_quantization_config(model, QuantizationConfig(config_groups={"all": scheme}, **about))
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            module.weight_scale.data = module.weight.abs().amax(dim=1, keepdim=True) / 127
    compressor = ModelCompressor.from_pretrained_model(model, quantization_format="pack-quantized")
    compressor.compress_model(model)
    model.save_pretrained(path)
    compressor.update_config(path)


@pytest.fixture(scope="module", params=METHODS)
def quantised(request, tmp_path_factory):
    """A folder, what it held before it was quantised, the package that did it, and how."""
    path = tmp_path_factory.mktemp("models")
    plain = random_llama(**SIZES)
    saved(plain, path / "plain")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that quantise
        if request.param == "packed":
            with_compressed_tensors(path / "plain", path / "small")
        else:
            bits = {"8 bit": {"load_in_8bit": True}, "4 bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}}
            with_bitsandbytes(path / "plain", path / "small", BitsAndBytesConfig(**bits[request.param]))
    byte_level_tokenizer().save_pretrained(path / "small")
    return str(path / "small"), plain, METHODS[request.param], request.param


@torch.inference_mode()
def test_a_quantised_model_is_captured_as_its_eager_weights_say(quantised):
    model, tokenizer = load_model(quantised[0])
    ids = torch.tensor([tokenizer(PROMPT + RESPONSE).input_ids])
    plain = model(ids).logits
    with capture(model, prompt_rows=True) as recording:
        watched = model(ids).logits
    assert torch.equal(watched, plain)
    model.set_attn_implementation("eager")
    visible = oracle.visible_keys(torch.ones_like(ids))
    for layer, weights in enumerate(model(ids, output_attentions=True).attentions):
        oracle.assert_measures(recording.stats[layer], oracle.measures(weights.numpy(), visible), atol=2e-5)


@torch.inference_mode()
def test_what_a_quantised_model_writes_has_the_measures_of_its_eager_weights(quantised):
    model, tokenizer = load_model(quantised[0])
    [written] = generate(model, tokenizer, [PROMPT], max_new_tokens=35, progress=False)
    model.set_attn_implementation("eager")
    ids = torch.tensor([tokenizer(PROMPT).input_ids])
    how = {"do_sample": False, "output_attentions": True, "return_dict_in_generate": True}
    by_eager = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=35, **how)
    assert by_eager.sequences[0, ids.shape[1] :].tolist() == written.token_id.values.tolist()
    for step, layers in enumerate(by_eager.attentions):
        for layer, weights in enumerate(layers):
            entropy = torch.special.entr(weights[0, :, -1].double()).sum(-1)
            np.testing.assert_allclose(written.entropy[layer, :, step], entropy, atol=2e-5)


@pytest.mark.parametrize(
    "quantised", ["4 bit", "packed"], indirect=True
)  # of 8 bit, outliers are those of a whole pass
def test_a_quantised_model_replays_what_it_generated(quantised):
    model, tokenizer = load_model(quantised[0])
    [written] = generate(model, tokenizer, [PROMPT], max_new_tokens=35, temperature=1.0, progress=False)
    read = replay(model, tokenizer, PROMPT, written.token_id.values)
    for measure in written.data_vars:
        np.testing.assert_allclose(read[measure], written[measure], atol=1e-4, err_msg=measure)


def test_a_trace_and_a_fingerprint_say_that_the_weights_are_quantised(quantised):
    folder, plain, method, _ = quantised
    model, tokenizer = load_model(folder)
    before = checksum_of(model)
    [trace] = generate(model, tokenizer, [PROMPT], max_new_tokens=3, progress=False)
    assert trace.attrs["dtype"] == f"float32, weights by {method}"
    assert trace.attrs["model"] == folder
    assert trace.attrs["revision"] == before == checksum_of(model) == revision_of(load_model(folder)[0])
    assert before != checksum_of(plain)


def test_packed_weights_count_as_the_numbers_they_stand_for(quantised):
    folder, plain, *_ = quantised
    assert n_parameters(load_model(folder)[0]) == plain.num_parameters()


def test_a_package_that_is_missing_is_named(quantised, monkeypatch):
    folder, _, package, name = quantised
    files = {"8 bit": "bnb_8bit", "4 bit": "bnb_4bit", "packed": "compressed_tensors"}
    known = f"is_{package.replace('-', '_')}_available"
    monkeypatch.setattr(f"transformers.quantizers.quantizer_{files[name]}.{known}", lambda: False)
    assert "pip install" in refused(folder)
    assert package in refused(folder)


def test_quantised_weights_are_not_shared_among_processes(quantised, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "cannot be shared" in refused(quantised[0], tp_plan="auto")
