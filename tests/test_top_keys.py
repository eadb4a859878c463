"""Where each row looks, against explicit weights in float64; and a Trace without it is as if nobody had asked."""

import functools
import shutil

import numpy as np
import oracle
import pandas as pd
import pytest
import torch
from conftest import N_HEADS, N_LAYERS, left_padded, random_llama
from families import FAMILIES, OF_EACH_KIND, WINDOW
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from test_columns import PROMPTS, eager_weights, positions_of
from test_generation import failing
from test_mllama import CROSS, mllama, with_images
from test_trace import made
from transformers import GenerationConfig

import attnent as ae
from attnent.attention import capture as capturing
from attnent.attention import rows
from attnent.attention.capture import Watch, watching
from attnent.attention.tops import TopKeys, Tops, top_keys_of
from attnent.store.traces import save_trace
from attnent.trace import KEY_MEASURES, TOP_KEYS, TOP_MEASURES, TraceError

N = 7  # of the prompts and windows of these tests, some are longer and some shorter
ASKED = ["Tell me about the sea.", "What is 3 + 4?", "Write a poem about a river and a dog."]
generate = functools.partial(ae.generate, max_new_tokens=11, top_keys=N, progress=False)


@pytest.fixture(scope="module")
def model():
    return random_llama()


@pytest.fixture(scope="module")
def bundled():
    return ae.load_model("tiny")


@pytest.fixture(scope="module")
def asked(bundled):
    """Unlike prompts in one batch, of which two end before the third."""
    traces = ae.generate(*bundled, ASKED, max_new_tokens=40, top_keys=8, progress=False)
    assert len({trace.sizes["step"] for trace in traces}) == len({trace.attrs["n_prompt"] for trace in traces}) == 3
    return traces


def assert_top_keys(trace, weights, *, atol=1e-5, limits=None):
    """Of every layer, head and step; `weights` (head, query, key) are of one pass over all positions of each layer."""
    n_keys, n_places = trace.attrs["n_prompt"] + trace.sizes["step"] - 1, trace.sizes["place"]
    assert trace.top_key.dims == trace.top_weight.dims == ("top_layer", "top_head", "step", "place")
    assert (trace.top_key.dtype, trace.top_weight.dtype) == (np.int32, np.float32)
    assert trace.key.values.tolist() == list(range(n_keys))
    for layer, (of_layer, limit) in enumerate(zip(weights, limits or [{}] * len(weights), strict=True)):
        (visible,) = oracle.visible_keys(np.ones((1, n_keys)), **limit)
        for step in range(trace.sizes["step"]):
            place = trace.attrs["n_prompt"] - 1 + step
            seen = np.flatnonzero(visible[place])
            for head, row in enumerate(of_layer[:, place].astype(np.float64)):
                got = trace.isel(top_layer=layer, top_head=head, step=step)
                assert_row(got.top_key.values, got.top_weight.values, row / row[seen].sum(), seen, n_places, atol)


def assert_row(keys, weights, row, seen, n_places, atol):
    """The keys of a row that are told apart by more than rounding, and the weights of all of them."""
    n_there = min(n_places, len(seen))
    assert (keys[n_there:] == -1).all()
    assert np.isnan(weights[n_there:]).all()
    order = seen[np.argsort(-row[seen], kind="stable")]
    np.testing.assert_allclose(weights[:n_there], row[order[:n_there]], atol=atol)
    np.testing.assert_allclose(weights[:n_there], row[keys[:n_there]], atol=atol)
    assert len(set(keys[:n_there].tolist())) == n_there
    gaps = -np.diff(row[order], prepend=np.inf, append=-np.inf)
    is_apart = (gaps[:-1] > 2 * atol) & (gaps[1:] > 2 * atol)
    assert (keys[:n_there] == order[:n_there])[is_apart[:n_there]].all()


def same_top_keys(got, want):
    """The weights agree, and the keys wherever no other weight is that near."""
    np.testing.assert_allclose(got.top_weight, want.top_weight, atol=1e-5)
    gaps = -np.diff(want.top_weight.values, axis=-1, prepend=np.inf, append=-np.inf)
    is_apart = (gaps[..., :-1] > 2e-5) & (gaps[..., 1:] > 2e-5)
    is_apart[..., -1] = False  # what follows it is not known
    assert is_apart.mean() > 0.3
    assert (got.top_key.values == want.top_key.values)[is_apart].all()


# ---- against explicit weights


