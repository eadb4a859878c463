"""What a Scrubber says is usual, where heads look, and several Runs in one; without a browser."""

import json

import numpy as np
import pandas as pd
import pytest
from made_up import made_up_trace
from test_scrubber import header_of, words_of

import attnent as ae
from attnent.show.scrubber import Scrubber, ScrubberError
from attnent.show.scrubber.explained import EXPLAINED
from attnent.show.scrubber.usual import FEWEST, usual
from attnent.trace import DERIVED, MEASURES, measure

WORDS = [" one", " 2", " three", "+", " five", " six"]


def made(n: int, n_steps: int = 30) -> dict[str, object]:
    return {f"r{seed}": made_up_trace((WORDS * 9)[: n_steps - seed % 3], seed=seed) for seed in range(n)}


def mean_of(trace, name: str) -> np.ndarray:
    return measure(trace, name).mean(["layer", "head"]).values


def usual_of(scrubber: Scrubber, place: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Percentiles by measure, the name of each token's cell, and how many tokens are like it."""
    header, words = header_of(scrubber), words_of(scrubber)
    one = header["responses"][place]
    n, names = len(one["tokens"]), [about["name"] for about in header["measures"]]
    parts = words[one["usual"] : one["usual"] + n * (len(names) + 2)].reshape(-1, n)
    return dict(zip(names, parts, strict=False)), np.array(header["cells"])[parts[-2].astype(int)], parts[-1]


def class_of(token: str) -> str:
    return "operator" if token == "+" else "number" if token.strip().isdigit() else "word"


def test_a_percentile_is_the_share_of_like_tokens_that_are_lower():
    traces = made(12)
    percentiles, cells, n_like = usual_of(Scrubber(traces), 4)
    like = {}
    for trace in traces.values():
        for step, value in enumerate(mean_of(trace, "varentropy")):
            key = f"{class_of(str(trace.token.values[step]))} {10 * step // trace.sizes['step']}"
            like.setdefault(key, []).append(value)
    own = mean_of(traces["r4"], "varentropy")
    for step, value in enumerate(own):
        others = np.array(like[cells[step]])
        assert n_like[step] == len(others)
        expected = 100 * (np.sum(others < value) + 0.5) / len(others) if len(others) >= 20 else np.nan
        np.testing.assert_allclose(percentiles["varentropy"][step], expected, rtol=1e-5)
    assert np.isfinite(percentiles["varentropy"]).any()
    assert np.isnan(percentiles["varentropy"]).any(), "a cell of few tokens says nothing"


def test_a_band_spans_the_middle_of_its_group_as_far_as_enough_responses_reach():
    traces = made(12)
    grades = {id_: "right" if place < 7 else "wrong" for place, id_ in enumerate(traces)}
    scrubber = Scrubber(traces, grades=grades)
    header, words = header_of(scrubber), words_of(scrubber)
    (band,) = (one for one in header["bands"] if (one["group"], one["measure"]) == ("right", "normalized_entropy"))
    low, middle, high, n = words[band["words"] : band["words"] + 4 * band["n_steps"]].reshape(4, -1)
    of_group = [mean_of(traces[id_], "normalized_entropy") for id_, grade in grades.items() if grade == "right"]
    lengths = sorted(map(len, of_group))
    assert band["n_steps"] == lengths[-FEWEST]
    for step in range(band["n_steps"]):
        values = [one[step] for one in of_group if len(one) > step]
        assert n[step] == len(values)
        np.testing.assert_allclose(
            (low[step], middle[step], high[step]), np.quantile(values, [0.1, 0.5, 0.9]), rtol=1e-5
        )


def test_fewer_responses_than_say_what_is_usual_have_no_band():
    assert header_of(Scrubber(made(FEWEST - 1)))["bands"] == []


@pytest.fixture
def run(tmp_path) -> ae.Run:
    traces = made(12)
    examples = pd.DataFrame({"id": [*traces], "prompt": "Why?"})
    run = ae.Run.start(tmp_path / "run", identity={"model": "made-up"}, examples=examples)
    for id_, trace in traces.items():
        run.save(id_, trace)
    return run


def test_some_responses_of_a_run_are_compared_with_all_of_them(run):
    whole, _, of_all = usual_of(Scrubber(run), 3)
    some, _, n_like = usual_of(Scrubber.of(run, ["r3", "r4"]), 0)
    np.testing.assert_array_equal(of_all, n_like)
    np.testing.assert_allclose(some["entropy"], whole["entropy"], rtol=1e-5)
    assert np.isnan(some["lookback_ratio"]).all(), "not in the tables of a Run, and two responses say nothing"


def test_models_are_not_compared_with_each_other():
    of_one = made(12)
    twice = of_one | {f"other {id_}": trace.assign_attrs(model="other") for id_, trace in of_one.items()}
    np.testing.assert_array_equal(usual_of(Scrubber(twice), 2)[2], usual_of(Scrubber(of_one), 2)[2])


def test_what_is_not_known_has_no_percentile():
    table = pd.DataFrame({"response_id": "a", "step": range(40), "token": " x", "char_start": 0, "char_end": 2})
    table["entropy"] = np.where(np.arange(40) % 2, np.nan, 1.0)
    assert usual(table, {}, ["entropy"]).percentiles["entropy"].notna().sum() == 0


# ---- where heads look


def looking(trace, n_places: int = 3):
    """The same Trace with top keys: of layer 1 and heads 0 and 2."""
    n_steps, n_prompt = trace.sizes["step"], 4
    random = np.random.default_rng(0)
    keys = np.full((1, 2, n_steps, n_places), -1, np.int32)
    weights = np.full(keys.shape, np.nan, np.float32)
    for step in range(n_steps):
        n = min(n_places, n_prompt + step)
        for head in range(2):
            keys[0, head, step, :n] = random.choice(n_prompt + step, n, replace=False)
            weights[0, head, step, :n] = -np.sort(-random.dirichlet(np.ones(n + 1))[:n])
    dims = ("top_layer", "top_head", "step", "place")
    prompt = ["<s>", "Why", "?", "</s>"]
    return trace.assign_coords(
        top_layer=[1], top_head=[0, 2], key_token=("key", np.array([*prompt, *trace.token.values[:-1]], object))
    ).assign(top_key=(dims, keys), top_weight=(dims, weights)).assign_attrs(n_prompt=n_prompt)  # fmt: skip


def test_top_keys_are_sent_by_step_layer_head_and_place():
    trace = looking(made_up_trace(WORDS))
    scrubber = Scrubber(trace)
    looks, words = header_of(scrubber)["responses"][0]["looks"], words_of(scrubber)
    assert looks == {"layers": [1], "heads": [0, 2], "n_places": 3, "prompt": ["<s>", "Why", "?", "</s>"]}
    size = trace.top_key.size
    end = header_of(scrubber)["responses"][0]["usual"]
    for values, sent in zip((trace.top_key, trace.top_weight), words[end - 2 * size : end].reshape(2, -1), strict=True):
        expected = values.transpose("step", "top_layer", "top_head", "place").values.ravel()
        np.testing.assert_array_equal(sent, expected.astype(np.float32))


def test_a_response_is_read_again_where_a_reader_asks_for_its_top_keys():
    trace, asked = made_up_trace(WORDS), []
    scrubber = Scrubber({"a": trace}, read=lambda one: asked.append(one) or looking(one))
    assert scrubber.can_read
    scrubber.asked = "a"
    size = int.from_bytes(scrubber.looks[:4], "little")
    assert json.loads(scrubber.looks[4 : 4 + size]) == {
        "id": "a", "n": 6, "layers": [1], "heads": [0, 2], "n_places": 3, "prompt": ["<s>", "Why", "?", "</s>"],
    }  # fmt: skip
    keys = np.frombuffer(scrubber.looks, "<f4", offset=4 + size)[: 2 * 6 * 3]
    np.testing.assert_array_equal(keys, looking(trace).top_key.transpose("step", ...).values.ravel())
    assert asked[0] is trace
    assert scrubber.asked == "", "it can be asked for again"


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda trace: trace, "let it read with top_keys=8"),
        (lambda trace: looking(made_up_trace(WORDS[::-1])), "has other tokens than this response"),
        (lambda trace: looking(made_up_trace(WORDS[:3])), "has other tokens than this response"),
        (lambda trace: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
    ids=["no top keys", "other tokens", "fewer tokens", "an error"],
)
def test_where_a_response_cannot_be_read_again_the_reader_is_told_why_and_can_ask_again(read, said):
    scrubber = Scrubber({"a": made_up_trace(WORDS), "b": made_up_trace(WORDS)}, read=read)
    for _ in range(2):
        with pytest.raises((ScrubberError, ZeroDivisionError)):
            scrubber.asked = "b"
        assert scrubber.unread[0] == "b"
        assert said in scrubber.unread[1]
        assert (scrubber.asked, scrubber.looks) == ("", b"")
        scrubber.unread = ["", ""]


