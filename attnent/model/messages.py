"""What a prompt may be: a text, or messages whose content is a text or a list of parts, some of them images."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Int

TokenIds = Sequence[int] | Int[np.ndarray, " _"]
Prompt = str | Sequence[dict[str, Any]] | TokenIds  # token ids are what the model sees, as they are
IMAGE = {"type": "image"}


class PromptError(ValueError):
    """A prompt that cannot be given to the model; the message names it and says what to do."""


def is_token_ids(given: Any) -> TypeGuard[TokenIds]:
    """Whether a prompt, or a response, is given as token ids."""
    is_list = isinstance(given, Sequence | np.ndarray) and not isinstance(given, str)
    return is_list and len(given) > 0 and all(isinstance(one, Integral) for one in given)


def messages_of(prompt: Any, name: str = "the prompt") -> list[dict[str, Any]]:
    """The prompt as messages, a text as one of the user's. Raises PromptError."""
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if not isinstance(messages, Sequence) or not all(map(_is_message, messages)):
        raise PromptError(
            f'{name} must be a string or a list of {{"role", "content"}} messages, both text, or of ids; content may '
            'be a list of parts {"type": "image"} and {"type": "text", "text"}'
        )
    if not messages or not text_of(messages[-1]).strip():
        raise PromptError(f"{name} is empty; remove it or give it some text")
    if any("\ud800" <= char <= "\udfff" for message in messages for char in text_of(message)):
        raise PromptError(f"{name} holds half of a character (a lone surrogate), which is no text; remove it")
    return list(messages)


def text_of(message: dict[str, Any]) -> str:
    """The text of a message, without its images."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def in_parts(prompt: Any, n_images: int, name: str = "the prompt") -> list[dict[str, Any]]:
    """The messages of a prompt with so many images, each content a list of parts; a text has its images before it.

    Raises PromptError where the messages have another number of images.
    """
    messages = messages_of(prompt, name)
    parts = [_parts(message["content"]) for message in messages]
    if isinstance(prompt, str):
        parts = [[IMAGE] * n_images + parts[0]]
    n_there = sum(part == IMAGE for some in parts for part in some)
    if n_there != n_images:
        raise PromptError(
            f'the messages of {name} have {n_there} parts {{"type": "image"}}, but {n_images} images are given; give '
            "as many as there are parts"
        )
    return [message | {"content": some} for message, some in zip(messages, parts, strict=True)]


def _parts(content: Any) -> list[dict[str, str]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    content = message.get("content")
    return isinstance(content, str) or (isinstance(content, list | tuple) and all(map(_is_part, content)))


def _is_part(part: Any) -> bool:
    if part == IMAGE:
        return True
    return isinstance(part, dict) and part.keys() == {"type", "text"} and isinstance(part["text"], str)
