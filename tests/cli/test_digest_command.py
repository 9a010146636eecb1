"""`foveal digest` and `foveal admin subscriptions`: a person sets up the mail, sends it, and reads what comes back."""

from __future__ import annotations

import json
import socket
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from foveal import faults
from foveal.bench.mail_data import make_home, papers
from foveal.bench.mail_server import MailServer
from foveal.cli.main import app
from foveal.database import Database, LeaseRow, new_holder
from foveal.errors import FovealError
from foveal.papers.mail.bounces import MOST_BYTES
from foveal.papers.mail.delivery import LEASE
from foveal.papers.mail.digest import DigestSettings
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail.subscriptions import subscriptions, suppress
from foveal.papers.paper_search import SYNC_AT_ONCE
from foveal.papers.people_schema import SubscriptionRow
from foveal.papers.records import PaperRecord
from foveal.papers.upserts import upsert
from foveal.settings import Settings


def run(*arguments, typed=b"", status=0):
    done = CliRunner().invoke(app, [*map(str, arguments)], input=typed)
    assert done.exit_code == status, (done.output, done.exception)
    return done.stdout


def error(*arguments) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert isinstance(done.exception, FovealError)
    return str(done.exception)


def upsert_now(home) -> None:
    """The papers of today."""
    database = Database.open(Settings.load(home))
    upsert(database, papers(faults.now()))
    database.close()


@pytest.fixture
def server():
    with MailServer() as running:
        yield running


@pytest.fixture
def home(tmp_path, server):
    database, _ = make_home(tmp_path, server.port, subscribers=2, seed=10)  # without topics
    database.close()
    return tmp_path


def test_a_search_of_a_digest_sees_what_nobody_has_indexed(home, monkeypatch):
    monkeypatch.setenv("FOVEAL_ENCODER", "none")
    database, today = Database.open(Settings.load(home)), faults.now().date()
    named = [f"A zygomorphic quasar, part {number}" for number in range(SYNC_AT_ONCE + 1)]  # more than a search indexes
    upsert(database, [PaperRecord(title=one, source="pasted", listed_on=today) for one in named])
    database.close()
    shown = run("digest", "preview", "--query", "zygomorphic quasar", "--home", home)
    assert shown.count("A zygomorphic quasar, part") >= DigestSettings().most


def test_subscribing_without_mail_shows_the_link_and_with_mail_sends_it(tmp_path, home, server):
    shown = run("digest", "subscribe", "ana@example.org", "--home", tmp_path / "empty")
    assert "To: ana@example.org" in shown
    assert "http://localhost:8000/mail/confirm/" in shown
    assert "Nothing was sent" in shown
    assert "on its way" not in shown
    shown = run("digest", "subscribe", "Ana@EXAMPLE.org", "--zone", "Europe/Paris", "--hour", 7, "--home", home)
    assert shown.startswith("Thank you.")
    assert "confirm/" not in shown
    assert [one.recipient for one in server.taken] == ["Ana@example.org"]
    assert b"/mail/confirm/" in server.taken[0].raw
    assert "no e-mail address" in error("digest", "subscribe", "ana", "--home", home)
    assert "No time zone" in error("digest", "subscribe", "a@example.org", "--zone", "Nowhere", "--home", home)


def test_subscriptions_are_listed_without_what_makes_tokens(home):
    listed = json.loads(run("admin", "subscriptions", "--home", home, "--json"))
    assert [one["address"] for one in listed] == ["reader0@example.org", "reader1@example.org"]
    assert "seed" not in listed[0]
    assert "2 subscriptions" in run("admin", "subscriptions", "--home", home)
    assert json.loads(run("admin", "subscriptions", "--state", "bounced", "--home", home, "--json")) == []
    assert "Nobody's subscription is bounced." in run("admin", "subscriptions", "--state", "bounced", "--home", home)


def test_a_subscription_to_what_changed_is_listed_as_that(home, server):
    run("research", "watch", "How fast is it?", "--mail", "bo@example.org", "--home", home)
    [row] = [line for line in run("admin", "subscriptions", "--home", home).splitlines() if "changes" in line]
    assert "watched" in row
    assert "UTC" not in row


def test_leaving_by_address_by_token_and_for_good(home, server):
    database = Database.open(Settings.load(home))
    one = subscriptions(database)[1]
    token = unsubscribe_token((home / "secret.key").read_bytes(), one.seed)
    assert "reader0@example.org gets no digest" in run("digest", "unsubscribe", "reader0@EXAMPLE.org", "--home", home)
    assert "is not sent the daily digest" in run("digest", "unsubscribe", token, "--home", home)
    assert [one.state for one in subscriptions(database)] == ["unsubscribed"] * 2
    assert "belongs to no subscription" in error("digest", "unsubscribe", "x" * 43, "--home", home)
    assert "had no subscription" in run("digest", "unsubscribe", "raeder0@example.org", "--home", home)
    run("digest", "unsubscribe", "reader0@example.org", "--never-again", "--home", home)
    run("digest", "subscribe", "reader0@example.org", "--home", home)
    assert server.taken == []
    assert "may be written to again" in run("admin", "subscriptions", "--lift", "reader0@example.org", "--home", home)
    run("digest", "subscribe", "reader0@example.org", "--home", home)
    assert len(server.taken) == 1
    database.close()


