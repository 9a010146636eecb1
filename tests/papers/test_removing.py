"""A paper that is removed: what goes with it, what stays, and that no source brings it again; SQLite and PostgreSQL."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from members import member
from postgres import with_tables
from sqlalchemy import func, select

from foveal.database import Base, Database
from foveal.errors import InputError, NotAllowed, UnknownPaper
from foveal.papers import accounts, collecting, curating, discussion, moderation, removing, rising, thumbnails, votes
from foveal.papers.ingest import import_page, import_records
from foveal.papers.kept_rows import keep
from foveal.papers.people_schema import DeliveryPaperRow, DeliveryRow, DigestRunRow, SubscriptionRow
from foveal.papers.person import Person
from foveal.papers.records import Named, PaperRecord
from foveal.papers.schema import FetchRow, PaperRow, RemovedRow
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert
from foveal.settings import Settings

PAPER, OTHER = "2611.00001", "2611.00002"
DAY = date(2026, 11, 2)
RECORD = PaperRecord(
    id=PAPER,
    title="Where to Look",
    abstract="We choose where to look.",
    authors=(Named(name="Ana Sol"),),
    published_at=datetime(2026, 11, 1, tzinfo=UTC),
    categories=("cs.CL",),
    source="arxiv",
    listed_on=DAY,
)
ELSE = replace(RECORD, id=OTHER, title="How to Look")
ITEM = PaperRecord(title="Editorial", abstract="Of May.", url="https://example.org/may", source="feed", listed_on=DAY)
NAMELESS = PaperRecord(title="Where to look?", source="pasted", listed_on=DAY, votes=7)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = with_tables(request.getfixturevalue("postgres")) if request.param == "postgres" else "sqlite"
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path, database=url))
    yield opened
    opened.close()


@pytest.fixture
def mo(database: Database) -> Person:
    return member(database, "mo", "moderator")


def ids(database: Database) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(PaperRow.id)))


def mentioned(database: Database, paper: str) -> set[str]:
    """The tables that name a paper."""
    found = set()
    with database.reading() as session:
        for table in Base.metadata.sorted_tables:
            if "paper_id" in table.c and session.execute(select(table).where(table.c.paper_id == paper)).first():
                found.add(table.name)
    return found


def sent(database: Database, paper: str) -> None:
    """A digest with this paper in it."""
    with database.writing() as session:
        session.add(SubscriptionRow(address="a@b.example", address_key="a@b.example", seed="s", unsubscribe_hash="u"))
        session.add(DigestRunRow(cadence="daily", period="2026-11-02"))
        session.flush()
        session.add(DeliveryRow(run_id=1, subscription_id=1, state="sent"))
        session.flush()
        session.add(DeliveryPaperRow(delivery_id=1, position=0, paper_id=paper, section="Of the day"))


def test_all_that_stood_on_it_goes_and_what_was_sent_is_remembered(database: Database, mo: Person) -> None:
    upsert(database, [RECORD, ELSE])
    upsert(database, [replace(RECORD, version=2, abstract="We choose it better.")])
    for paper in (PAPER, OTHER):
        votes.vote(database, mo, paper)
        collecting.put(database, mo, collecting.make(database, mo, "Reads"), paper)
        number = discussion.remark(database, mo, paper, "Good.")
        discussion.rate(database, member(database, f"kim-{paper[-1]}"), number, 1)
    curating.pick(database, PAPER, datetime.now(UTC).date() + timedelta(days=2))
    moderation.close(database, PAPER, by=mo)
    sent(database, PAPER)
    others = mentioned(database, OTHER)
    assert {"vote", "comment", "collected", "listing", "closed_discussion", "pick"} <= mentioned(database, PAPER)
    gone = removing.remove(database, PAPER, by=mo, reason="advertising")
    assert (gone.title, gone.reason) == ("Where to Look", "advertising")
    assert mentioned(database, PAPER) == {"delivery_paper", "removed_paper"}
    assert mentioned(database, OTHER) == others
    last = moderation.audit(database, limit=1)[0]
    said = "Where to Look · advertising"
    assert (last.actor, last.action, last.target, last.detail) == ("mo", "remove paper", f"paper:{PAPER}", said)
    with pytest.raises(UnknownPaper, match="was removed here on"):
        removing.remove(database, PAPER, by=mo)


def test_no_remark_gets_the_number_of_one_that_went_with_its_paper(database: Database, mo: Person) -> None:
    upsert(database, [RECORD, ELSE])
    gone = discussion.remark(database, mo, PAPER, "Good.")
    removing.remove(database, PAPER, by=mo)
    assert discussion.remark(database, mo, OTHER, "Good, too.") > gone  # a link to the first would show it


@pytest.mark.parametrize("role", ["member", "curator"])
def test_only_a_moderator_removes_and_lets_back(database: Database, role: str) -> None:
    upsert(database, [RECORD])
    person = accounts.add(database, "kim@example.org", role=role)
    with pytest.raises(NotAllowed):
        removing.remove(database, PAPER, by=person)
    removing.remove(database, PAPER)
    with pytest.raises(NotAllowed):
        removing.readmit(database, PAPER, by=person)
    assert moderation.audit(database, limit=1)[0].actor == "system"


def test_no_source_brings_it_again_until_it_is_let_back(database: Database, mo: Person) -> None:
    upsert(database, [RECORD, ELSE])
    removing.remove(database, PAPER, by=mo)
    again = [RECORD, replace(RECORD, version=3), replace(RECORD, source="hf"), NAMELESS, ELSE]
    told = import_records(database, again, source="arxiv", ask="all")
    assert told.refused == [one.title for one in again[:4]]
    assert (told.added, told.unchanged, ids(database)) == ([], [OTHER], {OTHER})
    with database.reading() as session:
        fetched = session.scalars(select(FetchRow).order_by(FetchRow.id.desc())).first()
        assert fetched is not None
        assert (fetched.added, fetched.updated, fetched.unchanged) == (0, 0, 1)
    removing.readmit(database, PAPER, by=mo)
    assert upsert(database, [RECORD]).added == [PAPER]
    with pytest.raises(UnknownPaper, match="was not removed"):
        removing.readmit(database, PAPER, by=mo)


def test_an_item_of_a_feed_is_known_again_by_its_address_and_its_namesake_is_let_in(database: Database) -> None:
    upsert(database, [ITEM])
    removing.remove(database, next(iter(ids(database))))
    moved = replace(ITEM, url="http://www.example.org/may/?utm_source=rss")
    namesake = replace(ITEM, url="https://example.org/june")
    told = upsert(database, [ITEM, moved, replace(ITEM, url=""), namesake])
    assert len(told.refused) == 3
    assert PaperStore(database).get(told.added[0]).url == namesake.url


def test_a_paper_that_was_removed_is_known_again_by_its_doi(database: Database) -> None:
    item = replace(ITEM, doi="10.1000/May")
    upsert(database, [item, replace(RECORD, doi="10.1000/Look")])
    for paper in ids(database):
        removing.remove(database, paper)
    elsewhere = replace(item, url="https://elsewhere.example/may", title="Editorial: May", doi="10.1000/MAY")
    journal = replace(elsewhere, url="https://elsewhere.example/look", title="Looking", doi="10.1000/look")
    archived = replace(ELSE, doi="10.1000/may")  # the item, once an archive gave it an id
    assert len(upsert(database, [elsewhere, journal, archived]).refused) == 3
    assert ids(database) == set()
    others = [
        replace(ELSE, doi="10.1000/look"),
        replace(ITEM, url="https://example.org/june", title="June", doi="10.1/x"),
    ]
    assert len(upsert(database, others).added) == 2  # an archive's own id is another paper's


def test_a_removed_double_does_not_keep_the_paper_itself_out(database: Database) -> None:
    upsert(database, [NAMELESS])
    removing.remove(database, next(iter(ids(database))))
    assert upsert(database, [NAMELESS]).refused
    assert upsert(database, [replace(RECORD, title=NAMELESS.title)]).added == [PAPER]
    assert upsert(database, [NAMELESS]).updated == [PAPER]  # and is a paper that is here from now on
    assert PaperStore(database).get(PAPER).votes_elsewhere == 7


def test_of_another_entry_votes_remarks_and_lists_go_to_the_paper(database: Database, mo: Person) -> None:
    upsert(database, [replace(RECORD, listed_on=None), replace(ELSE, votes=4)])
    kim = member(database, "kim")
    for person, papers in ((mo, (PAPER, OTHER)), (kim, (OTHER,))):
        for paper in papers:
            votes.vote(database, person, paper)
    both, one = (collecting.make(database, mo, title) for title in ("Both", "One"))
    for shelf, paper in ((both, PAPER), (both, OTHER), (one, OTHER)):
        collecting.put(database, mo, shelf, paper)
    first = discussion.remark(database, kim, OTHER, "Good.")
    discussion.remark(database, mo, OTHER, "Indeed.", parent=first)
    sent(database, OTHER)
    removing.remove(database, OTHER, by=mo, same_as=PAPER)
    paper = PaperStore(database).get(PAPER)
    assert (paper.votes, paper.votes_elsewhere, paper.comments, paper.listed_on) == (2, 4, 2, DAY)
    assert {shelf.title for shelf in collecting.shelves(database, mo, PAPER) if shelf.holds} == {"Both", "One"}
    assert discussion.discussion(database, PAPER).remarks[0].answers[0].html == "<p>Indeed.</p>\n"
    assert mentioned(database, OTHER) == {"removed_paper"}
    assert "delivery_paper" in mentioned(database, PAPER)  # is not sent to them again
    assert removing.removed(database)[0].same_as == PAPER


def test_where_the_other_entry_gets_its_id_the_removed_one_leads_there(database: Database) -> None:
    [kept] = upsert(database, [NAMELESS]).added
    upsert(database, [ELSE])
    removing.remove(database, OTHER, same_as=kept)
    upsert(database, [replace(RECORD, title=NAMELESS.title)])
    assert removing.removed(database)[0].same_as == PAPER


def test_what_stays_must_be_another_paper_that_is_here(database: Database) -> None:
    upsert(database, [RECORD])
    with pytest.raises(InputError, match="itself"):
        removing.remove(database, PAPER, same_as=f"https://arxiv.org/abs/{PAPER}")
    with pytest.raises(UnknownPaper):
        removing.remove(database, PAPER, same_as=OTHER)
    assert ids(database) == {PAPER}


def test_its_pictures_and_its_place_among_rising_topics_go(database: Database, tmp_path: Path) -> None:
    upsert(database, [RECORD, ELSE])
    thumbnails.keep(tmp_path, PAPER, b"png")
    thumbnails.keep(tmp_path, OTHER, b"png")
    card = tmp_path / thumbnails.CARDS / "0123.png"
    card.parent.mkdir()
    card.write_bytes(b"png")
    topic = {"name": "look", "stage": "new", "count": 2, "groups": 2, "burst": 2.0, "age_days": 0.0, "score": 2.0}
    topic |= {"days": [["2026-11-02", 2]], "papers": [[PAPER, "Where to Look"], [OTHER, "How to Look"]], "words": []}
    alone = topic | {"name": "where", "papers": [[PAPER, "Where to Look"]]}
    keep(database, rising.NAME, made_of="x", made_at=datetime.now(UTC), value=json.dumps([topic, alone]))
    removing.remove(database, PAPER, home=tmp_path)
    assert [one.papers for one in rising.kept(database).topics] == [((OTHER, "How to Look"),)]
    assert (thumbnails.kept(tmp_path, PAPER), card.exists()) == (None, False)
    assert thumbnails.kept(tmp_path, OTHER)


def test_of_two_who_remove_it_one_is_late_and_a_source_that_brings_it_meanwhile_too(database: Database) -> None:
    upsert(database, [RECORD])
    start, failed = threading.Barrier(3), []

    def at_once(act: object) -> None:
        start.wait()
        try:
            act()  # type: ignore[operator]
        except UnknownPaper:
            failed.append(1)

    acts = [lambda: removing.remove(database, PAPER)] * 2 + [lambda: upsert(database, [RECORD])]
    threads = [threading.Thread(target=at_once, args=(act,)) for act in acts]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert (len(failed), ids(database)) == (1, set())
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(RemovedRow)) == 1


def test_a_page_that_holds_it_is_imported_without_it(database: Database) -> None:
    page = b"Where to Look\n\n18 authors \xc2\xb7 May 29\n\nHow to Look\n\n2 authors \xc2\xb7 May 29\n"
    assert len(import_page(database, page, "page.txt").added) == 2
    removing.remove(database, next(one for one in ids(database) if "Where" in PaperStore(database).get(one).title))
    told = import_page(database, page, "page.txt")
    assert (told.refused, len(told.unchanged), told.added) == (["Where to Look"], 1, [])
