"""Prompts to Traces: `generate` lets the model write. Step t is the forward pass whose logits chose token t.

The loop, the caches and the stopping are transformers' own; choosing the token is ours, so that an item draws the same
random numbers alone and in a batch.
"""

import contextlib
import hashlib
import json
import math
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from attnent.attention.capture import Watch, stats_of_pass, watching
from attnent.attention.columns import Columns
from attnent.attention.deferral import Deferred
from attnent.attention.layers import indices
from attnent.attention.ranks import ranks_of
from attnent.attention.tops import TopKeys, Tops, top_keys_of
from attnent.model.assembly import TokenStats, assemble, ending, eos_ids, of_item, token_stats_
from attnent.model.batches import Work, by_kind, in_batches, inputs_of, pad_id
from attnent.model.compiling import in_one_graph, with_static_cache
from attnent.model.images import Tokenizer, pictures, tokenizer_of
from attnent.model.placing import device_of
from attnent.model.prompts import EncodedPrompt, Prompt, encode_prompts, encoded_prompt
from attnent.model.spelling import spell

SMALLEST_TEMPERATURE = 1e-3  # scores divided by less would leave the range of half precision


def generate(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    *,
    images: Any = None,
    max_new_tokens: int = 256,
    batch_size: int = 8,
    temperature: float = 0.0,
    seed: int | Sequence[int] = 0,
    columns: bool = False,
    top_keys: int | TopKeys = 0,
    compiled: bool = False,
    progress: bool = True,
) -> list[xr.Dataset]:
    """One Trace for each prompt, in order.

    `images` has an entry a prompt: None, an image (PIL, or the path of one), or a list of them. A prompt of text has
    them before it; messages have a part {"type": "image"} for each. The model's processor reads them, which
    `load_model` found beside it, or which is given in place of the tokenizer. `temperature` 0 is greedy. With an
    integer `seed` an item's random numbers depend on the seed, on its prompt and images and on how often these came
    before in the list, never on the batch; a sequence gives each item its own seed. Alone and in a batch the numbers
    agree to float32 rounding (1e-4; matrix products add up in another order). With `columns` a Trace also has what each
    key receives (KEY_MEASURES of trace.py), and with `top_keys` the keys of largest weight of each row: so many of all
    layers and heads, or as TopKeys says. `compiled` decodes by torch.compile over a static cache: the same numbers to
    float32 rounding, after a wait for the compiler. Batches that do not fit a CUDA device are halved. Raises
    PromptError, CaptureError, ModelError for images without a processor, or ValueError for a setting out of range.
    """
    tokenizer = tokenizer_of(model, tokenizer)
    encoded = encode_prompts(model, tokenizer, prompts, images, n_new_tokens=max_new_tokens)
    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    settings |= {"columns": columns, "top_keys": top_keys, "compiled": compiled}
    work = writing(model, tokenizer, encoded, item_seeds(seed, [one.identity for one in encoded]), **settings)
    return in_batches(work, batch_size, doing="generating", progress=progress)


def attention_row(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: Prompt, *, layer: int, head: int, images: Any = None
) -> Float[np.ndarray, " key"]:
    """The weights of the query whose logits choose the first token of a response, by transformers' eager attention.

    `layer` and `head` count from 0. Where there is a learned sink, they add up to less than 1. `images` as one entry of
    those of `generate`: on a cross-attention layer the keys are all the tokens of all tiles, those that are padding
    among them. Raises PromptError for an empty prompt.
    """
    tokenizer = tokenizer_of(model, tokenizer)
    inputs = inputs_of(model, tokenizer, [encoded_prompt(model, tokenizer, prompt, pictures(images))])
    before = model.config._attn_implementation
    model.config._attn_implementation = "eager"  # the public setter leaves Falcon as it is
    try:
        with torch.inference_mode():
            weights = [one for one in model(**inputs, output_attentions=True).attentions if one is not None]
    finally:
        model.config._attn_implementation = before
    attending = sorted(indices(model))  # a hybrid has other layers, too
    place = attending.index(layer) if len(attending) == len(weights) else layer
    return ranks_of(model).joined(weights[place])[0, head, -1].double().cpu().numpy()


