"""A page shows what a notebook holds, runs nothing of it, and fetches nothing."""

import json
import re
from html.parser import HTMLParser
from urllib.parse import quote

import nbformat
import pytest

from attnent.show.words import Answer
from attnent.study.report import FIGURE, answer_of, write_report

WIDGET = "application/vnd.jupyter.widget-view+json"
HOSTILE = (
    "<script>window.hasRun = 1</script>",
    "<img src=x onerror='window.hasRun = 1'>",
    "<svg onload='window.hasRun = 1'></svg>",
    "<a href='javascript:window.hasRun = 1'>here</a>",
    "<iframe srcdoc='<script>parent.hasRun = 1</script>'></iframe>",
    "</script></style><style>* { display: none }</style>",
    "<div class='figure'><div class='attnent-scrubber'><p class='attnent'>mine</p></div></div>",
    "<form action='https://example.com'><input autofocus onfocus='window.hasRun = 1'></form>",
    "<meta http-equiv='refresh' content='0; url=https://example.com'><base href='https://example.com'>",
    "<math><mtext></mtext><mglyph><style><!--</style><img title='--><img src=x onerror=window.hasRun=1>'>",
)
TABLE = ("<style scoped>th { color: red }</style><table onclick='x()'><tr><td>1 &lt; 2 ", "</td></tr></table>")


def hostile_notebook(path):
    """Every kind of cell and output that can hold text, all of it hostile."""
    new = nbformat.v4
    text = "\n\n".join(HOSTILE)
    figure = {"data": [{"y": [1, 2], "name": text}], "layout": {"title": {"text": text}}}
    mimes = [
        {"text/markdown": text},
        {"text/html": text},
        {"text/html": text.join(TABLE), "text/plain": "a table"},
        {"text/plain": text},
        {"text/latex": text, "text/plain": text},
        {"image/svg+xml": f"<svg>{text}</svg>", "text/plain": text},
        {"application/javascript": "window.hasRun = 1", "text/plain": text},
        {FIGURE: figure},
        Answer(text, n=1, effect_name=text)._repr_mimebundle_(),
    ]
    cell = new.new_code_cell(f"x = 1  # {text}", metadata={"tags": ["answer"]})
    cell.outputs = [new.new_output("display_data", data=data) for data in mimes]
    cell.outputs += [
        new.new_output("stream", text=text),
        new.new_output("error", ename="E", evalue=text, traceback=[text]),
    ]
    cells = [new.new_markdown_cell(f"# Hostile\n\n{text}\n\n| a |\n|---|\n| **b** |"), cell, new.new_raw_cell(text)]
    nbformat.write(new.new_notebook(cells=cells), path)
    return path


class Elements(HTMLParser):
    """The elements of a page, with their attributes and the text of the scripts."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def page(tmp_path):
    write_report(hostile_notebook(tmp_path / "n.ipynb"), tmp_path / "n.html")
    return (tmp_path / "n.html").read_text()


def test_no_script_stands_in_a_page_but_ours(page):
    scripts = [about for tag, about in Elements(page).found if tag == "script"]
    [policy] = re.findall(r"script-src 'nonce-([^']+)'", page)
    data = [about["type"] for about in scripts if "type" in about]
    assert [about for about in scripts if "type" not in about] == [{"nonce": policy}]
    assert data == ["application/json", "application/zlib"]


def test_no_element_of_a_page_can_run_or_fetch(page):
    found = Elements(page).found
    assert not {tag for tag, _ in found} & {"iframe", "object", "embed", "form", "input", "base", "link", "svg", "math"}
    assert not [about for _, about in found if any(name.startswith("on") for name in about)]
    addresses = [about[name] for _, about in found for name in ("src", "href", "srcdoc", "action") if name in about]
    own = {f"#{quote(about['id'])}" for _, about in found if "id" in about}
    assert all(one in own or one.startswith("data:image/svg+xml;base64,") for one in addresses), addresses


def test_nothing_of_a_notebook_is_taken_for_a_figure_or_a_scrubber(page):
    classes = [about.get("class", "") for _, about in Elements(page).found]
    assert classes.count("figure") == 1
    assert not [given for given in classes if "attnent" in given]


def test_hostile_text_is_shown_as_text(page):
    text = "".join(Elements(page).text)
    for told in ("window.hasRun = 1", "onerror", "srcdoc", "http-equiv"):
        assert text.count(told) >= 4


def test_tables_and_markdown_are_not_lost_in_the_cleaning(page):
    tags = [tag for tag, _ in Elements(page).found]
    assert tags.count("table") == 2
    assert {"h1", "th", "td", "strong"} <= set(tags)
    assert "1 &lt; 2" in page


def test_a_page_forbids_all_that_it_does_not_need(page):
    assert "default-src 'none'; script-src 'nonce-" in page
    assert "unsafe-eval" not in page


def test_a_figure_stands_in_a_page_as_it_was(page):
    [source] = re.findall(r'<div class="figure"><script type="application/json">(.*?)</script>', page)
    assert json.loads(source)["data"][0]["y"] == [1, 2]
    assert json.loads(source)["layout"]["title"]["text"] == "\n\n".join(HOSTILE)


@pytest.mark.parametrize("rich", [{"text/html": "<div>rich</div>"}, {WIDGET: {"model_id": "rich"}}])
def test_html_without_a_table_and_unknown_widgets_give_way_to_their_plain_text(tmp_path, rich):
    cell = nbformat.v4.new_code_cell("x")
    cell.outputs = [nbformat.v4.new_output("display_data", data=rich | {"text/plain": "plain"})]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "n.ipynb")
    write_report(tmp_path / "n.ipynb", tmp_path / "n.html")
    page = (tmp_path / "n.html").read_text()
    assert "plain</pre>" in page
    assert "rich" not in page


def test_a_page_without_figures_does_not_carry_plotly(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# t")]), tmp_path / "n.ipynb")
    write_report(tmp_path / "n.ipynb", tmp_path / "n.html")
    assert (tmp_path / "n.html").stat().st_size < 50_000


def test_what_told_how_far_work_had_come_is_not_kept_and_the_rest_of_the_text_is(tmp_path):
    said = "recording t: 5 of 9 responses, 1.0 a second, 20 tokens a second, 00:04 left\n"
    cells = [nbformat.v4.new_code_cell("x"), nbformat.v4.new_code_cell("y")]
    cells[0].outputs = [nbformat.v4.new_output("stream", text=f"{said}Questions: tiny.\n{said}")]
    cells[1].outputs = [nbformat.v4.new_output("stream", text=said)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "n.ipynb")
    write_report(tmp_path / "n.ipynb", tmp_path / "n.html")
    page = (tmp_path / "n.html").read_text()
    assert "<pre>Questions: tiny.\n</pre>" in page
    assert "left" not in page.partition("<main>")[2].partition("</main>")[0]
    assert page.count("output_stream output_stdout") == 1


def test_a_model_folder_is_called_by_its_name(tmp_path):
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# T")])
    node.metadata["papermill"] = {"parameters": {"model": "/models/small", "n": 2, "out_dir": "/kept/runs"}}
    nbformat.write(node, tmp_path / "n.ipynb")
    write_report(tmp_path / "n.ipynb", tmp_path / "n.html")
    page = (tmp_path / "n.html").read_text()
    assert "<title>T, small</title>" in page
    assert "model = small, n = 2" in page
    assert "/home" not in page


def test_a_notebook_that_did_not_come_to_its_answer_has_none():
    cell = nbformat.v4.new_code_cell("x", metadata={"tags": ["answer"]})
    assert answer_of(nbformat.v4.new_notebook(cells=[cell])) == {}
