"""Dates as people write them, to the precision they give. Knows nothing of tasks; linear in the length of the text."""

import re
from typing import Literal, NamedTuple

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
DATE = re.compile(
    rf"""(?<![\w.])(?:
        (?P<day1>{_DAY})[ ](?:of[ ])?(?:day[ ]of[ ])?(?P<month1>{_MONTH})(?:,?[ ](?:of[ ])?(?P<year1>\d{{4}})\b)?
      | (?P<month2>{_MONTH})[ ](?:the[ ])?(?P<day2>{_DAY})\b(?:,?[ ](?:of[ ])?(?P<year2>\d{{4}})\b)?
      | (?P<month3>{_MONTH}),?[ ](?:of[ ])?(?P<year3>\d{{4}})\b
      | (?P<year4>\d{{4}})-(?P<month4>\d{{1,2}})-(?P<day4>\d{{1,2}})\b
      | (?P<first5>\d{{1,2}})(?P<separator>[/.-])(?P<second5>\d{{1,2}})(?P=separator)(?P<year5>\d{{4}})\b
      | (?P<year6>\d{{4}}),?[ ](?P<month6>{_MONTH})(?:[ ](?P<day6>\d{{1,2}})\b)?
      | (?P<month7>\d{{1,2}})/(?P<year7>\d{{4}})\b
      | (?P<year8>1\d{{3}}|20\d{{2}})(?![\w%])(?![.,]\d)
    )""",
    re.VERBOSE | re.IGNORECASE,
)


class Date(NamedTuple):
    """A date to the precision that was written, and its span of characters. Parts that were not written are None."""

    year: int | None
    month: int | None
    day: int | None
    start: int
    stop: int


def find_dates(text: str) -> list[Date]:
    """All dates of a text that went through `plain`, in order, bare years from 1000 to 2099 among them.

    `3/4/1990` can be read in two ways: both stand in the list, with the same span. Impossible dates are left out.
    """
    return [date for match in DATE.finditer(text) for date in _readings(match)]


def _readings(match: re.Match[str]) -> list[Date]:
    parts: dict[str, str] = {}
    for name, value in match.groupdict().items():
        if value is not None:
            parts[name.rstrip("12345678")] = value
    year = int(parts["year"]) if "year" in parts else None
    if "first" in parts:
        first, second = int(parts["first"]), int(parts["second"])
        pairs = dict.fromkeys([(first, second), (second, first)])
    else:
        day = int(re.sub(r"\D", "", parts["day"])) if "day" in parts else None
        pairs = {(day, _month(parts.get("month"))): None}
    return [
        Date(year, month, day, *match.span())
        for day, month in pairs
        if (day is None or 1 <= day <= 31) and (month is None or 1 <= month <= 12)
    ]


def _month(name: str | None) -> int | None:
    if name is None:
        return None
    return int(name) if name.isdigit() else _MONTHS.index(name[:3].lower()) + 1


def compare(written: Date, wanted: Date) -> Literal["same", "vaguer", "different"]:
    """Whether a date agrees with the wanted one in each part that is wanted, lacks some of them, or differs."""
    pairs = list(zip(written[:3], wanted[:3], strict=True))
    if any(have is not None and want is not None and have != want for have, want in pairs):
        return "different"
    return "vaguer" if any(have is None and want is not None for have, want in pairs) else "same"
