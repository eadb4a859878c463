"""Prompts to Traces: `generate` lets the model write, `replay` reads a given response in one forward pass.

Both measure the same rows: step t is the pass, or the row of the pass, whose logits chose token t. The loop, the
caches and the stopping are transformers' own; choosing the token is ours, so that an item draws the same random
numbers alone and in a batch.
"""

import functools
import hashlib
import json
import math
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, NamedTuple

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
)

from attnent.model.attention import LayerStats, Watch, stats_of_pass, watching
from attnent.model.entropy import stats_of_moments, weights_and_moments_
from attnent.model.loading import name_of, revision_of
from attnent.model.prompts import EncodedPrompt, Prompt, PromptError, context_length, encode_prompt, encode_prompts
from attnent.model.spelling import spell
from attnent.progress import Progress
from attnent.trace import MEASURES, SCHEMA_VERSION, make_trace

N_CANDIDATES = 5
ROWS_OF_LOGITS_AT_ONCE = 64
SMALLEST_TEMPERATURE = 1e-3  # scores divided by less would leave the range of half precision


class TokenStats(NamedTuple):
    """What the next-token distribution said at each step, before temperature."""

    token_entropy: Float[Tensor, "*item"]  # nat
    token_varentropy: Float[Tensor, "*item"]  # nat^2
    logprob: Float[Tensor, "*item"]  # nat, of the chosen token
    candidate_id: Int[Tensor, "*item rank"]
    candidate_probability: Float[Tensor, "*item rank"]


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int = 256,
    batch_size: int = 8,
    temperature: float = 0.0,
    seed: int | Sequence[int] = 0,
    progress: bool = True,
) -> list[xr.Dataset]:
    """One Trace for each prompt, in order.

    `temperature` 0 is greedy. With an integer `seed` an item's random numbers depend on the seed, on its prompt and on
    how often that prompt came before in the list, never on the batch; a sequence gives each item its own seed. Alone
    and in a batch the numbers agree to float32 rounding (1e-4; matrix products add up in another order). Batches that
    do not fit a CUDA device are halved. Raises PromptError, CaptureError, or ValueError for a setting out of range.
    """
    encoded = encode_prompts(model, tokenizer, prompts, n_new_tokens=max_new_tokens)
    seeds = item_seeds(seed, prompts)
    traces: dict[int, xr.Dataset] = {}
    run = functools.partial(generate_batch, model, tokenizer, max_new_tokens=max_new_tokens, temperature=temperature)
    with Progress(len(encoded), "generating", shown=progress) as bar:
        for batch in plan_batches(encoded, batch_size):
            items, own_seeds = [encoded[index] for index in batch], [seeds[index] for index in batch]
            for index, trace in zip(batch, run(items, own_seeds), strict=True):
                traces[index] = trace
                bar.advance(1, n_tokens=trace.sizes["step"])
    return [traces[index] for index in range(len(encoded))]


def replay(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    response: str | Sequence[int] | Int[np.ndarray, " step"],
) -> xr.Dataset:
    """The Trace of a given response, teacher-forced in one forward pass; its text may come from any engine.

    Token ids give the numbers that `generate` would have recorded (float32: 1e-4). Text is tokenised without special
    tokens, so its ids, and its end-of-text step, may differ from those the model would have written. Raises PromptError
    for an empty prompt or response, or where both exceed the context.
    """
    prompt_ids = encode_prompt(tokenizer, prompt)
    if isinstance(response, str):
        response_ids = list(tokenizer(response, add_special_tokens=False).input_ids)
    else:
        response_ids = [int(token_id) for token_id in response]
    context = context_length(model)
    if not response_ids:
        raise PromptError("the response to replay is empty; give some text or token ids")
    if not all(0 <= token_id < _n_vocabulary(model) for token_id in response_ids):
        raise PromptError(f"the response holds token ids outside the model's vocabulary of {_n_vocabulary(model)}")
    if context is not None and len(prompt_ids) + len(response_ids) > context:
        raise PromptError(
            f"prompt and response have {len(prompt_ids)} + {len(response_ids)} tokens, more than the model's context "
            f"of {context}; shorten one of them"
        )
    n_steps = len(response_ids)
    input_ids = torch.tensor([prompt_ids + response_ids[:-1]], device=model.device)
    watch = Watch(n_rows=n_steps, n_generated=torch.arange(n_steps))
    with watching(model, watch), torch.inference_mode():
        outputs = model(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            use_cache=False,
            output_attentions=True,
            return_dict=True,
            logits_to_keep=n_steps,
        )
        chosen = torch.tensor(response_ids, device=outputs.logits.device)
        blocks = [
            token_stats_(logits.float(), ids)
            for logits, ids in zip(
                outputs.logits[0, -n_steps:].split(ROWS_OF_LOGITS_AT_ONCE),
                chosen.split(ROWS_OF_LOGITS_AT_ONCE),
                strict=True,
            )
        ]
        tokens = TokenStats(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))
        layers = {layer: _item(stats, 0) for layer, stats in stats_of_pass(model, outputs.attentions).items()}
    sampling = {"method": "replay"}
    return _assemble(
        model, tokenizer, EncodedPrompt(prompt, prompt_ids), response_ids, layers, tokens, sampling, seed=0
    )


