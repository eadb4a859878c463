"""A saved page that is given what nobody expects: thousands of responses, odd characters, HTML, no numbers."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import Watched, chromium, watched
from made_up import made_up_trace
from test_scrubber_browser import EVIL, choose, scrub_everything, words
from test_scrubber_explore_browser import press, rows_of, state_of
from test_scrubber_usual import WORDS, looking, made

import attnent as ae
from attnent.show.scrubber import Scrubber
from attnent.trace import MEASURES

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture
def saved(browser, tmp_path) -> Iterator[Callable[..., Watched]]:
    """Opens a Scrubber's saved page."""
    pages = []

    def open_saved(scrubber: Scrubber, **look: Any) -> Watched:
        scrubber.save(tmp_path / "page.html")
        pages.append(watched(browser, **look))
        one = pages[-1].__enter__()
        one.page.goto((tmp_path / "page.html").as_uri())
        one.page.wait_for_selector(".attnent .map canvas")
        return one

    yield open_saved
    for page in pages:
        page.__exit__(None, None, None)


def milliseconds(page: Any, act: str) -> float:
    """How long an act of the page takes, layout included."""
    return page.evaluate(
        f"""() => {{
            const started = performance.now();
            {act};
            document.body.getBoundingClientRect();
            return performance.now() - started;
        }}"""
    )


def pressing(key: str) -> str:
    slider = "document.querySelector('.attnent .transport input')"
    return f"{slider}.dispatchEvent(new KeyboardEvent('keydown', {{ key: {json.dumps(key)}, bubbles: true }}))"


# ---- many, and long


def test_ten_thousand_responses_are_sorted_searched_and_walked_through_without_waiting(saved):
    kinds = [made_up_trace(words(20, seed), n_layers=1, n_heads=1, seed=seed) for seed in range(20)]
    traces = {f"r{n}": kinds[n % 20].assign_attrs(prompt=f"What is {n}?") for n in range(10_000)}
    one = saved(Scrubber(traces, maps=["entropy"], grades={id_: "right" for id_ in traces}))
    one.page.locator(".attnent .responses summary").click()
    search = "document.querySelector('.attnent input[type=search]')"
    head = "[...document.querySelectorAll('.attnent .rows th button')].find((one) => one.textContent === {!r}).click()"
    took = {f"sort by {name}": milliseconds(one.page, head.format(name)) for name in ("prompt", "peak", "response")}
    took["search"] = milliseconds(one.page, f"{search}.value = 'is 9999?'; {search}.dispatchEvent(new Event('input'))")
    assert rows_of(one.page) == ["r9999"]
    milliseconds(one.page, f"{search}.value = ''; {search}.dispatchEvent(new Event('input'))")
    choices = one.page.locator(".attnent .controls select option[value='r77']").element_handles()
    took["next response"] = milliseconds(one.page, pressing("]"))
    took["beside it"] = milliseconds(one.page, pressing("b"))
    print({name: round(time) for name, time in took.items()})  # seen with pytest -rP
    assert max(took.values()) < 500
    assert state_of(one.page)[0] == "r1"
    assert [choice.evaluate("one => one.isConnected") for choice in choices] == [True, True], "no list is made again"
    assert one.page.locator(".attnent .rows tbody tr").count() < 40
    one.page.locator(".attnent .rows").evaluate("box => (box.scrollTop = box.scrollHeight)")
    one.page.get_by_role("cell", name="r9999").click()
    assert state_of(one.page)[0] == "r9999"
    one.check()


def test_two_responses_of_four_thousand_tokens_are_aligned_and_shown_whole_without_waiting(saved):
    traces = {name: made_up_trace(words(4000, seed), seed=seed) for seed, name in enumerate("ab")}
    one = saved(Scrubber(traces, maps=["entropy"]))
    took = {"beside it": milliseconds(one.page, pressing("b"))}
    first = "document.querySelector('.attnent .whole')"
    took["whole"] = milliseconds(one.page, f"{first}.open = true; {first}.ontoggle()")
    took["zoom"] = milliseconds(one.page, f"{first}.querySelector('button').click()")
    print({name: round(time) for name, time in took.items()})  # seen with pytest -rP
    assert max(took.values()) < 2000
    assert "have a counterpart" in one.page.locator(".attnent .pairing").first.inner_text()
    one.check()


def test_responses_too_long_to_compare_all_words_are_paired_at_their_ends(saved):
    middle = {"a": words(8200, 1), "b": words(8200, 2)}
    traces = {
        name: made_up_trace([" first", f" {name}", *inner, f" {name}", " last"], n_layers=1, n_heads=1)
        for name, inner in middle.items()
    }
    one = saved(Scrubber(traces, maps=["entropy"]))
    press(one.page, "b")
    assert "2 of 8204 tokens have a counterpart" in one.page.locator(".attnent .pairing").first.inner_text()
    one.check()


# ---- characters


