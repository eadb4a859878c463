"""A Scrubber without a kernel: its elements in static pages, and coloured text where no script may run."""

import base64
import html
import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from nbformat import NotebookNode

from attnent.show.scrubber.colours import INKS, shade_of

STATE = ("response", "compared", "step", "measure", "overlay", "layer", "head", "grade")
FOLDER = Path(__file__).parent / "browser"
_WIDGETS = "application/vnd.jupyter.widget-state+json"
_WIDGET_ID = f"{__package__}.widget.Scrubber"  # anywidget's name of the class
_SHOWN_TOKENS = 400  # how many tokens the coloured text shows
_MODULES = (  # in the order in which each stands on those before it
    "elements", "data", "alignment", "exports", "curves", "head_map", "whole", "looks", "panel", "table", "links",
    "scrubber",
)  # fmt: skip
STYLE = (FOLDER / "scrubber.css").read_text(encoding="utf-8")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'nonce-{nonce}'; \
style-src 'unsafe-inline'; img-src data: blob:">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>:root {{ color-scheme: light dark; }}
body {{ margin: 1rem auto; padding: 0 1rem; max-width: 1200px; }}</style></head>
<body>{body}
{scripts}</body></html>
"""


def page(title: str, entry: Mapping[str, Any], *, fallback: str) -> str:
    """A whole page with one Scrubber that asks the network for nothing; see `element`."""
    nonce = secrets.token_hex(16)
    body, scripts = element(entry, fallback=fallback), page_scripts(nonce=nonce)
    return _PAGE.format(nonce=nonce, title=html.escape(title), body=body, scripts=scripts)


def page_scripts(*, nonce: str = "") -> str:
    """The stylesheet and the module, once for a page: it brings every `element` before and after it to life.

    `nonce` is that of the page's own policy, where it has one.
    """
    mark = f' nonce="{html.escape(nonce)}"' if nonce else ""
    return f'<style>{STYLE}</style>\n<script type="module"{mark}>\n{script()}\nmountAll(document);\n</script>\n'


def script() -> str:
    """All modules of the browser as one: anywidget and a page without a server load no others."""
    parts = ((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in _MODULES)
    alone = [re.sub(r"^import [^;]*;\n|^export (?!default)", "", part, flags=re.MULTILINE) for part in parts]
    return "\n".join(alone)


def element(entry: Mapping[str, Any], *, fallback: str = "") -> str:
    """The HTML of one Scrubber for a static page, from its entry in a notebook's widget state.

    `fallback` is HTML shown until the module of `page_scripts` runs, and where no script may.
    """
    state = {name: entry["state"][name] for name in STATE}
    buffer = next(buffer["data"] for buffer in entry["buffers"] if buffer["path"] == ["data"])
    data = base64.b64encode(base64.b64decode(buffer, validate=True)).decode()
    text = json.dumps(state).replace("<", "\\u003c")
    return (
        f'<div class="attnent-scrubber">{fallback}<script type="application/json">{text}</script>'
        f'<script type="text/plain">{data}</script></div>'
    )


def saved_elements(node: NotebookNode) -> dict[str, str]:
    """The `element` of every Scrubber that an executed notebook has kept, by the model id that its outputs name."""
    kept = node.metadata.get("widgets", {}).get(_WIDGETS, {}).get("state", {})
    return {
        model_id: element(entry)
        for model_id, entry in kept.items()
        if entry["state"].get("_anywidget_id") == _WIDGET_ID
    }


def coloured_text(response: Mapping[str, Any], about: Mapping[str, Any], means: Float[np.ndarray, " step"]) -> str:
    """A response with its tokens coloured by the mean of a measure: all that plain HTML can show."""
    low, high = about["limits"] or (0.0, 0.0)
    spans = []
    for token, value in zip(response["tokens"][:_SHOWN_TOKENS], means.tolist(), strict=False):
        share = (value - low) / (high - low) if high > low else 0.0
        style = "" if np.isnan(value) else f"background-color: {shade_of(share)}; color: {INKS['light']}"
        spans.append(f'<span style="{style}">{html.escape(token)}</span>')
    more = " ..." if len(response["tokens"]) > _SHOWN_TOKENS else ""
    unit = f" {about['unit']}" if about["unit"] else ""
    legend = f"{html.escape(about['title'])}, mean over heads: pale {low:.3g}, strong {high:.3g}{unit}"
    return (
        f"<div><p>Response {html.escape(response['id'])}. {legend}.</p>"
        f'<p style="white-space: pre-wrap">{"".join(spans)}{more}</p></div>'
    )