def attention_row(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, *, layer: int, head: int
) -> Float[np.ndarray, " key"]:
    """The weights of the query whose logits choose the first token of a response, by transformers' eager attention.

    `layer` and `head` count from 0. Raises PromptError for an empty prompt.
    """
    ids = torch.tensor([encode_prompt(tokenizer, prompt)], device=model.device)
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            weights = model(ids, attention_mask=torch.ones_like(ids), output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)
    return weights[layer][0, head, -1].double().cpu().numpy()


def plan_batches(encoded: Sequence[EncodedPrompt], batch_size: int) -> list[list[int]]:
    """Indices of the prompts in batches of like length; the same prompts always give the same plan."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, but must be at least 1")
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index].token_ids))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def item_seeds(seed: int | Sequence[int], prompts: Sequence[Prompt]) -> list[int]:
    """A seed for each prompt: as given, or from the seed, the prompt and the number of its earlier occurrences."""
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


def generate_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[EncodedPrompt],
    seeds: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float,
) -> list[xr.Dataset]:
    """Traces of one batch, or of its halves where it does not fit the device's memory."""
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, but must be at least 1")
    if temperature != 0 and not SMALLEST_TEMPERATURE <= temperature < math.inf:
        raise ValueError(
            f"temperature is {temperature}, but must be 0 (greedy) or a number from {SMALLEST_TEMPERATURE} on"
        )
    try:
        return list(_run_batch(model, tokenizer, items, seeds, max_new_tokens, temperature))
    except torch.OutOfMemoryError as error:
        if len(items) == 1:
            raise torch.OutOfMemoryError(
                "one prompt alone does not fit the device's memory; lower max_new_tokens, shorten the prompt, or load "
                "the model in a smaller dtype or with device_map='auto' over more devices"
            ) from error
    torch.cuda.empty_cache()
    again = functools.partial(generate_batch, model, tokenizer, max_new_tokens=max_new_tokens, temperature=temperature)
    half = len(items) // 2
    return again(items[:half], seeds[:half]) + again(items[half:], seeds[half:])


def _run_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[EncodedPrompt],
    seeds: Sequence[int],
    max_new_tokens: int,
    temperature: float,
) -> Iterator[xr.Dataset]:
    input_ids, attention_mask = _left_padded(items, _pad_id(tokenizer), model.device)
    watch = Watch(n_generated=torch.zeros(1, dtype=torch.long, device=model.device))
    chooser = _Chooser(watch, seeds, max_new_tokens, temperature)
    eos_ids = _eos_ids(model, tokenizer)
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(eos_ids) or None,
        pad_token_id=_pad_id(tokenizer),
        return_dict_in_generate=True,
        output_attentions=True,
    )
    with watching(model, watch), _no_defaults(model), torch.inference_mode():
        writer: Any = model  # `generate` comes from a mixin that PreTrainedModel does not declare
        outputs = writer.generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            generation_config=config,
            logits_processor=LogitsProcessorList([chooser]),
        )
        joined = [torch.cat(steps, dim=2).cpu() for steps in zip(*outputs.attentions, strict=True)]
    layers = stats_of_pass(model, joined)
    tokens = chooser.stats()
    written = outputs.sequences[:, input_ids.shape[1] :].tolist()
    method = "greedy" if temperature == 0 else "multinomial"
    sampling = {"method": method, "temperature": temperature, "max_new_tokens": max_new_tokens}
    for row, (item, seed) in enumerate(zip(items, seeds, strict=True)):
        token_ids = _until_end(written[row], eos_ids)
        kept = slice(len(token_ids))
        yield _assemble(
            model,
            tokenizer,
            item,
            token_ids,
            {layer: _item(stats, row, kept) for layer, stats in layers.items()},
            TokenStats(*(values[row, kept] for values in tokens)),
            sampling,
            seed=seed,
        )


class _Chooser(LogitsProcessor):
    """Chooses each item's next token with its own random numbers, and measures the distribution it came from."""

    def __init__(self, watch: Watch, seeds: Sequence[int], max_new_tokens: int, temperature: float) -> None:
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
        self._steps.append(token_stats_(scores, chosen))
        self._watch.n_generated += 1
        return scores.fill_(-torch.inf).scatter_(1, chosen.unsqueeze(1), 0.0)

    def _draw(self, scores: Float[Tensor, "batch token"]) -> Int[Tensor, " batch"]:
        """Inverse transform sampling: one uniform number a step and item."""
        cumulative = scores.softmax(dim=-1).cumsum(dim=-1)
        total = cumulative[:, -1]
        threshold = self._uniform[:, len(self._steps)].to(scores.device) * total
        below_total = torch.minimum(threshold, torch.nextafter(total, torch.zeros_like(total)))
        return torch.searchsorted(cumulative, below_total.unsqueeze(1), right=True).squeeze(1)

    def stats(self) -> TokenStats:
        """All steps so far, (batch, step) and (batch, step, rank), on the CPU."""
        return TokenStats(*(torch.stack(steps, dim=1).cpu() for steps in zip(*self._steps, strict=True)))


