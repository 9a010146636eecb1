"""The tables of people: how they sign in, what they follow, what they are sent, and what was done to whom.

    person ── session_key, api_token, login_link, follow, read_mark, mute, claim, comment_vote, feed_key, complaint
           └─ addition (documents that they put into the library)
    closed_discussion (papers that take no more remarks)
    subscription (an address that asked) ── delivery ── digest_run (one per cadence and period)
                                            └─ delivery_paper (what was in it)
    suppressed (addresses that are never written to again), audit (who did what to what), bucket (rate limits)

Secrets that are sent out (links, cookies, tokens of programs and of mails) are kept as SHA-256 only: whoever reads the
database can use none of them.
"""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from foveal.database import Base, Moment
from foveal.papers.schema import now


class LoginLinkRow(Base):
    """A link that was mailed to sign in; it works once, for 15 minutes, and only by POST."""

    __tablename__ = "login_link"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    expires_at: Mapped[datetime] = mapped_column(Moment)
    used_at: Mapped[datetime | None] = mapped_column(Moment)
    next_path: Mapped[str] = mapped_column(Text, default="/")
    ip: Mapped[str] = mapped_column(String(45), default="")
    browser_hash: Mapped[str] = mapped_column(String(64), default="")  # of the one that asked for it


class SessionRow(Base):
    """A browser in which somebody is signed in."""

    __tablename__ = "session_key"

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    seen_at: Mapped[datetime] = mapped_column(Moment, default=now)
    expires_at: Mapped[datetime] = mapped_column(Moment)
    agent: Mapped[str] = mapped_column(String(200), default="")
    ip: Mapped[str] = mapped_column(String(45), default="")


class TokenRow(Base):
    """What a program sends to be somebody; `begins` is what its owner knows it by."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(60))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    begins: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    expires_at: Mapped[datetime] = mapped_column(Moment)
    seen_at: Mapped[datetime | None] = mapped_column(Moment)


class AdditionRow(Base):
    """Who put a document into the library, and when, as the library says it: of another time it is another's."""

    __tablename__ = "addition"

    document_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    added_at: Mapped[datetime] = mapped_column(Moment)


class FollowRow(Base):
    """What a person follows (a topic, author, organisation, category or query): a feed, and a section of the mail."""

    __tablename__ = "follow"

    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[str] = mapped_column(String(200), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)


class ReadMarkRow(Base):
    """A paper that a person has read, or wants out of sight."""

    __tablename__ = "read_mark"

    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), primary_key=True)
    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True, index=True)
    at: Mapped[datetime] = mapped_column(Moment, default=now)


class MuteRow(Base):
    """Words whose papers a person does not want to see."""

    __tablename__ = "mute"

    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), primary_key=True)
    words: Mapped[str] = mapped_column(String(120), primary_key=True)


class FeedKeyRow(Base):
    """Which secret address a person's feed has: the next `version` makes the one before useless.

    Of a new person it is drawn; whoever has no row is of before that, and has version 1.
    """

    __tablename__ = "feed_key"

    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(default=1)


class CommentVoteRow(Base):
    """One person's word on a remark: `value` is 1 (helps) or -1 (does not)."""

    __tablename__ = "comment_vote"

    comment_id: Mapped[int] = mapped_column(ForeignKey("comment.id", ondelete="CASCADE"), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), primary_key=True, index=True)
    value: Mapped[int]
    at: Mapped[datetime] = mapped_column(Moment, default=now)


class ClosedDiscussionRow(Base):
    """A paper that takes no more remarks."""

    __tablename__ = "closed_discussion"

    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    closed_at: Mapped[datetime] = mapped_column(Moment, default=now)
    closed_by: Mapped[str] = mapped_column(String(80), default="")


class ClaimRow(Base):
    """A person who says to be an author; `state` is open, granted or refused."""

    __tablename__ = "claim"

    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), primary_key=True, index=True)
    position: Mapped[int]  # of the author
    state: Mapped[str] = mapped_column(String(20), default="open")
    reason: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    decided_at: Mapped[datetime | None] = mapped_column(Moment)


