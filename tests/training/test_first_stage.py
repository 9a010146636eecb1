"""What a training takes from its first search: negatives that a second start finds again, and a part of the corpus."""

from __future__ import annotations

import pytest

from foveal.training.examples import Examples
from foveal.training.first_stage import dev_part, kept_negatives

CORPUS = {f"d{number}": f"text {number}" for number in range(12)}
EXAMPLES = Examples({"q": "one", "p": "other"}, CORPUS, {"q": {"d7": 1}, "p": {"d9": 1, "d8": 2, "d1": 0}})


class Found:
    """A search that finds the documents from the last one on, and notes how many were asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, queries, k):
        self.asked.append(k)
        return [{name: float(number) for number, name in list(enumerate(CORPUS))[::-1][:k]} for _ in queries]


def test_negatives_are_those_of_the_search_and_the_same_after_a_second_start(tmp_path):
    search = Found()
    first = kept_negatives(tmp_path, search, EXAMPLES, depth=2, spare=3, count=1, seed=0)
    assert search.asked == [5]
    assert first == {"q": ["d11", "d10"], "p": ["d1", "d11", "d10"]}  # what was judged wrong comes beside them
    assert kept_negatives(tmp_path, search, EXAMPLES, depth=4, count=3, seed=1) == first
    assert search.asked == [5]


def test_as_many_negatives_as_are_asked_for_and_none_at_all(tmp_path):
    search = Found()
    whole = kept_negatives(tmp_path / "some", search, EXAMPLES, depth=1, count=6, seed=0)
    assert [len(pool) for pool in whole.values()] == [6, 6]
    assert whole["q"][0] == "d11"
    assert kept_negatives(tmp_path / "none", search, EXAMPLES, depth=1, count=0, seed=0) == {}
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("most", "others", "asked", "expected"),
    [
        (8, None, 2, ["d7", "d8", "d9", "d11", "d10", "d0", "d1", "d2"]),
        (6, ["d5", "d10", "d4"], 1, ["d7", "d8", "d9", "d11", "d5", "d10"]),
        (2, None, 1, ["d7", "d8", "d9", "d11"]),  # what answers and what is found first is never left out
        (99, ["d5"], 24, ["d7", "d8", "d9", *(f"d{n}" for n in (11, 10, 6, 5, 4, 3, 2, 1, 0))]),
    ],
)
def test_a_part_of_the_corpus_holds_the_answers_then_what_is_found_then_others(most, others, asked, expected):
    search = Found()
    part = dev_part(EXAMPLES, search, most, others)
    assert list(part) == expected
    assert part == {name: CORPUS[name] for name in expected}
    assert search.asked == [asked]
