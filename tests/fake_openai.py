"""A server that speaks like OpenAI's, over real HTTP: tests say what it answers, and read what it was asked."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

KEY = "sk-test-3f9a61c05d7e482b"
PATH = "/v1/chat/completions"


def completion(content: str | None, *, finish_reason: str = "stop", **more: Any) -> dict[str, Any]:
    """A chat completion of 20 prompt and 5 answer tokens; `more` overrides what is in it."""
    message = {"role": "assistant", "content": content} | more.pop("message", {})
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "fake-1-2026",
        "system_fingerprint": "fp_7",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    } | more


def error(status: int, message: str, *, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """An error as OpenAI words it; the client waits a millisecond before it tries again."""
    body = json.dumps({"error": {"message": message, "type": "error"} | more})
    headers = {"retry-after-ms": "1"} | (headers or {})
    return Response(body, status, headers=headers, content_type="application/json")


class FakeServer:
    """Answers every chat completion with `answer(body)`: a completion, or a response of its own."""

    def __init__(self, server: HTTPServer) -> None:
        self.answer: Callable[[dict[str, Any]], dict[str, Any] | Response] = lambda body: completion('{"city": "Ur"}')
        self.asked: list[dict[str, Any]] = []  # bodies, in the order they came
        self.headers: list[dict[str, str]] = []
        self.seconds = 0.0  # that every answer takes
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self.base_url = server.url_for("/v1")
        server.clear()
        server.expect_request(PATH, method="POST").respond_with_handler(self._handle)

    def _handle(self, request: Request) -> Response:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.asked.append(request.get_json())
            self.headers.append(dict(request.headers))
        try:
            time.sleep(self.seconds)
            said = self.answer(request.get_json())
        finally:
            with self._lock:
                self._at_once -= 1
        return said if isinstance(said, Response) else Response(json.dumps(said), content_type="application/json")

    def in_turn(self, *answers: dict[str, Any] | Response) -> None:
        """Give these answers one after the other, the last one from then on."""
        left = list(answers)

        def answer(body: dict[str, Any]) -> dict[str, Any] | Response:
            with self._lock:
                return left.pop(0) if len(left) > 1 else left[0]

        self.answer = answer
