"""The graph of vectors: the compiled one is the plain one; walks meet few, find the best, and pass what is deleted."""

from __future__ import annotations

import ctypes
import logging
from bisect import insort
from concurrent.futures import ThreadPoolExecutor
from heapq import heappop, heappush

import numpy as np
import pytest

from foveal.errors import InputError, LibraryCorrupt
from foveal.models import compiled
from foveal.models.threads import with_threads
from foveal.retrieval import hnsw
from foveal.retrieval.vectors import DenseIndex, IndexSettings

M, CONSTRUCTION = 4, 20
SMALL = {"kind": "hnsw", "links": M, "construction": CONSTRUCTION}


def whole_numbers(count, *, metric, seed=0):
    """Vectors whose products are exact in whatever order they are added: with cos of length 4, so of one after it."""
    generator = np.random.default_rng(seed)
    if metric == "cos":
        return (generator.integers(0, 2, size=(count, 16)) * 2 - 1).astype(np.float32)
    return generator.integers(-4, 5, size=(count, 20)).astype(np.float32)


def clustered(count, *, seed=0, dimension=32):
    centres = np.random.default_rng(99).normal(size=(40, dimension))
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(count, dimension)) * 0.5
    return (centres[generator.integers(40, size=count)] + noise).astype(np.float32)


@pytest.fixture
def compiler():
    if compiled.library(hnsw.SOURCE) is None:
        pytest.skip("no compiler")


@pytest.fixture
def no_compiler(monkeypatch):
    hnsw.tell.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(compiled, "library", lambda _: None)
        yield patched
    hnsw.tell.cache_clear()


# -- the definition ----------------------------------------------------------------------------------------------------


