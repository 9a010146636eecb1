"""A library on an object store: all that a local one does, one writer at a time, readers that keep what they saw."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import warnings
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pyarrow as pa
import pytest
from honest import HashedWords, Lines, document
from object_store import object_store

from foveal import faults
from foveal.errors import LibraryBusy, LibraryError
from foveal.library import Library
from foveal.retrieval import lease, tables
from foveal.retrieval import store as module
from foveal.retrieval.encoding_anew import encode_anew
from foveal.retrieval.filters import sql
from foveal.retrieval.indexing import Indexed, Indexer
from foveal.retrieval.store import Store
from foveal.settings import Settings

ENCODER = HashedWords()


@pytest.fixture(scope="module")
def bucket():
    with object_store() as uri:
        yield uri


@pytest.fixture
def at_once(monkeypatch):
    """Readers that look for commits at each read."""
    monkeypatch.setattr(tables, "PINNED", timedelta(0))


def make(uri: str) -> Store:
    tables.create(uri, {"encoder": "hashed-words", "segmenter": "lines", "dimension": "64"}, 64)
    return Store.open(uri)


def put(store: Store, *documents) -> Indexed:
    done = Indexed()
    with store.writing():
        Indexer(store, Lines().segment, ENCODER.encode).index(documents, done)
        store.refresh_indexes()
    return done


def texts(found) -> list[str]:
    return sorted(one.passage.text.strip() for one in found)


def test_a_store_there_is_searched_filtered_replaced_and_emptied(bucket, at_once):
    store = make(f"{bucket}/whole")
    done = put(store, document("a", "The fovea sees sharply.\nRods see at night."), document("b", "Cones see colour."))
    assert (len(done.added), done.passages) == (2, 3)
    assert texts(store.lexical("cones night", 10)) == ["Cones see colour.", "Rods see at night."]
    assert store.nearest(ENCODER.encode(["Cones see colour."])[0], 1)[0].passage.text == "Cones see colour."
    assert texts(store.lexical("sees", 10, sql("title=b"))) == ["Cones see colour."]
    first = store.entries()[0]
    put(store, document("a", "The fovea sees most sharply."))
    assert texts(store.lexical("fovea", 10)) == ["The fovea sees most sharply."]
    assert store.text(first.id).text == "The fovea sees most sharply."
    assert store.text(first.id, first.revision).text.startswith("The fovea sees sharply.")
    with store.writing():
        store.refresh_indexes(compact=True)
    assert store.bytes() > 1000
    with store.writing():
        store.remove([first.id])
    assert [one.title for one in store.entries()] == ["b"]
    assert texts(store.lexical("fovea", 10)) == []


def test_a_library_there_is_used_as_one_here(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "here"))
    monkeypatch.setattr(tables, "PINNED", timedelta(0))
    (tmp_path / "notes.txt").write_text("The fovea is the part of the retina that sees sharply.", encoding="utf-8")
    library = Library.open(f"{bucket}/papers", encoder="none")
    assert library.settings.home == tmp_path / "here"
    assert library.settings.library_uri == f"{bucket}/papers/library"
    assert len(library.add([tmp_path / "notes.txt"]).added) == 1
    assert len(library.add([tmp_path / "notes.txt"]).unchanged) == 1
    again = Library.open(f"{bucket}/papers", create=False)
    hit = again.search("retina")[0]
    assert again.get(hit.passage.span.document_id).quote(hit.passage.span) == hit.passage.text
    stats = again.stats()
    assert (stats.home, stats.documents, stats.passages) == (f"{bucket}/papers", 1, 1)
    again.compact()
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "other.txt").write_text("Rods see at night.", encoding="utf-8")
    assert len(again.add([tmp_path], prune=True).removed) == 1
    assert [entry.title for entry in library.documents()] == ["other"]


@pytest.mark.slow
def test_a_reader_pins_one_moment_and_moves_on_by_itself(bucket, monkeypatch):
    monkeypatch.setattr(tables, "PINNED", timedelta(seconds=30))
    writer = make(f"{bucket}/pinned")
    put(writer, document("a", "first"))
    reader = Store.open(f"{bucket}/pinned")
    put(writer, document("a", "second"))
    assert texts(reader.lexical("first", 5)) == ["first"]
    assert reader.entries()[0].passages == 1
    reader._tables._until = 0.0
    assert texts(reader.lexical("first second", 5)) == ["second"]


def test_a_library_that_is_made_anew_there_is_followed_though_its_versions_count_alike(bucket, at_once):
    uri = f"{bucket}/anew"
    put(make(uri), document("a", "first"))
    reader = Store.open(uri)
    assert texts(reader.lexical("first second", 5)) == ["first"]
    before = reader.moment()
    database = tables.connect(uri)
    for name in database.list_tables().tables:
        database.drop_table(name)
    put(make(uri), document("a", "second"))
    assert Store.open(uri).moment()[0] == before[0]  # the versions tell nothing
    assert texts(reader.lexical("first second", 5)) == ["second"]
    assert reader.entries()[0].revision.startswith(reader.lexical("second", 5)[0].revision)


def test_a_library_there_is_encoded_anew_and_its_readers_follow(bucket, at_once):
    store = make(f"{bucket}/encoded-anew")
    put(store, document("a", "the quick brown fox\n"), document("b", "a lazy dog sleeps\n"))
    reader, new = Store.open(store.uri), HashedWords(dimension=48, salt="new")
    assert encode_anew(store, new, "new") == 2
    for one in (store, reader, Store.open(store.uri)):
        one.follow()
        assert one.dimension == 48
        assert texts(one.nearest(new.encode(["b a lazy dog sleeps"])[0], 1)) == ["a lazy dog sleeps"]
        assert texts(one.lexical("fox", 5)) == ["the quick brown fox"]


def test_two_writers_take_turns(bucket, at_once):
    one, two = make(f"{bucket}/turns"), Store.open(f"{bucket}/turns")
    with one.writing(), pytest.raises(LibraryBusy, match=f"pid {os.getpid()} on "), two.writing():
        pytest.fail("both write")
    with two.writing():
        pass


@pytest.mark.slow
def test_of_many_that_begin_at_once_each_writes_alone_and_nothing_is_lost(bucket, at_once):
    uri = f"{bucket}/many"
    make(uri)
    busy: list[LibraryBusy] = []

    def write(name: str) -> None:
        while True:
            try:
                put(Store.open(uri), document(name, f"text of {name}"))
                return
            except LibraryBusy as error:
                busy.append(error)
                time.sleep(0.05)

    threads = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.title for one in Store.open(uri).entries()) == ["w0", "w1", "w2"]


WRITER = """
import sys
from honest import HashedWords, Lines, document
from foveal.retrieval.indexing import Indexed, Indexer
from foveal.retrieval.store import Store
store = Store.open(sys.argv[1])
with store.writing():
    Indexer(store, Lines().segment, HashedWords().encode).index([document("dead", "half written")], Indexed())
