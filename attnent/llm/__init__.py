"""Questions to a language model behind any OpenAI-compatible server: cached, within a budget, retried."""

from attnent.llm.cache import LLMError, Outcome
from attnent.llm.client import LLM, Price, Request
from attnent.llm.replies import Answer
from attnent.llm.server import check

__all__ = ["LLM", "Answer", "LLMError", "Outcome", "Price", "Request", "check"]
