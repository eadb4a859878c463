"""What a sweep runs: notebooks, each with every combination of parameters, all checked before anything starts."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
import yaml.constructor
from pydantic import BaseModel, ConfigDict, ValidationError

from attnent.study import StudyError
from attnent.study.index import reason_of
from attnent.study.notebook import study_folder
from attnent.study.parameters import changed_parameters, check_names, parameters_of, read_given

ExecutorName = Literal["local", "slurm", "ray"]


class Grid(BaseModel):
    """A sweep as its YAML file tells it: each of `runs` with each combination of `grid`, `parameters` for all."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    notebooks: list[int | str] = []  # numbers; none: all
    parameters: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}
    runs: list[dict[str, Any]] = [{}]
    executor: ExecutorName = "local"
    slurm: dict[str, Any] = {}  # of a job, as submitit names them: partition, time in minutes, gpus_per_node, ...
    ray: dict[str, Any] = {}  # of a task, as Ray names them: num_cpus, num_gpus, ...

    def crossed(self, grid: Mapping[str, list[Any]]) -> "Grid":
        """Each of these runs with each combination of a further grid. Raises StudyError for a name that both have."""
        for name in self.grid.keys() & grid.keys():
            raise StudyError(f"{name} is given twice; give it once")
        return self.model_copy(update={"grid": {**self.grid, **grid}})

    def combinations(self) -> list[dict[str, str]]:
        """The parameters of each run, as texts such as the command line takes. Raises StudyError."""
        for name, values in {**self.grid, "runs": self.runs}.items():
            if not values:
                raise StudyError(f"{name} has no values; give one or more, or leave it out")
        axes = [[(name, value) for value in values] for name, values in self.grid.items()]
        found = []
        for one, cell in itertools.product(self.runs, list(itertools.product(*axes))):
            pairs = [*self.parameters.items(), *one.items(), *cell]
            twice = [name for name, n in Counter(name for name, _ in pairs).items() if n > 1]
            if twice:
                raise StudyError(f"{twice[0]} is given twice; give it once")
            found.append({name: _text(value) for name, value in pairs})
        return found


class Job(NamedTuple):
    """One notebook with its parameters, and the folder in which its results are kept."""

    notebook: Path
    values: dict[str, Any]
    changed: dict[str, Any]  # those that are not the notebook's defaults, other than the model and out_dir
    folder: Path


def read_grid(path: Path) -> Grid:
    """A sweep from a YAML file. Raises StudyError where it cannot be read or says what no sweep has."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise StudyError(f"{path} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StudyError(f"{path} is not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise StudyError(f"{path} must hold keys such as notebooks and grid")
    check_names(map(str, content), Grid.model_fields, f"{path} may hold", "key")
    try:
        return Grid.model_validate(content)
    except ValidationError as error:
        raise StudyError(f"{path} cannot be used ({reason_of(error)})") from error


def grid_of(given: Iterable[str]) -> dict[str, list[Any]]:
    """What NAME=A,B,C on the command line asks for; a JSON list where a value holds a comma. Raises StudyError."""
    grid: dict[str, list[Any]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        if not equals or not name.isidentifier():
            raise StudyError(f"a parameter is given as NAME=VALUE,VALUE, not {text!r}")
        if name in grid:
            raise StudyError(f"{name} is given twice; give it once, as {name}=VALUE,VALUE")
        grid[name] = _listed(values)
    return grid


def jobs_of(combinations: Sequence[Mapping[str, str]], notebooks: Sequence[Path], out_dir: Path) -> list[Job]:
    """Every notebook with every combination, of which it gets the parameters that it has; none twice.

    Raises StudyError for a parameter that none of the notebooks has, or a value that does not fit.
    """
    known = {notebook: parameters_of(notebook) for notebook in notebooks}
    jobs: dict[Path, Job] = {}
    for texts in combinations:
        if "out_dir" in texts:
            raise StudyError("out_dir is one for a whole sweep; give --out-dir")
        if texts.get("model") == "":
            raise StudyError("model is empty; give one, or leave it out")
        given = {**texts, "out_dir": str(out_dir)}
        for notebook, values in read_given(given, known).items():
            folder = study_folder(out_dir, values.get("model", ""), notebook, values)
            jobs.setdefault(folder, Job(notebook, values, changed_parameters(known[notebook], values), folder))
    return list(jobs.values())


class _Loader(yaml.SafeLoader):
    """Takes no key twice, of which YAML's own would drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for name, n in Counter(str(key.value) for key, _ in node.value).items():
            if n > 1:
                raise yaml.constructor.ConstructorError(problem=f"the key {name} stands there twice")
        return super().construct_mapping(node, deep)


def _listed(text: str) -> list[Any]:
    try:
        values = json.loads(text) if text.startswith("[") else None
    except (ValueError, RecursionError):
        values = None
    return values if isinstance(values, list) else text.split(",")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
