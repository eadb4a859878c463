"""SimpleQA: short questions with one short answer (Wei et al. 2024, arXiv:2411.04368). Load, and judge by rules.

The default of the real data is SimpleQA Verified (Haas et al. 2025, arXiv:2509.07968). The judge here needs no model:
it is a fallback, never to be mixed with an LLM's grades in one table.
"""

import re
from collections.abc import Iterable
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from attnent.tasks import TaskError, choose, from_hub, local_file, need_columns, shares, text_ids
from attnent.tasks.rules.dates import Date, compare, find_dates
from attnent.tasks.rules.names import fold, forms, match_name, words
from attnent.tasks.rules.numbers import find_numbers, plain, words_to_digits

OUTCOMES = ("correct", "incorrect", "not_attempted")
Outcome = Literal["correct", "incorrect", "not_attempted"]

HUB_SPLITS = {"google/simpleqa-verified": "eval", "basicv8vc/SimpleQA": "test"}
_LOCAL = "a csv file with the columns `problem` and `answer`"


# ------------------------------------------------------------------------------------------------------------- examples


def load(
    source: str | Path = "tiny", *, n: int, seed: int = 0, dataset: str = "google/simpleqa-verified"
) -> pd.DataFrame:
    """`n` questions, a row each; the questions for a smaller `n` are the beginning of those for a larger.

    `source` is "tiny" (the bundled world), "hub" (`dataset`, one of `HUB_SPLITS`) or the path of a csv with `problem`
    and `answer`. The question is asked as it is.

    Columns: `id`, `prompt`, `gold`, `group` (the person asked about in the bundled world, else the question),
    `question`; of the bundled world also `tier` and `attribute`, of other sources `topic` and `answer_type` where
    they have them.
    """
    if source == "tiny":
        return _from_world(n, seed)
    if source == "hub":
        if dataset not in HUB_SPLITS:
            raise TaskError(
                f"unknown dataset {dataset!r}: pass {' or '.join(map(repr, HUB_SPLITS))}, or as source {_LOCAL}"
            )
        table = from_hub(dataset, config=None, split=HUB_SPLITS[dataset], instead=_LOCAL)
    else:
        table = _read_csv(local_file(source, names=("tiny", "hub"), instead=_LOCAL))
    return choose(_examples(table, where=f"the source {str(source)!r}"), n, seed=seed, what="questions")


def _from_world(n: int, seed: int) -> pd.DataFrame:
    from attnent.tiny import world

    if n < 1:
        raise TaskError(f"n is {n}; pass at least 1")
    try:
        questions = world.questions(n, seed=seed)
    except world.WorldError as error:
        raise TaskError(f"the bundled world cannot give n={n} questions: {error}") from error
    rows = [
        {
            "id": question.id,
            "prompt": question.question,
            "gold": question.answer,
            "group": question.entity,
            "question": question.question,
            "tier": question.tier,
            "attribute": question.attribute,
        }
        for question in questions
    ]
    return pd.DataFrame(rows)


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} cannot be read as csv ({str(error).strip()}); pass {_LOCAL}") from error


def _examples(table: pd.DataFrame, *, where: str) -> pd.DataFrame:
    """Questions as a table; gold answers without a letter or digit are an error that lists them all."""
    need_columns(table, ("problem", "answer"), where)
    questions, answers = ([str(text).strip() for text in table[name]] for name in ("problem", "answer"))
    ids, groups = text_ids("simpleqa", questions)
    unread = [
        f"{identity} (row {row})"
        for row, (identity, answer) in enumerate(zip(ids, answers, strict=True))
        if not any(char.isalnum() for char in answer)
    ]
    if unread:
        raise TaskError(f"{len(unread)} gold answers of {where} are empty; correct or remove them: {', '.join(unread)}")
    frame = pd.DataFrame({"id": ids, "prompt": questions, "gold": answers, "group": groups, "question": questions})
    for column in ("topic", "answer_type"):
        if column in table.columns:
            frame[column] = table[column].to_numpy()
    return frame


# ------------------------------------------------------------------------------------------- what an answer commits to

