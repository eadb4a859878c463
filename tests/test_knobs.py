"""Knobs draw what they say, of the run they say, and never run a model."""

import numpy as np
import pandas as pd
import pytest
from test_trace import filled

from attnent import analysis, knobs
from attnent.runs import Run
from attnent.trace import MEASURES, make_trace

N_RESPONSES, N_STEPS = 24, 7


def record(folder, *, layers=(1, 4), seed=0, graded=True, task="made", sampling=None, **columns):
    """A Run folder of random numbers, whose wrong responses are wider."""
    ids = [f"r{place:02d}" for place in range(N_RESPONSES)]
    sampling = {"temperature": 0.0, "seed": seed} if sampling is None else sampling
    identity = {"task": task, "model": folder.parent.name, **sampling}
    run = Run.start(folder, identity=identity, examples=pd.DataFrame({"id": ids, "prompt": "p"} | columns))
    random = np.random.default_rng(seed)
    for place, response_id in enumerate(ids):
        shape = (len(layers), 3, N_STEPS)
        values = {name: (random.random(shape) + place % 2).astype(np.float32) for name in MEASURES}
        keys = np.full((len(layers), N_STEPS), 20, np.int32)
        about = {"layer": list(layers), "layer_kind": ["self"] * len(layers), "n_keys": keys, "measures": values}
        run.save(response_id, make_trace(**filled() | about))
    if graded:
        grades = [{"response_id": id_, "judge": "j", "grade": ("right", "wrong")[k % 2]} for k, id_ in enumerate(ids)]
        run.add_labels("grades", grades)
    return run


@pytest.fixture
def run(tmp_path):
    return record(tmp_path / "made" / "small" / "aa")


def grade_of(run):
    return run.labels("grades").set_index("response_id")["grade"]


def knob(shown, name):
    return next(one for one in shown.children[0].children if one.description == name)


def means(shown, group):
    return np.asarray(next(one.y for one in shown.figure.data if one.name == group), float)


def said(shown):
    [output] = shown.children[1].outputs
    return output["data"].get("text/plain")


def test_the_first_figure_is_the_mean_over_all_layers_and_heads(run):
    shown = knobs.curves(run, grade_of)
    wrong = [response_id for response_id, grade in grade_of(run).items() if grade == "wrong"]
    expected = run.stack("entropy").sel(response=wrong).mean(["response", "layer", "head"])
    np.testing.assert_allclose(means(shown, "wrong"), expected, rtol=1e-5)
    assert [knob(shown, axis).label for axis in ("layer", "head")] == ["all layers", "all heads"]


def test_the_bands_of_a_curve_are_said_to_be_pointwise(run):
    assert "pointwise 95 % bands" in knobs.curves(run, grade_of).figure.layout.title.text


@pytest.mark.parametrize("measure", ["varentropy", "sinkless_entropy", "effective_keys"])
def test_a_turned_knob_shows_that_measure_layer_and_head(run, measure):
    shown = knobs.curves(run, grade_of)
    knob(shown, "measure").value, knob(shown, "layer").value, knob(shown, "head").value = measure, 4, 2
    right = [response_id for response_id, grade in grade_of(run).items() if grade == "right"]
    expected = run.stack(measure).sel(response=right, layer=4, head=2).mean("response")
    kept = ~np.isnan(expected.values)
    np.testing.assert_allclose(means(shown, "right"), expected[kept], rtol=1e-5)
    assert "layer 4, head 2" in shown.figure.layout.title.text


def test_a_group_that_is_not_chosen_is_not_drawn_and_the_other_keeps_its_line(run):
    shown = knobs.curves(run, grade_of)
    before = next(one.line for one in shown.figure.data if one.name == "wrong")
    knob(shown, "groups").value = ("wrong",)
    assert {one.name for one in shown.figure.data if one.name} == {"wrong"}
    assert next(one.line for one in shown.figure.data if one.name == "wrong") == before


def test_where_no_group_is_chosen_the_figure_says_that_there_is_nothing_to_show(run):
    shown = knobs.curves(run, grade_of)
    knob(shown, "groups").value = ()
    assert "nothing to show" in shown.figure.layout.annotations[0].text


def test_another_model_of_the_same_task_can_be_chosen_and_offers_its_own_layers(run, tmp_path):
    record(tmp_path / "made" / "large" / "bb", layers=(0, 1, 2), seed=1)
    record(tmp_path / "made" / "other" / "cc", task="another")
    shown = knobs.curves(run, grade_of)
    knob(shown, "layer").value = 1
    models = knob(shown, "model")
    assert [label.split(",")[0] for label, _ in models.options] == ["small", "large"]
    models.value = models.options[1][1]
    assert [value for _, value in knob(shown, "layer").options] == ["all", 0, 1, 2]
    assert knob(shown, "layer").value == 1, "what was chosen stays chosen"
    assert shown.figure.layout.title.text.startswith("large, layer 1")


