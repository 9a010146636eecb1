"""The desk of a deep run: it searches, reads and takes evidence, by steps that are never done twice.

    desk.research([SubQuery("vitamin D immunity", "What does vitamin D do to immunity?"), …])    # [Finding, …]

search   hits of a query, by its source; denied hosts left out
read     a page: what of it may be evidence for this query, its date and who wrote it; long pages give their best parts
note     what of all pages is evidence for the goal, each with a summary and a score (acquisition.py)

Several sub-queries are searched at once; what they found is numbered afterwards, in the order in which they were asked,
so that keys do not depend on which was faster. A source that comes again by another address keeps its key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from foveal import faults
from foveal.errors import Cancelled, FovealError
from foveal.models.chat import Cancel, ChatModel
from foveal.research.acquisition import Filter
from foveal.research.board import Board
from foveal.research.budget import Meter
from foveal.research.citations import canonical
from foveal.research.evidence import Evidence, SourceRecord
from foveal.research.graph import ROOT
from foveal.research.identities import Known, identities
from foveal.research.likeness import Likeness
from foveal.research.memory_kept import KeptMemory
from foveal.research.planning import Finding, NextQuery, PlanSettings, SubQuery
from foveal.research.prompts import orders_in
from foveal.research.report_parts import Brief
from foveal.research.searcher import waited
from foveal.research.sources import Found, Source, merged, search_about
from foveal.research.steps import Steps, digest
from foveal.research.structure import StructureRules, structured
from foveal.research.timing import Always, Moment, Timing
from foveal.types import Document, Passage, Span

LEAD = 3000
"""Characters of a page by which the same text elsewhere is known."""

TOLD = ("url", "title", "document_id", "revision", "characters", "orders")
"""Of a page, for who watches."""

WANTED_NOW = "The report was wanted before this came."

RECALLED = 3
"""Lines of the memory that a draft is told, by which the timing decides."""

DATED_BY = {
    "arxiv": "arXiv", "paper": "the paper's record", "html": "the page's metadata", "markdown": "the text's head",
    "mail": "the mail's header", "mailbox": "the mail's header", "epub": "the book's metadata", "jsonl": "its record",
    "beir": "its record",
}  # fmt: skip
"""What says when a document of a kind was published."""

SEARCH_SHARE = 0.6
"""Of the tokens and seconds of a budget: when they are spent, the rest is kept for writing."""


@dataclass(frozen=True, kw_only=True)
class DeskSettings:
    """How one sub-query is searched and read."""

    hits: int = 5  # of a query, that are read
    passages: int = 8  # of a page, that are looked at closely
    searches: int = 40  # of a run, at most
    fetches: int = 10  # pages at a time
    denied: tuple[str, ...] = ()
    structure: StructureRules = field(default_factory=StructureRules)


class Desk:
    """What the planners, the writer and the checks of one run work at."""

    def __init__(
        self, *, question: str, brief: Brief, plan: PlanSettings, board: Board, steps: Steps, meter: Meter,
        source: Source, chooser: Filter, settings: DeskSettings, timing: Timing | None = None,
        taught: NextQuery | None = None,
        cancel: Cancel | None = None,
    ) -> None:  # fmt: skip
        self.question, self.brief, self.plan = question, brief, plan
        self.settings, self.timing, self.taught = settings, timing or Always(), taught
        self.likeness: Likeness = chooser.likeness
        self.board, self.steps, self.meter, self.source, self.chooser = board, steps, meter, source, chooser
        self.cancel = cancel or Cancel()
        self.sources: dict[str, SourceRecord] = {}
        self.evidence: dict[str, Evidence] = {}
        self.findings: list[Finding] = []
        self.memory: KeptMemory | None = None  # of what was read, where the run keeps one
        self.enough = False  # whether who asked wants the report now
        self.failed: dict[str, str] = {}  # sub-query whose search failed -> why
        self.silent: dict[str, str] = {}  # source that did not answer while others did -> why
        self.skipped: set[str] = set()  # sub-queries that were not searched, as who asked wanted the report
        self.cut = False  # whether a planner that had more to search was told that planning is over
        self.extra = 0  # searches that are allowed after planning, for claims that nothing bears out
        self._queries: list[str] = []
        self._known = Known()
        self._places: dict[tuple[str, str], str] = {}  # source and text -> key of evidence
        self._pages: dict[str, Document] = {}
        self._lock = Lock()

    # -- for planners -------------------------------------------------------------------------------------------------

    def once(self, kind: str, key: str, work: Callable[[ChatModel], Any]) -> Any:
        """A step."""
        self.cancel.check()
        return self.steps.once(kind, key, work)

    def asked(self) -> list[str]:
        """All queries so far, in order."""
        return list(self._queries)

    def tried(self) -> list[str]:
        """The queries that were searched for, in the order in which they were asked: not those that nobody wanted any
        more, or that the timing thought needless; of a timing's draft the one that it made."""
        nodes = self.board.state.graph.nodes
        return [query for place in range(1, len(self._queries) + 1) for query in nodes[f"search {place}"].queries]

    def lines(self, keys: Sequence[str]) -> list[str]:
        """Evidence in brief."""
        found = [self.evidence[key] for key in keys]
        return [f"{self.sources[one.source].title}: {one.summary or one.passage.text[:240]}" for one in found]

    def known(self, question: str, keys: Sequence[str], *, most: int = 5) -> list[str]:
        """Evidence in brief, and what the memory recalls on a question beside it: at most so many lines in all."""
        own = self.lines(keys)
        return own[:most] if self.memory is None else self.memory.beside(own, question, most=most, without=keys)

    def over(self) -> bool:
        """Whether planning is over: searches, or the search's share of tokens, seconds or pages are used up."""
        used, budget = self.meter.used(), self.meter.budget
        spent = any(
            most is not None and used[name] >= SEARCH_SHARE * most
            for name, most in (("tokens", budget.tokens), ("seconds", budget.seconds))
        )
        full = len(self._queries) >= self.settings.searches
        over = self.enough or spent or full or self.meter.empty() is not None or self.cancel.cancelled
        self.cut = self.cut or over
        return over

    def research(self, subs: Sequence[SubQuery]) -> list[Finding]:
        """Search sub-queries, so many at once; what they found, in their order."""
        left = max(0, self.settings.searches + self.extra - len(self._queries))
        subs = list(subs)[:left]
        names = [f"search {len(self._queries) + place}" for place in range(1, len(subs) + 1)]
        self._queries += [one.query for one in subs]
        for name, sub in zip(names, subs, strict=True):
            self._tell_node(name, sub)
        with (
            ThreadPoolExecutor(self.plan.parallel, thread_name_prefix="foveal-sub-query") as pool,
            ThreadPoolExecutor(self.settings.fetches, thread_name_prefix="foveal-page") as pages,
        ):
            tasks = [pool.submit(self._found, name, sub, pages) for name, sub in zip(names, subs, strict=True)]
            rows = [waited(task, self.cancel) for task in tasks]
        made = [self._finding(name, sub, *one) for name, sub, one in zip(names, subs, rows, strict=True)]
        self.findings += made
        self._remember(made)
        return made

    def _remember(self, made: Sequence[Finding]) -> None:
        """Take what sub-queries found into the memory, in their order."""
        if self.memory is not None:
            for one in made:
                self.memory.take_in(one.name, [self.evidence[key] for key in one.evidence], self.sources)

    # -- one sub-query ------------------------------------------------------------------------------------------------

    def _found(self, name: str, sub: SubQuery, pages: ThreadPoolExecutor) -> tuple[list[Any], list[Any], str]:
        """Pages that were read for a sub-query, and rows of what in them is evidence; or the draft that needs none."""
        if self.enough and not self.steps.is_done("search", sub.query):
            self.skipped.add(name)
            return [], [], ""
        self.board.tell("node.state", name=name, state="running")
        query, draft = self._wanted(sub)
        if query is None:
            return [], [], draft
        self.board.tell("node.queries", name=name, queries=[query])
        found = self.once("search", query, lambda _: self._searched(query))
        for source, why in found.get("failed", ()):
            self.silent[source] = why
            self.board.tell("error", name=name, source=source, message=why)
        if error := found.get("error"):
            self.failed[name] = error
            self.board.tell("error", where=name, message=error)
        hits = [Found(**one) for one in found["hits"]]
        results = [
            {"index": place, "url": one.url, "title": one.title, "summ": one.snippet} for place, one in enumerate(hits)
        ]
        self.board.tell("node.results", name=name, results=results)
        self.board.tell("node.selected", name=name, selected=list(range(len(hits))))
        tasks = [pages.submit(self._read_once, query, sub, one) for one in hits]
        read = []
        for place, task in enumerate(tasks):
            page = waited(task, self.cancel)
            read.append(page)
            told = {name: page[name] for name in TOLD if name in page}
            error = {"error": page["error"]} if page.get("error") else {}
            self.board.tell("node.page", name=name, index=place, **{"url": hits[place].url} | told | error)
        seen = digest(sub.goal, [[page["url"], page.get("revision"), page.get("passages")] for page in read])
        noted = self.once("note", f"{query} {seen}", lambda model: self._noted(sub, read, model))
        return read, noted, ""

    def _wanted(self, sub: SubQuery) -> tuple[str | None, str]:
        """The query to make, by the timing; None: the model answers from what it has, and how."""
        if isinstance(self.timing, Always):
            return sub.query, ""
        known = self._before(sub)

        def work(model: ChatModel) -> Any:
            draft = self.timing.look(Moment(sub.goal, known), model, cancel=self.cancel)
            return [draft.query, draft.text, draft.score]

        query, text, _ = self.once("reflect", f"timing {sub.query}", work)
        return (None if query is None else sub.query if query == sub.goal else query[:300]), text

    def _before(self, sub: SubQuery) -> tuple[Passage, ...]:
        """What a draft is written from: what the branch above found, and what the memory recalls beside it."""
        keys = [key for one in self.findings if one.name == sub.parent for key in one.evidence][:3]
        own = tuple(self.evidence[key].passage for key in keys)
        if self.memory is None:
            return own
        recalled = "\n".join(self.memory.lines(sub.goal, most=RECALLED, without=keys, use=False))
        return (*own[:2], Passage(Span("", 0, len(recalled)), recalled)) if recalled else own

    def _searched(self, query: str) -> dict[str, Any]:
        try:
            poor = self.plan.plain or self.taught is not None  # a small model's queries
            about = self.question if poor else ""
            answer = search_about(self.source, query, about, self.settings.hits, cancel=self.cancel)
        except Cancelled:
            raise
        except FovealError as error:
            return {"hits": [], "error": str(error)}
        names = ("url", "title", "snippet", "score", "address", "revision")
        hits = [{name: getattr(one, name) for name in names} for one in merged([answer], self.settings.denied)]
        silent = [list(one) for one in getattr(answer, "failed", ())]
        return {"hits": hits} | ({"failed": silent} if silent else {})

    def _read_once(self, query: str, sub: SubQuery, found: Found) -> dict[str, Any]:
        key = f"{query} | {found.url}"
        if not self.steps.is_done("read", key) and not self.meter.pages(1):
            return {"url": found.url, "title": found.title, "error": "The budget allows no more pages."}
        page: dict[str, Any] = self.once("read", key, lambda _: self._read(sub, found))
        return page

    def _read(self, sub: SubQuery, found: Found) -> dict[str, Any]:
        """A page as a step keeps it: where it is from, and those of its passages that are nearest to the goal. Where it
        cannot be had: why, and what the search said of it."""
        try:
            page = self._page(found)
        except Cancelled:
            raise
        except FovealError as error:
            self.meter.give_back(1)
            if not found.snippet.strip():
                return {"url": found.url, "title": found.title, "error": str(error)}
            page = Document.of(found.url, found.snippet, found.title, url=found.url)
            return self._nearest(sub, page, found) | {"fetched_at": None, "error": str(error)}
        return self._nearest(sub, page, found)

    def _nearest(self, sub: SubQuery, page: Document, found: Found) -> dict[str, Any]:
        best = self.chooser.ranked(f"{sub.goal} {sub.query}", structured(page, self.settings.structure))
        return _kept(page, found, best[: self.settings.passages])

    def _page(self, found: Found) -> Document:
        key = canonical(found.url)
        with self._lock:
            held = self._pages.get(key)
        page = held or self.source.read(found, cancel=self.cancel)
        with self._lock:
            self._pages[key] = page
        return page

    def _noted(self, sub: SubQuery, read: Sequence[Any], model: ChatModel) -> list[Any]:
        """Rows of evidence: which page, which of its passages, summary, relevance, stance."""
        places: dict[Span, tuple[int, int]] = {}
        passages: list[Passage] = []
        for number, page in enumerate(read):
            if not self._in_time(page):
                continue
            for place, row in enumerate(page.get("passages", ())):
                passage = _passage(page, row)
                if places.setdefault(passage.span, (number, place)) == (number, place):
                    passages.append(passage)
        wanted = sub.goal if sub.goal in (self.question, self.brief.goal) else f"{sub.goal} (for: {self.question})"
        chosen = self.chooser.choose(wanted, passages, model, cancel=self.cancel, enough=lambda: self.enough)
        return [[*places[one.passage.span], one.summary, one.relevance, one.stance] for one in chosen]

    def _in_time(self, page: Any) -> bool:
        """Whether a page's date, if it is known, lies within the brief's."""
        published = (page.get("published_at") or "")[:10]
        if not published:
            return True
        return not (self.brief.since and published < self.brief.since) and not (
            self.brief.until and published > self.brief.until
        )

    # -- what is kept -------------------------------------------------------------------------------------------------

    def _finding(self, name: str, sub: SubQuery, read: Sequence[Any], noted: Sequence[Any], draft: str) -> Finding:
        keys = [self._admitted(sub, read[row[0]], row) for row in noted]
        finding = Finding(name, sub, tuple(dict.fromkeys(keys)), draft)
        state = "finished" if keys or draft else "failed"
        said = self.evidence[keys[0]].summary if keys else ""
        if said:
            self.board.tell("node.answer", name=name, text=said)
        nothing = WANTED_NOW if name in self.skipped else self.failed.get(name, "Nothing was found.")
        error = "" if keys else "The model did not want to search for this." if draft else nothing
        self.board.tell("node.state", name=name, state=state, error=error)
        return finding

    def _admitted(self, sub: SubQuery, page: Any, row: Sequence[Any]) -> str:
        """The key of a row's evidence; new, where its place was not stored before."""
        _, place, summary, relevance, stance = row
        names = tuple(page["identities"])
        source = self._known.key(names, page["lead"], f"s{len(self.sources) + 1}")
        if source not in self.sources:
            record = SourceRecord(
                key=source, url=page["url"], title=page["title"], document_id=page["document_id"],
                revision=page["revision"], published_at=page["published_at"], dated_by=page.get("dated_by", ""),
                fetched_at=page["fetched_at"], authors=tuple(page["authors"]), identities=names, trust=page["trust"],
                licence=page.get("licence", ""),
            )  # fmt: skip
            self.sources[source] = record
            if source not in self.board.state.sources:
                self.board.tell("source", **record.to_row())
        passage = _passage(page, page["passages"][place])
        at = (source, passage.text)  # by its words: copies of a paper begin alike, and then differ
        elsewhere = page["url"] != self.sources[source].url
        if at not in self._places:
            self._places[at] = f"e{len(self.evidence) + 1}"
            one = Evidence(
                key=self._places[at], source=source, question=sub.goal, passage=passage, summary=summary,
                relevance=relevance, stance=stance, url=page["url"] if elsewhere else "",
                unread=bool(page.get("error")),
            )  # fmt: skip
            self.evidence[one.key] = one
            if one.key not in self.board.state.evidence:
                self.board.tell("evidence", **one.to_row())
        return self._places[at]

    def _tell_node(self, name: str, sub: SubQuery) -> None:
        graph, parent = self.board.state.graph, sub.parent or ROOT
        if name not in graph.nodes:
            self.board.tell("graph.node", name=name, content=sub.goal, kind="searcher")
        if (parent, name) not in graph.edges:  # a kill may come between the two
            self.board.tell("graph.edge", id=f"{name} edge", source=parent, target=name)


