"""Figures of a page and of JupyterLab in a browser: no toolbar leaves the machine, and all of it can be saved."""

import base64
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import plotly.graph_objects as go
import plotly.io
import pytest
from browser import chromium, jupyter_home, jupyterlab, open_notebook, watched
from test_plots import compared, curve_table, effect_table, heads, replicated, solutions

from attnent.show import plots
from attnent.show.alt import alt_text
from attnent.study.report import write_report

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]

NAMES = ("curve", "maps", "forest", "effects", "strips", "someone else's")
HOSTILE = "=HYPERLINK(1) <b>"


def figures() -> list[go.Figure]:
    """One of each kind, and one that is not ours."""
    found = heads([[0.2, 0.9, 0.5], [0.4, np.nan, 0.5]], p=0.01)
    effects = effect_table(["attention entropy of a name that is long", "varentropy"], n_a=94, n_b=100)
    return [
        plots.curves({"entropy": curve_table().replace({"group": {"creative": HOSTILE}})}, title="A curve " * 9),
        plots.auroc_maps({"entropy": {"raw": found, "fixed": found}}, title="Maps"),
        plots.forest(replicated(), ["varentropy", "entropy"], title="A forest"),
        plots.effects({stage: effects for stage in compared(1, 1, 1, 1).stages}, title="Effects", a="x", b="y"),
        plots.strips(*solutions(), "entropy", title="Strips"),
        go.Figure(go.Bar(x=["a", "b"], y=[1, 2])),
    ]


def notebook(path: Path) -> Path:
    cells = []
    for figure in figures():
        outputs = [nbformat.v4.new_output("display_data", data=bundle(figure))]
        cells.append(nbformat.v4.new_code_cell("pass", outputs=outputs))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def bundle(figure: go.Figure) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plotly.io.renderers, "default", "plotly_mimetype")
        return figure._repr_mimebundle_()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("figures")
    write_report(notebook(folder / "n.ipynb"), folder / "n.html")
    return (folder / "n.html").as_uri()


def opened(page: Any, address: str) -> Any:
    """All figures of a page, drawn."""
    page.goto(address)
    page.wait_for_function(f"document.querySelectorAll('.figure > .save').length === {len(NAMES)}")
    return page.locator(".figure")


def saved(page: Any, name: str, format: str) -> bytes:
    """What a reader saves of a figure."""
    figure = page.locator(".figure").nth(NAMES.index(name))
    if not figure.locator("button", has_text=format.upper()).is_visible():
        figure.locator("summary").click()
    with page.expect_download() as download:
        figure.locator("button", has_text=format.upper()).click()
    assert download.value.suggested_filename.endswith(f".{format}")
    return Path(download.value.path()).read_bytes()


def rows(page: Any, name: str) -> list[dict[str, str]]:
    return [*csv.DictReader(saved(page, name, "csv").decode().splitlines())]


def test_no_button_of_any_toolbar_leaves_the_page(browser, address):
    with watched(browser) as seen:
        opened(seen.page, address)
        others = []
        seen.page.context.on("page", lambda page: others.append(page))
        buttons = seen.page.locator(".modebar-btn")
        titles = {button.get_attribute("data-title") for button in buttons.all()}
        assert titles == {"Zoom", "Pan", "Reset axes"}
        for button in buttons.all():
            button.dispatch_event("click")
        for name in NAMES:
            for format in ("svg", "png", "csv"):
                saved(seen.page, name, format)
        assert others == []
        assert [one for one in seen.requests if not one.startswith(("file:", "data:", "blob:"))] == []
        seen.check()


def test_a_figure_is_one_stop_for_the_keyboard(browser, address):
    with watched(browser) as seen:
        opened(seen.page, address)
        stops = []
        for _ in range(40):
            seen.page.keyboard.press("Tab")
            stops.append(seen.page.evaluate(STOP))
        assert {tuple(stop) for stop in stops if stop} == {(place, "SUMMARY") for place in range(len(NAMES))}