def item_seeds(seed: int | Sequence[int], prompts: Sequence[Any]) -> list[int]:
    """A seed for each prompt, named by a JSON value: as given, or from the seed, the prompt and how often it came."""
    if not isinstance(seed, int | np.integer):
        if np.ndim(seed) != 1 or len(seed) != len(prompts):
            raise ValueError(f"seed is {seed!r} for {len(prompts)} prompts; give one integer, or a list of as many")
        return [int(one) for one in seed]
    seen: Counter[str] = Counter()
    seeds = []
    for prompt in prompts:
        text = json.dumps(prompt)
        seeds.append(derive_seed(int(seed), text, seen[text]))
        seen[text] += 1
    return seeds


def derive_seed(*parts: Any) -> int:
    """A 63-bit seed that depends on all parts and on nothing else."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:8], "big") >> 1


def writing(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Sequence[EncodedPrompt],
    seeds: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float,
    columns: bool = False,
    top_keys: int | TopKeys = 0,
    compiled: bool = False,
) -> Work:
    """A response to each prompt with its own seed; a batch that does not fit the device's memory is halved."""
    check_settings(max_new_tokens, temperature)
    asked, n_tokens = top_keys_of(model, top_keys), [len(one.token_ids) for one in encoded]
    if compiled and (columns or asked):
        raise ValueError("compiled decoding keeps neither columns nor top keys; leave these out, or `compiled`")
    n_positions = max(n_tokens) + max_new_tokens if compiled else None

    def run(batch: Sequence[int]) -> Iterator[xr.Dataset]:
        items, own = [encoded[index] for index in batch], [seeds[index] for index in batch]
        return _run_batch(model, tokenizer, items, own, max_new_tokens, temperature, columns, asked, n_positions)

    return Work(n_tokens, lambda batch: by_kind(run, batch, encoded))


def check_settings(max_new_tokens: int, temperature: float) -> None:
    """Raise ValueError for a setting out of range."""
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, but must be at least 1")
    if temperature != 0 and not SMALLEST_TEMPERATURE <= temperature < math.inf:
        raise ValueError(
            f"temperature is {temperature}, but must be 0 (greedy) or a number from {SMALLEST_TEMPERATURE} on"
        )


def _run_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[EncodedPrompt],
    seeds: Sequence[int],
    max_new_tokens: int,
    temperature: float,
    columns: bool,
    top_keys: TopKeys | None,
    n_positions: int | None,
) -> Iterator[xr.Dataset]:
    ends = eos_ids(model, tokenizer)
    inputs = inputs_of(model, tokenizer, items)
    received = Columns(inputs["attention_mask"].bool(), n_new=max_new_tokens, ends=sorted(ends)) if columns else None
    tops = Tops(top_keys) if top_keys else None
    none_yet = torch.zeros(1, dtype=torch.long, device=device_of(model))
    deferred = Deferred(received, tops) if n_positions is None else None  # a graph keeps nothing for later
    watch = Watch(n_generated=none_yet, columns=received, tops=tops, deferred=deferred)
    chooser = Chooser(watch, seeds, max_new_tokens, temperature)
    written, attentions = write(model, tokenizer, inputs, watch, chooser, n_positions=n_positions)
    with torch.inference_mode():
        joined = [torch.cat(steps, dim=2).cpu() for steps in zip(*attentions, strict=True)]
        layers = stats_of_pass(model, joined, deferred)
    tokens = chooser.stats()
    sampling = sampling_of(max_new_tokens, temperature)
    for row, (item, seed) in enumerate(zip(items, seeds, strict=True)):
        token_ids = _until_end(written[row], ends)
        kept, n_keys = slice(len(token_ids)), len(item.token_ids) + len(token_ids) - 1
        spelling = spell(tokenizer, token_ids)
        yield assemble(
            model,
            item,
            token_ids,
            spelling,
            {layer: of_item(stats, row, kept) for layer, stats in layers.items()},
            TokenStats(*(values[row, kept] for values in tokens)),
            sampling,
            finish_reason=ending(model, tokenizer, token_ids),
            seed=seed,
            columns=received.of_item(row, n_keys) if received else None,
            tops=tops.of_item(row, spell(tokenizer, item.token_ids).token, spelling.token) if tops else None,
        )