class Plain:
    """Malkov and Yashunin's algorithms over vectors in Python; `parts` are put in one after another, in batches."""

    def __init__(self, vectors, levels, parts, metric):
        self.vectors, self.levels, self.metric = vectors.astype(np.float64), levels.tolist(), metric
        self.layers = [{} for _ in range(max(self.levels) + 1)]  # of each the links of a vector
        self.count = 0
        for part in parts:
            last = self.count + part
            while self.count < last:
                self.insert(range(self.count, min(last, self.count + hnsw.BATCH)))
            self.attach()

    def near(self, query, one):
        """The distance and the negated vector: sorted, the nearest come first, of equal ones the last."""
        if self.metric == "l2":
            return ((query - self.vectors[one]) ** 2).sum() / 2, -one
        return -float(query @ self.vectors[one]), -one

    def walk(self, query, layer, most, entries, alive=None):
        """Algorithm 2: the nearest, and how many were met; of those alive, and what lies between them."""
        seen, open_, best = set(entries), [], []

        def cut():
            """End with the `most`-th that counts; whether there are so many."""
            counting = [place for place, (_, one) in enumerate(best) if alive is None or alive[-one]]
            if len(counting) >= most:
                del best[counting[most - 1] + 1 :]
            return len(counting) >= most

        for one in entries:
            heappush(open_, self.near(query, one))
            insort(best, self.near(query, one))
        while open_ and (not cut() or open_[0] <= best[-1]):
            for one in self.layers[layer][-heappop(open_)[1]]:
                if one not in seen:
                    seen.add(one)
                    heappush(open_, self.near(query, one))
                    insort(best, self.near(query, one))
                    cut()
        return best, len(seen)

    def choose(self, candidates, most):
        """Algorithm 4: a candidate goes if one that was kept is nearer to it than the target is."""
        kept = []
        for distance, negated in candidates:
            if len(kept) < most and all(self.near(self.vectors[-negated], one)[0] >= distance for one in kept):
                kept.append(-negated)
        return kept

    def entry(self):
        return int(np.argmax(self.levels[: self.count]))

    def descend(self, query, layer):
        """The nearest of the layer above, and how many were met."""
        entries, met = [self.entry()], 0
        for above in range(self.levels[entries[0]], layer, -1):
            best, few = self.walk(query, above, 1, entries)
            entries, met = [-best[0][1]], met + few
        return entries, met

    def look(self, target, batch):
        """Algorithm 1: the neighbours on each layer, among those in the graph and those before it in the batch."""
        query, level, found = self.vectors[target], self.levels[target], {}
        entries = self.descend(query, level)[0] if self.count else []
        for layer in range(level, -1, -1):
            candidates = []
            if self.count and layer <= self.levels[self.entry()]:
                candidates, _ = self.walk(query, layer, CONSTRUCTION, entries)
                entries = [-one for _, one in candidates]
            peers = [self.near(query, one) for one in batch if one < target and self.levels[one] >= layer]
            found[layer] = self.choose(sorted(candidates + peers)[:CONSTRUCTION], M)
        return found

    def insert(self, batch):
        chosen = {target: self.look(target, batch) for target in batch}
        for target, found in chosen.items():
            for layer, kept in found.items():
                self.layers[layer][target] = kept
        for layer, rows in enumerate(self.layers):
            back = {}
            for target in batch:
                for one in chosen[target].get(layer, []):
                    back.setdefault(one, []).append(target)
            for one, more in back.items():
                rows[one] = rows[one] + more
                if len(rows[one]) > (M if layer else 2 * M):
                    candidates = sorted(self.near(self.vectors[one], other) for other in rows[one])
                    rows[one] = self.choose(candidates, M if layer else 2 * M)
        self.count = batch[-1] + 1

    def attach(self):
        """Ways to those to which none leads on layer 0: from a neighbour, or one's, that has one and has room."""
        rows, seen = self.layers[0], set()

        def follow(one):
            seen.add(one)
            for other in rows[one]:
                if other not in seen:
                    follow(other)

        follow(self.entry())
        before = -1
        while before < len(seen):
            before = len(seen)
            for one in range(self.count):
                around = rows[one] + [far for near in rows[one] for far in rows[near]]
                ways = [near for near in around if near in seen and len(rows[near]) < 2 * M]
                if one not in seen and ways:
                    rows[ways[0]].append(one)
                    follow(one)
        self.reached = len(seen)

    def search(self, query, k, effort, alive=None):
        """Algorithm 5."""
        entries, above = self.descend(query, 0)
        best, met = self.walk(query, 0, max(k, effort), entries, alive)
        return [one for one in best if alive is None or alive[-one[1]]][:k], above + met


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("metric", ["cos", "ip", "l2"])
@pytest.mark.parametrize("parts", [(300,), (170, 130)])
def test_the_compiled_graph_is_the_plain_one_and_hangs_on_no_thread(metric, parts):
    """I4."""
    vectors, queries = whole_numbers(300, metric=metric), whole_numbers(6, metric=metric, seed=1)
    for threads in (1, 3):
        with with_threads(threads):
            index = DenseIndex.build(
                range(parts[0]), vectors[: parts[0]], IndexSettings(metric=metric, effort=9, **SMALL)
            )
            if parts[1:]:
                index.add(range(parts[0], 300), vectors[parts[0] :])
            graph = index._graph
            found, scores, compared = graph.search(queries / (4 if metric == "cos" else 1), 5, effort=9)
        plain = Plain(vectors / (4 if metric == "cos" else 1), graph.levels, parts, metric)
        assert not (graph.levels == hnsw.TWIN).any()
        assert max(plain.levels) >= 2
        assert plain.reached == 300
        for one in range(300):
            assert graph.links[one][graph.links[one] >= 0].tolist() == plain.layers[0][one]
            for layer in range(1, plain.levels[one] + 1):
                row = graph.upper[graph._starts[one] + layer - 1]
                assert row[row >= 0].tolist() == plain.layers[layer][one]
        for row, query in enumerate(queries / (4 if metric == "cos" else 1)):
            best, met = plain.search(query.astype(np.float64), 5, 9)
            assert found[row].tolist() == [-one for _, one in best]
            assert compared[row] == met
            offset = (query**2).sum() / 2 if metric == "l2" else 0
            assert scores[row] == pytest.approx([offset - distance for distance, _ in best])


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_walks_through_what_is_deleted_are_the_plain_ones(share):
    """I9: the same are found, and as many are met; few that are alive, and many."""
    vectors, queries = whole_numbers(150, metric="l2"), whole_numbers(8, metric="l2", seed=1)
    alive = np.random.default_rng(3).random(150) < share
    graph = DenseIndex.build(range(150), vectors, IndexSettings(metric="l2", effort=6, **SMALL))._graph
    plain = Plain(vectors, graph.levels, [150], "l2")
    found, _, compared = graph.search(queries, 4, effort=6, alive=alive)
    for row, query in enumerate(queries.astype(np.float64)):
        best, met = plain.search(query, 4, 6, alive)
        assert found[row].tolist() == [-one for _, one in best]
        assert compared[row] == met


