"""Scores of the next-token distributions alone: what every other score has to be worth more than.

Each takes Traces, (..., step), and gives (...); H_t is the token entropy of step t and P_t the probability of the token
that was chosen, both before temperature.
"""

from typing import Any

import numpy as np
import xarray as xr


def mean_token_entropy(traces: xr.Dataset) -> xr.DataArray:
    """mean_t H_t (nat); Fomicheva et al. 2020 (arXiv 2005.10608)."""
    return traces["token_entropy"].mean("step")


def max_token_entropy(traces: xr.Dataset) -> xr.DataArray:
    """max_t H_t (nat)."""
    return traces["token_entropy"].max("step")


def last_token_entropy(traces: xr.Dataset) -> xr.DataArray:
    """H_t (nat) of the last step, the end-of-text token where there is one."""
    entropy = traces["token_entropy"]
    return entropy.isel(step=entropy.notnull().sum("step") - 1).drop_vars("step")


def mean_token_varentropy(traces: xr.Dataset) -> xr.DataArray:
    """mean_t V_t (nat^2), the variance of surprisal within the next-token distribution."""
    return traces["token_varentropy"].mean("step")


def perplexity(traces: xr.Dataset) -> xr.DataArray:
    """exp(-mean_t ln P_t)."""
    surprisal: Any = -traces["logprob"].mean("step")
    return np.exp(surprisal)


def negative_log_likelihood(traces: xr.Dataset) -> xr.DataArray:
    """-sum_t ln P_t (nat); it grows with the length. "Maximum sequence probability" in lm-polygraph."""
    return -traces["logprob"].sum("step")


def least_likely_token(traces: xr.Dataset) -> xr.DataArray:
    """-min_t ln P_t (nat): the surprisal of the least likely token; Manakul et al. 2023 (arXiv 2303.08896)."""
    return -traces["logprob"].min("step")
