"""Pages: landmarks, anchors, a way to the Scrubber, and colours that stand out."""

import re

import pytest
from pygments.styles import get_style_by_name
from test_report import HOSTILE, Elements

from attnent.study.pages import _STYLE, CODE_STYLES, SCRUBBER_HERE, light_page_of, page_of, slug, with_anchors

BODY = (
    "<div><h1>One &amp; only</h1><p>x</p></div><h2>Why = <em>this</em>?</h2><h2>Why this?</h2><h3>Deep</h3><h1>Two</h1>"
)


def rgb(colour: str) -> list[float]:
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    return [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]


def luminance(colour: str) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2, from 1 to 21."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def themes() -> dict[str, dict[str, str]]:
    """The colours of each theme that the stylesheet defines, by name."""
    blocks = [dict(re.findall(r"--(\w+): (#\w+);", block)) for block in re.findall(r":root[^{]*\{([^}]*)\}", _STYLE)]
    light, dark, paper = (block for block in blocks if block)
    return {"light": light, "dark": dark, "print": paper}


def test_contrast_is_known_for_black_on_white():
    assert contrast("#000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_all_text_of_pages_stands_out(theme):
    colours = themes()[theme]
    ratios = {
        (ink, ground): contrast(colours[ink], colours[ground])
        for ink in ("text", "faint", "accent", "failed")
        for ground in ("page", "panel")
    }
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}


def test_every_ink_of_the_stylesheet_is_one_of_the_themes():
    inks = re.findall(r"(?<![\w-])color: ([^;]+);", _STYLE)
    assert set(inks) <= {"inherit", *(f"var(--{ink})" for ink in ("text", "faint", "accent", "failed"))}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_code_stands_out(theme):
    colours = themes()[theme]
    inks = {about["color"] for _, about in get_style_by_name(CODE_STYLES[theme])}
    assert {ink for ink in inks if ink and contrast(ink, colours["panel"]) < 4.5} == set()


def test_a_page_has_landmarks_a_language_and_one_h1():
    tags = [tag for tag, _ in Elements(page_of("t", with_anchors(BODY, "t"))).found]
    for landmark in ("header", "main", "footer", "h1"):
        assert tags.count(landmark) == 1
    assert '<html lang="en">' in page_of("t", "")


def test_headings_have_ids_without_an_equals_sign_and_links_to_themselves():
    found = Elements(with_anchors(BODY, "t")).found
    ids = {tag + about["id"] for tag, about in found if "id" in about}
    assert ids == {"h1one-only", "h2why-this", "h2why-this-2", "h3deep", "h2two"}
    links = [about["href"] for _, about in found if about.get("class") == "anchor"]
    assert links == ["#why-this", "#why-this-2", "#deep", "#two"]


def test_contents_list_the_h2s_below_the_h1():
    above, _, below = with_anchors(BODY, "t").partition('<nav class="contents" aria-label="Contents">')
    assert above.endswith("</h1>")
    listed = re.findall(r'<li><a href="#([^"]+)">([^<]+)</a></li>', below)
    assert listed == [("why-this", "Why = this?"), ("why-this-2", "Why this?"), ("two", "Two")]


def test_a_body_without_a_heading_gets_one():
    assert with_anchors("<p>x</p>", "a < b").startswith('<h1 id="a-b">a &lt; b</h1>')


@pytest.mark.parametrize("text", [*HOSTILE, "", "=", "Größe 数", "x" * 500])
def test_an_id_is_of_letters_digits_and_hyphens(text):
    assert re.fullmatch(r"[\w-]{1,82}", slug(text, set()))


def test_no_two_ids_are_the_same():
    taken = {"scrubber"}
    ids = [slug(text, taken) for text in ("Scrubber", "scrubber!", "Scrubber 2", "scrubber-2")]
    assert len({*ids, "scrubber"}) == 5


def test_the_first_scrubber_has_an_id_to_which_the_first_link_leads():
    page = page_of("t", f"{SCRUBBER_HERE}></div>" * 2)
    assert page.count('id="scrubber"') == 1
    links = [about["href"] for tag, about in Elements(page).found if tag in ("a", "button")]
    assert links[0] == "#scrubber"


def test_a_page_without_a_scrubber_has_no_link_to_one():
    assert "Skip" not in page_of("t", "<p>x</p>")


def test_a_light_page_has_no_script_and_lets_none_run():
    page = light_page_of("t", "<p>x</p>")
    assert "<script" not in page
    assert "script-src 'none'" in page
    assert '<html lang="en" class="light">' in page
