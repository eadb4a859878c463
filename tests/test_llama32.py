"""The four Llama 3.2 models by their published configurations: sizes, layers, kinds and heads are those of the files.

Weights are gated and large; a model of the same pattern, only thin and random, stands for each.
"""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from attnent.attention.capture import capture
from attnent.model.generation import generate
from attnent.model.images import PROCESSOR
from attnent.model.loading import load_model, reads_images
from attnent.study.doctor import LLAMA
from attnent.study.sweep.sizes import size_of
from attnent.tiny.vision import PATCH, TILE

FILES = {
    path.stem.removesuffix("-Instruct"): path for path in (Path(__file__).parent / "data" / "llama32").glob("*.json")
}
SHAPES = {  # name: layers, heads, groups of keys, width of a head, the layers that read images
    "Llama-3.2-1B": (16, 32, 8, 64, []),
    "Llama-3.2-3B": (28, 24, 8, 128, []),
    "Llama-3.2-11B-Vision": (40, 32, 8, 128, [3, 8, 13, 18, 23, 28, 33, 38]),
    "Llama-3.2-90B-Vision": (100, 64, 8, 128, [*range(3, 100, 5)]),
}
BY_NAME = pytest.mark.parametrize("name", SHAPES)
N_PATCHES = (TILE // PATCH) ** 2 + 1


@pytest.fixture
def folder(name, tmp_path):
    shutil.copy(FILES[name], tmp_path / "config.json")
    return tmp_path


@BY_NAME
def test_the_doctor_counts_what_the_published_configuration_makes(name, folder):
    config = AutoConfig.from_pretrained(folder)
    loader = AutoModelForImageTextToText if reads_images(str(folder)) else AutoModelForCausalLM
    with torch.device("meta"):
        model = loader.from_config(config)
    n_layers, _, n_groups, width, _ = SHAPES[name]
    (size,) = (one for one in LLAMA if one.name == name)
    assert size.n_parameters == pytest.approx(model.num_parameters(), rel=0.005)
    assert size.cache_numbers == 2 * n_layers * n_groups * width


@BY_NAME
def test_a_sweep_tells_layers_heads_and_memory_from_the_configuration(name, folder):
    (size,) = (one for one in LLAMA if one.name == name)
    found = size_of({"model": str(folder)})
    assert (found.n_layers, found.n_heads) == SHAPES[name][:2]
    assert found.n_bytes == pytest.approx(2 * size.n_parameters, rel=0.005)


@BY_NAME
def test_models_that_read_images_are_told_from_those_that_read_text(name, folder):
    assert reads_images(str(folder)) == ("Vision" in name)


@pytest.fixture(scope="module")
def seeing():
    return load_model("tiny-vision")


def thin(name: str, seeing) -> torch.nn.Module:
    """A random model of the published pattern, of which only widths, vocabulary and tiles are small."""
    given = copy.deepcopy(json.loads(FILES[name].read_text()))
    text, (_, n_heads, *_) = given.get("text_config", given), SHAPES[name]
    text |= {"hidden_size": 2 * n_heads, "intermediate_size": 8, "vocab_size": 1792, "initializer_range": 0.3}
    text |= {"bos_token_id": 1, "eos_token_id": 4, "pad_token_id": 0} | ({"head_dim": 2} if "head_dim" in text else {})
    if "vision_config" in given:
        given["image_token_index"] = 1792
        given["vision_config"] |= {"hidden_size": 32, "intermediate_size": 16, "image_size": TILE}
        given["vision_config"] |= {"vision_output_dim": 32 * 6}
    model_type = given.pop("model_type")
    config = AutoConfig.for_model(model_type, **given)
    torch.manual_seed(0)
    loader = AutoModelForImageTextToText if "vision_config" in given else AutoModelForCausalLM
    model = loader.from_config(config, dtype=torch.float32).eval()
    for place, values in model.named_parameters():
        if "gate" in place and values.numel() == 1:
            torch.nn.init.constant_(values, 0.3)
    if "vision_config" in given:
        vars(model)[PROCESSOR] = vars(seeing[0])[PROCESSOR]
    return model


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if "90B" in name else name for name in SHAPES]
)
def test_a_thin_model_of_the_published_pattern_is_captured_layer_by_layer(name, seeing):
    model, tokenizer = thin(name, seeing), seeing[1]
    n_layers, n_heads, _, _, cross = SHAPES[name]
    assert model.config.get_text_config().rope_parameters["rope_type"] == "llama3"
    images = [Image.new("RGB", (3 * TILE, TILE), "red"), None] if cross else None
    traces = generate(model, tokenizer, ["what is it", "and this"], images=images, max_new_tokens=3, progress=False)
    kinds = ["cross" if layer in cross else "self" for layer in range(n_layers)]
    assert traces[0]["layer"].values.tolist() == list(range(n_layers))
    assert traces[0]["layer_kind"].values.tolist() == kinds
    assert traces[0].sizes["head"] == n_heads
    assert (traces[0]["n_keys"].sel(layer=cross) == 3 * N_PATCHES).all()
    assert traces[1]["layer"].values.tolist() == [layer for layer in range(n_layers) if layer not in cross]


@pytest.mark.parametrize("name", ["Llama-3.2-1B", "Llama-3.2-3B", "Llama-3.2-11B-Vision"])
def test_a_thin_model_of_the_published_pattern_has_the_measures_of_its_eager_weights(name, seeing):
    model = thin(name, seeing)
    inputs = {"input_ids": torch.arange(10, 17)[None], "attention_mask": torch.ones(1, 7, dtype=torch.long)}
    with capture(model, prompt_rows=True) as recording, torch.inference_mode():
        model(**inputs)
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        attentions = model(**inputs, output_attentions=True).attentions
    visible = oracle.visible_keys(inputs["attention_mask"])
    known = [weights for weights in attentions if weights is not None]
    for (layer, stats), weights in zip(sorted(recording.stats.items()), known, strict=True):
        oracle.assert_measures(stats, oracle.measures(weights, visible), atol=5e-5)
        assert stats.kind == "self"
        assert np.isin(layer, SHAPES[name][-1]).sum() == 0
