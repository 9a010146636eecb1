"""Pairwise ranking: passes from the bottom, both orders, and what a model's letters say."""

from __future__ import annotations

import pytest
from tiny import tiny

from foveal.errors import InputError
from foveal.ranking.pairwise import PairwiseRanker
from foveal.types import Hit, Passage, Span


def hits(*texts):
    return [Hit(Passage(Span(f"d{n}", 0, len(text)), text), 1.0, "x") for n, text in enumerate(texts)]


def by_number(asked):
    def prefers(query, one, other):
        asked.append((one, other))
        return float(one) - float(other)

    return prefers


def test_so_many_passes_bring_so_many_to_the_top():
    asked = []
    ranker = PairwiseRanker(None, passes=2, prefers=by_number(asked))
    found = [hit.passage.text for hit in ranker.rank("q", hits("3", "1", "4", "1.5", "9", "2"))]
    assert found[:2] == ["9", "4"]
    assert len(asked) == 5 + 4
    assert asked[0] == ("2", "9")  # from the bottom
    whole = PairwiseRanker(None, passes=9, prefers=by_number([])).rank("q", hits("3", "1", "4", "1.5", "9", "2"))
    assert [hit.passage.text for hit in whole] == ["9", "4", "3", "2", "1.5", "1"]
    assert sum(hit.score for hit in whole) == pytest.approx(1.0)


def test_nothing_is_asked_twice():
    asked = []
    ranker = PairwiseRanker(None, passes=4, prefers=by_number(asked))
    found = ranker.rank("q", hits("9", "8", "7", "5", "6", "4"))
    assert [hit.passage.text for hit in found] == ["9", "8", "7", "6", "5", "4"]
    assert asked == [("4", "6"), ("6", "5"), ("6", "7"), ("7", "8"), ("8", "9"), ("4", "5")]
    ranker.rank("another", hits("9", "8"))
    assert asked[6:] == [("8", "9")]  # what was said for one query says nothing of another


def test_what_is_behind_the_budget_keeps_its_place_and_few_or_none_are_ranked():
    ranker = PairwiseRanker(None, passes=1, budget=2, prefers=by_number([]))
    assert [hit.passage.text for hit in ranker.rank("q", hits("1", "2", "9"))] == ["2", "1", "9"]
    assert ranker.rank("q", []) == []
    assert len(ranker.rank("q", hits("1"))) == 1
    with pytest.raises(InputError, match="empty"):
        ranker.rank(" ", hits("1"))
    with pytest.raises(InputError, match="at least 1"):
        PairwiseRanker(None, passes=0)


def test_a_models_preference_does_not_depend_on_which_stands_first(tmp_path):
    ranker = PairwiseRanker(tiny("qwen", tmp_path, positions=512))
    one = ranker._prefers("mill", "the mill grinds", "the cat sleeps")
    assert one == pytest.approx(-ranker._prefers("mill", "the cat sleeps", "the mill grinds"), abs=1e-5)
    assert ranker._prefers("mill", "the same", "the same") == pytest.approx(0.0, abs=1e-6)
    assert len(ranker.rank("mill", hits("the mill grinds", "the cat sleeps", "a river"))) == 3