def test_leaving_lifts_no_earlier_refusal(home, server):
    database = Database.open(Settings.load(home))
    with database.writing() as session:
        suppress(session, "reader0@example.org", "complained")
    database.close()
    for command in ("unsubscribe", "subscribe"):
        run("digest", command, "reader0@example.org", "--home", home)
    assert server.taken == []


def test_a_preview_is_of_a_digest_whatever_else_the_address_gets(home):
    database = Database.open(Settings.load(home))
    others = (
        ("ana@example.org", "changes", "confirmed"),
        ("bo@example.org", "weekly", "unsubscribed"),
        ("reader1@example.org", "changes", "confirmed"),  # and a daily digest, which comes after it
    )
    with database.writing() as session:
        for number, (address, cadence, state) in enumerate(others, -9):
            wanted = {"address": address, "address_key": address, "cadence": cadence, "state": state}
            session.add(SubscriptionRow(id=number, seed="s", unsubscribe_hash=str(number), **wanted))
    database.close()
    assert "has no subscription to a digest" in error("digest", "preview", "ana@example.org", "--home", home)
    assert "Give one of: daily" in error("digest", "preview", "--cadence", "replies", "--home", home)
    assert "No topic is called 'retreival'" in error("digest", "preview", "--topic", "retreival", "--home", home)
    assert "The filter year:" in error("digest", "preview", "--query", "year:soon", "--home", home)
    upsert_now(home)
    assert "daily digest" in run("digest", "preview", "reader1@example.org", "--home", home)
    assert "weekly digest" in run("digest", "preview", "bo@example.org", "--home", home)


def test_reports_are_read_from_a_pipe_and_from_a_folder(home, tmp_path):
    database = Database.open(Settings.load(home))
    token = unsubscribe_token((home / "secret.key").read_bytes(), subscriptions(database)[0].seed)
    mail = f"Subject: unsubscribe {token}\r\n\r\n".encode()
    assert "reader0@example.org was unsubscribed" in run("digest", "bounce", "--home", home, typed=mail)
    (tmp_path / "maildir").mkdir()
    (tmp_path / "maildir" / "1").write_bytes(b"Subject: holiday\r\n\r\n")
    [found] = json.loads(run("digest", "bounce", tmp_path / "maildir", "--home", home, "--json"))
    assert found["kind"] == "other"
    assert "is not there" in error("digest", "bounce", tmp_path / "nothing", "--home", home)
    (tmp_path / "maildir" / "0").write_bytes(b"x" * (MOST_BYTES + 1))  # holds up nothing behind it
    large, found = json.loads(run("digest", "bounce", tmp_path / "maildir", "--home", home, "--json"))
    assert "was not read" in large["done"]
    assert found["kind"] == "other"
    database.close()


def test_status_before_and_after(home):
    told = json.loads(run("digest", "status", "--home", home, "--json"))
    assert told == {"subscriptions": {"confirmed": 2}, "runs": [], "sending": None, "days": []}
    shown = run("digest", "status", "--home", home)
    assert "2 confirmed" in shown
    assert "Runs: none yet" in shown
    alive, dead = new_holder(), f"{socket.gethostname()[:50]}/{2**22 + 1}/gone"  # above what Linux numbers a process
    database = Database.open(Settings.load(home))
    for holder, left_s, sends in ((alive, 60, True), (alive, -1, False), (dead, 60, False)):
        with database.writing() as session:
            until = faults.now() + timedelta(seconds=left_s)
            session.merge(LeaseRow(name=LEASE, holder=holder, until=until))
        assert ("Sending: nobody" in run("digest", "status", "--home", home)) != sends
        assert bool(json.loads(run("digest", "status", "--home", home, "--json"))["sending"]) == sends
    database.close()


def test_mail_that_is_not_set_up_is_named(tmp_path):
    assert "host, sender, url, postal" in error("digest", "send", "--home", tmp_path)


def test_preview_send_and_dry_run(home, server, tmp_path):
    pytest.importorskip("foveal.papers.trending")
    upsert_now(home)
    shown = run("digest", "preview", "--home", home, "--html", tmp_path / "a.html", "--eml", tmp_path / "a.eml")
    assert "Subject: Daily Papers ·" in shown
    assert "Unsubscribe: https://papers.example.org/u/" in shown
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
    assert b"List-Unsubscribe-Post" in (tmp_path / "a.eml").read_bytes()
    assert "reader1@example.org" in run("digest", "preview", "reader1@example.org", "--home", home)
    assert "has no subscription" in error("digest", "preview", "nobody@example.org", "--home", home)
    run("digest", "send", "--now", "--dry-run", tmp_path / "out", "--home", home)
    assert len(list((tmp_path / "out").glob("*.eml"))) == 2
    assert server.taken == []
    assert json.loads(run("digest", "send", "--now", "--home", home, "--json"))["sent"] == 2
    assert "Nothing is due" in run("digest", "send", "--now", "--home", home)
    told = json.loads(run("digest", "status", "--home", home, "--json"))
    assert told["runs"][0]["messages"] == {"sent": 2}
    assert "sent" in run("digest", "status", "--home", home)
