"""Batches shared out to Ray actors that each hold a model; what they make comes back one batch at a time.

The batches are those of the whole list, so the numbers are those of one process. An actor that dies is replaced and
its batches are given out again. Nothing here writes to a Run.
"""

import contextlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from attnent.cluster.connection import ADDRESS, Cluster, joined
from attnent.cluster.workers import Workers
from attnent.model.batches import Work
from attnent.model.loading import LOADED, checksum_of, load_model, name_of
from attnent.model.placing import device_of
from attnent.store import RunError

AT_ONCE = 2  # batches that a worker holds: one in the making, and one for when that is done
MOST_DEATHS = 3  # of workers, by one batch or by loading, before it is given up
_SECONDS_BETWEEN_LOOKS, _SECONDS_OF_SILENCE, _SECONDS_TO_FETCH = 1.0, 60.0, 600.0

Batch = list[int]
Make = Callable[..., Work]  # of a model, its tokenizer, and the items: a sequence for each argument that follows


class Worker:
    """An actor: a process with a model of its own."""

    def load(self, told: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> None:
        import torch

        torch.set_num_threads(told["n_threads"])
        self._model, _ = load_model(**told["loaded"])
        self._model.name_or_path, self._tokenizer = told["name"], tokenizer
        if told["checksum"] not in (None, checksum_of(self._model)):
            raise RunError(
                f"a worker's weights of {told['name']} are not those of this process; save the model to a folder that "
                "all machines see, and load it from there"
            )

    def traces_of(self, make: Make, items: Sequence[Sequence[Any]]) -> list[xr.Dataset]:
        return make(self._model, self._tokenizer, *items).traces_of(list(range(len(items[0]))))


def shared(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    make: Make,
    items: Sequence[Sequence[Any]],
    batches: Sequence[Batch],
    workers: Workers,
) -> Generator[tuple[Batch, list[xr.Dataset]]]:
    """Each batch with its traces, as they are done; `make(model, tokenizer, *items)` is what one process would do.

    Raises RunError where the cluster is gone, a batch ends its workers again and again, or the model of the workers is
    not this one; and what making a batch raises.
    """
    told = how_to_load(model, workers)
    if not batches:
        return
    with joined() as cluster:
        crew = _Crew(told, tokenizer, workers, cluster)
        try:
            for _ in range(min(workers.n, len(batches))):
                crew.hire()
            yield from crew.results(make, items, batches)
        finally:
            crew.dismiss()


class _Crew:
    """The workers of one recording, by number, and what each of them is at."""

    def __init__(
        self, told: dict[str, Any], tokenizer: PreTrainedTokenizerBase, workers: Workers, cluster: Cluster
    ) -> None:
        import ray
        from ray import exceptions

        self._ray, self._errors, self._cluster, self._told, self._tokenizer = ray, exceptions, cluster, told, tokenizer
        needed = {"CPU": workers.cpus, "GPU": workers.gpus}
        there = ray.cluster_resources()
        for what, n in needed.items():
            if n > there.get(what, 0) and ADDRESS not in os.environ:  # a cluster may grow
                raise RunError(f"a worker needs {n:g} {what}, and here are {there.get(what, 0):g}; ask for less")
        self._actor = ray.remote(Worker).options(num_cpus=workers.cpus, num_gpus=workers.gpus)
        self._workers: dict[int, Any] = {}
        self._ready: list[int] = []  # those that have loaded the model
        self._held: dict[Any, tuple[int, Batch]] = {}  # what is awaited: of whom, and for which batch; none: loading
        self._n_hired, self._deaths, self._is_late = 0, Counter[tuple[int, ...]](), False
        self._begun = self._looked = time.monotonic()

    def hire(self) -> None:
        """One more, who loads the model first and is given batches when that is done."""
        worker: Any = self._actor.remote()
        self._workers[self._n_hired] = worker
        self._held[worker.load.remote(self._told, self._tokenizer)] = self._n_hired, []
        self._n_hired += 1

    def results(
        self, make: Make, items: Sequence[Sequence[Any]], batches: Sequence[Batch]
    ) -> Generator[tuple[Batch, list[xr.Dataset]]]:
        """Each batch with its traces; the oldest of a worker's batches is the one that it is at."""
        waiting = deque(batches)
        while waiting or any(batch for _, batch in self._held.values()):
            done = self._next()
            number, batch = self._held.pop(done)
            try:
                traces = self._got(done)
            except self._errors.RayActorError:
                waiting.extendleft([batch] if batch else [])
                self._replace(number, batch)
                traces = None
            else:
                if not batch:
                    self._ready.append(number)
                    self._deaths.pop((), None)
            self._hand_out(waiting, make, items)
            if traces is not None:
                yield batch, traces

    def _hand_out(self, waiting: deque[Batch], make: Make, items: Sequence[Sequence[Any]]) -> None:
        """Give out what waits, first to those that have nothing."""
        n_held = Counter(number for number, _ in self._held.values())
        for n in range(AT_ONCE):
            for number in self._ready:
                if waiting and n_held[number] == n:
                    batch = waiting.popleft()
                    parts = [[values[index] for index in batch] for values in items]
                    self._held[self._workers[number].traces_of.remote(make, parts)] = number, batch
                    n_held[number] += 1

    def dismiss(self) -> None:
        for worker in self._workers.values():
            with contextlib.suppress(self._errors.RayError, ValueError):
                self._ray.kill(worker)

    def _next(self) -> Any:
        """The next that is done; all the while it is seen whether the cluster is there."""
        while True:
            done, _ = self._ray.wait(list(self._held), timeout=_SECONDS_BETWEEN_LOOKS)
            if not done or time.monotonic() - self._looked > _SECONDS_BETWEEN_LOOKS:
                self._cluster.check()
                self._looked = time.monotonic()
            if done:
                return done[0]
            if not self._ready and not self._is_late and time.monotonic() - self._begun > _SECONDS_OF_SILENCE:
                self._is_late = True
                print("still waiting for a worker: it loads the model, or the cluster has no room for it", flush=True)

    def _got(self, done: Any) -> Any:
        """Traces, or nothing of loading. Raises what the worker raised; RayActorError where it or its work is lost."""
        try:
            return self._ray.get(done, timeout=_SECONDS_TO_FETCH)
        except self._errors.RayTaskError as error:
            raise error.cause from None
        except (self._errors.ObjectLostError, self._errors.GetTimeoutError) as error:
            raise self._errors.RayActorError from error

    def _replace(self, number: int, batch: Batch) -> None:
        """Another worker for one that is lost; told of each batch that it held, the one it was at first."""
        self._cluster.check()
        if number not in self._workers:
            return
        self._ready = [one for one in self._ready if one != number]
        with contextlib.suppress(self._errors.RayError, ValueError):
            self._ray.kill(self._workers.pop(number))  # where it is only out of reach
        at = tuple(batch)
        self._deaths[at] += 1
        if self._deaths[at] == MOST_DEATHS:
            examples = ", ".join(map(str, batch))
            doing = f"at the examples number {examples}" if batch else f"while they loaded {self._told['name']}"
            raise RunError(
                f"{MOST_DEATHS} workers died {doing}; give each more memory, or lower batch_size or the dtype (what "
                "was recorded is kept)"
            )
        self.hire()


def how_to_load(model: PreTrainedModel, workers: Workers) -> dict[str, Any]:
    """What a worker needs to load the same model. Raises RunError where it cannot be told."""
    import torch

    loaded = vars(model).get(LOADED)
    if loaded is None:
        raise RunError("workers load the model by its name: give one that ae.load_model loaded, or workers=1")
    name, is_empty = Path(loaded["name"]), device_of(model).type == "meta"
    if is_empty and name.is_dir():
        raise RunError(f"the Run is named by the weights of {name}, which are not loaded: give device_map='cpu'")
    loaded = loaded | {
        "name": str(name.absolute()) if name.exists() else loaded["name"],
        "revision": getattr(model.config, "_commit_hash", None) or loaded["revision"],
        "device_map": "auto" if workers.gpus or is_empty else loaded["device_map"],
    }
    checksum = None if is_empty else checksum_of(model)
    return {"loaded": loaded, "name": name_of(model), "checksum": checksum, "n_threads": torch.get_num_threads()}
