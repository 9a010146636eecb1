"""Runs in the SQL database: each with its events, so that one that was killed goes on, and any can be looked at again.

    runs = Runs(database)
    key = runs.new("Who taught the architect?", options={"sources": ["library"]}, owner=Owner(person=7))
    with runs.keep(key) as keeper: MindSearch(…).start(question, key=key, keepers=[keeper])
    runs.get(key).status, runs.events(key, after=17), runs.listed(Owner(person=7))

Holding    one process at a time writes a run: it says every `BEAT_S` seconds that it still does. What a process of this
           machine left when it was killed is free at once, another machine's after `HELD_S` (database.Hold)
Words      events go in from a thread of the keeper's, those of some hundredths of a second in one transaction; what a
           run builds on (`traces.is_forced`) is stored before it goes on
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Condition, Thread
from types import TracebackType
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from foveal import faults
from foveal.database import Database, Hold, new_holder, rows_changed, storable_json, storable_text
from foveal.errors import DatabaseError, InputError, UnknownRun
from foveal.research.answers import researched
from foveal.research.events import Event
from foveal.research.schema import EventRow, RunRow
from foveal.research.state import RunState
from foveal.research.traces import is_forced

BEAT_S, HELD_S = 10.0, 40.0
GATHER_S = 0.05
"""Seconds that words wait for others to be stored with."""

CLOSE_S = 30.0
"""Seconds that what a run builds on may take to be stored."""

logger = logging.getLogger("foveal.research.runs")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose runs: a person's, or those of a visitor's browser; of neither: the command line's."""

    person: int | None = None
    browser: str = ""  # a hash


@dataclass(frozen=True)
class KeptRun:
    """A run as a list shows it."""

    key: str
    question: str
    status: str  # waiting, running, done, broken (it was killed, and can go on)
    stopped_by: str | None
    options: Mapping[str, Any]
    used: Mapping[str, Any]
    answer: str
    citations: Sequence[Mapping[str, Any]]
    owner: Owner
    shared: bool
    created_at: datetime
    changed_at: datetime

    def is_of(self, owner: Owner) -> bool:
        """Whether it is this owner's."""
        same_browser = bool(owner.browser) and owner.browser == self.owner.browser
        return owner.person == self.owner.person if self.owner.person is not None else same_browser


