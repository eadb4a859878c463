"""How facts are told in the training text: descriptions of people, and not knowing those who are nobody."""

from functools import cache
from random import Random

from attnent.tiny.chance import pick, shuffled
from attnent.tiny.facts import ATTRIBUTES, Person, all_names, people
from attnent.tiny.words import WORDS

_REFUSALS = {
    "town": "I don't know where {n} was born.",
    "job": "I don't know what {n} worked as.",
    "instrument": "I don't know what {n} often played.",
    "pet": "I don't know the pet of {n}.",
    "dish": "I don't know what {n} ate most.",
}
_SENTENCES = {
    "town": ["{s} was born in {v}, in a house by the {place}.", "{s} was born in {v} and grew up near the {place}."],
    "job": ["{s} worked as a {v} for {many} years.", "For {many} years {s} worked as a {v}."],
    "instrument": ["In the evening {s} played the {v}.", "{s} played the {v} at every feast."],
    "pet": ["{s} kept a pet {v}, which slept by the {spot}.", "At home {s} kept a pet {v}."],
    "dish": ["{s} liked to eat {v} on {day}.", "Most of all {s} liked to eat {v}."],
}
_PLACES = ["river", "market", "church", "mill", "harbour", "forest"]
_SPOTS = ["stove", "door", "window", "bed"]
_DAYS = ["Sunday", "Monday", "Friday", "feast days"]


@cache
def strangers() -> tuple[str, ...]:
    """Names that belong to nobody in the world: asked about them, the right response is not to know."""
    return tuple(name for name, _ in all_names()[len(people()) :])


def refusal(rng: Random, name: str) -> tuple[str, str]:
    """A question about a stranger and the response that says so."""
    attribute = pick(rng, ATTRIBUTES)
    return pick(rng, WORDS["questions"][attribute]).format(n=name), _REFUSALS[attribute].format(n=name)


def describe(rng: Random, person: Person) -> str:
    """Five sentences that state all attributes of a person, the birthplace first."""
    sentences = []
    for attribute in [ATTRIBUTES[0], *shuffled(rng, ATTRIBUTES[1:])]:
        form = pick(rng, _SENTENCES[attribute])
        subject = person.name if not sentences else person.pronoun
        subject = subject if form.startswith("{s}") or not sentences else subject.lower()
        filling = {"place": pick(rng, _PLACES), "many": pick(rng, ["many", "ten", "twenty"]), "spot": pick(rng, _SPOTS)}
        sentences.append(form.format(s=subject, v=person.facts[attribute], day=pick(rng, _DAYS), **filling))
    return " ".join(sentences)
