"""The same request twice at once, as by a double click: it is as once, on either database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from threading import Barrier
from typing import TypeVar

import pytest
from members import PAPER, at_once, member, today

from foveal.database import Base, Database
from foveal.errors import NotAllowed, UnknownPaper
from foveal.papers import (
    accounts,
    browsing,
    claims,
    collecting,
    complaints,
    curating,
    discussion,
    follows,
    moderation,
    personal_data,
    rising,
)
from foveal.papers.accounts import Person
from foveal.papers.ingest import source_row
from foveal.papers.mail import replies
from foveal.papers.mail.links import Links
from foveal.papers.mail.subscriptions import subscribe
from foveal.papers.periods import Period
from foveal.papers.store import PaperStore

Result = TypeVar("Result")

SECRET, LINKS = b"s" * 32, Links("https://papers.example.org")


def _nobody(*_: str) -> None:
    """Delivers no mail."""


ACTS: dict[str, Callable[[Database, Person], object]] = {
    "follow": lambda database, ana: follows.follow(database, ana, "query", "attention"),
    "mute": lambda database, ana: follows.mute(database, ana, "survey"),
    "read": lambda database, ana: follows.mark_read(database, ana, PAPER),
    "feed": lambda database, ana: follows.renew_feed(database, ana),
    "close": lambda database, ana: moderation.close(database, PAPER, by=ana),
    "claim": lambda database, ana: claims.claim(database, ana, PAPER, 0),
    "list": lambda database, _: browsing.list_on(database, PAPER, date(2020, 1, 1)),
    "pick": lambda database, _: curating.pick(database, PAPER, today() + timedelta(days=1), by="ana"),
    "place": lambda database, _: curating.pick(database, PAPER, today() - timedelta(days=1), by="ana"),
    "topic": lambda database, _: curating.set_topic(database, "looking", query="where to look"),
    "digest": lambda database, _: subscribe(database, SECRET, "new@example.org", deliver=_nobody, links=LINKS),
    "answers": lambda database, ana: replies.wish(database, SECRET, ana, on=True),
    "rising": lambda database, _: rising.refresh(database),
    "source": lambda database, _: read_nothing(database),
}


def read_nothing(database: Database) -> None:
    """As two processes begin to read a source that was never read."""
    with database.writing() as session:
        source_row(session, "cs").ask = "cs.CL"


def together(work: Callable[[], Result]) -> list[Result | Exception]:
    """What eight threads get that begin in the same moment."""
    barrier = Barrier(8)

    def waited(_: int) -> Result:
        barrier.wait(10)
        return work()

    return at_once(waited)


@pytest.mark.parametrize("act", ACTS)
def test_twice_at_once_is_as_once(both: Database, act: str) -> None:
    ana = member(both, "ana", "moderator")
    answers = together(lambda: ACTS[act](both, ana))
    assert [one for one in answers if isinstance(one, Exception)] == []


def test_who_deletes_what_is_gone_already_is_not_warned() -> None:
    assert not [one.class_ for one in Base.registry.mappers if one.confirm_deleted_rows]


def test_a_remark_is_rated_once(both: Database) -> None:
    ana, bo = member(both, "ana"), member(both, "bo")
    said = discussion.remark(both, bo, PAPER, "Look there")
    assert set(together(lambda: discussion.rate(both, ana, said, 1))) == {PAPER}
    assert discussion.discussion(both, PAPER).remarks[0].helpful == 1


def test_lists_of_one_title_have_addresses_of_their_own(both: Database) -> None:
    ana = member(both, "ana")
    made = together(lambda: collecting.make(both, ana, "Reads of the week"))
    assert len({one for one in made if isinstance(one, int)}) == 8


def test_a_remark_is_reported_once(both: Database) -> None:
    ana, bo = member(both, "ana"), member(both, "bo")
    said = discussion.remark(both, bo, PAPER, "Look there")
    assert together(lambda: complaints.report(both, ana, remark=said, reason="Spam")) == [None] * 8
    [found] = complaints.waiting(both)
    assert len(found.said) == 1


def test_an_account_is_deleted_once(both: Database) -> None:
    ana = member(both, "ana")
    gone = together(lambda: personal_data.erase(both, ana))
    assert [one for one in gone if not isinstance(one, UnknownPaper)] == [None]
    assert [act.action for act in moderation.audit(both)].count("delete person") == 1


@pytest.mark.parametrize("leave", [personal_data.erase, lambda both, one: accounts.set_role(both, one.login, "member")])
def test_of_admins_who_all_leave_at_once_one_stays(both: Database, leave: Callable[[Database, Person], object]) -> None:
    ana = member(both, "ana")
    admins = [member(both, f"admin-{n}", "admin") for n in range(6)]
    barrier = Barrier(6)

    def left(number: int) -> object:
        barrier.wait(10)
        return leave(both, admins[number])

    assert [type(one) for one in at_once(left, 6) if isinstance(one, Exception)] == [NotAllowed]
    assert [one.role for one in accounts.people(both) if one.login != ana.login].count("admin") == 1


def test_the_first_visitors_of_a_day_see_its_picks(both: Database) -> None:
    day = today() + timedelta(days=1)
    curating.pick(both, PAPER, day, by="ana")

    def page() -> list[str]:
        curating.publish(both, day)
        return [paper.id for paper in PaperStore(both).page(Period.around("day", day)).papers]

    assert together(page) == [[PAPER]] * 8
