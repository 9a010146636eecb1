"""What is remembered of messages (tables `delivery`, `delivery_paper`, `digest_run`, `mail_note`), and for how long.

    prune(database)                 # by each `tick` that made or sent something

Age     `KEPT_DAYS` days: longer than a digest looks back for what a reader has had (digest.py), than an answer waits to
        be mailed (replies.py), than a mail takes to come back. Counts of each day (`mail_day`) are kept
Stays   of each subscription the newest `LAST`, whatever their age: that today's digest went out is known, too, to a
        machine whose clock was a year ahead for a while, and that answers up to them were told of. And what is still
        to be sent
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import String, cast, delete, exists, func, select

from foveal import faults
from foveal.database import Database, rows_changed
from foveal.papers.mail.schedule import CHANGES
from foveal.papers.people_schema import DeliveryRow, DigestRunRow, NoteRow

KEPT_DAYS = 90
LAST = 50
AT_ONCE = 500
"""Messages that are forgotten in one transaction: others wait to write meanwhile."""

MOST = 10_000
"""Messages that one look forgets: the next digests wait for its end, and the first look finds those of years."""

WAITING = ("queued", "sending")


def prune(database: Database) -> int:
    """Forget messages that nothing asks for any more, up to `MOST`, and runs and notes that no message is left of; how
    many messages."""
    before = faults.now() - timedelta(days=KEPT_DAYS)
    newest = func.row_number().over(partition_by=DeliveryRow.subscription_id, order_by=DeliveryRow.id.desc())
    placed = select(DeliveryRow.id, DeliveryRow.run_id, DeliveryRow.state, newest.label("place")).subquery()
    old = select(placed.c.id).join(DigestRunRow, DigestRunRow.id == placed.c.run_id)
    old = old.where(placed.c.place > LAST, placed.c.state.not_in(WAITING), DigestRunRow.created_at < before)
    with database.reading() as session:
        ids = list(session.scalars(old.limit(MOST)))
    runs = select(DigestRunRow.id).where(DigestRunRow.created_at < before)
    done = 0
    for start in range(0, len(ids), AT_ONCE):
        # what was looked at may have been queued once more since, or its number be another message's
        some = DeliveryRow.id.in_(ids[start : start + AT_ONCE]), DeliveryRow.run_id.in_(runs)
        with database.writing() as session:
            done += rows_changed(session, delete(DeliveryRow).where(*some, DeliveryRow.state.not_in(WAITING)))
    _forget_empty(database, before)
    return done


def _forget_empty(database: Database, before: datetime) -> None:
    """Runs without a message, and what mails about watched questions said whose run is gone."""
    messages = exists().where(DeliveryRow.run_id == DigestRunRow.id)
    told = exists().where(DigestRunRow.cadence == CHANGES, DigestRunRow.period == cast(NoteRow.id, String(10)))
    with database.writing() as session:
        session.execute(delete(DigestRunRow).where(DigestRunRow.created_at < before, ~messages))
        session.execute(delete(NoteRow).where(NoteRow.created_at < before, ~told))
