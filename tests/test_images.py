"""Images beside prompts: what the processor makes of them reaches the model, and what reads them is measured."""

import functools
import hashlib
import inspect
import json

import numpy as np
import oracle
import pandas as pd
import pytest
import torch
import transformers
from conftest import byte_level_tokenizer
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import attnent as ae
from attnent.model.batches import inputs_of
from attnent.model.generation import derive_seed
from attnent.model.images import PROCESSOR
from attnent.model.loading import ModelError, load_model, reads_images
from attnent.model.prompts import PromptError, encode_prompts, encoded_prompt
from attnent.model.streaming import stream, whole
from attnent.store.traces import load_trace, save_trace
from attnent.tiny.vision import CROSS, N_LAYERS, PATCH, TILE

N_PATCHES = (TILE // PATCH) ** 2 + 1  # and the class token
PROMPTS = ["what is it", "tell me a much longer story of this", "no image here", "two of them"]
run = functools.partial(ae.generate, max_new_tokens=7, progress=False)


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


SMALL, WIDE = noise(TILE, TILE), noise(TILE, 4 * TILE - 9, seed=1)  # of one tile and of four
IMAGES = [SMALL, WIDE, None, [noise(30, 30, seed=2), SMALL]]


@pytest.fixture(scope="module")
def seeing():
    return load_model("tiny-vision")


@pytest.fixture(scope="module")
def traces(seeing):
    return run(*seeing, PROMPTS, images=IMAGES)


def assert_same(got, want, atol=1e-4):
    assert got["layer"].values.tolist() == want["layer"].values.tolist()
    for name in (*want.data_vars, "n_keys", "token_id", "logprob", "token_entropy", "candidate_probability"):
        np.testing.assert_allclose(got[name], want[name], atol=atol, err_msg=name)
    assert {name: got.attrs[name] for name in ("prompt", "response")} | got.attrs == got.attrs | {
        name: want.attrs[name] for name in ("prompt", "response")
    }
    assert got.attrs.get("images") == want.attrs.get("images")


# ---- what the model is given


def test_a_batch_with_images_is_what_the_processor_makes_of_it(seeing):
    model, tokenizer = seeing
    processor = vars(model)[PROCESSOR]
    encoded = encode_prompts(model, tokenizer, PROMPTS[:2], IMAGES[:2], n_new_tokens=1)
    messages = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}] for prompt in PROMPTS[:2]
    ]
    texts = processor.apply_chat_template(messages, add_generation_prompt=True)
    told = {"padding": True, "padding_side": "left", "add_special_tokens": False, "return_tensors": "pt"}
    wanted = processor(text=texts, images=[[SMALL], [WIDE]], **told)
    got = inputs_of(model, tokenizer, encoded)
    assert got.keys() == wanted.keys()
    assert wanted["attention_mask"].sum(-1).tolist() == [len(one.token_ids) for one in encoded]
    for name, values in wanted.items():
        torch.testing.assert_close(got[name], values, msg=name)


def test_messages_with_a_part_for_each_image_say_what_a_text_says(seeing, traces):
    parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": PROMPTS[3]}]
    (trace,) = run(*seeing, [[{"role": "user", "content": parts}]], images=IMAGES[3:])
    np.testing.assert_allclose(trace.entropy, traces[3].entropy, atol=1e-4)
    assert json.loads(trace.attrs["prompt"])[0]["content"] == parts


