"""The Scrubber without a browser: what is sent, what can be set, what is refused, and what is shown without scripts."""

import base64
import json
import re
import weakref
from html.parser import HTMLParser

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_up import made_up_trace

import attnent as ae
from attnent.show.scrubber import Scrubber, ScrubberError, page_scripts, saved_elements, widget
from attnent.show.scrubber.colours import INKS, RAMPS, shade_of
from attnent.show.scrubber.packing import Levels, to_levels
from attnent.show.scrubber.page import STYLE, element
from attnent.trace import DERIVED, MEASURES, measure

EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(1)">'
N_LAYERS, N_HEADS = 3, 5
FLOATS = st.floats(-1e6, 1e6, width=32) | st.just(np.nan)


def header_of(scrubber: Scrubber) -> dict:
    size = int.from_bytes(scrubber.data[:4], "little")
    return json.loads(scrubber.data[4 : 4 + size])


def words_of(scrubber: Scrubber) -> np.ndarray:
    size, n_words = int.from_bytes(scrubber.data[:4], "little"), header_of(scrubber)["n_words"]
    return np.frombuffer(scrubber.data, "<f4", n_words, offset=4 + size)


def mean_sent(scrubber: Scrubber, name: str, place: int = 0) -> np.ndarray:
    header = header_of(scrubber)
    one, names = header["responses"][place], [about["name"] for about in header["measures"]]
    start = one["words"] + names.index(name) * len(one["tokens"])
    return words_of(scrubber)[start : start + len(one["tokens"])]


# ---- what is sent


def from_levels(levels: Levels) -> np.ndarray:
    """The (layer, head, step) numbers as scrubber.js reads them."""
    code, width = levels.code.transpose(1, 2, 0), (levels.high - levels.low)[..., None]
    return np.where(code == 255, np.nan, levels.low[..., None] + code * (width / 254))


@given(arrays(np.float32, (2, 3, 7), elements=FLOATS))
def test_a_rounded_number_is_off_by_at_most_a_508th_of_its_heads_range(values):
    shown = from_levels(to_levels(values))
    exact = values.astype(np.float64)
    known = np.isfinite(exact)
    spread = np.where(known, exact, -np.inf).max(-1) - np.where(known, exact, np.inf).min(-1)
    bound = np.where(np.isfinite(spread), spread, 0)[..., None] / 508
    off = np.abs(shown - exact)
    of_float32 = np.abs(np.where(known, exact, 0)) * 1e-7 + np.finfo(np.float32).tiny
    assert (off[known] <= (bound * (1 + 1e-5) + of_float32)[known]).all()


@given(arrays(np.float32, (2, 3, 7), elements=FLOATS))
def test_what_is_missing_stays_missing_and_nothing_else_does(values):
    np.testing.assert_array_equal(np.isnan(from_levels(to_levels(values))), np.isnan(values))


def test_each_level_stands_at_its_step_layer_and_head():
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    assert to_levels(values).code.shape == (4, 2, 3)
    np.testing.assert_allclose(from_levels(to_levels(values)), values, atol=3 / 508 + 1e-6)


def test_infinity_is_missing_and_does_not_stretch_the_scale():
    levels = to_levels(np.array([[[1.0, np.inf, 3.0]]]))
    assert isinstance(levels, Levels)
    assert (levels.low.item(), levels.high.item(), levels.code.ravel().tolist()) == (1.0, 3.0, [0, 255, 254])


@pytest.mark.parametrize("name", [*MEASURES, *DERIVED])
def test_every_measure_is_sent_as_its_mean_over_heads(name):
    trace = made_up_trace(list("abcdefg"))
    expected = measure(trace, name).mean(["layer", "head"]).values
    np.testing.assert_allclose(mean_sent(Scrubber(trace), name), expected, rtol=1e-5)