"""


@pytest.mark.slow
def test_what_a_killed_writer_left_is_not_seen_and_its_right_runs_out(bucket, at_once, monkeypatch):
    uri = f"{bucket}/killed"
    store = make(uri)
    put(store, document("a", "first"))
    env = os.environ | {"FOVEAL_FAULTS": "store.passages-written=kill", "PYTHONPATH": os.pathsep.join(sys.path)}
    died = subprocess.run([sys.executable, "-c", WRITER, uri], env=env, check=False, capture_output=True)
    assert died.returncode < 0, died.stderr
    assert texts(store.lexical("half first", 5)) == ["first"]
    with pytest.raises(LibraryBusy, match="runs out in"):
        put(store, document("b", "second"))
    later, told = timedelta(seconds=lease.LEASE_S + 1), lease.elapsed
    monkeypatch.setattr(lease, "elapsed", lambda: told() + later.total_seconds())
    with faults.injected({}, clock=lambda: datetime.now(UTC) + later):
        put(store, document("b", "second"))
    assert store.counts() == {"documents": 2, "passages": 2, "revisions": 0}


def test_a_right_that_was_lost_stops_the_writer_before_its_next_commit(bucket, at_once):
    store = make(f"{bucket}/lost")
    with store.writing():
        store._right.last(-1)
        with pytest.raises(LibraryBusy, match="lost the right to write"):
            store.remove(["0" * 32])
        store._right.last(lease.LEASE_S)
    assert store.counts()["documents"] == 0


@pytest.mark.slow
def test_a_right_is_renewed_while_it_is_held(bucket, monkeypatch):
    monkeypatch.setattr(lease, "RENEWED_S", 0.05)
    monkeypatch.setattr(lease, "LEASE_S", 1.0)
    store = make(f"{bucket}/renewed")
    with store.writing():
        time.sleep(1.5)
        store._right.check()
        with pytest.raises(LibraryBusy, match="Another process"), Store.open(f"{bucket}/renewed").writing():
            pytest.fail("it had run out")


@pytest.mark.slow
def test_older_versions_of_the_right_go_with_the_others(bucket, monkeypatch):
    monkeypatch.setattr(lease, "RENEWED_S", 0.02)
    monkeypatch.setattr(module, "KEPT_BY_COMPACT", timedelta(0))
    uri = f"{bucket}/cleaned"
    store = make(uri)
    right = tables.connect(uri)
    with store.writing():
        while len(right.open_table(lease.TABLE).list_versions()) < 6:
            time.sleep(0.05)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lance's own, of other readers: there are none
            store.refresh_indexes(compact=True)
        before = len(right.open_table(lease.TABLE).list_versions())
        store._right.check()
    assert before < 6
    with store.writing():  # it is held, renewed and given back as before
        store._right.check()


def test_a_right_ends_here_no_later_than_where_it_is_stored(monkeypatch):
    """A store that takes its time over a renewal: it lasts from before, not from when the store was done."""
    clock, renewed, over = [100.0], [], threading.Event()

    class Slow:
        def update(self, where, values):  # noqa: ARG002
            renewed.append(values["until"])
            clock[0] += 40
            over.set()
            return SimpleNamespace(rows_updated=1)

    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(lease, "RENEWED_S", 0.0)
    right = lease.Right("s3://anywhere", until=130.0)
    start = datetime.now(UTC)
    with faults.injected({}, clock=lambda: start + timedelta(seconds=clock[0] - 100)):
        lease._renew(Slow(), "token", right, over)
    assert renewed == [pytest.approx(start.timestamp() + lease.LEASE_S)]
    clock[0] = 100 + lease.LEASE_S
    right.check()
    clock[0] += 1
    with pytest.raises(LibraryBusy, match="lost the right"):
        right.check()


class Row:
    """The table of the right to write, in memory; what is done `meanwhile` happens at each look but the first."""

    def __init__(self, until: float, meanwhile=lambda _: None, token: str = "old"):
        self.row = {"token": token, "holder": "pid 1 on elsewhere", "until": until}
        self.meanwhile, self.looks = meanwhile, 0

    def to_arrow(self):
        self.looks += 1
        if self.looks > 1:
            self.meanwhile(self.row)
        return pa.table({name: [value] for name, value in self.row.items()}, schema=lease.ROW)

    def update(self, where, values):
        token = f"token = '{self.row['token']}'"
        fits = where in (token, f"{token} AND until = {self.row['until']!r}")
        self.row |= values if fits else {}
        return SimpleNamespace(rows_updated=int(fits))


def test_a_right_that_a_wrong_clock_gave_for_a_year_is_free_once_nobody_renews_it(monkeypatch, caplog):
    monkeypatch.setattr(lease, "RENEWED_S", 0.01)
    monkeypatch.setattr(lease, "LEASE_S", 0.05)
    year = faults.now().timestamp() + 31_536_000
    said_before = []
    table = Row(year, lambda _: said_before.extend(caplog.messages))
    lease._take(table, "mine", "s3://anywhere")
    assert "s3://anywhere is held by pid 1 on elsewhere" in said_before[0]
    assert "Waiting for 0 s" in said_before[0]
    assert table.row["token"] == "mine"
    assert table.row["until"] < year - 31_000_000
    held = Row(year, lambda row: row.update(until=row["until"] + 15))
    with pytest.raises(LibraryBusy, match="pid 1 on elsewhere"):
        lease._take(held, "mine", "s3://anywhere")
    assert held.row["token"] == "old"


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(lease, "RENEWED_S", 0.01)
    monkeypatch.setattr(lease, "LEASE_S", 0.05)


def test_a_right_that_is_over_by_another_machine_s_clock_is_watched_before_it_is_taken(short):
    """That machine's clock may be behind: its process, which renews, is alive."""
    past = faults.now().timestamp() - 3600
    alive = Row(past, lambda row: row.update(until=row["until"] + 15))
    with pytest.raises(LibraryBusy, match="pid 1 on elsewhere"):
        lease._take(alive, "mine", "s3://anywhere")
    assert alive.row["token"] == "old"
    dead = Row(past)
    lease._take(dead, "mine", "s3://anywhere")
    assert (dead.row["token"], dead.looks > 1) == ("mine", True)


