"""Fresh prompts for notebook 01: a language model writes factual and creative ones, none twice, alike in length."""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
from pydantic import BaseModel, Field
from rapidfuzz import fuzz, process
from scipy.optimize import linear_sum_assignment

from attnent.llm import LLM, Request
from attnent.tasks import TaskError
from attnent.tasks.factual_creative import KINDS, Kind, load

A_BATCH = 20  # prompts asked for at once
SURPLUS = 1.6  # so many times what is wanted is collected, to choose lengths from
MOST_ROUNDS = 6
SIMILAR = 85  # of 100: from here on two prompts count as one (rapidfuzz token sort ratio)
MOST_WORDS = 60

# What the prompts of each kind are to be, and what they are to be about.
_ASKED = json.loads(files("attnent.tasks").joinpath("fresh_prompts.json").read_text(encoding="utf-8"))


class Batch(BaseModel):
    """What the model is asked to write."""

    prompts: list[str] = Field(description=f"{A_BATCH} prompts, one sentence or two each")


def write_prompts(llm: LLM, n: int, *, progress: bool = True) -> dict[Kind, list[str]]:
    """`n` prompts of each kind, matched in length as far as what the model wrote allows.

    None is a near duplicate of another, of either kind, or of one that ships with the package. Answers are kept in the
    cache of `llm`, so that a second call goes on where the first stopped. Raises TaskError where too few are left,
    LLMError where nothing can be asked.
    """
    if n < 1:
        raise TaskError(f"n is {n}; ask for at least 1 prompt of each kind")
    collected: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    shipped = [_plain(prompt) for prompt in load("shipped", n=100)["prompt"]]
    outcomes: Counter[str] = Counter()
    n_asked: dict[Kind, int] = {kind: 0 for kind in KINDS}
    for _ in range(MOST_ROUNDS):
        requests = _requests(collected, n_asked, math.ceil(SURPLUS * n))
        if not requests:
            break
        answers = llm.ask([request for _, request in requests], progress=progress)
        outcomes.update(answer.outcome for answer in answers)
        for (kind, _), answer in zip(requests, answers, strict=True):
            written = answer.value.prompts if isinstance(answer.value, Batch) else []
            known = [*shipped, *(_plain(prompt) for prompts in collected.values() for prompt in prompts)]
            collected[kind] += _new(written, known)
        if outcomes["not asked"]:
            break
    if min(map(len, collected.values())) < n:
        have = " and ".join(f"{len(prompts)} {kind}" for kind, prompts in collected.items())
        raise TaskError(
            f"only {have} prompts of {n} each came of the requests ({_counted(outcomes)}); what was answered is kept, "
            "so run again with a higher max_usd, another model or a smaller n"
        )
    return _alike_in_length(collected, n)


def _requests(collected: dict[Kind, list[str]], n_asked: dict[Kind, int], wanted: int) -> list[tuple[Kind, Request]]:
    """What to ask in this round; counts it in `n_asked`, so that every request is asked for an answer of its own."""
    requests = []
    for kind in KINDS:
        for _ in range(math.ceil((wanted - len(collected[kind])) / A_BATCH)):
            subjects = _ASKED["subjects"][kind]
            repeat, place = divmod(n_asked[kind], len(subjects))
            asked = (
                f"Write {A_BATCH} prompts that a user could give to an assistant, about {subjects[place]} in a wide "
                f"sense. {_ASKED['wanted'][kind]} Every prompt stands by itself, has 10 to 20 words, and none is like "
                "another."
            )
            requests.append((kind, Request([{"role": "user", "content": asked}], Batch, repeat)))
            n_asked[kind] += 1
    return requests


def _new(written: Sequence[str], known: Sequence[str]) -> list[str]:
    """The prompts that are of one paragraph, not too long, and like none before them."""
    seen, new = list(known), []
    for prompt in map(str.strip, written):
        plain = _plain(prompt)
        if not plain or "\n" in prompt or _length(prompt) > MOST_WORDS:
            continue
        if process.extractOne(plain, seen, scorer=fuzz.token_sort_ratio, score_cutoff=SIMILAR) is None:
            seen.append(plain)
            new.append(prompt)
    return new


def _plain(prompt: str) -> str:
    return " ".join(re.findall(r"\w+", prompt.casefold()))


def _length(prompt: str) -> int:
    return len(prompt.split())


def _alike_in_length(collected: dict[Kind, list[str]], n: int) -> dict[Kind, list[str]]:
    """The `n` pairs of a factual and a creative prompt whose lengths in words differ least in all.

    An assignment in which what is too many of either kind goes to places that cost nothing.
    """
    lengths = [np.array([_length(prompt) for prompt in collected[kind]]) for kind in KINDS]
    apart = np.abs(lengths[0][:, None] - lengths[1][None, :]).astype(float)
    n_factual, n_creative = apart.shape
    costs = np.zeros((n_factual + n_creative - n, n_factual + n_creative - n))
    costs[:n_factual, :n_creative] = apart
    costs[n_factual:, n_creative:] = 1e6  # two places for what is too many are no pair
    rows, columns = linear_sum_assignment(costs)
    paired = (rows < n_factual) & (columns < n_creative)
    return {
        kind: [collected[kind][place] for place in places[paired]]
        for kind, places in zip(KINDS, (rows, columns), strict=True)
    }


def _counted(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
