"""What a paid model answered and what asking it has cost, in one sqlite file, on disk before anything goes on.

Knows no server and no price. No header and no key ever comes here.
"""

import sqlite3
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from attnent.store.files import checksum

Outcome = Literal["answered", "refused", "malformed", "cut off", "filtered", "failed", "not asked"]
SECONDS_TO_WAIT = 60.0  # for another process that is writing


class LLMError(RuntimeError):
    """Nothing, or nothing more, can be asked; the message says what to do. Answers that came before are kept."""


class Kept(NamedTuple):
    """One request and what came back; every field is a column."""

    key: str  # hash of all that determines the request
    base_url: str
    request: str  # JSON, as it was sent
    schema: str  # JSON schema of what was asked for
    repeat: int
    left_out: str  # JSON list of the parameters that the server refused
    outcome: Outcome
    text: str
    model: str  # as the server names it
    fingerprint: str | None
    n_input: int  # tokens
    n_output: int  # tokens
    usd: float
    answered_at: str  # ISO 8601, UTC


_COLUMNS = ", ".join((*Kept._fields, "checksum"))
_TABLES = (
    f"CREATE TABLE IF NOT EXISTS answers ({_COLUMNS})",
    "CREATE INDEX IF NOT EXISTS by_key ON answers (key)",
    "CREATE TABLE IF NOT EXISTS attempts (usd, usd_again)",  # kept twice, so that damage is noticed
)


class AnswerCache:
    """Answers by key, and what every attempt to get one cost. Several threads and processes may use one file.

    Whatever reads or writes the file raises LLMError where that cannot be done.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def add(self, kept: Kept) -> None:
        """Keep one answer; it is on disk when this returns."""
        places = ", ".join("?" * (len(kept) + 1))
        with self._open() as connection:
            connection.execute(f"INSERT INTO answers ({_COLUMNS}) VALUES ({places})", (*kept, _checksum(kept)))

    def get(self, keys: Iterable[str]) -> dict[str, Kept]:
        """What is kept whole under these keys; where the same was asked more than once, the first answer."""
        found = {}
        with self._open() as connection:
            for key in keys:
                rows = connection.execute(f"SELECT {_COLUMNS} FROM answers WHERE key = ? ORDER BY rowid", (key,))
                whole = (Kept(*row) for *row, said in rows if said == _checksum(row) and row[0] == key)
                if kept := next(whole, None):
                    found[key] = kept
        return found

    # ---- money: an attempt that nobody settles, as its process was killed, counts what was set aside for it

    def spent(self) -> float:
        """US dollars that all attempts ever made through this file have cost."""
        with self._open() as connection:
            query = "SELECT total(usd), count(*) - total(usd IS usd_again) FROM attempts"
            usd, n_damaged = connection.execute(query).fetchone()
        if n_damaged:
            raise LLMError(f"what was spent through {self.path} is damaged; move the file away, or give another cache")
        return usd

    def set_aside(self, usd: float, limit: float) -> int | None:
        """The number of an attempt that may cost this much; None where all attempts together might pass the limit."""
        covered = "INSERT INTO attempts SELECT ?1, ?1 WHERE (SELECT total(usd) FROM attempts) + ?1 <= ?2"
        with self._open() as connection:
            cursor = connection.execute(covered, (usd, limit))
            return cursor.lastrowid if cursor.rowcount else None

    def settle(self, attempt: int, usd: float) -> None:
        """Put what an attempt did cost in the place of what was set aside for it."""
        with self._open() as connection:
            connection.execute("UPDATE attempts SET usd = ?1, usd_again = ?1 WHERE rowid = ?2", (usd, attempt))

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=SECONDS_TO_WAIT)) as connection, connection:
                connection.text_factory = lambda raw: raw.decode(errors="replace")  # damage is the checksum's affair
                connection.execute("PRAGMA synchronous = FULL")
                for table in _TABLES:
                    connection.execute(table)
                yield connection
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # sqlite quotes the damage itself
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise LLMError(f"no space left in {self.path.parent}; free some, then run again") from error
            raise LLMError(
                f"the answers kept in {self.path} cannot be read or written ({error}); "
                "move the file away to ask again, or give another one as cache"
            ) from error


def _checksum(row: Iterable[object]) -> str:
    return checksum(repr(list(row)))
