"""Ask a language model behind any OpenAI-compatible server for structured answers: cached, within a budget.

Nothing here knows what is asked. The key comes from the environment alone (OPENAI_API_KEY), and what a server sends
back is cleared of it before it goes anywhere. What was paid for is kept in a file the moment it arrives, so the same
requests cost nothing the second time, also after a kill.
"""

import datetime
import hashlib
import ipaddress
import json
import os
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import openai
from pydantic import BaseModel, Field, ValidationError

from attnent.llm.cache import AnswerCache, Kept, LLMError, Outcome
from attnent.progress import Progress

Schema = TypeVar("Schema", bound=BaseModel)

OPENAI = "https://api.openai.com/v1"
USD_PER_MILLION = {  # of OpenAI's own server: input tokens, output tokens; as published in spring 2026
    "gpt-4o": (2.50, 10.00),
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-4.1": (2.00, 8.00),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-5-mini": (0.25, 2.00),
}


class Request(NamedTuple):
    """One question."""

    messages: list[dict[str, str]]  # role, content
    schema: type[BaseModel]  # what the answer has to be
    repeat: int = 0  # asks the same again, for an answer of its own
    max_tokens: int = 2_000  # of the answer, reasoning included


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


class Price(NamedTuple):
    """What a list of requests costs."""

    n_requests: int
    n_cached: int  # answered before
    n_new: int  # to be asked; the same request twice is asked once
    usd: float  # about: a quarter of the most
    most_usd: float  # a token for every byte of the prompts, and answers of full length

    def __str__(self) -> str:
        money = f"about ${self.usd:.2f}, at most ${self.most_usd:.2f}" if self.most_usd else "free"
        return f"{self.n_requests} requests, {self.n_cached} of them answered before; {self.n_new} new, {money}"


