"""Mails about answers: who wrote a remark and wants it hears of each answer, once, by the digest's own machine.

    wish(database, secret, ana, on=True, ip=…)          # /settings; nobody is asked for an address: it is verified
    queue_replies(outbox, now=…)                        # a delivery for each new answer; twice is as good as once
    new_replies(outbox, now=…)                          # what that would send, for a dry run
    reply_of(outbox, waiting)                           # the message, or None where there is nothing left to say

Wish       a subscription of the cadence "replies", so that one click of any such mail ends this kind and no other, and
           bounces and complaints end all of them
Which      answers of the last day to a remark of the person, said after the wish, by somebody else whose words are not
           hidden. Muted: words of /settings in the answer or the paper's title, and @login of who says it. None from
           before the last `sent.LAST` that are remembered: a clock that was ahead may have had older ones forgotten
Limits     20 in an hour to one person, 5 of them by the same one; what is above that is not mailed later either
Wait       5 minutes, in which an answer may be mended or taken back: what is mailed is what stands there then
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Integer, Select, String, cast, exists, func, select
from sqlalchemy.orm import Session, aliased

from foveal import faults
from foveal.database import Database, add_unless_taken
from foveal.papers.accounts import Person
from foveal.papers.follows import holds
from foveal.papers.mail import sent, wishes
from foveal.papers.mail.message import SITE, listed
from foveal.papers.mail.outbox import Outbox, Waiting
from foveal.papers.mail.schedule import REPLIES
from foveal.papers.mail.signing import message_id, unsubscribe_token
from foveal.papers.mail.subscriptions import subscription_of
from foveal.papers.people_schema import (
    DeliveryPaperRow,
    DeliveryRow,
    DigestRunRow,
    MuteRow,
    SubscriptionRow,
)
from foveal.papers.plain_titles import clipped, one_line, plain_tex
from foveal.papers.rate_limits import Limit, taken
from foveal.papers.schema import CommentRow, PaperRow, PersonRow

CONSENT = "Mail me when somebody answers what I said, until I unsubscribe."
SINCE, WAIT = timedelta(days=1), timedelta(minutes=5)
LONGEST = 2_000
"""Characters of an answer that a mail shows; the rest stands on the page."""

_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")

TO_ONE = Limit(name="reply-mail", most=20, seconds=3_600, what="mails about answers came to you")
BY_ONE = Limit(name="reply-mail-by", most=5, seconds=3_600, what="mails about one person's answers came to you")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer as a mail shows it: all plain text."""

    by: str
    paper: str
    text: str
    cut: bool
    said: str  # what was answered, its beginning
    url: str


def wants_replies(database: Database, person: Person) -> bool:
    """Whether the person is mailed about answers."""
    return wishes.wanted(database, person, REPLIES)


def wish(database: Database, secret: bytes, person: Person, *, on: bool, ip: str = "") -> None:
    """Be mailed about answers, or no longer. NotAllowed: the address is not verified, or must not be written to."""
    wishes.wish(database, secret, person, REPLIES, CONSENT, on=on, ip=ip)


def queue_replies(outbox: Outbox, *, now: datetime) -> int:
    """Queue a mail for each answer that nobody was told of yet; how many."""
    with outbox.database.reading() as session:
        new = _answers(session, now)
    return sum(_queue(outbox, one, now) for one in new)


def new_replies(outbox: Outbox, *, now: datetime) -> list[Waiting]:
    """What `queue_replies` would queue, and `send` then send at once; nothing is kept, limits neither."""
    found: list[Waiting] = []
    with outbox.database.writing() as session:
        for answer in _answers(session, now):
            row, wished = _to_whom(session, answer)
            if wished and not _kept_back(session, row, wished, now) and row.created_at + WAIT <= now:
                name, reader = _name(outbox, answer, wished), subscription_of(wished)
                found.append(Waiting(0, name, reader, REPLIES, None, (), about=str(answer)))
        session.rollback()
    return found


def reply_of(outbox: Outbox, one: Waiting) -> bytes | None:
    """The message about an answer; None where it was taken back, hidden, or what it answers is gone."""
    with outbox.database.reading() as session:
        found = _reply(session, outbox, int(one.about))
    if found is None:
        return None
    token = unsubscribe_token(outbox.secret, one.subscription.seed)
    to = one.subscription.address
    words = {
        "reply": found,
        "why": f"You get this because {to} wants to hear of answers on {SITE}.",
        "ways": (("Send no more of these", outbox.links.unsubscribe(token)),),
    }
    return listed(
        "reply",
        words,
        subject=f"{found.by} answered you: {clipped(found.paper, 80)}",
        to=to,
        mail=outbox.mail,
        links=outbox.links,
        token=token,
        message_id=one.message_id,
        date=faults.now(),
    )


# -- which answers ----------------------------------------------------------------------------------------------------


