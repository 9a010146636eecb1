"""Each message once: what is claimed, put off, given up, left in doubt, and who is written to no more."""

from __future__ import annotations

import email
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.policy import default
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from papers.mail.conftest import rows, told
from sqlalchemy import event, select, text, update

from foveal import faults
from foveal.bench.mail_data import composer, skip_waiting
from foveal.database import Database, LeaseRow, is_dead
from foveal.errors import InputError
from foveal.papers import lease
from foveal.papers.mail.delivery import LEASE, LEASE_S, counts, durable, retry_unknown, send
from foveal.papers.mail.morning import ASKED_AT_ONCE, Morning, anybody_due, dry_run, outbox_of
from foveal.papers.mail.outbox import waiting
from foveal.papers.mail.planning import plan
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail.subscriptions import states, subscriptions, unsubscribe
from foveal.papers.people_schema import DeliveryRow, DigestRunRow, SubscriptionRow
from foveal.papers.schema import PaperRow
from foveal.settings import Settings

NOW = datetime(2026, 10, 2, 12, tzinfo=UTC)  # a Friday


@pytest.fixture(autouse=True)
def clock():
    """A Friday noon that does not pass by itself."""
    with faults.injected({}, clock=lambda: NOW):
        yield


def at(**after):
    return faults.injected({}, clock=lambda: NOW + timedelta(**after))


def test_each_subscriber_gets_one_message_however_often_it_is_asked_for(make_site):
    site = make_site(5)
    assert (site.tick().sent, site.tick().sent, site.tick().planned) == (5, 0, 0)
    assert sorted(one.recipient for one in site.server.taken) == [f"reader{n}@example.org" for n in range(5)]
    assert {one.sender for one in site.server.taken} == {"bounces@example.org"}
    assert site.server.connections == 1
    assert counts(site.database) == {("daily", "2026-10-02"): {"sent": 5}}
    assert told(site.database, "sent") == 5
    with site.database.reading() as session:
        assert session.scalars(select(DigestRunRow)).one().finished_at == NOW
        assert session.get(LeaseRow, LEASE) is None


def test_a_digest_is_made_at_the_readers_hour_and_not_before_they_confirmed(make_site):
    site = make_site(8, seed=3)
    hours = {one.id: (one.preferences.hour, one.preferences.zone) for one in subscriptions(site.database)}
    assert len(set(hours.values())) > 3
    assert site.tick(everybody=False).planned == 0  # all confirmed just now: today's hour is over
    planned, outbox, made = 0, site.outbox(), composer(site.database, NOW)
    for hour in (*range(1, 12), 24, 48, *range(60, 85)):
        with at(hours=hour):
            planned += plan(outbox, made, now=faults.now()).planned
    runs = counts(site.database)
    assert set(runs) <= {("daily", "2026-10-02"), ("daily", "2026-10-05"), ("daily", "2026-10-06")}  # no weekend
    assert planned == sum(found.get("queued", 0) for found in runs.values()) >= 8
    with site.database.reading() as session:
        for row in session.scalars(select(DeliveryRow)):
            hour, zone = hours[row.subscription_id]
            assert row.due_at.astimezone(ZoneInfo(zone)).hour == hour


@pytest.mark.parametrize("wrong", [{"days": 1}, {"days": -1}])
def test_a_digest_is_never_followed_by_an_older_one(make_site, wrong):
    site = make_site(5)
    first, second = (wrong, {}) if wrong["days"] > 0 else ({}, wrong)
    with at(**first):
        assert site.tick().sent == 5
    with at(**second):
        report = site.tick()
    assert (report.planned, report.empty, report.sent) == (0, 0, 0)
    with at(days=4):  # the first weekday after both
        report = site.tick()
    assert report.planned + report.empty == 5


@pytest.mark.parametrize("days", [364, 4])
def test_a_clock_that_was_far_ahead_once_stops_no_digest(make_site, days):
    site = make_site(5)
    with at(days=days):
        assert site.tick().sent == 5
    with site.database.writing() as session:
        session.execute(text("DELETE FROM delivery_paper"))  # so that there is news
    assert site.tick().sent == 5
    with at(days=1):
        report = site.tick()
    assert report.planned + report.empty == 5


def test_two_planners_with_clocks_a_day_apart(make_site):
    site = make_site(5)

    racing = composer(site.database, NOW)
    choose = racing.entries

    def entries(one, period):  # while the right planner chooses papers, one whose clock is fast has queued its own
        if not rows(site.database):
            with at(days=1):
                plan(site.outbox(), composer(site.database, faults.now()), now=faults.now(), everybody=True)
        return choose(one, period)

    racing.entries = entries
    report = plan(site.outbox(), racing, now=NOW, everybody=True)
    assert (report.planned, report.empty) == (0, 0)
    assert counts(site.database) == {("daily", "2026-10-03"): {"queued": 5}}


