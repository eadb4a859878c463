"""What a reader explores in a saved page: the response table, where heads look, comparison, links, export, help."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pytest
from browser import Watched, chromium, watched
from made_up import made_up_trace
from test_scrubber_browser import EVIL, WORDS, changes, choose, map_of, token, words
from test_scrubber_usual import looking, made, mean_of, usual_of

import attnent as ae
from attnent.show.scrubber import Scrubber
from attnent.trace import measure

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture
def saved(browser, tmp_path) -> Iterator[Callable[..., Watched]]:
    """Opens a Scrubber's saved page, at a fragment of its address."""
    pages = []

    def open_saved(scrubber: Scrubber, fragment: str = "", **look: Any) -> Watched:
        scrubber.save(tmp_path / "page.html")
        pages.append(watched(browser, **look))
        one = pages[-1].__enter__()
        one.page.goto((tmp_path / "page.html").as_uri() + fragment)
        one.page.wait_for_selector(".attnent .map canvas")
        return one

    yield open_saved
    for page in pages:
        page.__exit__(None, None, None)


def press(page: Any, *keys: str) -> None:
    page.locator(".attnent .transport input").focus()
    for key in keys:
        page.keyboard.press(key)


def state_of(page: Any) -> tuple[str, int, str]:
    """The response, the token and the head that are shown."""
    title = page.locator(".attnent .panel .title b").first.inner_text()
    note = page.locator(".attnent .note span").first.inner_text()
    head = re.search(r"Following layer (\d+), head (\d+)", note)
    return title, token(page), f"{head[1]}.{head[2]}" if head else ""


def cell_of(page: Any, layer: int, head: int, *, n_layers: int = 3, n_heads: int = 5) -> dict[str, float]:
    side = page.locator(".attnent .map canvas").first.bounding_box()["width"] / n_heads
    return {"x": (head + 0.5) * side, "y": (n_layers - layer - 0.5) * side}


# ---- measures


@pytest.mark.parametrize("name", ["normalized_entropy", "effective_keys", "kl_to_uniform"])
def test_the_map_shows_the_chosen_derived_measure_and_a_click_keeps_it(saved, name):
    trace = made_up_trace(words(30))
    scrubber = Scrubber(trace)
    scrubber.measure, scrubber.step = name, 7
    one = saved(scrubber)
    title = measure(trace, name).attrs["long_name"]
    assert one.page.locator(".attnent .map-title").first.inner_text().startswith(title)
    one.page.locator(".attnent .map canvas").click(position=cell_of(one.page, 1, 3))
    one.page.mouse.move(2, 2)
    said = one.page.locator(".attnent .note span").first.inner_text()
    assert said.startswith("Following layer 1, head 3: ")
    entropy = trace["entropy"].sel(layer=1, head=3)
    slope = {"normalized_entropy": 1 / np.log(16), "effective_keys": np.exp(entropy[7]), "kl_to_uniform": 1}[name]
    off = abs(float(re.search(r": ([\d.]+)", said)[1]) - float(measure(trace, name).sel(layer=1, head=3, step=7)))
    assert off <= float(entropy.max() - entropy.min()) / 508 * float(slope) + 0.006
    assert one.page.locator(".attnent .legend").inner_text().startswith(f"{title}, layer 1, head 3")
    assert one.page.locator(".attnent select[aria-label='colour and curve']").input_value() == name
    one.check()


def test_two_curves_have_an_axis_each_and_none_is_called_1(saved):
    scrubber = Scrubber(made_up_trace(words(30)))
    scrubber.measure, scrubber.overlay = "normalized_entropy", "token_entropy"
    one = saved(scrubber)
    names = one.page.locator(".attnent .curve .name").all_text_contents()
    assert names == ["no unit", "nat", "step (token)"]
    assert one.page.locator(".attnent .curve .row-title").all_text_contents() == [
        "normalized attention entropy, mean of heads", "token entropy (nat)",
    ]  # fmt: skip
    one.check()


