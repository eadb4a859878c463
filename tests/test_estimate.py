"""How long a study will take at most: from what it took before, else from the speed of the model."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnent.study import estimate as room
from attnent.study.estimate import ANALYSIS_SECONDS, Speed, estimate
from attnent.study.index import Outcome

ONE, OTHER = Path("03_one.ipynb"), Path("04_other.ipynb")
GIVEN = {"model": "tiny", "n": 300, "max_new_tokens": 100, "batch_size": 10, "seed": 0}


@pytest.fixture(autouse=True)
def speed(monkeypatch):
    """A model that loads in 10 s and writes 50 tokens a second, and how often it was measured."""
    asked = []

    def measured(given):
        asked.append(given["model"])
        return Speed(loading=10, tokens_per_second=50)

    monkeypatch.setattr(room, "measured", measured)
    return asked


@pytest.fixture
def folders(tmp_path):
    return {ONE: tmp_path / "one", OTHER: tmp_path / "other"}


def test_a_study_takes_at_most_what_its_longest_responses_would(folders):
    said = estimate({ONE: GIVEN}, {ONE: folders[ONE]})
    assert said.startswith(f"Estimate: at most {(600 + 10 + ANALYSIS_SECONDS) / 60:.0f} min")
    assert "50 tokens a second" in said


def test_responses_to_prompts_of_two_kinds_are_written_and_read_twice_more(folders):
    assert f"(03 {(6 * 600 + 10 + ANALYSIS_SECONDS) / 60:.0f} min)" in estimate(
        {ONE: GIVEN | {"prompts": "auto"}}, folders
    )


def test_what_two_notebooks_share_is_recorded_once(folders):
    assert "(03 11 min, 04 55 s)" in estimate({ONE: GIVEN, OTHER: GIVEN | {"critic": "auto"}}, folders)
    assert "(03 11 min, 04 11 min)" in estimate({ONE: GIVEN, OTHER: GIVEN | {"seed": 1}}, folders)


def keep_outcome(folder: Path, status: str) -> None:
    folder.mkdir()
    outcome = Outcome(title="t", question="q?", parameters={}, status=status, error="", seconds=240)
    (folder / "outcome.json").write_text(outcome.model_dump_json())


def test_what_was_run_before_takes_as_long_as_it_took_and_no_model_is_measured(folders, speed):
    keep_outcome(folders[ONE], "complete")
    assert estimate({ONE: GIVEN}, {ONE: folders[ONE]}) == "Estimate: at most 4 min (03 4 min)"
    assert speed == []


@pytest.mark.parametrize("damage", ["failed", "torn"])
def test_an_outcome_that_failed_or_is_damaged_says_nothing_of_the_time(folders, damage):
    keep_outcome(folders[ONE], "failed")
    if damage == "torn":
        (folders[ONE] / "outcome.json").write_text('{"title": "t"')
    assert "(03 11 min)" in estimate({ONE: GIVEN}, {ONE: folders[ONE]})


def test_a_model_that_cannot_be_loaded_gives_no_estimate(folders, monkeypatch):
    monkeypatch.setattr(room, "measured", lambda given: None)
    assert estimate({ONE: GIVEN}, {ONE: folders[ONE]}) == ""


@given(st.integers(1, 10**5), st.integers(1, 10**4))
def test_more_responses_never_take_less(n, more):
    def seconds(n):
        return room.most_tokens(GIVEN | {"n": n}, set())

    assert seconds(n + more) > seconds(n)


def test_the_speed_of_the_bundled_model_is_measured_in_a_process_of_its_own(monkeypatch):
    monkeypatch.undo()
    speed = room.measured(GIVEN | {"dtype": "auto", "device_map": "auto"})
    assert speed.loading > 0
    assert speed.tokens_per_second > 10


@pytest.mark.slow
def test_no_speed_is_told_of_a_model_that_is_not_there(monkeypatch):
    monkeypatch.undo()
    assert room.measured(GIVEN | {"model": "/nowhere"}) is None
