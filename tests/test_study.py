"""Notebooks run headless: parameters, failures, reports that ask the network for nothing, the index."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary

from attnent.study.command import find_notebooks, main
from attnent.study.report import ANSWER, write_index
from attnent.study.notebook import SweepError, parameters_of, run_notebook, study_folder

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
CELLS = [
    ("markdown", "# 07 A test\n\n**Question.** Is two `x` < more than one?", []),
    ("code", "x: int = 1  # a number\nmodel: str = 'none'", ["parameters"]),
    (
        "code",
        "from IPython.display import display\n"
        "import plotly.graph_objects as go\n"
        "facts = {'n': x, 'accuracy': 0.25, 'effect': [0.6, 0.4, 0.8], 'effect_name': 'e & f'}\n"
        f"display({{{ANSWER!r}: {{'answer': f'Two x is <{{2 * x}}>.'}} | facts, 'text/plain': 'a'}}, raw=True)\n"
        "go.Figure(go.Scatter(y=[x, 2 * x]))",
        ["answer"],
    ),
    ("code", "assert x < 100, 'x is too large'", []),
]


@pytest.fixture
def notebook(tmp_path):
    node = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
    for place, (kind, source, tags) in enumerate(CELLS):
        new = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        node.cells.append(new(source, metadata={"tags": tags}, id=f"cell-{place}"))
    path = tmp_path / "notebooks" / "07_test.ipynb"
    path.parent.mkdir()
    nbformat.write(node, path)
    return path


pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets of the Jupyter kernel's client
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # within papermill and its kernel client
]


def test_an_executed_notebook_gives_its_answer_a_signed_copy_and_a_report(notebook, tmp_path):
    outcome = run_notebook(notebook, {"x": 21}, tmp_path / "out")
    assert outcome["status"] == "complete"
    assert outcome["answer"] == "Two x is <42>."
    assert (outcome["n"], outcome["accuracy"], outcome["effect"]) == (21, 0.25, [0.6, 0.4, 0.8])
    assert outcome["changed"] == {"x": 21}
    assert outcome["question"].startswith("Is two")
    assert json.loads((tmp_path / "out" / "outcome.json").read_text()) == outcome
    assert NotebookNotary().check_signature(nbformat.read(tmp_path / "out" / "notebook.ipynb", as_version=4))


def test_a_report_holds_the_figure_once_with_plotly_and_asks_the_network_for_nothing(notebook, tmp_path):
    run_notebook(notebook, {"x": 3}, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert '<p class="about">x = 3, 20' in page
    assert page.count('<div class="figure">') == 1
    assert page.count("plotly.js v") == 1
    without_scripts = re.sub(r"<script\b.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", without_scripts)
    assert not re.search(r"<script[^>]+src=", page)


def test_an_unknown_parameter_is_an_error_that_names_those_there_are(notebook, tmp_path):
    with pytest.raises(SweepError, match=r"no parameter y; it has model, x"):
        run_notebook(notebook, {"y": 1}, tmp_path / "out")


def test_a_parameter_whose_type_is_a_union_is_a_parameter_too(notebook, tmp_path):
    node = nbformat.read(notebook, as_version=4)
    node.cells[1].source += "\nrevision: str | None = None  # a commit"
    nbformat.write(node, notebook)
    assert parameters_of(notebook) == {"x": 1, "model": "none", "revision": None}


def test_a_notebook_that_fails_is_kept_and_said_to_have_failed(notebook, tmp_path):
    outcome = run_notebook(notebook, {"x": 100}, tmp_path / "out")
    assert outcome["status"] == "failed"
    assert "x is too large" in outcome["error"]
    assert (tmp_path / "out" / "notebook.ipynb").is_file()


def test_the_study_command_writes_an_index_with_question_answer_and_links(notebook, tmp_path, capsys):
    out_dir = tmp_path / "runs"
    arguments = ["study", "--notebooks-dir", str(notebook.parent), "--out-dir", str(out_dir), "-p", "x=4"]
    assert main(arguments) == 0
    assert "Two x is <8>." in capsys.readouterr().out
    index = (out_dir / "index.html").read_text()
    for shown in ("Two x is &lt;8&gt;.", "25%", "0.60 [0.40, 0.80]", "e &amp; f", "x = 4"):
        assert shown in index
    assert "&lt; more than one?" in index
    for link in re.findall(r'href="([^"]+)"', index):
        assert (out_dir / link).is_file(), link


def test_a_study_with_other_parameters_stands_beside_the_first_and_both_are_listed(notebook, tmp_path):
    out_dir = tmp_path / "runs"
    for given in ([], ["-p", "x=4"]):
        assert main(["study", "--notebooks-dir", str(notebook.parent), "--out-dir", str(out_dir), *given]) == 0
    answers = {json.loads(path.read_text())["answer"] for path in out_dir.glob("study/tiny/07_test/**/outcome.json")}
    assert answers == {"Two x is <2>.", "Two x is <8>."}
    assert (out_dir / "index.html").read_text().count("report.html") == 2


def test_parameters_that_are_the_defaults_have_the_plain_folder(notebook, tmp_path):
    plain = tmp_path / "study" / "org--m" / "07_test"
    assert study_folder(tmp_path, "org/m", notebook, {"model": "org/m", "x": 1}) == plain
    others = {study_folder(tmp_path, "org/m", notebook, {"x": x}) for x in (2, 3)}
    assert len(others) == 2
    assert {folder.parent for folder in others} == {plain}


def test_parameters_that_are_not_literals_are_refused(notebook, tmp_path):
    node = nbformat.read(notebook, as_version=4)
    node.cells[1].source = "x: int = 1 + len('a')  # a number"
    nbformat.write(node, notebook)
    with pytest.raises(SweepError, match="must be literals"):
        study_folder(tmp_path, "m", notebook, {"x": 2})


def test_an_outcome_of_before_does_not_keep_the_index_from_being_written(tmp_path):
    old = {"title": "t", "question": "q", "answer": "a", "parameters": {}, "status": "complete", "error": ""}
    (tmp_path / "study" / "a model #1").mkdir(parents=True)
    (tmp_path / "study" / "a model #1" / "outcome.json").write_text(json.dumps(old | {"seconds": 1.0}))
    index = write_index(tmp_path).read_text()
    assert "<p>a</p>" in index
    assert 'href="study/a%20model%20%231/report.html"' in index


def test_the_study_command_ends_with_an_error_where_a_notebook_failed_and_lists_it(notebook, tmp_path):
    arguments = ["study", "--notebooks-dir", str(notebook.parent), "--out-dir", str(tmp_path / "runs"), "-p", "x=100"]
    assert main(arguments) == 1
    assert "failed: AssertionError: x is too large" in (tmp_path / "runs" / "index.html").read_text()


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        (["-p", "z=1"], "none of the notebooks has a parameter z"),
        (["-p", "x"], "NAME=VALUE"),
        (["09"], "there is no notebook 09; there are 07"),
    ],
)
def test_a_wrong_argument_is_one_sentence_on_standard_error(notebook, tmp_path, capsys, extra, complaint):
    arguments = ["study", *extra, "--notebooks-dir", str(notebook.parent), "--out-dir", str(tmp_path / "runs")]
    assert main(arguments) == 2
    assert complaint in capsys.readouterr().err


def test_a_kernel_that_dies_is_a_failure_and_not_the_result_of_before(notebook, tmp_path):
    run_notebook(notebook, {"x": 3}, tmp_path / "out")
    node = nbformat.read(notebook, as_version=4)
    node.cells[-1].source = "import os; os._exit(3)"
    nbformat.write(node, notebook)
    outcome = run_notebook(notebook, {"x": 3}, tmp_path / "out")
    assert outcome["status"] == "failed"
    assert json.loads((tmp_path / "out" / "outcome.json").read_text())["status"] == "failed"


def test_an_unwritable_folder_is_refused_with_advice(notebook, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SweepError, match="choose another --out-dir"):
        run_notebook(notebook, {}, tmp_path / "file" / "out")


def test_a_folder_without_notebooks_is_refused(tmp_path):
    with pytest.raises(SweepError, match="no numbered notebooks"):
        find_notebooks(Path(tmp_path), [])
