"""Notebooks run headless: failures, folders, reports that ask the network for nothing, the command."""

import base64
import json
import re
import threading
import time
import zlib
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock
from nbformat.sign import NotebookNotary
from test_runs import EXAMPLES, IDENTITY, trace_of

from attnent.runs import Run
from attnent.show.words import ANSWER
from attnent.store.folders import out_folder
from attnent.study import StudyError
from attnent.study.command import default_folder, find_notebooks, main, shipped_folder
from attnent.study.index import Outcome
from attnent.study.notebook import run_notebook, study_folder

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
CELLS = [
    ("markdown", "# 07 A test\n\n**Question.** Is two `x` < more than one?", []),
    ("code", "x: int = 1  # a number\nmodel: str = 'none'\nsets: int = 1", ["parameters"]),
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
    assert outcome.status == "complete"
    assert outcome.answer == "Two x is <42>."
    assert (outcome.n, outcome.accuracy, outcome.effect) == (21, 0.25, (0.6, 0.4, 0.8))
    assert outcome.changed == {"x": 21}
    assert outcome.question.startswith("Is two")
    assert Outcome.model_validate_json((tmp_path / "out" / "outcome.json").read_bytes()) == outcome
    assert NotebookNotary().check_signature(nbformat.read(tmp_path / "out" / "notebook.ipynb", as_version=4))


def test_a_report_holds_the_figure_once_with_plotly_and_asks_the_network_for_nothing(notebook, tmp_path):
    run_notebook(notebook, {"x": 3}, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert '<p class="about">x = 3, 20' in page
    assert page.count('<div class="figure">') == 1
    [packed] = re.findall(r'<script type="application/zlib">(.*?)</script>', page)
    assert zlib.decompress(base64.b64decode(packed)).count(b"plotly.js v") == 1
    without_scripts = re.sub(r"<script\b.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", without_scripts)
    assert not re.search(r"<script[^>]+src=", page)


def test_an_unknown_parameter_is_an_error_that_names_those_there_are(notebook, tmp_path):
    with pytest.raises(StudyError, match=r"07_test.ipynb has no parameter y; there are model, sets, x"):
        run_notebook(notebook, {"y": 1}, tmp_path / "out")


@pytest.mark.parametrize("given", [{"x": "three"}, {"x": None}, {"model": "http://user:secret@localhost"}])
def test_a_value_that_does_not_fit_is_refused_before_anything_is_written(notebook, tmp_path, given):
    with pytest.raises(StudyError):
        run_notebook(notebook, given, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_notebook_that_fails_is_kept_and_said_to_have_failed(notebook, tmp_path):
    outcome = run_notebook(notebook, {"x": 100}, tmp_path / "out")
    assert outcome.status == "failed"
    assert "x is too large" in outcome.error
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
    for link in re.findall(r'href="([^"#]+)"', index):
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


def test_a_notebook_that_takes_no_model_has_one_folder_whatever_model_the_study_is_of(notebook, tmp_path):
    node = nbformat.read(notebook, as_version=4)
    for cell in node.cells:
        cell.source = cell.source.replace("model: str = 'none'\n", "")
    nbformat.write(node, notebook)
    folders = {study_folder(tmp_path, model, notebook, {}) for model in ("tiny", "org/m")}
    assert folders == {tmp_path / "study" / "all models" / notebook.stem}


def test_the_study_command_ends_with_an_error_where_a_notebook_failed_and_lists_it(notebook, tmp_path):
    arguments = ["study", "--notebooks-dir", str(notebook.parent), "--out-dir", str(tmp_path / "runs"), "-p", "x=100"]
    assert main(arguments) == 1
    assert "failed: AssertionError: x is too large" in (tmp_path / "runs" / "index.html").read_text()


def test_a_kernel_that_dies_is_a_failure_and_not_the_result_of_before(notebook, tmp_path):
    run_notebook(notebook, {"x": 3}, tmp_path / "out")
    node = nbformat.read(notebook, as_version=4)
    node.cells[-1].source = "import os; os._exit(3)"
    nbformat.write(node, notebook)
    outcome = run_notebook(notebook, {"x": 3}, tmp_path / "out")
    assert outcome.status == "failed"
    assert json.loads((tmp_path / "out" / "outcome.json").read_text())["status"] == "failed"


def test_an_unwritable_folder_is_refused_with_advice(notebook, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StudyError, match="choose another --out-dir"):
        run_notebook(notebook, {}, tmp_path / "file" / "out")


@pytest.mark.parametrize("model", ["..", "../../up", "/", "/models/llama", "a/../../b", ".", "", "\\..\\c"])
def test_no_model_name_leads_out_of_the_folder_of_studies(notebook, tmp_path, model):
    folder = study_folder(tmp_path, model, notebook, {})
    assert folder.resolve().parent.parent == tmp_path / "study"


def edit(notebook, place, source):
    node = nbformat.read(notebook, as_version=4)
    node.cells[place].source = source
    nbformat.write(node, notebook)


def test_an_answer_that_cannot_be_listed_is_a_failure(notebook, tmp_path):
    edit(notebook, 2, f"display({{{ANSWER!r}: {{'answer': 'a', 'n': -1}}, 'text/plain': 'a'}}, raw=True)")
    outcome = run_notebook(notebook, {}, tmp_path / "out")
    assert outcome.status == "failed"
    assert outcome.error == "its answer cannot be listed (n: Input should be greater than or equal to 0)"


def test_a_study_waits_for_another_one_that_writes_the_same_folder(notebook, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    holds = threading.Event()

    def another_study():
        with FileLock(tmp_path / "out" / ".lock"):
            holds.set()
            time.sleep(0.5)

    threading.Thread(target=another_study).start()
    holds.wait()
    assert run_notebook(notebook, {}, tmp_path / "out").status == "complete"
    assert capsys.readouterr().out.count("another study is writing") == 1


# ---- the command


def study(notebook, tmp_path, *extra):
    return main(["study", "--notebooks-dir", str(notebook.parent), "--out-dir", str(tmp_path / "runs"), *extra])


def test_a_notebook_is_chosen_by_its_number_with_or_without_the_zero(notebook):
    assert find_notebooks(notebook.parent, ["7"]) == find_notebooks(notebook.parent, ["07"]) == [notebook]


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        (["-p", "z=1"], "these notebooks have no parameter z; there are model, sets, x"),
        (["-p", "mode=1"], "did you mean model?"),
        (["-p", "x"], "NAME=VALUE"),
        (["-p", "=1"], "NAME=VALUE"),
        (["-p", "x=1", "-p", "x=1"], "x is given twice; give it once"),
        (["-p", "x=1", "-p", "x", "2"], "x is given twice; give it once"),
        (["-p", "x=abc"], 'x must be a whole number, not "abc"'),
        (["-p", "x=1.5"], "x must be a whole number, not 1.5"),
        (["-p", "x", "null"], "x must be a whole number, not null"),
        (["--model", "a", "-p", "model=b"], "--model and -p model differ; give one of them"),
        (["-p", "out_dir=elsewhere"], "--out-dir and -p out_dir differ; give one of them"),
        (["--sets", "3", "-p", "sets=4"], "--sets and -p sets differ; give one of them"),
        (["--sets", "0"], "sets is 0; give 1 or more"),
        (["-p", "sets=-2"], "sets is -2; give 1 or more"),
        (["--sets", "four"], 'sets must be a whole number, not "four"'),
        (["--sets", ""], 'sets must be a whole number, not ""'),
        (["--model", ""], "model is empty"),
        (["-p", "model=http://user:password@host"], "files would keep"),
        (["-p", "model=\udcff"], "give text in UTF-8"),
        (["09"], "there is no notebook 09; there are 07"),
        (["7.5"], "there is no notebook 7.5; there are 07"),
        (["0"], "'0' names no notebook; write 00"),
        ([""], "'' names no notebook; write 00"),
    ],
)
def test_a_wrong_argument_is_one_sentence_on_standard_error_and_runs_nothing(
    notebook, tmp_path, capsys, extra, complaint
):
    assert study(notebook, tmp_path, *extra) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.startswith("attnent: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_notebook_that_is_none_is_one_sentence_on_standard_error_and_runs_nothing(notebook, tmp_path, capsys):
    notebook.with_name("08_broken.ipynb").write_text("{")
    assert study(notebook, tmp_path) == 2
    assert "08_broken.ipynb is not a notebook" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_file_in_place_of_the_folder_of_results_is_one_sentence(notebook, tmp_path, capsys):
    (tmp_path / "runs").write_text("in the way")
    assert study(notebook, tmp_path) == 2
    assert f"cannot use {tmp_path / 'runs'} (" in capsys.readouterr().err


def test_name_and_value_of_a_parameter_may_be_two_words_and_options_may_say_the_same_twice(notebook, tmp_path):
    extra = ["7", "-p", "x", "4", "--model", "m", "-p", "model=m", "--sets", "3"]
    assert study(notebook, tmp_path, *extra) == 0
    [path] = (tmp_path / "runs").glob("study/m/07_test/*/outcome.json")
    assert json.loads(path.read_bytes())["parameters"] == {"x": 4, "model": "m", "sets": 3}


def test_sets_are_refused_where_no_notebook_has_them(notebook, tmp_path, capsys):
    edit(notebook, 1, "x: int = 1\nmodel: str = 'none'")
    assert study(notebook, tmp_path, "--sets", "3") == 2
    assert "these notebooks have no parameter sets; there are model, x" in capsys.readouterr().err


def test_what_stands_in_the_way_of_one_notebook_does_not_keep_the_others_from_running(notebook, tmp_path, capsys):
    notebook.with_name("08_test.ipynb").write_bytes(notebook.read_bytes())
    (tmp_path / "runs" / "study" / "tiny" / "07_test" / "outcome.json").mkdir(parents=True)
    assert study(notebook, tmp_path) == 1
    assert "  failed: cannot write to" in capsys.readouterr().out
    assert "Two x is &lt;2&gt;." in (tmp_path / "runs" / "index.html").read_text()


def test_a_notebook_about_images_is_left_out_of_the_study_of_a_text_model_and_of_no_other(notebook, tmp_path, capsys):
    images = notebook.with_name("08_images.ipynb")
    images.write_bytes(notebook.read_bytes())
    edit(images, 1, "x: int = 1\nmodel: str = 'tiny-vision'\nimages: list[str] = []")
    assert study(notebook, tmp_path, "--model", "tiny") == 0
    assert "Left out is 08_images: tiny is a text model\n" in capsys.readouterr().out
    assert study(notebook, tmp_path) == 0
    kept = {path.parent.relative_to(tmp_path / "runs" / "study") for path in tmp_path.rglob("outcome.json")}
    assert kept == {Path("tiny/07_test"), Path("tiny-vision/08_images")}
    notebook.unlink()
    assert study(notebook, tmp_path, "--model", "tiny") == 2
    assert "tiny is a text model, and 08_images needs one that reads images" in capsys.readouterr().err


def test_a_relative_out_dir_is_taken_from_the_folder_above_the_notebooks(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    assert out_folder("runs") == tmp_path / "runs"
    monkeypatch.chdir(tmp_path / "notebooks")
    assert out_folder("runs") == tmp_path / "notebooks" / "runs"
    Path("00_quickstart.ipynb").touch()
    assert out_folder("runs") == tmp_path / "runs"
    assert out_folder("/elsewhere") == Path("/elsewhere")


# ---- where the notebooks are


def test_a_folder_without_notebooks_is_refused(tmp_path):
    with pytest.raises(StudyError, match="no numbered notebooks"):
        find_notebooks(tmp_path)


def test_the_notebooks_that_ship_are_run_where_the_working_folder_has_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_folder() == shipped_folder()
    assert len(find_notebooks(shipped_folder())) >= 5
    Path("notebooks").mkdir()
    Path("notebooks/01_mine.ipynb").touch()
    assert default_folder() == Path("notebooks")


def test_the_notebooks_of_the_working_folder_are_run_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("00_quickstart.ipynb").touch()
    assert default_folder() == Path()


def test_the_notebooks_are_written_to_a_folder_and_none_that_was_changed_is_lost(tmp_path, capsys):
    folder = tmp_path / "a" / "mine"
    assert main(["notebooks", str(folder)]) == 0
    assert f"open them with: jupyter lab {folder}" in capsys.readouterr().out
    assert [path.read_bytes() for path in find_notebooks(folder)] == [
        path.read_bytes() for path in find_notebooks(shipped_folder())
    ]
    assert main(["notebooks", str(folder)]) == 0
    (folder / "00_quickstart.ipynb").unlink()
    changed = folder / "01_factual_vs_creative.ipynb"
    changed.write_text("mine")
    assert main(["notebooks", str(folder)]) == 2
    assert f"{changed} exists and differs" in capsys.readouterr().err
    assert changed.read_text() == "mine"
    assert not (folder / "00_quickstart.ipynb").exists()


def test_the_command_verifies_a_recording(tmp_path, capsys):
    run = Run.start(tmp_path / "run", identity=IDENTITY, examples=EXAMPLES)
    for name in EXAMPLES["id"]:
        run.save(name, trace_of(f"text {name}", 5))
    assert main(["verify", str(run.folder)]) == 0
    assert capsys.readouterr().out == "3 of 3 responses are whole: complete\n"
    path = run.folder / "traces" / "b.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    (run.folder / "traces" / "c.safetensors").unlink()
    assert main(["verify", str(run.folder)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("damaged: b: the trace file")
    assert said.endswith("1 of 3 responses are whole: 1 damaged, 1 missing\n")
    assert main(["verify", str(tmp_path)]) == 1, "the only Run below"
    (tmp_path / "empty").mkdir()
    assert main(["verify", str(tmp_path / "empty")]) == 2
    assert "is not a Run folder" in capsys.readouterr().err
