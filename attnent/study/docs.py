"""Light pages of reports, for readers on the web: text, tables and still pictures; no script, nothing fetched.

A page is at most 1 MB. The same results give the same pages: they hold no dates and no paths of a machine.
"""

import base64
import html
import os
import re
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import bleach
import nbformat
from bleach.css_sanitizer import CSSSanitizer
from nbformat import NotebookNode

from attnent.show import scrubber, style
from attnent.show.alt import alt_text
from attnent.store.files import write_whole
from attnent.study import StudyError
from attnent.study.index import COLUMNS, Listed, linked, listed, row_of
from attnent.study.links import links_of
from attnent.study.pages import FOOTER, light_page_of, slug, with_anchors
from attnent.study.report import WIDGET, about_line, body_of, title_of

MOST_BYTES = 1_000_000
_PAGE = "index.html"
_WIDTH, _HEIGHT = 1000, 450  # of a picture, in pixels; most figures have a height of their own
_MOST_OF_A_DRAWING = 60_000  # bytes of SVG; what has more is a picture of dots (PNG) where that is smaller
_COLUMNS = [name for name in COLUMNS if name not in ("date", "time")]
_UID = re.compile(r"\bdefs-([0-9a-f]{6})\b")
_SAID_OF_A_MACHINE = re.compile(r"recording into .*\n?")
_ABOUT = "Light pages of the reports that <code>attnent study</code> makes: text, tables and still pictures."
_STILL = "The report itself, which <code>attnent study</code> makes, shows every token and head of these responses."

Drawing = Callable[[dict[str, Any], str], bytes]  # of a figure, in a format


def write_docs(out_dir: Path, folder: Path) -> list[Path]:
    """Write a light page of each complete report under `out_dir` into `folder`, and an index of them.

    Gives back the pages, the index first. Raises StudyError where there is no report, where `folder` has an index of
    somebody else, where pictures cannot be made, or where a page would be above MOST_BYTES.
    """
    reports = [one for one in listed(out_dir) if one.is_complete]
    if not reports:
        raise StudyError(f"there are no complete results in {out_dir}; run `attnent study` first")
    home = folder / _PAGE
    if home.exists() and FOOTER not in home.read_text(encoding="utf-8", errors="replace"):
        raise StudyError(f"{home} is not a page of attnent's; give another folder")
    places, written = _places(reports), [home]
    pages = [linked(one, places[one.folder] / _PAGE) for one in reports]
    rows = [slug(str(page.page.parent), set()) for page in pages]
    with ExitStack() as stack:
        drawing = cache(lambda: stack.enter_context(_drawing()))  # a browser, where there is something to draw
        for one, page, row in zip(reports, pages, rows, strict=True):
            links = links_of(page, pages, home=f"../../{_PAGE}#{quote(row)}")
            content = _page(out_dir / one.folder / "notebook.ipynb", links, lambda figure: _picture(figure, drawing()))
            content = content.replace(html.escape(str(out_dir.resolve())), html.escape(out_dir.name)).encode()
            if len(content) > MOST_BYTES:
                raise StudyError(f"the page of {one.folder} would have {len(content) / 1e6:.1f} MB, above 1 MB")
            written.append(folder / page.page)
            written[-1].parent.mkdir(parents=True, exist_ok=True)
            write_whole(written[-1], content)
    head = "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS)
    body = "".join(row_of(one, row, page.page, _COLUMNS) for one, page, row in zip(reports, pages, rows, strict=True))
    table = f'<table class="index"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    write_whole(home, light_page_of("attnent: results", f"<h1>attnent: results</h1><p>{_ABOUT}</p>{table}"))
    return written


def _places(reports: list[Listed]) -> dict[PurePosixPath, PurePosixPath]:
    """Where the page of each report comes to stand: <model>/<notebook>[-<other parameters>], no path of a machine."""
    models: dict[str, str] = {}
    taken: set[str] = set()
    for one in reports:
        if one.folder.parts[1] not in models:
            models[one.folder.parts[1]] = slug(one.model or one.folder.parts[1], taken)
    return {one.folder: PurePosixPath(models[one.folder.parts[1]], "-".join(one.folder.parts[2:])) for one in reports}


def _page(notebook: Path, links: str, picture: Callable[[dict[str, Any]], str]) -> str:
    node = nbformat.read(notebook, as_version=4)
    title, scrubbers = title_of(node), scrubber.saved_elements(node)
    body = body_of(
        _without_machine(node),
        figure=picture,
        widget=lambda data: _still(data) if data[WIDGET].get("model_id") in scrubbers else None,
        code=False,
    )
    return light_page_of(title, with_anchors(body, title), header=links + about_line(node, day=False))


def _without_machine(node: NotebookNode) -> NotebookNode:
    """The notebook without warnings and without lines that name folders of this machine."""
    for cell in (cell for cell in node.cells if "outputs" in cell):
        cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
        for output in (output for output in cell["outputs"] if output.output_type == "stream"):
            output["text"] = _SAID_OF_A_MACHINE.sub("", output["text"])
    return node


def _still(data: dict[str, Any]) -> str:
    """The coloured text that stands for a Scrubber where no script may run, cleaned."""
    styles = CSSSanitizer(allowed_css_properties=["background-color", "color", "white-space"])
    shown = bleach.clean(
        data.get("text/html", ""), tags={"div", "p", "span"}, attributes={"*": ["style"]}, css_sanitizer=styles
    )
    return f'<div class="still">{shown}<p class="about">{_STILL}</p></div>'


# ---- pictures


@contextmanager
def _drawing() -> Generator[Drawing]:
    """What draws a figure as "svg" or "png", in light colours. Raises StudyError."""
    try:
        import kaleido
        from choreographer.browsers import Chromium
    except ImportError as error:
        raise StudyError("pictures need kaleido: pip install 'attnent[docs]'") from error
    browser = os.environ.get("BROWSER_PATH") or Chromium.find_browser(skip_local=False)
    if not browser or not Path(browser).is_file():  # without one kaleido's server would wait for ever
        raise StudyError("pictures need Chromium or Chrome; install one, or give its path in BROWSER_PATH")

    def drawn(figure: dict[str, Any], kind: str) -> bytes:
        size = {"width": _WIDTH, "height": figure["layout"].get("height", _HEIGHT)}
        return kaleido.calc_fig_sync(style.dark_on_white(figure), opts={"format": kind, "scale": 1} | size)

    try:
        kaleido.start_sync_server(n=1, silence_warnings=True, path=browser)
        yield drawn
    finally:
        kaleido.stop_sync_server(silence_warnings=True)


def _picture(figure: dict[str, Any], drawn: Drawing) -> str:
    """A still picture with its alt text: a drawing, or dots where these are less."""
    kind, content = "svg+xml", _settled(drawn(figure, "svg"))
    if len(content) > _MOST_OF_A_DRAWING and len(dots := drawn(figure, "png")) < len(content):
        kind, content = "png", dots
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return f'<div class="figure"><img class="picture" src="{source}" alt="{html.escape(alt_text(figure))}"></div>'


def _settled(drawing: bytes) -> bytes:
    """The SVG without the random names that plotly.js gives, so that the same figure is the same drawing."""
    text = drawing.decode()
    if found := _UID.search(text):
        text = text.replace(found[1], "000000")
    return re.sub(r"\btrace[0-9a-f]{6}\b", "trace", text).encode()
