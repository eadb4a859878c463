"""`generate` and `replay`: the same item gives the same Trace, whatever stands beside it."""

import copy
import functools
import hashlib
import json

import jaxtyping
import numpy as np
import pytest
import torch
from conftest import CONTEXT, N_HEADS, N_LAYERS, byte_level_tokenizer
from scipy import stats as scipy_stats
from transformers import GenerationConfig

from attnent.attention.capture import CaptureError, Watch
from attnent.model.assembly import _stack_layers
from attnent.model.batches import plan_batches
from attnent.model.generation import Chooser, attention_row, derive_seed, generate, item_seeds
from attnent.model.prompts import PromptError, encode_prompt, template_digest
from attnent.model.replaying import read_again, replay

PROMPTS = ["another thing in", "é", "an in the", "thin antenna within the tin", "Z", "in the", "tan"]
NUMBERS = ("n_keys", "logprob", "token_entropy", "token_varentropy", "candidate_probability")
run = functools.partial(generate, max_new_tokens=11, progress=False)


@pytest.fixture(scope="module")
def model():
    from conftest import random_llama

    return random_llama()


@pytest.fixture(scope="module")
def greedy(model, tokenizer):
    return run(model, tokenizer, PROMPTS, batch_size=7)


class unchecked_types:  # noqa: N801
    """As users meet it: without the types that are checked under pytest."""

    def __enter__(self):
        jaxtyping.config.update("jaxtyping_disable", True)

    def __exit__(self, *exception):
        jaxtyping.config.update("jaxtyping_disable", False)


def assert_same_trace(got, want, atol=1e-4):
    assert got.token_id.values.tolist() == want.token_id.values.tolist()
    for name in (*want.data_vars, *NUMBERS):
        np.testing.assert_allclose(got[name], want[name], atol=atol, err_msg=name)
    for name in ("prompt", "response", "finish_reason", "n_prompt", "model", "revision", "dtype", "versions"):
        assert got.attrs[name] == want.attrs[name]
    assert got.token.values.tolist() == want.token.values.tolist()
    assert got.char_end.values.tolist() == want.char_end.values.tolist()


# ---- alone and in a batch


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_an_item_gives_the_same_trace_alone_and_in_a_batch(model, tokenizer, batch_size, temperature):
    wide = run(model, tokenizer, PROMPTS, batch_size=7, temperature=temperature)
    narrow = run(model, tokenizer, PROMPTS, batch_size=batch_size, temperature=temperature)
    for got, want in zip(narrow, wide, strict=True):
        assert_same_trace(got, want)


def test_traces_come_in_the_order_of_the_prompts(greedy):
    assert [trace.attrs["prompt"] for trace in greedy] == PROMPTS


def test_greedy_tokens_are_those_of_plain_transformers(model, tokenizer, greedy):
    for prompt, trace in zip(PROMPTS, greedy, strict=True):
        encoded = tokenizer(prompt, return_tensors="pt")
        plain = model.generate(
            input_ids=encoded.input_ids, attention_mask=encoded.attention_mask, max_new_tokens=11, do_sample=False
        )
        assert trace.token_id.values.tolist() == plain[0, encoded.input_ids.shape[1] :].tolist()


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_replay_of_the_written_ids_gives_the_numbers_of_generate(model, tokenizer, temperature):
    for trace in run(model, tokenizer, PROMPTS, temperature=temperature, batch_size=4):
        assert_same_trace(replay(model, tokenizer, trace.attrs["prompt"], trace.token_id.values), trace)


@pytest.mark.parametrize("batch_size", [2, 7])
def test_replay_of_many_gives_the_numbers_of_generate_in_order(model, tokenizer, greedy, batch_size):
    prompts, written = [trace.attrs["prompt"] for trace in greedy], [trace.token_id.values for trace in greedy]
    read = replay(model, tokenizer, prompts, written, batch_size=batch_size, progress=False)
    for got, want in zip(read, greedy, strict=True):
        assert_same_trace(got, want)


