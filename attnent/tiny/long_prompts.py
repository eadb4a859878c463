"""Prompts for responses of several sentences: descriptions of people, and stories and poems of like length."""

from dataclasses import dataclass
from random import Random
from typing import Literal

from attnent.tiny.chance import check_count, shuffled
from attnent.tiny.creative import ADJECTIVES, HEROES, MUSES, poem_prompt, story_prompt
from attnent.tiny.facts import about, people


@dataclass(frozen=True)
class Prompt:
    """A prompt for a longer response; `group` is `factual` or `creative`, `topic` what it asks about."""

    id: str
    prompt: str
    group: Literal["factual", "creative"]
    topic: str


def factual_prompts(n: int, *, seed: int = 0) -> list[Prompt]:
    """`n` prompts that ask for a description of different people of the head and middle tiers; at most 140."""
    known = [person.name for person in people() if person.tier in ("head", "middle")]
    check_count(n, len(known))
    rng = Random(f"factual {seed}")
    names = shuffled(rng, known)[:n]
    return [Prompt(f"factual-{name.lower().replace(' ', '-')}", about(rng, name), "factual", name) for name in names]


def creative_prompts(n: int, *, seed: int = 0) -> list[Prompt]:
    """`n` prompts about different topics, half of them for a story, half for a poem; at most 480."""
    stories = [("story", adjective, hero) for adjective in ADJECTIVES for hero in HEROES]
    poems = [("poem", adjective, muse) for adjective in ADJECTIVES for muse in MUSES]
    check_count(n, len(stories) + len(poems))
    rng = Random(f"creative {seed}")
    pairs = zip(shuffled(rng, stories), shuffled(rng, poems), strict=True)
    prompts = []
    for kind, adjective, topic in [item for pair in pairs for item in pair][:n]:
        form = story_prompt if kind == "story" else poem_prompt
        identity = f"creative-{kind}-{adjective}-{topic}"
        prompts.append(Prompt(identity, form(rng, adjective, topic), "creative", f"{adjective} {topic}"))
    return prompts
