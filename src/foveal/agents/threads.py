"""Calls side by side: each in a thread of its own, which the event loop waits for, tells of, and stops.

    threads = Threads()
    await threads.run(lambda call: tool(place, asked, call), report)        # CancelledError stops it
    with turns.of("model", call): …                                         # one at a time; the others wait, and say so
    threads.close()                                                         # at the end: stop all, wait a little

A thread that nobody waits for any more ends at its next look at the call's token.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from foveal.agents.place import EVERY_S, Call
from foveal.models.chat import Cancel

GRACE_S = 3.0
"""Seconds that `close` waits for threads to end what they write."""

LOOK_S = 0.1
"""Seconds between two looks of one who waits for a turn."""

STEP = 1e-3
"""The protocol wants each note of progress to be above the one before, also where only its words are new."""

T = TypeVar("T")
Report = Callable[[float, float | None, str | None], Awaitable[None]]
"""Sends how far a call is: done, of how much, in words."""


@dataclass(frozen=True)
class _End(Generic[T]):
    """How a call ended."""

    result: T | None = None
    error: Exception | None = None

    def given(self) -> T:
        """What came of it, or what it raised."""
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # a call that raised nothing has one


@dataclass(frozen=True)
class _Told:
    text: str
    done: float
    total: float | None


@dataclass
class Threads:
    """The calls of one server."""

    every_s: float = EVERY_S  # least seconds between two notes of a call
    _running: dict[threading.Thread, Cancel] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    async def run(self, work: Callable[[Call], T], report: Report) -> T:
        """Do `work` in a thread, and report how far it is. CancelledError sets its token."""
        loop, notes = asyncio.get_running_loop(), asyncio.Queue[_Told | _End[T]]()

        def post(note: _Told | _End[T]) -> None:
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(notes.put_nowait, note)

        def tell(text: str, done: float, total: float | None) -> None:
            post(_Told(text, done, total))

        cancel = Cancel()
        self._begin(work, Call(cancel, tell, self.every_s), post)
        last = 0.0
        try:
            while not isinstance(note := await notes.get(), _End):
                last = max(note.done, last + STEP)
                await report(last, note.total, note.text)
        except BaseException:
            cancel.set()
            raise
        return note.given()

    def close(self) -> bool:
        """Stop all, and give them a while to end; whether they have."""
        with self._lock:
            running = list(self._running.items())
        for _, cancel in running:
            cancel.set()
        until = time.monotonic() + GRACE_S
        for thread, _ in running:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread, _ in running)

    def _begin(self, work: Callable[[Call], T], call: Call, post: Callable[[_End[T]], None]) -> None:
        def done() -> None:
            try:
                end = _End(work(call))
            except Exception as error:  # raised where it is waited for
                end = _End(error=error)
            except BaseException as error:  # a panic of Rust, an exit: of this call, and not of the server
                end = _End(error=RuntimeError(f"{type(error).__name__}: {error}"))
            with self._lock:
                self._running.pop(threading.current_thread(), None)
            post(end)

        thread = threading.Thread(target=done, name="agent call", daemon=True)
        with self._lock:  # it takes itself out again
            thread.start()
            self._running[thread] = call.cancel


@dataclass
class Turns:
    """Work of one lane takes turns: two users of a model would only halve each other's speed; a library has one
    writer."""

    _lanes: dict[str, threading.Lock] = field(default_factory=dict)

    @contextmanager
    def of(self, lane: str, call: Call) -> Iterator[None]:
        """Inside, nobody else is in that lane; "" is none. Cancelled: while it was waited for."""
        if not lane:
            yield
            return
        lock = self._lanes.setdefault(lane, threading.Lock())
        if not lock.acquire(blocking=False):
            call.progressed("Waiting: another call goes first", now=True)
            while not lock.acquire(timeout=LOOK_S):
                call.cancel.check()
        try:
            call.cancel.check()
            yield
        finally:
            lock.release()
