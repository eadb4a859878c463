"""The Scrubber among the headings and figures of a report: by keyboard from the top, from a figure, from a link."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium, watched
from test_plots import heads
from test_scrubber_browser import token
from test_scrubber_explore_browser import state_of
from test_scrubber_usual import made, usual_of

from attnent.show import plots
from attnent.show.scrubber import Scrubber
from attnent.show.scrubber.page import element
from attnent.study.pages import FIGURE_HERE, page_of, with_anchors

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def scrubber() -> Scrubber:
    return Scrubber(made(20))


@pytest.fixture(scope="module")
def address(scrubber, tmp_path_factory) -> str:
    """A page with a map of AUROCs in three layers of five heads, and a Scrubber."""
    found = heads(np.linspace(0.3, 0.7, 15).reshape(3, 5).tolist(), p=0.01).assign_coords(layer=[0, 1, 2])
    figure = plots.auroc_maps({"entropy": {"raw": found}}, title="Maps").to_json().replace("<", "\\u003c")
    data = base64.b64encode(scrubber.data).decode()
    saved = element({"state": scrubber.get_state(), "buffers": [{"path": ["data"], "data": data}]})
    drawn = f'{FIGURE_HERE}><script type="application/json">{figure}</script><div></div></div>'
    headings = "".join(f"<h2>Part {n}</h2><p>Text.</p>" for n in range(9))
    page: Path = tmp_path_factory.mktemp("report") / "report.html"
    page.write_text(page_of("Report", with_anchors(f"<h1>Report</h1>{headings}{drawn}{saved}", "Report")))
    return page.as_uri()


@pytest.fixture
def opened(browser, address) -> Iterator[Any]:
    with watched(browser) as one:
        one.page.goto(address)
        one.page.wait_for_selector(".attnent .map canvas")
        yield one.page
        one.check()


def test_few_keys_lead_from_the_top_of_a_page_to_a_chosen_token(opened, scrubber):
    percentiles, _, _ = usual_of(scrubber, 2)
    most_unusual = int(np.nanargmax(np.abs(percentiles["entropy"] - 50)))
    keys = ["Tab", "Enter", "]", "]", "n"]  # to the link, along it, to the third response, to its most unusual token
    for key in keys:
        opened.keyboard.press(key)
        if key == "Enter":  # a browser follows a link in its own time
            opened.wait_for_function("document.activeElement.matches('.attnent input[type=range]')")
    assert state_of(opened)[:2] == ("r2", most_unusual)
    print(f"{len(keys)} keys")  # seen with pytest -rP
    assert len(keys) <= 12


def test_a_cell_of_a_figure_of_heads_opens_its_head(opened):
    opened.wait_for_selector(".figure .main-svg")
    inside = opened.locator(".figure .nsewdrag")
    inside.scroll_into_view_if_needed()
    box = inside.bounding_box()
    opened.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5)
    opened.wait_for_selector(".figure .hovertext")
    opened.mouse.down()
    opened.mouse.up()
    assert state_of(opened)[2] == "1.3"
    assert opened.evaluate("document.activeElement.matches('.attnent input[type=range]')")


def test_a_link_opens_its_state_on_a_report(browser, address):
    with watched(browser) as one:
        one.page.goto(f"{address}#response=r3&step=7&head=2.4&measure=varentropy")
        one.page.wait_for_selector(".attnent .map canvas")
        assert state_of(one.page) == ("r3", 7, "2.4")
        assert one.page.locator(".attnent").bounding_box()["y"] < 200
        one.page.evaluate("location.hash = '#part-3'")
        assert token(one.page) == 7, "a heading is no state"
        one.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_the_scrubber_of_a_report_stays_within_the_page(browser, address, scheme):
    with watched(browser, width=400, scheme=scheme) as one:
        one.page.goto(address)
        one.page.wait_for_selector(".attnent .map canvas")
        assert one.page.evaluate("document.documentElement.scrollWidth") == 400
        margins = one.page.locator(".attnent summary").evaluate_all(
            "all => all.map((one) => getComputedStyle(one).margin)"
        )
        assert {*margins} == {"0px"}, "those of the page's own folds are not for the Scrubber"
        one.check()
