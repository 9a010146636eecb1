"""The index over vectors: every kind against plain definitions, changes against a dict, files against accidents."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError, LibraryCorrupt, LibraryTooNew
from foveal.retrieval import flat
from foveal.retrieval.quantised import Cells, ProductQuantiser, nearest_cells
from foveal.retrieval.snapshots import snapshots, write_snapshot
from foveal.retrieval.vector_forms import default_cells, default_parts
from foveal.retrieval.vectors import DenseIndex, IndexSettings

D = 16
SMALL = {"centroids": 16, "code_bytes": 4}
EVERYTHING = {"probes": 10_000, "candidates": 10_000, "effort": 10_000}
"""So much effort that all is looked at."""


def drawn(count, *, seed=0, dimension=D):
    """Vectors around twenty places, of about length 4."""
    centres = np.random.default_rng(99).normal(size=(20, dimension))
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(count, dimension)) * 0.5
    return (centres[generator.integers(20, size=count)] + noise).astype(np.float32)


VECTORS, QUERIES = drawn(400), drawn(8, seed=1)
IDS = [f"d{row}" for row in range(400)]


def scores_by_definition(metric, vectors, query):
    vectors, query = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return -((vectors - query) ** 2).sum(axis=1)
    products = vectors @ query
    return products / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query) if metric == "cos" else products


def assert_best(index, ids, vectors, metric, *, k=7):
    """What `index` finds for each query is what looking at all vectors finds."""
    found, scores = index.search(QUERIES, k)
    assert found.shape == scores.shape == (len(QUERIES), min(k, len(ids)))
    assert scores.dtype == np.float32
    for row, query in enumerate(QUERIES):
        expected = scores_by_definition(metric, vectors, query)
        order = np.argsort(-expected)[:k]
        assert found[row].tolist() == [ids[place] for place in order]
        assert scores[row] == pytest.approx(expected[order], abs=1e-3)


@pytest.mark.parametrize("metric", ["cos", "ip", "l2"])
@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw", "pq", "ivfpq"])
def test_with_all_effort_every_kind_of_float_vectors_is_exact(kind, metric):
    """I1 to I4: flat, and the others where they look at everything and re-score by full vectors."""
    index = DenseIndex.build(IDS, VECTORS, IndexSettings(kind=kind, metric=metric, **SMALL, **EVERYTHING))
    assert_best(index, IDS, VECTORS, metric)


@pytest.mark.parametrize("metric", ["cos", "ip"])
@pytest.mark.parametrize("kind", ["int8", "binary", "pq", "ivfpq"])
def test_int8_orders_by_what_it_stores(kind, metric):
    """I5: int8 alone, and as what signs and product codes are re-scored by."""
    index = DenseIndex.build(
        IDS, VECTORS, IndexSettings(kind=kind, metric=metric, rescore="int8", **SMALL, **EVERYTHING)
    )
    length = np.linalg.norm(VECTORS, axis=1, keepdims=True) if metric == "cos" else 1
    small = flat.quantise_int8((VECTORS / length).astype(np.float32))
    restored = small.codes * small.scales[:, None]
    found, scores = index.search(QUERIES, 7)
    for row, query in enumerate(QUERIES):
        expected = restored @ (query / np.linalg.norm(query) if metric == "cos" else query)
        order = np.argsort(-expected)[:7]
        assert found[row].tolist() == [IDS[place] for place in order]
        assert scores[row] == pytest.approx(expected[order], abs=1e-4)


def test_int8_rescoring_of_l2_knows_the_lengths():
    """I3, I5: the product is of int8 vectors, the lengths are exact."""
    made = IndexSettings(kind="ivfpq", metric="l2", rescore="int8", **SMALL, **EVERYTHING)
    found, scores = DenseIndex.build(IDS, VECTORS, made).search(QUERIES, 5)
    small = flat.quantise_int8(VECTORS)
    products = QUERIES @ (small.codes * small.scales[:, None]).T
    expected = 2 * products - (VECTORS**2).sum(axis=1) - (QUERIES**2).sum(axis=1, keepdims=True)
    for row, order in enumerate(np.argsort(-expected, axis=1)[:, :5]):
        assert scores[row] == pytest.approx(expected[row][order], abs=1e-3)
        assert found[row].tolist() == [IDS[place] for place in order]


def test_signs_find_the_candidates_and_int8_orders_them():
    """I5: Hamming, the best 4 k, then the float query against int8."""
    found, _ = DenseIndex.build(IDS, VECTORS, IndexSettings(kind="binary")).search(QUERIES, 5)
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    small = flat.quantise_int8(unit)
    for row, query in enumerate(QUERIES):
        distances = ((VECTORS > 0) != (query > 0)).sum(axis=1)
        bound = np.sort(distances)[19]
        sure, possible = np.flatnonzero(distances < bound), np.flatnonzero(distances <= bound)
        scores = (small.codes * small.scales[:, None]) @ query
        got = [IDS.index(one) for one in found[row]]
        assert set(got) <= set(possible.tolist())
        assert scores[got[-1]] >= np.sort(scores[sure])[::-1][:5].min() - 1e-6


@pytest.mark.parametrize("metric", ["cos", "ip", "l2"])
def test_an_inverted_file_gives_the_best_of_the_probed_cells(metric):
    """I2."""
    index = DenseIndex.build(IDS, VECTORS, IndexSettings(kind="ivf", metric=metric, cells=12, probes=3))
    found, _ = index.search(QUERIES, 4)
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True) if metric == "cos" else VECTORS
    centroids = index._shared["cells"]
    cell = nearest_cells(unit.astype(np.float32), centroids)
    missed = 0
    for row, query in enumerate(QUERIES):
        asked = query / np.linalg.norm(query) if metric == "cos" else query
        near = centroids @ asked if metric == "ip" else -((centroids - asked) ** 2).sum(axis=1)
        inside = np.flatnonzero(np.isin(cell, np.argsort(-near)[:3]))
        scores = scores_by_definition(metric, VECTORS, query)
        assert found[row].tolist() == [IDS[place] for place in inside[np.argsort(-scores[inside])][:4]]
        missed += len(set(np.argsort(-scores)[:40]) - set(inside))
    assert missed > 0  # the cells looked into are not all there is


@pytest.mark.parametrize("metric", ["cos", "l2"])
@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("kind", ["pq", "ivfpq"])
def test_without_rescoring_scores_are_of_what_codes_stand_for(kind, rotate, metric):
    """I3: product codes of vectors, and of what the cell's centroid leaves."""
    made = IndexSettings(kind=kind, metric=metric, rescore="none", rotate=rotate, probes=1000, **SMALL)
    index = DenseIndex.build(IDS, VECTORS, made)
    rows, quantiser = index._rows, index.quantiser
    stands_for = quantiser.decode(rows["codes"])
    if kind == "ivfpq":
        stands_for += index._shared["cells"][rows["cell"]]
    scores = QUERIES @ stands_for.T
    if metric == "cos":
        scores /= np.linalg.norm(QUERIES, axis=1, keepdims=True)
    else:  # the length of a vector is kept exactly: only the product is of codes
        lengths = (VECTORS[[IDS.index(one) for one in rows["ids"]]] ** 2).sum(axis=1)
        scores = 2 * scores - lengths - (QUERIES**2).sum(axis=1, keepdims=True)
    found, got = index.search(QUERIES, 5)
    for row in range(len(QUERIES)):
        assert got[row] == pytest.approx(np.sort(scores[row])[::-1][:5], abs=1e-3)
        of = dict(zip(rows["ids"].tolist(), scores[row], strict=True))  # vectors with the same codes tie
        assert [of[one] for one in found[row].tolist()] == pytest.approx(got[row], abs=1e-3)


