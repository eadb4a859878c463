"""Prompts that ask for stories and for poems."""

from random import Random

from attnent.tiny.chance import pick

ADJECTIVES = [
    "brave", "lonely", "tiny", "clever", "sleepy", "gentle", "proud", "young", "old", "quiet", "merry", "hungry",
]  # fmt: skip
HEROES = [
    "fox", "bear", "owl", "wolf", "crow", "hare", "otter", "mole", "deer", "spider", "whale", "king", "witch", "giant",
    "miller", "fisherman", "gardener", "princess", "tinker", "shepherd",
]  # fmt: skip
MUSES = [
    "sea", "moon", "rain", "wind", "snow", "night", "river", "garden", "bird", "star", "road", "bridge", "bell", "rose",
    "tree", "mountain", "candle", "ship", "shadow", "summer",
]  # fmt: skip
_STORY_PROMPTS = [
    "Tell a tale of {a} {h}.",
    "Write a story about {a} {h}.",
    "Make up a story with {a} {h}.",
    "Invent a tale about {a} {h}.",
]
_POEM_PROMPTS = [
    "Write a poem about {t}.",
    "Make a short poem of {t}.",
    "Sing me some lines on {t}.",
    "Give me a poem about {t}.",
]


def with_article(adjective: str) -> str:
    """An adjective with its article: "a quiet", "an old"."""
    return f"{'an' if adjective[0] in 'aeiou' else 'a'} {adjective}"


def story_prompt(rng: Random, adjective: str, hero: str) -> str:
    """A prompt that asks for a story."""
    return pick(rng, _STORY_PROMPTS).format(a=with_article(adjective), h=hero)


def poem_prompt(rng: Random, adjective: str, muse: str) -> str:
    """A prompt that asks for a poem."""
    return pick(rng, _POEM_PROMPTS).format(t=f"{with_article(adjective)} {muse}")
