"""Sweeps: what they run, refusals before anything starts, and every way in which a run can end."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest
from test_study import KERNEL

from attnent.show.words import ANSWER
from attnent.study import StudyError
from attnent.study.command import find_notebooks, main
from attnent.study.sweep import sizes as room
from attnent.study.sweep.grid import Grid, grid_of, jobs_of, read_grid
from attnent.study.sweep.sizes import Size, size_of, table_of
from attnent.tiny import MODEL_DIR

CHECKOUT = Path(__file__).parent.parent
PARAMETERS = "x: int = 0\nmodel: str = 'tiny'\nout_dir: str = 'runs'"
TOLD = f"""\
from IPython.display import display
display({{{ANSWER!r}: {{'answer': f'x is {{x}}.'}}, 'text/plain': ''}}, raw=True)"""
ENDS = """\
import os, pathlib, signal, time
with (pathlib.Path(out_dir) / "ran").open("a") as file:
    file.write(f"{x}\\n")
if x == 1:
    raise ValueError("x is one\\nand that is too much")
if x == 2:
    os.kill(os.getpid(), signal.SIGKILL)
if x == 3:
    time.sleep(600)
if x == 4:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)
if x > 9:
    time.sleep(2)"""
RECORDS = """\
import attnent as ae
from attnent.tasks import facts, simpleqa
llm, tokenizer = ae.load_model(model)
settings = {"max_new_tokens": 12, "batch_size": 1, "seed": x, "temperature": 1.0}
run = ae.record(llm, tokenizer, simpleqa.load("tiny", n=30), task="simpleqa", out_dir=out_dir, **settings)"""


pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the Jupyter kernel's client


def write(path: Path, parameters: str, *cells: str) -> Path:
    node = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
    node.cells = [
        nbformat.v4.new_markdown_cell("# A test\n\n**Question.** What is x?"),
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *(nbformat.v4.new_code_cell(cell, metadata={"tags": ["answer"] * (cell == TOLD)}) for cell in cells),
    ]
    for place, cell in enumerate(node.cells):
        cell.id = f"cell-{place}"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(node, path)
    return path


@pytest.fixture
def notebooks(tmp_path):
    one = write(tmp_path / "notebooks" / "07_ends.ipynb", PARAMETERS, TOLD, ENDS)
    other = write(tmp_path / "notebooks" / "08_other.ipynb", PARAMETERS.replace("x: int", "y: float | None"), "")
    return [one, other]


def words(tmp_path: Path, *extra: str) -> list[str]:
    return ["sweep", "--notebooks-dir", str(tmp_path / "notebooks"), "--out-dir", str(tmp_path / "runs"), *extra]


def told_by(jobs) -> list[tuple]:
    return [(job.notebook.name[:2], job.values["model"], job.changed) for job in jobs]


# ---- what is run


def test_each_value_is_combined_with_those_of_all_other_parameters(notebooks, tmp_path):
    grid = Grid(grid=grid_of(["model=tiny,org/m", "x=0,1"]))
    jobs = jobs_of(grid.combinations(), notebooks[:1], tmp_path)
    assert told_by(jobs) == [
        (*("07", "tiny"), {}),
        (*("07", "tiny"), {"x": 1}),
        (*("07", "org/m"), {}),
        (*("07", "org/m"), {"x": 1}),
    ]


def test_a_parameter_goes_to_the_notebooks_that_have_it_and_nothing_is_run_twice(notebooks, tmp_path):
    jobs = jobs_of(Grid(grid={"x": [1, 2], "y": [0.5, 0.5]}).combinations(), notebooks, tmp_path)
    assert told_by(jobs) == [("07", "tiny", {"x": 1}), ("08", "tiny", {"y": 0.5}), ("07", "tiny", {"x": 2})]


@pytest.mark.usefixtures("notebooks")
def test_what_reads_the_recordings_of_all_models_is_run_only_where_it_is_named(tmp_path, capsys):
    write(tmp_path / "notebooks" / "09_across.ipynb", "x: int = 0", "")
    told = {}
    for numbers in ((), ("07", "09")):
        assert main(words(tmp_path, "--dry-run", *numbers)) == 0
        said = capsys.readouterr().out
        told[numbers] = {name for name in ("07_ends", "08_other", "09_across") if name in said}
    assert told == {(): {"07_ends", "08_other"}, ("07", "09"): {"07_ends", "09_across"}}


@pytest.mark.usefixtures("notebooks")
def test_what_is_about_images_is_run_only_where_it_is_named_and_then_by_a_model_that_reads_them(tmp_path, capsys):
    images = write(tmp_path / "notebooks" / "09_images.ipynb", "model: str = 'tiny-vision'\nimages: list[str] = []", "")
    assert main(words(tmp_path, "--dry-run")) == 0
    assert "09_images" not in capsys.readouterr().out
    assert told_by(jobs_of(Grid().combinations(), [images], tmp_path)) == [("09", "tiny-vision", {})]


def test_a_list_of_runs_is_combined_with_the_grid_and_the_parameters_of_all(notebooks, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text("notebooks: [07]\nparameters: {x: 5}\nruns:\n- model: a\n- {model: b, y: null}\n")
    grid = read_grid(file)
    assert grid.notebooks == [7]
    jobs = jobs_of(grid.combinations(), notebooks, tmp_path)
    assert [job.values["model"] for job in jobs] == ["a", "a", "b", "b"]
    assert [job.values.get("y", ...) for job in jobs] == [..., ..., ..., None]


def test_values_that_hold_commas_are_given_as_a_json_list():
    assert grid_of(["prompt=a,b"]) == {"prompt": ["a", "b"]}
    assert grid_of(['prompt=["a, b", "c"]']) == {"prompt": ["a, b", "c"]}


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        (["-p", "z=1,2"], "these notebooks have no parameter z; there are model, out_dir, x, y"),
        (["-p", "modle=tiny"], "did you mean model?"),
        (["-p", "x=1,one"], 'x must be a whole number, not "one"'),
        (["-p", "x=1", "-p", "x=2"], "x is given twice; give it once, as x=VALUE,VALUE"),
        (["-p", "x"], "NAME=VALUE,VALUE"),
        (["-p", "x=[]"], "x has no values"),
        (["-p", "model=tiny,"], "model is empty"),
        (["-p", "out_dir=a,b"], "give --out-dir"),
        (["09"], "there is no notebook 09; there are 07, 08"),
        (["none.yaml"], "none.yaml cannot be read"),
        (["none.yaml", "07"], "give a file (none.yaml) or numbers of notebooks, not several"),
        (["--jobs", "0"], "--jobs must be 1 or more"),
        (["--timeout", "nan"], "--timeout more than 0 minutes"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(notebooks, tmp_path, capsys, extra, complaint):
    assert main(words(tmp_path, *extra)) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gird: {x: [1]}", "may hold no key gird; did you mean grid?"),
        ("grid: {x: 1}", "grid: Input should be a valid list"),
        ("grid: {x: [1], x: [2]}", "the key x stands there twice"),
        ("[1, 2]", "must hold keys such as notebooks and grid"),
        ("grid: {", "is not YAML"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused_with_the_reason(tmp_path, text, complaint):
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(StudyError) as error:
        read_grid(tmp_path / "sweep.yaml")
    assert complaint in str(error.value)


def test_a_parameter_stands_in_one_place_of_a_file():
    with pytest.raises(StudyError, match="x is given twice"):
        Grid(parameters={"x": 1}, grid={"x": [1, 2]}).combinations()
    with pytest.raises(StudyError, match="x is given twice"):
        Grid(grid={"x": [1]}).crossed({"x": [2]})


@pytest.mark.parametrize("path", sorted((CHECKOUT / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_that_are_there_fit_the_notebooks(path, tmp_path):
    grid = read_grid(path)
    found = find_notebooks(CHECKOUT / "notebooks", [str(number) for number in grid.notebooks])
    assert len(jobs_of(grid.combinations(), found, tmp_path)) >= 20


# ---- what it takes


def test_the_bundled_model_is_as_large_as_its_files():
    size = size_of({"model": "tiny"})
    assert size is not None
    assert size.n_bytes == pytest.approx(2 * (MODEL_DIR / "model.safetensors").stat().st_size, rel=0.02)


def test_a_dry_run_says_what_each_run_takes_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        room, "size_of", lambda given: None if given["model"] == "other" else Size(16, 32, 2_500_000_000)
    )
    monkeypatch.setattr(room, "measured", lambda given, environment: room.Speed(loading=5, tokens_per_second=2))
    path = write(tmp_path / "03_n.ipynb", f"n: int = 4\nmax_new_tokens: int = 50\nbatch_size: int = 2\n{PARAMETERS}")
    jobs = jobs_of(Grid(grid={"model": ["one", "other"]}).combinations(), [path], tmp_path / "runs")
    header, one, other, total, *_ = table_of(jobs).splitlines()
    assert header.split() == ["run", "state", "time", "memory", "disk"]
    assert one.split() == ["1", "03_n", "one", "new", "2", "min", "2.5", "GB", "3.3", "MB"]
    assert other.split() == ["2", "03_n", "other", "new", "unknown", "unknown", "unknown"]
    assert total == "2 of 2 to run: at most 2 min and 3.3 MB of disk; unknown for 1"
    assert not (tmp_path / "runs").exists()


def test_a_run_that_records_fewer_layers_takes_less_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "size_of", lambda given: Size(16, 32, 2_500_000_000))
    monkeypatch.setattr(room, "measured", lambda given, environment: None)
    cell = f"n: int = 4\nmax_new_tokens: int = 50\nbatch_size: int = 2\nlayers: list[int] | None = None\n{PARAMETERS}"
    path = write(tmp_path / "03_n.ipynb", cell)
    _, whole, part, *_ = table_of(
        jobs_of(Grid(grid={"layers": [None, [0, 8, 15, 8]]}).combinations(), [path], tmp_path / "runs")
    ).splitlines()
    assert whole.endswith("3.3 MB")
    assert part.endswith("0.6 MB")


def test_a_model_that_does_not_lie_here_is_of_unknown_size():
    assert size_of({"model": "meta-llama/Llama-3.2-1B-Instruct"}) is None


def keep_outcome(job, **changed) -> None:
    about = {"title": "t", "question": "q", "parameters": job.values, "changed": job.changed, "error": ""}
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / "outcome.json").write_text(json.dumps({**about, "status": "complete", "seconds": 1.0, **changed}))


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "done before"),
        ({"status": "failed", "error": "ValueError: no"}, "failed before"),
        ({"source": "of another time"}, "to run again"),
        ({"changed": {"x": 9}}, "to run again"),
        ({"seconds": -1}, "to run again"),
    ],
)
def test_a_run_is_done_where_its_whole_outcome_is_of_the_same_cells_and_parameters(notebooks, tmp_path, changed, state):
    [job] = jobs_of([{"x": "5"}], notebooks[:1], tmp_path / "runs")
    keep_outcome(job, **changed)
    assert f"07_ends tiny x=5  {state}" in table_of([job])


# ---- running


def executed(tmp_path: Path) -> list[str]:
    return (tmp_path / "runs" / "ran").read_text().split()


@pytest.mark.slow
def test_each_way_to_end_is_told_as_what_it_is_and_what_is_done_or_failed_is_left_alone(notebooks, tmp_path, capsys):
    given = words(tmp_path, "07", "-p", "x=0,1,2,3,4", "--timeout", "0.6")
    assert main(given) == 1
    said = capsys.readouterr().out
    assert "[1/5] 07_ends tiny starts" in said
    assert "): x is 0." in said
    assert "[2/5] 07_ends tiny x=1 failed" in said
    assert "): and that is too much\n" in said
    assert "[3/5] 07_ends tiny x=2 failed" in said
    assert "[4/5] 07_ends tiny x=3 timed out (36 s)" in said
    assert "[5/5] 07_ends tiny x=4 killed" in said
    assert "1 of 5 are done" in said
    assert (tmp_path / "runs" / "index.html").read_text().count("did not come to an end") == 1
    assert executed(tmp_path) == ["0", "1", "2", "3", "4"]

    assert main(words(tmp_path, "07", "-p", "x=0,1,2")) == 1
    said = capsys.readouterr().out
    assert "[1/3] 07_ends tiny done before\n" in said
    assert "x=1 failed before: and that is too much (--retry-failed runs it again)" in said
    assert executed(tmp_path) == ["0", "1", "2", "3", "4"]

    assert main(words(tmp_path, "07", "-p", "x=0,1", "--retry-failed")) == 1
    assert executed(tmp_path)[5:] == ["1"]


@pytest.mark.slow
def test_a_run_whose_outcome_is_damaged_is_run_again(notebooks, tmp_path):
    for _ in range(2):
        assert main(words(tmp_path, "07")) == 0
        [path] = (tmp_path / "runs").glob("study/**/outcome.json")
        json.loads(path.read_text())
        path.write_text(path.read_text()[:40])
    assert executed(tmp_path) == ["0", "0"]


def started(given: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "attnent.study.command", *given]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=CHECKOUT)


def wait_for(happened: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_two_sweeps_on_one_folder_run_each_notebook_once(notebooks, tmp_path):
    sweeps = [started(words(tmp_path, "07", "-p", "x=10,11")) for _ in range(2)]
    said = [sweep.communicate(timeout=300)[0] for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], said
    assert sorted(executed(tmp_path)) == ["10", "11"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_ends_its_children_and_calls_nothing_failed(notebooks, tmp_path, how):
    sweep = started(words(tmp_path, "07", "-p", "x=3,13", "--jobs", "2"))
    wait_for(lambda: (tmp_path / "runs" / "ran").exists())
    family = psutil.Process(sweep.pid).children(recursive=True)
    assert len(family) >= 3  # two runs, and the kernel of at least one
    sweep.send_signal(how)
    said, _ = sweep.communicate(timeout=30)
    assert sweep.returncode == 130
    assert "stopped; the same command goes on where it was" in said
    wait_for(lambda: not any(process.is_running() for process in family), seconds=10)
    assert not [path for path in tmp_path.glob("runs/study/**/outcome.json") if "failed" in path.read_text()]
