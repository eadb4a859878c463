"""Families of models, each as tiny random ones of its true architecture: what the tests prove and the README lists.

`python tests/families.py --write` puts the table into README.md.
"""

import argparse
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest import mock

import torch
import transformers
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers.models.falcon import modeling_falcon

from attnent.attention.layers import KINDS

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- families -->", "<!-- /families -->"

WINDOW = CHUNK = 5
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
OF_GPT = {"n_embd": 60, "n_layer": 2, "n_head": 6, "n_positions": 97}  # these names alone


class Family(NamedTuple):
    """A family, or one of its forms."""

    title: str  # as the README lists it
    model: str
    config: str
    settings: Mapping[str, Any] = MappingProxyType({})
    windows: Sequence[int | None] = (None, None)  # of each attention layer
    layers: Sequence[int] | None = None  # the model's own indices of these; None: it has no others
    in_chunks: bool = False  # instead of windows that slide
    special: str = ""

    def make(self, dtype: torch.dtype = torch.float32) -> Any:
        """The model, always of the same weights; experts one by one, since the grouped ones know no float64."""
        torch.manual_seed(0)
        unset = {name for name in SIZES if self.settings.get(name, SIZES[name]) is None}
        sizes = {name: value for name, value in {**SIZES, **self.settings}.items() if name not in unset}
        if "n_layer" in self.settings or "n_layers" in self.settings:
            known = ("vocab_size", "initializer_range", "eos_token_id", "pad_token_id")
            sizes = {name: SIZES[name] for name in known} | dict(self.settings)
        config = getattr(transformers, self.config)(**sizes | {"bos_token_id": None})
        model = getattr(transformers, self.model)(config).eval()
        if model._can_set_experts_implementation():
            model.set_experts_implementation("eager")
        return model.to(dtype)

    @property
    def limits(self) -> list[dict[str, int]]:
        """What of the oracle's `visible_keys` limits each attention layer."""
        return [{"chunk" if self.in_chunks else "window": limit} if limit else {} for limit in self.windows]

    @property
    def indices(self) -> list[int]:
        """The model's own, of its attention layers."""
        return list(range(len(self.windows)) if self.layers is None else self.layers)


THREE = [WINDOW, None, WINDOW]
WITH_WINDOWS = MIXED | {"sliding_window": WINDOW}
EXPERTS = {"num_local_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 13}
LATENT = {
    "num_key_value_heads": 6,
    "q_lora_rank": 16,
    "kv_lora_rank": 12,
    "qk_rope_head_dim": 6,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "head_dim": None,
}
MIXTURE = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 13,
    "n_shared_experts": 1,
}
GEMMA_NANO = {
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "sliding_window": WINDOW,
    "vocab_size_per_layer_input": 263,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 2,
}
MAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 15,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_expand": 1,
    "mamba_chunk_size": 8,
}
LINEAR = {
    "num_hidden_layers": 3,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 6,
}
AS_EAGER, WHOLE = "logits as eager's", "weights whole, one layer at a time"
NARROW = "latent attention"
CAPPED = f"softcap, measured as it is; {AS_EAGER}"
SINKS = f"learned sinks, their share as `sink_share`; {AS_EAGER}"
ALIBI = "ALiBi, measured as it is"
HYBRID = "hybrid: attention alone is measured"


def hybrid(title: str, model: str, config: str, settings: dict[str, Any], window: int | None = None) -> Family:
    """Of whose three layers the middle one has attention."""
    settings = {"num_hidden_layers": 3} | settings
    return Family(title, model, config, settings, [window], [1], special=HYBRID)


