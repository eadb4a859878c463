"""Decoding by torch.compile: one graph for all steps, over a cache of fixed length."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from transformers import CompileConfig, PreTrainedModel

from attnent.attention.capture import CaptureError


def with_static_cache(n_positions: int) -> dict[str, Any]:
    """What transformers' GenerationConfig needs for it; batches with a cache of one length share their graph."""
    # Not its default mode, "reduce-overhead", whose graphs write each step over what the steps before gave.
    compiling = CompileConfig(fullgraph=True, mode="default")
    compiling._compile_all_devices = True
    return {"cache_implementation": "static", "max_cache_len": n_positions, "compile_config": compiling}


@contextmanager
def in_one_graph(model: PreTrainedModel) -> Generator[None]:
    """Raises CaptureError in one sentence where a model cannot be compiled, or not whole."""
    from torch._dynamo.exc import TorchDynamoException  # these take their time to load
    from torch._inductor.exc import InductorError

    try:
        yield
    except (TorchDynamoException, InductorError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise CaptureError(
            f"{type(model).__name__} cannot be compiled into one graph ({said[0].rstrip('.')}); leave `compiled` out"
        ) from error