def test_nothing_is_minus_nought(saved):
    trace = made_up_trace(words(9))
    trace["prompt_mass"][:], trace["sink_mass"][:] = 1.0, 1.0
    one = saved(Scrubber(trace))
    one.page.locator(".attnent .map canvas").click(position=cell_of(one.page, 0, 0))
    assert "-0" not in one.page.locator(".attnent .mass-labels").inner_text()
    one.check()


# ---- numbers that mean something


def test_a_token_is_placed_among_its_like_and_keys_go_to_the_most_unusual(saved):
    traces = made(20)
    scrubber = Scrubber(traces)
    percentiles, cells, n_like = usual_of(scrubber, 0)
    known = [step for step, share in enumerate(percentiles["entropy"]) if np.isfinite(share)]
    order = sorted(known, key=lambda step: -abs(percentiles["entropy"][step] - 50))
    assert len(order) > 3
    one = saved(scrubber)
    press(one.page, "n")
    assert token(one.page) == order[0]
    said = one.page.locator(".attnent .reading").inner_text()
    share, n, kind, tenth = re.search(r"higher than ([\d.]+) % of (\d+) like it \((\w+), tenth (\d+)", said).groups()
    assert float(share) == pytest.approx(percentiles["entropy"][order[0]], abs=0.051)
    assert (int(n), f"{kind} {int(tenth) - 1}") == (n_like[order[0]], cells[order[0]])
    walked = []
    for key in ("n", "n", "p", "p"):
        press(one.page, key)
        walked.append(token(one.page))
    assert walked == [order[1], order[2], order[1], order[0]]
    one.check()


def test_the_head_that_differs_most_is_followed_and_left_by_keys(saved):
    traces = made(6)
    for trace in traces.values():
        trace["entropy"][:] = 0.5 + 0.01 * trace["entropy"]
    traces["r0"]["entropy"][2, 3, 4] = 3.0
    scrubber = Scrubber(traces)
    scrubber.step = 4
    one = saved(scrubber)
    press(one.page, "d")
    assert state_of(one.page) == ("r0", 4, "2.3")
    assert "higher than" in one.page.locator(".attnent .reading").inner_text() or "too few" in (
        one.page.locator(".attnent .reading").inner_text()
    )
    press(one.page, "m")
    assert state_of(one.page) == ("r0", 4, "")
    one.check()


def test_behind_the_curve_lies_the_band_of_the_responses_group(saved):
    traces = made(12)
    one = saved(Scrubber(traces, grades={id_: "right" for id_ in traces}))
    assert one.page.locator(".attnent .curve .band").count() == 2
    assert "10 to 90 % and median of 12 “right” responses" in one.page.locator(".attnent .key").inner_text()
    one.page.locator(".attnent .map canvas").click(position=cell_of(one.page, 1, 1))
    assert one.page.locator(".attnent .curve .band").count() == 2, "of the head, among the responses sent"
    one.check()


# ---- where does it look?


def test_the_top_keys_of_the_followed_head_are_marked_and_listed_with_their_weights(saved):
    trace = looking(made_up_trace(words(9)))
    scrubber = Scrubber(trace)
    scrubber.layer, scrubber.head, scrubber.step = 1, 2, 6
    one = saved(scrubber)
    keys = trace.top_key.sel(top_layer=1, top_head=2, step=6).values
    weights = trace.top_weight.sel(top_layer=1, top_head=2, step=6).values
    of_prompt = one.page.locator(".attnent .asked .looked").evaluate_all("all => all.map(one => +one.dataset.key)")
    of_text = one.page.locator(".attnent .text .looked").evaluate_all("all => all.map(one => +one.dataset.step)")
    assert {*of_prompt, *(4 + step for step in of_text)} == {*keys.tolist()}
    shares = one.page.locator(".attnent .beside ol").first.locator(".share").all_inner_texts()
    assert shares == [f"{weight:.3f}" for weight in weights]
    texts = one.page.locator(".attnent .beside ol").first.locator("bdi").all_inner_texts()
    assert texts == [str(trace.key_token.values[key]) for key in keys]
    press(one.page, "m")
    assert one.page.locator(".attnent .looked").count() == 0
    one.check()


