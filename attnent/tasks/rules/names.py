"""Whether a text names the person, place, title or body that is asked for. Rules, no model; knows nothing of tasks.

Names are compared as words without case, diacritics, articles and plural endings. What rules cannot know (who did
what to whom, other names of the same thing) they do not know: this is a fallback for a reader who does.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal, NamedTuple

from rapidfuzz import fuzz

from attnent.tasks.rules.numbers import words_to_digits

Match = Literal["full", "part", "one of several", "none"]

_LETTERS = str.maketrans({"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "ı": "i"})
_LETTERS |= str.maketrans({"ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "þ": "th", "Þ": "Th"})
_LETTERS |= str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "&": " and "})
_DOTTED = re.compile(r"\b[A-Za-z](?:\.[A-Za-z])+\b\.?")
_SHORT_FORMS = (
    (re.compile(r"\bunited states(?: of america)?\b|\bUSA\b", re.IGNORECASE), "US"),
    (re.compile(r"\bunited kingdom(?: of great britain)?\b", re.IGNORECASE), "UK"),
    (re.compile(r"\b(?:first world war|WW ?(?:1|I)\b)", re.IGNORECASE), "World War 1"),
    (re.compile(r"\b(?:second world war|WW ?(?:2|II)\b)", re.IGNORECASE), "World War 2"),
)
_WORD = re.compile(r"\d[\d,]*(?:\.\d+)?[^\W_]*|[^\W_]+")
_SAME = {"st": "saint", "mt": "mount", "ft": "fort", "jr": "junior", "sr": "senior"}
_ARTICLES = frozenset({"the", "a", "an"})
_SMALL = frozenset("of de del dos la le du von van der den di da al el ibn bin y for in at and".split())  # noqa: SIM905
_TITLES = frozenset(
    """mr mrs ms miss madame monsieur don dr prof professor sir dame lord lady king queen prince princess emperor
    president minister senator judge justice general captain colonel major saint pope bishop maulana sheikh retd
    late composer singer actor actress author artist player winger footballer linguist then former prime""".split()  # noqa: SIM905
)
_GENERIC = frozenset(
    """works work group railway plc gmbh district city town village county province state region country river lake
    mount island kibbutz street company inc corp corporation ltd llc llp station place position school colour
    color ship film movie novel book album song name kind type tv""".split()  # noqa: SIM905
)
_QUALIFIERS = frozenset("new north south east west northern southern eastern western upper lower saint san".split())  # noqa: SIM905
_ROMAN = {"II": "2", "III": "3", "IV": "4", "VI": "6", "VII": "7", "VIII": "8", "IX": "9", "XI": "11", "XII": "12"}
_ROMAN |= {"XIII": "13", "XIV": "14", "XV": "15", "XVI": "16", "XVII": "17", "XVIII": "18", "XX": "20", "XXI": "21"}
_LONGEST = 3_000


class Word(NamedTuple):
    """A word as compared and as written, and its span of characters in the folded text."""

    form: str
    written: str
    start: int
    stop: int


def fold(text: str) -> str:
    """The text without diacritics and with plain quotes; case and word order stay."""
    text = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    text = "".join(char for char in text if not unicodedata.combining(char))
    text = _DOTTED.sub(lambda match: match[0].replace(".", ""), text)
    for pattern, short in _SHORT_FORMS:
        text = pattern.sub(short, text)
    return words_to_digits(text.replace("'s ", " "))


def words(text: str) -> list[Word]:
    """The words of a folded text without articles; at most the first 3,000."""
    found = []
    for match in _WORD.finditer(text):
        form = _form(match[0])
        if form not in _ARTICLES:
            found.append(Word(form, match[0], match.start(), match.end()))
        if len(found) == _LONGEST:
            break
    return found


def _form(written: str) -> str:
    if written in _ROMAN:
        return _ROMAN[written]
    form = written.casefold()
    if form[0].isdigit():
        return re.sub(r"(?<=\d)(?:st|nd|rd|th)$", "", form.replace(",", ""))
    form = _SAME.get(form, form)
    return form[:-1] if len(form) > 3 and form.endswith("s") and not form.endswith("ss") else form


def forms(text: str) -> frozenset[str]:
    """The words of a text as they are compared."""
    return frozenset(word.form for word in words(fold(text)))


# ------------------------------------------------------------------------------------------------------- gold answers

_BRACKET = re.compile(r"\s*\(([^()]{1,200})\)")
_ALSO = re.compile(
    r"^(?:or|also known as|also called|also|aka|alternatively|formerly|now|i\.e\.|born|nee)\b[:,]?\s+(.+)$",
    re.IGNORECASE,
)
_ACCEPTED = re.compile(r"^(.+?)\s+(?:is|are)\s+(?:also\s+)?(?:acceptable|accepted|correct|fine)", re.IGNORECASE)
_NICKNAME = re.compile(r'\s+"([^"]{1,40})"')


def alternatives(gold: str) -> list[str]:
    """All forms of a gold answer that stand for it: `tramp steamer (or collier)` gives two, a nickname its own."""
    gold = gold.translate(_LETTERS).strip().rstrip(".").strip()
    base = _BRACKET.sub("", gold).strip() or gold
    found = [base]
    for inner in _BRACKET.findall(gold):
        also = _ALSO.match(inner) or _ACCEPTED.match(inner)
        if also:
            found.append(also[1])
        elif _initials(base) == inner.upper() or _initials(inner) == base.upper():
            found.append(inner)
    if _NICKNAME.search(base):
        found += [_NICKNAME.sub("", base), *_NICKNAME.findall(base)]
    for separator in (" or ", "/"):
        parts = [part.strip() for part in base.split(separator)]
        if len(parts) > 1 and all(parts) and not re.search(r"\d/\d", base):
            found += parts
    return list(dict.fromkeys(found))


def _initials(text: str) -> str:
    return "".join(word.written[0] for word in words(fold(text)) if word.form not in _SMALL).upper()


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
        wanted = words(fold(whole))
        if not wanted:
            continue
        for start, stop in _spans(wanted, spoken, asked, question):
            if any(first <= start and stop <= last for first, last in listed):
                continue
            if not _among_candidates(answer, spoken[start].start, spoken[stop - 1].stop, own | asked):
                return "full"
            listed.append((start, stop))
    if listed:
        return "one of several"
    return _match_parts(wholes[0], answer, spoken, asked, question)


_TOWN_AND_REGION = re.compile(r"([A-Z][^\W\d_]*(?:[ -][A-Z][^\W\d_]*){0,3}), [A-Z][^,]{0,40}")
_ASKS_FOR_PLACE = re.compile(r"\b(?:where|city|town|village|place|location|municipality)\b", re.IGNORECASE)


def _spans(wanted: list[Word], spoken: list[Word], asked: frozenset[str], question: str) -> Iterable[tuple[int, int]]:
    """Spans of spoken words that name the wanted ones, the surest kinds first."""
    target = [word.form for word in wanted]
    yield from (span for span in _runs(target, spoken) if not _qualified(wanted, spoken, span))
    core = [form for form in target if form not in asked | _GENERIC | _TITLES | _SMALL]
    if core and any(len(form) > 1 for form in core) and len(core) < len(target):
        kept = [
            (place, word) for place, word in enumerate(spoken) if word.form not in asked | _GENERIC | _TITLES | _SMALL
        ]
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


def _similar(target: list[str], spoken: list[Word]) -> Iterable[tuple[int, int]]:
    """Spans that differ in spelling only: every word alike, the same first letters, the same numbers."""
    size = len(target)
    if size < 2:
        return
    for start in range(len(spoken) - size + 1):
        ratios = [_alike(form, word.form) for form, word in zip(target, spoken[start : start + size], strict=True)]
        if min(ratios) >= 80 and sum(ratios) / size >= 87:
            yield start, start + size


def _alike(one: str, other: str) -> float:
    if one == other:
        return 100.0
    if one[0] != other[0] or one[0].isdigit() or min(len(one), len(other)) < 4:
        return 0.0
    return fuzz.ratio(one, other)


def _acronyms(wanted: list[Word], spoken: list[Word]) -> Iterable[tuple[int, int]]:
    initials = "".join(word.written[0] for word in wanted if word.form not in _SMALL)
    if len(initials) >= 3 and initials.isupper():
        yield from ((place, place + 1) for place, word in enumerate(spoken) if word.written == initials)
    short = wanted[0].written
    if len(wanted) == 1 and short.isupper() and 3 <= len(short) <= 6:
        named = [(place, word) for place, word in enumerate(spoken) if word.form not in _SMALL]
        for start in range(len(named) - len(short) + 1):
            if "".join(word.written[0] for _, word in named[start : start + len(short)]) == short:
                yield named[start][0], named[start + len(short) - 1][0] + 1


def _is_person(wanted: list[Word], question: str) -> bool:
    named = [word for word in wanted if word.form not in _SMALL | _TITLES]
    return 2 <= len(named) <= 5 and all(word.written[0].isupper() for word in named) and asks_for_person(question)


def asks_for_person(question: str) -> bool:
    """Whether the question asks for a person."""
    return bool(
        re.search(
            r"\bwho(?:m|se)?\b|\b(?:first|last|full|maiden) name\b|\bname of the (?:\w+ ){0,3}(?:wo)?man\b"
            r"|\b(?:which|what) (?:\w+ ){0,3}"
            r"(?:composer|writer|author|artist|painter|singer|actor|actress|player|king|queen|president|minister|scientist|"
            r"mathematician|poet|director|architect|politician|chemist|physicist|engineer|inventor|sculptor|mayor|"
            r"senator|person|people|woman|women|man|men)s?\b",
            question,
            re.IGNORECASE,
        )
    )


def asks_for_full_name(question: str) -> bool:
    """Whether the question wants more than a surname."""
    return bool(
        re.search(r"\bfirst and (?:last|family) names?\b|\bfull name\b|\bfirst name\b", question, re.IGNORECASE)
    )


def _short_names(wanted: list[Word], spoken: list[Word], question: str) -> Iterable[tuple[int, int]]:
    """Spans that name a person by the surname or by first names and one more, with no foreign name beside."""
    names = [word.form for word in wanted if word.form not in _SMALL | _TITLES]
    surname_is_enough = not asks_for_full_name(question)
    place = 0
    while place < len(spoken):
        stop = place
        while stop < len(spoken) and (
            _one_of(spoken[stop], names) or (stop > place and spoken[stop].form in _SMALL - {"and"})
        ):
            stop += 1
        while stop > place and not _one_of(spoken[stop - 1], names):
            stop -= 1
        if stop > place:
            said = [word for word in spoken[place:stop] if word.form not in _SMALL]
            has_surname = any(_alike(names[-1], word.form) >= 85 for word in said)
            enough = (has_surname and (surname_is_enough or len(said) > 1)) or (
                len(said) > 1 and _alike(names[0], said[0].form) >= 85
            )
            if enough and _stands_alone(spoken, place, stop, names):
                yield place, stop
        place = max(stop, place + 1)


def _one_of(word: Word, names: list[str]) -> bool:
    """Whether a word is one of the names, an initial of one, or a name for which an initial stands among them."""
    if any(_alike(name, word.form) >= 85 for name in names):
        return True
    initials = {name[0] for name in names if len(name) == 1 or len(word.form) == 1}
    return word.form[0] in initials and word.written[0].isupper()


def _stands_alone(spoken: list[Word], start: int, stop: int, names: list[str]) -> bool:
    before = spoken[start - 1] if start else None
    after = spoken[stop] if stop < len(spoken) else None
    foreign_before = before is not None and _names_on(before, spoken[start], names)
    foreign_after = after is not None and _names_on(spoken[stop - 1], after, names, forward=True)
    return not (foreign_before or foreign_after)


def _names_on(one: Word, other: Word, names: list[str], *, forward: bool = False) -> bool:
    """Whether two neighbours look like one name, the far one foreign to the wanted names."""
    far = other if forward else one
    starts_sentence = not forward and one.start == 0 and one.form in _OPENERS
    apart = other.start - one.stop > 1
    return (
        far.written[0].isupper()
        and far.form not in _TITLES | _OPENERS | set(names)
        and not apart
        and not starts_sentence
    )


_OPENERS = frozenset(
    """i it he she they this that these those my the in on at by perhaps maybe probably possibly likely yes answer
    born also
    from with and or but as when while after before was is""".split()  # noqa: SIM905
)

_CANDIDATE = r"(?:the\s|an?\s|in\s|by\s|maybe\s|perhaps\s|possibly\s|even\s){0,3}"
_OR_AFTER = re.compile(
    rf"[\"'*)\]]{{0,3}}(?:,?\s+(?:or|as well as)\s+|\s?/\s?){_CANDIDATE}[\"']?([^\W_]+)", re.IGNORECASE
)
_AND_AFTER = re.compile(rf"[\"'*)\]]{{0,3}},?\s+and\s+{_CANDIDATE}[\"']?([A-Z][^\W_]*|\d+)")
_LIST_AFTER = re.compile(r"(?:,\s+[^\W_][\w. ]{0,30}){1,6},?\s+or\s+[^\W_]")
_OR_BEFORE = re.compile(rf"([^\W_]+)[\"']?(?:,?\s+or\s+|\s?/\s?){_CANDIDATE}[\"'(]?$", re.IGNORECASE)
_AND_BEFORE = re.compile(rf"([A-Z][^\W_]*),?\s+and\s+{_CANDIDATE}[\"'(]?$")
_OFFERED = re.compile(
    r"\b(?:possible|several|some|candidate|potential) (?:answers|candidates|options|possibilities)\b", re.IGNORECASE
)
_EACH = re.compile(r"\b(?:some (?:say|sources)|others (?:say|claim)|perhaps|maybe|possibly)\b", re.IGNORECASE)


_AND_AT_END = re.compile(r"\s+and\s+([^\W_]+)\W*$")
_AND_AT_START = re.compile(r"^\W*(?:the\s)?([^\W_]+)\s+and\s+$", re.IGNORECASE)
_FULL_NAME = r"[A-Z][^\W_]*(?: [A-Z][^\W_]*){1,3}"
_MORE_NAMES = re.compile(rf"(?:,\s+{_FULL_NAME}){{2,}}\W*$|\s*\n\s*{_FULL_NAME}\s*(?:\n|$)")
_NAMES_BEFORE = re.compile(rf"(?:^|\n)\s*{_FULL_NAME}\s*\n\s*$")


def _among_candidates(answer: str, start: int, stop: int, known: frozenset[str]) -> bool:
    """Whether the named span stands in a list with a candidate that is neither gold nor of the question."""
    before, after = answer[max(0, start - 60) : start], answer[stop : stop + 250]
    if _MORE_NAMES.match(after) or _NAMES_BEFORE.search(before):
        return True
    if _LIST_AFTER.match(after) or _OFFERED.search(answer) or len(_EACH.findall(answer)) > 1:
        return True
    capital = answer[start].isupper()
    beside = [_OR_AFTER.match(after), _OR_BEFORE.search(before)]
    if not capital:
        beside += [_AND_AT_END.match(after), _AND_AT_START.match(before)]
    else:
        beside += [_AND_AFTER.match(after), _AND_BEFORE.search(before)]
    return any(
        match is not None and _form(match[1]) not in known and _form(match[1]) not in _OPENERS for match in beside
    )


def _match_parts(gold: str, answer: str, spoken: list[Word], asked: frozenset[str], question: str) -> Match:
    """Golds of several parts, in any order; and names of which only a part is said."""
    parts = [part.strip() for part in re.split(r",\s*(?:and\s+)?|;\s*|\s+and\s+|\s+&\s+", gold) if part.strip()]
    if len(parts) > 1:
        named = [any(True for _ in _part_spans(part, spoken, asked, question)) for part in parts]
        if all(named):
            return "full"
        return "part" if any(named) and re.search(r"\bone of\b|\bincluding\b|\bamong\b", answer) else "none"
    wanted = words(fold(gold))
    if wanted and _is_person(wanted, question) and asks_for_full_name(question):
        names = [word.form for word in wanted]
        for place, word in enumerate(spoken):
            if word.form in names and _stands_alone(spoken, place, place + 1, names):
                return "part"
    return "none"


def _part_spans(part: str, spoken: list[Word], asked: frozenset[str], question: str) -> Iterable[tuple[int, int]]:
    wanted = words(fold(part))
    target = [word.form for word in wanted]
    core = [form for form in target if form not in asked | _GENERIC] or target
    if core:
        yield from _runs(core, spoken)
    if _is_person(wanted, question):
        yield from _short_names(wanted, spoken, question)
