"""Messages of a run are made: a delivery for each subscriber whose hour has come, with its papers, once.

    report = plan(outbox, composer, now=…)       # twice is as good as once

Run        one per cadence and period; a delivery per run and subscription (both unique), so that two planners make one
Fixed      which papers stand in a message is written down with it: a second try is the same message
Empty      where there is nothing new the delivery is there, and nothing is sent
Trouble    whose papers cannot be looked for now waits for the next look; the others get theirs
Clocks     after a period no older one: a digest that a wrong clock sent too early is not sent again by the right one.
           One that begins after tomorrow stops nothing: that clock was wrong, and the next digest would be far away
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import exc, func, or_, select
from sqlalchemy.orm import Session

from foveal import faults
from foveal.database import add_unless_taken
from foveal.errors import FovealError
from foveal.papers.ingest import unexpected
from foveal.papers.mail.digest import Composer, Entry
from foveal.papers.mail.outbox import Outbox, Report
from foveal.papers.mail.schedule import KINDS, NO_DIGESTS, Due, current, due
from foveal.papers.mail.signing import message_id
from foveal.papers.mail.subscriptions import Subscription, subscriptions
from foveal.papers.people_schema import DeliveryPaperRow, DeliveryRow, DigestRunRow, SubscriptionRow
from foveal.papers.periods import Period

AT_ONCE = 100
"""Messages that are made in one transaction."""

logger = logging.getLogger("foveal.papers.mail")


def plan(outbox: Outbox, composer: Composer, *, now: datetime, everybody: bool = False) -> Report:
    """Queue the messages whose hour has come, `everybody`: of today, whatever the hour. Twice is as good as once."""
    report = Report()
    found = [
        (one, when)
        for one in subscriptions(outbox.database, state="confirmed")
        if (when := due_of(one, now, everybody))
    ]
    for start in range(0, len(found), AT_ONCE):
        _plan_some(outbox, composer, found[start : start + AT_ONCE], report, now)
        faults.point("mail.planned")
    return report


def due_of(subscription: Subscription, now: datetime, everybody: bool) -> Due | None:
    """The digest that a subscriber is to get now; `everybody`: today's, whatever the hour."""
    wanted = subscription.preferences
    if wanted.cadence in NO_DIGESTS:
        return None
    if everybody:
        return Due(current(wanted.cadence, now.date()), now)
    when = due(wanted.cadence, wanted.hour, wanted.zone, now)
    begun = subscription.consent_at
    return when if when and begun and begun <= when.at else None


def _plan_some(
    outbox: Outbox, composer: Composer, some: Sequence[tuple[Subscription, Due]], report: Report, now: datetime
) -> None:
    with outbox.database.reading() as session:
        new = unplanned(session, some, now)
    ready = []
    for one, when in new:
        try:
            ready.append((one, when, composer.entries(one, when.period)))
        except FovealError as error:
            if report.stopped != str(error):  # once, however many wait for it
                logger.error("digests wait: %s", error)
            report.stopped = str(error)
        except exc.SQLAlchemyError:
            raise  # of the database, not of this digest
        except Exception as error:  # whatever it is: the others get theirs
            if report.stopped != unexpected(error):
                logger.exception("digests wait")
            report.stopped = unexpected(error)
    with outbox.database.writing() as session:
        # another sender, by another clock, may have come first
        still = {one.id for one, _ in unplanned(session, [(one, when) for one, when, _ in ready], now)}
        still &= _there(session, still)
        wanted = dict.fromkeys((one.preferences.cadence, when.period.key) for one, when, _ in ready if one.id in still)
        runs = {named: _run_of(session, *named) for named in wanted}
        for one, when, entries in ready:
            if one.id in still:
                made = _queue(session, outbox, runs[one.preferences.cadence, when.period.key], one, when, entries)
                report.planned += made and bool(entries)
                report.empty += made and not entries


def unplanned(
    session: Session, some: Sequence[tuple[Subscription, Due]], now: datetime
) -> list[tuple[Subscription, Due]]:
    """Those for whom no digest of that period, or of a later one up to tomorrow's, was made."""
    tomorrow = now.date() + timedelta(days=1)
    begun = [(cadence, Period.around(kind, tomorrow).key) for cadence, kind in KINDS.items()]
    made = (
        select(DeliveryRow.subscription_id, DigestRunRow.cadence, func.max(DigestRunRow.period))
        .join(DigestRunRow, DigestRunRow.id == DeliveryRow.run_id)
        .where(DeliveryRow.subscription_id.in_([one.id for one, _ in some]))
        .where(or_(*((DigestRunRow.cadence == cadence) & (DigestRunRow.period <= last) for cadence, last in begun)))
        .group_by(DeliveryRow.subscription_id, DigestRunRow.cadence)
    )
    newest = {(row[0], row[1]): row[2] for row in session.execute(made)}
    return [(one, when) for one, when in some if newest.get((one.id, one.preferences.cadence), "") < when.period.key]


def _there(session: Session, some: Collection[int]) -> set[int]:
    """The subscriptions that are not deleted, and are not until this is written down."""
    held = select(SubscriptionRow.id).where(SubscriptionRow.id.in_(some))
    return set(session.scalars(held.with_for_update(read=True, key_share=True)))


def _run_of(session: Session, cadence: str, period: str) -> DigestRunRow:
    wanted = select(DigestRunRow).where(DigestRunRow.cadence == cadence, DigestRunRow.period == period)
    row = session.scalar(wanted)
    if row is None:
        add_unless_taken(session, DigestRunRow(cadence=cadence, period=period, created_at=faults.now()))
        row = session.scalars(wanted).one()
    row.finished_at = None
    return row


def _queue(
    session: Session, outbox: Outbox, run: DigestRunRow, one: Subscription, when: Due, entries: Sequence[Entry]
) -> bool:
    """Write a delivery down; False: another process did."""
    name = message_id(outbox.secret, f"{run.cadence}/{run.period}", one.seed, outbox.mail.domain)
    row = DeliveryRow(
        run_id=run.id,
        subscription_id=one.id,
        state="queued" if entries else "empty",
        message_id=name,
        due_at=when.at,
    )
    if not add_unless_taken(session, row):  # another process planned it: its papers stand
        return False
    session.add_all(
        DeliveryPaperRow(delivery_id=row.id, position=place, **entry.__dict__) for place, entry in enumerate(entries)
    )
    return True
