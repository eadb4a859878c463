"""Prompts of unlike length side by side: which go together, how they are padded, and halves where memory ends."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from attnent.attention.ranks import are_several, is_first
from attnent.model.images import digest_of, opened, processed
from attnent.model.loading import ModelError
from attnent.model.placing import device_of
from attnent.model.prompts import EncodedPrompt, PromptError
from attnent.progress import Progress

_Item = TypeVar("_Item")
_MISSING = re.compile(r"not implemented for '(Half|BFloat16)'")


class Work(NamedTuple):
    """What is to be made into traces, by index."""

    n_tokens: list[int]  # of each item, for like lengths to go together
    traces_of: Callable[[list[int]], list[xr.Dataset]]  # the items of one batch


def plan_batches(n_tokens: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indices of items with so many tokens in batches of like length; the same items always give the same plan."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, but must be at least 1")
    order = sorted(range(len(n_tokens)), key=n_tokens.__getitem__)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def in_batches(work: Work, batch_size: int, *, doing: str, progress: bool) -> list[xr.Dataset]:
    """The traces of all items, in their order."""
    found: dict[int, xr.Dataset] = {}
    with Progress(len(work.n_tokens), doing, shown=progress and is_first()) as bar:
        for batch in plan_batches(work.n_tokens, batch_size):
            traces = work.traces_of(batch)
            found |= zip(batch, traces, strict=True)
            bar.advance(len(batch), n_tokens=sum(trace.sizes["step"] for trace in traces))
    return [found[index] for index in range(len(found))]


def in_memory(run: Callable[[Sequence[_Item]], Iterator[xr.Dataset]], items: Sequence[_Item]) -> list[xr.Dataset]:
    """What `run` gives for the items, or for their halves one after the other where they do not fit the device.

    Processes that share a model cannot halve a batch each for itself: they must make the same passes.
    Raises ModelError where the device lacks an operation in the model's dtype.
    """
    try:
        return list(run(items))
    except torch.OutOfMemoryError as error:
        if len(items) == 1:
            raise torch.OutOfMemoryError(
                "one prompt alone does not fit the device's memory; lower max_new_tokens, shorten the prompt, or load "
                "the model in a smaller dtype or with device_map='auto' over more devices"
            ) from error
        if are_several():
            raise torch.OutOfMemoryError(
                f"{len(items)} prompts at once do not fit the memory of one of the devices that share the model; lower "
                "batch_size"
            ) from error
    except RuntimeError as error:
        if missing := _MISSING.search(str(error)):
            raise ModelError(
                f"this device cannot do all that the model does in {missing[1]}; load it with dtype='float32'"
            ) from error
        raise
    torch.cuda.empty_cache()
    half = len(items) // 2
    return in_memory(run, items[:half]) + in_memory(run, items[half:])


def by_kind(
    run: Callable[[Sequence[int]], Iterator[xr.Dataset]], batch: Sequence[int], items: Sequence[EncodedPrompt]
) -> list[xr.Dataset]:
    """`in_memory` for the items of a batch that have as many images, in the batch's order.

    In Mllama a row that stands before the images takes in all there are, those that fill up a batch among them.
    """
    found: dict[int, xr.Dataset] = {}
    for n_images in sorted({len(items[index].images) for index in batch}):
        some = [index for index in batch if len(items[index].images) == n_images]
        found |= zip(some, in_memory(run, some), strict=True)
    return [found[index] for index in batch]


def inputs_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: Sequence[EncodedPrompt]
) -> dict[str, Tensor]:
    """What the model is given of prompts with as many images each, padded on the left.

    Raises PromptError for an image that has changed since its prompt was encoded.
    """
    if not items[0].images:
        input_ids, attention_mask = left_padded(items, pad_id(tokenizer), device_of(model))
        return {"input_ids": input_ids, "attention_mask": attention_mask}
    seen = [[opened(one, "a prompt") for one in item.images] for item in items]
    for item, images in zip(items, seen, strict=True):
        if tuple(map(digest_of, images)) != item.digests:
            raise PromptError(f"an image of {item.prompt!r} has changed meanwhile; leave it alone, and start again")
    return processed(model, [item.text for item in items], seen)


def left_padded(
    items: Sequence[EncodedPrompt], pad_id: int, device: torch.device
) -> tuple[Int[Tensor, "batch position"], Int[Tensor, "batch position"]]:
    longest = max(len(item.token_ids) for item in items)
    padding = [longest - len(item.token_ids) for item in items]
    input_ids = [[pad_id] * pad + item.token_ids for pad, item in zip(padding, items, strict=True)]
    mask = [[0] * pad + [1] * (longest - pad) for pad in padding]
    return torch.tensor(input_ids, device=device), torch.tensor(mask, device=device)


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    return next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
