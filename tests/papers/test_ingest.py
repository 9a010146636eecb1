"""Reading sources over real HTTP into a database: twice changes nothing, what breaks is recorded, and gone on with."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from threading import Event
from urllib.parse import parse_qs, urlsplit

import pytest
from clocks import NOON, Clock, moved
from papers.arxiv_answers import ERROR, IN_ARXIV, IN_RAW, PagedApi, atom, entry, item, oai, oai_error, oai_record, rss
from papers.test_paper_sources import LISTED
from servers import Call, broken, dead_url, in_turn, page, serving
from sqlalchemy import select

from foveal.database import Database
from foveal.errors import InputError, UnreadableSource
from foveal.papers.ingest import import_page, ingest, store
from foveal.papers.records import PaperRecord
from foveal.papers.schema import FetchRow, SourceRow
from foveal.papers.sources import Connection
from foveal.papers.sources.arxiv_api import ArxivApi
from foveal.papers.sources.arxiv_feed import ArxivFeed
from foveal.papers.sources.feed import Feed
from foveal.papers.sources.hf import HfPapers
from foveal.papers.sources.oai import Oai
from foveal.papers.store import PaperStore
from foveal.papers.upserts import Fetched
from foveal.text.fetching import FetchSettings

LOCAL = FetchSettings(allow_private=True, timeout_s=5, backoff_s=0.01, retries=1)


@pytest.fixture
def clock() -> Iterator[Clock]:
    with moved() as held:
        yield held


def connection(url: str) -> Connection:
    return Connection(fetch=LOCAL, interval_s=0.0, base_url=url, page_size=4)


@contextmanager
def api_of(route):
    with serving({"/api": route}) as server:
        yield ArxivApi(connection(server.url("/api"))), server


def fetched(database: Database) -> list[FetchRow]:
    with database.reading() as session:
        return list(session.scalars(select(FetchRow).order_by(FetchRow.id)))


def state(database: Database, name: str) -> SourceRow:
    with database.reading() as session:
        found = session.get(SourceRow, name)
    assert found is not None
    return found


def test_all_pages_are_read_once_and_recorded(database, clock):
    with api_of(api := PagedApi(9)) as (source, _):
        told = ingest(database, source, "cs.CL", name="cs")
        assert (told.error, told.requests, len(told.upserted.added)) == ("", 3, 9)
        assert api.asked == [0, 4, 8]
        again = ingest(database, source, "cs.CL", name="cs")
        assert "was asked already on 2026-10-02" in again.skipped
        assert api.asked == [0, 4, 8]
        forced = ingest(database, source, "cs.CL", name="cs", force=True)
    assert (len(forced.upserted.unchanged), forced.upserted.added, forced.upserted.updated) == (9, [], [])
    rows = fetched(database)
    assert [(row.source, row.status, row.added, row.unchanged, row.error) for row in rows[:3]] == [
        ("arxiv", 200, 4, 0, ""),
        ("arxiv", 200, 4, 0, ""),
        ("arxiv", 200, 1, 0, ""),
    ]
    assert all(len(row.sha256) == 64 for row in rows)
    assert PaperStore(database).count() == 9


def test_the_next_day_begins_where_the_last_reading_was(database, clock):
    with api_of(PagedApi(3)) as (source, server):
        ingest(database, source, "cs.CL")
        clock.now += timedelta(days=3)
        told = ingest(database, source, "cs.CL")
    first, second = (asked.path for asked in server.requests)
    assert "submittedDate%3A%5B202609290000+TO+202610022359" in first
    assert "submittedDate%3A%5B202609250000+TO+202610052359" in second
    assert (told.skipped, len(told.upserted.unchanged)) == ("", 3)


def test_after_a_clock_that_was_ahead_the_last_days_are_asked_for(database, clock):
    with api_of(PagedApi(3)) as (source, server):
        for now in (NOON + timedelta(days=400), NOON):
            clock.now = now
            ingest(database, source, "cs.CL")
    assert "submittedDate%3A%5B202609250000+TO+202610022359" in server.requests[-1].path


def test_an_empty_later_page_is_asked_for_again(database):
    with api_of(api := PagedApi(6, lambda start, nth: atom(total=6, start=start) if start and nth < 3 else None)) as (
        source,
        _,
    ):
        told = ingest(database, source, "cs.CL")
    assert (told.error, len(told.upserted.added), api.asked) == ("", 6, [0, 4, 4, 4])
    assert [row.error for row in fetched(database)] == ["", *["an empty page, though the total says more"] * 2, ""]


def test_a_page_that_stays_empty_ends_the_reading_which_goes_on_later(database, clock):
    trouble = [True]
    with api_of(api := PagedApi(10, lambda start, _: atom(total=10) if start == 4 and trouble else None)) as (
        source,
        _,
    ):
        told = ingest(database, source, "cs.CL", name="cs")
        assert "came back empty 4 times" in told.error
        assert (len(told.upserted.added), state(database, "cs").error) == (4, told.error)
        trouble.clear()
        api.asked.clear()
        clock.now += timedelta(hours=1)
        later = ingest(database, source, "cs.CL", name="cs")
    assert api.asked == [4, 8]
    assert (later.error, len(later.upserted.added), state(database, "cs").error) == ("", 6, "")
    assert state(database, "cs").finished_at == clock.now


def test_a_cursor_of_yesterday_is_not_gone_on_with(database, clock):
    with api_of(api := PagedApi(10, lambda start, _: b"nonsense" if start == 8 else None)) as (source, _):
        assert "other than Atom" in ingest(database, source, "cs.CL").error
        api.trouble = lambda *_: None
        clock.now += timedelta(hours=25)
        assert ingest(database, source, "cs.CL").error == ""
    assert api.asked == [0, 4, 8, 0, 4, 8]


def test_a_reading_that_is_stopped_goes_on(database):
    stop = Event()
    with api_of(api := PagedApi(10)) as (source, _):
        told = ingest(database, source, "cs.CL", stop=stop, on_page=lambda _: stop.set())
        assert (told.stopped, told.done, len(told.upserted.added)) == (True, False, 4)
        assert ingest(database, source, "cs.CL").done
    assert api.asked == [0, 4, 8]


@pytest.mark.parametrize("point", ["before-page", "after-page"])
def test_a_kill_costs_one_page(database, tmp_path, point):
    """A child process that dies at its second page; what it stored is there, and the next reading ends the work."""
    with api_of(api := PagedApi(10)) as (source, server):
        code = (
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from foveal.database import Database\nfrom foveal.papers import ingest as module\n"
            "from foveal.papers.sources import Connection\nfrom foveal.papers.sources.arxiv_api import ArxivApi\n"
            "from foveal.settings import Settings\nfrom foveal.text.fetching import FetchSettings\n"
            "home, url, point = Path(sys.argv[1]), sys.argv[2], sys.argv[3]\n"
            "class Dying(ArxivApi):\n"
            "    def get(self, url, headers=None):\n"
            "        if 'start=4' in url and point == 'before-page': os.kill(os.getpid(), signal.SIGKILL)\n"
            "        return super().get(url, headers)\n"
            "def dies(told):\n"
            "    if told.requests == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
            "fetch = FetchSettings(allow_private=True)\n"
            "source = Dying(Connection(fetch=fetch, interval_s=0.0, base_url=url, page_size=4))\n"
            "module.ingest(Database.open(Settings(home=home, cache=home)), source, 'cs.CL', on_page=dies)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), server.url("/api"), point], capture_output=True, text=True
        )
        assert done.returncode == -9, done.stderr
        kept = PaperStore(database).count()
        assert kept == (4 if point == "before-page" else 8)
        api.asked.clear()
        told = ingest(database, source, "cs.CL")
    assert (told.done, PaperStore(database).count()) == (True, 10)
    assert api.asked == ([4, 8] if point == "before-page" else [8])


def test_a_reading_killed_after_its_first_page_is_not_taken_for_done(database):
    """The page is stored, the cursor is not yet: the question was answered today, but not to its end."""
    with api_of(PagedApi(6)) as (source, _):
        with pytest.raises(KeyboardInterrupt):
            ingest(database, source, "cs.CL", name="cs", on_page=_interrupt)
        with database.writing() as session:
            session.get(SourceRow, "cs").cursor = ""
        told = ingest(database, source, "cs.CL", name="cs")
    assert (told.skipped, told.done, PaperStore(database).count()) == ("", True, 6)


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (page(atom(ERROR), status=400), "arXiv refuses the request: start must be non-negative"),
        (page("down", status=500), "status 500"),
        (page("Rate exceeded."), "other than Atom"),
        (page("", status=503), "2 times"),
        (broken(), "broke the connection"),
    ],
)
def test_what_goes_wrong_is_told_and_recorded(database, route, said):
    with api_of(route) as (source, _):
        told = ingest(database, source, "cs.CL", name="cs")
    assert said in told.error
    [row] = fetched(database)
    assert (row.error, row.added) == (told.error, 0)
    assert state(database, "cs").error == told.error


def test_an_answer_that_failed_is_no_answer_of_today(database):
    """Another reading that begins with the same address asks for it."""
    with api_of(in_turn(page("Rate exceeded."), page(atom(entry())))) as (source, _):
        assert ingest(database, source, "cs.CL", name="one").error
        told = ingest(database, source, "cs.CL", name="two")
        assert (told.skipped, len(told.upserted.added)) == ("", 1)
        assert "asked already" in ingest(database, source, "cs.CL", name="three").skipped


def test_a_server_that_is_not_there(database):
    told = ingest(database, ArxivApi(connection(dead_url())), "cs.CL")
    assert "could not be reached" in told.error


def test_a_question_that_is_none_is_refused_before_anything_is_asked(database):
    with pytest.raises(InputError, match="empty query"):
        ingest(database, ArxivApi(), " ")
    assert fetched(database) == []


def conditional(body: bytes, seen: list[dict[str, str]]):
    def route(call: Call) -> None:
        seen.append(dict(call.asked.headers))
        same = call.asked.headers.get("if-none-match") == '"v1"'
        call.start(
            304 if same else 200, {} if same else {"ETag": '"v1"', "Last-Modified": "Fri, 02 Oct 2026 00:00:00 GMT"}
        )
        call.write(b"" if same else body)

    return route


def test_an_unchanged_feed_is_not_sent_again(database):
    seen: list[dict[str, str]] = []
    with serving({"/rss/cs.CL": conditional(rss(item("2610.00001")), seen)}) as server:
        source = ArxivFeed(connection(server.url("/rss")))
        readings = [ingest(database, source, "cs.CL") for _ in range(3)]
        forced = ingest(database, source, "cs.CL", force=True)
    assert [one.unchanged_answers for one in readings] == [0, 1, 1]
    assert [one.get("if-none-match") for one in seen] == [None, '"v1"', '"v1"', None]
    assert seen[1]["if-modified-since"] == "Fri, 02 Oct 2026 00:00:00 GMT"
    assert forced.upserted.unchanged == ["2610.00001"]
    assert [(row.status, row.etag) for row in fetched(database)] == [
        (200, '"v1"'),
        (304, '"v1"'),
        (304, '"v1"'),
        (200, '"v1"'),
    ]


def test_a_feed_asked_something_else_is_sent_again(database):
    seen: list[dict[str, str]] = []
    with serving({"/rss/cs.CL": conditional(rss(item("2610.00001"), item("2610.00002", "cross")), seen)}) as server:
        source = ArxivFeed(connection(server.url("/rss")))
        ingest(database, source, "cs.CL", name="cl")
        told = ingest(database, source, "cs.CL cross", name="cl")
    assert told.upserted.added == ["2610.00002"]


def test_a_weekends_empty_feed_is_no_error(database):
    with serving({"/rss/cs.CL": page(rss())}) as server:
        assert ingest(database, ArxivFeed(connection(server.url("/rss"))), "cs.CL").done


def test_a_feed_of_any_site(database):
    body = b"<rss><channel><item><title>One</title><link>http://example.org/1</link></item></channel></rss>"
    with serving(
        {"/feed": page(body), "/robots.txt": page("User-agent: *\nDisallow: /closed", "text/plain")}
    ) as server:
        source = Feed(connection(""))
        assert ingest(database, source, server.url("/feed")).done
        assert "robots.txt" in ingest(database, source, server.url("/closed")).error
    [paper] = PaperStore(database).page().papers
    assert (paper.title, paper.url, paper.source) == ("One", "http://example.org/1", "feed")


def test_a_bad_item_of_a_feed_is_counted_and_the_others_are_stored(database, caplog):
    items = "".join(
        f"<item><title>{title}</title><link>{link}</link><pubDate>{day}</pubDate></item>"
        for title, link, day in (
            ("Broken", "http://[", ""),
            ("Far", "http://example.org/1", "Mon, 01 Jan 20000000000000000000 00:00:00 GMT"),
            ("Good", "http://example.org/2", "Thu, 01 Oct 2026 10:00:00 GMT"),
        )
    )
    with serving({"/feed": page(f"<rss><channel>{items}</channel></rss>")}) as server:
        told = ingest(database, Feed(connection("")), server.url("/feed"))
    assert (told.error, told.left_out, len(told.upserted.added)) == ("", 1, 2)
    assert "/feed: 1 item is left out: " in caplog.text
    assert sorted(paper.title for paper in PaperStore(database).page().papers) == ["Far", "Good"]


def test_items_none_of_which_can_be_read_are_an_error_and_keep_no_later_day_from_being_read(database, clock):
    listed = {"2026-09-30": [LISTED], "2026-09-29": [{"x": 1}]}

    def day(call: Call) -> None:
        call.start(200, {"Content-Type": "application/json", "ETag": '"v1"'})
        call.write(json.dumps(listed.get(call.asked.path.partition("date=")[2][:10], [])).encode())

    with serving({"/api/daily_papers": day}) as server:
        source = HfPapers(connection(server.url("/api")))
        told = ingest(database, source, "", name="days")
        assert (told.error, told.left_out, told.upserted.added) == ("", 1, ["2609.00001"])
        assert fetched(database)[0].error.startswith("Entry 1 is no paper")  # its ETag is no condition of a next time
        listed.clear()
        listed["2026-10-01"] = [{"x": 1}, {"y": 2}]
        told = ingest(database, source, "", name="days")
    assert told.error.startswith("None of 2 items could be read. The first: Entry 1 is no paper")
    assert state(database, "days").error == told.error


class Bursting(Feed):
    """A source that breaks as no source should."""

    def read(self, content, url):  # noqa: ARG002
        raise AttributeError("'str' object has no attribute 'get'")


def test_an_error_that_nobody_thought_of_is_told_like_any_other(database, caplog):
    with serving({"/feed": page(rss())}) as server:
        told = ingest(database, Bursting(connection("")), server.url("/feed"), name="blog")
    assert "AttributeError: 'str' object has no attribute 'get'" in told.error
    assert [row.error for row in fetched(database)] == [told.error]
    assert state(database, "blog").error == told.error
    assert "Traceback" in caplog.text


def test_oai_goes_from_token_to_token(database):
    pages = [oai(oai_record(IN_ARXIV), token="t1"), oai(oai_record(IN_RAW, "2609.00002"))]
    with serving({"/oai": in_turn(*map(page, pages))}) as server:
        told = ingest(database, Oai(connection(server.url("/oai"))), "cs:cs:CL")
        paths = [asked.path for asked in server.requests]
    assert told.upserted.added == ["2609.00001", "2609.00002"]
    assert paths[1] == "/oai?verb=ListRecords&resumptionToken=t1"
    assert "resumptionToken" not in paths[0]


def test_a_token_that_lapsed_means_to_begin_anew(database):
    lapsed = page(oai_error("badResumptionToken", "lapsed"))
    answers = in_turn(page(oai(oai_record(IN_ARXIV), token="t1")), lapsed, lapsed, page(oai(oai_record(IN_ARXIV))))
    with serving({"/oai": answers}) as server:
        source = Oai(connection(server.url("/oai")))
        assert "badResumptionToken" in ingest(database, source, "cs:cs:CL").error
        told = ingest(database, source, "cs:cs:CL")
        last = server.requests[-1].path
    assert told.done
    assert "metadataPrefix=arXiv&from=" in last


def test_days_of_a_listing(database, clock):
    def day(call: Call) -> None:
        held = [LISTED] if "date=2026-10-01" in call.asked.path else []
        missing = "date=2026-10-02" in call.asked.path
        call.start(400 if missing else 200, {"Content-Type": "application/json"})
        call.write(json.dumps({"error": "no such day"} if missing else held).encode())

    with serving({"/api/daily_papers": day}) as server:
        told = ingest(database, HfPapers(connection(server.url("/api"))), "")
        asked = [one.path for one in server.requests]
    assert (told.error, told.upserted.added) == ("", ["2609.00001"])
    assert [path.partition("date=")[2][:10] for path in asked] == [
        "2026-09-29",
        "2026-09-30",
        "2026-10-01",
        "2026-10-02",
    ]
    paper = PaperStore(database).get("2609.00001")
    assert (paper.listed_on, paper.votes_elsewhere, paper.comments_elsewhere) == (date(2026, 10, 1), 7, 3)
    assert [listing.submitted_by for listing in paper.listings] == ["ana-s"]


def _tagged(pages: dict[tuple[str, int], list[dict[str, object]]]):
    """Listings by day and page, each with a tag of what it holds."""

    def route(call: Call) -> None:
        query = parse_qs(urlsplit(call.asked.path).query)
        body = json.dumps(pages.get((query["date"][0], int(query.get("p", ["0"])[0])), [])).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()}"'
        same = call.asked.headers.get("if-none-match") == tag
        call.start(304 if same else 200, {"ETag": tag, "Content-Type": "application/json"})
        call.write(b"" if same else body)

    return route


def _flat(first: int, count: int) -> list[dict[str, object]]:
    return [{"id": f"2610.{n:05d}", "title": f"Paper {n}", "abstract": "A."} for n in range(first, first + count)]


def test_what_comes_behind_an_unchanged_page_is_found(database, clock):
    pages = {("2026-10-02", 0): _flat(0, 100), ("2026-10-02", 1): _flat(100, 2)}
    with serving({"/api/daily_papers": _tagged(pages)}) as server:
        source = HfPapers(connection(server.url("/api")))
        assert len(ingest(database, source, "").upserted.added) == 102
        pages["2026-10-02", 1] = _flat(100, 3)
        told = ingest(database, source, "")
    assert (told.error, told.upserted.added) == ("", ["2610.00102"])
    assert told.unchanged_answers == told.requests - 1


def test_after_a_reading_that_was_broken_off_long_ago_all_is_asked_for(database, clock):
    pages = {("2026-10-02", 0): _flat(0, 100), ("2026-10-02", 1): _flat(100, 2)}
    whole, away = _tagged(pages), [True]

    def route(call: Call) -> None:
        if away[0] and "p=1" in call.asked.path:
            call.start(404)
        else:
            whole(call)

    with serving({"/api/daily_papers": route}) as server:
        source = HfPapers(connection(server.url("/api")))
        assert "404" in ingest(database, source, "").error
        away[0] = False
        clock.now += timedelta(hours=30)
        told = ingest(database, source, "")
    assert (told.error, told.upserted.added) == ("", ["2610.00100", "2610.00101"])


def test_an_archives_records_of_the_day_before_the_last_reading_are_asked_for_again(database, clock):
    with serving({"/oai": page(oai(oai_record(IN_ARXIV)))}) as server:
        source = Oai(connection(server.url("/oai")))
        ingest(database, source, "cs:cs:CL")
        clock.now += timedelta(days=1)
        assert ingest(database, source, "cs:cs:CL").done
        assert "from=2026-10-01" in server.requests[-1].path


def test_arxivs_words_hold_whoever_tells_of_the_paper_first(database, clock):
    with serving(
        {"/api/daily_papers": page(json.dumps([LISTED])), "/arxiv": page(atom(entry(title="By arXiv")))}
    ) as server:
        hub, arxiv = HfPapers(connection(server.url("/api"))), ArxivApi(connection(server.url("/arxiv")))
        ingest(database, hub, "")
        ingest(database, arxiv, "cs.CL")
        ingest(database, hub, "", force=True)
    paper = PaperStore(database).get("2609.00001")
    assert (paper.title, paper.source, paper.votes_elsewhere, paper.repo_stars) == ("By arXiv", "arxiv", 7, 42)


def test_a_saved_page_twice_changes_nothing_and_may_be_listed_on_a_day(database, clock):
    text = "Title\nAn abstract of more words than a title has, as it should be.\n5 authors · Feb 27, 2025 3\n".encode()
    first = import_page(database, text, "page.txt")
    assert import_page(database, text, "page.txt").unchanged == first.added
    [paper] = PaperStore(database).page().papers
    assert (paper.listed_on, paper.comments_elsewhere, paper.author_count) == (date(2025, 2, 27), 3, 5)
    import_page(database, text, "page.txt", listed_on=NOON.date())
    assert PaperStore(database).latest_day() == NOON.date()
    assert [(row.source, row.url, row.added, row.unchanged, row.updated) for row in fetched(database)] == [
        ("pasted", "page.txt", 1, 0, 0),
        ("pasted", "page.txt", 0, 1, 0),
        ("pasted", "page.txt", 0, 0, 1),
    ]
    with pytest.raises(UnreadableSource):
        import_page(database, b"nothing", "page.txt")


def test_many_records_go_in_small_transactions_and_one_row_tells_of_all(database):
    records = [PaperRecord(id=f"2610.{n:05d}", title=f"P{n}", source="arxiv") for n in range(9)]
    done = store(database, iter(records), Fetched(source="arxiv", url="x"), batch=4)
    assert len(done.added) == 9
    assert [row.added for row in fetched(database)] == [9]


def test_processes_at_once_ask_arxiv_one_at_a_time(tmp_path):
    """Two processes, one pace file: four requests take three intervals, as one process's would."""
    times: list[float] = []

    def route(call: Call) -> None:
        import time

        times.append(time.monotonic())
        page(atom(entry()))(call)

    code = (
        "import sys, httpx; from pathlib import Path; from foveal.papers.sources import Connection\n"
        "from foveal.text.addresses import transport\n"  # what is imported at a first request would delay it
        "from foveal.papers.sources.arxiv_api import ArxivApi\nfrom foveal.text.fetching import FetchSettings\n"
        "fetch = FetchSettings(allow_private=True)\n"
        "pace = Path(sys.argv[2])\n"
        "source = ArxivApi(Connection(fetch=fetch, interval_s=0.5, pace_file=pace, base_url=sys.argv[1]))\n"
        "for _ in range(2): source.get(sys.argv[1])\n"
    )
    with serving({"/api": route}) as server:
        command = [sys.executable, "-c", code, server.url("/api"), str(tmp_path / "pace")]
        running = [subprocess.Popen(command, env=os.environ.copy()) for _ in range(2)]
        assert [one.wait(timeout=60) for one in running] == [0, 0]
    gaps = [b - a for a, b in zip(sorted(times), sorted(times)[1:], strict=False)]
    assert len(times) == 4
    assert sum(gaps) >= 3 * 0.5 - 0.4