def sampling_of(max_new_tokens: int, temperature: float) -> dict[str, Any]:
    """How tokens are chosen, as a Trace says it."""
    method = "greedy" if temperature == 0 else "multinomial"
    return {"method": method, "temperature": temperature, "max_new_tokens": max_new_tokens}


def write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    inputs: dict[str, Tensor],
    watch: Watch,
    chooser: "Chooser",
    stopping: Sequence[StoppingCriteria] = (),
    n_positions: int | None = None,
) -> tuple[list[list[int]], Sequence[Any]]:
    """transformers' own loop: the ids written to each prompt, and the `attentions` of every pass.

    With `n_positions` it is compiled, over a cache of that length.
    """
    config = GenerationConfig(
        max_new_tokens=chooser.max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(eos_ids(model, tokenizer)) or None,
        pad_token_id=pad_id(tokenizer),
        return_dict_in_generate=True,
        output_attentions=True,
        **({} if n_positions is None else with_static_cache(n_positions)),
    )
    whole = contextlib.nullcontext() if n_positions is None else in_one_graph(model)
    with watching(model, watch), _no_defaults(model), whole, torch.inference_mode():
        writer: Any = model  # `generate` comes from a mixin that PreTrainedModel does not declare
        outputs = writer.generate(
            **inputs,
            generation_config=config,
            logits_processor=LogitsProcessorList([chooser]),
            stopping_criteria=StoppingCriteriaList(stopping),
        )
    return outputs.sequences[:, inputs["input_ids"].shape[1] :].tolist(), outputs.attentions


class Chooser(LogitsProcessor):
    """Chooses each item's next token with its own random numbers, and measures the distribution it came from."""

    def __init__(self, watch: Watch, seeds: Sequence[int], max_new_tokens: int, temperature: float) -> None:
        self.max_new_tokens = max_new_tokens
        self._watch = watch
        self._temperature = temperature
        self._steps: list[TokenStats] = []
        self._uniform = torch.stack(
            [torch.rand(max_new_tokens, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        )

    def __call__(
        self, input_ids: Int[Tensor, "batch position"], scores: Float[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token"]:
        chosen = scores.argmax(dim=-1) if self._temperature == 0 else self._draw(scores / self._temperature)
        chosen = self._watch.ranks.agreed(chosen)
        self._steps.append(token_stats_(scores, chosen))
        self._watch.n_generated = self._watch.n_generated + 1  # not in place: steps that wait keep theirs
        if self._watch.columns is not None:
            self._watch.columns.follow(chosen)
        return scores.fill_(-torch.inf).scatter_(1, chosen.unsqueeze(1), 0.0)

    def _draw(self, scores: Float[Tensor, "batch token"]) -> Int[Tensor, " batch"]:
        """Inverse transform sampling: one uniform number a step and item."""
        cumulative = scores.softmax(dim=-1).cumsum(dim=-1)
        total = cumulative[:, -1]
        threshold = self._uniform[:, len(self._steps)].to(scores.device) * total
        below_total = torch.minimum(threshold, torch.nextafter(total, torch.zeros_like(total)))
        return torch.searchsorted(cumulative, below_total.unsqueeze(1), right=True).squeeze(1)

    def stats(self, first: int = 0) -> TokenStats:
        """The steps so far from `first` on, (batch, step) and (batch, step, rank), on the CPU."""
        return TokenStats(*(torch.stack(steps, dim=1).cpu() for steps in zip(*self._steps[first:], strict=True)))


@contextmanager
def _no_defaults(model: PreTrainedModel) -> Generator[None]:
    """Without the checkpoint's own generation settings, whose penalties and warpers would be added to ours."""
    before = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = before


def _until_end(token_ids: list[int], eos_ids: set[int]) -> list[int]:
    ends = [step for step, token_id in enumerate(token_ids) if token_id in eos_ids]
    return token_ids[: ends[0] + 1] if ends else token_ids
