"""What capture costs: `python benchmarks/capture.py` prints a table of time and memory, and of the targets.

Five cases. `decode`: forward passes of one token after a prompt. `prompt`: a prompt pass whose every row is measured.
`memory`: peak of a prompt pass. `replay`: reading a response against writing it. `study`: responses a second into a Run
folder. Three methods, all given the same tokens:

- plain: sdpa attention, nothing recorded
- capture: what `attnent.generate` does at each step, measures of attention and of the next-token distribution
- original: eager attention with `output_attentions=True`, every matrix kept, then a Python loop over heads

Methods take turns within a round (A B C, A B C, ...). Times are CPU seconds of the process, which other work on the
machine disturbs less than wall seconds; both are kept. A ratio is taken within a round; the table gives the median over
rounds and, in brackets, the smallest and the largest.
"""

import argparse
import gc
import json
import multiprocessing
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

import attnent as ae
from attnent.attention.capture import Watch, stats_of_pass, watching
from attnent.attention.deferral import Deferred
from attnent.model.assembly import token_stats_
from attnent.model.loading import BUNDLED
from attnent.model.prompts import encode_prompt
from attnent.tiny.world import creative_prompts, factual_prompts

SHAPED = "1B shape"
Model = tuple[PreTrainedModel, Any]  # with its tokenizer
Passes = Iterable[dict[str, Any]]  # the keyword arguments of one forward pass after another
Method = Callable[[PreTrainedModel, Passes], Any]


@dataclass(frozen=True)
class Sizes:
    """How much to measure."""

    n_rounds: int = 4
    n_layers: int = 16  # of the 1B shape; Llama 3.2 1B has 16
    vocabulary: int = 128_256  # of the 1B shape, uncut
    decode_part: int = 8  # the 1B shape decodes with this part of its layers and of its vocabulary, in like shares
    decode_prompts: tuple[int, ...] = (64, 512, 2_048, 8_192)  # tokens
    decode_batches: tuple[tuple[int, bool], ...] = ((1, False), (8, False), (8, True))  # size, and whether padded
    n_steps: int = 32  # timed decoding steps in a round
    n_original_steps: int = 2  # of these the original's method makes so many
    rows_prompts: tuple[int, ...] = (512, 2_048)  # tokens, all of whose rows are measured
    memory_prompt: int = 2_048  # tokens
    memory_rounds: tuple[tuple[str, int], ...] = ((SHAPED, 1), (BUNDLED, 3))  # model, and how often
    replays: tuple[tuple[int, int], ...] = ((128, 128), (512, 64))  # tokens of prompt and response
    n_replay_rounds: int = 2
    n_responses: int = 128  # half factual, half creative
    max_new_tokens: int = 96
    study_batch: int = 64
    n_study_rounds: int = 3


QUICK = Sizes(
    n_rounds=2,
    decode_prompts=(64, 2_048),
    rows_prompts=(512,),
    memory_rounds=((BUNDLED, 1),),
    replays=((64, 32),),
    n_replay_rounds=1,
    n_responses=32,
    n_study_rounds=1,
)


class Target(NamedTuple):
    """A promise and what was measured."""

    claim: str
    measured: float
    limit: float
    at_least: bool

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


# ------------------------------------------------------------------------------------------------------------- methods


def plain(model: PreTrainedModel, passes: Passes) -> None:
    """sdpa attention; of each pass only the likeliest next token is looked for."""
    with torch.inference_mode():
        for inputs in passes:
            model(**inputs).logits[:, -1].float().argmax(dim=-1)


def capture(model: PreTrainedModel, passes: Passes) -> Any:
    """As `attnent.generate` records: the measures of the last row of each pass and of its next-token distribution."""
    watch = Watch(n_generated=torch.zeros(1, dtype=torch.long), deferred=Deferred())
    attentions, tokens = [], []
    with watching(model, watch), torch.inference_mode():
        for inputs in passes:
            outputs = model(**inputs, output_attentions=True)
            logits = outputs.logits[:, -1].float()
            tokens.append(token_stats_(logits, logits.argmax(dim=-1)))
            attentions.append(outputs.attentions)
            watch.n_generated = watch.n_generated + 1
    with torch.inference_mode():
        joined = [torch.cat(steps, dim=2) for steps in zip(*attentions, strict=True)]
        layers = stats_of_pass(model, joined, watch.deferred)
    return layers, [torch.stack(steps, dim=1) for steps in zip(*tokens, strict=True)]


