"""Invented people, the questions about them and the sentences that describe them.

There are 300 people with five attributes each. The tier of a person says how often the training text states the facts:
`head` often, `middle` several times, `tail` hardly, `never` not at all (though the fact exists).
"""

from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

from attnent.tiny.chance import between, check_count, pick, shuffled
from attnent.tiny.words import WORDS

Tier = Literal["head", "middle", "tail", "never"]


ATTRIBUTES = tuple(WORDS["facts"])
TIER_SIZES: dict[Tier, int] = {"head": 60, "middle": 80, "tail": 100, "never": 60}


@dataclass(frozen=True)
class Person:
    """An invented person; `facts` maps each of the five attributes to one word."""

    name: str
    pronoun: str
    tier: Tier
    facts: dict[str, str]


@dataclass(frozen=True)
class Question:
    """A short question about one attribute; `answer` is the word asked for, `answer_text` a sentence that states it."""

    id: str
    question: str
    answer: str
    answer_text: str
    entity: str
    attribute: str
    tier: Tier


def all_names() -> list[tuple[str, str]]:
    """All names with their pronouns, in one fixed random order: people of the world first, strangers after."""
    firsts = [(first, "She") for first in WORDS["women"]] + [(first, "He") for first in WORDS["men"]]
    names = [(f"{first} {last}", pronoun) for first, pronoun in firsts for last in WORDS["surnames"]]
    return shuffled(Random("names"), names)


@cache
def people() -> tuple[Person, ...]:
    """The 300 people of the world, by tier."""
    rng = Random("people")
    tiers = [tier for tier, size in TIER_SIZES.items() for _ in range(size)]
    named = zip(all_names(), tiers, strict=False)
    return tuple(
        Person(name, pronoun, tier, {attribute: pick(rng, values) for attribute, values in WORDS["facts"].items()})
        for (name, pronoun), tier in named
    )


def ask(person: Person, attribute: str, phrasing: int) -> Question:
    """The question about one attribute of a person in one of its two phrasings."""
    value = person.facts[attribute]
    return Question(
        id=f"{person.name.lower().replace(' ', '-')}-{attribute}",
        question=WORDS["questions"][attribute][phrasing].format(n=person.name),
        answer=value,
        answer_text=WORDS["answers"][attribute].format(n=person.name, v=value),
        entity=person.name,
        attribute=attribute,
        tier=person.tier,
    )


QUESTION_SHARES: dict[Tier, float] = {"head": 0.05, "middle": 0.33, "tail": 0.34, "never": 0.28}


def questions(n: int, *, seed: int = 0) -> list[Question]:
    """`n` questions about different facts, mostly of middle and tail; a smaller `n` gives the beginning of the list.

    There are 1,500 facts (300 people x 5 attributes). Tiers are drawn by `QUESTION_SHARES` as long as they last.
    """
    check_count(n, len(people()) * len(ATTRIBUTES))
    rng = Random(f"questions {seed}")
    pools = {
        tier: shuffled(
            rng, [(at, name) for at, person in enumerate(people()) if person.tier == tier for name in ATTRIBUTES]
        )
        for tier in TIER_SIZES
    }
    asked = []
    while len(asked) < n:
        tier = _draw_tier(rng, [tier for tier, pool in pools.items() if pool])
        index, attribute = pools[tier].pop()
        asked.append(ask(people()[index], attribute, between(rng, 0, 1)))
    return asked


def _draw_tier(rng: Random, tiers: list[Tier]) -> Tier:
    place = rng.random() * sum(QUESTION_SHARES[tier] for tier in tiers)
    for tier in tiers:
        place -= QUESTION_SHARES[tier]
        if place < 0:
            return tier
    return tiers[-1]


def about(rng: Random, name: str) -> str:
    """A prompt that asks for a description of `name`."""
    return pick(rng, WORDS["about"]).format(n=name)