def test_a_head_whose_top_keys_were_not_recorded_is_said_to_be_so(saved):
    scrubber = Scrubber(looking(made_up_trace(words(9))))
    scrubber.layer, scrubber.head = 0, 0
    one = saved(scrubber)
    assert "Known of 1 layer and 2 heads: layers 1; heads 0, 2." in one.page.locator(".attnent .beside").inner_text()
    one.check()


# ---- the table of responses


def rows_of(page: Any, column: int = 0) -> list[str]:
    return page.locator(f".attnent .rows tbody tr td:nth-child({column + 1})").all_inner_texts()


def test_responses_are_sorted_searched_and_chosen_in_a_table(saved):
    traces = made(5)
    traces["r3"] = traces["r3"].assign_attrs(prompt="Where is the lighthouse?")
    one = saved(Scrubber(traces, grades={"r0": "right", "r1": "wrong"}))
    one.page.locator(".attnent .responses summary").click()
    assert rows_of(one.page) == ["r0", "r1", "r2", "r3", "r4"]
    means = {id_: float(mean_of(trace, "entropy").mean()) for id_, trace in traces.items()}
    by_mean = sorted(means, key=means.__getitem__)
    mean = one.page.locator(".attnent .rows th").get_by_text("mean", exact=True)
    mean.click()
    assert rows_of(one.page) == by_mean
    mean.click()
    assert rows_of(one.page) == by_mean[::-1]
    press(one.page, "]")
    shown = state_of(one.page)[0]
    assert by_mean[::-1].index(shown) == min(4, by_mean[::-1].index("r0") + 1)
    press(one.page, "/")
    one.page.keyboard.type("LIGHTHOUSE")
    assert rows_of(one.page) == ["r3"]
    one.page.locator(".attnent .rows tbody td").first.click()
    assert state_of(one.page)[0] == "r3"
    one.check()


def test_text_can_be_selected_and_selecting_chooses_no_token(saved):
    one = saved(Scrubber(made_up_trace(words(30))))
    first, last = (one.page.locator(".attnent .token").nth(place).bounding_box() for place in (2, 6))
    one.page.mouse.move(first["x"] + 2, first["y"] + 8)
    one.page.mouse.down()
    one.page.mouse.move(last["x"] + last["width"] - 2, last["y"] + 8, steps=5)
    one.page.mouse.up()
    one.page.mouse.move(2, 2)
    assert len(one.page.evaluate("getSelection().toString()").split()) >= 4
    assert token(one.page) == 0
    one.check()


# ---- links


def test_a_link_opens_its_state_and_the_copied_link_is_the_same(saved):
    scrubber = Scrubber(made(3))
    one = saved(scrubber, "#response=r2&step=5&head=1.4&measure=varentropy")
    assert state_of(one.page) == ("r2", 5, "1.4")
    one.page.locator(".attnent .exports summary").click()
    one.page.get_by_text("copy link").click()
    link = one.page.locator(".attnent .exports textarea").input_value()
    asked = {name: values[0] for name, values in parse_qs(link.split("#")[1]).items()}
    assert asked == {"response": "r2", "step": "5", "head": "1.4", "measure": "varentropy"}
    one.page.evaluate("location.hash = '#response=r1&step=3'")
    one.page.wait_for_function("document.querySelector('.attnent .title b').textContent === 'r1'")
    assert token(one.page) == 3
    one.check()


@pytest.mark.parametrize(
    "fragment",
    ["#response=nobody&step=2", "#step=99999", "#head=70.1", "#head=x.y&step=-1", "#measure=nothing", "#%ff&&&==",
     f"#response={EVIL}", "#results"],
)  # fmt: skip
def test_a_link_that_names_nothing_does_no_harm(saved, fragment):
    one = saved(Scrubber(made(2)), fragment)
    title, step, head = state_of(one.page)
    assert (title, head) == ("r0", "")
    assert step in (0, 29)
    one.check()


