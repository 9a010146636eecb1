"""What is forgotten of messages, and that nobody is sent one twice for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from members import member
from papers.mail.test_change_mails import CHANGE
from postgres import emptied
from sqlalchemy import func, select, text

from foveal import faults
from foveal.database import Base, Database
from foveal.errors import InputError
from foveal.papers import discussion
from foveal.papers.mail import changes, replies, sent
from foveal.papers.mail.delivery import counts, retry_unknown
from foveal.papers.mail.digest import DigestSettings
from foveal.papers.mail.sent import KEPT_DAYS, prune
from foveal.papers.people_schema import (
    DeliveryPaperRow,
    DeliveryRow,
    DigestRunRow,
    MailDayRow,
    NoteRow,
    SubscriptionRow,
)

NOW = datetime(2026, 10, 2, 12, tzinfo=UTC)  # a Friday
PAPER = "2610.00000"


@pytest.fixture(autouse=True)
def clock():
    """A Friday noon that does not pass by itself."""
    with faults.injected({}, clock=lambda: NOW):
        yield


def at(**after: float) -> Any:
    return faults.injected({}, clock=lambda: NOW + timedelta(**after))


def sent_before(database: Database, days: int, state: str = "sent", subscription: int = 1) -> int:
    """A digest of so many days ago; its number."""
    when = NOW - timedelta(days=days)
    with database.writing() as session:
        run = DigestRunRow(cadence="daily", period=f"{when.date()}", created_at=when)
        session.add(run)
        session.flush()
        row = DeliveryRow(run_id=run.id, subscription_id=subscription, state=state, doubts=1, due_at=when)
        session.add(row)
        session.flush()
        session.add(DeliveryPaperRow(delivery_id=row.id, position=0, paper_id=PAPER, section="Trending"))
        return row.id


def left(database: Database, table: type[Base] = DeliveryRow) -> list[int]:
    key = table.__table__.primary_key.columns[0]
    with database.reading() as session:
        return list(session.scalars(select(key).order_by(key)))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_old_messages_go_with_their_papers_and_runs_but_the_newest_of_each_subscription(
    make_site, monkeypatch, request, kind
):
    monkeypatch.setattr(sent, "LAST", 2)
    monkeypatch.setattr(sent, "AT_ONCE", 2)
    database = make_site(
        2, database=kind if kind == "sqlite" else emptied(request.getfixturevalue("postgres"))
    ).database
    old = [sent_before(database, KEPT_DAYS + 20 - n, state) for n, state in enumerate(("sent", "empty", "unknown"))]
    waits = [sent_before(database, KEPT_DAYS + 10 - n, state) for n, state in enumerate(("queued", "sending"))]
    other = sent_before(database, KEPT_DAYS + 5, subscription=2)
    last = [sent_before(database, days) for days in (KEPT_DAYS - 1, KEPT_DAYS + 1, KEPT_DAYS + 2)]
    assert prune(database) == len(old)
    assert left(database) == left(database, DeliveryPaperRow) == [*waits, other, *last]
    assert len(left(database, DigestRunRow)) == 6
    assert prune(database) == 0


def test_of_the_messages_of_years_each_look_forgets_some(make_site, monkeypatch):
    monkeypatch.setattr(sent, "LAST", 1)
    monkeypatch.setattr(sent, "AT_ONCE", 1)
    monkeypatch.setattr(sent, "MOST", 2)
    database = make_site(1).database
    waits = sent_before(database, KEPT_DAYS + 20, "queued")
    ids = [sent_before(database, KEPT_DAYS + days) for days in range(5, 0, -1)]
    assert [prune(database) for _ in range(4)] == [2, 2, 0, 0]
    assert left(database) == [waits, ids[-1]]


def test_a_look_that_sends_forgets_and_one_that_does_nothing_does_not(make_site, monkeypatch):
    monkeypatch.setattr(sent, "LAST", 1)
    site = make_site(1)
    old = sent_before(site.database, KEPT_DAYS + 1)
    assert site.tick(everybody=False).planned == 0
    assert left(site.database) == [old]
    assert site.tick().sent == 1
    (new,) = left(site.database)
    assert new != old
    assert counts(site.database) == {("daily", "2026-10-02"): {"sent": 1}}
    with site.database.reading() as session:
        assert session.scalar(select(func.sum(MailDayRow.messages))) == 1


def test_where_nothing_can_be_forgotten_it_is_told_what_was_sent(make_site, caplog):
    site = make_site(2)
    with site.database.writing() as session:
        session.add(DigestRunRow(cadence="daily", period="2020-01-01", created_at=NOW - timedelta(days=999)))
        session.execute(text("CREATE TRIGGER kept BEFORE DELETE ON digest_run BEGIN SELECT RAISE(ABORT, 'kept'); END"))
    assert site.tick().sent == 2
    assert "were not forgotten" in caplog.text


def test_a_clock_that_was_a_year_ahead_makes_nobody_be_sent_a_digest_twice(make_site):
    site = make_site(3)
    for days in range(3):
        with at(days=days):
            site.tick()
    with at(days=365):
        report = site.tick()
        assert report.sent + report.empty == 3
    with at(days=2):
        report = site.tick()
        assert (report.planned, report.empty, report.sent) == (0, 0, 0)


def test_nor_a_mail_about_an_answer(make_site):
    site = make_site(1)
    ana, bo = member(site.database, "ana"), member(site.database, "bo")
    replies.wish(site.database, site.secret, ana, on=True)
    first = discussion.remark(site.database, ana, PAPER, "Is it?")
    discussion.remark(site.database, bo, PAPER, "It is.", parent=first)
    with at(minutes=6):
        assert site.tick(everybody=False).sent == 1
    with at(days=365):
        site.tick()
    with at(minutes=7):
        assert site.tick(everybody=False).sent == 0
    assert [one.recipient for one in site.server.taken].count("ana@example.org") == 1


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_nor_mails_about_more_answers_than_are_remembered(make_site, monkeypatch, request, kind):
    monkeypatch.setattr(sent, "LAST", 2)
    site = make_site(1, database=kind if kind == "sqlite" else emptied(request.getfixturevalue("postgres")))
    ana, bo = member(site.database, "ana"), member(site.database, "bo")
    replies.wish(site.database, site.secret, ana, on=True)
    first = discussion.remark(site.database, ana, PAPER, "Is it?")
    for number in range(4):
        discussion.remark(site.database, bo, PAPER, f"It is, {number}.", parent=first)
    with at(minutes=6):
        assert site.tick(everybody=False).sent == 4
    with at(days=365):
        site.tick()
    assert counts(site.database)["replies", ""] == {"sent": 2}
    with at(minutes=7):
        assert site.tick(everybody=False).sent == 0
        discussion.remark(site.database, bo, PAPER, "It is not.", parent=first)
    with at(minutes=14):
        assert site.tick(everybody=False).sent == 1


def test_what_a_mail_about_a_watched_question_said_goes_with_it_and_no_number_comes_again(make_site, monkeypatch):
    monkeypatch.setattr(sent, "LAST", 1)
    site = make_site()
    ana = member(site.database, "ana")
    changes.wish(site.database, site.secret, ana, on=True)
    for days, look in ((0, "a"), (1, "b")):
        with at(days=days):
            assert changes.queue_change(site.outbox(), ana.email, CHANGE, look=look, now=faults.now())
            assert site.tick(everybody=False).sent == 1
    names = [one.raw.partition(b"Message-ID:")[2].split()[0] for one in site.server.taken]
    with at(days=KEPT_DAYS + 2):
        assert prune(site.database) == 1
        assert left(site.database, NoteRow) == [2]
        assert changes.queue_change(site.outbox(), ana.email, CHANGE, look="c", now=faults.now())
        assert site.tick(everybody=False).sent == 1
    names += [site.server.taken[-1].raw.partition(b"Message-ID:")[2].split()[0]]
    assert len(set(names)) == 3


def test_what_is_queued_once_more_meanwhile_is_sent(make_site, monkeypatch):
    monkeypatch.setattr(sent, "LAST", 0)
    site = make_site(1)
    doubted = sent_before(site.database, KEPT_DAYS + 1, "unknown")
    with site.database.writing() as session:
        session.get_one(SubscriptionRow, 1).cadence = replies.REPLIES
        session.execute(text("UPDATE digest_run SET cadence = 'replies', period = '1'"))
    held = Holding(site.database)
    assert prune(held) == 0  # type: ignore[arg-type]
    with site.database.reading() as session:
        assert session.get_one(DeliveryRow, doubted).state == "queued"


class Holding:
    """A database in which somebody has doubtful messages sent once more, after the old ones were looked for."""

    def __init__(self, database: Database) -> None:
        self.database, self.reading = database, database.reading

    def writing(self) -> Any:
        retry_unknown(self.database)
        return self.database.writing()


def test_a_paper_is_not_sent_again_for_longer_than_is_remembered():
    assert DigestSettings(again_after_days=KEPT_DAYS).again_after_days == KEPT_DAYS
    with pytest.raises(InputError, match=f"1 to {KEPT_DAYS} days"):
        DigestSettings(again_after_days=KEPT_DAYS + 1)
