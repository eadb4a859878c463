"""Responses that are not independent: variances, intervals, p-values and maps by whole clusters."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats as sps
from scipy.special import expit, logit
from statsmodels.stats.multitest import multipletests

from attnent import analysis
from attnent.analysis.comparison import auroc_test, holm
from attnent.analysis.heads import _exchanges
from attnent.analysis.regression import bent, cross_fitted, held_fixed


def clustered(seed: int, n: int = 120, size: int = 3, shift: float = 0.4):
    """Values, groups and clusters that span both groups; values of one cluster go together."""
    rng = np.random.default_rng(seed)
    clusters = rng.permutation(np.arange(n) // size)
    is_a = rng.random(n) < 0.45
    return rng.normal(size=n // size)[clusters] + rng.normal(size=n) + shift * is_a, is_a, clusters


def table_of(values, is_a, clusters) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    names = pd.Index([f"r{place}" for place in range(len(values))], name="response_id")
    groups = pd.Series(np.where(is_a, "a", "b"), index=names)
    return pd.DataFrame({"x": values}, index=names), groups, pd.Series(clusters, index=names).map("c{}".format)


def test_the_interval_is_that_of_obuchowskis_components_summed_one_pair_at_a_time():
    values, is_a, clusters = clustered(1)
    a, b = np.flatnonzero(is_a), np.flatnonzero(~is_a)
    kernel = np.array([[(values[i] > values[j]) + (values[i] == values[j]) / 2 for j in b] for i in a])
    theta = kernel.mean()
    of_a = {c: (kernel[clusters[a] == c].mean(axis=1) - theta).sum() for c in np.unique(clusters[a])}
    of_b = {c: (kernel[:, clusters[b] == c].mean(axis=0) - theta).sum() for c in np.unique(clusters[b])}
    n_a, n_b, n = len(of_a), len(of_b), len({*of_a, *of_b})
    variance_a = n_a / (n_a - 1) * sum(one**2 for one in of_a.values()) / len(a) ** 2
    variance_b = n_b / (n_b - 1) * sum(one**2 for one in of_b.values()) / len(b) ** 2
    shared = sum(of_a[c] * of_b[c] for c in {*of_a} & {*of_b}) / len(a) / len(b)
    error = np.sqrt(variance_a + variance_b + 2 * n / (n - 1) * shared)
    freedom = (variance_a + variance_b) ** 2 / (variance_a**2 / (n_a - 1) + variance_b**2 / (n_b - 1))
    reach = sps.t.ppf(0.975, freedom) * error / (theta * (1 - theta))
    found = auroc_test(values, is_a, clusters)
    wanted = [theta, *expit(logit(theta) + np.array([-reach, reach]))]
    np.testing.assert_allclose(found.interval, wanted, rtol=1e-12)
    assert found.p == pytest.approx(2 * sps.t.sf(abs(theta - 0.5) / error, freedom))


@given(st.lists(st.integers(-4, 4), min_size=30, max_size=60), st.integers(10, 18))
@settings(max_examples=40)
def test_with_clusters_of_one_p_is_that_of_brunner_and_munzel(values, n_a):
    values = np.array(values, float)
    is_a = np.arange(len(values)) < n_a
    assume(0 < analysis.auroc(values[is_a], values[~is_a]) < 1 and np.ptp(values) > 0)
    found = auroc_test(values, is_a, np.arange(len(values)))
    assert found.p == pytest.approx(sps.brunnermunzel(values[is_a], values[~is_a]).pvalue)


def test_a_response_counted_five_times_is_no_more_certain():
    values, is_a, _ = clustered(2, size=1)
    once = auroc_test(values, is_a, np.arange(len(values))).interval
    again = auroc_test(np.repeat(values, 5), np.repeat(is_a, 5), np.repeat(np.arange(len(values)), 5)).interval
    np.testing.assert_allclose(again, once, rtol=1e-9)


def test_groups_that_separate_have_an_interval_that_is_no_point():
    found = auroc_test(np.arange(24.0), np.arange(24) >= 12, np.arange(24))
    assert found.interval.estimate == found.interval.high == 1.0
    assert 0.7 < found.interval.low < 0.9
    assert found.p < 0.001


def test_fewer_than_ten_clusters_give_no_number():
    values, is_a, clusters = clustered(3, n=120, size=15)
    assert np.isnan(auroc_test(values, is_a, clusters).p)
    assert np.isnan(held_fixed(values, is_a, pd.DataFrame({"z": values}), clusters).test.p)


def test_compare_names_what_is_wrong_with_what_it_was_given():
    table, groups, clusters = table_of(*clustered(4))
    with pytest.raises(analysis.StatsError, match="no column y"):
        analysis.compare(table, ["y"], groups, "a", "b")
    with pytest.raises(analysis.StatsError, match="cannot be compared with itself"):
        analysis.compare(table, ["x"], groups, "a", "a")
    with pytest.raises(analysis.StatsError, match="3 responses have no cluster"):
        analysis.compare(table, ["x"], groups, "a", "b", clusters.iloc[3:])


def test_an_empty_class_and_three_responses_give_rows_without_numbers():
    table, groups, clusters = table_of(*clustered(5))
    assert analysis.compare(table, ["x"], groups, "a", "nobody", clusters).loc["x", ["n_a", "n_b"]].tolist()[1] == 0
    three = analysis.compare(table.iloc[:3], ["x"], groups, "a", "b", clusters)
    assert three[["auroc", "low", "high", "p"]].isna().all(axis=None)
    none = analysis.compare_adjusted(table.assign(z=1.0, x=np.nan), ["x"], groups, "a", "b", ["z"], clusters)
    assert none[["auroc", "p"]].isna().all(axis=None)


@given(st.lists(st.one_of(st.floats(0, 1), st.just(np.nan)), min_size=1, max_size=9))
def test_holm_is_that_of_statsmodels_over_what_is_not_missing(values):
    p = pd.Series(values, index=[f"m{place}" for place in range(len(values))])
    found = holm(p)
    assert (found.isna() == p.isna()).all()
    if p.notna().any():
        np.testing.assert_allclose(found.dropna(), multipletests(p.dropna(), method="holm")[1], rtol=1e-12)


# ---- covariates held fixed


def with_covariates(seed: int, n: int = 200, size: int = 2):
    rng = np.random.default_rng(seed)
    values, is_a, clusters = clustered(seed, n, size)
    covariates = pd.DataFrame({"z": rng.normal(size=n) + is_a, "w": rng.integers(0, 2, n)})
    return values + covariates["z"].to_numpy(), is_a, covariates, clusters


def design_of(is_a, covariates):
    return np.column_stack([is_a.astype(float), bent(covariates)])


def error_of(found, values, is_a, covariates) -> float:
    """The standard error that an interval on the scale of AUROC stands for."""
    fit = sm.OLS(values, design_of(is_a, covariates)).fit()
    low, high = (np.sqrt(2) * sps.norm.ppf(end) * np.sqrt(fit.scale) for end in found.test.interval[1:])
    return (high - low) / 2


def test_errors_are_those_of_leaving_out_each_cluster_in_turn():
    values, is_a, covariates, clusters = with_covariates(6)
    design = design_of(is_a, covariates)
    effect = np.linalg.lstsq(design, values, rcond=None)[0][0]
    left_out = [
        np.linalg.lstsq(design[clusters != one], values[clusters != one], rcond=None)[0][0]
        for one in np.unique(clusters)
    ]
    wanted = np.sqrt(((np.array(left_out) - effect) ** 2).sum())
    freedom = len(np.unique(clusters)) - design.shape[1]
    found = held_fixed(values, is_a, covariates, clusters)
    assert error_of(found, values, is_a, covariates) == pytest.approx(sps.t.ppf(0.975, freedom) * wanted)
    assert found.test.p == pytest.approx(2 * sps.t.sf(abs(effect) / wanted, freedom))


def test_with_clusters_of_one_errors_are_hc3():
    values, is_a, covariates, _ = with_covariates(7)
    fit = sm.OLS(values, design_of(is_a, covariates)).fit(cov_type="HC3", use_t=True)
    found = held_fixed(values, is_a, covariates, np.arange(len(values)))
    assert found.test.p == pytest.approx(fit.pvalues[0])


def test_covariates_that_tell_the_groups_apart_are_refused_and_say_how_much_they_explain():
    rng = np.random.default_rng(8)
    values, is_a, clusters = clustered(8)
    table, groups, of = table_of(values, is_a, clusters)
    near = is_a + 0.2 * rng.normal(size=len(is_a))
    row = analysis.compare_adjusted(table.assign(z=near), ["x"], groups, "a", "b", ["z"], of).loc["x"]
    assert row["overlap"] > 0.75
    assert np.isnan(row["auroc"])


@pytest.mark.parametrize("learned", [False, True])
def test_what_a_covariate_explains_is_gone_and_what_is_beside_it_stays(learned):
    rng = np.random.default_rng(9)
    n, clusters = 600, np.arange(600) // 2
    is_a = rng.random(n) < 0.5
    z = rng.normal(size=n) + is_a
    tables = {"gone": 2 * z + rng.normal(size=n), "stays": 2 * z + 1.0 * is_a + rng.normal(size=n), "z": z}
    _, groups, of = table_of(z, is_a, clusters)
    table = pd.DataFrame(tables, index=groups.index)
    found = analysis.compare_adjusted(table, ["gone", "stays"], groups, "a", "b", ["z"], of, learned=learned)
    assert found.loc["gone", "low"] < 0.5 < found.loc["gone", "high"]
    assert found.loc["stays", "auroc"] == pytest.approx(sps.norm.cdf(1 / np.sqrt(2)), abs=0.06)


def test_only_what_is_learned_follows_a_covariate_that_acts_in_steps():
    rng = np.random.default_rng(10)
    z = rng.uniform(-3, 3, 800)
    step = np.sin(3 * z)
    is_a = step + rng.normal(size=800) > 0
    values, clusters = 2 * step + rng.normal(size=800), np.arange(800)
    straight, learned = (hold(values, is_a, pd.DataFrame({"z": z}), clusters) for hold in (held_fixed, cross_fitted))
    assert straight.test.interval.estimate > 0.7
    assert abs(learned.test.interval.estimate - 0.5) < 0.5 * abs(straight.test.interval.estimate - 0.5)


# ---- maps


def test_clusters_change_places_whole_with_others_of_their_size_and_members_within_them():
    clusters = np.array([0, 0, 1, 1, 2, 3, 4, 4, 4])
    sizes, seen = np.bincount(clusters)[clusters], set()
    for _, order in zip(range(50), _exchanges(clusters, np.random.default_rng(0)), strict=False):
        assert sorted(order) == list(range(9))
        assert (sizes[order] == sizes).all()
        assert clusters[order][0] == clusters[order][1]
        assert sorted(order[6:]) == [6, 7, 8]
        seen.add(tuple(order[6:]))
    assert len(seen) == 6


def paired_map(seed: int, n: int = 40):
    """Pairs of a and b that go together, a head planted in half of the spread within pairs."""
    rng = np.random.default_rng(seed)
    names = [f"r{place}" for place in range(2 * n)]
    values = np.repeat(2 * rng.normal(size=(n, 3, 4)), 2, axis=0) + rng.normal(size=(2 * n, 3, 4))
    found = xr.DataArray(values, dims=("response", "layer", "head"), coords={"response": names})
    return found, pd.Series(["a", "b"] * n, index=names), pd.Series(np.repeat(np.arange(n), 2), index=names)


def test_a_head_planted_within_pairs_is_found():
    values, groups, clusters = paired_map(3)
    values[::2, 1, 3] += 1.2
    found = analysis.head_map(values, groups, "a", "b", clusters=clusters)
    assert np.argwhere((found.p_max_t < 0.05).to_numpy()).tolist() == [[1, 3]]


@pytest.mark.slow
def test_maps_of_pairs_without_a_difference_seldom_flag_a_head():
    flagged = 0
    for seed in range(60):
        values, groups, clusters = paired_map(seed, n=20)
        flagged += bool((analysis.head_map(values, groups, "a", "b", clusters=clusters).p_max_t < 0.05).any())
    assert flagged <= 8


def map_values(seed: int, n: int = 80):
    rng = np.random.default_rng(seed)
    names = [f"r{place}" for place in range(n)]
    covariates = pd.DataFrame({"z": rng.normal(size=n)}, index=names)
    is_a = covariates["z"].to_numpy() + rng.normal(size=n) > 0
    values = 2 * covariates["z"].to_numpy()[:, None, None] + rng.normal(size=(n, 3, 4))
    found = xr.DataArray(values, dims=("response", "layer", "head"), coords={"response": names})
    return found, pd.Series(np.where(is_a, "a", "b"), index=names), covariates


def test_a_map_under_control_has_the_auroc_of_compare_adjusted_head_by_head():
    values, groups, covariates = map_values(11)
    found = analysis.head_map(values, groups, "a", "b", covariates=covariates)
    table = covariates.assign(x=values[:, 1, 2].to_numpy())
    wanted = analysis.compare_adjusted(table, ["x"], groups, "a", "b", ["z"]).loc["x", "auroc"]
    assert float(found.auroc[1, 2]) == pytest.approx(wanted)


def test_heads_that_a_covariate_sets_apart_are_shown_raw_and_not_under_control():
    values, groups, covariates = map_values(12)
    assert int((analysis.head_map(values, groups, "a", "b").p_max_t < 0.05).sum()) == 12
    assert int((analysis.head_map(values, groups, "a", "b", covariates=covariates).p_max_t < 0.05).sum()) == 0


def test_a_head_planted_beside_the_covariate_is_the_one_found():
    values, groups, covariates = map_values(13)
    values[(groups == "a").to_numpy(), 2, 1] += 2
    found = analysis.head_map(values, groups, "a", "b", covariates=covariates)
    assert np.argwhere((found.p_max_t < 0.05).to_numpy()).tolist() == [[2, 1]]


def test_p_of_a_map_under_control_is_that_of_regressing_permuted_residuals_by_hand():
    values, groups, covariates = map_values(14, n=40)
    found = analysis.head_map(values, groups, "a", "b", covariates=covariates)
    flat, others = values.to_numpy().reshape(40, -1), bent(covariates)
    full = np.column_stack([(groups == "a").astype(float), others])

    def largest(rows):
        return max(abs(sm.OLS(column, full).fit().tvalues[0]) for column in rows.T)

    fitted = others @ np.linalg.lstsq(others, flat, rcond=None)[0]
    rng = np.random.default_rng(1)
    null = np.array([largest(fitted + rng.permutation(flat - fitted)) for _ in range(300)])
    observed = np.array([abs(sm.OLS(column, full).fit().tvalues[0]) for column in flat.T])
    by_hand = (null[:, None] >= observed).mean(axis=0)
    np.testing.assert_allclose(found.p_max_t.to_numpy().ravel(), by_hand, atol=0.1)


def test_a_map_whose_covariates_tell_the_groups_apart_is_empty():
    values, groups, _ = map_values(15)
    apart = pd.DataFrame({"z": (groups == "a").astype(float)})
    assert analysis.head_map(values, groups, "a", "b", covariates=apart).auroc.isnull().all()
