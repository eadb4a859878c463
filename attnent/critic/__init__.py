"""The critic: where a wrong solution went wrong, and how far the critic itself can be trusted."""

from attnent.critic.critics import OFFLINE, offline_for
from attnent.critic.equations import FalseEquation, check_arithmetic
from attnent.critic.labels import mark
from attnent.critic.planted import mark_planted, planted_examples
from attnent.critic.quotes import CriticError, align
from attnent.critic.validation import (
    agreement_over_repeats,
    agreement_with,
    planted_errors,
    process_bench,
    read_process_bench,
)

__all__ = [
    "OFFLINE",
    "CriticError",
    "FalseEquation",
    "agreement_over_repeats",
    "agreement_with",
    "align",
    "check_arithmetic",
    "mark",
    "mark_planted",
    "offline_for",
    "planted_errors",
    "planted_examples",
    "process_bench",
    "read_process_bench",
]