def test_texts_of_unlike_length_are_read_together_as_alone(model, tokenizer):
    texts = ["thin é", "a", "another antenna within the tin", "in the"]
    together = replay(model, tokenizer, PROMPTS[:4], texts, batch_size=4, progress=False)
    for prompt, text, got in zip(PROMPTS, texts, together, strict=False):
        assert_same_trace(got, replay(model, tokenizer, prompt, text))


def test_a_batch_to_read_that_does_not_fit_is_halved(model, tokenizer, greedy):
    prompts, written = [trace.attrs["prompt"] for trace in greedy], [trace.token_id.values for trace in greedy]
    with failing(model, torch.OutOfMemoryError("CUDA out of memory"), above=2) as spy:
        read = replay(model, tokenizer, prompts, written, batch_size=7, progress=False)
    assert list(dict.fromkeys(spy.sizes)) == [7, 3, 1, 2, 4]
    for got, want in zip(read, greedy, strict=True):
        assert_same_trace(got, want)


def test_replay_in_blocks_of_rows_gives_the_numbers_of_generate(model, tokenizer, greedy, monkeypatch):
    monkeypatch.setattr("attnent.attention.rows.SCORES_AT_ONCE", N_HEADS * 30 * 4)
    monkeypatch.setattr("attnent.model.replaying.ROWS_OF_LOGITS_AT_ONCE", 3)
    trace = greedy[3]
    assert_same_trace(replay(model, tokenizer, trace.attrs["prompt"], trace.token_id.values), trace)


def test_replay_reads_text(model, tokenizer):
    trace = replay(model, tokenizer, "an", "thin é")
    assert trace.attrs["response"] == "thin é"
    assert trace.token_id.values.tolist() == tokenizer("thin é").input_ids


@pytest.mark.parametrize("form", [list, np.array])
def test_a_prompt_may_be_the_very_token_ids(model, tokenizer, greedy, form):
    for trace in greedy[:3]:
        ids = form(tokenizer(trace.attrs["prompt"]).input_ids)
        assert_same_trace(replay(model, tokenizer, ids, trace.token_id.values), trace)


def test_token_ids_that_are_not_those_of_their_text_are_kept_as_they_are(model, tokenizer):
    ids = tokenizer.convert_tokens_to_ids(["a", "n"])  # "an" is one token
    (trace,) = run(model, tokenizer, [ids])
    assert trace.attrs["n_prompt"] == 2
    assert trace.attrs["prompt"] == "an"


