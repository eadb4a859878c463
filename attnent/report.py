"""Executed notebooks as pages that ask the network for nothing, and an index over them.

nbconvert's own pages fetch scripts from the network and drop plotly figures; here the figures are written with one
inlined copy of plotly.js.
"""

import html
import json
from pathlib import Path
from typing import Any

import nbformat
import plotly.io
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from plotly.offline import get_plotlyjs
from pygments.formatters.html import HtmlFormatter

_FIGURE = "application/vnd.plotly.v1+json"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 Georgia, serif; max-width: 1000px; margin: 2rem auto; padding: 0 1.2rem; color: #222; background: #fff; }
h1, h2, h3, table, .code-switch, pre { font-family: Helvetica, Arial, sans-serif; }
pre { font: 13px/1.45 Menlo, Consolas, monospace; overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; } td, th { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
.prompt { display: none; } .input { display: none; } .show-code .input { display: block; }
.highlight { background: #f6f6f6; padding: .3rem .8rem; border-left: 3px solid #ccc; } .code-switch { float: right; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } td, th { border-color: #444; } a { color: #8ab4f8; } .highlight { background: #f6f6f6; color: #222; } }
"""  # noqa: E501 (a stylesheet)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style>{scripts}</head>
<body>{body}</body></html>
"""
_CODE_SWITCH = '<button class="code-switch" onclick="document.body.classList.toggle(\'show-code\')">code</button>'


def write_report(notebook: Path, page: Path) -> None:
    """The executed notebook as one HTML file, figures alive, code behind a switch, nothing fetched."""
    node = nbformat.read(notebook, as_version=4)
    node.metadata.pop("widgets", None)
    has_figure = [_inline_figures(cell) for cell in node.cells if cell.cell_type == "code"]
    exporter = HTMLExporter(template_name="basic", exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(node)
    scripts = f"<script>{get_plotlyjs()}</script>" if any(has_figure) else ""
    style = _STYLE + HtmlFormatter().get_style_defs(".highlight")
    text = _PAGE.format(title=html.escape(title_of(node)), style=style, scripts=scripts, body=_CODE_SWITCH + body)
    write_whole(page, text)


def _inline_figures(cell: NotebookNode) -> bool:
    found = False
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if _FIGURE in data:
            figure = {"data": data[_FIGURE]["data"], "layout": data[_FIGURE]["layout"]}
            output["data"] = {
                "text/html": plotly.io.to_html(
                    figure, include_plotlyjs=False, full_html=False, validate=False, config={"displaylogo": False}
                )
            }
            found = True
    return found


def title_of(node: NotebookNode) -> str:
    """The first heading of a notebook, without its mark."""
    lines = (line for cell in node.cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), "notebook")


def question_of(node: NotebookNode) -> str:
    """The line of a notebook that begins with **Question.**, without that word."""
    mark = "**Question.**"
    lines = (line for cell in node.cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line.removeprefix(mark).strip() for line in lines if line.startswith(mark)), "")


def answer_of(node: NotebookNode) -> str:
    """The sentence that the cell tagged `answer` computed."""
    for cell in node.cells:
        if "answer" in cell.metadata.get("tags", []):
            for output in cell.get("outputs", []):
                text = output.get("data", {}).get("text/markdown", "")
                if text:
                    return text.replace("**Answer.**", "").strip()
    return ""


def write_index(out_dir: Path) -> Path:
    """index.html over every executed notebook under `out_dir`: question, answer, model, time, links."""
    outcomes = sorted(out_dir.glob("study/**/outcome.json"))
    rows = "".join(_index_row(json.loads(path.read_text()), path.parent.relative_to(out_dir)) for path in outcomes)
    head = "<tr><th>notebook</th><th>question</th><th>answer</th><th>model</th><th>status</th><th>time</th></tr>"
    body = f"<h1>attnent: results</h1><table>{head}{rows}</table>"
    index = out_dir / "index.html"
    write_whole(index, _PAGE.format(title="attnent: results", style=_STYLE, scripts="", body=body))
    return index


def _index_row(outcome: dict[str, Any], folder: Path) -> str:
    report, notebook = (html.escape(str(folder / name)) for name in ("report.html", "notebook.ipynb"))
    cells = (
        f'{html.escape(outcome["title"])}<br><a href="{report}">report</a> · <a href="{notebook}">notebook</a>',
        html.escape(outcome["question"]),
        html.escape(outcome["answer"] or outcome.get("error", "")),
        html.escape(str(outcome["parameters"].get("model", ""))),
        html.escape(outcome["status"]),
        f"{outcome['seconds']:.0f} s",
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def write_whole(path: Path, text: str) -> None:
    """Write to a temporary name and rename: the file is whole or absent."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
