"""`attnent show` and `attnent open`: a response as a page to scrub through, the results of studies, in the browser."""

import argparse
import webbrowser
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from attnent.store.folders import out_folder
from attnent.study import StudyError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOP_KEYS = 8  # most attended tokens that a page marks, of each layer and head


def show(chosen: argparse.Namespace) -> None:
    """Generate one response, write the page of its Scrubber and open it."""
    from attnent.model.generation import generate  # these take their time to load
    from attnent.model.loading import load_model

    with in_one_sentence():
        model, tokenizer = load_model(chosen.model)
        settings = {name: getattr(chosen, name) for name in ("max_new_tokens", "temperature", "seed")}
        [trace] = generate(model, tokenizer, [chosen.prompt], top_keys=TOP_KEYS, progress=False, **settings)
    page = chosen.out or out_folder("runs") / "show.html"
    tell_of(write_scrubber(trace, tokenizer, page, id_="response"), opened=chosen.open)


def open_index(chosen: argparse.Namespace) -> None:
    """Open the index of a study's results, brought up to date where it can be written. Raises StudyError."""
    from attnent.study.index import listed, write_index  # takes its time to load

    folder = out_folder(chosen.folder)
    index = folder / "index.html"
    if listed(folder):
        with suppress(OSError):  # of somebody else: as it is
            write_index(folder)
    if not index.is_file():
        raise StudyError(f"there are no results in {folder}; run `attnent study`, or give its --out-dir")
    tell_of(index.resolve(), opened=chosen.open)


def write_scrubber(
    trace: xr.Dataset, tokenizer: "PreTrainedTokenizerBase", page: Path, *, id_: str, **shown: str
) -> Path:
    """The page of one response, with what is `shown` at first (`measure`, `overlay`); gives back its whole path."""
    from attnent.show.scrubber import Scrubber

    scrubber = Scrubber({id_: trace}, decode=lambda token_id: str(tokenizer.decode(token_id)))
    for name, value in shown.items():
        setattr(scrubber, name, value)
    page = page.resolve()
    page.parent.mkdir(parents=True, exist_ok=True)
    scrubber.save(page)
    return page


def tell_of(page: Path, *, opened: bool) -> None:
    """Print where a page is, and open it in a browser where there is one."""
    print(f"Page: {page}")
    if opened:
        has_opened = False
        with suppress(webbrowser.Error):
            has_opened = webbrowser.open(page.as_uri())
        if not has_opened:
            print("No browser could be opened here; open the page in yours.")


@contextmanager
def in_one_sentence() -> Generator[None]:
    """What loading a model and letting it write can raise, as a StudyError."""
    from attnent.attention.capture import CaptureError  # these take their time to load
    from attnent.model.loading import ModelError
    from attnent.model.prompts import PromptError

    try:
        yield
    except (CaptureError, ModelError, PromptError, ValueError) as error:  # ValueError: a setting out of range
        raise StudyError(str(error)) from error
