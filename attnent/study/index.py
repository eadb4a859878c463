"""What studies found: the outcome of each notebook that was run, and the page that lists them."""

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attnent.analysis.intervals import Interval
from attnent.store.files import sweep, write_whole
from attnent.store.folders import model_name
from attnent.study.links import Linked, links_of, write_links
from attnent.study.pages import anchor, page_of, slug

_Share = Annotated[float, Field(ge=0, le=1)]
PAGE, EFFECT = "report.html", "main effect, 95 % interval"
COLUMNS = ("notebook", "model", "n", "accuracy", EFFECT, "date", "time")
_NOTHING = "<p>There are no results yet; <code>attnent study</code> makes them.</p>"


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
    source: str = ""  # checksum of the notebook's cells; "" where it is not known
    status: Literal["complete", "failed"]
    error: str
    started: str = ""
    seconds: Annotated[float, Field(ge=0, le=10**9)]


class Listed(NamedTuple):
    """An executed notebook as the index lists it."""

    folder: PurePosixPath  # below the out_dir
    outcome: Outcome | None  # None where it cannot be read
    reason: str  # why not

    @property
    def is_complete(self) -> bool:
        return self.outcome is not None and self.outcome.status == "complete"

    @property
    def changed(self) -> str:
        changed = self.outcome.changed if self.outcome else {}
        return ", ".join(f"{name} = {value}" for name, value in changed.items())

    @property
    def model(self) -> str:
        return model_name(str(self.outcome.parameters.get("model", ""))) if self.outcome else ""


def listed(out_dir: Path) -> list[Listed]:
    """Every executed notebook under `out_dir`, in the order of their folders; last those that take no model."""
    folders = sorted(path.parent for path in out_dir.glob("study/**/outcome.json"))
    found = [
        Listed(PurePosixPath(folder.relative_to(out_dir).as_posix()), *_read(folder / "outcome.json"))
        for folder in folders
    ]
    return sorted(found, key=lambda one: one.outcome is not None and "model" not in one.outcome.parameters)


def outcome_in(folder: Path) -> Outcome | None:
    """What came of the notebook that is kept in a folder; None where there is nothing, or it cannot be read."""
    return _read(folder / "outcome.json")[0]


def write_index(out_dir: Path) -> Path:
    """index.html over every executed notebook under `out_dir`: what was asked and found, on what, with links.

    Those that failed stand behind a fold. The links between the reports are brought up to date.
    """
    sweep(out_dir)
    found, taken = listed(out_dir), set[str]()
    ids = {one.folder: slug(_name(one), taken) for one in found}
    complete, failed = ([one for one in found if one.is_complete is wanted] for wanted in (True, False))
    body = f"<h1>attnent: results</h1>{_table(complete, ids) if complete else _NOTHING}"
    if failed:
        n = f"{len(failed)} notebook{'s' * (len(failed) != 1)} did not come to an end"
        body += f"<details><summary>{n}</summary>{_table(failed, ids)}</details>"
    index = out_dir / "index.html"
    write_whole(index, page_of("attnent: results", body))
    reports = [linked(one, one.folder / PAGE) for one in complete]
    rows = (quote(ids[one.folder]) for one in complete)
    homes = [f"{'../' * (len(one.page.parts) - 1)}index.html#{row}" for one, row in zip(reports, rows, strict=True)]
    navs = [links_of(one, reports, home=home) for one, home in zip(reports, homes, strict=True)]
    write_links(out_dir, {one.page: nav for one, nav in zip(reports, navs, strict=True)})
    return index


def linked(one: Listed, page: PurePosixPath) -> Linked:
    """A complete notebook as others link to it, at this page."""
    folders = (*one.folder.parts[1:3], "", "")
    return Linked(page, folders[0], folders[1], one.outcome.title if one.outcome else "", one.model, one.changed)