def test_a_damaged_recording_is_not_offered(run, tmp_path):
    (tmp_path / "made" / "broken" / "dd").mkdir(parents=True)
    (tmp_path / "made" / "broken" / "dd" / "run.json").write_text("{")
    assert len(knob(knobs.curves(run, grade_of), "model").options) == 1


def test_a_recording_without_the_groups_says_so_where_the_figure_would_be(run, tmp_path):
    record(tmp_path / "made" / "large" / "bb", graded=False)
    shown = knobs.curves(run, grade_of)
    models = knob(shown, "model")
    models.value = models.options[1][1]
    assert "no such groups" in said(shown)
    models.value = run
    assert said(shown) is None, "a figure again"


@pytest.mark.parametrize("draw", [knobs.curves, lambda run, of: knobs.head_map(run, of, "wrong", "right")])
def test_groups_that_no_response_has_are_said_to_be_missing(run, draw):
    assert "no such groups" in said(draw(run, lambda run: grade_of(run).iloc[:0]))


def test_a_head_map_compares_the_groups_that_are_chosen(run):
    shown = knobs.head_map(run, grade_of, "wrong", "right")
    grades = grade_of(run)
    expected = analysis.head_map(run.stack("entropy").mean("step"), grades, "wrong", "right")
    np.testing.assert_allclose(np.asarray(shown.figure.data[0].z, float), expected.auroc)
    knob(shown, "against").value = "wrong"
    assert said(shown) == "'wrong' cannot be compared with itself; give two different groups"
    knob(shown, "group").value = "right"
    np.testing.assert_allclose(np.asarray(shown.figure.data[0].z, float), 1 - expected.auroc)


def aurocs(shown):
    """The raw map, and the one under all controls."""
    raw, controlled = (one for one in shown.figure.data if one.type == "heatmap")
    return np.asarray(raw.z, float), np.asarray(controlled.z, float)


def halves_of(run):
    """Groups that nothing recorded tells apart."""
    return pd.Series(["wrong"] * 12 + ["right"] * 12, index=run.recorded)


def test_a_run_whose_responses_were_read_stands_among_the_models(run, tmp_path):
    record(tmp_path / "made" / "small" / "bb", sampling={"reads": "text"})
    labels = [label for label, _ in knob(knobs.curves(run, grade_of), "model").options]
    assert labels == ["small, n = 24, temperature 0.0, seed 0, aa", "small, n = 24, read, bb"]


def test_beside_the_raw_map_stands_the_one_with_lengths_and_token_baselines_fixed(run):
    held = run.responses.set_index("response_id")[["n_prompt", "n_steps"]]
    held = held.join(run.tokens.groupby("response_id")[["token_entropy", "logprob"]].mean())
    values = run.stack("entropy").mean("step")
    expected = analysis.head_map(values, halves_of(run), "wrong", "right", covariates=held)
    raw, controlled = aurocs(knobs.head_map(run, halves_of, "wrong", "right"))
    np.testing.assert_allclose(controlled, expected.auroc)
    assert (controlled != raw).all()


def test_responses_to_few_problems_are_few_however_many_they_are(tmp_path):
    run = record(tmp_path / "made" / "small" / "aa", group=[f"problem {place // 6}" for place in range(N_RESPONSES)])
    shown = knobs.head_map(run, halves_of, "wrong", "right")
    assert "nothing to show" in shown.figure.layout.annotations[0].text


def test_a_head_map_holds_fixed_what_the_notebook_knows_of_the_responses(run):
    asked = []

    def difficulty_of(one):
        asked.append(one)
        return pd.DataFrame({"hard": np.arange(N_RESPONSES) % 2 * 1.0}, index=one.recorded)

    _, controlled = aurocs(knobs.head_map(run, grade_of, "wrong", "right", covariates_of=difficulty_of))
    assert asked == [run]
    assert np.isnan(controlled).all(), "what tells the groups apart leaves nothing to compare"


def test_what_is_displayed_holds_the_figure_for_readers_without_widgets(run):
    bundle = knobs.curves(run, grade_of)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert len(bundle["application/vnd.plotly.v1+json"]["data"]) == 6


def test_where_no_figure_can_be_drawn_the_sentence_is_displayed(run):
    bundle = knobs.head_map(run, lambda run: grade_of(run).iloc[:1], "wrong", "right")._repr_mimebundle_()
    assert bundle["text/plain"] == "'right' cannot be compared with itself; give two different groups"
    assert "application/vnd.plotly.v1+json" not in bundle


def test_a_head_map_of_groups_that_are_not_there_compares_two_that_are(run):
    shown = knobs.head_map(run, grade_of, "good", "bad")
    assert (knob(shown, "group").value, knob(shown, "against").value) == ("right", "wrong")


def test_a_response_without_a_group_is_left_out(run):
    shown = knobs.curves(run, lambda run: grade_of(run).iloc[:12])
    counts = [one.y for one in shown.figure.data if one.line.shape == "hv"]
    assert [max(count) for count in counts] == [6, 6]
