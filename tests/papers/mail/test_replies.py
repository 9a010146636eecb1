"""Mails about answers: to those who asked, once, by the digest's machine; not what is muted, hidden or too much."""

from __future__ import annotations

import email
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.policy import default
from typing import Any

import pytest
from members import member
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from foveal import faults
from foveal.database import Database
from foveal.errors import InputError, NotAllowed
from foveal.papers import accounts, discussion, follows, moderation, personal_data, removing
from foveal.papers.accounts import Person
from foveal.papers.mail import replies, subscriptions
from foveal.papers.mail.delivery import counts
from foveal.papers.mail.links import Links
from foveal.papers.mail.replies import BY_ONE, CONSENT, TO_ONE, queue_replies, wants_replies, wish
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail.subscriptions import Preferences, subscribe, suppress, unsubscribe
from foveal.papers.people_schema import DeliveryRow, SubscriptionRow

NOW = datetime(2026, 10, 3, 12, tzinfo=UTC)  # a Saturday: no digest is due
PAPER, ELSE = "2610.00000", "2610.00001"


@pytest.fixture
def clock():
    """A noon that passes when the test says so."""
    held = {"now": NOW}
    with faults.injected({}, clock=lambda: held["now"]):
        yield lambda **after: held.update(now=NOW + timedelta(**after))


class Talk:
    """Ana, who wants mails, Bo, who answers her, and what comes out of the site."""

    def __init__(self, site: Any, clock: Callable[..., None]) -> None:
        self.site, self.clock = site, clock
        self.database: Database = site.database
        self.ana, self.bo = member(self.database, "ana"), member(self.database, "bo")
        wish(self.database, site.secret, self.ana, on=True, ip="::1")
        self.first = self.say(self.ana, "Looking is *cheap*.")

    def say(self, who: Person, text: str, parent: int | None = None) -> int:
        return discussion.remark(self.database, who, PAPER, text, parent=parent)

    def mails(self, minutes: float = 6) -> list[Any]:
        """What is sent at the next look."""
        self.clock(minutes=minutes)
        before = len(self.site.server.taken)
        self.site.tick(everybody=False)
        return [email.message_from_bytes(one.raw, policy=default) for one in self.site.server.taken[before:]]

    def states(self) -> list[tuple[str, str]]:
        with self.database.reading() as session:
            rows = session.scalars(select(DeliveryRow).order_by(DeliveryRow.id))
            return [(row.state, row.smtp_text if row.state != "sent" else "") for row in rows]


@pytest.fixture
def talk(make_site, clock) -> Talk:
    return Talk(make_site(), clock)


def test_an_answer_is_mailed_once_with_all_that_a_list_needs(talk):
    talk.say(talk.bo, "Is it? <b>See</b> $O(n)$.\nAnd more.", parent=talk.first)
    assert talk.mails(1) == []  # it may still be mended
    (mail,) = talk.mails()
    assert mail["To"] == "ana@example.org"
    assert mail["Subject"] == "bo answered you: Where to Look When Everything Is Text"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Auto-Submitted"] == "auto-generated"
    text, html = (part.get_content().replace("\r\n", "\n") for part in mail.iter_parts())
    for part in (text, html):
        assert "Looking is *cheap*." in part
        assert "/remarks/2" in part
        assert "1 Main Street" in part
    assert "> Is it? <b>See</b> $O(n)$.\n> And more." in text
    assert "&lt;b&gt;See&lt;/b&gt;" in html
    assert "<img" not in html
    assert talk.mails(10) == talk.mails(60) == []
    assert counts(talk.database) == {("replies", ""): {"sent": 1}}


