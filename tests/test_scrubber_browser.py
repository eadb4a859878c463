"""The Scrubber in a browser: in a saved page, in JupyterLab and marimo, and in an executed notebook opened afresh."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from browser import (
    Watched,
    chromium,
    jupyter_home,
    jupyterlab,
    marimo,
    open_notebook,
    run_all_cells,
    run_cell,
    shut_down_kernel,
    watched,
)
from made_up import made_up_trace

from attnent.show.scrubber import Scrubber
from attnent.store.traces import save_trace
from attnent.study.notebook import run_notebook
from attnent.trace import MEASURES

pytestmark = pytest.mark.browser

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
EVIL = '<img src=x onerror="window.hasRun=1"></script><script>window.hasRun=1</script>'
INK_ON_LIGHT, INK_ON_DARK = "rgb(29, 33, 38)", "rgb(228, 230, 233)"
WORDS = ["the", "river", "runs", "over", "stones", "and", "nobody", "knows", "why"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


def words(n_steps: int, seed: int = 0) -> list[str]:
    return [f" {word}" for word in np.random.default_rng(seed).choice(WORDS, n_steps)]


def evil_scrubber() -> Scrubber:
    """Three responses in whose every text there is HTML that would run if it were not shown."""
    traces = {f"{EVIL}{place}": made_up_trace([EVIL, *words(40, place)], seed=place, prompt=EVIL) for place in range(3)}
    errors = pd.DataFrame(
        [
            {
                "response_id": f"{EVIL}0",
                "token_start": 2,
                "token_stop": 5,
                "judge": EVIL,
                "kind": EVIL,
                "explanation": EVIL,
            }
        ]
    )
    grades = dict(zip(traces, ["right", EVIL, EVIL], strict=True))
    return Scrubber(traces, grades=grades, errors=errors, decode=lambda id_: f"{EVIL}{id_}")


# ---- what a reader does, and what must then have changed


def map_of(page: Any) -> str:
    return page.locator(".attnent .map canvas").first.evaluate("canvas => canvas.toDataURL()")


def changes(look: Callable[[], Any], act: Callable[[], Any]) -> bool:
    before = look()
    act()
    return look() != before


def token(page: Any) -> int:
    return int(page.locator(".attnent .transport input").input_value())


def drag_slider(page: Any) -> list[str]:
    """Drag the slider with the mouse; gives back the picture of the map after each move."""
    box = page.locator(".attnent .transport input").bounding_box()
    y, pictures = box["y"] + box["height"] / 2, []
    page.mouse.move(box["x"] + 8, y)
    page.mouse.down()
    for share in (0.2, 0.4, 0.6, 0.8):
        page.mouse.move(box["x"] + box["width"] * share, y, steps=3)
        pictures.append(map_of(page))
    page.mouse.up()
    return pictures


def choose(page: Any, label: str, place: int) -> None:
    page.locator(f".attnent select[aria-label='{label}']").select_option(index=place)


def click_head(page: Any) -> None:
    page.locator(".attnent .map canvas").first.click(position={"x": 20, "y": 10})


def follow_by_keys(page: Any) -> None:
    """Leave the map, come back, and follow layer 1, head 1."""
    page.locator(".attnent .note button").evaluate("button => button.click()")
    page.locator(".attnent .transport input").focus()
    page.locator(".attnent .map canvas").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Enter"):
        page.keyboard.press(key)


def curve_of(page: Any) -> str:
    return page.locator(".attnent .line.main").first.get_attribute("d")


def scrub_everything(page: Any) -> None:
    """What every life must do: drag, keys, another response, a head."""
    page.wait_for_selector(".attnent .map canvas")
    page.locator(".attnent .transport").scroll_into_view_if_needed()
    assert len(set(drag_slider(page))) == 4
    before = token(page)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert token(page) == before - 2
    assert changes(lambda: map_of(page), lambda: page.keyboard.press("ArrowRight"))
    assert changes(lambda: page.locator(".attnent .text").inner_text(), lambda: choose(page, "response", 1))
    assert changes(lambda: curve_of(page), lambda: click_head(page))


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


# ---- a saved page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_saved_page_scrubs_by_mouse_and_keys_without_a_kernel(saved, scheme):
    one = saved(Scrubber([made_up_trace(words(60, seed), seed=seed) for seed in range(3)]), scheme=scheme)
    scrub_everything(one.page)
    one.check()


def test_a_page_follows_the_readers_colour_scheme(saved):
    scrubber = Scrubber(made_up_trace(words(9)))
    inks = [
        saved(scrubber, scheme=scheme).page.locator(".attnent").evaluate("node => getComputedStyle(node).color")
        for scheme in ("light", "dark")
    ]
    assert inks == [INK_ON_LIGHT, INK_ON_DARK]


@pytest.mark.parametrize(
    ("mark", "ink"),
    [
        ("data-jp-theme-light=true", INK_ON_LIGHT),
        ("data-jp-theme-light=false", INK_ON_DARK),
        ("class=vscode-light", INK_ON_LIGHT),
        ("class=vscode-dark", INK_ON_DARK),
        ("class=vscode-high-contrast", INK_ON_DARK),
    ],
)
def test_a_theme_that_the_page_names_comes_before_the_readers_colour_scheme(saved, mark, ink):
    one = saved(Scrubber(made_up_trace(words(9))), scheme="dark" if ink == INK_ON_LIGHT else "light")
    one.page.evaluate("mark => document.body.setAttribute(...mark.split('='))", mark)
    assert one.page.locator(".attnent").evaluate("node => getComputedStyle(node).color") == ink


def test_html_in_any_text_is_shown_and_not_run(saved):
    one = saved(evil_scrubber())
    scrub_everything(one.page)
    choose(one.page, "grade", 2)
    choose(one.page, "beside it", 1)
    choose(one.page, "response", 0)
    assert EVIL in one.page.locator(".attnent .text").first.inner_text()
    assert one.page.locator(".attnent img").count() == 0
    one.check()


def test_the_filter_leaves_the_responses_of_a_grade(saved):
    grades = {"0": "right", "1": "wrong", "2": "wrong", "3": "right"}
    one = saved(Scrubber([made_up_trace(words(9, seed), seed=seed) for seed in range(4)], grades=grades))
    choose(one.page, "grade", 2)
    shown = one.page.locator(".attnent select[aria-label='response'] option").all_inner_texts()
    assert [text.split(" · ")[:2] for text in shown] == [["1", "wrong"], ["2", "wrong"]]
    one.check()


def test_two_responses_stand_side_by_side_under_one_scale(saved):
    one = saved(Scrubber([made_up_trace(words(30, seed), seed=seed) for seed in range(2)]))
    choose(one.page, "beside it", 2)
    left, right = (panel.bounding_box() for panel in one.page.locator(".attnent .panel").all())
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    scales = one.page.locator(".attnent .scale").all_inner_texts()
    assert scales[0] == scales[1]
    one.check()


def test_pointing_at_a_token_previews_it_and_pressing_chooses_it(saved):
    one = saved(Scrubber(made_up_trace(words(30))))
    spans, start = one.page.locator(".attnent .token"), map_of(one.page)
    assert changes(lambda: map_of(one.page), lambda: spans.nth(7).hover())
    one.page.mouse.move(5, 5)
    assert map_of(one.page) == start
    spans.nth(7).click()
    one.page.mouse.move(5, 5)
    assert token(one.page) == 7
    one.page.keyboard.press("ArrowRight")
    assert token(one.page) == 8
    one.check()


def test_a_mouse_that_lies_still_does_not_choose_while_keys_do(saved):
    one = saved(Scrubber(made_up_trace(words(30))))
    one.page.locator(".attnent .token").nth(3).click()
    for _ in range(5):
        one.page.keyboard.press("ArrowRight")
    assert one.page.locator(".attnent .token.now").get_attribute("data-step") == "8"
    one.check()


def test_the_map_can_be_followed_by_keyboard_alone(saved):
    one = saved(Scrubber(made_up_trace(words(30))))
    follow_by_keys(one.page)
    assert "layer 1, head 1" in one.page.locator(".attnent .note").inner_text()
    assert one.page.locator(".attnent .legend").inner_text().startswith("attention entropy, layer 1, head 1 (nat)")
    one.check()


def test_a_reader_who_listens_is_told_the_token_its_value_and_its_error(saved):
    errors = pd.DataFrame([{"response_id": "0", "token_start": 1, "token_stop": 2, "kind": "slip"}])
    one = saved(Scrubber(made_up_trace([" one", " two"]), errors=errors))
    slider = one.page.locator(".attnent .transport input")
    slider.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "token 1 of 2, “ two”"
    said = one.page.locator(".attnent [aria-live='polite']").inner_text()
    assert re.fullmatch(r"attention entropy, mean of heads: 0\.\d+ nat, marked slip", said)
    one.check()


def test_the_picture_follows_the_width_of_the_page(saved):
    one = saved(Scrubber(made_up_trace(words(60))))
    before = one.page.locator(".attnent .curve").get_attribute("viewBox")
    one.page.set_viewport_size({"width": 500, "height": 900})
    one.page.wait_for_function(
        "before => document.querySelector('.attnent .curve').getAttribute('viewBox') !== before", arg=before
    )
    assert one.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    one.check()


def test_the_current_token_scrolls_into_view_and_the_page_stays(saved):
    one = saved(Scrubber(made_up_trace(words(4000))), height=500)
    one.page.locator(".attnent .transport input").press("End")
    box, last = (
        one.page.locator(place).bounding_box() for place in (".attnent .text", ".attnent .token[data-step='3999']")
    )
    assert box["y"] <= last["y"] <= last["y"] + last["height"] <= box["y"] + box["height"]
    assert one.page.evaluate("window.scrollY") == 0
    one.check()


def test_what_is_missing_is_shown_as_missing(saved):
    trace = made_up_trace(words(8))
    trace["entropy"][:, :, 3] = np.nan
    trace["entropy"][1, 2, :] = np.nan
    one = saved(Scrubber(trace))
    assert one.page.locator(".attnent .token.missing").evaluate_all("all => all.map(one => one.dataset.step)") == ["3"]
    one.page.locator(".attnent .token").nth(3).click()
    assert "missing" in one.page.locator(".attnent .reading").inner_text()
    one.page.locator(".attnent .token").nth(5).click()
    side = one.page.locator(".attnent .map canvas").bounding_box()["width"] / 5
    one.page.locator(".attnent .map canvas").hover(position={"x": 2.5 * side, "y": 1.5 * side})
    assert one.page.locator(".attnent .note").inner_text().startswith("layer 1, head 2: missing")
    one.check()


def test_the_map_says_the_number_of_the_trace_to_the_digits_that_are_exact(saved):
    trace = made_up_trace(words(30))
    one = saved(Scrubber(trace))
    one.page.locator(".attnent .token").nth(7).click()
    side = one.page.locator(".attnent .map canvas").bounding_box()["width"] / 5
    for layer, head in ((0, 4), (2, 0)):
        one.page.locator(".attnent .map canvas").hover(position={"x": (head + 0.5) * side, "y": (2.5 - layer) * side})
        place, said = one.page.locator(".attnent .note span").inner_text().split(": ")
        assert place == f"layer {layer}, head {head}"
        of_head = trace["entropy"].sel(layer=layer, head=head)
        rounding = float(of_head.max() - of_head.min()) / 508 + 0.005
        assert said == f"{float(said.removesuffix(' nat')):.2f} nat"
        assert abs(float(said.removesuffix(" nat")) - float(of_head[7])) <= rounding
    one.check()


@pytest.mark.parametrize(
    ("tokens", "spans"),
    [
        ([], None),
        (["one"], None),
        (["🙂", "🙂", "🙂", " and"], [(0, 1), (0, 1), (0, 1), (1, 5)]),
        (["x" * 3000, " end"], None),
        (["\n", " ", "\t", "\u202e", "\x00", ""], None),
        ([" שלום", " עולם", " مرحبا"], None),
    ],
    ids=["empty", "one", "parts", "long", "blank", "right-to-left"],
)
def test_odd_responses_are_shown_within_the_page(saved, tokens, spans):
    one = saved(Scrubber(made_up_trace(tokens, spans=spans)), width=500)
    assert one.page.locator(".attnent .token").count() == len(tokens)
    for step in range(len(tokens)):
        one.page.locator(".attnent .token").nth(step).click(position={"x": 2, "y": 4})
        assert token(one.page) == step
    assert one.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    one.check()


def test_a_response_without_a_number_is_shown(saved):
    trace = made_up_trace(words(8))
    trace = trace.assign({name: trace[name] * np.nan for name in [*MEASURES, "logprob", "token_entropy"]})
    one = saved(Scrubber(trace))
    assert "missing everywhere" in one.page.locator(".attnent .legend").inner_text()
    drag_slider(one.page)
    one.check()


def redraw_ms(page: Any, n_steps: int) -> np.ndarray:
    """Milliseconds of 40 redraws, each at another token, layout and the map's pixels included."""
    return np.array(
        page.evaluate(
            """(nSteps) => Array.from({ length: 40 }, (_, i) => {
                const slider = document.querySelector('.attnent .transport input');
                const started = performance.now();
                slider.value = (i * 37 + 1) % nSteps;
                slider.dispatchEvent(new Event('input'));
                document.body.getBoundingClientRect();
                document.querySelector('.attnent .map canvas').getContext('2d').getImageData(0, 0, 1, 1);
                return performance.now() - started;
            })""",
            n_steps,
        )
    )


