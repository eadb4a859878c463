"""What is captured is right, and the model does not notice that it is watched."""

import os
import subprocess
import sys
import threading

import numpy as np
import oracle
import pytest
import torch
from conftest import N_GROUPS, N_HEADS, N_LAYERS, WIDTH, left_padded, random_llama
from transformers import (
    DynamicCache,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    MistralConfig,
    MistralForCausalLM,
    StaticCache,
)

from attnent.attention import rows
from attnent.attention.capture import CaptureError, capture

LENGTHS = [13, 7, 11, 1, 2]  # a batch of 5, padded on the left


def with_positions(inputs):
    positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return inputs | {"position_ids": positions}


def captured(model, inputs, **settings):
    with capture(model, **settings) as recording, torch.inference_mode():
        model(**inputs)
    return recording.stats


@pytest.fixture
def batch():
    return with_positions(left_padded(LENGTHS))


# ---- against the oracle


@torch.inference_mode()
def test_every_measure_of_every_row_of_a_left_padded_batch_is_that_of_the_oracle(llama, batch):
    weights = oracle.llama_weights(llama, batch, n_heads=N_HEADS, n_groups=N_GROUPS)
    stats = captured(llama, batch, prompt_rows=True)
    visible = oracle.visible_keys(batch["attention_mask"])
    assert sorted(stats) == list(range(N_LAYERS))
    for layer, weight in enumerate(weights):
        oracle.assert_measures(stats[layer], oracle.measures(weight, visible), atol=2e-5)


@torch.inference_mode()
def test_every_measure_of_the_story_teller_is_that_of_the_oracle(stories):
    model, tokenizer = stories
    texts = ["Once upon a time", "Lily and Ben went to the park. They saw a big red ball.", "A"]
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    inputs = with_positions({name: encoded[name] for name in ("input_ids", "attention_mask")})
    weights = oracle.llama_weights(model, inputs, n_heads=8, n_groups=4)
    stats = captured(model, inputs, prompt_rows=True)
    visible = oracle.visible_keys(inputs["attention_mask"])
    worst = dict.fromkeys(oracle.MEASURES, 0.0)
    for layer, weight in enumerate(weights):
        wanted = oracle.measures(weight, visible)
        errors = oracle.largest_errors(stats[layer], wanted)
        assert errors.pop("n_keys") == 0
        worst = {name: max(worst[name], error) for name, error in errors.items()}
    print("\nlargest error, float32 against float64:", {name: f"{error:.1e}" for name, error in worst.items()})
    assert max(worst.values()) <= 1e-4


def test_by_default_only_the_last_row_is_captured(llama, batch):
    last, every = captured(llama, batch), captured(llama, batch, prompt_rows=True)
    for layer in range(N_LAYERS):
        for name in oracle.MEASURES:
            got, want = getattr(last[layer], name), getattr(every[layer], name)[:, :, -1:]
            np.testing.assert_allclose(got, want, atol=1e-5, err_msg=name)


def test_right_padding_does_not_change_the_rows_of_real_tokens(llama, batch):
    turned = {
        name: torch.stack([row.roll(n) for row, n in zip(values, LENGTHS, strict=True)])
        for name, values in left_padded(LENGTHS).items()
    }
    right = captured(llama, turned, prompt_rows=True)
    left = captured(llama, batch, prompt_rows=True)
    for layer in range(N_LAYERS):
        for name in (*oracle.MEASURES, "n_keys"):
            for item, n in enumerate(LENGTHS):
                got = getattr(right[layer], name)[item, :, :n]
                np.testing.assert_allclose(got, getattr(left[layer], name)[item, :, -n:], atol=2e-5, err_msg=name)


@pytest.mark.parametrize("at_once", [1, 5 * N_HEADS * 13 * 4, 5 * N_HEADS * 13 * 7])
def test_rows_in_blocks_equal_rows_in_one_block(llama, batch, monkeypatch, at_once):
    whole = captured(llama, batch, prompt_rows=True)
    monkeypatch.setattr(rows, "SCORES_AT_ONCE", at_once)
    blocks = captured(llama, batch, prompt_rows=True)
    for layer in range(N_LAYERS):
        for name in (*oracle.MEASURES, "n_keys"):
            np.testing.assert_allclose(
                getattr(blocks[layer], name), getattr(whole[layer], name), atol=1e-5, err_msg=name
            )


