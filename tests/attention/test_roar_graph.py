"""The attention-aware graph: the compiled one is the plain one, which keeps to the rules; indexes find what is best."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from foveal.attention import roar_graph, roar_plain
from foveal.attention.key_index import INDEXES, IndexSettings, build, read
from foveal.attention.roar_graph import RoarGraph, RoarSettings, balance, best_keys, link, recall
from foveal.attention.rows import Rows
from foveal.errors import InputError, LibraryCorrupt, UnknownName
from foveal.models.compiled import library
from foveal.models.threads import with_threads

SMALL = RoarSettings(nearest=12, near=5, degree=8, beam=12, coordinates="centred")


def whole_numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    """Small whole numbers, so that products are exact in whatever order they are added."""
    return torch.randint(-6, 7, shape, generator=torch.Generator().manual_seed(seed)).float()


def apart(count: int = 600, groups: int = 1, heads: int = 2, width: int = 16, seed: int = 0):
    """Keys with a bias, and queries far from all of them: 4 clusters of either."""
    draw = torch.Generator().manual_seed(seed)
    spread = torch.linspace(0.3, 3, width)
    keys = torch.randn(groups, count, width, generator=draw) * spread + 5
    queries = torch.randn(heads, count, width, generator=draw) * spread.flip(0) * 4 - 2
    return keys, queries


# -- the plain definition ----------------------------------------------------------------------------------------------


def test_a_kept_neighbour_is_never_nearer_to_another_kept_one_than_to_the_target():
    keys = whole_numbers(60, 6).numpy()
    for target in range(20):
        others = [one for one in range(60) if one != target]
        scored = sorted((-float(keys[target] @ keys[one]), one) for one in others)
        kept = roar_plain.occluded(keys, scored, 10, fill=False)
        for place, one in enumerate(kept):
            assert all(keys[one] @ keys[other] <= keys[target] @ keys[one] for other in kept[:place])
        filled = roar_plain.pruned(keys, target, others, 10)
        assert len(filled) == len(set(filled)) == 10
        assert filled[: len(kept)] == kept


def test_the_projection_links_the_last_query_of_a_pivot_and_all_that_point_back():
    keys = torch.eye(6).numpy()  # no key hides another
    lists = np.array([[0, 1], [0, 2], [3, 0]], np.int32)
    assert roar_plain.project(keys, lists, 4) == [[2, 3, 1], [0], [0], [0], [], []]


def test_a_walk_finds_the_best_where_every_key_is_linked_to_every_other():
    keys = whole_numbers(40, 6).numpy()
    links = [[other for other in range(40) if other != one] for one in range(40)]
    query = whole_numbers(6, seed=3).numpy()
    queue, done, scored = roar_plain.walk(keys, links, np.array([7], np.int32), query, 5)
    every = sorted((-float(query @ key), one) for one, key in enumerate(keys))
    assert queue == every[:5]
    assert sorted(scored) == every
    assert set(queue) <= set(done)


# -- the compiled one --------------------------------------------------------------------------------------------------


def plain_of(keys: torch.Tensor, lists: torch.Tensor, settings: RoarSettings) -> np.ndarray:
    entries = roar_graph._entries(keys, lists.int().numpy())
    sizes = {"near": settings.near, "degree": settings.degree, "beam": settings.beam}
    return roar_plain.build(keys.numpy(), lists.int().numpy(), entries, **sizes)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_compiled_graph_is_the_plain_one_and_hangs_on_no_thread(seed):
    keys, queries = whole_numbers(150, 8, seed=seed), whole_numbers(60, 8, seed=seed + 9)
    lists = best_keys(queries, keys, SMALL.nearest)
    expected = plain_of(keys, lists, SMALL)
    for threads in (1, 3):
        with with_threads(threads):
            assert np.array_equal(link(keys, lists, SMALL).links, expected), threads


@pytest.mark.parametrize(("k", "beam"), [(7, 9), (20, 6), (129, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_walks_are_the_plain_ones(dtype, k, beam, monkeypatch):
    keys, queries = whole_numbers(2, 130, 8).to(dtype), whole_numbers(4, 40, 8, seed=5)
    graph = RoarGraph.build(keys, queries, SMALL)
    asked = whole_numbers(4, 3, 8, seed=6)
    compiled = graph.search(asked, k, beam=beam)
    monkeypatch.setattr(roar_graph, "library", lambda _: None)
    plain = graph.search(asked, k, beam=beam)
    for one, other in zip(compiled, plain, strict=True):
        assert torch.equal(one, other)
    exact = torch.einsum("hqd,hkd->hqk", asked, keys.float().repeat_interleave(2, 0))
    there = compiled.ids >= 0
    assert torch.equal(compiled.products[there], exact.gather(2, compiled.ids.clamp(min=0))[there])
    assert torch.equal(there.sum(2), compiled.visited.clamp(max=k))


def test_what_falls_out_of_the_queue_is_found_all_the_same():
    keys, queries = torch.randn(1, 600, 16), torch.randn(1, 300, 16)
    graph = RoarGraph.build(keys, queries)
    asked = torch.randn(1, 40, 16)
    narrow, wide = (graph.search(asked, k, beam=20) for k in (20, 60))
    assert torch.equal(wide.ids[..., :20], narrow.ids)
    assert torch.equal(wide.visited, narrow.visited)
    truth = best_keys(asked[0], keys[0], 60)
    assert recall(wide.ids[0], truth) > recall(narrow.ids[0], truth) + 0.3


def test_without_a_compiler_the_graph_is_the_same(monkeypatch):
    half, queries = whole_numbers(1, 50, 8), whole_numbers(1, 40, 8, seed=5)
    keys = torch.cat([half, -half], 1)  # their mean is 0, so that all stays whole numbers
    compiled = RoarGraph.build(keys, queries, SMALL)
    monkeypatch.setattr(roar_graph, "library", lambda _: None)
    plain = RoarGraph.build(keys, queries, SMALL)
    assert np.array_equal(compiled.links, plain.links)
    assert np.array_equal(compiled.entries, plain.entries)
    with pytest.raises(InputError, match="compiler"):
        plain.add(whole_numbers(1, 1, 8))


@pytest.mark.parametrize(("count", "k"), [(3, 3), (63, 10), (1000, 1), (5000, 64)])
def test_the_best_products_are_the_best_and_of_equals_the_first(count, k):
    products = torch.randint(-40, 40, (9, count), generator=torch.Generator().manual_seed(count)).float()
    expected = products.sort(descending=True, stable=True).indices[:, :k]
    assert torch.equal(roar_graph._best(products, k), expected)


def test_products_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match="no numbers"):
        best_keys(torch.full((2, 4), float("nan")), torch.ones(30, 4), 3)


@pytest.mark.parametrize("settings", [RoarSettings(), SMALL], ids=["wide", "narrow"])
@pytest.mark.parametrize("kind", ["drifting", "clustered", "alike"])
def test_every_key_can_be_reached_after_more_were_added(settings, kind):
    draw = torch.Generator().manual_seed(0)
    keys, queries = torch.randn(2, 1, 600, 16, generator=draw)
    if kind == "drifting":
        keys = keys.cumsum(1) / 4
    elif kind == "clustered":
        keys, queries = apart(600, 1, 1)
    else:
        keys = keys[:, :50].repeat(1, 12, 1)
    graph = RoarGraph.build(keys[:, :300].contiguous(), queries[:, :300].contiguous(), settings)
    for start in range(300, 600, 100):
        graph.add(keys[:, start : start + 100])
        assert graph.unreached(0) == 0
    assert all(len(set(row := graph.row(0, key)[graph.row(0, key) >= 0])) == len(row) for key in range(600))
    found = graph.search(keys, 600, beam=600)
    assert (found.ids.sort(-1).values == torch.arange(600)).all()


def test_every_key_can_be_reached():
    assert library(roar_graph.SOURCE) is not None
    keys, queries = apart()
    graph = RoarGraph.build(keys, queries)
    assert [graph.unreached(head) for head in range(2)] == [0, 0]
    assert all(count >= 0 for count in graph.notes["attached"])


def test_the_balancing_keeps_every_product_and_makes_both_sides_vary_alike():
    keys, queries = (part[0] for part in apart(heads=1))
    centred = keys - keys.mean(0)
    inverse = balance(centred, queries)
    matrix = inverse.double().inverse().float()
    torch.testing.assert_close((queries @ matrix) @ (centred @ inverse).T, queries @ centred.T, atol=2e-2, rtol=1e-3)
    of_keys, of_queries = ((x.T @ x / len(x)) for x in (centred @ inverse, queries @ matrix))
    torch.testing.assert_close(of_keys, of_queries, atol=2e-2 * float(of_keys.max()), rtol=1e-2)


def test_it_finds_what_queries_far_from_all_keys_look_for():
    keys, queries = apart(2000, heads=1)
    asked = apart(2000, heads=1, seed=1)[1][:, :64]
    truth = best_keys(asked[0], keys[0], 20)
    graph = RoarGraph.build(keys, queries)
    found = graph.search(asked, 20, beam=40)
    assert recall(found.ids[0], truth) > 0.95
    assert float(found.visited.float().mean()) < 1000
    strangers = RoarGraph.build(keys, keys[:, :500])  # learnt from keys, as an index of keys among themselves would
    assert graph.notes["covered"][0] > 0
    assert recall(strangers.search(asked, 20, beam=40).ids[0], truth) <= recall(found.ids[0], truth)


@pytest.mark.parametrize("coordinates", ["centred", "balanced"])
def test_added_keys_are_found(coordinates):
    keys, queries = apart(500, groups=2, heads=4)
    graph = RoarGraph.build(keys[:, :400], queries, RoarSettings(coordinates=coordinates))
    graph.add(keys[:, 400:450])
    graph.add(keys[:, 450:])
    truth = torch.stack([best_keys(queries[head, :50], keys[head // 2], 10) for head in range(4)])
    found = graph.search(queries[:, :50], 10, beam=40)
    assert recall(found.ids.flatten(0, 1), truth.flatten(0, 1)) > 0.9
    late = truth >= 400
    assert late.any()
    hit = (truth[..., None] == found.ids[:, :, None]).any(-1)
    assert float(hit[late].float().mean()) > 0.9
    exact = torch.einsum("hqd,hkd->hqk", queries[:, :50], keys.repeat_interleave(2, 0)).gather(2, found.ids)
    torch.testing.assert_close(found.products, exact, rtol=1e-4, atol=1e-2)


# -- one interface -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(INDEXES))
def test_every_index_gives_true_products_and_takes_more_keys(kind):
    keys, queries = apart(300, groups=2, heads=4)
    index = build(kind, keys[:, :250], queries, IndexSettings(beam=200, probes=64, clusters=8, centred=True))
    for count in (250, 300):
        found = index.search(queries[:, :5], 10)
        exact = torch.einsum("hqd,hkd->hqk", queries[:, :5], keys[:, :count].repeat_interleave(2, 0))
        assert recall(found.ids.flatten(0, 1), exact.topk(10).indices.flatten(0, 1)) > 0.9
        torch.testing.assert_close(found.products, exact.gather(2, found.ids), rtol=1e-3, atol=5e-2)
        assert (found.visited >= 10).all()
        if count == 250:
            index.add(keys[:, 250:])
    assert len(index.keys) == 300
    assert index.stats()["bytes"] >= 0


@pytest.mark.parametrize("kind", ["flat", "roar"])
def test_what_is_kept_of_an_index_finds_the_same(kind):
    keys, queries = apart(200, groups=2, heads=4)
    index = build(kind, keys, queries)
    again = read(kind, Rows(keys), index.arrays())
    for one, other in zip(index.search(queries[:, :4], 9), again.search(queries[:, :4], 9), strict=True):
        assert torch.equal(one, other)
    again.add(keys[:, :3])
    assert len(again.keys) == 203


def test_more_is_asked_for_than_there_is():
    keys, queries = apart(20, heads=1)
    for kind in INDEXES:
        assert build(kind, keys, queries).search(queries[:, :2], 100).ids.shape == (1, 2, 20), kind


def test_what_cannot_be_indexed_is_said():
    keys, queries = apart(50)
    for broken in (float("nan"), float("inf")):
        spoilt = keys.clone()
        spoilt[0, 3, 1] = broken
        with pytest.raises(InputError, match="NaN or infinity"):
            build("roar", spoilt, queries)
    with pytest.raises(InputError, match="one width"):
        build("flat", keys, queries[..., :-1])
    with pytest.raises(InputError, match="multiple of the groups"):
        build("flat", keys.expand(3, -1, -1), queries)
    with pytest.raises(InputError, match="at least one key"):
        build("flat", keys[:, :0], queries)
    with pytest.raises(UnknownName, match="hnsw"):
        build("nsw", keys, queries)
    with pytest.raises(InputError, match="near < degree"):
        RoarSettings(near=32, degree=32)
    with pytest.raises(InputError, match="Coordinates"):
        RoarSettings(coordinates="raw")
    with pytest.raises(InputError, match="at least 1"):
        IndexSettings(probes=0)


@pytest.mark.parametrize("form", ["float16", "float64", "columns"])
def test_keys_of_another_form_are_found_as_they_are(form):
    keys, queries = apart()
    made = keys.mT.contiguous().mT if form == "columns" else keys.to(getattr(torch, form))
    found = RoarGraph.build(made, queries, SMALL).search(queries[:, :9], 10)
    products = queries[:, :9] @ made.float().transpose(1, 2)
    torch.testing.assert_close(found.products, products.gather(2, found.ids), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("kind", ["flat", "roar"])
def test_queries_that_do_not_fit_an_index_are_told(kind):
    keys, queries = apart(count=60, groups=2, heads=4)
    index = build(kind, keys, queries, IndexSettings(roar=SMALL))
    for asked, k in ((queries[:3], 5), (queries[..., :8], 5), (queries[0], 5), (queries[:, :1], 0)):
        with pytest.raises(InputError, match="best keys of queries"):
            index.search(asked, k)


def test_more_heads_than_graphs_are_told():
    keys, queries = apart(count=60)
    with pytest.raises(InputError, match="needs queries \\(2, any"):
        RoarGraph.build(keys, queries, SMALL).search(queries.repeat(3, 1, 1), 5)


def test_only_keys_that_fit_are_added_to_a_graph():
    keys, queries = apart(count=60, groups=2, heads=4)
    graph = RoarGraph.build(keys, queries, SMALL)
    with pytest.raises(InputError, match="were to be added"):
        graph.add(keys[:1, :3])
    with pytest.raises(InputError, match="NaN"):
        graph.add(keys[:, :3] * torch.nan)
    assert len(graph.keys) == 60


def test_an_index_needs_a_head_and_a_queue():
    keys, queries = apart(count=60)
    with pytest.raises(InputError, match="an index needs keys"):
        build("flat", keys, queries[:0])
    with pytest.raises(InputError, match="at least 1"):
        IndexSettings(beam=0)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("part", ["links", "entries"])
def test_links_that_lead_to_no_key_are_told_as_damage(part, compiled, monkeypatch):
    keys, queries = apart(200, heads=1)
    graph = RoarGraph.build(keys, queries, SMALL)
    links, entries = graph.links.copy(), graph.entries.copy()
    {"links": links, "entries": entries}[part][..., 0] = 2**30
    if not compiled:
        monkeypatch.setattr(roar_graph, "library", lambda _: None)
    damaged = RoarGraph(Rows(keys), links, entries, means=graph.means, shapes=graph.shapes)
    with pytest.raises(LibraryCorrupt, match="lead to no key"):
        damaged.search(queries[:, :3], 5)
    if compiled:
        with pytest.raises(LibraryCorrupt, match="lead to no key"):
            damaged.add(keys[:, :2])


def test_a_file_of_too_few_links_is_damaged():
    keys, queries = apart(200, heads=1)
    graph = RoarGraph.build(keys, queries, SMALL)
    with pytest.raises(LibraryCorrupt, match="damaged"):
        RoarGraph(Rows(keys), graph.links[:, :100], graph.entries)


def test_no_memory_for_a_graph_is_an_error(address_space_left):
    if roar_graph.library(roar_graph.SOURCE) is None:
        pytest.skip("no compiler")
    lists = torch.from_numpy(np.zeros((2, 2**27), np.int32))  # nothing is touched
    with address_space_left(2**26), pytest.raises(MemoryError, match="a graph of 8 keys"):
        roar_graph.link(torch.randn(8, 4), lists, RoarSettings())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda graph: pickle.loads(pickle.dumps(graph))])
def test_a_graph_that_was_searched_can_be_copied(copied):
    """As a cache that several questions go on from is."""
    graph = RoarGraph.build(whole_numbers(2, 130, 8), whole_numbers(4, 40, 8, seed=5), SMALL)
    asked, more = whole_numbers(4, 3, 8, seed=6), whole_numbers(2, 70, 8, seed=7)
    before = graph.search(asked, 12)
    other = copied(graph)
    assert torch.equal(other.search(asked, 12).ids, before.ids)
    other.add(more)
    assert torch.equal(graph.search(asked, 12).ids, before.ids)
    graph.add(more)
    for one, two in zip(graph.search(asked, 12), other.search(asked, 12), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("k", [130, 400])
def test_who_asks_for_all_keys_gets_all_whatever_the_queue(k):
    graph = RoarGraph.build(whole_numbers(2, 130, 8), whole_numbers(4, 40, 8, seed=5), SMALL)
    found = graph.search(whole_numbers(4, 3, 8, seed=6), k, beam=4)
    assert torch.equal(found.ids.sort(-1).values, torch.arange(130).expand(4, 3, -1))
