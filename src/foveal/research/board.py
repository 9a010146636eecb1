"""What all parts of a run write on and read from: its events, and the state that they add up to.

board.tell("node.state", name="founder", state="running")      # log, state and keepers, in one order for all threads
board.seen().graph                                             # a copy that does not change under one's hands
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from threading import RLock
from typing import Any, Protocol

from foveal import faults
from foveal.research.events import Event, EventLog
from foveal.research.state import RunState


class Keeps(Protocol):
    """Where events are kept: the database (runs.py), a file (traces.py)."""

    def write(self, event: Event) -> None:
        """Take an event. It never raises: a run goes on though it is not kept any more."""
        ...

    def close(self) -> None:
        """There are no more."""
        ...


class Board:
    """The events of one run; threads may share it."""

    def __init__(self, log: EventLog, keepers: Sequence[Keeps] = ()) -> None:
        """`log` may hold the events of a run that goes on."""
        self.log = log
        self.state = RunState.of(log.so_far())
        self.lock = RLock()  # held by who tells several things that belong together
        self._keepers = tuple(keepers)
        self._over = False

    def tell(self, kind: str, /, **data: Any) -> None:
        """Add an event to log, state and keepers. A thread that comes late, when the run is over, is not heard."""
        with self.lock:
            if self._over:
                return
            event = self.log.append(kind, **data)
            self.state.apply(event)
            for keeper in self._keepers:
                keeper.write(event)

    def seen(self) -> RunState:
        """The state as it is now."""
        with self.lock:
            return RunState(
                run=self.state.run,
                graph=self.state.graph.copy(),
                refs=dict(self.state.refs),
                turns=list(self.state.turns),
                refused=self.state.refused,
                answer=self.state.answer,
                usage=self.state.usage,
            )

    def found(self) -> bool:
        """Whether any sub-question has an answer."""
        with self.lock:
            return any(node.answer for node in self.state.graph.searchers())

    def close(self) -> None:
        """No more is told."""
        with self.lock:
            self._over = True
        for keeper in self._keepers:
            keeper.close()
        self.log.close()


def today() -> date:
    """The day that models are told."""
    return faults.now().date()
