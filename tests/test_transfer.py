"""What was learned in one place, asked in another."""

import numpy as np
import pytest
from graded import graded_run

import attnent as ae
from attnent.detectors import learning
from attnent.detectors.transfer import comparable, square, transfer


@pytest.fixture
def few_candidates(monkeypatch):
    monkeypatch.setattr(learning, "N_COMPONENTS", (4,))
    monkeypatch.setattr(learning, "PENALTIES", (0.1,))


@pytest.fixture
def runs(tmp_path):
    return {name: graded_run(tmp_path / name, seed=seed) for seed, name in enumerate(("one", "other"))}


def test_what_holds_in_both_places_is_found_in_all_four_cells(runs, few_candidates):
    found = transfer(runs, {name: ae.fit_confidence(run) for name, run in runs.items()})
    auroc, low, high = square(found)
    assert list(auroc.index) == list(auroc.columns) == ["one", "other"]
    assert (auroc.to_numpy() > 0.9).all()
    assert (low.to_numpy() <= auroc.to_numpy()).all()
    assert (auroc.to_numpy() <= high.to_numpy()).all()


def test_the_diagonal_is_out_of_fold(runs, few_candidates):
    fitted = {name: ae.fit_confidence(run) for name, run in runs.items()}
    cell = transfer(runs, fitted).set_index(["fitted_on", "asked"]).loc[("one", "one")]
    answers = fitted["one"].answers
    doubt, is_right = 1 - answers["confidence"].to_numpy(), answers["is_right"].to_numpy(bool)
    by_hand = ae.analysis.auroc(doubt[~is_right], doubt[is_right])
    assert cell["auroc"] == pytest.approx(by_hand)


def test_heads_of_another_model_are_refused_and_what_any_model_has_is_not(runs, few_candidates, tmp_path):
    mixed = runs | {"other": graded_run(tmp_path / "another", seed=3, model="another", n_heads=6)}
    with pytest.raises(ae.ConfidenceError, match="another"):
        transfer(mixed, {name: ae.fit_confidence(run) for name, run in mixed.items()})
    found = transfer(mixed, {name: ae.fit_confidence(run, by_head=False) for name, run in mixed.items()})
    assert found["auroc"].notna().all()


def test_without_runs_there_is_nothing():
    auroc, _, _ = square(transfer({}, {}))
    assert auroc.isna().all(axis=None)


def test_only_graded_runs_that_the_model_wrote_are_compared(runs, tmp_path):
    more = {"no grades": graded_run(tmp_path / "none", grades=None), "few": graded_run(tmp_path / "few", 4)}
    assert list(comparable(runs | more)) == ["one", "other"]
    assert np.size(runs["one"].recorded) == 40