@pytest.mark.parametrize(
    ("n_responses", "n_steps", "n_layers", "n_heads"), [(100, 400, 28, 24), (2, 4000, 6, 6)], ids=["many", "long"]
)
def test_a_redraw_takes_less_than_a_frame(saved, n_responses, n_steps, n_layers, n_heads):
    of_one = made_up_trace(words(n_steps), n_layers=n_layers, n_heads=n_heads)
    one = saved(Scrubber([of_one] * n_responses))
    took = redraw_ms(one.page, n_steps)
    print(f"redraw: median {np.median(took):.1f} ms, 95 % {np.quantile(took, 0.95):.1f} ms")  # seen with pytest -rP
    assert np.median(took) < 16
    one.check()


# ---- JupyterLab


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """A JupyterLab and the folder that it serves."""
    home, root = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("root")
    with jupyter_home(home), jupyterlab(root) as address:
        yield address, root


def save_evil_traces(root: Path) -> None:
    for place in range(3):
        save_trace(made_up_trace([EVIL, *words(40, place)], seed=place, prompt=EVIL), root / f"{place}.safetensors")


def scrubber_notebook(root: Path) -> Path:
    """A notebook that shows responses in whose text there is HTML, and then prints the Scrubber's state."""
    save_evil_traces(root)
    cells = [
        "import attnent as ae\nfrom attnent.store.traces import load_trace\nfrom pathlib import Path",
        f"traces = [load_trace(Path({str(root)!r}) / f'{{place}}.safetensors') for place in range(3)]\n"
        f"scrubber = ae.Scrubber(traces, grades={{'0': 'right', '1': {EVIL!r}}})\nscrubber",
        "print(scrubber.response, scrubber.step, scrubber.layer, scrubber.head, scrubber.measure)",
        "if scrubber.step:\n    scrubber.response = '2'; scrubber.step = 11; scrubber.measure = 'token_entropy'",
    ]
    node = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    node.cells[0].metadata["tags"] = ["parameters"]
    path = root / "scrubber.ipynb"
    nbformat.write(node, path)
    return path


