"""The vector indexes that a library can have, through the store."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from honest import HashedWords, Lines, document
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import InputError, UnknownName
from foveal.retrieval import lance_indexes, tables
from foveal.retrieval import store as store_module
from foveal.retrieval.filters import sql
from foveal.retrieval.indexing import Indexed, Indexer
from foveal.retrieval.lance_indexes import INDEXES, cells, code_bytes
from foveal.retrieval.store import Store

ENCODER = HashedWords()
KIND_OF_LANCE = {
    "flat": None,
    "ivf": "IvfFlat",
    "ivf-pq": "IvfPq",
    "ivf-sq": "IvfSq",
    "ivf-rq": "IvfRq",
    "hnsw": "IvfHnswSq",
    "hnsw-pq": "IvfHnswPq",
}
FOUND = {"ivf-pq": 0.7, "hnsw-pq": 0.9}
"""The least recall of codes of 8 bytes, of sums of random words; of the others 0.95."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A library of 800 lines without an index: its store, queries, and what an exact search finds for them."""
    uri = str(tmp_path_factory.mktemp("indexes") / "library")
    tables.create(uri, {"encoder": "hashed-words", "segmenter": "lines", "dimension": "64"}, 64)
    store = Store.open(uri)
    lines = np.random.default_rng(0).choice([f"word{i}" for i in range(300)], (800, 6))
    add(store, document("a", "".join(" ".join(line) + "\n" for line in lines)))
    queries = ENCODER.encode([" ".join(line) for line in lines[:25]])
    return store, queries, [spans(store, query) for query in queries]


@pytest.fixture(autouse=True)
def _small_libraries_get_an_index(monkeypatch):
    monkeypatch.setattr(store_module, "INDEX_FROM", 500)


def add(store, one):
    with store.writing():
        Indexer(store, Lines().segment, ENCODER.encode).index([one], Indexed())


def spans(store, query, k=10):
    return [found.passage.span for found in store.nearest(query, k)]


def kind_of(store):
    kinds = [index.index_type for index in store._passages.list_indices() if index.columns == ["vector"]]
    return kinds[0] if kinds else None


@pytest.mark.parametrize("name", INDEXES)
def test_every_index_finds_what_the_exact_search_finds(filled, name):
    """I1 flat, I2 IVF, I3 product codes, I4 HNSW, I5 a byte a number: by the setting of the library."""
    store, queries, exact = filled
    with store.writing():
        store.use_index(name)
    assert kind_of(store) == KIND_OF_LANCE[name]
    assert not store.stale()
    recall = np.mean([len(set(spans(store, q)) & set(e)) / 10 for q, e in zip(queries, exact, strict=True)])
    assert recall >= (1 if name == "flat" else FOUND.get(name, 0.95))
    narrow = sql(f"document={store.entries()[0].id}")
    assert len(store.nearest(queries[0], 700, narrow)) == 700  # a filter never costs hits
    again = Store.open(store.uri)
    assert again.index.name == name
    assert spans(again, queries[0]) == spans(store, queries[0])