def test_means_leave_out_layers_that_look_at_images():
    trace = made_up_trace(list("abcd"), kinds=["self", "cross", "self"])
    expected = trace["entropy"].isel(layer=[0, 2]).mean(["layer", "head"]).values
    np.testing.assert_allclose(mean_sent(Scrubber(trace), "entropy"), expected, rtol=1e-5)


def test_a_number_that_the_user_gave_each_token_can_be_chosen():
    confidence = np.linspace(0, 1, 4)
    trace = made_up_trace(list("abcd")).assign(confidence=("step", confidence, {"long_name": "how sure"}))
    scrubber = Scrubber([made_up_trace(list("xyz")), trace])
    scrubber.measure = "confidence"
    np.testing.assert_allclose(mean_sent(scrubber, "confidence", 1), confidence, rtol=1e-6)
    assert np.isnan(mean_sent(scrubber, "confidence", 0)).all()
    assert {"how sure"} == {one["title"] for one in header_of(scrubber)["measures"] if one["name"] == "confidence"}


def test_masses_of_a_step_add_up_to_one():
    scrubber = Scrubber(made_up_trace(list("abcdefg")))
    header = header_of(scrubber)
    start = len(header["measures"]) * 7
    np.testing.assert_allclose(words_of(scrubber)[start : start + 21].reshape(3, 7).sum(axis=0), 1, rtol=1e-6)


def test_candidates_have_the_text_that_a_response_or_the_tokenizer_gives_them():
    trace = made_up_trace(["one", "two"])
    ids = trace["candidate_id"].values
    known = header_of(Scrubber(trace))["texts"]
    assert known == {str(ids[0, 0]): "one", str(ids[1, 0]): "two"}
    assert header_of(Scrubber(trace, decode=lambda id_: f"<{id_}>"))["texts"][str(ids[0, 3])] == f"<{ids[0, 3]}>"


def test_candidates_that_are_missing_are_not_decoded():
    trace = made_up_trace(["one", "two"])
    trace["candidate_id"][0] = -1
    trace["candidate_probability"][0] = np.nan
    texts = header_of(Scrubber(trace, decode=lambda id_: f"<{id_}>"))["texts"]
    assert "-1" not in texts


def test_tokens_that_are_parts_of_one_character_are_grouped():
    trace = made_up_trace(list("a🙂🙂🙂bc"), spans=[(0, 1), (1, 2), (1, 2), (1, 2), (2, 3), (3, 4)])
    assert header_of(Scrubber(trace))["responses"][0]["groups"] == [[1, 4]]


def test_responses_of_two_models_are_shown_each_in_its_own_shape():
    scrubber = Scrubber([made_up_trace(list("ab")), made_up_trace(list("abc"), n_layers=7, n_heads=2)])
    scrubber.response, scrubber.layer, scrubber.head = "1", 6, 1
    scrubber.response = "0"
    assert (scrubber.layer, scrubber.head) == (-1, -1)


def test_colours_end_at_the_same_values_for_all_responses():
    traces = [made_up_trace(list("abcd")), made_up_trace(list("abcd"), seed=1)]
    means = np.concatenate([trace["entropy"].mean(["layer", "head"]).values for trace in traces])
    (about,) = (one for one in header_of(Scrubber(traces))["measures"] if one["name"] == "entropy")
    np.testing.assert_allclose(about["limits"], [means.min(), means.max()], rtol=1e-5)


# ---- a Run


@pytest.fixture
def run(tmp_path):
    examples = pd.DataFrame({"id": ["p", "q"], "prompt": ["Why?", "How?"]})
    made = ae.Run.start(tmp_path / "run", identity={}, examples=examples)
    for seed, id_ in enumerate(examples["id"]):
        made.save(id_, made_up_trace(list("abcdef"), seed=seed))
    return made


