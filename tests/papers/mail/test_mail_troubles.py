"""No reader's fault: a relay that is full or breaks off, what cannot be made a message, digests that wait."""

from __future__ import annotations

import errno
from datetime import UTC, datetime, timedelta

import pytest
from papers.mail.conftest import rows, told
from sqlalchemy import delete, exc, select, text, update

from foveal import faults
from foveal.bench.mail_data import composer
from foveal.errors import LibraryError, MissingExtra
from foveal.papers.mail import delivery
from foveal.papers.mail.delivery import GOES_ON, TROUBLES, counts, retry_unknown, send
from foveal.papers.mail.digest import Composer
from foveal.papers.mail.morning import dry_run, tick
from foveal.papers.mail.planning import plan
from foveal.papers.mail.subscriptions import states, subscriptions
from foveal.papers.people_schema import DeliveryRow, SubscriptionRow
from foveal.papers.trending import trending

NOW = datetime(2026, 10, 2, 12, tzinfo=UTC)  # a Friday


@pytest.fixture(autouse=True)
def clock():
    """A Friday noon that does not pass by itself."""
    with faults.injected({}, clock=lambda: NOW):
        yield


def at(**after):
    return faults.injected({}, clock=lambda: NOW + timedelta(**after))


def harmless(site, **expected):
    """No reader suffered, and no try was counted."""
    assert {one.soft_bounces for one in subscriptions(site.database)} == {0}
    assert states(site.database) == {"confirmed": len(subscriptions(site.database))}
    assert {row.attempts for row in rows(site.database).values() if row.state == "queued"} <= {0}
    assert list(counts(site.database).values()) == [expected]


def close_at(server, name, whom):
    """Answer by 421 where `whom` says so, else as before."""
    before = getattr(server, name)

    async def answer(its, session, envelope, *rest):
        who = rest[0] if rest else envelope.rcpt_tos[0]
        return "421 4.3.2 closing" if whom(who) else await before(its, session, envelope, *rest)

    setattr(server, name, answer)


def test_a_relay_that_takes_nothing_of_ours_for_now_harms_no_subscriber(make_site):
    site = make_site(2)

    async def refuse(*_):
        return "452 4.3.1 quota"

    site.server.handle_MAIL = refuse
    for _ in range(2):
        stopped = site.tick().stopped
        assert "takes no mail from bounces@example.org (452 4.3.1 quota)" in stopped
        assert stopped.endswith("What is queued stays queued; the next start goes on.")
    harmless(site, queued=2)
    del site.server.handle_MAIL
    assert site.tick().sent == 2


def test_a_relay_that_has_enough_of_a_connection_gets_another(make_site):
    site = make_site(5)

    async def two(_, session, envelope, address, __):
        session.count = getattr(session, "count", 0) + 1
        if session.count > 2:
            return "452 4.3.1 too many"
        envelope.mail_from = address
        return "250 yes"

    site.server.handle_MAIL = two
    assert (site.tick().sent, site.server.connections) == (5, 3)


@pytest.mark.parametrize("fault", ["drop", "closing"])
def test_a_relay_that_breaks_off_harms_no_subscriber(make_site, fault):
    site = make_site(TROUBLES + 2, server={"fault": lambda *_: fault})
    if fault == "closing":
        close_at(site.server, "handle_RCPT", lambda *_: True)
    for _ in range(2):
        report = site.tick()
        assert (report.later, report.failed) == (TROUBLES, 0)
        assert "What is queued stays queued" in report.stopped
    harmless(site, queued=TROUBLES + 2)
    site.server.fault = lambda *_: ""
    vars(site.server).pop("handle_RCPT", None)
    assert site.tick().sent == TROUBLES + 2