def test_no_block_of_scores_is_larger_than_allowed(llama, batch, monkeypatch):
    monkeypatch.setattr(rows, "SCORES_AT_ONCE", 5 * N_HEADS * 13 * 3)
    sizes = []

    def spy(scores, *others):
        sizes.append(scores.numel())
        return measure_rows(scores, *others)

    measure_rows = rows._measure_rows
    monkeypatch.setattr(rows, "_measure_rows", spy)
    captured(llama, batch, prompt_rows=True)
    assert max(sizes) <= 5 * N_HEADS * 13 * 3
    assert len(sizes) == N_LAYERS * 5  # ceil(13 / 3) blocks in each layer


def test_a_row_of_padding_sees_nothing(llama, batch):
    stats = captured(llama, batch, prompt_rows=True)[1]
    padding = batch["attention_mask"] == 0
    assert (stats.n_keys.movedim(1, -1)[padding] == 0).all()
    for name in oracle.MEASURES:
        assert getattr(stats, name).movedim(1, -1)[padding].isnan().all(), name


def test_layers_are_named_by_kind(llama, batch):
    assert [stats.kind for stats in captured(llama, batch).values()] == ["self"] * N_LAYERS


# ---- caches


def decoded(model, inputs, make_cache, n_steps: int):
    """Prompt pass and greedy decoding by hand; the ids written and the statistics of every pass."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    cache = make_cache(model, ids.shape[1] + n_steps + 4)
    positions = with_positions(inputs)["position_ids"]
    written = []
    with capture(model) as recording, torch.inference_mode():
        for _ in range(n_steps):
            outputs = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache)
            ids = outputs.logits[:, -1:].argmax(-1)
            mask = torch.cat([mask, torch.ones_like(ids)], dim=-1)
            positions = positions[:, -1:] + 1
            written.append(ids)
    return torch.cat(written, dim=-1), recording.passes


def dynamic(model, length):
    return DynamicCache(config=model.config)


def static(model, length):
    return StaticCache(config=model.config, max_cache_len=length)


def rows_at_once(model, inputs, written):
    """All rows of prompt and response from one pass without a cache."""
    whole = {
        "input_ids": torch.cat([inputs["input_ids"], written], dim=-1),
        "attention_mask": torch.cat([inputs["attention_mask"], torch.ones_like(written)], dim=-1),
    }
    with capture(model, prompt_rows=True) as recording, torch.inference_mode():
        model(**with_positions(whole), use_cache=False)
    return recording.stats


@pytest.mark.parametrize("make_cache", [dynamic, static])
@pytest.mark.parametrize("lengths", [[11, 11, 11], [11, 3, 7]], ids=["unpadded", "padded"])
def test_decoding_with_a_cache_gives_the_rows_of_one_pass(llama, make_cache, lengths):
    inputs = left_padded(lengths)
    model = llama.double()
    written, passes = decoded(model, inputs, make_cache, 5)
    once = rows_at_once(model, inputs, written)
    for step, stats in enumerate(passes):
        for layer in range(N_LAYERS):
            for name in (*oracle.MEASURES, "n_keys"):
                want = getattr(once[layer], name)[:, :, 10 + step : 11 + step]
                np.testing.assert_allclose(getattr(stats[layer], name), want, atol=1e-12, err_msg=name)


def test_the_first_token_after_a_static_cache_of_one_token_counts_no_unused_key(llama):
    inputs = left_padded([1, 1, 1])
    _, passes = decoded(llama, inputs, static, 3)
    assert [int(stats[0].n_keys.max()) for stats in passes] == [1, 2, 3]


# ---- windows

WINDOW = 5
SIZES = {
    "vocab_size": 263,
    "hidden_size": 42,
    "intermediate_size": 29,
    "num_attention_heads": N_HEADS,
    "num_key_value_heads": N_GROUPS,
    "head_dim": WIDTH,
    "initializer_range": 0.3,
    "sliding_window": WINDOW,
    "pad_token_id": 261,
    "bos_token_id": None,
    "eos_token_id": 262,
}


def mistral():
    torch.manual_seed(1)
    return MistralForCausalLM(MistralConfig(**SIZES, num_hidden_layers=2)).eval(), [WINDOW, WINDOW]


def gemma3():
    torch.manual_seed(1)
    types = ["sliding_attention", "full_attention", "sliding_attention"]
    config = Gemma3TextConfig(**SIZES, num_hidden_layers=3, layer_types=types, query_pre_attn_scalar=WIDTH)
    return Gemma3ForCausalLM(config).eval(), [WINDOW, None, WINDOW]


@pytest.mark.parametrize("make_cache", [dynamic, static])
@pytest.mark.parametrize("make_model", [mistral, gemma3])
@pytest.mark.parametrize("lengths", [[11, 3, 7], [3, 2, 1], [11, 11, 11]], ids=["longer", "shorter", "unpadded"])
def test_windowed_layers_are_measured_on_the_keys_in_the_window(make_model, make_cache, lengths):
    model, windows = make_model()
    inputs = left_padded(lengths)
    n_prompt, n_steps = max(lengths), 7
    written, passes = decoded(model, inputs, make_cache, n_steps)
    whole = {
        "input_ids": torch.cat([inputs["input_ids"], written], dim=-1),
        "attention_mask": torch.cat([inputs["attention_mask"], torch.ones_like(written)], dim=-1),
    }
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        attentions = model(**with_positions(whole), use_cache=False, output_attentions=True).attentions
    for layer, (weights, window) in enumerate(zip(attentions, windows, strict=True)):
        visible = oracle.visible_keys(whole["attention_mask"], window=window)
        wanted = oracle.measures(weights, visible)
        for step, stats in enumerate(passes):
            row = slice(n_prompt - 1 + step, n_prompt + step)
            oracle.assert_measures(stats[layer], {name: values[:, :, row] for name, values in wanted.items()})
            assert stats[layer].kind == ("sliding" if window else "self")


# ---- the model does not notice


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", [[13, 13, 13], LENGTHS], ids=["unpadded", "padded"])
@pytest.mark.parametrize("prompt_rows", [False, True])
def test_logits_are_bit_identical_to_plain_sdpa(llama, dtype, lengths, prompt_rows):
    model, inputs = llama.to(dtype), left_padded(lengths)
    model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        plain = model(**inputs).logits
        with capture(model, prompt_rows=prompt_rows):
            watched = model(**inputs).logits
    assert torch.equal(plain, watched)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", [[13, 13, 13], LENGTHS], ids=["unpadded", "padded"])
def test_greedy_tokens_and_logits_are_bit_identical_to_plain_sdpa(llama, dtype, lengths):
    model, inputs = llama.to(dtype), left_padded(lengths)
    settings = {"max_new_tokens": 17, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    plain = model.generate(**inputs, **settings)
    with capture(model):
        watched = model.generate(**inputs, **settings)
    assert torch.equal(plain.sequences, watched.sequences)
    assert all(torch.equal(a, b) for a, b in zip(plain.logits, watched.logits, strict=True))


def state_of(model):
    """Everything capture might leave behind."""
    return {
        name: (
            sorted(vars(module)),
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            getattr(getattr(module, "config", None), "_attn_implementation", None),
        )
        for name, module in model.named_modules()
    }


@pytest.fixture
def used(llama):
    """After its first `output_attentions=True` transformers keeps hooks of its own: they are there before."""
    llama.set_attn_implementation("eager")
    llama(input_ids=torch.zeros(1, 2, dtype=torch.long), output_attentions=True)
    llama.set_attn_implementation("sdpa")
    return llama


def test_the_model_is_restored(used, batch):
    before = state_of(used)
    captured(used, batch)
    assert state_of(used) == before


def test_the_model_is_restored_after_an_error_in_the_block(used, batch):
    before = state_of(used)
    with pytest.raises(ZeroDivisionError), capture(used):  # noqa: PT012 (what was captured before it must not matter)
        used(**batch)
        raise ZeroDivisionError
    assert state_of(used) == before


def test_the_model_is_restored_after_an_error_in_the_forward_pass(used):
    before = state_of(used)
    with pytest.raises(IndexError), capture(used):
        used(input_ids=torch.tensor([[10**6]]))
    assert state_of(used) == before


def test_an_eager_model_stays_eager(llama, batch):
    llama.set_attn_implementation("eager")
    captured(llama, batch)
    assert llama.config._attn_implementation == "eager"
    assert llama(**batch, output_attentions=True).attentions[0].shape == (5, N_HEADS, 13, 13)


def test_after_capture_the_model_gives_no_attentions_unasked(llama, batch):
    captured(llama, batch)
    assert llama(**batch).attentions is None


# ---- many at once


def test_capture_within_capture_is_refused(llama):
    with capture(llama), pytest.raises(CaptureError, match="captured already"), capture(llama):
        pass


def test_capture_goes_on_after_a_refused_one(llama, batch):
    with capture(llama) as recording:
        with pytest.raises(CaptureError), capture(llama):
            pass
        llama(**batch)
    assert sorted(recording.stats) == list(range(N_LAYERS))


def test_two_models_are_captured_side_by_side(batch):
    one, two = random_llama(), random_llama(num_hidden_layers=2)
    alone = captured(two, batch)
    with capture(one) as first, capture(two) as second, torch.inference_mode():
        one(**batch)
        two(**batch)
    assert sorted(first.stats) == [0, 1, 2]
    assert torch.equal(second.stats[1].entropy, alone[1].entropy)


def test_models_in_threads_do_not_disturb_each_other(batch):
    models = [random_llama(initializer_range=spread) for spread in (0.3, 0.5, 0.7)]
    alone = [captured(model, batch)[2].entropy for model in models]
    together: dict[int, list] = {number: [] for number in range(3)}

    def work(number):
        for _ in range(5):
            together[number].append(captured(models[number], batch)[2].entropy)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(3):
        assert len(together[number]) == 5
        assert all(torch.equal(entropy, alone[number]) for entropy in together[number])


def test_each_forward_pass_has_its_own_record(llama, batch):
    with capture(llama) as recording:
        llama(**batch)
        llama(input_ids=batch["input_ids"][:2, :7])
    assert [stats[0].entropy.shape for stats in recording.passes] == [(5, N_HEADS, 1), (2, N_HEADS, 1)]


def test_a_block_without_a_forward_pass_has_no_statistics(llama):
    with capture(llama) as recording:
        pass
    with pytest.raises(CaptureError, match="no forward pass"):
        _ = recording.stats


@pytest.mark.parametrize("keyword", ["s_aux", "softcap", "indices", "something_new"])
def test_an_unknown_keyword_is_refused_by_name(llama, batch, keyword):
    with pytest.raises(CaptureError, match=keyword), capture(llama):
        llama(**batch, **{keyword: torch.ones(N_HEADS)})


def test_an_unknown_keyword_that_is_none_is_harmless(llama, batch):
    assert captured(llama, batch | {"something_new": None})


# ---- torch.compile

COMPILED = """
import jaxtyping
jaxtyping.install_import_hook = lambda *names: None  # its wrapper of `attention` cannot be traced
import torch
from conftest import left_padded, random_llama
from transformers import StaticCache
from attnent.attention.capture import capture