def test_a_runs_own_grades_and_error_spans_are_shown(run):
    run.add_labels("grades", [{"response_id": "q", "judge": "exact", "grade": "wrong"}])
    span = {"token_start": 1, "token_stop": 3, "kind": "slip", "explanation": "2 + 2 is 4"}
    run.add_labels(
        "errors",
        [
            {"response_id": "q", "judge": "exact"} | span,
            {"response_id": "p", "judge": "exact", "outcome": "none found"},
        ],
    )
    p, q = header_of(Scrubber(run))["responses"]
    assert (p["grade"], p["errors"]) == ("", [])
    expected = {"start": 1, "stop": 3, "judge": "exact", "kind": "slip", "explanation": "2 + 2 is 4"}
    assert (q["grade"], q["errors"]) == ("wrong", [expected])


def test_of_a_run_as_many_responses_are_shown_as_fit_and_one_at_least(run):
    ids = list(reversed(run.recorded))
    one = run.trace(ids[0])
    of_one = one.sizes["step"] * one.sizes["layer"] * one.sizes["head"] / 2**20
    shown = [
        list(ae.Scrubber.of(run, ids, megabytes=megabytes, maps=["entropy"])._responses)
        for megabytes in (32.0, of_one * 1.01, 0.0)
    ]
    assert shown == [ids, ids[:1], ids[:1]]


def test_a_run_without_labels_is_shown_without_them(run):
    assert [one["grade"] for one in header_of(Scrubber(run))["responses"]] == ["", ""]


def test_where_judges_disagree_both_grades_are_shown(run):
    for judge, grade in (("one", "right"), ("two", "wrong"), ("three", "right")):
        run.add_labels("grades", [{"response_id": "p", "judge": judge, "grade": grade}])
    assert header_of(Scrubber(run))["responses"][0]["grade"] == "right / wrong"


@pytest.fixture
def read(monkeypatch) -> list[tuple[str, int]]:
    """What is read of a Run while a test lasts: ids of responses, and how many Traces then are in memory."""
    seen, traces, load = [], [], ae.Run.trace

    def trace(run, id_):
        seen.append((id_, sum(one() is not None for one in traces)))
        loaded = load(run, id_)
        traces.append(weakref.ref(loaded))
        return loaded

    monkeypatch.setattr(ae.Run, "trace", trace)
    return seen


@pytest.fixture
def long_run(tmp_path) -> ae.Run:
    examples = pd.DataFrame({"id": [f"r{k}" for k in range(9)], "prompt": "Why?"})
    run = ae.Run.start(tmp_path / "run", identity={}, examples=examples)
    for id_ in examples["id"]:
        run.save(id_, made_up_trace(list("abc")))
    assert len(run.responses) == 9  # the tables are made
    return run


def test_a_run_is_read_one_response_at_a_time(long_run, read):
    Scrubber(long_run)
    assert [id_ for id_, _ in read] == ["r0", *long_run.recorded], "the first says how large all will be"
    assert max(n_in_memory for _, n_in_memory in read) <= 2


def test_a_run_that_no_browser_opens_is_refused_before_it_is_read(long_run, read, monkeypatch):
    monkeypatch.setattr(widget, "LIMIT_MB", 0.001)
    with pytest.raises(ScrubberError, match=r"9 responses with 4 measures .* give fewer responses, or fewer maps"):
        Scrubber(long_run)
    assert [id_ for id_, _ in read] == ["r0"]


def test_a_response_that_is_recorded_just_now_is_left_out(run, monkeypatch):
    monkeypatch.setattr(ae.Run, "responses", run.responses.iloc[:1])
    assert [one["id"] for one in header_of(Scrubber(run))["responses"]] == ["p"]


def test_given_grades_come_before_the_runs_own(run):
    run.add_labels("grades", [{"response_id": "p", "judge": "exact", "grade": "wrong"}])
    grades = pd.Series({"p": "factual", "q": "creative"})
    assert [one["grade"] for one in header_of(Scrubber(run, grades=grades))["responses"]] == ["factual", "creative"]


# ---- state


