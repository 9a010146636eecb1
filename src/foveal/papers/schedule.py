"""When sources are read: once by hand (`foveal papers update`), or at their hours inside `foveal serve`.

    for told in update(database, settings): …           # every source of foveal.toml, now
    for one in standing(database, settings): …          # how each stands: when it was read, what went wrong
    Schedule(database, settings).run(stop)              # at their hours, until `stop` is set; a thread of `serve`

Due        a source is due when an hour of its has passed since it was last begun. The clock on the wall decides at
           every look, so that a machine that slept, or a server that was down, catches up, once
Failure    a source that failed is tried again after `RETRY_MINUTES`, until its next hour, and so is what stands beside.
           No error, whatever it is, ends the schedule or keeps the next source from being asked
One        of all processes on a database one runs the schedule: who holds the row "papers" of `lease`. While it reads,
           however long one page takes, a small thread prolongs it; a holder that dies loses it after `LEASE_S`
Beside     stars of repositories (stars.py) and first pages (pictures.py) are read as a source is; picks whose day has
           come go on their page; rising topics are mined anew (rising.py), counts foretold (trend_forecast.py), new
           titles judged (headline_lines.py); once a day old requests are forgotten (fetches.py)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Thread

from sqlalchemy import exc, select

from foveal import faults
from foveal.database import Database
from foveal.errors import FovealError, UnknownName
from foveal.papers import fetches, headline_lines, lease, rising, stars, trend_forecast
from foveal.papers.curating import publish
from foveal.papers.ingest import Ingested, import_records, ingest, source_row, unexpected
from foveal.papers.plans import PICTURES, STARS, Plan, plans_of
from foveal.papers.schema import SourceRow
from foveal.papers.sources import Connection
from foveal.registry import PAPER_SOURCES, lookup
from foveal.settings import Settings
from foveal.text.fetching import FetchSettings

LEASE = "papers"
LEASE_S = 600
HOLD_S = 60
"""Seconds after which the lease is prolonged while something is read."""

LOOK_S = 30
"""Seconds between two looks at the clock."""

RETRY_MINUTES = 30
RETRY = timedelta(minutes=RETRY_MINUTES)

logger = logging.getLogger("foveal.papers.schedule")


def connection_of(settings: Settings, *, url: str | None = None) -> Connection:
    """How the web is asked by this home."""
    fetching = FetchSettings(allow_private=settings.allow_private_addresses, max_bytes=settings.max_bytes, retries=3)
    return Connection(fetch=fetching, pace_file=settings.cache / "arxiv.pace", base_url=url)


def update(
    database: Database,
    settings: Settings,
    names: Sequence[str] = (),
    *,
    force: bool = False,
    stop: Event | None = None,
    on_page: Callable[[Ingested], None] = lambda _: None,
) -> Iterator[Ingested]:
    """Read the sources of foveal.toml with these names (none: all), now. UnknownName: there is no such source."""
    plans = plans_of(settings)
    known = [plan.name for plan in plans]
    for name in names:
        if name not in known:
            raise UnknownName(f"No source of foveal.toml is called {name!r}. There are: {', '.join(known) or 'none'}.")
    publish(database, faults.now().date())
    for plan in plans:
        if not names or plan.name in names:
            yield read(database, settings, plan, force=force, stop=stop, on_page=on_page)
    fetches.prune(database)
    rising.refresh(database)
    trend_forecast.refresh(database, settings.home)


@dataclass(frozen=True)
class Standing:
    """How a source of foveal.toml stands."""

    name: str
    kind: str
    ask: str
    read_at: datetime | None  # when it was last read to its end
    next_at: datetime  # when `foveal serve` reads it next; one that is due waits for its next look
    error: str  # of the last reading


def standing(database: Database, settings: Settings) -> list[Standing]:
    """Each source of foveal.toml, in its order; one that is asked something else than before was never read."""
    with database.reading() as session:
        rows = {row.name: row for row in session.scalars(select(SourceRow))}
    found, now = [], faults.now()
    for plan in plans_of(settings):
        row = rows.get(plan.name)
        read_at, error = (row.finished_at, row.error) if row and row.ask == plan.ask else (None, "")
        found.append(Standing(plan.name, plan.kind, plan.ask, read_at, next_of(row, plan, now), error))
    return found


def next_of(row: SourceRow | None, plan: Plan, now: datetime) -> datetime:
    """When a source is read next, as `Schedule.is_due` decides it; `now` of one that is due."""
    begun = _begun(row, plan, now)
    if row is None or begun is None or begun < plan.due(now):
        return now
    following = plan.next(now)
    return following if _ended(row) else max(now, min(following, begun + RETRY))


def _begun(row: SourceRow | None, plan: Plan, now: datetime) -> datetime | None:
    """When what the plan asks was last begun; None: never, or by a clock that was ahead."""
    if row is None or row.started_at is None or row.started_at > now or row.ask != plan.ask:
        return None
    return row.started_at


def _ended(row: SourceRow) -> bool:
    """Whether the last reading came to its end."""
    return row.finished_at is not None and row.started_at is not None and row.finished_at >= row.started_at


def read(
    database: Database,
    settings: Settings,
    plan: Plan,
    *,
    force: bool = False,
    stop: Event | None = None,
    on_page: Callable[[Ingested], None] = lambda _: None,
) -> Ingested:
    """Read one source now, whatever it is; what goes wrong is in the answer's `error`."""
    try:
        if plan.kind == STARS:
            return _stars(database, settings, plan, force, stop, on_page)
        if plan.kind == PICTURES:
            return _pictures(database, settings, plan, force, stop, on_page)
        if plan.kind == "library":
            return _library(database, settings, plan)
        source = lookup(PAPER_SOURCES, plan.kind, kind="source")(connection_of(settings, url=plan.url))
        return ingest(database, source, plan.ask, name=plan.name, force=force, stop=stop, on_page=on_page)
    except FovealError as error:  # what it is asked makes no sense, the library is busy: the others go on
        _noted(database, plan, error=str(error))
        return Ingested(plan.name, error=str(error))
    except Exception as error:  # whatever it is, they do
        logger.exception("%s", plan.name)
        _noted(database, plan, error=unexpected(error))
        return Ingested(plan.name, error=unexpected(error))


