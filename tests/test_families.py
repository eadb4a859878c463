"""Every family the README lists, as a tiny random model of its true architecture; and those that must be refused."""

import numpy as np
import oracle
import pytest
import torch
import transformers
from conftest import left_padded

from attnent.attention.capture import CaptureError, capture
from attnent.model.generation import generate
from attnent.model.replaying import replay

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
    prompts, written = [trace.attrs["prompt"] for trace in traces], [trace.token_id.values for trace in traces]
    alone = [replay(model, tokenizer, *given) for given in zip(prompts, written, strict=True)]
    written[1] = written[1][:6]  # of unlike length
    together = replay(model, tokenizer, prompts, written, progress=False)
    for trace, *again in zip(traces, alone, together, strict=True):
        for read in again:
            for name in (*trace.data_vars, "n_keys", "logprob", "token_entropy", "token_varentropy"):
                wanted = trace[name][..., : read.sizes["step"]]
                np.testing.assert_allclose(read[name], wanted, atol=1e-4, err_msg=name)


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


# ---- Mllama: layers that attend to an image

CROSS = [1, 3]
N_PATCHES = (28 // 14) ** 2 + 1  # and the class token
N_TILES = 3


def mllama():
    torch.manual_seed(0)
    text = {
        "vocab_size": 263,
        "hidden_size": 60,
        "intermediate_size": 29,
        "num_hidden_layers": 5,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "cross_attention_layers": CROSS,
        "max_position_embeddings": 97,
        "initializer_range": 0.3,
        "pad_token_id": 261,
        "bos_token_id": 0,
        "eos_token_id": 262,
    }
    vision = {
        "hidden_size": 12,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "attention_heads": 2,
        "intermediate_size": 17,
        "vision_output_dim": 24,
        "image_size": 28,
        "patch_size": 14,
        "max_num_tiles": N_TILES,
        "intermediate_layers_indices": [0],
        "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1], [1, 3], [3, 1]],
    }
    config = transformers.MllamaConfig(text_config=text, vision_config=vision, image_token_index=260)
    model = transformers.MllamaForConditionalGeneration(config).eval()
    for layer in CROSS:  # closed gates would hide the image
        torch.nn.init.constant_(model.model.language_model.layers[layer].cross_attn_attn_gate, 0.7)
        torch.nn.init.constant_(model.model.language_model.layers[layer].cross_attn_mlp_gate, 0.7)
    return model


def with_images(lengths, *, first_sight: list[int], n_tiles: list[int]):
    """A left-padded batch; item b sees the first n_tiles[b] tiles of its one image from position first_sight[b] on."""
    inputs = left_padded(lengths, n_vocabulary=260)
    n_items, n_positions = inputs["input_ids"].shape
    generator = torch.Generator().manual_seed(1)
    sees = torch.zeros(n_items, n_positions, 1, N_TILES, dtype=torch.long)
    for item, (first, tiles) in enumerate(zip(first_sight, n_tiles, strict=True)):
        sees[item, first:, 0, :tiles] = 1
    return inputs | {
        "pixel_values": torch.randn(n_items, 1, N_TILES, 3, 28, 28, generator=generator),
        "aspect_ratio_ids": torch.ones(n_items, 1, dtype=torch.long),
        "aspect_ratio_mask": torch.ones(n_items, 1, N_TILES, dtype=torch.long),
        "cross_attention_mask": sees,
    }


@pytest.fixture(scope="module")
def image_reader():
    return mllama()


@pytest.fixture
def images():
    # Of 13 positions: the second item is padded up to 6 and sees its image from 8 on, the third never.
    return with_images([13, 7, 11], first_sight=[2, 8, 13], n_tiles=[3, 2, 1])


def sees_image(images):
    """(batch, query, key): which image tokens a row may see."""
    return images["cross_attention_mask"][:, :, 0].bool().repeat_interleave(N_PATCHES, dim=-1).numpy()


def test_mllama_is_captured_as_its_eager_weights_say(image_reader, images):
    with capture(image_reader, prompt_rows=True) as recording, torch.inference_mode():
        image_reader(**images)
    image_reader.set_attn_implementation("eager")
    with torch.inference_mode():
        attentions = image_reader(**images, output_attentions=True).attentions
    image_reader.set_attn_implementation("sdpa")
    on_text, on_image = oracle.visible_keys(images["attention_mask"]), sees_image(images)
    for layer, weights in enumerate(attentions):
        stats, is_cross = recording.stats[layer], layer in CROSS
        wanted = oracle.measures(weights, on_image if is_cross else on_text, own=np.full(13, -1) if is_cross else None)
        assert stats.kind == ("cross" if is_cross else "self")
        if is_cross:
            wanted |= {name: np.full_like(wanted[name], np.nan) for name in wanted if name.endswith("_mass")}
        oracle.assert_measures(stats, wanted, atol=5e-5)


def test_rows_that_may_see_no_image_are_missing_on_layers_that_read_it(image_reader, images):
    with capture(image_reader, prompt_rows=True) as recording, torch.inference_mode():
        image_reader(**images)
    blind = ~sees_image(images).any(-1)
    assert blind.sum() == 2 + 8 + 13
    for layer in CROSS:
        stats = recording.stats[layer]
        assert (stats.n_keys.movedim(1, -1).numpy()[blind] == 0).all()
        missing = np.isnan(stats.entropy.movedim(1, -1).numpy())
        assert missing[blind].all()
        assert not missing[~blind].any()


def test_rows_that_may_see_no_image_are_missing_while_decoding_too(image_reader, images):
    settings = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None}
    with capture(image_reader) as recording:
        image_reader.generate(**images, **settings)
    assert len(recording.passes) == 3
    for stats in recording.passes:
        for layer in CROSS:
            assert stats[layer].n_keys[:, 0, 0].tolist() == [3 * N_PATCHES, 2 * N_PATCHES, 0]
            assert stats[layer].entropy.isnan().any(dim=1)[:, 0].tolist() == [False, False, True]


