"""Reading what a server sends: an answer, an object in prose, a complaint."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import openai
from pydantic import BaseModel, Field, ValidationError

from attnent.llm.cache import Outcome
from attnent.llm.server import without_secrets

Schema = TypeVar("Schema", bound=BaseModel)
_START_OF_OBJECT = re.compile(r'\{(?=\s*["}])')
_MOST_FALSE_STARTS = 100  # what looks for an object after so many is not worth the time


@dataclass(frozen=True)
class Answer:
    """What came of one request."""

    outcome: Outcome
    value: BaseModel | None = None  # of the request's schema, where answered
    text: str = ""  # as the model wrote it; of a failure, what went wrong
    model: str = ""  # as the server names it
    fingerprint: str | None = None  # of the server's configuration
    n_input: int = 0  # tokens
    n_output: int = 0  # tokens
    usd: float = 0.0  # what it cost, now or when it was first asked
    left_out: tuple[str, ...] = ()  # parameters that the server refused
    cached: bool = False  # answered before, at no cost now


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(0, ge=0)
    completion_tokens: int = Field(0, ge=0)


class _Reply(BaseModel):
    """As much of a chat completion as is needed here; servers differ in the rest."""

    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    system_fingerprint: str | None = None
    usage: _Usage | None = None


def usage(body: str) -> _Usage | None:
    """The tokens that a reply counts; None where it counts none."""
    try:
        said = _Reply.model_validate_json(body).usage
    except ValidationError:
        return None
    return said if said and (said.prompt_tokens or said.completion_tokens) else None


def read(body: str, schema: type[BaseModel]) -> Answer:
    """What a reply with status 200 says; one that is no chat completion is a failure."""
    try:
        reply = _Reply.model_validate_json(body)
    except ValidationError:
        return Answer("failed", text=f"the server sent no chat completion but: {short(body)}")
    choice, counted = reply.choices[0], reply.usage or _Usage()
    value, outcome, text = None, "malformed", choice.message.content or ""
    if choice.finish_reason == "content_filter":
        outcome = "filtered"
    elif choice.message.refusal:
        outcome, text = "refused", choice.message.refusal
    elif choice.finish_reason == "length":
        outcome = "cut off"
    elif (value := find_object(text, schema)) is not None:
        outcome = "answered"
    return Answer(
        outcome,
        value,
        text,
        model=reply.model or "",
        fingerprint=reply.system_fingerprint,
        n_input=counted.prompt_tokens,
        n_output=counted.completion_tokens,
    )


def find_object(text: str, schema: type[Schema]) -> Schema | None:
    """The JSON object in a text that fits the schema, bare, fenced or in prose.

    None where two differ, and where too much looks like an object and is none.
    """
    decoder, found, stop, n_false = json.JSONDecoder(), [], 0, 0
    for start in (match.start() for match in _START_OF_OBJECT.finditer(text)):
        if start < stop:
            continue  # inside an object that has been read
        try:
            _, stop = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            n_false += 1
            if n_false > _MOST_FALSE_STARTS:
                return None
            continue
        with suppress(ValueError):  # JSON that does not fit
            found.append(schema.model_validate_json(text[start:stop]))
    return found[0] if found and all(one == found[0] for one in found) else None


def refused(error: openai.APIStatusError, body: Mapping[str, Any]) -> frozenset[str]:
    """The optional parameters of a request that a complaint names; where it names none, the schema, if it was sent."""
    said = f"{error.message} {error.body}".lower()
    words = {"response_format": "response_format|json_schema|schema|structured output"}
    optional = [name for name in ("temperature", "seed", "max_tokens", "response_format") if name in body]
    named = {name for name in optional if re.search(rf"\b(?:{words.get(name, name)})\b", said)}
    return frozenset(named or {"response_format"} & set(body))


def reason(error: openai.OpenAIError) -> str:
    status = getattr(error, "status_code", None)
    if isinstance(error, openai.APITimeoutError):
        return "no answer in time"
    return short(f"{status or type(error).__name__}: {error}")


def short(text: str) -> str:
    text = re.sub(r"\b(?:sk|org|proj)[-_][\w*-]{6,}", "...", without_secrets(text))  # also what servers echo in part
    return " ".join(text.split())[:200]
