"""Numbers that an answer gives, held against a gold number with its tolerance, unit and currency."""

import re
from fractions import Fraction
from typing import NamedTuple

from attnent.rules import Outcome
from attnent.rules.candidates import one_of_several
from attnent.rules.dates import Date, find_dates
from attnent.rules.numbers import Number, amounts, find_numbers, plain, words_to_digits
from attnent.rules.words import fold, forms, words


class Wanted(NamedTuple):
    """A gold number: the range that is accepted, its unit and its currency as text."""

    low: Fraction
    high: Fraction
    unit: str
    currency: str


_RANGE = re.compile(r"\([^()]{0,40}\b(?:range|between|tolerance|acceptable)\b[^()]{0,120}\)", re.IGNORECASE)
_SIZES = {
    "length": "mm 0.001 cm 0.01 m 1 metre 1 meter 1 km 1000 kilometre 1000 kilometer 1000 ft 0.3048 foot 0.3048 "
    "feet 0.3048 yard 0.9144 mile 1609.344 mi 1609.344",
    "mass": "g 1 gram 1 kg 1000 kilogram 1000 tonne 1000000 lb 453.59237 pound 453.59237",
    "time": "second 1 minute 60 hour 3600 day 86400 week 604800",
}
_UNITS = {
    name: (kind, Fraction(size))
    for kind, sizes in _SIZES.items()
    for name, size in zip(sizes.split()[::2], sizes.split()[1::2], strict=True)
}
_CURRENCIES = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "usd": "dollar", "eur": "euro", "gbp": "pound"}
_CURRENCY = re.compile(r"[$€£¥]|\b(?:usd|eur|gbp|dollars?|euros?|pounds?|yen|rupees?|crowns?|francs?)\b", re.IGNORECASE)
_MOST_NUMBERS = 200


def wanted_number(gold: str, question: str) -> Wanted | None:
    """The gold answer as a number with its tolerance, None when it is no number."""
    gold = amounts(words_to_digits(plain(gold)))
    tolerance = _RANGE.search(gold)
    base = re.sub(r"\([^()]*\)", " ", gold) if tolerance else gold
    numbers = find_numbers(base)
    if not numbers:
        return None
    value, start, stop = numbers[0]
    bounds = [value]
    if tolerance:
        given = [number.value for number in find_numbers(tolerance[0].replace("-", " to "))][:2]
        bounds = given if len(given) == 2 else bounds
    elif len(numbers) > 1 or _is_name(base[:start] + " " + base[stop:]) or re.match(r"s\b", base[stop:]):
        return None
    return Wanted(
        min(bounds), max(bounds), _unit_after(base, stop) or _unit_in(question), _currency(gold) or _currency(question)
    )


def _is_name(rest: str) -> bool:
    """Whether what stands beside a number makes it a name: `Apollo 11`."""
    left = re.sub(r"\b(?:st|nd|rd|th)\b|[%$€£¥°.]", " ", rest).split()
    return len(left) > 3 or any(word[0].isupper() and not _CURRENCY.fullmatch(word) for word in left)


def _unit_after(text: str, stop: int) -> str:
    match = re.match(r"\s?([A-Za-z]+)", text[stop : stop + 20])
    name = match[1].lower() if match else ""
    return next((form for form in (name, name.removesuffix("s")) if form in _UNITS), "")


def _unit_in(question: str) -> str:
    match = re.search(r"\b(?:in|many) (\w+?)s?\b", question.lower())
    return match[1] if match and match[1] in _UNITS else ""


def _currency(text: str) -> str:
    match = _CURRENCY.search(text)
    return _CURRENCIES.get(match[0].lower(), match[0].lower().removesuffix("s")) if match else ""


def _conversion(wanted: str, said: str) -> Fraction | None:
    """How many of the wanted unit one said unit is; 1 where either is unknown, None where they differ in kind."""
    if wanted not in _UNITS or said not in _UNITS:
        return Fraction(1)
    (kind, size), (said_kind, said_size) = _UNITS[wanted], _UNITS[said]
    return said_size / size if kind == said_kind else None


def judge_number(wanted: Wanted, text: str, question: str) -> Outcome:
    """The verdict on an answer to a question for a number."""
    asked = re.search(r"\bhow many (?:more |other |different )?(\w+)", question, re.IGNORECASE)
    counted = forms(asked[1]) if asked else frozenset()
    text = amounts(text)
    for noun in counted:
        text = re.sub(rf"\bno (?={re.escape(noun)})", "0 ", text, flags=re.IGNORECASE)
    said = _said_numbers(text, wanted, question)
    said = [one for one in said if counted & _next_words(text, one.stop)] or said
    if not said:
        return "not_attempted"
    fitting = [one for one in said if wanted.low <= one.value <= wanted.high]
    others = [one for one in said if one not in fitting]
    return "correct" if fitting and not one_of_several(text, fitting, others) else "incorrect"


def _next_words(text: str, stop: int) -> set[str]:
    return {word.form for word in words(fold(text[stop : stop + 40]))[:3]}


def _said_numbers(text: str, wanted: Wanted, question: str) -> list[Number]:
    """The numbers of an answer, in the wanted unit; one of another kind is none that can be right.

    In more than a few words, none of the question and none of a date.
    """
    brief = len(words(text)) <= 4
    asked = {number.value for number in find_numbers(words_to_digits(plain(question)))}
    year_wanted = 1000 <= wanted.low <= 2099
    dates = [date for date in find_dates(text) if date.month or not (year_wanted or _counts(text, date))]
    said = []
    for value, start, stop in find_numbers(text)[:_MOST_NUMBERS]:
        conversion = _conversion(wanted.unit, _unit_after(text, stop))
        currency = _currency(text[max(0, start - 4) : stop + 10])
        if conversion is None or (wanted.currency and currency not in ("", wanted.currency)):
            value = wanted.low - 1
        else:
            value *= conversion
        elsewhere = any(date.start <= start < date.stop for date in dates) or re.match(r"s\b", text[stop : stop + 2])
        of_question = value in asked and not wanted.low <= value <= wanted.high
        if brief or not (elsewhere or of_question):
            said.append(Number(value, start, stop))
    return said


def _counts(text: str, year: Date) -> bool:
    """Whether what could be a year is a number like any other."""
    before = text[max(0, year.start - 12) : year.start]
    return not re.search(r"\b(?:in|since|until|of|from|by|year|opened|born|around)\s+$", before, re.IGNORECASE)


# ---- spans of years

_SPAN = re.compile(r"(?:from |between )?(\d[\d,.]*) ?(?:-|to|until|till|and|through) ?(\d[\d,.]*)", re.IGNORECASE)


def wanted_span(gold: str) -> list[Fraction]:
    """The two ends of a gold answer such as `1945 to 1953`, else nothing."""
    match = _SPAN.fullmatch(words_to_digits(plain(gold)).strip().rstrip("."))
    ends = [number.value for part in match.groups() for number in find_numbers(part)] if match else []
    return ends if len(ends) == 2 else []


def judge_span(wanted: list[Fraction], text: str, question: str) -> Outcome:
    """The verdict on an answer to a question for a first and a last number."""
    asked = {number.value for number in find_numbers(plain(question))} - set(wanted)
    said = [number.value for number in find_numbers(text) if number.value not in asked]
    if not said:
        return "not_attempted"
    return "correct" if any(said[place : place + 2] == wanted for place in range(len(said))) else "incorrect"