def test_few_bytes_and_little_effort_still_find_most():
    """I2, I3, I5: recall against flat, with the effort that an index is for."""
    vectors, queries = drawn(3000, dimension=32), drawn(60, seed=1, dimension=32)
    exact = DenseIndex.build(range(3000), vectors)
    recalls = {}
    for name, made in {
        "int8": IndexSettings(kind="int8"),
        "ivf": IndexSettings(kind="ivf", cells=60, probes=15),
        "pq": IndexSettings(kind="pq", code_bytes=8, centroids=64),
        "ivfpq": IndexSettings(kind="ivfpq", cells=60, probes=15, code_bytes=8, centroids=64),
        "ivfpq, int8": IndexSettings(kind="ivfpq", cells=60, probes=15, code_bytes=8, centroids=64, rescore="int8"),
        "codes alone": IndexSettings(kind="pq", code_bytes=8, centroids=64, rescore="none"),
    }.items():
        recalls[name] = DenseIndex.build(range(3000), vectors, made).stats(queries, against=exact).recall
    assert min(recalls[name] for name in recalls if name != "codes alone") >= 0.9, recalls
    assert recalls["codes alone"] < recalls["pq"] - 0.1  # re-scoring is what makes up for the codes


def test_a_quantiser_and_codes_made_elsewhere_are_taken_as_they_are():
    """I7: what joint training gives."""
    quantiser = ProductQuantiser.train(VECTORS, 4, centroids=16)
    codes = np.random.default_rng(0).integers(16, size=(400, 4)).astype(np.uint8)  # assignments of no distance at all
    made = IndexSettings(kind="pq", metric="ip", rescore="none")
    index = DenseIndex.build(IDS, VECTORS, made, quantiser=quantiser, codes=codes)
    found, _ = index.search(QUERIES, 3)
    scores = QUERIES @ quantiser.decode(codes).T
    assert found.tolist() == [[IDS[place] for place in np.argsort(-row)[:3]] for row in scores]
    with pytest.raises(InputError, match="it needs kind='pq'"):
        DenseIndex.build(IDS, VECTORS, IndexSettings(kind="ivfpq"), quantiser=quantiser)
    one_too_large, one_below = codes.astype(int), codes.astype(int)
    one_too_large[7, 2], one_below[7, 2] = 16, -1
    for wrong in (codes[:5], one_too_large, one_below, codes.astype(float)):
        with pytest.raises(InputError, match=r"whole numbers \(400, 4\), each from 0 to 15"):
            DenseIndex.build(IDS, VECTORS, made, quantiser=quantiser, codes=wrong)


