"""Word problems of two to six equations with their gold chains, and bare sums.

A problem is held out by the hash of its text, so no test problem can be in any training text.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import add, floordiv, mul, sub
from random import Random
from typing import Literal

from attnent.tiny.chance import WorldError, between, check_count, pick, shuffled
from attnent.tiny.words import WORDS

Split = Literal["train", "test"]


OPERATORS = {"+": add, "-": sub, "*": mul, "/": floordiv}

_MULTIPLES = {2: "doubles", 3: "triples"}
PARTS = (2, 3, 4, 5, 6)
HIGHEST = 300  # of what one child has
_START = 150  # of what a child has at first
CHANGE = 120  # of what comes or goes at once
SIZE = 25  # of what one box holds
TWO_CHILDREN: dict[Split, float] = {"train": 0.55, "test": 0.3}  # probability; the model hardly learns them
_STEP_COUNTS = [2] * 4 + [3] * 5 + [4] * 5 + [5] * 4 + [6] * 2


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
    """A word problem with its gold chain.

    `distractor` is true when a sentence holds a number that is of no use; `n_children`, 1 or 2, is how many children
    the problem counts for.
    """

    id: str
    question: str
    steps: tuple[Step, ...]
    answer: int
    distractor: bool
    n_children: int

    @property
    def n_steps(self) -> int:
        """How many equations the gold chain has, 2 to 6."""
        return len(self.steps)

    @property
    def solution(self) -> str:
        """The gold response: one line for each step, then `#### answer`."""
        return "\n".join([*(step.text for step in self.steps), f"#### {self.answer}"])


@dataclass
class _Child:
    """A child of a problem under construction: what it has now, and the step that gave it (None: the problem)."""

    name: str
    pronoun: str
    value: int
    source: int | None = None


class _Story:
    """A problem under construction: sentences of the question and steps of the gold chain.

    The hero is a he and the friend a she or the other way round, so that every pronoun is clear; `other` is a third
    child, whose things nobody counts.
    """

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        (name, pronoun), *others = shuffled(rng, WORDS["children"])
        (friend, friend_pronoun), (self.other, _) = [child for child in others if child[1] != pronoun][:2]
        self.things = pick(rng, WORDS["things"])
        self.hero = _Child(name, pronoun, between(rng, 10, _START))
        self.friend = _Child(friend, friend_pronoun, 0)
        self.sentences = [f"{name} {pick(rng, ['has', 'starts with', 'owns'])} {self.hero.value} {self.things}."]
        self.steps: list[Step] = []

    def calculate(self, left: int, operator: str, right: int, line: str, sources: tuple[int | None, int | None]) -> int:
        """Add a step whose line is `line` with the equation in place of `@`; return its index."""
        result = OPERATORS[operator](left, right)
        text = line.replace("@", f"{left}{operator}{right}={result}")
        self.steps.append(Step(left, operator, right, result, text, *sources))
        return len(self.steps) - 1

    def change(self, child: _Child, operator: str, number: int, line: str, number_from: int | None = None) -> None:
        """Change what a child has by `number`."""
        child.source = self.calculate(child.value, operator, number, line, (child.source, number_from))
        child.value = self.steps[child.source].result

    def say(self, child: _Child, form: str) -> None:
        """Add a sentence with the name or the pronoun of `child` in place of `@`."""
        subject = child.name if self.rng.random() < (0.8 if self.friend.value else 0.3) else child.pronoun
        self.sentences.append(
            form.replace("@", subject if form[0] == "@" or subject == child.name else subject.lower())
        )

    def gain(self, child: _Child) -> None:
        number = between(self.rng, 3, min(CHANGE, HIGHEST - child.value))
        forms = ["@ buys {} more.", "@ finds {} more.", f"@ gets {{}} more from {self.other}.", "Then @ wins {} more."]
        self.say(child, pick(self.rng, forms).format(number))
        self.change(child, "+", number, f"{child.name} has @ now.")

    def lose(self, child: _Child) -> None:
        number = between(self.rng, 3, min(CHANGE, child.value - 2))
        forms = [
            f"@ gives {{}} to {self.other}.",
            "@ loses {} of them.",
            "@ sells {} of them.",
            "Then @ drops {} of them.",
        ]
        self.say(child, pick(self.rng, forms).format(number))
        self.change(child, "-", number, f"{child.name} has @ left.")

    def multiply(self, child: _Child) -> None:
        factor = 2 if child.value * 3 > HIGHEST else between(self.rng, 2, 3)
        form = pick(self.rng, ["By luck @ {} the number.", "A week later @ {} the number."])
        self.say(child, form.format(_MULTIPLES[factor]))
        self.change(child, "*", factor, f"{child.name} has @ now.")

    def divide(self, child: _Child) -> None:
        parts = pick(self.rng, [parts for parts in PARTS if child.value % parts == 0])
        forms = ["@ makes {} equal piles and keeps one pile.", "@ shares them out in {} equal piles and takes one."]
        self.say(child, pick(self.rng, forms).format(parts))
        self.change(child, "/", parts, f"{child.name} has @ left.")

    def gain_boxes(self, child: _Child) -> None:
        count, size = self.small_product(HIGHEST - child.value)
        boxes = pick(self.rng, WORDS["boxes"])
        self.say(
            child, pick(self.rng, ["@ buys {} {} of {}.", "@ gets {} {} with {} in each."]).format(count, boxes, size)
        )
        total = self.calculate(count, "*", size, f"The {boxes} hold @.", (None, None))
        self.change(child, "+", self.steps[total].result, f"{child.name} has @ now.", total)

    def lose_shares(self, child: _Child) -> None:
        count, size = self.small_product(child.value - 2)
        form = pick(self.rng, ["@ gives {count} pupils {size} each.", "@ hands {size} to each of {count} pupils."])
        self.say(child, form.format(count=count, size=size))
        total = self.calculate(count, "*", size, "The pupils get @.", (None, None))
        self.change(child, "-", self.steps[total].result, f"{child.name} has @ left.", total)

    def small_product(self, limit: int) -> tuple[int, int]:
        count = between(self.rng, 2, 9)
        return count, between(self.rng, 2, max(2, min(SIZE, limit // count)))

    def hand_over(self, giver: _Child) -> None:
        """One of the two children gives to the other: an equation for each."""
        taker = self.friend if giver is self.hero else self.hero
        number = between(self.rng, 3, min(CHANGE, giver.value - 2))
        self.say(giver, f"@ gives {number} to {taker.name}.")
        self.change(giver, "-", number, f"{giver.name} has @ left.")
        self.change(taker, "+", number, f"{taker.name} has @ now.")

    def introduce_friend(self) -> bool:
        """Say what the friend has; return whether that is said by comparison with the hero, as an equation."""
        friend, hero, compared = self.friend, self.hero, self.rng.random() < 0.4
        if compared:
            fewer = hero.value > 20 and self.rng.random() < 0.5
            number = between(self.rng, 3, min(CHANGE, hero.value - 5) if fewer else CHANGE // 2)
            self.sentences.append(f"{friend.name} has {number} {'fewer' if fewer else 'more'} than {hero.name}.")
            friend.value = hero.value
            self.change(friend, "-" if fewer else "+", number, f"{friend.name} has @.")
            self.steps[-1] = replace(self.steps[-1], left_from=hero.source)
        else:
            friend.value = between(self.rng, 10, _START)
            self.sentences.append(f"{friend.name} has {friend.value} {self.things}.")
        return compared

    def events(self, child: _Child, *, both: bool) -> list[Callable[[_Child], None]]:
        """What can happen to a child now, each as often as its share of the draws; `both`: there are two children."""
        value = child.value
        return [
            *[self.gain] * 3 * (value <= HIGHEST - 50),
            *[self.lose] * 3 * (value >= 15),
            *[self.multiply] * (value * 2 <= HIGHEST),
            *[self.divide] * (value >= 8 and any(value % parts == 0 for parts in PARTS)),
            *[self.gain_boxes] * (value <= HIGHEST - 80),
            *[self.lose_shares] * (value >= 30),
            *[self.hand_over] * 2 * (both and value >= 15),
        ]

    def distract(self) -> None:
        """Put a sentence with a useless number somewhere after the opening."""
        forms = [
            f"The school is {between(self.rng, 10, _START)} years old.",
            f"The walk home takes {between(self.rng, 10, 90)} minutes.",
            f"There are {between(self.rng, 4, 90)} chairs in the room.",
            f"The shop has {between(self.rng, 10, _START)} {self.things}.",
        ]
        self.sentences.insert(between(self.rng, 1, len(self.sentences)), pick(self.rng, forms))

    def ask_both(self) -> str:
        """End with the sum or the difference of what the two children have."""
        more, less = self.hero, self.friend
        if self.rng.random() < 0.5:
            self.calculate(more.value, "+", less.value, "Together they have @.", (more.source, less.source))
            return f"How many {self.things} do they have together?"
        if less.value > more.value:
            more, less = less, more
        self.calculate(more.value, "-", less.value, "The difference is @.", (more.source, less.source))
        return f"How many more {self.things} than {less.name} does {more.name} have?"

    def needed(self, last: int | None) -> tuple[Step, ...]:
        """The steps that step `last` rests on and itself, in order, with their sources renumbered."""
        wanted, open_steps = set(), [last]
        while open_steps:
            index = open_steps.pop()
            if index is not None:
                wanted.add(index)
                open_steps += [self.steps[index].left_from, self.steps[index].right_from]
        place: dict[int | None, int | None] = {old: new for new, old in enumerate(sorted(wanted))}
        kept = [self.steps[index] for index in sorted(wanted)]
        return tuple(replace(s, left_from=place.get(s.left_from), right_from=place.get(s.right_from)) for s in kept)


def _tell(rng: Random, two_children: float) -> Problem:
    """One random problem, of any length and either split; `two_children` is the probability that it counts for two."""
    story = _Story(rng)
    both = rng.random() < two_children
    compared = False
    introduction = between(rng, 0, 1)
    for number in range(between(rng, 1, 6)):
        if both and number == introduction:
            compared = story.introduce_friend()
        met = both and number >= introduction
        child = story.friend if met and rng.random() < 0.3 else story.hero
        pick(rng, story.events(child, both=met))(child)
    if both and not story.friend.value:
        compared = story.introduce_friend()
    distractor = rng.random() < 0.2
    if distractor:
        story.distract()
    if both and rng.random() < 0.6:
        question, last = story.ask_both(), len(story.steps) - 1
    else:
        child = story.friend if both and rng.random() < 0.5 else story.hero
        question, last = (
            f"How many {story.things} does {child.name} have {pick(rng, ['now', 'in the end'])}?",
            child.source,
        )
        distractor = distractor or (both and not (child is story.friend and compared))
    steps = story.needed(last)
    text = " ".join([*story.sentences, question])
    identity = hashlib.sha256(text.encode()).hexdigest()
    distractor = distractor or len(steps) < len(story.steps)
    return Problem(f"problem-{identity[:12]}", text, steps, steps[-1].result if steps else 0, distractor, 1 + both)


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
    n_steps = pick(rng, _STEP_COUNTS)
    while len(found) < n:
        problem = _tell(rng, TWO_CHILDREN[split])
        if problem.n_steps == n_steps and split_of(problem.question) == split and problem.question not in found:
            found[problem.question] = problem
            n_steps = pick(rng, _STEP_COUNTS)
    return list(found.values())
