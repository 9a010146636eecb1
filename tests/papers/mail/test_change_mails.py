"""Mails about watched questions: once, to whom wants them, with all that a list needs; ended by one click."""

from __future__ import annotations

import email
from datetime import UTC, datetime
from email.policy import default
from typing import Any

import pytest
from members import member

from foveal import faults
from foveal.errors import InputError, NotAllowed
from foveal.papers import accounts, personal_data
from foveal.papers.mail import subscriptions
from foveal.papers.mail.changes import ask_for_changes, queue_change, wish
from foveal.papers.mail.delivery import counts
from foveal.papers.mail.links import Links
from foveal.papers.mail.subscriptions import CONSENT_CHANGES, Preferences, change, confirm, unsubscribe

NOW = datetime(2026, 10, 3, 12, tzinfo=UTC)  # a Saturday: no digest is due


def claim(text: str, **more: str) -> dict[str, str]:
    """A claim as `research.watching` tells it."""
    return {"text": text, "said": "supported", "quote": "", "source": "", "url": "", "date": "", **more}


CHANGE: dict[str, Any] = {
    "question": "How fast is <b>sparse</b>\nattention?",
    "counted": "1 claim flipped, 1 new, 1 gone, 1 new source",
    "flipped": [
        {
            "before": claim("It takes 0.59 s", quote="takes 0.59 s where", source="Old paper"),
            "after": claim(
                "", quote="We find 0.41 s", source="New & late", url="https://p.example/new", date="2026-10-01"
            ),
            "why": "source",
        }
    ],
    "new": [claim("Masks are learnt now", url="javascript:alert(1)")],
    "gone": [claim("Nobody uses it")],
    "sources": [claim("", source="New & late", url="https://p.example/new", date="2026-10-01")],
}


@pytest.fixture
def site(make_site):
    with faults.injected({}, clock=lambda: NOW):
        yield make_site()


@pytest.fixture
def ana(site):
    person = member(site.database, "ana")
    wish(site.database, site.secret, person, on=True, ip="::1")
    return person


def mails(site) -> list[Any]:
    """What is sent at the next look."""
    before = len(site.server.taken)
    site.tick(everybody=False)
    return [email.message_from_bytes(one.raw, policy=default) for one in site.server.taken[before:]]


def test_a_change_is_mailed_once_text_first(site, ana):
    assert queue_change(site.outbox(), "ana@EXAMPLE.org", CHANGE, run="ab12", now=NOW)
    (mail,) = mails(site)
    assert mails(site) == []
    assert mail["Subject"] == "1 claim flipped, 1 new, 1 gone, 1 new source: How fast is <b>sparse</b> attention?"
    assert (mail["To"], mail["Auto-Submitted"]) == ("ana@example.org", "auto-generated")
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "https://papers.example.org/u/" in mail["List-Unsubscribe"]
    text, html = (part.get_content().replace("\r\n", "\n") for part in mail.iter_parts())
    for part in (text, html):
        for words in (
            *("It takes 0.59 s", "“We find 0.41 s”", "A new source says otherwise.", "Nobody uses it"),
            *("https://p.example/new", "https://papers.example.org/research/ab12", "1 Main Street"),
        ):
            assert words in part, words
        assert "javascript" not in part
    assert "Flipped\n-------\n\n- A new source says otherwise.\n  Before:\n    It takes 0.59 s\n" in text
    assert text.index("Flipped") < text.index("New\n---") < text.index("No longer said") < text.index("New sources")
    assert "\n\n\n\n" not in text
    assert max(map(len, text.splitlines())) <= 100  # addresses stand on lines of their own
    assert "&lt;b&gt;sparse&lt;/b&gt;" in html
    assert "New &amp; late" in html
    assert "<img" not in html
    assert counts(site.database) == {("changes", ""): {"sent": 1}}


def test_a_look_that_was_killed_and_done_again_writes_once(site, ana):
    other = CHANGE | {"counted": "2 new"}
    for told in (CHANGE, other):  # done again, a run may find something else
        assert queue_change(site.outbox(), ana.email, told, look="3 after 2026-01-01", now=NOW)
    assert queue_change(site.outbox(), ana.email, other, look="3 after 2026-01-02", now=NOW)
    assert [mail["Subject"].partition(":")[0] for mail in mails(site)] == [
        "1 claim flipped, 1 new, 1 gone, 1 new source",
        "2 new",
    ]


