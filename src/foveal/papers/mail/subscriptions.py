"""Who gets the digest: asked for twice, changed and left by anybody who holds the token of a message.

    subscribe(database, secret, "ana@example.org", Preferences(), deliver=post, links=links, ip=…)   # -> ANSWER
    peek(database, token); confirm(database, token, ip=…)                # a page with a button; the button
    unsubscribe(database, token)                                         # as often as one likes
    preferences_of(database, token); change(database, token, Preferences(…))

States     unconfirmed -> confirmed -> unsubscribed (-> confirmed again), bounced, complained (-> unsubscribed: `lift`)
Neutral    `subscribe` says the same whoever the address belongs to, and a mail goes to the address alone
Tokens     32 random bytes, kept as a hash. One that confirms lasts 48 hours; pressing twice does no harm, and after
           leaving it is of no use. An unconfirmed row is forgotten 7 days after it was last asked for
Limits     5 mails an hour to one address (more are not sent), 20 requests a day from one IP (TooMany)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from foveal import faults
from foveal.database import Database, rows_changed
from foveal.errors import InputError
from foveal.papers.mail.links import Links
from foveal.papers.mail.schedule import CADENCES, CHANGES, NO_DIGESTS, REPLIES, zone_of
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail_addresses import canonical
from foveal.papers.paper_filters import parse
from foveal.papers.people_schema import DeliveryRow, SubscriptionRow, SuppressedRow
from foveal.papers.rate_limits import Limit, network_of, take, taken
from foveal.papers.schema import TopicRow
from foveal.papers.secrets import hash_of, new_token

Deliver = Callable[[str, str, str], None]
"""Sends a mail: address, subject, text."""

ANSWER = (
    "Thank you. If mail may be sent to this address, one is on its way; open the link in it to confirm. "
    "Nothing else is sent before that."
)
CONSENT = "Send me the Daily Papers digest by e-mail ({cadence}), until I unsubscribe."
CONSENT_CHANGES = "Mail me what changes in the answers to questions that I watch, until I unsubscribe."
CONFIRM_WITHIN = timedelta(hours=48)
FORGET_AFTER = timedelta(days=7)
MOST_TOPICS, MOST_QUERY = 20, 200

MAILS_TO = Limit(name="subscribe-address", most=5, seconds=3_600, what="mails were asked for to this address")
ASKED_FROM = Limit(name="subscribe-ip", most=20, seconds=86_400, what="subscriptions were asked for from here")


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """What somebody wants. Without topics and query: what trends."""

    cadence: str = "daily"  # daily (weekdays), weekly (Mondays), monthly (the first day)
    topics: tuple[str, ...] = ()  # names of topics (PaperStore.topics)
    query: str = ""
    hour: int = 8  # local, 0 to 23
    zone: str = "UTC"  # an IANA name such as Europe/Paris

    def __post_init__(self) -> None:
        if self.cadence not in (*CADENCES, *NO_DIGESTS):
            raise InputError(f"No cadence is called {self.cadence[:20]!r}. There are: {', '.join(CADENCES)}.")
        if not 0 <= self.hour <= 23:
            raise InputError(f"The hour got {self.hour}; it needs 0 to 23.")
        if len(self.topics) > MOST_TOPICS or len(self.query) > MOST_QUERY:
            raise InputError(
                f"A digest has at most {MOST_TOPICS} topics and a search of {MOST_QUERY} characters; these are "
                f"{len(self.topics)} and {len(self.query)}."
            )
        zone_of(self.zone)


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """A subscription as it is kept."""

    id: int
    address: str
    person_id: int | None
    preferences: Preferences
    state: str
    seed: str
    created_at: datetime
    consent_at: datetime | None
    consent_ip: str
    consent_text: str
    soft_bounces: int
    ended_at: datetime | None

    @property
    def what(self) -> str:
        """ "the daily digest", "mails about answers", "mails about watched questions"."""
        return what_of(self.preferences.cadence)


ANY = Preferences()


def what_of(cadence: str) -> str:
    """What a subscription of a cadence brings, for people."""
    others = {REPLIES: "mails about answers", CHANGES: "mails about watched questions"}
    return others.get(cadence, f"the {cadence} digest")


def consent_of(cadence: str) -> str:
    """What somebody agrees to who confirms a subscription of a cadence."""
    return CONSENT_CHANGES if cadence == CHANGES else CONSENT.format(cadence=cadence)


def subscribe(
    database: Database,
    secret: bytes,
    address: str,
    preferences: Preferences = ANY,
    *,
    deliver: Deliver,
    links: Links,
    ip: str = "",
    sharing: int = 1,
    person_id: int | None = None,
    kinds: Sequence[str] = CADENCES,
) -> str:
    """Ask for the digest; the answer is always the same. InputError: no address, or no such
    search. TooMany: too often from this IP.

    `person_id` is that of a person who is signed in with this very address; `kinds` are the cadences that may be asked
    for here; `sharing` people may come from `ip`.
    """
    key = canonical(address)
    _check(preferences, kinds)
    if ip:
        take(database, ASKED_FROM.times(sharing), network_of(ip))
    with database.writing() as session:
        check_topics(session, preferences)
        send = taken(session, MAILS_TO, key, faults.now()) and session.get(SuppressedRow, key) is None
        row = _row_of(session, secret, key, preferences)
        if person_id is not None:
            row.person_id = person_id
        token = ""
        if send and row.state != "confirmed":
            token = new_token()
            row.confirm_hash, row.confirm_expires_at = hash_of(token), faults.now() + CONFIRM_WITHIN
    if send:
        deliver(key, *_words(row, token, unsubscribe_token(secret, row.seed), links))
    return ANSWER


def peek(database: Database, token: str) -> Subscription | None:
    """What the token would confirm, None if it is used up or never was one; changes nothing."""
    with database.reading() as session:
        row = session.scalar(select(SubscriptionRow).where(_confirmable(token)))
        return subscription_of(row) if row else None


def confirm(database: Database, token: str, *, ip: str = "") -> Subscription:
    """Begin the subscription; only for a request that a person made by a button. InputError: used up, or too old."""
    with database.writing() as session:
        row = session.scalar(select(SubscriptionRow).where(_confirmable(token)))
        if row is None:
            raise InputError("This link was used, or is older than 48 hours. Subscribe again to get a new one.")
        if row.state != "confirmed":
            row.state, row.ended_at, row.soft_bounces = "confirmed", None, 0
            row.consent_at, row.consent_ip = faults.now(), ip[:45]
            row.consent_text = consent_of(row.cadence)
        return subscription_of(row)


def peek_unsubscribe(database: Database, token: str) -> Subscription | None:
    """Whose token of a message this is, None if nobody's; changes nothing."""
    with database.reading() as session:
        row = session.scalar(select(SubscriptionRow).where(SubscriptionRow.unsubscribe_hash == hash_of(token)))
        return subscription_of(row) if row else None


