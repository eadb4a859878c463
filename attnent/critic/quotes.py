"""Where a quote of a solution stands in it, and among the tokens of a Trace."""

import re
import unicodedata
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Int
from rapidfuzz import fuzz

from attnent.trace import split_lines

How = Literal["exact", "normalised", "fuzzy", "line"]

SIMILAR = 80  # of 100: from here on a fuzzy match counts (rapidfuzz partial ratio)
LONGEST = 500  # characters of a quote that is looked for by likeness, whose time grows with their square and more

_CHARACTER = re.compile(r"(?s:.)[\u0300-\u036f\u1100-\u11ff\ufe00-\ufe0f]{0,30}")
_LEFT_OUT_OR_CHARACTER = re.compile(rf"\s+|\*\*+|__+|~~+|`+|(?P<character>{_CHARACTER.pattern})")
_SAME = str.maketrans("‘’‚‛“”„‟«»‐‑‒–—−×÷", '\'\'\'\'""""""------*/')


class CriticError(ValueError):
    """A request that the critic cannot fulfil; the message says what to do."""


class Span(NamedTuple):
    """Steps [start, stop) of a Trace, and how the quote was found there."""

    start: int
    stop: int
    how: How


def find_quote(quote: str, solution: str, line: int) -> tuple[int, int, How]:
    """The characters [start, stop) of `quote`, which was taken from line `line` of the solution, and how it was found.

    Tried in order: the quote as it is; the quote without regard to case, white space, markdown, and the forms of
    quotation marks, dashes and characters (NFKC); the most similar part of the line (rapidfuzz partial ratio of at
    least 80, for quotes of at most 500 characters); the whole line. The first two look in the line, and where the quote
    is not there, in the whole solution, where it counts if it occurs once. `how` tells which it was: "exact",
    "normalised", "fuzzy", "line".

    Raises CriticError where the solution has no such line (as `split_lines` counts), unless the quote tells the place.
    """
    lines = split_lines(solution)
    if not lines:
        raise CriticError("the solution is empty, so that no line of it can be marked; leave it out")
    inside = lines[line] if 0 <= line < len(lines) else None
    found = _find(quote.strip(), solution, inside)
    if found is None:
        if inside is None:
            raise CriticError(
                f"there is no line {line} and the quote {quote[:80]!r} does not tell the place; "
                f"give a line from 0 to {len(lines) - 1}, as split_lines counts them"
            )
        found = inside, "line"
    (start, stop), how = found
    return start, stop, how


def align(quote: str, trace: xr.Dataset, line: int) -> Span:
    """The steps of a quote from line `line` of the response, found as by `find_quote`. Raises CriticError."""
    start, stop, how = find_quote(quote, trace.attrs["response"], line)
    return Span(*token_span(trace["char_start"].values, trace["char_end"].values, start, stop), how)


def token_span(
    char_start: Int[np.ndarray, " step"], char_end: Int[np.ndarray, " step"], start: int, stop: int
) -> tuple[int, int]:
    """The steps [first, last + 1) whose tokens write the characters [start, stop) of the response.

    Raises CriticError where there is no token, as for an empty span.
    """
    touching = np.flatnonzero((char_start < stop) & (char_end > start))
    if touching.size == 0:
        raise CriticError(f"no token writes the characters {start} to {stop} of the response; give a span inside it")
    return int(touching[0]), int(touching[-1]) + 1


def _find(quote: str, response: str, inside: tuple[int, int] | None) -> tuple[tuple[int, int], How] | None:
    if not quote:
        return None
    start = _place(quote, response, inside)
    if start is not None:
        return (start, start + len(quote)), "exact"
    (plain, origin), (wanted, _) = _normalised(response), _normalised(quote)
    if not wanted:
        return None
    within = None
    if inside is not None:
        first, last = np.searchsorted(origin, inside)
        within = int(first), int(last)
    start = _place(wanted, plain, within)
    if start is not None:
        return _original(response, origin, start, start + len(wanted)), "normalised"
    if within is None or len(wanted) > LONGEST:
        return None
    similar = fuzz.partial_ratio_alignment(wanted, plain[slice(*within)], score_cutoff=SIMILAR)
    if similar is None or similar.dest_start == similar.dest_end:
        return None
    return _original(response, origin, within[0] + similar.dest_start, within[0] + similar.dest_end), "fuzzy"


def _place(wanted: str, text: str, inside: tuple[int, int] | None) -> int | None:
    """Where `wanted` starts: its first occurrence inside the span, else its only one in the whole text."""
    within = text.find(wanted, *inside) if inside is not None else -1
    if within >= 0:
        return within
    start = text.find(wanted)
    return start if start >= 0 and text.find(wanted, start + 1) < 0 else None


def _normalised(text: str) -> tuple[str, np.ndarray]:
    """The text in its normal form and, for each character of that, the place in `text` that it comes from."""
    plain: list[str] = []
    origin: list[int] = []
    for match in _LEFT_OUT_OR_CHARACTER.finditer(text):
        if form := match["character"]:
            if not form.isascii():
                form = unicodedata.normalize("NFKC", form.translate(_SAME)).translate(_SAME)
            form = form.casefold()
            plain.append(form)
            origin += [match.start()] * len(form)
    return "".join(plain), np.array(origin, dtype=int)


def _original(text: str, origin: np.ndarray, start: int, stop: int) -> tuple[int, int]:
    """The span of `text` that the characters [start, stop) of its normal form come from."""
    last = _CHARACTER.match(text, int(origin[stop - 1]))
    assert last is not None  # any character matches
    return int(origin[start]), last.end()
