"""A Trace keeps what it was given, and what is derived from it is exact."""

import json
import time

import numpy as np
import oracle
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from attnent.store.traces import SchemaError, extent_of, load_measure, load_trace, save_trace
from attnent.trace import (
    DERIVED,
    MEASURES,
    TraceError,
    effective_keys,
    kl_to_uniform,
    lookback_ratio,
    make_trace,
    measure,
    normalized_entropy,
    sinkless_entropy,
    sinkless_varentropy,
    split_lines,
    title_and_unit,
    without_cross,
)

N_LAYERS, N_HEADS, N_STEPS, N_RANKS = 2, 3, 7, 5
TEXTS = ["", "plain", "two\nlines\r\n", "NUL \0 here", "🙂 日本 é", "\ufffd", "\u2028\x1b[0m\\\"'"]


def filled(**changes) -> dict:
    """The arguments of a whole Trace of random numbers."""
    random = np.random.default_rng(0)
    whole = {
        "measures": {name: random.random((N_LAYERS, N_HEADS, N_STEPS), np.float32) for name in MEASURES},
        "layer": [1, 4],
        "layer_kind": ["self", "sliding"],
        "n_keys": np.arange(N_LAYERS * N_STEPS, dtype=np.int32).reshape(N_LAYERS, N_STEPS) + 11,
        "token": [chr(97 + step) for step in range(N_STEPS)],
        "steps": {
            "token_id": np.arange(N_STEPS, dtype=np.int32),
            "char_start": np.arange(N_STEPS, dtype=np.int32),
            "char_end": np.arange(N_STEPS, dtype=np.int32) + 1,
            "logprob": -random.random(N_STEPS, np.float32),
            "token_entropy": random.random(N_STEPS, np.float32),
            "token_varentropy": random.random(N_STEPS, np.float32),
            "candidate_id": np.zeros((N_STEPS, N_RANKS), np.int32),
            "candidate_probability": random.random((N_STEPS, N_RANKS), np.float32),
        },
        "attrs": {
            "schema_version": 2,
            "prompt": "why?",
            "response": "abcdefg",
            "finish_reason": "eos",
            "n_prompt": 11,
            "model": "tiny",
            "revision": "",
            "dtype": "float32",
            "seed": 2**63 - 1,
            "sampling": "{}",
            "versions": "{}",
        },
    }
    return whole | changes


def made(**changes) -> xr.Dataset:
    arguments = filled(**changes)
    return make_trace(arguments.pop("measures"), **arguments)


def of_rows(rows, *, n_prompt: int, n_generated=None) -> xr.Dataset:
    """A Trace of one layer and one head whose steps are the given weight rows; the last n_generated keys are new."""
    n_generated = range(len(rows)) if n_generated is None else n_generated
    numbers = [
        oracle.row(p, np.ones(len(p), bool), len(p) - 1, len(p) - new)
        for p, new in zip(map(np.asarray, rows), n_generated, strict=True)
    ]
    steps = {name: values[: len(rows)] for name, values in filled()["steps"].items()}
    return made(
        measures={name: np.array([[[n[name] for n in numbers]]]) for name in MEASURES},
        layer=[0],
        layer_kind=["self"],
        n_keys=np.array([[n["n_keys"] for n in numbers]]),
        token=["a"] * len(rows),
        steps=steps,
        attrs=filled()["attrs"] | {"n_prompt": n_prompt},
    )


# ---- files


@pytest.mark.parametrize("text", TEXTS)
def test_a_saved_trace_comes_back_identical(tmp_path, text):
    attrs = filled()["attrs"] | {"prompt": text, "response": text * 2}
    trace = made(token=[text] * N_STEPS, attrs=attrs)
    save_trace(trace, tmp_path / "a.safetensors")
    again = load_trace(tmp_path / "a.safetensors")
    xr.testing.assert_identical(again, trace)
    assert {name: values.dtype for name, values in again.variables.items()} == {
        name: values.dtype for name, values in trace.variables.items()
    }
    assert again.token.values.tolist() == [text] * N_STEPS
    assert dict(again.attrs) == attrs


