"""Whether an answer offers several candidates that cannot all be right."""

import re
from collections.abc import Sequence
from itertools import takewhile

from attnent.rules.commitment import split_sentences
from attnent.rules.dates import Date
from attnent.rules.numbers import Number
from attnent.rules.words import COMMON, fold, form_of, forms, words

_CANDIDATE = r"(?:the\s|an?\s|in\s|by\s|maybe\s|perhaps\s|possibly\s|even\s){0,3}"
_OR_AFTER = re.compile(
    rf"[\"'*)\]]{{0,3}}(?:,?\s+(?:or|as well as)\s+|\s?/\s?){_CANDIDATE}[\"']?([^\W_]+)", re.IGNORECASE
)
_OR_BEFORE = re.compile(rf"([^\W_]+)[\"']?(?:,?\s+or\s+|\s?/\s?){_CANDIDATE}[\"'(]?$", re.IGNORECASE)
_AND_AFTER = re.compile(rf"[\"'*)\]]{{0,3}},?\s+and\s+{_CANDIDATE}[\"']?([A-Z][^\W_]*|\d+)")
_AND_BEFORE = re.compile(rf"([A-Z][^\W_]*),?\s+and\s+{_CANDIDATE}[\"'(]?$")
_AND_AT_END = re.compile(r"\s+and\s+([^\W_]+)\W*$")
_AND_JUST_BEFORE = re.compile(r"([^\W_]+)\s+and\s+(?:the\s)?$", re.IGNORECASE)
_LIST_AFTER = re.compile(r"(?:,\s+[^\W_][\w. ]{0,30}){1,6},?\s+or\s+[^\W_]")
_FULL_NAME = r"[A-Z][^\W_]*(?: [A-Z][^\W_]*){1,3}"
_NAMES_AFTER = re.compile(rf"(?:,\s+{_FULL_NAME}){{2,}}\W*$|\s*\n\s*{_FULL_NAME}\s*(?:\n|$)")
_NAMES_BEFORE = re.compile(rf"(?:^|\n)\s*{_FULL_NAME}\s*\n\s*$")
_OFFERED = re.compile(
    r"\b(?:possible|several|some|candidate|potential) (?:answers|candidates|options|possibilities)\b", re.IGNORECASE
)
_EACH = re.compile(r"\b(?:some (?:say|sources)|others (?:say|claim)|perhaps|maybe|possibly)\b", re.IGNORECASE)


def among_candidates(answer: str, start: int, stop: int, known: frozenset[str]) -> bool:
    """Whether the span of an answer stands beside a candidate that is not `known` from gold answer or question."""
    before, after = answer[max(0, start - 60) : start], answer[stop : stop + 250]
    if _NAMES_AFTER.match(after) or _NAMES_BEFORE.search(before) or _LIST_AFTER.match(after):
        return True
    if _OFFERED.search(answer) or len(_EACH.findall(answer)) > 1:
        return True
    beside = [_OR_AFTER.match(after), _OR_BEFORE.search(before)]
    if answer[start].isupper():
        beside += [_AND_AFTER.match(after), _AND_BEFORE.search(before)]
    else:
        beside += [_AND_AT_END.match(after), _AND_JUST_BEFORE.search(before)]
    return any(match is not None and form_of(match[1]) not in known | COMMON for match in beside)


_BETWEEN = re.compile(r"\s?(?:,|,?\s?or(?: maybe)?|-|to|and|/)\s?[$€£¥]?$", re.IGNORECASE)
_LINKING = frozenset({"however", "but", "also", "then", "so", "although", "yet"})
_MOST_SENTENCES = 40


def one_of_several(
    text: str, right: Sequence[Date] | Sequence[Number], wrong: Sequence[Date] | Sequence[Number]
) -> bool:
    """Whether what is right is offered together with what is wrong (`1936 or 1938`), or stated once with each."""
    listed = any(_side_by_side(text, one, other) for one in right for other in wrong)
    return listed or stated_twice(text, [text[one.start : one.stop] for one in right])


def _side_by_side(text: str, one: Date | Number, other: Date | Number) -> bool:
    first, second = sorted((one, other), key=lambda item: item.start)
    return second.start >= first.stop and bool(_BETWEEN.fullmatch(text[first.stop : second.start]))


def stated_twice(text: str, named: list[str]) -> bool:
    """Whether two sentences of one form, of which one holds a name, end differently: `It was A. It was B.`"""
    sentences = [
        [word.form for word in words(fold(piece)) if word.form not in _LINKING]
        for piece in split_sentences(text)[:_MOST_SENTENCES]
    ]
    wanted = [forms(name) for name in named]
    naming, others = [], []
    for sentence in sentences:
        (naming if any(name <= set(sentence) for name in wanted) else others).append(sentence)
    return any(_differ_at_their_end(one, other) for one in naming for other in others)


def _differ_at_their_end(one: list[str], other: list[str]) -> bool:
    """Whether two sentences are alike in their first words, most of the shorter, and then differ in a like word."""
    shorter = min(len(one), len(other))
    alike = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))
    enough = abs(len(one) - len(other)) <= 1 and max(2, 0.6 * shorter) <= alike < shorter
    return enough and one[alike][0].isdigit() == other[alike][0].isdigit()
