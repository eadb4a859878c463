"""The critic: where a wrong solution went wrong, and how far the critic itself can be trusted."""

from attnent.critic.arithmetic import FalseEquation, check_arithmetic
from attnent.critic.marking import mark_exact, wrong_responses
from attnent.critic.steps import CriticError, Span, align, split_steps, token_span

__all__ = [
    "CriticError",
    "FalseEquation",
    "Span",
    "align",
    "check_arithmetic",
    "mark_exact",
    "split_steps",
    "token_span",
    "wrong_responses",
]