# -- adding, deleting, compacting -------------------------------------------------------------------------------------

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "delete", "compact", "save"]), st.integers(0, 10_000), st.integers(1, 25)),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("kind", ["flat", "int8", "binary", "ivf", "hnsw", "pq", "ivfpq"])
@given(OPERATIONS)
@settings(max_examples=8)
def test_any_order_of_changes_ends_as_a_dict_would(kind, tmp_path_factory, operations):
    """I9."""
    made = IndexSettings(kind=kind, metric="ip", **SMALL, **EVERYTHING)
    start = VECTORS[:60]
    index, held = DenseIndex.build(range(60), start, made), dict(enumerate(start))
    for place, (what, seed, count) in enumerate(operations):
        if what == "add":
            fresh = drawn(count, seed=seed)
            ids = list(range(1000 * place + 1000, 1000 * place + 1000 + count))
            index.add(ids, fresh)
            held |= dict(zip(ids, fresh, strict=True))
        elif what == "delete":
            gone = list(np.random.default_rng(seed).choice(list(held), min(count, len(held) - 1), replace=False))
            index.delete(gone)
            held = {one: vector for one, vector in held.items() if one not in gone}
        elif what == "compact":
            index.compact()
        else:
            folder = tmp_path_factory.mktemp("index")
            index.save(folder)
            index = DenseIndex.load(folder, mmap=count % 2 == 0)
    assert len(index) == len(held)
    vectors = np.stack(list(held.values()))
    if kind in ("int8", "binary"):
        found, scores = index.search(QUERIES, 5)
        for row, query in enumerate(QUERIES):
            right = np.array([held[one] @ query for one in found[row]])
            assert scores[row] == pytest.approx(right, abs=0.25)
            assert right.min() > np.sort(vectors @ query)[::-1][:5].min() - 0.5
    else:
        assert_best(index, list(held), vectors, "ip", k=5)


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw", "ivfpq"])
def test_deleted_vectors_are_gone_at_once_and_take_no_place_after_compacting(kind):
    """I9: tombstones."""
    index = DenseIndex.build(IDS, VECTORS, IndexSettings(kind=kind, probes=1, **SMALL))
    first = index.search(QUERIES, 1)[0][:, 0].tolist()
    index.delete(sorted(set(first)))
    assert not set(first) & set(index.search(QUERIES, 300)[0].ravel().tolist())
    stats = index.stats()
    assert (stats.vectors, stats.deleted) == (400 - len(set(first)), len(set(first)))
    before = index.search(QUERIES, 5)[0]
    index.compact()
    assert index.stats().deleted == 0
    assert np.array_equal(index.search(QUERIES, 5)[0], before)
    index.add([first[0]], QUERIES[:1])  # an id that was deleted may come again
    assert index.search(QUERIES[:1], 1)[0][0, 0] == first[0]


