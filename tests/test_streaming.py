"""A response as it is being written."""

import threading

import numpy as np
import pytest
import torch
import xarray as xr
from instrument import made_up_confidence

import attnent as ae
from attnent.attention.capture import Watch, watching
from attnent.model.prompts import PromptError
from attnent.model.spelling import Speller
from attnent.model.streaming import stream, whole

PROMPT = "Tom has 3 apples and buys 5 more. How many apples does Tom have?"


@pytest.fixture(scope="module")
def tiny():
    return ae.load_model("tiny", dtype="float32")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_steps_hold_the_numbers_of_generate(tiny, temperature):
    settings = {"max_new_tokens": 40, "temperature": temperature, "seed": 3}
    [wanted] = ae.generate(*tiny, [PROMPT], **settings, progress=False)
    got = whole(tiny[1], list(stream(*tiny, PROMPT, **settings)))
    xr.testing.assert_allclose(got, wanted, rtol=0, atol=3e-6)  # products of one row and of many round their own way


def test_the_last_step_has_the_attributes_of_generate(tiny):
    [wanted] = ae.generate(*tiny, [PROMPT], max_new_tokens=40, progress=False)
    *_, last = stream(*tiny, PROMPT, max_new_tokens=40)
    assert last.attrs == wanted.attrs


def test_a_step_before_the_last_has_the_text_so_far_and_no_finish_reason(tiny):
    steps = list(stream(*tiny, PROMPT, max_new_tokens=6))
    assert [one.attrs["finish_reason"] for one in steps] == [""] * 5 + ["length"]
    assert steps[2].attrs["response"] == "".join(one["token"].item() for one in steps[:3])


def test_texts_of_bytes_that_only_sometimes_are_characters_join_to_the_response(llama, tokenizer):
    settings = {"max_new_tokens": 60, "temperature": 2.0, "seed": 1}
    [wanted] = ae.generate(llama, tokenizer, ["an éan"], **settings, progress=False)
    assert "\ufffd" in wanted.attrs["response"]
    steps = list(stream(llama, tokenizer, "an éan", **settings))
    assert "".join(one["token"].item() for one in steps) == wanted.attrs["response"]
    assert whole(tokenizer, steps)["token"].values.tolist() == wanted["token"].values.tolist()


def test_a_character_comes_whole_with_its_last_part(tokenizer):
    ids = tokenizer("a€b", add_special_tokens=False).input_ids
    speller = Speller(tokenizer)
    spelt = [speller.spell_next(token_id, is_last=False) for token_id in ids]
    assert [one.token for one in spelt] == [["a"], [""], [""], ["€"], ["b"]]
    assert [(one.char_start, one.char_end) for one in spelt] == [([0], [1])] + 3 * [([1], [2])] + [([2], [3])]


def test_a_special_token_has_an_empty_span(tokenizer):
    speller = Speller(tokenizer)
    speller.spell_next(tokenizer("a").input_ids[0], is_last=False)
    end = speller.spell_next(tokenizer.eos_token_id, is_last=True)
    assert (end.text, end.token, end.char_start, end.char_end) == ("a", [""], [1], [1])


def test_an_iterator_closed_early_stops_the_model_and_restores_it(tiny):
    model, tokenizer = tiny
    passes = []
    counting = model.register_forward_hook(lambda *_: passes.append(1))
    before = model.config._attn_implementation, model.generation_config, dict(model._forward_hooks)
    steps = stream(model, tokenizer, PROMPT, max_new_tokens=40)
    next(steps), next(steps)
    steps.close()
    counting.remove()
    assert len(passes) == 2
    assert (model.config._attn_implementation, model.generation_config) == before[:2]
    assert len(model._forward_hooks) == len(before[2]) - 1
    assert "attnent-stream" not in {thread.name for thread in threading.enumerate()}
    with watching(model, Watch()):
        pass  # it is not being captured any more


