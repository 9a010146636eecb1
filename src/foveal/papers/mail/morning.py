"""The mail as a job: once by `foveal digest send`, every minute with `--watch` or beside the web app.

report = tick(outbox_of(settings, database), composer_of(settings, database))
threading.Thread(target=Morning(settings, database).run, args=(stop,)).start()
dry_run(outbox, composer, folder)          # .eml files of what would be sent; nothing in the database changes
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import exc

from foveal import faults
from foveal.database import Database
from foveal.errors import FovealError
from foveal.evaluation.files import whole_file
from foveal.papers.curating import publish
from foveal.papers.headline_lines import digest_line, headline_settings
from foveal.papers.ingest import unexpected
from foveal.papers.mail.delivery import made, send
from foveal.papers.mail.digest import Composer
from foveal.papers.mail.outbox import Outbox, Report, Waiting, waiting
from foveal.papers.mail.planning import due_of, plan, unplanned
from foveal.papers.mail.replies import new_replies, queue_replies
from foveal.papers.mail.sent import prune
from foveal.papers.mail.settings import load_mail
from foveal.papers.mail.signing import dkim_of, message_id
from foveal.papers.mail.subscriptions import Preferences, Subscription, forget_unconfirmed, subscriptions
from foveal.papers.paper_filters import parse
from foveal.papers.periods import Period
from foveal.papers.secrets import secret_of
from foveal.papers.store import Paper, PaperStore
from foveal.settings import Settings

if TYPE_CHECKING:
    from foveal.papers.paper_search import PaperSearch

EVERY_S = 60.0
ASKED_AT_ONCE = 500
"""Subscribers of one question: databases bound how many they take."""

logger = logging.getLogger("foveal.papers.mail")


def outbox_of(settings: Settings, database: Database, *, whole: bool = True) -> Outbox:
    """A sender with the settings of a home.

    InputError: mail is not set up (`whole`), or a key cannot be read.
    """
    mail = load_mail(settings)
    if whole:
        mail = mail.complete()
    return Outbox(
        database=database,
        home=settings.home,
        mail=mail,
        secret=secret_of(settings.home),
        dkim=dkim_of(mail, settings.home),
        headline=digest_line(database) if headline_settings(settings.home).judge else None,
    )


def composer_of(settings: Settings, database: Database) -> Composer:
    """The papers of this moment: what trends, and the search over all of them, opened when somebody has a query."""
    from foveal.papers.trending import trending

    opened: list[PaperSearch] = []

    def search(query: str, k: int) -> Sequence[Paper]:
        if not opened:
            from foveal.papers.paper_search import PaperSearch

            opened.append(PaperSearch.open(settings, database=database))
            _index_all(opened[0])
        return opened[0].search(query, k).holding

    def trends(at: datetime, limit: int) -> Sequence[Paper]:
        papers: Sequence[Paper] = trending(database, now=at, limit=limit).papers
        return papers

    return Composer(database, trending=trends, search=search, now=faults.now())


def _index_all(search: PaperSearch) -> None:
    """Index what is new, so that a digest's searches find it: where nobody serves pages, nobody else does."""
    try:
        search.sync()
    except FovealError as error:  # the site is at it, or it cannot be done: what is indexed is searched
        logger.warning("digests may lack what is new of searches and topics: %s", error)


def tick(
    outbox: Outbox,
    compose: Callable[[], Composer],
    *,
    everybody: bool = False,
    limit: int | None = None,
    on_sent: Callable[[Report], None] | None = None,
) -> Report:
    """Forget what was never confirmed, queue what is due or was answered, send it; what fails holds up no other.

    Where any of it was done, messages that are old enough are forgotten.
    """
    forget_unconfirmed(outbox.database)
    made = Report()
    try:
        if anybody_due(outbox.database, everybody=everybody):
            publish(outbox.database, faults.now().date())  # at midnight nobody may have done so yet: 8 in Shanghai
            made = plan(outbox, compose(), now=faults.now(), everybody=everybody)
    except FovealError as error:
        logger.error("no digest was made: %s", error)
        made.stopped = str(error)
    except Exception as error:  # whatever it is: answers, and what is queued, go out
        logger.exception("no digest was made")
        made.stopped = unexpected(error)
    try:
        made.planned += queue_replies(outbox, now=faults.now())
    except Exception as error:  # whatever it is: digests, and what is queued, go out
        logger.exception("answers were not mailed")
        made.stopped = made.stopped or unexpected(error)
    done = send(outbox, limit=limit, on_sent=on_sent)
    if made.planned or made.empty or done.sent:
        try:
            prune(outbox.database)
        except exc.SQLAlchemyError:  # what was sent is told all the same
            logger.exception("messages that are old enough were not forgotten")
    return replace(done, planned=made.planned, empty=made.empty, stopped=made.stopped or done.stopped)