def test_a_trace_of_a_prompt_of_token_ids_is_read_again(model, tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = "{% for message in messages %}:{{ message.content }}{% endfor %}"
    trace = replay(model, tokenizer, tokenizer("in the<|pad|>").input_ids, "thin é")
    assert trace.attrs["prompt"] == "in the<|pad|>"
    np.testing.assert_array_equal(read_again(model, tokenizer, trace)["entropy"], trace["entropy"])


def test_a_prompt_of_token_ids_that_its_text_does_not_give_is_not_read_again(model, tokenizer):
    trace = replay(model, tokenizer, tokenizer.convert_tokens_to_ids(["a", "n"]), "thin é")
    with pytest.raises(PromptError, match="this model makes another prompt"):
        read_again(model, tokenizer, trace)


# ---- a step is the pass that chose its token


def test_the_keys_of_step_t_are_the_prompt_and_t_tokens(greedy):
    for trace in greedy:
        n_prompt = trace.attrs["n_prompt"]
        assert (trace.n_keys == n_prompt + trace.step).all()


def test_the_dimensions_are_layer_head_and_step(greedy):
    assert dict(greedy[0].entropy.sizes) == {"layer": N_LAYERS, "head": N_HEADS, "step": 11}


@torch.inference_mode()
def test_token_numbers_are_those_of_the_plain_logits_in_float64(model, tokenizer, greedy):
    for trace in greedy:
        prompt_ids = tokenizer(trace.attrs["prompt"]).input_ids
        ids = torch.tensor([prompt_ids + trace.token_id.values.tolist()])
        logits = model(input_ids=ids).logits[0, len(prompt_ids) - 1 : -1].double()
        log_p = logits.log_softmax(-1)
        p, surprisal = log_p.exp(), -log_p
        entropy = (p * surprisal).sum(-1)
        wanted = {
            "logprob": log_p.gather(-1, ids[0, len(prompt_ids) :, None])[:, 0],
            "token_entropy": entropy,
            "token_varentropy": (p * (surprisal - entropy[:, None]) ** 2).sum(-1),
            "candidate_probability": p.topk(5).values,
        }
        for name, want in wanted.items():
            np.testing.assert_allclose(trace[name], want, atol=1e-4, err_msg=name)
        assert trace.candidate_id[:, 0].values.tolist() == p.argmax(-1).tolist()


def test_prompt_mass_and_generated_mass_share_the_weight_by_position(model, tokenizer, greedy):
    """Step 0 has only prompt; replaying one token fewer as response and more as prompt moves its weight over."""
    trace = greedy[0]
    assert (trace.prompt_mass.isel(step=0) == pytest.approx(1, abs=1e-5)).all()
    assert (trace.prompt_mass.isel(step=slice(1, None)) < 1).all()
    np.testing.assert_allclose(
        trace.prompt_mass.isel(step=1) + trace.self_mass.isel(step=1), 1, atol=1e-5
    )  # the only generated key is the query's own


# ---- seeds


def written(traces):
    return [tuple(trace.token_id.values.tolist()) for trace in traces]


def test_sampling_depends_on_the_seed_alone(model, tokenizer):
    one, again, other = (run(model, tokenizer, PROMPTS, temperature=1.0, seed=seed) for seed in (3, 3, 4))
    assert written(one) == written(again)
    assert written(one) != written(other)


def test_sampling_does_not_depend_on_the_order_of_the_prompts(model, tokenizer):
    order = [4, 0, 6, 2, 1, 5, 3]
    straight = written(run(model, tokenizer, PROMPTS, temperature=1.0))
    mixed = written(run(model, tokenizer, [PROMPTS[index] for index in order], temperature=1.0, batch_size=3))
    assert mixed == [straight[index] for index in order]


def test_equal_prompts_get_different_samples(model, tokenizer):
    assert len(set(written(run(model, tokenizer, ["in the"] * 5, temperature=1.0)))) == 5


def test_each_item_may_have_its_own_seed(model, tokenizer):
    twins = written(run(model, tokenizer, ["in the"] * 3, temperature=1.0, seed=[7, 8, 7]))
    assert twins[0] == twins[2] != twins[1]


def test_the_seed_of_a_trace_repeats_it(model, tokenizer):
    trace = run(model, tokenizer, PROMPTS, temperature=1.0, seed=5)[2]
    again = run(model, tokenizer, [PROMPTS[2]], temperature=1.0, seed=[trace.attrs["seed"]])
    assert written(again) == written([trace])


def test_a_seed_may_be_a_numpy_integer():
    with unchecked_types():
        assert item_seeds(np.int64(3), PROMPTS) == item_seeds(3, PROMPTS)


def test_the_global_random_state_is_left_alone(model, tokenizer):
    before = torch.random.get_rng_state()
    run(model, tokenizer, ["in"], temperature=1.0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_derived_seed_is_a_known_number():
    digest = hashlib.sha256(b'[0, "in the", 0]').digest()
    assert derive_seed(0, "in the", 0) == int.from_bytes(digest[:8], "big") // 2


@pytest.mark.parametrize("temperature", [0.6, 1.5])
def test_sampled_tokens_follow_the_softmax_at_the_temperature(model, tokenizer, temperature):
    n = 499
    ids = tokenizer("in the", return_tensors="pt").input_ids
    with torch.inference_mode():
        p = (model(input_ids=ids).logits[0, -1].double() / temperature).softmax(-1).numpy()
    traces = generate(
        model, tokenizer, ["in the"] * n, max_new_tokens=1, batch_size=n, temperature=temperature, progress=False
    )
    counts = np.bincount([trace.token_id.item() for trace in traces], minlength=len(p))
    often = p * n >= 8
    seen, expected = np.append(counts[often], counts[~often].sum()), np.append(p[often], p[~often].sum()) * n
    kept = expected > 1
    assert kept.sum() >= 4
    test = scipy_stats.chisquare(seen[kept], expected[kept] * seen[kept].sum() / expected[kept].sum())
    assert test.pvalue > 1e-3


@pytest.mark.parametrize(("number", "drawn"), [(0.0, 1), (1 - 2**-24, 2)])
def test_a_token_without_probability_is_never_drawn(number, drawn):
    chooser = Chooser(Watch(), [0], 1, 1.0)
    chooser._uniform.fill_(number)
    assert chooser._draw(torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])).item() == drawn


