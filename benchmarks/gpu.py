"""What capture costs on a CUDA device: `python benchmarks/gpu.py` prints tables.

`prompt`: all rows of a causal prompt measured by the kernel, timed by CUDA events against sdpa as PyTorch chooses it
and against its FlashAttention backend. `decode`: 32 rows measured together, against the 32 sdpa calls of one query that
they belong to. `error` is the largest difference from float64 over some rows, in nat and nat^2. `models`: responses
written with capture and without, by turns, in models of random weights; prompts of unlike length, half as long to full.
"""

import argparse
import itertools
import time
from functools import partial

import pandas as pd
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

import attnent as ae
from attnent.attention.entropy import stats_of_moments, weights_and_moments_
from attnent.model import kernels
from attnent.model.batches import left_padded
from attnent.model.prompts import EncodedPrompt, encode_prompts

SHAPES = {"Llama 3.2 1B": (32, 8, 64), "Llama 3.1 70B": (64, 8, 128)}  # heads, groups, width
N_KEYS = (1_024, 8_192, 32_768)
N_ROWS_TOGETHER = 32
N_ROUNDS = 20
N_VOCABULARY = 128_256
MODELS = {  # hidden size, that of the feed-forward layers, layers here, layers of the whole model
    "Llama 3.2 1B": (2_048, 8_192, 16, 16),
    "Llama 3.1 70B": (8_192, 28_672, 8, 80),
}
WRITTEN = ((1, 512), (32, 512), (128, 512), (1, 8_192))  # batch and longest prompt
N_NEW = 128
N_TURNS = 3
TABLES = ("prompt", "decode", "models")


def milliseconds(call, n_rounds: int = N_ROUNDS) -> float:
    """The median over rounds, by events on the device."""
    for _ in range(3):
        call()
    times = []
    for _ in range(n_rounds):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop))
    return float(pd.Series(times).median())


def error(query: Tensor, key: Tensor, measured: Tensor, n_before: int) -> float:
    """Of entropy and varentropy, over eight rows of all heads."""
    n_groups, n_rows = key.shape[1], query.shape[2]
    worst = 0.0
    for row in torch.linspace(0, n_rows - 1, 8).long().tolist():
        own = query[:, :, row].double().view(len(query), n_groups, -1, query.shape[-1])
        scores = own @ key[:, :, : n_before + row + 1].double().mT * query.shape[-1] ** -0.5
        stats = stats_of_moments(weights_and_moments_(scores)[1])
        for place, want in enumerate((stats.entropy, stats.varentropy)):
            worst = max(worst, (measured[:, :, row, place].double() - want.flatten(1)).abs().max().item())
    return worst