class LLM:
    """A model behind an OpenAI-compatible server.

    `cache` is the file that keeps all answers. `base_url` is the server's address (default: OPENAI_BASE_URL, else
    OpenAI). `max_usd` bounds what this object may spend; `usd_per_million` (input, output) is needed where the price is
    unknown, and a server on this machine is free. `temperature` and `seed` are sent only when given, a repeat with a
    seed of its own. Raises LLMError.
    """

    def __init__(
        self,
        model: str,
        *,
        cache: str | Path,
        base_url: str | None = None,
        max_usd: float = 1.0,
        usd_per_million: Sequence[float] | None = None,
        concurrency: int = 8,
        temperature: float | None = None,
        seed: int | None = None,
        max_retries: int = 6,
        timeout: float = 60.0,
    ) -> None:
        if concurrency < 1 or not max_usd >= 0:
            raise LLMError(f"concurrency is {concurrency} and max_usd {max_usd}; pass at least 1 and 0")
        self.model = model
        self.base_url = _checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI)
        self.max_usd = max_usd
        self._usd_per_million = _known_price(model, self.base_url, usd_per_million)
        self._cache = AnswerCache(cache)
        self._budget = _Budget(max_usd)
        self._concurrency, self._max_retries, self._timeout = concurrency, max_retries, timeout
        self._temperature, self._seed = temperature, seed
        self._left_out: frozenset[str] = frozenset()  # parameters that this server is known to refuse

    # ---- asking

    def price(self, requests: Sequence[Request]) -> Price:
        """What asking these would cost now. Asks nothing. Raises LLMError where the cache is damaged."""
        keys = [self._key(request) for request in requests]
        return self._price(keys, requests, self._kept(keys))

    def ask(self, requests: Sequence[Request], *, progress: bool = True) -> list[Answer]:
        """The answers, in order; those kept from before cost nothing.

        Failures, and requests that the budget no longer covered, are answers too ("failed", "not asked"): they are not
        kept, and asking again tries them again. Raises LLMError where nothing more can be asked: no key, a wrong one,
        an unknown model, no server, a damaged cache. Works in a running event loop; Ctrl-C waits for the answers in
        flight, and keeps them.
        """
        keys = [self._key(request) for request in requests]
        kept = self._kept(keys)
        new = {key: request for key, request in zip(keys, requests, strict=True) if key not in kept}
        if progress:
            print(f"{self.model}: {self._price(keys, requests, kept)} (limit ${self.max_usd:.2f})", flush=True)
        asked = self._ask_new(new, progress) if new else {}
        kept |= self._kept(asked)
        return [
            _answer_of(kept[key], request.schema, cached=key not in asked) if key in kept else asked[key]
            for key, request in zip(keys, requests, strict=True)
        ]

    def _ask_new(self, new: Mapping[str, Request], progress: bool) -> dict[str, Answer]:
        answers = {}
        stop = threading.Event()
        with self._client() as client, ThreadPoolExecutor(self._concurrency) as pool:
            futures = {pool.submit(self._ask_one, client, stop, key, new[key]): key for key in new}
            try:
                with Progress(len(new), f"asking {self.model}", shown=progress) as bar:
                    for future in as_completed(futures):
                        answers[futures[future]] = answer = future.result()
                        bar.advance(1, n_tokens=answer.n_output)
            finally:
                stop.set()  # after an error or Ctrl-C only what is in flight is waited for
        return answers

    def _ask_one(self, client: openai.OpenAI, stop: threading.Event, key: str, request: Request) -> Answer:
        most = self._most_usd(request)
        if stop.is_set() or not self._budget.set_aside(most):
            return Answer("not asked", text=f"the budget of ${self.max_usd:.2f} does not cover it; raise max_usd")
        spent = most  # where nobody says what was charged, the worst is assumed
        try:
            sent, body, left_out = self._send(client, request)
            answer = replace(_read(body, request.schema), left_out=left_out)
            if answer.n_input or answer.n_output:
                spent = self._usd(answer.n_input, answer.n_output)
            if answer.outcome != "failed":
                answer = replace(answer, usd=spent)
                self._cache.add(self._row(key, request, sent, answer))
            return answer
        except openai.OpenAIError as error:
            if isinstance(error, openai.APIStatusError):
                spent = 0.0
            if advice := self._advice(error):
                stop.set()
                raise LLMError(advice) from None  # what the server says to a wrong key may hold that key
            return Answer("failed", text=_reason(error))
        finally:
            self._budget.settle(most, spent)

    def _send(self, client: openai.OpenAI, request: Request) -> tuple[str, str, tuple[str, ...]]:
        """What was sent, what came back, and which parameters had to be left out. Raises openai.OpenAIError."""
        left_out = self._left_out
        while True:
            body: dict[str, Any] = self._body(request) | {"response_format": request.schema}
            if "max_tokens" in left_out:
                body["max_completion_tokens"] = body["max_tokens"]
            body = {name: value for name, value in body.items() if name not in left_out}
            try:
                reply = client.chat.completions.with_raw_response.parse(**body)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refused = _refused(error, body)
                if not refused:
                    raise
                left_out |= refused
            else:
                self._left_out |= left_out  # known only now: the complaint may have been about this request alone
                sent = reply.http_request.content.decode()
                return sent, _without_secrets(reply.text), tuple(sorted(left_out))

    def _client(self) -> openai.OpenAI:
        key = os.environ.get("OPENAI_API_KEY")
        if not key and not _is_loopback(self.base_url):
            raise LLMError(
                f"there is no key for {self.base_url}; set OPENAI_API_KEY in the environment. Without a key there are "
                "the offline judge, the exact critic of the bundled world, the arithmetic checker, and any server on "
                "this machine (base_url)"
            )
        return openai.OpenAI(
            api_key=key or "none", base_url=self.base_url, max_retries=self._max_retries, timeout=self._timeout
        )

    def _advice(self, error: openai.OpenAIError) -> str | None:
        """What to do about an error that every other request would meet as well; None for others."""
        where = f"the server {self.base_url}"
        if type(error.__cause__).__name__ == "ConnectError":  # of httpx, whichever one openai uses
            return f"{where} cannot be reached; check the network and base_url, then run again"
        if getattr(error, "code", None) == "insufficient_quota":
            return f"{where} says that the account has no credit left; add some, then run again"
        return {
            401: f"{where} refused the key (401); set OPENAI_API_KEY to a valid one",
            402: f"{where} asks for payment (402); add credit to the account, then run again",
            403: f"{where} does not let this key use {self.model!r} (403); choose another model or key",
            404: f"{where} knows no model {self.model!r}, or is no such server (404); check model and base_url",
        }.get(getattr(error, "status_code", 0))

    # ---- what is asked, what it costs, what is kept

    def _body(self, request: Request) -> dict[str, Any]:
        """The request as wanted. The schema is in the text as well: many servers take no notice of the parameter."""
        *before, last = request.messages
        form = f"Answer with one JSON object and nothing else. It has to fit this JSON schema:\n{_schema(request)}"
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [*before, last | {"content": f"{last['content']}\n\n{form}"}],
            "max_tokens": request.max_tokens,
        }
        if self._temperature is not None:
            body["temperature"] = self._temperature
        if self._seed is not None:
            body["seed"] = self._seed + request.repeat
        return body

    def _key(self, request: Request) -> str:
        whole = [self.base_url, self._body(request), _schema(request), request.repeat]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def _kept(self, keys: Iterable[str]) -> dict[str, Kept]:
        return self._cache.get(keys)

    def _row(self, key: str, request: Request, sent: str, answer: Answer) -> Kept:
        return Kept(
            key=key,
            base_url=self.base_url,
            request=sent,
            schema=_schema(request),
            repeat=request.repeat,
            left_out=json.dumps(answer.left_out),
            outcome=answer.outcome,
            text=answer.text,
            model=answer.model,
            fingerprint=answer.fingerprint,
            n_input=answer.n_input,
            n_output=answer.n_output,
            usd=answer.usd,
            answered_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def _price(self, keys: Sequence[str], requests: Sequence[Request], kept: Mapping[str, Kept]) -> Price:
        new = {key: request for key, request in zip(keys, requests, strict=True) if key not in kept}
        most = sum(self._most_usd(request) for request in new.values())
        return Price(len(keys), sum(key in kept for key in keys), len(new), most / 4, most)

    def _most_usd(self, request: Request) -> float:
        """No byte is more than one token; the schema counts again, as servers put it into the prompt themselves."""
        n_bytes = len(json.dumps(self._body(request))) + len(_schema(request))
        return self._usd(n_bytes, request.max_tokens)

    def _usd(self, n_input: int, n_output: int) -> float:
        of_input, of_output = self._usd_per_million
        return (n_input * of_input + n_output * of_output) / 1e6


class _Budget:
    """US dollars: the most a request may cost is set aside before it is sent, and settled when its answer is in."""

    def __init__(self, limit: float) -> None:
        self._limit, self._spent = limit, 0.0
        self._aside: list[float] = []
        self._changed = threading.Condition()

    def set_aside(self, usd: float) -> bool:
        """Whether this much can still be spent; waits while requests in flight may yet turn out to cost less."""
        with self._changed:
            self._changed.wait_for(lambda: self._covers(usd) or not self._aside)
            if not self._covers(usd):
                return False
            self._aside.append(usd)
            return True

    def settle(self, usd_aside: float, usd_spent: float) -> None:
        with self._changed:
            self._aside.remove(usd_aside)
            self._spent += usd_spent
            self._changed.notify_all()

    def _covers(self, usd: float) -> bool:
        return self._spent + sum(self._aside) + usd <= self._limit


# ---- reading what a server sends


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Reply(BaseModel):
    """As much of a chat completion as is needed here; servers differ in the rest."""

    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    system_fingerprint: str | None = None
    usage: _Usage | None = None


def _read(body: str, schema: type[BaseModel]) -> Answer:
    """What a reply with status 200 says; one that is no chat completion is a failure."""
    try:
        reply = _Reply.model_validate_json(body)
    except ValidationError:
        return Answer("failed", text=f"the server sent no chat completion but: {_short(body)}")
    choice, usage = reply.choices[0], reply.usage or _Usage()
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
        n_input=usage.prompt_tokens,
        n_output=usage.completion_tokens,
    )


