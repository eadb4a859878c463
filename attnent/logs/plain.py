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
    ids_of,
    messages_of,
    numbers_of,
    part,
    table_of,
    text_of,
)

MOST_NAMED = 5

Rows = Iterable[tuple[int, dict[str, Any]]]


def read(path: Path, rows: Rows) -> Log:
    """A line a response: `prompt` (text or messages), `response`; where known `id`, `target`, `is_correct`, `score`.

    Beside these or in their place the very tokens: `prompt_token_ids`, `token_ids`, and the `logprobs` of the latter.
    """
    responses = []
    for number, row in rows:
        where = f"line {number} of {path}"
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
                prompt_ids=ids_of(row, "prompt_token_ids", where),
                token_ids=ids_of(row, "token_ids", where),
                logprobs=numbers_of(row.get("logprobs")),
            )
        )
    return Log(table_of(responses, path))


def read_batch(path: Path, rows: Rows, requests: Path | None) -> Log:
    """The first choice of each response of /v1/chat/completions, with the prompt of the request of the same custom_id.

    `requests` is the file the batch was made from. vLLM's responses hold their prompts where `return_token_ids` was
    asked for, and those of /v1/completions are read then, too. Raises LogError where a prompt is nowhere, or an id is
    there twice.
    """
    answered = _by_id(path, rows)
    if requests is None:
        responses = [_response(path, custom_id, row, None) for custom_id, row in answered.items()]
        if not any(one.prompt_ids for one in responses):
            raise LogError(
                f"{path} is the output of a batch and holds no prompts; give its input with --batch-input FILE"
            )
        return Log(table_of(responses, path))
    asked = {custom_id: part(row, "body", "messages") for custom_id, row in _by_id(requests, objects(requests)).items()}
    responses = [_response(path, custom_id, row, asked) for custom_id, row in answered.items()]
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


def _response(path: Path, custom_id: str, row: dict[str, Any], asked: dict[str, Any] | None) -> Response:
    """`asked` are the messages of each request, where they are known."""
    body, where = part(row, "response", "body"), f"the response {custom_id!r} of {path}"
    choice = part(body, "choices", 0)
    text = part(choice, "message", "content") if part(choice, "message") else part(choice, "text")
    prompt = messages_of((asked or {}).get(custom_id))
    token_ids = ids_of(choice, "token_ids", where)
    prompt_ids = ids_of(body, "prompt_token_ids", where) or ids_of(choice, "prompt_token_ids", where)
    if part(row, "response", "status_code") not in (200, None) or row.get("error"):
        left_out = "the server answered with an error"
    elif not prompt_ids and (asked is None or custom_id not in asked):
        left_out = NO_PROMPT
    elif (asked is not None and prompt is None) or (part(choice, "message", "tool_calls") and not token_ids):
        left_out = MORE_THAN_TEXT
    else:
        left_out = "" if token_ids or isinstance(text, str) else NO_TEXT
    n_tokens = part(body, "usage", "completion_tokens")
    return Response(
        custom_id,
        prompt,
        text if isinstance(text, str) else "",
        n_tokens=n_tokens if isinstance(n_tokens, int) else None,
        left_out=left_out,
        prompt_ids=prompt_ids,
        token_ids=token_ids,
        logprobs=_logprobs(part(choice, "logprobs")),
        ended=part(choice, "finish_reason"),
    )


def _logprobs(found: Any) -> list[float] | None:
    """Of the tokens of a choice, as /v1/chat/completions or /v1/completions gives them."""
    content = part(found, "content")
    return numbers_of([part(one, "logprob") for one in content] if content else part(found, "token_logprobs"))


def _partners(what: str, ids: set[str]) -> list[str]:
    named = ", ".join(map(repr, sorted(ids)[:MOST_NAMED])) + ", ..." * (len(ids) > MOST_NAMED)
    return [f"{len(ids)} {what}: {named}"] if ids else []
