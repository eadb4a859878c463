"""Responses that people already have, read from the logs of other tools: tables in, no model.

`read_log` gives a table with a row a response: `id`, `prompt` (text or messages), `text` (the response), and where the
log knows them `target`, `scores` (by scorer) and `n_tokens`, or the very tokens: `prompt_ids`, `token_ids`, `logprobs`.
"""

from pathlib import Path

from attnent.logs import harness, inspections, plain, vllm
from attnent.logs.lines import objects
from attnent.logs.responses import Log, LogError

FORMATS = {  # the names that tell a line of each, or other such names; an Inspect log is no lines
    "lm-eval": [{"arguments", "resps"}],
    "openai-batch": [{"custom_id", "response"}],
    "vllm": [{"prompt_token_ids", "outputs"}],
    "jsonl": [{one, other} for one in ("prompt", "prompt_token_ids") for other in ("response", "token_ids")],
    "inspect": [{"samples"}],
}


def read_log(path: str | Path, *, format: str | None = None, batch_input: str | Path | None = None) -> Log:
    """The responses of a log of one of FORMATS, told apart by content where none is named.

    `batch_input` is the file of requests that an OpenAI batch was made from. Raises LogError.
    """
    path = Path(path)
    if format not in (None, *FORMATS):
        raise LogError(f"unknown format {format!r}; give one of {', '.join(FORMATS)}")
    format = format or _format_of(path)
    if format == "inspect":
        return inspections.read(path)
    if format == "openai-batch":
        return plain.read_batch(path, objects(path), Path(batch_input) if batch_input else None)
    return {"lm-eval": harness.read, "vllm": vllm.read, "jsonl": plain.read}[format](path, objects(path))


def _format_of(path: Path) -> str:
    """By the first bytes, or by the names in the first line. Raises LogError."""
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":  # a zip
                return "inspect"
    except OSError as error:
        raise LogError(f"cannot read {path} ({error.strerror}); give the path of a log") from error
    names = set(next(objects(path), (0, {}))[1])
    for format, marks in FORMATS.items():
        if any(needed <= names for needed in marks):
            return format
    found = ", ".join(sorted(names)[:10]) or "no names"
    raise LogError(
        f"{path} is no log that is known, since its first line has {found}; give lines with prompt and response, or "
        f"name its format: {', '.join(FORMATS)}"
    )
