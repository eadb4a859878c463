"""Every family the README lists, as a tiny random model of its true architecture; and those that must be refused."""

import numpy as np
import oracle
import pytest
import torch
import transformers
from conftest import left_padded

from attnent.capture import CaptureError, capture
from attnent.generation import generate, replay

WINDOW = 5
SIZES = {
    "vocab_size": 263,
    "hidden_size": 42,
    "intermediate_size": 29,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 97,
    "initializer_range": 0.3,
    "pad_token_id": 261,
    "bos_token_id": None,
    "eos_token_id": 262,
}
MIXED = {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
NO_WIDTH = {"head_dim": None, "hidden_size": 60}  # families that take it from the hidden size

# name: (model class, config class, settings, the window of each layer)
FAMILIES = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", {}, [None, None]),
    "mistral": ("MistralForCausalLM", "MistralConfig", {"sliding_window": WINDOW}, [WINDOW, WINDOW]),
    "mistral, full": ("MistralForCausalLM", "MistralConfig", {"sliding_window": None}, [None, None]),
    "mixtral": (
        "MixtralForCausalLM",
        "MixtralConfig",
        {"num_local_experts": 3, "hidden_size": 48, "intermediate_size": 28},
        [None, None],
    ),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {}, [None, None]),
    "qwen2, windows": (
        "Qwen2ForCausalLM",
        "Qwen2Config",
        MIXED | {"use_sliding_window": True, "sliding_window": WINDOW},
        [WINDOW, None, WINDOW],
    ),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {}, [None, None]),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", {}, [None, None]),
    "gemma3": (
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        MIXED | {"sliding_window": WINDOW, "query_pre_attn_scalar": 10},
        [WINDOW, None, WINDOW],
    ),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", NO_WIDTH | {"sliding_window": None}, [None, None]),
    "phi": ("PhiForCausalLM", "PhiConfig", NO_WIDTH | {"hidden_size": 48}, [None, None]),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", NO_WIDTH, [None, None]),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", NO_WIDTH, [None, None]),
    "cohere2": ("Cohere2ForCausalLM", "Cohere2Config", MIXED | {"sliding_window": WINDOW}, [WINDOW, None, WINDOW]),
    "stablelm": ("StableLmForCausalLM", "StableLmConfig", NO_WIDTH, [None, None]),
    "granite": ("GraniteForCausalLM", "GraniteConfig", NO_WIDTH, [None, None]),
    "smollm3": (
        "SmolLM3ForCausalLM",
        "SmolLM3Config",
        MIXED | NO_WIDTH | {"use_sliding_window": True, "sliding_window": WINDOW},
        [WINDOW, None, WINDOW],
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"n_embd": 60, "n_layer": 2, "n_head": 6, "n_positions": 97, "n_inner": 29},
        [None, None],
    ),
    "opt": ("OPTForCausalLM", "OPTConfig", {"ffn_dim": 29, "word_embed_proj_dim": 42}, [None, None]),
    "starcoder2": (
        "Starcoder2ForCausalLM",
        "Starcoder2Config",
        NO_WIDTH | {"sliding_window": None},
        [None, None],
    ),
}


def tiny(model_class: str, config_class: str, settings: dict) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    sizes = {name: value for name, value in (SIZES | settings).items() if value is not None or name not in SIZES}
    sizes["bos_token_id"] = None
    if "n_embd" in settings:
        known = ("vocab_size", "initializer_range", "eos_token_id", "bos_token_id", "pad_token_id")
        sizes = {name: SIZES[name] for name in known} | settings
    config = getattr(transformers, config_class)(**sizes)
    return getattr(transformers, model_class)(config).eval()


@pytest.fixture(params=FAMILIES, scope="module")
def family(request):
    model_class, config_class, settings, windows = FAMILIES[request.param]
    return tiny(model_class, config_class, settings), windows


