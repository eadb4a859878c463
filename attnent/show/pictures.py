"""What a model saw, and its layers over the steps of what it wrote. Labelled data in, plotly Figure out."""

import base64
import textwrap
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from attnent.show import style

_SIDE, _MOST_CHARACTERS, _COLUMNS = 150, 90, 4  # pixels of a picture; of what stands below it; in a row
_MOST_PIXELS = 400  # of the longer side of a larger one


def step_map(values: xr.DataArray, measure: str, *, title: str) -> go.Figure:
    """A measure of each layer at each step, (layer, step); layers stand one above the other, without gaps."""
    if values.isnull().all():
        return style.too_few(title)
    values = values.transpose("layer", "step")
    said = "step %{x}, layer %{y}: %{z:.3f}<extra></extra>"
    heat = {"x": values["step"].to_numpy(), "y": values["layer"].astype(str).to_numpy(), "z": values.to_numpy()}
    bar = {"title": {"text": style.axis_title(measure), "side": "right"}, "thickness": 16}
    figure = go.Figure(go.Heatmap(heat | {"hovertemplate": said}, colorscale="Cividis", colorbar=bar))
    figure.update_xaxes(title_text="step (token)", showgrid=False)
    figure.update_yaxes(title_text="layer", type="category", showgrid=False)
    return style.titled(figure, title, inside=max(200, 20 * values.sizes["layer"]))


def gallery(paths: Sequence[str], texts: Sequence[str], *, title: str) -> go.Figure:
    """Pictures, each with the beginning of a text below it."""
    n_rows, n_cols = -(-len(paths) // _COLUMNS), min(len(paths), _COLUMNS)
    names = [style.wrapped(textwrap.shorten(text, _MOST_CHARACTERS, placeholder=" …") or "-", 28) for text in texts]
    figure = make_subplots(rows=n_rows, cols=n_cols, vertical_spacing=0.3 / n_rows, horizontal_spacing=0.03)
    for place, (path, name) in enumerate(zip(paths, names, strict=True)):
        at = {"row": place // _COLUMNS + 1, "col": place % _COLUMNS + 1}
        figure.add_trace(go.Image(source=_thumbnail(Path(path)), name=style.shown(Path(path).stem)), **at)
        below = {"x": 0.5, "y": 0, "yanchor": "top", "xref": "x domain", "yref": "y domain", "showarrow": False}
        figure.add_annotation(below | {"text": name, "font": {"size": 11}}, **at)
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return style.titled(figure, title, inside=n_rows * (_SIDE + 70))


def _thumbnail(path: Path) -> str:
    """A small PNG of a picture, on a square, as a data address."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        return _data_address(ImageOps.pad(image.convert("RGB"), (_SIDE, _SIDE), color="white"))


def _data_address(image: Any) -> str:
    kept = BytesIO()
    image.save(kept, format="PNG")
    return "data:image/png;base64," + base64.b64encode(kept.getvalue()).decode()


def looks(path: str, weights: Mapping[str, xr.DataArray], *, title: str) -> go.Figure:
    """Where on a picture attention lies, a panel each: the picture, under the weights (y, x) of its patches.

    The more of it a patch has, the less of the picture it hides; each panel has its own scale, up to its largest.
    """
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        shown = image.convert("RGB")
        shown.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
        source = _data_address(shown)
    figure = make_subplots(rows=1, cols=len(weights), subplot_titles=[*map(style.shown, weights)])
    for col, (name, values) in enumerate(weights.items(), start=1):
        said = f"{style.shown(name)}: %{{z:.4f}}<extra></extra>"
        heat = {"x": values["x"].to_numpy(), "y": values["y"].to_numpy(), "z": values.to_numpy(), "zmin": 0.0}
        shades = [[0.0, "rgba(20,20,20,0.85)"], [1.0, "rgba(20,20,20,0)"]]
        named = {"name": style.shown(name), "hovertemplate": said, "showscale": False, "colorscale": shades}
        figure.add_trace(go.Heatmap(heat | named), 1, col)
        under = {"source": source, "x": 0, "y": 0, "sizex": width, "sizey": height, "layer": "below"}
        figure.add_layout_image(under | {"sizing": "stretch"}, row=1, col=col)
        figure.update_yaxes(scaleanchor="x" if col == 1 else f"x{col}", row=1, col=col)
    figure.update_xaxes(visible=False, range=[0, width], constrain="domain")
    figure.update_yaxes(visible=False, range=[height, 0], constrain="domain")
    return style.titled(figure, title, inside=260)
