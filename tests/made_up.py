"""Traces of random numbers over given tokens."""

import numpy as np
import xarray as xr

from attnent.trace import MEASURES, make_trace

N_RANKS = 5


def made_up_trace(
    tokens: list[str],
    *,
    n_layers: int = 3,
    n_heads: int = 5,
    seed: int = 0,
    spans: list[tuple[int, int]] | None = None,
    kinds: list[str] | None = None,
    prompt: str = "Why?",
) -> xr.Dataset:
    """A whole Trace; `spans` are the character spans of the tokens, by default one token after the other."""
    random, n_steps = np.random.default_rng(seed), len(tokens)
    ends = np.cumsum([len(token) for token in tokens], dtype=np.int64)
    spans = spans or [(int(end) - len(token), int(end)) for end, token in zip(ends, tokens, strict=True)]
    measures = {name: random.random((n_layers, n_heads, n_steps), np.float32) for name in MEASURES}
    measures["sink_mass"] *= measures["prompt_mass"]
    ids = np.array([sum(token.encode()) for token in tokens], np.int32)
    others = random.integers(100_000, 200_000, (n_steps, N_RANKS - 1))
    probabilities = -np.sort(-random.dirichlet(np.ones(N_RANKS + 1), n_steps)[:, :N_RANKS].astype(np.float32), axis=1)
    return make_trace(
        measures,
        layer=list(range(n_layers)),
        layer_kind=kinds or ["self"] * n_layers,
        n_keys=np.tile(np.arange(n_steps) + 9, (n_layers, 1)),
        token=tokens,
        steps={
            "token_id": ids,
            "char_start": np.array([start for start, _ in spans], np.int32),
            "char_end": np.array([end for _, end in spans], np.int32),
            "logprob": np.log(probabilities[:, 0]),
            "token_entropy": random.random(n_steps, np.float32),
            "token_varentropy": random.random(n_steps, np.float32),
            "candidate_id": np.concatenate([ids[:, None], others], axis=1).astype(np.int32),
            "candidate_probability": probabilities,
        },
        attrs={
            "schema_version": 2,
            "prompt": prompt,
            "response": "".join(tokens),
            "finish_reason": "eos",
            "n_prompt": 9,
            "model": "made-up",
            "revision": "",
            "dtype": "float32",
            "seed": seed,
            "sampling": "{}",
            "versions": "{}",
        },
    )
