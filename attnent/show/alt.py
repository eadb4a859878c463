"""What a figure shows, in two sentences, for readers who do not see it."""

import base64
import html
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

_MOST = 8  # traces that are told
_KINDS = {"heatmap": "maps", "box": "single values with medians and quartiles", "bar": "bars", "image": "pictures"}


def alt_text(figure: Mapping[str, Any]) -> str:
    """Title, axes with their units, what is drawn, and of each trace the range, or of a line the first and last value.

    `figure` is the dict of a plotly figure, or what a notebook holds of it.
    """
    layout, traces = figure.get("layout", {}), [*filter(_is_told, figure.get("data", []))]
    title = _plain(layout.get("title"))
    if not traces:
        return ". ".join([title, *(_plain(note) for note in layout.get("annotations", []))])
    over, of = (", ".join(_titles(layout, letter)) for letter in "xy")
    kinds = " and ".join(dict.fromkeys(map(_kind, traces)))
    told = [_told(trace, layout) for trace in traces[:_MOST]]
    more = [f"and {len(traces) - _MOST} more"] if len(traces) > _MOST else []
    about = kinds[:1].upper() + kinds[1:] + (f" of {of}" if of else "") + (f" over {over}" if over else "")
    return f"{title}. {about}: {'; '.join([*told, *more])}."


def _is_told(trace: Mapping[str, Any]) -> bool:
    """Not a band, a count or a mark that goes with another trace."""
    return trace.get("hoverinfo") != "skip" and bool(trace.get("name") or not trace.get("legendgroup"))


def _kind(trace: Mapping[str, Any]) -> str:
    scatter = "lines" if "lines" in trace.get("mode", "lines") else "marks with intervals"
    return _KINDS.get(trace.get("type", "scatter"), scatter)


def _told(trace: Mapping[str, Any], layout: Mapping[str, Any]) -> str:
    axis = trace.get("yaxis", "y").replace("y", "yaxis")
    name = _plain(trace.get("name")) or _plain(layout.get(axis, {}).get("title")) or "values"
    across = trace.get("orientation") == "h" or "error_x" in trace
    if trace.get("type") == "image":
        return name
    values = _numbers(trace.get("z", trace.get("x" if across else "y", [])))
    known = values[np.isfinite(values)]
    if not known.size:
        return f"{name}: no value"
    if _kind(trace) == "lines":
        return f"{name} from {known[0]:.3g} at first to {known[-1]:.3g} at last"
    return f"{name}, {known.size} from {known.min():.3g} to {known.max():.3g}"


def _titles(layout: Mapping[str, Any], letter: str) -> list[str]:
    axes = (axis for name, axis in layout.items() if re.fullmatch(rf"{letter}axis\d*", name))
    return [*dict.fromkeys(filter(None, (_plain(axis.get("title")) for axis in axes)))]


def _plain(text: Any) -> str:
    """A title as a reader sees it: text, or a dict that holds it, without markup."""
    text = text.get("text", "") if isinstance(text, Mapping) else text or ""
    return html.unescape(re.sub(r"\s*<[^>]*>\s*", " ", text)).strip()


def _numbers(values: Any) -> np.ndarray:
    """Numbers of a trace as one row, however plotly wrote them; empty for what is no number."""
    if isinstance(values, Mapping):
        return np.frombuffer(base64.b64decode(values["bdata"]), np.dtype(values["dtype"])).astype(float)
    try:
        return np.asarray(values, float).ravel()
    except (TypeError, ValueError):
        return np.empty(0)
