"""Where each generated token stands in the text, found from the ids (re-tokenised text would not match them)."""

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
    the time is linear in ordinary text. Tokens that are parts of one character share that character's span.
    """
    special = {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
    names = tokenizer.convert_ids_to_tokens(list(token_ids))
    is_byte = [_BYTE.fullmatch(str(name)) is not None for name in names]
    text = ""
    spans = [(0, 0)] * len(token_ids)
    before: list[int] = []  # the last token of the group before
    group: list[tuple[int, str | None]] = []  # (step, the group's text up to this token); None for a special token
    ids: list[int] = []
    group_text = ""
    last = -1  # the latest step that is not special

    def close() -> None:
        nonlocal text
        whole = next((prefix for _, prefix in reversed(group) if prefix is not None), "")
        start, waiting = len(text), []
        for step, prefix in group:
            if prefix is None:
                spans[step] = (start, start)
                continue
            waiting.append(step)
            if step == last or (whole.startswith(prefix) and not prefix.endswith(_INCOMPLETE)):
                end = max(start, len(text) + len(prefix))
                for part in waiting:
                    spans[part] = (start, end)
                start, waiting = end, []
        text += whole

    for step, token_id in enumerate(token_ids):
        if token_id in special:
            group.append((step, None))
            continue
        # A run of byte tokens is decoded as one: a byte that comes later can spoil what was a character before it.
        is_open = ids and (is_byte[step] if is_byte[last] else group_text.endswith(_INCOMPLETE))
        if ids and not is_open:
            close()
            before, group, ids = ids[-1:], [], []
        ids.append(token_id)
        group_text = _decode(tokenizer, before + ids)[len(_decode(tokenizer, before)) :]
        group.append((step, group_text))
        last = step
    close()
    pieces = [
        text[start:end] or str(tokenizer.decode([id_])) for id_, (start, end) in zip(token_ids, spans, strict=True)
    ]
    return Spelling(text, pieces, [start for start, _ in spans], [end for _, end in spans])


def _decode(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    return str(tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