def test_the_copied_python_gives_the_number_that_is_shown(saved, tmp_path):
    traces = made(2)
    run = ae.Run.start(tmp_path / "run", identity={}, examples=pd.DataFrame({"id": [*traces], "prompt": "Why?"}))
    for id_, trace in traces.items():
        run.save(id_, trace)
    scrubber = Scrubber(run)
    of_head = "#response=r1&step=5&head=1.4&measure=normalized_entropy"
    for fragment, digits in ((of_head, 0.02), ("#response=r1&step=5", 0.002)):
        one = saved(scrubber, fragment)
        one.page.locator(".attnent .exports summary").click()
        one.page.get_by_text("copy as Python").click()
        *lines, last = one.page.locator(".attnent .exports textarea").input_value().splitlines()
        names = {"scrubber": scrubber, "run": run, "ae": ae}
        exec("\n".join(lines), names)
        assert (scrubber.response, scrubber.step) == ("r1", 5)
        shown = float(one.page.locator(".attnent .row b").first.inner_text().removesuffix(" nat"))
        assert float(eval(last, names)) == pytest.approx(shown, abs=digits)
        one.check()


# ---- comparison


def test_two_samples_of_one_prompt_are_aligned_by_their_words(saved):
    a = made_up_trace([" the", " old", " river", " runs", " on"], seed=1)
    b = made_up_trace([" the", " ri", "ver", " slowly", " runs", " on"], seed=2)
    one = saved(Scrubber({"a": a, "b": b}))
    press(one.page, "b")
    assert (
        "aligned by text: 4 of 5 tokens have a counterpart" in one.page.locator(".attnent .pairing").first.inner_text()
    )

    def beside() -> list[int]:
        return [
            int(step)
            for step in one.page.locator(".attnent .token.now").evaluate_all("all => all.map(x => x.dataset.step)")
        ]

    walked = [beside()]
    for _ in range(4):
        press(one.page, "ArrowRight")
        walked.append(beside())
    assert walked == [[0, 0], [1, 0], [2, 1], [3, 4], [4, 5]], "a word without counterpart stays at the last one"
    difference = mean_of(a, "entropy")[[0, 2, 3, 4]] - mean_of(b, "entropy")[[0, 1, 4, 5]]
    title = one.page.locator(".attnent .curve .row-title").nth(2).text_content()
    assert float(re.search(r"([-\d.]+) nat on average", title)[1]) == pytest.approx(difference.mean(), abs=2e-3)
    one.page.locator(".attnent .panel").nth(1).locator(".token").nth(4).click()
    assert token(one.page) == 3
    one.check()


def test_the_map_of_differences_shows_one_head_less_the_other(saved):
    a, b = (made_up_trace(WORDS, seed=seed) for seed in (1, 2))
    scrubber = Scrubber({"a": a, "b": b})
    scrubber.compared, scrubber.step = "b", 4
    one = saved(scrubber)
    before = one.page.locator(".attnent .map canvas").nth(1).evaluate("canvas => canvas.toDataURL()")
    one.page.get_by_text("difference of heads").click()
    assert before != one.page.locator(".attnent .map canvas").nth(1).evaluate("canvas => canvas.toDataURL()")
    second = one.page.locator(".attnent .panel").nth(1)
    second.locator(".map canvas").hover(position=cell_of(one.page, 2, 1))
    shown = float(re.search(r": (-?[\d.]+)", second.locator(".note span").inner_text())[1])
    expected = float((a["entropy"] - b["entropy"]).sel(layer=2, head=1, step=4))
    assert shown == pytest.approx(expected, abs=0.015)
    one.check()