@pytest.mark.slow
def test_the_bundled_model_reads_a_recorded_response_again_and_tells_where_it_looks():
    model, tokenizer = ae.load_model("tiny")
    (trace,) = ae.generate(model, tokenizer, ["Tell me about Sybil Dorn."], max_new_tokens=12, top_keys=8)
    without = trace.drop_vars(["top_key", "top_weight"])
    scrubber = Scrubber({"a": without}, read=lambda one: ae.read_again(model, tokenizer, one))
    scrubber.asked = "a"
    size = int.from_bytes(scrubber.looks[:4], "little")
    weights = np.frombuffer(scrubber.looks, "<f4", offset=4 + size)[trace.top_weight.size :]
    expected = trace.top_weight.transpose("step", "top_layer", "top_head", "place").values.ravel()
    np.testing.assert_allclose(weights, expected, atol=1e-5)


# ---- several Runs


def test_the_responses_of_two_runs_are_called_by_their_run(tmp_path, run):
    other = ae.Run.start(
        tmp_path / "other", identity={"model": "b/other"}, examples=pd.DataFrame({"id": ["r0"], "prompt": "Why?"})
    )
    other.save("r0", made_up_trace(WORDS, n_heads=2).assign_attrs(model="b/other"))
    other.add_labels("grades", [{"response_id": "r0", "judge": "exact", "grade": "wrong"}])
    other.add_labels("errors", [{"response_id": "r0", "judge": "exact", "token_start": 1, "token_stop": 2}])
    responses = {one["id"]: one for one in header_of(Scrubber([run, other]))["responses"]}
    assert len(responses) == 13
    assert responses["r0 · b/other"]["grade"] == "wrong"
    assert responses["r0 · b/other"]["errors"][0]["start"] == 1
    assert responses["r0 · made-up"]["grade"] == ""
    assert "r0 · second" in {one["id"] for one in header_of(Scrubber({"first": run, "second": other}))["responses"]}


