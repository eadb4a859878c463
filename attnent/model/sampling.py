"""Further answers to the prompts of a run: their texts alone, kept beside it as labels "samples"."""

from typing import Any

from transformers import PreTrainedModel

from attnent.attention.ranks import ranks_of
from attnent.model.batches import plan_batches
from attnent.model.generation import derive_seed, writing
from attnent.model.images import Tokenizer, tokenizer_of
from attnent.model.prompts import encode_prompts
from attnent.progress import Progress
from attnent.runs import Run, RunError


def add_samples(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    run: Run,
    n: int,
    *,
    max_new_tokens: int = 256,
    batch_size: int = 8,
    temperature: float = 1.0,
    seed: int = 0,
    progress: bool = True,
) -> list[str]:
    """Let the model answer each prompt of a run `n` times more; the judges' names under which the texts are kept.

    A label of `samples` has response_id, judge ("sample 1 at 1.0, seed 0, at most 256 tokens" and so on) and `text`.
    Samples that are there are not drawn again; each depends on seed, number and response alone, not on its batch.
    Raises RunError where another process records into the run, ValueError for n below 0, and what `generate` raises.
    """
    if n < 0:
        raise ValueError(f"n is {n}, but must be 0 or more samples")
    if ranks_of(model).n > 1:
        raise RunError("samples are drawn by one process, and this model is shared among several: load it whole")
    ids = run.recorded
    asked = run.examples.set_index("id").loc[ids]
    images = asked["images"].tolist() if "images" in asked else None
    tokenizer = tokenizer_of(model, tokenizer)
    encoded = encode_prompts(model, tokenizer, asked["prompt"].tolist(), images, n_new_tokens=max_new_tokens)
    names = [
        f"sample {number} at {temperature}, seed {seed}, at most {max_new_tokens} tokens" for number in range(1, n + 1)
    ]
    with run.locked(), Progress(n * len(ids), "drawing samples", shown=progress) as bar:
        for number, name in enumerate(names, start=1):
            seeds = [derive_seed("sample", seed, number, id_) for id_ in ids]
            settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature}
            work, done = writing(model, tokenizer, encoded, seeds, **settings), _sampled(run, name)
            for batch in plan_batches(work.n_tokens, batch_size):
                if any(ids[index] not in done for index in batch):
                    texts = [trace.attrs["response"] for trace in work.traces_of(batch)]
                    rows = [
                        {"response_id": ids[i], "judge": name, "text": text}
                        for i, text in zip(batch, texts, strict=True)
                    ]
                    run.add_labels("samples", [row for row in rows if row["response_id"] not in done])
                bar.advance(len(batch))
    return names


def _sampled(run: Run, name: str) -> set[str]:
    try:
        labels = run.labels("samples")
    except RunError:  # none was drawn yet
        return set()
    return set(labels.loc[labels["judge"] == name, "response_id"])
