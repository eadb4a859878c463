"""How fast a model loads and writes on this machine, as a process of its own: `python -m attnent.model.speed NAME`.

Prints one line of JSON, {"loading": seconds, "tokens_per_second": number}; a study asks it before it starts.
"""

import argparse
import json
import time
from typing import Any

from attnent.model.generation import generate
from attnent.model.loading import load_model

PROMPT = "Tell me something about the sea, and about those who live by it, in a few sentences."
N_STEPS = 24


def main() -> None:
    """Load the model, let it write a few steps of one batch, and print how long both took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device-map", default="auto")
    chosen = parser.parse_args()
    start = time.monotonic()
    model, tokenizer = load_model(chosen.model, dtype=chosen.dtype, device_map=chosen.device_map)
    loaded = time.monotonic()
    prompts = [PROMPT] * chosen.batch_size
    settings: dict[str, Any] = {"batch_size": chosen.batch_size, "progress": False}
    generate(model, tokenizer, prompts[:1], max_new_tokens=2, **settings)  # what the first pass sets up
    begun = time.monotonic()
    traces = generate(model, tokenizer, prompts, max_new_tokens=N_STEPS, temperature=1.0, **settings)
    n_tokens = sum(trace.sizes["step"] for trace in traces)
    print(json.dumps({"loading": loaded - start, "tokens_per_second": n_tokens / (time.monotonic() - begun)}))


if __name__ == "__main__":
    main()