def reason_of(error: ValidationError) -> str:
    """The first thing that is wrong with an outcome, in a few words."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ": ".join([*map(str, first["loc"][:1]), first["msg"]])


def _read(path: Path) -> tuple[Outcome | None, str]:
    try:
        return Outcome.model_validate_json(path.read_bytes()), ""
    except ValidationError as error:
        return None, reason_of(error)
    except OSError as error:
        return None, error.strerror or str(error)


def _name(one: Listed) -> str:
    return os.fsencode(one.folder).decode(errors="replace")


def _table(rows: Sequence[Listed], ids: Mapping[PurePosixPath, str]) -> str:
    head = "".join(f'<th scope="col"><button>{name}</button></th>' for name in COLUMNS)
    body = "".join(row_of(one, ids[one.folder], one.folder / PAGE, COLUMNS) for one in rows)
    return f'<table class="index"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def row_of(one: Listed, own: str, page: PurePosixPath, columns: Sequence[str]) -> str:
    """A row of an index, with the id `own`: for each column the key that it sorts by, and clean HTML."""
    cells = _cells(one, one.outcome, own, page) if one.outcome else {"notebook": _unread(one)}
    shown = (
        f'<td data-name="{name.partition(",")[0]}" data-key="{html.escape(str(key))}">{content}</td>'
        for name, (key, content) in ((name, cells.get(name, ("", ""))) for name in columns)
    )
    return f'<tr id="{own}">{"".join(shown)}</tr>'


def _cells(one: Listed, outcome: Outcome, own: str, page: PurePosixPath) -> dict[str, tuple[Any, str]]:
    """By column; what is not known has no cell."""
    day = html.escape(outcome.started[:10])
    cells: dict[str, tuple[Any, str]] = {
        "notebook": (outcome.title, _about(one, outcome, own, page)),
        "model": (one.model, html.escape(one.model)),
        "date": (outcome.started, f'<span title="{html.escape(outcome.started)}">{day}</span>'),
        "time": (outcome.seconds, f"{outcome.seconds:.0f} s"),
    }
    if outcome.n is not None:
        cells["n"] = outcome.n, f"{outcome.n:,}"
    if outcome.accuracy is not None:
        cells["accuracy"] = outcome.accuracy, f"{outcome.accuracy:.0%}"
    if outcome.effect is not None:
        cells[EFFECT] = outcome.effect[0], _effect(Interval(*outcome.effect), outcome)
    return cells


def _unread(one: Listed) -> tuple[str, str]:
    name = _name(one)
    said = f"its outcome.json cannot be read ({one.reason}); run the notebook again"
    return name, f'{html.escape(name)}<p class="failed">{html.escape(said)}</p>'


def _about(one: Listed, outcome: Outcome, own: str, page: PurePosixPath) -> str:
    """What was asked and found, with links to the page, and to the notebook where it lies beside it."""
    notebook = quote(os.fsencode(page.parent / "notebook.ipynb"))
    source = f' <a class="source" href="{notebook}">notebook</a>' if page.name == PAGE else ""
    failed = f'<p class="failed">{outcome.status}: {html.escape(outcome.error)}</p>' if outcome.error else ""
    return (
        f'<a href="{quote(os.fsencode(page))}">{html.escape(outcome.title)}</a>{source}{anchor(own)}'
        f"<p>{html.escape(one.changed)}</p><p><em>{html.escape(outcome.question)}</em></p>"
        f"<p>{html.escape(outcome.answer)}</p>{failed}"
    )


def _effect(effect: Interval, outcome: Outcome) -> str:
    """The main effect in numbers and, on the scale of AUROC from 0 to 1, as a bar with its estimate."""
    said = f"{effect.estimate:.2f}, from {effect.low:.2f} to {effect.high:.2f} on a scale from 0 to 1"
    bar = f'<path class="interval" d="M{100 * effect.low:.1f} 6H{100 * effect.high:.1f}"/>'
    dot = f'<circle cx="{100 * effect.estimate:.1f}" cy="6" r="3"/>'
    return (
        f'{effect}<svg viewBox="0 0 100 12" role="img" aria-label="{said}">'
        f'<path class="scale" d="M0 6H100"/><path class="half" d="M50 0V12"/>{bar}{dot}</svg>'
        f"<small>{html.escape(outcome.effect_name)}</small>"
    )