def test_one_in_m_goes_up_a_level():
    levels = hnsw.drawn_levels(100_000, 0, 16, seed=3)
    assert [float((levels >= level).mean()) for level in (1, 2)] == pytest.approx([1 / 16, 1 / 256], rel=0.15)
    assert np.array_equal(levels, hnsw.drawn_levels(100_000, 0, 16, seed=3))
    assert not np.array_equal(levels[:1000], hnsw.drawn_levels(1000, 0, 16, seed=4))
    assert not np.array_equal(levels[:1000], hnsw.drawn_levels(1000, 50, 16, seed=3))


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1], [0], [3], [2, 1]], [[1], [0, 2], [3], [2, 1]]),  # not at 3, which no way leads to
        ([[1], [0], [3], [4], [1]], [[1], [0, 3], [3], [4, 2], [1]]),  # to 2 only once one leads to 3
    ],
)
def test_ways_to_an_island_begin_where_a_way_leads(rows, expected):
    """At one's neighbours, or theirs: the first that is reached."""
    links = np.array([row + [-1] * (2 * M - len(row)) for row in rows], dtype=np.int32)
    above = np.empty((0, M), dtype=np.int32)
    graph = hnsw.Graph(clustered(len(rows)), links, np.zeros(len(rows), dtype=np.uint8), above, "ip")
    assert hnsw._native().foveal_hnsw_attach(ctypes.byref(graph._call())) == 0
    assert [[one for one in row if one >= 0] for row in links.tolist()] == expected


# -- what walks find ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("metric", ["cos", "ip", "l2"])
def test_walks_meet_few_and_find_the_best(metric):
    """I4: recall, and that it is not flat inside."""
    vectors, queries = clustered(4000), clustered(100, seed=1)
    index = DenseIndex.build(range(4000), vectors, IndexSettings(kind="hnsw", metric=metric, effort=64))
    stats = index.stats(queries)
    assert stats.recall >= 0.97
    assert stats.compared < 1000
    assert 4 * 32 + 8 * 16 < stats.searched_bytes < 4 * 33 + 8 * 16 + 10
    found, scores = index.search(queries, 10)
    again, one_by_one = zip(*(index.search(query[None], 10) for query in queries), strict=True)
    assert np.array_equal(found, np.concatenate(again))
    assert np.array_equal(scores, np.concatenate(one_by_one))
    flat = DenseIndex.build(range(4000), vectors, IndexSettings(metric=metric))
    same = flat.search(queries, 4000)
    for row in range(100):
        of = dict(zip(same[0][row].tolist(), same[1][row].tolist(), strict=True))
        assert scores[row] == pytest.approx([of[one] for one in found[row].tolist()], abs=1e-3)
    little = DenseIndex.build(range(4000), vectors, IndexSettings(kind="hnsw", metric=metric, effort=10)).stats(queries)
    assert little.compared < stats.compared
    assert little.recall < stats.recall