def unsubscribe(database: Database, token: str) -> Subscription | None:
    """End the subscription at once, as often as it is asked for; None: the token is nobody's.

    What is queued for it is not sent. Needs no sign-in, cookie or form token: mail providers post to it (RFC 8058).
    """
    with database.writing() as session:
        row = session.scalar(select(SubscriptionRow).where(SubscriptionRow.unsubscribe_hash == hash_of(token)))
        if row is None:
            return None
        if row.state in ("confirmed", "unconfirmed"):
            end(session, row, "unsubscribed")
        return subscription_of(row)


def preferences_of(database: Database, token: str) -> Preferences | None:
    """What the holder of a message's token gets; None: the token is nobody's."""
    found = peek_unsubscribe(database, token)
    return found.preferences if found else None


def change(database: Database, token: str, preferences: Preferences) -> Subscription:
    """Give a subscription other preferences. InputError: nobody's token, no such topic or search, or two of a
    kind."""
    with database.writing() as session:
        row = session.scalar(select(SubscriptionRow).where(SubscriptionRow.unsubscribe_hash == hash_of(token)))
        if row is None:
            raise InputError("This link belongs to no subscription. Take the one of your last message.")
        if row.cadence in NO_DIGESTS:
            what = what_of(row.cadence).capitalize()
            raise InputError(f"{what} come or do not: there is nothing to choose of them but to leave.")
        _check(preferences)
        check_topics(session, preferences)
        same = select(SubscriptionRow.id).where(
            SubscriptionRow.address_key == row.address_key, SubscriptionRow.cadence == preferences.cadence
        )
        if session.scalar(same.where(SubscriptionRow.id != row.id)) is not None:
            raise InputError(
                f"This address has a {preferences.cadence} digest already. Leave that one, or choose another."
            )
        _prefer(row, preferences)
        return subscription_of(row)


def end(session: Session, row: SubscriptionRow, state: str) -> None:
    """Set an ended state, and take back what is queued."""
    row.state, row.ended_at = state, faults.now()
    row.confirm_hash, row.confirm_expires_at = "", None
    waiting = update(DeliveryRow).where(DeliveryRow.subscription_id == row.id, DeliveryRow.state == "queued")
    session.execute(waiting.values(state="suppressed", smtp_text=state))


def suppress(session: Session, address_key: str, reason: str) -> bool:
    """Never write to an address again, and end its subscriptions: reason is bounced, complained or asked.

    False: it was suppressed before, for the reason it had then.
    """
    new = session.get(SuppressedRow, address_key) is None
    if new:
        session.add(SuppressedRow(address_key=address_key, reason=reason))
    state = "unsubscribed" if reason == "asked" else reason
    for row in session.scalars(select(SubscriptionRow).where(SubscriptionRow.address_key == address_key)):
        if row.state in ("confirmed", "unconfirmed"):
            end(session, row, state)
    return new


def lift(session: Session, address_key: str) -> bool:
    """Let an address be written to again; it must subscribe anew, and can. False: it was not suppressed."""
    barred = rows_changed(session, delete(SuppressedRow).where(SuppressedRow.address_key == address_key))
    ended = update(SubscriptionRow).where(
        SubscriptionRow.address_key == address_key, SubscriptionRow.state.in_(("bounced", "complained"))
    )
    return barred + rows_changed(session, ended.values(state="unsubscribed", soft_bounces=0)) > 0