_MARKUP = re.compile(
    r"\*\*|__|~~|`|^[ \t]{0,9}(?:[-*•>#]{1,6}|\d{1,2}[.)])[ \t]+|(?<!\w)\*(?=\w)|(?<=\w)\*(?!\w)", re.MULTILINE
)
_TAKEN_BACK = re.compile(
    r"(?:(?:^|[.!?…]\s+|\n)actually\b|\bcorrection\s*:|\bno,\s+wait\b|\bwait,\s+no\b|\bwait,\s+that\b"
    r"|,\s+no,|\bI mean[t]?\b(?! it)"
    r"|\b(?:that|this) (?:is|was) (?:wrong|not right|incorrect)\b|(?<=[.!?…]\s)no,"
    r"|\bon second thoughts?\b|\bscratch that\b)[:,]?",
    re.IGNORECASE,
)
_LONGEST_CLAUSE = 600
_SENTENCE = re.compile(
    r"(?<!\bSt)(?<!\bMt)(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bvs)(?<!\bNo)(?<!\b[A-Z])(?<!\bretd)"
    r"(?<!\bJan)(?<!\bFeb)(?<!\bMar)(?<!\bApr)(?<!\bAug)(?<!\bSept)(?<!\bSep)(?<!\bOct)(?<!\bNov)(?<!\bDec)[.!?…]+(?=\s|$)|\n+"
)
_CLAUSE = re.compile(
    r";\s|:\s|,?\s+(?:but|however|although|though|yet)\b,?|,\s+(?=(?:maybe|perhaps|probably|possibly|however)\b)",
    re.IGNORECASE,
)
_KNOWING = (
    r"(?:know|heard|sure|certain|say|tell|verify|confirm|determine|find|found|recall|remember|provide|answer|access|information|data|"
    r"idea|clue|guess|familiar|aware|include|give|context|records?|confidence|definit\w+|identify|locate|details?|knowledge|help|assist)"
)
_NOT = r"(?:not|n't|n’t|cannot|unable|unsure|uncertain|no|never|without|rather|need|lack\w*|beyond|limited|dont|cant)"
_MY_IGNORANCE = re.compile(
    rf"\b(?:I|I'm|I’m|Im|my|me|we)\b[^.;]{{0,80}}?(?:\b{_NOT}\b|n['’]t\b)[^.;]{{0,60}}?\b{_KNOWING}\b"
    rf"|\b(?:I|I'm|I’m|me)\b[^.;]{{0,20}}\b(?:unsure|uncertain|unaware|no idea)\b"
    rf"|^\W*(?:sorry,?\s+)?(?:can't|cannot|couldn't|don't|dont|not sure|not certain|no idea|no clue|unsure|"
    rf"unknown|n/?a|none known|no answer|not enough|not known|uncertain|idk|dunno)\b"
    rf"|\bescapes me\b|\bbeyond my\b|\bimpossible for me\b"
    rf"|\bI(?:'d| would)? (?:have|need) to (?:look|check|search|see)\b",
    re.IGNORECASE,
)
_NOBODYS_KNOWLEDGE = re.compile(
    r"(?:\b(?:is|are|was|were|remains?|has)|'s)\s+(?:unknown|unclear|uncertain"
    r"|not (?:been )?(?:publicly |widely |well |generally |currently |reliably )?"
    r"(?:known|recorded|documented|available|clear|specified|disclosed|certain"
    r"|provided|mentioned|made public|revealed|announced))\b"
    r"|\bno (?:publicly |readily |widely )?(?:available |reliable |specific |verified |definite |known |clear )*"
    r"(?:information|records?|data|evidence|sources?|details)\b"
    r"|\b(?:nobody|no one) knows\b|\bhard to say\b|\bimpossible to (?:say|tell|know|determine)\b"
    r"|\b(?:information|details|records)\b[^.;]{0,40}\b(?:scarce|limited|unavailable|lacking)\b",
    re.IGNORECASE,
)
_REFERRAL = re.compile(
    r"^\W*(?:you (?:could|may|might|can|should|would)\b|I(?:'d| would)? (?:recommend|suggest|advise)"
    r"|please\b|try\b|consult\b|check\b"
    r"|(?:could|can|do|would) you\b|(?:which|what|who)\b.*\b(?:you mean|are you|do you)\b|let me know\b|feel free\b)",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"\b(?:as of|according to) my (?:last|latest|knowledge|training)\b[^,.;]{0,80},?"
    r"|\bas an? (?:AI|language)\b[^,.;]{0,60},?",
    re.IGNORECASE,
)


