"""What is given to a notebook is checked before anything starts: names, types, secrets; each refusal is a sentence."""

import json

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnent.study import StudyError
from attnent.study.parameters import Parameter, changed_parameters, check_names, parameters_of

SOURCE = """n: int = 100  # a number
temperature: float = 0.8  # another
model: str = "tiny"  # a name
revision: str | None = None  # a commit
usd_per_million: list[float] | None = None  # prices
base_url: str | None = None  # an address
strict: bool = False  # a switch
"""
KEY = "sk-0123456789abcdef"
HALF_A_CHARACTER = "\ud800"


def write(path, source, tags=("parameters",)):
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


@pytest.fixture
def known(tmp_path):
    return parameters_of(write(tmp_path / "01_a.ipynb", SOURCE))


def test_parameters_have_the_defaults_and_types_of_their_cell(known):
    assert known["n"].default == 100
    assert known["usd_per_million"].type == list[float] | None
    assert list(known) == [line.partition(":")[0] for line in SOURCE.splitlines()]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("n", "20", 20),
        ("n", "-3", -3),
        ("temperature", "1", 1.0),
        ("temperature", "1e-3", 0.001),
        ("model", "123", "123"),
        ("model", "null", "null"),
        ("model", "a=b", "a=b"),
        ("model", '"tiny"', '"tiny"'),
        ("revision", "main", "main"),
        ("revision", "null", None),
        ("revision", "None", None),
        ("revision", "123", "123"),
        ("usd_per_million", "[1, 2.5]", [1.0, 2.5]),
        ("usd_per_million", "null", None),
        ("strict", "true", True),
        ("strict", "false", False),
    ],
)
def test_a_text_is_read_as_what_the_parameter_takes(known, name, text, value):
    read = known[name].read(text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("n", "abc", 'n must be a whole number, not "abc"'),
        ("n", "null", "n must be a whole number, not null"),
        ("n", "None", "n must be a whole number, not null"),
        ("n", "1.5", "n must be a whole number, not 1.5"),
        ("n", "true", "n must be a whole number, not true"),
        ("n", "", 'n must be a whole number, not ""'),
        ("n", "[[" * 50_000, "n must be a whole number, not"),
        ("n", "9" * 5_000, "n must be a whole number, not"),
        ("temperature", "hot", 'temperature must be a number, not "hot"'),
        ("temperature", "NaN", "temperature must be a number, not NaN"),
        ("temperature", "1e999", "temperature must be a number, not Infinity"),
        ("usd_per_million", "1", "usd_per_million must be a list of numbers or null, not 1"),
        ("usd_per_million", '[1, "a"]', 'usd_per_million must be a list of numbers or null, not [1, "a"]'),
        ("strict", "yes", 'strict must be true or false, not "yes"'),
    ],
)
def test_a_text_that_does_not_fit_is_refused_without_words_of_python(known, name, text, said):
    with pytest.raises(StudyError) as refused:
        known[name].read(text)
    assert str(refused.value).startswith(said)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("value", [None, "abc", 1.5, True, [1], float("nan"), {"a": object()}])
def test_a_value_that_a_program_gives_is_held_to_the_same_types(known, value):
    with pytest.raises(StudyError, match="n must be a whole number, not"):
        known["n"].take(value)


@pytest.mark.parametrize("value", [HALF_A_CHARACTER, "a" + HALF_A_CHARACTER])
def test_half_a_character_is_refused(known, value):
    for name in ("model", "revision"):
        with pytest.raises(StudyError, match="give text in UTF-8"):
            known[name].read(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("base_url", "http://user:hunter2hunter2@localhost:8000/v1"),
        ("base_url", "user:hunter2hunter2@localhost"),
        ("base_url", "https://localhost/v1?key=hunter2hunter2"),
        ("base_url", "  https://hunter2hunter2@localhost"),
        ("model", "https://user:hunter2hunter2@host/model"),
        ("model", f"x-{KEY}"),
        ("n", KEY),
        ("n", "hf_hunter2hunter2"),
        ("usd_per_million", json.dumps([KEY])),
    ],
)
def test_a_secret_is_refused_without_being_repeated(known, name, text, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
    monkeypatch.setenv("HF_TOKEN", "hf_hunter2hunter2")
    with pytest.raises(StudyError, match="files would keep") as refused:
        known[name].read(text)
    assert "hunter2" not in str(refused.value)
    assert KEY not in str(refused.value)


def test_addresses_and_texts_without_a_secret_pass(known, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    for text in ("http://localhost:8000/v1", "https://api.openai.com/v1"):
        assert known["base_url"].read(text) == text
    for text in ("none of them", "write to me@example.com", "who is @someone on https://example.com?"):
        assert known["model"].read(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_parameter_of_text_takes_every_text_as_it_is(text):
    assert Parameter("prompt", "", str, "text").read(text) == text


@given(st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_number_is_read_back_as_it_was_written(number):
    assert Parameter("temperature", 0.0, float, "a number").read(repr(number)) == number


def test_a_misspelt_name_is_answered_with_the_nearest(known):
    with pytest.raises(StudyError, match=r"x has no parameter temprature; did you mean temperature?"):
        check_names(["n", "temprature"], known, "x has")
    with pytest.raises(StudyError, match="x has no parameter zzz; there are base_url, model, n, revision, strict"):
        check_names(["zzz"], known, "x has")


def test_what_is_changed_is_told_by_value(known):
    assert changed_parameters(known, {"n": 7, "temperature": 0.8, "model": "other"}) == {"n": 7}


@pytest.mark.parametrize("source", ["x: int = 1 + len('a')", "x: int = (", "x: Path = 1", "x: 'int' = 1", "x: set = 1"])
def test_a_parameter_that_is_no_literal_with_a_type_is_refused(tmp_path, source):
    with pytest.raises(StudyError, match=r"the parameters of 01_a.ipynb must be literals"):
        parameters_of(write(tmp_path / "01_a.ipynb", source))


def test_a_notebook_without_a_parameters_cell_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"01_a.ipynb has no cell tagged `parameters`"):
        parameters_of(write(tmp_path / "01_a.ipynb", SOURCE, tags=()))


NO_NOTEBOOKS = {
    "empty": b"",
    "no JSON": b"not JSON",
    "truncated": b'{"cells": [',
    "a list": b"[]",
    "an object": b"{}",
    "null": b"null",
    "a number": b"1",
    "cells that are none": b'{"cells": 1, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
    "a cell that is none": b'{"cells": [1], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
    "another format": b'{"cells": [], "metadata": {}, "nbformat": 99, "nbformat_minor": 0}',
    "not UTF-8": b"\xff\xfe{}",
    "nested without end": b"[" * 100_000,
    "half a character": b'{"cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "\\ud800"}], '
    b'"metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
}


@pytest.mark.parametrize("content", NO_NOTEBOOKS.values(), ids=NO_NOTEBOOKS)
def test_a_file_that_is_no_notebook_is_said_to_be_none(tmp_path, content):
    (tmp_path / "01_a.ipynb").write_bytes(content)
    with pytest.raises(StudyError, match=r"01_a.ipynb is not a notebook: JSON in UTF-8"):
        parameters_of(tmp_path / "01_a.ipynb")


def test_a_folder_in_place_of_a_notebook_is_said_to_be_unreadable(tmp_path):
    (tmp_path / "01_a.ipynb").mkdir()
    with pytest.raises(StudyError, match=r"01_a.ipynb cannot be read"):
        parameters_of(tmp_path / "01_a.ipynb")
