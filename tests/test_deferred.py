"""Steps measured later, many together: the numbers of steps measured at once, and nothing kept but what it takes."""

import functools
import weakref

import numpy as np
import pytest
import torch
from conftest import N_HEADS, N_LAYERS, WIDTH, left_padded, random_llama
from families import FAMILIES
from hypothesis import given, settings
from hypothesis import strategies as st
from test_capture import gemma3, mistral
from test_generation import PROMPTS
from transformers import GenerationConfig

from attnent.attention import deferral
from attnent.attention.capture import CaptureError, Watch, stats_of_pass, watching
from attnent.attention.columns import Columns
from attnent.attention.deferral import Deferred
from attnent.attention.rows import MEASURES, Rows, measure
from attnent.attention.tops import TopKeys, Tops
from attnent.model.generation import generate

ALL = functools.partial(generate, temperature=1.0, columns=True, top_keys=5, progress=False)
NUMBERS = ("n_keys", "logprob", "token_entropy")


@pytest.fixture(scope="module")
def model():
    """In float64, so that what is rounding and what is wrong are far apart."""
    return random_llama().double()


@pytest.fixture
def at_once(monkeypatch):
    """From here on no step waits."""
    return lambda: monkeypatch.setattr(Deferred, "take", lambda *given: False)


def assert_same(got, want):
    for one, other in zip(got, want, strict=True):
        assert one.token_id.values.tolist() == other.token_id.values.tolist()
        for name in (*other.data_vars, *NUMBERS):
            np.testing.assert_allclose(one[name], other[name], rtol=1e-6, atol=1e-7, err_msg=name)


class ending:  # noqa: N801 (reads as a verb)
    """While it lasts, these tokens end a text."""

    def __init__(self, model, ends):
        self.model, self.ends = model, ends

    def __enter__(self):
        self.own, self.model.generation_config = self.model.generation_config, GenerationConfig(eos_token_id=self.ends)

    def __exit__(self, *exception):
        self.model.generation_config = self.own


# ---- laws


@settings(max_examples=12)
@given(
    prompts=st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=4),
    n_steps=st.integers(1, 9),
    n_at_once=st.integers(1, 10),
    ends=st.lists(st.integers(0, 260), max_size=60),
    seed=st.integers(0, 9),
)
def test_traces_are_the_same_with_blocks_of_any_size(model, tokenizer, prompts, n_steps, n_at_once, ends, seed):
    traces = functools.partial(ALL, model, tokenizer, prompts, max_new_tokens=n_steps, batch_size=4, seed=seed)
    with ending(model, [*ends, 262]), pytest.MonkeyPatch.context() as patch:
        patch.setattr(deferral, "STEPS_AT_ONCE", n_at_once)
        got = traces()
        patch.setattr(Deferred, "take", lambda *given: False)
        assert_same(got, traces())


@st.composite
def steps_of_a_layer(draw):
    """Queries (step, batch, head, 1, width), keys of the last step and a mask row a step: None, or of bool or float."""
    n_items, n_groups, n_steps, n_before = draw(
        st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 9), st.integers(0, 6))
    )
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    queries = 2 * torch.randn(n_steps, n_items, 2 * n_groups, 1, 7, dtype=torch.float64, generator=random)
    keys = torch.randn(n_items, n_groups, n_before + n_steps, 7, dtype=torch.float64, generator=random)
    kind = draw(st.sampled_from([None, torch.bool, torch.float64]))
    sees = torch.rand(n_items, 1, n_before + n_steps, generator=random) < draw(st.sampled_from([0.0, 0.4, 0.9]))
    masks = [None if kind is None else sees[:, None, :, : n_before + step + 1] for step in range(n_steps)]
    if kind == torch.float64:
        added = torch.randn(n_items, 1, 1, n_before + n_steps, dtype=kind, generator=random)
        masks = [added[..., : m.shape[-1]].masked_fill(~m, torch.finfo(kind).min) for m in masks]
    return queries, keys, masks


def step_of(query, key, mask, number, **others):
    return Rows(query, key, mask, None, 0.3, None, torch.tensor([number]), True)._replace(**others)


def measured(deferred, layer=0):
    deferred.finish()
    return torch.cat(deferred._measured[layer], dim=2)