def test_who_is_deleted_takes_no_mail_of_others_along(site, ana):
    """SQLite numbers the next change as it did the last one of somebody who is gone."""
    bo = member(site.database, "bo")
    wish(site.database, site.secret, bo, on=True)
    assert queue_change(site.outbox(), bo.email, CHANGE, now=NOW)
    personal_data.erase(site.database, bo)
    assert queue_change(site.outbox(), ana.email, CHANGE, now=NOW)
    assert [mail["To"] for mail in mails(site)] == ["ana@example.org"]


def test_what_did_not_change_is_not_mentioned(site, ana):
    little = CHANGE | {"new": [], "gone": [], "sources": [], "counted": "1 claim flipped"}
    queue_change(site.outbox(), ana.email, little, now=NOW)
    (mail,) = mails(site)
    text = next(mail.iter_parts()).get_content()
    for word in ("New\n", "No longer said", "New sources", "The whole report"):
        assert word not in text


def test_a_second_try_is_the_same_message(make_site):
    with faults.injected({}, clock=lambda: NOW):
        site = make_site(server={"fault": lambda _, attempt: "drop-kept" if attempt == 1 else ""})
        ana = member(site.database, "ana")
        wish(site.database, site.secret, ana, on=True)
        queue_change(site.outbox(), ana.email, CHANGE, now=NOW)
        site.tick(everybody=False)
        assert counts(site.database) == {("changes", ""): {"unknown": 1}}
        from foveal.papers.mail.delivery import retry_unknown

        assert retry_unknown(site.database) == 1
        site.tick(everybody=False)
        first, second = (one.raw for one in site.server.taken)
        assert first == second


def test_nobody_who_did_not_ask_is_written_to(site):
    bo = member(site.database, "bo")
    assert not queue_change(site.outbox(), bo.email, CHANGE, now=NOW)
    assert mails(site) == []
    accounts.add(site.database, "new@example.org", login="newcomer")
    with pytest.raises(NotAllowed, match="verified"):
        wish(site.database, site.secret, accounts.find(site.database, "newcomer"), on=True)


def test_one_click_ends_this_kind_and_takes_back_what_waits(site, ana):
    queue_change(site.outbox(), ana.email, CHANGE, now=NOW)
    (mail,) = mails(site)
    token = mail["List-Unsubscribe"].split("/u/")[1].split(">")[0]
    queue_change(site.outbox(), ana.email, CHANGE, now=NOW)
    found = unsubscribe(site.database, token)
    assert found is not None
    assert (found.what, found.state) == ("mails about watched questions", "unsubscribed")
    assert mails(site) == []
    assert not queue_change(site.outbox(), ana.email, CHANGE, now=NOW)
    with pytest.raises(InputError, match="Mails about watched questions come or do not"):
        change(site.database, token, Preferences())


def test_an_address_is_asked_and_confirms_before_anything_is_sent(site):
    posted: list[tuple[str, str, str]] = []
    deliver = lambda *letter: posted.append(letter)  # noqa: E731
    links = Links("https://papers.example.org")
    ask_for_changes(site.database, site.secret, "eve@example.org", deliver=deliver, links=links)
    assert not queue_change(site.outbox(), "eve@example.org", CHANGE, now=NOW)
    assert "mails about watched questions" in posted[0][2]
    token = posted[0][2].split("/mail/confirm/")[1].split()[0]
    assert confirm(site.database, token).state == "confirmed"
    (row,) = subscriptions.subscriptions(site.database)
    assert row.consent_text == CONSENT_CHANGES
    assert queue_change(site.outbox(), "eve@example.org", CHANGE, now=NOW)
    assert len(mails(site)) == 1
    ask_for_changes(site.database, site.secret, "eve@example.org", deliver=deliver, links=links)
    assert "It is sent already" in posted[1][2]
    assert "/mail/confirm/" not in posted[1][2]
    assert "Topics" not in posted[1][2]


def test_the_note_goes_with_the_account(site, ana):
    queue_change(site.outbox(), ana.email, CHANGE, now=NOW)
    personal_data.erase(site.database, ana)
    assert mails(site) == []
    assert subscriptions.subscriptions(site.database) == []
