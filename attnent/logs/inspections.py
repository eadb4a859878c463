"""Logs of Inspect, read by inspect_ai itself."""

from importlib import import_module
from pathlib import Path
from typing import Any

from attnent.logs.responses import MORE_THAN_TEXT, NO_TEXT, Log, LogError, Response, messages_of, table_of, text_of


def read(path: Path) -> Log:
    """A response a sample and epoch: the last message, under all before it. Raises LogError.

    Scores are named after their scorers. Responses that come with calls of tools, pictures or reasoning kept apart
    from the text are left out.
    """
    try:
        read_eval_log = import_module("inspect_ai.log").read_eval_log
    except ImportError as error:
        raise LogError("reading a log of Inspect needs inspect_ai; pip install 'attnent[inspect]'") from error
    try:
        log = read_eval_log(str(path), resolve_attachments=True)
    except Exception as error:  # whatever a damaged archive makes the zip, JSON and schema readers raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise LogError(f"inspect_ai cannot read {path} ({reason}); give a whole log of Inspect") from error
    many = (log.eval.config.epochs or 1) > 1
    responses = [_response(sample, many=many) for sample in log.samples or []]
    notes = () if log.status == "success" else (f"the evaluation ended with the status {log.status}",)
    return Log(table_of(responses, path), notes=notes)


def _response(sample: Any, *, many: bool) -> Response:
    dumped = [message.model_dump(exclude_none=True) for message in sample.messages]
    messages = messages_of(dumped)
    ends_well = bool(messages) and messages[-1] == {"role": "assistant", "content": sample.output.completion}
    usage = sample.output.usage
    return Response(
        f"{sample.id}.{sample.epoch}" if many else str(sample.id),
        messages[:-1] if messages and ends_well else None,
        sample.output.completion,
        text_of(sample.target),
        {name: score.value for name, score in (sample.scores or {}).items()},
        usage.output_tokens if usage else None,
        left_out="" if ends_well else MORE_THAN_TEXT if sample.output.completion else NO_TEXT,
    )