LLAMA = (  # what the template of Llama 3.2 Vision does with a system message, and with the content of others
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] | trim }}"
    "{% set messages = messages[1:] %}{% endif %}{% for m in messages %};{% if m['content'] is string %}"
    "{{ m['content'] }}{% else %}{% for p in m['content'] %}"
    "{{ '<|image|>' if p['type'] == 'image' else p['text'] }}{% endfor %}{% endif %}{% endfor %}"
)
LLAVA = (  # which has no place for a text that is in no part
    "{{ bos_token }}{% for m in messages %};{% for p in m['content'] %}"
    "{{ '<|image|>' if p['type'] == 'image' else 'text:' + p['text'] }}{% endfor %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "wanted"),
    [(LLAMA, "<|bos|>Be brief.;<|image|>in"), (LLAVA, "<|bos|>;text:Be brief.;<|image|>text:in")],
)
def test_each_template_is_given_texts_as_it_takes_them(template, wanted):
    model, tokenizer = load_model("tiny-vision")
    vars(model)[PROCESSOR].chat_template = template
    content = [{"type": "image"}, {"type": "text", "text": "in"}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    assert encoded_prompt(model, tokenizer, messages, [SMALL]).text == wanted
    text = encoded_prompt(model, tokenizer, [{"role": "user", "content": "in"}]).token_ids
    assert tokenizer.decode(text) == {LLAMA: "<|bos|>;in", LLAVA: "<|bos|>;text:in"}[template]


def test_images_may_be_paths(seeing, traces, tmp_path):
    SMALL.save(tmp_path / "small.png")
    (trace,) = run(*seeing, PROMPTS[:1], images=[str(tmp_path / "small.png")])
    assert_same(trace, traces[0])


def test_a_processor_may_stand_in_place_of_the_tokenizer(seeing, traces):
    model, _ = load_model("tiny-vision")
    processor = vars(model).pop(PROCESSOR)
    (trace,) = run(model, processor, PROMPTS[:1], images=IMAGES[:1])
    assert_same(trace, traces[0])


def test_a_folder_with_a_processor_is_loaded_with_it(seeing, traces, tmp_path):
    model, _ = seeing
    model.save_pretrained(tmp_path)
    vars(model)[PROCESSOR].save_pretrained(tmp_path)
    (trace,) = run(*load_model(str(tmp_path)), PROMPTS[:1], images=IMAGES[:1])
    assert_same(trace, traces[0])


# ---- what is measured


def test_each_prompt_has_the_numbers_that_it_has_alone(seeing, traces):
    for prompt, image, trace in zip(PROMPTS, IMAGES, traces, strict=True):
        assert_same(run(*seeing, [prompt], images=[image])[0], trace)


def test_layers_that_read_images_are_cross_and_their_keys_are_the_tokens_of_the_tiles_that_are_there(traces):
    kinds = ["cross" if layer in CROSS else "self" for layer in range(N_LAYERS)]
    for trace, n_tiles in zip(traces, [1, 4, 0, 2], strict=True):
        if n_tiles == 0:
            assert trace["layer"].values.tolist() == [layer for layer in range(N_LAYERS) if layer not in CROSS]
            assert set(trace["layer_kind"].values.tolist()) == {"self"}
            continue
        assert trace["layer_kind"].values.tolist() == kinds
        assert (trace["n_keys"].sel(layer=CROSS) == n_tiles * N_PATCHES).all()
        assert trace["prompt_mass"].sel(layer=CROSS).isnull().all()
        assert trace["entropy"].notnull().all()


def test_what_is_generated_has_the_measures_of_eager_weights(seeing, traces):
    model, tokenizer = seeing
    model.set_attn_implementation("eager")
    try:
        for prompt, image, trace in zip(PROMPTS, IMAGES, traces, strict=True):
            (item,) = encode_prompts(model, tokenizer, [prompt], [image], n_new_tokens=7)
            inputs = inputs_of(model, tokenizer, [item])
            following = torch.tensor([trace["token_id"].values[:-1].tolist()])
            inputs["input_ids"] = torch.cat([inputs["input_ids"], following], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            n, n_prompt = inputs["input_ids"].shape[1], trace.attrs["n_prompt"]
            if image is not None:
                tiles = inputs["cross_attention_mask"]
                inputs["cross_attention_mask"] = torch.cat([tiles, tiles[:, -1:].expand(-1, n - n_prompt, -1, -1)], 1)
                on_image = inputs["cross_attention_mask"].flatten(2).bool().repeat_interleave(N_PATCHES, dim=-1).numpy()
            with torch.inference_mode():
                attentions = model(**inputs, output_attentions=True).attentions
            rows, own = slice(n_prompt - 1, None), np.arange(n_prompt - 1, n)
            for weights, layer in zip(attentions, trace["layer"].values.tolist(), strict=True):
                is_cross = layer in CROSS
                seen = on_image if is_cross else oracle.visible_keys(inputs["attention_mask"])
                at = {"own": own, "n_prompt": np.full(len(own), n_prompt)}
                wanted = oracle.measures(weights[:, :, rows], seen[:, rows], **at)
                for name in oracle.MEASURES:
                    want = np.nan * wanted[name] if is_cross and name.endswith("_mass") else wanted[name]
                    got = trace[name].sel(layer=layer)
                    np.testing.assert_allclose(got, want[0], atol=5e-5, err_msg=f"{name} of layer {layer}")
    finally:
        model.set_attn_implementation("sdpa")


def test_a_response_to_images_is_replayed(seeing, traces):
    ids = [trace["token_id"].values for trace in traces]
    ids[1] = ids[1][:4]  # of unlike length
    read = ae.replay(*seeing, PROMPTS, ids, images=IMAGES, progress=False)
    for again, trace in zip(read, traces, strict=True):
        assert again["layer"].values.tolist() == trace["layer"].values.tolist()
        for name in (*trace.data_vars, "n_keys", "logprob"):
            wanted = trace[name].isel(step=slice(again.sizes["step"]))
            np.testing.assert_allclose(again[name], wanted, atol=1e-4, err_msg=name)


def test_columns_and_top_keys_leave_layers_out_that_read_images(seeing):
    (trace,) = run(*seeing, PROMPTS[:1], images=IMAGES[:1], columns=True, top_keys=3)
    assert trace["received_mass"].sel(layer=CROSS).isnull().all()
    assert trace["received_mass"].sel(layer=0).notnull().all()
    assert not {*CROSS} & {*trace["top_layer"].values.tolist()}
    np.testing.assert_allclose(trace["top_weight"].isel(place=0), trace["max_weight"].sel(layer=trace["top_layer"]))


def test_a_response_to_an_image_is_streamed(seeing, traces):
    steps = list(stream(*seeing, PROMPTS[1], images=WIDE, max_new_tokens=7))
    assert_same(whole(seeing[1], steps), traces[1])


def test_equal_prompts_about_other_images_draw_other_random_numbers(seeing):
    prompts, images = ["what is it"] * 4, [SMALL, WIDE, SMALL, None]
    seeds = [trace.attrs["seed"] for trace in run(*seeing, prompts, images=images)]
    assert len({*seeds}) == 4
    assert seeds[:1] == [run(*seeing, prompts[:1], images=images[:1])[0].attrs["seed"]]
    assert seeds[3:] == [run(*seeing, prompts[:1])[0].attrs["seed"]]


def test_a_batch_with_images_that_does_not_fit_is_halved(seeing, traces):
    model, _ = seeing
    forward, sizes = model.forward, []

    @functools.wraps(forward)
    def small(*args, **kwargs):
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*args, **kwargs)

    model.forward = small
    try:
        got = run(*seeing, PROMPTS[:2], images=IMAGES[:2])
    finally:
        del model.forward
    assert 2 in sizes
    for one, trace in zip(got, traces[:2], strict=True):
        assert_same(one, trace)


# ---- what is kept of them


def test_a_trace_names_its_images_by_their_pixels(traces, tmp_path):
    save_trace(traces[3], tmp_path / "a.safetensors")
    kept = load_trace(tmp_path / "a.safetensors").attrs["images"]
    pixels = [np.asarray(image) for image in IMAGES[3]]
    wanted = [hashlib.sha256(f"{one.shape[1]} {one.shape[0]}\n".encode() + one.tobytes()).hexdigest() for one in pixels]
    assert json.loads(kept) == wanted
    assert "images" not in traces[2].attrs


def test_a_response_is_read_again_with_its_own_images_alone(seeing, traces):
    again = ae.read_again(*seeing, traces[3], images=IMAGES[3])
    np.testing.assert_allclose(again["entropy"], traces[3]["entropy"], atol=1e-4)
    for others in (None, SMALL, [SMALL, WIDE]):
        with pytest.raises(PromptError, match="other images than those given; give its own"):
            ae.read_again(*seeing, traces[3], images=others)


@pytest.fixture
def examples(tmp_path):
    paths = [str(tmp_path / name) for name in ("small.png", "wide.png")]
    for path, image in zip(paths, (SMALL, WIDE), strict=True):
        image.save(path)
    images = [paths[0], None, paths, paths[1]]
    return pd.DataFrame({"id": list("abcd"), "prompt": PROMPTS, "images": images})


def test_a_recording_with_images_that_was_stopped_goes_on_with_the_same_numbers(seeing, examples, tmp_path):
    settings = {"task": "see", "max_new_tokens": 5, "temperature": 1.0, "batch_size": 2, "progress": False}
    never = ae.record(*seeing, examples, out_dir=tmp_path / "never", **settings)
    stopped = ae.record(*seeing, examples, out_dir=tmp_path / "stopped", **settings)
    for response_id in "bd":
        (stopped.folder / "traces" / f"{response_id}.safetensors").unlink()
    again = ae.record(*seeing, examples, out_dir=tmp_path / "stopped", **settings)
    for (_, one), (_, other) in zip(never.traces(), again.traces(), strict=True):
        np.testing.assert_array_equal(one["entropy"], other["entropy"])
    assert never.examples["images"].tolist() == examples["images"].tolist()


def test_a_run_of_prompts_with_and_without_images_is_missing_where_a_response_has_no_such_layer(
    seeing, examples, tmp_path
):
    settings = {"task": "see", "max_new_tokens": 5, "out_dir": tmp_path, "progress": False}
    run_ = ae.record(*seeing, examples.iloc[[1, 0, 2, 3]], **settings)  # the one without an image first
    stack = run_.stack("entropy")
    assert stack["layer"].values.tolist() == list(range(N_LAYERS))
    assert stack["layer_kind"].values.tolist() == ["cross" if layer in CROSS else "self" for layer in range(N_LAYERS)]
    for number, (_, trace) in enumerate(run_.traces()):
        wanted = trace["entropy"].reindex(layer=range(N_LAYERS))
        np.testing.assert_array_equal(stack[number, ..., : wanted.sizes["step"]], wanted)
    assert run_.stack("entropy", layers=[CROSS[0]])[0].isnull().all()
    assert run_.responses["entropy"].notnull().all()


def test_layers_that_read_images_are_not_recorded_where_there_are_none(seeing, examples, tmp_path):
    settings = {"task": "see", "max_new_tokens": 3, "out_dir": tmp_path, "progress": False}
    run_ = ae.record(*seeing, examples, layers=[0, CROSS[0]], **settings)
    assert [trace["layer"].values.tolist() for _, trace in run_.traces()] == [[0, 1], [0], [0, 1], [0, 1]]
    with pytest.raises(ae.RunError, match=r"without an image no layer of \[1\] attends to anything"):
        ae.record(*seeing, examples, layers=[CROSS[0]], **settings)


def test_a_recording_is_another_where_an_image_has_changed(seeing, examples, tmp_path):
    settings = {"task": "see", "max_new_tokens": 3, "folder": tmp_path / "run", "progress": False}
    ae.record(*seeing, examples, **settings)
    noise(TILE, TILE, seed=5).save(examples["images"][0])
    with pytest.raises(ae.RunError, match=r"other parameters \(images differ\)"):
        ae.record(*seeing, examples, **settings)


def test_texts_about_images_are_read_into_a_run(seeing, examples, tmp_path):
    settings = {"task": "see", "out_dir": tmp_path, "progress": False}
    read = ae.record(*seeing, examples.assign(said="a green square"), reads="said", **settings)
    (alone,) = ae.replay(*seeing, PROMPTS[:1], ["a green square"], images=[SMALL], progress=False)
    np.testing.assert_allclose(read.trace("a")["entropy"], alone["entropy"], atol=1e-4)


def test_samples_are_drawn_of_prompts_with_their_images(seeing, examples, tmp_path):
    asked = {"max_new_tokens": 4, "progress": False}
    run_ = ae.record(*seeing, examples, task="see", out_dir=tmp_path, **asked)
    ae.add_samples(*seeing, run_, 1, seed=3, **asked)
    texts = run_.labels("samples").set_index("response_id")["text"]
    seeds = [derive_seed("sample", 3, 1, id_) for id_ in examples["id"]]
    images = examples["images"].tolist()
    wanted = ae.generate(*seeing, PROMPTS, images=images, temperature=1.0, seed=seeds, **asked)
    assert texts[examples["id"]].tolist() == [trace.attrs["response"] for trace in wanted]


# ---- images that stand in the text


@pytest.fixture(scope="module")
def llava():
    """A tiny random LLaVA whose images are four tokens each, and its processor."""
    torch.manual_seed(0)
    tokenizer = byte_level_tokenizer()
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    of_image = {"image_size": 28, "patch_size": 14, "hidden_size": 12, "intermediate_size": 17}
    vision = transformers.CLIPVisionConfig(**of_image, num_hidden_layers=2, num_attention_heads=2)
    text = transformers.LlamaConfig(
        **{"vocab_size": 264, "hidden_size": 42, "intermediate_size": 29, "num_hidden_layers": 3, "head_dim": 10},
        **{"num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 97, "pad_token_id": 261},
        **{"initializer_range": 0.3, "bos_token_id": None, "eos_token_id": 262},
    )
    config = transformers.LlavaConfig(vision_config=vision, text_config=text, image_token_index=263)
    size = {"height": 28, "width": 28}
    reader = CLIPImageProcessorPil(size=size, crop_size=size)
    processor = transformers.LlavaProcessor(
        reader, tokenizer, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    return transformers.LlavaForConditionalGeneration(config).eval(), processor


def test_image_tokens_in_the_text_are_keys_of_the_prompt_and_named(llava):
    model, processor = llava
    traces = run(model, processor, ["in the an", "thin"], images=[[SMALL, WIDE], WIDE])
    model.set_attn_implementation("eager")
    for trace, n_images in zip(traces, (2, 1), strict=True):
        assert json.loads(trace.attrs["image_keys"]) == list(range(4 * n_images))
        assert trace["layer_kind"].values.tolist() == ["self"] * 3
        n_prompt, n_steps = trace.attrs["n_prompt"], trace.sizes["step"]
        assert trace["n_keys"].isel(layer=0).values.tolist() == list(range(n_prompt, n_prompt + n_steps))
    (trace, _), prompt = (
        traces,
        encode_prompts(model, processor.tokenizer, ["in the an"], [[SMALL, WIDE]], n_new_tokens=7),
    )
    inputs = inputs_of(model, processor.tokenizer, prompt)
    following = torch.tensor([trace["token_id"].values[:-1].tolist()])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], following], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.inference_mode():
        attentions = model(**inputs, output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    n_prompt = trace.attrs["n_prompt"]
    rows, own = slice(n_prompt - 1, None), np.arange(n_prompt - 1, inputs["input_ids"].shape[1])
    seen = oracle.visible_keys(inputs["attention_mask"])[:, rows]
    for layer, weights in enumerate(attentions):
        wanted = oracle.measures(weights[:, :, rows], seen, own=own, n_prompt=np.full(len(own), n_prompt))
        for name in oracle.MEASURES:
            np.testing.assert_allclose(trace[name].sel(layer=layer), wanted[name][0], atol=5e-5, err_msg=name)


def test_what_a_model_wrote_about_images_in_the_text_is_replayed(llava):
    prompts, images = ["in the an", "thin", "é"], [[SMALL, WIDE], WIDE, None]
    traces = run(*llava, prompts, images=images)
    read = ae.replay(*llava, prompts, [one["token_id"].values for one in traces], images=images, progress=False)
    for again, trace in zip(read, traces, strict=True):
        np.testing.assert_allclose(again["entropy"], trace["entropy"], atol=1e-4)


def test_tokens_of_images_count_against_the_context(llava):
    with pytest.raises(PromptError, match=r"prompt 0 has 93 tokens, and with 7 new ones it exceeds .* context of 97"):
        run(*llava, ["in"], images=[[SMALL] * 23])


# ---- bad input


def image_file(tmp_path, content: bytes) -> str:
    (tmp_path / "broken.png").write_bytes(content)
    return str(tmp_path / "broken.png")


@pytest.mark.parametrize(
    ("prompts", "images", "complaint"),
    [
        (["in", "an"], [SMALL], "images is 1 entries for 2 prompts; give a list of one each"),
        (["in"], SMALL, "images is a Image for 1 prompts; give a list of one each"),
        (["in"], ["missing.png"], "missing.png of prompt 0 cannot be read as an image"),
        (["in"], ["."], ". of prompt 0 cannot be read as an image"),
        (["in"], [[SMALL, 3]], "an image of prompt 0 is a int; give a PIL image or the path of one"),
        (["in <|image|>"], [SMALL], "the processor cannot read prompt 0 and its images"),
        ([[{"role": "user", "content": "in"}]], [SMALL], 'have 0 parts {"type": "image"}, but 1 images are given'),
        (
            [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "in"}]}]],
            None,
            'have 1 parts {"type": "image"}, but 0 images are given',
        ),
        ([[{"role": "user", "content": [{"type": "image", "url": "x"}]}]], [SMALL], "must be a string or a list of"),
        ([[{"role": "user", "content": [{"type": "image"}]}]], [SMALL], "prompt 0 is empty"),
        ([[3, 4]], [SMALL], "must be a string or a list of"),
        (["in " * 600], [SMALL], "exceeds the model's context of 512"),
    ],
)
def test_bad_images_are_one_clear_sentence(seeing, prompts, images, complaint):
    with pytest.raises(PromptError) as refusal:
        run(*seeing, prompts, images=images)
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_token_ids_of_an_image_without_it_are_refused(seeing):
    with pytest.raises(PromptError, match="prompt 0 holds token ids of an image, but no image; give text"):
        run(*seeing, [[3, seeing[0].config.image_token_id]])