@settings(max_examples=60)
@given(made=steps_of_a_layer(), n_at_once=st.integers(1, 10), is_static=st.booleans())
def test_steps_of_one_layer_are_measured_as_each_alone(made, n_at_once, is_static):
    """Whether the keys grow, or lie in a place that is filled bit by bit and told apart by the mask."""
    queries, keys, masks = made
    n_before = keys.shape[2] - len(queries)
    if is_static and masks[0] is not None:
        hides = False if masks[0].dtype == torch.bool else torch.finfo(masks[0].dtype).min
        n_keys = keys.shape[2]
        masks = [torch.nn.functional.pad(m, (0, n_keys - m.shape[-1]), value=hides) for m in masks]
        place, grown = torch.zeros_like(keys), [keys] * len(queries)
    else:
        is_static, grown = False, [keys[:, :, : n_before + step + 1] for step in range(len(queries))]
    steps = [step_of(*one, number) for number, one in enumerate(zip(queries, grown, masks, strict=True))]
    alone = torch.cat([measure(step, 0) for step in steps], dim=2)
    deferred = Deferred()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deferral, "STEPS_AT_ONCE", n_at_once)
        for number, step in enumerate(steps):
            if is_static:
                place[:, :, : n_before + number + 1] = keys[:, :, : n_before + number + 1]
            assert deferred.take(0, step._replace(key=place if is_static else step.key.clone()))
    np.testing.assert_allclose(measured(deferred), alone, atol=1e-12)
    assert len(deferred._measured[0]) == -(-len(steps) // n_at_once)


@settings(max_examples=60)
@given(
    layers=st.lists(steps_of_a_layer(), min_size=1, max_size=3),
    copies=st.integers(1, 3),
    n_at_once=st.integers(1, 5),
    n_scores=st.sampled_from([1, 300, 2**19]),
)
def test_steps_of_layers_that_are_alike_are_measured_as_those_of_each(layers, copies, n_at_once, n_scores):
    """Layers of one form share the masks of a pass; others stand between them."""
    n_steps = min(len(queries) for queries, *_ in layers)
    passes = []
    for number in range(n_steps):
        made = []
        for queries, keys, masks in layers:
            n_keys = keys.shape[2] - len(queries) + number + 1
            query, key, mask = queries[number], keys[:, :, :n_keys], masks[number]
            made += [step_of((1 + copy) * query, key + copy, mask, number) for copy in range(copies)]
        passes.append(made[::2] + made[1::2])
    deferred = Deferred()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deferral, "STEPS_AT_ONCE", n_at_once)
        patch.setattr(deferral, "SCORES_AT_ONCE", n_scores)
        for steps in passes:
            for layer, step in enumerate(steps):
                assert deferred.take(layer, step)
        deferred.finish()
    for layer, steps in enumerate(zip(*passes, strict=True)):
        alone = torch.cat([measure(step, 0) for step in steps], dim=2)
        np.testing.assert_allclose(measured(deferred, layer), alone, atol=1e-12)


@pytest.mark.parametrize(("kept", "together"), [({}, [2 * 2, 2]), ({"columns": True}, [2, 2, 2])])
def test_layers_that_are_alike_are_measured_in_one_go_where_nothing_else_is_kept(kept, together, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        deferral, "measure", lambda rows, layer, *_: sizes.append(len(rows.query)) or measure(rows, layer)
    )
    columns = Columns(torch.ones(2, 5, dtype=torch.bool)) if kept else None
    deferred, narrow = Deferred(columns), made_step(5)
    for layer, step in enumerate([made_step(5), narrow._replace(scale=0.2), made_step(5)]):
        deferred.take(layer, step)
    deferred.finish()
    assert sizes == together


# ---- what does not go on from the step before


def made_step(n_keys, *, number=0, n_heads_of_mask=None, n_queries=1):
    query, key = torch.randn(2, 4, n_queries, 7).double(), torch.randn(2, 2, n_keys, 7).double()
    mask = None if n_heads_of_mask is None else torch.ones(2, n_heads_of_mask, n_queries, n_keys, dtype=torch.bool)
    return step_of(query, key, mask, number)


@pytest.mark.parametrize(
    ("first", "others"),
    [
        (made_step(5), made_step(5)),  # as many keys, in another place: some were dropped
        (made_step(5, n_heads_of_mask=1), made_step(5, n_heads_of_mask=1)),
        (made_step(5), made_step(4)),
        (made_step(5), made_step(7)),
        (made_step(5), made_step(6, n_heads_of_mask=1)),
        (made_step(5), made_step(6)._replace(scale=0.2)),
    ],
    ids=["dropped", "dropped, masked", "fewer", "more", "mask", "scale"],
)
def test_a_step_that_does_not_go_on_from_the_one_before_lets_that_be_measured_first(first, others):
    deferred = Deferred()
    assert deferred.take(0, first)
    assert deferred.take(0, others)
    assert len(deferred._measured[0]) == 1
    np.testing.assert_allclose(measured(deferred), torch.cat([measure(first, 0), measure(others, 0)], dim=2))


