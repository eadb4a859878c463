"""Prompts as token ids: the chat template applied, its date fixed so that runs repeat."""

import datetime
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from attnent.attention.layers import context_length

TokenIds = Sequence[int] | Int[np.ndarray, " _"]
Prompt = str | Sequence[dict[str, str]] | TokenIds  # token ids are what the model sees, as they are
TEMPLATE_DATE = datetime.date(2024, 7, 26)  # the default date of the Llama 3.2 template
_TODAY = re.compile(r"""strftime_now\(\s*(?P<quote>["'])(?P<format>.+?)(?P=quote)\s*\)""")


class PromptError(ValueError):
    """A prompt that cannot be given to the model; the message names it and says what to do."""


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the user gave it and as the model sees it."""

    prompt: Prompt
    token_ids: list[int]


def encode_prompts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], *, n_new_tokens: int
) -> list[EncodedPrompt]:
    """Token ids of each prompt; all are checked before any is run.

    Raises PromptError for no prompt at all, an empty prompt, or one that with `n_new_tokens` exceeds the context.
    """
    if isinstance(prompts, str):
        raise PromptError("prompts is a single string; give a list of prompts, such as [prompt]")
    if len(prompts) == 0:
        raise PromptError("the list of prompts is empty; give at least one prompt")
    context = context_length(model)
    encoded = []
    for number, prompt in enumerate(prompts):
        given = encoded_prompt(tokenizer, prompt, name=f"prompt {number}")
        token_ids = given.token_ids
        if context is not None and len(token_ids) + n_new_tokens > context:
            raise PromptError(
                f"prompt {number} has {len(token_ids)} tokens, and with {n_new_tokens} new ones it exceeds the model's "
                f"context of {context}; shorten the prompt or lower max_new_tokens"
            )
        encoded.append(given)
    return encoded


def encoded_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, *, name: str = "the prompt") -> EncodedPrompt:
    """A prompt and its token ids; where these are what is given, the text that they stand for."""
    token_ids = encode_prompt(tokenizer, prompt, name=name)
    return EncodedPrompt(text_of_ids(tokenizer, token_ids) if is_token_ids(prompt) else prompt, token_ids)


def is_token_ids(given: Any) -> TypeGuard[TokenIds]:
    """Whether a prompt, or a response, is given as token ids."""
    is_list = isinstance(given, Sequence | np.ndarray) and not isinstance(given, str)
    return is_list and len(given) > 0 and all(isinstance(one, Integral) for one in given)


def text_of_ids(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    """All of the text of a prompt, its special tokens included."""
    return str(tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, *, name: str = "the prompt") -> list[int]:
    """Token ids of one prompt: through the chat template where the tokenizer has one, as plain text otherwise.

    Token ids remain what they are.
    """
    if is_token_ids(prompt):
        token_ids = [int(one) for one in prompt]
        if not all(0 <= token_id < len(tokenizer) for token_id in token_ids):
            raise PromptError(f"{name} holds token ids outside the tokenizer's vocabulary of {len(tokenizer)}")
        return token_ids
    messages = _messages(prompt, name)
    if tokenizer.chat_template is None:
        if not isinstance(prompt, str):
            raise PromptError(f"{name} is a list of messages, but the tokenizer has no chat template; give plain text")
        return list(tokenizer(prompt).input_ids)
    encoded: Any = tokenizer.apply_chat_template(
        messages,
        chat_template=_dated(tokenizer.get_chat_template()),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        date_string=TEMPLATE_DATE.strftime("%d %b %Y"),
    )
    return list(encoded["input_ids"])


def _dated(template: str) -> str:
    """The template with its date written in: transformers hands data to a template, but no function."""
    return _TODAY.sub(lambda call: repr(TEMPLATE_DATE.strftime(call["format"])), template)


def template_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """The start of the SHA-256 of the chat template; "" where there is none."""
    template = tokenizer.chat_template
    return "" if template is None else hashlib.sha256(str(template).encode()).hexdigest()[:16]


def _messages(prompt: Any, name: str) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if not isinstance(messages, Sequence) or not all(
        isinstance(message, dict) and all(isinstance(message.get(part), str) for part in ("role", "content"))
        for message in messages
    ):
        raise PromptError(f'{name} must be a string or a list of {{"role", "content"}} messages, both text, or of ids')
    if not messages or not messages[-1]["content"].strip():
        raise PromptError(f"{name} is empty; remove it or give it some text")
    if any("\ud800" <= char <= "\udfff" for message in messages for char in message["content"]):
        raise PromptError(f"{name} holds half of a character (a lone surrogate), which is no text; remove it")
    return list(messages)