@pytest.fixture
def scrubber() -> Scrubber:
    traces = {"a": made_up_trace(list("abcdef")), "b": made_up_trace(list("abc"), seed=1)}
    return Scrubber(traces, grades={"a": "right", "b": "wrong"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response", "c"),
        ("response", ""),
        ("compared", "c"),
        ("step", 6),
        ("step", -1),
        ("measure", "entropi"),
        ("measure", ""),
        ("overlay", "token"),
        ("layer", 3),
        ("head", -2),
        ("grade", "so so"),
    ],
)
def test_a_state_that_cannot_be_shown_is_refused_and_nothing_changes(scrubber, name, value):
    before = getattr(scrubber, name)
    with pytest.raises(ScrubberError, match=r"choose one of|count from 0") as refusal:
        setattr(scrubber, name, value)
    assert repr(value) in str(refusal.value) or str(value) in str(refusal.value)
    assert getattr(scrubber, name) == before


def test_what_is_set_is_read_back(scrubber):
    state = {"step": 4, "measure": "logprob", "overlay": "", "layer": 2, "head": 4, "compared": "b", "grade": "right"}
    for name, value in state.items():
        setattr(scrubber, name, value)
    assert {name: getattr(scrubber, name) for name in state} == state


def test_a_shorter_response_moves_the_step_to_its_end(scrubber):
    scrubber.step = 5
    scrubber.response = "b"
    assert scrubber.step == 2


def test_steps_reach_to_the_end_of_the_longer_of_two_responses(scrubber):
    scrubber.response, scrubber.compared = "b", "a"
    scrubber.step = 5
    scrubber.compared = ""
    assert scrubber.step == 2


def test_a_response_and_a_step_that_come_together_are_judged_together(scrubber):
    scrubber.set_state({"step": 5, "response": "a"})
    scrubber.set_state({"step": 1, "response": "b"})
    assert (scrubber.response, scrubber.step) == ("b", 1)


def test_a_response_without_tokens_is_no_error():
    assert Scrubber(made_up_trace([])).step == 0


# ---- what is refused


@pytest.mark.parametrize("nothing", [[], {}])
def test_nothing_to_show_is_refused(nothing):
    with pytest.raises(ScrubberError, match="give at least one Trace"):
        Scrubber(nothing)


@pytest.mark.parametrize("maps", [("entropi",), (), ("logprob",)])
def test_maps_that_do_not_exist_are_refused_with_those_that_do(maps):
    with pytest.raises(ScrubberError, match=r"choose maps from entropy, varentropy"):
        Scrubber(made_up_trace(list("ab")), maps=maps)


def test_what_no_browser_opens_in_seconds_is_refused_with_what_to_lower(monkeypatch):
    monkeypatch.setattr(widget, "LIMIT_MB", 0.001)
    with pytest.raises(ScrubberError, match=r"1 responses with 4 measures .* give fewer responses, or fewer maps"):
        Scrubber(made_up_trace(list("abcdefgh") * 9))


def test_an_error_span_outside_its_response_is_refused():
    errors = pd.DataFrame([{"response_id": "0", "token_start": 2, "token_stop": 9}])
    with pytest.raises(ScrubberError, match="lies outside its 4 steps"):
        Scrubber(made_up_trace(list("abcd")), errors=errors)


def test_errors_without_their_tokens_are_refused():
    with pytest.raises(ScrubberError, match="lack the column token_start and token_stop"):
        Scrubber(made_up_trace(list("abcd")), errors=pd.DataFrame([{"response_id": "0", "kind": "slip"}]))


def test_a_critic_that_found_nothing_marks_nothing(run):
    run.add_labels("errors", [{"response_id": "p", "judge": "exact", "outcome": "none found"}])
    assert header_of(Scrubber(run))["responses"][0]["errors"] == []


def test_grades_of_other_responses_are_refused():
    with pytest.raises(ScrubberError, match="their ids should be 0"):
        Scrubber(made_up_trace(list("abcd")), grades={"a": "right"})


def test_a_dataset_that_is_no_trace_is_refused():
    with pytest.raises(ScrubberError, match="lacks candidate_id"):
        Scrubber(made_up_trace(list("abcd")).drop_vars("candidate_id"))


