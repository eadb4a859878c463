"""Where each generated token stands in the text, found from the ids (re-tokenised text would not match them)."""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

_INCOMPLETE = "\ufffd"  # what decoders print for bytes that do not yet form a character


class Spelling(NamedTuple):
    """The text of a response and the span of every token in it; a special token has an empty span."""

    text: str
    token: list[str]
    char_start: list[int]
    char_end: list[int]


def spell(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> Spelling:
    """Decode token by token, in linear time. Tokens that are parts of one character share that character's span."""
    special = set(tokenizer.all_special_ids)
    text = ""
    spans = [(0, 0)] * len(token_ids)
    window: list[int] = []  # the latest tokens: decoded together, so that each has its context (a leading space, say)
    shown = ""  # the part of the window's text that is in `text` already
    unfinished: list[int] = []  # steps whose bytes do not form a character yet

    def write(piece: str) -> None:
        nonlocal text
        for waiting in unfinished:
            spans[waiting] = (len(text), len(text) + len(piece))
        text += piece
        unfinished.clear()

    for step, token_id in enumerate(token_ids):
        if token_id in special:
            spans[step] = (len(text), len(text))
            continue
        window.append(token_id)
        unfinished.append(step)
        decoded = _decode(tokenizer, window)
        if decoded.endswith(_INCOMPLETE):
            continue
        if len(unfinished) == 1:
            write(decoded[len(shown) :])
            window = [token_id]
            shown = _decode(tokenizer, window)
        else:
            write(decoded[len(shown) :])
            shown = decoded
    if unfinished:
        write(_decode(tokenizer, window)[len(shown) :])
    pieces = [text[start:end] or tokenizer.decode([id_]) for id_, (start, end) in zip(token_ids, spans, strict=True)]
    return Spelling(text, pieces, [start for start, _ in spans], [end for _, end in spans])


def _decode(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    return tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
