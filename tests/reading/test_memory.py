"""What is kept: the best sentences within a budget, always whole and verbatim."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.reading.memory import POOL, Kept, Memory, excerpts, in_order, leaning, within

SENTENCES = [
    "The keeper is Orsin Vale. ",
    "He lives above the mill.  ",
    "Rain fell!\n\n",
    "Nobody came. ",
    "So they left early. ",
    "The end.",
]
TEXT = "".join(SENTENCES)
PLACES = list(pairwise(accumulate(map(len, SENTENCES), initial=0)))


def kept(number: int, score: float = 0.5, tokens: int = 10, *, window: int = 0) -> Kept:
    (start, end), before = PLACES[number], PLACES[number - 1] if number else (0, 0)
    return Kept(start, end, TEXT[start:end], tokens, score, window, TEXT[slice(*before)])


def sentences():
    """Sentences that follow each other, of any size and score."""
    one = st.tuples(st.integers(1, 20), st.floats(-0.1, 1))

    def laid_out(sizes):
        place, found = 0, []
        for size, score in sizes:
            found.append(Kept(place, place + size, "x" * size, size, score, 0))
            place += size
        return found

    return st.lists(one, max_size=60).map(laid_out)


@given(stream=sentences(), budget=st.integers(1, 60), floor=st.floats(0, 0.5), batch=st.integers(1, 7))
def test_the_budget_is_never_exceeded(stream, budget, floor, batch):
    memory = Memory(budget, floor)
    for start in range(0, len(stream), batch):
        memory.add(stream[start : start + batch])
        chosen = memory.chosen()
        assert sum(one.tokens for one in chosen) == memory.tokens <= budget
        assert sum(one.tokens for one in memory.kept) <= 2 * POOL * budget
        assert all(one.score >= floor for one in chosen)
        assert [one.start for one in chosen] == sorted({one.start for one in chosen})


@given(stream=sentences(), budget=st.integers(1, 60), batch=st.integers(1, 7))
def test_the_best_that_fits_is_always_kept(stream, budget, batch):
    memory = Memory(budget, 0.0)
    for start in range(0, len(stream), batch):
        memory.add(stream[start : start + batch])
    worth = [one for one in stream if one.score >= 0 and one.tokens <= budget]
    if worth:
        best = max(worth, key=lambda one: (one.score, -one.start))
        assert best in memory.chosen()
        assert memory.top >= best.score


def test_add_tells_how_many_were_worth_it():
    memory = Memory(100, 0.2)
    assert memory.add([kept(0, 0.1), kept(1, 0.2), kept(2, 0.9)]) == 2
    assert (memory.top, [one.start for one in memory.kept]) == (0.9, [26, 52])


def test_best_first_and_what_does_not_fit_is_passed_over():
    many = [kept(0, 0.9, 6), kept(1, 0.8, 5), kept(2, 0.7, 4), kept(3, 0.7, 1)]
    assert [one.start for one in within(many, 10)] == [0, 52]
    assert [one.start for one in within(many, 11)] == [0, 26]
    assert within(many, 0) == []


def test_of_a_sentence_read_twice_the_better_score_counts():
    again = [kept(2, 0.1), kept(0, 0.3), kept(2, 0.4, window=7), kept(2, 0.2)]
    assert in_order(again) == [kept(0, 0.3), kept(2, 0.4, window=7)]


def test_a_sentence_read_twice_takes_its_tokens_once():
    memory = Memory(20, 0.0)
    memory.add([kept(0, 0.9), kept(0, 0.8, window=3), kept(1, 0.7)])
    assert memory.chosen() == [kept(0, 0.9), kept(1, 0.7)]
    assert memory.tokens == 20


def test_sentences_that_follow_each_other_are_one_excerpt():
    found = excerpts([kept(0, 0.1), kept(2, 0.2), kept(3, 0.4), kept(5, 0.3)])
    assert [(one.text, one.score) for one in found] == [
        ("The keeper is Orsin Vale.", 0.1),
        ("Rain fell!\n\nNobody came.", 0.4),
        ("The end.", 0.3),
    ]


def test_what_is_leant_on_is_part_of_the_excerpt():
    assert [one.text for one in excerpts([kept(1), kept(4)])] == [
        "The keeper is Orsin Vale. He lives above the mill.",
        "Nobody came. So they left early.",
    ]


@given(st.sets(st.integers(0, 5)).map(sorted))
def test_excerpts_are_slices_of_the_text_apart_from_each_other(numbers):
    found = excerpts([kept(number) for number in numbers])
    assert all(TEXT[one.start : one.end] == one.text == one.text.strip() for one in found)
    assert all(one.end < other.start for one, other in pairwise(found))
    for number in numbers:
        start, end = PLACES[number]
        assert any(one.start <= start and TEXT[start:end].rstrip() in one.text for one in found)


def test_blank_sentences_give_no_excerpt():
    assert excerpts([Kept(0, 3, " \n ", 1, 0.5, 0)]) == []


@pytest.mark.parametrize("begin", ["He", "it", '"They', "(But", "  So", "The latter", "Therefore,", "This", "“Such"])
def test_a_sentence_that_points_back_brings_the_one_before(begin):
    one = Kept(10, 20, f"{begin} slept.", 3, 0.5, 0, "A bear came. ")
    assert (leaning(one).start, leaning(one).end) == (-3, 20)
    assert leaning(one).text == f"A bear came. {begin} slept."


@pytest.mark.parametrize("begin", ["Hector", "Items", "Thesis", "A", "Sofia", "Theirs", "Wool"])
def test_another_stands_alone(begin):
    one = Kept(10, 20, f"{begin} slept.", 3, 0.5, 0, "A bear came. ")
    assert leaning(one) is one


def test_the_first_sentence_of_a_window_stands_alone():
    one = Kept(10, 20, "He slept.", 3, 0.5, 0, "")
    assert leaning(one) is one