def test_many_passages_are_found_though_few_cells_are_looked_into(tmp_path):
    index, count, draw = replace(INDEXES["ivf-sq"], probes=4), 1500, np.random.default_rng(0)
    vectors = draw.normal(size=(count, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = pa.table({"vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 16)})
    table = tables.connect(str(tmp_path)).create_table("passages", rows)
    table.create_index("vector", config=index.config(count, 16))
    found = index.asked(table.search(vectors[0]).distance_type("dot").limit(count), count, filtered=False)
    assert len(found.to_arrow()) == count


@pytest.mark.parametrize(("k", "cells_looked_into"), [(10, 96), (200, 128), (2000, 0)])
def test_cells_that_a_search_looks_into_do_not_grow_with_the_library(k, cells_looked_into):
    asked = Asked()
    INDEXES["ivf-rq"].asked(asked, k, filtered=False)
    assert (asked.least, asked.most) == (cells_looked_into or 128, cells_looked_into)
    INDEXES["ivf-rq"].asked(asked, k, filtered=True)
    assert asked.most == 0


class Asked:
    """A query that notes between which bounds cells are looked into."""

    def minimum_nprobes(self, count):
        self.least = count
        return self

    def maximum_nprobes(self, count):
        self.most = count
        return self

    def refine_factor(self, _):
        return self


def test_the_scores_of_an_index_are_those_of_full_vectors(filled):
    store, queries, _ = filled
    for name in ("ivf-pq", "hnsw"):
        with store.writing():
            store.use_index(name)
        best = store.nearest(queries[3], 1)[0]
        text = f"a {best.passage.text}"
        assert best.score == pytest.approx(float(ENCODER.encode([text])[0] @ queries[3]), abs=1e-4)


def test_the_default_is_as_it_was_and_an_older_library_keeps_its_index(filled):
    store, _, _ = filled
    with store.writing():
        store.use_index("ivf-rq")
        settings = tables.read_settings(store.uri)
        assert (settings["vector_index"], settings["vector_index_made"]) == ("ivf-rq", "ivf-rq")
    assert lance_indexes.chosen_index({}).name == "ivf-rq"  # a library that never chose
    version = store._passages.version
    with store.writing():
        store.refresh_indexes()
    assert store._passages.version == version  # nothing is made anew


def test_a_choice_that_was_not_carried_out_is_stale_until_it_is(filled):
    """I9: a kill between the choice and the index."""
    store, _, _ = filled
    with store.writing():
        store.use_index("ivf-rq")
        tables.write_setting(store.uri, "vector_index", "ivf-sq")
    opened = Store.open(store.uri)
    assert opened.stale()
    with opened.writing():
        opened.refresh_indexes()
    assert kind_of(opened) == "IvfSq"
    assert not opened.stale()


@pytest.mark.parametrize("name", ["ivf", "hnsw"])
def test_passages_added_later_are_found_before_and_after_merging(filled, name):
    """I9."""
    store, _, _ = filled
    with store.writing():
        store.use_index(name)
    late = document(f"late {name}", "a sentence that came late\n")
    add(store, late)
    query = ENCODER.encode([f"late {name} a sentence that came late"])[0]
    for _ in range(2):
        assert store.nearest(query, 1)[0].passage.span.document_id == late.id
        with store.writing():
            store.refresh_indexes()
    with store.writing():
        store.remove([late.id])
    assert late.id not in {span.document_id for span in spans(store, query)}


def test_a_small_library_has_no_index_whatever_it_chose(tmp_path):
    uri = str(tmp_path / "library")
    tables.create(uri, {"segmenter": "lines", "dimension": "64", "vector_index": "hnsw"}, 64)
    store = Store.open(uri)
    add(store, document("a", "one line\nanother line\n"))
    with store.writing():
        store.refresh_indexes()
    assert (store.index.name, kind_of(store), store.stale()) == ("hnsw", None, False)
    assert len(store.nearest(ENCODER.encode(["line"])[0], 5)) == 2


def test_an_index_that_there_is_not_is_refused_and_nothing_changes(filled):
    store, _, _ = filled
    before = store.index.name
    with store.writing(), pytest.raises(UnknownName, match=r"No vector index is called 'tree'. There are: flat, ivf,"):
        store.use_index("tree")
    assert Store.open(store.uri).index.name == before


def test_parameters_grow_with_the_library():
    assert [cells(rows) for rows in (1, 5_000, 200_000)] == [1, 156, 1788]
    assert [code_bytes(dimension) for dimension in (384, 768, 64, 100, 7)] == [48, 96, 8, 10, 1]


def told(home, *words):
    done = CliRunner().invoke(app, ["admin", "index", *words, "--home", str(home), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_person_chooses_the_index(tmp_path):
    """`foveal admin index NAME`: made at once, kept by the library; an unknown name changes nothing."""
    tables.create(str(tmp_path / "library"), {"encoder": "hashed-words", "segmenter": "lines", "dimension": "64"}, 64)
    store = Store.open(str(tmp_path / "library"))
    add(store, document("a", "".join(f"word{n} word{n % 7}\n" for n in range(300))))
    assert told(tmp_path) == {"index": "ivf-rq", "passages": 300, "exact": True}
    assert told(tmp_path, "hnsw") == {"index": "hnsw", "passages": 300, "exact": True}
    assert kind_of(Store.open(store.uri)) is None
    add(store, document("b", "".join(f"word{n} word{n % 5}\n" for n in range(300, 600))))
    assert told(tmp_path, "ivf-sq") == {"index": "ivf-sq", "passages": 600, "exact": False}
    assert kind_of(Store.open(store.uri)) == "IvfSq"
    refused = CliRunner().invoke(app, ["admin", "index", "tree", "--home", str(tmp_path)])
    assert isinstance(refused.exception, UnknownName)
    assert "hnsw-pq" in str(refused.exception)
    assert told(tmp_path)["index"] == "ivf-sq"
    said = CliRunner().invoke(app, ["admin", "index", "flat", "--home", str(tmp_path)]).stdout
    assert "Vectors of 600 passages are searched by flat." in said
    assert kind_of(Store.open(store.uri)) is None
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["admin", "index", "--help"]).stdout
    assert all(name in shown for name in INDEXES)


def test_a_library_without_vectors_has_no_index_to_choose(tmp_path):
    tables.create(str(tmp_path / "library"), {"encoder": "none", "segmenter": "lines"}, None)
    refused = CliRunner().invoke(app, ["admin", "index", "hnsw", "--home", str(tmp_path)])
    assert isinstance(refused.exception, InputError)
    assert "made without an encoder" in str(refused.exception)
