"""The numbered notebooks keep their form, and run headless on small parameters."""

import itertools
import json
from pathlib import Path

import nbformat
import pytest
import torch
from fake_openai import KEY, completion

import attnent as ae
from attnent.study.notebook import run_notebook
from attnent.study.parameters import parameters_of
from attnent.study.report import question_of, title_of
from attnent.tasks import factual_creative, gsm8k

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9][0-9]_*.ipynb"))
by_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_numbered_notebooks():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02d}" for number in range(len(NOTEBOOKS))]
    assert len(NOTEBOOKS) >= 4


@by_notebook
def test_a_notebook_opens_with_its_title_and_its_question(path):
    node = nbformat.read(path, as_version=4)
    assert title_of(node).startswith(path.name[:2])
    assert question_of(node).endswith("?")


@by_notebook
def test_a_notebook_is_committed_without_outputs(path):
    assert all(not cell.outputs and cell.execution_count is None for cell in code_cells(path))


@by_notebook
def test_results_go_where_the_out_folder_says_from_wherever_the_notebook_is_run(path):
    takes = parameters_of(path)
    if "out_dir" in takes:
        assert takes["out_dir"].default == "runs"
        assert sum(cell.source.count("ae.out_folder(out_dir)") for cell in code_cells(path)) == 1


@by_notebook
def test_the_answer_and_the_main_figure_stand_within_five_cells(path):
    node = nbformat.read(path, as_version=4)
    assert any("answer" in cell.metadata.get("tags", []) for cell in node.cells[:5])


@by_notebook
def test_no_cell_but_the_parameters_is_longer_than_fifteen_lines(path):
    for cell in (cell for cell in code_cells(path) if "parameters" not in cell.metadata.get("tags", [])):
        assert len([line for line in cell.source.splitlines() if line.strip()]) <= 15, cell.source


@by_notebook
def test_every_parameter_is_a_typed_literal_with_a_comment(path):
    [cell] = [cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]
    for line in cell.source.splitlines():
        name, _, rest = line.partition(": ")
        assert name.isidentifier(), line
        assert " = " in rest, line
        assert "  # " in rest, line
    takes = set(parameters_of(path))
    assert {"model", "seed"} <= takes or {"models", "seeds"} <= takes, "what it records, or reads of many"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the Jupyter kernel's client
@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if "model" in parameters_of(path)], ids=lambda p: p.stem)
def test_a_notebook_runs_headless_on_small_parameters(path, tmp_path):
    small = {"n": 12, "max_new_tokens": 24, "out_dir": str(tmp_path / "runs")}
    parameters = {name: value for name, value in small.items() if name in parameters_of(path)}
    outcome = run_notebook(path, parameters, tmp_path / "out")
    assert outcome.status == "complete", outcome.error
    assert outcome.answer


@pytest.fixture
def recorded(tmp_path):
    """A few responses of the bundled model, and of one that is like it with noise in its weights."""
    model, tokenizer = ae.load_model("tiny")
    other = ae.load_model("tiny")[0]
    other.name_or_path = "noisy"
    with torch.no_grad():
        torch.manual_seed(0)
        for weight in other.parameters():
            weight += 0.3 * weight.std() * torch.randn_like(weight)
    settings = {"out_dir": tmp_path / "runs", "batch_size": 50, "progress": False}
    kinds = factual_creative.load("tiny", n=12), {"task": "factual_creative", "max_new_tokens": 24}
    problems = gsm8k.load("tiny", n=20), {"task": "gsm8k", "max_new_tokens": 80}
    for one, (examples, told) in itertools.product((model, other), (kinds, problems)):
        run = ae.record(one, tokenizer, examples, **told, **settings)
        if told["task"] == "gsm8k":
            gsm8k.grade_run(run)
    return tmp_path / "runs"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the Jupyter kernel's client
def test_the_notebook_over_models_reads_what_is_recorded_of_two_and_changes_none_of_it(recorded, tmp_path):
    [path] = [path for path in NOTEBOOKS if path.stem == "06_across_models"]
    kept = [file for file in recorded.rglob("*") if file.suffix in (".json", ".jsonl", ".safetensors")]
    before = {file: file.read_bytes() for file in kept if file.name != "tables.json"}
    outcome = run_notebook(path, {"out_dir": str(recorded), "sets": 2}, tmp_path / "out")
    assert outcome.status == "complete", outcome.error
    assert outcome.answer.startswith("Pooled over 2 models, with all controls, of 4 effects none present")
    assert outcome.n == 2 * (24 + 20)
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the Jupyter kernel's client
def test_the_notebook_about_images_says_of_a_text_model_what_it_needs(tmp_path):
    [path] = [path for path in NOTEBOOKS if path.stem == "07_vision"]
    outcome = run_notebook(path, {"model": "tiny", "out_dir": str(tmp_path / "runs")}, tmp_path / "out")
    assert outcome.status == "failed"
    assert outcome.error.startswith("PromptError: prompt 0 has an image, but tiny is a text model; load one that")
    assert "\n" not in outcome.error


def grade_or_mark(body: dict) -> dict:
    """A judge that finds every answer right or wrong by its length, and a critic that marks the second line."""
    asked = body["messages"][-1]["content"]
    if "[0]" not in asked:
        return completion(json.dumps({"grade": ("CORRECT", "INCORRECT")[len(asked) % 2]}))
    line = next(text for text in asked.splitlines() if text.startswith("[1]")).removeprefix("[1] ")
    return completion(json.dumps({"step": 1, "quote": line, "kind": "arithmetic", "explanation": "it is false"}))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the Jupyter kernel's client
@pytest.mark.parametrize(("number", "of_llm"), [("02", {"judge": "llm-1"}), ("04", {"critic": "llm-1", "repeats": 2})])
def test_a_notebook_runs_with_a_language_model_as_judge(number, of_llm, server, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.answer = grade_or_mark
    [path] = [path for path in NOTEBOOKS if path.name.startswith(number)]
    small = {"n": 40, "max_new_tokens": 64, "out_dir": str(tmp_path / "runs"), "base_url": server.base_url}
    outcome = run_notebook(path, small | of_llm, tmp_path / "out")
    assert outcome.status == "complete", outcome.error
    assert server.asked
    for file in (file for file in tmp_path.rglob("*") if file.is_file()):
        assert KEY.encode() not in file.read_bytes(), file


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the Jupyter kernel's client
@pytest.mark.parametrize(("number", "of_llm"), [("02", {"judge": "gpt-4o"}), ("04", {"critic": "gpt-4o"})])
def test_a_language_model_without_a_key_is_refused_before_anything_is_recorded(number, of_llm, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    [path] = [path for path in NOTEBOOKS if path.name.startswith(number)]
    outcome = run_notebook(path, {"out_dir": str(tmp_path / "runs")} | of_llm, tmp_path / "out")
    assert outcome.status == "failed"
    assert outcome.error.startswith("LLMError: there is no key for https://api.openai.com/v1; set OPENAI_API_KEY")
    assert "\n" not in outcome.error
    assert not (tmp_path / "runs").exists()
