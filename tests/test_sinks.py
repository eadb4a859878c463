"""Learned sinks, to which a share of each softmax goes, capped scores, and whose attention gives the output then."""

import families
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import left_padded, random_llama
from families import FAMILIES
from safetensors import safe_open

import attnent as ae
from attnent.attention import rows
from attnent.attention.capture import capture
from attnent.model.streaming import stream
from attnent.store.traces import load_measure, load_trace, save_trace
from attnent.trace import joined, part_of

PROMPTS = ["another thing in", "é"]
WRITING = {"max_new_tokens": 7, "progress": False}


@pytest.fixture(scope="module")
def model():
    return FAMILIES["gpt_oss"].make()


@pytest.fixture(scope="module")
def traces(model, tokenizer):
    return ae.generate(model, tokenizer, PROMPTS, **WRITING)


def test_a_trace_has_the_share_of_the_learned_sinks(traces):
    for trace in traces:
        assert trace.sink_share.dims == trace.entropy.dims
        assert trace.sink_share.attrs == {"long_name": "share of the softmax that goes to a learned sink", "units": "1"}
        assert ((trace.sink_share > 0) & (trace.sink_share < 1)).all()


def test_the_weights_of_the_model_are_the_rest_of_it_times_what_is_recorded(model):
    inputs = left_padded([13, 7, 2])
    with capture(model) as recording, torch.inference_mode():
        model(**inputs)
    for layer, weights in enumerate(families.eager_weights(model, **inputs)):
        stats = recording.stats[layer]
        largest = (1 - stats.sink_share) * stats.max_weight
        np.testing.assert_allclose(largest[..., 0], weights[:, :, -1].amax(-1), atol=1e-5)


def test_layers_without_a_sink_have_no_share_of_it(tokenizer):
    for trace in ae.generate(FAMILIES["mimo_v2_flash"].make(), tokenizer, PROMPTS, **WRITING):
        assert trace.sink_share.isnull().all(("head", "step")).values.tolist() == [False, True, False]
        assert trace.sink_share.sel(layer=[0, 2]).notnull().all()


def test_a_trace_of_a_model_without_sinks_does_not_speak_of_them(tokenizer, tmp_path):
    (trace,) = ae.generate(random_llama(), tokenizer, PROMPTS[:1], **WRITING)
    save_trace(trace, tmp_path / "it.safetensors")
    with safe_open(tmp_path / "it.safetensors", framework="numpy") as file:
        assert "sink_share" not in {*file.keys(), *trace.variables}


def test_the_share_is_kept_in_a_file(traces, tmp_path):
    path = tmp_path / "it.safetensors"
    save_trace(traces[0], path)
    assert load_trace(path).identical(traces[0])
    alone = load_measure(path, "sink_share")
    np.testing.assert_array_equal(alone, traces[0].sink_share)
    assert alone.attrs == traces[0].sink_share.attrs


def test_the_share_stays_with_some_measures_and_some_layers(traces):
    part = part_of(traces[0], ["entropy"], [1])
    assert {*part.data_vars} == {"entropy", "sink_share"}
    np.testing.assert_array_equal(part.sink_share, traces[0].sink_share[1:2])


def test_a_stream_has_the_share_of_each_step(model, tokenizer, traces):
    steps = list(stream(model, tokenizer, PROMPTS[0], max_new_tokens=7))
    np.testing.assert_allclose(joined(steps).sink_share, traces[0].sink_share, atol=1e-5)


def test_a_run_stacks_the_share_of_all_responses(model, tokenizer, traces, tmp_path):
    examples = pd.DataFrame({"id": ["a", "b"], "prompt": PROMPTS})
    given = {"task": "t", "folder": tmp_path, "measures": ["entropy"], **WRITING}
    stacked = ae.record(model, tokenizer, examples, **given).stack("sink_share")
    for got, trace in zip(stacked, traces, strict=True):
        np.testing.assert_allclose(got[..., : trace.sizes["step"]], trace.sink_share, atol=1e-5)


@pytest.mark.parametrize("name", ["gemma2", "gpt_oss", "bloom"])
def test_in_blocks_of_rows_heads_and_items_the_numbers_are_the_same(name, monkeypatch):
    model, inputs = FAMILIES[name].make(), left_padded([13, 7, 2])
    with capture(model, prompt_rows=True) as recording, torch.inference_mode():
        model(**inputs)
        monkeypatch.setattr(rows, "SCORES_AT_ONCE", 40)
        model(**inputs)
    whole, in_blocks = recording.passes
    for layer, stats in whole.items():
        for name, numbers in stats._asdict().items():
            if isinstance(numbers, torch.Tensor):
                np.testing.assert_allclose(getattr(in_blocks[layer], name), numbers, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", ["gemma2", "gpt_oss", "bloom", "gpt_neo"])
def test_the_kernel_of_a_gpu_is_not_asked_what_it_cannot_do(name, monkeypatch, tokenizer):
    monkeypatch.setattr(rows, "KERNEL_DEVICES", ("cpu",))
    monkeypatch.setattr(rows, "_by_kernel", lambda asked: pytest.fail("the kernel knows no cap, sink or score"))
    ae.generate(FAMILIES[name].make(), tokenizer, PROMPTS, **WRITING)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["llama", "qwen2, windows", "gpt2", "falcon, groups", "mixtral"])
def test_a_model_loaded_with_eager_attention_keeps_its_logits(name):
    model = FAMILIES[name].make()
    model.config._attn_implementation = "eager"
    for lengths in ([13, 13], [13, 7]):
        plain = model(**left_padded(lengths)).logits
        with capture(model):
            assert torch.equal(model(**left_padded(lengths)).logits, plain)
        assert model.config._attn_implementation == "eager"