@pytest.mark.usefixtures("compiler")
def test_products_of_vectors_of_all_lengths_are_found():
    """I4: an inner product is no metric; the longest vectors are most answers."""
    lengths = np.exp(np.random.default_rng(5).normal(size=(4000, 1)) / 2).astype(np.float32)
    index = DenseIndex.build(range(4000), clustered(4000) * lengths, IndexSettings(kind="hnsw", metric="ip"))
    assert index.stats(clustered(50, seed=1)).recall >= 0.97


@pytest.mark.usefixtures("compiler")
def test_what_is_deleted_is_walked_through_and_not_found():
    """I9: holes."""
    vectors, queries = clustered(3000), clustered(40, seed=1)
    index = DenseIndex.build(range(3000), vectors, IndexSettings(kind="hnsw", effort=64))
    gone = np.unique(index.search(queries, 40)[0])  # all around the queries
    index.delete(gone)
    found, _ = index.search(queries, 10)
    assert not np.isin(found, gone).any()
    assert index.stats(queries).recall >= 0.97
    assert index.stats(queries).compared < 1500
    index.add(gone[:100], vectors[gone[:100]])
    assert index.stats(queries).recall >= 0.97
    index.compact()
    built = DenseIndex.build(index._rows["ids"], index._rows["full"], IndexSettings(kind="hnsw", effort=64))
    assert np.array_equal(index._rows["links"], built._rows["links"])
    assert np.array_equal(index._shared["upper"], built._shared["upper"])


@pytest.mark.usefixtures("compiler")
def test_few_that_live_are_all_found():
    index = DenseIndex.build(range(1500), clustered(1500), IndexSettings(metric="l2", effort=3, **SMALL))
    index.delete(range(20, 1500))
    found, _ = index.search(clustered(5, seed=1), 30)
    assert found.shape == (5, 20)
    assert all(sorted(row) == list(range(20)) for row in found.tolist())


@pytest.mark.usefixtures("compiler")
def test_where_few_live_among_many_that_are_deleted_all_are_compared():
    """By products the short ones have few links: where the long ones are gone, walks find other ones than the best."""
    lengths = np.exp(np.random.default_rng(5).normal(size=(3000, 1))).astype(np.float32)
    index = DenseIndex.build(range(3000), clustered(3000) * lengths, IndexSettings(kind="hnsw", metric="ip", effort=64))
    queries = clustered(40, seed=1)
    assert index.stats(queries).compared < 2000
    longest = np.argsort(-np.linalg.norm(index._rows["full"], axis=1))
    index.delete(longest[:2500].tolist())
    assert (index.stats(queries).recall, index.stats(queries).compared) == (1.0, 3000)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    ("metric", "which", "walks"), [("ip", "long", False), ("ip", "any", True), ("cos", "long", True)]
)
def test_where_the_long_ones_are_deleted_all_are_compared_until_the_others_are_linked_anew(
    caplog, metric, which, walks
):
    """By products most links lead to the long ones: without these walks miss the best, however far they go."""
    hnsw.tell.cache_clear()
    draw = np.random.default_rng(5)
    lengths = np.exp(draw.normal(size=(3000, 1))).astype(np.float32)
    index = DenseIndex.build(
        range(3000), clustered(3000) * lengths, IndexSettings(kind="hnsw", metric=metric, effort=64)
    )
    queries = clustered(40, seed=1)
    order = np.argsort(-lengths[:, 0]) if which == "long" else draw.permutation(3000)
    index.delete(order[:150].tolist())
    rows, _, compared = index._graph.search(queries, 10, effort=64, alive=index._living())
    missed = index._flat().search(queries, 10)[0] != index._rows["ids"][rows]
    assert (missed.mean() < 0.1) == walks
    assert index._walks(10) == walks
    assert ("Its `compact` links" in caplog.text) == (not walks)
    stats = index.stats(queries)
    assert stats.recall >= (0.95 if walks else 1.0)
    assert stats.compared == pytest.approx(compared.mean() if walks else 3000)
    index.compact()
    assert index._walks(10)