def test_in_jupyterlab_it_scrubs_and_python_reads_and_sets_its_state(browser, lab):
    address, root = lab
    with watched(browser, width=1200) as one:
        open_notebook(one.page, address, scrubber_notebook(root).name)
        run_all_cells(one.page)
        scrub_everything(one.page)
        follow_by_keys(one.page)
        drag_slider(one.page)
        one.page.wait_for_timeout(500)
        said = run_cell(one.page, 2).split()
        assert said == ["1", str(token(one.page)), "1", "1", "entropy"]
        one.page.locator(".attnent select").first.press("x")  # would cut the cell
        assert one.page.locator(".jp-Cell").count() == 4
        run_cell(one.page, 3)
        one.page.wait_for_function("document.querySelector('.attnent .transport input').value === '11'")
        assert one.page.locator(".attnent .legend").inner_text().startswith("token entropy")
        one.check()
        shut_down_kernel(one.page)


READING = """
import attnent as ae
import plotly.graph_objects as go
import plotly.io
plotly.io.renderers.default = "plotly_mimetype"
model, tokenizer = ae.load_model("tiny")
traces = ae.generate(model, tokenizer, ["Tell me about Sybil Dorn."], max_new_tokens=12, progress=False)
n_tries = 0
def read(trace):
    global n_tries
    n_tries += 1
    if n_tries == 1:
        raise MemoryError("no room <b>")
    return ae.read_again(model, tokenizer, trace)
scrubber = ae.Scrubber(traces, read=read)
display(scrubber)
go.Figure(go.Heatmap(x=[0, 1, 2], y=[0, 1], z=[[1, 2, 3], [4, 5, 6]]), layout={"meta": {"opens": "head"}})
"""


