"""The commands `attnent show` and `attnent open`."""

import json
import webbrowser

import pytest
from browser import chromium, watched
from test_index import GOOD, keep

import attnent as ae
from attnent.model import loading
from attnent.study.command import main

PROMPT = "Tom has 3 apples and buys 5 more. How many apples does Tom have?"


@pytest.fixture(scope="module")
def tiny():
    return ae.load_model("tiny")


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The addresses that a browser was asked to open, which it did."""
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) or True)
    return addresses


@pytest.fixture
def show(tiny, monkeypatch, capsys):
    monkeypatch.setattr(loading, "load_model", lambda name: tiny)  # which takes its time

    def run(*arguments: str) -> str:
        assert main(["show", PROMPT, "--max-new-tokens", "12", *arguments]) == 0
        return capsys.readouterr().out

    return run


def test_show_writes_a_page_says_where_and_opens_it(show, opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "runs" / "show.html"
    assert show() == f"Page: {page}\n"
    assert opened == [page.as_uri()]
    assert "attnent-scrubber" in page.read_text()


def test_show_writes_where_it_is_told_and_opens_nothing_when_told_so(show, opened, tmp_path):
    page = tmp_path / "new folder" / "page.html"
    assert f"Page: {page}" in show("--out", str(page), "--no-open")
    assert page.is_file()
    assert opened == []


@pytest.mark.parametrize("browser", [lambda _: False, webbrowser.get])  # there is none; the one asked for is not there
def test_where_no_browser_opens_the_command_says_so(show, tmp_path, monkeypatch, browser):
    monkeypatch.setattr(webbrowser, "open", browser)
    assert "No browser could be opened here" in show("--out", str(tmp_path / "page.html"))


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--temperature=-1"], "temperature is -1.0"), (["--max-new-tokens=0"], "max_new_tokens")]
)
def test_a_setting_out_of_range_is_one_sentence(arguments, said, capsys, tmp_path):
    assert main(["show", PROMPT, "--out", str(tmp_path / "page.html"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_open_opens_the_index_of_a_folder_and_brings_it_up_to_date(opened, tmp_path, capsys):
    keep(tmp_path, "tiny/00_first", GOOD)
    assert main(["open", str(tmp_path)]) == 0
    assert opened == [(tmp_path / "index.html").as_uri()]
    assert capsys.readouterr().out == f"Page: {tmp_path / 'index.html'}\n"
    assert json.loads(GOOD)["answer"] in (tmp_path / "index.html").read_text()


def test_open_says_what_to_do_where_there_are_no_results_and_writes_nothing(opened, tmp_path, capsys):
    assert main(["open", str(tmp_path)]) == 2
    assert "run `attnent study`" in capsys.readouterr().err
    assert (opened, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.browser
def test_the_page_that_show_writes_can_be_scrubbed(show, tmp_path):
    show("--out", str(tmp_path / "page.html"), "--no-open")
    with chromium() as browser, watched(browser) as seen:
        seen.page.goto((tmp_path / "page.html").as_uri())
        seen.page.locator(".attnent .transport input").wait_for()
        seen.check()
