"""The store: what is visible, what a kill leaves, what two processes see."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from honest import HashedWords, Lines, document
from hypothesis import given, settings
from hypothesis import strategies as st
from lancedb.index import FTS

from foveal import faults
from foveal.errors import (
    InputError,
    LibraryBusy,
    LibraryCorrupt,
    LibraryError,
    LibraryTooNew,
    StorageFull,
    UnknownDocument,
)
from foveal.retrieval import indexing, tables
from foveal.retrieval import store as store_module
from foveal.retrieval.dense import DenseRetriever
from foveal.retrieval.event_library import items_of
from foveal.retrieval.filters import sql
from foveal.retrieval.hybrid import HybridRetriever
from foveal.retrieval.indexing import Indexed, Indexer
from foveal.retrieval.lexical import LexicalRetriever
from foveal.retrieval.storage_errors import lance_errors
from foveal.retrieval.store import Store
from foveal.types import Passage, Span

ENCODER = HashedWords()


def make(place: Path, *, encoder: HashedWords | None = ENCODER) -> Store:
    dimension = encoder.dimension if encoder else None
    values = {"encoder": "hashed-words", "segmenter": "lines", **({"dimension": str(dimension)} if dimension else {})}
    tables.create(str(place), values, dimension)
    return Store.open(str(place))


def put(store: Store, documents, *, encoder: HashedWords | None = ENCODER, refresh: bool = True) -> Indexed:
    done = Indexed()
    with store.writing():
        Indexer(store, Lines().segment, encoder.encode if encoder and store.dimension else None).index(documents, done)
        if refresh:
            store.refresh_indexes()
    return done


@pytest.fixture
def store(tmp_path):
    return make(tmp_path / "library")


def visible(store: Store) -> dict[str, list[str]]:
    """Title -> its passages in order, as searches show them; checks each against its document's text."""
    found = store.lexical("every", 1000)
    shown: dict[str, list[tuple[int, str]]] = {}
    for one in found:
        owner = store.text(one.passage.span.document_id)
        assert owner.quote(one.passage.span) == one.passage.text
        shown.setdefault(owner.title, []).append((one.passage.span.start, one.passage.text))
    return {title: [text for _, text in sorted(passages)] for title, passages in shown.items()}


def test_words_and_meaning_find_the_passage_and_its_place(store):
    put(store, [document("a", "the quick brown fox\njumps over\n"), document("b", "a lazy dog sleeps\n")])
    best = store.lexical("foxes jump", 1)[0].passage  # stems: fox, jump
    assert best.text in ("the quick brown fox\n", "jumps over\n")
    nearest = store.nearest(ENCODER.encode(["a lazy dog sleeps"])[0], 1)[0]
    assert nearest.passage.text == "a lazy dog sleeps\n"
    assert nearest.score == pytest.approx(
        float(ENCODER.encode(["b a lazy dog sleeps"])[0] @ ENCODER.encode(["a lazy dog sleeps"])[0]), abs=1e-5
    )


@pytest.mark.parametrize(
    ("heading", "text", "seen"),
    [
        ("Net > Layers", "They are wide.", "Net Layers They are wide."),
        ("Net", "Net. It is wide.", "Net. It is wide."),
        ("Network > Layers", "They are wide.", "Net Network > Layers They are wide."),
        ("Net", "Networks are wide.", "Net Networks are wide."),
        ("first " + "h" * 120, "It is wide.", f"Net {'h' * 120} It is wide."),
    ],
    ids=["below the title", "the title itself", "begins with its letters", "a text that does", "long"],
)
def test_what_search_sees_of_a_passage_names_title_and_heading_once(heading, text, seen):
    one = document("a", text, title="Net")
    assert indexing.indexed_text(one, Passage(Span(one.id, 0, len(text)), text, heading)) == seen


def test_whatever_changes_of_a_document_makes_another_edition_of_it(store):
    one = document("a", "every line\n", metadata={"kind": "text", "year": 1999})
    edition = Indexer(store, Lines().segment, None).edition
    changes = {"title": "b", "url": "https://e.example", "published_at": datetime(2024, 5, 6, tzinfo=UTC)}
    others = [replace(one, **{name: value}) for name, value in changes.items()]
    others += [replace(one, pages=(0, 6)), replace(one, metadata={"kind": "text", "year": 2001})]
    assert len({edition(one), *map(edition, others)}) == 6
    assert edition(replace(one, metadata={"year": 1999, "kind": "text"})) == edition(one)


