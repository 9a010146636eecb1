"""What a question's words and its meaning add to what attention keeps."""

from __future__ import annotations

import math

import pytest

from foveal.reading.memory import Kept, in_order, within
from foveal.reading.skim import K1, B
from foveal.reading.witnesses import CANDIDATES, MEANING, WORDS, Witnesses

QUESTION = "Who keeps the key of the mill?"
TEXTS = ["The mill stands still.", "A key hangs there.", "The key of the mill is kept.", "It rained.", "He ran on."]


def kept(number: int, text: str, score: float = 0.0, like: float = 0.0) -> Kept:
    return Kept(number * 100, number * 100 + len(text), text, 5 + number, score, 0, like=like)


def read(scores=(0.2, 0.0, 0.1, 2.0, 0.3)) -> tuple[Witnesses, list[Kept]]:
    words, every = (
        Witnesses(),
        [kept(n, text, score) for n, (text, score) in enumerate(zip(TEXTS, scores, strict=True))],
    )
    words.add(QUESTION, every[:2])
    words.add(QUESTION, every[2:])
    return words, every


def test_scores_are_bm25_of_each_word_once():
    words, every = read()
    holding = {"key": 2, "mill": 2}
    mean = sum(one.tokens for one in every) / 5
    for one in every:
        found = [word for word in holding if word in one.text]
        weight = sum(math.log(1 + (5 - holding[word] + 0.5) / (holding[word] + 0.5)) for word in found)
        expected = weight * (K1 + 1) / (1 + K1 * (1 - B + B * one.tokens / mean))
        assert words.score(one.text, one.tokens, {"key", "mill", "keeps"}) == pytest.approx(expected)


def test_the_lift_of_words_is_at_most_their_weight():
    words, every = read()
    lifted = words.lifted(QUESTION, [one for one in every if one.score >= 0.15])
    assert max(one.lift for one in lifted) == pytest.approx(WORDS)
    assert [one.start for one in lifted] == [0, 100, 200, 300, 400]  # the two that attention passed over are back
    assert {one.start: one.lift for one in lifted}[300] == 0
    best = within(lifted, 15)
    assert [one.start for one in best] == [300, 200]


def test_what_is_looked_at_much_stays_first():
    words, every = read()
    order = sorted(words.lifted(QUESTION, every), key=lambda one: -one.worth)
    assert order[0].score == 2.0


def test_worth_is_the_root_of_the_score_and_the_lift():
    likes = (0.1, 0.7, -0.3, 0.0, 0.2)
    every = [kept(n, text, n / 2, like) for n, (text, like) in enumerate(zip(TEXTS, likes, strict=True))]
    witnesses = Witnesses()
    witnesses.add(QUESTION, every)
    asked = {"key", "mill", "keeps"}
    said = [witnesses.score(one.text, one.tokens, asked) for one in every]
    for one, like, words in zip(witnesses.lifted(QUESTION, every), likes, said, strict=True):
        worth = math.sqrt(one.score) + WORDS * words / max(said) + MEANING * max(0.0, like)
        assert one.worth == pytest.approx(worth)
    for one, like in zip(witnesses.lifted(QUESTION, every, words=False), likes, strict=True):
        assert one.worth == pytest.approx(math.sqrt(one.score) + MEANING * max(0.0, like))


def test_what_means_the_same_is_kept_though_attention_and_words_pass_it_over():
    witnesses, looked = Witnesses(), kept(1, "It rained.", 0.4)
    same = kept(2, "Orsin guards the door opener.", 0.0, 0.8)
    witnesses.add(QUESTION, [looked, same])
    found = within(witnesses.lifted(QUESTION, [looked]), same.tokens)
    assert [one.start for one in found] == [same.start]


def test_words_alone_find_nothing():
    words, _ = read()
    assert words.lifted(QUESTION, []) == []


def test_a_long_text_leaves_the_best_candidates():
    words, rare = Witnesses(), kept(77, "The key of the mill is kept.")
    for number in range(1000):
        words.add(QUESTION, [rare if number == 77 else kept(number, "A mill, and another mill.")])
    assert len(words.best) <= 4 * CANDIDATES
    lifted = words.lifted(QUESTION, [kept(5000, "Something.", 1.0)])
    assert max(lifted, key=lambda one: one.lift).start == rare.start


def test_a_long_text_leaves_what_is_most_alike():
    witnesses = Witnesses()
    for number in range(1000):
        witnesses.add(QUESTION, [kept(number, "It rained.", 0.0, 0.9 if number == 77 else 0.4)])
    assert len(witnesses.nearest) <= 4 * CANDIDATES
    lifted = witnesses.lifted(QUESTION, [kept(5000, "Something.", 0.2)])
    assert max(lifted, key=lambda one: one.lift).start == 7700


def test_a_copy_is_apart():
    words, every = read()
    before = words.copy()
    words.add(QUESTION, every)
    assert (before.sentences, before.holding) == (5, {"key": 2, "mill": 2})
    assert len(in_order(before.best)) == 3