def test_of_its_own_machine_a_right_that_is_over_is_taken_at_once(short):
    ours = Row(faults.now().timestamp() - 1, token=lease._token())
    lease._take(ours, "mine", "s3://anywhere")
    assert (ours.row["token"], ours.looks) == ("mine", 1)


@pytest.mark.parametrize("hours", [1, -1], ids=["on", "back"])
def test_a_right_of_its_own_machine_is_watched_where_the_clock_was_set_since(short, hours):
    """Its process is alive, and has not renewed it since: by the new clock it is over, or far ahead."""
    until, token = faults.now().timestamp() + lease.LEASE_S, lease._token()
    alive, dead = Row(until, lambda row: row.update(until=row["until"] + 15), token=token), Row(until, token=token)
    with faults.injected({}, clock=lambda: datetime.now(UTC) + timedelta(hours=hours)):
        with pytest.raises(LibraryBusy, match="pid 1 on elsewhere"):
            lease._take(alive, "mine", "s3://anywhere")
        lease._take(dead, "mine", "s3://anywhere")
    assert (alive.row["token"], dead.row["token"]) == (token, "mine")


@pytest.mark.parametrize("token", ["", "old", "0-1", "another-1.0-0", "-5.0-0"])
def test_a_token_of_another_machine_or_version_is_not_ours(token):
    assert not lease._is_ours(token)
    assert not lease._is_ours(f"{lease.machine()}-{token}" if token else lease.machine())
    assert lease._is_ours(lease._token())