def test_a_dry_run_shows_answers_and_keeps_nothing(talk, tmp_path):
    from foveal.bench.mail_data import composer
    from foveal.papers.mail.morning import dry_run
    from foveal.papers.people_schema import BucketRow

    def tried() -> list[Any]:
        return dry_run(talk.site.outbox(), composer(talk.database, faults.now()), tmp_path / "out")

    talk.say(talk.bo, "Is it?", parent=talk.first)
    assert tried() == []  # it may still be mended
    talk.clock(minutes=6)
    with talk.database.reading() as session:
        before = session.scalars(select(BucketRow.key)).all()
    (path,) = tried()
    with talk.database.reading() as session:
        assert session.scalars(select(BucketRow.key)).all() == before
    assert (path.name, talk.states()) == ("replies-2-1.eml", [])
    (mail,) = talk.mails()
    assert path.read_bytes() == talk.site.server.taken[0].raw
    assert mail["Subject"].startswith("bo answered you")


def test_of_two_that_queue_an_answer_one_does_and_a_mistake_is_no_quicker_process(talk):
    first, second = (talk.say(talk.bo, said, parent=talk.first) for said in ("Is it?", "Really?"))
    outbox = talk.site.outbox()
    assert [replies._queue(outbox, first, NOW) for _ in range(2)] == [True, False]
    with talk.database.writing() as session:
        session.execute(text("CREATE TRIGGER no BEFORE INSERT ON delivery BEGIN SELECT RAISE(ABORT, 'never'); END"))
    with pytest.raises(IntegrityError, match="never"):
        replies._queue(outbox, second, NOW)
    with talk.database.writing() as session:
        session.execute(text("DROP TRIGGER no"))
    assert queue_replies(outbox, now=NOW) == 1
    assert talk.states() == [("queued", "")] * 2


def test_only_answers_by_others_to_those_who_asked(talk):
    own = talk.say(talk.ana, "I add this.", parent=talk.first)
    bos = talk.say(talk.bo, "A remark of mine.")
    talk.say(talk.ana, "An answer to somebody who did not ask.", parent=bos)
    talk.say(talk.bo, "An answer to the second remark.", parent=own)
    assert len(talk.mails()) == 1


def test_what_was_said_before_the_wish_or_long_ago_is_not_mailed(talk):
    wish(talk.database, talk.site.secret, talk.ana, on=False)
    talk.say(talk.bo, "While she did not want any.", parent=talk.first)
    talk.clock(minutes=1)
    wish(talk.database, talk.site.secret, talk.ana, on=True)
    assert talk.mails() == []
    talk.say(talk.bo, "Now, but nobody sent mail for two days.", parent=talk.first)
    assert talk.mails(minutes=3 * 1440) == []


@pytest.mark.parametrize("words", ["@bo", "cheap talk", "everything is text"])
def test_muted_words_and_people_are_not_mailed(talk, words):
    follows.mute(talk.database, talk.ana, words)
    talk.say(talk.bo, "This is cheap talk.", parent=talk.first)
    assert talk.mails() == []
    assert talk.states() == [("suppressed", "muted")]
    follows.mute(talk.database, talk.ana, words, on=False)
    assert talk.mails(10) == []  # not later either


@pytest.mark.parametrize("how", ["deleted", "hidden", "question deleted", "account deleted"])
def test_what_is_gone_before_it_is_sent_is_not_sent(talk, how):
    answer = talk.say(talk.bo, "I take this back.", parent=talk.first)
    assert queue_replies(talk.site.outbox(), now=faults.now()) == 1
    if how == "deleted":
        discussion.delete(talk.database, talk.bo, answer)
    elif how == "hidden":
        moderation.hide(talk.database, answer, by=member(talk.database, "mo", "moderator"))
    elif how == "question deleted":
        discussion.delete(talk.database, talk.ana, talk.first)
    else:
        personal_data.erase(talk.database, talk.bo)
    assert talk.mails() == []
    assert talk.states() == [("empty", "what it was about is gone")]


def test_an_answer_on_a_paper_that_is_removed_is_taken_for_no_later_one(talk):
    """SQLite numbers the next remarks as it did the last ones, which went with their paper."""
    talk.say(talk.bo, "An answer to Ana", parent=talk.first)
    queue_replies(talk.site.outbox(), now=NOW)
    removing.remove(talk.database, PAPER)
    cy = member(talk.database, "cy")
    wish(talk.database, talk.site.secret, cy, on=True, ip="::1")
    said = discussion.remark(talk.database, cy, ELSE, "Of another paper")  # numbered as Ana's was
    discussion.remark(talk.database, talk.bo, ELSE, "An answer to Cy", parent=said)
    assert [mail["To"] for mail in talk.mails()] == ["cy@example.org"]


