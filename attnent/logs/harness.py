"""`samples_*.jsonl` of lm-evaluation-harness, as `--log_samples` writes them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from attnent.logs.responses import Log, LogError, Response, messages_of, table_of, text_of

_OWN = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}
_OWN |= {"doc_hash", "prompt_hash", "target_hash"}

Rows = Iterable[tuple[int, dict[str, Any]]]


def read(path: Path, rows: Rows) -> Log:
    """A response a document, and one more for each repeat; a line a filter is what the harness writes.

    A score is named after its metric and filter, `exact_match,strict-match`; where the harness drew several responses
    its scores are of all of them together and are not kept. Raises LogError.
    """
    n_of: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for number, row in rows:
        where = f"line {number} of {path}"
        prompt, texts = _prompt(row, where), _texts(row, where)
        doc_id, filter_ = str(row.get("doc_id", number - 1)), str(row.get("filter", "none"))
        key = doc_id, n_of[doc_id, filter_]
        n_of[doc_id, filter_] += 1
        kept = found.setdefault(key, {"prompt": prompt, "texts": texts, "target": row.get("target"), "scores": {}})
        if (kept["prompt"], kept["texts"]) != (prompt, texts):
            raise LogError(f"{where} holds another response to document {doc_id} than an earlier one; split the file")
        kept["scores"] |= _scores(row, filter_)
    responses = [one for (doc_id, _), kept in found.items() for one in _responses(doc_id, **kept)]
    n_repeated = sum(len(kept["texts"]) > 1 for kept in found.values())
    said = f"{n_repeated} documents have several responses, and scores of all together, which are not kept"
    rendered = all(isinstance(one.prompt, str) for one in responses)
    return Log(table_of(responses, path), rendered=rendered, notes=(said,) * bool(n_repeated))


def _responses(
    doc_id: str, *, prompt: Any, texts: list[str], target: Any, scores: dict[str, Any]
) -> Iterator[Response]:
    for place, text in enumerate(texts, start=1):
        log_id = doc_id if len(texts) == 1 else f"{doc_id}.{place}"
        yield Response(log_id, prompt, text, text_of(target), scores if len(texts) == 1 else {})


def _prompt(row: dict[str, Any], where: str) -> Any:
    """What the model was given: text, or the messages that the harness sends to a server. Raises LogError."""
    requests = row.get("arguments")
    if isinstance(requests, dict):  # since version 0.4.3
        requests = [list(request.values()) for request in requests.values() if isinstance(request, dict)]
    if not isinstance(requests, list) or not all(isinstance(one, list) and one for one in requests):
        raise LogError(f"{where} has no arguments as lm-evaluation-harness writes them; log again with --log_samples")
    if not all(isinstance(one[-1], dict) for one in requests):
        raise LogError(
            f"{where} holds likelihoods of given answers and no text that a model wrote; log a task of output_type "
            "generate_until"
        )
    if len(requests) != 1 or len(requests[0]) != 2:
        raise LogError(f"{where} holds {len(requests)} requests for one document; log a task that makes one")
    prompt = requests[0][0]
    if isinstance(prompt, list) and len(prompt) == 1:
        with suppress(TypeError, ValueError):
            prompt = messages_of(json.loads(prompt[0])) or prompt
    if isinstance(prompt, str) or messages_of(prompt) is not None:
        return prompt
    raise LogError(f"{where} has a prompt that is neither text nor messages; remove that line")


def _texts(row: dict[str, Any], where: str) -> list[str]:
    responses = row.get("resps")
    texts = responses[0] if isinstance(responses, list) and len(responses) == 1 else None
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise LogError(f"{where} has no response in resps; mend or remove that line")
    return texts


def _scores(row: dict[str, Any], filter_: str) -> dict[str, Any]:
    metrics = row.get("metrics")
    names = metrics if isinstance(metrics, list) else [name for name in row if name not in _OWN]
    return {f"{name},{filter_}" if filter_ != "none" else str(name): row[name] for name in names if name in row}
