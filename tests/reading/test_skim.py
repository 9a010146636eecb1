"""Which windows are worth a look by the question's words, and never more than the share."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.reading.skim import K1, B, bm25, content_words, parts_of, promising

WINDOWS = [
    "The miller counted sacks. It rained.",
    "The keeper of the café is Orsin Vale.",
    "Nobody came. Orsin slept. Orsin left.",
    "守门人是王小明。",
    "The café is closed.",
]
WORDS = st.lists(st.sampled_from(["keeper", "mill", "rain", "orsin", "the", "守门", "café"]), max_size=8)


def by_definition(parts: list[str], words: set[str]) -> list[float]:
    """Robertson and Zaragoza, word by word."""
    texts = [part.lower() for part in parts]
    lengths = [len(part) for part in parts]
    scores = []
    for text, length in zip(texts, lengths, strict=True):
        total = 0.0
        for word in words:
            split = [
                other.replace(".", " ").split().count(word) if word.isascii() else other.count(word) for other in texts
            ]
            holding = sum(n > 0 for n in split)
            n = split[texts.index(text)]
            weight = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
            total += weight * n * (K1 + 1) / (n + K1 * (1 - B + B * length / (sum(lengths) / len(lengths))))
        scores.append(total)
    return scores


@pytest.mark.parametrize("words", [{"orsin"}, {"café", "orsin"}, {"守门"}, {"sacks", "keeper", "unknown"}, set()])
def test_bm25_by_definition(words):
    assert bm25(WINDOWS, [words])[0] == pytest.approx(by_definition(WINDOWS, words))


def test_bm25_of_several_queries_is_that_of_each():
    queries = [{"orsin"}, set(), {"守门", "keeper"}]
    assert bm25(iter(WINDOWS), queries) == [bm25(WINDOWS, [words])[0] for words in queries]
    assert bm25([], queries) == [[], [], []]


def test_words_that_say_something():
    assert content_words("Who is the Keeper of the mill's 12 keys?") == {"keeper", "mill", "s", "12", "keys"}
    assert content_words("谁是守门人？ Orsin") == {"谁是", "是守", "守门", "门人", "orsin"}
    assert content_words("門") == {"門"}
    assert content_words("?! …") == set()


def test_windows_with_the_words_come_first():
    assert promising(WINDOWS, ["Where does Orsin sleep?"], 0.4) == [1, 2]
    assert promising(WINDOWS, ["Where does Orsin sleep?"], 0.2) == [2]
    assert promising(WINDOWS, ["谁是守门人？", "café"], 0.6) == [1, 3, 4]
    assert promising(WINDOWS, ["Where does Orsin sleep?"], 1.0) is None


@given(texts=st.lists(WORDS.map(" ".join), min_size=1, max_size=40), effort=st.floats(0.01, 0.99), asked=WORDS)
def test_the_share_is_read_and_the_best_are_in_it(texts, effort, asked):
    windows = texts
    chosen = promising(windows, [" ".join(asked)], effort)
    assert len(chosen) == max(1, math.ceil(effort * len(windows)))
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(range(len(windows)))
    scores = bm25(windows, [content_words(" ".join(asked))])[0]
    best = max(range(len(scores)), key=lambda number: scores[number])
    assert scores[best] == 0 or best in chosen


def test_without_a_word_of_the_question_they_are_spread():
    windows = [f"line {number}" for number in range(100)]
    assert promising(windows, ["why?"], 0.04) == [0, 25, 50, 75]
    windows[:25] = [f"mill {number}" for number in range(25)]
    assert promising(windows, ["mill?"], 0.3) == [*range(25), 25, 40, 55, 70, 85]


@given(
    blocks=st.lists(st.text("ab .\n。x", max_size=60), max_size=6),
    size=st.integers(1, 40),
)
def test_parts_cover_the_text(blocks, size):
    parts = list(parts_of(blocks, size))
    assert "".join(parts) == "".join(blocks)
    assert all(0 < len(part) <= size for part in parts)
    assert parts == list(parts_of(["".join(blocks)], size))


def test_parts_end_with_lines_sentences_or_words():
    assert list(parts_of(["one two\nthree four"], 12)) == ["one two\n", "three four"]
    assert list(parts_of(["one two. three"], 12)) == ["one two. ", "three"]
    assert list(parts_of(["one two three"], 12)) == ["one two ", "three"]
    assert list(parts_of(["x" * 30], 12)) == ["x" * 12, "x" * 12, "x" * 6]
