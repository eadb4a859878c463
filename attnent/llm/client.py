"""Ask a language model behind any OpenAI-compatible server for structured answers: cached, within a budget.

Nothing here knows what is asked. The key comes from the environment alone (OPENAI_API_KEY), and what a server sends
back is cleared of it before it goes anywhere. What was paid for is kept in a file the moment it arrives, so the same
requests cost nothing the second time, also after a kill.
"""

import datetime
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import openai
from pydantic import BaseModel

from attnent.llm.budget import Budget, CountingClient, NotCoveredError
from attnent.llm.cache import AnswerCache, Kept, LLMError
from attnent.llm.replies import Answer, find_object, read, reason, refused
from attnent.llm.server import secret, server_of, without_secrets
from attnent.progress import Progress


class Request(NamedTuple):
    """One question."""

    messages: list[dict[str, str]]  # role, content
    schema: type[BaseModel]  # what the answer has to be
    repeat: int = 0  # asks the same again, for an answer of its own
    max_tokens: int = 2_000  # of the answer, reasoning included


class Price(NamedTuple):
    """What a list of requests costs."""

    n_requests: int
    n_cached: int  # answered before
    n_new: int  # to be asked; the same request twice is asked once
    usd: float  # about: a quarter of the most
    most_usd: float  # a token for every byte of the prompts, and answers of full length, each at the first attempt

    def __str__(self) -> str:
        money = f"about ${self.usd:.2f}, at most ${self.most_usd:.2f}" if self.most_usd else "free"
        return f"{self.n_requests} requests, {self.n_cached} of them answered before; {self.n_new} new, {money}"


class LLM:
    """A model behind an OpenAI-compatible server.

    `cache` is the file that keeps all answers. `base_url` is the server's address (default: OPENAI_BASE_URL, else
    OpenAI). `max_usd` bounds everything that was ever spent through this cache file: by every model, process and
    restart, each attempt counted, those that failed or timed out at the most they may have cost. `usd_per_million`
    (input, output) is needed where the price is unknown, and a server on this machine is free. `temperature` and `seed`
    are sent only when given, a repeat with a seed of its own. Raises LLMError; a key is needed only to ask (`check`).
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
        if concurrency < 1:
            raise LLMError(f"concurrency is {concurrency}; pass at least 1")
        self.model, self.max_usd = model, max_usd
        self._server = server_of(model, base_url, max_usd, usd_per_million)
        self._cache = AnswerCache(cache)
        self._budget = Budget(self._cache, max_usd)
        self._concurrency, self._max_retries, self._timeout = concurrency, max_retries, timeout
        self._temperature, self._seed = temperature, seed
        self._left_out: frozenset[str] = frozenset()  # parameters that this server is known to refuse

    # ---- asking

    def price(self, requests: Sequence[Request]) -> Price:
        """What asking these would cost now. Asks nothing. Raises LLMError where the cache is damaged."""
        keys = self._keys(requests)
        return self._price(keys, requests, self._cache.get(keys))

    def ask(self, requests: Sequence[Request], *, progress: bool = True) -> list[Answer]:
        """The answers, in order; those kept from before cost nothing.

        Failures, and requests that the budget no longer covered, are answers too ("failed", "not asked"): they are not
        kept, and asking again tries them again. Raises LLMError where nothing more can be asked: no key, a wrong one,
        an unknown model, no server, a damaged cache, text that cannot be sent. Works in a running event loop; Ctrl-C
        waits for the answers in flight, and keeps them.
        """
        keys = self._keys(requests)
        kept = self._cache.get(keys)
        new = {key: request for key, request in zip(keys, requests, strict=True) if key not in kept}
        limit = f"limit ${self.max_usd:.2f}, spent ${self._cache.spent():.2f}"
        if progress:
            print(f"{self.model}: {self._price(keys, requests, kept)} ({limit})", flush=True)
        asked = self._ask_new(new, progress) if new else {}
        kept |= self._cache.get(asked)
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
        if stop.is_set():
            return Answer("not asked")
        try:
            reply, left_out = self._send(client, request)
            usd = reply.http_response.extensions.get("usd", 0.0)
            answer = replace(read(without_secrets(reply.text), request.schema), usd=usd, left_out=left_out)
            if answer.outcome != "failed":
                self._cache.add(self._row(key, request, reply.http_request.content.decode(), answer))
            return answer
        except NotCoveredError:
            limit = f"${self.max_usd:.2f}, for all that {self._cache.path.name} has ever cost,"
            return Answer("not asked", text=f"the budget of {limit} does not cover it; raise max_usd")
        except openai.OpenAIError as error:
            if advice := self._advice(error):
                stop.set()
                raise LLMError(advice) from None  # what the server says to a wrong key may hold that key
            return Answer("failed", text=reason(error))

    def _send(self, client: openai.OpenAI, request: Request) -> tuple[Any, tuple[str, ...]]:
        """What came back, and which parameters had to be left out. Raises openai.OpenAIError, NotCoveredError."""
        left_out = self._left_out
        while True:
            body: dict[str, Any] = self._body(request) | {"response_format": request.schema}
            if "max_tokens" in left_out:
                body["max_completion_tokens"] = body["max_tokens"]
            body = {name: value for name, value in body.items() if name not in left_out}
            try:
                reply = client.chat.completions.with_raw_response.parse(**body)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                named = refused(error, body)
                if not named:
                    raise
                left_out |= named
            else:
                self._left_out |= left_out  # known only now: the complaint may have been about this request alone
                return reply, tuple(sorted(left_out))

    def _client(self) -> openai.OpenAI:
        return openai.OpenAI(
            api_key=self._server.key(),
            organization=secret("OPENAI_ORG_ID") or None,
            project=secret("OPENAI_PROJECT_ID") or None,
            base_url=self._server.base_url,
            max_retries=self._max_retries,
            timeout=self._timeout,
            http_client=CountingClient(self._budget, self._server),
        )

    def _advice(self, error: openai.OpenAIError) -> str | None:
        """What to do about an error that every other request would meet as well; None for others."""
        where = f"the server {self._server.base_url}"
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

    def _keys(self, requests: Sequence[Request]) -> list[str]:
        """What each request is kept under: a hash of all that determines it."""
        keys = []
        for request in requests:
            whole = [self._server.base_url, self._body(request), _schema(request), request.repeat]
            _check_text(json.dumps(whole, ensure_ascii=False))
            keys.append(hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest())
        return keys

    def _row(self, key: str, request: Request, sent: str, answer: Answer) -> Kept:
        return Kept(
            key=key,
            base_url=self._server.base_url,
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
        return self._server.usd(n_bytes, request.max_tokens)


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


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        before = text[max(0, error.start - 40) : error.start]
        raise LLMError(
            f"a request holds half a character (the lone surrogate {text[error.start]!r}, after {before!r}), which "
            "cannot be sent; leave it out"
        ) from error


def _schema(request: Request) -> str:
    return json.dumps(request.schema.model_json_schema(), sort_keys=True)