def test_there_may_be_more_subscribers_than_a_statement_has_variables(make_site):
    site = make_site(ASKED_AT_ONCE + 60)
    few = lambda connection, _: connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, ASKED_AT_ONCE + 50)  # noqa: E731
    event.listen(site.database.engine, "connect", few)
    site.database.close()  # what is open has no such limit
    assert anybody_due(site.database, everybody=True)


def test_nothing_new_is_no_mail(make_site):
    site = make_site(2, seed=10)  # who want what trends
    site.tick()
    with at(days=3):
        report = site.tick()
    assert (report.planned, report.empty, report.sent) == (2, 0, 2)  # three papers were left
    with at(days=4):
        report = site.tick()
    assert (report.planned, report.empty, report.sent) == (0, 2, 0)
    assert len(site.server.taken) == 4


def test_passing_refusals_wait_longer_each_time_and_end(make_site):
    site = make_site(1, server={"fault": lambda *_: "later"})
    assert site.tick().later == 1
    waited = []
    for _ in range(4):
        row = rows(site.database)["reader0@example.org"]
        assert (row.state, row.smtp_code) == ("queued", 450)
        waited.append((row.due_at - faults.now()).total_seconds() / 60)
        with at(minutes=waited[-1] - 0.1):
            assert site.tick().later == 0
        skip_waiting(site.database)
        report = site.tick()
    assert waited == [1, 5, 30, 120]
    assert report.failed == 1
    row = rows(site.database)["reader0@example.org"]
    assert (row.state, row.attempts) == ("failed", 4)
    assert subscriptions(site.database)[0].soft_bounces == 0  # of a server that is full, or busy: no reader's fault
    assert states(site.database) == {"confirmed": 1}


def test_an_address_that_does_not_exist_bounces_at_once_and_other_failures_at_the_third(make_site):
    def fault(who, _):
        return {"reader0@example.org": "never", "reader1@example.org": "policy"}.get(who, "")

    site = make_site(3, server={"fault": fault})
    report = site.tick()
    assert (report.sent, report.failed) == (1, 2)
    assert states(site.database) == {"bounced": 1, "confirmed": 2}
    for day in (3, 4):
        with site.database.writing() as session:
            session.execute(text("DELETE FROM delivery_paper"))  # so that there is news
        with at(days=day):
            site.tick()
    assert states(site.database) == {"bounced": 2, "confirmed": 1}
    assert site.server.tries["reader0@example.org"] == 1
    assert site.server.tries["reader1@example.org"] == 3


def test_a_message_that_arrives_forgives_earlier_failures(make_site):
    site = make_site(1)
    with site.database.writing() as session:
        session.execute(update(SubscriptionRow).values(soft_bounces=2))
    site.tick()
    assert subscriptions(site.database)[0].soft_bounces == 0


def test_papers_that_are_withdrawn_after_the_digest_was_queued_are_not_in_it(make_site):
    site = make_site(2)
    outbox = site.outbox()
    plan(outbox, composer(site.database, NOW), now=NOW, everybody=True)
    queued = waiting(site.database)
    kept = {one.subscription.address: one.entries[-1].paper_id for one in queued}
    gone = {entry.paper_id for one in queued for entry in one.entries} - set(kept.values())
    assert gone
    with site.database.writing() as session:
        session.execute(update(PaperRow).where(PaperRow.id.in_(gone)).values(withdrawn=True))
    assert send(outbox).sent == 2
    for raw in site.server.taken:
        told = email.message_from_bytes(raw.raw, policy=default).get_body(("plain",)).get_content()
        assert not [one for one in gone if f"/papers/{one}" in told]
        assert [one for one in kept.values() if f"/papers/{one}" in told]


def test_a_digest_of_nothing_but_withdrawn_papers_does_not_go_out(make_site):
    site = make_site(2)
    outbox = site.outbox()
    plan(outbox, composer(site.database, NOW), now=NOW, everybody=True)
    with site.database.writing() as session:
        session.execute(update(PaperRow).values(withdrawn=True))
    assert send(outbox).sent == 0
    assert {row.state for row in rows(site.database).values()} == {"empty"}


def test_who_chooses_another_rhythm_gets_no_digest_of_the_old_one(make_site):
    site = make_site(2)
    outbox = site.outbox()
    plan(outbox, composer(site.database, NOW), now=NOW, everybody=True)
    first = subscriptions(site.database)[0]
    with site.database.writing() as session:
        session.execute(update(SubscriptionRow).where(SubscriptionRow.id == first.id).values(cadence="weekly"))
    report = send(outbox)
    assert (report.sent, report.suppressed) == (1, 1)
    assert rows(site.database)[first.address].state == "suppressed"


