"""How many share a recording, and what each of them is given."""

from typing import Any, NamedTuple

import numpy as np


class Workers(NamedTuple):
    """`n` processes of a Ray cluster, each with a model of its own.

    Each is given `gpus` (also a part of one, such as 0.5), over which it loads the model, and counts as `cpus`
    when Ray shares out the machines. With 0 GPUs it loads the model as it was loaded here. Each counts on as many
    threads as this process (`torch.get_num_threads()`), so that the numbers are the same. A model of the Hub loaded
    here with `device_map="meta"` takes no memory here.
    """

    n: int
    gpus: float = 0
    cpus: float = 1


def workers_of(asked: Any, *, on_gpu: bool) -> Workers:
    """What was asked for as a number, each with a GPU where the model is `on_gpu`, or as Workers. Raises ValueError."""
    if isinstance(asked, int | np.integer) and not isinstance(asked, bool):
        asked = Workers(int(asked), gpus=1 if on_gpu else 0)
    if not isinstance(asked, Workers):
        raise ValueError(f"workers is {asked!r}, but must be a number of workers or ae.Workers(n, gpus, cpus)")
    if asked.n < 1 or asked.gpus < 0 or asked.cpus < 0:
        raise ValueError(f"{asked} cannot share a recording; give 1 worker or more, and no fewer than 0 GPUs and CPUs")
    if asked.n > 1 and on_gpu and not asked.gpus:
        raise ValueError("the model is on a GPU, and its workers are given none; give ae.Workers(n, gpus=1)")
    return asked
