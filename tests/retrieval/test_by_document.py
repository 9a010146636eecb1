"""Documents in place of passages: each once, by its best, and as many as were asked for."""

from __future__ import annotations

import pytest

from foveal.retrieval.by_document import MOST, best_of_each
from foveal.types import Hit, Passage, Span


def hit(document: str, place: int) -> Hit:
    return Hit(Passage(Span(document, place, place + 1), "x"), -float(place), "test")


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_each_document_comes_once_by_its_best_passage_in_order(k):
    """One has the twenty best passages: more are asked for until there are enough documents, or no more passages."""
    found = [hit(name, place) for place, name in enumerate(["a"] * 20 + ["b", "a", "b", "c", "c", "d"])]
    best = [found[0], found[20], found[23], found[25]]
    assert best_of_each(lambda most: found[:most], k) == best[:k]


def test_one_long_book_is_not_read_whole():
    asked = []

    def search(most: int) -> list[Hit]:
        asked.append(most)
        return [hit("book", place) for place in range(most)]

    assert [one.passage.span.start for one in best_of_each(search, 5)] == [0]
    assert asked[-1] == MOST
    assert [one.passage.span.start for one in best_of_each(search, 2 * MOST)] == [0]