@pytest.mark.parametrize(
    "odd",
    [
        made_step(5, n_queries=2),
        made_step(5, n_heads_of_mask=4),
        made_step(5)._replace(bias=torch.zeros(1, 4, 1, 5)),
    ],
    ids=["queries", "heads", "bias"],
)
def test_what_is_not_certain_to_be_right_later_does_not_wait(odd):
    assert not Deferred().take(0, odd)


@pytest.mark.parametrize(
    "make_model", [mistral, gemma3, lambda: (FAMILIES["llama4"].make(), [5, None])], ids=["all", "some", "chunks"]
)
def test_layers_whose_caches_drop_keys_are_measured_at_once_and_the_others_later(make_model, tokenizer, monkeypatch):
    model, windows = make_model()
    waited, take = set(), Deferred.take
    monkeypatch.setattr(Deferred, "take", lambda self, layer, step: waited.add(layer) or take(self, layer, step))
    got = ALL(model.float(), tokenizer, PROMPTS[:3], max_new_tokens=9)
    monkeypatch.setattr(Deferred, "take", lambda *given: False)
    want = ALL(model, tokenizer, PROMPTS[:3], max_new_tokens=9)
    assert waited == {layer for layer, window in enumerate(windows) if window is None}
    for one, other in zip(got, want, strict=True):
        for name in ("entropy", "varentropy", "prompt_mass", "received_mass", "top_weight"):
            np.testing.assert_allclose(one[name], other[name], atol=2e-5, err_msg=name)


# ---- caches


@torch.inference_mode()
@pytest.mark.parametrize("cache", ["static", "dynamic"])
@pytest.mark.parametrize("lengths", [[11, 11], [11, 3]], ids=["unpadded", "padded"])
def test_steps_that_wait_are_those_of_each_cache_measured_at_once(model, cache, lengths, monkeypatch):
    monkeypatch.setattr(deferral, "STEPS_AT_ONCE", 4)
    asked = {"max_new_tokens": 11, "eos_token_id": None, "output_attentions": True, "return_dict_in_generate": True}

    def stats(deferred):
        tops = Tops(TopKeys(5))
        with watching(model, Watch(tops=tops, deferred=Deferred(tops=tops) if deferred else None)) as _:
            watch = model.model.layers[0].self_attn.attnent_watch
            passes = model.generate(**left_padded(lengths), **asked, cache_implementation=cache).attentions
        joined = [torch.cat(steps, dim=2) for steps in zip(*passes, strict=True)]
        return stats_of_pass(model, joined, watch.deferred), tops.of_item(1, ["a"] * lengths[1], ["b"] * 11)

    (got, got_tops), (want, want_tops) = stats(True), stats(False)
    assert sorted(got) == list(range(N_LAYERS))
    for layer in want:
        for name in (*MEASURES, "n_keys"):
            np.testing.assert_allclose(getattr(got[layer], name), getattr(want[layer], name), atol=1e-12, err_msg=name)
    assert (got_tops["top_key"] == want_tops["top_key"]).all()


