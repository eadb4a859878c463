"""The index lists every outcome: one that cannot be read is a row that says so, and nothing of it runs."""

import json
import re
import subprocess
import sys

import pytest
from test_report import HOSTILE, Elements

from attnent.study.index import Outcome, listed, write_index

OUTCOME = {"title": "t", "question": "q", "answer": "a", "parameters": {}, "status": "complete", "error": ""}
OUTCOME |= {"seconds": 1.0}
GOOD = json.dumps(OUTCOME).encode()
BAD = {
    "empty": b"",
    "no JSON": b"not JSON",
    "truncated": GOOD[:-9],
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "a text": b'"text"',
    "an object": b"{}",
    "not UTF-8": GOOD.replace(b'"a"', b'"\xff"'),
    "half a character": GOOD.replace(b'"a"', b'"\\ud800"'),
    "nested without end": b'{"title": ' + b"[" * 100_000,
    "UTF-16": json.dumps(OUTCOME).encode("utf-16"),
    "zeros": b"\0" * 100,
    "two of them": GOOD + GOOD,
    "a missing name": json.dumps({"title": "t"}).encode(),
    "an endless integer": GOOD.replace(b"1.0", b"9" * 5_000),
} | {
    f"{name} = {value!r}": json.dumps(OUTCOME | {name: value}).encode()
    for name, value in [
        ("title", None),
        ("title", 7),
        ("question", ["q"]),
        ("answer", None),
        ("answer", {"text": "a"}),
        ("n", "7"),
        ("n", 1.5),
        ("n", -1),
        ("n", 10**400),
        ("accuracy", float("nan")),
        ("accuracy", 7),
        ("accuracy", "all"),
        ("effect", [0.5]),
        ("effect", [0.5, None, 0.6]),
        ("effect", [0.5, float("-inf"), 0.6]),
        ("effect", {"estimate": 0.5}),
        ("effect_name", None),
        ("parameters", None),
        ("parameters", ["x"]),
        ("changed", "x"),
        ("status", "<meta http-equiv='refresh' content='0; url=https://example.com'>"),
        ("status", None),
        ("error", None),
        ("seconds", None),
        ("seconds", "long"),
        ("seconds", 1e300),
        ("seconds", float("inf")),
    ]
}


def keep(out_dir, name, content):
    folder = out_dir / "study" / name
    folder.mkdir(parents=True)
    (folder / "outcome.json").write_bytes(content)


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_an_outcome_that_cannot_be_read_is_a_row_that_says_so(tmp_path, content):
    keep(tmp_path, "bad", content)
    keep(tmp_path, "good", GOOD)
    index = write_index(tmp_path).read_text()
    good, _, bad = index.partition("<details>")
    assert [part.count("<tr") for part in (good, bad)] == [2, 2]
    assert "1 notebook did not come to an end" in bad
    assert index.count("its outcome.json cannot be read (") == 1
    assert "study/bad" in bad
    assert "<p>a</p>" in good
    assert {row.count("<td") for row in re.findall("<tr.*?</tr>", index)} == {0, 7}
    assert "meta" not in {tag for tag, _ in Elements(index.partition("<body>")[2]).found}
    assert len(index) < 10_000


def test_a_folder_in_place_of_an_outcome_is_a_row_that_says_so(tmp_path):
    (tmp_path / "study" / "bad" / "outcome.json").mkdir(parents=True)
    assert "its outcome.json cannot be read (" in write_index(tmp_path).read_text()


def test_a_folder_whose_name_is_not_utf_8_is_listed(tmp_path):
    keep(tmp_path, "a\udcff", GOOD)
    keep(tmp_path, "b\udcff", b"")
    index = write_index(tmp_path).read_text()
    assert 'href="study/a%FF/report.html"' in index
    assert "study/b\ufffd" in index


