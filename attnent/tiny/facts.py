"""Invented people, the questions about them and the sentences that describe them.

There are 300 people with five attributes each. The tier of a person says how often the training text states the facts:
`head` often, `middle` several times, `tail` hardly, `never` not at all (though the fact exists).
"""

from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

from attnent.tiny.chance import between, check_count, pick, shuffled

Tier = Literal["head", "middle", "tail", "never"]


_WOMEN = [
    "Mira", "Tessa", "Ilona", "Vera", "Nora", "Sybil", "Petra", "Odile", "Greta", "Livia", "Zora", "Hanna", "Edith",
    "Carla", "Thea", "Ursa", "Dunja", "Fiona", "Bella", "Rhea",
]  # fmt: skip
_MEN = [
    "Aldo", "Boris", "Casper", "Dario", "Emil", "Felix", "Gustav", "Henrik", "Ivo", "Jonas", "Karel", "Lukas", "Milo",
    "Nils", "Oskar", "Pavel", "Quentin", "Rufus", "Stefan", "Viktor",
]  # fmt: skip
_SURNAMES = [
    "Voss", "Harlan", "Quill", "Brandt", "Marsh", "Tolle", "Fenn", "Okara", "Lind", "Bexley", "Castor", "Drum",
    "Eklund", "Falk", "Garrow", "Holm", "Ingram", "Jarvis", "Keller", "Lorn", "Mott", "Nyberg", "Orlov", "Pike",
    "Rask", "Sorel", "Thorne", "Ulrich", "Vance", "Winter", "Yarrow", "Zeller", "Amsel", "Birch", "Crane", "Dorn",
]  # fmt: skip
_VALUES = {
    "town": [
        "Tarnow", "Belmar", "Orsk", "Linden", "Varna", "Sundal", "Morwen", "Kestel", "Halden", "Pelm", "Graz", "Tolmin",
        "Arden", "Wexholm", "Ronda", "Narvik", "Zell", "Coburg", "Dover", "Elba", "Fossum", "Ghent", "Ilmen", "Yalta",
    ],
    "job": [
        "baker", "weaver", "potter", "pilot", "miner", "doctor", "sailor", "farmer", "judge", "tailor", "printer",
        "nurse", "painter", "teacher", "smith", "lawyer", "mason", "cook", "clerk", "guard", "dancer", "hunter",
        "banker", "joiner",
    ],
    "instrument": [
        "flute", "violin", "drum", "harp", "piano", "guitar", "horn", "cello", "lute", "oboe", "organ", "trumpet",
        "banjo", "fiddle", "viola", "tuba", "zither", "whistle", "bugle", "lyre", "cornet", "gong", "bagpipe",
        "bassoon",
    ],
    "pet": [
        "cat", "dog", "parrot", "goat", "pony", "rabbit", "turtle", "raven", "ferret", "goose", "snake", "donkey",
        "lizard", "pigeon", "hamster", "badger", "monkey", "toad", "squirrel", "lamb", "mouse", "falcon", "swan",
        "camel",
    ],
    "dish": [
        "soup", "bread", "cheese", "rice", "stew", "pasta", "salad", "honey", "fish", "cake", "curry", "porridge",
        "pie", "beans", "toast", "ham", "cabbage", "noodles", "pudding", "lentils", "pancakes", "mushrooms", "corn",
        "dumplings",
    ],
}  # fmt: skip
ATTRIBUTES = tuple(_VALUES)
WORDS = (*_WOMEN, *_MEN, *_SURNAMES, *(value for values in _VALUES.values() for value in values))
TIER_SIZES: dict[Tier, int] = {"head": 60, "middle": 80, "tail": 100, "never": 60}

QUESTIONS = {
    "town": ["In which town was {n} born?", "What town did {n} come from?"],
    "job": ["What work did {n} live by?", "Which job did {n} once have?"],
    "instrument": ["What instrument did {n} often play?", "What did {n} play at night?"],
    "pet": ["Which pet did {n} once keep?", "Which animal did {n} once own?"],
    "dish": ["What food did {n} like most?", "Which dish did {n} often eat?"],
}
_ANSWERS = {
    "town": "{n} was born in {v}.",
    "job": "{n} worked as a {v}.",
    "instrument": "{n} often played the {v}.",
    "pet": "{n} kept a pet {v}.",
    "dish": "{n} liked to eat {v}.",
}
_ABOUT = [
    "Tell me all about {n}.",
    "Describe the whole life of {n}.",
    "What do you know of {n}?",
    "Give me the life story of {n}.",
]


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
    firsts = [(first, "She") for first in _WOMEN] + [(first, "He") for first in _MEN]
    names = [(f"{first} {last}", pronoun) for first, pronoun in firsts for last in _SURNAMES]
    return shuffled(Random("names"), names)


@cache
def people() -> tuple[Person, ...]:
    """The 300 people of the world, by tier."""
    rng = Random("people")
    tiers = [tier for tier, size in TIER_SIZES.items() for _ in range(size)]
    named = zip(all_names(), tiers, strict=False)
    return tuple(
        Person(name, pronoun, tier, {attribute: pick(rng, values) for attribute, values in _VALUES.items()})
        for (name, pronoun), tier in named
    )


def ask(person: Person, attribute: str, phrasing: int) -> Question:
    """The question about one attribute of a person in one of its two phrasings."""
    value = person.facts[attribute]
    return Question(
        id=f"{person.name.lower().replace(' ', '-')}-{attribute}",
        question=QUESTIONS[attribute][phrasing].format(n=person.name),
        answer=value,
        answer_text=_ANSWERS[attribute].format(n=person.name, v=value),
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
    return pick(rng, _ABOUT).format(n=name)
