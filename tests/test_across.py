"""Models pooled: against a float64 formula, what two of them can say, and how an effect goes with size."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sps
from scipy.optimize import brentq
from scipy.special import expit

from attnent.analysis import Comparison, across
from attnent.show import plots, words

Z = 1.959963984540054
MEASURES = ("normalized_entropy", "varentropy")
STAGES = ("raw", "window", "lengths fixed", "baselines fixed")
UNKNOWN = (np.nan, np.nan)
some = st.tuples(st.floats(-1.5, 1.5), st.floats(0.02, 0.6))  # an effect on the logit scale, and its error


def table_of(*effects: tuple[float, float], n_a: int = 40, n_b: int = 60) -> pd.DataFrame:
    """A table of effects on the logit scale with their errors, a row a measure."""
    rows = [(*expit(effect + np.array([0, -Z, Z]) * error), 0.01, n_a, n_b, 0.2) for effect, error in effects]
    columns = ["auroc", "low", "high", "p", "n_a", "n_b", "overlap"]
    return pd.DataFrame(rows, index=[*MEASURES[: len(rows)]], columns=columns)


def model_of(one: tuple[float, float], other: tuple[float, float] = (0.0, 0.05), **n: int) -> Comparison:
    return Comparison("incorrect", "correct", dict.fromkeys(STAGES, table_of(one, other, **n)), "window")


def formula(effects: list[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Mean, error, standard deviation between models (Paule & Mandel), and the interval's half width."""
    estimates, errors = np.array(effects).T

    def excess(tau2: float) -> float:
        weights = 1 / (errors**2 + tau2)
        middle = (weights * estimates).sum() / weights.sum()
        return (weights * (estimates - middle) ** 2).sum() - (len(effects) - 1)

    tau2 = brentq(excess, 0, 1e3, xtol=1e-14) if excess(0) > 0 else 0.0
    weights = 1 / (errors**2 + tau2)
    error = weights.sum() ** -0.5
    return (weights * estimates).sum() / weights.sum(), error, tau2**0.5, sps.t.ppf(0.975, len(effects) - 1) * error


@given(st.lists(some, min_size=2, max_size=7))
@settings(max_examples=25)
def test_the_pool_is_that_of_the_formula(effects):
    row = across.pool_models([table_of(one) for one in effects]).loc["normalized_entropy"]
    middle, error, tau, half = formula(effects)
    wanted = expit([middle, middle - half, middle + half])
    np.testing.assert_allclose(row[["auroc", "low", "high"]].astype(float), wanted, atol=2e-4)
    assert row["tau"] == pytest.approx(tau, abs=2e-3)
    assert row["p"] == pytest.approx(2 * sps.t.sf(abs(middle) / error, len(effects) - 1), abs=2e-3)
    assert (row["n_a"], row["n_b"], row["n_models"]) == (40 * len(effects), 60 * len(effects), len(effects))


@given(st.lists(some, min_size=3, max_size=7))
@settings(max_examples=25)
def test_a_further_model_would_lie_in_an_interval_that_is_wider_by_what_models_differ(effects):
    row = across.pool_models([table_of(one) for one in effects]).loc["normalized_entropy"]
    middle, error, tau, _ = formula(effects)
    half = sps.t.ppf(0.975, len(effects) - 2) * np.hypot(error, tau)
    np.testing.assert_allclose(
        row[["next_low", "next_high"]].astype(float), expit([middle - half, middle + half]), atol=2e-3
    )


def test_two_models_that_agree_are_no_proof_and_tell_nothing_of_a_third():
    row = across.pool_models([table_of((0.4, 0.1)), table_of((0.42, 0.1))]).loc["normalized_entropy"]
    assert row["low"] < 0.5 < row["high"]
    assert row["p"] > 0.05
    assert np.isnan(row["next_low"])


def test_a_model_without_a_number_stands_outside_the_pool_and_its_counts():
    known = [table_of((0.4, 0.1)), table_of((0.2, 0.1))]
    with_it = across.pool_models([*known, table_of(UNKNOWN, n_a=32, n_b=0)])
    pd.testing.assert_frame_equal(with_it, across.pool_models(known))


