"""Traces from queries and keys that vllm-lens saved, against those of `replay`.

data/vllm_lens.json is a response of its server's /v1/completions as vllm-lens 1.3.0 sends it, encoded by its own
`serialize_activations`: two layers of the bundled model in bfloat16. The queries and keys of other tests are taken
after rope from small random models, in the same layout.
"""

import base64
import json
import types
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import N_GROUPS, N_HEADS, N_LAYERS, WIDTH, random_llama
from transformers import AttentionInterface, AttentionMaskInterface, Qwen2Config, Qwen2ForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

import attnent as ae
from attnent.model.prompts import PromptError
from attnent.model.states import StatesError, trace_of_states
from attnent.store.traces import load_trace, save_trace
from attnent.trace import MEASURES

RECORDED = Path(__file__).parent / "data" / "vllm_lens.json"
PROMPT, RESPONSE = [64, 77, 256, 83, 258, 70], [259, 83, 84, 85, 260, 69, 262]
SCALE = WIDTH**-0.5


def saved(model, token_ids, *, window=None, kept=None) -> dict:
    """What vllm-lens saves of one pass over all tokens but the last."""
    taken = {}

    def taking(module, query, key, value, attention_mask, **others):
        taken[module.layer_idx] = [one[0].movedim(0, 1).clone() for one in (query, key)], others
        return sdpa_attention_forward(module, query, key, value, attention_mask, **others)

    AttentionInterface.register("taking", taking)
    AttentionMaskInterface.register("taking", sdpa_mask)
    model.set_attn_implementation("taking")
    with torch.inference_mode():
        model(torch.tensor([token_ids[:-1]]), use_cache=False)
    model.set_attn_implementation("sdpa")
    layers = sorted(taken) if kept is None else kept
    query, key = (torch.stack([taken[layer][0][part] for layer in layers]) for part in (0, 1))
    windows = [taken[layer][1].get("sliding_window") for layer in layers]
    about = [
        {
            "layer_name": f"model.layers.{layer}.self_attn.attn",
            "scale": query.shape[-1] ** -0.5,
            "logits_soft_cap": 0.0,
            "sliding_window": [-1, -1] if window is None else [window - 1, 0],
            "alibi_slopes": None,
            "sinks": None,
            "use_alibi_sqrt": False,
            "num_heads_local": query.shape[2],
            "num_kv_heads_local": key.shape[2],
            "head_size": query.shape[3],
            "num_kv_heads_total": key.shape[2],
        }
        for layer, window in zip(layers, windows, strict=True)
    ]
    return {"attn_q": query, "attn_k": key, "qk_layers": layers, "qk_meta": about}


def sent(states: dict) -> dict:
    """As a server of vllm-lens sends it."""
    return json.loads(json.dumps({name: _sent(one) for name, one in states.items()}))


def _sent(one) -> dict:
    if not isinstance(one, torch.Tensor):
        return {"__json__": one}
    values = (one.view(torch.int16) if one.dtype == torch.bfloat16 else one).numpy()
    content = pa.compress(values.tobytes(), codec="zstd", asbytes=True)
    about = {"dtype": str(values.dtype), "original_dtype": str(one.dtype), "shape": list(values.shape)}
    return {"data": base64.b64encode(content).decode(), "compression": "zstd"} | about


def assert_same(got, want, atol):
    for name in (*MEASURES, "n_keys"):
        np.testing.assert_allclose(got[name], want[name], atol=atol, err_msg=name)
    assert got["layer_kind"].values.tolist() == want["layer_kind"].values.tolist()
    assert got["token_id"].values.tolist() == want["token_id"].values.tolist()
    for name in ("prompt", "response", "n_prompt", "dtype"):
        assert got.attrs[name] == want.attrs[name]


@pytest.fixture(scope="module")
def model():
    return random_llama()


@pytest.fixture(scope="module")
def states(model):
    return saved(model, PROMPT + RESPONSE)


def test_what_vllm_lens_recorded_gives_the_trace_of_replay():
    body = json.loads(RECORDED.read_text())
    [choice] = body["choices"]
    model, tokenizer = ae.load_model("tiny", dtype="bfloat16")
    ids = choice["prompt_token_ids"], choice["token_ids"]
    logprobs = choice["logprobs"]["token_logprobs"]
    got = ae.trace_of_states(body["activations"], tokenizer, *ids, model=body["model"], logprobs=logprobs)
    want = ae.replay(model, tokenizer, *ids)
    assert got["layer"].values.tolist() == [1, 4]
    assert_same(got, want.sel(layer=[1, 4]), atol=1e-3)
    np.testing.assert_allclose(got["logprob"], want["logprob"], atol=0.05)


@pytest.mark.parametrize("form", [dict, sent])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-3), (torch.float16, 1e-3)])
def test_queries_and_keys_give_the_trace_of_replay(tokenizer, form, dtype, atol):
    model = random_llama().to(dtype)
    got = trace_of_states(form(saved(model, PROMPT + RESPONSE)), tokenizer, PROMPT, RESPONSE)
    assert_same(got, ae.replay(model, tokenizer, PROMPT, RESPONSE), atol)
    assert got.attrs["finish_reason"] == "eos"


