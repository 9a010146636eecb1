from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval.shelf import ByTruth, Shelf, hit, names

from foveal.errors import Cancelled, InputError
from foveal.models.chat import Cancel
from foveal.retrieval.pipeline import Pipeline, followed_by

TEXTS = {name: f"{name} common" for name in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")}
TRUTH = {"alpha": 1.0, "beta": 2.0, "gamma": 3.0, "delta": 4.0, "epsilon": 5.0, "zeta": 6.0}


@settings(max_examples=50)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 8))
def test_each_stage_orders_what_its_budget_holds(first, second, k):
    """P1: retriever k1 -> re-ranker k2, by definition."""
    first, second = max(first, second), min(first, second)
    shelf, ranker = Shelf(TEXTS), ByTruth(TRUTH)
    hits = Pipeline([shelf, ranker], [first, second]).search(["alpha common"], k)[0]
    found = names(Shelf(TEXTS).search(["alpha common"], max(first, k))[0])
    expected = sorted(found[:second], key=lambda name: -TRUTH[name]) + found[second:]
    assert names(hits) == expected[:k]
    assert ranker.scored == [found[:second]]
    assert [one.score for one in hits] == sorted((one.score for one in hits), reverse=True)


def test_three_stages_and_what_they_did():
    """P1: budgets per stage, and a report of hits and seconds for each."""
    pipeline = Pipeline([Shelf(TEXTS), ByTruth(TRUTH), ByTruth({"alpha": 1.0})], [6, 4, 2])
    done = pipeline.run(["alpha common", "zeta common", " "], 5)
    counts = [(one.name, one.budget, one.queries, one.taken, one.given) for one in done.stages]
    assert counts == [("Shelf", 6, 3, 0, 12), ("ByTruth", 4, 3, 8, 8), ("ByTruth", 2, 3, 4, 4)]
    assert all(one.seconds >= 0 for one in done.stages)
    assert done.seconds == math.fsum(one.seconds for one in done.stages)
    assert done.hits == pipeline.search(["alpha common", "zeta common", " "], 5)
    assert [len(hits) for hits in done.hits] == [5, 5, 0]


def test_a_pipeline_is_a_retriever():
    """P1: a pipeline may be the first stage of another."""
    inner = Pipeline([Shelf(TEXTS), ByTruth(TRUTH)], [6, 6])
    assert names(Pipeline([inner], [6]).search(["common"], 2)[0]) == ["zeta", "epsilon"]


def test_what_follows_keeps_its_order_below():
    ranked, hits = [hit("c", 0.5)], [hit("a", 9.0), hit("c", 8.0), hit("b", 7.0)]
    assert [(one.passage.text, one.score) for one in followed_by(ranked, hits)] == [
        ("c", 0.5),
        ("a", -0.5),
        ("b", -1.5),
    ]
    assert followed_by([], hits) == hits
    assert followed_by(ranked, []) == ranked


class Broken:
    def __init__(self, hits):
        self.hits = hits

    def search(self, queries, k):  # noqa: ARG002
        return [self.hits] * (len(queries) + 1) if self.hits is None else [self.hits for _ in queries]

    def rank(self, query, hits):  # noqa: ARG002
        return self.hits


@pytest.mark.parametrize(
    ("hits", "message"),
    [
        ([hit("a", math.nan)], "not finite"),
        ([hit("a", 1.0), hit("b", 2.0)], "best first"),
        ([hit("a", 2.0), hit("a", 1.0)], "passage twice"),
    ],
)
def test_a_stage_that_gives_no_ranking_is_named(hits, message):
    """P1: checks of what each stage gives."""
    for pipeline in (Pipeline([Broken(hits)], [3]), Pipeline([Shelf(TEXTS), Broken(hits)], [3, 3])):
        with pytest.raises(InputError, match=f"Broken gave a .*{message}"):
            pipeline.search(["alpha"], 3)
    with pytest.raises(InputError, match="gave 2 lists of hits for 1 queries"):
        Pipeline([Broken(None)], [3]).search(["alpha"], 3)


@pytest.mark.parametrize(
    ("stages", "budgets", "message"),
    [
        ([], [], "a retriever"),
        ([Shelf(TEXTS)], [], "a budget for each"),
        ([Shelf(TEXTS), ByTruth({})], [3, 4], "not grow"),
        ([Shelf(TEXTS), ByTruth({})], [3, 0], "at least 1"),
        ([ByTruth({})], [3], "has no search"),
        ([Shelf(TEXTS), Shelf(TEXTS)], [3, 3], "has no rank"),
    ],
)
def test_wrong_pipelines_are_refused(stages, budgets, message):
    with pytest.raises(InputError, match=message):
        Pipeline(stages, budgets)
    with pytest.raises(InputError, match="at least 1"):
        Pipeline([Shelf(TEXTS)], [3]).search(["alpha"], 0)


def test_a_cancel_stops_between_queries():
    """P1: a search of many stages can be stopped."""
    cancel = Cancel()

    class Stops(ByTruth):
        def rank(self, query, hits):
            cancel.set()
            return super().rank(query, hits)

    ranker = Stops(TRUTH)
    with pytest.raises(Cancelled):
        Pipeline([Shelf(TEXTS), ranker], [3, 3]).run(["alpha", "beta"], 3, cancel=cancel)
    assert len(ranker.scored) == 1