def _kept(page: Document, found: Found, chosen: Sequence[Passage]) -> dict[str, Any]:
    url = page.url or found.url
    names = identities(url, page.metadata)
    return {
        "url": url,
        "title": page.title or found.title,
        "document_id": page.id,
        "revision": page.revision,
        "published_at": page.published_at.isoformat() if page.published_at else None,
        "dated_by": DATED_BY.get(str(page.metadata.get("kind")), "") if page.published_at else "",
        "fetched_at": faults.now().isoformat(timespec="seconds"),
        "authors": _authors(page),
        "identities": list(names),
        "trust": "primary" if names[0].startswith(("arxiv:", "doi:")) else "",
        "licence": str(page.metadata.get("licence") or page.metadata.get("license") or "")[:200],
        "lead": page.text[:LEAD],
        "characters": len(page.text),
        "orders": orders_in(page.text),
        "passages": [[one.span.start, one.span.end, one.text, one.heading] for one in chosen],
    }


def _authors(page: Document) -> list[str]:
    """Who wrote it; with semicolons between them, commas belong to the names."""
    told = str(page.metadata.get("authors") or page.metadata.get("author") or "")
    return [name for one in told.split(";" if ";" in told else ",") if (name := " ".join(one.split()))][:20]


def _passage(page: Any, row: Sequence[Any]) -> Passage:
    start, end, text, heading = row
    return Passage(Span(page["document_id"], start, end), text, heading)