def test_one_model_is_no_pool():
    found = across.over_models({"only": model_of((0.8, 0.05)), "empty": model_of(UNKNOWN, UNKNOWN)})
    assert found.stages["window"].loc["normalized_entropy", ["auroc", "low", "p"]].isna().all()
    assert found.verdict["normalized_entropy"].outcome == "undecided"
    assert found.sets["only"].verdict["normalized_entropy"].outcome == "present"


def test_what_four_models_show_alike_is_present_and_what_none_shows_is_absent():
    found = across.over_models({f"m{k}": model_of((0.5 + k / 50, 0.05), (k / 100, 0.03)) for k in range(4)}).verdict
    assert [found[name].outcome for name in MEASURES] == ["present", "absent"]
    assert (found["normalized_entropy"].in_sets, found["normalized_entropy"].n_sets) == (4, 4)


def test_what_models_show_in_opposite_directions_is_undecided():
    models = {f"m{k}": model_of((0.5 * (-1) ** k, 0.05)) for k in range(4)}
    assert across.over_models(models).verdict["normalized_entropy"].outcome == "undecided"


def test_what_is_mixed_in_one_model_is_not_for_that_mixed_in_the_pool():
    opposed = {"stories": model_of((1.0, 0.1)), "poems": model_of((-1.0, 0.1))}
    models = {"mixed": replace(model_of((0.1, 0.1)), subgroups=opposed), "plain": model_of((0.1, 0.1))}
    found = across.over_models(models)
    assert found.sets["mixed"].verdict["normalized_entropy"].outcome == "mixed"
    assert found.verdict["normalized_entropy"].outcome == "undecided"


def questions() -> dict[str, Comparison]:
    models = {
        "stories260k": model_of(UNKNOWN, UNKNOWN, n_a=32, n_b=0),
        "tiny": model_of((0.1, 0.1)),
        "large": model_of((0.8, 0.1)),
    }
    return {"wrong over right": across.over_models(models)}


def test_a_table_of_models_says_of_each_what_it_has_too_little_of():
    table = across.by_model(questions()).xs("normalized_entropy", level="measure").droplevel("question")
    assert table["verdict"].to_dict() == {
        "stories260k": "undecided: n correct 0",
        "tiny": "undecided",
        "large": "present",
    }
    assert table["n second"].tolist() == [0, 60, 60]
    assert table.loc["stories260k", "window"] == "undetermined"


def test_a_table_of_models_says_where_sets_make_a_group_too_small():
    one = replace(model_of(UNKNOWN, UNKNOWN, n_a=30, n_b=80), sets={f"set {k}": model_of(UNKNOWN) for k in range(4)})
    found = across.by_model({"q": across.over_models({"m": one})})
    assert found["verdict"].tolist() == ["undecided: n incorrect 30 in 4 sets"] * 2


def test_a_table_of_models_says_where_controls_tell_the_groups_apart():
    one = model_of((0.4, 0.1))
    one.stages["baselines fixed"] = table_of(UNKNOWN, UNKNOWN).assign(overlap=0.8)
    found = across.by_model({"q": across.over_models({"m": one})})
    assert found["verdict"].tolist() == ["undecided: controls explain 80%"] * 2


def test_a_table_of_pools_counts_the_models_that_have_a_number():
    row = across.pools(questions()).loc[("wrong over right", "normalized_entropy")]
    assert (row["models"], row["in models"], row["verdict"]) == (2, "1 of 2", "undecided")
    assert row["next model"] == "undetermined"
    assert row["I²"] > 0.9
    assert row["tau"] == pytest.approx(formula([(0.1, 0.1), (0.8, 0.1)])[2], abs=1e-3)


# ---- size


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("meta-llama/Llama-3.2-1B-Instruct", "Llama-3.2"), ("meta-llama/Llama-3.2-90B-Vision-Instruct", "Llama-3.2"),
        ("SmolLM2-135M-Instruct-Q4_1-gguf-dequantised", "SmolLM2"), ("google/gemma-2-2b-it", "gemma-2"),
        ("Qwen/Qwen2.5-0.5B", "Qwen2.5"), ("stories260k", "stories"), ("tiny", "tiny"), ("gpt2", "gpt2"),
    ],
)  # fmt: skip
def test_a_family_is_what_stands_before_the_size(name, family):
    assert across.family_of(name) == family


