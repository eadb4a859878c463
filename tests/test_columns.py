"""What keys receive, against explicit weights in float64; and a Trace without it is as if nobody had asked."""

import functools
import shutil

import families
import numpy as np
import oracle
import pandas as pd
import pytest
import torch
from conftest import N_HEADS, left_padded, random_llama
from families import FAMILIES, OF_EACH_KIND, WINDOW
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from test_mllama import CROSS, mllama, with_images
from test_trace import made
from transformers import GenerationConfig

import attnent as ae
from attnent.attention import capture as capturing
from attnent.attention import rows
from attnent.attention.capture import Watch, watching
from attnent.attention.columns import Columns
from attnent.model.assembly import _columns
from attnent.store.traces import save_trace
from attnent.trace import KEY_MEASURES, TraceError

PROMPTS = ["another thing in", "é", "an in the", "thin antenna within the tin", "Z"]
ASKED = ["Tell me about the sea.", "What is 3 + 4?", "Write a poem about a river and a dog."]
generate = functools.partial(ae.generate, max_new_tokens=11, columns=True, progress=False)


@pytest.fixture(scope="module")
def model():
    return random_llama()


@pytest.fixture(scope="module")
def bundled():
    return ae.load_model("tiny")


@pytest.fixture(scope="module")
def asked(bundled):
    """Unlike prompts in one batch, of which two end before the third."""
    traces = ae.generate(*bundled, ASKED, max_new_tokens=40, columns=True, progress=False)
    assert len({trace.sizes["step"] for trace in traces}) == len({trace.attrs["n_prompt"] for trace in traces}) == 3
    return traces


def positions_of(trace, tokenizer) -> torch.Tensor:
    """(1, key): the prompt, and all of the response but its last token."""
    prompt = ae.model.prompts.encode_prompt(tokenizer, trace.attrs["prompt"])
    return torch.tensor([[*prompt, *trace.token_id.values.tolist()[:-1]]])


def eager_weights(model, ids: torch.Tensor) -> list[np.ndarray]:
    """Of each layer, as shares of what is on keys: nothing of a learned sink."""
    weights = families.eager_weights(model, input_ids=ids, attention_mask=torch.ones_like(ids))
    return [(of_layer[0] / of_layer[0].sum(-1, keepdim=True)).numpy() for of_layer in weights]


def assert_columns(trace, weights, *, atol=1e-5, limits=None):
    """Of every layer, head and key; `limits` are each layer's window or chunk."""
    n_keys = trace.attrs["n_prompt"] + trace.sizes["step"] - 1
    assert trace.received_mass.dims == trace.own_mass.dims == ("layer", "head", "key")
    assert trace.key.values.tolist() == list(range(n_keys))
    assert len(weights) == trace.sizes["layer"]
    for layer, (of_layer, limit) in enumerate(zip(weights, limits or [{}] * len(weights), strict=True)):
        (visible,) = oracle.visible_keys(np.ones((1, n_keys)), **limit)
        for name, wanted in oracle.columns(of_layer, visible).items():
            np.testing.assert_allclose(trace[name][layer], wanted, atol=atol, err_msg=f"{name} of layer {layer}")


# ---- against explicit weights


@torch.inference_mode()
def test_what_keys_receive_while_a_padded_batch_is_written_is_that_of_the_oracle(bundled, asked):
    model, tokenizer = bundled
    for trace in asked:
        ids = positions_of(trace, tokenizer)
        places = torch.arange(ids.shape[1]).unsqueeze(0)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "position_ids": places}
        weights = oracle.llama_weights(model, inputs, n_heads=6, n_groups=2)
        assert_columns(trace, [of_layer[0] for of_layer in weights])


@pytest.mark.parametrize("batch_size", [1, 3])
def test_what_keys_receive_in_a_replay_is_what_they_received_when_it_was_written(bundled, asked, batch_size):
    written = [trace.token_id.values for trace in asked]
    read = ae.replay(*bundled, ASKED, written, columns=True, batch_size=batch_size, progress=False)
    for got, want in zip(read, asked, strict=True):
        for name in KEY_MEASURES:
            np.testing.assert_allclose(got[name], want[name], atol=1e-5, err_msg=name)


def test_what_keys_receive_in_one_replay_in_blocks_of_rows_is_that_of_the_oracle(model, tokenizer, monkeypatch):
    monkeypatch.setattr(rows, "SCORES_AT_ONCE", N_HEADS * 30 * 4)
    trace = ae.replay(model, tokenizer, PROMPTS[3], "thin é in the tin", columns=True)
    assert_columns(trace, eager_weights(model, positions_of(trace, tokenizer)))