@torch.inference_mode()
def test_the_top_keys_while_a_padded_batch_is_written_are_those_of_the_oracle(bundled, asked):
    model, tokenizer = bundled
    for trace in asked:
        ids = positions_of(trace, tokenizer)
        places = torch.arange(ids.shape[1]).unsqueeze(0)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "position_ids": places}
        weights = oracle.llama_weights(model, inputs, n_heads=6, n_groups=2)
        assert_top_keys(trace, [of_layer[0] for of_layer in weights])


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_replay_looks_where_the_model_looked_when_it_wrote(bundled, asked, batch_size):
    written = [trace.token_id.values for trace in asked]
    read = ae.replay(*bundled, ASKED, written, top_keys=8, batch_size=batch_size, progress=False)
    for got, want in zip(read, asked, strict=True):
        same_top_keys(got, want)
        assert got.key_token.identical(want.key_token)


def test_a_recorded_response_is_replayed_with_the_top_keys_of_its_generation(bundled, tmp_path):
    examples = pd.DataFrame({"id": ["a"], "prompt": ASKED[:1]})
    run = ae.record(*bundled, examples, task="t", folder=tmp_path, max_new_tokens=20, progress=False)
    (written,) = ae.generate(*bundled, ASKED[:1], max_new_tokens=20, top_keys=8, progress=False)
    recorded = run.trace("a")
    again = ae.replay(*bundled, recorded.attrs["prompt"], recorded.token_id.values, top_keys=8)
    same_top_keys(again, written)


@pytest.mark.parametrize("name", OF_EACH_KIND)
def test_a_family_looks_where_its_eager_weights_say(name, tokenizer):
    model, exact, limits = FAMILIES[name].make(), FAMILIES[name].make(torch.float64), FAMILIES[name].limits
    written = generate(model, tokenizer, PROMPTS[:4])
    texts = [trace.token_id.values for trace in written]
    read = ae.replay(model, tokenizer, PROMPTS[:4], texts, top_keys=N, batch_size=4, progress=False)
    assert min(trace.sizes["key"] for trace in written) > WINDOW
    for trace in (*written, *read):
        weights = eager_weights(exact, positions_of(trace, tokenizer))
        assert_top_keys(trace, weights, limits=limits, atol=5e-5)  # float32 weights are off by 2e-5 at most


def test_a_model_in_float64_has_the_top_keys_of_its_weights_in_float64(tokenizer):
    model = random_llama().double()
    (trace,) = generate(model, tokenizer, PROMPTS[:1])
    assert_top_keys(trace, eager_weights(model, positions_of(trace, tokenizer)), atol=1e-6)


