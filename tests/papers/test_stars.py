"""Stars of repositories from an interface in GitHub's shape: one sample a day, conditions, limits, what is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest
from servers import Call, page, serving
from sqlalchemy import select

from foveal import faults
from foveal.database import Database
from foveal.papers.records import PaperRecord
from foveal.papers.schema import FetchRow, StarSampleRow
from foveal.papers.sources import Connection
from foveal.papers.stars import GONE_DAYS, TOKEN, due_repositories, path, sample
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert
from foveal.settings import Settings
from foveal.text.fetching import FetchSettings

NOON = datetime(2026, 10, 2, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    monkeypatch.delenv(TOKEN, raising=False)
    held = Clock()
    with faults.injected({}, clock=held):
        yield held


@pytest.fixture
def database(tmp_path: Path, clock: Clock) -> Iterator[Database]:
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path))
    named = ("https://github.com/a/one", "https://github.com/b/two.git", "https://gitlab.com/c/three", "")
    upsert(
        opened,
        [PaperRecord(id=f"2610.0000{n}", title=f"P{n}", source="arxiv", repo_url=url) for n, url in enumerate(named)],
    )
    yield opened
    opened.close()


def connection(server) -> Connection:
    return Connection(
        base_url=server.url("").rstrip("/"), fetch=FetchSettings(allow_private=True, timeout_s=5, backoff_s=0.01)
    )


class Repository:
    """Answers like GitHub: an ETag that changes with the stars."""

    def __init__(self, stars: int) -> None:
        self.stars = stars
        self.asked: list[dict[str, str]] = []

    def __call__(self, call: Call) -> None:
        self.asked.append(dict(call.asked.headers))
        etag = f'"{self.stars}"'
        same = call.asked.headers.get("if-none-match") == etag
        call.start(
            304 if same else 200, {"ETag": etag, "X-RateLimit-Remaining": "59", "Content-Type": "application/json"}
        )
        call.write(b"" if same else json.dumps({"stargazers_count": self.stars, "full_name": "a/one"}).encode())


def samples(database: Database) -> list[tuple[str, int, int]]:
    with database.reading() as session:
        rows = session.scalars(select(StarSampleRow).order_by(StarSampleRow.repo_url, StarSampleRow.day))
        return [(row.repo_url.rpartition("/")[2], row.day.day, row.stars) for row in rows]


def test_each_repository_once_a_day(database, clock):
    one, two = Repository(10), Repository(7)
    with serving({"/repos/a/one": one, "/repos/b/two": two}) as server:
        told = sample(database, connection(server))
        assert (told.read, told.requests, told.error) == (2, 2, "")
        assert sample(database, connection(server)).requests == 0
        assert sample(database, connection(server), force=True).requests == 2
        clock.now += timedelta(days=1)
        one.stars = 25
        told = sample(database, connection(server))
    assert (told.read, told.unchanged_answers) == (2, 1)
    assert samples(database) == [("one", 2, 10), ("one", 3, 25), ("two.git", 2, 7), ("two.git", 3, 7)]
    paper = PaperStore(database).get("2610.00000")
    assert (paper.repo_stars, one.asked[0]["accept"]) == (25, "application/vnd.github+json")
    assert "authorization" not in one.asked[0]


def test_the_key_is_sent_where_there_is_one(database, clock, monkeypatch):
    monkeypatch.setenv(TOKEN, " s3cret ")
    one = Repository(1)
    with serving({"/repos/a/one": one, "/repos/b/two": Repository(1)}) as server:
        sample(database, connection(server))
    assert one.asked[0]["authorization"] == "Bearer s3cret"
    with database.reading() as session:
        assert all("s3cret" not in f"{row.url}{row.error}" for row in session.scalars(select(FetchRow)))


@pytest.mark.parametrize("status", [403, 429])
def test_a_limit_that_is_used_up_ends_it_and_the_rest_is_read_next_time(database, clock, status):
    spent = page("{}", status=status, X_RateLimit_Remaining="0", X_RateLimit_Reset="1791000000")
    with serving({"/repos/a/one": spent, "/repos/b/two": spent}) as server:
        told = sample(database, connection(server))
        assert (told.requests, told.read, told.left, server.asked("/repos/a/one")) == (1, 0, 1, 1)
    assert "limit is used up until" in told.error
    assert "GITHUB_TOKEN" in told.error
    with serving({"/repos/a/one": Repository(1), "/repos/b/two": Repository(2)}) as server:
        assert sample(database, connection(server)).read == 2


def test_too_many_at_once_is_a_limit_too_though_no_header_says_so(database, clock):
    spent = page('{"message": "You have exceeded a secondary rate limit."}', "application/json", status=403)
    with serving({"/repos/a/one": spent, "/repos/b/two": spent}) as server:
        told = sample(database, connection(server))
    assert (told.requests, told.left, told.error[:25]) == (1, 1, "GitHub's limit is used up")


def test_a_repository_that_is_gone_is_not_asked_every_day(database, clock):
    with serving({"/repos/b/two": Repository(2)}) as server:
        told = sample(database, connection(server))
        assert (told.missing, told.read, told.error) == (1, 1, "")
        clock.now += timedelta(days=1)
        assert due_repositories(database) == ["https://github.com/b/two.git"]
        clock.now += timedelta(days=GONE_DAYS)
        assert len(due_repositories(database)) == 2


def test_those_never_seen_come_first(database, clock):
    with serving({"/repos/a/one": Repository(1)}) as server:
        stop = Event()
        told = sample(database, connection(server), stop=stop, on_answer=stop.set)
    assert (told.stopped, told.left) == (True, 1)
    clock.now += timedelta(days=1)
    assert due_repositories(database) == ["https://github.com/b/two.git", "https://github.com/a/one"]


def test_a_renamed_repository_is_followed(database, clock):
    from servers import redirect

    with serving(
        {
            "/repos/a/one": redirect("/repositories/1", 301),
            "/repositories/1": Repository(5),
            "/repos/b/two": Repository(1),
        }
    ) as server:
        assert sample(database, connection(server)).read == 2


def test_an_answer_of_another_kind_is_told_and_recorded(database, clock):
    with serving({"/repos/a/one": page('{"message": "hello"}', "application/json")}) as server:
        told = sample(database, connection(server))
    assert "without stargazers_count" in told.error
    with database.reading() as session:
        assert session.scalar(select(FetchRow.error).where(FetchRow.source == "stars")) == told.error


@pytest.mark.parametrize("trouble", [page("no", status=500), page("{}", "application/json")])
def test_a_repository_that_always_fails_holds_up_no_other(database, clock, trouble):
    with serving({"/repos/a/one": trouble, "/repos/b/two": Repository(2)}) as server:
        first = sample(database, connection(server))
        assert first.error
        assert first.read == 0
        clock.now += timedelta(minutes=30)
        assert (sample(database, connection(server)).read, samples(database)) == (1, [("two.git", 2, 2)])


def test_a_repository_that_always_fails_holds_up_no_other_of_a_home_that_asks_once_a_day(database, clock):
    with serving({"/repos/a/one": page("no", status=500), "/repos/b/two": Repository(2)}) as server:
        assert sample(database, connection(server)).read == 0
        clock.now += timedelta(days=1, minutes=1)
        assert sample(database, connection(server)).read == 1
        clock.now += timedelta(days=1, minutes=1)
        assert sample(database, connection(server)).read == 1


def test_a_repository_that_the_law_closed_is_missing_and_not_asked_every_day(database, clock):
    closed = page('{"message": "Repository access blocked"}', "application/json", status=451)
    with serving({"/repos/a/one": closed, "/repos/b/two": Repository(2)}) as server:
        told = sample(database, connection(server))
    assert (told.missing, told.read, told.error) == (1, 1, "")
    clock.now += timedelta(days=1)
    assert due_repositories(database) == ["https://github.com/b/two.git"]


def test_addresses_that_lead_to_one_repository_have_its_stars_alike(database, clock):
    other = "https://github.com/a/one/tree/main"
    upsert(database, [PaperRecord(id="2610.00009", title="P", source="hf", repo_url=other)])
    one = Repository(10)
    with serving({"/repos/a/one": one, "/repos/b/two": Repository(2)}) as server:
        told = sample(database, connection(server))
        assert (told.requests, told.error, len(one.asked)) == (2, "", 1)
        clock.now += timedelta(days=1)
        one.stars = 25
        sample(database, connection(server))
        clock.now += timedelta(days=1)
        sample(database, connection(server))
        late = "https://www.github.com/a/one"
        upsert(database, [PaperRecord(id="2610.00010", title="Q", source="hf", repo_url=late)])
        sample(database, connection(server))  # "as before", of an address that was never seen
    store = PaperStore(database)
    assert [store.get(f"2610.{n:05d}").repo_stars for n in (0, 9, 10)] == [25, 25, 25]
    with database.reading() as session:
        assert not session.scalar(select(FetchRow.id).where(FetchRow.error != ""))


def test_a_repository_that_is_gone_says_nothing_of_one_whose_name_begins_like_it(database, clock):
    upsert(database, [PaperRecord(id="2610.00009", title="P", source="arxiv", repo_url="https://github.com/a/one-old")])
    with serving({"/repos/a/one": Repository(1), "/repos/b/two": Repository(2)}) as server:
        assert sample(database, connection(server)).missing == 1
    clock.now += timedelta(days=1)
    assert due_repositories(database) == ["https://github.com/a/one", "https://github.com/b/two.git"]


@pytest.mark.parametrize("told", ['{"stargazers_count": "many"}', '{"stargazers_count": 1e400}', "[" * 200_000])
def test_a_number_of_stars_that_is_none_is_told(database, clock, told):
    with serving({"/repos/a/one": page(told, "application/json")}) as server:
        assert "without stargazers_count" in sample(database, connection(server)).error


def test_a_limit_whose_end_no_calendar_has_is_told_without_it(database, clock):
    spent = page("{}", status=403, X_RateLimit_Remaining="0", X_RateLimit_Reset="9" * 30)
    with serving({"/repos/a/one": spent}) as server:
        assert "limit is used up; what" in sample(database, connection(server)).error


def test_addresses_of_repositories():
    assert path("https://github.com/a-b/c.d") == "/repos/a-b/c.d"
    assert path("http://www.github.com/a/b/tree/main?x=1") == "/repos/a/b"
    assert path("https://github.com/a") == path("https://example.org/a/b") == ""