def test_who_leaves_while_the_run_is_under_way_is_not_written_to(make_site):
    site = make_site(6)
    outbox = site.outbox()
    last = subscriptions(site.database)[-1]

    def leave(report):
        if report.sent == 2:
            unsubscribe(site.database, unsubscribe_token(site.secret, last.seed))

    report = site.tick(outbox, on_sent=leave)
    assert (report.sent, len(site.server.taken)) == (5, 5)
    assert last.address not in {one.recipient for one in site.server.taken}
    assert rows(site.database)[last.address].state == "suppressed"


def test_who_leaves_between_the_servers_yes_and_the_body_is_not_written_to(make_site):
    site = make_site(1)
    [one] = subscriptions(site.database)

    def fault(*_):
        unsubscribe(site.database, unsubscribe_token(site.secret, one.seed))
        return ""

    site.server.fault = fault
    report = site.tick()
    assert (report.sent, report.suppressed, site.server.taken) == (0, 1, [])
    assert rows(site.database)[one.address].state == "suppressed"


@pytest.mark.parametrize("fault", ["drop-kept", "drop-lost"])
def test_no_answer_after_the_body_is_unknown_and_not_sent_again_by_itself(make_site, fault):
    site = make_site(2, server={"fault": lambda who, _: fault if who.startswith("reader0") else ""})
    report = site.tick()
    assert (report.sent, report.unknown) == (1, 1)
    assert site.tick().sent == 0
    row = rows(site.database)["reader0@example.org"]
    assert (row.state, row.doubts) == ("unknown", 1)
    first = row.message_id
    assert retry_unknown(site.database) == 1
    assert site.tick().unknown == 1
    row = rows(site.database)["reader0@example.org"]
    assert (row.state, row.doubts, row.message_id) == ("unknown", 2, first)
    assert retry_unknown(site.database) == 0  # once is all
    if fault == "drop-kept":
        twice = [one.raw for one in site.server.taken if one.recipient == "reader0@example.org"]
        assert len(twice) == 2
        assert all(first.encode() in raw for raw in twice)


def test_a_connection_that_breaks_before_the_body_costs_nothing_but_time(make_site):
    def fault(who, attempt):
        return "drop" if attempt == 1 and who.startswith("reader1") else ""

    site = make_site(3, server={"fault": fault})
    assert site.tick().sent == 3  # the connection had been used before: asked again at once
    assert site.server.connections == 2


def test_a_server_that_is_away_leaves_all_queued(make_site):
    site = make_site(2)
    plan(site.outbox(), composer(site.database, NOW), now=NOW, everybody=True)
    site.server.__exit__()
    report = send(site.outbox())
    assert "does not answer" in report.stopped
    assert {row.state for row in rows(site.database).values()} == {"queued"}
    with site.database.reading() as session:
        assert session.get(LeaseRow, LEASE) is None
    site.server.__post_init__()
    site.server.__enter__()
    assert send(site.outbox()).sent == 2


def test_a_refusal_of_the_sender_stops_the_run_and_harms_no_subscriber(make_site):
    site = make_site(2)

    async def refuse(*_):
        return "550 5.7.1 who are you"

    site.server.handle_MAIL = refuse
    report = site.tick()
    assert "takes no mail from bounces@example.org" in report.stopped
    assert states(site.database) == {"confirmed": 2}
    assert {row.state for row in rows(site.database).values()} == {"queued"}


def test_one_sender_at_a_time_and_a_dead_one_is_followed_at_once(make_site):
    site = make_site(2)
    plan(site.outbox(), composer(site.database, NOW), now=NOW, everybody=True)
    other = lease.new_holder()
    with site.database.writing() as session:
        assert lease.take(session, LEASE, other, seconds=60)
        assert lease.take(session, LEASE, other, seconds=60)
    assert "Another process" in send(site.outbox()).stopped
    with at(seconds=61):
        assert send(site.outbox(), limit=1).sent == 1
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = f"{other.split('/')[0]}/{ended.pid}/x"
    with site.database.writing() as session:
        session.add(LeaseRow(name=LEASE, holder=dead, until=NOW + timedelta(hours=1)))
        session.execute(update(DeliveryRow).where(DeliveryRow.state == "queued").values(state="sending", sender=dead))
    report = send(site.outbox())
    assert (report.unknown, report.stopped) == (1, "")
    assert not is_dead(other)
    assert not is_dead(f"elsewhere/{ended.pid}/x")


