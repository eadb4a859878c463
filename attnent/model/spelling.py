"""Where each generated token stands in the text, found from the ids (re-tokenised text would not match them)."""

import codecs
import re
from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")  # how tokenizers name the tokens of single bytes
_INCOMPLETE = "\ufffd"  # what decoders print for bytes that do not yet form a character


class Spelling(NamedTuple):
    """The text of a response and the span of every token in it; a special token has an empty span."""

    text: str
    token: list[str]
    char_start: list[int]
    char_end: list[int]


def spell(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> Spelling:
    """Text and spans of a response: the text is that of decoding all ids at once, and the spans tile it.

    Tokens are decoded in small groups, each after the token before it (which decides about a leading space), so that
    the time is linear in the text. Tokens that are parts of one character share that character's span, as do those
    of a group that never becomes one.
    """
    ids = list(token_ids)
    whole, text, spans = _decode(tokenizer, ids), None, []
    for longest in (8, 13, len(ids) + 1):  # where a group is cut within a character, other groups are tried
        if text != whole:
            text, spans = _spans(tokenizer, ids, longest)
    pieces = [whole[start:end] or str(tokenizer.decode([id_])) for id_, (start, end) in zip(ids, spans, strict=True)]
    return Spelling(whole, pieces, [start for start, _ in spans], [end for _, end in spans])


class Speller:
    """The text of a response that is still being written: what each token adds to it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer, self._special = tokenizer, _special_ids(tokenizer)
        self._ids: list[int] = []
        self._text = ""

    def spell_next(self, token_id: int, *, is_last: bool) -> Spelling:
        """The text so far, and of the next token what is new of it and its span.

        A token that ends within a character adds nothing; what completes the character adds all of it.
        """
        self._ids.append(token_id)
        text, before = _decode(self._tokenizer, self._ids), self._text
        name = str(self._tokenizer.convert_ids_to_tokens(token_id))
        if is_last or not (text.endswith(_INCOMPLETE) or _BYTE.fullmatch(name)):
            self._text = text
        end = len(before) if token_id in self._special else len(text)
        return Spelling(self._text, [self._text[len(before) :]], [len(before)], [end])


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    return {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}


def _spans(tokenizer: PreTrainedTokenizerBase, token_ids: list[int], longest: int) -> tuple[str, list[tuple[int, int]]]:
    """The text, and the span of each token; a group that awaits the end of a character has at most `longest` tokens."""
    special = _special_ids(tokenizer)
    names = [str(name) for name in tokenizer.convert_ids_to_tokens(token_ids)]
    is_byte = [_BYTE.fullmatch(name) is not None for name in names]
    text, before, last = "", [], -1  # before: the last token of the group before; last: the latest step that is spoken
    spans = [(0, 0)] * len(token_ids)
    group: list[int] = []  # steps
    ids: list[int] = []  # of those that are spoken
    prefix = ""  # the group's text so far
    ends: dict[int, int | None] = {}  # characters of the group that are complete after a step; None: unfinished

    def close() -> None:
        nonlocal text, prefix
        if last in ends and is_byte[last]:
            prefix = _after(tokenizer, before, ids)
            ends.update(_ends_of_bytes([(step, names[step]) for step in group if step in ends], prefix))
        start, waiting = len(text), []
        for step in group:
            if step not in ends:
                spans[step] = (start, start)
                continue
            waiting.append(step)
            end = len(prefix) if step == last else ends[step]
            if end is not None:
                for part in waiting:
                    spans[part] = (start, max(start, len(text) + end))
                start, waiting = spans[step][1], []
        text += prefix

    for step, token_id in enumerate(token_ids):
        if token_id in special:
            group.append(step)
            continue
        # A run of byte tokens is decoded as one: a byte that comes later can spoil what was a character before it.
        waits = prefix.endswith(_INCOMPLETE) and len(ids) < longest
        if ids and not (is_byte[step] if is_byte[last] else waits):
            close()
            before, group, ids, ends, prefix = ids[-1:], [], [], {}, ""
        group.append(step)
        ids.append(token_id)
        if not is_byte[step]:
            prefix = _after(tokenizer, before, ids)
        ends[step] = None if is_byte[step] or prefix.endswith(_INCOMPLETE) else len(prefix)
        last = step
    close()
    return text, spans


def _ends_of_bytes(tokens: list[tuple[int, str]], text: str) -> dict[int, int | None]:
    """How many characters of the text are complete after each byte token; none before the last where one is broken."""
    decoder, n_before, ends = codecs.getincrementaldecoder("utf-8")(), 0, {}
    decoded = ""
    try:
        for step, name in tokens:
            new = decoder.decode(bytes([int(name[3:5], 16)]))
            decoded += new
            n_before += len(new)
            ends[step] = n_before if new else None
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return {step: None for step, _ in tokens}
    lead = len(text) - len(decoded)  # what the decoder adds or takes in front of a run
    return {step: end if end is None else max(end + lead, 0) for step, end in ends.items()}


def _after(tokenizer: PreTrainedTokenizerBase, before: list[int], token_ids: list[int]) -> str:
    return _decode(tokenizer, before + token_ids)[len(_decode(tokenizer, before)) :]


def _decode(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    return str(tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
