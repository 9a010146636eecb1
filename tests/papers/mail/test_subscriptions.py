"""Double opt-in: nothing without the button, the same answer for all, out at once and for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import inspect, select, text

from foveal import faults
from foveal.bench.mail_data import SITE, token_in
from foveal.database import Database
from foveal.errors import InputError, TooMany
from foveal.papers.mail.links import Links
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail.subscriptions import (
    ANSWER,
    Preferences,
    change,
    confirm,
    forget_unconfirmed,
    lift,
    peek,
    peek_unsubscribe,
    preferences_of,
    states,
    subscribe,
    subscriptions,
    suppress,
    unsubscribe,
)
from foveal.papers.people_schema import SubscriptionRow
from foveal.papers.schema import TopicRow

SECRET = b"s" * 32
START = datetime(2026, 10, 2, 9, tzinfo=UTC)


class Mails(list):
    """What was delivered: (address, subject, text)."""

    def __call__(self, *mail: str) -> None:
        self.append(mail)


@pytest.fixture
def mails() -> Mails:
    return Mails()


def ask(database, mails, address="ana@example.org", preferences=None, **more):
    return subscribe(database, SECRET, address, preferences or Preferences(), deliver=mails, links=Links(SITE), **more)


def dump(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """All that the database holds."""
    with database.reading() as session:
        return {
            name: [tuple(row) for row in session.execute(text(f'SELECT * FROM "{name}"'))]
            for name in inspect(database.engine).get_table_names()
        }


def at(moment: datetime):
    return faults.injected({}, clock=lambda: moment)


def test_only_the_button_confirms_and_a_scanner_that_opens_every_link_changes_nothing(database, mails):
    ask(database, mails, preferences=Preferences(cadence="weekly", hour=7, zone="Europe/Paris"))
    token = token_in(mails[0][2])
    before = dump(database)
    for _ in range(3):
        seen = peek(database, token)
        assert seen is not None
        assert (seen.state, seen.preferences.cadence) == ("unconfirmed", "weekly")
        assert peek_unsubscribe(database, token) is None
    assert dump(database) == before
    done = confirm(database, token, ip="192.0.2.7")
    assert (done.state, done.consent_ip, done.consent_text) == (
        "confirmed", "192.0.2.7", "Send me the Daily Papers digest by e-mail (weekly), until I unsubscribe.",
    )  # fmt: skip
    assert done.consent_at is not None


def test_tokens_are_not_in_the_database(database, mails):
    ask(database, mails)
    token, kept = token_in(mails[0][2]), str(dump(database))
    assert len(token) == 43
    assert token not in kept
    assert unsubscribe_token(SECRET, subscriptions(database)[0].seed) not in kept


def test_the_answer_and_the_mail_count_are_the_same_whoever_it_is(database, mails):
    ask(database, mails, "known@example.org")
    confirm(database, token_in(mails[0][2]))
    mails.clear()
    for address in ("new@example.org", "known@example.org", "Known@EXAMPLE.org"):
        assert ask(database, mails, address) == ANSWER
    assert [mail[0] for mail in mails] == ["new@example.org", "known@example.org", "Known@example.org"]
    assert "is sent already" in mails[1][2]
    assert "/mail/confirm/" not in mails[1][2]
    assert states(database) == {"confirmed": 1, "unconfirmed": 2}


def test_a_stranger_cannot_change_what_is_in_force(database, mails):
    ask(database, mails, preferences=Preferences(hour=6))
    confirm(database, token_in(mails[0][2]))
    ask(database, mails, preferences=Preferences(hour=23, query="spam"))
    [kept] = subscriptions(database)
    assert (kept.preferences.hour, kept.preferences.query) == (6, "")


def test_nobodys_words_are_mailed_to_somebody_elses_address(database, mails):
    """Anybody may type anybody's address, and a search of 200 characters beside it."""
    ask(database, mails, preferences=Preferences(query="You won: https://evil.example/claim"))
    [(_, _, said)] = mails
    assert "evil.example" not in said
    assert "- a search of your own" in said


def test_a_search_that_cannot_be_asked_is_refused_at_once(database, mails):
    wrong = Preferences(query="attention year:soon")
    with pytest.raises(InputError, match="The filter year:"):
        ask(database, mails, preferences=wrong)
    ask(database, mails)
    own = unsubscribe_token(SECRET, subscriptions(database)[0].seed)
    with pytest.raises(InputError, match="The filter year:"):
        change(database, own, wrong)
    assert len(mails) == len(subscriptions(database)) == 1


def test_links_expire_are_replaced_and_are_of_no_use_after_leaving(database, mails):
    with at(START):
        ask(database, mails)
        ask(database, mails)
    old, new = (token_in(mail[2]) for mail in mails)
    with at(START + timedelta(hours=47)):
        with pytest.raises(InputError, match="used, or is older"):
            confirm(database, old)
        own = unsubscribe_token(SECRET, confirm(database, new).seed)
        assert confirm(database, new).state == "confirmed"  # pressed twice
        unsubscribe(database, own)
        with pytest.raises(InputError, match="used, or is older"):
            confirm(database, new)
        ask(database, mails)
    with at(START + timedelta(hours=96)):
        assert peek(database, token_in(mails[2][2])) is None
        with pytest.raises(InputError, match="older than 48 hours"):
            confirm(database, token_in(mails[2][2]))
    for stolen in ("", "x", own, "é\ud800", "' OR 1=1 --"):
        with pytest.raises(InputError):
            confirm(database, stolen)