def test_one_click_ends_this_kind_alone(talk):
    subscribed(talk, "ana@example.org")
    talk.say(talk.bo, "One.", parent=talk.first)
    (mail,) = talk.mails()
    token = mail["List-Unsubscribe"].split("/u/")[1].split(">")[0]
    talk.say(talk.bo, "Two.", parent=talk.first)
    queue_replies(talk.site.outbox(), now=faults.now())
    assert unsubscribe(talk.database, token).what == "mails about answers"
    assert unsubscribe(talk.database, token).state == "unsubscribed"
    assert talk.mails(60) == []
    assert talk.states()[-1] == ("suppressed", "unsubscribed")
    assert not wants_replies(talk.database, talk.ana)
    digests = {one.preferences.cadence: one.state for one in subscriptions.subscriptions(talk.database)}
    assert digests == {"replies": "unsubscribed", "daily": "confirmed"}


def test_a_flood_by_one_person_and_by_many_is_cut_off(talk, monkeypatch):
    from foveal.papers.rate_limits import Limit

    for number in range(BY_ONE.most + 2):
        talk.say(talk.bo, f"Again {number}", parent=talk.first)
    assert len(talk.mails()) == BY_ONE.most
    assert talk.states()[-2:] == [("suppressed", "too many in an hour")] * 2
    assert TO_ONE.most > BY_ONE.most
    few = Limit(name="few", most=1, seconds=3600, what="mails")
    monkeypatch.setattr("foveal.papers.mail.replies.TO_ONE", few)
    for login in ("cy", "di"):
        talk.say(member(talk.database, login), "Me, too.", parent=talk.first)
    assert len(talk.mails(12)) == 1


def test_an_address_that_bounced_or_is_not_verified_is_not_asked_again(talk):
    with talk.database.writing() as session:
        suppress(session, "ana@example.org", "bounced")
    assert not wants_replies(talk.database, talk.ana)
    with pytest.raises(InputError, match="came back"):
        wish(talk.database, talk.site.secret, talk.ana, on=True)
    accounts.add(talk.database, "new@example.org", login="newcomer")
    with pytest.raises(NotAllowed, match="verified"):
        wish(talk.database, talk.site.secret, accounts.find(talk.database, "newcomer"), on=True)


def test_the_wish_is_kept_with_its_words_and_goes_with_the_account(talk):
    with talk.database.reading() as session:
        row = session.scalars(select(SubscriptionRow)).one()
        assert (row.state, row.consent_text, row.consent_ip, row.consent_at) == ("confirmed", CONSENT, "::1", NOW)
    told = personal_data.export(talk.database, talk.ana)["subscriptions"]
    assert [one["cadence"] for one in told] == ["replies"]
    personal_data.erase(talk.database, talk.ana)
    assert subscriptions.subscriptions(talk.database) == []


def test_nobody_asks_for_them_by_the_form_of_the_digest(talk):
    post: Any = lambda *_: None  # noqa: E731
    with pytest.raises(InputError, match="No digest is replies"):
        subscribe(
            talk.database,
            b"s",
            "bo@example.org",
            Preferences(cadence="replies"),
            deliver=post,
            links=Links("https://x"),
        )
    one = subscriptions.subscriptions(talk.database)[0]
    token = unsubscribe_token(talk.site.secret, one.seed)
    with pytest.raises(InputError, match="nothing to choose"):
        subscriptions.change(talk.database, token, Preferences())


def subscribed(talk: Talk, address: str) -> None:
    from foveal.bench.mail_data import subscribe_and_confirm

    subscribe_and_confirm(talk.database, talk.site.secret, address, Preferences())