def _answer_of(kept: Kept, schema: type[BaseModel], *, cached: bool) -> Answer:
    return Answer(
        kept.outcome,
        find_object(kept.text, schema) if kept.outcome == "answered" else None,
        kept.text,
        kept.model,
        kept.fingerprint,
        kept.n_input,
        kept.n_output,
        kept.usd,
        tuple(json.loads(kept.left_out)),
        cached,
    )


def find_object(text: str, schema: type[Schema]) -> Schema | None:
    """The JSON object in a text that fits the schema, bare, fenced or in prose; None where two differ."""
    decoder, found, start = json.JSONDecoder(), [], text.find("{")
    while start >= 0:
        stop = start + 1
        try:
            _, stop = decoder.raw_decode(text, start)
            found.append(schema.model_validate_json(text[start:stop]))
        except (ValueError, RecursionError):  # no JSON here, or none that fits
            pass
        start = text.find("{", stop)
    return found[0] if found and all(one == found[0] for one in found) else None


def _refused(error: openai.APIStatusError, body: Mapping[str, Any]) -> frozenset[str]:
    """The optional parameters of a request that a complaint names; where it names none, the schema, if it was sent."""
    said = f"{error.message} {error.body}".lower()
    words = {"response_format": "response_format|json_schema|schema|structured output"}
    optional = [name for name in ("temperature", "seed", "max_tokens", "response_format") if name in body]
    named = {name for name in optional if re.search(rf"\b(?:{words.get(name, name)})\b", said)}
    return frozenset(named or {"response_format"} & set(body))


