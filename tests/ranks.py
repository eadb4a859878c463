"""What two ranks make as one process does of models: `torchrun --nproc-per-node 2 ranks.py FOLDER`."""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from attnent.attention.capture import capture
from attnent.attention.tops import TopKeys
from attnent.model.generation import attention_row, generate
from attnent.model.loading import load_model
from attnent.model.recorder import record
from attnent.model.replaying import replay
from attnent.model.streaming import stream, whole
from attnent.store.traces import save_trace

MODELS = ("llama", "sliding")
PROMPTS = ["the thin ant", "a", "in the tank an ant"]
EXAMPLES = pd.DataFrame({"id": list("abcdef"), "prompt": [*PROMPTS, "an inn", "the than", "in"]})


def loaded(folder, **how):
    return load_model(str(folder), dtype="float64", **how)


def traces_of(model, tokenizer):
    """By name, each way there is to make them."""
    quiet = {"progress": False, "columns": True}
    written = {"max_new_tokens": 40, "batch_size": 3} | quiet
    steps = list(stream(model, tokenizer, PROMPTS[0], max_new_tokens=9))
    found = {
        "generated": generate(model, tokenizer, PROMPTS, **written, top_keys=4),
        "drawn": generate(model, tokenizer, PROMPTS, **written, temperature=1.0, top_keys=TopKeys(3, (0, 2), (1, 6))),
        "read": replay(model, tokenizer, PROMPTS, ["thin", "the ant", "b"], top_keys=TopKeys(5, None, (3,)), **quiet),
        "streamed": [whole(tokenizer, steps)],
    }
    return {f"{kind}-{number}": trace for kind, traces in found.items() for number, trace in enumerate(traces)}


def rows_of(model, tokenizer):
    """By name, what is captured of a pass, and the weights of one head."""
    with capture(model, prompt_rows=True) as recording, torch.inference_mode():
        model(torch.arange(9)[None])
    numbers = {f"layer-{layer}": stats.entropy.numpy() for layer, stats in recording.stats.items()}
    return numbers | {"weights": attention_row(model, tokenizer, PROMPTS[0], layer=1, head=6)}


def recorded(model, tokenizer, folder, **others):
    settings = {"max_new_tokens": 12, "batch_size": 2, "temperature": 1.0, "columns": True, "top_keys": 3}
    return record(model, tokenizer, EXAMPLES, task="ants", folder=folder, progress=False, **settings, **others)


def main(folder):
    models = {name: loaded(folder / name, tp_plan="auto") for name in MODELS}
    here = folder / f"rank-{os.environ['RANK']}"
    for name, (model, tokenizer) in models.items():
        (here / name).mkdir(parents=True)
        for trace_name, trace in traces_of(model, tokenizer).items():
            save_trace(trace, here / name / f"{trace_name}.safetensors")
        np.savez(here / name / "rows.npz", **rows_of(model, tokenizer))
    run = recorded(*models["llama"], folder / "run")
    (here / "run").write_text(f"{run.manifest['status']} {len(run.recorded)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
