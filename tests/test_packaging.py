"""The package names what it needs, and installs and runs anywhere."""

import ast
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
NEEDED_UNSEEN = {
    "accelerate",  # transformers, for device_map
    "ipykernel",  # Jupyter, to run a notebook
    "jupyterlab",  # who opens the notebooks
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def named(needs: list[str]) -> set[str]:
    return {normal(re.split(r"[\[<>=!~ ;]", needed)[0]) for needed in needs}


def declared() -> set[str]:
    return named(PROJECT["dependencies"])


def offered() -> set[str]:
    """What an extra brings, other than the tools of developers."""
    extras = PROJECT["optional-dependencies"]
    return set().union(*(named(needs) for extra, needs in extras.items() if extra != "dev"))


def modules_of(source: str) -> set[str]:
    """The third-party modules that a source imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"attnent"}


def imported() -> set[str]:
    """The distributions that hold what the package and the notebooks import."""
    cells = (
        "".join(cell["source"])
        for path in (ROOT / "notebooks").glob("*.ipynb")
        for cell in json.loads(path.read_bytes())["cells"]
        if cell["cell_type"] == "code"
    )
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "attnent").rglob("*.py"))
    modules = set().union(*map(modules_of, [*sources, *cells]))
    held_by = packages_distributions()
    return {normal(held_by[module][0]) for module in modules}


def test_every_module_that_is_imported_is_declared():
    assert imported() - declared() - offered() == set()


def test_everything_that_is_declared_is_needed():
    assert declared() - imported() - NEEDED_UNSEEN == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(build, check=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_a_wheel_holds_what_the_package_reads_and_nothing_that_trains_or_pictures(wheel):
    held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {path for path in (ROOT / "attnent").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    notebooks = {f"attnent/notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert held == {path.relative_to(ROOT).as_posix() for path in package} | notebooks


def environment(folder: Path) -> Path:
    """A fresh environment that sees what is installed here, other than attnent; gives back its Python."""
    venv.create(folder)
    python = folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    Path(own, "those_of_here.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth are not read
    (folder / "share").mkdir(exist_ok=True)
    (folder / "share" / "jupyter").symlink_to(Path(sys.prefix, "share", "jupyter"))  # templates of pages
    return python


def install(python: Path, *what: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", *what], check=True)


@pytest.mark.slow
def test_a_wheel_runs_the_notebooks_it_holds_from_an_empty_folder(wheel, tmp_path):
    python = environment(tmp_path / "environment")
    install(python, str(wheel))
    (tmp_path / "empty").mkdir()
    study = [python.with_name("attnent"), "study", "00", "-p", "max_new_tokens", "8"]
    ran = subprocess.run(study, cwd=tmp_path / "empty", check=True, capture_output=True, text=True)
    assert str(tmp_path / "environment") in ran.stdout.splitlines()[0]
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["runs"]
    assert (tmp_path / "empty" / "runs" / "index.html").is_file()


@pytest.mark.slow
def test_an_editable_install_is_imported_from_the_folder_above_the_clone(tmp_path):
    clone = tmp_path / "attnent"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    python = environment(tmp_path / "environment")
    install(python, "-e", str(clone))
    ask = [python, "-c", "import attnent; print(attnent.__file__, attnent.Run)"]
    said = subprocess.run(ask, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert said.startswith(str(clone / "attnent" / "__init__.py"))
