"""RequestOutputs of vLLM's `LLM.generate` and `LLM.chat`, a line each: `json.dumps(output, default=vars)`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attnent.logs.responses import MORE_THAN_TEXT, NO_TEXT, Log, LogError, Response, ids_of, numbers_of, part, table_of

UNFINISHED = "the request was not finished"

Rows = Iterable[tuple[int, dict[str, Any]]]


def read(path: Path, rows: Rows) -> Log:
    """A response an output of each request, under the very token ids of its prompt. Raises LogError.

    Requests with images are left out. Where a line has no ids, its prompt is the text that the model was given.
    """
    responses = [one for number, row in rows for one in _responses(row, number, f"line {number} of {path}")]
    return Log(table_of(responses, path), rendered=True)


def _responses(row: dict[str, Any], number: int, where: str) -> Iterator[Response]:
    outputs = row.get("outputs")
    if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
        raise LogError(
            f"{where} has no outputs as vLLM's RequestOutput has; dump with json.dumps(output, default=vars)"
        )
    request_id = str(row.get("request_id", f"line-{number}"))
    prompt, prompt_ids = row.get("prompt"), ids_of(row, "prompt_token_ids", where)
    has_more = row.get("multi_modal_placeholders") or row.get("encoder_prompt_token_ids")
    for place, output in enumerate(outputs, start=1):
        text, token_ids = output.get("text"), ids_of(output, "token_ids", where)
        if has_more:
            left_out = MORE_THAN_TEXT
        elif row.get("finished") is False:
            left_out = UNFINISHED
        else:
            left_out = "" if token_ids or isinstance(text, str) else NO_TEXT
        yield Response(
            request_id if len(outputs) == 1 else f"{request_id}.{place}",
            prompt if isinstance(prompt, str) else None,
            text if isinstance(text, str) else "",
            left_out=left_out,
            prompt_ids=prompt_ids,
            token_ids=token_ids,
            logprobs=_logprobs(output, token_ids or []),
            ended=output.get("finish_reason"),
        )


def _logprobs(output: dict[str, Any], token_ids: list[int]) -> list[float] | None:
    """Those of the tokens that were chosen."""
    steps = output.get("logprobs")
    if not isinstance(steps, list) or len(steps) != len(token_ids):
        return None
    return numbers_of([part(step, str(chosen), "logprob") for step, chosen in zip(steps, token_ids, strict=True)])