def test_in_jupyterlab_a_reader_has_a_response_read_again_and_is_told_where_that_fails(browser, lab):
    address, root = lab
    cells = [nbformat.v4.new_code_cell(source) for source in (READING, "scrubber", "")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), root / "reading.ipynb")
    with watched(browser, width=1200) as one:
        open_notebook(one.page, address, "reading.ipynb")
        run_all_cells(one.page)
        first = one.page.locator(".attnent").first
        first.locator(".map canvas").wait_for(timeout=120_000)
        first.locator(".map canvas").click(position={"x": 20, "y": 10})
        again = first.get_by_text("read this response again")
        again.click()
        first.locator(".beside").get_by_text("It could not be read: MemoryError: no room <b>.").wait_for()
        again.click()
        first.locator(".looked").first.wait_for(timeout=60_000)
        assert again.is_hidden()
        for key in "abcdmnopxyvz[]?/0":
            first.locator(".transport input").press(key)
        assert one.page.locator(".jp-Cell").count() == 3, "no key was a command of JupyterLab's"
        cell = one.page.locator(".js-plotly-plot .nsewdrag").first
        cell.scroll_into_view_if_needed()
        box = cell.bounding_box()
        one.page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.75)
        one.page.wait_for_selector(".js-plotly-plot .hovertext")
        one.page.mouse.down()
        one.page.mouse.up()
        first.get_by_text("Following layer 0, head 1").wait_for()
        one.check()
        shut_down_kernel(one.page)