def test_the_top_keys_in_bfloat16_are_those_of_its_queries_and_keys(tokenizer, monkeypatch):
    model, seen, sdpa = random_llama().to(torch.bfloat16), {}, capturing.sdpa_attention_forward

    def spy(module, query, key, *others, **settings):
        seen[module.layer_idx] = query.double().numpy(), key.double().numpy().repeat(query.shape[1] // key.shape[1], 1)
        return sdpa(module, query, key, *others, **settings)

    monkeypatch.setattr(capturing, "sdpa_attention_forward", spy)
    trace = ae.replay(model, tokenizer, PROMPTS[0], "thin é in the tin", top_keys=N)
    visible = oracle.visible_keys(np.ones((1, trace.sizes["key"])))
    scores = [query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5 for query, key in seen.values()]
    assert_top_keys(trace, [oracle.softmax(one, visible[:, None])[0] for one in scores])


def test_top_keys_in_one_replay_in_blocks_of_rows_are_those_of_the_oracle(model, tokenizer, monkeypatch):
    monkeypatch.setattr(rows, "SCORES_AT_ONCE", N_HEADS * 30 * 4)
    trace = ae.replay(model, tokenizer, PROMPTS[3], "thin é in the tin", top_keys=N)
    assert_top_keys(trace, eager_weights(model, positions_of(trace, tokenizer)))


@torch.inference_mode()
@pytest.mark.parametrize("lengths", [[11, 11], [11, 3]], ids=["unpadded", "padded"])
def test_the_unused_keys_of_a_static_cache_are_not_looked_at(model, lengths):
    inputs, tops = left_padded(lengths), Tops(TopKeys(N))
    with watching(model, Watch(tops=tops)):
        written = model.generate(**inputs, max_new_tokens=4, eos_token_id=None, cache_implementation="static")
    for row, length in enumerate(lengths):
        weights = eager_weights(model, written[row : row + 1, 11 - length : -1])
        assert_top_keys(made_of(tops.of_item(row, ["a"] * length, ["b"] * 4), length), weights)


def made_of(tops, n_prompt):
    """A Trace of the top keys, all else made up."""
    n_steps = tops["top_key"].shape[2]
    whole = made().isel(step=slice(n_steps))
    return made(
        measures={name: whole[name].values for name in capturing.MEASURES},
        n_keys=whole.n_keys.values,
        token=["b"] * n_steps,
        steps={name: whole[name].values for name in (*ae.trace.STEP_NUMBERS, *ae.trace.CANDIDATES)},
        attrs=whole.attrs | {"n_prompt": n_prompt},
        tops=tops,
    )


def test_what_follows_an_end_of_text_is_not_in_the_trace(model, tokenizer):
    whole = generate(model, tokenizer, PROMPTS)
    own = model.generation_config
    model.generation_config = GenerationConfig(eos_token_id=[int(whole[0].token_id[3]), int(whole[3].token_id[0])])
    try:
        stopped = generate(model, tokenizer, PROMPTS)
    finally:
        model.generation_config = own
    assert {trace.sizes["step"] for trace in stopped} >= {1, 11}
    for trace in stopped:
        assert_top_keys(trace, eager_weights(model, positions_of(trace, tokenizer)))


def test_a_batch_that_does_not_fit_is_halved_and_looks_at_the_same_keys(model, tokenizer):
    want = generate(model, tokenizer, PROMPTS)
    with failing(model, torch.OutOfMemoryError("CUDA out of memory"), above=2) as spy:
        got = generate(model, tokenizer, PROMPTS)
    assert min(spy.sizes) < max(spy.sizes) == len(PROMPTS)
    for one, other in zip(got, want, strict=True):
        same_top_keys(one, other)


# ---- some layers and heads


def test_chosen_layers_and_heads_are_those_of_all(model, tokenizer):
    chosen = TopKeys(3, layers=[2, 0], heads=[5, 1])
    some, whole = (generate(model, tokenizer, PROMPTS, top_keys=one) for one in (chosen, 3))
    for got, want in zip(some, whole, strict=True):
        assert got.top_layer.values.tolist() == [0, 2]
        assert got.top_head.values.tolist() == [1, 5]
        part = want.sel(top_layer=[0, 2], top_head=[1, 5])
        assert all(got[name].identical(part[name]) for name in TOP_MEASURES)


@torch.inference_mode()
def test_layers_that_read_an_image_are_not_among_all():
    model, tops = mllama(), Tops(TopKeys(N))
    with watching(model, Watch(tops=tops)):
        model(**with_images([13, 7], first_sight=[2, 8], n_tiles=[3, 2]))
    assert tops.of_item(0, ["a"] * 13, ["b"])["top_layer"].tolist() == [0, 2, 4]


def test_layers_that_read_an_image_are_refused_by_name(tokenizer):
    model = mllama()
    with pytest.raises(ValueError, match=f"keys of layer {CROSS[0]} are no tokens"):
        generate(model, tokenizer, PROMPTS[:1], top_keys=TopKeys(3, layers=[0, *CROSS]))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (-1, "asks for -1 keys"),
        (98, "from 1 to the model's context of 97"),
        (TopKeys(0), "asks for 0 keys"),
        (TopKeys(True), "top_keys is"),
        (TopKeys(8.0), "top_keys is"),
        (True, "top_keys is True"),
        ("8", "top_keys is '8'"),
        ((8, None, None), "top_keys is"),
        (TopKeys(8, layers=[1, 3]), r"the layers of top_keys are \[3\], but the model has 0 to 2"),
        (TopKeys(8, layers=[-1]), r"the layers of top_keys are \[-1\]"),
        (TopKeys(8, layers=[]), r"the layers of top_keys are \[\]"),
        (TopKeys(8, layers=1), "the layers of top_keys are 1, but must be a list"),
        (TopKeys(8, heads=[6, 2]), r"the heads of top_keys are \[6\], but the model has 0 to 5"),
        (TopKeys(8, heads="12"), r"the heads of top_keys are \['1', '2'\]"),
    ],
)
def test_top_keys_that_there_are_not_are_refused_in_one_sentence(model, wrong, why):
    with pytest.raises(ValueError, match=why) as refusal:
        top_keys_of(model, wrong)
    assert "\n" not in str(refusal.value)


