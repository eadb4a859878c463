"""Links between reports: to the index, to the previous and the next of a model, to the same notebook of other models.

They are written into the pages whenever the index is, as addresses relative to each page, and so are right for reports
made before, and wherever the whole folder is moved.
"""

import html
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote

from filelock import FileLock, Timeout

from attnent.store.files import write_whole
from attnent.study.pages import LINKS_HERE

_HEAD = 1 << 16  # bytes in which the links of a page are found
_LINKS = re.compile(rb'<nav class="reports".*?</nav>', re.DOTALL)
_LINKS_BEGIN = LINKS_HERE.removesuffix("</nav>")


class Linked(NamedTuple):
    """A report that others link to."""

    page: PurePosixPath  # below the folder of all
    of: str  # its model's folder
    notebook: str  # its notebook's folder
    title: str
    model: str  # as titles call it
    changed: str  # the parameters that differ from the notebook's defaults, in words


def links_of(one: Linked, reports: Sequence[Linked], *, home: str) -> str:
    """The links of one report to those of `reports`, which are in order; `home` leads to the index."""
    own = [other for other in reports if other.of == one.of]
    place = own.index(one)
    found = [f'<a href="{home}">All results</a>']
    for word, beside in (("Previous", own[place - 1 : place]), ("Next", own[place + 1 : place + 2])):
        found += [_link(one, other, f"{word}: {_titled(other)}") for other in beside]
    found += [_link(one, other, f"{other.model}, same notebook") for other in _elsewhere(one, reports)]
    return f"{_LINKS_BEGIN}<ul>{''.join(f'<li>{link}</li>' for link in found)}</ul></nav>"


def write_links(out_dir: Path, links: Mapping[PurePosixPath, str]) -> None:
    """Put its links into each page; one that another process is writing gets them from that one."""
    for place, nav in links.items():
        page = out_dir / place
        if not page.is_file():
            continue
        try:
            with FileLock(page.parent / ".lock", timeout=0):
                _write(page, nav.encode())
        except Timeout:
            continue


def _write(page: Path, nav: bytes) -> None:
    with page.open("rb") as file:
        head = file.read(_HEAD)
        if nav in head:
            return
        found = _LINKS.search(head)
        at, after = found.span() if found else (head.find(b"<body>") + 6,) * 2
        if at > 5:
            write_whole(page, head[:at] + nav + head[after:] + file.read())


def _elsewhere(one: Linked, reports: Sequence[Linked]) -> list[Linked]:
    """Of each other model the report of this notebook under the same parameters, or else its first."""
    found: dict[str, Linked] = {}
    for other in reports:
        if other.notebook == one.notebook and other.of != one.of:
            known = found.setdefault(other.of, other)
            if known.changed != one.changed and other.changed == one.changed:
                found[other.of] = other
    return list(found.values())


def _titled(one: Linked) -> str:
    return f"{one.title} ({one.changed})" if one.changed else one.title


def _link(one: Linked, other: Linked, text: str) -> str:
    address = os.path.relpath(os.fsencode(other.page), os.fsencode(one.page.parent))
    return f'<a href="{quote(address)}">{html.escape(text)}</a>'
