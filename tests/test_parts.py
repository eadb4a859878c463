"""A recording that keeps less: some measures, some layers; what is kept is what all would have been."""

import numpy as np
import pandas as pd
import pytest
from conftest import N_LAYERS
from made_up import made_up_trace

import attnent as ae
from attnent import trace as traces

EXAMPLES = pd.DataFrame({"id": ["a", "b", "c"], "prompt": ["an", "in the tin", "a thin antenna"]})
RECORDED = {"normalized_entropy": {"entropy"}, "sinkless_varentropy": {"entropy", "varentropy", "sink_mass"}}


@pytest.fixture
def record(llama, tokenizer, tmp_path):
    def record(**asked):
        settings = {"max_new_tokens": 7, "temperature": 0.8, "progress": False}
        return ae.record(llama, tokenizer, EXAMPLES, task="t", out_dir=tmp_path, **settings, **asked)

    return record


@pytest.mark.parametrize("name", RECORDED)
def test_what_a_measure_is_made_of_is_kept_and_nothing_else(record, name):
    trace = record(measures=[name]).trace("b")
    assert set(trace.data_vars) & set(traces.MEASURES) == RECORDED[name]
    np.testing.assert_array_equal(traces.measure(trace, name), traces.measure(record().trace("b"), name))


def test_only_the_layers_asked_for_are_kept_under_their_own_numbers(record):
    whole, part = record(columns=True, top_keys=2), record(columns=True, top_keys=2, layers=[2, 0])
    assert part.folder != whole.folder
    kept = part.trace("c")
    assert kept["layer"].values.tolist() == [0, 2]
    for name in (*traces.MEASURES, *traces.KEY_MEASURES, "n_keys"):
        np.testing.assert_array_equal(kept[name], whole.trace("c")[name].sel(layer=[0, 2]), err_msg=name)
    assert kept["top_key"].identical(whole.trace("c")["top_key"])


def test_files_are_smaller_by_what_is_left_out(record):
    sizes = [
        sum(path.stat().st_size for path in (run.folder / "traces").iterdir())
        for run in (record(), record(measures=["entropy"], layers=[1]))
    ]
    assert sizes[1] < 0.6 * sizes[0]  # the rest is texts and what is known of tokens


def test_tables_have_the_means_of_what_is_kept_and_nan_for_the_rest(record):
    table, whole = record(measures=["entropy", "sink_mass"]).tokens, record().tokens
    for name in ("entropy", "sink_mass", "normalized_entropy", "sinkless_entropy"):
        np.testing.assert_array_equal(table[name], whole[name], err_msg=name)
    assert table[["varentropy", "max_weight", "sinkless_varentropy"]].isna().all(axis=None)


def test_a_run_goes_on_with_the_same_part(record):
    run = record(layers=[1])
    (run.folder / "traces" / "a.safetensors").unlink()
    assert record(layers=[1]).recorded == ["a", "b", "c"]
    assert not run.verify().damaged


@pytest.mark.parametrize("ask", ["stack", "measure", "values_of", "mean_of"])
def test_a_measure_that_was_left_out_is_refused_and_not_called_damaged(record, ask):
    run = record(measures=["entropy"])
    with pytest.raises(ae.TraceError, match="varentropy was not recorded here; record again"):
        run.stack("varentropy") if ask == "stack" else getattr(traces, ask)(run.trace("a"), "varentropy")
    assert run.stack("entropy").sizes["response"] == 3


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"measures": ["entropie"]}, "there is no measure 'entropie'"),
        ({"measures": "entropy"}, "measures is 'entropy', but must be a list"),
        ({"layers": [N_LAYERS]}, r"the layers are \[3\], but the model has 0 to 2"),
        ({"layers": []}, r"the layers are \[\]"),
    ],
)
def test_what_there_is_not_is_refused_before_anything_is_recorded(record, tmp_path, asked, why):
    with pytest.raises(ValueError, match=why):
        record(**asked)
    assert not list(tmp_path.iterdir())


def test_a_scrubber_shows_what_was_recorded():
    trace = traces.part_of(made_up_trace(["It", " is"]), ["entropy"], [1])
    shown = ae.Scrubber(trace)
    assert shown._known("layer") == [-1, 1]
    assert "varentropy" not in shown._measures
    assert {"entropy", "normalized_entropy"} <= set(shown._measures)
