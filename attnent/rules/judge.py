"""A judge without a model: whether an answer is right, by rules."""

import re

from attnent.rules import Outcome
from attnent.rules.candidates import one_of_several, stated_twice
from attnent.rules.commitment import affirmed, committed, settled
from attnent.rules.dates import Date, compare, find_dates
from attnent.rules.names import match_name
from attnent.rules.numbers import plain, words_to_digits
from attnent.rules.quantities import judge_number, judge_span, wanted_number, wanted_span
from attnent.rules.words import COMMON, fold, forms, words

_LONGEST_ASKED = 2_000  # characters that are read of a question and of a gold answer
_LONGEST_ANSWER = 10_000
_YES_OR_NO = re.compile(r"(?:^\W*(?=(?:yes|no)\b(?! doubt))|\b(?=(?:yes|no)\b\s*(?:[,.!;:]|$)))(yes|no)", re.IGNORECASE)


def judge_offline(question: str, gold: str, answer: str) -> Outcome:
    """Judge an answer by rules: "correct", "incorrect" or "not_attempted". Never raises.

    What the answer takes back, denies or refuses is removed; the rest is compared with the gold answer as a number
    (with the tolerance or unit that it states), as a date (to its precision) or as a name or title (forms in
    brackets, initials, surnames of persons, small differences of spelling). Several candidates of which one is right
    are incorrect. An answer that is right as far as it goes but leaves out a part of what is asked (the year of a
    whole date) is not attempted, as in the rules of the data set. The labels are those of rules, not of a reader: see
    the graded cases of the tests for how often they are right. Of an answer the first 10,000 characters are read, of
    question and gold answer 2,000.
    """
    if gold.strip() and answer.strip() == gold.strip():
        return "correct"
    question, gold, answer = question[:_LONGEST_ASKED], gold[:_LONGEST_ASKED], answer[:_LONGEST_ANSWER]
    offered, refused = committed(words_to_digits(plain(settled(answer))))
    if re.fullmatch(r"\W*(?:yes|no)\W*", gold, re.IGNORECASE) and (said := _YES_OR_NO.search(offered)):
        return "correct" if said[1].lower() in gold.lower() else "incorrect"
    kept = affirmed(offered, words_to_digits(plain(gold)))
    verdict = _judge_text(question, gold, kept, refused=refused)
    if verdict == "not_attempted" and kept != offered and not refused:
        denied = _judge_text(question, gold, offered, refused=False)
        return "incorrect" if denied == "correct" or not _has_content(kept) else verdict
    return verdict


def _has_content(text: str) -> bool:
    return any(char.isalnum() for char in text)


def _judge_text(question: str, gold: str, text: str, *, refused: bool) -> Outcome:
    if not _has_content(text):
        return "not_attempted"
    if dates := _wanted_dates(gold, question):
        return _judge_date(dates, text, question)
    if span := wanted_span(gold):
        return judge_span(span, text, question)
    if number := wanted_number(gold, question):
        return judge_number(number, text, question)
    return _judge_name(gold, text, question, refused=refused)


# ---- dates


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
    asked = {date[:3] for date in find_dates(words_to_digits(plain(question)))} - {gold[:3] for gold in wanted}
    said = [date for date in find_dates(text) if date[:3] not in asked]
    verdicts = [(date, {compare(date, gold) for gold in wanted}) for date in said]
    same = [date for date, how in verdicts if "same" in how]
    if same:
        spans = {(date.start, date.stop) for date in same}
        others = [date for date, how in verdicts if how == {"different"} and (date.start, date.stop) not in spans]
        return "incorrect" if one_of_several(text, same, others) else "correct"
    if not said:
        impossible = re.search(r"\b\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}\b", text)
        return "incorrect" if impossible else "not_attempted"
    return "not_attempted" if "vaguer" in verdicts[0][1] else "incorrect"


# ---- names


def _judge_name(gold: str, text: str, question: str, *, refused: bool) -> Outcome:
    match = match_name(plain(gold), fold(text), plain(question))
    if match == "full":
        return "incorrect" if stated_twice(text, [gold]) else "correct"
    if match == "one of several":
        return "incorrect"
    if match == "part" or not _says_something(text, question, gold, refused=refused):
        return "not_attempted"
    return "incorrect"


def _says_something(text: str, question: str, gold: str, *, refused: bool) -> bool:
    """Whether a text offers an answer at all: words that are not of the question; after a refusal, a new name."""
    known = forms(question) | COMMON
    new = [word for word in words(fold(text)) if word.form not in known]
    if refused and any(char.isupper() for char in gold):
        return any(word.written[0].isupper() for word in new)
    return bool(new)