@pytest.mark.usefixtures("compiler")
def test_where_walks_end_early_all_are_compared():
    """Two places far apart, and a graph whose links between them were taken out."""
    index = DenseIndex.build(range(60), clustered(60), IndexSettings(metric="ip", **SMALL))
    index._rows["links"][:] = -1
    queries = clustered(5, seed=1)
    exact = np.argsort(-(queries @ clustered(60).T), axis=1)[:, :7]
    assert np.array_equal(index.search(queries, 7)[0], exact)


@pytest.mark.usefixtures("compiler")
def test_equal_vectors_are_all_found_and_hide_no_other():
    vectors = np.concatenate([clustered(1000), np.repeat(clustered(4, seed=7), 50, axis=0)])
    vectors = vectors[np.random.default_rng(0).permutation(len(vectors))]
    index = DenseIndex.build(range(len(vectors)), vectors, IndexSettings(kind="hnsw"))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for queries, least in ((clustered(4, seed=7), 1.0), (clustered(60, seed=1), 0.97)):
        _, scores = index.search(queries, 40)
        products = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ unit.T
        best = -np.sort(-products, axis=1)[:, :40]
        assert (scores >= best - 1e-5).mean() >= least


def with_copies(copies, *, noise=0.0):
    """Vectors of which four, in the midst of others, stand there so many times, each time a little different."""
    centres = np.random.default_rng(99).normal(size=(40, 32))[:4].astype(np.float32)
    vectors = np.concatenate([clustered(2000), np.repeat(centres, copies, axis=0)])
    vectors *= 1 + noise * np.random.default_rng(5).normal(size=vectors.shape).astype(np.float32)
    return vectors[np.random.default_rng(0).permutation(len(vectors))], centres


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("noise", [0.0, 2e-7])
@pytest.mark.parametrize("metric", ["cos", "l2", "ip"])
def test_hundreds_of_equal_vectors_hide_none_of_the_others(metric, noise):
    vectors, centres = with_copies(400, noise=noise)
    index = DenseIndex.build(range(len(vectors)), vectors, IndexSettings(kind="hnsw", metric=metric, effort=64))
    flat = DenseIndex.build(range(len(vectors)), vectors, IndexSettings(metric=metric))
    for queries, k in ((clustered(100, seed=1), 10), (centres, 400)):
        found, scores = index.search(queries, k)
        assert np.mean(scores >= flat.search(queries, k)[1] - 1e-4) >= 0.99
        assert all(len(set(row)) == k for row in found.tolist())
    assert np.mean(index.search(clustered(2000)[::10], 1)[1] >= flat.search(clustered(2000)[::10], 1)[1] - 1e-4) >= 0.99


@pytest.mark.usefixtures("compiler")
def test_twins_come_and_go(tmp_path):
    vectors, centres = with_copies(30)
    index = DenseIndex.build(range(1000), vectors[:1000], IndexSettings(kind="hnsw"))
    index.save(tmp_path)
    index = DenseIndex.load(tmp_path)
    index.add(range(1000, len(vectors)), vectors[1000:])
    unit = centres[:1] / np.linalg.norm(centres[:1])
    copies = np.flatnonzero(vectors @ unit[0] / np.linalg.norm(vectors, axis=1) > 1 - 1e-6)
    assert len(copies) == 30
    assert (index._graph.levels[copies[1:]] == hnsw.TWIN).all()
    assert sorted(index.search(centres[:1], 30)[0][0].tolist()) == copies.tolist()
    index.delete(copies[:2].tolist())  # the one that stands in the graph, and one beside it
    assert sorted(index.search(centres[:1], 28)[0][0].tolist()) == copies[2:].tolist()
    index.delete(copies[2:].tolist())
    assert not np.isin(index.search(centres[:1], 50)[0], copies).any()
    index.compact()
    assert (index._graph.levels == hnsw.TWIN).sum() == 3 * 29  # those of the three others
    assert len(index) == len(vectors) - 30