def test_a_sender_whose_lease_was_taken_sends_nothing_more(make_site):
    site = make_site(3)
    outbox = site.outbox()

    def steal(_):
        with site.database.writing() as session:
            session.execute(update(LeaseRow).values(holder="elsewhere/1/x", until=NOW + timedelta(seconds=LEASE_S)))

    report = site.tick(outbox, on_sent=steal)
    assert report.sent == 1
    assert "took over" in report.stopped
    assert len(site.server.taken) == 1
    assert sorted(row.state for row in rows(site.database).values()) == ["queued", "queued", "sent"]


def test_a_lease_that_ran_out_and_that_nobody_took_is_taken_again(make_site):
    site = make_site(3)

    def expire(_):
        with site.database.writing() as session:
            session.execute(update(LeaseRow).values(until=NOW - timedelta(seconds=1)))

    assert site.tick(on_sent=expire).sent == 3


def test_ctrl_c_and_a_full_disk_leave_what_was_in_the_middle_unknown_and_the_rest_queued(make_site):
    site = make_site(4)
    for number, (point, fault, error) in enumerate(
        [("mail.claimed", "interrupt@2", KeyboardInterrupt), ("mail.accepted", "full@1", OSError)]
    ):
        with faults.injected({point: fault}, clock=lambda: NOW), pytest.raises(error):
            site.tick()
        found = [row.state for row in rows(site.database).values()]
        assert found.count("unknown") == number + 1
    assert site.tick().sent == 1
    assert len({one.recipient for one in site.server.taken}) == len(site.server.taken) == 3


def test_a_stop_ends_between_two_messages(make_site):
    site = make_site(4)
    outbox = site.outbox(stop=threading.Event())
    report = site.tick(outbox, on_sent=lambda _: outbox.stop.set())
    assert (report.sent, report.stopped) == (1, "")
    assert site.tick().sent == 3


def test_the_rate_and_the_batch_hold(make_site):
    import time

    site = make_site(6, rate=20, settings="batch = 2")
    start = time.monotonic()
    assert site.tick().sent == 6
    assert time.monotonic() - start >= 5 / 20
    assert site.server.connections == 3


def test_a_dry_run_writes_files_and_nothing_else(make_site, tmp_path, key):
    site = make_site(2)
    before = Path(site.home / "foveal.db").stat().st_mtime_ns
    written = dry_run(site.outbox(), composer(site.database, NOW), tmp_path / "out", everybody=True)
    assert [path.name for path in written] == ["daily-2026-10-02-1.eml", "daily-2026-10-02-2.eml"]
    assert rows(site.database) == {}
    assert Path(site.home / "foveal.db").stat().st_mtime_ns == before
    assert site.server.taken == []
    site.tick(limit=1)
    assert written[0].read_bytes() == site.server.taken[0].raw
    (waits,) = dry_run(site.outbox(), composer(site.database, NOW), tmp_path / "rest", everybody=True)
    assert waits.name == "daily-2026-10-02-2.eml"  # queued already, and still to be sent
    assert waits.read_bytes() == written[1].read_bytes()


def test_the_senders_commits_are_on_the_disk(make_site):
    site = make_site()
    own = durable(site.database)
    with own.reading() as session:
        assert session.execute(text("PRAGMA synchronous")).scalar() == 2
    own.close()


def test_a_paper_that_goes_is_left_out_and_all_gone_is_no_mail(make_site):
    site = make_site(1)
    plan(site.outbox(), composer(site.database, NOW), now=NOW, everybody=True)
    with site.database.writing() as session:
        session.execute(text("DELETE FROM paper"))
    assert send(site.outbox()).sent == 0
    assert rows(site.database)["reader0@example.org"].state == "empty"


def test_beside_serve_it_waits_for_settings_and_survives_errors(tmp_path, caplog):
    database = Database.open(Settings(home=tmp_path, cache=tmp_path))
    stop = threading.Event()
    job = Morning(Settings(home=tmp_path, cache=tmp_path), database, every_s=0.01)
    thread = threading.Thread(target=job.run, args=(stop,))
    thread.start()
    stop.wait(0.05)
    (tmp_path / "foveal.toml").write_text('[mail]\nhost = "smtp.example.org"\n')
    for _ in range(300):
        if "no mail can be sent" in caplog.text.lower():
            break
        stop.wait(0.02)
    stop.set()
    thread.join()
    database.close()
    assert "sender, url, postal" in caplog.text


def test_mail_that_is_not_set_up_is_named(tmp_path):
    settings = Settings(home=tmp_path, cache=tmp_path)
    database = Database.open(settings)
    with pytest.raises(InputError, match="says: host, sender, url, postal"):
        outbox_of(settings, database)
    database.close()
