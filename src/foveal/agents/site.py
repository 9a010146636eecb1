"""A served site as one visitor's assistant meets it: by the same accounts, rights and limits as the site's API.

    desk = SiteDesk(app, changes=False)          # of a server mounted by http.py

Place     documents by their ids only: no path of the server's machine, no page fetched to be read
Rights    web/rights.py: to look is everybody's; to ask, read and add asks for what the site asks for
Limits    searches by address or person, as of the API; looking waits for its room as pages do
Long      asking, reading and adding are jobs of the site: they take turns with those of its pages, and count with
          them; what was asked here is not kept once it was answered
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from foveal.agents import asked, shapes
from foveal.agents.place import Call
from foveal.agents.threads import Report, Threads
from foveal.agents.tools import MODEL, Tool, offered
from foveal.errors import FovealError, InputError, NoLibrary, NotAllowed, UnknownDocument
from foveal.web.admission import Gate, Refused
from foveal.web.documents import entry_of, may_remove, taken_out
from foveal.web.job import Job
from foveal.web.library_adding import AddWork, given_by
from foveal.web.library_search import search_passages
from foveal.web.library_shapes import Span, Way
from foveal.web.models import is_served
from foveal.web.read_pages import READER
from foveal.web.request_limits import limited
from foveal.web.rights import Needs, whose_job
from foveal.web.site import Site, site_of
from foveal.web.uploads import addresses_in

if TYPE_CHECKING:
    from foveal.library import Library
    from foveal.papers.paper_search import PaperSearch
    from foveal.papers.store import PaperStore
    from foveal.reading.sources import Text
    from foveal.research.sources import Source
    from foveal.retrieval.rows import Entry
    from foveal.settings import Settings
    from foveal.web.models import Models

LOOK_S = 0.25
"""Seconds between two looks of a call at its job."""

T = TypeVar("T")


@dataclass(frozen=True)
class SitePlace:
    """The parts of a site that one request may use."""

    site: Site
    request: Request

    @property
    def settings(self) -> Settings:
        """Of the site's home."""
        return self.site.settings

    @property
    def models(self) -> Models:
        """Those that all visitors share."""
        return self.site.models

    @property
    def attention(self) -> str:
        """As the site's settings say."""
        return self.site.web.attention

    @property
    def window(self) -> int:
        """Likewise."""
        return self.site.web.window

    @property
    def library(self) -> Library:
        """NoLibrary: nothing was added yet."""
        if not self.site.has_library:
            raise NoLibrary("The library of this site is empty.")
        return self.site.library

    @property
    def papers(self) -> PaperStore:
        """The papers."""
        return self.site.papers

    @property
    def paper_search(self) -> PaperSearch:
        """Search over them; the site keeps it up to date."""
        return self.site.search

    def find(self, asked: asked.Search) -> shapes.Hits:
        """As the site's search does, with its time for rankers."""
        if not self.site.has_library:
            return shapes.Hits(hits=[], note="")
        found, note = search_passages(
            self.request, asked.query.strip(), retriever=asked.retriever, rank=asked.rank, where=asked.where,
            as_of=asked.as_of, each=asked.each, most=asked.k,
        )  # fmt: skip
        hits = [
            shapes.Hit(
                span=Span.of(one.span),
                revision=one.revision,
                text=one.passage,
                title=one.title,
                where=one.where,
                score=one.score,
                source=one.source,
                via=[Way.of(step.span, step.title) for step in one.via],
                uri=shapes.document_uri(one.span.document_id, one.span.start, one.span.end, one.revision),
            )
            for one in found
        ]
        return shapes.Hits(hits=hits, note=note)

    def entry(self, which: str) -> Entry:
        """The document of an id, or of its beginning. Never a path."""
        return entry_of(self.site, which)

    def text(self, source: str, call: Call) -> Text:  # noqa: ARG002
        """A document of the library. InputError: something else was named."""
        from foveal.reading import DocumentText

        return DocumentText(self.library.get(self.entry(source).id))

    def sources(self, named: list[str]) -> list[Source]:
        """InputError: a site has pages for research."""
        raise InputError(f"Research ({', '.join(named)}) has calls of its own on a site: see /api.")

    def add(self, asked: asked.Add, call: Call) -> shapes.Added:
        """Add pages, papers or a text, by a job of the site."""
        for one in asked.sources:
            if len(addresses_in(one)) != 1:
                raise InputError(f"{one[:200]!r} is neither a URL (https://…) nor an arXiv id (2103.00020).")
        given = tuple(given_by(self.site, [], "\n".join(asked.sources) or asked.text, asked.title))
        work = AddWork.of(self.site, given)
        _done(self.site, self.site.jobs.start(work, whose=whose_job(self.request)), call)
        became = [
            shapes.Became(
                name=one.name,
                state=cast(Any, one.state),
                id=one.entry.id if one.entry else None,
                said=one.said,
            )
            for one in work.outcome
        ]
        counts = {
            state: sum(one.count if one.entry else 1 for one in work.outcome if one.state == state)
            for state in ("added", "updated", "unchanged", "skipped")
        }
        return shapes.Added(**counts, became=became)

    def remove(self, which: str) -> shapes.Removed:
        """Take one document out: by whoever added it, a moderator or an admin."""
        entry = self.entry(which)
        if not may_remove(self.request, entry):
            Needs("remove")(self.request)
        taken_out(self.site, entry)
        return shapes.Removed(id=entry.id, title=entry.title)