def _settled(answer: str) -> str:
    """The answer without markup and without what it takes back later (`A. Actually, B.` leaves B)."""
    text = _MARKUP.sub("", answer.replace("’", "'"))
    cut = 0
    for match in _TAKEN_BACK.finditer(text):
        if re.search(r"\w", text[match.end() :]):
            cut = match.end()
    return text[cut:] if text[:cut].strip(" .,") else text


def _committed(text: str) -> tuple[str, bool]:
    """What the answer says without refusals, referrals and preambles; and whether it refused anywhere."""
    kept, refused = [], False
    for sentence in _split(_SENTENCE, text):
        for clause in _split(_CLAUSE, _PREAMBLE.sub(" ", sentence)):
            if _MY_IGNORANCE.search(clause[:_LONGEST_CLAUSE]):
                refused = True
            elif match := _NOBODYS_KNOWLEDGE.search(clause[:_LONGEST_CLAUSE]):
                refused = True
                kept.append(clause[: match.start()])
            elif _REFERRAL.search(clause[:_LONGEST_CLAUSE]):
                refused = refused or "?" in sentence
            else:
                kept.append(clause)
    return "".join(kept), refused


def _split(pattern: re.Pattern[str], text: str) -> list[str]:
    """The pieces of a text, each with the separator that ends it."""
    ends = [*(match.end() for match in pattern.finditer(text)), len(text)]
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False) if text[start:end].strip()]


_AFFIRMING = re.compile(
    r"\bnot (?=only\b|just\b|merely\b)|\b(?:not|n't)(?=[^,;.]{0,60}\buntil\b)"
    r"|\bno (?=later\b|earlier\b|fewer\b|less\b|doubt\b)"
    r"|\bwithout (?:a |any )?doubt\b|\b(?:was|is)n't (?=(?:it|that)\b)",
    re.IGNORECASE,
)
_DENYING = re.compile(
    r"(?:\b(?:not|never|nor|neither|cannot be|rather than|instead of|other than|except|excluding|everything but|"
    r"anything but|"
    r"anyone but|far from|as opposed to|unlike|contrary to|confused with|mistaken for|near|close to|outside|"
    r"(?:north|south|east|west) of|(?:km|miles|kilomet\w+|minutes|hours) from|"
    r"(?:pupil|student|contemporary|friend|colleague) of)\b"
    r"|n't\b)[^,;:.!?)\n]*?(?=[,;:!?)\n]|\.(?:\s|$)|\bbut\b|$)",
    re.IGNORECASE,
)

_CONCEDED = re.compile(
    r"\b(?:although|though|while|despite)\b[^,.;]{0,60}\b(?:credited|attributed|ascribed|thought|believed|said|assumed)\b[^,.;]{0,120},"
    r"|\b(?:many|some|most|people)(?: people| sources)? (?:think|believe|say|assume|claim)\b"
    r"[^.;]{0,120}?\b(?:but|yet|however)\b",
    re.IGNORECASE,
)
_DENIED_SUBJECT = re.compile(
    r"(?:\b[A-Z][^\W_]*[ -]){1,5}(?=(?:did not|didn't|was not|wasn't|is not|isn't|has never|never)\s)"
)


def _affirmed(text: str) -> str:
    """The text without what it denies or only compares with: `not Paris but Lyon` leaves Lyon."""
    text = _CONCEDED.sub(" ", _AFFIRMING.sub("", text))
    return _DENYING.sub(" ", _DENIED_SUBJECT.sub(" ", text))


# -------------------------------------------------------------------------------------------------------------- numbers


class _Wanted(NamedTuple):
    """A gold number: its value, the range that is accepted, and its unit as text."""

    value: Fraction
    low: Fraction
    high: Fraction
    unit: str


