"""The critic: where a wrong solution went wrong, and how far the critic itself can be trusted."""

from attnent.critic.equations.checking import FalseEquation, check_arithmetic
from attnent.critic.exact import exact_critic
from attnent.critic.critics import Case, Finding, Verdict, arithmetic_critic, llm_critic
from attnent.critic.labels import mark_arithmetic, mark_exact, mark_llm, wrong_responses
from attnent.critic.planting import MISTAKES, Planted, plant_error
from attnent.critic.quotes import CriticError, Span, align, find_quote, split_steps, token_span
from attnent.critic.validation import (
    ProcessBench,
    Repeats,
    Sample,
    Share,
    agreement_over_repeats,
    agreement_with,
    exact_samples,
    planted_errors,
    process_bench,
    read_process_bench,
)

__all__ = [
    "MISTAKES",
    "Case",
    "CriticError",
    "FalseEquation",
    "Finding",
    "Planted",
    "ProcessBench",
    "Repeats",
    "Sample",
    "Share",
    "Span",
    "Verdict",
    "agreement_over_repeats",
    "agreement_with",
    "align",
    "arithmetic_critic",
    "check_arithmetic",
    "exact_critic",
    "exact_samples",
    "find_quote",
    "llm_critic",
    "mark_arithmetic",
    "mark_exact",
    "mark_llm",
    "plant_error",
    "planted_errors",
    "process_bench",
    "read_process_bench",
    "split_steps",
    "token_span",
    "wrong_responses",
]