def test_layers_with_a_window_give_the_trace_of_replay(tokenizer):
    torch.manual_seed(0)
    sizes = {"hidden_size": 42, "intermediate_size": 29, "head_dim": WIDTH, "vocab_size": 263, "initializer_range": 0.3}
    heads = {"num_attention_heads": N_HEADS, "num_key_value_heads": N_GROUPS, "num_hidden_layers": N_LAYERS}
    windows = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    model = Qwen2ForCausalLM(Qwen2Config(**sizes, **heads, **windows, eos_token_id=262, pad_token_id=261)).eval()
    got = trace_of_states(saved(model, PROMPT + RESPONSE), tokenizer, PROMPT, RESPONSE)
    assert got["layer_kind"].values.tolist() == ["self", "sliding", "sliding"]
    assert got["n_keys"].values[:, -1].tolist() == [len(PROMPT + RESPONSE) - 1, 4, 4]
    assert_same(got, ae.replay(model, tokenizer, PROMPT, RESPONSE), atol=1e-5)


def changed(states: dict, **of_meta) -> dict:
    return states | {"qk_meta": [states["qk_meta"][0] | of_meta, *states["qk_meta"][1:]]}


def scores_by_hand(states, slopes=0.0, cap=torch.inf) -> torch.Tensor:
    """Those of the last row of layer 1, in float64."""
    query, key = (states[name][1].double() for name in ("attn_q", "attn_k"))
    scores = torch.einsum("hw,khw->hk", query[-1], key.repeat_interleave(N_HEADS // N_GROUPS, dim=1)) * SCALE
    scores = scores if cap == torch.inf else cap * torch.tanh(scores / cap)
    place = torch.arange(len(key))
    return scores + torch.as_tensor(slopes).view(-1, 1) * (place - place[-1])


def entropy_by_hand(states, **settings) -> np.ndarray:
    return torch.special.entr(scores_by_hand(states, **settings).softmax(-1)).sum(-1).numpy()


def last_row(states, tokenizer, **told) -> dict:
    """Of layer 1, where the kernel was told this."""
    told_all = states | {"qk_meta": [one | told for one in states["qk_meta"]]}
    return trace_of_states(told_all, tokenizer, PROMPT, RESPONSE).sel(layer=1).isel(step=-1)


@pytest.mark.parametrize(
    ("told", "by"),
    [
        (
            {"alibi_slopes": [0.1 * head for head in range(N_HEADS)]},
            {"slopes": [0.1 * head for head in range(N_HEADS)]},
        ),
        ({"logits_soft_cap": 1.5}, {"cap": 1.5}),
    ],
)
def test_slopes_of_alibi_and_soft_caps_change_the_scores(states, tokenizer, told, by):
    got = last_row(states, tokenizer, **told)["entropy"].values
    np.testing.assert_allclose(got, entropy_by_hand(states, **by), atol=1e-5)
    assert np.abs(got - entropy_by_hand(states)).max() > 0.01


def test_learned_sinks_take_their_share(states, tokenizer):
    sinks = [0.5 * head for head in range(N_HEADS)]
    got = last_row(states, tokenizer, sinks=sinks)
    share = torch.sigmoid(torch.tensor(sinks) - scores_by_hand(states).logsumexp(-1))
    np.testing.assert_allclose(got["sink_share"], share, atol=1e-5)
    np.testing.assert_allclose(got["entropy"], entropy_by_hand(states), atol=1e-5)


def test_layers_without_learned_sinks_have_no_share(states, tokenizer):
    assert "sink_share" not in trace_of_states(states, tokenizer, PROMPT, RESPONSE)
    share = trace_of_states(changed(states, sinks=[0.0] * N_HEADS), tokenizer, PROMPT, RESPONSE)["sink_share"]
    assert share.isnull().all(("head", "step")).values.tolist() == [False, True, True]


def test_layers_are_in_order_whatever_the_order_they_were_saved_in(model, states, tokenizer):
    got = trace_of_states(saved(model, PROMPT + RESPONSE, kept=[2, 0]), tokenizer, PROMPT, RESPONSE)
    want = trace_of_states(states, tokenizer, PROMPT, RESPONSE)
    assert got["layer"].values.tolist() == [0, 2]
    assert_same(got, want.sel(layer=[0, 2]), atol=0)


def test_what_no_logprob_tells_is_missing(states, tokenizer):
    trace = trace_of_states(states, tokenizer, PROMPT, RESPONSE, model="m")
    for name in ("logprob", "token_entropy", "token_varentropy", "candidate_probability"):
        assert trace[name].isnull().all()
    assert (trace["candidate_id"] == -1).all()


def test_logprobs_of_vllm_tell_the_likeliest_tokens(states, tokenizer):
    logprob = lambda value, rank: types.SimpleNamespace(logprob=value, rank=rank)  # noqa: E731
    first, *others = [{id_: logprob(-1.0, 1)} for id_ in RESPONSE]
    first |= {RESPONSE[0]: logprob(-3.0, 9), 7: logprob(-0.5, 1), 8: logprob(-1.5, 2)}
    trace = trace_of_states(states, tokenizer, PROMPT, RESPONSE, logprobs=[first, *others])
    assert trace["logprob"].values.tolist() == [-3.0] + [-1.0] * (len(RESPONSE) - 1)
    assert trace["candidate_id"].values[0].tolist() == [7, 8, -1, -1, -1]
    np.testing.assert_allclose(trace["candidate_probability"].values[0, :2], np.exp([-0.5, -1.5]), rtol=1e-6)


def test_such_a_trace_is_kept_as_any_other(states, tokenizer, tmp_path):
    trace = trace_of_states(states, tokenizer, PROMPT, RESPONSE)
    save_trace(trace, tmp_path / "one.safetensors", belongs_to="one")
    assert load_trace(tmp_path / "one.safetensors").identical(trace)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda one: {"residual_stream": 1}, "the states have no attn_q; ask vllm-lens for them"),
        (lambda one: one | {"attn_q": one["attn_q"][:2]}, "queries of 2 layers, the keys of 3, 3 indices"),
        (lambda one: one | {"qk_layers": [0, 1, 1]}, "the keys of 3, 2 indices"),
        (lambda one: one | {"qk_layers": [0, 1, "2"]}, "qk_layers or qk_meta are no lists"),
        (lambda one: one | {"qk_meta": None}, "qk_layers or qk_meta are no lists"),
        (lambda one: one | {"qk_meta": one["qk_meta"][:2]}, "and 2 qk_meta"),
        (lambda one: one | {"attn_k": one["attn_k"][:, 1:]}, "attn_k has 11 positions, but .* are 12 tokens"),
        (lambda one: one | {"attn_q": one["attn_q"][:, :, :4]}, "layer 0 tells of 6 heads and 2 of keys, but 4 and 2"),
        (lambda one: one | {"attn_q": one["attn_q"][:, :, :5]}, "queries of 5 heads of width 10 do not go with"),
        (lambda one: one | {"attn_q": one["attn_q"][0]}, "must be .layer, position, head, width."),
        (lambda one: one | {"attn_q": one["attn_q"] * torch.nan}, "of layer 0 are not finite"),
        (lambda one: changed(one, scale=None), "the qk_meta of layer 0 is damaged"),
        (lambda one: changed(one, sinks=[0.0] * 5), "layer 0 tells of 5 or 6 heads and 2 of keys, but 6 and 2"),
        (lambda one: changed(one, use_alibi_sqrt=True), "layer 0 has roots of distances"),
        (lambda one: changed(one, logits_soft_cap="much"), "the qk_meta of layer 0 is damaged"),
        (lambda one: changed(one, sliding_window=[3, 3]), "has a window to the right"),
        (lambda one: one | {"attn_q": {"handle": "x", "shape": [1]}}, "attn_q holds no numbers but a handle"),
        (lambda one: one | {"attn_q": "x"}, "attn_q is a str and no tensor"),
        (lambda one: sent(one) | {"attn_q": sent(one)["attn_q"] | {"data": "AAAA"}}, "attn_q is damaged"),
        (lambda one: sent(one) | {"attn_q": sent(one)["attn_q"] | {"data": "?"}}, "attn_q is damaged"),
        (lambda one: sent(one) | {"attn_q": sent(one)["attn_q"] | {"dtype": "object"}}, "sent as object"),
    ],
)
def test_states_that_are_damaged_or_do_not_fit_are_one_clear_sentence(states, tokenizer, spoil, says):
    with pytest.raises(StatesError, match=says) as raised:
        trace_of_states(spoil(states), tokenizer, PROMPT, RESPONSE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("prompt", "response", "error", "says"),
    [
        (PROMPT, [], StatesError, "must be token ids, one at least"),
        (PROMPT[1:], RESPONSE, StatesError, "attn_q has 12 positions"),
        (PROMPT, [263] * len(RESPONSE), PromptError, "the response holds token ids outside"),
    ],
)
def test_other_tokens_than_those_of_the_states_are_refused(states, tokenizer, prompt, response, error, says):
    with pytest.raises(error, match=says):
        trace_of_states(states, tokenizer, prompt, response)


def test_logprobs_of_another_form_are_refused(states, tokenizer):
    given = [{"token": "a", "logprob": -1.0}] * len(RESPONSE)  # as /v1/chat/completions has them
    with pytest.raises(StatesError, match="logprobs hold 'token': 'a'; give a number a step"):
        trace_of_states(states, tokenizer, PROMPT, RESPONSE, logprobs=given)


def test_as_many_logprobs_as_tokens_are_asked_for(states, tokenizer):
    with pytest.raises(StatesError, match="there are 1 logprobs for 7 tokens"):
        trace_of_states(states, tokenizer, PROMPT, RESPONSE, logprobs=[-1.0])