class Runs:
    """The runs of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def new(self, question: str, *, options: Mapping[str, Any] | None = None, owner: Owner = Owner()) -> str:
        """The key of a new run, which waits."""
        key = uuid.uuid4().hex
        row = RunRow(
            id=key,
            question=storable_text(question),
            options=storable_json(options or {}),
            owner_id=owner.person,
            browser_hash=owner.browser,
        )
        with self.database.writing() as session:
            session.add(row)
        return key

    def get(self, key: str) -> KeptRun:
        """The run of a key. UnknownRun: there is none."""
        return self._kept(self._row(key))

    def find(self, beginning: str) -> KeptRun:
        """The run whose key begins so. UnknownRun: there is none, or there are several."""
        wanted = select(RunRow).where(RunRow.id.startswith(beginning.lower(), autoescape=True)).limit(2)
        with self.database.reading() as session:
            rows = list(session.scalars(wanted)) if len(beginning) >= 4 else []
        if len(rows) != 1:
            what = "Several runs begin" if rows else "No run begins"
            raise UnknownRun(
                f"{what} with {beginning[:40]!r}, and there is no trace of that name. Give 4 or more characters of a "
                "key of `foveal research list`, or a trace's file."
            )
        return self._kept(rows[0])

    def listed(self, owner: Owner | None = None, *, limit: int = 20, page: int = 0) -> list[KeptRun]:
        """The runs of an owner, or all of the database, the newest first."""
        wanted = select(RunRow).order_by(RunRow.created_at.desc(), RunRow.id).offset(page * limit).limit(limit)
        if owner is not None:
            wanted = wanted.where(_of(owner))
        with self.database.reading() as session:
            rows = list(session.scalars(wanted))
        return [self._kept(row) for row in rows]

    def count(self, owner: Owner) -> int:
        """How many runs are an owner's."""
        with self.database.reading() as session:
            return session.scalar(select(func.count()).select_from(RunRow).where(_of(owner))) or 0

    def events(self, key: str, after: int = 0) -> list[Event]:
        """The events of a run behind number `after`."""
        wanted = select(EventRow).where(EventRow.run_id == key, EventRow.id > after).order_by(EventRow.id)
        with self.database.reading() as session:
            return [Event(row.id, row.kind, json.loads(row.data), row.at) for row in session.scalars(wanted)]

    def exported(self, owner: Owner) -> list[dict[str, Any]]:
        """All that is stored of an owner's runs, as JSON holds it."""
        with self.database.reading() as session:
            rows = list(session.scalars(select(RunRow).where(_of(owner)).order_by(RunRow.created_at, RunRow.id)))
        return [
            {
                "key": row.id,
                "question": row.question,
                "options": json.loads(row.options),
                "shared": row.shared,
                "created_at": row.created_at.isoformat(),
                "events": [
                    {"id": one.id, "kind": one.kind, "at": one.at, "data": one.data} for one in self.events(row.id)
                ],
            }
            for row in rows
        ]

    def keep(self, key: str) -> Keeper:
        """Hold a run, to add events to it. InputError: another process writes it. UnknownRun: there is none."""
        keeper = Keeper(self.database, key)
        keeper.hold()
        try:
            keeper.go_on_from(self.events(key))  # read now: until it was held, another process may have added to them
        except BaseException:
            keeper.close()
            raise
        return keeper

    def take_in(self, events: Sequence[Event], *, owner: Owner = Owner()) -> str:
        """Store the run of a trace under a key of its own. DatabaseError: it cannot be stored; nothing of it is."""
        state = RunState.of(events)
        key = self.new(state.question, options={"sources": [], "imported": state.run.get("source", "")}, owner=owner)
        with self.keep(key) as keeper:
            for event in events:
                keeper.write(event)
        if keeper.failed:
            with suppress(SQLAlchemyError):
                self._delete(key)
            raise DatabaseError("The run was not taken in: the database did not take its events. See the log for why.")
        return key

    def share(self, key: str, shared: bool) -> None:
        """Let all who have its address look at a run, or its owner alone."""
        with self.database.writing() as session:
            session.execute(update(RunRow).where(RunRow.id == key).values(shared=shared))

    def adopt(self, browser: str, person: int) -> None:
        """Give the runs of a browser to a person."""
        if browser:
            mine = update(RunRow).where(RunRow.browser_hash == browser, RunRow.owner_id.is_(None))
            with self.database.writing() as session:
                session.execute(mine.values(owner_id=person, browser_hash=""))

    def called_off(self, key: str) -> None:
        """A run that waited does not begin."""
        off = update(RunRow).where(RunRow.id == key, RunRow.status == "waiting")
        with self.database.writing() as session:
            session.execute(off.values(status="done", stopped_by="cancelled", changed_at=faults.now()))

    def remove(self, key: str) -> None:
        """Delete a run and its events. InputError: a process writes it."""
        row = self._row(key)
        if self._kept(row).status == "running":
            raise InputError(f"This run goes on. Cancel it first, and then delete it.{_hold(row).advice}")
        self._delete(key)

    def _row(self, key: str) -> RunRow:
        with self.database.reading() as session:
            row = session.get(RunRow, key)
        if row is None:
            raise UnknownRun(f"No run is kept as {key[:40]!r}. `foveal research list` shows those there are.")
        return row

    def _kept(self, row: RunRow) -> KeptRun:
        is_broken = row.status == "running" and not _hold(row).lasts_in(self.database)
        status = "broken" if is_broken else row.status
        return KeptRun(
            key=row.id,
            question=row.question,
            status=status,
            stopped_by=row.stopped_by,
            options=json.loads(row.options),
            used=json.loads(row.used),
            answer=row.answer,
            citations=json.loads(row.citations),
            owner=Owner(row.owner_id, row.browser_hash),
            shared=row.shared,
            created_at=row.created_at,
            changed_at=row.changed_at,
        )

    def _delete(self, key: str) -> None:
        with self.database.writing() as session:
            session.execute(delete(EventRow).where(EventRow.run_id == key))
            session.execute(delete(RunRow).where(RunRow.id == key))


