"""Draws that are the same on every platform and Python version.

Only `random.Random.random()` is used, whose sequence Python promises to keep.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class WorldError(ValueError):
    """A request that the little world cannot fulfil."""


def pick(rng: Random, items: Sequence[T]) -> T:
    """One item of `items`, each with the same probability."""
    return items[int(rng.random() * len(items))]


def between(rng: Random, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return low + int(rng.random() * (high - low + 1))


def shuffled(rng: Random, items: Sequence[T]) -> list[T]:
    """A new list with the items in random order."""
    return [item for _, _, item in sorted((rng.random(), position, item) for position, item in enumerate(items))]


def check_count(n: int, most: int | None = None) -> None:
    if n < 0 or (most is not None and n > most):
        limit = "0 or more" if most is None else f"between 0 and {most}"
        raise WorldError(f"n must be {limit}, but is {n}")
