"""An add that is stopped in the middle of a long document: what was encoded stays, and the next one goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from honest import HashedWords, Lines, document

from foveal import faults
from foveal.retrieval import indexing, tables
from foveal.retrieval.indexing import Indexed, Indexer
from foveal.retrieval.store import Store

ENCODER = HashedWords()
LONG = document("long", "".join(f"every line {i} of a long text\n" for i in range(30)))


class Counting:
    """An encoder that knows how many texts it was given, and is stopped at one of them."""

    def __init__(self, stopped_at: int | None = None) -> None:
        self.texts: list[str] = []
        self.stopped_at = stopped_at

    def __call__(self, texts):
        if self.stopped_at is not None and len(self.texts) + len(texts) > self.stopped_at:
            raise KeyboardInterrupt
        self.texts += texts
        return ENCODER.encode(texts)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(indexing, "BATCH", 10)
    monkeypatch.setattr(indexing, "PIECE", 4)


def made(place: Path) -> Store:
    tables.create(str(place), {"encoder": "hashed-words", "dimension": str(ENCODER.dimension)}, ENCODER.dimension)
    return Store.open(str(place))


@pytest.fixture
def store(tmp_path):
    return made(tmp_path / "library")


def put(store: Store, documents, encode) -> Indexed:
    done = Indexed()
    with store.writing(going_on=True):
        Indexer(store, Lines().segment, encode).index(documents, done)
        store.refresh_indexes()
    return done


def stopped(store: Store, documents, at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        put(store, documents, Counting(at))


def rows(store: Store):
    with store.writing(going_on=True):
        found = list(store.encoded())
    return [(span, text) for span, text, _ in found], np.stack([vector for *_, vector in found])


@pytest.mark.parametrize("at", [3, 8, 10, 18, 29])
def test_the_next_add_encodes_the_rest_alone(store, tmp_path, at):
    first = document("first", "every short text\n")
    stopped(store, [first, LONG], at)
    assert [one.title for one in store.entries()] == (["first"] if at >= 10 else [])
    assert {hit.passage.span.document_id for hit in store.lexical("every", 50)} <= {first.id}
    left = store.counts()["passages"]
    assert left == at // 10 * 10 + at % 10 // 4 * 4  # whole batches, and whole pieces of the one that was stopped

    done = put(store, [first, LONG], again := Counting())
    assert len(again.texts) == 31 - left
    assert done.resumed == (left - 1 if at >= 10 else left)
    assert done.encoded == done.cut == (30 if at >= 10 else 31)
    assert store.counts()["passages"] == 31
    whole = made(tmp_path / "whole")
    put(whole, [first, LONG], Counting())
    (places, vectors), (expected, meant) = rows(store), rows(whole)
    assert places == expected
    assert vectors == pytest.approx(meant, abs=1e-6)
    put(store, [first, LONG], nothing := Counting())
    assert not nothing.texts


def test_a_text_that_changed_meanwhile_begins_anew(store):
    stopped(store, [LONG], 20)
    changed = document("long", LONG.text.replace("a long", "another"))
    put(store, [changed], again := Counting())
    assert len(again.texts) == 30
    assert store.counts()["passages"] == 30
    assert store.lexical("another", 50)


def test_passages_that_are_cut_otherwise_by_now_are_no_start(store):
    """A newer Foveal may cut the same text in other places."""
    stopped(store, [LONG], 20)

    class Halves:
        def segment(self, given):
            return Lines().segment(given)[::2]

    done = Indexed()
    with store.writing(going_on=True):
        Indexer(store, Halves().segment, again := Counting()).index([LONG], done)
    assert (len(again.texts), done.resumed) == (15, 0)
    assert store.counts()["passages"] == 15


def test_what_was_begun_outlasts_a_removal_and_goes_where_nobody_goes_on_with_it(store):
    other = document("other", "every other text\n")
    put(store, [other], Counting())
    stopped(store, [LONG], 20)
    left = store.counts()["passages"] - 1
    with store.writing(going_on=True):
        store.remove([other.id])
    assert store.counts()["passages"] == left
    put(store, [other], Counting())
    assert store.counts()["passages"] == 1


def test_another_writer_deletes_it(store):
    stopped(store, [LONG], 20)
    with store.writing():
        store.refresh_indexes(compact=True)
    assert store.counts()["passages"] == 0


def test_a_slow_machine_writes_before_the_batch_is_full(store, monkeypatch):
    """So that a kill, which writes nothing, costs no more than that."""
    monkeypatch.setattr(indexing, "UNWRITTEN_S", 0.0)
    monkeypatch.setattr(indexing, "BATCH", 1000)
    stored: list[int] = []
    with store.writing(going_on=True):
        index = Indexer(store, Lines().segment, ENCODER.encode, lambda _: stored.append(store.counts()["passages"]))
        index.index([LONG], Indexed())
    assert {4, 8, 12, 16, 20, 24} < set(stored)
    assert store.counts()["passages"] == 30
    assert len(store.lexical("every", 50)) == 30


def test_stopped_just_behind_a_writing_nothing_is_written_twice(store, monkeypatch):
    monkeypatch.setattr(indexing, "UNWRITTEN_S", -1.0)  # each piece is written by itself
    with faults.injected({"store.passages-written": "interrupt"}), pytest.raises(KeyboardInterrupt):
        put(store, [LONG], Counting())
    assert store.counts()["passages"] == 4
    assert put(store, [LONG], again := Counting()).resumed == 4
    assert len(again.texts) == 26
