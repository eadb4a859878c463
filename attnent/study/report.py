"""Executed notebooks as pages that ask the network for nothing.

nbconvert's own pages fetch scripts from the network, drop plotly figures and run whatever HTML an output holds. Here
figures are drawn by one inlined copy of plotly.js, all HTML of cells and outputs is cleaned (what may not stand there
is shown as text), and the page's own policy lets no script run but ours and nothing be fetched.
"""

import html
import json
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bleach
import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from attnent.progress import LINE
from attnent.show import scrubber
from attnent.show.alt import alt_text
from attnent.show.words import ANSWER
from attnent.store.files import write_whole
from attnent.store.folders import model_name
from attnent.study.pages import FIGURE_HERE, LINKS_HERE, page_of, with_anchors

FIGURE = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_TABLE = ("table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption")
_TEXT = ("p", "br", "hr", "div", "span", "pre", "code", "a", "b", "i", "em", "strong", "sub", "sup", "del")
_BLOCKS = ("ul", "ol", "li", "blockquote", "dl", "dt", "dd")
_SPAN = ["colspan", "rowspan"]


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
    scrubbers = scrubber.saved_elements(node)
    body = body_of(node, figure=_living_figure, widget=lambda data: scrubbers.get(data[WIDGET].get("model_id")))
    header = f'{LINKS_HERE}<button class="code-switch" aria-pressed="false">code</button>{about_line(node)}'
    model = given_parameters(node).get("model", "")
    title = ", ".join(filter(None, [title_of(node), model]))
    write_whole(page, page_of(title, with_anchors(body, title_of(node)), header=header))


def body_of(
    node: NotebookNode,
    *,
    figure: Callable[[dict[str, Any]], str],
    widget: Callable[[dict[str, Any]], str | None],
    code: bool = True,
) -> str:
    """The cells of a notebook as clean HTML; `node` is changed.

    `figure` gives our own HTML of a plotly figure (its data and layout); `widget` that of an output that holds a
    widget, or None where its plainest text will do.
    """
    places = _Places()
    for cell in (cell for cell in node.cells if "outputs" in cell):
        cell["outputs"] = [kept for output in cell["outputs"] if (kept := _without_progress(output))]
        for output in (output for output in cell["outputs"] if "data" in output):
            output["data"] = _shown(output["data"], figure, widget, places.of)
    exporter = HTMLExporter(
        template_name="basic", exclude_anchor_links=True, sanitize_html=True, exclude_input=not code
    )
    exporter.register_filter("clean_html", _clean)
    return places.filled(exporter.from_notebook_node(node)[0])


def given_parameters(node: NotebookNode) -> dict[str, Any]:
    """The parameters that a run was given, other than out_dir; the model by the name that titles give it."""
    given = dict(node.metadata.get("papermill", {}).get("parameters", {}))
    given.pop("out_dir", None)
    return given | ({"model": model_name(str(given["model"]))} if "model" in given else {})


def about_line(node: NotebookNode, *, day: bool = True) -> str:
    """The parameters that a run was given, and its day."""
    said = [f"{name} = {value}" for name, value in given_parameters(node).items()]
    said += [(node.metadata.get("papermill", {}).get("start_time") or "")[:10]] * day
    return f'<p class="about">{html.escape(", ".join(said))}</p>'


def _without_progress(output: NotebookNode) -> NotebookNode | None:
    """The output without lines that told how far work had come; None where it held no other."""
    if output.output_type != "stream":
        return output
    output["text"] = "".join(line for line in output["text"].splitlines(keepends=True) if not LINE.match(line))
    return output if output["text"].strip() else None


def _living_figure(figure: dict[str, Any]) -> str:
    drawn = f'<div role="img" aria-label="{html.escape(alt_text(figure))}"></div>'
    return f'{FIGURE_HERE}><script type="application/json">{_json(figure)}</script>{drawn}</div>'


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


def _shown(
    data: dict[str, Any],
    figure: Callable[[dict[str, Any]], str],
    widget: Callable[[dict[str, Any]], str | None],
    place: Callable[[str], str],
) -> dict[str, Any]:
    """What a page shows of one output: a Scrubber, a figure, tables, the answer, else its plainest text."""
    if WIDGET in data and (ours := widget(data)) is not None:
        return {"text/html": place(ours)}
    if FIGURE in data:
        return {"text/html": place(figure({name: data[FIGURE][name] for name in ("data", "layout")}))}
    table = re.search(r"<table\b.*</table>", data.get("text/html", ""), flags=re.DOTALL)
    if table:
        return {"text/html": f'<div class="table">{table[0]}</div>'}
    if "text/plain" in data and ANSWER not in data:
        return {name: value for name, value in data.items() if name not in ("text/html", WIDGET)}
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