def test_two_runs_of_one_model_are_called_by_their_folders(tmp_path, run):
    other = ae.Run.start(
        tmp_path / "more", identity={"model": "made-up"}, examples=pd.DataFrame({"id": ["x"], "prompt": "Why?"})
    )
    other.save("x", made_up_trace(WORDS))
    ids = [one["id"] for one in header_of(Scrubber([run, other]))["responses"]]
    assert {id_.split(" · ")[1] for id_ in ids} == {"made-up run", "made-up more"}


def test_runs_and_traces_are_not_mixed(run):
    with pytest.raises(ScrubberError, match="shows Runs or Traces, not Run"):
        Scrubber([run, made_up_trace(WORDS)])


def test_every_measure_is_explained_in_a_sentence():
    about = header_of(Scrubber(made_up_trace(WORDS)))["measures"]
    assert {one["name"] for one in about} >= {*MEASURES, *DERIVED}
    assert all(one["said"].endswith(".") for one in about)
    assert set(EXPLAINED) >= {*MEASURES, *DERIVED}


def test_a_scored_answer_tells_its_confidence_and_colours_span_all_of_it():
    trace = (
        made_up_trace(WORDS).assign(confidence=("step", np.linspace(0.4, 0.6, 6))).assign_attrs(answer_confidence=0.55)
    )
    header = header_of(Scrubber(trace))
    (about,) = (one for one in header["measures"] if one["name"] == "confidence")
    assert (header["responses"][0]["confidence"], about["limits"], about["reversed"]) == (0.55, [0.0, 1.0], True)
