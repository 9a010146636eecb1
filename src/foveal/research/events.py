"""What happens in a run, as numbered events: who watches, resumes or replays a run reads these and nothing else.

    log = EventLog()
    log.append("node.state", name="founder", state="running")
    for event in log.follow(after=17): …             # from 18 on, waiting for more until the run is done
    sse(event)                                       # id, event and data lines of a server-sent event

Events are deltas: each is sent once, and folding them in order (state.py) gives the whole. Ids count from 1.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Condition
from typing import Any

from foveal.errors import InputError

KINDS = {
    "run": "a run begins, or goes on: question, settings",
    "plan.delta": "words of the planner, as they come",
    "plan.turn": "a whole turn of the planner: what it wrote",
    "plan.observation": "what the planner is told of its turn; `refused` if the plan was not taken",
    "graph.reset": "the graph begins anew",
    "graph.node": "a node is added, or its question changed",
    "graph.edge": "an edge is added",
    "node.state": "waiting, running, finished, failed (`broken`: a search or the model failed), cancelled, stale",
    "node.queries": "what is searched for",
    "node.results": "what was found: index, url, title, summ",
    "node.selected": "which of the results are read",
    "node.page": "a page was read, or why not; what reads like orders to a model is shown in `orders`",
    "answer.node.delta": "words of a node's answer, citations numbered as in its results",
    "node.reused": "a node's answer is that of an earlier run: to which question, and when",
    "node.answer": "a node's whole answer, citations numbered as in the run, and `quotes` of its statements by number",
    "refs": "new citations by their numbers, which never change",
    "answer.delta": "words of the answer",
    "answer.reset": "the answer is written anew: what was streamed of it is void",
    "node.value": "deep research: what a branch of the tree is worth, its visits, how far it is borne out",
    "plan.chosen": "deep research: which planner, why, and how many searches it will make",
    "brief": "deep research: what the report is judged against",
    "step.begun": "deep research: a step begins",
    "step": "deep research: a step is over, and what it gave; it is never done again, unless a search or page failed",
    "source": "deep research: a source that evidence comes from",
    "evidence": "deep research: a passage that may be cited, and what it says",
    "memory": "deep research: what a search changed in the memory: taken in, superseded, in conflict, forgotten",
    "memory.edit": "deep research: what a person changed in the memory: a fact pinned, unpinned or deleted",
    "draft": "deep research: a draft, how much of it is borne out, whether it is the best so far",
    "claim": "deep research: a sentence of the report, and whether its evidence bears it out",
    "report": "deep research: the report, as its ledger",
    "usage": "what was spent so far",
    "error": "something failed; the run goes on without it, or ends; `source`: one of several did not answer",
    "done": "the run has ended: `stopped_by` is None where nothing stopped it",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `data` holds plain values only, `at` is in seconds since the epoch."""

    id: int
    kind: str
    data: dict[str, Any]
    at: float

    def line(self) -> str:
        """As one line of a trace."""
        row = {"id": self.id, "kind": self.kind, "at": round(self.at, 3), "data": self.data}
        return json.dumps(row, ensure_ascii=False)

    @classmethod
    def from_row(cls, row: Any) -> Event:
        """The event of a trace's line. InputError: it is none."""
        fits = isinstance(row, dict) and isinstance(row.get("id"), int) and isinstance(row.get("data"), dict)
        if not fits or row.get("kind") not in KINDS or not isinstance(row.get("at", 0.0), int | float):
            raise InputError("A line of the trace is no event of a run. Give a file that --trace wrote.")
        return cls(row["id"], row["kind"], row["data"], row.get("at", 0.0))


class EventLog:
    """The events of one run; any number of threads may add to it and follow it."""

    def __init__(self, before: Sequence[Event] = (), *, clock: Callable[[], float] = time.time) -> None:
        """`before` are the events of a run that goes on."""
        self._events = list(before)
        self._changed = Condition()
        self._closed = False
        self._clock = clock

    def append(self, kind: str, /, **data: Any) -> Event:
        """Add an event and wake who waits for it."""
        if kind not in KINDS:
            raise InputError(f"No event is called {kind!r}. There are: {', '.join(KINDS)}.")
        with self._changed:
            event = Event(len(self._events) + 1, kind, data, self._clock())
            self._events.append(event)
            self._changed.notify_all()
        return event

    def close(self) -> None:
        """No more events will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the run has ended."""
        return self._closed

    def so_far(self, after: int = 0) -> list[Event]:
        """The events behind number `after`. InputError: a number below 0."""
        if after < 0:
            raise InputError(f"Events are numbered from 1; {after} is none. Give the id of the last one that came.")
        with self._changed:
            return self._events[after:]

    def follow(self, after: int = 0) -> Iterator[Event]:
        """The events behind number `after`, those to come as well, each once, until the run has ended."""
        while True:
            for event in self.so_far(after):
                after = event.id
                yield event
            with self._changed:
                while len(self._events) <= after and not self._closed:
                    self._changed.wait(0.5)  # a bounded wait, so that Ctrl-C gets through
                if len(self._events) <= after:
                    return

    async def afollow(self, after: int = 0) -> AsyncIterator[Event]:
        """`follow` for an event loop: the one bridge, a thread waits in its place."""
        while True:
            for event in self.so_far(after):
                after = event.id
                yield event
            if not await asyncio.to_thread(self.more, after):
                return

    def more(self, after: int, seconds: float = 0.5) -> bool:
        """Wait some time, or until there is more than `after`; whether more may come."""
        with self._changed:
            if len(self._events) <= after and not self._closed:
                self._changed.wait(seconds)
            return len(self._events) > after or not self._closed


def sse(event: Event) -> str:
    """The event as a server-sent one; a client that comes back names its id as Last-Event-ID."""
    return f"id: {event.id}\nevent: {event.kind}\ndata: {json.dumps(event.data, ensure_ascii=False)}\n\n"
