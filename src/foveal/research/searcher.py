"""A searcher: one sub-question, from queries over hits and pages to a summary that cites them.

    rewrite     several queries for the sub-question, which see the question of the run and the parents' answers
    search      all at once; hits merged by address and numbered from 0
    select      the model names at most `max_pages`; if it names none that is there, the first two are read
    read        all at once; a page that cannot be had is dropped; long ones are read by pages.py, never cut at the head
    answer      a summary with [[i]] behind each statement

Source    MindSearch's WebSearcher (Chen et al., arXiv 2407.20183)

It sees pages and never the graph; the planner sees the graph and never a page. A page is data: see prompts.as_data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from foveal.errors import Cancelled, FetchFailed, FovealError, InputError
from foveal.models.chat import Cancel, ChatModel, Sampling
from foveal.models.chat_requests import ContextExceeded
from foveal.reading.loops import said_once, until_round
from foveal.research.budget import Meter
from foveal.research.citations import Origin, cited, cited_as_asked, cut_short, quoted, says_something, traced
from foveal.research.graph import same_question
from foveal.research.pages import BestPassages, PageReader
from foveal.research.prompts import (
    Problem,
    Shown,
    answer_messages,
    orders_in,
    plain_messages,
    query_messages,
    select_messages,
    unbracketed,
)
from foveal.research.sources import Found, Source, merged, search_about
from foveal.types import Document, Passage, Span

TICK_S = 0.05
FALLBACK_PAGES = 2
"""Pages that are read where the model selects none that is there."""
LEAST_SHOWN = 48
"""Tokens of a page, or fewer, that say nothing any more."""

logger = logging.getLogger("foveal.research.searcher")
Read = tuple[Document, list[Passage]]
"""A page and what is shown of it."""

T = TypeVar("T")
_Query = Annotated[str, Field(min_length=1, max_length=200)]
_Index = Annotated[int, Field(ge=0, le=999)]


class Queries(BaseModel):
    """Queries for a search engine."""

    model_config = ConfigDict(extra="forbid")
    queries: list[_Query] = Field(min_length=1, max_length=4)


class Selected(BaseModel):
    """Numbers of the results to read."""

    model_config = ConfigDict(extra="forbid")
    selected: list[_Index] = Field(max_length=12)


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How one sub-question is searched."""

    topk: int = 6  # hits of a query
    max_queries: int = 3  # at once, 1 to 4
    max_pages: int = 4  # that are read, 1 to 12
    max_turns: int = 4  # rounds of queries before a sub-question is given up
    page_tokens: int = 1200  # of one page, as it is shown to the model
    answer_tokens: int = 512  # of the summary
    denied: tuple[str, ...] = ()  # hosts that are left out, with all below them
    in_context: bool = False  # queries are asked with the run's question, where texts are ranked: for poor planners
    plain: bool = False  # for a small model: pages by rank, short prompts, citations that are traced

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if min(self.topk, self.max_turns) < 1 or self.page_tokens < 32 or self.answer_tokens < 16:
            raise InputError(f"{self} needs 1 hit, 1 turn, 32 tokens of a page and 16 of an answer, or more.")
        if not 1 <= self.max_queries <= 4 or not 1 <= self.max_pages <= 12:
            raise InputError(f"A searcher asks 1 to 4 queries and reads 1 to 12 pages; {self} has others.")


class Tell(Protocol):
    """Where a searcher says what it does: an event's kind, and its values."""

    def __call__(self, kind: str, /, **data: Any) -> None:
        """Say it."""
        ...


@dataclass(frozen=True)
class Summary:
    """What a searcher found out; `origins` are what its numbers stand for. `error`: nothing, and why; `broken`: because
    a search failed, so that there may be something all the same; `cut`: the run was stopped as it was written."""

    answer: str
    origins: dict[int, Origin] = field(default_factory=dict)
    error: str = ""
    broken: bool = False
    cut: bool = False


class Searches(Protocol):
    """What finds out sub-questions: a `Searcher`, or one that has others do it (`scale.searching.RaySearcher`)."""

    def run(self, problem: Problem, tell: Tell, cancel: Cancel) -> Summary:
        """Find out the problem's question. Cancelled: `cancel` was set. FetchFailed: the model cannot be reached."""
        ...


class MakeSearcher(Protocol):
    """Makes the searcher of one run."""

    def __call__(
        self,
        model: ChatModel,
        source: Source,
        reader: PageReader,
        meter: Meter,
        io: Executor,
        settings: SearchSettings,
        /,
    ) -> Searches:
        """Make it."""
        ...


