"""Numbers as people and models write them: digits of any script, separators, fractions, words.

Knows nothing of tasks. Everything is linear in the length of the text and never raises.
"""

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

_MINUS = {ord(sign): "-" for sign in "−﹣－‐‑‒–—"}
_THIN_SPACE = re.compile("(?<=\\d)[\u00a0\u2009\u202f](?=\\d{3}(?!\\d))")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")

_SCALES = {
    "k": 1_000,
    "m": 10**6,
    "b": 10**9,
    "bn": 10**9,
    "thousand": 1_000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_NUMBER = re.compile(
    r"""(?P<sign>(?<![\w).])-)?(?:[$€£¥](?P<late_sign>-)?)?
        (?<![A-Za-z_^])(?<!\^\{)(?<!\d)(?<!\d\.)
        (?:(?P<whole>\d+)[ ]{1,3}(?P<top>\d+)/(?P<bottom>\d+)(?![/\d])
          |(?P<numerator>\d+)/(?P<denominator>\d+)(?![/\d])
          |(?P<decimal>\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+))
        (?:(?:[ ]?(?P<scale>thousand|million|billion|trillion)|(?P<attached>(?-i:[kKMB]|bn)))\b)?""",
    re.VERBOSE | re.IGNORECASE,
)
_MOST_DIGITS = 300

_SMALL_WORDS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen"""
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = {word: value for value, word in enumerate(_SMALL_WORDS.split())}
_UNITS |= {word: 10 * value for value, word in enumerate(_TENS_WORDS.split(), 2)}
_IRREGULAR = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
_IRREGULAR |= {"twelve": "twelfth"}


def _ordinal(word: str) -> str:
    return _IRREGULAR.get(word, f"{word[:-1]}ieth" if word.endswith("y") else f"{word}th")


_ORDINALS = {_ordinal(word): value for word, value in _UNITS.items() if value}
_ORDINAL_SCALES = {"hundredth": 100, "thousandth": 1_000, "millionth": 10**6}
_MULTIPLIERS = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_WORD = "|".join(sorted([*_UNITS, *_ORDINALS, *_ORDINAL_SCALES, *_MULTIPLIERS], key=len, reverse=True))
_PHRASE = re.compile(rf"\b(?:{_WORD})\b(?:(?:[ ]|-|[ ]and[ ]|,[ ])(?:{_WORD})\b)*", re.IGNORECASE)
_PRONOUN_BEFORE = re.compile(r"\b(?:the|this|that|no|any|every|each|which|another)\s$", re.IGNORECASE)
_PRONOUN_AFTER = re.compile(r"\s(?:of|who|that|another|by|day)\b", re.IGNORECASE)


class Number(NamedTuple):
    """A number in a text: its exact value and its span of characters."""

    value: Fraction
    start: int
    stop: int


def plain(text: str) -> str:
    """The text with compatibility forms unfolded (NFKC), decimal digits of all scripts as 0-9 and one minus sign.

    Vulgar fractions become `1/2` (with a space after a digit, so that 1½ is `1 1/2`), raised digits `^2`.
    """
    if text.isascii():
        return text
    text = _THIN_SPACE.sub(",", text)
    text = _SUPERSCRIPT.sub(lambda match: "^" + unicodedata.normalize("NFKC", match[0]), text)
    text = "".join(_unfold_fraction(char, before) for char, before in zip(text, " " + text, strict=False))
    text = unicodedata.normalize("NFKC", text).replace("\u2044", "/").translate(_MINUS)
    return "".join(char if char.isascii() else str(unicodedata.decimal(char, char)) for char in text)


def _unfold_fraction(char: str, before: str) -> str:
    if char.isascii() or "VULGAR FRACTION" not in unicodedata.name(char, ""):
        return char
    return (" " if before.isdigit() else "") + unicodedata.normalize("NFKC", char)


def find_numbers(text: str) -> list[Number]:
    """All numbers written in digits in a text that went through `plain`, in order.

    Reads signs, currency signs, thousands separators, decimals, `3/4`, `1 1/2`, `2 million`, `85k`, `$1.2M`. A percent
    sign is a unit: `50%` is 50. Digits glued to a letter before them or raised (`CO2`, `m^2`) are not numbers.
    """
    found = []
    for match in _NUMBER.finditer(text):
        value = _value(match)
        if value is not None:
            found.append(Number(value, match.start(), match.end()))
    return found


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match[0]) > _MOST_DIGITS:
        return None
    part = match.groupdict()
    if part["decimal"]:
        value = Fraction(part["decimal"].replace(",", ""))
    elif part["numerator"]:
        value = _ratio(part["numerator"], part["denominator"])
    else:
        ratio = _ratio(part["top"], part["bottom"])
        value = None if ratio is None else int(part["whole"]) + ratio
    if value is None:
        return None
    value *= _SCALES[(part["scale"] or part["attached"] or "").lower()] if part["scale"] or part["attached"] else 1
    return -value if part["sign"] or part["late_sign"] else value


def _ratio(top: str, bottom: str) -> Fraction | None:
    return Fraction(int(top), int(bottom)) if int(bottom) else None


def words_to_digits(text: str, *, ordinals: bool = True) -> str:
    """The text with English number words as digits: `twenty-one` is 21, `nineteen eighty-four` is 1984, `eighth` is 8.

    `one` stays a word where it is a pronoun (`one of`, `the one`). With `ordinals=False` ordinal words stay too.
    """
    return _PHRASE.sub(lambda match: _phrase_to_digits(match, ordinals), text)


def _phrase_to_digits(match: re.Match[str], ordinals: bool) -> str:
    words = re.findall(r"[a-z]+", match[0].lower())
    has_ordinal = any(word in _ORDINALS or word in _ORDINAL_SCALES for word in words)
    before, after = (
        match.string[max(0, match.start() - 10) : match.start()],
        match.string[match.end() : match.end() + 10],
    )
    pronoun = words == ["one"] and (_PRONOUN_BEFORE.search(before) or _PRONOUN_AFTER.match(after))
    bare_scale = words[0] in _MULTIPLIERS and (re.search(r"[\d.]\s?$", before) or len(words) == 1)
    if pronoun or bare_scale or (has_ordinal and not ordinals):
        return match[0]
    return " ".join(map(str, _evaluate([word for word in words if word != "and"])))


def _evaluate(words: list[str]) -> list[int]:
    """The numbers that a run of number words states, usually one."""
    done: list[int] = []
    total = current = 0
    fresh = True
    for word in words:
        scale = _MULTIPLIERS.get(word) or _ORDINAL_SCALES.get(word)
        unit = _UNITS.get(word, _ORDINALS.get(word))
        if scale == 100:
            current = (current or 1) * 100
        elif scale:
            total, current = total + (current or 1) * scale, 0
        elif unit is not None and not fresh and current % 100 >= 10 and unit >= 10 and total == 0 and current < 100:
            current = current * 100 + unit
        elif unit is not None and not fresh and (current % 10 or (current % 100 and unit >= 10) or unit == 0):
            done, total, current = [*done, total + current], 0, unit
        elif unit is not None:
            current += unit
        fresh = False
    return [*done, total + current]