def forget_unconfirmed(database: Database) -> int:
    """Drop what was asked for and not confirmed within 7 days; how many."""
    edge = faults.now() - (FORGET_AFTER - CONFIRM_WITHIN)
    old = (SubscriptionRow.confirm_expires_at < edge) | (
        SubscriptionRow.confirm_expires_at.is_(None) & (SubscriptionRow.created_at < faults.now() - FORGET_AFTER)
    )
    with database.writing() as session:
        return rows_changed(session, delete(SubscriptionRow).where(SubscriptionRow.state == "unconfirmed", old))


def subscriptions(database: Database, *, state: str | None = None, address: str | None = None) -> list[Subscription]:
    """All of them, or those in a state or of an address, in the order in which they came."""
    wanted = select(SubscriptionRow).order_by(SubscriptionRow.id)
    if state is not None:
        wanted = wanted.where(SubscriptionRow.state == state)
    if address is not None:
        wanted = wanted.where(SubscriptionRow.address_key == canonical(address))
    with database.reading() as session:
        return [subscription_of(row) for row in session.scalars(wanted)]


def states(database: Database) -> dict[str, int]:
    """State -> number of subscriptions."""
    counted = select(SubscriptionRow.state, func.count()).group_by(SubscriptionRow.state)
    with database.reading() as session:
        return {row[0]: row[1] for row in session.execute(counted)}


def subscription_of(row: SubscriptionRow) -> Subscription:
    """The row as a value."""
    kept = {name: getattr(row, name) for name in Subscription.__dataclass_fields__ if name != "preferences"}
    topics = tuple(row.topics.splitlines())
    wanted = Preferences(cadence=row.cadence, topics=topics, query=row.query, hour=row.hour, zone=row.zone)
    return Subscription(preferences=wanted, **kept)


def _row_of(session: Session, secret: bytes, key: str, preferences: Preferences) -> SubscriptionRow:
    """The row of that address and cadence, new where there is none. One that is in force stays as it is: anybody may
    type anybody's address."""
    same = (SubscriptionRow.address_key == key) & (SubscriptionRow.cadence == preferences.cadence)
    row = session.scalar(select(SubscriptionRow).where(same))
    if row is None:
        seed = secrets.token_hex(16)
        kept = hash_of(unsubscribe_token(secret, seed))
        row = SubscriptionRow(address=key, address_key=key, seed=seed, unsubscribe_hash=kept)
        _prefer(row, preferences)
        session.add(row)
        session.flush()
    elif row.state in ("unconfirmed", "unsubscribed"):
        _prefer(row, preferences)
    return row


def _prefer(row: SubscriptionRow, preferences: Preferences) -> None:
    row.cadence, row.hour, row.zone = preferences.cadence, preferences.hour, preferences.zone
    row.topics, row.query = "\n".join(preferences.topics), " ".join(preferences.query.split())


def check_topics(session: Session, preferences: Preferences) -> None:
    """InputError: one of the topics is not here."""
    there = set(session.scalars(select(TopicRow.id).where(TopicRow.id.in_(preferences.topics))))
    for topic in preferences.topics:
        if topic not in there:
            raise InputError(f"No topic is called {topic[:80]!r}. `foveal papers topics` lists them.")


def _check(preferences: Preferences, kinds: Sequence[str] = CADENCES) -> None:
    """InputError: that cadence is not asked for here, or a filter of the search is none."""
    parse(preferences.query)
    if preferences.cadence not in kinds:
        raise InputError(f"No digest is {preferences.cadence}. There are: {', '.join(CADENCES)}.")


def _confirmable(token: str) -> Any:
    return (
        (SubscriptionRow.confirm_hash == hash_of(token))
        & (SubscriptionRow.confirm_expires_at >= faults.now())
        & SubscriptionRow.state.in_(("unconfirmed", "unsubscribed", "confirmed"))
    )


def _words(row: SubscriptionRow, token: str, own: str, links: Links) -> tuple[str, str]:
    """Subject and text of the mail that a request is answered with."""
    what = f"{what_of(row.cadence)} of Daily Papers"
    if not token:
        more = "" if row.cadence in NO_DIGESTS else f"Topics, hour and how often:\n{links.preferences(own)}\n\n"
        return (
            "You are subscribed to Daily Papers",
            f"Somebody asked to send {what} to this address. It is sent already; nothing has changed.\n\n"
            f"{more}Leave:\n{links.unsubscribe(own)}\n",
        )
    # nobody's own words: anybody may type anybody's address, and the mail would carry them there in our name
    wanted = "".join(
        f"- {one}\n" for one in (*row.topics.splitlines(), *(["a search of your own"] if row.query else ()))
    )
    return (
        "Confirm your subscription to Daily Papers",
        f"Somebody, probably you, asked to send {what} to this address.\n\n{wanted and wanted + chr(10)}"
        f"To begin, open this page and press the button within 48 hours:\n{links.confirm(token)}\n\n"
        "If it was not you, do nothing: no more mail comes, and the address is forgotten after a week.\n",
    )
