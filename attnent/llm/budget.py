"""No attempt is sent that the budget does not cover, and each counts: the first, retries, and those that timed out."""

import json
import threading
from typing import Any

import openai

from attnent.llm.cache import AnswerCache
from attnent.llm.replies import usage
from attnent.llm.server import Server

_NEVER_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")  # of httpx, whichever one openai uses


class NotCoveredError(openai.OpenAIError):  # an error that openai does not try again after
    """The budget does not cover another attempt."""


class Budget:
    """US dollars for all attempts ever made through one cache, by any process: the most that an attempt may cost is
    set aside before it is sent, and settled when its answer is in."""

    def __init__(self, cache: AnswerCache, limit: float) -> None:
        self._cache, self._limit = cache, limit
        self._n_aside = 0
        self._changed = threading.Condition()

    def set_aside(self, usd: float) -> int:
        """The number of the attempt; waits while others in flight may yet turn out to cost less.

        Raises NotCoveredError, LLMError.
        """
        with self._changed:
            while (attempt := self._cache.set_aside(usd, self._limit)) is None:
                if not self._n_aside:
                    raise NotCoveredError
                self._changed.wait()
            self._n_aside += 1
            return attempt

    def settle(self, attempt: int, usd: float) -> None:
        with self._changed:
            self._n_aside -= 1
            self._changed.notify_all()
            self._cache.settle(attempt, usd)


class CountingClient(openai.DefaultHttpxClient):
    """Through which openai sends every attempt; `extensions["usd"]` of a response says what it cost.

    An answer costs what its usage says, and a refusal (status 400 to 499, but not 408) or a server that was never
    reached nothing. Of every other attempt, timed out, broken off, status 500 or an answer without usage, nobody says
    what was charged, and it counts the most: a token for each byte sent, and an answer of full length.
    """

    def __init__(self, budget: Budget, server: Server) -> None:
        super().__init__()
        self._budget, self._server = budget, server

    def send(self, request: Any, **settings: Any) -> Any:
        body = json.loads(request.content)
        n_most = body.get("max_tokens") or body["max_completion_tokens"]
        spent = most = self._server.usd(len(request.content), n_most)
        if not most:
            return super().send(request, **settings)
        attempt = self._budget.set_aside(most)
        try:
            response = super().send(request, **settings)
            if response.is_client_error and response.status_code != 408:
                spent = 0.0
            elif response.is_success and (said := usage(response.text)):
                spent = self._server.usd(said.prompt_tokens, said.completion_tokens)
            response.extensions["usd"] = spent
            return response
        except Exception as error:
            if type(error).__name__ in _NEVER_SENT:
                spent = 0.0
            raise
        finally:
            self._budget.settle(attempt, spent)