def test_a_figure_is_a_picture_with_a_text_in_its_place(browser, address):
    with watched(browser) as seen:
        opened(seen.page, address)
        shown = [picture.get_attribute("aria-label") for picture in seen.page.locator(".figure > [role=img]").all()]
        assert [alt_text(json.loads(figure.to_json())) for figure in figures()] == shown


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_that_is_saved_from_a_dark_page_is_dark_on_white(browser, address, name):
    with watched(browser, scheme="dark") as seen:
        opened(seen.page, address)
        svg = saved(seen.page, name, "svg").decode()
        assert "rgb(221, 221, 221)" not in svg
        assert "rgb(34, 34, 34)" in svg
        png = base64.b64encode(saved(seen.page, name, "png")).decode()
        corner = seen.page.evaluate(
            """async (png) => {
                const image = Object.assign(new Image(), { src: `data:image/png;base64,${png}` });
                await image.decode();
                const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
                context.drawImage(image, 0, 0);
                return [image.width, ...context.getImageData(3, 3, 1, 1).data];
            }""",
            png,
        )
        assert corner == [2000, 255, 255, 255, 255]


def test_the_table_of_a_curve_has_every_step_with_its_mean_band_and_count(browser, address):
    with watched(browser) as seen:
        opened(seen.page, address)
        table = [row for row in rows(seen.page, "curve") if row["panel"] == "attention entropy (nat)"]
        assert len(table) == 14
        third = table[2]
        assert (third["trace"], third["step (token)"], third["y"]) == ("factual", "2", "2")
        assert (third["n"], third["low"], third["high"]) == ("11", "1", "3")


def test_the_table_of_a_map_has_a_row_a_head(browser, address):
    with watched(browser) as seen:
        opened(seen.page, address)
        cells = [row for row in rows(seen.page, "maps") if row["value"]]
        assert [*cells[0]][1:] == ["layer", "head", "value"]
        assert [[*cell.values()] for cell in cells[:2]] == [
            ["attention entropy, raw", "2", "0", "0.2"],
            ["attention entropy, raw", "2", "1", "0.9"],
        ]
        assert len(cells) == 10, "two maps of five heads with a value"


def test_the_table_of_intervals_names_its_rows_and_their_ends(browser, address):
    with watched(browser) as seen:
        opened(seen.page, address)
        [first, *_] = rows(seen.page, "forest")
        assert first["text"] == "set 1"
        assert [float(first[end]) for end in ("low", "high")] == pytest.approx([0.5, 0.65])


def test_no_text_of_a_table_is_a_formula(browser, address):
    with watched(browser) as seen:
        opened(seen.page, address)
        assert {row["trace"] for row in rows(seen.page, "curve")} == {"factual", f"'{HOSTILE}"}


def test_what_a_reader_zoomed_and_hid_is_so_in_what_he_saves(browser, address):
    with watched(browser) as seen:
        panel = opened(seen.page, address).nth(NAMES.index("effects")).locator("[role=img]")
        whole = saved(seen.page, "effects", "svg").decode()
        panel.evaluate("panel => Plotly.update(panel, { visible: 'legendonly' }, { 'xaxis.range': [0.6, 0.7] }, [1])")
        part = saved(seen.page, "effects", "svg").decode()
        assert ">0.62<" in part
        assert ">0.62<" not in whole
        assert part.count('class="trace scatter') == whole.count('class="trace scatter') - 1


