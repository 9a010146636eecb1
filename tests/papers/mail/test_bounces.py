"""What comes back: real shapes of failures and complaints, forged ones, the same one twice."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from papers.mail.conftest import Site
from sqlalchemy import delete, select

from foveal import faults
from foveal.bench.mail_data import make_home
from foveal.bench.mail_server import MailServer
from foveal.database import Database
from foveal.errors import InputError
from foveal.papers.mail.bounces import MOST_BYTES, apply, read_report, verdict
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail.subscriptions import states, subscriptions
from foveal.papers.people_schema import DeliveryPaperRow, DeliveryRow, SuppressedRow
from foveal.settings import Settings

NOW = datetime(2026, 10, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """Three readers who were sent a digest, once for all tests."""
    home = tmp_path_factory.mktemp("sent") / "home"
    with MailServer() as server, faults.injected({}, clock=lambda: NOW):
        database, secret = make_home(home, server.port, subscribers=3)
        made = Site(home, database, secret, server)
        assert made.tick().sent == 3
        database.close()
        yield made


@pytest.fixture
def site(sent, tmp_path):
    """A copy of it that a test may change."""
    shutil.copytree(sent.home, tmp_path / "home")
    with faults.injected({}, clock=lambda: NOW):
        database = Database.open(Settings.load(tmp_path / "home", environment={}))
        yield Site(tmp_path / "home", database, sent.secret, sent.server)
        database.close()


def failure(original: bytes, *, status="5.1.1", action="failed", headers_only=False, code="smtp; 550 5.1.1 unknown"):
    """A report as Postfix writes one (RFC 3464)."""
    kind = "text/rfc822-headers" if headers_only else "message/rfc822"
    held = original.partition(b"\r\n\r\n")[0] + b"\r\n" if headers_only else original
    return (
        b"Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.example.net\r\nTo: bounces@example.org\r\n"
        b"Subject: Undelivered Mail Returned to Sender\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="B"\r\n\r\n'
        b"--B\r\nContent-Type: text/plain\r\n\r\nI'm sorry to have to inform you ...\r\n"
        b"--B\r\nContent-Type: message/delivery-status\r\n\r\n"
        b"Reporting-MTA: dns; mx.example.net\r\nArrival-Date: Fri, 2 Oct 2026 12:00:00 +0000\r\n\r\n"
        b"Final-Recipient: rfc822; reader0@example.org\r\n"
        + f"Action: {action}\r\nStatus: {status}\r\nDiagnostic-Code: {code}\r\n\r\n".encode()
        + f"--B\r\nContent-Type: {kind}\r\n\r\n".encode()
        + held
        + b"\r\n--B--\r\n"
    )


def complaint(original: bytes):
    """A report of a mailbox provider (RFC 5965) from which address and Message-ID were taken out."""
    head = original.partition(b"\r\n\r\n")[0]
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"to:", b"message-id:"))]
    return (
        b"From: feedback@provider.example\r\nTo: bounces@example.org\r\nSubject: FW: Daily Papers\r\n"
        b"MIME-Version: 1.0\r\n"
        b'Content-Type: multipart/report; report-type=feedback-report; boundary="B"\r\n\r\n'
        b"--B\r\nContent-Type: text/plain\r\n\r\nThis is an email abuse report.\r\n"
        b"--B\r\nContent-Type: message/feedback-report\r\n\r\n"
        b"Feedback-Type: abuse\r\nUser-Agent: SomeGenerator/1.0\r\nVersion: 1\r\n\r\n"
        b"--B\r\nContent-Type: message/rfc822\r\n\r\n" + b"\r\n".join(kept) + b"\r\n\r\nbody\r\n\r\n--B--\r\n"
    )


def raw_of(site, number):
    return next(one.raw for one in site.server.taken if one.recipient == f"reader{number}@example.org")


def delivery_of(site, number):
    with site.database.reading() as session:
        wanted = select(DeliveryRow).where(DeliveryRow.subscription_id == subscriptions(site.database)[number].id)
        return session.scalars(wanted).one()


@pytest.mark.parametrize("headers_only", [False, True])
def test_an_address_that_does_not_exist_is_written_to_no_more(site, headers_only):
    report = read_report(failure(raw_of(site, 0), headers_only=headers_only))
    assert (report.kind, report.status, report.text) == ("bounce", "5.1.1", "smtp; 550 5.1.1 unknown")
    assert "does not take mail (5.1.1)" in apply(site.database, report)
    assert states(site.database) == {"bounced": 1, "confirmed": 2}
    with site.database.reading() as session:
        assert session.get(SuppressedRow, "reader0@example.org").reason == "bounced"
    assert delivery_of(site, 0).state == "failed"
    assert "known already" in apply(site.database, report)


@pytest.mark.parametrize("status", ["5.2.2", "4.4.7", "5.7.1", "5.0.0"])
def test_other_failures_count_once_a_message(site, status):
    report = read_report(failure(raw_of(site, 1), status=status))
    assert "1 in a row" in apply(site.database, report)
    apply(site.database, report)
    assert subscriptions(site.database)[1].soft_bounces == 1
    assert states(site.database) == {"confirmed": 3}


def looks(site, days, fail):
    """A digest a day through a relay that takes each, and what it tells of those that `fail`, once it is sent."""
    for day in days:
        with faults.injected({}, clock=lambda day=day: NOW + timedelta(days=day)):
            with site.database.writing() as session:
                session.execute(delete(DeliveryPaperRow))  # so that there is news
            before = len(site.server.taken)
            assert site.tick().sent == sum(one.state == "confirmed" for one in subscriptions(site.database))
            yield day, [one.raw for one in site.server.taken[before:] if one.recipient == "reader0@example.org"]
            if day in fail:
                [raw] = [one.raw for one in site.server.taken[before:] if one.recipient == "reader0@example.org"]
                apply(site.database, read_report(failure(raw, status="5.2.2")))


def test_a_mailbox_that_stays_full_behind_a_relay_bounces_at_the_third(make_site):
    """The relay takes the next message before anybody knows: that it does forgives nothing."""
    site = make_site(2)
    counts = [subscriptions(site.database)[0].soft_bounces for _ in looks(site, (3, 4, 5), {3, 4, 5})]
    assert counts == [0, 0, 0]  # taken, so far
    assert states(site.database) == {"bounced": 1, "confirmed": 1}


def test_reports_that_come_days_later_count_in_the_order_of_their_messages(make_site):
    site = make_site(1)
    raws = [raw for _, [raw] in looks(site, (3, 4, 5, 6), ())]
    told = [apply(site.database, read_report(failure(raw, status="4.4.7"))) for raw in (raws[2], raws[0], raws[1])]
    assert [one.rpartition("; ")[2] for one in told] == ["1 in a row.", "1 in a row.", "3 in a row."]
    assert states(site.database) == {"bounced": 1}


def test_a_message_that_arrived_between_ends_the_row(make_site):
    site = make_site(1)
    list(looks(site, (3, 4, 5, 6, 7), {3, 4, 6, 7}))
    assert subscriptions(site.database)[0].soft_bounces == 2
    assert states(site.database) == {"confirmed": 1}


def test_a_delay_is_no_failure(site):
    report = read_report(failure(raw_of(site, 1), status="4.4.1", action="delayed"))
    assert "delay" in apply(site.database, report)
    assert delivery_of(site, 1).state == "sent"


def test_a_complaint_ends_all_even_where_the_message_was_blacked_out(site):
    report = read_report(complaint(raw_of(site, 2)))
    assert (report.kind, report.message_id) == ("complaint", "")
    assert "complained" in apply(site.database, report)
    assert states(site.database) == {"complained": 1, "confirmed": 2}
    assert "complained" in apply(site.database, report)


@pytest.mark.parametrize("kind", ["not-spam", "Auth-Failure"])
def test_a_report_that_is_no_complaint_ends_nothing(site, kind):
    """A reader who took the message out of the spam, or a receiver that found no signature (DMARC)."""
    raw = complaint(raw_of(site, 2)).replace(b"Feedback-Type: abuse", f"Feedback-Type: {kind}".encode())
    assert read_report(raw).kind == "other"
    assert "nothing was changed" in apply(site.database, read_report(raw))
    assert read_report(raw.replace(kind.encode(), b"fraud")).kind == "complaint"
    assert read_report(raw.replace(f"Feedback-Type: {kind}\r\n".encode(), b"")).kind == "complaint"
    assert states(site.database) == {"confirmed": 3}


def test_a_report_that_names_no_message_of_ours_ends_nothing(site):
    forged = raw_of(site, 0).replace(b"Message-ID: <", b"Message-ID: <x")
    forged = forged.replace(b"papers.example.org/u/", b"papers.example.org/u/x")
    for report in (failure(forged), complaint(forged), failure(b"To: reader0@example.org\r\n\r\nhello")):
        assert "names no message of ours" in apply(site.database, read_report(report))
    assert states(site.database) == {"confirmed": 3}


def test_who_writes_unsubscribe_with_the_token_leaves(site):
    token = unsubscribe_token(site.secret, subscriptions(site.database)[0].seed)
    mail = f"From: somebody@else.example\r\nSubject: unsubscribe\r\n {token}\r\n\r\n".encode()
    assert apply(site.database, read_report(mail)) == "reader0@example.org was unsubscribed."
    assert states(site.database) == {"confirmed": 2, "unsubscribed": 1}
    stranger = f"Subject: unsubscribe {'x' * 43}\r\n\r\n".encode()
    assert "belongs to nobody" in apply(site.database, read_report(stranger))
    for other in (b"Subject: unsubscribe\r\n\r\nplease", b"Subject: hello\r\n\r\n", b"", b"\xff\xfe\x00"):
        assert read_report(other).kind == "other"
    assert "nothing was changed" in apply(site.database, read_report(b""))


@pytest.mark.parametrize(
    ("code", "text", "at_recipient", "meaning"),
    [
        (450, "4.2.0 later", True, "later"),
        (421, "closing", False, "later"),
        (550, "5.1.1 no such user", True, "permanent"),
        (550, "no such user", True, "permanent"),
        (550, "5.2.1 disabled", True, "permanent"),
        (552, "5.2.2 full", True, "soft"),
        (550, "5.7.1 blocked", True, "soft"),
        (554, "spam", False, "soft"),
        (550, "rejected", False, "soft"),
        (554, "nope", True, "soft"),
    ],
)
def test_what_a_refusal_means(code, text, at_recipient, meaning):
    assert verdict(code, text, at_recipient=at_recipient) == meaning


def test_what_is_too_large_is_not_read():
    with pytest.raises(InputError, match="at most"):
        read_report(b"x" * (MOST_BYTES + 1))


@given(st.binary(max_size=400), st.integers(0, 900))
def test_broken_reports_never_fail(noise, cut):
    whole = failure(b"Message-ID: <a@example.org>\r\n\r\n")
    for raw in (noise, whole[:cut] + noise, whole[:cut] + noise + whole[cut:]):
        assert read_report(raw).kind in ("bounce", "complaint", "unsubscribe", "other")
