"""The page of a job, its events as they come, and its cancel button.

    GET  /jobs/{key}             works without JavaScript: it reloads itself while the job goes on
    GET  /jobs/{key}/events      server-sent events: `id`, `event` (progress, said, words, look, again, end) and JSON;
                                 of /api/… also `refused`, where the token that asked was revoked meanwhile
    POST /jobs/{key}/cancel      from a page of ours, by who asked for the job or runs the site (rights.py)

A stream begins after the event that `Last-Event-ID`, or else `?after=`, names; a page knows how much of the job it
shows. A stream ends soon after the token, session or person that asked for it does (`while_signed_in`): a browser that
comes back is a visitor then. Once all is told the answer is 204, which tells a browser not to come back. Of a job that
another process does, the database is looked at once a second. Runs of research have pages of their own, and owners who
alone may stop them (research_pages.py): they are none of the jobs here.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from anyio import to_thread
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from foveal.web.job import Job, JobEvent
from foveal.web.jobs import Jobs
from foveal.web.pages import page
from foveal.web.research_work import ResearchWork
from foveal.web.rights import check_stop, may_stop
from foveal.web.safety import guarded
from foveal.web.signed_in import FOR_PROGRAMS, NOT_ANY_MORE, names_somebody, signed_in, still_signed_in
from foveal.web.site import site_of
from foveal.web.small_forms import MOST_ROWS, SmallForms

KEEP_ALIVE_S = 15.0
"""Seconds of silence after which a comment is sent, so that nothing between takes the connection for dead."""

ALIVE = ": still here\n\n"
"""The comment."""

POLL_S = 1.0
"""Seconds between two looks at a job of another process."""

KNOWN_S = 5.0
"""Seconds between two looks whether who asked for a stream is still somebody."""


class Events(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"


HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

router = APIRouter(route_class=SmallForms, include_in_schema=False)


@router.get("/jobs/{key}")
def job_page(request: Request, key: str) -> Response:
    """How far a job is, or how it ended."""
    return shown(request, job_of(request, key), "jobs/job.html")


@router.get("/jobs/{key}/events")
async def job_events(request: Request, key: str, after: int = 0) -> Response:
    """What happens in a job."""
    jobs = site_of(request).jobs
    await to_thread.run_sync(signed_in, request)  # a token of nobody is refused before the stream begins
    job = await to_thread.run_sync(job_of, request, key)
    seen = began_after(request, after)
    if not job.elsewhere and job.over and not job.since(seen):
        return Response(status_code=204)
    parts = (followed if job.elsewhere else streamed)(jobs, job, seen)
    return Events(while_signed_in(request, parts, refused(request)), headers=HEADERS)


@router.post("/jobs/{key}/cancel", dependencies=[Depends(guarded)])
def cancel_job(request: Request, key: str) -> Response:
    """Stop a job."""
    job = job_of(request, key)
    check_stop(request, job)
    site_of(request).jobs.cancel(job)
    return RedirectResponse(job.page, 303)


def shown(request: Request, job: Job, template: str, **values: object) -> Response:
    """A page that shows `job`; it is live, and never taken from a cache."""
    after, ahead = job.last, site_of(request).jobs.ahead(job)  # before the page looks: rather twice than never
    known = {"job": job, "after": after, "ahead": ahead, "stoppable": may_stop(request, job)} | values
    return page(request, template, known, headers={"cache-control": "no-store"})


def began_after(request: Request, after: int) -> int:
    """The last event that whoever asks has got."""
    told = request.headers.get("last-event-id", "")
    return int(told) if told.isdecimal() and len(told) < 10 else min(max(0, after), MOST_ROWS)


def job_of(request: Request, key: str) -> Job:
    """The job of a key, if it is one for all who know the key. HTTPException 404: it is not, or there is none."""
    job = site_of(request).jobs.get(key)
    if isinstance(job.work, ResearchWork):
        raise HTTPException(404, "A run of research has a page of its own.")
    return job


@dataclass
class Asker:
    """Who asked for a stream: somebody by a token or session, or a visitor, who stays one."""

    request: Request
    looked: float = field(default_factory=time.monotonic)

    @property
    def wait_s(self) -> float:
        """Seconds to the next look."""
        return max(0.0, self.looked + KNOWN_S - time.monotonic())

    async def is_gone(self) -> bool:
        """Whether they are nobody any more; asked of the database at most once in `KNOWN_S`, of a visitor never."""
        if self.wait_s:
            return False
        self.looked = time.monotonic()
        if not names_somebody(self.request):  # nor does their stream wait for a free thread
            return False
        return not await to_thread.run_sync(still_signed_in, self.request)


async def while_signed_in(request: Request, parts: AsyncGenerator[str, None], last: str) -> AsyncIterator[str]:
    """`parts` as they come, as long as who asked for them is known here; then `last`, and the end."""
    asker, coming = Asker(request), None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(parts))
            await asyncio.wait({coming}, timeout=asker.wait_s)
            if await asker.is_gone():
                yield last
                return
            if coming.done():
                try:
                    part = coming.result()
                except StopAsyncIteration:
                    return
                coming = None
                yield part
    finally:
        if coming is not None and not coming.done():
            coming.cancel()  # which ends `parts`, too
        else:
            if coming is not None and not coming.cancelled():
                coming.exception()  # nobody hears of it any more
            await parts.aclose()


def refused(request: Request) -> str:
    """The event that tells a program why its stream ends; a browser comes back, and sees what a visitor may."""
    if not request.url.path.startswith(FOR_PROGRAMS):
        return ""
    return f"event: refused\ndata: {json.dumps({'error': NOT_ANY_MORE})}\n\n"


async def streamed(jobs: Jobs, job: Job, after: int) -> AsyncGenerator[str, None]:
    """The events of `job` after number `after`, as they are sent; ends with the job, or with the app."""
    yield "retry: 1000\n\n"
    async for events in told_by(jobs, job, after):
        for event in events:
            yield as_text(event)
        if not events:
            yield ALIVE


async def told_by(
    jobs: Jobs, job: Job, after: int, *, silence_s: float | None = None
) -> AsyncIterator[Sequence[JobEvent]]:
    """The events of `job` after number `after`, in lots, until the job or the app ends.

    An empty lot says that nothing happened for `silence_s` seconds (default: `KEEP_ALIVE_S`).
    """
    changed = asyncio.Event()
    with job.watched(waker(changed)):
        while True:
            changed.clear()
            over = job.over
            if events := job.since(after):
                after = events[-1].id
                yield events
            if over or jobs.closing:
                return
            try:
                await asyncio.wait_for(changed.wait(), KEEP_ALIVE_S if silence_s is None else silence_s)
            except TimeoutError:
                yield ()


def waker(changed: asyncio.Event) -> Callable[[], None]:
    """What wakes whoever waits for `changed` in the loop that runs now, called from any thread."""
    loop = asyncio.get_running_loop()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(changed.set)

    return wake


async def followed(jobs: Jobs, job: Job, after: int) -> AsyncGenerator[str, None]:
    """How far a job of another process is, and its end; ends, too, when the app does, or when it is done here."""
    yield "retry: 1000\n\n"
    told, silent = None, 0.0
    while not jobs.closing:
        if job.over or not job.elsewhere:
            after += 1
            yield as_text(JobEvent(after, "end" if job.over else "again", {"state": job.state, "page": job.page}))
            return
        if job.progress != told:
            told, silent, after = job.progress, 0.0, after + 1
            yield as_text(JobEvent(after, "progress", asdict(told)))
        elif silent >= KEEP_ALIVE_S:
            silent = 0.0
            yield ALIVE
        await asyncio.sleep(POLL_S)
        silent += POLL_S
        job = await to_thread.run_sync(jobs.get, job.id)


def as_text(event: JobEvent) -> str:
    """An event as it is sent. JSON holds no line ends, so that one line of data is enough."""
    return f"id: {event.id}\nevent: {event.kind}\ndata: {json.dumps(dict(event.data), ensure_ascii=False)}\n\n"