@pytest.mark.parametrize("kind", ["flat", "int8", "binary", "ivf", "hnsw", "pq", "ivfpq"])
def test_k_above_the_collection_gives_all_that_live(kind):
    index = DenseIndex.build(IDS[:40], VECTORS[:40], IndexSettings(kind=kind, probes=1, **SMALL))
    index.delete(IDS[:3])
    found, _ = index.search(QUERIES, 100)
    assert all(sorted(row) == sorted(IDS[3:40]) for row in found.tolist())
    none, scores = index.search(np.empty((0, D), dtype=np.float32), 5)
    assert none.shape == scores.shape == (0, 5)


def test_what_is_given_is_not_changed_and_may_be_changed_later():
    given = VECTORS.copy()
    index = DenseIndex.build(IDS, given, IndexSettings(metric="ip"))
    before = index.search(QUERIES, 5)[0]
    given[:] = 0
    assert np.array_equal(index.search(QUERIES, 5)[0], before)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("kind", ["flat", "int8", "binary", "ivf", "hnsw", "pq", "ivfpq"])
def test_saved_and_loaded_is_the_same_index(kind, mmap, tmp_path):
    """I9: memory-mapped load."""
    index = DenseIndex.build(IDS, VECTORS, IndexSettings(kind=kind, rotate=True, **SMALL), fingerprint="e1")
    index.delete(IDS[:5])
    assert index.save(tmp_path / "index") == 1
    loaded = DenseIndex.load(tmp_path / "index", mmap=mmap)
    for one, other in zip(index.search(QUERIES, 9), loaded.search(QUERIES, 9), strict=True):
        assert np.array_equal(one, other)
    assert loaded.stats() == index.stats()
    assert loaded.settings == index.settings
    assert isinstance(loaded._rows["alive"], np.memmap) == mmap
    loaded.delete(IDS[5:9])
    loaded.add(["new"], QUERIES[:1])
    assert len(DenseIndex.load(tmp_path / "index")) == 395  # the files stay as they were
    with pytest.raises(InputError, match="encoder e1 got vectors by e2"):
        loaded.search(QUERIES, 1, fingerprint="e2")


def test_snapshots_are_numbered_and_the_last_ones_stay(tmp_path):
    """I9: versioned snapshots."""
    index = DenseIndex.build(IDS, VECTORS)
    for version in range(1, 4):
        index.delete([IDS[version]])
        assert index.save(tmp_path, keep=2) == version
    assert snapshots(tmp_path) == [2, 3]
    assert [len(DenseIndex.load(tmp_path, snapshot=number)) for number in (None, 3, 2)] == [397, 397, 398]
    with pytest.raises(InputError, match=r"holds no snapshot 1. It has 2, 3\."):
        DenseIndex.load(tmp_path, snapshot=1)
    with pytest.raises(InputError, match="keep=0"):
        index.save(tmp_path, keep=0)