def test_no_model_runs_for_top_keys_that_it_does_not_have(model, tokenizer, tmp_path):
    wrong = TopKeys(8, layers=[N_LAYERS])
    examples = pd.DataFrame({"id": ["a"], "prompt": ["an"]})
    with failing(model, AssertionError("it ran"), above=0):
        for ask in (
            lambda: generate(model, tokenizer, ["an"], top_keys=wrong),
            lambda: ae.replay(model, tokenizer, "an", "in", top_keys=wrong),
            lambda: ae.record(model, tokenizer, examples, task="t", out_dir=tmp_path, top_keys=wrong, progress=False),
        ):
            with pytest.raises(ValueError, match="the layers"):
                ask()
    assert not list(tmp_path.iterdir())


# ---- the text of the keys


def test_the_text_of_the_keys_is_that_of_prompt_and_response(bundled, asked):
    _, tokenizer = bundled
    for trace in asked:
        texts, n_prompt = trace.key_token.values.tolist(), trace.attrs["n_prompt"]
        assert texts[n_prompt:] == trace.token.values.tolist()[:-1]
        assert "".join(texts[:n_prompt]) == tokenizer.decode(positions_of(trace, tokenizer)[0, :n_prompt])


def test_each_part_of_a_character_in_the_prompt_is_shown_as_the_whole(model, tokenizer):
    (trace,) = generate(model, tokenizer, ["a🙂b"])
    assert trace.key_token.values.tolist()[:6] == ["a", *["🙂"] * 4, "b"]


# ---- laws


@st.composite
def rows_of_weights(draw):
    """One row of weights, (batch, head, 1, key), many perhaps equal or 0, and which keys it sees: the last."""
    n_items, n_heads, n_keys = draw(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 40)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    visible = np.arange(n_keys) >= random.integers(0, n_keys, (n_items, 1, 1, 1))
    scores = random.integers(0, draw(st.integers(1, 1000)), (n_items, n_heads, 1, n_keys))
    scores = np.where(visible, scores * random.choice([0.001, 0.1, 30.0]), -np.inf)
    return torch.tensor(scores).float().softmax(dim=-1), torch.tensor(visible)


def tops_of(weights, visible, asked, row=0):
    """The top keys of one item, and its weights on the keys that it sees, (head, key)."""
    tops, n_seen = Tops(asked), int(visible[row].sum())
    tops.add(0, weights, visible, torch.tensor(weights.shape[-1] - 1))
    return tops.of_item(row, ["a"] * n_seen, ["b"]), weights[row, :, 0, -n_seen:].numpy()


@settings(max_examples=150)
@given(given_rows=rows_of_weights(), n=st.integers(1, 45))
def test_the_weights_descend_and_equal_ones_come_in_the_order_of_their_keys(given_rows, n):
    weights, visible = given_rows
    for row in range(len(weights)):
        found, own = tops_of(weights, visible, TopKeys(n), row)
        for keys, values, of_head in zip(found["top_key"][0], found["top_weight"][0], own, strict=True):
            wanted = sorted(range(len(of_head)), key=lambda key: (-of_head[key], key))[:n]
            assert keys[0].tolist() == wanted + [-1] * (n - len(wanted))
            assert values[0, : len(wanted)].tolist() == of_head[wanted].tolist()
            assert np.isnan(values[0, len(wanted) :]).all()


@settings(max_examples=50)
@given(given_rows=rows_of_weights(), n=st.integers(1, 45), seed=st.integers(0, 99))
def test_permuted_heads_have_permuted_top_keys(given_rows, n, seed):
    weights, visible = given_rows
    order = np.random.default_rng(seed).permutation(weights.shape[1])
    found, _ = tops_of(weights, visible, TopKeys(n))
    turned, _ = tops_of(weights[:, order], visible, TopKeys(n))
    for name in TOP_MEASURES:
        np.testing.assert_array_equal(turned[name], found[name][:, order])


def test_no_row_has_more_weight_than_there_is_and_the_first_is_the_largest(asked):
    for trace in asked:
        assert float(trace.top_weight.sum("place").max()) <= 1 + 1e-5
        np.testing.assert_allclose(trace.top_weight.isel(place=0), trace.max_weight, atol=1e-6)


