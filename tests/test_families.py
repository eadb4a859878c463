"""Every family the README lists: measured as its eager weights say, its logits untouched, replayed as it was written.

In float64 throughout, so that 1e-9 is asked for; the logits in float32, by the attention that the model comes with.
"""

import families
import numpy as np
import oracle
import pytest
import torch
from conftest import left_padded
from families import FAMILIES, InFloat64, eager_weights

from attnent.attention.capture import capture
from attnent.attention.layers import indices
from attnent.attention.tops import TopKeys
from attnent.model.generation import attention_row, generate
from attnent.model.replaying import replay


@pytest.fixture(params=FAMILIES, scope="module")
def family(request):
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def model(family):
    return family.make(torch.float64)


def test_a_family_is_captured_as_its_eager_weights_say(family, model):
    inputs = left_padded([13, 7, 2])
    with InFloat64(), torch.inference_mode():
        with capture(model, prompt_rows=True) as recording:
            model(**inputs)
        attentions = eager_weights(model, **inputs)
    assert sorted(recording.stats) == family.indices
    for layer, weights, limit in zip(family.indices, attentions, family.limits, strict=True):
        stats, visible = recording.stats[layer], oracle.visible_keys(inputs["attention_mask"], **limit)
        oracle.assert_measures(stats, oracle.measures(weights, visible), atol=1e-9)
        assert stats.kind == ("sliding" if limit else "self")
        elsewhere = np.moveaxis(oracle.sink_share(weights, visible), 1, -1)[visible.any(-1)]
        if stats.sink_share is None:
            assert abs(elsewhere).max() < 1e-9, "all weight is on keys"
        else:
            np.testing.assert_allclose(stats.sink_share.movedim(1, -1)[visible.any(-1)], elsewhere, atol=1e-9)


def test_a_family_is_known_to_have_the_layers_that_are_recorded(family, model, tokenizer):
    """And their eager weights are found by these."""
    assert sorted(indices(model)) == family.indices
    ids = torch.tensor([tokenizer("thing").input_ids])
    with InFloat64(), families.alibi_once(model):
        row = attention_row(model, tokenizer, "thing", layer=family.indices[-1], head=1)
    with InFloat64():
        weights = eager_weights(model, input_ids=ids, attention_mask=torch.ones_like(ids))
    np.testing.assert_allclose(row, weights[-1][0, 1, -1], atol=1e-9)


@torch.inference_mode()
def test_a_family_gives_logits_bit_identical_to_those_without_capture(family):
    model = family.make()
    for lengths in ([13, 13, 13], [13, 7, 2]):
        inputs = left_padded(lengths)
        plain = model(**inputs).logits
        with capture(model):
            watched = model(**inputs).logits
        assert torch.equal(plain, watched)


def test_a_family_replays_what_it_generated(model, tokenizer):
    with InFloat64():
        traces = generate(model, tokenizer, ["another thing in", "é"], max_new_tokens=5, progress=False)
        prompts, written = [trace.attrs["prompt"] for trace in traces], [trace.token_id.values for trace in traces]
        alone = [replay(model, tokenizer, *given) for given in zip(prompts, written, strict=True)]
        written[1] = written[1][:3]  # of unlike length
        together = replay(model, tokenizer, prompts, written, progress=False)
    for trace, *again in zip(traces, alone, together, strict=True):
        for read in again:
            assert set(read.data_vars) == set(trace.data_vars)
            for name in (*trace.data_vars, "n_keys", "logprob", "token_entropy", "token_varentropy"):
                wanted = trace[name][..., : read.sizes["step"]]
                np.testing.assert_allclose(read[name], wanted, atol=1e-6, err_msg=name)


def test_a_layer_without_attention_cannot_be_asked_for(tokenizer):
    with pytest.raises(ValueError, match=r"layers of top_keys are \[0\], but the model has 1;"):
        generate(FAMILIES["jamba"].make(), tokenizer, ["a"], max_new_tokens=2, top_keys=TopKeys(layers=[0]))


def test_the_readme_lists_the_families_that_are_tested():
    readme = families.README.read_text(encoding="utf-8")
    assert families.written(readme) == readme, "python tests/families.py --write"