def _reason(error: openai.OpenAIError) -> str:
    status = getattr(error, "status_code", None)
    if isinstance(error, openai.APITimeoutError):
        return "no answer in time"
    return _short(f"{status or type(error).__name__}: {error}")


def _short(text: str) -> str:
    text = re.sub(r"\b(?:sk|org|proj)[-_][\w*-]{6,}", "...", _without_secrets(text))  # also what servers echo in part
    return " ".join(text.split())[:200]


def _without_secrets(text: str) -> str:
    """The text without what identifies the user to the server; shorter keys are placeholders of local servers."""
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        secret = os.environ.get(name, "")
        if len(secret) >= 12:
            text = text.replace(secret, f"<{name}>")
    return text


# ---- settings


def _checked_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LLMError(f"base_url is {base_url!r}; pass an address such as http://localhost:8000/v1")
    if parts.username or parts.password or parts.query:
        raise LLMError(
            "base_url holds a user, a password or a query; pass the address alone, and the key in the "
            "environment as OPENAI_API_KEY"
        )
    return base_url.rstrip("/")


def _known_price(model: str, base_url: str, given: Sequence[float] | None) -> tuple[float, float]:
    if given is not None:
        if len(given) != 2 or not all(usd >= 0 for usd in given):
            raise LLMError(f"usd_per_million is {given}; pass two prices, of input and of output tokens")
        return float(given[0]), float(given[1])
    if _is_loopback(base_url):
        return 0.0, 0.0
    if base_url == OPENAI and model in USD_PER_MILLION:
        return USD_PER_MILLION[model]
    raise LLMError(
        f"the price of {model!r} at {base_url} is not known; pass usd_per_million=(input, output) in US dollars for a "
        "million tokens, (0, 0) for a server of your own"
    )


def _is_loopback(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _schema(request: Request) -> str:
    return json.dumps(request.schema.model_json_schema(), sort_keys=True)
