"""On a CUDA device: the numbers of the CPU's oracle, logits untouched, batches halved where memory really ends."""

import numpy as np
import oracle
import pytest
import torch
from conftest import N_GROUPS, N_HEADS, left_padded, random_llama

from attnent.attention import rows
from attnent.attention.capture import LayerStats, capture
from attnent.model.generation import generate
from attnent.model.replaying import replay
from attnent.model.streaming import stream, whole
from attnent.trace import KEY_MEASURES, MEASURES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
PROMPTS = ["another thing in", "é", "an in the", "thin antenna within the tin"]


def batch(lengths: list[int]) -> dict[str, torch.Tensor]:
    inputs = left_padded(lengths)
    return inputs | {"position_ids": (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)}


def on_device(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: values.cuda() for name, values in inputs.items()}


@torch.inference_mode()
def test_every_measure_of_a_left_padded_batch_is_that_of_the_oracle():
    inputs = batch([13, 7, 11, 1, 2])
    weights = oracle.llama_weights(random_llama(), inputs, n_heads=N_HEADS, n_groups=N_GROUPS)
    model = random_llama().cuda()
    with capture(model, prompt_rows=True) as recording:
        model(**on_device(inputs))
    visible = oracle.visible_keys(inputs["attention_mask"])
    for layer, weight in enumerate(weights):
        stats = recording.stats[layer]
        stats = LayerStats(*(one.cpu() if isinstance(one, torch.Tensor) else one for one in stats))
        oracle.assert_measures(stats, oracle.measures(weight, visible), atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("lengths", [[13, 13, 13], [13, 7, 2]], ids=["unpadded", "padded"])
def test_logits_are_bit_identical_to_plain_sdpa(lengths, dtype):
    model, inputs = random_llama(head_dim=16).to(device="cuda", dtype=dtype), on_device(batch(lengths))
    plain = model(**inputs).logits
    with capture(model):
        watched = model(**inputs).logits
    assert torch.equal(plain, watched)


def test_replay_gives_the_numbers_of_generate(tokenizer):
    model = random_llama().cuda()
    traces = generate(model, tokenizer, PROMPTS, max_new_tokens=20, temperature=0.8, progress=False)
    written = [trace.token_id.values for trace in traces]
    for got, want in zip(replay(model, tokenizer, PROMPTS, written, progress=False), traces, strict=True):
        for name in (*want.data_vars, "n_keys", "logprob", "token_entropy", "token_varentropy"):
            np.testing.assert_allclose(got[name], want[name], atol=1e-4, err_msg=name)


def test_what_keys_receive_and_the_top_keys_are_those_of_the_cpu(tokenizer):
    written = [[3, 50, 262], [70] * 40, [9, 8, 7, 6], [5]]
    asked = {"columns": True, "top_keys": 4, "progress": False}
    on_cpu, on_gpu = (
        replay(model, tokenizer, PROMPTS, written, **asked) for model in (random_llama(), random_llama().cuda())
    )
    for got, want in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_array_equal(got["top_key"][..., 0], want["top_key"][..., 0])
        for name in (*KEY_MEASURES, "top_weight"):
            np.testing.assert_allclose(got[name], want[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_kernel_gives_the_numbers_that_are_given_without_it(tokenizer, monkeypatch, dtype):
    pytest.importorskip("triton")
    model, asked = random_llama(head_dim=16).to(device="cuda", dtype=dtype), {"max_new_tokens": 40, "progress": False}
    by_kernel = generate(model, tokenizer, PROMPTS, **asked)
    monkeypatch.setattr(rows, "KERNEL_DEVICES", ())
    without = generate(model, tokenizer, PROMPTS, **asked)
    for got, want in zip(by_kernel, without, strict=True):
        assert got.token_id.values.tolist() == want.token_id.values.tolist()
        for name in MEASURES:
            np.testing.assert_allclose(got[name], want[name], atol=2e-5, err_msg=name)


def test_a_streamed_response_is_the_one_that_is_generated(tokenizer):
    model = random_llama().cuda()
    [want] = generate(model, tokenizer, PROMPTS[:1], max_new_tokens=9, progress=False)
    got = whole(tokenizer, list(stream(model, tokenizer, PROMPTS[0], max_new_tokens=9)))
    assert got.token_id.values.tolist() == want.token_id.values.tolist()
    np.testing.assert_allclose(got.entropy, want.entropy, atol=2e-5)


def test_a_batch_that_does_not_fit_the_device_is_halved_and_gives_the_same_traces(tokenizer):
    model = random_llama(num_hidden_layers=8, head_dim=64, max_position_embeddings=2000).cuda()
    prompts = ["thin antenna " * n for n in range(20, 84)]
    alone = generate(model, tokenizer, prompts[-2:], max_new_tokens=12, batch_size=1, progress=False)
    torch.cuda.empty_cache()
    held, whole = torch.cuda.memory_reserved(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((held + 48 * 2**20) / whole)
    torch.cuda.reset_peak_memory_stats()
    try:
        together = generate(model, tokenizer, prompts, max_new_tokens=12, batch_size=64, progress=False)
        assert torch.cuda.memory_stats()["num_ooms"] > 0
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for got, want in zip(together[-2:], alone, strict=True):
        assert got.token_id.values.tolist() == want.token_id.values.tolist()
        np.testing.assert_allclose(got.entropy, want.entropy, atol=1e-4)
