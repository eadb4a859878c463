"""Models whose attention is not what the measures describe, or cannot be reached: a sentence, never a wrong number."""

import pytest
import torch
import transformers
from conftest import left_padded
from families import FAMILIES, LATENT, MIXTURE, NO_WIDTH, Family

from attnent.attention.capture import CaptureError, capture
from attnent.model.generation import generate

REFUSED = {
    "sparse": (
        Family(
            "DeepSeek V3.2",
            "DeepseekV32ForCausalLM",
            "DeepseekV32Config",
            MIXTURE | LATENT | {"index_n_heads": 2, "index_head_dim": 8, "index_topk": 3},
        ),
        "passes indices",
    ),
    "shared": (
        Family(
            "Zamba2",
            "Zamba2ForCausalLM",
            "Zamba2Config",
            NO_WIDTH
            | {"num_hidden_layers": 3, "layer_types": ["mamba", "hybrid", "mamba"], "hybrid_layer_ids": [1]}
            | {"mamba_d_state": 8, "n_mamba_heads": 4, "mamba_headdim": 30, "mamba_ngroups": 1}
            | {"num_key_value_heads": 6, "num_mem_blocks": 1, "adapter_rank": 4},
        ),
        "share one attention",
    ),
    "subtracted": (Family("DiffLlama", "DiffLlamaForCausalLM", "DiffLlamaConfig", NO_WIDTH), "subtracts"),
    "unreached": (
        Family(
            "XGLM",
            "XGLMForCausalLM",
            "XGLMConfig",
            {"n_layers": None, "d_model": 48, "ffn_dim": 29, "num_layers": 2, "attention_heads": 6},
        ),
        "never calls",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_measured_exactly_is_refused_in_one_sentence(name, tokenizer):
    family, why = REFUSED[name]
    with pytest.raises(CaptureError, match=why) as refusal:
        generate(family.make(), tokenizer, ["thing"], max_new_tokens=2, progress=False)
    assert "\n" not in str(refusal.value)
    assert "use a" in str(refusal.value), "it says what to do"


@pytest.mark.parametrize("name", ["llama", "gpt_oss"])
def test_a_keyword_that_is_not_known_is_refused_where_sdpa_gives_the_output_and_where_eager_does(name):
    model = FAMILIES[name].make()
    with pytest.raises(CaptureError, match="passes sieve") as refusal, capture(model):
        model(**left_padded([3]), sieve=torch.ones(3))
    assert "\n" not in str(refusal.value)


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