@dataclass(frozen=True)
class Searcher:
    """Runs sub-questions; threads may share it."""

    model: ChatModel
    source: Source
    reader: PageReader
    meter: Meter
    io: Executor  # for searches and pages; their tasks never wait for other tasks
    settings: SearchSettings = field(default_factory=SearchSettings)

    def run(self, problem: Problem, tell: Tell, cancel: Cancel) -> Summary:
        """Find out the problem's question. Cancelled: `cancel` was set. FetchFailed: the model cannot be reached."""
        failed: list[str] = []
        trouble: dict[str, str] = {}  # source -> why it did not answer
        for _ in range(self.settings.max_turns):
            queries = self._queries(problem, failed, cancel)
            if not queries:
                break
            tell("node.queries", queries=[*failed, *queries])
            found, silent, answered = self._search(problem.root, queries, cancel)
            if found:
                for source, why in silent.items():
                    tell("error", source=source, message=why)
                return self._summary(problem, found, tell, cancel)
            failed += queries
            trouble |= silent
            if not answered:  # whatever else is asked, nobody answers
                break
        tell("node.results", results=[])
        tried = "; ".join(failed)
        if not trouble:
            return Summary("", error=f"These queries found nothing: {tried}.")
        why = " ".join(dict.fromkeys(trouble.values()))
        return Summary("", error=f"The search failed: {why} It was asked for: {tried}.", broken=True)

    def _queries(self, problem: Problem, failed: Sequence[str], cancel: Cancel) -> list[str]:
        """New queries; the sub-question itself where the model writes none that can be read, and first of all where the
        model is a small one."""
        if self.settings.plain and not failed:
            return [problem.question]
        messages = query_messages(problem, self.settings.max_queries, failed)
        try:
            found = self.model.parse(messages, Queries, Sampling(max_tokens=256), cancel=cancel).queries
        except Cancelled:
            raise
        except (FetchFailed, InputError) as error:
            logger.info("no queries for %r: %s", problem.question, error)
            found = []
        written = [" ".join(one.split()) for one in found]
        wanted: list[str] = []
        for query in [*written, *([] if failed else [problem.question])]:
            if query and not any(same_question(query, one) for one in (*failed, *wanted)):
                wanted.append(query)
        return wanted[: self.settings.max_queries] if written else wanted[:1]

    def _search(
        self, question: str, queries: Sequence[str], cancel: Cancel
    ) -> tuple[list[Found], dict[str, str], bool]:
        """What all queries find, merged; which sources did not answer, and why; whether any search came through."""
        about, most = question if self.settings.in_context else "", self.settings.topk
        asked = [self.io.submit(search_about, self.source, one, about, most, cancel=cancel) for one in queries]
        answers: list[list[Found]] = []
        silent: dict[str, str] = {}
        for one in asked:
            try:
                answers.append(waited(one, cancel))
                silent |= dict(getattr(answers[-1], "failed", ()))
            except Cancelled:
                raise
            except FovealError as error:
                silent[self.source.name] = str(error)
        return merged(answers, self.settings.denied), silent, bool(answers)

    def _summary(self, problem: Problem, found: Sequence[Found], tell: Tell, cancel: Cancel) -> Summary:
        results = [
            {"index": index, "url": one.url, "title": one.title, "summ": one.snippet} for index, one in enumerate(found)
        ]
        tell("node.results", results=results)
        selected = self._select(problem, results, cancel)
        tell("node.selected", selected=selected)
        read = self._read(problem, found, selected, tell, cancel)
        # Where no page could be had, the snippets are all there is. What was not shown cannot be cited.
        indices = [index for index in selected if index in read] or list(range(len(found)))
        origins = {index: _origin(found[index], read.get(index)) for index in indices}
        pieces: list[str] = []
        try:
            while True:
                try:
                    self._write(problem, _shown(origins), pieces, tell, cancel)
                    break
                except ContextExceeded:  # the server reads less than was known
                    read = self._less(problem, read)
                    if not read:
                        raise
                    origins |= {index: _origin(found[index], read[index]) for index in read}
        except Cancelled:
            answer = cut_short("".join(pieces), problem.question, origins)
            if not (read and says_something(answer)):
                raise
            return Summary(answer, origins, cut=True)
        said = said_once("".join(pieces).strip())
        marked = cited_as_asked(said, origins)
        answer = unbracketed(said) if self.settings.plain else marked
        if not says_something(answer):
            answer = quoted(problem.question, {one: origins[one] for one in cited(marked) if one in origins})
        if not answer:
            return Summary("", error="The model wrote no answer to this from what was read.")
        return Summary(traced(answer, origins), origins)

    def _select(self, problem: Problem, results: list[dict[str, Any]], cancel: Cancel) -> list[int]:
        """Indices of the results to read, by the model; by their rank where it names none, or is a small one."""
        most = self.settings.max_pages
        if len(results) == 1 or self.settings.plain:
            return list(range(min(most, len(results))))
        try:
            messages = select_messages(problem, results, most)
            named = self.model.parse(messages, Selected, Sampling(max_tokens=96), cancel=cancel).selected
        except Cancelled:
            raise
        except (FetchFailed, InputError) as error:
            logger.info("no selection for %r: %s", problem.question, error)
            named = []
        valid = [index for index in dict.fromkeys(named) if index < len(results)][:most]
        return valid or list(range(min(FALLBACK_PAGES, most, len(results))))

    def _read(
        self, problem: Problem, found: Sequence[Found], selected: Sequence[int], tell: Tell, cancel: Cancel
    ) -> dict[int, Read]:
        """Index -> page and what is shown of it, for the pages that could be had and that the budget allows."""
        allowed = selected[: self.meter.pages(len(selected))]
        asked = {index: self.io.submit(self._page, problem, found[index], len(allowed), cancel) for index in allowed}
        read: dict[int, Read] = {}
        try:
            for index, one in asked.items():
                place = {"index": index, "url": found[index].url}
                try:
                    page, passages = waited(one, cancel)
                except Cancelled:
                    if not read:
                        raise
                    break  # what was read by now can be told
                except FovealError as error:
                    tell("node.page", **place, title=found[index].title, error=str(error))
                    continue
                read[index] = page, passages
                tell("node.page", **place, **_told(page, passages))
        finally:
            self.meter.give_back(len(allowed) - len(read))
        return read

    def _page(self, problem: Problem, found: Found, pages: int, cancel: Cancel) -> Read:
        cancel.check()  # it may have waited for its turn
        page = self.source.read(found, cancel=cancel)
        own = self.model.context_tokens - self.settings.answer_tokens - self.model.count_tokens(problem.text()) - 400
        tokens = max(64, min(self.settings.page_tokens, own // max(1, pages) - 100))
        question = f"{problem.question} {problem.root}"
        passages = self.reader.read(page, question, tokens=tokens, count=self.model.count_tokens, cancel=cancel)
        if not passages:
            raise InputError(f"{found.url} holds nothing that can be shown.")
        return page, passages

    def _less(self, problem: Problem, read: Mapping[int, Read]) -> dict[int, Read]:
        """Half as much of each page, by words alone; nothing where that would say nothing."""
        count = self.model.count_tokens
        shorter: dict[int, Read] = {}
        for index, (page, passages) in read.items():
            half = sum(count(one.text) for one in passages) // 2
            if half >= LEAST_SHOWN:
                question = f"{problem.question} {problem.root}"
                shorter[index] = page, BestPassages().read(page, question, tokens=half, count=count)
        return {**read, **shorter} if shorter else {}

    def _write(self, problem: Problem, shown: Sequence[Shown], pieces: list[str], tell: Tell, cancel: Cancel) -> None:
        """Write the summary into `pieces`."""
        sampling = Sampling(max_tokens=self.settings.answer_tokens)
        messages = plain_messages(problem, shown) if self.settings.plain else answer_messages(problem, shown)
        for piece in until_round(self.model.stream(messages, sampling, cancel=cancel)):
            pieces.append(piece)
            tell("answer.node.delta", text=piece)


def waited(future: Future[T], cancel: Cancel) -> T:
    """What `future` gives. Cancelled: `cancel` was set first; the task is not waited for."""
    give: Callable[..., T] = future.result
    while True:
        if cancel.cancelled:
            future.cancel()
            cancel.check()
        try:
            return give(timeout=TICK_S)
        except NotYet:
            if future.done():  # by a time-out of its own, or it ended just now
                return give()


def _shown(origins: Mapping[int, Origin]) -> list[Shown]:
    return [(index, one.url, one.title, one.passages) for index, one in origins.items()]


def _told(page: Document, passages: Sequence[Passage]) -> dict[str, Any]:
    shown = "\n".join(one.text for one in passages)
    return {
        "title": page.title,
        "document_id": page.id,
        "revision": page.revision,
        "characters": len(page.text),
        "spans": [[one.span.start, one.span.end] for one in passages],
        "orders": orders_in(shown),
    }


def _origin(found: Found, read: Read | None) -> Origin:
    page, passages = read or _snippet(found)
    url = page.url or found.url
    stated = str(page.metadata.get("canonical") or "")
    return Origin(
        url=url,
        title=page.title,
        summary=found.snippet,
        passages=tuple(passages),
        revision=page.revision,
        stated=stated,
        unread=read is None,
    )


def _snippet(found: Found) -> Read:
    """A hit's snippet as a text of its own: what is shown and cited where no page could be read."""
    text = found.snippet or found.title
    page = Document.of(found.url, text, found.title, url=found.url)
    return page, [Passage(Span(page.id, 0, len(text)), text)]