def test_a_pass_without_an_image_follows_one_with_it(image_reader, images):
    text = left_padded([5, 5])
    with capture(image_reader) as recording, torch.inference_mode():
        image_reader(**images)
        image_reader(**text)
    assert sorted(recording.passes[0]) == [0, 1, 2, 3, 4]
    assert sorted(recording.passes[1]) == [0, 2, 4]


def test_mllama_gives_logits_bit_identical_to_plain_sdpa(image_reader, images):
    with torch.inference_mode():
        plain = image_reader(**images).logits
        with capture(image_reader):
            watched = image_reader(**images).logits
    assert torch.equal(plain, watched)


def test_mllama_writes_and_replays_text_without_an_image(image_reader, tokenizer):
    (trace,) = generate(image_reader, tokenizer, ["another thing"], max_new_tokens=5, progress=False)
    again = replay(image_reader, tokenizer, "another thing", trace.token_id.values)
    assert trace.layer.values.tolist() == [0, 2, 4]
    np.testing.assert_allclose(again.entropy, trace.entropy, atol=1e-4)


def test_each_part_of_a_composite_model_gets_its_own_attention_back():
    model = mllama()
    before = {"": "sdpa", "text_config": "sdpa", "vision_config": "eager"}
    model.set_attn_implementation(before)
    hooks = sum(len(module._forward_pre_hooks) for module in model.modules())
    with capture(model):
        model(input_ids=torch.zeros(1, 3, dtype=torch.long))
    assert model.config._attn_implementation == "sdpa"
    assert model.config.text_config._attn_implementation == "sdpa"
    assert model.config.vision_config._attn_implementation == "eager"
    assert sum(len(module._forward_pre_hooks) for module in model.modules()) == hooks


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