def test_notebook_01_runs_in_jupyterlab_and_its_scrubber_scrubs(browser, lab):
    address, root = lab
    node = nbformat.read(NOTEBOOKS / "01_factual_vs_creative.ipynb", as_version=4)
    next(cell for cell in node.cells if "parameters" in cell.metadata.get("tags", [])).source += "\nn = 12"
    (root / "notebooks").mkdir()
    nbformat.write(node, root / "notebooks" / "01.ipynb")
    with watched(browser, width=1200) as one:
        open_notebook(one.page, address, "notebooks/01.ipynb")
        run_all_cells(one.page)
        one.page.wait_for_selector(".attnent canvas", timeout=240_000)
        one.page.wait_for_function(
            "window.jupyterapp.shell.currentWidget.sessionContext.kernelDisplayStatus === 'idle'"
        )
        scrub_everything(one.page)
        assert one.page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
        one.check()
        shut_down_kernel(one.page)


@pytest.fixture(scope="module")
def executed(lab) -> Path:
    """The same notebook, executed and signed without a browser."""
    _, root = lab
    outcome = run_notebook(scrubber_notebook(root), {}, root / "executed")
    assert outcome.status == "complete"
    return root / "executed" / "notebook.ipynb"


def test_an_executed_notebook_opened_afresh_scrubs_with_no_cell_run(browser, lab, executed):
    address, root = lab
    with watched(browser, width=1200) as one:
        open_notebook(one.page, address, str(executed.relative_to(root)))
        scrub_everything(one.page)
        assert EVIL in one.page.locator(".attnent .text").inner_text()
        one.check()
        assert "NameError: name 'scrubber' is not defined" in run_cell(one.page, 2)
        shut_down_kernel(one.page)


