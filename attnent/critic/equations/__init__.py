"""Equations as people and models write them, checked by exact fractions: what stands in for a critic."""

from attnent.critic.equations.checking import Calculation, FalseEquation, calculations, check_arithmetic

__all__ = ["Calculation", "FalseEquation", "calculations", "check_arithmetic"]