def test_missing_numbers_come_back_missing(tmp_path):
    measures = filled()["measures"] | {"self_mass": np.full((N_LAYERS, N_HEADS, N_STEPS), np.nan, np.float32)}
    save_trace(made(measures=measures), tmp_path / "a.safetensors")
    assert load_trace(tmp_path / "a.safetensors").self_mass.isnull().all()


def test_saving_leaves_no_temporary_file(tmp_path):
    save_trace(made(), tmp_path / "gsm8k.7.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["gsm8k.7.safetensors"]


@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, -1])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, kept):
    path = tmp_path / "broken.safetensors"
    save_trace(made(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    for read in (load_trace, lambda path: load_measure(path, "entropy")):
        with pytest.raises(TraceError, match=r"broken\.safetensors is damaged"):
            read(path)


def test_a_file_of_something_else_is_an_error_that_names_it(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "weights.safetensors"
    save_file({"w": np.zeros(3)}, path)
    for read in (load_trace, lambda path: load_measure(path, "entropy")):
        with pytest.raises(TraceError, match=r"weights\.safetensors is damaged"):
            read(path)


def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "a.safetensors"
    trace = made()
    save_trace(trace, path)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in [*range(0, header, 7), *random.integers(header, len(whole), 300)]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << random.integers(8)
        path.write_bytes(flipped)
        try:
            again = load_trace(path)
        except TraceError:
            continue
        xr.testing.assert_identical(again, trace)


def test_zeroed_content_is_found(tmp_path):
    path = tmp_path / "a.safetensors"
    save_trace(made(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200] + bytes(200))
    with pytest.raises(TraceError, match="are not those that were written"):
        load_trace(path)


def test_a_trace_of_another_response_is_not_taken_for_the_one_asked_for(tmp_path):
    save_trace(made(), tmp_path / "a.safetensors", belongs_to="a of run 1")
    assert load_trace(tmp_path / "a.safetensors", belongs_to="a of run 1").identical(made())
    for read in (load_trace, lambda path, belongs_to: load_measure(path, "entropy", belongs_to=belongs_to)):
        with pytest.raises(TraceError, match="belongs to another response or run"):
            read(tmp_path / "a.safetensors", belongs_to="b of run 1")


def test_a_file_of_another_schema_is_refused_and_not_called_damaged(tmp_path):
    save_trace(made(attrs=filled()["attrs"] | {"schema_version": 99}), tmp_path / "a.safetensors")
    with pytest.raises(SchemaError, match="another version of attnent"):
        load_trace(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", [*MEASURES, *DERIVED])
def test_a_measure_read_alone_is_that_of_the_whole_trace(tmp_path, name):
    trace = made()
    save_trace(trace, tmp_path / "a.safetensors")
    alone, wanted = load_measure(tmp_path / "a.safetensors", name), measure(trace, name)
    np.testing.assert_array_equal(alone.values, wanted.values)
    assert alone.attrs == wanted.attrs
    assert alone["layer_kind"].values.tolist() == wanted["layer_kind"].values.tolist()
    assert extent_of(tmp_path / "a.safetensors").n_steps == N_STEPS


def test_every_name_has_a_title_and_a_unit_and_an_unknown_one_its_own_words():
    assert title_and_unit("varentropy") == ("attention varentropy", "nat^2")
    assert title_and_unit("sinkless_entropy") == ("sinkless attention entropy", "nat")
    assert title_and_unit("logprob") == ("log-probability", "nat")
    assert title_and_unit("n_steps") == ("response length", "tokens")
    assert title_and_unit("my_own") == ("my own", "1")


def test_cross_attention_layers_are_left_out():
    trace = made(layer_kind=["self", "cross"])
    assert without_cross(trace)["layer"].values.tolist() == [1]
    assert without_cross(trace.entropy).sizes["layer"] == 1


@pytest.mark.parametrize(("part", "missing"), [("measures", "entropy"), ("steps", "logprob"), ("attrs", "seed")])
def test_a_trace_with_a_part_missing_is_refused(part, missing):
    parts = dict(filled()[part])
    del parts[missing]
    with pytest.raises(TraceError, match="these were given"):
        made(**{part: parts})


def test_every_measure_has_a_long_name_and_a_unit():
    trace = made()
    for name in MEASURES:
        assert trace[name].attrs["long_name"]
        assert trace[name].attrs["units"] in ("nat", "nat^2", "1")
    assert trace.token_varentropy.attrs["units"] == "nat^2"


def test_the_derived_measures_have_a_long_name_and_a_unit():
    for name in DERIVED:
        derived = measure(made(), name)
        assert derived.name == name
        assert derived.attrs["long_name"]
        assert derived.attrs["units"] in ("nat", "nat^2", "1")
        assert derived.dims == ("layer", "head", "step")


def test_an_unknown_measure_is_refused_with_the_known_ones():
    with pytest.raises(TraceError, match=r"no measure 'entropie'.*sinkless_entropy"):
        measure(made(), "entropie")


def test_recorded_and_derived_measures_go_by_name():
    trace = made()
    for name in (*MEASURES, *DERIVED):
        assert measure(trace, name).dims == ("layer", "head", "step")


# ---- derived quantities, against explicit rows

weights = st.lists(st.floats(1e-3, 1), min_size=2, max_size=13).map(lambda p: np.array(p) / np.sum(p))


@given(weights)
@settings(max_examples=50)
def test_sinkless_measures_are_those_of_the_row_without_its_sink(p):
    assume(p[0] < 0.998)
    trace = of_rows([p], n_prompt=len(p))
    rest = p[1:] / p[1:].sum()
    wanted = oracle.row(rest, np.ones(len(rest), bool), len(rest) - 1, len(rest))
    spread = 1e-6 / (1 - p[0]) ** 2  # float32 masses, divided by what is left beside the sink
    np.testing.assert_allclose(sinkless_entropy(trace).item(), wanted["entropy"], atol=10 * spread)
    np.testing.assert_allclose(sinkless_varentropy(trace).item(), wanted["varentropy"], atol=60 * spread)


def test_sinkless_measures_of_a_row_by_hand():
    trace = of_rows([[0.5, 0.25, 0.25], [0.6, 0.3, 0.1]], n_prompt=3)
    np.testing.assert_allclose(
        sinkless_entropy(trace)[0, 0], [np.log(2), -0.75 * np.log(0.75) - 0.25 * np.log(0.25)], atol=1e-6
    )
    np.testing.assert_allclose(sinkless_varentropy(trace)[0, 0], [0, 0.75 * 0.25 * np.log(3) ** 2], atol=1e-5)


def test_without_weight_on_the_sink_nothing_is_taken_away():
    trace = of_rows([[0.0, 0.7, 0.3]], n_prompt=3)
    np.testing.assert_allclose(sinkless_entropy(trace), trace.entropy, atol=1e-7)
    np.testing.assert_allclose(sinkless_varentropy(trace), trace.varentropy, atol=1e-6)


@pytest.mark.parametrize("derive", [sinkless_entropy, sinkless_varentropy])
def test_sinkless_measures_are_missing_past_the_limit(derive):
    trace = of_rows([[0.9985, 0.0015], [0.9995, 0.0005], [1.0]], n_prompt=2, n_generated=[0, 0, 0])
    assert np.isnan(derive(trace)[0, 0]).values.tolist() == [False, True, True]


@given(weights)
@settings(max_examples=50)
def test_derived_entropies_keep_their_bounds(p):
    trace = of_rows([p], n_prompt=len(p))
    assert -1e-6 <= normalized_entropy(trace).item() <= 1 + 1e-6
    assert 1 - 1e-6 <= effective_keys(trace).item() <= len(p) * (1 + 1e-6)
    assert -1e-6 <= kl_to_uniform(trace).item() <= np.log(len(p)) + 1e-6
    assert not sinkless_varentropy(trace).item() < 0


def test_entropies_of_uniform_rows_by_hand():
    trace = of_rows([np.full(k, 1 / k) for k in (1, 2, 8)], n_prompt=1, n_generated=[0, 0, 0])
    np.testing.assert_allclose(normalized_entropy(trace)[0, 0], [np.nan, 1, 1], atol=1e-6)
    np.testing.assert_allclose(effective_keys(trace)[0, 0], [1, 2, 8], rtol=1e-6)
    np.testing.assert_allclose(kl_to_uniform(trace)[0, 0], [0, 0, 0], atol=1e-6)


def test_the_divergence_from_uniform_is_that_of_its_definition():
    p = np.array([0.5, 0.2, 0.2, 0.1])
    np.testing.assert_allclose(kl_to_uniform(of_rows([p], n_prompt=4)).item(), (p * np.log(p * 4)).sum(), atol=1e-6)


def test_lookback_ratio_by_hand():
    rows = [[0.4, 0.6], [0.2, 0.3, 0.5], [0.1, 0.1, 0.2, 0.6]]
    # step 1: (0.5 / 2) / (0.5 / 2 + 0.5 / 1); step 2: (0.2 / 2) / (0.2 / 2 + 0.8 / 2)
    ratio = lookback_ratio(of_rows(rows, n_prompt=2))
    np.testing.assert_allclose(ratio[0, 0], [np.nan, 1 / 3, 0.2], atol=1e-6)


def test_lookback_ratio_of_uniform_rows_is_one_half():
    rows = [np.full(3 + step, 1 / (3 + step)) for step in range(5)]
    np.testing.assert_allclose(lookback_ratio(of_rows(rows, n_prompt=3))[0, 0, 1:], 0.5, atol=1e-6)


def test_lookback_ratio_in_a_window_counts_only_visible_keys():
    rows = [[0.2, 0.2, 0.6]] * 4  # a window of 3 keys: at step 3 and later the prompt is out of sight
    ratio = lookback_ratio(of_rows(rows, n_prompt=5, n_generated=[0, 1, 2, 3]))
    np.testing.assert_allclose(ratio[0, 0], [np.nan, 0.2 / 0.8, 0.2 / 0.6, np.nan], atol=1e-6)


@pytest.mark.parametrize("name", [*DERIVED])
def test_a_row_that_sees_no_key_has_no_derived_measure(name):
    nothing = np.full((1, 1, 1), np.nan)
    steps = {key: values[:1] for key, values in filled()["steps"].items()}
    trace = made(
        measures=dict.fromkeys(MEASURES, nothing),
        layer=[0],
        layer_kind=["cross"],
        n_keys=np.zeros((1, 1)),
        token=["a"],
        steps=steps,
    )
    assert measure(trace, name).isnull().all()


def test_the_file_holds_no_pickle(tmp_path):
    path = tmp_path / "a.safetensors"
    save_trace(made(), path)
    whole = path.read_bytes()
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
    assert set(header) == {*MEASURES, "layer", "n_keys", *filled()["steps"], "__metadata__"}


# ---- lines


@pytest.mark.parametrize(
    ("response", "lines"),
    [
        ("", []),
        (" \n\t\n", []),
        ("one\n\n  two  \nthree\n", ["one", "two", "three"]),
        ("She has 5. He has 7.5 apples. So 12.5.", ["She has 5.", "He has 7.5 apples.", "So 12.5."]),
        ("Mr. Lee pays approx. 5 dollars. Mrs. Lee pays 3.", ["Mr. Lee pays approx. 5 dollars.", "Mrs. Lee pays 3."]),
        ("1. Add them. 2. Done! #### 5", ["1. Add them.", "2. Done!", "#### 5"]),
        ("Is it so? yes", ["Is it so? yes"]),
        ("#### 18", ["#### 18"]),
    ],
)
def test_lines_are_those_of_the_text_and_of_a_single_one_its_sentences(response, lines):
    assert [response[start:stop] for start, stop in split_lines(response)] == lines


@given(st.text("Mr. 1\n\t?A#é") | st.text())
def test_lines_are_in_order_and_hold_all_that_is_not_white_space(response):
    lines = split_lines(response)
    ends = [0, *(end for span in lines for end in span), len(response)]
    assert ends == sorted(ends)
    outside = "".join(response[stop:start] for stop, start in zip(ends[::2], ends[1::2], strict=True))
    assert not outside.strip()
    assert all(response[start:stop].strip() == response[start:stop] != "" for start, stop in lines)


@pytest.mark.parametrize("piece", ["Mr. ", "A. ", "#### ", "12. ", "\n \t"])
def test_a_hundred_thousand_characters_are_split_within_a_second(piece):
    for text in (piece * (100_000 // len(piece)), ". " + " " * 100_000 + "a", "1" * 50_000 + ". " + piece * 12_500):
        start = time.perf_counter()
        split_lines(text)
        assert time.perf_counter() - start < 1
