"""GraphSeg by its published steps over listed cliques, and over texts."""

from __future__ import annotations

import tracemalloc
from itertools import combinations, pairwise

import numpy as np
import pytest
from honest import HashedWords, document

from foveal.errors import InputError
from foveal.text.graphseg import GraphSeg, graph_boundaries


def maximal_cliques(edges, count):
    """All sets of sentences that are joined each to each and can take no further one: by trying them all."""
    joined = {frozenset(edge) for edge in edges}
    cliques = [
        set(chosen)
        for size in range(1, count + 1)
        for chosen in combinations(range(count), size)
        if all(frozenset(pair) in joined for pair in combinations(chosen, 2))
    ]
    return [one for one in cliques if not any(one < other for other in cliques)]


def by_the_paper(vectors, threshold, least):
    """Its three steps, each read word for word."""
    count = len(vectors)
    edges = [(a, b) for a, b in combinations(range(count), 2) if vectors[a] @ vectors[b] > threshold]
    cliques = maximal_cliques(edges, count)
    first = [[0]]
    for at in range(1, count):
        shares = any({at - 1, at} <= clique for clique in cliques)
        first[-1].append(at) if shares else first.append([at])
    merged = [list(first[0])]
    for before, after in pairwise(first):
        shares = any(clique & set(before) and clique & set(after) for clique in cliques)
        merged[-1].extend(after) if shares else merged.append(list(after))
    at = 0
    while at < len(merged):
        if len(merged[at]) >= least or len(merged) == 1:
            at += 1
            continue

        def related(other, own=at):
            if not 0 <= other < len(merged):
                return -np.inf
            return np.mean([vectors[a] @ vectors[b] for a in merged[own] for b in merged[other]])

        other = at + 1 if related(at + 1) > related(at - 1) else at - 1
        low, high = min(at, other), max(at, other)
        merged[low : high + 1] = [merged[low] + merged[high]]
        at = low
    return [segment[0] for segment in merged[1:]]


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("least", [1, 2, 3])
def test_edges_find_what_cliques_do(threshold, least):
    rng = np.random.default_rng(int(10 * threshold) + least)
    for count in (1, 2, 5, 8, 9):
        for _ in range(5):
            vectors = rng.standard_normal((count, 3))
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            assert graph_boundaries(vectors, threshold, least) == by_the_paper(vectors, threshold, least)


def test_the_papers_example():
    """Its cliques are {1, 2, 6}, {2, 4, 7}, {3, 4, 5}, {1, 8, 9}; its segments {1, …, 5}, {6}, {7}, {8, 9}."""
    joined = {
        frozenset(pair) for clique in ({1, 2, 6}, {2, 4, 7}, {3, 4, 5}, {1, 8, 9}) for pair in combinations(clique, 2)
    }
    gram = np.array(
        [[1.0 if a == b else 0.12 * (frozenset((a, b)) in joined) for b in range(1, 10)] for a in range(1, 10)]
    )
    vectors = np.linalg.cholesky(gram)
    assert graph_boundaries(vectors, 0.06, 1) == [5, 6, 7]


def test_clear_topics_are_parted_and_what_cannot_be_is_refused():
    vectors = np.repeat(np.eye(3), [4, 3, 5], axis=0)
    assert graph_boundaries(vectors, 0.3) == [4, 7]
    assert graph_boundaries(np.zeros((0, 3))) == []
    assert graph_boundaries(np.ones((1, 1))) == []
    for wrong in ({"threshold": 2.0}, {"least": 0}):
        with pytest.raises(InputError, match="GraphSeg"):
            graph_boundaries(vectors, **wrong)
    with pytest.raises(InputError, match="finite"):
        graph_boundaries(np.full((2, 2), np.nan))


def test_passages_cover_the_text():
    text = "Cats purr. Cats sleep. Cats eat. Rain falls. Rain stays. Rain ends.\n\nCats again. Cats, cats."
    found = GraphSeg(encoder=HashedWords(), threshold=0.2).segment(document("a", text))
    assert "".join(passage.text for passage in found) == text
    assert len(found) > 1
    assert GraphSeg(encoder=HashedWords()).segment(document("b", "")) == []
    short = GraphSeg(encoder=HashedWords(), max_tokens=5).segment(document("c", text))
    assert all(len(HashedWords().token_offsets(passage.text)) <= 5 for passage in short)


def test_long_segments_are_compared_piece_by_piece():
    """All cosines of 6,000 units with 6,000 would take 288 MB."""
    vectors = np.repeat(np.eye(2), 6000, axis=0)
    tracemalloc.start()
    assert graph_boundaries(vectors) == [6000]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
    vectors[-1] = vectors[0]
    vectors[-2] = [0.7, 0.7]
    assert graph_boundaries(vectors) == []
