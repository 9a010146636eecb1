"""Messages, each sent once: claimed, handed over, written down.

    plan(outbox, composer, now=…)        # planning.py: a delivery for each subscriber whose hour has come
    report = send(outbox)                # until nothing is due

States     queued -> sending -> sent; queued again after a passing refusal (1, 5, 30, 120 minutes later); failed;
           suppressed (left, bounced or complained meanwhile, or too late); unknown; empty (there was nothing new)
Claim      only when the server has said that it would take the message (354) is the delivery marked as being sent, by
           one conditional UPDATE: it is still queued, the subscriber has neither left nor chosen another rhythm, this
           process holds the lease. The body follows at once. So whoever left before is not written to, and two senders
           never send one message
In doubt   between the body's first byte and our commit of the server's 250 nobody can know: a sender that dies there,
           or hears no answer, leaves "unknown". An unknown message is not sent again by itself; a person may have it
           sent once more, with the same Message-ID (`retry_unknown`)
Refusals   4xx: passing, and no fault of the address however long it lasts. 5xx: of the address (bounced at once) or of
           this message (`bounces.verdict`); three messages in a row that failed so count as a bounce
Trouble    of the server, or of us with it (`Refused.of_us`, Gone before the body), or of this machine as the message is
           written (no memory, no file): no reader's fault. The message stays due and no try is counted; a refusal of
           the sender, and the third trouble in a row, stop the run
Late       a digest that waited for longer than `schedule.CATCH_UP` is not sent any more
Power cut  claims are on the disk before the body leaves (SQLite: synchronous = FULL for the sender)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import event, exc, exists, func, select, update
from sqlalchemy.orm import Session

from foveal import faults
from foveal.database import Database, engine_of, rows_changed
from foveal.errors import MailFailed, MissingExtra
from foveal.papers import lease
from foveal.papers.mail.bounces import bounced, failed_softly, verdict
from foveal.papers.mail.changes import change_of
from foveal.papers.mail.outbox import Outbox, Report, Waiting, message_of, too_late, waiting
from foveal.papers.mail.replies import reply_of
from foveal.papers.mail.schedule import CHANGES, NO_DIGESTS, REPLIES
from foveal.papers.mail.smtp import Gone, Refused, Server, opened
from foveal.papers.people_schema import (
    DeliveryRow,
    DigestRunRow,
    MailDayRow,
    SubscriptionRow,
    SuppressedRow,
)
from foveal.papers.store import Paper, PaperStore

BACKOFF_MIN = (1, 5, 30, 120)
LEASE, LEASE_S = "mail", 120
TROUBLES = 3
"""Messages in a row that met trouble of the server, or of ours in writing them, before a run stops."""

GOES_ON = "What is queued stays queued; the next start goes on."

logger = logging.getLogger("foveal.papers.mail")


def send(outbox: Outbox, *, limit: int | None = None, on_sent: Callable[[Report], None] | None = None) -> Report:
    """Send what is due, until nothing is. `stopped` says where another process is sending."""
    database = durable(outbox.database)
    report = Report()
    try:
        with database.writing() as session:
            if not lease.take(session, LEASE, outbox.holder, seconds=LEASE_S):
                advice = lease.advice(session, LEASE, seconds=LEASE_S)
                report.stopped = (
                    f"Another process is sending mail. It goes on by itself: `foveal digest status`.{advice}"
                )
                return report
            report.unknown += _left_behind(session, outbox.holder)
            report.suppressed += _given_up(session)
        try:
            _Sender(outbox, database, report, on_sent).run(limit)
        finally:
            with database.writing() as session:
                report.unknown += _left_behind(session, "", only=outbox.holder)
                _finish_runs(session)
                lease.release(session, LEASE, outbox.holder)
    finally:
        if database is not outbox.database:
            database.close()
    return report


def durable(database: Database) -> Database:
    """The same database, whose commits survive a power cut, too."""
    if database.engine.dialect.name != "sqlite":
        return database
    engine = engine_of(database.engine.url.render_as_string(hide_password=False))
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = FULL"))
    return Database(engine)


def made(outbox: Outbox, one: Waiting, papers: Mapping[str, Paper]) -> bytes | None:
    """The message as it is sent, signed where we sign; None where what it was about is gone."""
    written = {REPLIES: reply_of, CHANGES: change_of}.get(one.cadence)
    raw = written(outbox, one) if written else message_of(outbox, one, papers)
    return outbox.dkim.sign(raw) if raw and outbox.dkim else raw


def retry_unknown(database: Database) -> int:
    """Queue once more what is unknown for the first time, under the same Message-ID, and not too late; how many.

    Whoever got such a message gets it twice, unless the mailbox knows the Message-ID.
    """
    once = update(DeliveryRow).where(DeliveryRow.state == "unknown", DeliveryRow.doubts == 1, ~too_late(faults.now()))
    with database.writing() as session:
        return rows_changed(session, once.values(state="queued", attempts=0))  # due as before: it is as late as it is


class _Sender:
    """One pass over what is due, over as few connections as may be."""

    def __init__(
        self, outbox: Outbox, database: Database, report: Report, on_sent: Callable[[Report], None] | None
    ) -> None:
        self.outbox, self.database, self.report, self.on_sent = outbox, database, report, on_sent
        self.store = PaperStore(database)
        self.server: Server | None = None
        self.over_it = 0  # messages over this connection
        self.put_off: set[int] = set()  # deliveries that met trouble in this pass
        self.troubles = 0  # in a row
        self.next_at = 0.0
        self.prolong_at = 0.0

    def run(self, limit: int | None) -> None:
        """Send until nothing is due, the limit is reached, or somebody says stop."""
        handled = 0
        try:
            while not self.outbox.stop.is_set() and (limit is None or handled < limit):
                most = self.outbox.mail.batch if limit is None else min(self.outbox.mail.batch, limit - handled)
                batch = waiting(self.database, most, but=self.put_off)
                if not batch:
                    return
                papers = {p.id: p for p in self.store.many([e.paper_id for one in batch for e in one.entries])}
                for one in batch:
                    if self.outbox.stop.is_set():
                        return
                    self._one(one, papers)
                    handled += 1
        except MailFailed as error:
            self.report.stopped = str(error)
            logger.warning("mail stopped: %s", error)
        finally:
            self._close()

    def _one(self, one: Waiting, papers: dict[str, Paper]) -> None:
        """One message, from its words to what became of it."""
        try:
            raw = made(self.outbox, one, papers)
        except (MissingExtra, exc.DBAPIError, exc.TimeoutError):
            raise  # of this machine, not of this message
        except (OSError, MemoryError) as error:  # of this machine, or of this message: that is seen by the others
            logger.exception("delivery %d waits, since it cannot be written as a message now", one.id)
            self._waits(one, None, repr(error), "Messages could not be written")
            return
        except Exception:  # whatever it is: what is queued behind this message is sent
            logger.exception("delivery %d could not be written as a message", one.id)
            self._settle(one, "failed", "it could not be written; the log says why")
            self.report.failed += 1
            return
        if raw is None:
            self._settle(one, "empty", "what it was about is gone")
            return
        self._pace()
        server = self._begun(one)
        if server is None:
            return
        if not self._claim(one):
            self._drop()  # in the middle of DATA: the only way not to send it
            return
        faults.point("mail.claimed")
        try:
            said = server.finish(raw)
        except Refused as refused:
            self._refused(one, refused, claimed=True)
        except Gone as gone:
            self._drop()
            self._unknown(one, str(gone))
        else:
            faults.point("mail.accepted")
            self._sent(one, said)

    def _begun(self, one: Waiting) -> Server | None:
        """The server, waiting for the message's body; None: it is not to be sent now, which is written down."""
        for again in (True, False):
            server = self._connected()
            try:
                server.begin(self.outbox.mail.return_address, one.subscription.address)
                return server
            except (Refused, Gone) as no:
                if isinstance(no, Refused) and not no.of_us:
                    self._refused(one, no, claimed=False)
                    return None
                used = self.over_it > 0
                self._drop()
                if not (again and used):  # servers close a connection that has lasted: a new one may do
                    self._put_off(one, no, claimed=False)
                    return None
        return None

    def _claim(self, one: Waiting) -> bool:
        """Mark as being sent, if it still may be; the lease is prolonged with it."""
        moment = faults.now()
        stays = exists().where(
            SubscriptionRow.id == DeliveryRow.subscription_id,
            SubscriptionRow.state == "confirmed",
            SubscriptionRow.cadence == one.cadence,
        )
        barred = exists().where(
            SubscriptionRow.id == DeliveryRow.subscription_id,
            SuppressedRow.address_key == SubscriptionRow.address_key,
        )
        claimed = (
            update(DeliveryRow)
            .where(DeliveryRow.id == one.id, DeliveryRow.state == "queued", stays, ~barred)
            .where(lease.holds(LEASE, self.outbox.holder, moment))
            .values(state="sending", claimed_at=moment, sender=self.outbox.holder, attempts=DeliveryRow.attempts + 1)
        )
        with self.database.writing() as session:
            if self._prolonged(session) and rows_changed(session, claimed):
                return True
            if not self._prolonged(session, now=True):
                raise MailFailed(
                    "Another process took over the sending of mail, since this one was silent for too long."
                )
            if rows_changed(session, claimed):  # the lease had run out, and nobody had taken it
                return True
            left = update(DeliveryRow).where(DeliveryRow.id == one.id, DeliveryRow.state == "queued", ~stays | barred)
            if rows_changed(session, left.values(state="suppressed", smtp_text="left before it was sent")):
                _tally(session, "suppressed")
        self.report.suppressed += 1
        return False

    def _prolonged(self, session: Session, *, now: bool = False) -> bool:
        """Prolong the lease, now and then or `now`; each claim asks for itself whether it is ours."""
        moment = time.monotonic()
        if moment < self.prolong_at and not now:
            return True
        self.prolong_at = moment + LEASE_S / 8
        return lease.take(session, LEASE, self.outbox.holder, seconds=LEASE_S)

    # what became of it

    def _sent(self, one: Waiting, said: str) -> None:
        done = {"state": "sent", "sent_at": faults.now(), "smtp_code": 250, "smtp_text": said}
        with self.database.writing() as session:
            session.execute(self._ours(one).values(**done))
            if one.subscription.soft_bounces:
                calm = update(SubscriptionRow).where(SubscriptionRow.id == one.subscription.id)
                session.execute(calm.values(soft_bounces=0))
            _tally(session, "sent")
        self.report.sent += 1
        self.troubles = 0
        self.over_it += 1
        if self.over_it >= self.outbox.mail.batch:
            self._close()
        if self.on_sent:
            self.on_sent(self.report)

    def _refused(self, one: Waiting, refused: Refused, *, claimed: bool) -> None:
        if refused.of_us:
            self._put_off(one, refused, claimed=claimed)
            return
        self.troubles = 0
        kind = verdict(refused.code, refused.text, at_recipient=refused.stage == "rcpt")
        if kind == "later":
            self._later(one, refused.code, refused.text, claimed=claimed)
        else:
            self._failed(one, refused.code, refused.text, kind)

    def _put_off(self, one: Waiting, no: Refused | Gone, *, claimed: bool) -> None:
        """It stays due, and this pass goes on without it. MailFailed: the pass would meet nothing but trouble."""
        self._drop()
        mail = self.outbox.mail
        if isinstance(no, Refused) and no.stage == "mail":
            what = "Check mail.sender, mail.bounces, mail.user." if no.code >= 500 else GOES_ON
            raise MailFailed(f"{mail.host} takes no mail from {mail.return_address} ({no}). {what}")
        logger.warning("a message waits, since the mail server is in trouble: %s", no)
        code = no.code if isinstance(no, Refused) else None
        self._waits(one, code, str(no) or "no answer", f"{mail.host} broke off", claimed=claimed)

    def _waits(self, one: Waiting, code: int | None, text: str, trouble: str, *, claimed: bool = False) -> None:
        """It stays due, behind what met no trouble yet. MailFailed: too many in a row."""
        with self.database.writing() as session:
            row = session.get_one(DeliveryRow, one.id)
            if row.state not in ("queued", "sending"):
                return
            row.state, row.attempts = "queued", row.attempts - claimed
            row.smtp_code, row.smtp_text = code, text
        self.report.later += 1
        self.put_off.add(one.id)
        self.troubles += 1
        if self.troubles >= TROUBLES:
            raise MailFailed(f"{trouble} {TROUBLES} times in a row ({text}). {GOES_ON}")

    def _later(self, one: Waiting, code: int, text: str, *, claimed: bool) -> None:
        """Again after a while, or never: after the last wait the message has failed."""
        with self.database.writing() as session:
            row = session.get_one(DeliveryRow, one.id)
            attempts = row.attempts + (0 if claimed else 1)
            if row.state not in ("queued", "sending"):
                return
            if attempts <= len(BACKOFF_MIN):
                row.state, row.attempts, row.smtp_code, row.smtp_text = "queued", attempts, code, text
                row.due_at = faults.now() + timedelta(minutes=BACKOFF_MIN[attempts - 1])
                self.report.later += 1
                return
        self._failed(one, code, text, "later")

    def _failed(self, one: Waiting, code: int, text: str, kind: str) -> None:
        """It will not arrive. "permanent" and "soft" count against the address; "later" is a server's trouble."""
        with self.database.writing() as session:
            row = session.get_one(DeliveryRow, one.id)
            row.state, row.smtp_code, row.smtp_text = "failed", code, text
            subscription = session.get_one(SubscriptionRow, one.subscription.id)
            if kind == "permanent":
                bounced(session, subscription)
            elif kind != "later":
                failed_softly(session, subscription, row)
            _tally(session, "failed")
        self.report.failed += 1

    def _unknown(self, one: Waiting, text: str) -> None:
        with self.database.writing() as session:
            session.execute(self._ours(one).values(state="unknown", doubts=DeliveryRow.doubts + 1, smtp_text=text))
            _tally(session, "unknown")
        self.report.unknown += 1

    def _settle(self, one: Waiting, state: str, text: str) -> None:
        with self.database.writing() as session:
            queued = update(DeliveryRow).where(DeliveryRow.id == one.id, DeliveryRow.state == "queued")
            if rows_changed(session, queued.values(state=state, smtp_text=text)) and state == "failed":
                _tally(session, state)

    def _ours(self, one: Waiting) -> Any:
        return update(DeliveryRow).where(DeliveryRow.id == one.id, DeliveryRow.sender == self.outbox.holder)

    # the connection

    def _connected(self) -> Server:
        """The open connection, or a new one; a server that is away is waited for. MailFailed: it stays away."""
        for wait in (*self.outbox.patience_s, None):
            if self.server is None:
                try:
                    self.server, self.over_it = opened(self.outbox.mail, self.outbox.home), 0
                except Gone as gone:
                    if wait is None or self.outbox.stop.wait(wait):
                        raise MailFailed(f"{gone}. {GOES_ON}") from gone
            if self.server is not None:
                return self.server
        raise AssertionError("unreachable")

    def _pace(self) -> None:
        now = time.monotonic()
        if self.next_at > now:
            self.outbox.stop.wait(self.next_at - now)
        self.next_at = max(now, self.next_at) + 1 / self.outbox.mail.rate

    def _close(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None

    def _drop(self) -> None:
        if self.server is not None:
            self.server.drop()
            self.server = None


def counts(database: Database) -> dict[tuple[str, str], dict[str, int]]:
    """(cadence, period) -> state -> number of deliveries, the newest first; answers, and changes, together."""
    counted = (
        select(DigestRunRow.cadence, DigestRunRow.period, DeliveryRow.state, func.count())
        .join(DeliveryRow, DeliveryRow.run_id == DigestRunRow.id)
        .group_by(DigestRunRow.id, DigestRunRow.cadence, DigestRunRow.period, DeliveryRow.state)
        .order_by(DigestRunRow.id.desc())
    )
    found: dict[tuple[str, str], dict[str, int]] = {}
    with database.reading() as session:
        for cadence, period, state, count in session.execute(counted):
            told = found.setdefault((cadence, "" if cadence in NO_DIGESTS else period), {})
            told[state] = told.get(state, 0) + count
    return found


def _left_behind(session: Session, mine: str, *, only: str | None = None) -> int:
    """Mark what a sender left in the middle of being sent; nobody knows what became of it."""
    left = update(DeliveryRow).where(DeliveryRow.state == "sending")
    left = left.where(DeliveryRow.sender == only) if only else left.where(DeliveryRow.sender != mine)
    text = "the sender ended before it knew"
    count = rows_changed(session, left.values(state="unknown", doubts=DeliveryRow.doubts + 1, smtp_text=text))
    _tally(session, "unknown", count)
    return count


def _given_up(session: Session) -> int:
    """Settle the digests that are too late to be sent; how many."""
    late = update(DeliveryRow).where(DeliveryRow.state == "queued", too_late(faults.now()))
    count = rows_changed(session, late.values(state="suppressed", smtp_text="too late"))
    _tally(session, "suppressed", count)
    return count


def _finish_runs(session: Session) -> None:
    open_ones = exists().where(DeliveryRow.run_id == DigestRunRow.id, DeliveryRow.state.in_(("queued", "sending")))
    session.execute(
        update(DigestRunRow).where(DigestRunRow.finished_at.is_(None), ~open_ones).values(finished_at=faults.now())
    )


def _tally(session: Session, state: str, messages: int = 1) -> None:
    if not messages:
        return
    row = session.get(MailDayRow, (faults.now().date(), state))
    if row is None:
        session.add(MailDayRow(day=faults.now().date(), state=state, messages=messages))
    else:
        row.messages += messages
