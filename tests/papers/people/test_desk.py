"""The curator's desk: picking, ordering, and days to come."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from members import OTHER, PAPER, member, record, today

from foveal.database import Database
from foveal.errors import InputError, NotAllowed, UnknownPaper
from foveal.papers import browsing, curating, desk
from foveal.papers.accounts import Person
from foveal.papers.moderation import audit
from foveal.papers.periods import Period
from foveal.papers.records import PaperRecord
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert

THIRD = "2605.03000"


@pytest.fixture
def curator(database: Database) -> Person:
    upsert(database, [record(THIRD, "Third", votes=99)])
    return member(database, "cy", "curator")


def page(database: Database) -> list[str]:
    return [paper.id for paper in PaperStore(database).page(Period.around("day", today())).papers]


def chosen(database: Database) -> list[str]:
    return [paper.id for paper in desk.picked(database, today())]


@pytest.mark.parametrize("role", ["curator", "moderator"])
def test_what_is_taken_off_a_day_is_put_back_by_people_and_by_no_source(both: Database, role: str) -> None:
    person = member(both, "cy", role)
    desk.unlist(both, PAPER, today(), by=person)
    assert page(both) == [OTHER]
    again = [record(), record(version=2), replace(record(), id="", source="feed", listed_on=None)]
    for one in again:
        upsert(both, [one])
    assert page(both) == [OTHER]
    assert PaperStore(both).get(PAPER).version == 2  # the paper itself stays, and is kept up to date
    upsert(both, [record(listed_on=today() - timedelta(days=1))])
    assert PaperStore(both).get(PAPER).listed_on == today() - timedelta(days=1)
    with pytest.raises(UnknownPaper, match="is not listed on"):
        desk.unlist(both, PAPER, today(), by=person)
    acts = {(one.actor, one.action, one.target) for one in audit(both, target=f"paper:{PAPER}")}
    assert acts == {("cy", "unlist", f"paper:{PAPER}")}
    with pytest.raises(NotAllowed):
        desk.unlist(both, OTHER, today(), by=member(both, "kim"))
    for put in (lambda: browsing.list_on(both, PAPER, today()), lambda: curating.pick(both, PAPER, today())):
        put()
        assert PAPER in page(both)
        upsert(both, [record()])
        desk.unlist(both, PAPER, today(), by=person)
        assert page(both) == [OTHER]


def test_a_day_that_a_paper_was_taken_off_stays_so_when_it_gets_its_id(database: Database, curator: Person) -> None:
    nameless = PaperRecord(title="A Page", source="pasted", listed_on=today())
    [old] = upsert(database, [nameless]).added
    desk.unlist(database, old, today(), by=curator)
    upsert(database, [record("2605.07777", "A Page")])
    assert PaperStore(database).get("2605.07777").listings == ()


def test_of_what_is_taken_off_the_others_keep_their_order(database: Database, curator: Person) -> None:
    desk.pick(database, [OTHER, PAPER, THIRD], today(), by=curator)
    desk.unlist(database, PAPER, today(), by=curator)
    assert [(one.paper, one.position) for one in curating.picks(database, today())] == [(OTHER, 1), (THIRD, 2)]
    tomorrow = today() + timedelta(days=1)
    desk.pick(database, [PAPER], tomorrow, by=curator)
    desk.unlist(database, PAPER, tomorrow, by=curator)
    assert curating.picks(database, tomorrow) == []


def test_what_is_picked_stands_first_in_its_order(database: Database, curator: Person) -> None:
    assert page(database) == [THIRD, PAPER, OTHER]
    desk.pick(database, [OTHER, PAPER, OTHER], today(), by=curator)
    desk.pick(database, [OTHER], today(), by=curator)
    assert chosen(database) == [OTHER, PAPER]
    assert page(database) == [OTHER, PAPER, THIRD]
    desk.move(database, PAPER, today(), -5, by=curator)
    assert page(database) == [PAPER, OTHER, THIRD]
    desk.move(database, PAPER, today(), 1, by=curator)
    desk.unpick(database, OTHER, today(), by=curator)
    desk.unpick(database, OTHER, today(), by=curator)
    assert page(database) == [PAPER, THIRD, OTHER]
    assert [act.action for act in audit(database, target=f"paper:{OTHER}")] == ["unpick", "pick"]


def test_candidates_are_what_nobody_chose_yet(database: Database, curator: Person) -> None:
    assert {paper.id for paper in curating.queue(database)} == {PAPER, OTHER, THIRD}
    desk.pick(database, [PAPER], today(), by=curator)
    desk.pick(database, [OTHER], today() + timedelta(days=2), by=curator)
    assert [paper.id for paper in curating.queue(database)] == [THIRD]


def test_a_day_to_come_waits_as_picks_and_comes_in_its_order(database: Database, curator: Person) -> None:
    day = today() + timedelta(days=3)
    desk.pick(database, [PAPER, OTHER, THIRD], day, by=curator)
    desk.move(database, THIRD, day, -2, by=curator)
    desk.unpick(database, PAPER, day, by=curator)
    assert [paper.id for paper in desk.picked(database, day)] == [THIRD, OTHER]
    assert PaperStore(database).days(day, day) == {}  # nothing of it is seen before
    assert curating.publish(database, day) == 2
    assert [paper.id for paper in PaperStore(database).page(Period.around("day", day)).papers] == [THIRD, OTHER]
    assert [listing.submitted_by for listing in PaperStore(database).get(THIRD).listings][-1] == "@cy"
    with pytest.raises(InputError, match="a day within a year"):
        desk.pick(database, [PAPER], today() + timedelta(days=366), by=curator)


def test_only_curators_sit_at_it(database: Database, curator: Person) -> None:
    ana = member(database, "ana", "moderator")
    for act in (
        lambda: desk.pick(database, [PAPER], today(), by=ana),
        lambda: desk.unpick(database, PAPER, today(), by=ana),
        lambda: desk.move(database, PAPER, today(), 1, by=ana),
    ):
        with pytest.raises(NotAllowed, match="by a curator only"):
            act()
    with pytest.raises(UnknownPaper):
        desk.pick(database, [PAPER, "2605.09999"], today(), by=curator)
    assert chosen(database) == []  # all or nothing
    with pytest.raises(UnknownPaper, match="is not chosen"):
        desk.move(database, PAPER, today(), 1, by=curator)