model = random_llama(num_hidden_layers=2)
model.set_attn_implementation("sdpa")
ids = left_padded([7, 7])["input_ids"]

def decode(step):
    cache = StaticCache(config=model.config, max_cache_len=16)
    with capture(model) as recording, torch.no_grad():
        model(input_ids=ids, past_key_values=cache)
        entropies = []
        for number in range(4):
            positions = torch.full((2, 1), 7 + number)
            step(input_ids=ids[:, :1], past_key_values=cache, position_ids=positions, cache_position=positions[0])
            entropies.append(torch.stack([s.entropy for s in recording.stats.values()]).clone())
    return torch.stack(entropies)

plain = decode(model)
torch._dynamo.reset()
forward = model.forward
model.forward = torch.compile(forward, fullgraph=True, backend="BACKEND")
compiled = decode(model)
torch.testing.assert_close(compiled, plain, atol=1e-5, rtol=0)
counters = torch._dynamo.utils.counters
print("graphs", counters["stats"]["unique_graphs"], dict(counters["graph_break"]))
"""


def run_by_itself(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=os.path.dirname(__file__), timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.slow
def test_a_compiled_model_with_a_static_cache_has_no_graph_break_and_no_recompilation():
    told = run_by_itself(COMPILED.replace("BACKEND", "eager"))
    assert told.endswith("{}")
    assert int(told.split()[1]) <= 2, "one graph for the prompt pass and one for every decoding step"


WRITTEN = """
import jaxtyping
jaxtyping.install_import_hook = lambda *names: None  # its wrapper of `attention` cannot be traced
import numpy as np
import torch
from conftest import byte_level_tokenizer, random_llama
import attnent as ae

model, asked = random_llama(), {"max_new_tokens": 20, "batch_size": 2, "temperature": 0.7, "progress": False}
prompts = ["thin", "another thing in the tin", "é", "an inn in the north"]
plain = ae.generate(model, byte_level_tokenizer(), prompts, **asked)
compiled = ae.generate(model, byte_level_tokenizer(), prompts, **asked, compiled=True)
for one, other in zip(plain, compiled, strict=True):
    assert (one.token_id.values == other.token_id.values).all()
    for name in (*one.data_vars, "n_keys", "logprob", "token_entropy", "token_varentropy"):
        np.testing.assert_allclose(other[name], one[name], atol=2e-5, err_msg=name)
counters = torch._dynamo.utils.counters
print("graphs", counters["stats"]["unique_graphs"], dict(counters["graph_break"]))
"""


@pytest.mark.slow
def test_compiled_decoding_gives_the_trace_of_plain_decoding_by_one_graph_for_all_batches():
    assert run_by_itself(WRITTEN) == "graphs 1 {}"