def test_what_follows_an_end_of_text_gives_nothing_to_any_key(model, tokenizer):
    whole = generate(model, tokenizer, PROMPTS)
    own = model.generation_config
    model.generation_config = GenerationConfig(eos_token_id=[int(whole[0].token_id[3]), int(whole[3].token_id[0])])
    try:
        stopped = generate(model, tokenizer, PROMPTS)
    finally:
        model.generation_config = own
    assert {trace.sizes["step"] for trace in stopped} >= {1, 11}
    for trace in stopped:
        assert_columns(trace, eager_weights(model, positions_of(trace, tokenizer)))


@pytest.mark.parametrize("name", OF_EACH_KIND)
def test_a_family_is_measured_as_its_eager_weights_say(name, tokenizer):
    model, limits = FAMILIES[name].make(), FAMILIES[name].limits
    written = generate(model, tokenizer, PROMPTS)
    read = ae.replay(
        model, tokenizer, PROMPTS, [trace.token_id.values for trace in written], columns=True, progress=False
    )
    assert min(trace.sizes["key"] for trace in written) > WINDOW
    for trace in (*written, *read):
        weights = eager_weights(model, positions_of(trace, tokenizer))
        assert_columns(trace, weights, limits=limits, atol=5e-5)


@torch.inference_mode()
def test_layers_that_read_an_image_have_no_columns():
    model, images = mllama(), with_images([13, 7], first_sight=[2, 8], n_tiles=[3, 2])
    columns = Columns(images["attention_mask"].bool())
    with watching(model, Watch(columns=columns)):
        model(**images)
    for row, n_keys in enumerate([13, 7]):
        stacked = _columns(columns.of_item(row, n_keys), list(range(5)), n_keys)
        for values in stacked.values():
            assert values.shape == (5, 6, n_keys)
            assert np.isnan(values).all(axis=(1, 2)).tolist() == [layer in CROSS for layer in range(5)]


def test_what_keys_receive_in_bfloat16_is_that_of_its_queries_and_keys(tokenizer, monkeypatch):
    model, seen, sdpa = random_llama().to(torch.bfloat16), {}, capturing.sdpa_attention_forward

    def spy(module, query, key, *others, **settings):
        seen[module.layer_idx] = query.double().numpy(), key.double().numpy().repeat(query.shape[1] // key.shape[1], 1)
        return sdpa(module, query, key, *others, **settings)

    monkeypatch.setattr(capturing, "sdpa_attention_forward", spy)
    trace = ae.replay(model, tokenizer, PROMPTS[0], "thin é in the tin", columns=True)
    visible = oracle.visible_keys(np.ones((1, trace.sizes["key"])))
    scores = [query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5 for query, key in seen.values()]
    assert_columns(trace, [oracle.softmax(one, visible[:, None])[0] for one in scores])


# ---- laws


def test_all_weight_is_received(asked):
    for trace in asked:
        n_keys = trace.sizes["key"]
        received = (trace.received_mass * (n_keys - trace.key)).sum("key")
        np.testing.assert_allclose(received, n_keys, rtol=1e-5)


def test_the_weight_on_itself_is_that_of_each_step(asked):
    for trace in asked:
        of_steps = trace.own_mass.isel(key=slice(trace.attrs["n_prompt"] - 1, None))
        np.testing.assert_allclose(of_steps, trace.self_mass, atol=1e-6)


@settings(max_examples=25)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), rows_at_once=st.integers(1, 10))
@torch.inference_mode()
def test_every_item_of_a_batch_receives_its_own_weight_in_blocks_of_any_size(lengths, rows_at_once):
    model, inputs = random_llama(num_hidden_layers=1), left_padded(lengths)
    columns = Columns(inputs["attention_mask"].bool())
    with pytest.MonkeyPatch.context() as patch, watching(model, Watch(columns=columns)):
        patch.setattr(rows, "SCORES_AT_ONCE", rows_at_once * len(lengths) * N_HEADS * max(lengths))
        model(**inputs)
    for row, length in enumerate(lengths):
        received = columns.of_item(row, length)[0]["received_mass"]
        assert received.shape == (N_HEADS, length)
        np.testing.assert_allclose(received @ torch.arange(length, 0, -1.0), length, rtol=1e-5)


