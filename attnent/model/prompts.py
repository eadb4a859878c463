"""Prompts as token ids: the chat template applied, its date fixed so that runs repeat."""

import contextlib
import datetime
import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from attnent.attention.layers import context_length
from attnent.model.images import (
    Picture,
    Tokenizer,
    digest_of,
    needs_bos,
    of_each,
    opened,
    processed,
    processor_of,
    reader_of,
)
from attnent.model.messages import IMAGE, Prompt, PromptError, TokenIds, in_parts, is_token_ids, text_of

TEMPLATE_DATE = datetime.date(2024, 7, 26)  # the default date of the Llama 3.2 template
_TODAY = re.compile(r"""strftime_now\(\s*(?P<quote>["'])(?P<format>.+?)(?P=quote)\s*\)""")


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the user gave it and as the model sees it."""

    prompt: Prompt
    token_ids: list[int]  # with those that stand for images
    text: str = ""  # with images: what the processor makes token ids of
    images: tuple[Picture, ...] = ()  # as they were given
    digests: tuple[str, ...] = ()  # of their pixels
    image_token: int | None = None  # the id that stands for a part of an image

    @property
    def identity(self) -> Any:
        """What tells it from others, as a JSON value."""
        return [self.prompt, self.digests] if self.digests else self.prompt


def encode_prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    images: Any = None,
    *,
    n_new_tokens: int,
) -> list[EncodedPrompt]:
    """Token ids of each prompt, and its images; all are checked before any is run.

    Raises PromptError for no prompt at all, an empty prompt, an image that cannot be read or that the model cannot
    see, or a prompt that with `n_new_tokens` exceeds the context; ModelError where the model has no processor.
    """
    if isinstance(prompts, str):
        raise PromptError("prompts is a single string; give a list of prompts, such as [prompt]")
    if len(prompts) == 0:
        raise PromptError("the list of prompts is empty; give at least one prompt")
    context = context_length(model)
    encoded = []
    for number, (prompt, beside) in enumerate(zip(prompts, of_each(images, len(prompts)), strict=True)):
        given = encoded_prompt(model, tokenizer, prompt, beside, name=f"prompt {number}")
        token_ids = given.token_ids
        if context is not None and len(token_ids) + n_new_tokens > context:
            raise PromptError(
                f"prompt {number} has {len(token_ids)} tokens, and with {n_new_tokens} new ones it exceeds the model's "
                f"context of {context}; shorten the prompt or lower max_new_tokens"
            )
        encoded.append(given)
    return encoded


def encoded_prompt(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    images: Sequence[Any] = (),
    *,
    name: str = "the prompt",
) -> EncodedPrompt:
    """A prompt and its token ids; where these are what is given, the text that they stand for."""
    if images:
        return _with_images(model, prompt, images, name)
    processor = processor_of(model)
    if processor is None or is_token_ids(prompt) or _template_of(processor) is None:
        token_ids = encode_prompt(tokenizer, prompt, name=name)
        if is_token_ids(prompt) and getattr(model.config, "image_token_id", None) in token_ids:
            raise PromptError(f"{name} holds token ids of an image, but no image; give text, and the image beside it")
        return EncodedPrompt(text_of_ids(tokenizer, token_ids) if is_token_ids(prompt) else prompt, token_ids)
    text = _rendered(processor, in_parts(prompt, 0, name))
    return EncodedPrompt(prompt, list(tokenizer(text, add_special_tokens=needs_bos(tokenizer, text)).input_ids))


def _with_images(model: PreTrainedModel, prompt: Prompt, images: Sequence[Any], name: str) -> EncodedPrompt:
    """A prompt whose token ids its processor makes, with those that stand for images."""
    processor, seen = reader_of(model, name), [opened(one, name) for one in images]
    messages = in_parts(prompt, len(images), name)
    if _template_of(processor) is not None:
        text = _rendered(processor, messages)
    elif isinstance(prompt, str):
        text = processor.image_token * len(images) + prompt
    else:
        raise PromptError(f"{name} is a list of messages, but the processor has no chat template; give plain text")
    try:
        inputs = processed(model, [text], [seen])
    except ValueError as error:
        raise PromptError(f"the processor cannot read {name} and its images ({error})") from error
    digests, image_token = tuple(map(digest_of, seen)), getattr(model.config, "image_token_id", None)
    return EncodedPrompt(prompt, inputs["input_ids"][0].tolist(), text, tuple(images), digests, image_token)


def _template_of(processor: Any) -> str | None:
    return processor.chat_template or processor.tokenizer.chat_template


def _rendered(processor: Any, messages: list[dict[str, Any]]) -> str:
    """The text that the chat template makes of messages in parts.

    Those without an image are given as texts, as Llama 3.2 wants its system message, but to a template that has no
    place for a text.
    """
    settings = {"add_generation_prompt": True, "tokenize": False, "date_string": TEMPLATE_DATE.strftime("%d %b %Y")}
    render = functools.partial(
        processor.tokenizer.apply_chat_template, chat_template=_dated(str(_template_of(processor))), **settings
    )
    with contextlib.suppress(TemplateError):  # of one that takes no text
        if "snow" in render([{"role": "user", "content": "snow"}]):
            messages = [one if IMAGE in one["content"] else one | {"content": text_of(one)} for one in messages]
    return render(messages)


def text_of_ids(tokenizer: PreTrainedTokenizerBase, token_ids: TokenIds) -> str:
    """All of the text of a prompt, its special tokens included."""
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, *, name: str = "the prompt") -> list[int]:
    """Token ids of one prompt: through the chat template where the tokenizer has one, as plain text otherwise.

    Token ids remain what they are.
    """
    if is_token_ids(prompt):
        token_ids = [int(one) for one in prompt]
        if not all(0 <= token_id < len(tokenizer) for token_id in token_ids):
            raise PromptError(f"{name} holds token ids outside the tokenizer's vocabulary of {len(tokenizer)}")
        return token_ids
    messages = [{**message, "content": text_of(message)} for message in in_parts(prompt, 0, name)]
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


def template_digest(tokenizer: Tokenizer) -> str:
    """The start of the SHA-256 of the chat template; "" where there is none."""
    template = tokenizer.chat_template
    return "" if template is None else hashlib.sha256(str(template).encode()).hexdigest()[:16]