def all_rows(model: PreTrainedModel, passes: Passes) -> Any:
    """The measures of every row of each pass."""
    with ae.capture(model, prompt_rows=True) as recording:
        plain(model, passes)
    return recording.passes


def eager(model: PreTrainedModel, passes: Passes) -> list[tuple[Tensor, ...]]:
    """Eager attention; keeps the weights of every pass, (batch, head, query, key) a layer."""
    model.set_attn_implementation("eager")
    attentions = []
    try:
        with torch.inference_mode():
            for inputs in passes:
                outputs = model(**inputs, output_attentions=True)
                outputs.logits[:, -1].float().argmax(dim=-1)
                attentions.append(outputs.attentions)
    finally:
        model.set_attn_implementation("sdpa")
    return attentions


def original(model: PreTrainedModel, passes: Passes) -> list[tuple[float, float]]:
    """Eager attention, then the loop over heads of the method that came before."""
    return loop_over_heads(eager(model, passes))


def loop_over_heads(attentions: Iterable[tuple[Tensor, ...]]) -> list[tuple[float, float]]:
    """Mean and variance over query rows of each head's entropies, in nat and nat^2, one head at a time."""
    found = []
    for layers in attentions:
        for weights in layers:
            for head in weights.flatten(0, 1):
                entropies = -(head * (head + 1e-12).log()).sum(-1)
                mean = entropies.mean().item()
                found.append((mean, ((entropies - mean) ** 2).mean().item()))
    return found


# -------------------------------------------------------------------------------------------------------------- models


def load(name: str, sizes: Sizes) -> Model:
    """A model by the name in the table; all but the 1B shape as `attnent.load_model` knows it."""
    return shaped_like_1b(sizes) if name == SHAPED else ae.load_model(name, device_map=None)


