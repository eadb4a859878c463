"""Text and spans from ids: what the tokenizer decodes, cut up without a gap."""

import time

import pytest
from conftest import byte_level_tokenizer
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from attnent.model.spelling import spell

BYTES = byte_level_tokenizer()


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """As sentencepiece: pieces with a visible space, and 256 byte tokens for all else; two control tokens unnamed."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "▁the", "▁a", "n", "é", "▁é", "!", "t", "▁▁"]
    tokenizer = Tokenizer(models.BPE({piece: id_ for id_, piece in enumerate(pieces)}, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in ("<unk>", "<s>", "</s>", "<|turn|>")])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


FALLBACK = byte_fallback_tokenizer()
CONTROL = len(FALLBACK) - 1  # special, but in none of the tokenizer's named roles


def ids_of(tokenizer):
    return st.lists(st.integers(0, len(tokenizer) - 1), max_size=40)


def assert_tiled(tokenizer, ids):
    """The text is the decoder's, and the spans cover it from its start to its end without gap or disorder."""
    text, tokens, starts, ends = spell(tokenizer, ids)
    assert text == tokenizer.decode(ids, skip_special_tokens=True)
    assert len(tokens) == len(starts) == len(ends) == len(ids)
    covered = 0
    for start, end in zip(starts, ends, strict=True):
        assert 0 <= start <= end <= len(text)
        assert start <= covered, "a gap"
        covered = max(covered, end)
    assert covered == len(text)
    assert starts == sorted(starts)
    spoken = [end for id_, end in zip(ids, ends, strict=True) if tokenizer.decode([id_], skip_special_tokens=True)]
    assert spoken == sorted(spoken)


@given(ids_of(BYTES))
def test_random_byte_level_ids_tile_their_text(ids):
    assert_tiled(BYTES, ids)


@given(st.text(max_size=30))
def test_any_text_is_tiled_by_its_byte_level_ids(text):
    ids = BYTES(text).input_ids
    assert spell(BYTES, ids).text == text
    assert_tiled(BYTES, ids)


@given(ids_of(FALLBACK))
@example([FALLBACK.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in (0xC3, 0xA9, 0xFF)] + [262])
@example([260, CONTROL, 260])
def test_random_byte_fallback_ids_tile_their_text(ids):
    assert_tiled(FALLBACK, ids)


@given(st.lists(st.sampled_from(["é", "日", "🙂", "👩‍🚀", "a", " "]), max_size=12).map("".join), st.booleans())
def test_characters_of_many_bytes_tile_their_text(text, fallback):
    tokenizer = FALLBACK if fallback else BYTES
    ids = [tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in text.encode()] if fallback else None
    assert_tiled(tokenizer, ids if fallback else tokenizer(text).input_ids)


@given(st.data())
def test_random_ids_of_the_story_teller_tile_their_text(stories, data):
    tokenizer = stories[1]
    assert_tiled(tokenizer, data.draw(ids_of(tokenizer)))


def test_parts_of_one_character_share_its_span():
    ids = BYTES("a🙂b").input_ids
    spelling = spell(BYTES, ids)
    assert spelling.char_start == [0, 1, 1, 1, 1, 2]
    assert spelling.char_end == [1, 2, 2, 2, 2, 3]
    assert spelling.token == ["a", "🙂", "🙂", "🙂", "🙂", "b"]


def test_a_character_in_one_token_has_its_own_span():
    assert spell(BYTES, BYTES("né n").input_ids).token == ["n", "é", " ", "n"]


def test_a_special_token_has_an_empty_span_and_its_own_name():
    ids = [*BYTES("an").input_ids, BYTES.eos_token_id, *BYTES("t").input_ids]
    spelling = spell(BYTES, ids)
    assert (spelling.text, spelling.token) == ("ant", ["an", "<|end|>", "t"])
    assert (spelling.char_start, spelling.char_end) == ([0, 2, 2], [2, 2, 3])


def test_a_control_token_without_a_role_keeps_the_space_that_follows_it():
    the = FALLBACK.convert_tokens_to_ids("▁the")
    spelling = spell(FALLBACK, [the, CONTROL, the])
    assert spelling.text == "the the"
    assert spelling.token == ["the", "<|turn|>", " the"]


def test_nothing_is_spelt_as_nothing():
    assert spell(BYTES, []) == ("", [], [], [])


def test_an_unfinished_character_at_the_end_is_shown_as_the_decoder_shows_it():
    ids = BYTES("a🙂").input_ids[:-1]
    assert spell(BYTES, ids).text == BYTES.decode(ids)


@pytest.mark.parametrize("tokenizer", [BYTES, FALLBACK], ids=["byte level", "byte fallback"])
def test_four_thousand_tokens_are_spelt_within_a_second(tokenizer):
    ids = BYTES("an é in the 🙂. " * 400).input_ids if tokenizer is BYTES else [260, 261, 262, 263, 30] * 800
    assert len(ids) >= 4000
    start = time.process_time()
    spell(tokenizer, ids)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("tokenizer", "ids"),
    [
        (BYTES, BYTES.convert_tokens_to_ids(["Ã"]) * 10_000),
        (FALLBACK, FALLBACK.convert_tokens_to_ids(["<0xC3>"]) * 10_000),
        (FALLBACK, FALLBACK.convert_tokens_to_ids(["<0xC3>", "<0xA9>"]) * 5_000),
    ],
    ids=["halves, byte level", "halves, byte fallback", "whole, byte fallback"],
)
def test_ten_thousand_bytes_are_spelt_within_a_second_whether_they_make_characters_or_not(tokenizer, ids):
    start = time.process_time()
    spelling = spell(tokenizer, ids)
    assert time.process_time() - start < 1
    assert spelling.text == tokenizer.decode(ids)