def test_leaving_is_idempotent_and_coming_back_needs_a_new_confirmation(database, mails):
    ask(database, mails)
    own = unsubscribe_token(SECRET, confirm(database, token_in(mails[0][2])).seed)
    with at(START):
        first = unsubscribe(database, own)
    after = dump(database)
    with at(START + timedelta(days=1)):
        assert unsubscribe(database, own) == first
    assert dump(database) == after
    assert first is not None
    assert (first.state, first.ended_at) == ("unsubscribed", START)
    assert unsubscribe(database, "x" * 43) is None
    ask(database, mails)
    assert states(database) == {"unsubscribed": 1}
    assert confirm(database, token_in(mails[1][2])).state == "confirmed"
    assert unsubscribe(database, own).state == "unsubscribed"  # the link of an old message still works


def test_what_is_not_confirmed_is_forgotten_after_a_week(database, mails):
    with at(START):
        ask(database, mails, "a@example.org")
        ask(database, mails, "b@example.org")
    confirm_at = START + timedelta(hours=1)
    with at(confirm_at):
        confirm(database, token_in(mails[1][2]))
    with at(START + timedelta(days=6, hours=23)):
        assert forget_unconfirmed(database) == 0
    with at(START + timedelta(days=7, hours=1)):
        assert forget_unconfirmed(database) == 1
    assert [one.address for one in subscriptions(database)] == ["b@example.org"]


def test_limits_are_per_address_in_silence_and_per_ip_out_loud(database, mails):
    with at(START):
        for _ in range(8):
            assert ask(database, mails) == ANSWER
        assert len(mails) == 5
        for number in range(20):
            ask(database, mails, f"r{number}@example.org", ip="192.0.2.9")
        with pytest.raises(TooMany) as refused:
            ask(database, mails, "r21@example.org", ip="192.0.2.9")
        for number in range(20):  # of IPv6 a house has 2^64 addresses
            ask(database, mails, f"s{number}@example.org", ip=f"2001:db8:0:1::{number}")
        with pytest.raises(TooMany):
            ask(database, mails, "s21@example.org", ip="2001:db8:0:1:ffff::1")
        ask(database, mails, "s22@example.org", ip="2001:db8:0:2::1")
    assert 0 < refused.value.retry_after <= 86_400
    with at(START + timedelta(hours=1)):
        ask(database, mails)
    assert mails[-1][0] == "ana@example.org"


def test_preferences_change_by_token_only(database, mails):
    with database.writing() as session:
        session.add(TopicRow(id="long-context", title="Long context", query="long context"))
    for cadence in ("daily", "weekly"):
        ask(database, mails, preferences=Preferences(cadence=cadence))
        confirm(database, token_in(mails[-1][2]))
    daily, weekly = (unsubscribe_token(SECRET, one.seed) for one in subscriptions(database))
    wanted = Preferences(topics=("long-context",), query="  sparse \n attention ", hour=0, zone="Asia/Kolkata")
    changed = change(database, daily, wanted)
    assert preferences_of(database, daily) == changed.preferences
    assert changed.preferences.query == "sparse attention"
    with pytest.raises(InputError, match="has a weekly digest already"):
        change(database, daily, Preferences(cadence="weekly"))
    with pytest.raises(InputError, match="No topic is called"):
        change(database, weekly, Preferences(topics=("nothing",)))
    with pytest.raises(InputError, match="no subscription"):
        change(database, "x" * 43, Preferences())
    assert preferences_of(database, "x") is None


def test_a_suppressed_address_is_told_the_same_and_sent_nothing(database, mails):
    ask(database, mails)
    confirm(database, token_in(mails[0][2]))
    with database.writing() as session:
        suppress(session, "ana@example.org", "complained")
    assert states(database) == {"complained": 1}
    assert ask(database, mails) == ANSWER
    assert len(mails) == 1
    with database.writing() as session:
        assert lift(session, "ana@example.org")
        assert not lift(session, "ana@example.org")
    ask(database, mails, "ANA@example.org")
    assert len(mails) == 2


@pytest.mark.parametrize("reason", ["bounced", "complained"])
def test_who_was_lifted_can_subscribe_again(database, mails, reason):
    ask(database, mails)
    confirm(database, token_in(mails[0][2]))
    with database.writing() as session:
        suppress(session, "ana@example.org", reason)
        session.scalars(select(SubscriptionRow)).one().soft_bounces = 3
    with database.writing() as session:
        assert lift(session, "ana@example.org")
    [one] = subscriptions(database)
    assert (one.state, one.soft_bounces) == ("unsubscribed", 0)
    ask(database, mails)
    assert confirm(database, token_in(mails[1][2])).state == "confirmed"


def test_who_was_lifted_before_that_helped_is_lifted_again(database, mails):
    ask(database, mails)
    with database.writing() as session:
        session.scalars(select(SubscriptionRow)).one().state = "bounced"  # and is not suppressed any more
        assert lift(session, "ana@example.org")
    assert states(database) == {"unsubscribed": 1}


@pytest.mark.parametrize(
    ("given_preferences", "said"),
    [
        ({"cadence": "hourly"}, "daily, weekly, monthly"),
        ({"hour": 24}, "0 to 23"),
        ({"zone": "Mars/Olympus"}, "No time zone"),
        ({"zone": "../../etc/passwd"}, "No time zone"),
        ({"zone": "America"}, "No time zone"),
        ({"zone": ""}, "No time zone"),
        ({"query": "x" * 201}, "200 characters"),
        ({"topics": ("t",) * 21}, "at most 20 topics"),
    ],
)
def test_preferences_that_cannot_be_are_refused(given_preferences, said):
    with pytest.raises(InputError, match=said):
        Preferences(**given_preferences)


def test_a_deleted_address_keeps_no_row(database, mails):
    ask(database, mails)
    with database.writing() as session:
        session.delete(session.scalars(select(SubscriptionRow)).one())
    assert subscriptions(database) == []