def test_an_open_index_outlives_its_snapshot(tmp_path):
    index = DenseIndex.build(IDS, VECTORS)
    index.save(tmp_path)
    opened = DenseIndex.load(tmp_path)
    index.save(tmp_path)
    assert snapshots(tmp_path) == [2]
    assert_best(opened, IDS, VECTORS, "cos")


def test_a_write_that_fails_or_was_killed_leaves_the_last_snapshot(tmp_path):
    """I9: written whole or not at all."""
    DenseIndex.build(IDS, VECTORS).save(tmp_path)
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_snapshot(tmp_path, {}, {"a": np.arange(3), "b": np.array([object()])})
    assert [place.name for place in tmp_path.iterdir()] == ["000001"]
    shutil.copytree(tmp_path / "000001", tmp_path / ".partial-killed")
    (tmp_path / ".partial-killed" / "about.json").unlink()
    index = DenseIndex.load(tmp_path)
    assert_best(index, IDS, VECTORS, "cos")
    index.save(tmp_path)
    assert [place.name for place in tmp_path.iterdir()] == ["000002"]


def test_an_index_of_another_kind_is_refused(tmp_path):
    write_snapshot(tmp_path, {"kind": "sparse", "vocabulary": 5}, {"ids": np.array(["a"])})
    with pytest.raises(InputError, match="index of another kind"):
        DenseIndex.load(tmp_path)


def test_large_whole_numbers_stay_what_they_are_whatever_their_type():
    near = [2**60 + 1, 2**60 + 2]  # one float for both
    index = DenseIndex.build(np.array(near, dtype=np.uint64), VECTORS[:2])
    index.add([7], VECTORS[2:3])
    assert sorted(index.search(QUERIES[:1], 3)[0][0].tolist()) == [7, *near]
    index.delete(near[:1])
    assert sorted(index.search(QUERIES[:1], 3)[0][0].tolist()) == [7, near[1]]
    with pytest.raises(InputError, match="Use one type"):
        index.add([-1], VECTORS[3:4])
    with pytest.raises(InputError, match="as text and as numbers"):
        index.delete(["7"])
    signed = DenseIndex.build([1, -2], VECTORS[:2])
    with pytest.raises(InputError, match="Use one type"):
        signed.add(np.array([2**63], dtype=np.uint64), VECTORS[2:3])


