"""What runs beside a site that is served: search is kept ready, sources are read, questions watched, mail goes out.

    with Background(site):
        server.run()

Each is a thread that looks at the database and leaves what another process already does to that one (leases). An error
is logged, and the next look tries again: pages are served whatever happens here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from foveal.errors import Cancelled, DatabaseError, FovealError
from foveal.web.collector import settle
from foveal.web.site import Site

LOOK_S = 60.0
"""Seconds between looks for papers that search does not know yet."""

WAIT_S = 5.0
"""Seconds that a thread has to end."""

logger = logging.getLogger("foveal.web")

Made = TypeVar("Made")


class Background:
    """The threads of one site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.stop = threading.Event()
        self.threads: list[threading.Thread] = []

    def __enter__(self) -> Background:
        jobs: list[Callable[[], None]] = [self.keep_search_ready, self.read_sources, self.watch_questions]
        if self.site.mail is not None:
            jobs.append(self.send_mail)
        for job in jobs:
            thread = threading.Thread(target=job, name=f"foveal-{job.__name__}", daemon=True)
            thread.start()
            self.threads.append(thread)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(WAIT_S)

    def keep_search_ready(self) -> None:
        """Index what is new; load, once, what a first search would wait for."""
        warm, synced = False, None
        while not self.stop.is_set():
            try:
                state = self.site.search.index.unindexed(synced)
                if state is not None:
                    self.site.search.sync()
                    synced = state
                if not warm:
                    self.site.search.warm()
                    settle()
                    warm = True
            except (FovealError, SQLAlchemyError) as error:  # another process indexes, or the encoder cannot be had
                logger.warning("search over papers waits: %s", error)
            except Exception:  # whatever it is: a thread that ended would not begin again before the site does
                logger.exception("search over papers waits")
            self.stop.wait(LOOK_S)

    def read_sources(self) -> None:
        """Read the sources of foveal.toml at their hours; publish what a curator picked for today."""
        from foveal.papers.schedule import Schedule

        made = self._begun("the schedule of papers waits", lambda: Schedule(self.site.database, self.site.settings))
        if made is not None:
            made.run(self.stop)

    def watch_questions(self) -> None:
        """Research watched questions again when they are due; what changed is mailed by `send_mail`."""
        from foveal.web.watched import looked

        while not self.stop.wait(LOOK_S):
            try:
                looked(self.site, self.stop)
            except Cancelled:
                pass  # most likely the server is being stopped, which ends this, too
            except (FovealError, SQLAlchemyError) as error:
                logger.warning("watched questions wait: %s", error)
            except Exception:  # as above
                logger.exception("watched questions wait")

    def send_mail(self) -> None:
        """Send the digest at its readers' hours."""
        from foveal.papers.mail.morning import Morning

        made = self._begun("the mail waits", lambda: Morning(self.site.settings, self.site.database))
        if made is not None:
            made.run(self.stop)

    def _begun(self, waits: str, make: Callable[[], Made]) -> Made | None:
        """What a thread works with, as soon as the database is there; None: the site ends before, or cannot have it."""
        while not self.stop.is_set():
            try:
                return make()
            except (DatabaseError, SQLAlchemyError) as error:
                logger.warning("%s: %s", waits, error)
            except FovealError as error:  # foveal.toml is wrong, and is read at the start only
                logger.error("%s: %s", waits, error)
                return None
            self.stop.wait(LOOK_S)
        return None