def token_stats_(logits: Float[Tensor, "*item token"], chosen: Int[Tensor, "*item"]) -> TokenStats:
    """What the next-token distributions say, and of the chosen token; in place, so the logits (float32) are spent."""
    of_chosen = logits.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
    probabilities, found = weights_and_moments_(logits)
    stats = stats_of_moments(found)
    likeliest = probabilities.topk(min(N_CANDIDATES, probabilities.shape[-1]), dim=-1)
    return TokenStats(
        stats.entropy, stats.varentropy, of_chosen - found.peak - found.log_z, likeliest.indices, likeliest.values
    )


def _left_padded(
    items: Sequence[EncodedPrompt], pad_id: int, device: torch.device
) -> tuple[Int[Tensor, "batch position"], Int[Tensor, "batch position"]]:
    longest = max(len(item.token_ids) for item in items)
    padding = [longest - len(item.token_ids) for item in items]
    input_ids = [[pad_id] * pad + item.token_ids for pad, item in zip(padding, items, strict=True)]
    mask = [[0] * pad + [1] * (longest - pad) for pad in padding]
    return torch.tensor(input_ids, device=device), torch.tensor(mask, device=device)


@contextmanager
def _no_defaults(model: PreTrainedModel) -> Generator[None]:
    """Without the checkpoint's own generation settings, whose penalties and warpers would be added to ours."""
    before = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = before


def _eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return {token_id for token_id in (*ids, tokenizer.eos_token_id) if token_id is not None}


def _pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    return next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)


def _until_end(token_ids: list[int], eos_ids: set[int]) -> list[int]:
    ends = [step for step, token_id in enumerate(token_ids) if token_id in eos_ids]
    return token_ids[: ends[0] + 1] if ends else token_ids


def _n_vocabulary(model: PreTrainedModel) -> int:
    embeddings: Any = model.get_input_embeddings()
    return embeddings.num_embeddings


def _item(stats: LayerStats, row: int, steps: slice = slice(None)) -> LayerStats:
    """One item of a batch: each measure (head, step)."""
    return LayerStats(*(values[row, :, steps] for values in stats[:-1]), stats.kind)


def _assemble(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    item: EncodedPrompt,
    token_ids: list[int],
    layers: dict[int, LayerStats],
    tokens: TokenStats,
    sampling: dict[str, Any],
    *,
    seed: int,
) -> xr.Dataset:
    ordered = dict(sorted(layers.items()))
    spelling = spell(tokenizer, token_ids)
    ended = token_ids[-1] in _eos_ids(model, tokenizer)
    return make_trace(
        {name: _stack_layers([getattr(stats, name) for stats in ordered.values()]) for name in MEASURES},
        layer=list(ordered),
        layer_kind=[stats.kind for stats in ordered.values()],
        n_keys=np.stack([stats.n_keys[0].cpu().numpy() for stats in ordered.values()]),
        token=spelling.token,
        steps={
            "token_id": np.asarray(token_ids, np.int32),
            "char_start": np.asarray(spelling.char_start, np.int32),
            "char_end": np.asarray(spelling.char_end, np.int32),
            **{name: _numpy(values) for name, values in tokens._asdict().items()},
        },
        attrs={
            "schema_version": SCHEMA_VERSION,
            "prompt": item.prompt if isinstance(item.prompt, str) else json.dumps(list(item.prompt)),
            "response": spelling.text,
            "finish_reason": "eos" if ended else "length",
            "n_prompt": len(item.token_ids),
            "model": name_of(model),
            "revision": revision_of(model),
            "dtype": str(model.dtype).removeprefix("torch."),
            "seed": seed,
            "sampling": json.dumps(sampling),
            "versions": _versions(),
        },
    )


@functools.cache
def _versions() -> str:
    return json.dumps({name: version(name) for name in ("attnent", "torch", "transformers")})


def _stack_layers(layers: list[Float[Tensor, "_ step"]]) -> np.ndarray:
    """(layer, head, step); layers with fewer heads are filled up with NaN."""
    n_heads = max(len(values) for values in layers)
    filled = [
        torch.nn.functional.pad(values.float().cpu(), (0, 0, 0, n_heads - len(values)), value=torch.nan)
        for values in layers
    ]
    return torch.stack(filled).numpy()


def _numpy(values: Tensor) -> np.ndarray:
    """float32 numbers or int32 ids, on the CPU."""
    return values.to(torch.float32 if values.is_floating_point() else torch.int32).cpu().numpy()