def inputs(shape: str, n_rows: int, n_keys: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    n_heads, n_groups, width = SHAPES[shape]
    made = torch.Generator("cuda").manual_seed(0)
    return tuple(
        torch.randn(1, n, places, width, generator=made, device="cuda").mul(scale).to(dtype)
        for n, places, scale in ((n_heads, n_rows, 1.5), (n_groups, n_keys, 1.0), (n_groups, n_keys, 1.0))
    )


def measure(query: Tensor, key: Tensor) -> Tensor:
    """The rows of a causal prompt, or the last ones of it."""
    n_rows, n_keys = query.shape[2], key.shape[2]
    last = torch.arange(n_keys - n_rows, n_keys, device=key.device)
    n_generated = torch.zeros(1, dtype=torch.long, device=key.device)
    return kernels.measure_rows(query, key, None, torch.zeros_like(last), last, n_generated, query.shape[-1] ** -0.5)


def prompts(dtype: torch.dtype) -> pd.DataFrame:
    rows = []
    for shape, n_keys in itertools.product(SHAPES, N_KEYS):
        query, key, value = inputs(shape, n_keys, n_keys, dtype)
        attend = {"is_causal": True, "enable_gqa": True}
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            flash = milliseconds(lambda: sdpa(query, key, value, **attend))  # noqa: B023
        chosen = milliseconds(lambda: sdpa(query, key, value, **attend))  # noqa: B023
        ours = milliseconds(lambda: measure(query, key))  # noqa: B023
        wrong = error(query, key, measure(query, key), 0)
        rows.append((shape, n_keys, ours, chosen, flash, ours / chosen, ours / flash, wrong))
    names = ["shape", "keys", "kernel, ms", "sdpa, ms", "flash, ms", "kernel / sdpa", "kernel / flash", "error"]
    return pd.DataFrame(rows, columns=names)


def decoding(dtype: torch.dtype) -> pd.DataFrame:
    rows = []
    for shape, n_keys in itertools.product(SHAPES, N_KEYS):
        query, key, value = inputs(shape, N_ROWS_TOGETHER, n_keys, dtype)
        one = query[:, :, -1:].contiguous()
        single = milliseconds(lambda: sdpa(one, key, value, enable_gqa=True))  # noqa: B023
        ours = milliseconds(lambda: measure(query, key))  # noqa: B023
        wrong = error(query, key, measure(query, key), n_keys - N_ROWS_TOGETHER)
        rows.append((shape, n_keys, ours, N_ROWS_TOGETHER * single, ours / (N_ROWS_TOGETHER * single), wrong))
    names = ["shape", "keys", "kernel, ms", "32 calls of sdpa, ms", "kernel / sdpa", "error"]
    return pd.DataFrame(rows, columns=names)


def model_like(shape: str) -> PreTrainedModel:
    """A random Llama of this shape in bfloat16, of as many layers as MODELS says."""
    n_heads, n_groups, width = SHAPES[shape]
    hidden, inner, n_layers, _ = MODELS[shape]
    config = LlamaConfig(
        vocab_size=N_VOCABULARY,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        num_key_value_heads=n_groups,
        head_dim=width,
        max_position_embeddings=131_072,
        bos_token_id=None,
        eos_token_id=None,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            return LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)


def write_plainly(model: PreTrainedModel, prompts: list[EncodedPrompt]) -> None:
    ids, mask = left_padded(prompts, 0, model.device)
    asked = GenerationConfig(max_new_tokens=N_NEW, do_sample=False, pad_token_id=0)
    with torch.inference_mode():
        model.generate(input_ids=ids, attention_mask=mask, generation_config=asked)


def seconds(call) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def models() -> pd.DataFrame:
    words = Tokenizer(WordLevel({f"w{number}": number for number in range(N_VOCABULARY)}, "w0"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    rows = []
    for shape, (*_, n_layers, n_whole) in MODELS.items():
        model = model_like(shape)
        for batch, longest in WRITTEN:
            lengths = torch.linspace(longest // 2, longest, batch + 1)[1:].long().tolist()
            texts = [" ".join(f"w{10 + place}" for place in range(length)) for length in lengths]
            items = encode_prompts(model, tokenizer, texts, n_new_tokens=N_NEW)
            asked = {"max_new_tokens": N_NEW, "batch_size": batch, "progress": False}
            calls = (
                partial(ae.generate, model, tokenizer, texts, **asked),
                partial(write_plainly, model, items),
            )
            times = [[seconds(call) for call in calls] for _ in range(1 + N_TURNS)][1:]
            captured, plain = pd.DataFrame(times).median()
            cost = pd.DataFrame(times).pipe(lambda t: t[0] / t[1])
            rate = batch * N_NEW / captured
            rows.append((shape, f"{n_layers} of {n_whole}", batch, longest, plain, captured, cost.median(), rate))
        del model
        torch.cuda.empty_cache()
    names = ["shape", "layers", "batch", "prompt", "plain, s", "captured, s", "captured / plain", "tokens/s"]
    return pd.DataFrame(rows, columns=names)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what capture costs on a GPU, and print it as text.")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"], help="of the kernel")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    tables = {"prompt": partial(prompts, dtype), "decode": partial(decoding, dtype), "models": models}
    print(torch.cuda.get_device_name(), torch.__version__, dtype)
    for what in options.tables:
        print(f"\n{what}\n{tables[what]().round(6).to_string(index=False)}", flush=True)


if __name__ == "__main__":
    main()