@pytest.mark.parametrize("nothing", [torch.tensor(torch.nan), -torch.tensor(torch.nan)])
def test_a_row_that_sees_no_key_and_a_layer_that_does_not_attend_are_missing(nothing):
    tops = Tops(TopKeys(2, layers=(0, 3)))
    tops.add(3, nothing.expand(1, 2, 1, 4), torch.zeros(1, 1, 1, 4, dtype=torch.bool), torch.tensor(3))
    found = tops.of_item(0, ["a"], ["b"])
    assert found["top_layer"].tolist() == [0, 3]
    assert (found["top_key"] == -1).all()
    assert np.isnan(found["top_weight"]).all()


def test_a_layer_that_nobody_asked_for_is_not_ranked(monkeypatch):
    tops = Tops(TopKeys(2, layers=(0,)))
    monkeypatch.setattr(torch.Tensor, "topk", lambda *given, **settings: pytest.fail("it was ranked"))
    tops.add(1, torch.full((1, 2, 1, 4), 0.25), None, torch.tensor(3))


# ---- without top keys


@torch.inference_mode()
@pytest.mark.parametrize("lengths", [[13, 13], [13, 7]], ids=["unpadded", "padded"])
def test_logits_are_bit_identical_to_plain_sdpa(model, lengths):
    inputs = left_padded(lengths)
    plain = model(**inputs).logits
    with watching(model, Watch(n_rows=None, tops=Tops(TopKeys(N)))):
        assert torch.equal(model(**inputs).logits, plain)


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_trace_is_otherwise_byte_for_byte_that_without_top_keys(tokenizer, dtype, columns, monkeypatch):
    monkeypatch.setattr(rows, "SCORES_AT_ONCE", 5 * N_HEADS * 30 * 4)
    model = random_llama().to(dtype)
    texts = ["thin é", "a", "another antenna within the tin", "in the", "tan"]
    for make, *what in [(functools.partial(ae.generate, max_new_tokens=11), PROMPTS), (ae.replay, PROMPTS, texts)]:
        with_top_keys, without = (
            make(model, tokenizer, *what, columns=columns, top_keys=n, progress=False) for n in (N, 0)
        )
        for one, other in zip(with_top_keys, without, strict=True):
            assert one.drop_vars([*TOP_KEYS, *([] if columns else ["key"])]).identical(other)
            for name in other.variables:
                if name != "token":  # texts are objects
                    assert one[name].values.tobytes() == other[name].values.tobytes(), name


def test_a_file_without_top_keys_says_nothing_of_them(model, tokenizer, tmp_path):
    for n, name in [(N, "with"), (0, "without")]:
        (trace,) = generate(model, tokenizer, ["é"], top_keys=n)
        save_trace(trace, tmp_path / name)
    with safe_open(tmp_path / "with", "numpy") as one, safe_open(tmp_path / "without", "numpy") as other:
        assert set(one.keys()) - set(other.keys()) == {*TOP_KEYS}
        assert not any(name in text for name in (*TOP_KEYS, *KEY_MEASURES) for text in other.metadata().values())


def made_up_tops():
    return {
        **dict.fromkeys(TOP_MEASURES, np.zeros((1, 2, 7, 5))),
        "top_layer": np.array([4]),
        "top_head": np.array([0, 2]),
        "key_token": ["a"] * (11 + 7 - 1),
    }


@pytest.mark.parametrize("change", [lambda tops: tops.pop("top_weight"), lambda tops: tops.update(top=0)])
def test_top_keys_are_whole_or_refused(change):
    tops = made_up_tops()
    assert made(tops=tops).sizes["place"] == 5
    change(tops)
    with pytest.raises(TraceError, match="top keys"):
        made(tops=tops)


def test_top_keys_of_another_response_are_refused():
    with pytest.raises(ValueError, match="key"):
        made(tops=made_up_tops() | {"key_token": ["a"] * 9})


# ---- recorded

EXAMPLES = pd.DataFrame({"id": ["a", "b", "c", "d"], "prompt": [*ASKED, "What is 5 + 12?"]})


@pytest.fixture(scope="module")
def recorded(bundled, tmp_path_factory):
    return record(bundled, out_dir=tmp_path_factory.mktemp("tops"), top_keys=TopKeys(5, layers=[4, 1], heads=[3, 0]))


@pytest.fixture
def copied(recorded, tmp_path):
    return ae.Run(shutil.copytree(recorded.folder, tmp_path / "copy"))


def record(bundled, **settings):
    settings = {"task": "test", "max_new_tokens": 9, "batch_size": 2, "progress": False} | settings
    return ae.record(*bundled, EXAMPLES, **settings)