def _answers(session: Session, now: datetime) -> list[int]:
    """Answers of the last day to people who want to hear of them, of which nobody was told yet."""
    said = aliased(CommentRow)
    told = exists().where(DigestRunRow.cadence == REPLIES, DigestRunRow.period == cast(CommentRow.id, String(10)))
    number = cast(DigestRunRow.period, Integer)
    before = (
        select(number)
        .join(DeliveryRow, DeliveryRow.run_id == DigestRunRow.id)
        .where(DigestRunRow.cadence == REPLIES, DeliveryRow.subscription_id == SubscriptionRow.id)
        .order_by(number.desc())
        .offset(sent.LAST - 1)
        .limit(1)
        .correlate(SubscriptionRow)
    )
    wanted = (
        select(CommentRow.id)
        .join(said, said.id == CommentRow.parent_id)
        .join(SubscriptionRow, SubscriptionRow.person_id == said.person_id)
        .where(SubscriptionRow.cadence == REPLIES, SubscriptionRow.state == "confirmed")
        .where(CommentRow.created_at >= now - SINCE, CommentRow.created_at >= SubscriptionRow.consent_at)
        .where(CommentRow.hidden_at.is_(None), CommentRow.person_id.is_not(None))
        .where(CommentRow.person_id != said.person_id, ~told)
        .where(CommentRow.id > func.coalesce(before.scalar_subquery(), 0))
        .order_by(CommentRow.id)
    )
    return list(session.scalars(wanted))


def _queue(outbox: Outbox, answer: int, now: datetime) -> bool:
    """Make the run of an answer, with its one message; whether that is to be sent. Another process may be quicker."""
    with outbox.database.writing() as session:
        row, wished = _to_whom(session, answer)
        run = DigestRunRow(cadence=REPLIES, period=str(answer), created_at=now)
        if wished is None or not add_unless_taken(session, run):
            return False
        kept_back = _kept_back(session, row, wished, now)
        delivery = DeliveryRow(
            run_id=run.id,
            subscription_id=wished.id,
            state="suppressed" if kept_back else "queued",
            smtp_text=kept_back,
            message_id=_name(outbox, answer, wished),
            due_at=row.created_at + WAIT,
        )
        session.add(delivery)
        session.flush()
        session.add(DeliveryPaperRow(delivery_id=delivery.id, position=0, paper_id=row.paper_id, section=REPLIES))
        return not kept_back


def _to_whom(session: Session, answer: int) -> tuple[CommentRow, SubscriptionRow | None]:
    """An answer, and the wish of who wrote what it answers; None: taken back meanwhile."""
    row = session.get_one(CommentRow, answer)
    said = session.get(CommentRow, row.parent_id)
    return row, session.scalar(_wish_for(said.person_id)) if said else None


def _name(outbox: Outbox, answer: int, wished: SubscriptionRow) -> str:
    return message_id(outbox.secret, f"{REPLIES}/{answer}", wished.seed, outbox.mail.domain)


def _wish_for(person: int | None) -> Select[SubscriptionRow]:
    """Held until the transaction ends: nobody deletes it meanwhile."""
    wanted = select(SubscriptionRow).where(
        SubscriptionRow.person_id == person, SubscriptionRow.cadence == REPLIES, SubscriptionRow.state == "confirmed"
    )
    return wanted.with_for_update(read=True, key_share=True)


def _kept_back(session: Session, row: CommentRow, wished: SubscriptionRow, now: datetime) -> str:
    """Why an answer is not mailed, "" where it is."""
    author = session.get_one(PersonRow, row.person_id)
    paper = session.get_one(PaperRow, row.paper_id)
    muted = set(session.scalars(select(MuteRow.words).where(MuteRow.person_id == wished.person_id)))
    if f"@{author.login}" in muted or holds(f"{paper.title} {row.raw}", muted):
        return "muted"
    limits = ((BY_ONE, f"{wished.id}:{author.id}"), (TO_ONE, str(wished.id)))
    return "" if all(taken(session, limit, whose, now) for limit, whose in limits) else "too many in an hour"


# -- the message ------------------------------------------------------------------------------------------------------


def _reply(session: Session, outbox: Outbox, answer: int) -> Reply | None:
    row = session.get(CommentRow, answer)
    said = session.get(CommentRow, row.parent_id) if row is not None and row.parent_id else None
    if row is None or said is None or row.hidden_at or said.hidden_at or row.person_id is None:
        return None
    author, paper = session.get_one(PersonRow, row.person_id), session.get_one(PaperRow, row.paper_id)
    text = "\n".join(_HIDDEN.sub("", line) for line in row.raw.splitlines())
    return Reply(
        by=one_line(author.name) or author.login,
        paper=plain_tex(paper.title),
        text=text[:LONGEST].rstrip(),
        cut=len(text) > LONGEST,
        said=clipped(one_line(said.raw), 160),
        url=outbox.links.remark(row.id),
    )
