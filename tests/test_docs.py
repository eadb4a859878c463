"""Light pages of reports: no script, nothing of a machine, the same again, at most 1 MB."""

import json
import sys

import nbformat
import pytest
from browser import chromium, watched
from made_up import made_up_trace
from test_index import OUTCOME, keep
from test_report import Elements, hostile_notebook

import attnent as ae
from attnent.study import StudyError, docs
from attnent.study.command import main
from attnent.study.docs import write_docs
from attnent.study.report import FIGURE, WIDGET

FIGURE_OF_TWO = {"data": [{"y": [1, 2], "type": "scatter"}], "layout": {"title": {"text": "a < b"}}}


def keep_notebook(out_dir, folder, cells=(), **facts):
    model = facts.pop("model", "tiny")
    keep(out_dir, folder, json.dumps(OUTCOME | {"title": folder, "parameters": {"model": model}} | facts).encode())
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {folder}"), *cells])
    node.metadata["papermill"] = {"parameters": {"model": model}, "start_time": "2026-11-27T15:47:00"}
    nbformat.write(node, out_dir / "study" / folder / "notebook.ipynb")
    return node


def cell_of(*outputs):
    cell = nbformat.v4.new_code_cell("secret_code = 1")
    cell.outputs = list(outputs)
    return cell


def shown(data):
    return nbformat.v4.new_output("display_data", data=data)


@pytest.fixture
def drawn(monkeypatch):
    """Pictures that no browser draws: SVG of as many bytes as the figure's height says."""
    from contextlib import contextmanager

    @contextmanager
    def drawing():
        yield lambda figure, kind: b"<svg/>" if kind == "png" else b"x" * figure["layout"].get("height", 9)

    monkeypatch.setattr(docs, "_drawing", drawing)


def test_a_light_page_has_text_tables_and_pictures_with_alt_text_and_no_code(tmp_path, drawn):
    table = {"text/html": "<table><tr><td>cell</td></tr></table>", "text/plain": "a table"}
    keep_notebook(tmp_path / "runs", "tiny/00_a", [cell_of(shown({FIGURE: FIGURE_OF_TWO}), shown(table))])
    index, page = write_docs(tmp_path / "runs", tmp_path / "docs")
    assert page == tmp_path / "docs" / "tiny" / "00_a" / "index.html"
    found = Elements(page.read_text()).found
    [picture] = [about for tag, about in found if tag == "img"]
    assert picture["src"].startswith("data:image/svg+xml;base64,")
    assert picture["alt"].startswith("a < b.")
    assert "<td>cell</td>" in page.read_text()
    assert "secret_code" not in page.read_text()
    assert "script" not in {tag for tag, _ in found}
    assert 'href="tiny/00_a/index.html"' in index.read_text()


def test_nothing_of_a_machine_and_no_date_is_in_a_light_page(tmp_path, drawn):
    said = f"recording into {tmp_path}/runs/gsm8k\nQuestions: tiny.\n<Run {tmp_path}/runs/gsm8k>"
    outputs = [nbformat.v4.new_output("stream", text=said)]
    outputs.append(nbformat.v4.new_output("stream", name="stderr", text="/usr/lib/x.py: UserWarning"))
    keep_notebook(tmp_path / "runs", "models--small/00_a", [cell_of(*outputs)], model="/models/small")
    pages = write_docs(tmp_path / "runs", tmp_path / "docs")
    assert pages[1] == tmp_path / "docs" / "small" / "00_a" / "index.html"
    for page in (page.read_text() for page in pages):
        assert not [text for text in (str(tmp_path), "/home", "/usr", "2026") if text in page]
    assert "Questions: tiny.\n&lt;Run runs/gsm8k&gt;" in pages[1].read_text()


def test_a_scrubber_becomes_its_coloured_text(tmp_path, drawn):
    scrubber = ae.Scrubber({"one": made_up_trace(["Hello", " <b>"])})
    data, _ = scrubber._repr_mimebundle_()
    node = keep_notebook(tmp_path / "runs", "tiny/00_a", [cell_of(shown(data))])
    states = {"state": {data[WIDGET]["model_id"]: scrubber.get_manager_state()["state"][scrubber.model_id]}}
    node.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": states}
    nbformat.write(node, tmp_path / "runs" / "study" / "tiny/00_a" / "notebook.ipynb")
    [_, page] = write_docs(tmp_path / "runs", tmp_path / "docs")
    spans = [about for tag, about in Elements(page.read_text()).found if tag == "span"]
    assert len(spans) == 2
    assert all("background-color: #" in about["style"] for about in spans)
    assert "&lt;b&gt;" in page.read_text()


