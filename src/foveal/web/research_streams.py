"""A run as it goes on, as server-sent events: parts of its page for HTMX, and its own events for programs.

    GET /research/{key}/events?after=N&node=NAME     status, line, graph, outline, answer: HTML of these; said: for
                                                     who listens; node-3: that the third node changed; over, end;
                                                     of a report: status, line, graph, steps, body, said, over, end
    GET /api/research/runs/{key}/events?after=N      the events as they are: id, kind, JSON (research/events.py)

Both begin behind the event that `Last-Event-ID`, or else `after`, names, and end once who asked is not known here any
more (streams.py). Each part is sent whole, and all of them at the end, so that getting one twice or missing one harms
nothing. What another process does is read from the database, once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from foveal.research.events import Event, sse
from foveal.research.runs import KeptRun
from foveal.research.state import RunState
from foveal.web.research_desk import Desk
from foveal.web.research_pages import owner_of, rendered
from foveal.web.research_parts import known_of
from foveal.web.rights import may
from foveal.web.site import site_of
from foveal.web.streams import ALIVE, HEADERS, KEEP_ALIVE_S, Events, began_after, refused, waker, while_signed_in

EVERY_S = 0.3
"""Least seconds between two lots of parts."""

POLL_S = 1.0
"""Seconds between two looks at a run of another process."""

GRAPH = frozenset(("run", "graph.reset", "graph.node", "graph.edge", "node.state", "node.selected", "node.page"))
ANSWER = frozenset(("answer.delta", "answer.reset", "refs", "done"))
STEPS = frozenset(("run", "plan.chosen", "brief", "step.begun", "step", "source", "draft", "done"))
_ANSWER = {"graph": GRAPH, "outline": GRAPH, "answer": ANSWER}
_REPORT = {"graph": GRAPH, "steps": STEPS, "body": frozenset(("report", "done"))}
"""Parts of the page of an answer, and of a report: the kinds of events that change them."""

router = APIRouter()


@router.get("/research/{key}/events", include_in_schema=False)
async def page_events(request: Request, key: str, after: int = 0, node: str = "") -> Response:
    """The parts of a run's page."""
    desk = site_of(request).research
    run = await to_thread.run_sync(lambda: desk.run(key, owner_of(request)))
    parts = _parts(request, desk, run, began_after(request, after), node)
    return Events(while_signed_in(request, parts, refused(request)), headers=HEADERS)


async def _parts(request: Request, desk: Desk, run: KeptRun, after: int, node: str) -> AsyncGenerator[str, None]:
    mine = run.is_of(owner_of(request))
    state, shown = RunState.of(await to_thread.run_sync(lambda: desk.runs.events(run.key))), _Shown()
    fresh: Sequence[Event] = await to_thread.run_sync(lambda: desk.runs.events(run.key, after))
    yield "retry: 1000\n\n"
    async for batch in followed(desk, run.key, state.last):
        for event in batch:
            state.apply(event)
        changed = [*fresh, *batch]
        fresh = ()
        sent = await to_thread.run_sync(lambda: _told(request, desk, run.key, state, changed, node, mine, shown))  # noqa: B023
        yield sent or ALIVE
        await asyncio.sleep(EVERY_S)
    if desk.site.jobs.closing and state.done is None:
        return  # the browser comes back once there is a server again
    last = await to_thread.run_sync(lambda: _told(request, desk, run.key, state, None, node, mine, shown))
    yield f"{last}{_event('over', '', state.last)}{_event('end', '', state.last)}"


@dataclass
class _Shown:
    """What a stream has sent of what it need not send again."""

    acts: tuple[bool, bool] | None = None  # which buttons there are: to draw them anew would take the focus from them


def _told(
    request: Request,
    desk: Desk,
    key: str,
    state: RunState,
    changed: Sequence[Event] | None,
    node: str,
    mine: bool,
    shown: _Shown,
) -> str:
    """The parts that events changed, as they are sent; None: all of them, for the last time."""
    known = known_of(desk, desk.runs.get(key), state, node) | {"mine": mine, "writable": may(request, "research")}
    kinds = {event.kind for event in changed or ()}
    acts = (known["live"], known["waits"])
    of_report = "view" in known
    own = _REPORT if of_report else _ANSWER
    due = {"status": acts != shown.acts, "line": known["live"]} | {part: bool(kinds & on) for part, on in own.items()}
    shown.acts = acts
    sent = [
        _event(part, rendered(_template(part, of_report), known, request), state.last)
        for part, now in due.items()
        if now or changed is None
    ]
    numbers = {name: number for number, name in enumerate(state.graph.nodes)}
    names = {str(event.data["name"]) for event in changed or () if "name" in event.data}
    sent += [_event(f"node-{numbers[name]}", "", state.last) for name in sorted(names & numbers.keys())]
    if kinds & {"node.answer", "draft", "done"} or changed is None:  # said aloud, not at every step
        sent.append(_event("said", known["ended"] or known["counted"].partition(" · ")[0], state.last))
    if kinds & {"plan.turn", "plan.observation"}:
        sent.append(_event("node-0", "", state.last))
    return "".join(sent)


def _template(part: str, of_report: bool) -> str:
    """What a part is drawn by; status and graph are the same for all runs."""
    kind = "report_" if of_report and part not in ("status", "graph") else ""
    return f"research/_{kind}{part}.html"


@router.get("/api/research/runs/{key}/events", include_in_schema=True, tags=["research"], response_class=Events)
async def run_events(request: Request, key: str, after: int = 0) -> Response:
    """The events of a run, as they come; behind the one that `after`, or else the header Last-Event-ID, names."""
    desk = site_of(request).research
    await to_thread.run_sync(lambda: desk.run(key, owner_of(request)))
    parts = _events(desk, key, began_after(request, after))
    return Events(while_signed_in(request, parts, refused(request)), headers=HEADERS)


async def _events(desk: Desk, key: str, after: int) -> AsyncGenerator[str, None]:
    yield "retry: 1000\n\n"
    if after and not await _read(desk, key, after - 1):
        # It has heard more than is kept: the machine lost power, and the run went on from what was on the disk.
        kept = await _read(desk, key, 0)
        after = kept[-1].id if kept else 0
    async for batch in followed(desk, key, after):
        yield "".join(map(sse, batch)) or ALIVE


async def followed(desk: Desk, key: str, after: int) -> AsyncIterator[Sequence[Event]]:
    """The events behind number `after` in lots, those to come, too, until the run or the app ends.

    An empty lot says that something else changed, or that nothing did for a while.
    """
    changed = asyncio.Event()
    job = desk.job(key)
    with job.watched(waker(changed)) if job is not None else nullcontext():
        while True:
            changed.clear()
            over = job.over if job is not None else not await to_thread.run_sync(lambda: _written_elsewhere(desk, key))
            batch = await _read(desk, key, after)
            after = batch[-1].id if batch else after
            if batch or not over:
                yield batch
            if over or desk.site.jobs.closing:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), KEEP_ALIVE_S if job is not None else POLL_S)


async def _read(desk: Desk, key: str, after: int) -> Sequence[Event]:
    log = desk.log(key)
    if log is not None:
        return log.so_far(after)
    found: Any = await to_thread.run_sync(lambda: desk.runs.events(key, after))
    return list(found)


def _written_elsewhere(desk: Desk, key: str) -> bool:
    return desk.runs.get(key).status == "running" or desk.site.jobs.elsewhere(key) is not None


def _event(kind: str, text: str, number: int) -> str:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"id: {number}\nevent: {kind}\n{lines}\n"