def test_damage_is_said_and_so_is_a_newer_format(tmp_path):
    with pytest.raises(InputError, match="holds no index"):
        DenseIndex.load(tmp_path / "nowhere")
    DenseIndex.build(IDS, VECTORS).save(tmp_path)
    place = tmp_path / "000001"
    about, whole = json.loads((place / "about.json").read_text()), (place / "rows-full.npy").read_bytes()
    for content in (b"", b"no numbers", whole[: len(whole) // 2]):
        (place / "rows-full.npy").write_bytes(content)
        for mmap in (True, False):
            with pytest.raises(LibraryCorrupt, match="missing or damaged"):
                DenseIndex.load(tmp_path, mmap=mmap)
    (place / "rows-full.npy").unlink()
    with pytest.raises(LibraryCorrupt, match="missing or damaged"):
        DenseIndex.load(tmp_path)
    (place / "about.json").write_text(json.dumps({**about, "format": 2}))
    with pytest.raises(LibraryTooNew, match="format 2"):
        DenseIndex.load(tmp_path)


# -- figures and refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rescore", "searched", "kept"),
    [
        ("flat", "full", 4 * D, 0),
        ("int8", "full", D + 4, 0),
        ("binary", "full", 8, D + 4),  # 16 signs take one word of 64
        ("ivf", "full", 4 * D + 4, 0),
        ("pq", "full", 4, 4 * D),
        ("pq", "int8", 4, D + 4),
        ("ivfpq", "none", 4 + 4, 0),
    ],
)
def test_stats_say_what_a_vector_takes(kind, rescore, searched, kept):
    index = DenseIndex.build(IDS, VECTORS, IndexSettings(kind=kind, rescore=rescore, **SMALL))
    stats = index.stats()
    assert (stats.searched_bytes, stats.kept_bytes, stats.recall) == (searched, kept, None)
    assert (stats.kind, stats.metric, stats.dimension, stats.trained_on) == (kind, "cos", D, 400)
    assert (stats.shared_bytes > 0) == (kind in ("ivf", "pq", "ivfpq"))


def test_recall_is_counted_against_the_exact_result():
    index = DenseIndex.build(IDS, VECTORS, IndexSettings(kind="ivf", cells=20, probes=1))
    exact = [np.argsort(-scores_by_definition("cos", VECTORS, query))[:10] for query in QUERIES]
    found = index.search(QUERIES, 10)[0]
    expected = np.mean([len({IDS[r] for r in e} & set(f)) / 10 for e, f in zip(exact, found.tolist(), strict=True)])
    assert index.stats(QUERIES).recall == pytest.approx(expected)
    assert 0 < expected < 1
    assert DenseIndex.build(IDS, VECTORS).stats(QUERIES).recall == 1
    with pytest.raises(InputError, match=r"keeps no full vectors.*against"):
        DenseIndex.build(IDS, VECTORS, IndexSettings(kind="int8")).stats(QUERIES)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "tree"}, "kind='tree'; it needs one of flat.*hnsw"),
        ({"metric": "dot"}, "metric='dot'; it needs one of cos, ip, l2"),
        ({"rescore": "half"}, "rescore='half'"),
        ({"cells": 0}, "cells=0"),
        ({"probes": 0}, "probes=0"),
        ({"code_bytes": 0}, "code_bytes=0"),
        ({"candidates": 0}, "candidates=0"),
        ({"kind": "int8", "metric": "l2"}, "compares by inner products"),
        ({"kind": "binary", "metric": "l2"}, "compares by inner products"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        IndexSettings(**given)


def with_row(value, row=2):
    changed = VECTORS.copy()
    changed[row] = value
    return changed


@pytest.mark.parametrize(
    ("ids", "vectors", "made", "message"),
    [
        ([], np.empty((0, D)), {}, "got no vectors"),
        (IDS[:3], VECTORS, {}, r"shape \(400, 16\); it needs \(3, D\)"),
        (IDS, VECTORS[:, 0], {}, r"it needs \(400, D\)"),
        (["a", "b"], [VECTORS[0], VECTORS[1, :5]], {}, "no table of numbers"),
        (["a", "b", "a"], VECTORS[:3], {}, "The id a was given more than once"),
        ([1.5, 2.5], VECTORS[:2], {}, "ids of type float64"),
        (["a", 2], VECTORS[:2], {}, "as text and as numbers"),
        (IDS, with_row(np.nan), {}, "Vector d2 holds NaN"),
        (IDS, with_row(np.inf, 7), {}, "Vector d7 holds NaN or infinity"),
        (IDS, with_row(0, 3), {}, "Vector d3 has length 0"),
        (IDS[:15], VECTORS[:15], {"kind": "pq", **SMALL}, "15 vectors to train 16 centroids"),
        (IDS, VECTORS, {"kind": "pq", "code_bytes": 5}, "5 parts for dimension 16"),
        (IDS, VECTORS, {"kind": "ivf", "cells": 401}, "401 cells for 400 vectors"),
    ],
)
def test_what_cannot_be_indexed_is_an_error(ids, vectors, made, message):
    with pytest.raises(InputError, match=message):
        DenseIndex.build(ids, vectors, IndexSettings(**made))


def test_a_vector_of_length_0_has_a_product_and_a_distance():
    for metric in ("ip", "l2"):
        index = DenseIndex.build(IDS, with_row(0), IndexSettings(metric=metric))
        assert_best(index, IDS, with_row(0), metric)


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (QUERIES, 0, "k = 0"),
        (QUERIES[:, :5], 3, r"shape \(8, 5\); it needs \(8, 16\)"),
        (QUERIES * np.array([1, 1, np.nan, 1, 1, 1, 1, 1])[:, None], 3, "Query 2 holds NaN"),
        (QUERIES * np.array([1, 0, 1, 1, 1, 1, 1, 1])[:, None], 3, "Query 1 has length 0"),
    ],
)
def test_what_cannot_be_searched_is_an_error(queries, k, message):
    with pytest.raises(InputError, match=message):
        DenseIndex.build(IDS, VECTORS).search(queries, k)


