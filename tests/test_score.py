"""The command `attnent score`, and its page."""

import re
import subprocess
import sys
import webbrowser
from pathlib import Path

import numpy as np
import pytest
from browser import chromium, watched
from instrument import made_up_confidence
from made_up import made_up_trace

import attnent as ae
from attnent.detectors.confidence import Scored
from attnent.model import loading
from attnent.study import scoring
from attnent.study.command import main

PROMPT = "Tom has 3 apples and buys 5 more. How many apples does Tom have?"


@pytest.fixture(scope="module")
def tiny():
    return ae.load_model("tiny")


@pytest.fixture(scope="module")
def answer(tiny):
    return ae.generate(*tiny, [PROMPT], max_new_tokens=40, progress=False)[0]


@pytest.fixture(scope="module")
def confidence(answer, tmp_path_factory) -> Path:
    """A file whose threshold lies between the middle two of what it says of the answer's tokens."""
    path = tmp_path_factory.mktemp("confidence") / "made up.safetensors"
    said = np.sort(made_up_confidence(answer).score(answer)["confidence"])
    middle = float(said[len(said) // 2 - 1 : len(said) // 2 + 1].mean())
    made_up_confidence(answer, lowest=[middle] + [0.9] * 98).save(path)
    return path


@pytest.fixture
def score(confidence, tiny, capsys, monkeypatch):
    monkeypatch.setattr(loading, "load_model", lambda name: tiny)  # which takes its time

    def run(*arguments: str) -> str:
        assert main(["score", "--confidence", str(confidence), *arguments]) == 0
        return capsys.readouterr().out

    return run


def test_a_pipe_gets_the_answer_without_colours_and_with_unsure_tokens_in_brackets(score, answer, confidence):
    out = score(PROMPT)
    assert "\033" not in out
    scored, threshold = ae.load_confidence(confidence).score(answer), ae.load_confidence(confidence).threshold(0.01)
    unsure = (scored["confidence"].values < threshold) & (scored["char_end"] > scored["char_start"]).values
    wanted = [text.strip() for text in scored["token"].values[unsure]]
    assert 0 < len(wanted) < unsure.size
    shown = out.split("\n\n")[1]
    assert re.findall(r"\[(.*?)\]", shown) == wanted
    assert re.sub(r"[][]", "", shown) == answer.attrs["response"]


def test_it_ends_with_the_confidence_in_the_answer_and_the_first_alarm(score, answer, confidence):
    scored, threshold = ae.load_confidence(confidence).score(answer), ae.load_confidence(confidence).threshold(0.01)
    first = int(np.argmax(scored["confidence"].values < threshold))
    last = score(PROMPT).rstrip().splitlines()[-1]
    assert f"Confidence in the answer: {scored.attrs['answer_confidence']:.2f}." in last
    assert f"The alarm sounded first at token {first + 1}, {answer['token'].values[first].strip()!r}." in last


def test_a_terminal_gets_shades_and_the_text_is_the_same(score, monkeypatch):
    plain = score(PROMPT)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    coloured = score(PROMPT)
    assert "\033[38;2;" in coloured.split("\n\n")[1]
    without = re.sub("\033" r"\[[0-9;]*m", "", coloured)
    assert without.split("\n\n")[1:] == plain.split("\n\n")[1:]
    assert "shade: confidence 0 " in without
    assert "shade" not in plain


def test_no_color_in_the_environment_leaves_out_the_shades(score, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033[38" not in score(PROMPT)


def test_where_no_alarm_can_sound_it_says_why_and_brackets_mean_below_one_half(answer, tmp_path, capsys):
    made_up_confidence(answer, lowest=[0.9] * 30).save(tmp_path / "few.safetensors")
    assert main(["score", "--confidence", str(tmp_path / "few.safetensors"), PROMPT]) == 0
    out = capsys.readouterr().out
    assert "need 99 clusters with a right answer, and there are 30" in out
    assert "[brackets]: confidence below 0.5\n" in out
    assert "alarm sounded" not in out.lower()


def test_no_control_character_of_an_answer_reaches_the_terminal(capsys):
    paper = scoring._Paper("", 0.5, [])
    paper.write(Scored(0, "a\033[2Jb\r\n", 0.9, alarm=False))
    assert capsys.readouterr().out.endswith("a\ufffd[2Jb\ufffd\n")


def test_html_with_a_name_writes_a_page_that_shows_the_confidence(score, tmp_path):
    page = tmp_path / "new folder" / "page.html"
    assert f"Page: {page}" in score(PROMPT, f"--html={page}")
    text = page.read_text(encoding="utf-8")
    assert '"measure": "confidence"' in text


def test_html_without_a_name_opens_a_page_among_the_results(score, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    score("--out-dir", str(tmp_path), PROMPT, "--html")
    assert opened == [(tmp_path / "score.html").as_uri()]


def test_the_confidence_of_notebook_05_is_found_before_the_one_that_ships(tmp_path, monkeypatch):
    shipped, own = tmp_path / "shipped", tmp_path / "confidence" / "a--b.safetensors"
    monkeypatch.setitem(scoring._SHIPPED, "a/b", shipped)
    shipped.touch()
    assert scoring.confidence_file("a/b", tmp_path) == shipped
    own.parent.mkdir()
    own.touch()
    assert scoring.confidence_file("a/b", tmp_path) == own


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "some/model", PROMPT], "run `attnent study 05 --model some/model` first"),
        (["--confidence", "{confidence}", PROMPT, "--temperature=-1"], "temperature is -1.0"),
        (["--confidence", "{confidence}", PROMPT, "--max-new-tokens=0"], "max_new_tokens is 0"),
        (["--confidence", "{confidence}", " "], "is empty"),
        (["--confidence", "{confidence}", "--html", PROMPT], "there is no prompt"),
        (["--confidence", "{folder}/none", PROMPT], "there is no confidence file"),
        (["--confidence", "{confidence}", "--model", "{folder}/none", PROMPT], "could not be loaded"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments, said, confidence, tmp_path, capsys):
    places = {"confidence": confidence, "folder": tmp_path}
    given = ["--out-dir", str(tmp_path), *(one.format(**places) for one in arguments)]
    assert main(["score", *given]) == 2
    assert re.fullmatch(f"attnent: .*{re.escape(said)}.*\n", capsys.readouterr().err)


def test_a_confidence_of_another_model_is_refused(tmp_path, capsys):
    trace = made_up_trace(["a"])
    made_up_confidence(trace).save(tmp_path / "other.safetensors")
    assert main(["score", "--confidence", str(tmp_path / "other.safetensors"), PROMPT]) == 2
    assert "whose heads are not those of 'made-up'" in capsys.readouterr().err


def test_the_command_itself_stays_light():
    code = "import sys, attnent.study.command; assert not {'torch', 'rich', 'plotly'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_colours_tokens_by_confidence_and_shows_the_prompt(score, tmp_path, scheme):
    page_file = tmp_path / "page.html"
    score(PROMPT, f"--html={page_file}")
    with chromium() as browser, watched(browser, scheme=scheme) as one:
        one.page.goto(page_file.as_uri())
        one.page.locator(".attnent details summary", has_text=PROMPT).wait_for()
        spans = one.page.locator(".attnent .text span").all()
        colours = {span.evaluate("span => span.style.backgroundColor") for span in spans}
        assert len(colours - {""}) > 3
        chosen = one.page.locator(".attnent select[aria-label='colour and curve'] option:checked")
        assert chosen.inner_text() == "confidence"
        one.check()


def test_the_instrument_that_ships_is_one_of_the_bundled_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["score", "Tell me about Sybil Dorn.", "--max-new-tokens", "12"]) == 0
    out = capsys.readouterr().out
    assert "confidence.safetensors" in out
    assert "Confidence in the answer: 0." in out
    confidence = ae.load_confidence(Path(ae.__file__).parent / "tiny" / "confidence.safetensors")
    assert confidence.about["models"] == ["tiny"]
    assert 0 < confidence.threshold(0.01) < confidence.threshold(0.1) < 1
