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
from attnent.study.links import PAGE, Linked, links_of, write_links
from attnent.study.pages import anchor, page_of, slug

_Share = Annotated[float, Field(ge=0, le=1)]
_COLUMNS = ("notebook", "model", "n", "accuracy", "main effect, 95 % interval", "date", "time")
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
    """Every executed notebook under `out_dir`, in the order of their folders."""
    folders = sorted(path.parent for path in out_dir.glob("study/**/outcome.json"))
    return [
        Listed(PurePosixPath(folder.relative_to(out_dir).as_posix()), *_read(folder / "outcome.json"))
        for folder in folders
    ]


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
    reports = [Linked(one.folder, one.outcome.title, one.model, one.changed) for one in complete if one.outcome]
    homes = {one.folder: f"{'../' * len(one.folder.parts)}index.html#{quote(ids[one.folder])}" for one in reports}
    write_links(out_dir, {one.folder: links_of(one, reports, home=homes[one.folder]) for one in reports})
    return index


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
    head = "".join(f'<th scope="col"><button>{name}</button></th>' for name in _COLUMNS)
    body = "".join(_row(one, ids[one.folder]) for one in rows)
    return f'<table class="index"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _row(one: Listed, own: str) -> str:
    outcome = one.outcome
    if outcome is None:
        name = html.escape(_name(one))
        said = html.escape(f"its outcome.json cannot be read ({one.reason}); run the notebook again")
        return _cells(own, (_name(one), f'{name}<p class="failed">{said}</p>'), *[("", "")] * (len(_COLUMNS) - 1))
    model, day = str(outcome.parameters.get("model", "")), html.escape(outcome.started[:10])
    return _cells(
        own,
        (outcome.title, _about(one, outcome, own)),
        (one.model, f'<span title="{html.escape(model)}">{html.escape(one.model)}</span>'),
        ("", "") if outcome.n is None else (outcome.n, f"{outcome.n:,}"),
        ("", "") if outcome.accuracy is None else (outcome.accuracy, f"{outcome.accuracy:.0%}"),
        ("", "") if outcome.effect is None else (outcome.effect[0], _effect(Interval(*outcome.effect), outcome)),
        (outcome.started, f'<span title="{html.escape(outcome.started)}">{day}</span>'),
        (outcome.seconds, f"{outcome.seconds:.0f} s"),
    )


def _cells(own: str, *cells: tuple[Any, str]) -> str:
    """A row of the index: for each column the key that it sorts by, and clean HTML."""
    shown = (
        f'<td data-name="{name.partition(",")[0]}" data-key="{html.escape(str(key))}">{content}</td>'
        for name, (key, content) in zip(_COLUMNS, cells, strict=True)
    )
    return f'<tr id="{own}">{"".join(shown)}</tr>'


def _about(one: Listed, outcome: Outcome, own: str) -> str:
    """What was asked and found, with links to the page and the notebook."""
    report, notebook = (quote(os.fsencode(one.folder / name)) for name in (PAGE, "notebook.ipynb"))
    failed = f'<p class="failed">{outcome.status}: {html.escape(outcome.error)}</p>' if outcome.error else ""
    return (
        f'<a href="{report}">{html.escape(outcome.title)}</a> <a class="source" href="{notebook}">notebook</a>'
        f"{anchor(own)}<p>{html.escape(one.changed)}</p><p><em>{html.escape(outcome.question)}</em></p>"
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
