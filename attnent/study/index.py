"""What studies found: the outcome of each notebook that was run, and the page that lists them."""

import html
import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attnent.analysis.intervals import Interval
from attnent.store.files import sweep, write_whole
from attnent.study.report import page_of

_Share = Annotated[float, Field(ge=0, le=1)]
_COLUMNS = ("notebook", "model", "n", "accuracy", "main effect, 95 % interval", "time")


class Outcome(BaseModel):
    """What came of one notebook, as outcome.json keeps it."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    notebook: str = ""
    title: str
    question: str
    answer: str = ""  # from here what `show.words.Answer` tells
    n: Annotated[int, Field(ge=0, le=10**12)] | None = None
    accuracy: _Share | None = None
    effect: Annotated[tuple[_Share, _Share, _Share], Field(strict=False)] | None = None  # estimate, low, high
    effect_name: str = ""
    parameters: dict[str, Any]
    changed: dict[str, Any] = {}
    status: Literal["complete", "failed"]
    error: str
    started: str = ""
    seconds: Annotated[float, Field(ge=0, le=10**9)]


def write_index(out_dir: Path) -> Path:
    """index.html over every executed notebook under `out_dir`: what was asked and found, on what, with links."""
    sweep(out_dir)
    rows = "".join(_row(path, out_dir) for path in sorted(out_dir.glob("study/**/outcome.json")))
    head = "".join(f"<th><button>{name}</button></th>" for name in _COLUMNS)
    body = f'<h1>attnent: results</h1><table class="index"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    index = out_dir / "index.html"
    write_whole(index, page_of("attnent: results", body))
    return index


def reason_of(error: ValidationError) -> str:
    """The first thing that is wrong with an outcome, in a few words."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ": ".join([*map(str, first["loc"][:1]), first["msg"]])


def _row(path: Path, out_dir: Path) -> str:
    folder = path.parent.relative_to(out_dir)
    try:
        outcome = Outcome.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        name = os.fsencode(folder).decode(errors="replace")
        reason = reason_of(error) if isinstance(error, ValidationError) else error.strerror
        said = f"its outcome.json cannot be read ({reason}); run the notebook again"
        return _cells((name, f'{html.escape(name)}<p class="failed">{html.escape(said)}</p>'), *[("", "")] * 5)
    model = str(outcome.parameters.get("model", ""))
    return _cells(
        (outcome.title, _about(outcome, folder)),
        (model, html.escape(model)),
        ("", "") if outcome.n is None else (outcome.n, f"{outcome.n:,}"),
        ("", "") if outcome.accuracy is None else (outcome.accuracy, f"{outcome.accuracy:.0%}"),
        ("", "") if outcome.effect is None else (outcome.effect[0], _effect(Interval(*outcome.effect), outcome)),
        (outcome.seconds, f"{outcome.seconds:.0f} s"),
    )


def _cells(*cells: tuple[Any, str]) -> str:
    """A row of the index: for each column the key that it sorts by, and clean HTML."""
    shown = (
        f'<td data-name="{name.partition(",")[0]}" data-key="{html.escape(str(key))}">{content}</td>'
        for name, (key, content) in zip(_COLUMNS, cells, strict=True)
    )
    return f"<tr>{''.join(shown)}</tr>"


def _about(outcome: Outcome, folder: Path) -> str:
    """What was asked and found, with links to the page and the notebook."""
    report, notebook = (quote(os.fsencode(folder / name)) for name in ("report.html", "notebook.ipynb"))
    changed = ", ".join(f"{name} = {value}" for name, value in outcome.changed.items())
    failed = f'<p class="failed">{outcome.status}: {html.escape(outcome.error)}</p>' if outcome.error else ""
    return (
        f'<a href="{report}">{html.escape(outcome.title)}</a> <a class="source" href="{notebook}">notebook</a>'
        f"<p>{html.escape(changed)}</p><p><em>{html.escape(outcome.question)}</em></p>"
        f"<p>{html.escape(outcome.answer)}</p>{failed}"
    )


def _effect(effect: Interval, outcome: Outcome) -> str:
    """The main effect in numbers and, on the scale of AUROC from 0 to 1, as a bar with its estimate."""
    bar = f'<path class="interval" d="M{100 * effect.low:.1f} 6H{100 * effect.high:.1f}"/>'
    dot = f'<circle cx="{100 * effect.estimate:.1f}" cy="6" r="3"/>'
    return (
        f'{effect}<svg viewBox="0 0 100 12" role="img" aria-label="interval from 0 to 1">'
        f'<path class="scale" d="M0 6H100"/><path class="half" d="M50 0V12"/>{bar}{dot}</svg>'
        f"<small>{html.escape(outcome.effect_name)}</small>"
    )