_RANGE = re.compile(r"\([^()]{0,40}\b(?:range|between|tolerance|acceptable)\b[^()]{0,120}\)", re.IGNORECASE)
_LENGTH = {
    "mm": "0.001",
    "cm": "0.01",
    "m": "1",
    "metre": "1",
    "meter": "1",
    "km": "1000",
    "kilometre": "1000",
    "kilometer": "1000",
}
_LENGTH |= {"ft": "0.3048", "foot": "0.3048", "feet": "0.3048", "yard": "0.9144", "mile": "1609.344", "mi": "1609.344"}
_MASS = {
    "g": "1",
    "gram": "1",
    "kg": "1000",
    "kilogram": "1000",
    "tonne": "1000000",
    "lb": "453.59237",
    "pound": "453.59237",
}
_AREA = {"acre": "4046.8564224", "hectare": "10000", "ha": "10000"}
_TIME = {"second": "1", "minute": "60", "hour": "3600", "day": "86400", "week": "604800"}
_UNITS = {
    name: (group, Fraction(size))
    for group, sizes in (("length", _LENGTH), ("mass", _MASS), ("area", _AREA), ("time", _TIME))
    for name, size in sizes.items()
}
_CURRENCIES = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "usd": "dollar", "eur": "euro", "gbp": "pound"}
_CURRENCY = re.compile(r"[$€£¥]|\b(?:usd|eur|gbp|dollars?|euros?|pounds?|yen|rupees?|crowns?|francs?)\b", re.IGNORECASE)


def _wanted_number(gold: str, question: str) -> _Wanted | None:
    """The gold answer as a number with its tolerance, None when it is no number."""
    gold = words_to_digits(plain(gold))
    tolerance = _RANGE.search(gold)
    base = re.sub(r"\([^()]*\)", " ", gold) if tolerance else gold
    numbers = find_numbers(base)
    if not numbers:
        return None
    if tolerance:
        bounds = [number.value for number in find_numbers(tolerance[0].replace("-", " to "))][:2]
        if len(bounds) == 2 and min(bounds) < 0 <= numbers[0].value:
            bounds = [abs(bound) for bound in bounds]
    else:
        bounds = []
        rest = base[: numbers[0].start] + " " + base[numbers[0].stop :]
        left = re.sub(r"\b(?:st|nd|rd|th)\b|[%$€£¥°.]", " ", rest).split()
        shouted = any(word[0].isupper() and not _CURRENCY.fullmatch(word) for word in left)
        if len(numbers) > 1 or len(left) > 3 or shouted or re.match(r"s\b", base[numbers[0].stop :]):
            return None
    value = numbers[0].value
    low, high = (min(bounds), max(bounds)) if len(bounds) == 2 else (value, value)
    return _Wanted(value, low, high, _unit_after(base, numbers[0].stop) or _unit_in(question))


def _unit_after(text: str, stop: int) -> str:
    match = re.match(r"\s?([A-Za-z]+)", text[stop : stop + 20])
    name = match[1].lower() if match else ""
    return next((form for form in (name, name.removesuffix("s")) if form in _UNITS), "")


def _unit_in(question: str) -> str:
    match = re.search(r"\b(?:in|many) (\w+?)s?\b", question.lower())
    return match[1] if match and match[1] in _UNITS else ""


_MOST_NUMBERS = 200


class _Said(NamedTuple):
    """A number that an answer gives, in the unit of the gold answer, and its span."""

    value: Fraction
    start: int
    stop: int


def _said_numbers(text: str, wanted: _Wanted, question: str, gold: str) -> list[_Said]:
    """The numbers of an answer that can be the one asked for: none of the question, no dates, no other currency."""
    asked = {number.value for number in find_numbers(words_to_digits(plain(question)))}
    year_like = wanted.value.denominator == 1 and 1000 <= wanted.value <= 2099
    dated = [date for date in find_dates(text) if date.month or (not year_like and _in_year(text, date))]
    currency = _currency(gold) or (_currency(question) if _currency(text) else "")
    said = []
    for number in find_numbers(text)[:_MOST_NUMBERS]:
        after = text[number.stop : number.stop + 25]
        value = number.value * _conversion(wanted.unit, _unit_after(text, number.stop))
        fits = wanted.low <= value <= wanted.high
        near = _currency(text[max(0, number.start - 4) : number.stop] + after[:10])
        foreign = currency and near and near != currency
        in_date = any(date.start <= number.start < date.stop for date in dated)
        if not ((number.value in asked and not fits) or in_date or foreign or re.match(r"s\b", after)):
            said.append(_Said(value, number.start, number.stop))
    return said


