"""What comes back: failures (RFC 3464), complaints (RFC 5965, ARF), people who write "unsubscribe".

    found = read_report(raw)              # Report(kind, …): bounce, complaint, unsubscribe, or nothing of these
    apply(database, found)                # what was done, as a sentence

Whose      a report counts only if it names a Message-ID or a token that we made: nobody can guess one, so nobody can
           end another person's subscription by writing a report. The address that a report names is not asked
Failures   of the address (5.1.x, 5.2.1: no such mailbox, closed): the subscription has bounced. Of the message, of a
           full mailbox, after days of trying: three in a row are a bounce. Delays are not failures
Complaints each report of a provider but those that are none: not-spam (RFC 6430), auth-failure (RFC 6591, DMARC)
Once       the same report a second time changes nothing
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from email.policy import compat32
from itertools import takewhile

from sqlalchemy import select
from sqlalchemy.orm import Session

from foveal.database import Database
from foveal.errors import InputError
from foveal.papers.mail import sent
from foveal.papers.mail.subscriptions import end, suppress, unsubscribe
from foveal.papers.people_schema import DeliveryRow, SubscriptionRow

SOFT_BOUNCES = 3
TAKEN = 250
"""What a server says that takes a message."""

MOST_BYTES = 10 * 2**20

_STATUS = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_OF_ADDRESS = {550, 551, 553}
_NO_COMPLAINTS = {"not-spam", "auth-failure"}
_ASKED = re.compile(r"unsubscribe\s+([A-Za-z0-9_-]{43})(?![A-Za-z0-9_-])", re.IGNORECASE)
_IN_LINK = re.compile(r"/u/([A-Za-z0-9_-]{43})(?![A-Za-z0-9_-])")


@dataclass(frozen=True, kw_only=True)
class Report:
    """A mail that came back; `kind` is bounce, complaint, unsubscribe, or other."""

    kind: str
    message_id: str = ""  # of our message
    token: str = ""  # in our message's links, or in the subject of who leaves
    status: str = ""  # of a bounce: "5.1.1"
    text: str = ""  # what the other server said


def verdict(code: int, text: str, *, at_recipient: bool) -> str:
    """What a refusal means: "later", "permanent" (there is no such mailbox), or "soft" (this message, this time)."""
    if code < 500:
        return "later"
    found = _STATUS.search(text)
    if found is not None:
        return _meaning(found[0])
    return "permanent" if at_recipient and code in _OF_ADDRESS else "soft"


def _meaning(status: str) -> str:
    """The same of an enhanced status (RFC 3463)."""
    kind, subject, detail = status.split(".")
    of_address = kind == "5" and (subject == "1" or (subject, detail) == ("2", "1"))
    return "permanent" if of_address else "soft"


def bounced(session: Session, row: SubscriptionRow) -> None:
    """The address does not exist: it is not written to again."""
    suppress(session, row.address_key, "bounced")


def failed_softly(session: Session, row: SubscriptionRow, delivery: DeliveryRow) -> None:
    """A message did not arrive; the third one in a row counts as a bounce.

    Looked up, since a relay takes each message, and tells of it hours or days later, when others are on their way.
    """
    row.soft_bounces = 1 + _beside(session, row, delivery, later=False) + _beside(session, row, delivery, later=True)
    if row.soft_bounces >= SOFT_BOUNCES:
        suppress(session, row.address_key, "bounced")


def _beside(session: Session, row: SubscriptionRow, delivery: DeliveryRow, *, later: bool) -> int:
    """Messages just before one, or just after, that failed by the address's fault; one that was sent ends the row."""
    side = DeliveryRow.id > delivery.id if later else DeliveryRow.id < delivery.id
    known = select(DeliveryRow.state, DeliveryRow.smtp_code).where(
        DeliveryRow.subscription_id == row.id, DeliveryRow.state.in_(("sent", "failed")), side
    )
    if row.consent_at is not None:  # what failed before somebody asked anew is forgiven
        known = known.where(DeliveryRow.due_at >= row.consent_at)
    nearest = known.order_by(DeliveryRow.id if later else DeliveryRow.id.desc()).limit(sent.LAST)
    told = takewhile(lambda one: one[0] == "failed", session.execute(nearest).all())
    return sum(code == TAKEN or (code or 0) >= 500 for _, code in told)


