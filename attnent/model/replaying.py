"""Given responses to Traces: `replay` reads what was written, by whatever engine, one forward pass a batch.

It measures the rows that `generate` measures: step t is the row whose logits chose token t.
"""

import contextlib
import inspect
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from attnent.attention.capture import Watch, stats_of_pass, watching
from attnent.attention.columns import Columns
from attnent.attention.layers import context_length
from attnent.attention.tops import TopKeys, Tops, top_keys_of
from attnent.model.assembly import TokenStats, assemble, ending, of_item, token_stats_
from attnent.model.batches import Work, by_kind, in_batches, inputs_of, pad_id
from attnent.model.images import Tokenizer, digest_of, of_each, opened, pictures, tokenizer_of
from attnent.model.messages import Prompt, PromptError, TokenIds, is_token_ids
from attnent.model.placing import device_of
from attnent.model.prompts import EncodedPrompt, encoded_prompt
from attnent.model.spelling import spell

ROWS_OF_LOGITS_AT_ONCE = 64

Response = str | TokenIds


class _Given(NamedTuple):
    """A response to be read, and the prompt that it is read under."""

    prompt: EncodedPrompt
    token_ids: list[int]
    finish_reason: str  # "given" of a text, which no limit has cut


@overload
def replay(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompt: Prompt,
    response: Response,
    *,
    images: Any = None,
    columns: bool = False,
    top_keys: int | TopKeys = 0,
) -> xr.Dataset: ...


@overload
def replay(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompt: Sequence[Prompt],
    response: Sequence[Response],
    *,
    images: Any = None,
    columns: bool = False,
    top_keys: int | TopKeys = 0,
    batch_size: int = 8,
    progress: bool = True,
) -> list[xr.Dataset]: ...


def replay(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompt: Any,
    response: Any,
    *,
    images: Any = None,
    columns: bool = False,
    top_keys: int | TopKeys = 0,
    batch_size: int = 8,
    progress: bool = True,
) -> xr.Dataset | list[xr.Dataset]:
    """The Trace of a given response, teacher-forced in one forward pass; its text may come from any engine.

    Lists of as many prompts and responses give a list of Traces in order, `batch_size` of like length in a pass; alone
    and in a batch the numbers agree to float32 rounding (1e-4). Token ids give the numbers that `generate` would have
    recorded (float32: 1e-4); a prompt of token ids is what the model was given, its template included. Text is
    tokenised without special tokens, so its ids, and its end-of-text step, may differ from those the model would have
    written; its finish_reason is "given". `images` are those of the prompt, of a list an entry each; they, `columns`
    and `top_keys` as in `generate`. Batches that do not fit a CUDA device are halved. Raises PromptError for an empty
    prompt or response, or where both exceed the context, and ValueError for top keys that the model does not have.
    """
    tokenizer = tokenizer_of(model, tokenizer)
    if isinstance(response, str) or not any(isinstance(part, str) or np.ndim(part) for part in response):
        one = [prompt], [response], [images]
        return reading(model, tokenizer, *one, columns=columns, top_keys=top_keys).traces_of([0])[0]
    beside = of_each(images, len(prompt))
    work = reading(model, tokenizer, prompt, response, beside, columns=columns, top_keys=top_keys)
    return in_batches(work, batch_size, doing="reading", progress=progress)


def read_again(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    trace: xr.Dataset,
    *,
    images: Any = None,
    columns: bool = False,
    top_keys: int | TopKeys = 8,
) -> xr.Dataset:
    """A recorded response read again by the model that wrote it, with its top keys or columns; see `replay`.

    The `images` of its prompt are given again. Raises PromptError where they are others than those recorded, or the
    model's prompt has another number of tokens.
    """
    tokenizer, seen = tokenizer_of(model, tokenizer), pictures(images)
    if [digest_of(opened(one, "the prompt")) for one in seen] != json.loads(trace.attrs.get("images", "[]")):
        raise PromptError("this response was written to a prompt with other images than those given; give its own")
    for prompt in _prompts(tokenizer, trace.attrs["prompt"]):
        if seen and is_token_ids(prompt):
            continue
        if len(encoded_prompt(model, tokenizer, prompt, seen).token_ids) == trace.attrs["n_prompt"]:
            ids = trace["token_id"].values
            return replay(model, tokenizer, prompt, ids, images=seen, columns=columns, top_keys=top_keys)
    raise PromptError(
        f"this model makes another prompt of what {trace.attrs['model']} was given; read with the model that wrote it"
    )


def _prompts(tokenizer: PreTrainedTokenizerBase, recorded: str) -> Iterator[Prompt]:
    """What a recorded prompt may have been: a text, the messages that a text in JSON holds, or token ids."""
    yield recorded
    with contextlib.suppress(ValueError):
        messages = json.loads(recorded)
        if isinstance(messages, list) and not is_token_ids(messages):
            yield messages
    yield list(tokenizer(recorded, add_special_tokens=False).input_ids)


def reading(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    responses: Sequence[Response],
    images: Any = None,
    *,
    columns: bool = False,
    top_keys: int | TopKeys = 0,
) -> Work:
    """Each given response under its prompt; a batch that does not fit the device's memory is halved.

    All are checked before any is read. Raises PromptError, ValueError.
    """
    asked = top_keys_of(model, top_keys)
    given = _encoded(model, tokenizer, prompts, responses, images)

    def run(batch: Sequence[int]) -> Iterator[xr.Dataset]:
        return _read_batch(model, tokenizer, [given[index] for index in batch], columns, asked)

    n_tokens = [len(one.prompt.token_ids) + len(one.token_ids) for one in given]
    return Work(n_tokens, lambda batch: by_kind(run, batch, [one.prompt for one in given]))