# ---- stopping


def test_each_item_stops_at_its_own_end_of_text(model, tokenizer, greedy):
    endings = [written(greedy)[0][3], written(greedy)[3][6], tokenizer.eos_token_id]
    own = model.generation_config
    model.generation_config = GenerationConfig(eos_token_id=endings)
    try:
        stopped = run(model, tokenizer, PROMPTS, batch_size=7)
    finally:
        model.generation_config = own
    for whole, part in zip(greedy, stopped, strict=True):
        ids = whole.token_id.values.tolist()
        ends = [step for step, id_ in enumerate(ids) if id_ in endings]
        assert part.token_id.values.tolist() == (ids[: ends[0] + 1] if ends else ids)
        assert part.attrs["finish_reason"] == ("eos" if ends else "length")
        np.testing.assert_allclose(part.entropy, whole.entropy.isel(step=slice(part.sizes["step"])), atol=1e-4)
    assert {trace.attrs["finish_reason"] for trace in stopped} == {"eos", "length"}


def test_the_checkpoints_own_generation_settings_have_no_influence_and_come_back(model, tokenizer, greedy):
    own = model.generation_config
    loud = GenerationConfig(
        do_sample=True,
        temperature=9.0,
        top_k=2,
        repetition_penalty=5.0,
        no_repeat_ngram_size=1,
        num_beams=3,
        min_new_tokens=40,
        eos_token_id=262,
        pad_token_id=5,
        suppress_tokens=[0, 1],
    )
    model.generation_config = loud
    try:
        traces = run(model, tokenizer, PROMPTS, batch_size=7)
        assert model.generation_config is loud
    finally:
        model.generation_config = own
    assert written(traces) == written(greedy)


def test_generation_settings_come_back_after_an_error(model, tokenizer):
    own = model.generation_config
    with pytest.raises(RuntimeError, match="overheated"), failing(model, RuntimeError("overheated"), above=0):
        run(model, tokenizer, ["in"])
    assert model.generation_config is own
    assert not any(hasattr(module, "attnent_watch") for module in model.modules())


# ---- memory


class failing:  # noqa: N801 (reads as a verb)
    """While it lasts, passes of more than `above` items raise `error`; `sizes` lists what was tried."""

    def __init__(self, model, error, *, above):
        self.model, self.error, self.above, self.sizes = model, error, above, []

    def __enter__(self):
        whole = self.model.forward

        @functools.wraps(whole)
        def forward(*args, **kwargs):
            n_items = len(kwargs["input_ids"])
            self.sizes.append(n_items)
            if n_items > self.above:
                raise self.error
            return whole(*args, **kwargs)

        self.model.forward = forward
        return self

    def __exit__(self, *exception):
        del self.model.forward


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_batch_that_does_not_fit_is_halved_and_its_traces_are_the_same(model, tokenizer, temperature):
    want = run(model, tokenizer, PROMPTS, batch_size=7, temperature=temperature)
    with failing(model, torch.OutOfMemoryError("CUDA out of memory"), above=2) as spy:
        got = run(model, tokenizer, PROMPTS, batch_size=7, temperature=temperature)
    assert list(dict.fromkeys(spy.sizes)) == [7, 3, 1, 2, 4]
    for one, other in zip(got, want, strict=True):
        assert_same_trace(one, other)
        assert one.attrs["seed"] == other.attrs["seed"]