@pytest.mark.parametrize("name", ["handle_RCPT", "handle_DATA"])
def test_a_message_at_which_the_server_always_closes_holds_up_no_other(make_site, name):
    site = make_site(TROUBLES + 2)
    close_at(site.server, name, lambda who: who < f"reader{TROUBLES - 1}")
    report = site.tick()
    assert (report.sent, report.later, report.stopped) == (3, TROUBLES - 1, "")
    with site.database.writing() as session:  # another one, that is due later
        session.execute(update(DeliveryRow).where(DeliveryRow.state == "sent").values(state="queued", smtp_text=""))
    before = len(site.server.taken)
    assert site.tick().sent == 3
    first = [one.recipient for one in site.server.taken[before:]]
    assert first == [f"reader{number}@example.org" for number in range(TROUBLES - 1, TROUBLES + 2)]
    harmless(site, queued=TROUBLES - 1, sent=3)


def test_a_message_that_cannot_be_written_holds_up_no_other(make_site, caplog):
    site = make_site(3)
    with site.database.writing() as session:
        first = session.get_one(SubscriptionRow, 1)
        first.address = "=?utf-8?q?abc?=@example.org"  # taken by an earlier Foveal
    report = site.tick()
    assert (report.sent, report.failed, report.stopped) == (2, 1, "")
    assert "could not be written" in caplog.text
    row = rows(site.database)["=?utf-8?q?abc?=@example.org"]
    assert (row.state, row.smtp_text) == ("failed", "it could not be written; the log says why")
    assert told(site.database, "failed") == 1
    harmless(site, sent=2, failed=1)


def test_a_digest_that_cannot_be_made_holds_up_nothing_that_is_queued(make_site, caplog):
    """Whatever the search for papers dies of: an index that is damaged, a mistake of ours."""
    site = make_site(2)
    plan(site.outbox(), composer(site.database, NOW), now=NOW, everybody=True)
    with site.database.writing() as session:
        session.execute(delete(DeliveryRow).where(DeliveryRow.subscription_id == 2))

    def broken():
        raise RuntimeError("the index is damaged")

    report = tick(site.outbox(), broken, everybody=True)
    assert report.sent == 1
    assert "RuntimeError: the index is damaged" in report.stopped
    assert "no digest was made" in caplog.text


def composing(site, first):
    """A composer that does something before each subscriber's papers are chosen."""
    made = composer(site.database, NOW)
    entries = made.entries

    def after(subscription, period):
        first(subscription)
        return entries(subscription, period)

    made.entries = after
    return made


def test_who_is_deleted_while_digests_are_made_holds_up_no_other(make_site):
    site = make_site(3)

    def leave(_):
        with site.database.writing() as session:
            session.execute(delete(SubscriptionRow).where(SubscriptionRow.id == 2))

    report = tick(site.outbox(), lambda: composing(site, leave), everybody=True)
    assert (report.planned, report.sent, report.stopped) == (2, 2, "")


def test_whose_digest_cannot_be_made_waits_and_holds_up_no_other(make_site, caplog):
    site = make_site(3)

    def breaks(subscription):
        if subscription.id == 1:
            raise OSError(errno.EIO, "Input/output error")

    report = tick(site.outbox(), lambda: composing(site, breaks), everybody=True)
    assert (report.planned, report.sent) == (2, 2)
    assert "OSError: [Errno 5] Input/output error" in report.stopped
    assert "digests wait" in caplog.text
    assert (site.tick().sent, len(rows(site.database))) == (1, 3)


