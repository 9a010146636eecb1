"""A library encoded anew by another encoder: the old vectors serve until the new ones are whole, by one commit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from honest import HashedWords, Lines, document

from foveal import faults
from foveal.retrieval import indexing, tables
from foveal.retrieval import store as store_module
from foveal.retrieval.encoding_anew import encode_anew
from foveal.retrieval.indexing import Indexed, Indexer
from foveal.retrieval.store import Store

OLD, NEW = HashedWords(), HashedWords(dimension=48, salt="new")
TEXTS = [
    document(f"d{i}", "".join(f"line {j} of text {i}, about word{i}{j}\n" for j in range(i + 1))) for i in range(6)
]


@dataclass
class Counted:
    """An encoder that knows how many texts it was given, and is stopped at one of them."""

    encoder: HashedWords = NEW
    stopped_at: int | None = None
    seen: int = 0

    def __getattr__(self, name):
        return getattr(self.encoder, name)

    def encode(self, texts):
        if self.stopped_at is not None and self.seen + len(texts) > self.stopped_at:
            raise KeyboardInterrupt
        self.seen += len(texts)
        return self.encoder.encode(texts)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "PIECE", 2)
    monkeypatch.setattr(indexing, "BATCH", 4)
    values = {"encoder": "old", "fingerprint": OLD.fingerprint, "dimension": "64", "segmenter": "lines"}
    tables.create(str(tmp_path), values, 64)
    made = Store.open(str(tmp_path))
    put(made, TEXTS, OLD)
    return made


def put(store: Store, documents, encoder) -> Indexed:
    done = Indexed()
    with store.writing(going_on=True):
        Indexer(store, Lines().segment, encoder.encode if encoder else None).index(documents, done)
        store.refresh_indexes()
    return done


def assert_encoded_by(store: Store, encoder: HashedWords, documents=TEXTS) -> None:
    """Each passage is there once, with the vector that this encoder gives what search sees of it."""
    found = list(store.encoded())
    assert sorted((span.document_id, span.start) for span, _, _ in found) == sorted(
        (one.id, passage.span.start) for one in documents for passage in Lines().segment(one)
    )
    for _, text, vector in found:
        assert vector == pytest.approx(encoder.encode([text])[0], abs=1e-6)
    for one in documents:
        hit = store.nearest(encoder.encode([f"{one.title} {one.text.splitlines()[0]}"])[0], 1)[0]
        assert hit.passage.span.document_id == one.id


def test_all_passages_have_new_vectors_and_searches_find_by_them(store):
    told: list[tuple[int, int]] = []
    assert encode_anew(store, Counted(), "new", on_progress=lambda *now: told.append(now)) == 21
    assert (told[0], told[-1]) == ((0, 21), (21, 21))
    for one in (store, Store.open(store.uri)):
        assert (one.settings["encoder"], one.dimension) == ("new", 48)
        assert_encoded_by(one, NEW)
        assert one.lexical('"about word32"', 5)[0].passage.text.startswith("line 2 of text 3")
        assert not one.stale()
    assert not put(store, TEXTS, None).updated
    assert encode_anew(store, again := Counted(), "new") == again.seen == 0


def test_what_is_added_and_removed_afterwards_is_of_the_new_table(store):
    encode_anew(store, Counted(), "new")
    more = document("more", "a line more, about nothing else\n")
    put(store, [more], NEW)
    with store.writing():
        store.remove([TEXTS[5].id])
        store.refresh_indexes()
    assert_encoded_by(Store.open(store.uri), NEW, [*TEXTS[:5], more])


@pytest.mark.parametrize("at", [0, 3, 8, 20])
def test_stopped_the_old_vectors_serve_and_the_same_call_goes_on(store, at):
    with pytest.raises(KeyboardInterrupt):
        encode_anew(store, first := Counted(stopped_at=at), "new")
    for one in (store, Store.open(store.uri)):
        assert_encoded_by(one, OLD)
    encode_anew(store, second := Counted(), "new")
    assert first.seen + second.seen == 21
    assert_encoded_by(store, NEW)


def test_what_changes_between_two_calls_is_as_it_is_by_now(store):
    with pytest.raises(KeyboardInterrupt):
        encode_anew(store, Counted(stopped_at=14), "new")
    changed = document("d1", "another line of text 1\n")
    put(store, [changed], OLD)
    with store.writing():
        store.remove([TEXTS[0].id])
    encode_anew(store, Counted(), "new")
    assert_encoded_by(store, NEW, [changed, *TEXTS[2:]])


def test_a_kill_before_the_change_loses_nothing(store):
    with faults.injected({"store.encoded-anew": "interrupt"}), pytest.raises(KeyboardInterrupt):
        encode_anew(store, Counted(), "new")
    assert_encoded_by(Store.open(store.uri), OLD)
    encode_anew(store, again := Counted(), "new")
    assert again.seen == 0
    assert_encoded_by(store, NEW)


def test_a_reader_that_was_there_before_follows(store):
    reader = Store.open(store.uri)
    reader.hold_vectors()
    old = reader.nearest(OLD.encode(["d3 line 0 of text 3"])[0], 1, texts=False)
    encode_anew(store, Counted(), "new")
    assert reader.nearest(OLD.encode(["d3 line 0 of text 3"])[0], 1, texts=False) == old  # one that is under way
    before = reader.made_with
    reader.follow()
    assert reader.made_with != before
    assert_encoded_by(reader, NEW)
    assert reader.nearest(NEW.encode(["d3 line 0 of text 3"])[0], 1, texts=False)


def test_the_old_table_goes_later_and_so_does_what_was_begun_with_another(store):
    def there():
        return {one for one in tables.connect(store.uri).list_tables().tables if one.startswith("passages")}

    with pytest.raises(KeyboardInterrupt):
        encode_anew(store, Counted(HashedWords(salt="third"), stopped_at=5), "third")
    assert len(there()) == 2
    encode_anew(store, Counted(), "new")
    new = store.settings[tables.PASSAGES]
    assert there() == {"passages", new}
    with store.writing():
        store.refresh_indexes()
    assert there() == {"passages", new}
    later = faults.now() + store_module.KEPT_VERSIONS * 1.1
    with faults.injected({}, clock=lambda: later), store.writing():
        store.refresh_indexes()
    assert there() == {new}
    assert tables.exists(store.uri)
    assert_encoded_by(Store.open(store.uri), NEW)


def test_there_and_back_again(store):
    encode_anew(store, Counted(), "new")
    encode_anew(store, Counted(OLD), "old")
    assert_encoded_by(Store.open(store.uri), OLD)
    assert not put(store, TEXTS, None).updated


def test_a_library_without_vectors_gets_some(tmp_path):
    tables.create(str(tmp_path), {"encoder": "none", "segmenter": "lines"}, None)
    store = Store.open(str(tmp_path))
    put(store, TEXTS, None)
    encode_anew(store, Counted(), "new")
    assert_encoded_by(Store.open(store.uri), NEW)
    assert not put(store, TEXTS, NEW).updated


def test_a_larger_library_has_its_index_before_it_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("foveal.retrieval.encoding_anew.INDEX_FROM", 300)
    monkeypatch.setattr(store_module, "INDEX_FROM", 300)
    values = {"encoder": "old", "fingerprint": OLD.fingerprint, "dimension": "64", "vector_index": "ivf"}
    tables.create(str(tmp_path), values, 64)
    store = Store.open(str(tmp_path))
    words = np.random.default_rng(0).choice([f"word{i}" for i in range(300)], (400, 5))
    put(store, [document("many", "".join(" ".join(row) + "\n" for row in words))], OLD)
    encode_anew(store, Counted(), "new")
    passages = tables.connect(store.uri).open_table(store.settings[tables.PASSAGES])
    assert tables.has_index(passages, "vector")
    assert not store.stale()


@pytest.mark.parametrize("visit", [1, 2])
def test_stopped_just_behind_a_writing_nothing_is_written_twice(store, visit):
    """Counted twice, passages would pass for others, which then never got a vector."""
    with faults.injected({"store.passages-written": f"interrupt@{visit}"}), pytest.raises(KeyboardInterrupt):
        encode_anew(store, Counted(), "new")
    encode_anew(store, Counted(), "new")
    assert_encoded_by(Store.open(store.uri), NEW)