def test_what_goes_wrong_while_writing_is_raised_where_it_is_read(tiny):
    model, tokenizer = tiny
    breaking = model.register_forward_hook(lambda *_: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            list(stream(model, tokenizer, PROMPT, max_new_tokens=4))
    finally:
        breaking.remove()
    assert len(list(stream(model, tokenizer, PROMPT, max_new_tokens=2))) == 2


def test_a_prompt_that_alone_exceeds_the_memory_says_what_to_lower(tiny):
    def full(*_):
        raise torch.OutOfMemoryError("no")

    breaking = tiny[0].register_forward_hook(full)
    try:
        with pytest.raises(torch.OutOfMemoryError, match="lower max_new_tokens"):
            next(stream(*tiny, PROMPT))
    finally:
        breaking.remove()


def test_nothing_is_computed_before_it_is_asked_for(tiny):
    model, tokenizer = tiny
    passes = []
    counting = model.register_forward_hook(lambda *_: passes.append(1))
    steps = stream(model, tokenizer, PROMPT, max_new_tokens=40)
    try:
        assert passes == []
        next(steps)
        assert passes == [1]
    finally:
        steps.close()
        counting.remove()


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"prompt": " "}, PromptError, "is empty"),
        ({"prompt": "a", "max_new_tokens": 0}, ValueError, "at least 1"),
        ({"prompt": "a", "temperature": -1.0}, ValueError, "temperature is -1"),
        ({"prompt": "a", "max_new_tokens": 10**6}, PromptError, "context"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(tiny, settings, error, said):
    with pytest.raises(error, match=said):
        stream(*tiny, **settings)


# ---- with its confidence


@pytest.fixture(scope="module")
def instrument(tiny):
    [trace] = ae.generate(*tiny, ["Who?"], max_new_tokens=2, progress=False)
    return made_up_confidence(trace)


def test_the_confidence_of_each_token_is_that_of_the_whole_trace(tiny, instrument):
    [trace] = ae.generate(*tiny, [PROMPT], max_new_tokens=40, progress=False)
    scored = list(instrument.stream(*tiny, PROMPT, max_new_tokens=40))
    assert [one.step for one in scored] == trace["step"].values.tolist()
    assert "".join(one.token for one in scored) == trace.attrs["response"]
    wanted = instrument.score(trace)["confidence"]
    np.testing.assert_allclose([one.confidence for one in scored], wanted, atol=1e-6)


def test_an_alarm_sounds_where_the_confidence_of_a_token_with_text_lies_below_the_threshold(tiny, instrument):
    scored = list(instrument.stream(*tiny, PROMPT, max_new_tokens=40, false_alarms=0.5))
    threshold = instrument.threshold(0.5)
    assert threshold == pytest.approx(0.6, abs=0.01)  # the middle of 99 from 0.3 to 0.9
    assert [one.alarm for one in scored] == [one.confidence < threshold and one.token != "" for one in scored]
    assert {one.alarm for one in scored} == {True, False}


def test_without_a_rate_no_alarm_sounds(tiny, instrument):
    assert not any(one.alarm for one in instrument.stream(*tiny, PROMPT, max_new_tokens=9, false_alarms=None))


def test_where_clusters_are_too_few_for_the_rate_no_alarm_sounds_and_it_is_said(tiny):
    few = made_up_confidence(ae.generate(*tiny, ["Who?"], max_new_tokens=2, progress=False)[0], lowest=[0.9] * 50)
    with pytest.warns(UserWarning, match="need 99 clusters with a right answer, and there are 50"):
        assert not any(one.alarm for one in few.stream(*tiny, PROMPT, max_new_tokens=9))


def test_closing_a_scored_stream_early_restores_the_model(tiny, instrument):
    scored = instrument.stream(*tiny, PROMPT, max_new_tokens=40)
    next(scored)
    scored.close()
    with watching(tiny[0], Watch()):
        pass  # it is not being captured any more


def test_a_stream_of_another_model_is_refused(llama, tokenizer, instrument):
    with pytest.raises(ae.ConfidenceError, match="whose heads are not those of 'tiny'"):
        list(instrument.stream(llama, tokenizer, "an", max_new_tokens=3))
