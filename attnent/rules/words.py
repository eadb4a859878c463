"""The words of a text as they are compared: without case, diacritics, articles and plural endings."""

import re
import unicodedata
from typing import NamedTuple

from attnent.rules.numbers import words_to_digits

_LETTERS = str.maketrans({"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "ı": "i"})
_LETTERS |= str.maketrans({"ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "þ": "th", "Þ": "Th"})
_LETTERS |= str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "&": " and "})
_DOTTED = re.compile(r"\b[A-Za-z](?:\.[A-Za-z])+\b\.?")
_UNITED = re.compile(r"\bunited (states|kingdom)(?: of (?:america|great britain))?\b|\bUSA\b", re.IGNORECASE)
_WORD = re.compile(r"\d[\d,]*(?:\.\d+)?[^\W_]*|[^\W_]+[+#]*")
_ARTICLES = frozenset({"the", "a", "an"})
_SAME = {"st": "saint", "mt": "mount"}
_ROMAN: dict[str, str] = dict(
    zip(
        "II III IV VI VII VIII IX XI XII XIII XIV XV XVI XVII XVIII XX XXI".split(),  # noqa: SIM905
        "2 3 4 6 7 8 9 11 12 13 14 15 16 17 18 20 21".split(),  # noqa: SIM905
        strict=True,
    )
)
_LONGEST = 3_000


class Word(NamedTuple):
    """A word as compared and as written, and its span of characters in the folded text."""

    form: str
    written: str
    start: int
    stop: int


def plain_letters(text: str) -> str:
    """The text with letters and quotes of other scripts that have a plain counterpart as that."""
    return text.translate(_LETTERS)


def fold(text: str) -> str:
    """The text without diacritics and with plain quotes; case and word order stay."""
    text = unicodedata.normalize("NFKD", plain_letters(text))
    text = "".join(char for char in text if not unicodedata.combining(char))
    text = _DOTTED.sub(lambda match: match[0].replace(".", ""), text)
    text = _UNITED.sub(lambda match: f"U{(match[1] or 's')[0].upper()}", text)
    return words_to_digits(text.replace("'s ", " "))


def words(text: str) -> list[Word]:
    """The words of a folded text without articles; at most the first 3,000."""
    found = []
    for match in _WORD.finditer(text):
        form = form_of(match[0])
        if form not in _ARTICLES:
            found.append(Word(form, match[0], match.start(), match.end()))
        if len(found) == _LONGEST:
            break
    return found


def form_of(written: str) -> str:
    """A word as it is compared: `Bridges` is `bridge`, `3rd` is `3`, `XIV` is `14`, `St` is `saint`."""
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


COMMON = forms(
    """it he she they this that these those my the a an in on at by of to and or for as is are was were be been his
    her their its i you we perhaps maybe possibly probably likely most some several although though however but there
    so if when while which who what where unfortunately sorry sure hmm well also from with not no yes could can may
    might before after answer question born one known information detail"""
) | {"1"}
