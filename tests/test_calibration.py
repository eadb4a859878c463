"""Every public comparison errs as often as it says: simulations with planted truth, fewer of them than in the README.

At 5 % false positives lie in 3 to 7 %, and 95 % intervals hold the truth in 93 to 97 %, each with an allowance of 2.5
standard errors of the simulation itself; with 150 simulations or fewer only the upper bound can fail. What is known to
lie elsewhere is listed with its measured figure, and is held to that.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


def load_script():
    spec = importlib.util.spec_from_file_location("calibration_benchmark", ROOT / "benchmarks" / "calibration.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


calibration = load_script()
ALLOWED = 2.5  # standard errors of a simulation
SEED = 1  # the README's tables have 0
MOST = ["10", "20", "50", "100", "10 : 90", "20 : 180"]
SOME = ["20", "100", "10 : 90"]  # sizes that stand for all where a simulation takes long

CHECKED = {  # simulations, and sizes
    "two covariates fixed (`compare_adjusted`)": (300, MOST),
    "fixed, clusters of 2": (300, MOST),
    "fixed as learned": (60, ["100"]),
    "pooled over 4 such sets": (150, SOME),
    "pooled over 4 sets that truly differ, by 0.2 sd": (150, ["100"]),
    "3 such subgroups differ": (150, ["10", "100"]),
    "any head of a map of 36 (`head_map`)": (100, SOME),
    "any head, clusters of 2": (100, SOME),
    "any head, clusters of 1 in one group, of 2 in the other": (100, ["20", "100"]),
    "any head, two covariates fixed": (100, ["20"]),
    "the wrong line (`wrong_line.controlled`)": (100, ["20 : 180"]),
    "gain of a probe (`locating.gain`)": (500, ["10", "20", "50"]),
}
ELSEWHERE = {  # what the README's tables measured beyond the bounds
    ("two covariates fixed (`compare_adjusted`)", "10"): 0.025,  # cautious: the jackknife, 14 degrees of freedom
    ("pooled over 4 such sets", "20"): 0.023,  # cautious: chance alone makes sets seem to differ
    ("3 such subgroups differ", "10"): 0.023,  # cautious, as are the intervals
    ("gain of a probe (`locating.gain`)", "10"): 0.028,  # cautious: few different values
    ("pooled over 4 sets that truly differ, by 0.2 sd", "100"): 0.108,  # bold: normal weights for four sets
    ("AUROC 0.5", "10"): 0.986,  # wide
    ("AUROC 0.7", "10"): 0.980,  # wide
    ("AUROC 0.92", "10"): 0.980,  # wide
    ("AUROC 0.92", "10 : 90"): 0.918,  # narrow
}
TOO_FEW = {  # fewer than ten clusters in a group
    "clusters of 2 across the groups": ("10", "10 : 90"),
    "clusters of 5 across the groups": ("10", "20", "10 : 90"),
    "clusters of 2 within a group": ("10", "10 : 90"),
    "clusters of 5 within a group": ("10", "20", "10 : 90", "20 : 180"),
    "fixed, clusters of 2": ("10", "10 : 90"),
    "paired, clusters of 2": ("10",),
    "any head, clusters of 2": ("10 : 90",),
}
ALL_CASES = {**calibration.FALSE_POSITIVES, **calibration.COVERAGE}
IGNORED = "the same, clusters ignored"


def cells(cases):
    return [
        pytest.param(label, one, n, id=f"{label}, {one}")
        for label, case in cases.items()
        for n, sizes in [CHECKED.get(label, (600, None))]
        for one in case.sizes
        if label != IGNORED and (sizes is None or str(one) in sizes)
    ]


def bounds(label, sizes, low, high, n):
    """The bounds, or the figure that is known to lie elsewhere, and what chance allows around them."""
    low, high = [ELSEWHERE.get((label, str(sizes)), one) for one in (low, high)]
    return [one + side * ALLOWED * np.sqrt(one * (1 - one) / n) for side, one in ((-1, low), (1, high))]


@pytest.mark.slow
@pytest.mark.parametrize(("label", "sizes", "n"), cells(calibration.FALSE_POSITIVES))
def test_a_difference_is_found_where_there_is_none_as_often_as_is_said(label, sizes, n):
    found = ALL_CASES[label].share(sizes, n, SEED)
    low, high = bounds(label, sizes, 0.03, 0.07, n)
    if str(sizes) in TOO_FEW.get(label, ()):
        assert np.isnan(found)
    else:
        assert low <= found <= high


@pytest.mark.slow
@pytest.mark.parametrize(("label", "sizes", "n"), cells(calibration.COVERAGE))
def test_an_interval_holds_the_truth_as_often_as_it_says(label, sizes, n):
    low, high = bounds(label, sizes, 0.93, 0.97, n)
    assert low <= ALL_CASES[label].share(sizes, n, SEED) <= high


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [calibration.Sizes(20, 20), calibration.Sizes(50, 450)])
def test_clusters_that_are_ignored_make_false_positives(sizes):
    assert calibration.FALSE_POSITIVES[IGNORED].share(sizes, 300, SEED) > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("shift", calibration.POWER)
def test_a_planted_difference_is_found_as_often_as_theory_says(shift):
    case = calibration.POWER[shift]
    for sizes in case.sizes:
        wanted = calibration.theory(shift, sizes)
        chance = np.sqrt(wanted * (1 - wanted) / 800)
        assert case.share(sizes, 800, SEED) == pytest.approx(wanted, abs=0.02 + ALLOWED * chance)


def test_a_difference_of_a_standard_deviation_is_nearly_always_found():
    case = calibration.Case(calibration.partial(calibration.raw, shift=1.0))
    assert case.share(calibration.Sizes(100, 100), 100) > 0.99


def test_a_share_that_few_simulations_have_is_none():
    few = calibration.Case(lambda sizes, n, rng: np.where(np.arange(n) < 0.8 * n, 1.0, np.nan))
    assert np.isnan(few.share(calibration.Sizes(10, 10)))
    assert calibration.percent(np.nan) == "–"


def test_clusters_are_of_one_group_or_of_both():
    sizes, rng = calibration.Sizes(50, 450), np.random.default_rng(0)
    for nested in (True, False):
        is_a, clusters = calibration.design(sizes, rng, 5, nested)
        assert (np.bincount(clusters) == 5).all()
        groups_of = [len(np.unique(is_a[clusters == one])) for one in range(100)]
        assert (max(groups_of) == 1) == nested


def test_unlike_clusters_are_of_one_in_one_group_and_of_two_in_the_other():
    is_a, clusters = calibration.unlike(calibration.Sizes(30, 40))
    assert (np.bincount(clusters[is_a])[:30] == 1).all()
    assert (np.bincount(clusters[~is_a])[30:] == 2).all()
    assert not {*clusters[is_a]} & {*clusters[~is_a]}


def test_values_of_one_cluster_go_together_as_much_as_is_said():
    made = calibration.design(calibration.Sizes(1_000, 1_000), np.random.default_rng(0), 2, nested=True)
    pairs = made.noise(np.random.default_rng(1)).reshape(-1, 2)
    assert np.corrcoef(pairs.T)[0, 1] == pytest.approx(calibration.ICC, abs=0.05)


def test_only_what_is_between_the_marks_is_written():
    text = f"a\n{calibration.BEGIN}\nold\n{calibration.END}\nb"
    assert calibration.written(text, "new") == text.replace("old", "new")
    with pytest.raises(ValueError, match="0 places are marked"):
        calibration.written("a", "new")


def test_the_readme_shows_every_case():
    shown = (ROOT / "README.md").read_text().split(calibration.BEGIN)[1].split(calibration.END)[0]
    assert [label for label in ALL_CASES if f"| {label} |" not in shown] == []
