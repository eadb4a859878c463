"""`attnent score`: an answer as the model writes it, each token shaded by the confidence in it."""

import argparse
import re
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr
from rich.console import Console
from rich.text import Text

from attnent.show.scrubber.colours import INKS, shade_of
from attnent.store.folders import out_folder
from attnent.study import StudyError
from attnent.study.showing import in_one_sentence, tell_of, write_scrubber

if TYPE_CHECKING:
    from attnent.detectors.confidence import Scored

FALSE_ALARMS = 0.01
_PACKAGE = Path(__file__).parents[1]
_SHIPPED = {
    "tiny": _PACKAGE / "tiny" / "confidence.safetensors",
    "smollm2": _PACKAGE / "detectors" / "smollm2.safetensors",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # what a terminal might obey
UNSURE = 0.5  # tokens below it are in brackets where no alarm can sound


def confidence_file(model: str, out_dir: Path) -> Path:
    """That of notebook 05, or else the one that ships. Raises StudyError where there is neither."""
    from attnent.detectors.confidence import path_of  # takes its time to load

    path = path_of(out_dir, model)
    known = [one for one in (path, _SHIPPED.get(model)) if one is not None and one.is_file()]
    if not known:
        raise StudyError(
            f"there is no confidence fitted for {model} in {path.parent}; "
            f"run `attnent study 05 --model {model}` first, or give one with --confidence"
        )
    return known[0]


def score(chosen: argparse.Namespace) -> None:
    """Print the answer as it is written, and how far to trust it; write a page where one is asked for."""
    if chosen.prompt is None:
        raise StudyError("there is no prompt; give one in quotes, and --html after it or as --html=FILE")
    from attnent.detectors.confidence import ConfidenceError  # takes its time to load

    try:
        with in_one_sentence():
            _score(chosen, chosen.confidence or confidence_file(chosen.model, out_folder(chosen.out_dir)))
    except ConfidenceError as error:
        raise StudyError(str(error)) from error


def _score(chosen: argparse.Namespace, path: Path) -> None:
    from attnent.detectors.confidence import load_confidence
    from attnent.model.loading import load_model
    from attnent.model.streaming import stream, whole

    confidence = load_confidence(path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        threshold = confidence.threshold(FALSE_ALARMS)
    model, tokenizer = load_model(chosen.model)
    settings = {name: getattr(chosen, name) for name in ("max_new_tokens", "temperature", "seed")}
    written = stream(model, tokenizer, chosen.prompt, **settings)
    steps: list[xr.Dataset] = []
    paper = _Paper(f"{chosen.model}, confidence by {path}", threshold, [str(warning.message) for warning in said])
    for token in confidence.follow(_kept(written, steps), threshold):
        paper.write(token)
    trace = confidence.score(whole(tokenizer, steps))
    paper.sum_up(trace.attrs["answer_confidence"])
    if chosen.html is not None:
        page = Path(chosen.html) if chosen.html else out_folder(chosen.out_dir) / "score.html"
        shown = {"measure": "confidence", "overlay": "token_entropy"}
        tell_of(write_scrubber(trace, tokenizer, page, id_="answer", **shown), opened=not chosen.html)


def _kept(steps: Generator[xr.Dataset], kept: list[xr.Dataset]) -> Generator[xr.Dataset]:
    with closing(steps):
        for step in steps:
            kept.append(step)
            yield step


class _Paper:
    """What is written to the terminal: shades where it has colours, brackets everywhere."""

    def __init__(self, title: str, threshold: float, said: list[str]) -> None:
        self._console, self._first_alarm = Console(highlight=False, soft_wrap=True), ""
        self._can_alarm, self._bracketed = threshold > 0, threshold if threshold > 0 else UNSURE
        self._print(Text(title))
        marks = f"[brackets]: confidence below {self._bracketed:.2g}"
        if self._can_alarm:
            marks += f", an alarm (a false one in at most {100 * FALSE_ALARMS:g} % of problems answered right)"
        self._print(Text.assemble(*self._scale(), marks))
        for sentence in said:
            self._print(Text(sentence))
        self._print(Text())

    def _scale(self) -> Iterator[tuple[str, str]]:
        if self._console.color_system and not self._console.no_color:
            yield "shade: confidence 0 ", ""
            yield from ((" ", _shade(tenth / 10)) for tenth in range(11))
            yield " 1; ", ""

    def write(self, token: "Scored") -> None:
        """The next token of the answer."""
        text = _CONTROL.sub("\ufffd", token.token)
        if token.alarm and not self._first_alarm:
            self._first_alarm = f"at token {token.step + 1}, {text.strip()!r}"
        if text and token.confidence < self._bracketed:
            text = text.replace(text.strip(), f"[{text.strip()}]", 1)
        self._print(Text(text, _shade(token.confidence)), end="")

    def sum_up(self, answer_confidence: float) -> None:
        """What there is to say when all is written."""
        sentences = [f"Confidence in the answer: {answer_confidence:.2f}."]
        if self._can_alarm:
            sounded = f"The alarm sounded first {self._first_alarm}." if self._first_alarm else "No alarm sounded."
            sentences.append(sounded)
        self._print(Text("\n\n" + " ".join(sentences)))

    def _print(self, text: Text, end: str = "\n") -> None:
        self._console.print(text, end=end)


def _shade(confidence: float) -> str:
    """The colours of the Scrubber: the less sure, the stronger."""
    return f"{INKS['light']} on {shade_of(confidence, 'confidence')}"
