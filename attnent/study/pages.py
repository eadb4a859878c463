"""Whole pages around clean HTML: landmarks, anchors, our style and scripts, and a policy that lets no other run.

plotly.js is inlined compressed, as `report.js` unpacks it: 2.0 MB in place of 4.8.
"""

import base64
import html
import re
import secrets
import zlib
from functools import cache
from pathlib import Path
from urllib.parse import quote

from plotly.offline import get_plotlyjs
from pygments.formatters.html import HtmlFormatter

from attnent.show import scrubber

FIGURE_HERE, SCRUBBER_HERE = '<div class="figure"', '<div class="attnent-scrubber"'
LINKS_HERE = '<nav class="reports" aria-label="Reports"></nav>'  # `links` fills it
FOOTER = "<footer>Made by attnent. This page stands alone and asks the network for nothing.</footer>"
CODE_STYLES = {"light": "xcode", "dark": "lightbulb"}  # of pygments: all their colours stand out (4.5 to 1) here
_FOLDER = Path(__file__).parent
_STYLE, _SCRIPT, _FIGURES = (
    (_FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "report.js", "figures.js")
)
_HEADING = re.compile(r"<h([1-6])((?: class=\"[^\"]*\")?)>(.*?)</h\1>", re.DOTALL)
_SKIP = '<a class="skip" href="#scrubber">Skip to the Scrubber</a>\n'
_PAGE = """<!doctype html>
<html lang="en"{theme}><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {scripts_from}; \
style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="{schemes}">
<title>{title}</title><style>{style}</style></head>
<body>{skip}<header>{header}</header>
<main>
{main}
</main>
{footer}
{scripts}</body></html>
"""


def page_of(title: str, main: str, *, header: str = "") -> str:
    """A whole page around clean HTML, with what its figures and Scrubbers need.

    The first Scrubber gets the id "scrubber", and the keyboard a link to it before all else.
    """
    nonce = secrets.token_urlsafe(16)
    has_scrubber = SCRUBBER_HERE in main
    scripts = [
        scrubber.page_scripts(nonce=nonce) * has_scrubber,
        f'<script type="application/zlib">{_packed_figures()}</script>\n' * (FIGURE_HERE in main),
        f'<script nonce="{nonce}">{_SCRIPT}</script>\n',
    ]
    return _PAGE.format(
        theme="",
        scripts_from=f"'nonce-{nonce}'",
        schemes="light dark",
        title=html.escape(title),
        style=_STYLE + code_style() * ('class="highlight' in main),
        skip=_SKIP * has_scrubber,
        header=header,
        footer=FOOTER,
        main=main.replace(SCRUBBER_HERE, f'{SCRUBBER_HERE} id="scrubber" tabindex="-1"', 1),
        scripts="".join(scripts),
    )


def light_page_of(title: str, main: str, *, header: str = "") -> str:
    """A whole page without any script, always in light colours."""
    about = {"theme": ' class="light"', "scripts_from": "'none'", "schemes": "light", "skip": "", "scripts": ""}
    return _PAGE.format(title=html.escape(title), style=_STYLE, header=header, main=main, footer=FOOTER, **about)


def with_anchors(body: str, title: str) -> str:
    """The body with one h1, an id and a link to itself at each heading, and a table of contents below the h1.

    A further h1 becomes an h2. `title` is the h1 of a body that has none.
    """
    if "<h1" not in body:
        body = f"<h1>{html.escape(title)}</h1>\n{body}"
    taken, mark = {"scrubber"}, secrets.token_hex(16)
    titles: list[str] = []
    contents: list[str] = []

    def anchored(found: re.Match[str]) -> str:
        level, given, shown = found.groups()
        text = html.unescape(re.sub("<[^>]*>", "", shown)).strip()
        own = slug(text, taken)
        if level == "1" and not titles:
            titles.append(own)
            return f'<h1 id="{own}"{given}>{shown}</h1>{mark}'
        level = max(2, int(level))
        contents.extend([f'<li><a href="#{quote(own)}">{html.escape(text)}</a></li>'] * (level == 2))
        return f'<h{level} id="{own}"{given}>{shown}{anchor(own)}</h{level}>'

    anchored_body = _HEADING.sub(anchored, body)
    listed = f'<nav class="contents" aria-label="Contents"><ul>{"".join(contents)}</ul></nav>' * bool(contents)
    return anchored_body.replace(mark, listed, 1)


def anchor(own: str) -> str:
    """A link to the element with this id, seen where the mouse or the keyboard is."""
    return f' <a class="anchor" href="#{quote(own)}" aria-label="Link to this place">#</a>'


def slug(text: str, taken: set[str]) -> str:
    """An id of letters, digits, - and _ that says what `text` says and that is not `taken`; it is then."""
    plain = re.sub(r"[^\w]+", "-", text.lower()).strip("-")[:80] or "part"
    own = next(name for name in (plain, *(f"{plain}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)
    taken.add(own)
    return own


@cache
def code_style() -> str:
    """Colours of code in the light and, on a screen, in the dark."""
    light, dark = (
        "\n".join(
            line
            for line in HtmlFormatter(style=CODE_STYLES[theme]).get_style_defs(".highlight").splitlines()
            if line.startswith(".highlight .")
        )
        for theme in ("light", "dark")
    )
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


@cache
def _packed_figures() -> str:
    return base64.b64encode(zlib.compress(f"{get_plotlyjs()}\n{_FIGURES}".encode(), 9)).decode()
