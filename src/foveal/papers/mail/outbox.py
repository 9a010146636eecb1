"""What sending needs and tells: the outbox, a report, a message that waits, and the message as it is sent."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import aliased

from foveal import faults
from foveal.database import Database
from foveal.papers import lease
from foveal.papers.mail.digest import Entry
from foveal.papers.mail.links import Links
from foveal.papers.mail.message import Headline, digest_of, whole
from foveal.papers.mail.schedule import CATCH_UP, KINDS, NO_DIGESTS
from foveal.papers.mail.settings import MailSettings
from foveal.papers.mail.signing import Dkim, unsubscribe_token
from foveal.papers.mail.subscriptions import Subscription, subscription_of
from foveal.papers.people_schema import DeliveryPaperRow, DeliveryRow, DigestRunRow, SubscriptionRow
from foveal.papers.periods import Period
from foveal.papers.store import Paper


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """What a sender needs; made anew for each sender, since it bears the sender's name."""

    database: Database
    home: Path
    mail: MailSettings
    secret: bytes
    dkim: Dkim | None = None
    headline: Headline | None = None
    patience_s: tuple[float, ...] = (1, 2, 4, 8)  # waits before a server that is away is asked again
    stop: threading.Event = field(default_factory=threading.Event)
    holder: str = field(default_factory=lease.new_holder)

    @property
    def links(self) -> Links:
        """The site's addresses."""
        return Links(self.mail.url)


@dataclass
class Report:
    """What a sender did; `stopped` says why it did not go on."""

    planned: int = 0
    empty: int = 0
    sent: int = 0
    later: int = 0
    failed: int = 0
    suppressed: int = 0
    unknown: int = 0
    stopped: str = ""


@dataclass(frozen=True)
class Waiting:
    """A delivery that is due, with all that its message is made of."""

    id: int
    message_id: str
    subscription: Subscription
    cadence: str
    period: Period | None  # None: about an answer
    entries: tuple[Entry, ...]
    about: str = ""  # of an answer: its number


def too_late(moment: datetime) -> ColumnElement[bool]:
    """Whether a delivery is a digest's that is late by more than one may be (schedule.CATCH_UP), as a condition."""
    run = aliased(DigestRunRow)
    return or_(
        *(
            DeliveryRow.run_id.in_(select(run.id).where(run.cadence == cadence)) & (DeliveryRow.due_at < moment - most)
            for cadence, most in CATCH_UP.items()
        )
    )


def waiting(database: Database, most: int | None = None, *, but: Collection[int] = ()) -> list[Waiting]:
    """The deliveries that are due, the first `most` (None: all) without those of `but`.

    What had no luck before comes last, so that a few messages that always fail hold up no others.
    """
    moment = faults.now()
    wanted = (
        select(DeliveryRow, SubscriptionRow, DigestRunRow)
        .join(SubscriptionRow, SubscriptionRow.id == DeliveryRow.subscription_id)
        .join(DigestRunRow, DigestRunRow.id == DeliveryRow.run_id)
        .where(DeliveryRow.state == "queued", DeliveryRow.due_at <= moment, ~too_late(moment))
        .where(DeliveryRow.id.not_in(but))
        .order_by(DeliveryRow.smtp_text != "", DeliveryRow.due_at, DeliveryRow.id)
        .limit(most)
    )
    with database.reading() as session:
        rows = session.execute(wanted).all()
        entries: dict[int, list[Entry]] = {delivery.id: [] for delivery, _, _ in rows}
        held = select(DeliveryPaperRow).where(DeliveryPaperRow.delivery_id.in_(entries))
        for row in session.scalars(held.order_by(DeliveryPaperRow.delivery_id, DeliveryPaperRow.position)):
            entries[row.delivery_id].append(Entry(row.paper_id, row.section, row.why))
        return [
            Waiting(
                delivery.id,
                delivery.message_id,
                subscription_of(subscription),
                run.cadence,
                None if run.cadence in NO_DIGESTS else Period.of(KINDS[run.cadence], run.period),
                tuple(entries[delivery.id]),
                about=run.period,
            )
            for delivery, subscription, run in rows
        ]


def message_of(outbox: Outbox, one: Waiting, papers: Mapping[str, Paper]) -> bytes | None:
    """The digest as it is sent, None where all its papers are gone or were withdrawn."""
    assert one.period is not None
    digest = digest_of(
        papers, one.entries, one.period, cadence=one.cadence, links=outbox.links, headline=outbox.headline
    )
    if not digest.papers:
        return None
    return whole(
        digest,
        to=one.subscription.address,
        mail=outbox.mail,
        links=outbox.links,
        token=unsubscribe_token(outbox.secret, one.subscription.seed),
        message_id=one.message_id,
        date=faults.now(),
    )