def _in_year(text: str, date: Date) -> bool:
    return bool(
        re.search(
            r"\b(?:in|since|until|of|from|by|year|opened|born|around)\s+$",
            text[max(0, date.start - 12) : date.start],
            re.I,
        )
    )


def _currency(text: str) -> str:
    match = _CURRENCY.search(text)
    return _CURRENCIES.get(match[0].lower(), match[0].lower().removesuffix("s")) if match else ""


def _conversion(wanted: str, said: str) -> Fraction:
    """How many of the wanted unit one said unit is; 1 where either is unknown, 0 where they differ in kind."""
    if wanted not in _UNITS or said not in _UNITS:
        return Fraction(1)
    (group, size), (said_group, said_size) = _UNITS[wanted], _UNITS[said]
    return said_size / size if group == said_group else Fraction(0)


_SPAN = re.compile(r"(?:from |between )?(\d[\d,.]*) ?(?:-|to|until|till|and|through) ?(\d[\d,.]*)", re.IGNORECASE)


def _wanted_span(gold: str) -> list[Fraction]:
    """The two ends of a gold answer such as `1945 to 1953`, else nothing."""
    match = _SPAN.fullmatch(words_to_digits(plain(gold)).strip().rstrip("."))
    ends = [number.value for part in match.groups() for number in find_numbers(part)] if match else []
    return ends if len(ends) == 2 else []


def _judge_span(wanted: list[Fraction], text: str, question: str) -> Outcome:
    asked = {number.value for number in find_numbers(plain(question))} - set(wanted)
    said = [number.value for number in find_numbers(words_to_digits(text)) if number.value not in asked]
    if not said:
        return "not_attempted"
    return "correct" if any(said[place : place + 2] == wanted for place in range(len(said))) else "incorrect"


_HOW_MANY = re.compile(
    r"\bhow many (?:more |other |different )?((?:\w+ ){1,4}?)"
    r"(?=(?:do|does|did|was|were|is|are|has|have|had|can|could|will|would|of|in)\b)",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r"\s?(?:,|,?\s?or(?: maybe)?|-|to|and|/)\s?[$€£¥]?$", re.IGNORECASE)


_COUNT_WORDS = (
    (re.compile(r"\bhalf a dozen\b", re.IGNORECASE), "6"),
    (re.compile(r"\ba dozen\b", re.IGNORECASE), "12"),
    (re.compile(r"\bnone\b", re.IGNORECASE), "0"),
    (re.compile(r"\bminus (?=\d)", re.IGNORECASE), "-"),
)


def _judge_number(wanted: _Wanted, text: str, question: str, gold: str) -> Outcome:
    noun_match = _HOW_MANY.search(question) or re.search(r"\bhow many (\w+)", question, re.IGNORECASE)
    noun = forms(noun_match[1]) if noun_match else frozenset()
    text = words_to_digits(text)
    for pattern, number in _COUNT_WORDS:
        text = pattern.sub(number, text)
    for form in noun:
        text = re.sub(rf"\bno (?={re.escape(form)})", "0 ", text, flags=re.IGNORECASE)
    said = _said_numbers(text, wanted, question, gold)
    if not said and len(words(text)) <= 4:
        said = [_Said(number.value, number.start, number.stop) for number in find_numbers(text)]
    counted = [one for one in said if noun & {word.form for word in words(fold(text[one.stop : one.stop + 40]))[:3]}]
    said = [one for one in said if one in counted] or said
    fitting = [one for one in said if wanted.low <= one.value <= wanted.high]
    if not said:
        return "not_attempted"
    others = [one for one in said if one not in fitting]
    if not fitting or any(_side_by_side(text, one, other) for one in fitting for other in others):
        return "incorrect"
    return "incorrect" if _stated_twice(text, [text[one.start : one.stop] for one in fitting]) else "correct"


