"""Reading a source into the database: asked in turn, every request recorded, nothing stored twice, gone on with later.

    read = ingest(database, source, "cs.CL", name="arxiv:cs.CL")   # read.upserted, read.error
    import_page(database, content, "page.html")                      # a page that was saved

Conditions  ETag and Last-Modified of the last good answer go with the request, where the last reading came to its end;
            304 changes nothing and is recorded, and the pages behind it are asked for as well
Once a day  what a source answered today is not asked again, unless `force`
Going on    the address of the next page is kept after every page (`SourceRow.cursor`), so that Ctrl-C, a kill or an
            error costs one page; a cursor older than a day, or one that is refused, means: begin anew
Failure     an item that cannot be read is left out and counted (`left_out`), and an error only where nothing else was
            there; what else goes wrong with a source, whatever it is, ends its reading, is recorded and told in
            `error`, and raises nothing, so that one source stops no other
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from threading import Event

from sqlalchemy import select
from sqlalchemy.orm import Session

from foveal import faults
from foveal.database import Database, add_unless_taken
from foveal.errors import FetchFailed, InputError
from foveal.papers.records import PaperRecord
from foveal.papers.schema import FetchRow, SourceRow
from foveal.papers.sources import Reading, WebSource
from foveal.papers.sources.pasted import PastedPage
from foveal.papers.upserts import Fetched, Upserted, upsert

FIRST_DAYS = 3
"""Days that are read of a source that was never read before, if nothing else is said."""

EMPTY_TRIES = 3
"""Times that a page is asked for again that is empty although it should not be."""

CURSOR_HOURS = 24
BATCH = 200
"""Records of one transaction: others wait for no more than that."""

logger = logging.getLogger("foveal.papers.ingest")


@dataclass
class Ingested:
    """What a reading did. `error` is "" where it came to its end; `stopped` where it was asked to stop."""

    name: str
    upserted: Upserted = field(default_factory=Upserted)
    requests: int = 0
    unchanged_answers: int = 0  # 304
    left_out: int = 0  # items that could not be read
    skipped: str = ""  # why nothing was asked
    error: str = ""
    stopped: bool = False
    moved_to: str = ""  # where the address that was asked has moved for good; whoever named it changes it

    @property
    def done(self) -> bool:
        """Whether the reading came to its end."""
        return not self.error and not self.stopped


def ingest(
    database: Database,
    source: WebSource,
    ask: str,
    *,
    name: str | None = None,
    since: date | None = None,
    force: bool = False,
    stop: Event | None = None,
    on_page: Callable[[Ingested], None] = lambda _: None,
) -> Ingested:
    """Read what is new of a source since its last reading (or since the day `since`), page by page.

    `name` is what the reading is remembered by (default: source and question). InputError: the source cannot be asked
    that. All else that goes wrong is in the answer's `error`.
    """
    day = faults.now().date()
    told = Ingested(name or f"{source.name}:{ask}"[:80])
    state = _state(database, told.name)
    asked = ask if since is None else f"{ask} (since {since})"
    known = state if state is not None and state.ask == asked else None
    first = source.first_url(ask, since=since or _first_day(known, source, day), today=day)
    going_on = _cursor(known) if known and not force else ""
    once = source.once_a_day and not force and not _broken_off(known)
    if once and ((known and known.read_to == day) or _answered(database, source, first, day)):
        told.skipped = f"{told.name} was asked already on {day}; an answer of today is not asked for again."
        return told
    begun = known.started_at if going_on and known and known.started_at else faults.now()
    _note(database, told.name, ask=asked, started_at=begun)
    whole = known is not None and not _broken_off(known)  # else pages behind an unchanged one may never have come
    reading = _Pass(database, source, ask, told, whole and source.conditional and not force, stop or Event(), on_page)
    reading.run(going_on or first)
    if going_on and told.error and told.requests == 1:  # the address to go on with had lapsed
        told.error = ""
        reading.run(first)
    ended = {"finished_at": faults.now(), "read_to": min(begun.date(), day), "cursor": ""} if told.done else {}
    if told.done and reading.wrong and not any(told.upserted.__dict__.values()):
        told.error = f"None of {told.left_out} items could be read. The first: {reading.wrong} Was the source changed?"
    _note(database, told.name, error=told.error, **ended)
    return told


def store(database: Database, records: Iterable[PaperRecord], fetched: Fetched, *, batch: int = BATCH) -> Upserted:
    """Upsert in small transactions, and then record the fetch."""
    done, held = Upserted(), iter(records)
    while some := list(islice(held, batch)):
        done += upsert(database, some)
    with database.writing() as session:
        session.add(FetchRow(**fetched.__dict__, **done.counts()))
    return done


def import_page(database: Database, content: bytes, name: str, *, listed_on: date | None = None) -> Upserted:
    """The papers of a saved page (text, HTML or JSON, see pasted.py); `listed_on` lists all of them on that day.

    UnreadableSource: no paper is found in it.
    """
    records = PastedPage().records(content, name, today=faults.now().date())
    listed = (replace(one, listed_on=listed_on) if listed_on else one for one in records)
    return store(database, listed, Fetched(source=PastedPage.name, url=name, sha256=_digest(content)))


def import_records(database: Database, records: Iterable[PaperRecord], *, source: str, ask: str) -> Upserted:
    """Records of a source on this machine, such as the library."""
    return store(database, records, Fetched(source=source, url=ask))


@dataclass
class _Pass:
    """One reading, from an address to its end."""

    database: Database
    source: WebSource
    ask: str
    told: Ingested
    conditional: bool
    stop: Event
    on_page: Callable[[Ingested], None]
    wrong: str = ""  # with the first item that could not be read

    def run(self, url: str) -> None:
        """Read page by page."""
        for following in self._pages(url):
            _note(self.database, self.told.name, cursor=following or "")
            self.on_page(self.told)

    def _pages(self, url: str | None) -> Iterator[str | None]:
        while url:
            if self.stop.is_set():
                self.told.stopped = True
                return
            try:
                url = self._page(url)
            except (FetchFailed, InputError) as error:
                self.told.error = str(error)
                logger.info("%s: %s", self.told.name, error)
                self._record(url or "", 0, error=str(error))
                return
            except Exception as error:  # whatever it is: the sources after this one are still to be asked
                logger.exception("%s: %s", self.told.name, url)
                self.told.error = unexpected(error)
                self._record(url or "", 0, error=self.told.error)
                return
            yield url

    def _page(self, url: str) -> str | None:
        """One page into the database; the address of the next."""
        for _ in range(EMPTY_TRIES + 1):
            conditions = _conditions(self.database, self.source, url) if self.conditional else {}
            self.told.requests += 1
            answer = self.source.get(url, conditions)
            if url == self.ask.strip():  # else a source made the address, and nobody could change it
                self.told.moved_to = answer.moved_to
            if answer.status == 304:
                self.told.unchanged_answers += 1
                self._record(url, 304, headers={**_kept(conditions), **answer.headers})
                unchanged = self.source.read(None, url)
                behind = unchanged.behind_url
                return behind if behind and _last(self.database, self.source, behind) else unchanged.next_url
            read = self.source.read(answer.content, url)
            if not read.empty:
                self._keep(url, answer.status, answer.headers, answer.content, read)
                return read.next_url
            self._record(url, answer.status, error="an empty page, though the total says more")
        raise FetchFailed(
            f"{url} came back empty {EMPTY_TRIES + 1} times, though its total says that more papers fit. Try again "
            "later; what was read is kept, and the next reading goes on there."
        )

    def _keep(self, url: str, status: int, headers: Mapping[str, str], content: bytes, read: Reading) -> None:
        if read.left_out:
            self.told.left_out += len(read.left_out)
            self.wrong = self.wrong or read.left_out[0]
            count = len(read.left_out)
            items = "1 item is left out" if count == 1 else f"{count} items are left out; the first"
            logger.warning("%s: %s: %s", url, items, read.left_out[0])
        error = read.left_out[0] if read.left_out and not read.records else ""
        fetched = replace(_fetched(self.source, url, status, headers), sha256=_digest(content), error=error)
        self.told.upserted += store(self.database, read.records, fetched)

    def _record(self, url: str, status: int, *, headers: Mapping[str, str] | None = None, error: str = "") -> None:
        store(self.database, (), replace(_fetched(self.source, url, status, headers or {}), error=error))


def unexpected(error: Exception) -> str:
    """What to say of an error that nobody thought of, in a line."""
    said = " ".join(str(error).split())[:300]
    return f"Nobody thought of this error: {type(error).__name__}: {said}. The log says where; it is tried again later."


def _fetched(source: WebSource, url: str, status: int, headers: Mapping[str, str]) -> Fetched:
    return Fetched(
        source=source.name,
        url=_address(url),
        status=status,
        etag=headers.get("etag", ""),
        last_modified=headers.get("last-modified", ""),
    )


def _conditions(database: Database, source: WebSource, url: str) -> dict[str, str]:
    """The headers that ask whether the answer has changed since the last good one."""
    last = _last(database, source, url)
    told = {"if-none-match": last.etag, "if-modified-since": last.last_modified} if last else {}
    return {name: value for name, value in told.items() if value}


def _kept(conditions: Mapping[str, str]) -> dict[str, str]:
    """What a 304 need not say again."""
    return {"etag": conditions.get("if-none-match", ""), "last-modified": conditions.get("if-modified-since", "")}


def _last(database: Database, source: WebSource, url: str, since: datetime | None = None) -> FetchRow | None:
    """The last good answer of an address, if there is one since a time."""
    wanted = select(FetchRow).where(
        FetchRow.source == source.name, FetchRow.url == _address(url), FetchRow.error == "", FetchRow.status < 400
    )
    if since is not None:
        wanted = wanted.where(FetchRow.at >= since)
    with database.reading() as session:
        return session.scalar(wanted.order_by(FetchRow.at.desc(), FetchRow.id.desc()).limit(1))


def _answered(database: Database, source: WebSource, url: str, day: date) -> bool:
    midnight = datetime.combine(day, time(), UTC)
    return _last(database, source, url, since=midnight) is not None


def _state(database: Database, name: str) -> SourceRow | None:
    with database.reading() as session:
        return session.get(SourceRow, name)


def _note(database: Database, name: str, **told: object) -> None:
    """Set columns of a source's row, which is made where there is none."""
    with database.writing() as session:
        row = source_row(session, name)
        for column, value in told.items():
            setattr(row, column, value)


def source_row(session: Session, name: str) -> SourceRow:
    """The row of a source, made where there is none."""
    if session.get(SourceRow, name) is None:
        add_unless_taken(session, SourceRow(name=name))
    return session.get_one(SourceRow, name)


def _first_day(known: SourceRow | None, source: WebSource, day: date) -> date:
    if known is None or known.read_to is None:
        return day - timedelta(days=FIRST_DAYS)
    if known.read_to > day:  # by a clock that was ahead: nobody knows up to when it was read
        return day - timedelta(days=max(FIRST_DAYS, source.overlap_days))
    return known.read_to - timedelta(days=source.overlap_days)


def _broken_off(known: SourceRow | None) -> bool:
    """Whether the last reading did not come to its end."""
    if known is None or known.started_at is None:
        return False
    return known.finished_at is None or known.finished_at < known.started_at


def _cursor(known: SourceRow) -> str:
    """The address at which the last reading was broken off, "" where it was not, or too long ago."""
    fresh = known.started_at and faults.now() - known.started_at < timedelta(hours=CURSOR_HOURS)
    return known.cursor if fresh else ""


def _address(url: str) -> str:
    """What a server sees of a URL."""
    return url.partition("#")[0]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