# ---- pages and plain HTML


class Tags(HTMLParser):
    """The tags of a page, its script blocks, and its text outside them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def evil() -> Scrubber:
    return Scrubber({EVIL: made_up_trace([EVIL, "b"], prompt=EVIL)}, grades={EVIL: EVIL})


def test_html_in_a_response_is_text_where_no_script_runs(evil):
    data, _ = evil._repr_mimebundle_()
    parsed = Tags(data["text/html"])
    assert {tag for tag, _ in parsed.tags} <= {"div", "p", "span"}
    assert EVIL in parsed.text


def test_html_in_a_response_ends_no_script_of_the_saved_page(evil, tmp_path):
    evil.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    scripts = [attributes.get("type") for tag, attributes in Tags(page).tags if tag == "script"]
    assert scripts == ["application/json", "text/plain", "module"]
    assert "<img" not in page


def test_a_saved_page_names_no_other_place(scrubber, tmp_path):
    scrubber.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"'`)]+", page)) == {"http://www.w3.org/2000/svg"}
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_tokens_are_coloured_without_scripts(scrubber):
    data, _ = scrubber._repr_mimebundle_()
    spans = [attributes["style"] for tag, attributes in Tags(data["text/html"]).tags if tag == "span"]
    assert len(spans) == 6
    assert len(set(spans)) == 6
    assert "attention entropy" in data["text/html"]
    assert data["text/plain"].startswith("Scrubber of 2 responses")


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2)."""
    parts = np.array(list(bytes.fromhex(colour.removeprefix("#")))) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_one_ink_stands_out_from_every_colour_behind_text(scheme):
    for background in RAMPS[scheme]:
        low, high = sorted((luminance(background), luminance(INKS[scheme])))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def ratio(*colours: str) -> float:
    """The contrast of two colours (WCAG 2)."""
    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


PAGES = [("light", "#ffffff"), ("dark", "#17191b"), ("dark", "#111111")]  # of reports, and of JupyterLab


@pytest.mark.parametrize(("scheme", "page"), PAGES)
def test_text_lines_and_marks_stand_out_from_every_page(scheme, page):
    named = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", STYLE)
    colours = {name: dark if scheme == "dark" else light for name, light, dark in named}
    least = dict.fromkeys(("ink", "faint", "main", "wrong"), 4.5)  # text
    least |= dict.fromkeys(("second", "look", "follow", "sink", "prompt", "generated"), 3)  # lines and marks
    assert {*least} | {"rule", "soft"} == {*colours}
    for name, smallest in least.items():
        behind = [ratio(colours[name], ground) for ground in (page, colours["soft"])]
        print(f"{scheme} {page} {name}: {min(behind):.1f}")  # seen with pytest -rP
        assert min(behind) >= smallest, name
    assert min(ratio(colours["look"], ground) for ground in RAMPS[scheme]) >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lightness_changes_one_way_along_a_ramp(scheme):
    assert np.ptp(np.sign(np.diff([luminance(colour) for colour in RAMPS[scheme][::8]]))) == 0


def test_of_confidence_the_low_values_are_the_strong_colours():
    assert shade_of(0.0, "confidence") == shade_of(1.0, "entropy") == RAMPS["light"][-1]


def test_an_executed_notebooks_scrubbers_are_found_by_their_model_id(scrubber):
    entry = {
        "state": scrubber.get_state(),
        "buffers": [{"path": ["data"], "data": base64.b64encode(scrubber.data).decode()}],
    }
    other = {"state": {"_anywidget_id": "somebody.Else"}}
    node = nbformat.v4.new_notebook(
        metadata={"widgets": {"application/vnd.jupyter.widget-state+json": {"state": {"x": entry, "y": other}}}}
    )
    assert saved_elements(node) == {"x": element(entry)}


def test_the_module_carries_the_nonce_of_its_page():
    assert ("script", {"type": "module", "nonce": "abc"}) in Tags(page_scripts(nonce="abc")).tags