def _side_by_side(text: str, one: _Said | Date, other: _Said | Date) -> bool:
    first, second = sorted((one, other), key=lambda item: item.start)
    return second.start >= first.stop and bool(_BETWEEN.fullmatch(text[first.stop : second.start]))


# ---------------------------------------------------------------------------------------------------------------- dates


def _wanted_dates(gold: str, question: str) -> list[Date]:
    """The gold answer as a date in each of its readings, none when it is no date."""
    text = words_to_digits(plain(gold)).strip().rstrip(".")
    dates = find_dates(text)
    whole = bool(dates) and all(date.start == 0 and date.stop == len(text) for date in dates)
    bare_year = whole and dates[0].month is None
    if bare_year and not re.search(r"\b(?:year|when|date)\b", question, re.IGNORECASE):
        return []
    return dates if whole else []


def _judge_date(wanted: list[Date], text: str, question: str) -> Outcome:
    text = words_to_digits(text)
    asked = {date[:3] for date in find_dates(words_to_digits(plain(question)))}
    said = [date for date in find_dates(text) if date[:3] not in asked or date[:3] in {gold[:3] for gold in wanted}]
    verdicts = [(date, {compare(date, gold) for gold in wanted}) for date in said]
    same = [date for date, how in verdicts if "same" in how]
    if same:
        spans = {(date.start, date.stop) for date in same}
        others = [date for date, how in verdicts if how == {"different"} and (date.start, date.stop) not in spans]
        listed = any(_side_by_side(text, one, other) for one in same for other in others)
        return (
            "incorrect" if listed or _stated_twice(text, [text[date.start : date.stop] for date in same]) else "correct"
        )
    if not said:
        impossible = re.search(r"\b\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}\b", text)
        return "incorrect" if impossible else "not_attempted"
    return "not_attempted" if "vaguer" in verdicts[0][1] else "incorrect"


# ------------------------------------------------------------------------------------------------------------- verdicts


def _stated_twice(text: str, named: list[str]) -> bool:
    """Whether two sentences of one form end differently: `It was A. It was B.`"""
    sentences = [
        [word.form for word in words(fold(piece)) if word.form not in _LINKING]
        for piece in _split(_SENTENCE, text)[:40]
    ]
    wanted = [{word.form for word in words(fold(name))} for name in named]
    for one in sentences:
        if not any(name <= set(one) for name in wanted):
            continue
        for other in sentences:
            alike = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))
            differs = one != other and not any(name <= set(other) for name in wanted)
            if differs and _same_form(one, other, alike):
                return True
    return False


_LINKING = frozenset({"however", "but", "also", "then", "so", "although", "yet"})


def _same_form(one: list[str], other: list[str], alike: int) -> bool:
    """Whether two sentences are alike in their first words, most of the shorter, and then differ in a like word."""
    shorter = min(len(one), len(other))
    enough = abs(len(one) - len(other)) <= 1 and max(2, 0.6 * shorter) <= alike < shorter
    return enough and one[alike][0].isdigit() == other[alike][0].isdigit()


_COMMON = frozenset(
    """it he she they this that these those my the a an in on at by of to and or for as is are was were be been his
    her their its i you we perhaps maybe possibly probably likely most some several although though however but there
    so if when which who what where unfortunately sorry hmm well also from with not no yes could can may might answer
    question born one known
    information detail""".split()  # noqa: SIM905
)


def _says_something(text: str, question: str, gold: str, *, refused: bool) -> bool:
    """Whether a text offers an answer at all: words that are not of the question; after a refusal, a new name."""
    known = forms(question) | _COMMON
    new = [word for word in words(fold(text)) if word.form not in known and word.form.removesuffix("s") not in known]
    if refused and any(char.isupper() for char in gold):
        return any(word.written[0].isupper() for word in new)
    return bool(new)