# ---- without columns


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_trace_is_otherwise_byte_for_byte_that_without_columns(tokenizer, dtype, monkeypatch):
    monkeypatch.setattr(rows, "SCORES_AT_ONCE", 5 * N_HEADS * 30 * 4)
    model = random_llama().to(dtype)
    texts = ["thin é", "a", "another antenna within the tin", "in the", "tan"]
    for make, *what in [(functools.partial(ae.generate, max_new_tokens=11), PROMPTS), (ae.replay, PROMPTS, texts)]:
        with_columns, without = (
            make(model, tokenizer, *what, columns=asked, progress=False) for asked in (True, False)
        )
        for one, other in zip(with_columns, without, strict=True):
            assert one.drop_vars([*KEY_MEASURES, "key"]).identical(other)
            for name in other.variables:
                if name != "token":  # texts are objects
                    assert one[name].values.tobytes() == other[name].values.tobytes(), name


def test_a_file_without_columns_says_nothing_of_them(model, tokenizer, tmp_path):
    trace, without = (generate(model, tokenizer, ["é"], columns=asked)[0] for asked in (True, False))
    save_trace(trace, tmp_path / "with")
    save_trace(without, tmp_path / "without")
    with safe_open(tmp_path / "with", "numpy") as one, safe_open(tmp_path / "without", "numpy") as other:
        assert set(one.keys()) - set(other.keys()) == {*KEY_MEASURES}
        assert not any(name in text for name in KEY_MEASURES for text in other.metadata().values())


@pytest.mark.parametrize("change", [lambda keys: keys.pop("own_mass"), lambda keys: keys.update(own=keys["own_mass"])])
def test_what_keys_receive_is_whole_or_refused(change):
    keys = dict.fromkeys(KEY_MEASURES, np.zeros((2, 3, 11 + 7 - 1)))
    assert made(keys=keys).sizes["key"] == 17
    change(keys)
    with pytest.raises(TraceError, match="measures of keys"):
        made(keys=keys)


# ---- recorded

EXAMPLES = pd.DataFrame({"id": ["a", "b", "c", "d"], "prompt": [*ASKED, "What is 5 + 12?"]})


@pytest.fixture(scope="module")
def recorded(bundled, tmp_path_factory):
    return record(bundled, out_dir=tmp_path_factory.mktemp("columns"), columns=True)


@pytest.fixture
def copied(recorded, tmp_path):
    return ae.Run(shutil.copytree(recorded.folder, tmp_path / "copy"))


def record(bundled, **settings):
    settings = {"task": "test", "max_new_tokens": 9, "batch_size": 2, "progress": False} | settings
    return ae.record(*bundled, EXAMPLES, **settings)


def test_every_trace_of_a_run_with_columns_has_them_and_comes_back_equal(bundled, recorded):
    prompts = EXAMPLES["prompt"].tolist()
    wanted = ae.generate(*bundled, prompts, max_new_tokens=9, batch_size=2, columns=True, progress=False)
    for (_, trace), want in zip(recorded.traces(), wanted, strict=True):
        for name in (*KEY_MEASURES, "key"):
            assert trace[name].identical(want[name])


def test_the_identity_of_a_run_differs_by_its_columns_alone(bundled, recorded, tmp_path):
    without = record(bundled, out_dir=tmp_path)
    assert recorded.manifest["identity"] == without.manifest["identity"] | {"columns": True}
    assert "columns" not in without.manifest["identity"]
    assert without.folder.name != recorded.folder.name
    assert without.stack("entropy").identical(recorded.stack("entropy"))


def test_a_run_of_texts_read_has_columns_too(bundled, tmp_path):
    examples = EXAMPLES.assign(solution="The sea is blue.")
    run = ae.record(*bundled, examples, task="t", folder=tmp_path, reads="solution", columns=True, progress=False)
    assert run.manifest["identity"]["columns"] is True
    assert all("received_mass" in trace for _, trace in run.traces())


def test_a_run_with_columns_that_lost_a_response_ends_with_the_same_numbers(bundled, recorded, copied):
    (copied.folder / "traces" / "b.safetensors").unlink()
    again = record(bundled, folder=copied.folder, columns=True)
    for response_id, trace in again.traces():
        assert trace.identical(recorded.trace(response_id)), response_id


@pytest.mark.parametrize("name", KEY_MEASURES)
def test_a_flipped_byte_in_what_keys_receive_is_found(copied, name):
    path, number = copied.folder / "traces" / "c.safetensors", copied.trace("c")[name].values[3, 2, 7].tobytes()
    content = path.read_bytes()
    assert content.count(number) == 1
    path.write_bytes(content.replace(number, bytes([number[0] ^ 1]) + number[1:]))
    found = copied.verify()
    assert list(found.damaged) == ["c"]
    assert f"the numbers of {name}" in found.damaged["c"]


def test_a_run_with_columns_has_tables_and_is_shown(recorded):
    assert len(recorded.responses) == len(EXAMPLES)
    assert "received_mass" not in ae.Scrubber(recorded)._measures