def test_a_passage_without_a_sign_is_none(store):
    done = put(store, [document("a", " \nevery line\n\n")])
    assert (done.cut, done.passages, store.counts()["passages"], store.entries()[0].passages) == (1, 1, 1, 1)


def test_quoted_words_must_stand_as_a_phrase(store):
    put(store, [document("a", "to be or not to be\nbe not or to\n")])
    assert [one.passage.text for one in store.lexical('"or not to be"', 5)] == ["to be or not to be\n"]
    assert store.lexical('"not be or"', 5) == []
    assert len(store.lexical("not be or", 5)) == 2


@pytest.mark.parametrize("query", ["", "   ", '"', '""', "?!", '" "'])
def test_a_query_without_words_finds_nothing(store, query):
    put(store, [document("a", "some text\n")])
    assert store.lexical(query, 5) == []


@pytest.mark.parametrize("count", [0, 7, 8, 9, 100])
def test_a_sample_is_all_or_some_from_each_part(store, monkeypatch, count):
    monkeypatch.setattr(store_module, "SAMPLED", 8)
    monkeypatch.setattr(store_module, "RUNS", 4)
    put(store, [document(f"d{n:03}", f"line {n}\n") for n in range(count)])
    found = sorted(store.sample("title"))
    whole = [f"d{n:03}" for n in range(count)]
    assert found == (whole if count <= 8 else [whole[(count - 2) * run // 3 + n] for run in range(4) for n in (0, 1)])


def test_chinese_is_found_by_its_words(store):
    put(store, [document("a", "北京大学的研究人员发现了新方法\n"), document("b", "今天天气很好\n")])
    assert [one.passage.text for one in store.lexical("研究", 5)] == ["北京大学的研究人员发现了新方法\n"]


def test_k_above_the_collection_gives_all_and_k_zero_is_refused(store):
    put(store, [document("a", "one word\ntwo words\n")])
    assert len(store.lexical("word", 50)) == 2
    with pytest.raises(InputError, match="at least 1"):
        store.lexical("word", 0)


def test_adding_again_changes_nothing(store):
    documents = [document("a", "every word\n"), document("b", "every other\n")]
    assert len(put(store, documents).added) == 2
    again = put(store, documents)
    assert (again.added, again.updated, len(again.unchanged)) == ([], [], 2)
    assert store.counts() == {"documents": 2, "passages": 2, "revisions": 0}


def test_a_changed_text_replaces_the_old_and_the_old_revision_is_kept(store):
    old, new = document("a", "every old line\n"), document("a", "every new line\nevery second\n")
    put(store, [old])
    assert put(store, [new]).updated == [new.id]
    assert visible(store) == {"a": ["every new line\n", "every second\n"]}
    assert store.text(old.id).text == new.text
    assert store.text(old.id, old.revision).text == old.text
    put(store, [document("a", "every third text\n")])
    assert store.text(old.id, old.revision).text == old.text
    assert store.text(old.id, new.revision).text == new.text


def test_revisions_are_told_the_last_first_and_kept_once_each(store):
    texts = {name: document("a", f"every {name}\n") for name in "ABC"}
    for name in "ABCAB":
        put(store, [texts[name]], refresh=False)
    assert store.revisions(texts["A"].id) == [texts[name].revision for name in "BCA"]
    assert store.counts()["revisions"] == 3


def test_what_is_stored_and_not_published_is_told_nowhere(store):
    old, new = document("a", " \nevery old line\nevery second\n"), document("a", "every new line\n")
    put(store, [old])
    with faults.injected({"store.passages-written": "interrupt"}), pytest.raises(KeyboardInterrupt):
        put(store, [new])
    assert store.counts()["passages"] == 3
    assert store.visible_passages() == 2
    assert store.places(old.id) == [(2, 17, None), (17, 30, None)]
    assert sorted(text for _, text, _ in store.encoded()) == ["a every old line\n", "a every second\n"]
    np.testing.assert_allclose(store.vector(old.id), ENCODER.encode(["a every old line"])[0], atol=1e-6)


def test_changed_metadata_alone_is_taken_over_without_a_new_revision(store):
    put(store, [document("a", "every line\n", metadata={"year": 1999})])
    put(store, [document("a", "every line\n", metadata={"year": 2001})])
    assert store.counts() == {"documents": 1, "passages": 1, "revisions": 0}
    assert store.lexical("every", 5, sql("year=1999")) == []
    assert len(store.lexical("every", 5, sql("year=2001"))) == 1


def test_the_same_address_twice_in_one_run_counts_once(store):
    assert len(put(store, [document("a", "every one\n"), document("a", "every two\n")]).added) == 1
    assert visible(store) == {"a": ["every one\n"]}


def test_a_library_without_vectors_searches_by_words(tmp_path):
    store = make(tmp_path / "library", encoder=None)
    put(store, [document("a", "every word counts\n")])
    assert visible(store) == {"a": ["every word counts\n"]}


def test_a_reader_that_was_opened_before_sees_what_is_written_later(store):
    reader = Store.open(store.uri)
    assert reader.lexical("every", 5) == []
    put(store, [document("a", "every line\n")])
    assert visible(reader) == {"a": ["every line\n"]}


def test_a_phrase_is_found_before_any_index_covers_it(store):
    put(store, [document("a", "to be or not to be\nbe not or to\n")], refresh=False)
    assert [one.passage.text for one in store.lexical('"or not to be"', 5)] == ["to be or not to be\n"]


def test_a_second_writer_is_told_who_writes(store):
    code = f"""
import sys
from foveal.retrieval.store import Store
with Store.open({store.uri!r}).writing():
    print("in", flush=True)
    sys.stdin.read()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "in\n"
        with pytest.raises(LibraryBusy, match=f"pid {child.pid}"), store.writing():
            pass
        assert store.lexical("every", 5) == []  # reading goes on
    finally:
        child.communicate("")
    put(store, [document("a", "every line\n")])


CHILD = """
import os, sys
sys.path.insert(0, {tests!r})
from honest import HashedWords, Lines, document
from foveal.retrieval import indexing
from foveal.retrieval.indexing import Indexed, Indexer
from foveal.retrieval.store import Store
indexing.BATCH = 4
store = Store.open({uri!r})
done = Indexed()
def say(report):
    for one in (report.added + report.updated)[len(said):]:
        said.append(one)
        os.write(1, (one + chr(10)).encode())
said = []
with store.writing():
    lines = [[f"every line {{j}} of {{i}} {version}" + chr(10) for j in range(i % 3 + 1)] for i in range(12)]
    docs = [document(f"d{{i}}", "".join(lines[i])) for i in range(12)]
    Indexer(store, Lines().segment, HashedWords().encode, say).index(docs, done)
    store.refresh_indexes()
"""


@pytest.mark.parametrize("before", [pytest.param("nothing", marks=pytest.mark.slow), "older texts"])
@pytest.mark.parametrize(
    "fault",
    [
        *(pytest.param(f"store.write=kill@{visit}", marks=pytest.mark.slow) for visit in (1, 2, 3, 4, 5)),
        "store.passages-written=kill",
        pytest.param("store.passages-written=kill@2", marks=pytest.mark.slow),
        "store.documents-written=kill",
        pytest.param("store.documents-written=kill@2", marks=pytest.mark.slow),
        "store.before-index=kill",
    ],
)
def test_a_kill_loses_nothing_reported_and_shows_nothing_half(tmp_path, fault, before):
    store = make(tmp_path / "library")

    def texts(version: str):
        return [
            document(f"d{i}", "".join(f"every line {j} of {i} {version}\n" for j in range(i % 3 + 1)))
            for i in range(12)
        ]

    if before == "older texts":
        put(store, texts("old"))
    code = CHILD.format(tests=str(Path(__file__).parents[1]), uri=store.uri, version="new")
    env = {**os.environ, "FOVEAL_FAULTS": fault}
    child = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    reported = set(child.stdout.split())

    whole = {
        version: {one.title: one.text.splitlines(keepends=True) for one in texts(version)} for version in ("old", "new")
    }
    after = Store.open(store.uri)
    shown = visible(after)
    for one in texts("new"):
        if one.id in reported:
            assert shown[one.title] == whole["new"][one.title]
    for title, passages in shown.items():
        assert passages in (whole["old"][title], whole["new"][title])
    if before == "older texts":
        assert set(shown) == set(whole["old"])

    finished = put(after, texts("new"))
    assert {*finished.added, *finished.updated, *finished.unchanged} == {one.id for one in texts("new")}
    assert reported <= set(finished.unchanged)
    assert visible(after) == whole["new"]
    assert after.counts()["passages"] == sum(map(len, whole["new"].values()))  # nothing invisible is left


@pytest.mark.parametrize("visit", range(1, 13))
def test_a_full_disk_at_any_write_keeps_what_was_reported(store, monkeypatch, visit):
    monkeypatch.setattr(indexing, "BATCH", 2)
    put(store, [document("d0", "every old line 0\n"), document("d1", "every old line 1\n")])
    documents = [document(f"d{i}", f"every line {i}\n") for i in range(7)]
    done, failed = Indexed(), None
    with faults.injected({"store.write": f"full@{visit}"}):
        try:
            with store.writing():
                Indexer(store, Lines().segment, ENCODER.encode).index(documents, done)
                store.refresh_indexes()
        except StorageFull as error:
            failed = error
    assert "free some space" in str(failed) or visit > 8
    shown = visible(store)
    reported = {*done.added, *done.updated}
    assert all(shown[one.title] == [one.text] for one in documents if one.id in reported)
    assert {"d0", "d1"} <= set(shown)
    put(store, documents)
    assert visible(store) == {one.title: [one.text] for one in documents}
    assert store.counts()["passages"] == 7


def test_ctrl_c_keeps_what_was_stored(store, monkeypatch):
    monkeypatch.setattr(indexing, "BATCH", 1)
    documents = [document(f"d{i}", f"every line {i}\n") for i in range(5)]
    with faults.injected({"store.passages-written": "interrupt@3"}), pytest.raises(KeyboardInterrupt):
        put(store, documents)
    assert set(visible(store)) < {one.title for one in documents}
    put(store, documents)
    assert len(visible(store)) == 5
    assert store.counts()["passages"] == 5


def test_a_newer_library_is_refused(store):
    tables.write_setting(store.uri, "schema", str(tables.SCHEMA + 1))
    with pytest.raises(LibraryTooNew, match="Update Foveal"):
        Store.open(store.uri)


def test_an_older_library_is_migrated_and_a_kill_in_between_is_made_good(store):
    put(store, [document("a", "every line\n")])
    calls = []

    def add_column(database):
        calls.append("column")
        table = database.open_table("documents")
        if "language" not in table.schema.names:
            table.add_columns({"language": "cast(NULL as string)"})

    def fails_once(database):
        calls.append("second")
        if calls.count("second") == 1:
            raise OSError("power cut")

    steps = {tables.SCHEMA: add_column, tables.SCHEMA + 1: fails_once}
    with pytest.raises(Exception, match="power cut"):
        tables.migrate(store.uri, newest=tables.SCHEMA + 2, migrations=steps)
    assert tables.schema_of(store.uri, newest=9) == tables.SCHEMA + 1
    tables.migrate(store.uri, newest=tables.SCHEMA + 2, migrations=steps)
    assert calls == ["column", "second", "second"]
    assert tables.schema_of(store.uri, newest=9) == tables.SCHEMA + 2
    assert "language" in tables.connect(store.uri).open_table("documents").schema.names


def test_a_missing_table_and_a_damaged_file_are_told(store, tmp_path):
    put(store, [document("a", "every line\n")])
    for path in (tmp_path / "library" / "passages.lance" / "data").iterdir():
        path.write_bytes(b"garbage")
    with pytest.raises(LibraryCorrupt, match="missing or damaged"):
        Store.open(store.uri).lexical("every", 5, sql("title=a"))
    (tmp_path / "library" / "documents.lance").rename(tmp_path / "elsewhere")
    with pytest.raises(LibraryCorrupt, match="lacks its table documents"):
        tables.exists(store.uri)


def test_a_lost_settings_table_is_no_empty_library(store, tmp_path):
    put(store, [document("a", "every line\n")])
    (tmp_path / "library" / "settings.lance").rename(tmp_path / "elsewhere")
    with pytest.raises(LibraryCorrupt, match="lacks its table settings"):
        tables.exists(store.uri)


@pytest.mark.parametrize("written", [0, 1, 2])
def test_what_a_kill_left_of_a_librarys_making_is_made_anew(tmp_path, written):
    """A table is a folder before it has a version: the kill may come between."""
    place, names = tmp_path / "library", ("documents", "revisions", "passages")
    values = {"encoder": "none", "segmenter": "lines"}
    tables.create(str(place), values, None)
    shutil.rmtree(place / "settings.lance")
    for name in names[written:]:
        shutil.rmtree(place / f"{name}.lance")
    (place / f"{names[written]}.lance" / "data").mkdir(parents=True)
    assert not tables.exists(str(place))
    tables.create(str(place), values, None)
    assert tables.exists(str(place))
    assert Store.open(str(place)).counts()["documents"] == 0


def test_what_a_killed_creation_left_is_made_anew(store, tmp_path):
    (tmp_path / "library" / "settings.lance").rename(tmp_path / "elsewhere")
    assert not tables.exists(store.uri)
    put(make(tmp_path / "library"), [document("a", "every line\n")])


def test_the_words_of_the_path_are_not_taken_for_damage():
    with (
        pytest.raises(LibraryError, match="could not be used: too many open files") as caught,
        lance_errors("/magic/not found"),
    ):
        raise OSError("too many open files in /magic/not found")
    assert not isinstance(caught.value, LibraryCorrupt)


def test_a_library_that_can_only_be_read_says_what_may_be_done(store, monkeypatch):
    """As one that lies on a snapshot, or on a disk that was mounted so."""

    def refused(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), ".writer")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(LibraryError, match=r"can only be read: .* It can be searched; to change it, copy its home"):
        store.writing().__enter__()


def test_a_long_text_tells_how_far_it_is_and_can_be_stopped_on_its_way(store, monkeypatch):
    monkeypatch.setattr(indexing, "PIECE", 4)
    text = "".join(f"line number {i}\n" for i in range(10))
    told: list[int] = []
    with store.writing():
        index = Indexer(store, Lines().segment, ENCODER.encode, lambda done: told.append(done.encoded))
        index.index([document("long", text)], Indexed())
    assert sorted(set(told)) == [0, 4, 8, 10]

    def stop(done: Indexed) -> None:
        if done.encoded:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), store.writing():
        Indexer(store, Lines().segment, ENCODER.encode, stop).index([document("other", text)], done := Indexed())
    assert done.encoded == 4
    assert len(store.entries()) == 1


REPLACER = """
import sys
sys.path.insert(0, {tests!r})
from honest import HashedWords, Lines, document
from foveal.retrieval import indexing
from foveal.retrieval.indexing import Indexed, Indexer
from foveal.retrieval.store import Store
indexing.BATCH = 5
store = Store.open({uri!r})
print("go", flush=True)
for version in range(10):
    text = "".join(f"every line {{i}} of version {{version}}" + chr(10) for i in range(20))
    with store.writing():
        Indexer(store, Lines().segment, HashedWords().encode).index([document("long", text)], Indexed())
"""


@pytest.mark.parametrize("hybrid", [False, True])
def test_a_reader_never_sees_half_of_what_another_process_replaces(store, hybrid):
    put(store, [document("long", "".join(f"every line {i} of version -1\n" for i in range(20)))])
    reader = Store.open(store.uri)
    both = HybridRetriever(LexicalRetriever(reader), DenseRetriever(reader, ENCODER))
    code = REPLACER.format(tests=str(Path(__file__).parents[1]), uri=store.uri)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        seen = set()
        while child.poll() is None:
            found = both.search(["every"], 100)[0] if hybrid else reader.lexical("every", 100)
            versions = {one.passage.text.split()[-1] for one in found}
            assert (len(found), len(versions), len({one.revision for one in found})) == (20, 1, 1)
            seen |= versions
    assert child.returncode == 0
    assert len(seen) > 1


def test_removed_documents_vanish_with_their_revisions(store):
    documents = [document(f"d{i}", f"every line {i}\n") for i in range(3)]
    put(store, documents)
    put(store, [document("d0", "every changed line\n")])
    with store.writing():
        store.remove([documents[0].id])
    assert set(visible(store)) == {"d1", "d2"}
    assert store.counts() == {"documents": 2, "passages": 2, "revisions": 0}
    with pytest.raises(UnknownDocument):
        store.text(documents[0].id)


def test_many_documents_are_removed_at_once(store):
    one = document("a", "every line\n")
    put(store, [one])
    with store.writing():
        store.remove([*(f"{number:032x}" for number in range(500)), one.id])
    assert store.counts() == {"documents": 0, "passages": 0, "revisions": 0}


@pytest.mark.parametrize("compacted", [False, True])
def test_what_a_killed_removal_leaves_is_not_read_and_deleted_by_the_next_writer(store, compacted):
    old, new = document("d0", "every line 0\n"), document("d0", "every changed line\n")
    put(store, [old, document("d1", "every line 1\n")])
    put(store, [new])
    assert store.text(old.id, old.revision).text == old.text
    with faults.injected({"store.documents-written": "interrupt"}), pytest.raises(KeyboardInterrupt), store.writing():
        store.remove([old.id])
    assert store.counts()["revisions"] == 1
    for revision in (None, old.revision, old.revision[:8], new.revision):
        with pytest.raises(UnknownDocument):
            store.text(old.id, revision)
    assert store.revisions(old.id) == []
    if compacted:  # an earlier version's next writer left it
        tables.write_setting(store.uri, "writing", "no")
        with store.writing():
            store.refresh_indexes(compact=True)
    else:
        with store.writing():
            pass
    assert store.counts()["revisions"] == 0
    put(store, [old])
    assert store.revisions(old.id) == [old.revision]


@pytest.mark.parametrize("date", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_a_date_beyond_the_calendar_that_was_stored_once_harms_nothing(store, date):
    """Earlier versions took them, and could read no document afterwards."""
    bad = document("bad", "every bad line\n", published_at=datetime.fromisoformat(date))
    good = document("good", "every good line\n", published_at=datetime(2024, 5, 6, tzinfo=UTC))
    put(store, [bad, good])
    dates = {entry.title: entry.published_at for entry in store.entries()}
    assert dates == {"bad": None, "good": good.published_at}
    assert store.text(bad.id).published_at is None
    assert store.text(good.id).published_at == good.published_at
    assert {item.id: item.published_at for item in items_of(store)} == {bad.id: None, good.id: good.published_at}
    put(store, [document("bad", "every better line\n")])
    assert store.text(bad.id, bad.revision).text == bad.text
    with store.writing():
        store.remove([entry.id for entry in store.entries()])
    assert store.counts() == {"documents": 0, "passages": 0, "revisions": 0}


LONG = ("x" * 41, "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft", "ab" * 600)


def test_long_words_are_found(store):
    put(store, [document(f"d{n}", f"every line says {word} once\n") for n, word in enumerate(LONG)])
    for word in LONG:
        assert [one.passage.text for one in store.lexical(word, 5)] == [f"every line says {word} once\n"]
        assert len(store.lexical(f'"says {word} once"', 5)) == 1


def test_an_index_that_leaves_long_words_out_is_searched_and_made_anew_by_the_next_writer(store):
    put(store, [document("a", f"every line says {LONG[0]}\n")])
    of_before = FTS(base_tokenizer="icu/split", stem=True, remove_stop_words=False, with_position=True)
    store._passages.create_index("indexed", config=of_before, replace=True)
    reader = Store.open(store.uri)
    assert len(reader.lexical("every", 5)) == 1
    assert reader.lexical(LONG[0], 5) == []
    assert reader.stale()
    with store.writing():
        store.refresh_indexes()
    assert len(reader.lexical(LONG[0], 5)) == 1
    assert [index.columns for index in store._passages.list_indices()].count(["indexed"]) == 1
    assert not reader.stale()


def test_all_texts_are_read_some_at_a_time(store, monkeypatch):
    monkeypatch.setattr("foveal.retrieval.store.READ", 2)
    put(store, [document(f"d{n}", f"text {n}") for n in range(5)])
    put(store, [document("d1", "another text")])
    found = list(store.texts())
    assert found == [store.text(entry.id) for entry in store.entries()]
    assert sorted(one.text for one in found) == ["another text", "text 0", "text 2", "text 3", "text 4"]


def test_columns_are_listed_in_the_order_of_adding(store):
    put(store, [document(f"d{n}", f"every line {n}\n") for n in (3, 1, 2)])
    put(store, [document("d0", "every line 0\n")])
    assert store.listed("title")["title"].to_pylist() == ["d3", "d1", "d2", "d0"]
    assert store.listed("id", "source").column_names == ["id", "source"]
    assert store.listed("id")["id"].to_pylist() == [entry.id for entry in store.entries()]


def test_ids_may_be_shortened_while_they_are_one(store):
    put(store, [document("a", "every line\n")])
    whole = document("a", "").id
    assert store.entry(whole[:8]).id == whole
    with pytest.raises(UnknownDocument, match="No document has the id"):
        store.entry("0" * 31)


def test_the_beginning_of_several_ids_names_none_of_them(store):
    names = {"a": "ab00", "b": "ab01"}
    put(store, [replace(document(name, f"every {name}\n"), id=f"{first:0<32}") for name, first in names.items()])
    assert {name: store.entry(first).title for name, first in names.items()} == {"a": "a", "b": "b"}
    with pytest.raises(UnknownDocument, match="Several documents have ids that begin with ab0"):
        store.entry("ab0")


operations = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 4), st.integers(1, 3)), min_size=1, max_size=8
)


@settings(max_examples=12)
@given(operations)
def test_any_order_of_adding_and_removing_ends_as_a_dict_would(tmp_path_factory, operations):
    store = make(tmp_path_factory.mktemp("sequence") / "library")
    expected: dict[str, list[str]] = {}
    for kind, which, lines in operations:
        one = document(f"d{which}", "".join(f"every line {which} {i} of {lines}\n" for i in range(lines)))
        if kind == "add":
            put(store, [one], refresh=lines == 1)
            expected[one.title] = one.text.splitlines(keepends=True)
        else:
            with store.writing():
                store.remove([one.id])
            expected.pop(one.title, None)
    assert visible(store) == expected


def test_the_vector_index_finds_what_the_exact_search_finds(tmp_path, monkeypatch):
    from foveal.retrieval import store as module

    store = make(tmp_path / "library")
    words = [f"word{i}" for i in range(400)]
    drawn = np.random.default_rng(0).choice(words, (3000, 6))
    put(store, [document("a", "".join(" ".join(line) + "\n" for line in drawn))])
    queries = ENCODER.encode([" ".join(line) for line in drawn[:40]])
    exact = [[one.passage.span for one in store.nearest(query, 10)] for query in queries]
    monkeypatch.setattr(module, "INDEX_FROM", 1000)
    with store.writing():
        store.refresh_indexes()
    assert any(index.columns == ["vector"] for index in store._passages.list_indices())
    found = [[one.passage.span for one in store.nearest(query, 10)] for query in queries]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)])
    assert recall > 0.9
    narrow = sql(f"document={store.entries()[0].id}")
    assert len(store.nearest(queries[0], 2500, narrow)) == 2500  # a filter never costs hits
    put(store, [document("b", "a late line\n")])
    assert store.nearest(ENCODER.encode(["b a late line"])[0], 1)[0].passage.text == "a late line\n"


def test_compacting_keeps_everything(store):
    for i in range(5):
        put(store, [document(f"d{i}", f"every line {i}\n")])
    before = visible(store)
    with store.writing():
        store.refresh_indexes(compact=True)
    assert visible(store) == before
    assert isinstance(store.vectors(), np.ndarray)
    assert pa.types.is_large_string(tables.DOCUMENTS.field("text").type)


def test_a_library_that_is_just_being_made_is_none_yet(tmp_path):
    folder = tmp_path / "library"
    (folder / "settings.lance").mkdir(parents=True)  # as another process leaves it between two steps
    assert not tables.exists(str(folder))
    tables.create(str(folder), {"encoder": "none", "segmenter": "lines"}, None)
    assert tables.exists(str(folder))


def test_its_size_is_told_while_another_process_takes_folders_away(tmp_path, monkeypatch):
    store = make(tmp_path / "library")
    beside = [tmp_path / "library" / f"beside-{name}" for name in "abc"]  # as compaction takes an index's folders
    for one in beside:
        one.mkdir()
        (one / "part").write_text("12345")
    stat = Path.stat

    def going(path, **how):
        for one in beside if path.name == "part" else ():
            if one != path.parent:
                shutil.rmtree(one, ignore_errors=True)
        return stat(path, **how)

    before = store.bytes()
    monkeypatch.setattr(Path, "stat", going)
    assert store.bytes() == before - 10