STOP = """(() => {
    const [stop, figures] = [document.activeElement, [...document.querySelectorAll(".figure")]];
    return stop.closest(".figure") && [figures.indexOf(stop.closest(".figure")), stop.tagName];
})()"""
BESIDE = """panels => panels.flatMap((panel) => {
    const { left, right } = panel.getBoundingClientRect();
    const texts = [...panel.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    return texts.filter(([, box]) => box.width && (box.left < left - 1 || box.right > right + 1)).map(([text]) => text);
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_panels_stand_under_each_other_and_no_text_is_cut(browser, address, scheme):
    with watched(browser, width=400, scheme=scheme) as seen:
        drawn = opened(seen.page, address)
        assert seen.page.evaluate("document.documentElement.scrollWidth") == 400
        assert seen.page.locator(".figure [role=img]").evaluate_all(BESIDE) == []
        for name, n_panels in (("maps", 2), ("forest", 4), ("effects", 1)):
            areas = [one.bounding_box() for one in drawn.nth(NAMES.index(name)).locator(".nsewdrag").all()]
            assert len({area["x"] for area in areas}) == 1
            assert len({area["y"] for area in areas}) == len(areas) == n_panels
            assert min(area["width"] for area in areas) > 190
        legend = drawn.nth(NAMES.index("effects")).locator(".legend").bounding_box()
        assert legend["y"] > drawn.nth(NAMES.index("effects")).locator(".nsewdrag").bounding_box()["height"]
        seen.check()


def test_a_page_that_becomes_wide_again_has_its_panels_side_by_side(browser, address):
    with watched(browser, width=400) as seen:
        forest = opened(seen.page, address).nth(NAMES.index("forest"))
        seen.page.set_viewport_size({"width": 1000, "height": 900})
        seen.page.wait_for_function(
            """() => new Set([...document.querySelectorAll('.figure')[2].querySelectorAll('.nsewdrag')]
                .map((area) => area.getBoundingClientRect().y)).size === 2"""
        )
        assert forest.locator(".save").count() == 1


@pytest.mark.parametrize(("scheme", "middle"), [("light", "rgb(247,247,247)"), ("dark", "#26292c")])
def test_no_difference_on_a_map_is_as_pale_as_a_light_page_and_as_dark_as_a_dark_one(browser, address, scheme, middle):
    with watched(browser, scheme=scheme) as seen:
        panel = opened(seen.page, address).nth(NAMES.index("maps")).locator("[role=img]")
        scale = panel.evaluate("panel => panel._fullLayout.coloraxis.colorscale")
        assert dict(scale)[0.5] == middle


def test_in_a_dark_jupyterlab_figures_are_no_slabs_and_their_buttons_stay_on_the_machine(browser, tmp_path):
    notebook(tmp_path / "n.ipynb")
    with jupyter_home(tmp_path / "home"):
        theme = tmp_path / "home" / "settings" / "@jupyterlab" / "apputils-extension" / "themes.jupyterlab-settings"
        theme.write_text(json.dumps({"theme": "JupyterLab Dark"}))
        with jupyterlab(tmp_path) as lab, watched(browser, width=1200) as seen:
            open_notebook(seen.page, lab, "n.ipynb")
            seen.page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
            panel = seen.page.locator(".jp-RenderedPlotly").first
            panel.locator(".modebar-btn").first.wait_for(state="attached", timeout=60_000)
            others = []
            seen.page.context.on("page", lambda page: others.append(page))
            buttons = panel.locator(".modebar-btn")
            titles = [button.get_attribute("data-title") for button in buttons.all()]
            assert titles == ["Zoom", "Pan", "Reset axes", "Download plot"]
            with seen.page.expect_download() as download:
                for button in buttons.all():
                    button.dispatch_event("click")
            assert download.value.suggested_filename.endswith(".svg")
            assert panel.locator(".main-svg").first.evaluate("svg => getComputedStyle(svg).backgroundColor") in (
                "rgba(0, 0, 0, 0)",
                "transparent",
            )
            assert panel.locator(".gtitle").evaluate("text => getComputedStyle(text).fill") == "rgb(118, 118, 118)"
            assert others == []
            assert {one.split("/")[2] for one in seen.requests if one.startswith("http")} == {lab.split("/")[2]}