def test_a_family_is_captured_as_its_eager_weights_say(family):
    model, windows = family
    inputs = left_padded([13, 7, 2])
    with capture(model, prompt_rows=True) as recording, torch.inference_mode():
        model(**inputs)
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        attentions = model(**inputs, output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    assert sorted(recording.stats) == list(range(len(windows)))
    for layer, (weights, window) in enumerate(zip(attentions, windows, strict=True)):
        visible = oracle.visible_keys(inputs["attention_mask"], window=window)
        oracle.assert_measures(recording.stats[layer], oracle.measures(weights, visible), atol=5e-5)
        assert recording.stats[layer].kind == ("sliding" if window else "self")


@pytest.mark.parametrize("lengths", [[13, 13, 13], [13, 7, 2]], ids=["unpadded", "padded"])
def test_a_family_gives_logits_bit_identical_to_plain_sdpa(family, lengths):
    model, _ = family
    inputs = left_padded(lengths)
    with torch.inference_mode():
        plain = model(**inputs).logits
        with capture(model):
            watched = model(**inputs).logits
    assert torch.equal(plain, watched)


def test_a_family_replays_what_it_generated(family, tokenizer):
    model, _ = family
    traces = generate(model, tokenizer, ["another thing in", "é"], max_new_tokens=11, progress=False)
    for trace in traces:
        again = replay(model, tokenizer, trace.attrs["prompt"], trace.token_id.values)
        for name in (*trace.data_vars, "n_keys", "logprob", "token_entropy", "token_varentropy"):
            np.testing.assert_allclose(again[name], trace[name], atol=1e-4, err_msg=name)


# ---- Llama 4: chunks instead of windows

CHUNK = 5


def llama4():
    torch.manual_seed(0)
    sizes = {
        "intermediate_size_mlp": 29,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "attention_chunk_size": CHUNK,
        "layer_types": ["chunked_attention", "full_attention"],
        "no_rope_layers": [1, 0],
        "moe_layers": [],
    }
    return transformers.Llama4ForCausalLM(transformers.Llama4TextConfig(**(SIZES | sizes))).eval()


def test_chunked_layers_are_measured_on_the_keys_in_the_chunk():
    model = llama4()
    inputs = left_padded([13, 7, 2])
    with capture(model, prompt_rows=True) as recording, torch.inference_mode():
        model(**inputs)
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        attentions = model(**inputs, output_attentions=True).attentions
    for layer, (weights, chunk) in enumerate(zip(attentions, [CHUNK, None], strict=True)):
        visible = oracle.visible_keys(inputs["attention_mask"], chunk=chunk)
        oracle.assert_measures(recording.stats[layer], oracle.measures(weights, visible), atol=5e-5)
        assert recording.stats[layer].kind == ("sliding" if chunk else "self")


def test_a_chunked_model_replays_what_it_generated(tokenizer):
    model = llama4()
    for trace in generate(model, tokenizer, ["another thing", "é"], max_new_tokens=11, progress=False):
        again = replay(model, tokenizer, trace.attrs["prompt"], trace.token_id.values)
        for name in (*trace.data_vars, "n_keys", "logprob", "token_entropy"):
            np.testing.assert_allclose(again[name], trace[name], atol=1e-4, err_msg=name)


def test_gemma2_without_its_softcap_is_captured_as_its_eager_weights_say():
    settings = MIXED | {"attn_logit_softcapping": None, "sliding_window": WINDOW, "query_pre_attn_scalar": 10}
    model = tiny("Gemma2ForCausalLM", "Gemma2Config", settings)
    inputs = left_padded([13, 7, 2])
    with capture(model, prompt_rows=True) as recording, torch.inference_mode():
        model(**inputs)
    with torch.inference_mode():
        attentions = model(**inputs, output_attentions=True).attentions
    for layer, (weights, window) in enumerate(zip(attentions, [WINDOW, None, WINDOW], strict=True)):
        visible = oracle.visible_keys(inputs["attention_mask"], window=window)
        oracle.assert_measures(recording.stats[layer], oracle.measures(weights, visible), atol=5e-5)


# ---- refusals

NOT_CAPTURED = {
    "gpt_oss": ("GptOssForCausalLM", "GptOssConfig", {"num_local_experts": 2}, "s_aux"),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {"query_pre_attn_scalar": 10}, "softcap"),
    "bloom": ("BloomForCausalLM", "BloomConfig", {"n_head": 6, "n_layer": 2}, "never calls"),
    "falcon": ("FalconForCausalLM", "FalconConfig", {}, "never calls"),
    "gptj": (
        "GPTJForCausalLM",
        "GPTJConfig",
        {"n_embd": 60, "n_layer": 2, "n_head": 6, "n_positions": 97, "rotary_dim": 4},
        "never calls",
    ),
}


@pytest.mark.parametrize("name", NOT_CAPTURED)
def test_what_cannot_be_measured_exactly_is_refused_in_one_sentence(name, tokenizer):
    model_class, config_class, settings, why = NOT_CAPTURED[name]
    model = tiny(model_class, config_class, settings | ({} if "n_embd" in settings else NO_WIDTH))
    with pytest.raises(CaptureError, match=why) as refusal:
        generate(model, tokenizer, ["thing"], max_new_tokens=2, progress=False)
    assert "\n" not in str(refusal.value)
    assert "use a" in str(refusal.value), "it says what to do"


def t5():
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=263, d_model=42, d_kv=7, d_ff=29, num_layers=2, num_heads=6, decoder_start_token_id=261
    )
    return transformers.T5ForConditionalGeneration(config).eval()


def test_an_encoder_decoder_is_refused_by_generate(tokenizer):
    with pytest.raises(CaptureError, match="encoder"):
        generate(t5(), tokenizer, ["thing"], max_new_tokens=2, progress=False)


def test_an_encoder_decoder_is_refused_by_capture():
    ids = torch.zeros(1, 3, dtype=torch.long)
    model = t5()
    with pytest.raises(CaptureError, match="encoder"), capture(model):
        model(input_ids=ids, decoder_input_ids=ids)


def test_a_model_without_attention_is_refused():
    model = transformers.MambaForCausalLM(transformers.MambaConfig(vocab_size=7, hidden_size=8, num_hidden_layers=1))
    with pytest.raises(CaptureError, match="attention"), capture(model):
        model(input_ids=torch.zeros(1, 3, dtype=torch.long))
