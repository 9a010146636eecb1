"""Sentences and windows: they cover any text, whatever it is made of and however it comes."""

from __future__ import annotations

from itertools import chain, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foveal.reading.sentences import BLOCK, blocks_of, packed, read_sentences
from foveal.reading.tokens import PlainTokens

PIECES = [
    "He came. ", "Dr. ", "3.1", "4 ", "\r\n", "\n", "\n\n", " ", "\t", "word ", "words", "。", "漢字", "?! ", "…",
    "👩‍👩‍👧", "e\u0301", "\u200d", "\u2028", "- item\n", "| a | b |\n", "x" * 90, " " * 50, "<|end|>", "a;b,c ",
]  # fmt: skip
TEXTS = st.text(st.characters(codec="utf-8"), max_size=60) | st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
SHAPES = {
    "sentences": "The mill stood. It rained! ",
    "no marks": "river keeper mill ",
    "lines": "a,b,c,1\r\n",
    "one line": "x",
    "blanks": " ",
    "ideographs": "漢字。",
    "an emoji": "👩‍👩‍👧",
}


def encode_many(texts):
    """One token a byte."""
    return [list(text.encode()) for text in texts]


def offsets(text):
    return [(place, place + 1) for place, character in enumerate(text) for _ in character.encode()]


def read(text: str, *, size: int = BLOCK, longest: int = 128, encode=encode_many, places=offsets):
    return list(read_sentences(blocks_of(text, size), encode, places, longest=longest))


def assert_covers(sentences, text: str) -> None:
    assert [one.start for one in sentences] == [0, *(one.end for one in sentences)][: len(sentences)]
    assert "".join(one.text for one in sentences) == text
    assert all(one.text == text[one.start : one.end] and one.text for one in sentences)


def test_exact_sentences_of_a_small_text():
    text = "  Dr. Poe sat. Was it late?\n\nIt was!"
    found = read(text)
    assert [(one.start, one.end, one.text) for one in found] == [
        (0, 15, "  Dr. Poe sat. "),
        (15, 29, "Was it late?\n\n"),
        (29, 36, "It was!"),
    ]
    assert [one.ids for one in found] == [tuple(one.text.encode()) for one in found]
    assert list(map(len, found)) == [15, 14, 7]


@given(text=TEXTS, longest=st.integers(8, 40), size=st.integers(1, 50))
@example(text="\r\n \r\n", longest=8, size=1)
@example(text="   \n\n  He came.", longest=8, size=3)
@example(text="🇨🇭" * 9, longest=8, size=5)
def test_any_text_in_any_blocks_is_covered_by_sentences_within_the_limit(text, longest, size):
    for blocks in (BLOCK, size):
        found = read(text, size=blocks, longest=longest)
        assert_covers(found, text)
        assert all(len(one) <= longest for one in found)


@given(text=TEXTS, longest=st.integers(8, 40))
def test_the_tokens_of_a_sentence_are_its_own(qwen, text, longest):
    tokens = PlainTokens(qwen)
    found = read(text, longest=longest, encode=tokens.encode_many, places=tokens.offsets)
    assert_covers(found, text)
    assert all(list(one.ids) == tokens.encode(one.text) for one in found)
    assert all(tokens.decode(one.ids) == one.text for one in found)


def test_a_text_without_anything_has_no_sentences():
    assert read("") == []
    assert list(packed([], 10)) == []


def test_a_long_sentence_is_cut_at_the_ends_of_lines():
    text = "".join(f"row {number};\r\n" for number in range(9))
    found = read(text, longest=20)
    assert_covers(found, text)
    assert [one.text for one in found[:2]] == ["row 0;\r\nrow 1;\r\n", "row 2;\r\nrow 3;\r\n"]
    assert [one.text for one in read(text, longest=16)[:2]] == [one.text for one in found[:2]]  # as many as just fit


def test_a_long_line_is_cut_between_words(qwen):
    tokens = PlainTokens(qwen)
    text = "keepermill questionable " * 60
    found = read(text, longest=64, encode=tokens.encode_many, places=tokens.offsets)
    assert_covers(found, text)
    assert 7 <= len(found) <= 9
    assert {one.text.split()[-1] for one in found} == {"keepermill", "questionable"}
    assert all(one.text.endswith(" ") for one in found)


def test_what_cannot_be_cut_stays_whole():
    family = "👩‍👩‍👧"  # five characters, eighteen bytes
    found = read(family * 4, longest=8, encode=lambda texts: [[0] * 18 for _ in texts], places=lambda _: [(0, 20)] * 72)
    assert [one.text for one in found] == [family * 4]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_text_larger_than_all_blocks_is_covered(shape):
    text = SHAPES[shape] * (5 * BLOCK // len(SHAPES[shape]))
    found = read(text)
    assert_covers(found, text)
    assert max(map(len, found)) <= 128


@pytest.mark.parametrize("shape", SHAPES)
def test_the_work_grows_as_the_text(shape):
    def characters(size: int) -> int:
        """Those that the tokenizer is given for a text of `size`."""
        given = [0]

        def counted(function):
            def call(texts):
                given[0] += len(texts) if isinstance(texts, str) else sum(map(len, texts))
                return function(texts)

            return call

        text = SHAPES[shape] * (size // len(SHAPES[shape]))
        read(text, encode=counted(encode_many), places=counted(offsets))
        return given[0]

    assert characters(8 * BLOCK) <= 2.2 * characters(4 * BLOCK) <= 2.2 * 6 * 4 * BLOCK


@given(text=TEXTS, size=st.integers(8, 80), longest=st.integers(8, 80))
def test_windows_take_as_many_whole_sentences_as_fit(text, size, longest):
    sentences = read(text, longest=longest)
    windows = list(packed(iter(sentences), size))
    assert list(chain(*windows)) == sentences
    assert all(sum(map(len, window)) <= size or len(window) == 1 for window in windows)
    assert all(sum(map(len, window)) + len(following[0]) > size for window, following in pairwise(windows))
