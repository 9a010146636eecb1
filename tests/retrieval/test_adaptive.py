from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval.shelf import ByTruth, Shelf, hit, names

from foveal.errors import InputError
from foveal.retrieval.adaptive import AdaptiveRanker, adaptive, corpus_graph, vector_neighbours

KEYS = st.sampled_from(range(12))


def gar_by_definition(first, truth, graph, budget, batch):
    """Algorithm 1 of the paper, with lists."""
    ranking, frontier, done, turn = list(first), {}, [], "ranking"
    while len(done) < budget and (ranking or frontier):
        pool = ranking if turn == "ranking" else sorted(frontier, key=lambda key: -frontier[key])
        if not pool:
            pool = ranking or sorted(frontier, key=lambda key: -frontier[key])
        taken = pool[: min(batch, budget - len(done))]
        done += taken
        ranking = [key for key in ranking if key not in taken]
        frontier = {key: score for key, score in frontier.items() if key not in taken}
        for key in taken:
            for near in graph[key]:
                if near not in done:
                    frontier[near] = max(truth[key], frontier.get(near, truth[key]))
        turn = "frontier" if turn == "ranking" else "ranking"
    return done


@settings(max_examples=60)
@given(
    st.lists(KEYS, unique=True, max_size=8),
    st.lists(st.floats(-5, 5, width=32), min_size=12, max_size=12, unique=True),
    st.lists(st.lists(KEYS, max_size=4), min_size=12, max_size=12),
    st.integers(1, 12),
    st.integers(1, 5),
)
def test_adaptive_is_the_paper_s_algorithm(first, truth, graph, budget, batch):
    """P5: neighbours of top documents, by turns with the first ranking, under a budget."""
    scores = adaptive(
        first,
        lambda keys: [truth[key] for key in keys],
        lambda keys: [graph[key] for key in keys],
        budget=budget,
        batch=min(batch, budget),
    )
    expected = gar_by_definition(first, truth, graph, budget, min(batch, budget))
    assert list(scores) == expected
    assert scores == {key: truth[key] for key in expected}
    assert len(scores) <= budget


GRAPH = {"a": ["hidden"], "b": ["c"], "c": [], "d": [], "hidden": ["deeper"], "deeper": []}


def near(hits):
    return [[hit(name) for name in GRAPH[one.passage.text]] for one in hits]


def test_the_ranker_finds_what_the_first_search_missed():
    """P5: at the same number of scored passages a good one is found that was not among the candidates."""
    truth = {"a": 5.0, "hidden": 9.0, "deeper": 7.0, "b": 1.0, "c": 2.0}
    first = [hit(name, 4.0 - place) for place, name in enumerate("abcd")]
    ranker = ByTruth(truth)
    ranked = AdaptiveRanker(ranker, near, budget=4, batch=1).rank("q", first)
    assert ranker.scored == [["a"], ["hidden"], ["b"], ["deeper"]]
    assert names(ranked) == ["hidden", "deeper", "a", "b", "c", "d"]
    assert [one.score for one in ranked] == [9.0, 7.0, 5.0, 1.0, 0.0, -1.0]
    assert [one.source for one in ranked] == ["adaptive"] * 4 + ["given"] * 2
    assert names(first) == list("abcd")


def test_without_neighbours_it_is_the_ranker():
    """P5: an empty graph changes nothing."""
    first = [hit(name, 4.0 - place) for place, name in enumerate("abcd")]
    ranked = AdaptiveRanker(ByTruth({"d": 2.0, "b": 1.0}), lambda hits: [[] for _ in hits], budget=9, batch=2)
    assert names(ranked.rank("q", first)) == ["d", "b", "a", "c"]
    assert ranked.rank("q", []) == []


def test_neighbours_by_vectors_leave_the_passage_itself_out():
    """P5: neighbours by vectors."""
    shelf = Shelf({"one": "mill wheel river", "copy": "mill wheel river", "near": "mill wheel", "far": "steam"})
    neighbours = vector_neighbours(shelf.encoder, shelf.nearest, count=2)
    found = neighbours(shelf.search(["mill wheel river"], 1)[0])
    assert [names(group) for group in found] == [["copy", "near"]]
    with pytest.raises(InputError, match="at least 1"):
        vector_neighbours(shelf.encoder, shelf.nearest, count=0)


def test_a_corpus_graph_is_the_nearest_others():
    """P5: the graph of a collection in memory, by definition, with copies among its vectors."""
    vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    vectors[7] = vectors[3]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    graph = corpus_graph(vectors, 4)
    assert (graph.shape, graph.dtype) == ((30, 4), np.int64)
    for row in range(30):
        products = {other: float(vectors[row] @ vectors[other]) for other in range(30) if other != row}
        assert len(set(graph[row])) == 4
        assert [products[other] for other in graph[row]] == pytest.approx(sorted(products.values())[:-5:-1], abs=1e-6)
    assert corpus_graph(vectors[:3], 9).shape == (3, 2)
    for wrong in (lambda: corpus_graph(vectors, 0), lambda: corpus_graph(vectors[:1], 2)):
        with pytest.raises(InputError, match="A corpus graph got"):
            wrong()


@pytest.mark.parametrize("wrong", [{"budget": 0}, {"batch": 0}, {"budget": 3, "batch": 4}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match="1 <= batch <= budget"):
        AdaptiveRanker(ByTruth({}), near, **wrong)