def test_a_family_needs_three_sizes_that_are_known():
    sizes = {"a-1B": 1e9, "a-11B": 11e9, "a-3B": 3e9, "a-90B": np.nan, "b-1B": 1e9, "b-1B-chat": 1e9, "b-3B": 3e9}
    assert across.families(sizes) == {"a": ["a-1B", "a-3B", "a-11B"]}


@given(st.lists(some, min_size=3, max_size=6))
@settings(max_examples=25)
def test_the_slope_is_that_of_weighted_least_squares_and_never_surer_than_the_errors(effects):
    sizes = {f"m{k}": 10.0 ** (6 + k) for k in range(len(effects))}
    models = {name: model_of(one) for name, one in zip(sizes, effects, strict=True)}
    found = across.slope(replace(model_of((0.0, 0.1)), sets=models), "normalized_entropy", sizes)
    estimates, errors = np.array(effects).T
    x = np.arange(len(effects)) + 6.0
    weights = errors**-2
    centred = x - (weights * x).sum() / weights.sum()
    middle = (weights * centred * estimates).sum() / (weights * centred**2).sum()
    rest = estimates - (weights * estimates).sum() / weights.sum() - middle * centred
    freedom = len(effects) - 2
    spread = max(1.0, (weights * rest**2).sum() / freedom)
    half = sps.t.ppf(0.975, freedom) * np.sqrt(spread / (weights * centred**2).sum())
    np.testing.assert_allclose(found.per_tenfold, [middle, middle - half, middle + half], atol=1e-6, rtol=1e-6)


def test_models_without_a_number_have_no_slope():
    sizes = {"m1": 1e6, "m2": 1e7, "m3": 1e8}
    models = {name: model_of(one) for name, one in zip(sizes, [(0.1, 0.1), (0.2, 0.1), UNKNOWN], strict=True)}
    found = across.slope(across.over_models(models), "normalized_entropy", sizes)
    assert np.isnan(found.per_tenfold.estimate)
    assert found.n_models == 2


def grown() -> tuple[dict[str, Comparison], dict[str, float]]:
    sizes = {"a-1M": 1e6, "a-10M": 1e7, "a-100M": 1e8, "a-1B": 1e9, "tiny": np.nan}
    effects = {name: model_of((k * 0.5, 0.05)) for k, name in enumerate(sizes)}
    return {"wrong over right": across.over_models(effects)}, sizes


def test_slopes_have_a_row_a_question_family_and_measure():
    table = across.slopes(*grown())
    assert [*table.index] == [("wrong over right", "a", measure) for measure in MEASURES]
    assert table["slope"].tolist() == pytest.approx([0.5, 0.0], abs=1e-9)
    assert table.loc[("wrong over right", "a", "normalized_entropy"), "p_holm"] < 0.05
    assert across.slopes(questions(), dict.fromkeys(["stories260k", "tiny", "large"], np.nan)).empty


# ---- words and figures


def test_the_answer_counts_what_holds_and_says_what_single_models_show():
    said = words.across(questions(), across.slopes(questions(), {"stories260k": 1e6, "tiny": 2e6, "large": 3e6}), n=400)
    begin = "Pooled over 3 models, with all controls, of 2 effects none present, none absent, 2 undecided. AUROC of "
    assert said.text.startswith(begin + "normalized attention entropy and of attention varentropy: wrong over right 0.")
    assert (
        "(2 models). Present in a single model: normalized attention entropy, wrong over right, in large. " in said.text
    )
    assert said.text.endswith("cannot be told: no family has a number at 3 sizes.")
    assert said.effect == questions()["wrong over right"].interval("baselines fixed", "normalized_entropy")


def test_the_answer_on_one_model_says_that_a_comparison_needs_two():
    only = {"wrong over right": across.over_models({"tiny": model_of((0.8, 0.1))})}
    said = words.across(only, across.slopes(only, {"tiny": 2.7e6}), n=100)
    assert said.text.startswith("There is one model, tiny, and a comparison needs two; with all controls, of 2 ")
    assert "normalized attention entropy and of attention varentropy: wrong over right 0.69 [" in said.text
    assert said.effect is not None
    assert round(said.effect.estimate, 2) == 0.69


