"""A response as it is being written: `stream` gives each step as a Trace of one step, with the numbers of `generate`.

transformers' own loop runs in a thread of its own, which waits after each step until the next one is asked for: nothing
runs while the reader is busy.
"""

from collections.abc import Generator, Iterator, Sequence
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from attnent.attention.capture import LayerStats, Watch, stats_of_pass
from attnent.model.assembly import TokenStats, assemble, eos_ids, of_item
from attnent.model.batches import in_memory, inputs_of
from attnent.model.generation import Chooser, check_settings, item_seeds, sampling_of, write
from attnent.model.images import Tokenizer, tokenizer_of
from attnent.model.placing import device_of
from attnent.model.prompts import EncodedPrompt, Prompt, encode_prompts
from attnent.model.spelling import Speller, spell
from attnent.trace import joined


class _Step(NamedTuple):
    """What one pass measured, and the token that it chose."""

    token_id: int
    layers: dict[int, LayerStats]
    token: TokenStats


def stream(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompt: Prompt,
    *,
    images: Any = None,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    seed: int = 0,
) -> Generator[xr.Dataset]:
    """The response to one prompt, step by step as the model writes it: the tokens and numbers of `generate`.

    Each Trace has one step, t at the t-th. Its `token` is the text that is new, so that joined they are the response:
    nothing for a special token or the part of a character, which comes with the part that completes it. Its attribute
    `response` is the text so far, `finish_reason` "" before the last step. Closing the iterator stops the model and
    restores it. `images` are those of the prompt, as one entry of `generate` has them. Raises what `generate` raises.
    """
    check_settings(max_new_tokens, temperature)
    tokenizer = tokenizer_of(model, tokenizer)
    [item] = encode_prompts(model, tokenizer, [prompt], [images], n_new_tokens=max_new_tokens)
    [own_seed] = item_seeds(seed, [item.identity])
    return _traces(model, tokenizer, item, own_seed, max_new_tokens, temperature)


def whole(tokenizer: PreTrainedTokenizerBase, steps: Sequence[xr.Dataset]) -> xr.Dataset:
    """The Trace that `generate` gives, of all the steps that `stream` gave."""
    trace = joined(steps)
    spelt = spell(tokenizer, trace["token_id"].values.tolist())
    starts, ends = (np.asarray(places, np.int32) for places in (spelt.char_start, spelt.char_end))
    return trace.assign_coords(
        token=("step", np.asarray(spelt.token, object)), char_start=("step", starts), char_end=("step", ends)
    )


def _traces(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    item: EncodedPrompt,
    seed: int,
    max_new_tokens: int,
    temperature: float,
) -> Generator[xr.Dataset]:
    ends, speller = eos_ids(model, tokenizer), Speller(tokenizer)
    watch = Watch(n_generated=torch.zeros(1, dtype=torch.long, device=device_of(model)))
    chooser = Chooser(watch, [seed], max_new_tokens, temperature)
    for step, told in enumerate(_steps(model, tokenizer, item, watch, chooser)):
        finish_reason = "eos" if told.token_id in ends else "length" if step + 1 == max_new_tokens else ""
        trace = assemble(
            model,
            item,
            [told.token_id],
            speller.spell_next(told.token_id, is_last=finish_reason != ""),
            told.layers,
            told.token,
            sampling_of(max_new_tokens, temperature),
            finish_reason=finish_reason,
            seed=seed,
        )
        yield trace.assign_coords(step=[step])


def _steps(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, item: EncodedPrompt, watch: Watch, chooser: Chooser
) -> Generator[_Step]:
    teller = _Teller(model, chooser)

    def write_all(items: Sequence[EncodedPrompt]) -> Iterator[xr.Dataset]:
        write(model, tokenizer, inputs_of(model, tokenizer, items), watch, chooser, [teller])
        return iter(())

    def run() -> None:
        hook = model.register_forward_hook(teller.keep)
        try:
            in_memory(write_all, [item])
        except BaseException as error:
            teller.told.put(error)
        else:
            teller.told.put(None)
        finally:
            hook.remove()

    thread = Thread(target=run, name="attnent-stream", daemon=True)
    thread.start()
    try:
        while (told := teller.told.get()) is not None:
            if isinstance(told, BaseException):
                raise told
            yield told
            teller.asked.release()
    finally:
        teller.closed.set()
        teller.asked.release()
        thread.join()


class _Teller(StoppingCriteria):
    """Tells each step once its token is chosen, waits until the next is asked for, and stops the loop when closed."""

    def __init__(self, model: PreTrainedModel, chooser: Chooser) -> None:
        self.told: SimpleQueue[_Step | BaseException | None] = SimpleQueue()
        self.asked, self.closed = Semaphore(0), Event()
        self._model, self._chooser = model, chooser
        self._layers: dict[int, LayerStats] = {}

    def keep(self, module: nn.Module, args: tuple, outputs: Any) -> None:
        """As a forward hook: what the latest pass measured."""
        stats = stats_of_pass(self._model, [given if given is None else given.cpu() for given in outputs.attentions])
        self._layers = {layer: of_item(one, 0) for layer, one in stats.items()}

    def __call__(self, input_ids: Int[Tensor, "1 position"], scores: Any, **kwargs: Any) -> Bool[Tensor, "1"]:
        token = TokenStats(*(values[0] for values in self._chooser.stats(-1)))
        self.told.put(_Step(int(input_ids[0, -1]), self._layers, token))
        self.asked.acquire()
        return torch.full((1,), self.closed.is_set(), device=input_ids.device)
