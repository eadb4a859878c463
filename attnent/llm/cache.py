"""What a paid model answered, kept in one sqlite file: committed to disk when it arrives, never asked for twice.

Knows no server and no price. No header and no key ever comes here.
"""

import sqlite3
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

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


_COLUMNS = ", ".join(Kept._fields)


class AnswerCache:
    """Answers by key. Several threads and processes may use one file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def add(self, kept: Kept) -> None:
        """Keep one answer; it is on disk when this returns. Raises LLMError."""
        with self._open() as connection:
            places = ", ".join("?" * len(kept))
            connection.execute(f"INSERT INTO answers ({_COLUMNS}) VALUES ({places})", kept)

    def get(self, keys: Iterable[str]) -> dict[str, Kept]:
        """What is kept under these keys; where two processes asked the same, the first answer. Raises LLMError."""
        found = {}
        with self._open() as connection:
            for key in keys:
                query = f"SELECT {_COLUMNS} FROM answers WHERE key = ? ORDER BY rowid LIMIT 1"
                row = connection.execute(query, (key,)).fetchone()
                if row is not None:
                    found[key] = Kept(*row)
        return found

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=SECONDS_TO_WAIT)) as connection, connection:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"CREATE TABLE IF NOT EXISTS answers ({_COLUMNS})")
                connection.execute("CREATE INDEX IF NOT EXISTS by_key ON answers (key)")
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise LLMError(
                f"the answers kept in {self.path} cannot be read or written ({error}); "
                "move the file away to ask again, or give another one as cache"
            ) from error