def test_emoji_and_joined_letters_stay_whole_and_joiners_elsewhere_are_marked(saved):
    tokens = ["👨\u200d👩\u200d👧", " 👍🏽", "🏳️\u200d🌈", " می\u200cخواهم", "a\u200db", "👨", "\u200d", "👧", "🇩", "🇪"]
    one = saved(Scrubber(made_up_trace(tokens)))
    shown = one.page.locator(".attnent .token").all_text_contents()
    assert shown == [*tokens[:4], "aU+200Db", "👨", "U+200D", "👧", "🇩", "🇪"]
    assert one.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    one.check()


# ---- texts that are HTML


def test_html_in_keys_measures_and_models_is_shown_and_not_run(saved):
    trace = looking(made_up_trace(WORDS, prompt=EVIL))
    keys = trace["key_token"].values
    keys[:] = EVIL
    trace = trace.assign({EVIL: ("step", np.linspace(0, 1, 6), {"long_name": EVIL, "units": EVIL})})
    trace = trace.assign_coords(key_token=("key", keys)).assign_attrs(model=EVIL, finish_reason=EVIL)
    scrubber = Scrubber({EVIL: trace}, grades={EVIL: EVIL})
    scrubber.layer, scrubber.head, scrubber.step = 1, 2, 5
    one = saved(scrubber)
    assert EVIL in one.page.locator(".attnent .asked").inner_text()
    choose(one.page, "second curve", -1 + one.page.locator("select[aria-label='second curve'] option").count())
    assert EVIL in one.page.locator(".attnent .curve .row-title").nth(1).text_content()
    press(one.page, "?")
    one.page.locator(".attnent .exports summary").click()
    one.page.get_by_text("copy as Python").click()
    assert one.page.locator(".attnent img").count() == 0
    one.check()


# ---- grades


def test_grades_may_be_numbers_or_missing(saved):
    one = saved(Scrubber(made(4), grades={"r0": 1, "r1": 0.5, "r2": np.nan, "r3": None}))
    grades = one.page.locator("select[aria-label='grade'] option").all_inner_texts()
    assert grades == ["all (4)", "1 (1)", "0.5 (1)"]
    one.check()


def test_thirty_grades_can_be_chosen_one_by_one(saved):
    one = saved(Scrubber(made(30), grades={f"r{n}": f"grade {n}" for n in range(30)}))
    for place in (30, 1, 17):
        choose(one.page, "grade", place)
        assert state_of(one.page)[0] == f"r{place - 1}"
    assert one.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    one.check()


# ---- numbers that are missing, and shapes that differ


def test_a_trace_without_a_number_still_tells_where_it_looks(saved):
    trace = looking(made_up_trace(WORDS))
    trace = trace.assign({name: trace[name] * np.nan for name in [*MEASURES, "logprob", "token_entropy"]})
    scrubber = Scrubber(trace)
    scrubber.layer, scrubber.head, scrubber.step = 1, 2, 5
    one = saved(scrubber)
    assert one.page.locator(".attnent .looked").count() == 3
    press(one.page, "n", "d", "ArrowLeft", "m")
    assert token_said(one.page) == "token 4 of 0–5"
    one.check()


def token_said(page: Any) -> str:
    return page.locator(".attnent output").inner_text()


def test_two_models_of_different_shape_stand_beside_each_other(saved):
    small = made_up_trace(words(12)).assign_attrs(model="small")
    large = made_up_trace(words(12, 1), n_layers=7, n_heads=2).assign_attrs(model="large")
    one = saved(Scrubber({"a": small, "b": large}))
    press(one.page, "b")
    one.page.locator(".attnent .panel").nth(1).locator(".map canvas").click(position={"x": 5, "y": 5})
    press(one.page, "d", "ArrowRight")
    assert one.page.get_by_text("difference of heads").is_hidden(), "their heads are not the same heads"
    assert "layer" in one.page.locator(".attnent .note span").first.inner_text()
    one.check()


def test_two_runs_of_one_task_stand_beside_each_other_without_grades(saved, tmp_path):
    runs = []
    for name in ("a/one", "b/two"):
        examples = pd.DataFrame({"id": ["x", "y"], "prompt": ["Why?", "How?"]})
        run = ae.Run.start(tmp_path / name, identity={"model": name}, examples=examples)
        for seed, (id_, prompt) in enumerate(zip(examples["id"], examples["prompt"], strict=True)):
            run.save(id_, made_up_trace(words(9, seed), prompt=prompt).assign_attrs(model=name))
        runs.append(run)
    one = saved(Scrubber(runs))
    assert one.page.locator("select[aria-label='grade']").is_hidden()
    press(one.page, "b")
    titles = one.page.locator(".attnent .panel .title b").all_inner_texts()
    assert titles == ["x · a/one", "x · b/two"]
    press(one.page, "b")
    scrub_everything(one.page)
    one.check()
