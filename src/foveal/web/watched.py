"""The watched questions of a site: looked at when they are due, as jobs beside those of visitors; changes are mailed.

    looked(site, stop)               # once, for what is due now
    told_by_mail(outbox)             # a `watching.Tell`; the mail goes out with the next digest's look

Whether there is anything new is asked of papers only: a question whose sources are the papers of the site is researched
again once one that its search finds was listed since the last look. Other sources are always asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Event
from typing import TYPE_CHECKING

from foveal import faults
from foveal.papers.follows import FOUND, listed_since
from foveal.papers.mail.changes import queue_change
from foveal.papers.mail.morning import outbox_of
from foveal.research.sources import scheme_of
from foveal.research.watches import Watch, Watches
from foveal.research.watching import Change, Fresh, Look, Tell, look_at_due

if TYPE_CHECKING:
    from foveal.database import Database
    from foveal.papers.mail.outbox import Outbox
    from foveal.web.site import Site

logger = logging.getLogger("foveal.web")


def looked(site: Site, stop: Event) -> list[Look]:
    """Look at what is due. Cancelled: `stop` was set."""
    outbox = outbox_of(site.settings, site.database) if site.mail is not None else None
    done, watches = [], Watches(site.database)

    def found(question: str, k: int) -> list[str]:
        return [hit.paper.id for hit in site.search.search(question, k).hits]

    for look in look_at_due(
        watches,
        research=lambda watch: site.research.again(watch, watches, stop),
        fresh=fresh_papers(site.database, found),
        tell=told_by_mail(outbox),
        now=faults.now(),
    ):
        logger.info("watched question %d: %s", look.watch, look.said)
        done.append(look)
    return done


def fresh_papers(database: Database, search: Callable[[str, int], Sequence[str]]) -> Fresh:
    """Whether there is anything new for a question; `search` gives the ids of papers."""

    def fresh(watch: Watch) -> bool:
        sources = watch.options.get("sources") or ()
        if not sources or any(scheme_of(one) != "papers" for one in sources):
            return True
        return listed_since(database, search(watch.question, FOUND), watch.looked_at or watch.created_at)

    return fresh


def told_by_mail(outbox: Outbox | None) -> Tell:
    """Writes to who watches, where there is mail and they want it; a link to the run's page, where it is theirs."""

    def tell(watch: Watch, change: Change, run: str) -> None:
        if outbox is not None and watch.address:
            own = run if watch.owner is not None else ""
            look = f"{watch.id} after {watch.looked_at}"
            queue_change(outbox, watch.address, change.to_row(), run=own, look=look, now=faults.now())

    return tell