@dataclass
class CallWork:
    """A call that keeps the model busy, as a job of the site; it is not kept beyond this process."""

    title: str
    run: Callable[[Call], BaseModel]
    lane: str = MODEL
    made: BaseModel | None = None

    def page(self, key: str) -> str:
        """The page of jobs."""
        return f"/jobs/{key}"

    def __call__(self, job: Job) -> None:
        """Do it."""

        def told(text: str, done: float, total: float | None) -> None:
            job.progressed(text, int(done), None if total is None else int(total), now=True)

        self.made = self.run(Call(job.cancel, told))


@dataclass
class SiteDesk:
    """Does the calls that come to a site."""

    app: FastAPI
    changes: bool = False
    threads: Threads = field(default_factory=Threads)

    @property
    def tools(self) -> Mapping[str, Tool]:
        """Those of everybody; with `changes`, adding and removing, too."""
        return offered(changes=self.changes, person=False)

    async def do(self, tool: Tool, given: BaseModel, request: Any, report: Report) -> BaseModel:
        """Call a tool, as far as whoever asks may."""

        def work(call: Call) -> BaseModel:
            with _as_ours():
                if tool.act:
                    Needs(tool.act)(request)
                if tool.searches:
                    limited("search")(request)
                place = SitePlace(site_of(request), request)
                if tool.lane == MODEL:
                    return self._in_turn(tool, given, place, call)
                return tool.run(place, given, call)

        if tool.lane:
            return await self.threads.run(work, report)
        async with self._room("search" if tool.searches else "page"):
            return await self.threads.run(work, report)

    async def look(self, work: Callable[[SitePlace, Call], T], request: Any, report: Report) -> T:
        """Look something up, as a page does."""

        def looked(call: Call) -> T:
            with _as_ours():
                return work(SitePlace(site_of(request), request), call)

        async with self._room("page"):
            return await self.threads.run(looked, report)

    def told(self, error: Exception) -> str:
        """The sentence without where anything lies on this machine."""
        site: Site = self.app.state.site
        return site.told(error)

    def _in_turn(self, tool: Tool, given: BaseModel, place: SitePlace, call: Call) -> BaseModel:
        """As a job of the site, which waits for its turn."""
        site = place.site
        lane = READER if tool.name == "read" and is_served(site.models) else MODEL
        about = getattr(given, "question", "")
        work = CallWork(f"{tool.title}: {about[:90]}", lambda own: tool.run(place, given, own), lane)
        _done(site, site.jobs.start(work, whose=whose_job(place.request)), call)
        assert work.made is not None
        return work.made

    @asynccontextmanager
    async def _room(self, kind: str) -> AsyncIterator[None]:
        """Room beside the site's own pages or searches. FovealError: there is none soon."""
        gate: Gate = self.app.state.gates[kind]
        try:
            await gate.enter()
        except Refused as refused:
            raise FovealError(f"The site has more to do than it can. Call again in {refused.seconds} s.") from None
        begun = time.perf_counter()
        try:
            yield
        finally:
            gate.leave(time.perf_counter() - begun)


def _done(site: Site, job: Job, call: Call) -> None:
    """Wait for a job, telling how far it is. Cancelled stops it, too; FovealError: it failed."""
    woken = threading.Event()
    try:
        with job.watched(woken.set):
            while not job.over:
                told = job.progress
                call.progressed(told.text, told.done, told.total)
                woken.wait(LOOK_S)
                woken.clear()
    except BaseException:
        site.jobs.cancel(job)
        raise
    if job.state != "done":
        raise FovealError(job.error or "The site stopped this. Call it again later.")


@contextmanager
def _as_ours() -> Iterator[None]:
    """What a route refuses by a status is refused here by its sentence."""
    try:
        yield
    except HTTPException as refused:
        kind = {403: NotAllowed, 401: NotAllowed, 404: UnknownDocument}.get(refused.status_code, FovealError)
        raise kind(str(refused.detail)) from refused
