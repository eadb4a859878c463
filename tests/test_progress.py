"""Progress where nobody watches: a plain line now and then, and none that tells of no time left."""

import pytest

from attnent import progress
from attnent.progress import LINE, Progress


@pytest.fixture
def said(monkeypatch, capsys):
    monkeypatch.setenv("ATTNENT_HEADLESS", "1")
    clock = iter(range(0, 1000, 20))  # seconds
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))

    def run(total: int, *parts: int, n_tokens: int = 10) -> list[str]:
        with Progress(total, "recording t") as bar:
            for n in parts:
                bar.advance(n, n_tokens=n_tokens * n)
        return capsys.readouterr().out.splitlines()

    return run


def test_lines_tell_the_time_left_but_the_last_does_not(said):
    first, last = said(100, 50, 50)
    assert first.startswith("recording t: 50 of 100 responses, ")
    assert first.endswith(" left")
    assert last.startswith("recording t: 100 of 100 responses, ")
    assert last.endswith(" tokens a second")


def test_no_line_says_that_no_time_is_left_before_the_end(said):
    assert not [line for line in said(10_000, 9_999, 1) if "00:00" in line]


def test_reports_know_each_line_of_progress(said):
    assert all(LINE.fullmatch(line) for line in said(9, 3, 3, 3))


def test_tokens_are_told_of_only_where_there_are_any(said):
    assert said(9, 9, n_tokens=0) == ["recording t: 9 of 9 responses, 0.5 a second"]
