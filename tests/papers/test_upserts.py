"""What a record may do to a stored paper, on SQLite and PostgreSQL: whose words hold, which paper it is, by whom."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from postgres import with_tables
from sqlalchemy import event, select

from foveal import faults
from foveal.database import Database
from foveal.papers.people_schema import AuditRow, ClaimRow
from foveal.papers.records import Linked, Named, PaperRecord
from foveal.papers.same_paper import place_of
from foveal.papers.schema import AuthorRow, EditionRow, HeadlineRow, PaperRow, PersonRow
from foveal.papers.store import Paper, PaperStore
from foveal.papers.upserts import LONGEST, Upserted, upsert
from foveal.settings import Settings

PAPER = "2611.00001"
DAY = date(2026, 11, 2)
NAMES = ("Ana Sol", "Bo Li", "Cy Ito")
RECORD = PaperRecord(
    id=PAPER,
    title="Where to Look",
    abstract="We choose where to look.",
    authors=tuple(Named(name=name) for name in NAMES),
    published_at=datetime(2026, 11, 1, tzinfo=UTC),
    url=f"https://arxiv.org/abs/{PAPER}",
    source="arxiv",
    listed_on=DAY,
)
ITEM = PaperRecord(title="Editorial", abstract="Of May.", url="https://example.org/may", source="feed", listed_on=DAY)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = "sqlite"
    if request.param == "postgres":
        url = with_tables(request.getfixturevalue("postgres"))
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path, database=url))
    yield opened
    opened.close()


def stored(database: Database, paper: str = PAPER) -> Paper:
    return PaperStore(database).get(paper)


# whose words hold


def test_a_feed_does_not_overwrite_a_paper_of_arxiv_in_whatever_version_it_names(database: Database) -> None:
    upsert(database, [RECORD])
    before = stored(database)
    feed = replace(RECORD, source="feed", title="Show HN: my take", abstract="Click.", doi="10.1/x", authors=())
    upsert(database, [replace(feed, version=7, listed_on=date(2026, 11, 20), authors=(Named(name="Mallory"),))])
    assert replace(stored(database), changed_at=before.changed_at) == replace(before, doi="10.1/x")
    upsert(database, [replace(RECORD, version=2, title="Where to Look Now")])
    assert (stored(database).title, stored(database).version, stored(database).source) == (
        "Where to Look Now",
        2,
        "arxiv",
    )


def test_what_a_feed_told_first_gives_way_to_arxiv(database: Database) -> None:
    upsert(database, [replace(RECORD, source="feed", title="Show HN: my take", abstract="", authors=())])
    upsert(database, [replace(RECORD, source="feed", title="Another take", abstract="Filled.", authors=())])
    assert (stored(database).title, stored(database).abstract) == ("Show HN: my take", "Filled.")
    upsert(database, [RECORD])
    assert (stored(database).title, stored(database).abstract, stored(database).source) == (
        *(RECORD.title, RECORD.abstract, "arxiv"),
    )


def test_a_paper_that_a_feed_had_overwritten_is_arxivs_again(database: Database) -> None:
    """As an older Foveal let it: with a version that arXiv has not."""
    upsert(database, [RECORD])
    with database.writing() as session:
        row = session.get_one(PaperRow, PAPER)
        words = {"title": row.title, "abstract": row.abstract, "updated_at": row.updated_at}
        session.add(EditionRow(paper_id=PAPER, version=1, **words))
        row.title, row.version, row.source, row.doi = "Show HN: my take", 7, "feed", "10.1/mine"
    upsert(database, [replace(RECORD, doi="10.1/x")])
    told = stored(database)
    assert (told.title, told.version, told.source, told.doi) == (RECORD.title, 1, "arxiv", "10.1/x")
    upsert(database, [replace(RECORD, version=2, title="Where to Look Now")])
    assert (stored(database).title, stored(database).version) == ("Where to Look Now", 2)
    with database.reading() as session:
        assert [(one.version, one.title) for one in session.scalars(select(EditionRow))] == [(1, RECORD.title)]


def test_the_words_of_a_feed_are_no_version_of_arxivs(database: Database) -> None:
    upsert(database, [replace(RECORD, source="feed", title="Show HN: my take", abstract="Click.")])
    upsert(database, [replace(RECORD, version=2)])
    with database.reading() as session:
        assert session.scalars(select(EditionRow)).all() == []


def test_an_author_without_a_name_is_none(database: Database) -> None:
    upsert(database, [replace(RECORD, authors=(Named(name=" "), Named(name="Bo Li")))])
    assert [one.name for one in stored(database).authors] == ["Bo Li"]
    assert stored(database).author_count == 2


def test_a_new_version_is_believed_of_whoever_reads_arxiv_itself(database: Database) -> None:
    upsert(database, [RECORD])
    upsert(database, [replace(RECORD, source="library", version=3, title="As a file says")])
    assert (stored(database).title, stored(database).version) == (RECORD.title, 1)
    upsert(database, [replace(RECORD, source="oai", version=2, title="Where to Look Now")])
    assert (stored(database).title, stored(database).version) == ("Where to Look Now", 2)
    with database.reading() as session:
        assert [(one.version, one.title) for one in session.scalars(select(EditionRow))] == [(1, RECORD.title)]


# which paper it is


def test_items_of_one_title_and_two_addresses_are_two_papers(database: Database) -> None:
    other = replace(ITEM, url="https://example.org/june", abstract="Of June.")
    ids = upsert(database, [ITEM, other]).added
    assert len(set(ids)) == 2
    assert upsert(database, [ITEM, other]).unchanged == ids
    assert upsert(database, [replace(ITEM, title="Editorial, corrected")]).updated == ids[:1]
    assert (stored(database, ids[0]).title, stored(database, ids[1]).abstract) == ("Editorial, corrected", "Of June.")
    arxiv = upsert(database, [replace(RECORD, title="Editorial")])
    assert (arxiv.added, PaperStore(database).count()) == ([PAPER], 3)


def test_what_has_no_address_is_still_found_by_its_title(database: Database) -> None:
    [pasted] = upsert(database, [PaperRecord(title="EDITORIAL", source="pasted")]).added
    assert upsert(database, [ITEM]).updated == [pasted]
    assert stored(database, pasted).url == ITEM.url
    assert upsert(database, [ITEM]).unchanged == [pasted]  # as items that were stored by their titles before
    assert len(upsert(database, [replace(ITEM, url="https://example.org/june")]).added) == 1
    assert upsert(database, [PaperRecord(title="Editorial", source="pasted")]).unchanged == [pasted]


def test_a_site_that_moves_to_https_or_counts_its_readers_gives_no_new_papers(database: Database) -> None:
    """Each item was there twice, and in two digests."""
    [which] = upsert(database, [replace(ITEM, url="http://example.org/may")]).added
    moved = "https://www.example.org/may/"
    assert upsert(database, [replace(ITEM, url=moved)]).updated == [which]
    for same in ("https://example.org/may?utm_source=rss&utm_medium=feed", "http://example.org/may"):
        assert upsert(database, [replace(ITEM, url=same)]).unchanged == [which]  # two feeds take no turns
    assert stored(database, which).url == moved
    for other in ("https://example.org/may?p=2", "https://example.org/may#june", "https://may.example.org/may"):
        assert len(upsert(database, [replace(ITEM, url=other)]).added) == 1
    upsert(database, [replace(ITEM, url="https://example.org/may?utm_id=1&p=2&utm_term=x")])
    assert PaperStore(database).count() == 4


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("", ""),
        ("http://", ""),
        ("HTTPS://WWW.Example.org/a/?utm_source=x#utm_b=1", "Example.org/a#utm_b=1"),
        ("https://example.org/?u=https://www.example.org/&utm_a=1", "example.org/?u=https://www.example.org"),
        ("ftp://example.org/a?xutm_source=1", "ftp://example.org/a?xutm_source=1"),
    ],
)
def test_the_place_of_an_address(url: str, place: str) -> None:
    assert place_of(url) == place


def test_a_feed_lists_a_paper_once(database: Database) -> None:
    """One whose date lies ahead is listed on the day of the reading: not on each."""
    [which] = upsert(database, [ITEM]).added
    assert upsert(database, [replace(ITEM, listed_on=date(2026, 11, 3))]).unchanged == [which]
    assert [one.day for one in stored(database, which).listings] == [DAY]


def test_an_item_without_a_date_is_listed_when_it_is_first_stored(database: Database) -> None:
    first = datetime(2026, 11, 5, 12, tzinfo=UTC)
    for days in (0, 1):
        with faults.injected({}, clock=lambda days=days: first + timedelta(days=days)):
            done = upsert(database, [replace(ITEM, listed_on=None)])
    assert [one.day for one in stored(database, done.unchanged[0]).listings] == [first.date()]
    upsert(database, [replace(RECORD, listed_on=None)])
    assert stored(database).listings == ()  # other sources know their days


def test_what_is_known_of_a_pasted_paper_goes_with_it_to_its_id(database: Database) -> None:
    code = "https://github.com/example/look"
    told = replace(RECORD, id="", url="", source="pasted", repo_url=code, repo_stars=30, organisation="Example Lab")
    model = Linked(kind="model", url="https://example.org/model")
    told = replace(told, summary="It looks.", summary_model="small", keywords=("looking",), links=(model,))
    [pasted] = upsert(database, [replace(told, categories=("cs.IR",))]).added
    with database.writing() as session:
        session.add(HeadlineRow(paper_id=pasted, made_of="x", label="HREL", judge="mine"))
    before = stored(database, pasted)
    assert upsert(database, [replace(RECORD, published_at=None)]).updated == [PAPER]
    known = ("organisation", "repo_stars", "summary", "summary_model", "keywords", "links", "categories", "listings")
    for name in known:
        assert getattr(stored(database), name) == getattr(before, name) != (), name
    with database.reading() as session:
        assert session.get(HeadlineRow, PAPER) is not None
    assert upsert(database, [replace(RECORD, categories=("cs.CL", "cs.IR"))]).updated == [PAPER]
    assert stored(database).categories == ("cs.CL", "cs.IR")


def test_many_records_are_asked_for_and_written_together(database: Database) -> None:
    """Each by itself it was a dozen statements: a minute for the 10,000 entries of one feed."""
    items = [replace(ITEM, title=f"Note {n}", url=f"https://example.org/{n}") for n in range(100)]
    asked = list[str]()
    event.listen(database.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    ids = upsert(database, items).added
    assert (len(set(ids)), PaperStore(database).count()) == (100, 100)
    assert upsert(database, items).unchanged == ids
    assert len(asked) < 60


@pytest.mark.parametrize("seed", range(4))
def test_together_or_one_by_one_the_same_is_stored(tmp_path: Path, seed: int) -> None:
    """With papers told of twice, in several versions, by title, by address, and that get their ids in the midst."""
    told = list(some_records(Random(seed), 50))
    one_by_one, together = (
        Database.open(Settings(home=tmp_path / name, cache=tmp_path, database="sqlite")) for name in ("one", "all")
    )
    each = Upserted()
    for record in told:
        each += upsert(one_by_one, [record])
    assert upsert(together, told) == each
    assert everything(together) == everything(one_by_one)
    assert upsert(together, told[-1:]).unchanged
    for opened in (one_by_one, together):
        opened.close()


def some_records(random: Random, count: int) -> Iterator[PaperRecord]:
    for _ in range(count):
        source = random.choice(("arxiv", "oai", "hf", "feed", "feed", "pasted"))
        which = f"2611.0000{random.randrange(4)}" if source in ("arxiv", "oai", "hf") or random.random() < 0.2 else ""
        address = random.choice(("", f"https://example.org/{random.randrange(3)}"))
        yield PaperRecord(
            title=random.choice(("Editorial", "Where to Look", "Eyes", "eyes!")),
            source=source,
            id=which,
            url=f"https://arxiv.org/abs/{which}" if which else "" if source == "pasted" else address,
            version=random.randrange(1, 4) if which else 1,
            abstract=random.choice(("", "We look.", "We look again.")),
            authors=tuple(Named(name=name) for name in random.sample(NAMES, random.randrange(4))),
            organisation=random.choice(("", "", "Some Lab", "Another")),
            categories=tuple(random.sample(("cs.CL", "cs.IR", "cs.AI"), random.randrange(3))),
            links=tuple(Linked(kind="page", url=f"https://example.org/{n}") for n in range(random.randrange(3))),
            repo_url=random.choice(("", "https://github.com/a/b")),
            repo_stars=random.choice((None, 3)),
            listed_on=random.choice((None, DAY, date(2026, 11, 3))) if source != "feed" else DAY,
        )


def everything(database: Database) -> list[object]:
    times = {"changed_at": DAY, "published_at": DAY}
    with database.reading() as session:
        editions = select(EditionRow.paper_id, EditionRow.version, EditionRow.title, EditionRow.abstract)
        kept = [tuple(row) for row in session.execute(editions.order_by(EditionRow.paper_id, EditionRow.version))]
    papers = [
        replace(one, **times, listings=tuple(replace(day, listed_at=DAY) for day in one.listings))  # type: ignore[arg-type]
        for one in PaperStore(database).all_of(sort="published")
    ]
    return [*papers, *kept]


def test_two_readers_of_the_same_papers_wait_for_each_other(database: Database) -> None:
    """A schedule and a command: on PostgreSQL they used to fail on each other's rows."""
    records = [replace(RECORD, id=f"2611.1{n:04d}", title=f"Paper {n}", organisation=f"Lab {n % 7}") for n in range(40)]
    together, done = threading.Barrier(2), list[int]()

    def read(order: int) -> None:
        together.wait()
        done.append(len(upsert(database, records[::order]).added))

    threads = [threading.Thread(target=read, args=(order,)) for order in (1, -1)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(done) == [0, 40]


def test_two_equal_links_are_one(database: Database) -> None:
    link = Linked(kind="page", url="https://doi.org/10.1/x", title="doi")
    upsert(database, [replace(RECORD, links=(link, replace(link, title="again"), link))])
    assert [one.url for one in stored(database).links] == [link.url]


def test_words_without_end_and_numbers_without_bound_are_cut(database: Database) -> None:
    long = replace(ITEM, title="word " * 10**5, abstract="x" * 10**6, votes=10**30, author_count=10**30)
    [which] = upsert(database, [long]).added
    assert upsert(database, [long]).unchanged == [which]
    paper = stored(database, which)
    assert (len(paper.title), len(paper.abstract)) == (LONGEST["title"], LONGEST["abstract"])
    assert paper.votes_elsewhere == paper.author_count == 2**31 - 1


# who wrote it


@pytest.fixture
def claimed(database: Database) -> Database:
    """Bo Li is ana's account, verified; somebody else says to be Cy Ito, and a third was refused as Ana Sol."""
    upsert(database, [RECORD])
    with database.writing() as session:
        for number, login in enumerate(("ana", "cy", "eve"), 1):
            session.add(PersonRow(id=number, login=login, email=f"{login}@example.org"))
        session.flush()
        author = session.get(AuthorRow, (PAPER, 1))
        assert author is not None
        author.person_id, author.status = 1, "claimed_verified"
        states = ((1, 1, "granted"), (2, 2, "open"), (3, 0, "refused"))
        session.add_all(
            ClaimRow(paper_id=PAPER, person_id=person, position=place, state=state) for person, place, state in states
        )
    return database


def places(database: Database, paper: str = PAPER) -> list[tuple[str, int | None, str]]:
    return [(one.name, one.person_id, one.status) for one in stored(database, paper).authors]


def claims(database: Database) -> list[tuple[int, int, str]]:
    with database.reading() as session:
        rows = session.scalars(select(ClaimRow).order_by(ClaimRow.person_id)).all()
    return [(one.person_id, one.position, one.state) for one in rows]


def version(number: int, *names: str) -> PaperRecord:
    return replace(RECORD, version=number, authors=tuple(Named(name=name) for name in names))


def test_verified_authorship_goes_with_the_name(claimed: Database) -> None:
    upsert(claimed, [version(2, "Bo Li", "Dana Abe", "Ana Sol", "Cy Ito")])
    assert places(claimed) == [
        ("Bo Li", 1, "claimed_verified"),
        *((name, None, "none") for name in ("Dana Abe", "Ana Sol", "Cy Ito")),
    ]
    assert claims(claimed) == [(1, 0, "granted"), (2, 3, "open"), (3, 2, "refused")]
    upsert(claimed, [version(3, "Ana Sol", "Bo Lí")])  # another spelling of the accents is the same name
    assert places(claimed) == [("Ana Sol", None, "none"), ("Bo Lí", 1, "claimed_verified")]
    assert upsert(claimed, [version(3, "Ana Sol", "Bo Lí")]).unchanged == [PAPER]


def test_where_the_name_is_gone_the_claim_is_open_again(claimed: Database) -> None:
    upsert(claimed, [version(2, "Ana Sol", "Mallory", "Cy Ito")])
    assert places(claimed) == [(name, None, "none") for name in ("Ana Sol", "Mallory", "Cy Ito")]
    assert claims(claimed) == [(1, 1, "open"), (2, 2, "open"), (3, 0, "refused")]
    with claimed.reading() as session:
        [line] = session.scalars(select(AuditRow))
    assert (line.actor, line.action, line.target) == ("system", "reopen claim", f"paper:{PAPER}")
    assert line.detail.startswith("ana was author 2")


def test_of_namesakes_nobody_knows_who_is_who_once_there_are_more(claimed: Database) -> None:
    upsert(claimed, [version(2, "Bo Li", "Ana Sol", "Bo Li")])
    assert places(claimed) == [(name, None, "none") for name in ("Bo Li", "Ana Sol", "Bo Li")]
    assert claims(claimed)[0] == (1, 1, "open")


def test_a_claim_on_a_paper_without_id_goes_with_it(database: Database) -> None:
    [pasted] = upsert(database, [replace(RECORD, id="", url="", source="sample")]).added
    with database.writing() as session:
        session.add(PersonRow(id=1, login="ana", email="ana@example.org"))
        session.flush()
        session.add(ClaimRow(paper_id=pasted, person_id=1, position=1, state="granted"))
        author = session.get(AuthorRow, (pasted, 1))
        assert author is not None
        author.person_id, author.status = 1, "claimed"
    assert upsert(database, [version(1, "Bo Li", "Ana Sol")]).updated == [PAPER]
    assert places(database) == [("Bo Li", 1, "claimed"), ("Ana Sol", None, "none")]
    assert claims(database) == [(1, 0, "granted")]
    assert PaperStore(database).count() == 1
