"""Numbers as people and models write them: digits of any script, separators, fractions, words.

Knows nothing of tasks. Everything is linear in the length of the text and never raises.
"""

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

from text_to_num import find_numbers as spoken_numbers

_MINUS = {ord(sign): "-" for sign in "−﹣－‐‑‒–—"}
_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:[ '’\u00a0\u2009\u202f]\d{3})+(?![\d.,]*\d)")
_VULGAR = re.compile(r"(\d?)([\u00bc-\u00be\u2150-\u215e\u2189])")
_DIGIT = re.compile(r"(?![0-9])\d")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")

_SCALES = {"k": 10**3, "m": 10**6, "b": 10**9, "bn": 10**9}
_SCALES |= {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
NUMBER = re.compile(
    r"""(?P<sign>(?<![\w).])-)?(?:[$€£¥](?P<late_sign>-)?)?
        (?<![A-Za-z_^])(?<!\^\{)(?<!\d)(?<!\d\.)
        (?:(?P<whole>\d+)[ ]{1,3}(?P<top>\d+)/(?P<bottom>\d+)(?![/\d])
          |(?P<numerator>\d+)/(?P<denominator>\d+)(?![/\d])
          |(?P<decimal>\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+))
        (?:(?:[ ]?(?P<scale>thousand|million|billion|trillion)|(?P<attached>(?-i:[kKMB]|bn)))\b)?""",
    re.VERBOSE | re.IGNORECASE,
)
_MOST_DIGITS = 300


class Number(NamedTuple):
    """A number in a text: its exact value and its span of characters."""

    value: Fraction
    start: int
    stop: int


def plain(text: str) -> str:
    """The text with compatibility forms unfolded (NFKC), decimal digits of all scripts as 0-9 and one minus sign.

    Vulgar fractions become `1/2` (with a space after a digit, so that 1½ is `1 1/2`), raised digits `^2`, thousands
    set apart by a space or an apostrophe `1,000`.
    """
    text = _THOUSANDS.sub(lambda match: re.sub(r"\D", ",", match[0]), text)
    if text.isascii():
        return text
    text = _SUPERSCRIPT.sub(lambda match: "^" + unicodedata.normalize("NFKC", match[0]), text)
    text = _VULGAR.sub(lambda match: f"{match[1]} {match[2]}".lstrip(), text)
    text = unicodedata.normalize("NFKC", text).replace("\u2044", "/").translate(_MINUS)
    return _DIGIT.sub(lambda match: str(unicodedata.decimal(match[0])), text)


def find_numbers(text: str) -> list[Number]:
    """All numbers written in digits in a text that went through `plain`, in order.

    Reads signs, currency signs, thousands separators, decimals, `3/4`, `1 1/2`, `2 million`, `85k`, `$1.2M`. A percent
    sign is a unit: `50%` is 50. Digits glued to a letter before them or raised (`CO2`, `m^2`) are not numbers.
    """
    values = ((_value(match), match) for match in NUMBER.finditer(text))
    return [Number(value, *match.span()) for value, match in values if value is not None]


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


# ---- words

_WORD = re.compile(r"[^\W_]+")
_NO_NUMBER = re.compile(
    r"""\bo\b|\bones\b|\bone\b(?=[ ](?:of|who|that|another|by|day)\b)
        |(?:(?<=\bthe[ ])|(?<=\bthis[ ])|(?<=\bthat[ ])|(?<=\bno[ ])|(?<=\bany[ ])|(?<=\bevery[ ])|(?<=\beach[ ])
           |(?<=\bwhich[ ])|(?<=\banother[ ])|(?<=\bfirst[ ])|(?<=\bsecond[ ])|(?<=\blast[ ]))one\b
        |(?<=\d[ ])(?:hundred|thousand|million|billion|trillion)\b
        |(?<=\bone[ ])second\b""",
    re.VERBOSE | re.IGNORECASE,
)


class _Spoken(NamedTuple):
    """A word as text2num asks for it."""

    match: re.Match[str]
    stays: bool

    def text(self) -> str:
        return self.match[0]

    def nt_separated(self, previous: "_Spoken") -> bool:
        return self.match.string[previous.match.end() : self.match.start()] not in (" ", "-")

    def not_a_number_part(self) -> bool:
        return self.stays


def words_to_digits(text: str, *, ordinals: bool = True) -> str:
    """The text with English number words as digits: `twenty-one` is 21, `nineteen eighty-four` 1984, `eighth` 8th.

    `one` stays a word where it is a pronoun (`one of`, `the one`), and so does the scale of `2 million`. With
    `ordinals=False` ordinal words stay too.
    """
    stays = {match.start() for match in _NO_NUMBER.finditer(text)}
    spoken = [_Spoken(match, match.start() in stays) for match in _WORD.finditer(text)]
    pieces: list[str] = []
    before, done = 0.0, 0
    for found in spoken_numbers(spoken, "en", threshold=0):
        start, stop = spoken[found.start].match.start(), spoken[found.end - 1].match.end()
        if found.is_ordinal and not ordinals:
            continue
        gap = text[done:start]
        if pieces and (whole := _in_one(before, gap, found.value)):
            before, pieces[-1] = float(whole), str(whole)
        else:
            scale = pieces and gap == " " and not before.is_integer()  # `two point five million`
            pieces += [gap, text[start:stop] if scale else found.text]
            before = found.value
        done = stop
    return "".join([*pieces, text[done:]])


def _in_one(one: float, gap: str, other: float) -> int | None:
    """The number that is said in two parts: `nineteen eighty-four`, `two thousand, one hundred`."""
    if gap in (" ", "-") and min(one, other) >= 10 and max(one, other) < 100:
        return int(100 * one + other)
    if gap == ", " and one and one % 1_000 == 0 and other < 1_000:
        return int(one + other)
    return None


_DOZEN = re.compile(r"\b(?:(?P<count>\d+)|(?P<half>half)(?: an?)?|a) dozen\b", re.IGNORECASE)
_PART = re.compile(
    r"\b(?:(?P<whole>\d+) and )?(?:(?P<count>\d+|an?|one)[ -])?(?P<part>hal(?:f|ves)|3rds?|thirds?|quarters?)\b",
    re.IGNORECASE,
)
_PARTS = {"h": 2, "3": 3, "t": 3, "q": 4}


def amounts(text: str) -> str:
    """A text that went through `words_to_digits` with dozens and parts as digits: `2 and a half` is 2 1/2."""
    text = _DOZEN.sub(lambda match: str(6 if match["half"] else 12 * int(match["count"] or 1)), text)
    return _PART.sub(_part, text)


def _part(match: re.Match[str]) -> str:
    count, part = match["count"] or "", match["part"].lower()
    if not (count or part == "half"):
        return match[0]
    whole = f"{match['whole']} " if match["whole"] else ""
    return f"{whole}{count if count.isdigit() else 1}/{_PARTS[part[0]]}"
