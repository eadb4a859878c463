"""Quotes of a solution among the tokens of a Trace."""

import unicodedata

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from spelt import spelt_trace, written

from attnent.critic import CriticError, align
from attnent.critic.quotes import token_span
from attnent.trace import split_lines

SOLUTION = "She has 5 * 3 = 15 apples.\n\nShe “eats” 4 — so 15 - 4 = 12 are left.\n#### 12"
TRACE = spelt_trace(SOLUTION)
texts = st.text(
    st.one_of(st.sampled_from("ab 1\n.*“é🙂שלום한"), st.characters(exclude_categories=["Cs"])), min_size=1, max_size=40
)

# -------------------------------------------------------------------------------------------------------------- quotes


@pytest.mark.parametrize(
    ("quote", "line", "text", "how"),
    [
        ("15 - 4 = 12", 1, "15 - 4 = 12", "exact"),
        ("15 - 4 = 12", 0, "15 - 4 = 12", "exact"),  # the quote stands once, in another line
        ("15 - 4 = 12", 99, "15 - 4 = 12", "exact"),  # there is no such line, but the quote tells the place
        ("15", 1, "15", "exact"),  # it stands in two lines: the one in this line counts
        ('**she "eats" 4 - so** 15-4 = 12', 1, "She “eats” 4 — so 15 - 4 = 12", "normalised"),
        ("so 15 - 5 = 12 are left", 1, "so 15 - 4 = 12 are left", "fuzzy"),
        ("the number of pears doubles", 1, "She “eats” 4 — so 15 - 4 = 12 are left.", "line"),
        ("", 2, "#### 12", "line"),
        (" ** ", 2, "#### 12", "line"),
    ],
)
def test_a_quote_is_found_exactly_then_normalised_then_by_likeness_else_it_is_the_line(quote, line, text, how):
    span = align(quote, TRACE, line)
    assert (written(TRACE, span.start, span.stop), span.how) == (text, how)


@given(texts, st.data())
def test_any_part_of_a_response_aligns_to_just_the_tokens_that_write_it(response, data):
    trace = spelt_trace(response)
    response = trace.attrs["response"]
    start = data.draw(st.integers(0, len(response) - 1))
    quote = response[start : data.draw(st.integers(start + 1, len(response)))].strip()
    assume(quote and response.count(quote) == 1 and response.find(quote, response.find(quote) + 1) < 0)
    first = response.find(quote)
    span = align(quote, trace, -1)
    starts, ends = trace.char_start.values, trace.char_end.values
    writing = [step for step in range(len(starts)) if starts[step] < first + len(quote) and first < ends[step]]
    assert (list(range(span.start, span.stop)), span.how) == (writing, "exact")


@given(texts, texts, st.integers(0, 3))
def test_every_span_lies_in_the_response_whatever_the_quote(response, quote, line):
    trace = spelt_trace(response)
    assume(line < len(split_lines(trace.attrs["response"])))
    span = align(quote, trace, line)
    assert 0 <= span.start < span.stop < trace.sizes["step"]  # the last token, which ends the text, is never in it


@given(texts)
def test_a_quote_in_another_form_of_unicode_is_found_as_normalised(word):
    response = f"First line.\nHere stands 'é' and {word!r}, she said"
    quote = unicodedata.normalize("NFD", "'é'").upper()
    span = align(quote, spelt_trace(response), 1)
    assert (written(spelt_trace(response), span.start, span.stop), span.how) == ("'é'", "normalised")


def test_all_the_tokens_of_one_character_are_in_the_span():
    trace = spelt_trace("so 🙂 and on")
    span = align("🙂", trace, 0)
    assert span.stop - span.start == 4


@pytest.mark.parametrize(
    ("quote", "response", "line", "message"),
    [
        ("a quote", "", 0, "the solution is empty"),
        ("a quote", " \n ", 0, "the solution is empty"),
        ("pears", SOLUTION, 3, "no line 3 .* give a line from 0 to 2"),
        ("pears", SOLUTION, -1, "no line -1 "),
        ("15", SOLUTION, 7, "no line 7 .*'15' does not tell the place"),
        ("", "one line", 1, "no line 1 .* give a line from 0 to 0"),
    ],
)
def test_what_tells_no_place_is_refused(quote, response, line, message):
    with pytest.raises(CriticError, match=message):
        align(quote, spelt_trace(response), line)


def test_an_empty_span_has_no_tokens():
    with pytest.raises(CriticError, match="no token writes the characters 4 to 4"):
        token_span(np.array([0, 4]), np.array([4, 8]), 4, 4)