def shaped_like_1b(sizes: Sizes) -> Model:
    """A random model with the shape of Llama 3.2 1B in bfloat16, and a tokenizer whose every token is a word."""
    config = LlamaConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=2_048,
        intermediate_size=8_192,
        num_hidden_layers=sizes.n_layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        max_position_embeddings=131_072,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.to_empty(device="cpu")
    model.tie_weights()
    model.model.rotary_emb = LlamaRotaryEmbedding(config)
    some = (0.02 * torch.randn(2**20 + 1, generator=torch.Generator().manual_seed(0))).bfloat16()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0)
            else:  # the same million numbers over and over, which is quick to write
                parameter.flatten().copy_(some.repeat(-(-parameter.numel() // len(some)))[: parameter.numel()])
    model.set_attn_implementation("sdpa")
    model.name_or_path = SHAPED
    words = Tokenizer(WordLevel({f"w{number}": number for number in range(sizes.vocabulary)}, "w0"))
    words.pre_tokenizer = WhitespaceSplit()
    return model.eval(), PreTrainedTokenizerFast(tokenizer_object=words)


def some_tokens(model: PreTrainedModel, *shape: int) -> Tensor:
    """Random token ids of the model's vocabulary, the same for the same shape."""
    return torch.randint(10, model.config.vocab_size, shape, generator=torch.Generator().manual_seed(0))


# -------------------------------------------------------------------------------------------------------------- timing


def take_turns(methods: dict[str, Callable[[], Any]], n_rounds: int, *, n_unkept: int = 1) -> pd.DataFrame:
    """CPU and wall seconds of each method in each round (columns method, round, cpu_s, wall_s).

    The first `n_unkept` rounds, which fill caches and import modules, are not kept.
    """
    rows = []
    for number in range(-n_unkept, n_rounds):
        gc.collect()
        for name, method in methods.items():
            wall, cpu = time.perf_counter(), time.process_time()
            method()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if number >= 0:
                rows.append({"method": name, "round": number, "cpu_s": cpu, "wall_s": wall})
    return pd.DataFrame(rows)


def ratios(times: pd.DataFrame, method: str, to: str, clock: str = "cpu_s") -> pd.Series:
    """The time of one method over that of another in each round."""
    seconds = times.set_index(["method", "round"])[clock]
    return seconds[method] / seconds[to]


def spread(values: pd.Series, pattern: str = "{:.2f}") -> str:
    """Median (smallest-largest)."""
    middle, low, high = (pattern.format(value) for value in (values.median(), values.min(), values.max()))
    return f"{middle} ({low}-{high})"


def report(start: float, text: str) -> None:
    print(f"[{time.monotonic() - start:4.0f} s] {text}", file=sys.stderr, flush=True)


# --------------------------------------------------------------------------------------------------------------- cases


def decoding_passes(cache: DynamicCache, tokens: Tensor, mask: Tensor, n_prompt: int) -> Iterator[dict[str, Any]]:
    """One pass a token of `tokens`, (batch, step), after a prompt that the cache holds; always from the same cache."""
    if cache.get_seq_length() > n_prompt:
        cache.crop(n_prompt - cache.get_seq_length())  # a negative number of tokens is taken away
    for step in range(tokens.shape[1]):
        yield {
            "input_ids": tokens[:, step : step + 1],
            "attention_mask": mask[:, : n_prompt + step + 1],
            "past_key_values": cache,
        }


def filled_cache(model: PreTrainedModel, batch: int, n_prompt: int) -> DynamicCache:
    """A cache as after a prompt, of random keys and values: what they hold costs no time, a prompt pass does."""
    config = model.config
    generator = torch.Generator().manual_seed(0)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache = DynamicCache(config=config)
    for layer in range(config.num_hidden_layers):
        one = torch.randn(1, config.num_key_value_heads, n_prompt, width, generator=generator).to(model.dtype)
        cache.update(one.repeat(batch, 1, 1, 1), one.repeat(batch, 1, 1, 1), layer)
    return cache


def time_decoding(model: PreTrainedModel, n_prompt: int, batch: int, padded: bool, sizes: Sizes) -> pd.DataFrame:
    """Seconds of a decoding step by each method. Padded: item i has i + 1 padding tokens on the left."""
    tokens = some_tokens(model, batch, sizes.n_steps)
    mask = torch.ones(batch, n_prompt + sizes.n_steps, dtype=torch.long)
    for item in range(batch if padded else 0):
        mask[item, : item + 1] = 0
    with torch.inference_mode():
        cache = filled_cache(model, batch, n_prompt)
    n_steps = {plain: sizes.n_steps, capture: sizes.n_steps, original: sizes.n_original_steps}
    times = take_turns(
        {
            method.__name__: lambda method=method, n=n: method(
                model, decoding_passes(cache, tokens[:, :n], mask, n_prompt)
            )
            for method, n in n_steps.items()
        },
        sizes.n_rounds,
    )
    made = times["method"].map({method.__name__: n for method, n in n_steps.items()})
    return times.assign(cpu_s=times["cpu_s"] / made, wall_s=times["wall_s"] / made)


def measure_decoding(name: str, sizes: Sizes, start: float) -> pd.DataFrame:
    """`time_decoding` at every size of batch and length of prompt that the model can read."""
    part = replace(
        sizes, n_layers=sizes.n_layers // sizes.decode_part, vocabulary=sizes.vocabulary // sizes.decode_part
    )
    model, _ = load(name, part)
    most = model.config.max_position_embeddings - sizes.n_steps
    frames = []
    for n_prompt in (n for n in sizes.decode_prompts if n <= most):
        for batch, padded in sizes.decode_batches:
            report(start, f"decoding: {name}, prompt {n_prompt}, batch {batch}{', padded' * padded}")
            times = time_decoding(model, n_prompt, batch, padded, sizes)
            kept = model.config.num_hidden_layers * batch * model.config.num_attention_heads * n_prompt**2
            frames.append(
                times.assign(
                    case="decode",
                    model=name,
                    prompt=n_prompt,
                    batch=f"{batch}{', padded' * padded}",
                    original_keeps_gib=kept * model.dtype.itemsize / 2**30,
                )
            )
    return pd.concat(frames)


def measure_prompt(sizes: Sizes, start: float) -> pd.DataFrame:
    """Seconds of a prompt pass, and of one whose every row is measured, with the part of the 1B shape that decodes."""
    part = replace(
        sizes, n_layers=sizes.n_layers // sizes.decode_part, vocabulary=sizes.vocabulary // sizes.decode_part
    )
    model, _ = load(SHAPED, part)
    frames = []
    for n_prompt in sizes.rows_prompts:
        report(start, f"all rows of a prompt: {SHAPED}, {n_prompt} tokens")
        ids = some_tokens(model, 1, n_prompt)
        passes = [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": True, "logits_to_keep": 1}]
        methods = {method.__name__: partial(method, model, passes) for method in (plain, all_rows)}
        frames.append(take_turns(methods, sizes.n_rounds).assign(case="prompt", model=SHAPED, prompt=n_prompt, batch=1))
    return pd.concat(frames)


def peak_extra_memory(name: str, method: Method, sizes: Sizes, n_threads: int) -> float:
    """MiB by which the memory of this process peaks in a prompt pass above what it holds with the model loaded."""
    torch.set_num_threads(n_threads)
    model, _ = load(name, sizes)
    for n_prompt in (8, sizes.memory_prompt):  # the first loads what is loaded once
        gc.collect()
        before = resident_mib()
        ids = some_tokens(model, 1, n_prompt)
        passes = [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": True, "logits_to_keep": 1}]
        result = method(model, passes)
    del result
    return resident_mib(peak=True) - before


def resident_mib(*, peak: bool = False) -> float:
    """Memory this process holds, or the most it ever held, in MiB."""
    status = Path("/proc/self/status")
    if not status.is_file():  # macOS counts the peak in bytes and tells no current value
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # getrusage would count the parent before exec as well.
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM" if peak else "VmRSS"))
    return int(line.split()[1]) / 2**10


def measure_memory(name: str, n_rounds: int, sizes: Sizes, n_threads: int, start: float) -> pd.DataFrame:
    """Peak extra memory of a prompt pass by each method, each in a process of its own."""
    rows = []
    for number in range(n_rounds):
        for method in (plain, capture, eager):
            report(start, f"memory: {name}, prompt {sizes.memory_prompt}, {method.__name__}")
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                peak = pool.submit(peak_extra_memory, name, method, sizes, n_threads).result()
            rows.append({"method": method.__name__, "round": number, "peak_mib": peak})
    return pd.DataFrame(rows).assign(case="memory", model=name, prompt=sizes.memory_prompt, batch=1)


def measure_replay(sizes: Sizes, start: float) -> pd.DataFrame:
    """Seconds to write a response, prompt pass included, and to replay it."""
    model, tokenizer = load(SHAPED, sizes)
    frames = []
    for n_prompt, n_response in sizes.replays:
        report(start, f"replay: {SHAPED}, {n_prompt} + {n_response} tokens")
        prompt = " ".join(f"w{number}" for number in some_tokens(model, n_prompt).tolist())
        [written] = ae.generate(model, tokenizer, [prompt], max_new_tokens=n_response, progress=False)
        assert (written.n_prompt, written.sizes["step"]) == (n_prompt, n_response)
        response = written.token_id.values.tolist()
        ae.replay(model, tokenizer, prompt, response)
        times = take_turns(
            {
                "generate": partial(ae.generate, model, tokenizer, [prompt], max_new_tokens=n_response, progress=False),
                "replay": partial(ae.replay, model, tokenizer, prompt, response),
            },
            sizes.n_replay_rounds,
            n_unkept=0,
        )
        frames.append(times.assign(case="replay", model=SHAPED, prompt=n_prompt, response=len(response), batch=1))
    return pd.concat(frames)


def study_with_attnent(model: PreTrainedModel, tokenizer: Any, examples: pd.DataFrame, sizes: Sizes) -> None:
    """A whole Run folder: responses in batches, traces, tables and manifest on disk."""
    with tempfile.TemporaryDirectory() as folder:
        ae.record(
            model,
            tokenizer,
            examples,
            task="benchmark",
            folder=Path(folder) / "run",
            max_new_tokens=sizes.max_new_tokens,
            batch_size=sizes.study_batch,
            progress=False,
        )


def study_as_before(model: PreTrainedModel, tokenizer: Any, examples: pd.DataFrame, sizes: Sizes) -> None:
    """The original's study: one prompt at a time, all attention kept, then the loop over heads; nothing on disk."""
    model.set_attn_implementation("eager")
    try:
        for prompt in examples["prompt"]:
            input_ids = torch.tensor([encode_prompt(tokenizer, prompt)])
            outputs = model.generate(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                max_new_tokens=sizes.max_new_tokens,
                do_sample=False,
                return_dict_in_generate=True,
                output_attentions=True,
            )
            tokenizer.decode(outputs.sequences[0], skip_special_tokens=True)
            loop_over_heads(outputs.attentions)
    finally:
        model.set_attn_implementation("sdpa")


def measure_study(name: str, sizes: Sizes, start: float) -> pd.DataFrame:
    """Seconds for a study of factual and creative prompts, recorded by attnent and by the original's method."""
    report(start, f"study: {name}, {sizes.n_responses} responses of at most {sizes.max_new_tokens} tokens")
    model, tokenizer = load(name, sizes)
    half = sizes.n_responses // 2
    prompts = [*factual_prompts(half), *creative_prompts(sizes.n_responses - half)]
    examples = pd.DataFrame({"id": [prompt.id for prompt in prompts], "prompt": [prompt.prompt for prompt in prompts]})
    times = take_turns(
        {
            "capture": partial(study_with_attnent, model, tokenizer, examples, sizes),
            "original": partial(study_as_before, model, tokenizer, examples, sizes),
        },
        sizes.n_study_rounds,
    )
    return times.assign(case="study", model=name, batch=sizes.study_batch, n_responses=sizes.n_responses)


# -------------------------------------------------------------------------------------------------------------- tables


def decoding_table(measured: pd.DataFrame) -> tuple[pd.DataFrame, list[Target]]:
    rows, targets = [], []
    for (name, n_prompt, batch), times in measured.groupby(["model", "prompt", "batch"], sort=False):
        seconds = times[times["method"] == "plain"]["cpu_s"]
        cost = ratios(times, "capture", "plain")
        rows.append(
            {
                "model": name,
                "prompt": n_prompt,
                "batch": batch,
                "plain, CPU ms a step": f"{1000 * seconds.median():.1f}",
                "capture / plain": spread(cost, "{:.3f}"),
                "wall": f"{ratios(times, 'capture', 'plain', 'wall_s').median():.2f}",
                "original / plain": spread(ratios(times, "original", "plain"), "{:.1f}"),
                "original keeps, GiB": f"{times['original_keeps_gib'].iloc[0]:.2g}",
            }
        )
        claim = f"decoding with capture over plain, {name}, {n_prompt:,} keys, batch {batch}"
        targets.append(Target(claim, cost.median(), 1.03 if name == SHAPED else 1.15, at_least=False))
    return pd.DataFrame(rows), targets


def prompt_table(measured: pd.DataFrame) -> tuple[pd.DataFrame, list[Target]]:
    rows, targets = [], []
    for (name, n_prompt), times in measured.groupby(["model", "prompt"], sort=False):
        seconds, cost = times[times["method"] == "plain"]["cpu_s"], ratios(times, "all_rows", "plain")
        rows.append(
            {
                "model": name,
                "prompt": n_prompt,
                "plain, CPU s": f"{seconds.median():.2f}",
                "all rows / plain": spread(cost),
            }
        )
        targets.append(
            Target(f"all rows of a prompt over a plain pass, {name}, {n_prompt:,}", cost.median(), 1.2, False)
        )
    return pd.DataFrame(rows), targets


def memory_table(measured: pd.DataFrame) -> tuple[pd.DataFrame, list[Target]]:
    rows, targets = [], []
    for name, peaks in measured.groupby("model", sort=False):
        by_method = peaks.groupby("method")["peak_mib"]
        mib = by_method.median()
        rows.append(
            {
                "model": name,
                "prompt": peaks["prompt"].iloc[0],
                "plain, MiB": spread(by_method.get_group("plain"), "{:.0f}"),
                "capture, MiB": spread(by_method.get_group("capture"), "{:.0f}"),
                "eager, MiB": spread(by_method.get_group("eager"), "{:.0f}"),
            }
        )
        targets.append(Target(f"memory of capture over plain, {name}", mib["capture"] / mib["plain"], 1.2, False))
        targets.append(Target(f"memory of capture over eager, {name}", mib["capture"] / mib["eager"], 0.1, False))
    return pd.DataFrame(rows), targets


def replay_table(measured: pd.DataFrame) -> tuple[pd.DataFrame, list[Target]]:
    rows, targets = [], []
    for (name, n_prompt, n_response), times in measured.groupby(["model", "prompt", "response"], sort=False):
        seconds = times.groupby("method")["cpu_s"].median()
        faster = ratios(times, "generate", "replay")
        rows.append(
            {
                "model": name,
                "prompt": n_prompt,
                "response": int(n_response),
                "generate, CPU s": f"{seconds['generate']:.1f}",
                "replay, CPU s": f"{seconds['replay']:.2f}",
                "generate / replay": spread(faster, "{:.1f}"),
            }
        )
        claim = f"generating over replaying, {name}, {n_prompt} + {int(n_response)} tokens"
        targets.append(Target(claim, faster.median(), 10, at_least=True))
    return pd.DataFrame(rows), targets


def study_table(measured: pd.DataFrame) -> tuple[pd.DataFrame, list[Target]]:
    n_responses = measured["n_responses"].iloc[0]
    seconds = measured.groupby("method")["cpu_s"].median()
    faster = ratios(measured, "original", "capture")
    name = measured["model"].iloc[0]
    row = {
        "model": name,
        "responses": n_responses,
        "batch": measured["batch"].iloc[0],
        "original, responses a CPU second": f"{n_responses / seconds['original']:.2f}",
        "attnent.record, responses a CPU second": f"{n_responses / seconds['capture']:.2f}",
        "original / attnent.record": spread(faster, "{:.1f}"),
    }
    claim = f"study with attnent against one at a time as the original, {name}"
    return pd.DataFrame([row]), [Target(claim, faster.median(), 20, at_least=True)]


def target_table(targets: list[Target]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "target": target.claim,
            "measured": f"{target.measured:.2f}",
            "limit": f"{'at least' if target.at_least else 'at most'} {target.limit:g}",
            "": "met" if target.met else "not met",
        }
        for target in targets
    )


TABLES = {
    "decode": decoding_table,
    "prompt": prompt_table,
    "memory": memory_table,
    "replay": replay_table,
    "study": study_table,
}
NOTES = {
    "decode": "Decoding. The cache holds random keys and values in place of a prompt pass, which the original could "
    "not make at the larger sizes: the last column is what it keeps of one. Padded: item i of the batch has i + 1 "
    "padding tokens on the left, as prompts of unequal length have. The 1B shape has the widths of Llama 3.2 1B in "
    "bfloat16 and random weights; here an eighth of its layers and vocabulary, so that each has its share of the time.",
    "prompt": "A prompt pass with all its rows measured, against one that is not watched.",
    "memory": "Peak memory of a prompt pass above the loaded model, each method in its own process.",
    "replay": "Reading a response in one pass against writing it, prompt pass included in both.",
    "study": "Whole study: factual and creative prompts to a finished Run folder, against the original's method with "
    "nothing written to disk.",
}


def markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def summary(measured: dict[str, pd.DataFrame], machine: dict[str, Any]) -> str:
    """All tables as Markdown, the targets last."""
    parts, targets = [], []
    for case, frame in measured.items():
        table, promised = TABLES[case](frame)
        parts += [NOTES[case], markdown(table)]
        targets += promised
    if targets:
        parts += ["Targets.", markdown(target_table(targets))]
    described = ", ".join(f"{name} {value}" for name, value in machine.items())
    return "\n\n".join([*parts, f"Median over rounds (smallest-largest), CPU time. {described}."])


# ----------------------------------------------------------------------------------------------------------------- run


def measure(cases: Iterable[str], sizes: Sizes, *, model: str, n_threads: int) -> dict[str, pd.DataFrame]:
    """What was measured in each case; `model` is the one that stands beside the 1B shape."""
    start = time.monotonic()
    measured = {}
    if "decode" in cases:
        measured["decode"] = pd.concat([measure_decoding(name, sizes, start) for name in (SHAPED, model)])
    if "prompt" in cases:
        measured["prompt"] = measure_prompt(sizes, start)
    if "memory" in cases:
        rounds = [(model if name == BUNDLED else name, n_rounds) for name, n_rounds in sizes.memory_rounds]
        measured["memory"] = pd.concat([measure_memory(*one, sizes, n_threads, start) for one in rounds])
    if "replay" in cases:
        measured["replay"] = measure_replay(sizes, start)
    if "study" in cases:
        measured["study"] = measure_study(model, sizes, start)
    report(start, "done")
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what capture costs, and print it as Markdown.")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, a few minutes")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1, the steadiest)")
    parser.add_argument("--cases", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--model", default=BUNDLED, help="measured beside the 1B shape (default the bundled)")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), help="folder for the tables and the times")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sizes = QUICK if options.quick else Sizes()
    measured = measure(options.cases, sizes, model=options.model, n_threads=options.threads)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": options.threads,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    text = summary(measured, machine)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "capture.md").write_text(text + "\n")
    rows = {case: frame.to_dict(orient="records") for case, frame in measured.items()}
    (options.out / "capture.json").write_text(json.dumps({"machine": machine, "measured": rows}, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