def test_a_file_that_is_no_image_is_one_clear_sentence(seeing, tmp_path):
    for content in (b"", b"no image", b"\x89PNG\r\n\x1a\n\x00\x00"):
        with pytest.raises(PromptError, match="of prompt 0 cannot be read as an image"):
            run(*seeing, ["in"], images=[image_file(tmp_path, content)])


def test_an_image_for_a_text_model_is_one_clear_sentence():
    with pytest.raises(
        PromptError, match="prompt 0 has an image, but tiny is a text model; load one that reads images"
    ):
        run(*load_model("tiny"), ["in"], images=[SMALL])


def test_a_vision_model_without_its_processor_reads_text_and_says_of_images_what_is_missing(seeing, tmp_path):
    seeing[0].save_pretrained(tmp_path)
    seeing[1].save_pretrained(tmp_path)
    model, tokenizer = load_model(str(tmp_path))
    assert run(model, tokenizer, ["in"])[0].sizes["step"] == 7
    with pytest.raises(ModelError, match=r"has no processor to read images with \(.*\); load it") as refusal:
        run(model, tokenizer, ["in"], images=[SMALL])
    assert "\n" not in str(refusal.value)


# ---- the small random model


def test_the_random_model_is_the_same_each_time_and_says_what_it_is(seeing, traces):
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    again = load_model("tiny-vision")
    assert torch.equal(torch.random.get_rng_state(), state), "who calls it keeps its random numbers"
    assert_same(run(*again, PROMPTS[1:2], images=IMAGES[1:2])[0], traces[1])
    assert traces[0].attrs["model"] == "tiny-vision (random weights)"
    assert load_model("tiny-vision", dtype="bfloat16")[0].dtype == torch.bfloat16


