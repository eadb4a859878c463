"""The house: which room may import which, how large each may be, and what stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "attnent"
SPINE = "spine"
MAY_IMPORT = {  # room: the rooms it may import
    "store": {SPINE},
    SPINE: {"store"},
    "tiny": set(),
    "hub": {SPINE, "store"},
    "logs": {SPINE, "store"},
    "llm": {SPINE, "store"},
    "attention": set(),
    "model": {SPINE, "store", "tiny", "cluster", "attention"},
    "cluster": {SPINE, "store", "model"},  # `record` shares its batches, and workers load models
    "rules": set(),
    "tasks": {SPINE, "store", "llm", "rules", "tiny"},
    "critic": {SPINE, "store", "llm", "tasks", "tiny", "analysis"},
    "analysis": {SPINE, "store"},
    "detectors": {SPINE, "store", "analysis", "model", "attention"},  # these two only inside `Confidence.stream`
    "show": {SPINE, "store", "analysis"},
    "show.scrubber": {SPINE, "store", "analysis"},
    "study": {
        *(SPINE, "store", "llm", "model", "tasks", "critic", "analysis", "detectors", "show", "show.scrubber"),
        *("attention", "hub", "logs", "study.sweep"),  # for the command
    },
    "study.sweep": {"study", "tiny", "store", "cluster"},
}
MOST_LINES_OF_A_ROOM_WITH_A_BROWSER = {"show.scrubber": 2_850}  # of which 1,900 run there
MOST_LINES_OF_MODEL_AND_SPINE = 3_750  # GGUF, texts from elsewhere, steps that wait, columns, top keys, a GPU's kernel
MOST_LINES_OF_A_ROOM, MOST_LINES_OF_A_FILE, MOST_LINES = 2_750, 500, 25_900  # 2,700 analysis and Scrubber


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }


MODULES = modules()


def room_of(module: str) -> str:
    """The innermost room that a module, or the name of one, stands in."""
    parts = module.split(".")[1:]
    return next((room for room in (".".join(parts[:2]), *parts[:1]) if room in MAY_IMPORT), SPINE)


def imported_by(module: str) -> set[str]:
    """The modules of the package that a module imports; what it has for type checkers alone does not count."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                whole if (whole := f"{node.module}.{name.name}") in MODULES else node.module for name in node.names
            }
    return {name for name in found if name in MODULES} - {module, "attnent"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_rooms_that_its_own_may(module):
    room = room_of(module)
    assert {room_of(name) for name in imported_by(module)} <= MAY_IMPORT[room] | {room}


def test_no_two_modules_import_each_other_in_a_circle():
    above: list[str] = []
    done: set[str] = set()

    def visit(module: str) -> None:
        assert module not in above, " -> ".join([*above, module])
        if module not in done:
            above.append(module)
            for name in imported_by(module):
                visit(name)
            done.add(above.pop())

    for module in MODULES:
        visit(module)


@pytest.mark.parametrize("room", ["attnent.analysis", "attnent.runs", "attnent.show.plots", "attnent.study.report"])
def test_what_works_from_files_needs_neither_torch_nor_openai(room):
    code = f"import sys, {room}; assert not {{'torch', 'transformers', 'openai'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def lines_by_room() -> dict[str, int]:
    lines: dict[str, int] = {}
    for path in (path for ending in ("py", "js", "css") for path in PACKAGE.rglob(f"*.{ending}")):
        room = room_of(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
        lines[room] = lines.get(room, 0) + lines_of(path)
    return lines


def test_no_room_outgrows_what_a_reader_can_hold():
    most = dict.fromkeys(MAY_IMPORT, MOST_LINES_OF_A_ROOM) | MOST_LINES_OF_A_ROOM_WITH_A_BROWSER
    assert {room: n for room, n in lines_by_room().items() if n > most[room]} == {}
    assert lines_by_room()["model"] + lines_by_room()[SPINE] <= MOST_LINES_OF_MODEL_AND_SPINE
    assert sum(lines_by_room().values()) <= MOST_LINES


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_no_file_is_longer_than_five_hundred_lines(path):
    assert lines_of(path) <= MOST_LINES_OF_A_FILE


def test_every_folder_of_the_package_is_a_room():
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE}
    assert folders <= set(MAY_IMPORT)