class ComplaintRow(Base):
    """What somebody thinks that moderators should look at: a paper, a remark, or the note that stands beside a paper in
    a collection (then both are named). Undecided, it waits."""

    __tablename__ = "complaint"

    id: Mapped[int] = mapped_column(primary_key=True)
    paper_id: Mapped[str | None] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), index=True)
    comment_id: Mapped[int | None] = mapped_column(ForeignKey("comment.id", ondelete="CASCADE"), index=True)
    collection_id: Mapped[int | None] = mapped_column(ForeignKey("collection.id", ondelete="CASCADE"), index=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    decided_at: Mapped[datetime | None] = mapped_column(Moment, index=True)


class SubscriptionRow(Base):
    """An address that asked for the digest; `state` is unconfirmed, confirmed, unsubscribed, bounced or complained.

    `address_key` is the address with its domain in lower case: what makes two of them one. `topics` and `query` are
    what the person chose: topics by name, separated by line breaks, and a search. `seed` is random; with the home's
    secret it makes the token in every mail, of which only the hash is here.
    """

    __tablename__ = "subscription"
    __table_args__ = (UniqueConstraint("address_key", "cadence"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(String(320))
    address_key: Mapped[str] = mapped_column(String(320), index=True)
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id", ondelete="SET NULL"), index=True)
    cadence: Mapped[str] = mapped_column(String(10), default="daily")  # daily (weekdays), weekly, monthly
    topics: Mapped[str] = mapped_column(Text, default="")
    query: Mapped[str] = mapped_column(Text, default="")
    hour: Mapped[int] = mapped_column(default=8)  # local
    zone: Mapped[str] = mapped_column(String(60), default="UTC")
    state: Mapped[str] = mapped_column(String(20), default="unconfirmed", index=True)
    confirm_hash: Mapped[str] = mapped_column(String(64), default="", index=True)
    confirm_expires_at: Mapped[datetime | None] = mapped_column(Moment)
    seed: Mapped[str] = mapped_column(String(32))
    unsubscribe_hash: Mapped[str] = mapped_column(String(64), unique=True)
    consent_at: Mapped[datetime | None] = mapped_column(Moment)
    consent_ip: Mapped[str] = mapped_column(String(45), default="")
    consent_text: Mapped[str] = mapped_column(Text, default="")
    soft_bounces: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)


class DigestRunRow(Base):
    """One digest of a period: made once, however often it is asked for."""

    __tablename__ = "digest_run"
    __table_args__ = (UniqueConstraint("cadence", "period"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    cadence: Mapped[str] = mapped_column(String(10))
    period: Mapped[str] = mapped_column(String(10))  # 2026-10-02, 2026-W40, 2026-10
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    finished_at: Mapped[datetime | None] = mapped_column(Moment)


class DeliveryRow(Base):
    """One message to one subscriber; `state` is queued, sending, sent, failed, suppressed, unknown or empty.

    unknown: the server may have taken it, and nobody lived to write that down. empty: there was nothing new to send.
    How long it is kept: mail/sent.py.
    """

    __tablename__ = "delivery"
    __table_args__ = (UniqueConstraint("run_id", "subscription_id"), Index("ix_delivery_state_due", "state", "due_at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("digest_run.id", ondelete="CASCADE"))
    subscription_id: Mapped[int] = mapped_column(ForeignKey("subscription.id", ondelete="CASCADE"), index=True)
    state: Mapped[str] = mapped_column(String(12), default="queued")
    message_id: Mapped[str] = mapped_column(String(200), default="", index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    doubts: Mapped[int] = mapped_column(default=0)  # times that it was left unknown
    due_at: Mapped[datetime] = mapped_column(Moment, default=now)
    claimed_at: Mapped[datetime | None] = mapped_column(Moment)
    sender: Mapped[str] = mapped_column(String(80), default="")
    sent_at: Mapped[datetime | None] = mapped_column(Moment)
    smtp_code: Mapped[int | None]
    smtp_text: Mapped[str] = mapped_column(Text, default="")


class DeliveryPaperRow(Base):
    """A paper of a message, under which heading and why: fixed when the message is queued.

    `paper_id` is no foreign key: what somebody was sent is remembered when a paper goes, so that it is not sent again.
    """

    __tablename__ = "delivery_paper"

    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    paper_id: Mapped[str] = mapped_column(String(64))
    section: Mapped[str] = mapped_column(Text)
    why: Mapped[str] = mapped_column(Text, default="")


class SuppressedRow(Base):
    """An address that is not written to any more; `reason` is bounced, complained or asked."""

    __tablename__ = "suppressed"

    address_key: Mapped[str] = mapped_column(String(320), primary_key=True)
    reason: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime] = mapped_column(Moment, default=now)


class NoteRow(Base):
    """What a mail about something of the reader's own says (mail/changes.py): written down once, so that a second try
    says the same."""

    __tablename__ = "mail_note"

    id: Mapped[int] = mapped_column(primary_key=True)
    subscription_id: Mapped[int] = mapped_column(ForeignKey("subscription.id", ondelete="CASCADE"), index=True)
    content: Mapped[str] = mapped_column(Text)  # JSON
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)


class AuditRow(Base):
    """Something that a person with a role, or the system, did to somebody's words or rights."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(Moment, default=now, index=True)
    actor: Mapped[str] = mapped_column(String(80))  # a login, or "system"
    action: Mapped[str] = mapped_column(String(40))
    target: Mapped[str] = mapped_column(String(200))
    detail: Mapped[str] = mapped_column(Text, default="")


class BucketRow(Base):
    """How much of a rate limit is left: `key` is the limit's name and whose it is."""

    __tablename__ = "bucket"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    left: Mapped[float]
    at: Mapped[datetime] = mapped_column(Moment)


class MailDayRow(Base):
    """Messages sent on a day, by what became of them: the digest's history in numbers, kept when people are deleted."""

    __tablename__ = "mail_day"

    day: Mapped[date] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(12), primary_key=True)
    messages: Mapped[int] = mapped_column(default=0)