@pytest.mark.usefixtures("compiler")
def test_a_twin_of_a_twin_is_found():
    """Vectors that come later are hashed in other steps, by which two that were twins before may be parted."""
    copies = np.repeat(clustered(1, seed=7), 12, axis=0)
    index = DenseIndex.build(range(212), np.concatenate([clustered(200), copies]), IndexSettings(kind="hnsw"))
    links = index._rows["links"]
    assert links[201:, 0].tolist() == [200] * 11
    links[202:, 0] = range(201, 211)
    index._forget()
    assert sorted(index.search(copies[:1], 12)[0][0].tolist()) == list(range(200, 212))
    index.delete(range(200, 211))
    assert index.search(copies[:1], 1)[0].tolist() == [[211]]
    links[205, 0] = 206
    index._forget()
    with pytest.raises(LibraryCorrupt, match="lead to no vector"):
        index.search(copies[:1], 1)


@pytest.mark.usefixtures("compiler")
def test_copies_from_two_readings_are_all_found():
    """That of seed 4 has twins of twins."""
    for seed in (4, 5):
        generator = np.random.default_rng(seed)

        def unit(vectors):
            return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)

        others, text = unit(generator.normal(size=(60, 32))), unit(generator.normal(size=32))
        copies = [unit(text + generator.normal(size=32).astype(np.float32) * 3e-7) for _ in range(40)]
        more = unit(generator.normal(size=(30, 32)))
        again = [unit(text + generator.normal(size=32).astype(np.float32) * 3e-7) for _ in range(40)]
        index = DenseIndex.build(range(100), np.concatenate([others, copies]), IndexSettings(kind="hnsw"))
        index.add(range(100, 170), np.concatenate([more, again]))
        assert (index.search(text[None], 80)[1] > 0.999).sum() == 80


@pytest.mark.usefixtures("compiler")
def test_where_all_are_equal_as_many_are_found_as_were_asked_for():
    vectors = np.repeat(clustered(1), 300, axis=0)
    index = DenseIndex.build(range(300), vectors, IndexSettings(kind="hnsw"))
    assert (index._graph.levels == hnsw.TWIN).sum() == 299
    assert len(set(index.search(vectors[:2], 40)[0][1].tolist())) == 40
    assert sorted(index.search(vectors[:1], 400)[0][0].tolist()) == list(range(300))


@pytest.mark.usefixtures("compiler")
def test_a_twin_of_nothing_is_damage():
    index = DenseIndex.build(range(90), np.repeat(clustered(30), 3, axis=0), IndexSettings(**SMALL))
    index._rows["links"][np.flatnonzero(index._rows["levels"] == hnsw.TWIN)[0], 0] = 90
    index._forget()
    with pytest.raises(LibraryCorrupt, match="lead to no vector"):
        index.search(clustered(3, seed=1), 5)


@pytest.mark.usefixtures("compiler")
def test_one_vector_and_many_threads():
    index = DenseIndex.build(["a"], clustered(1), IndexSettings(kind="hnsw"))
    assert index.search(clustered(3, seed=1), 5)[0].tolist() == [["a"]] * 3
    index = DenseIndex.build(range(1500), clustered(1500), IndexSettings(kind="hnsw"))
    queries = clustered(64, seed=1)
    alone = index.search(queries, 10)[0]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda query: index.search(query[None], 10)[0][0], queries))
    assert np.array_equal(np.stack(found), alone)