@pytest.mark.parametrize("behind", [-3600, 3600], ids=["behind", "ahead"])
def test_machines_whose_clocks_differ_do_not_write_at_once(tmp_path, monkeypatch, behind):
    """Two processes with a real table; the second is another machine's, whose clock is an hour off."""
    monkeypatch.setattr(lease, "RENEWED_S", 0.1)
    monkeypatch.setattr(lease, "LEASE_S", 2.0)
    with lease.lease(tables.connect(str(tmp_path)), "s3://anywhere") as right:
        monkeypatch.setattr(lease, "machine", lambda: "another")
        with (
            faults.injected({}, clock=lambda: datetime.now(UTC) - timedelta(seconds=behind)),
            pytest.raises(LibraryBusy, match=f"pid {os.getpid()}"),
            lease.lease(tables.connect(str(tmp_path)), "s3://anywhere"),
        ):
            pytest.fail("two hold it")
        right.check()
    with lease.lease(tables.connect(str(tmp_path)), "s3://anywhere") as right:  # it was given back
        right.check()


def test_a_renewal_at_the_last_moment_is_not_taken_over(short):
    """Between the last look and the commit: the row has its token still, and is not the one that was watched."""

    class Late(Row):
        def update(self, where, values):
            self.row["until"] += 15
            return super().update(where, values)

    table = Late(faults.now().timestamp() - 3600)
    with pytest.raises(LibraryBusy, match="at this moment"):
        lease._take(table, "mine", "s3://anywhere")
    assert table.row["token"] == "old"


def test_a_right_that_was_watched_for_begins_when_it_was_taken(monkeypatch):
    """Watching takes as long as a right lasts: one that began before it would be lost at once."""
    monkeypatch.setattr(lease, "RENEWED_S", 0.3)
    monkeypatch.setattr(lease, "LEASE_S", 0.6)
    monkeypatch.setattr(lease, "_opened", lambda _: Row(faults.now().timestamp() + 31_536_000))
    monkeypatch.setattr(lease, "_renew", lambda *_: None)
    with lease.lease(None, "s3://anywhere") as right:
        right.check()


def test_a_machine_that_slept_through_its_lease_may_not_write(monkeypatch):
    """The system's clock that counts sleep, an hour on, where the monotonic one stands still."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("this system does not count sleep")
    right, told = lease.Right("s3://anywhere"), time.clock_gettime
    right.last(lease.LEASE_S)
    right.check()
    slept = {time.CLOCK_BOOTTIME: 3600.0}
    monkeypatch.setattr(time, "clock_gettime", lambda clock: told(clock) + slept.get(clock, 0.0))
    with pytest.raises(LibraryBusy, match="lost the right"):
        right.check()


@pytest.mark.slow
def test_what_the_store_refuses_is_said_with_what_to_do(bucket, monkeypatch):
    with pytest.raises(LibraryError, match="no bucket"):
        Library.open("s3://foveal-no-such-bucket/papers", encoder="none")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(LibraryError, match="cannot be reached"):
        Library.open("s3://anywhere/papers", encoder="none")


def test_a_setting_names_the_store_for_every_command(bucket, tmp_path):
    (tmp_path / "foveal.toml").write_text(f'library_at = "{bucket}/set/library/"\n', encoding="utf-8")
    settings = Settings.load(tmp_path, environment={})
    assert (settings.library_uri, settings.place) == (f"{bucket}/set/library", f"{bucket}/set")
    assert Library.open(settings=settings, encoder="none").store.uri == f"{bucket}/set/library"