def test_changes_that_cannot_be_made_are_errors_and_change_nothing():
    index = DenseIndex.build(IDS, VECTORS, fingerprint="e1")
    for call, message in (
        (lambda: index.add(["new", "d3"], QUERIES[:2]), "The id d3 is in the index already"),
        (lambda: index.add([1], QUERIES[:1]), "as text and as numbers"),
        (lambda: index.add(["new"], QUERIES[:1, :4]), r"it needs \(1, 16\)"),
        (lambda: index.add(["new"], QUERIES[:1], fingerprint="e2"), "encoder e1 got vectors by e2"),
        (lambda: index.delete(["d3", "nobody"]), "nobody is not in the index"),
        (lambda: index.delete(["d3", "d3"]), "more than once"),
        (lambda: index.search(QUERIES, 1, fingerprint="e2"), "cannot be compared"),
    ):
        with pytest.raises(InputError, match=message):
            call()
    assert len(index) == 400
    index.search(QUERIES, 1, fingerprint="e1")
    index.add([], np.empty((0, D), dtype=np.float32))
    index.delete([])
    index.delete(IDS)
    for call in (index.compact, lambda: index.search(QUERIES, 1)):
        with pytest.raises(InputError, match=r"all (were )?deleted"):
            call()
    index.add(["again"], QUERIES[:1])
    assert index.search(QUERIES, 3)[0].tolist() == [["again"]] * 8


def test_the_defaults_grow_with_the_collection():
    assert [default_cells(count) for count in (1, 100, 10_000, 1_000_000)] == [1, 3, 312, 4000]
    assert [default_parts(dimension) for dimension in (384, 768, 100, 16, 7, 2)] == [48, 96, 10, 2, 7, 2]
    assert isinstance(replace(IndexSettings(), kind="ivf").in_cells, bool)
    assert Cells(np.zeros((2, 3), np.float32), np.array([0, 2, 5])).sizes.tolist() == [2, 3]


@pytest.mark.model
def test_real_vectors_survive_few_bytes():
    """I5: MiniLM's vectors, where numbers are not as even as drawn ones."""
    from foveal.models.encoders import load_encoder

    encoder = load_encoder("minilm")
    things = ["a cat", "the moon", "an old bridge", "fresh bread", "a violin", "deep snow", "a train", "the sea"]
    said = ["{} at night", "why people love {}", "how to paint {}", "{} in a story for children"]
    texts = [form.format(thing) for thing in things for form in said]
    queries = encoder.encode([f"tell me about {thing}" for thing in things])
    vectors = encoder.encode(texts)
    exact = DenseIndex.build(texts, vectors, fingerprint=encoder.fingerprint)
    found = exact.search(queries, 3, fingerprint=encoder.fingerprint)[0]
    assert all(thing in text for thing, row in zip(things, found.tolist(), strict=True) for text in row)
    for made in (
        IndexSettings(kind="int8"),
        IndexSettings(kind="binary"),
        IndexSettings(kind="pq", centroids=16),
        IndexSettings(kind="ivfpq", centroids=16, cells=4, probes=2),
    ):
        assert DenseIndex.build(texts, vectors, made).stats(queries, k=3, against=exact).recall >= 0.9
