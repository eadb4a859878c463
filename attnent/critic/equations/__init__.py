"""Equations as people and models write them, checked by exact fractions: what stands in for a critic."""

from attnent.critic.equations.checking import FalseEquation, check_arithmetic

__all__ = ["FalseEquation", "check_arithmetic"]