def test_responses_to_different_prompts_go_step_by_step(saved):
    traces = {"a": made_up_trace(words(8)), "b": made_up_trace(words(5), prompt="How?")}
    one = saved(Scrubber(traces))
    choose(one.page, "beside it", 2)
    assert "step by step" in one.page.locator(".attnent .pairing").first.inner_text()
    press(one.page, "End")
    now = one.page.locator(".attnent .token.now").evaluate_all("all => all.map(x => +x.dataset.step)")
    assert now == [7, 4]
    one.check()


# ---- a whole response


def test_a_whole_response_is_shown_by_layer_or_head_zoomed_and_clicked(saved):
    trace = made_up_trace(words(100))
    one = saved(Scrubber(trace))
    one.page.locator(".attnent .whole summary").click()
    canvas = one.page.locator(".attnent .whole canvas")
    canvas.hover(position={"x": 100, "y": 3})
    said = one.page.locator(".attnent .whole .whole-note").inner_text()
    step, layer, value = re.fullmatch(r"token (\d+), layer (\d+): ([\d.]+) nat", said).groups()
    assert layer == "2"
    expected = float(trace["entropy"].sel(layer=2, step=int(step)).mean())
    assert float(value) == pytest.approx(expected, abs=0.006)
    one.page.get_by_text("zoom in").click()
    assert canvas.get_attribute("aria-label").endswith("tokens 0 to 49")
    one.page.locator(".attnent .whole select").select_option("1")
    canvas.click(position={"x": 100, "y": 3})
    assert state_of(one.page)[2] == "1.4"
    one.check()


# ---- out of it


def downloaded(page: Any, name: str) -> bytes:
    with page.expect_download() as begun:
        page.get_by_text(name, exact=True).click()
    return begun.value.path().read_bytes()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_leave_in_light_colours_and_tokens_as_a_table(saved, scheme):
    trace = made_up_trace([' "a,b"', "\n", EVIL, *words(20)])
    one = saved(Scrubber(trace), scheme=scheme)
    one.page.locator(".attnent .exports summary").click()
    for name in ("curves SVG", "map SVG"):
        picture = downloaded(one.page, name).decode()
        assert picture.startswith("<svg")
        assert 'fill="#ffffff"' in picture.replace("fill: rgb(255, 255, 255)", 'fill="#ffffff"')
        assert "rgb(228, 230, 233)" not in picture, "the ink of a dark page"
        assert "rgb(29, 33, 38)" in picture
    for name in ("curves PNG", "map PNG"):
        assert downloaded(one.page, name).startswith(b"\x89PNG")
    rows = [*csv.DictReader(io.StringIO(downloaded(one.page, "tokens CSV").decode("utf-8-sig"), newline=""))]
    assert [row["token"] for row in rows] == [str(text) for text in trace.token.values]
    np.testing.assert_allclose([float(row["entropy"]) for row in rows], mean_of(trace, "entropy"), rtol=1e-5)
    one.check()


def test_help_shows_keys_and_measures_and_escape_closes_it(saved):
    one = saved(Scrubber(made_up_trace(words(9))))
    press(one.page, "?")
    said = one.page.locator(".attnent .help").inner_text()
    assert "most unusual token" in said
    assert "How widely a query spreads its attention" in said
    one.page.keyboard.press("Escape")
    assert not one.page.locator(".attnent .help").is_visible()
    select = one.page.locator(".attnent select[aria-label='colour and curve']")
    described = one.page.locator(f"[id='{select.get_attribute('aria-describedby')}']")
    assert described.inner_text().startswith("How widely")
    assert changes(described.inner_text, lambda: select.select_option("varentropy"))
    one.check()


def test_keys_typed_in_the_search_are_text(saved):
    one = saved(Scrubber(made(3)))
    before = map_of(one.page)
    press(one.page, "/")
    one.page.keyboard.type("ndm[]b?")
    assert one.page.locator(".attnent input[type=search]").input_value() == "ndm[]b?"
    assert map_of(one.page) == before
    one.check()