def _encoded(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    responses: Sequence[Response],
    images: Any,
) -> list[_Given]:
    """Token ids of each prompt and of its response. Raises PromptError."""
    if isinstance(prompts, str) or len(prompts) != len(responses):
        raise PromptError(f"there are {len(responses)} responses to replay; give a list of as many prompts")
    context, n_vocabulary = context_length(model), _n_vocabulary(model)
    given = []
    beside = of_each(images, len(prompts))
    for number, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        one, other = ("the prompt", "the response") if len(prompts) == 1 else (f"prompt {number}", f"response {number}")
        asked = encoded_prompt(model, tokenizer, prompt, beside[number], name=one)
        prompt_ids = asked.token_ids
        if isinstance(response, str):
            token_ids = list(tokenizer(response, add_special_tokens=False).input_ids)
        else:
            token_ids = [int(token_id) for token_id in response]
        if not token_ids:
            raise PromptError(f"{other} to replay is empty; give some text or token ids")
        if not all(0 <= token_id < n_vocabulary for token_id in token_ids):
            raise PromptError(f"{other} holds token ids outside the model's vocabulary of {n_vocabulary}")
        if context is not None and len(prompt_ids) + len(token_ids) > context:
            raise PromptError(
                f"{one} and {other} have {len(prompt_ids)} + {len(token_ids)} tokens, more than the model's context "
                f"of {context}; shorten one of them"
            )
        reason = "given" if isinstance(response, str) else ending(model, tokenizer, token_ids)
        given.append(_Given(asked, token_ids, reason))
    return given


def _read_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    given: Sequence[_Given],
    columns: bool,
    top_keys: TopKeys | None,
) -> Iterator[xr.Dataset]:
    """All prompts end, and all responses begin, at one place: prompts are padded on the left, responses on the right.

    So step t is the same row of every item, and no token sees the padding that follows it.
    """
    n_steps = max(len(one.token_ids) for one in given)
    padded = [one.token_ids + [pad_id(tokenizer)] * (n_steps - len(one.token_ids)) for one in given]
    written = [[1] * len(one.token_ids) + [0] * (n_steps - len(one.token_ids)) for one in given]
    chosen, written_mask = torch.tensor(padded, device=device_of(model)), torch.tensor(written, device=device_of(model))
    inputs = inputs_of(model, tokenizer, [one.prompt for one in given])
    inputs = _with_responses(model, inputs, chosen[:, :-1], written_mask[:, 1:])
    mask = inputs["attention_mask"]
    received = Columns(mask.bool()) if columns else None
    tops = Tops(top_keys) if top_keys else None
    watch = Watch(n_rows=n_steps, n_generated=torch.arange(n_steps), columns=received, tops=tops)
    with watching(model, watch), torch.inference_mode():
        outputs = model(**inputs, use_cache=False, output_attentions=True, return_dict=True, logits_to_keep=n_steps)
        layers = stats_of_pass(model, outputs.attentions)
        for row, one in enumerate(given):
            kept, n_keys = slice(len(one.token_ids)), len(one.prompt.token_ids) + len(one.token_ids) - 1
            spelling = spell(tokenizer, one.token_ids)
            blocks = [
                token_stats_(logits.float(), ids)
                for logits, ids in zip(
                    outputs.logits[row, -n_steps:][kept].split(ROWS_OF_LOGITS_AT_ONCE),
                    chosen[row, kept].to(outputs.logits.device).split(ROWS_OF_LOGITS_AT_ONCE),
                    strict=True,
                )
            ]
            yield assemble(
                model,
                one.prompt,
                one.token_ids,
                spelling,
                {layer: of_item(stats, row, kept) for layer, stats in layers.items()},
                TokenStats(*(torch.cat(parts) for parts in zip(*blocks, strict=True))),
                {"method": "replay"},
                finish_reason=one.finish_reason,
                seed=0,
                columns=received.of_item(row, n_keys) if received else None,
                tops=tops.of_item(row, spell(tokenizer, one.prompt.token_ids).token, spelling.token) if tops else None,
            )


def _with_responses(
    model: PreTrainedModel, inputs: dict[str, Tensor], token_ids: Int[Tensor, "batch step"], mask: Tensor
) -> dict[str, Tensor]:
    """What the model is given of prompts, with tokens that follow: they see the images that the last prompt token sees.

    Whatever else a processor says of each token, it says 0 of text.
    """
    shape, given = inputs["input_ids"].shape, dict(inputs)
    follow = {"input_ids": token_ids, "attention_mask": mask}
    for name, values in inputs.items():
        if name == "cross_attention_mask":
            follow[name] = values[:, -1:].expand(-1, token_ids.shape[1], *values.shape[2:])
        elif values.shape[:2] == shape and name not in follow:
            follow[name] = values.new_zeros(len(values), token_ids.shape[1], *values.shape[2:])
    given |= {name: torch.cat([inputs[name], after], dim=1) for name, after in follow.items()}
    finds_places = len(inputs) > 2 and any(hasattr(module, "get_rope_index") for module in model.modules())
    if "position_ids" in inspect.signature(model.forward).parameters and not finds_places:
        given["position_ids"] = (given["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return given


def _n_vocabulary(model: PreTrainedModel) -> int:
    embeddings: Any = model.get_input_embeddings()
    return embeddings.num_embeddings