def test_one_prompt_that_does_not_fit_says_what_to_lower(model, tokenizer):
    with (
        failing(model, torch.OutOfMemoryError("CUDA out of memory"), above=0),
        pytest.raises(torch.OutOfMemoryError, match="lower max_new_tokens"),
    ):
        run(model, tokenizer, PROMPTS, batch_size=7)


# ---- prompts

TEMPLATE = (
    "{{ strftime_now('%d %b %Y') }}|{{ date_string }}|{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
    "{% if add_generation_prompt %}>{% endif %}"
)


@pytest.fixture
def chatty():
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def test_the_date_of_the_chat_template_is_fixed(chatty):
    assert chatty.decode(encode_prompt(chatty, "hi")) == "26 Jul 2024|26 Jul 2024|user:hi;>"


def test_a_prompt_may_be_a_list_of_messages(chatty):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert chatty.decode(encode_prompt(chatty, messages)).endswith("|system:Be brief.;user:hi;>")


def test_messages_are_kept_in_the_trace_as_json(model, chatty):
    messages = [{"role": "system", "content": "é"}, {"role": "user", "content": "hi"}]
    (trace,) = run(model, chatty, [messages])
    assert json.loads(trace.attrs["prompt"]) == messages
    assert_same_trace(replay(model, chatty, messages, trace.token_id.values), trace)


def test_without_a_template_a_prompt_is_plain_text(tokenizer):
    assert encode_prompt(tokenizer, "hi") == tokenizer("hi").input_ids


def test_the_template_digest_tells_templates_apart(chatty, tokenizer):
    other = copy.deepcopy(chatty)
    other.chat_template += " "
    assert template_digest(chatty) != template_digest(other)
    assert template_digest(tokenizer) == ""


def test_an_attention_row_is_what_the_recorded_measures_are_of(model, tokenizer):
    [trace] = run(model, tokenizer, ["in the an"], max_new_tokens=1)
    for layer in range(N_LAYERS):
        for head in range(N_HEADS):
            p = attention_row(model, tokenizer, "in the an", layer=layer, head=head)
            surprisal = -np.log(p)
            one = trace.isel(layer=layer, head=head, step=0)
            entropy = (p * surprisal).sum()
            np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-6)
            np.testing.assert_allclose(one.entropy, entropy, atol=1e-5)
            np.testing.assert_allclose(one.varentropy, (p * (surprisal - entropy) ** 2).sum(), atol=1e-5)
    assert model.config._attn_implementation == "sdpa"


# ---- bad input, one sentence each


