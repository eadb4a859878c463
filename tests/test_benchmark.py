import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "capture.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("capture_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def smallest(benchmark):
    return benchmark.Sizes(
        n_rounds=2,
        n_layers=2,
        decode_part=1,
        vocabulary=1_000,
        decode_prompts=(16,),
        decode_batches=((1, False), (3, True)),
        n_steps=2,
        n_original_steps=1,
        rows_prompts=(16,),
        memory_prompt=32,
        memory_rounds=(("tiny", 1),),
        replays=((8, 3),),
        n_replay_rounds=1,
        n_responses=2,
        max_new_tokens=4,
        study_batch=2,
        n_study_rounds=1,
    )


def test_every_case_ends_in_a_table_and_a_verdict(benchmark, smallest):
    measured = benchmark.measure(["decode", "prompt", "replay", "study"], smallest, model="tiny", n_threads=1)
    text = benchmark.summary(measured, {"threads": 1})
    json.dumps({case: frame.to_dict(orient="records") for case, frame in measured.items()})
    assert text.count("\n| --- |") == 5  # four cases and the targets
    assert re.search(r"(not )?met \|", text)
    assert all((frame["cpu_s"] > 0).all() and (frame["wall_s"] > 0).all() for frame in measured.values())


def test_methods_take_turns_and_the_first_round_is_not_kept(benchmark):
    order = []
    times = benchmark.take_turns({name: lambda name=name: order.append(name) for name in "ab"}, 2)
    assert order == list("ababab")
    assert list(times["method"]) == list("abab")


def test_plain_and_original_leave_the_model_as_it_was(benchmark, smallest):
    model, _ = benchmark.load(benchmark.SHAPED, smallest)
    ids = benchmark.some_tokens(model, 1, 4)
    passes = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]
    before = model(**passes[0]).logits
    for method in (benchmark.plain, benchmark.capture, benchmark.original):
        method(model, passes)
    assert model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(model(**passes[0]).logits, before, rtol=0, atol=0)


def test_the_original_says_varentropy_0_for_every_decoding_step(benchmark):
    step = (torch.rand(1, 3, 1, 7).softmax(-1),)
    assert [variance for _, variance in benchmark.loop_over_heads([step])] == [0.0, 0.0, 0.0]


def test_the_peak_is_at_least_what_is_held_now(benchmark):
    assert benchmark.resident_mib(peak=True) >= 0.99 * benchmark.resident_mib() > 0
