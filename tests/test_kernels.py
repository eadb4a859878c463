"""The kernel of a GPU gives the measures of explicit weights in float64; without a GPU Triton's interpreter runs it."""

from types import SimpleNamespace

import numpy as np
import oracle
import pytest
import torch
from conftest import N_LAYERS, left_padded, random_llama
from hypothesis import given, settings
from hypothesis import strategies as st

from attnent.attention.capture import capture
from attnent.model.generation import generate

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float32, torch.float16] + [torch.bfloat16] * (DEVICE == "cuda")  # which the interpreter lacks


def inputs(shape: tuple[int, int, int, int, int, int], dtype=torch.float32, spread: float = 2.0):
    batch, n_heads, n_groups, n_rows, n_keys, width = shape
    made = torch.Generator().manual_seed(sum(shape))
    query = (spread * torch.randn(batch, n_heads, n_rows, width, generator=made)).to(dtype)
    return query, torch.randn(batch, n_groups, n_keys, width, generator=made).to(dtype)


def assert_measured(query, key, visible: np.ndarray, n_generated: torch.Tensor, *, masked: bool, atol: float) -> None:
    """`visible` is (batch, row, key)."""
    from attnent.attention.kernels import measure_rows

    n_rows, n_keys, scale = query.shape[2], key.shape[2], query.shape[-1] ** -0.5
    seen = torch.from_numpy(visible)[:, None]
    first = seen.int().argmax(-1)
    last = n_keys - 1 - seen.flip(-1).int().argmax(-1)
    given = (query, key, seen if masked else None, first, last, n_generated)
    with np.errstate(invalid="ignore"):  # inf - inf, in what is not taken
        got = measure_rows(*(one if one is None else one.to(DEVICE) for one in given), scale).cpu()
    scores = query.double() @ key.double().repeat_interleave(query.shape[1] // key.shape[1], 1).mT * scale
    weights = oracle.softmax(scores.numpy(), visible[:, None])
    for item, (own, few) in enumerate(zip(last[:, 0].numpy(), visible, strict=True)):
        n_prompt = own + 1 - n_generated.expand(n_rows).numpy()
        want = oracle.measures(weights[item : item + 1], few[None], own=own, n_prompt=n_prompt)
        for place, name in enumerate(oracle.MEASURES):
            np.testing.assert_allclose(got[item : item + 1, ..., place], want[name], atol=atol, err_msg=name)


def padded(shape: tuple[int, int, int, int, int, int], padding: list[int]) -> np.ndarray:
    """The last rows of a causal pass whose items begin with so much padding."""
    n_rows, n_keys = shape[3:5]
    key, own = np.arange(n_keys), np.arange(n_keys - n_rows, n_keys)[:, None]
    return np.stack([(key <= own) & (key >= n) for n in padding])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("masked", [True, False], ids=["mask", "range"])
@pytest.mark.parametrize(
    "shape",
    [(2, 4, 2, 5, 133, 20), (2, 2, 1, 70, 70, 16), (2, 6, 2, 1, 200, 80), (2, 1, 1, 32, 300, 64)],
    ids=["odd", "prompt", "step", "block"],
)
def test_every_measure_of_a_left_padded_batch_is_that_of_the_oracle(shape, masked, dtype):
    query, key = inputs(shape, dtype)
    padding = 9 if masked else min(9, shape[4] - shape[3])  # only a mask can hide all keys
    assert_measured(query, key, padded(shape, [0, padding]), torch.arange(shape[3]), masked=masked, atol=1e-5)


def test_windows_and_holes_are_seen_as_they_are():
    shape = (1, 2, 2, 24, 150, 32)
    query, key = inputs(shape)
    seen = padded(shape, [0])
    own = np.arange(126, 150)[:, None]
    window = seen & (own - np.arange(150) < 17)
    assert_measured(query, key, window, torch.zeros(1, dtype=torch.long), masked=False, atol=1e-5)
    holes = seen & (np.arange(150) % 50 != 3)
    assert_measured(query, key, holes, torch.zeros(1, dtype=torch.long), masked=True, atol=1e-5)


def test_a_row_that_sees_no_key_has_no_measure():
    from attnent.attention.kernels import measure_rows

    shape = (1, 2, 1, 3, 40, 16)
    query, key = inputs(shape)
    visible = torch.from_numpy(padded(shape, [38]))[:, None]
    first, last = visible.int().argmax(-1), 39 - visible.flip(-1).int().argmax(-1)
    given = [one.to(DEVICE) for one in (query, key, visible, first, last, torch.zeros(1, dtype=torch.long))]
    with np.errstate(invalid="ignore"):
        measured = measure_rows(*given, 0.25)
    assert measured[0, :, 0].isnan().all()
    assert not measured[0, :, 2].isnan().any()


@settings(max_examples=15)
@given(st.integers(1, 40), st.integers(0, 150), st.floats(0, 60), st.integers(0, 3))
def test_rows_of_any_length_and_sharpness_are_those_of_the_oracle(n_rows, n_before, spread, padding):
    shape = (1, 2, 1, n_rows, n_rows + n_before, 16)
    query, key = inputs(shape, spread=spread)
    seen = padded(shape, [min(padding, n_before)])
    atol = 2e-5 * max(1.0, spread)  # scores of float32 are no better
    assert_measured(query, key, seen, torch.arange(n_rows), masked=False, atol=atol)


@pytest.fixture
def on_cpu(monkeypatch):
    """The kernel is taken on the CPU too; gives back how often it was."""
    from attnent.attention import kernels, rows

    if DEVICE == "cuda":
        pytest.skip("here the kernel is taken anyway; see test_gpu.py")
    calls = []

    def counted(*given):
        calls.append(given[0].shape)
        with np.errstate(invalid="ignore"):
            return kernels.measure_rows(*given)

    monkeypatch.setattr(rows, "KERNEL_DEVICES", ("cpu",))
    monkeypatch.setattr(rows, "_kernels", lambda: SimpleNamespace(measure_rows=counted))
    return calls


@pytest.mark.parametrize("prompt_rows", [True, False], ids=["all rows", "last row"])
def test_capture_takes_the_kernel_and_gives_the_same_numbers(on_cpu, monkeypatch, prompt_rows):
    model, inputs = random_llama(), left_padded([13, 7, 2])
    with torch.inference_mode(), capture(model, prompt_rows=prompt_rows) as recording:
        model(**inputs)
        assert len(on_cpu) == N_LAYERS
        monkeypatch.undo()
        model(**inputs)
    by_kernel, without = recording.passes
    for layer in range(N_LAYERS):
        for name in (*oracle.MEASURES, "n_keys"):
            got, want = (getattr(stats[layer], name) for stats in (by_kernel, without))
            np.testing.assert_allclose(got, want, atol=2e-5, err_msg=name)


def test_generated_traces_are_those_without_it_and_what_needs_weights_goes_without(on_cpu, monkeypatch, tokenizer):
    model, prompts = random_llama(), ["an", "another thing in"]
    settings = {"max_new_tokens": 9, "progress": False}
    traces = generate(model, tokenizer, prompts, **settings)
    n_calls = len(on_cpu)
    assert n_calls > 0
    whole = generate(model, tokenizer, prompts, columns=True, top_keys=3, **settings)
    assert len(on_cpu) == n_calls
    for got, want in zip(traces, whole, strict=True):
        for name in (*oracle.MEASURES, "n_keys"):
            np.testing.assert_allclose(got[name], want[name], atol=2e-5, err_msg=name)
