"""A jsonl with a prompt and a response a line, and OpenAI's batch output."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attnent.logs.lines import objects
from attnent.logs.responses import (
    MORE_THAN_TEXT,
    NO_PROMPT,
    NO_TEXT,
    Log,
    LogError,
    Response,
    messages_of,
    table_of,
    text_of,
)

MOST_NAMED = 5

Rows = Iterable[tuple[int, dict[str, Any]]]


def read(path: Path, rows: Rows) -> Log:
    """A line a response: `prompt` (text or messages), `response`; where known `id`, `target`, `is_correct`, `score`."""
    responses = []
    for number, row in rows:
        given, text = row.get("prompt"), row.get("response")
        prompt = given if given is None or isinstance(given, str) else messages_of(given)
        responses.append(
            Response(
                str(row.get("id", f"line-{number}")),
                prompt,
                text if isinstance(text, str) else "",
                text_of(row.get("target")),
                {name: row[name] for name in ("is_correct", "score") if name in row},
                left_out=MORE_THAN_TEXT if prompt is None and given is not None else "",
            )
        )
    return Log(table_of(responses, path))


def read_batch(path: Path, rows: Rows, requests: Path | None) -> Log:
    """The first choice of each response of /v1/chat/completions, with the prompt of the request of the same custom_id.

    `requests` is the file the batch was made from. Raises LogError where it is not given, or an id is there twice.
    """
    if requests is None:
        raise LogError(f"{path} is the output of a batch and holds no prompts; give its input with --batch-input FILE")
    asked = {
        custom_id: _part(row, "body", "messages") for custom_id, row in _by_id(requests, objects(requests)).items()
    }
    answered = _by_id(path, rows)
    responses = [_response(custom_id, row, asked) for custom_id, row in answered.items()]
    notes = (
        *_partners(f"requests of {requests} have no response", asked.keys() - answered.keys()),
        *_partners(f"responses of {path} have no request in {requests}", answered.keys() - asked.keys()),
    )
    return Log(table_of(responses, path), notes=notes)


def _by_id(path: Path, rows: Rows) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for number, row in rows:
        custom_id = row.get("custom_id")
        if not isinstance(custom_id, str):
            raise LogError(f"line {number} of {path} has no custom_id; give a batch of OpenAI's, input and output")
        if custom_id in found:
            raise LogError(f"line {number} of {path} has the custom_id {custom_id!r} a second time; remove one of them")
        found[custom_id] = row
    return found


def _response(custom_id: str, row: dict[str, Any], asked: dict[str, Any]) -> Response:
    message = _part(row, "response", "body", "choices", 0, "message")
    text = _part(message, "content")
    prompt = messages_of(asked.get(custom_id))
    if _part(row, "response", "status_code") not in (200, None) or row.get("error"):
        left_out = "the server answered with an error"
    elif custom_id not in asked:
        left_out = NO_PROMPT
    elif prompt is None or _part(message, "tool_calls"):
        left_out = MORE_THAN_TEXT
    else:
        left_out = "" if isinstance(text, str) else NO_TEXT
    n_tokens = _part(row, "response", "body", "usage", "completion_tokens")
    return Response(
        custom_id,
        prompt,
        text if isinstance(text, str) else "",
        n_tokens=n_tokens if isinstance(n_tokens, int) else None,
        left_out=left_out,
    )


def _part(value: Any, *path: str | int) -> Any:
    """What lies at a path of names and places; None where there is nothing."""
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _partners(what: str, ids: set[str]) -> list[str]:
    named = ", ".join(map(repr, sorted(ids)[:MOST_NAMED])) + ", ..." * (len(ids) > MOST_NAMED)
    return [f"{len(ids)} {what}: {named}"] if ids else []
