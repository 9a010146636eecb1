"""First pages as pictures: which PDFs are fetched, how, once, and what is written down; the file itself is not kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from clocks import NOON, Clock, moved
from servers import broken, dead_url, in_turn, page, serving, silent
from sqlalchemy import select
from test_thumbnails import pdf

from foveal.database import Database
from foveal.errors import InputError
from foveal.papers import pictures
from foveal.papers.pictures import due_papers, fetch_pictures
from foveal.papers.records import PaperRecord
from foveal.papers.schedule import Schedule, update
from foveal.papers.schema import FetchRow
from foveal.papers.sources import Connection
from foveal.papers.thumbnails import kept
from foveal.papers.upserts import upsert
from foveal.settings import Settings
from foveal.text.fetching import FetchSettings

BY = "http://creativecommons.org/licenses/by/4.0/"
PDF = page(pdf(), "application/pdf")
FETCH = FetchSettings(allow_private=True, retries=0, timeout_s=5)


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    with moved() as held:
        yield held


def listed(which: str, licence: str = BY, days: int = 0, **more: object) -> PaperRecord:
    day = (NOON - timedelta(days=days)).date()
    known = {"title": f"Paper {which}", "source": "arxiv", "listed_on": day, "licence": licence}
    return PaperRecord(id=which, **{**known, **more})  # type: ignore[arg-type]


def connection(server) -> Connection:
    return Connection(fetch=FETCH, base_url=server.url("").rstrip("/"), interval_s=0)


def records(database: Database) -> list[tuple[str, int, str]]:
    with database.reading() as session:
        rows = session.scalars(select(FetchRow).where(FetchRow.source == "pictures").order_by(FetchRow.id))
        return [(row.url.rpartition("/")[2], row.status, row.error) for row in rows]


def test_a_picture_is_fetched_once_and_the_pdf_is_not_kept(database, tmp_path):
    upsert(database, [listed("2610.00001"), listed("2610.00002", days=1, version=3)])
    with serving({"/pdf/2610.00001v1": PDF, "/pdf/2610.00002v3": PDF}) as server:
        told = fetch_pictures(database, tmp_path, connection(server))
        assert (told.read, told.requests, told.left, told.error) == (2, 2, 0, "")
        assert fetch_pictures(database, tmp_path, connection(server)).requests == 0
        assert [one.path for one in server.requests if "pdf" in one.path] == ["/pdf/2610.00001v1", "/pdf/2610.00002v3"]
    assert kept(tmp_path, "2610.00001").read_bytes()[:4] == b"\x89PNG"
    assert records(database) == [("2610.00001v1", 200, ""), ("2610.00002v3", 200, "")]
    assert not list(tmp_path.rglob("*.pdf"))


@pytest.mark.parametrize(
    ("licence", "fetched"),
    [
        (BY, True),
        ("https://creativecommons.org/licenses/by-sa/4.0/", True),
        ("http://creativecommons.org/publicdomain/zero/1.0/", True),
        ("http://creativecommons.org/licenses/by-nc-nd/4.0/", False),
        ("http://arxiv.org/licenses/nonexclusive-distrib/1.0/", False),
        ("", False),
    ],
)
def test_only_open_licences_unless_all_are_asked_for(database, tmp_path, licence, fetched):
    upsert(database, [listed("2610.00001", licence)])
    assert (due_papers(database, tmp_path) == [("2610.00001", 1)]) is fetched
    assert due_papers(database, tmp_path, licensed=False) == [("2610.00001", 1)]
    with pytest.raises(InputError, match='it is "all", or left out'):
        fetch_pictures(database, tmp_path, ask="open")


def test_old_withdrawn_and_foreign_papers_are_left_out(database, tmp_path):
    upsert(
        database,
        [
            listed("2610.00001", days=3),
            listed("2610.00002", withdrawn=True),
            listed("doc-0123456789abcdef"),
            listed("hep-th/9901001", days=2),
        ],
    )
    assert due_papers(database, tmp_path) == [("hep-th/9901001", 1)]


def test_what_is_no_pdf_or_gone_is_asked_for_again_after_a_week(database, tmp_path, clock):
    upsert(database, [listed("2610.00001"), listed("2610.00002"), listed("2610.00003")])
    routes = {
        "/pdf/2610.00001v1": page("<p>a form</p>"),
        "/pdf/2610.00002v1": page("no", status=403),
        "/pdf/2610.00003v1": PDF,
    }
    with serving(routes) as server:
        told = fetch_pictures(database, tmp_path, connection(server))
        assert (told.read, told.missing, told.error) == (1, 2, "")
        assert "no PDF with a page" in records(database)[0][2]
        assert fetch_pictures(database, tmp_path, connection(server)).requests == 0
        assert fetch_pictures(database, tmp_path, connection(server), force=True).requests == 2
    clock.now = NOON + timedelta(days=8)
    upsert(database, [replace(listed("2610.00001"), listed_on=clock.now.date())])
    assert due_papers(database, tmp_path) == [("2610.00001", 1)]


@pytest.mark.parametrize("trouble", [silent(), broken(), page("busy", status=503)])
def test_trouble_ends_the_reading_and_the_next_one_goes_on(database, tmp_path, trouble):
    upsert(database, [listed("2610.00001"), listed("2610.00002")])
    routes = {"/pdf/2610.00001v1": in_turn(trouble, PDF), "/pdf/2610.00002v1": PDF}
    with serving(routes) as server:
        ways = replace(connection(server), fetch=replace(FETCH, timeout_s=0.5))
        told = fetch_pictures(database, tmp_path, ways)
        assert told.error
        assert (told.read, told.left) == (0, 1)
        again = fetch_pictures(database, tmp_path, ways)
        assert (again.read, again.left, again.error) == (2, 0, "")


def test_robots_and_the_size_hold(database, tmp_path):
    upsert(database, [listed("2610.00001")])
    closed = page("User-agent: *\nDisallow: /pdf", "text/plain")
    with serving({"/pdf/2610.00001v1": PDF, "/robots.txt": closed}) as server:
        assert "robots.txt" in fetch_pictures(database, tmp_path, connection(server)).error
    with serving({"/pdf/2610.00001v1": PDF}) as server:
        small = replace(connection(server), fetch=replace(FETCH, max_bytes=100))
        assert fetch_pictures(database, tmp_path, small).error
        assert kept(tmp_path, "2610.00001") is None
        private = replace(connection(server), fetch=replace(FETCH, allow_private=False))
        assert fetch_pictures(database, tmp_path, private, force=True).error
        assert server.asked("/pdf/2610.00001v1") == 1
    dead = Connection(fetch=FETCH, base_url=dead_url(), interval_s=0)
    assert fetch_pictures(database, tmp_path, dead, force=True).error


def test_a_pdf_that_always_fails_holds_up_no_other_and_is_not_fetched_every_half_hour(database, tmp_path, clock):
    upsert(database, [listed("2610.00001"), listed("2610.00002")])
    large = page(b"%PDF" + bytes(200_000), "application/pdf")
    with serving({"/pdf/2610.00001v1": large, "/pdf/2610.00002v1": PDF}) as server:
        ways = replace(connection(server), fetch=replace(FETCH, max_bytes=100_000))
        assert "holds more than" in fetch_pictures(database, tmp_path, ways).error
        told = fetch_pictures(database, tmp_path, ways)
        assert (told.read, told.requests) == (1, 2)
        assert fetch_pictures(database, tmp_path, ways).requests == 0
        clock.now += timedelta(days=1)
        assert due_papers(database, tmp_path) == [("2610.00001", 1)]
        assert server.asked("/pdf/2610.00001v1") == 2


def test_a_pdf_that_always_fails_holds_up_no_other_of_a_home_that_asks_once_a_day(database, tmp_path, clock):
    upsert(database, [listed("2610.00001"), listed("2610.00002")])
    large = page(b"%PDF" + bytes(200_000), "application/pdf")
    with serving({"/pdf/2610.00001v1": large, "/pdf/2610.00002v1": PDF}) as server:
        ways = replace(connection(server), fetch=replace(FETCH, max_bytes=100_000))
        assert fetch_pictures(database, tmp_path, ways).read == 0
        clock.now += timedelta(days=1, minutes=1)
        assert fetch_pictures(database, tmp_path, ways).read == 1


def test_so_many_at_a_reading_and_stopped_at_once(database, tmp_path, monkeypatch):
    upsert(database, [listed(f"2610.{number:05d}") for number in range(5)])
    monkeypatch.setattr(pictures, "MOST", 2)
    with serving({f"/pdf/2610.{number:05d}v1": PDF for number in range(5)}) as server:
        told = fetch_pictures(database, tmp_path, connection(server))
        assert (told.read, told.left) == (2, 3)
        stop = threading.Event()
        told = fetch_pictures(database, tmp_path, connection(server), stop=stop, on_answer=stop.set)
        assert (told.read, told.left, told.stopped) == (1, 2, True)


def test_the_schedule_and_update_read_them_where_a_source_says_so(database, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures.ArxivSettings, "interval_s", 0)
    upsert(database, [listed("2610.00001")])
    with serving({"/pdf/2610.00001v1": PDF}) as server:
        sources = {"pages": {"from": "pictures", "at": "06:30", "url": server.url("").rstrip("/")}}
        off = Settings(home=tmp_path, cache=tmp_path, allow_private_addresses=True)
        assert list(update(database, off)) == []
        assert Schedule(database, off).tick(threading.Event()) == []
        assert server.requests == []
        on = replace(off, papers={"sources": sources})
        (told,) = update(database, on)
        assert (told.name, told.requests, told.error) == ("pages", 1, "")
    assert kept(tmp_path, "2610.00001")