# ---- the model does not notice


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", [[13, 13, 13], [13, 7, 1]], ids=["unpadded", "padded"])
def test_tokens_and_logits_are_bit_identical_to_plain_sdpa(dtype, lengths):
    model, inputs = random_llama().to(dtype), left_padded(lengths)
    asked = {"max_new_tokens": 40, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    plain = model.generate(**inputs, **asked)
    columns = Columns(inputs["attention_mask"].bool(), n_new=40)
    watch = Watch(deferred=Deferred())
    with watching(model, watch):
        watched = model.generate(**inputs, **asked, output_attentions=True)
    assert columns.n_positions == 13
    assert torch.equal(plain.sequences, watched.sequences)
    assert all(torch.equal(a, b) for a, b in zip(plain.logits, watched.logits, strict=True))


def test_what_goes_out_of_the_model_may_be_copied_on_its_way(model, tokenizer, at_once):
    """As with many devices, where transformers' outputs are brought to the first."""

    def copied(module, args, outputs):
        outputs.attentions = tuple(one.clone() for one in outputs.attentions)

    handle = model.register_forward_hook(copied)
    got = ALL(model, tokenizer, PROMPTS, max_new_tokens=9)
    handle.remove()
    at_once()
    assert_same(got, ALL(model, tokenizer, PROMPTS, max_new_tokens=9))


@pytest.mark.parametrize("waits", [True, False])
def test_a_layer_that_attends_twice_in_a_pass_is_refused(tokenizer, monkeypatch, waits):
    model = random_llama()
    model.model.layers[2].self_attn.layer_idx = 1
    if not waits:
        monkeypatch.setattr(Deferred, "take", lambda *given: False)
    with pytest.raises(CaptureError, match="layer 1 of LlamaForCausalLM attends more than once"):
        generate(model, tokenizer, ["in"], max_new_tokens=5, progress=False)


# ---- what is kept


def test_of_the_steps_that_wait_only_queries_and_the_last_keys_are_kept(tokenizer, monkeypatch):
    model, keys, kept = random_llama(), {}, []
    take = Deferred.take

    def spy(self, layer, step):
        taken = take(self, layer, step)
        keys.setdefault(layer, []).append(weakref.ref(step.key))
        kept.append(self)
        return taken

    monkeypatch.setattr(Deferred, "take", spy)

    def look(module, args, outputs):
        if kept and kept[-1]._steps:
            deferred = kept[-1]
            n_steps = len(deferred._steps[0])
            assert all(sum(one() is not None for one in of_layer) <= 1 for of_layer in keys.values())
            for steps in deferred._steps.values():
                queries = [query for query, *_ in steps]
                assert [query.shape for query in queries] == [(3, N_HEADS, 1, WIDTH)] * n_steps

    handle = model.register_forward_hook(look)
    generate(model, tokenizer, PROMPTS[:3], max_new_tokens=9, progress=False)
    handle.remove()
    assert len(keys[0]) == 9  # with the prompt pass
    assert all(one() is None for of_layer in keys.values() for one in of_layer)


class stopping:  # noqa: N801 (reads as a verb)
    """While it lasts, passes after the fifth raise `error` where more than `above` items are in them."""

    def __init__(self, model, error, *, above=0):
        self.model, self.error, self.above, self.n_passes = model, error, above, 0

    def __enter__(self):
        whole = self.model.forward

        @functools.wraps(whole)
        def forward(*args, **kwargs):
            n_items, n_queries = kwargs["input_ids"].shape
            self.n_passes = 1 if n_queries > 1 else self.n_passes + 1
            if self.n_passes > 5 and n_items > self.above:
                raise self.error
            return whole(*args, **kwargs)

        self.model.forward = forward

    def __exit__(self, *exception):
        del self.model.forward


@pytest.fixture
def every_deferred(monkeypatch):
    """All that are made from here on, and how many steps each had taken."""
    made, init = [], Deferred.__init__
    monkeypatch.setattr(Deferred, "__init__", lambda self, *given: made.append(self) or init(self, *given))
    return made


def test_an_error_in_the_midst_of_a_response_leaves_nothing_waiting(model, tokenizer, every_deferred):
    with pytest.raises(RuntimeError, match="overheated"), stopping(model, RuntimeError("overheated")):
        generate(model, tokenizer, PROMPTS, max_new_tokens=9, progress=False)
    [deferred] = every_deferred
    assert deferred.blanks
    assert not deferred._steps
    assert not deferred._latest
    assert not any(hasattr(module, "attnent_watch") for module in model.modules())


def test_a_batch_that_outgrows_the_memory_midway_is_halved_and_its_traces_are_the_same(
    model, tokenizer, every_deferred
):
    want = ALL(model, tokenizer, PROMPTS, max_new_tokens=9)
    every_deferred.clear()
    with stopping(model, torch.OutOfMemoryError("CUDA out of memory"), above=2):
        got = ALL(model, tokenizer, PROMPTS, max_new_tokens=9)
    assert_same(got, want)
    assert len(every_deferred) > 4
    assert not any(one._steps or one._latest for one in every_deferred)


def test_a_block_that_does_not_fit_is_measured_in_halves_of_the_batch(model, tokenizer, monkeypatch):
    want = ALL(model, tokenizer, PROMPTS, max_new_tokens=9)

    def small(rows, *others):
        if rows.query.shape[2] > 1 and len(rows.query) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return measure(rows, *others)

    monkeypatch.setattr(deferral, "measure", small)
    assert_same(ALL(model, tokenizer, PROMPTS, max_new_tokens=9), want)


def test_a_stream_measures_each_step_when_it_is_made(tokenizer, monkeypatch):
    from attnent.model.streaming import stream

    monkeypatch.setattr(Deferred, "take", lambda *given: pytest.fail("a step waited"))
    assert len(list(stream(random_llama(), tokenizer, "in the", max_new_tokens=3))) == 3