def test_hostile_notebooks_stay_text_in_light_pages(tmp_path, drawn):
    keep_notebook(tmp_path / "runs", "tiny/00_a")
    hostile_notebook(tmp_path / "runs" / "study" / "tiny/00_a" / "notebook.ipynb")
    [_, page] = write_docs(tmp_path / "runs", tmp_path / "docs")
    found = Elements(page.read_text()).found
    assert not {tag for tag, _ in found} & {"script", "iframe", "form", "input", "base", "link", "svg", "math"}
    assert not [about for _, about in found if any(name.startswith("on") for name in about)]


def test_light_pages_lead_to_each_other_and_to_the_row_in_their_index(tmp_path, drawn):
    for folder in ("tiny/00_a", "tiny/01_b", "other/00_a"):
        keep_notebook(tmp_path / "runs", folder, model=folder.split("/")[0])
    index, *pages = write_docs(tmp_path / "runs", tmp_path / "docs")
    text = pages[1].read_text()
    assert 'href="../01_b/index.html"' in text
    assert 'href="../../other/00_a/index.html"' in text
    assert 'href="../../index.html#tiny-00_a"' in text
    assert 'id="tiny-00_a"' in index.read_text()


def test_a_drawing_that_is_large_gives_way_to_smaller_dots(tmp_path, drawn):
    figure = {"data": [], "layout": {"height": 70_000}}
    keep_notebook(tmp_path / "runs", "tiny/00_a", [cell_of(shown({FIGURE: figure}))])
    assert "data:image/png;base64," in write_docs(tmp_path / "runs", tmp_path / "docs")[1].read_text()


def test_a_page_above_the_limit_is_refused(tmp_path, drawn):
    keep_notebook(tmp_path / "runs", "tiny/00_a", [cell_of(nbformat.v4.new_output("stream", text="x" * 1_000_000))])
    with pytest.raises(StudyError, match=r"would have 1\.0 MB, above 1 MB"):
        write_docs(tmp_path / "runs", tmp_path / "docs")


def test_no_results_and_an_index_of_somebody_else_are_refused(tmp_path, capsys):
    keep_notebook(tmp_path / "runs", "tiny/00_a", status="failed", error="E")
    assert main(["docs", str(tmp_path / "docs"), "--out-dir", str(tmp_path / "runs")]) == 2
    assert "there are no complete results" in capsys.readouterr().err
    keep_notebook(tmp_path / "runs", "tiny/01_b")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text("mine")
    assert main(["docs", str(tmp_path / "docs"), "--out-dir", str(tmp_path / "runs")]) == 2
    assert "is not a page of attnent's" in capsys.readouterr().err
    assert (tmp_path / "docs" / "index.html").read_text() == "mine"


def test_without_kaleido_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    keep_notebook(tmp_path / "runs", "tiny/00_a", [cell_of(shown({FIGURE: FIGURE_OF_TWO}))])
    assert main(["docs", str(tmp_path / "docs"), "--out-dir", str(tmp_path / "runs")]) == 2
    assert capsys.readouterr().err == "attnent: pictures need kaleido: pip install 'attnent[docs]'\n"


def test_without_a_browser_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    keep_notebook(tmp_path / "runs", "tiny/00_a", [cell_of(shown({FIGURE: FIGURE_OF_TWO}))])
    assert main(["docs", str(tmp_path / "docs"), "--out-dir", str(tmp_path / "runs")]) == 2
    assert capsys.readouterr().err.startswith("attnent: pictures need Chromium or Chrome;")


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # pipes of the browser that kaleido starts
def test_the_same_results_give_the_same_pages_and_their_pictures_are_seen(tmp_path):
    keep_notebook(tmp_path / "runs", "tiny/00_a", [cell_of(shown({FIGURE: FIGURE_OF_TWO}))])
    first, second = (write_docs(tmp_path / "runs", tmp_path / name)[1] for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    with chromium() as browser, watched(browser) as seen:
        seen.page.goto(first.as_uri())
        assert seen.page.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 1000
        seen.check()
