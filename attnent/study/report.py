"""Executed notebooks as pages that ask the network for nothing.

nbconvert's own pages fetch scripts from the network, drop plotly figures and run whatever HTML an output holds. Here
figures are drawn by one inlined copy of plotly.js, all HTML of cells and outputs is cleaned (what may not stand there
is shown as text), and the page's own policy lets no script run but ours and nothing be fetched.
"""

import html
import json
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import bleach
import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from plotly.offline import get_plotlyjs
from pygments.formatters.html import HtmlFormatter

from attnent.show import scrubber
from attnent.show.words import ANSWER
from attnent.store.files import write_whole

FIGURE = "application/vnd.plotly.v1+json"
_WIDGET = "application/vnd.jupyter.widget-view+json"
_FIGURE_HERE, _SCRUBBER_HERE = '<div class="figure">', '<div class="attnent-scrubber">'
_STYLE = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
_SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_TABLE = ("table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption")
_TEXT = ("p", "br", "hr", "div", "span", "pre", "code", "a", "b", "i", "em", "strong", "sub", "sup", "del")
_BLOCKS = ("ul", "ol", "li", "blockquote", "dl", "dt", "dd")
_SPAN = ["colspan", "rowspan"]
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'nonce-{nonce}'; \
style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>{title}</title><style>{style}</style></head>
<body>{body}
{scripts}</body></html>
"""


# ---- what a notebook says


def title_of(node: NotebookNode) -> str:
    """The first heading of a notebook, without its mark."""
    return next((line.lstrip("# ") for line in _prose(node) if line.startswith("# ")), "notebook")


def question_of(node: NotebookNode) -> str:
    """The line of a notebook that begins with **Question.**, without that word."""
    mark = "**Question.**"
    return next((line.removeprefix(mark).strip() for line in _prose(node) if line.startswith(mark)), "")


def answer_of(node: NotebookNode) -> dict[str, Any]:
    """The facts of the `Answer` in the cell tagged `answer`; empty where there is none."""
    tagged = (cell for cell in node.cells if "answer" in cell.metadata.get("tags", []))
    found = (output.get("data", {}).get(ANSWER) for cell in tagged for output in cell.get("outputs", []))
    return next((facts for facts in found if isinstance(facts, dict)), {})


def _prose(node: NotebookNode) -> list[str]:
    return [line for cell in node.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]


# ---- the page of one notebook


def write_report(notebook: Path, page: Path) -> None:
    """The executed notebook as one HTML file, figures alive, code behind a switch, nothing fetched."""
    node = nbformat.read(notebook, as_version=4)
    places, scrubbers = _Places(), scrubber.saved_elements(node)
    for output in (output for cell in node.cells for output in cell.get("outputs", [])):
        if "data" in output:
            output["data"] = _shown(output["data"], scrubbers, places.of)
    exporter = HTMLExporter(template_name="basic", exclude_anchor_links=True, sanitize_html=True)
    exporter.register_filter("clean_html", _clean)
    body, _ = exporter.from_notebook_node(node)
    style = HtmlFormatter(style="default").get_style_defs(".highlight")
    head = f'<button class="code-switch">code</button><p class="about">{html.escape(_about(node))}</p>'
    write_whole(page, page_of(title_of(node), head + places.filled(body), style=style))


def _about(node: NotebookNode) -> str:
    """The parameters that a run was given, and its day."""
    run = node.metadata.get("papermill", {})
    given = {name: value for name, value in run.get("parameters", {}).items() if name != "out_dir"}
    return ", ".join([*(f"{name} = {value}" for name, value in given.items()), (run.get("start_time") or "")[:10]])


class _Places:
    """Marks in HTML that is to be cleaned, each filled with HTML of our own once it is clean."""

    def __init__(self) -> None:
        self._secret = secrets.token_hex(16)  # no text of a notebook can hold it
        self._filling: list[str] = []

    def of(self, ours: str) -> str:
        """The mark in whose place `ours` will stand."""
        self._filling.append(ours)
        return f"{self._secret}-{len(self._filling) - 1}-"

    def filled(self, cleaned: str) -> str:
        return re.sub(rf"{self._secret}-(\d+)-", lambda mark: self._filling[int(mark[1])], cleaned)


def _shown(data: dict[str, Any], scrubbers: Mapping[str, str], place: Callable[[str], str]) -> dict[str, Any]:
    """What a page shows of one output: a Scrubber, a figure, tables, the answer, else its plainest text."""
    model_id = data.get(_WIDGET, {}).get("model_id")
    if model_id in scrubbers:
        return {"text/html": place(scrubbers[model_id])}
    if FIGURE in data:
        figure = {name: data[FIGURE][name] for name in ("data", "layout")}
        source = f'<script type="application/json">{_json(figure)}</script>'
        return {"text/html": place(f"{_FIGURE_HERE}{source}</div>")}
    table = re.search(r"<table\b.*</table>", data.get("text/html", ""), flags=re.DOTALL)
    if table:
        return {"text/html": f'<div class="table">{table[0]}</div>'}
    if "text/plain" in data and ANSWER not in data:
        return {name: value for name, value in data.items() if name not in ("text/html", _WIDGET)}
    return data


def _clean(markup: str) -> str:
    """HTML in which nothing runs and nothing is fetched: every other tag is shown as text."""
    tags = {*_HEADINGS, *_TABLE, *_TEXT, *_BLOCKS}
    attributes = {"*": _is_plain_class, "a": ["href", "title"], "th": _SPAN, "td": _SPAN}
    return bleach.clean(str(markup), tags=tags, attributes=attributes, protocols={"http", "https", "mailto"})


def _is_plain_class(_tag: str, name: str, value: str) -> bool:
    """A class by which no script of ours finds its elements."""
    return name == "class" and not re.search("figure|attnent", value)


def _json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value).replace("<", "\\u003c")


def page_of(title: str, body: str, *, style: str = "") -> str:
    """A whole page around a body whose HTML is clean: our style, our scripts, and the policy that lets no other run."""
    nonce = secrets.token_urlsafe(16)
    plotly = get_plotlyjs() if _FIGURE_HERE in body else ""
    return _PAGE.format(
        nonce=nonce,
        title=html.escape(title),
        style=_STYLE + style,
        body=body,
        scripts=scrubber.page_scripts(nonce=nonce) * (_SCRUBBER_HERE in body)
        + "".join(f'<script nonce="{nonce}">{script}</script>\n' for script in (plotly, _SCRIPT) if script),
    )
