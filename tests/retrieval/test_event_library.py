"""A library's events in a file: another process goes on from it, and a damaged or old one does no harm."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from honest import HashedWords, document
from retrieval.test_store import make, put

from foveal.retrieval import event_library, remade
from foveal.retrieval.event_items import seconds
from foveal.retrieval.event_library import KEPT, mined
from foveal.retrieval.events import EventSettings, EventStore
from foveal.retrieval.remade import Remade

BASE = datetime(2023, 5, 1, tzinfo=UTC)
AT = BASE + timedelta(days=9)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(event_library, "SLOW_S", 0.0)
    made = make(tmp_path / "library")
    put(made, [dated(number) for number in range(6)])
    return made


def dated(number):
    text = f"Rescuers search the rubble of town {number} after a strong quake"
    return replace(document(f"d{number}", text), published_at=BASE + timedelta(days=number), title=f"{text} today")


def anew(monkeypatch):
    """As another process begins: with nothing in memory."""
    monkeypatch.setattr(event_library, "_mined", Remade(kept=KEPT))


def test_another_process_goes_on_from_the_file(store, tmp_path, monkeypatch):
    kept, encode = tmp_path / "events", HashedWords().encode
    anew(monkeypatch)
    first = mined(store, AT, encode=encode, encoder="words", kept=kept)
    assert len(list(kept.iterdir())) == 1

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the documents are read again")

    anew(monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(event_library, "items_of", never)
        second = mined(store, AT, encode=encode, encoder="words", kept=kept)
        assert second.events(AT) == first.events(AT) != []
        with pytest.raises(AssertionError, match="again"):
            mined(store, AT, encode=encode, encoder="others", kept=kept)
        with pytest.raises(AssertionError, match="again"):
            mined(store, AT, encode=encode, encoder="words", kept=kept, settings=EventSettings(growing=9.0))
        with pytest.raises(AssertionError, match="again"):
            mined(store, BASE, encode=encode, encoder="words", kept=kept)


def test_new_documents_make_a_new_file_and_old_ones_go(store, tmp_path, monkeypatch):
    kept = tmp_path / "events"
    for number in range(6, 10):
        anew(monkeypatch)
        put(store, [dated(number)])
        assert mined(store, AT + timedelta(days=9), kept=kept).received == number + 1
    assert len(list(kept.iterdir())) == KEPT
    (kept / "of-another-library.json.gz").touch()
    anew(monkeypatch)
    put(store, [dated(10)])
    mined(store, AT + timedelta(days=9), kept=kept)
    assert (kept / "of-another-library.json.gz").exists()


def test_a_library_that_is_made_again_at_its_place_has_its_own_events(store, tmp_path, monkeypatch):
    kept = tmp_path / "events"
    anew(monkeypatch)
    before = mined(store, AT, kept=kept).events(AT)
    shutil.rmtree(tmp_path / "library")
    again = make(tmp_path / "library")
    put(
        again, [replace(dated(number), title=f"Storm floods the harbour of town {number} today") for number in range(6)]
    )
    assert again._documents.version == store._documents.version
    for _ in range(2):
        found = mined(again, AT, kept=kept).events(AT)
        assert found != before
        assert all("Storm" in title for event in found for title in event.titles)
        anew(monkeypatch)


def test_a_damaged_file_is_made_again_and_a_full_disk_is_no_error(store, tmp_path, monkeypatch, caplog):
    kept = tmp_path / "events"
    anew(monkeypatch)
    whole = mined(store, AT, kept=kept).events(AT)
    (file,) = kept.iterdir()
    file.write_bytes(file.read_bytes()[:40])
    anew(monkeypatch)
    assert mined(store, AT, kept=kept).events(AT) == whole
    assert "Mine them anew" in caplog.text
    assert EventStore.restored(file).events(AT) == whole
    file.unlink()
    anew(monkeypatch)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(EventStore, "snapshot", full)
    assert mined(store, AT, kept=kept).events(AT) == whole
    assert "mined again by the next process" in caplog.text


def test_searches_that_come_together_mine_once(store, monkeypatch):
    anew(monkeypatch)
    read, begun = event_library.items_of, []

    def slowly(which):
        begun.append(which)
        time.sleep(0.2)
        return read(which)

    monkeypatch.setattr(event_library, "items_of", slowly)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: mined(store, AT), range(4)))
    assert len(begun) == 1
    assert all(one is found[0] for one in found)


def test_what_took_no_time_is_not_kept(store, tmp_path, monkeypatch):
    monkeypatch.setattr(event_library, "SLOW_S", 60.0)
    anew(monkeypatch)
    mined(store, AT, kept=tmp_path / "events")
    assert not (tmp_path / "events").exists()


def test_where_mining_takes_long_the_events_of_before_answer_and_are_then_those_of_mining_anew(store, monkeypatch):
    slow = Remade(kept=KEPT, quick_s=-1.0)
    monkeypatch.setattr(event_library, "_mined", slow)
    monkeypatch.setattr(remade, "REST", 0.0)
    before = mined(store, AT)
    put(store, [dated(number) for number in range(6, 9)])
    assert mined(store, AT + timedelta(minutes=1)) is before
    slow.settle()
    after = mined(store, AT + timedelta(minutes=2))
    assert after.received == 9
    anew(monkeypatch)
    whole = mined(store, AT)
    assert whole is not after
    assert after.events(AT) == whole.events(AT)
    assert after.trending(AT) == whole.trending(AT)


@pytest.mark.parametrize(("asked", "knew"), [(AT, BASE), (AT - timedelta(minutes=1), AT), (AT, AT - timedelta(days=1))])
def test_events_of_another_time_never_answer(store, monkeypatch, asked, knew):
    monkeypatch.setattr(event_library, "_mined", Remade(kept=KEPT, quick_s=-1.0))
    before = mined(store, knew)
    put(store, [dated(6)])
    found = mined(store, asked)
    assert found is not before
    assert found.received == sum(seconds(BASE + timedelta(days=one)) <= seconds(asked) for one in range(7))


def test_events_of_another_library_at_the_same_place_never_answer(store, tmp_path, monkeypatch):
    monkeypatch.setattr(event_library, "_mined", Remade(kept=KEPT, quick_s=-1.0))
    before = mined(store, AT)
    shutil.rmtree(tmp_path / "library")
    again = make(tmp_path / "library")
    put(again, [dated(number) for number in range(2)])
    assert (before.received, mined(again, AT).received) == (6, 2)


def test_where_documents_were_taken_away_the_events_that_had_them_do_not_answer(store, monkeypatch):
    monkeypatch.setattr(event_library, "_mined", Remade(kept=KEPT, quick_s=-1.0))
    before = mined(store, AT)
    with store.writing():
        store.remove([dated(5).id])
    assert (before.received, mined(store, AT).received) == (6, 5)