@pytest.mark.parametrize(
    "error",
    [
        MissingExtra("jinja2 is not installed"),
        exc.TimeoutError("no connection of the pool is free"),
        exc.InterfaceError("SELECT 1", {}, Exception("connection already closed")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_machine_lacks_fails_no_message(make_site, error):
    def lacking(_):
        raise error

    site = make_site(2)
    with pytest.raises(type(error)):
        site.tick(site.outbox(headline=lacking))
    harmless(site, queued=2)
    assert site.tick().sent == 2


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()], ids=repr)
def test_messages_that_cannot_be_written_now_wait_and_hold_up_no_other(make_site, caplog, monkeypatch, error):
    """As long as it lasts: of the machine for all of them, or of one message for ever."""
    site = make_site(TROUBLES + 2)
    broken = {f"reader{number}@example.org" for number in range(TROUBLES)}
    written = delivery.message_of

    def lacking(outbox, one, papers):
        if one.subscription.address in broken:
            raise error
        return written(outbox, one, papers)

    monkeypatch.setattr(delivery, "message_of", lacking)
    report = site.tick()
    assert (report.sent, report.later) == (0, TROUBLES)
    assert report.stopped == f"Messages could not be written {TROUBLES} times in a row ({error!r}). {GOES_ON}"
    assert "cannot be written as a message now" in caplog.text
    harmless(site, queued=TROUBLES + 2)
    report = site.tick()
    assert (report.sent, report.later) == (2, TROUBLES)  # the others come first
    broken.pop()
    assert (site.tick().sent, site.tick().later) == (1, TROUBLES - 1)
    broken.clear()
    report = site.tick()
    assert (report.sent, report.stopped) == (TROUBLES - 1, "")
    harmless(site, sent=TROUBLES + 2)


def test_answers_that_cannot_be_looked_for_hold_up_no_digest(make_site, caplog):
    site = make_site(2)
    with site.database.writing() as session:
        session.execute(text("ALTER TABLE comment RENAME COLUMN parent_id TO damaged"))
    report = site.tick()
    assert report.sent == 2
    assert "no such column" in report.stopped
    assert "answers were not mailed" in caplog.text


def test_digests_that_waited_too_long_are_not_sent(make_site):
    site = make_site(2)
    outbox = site.outbox()
    for days in (0, 3, 4):  # Friday, Monday, Tuesday: the server is away
        with at(days=days), site.database.writing() as session:
            session.execute(text("DELETE FROM delivery_paper"))  # so that there is news
        with at(days=days):
            plan(outbox, composer(site.database, faults.now()), now=faults.now(), everybody=True)
    with at(days=4, hours=11):
        kept = dry_run(site.outbox(), composer(site.database, faults.now()), site.home / "out")
        assert [path.name[:16] for path in kept] == ["daily-2026-10-06"] * 2
        report = send(site.outbox())
        assert (report.sent, report.suppressed) == (2, 4)
        assert told(site.database, "suppressed") == 4
    late = {"suppressed": 2}
    assert list(counts(site.database).values()) == [{"sent": 2}, late, late]
    with site.database.reading() as session:
        texts = session.scalars(select(DeliveryRow.smtp_text).where(DeliveryRow.state == "suppressed"))
        assert set(texts) == {"too late"}


@pytest.mark.parametrize(("hours", "again"), [(11, 1), (13, 0)])
def test_what_is_unknown_is_not_sent_again_when_it_is_too_late(make_site, hours, again):
    site = make_site(1, server={"fault": lambda _, attempt: "drop-kept" if attempt == 1 else ""})
    assert site.tick().unknown == 1
    with at(hours=hours):
        assert retry_unknown(site.database) == again
        assert send(site.outbox()).sent == again
    assert rows(site.database)["reader0@example.org"].state == ("sent" if again else "unknown")


def test_while_no_search_can_be_asked_only_those_who_have_one_wait(make_site):
    site = make_site(3)
    asked: list[str] = []

    def away(query, k):
        asked.append(query)
        raise LibraryError(f"The index of papers, asked for {k} papers, is away.")

    def trends(at, k):
        return trending(site.database, now=at, limit=k).papers

    everybody = subscriptions(site.database, state="confirmed")
    for one in everybody[:2]:
        with site.database.writing() as session:
            session.get_one(SubscriptionRow, one.id).query = f"mills {one.id}"
    broken = Composer(site.database, trending=trends, search=away, now=faults.now())
    report = tick(site.outbox(), lambda: broken, everybody=True)
    assert (report.sent, report.stopped[-8:], len(asked)) == (1, "is away.", 1)
    assert site.tick().sent == 2
    assert sorted(rows(site.database)) == sorted(one.address for one in everybody)