def read_report(raw: bytes) -> Report:
    """What a mail reports. InputError: it is larger than any report."""
    if len(raw) > MOST_BYTES:
        raise InputError(f"This mail has {len(raw):,} bytes; a report has at most {MOST_BYTES:,}. It was not read.")
    message = email.message_from_bytes(raw, policy=compat32)
    parts = list(message.walk())
    kinds = {part.get_content_type() for part in parts}
    message_id, token = _ours(parts)
    if "message/feedback-report" in kinds:
        if _feedback_type(parts) in _NO_COMPLAINTS:
            return Report(kind="other", message_id=message_id, token=token)
        return Report(kind="complaint", message_id=message_id, token=token)
    if "message/delivery-status" in kinds:
        return _bounce(parts, message_id, token)
    asked = _ASKED.search(" ".join(str(message.get("Subject", "")).split()))
    return Report(kind="unsubscribe", token=asked[1]) if asked else Report(kind="other")


def apply(database: Database, report: Report) -> str:
    """Do what a report asks for; one sentence about what was done."""
    if report.kind == "other":
        return "This mail is no report of a failure or complaint, and asks for nothing; nothing was changed."
    if report.kind == "unsubscribe":
        left = unsubscribe(database, report.token)
        return f"{left.address} was unsubscribed." if left else "The token belongs to nobody; nothing was changed."
    with database.writing() as session:
        delivery, row = _named(session, report)
        if row is None:
            return "The report names no message of ours; nothing was changed."
        if report.kind == "complaint":
            suppress(session, row.address_key, "complained")
            if row.state != "complained":
                end(session, row, "complained")
            return f"{row.address} complained and is not written to again."
        return _fail(session, report, delivery, row)


def _fail(session: Session, report: Report, delivery: DeliveryRow | None, row: SubscriptionRow) -> str:
    if not report.status.startswith(("4", "5")):
        return "The report tells of a delay; nothing was changed."
    if delivery is None or delivery.state == "failed":
        return "This failure was known already; nothing was changed."
    delivery.state, delivery.smtp_code = "failed", TAKEN  # the server had it, also where we never knew
    delivery.smtp_text = f"{report.status} {report.text}"[:500]
    if _meaning(report.status) == "permanent":
        bounced(session, row)
        return f"{row.address} does not take mail ({report.status}) and is not written to again."
    failed_softly(session, row, delivery)
    return f"A message to {row.address} failed ({report.status}); {row.soft_bounces} in a row."


def _named(session: Session, report: Report) -> tuple[DeliveryRow | None, SubscriptionRow | None]:
    """The delivery and subscription that a report is about."""
    from foveal.papers.secrets import hash_of

    if report.message_id:
        delivery = session.scalar(select(DeliveryRow).where(DeliveryRow.message_id == report.message_id))
        if delivery is not None:
            return delivery, session.get(SubscriptionRow, delivery.subscription_id)
    if report.token:
        wanted = select(SubscriptionRow).where(SubscriptionRow.unsubscribe_hash == hash_of(report.token))
        return None, session.scalar(wanted)
    return None, None


def _bounce(parts: list[Message], message_id: str, token: str) -> Report:
    """The worst that the fields of each recipient say: our messages have one recipient."""
    status, text = "", ""
    for fields in _blocks(parts):
        if str(fields.get("Action", "")).strip().lower() != "failed":
            continue
        found = _STATUS.search(str(fields.get("Status", "")))
        status = found[0] if found else "5.0.0"
        text = " ".join(str(fields.get("Diagnostic-Code", "")).split())[:400]
    return Report(kind="bounce", message_id=message_id, token=token, status=status, text=text)


def _feedback_type(parts: list[Message]) -> str:
    """What a provider reports: "abuse", "not-spam", …; "" where it does not say."""
    told = (str(fields.get("Feedback-Type", "")) for fields in _blocks(parts, "message/feedback-report"))
    return next(told, "").strip().lower()


def _blocks(parts: list[Message], kind: str = "message/delivery-status") -> Iterator[Message]:
    for part in parts:
        if part.get_content_type() == kind:
            payload = part.get_payload()
            yield from (one for one in payload if isinstance(one, Message)) if isinstance(payload, list) else ()


def _ours(parts: list[Message]) -> tuple[str, str]:
    """Message-ID and token of the message that a report holds, whole or its head."""
    for part in parts[1:]:
        head: Message | None = None
        if part.get_content_type() == "text/rfc822-headers":
            held = part.get_payload(decode=True)
            head = HeaderParser().parsestr(held.decode("utf-8", "replace")) if isinstance(held, bytes) else None
        elif part.get_content_type() == "message/rfc822":
            payload = part.get_payload()
            head = payload[0] if isinstance(payload, list) and isinstance(payload[0], Message) else None
        if head is not None:
            link = _IN_LINK.search("".join(str(head.get("List-Unsubscribe", "")).split()))
            return str(head.get("Message-ID", "")).strip(), link[1] if link else ""
    return "", ""