def _stars(
    database: Database,
    settings: Settings,
    plan: Plan,
    force: bool,
    stop: Event | None,
    on_page: Callable[[Ingested], None],
) -> Ingested:
    done = Ingested(plan.name)
    connection = connection_of(settings, url=plan.url)
    told = stars.sample(database, connection, force=force, stop=stop, on_answer=lambda: on_page(done))
    _noted(database, plan, error=told.error)
    done.requests, done.unchanged_answers = told.requests, told.unchanged_answers
    done.error, done.stopped = told.error, told.stopped
    return done


def _pictures(
    database: Database,
    settings: Settings,
    plan: Plan,
    force: bool,
    stop: Event | None,
    on_page: Callable[[Ingested], None],
) -> Ingested:
    from foveal.papers.pictures import fetch_pictures

    done, connection = Ingested(plan.name), connection_of(settings, url=plan.url)
    home = settings.home
    told = fetch_pictures(database, home, connection, plan.ask, force=force, stop=stop, on_answer=lambda: on_page(done))
    _noted(database, plan, error=told.error)
    done.requests, done.error, done.stopped = told.requests, told.error, told.stopped
    return done


def _library(database: Database, settings: Settings, plan: Plan) -> Ingested:
    from foveal.library import Library
    from foveal.papers.sources.library_documents import LibraryDocuments

    records = LibraryDocuments(Library.open(settings=settings, create=False)).records(plan.ask)
    done = Ingested(plan.name, import_records(database, records, source=plan.kind, ask=plan.ask))
    _noted(database, plan, error="")
    return done


def _noted(database: Database, plan: Plan, *, error: str) -> None:
    """Remember that a source was begun, and how it ended, as `ingest` does for those that it reads."""
    now = faults.now()
    with database.writing() as session:
        row = source_row(session, plan.name)
        row.ask, row.started_at, row.error = plan.ask, now, error
        row.finished_at = row.finished_at if error else now


