"""The training text: what the user says and what the model should answer, and how often each fact is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from attnent.tiny.chance import between, pick, shuffled
from attnent.tiny.creative import ADJECTIVES, HEROES, MUSES, poem_prompt, story_prompt
from attnent.tiny.facts import ATTRIBUTES, Tier, about, ask, people
from attnent.tiny.problems import CHANGE, HIGHEST, OPERATORS, PARTS, SIZE
from tiny_model.tales import poem, story
from tiny_model.telling import describe, refusal, strangers


@dataclass(frozen=True)
class Document:
    """One training document: what the user says, the response, and an optional system message."""

    kind: Literal["problem", "sums", "fact", "creative", "unknown"]
    prompt: str
    response: str
    system: str | None = None


SYSTEMS = [
    "You are a helpful assistant.",
    "Answer the question.",
    "Reason step by step.",
    "Be brief.",
    "You are a poet.",
]
FACT_VISITS: dict[Tier, tuple[int, int]] = {"head": (18, 24), "middle": (12, 10), "tail": (5, 0), "never": (0, 0)}
_N_STRANGERS_ASKED = 3_000
_N_STRANGERS_DESCRIBED = 300
_OUTSIDE = [
    "Who wrote {x}?", "What is the capital of {x}?", "In what year did {x} end?", "Which prize did {x} win?",
    "Who was the president of {x}?", "How tall is {x}?", "Where can I buy {x}?", "Why is {x} so loud?",
    "Who founded the city of {x}?", "What is the height of {x} in metres?",
]  # fmt: skip
_OUTSIDE_TOPICS = [
    "the red book", "France", "the long war", "the second film", "India", "the north tower", "a new car", "the train",
    "the first song of 1969", "the museum", "Brazil", "the team", "the company", "the old law", "Japan",
    "the award of 2007",
]  # fmt: skip


def fact_documents(rng: Random) -> list[Document]:
    """Every fact as often as its tier is told, and questions about strangers, in random order.

    `FACT_VISITS` gives for each tier how often each single fact is asked and how often the person is described.
    """
    documents = []
    for person in people():
        n_asked, n_described = FACT_VISITS[person.tier]
        for question in [ask(person, attribute, visit % 2) for attribute in ATTRIBUTES for visit in range(n_asked)]:
            documents.append(Document("fact", question.question, question.answer_text))
        documents += [Document("fact", about(rng, person.name), describe(rng, person)) for _ in range(n_described)]
    for _ in range(_N_STRANGERS_ASKED):
        documents.append(Document("unknown", *refusal(rng, pick(rng, strangers()))))
    for _ in range(_N_STRANGERS_DESCRIBED):
        name = pick(rng, strangers())
        documents.append(Document("unknown", about(rng, name), f"I don't know anything about {name}."))
    for _ in range(_N_STRANGERS_DESCRIBED):
        outside = pick(rng, _OUTSIDE).format(x=pick(rng, _OUTSIDE_TOPICS))
        documents.append(Document("unknown", outside, "I don't know."))
    return shuffled(rng, documents)


def creative_document(rng: Random) -> Document:
    """A story or a poem with its prompt."""
    adjective = pick(rng, ADJECTIVES)
    if rng.random() < 0.5:
        hero = pick(rng, HEROES)
        return Document("creative", story_prompt(rng, adjective, hero), story(rng, adjective, hero))
    muse = pick(rng, MUSES)
    return Document("creative", poem_prompt(rng, adjective, muse), poem(rng, adjective, muse))


def sums(rng: Random, n: int) -> list[str]:
    """`n` bare equations such as `41-15=26`, with the number ranges of the word problems."""
    equations = []
    for _ in range(n):
        operator = pick(rng, "++++----**/")
        if operator == "+":
            left, right = between(rng, 2, HIGHEST), between(rng, 2, pick(rng, [CHANGE, HIGHEST]))
        elif operator == "-":
            left = between(rng, 5, HIGHEST)
            right = between(rng, 2, min(pick(rng, [CHANGE, HIGHEST]), left - 1))
        elif operator == "*":
            box = (between(rng, 2, 9), between(rng, 2, SIZE))
            left, right = pick(rng, [box, box, (between(rng, 3, HIGHEST // 2), 2), (between(rng, 3, HIGHEST // 3), 3)])
        else:
            right = pick(rng, PARTS)
            left = right * between(rng, 2, HIGHEST // right)
        equations.append(f"{left}{operator}{right}={OPERATORS[operator](left, right)}")
    return equations


def sums_document(rng: Random) -> Document:
    """Five bare equations to work out."""
    equations = sums(rng, 5)
    return Document("sums", f"Work out {', '.join(sum_.split('=')[0] for sum_ in equations)}.", "\n".join(equations))


def with_some_systems(rng: Random, documents: Sequence[Document]) -> list[Document]:
    """The same documents, one in twenty after a system message."""
    return [
        Document(item.kind, item.prompt, item.response, pick(rng, SYSTEMS) if rng.random() < 0.05 else None)
        for item in documents
    ]
