"""Vectors held in memory give what the table gives, and follow it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from honest import HashedWords, Lines, document

from foveal.retrieval import held_vectors, tables
from foveal.retrieval.indexing import Indexed, Indexer
from foveal.retrieval.store import Store

ENCODER = HashedWords()
TEXTS = ["the quick brown fox", "a lazy dog sleeps", "a quick dog", "foxes sleep at noon", "every brown dog barks"]


def put(store: Store, documents) -> None:
    with store.writing():
        Indexer(store, Lines().segment, ENCODER.encode).index(documents, Indexed())
        store.refresh_indexes()


def make(place: Path) -> Store:
    values = {"encoder": "hashed-words", "segmenter": "lines", "dimension": str(ENCODER.dimension)}
    tables.create(str(place), values, ENCODER.dimension)
    return Store.open(str(place))


@pytest.fixture
def store(tmp_path):
    opened = make(tmp_path / "library")
    put(opened, [document(f"d{number}", f"{text}\n") for number, text in enumerate(TEXTS)])
    return opened


def scored(found):
    return {one.passage.span.document_id: pytest.approx(one.score, abs=1e-5) for one in found}


@pytest.mark.parametrize("k", [1, 3, 5, 50])
def test_equal_to_the_table(store, k):
    query = ENCODER.encode(["a brown dog"])[0]
    before = store.nearest(query, k, texts=False)
    store.hold_vectors()
    after = store.nearest(query, k, texts=False)
    assert [one.score for one in after] == pytest.approx([one.score for one in before], abs=1e-5)
    if k >= len(TEXTS):
        assert {one.passage.span.document_id: one.score for one in after} == scored(before)
    assert [one.revision for one in after] == [
        store.current([one.passage.span.document_id])[one.passage.span.document_id].revision for one in after
    ]


@pytest.mark.parametrize("k", [1, 3, 50])
def test_words_find_the_same_with_places_held(store, k, monkeypatch):
    def found():
        return {
            (one.passage.span, one.passage.heading, one.score) for one in store.lexical("quick dog", k, texts=False)
        }

    before = found()
    store.hold_vectors()
    assert found() == before != set()
    put(store, [document("late", "a quick, quick dog\n")])  # its row is not known until all is read again
    monkeypatch.setattr(held_vectors.HeldVectors, "_read", lambda _: None)
    late = store.lexical("quick dog", 50, texts=False)
    assert len(late) == 5
    assert all(one.passage.span.end for one in late)


def test_a_row_that_is_not_known_is_told(store):
    store.hold_vectors()
    held = store._held.at(store.moment())
    known = next(iter(held.by_number))
    assert held.placed([{"_rowid": known, "_score": 1.0}])[0].keys() >= {"document_id", "start", "_score"}
    assert held.placed([{"_rowid": known, "_score": 1.0}, {"_rowid": -1, "_score": 1.0}]) is None
    assert held.placed([]) == []


def test_what_is_added_changed_and_removed_is_seen(store):
    store.hold_vectors()
    query = ENCODER.encode(["a zebra in the rain"])[0]
    assert store.nearest(query, 1, texts=False)[0].score < 0.9
    put(store, [document("z", "a zebra in the rain\n")])
    (best,) = store.nearest(query, 1, texts=False)
    zebra = best.passage.span.document_id
    assert best.passage.span.end == len("a zebra in the rain\n")
    put(store, [document("z", "nothing of that kind\n")])
    assert store.nearest(query, 1, texts=False)[0].score < 0.9
    with store.writing():
        store.remove([zebra])
    assert zebra not in {one.passage.span.document_id for one in store.nearest(query, 50, texts=False)}


def test_another_library_in_the_same_place_is_seen(store, tmp_path):
    """It was made by the same number of steps, so that its tables have the same versions."""
    store.hold_vectors()
    query = ENCODER.encode(["the quick brown fox"])[0]
    before, version = store.nearest(query, 1, texts=False), store.moment()[0]
    shutil.rmtree(tmp_path / "library")
    again = make(tmp_path / "library")
    put(again, [document("another", "the quick brown fox\n")])
    assert again.moment()[0] == version
    for found in (store.nearest(query, 1, texts=False), store.lexical("fox", 1)):
        assert [one.passage.span.document_id for one in found] == [document("another", "").id]
        assert found[0].passage.span != before[0].passage.span


def test_the_table_is_asked_where_a_condition_texts_or_too_many_passages_need_it(store, monkeypatch):
    store.hold_vectors()
    query = ENCODER.encode(["a lazy dog sleeps"])[0]
    assert store.nearest(query, 1)[0].passage.text == "a lazy dog sleeps\n"
    some = store.nearest(query, 5, texts=False)[0].passage.span.document_id
    others = store.nearest(query, 5, f"document_id != '{some}'", texts=False)
    assert others
    assert some not in {one.passage.span.document_id for one in others}
    monkeypatch.setattr(held_vectors, "HELD", 2)
    store._held = None
    store.hold_vectors()
    assert store._held.at(store.moment()) is None
    assert len(store.nearest(query, 3, texts=False)) == 3
