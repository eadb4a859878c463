"""Prompts for responses of several sentences: descriptions of people, and stories and poems of like length."""

from dataclasses import dataclass
from random import Random
from typing import Literal

from attnent.tiny.chance import check_count, pick, shuffled
from attnent.tiny.creative import ADJECTIVES, HEROES, MUSES, poem_prompt, story_prompt
from attnent.tiny.facts import people
from attnent.tiny.words import WORDS


@dataclass(frozen=True)
class Prompt:
    """A prompt for a longer response; `group` is `factual` or `creative`, `topic` what it asks about."""

    id: str
    prompt: str
    group: Literal["factual", "creative"]
    genre: Literal["facts", "stories", "poems"]
    topic: str


def factual_prompts(n: int, *, seed: int = 0) -> list[Prompt]:
    """`n` prompts that ask for a description of people of the head and middle tiers; at most 560.

    The first 140 are about different people. From there on the same people are asked about again, in the same order
    and in wordings that were not used for them before.
    """
    known = [person.name for person in people() if person.tier in ("head", "middle")]
    check_count(n, len(known) * len(WORDS["about"]))
    rng = Random(f"factual {seed}")
    names = shuffled(rng, known)
    unused = {name: list(WORDS["about"]) for name in names}
    prompts = []
    for place in range(n):
        before, index = divmod(place, len(names))
        name = names[index]
        wording = pick(rng, unused[name])
        unused[name].remove(wording)
        identity = f"factual-{name.lower().replace(' ', '-')}{f'-{before + 1}' if before else ''}"
        prompts.append(Prompt(identity, wording.format(n=name), "factual", "facts", name))
    return prompts


def creative_prompts(n: int, *, seed: int = 0) -> list[Prompt]:
    """`n` prompts about different topics, half of them for a story, half for a poem; at most 480."""
    stories = [("story", adjective, hero) for adjective in ADJECTIVES for hero in HEROES]
    poems = [("poem", adjective, muse) for adjective in ADJECTIVES for muse in MUSES]
    check_count(n, len(stories) + len(poems))
    rng = Random(f"creative {seed}")
    pairs = zip(shuffled(rng, stories), shuffled(rng, poems), strict=True)
    prompts = []
    for kind, adjective, topic in [item for pair in pairs for item in pair][:n]:
        form, genre = (story_prompt, "stories") if kind == "story" else (poem_prompt, "poems")
        identity = f"creative-{kind}-{adjective}-{topic}"
        prompts.append(Prompt(identity, form(rng, adjective, topic), "creative", genre, f"{adjective} {topic}"))
    return prompts
