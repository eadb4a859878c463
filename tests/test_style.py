"""Figures are seen on white and on black, by colour-blind readers too, and their toolbars stay on the machine."""

import itertools

import numpy as np
import plotly.graph_objects as go
import plotly.io
import pytest
from plotly.colors import hex_to_rgb
from plotly.io.base_renderers import PlotlyRenderer

from attnent.show import style

WHITE, DARK_PAGE = "#ffffff", "#17191b"
SEEN_BY = {  # linear RGB as a dichromat sees it: Machado, Oliveira & Fernandes 2009, severity 1
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_CONES = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
TO_OKLAB = np.array(
    [[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.808675766]]
)  # fmt: skip


def linear(colour):
    channels = np.array(hex_to_rgb(colour)) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """The contrast ratio of WCAG 2."""
    darker, lighter = sorted(float(np.dot((0.2126, 0.7152, 0.0722), linear(colour))) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def oklab(colour, seen_by):
    return TO_OKLAB @ np.cbrt(TO_CONES @ np.clip(SEEN_BY[seen_by] @ linear(colour), 0, 1))


@pytest.mark.parametrize("page", [WHITE, DARK_PAGE])
@pytest.mark.parametrize("colour", style.COLOURS)
def test_every_line_stands_out_from_a_light_page_and_from_a_dark_one(colour, page):
    assert contrast(colour, page) >= 3


def test_the_ink_of_figures_that_know_no_theme_is_read_on_white_and_on_black():
    assert contrast(style.TEMPLATE.layout.font.color, WHITE) >= 4.5
    assert contrast(style.TEMPLATE.layout.font.color, "#111111") >= 4


@pytest.mark.parametrize("seen_by", SEEN_BY)
def test_no_two_lines_look_alike_to_any_reader(seen_by):
    pairs = itertools.combinations(style.COLOURS, 2)
    assert min(np.linalg.norm(oklab(one, seen_by) - oklab(other, seen_by)) for one, other in pairs) > 0.09


def shown(monkeypatch, figure, **options):
    """The configuration under which a figure is shown."""
    seen = []
    monkeypatch.setattr(PlotlyRenderer, "to_mimebundle", lambda self, _: seen.append(self.config) or {})
    figure.show(renderer="plotly_mimetype", **options)
    return seen[0]


def a_figure():
    return style.titled(go.Figure(go.Scatter(y=[1, 2])), "t", inside=100)


def test_the_toolbar_offers_no_upload_no_selection_and_no_logo(monkeypatch):
    config = shown(monkeypatch, a_figure())
    assert config["modeBarButtons"] == [["zoom2d", "pan2d", "resetScale2d", "toImage"]]
    assert (config["showSendToCloud"], config["displaylogo"], config["plotlyServerURL"]) == (False, False, "")


def test_what_a_user_set_of_a_renderer_or_a_figure_goes_before(monkeypatch):
    monkeypatch.setattr(plotly.io.renderers["plotly_mimetype"], "config", {"scrollZoom": True, "displaylogo": True})
    config = shown(monkeypatch, a_figure(), config={"displaylogo": "mine"})
    assert (config["scrollZoom"], config["displaylogo"], config["showSendToCloud"]) == (True, "mine", False)


def test_what_a_notebook_displays_and_a_report_reads_has_that_toolbar(monkeypatch):
    monkeypatch.setattr(plotly.io.renderers, "default", "plotly_mimetype")
    bundle = a_figure()._repr_mimebundle_()["application/vnd.plotly.v1+json"]
    assert bundle["config"] == style.CONFIG


def test_other_figures_keep_their_own_toolbar(monkeypatch):
    a_figure()
    assert shown(monkeypatch, go.Figure()) == {}


def test_paper_is_transparent_so_that_a_dark_page_has_no_white_slabs():
    layout = style.TEMPLATE.layout
    assert (layout.paper_bgcolor, layout.plot_bgcolor) == ("rgba(0,0,0,0)",) * 2
