"""Mllama, as a small random model: layers that attend to an image beside those that attend to text."""

import numpy as np
import oracle
import pytest
import torch
import transformers
from conftest import left_padded

from attnent.attention.capture import capture
from attnent.model.generation import generate
from attnent.model.replaying import replay

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