@pytest.mark.parametrize(
    ("prompts", "settings", "error", "says"),
    [
        ([], {}, PromptError, "empty; give at least one"),
        ("in the", {}, PromptError, r"give a list of prompts"),
        (["in", ""], {}, PromptError, "prompt 1 is empty"),
        (["in", "  \n"], {}, PromptError, "prompt 1 is empty"),
        ([[]], {}, PromptError, "prompt 0 is empty"),
        ([[{"role": "user", "content": None}]], {}, PromptError, "prompt 0 must be a string or a list of"),
        (["in \ud83d"], {}, PromptError, "prompt 0 holds half of a character"),
        (["in"], {"temperature": 1e-300}, ValueError, r"must be 0 \(greedy\) or a number from 0.001 on"),
        ([[{"role": "user", "content": "hi"}]], {}, PromptError, "no chat template"),
        ([[{"role": "user"}]], {}, PromptError, "messages"),
        ([["hi"]], {}, PromptError, "messages"),
        ([3], {}, PromptError, "prompt 0 must be a string"),
        ([None], {}, PromptError, "prompt 0 must be a string"),
        (["in", "a" * CONTEXT], {}, PromptError, f"prompt 1 has .* context of {CONTEXT}; shorten"),
        (["in"], {"max_new_tokens": CONTEXT}, PromptError, "lower max_new_tokens"),
        (["in"], {"max_new_tokens": 0}, ValueError, "max_new_tokens is 0"),
        (["in"], {"temperature": -0.5}, ValueError, "temperature is -0.5"),
        (["in"], {"temperature": float("nan")}, ValueError, "temperature is nan"),
        (["in"], {"temperature": float("inf")}, ValueError, "temperature is inf"),
        (["in"], {"batch_size": 0}, ValueError, "batch_size is 0"),
        (["in"], {"seed": [1, 2]}, ValueError, r"seed is \[1, 2\] for 1 prompts; give one"),
        (["in"], {"seed": 0.5}, ValueError, "seed is 0.5 for 1 prompts; give one"),
    ],
)
def test_bad_input_to_generate_is_one_clear_sentence(model, tokenizer, prompts, settings, error, says):
    with unchecked_types(), pytest.raises(error, match=says) as raised:
        run(model, tokenizer, prompts, **settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("prompt", "response", "says"),
    [
        ("in", "", "the response to replay is empty"),
        ("in", [], "the response to replay is empty"),
        ("in", [263], "outside the model's vocabulary of 263"),
        ("in", [-1], "outside the model's vocabulary of 263"),
        ("", "in", "the prompt is empty"),
        ([3, 263], "in", "the prompt holds token ids outside the tokenizer's vocabulary of 263"),
        (["in", "an"], ["in"], "there are 1 responses to replay; give a list of as many prompts"),
        ("in", ["in", "an"], "there are 2 responses to replay"),
        (["in", "an"], ["in", ""], "response 1 to replay is empty"),
        (["in", ""], ["in", "an"], "prompt 1 is empty"),
        ("in", "a" * CONTEXT, "the prompt and the response have"),
    ],
)
def test_bad_input_to_replay_is_one_clear_sentence(model, tokenizer, prompt, response, says):
    with pytest.raises(PromptError, match=says) as raised:
        replay(model, tokenizer, prompt, response)
    assert "\n" not in str(raised.value)


def test_a_prompt_and_response_may_fill_the_context(model, tokenizer):
    n_prompt = len(tokenizer("in").input_ids)
    (trace,) = run(model, tokenizer, ["in"], max_new_tokens=CONTEXT - n_prompt)
    assert_same_trace(replay(model, tokenizer, "in", trace.token_id.values), trace)


def test_batches_hold_every_prompt_once_and_group_like_lengths():
    batches = plan_batches([5, 1, 3, 2, 4], 2)
    assert batches == [[1, 3], [2, 4], [0]]


def test_layers_with_fewer_heads_are_filled_up_with_missing():
    stacked = _stack_layers([torch.ones(2, 7), torch.ones(3, 7)])
    assert stacked.shape == (2, 3, 7)
    assert np.isnan(stacked).sum(axis=(1, 2)).tolist() == [7, 0]
    assert np.isnan(stacked[0, 2]).all()


# ---- compiled decoding


@pytest.mark.parametrize("more", [{"columns": True}, {"top_keys": 2}])
def test_compiled_decoding_keeps_neither_columns_nor_top_keys(llama, tokenizer, more):
    with pytest.raises(ValueError, match="leave these out"):
        generate(llama, tokenizer, ["thing"], max_new_tokens=2, compiled=True, progress=False, **more)


def test_a_model_that_cannot_be_compiled_in_one_graph_is_refused_in_one_sentence(llama, tokenizer, monkeypatch):
    def breaking(*args, **kwargs):
        torch._dynamo.graph_break()
        return type(llama).forward(llama, *args, **kwargs)

    monkeypatch.setattr(llama, "forward", breaking, raising=False)
    with pytest.raises(CaptureError, match="cannot be compiled into one graph") as refusal:
        generate(llama, tokenizer, ["thing"], max_new_tokens=2, compiled=True, progress=False)
    assert "\n" not in str(refusal.value)
