"""What the GPU kernel of the measures costs: `python benchmarks/kernel.py` prints tables, on a CUDA device alone.

`prompt`: all rows of a causal prompt, timed by CUDA events against sdpa as PyTorch chooses it and against its
FlashAttention backend. `decode`: 32 rows measured together, against the 32 sdpa calls of one query that they belong to.
`error` is the largest difference from float64 over some rows, in nat and nat^2.
"""

import argparse
import itertools

import pandas as pd
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

from attnent.model import kernels
from attnent.model.entropy import stats_of_moments, weights_and_moments_

SHAPES = {"Llama 3.2 1B": (32, 8, 64), "Llama 3.1 70B": (64, 8, 128)}  # heads, groups, width
N_KEYS = (1_024, 8_192, 32_768)
N_ROWS_TOGETHER = 32
N_ROUNDS = 20


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the GPU kernel of the measures, and print it as text.")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    dtype = getattr(torch, parser.parse_args().dtype)
    print(torch.cuda.get_device_name(), torch.__version__, dtype)
    for what, table in (("prompt", prompts), ("decode", decoding)):
        print(f"\n{what}\n{table(dtype).round(6).to_string(index=False)}", flush=True)


if __name__ == "__main__":
    main()
