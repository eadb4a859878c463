"""Prompts to a Run folder: record what is missing, and go on where an earlier recording was stopped."""

import contextlib
import datetime
import functools
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from transformers import PreTrainedModel

from attnent.attention.layers import chosen, indices
from attnent.attention.ranks import ranks_of
from attnent.attention.tops import TopKeys, top_keys_of
from attnent.cluster.sharing import Make, shared
from attnent.cluster.workers import Workers, workers_of
from attnent.model.batches import Work, plan_batches
from attnent.model.generation import derive_seed, writing
from attnent.model.images import Tokenizer, asker_of, digests_of, tokenizer_of
from attnent.model.loading import name_of, revision_of, weights_of
from attnent.model.placing import device_of
from attnent.model.prompts import encode_prompts, template_digest
from attnent.model.quantised import dtype_of, n_parameters
from attnent.model.replaying import reading
from attnent.progress import Progress
from attnent.runs import Run, RunError
from attnent.store.examples import check_examples
from attnent.store.folders import digest, one_segment
from attnent.trace import part_of, recorded_for


def record(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    examples: pd.DataFrame,
    *,
    task: str,
    out_dir: str | Path = "runs",
    folder: str | Path | None = None,
    max_new_tokens: int = 256,
    batch_size: int = 8,
    temperature: float = 0.0,
    seed: int = 0,
    reads: str | None = None,
    columns: bool = False,
    top_keys: int | TopKeys = 0,
    compiled: bool = False,
    measures: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    workers: int | Workers = 1,
    progress: bool = True,
) -> Run:
    """Generate a response to every example and keep its Trace; what is recorded already is not done again.

    `examples` has a row an example with at least the columns `id` and `prompt`; a column `images` holds the path of an
    image that the prompt is about, a list of them, or None. With `reads`, the name of another column, nothing is
    generated: the text or the token ids in it are the response, whoever wrote it, and are read by `replay`. `columns`,
    `top_keys` and `compiled` as in `generate`. Of large models less can be kept: these `measures` alone (and the
    entropy, and what derived ones are made of), these `layers` alone. The folder is out_dir/task/model/<digest of the
    parameters>, or `folder` where given. Killed at any moment and called again with the same arguments it goes on, and
    ends with the same numbers (bit by bit on the same device and number of threads): the batches are those of the whole
    list, and each response has its own random numbers. So it does with more than one of `workers`, which share the
    batches: processes of Ray that each hold a model, of the cluster that RAY_ADDRESS names or else of this machine.
    Of processes that share a model (`tp_plan`) the first alone writes, and each gets the Run when it is whole. Raises
    RunError, PromptError, CaptureError, or ValueError for a setting out of range.
    """
    check_examples(examples)
    tokenizer = tokenizer_of(model, tokenizer)
    sampling: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    tops = top_keys_of(model, top_keys)
    crew = workers_of(workers, on_gpu=device_of(model).type == "cuda")
    ranks = ranks_of(model)
    if ranks.n > 1 and crew.n > 1:
        raise RunError("workers load a model each, and this one is shared among processes: give workers=1")
    kept_measures, kept_layers = recorded_for(measures), chosen("layers", layers, indices(model))
    prompts, ids = examples["prompt"].tolist(), examples["id"].tolist()
    images = examples["images"].tolist() if "images" in examples else None
    if reads is None:
        encoded = encode_prompts(model, tokenizer, prompts, images, n_new_tokens=max_new_tokens)
        seeds = [derive_seed(seed, id_) for id_ in ids]
        settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature}
        items: tuple[list[Any], ...] = encoded, seeds
        make = functools.partial(writing, **settings, columns=columns, top_keys=top_keys, compiled=compiled)
    elif compiled:
        raise ValueError("compiled is of decoding, and a text that is read is not decoded; leave one of both out")
    elif reads in examples:
        items = prompts, examples[reads].tolist(), images or [None] * len(prompts)
        make = functools.partial(reading, columns=columns, top_keys=top_keys)
    else:
        raise RunError(f"the examples have no column {reads!r} to read; they have {', '.join(examples.columns)}")
    make = functools.partial(_keeping, make, kept_measures, kept_layers)
    work = make(model, tokenizer, *items)
    identity = {
        "task": task,
        "model": name_of(model),
        "revision": revision_of(model),
        "dtype": dtype_of(model),
        "chat_template": template_digest(asker_of(model, tokenizer)),
        **(sampling if reads is None else {"reads": reads}),
        **({"columns": True} if columns else {}),
        **({"top_keys": tops._asdict()} if tops else {}),
        **({"compiled": True} if compiled else {}),
        **({"measures": kept_measures} if measures is not None else {}),
        **({"layers": kept_layers} if layers is not None else {}),
        **({"images": digest(digests_of(images))} if images else {}),
        "examples": digest(examples.to_dict(orient="records")),
    }
    if folder is None:
        folder = Path(out_dir) / one_segment(task) / one_segment(name_of(model)) / digest(identity)
    if ranks.here > 0:
        ranks.follow(work.traces_of)
        return Run(folder)
    run = Run.start(folder, identity=identity, examples=examples)
    if progress:
        print(f"recording into {run.folder.resolve()}", flush=True)
    with run.locked(), ranks.leading(work.traces_of) as traces_of:
        damaged = run.discard_damaged()
        done = set(run.recorded)
        missing_batches = [
            batch for batch in plan_batches(work.n_tokens, batch_size) if any(ids[index] not in done for index in batch)
        ]
        if not missing_batches and not damaged and run.manifest["status"] == "complete":
            return run
        made_with = {
            "batch_size": batch_size,
            "device": "cuda" if crew.n > 1 and crew.gpus else str(device_of(model)),
            "workers": crew.n,
            "ranks": ranks.n,
            "weights": weights_of(model),
            "n_parameters": n_parameters(model),
            "versions": {name: version(name) for name in ("attnent", "torch", "transformers")},
            "git_commit": git_commit(),
        }
        run.update_manifest(status="recording", **made_with, started=run.manifest.get("started", _now()))
        start, n_new, n_tokens = time.monotonic(), 0, 0
        if crew.n > 1:
            results = shared(model, tokenizer, make, items, missing_batches, crew)
        else:
            results = ((batch, traces_of(batch)) for batch in missing_batches)
        bar = Progress(len(ids), f"recording {task}", shown=progress, done=len(done))
        with bar, contextlib.closing(results):
            for batch, traces in results:
                written = zip(batch, traces, strict=True)
                new = {ids[index]: trace for index, trace in written if ids[index] not in done}
                for response_id, trace in new.items():
                    run.save(response_id, trace)
                in_batch = sum(trace.sizes["step"] for trace in new.values())
                n_new, n_tokens = n_new + len(new), n_tokens + in_batch
                bar.advance(len(new), n_tokens=in_batch)
        seconds = time.monotonic() - start
        sessions = run.manifest.get("sessions", [])
        if n_new:
            sessions = [*sessions, {"responses": n_new, "tokens": n_tokens, "seconds": round(seconds, 3)} | made_with]
        run.update_manifest(
            status="complete",
            counts={"examples": len(ids), "recorded": len(run.recorded), "damaged_and_replaced": len(damaged)},
            sessions=sessions,
            finished=_now(),
        )
    return run


def _keeping(make: Make, measures: Sequence[str], layers: Sequence[int] | None, *given: Any) -> Work:
    """The work that `make` gives, with these measures and layers alone: less travels, too."""
    work = make(*given)

    def kept(trace: xr.Dataset) -> xr.Dataset:
        there = None if layers is None else [layer for layer in layers if layer in trace["layer"]]
        if there == []:
            raise RunError(
                f"without an image no layer of {list(layers or ())} attends to anything; record one of "
                f"{trace['layer'].values.tolist()} too"
            )
        return part_of(trace, measures, there)

    return work._replace(traces_of=lambda batch: [kept(one) for one in work.traces_of(batch)])


def git_commit() -> str | None:
    """The commit of the checkout this code runs from; None where it is installed otherwise."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