def test_it_is_told_from_its_configuration_whether_a_model_reads_images(seeing, tmp_path):
    seeing[0].save_pretrained(tmp_path)
    assert reads_images(str(tmp_path))
    assert reads_images("tiny-vision")
    assert not reads_images("tiny")
    with pytest.raises(ModelError, match=r"there is no model|could not be loaded"):
        reads_images("nobody/nothing")


# ---- half precision


@pytest.mark.parametrize(("dtype", "atol"), [("float16", 0.15), ("bfloat16", 1.0)])
@pytest.mark.parametrize(("name", "images"), [("tiny", None), ("tiny-vision", IMAGES[:2])])
def test_half_precision_on_a_cpu_gives_the_numbers_of_float32_as_far_as_it_holds_them(name, images, dtype, atol):
    whole_, half = load_model(name), load_model(name, dtype=dtype)
    wanted = run(*whole_, PROMPTS[:2], images=images)
    ids = [trace["token_id"].values for trace in wanted]
    for got, trace in zip(ae.replay(*half, PROMPTS[:2], ids, images=images, progress=False), wanted, strict=True):
        assert got.attrs["dtype"] == dtype
        np.testing.assert_array_equal(got["n_keys"], trace["n_keys"])
        np.testing.assert_allclose(got["entropy"], trace["entropy"], atol=atol)


