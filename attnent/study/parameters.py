"""What a notebook takes as parameters, and whether what is given fits: all of it before a kernel starts."""

import ast
import difflib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import GenericAlias
from typing import Any, NamedTuple

import nbformat
from nbformat import NotebookNode
from pydantic import ConfigDict, TypeAdapter, ValidationError

from attnent.store.files import checksum
from attnent.study import StudyError

_TYPES = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (bool, "true or false"),
}
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_SECRETS = ("OPENAI_API_KEY", "HF_TOKEN")
_WITH_A_USER = re.compile(r"\s*[\w+.-]+://\S*@")


class Parameter(NamedTuple):
    """A name to which the notebook's cell tagged `parameters` gives a type and a literal."""

    name: str
    default: Any
    type: Any
    in_words: str  # the type, for who does not speak Python

    def take(self, value: Any) -> Any:
        """The value as the notebook gets it: an int becomes a float where one is asked for. Raises StudyError."""
        self._refuse_secrets(value if isinstance(value, str) else json.dumps(value, default=str))
        if not self._fits(value):
            raise StudyError(f"{self.name} must be {self.in_words}, not {_shown(value)}")
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except ValueError as error:  # half a character (a lone surrogate), or an endless integer
            raise StudyError(f"{self.name} cannot be written into a notebook; give text in UTF-8") from error
        return TypeAdapter(self.type, config=_STRICT).validate_python(value)

    def read(self, text: str) -> Any:
        """`take` for a value from the command line: the text as it is where text is asked for, else what JSON reads."""
        try:
            value = json.loads("null" if text == "None" else text)
        except (ValueError, RecursionError):
            value = text
        means_null = value is None and self._fits(None)
        return self.take(text if self._fits(text) and not means_null else value)

    def _fits(self, value: Any) -> bool:
        try:
            TypeAdapter(self.type, config=_STRICT).validate_python(value)
        except ValidationError:
            return False
        return True

    def _refuse_secrets(self, text: str) -> None:
        is_address = self.name.endswith("url")
        if _WITH_A_USER.match(text) or (is_address and re.search("[@?]", text)):
            raise StudyError(
                f"{self.name} holds a user, a password or a query, which the study's files would keep; "
                "give the address alone, and a key in the environment as OPENAI_API_KEY"
            )
        for secret in _SECRETS:
            value = os.environ.get(secret, "").strip()
            if len(value) >= 12 and value in text:  # shorter ones are placeholders of local servers
                raise StudyError(f"{self.name} holds your {secret}, which the study's files would keep; leave it out")


def parameters_of(notebook: Path) -> dict[str, Parameter]:
    """What a notebook takes as parameters, by name. Raises StudyError where it cannot be read or they are no literals.

    Read from the cell tagged `parameters`; papermill itself overlooks those whose type is a union.
    """
    cells = [cell for cell in _read(notebook).cells if "parameters" in cell.metadata.get("tags", [])]
    if not cells:
        raise StudyError(f"{notebook.name} has no cell tagged `parameters`; give a numbered notebook of attnent")
    try:
        nodes = [node for cell in cells for node in ast.parse(cell.source).body]
        found = [
            Parameter(ast.unparse(node.target), ast.literal_eval(node.value), *_type_of(node.annotation))
            for node in nodes
            if isinstance(node, ast.AnnAssign) and node.value is not None
        ]
    except (ValueError, SyntaxError, TypeError) as error:
        raise StudyError(
            f"the parameters of {notebook.name} must be literals ({error}), each with a type such as int or str | None"
        ) from error
    return {parameter.name: parameter for parameter in found}


def read_given(given: Mapping[str, str], known: Mapping[Path, Mapping[str, Parameter]]) -> dict[Path, dict[str, Any]]:
    """For each notebook those of the given texts that it takes, read, and its model where none is given.

    Raises StudyError for a text that no notebook takes.
    """
    check_names(set(given) - {"model", "out_dir"}, set().union(*known.values()), "these notebooks have")
    values = {
        notebook: {name: has[name].read(text) for name, text in given.items() if name in has}
        for notebook, has in known.items()
    }
    if any(value.get("sets", 1) < 1 for value in values.values()):
        raise StudyError(f"sets is {given['sets']}; give 1 or more")
    for notebook, has in known.items():
        if "model" in has:  # the bundled one, which reads no images
            values[notebook].setdefault("model", has["model"].default if takes_images(has) else "tiny")
    return values


def takes_images(known: Mapping[str, Parameter]) -> bool:
    """Whether a notebook is about images, and so about models that read them."""
    return "images" in known


def check_names(given: Iterable[str], known: Collection[str], owner: str, kind: str = "parameter") -> None:
    """Raise StudyError for a name that is not known, with the nearest one that is. `owner` begins the sentence."""
    for name in sorted(set(given) - set(known)):
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known)) or 'none'}"
        raise StudyError(f"{owner} no {kind} {name}; {advice}")


def source_of(notebook: Path) -> str:
    """A checksum of what stands in a notebook's cells, whatever came of them. Raises StudyError."""
    return checksum(json.dumps([cell.source for cell in _read(notebook).cells if "source" in cell]))


def changed_parameters(known: Mapping[str, Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that are not the notebook's defaults, other than the model and out_dir."""
    places = ("model", "out_dir")  # these name a folder by themselves
    return {name: value for name, value in values.items() if name not in places and value != known[name].default}


def _read(notebook: Path) -> NotebookNode:
    try:
        node = nbformat.read(notebook, as_version=4)
        nbformat.validate(node)
        json.dumps(node, ensure_ascii=False).encode()
    except OSError as error:
        raise StudyError(f"{notebook} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError, nbformat.ValidationError) as error:
        raise StudyError(f"{notebook} is not a notebook: JSON in UTF-8, as Jupyter writes it") from error
    return node


def _type_of(node: ast.expr) -> tuple[Any, str]:
    """The type that an annotation names, and in plain words. Raises TypeError for any other annotation."""
    match node:
        case ast.Name(id=name) if name in _TYPES:
            return _TYPES[name]
        case ast.Constant(value=None):
            return None, "null"
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            (one, in_words), (other, also) = _type_of(left), _type_of(right)
            return one | other, f"{in_words} or {also}"
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            kind, in_words = _type_of(item)
            return GenericAlias(list, kind), f"a list of {in_words.removeprefix('a ')}s"
    raise TypeError(f"{ast.unparse(node)} is not a type that a parameter can have")


def _shown(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."
