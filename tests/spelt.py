"""Traces of given texts in byte tokens, so that é, emoji and Hebrew letters are made of several."""

import xarray as xr
from conftest import byte_level_tokenizer
from made_up import made_up_trace

from attnent.model.spelling import spell

TOKENIZER = byte_level_tokenizer()


def spelt_trace(response: str) -> xr.Dataset:
    """A Trace of the response; its last token ends the text."""
    spelling = spell(TOKENIZER, [*TOKENIZER(response).input_ids, TOKENIZER.eos_token_id])
    spans = list(zip(spelling.char_start, spelling.char_end, strict=True))
    return made_up_trace(spelling.token, n_layers=1, n_heads=2, spans=spans).assign_attrs(response=spelling.text)


def written(trace: xr.Dataset, start: float, stop: float) -> str:
    """The characters that the token steps [start, stop) write."""
    return trace.attrs["response"][int(trace.char_start[int(start)]) : int(trace.char_end[int(stop) - 1])]