def test_every_trace_of_a_run_with_top_keys_has_them_and_comes_back_equal(bundled, recorded):
    prompts, asked = EXAMPLES["prompt"].tolist(), TopKeys(5, layers=[1, 4], heads=[0, 3])
    wanted = ae.generate(*bundled, prompts, max_new_tokens=9, batch_size=2, top_keys=asked, progress=False)
    for (_, trace), want in zip(recorded.traces(), wanted, strict=True):
        for name in (*TOP_KEYS, "key"):
            assert trace[name].identical(want[name])
            assert trace[name].dtype == want[name].dtype


def test_the_identity_of_a_run_differs_by_its_top_keys_alone(bundled, recorded, tmp_path):
    without = record(bundled, out_dir=tmp_path)
    said = {"top_keys": {"n": 5, "layers": [1, 4], "heads": [0, 3]}}
    assert recorded.manifest["identity"] == without.manifest["identity"] | said
    assert "top_keys" not in without.manifest["identity"]
    assert without.folder.name != recorded.folder.name
    assert without.stack("entropy").identical(recorded.stack("entropy"))


def test_a_run_of_texts_read_has_top_keys_too(bundled, tmp_path):
    examples = EXAMPLES.assign(solution="The sea is blue.")
    run = ae.record(*bundled, examples, task="t", folder=tmp_path, reads="solution", top_keys=2, progress=False)
    assert run.manifest["identity"]["top_keys"]["n"] == 2
    assert all(trace.sizes["place"] == 2 for _, trace in run.traces())


def test_a_run_with_top_keys_that_lost_a_response_ends_with_the_same_numbers(bundled, recorded, copied):
    (copied.folder / "traces" / "b.safetensors").unlink()
    again = record(bundled, folder=copied.folder, top_keys=TopKeys(5, layers=(1, 4, 4), heads=[3, 0]))
    for response_id, trace in again.traces():
        assert trace.identical(recorded.trace(response_id)), response_id


def test_other_top_keys_are_another_run(bundled, copied):
    with pytest.raises(ae.RunError, match="top_keys differ"):
        record(bundled, folder=copied.folder, top_keys=5)


@pytest.mark.parametrize("name", TOP_KEYS)
def test_a_flipped_byte_in_the_top_keys_is_found(copied, name):
    path = copied.folder / "traces" / "c.safetensors"
    with safe_open(path, "numpy") as file:
        number = file.get_tensor(name).tobytes()
    content = path.read_bytes()
    assert content.count(number) == 1
    path.write_bytes(content.replace(number, bytes([number[0] ^ 1]) + number[1:]))
    found = copied.verify()
    assert list(found.damaged) == ["c"]
    assert f"the numbers of {name}" in found.damaged["c"]


def test_a_run_with_top_keys_has_tables_and_samples(bundled, recorded):
    assert len(recorded.responses) == len(EXAMPLES)
    (judge,) = ae.add_samples(*bundled, recorded, 1, max_new_tokens=3, progress=False)
    assert set(recorded.labels("samples")["judge"]) == {judge}


def test_a_run_with_top_keys_is_shown(recorded):
    assert "top_weight" not in ae.Scrubber(recorded)._measures


# ---- read again by the model that wrote it


@pytest.mark.parametrize(
    "prompt",
    ["Tell me about the sea.", [{"role": "user", "content": "Tell me about the sea."}], "[1, 2, 3]"],
    ids=["text", "messages", "text like JSON"],
)
def test_a_recorded_response_is_read_again_with_the_top_keys_that_it_would_have_had(bundled, prompt):
    (without,) = ae.generate(*bundled, [prompt], max_new_tokens=9, progress=False)
    (wanted,) = ae.generate(*bundled, [prompt], max_new_tokens=9, top_keys=4, progress=False)
    again = ae.read_again(*bundled, without, top_keys=4)
    np.testing.assert_array_equal(again.token_id, without.token_id)
    np.testing.assert_allclose(again.top_weight, wanted.top_weight, atol=1e-5)
    assert (again.top_key == wanted.top_key).mean() > 0.99, "but where two weights are as good as equal"


def test_a_response_of_another_model_is_not_read_again(bundled):
    (trace,) = ae.generate(*bundled, ["Tell me about the sea."], max_new_tokens=4, progress=False)
    other = trace.assign_attrs(n_prompt=trace.n_prompt + 1, model="another")
    with pytest.raises(ae.PromptError, match="makes another prompt of what another was given"):
        ae.read_again(*bundled, other)
