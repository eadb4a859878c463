"""How long texts of 100,000 characters take to read, as a program by itself: tests check types, which takes longer."""

import json
import sys
import time
from collections.abc import Callable

from pydantic import BaseModel

from attnent.critic import check_arithmetic
from attnent.critic.quotes import find_quote
from attnent.llm.replies import find_object
from attnent.tasks.gsm8k import read_answer
from attnent.tasks.simpleqa import judge_offline
from attnent.trace import split_lines

LONG = 100_000


class Sum(BaseModel):
    total: int


def repeated(text: str) -> str:
    return (text * (LONG // len(text) + 1))[:LONG]


def quote_of(line: str) -> object:
    return find_quote("x" + line[:20_000], line, 0)


READERS: dict[str, tuple[Callable[[str], object], list[str]]] = {
    "split_lines": (split_lines, ["Mr. ", "a. B", ". ", "1. ", "e.g. x. "]),
    "find_quote": (quote_of, ["word and 3 + 4 = 7 more ", "a", "a b ", "** "]),
    "check_arithmetic": (check_arithmetic, ["1+1=3 ", "1+1=3\n", "1+", "(", "1=1=", "<<1=2>>", "1/2 of ", "- "]),
    "find_object": (lambda text: find_object(text, Sum), ['[{"a":', "{", '{"total": 1}', "[[", "\\"]),
    "gold answer": (lambda text: judge_offline("Who was it?", text, "Ann"), ["(1)", "a or ", "1 ", "Ann, ", "May 1 "]),
    "judged answer": (
        lambda text: judge_offline("Who was it?", "Ann Lee", text),
        ["(1)", "Ann or ", "not ", "1 ", "Ann "],
    ),
    "read_answer": (read_answer, ["(1)", "the answer is ", "1/", "\\\\frac{", "10^", "one ", "= "]),
}


def seconds(read: Callable[[str], object], text: str) -> float:
    """The least CPU time of three readings, so that a busy machine is not taken for a slow reader."""
    times = []
    for _ in range(3):
        start = time.process_time()
        read(text)
        times.append(time.process_time() - start)
        if times[-1] < 0.5:
            break
    return min(times)


if __name__ == "__main__":
    found = {
        f"{name}: {text!r}": seconds(read, repeated(text)) for name, (read, texts) in READERS.items() for text in texts
    }
    json.dump(found, sys.stdout)
