"""Whether a text names the person, place, title or body that is asked for. Rules, no model; knows nothing of tasks.

What rules cannot know (who did what to whom, other names of the same thing) they do not know: this is a fallback for a
reader who does.
"""

import re
from collections.abc import Iterator
from typing import Literal

from rapidfuzz import fuzz

from attnent.rules.candidates import among_candidates
from attnent.rules.words import COMMON, Word, fold, forms, plain_letters, words

Match = Literal["full", "part", "one of several", "none"]

_SMALL = forms("of de del dos la le du von van der den di da al el ibn bin y for in at and")
_TITLES = forms(
    """mr mrs ms miss madame monsieur don dr prof professor sir dame lord lady king queen prince princess emperor
    president minister senator judge justice general captain colonel major saint pope bishop maulana sheikh retd
    late composer singer actor actress author artist player winger footballer linguist then former prime"""
)
_GENERIC = forms(
    """works group railway plc gmbh district city town village county province state country region river lake mount
    island kibbutz street company inc corp corporation ltd llc llp station place position school colour color ship film
    movie novel book album song name kind type tv"""
)
_QUALIFIERS = forms("new north south east west northern southern eastern western upper lower saint san")


# ------------------------------------------------------------------------------------------------------- gold answers

_BRACKET = re.compile(r"\s*\(([^()]{1,200})\)")
_ALSO = re.compile(
    r"^(?:or|also known as|also called|also|aka|alternatively|formerly|now|i\.e\.|born|nee)\b[:,]?\s+(.+)$",
    re.IGNORECASE,
)
_ACCEPTED = re.compile(r"^(.+?)\s+(?:is|are)\s+(?:also\s+)?(?:acceptable|accepted|correct|fine)", re.IGNORECASE)
_NICKNAME = re.compile(r'\s+"([^"]{1,40})"')
_TOWN_AND_REGION = re.compile(r"([A-Z][^\W\d_]*(?:[ -][A-Z][^\W\d_]*){0,3}), [A-Z][^,]{0,40}")
_ASKS_FOR_PLACE = re.compile(r"\b(?:where|city|town|village|place|location|municipality)\b", re.IGNORECASE)


def alternatives(gold: str) -> list[str]:
    """All forms of a gold answer that stand for it: `tramp steamer (or collier)` gives two, a nickname its own."""
    gold = plain_letters(gold).strip().rstrip(".").strip()
    base = _BRACKET.sub("", gold).strip() or gold
    also = [_ALSO.match(inner) or _ACCEPTED.match(inner) for inner in _BRACKET.findall(gold)]
    found = [base, *(match[1] for match in also if match), _NICKNAME.sub("", base), *_NICKNAME.findall(base)]
    for separator in (" or ", "/"):
        parts = [part.strip() for part in base.split(separator)]
        if len(parts) > 1 and all(parts) and not re.search(r"\d/\d", base):
            found += parts
    return list(dict.fromkeys(found))


# ----------------------------------------------------------------------------------------------------------- matching


def match_name(gold: str, answer: str, question: str) -> Match:
    """How an answer (folded, without what it denies) names the gold answer.

    "full": named, and not beside another candidate; "part": a part of what is asked for, nothing against it; "one of
    several": in a list of candidates that cannot all be right; else "none".
    """
    spoken = words(answer)
    asked = forms(question)
    wholes = alternatives(gold)
    town = _TOWN_AND_REGION.fullmatch(wholes[0]) if _ASKS_FOR_PLACE.search(question) else None
    if town and not re.search(rf"{re.escape(fold(town[1]))},\s+[A-Z]", answer):
        wholes.append(town[1])
    own = frozenset().union(*(forms(whole) for whole in wholes))
    listed: list[tuple[int, int]] = []
    for whole in wholes:
        for start, stop in _spans(words(fold(whole)), spoken, asked, question):
            if any(first <= start and stop <= last for first, last in listed):
                continue
            if not among_candidates(answer, spoken[start].start, spoken[stop - 1].stop, own | asked):
                return "full"
            listed.append((start, stop))
    if listed:
        return "one of several"
    return _match_parts(wholes[0], answer, spoken, asked, question)