class Keeper:
    """Stores the events of one run as they come; a run's board calls `write` and `close`."""

    def __init__(self, database: Database, key: str) -> None:
        self.key = key
        self.failed = False  # whether something could not be stored: what comes after it is not, either
        self._database = database
        self._holder = new_holder()
        self._state = RunState()
        self._waiting: list[Event] = []
        self._stored = 0
        self._closing = False
        self._changed = Condition()
        self._thread = Thread(target=self._go, name=f"foveal-keeper-{key[:8]}", daemon=True)

    def hold(self) -> None:
        """Take the run, for this keeper alone. InputError: another one has it. UnknownRun: there is none."""
        moment = faults.now()
        with self._database.writing() as session:
            row = session.get(RunRow, self.key)
            if row is None:
                raise UnknownRun(f"No run is kept as {self.key!r}.")
            same = (RunRow.holder == row.holder) & (RunRow.held_until == row.held_until)  # as it was looked at
            mine = update(RunRow).where(RunRow.id == self.key, or_(RunRow.holder == "", same))
            taken = mine.values(holder=self._holder, held_until=_until(moment), status="running")
            advice = _hold(row).advice
            is_ours = not _hold(row).lasts(session) and rows_changed(session, taken) == 1
        if not is_ours:  # told outside: what was seen of the other is to be kept
            raise InputError(
                f"This run goes on already, in this or another process. Wait for its end, or cancel it.{advice}"
            )
        self._thread.start()

    def go_on_from(self, before: Sequence[Event]) -> None:
        """Take it that these events are stored already."""
        self._state = RunState.of(before)
        self._stored = self._state.last

    def write(self, event: Event) -> None:
        """Take an event; what a run builds on is stored when this returns."""
        with self._changed:
            if self._closing or self.failed:
                return
            self._waiting.append(event)
            self._changed.notify_all()
            if is_forced(event):
                self._changed.wait_for(lambda: self.failed or self._stored >= event.id, CLOSE_S)

    def close(self) -> None:
        """Store what waits, and let go of the run."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_S)

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _go(self) -> None:
        """Store until it is closed; at the latest every `BEAT_S` seconds say that the run is held."""
        over = False
        while not over and not self.failed:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closing, BEAT_S)
                if not self._closing:
                    self._changed.wait_for(self._hurry, GATHER_S)
                taken, self._waiting = self._waiting, []
                over = self._closing
            try:
                self._store(taken, over=over)
            except (SQLAlchemyError, InputError) as error:
                logger.warning("the run %s is not stored any more: %s", self.key, error)
                self.failed = True
            except Exception:  # whatever it is: who writes would wait for a thread that is no more
                logger.exception("the run %s is not stored any more", self.key)
                self.failed = True
            with self._changed:
                self._stored = taken[-1].id if taken else self._stored
                self._changed.notify_all()

    def _hurry(self) -> bool:
        return self._closing or any(map(is_forced, self._waiting))

    def _store(self, events: Sequence[Event], *, over: bool) -> None:
        for event in events:
            self._state.apply(event)
        moment = faults.now()
        values = self._told(events) | {"held_until": None if over else _until(moment), "holder": self._held(over)}
        if events:
            values["changed_at"] = moment
        rows = [
            {"run_id": self.key, "id": one.id, "kind": one.kind, "at": one.at, "data": storable_json(one.data)}
            for one in events
        ]
        with self._database.writing() as session:
            mine = update(RunRow).where(RunRow.id == self.key, RunRow.holder == self._holder)
            if rows_changed(session, mine.values(**values)) != 1:
                raise InputError("another process holds it, or it was deleted")
            if rows:
                session.execute(insert(EventRow), rows)

    def _held(self, over: bool) -> str:
        return "" if over else self._holder

    def _told(self, events: Sequence[Event]) -> dict[str, Any]:
        """The columns of a run that these events change."""
        kinds = {event.kind for event in events}
        values: dict[str, Any] = {}
        if "run" in kinds:
            values |= {"question": storable_text(self._state.question), "status": "running", "stopped_by": None}
        if "usage" in kinds:
            values["used"] = storable_json(self._state.usage)
        if kinds & {"answer.reset", "done"}:
            values["answer"] = storable_text(self._state.answer)
            values["citations"] = storable_json(researched(self._state).to_json()["citations"])
        if "done" in kinds and self._state.done is not None:
            values |= {"status": "done", "stopped_by": self._state.done.get("stopped_by")}
        return values


def _of(owner: Owner) -> ColumnElement[bool]:
    if owner.person is not None:
        return RunRow.owner_id == owner.person
    return (RunRow.browser_hash == owner.browser) & RunRow.owner_id.is_(None)


def _hold(row: RunRow) -> Hold:
    return Hold(f"run {row.id}", row.holder, row.held_until, HELD_S)


def _until(moment: datetime) -> datetime:
    return moment + timedelta(seconds=HELD_S)
