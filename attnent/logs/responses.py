"""What every reader gives: responses with their prompts, as a table."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from attnent.store.examples import SAFE_ID
from attnent.store.files import checksum

MORE_THAN_TEXT = "the conversation holds more than text"
NO_TEXT, NO_PROMPT = "no response", "no prompt"
ROLES = ("system", "developer", "user", "assistant")


class LogError(ValueError):
    """A log that cannot be read; the message says where and what to do."""


class Response(NamedTuple):
    """One response of a log, its prompt, and what the log knows of them."""

    log_id: str
    prompt: str | list[dict[str, str]] | None
    text: str
    target: str | None = None
    scores: Any = MappingProxyType({})  # a number or a text a scorer, by the scorer's name
    n_tokens: int | None = None  # as the log counts them
    left_out: str = ""  # why it cannot be read
    prompt_ids: list[int] | None = None  # the very tokens that the model was given, its template included
    token_ids: list[int] | None = None  # those that it wrote
    logprobs: list[float] | None = None  # theirs, in nat
    ended: str | None = None  # "stop", "length", or what else the log calls it


class Log(NamedTuple):
    """The responses of a log: a row each with `id`, which can name a file, and the fields of Response."""

    table: pd.DataFrame
    rendered: bool = False  # a prompt of text is all that the model was given, its chat template included
    notes: tuple[str, ...] = ()  # sentences on what does not fit together


def table_of(responses: Sequence[Response], path: Path) -> pd.DataFrame:
    """A row a response, in the order of the log. Raises LogError where there is none."""
    if not responses:
        raise LogError(f"{path} holds no responses; give another log")
    table = pd.DataFrame(responses, columns=list(Response._fields), dtype=object)
    table.insert(0, "id", list(_ids([one.log_id for one in responses])))
    return table


def _ids(log_ids: Sequence[str]) -> Iterator[str]:
    """Ids that are unique and can name files: those of the log where they can; a repeated one has -2, -3 after it."""
    safe = [log_id if SAFE_ID.fullmatch(log_id) else _safe(log_id) for log_id in log_ids]
    taken, n_of = set(safe), Counter[str]()
    for id_ in safe:
        n_of[id_] += 1
        made = id_
        while n_of[id_] > 1 and (made := f"{id_}-{n_of[id_]}") in taken:
            n_of[id_] += 1
        taken.add(made)
        yield made


def _safe(log_id: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", log_id)[:100].lstrip("_.-")
    return f"{readable or 'id'}-{checksum(log_id.encode('utf-8', 'replace'))[:8]}"


def text_of(value: Any) -> str | None:
    """A target as text: itself where it is text, None where there is none, JSON else."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def ids_of(row: Any, name: str, where: str) -> list[int] | None:
    """The token ids of that name; None where there are none. Raises LogError for anything else."""
    ids = part(row, name)
    if ids is None or (isinstance(ids, list) and all(type(one) is int for one in ids)):
        return ids or None
    raise LogError(f"{where} has {name} that are no list of whole numbers; mend or remove that line")


def numbers_of(values: Any) -> list[float] | None:
    """A list of numbers; None for anything else."""
    is_list = isinstance(values, list) and all(isinstance(one, int | float) for one in values)
    return values if is_list else None


def part(value: Any, *path: str | int) -> Any:
    """What lies at a path of names and places; None where there is nothing."""
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def messages_of(messages: Any) -> list[dict[str, str]] | None:
    """Messages with text alone, those of parts joined; None where one holds anything else, or is by a tool."""
    if not isinstance(messages, list):
        return None
    plain = [_message(message) if isinstance(message, dict) else None for message in messages]
    return None if None in plain else [message for message in plain if message]


def _message(message: dict[str, Any]) -> dict[str, str] | None:
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    is_text = isinstance(parts, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in parts
    )
    if not is_text or message.get("tool_calls") or message.get("role") not in ROLES:
        return None
    return {"role": message["role"], "content": "".join(part["text"] for part in parts)}