def anybody_due(database: Database, *, everybody: bool = False) -> bool:
    """Whether a digest is due that was not made yet: what trends is not looked up for nothing."""
    return next(_new(database, faults.now(), everybody), None) is not None


def dry_run(outbox: Outbox, composer: Composer, folder: Path, *, everybody: bool = False) -> list[Path]:
    """Write what would be sent now as .eml files, what waits already first; the database stays as it is."""
    return [_kept(folder, one, raw) for one, raw in _sendable(outbox, composer, everybody)]


def preview(outbox: Outbox, composer: Composer, one: Subscription, period: Period) -> bytes | None:
    """The message that a subscriber would get, None where there is nothing new."""
    return _made(outbox, _composed(outbox, composer, one, period))


def nobody(preferences: Preferences) -> Subscription:
    """A subscription that is not kept, to show what such a one would get. InputError: no such search."""
    parse(preferences.query)
    return Subscription(
        id=0, address="reader@example.org", person_id=None, preferences=preferences, state="confirmed", seed="preview",
        created_at=faults.now(), consent_at=faults.now(), consent_ip="", consent_text="", soft_bounces=0, ended_at=None,
    )  # fmt: skip


@dataclass(frozen=True)
class Morning:
    """The job of `--watch`: a look at the clock each minute, and at the settings each time."""

    settings: Settings
    database: Database
    every_s: float = EVERY_S

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; an error is logged, and the next minute tries again."""
        while not stop.is_set():
            try:
                if load_mail(self.settings).host:
                    outbox = replace(outbox_of(self.settings, self.database), stop=stop)
                    report = tick(outbox, lambda: composer_of(self.settings, self.database))
                    if report.sent or report.stopped:
                        logger.info("mail: %s", re.sub(r"^Report", "", repr(report)))
            except (FovealError, exc.SQLAlchemyError, OSError) as error:
                logger.error("the mail was not sent: %s", error)
            except Exception:  # whatever it is: a thread that ended would send nothing until the site starts again
                logger.exception("the mail was not sent")
            stop.wait(self.every_s)


def _sendable(outbox: Outbox, composer: Composer, everybody: bool) -> Iterator[tuple[Waiting, bytes]]:
    """What `tick` would send at once: what is queued, new digests, new answers."""
    new = list(_new(outbox.database, composer.now, everybody))
    digests = (_composed(outbox, composer, one, period) for one, period in new)
    for one in chain(waiting(outbox.database), digests, new_replies(outbox, now=composer.now)):
        raw = _made(outbox, one)
        if raw is not None:
            yield one, raw


def _composed(outbox: Outbox, composer: Composer, one: Subscription, period: Period) -> Waiting:
    """A digest as it would be queued."""
    name = message_id(outbox.secret, f"{one.preferences.cadence}/{period.key}", one.seed, outbox.mail.domain)
    entries = composer.entries(one, period)
    return Waiting(0, name, one, one.preferences.cadence, period, entries, about=period.key)


def _made(outbox: Outbox, one: Waiting) -> bytes | None:
    papers = PaperStore(outbox.database).many([entry.paper_id for entry in one.entries])
    return made(outbox, one, {paper.id: paper for paper in papers})


def _kept(folder: Path, one: Waiting, raw: bytes) -> Path:
    path = folder / f"{one.cadence}-{one.about}-{one.subscription.id}.eml"
    with whole_file(path) as partial:
        partial.write_bytes(raw)
    return path


def _new(database: Database, now: datetime, everybody: bool) -> Iterator[tuple[Subscription, Period]]:
    due = [(one, when) for one in subscriptions(database, state="confirmed") if (when := due_of(one, now, everybody))]
    for start in range(0, len(due), ASKED_AT_ONCE):
        with database.reading() as session:
            new = unplanned(session, due[start : start + ASKED_AT_ONCE], now)
        yield from ((one, when.period) for one, when in new)
