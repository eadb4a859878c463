"""Word problems of two to six equations with their gold chains, and bare sums.

A problem is held out by the hash of its text, so no test problem can be in any training text.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from attnent.tiny.chance import WorldError, between, check_count, pick, shuffled

Split = Literal["train", "test"]


OPERATORS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}

_CHILDREN = [
    ("Tom", "He"), ("Ana", "She"), ("Ben", "He"), ("Eva", "She"), ("Max", "He"), ("Lea", "She"), ("Sam", "He"),
    ("Ida", "She"), ("Leo", "He"), ("Nina", "She"), ("Paul", "He"), ("Rosa", "She"), ("Finn", "He"), ("Maya", "She"),
    ("Hugo", "He"), ("Clara", "She"),
]  # fmt: skip
_THINGS = [
    "coins", "cards", "stamps", "shells", "apples", "books", "marbles", "pencils", "stones", "buttons", "eggs", "plums",
    "pears", "nuts", "beads", "roses",
]  # fmt: skip
_BOXES = ["boxes", "bags", "packs", "jars", "trays", "baskets"]
_MULTIPLES = {2: "doubles", 3: "triples"}
_HIGHEST = 120


@dataclass(frozen=True)
class Step:
    """One equation of a worked solution.

    `left` and `right` are whole numbers; `left_from` and `right_from` say which earlier step (0 is the first) gave the
    operand, None when the problem itself gives it. `text` is the line of the solution that holds the equation.
    """

    left: int
    operator: str
    right: int
    result: int
    text: str
    left_from: int | None = None
    right_from: int | None = None

    @property
    def given(self) -> list[int]:
        """The operands that the problem gives."""
        sources = ((self.left, self.left_from), (self.right, self.right_from))
        return [number for number, source in sources if source is None]


@dataclass(frozen=True)
class Problem:
    """A word problem with its gold chain; `distractor` is true when a sentence holds a number that is of no use."""

    id: str
    question: str
    steps: tuple[Step, ...]
    answer: int
    distractor: bool

    @property
    def n_steps(self) -> int:
        """How many equations the gold chain has, 2 to 6."""
        return len(self.steps)

    @property
    def solution(self) -> str:
        """The gold response: one line for each step, then `#### answer`."""
        return "\n".join([*(step.text for step in self.steps), f"#### {self.answer}"])


class _Story:
    """A problem under construction: sentences of the question and steps of the gold chain.

    The hero is a he and the friend a she or the other way round, so that every pronoun is clear; gifts come from and go
    to a third child, so that they change nothing of what the friend has.
    """

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        (self.name, self.pronoun), *others = shuffled(rng, _CHILDREN)
        self.friend, self.other = [name for name, pronoun in others if pronoun != self.pronoun][:2]
        self.things = pick(rng, _THINGS)
        self.sentences: list[str] = []
        self.steps: list[Step] = []
        self.value = between(rng, 6, 60)
        self.value_from: int | None = None
        opening = pick(
            rng, ["{name} has {n} {things}.", "{name} starts with {n} {things}.", "{name} owns {n} {things}."]
        )
        self.sentences.append(opening.format(name=self.name, n=self.value, things=self.things))

    def calculate(self, left: int, operator: str, right: int, line: str, sources: tuple[int | None, int | None]) -> int:
        """Add a step whose line is `line` with the equation in place of `@`; return its index."""
        result = OPERATORS[operator](left, right)
        text = line.replace("@", f"{left}{operator}{right}={result}")
        self.steps.append(Step(left, operator, right, result, text, *sources))
        return len(self.steps) - 1

    def change(self, operator: str, number: int, line: str, number_from: int | None = None) -> None:
        """Change what the hero has by `number`."""
        index = self.calculate(self.value, operator, number, line, (self.value_from, number_from))
        self.value, self.value_from = self.steps[index].result, index

    def gain(self) -> None:
        number = between(self.rng, 3, min(50, _HIGHEST - self.value))
        forms = ["{p} buys {n} more.", "{p} finds {n} more.", "{p} gets {n} more from {o}.", "Then {p} wins {n} more."]
        self.say(pick(self.rng, forms), number)
        self.change("+", number, f"{self.name} has @ now.")

    def lose(self) -> None:
        number = between(self.rng, 3, min(50, self.value - 2))
        forms = [
            "{p} gives {n} to {o}.",
            "{p} loses {n} of them.",
            "{p} sells {n} of them.",
            "Then {p} drops {n} of them.",
        ]
        self.say(pick(self.rng, forms), number)
        self.change("-", number, f"{self.name} has @ left.")

    def multiply(self) -> None:
        factor = 2 if self.value * 3 > _HIGHEST else between(self.rng, 2, 3)
        forms = ["By luck {p} {word} what {p} has.", "A week later {p} {word} the number."]
        self.say(pick(self.rng, forms).replace("{word}", _MULTIPLES[factor]))
        self.change("*", factor, f"{self.name} has @ now.")

    def divide(self) -> None:
        parts = pick(self.rng, [k for k in (2, 3, 4, 5) if self.value % k == 0])
        forms = [
            "{p} makes {n} equal piles and keeps one pile.",
            "{p} shares them out in {n} equal piles and takes one.",
        ]
        self.say(pick(self.rng, forms), parts)
        self.change("/", parts, "One pile has @.")

    def gain_boxes(self) -> None:
        count, size = self.small_product(_HIGHEST - self.value)
        boxes = pick(self.rng, _BOXES)
        self.say(pick(self.rng, ["{p} buys {n} {b} of {m}.", "{p} gets {n} {b} with {m} in each."]), count, size, boxes)
        total = self.calculate(count, "*", size, f"The {boxes} hold @.", (None, None))
        self.change("+", self.steps[total].result, f"{self.name} has @ now.", total)

    def lose_shares(self) -> None:
        count, size = self.small_product(self.value - 2)
        self.say(
            pick(self.rng, ["{p} gives {n} friends {m} each.", "{p} hands {m} to each of {n} friends."]), count, size
        )
        total = self.calculate(count, "*", size, "The friends get @.", (None, None))
        self.change("-", self.steps[total].result, f"{self.name} has @ left.", total)

    def small_product(self, limit: int) -> tuple[int, int]:
        count = between(self.rng, 2, 6)
        return count, between(self.rng, 2, max(2, min(12, limit // count)))

    def say(self, form: str, n: int = 0, m: int = 0, boxes: str = "") -> None:
        sentence = form.format(p=self.pronoun, n=n, m=m, b=boxes, o=self.other)
        sentence = re.sub(r"(?<!^)\b(He|She)\b", lambda match: match[0].lower(), sentence)
        self.sentences.append(sentence)

    def single_events(self) -> list[Callable[[], None]]:
        """The events of one equation that are possible now."""
        room = self.value <= _HIGHEST - 20
        events = (
            [self.gain] * 3 * room
            + [self.lose] * 3 * (self.value >= 12)
            + [self.multiply] * (self.value * 2 <= _HIGHEST)
        )
        return events + [self.divide] * (self.value >= 8 and any(self.value % k == 0 for k in (2, 3, 4, 5)))

    def double_events(self) -> list[Callable[[], None]]:
        """The events of two equations that are possible now."""
        return [self.gain_boxes] * (self.value <= _HIGHEST - 40) + [self.lose_shares] * (self.value >= 20)

    def end_now(self) -> str:
        return f"How many {self.things} does {self.name} have {pick(self.rng, ['now', 'in the end'])}?"

    def end_together(self, number: int) -> str:
        self.calculate(self.value, "+", number, "Together they have @.", (self.value_from, None))
        return f"How many {self.things} do they have together?"

    def end_more(self, number: int) -> str:
        self.calculate(self.value, "-", number, "The difference is @.", (self.value_from, None))
        return f"How many more {self.things} than {self.friend} does {self.name} have?"

    def end_compared(self) -> str:
        number = between(self.rng, 3, 30)
        operator, word = pick(self.rng, [("+", "more"), ("-", "fewer")] if self.value > number + 2 else [("+", "more")])
        self.sentences.append(f"In the end {self.friend} has {number} {word} than {self.name}.")
        index = self.calculate(self.value, operator, number, f"{self.friend} has @.", (self.value_from, None))
        self.calculate(self.value, "+", self.steps[index].result, "Together they have @.", (self.value_from, index))
        return f"How many {self.things} do they have together?"

    def distract(self) -> None:
        """Put a sentence with a useless number somewhere after the opening."""
        forms = [
            f"{self.name} is {between(self.rng, 6, 15)} years old.",
            f"The walk home takes {between(self.rng, 10, 50)} minutes.",
            f"There are {between(self.rng, 4, 30)} chairs in the room.",
            f"The shop has {between(self.rng, 5, 60)} {self.things}.",
        ]
        self.insert(pick(self.rng, forms))

    def insert(self, sentence: str) -> None:
        self.sentences.insert(between(self.rng, 1, len(self.sentences)), sentence)


_STEP_COUNTS = [2] * 4 + [3] * 5 + [4] * 5 + [5] * 4 + [6] * 2


def _tell(rng: Random) -> Problem:
    """One random problem, of either split."""
    story = _Story(rng)
    target = pick(rng, _STEP_COUNTS)
    ending = pick(rng, ["now", "now", "together", "more", "compared"])
    reserved = {"now": 0, "together": 1, "more": 1, "compared": 2}[ending]
    while len(story.steps) < target - reserved:
        events = story.single_events()
        if target - reserved - len(story.steps) >= 2:
            events = events + story.double_events()
        pick(rng, events)()
    friend_has = between(rng, 5, 60 if ending == "together" else max(5, min(60, story.value - 1)))
    friend_sentence = f"{story.friend} has {friend_has} {story.things}."
    distractor = rng.random() < 0.35
    if ending in ("together", "more"):
        story.insert(friend_sentence)
    if distractor and ending == "now" and rng.random() < 0.5:
        story.insert(friend_sentence)
    elif distractor:
        story.distract()
    if ending == "together":
        question = story.end_together(friend_has)
    elif ending == "more":
        question = story.end_more(friend_has)
    else:
        question = story.end_compared() if ending == "compared" else story.end_now()
    text = " ".join([*story.sentences, question])
    identity = hashlib.sha256(text.encode()).hexdigest()
    return Problem(f"problem-{identity[:12]}", text, tuple(story.steps), story.steps[-1].result, distractor)


def split_of(question: str) -> Split:
    """The split that a question belongs to, by the hash of its text: one in five is held out."""
    return "test" if hashlib.sha256(question.encode()).digest()[0] % 5 == 0 else "train"


def problems(n: int, *, seed: int = 0, split: Split = "test") -> list[Problem]:
    """`n` distinct word problems of one split; a smaller `n` gives the beginning of the same list.

    The split of a problem follows from its text, so no test problem can be in the training text whatever the seeds.
    """
    check_count(n)
    if split not in ("train", "test"):
        raise WorldError(f"split must be 'train' or 'test', but is {split!r}")
    rng = Random(f"problems {split} {seed}")
    found: dict[str, Problem] = {}
    while len(found) < n:
        problem = _tell(rng)
        if problem.answer >= 0 and split_of(problem.question) == split:
            found.setdefault(problem.question, problem)
    return list(found.values())


def sums(rng: Random, n: int) -> list[str]:
    """`n` bare equations such as `41-15=26`, with the number ranges of the word problems."""
    equations = []
    for _ in range(n):
        operator = pick(rng, "++++----**/")
        if operator == "+":
            left, right = between(rng, 2, _HIGHEST), between(rng, 2, 60)
        elif operator == "-":
            left = between(rng, 5, _HIGHEST)
            right = between(rng, 2, min(60, left - 1))
        elif operator == "*":
            left, right = pick(
                rng, [(between(rng, 2, 6), between(rng, 2, 12)), (between(rng, 3, 60), 2), (between(rng, 3, 40), 3)]
            )
        else:
            right = between(rng, 2, 5)
            left = right * between(rng, 2, _HIGHEST // right)
        equations.append(f"{left}{operator}{right}={OPERATORS[operator](left, right)}")
    return equations