@pytest.mark.parametrize("dtype", ["Half", "BFloat16"])
def test_a_device_without_half_precision_is_one_clear_sentence(seeing, dtype):
    model, _ = seeing

    def forward(*args, **kwargs):
        raise RuntimeError(f"\"addmm_impl_cpu_\" not implemented for '{dtype}'")

    forward.__signature__ = inspect.signature(model.forward)
    model.forward = forward
    try:
        with pytest.raises(ModelError, match=f"cannot do all that the model does in {dtype}; load it with dtype='floa"):
            run(*seeing, PROMPTS[:1], images=IMAGES[:1])
    finally:
        del model.forward


# ---- where on a picture a head looks


def test_weights_on_a_picture_are_those_of_its_patches_each_in_its_place(seeing, traces):
    layer, head, side = CROSS[1], 2, TILE // PATCH
    picture = noise(2 * TILE - 7, 2 * TILE, seed=4)  # of two by two tiles
    found = ae.attention_on_image(*seeing, PROMPTS[0], picture, layer=layer, head=head)
    flat = ae.attention_row(*seeing, PROMPTS[0], layer=layer, head=head, images=picture)
    assert found.shape == (2 * side, 2 * side)
    for tile in range(4):
        for patch in range(side**2):
            y, x = tile // 2 * side + patch // side, tile % 2 * side + patch % side
            assert found[y, x] == flat[tile * N_PATCHES + 1 + patch]
    assert float(found.sum()) + found.attrs["elsewhere"] == pytest.approx(1)
    (trace,) = run(*seeing, PROMPTS[:1], images=[picture])
    largest = max(float(found.max()), *flat[::N_PATCHES])
    assert float(trace["max_weight"].sel(layer=layer)[head, 0]) == pytest.approx(largest, abs=1e-4)


@pytest.mark.parametrize(
    ("height", "width", "last_y", "last_x"),
    [(TILE, TILE, TILE - PATCH / 2, TILE - PATCH / 2), (28, 28, 28 - 3.5, 28 - 3.5), (50, 2 * TILE, 49, 105)],
)
def test_patches_stand_where_they_lie_in_the_picture(seeing, height, width, last_y, last_x):
    """The second is enlarged to a tile; the third fills two tiles in width, and its last row lies beyond the edge."""
    found = ae.attention_on_image(*seeing, "in", noise(height, width), layer=CROSS[0], head=0)
    assert (float(found["y"][-1]), float(found["x"][-1])) == pytest.approx((last_y, last_x))


def test_where_a_layer_looks_that_reads_no_image_is_one_clear_sentence(seeing):
    with pytest.raises(ValueError, match=r"layer 0 reads no image; give one of \[1, 4, 7\]"):
        ae.attention_on_image(*seeing, "in", SMALL, layer=0, head=0)
    with pytest.raises(ValueError, match="layer 0 reads no image; give one of a model that has such layers"):
        ae.attention_on_image(*load_model("tiny"), "in", SMALL, layer=0, head=0)