def judge_offline(question: str, gold: str, answer: str) -> Outcome:
    """Judge an answer by rules: "correct", "incorrect" or "not_attempted". Never raises.

    What the answer takes back, denies or refuses is removed; the rest is compared with the gold answer as a number
    (with the tolerance or unit that it states), as a date (to its precision) or as a name or title (forms in
    brackets, initials, surnames of persons, small differences of spelling). Several candidates of which one is right
    are incorrect. An answer that is right as far as it goes but leaves out a part of what is asked (the year of a
    whole date) is not attempted, as in the rules of the data set. The labels are those of rules, not of a reader: see
    the graded cases of the tests for how often they are right.
    """
    if gold.strip() and answer.strip() == gold.strip():
        return "correct"
    text = plain(_settled(answer))
    yes_or_no = re.fullmatch(r"\W*(yes|no)\W*", gold, re.IGNORECASE)
    if yes_or_no and (said := re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)):
        return "correct" if said[1].lower() == yes_or_no[1].lower() else "incorrect"
    committed, refused = _committed(text)
    kept = _affirmed(committed)
    verdict = _judge_text(question, gold, kept, refused=refused)
    if verdict == "not_attempted" and kept != committed and not refused:
        denied = _judge_text(question, gold, committed, refused=False)
        return "incorrect" if denied == "correct" or not _has_content(kept) else verdict
    return verdict


def _has_content(text: str) -> bool:
    return any(char.isalnum() for char in text)


def _judge_text(question: str, gold: str, text: str, *, refused: bool) -> Outcome:
    if not _has_content(text):
        return "not_attempted"
    if wanted_dates := _wanted_dates(gold, question):
        return _judge_date(wanted_dates, text, question)
    if wanted_span := _wanted_span(gold):
        return _judge_span(wanted_span, text, question)
    if wanted_number := _wanted_number(gold, question):
        return _judge_number(wanted_number, text, question, gold)
    return _judge_name(gold, text, question, refused=refused)


def _judge_name(gold: str, text: str, question: str, *, refused: bool) -> Outcome:
    match = match_name(plain(gold), fold(text), plain(question))
    if match == "full":
        return "incorrect" if _stated_twice(text, [gold]) else "correct"
    if match == "one of several":
        return "incorrect"
    if match == "part" or not _says_something(text, question, gold, refused=refused):
        return "not_attempted"
    return "incorrect"


# --------------------------------------------------------------------------------------------------------------- shares


def _f_score(correct: np.ndarray, attempted: np.ndarray, axis: int = -1) -> np.ndarray | np.float64:
    """Harmonic mean of overall correct and correct given attempted, 2 c / (n + a); 0 when nothing is correct."""
    return 2 * correct.sum(axis=axis) / (correct.shape[axis] + attempted.sum(axis=axis))


def outcome_shares(
    grades: Iterable[str], *, confidence: float = 0.95, seed: int = 0, n_resamples: int = 2_000
) -> pd.DataFrame:
    """Shares of the three outcomes, correct given attempted, and F, each with its interval.

    F is the harmonic mean of the share of correct and of correct given attempted: 2 c / (n + a), with c correct and a
    attempted of n. Wilson intervals for shares (`attnent.tasks.shares`), a percentile bootstrap over responses for F.
    Rows `correct`, `incorrect`, `not_attempted`, `correct_given_attempted`, `f`; columns `outcome`, `n` (count, for
    the last two the number attempted and the number of all), `share`, `low`, `high` (1). What cannot be computed is
    NaN.
    """
    from scipy.stats import bootstrap

    grades = list(grades)
    table = shares(grades, OUTCOMES, confidence=confidence)
    attempts = [grade for grade in grades if grade != "not_attempted"]
    given = shares(attempts, ("correct", "incorrect"), confidence=confidence).iloc[0]
    correct = np.array([grade == "correct" for grade in grades], dtype=float)
    attempted = np.array([grade != "not_attempted" for grade in grades], dtype=float)
    score = low = high = float("nan")
    if grades:
        score = low = high = float(_f_score(correct, attempted))
    if len(set(grades)) > 1:
        interval = bootstrap(
            (correct, attempted),
            _f_score,
            paired=True,
            vectorized=True,
            method="percentile",
            n_resamples=n_resamples,
            confidence_level=confidence,
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    extra = [
        ("correct_given_attempted", len(attempts), given["share"], given["low"], given["high"]),
        ("f", len(grades), score, low, high),
    ]
    return pd.concat([table, pd.DataFrame(extra, columns=table.columns)], ignore_index=True)
