"""Questions to a language model behind any OpenAI-compatible server: cached, within a budget, retried."""

from attnent.llm.cache import LLMError, Outcome
from attnent.llm.client import LLM, Answer, Price, Request

__all__ = ["LLM", "Answer", "LLMError", "Outcome", "Price", "Request"]