def _match_parts(gold: str, answer: str, spoken: list[Word], asked: frozenset[str], question: str) -> Match:
    """Golds of several parts, in any order; and names of which only a part is said."""
    parts = [part.strip() for part in re.split(r",\s*(?:and\s+)?|;\s*|\s+and\s+|\s+&\s+", gold) if part.strip()]
    if len(parts) > 1:
        named = [any(True for _ in _part_spans(part, spoken, asked, question)) for part in parts]
        if all(named):
            return "full"
        return "part" if any(named) and re.search(r"\bone of\b|\bincluding\b|\bamong\b", answer) else "none"
    wanted = words(fold(gold))
    if wanted and _is_person(wanted, question) and _asks_for_full_name(question):
        names = [word.form for word in wanted]
        for place, word in enumerate(spoken):
            if word.form in names and _stands_alone(spoken, place, place + 1, names):
                return "part"
    return "none"


def _part_spans(part: str, spoken: list[Word], asked: frozenset[str], question: str) -> Iterator[tuple[int, int]]:
    wanted = words(fold(part))
    target = [word.form for word in wanted]
    yield from _runs([form for form in target if form not in asked | _GENERIC] or target, spoken)
    if _is_person(wanted, question):
        yield from _short_names(wanted, spoken, question)


# ---- spans of the words of an answer that name what is wanted, the surest kinds first


def _spans(wanted: list[Word], spoken: list[Word], asked: frozenset[str], question: str) -> Iterator[tuple[int, int]]:
    target = [word.form for word in wanted]
    yield from (span for span in _runs(target, spoken) if not _qualified(wanted, spoken, span))
    left_out = asked | _GENERIC | _TITLES | _SMALL
    core = [form for form in target if form not in left_out]
    if any(len(form) > 1 for form in core) and len(core) < len(target):
        kept = [(place, word) for place, word in enumerate(spoken) if word.form not in left_out]
        for start, stop in _runs(core, [word for _, word in kept]):
            span = (kept[start][0], kept[stop - 1][0] + 1)
            if span[1] - span[0] <= len(target) + 2 and not _qualified(wanted, spoken, span):
                yield span
    yield from _similar(target, spoken)
    yield from _acronyms(wanted, spoken)
    if _is_person(wanted, question):
        yield from _short_names(wanted, spoken, question)


def _runs(target: list[str], spoken: list[Word]) -> list[tuple[int, int]]:
    size = len(target)
    if not size:
        return []
    return [
        (start, start + size)
        for start in range(len(spoken) - size + 1)
        if spoken[start].form == target[0] and [word.form for word in spoken[start : start + size]] == target
    ]


def _qualified(wanted: list[Word], spoken: list[Word], span: tuple[int, int]) -> bool:
    """Whether a word before a short name makes it another one: New York is not York."""
    before = spoken[span[0] - 1] if span[0] else None
    known = {word.form for word in wanted}
    return len(wanted) == 1 and before is not None and before.form in _QUALIFIERS and before.form not in known


def _similar(target: list[str], spoken: list[Word]) -> Iterator[tuple[int, int]]:
    """Spans that differ in spelling only: every word alike, the same first letters, the same numbers."""
    size = len(target)
    for start in range(len(spoken) - size + 1) if size > 1 else ():
        ratios = [_alike(form, word.form) for form, word in zip(target, spoken[start : start + size], strict=True)]
        if min(ratios) >= 80 and sum(ratios) / size >= 87:
            yield start, start + size


def _alike(one: str, other: str) -> float:
    if one == other:
        return 100.0
    if one[0] != other[0] or one[0].isdigit() or min(len(one), len(other)) < 4:
        return 0.0
    return fuzz.ratio(one, other)


