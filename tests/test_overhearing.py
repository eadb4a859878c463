"""Models that do not call transformers' attention interface: nothing of them is changed, and what is odd is refused."""

import numpy as np
import oracle
import pytest
import torch
from conftest import left_padded
from families import FAMILIES
from torch.nn import functional
from transformers.models.falcon.modeling_falcon import FalconAttention

import attnent as ae
from attnent.attention.capture import CaptureError, capture
from attnent.attention.overhearing import can_be_overheard

OVERHEARD = ["falcon", "falcon, alibi", "bloom", "mpt", "gptj", "codegen", "gpt_neo"]


def attentions_of(model):
    return [module for module in model.modules() if can_be_overheard(module)]


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", OVERHEARD)
def test_in_half_precision_the_logits_are_the_same_and_no_hidden_key_is_counted(name, dtype):
    model, inputs = FAMILIES[name].make(dtype), left_padded([13, 7, 2])
    plain = model(**inputs).logits
    with capture(model, prompt_rows=True) as recording:
        assert torch.equal(model(**inputs).logits, plain)
    for stats, limit in zip(recording.stats.values(), FAMILIES[name].limits, strict=True):
        seen = oracle.visible_keys(inputs["attention_mask"], **limit).sum(-1)
        np.testing.assert_array_equal(stats.n_keys, np.broadcast_to(seen[:, None], stats.n_keys.shape))


@torch.inference_mode()
def test_falcon_with_eager_attention_is_measured_as_it_then_is():
    model, inputs = FAMILIES["falcon"].make(), left_padded([13, 7])
    model.config._attn_implementation = "eager"
    weights = model(**inputs, output_attentions=True).attentions
    with capture(model, prompt_rows=True) as recording:
        model(**inputs)
    visible = oracle.visible_keys(inputs["attention_mask"])
    for layer, of_layer in enumerate(weights):
        oracle.assert_measures(recording.stats[layer], oracle.measures(of_layer, visible), atol=5e-5)


def test_the_modules_are_as_they_were_when_the_block_is_left():
    model = FAMILIES["bloom"].make()
    first, second = attentions_of(model)
    own = first.forward = torch.compiler.disable(first.forward)  # not its class's: accelerate does so
    with capture(model):
        model(**left_padded([3]))
    assert first.forward is own
    assert "forward" not in vars(second)


def test_the_modules_are_as_they_were_when_a_pass_fails():
    model = FAMILIES["bloom"].make()
    with pytest.raises(IndexError), capture(model):
        model(input_ids=torch.tensor([[999]]))
    for module in attentions_of(model):
        assert not {"forward", "attnent_watch"} & set(vars(module))


def test_two_captures_at_once_are_refused():
    model = FAMILIES["gptj"].make()
    with capture(model), pytest.raises(CaptureError, match="already"), capture(model):
        pass


def test_a_pass_without_padding_is_watched_as_one_of_several_tokens_and_one(tokenizer):
    (trace,) = ae.generate(FAMILIES["bloom"].make(), tokenizer, ["thing"], max_new_tokens=3, progress=False)
    assert (trace.n_keys == trace.attrs["n_prompt"] + trace.step).all()


def attends(*, twice: bool, **settings):
    def forward(self, hidden_states, **others):
        query = hidden_states.unflatten(-1, (6, -1)).transpose(1, 2)
        for _ in range(1 + twice):
            output = functional.scaled_dot_product_attention(query, query, query, attn_mask=None, **settings)
        return output.transpose(1, 2).flatten(2), None

    return forward


@pytest.mark.parametrize(
    ("changed", "why"), [(attends(twice=False, scale=2.0), "scale"), (attends(twice=True), "more than once")]
)
def test_attention_that_is_not_as_it_is_known_is_refused_in_one_sentence(changed, why, monkeypatch):
    model = FAMILIES["falcon"].make()
    monkeypatch.setattr(FalconAttention, "forward", changed)
    with pytest.raises(CaptureError, match=why) as refusal, capture(model):
        model(**left_padded([3]))
    assert "\n" not in str(refusal.value)
    model(**left_padded([3]))