def test_nothing_that_an_outcome_holds_becomes_an_element_of_the_index(tmp_path):
    text = "\n".join([*HOSTILE, '"><img src="x" onerror="window.hasRun = 1">'])
    texts = dict.fromkeys(("title", "question", "answer", "effect_name", "error"), text)
    facts = {"status": "failed", "effect": [0.5, 0.4, 0.6], "parameters": {"model": text}, "changed": {text: [text]}}
    keep(tmp_path, "hostile", json.dumps(OUTCOME | texts | facts).encode())
    keep(tmp_path, "<img src=x onerror=window.hasRun=1>", b"")
    keep(tmp_path, "wrong", json.dumps(OUTCOME | {"status": text}).encode())
    index = write_index(tmp_path).read_text()
    found = Elements(index.partition("<body>")[2]).found
    assert {tag for tag, _ in found} <= {
        "header", "main", "footer", "h1", "details", "summary", "table", "thead", "tbody", "tr", "th", "button", "td",
        "a", "p", "em", "span", "code", "svg", "path", "circle", "small", "script",
    }  # fmt: skip
    assert len([tag for tag, _ in found if tag == "script"]) == 1
    assert not [about for _, about in found if any(name.startswith("on") for name in about)]


def test_an_outcome_of_before_is_listed(tmp_path):
    keep(tmp_path, "a model #1", GOOD)
    index = write_index(tmp_path).read_text()
    assert "<p>a</p>" in index
    assert 'href="study/a%20model%20%231/report.html"' in index


def test_what_failed_stands_behind_a_fold_and_the_rest_before_it(tmp_path):
    keep(tmp_path, "bad", json.dumps(OUTCOME | {"status": "failed", "error": "E: broke"}).encode())
    keep(tmp_path, "good", GOOD)
    before, _, folded = write_index(tmp_path).read_text().partition("<details>")
    assert "study/good/report.html" in before
    assert "study/bad" not in before
    assert "failed: E: broke" in folded


def test_a_row_has_its_day_an_anchor_and_the_short_name_of_its_model(tmp_path):
    facts = {"started": "2026-11-27T15:47:00+00:00", "parameters": {"model": "/models/small"}}
    keep(tmp_path, "a model #1", json.dumps(OUTCOME | facts).encode())
    index = write_index(tmp_path).read_text()
    assert ">2026-11-27</span>" in index
    assert ">small</td>" in index
    assert "/home" not in index
    assert '<tr id="study-a-model-1">' in index
    assert 'href="#study-a-model-1"' in index


def test_what_takes_no_model_comes_last(tmp_path):
    for folder, parameters in (("all models/06", {}), ("tiny/01", {"model": "tiny"}), ("tiny/02", {"model": "tiny"})):
        (tmp_path / "study" / folder).mkdir(parents=True)
        outcome = json.dumps(OUTCOME | {"parameters": parameters})
        (tmp_path / "study" / folder / "outcome.json").write_text(outcome)
    assert [one.folder.name for one in listed(tmp_path)] == ["01", "02", "06"]


def test_the_bar_of_an_effect_says_what_it_shows(tmp_path):
    keep(tmp_path, "good", json.dumps(OUTCOME | {"effect": [0.6, 0.5, 0.7]}).encode())
    assert 'aria-label="0.60, from 0.50 to 0.70 on a scale from 0 to 1"' in write_index(tmp_path).read_text()


def test_the_index_of_nothing_says_how_there_will_be_something(tmp_path):
    assert "<code>attnent study</code>" in write_index(tmp_path).read_text()


def test_five_hundred_outcomes_are_listed(tmp_path):
    for n in range(500):
        keep(tmp_path, f"m{n % 25}/{n:03}", GOOD)
    assert write_index(tmp_path).read_text().count("<tr id=") == 500


def test_an_outcome_is_read_as_it_was_written():
    outcome = Outcome.model_validate(OUTCOME | {"effect": [0.5, 0.4, 0.6], "changed": {"x": [1, None, "\N{SNOWMAN}"]}})
    assert Outcome.model_validate_json(outcome.model_dump_json()) == outcome


def test_what_a_killed_process_left_beside_the_index_is_swept(tmp_path):
    write = (
        f"import os; from attnent.store import files; files.Path.replace = lambda *_: os._exit(9); "
        f"files.write_whole(files.Path({str(tmp_path)!r}) / 'index.html', 'half')"
    )
    subprocess.run([sys.executable, "-c", write], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    write_index(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
