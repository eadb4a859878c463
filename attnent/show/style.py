"""The look that all figures share: template, colours, titles, labels, intervals. Nothing here knows what is drawn.

Groups differ in colour, in dash and in mark, so that a figure can be read in greyscale too. Paper is transparent, and
ink and colours stand out on white as on black: JupyterLab shows one and the same figure in either theme. Text that a
model or a user wrote is shown as it is: plotly would take <b> in it for markup.
"""

import textwrap
from collections.abc import Hashable, Iterable, Mapping, Sequence
from html import escape
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io

from attnent.trace import title_and_unit

COLOURS = ("#0072B2", "#D55E00", "#07A580", "#A878F8", "#885870", "#AE452C")  # 3:1 and more on white and on #17191b
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "diamond", "square", "x", "triangle-up", "cross")
NEUTRAL = "#767676"  # ink, seen on white as on black; pages have their own
THIN = {"color": NEUTRAL, "width": 1, "dash": "dot"}
CONFIG = {  # of the toolbar: what looks closer and what saves, and nothing that leaves the machine
    "modeBarButtons": [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
    "toImageButtonOptions": {"format": "svg"},
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
}
_STANDING = dict.fromkeys(("correct", "right", "not hallucinated", "factual", "facts"), 0)
_STANDING |= dict.fromkeys(("incorrect", "wrong", "hallucinated", "creative"), 1)  # the looks of groups that recur
_CLEAR, _AXIS = "rgba(0,0,0,0)", {"showline": True, "linecolor": "#888", "ticks": "outside", "zeroline": False}
_AXIS |= {"gridcolor": "rgba(128,128,128,0.2)"}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 13, "color": NEUTRAL},
        "title": {"x": 0.01, "xanchor": "left", "y": 1, "yanchor": "top", "yref": "container", "pad": {"t": 12}}
        | {"font": {"size": 16}},
        "plot_bgcolor": _CLEAR,
        "paper_bgcolor": _CLEAR,
        "colorway": list(COLOURS),
        "hovermode": "closest",
        "modebar": {"bgcolor": _CLEAR, "color": "#888", "activecolor": COLOURS[0]},
        "margin": {"l": 70, "r": 30, "t": 84, "b": 60},
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)
_TITLE_WIDTH, _TITLE_LENGTH, _LABEL_WIDTH = 96, 240, 30  # characters


class Look(NamedTuple):
    """How a group is drawn, wherever it is."""

    colour: str
    dash: str
    symbol: str


def in_order(groups: Iterable[Hashable]) -> dict[str, Look]:
    """The look of each group: those that recur have one that is theirs everywhere, others what is left, in order."""
    looks, names = [*map(Look, COLOURS, DASHES, SYMBOLS)], [*map(str, groups)]
    own: dict[str, Look] = {}
    for name in names:
        if name in _STANDING and looks[_STANDING[name]] not in own.values():
            own[name] = looks[_STANDING[name]]
    rest = cycle([look for look in looks if look not in own.values()])
    return {name: own.get(name) or next(rest) for name in names}


def ordered(groups: pd.Series) -> list[Hashable]:
    """All groups, in the order of their categories where they have one, else as they come."""
    return list(groups.cat.categories if isinstance(groups.dtype, pd.CategoricalDtype) else groups.dropna().unique())


def faded(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


# ---- text


def shown(text: str) -> str:
    """Text as it is, where plotly would read markup."""
    return escape(text, quote=False)


def wrapped(text: str, width: int = _LABEL_WIDTH) -> str:
    """Text as it is, in lines of at most so many characters."""
    return "<br>".join(shown(line) for part in text.splitlines() for line in textwrap.wrap(part, width))


def axis_title(measure: str) -> str:
    """The name of a measure with its unit, as it stands on an axis."""
    name, unit = title_and_unit(measure)
    return name if unit == "1" else f"{name} ({unit.replace('^2', '²')})"


def counted(counts: Mapping[Any, Any] | pd.Series) -> str:
    """The responses of either group (n_a, n_b), or of the only one (n), where they are known."""
    known = [f"{counts[name]:.0f}" for name in ("n_a", "n_b", "n") if name in counts]
    return f" (n = {' + '.join(known)})" if known else ""


def in_short(n: float) -> str:
    """A large count in a few characters: 260 k, 135 M, 1.24 B."""
    size, letter = next(pair for pair in ((1e9, " B"), (1e6, " M"), (1e3, " k"), (0, "")) if n >= pair[0])
    return f"{n / (size or 1):.3g}{letter}"


# ---- figures


class Figure(go.Figure):
    """A figure whose toolbar asks the network for nothing, whatever renderer shows it; its own settings go before."""

    def show(self, *args: Any, **options: Any) -> None:
        super().show(*args, **options | {"config": _config(options)})

    def _repr_mimebundle_(self, *args: Any, **options: Any) -> dict[str, Any]:
        return super()._repr_mimebundle_(*args, **options | {"config": _config(options)})

    def _ipython_display_(self) -> None:
        if plotly.io.renderers.render_on_display and plotly.io.renderers.default:
            self.show()
        else:
            print(repr(self))


def _config(options: Mapping[str, Any]) -> dict[str, Any]:
    config = CONFIG
    for name in filter(None, (options.get("renderer") or plotly.io.renderers.default or "").split("+")):
        config = config | (getattr(plotly.io.renderers[name], "config", None) or {})
    return config | (options.get("config") or {})


def titled(figure: go.Figure, title: str, *, inside: int, above: int = 0) -> go.Figure:
    """The figure under the common template, `inside` pixels high, with room above for title, legend and `above`."""
    title = textwrap.shorten(title, _TITLE_LENGTH, placeholder=" …") if len(title) > _TITLE_LENGTH else title
    text, margin = wrapped(title, _TITLE_WIDTH), TEMPLATE.layout.margin
    more = 20 * text.count("<br>")
    figure = Figure(figure).update_layout(template=TEMPLATE, title={"text": text, "pad": {"t": 12 + more / 2}})
    return figure.update_layout(height=margin.t + more + above + inside + margin.b, margin_t=margin.t + more + above)


def dark_on_white(figure: Mapping[str, Any]) -> dict[str, Any]:
    """The same figure, given as its data and layout, for a picture that stands alone."""
    plain = go.Figure(figure).update_layout(template_layout_font_color="#222", paper_bgcolor="white")
    return plain.to_dict()


def too_few(title: str) -> go.Figure:
    """What stands where a figure would be, so that nobody takes an empty plot for a null."""
    figure = go.Figure()
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    text = "nothing to show: too few responses in the groups"
    figure.add_annotation(text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"size": 16})
    return titled(figure, title, inside=76)


def intervals(
    table: pd.DataFrame, y: Sequence[Any], said: Sequence[str], *, marker: Mapping[str, Any], name: str = ""
) -> go.Scatter:
    """A mark with its interval for each row of a table, whose first columns are estimate, low and high."""
    estimate, low, high = (table.iloc[:, place].to_numpy(float) for place in range(3))
    bars = {"type": "data", "symmetric": False, "thickness": 1.5, "width": 3}
    return go.Scatter(
        x=estimate,
        y=y,
        error_x=bars | {"array": high - estimate, "arrayminus": estimate - low},
        mode="markers",
        marker=marker,
        name=shown(name),
        customdata=np.stack([low, high], axis=-1),
        meta={"columns": ["low", "high"]},
        text=[shown(text) for text in said],
        hovertemplate="%{text}: %{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]<extra></extra>",
    )
