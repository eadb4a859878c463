"""Pages and knobs in a browser from which nothing but loopback can be reached."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser import chromium, jupyter_home, jupyterlab, open_notebook, run_all_cells, shut_down_kernel, watched
from test_knobs import record
from test_report import hostile_notebook

from attnent.study.index import write_index
from attnent.study.notebook import run_notebook
from attnent.study.report import write_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets of the Jupyter kernel's client
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # within papermill and its kernel client
]

QUICKSTART = Path(__file__).parent.parent / "notebooks" / "00_quickstart.ipynb"
KNOBS = """
from attnent import Run
from attnent.show import knobs as controls
def grade_of(run):
    return run.labels("grades").set_index("response_id")["grade"]
controls.curves(Run({folder!r}), grade_of)
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A study of notebook 00 on a few tokens, with its index."""
    out_dir = tmp_path_factory.mktemp("study")
    outcome = run_notebook(QUICKSTART, {"max_new_tokens": 12}, out_dir / "study" / "tiny" / QUICKSTART.stem)
    assert outcome.status == "complete", outcome.error
    write_index(out_dir)
    return out_dir


@pytest.fixture(scope="module")
def page_of_study(study) -> str:
    return (study / "study" / "tiny" / QUICKSTART.stem / "report.html").as_uri()


def head_map(page: Any) -> str:
    return page.locator(".attnent canvas").first.evaluate("canvas => canvas.toDataURL()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_draws_its_figures_in_the_readers_theme_and_asks_for_nothing(browser, page_of_study, scheme):
    with watched(browser, scheme=scheme) as seen:
        seen.page.goto(page_of_study)
        seen.page.wait_for_selector(".figure .main-svg")
        assert seen.page.locator(".figure .scatterlayer .trace").count() == 2
        ink = seen.page.locator(".figure .ytitle").first.evaluate("text => getComputedStyle(text).fill")
        assert ink == {"light": "rgb(34, 34, 34)", "dark": "rgb(221, 221, 221)"}[scheme]
        assert [request for request in seen.requests if not request.startswith(("file:", "data:", "blob:"))] == []
        seen.check()


def test_the_scrubber_of_a_report_scrubs_by_key_and_by_slider_without_a_kernel(browser, page_of_study):
    with watched(browser) as seen:
        seen.page.goto(page_of_study)
        slider = seen.page.locator(".attnent .transport input")
        slider.scroll_into_view_if_needed()
        first = head_map(seen.page)
        slider.focus()
        seen.page.keyboard.press("ArrowRight")
        second = head_map(seen.page)
        box = slider.bounding_box()
        seen.page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] / 2)
        seen.page.mouse.down()
        seen.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2, steps=5)
        seen.page.mouse.up()
        third = head_map(seen.page)
        assert len({first, second, third}) == 3
        seen.check()


def test_the_first_key_of_a_report_leads_to_a_link_and_the_link_to_the_scrubber(browser, page_of_study):
    with watched(browser) as seen:
        seen.page.goto(page_of_study)
        seen.page.locator(".attnent .transport input").wait_for()
        seen.page.keyboard.press("Tab")
        assert seen.page.evaluate("document.activeElement.textContent") == "Skip to the Scrubber"
        assert seen.page.locator(".skip").bounding_box()["x"] >= 0
        seen.page.keyboard.press("Enter")
        seen.page.keyboard.press("Tab")
        assert seen.page.evaluate("Boolean(document.activeElement.closest('#scrubber'))")
        seen.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_code_has_the_ground_of_the_page_it_is_on(browser, page_of_study, scheme):
    with watched(browser, scheme=scheme) as seen:
        seen.page.goto(page_of_study)
        seen.page.click(".code-switch")
        ground = seen.page.locator(".highlight").first.evaluate("code => getComputedStyle(code).backgroundColor")
        assert ground == {"light": "rgb(246, 246, 244)", "dark": "rgb(32, 35, 38)"}[scheme]


@pytest.mark.parametrize("fragment", ["#none", "#response=none&step=9999&head=1.2", "#%ff", "#a=b=c"])
def test_a_fragment_that_names_nothing_does_no_harm(browser, page_of_study, fragment):
    with watched(browser) as seen:
        seen.page.goto(page_of_study + fragment)
        seen.page.locator(".attnent .transport input").wait_for()
        seen.page.wait_for_selector(".figure .main-svg")
        seen.check()


def test_the_code_of_a_report_shows_when_asked_for(browser, page_of_study):
    with watched(browser) as seen:
        seen.page.goto(page_of_study)
        code = seen.page.locator(".input").first
        assert not code.is_visible()
        seen.page.click(".code-switch")
        assert code.is_visible()
        seen.check()


def test_nothing_that_a_notebook_holds_runs_in_its_report(browser, tmp_path):
    write_report(hostile_notebook(tmp_path / "n.ipynb"), tmp_path / "n.html")
    with watched(browser) as seen:
        seen.page.goto((tmp_path / "n.html").as_uri())
        seen.page.wait_for_selector(".figure .main-svg")
        seen.page.locator(".code-switch").click()
        assert "onerror='window.hasRun = 1'" in seen.page.inner_text("body")
        assert seen.page.url.endswith("n.html")
        seen.check()


def test_what_slips_into_a_report_is_stopped_by_its_policy(browser, tmp_path):
    write_report(hostile_notebook(tmp_path / "n.ipynb"), tmp_path / "n.html")
    page = (tmp_path / "n.html").read_text()
    slipped = "<body><script>window.hasRun = 1</script><img src=x onerror='window.hasRun = 1'>"
    (tmp_path / "n.html").write_text(page.replace("<body>", slipped))
    with watched(browser) as seen:
        seen.page.goto((tmp_path / "n.html").as_uri())
        seen.page.wait_for_selector(".figure .main-svg")
        assert not seen.page.evaluate("window.hasRun ?? false")
        assert any("Content Security Policy" in problem for problem in seen.problems)


def test_the_index_leads_to_the_report_and_sorts_by_a_column(browser, study):
    with watched(browser) as seen:
        seen.page.goto((study / "index.html").as_uri())
        seen.page.click("th button >> text=model")
        assert seen.page.locator("th[aria-sort=ascending]").inner_text() == "model"
        seen.page.click("td a >> nth=0")
        assert seen.page.inner_text("h1") == "00 Quickstart"
        seen.check()


def test_the_index_sorts_numbers_as_numbers_and_what_is_missing_first(browser, tmp_path):
    common = {"title": "t", "question": "q", "parameters": {}, "status": "complete", "error": "", "seconds": 1.0}
    for name, estimate in (("a", 0.4), ("b", 0.35), ("c", None), ("d", 0.5)):
        (tmp_path / "study" / name).mkdir(parents=True)
        effect = None if estimate is None else [estimate, 0.3, 0.6]
        text = json.dumps(common | {"answer": name, "effect": effect, "effect_name": "AUROC"})
        (tmp_path / "study" / name / "outcome.json").write_text(text)
    with watched(browser) as seen:
        seen.page.goto(write_index(tmp_path).as_uri())
        seen.page.click("th button >> text=main effect")
        answers = seen.page.locator("td[data-name=notebook] p:last-of-type").all_inner_texts()
        assert answers == ["c", "b", "a", "d"]
        seen.check()


def test_the_index_is_sorted_by_key_on_a_phone_too_and_fits_it(browser, study):
    with watched(browser, width=400) as seen:
        seen.page.goto((study / "index.html").as_uri())
        seen.page.keyboard.press("Tab")
        assert seen.page.evaluate("document.activeElement.textContent") == "notebook"
        for order in ("ascending", "descending"):
            seen.page.keyboard.press("Enter")
            assert seen.page.locator(f"th[aria-sort={order}]").inner_text() == "notebook"
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 400
        seen.check()


def test_knobs_show_their_figure_afresh_and_draw_another_one_when_turned(browser, tmp_path):
    run = record(tmp_path / "made" / "small" / "aa")
    cells = [nbformat.v4.new_code_cell("pass", metadata={"tags": ["parameters"]})]
    cells.append(nbformat.v4.new_code_cell(KNOBS.format(folder=str(run.folder))))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), tmp_path / "knobs.ipynb")
    with jupyter_home(tmp_path / "home"):
        run_notebook(tmp_path / "knobs.ipynb", {}, tmp_path / "out")
        with jupyterlab(tmp_path / "out") as address, watched(browser, width=1200) as seen:
            open_notebook(seen.page, address, "notebook.ipynb")
            title = seen.page.locator(".jp-OutputArea .gtitle")
            title.wait_for(timeout=60_000)
            assert "all layers, all heads" in title.text_content()
            run_all_cells(seen.page)
            seen.page.wait_for_function("document.querySelectorAll('.widget-dropdown select').length === 4")
            seen.page.locator(".widget-dropdown", has_text="layer").locator("select").select_option("layer 4")
            seen.page.wait_for_function("document.querySelector('.gtitle')?.textContent.includes('layer 4')")
            shut_down_kernel(seen.page)
            assert not seen.page.evaluate("window.hasRun ?? false")