def test_the_answer_names_effects_that_change_with_size():
    said = words.across(grown()[0], across.slopes(*grown()), n=100).text
    assert said.endswith("With size 1 of 2 effects changes: normalized attention entropy in a, wrong over right.")


def test_slopes_that_are_undetermined_are_not_said_to_be_none():
    sizes = {"a-1M": 1e6, "a-3M": 3e6, "a-9M": 9e6}
    effects = [(0.1, 0.1), UNKNOWN, UNKNOWN]
    models = {name: model_of(one, UNKNOWN) for name, one in zip(sizes, effects, strict=True)}
    ways = {"wrong over right": across.over_models(models)}
    assert words.across(ways, across.slopes(ways, sizes), n=9).text.endswith("no family has a number at 3 sizes.")


def test_a_forest_of_models_has_a_row_a_model_with_its_size_and_their_pool_below():
    figure = plots.forests(questions(), title="t", sizes={"stories260k": 260_032.0, "tiny": np.nan, "large": 1.24e9})
    labels = ["stories260k<br>260 k (n = 32 + 0)", "tiny<br>(n = 40 + 60)", "large<br>1.24 B (n = 40 + 60)"]
    assert list(figure.layout.yaxis.ticktext) == [*labels, "pooled<br>(n = 80 + 120)"]
    tested, controlled = figure.data[:2]
    assert [tested.name, controlled.name] == ["window", "baselines fixed"]
    assert np.isnan(controlled.x).tolist() == [True, False, False, False]
    assert list(controlled.marker.symbol) == ["square"] * 3 + ["diamond"]
    assert figure.layout.annotations[0].text.startswith("<b>wrong over right</b><br>normalized attention entropy<br>0.")
    assert sum(bool(trace.showlegend) for trace in figure.data) == 2


def test_a_forest_of_one_model_has_no_pool_and_one_of_many_says_where_a_further_one_would_lie():
    only = plots.forests({"q": across.over_models({"tiny": model_of((0.8, 0.1))})}, title="t")
    assert len(only.layout.yaxis.ticktext) == 1
    assert "a further model (95 %)" in {trace.name for trace in plots.forests(grown()[0], title="t").data}
    nothing = plots.forests({"q": across.over_models({"m": model_of(UNKNOWN, UNKNOWN)})}, title="t")
    assert "too few responses" in nothing.layout.annotations[0].text


def test_differences_of_models_have_a_panel_a_question_and_a_line_a_model():
    steps = pd.DataFrame({"step": range(5), "mean": 0.1, "low": 0.0, "high": 0.2, "n": 9})
    table = pd.concat([steps.assign(group=model) for model in ("tiny", "large")])
    figure = plots.differences({"one": table, "empty": table.head(0), "two": table}, "entropy", title="t")
    assert [note.text for note in figure.layout.annotations] == ["one", "two"]
    lines = [trace for trace in figure.data if trace.name]
    assert [(line.name, line.showlegend) for line in lines] == [
        ("tiny", True), ("large", True), ("tiny", False), ("large", False)
    ]  # fmt: skip
    assert figure.layout.yaxis.title.text == "difference (nat)"
    assert "too few responses" in plots.differences({}, "entropy", title="t").layout.annotations[0].text


def test_effects_by_size_stand_over_parameters_on_a_logarithmic_axis():
    ways, sizes = grown()
    figure = plots.by_size(ways["wrong over right"], across.families(sizes), sizes, title="t")
    line = figure.data[0]
    np.testing.assert_allclose(line.x, [1e6, 1e7, 1e8, 1e9])
    np.testing.assert_allclose(line.y, expit([0, 0.5, 1.0, 1.5]))
    np.testing.assert_allclose(line.error_y.array, expit(np.arange(4) * 0.5 + Z * 0.05) - line.y)
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.ticktext == ("1 M", "10 M", "100 M", "1 B")
    nothing = plots.by_size(across.over_models({"m": model_of(UNKNOWN, UNKNOWN)}), {}, {}, title="t")
    assert "too few responses" in nothing.layout.annotations[0].text