# fmt: off
FAMILIES = {
    "llama": Family("Llama", "LlamaForCausalLM", "LlamaConfig"),
    "llama4": Family(
        "Llama 4 (text)", "Llama4ForCausalLM", "Llama4TextConfig",
        {
            "intermediate_size_mlp": 29, "num_local_experts": 2, "num_experts_per_tok": 1, "no_rope_layers": [1, 0],
            "moe_layers": [], "attention_chunk_size": CHUNK, "layer_types": ["chunked_attention", "full_attention"],
        },
        [CHUNK, None], in_chunks=True, special="chunks, called sliding",
    ),
    "mistral": Family("Mistral", "MistralForCausalLM", "MistralConfig", {"sliding_window": WINDOW}, [WINDOW, WINDOW]),
    "mistral, full": Family("Mistral", "MistralForCausalLM", "MistralConfig", {"sliding_window": None}),
    "ministral": Family("Ministral", "MinistralForCausalLM", "MinistralConfig", WITH_WINDOWS, THREE),
    "ministral3": Family("Ministral 3", "Ministral3ForCausalLM", "Ministral3Config", {"sliding_window": None}),
    "mixtral": Family("Mixtral", "MixtralForCausalLM", "MixtralConfig", {"num_local_experts": 3}),
    "qwen2": Family("Qwen2", "Qwen2ForCausalLM", "Qwen2Config"),
    "qwen2, windows": Family(
        "Qwen2", "Qwen2ForCausalLM", "Qwen2Config", WITH_WINDOWS | {"use_sliding_window": True}, THREE
    ),
    "qwen2_moe": Family(
        "Qwen2-MoE", "Qwen2MoeForCausalLM", "Qwen2MoeConfig", EXPERTS | {"shared_expert_intermediate_size": 13}
    ),
    "qwen3": Family("Qwen3", "Qwen3ForCausalLM", "Qwen3Config"),
    "qwen3_moe": Family("Qwen3-MoE", "Qwen3MoeForCausalLM", "Qwen3MoeConfig", EXPERTS),
    "gemma": Family("Gemma", "GemmaForCausalLM", "GemmaConfig"),
    "gemma2": Family(
        "Gemma 2", "Gemma2ForCausalLM", "Gemma2Config",
        WITH_WINDOWS | {"query_pre_attn_scalar": 10, "attn_logit_softcapping": 1.5}, THREE, special=CAPPED,
    ),
    "gemma2, no cap": Family(
        "Gemma 2", "Gemma2ForCausalLM", "Gemma2Config",
        WITH_WINDOWS | {"query_pre_attn_scalar": 10, "attn_logit_softcapping": None}, THREE,
    ),
    "gemma3": Family(
        "Gemma 3", "Gemma3ForCausalLM", "Gemma3TextConfig", WITH_WINDOWS | {"query_pre_attn_scalar": 10}, THREE
    ),
    "gemma3n": Family(
        "Gemma 3n (text)", "Gemma3nForCausalLM", "Gemma3nTextConfig",
        GEMMA_NANO | {
            "laurel_rank": 4, "altup_num_inputs": 2, "activation_sparsity_pattern": [0.0] * 4,
            "intermediate_size": [29] * 4,
        },
        [WINDOW, None] * 2,
    ),
    "gemma4": Family(
        "Gemma 4 (text)", "Gemma4ForCausalLM", "Gemma4TextConfig", GEMMA_NANO | {"global_head_dim": 12},
        [WINDOW, None] * 2,
    ),
    "gpt_oss": Family(
        "gpt-oss", "GptOssForCausalLM", "GptOssConfig",
        WITH_WINDOWS | EXPERTS | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, THREE, special=SINKS,
    ),
    "mimo_v2_flash": Family(
        "MiMo V2 Flash", "MiMoV2FlashForCausalLM", "MiMoV2FlashConfig",
        WITH_WINDOWS | EXPERTS | {"num_key_value_heads": 3, "v_head_dim": 8, "n_routed_experts": 4}, THREE,
        special=SINKS,
    ),
    "deepseek_v2": Family("DeepSeek V2", "DeepseekV2ForCausalLM", "DeepseekV2Config", MIXTURE | LATENT, special=NARROW),
    "deepseek_v3": Family("DeepSeek V3", "DeepseekV3ForCausalLM", "DeepseekV3Config", MIXTURE | LATENT, special=NARROW),
    "phi": Family("Phi", "PhiForCausalLM", "PhiConfig", {"head_dim": None, "hidden_size": 48}),
    "phi3": Family("Phi-3", "Phi3ForCausalLM", "Phi3Config", NO_WIDTH | {"sliding_window": None}),
    "phimoe": Family("Phi-MoE", "PhimoeForCausalLM", "PhimoeConfig", NO_WIDTH | EXPERTS | {"sliding_window": None}),
    "olmo": Family("OLMo", "OlmoForCausalLM", "OlmoConfig", NO_WIDTH),
    "olmo2": Family("OLMo 2", "Olmo2ForCausalLM", "Olmo2Config", NO_WIDTH),
    "olmo3": Family("OLMo 3", "Olmo3ForCausalLM", "Olmo3Config", WITH_WINDOWS | NO_WIDTH, THREE),
    "olmoe": Family("OLMoE", "OlmoeForCausalLM", "OlmoeConfig", NO_WIDTH | EXPERTS),
    "cohere": Family("Cohere", "CohereForCausalLM", "CohereConfig", NO_WIDTH),
    "cohere2": Family("Cohere 2", "Cohere2ForCausalLM", "Cohere2Config", WITH_WINDOWS, THREE),
    "granite": Family("Granite", "GraniteForCausalLM", "GraniteConfig", NO_WIDTH),
    "granitemoe": Family("Granite MoE", "GraniteMoeForCausalLM", "GraniteMoeConfig", NO_WIDTH | EXPERTS),
    "glm": Family("GLM", "GlmForCausalLM", "GlmConfig"),
    "glm4": Family("GLM-4", "Glm4ForCausalLM", "Glm4Config"),
    "glm4_moe": Family(
        "GLM-4-MoE", "Glm4MoeForCausalLM", "Glm4MoeConfig", EXPERTS | {"n_routed_experts": 4, "n_shared_experts": 1}
    ),
    "exaone4": Family(
        "EXAONE 4", "Exaone4ForCausalLM", "Exaone4Config", WITH_WINDOWS | NO_WIDTH | {"sliding_window_pattern": None},
        THREE,
    ),
    "ernie4_5": Family("ERNIE 4.5", "Ernie4_5ForCausalLM", "Ernie4_5Config"),
    "ernie4_5_moe": Family(
        "ERNIE 4.5 MoE", "Ernie4_5_MoeForCausalLM", "Ernie4_5_MoeConfig",
        NO_WIDTH | {"moe_num_experts": 3, "moe_k": 2, "moe_intermediate_size": 13, "moe_num_shared_experts": 1},
    ),
    "hunyuan": Family("Hunyuan", "HunYuanDenseV1ForCausalLM", "HunYuanDenseV1Config"),
    "nemotron": Family("Nemotron", "NemotronForCausalLM", "NemotronConfig"),
    "seed_oss": Family("Seed-OSS", "SeedOssForCausalLM", "SeedOssConfig"),
    "minimax_m2": Family("MiniMax M2", "MiniMaxM2ForCausalLM", "MiniMaxM2Config", EXPERTS),
    "apertus": Family("Apertus", "ApertusForCausalLM", "ApertusConfig", NO_WIDTH),
    "arcee": Family("Arcee", "ArceeForCausalLM", "ArceeConfig"),
    "bitnet": Family("BitNet", "BitNetForCausalLM", "BitNetConfig", NO_WIDTH),
    "smollm3": Family(
        "SmolLM3", "SmolLM3ForCausalLM", "SmolLM3Config", WITH_WINDOWS | NO_WIDTH | {"use_sliding_window": True}, THREE
    ),
    "stablelm": Family("StableLM", "StableLmForCausalLM", "StableLmConfig", NO_WIDTH),
    "starcoder2": Family(
        "StarCoder 2", "Starcoder2ForCausalLM", "Starcoder2Config", NO_WIDTH | {"sliding_window": None}
    ),
    "gpt_bigcode": Family("StarCoder", "GPTBigCodeForCausalLM", "GPTBigCodeConfig", OF_GPT | {"n_inner": 29}),
    "gpt2": Family("GPT-2", "GPT2LMHeadModel", "GPT2Config", OF_GPT | {"n_inner": 29}),
    "gpt_neox": Family("GPT-NeoX", "GPTNeoXForCausalLM", "GPTNeoXConfig", NO_WIDTH),
    "opt": Family("OPT", "OPTForCausalLM", "OPTConfig", {"ffn_dim": 29, "word_embed_proj_dim": 42}),
    "falcon": Family("Falcon", "FalconForCausalLM", "FalconConfig", NO_WIDTH),
    "falcon, groups": Family(
        "Falcon", "FalconForCausalLM", "FalconConfig",
        NO_WIDTH | {"new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "falcon, alibi": Family(
        "Falcon", "FalconForCausalLM", "FalconConfig",
        NO_WIDTH | {"multi_query": False, "alibi": True, "parallel_attn": False, "bias": True}, special=ALIBI,
    ),
    "bloom": Family(
        "BLOOM", "BloomForCausalLM", "BloomConfig", {"hidden_size": 60, "n_layer": 2, "n_head": 6},
        special=f"{ALIBI}; {WHOLE}",
    ),
    "mpt": Family(
        "MPT", "MptForCausalLM", "MptConfig",
        {"d_model": 60, "n_heads": 6, "n_layers": 2, "max_seq_len": 97, "expansion_ratio": 1},
        special=f"{ALIBI}; {WHOLE}",
    ),
    "gptj": Family("GPT-J", "GPTJForCausalLM", "GPTJConfig", OF_GPT | {"rotary_dim": 4}, special=WHOLE),
    "codegen": Family(
        "CodeGen", "CodeGenForCausalLM", "CodeGenConfig",
        OF_GPT | {"n_embd": 48, "n_head": 4, "n_ctx": 97, "rotary_dim": 4}, special=WHOLE,
    ),
    "gpt_neo": Family(
        "GPT-Neo", "GPTNeoForCausalLM", "GPTNeoConfig",
        NO_WIDTH | {
            "num_hidden_layers": 3, "attention_types": [[["local", "global", "local"], 1]], "window_size": WINDOW,
        },
        THREE, special=WHOLE,
    ),
    "jamba": hybrid(
        "Jamba", "JambaForCausalLM", "JambaConfig",
        NO_WIDTH | {
            "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
            "num_experts": 2, "num_experts_per_tok": 1, "mamba_d_state": 4, "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
    "bamba": hybrid("Bamba", "BambaForCausalLM", "BambaConfig", NO_WIDTH | MAMBA | {"attn_layer_indices": [1]}),
    "granitemoehybrid": hybrid(
        "Granite 4", "GraniteMoeHybridForCausalLM", "GraniteMoeHybridConfig",
        NO_WIDTH | MAMBA | EXPERTS | {"layer_types": ["mamba", "attention", "mamba"], "shared_intermediate_size": 13},
    ),
    "falcon_h1": Family(
        "Falcon-H1", "FalconH1ForCausalLM", "FalconH1Config", MAMBA | {"mamba_d_ssm": 60}, special=HYBRID
    ),
    "lfm2": hybrid(
        "LFM2", "Lfm2ForCausalLM", "Lfm2Config", NO_WIDTH | {"layer_types": ["conv", "full_attention", "conv"]}
    ),
    "qwen3_next": hybrid(
        "Qwen3-Next", "Qwen3NextForCausalLM", "Qwen3NextConfig",
        LINEAR | EXPERTS | {"shared_expert_intermediate_size": 13},
    ),
    "qwen3_5": hybrid("Qwen3.5 (text)", "Qwen3_5ForCausalLM", "Qwen3_5TextConfig", LINEAR),
    "olmo_hybrid": hybrid("OLMo hybrid", "OlmoHybridForCausalLM", "OlmoHybridConfig", NO_WIDTH | LINEAR),
    "recurrent_gemma": hybrid(
        "RecurrentGemma", "RecurrentGemmaForCausalLM", "RecurrentGemmaConfig",
        NO_WIDTH | {
            "block_types": ["recurrent", "attention", "recurrent"], "attention_window_size": WINDOW, "lru_width": 60,
        },
        WINDOW,
    ),
}
# fmt: on
OF_EACH_KIND = [  # where all would take too long
    *("mistral", "qwen2, windows", "gemma3", "cohere2", "gpt2", "opt", "granite", "llama4", "gemma2", "gpt_oss"),
    *("deepseek_v3", "falcon", "bloom", "gpt_neo", "jamba"),
]


def table() -> str:
    """The families as Markdown, a row a family: its forms together, and the one whose tests stand apart."""
    rows: dict[str, tuple[str, dict[str, None], dict[str, None]]] = {}
    for family in FAMILIES.values():
        _, kinds, special = rows.setdefault(family.title, (family.model, {}, {}))
        kinds |= dict.fromkeys("sliding" if window else "self" for window in family.windows)
        special |= dict.fromkeys(filter(None, [family.special]))
    rows["Llama 3.2 Vision"] = (
        "MllamaForConditionalGeneration",
        {"self": None, "cross": None},
        {"rows that may see no image are NaN": None},
    )
    cells = [
        [title, f"`{model}`", ", ".join(sorted(kinds, key=KINDS.index)), "; ".join(special)]
        for title, (model, kinds, special) in rows.items()
    ]
    head = ["family", "model class", "layers", "what is special"]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *cells])


def written(readme: str) -> str:
    """The README with the table between its marks."""
    found = re.subn(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{table()}\n{END}", readme, flags=re.DOTALL)
    if found[1] != 1:
        raise ValueError(f"{found[1]} places are marked for the families; mark one with {BEGIN} and {END}")
    return found[0]


# ---- what they are held against


class InFloat64(TorchFunctionMode):
    """What a model does in float32 whatever its own dtype, softmax and norms, is done in float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args = tuple(torch.float64 if one is torch.float32 else one for one in args)
        kwargs = {name: torch.float64 if one is torch.float32 else one for name, one in (kwargs or {}).items()}
        return (torch.Tensor.double if func is torch.Tensor.float else func)(*args, **kwargs)


@torch.inference_mode()
def eager_weights(model: Any, **inputs: Tensor) -> list[Tensor]:
    """The weights of each attention layer, (batch, head, query, key), as transformers' eager attention gives them."""
    before = model.config._attn_implementation
    model.config._attn_implementation = "eager"
    try:
        with alibi_once(model):
            weights = model(**inputs, output_attentions=True).attentions
    finally:
        model.config._attn_implementation = before
    return [of_layer for of_layer in weights if of_layer is not None]


@contextmanager
def alibi_once(model: Any) -> Generator[None]:
    """Falcon's eager attention adds ALiBi twice, once in its mask, where its sdpa adds it once: so halves of it."""
    build = modeling_falcon.build_alibi_tensor
    halves = mock.patch.object(
        modeling_falcon, "build_alibi_tensor", lambda *given, **named: build(*given, **named) / 2
    )
    with halves if getattr(model.config, "alibi", False) is True else nullcontext():
        yield


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print the table of families as Markdown.")
    parser.add_argument("--write", action="store_true", help="put it into README.md too")
    if parser.parse_args().write:
        README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(table())
