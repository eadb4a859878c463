"""Links between reports: right in both directions, for reports made before, and wherever the folder is moved."""

import json
import re
import shutil
from html import unescape
from urllib.parse import unquote

import nbformat
import pytest
from filelock import FileLock
from test_index import OUTCOME, keep
from test_report import HOSTILE, Elements

from attnent.study.index import write_index
from attnent.study.report import write_report

FOLDERS = [
    f"{model}/{notebook}"
    for model in ("org--small #1", "tiny")
    for notebook in ("00_first", "01_second", "01_second/0123456789ab")
]


def keep_report(out_dir, folder, **facts):
    model, notebook = folder.split("/")[:2]
    changed = {"n": 40} if folder.count("/") == 2 else {}
    told = {"title": notebook, "parameters": {"model": model}, "changed": changed}
    keep(out_dir, folder, json.dumps(OUTCOME | told | facts).encode())
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {notebook}")])
    nbformat.write(node, out_dir / "study" / folder / "notebook.ipynb")
    write_report(out_dir / "study" / folder / "notebook.ipynb", out_dir / "study" / folder / "report.html")


@pytest.fixture
def out_dir(tmp_path):
    for folder in FOLDERS:
        keep_report(tmp_path / "runs", folder)
    write_index(tmp_path / "runs")
    return tmp_path / "runs"


def links(page) -> dict[str, str]:
    """What the links between reports say, and the addresses they lead to."""
    [nav] = re.findall(r'<nav class="reports" aria-label="Reports">(.*?)</nav>', page.read_text())
    return {unescape(text): address for address, text in re.findall(r'<a href="([^"]*)">([^<]*)</a>', nav)}


def test_a_report_leads_to_the_index_to_its_neighbours_and_to_other_models(out_dir):
    assert links(out_dir / "study/tiny/01_second/report.html") == {
        "All results": "../../../index.html#study-tiny-01_second",
        "Previous: 00_first": "../00_first/report.html",
        "Next: 01_second (n = 40)": "0123456789ab/report.html",
        "org--small #1, same notebook": "../../org--small%20%231/01_second/report.html",
    }


def test_a_report_leads_to_the_one_of_the_other_model_under_the_same_parameters(out_dir):
    found = links(out_dir / "study/tiny/01_second/0123456789ab/report.html")
    address = found["org--small #1, same notebook"]
    assert address == "../../../org--small%20%231/01_second/0123456789ab/report.html"
    assert "Next" not in " ".join(found)


def test_every_link_leads_to_a_file_and_every_fragment_to_an_element_wherever_the_folder_is_moved(out_dir):
    moved = shutil.move(out_dir, out_dir.parent / "moved to")
    for page in moved.rglob("report.html"):
        for address in links(page).values():
            path, _, fragment = address.partition("#")
            target = page.parent / unquote(path)
            assert target.is_file(), address
            ids = {about.get("id") for _, about in Elements(target.read_text()).found}
            assert not fragment or unquote(fragment) in ids


def test_a_report_made_before_gets_links_and_is_otherwise_as_it_was(out_dir):
    page = out_dir / "study/tiny/00_first/report.html"
    page.write_text("<html><head></head><body><h1>old</h1></body></html>")
    write_index(out_dir)
    assert "Next: 01_second" in links(page)
    without = re.sub(r'<nav class="reports".*?</nav>', "", page.read_text())
    assert without == "<html><head></head><body><h1>old</h1></body></html>"


def test_links_change_with_the_reports_and_pages_that_keep_theirs_are_not_written_again(out_dir):
    pages = {page: page.stat().st_mtime_ns for page in out_dir.rglob("report.html")}
    keep_report(out_dir, "tiny/02_third")
    write_index(out_dir)
    changed = {str(page.relative_to(out_dir)) for page, when in pages.items() if page.stat().st_mtime_ns != when}
    assert changed == {"study/tiny/01_second/0123456789ab/report.html"}


def test_reports_that_failed_are_not_led_to(out_dir):
    keep_report(out_dir, "tiny/02_third", status="failed", error="E: broke")
    write_index(out_dir)
    assert not any("02_third" in page.read_text() for page in out_dir.rglob("01_second/**/report.html"))


def test_a_page_that_another_process_writes_is_left_to_it(out_dir):
    page = out_dir / "study/tiny/00_first/report.html"
    page.write_text("<body>half")
    with FileLock(page.parent / ".lock"):
        write_index(out_dir)
    assert page.read_text() == "<body>half"


def test_titles_are_text_in_links(out_dir):
    keep_report(out_dir, "tiny/02_third", title="\n".join(HOSTILE), changed={"x": HOSTILE[0]})
    write_index(out_dir)
    page = (out_dir / "study/tiny/01_second/0123456789ab/report.html").read_text()
    assert "Next: " in page
    assert {tag for tag, _ in Elements(page.partition("<nav")[2].partition("</nav>")[0]).found} <= {"ul", "li", "a"}