# -- refusals, damage, no compiler -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"links": 1}, "links=1; it needs 2 to 256"),
        ({"links": 257}, "links=257"),
        ({"construction": 0}, "construction=0"),
        ({"effort": 0}, "effort=0"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        IndexSettings(kind="hnsw", **given)


@pytest.mark.usefixtures("compiler")
def test_vectors_whose_products_are_no_numbers_are_refused_and_change_nothing():
    index = DenseIndex.build(range(50), clustered(50), IndexSettings(metric="ip", **SMALL))
    before = index.search(clustered(3, seed=1), 5)
    with pytest.raises(InputError, match="longer than 1e\\+18"):
        index.add([50], np.full((1, 32), 1e18, dtype=np.float32))
    assert len(index) == 50
    assert np.array_equal(index.search(clustered(3, seed=1), 5)[0], before[0])


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("mmap", [True, False])
def test_damaged_links_are_said(mmap, tmp_path):
    index = DenseIndex.build(range(400), clustered(400), IndexSettings(**SMALL))
    index.save(tmp_path)
    place = tmp_path / "000001"
    for number in (400, 2**31 - 1, -(2**31)):
        links = index._rows["links"].copy()
        links[:, :3] = number
        np.save(place / "rows-links.npy", links)
        loaded = DenseIndex.load(tmp_path, mmap=mmap)
        if number > 0:
            with pytest.raises(LibraryCorrupt, match="lead to no vector"):
                loaded.search(clustered(3, seed=1), 5)
            with pytest.raises(LibraryCorrupt, match="lead to no vector"):
                loaded.add([400], clustered(1, seed=1))
            assert len(loaded) == 400
        else:  # as if there were none
            assert loaded.search(clustered(3, seed=1), 5)[0].shape == (3, 5)
    np.save(place / "rows-links.npy", index._rows["links"])
    for name, wrong in (
        ("rows-levels", index._rows["levels"] + 1),
        ("rows-levels", index._rows["levels"].astype(np.int64)),
        ("rows-full", index._rows["full"].astype(np.float64)),
        ("rows-full", np.asfortranarray(index._rows["full"])),
        ("shared-upper", index._shared["upper"][1:]),
        ("rows-links", index._rows["links"][:, :3]),
    ):
        whole = (place / f"{name}.npy").read_bytes()
        np.save(place / f"{name}.npy", wrong)
        with pytest.raises(LibraryCorrupt, match="which do not fit"):
            DenseIndex.load(tmp_path, mmap=mmap)
        (place / f"{name}.npy").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(LibraryCorrupt, match="missing or damaged"):
            DenseIndex.load(tmp_path, mmap=mmap)
        (place / f"{name}.npy").write_bytes(whole)


def test_without_a_compiler_all_are_compared_and_it_is_said_once(no_compiler, caplog, tmp_path):
    queries = clustered(5, seed=1)
    exact = DenseIndex.build(range(300), clustered(300)).search(queries, 7)
    with caplog.at_level(logging.WARNING, logger="foveal.retrieval"):
        index = DenseIndex.build(range(300), clustered(300), IndexSettings(**SMALL))
        for _ in range(2):
            found = index.search(queries, 7)
        assert index.stats(queries).compared is None
    assert [record.message for record in caplog.records] == [
        "A graph of vectors needs a C++ compiler, and there is none: searches compare all vectors. Install g++."
    ]
    assert np.array_equal(found[0], exact[0])
    index.delete([int(found[0][0, 0])])
    index.add([300], clustered(1, seed=2))
    index.save(tmp_path)
    assert np.array_equal(DenseIndex.load(tmp_path).search(queries, 7)[0], index.search(queries, 7)[0])
    index.compact()
    assert (index._rows["levels"] == hnsw.UNLINKED).all()


@pytest.mark.usefixtures("compiler")
def test_what_was_put_in_without_a_compiler_is_linked_where_there_is_one(no_compiler, caplog):
    index = DenseIndex.build(range(200), clustered(200), IndexSettings(**SMALL))
    no_compiler.undo()
    assert index._graph.count == 0
    with caplog.at_level(logging.WARNING, logger="foveal.retrieval"):
        index.delete([0])
        assert not index._graph.walkable
    assert "`compact` links them" in caplog.text
    index.add([200], clustered(1, seed=2))
    assert index._graph.walkable
    again = DenseIndex.build(range(200), clustered(200), IndexSettings(**SMALL))
    again.add([200], clustered(1, seed=2))
    assert np.array_equal(index._rows["links"][:200, :2] >= 0, again._rows["links"][:200, :2] >= 0)