def test_in_jupyterlab_it_follows_the_theme(browser, lab, executed):
    address, root = lab
    with watched(browser, width=1200) as one:
        open_notebook(one.page, address, str(executed.relative_to(root)))
        widget = one.page.locator(".attnent")
        widget.wait_for()
        inks = []
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            one.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
            one.page.wait_for_selector(f"body[data-jp-theme-name='{theme}']", state="attached")
            one.page.wait_for_load_state("networkidle")
            inks.append(widget.evaluate("node => getComputedStyle(node).color"))
        assert inks == [INK_ON_DARK, INK_ON_LIGHT]
        one.problems[:] = [text for text in one.problems if "/api/themes/" not in text]  # JupyterLab's own stumbling
        one.check()
        shut_down_kernel(one.page)


def test_a_notebook_that_is_not_trusted_shows_coloured_text_and_runs_nothing(browser, lab, executed):
    address, root = lab
    node = nbformat.read(executed, as_version=4)
    node.metadata["changed"] = "after it was signed"
    nbformat.write(node, root / "untrusted.ipynb")
    with watched(browser, width=1200) as one:
        open_notebook(one.page, address, "untrusted.ipynb")
        tokens = one.page.locator(".jp-OutputArea-output span[style*='background-color']")
        tokens.first.wait_for()
        assert tokens.first.inner_text() == EVIL
        colours = tokens.evaluate_all("all => all.map(one => getComputedStyle(one).backgroundColor)")
        assert len(set(colours)) > 10
        assert one.page.locator(".attnent").count() == 0
        one.check()
        shut_down_kernel(one.page)


# ---- marimo

MARIMO = """
import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo
    import attnent as ae
    from attnent.store.traces import load_trace
    from pathlib import Path

    scrubber = ae.Scrubber([load_trace(Path(f"{place}.safetensors")) for place in range(3)])
    shown = mo.ui.anywidget(scrubber)
    shown
    return mo, scrubber, shown


@app.cell
def _(mo, scrubber, shown):
    shown.value
    mo.md(f"python: {scrubber.response} {scrubber.step} {scrubber.layer} {scrubber.head}")
    return
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_in_marimo_it_scrubs_in_its_theme_and_python_reads_its_state(browser, tmp_path, monkeypatch, theme):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    save_evil_traces(tmp_path)
    (tmp_path / "notebook.py").write_text(MARIMO)
    (tmp_path / "pyproject.toml").write_text(f'[tool.marimo.display]\ntheme = "{theme}"\n')
    readers_wish = {"light": "dark", "dark": "light"}[theme]  # must not count
    with marimo(tmp_path / "notebook.py") as address, watched(browser, scheme=readers_wish, width=1200) as one:
        one.page.goto(address)
        one.page.wait_for_selector(".attnent canvas", timeout=60_000)
        scrub_everything(one.page)
        step = token(one.page)
        one.page.get_by_text(re.compile(rf"python: 1 {step} \d \d")).wait_for()
        ink = one.page.locator(".attnent").evaluate("node => getComputedStyle(node).color")
        assert ink == {"light": INK_ON_LIGHT, "dark": INK_ON_DARK}[theme]
        one.check()