def _acronyms(wanted: list[Word], spoken: list[Word]) -> Iterator[tuple[int, int]]:
    initials = "".join(word.written[0] for word in wanted if word.form not in _SMALL)
    if len(initials) >= 3 and initials.isupper():
        yield from ((place, place + 1) for place, word in enumerate(spoken) if word.written == initials)
    if len(wanted) == 1 and wanted[0].written.isupper() and 3 <= len(wanted[0].written) <= 6:
        short = wanted[0].written
        named = [(place, word) for place, word in enumerate(spoken) if word.form not in _SMALL]
        for start in range(len(named) - len(short) + 1):
            if "".join(word.written[0] for _, word in named[start : start + len(short)]) == short:
                yield named[start][0], named[start + len(short) - 1][0] + 1


# ---- persons

_ASKS_FOR_PERSON = re.compile(
    r"\bwho(?:m|se)?\b|\b(?:first|last|full|maiden) name\b|\bname of the (?:\w+ ){0,3}(?:wo)?man\b"
    r"|\b(?:which|what) (?:(?!(?:was|were|did|does|has|had)\b)\w+ ){0,3}"
    r"(?:composer|writer|author|artist|painter|singer|actor|actress|player|king|queen|president|minister|scientist"
    r"|mathematician|poet|director|architect|politician|chemist|physicist|engineer|inventor|sculptor|mayor|senator"
    r"|person|people|woman|women|man|men)s?\b",
    re.IGNORECASE,
)


def _is_person(wanted: list[Word], question: str) -> bool:
    named = [word for word in wanted if word.form not in _SMALL | _TITLES]
    as_names = 2 <= len(named) <= 5 and all(word.written[0].isupper() for word in named)
    return as_names and bool(_ASKS_FOR_PERSON.search(question))


def _asks_for_full_name(question: str) -> bool:
    """Whether the question wants more than a surname."""
    return bool(re.search(r"\bfirst and (?:last|family) names?\b|\b(?:full|first) name\b", question, re.IGNORECASE))


def _short_names(wanted: list[Word], spoken: list[Word], question: str) -> Iterator[tuple[int, int]]:
    """Spans that name a person by the surname or by first names and one more, with no foreign name beside."""
    names = [word.form for word in wanted if word.form not in _SMALL | _TITLES]
    surname_is_enough = not _asks_for_full_name(question)
    place = 0
    while place < len(spoken):
        stop = _end_of_name(spoken, place, names)
        if said := [word for word in spoken[place:stop] if word.form not in _SMALL]:
            has_surname = any(_alike(names[-1], word.form) >= 85 for word in said)
            has_first_name = _alike(names[0], said[0].form) >= 85
            enough = (has_surname and surname_is_enough) or (len(said) > 1 and (has_surname or has_first_name))
            if enough and _stands_alone(spoken, place, stop, names):
                yield place, stop
        place = max(stop, place + 1)


def _end_of_name(spoken: list[Word], start: int, names: list[str]) -> int:
    """Where the run of names, and of small words between them, ends that begins at `start`; there if none begins."""
    stop = last = start
    while stop < len(spoken):
        if _one_of(spoken[stop], names):
            last = stop + 1
        elif stop == start or spoken[stop].form not in _SMALL - {"and"}:
            break
        stop += 1
    return last


def _one_of(word: Word, names: list[str]) -> bool:
    """Whether a word is one of the names, an initial of one, or a name for which an initial stands among them."""
    if any(_alike(name, word.form) >= 85 for name in names):
        return True
    initials = {name[0] for name in names if len(name) == 1 or len(word.form) == 1}
    return word.form[0] in initials and word.written[0].isupper()


def _stands_alone(spoken: list[Word], start: int, stop: int, names: list[str]) -> bool:
    """Whether no foreign name stands directly before or after."""
    beside = [(start - 1, start - 1, start)] if start else []
    beside += [(stop, stop - 1, stop)] if stop < len(spoken) else []
    return not any(
        spoken[far].written[0].isupper()
        and spoken[far].form not in _TITLES | COMMON | set(names)
        and spoken[right].start - spoken[left].stop <= 1
        for far, left, right in beside
    )
