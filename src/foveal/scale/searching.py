"""The searchers of research by a Ray cluster: each sub-question is searched by a task, with its own model and sources.

    with cluster("auto") as ray:
        MindSearch(model, source, searcher=RaySearchers(ray, make)).ask("…")      # make() -> SearcherParts, in a task

The planner, the graph and the answer stay with the process that was asked. A task tells what it does as it goes, and
what its model read and wrote: the run's meter counts it, and a run that is stopped stops its tasks. Pages are taken of
the budget before a task begins, and those that it did not read given back. A task whose node or process died is begun
again, up to `tasks.TRIES` times in all, and what it had told is void. Ray itself is told to retry nothing: it would
leave out of the second telling as much as came of the first, which was another one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from foveal.errors import FetchFailed, LibraryError
from foveal.models.chat import Cancel, ChatModel
from foveal.research.budget import Budget, Meter, Metered
from foveal.research.pages import PageReader
from foveal.research.prompts import Problem
from foveal.research.searcher import Searcher, SearchSettings, Summary, Tell
from foveal.research.sources import Source
from foveal.scale.cluster import cancel as stop
from foveal.scale.cluster import our_errors, rays_own
from foveal.scale.tasks import CRASHED, LOST, TRIES

TICK_S = 0.05
"""How often a waiting run looks whether it was stopped, and a task what its model has spent."""

REQUESTS = 8
"""Searches and pages at a time, of one task."""

logger = logging.getLogger("foveal.scale.searching")


class SearcherParts(NamedTuple):
    """What a searcher works with."""

    model: ChatModel
    source: Source
    reader: PageReader


MakeParts = Callable[[], SearcherParts]
"""Makes the parts in a task; must be picklable, and keep what is slow to make for the next task of its process."""


@dataclass(frozen=True)
class RaySearchers:
    """A `MakeSearcher`."""

    ray: Any  # the module, connected
    make: MakeParts

    def __call__(
        self, _model: Any, _source: Any, _reader: Any, meter: Meter, _io: Any, settings: SearchSettings, /
    ) -> RaySearcher:
        """The searcher of one run; model, sources and reader are those that `make` makes in a task."""
        return RaySearcher(self.ray, self.make, meter, settings)


@dataclass(frozen=True)
class RaySearcher:
    """A `Searches` whose sub-questions are tasks; threads may share it."""

    ray: Any
    make: MakeParts
    meter: Meter
    settings: SearchSettings

    def run(self, problem: Problem, tell: Tell, cancel: Cancel) -> Summary:
        """As `Searcher.run`. LibraryError: the task's process or node died at every try."""
        for left in reversed(range(TRIES)):
            try:
                return self._searched(problem, tell, cancel)
            except LibraryError as error:
                if not left or not rays_own(error.__cause__) & (CRASHED | LOST):
                    raise
                logger.warning("the task that searched %r died, and is begun again: %s", problem.question, error)
                tell("node.state", state="running")  # anew
        raise AssertionError  # the last try returned or raised

    def _searched(self, problem: Problem, tell: Tell, cancel: Cancel) -> Summary:
        """One task, from its beginning to its end."""
        pages = self.meter.pages(self.settings.max_pages, ahead=True)
        task = self.ray.remote(searched).options(
            num_cpus=1, max_retries=0, num_returns="streaming", scheduling_strategy="SPREAD"
        )
        stream, used, short = task.remote(self.make, self.settings, problem, pages), 0, False
        try:
            for kind, values in self._told(stream, cancel):
                if kind == "spent":
                    self.meter.spend(**values)
                elif kind == "over":
                    used, short = values["pages"], values["short"]
                    found: Summary = values["summary"]
                    return found
                else:
                    tell(kind, **values)
        finally:
            self.meter.give_back(pages - used, short=short)
        raise FetchFailed(f"The task that searched {problem.question!r} ended without a summary. Try again.")

    def _told(self, stream: Any, cancel: Cancel) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the task tells, as it comes. Cancelled: the run was stopped, and so is the task."""
        try:
            while True:
                cancel.check()
                with our_errors():
                    if not self.ray.wait([stream], timeout=TICK_S)[0]:
                        continue
                    try:
                        ref = next(stream)
                    except StopIteration:
                        return
                    one = self.ray.get(ref)
                yield one
        finally:
            if cancel.cancelled:
                stop(self.ray, stream)


def searched(
    make: MakeParts, settings: SearchSettings, problem: Problem, pages: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """In a task: search one sub-question, telling what happens, what was spent, and last the summary ("over")."""
    parts, meter, cancel = make(), Meter(Budget(pages=pages)), Cancel()
    told: SimpleQueue[tuple[str, dict[str, Any]] | BaseException] = SimpleQueue()

    def tell(kind: str, /, **values: Any) -> None:
        told.put((kind, values))

    def work() -> None:
        try:
            with ThreadPoolExecutor(REQUESTS) as io:
                model = Metered(parts.model, meter)
                summary = Searcher(model, parts.source, parts.reader, meter, io, settings).run(problem, tell, cancel)
            used = {"pages": meter.used()["pages"], "short": meter.short_of_pages}
            told.put(("over", {"summary": summary, **used}))
        except BaseException as error:
            told.put(error)

    Thread(target=work, name="foveal-searcher", daemon=True).start()
    try:
        yield from _with_spending(told, meter)
    finally:
        cancel.set()


def _with_spending(
    told: SimpleQueue[tuple[str, dict[str, Any]] | BaseException], meter: Meter
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is told until it is over, and between what the model has spent since."""
    before = {"tokens": 0, "calls": 0}
    while True:
        try:
            one = told.get(timeout=TICK_S)
        except Empty:
            one = None
        now = {name: meter.used()[name] for name in before}
        if now != before:
            yield "spent", {name: now[name] - before[name] for name in before}
            before = now
        if isinstance(one, BaseException):
            raise one
        if one is not None:
            yield one
            if one[0] == "over":
                return