@dataclass
class Schedule:
    """Reads every source at its hours. `holder` names this process among those that share the database."""

    database: Database
    settings: Settings
    holder: str = ""

    def __post_init__(self) -> None:
        self.holder = self.holder or lease.new_holder()
        self.plans = plans_of(self.settings)
        self._tried: dict[str, datetime] = {}
        self._waits: dict[str, datetime] = {}
        self._forgot: datetime | None = None

    def run(self, stop: Event) -> None:
        """Read what is due, look again, until `stop` is set; what a source costs is logged, never raised."""
        try:
            while not stop.is_set():
                try:
                    self.tick(stop)
                except (FovealError, exc.SQLAlchemyError) as error:  # the database may come back
                    logger.warning("the schedule of papers waits: %s", error)
                except Exception:  # a thread that ended would read nothing until the site starts again
                    logger.exception("the schedule of papers waits")
                stop.wait(LOOK_S)
        finally:
            with suppress(exc.SQLAlchemyError):
                release(self.database, LEASE, self.holder)

    def tick(self, stop: Event) -> list[Ingested]:
        """Read what is due now, if this process is the one that does."""
        if not take(self.database, LEASE, self.holder, LEASE_S):
            return []
        with self._held():
            publish(self.database, faults.now().date())
            done = [self._read(plan, stop) for plan in self.plans if self._begins(plan, stop)]
            self._beside("rising topics are not mined", stop, lambda: rising.refresh(self.database))
            home = self.settings.home
            self._beside("nothing is foretold", stop, lambda: trend_forecast.refresh(self.database, home))
            self._beside("old requests are kept", stop, self._forget)
            judge = headline_lines.judge_new
            self._beside("titles are not judged", stop, lambda: judge(self.database, self.settings, stop=stop))
        return done

    def _begins(self, plan: Plan, stop: Event) -> bool:
        return not stop.is_set() and self.is_due(plan, faults.now())

    def _read(self, plan: Plan, stop: Event) -> Ingested:
        self._tried[plan.name] = faults.now()
        told = read(self.database, self.settings, plan, stop=stop)
        left = f"read; {told.left_out} items could not be" if told.left_out else "read"
        logger.log(logging.WARNING if told.error else logging.INFO, "%s: %s", plan.name, told.error or left)
        if told.moved_to:
            logger.warning("%s: it moved to %s; change its address in foveal.toml.", plan.name, told.moved_to)
        return told

    def _beside(self, failed: str, stop: Event, job: Callable[[], object]) -> None:
        """Do what is done beside reading; a failure keeps nothing else from being done, and waits for a while."""
        left = self._waits.get(failed, faults.now()) - faults.now()
        if stop.is_set() or timedelta() < left <= RETRY:  # longer: the clock was ahead
            return
        try:
            job()
        except (FovealError, exc.SQLAlchemyError) as error:
            logger.warning("%s: %s", failed, error)
        except Exception:  # of a model, most likely
            logger.exception("%s", failed)
        else:
            return
        self._waits[failed] = faults.now() + RETRY

    def _forget(self) -> None:
        """Forget old requests to sources, once a day."""
        if self._forgot is None or abs(faults.now() - self._forgot) >= timedelta(days=1):
            fetches.prune(self.database)
            self._forgot = faults.now()

    def is_due(self, plan: Plan, now: datetime) -> bool:
        """Whether an hour of the plan has passed since it was last begun, or it failed a while ago."""
        with self.database.reading() as session:
            row = session.get(SourceRow, plan.name)
        begun = _begun(row, plan, now)
        if row is None or begun is None:
            return self._may_try(plan, now)
        begun = max(begun, self._tried_at(plan, now) or begun)
        if begun < plan.due(now):
            return True
        return not _ended(row) and self._may_try(plan, now, begun)

    def _may_try(self, plan: Plan, now: datetime, begun: datetime | None = None) -> bool:
        last = self._tried_at(plan, now) or begun
        return last is None or now - last >= RETRY

    def _tried_at(self, plan: Plan, now: datetime) -> datetime | None:
        """When this process last tried; None where that is ahead: the clock was wrong then."""
        last = self._tried.get(plan.name)
        return last if last is not None and last <= now else None

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the lease inside the block: a page with many papers, or a model, takes longer than it lasts."""
        ended = Event()

        def hold() -> None:
            while not ended.wait(HOLD_S):
                try:
                    take(self.database, LEASE, self.holder, LEASE_S)
                except exc.SQLAlchemyError as error:  # the next time may do
                    logger.warning("the lease of the schedule is not prolonged: %s", error)

        thread = Thread(target=hold, name="foveal-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def take(database: Database, name: str, holder: str, seconds: float) -> bool:
    """Take a task for some seconds, or hold it longer; False where another process has it."""
    with database.writing() as session:
        return lease.take(session, name, holder, seconds=seconds)


def release(database: Database, name: str, holder: str) -> None:
    """Give a task back before its time."""
    with database.writing() as session:
        lease.release(session, name, holder)
