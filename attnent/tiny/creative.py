"""Prompts that ask for stories and for poems."""

from random import Random

from attnent.tiny.chance import pick
from attnent.tiny.words import WORDS

ADJECTIVES, HEROES, MUSES = (WORDS[name] for name in ("adjectives", "heroes", "muses"))


def with_article(adjective: str) -> str:
    """An adjective with its article: "a quiet", "an old"."""
    return f"{'an' if adjective[0] in 'aeiou' else 'a'} {adjective}"


def story_prompt(rng: Random, adjective: str, hero: str) -> str:
    """A prompt that asks for a story."""
    return pick(rng, WORDS["story_prompts"]).format(a=with_article(adjective), h=hero)


def poem_prompt(rng: Random, adjective: str, muse: str) -> str:
    """A prompt that asks for a poem."""
    return pick(rng, WORDS["poem_prompts"]).format(t=f"{with_article(adjective)} {muse}")
