"""Train the bundled model from nothing: `python -m tiny_model.train --out DIR`.

The text comes from `attnent.tiny.world`; this module knows how it becomes tokens, rows and weights, and nothing of what
it says. About 15 minutes on one core. Another machine gives other weights of like quality: floating-point sums differ.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from attnent.tiny.chance import shuffled
from attnent.tiny.problems import problems
from attnent.tiny.words import WORDS
from tiny_model.documents import (
    SYSTEMS,
    Document,
    creative_document,
    fact_documents,
    sums_document,
    with_some_systems,
)

VOCABULARY = 1_792
ROW = 256  # tokens in a packed row
ROWS_PER_STEP = 8
PROMPT_WEIGHT = 0.05
RESULT_WEIGHT = 1.5  # on the digits after the = of an equation
SPECIAL = {name: f"<|{name}|>" for name in ("pad", "bos", "user", "assistant", "end", "system")}
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('The roles of the bundled model are system, user and assistant.') }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Phase:
    """One pass over new text with its own optimiser: documents of each kind, `fact_share` of all fact documents."""

    n_problems: int
    n_sums: int
    n_creative: int
    fact_share: float
    muon_rate: float
    adam_rate: float


PHASES = (
    Phase(n_problems=5_500, n_sums=3_500, n_creative=2_200, fact_share=0.5, muon_rate=0.02, adam_rate=3e-3),
    Phase(n_problems=13_000, n_sums=8_000, n_creative=2_600, fact_share=0.5, muon_rate=0.015, adam_rate=2e-3),
)


def corpus(phases: Sequence[Phase], seed: int, scale: float) -> list[list[Document]]:
    """The documents of each phase in training order; `scale` below 1 keeps that part of every kind."""
    word_problems = iter(problems(sum(int(p.n_problems * scale) for p in phases), seed=seed, split="train"))
    facts = fact_documents(Random(f"facts {seed}"))
    facts = facts[: int(len(facts) * scale)]
    texts, n_facts_used = [], 0
    for number, phase in enumerate(phases):
        rng = Random(f"phase {number} {seed}")
        stop = n_facts_used + round(phase.fact_share * len(facts))
        documents = facts[n_facts_used:stop]
        n_facts_used = stop
        for _ in range(int(phase.n_problems * scale)):
            problem = next(word_problems)
            documents.append(Document("problem", problem.question, problem.solution))
        documents += [sums_document(rng) for _ in range(int(phase.n_sums * scale))]
        documents += [creative_document(rng) for _ in range(int(phase.n_creative * scale))]
        texts.append(with_some_systems(rng, shuffled(rng, documents)))
    return texts


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `VOCABULARY` tokens in which every digit is a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL["bos"],
        eos_token=SPECIAL["end"],
        pad_token=SPECIAL["pad"],
        extra_special_tokens=[SPECIAL[role] for role in ("user", "assistant", "system")],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


@dataclass(frozen=True)
class Tokens:
    """One document as token ids and, for each, the weight of predicting it."""

    ids: list[int]
    weights: list[float]


def tokenize(tokenizer: PreTrainedTokenizerFast, document: Document) -> Tokens:
    """The document in the chat template; prompts weigh little, digits of results more."""
    messages = [{"role": "system", "content": document.system}] if document.system else []
    messages.append({"role": "user", "content": document.prompt})
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
    response_ids = tokenizer.encode(document.response + SPECIAL["end"], add_special_tokens=False)
    weights, after_equals = [], False
    for piece in tokenizer.convert_ids_to_tokens(response_ids):
        after_equals = piece == "=" or (after_equals and piece.isdigit())
        weights.append(RESULT_WEIGHT if after_equals and piece != "=" else 1.0)
    return Tokens(prompt_ids + response_ids, [PROMPT_WEIGHT] * len(prompt_ids) + weights)


@dataclass(frozen=True)
class Rows:
    """Packed rows, all tensors (row, token); `document` numbers the documents of a row from 0, padding is -1."""

    ids: Tensor
    weights: Tensor
    positions: Tensor
    document: Tensor


def pack(documents: Sequence[Tokens], pad_id: int) -> Rows:
    """Documents packed whole into rows of `ROW` tokens, each into the first of 64 open rows with room for it.

    A document longer than a row is left out.
    """
    rows: list[list[Tokens]] = []
    open_rows: list[tuple[int, int]] = []  # index of the row and its free tokens
    for document in documents:
        size = len(document.ids)
        if size > ROW:
            continue
        place = next((at for at, (_, free) in enumerate(open_rows) if free >= size), None)
        if place is None:
            rows.append([])
            open_rows = [*open_rows[-63:], (len(rows) - 1, ROW)]
            place = len(open_rows) - 1
        index, free = open_rows[place]
        rows[index].append(document)
        open_rows[place] = (index, free - size)
    ids = torch.full((len(rows), ROW), pad_id)
    weights, positions, number = torch.zeros(len(rows), ROW), torch.zeros_like(ids), torch.full_like(ids, -1)
    for at, row in enumerate(rows):
        start = 0
        for order, document in enumerate(row):
            stop = start + len(document.ids)
            ids[at, start:stop] = torch.tensor(document.ids)
            weights[at, start + 1 : stop] = torch.tensor(document.weights[1:])  # nothing predicts a first token
            positions[at, start:stop] = torch.arange(stop - start)
            number[at, start:stop] = order
            start = stop
    return Rows(ids, weights, positions, number)


def batches(rows: Rows, generator: torch.Generator) -> Iterator[Rows]:
    """The rows in random order, `ROWS_PER_STEP` at a time; a last smaller batch is left out."""
    order = torch.randperm(len(rows.ids), generator=generator)
    for chosen in order.split(ROWS_PER_STEP):
        if len(chosen) == ROWS_PER_STEP:
            yield Rows(rows.ids[chosen], rows.weights[chosen], rows.positions[chosen], rows.document[chosen])


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained model of the bundled shape: Llama with grouped-query attention, 6 query over 2 key-value heads."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=True,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    return model


def loss_of(model: LlamaForCausalLM, batch: Rows) -> Tensor:
    """Weighted mean cross-entropy (nat) of the next tokens of a packed batch."""
    same = batch.document[:, None, :, None] == batch.document[:, None, None, :]
    mask = same & torch.ones(ROW, ROW, dtype=torch.bool).tril()  # (row, 1, query, key)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(
            batch.ids, attention_mask=mask, position_ids=batch.positions, use_cache=False
        ).last_hidden_state
        weights = batch.weights[:, 1:]
        logits = model.lm_head(hidden[:, :-1])
    losses = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), batch.ids[:, 1:].flatten(), reduction="none"
    )
    return (losses * weights.flatten()).sum() / weights.sum()


def train_phase(model: LlamaForCausalLM, rows: Rows, phase: Phase, name: str, seed: int) -> None:
    """One pass over `rows`: Muon for hidden matrices, AdamW for embeddings and norms; cosine rate by step."""
    matrices = [weight for part, weight in model.model.layers.named_parameters() if weight.ndim == 2]
    rest = [model.model.embed_tokens.weight, *(weight for weight in model.parameters() if weight.ndim == 1)]
    optimizers = [
        torch.optim.Muon(matrices, lr=phase.muon_rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=phase.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    n_steps, n_warm = len(rows.ids) // ROWS_PER_STEP, 30
    rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    generator = torch.Generator().manual_seed(seed)
    started, smooth = time.monotonic(), None
    for step, batch in enumerate(batches(rows, generator)):
        factor = min(1.0, (step + 1) / n_warm) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / n_steps)))
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
        if (step + 1) % 50 == 0 or step + 1 == n_steps:
            seconds = time.monotonic() - started
            left = seconds / (step + 1) * (n_steps - step - 1)
            speed = (step + 1) * ROWS_PER_STEP * ROW / seconds
            print(
                f"{name}: step {step + 1} of {n_steps}, loss {smooth:.3f} nat, {speed:,.0f} tokens a second, "
                f"{left / 60:.1f} minutes left in this phase",
                flush=True,
            )


def train(out: Path, *, seed: int = 0, scale: float = 1.0) -> None:
    """Train tokenizer and model and put both in the new folder `out`, which appears only when all is done."""
    if out.exists():
        raise SystemExit(f"{out} exists already; name a folder that does not")
    if not 0 < scale <= 1:
        raise SystemExit(f"scale must be above 0 and at most 1, but is {scale}")
    partial = out.with_name(out.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)  # now, so that a folder that cannot be written to costs no training
    texts = corpus(PHASES, seed, scale)
    everything = [text for documents in texts for item in documents for text in (item.prompt, item.response)]
    facts = [value for values in WORDS["facts"].values() for value in values]
    one_token = (*WORDS["women"], *WORDS["men"], *WORDS["surnames"], *facts)
    words = [f"{word} {word}" for word in one_token] * 1_000  # rare names become as short as frequent ones
    tokenizer = train_tokenizer([*everything, *words, *SYSTEMS * 20])
    model = new_model(tokenizer, seed)
    n_parameters = sum(weight.numel() for weight in model.parameters())
    print(
        f"{sum(map(len, texts)):,} documents, {len(tokenizer):,} tokens in the vocabulary, {n_parameters:,} parameters",
        flush=True,
    )
    model.train()
    for number, (documents, phase) in enumerate(zip(texts, PHASES, strict=True), start=1):
        rows = pack([tokenize(tokenizer, document) for document in documents], tokenizer.pad_token_id)
        train_phase(model, rows, phase, f"phase {number}", seed + number)
    model.eval().to(torch.bfloat16).save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(out)
    (out / "model.safetensors").chmod(0o644)
    print(f"The model is in {out}")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train the bundled model from nothing on one core.")
    parser.add_argument("--out", type=Path, required=True, help="folder to make; it must not exist")
    parser.add_argument("--seed", type=int, default=0, help="of text, first weights and order (default 0)")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the text to train on; 0.01 is a smoke test")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train(arguments.out, seed=arguments.seed, scale=arguments.scale)


if __name__ == "__main__":
    main()
