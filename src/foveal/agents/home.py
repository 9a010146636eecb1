"""A home as its person's assistant meets it: what `foveal mcp` works on. Each part is opened when first asked for.

The library is the one on disk: what another process adds is found by the next search. Where there is none yet, each
call looks again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from foveal.agents import asked, shapes
from foveal.agents.allowed import Allowed
from foveal.agents.place import Call
from foveal.errors import InputError, LibraryBusy, NoLibrary, UnknownDocument
from foveal.web.answers import where_of
from foveal.web.library_shapes import Span, Way
from foveal.web.models import Models, Rankers, RankersByName

if TYPE_CHECKING:
    from foveal.database import Database
    from foveal.library import Library
    from foveal.papers.paper_search import PaperSearch
    from foveal.papers.store import PaperStore
    from foveal.reading.sources import Text
    from foveal.research.sources import Source
    from foveal.retrieval.adding import AddReport
    from foveal.retrieval.rows import Entry
    from foveal.settings import Settings
    from foveal.types import Hit


LONGEST_TITLE = 80
"""Characters of a text's first line that name it."""


@dataclass
class HomePlace:
    """The parts of one home."""

    settings: Settings
    models: Models
    allowed: Allowed = field(default_factory=Allowed)
    attention: str = "auto"
    window: int = 768
    rankers: RankersByName = field(default_factory=Rankers)
    _parts: dict[str, Any] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def library(self) -> Library:
        """NoLibrary: there is none yet."""
        return self._opened(create=False)

    @property
    def database(self) -> Database:
        """The SQL database of the home."""
        from foveal.database import Database

        with self._lock:
            if "database" not in self._parts:
                self._parts["database"] = Database.open(self.settings)
            found: Database = self._parts["database"]
            return found

    @property
    def papers(self) -> PaperStore:
        """The papers."""
        from foveal.papers.store import PaperStore

        return PaperStore(self.database)

    @property
    def paper_search(self) -> PaperSearch:
        """Search over them, brought up to date first."""
        from foveal.papers.paper_search import PaperSearch

        with self._lock:
            if "papers" not in self._parts:
                self._parts["papers"] = PaperSearch.open(self.settings, database=self.database)
            found: PaperSearch = self._parts["papers"]
            with suppress(LibraryBusy):  # another process indexes them: what it has done so far is found
                found.sync()
            return found

    def find(self, asked: asked.Search) -> shapes.Hits:
        """As `foveal search` does."""
        from foveal.ranking.chosen import NONE, chosen
        from foveal.retrieval.by_document import best_of_each
        from foveal.retrieval.rows import documents_of
        from foveal.retrieval.words import plain_quotes
        from foveal.web.offered import check_ranker, check_retriever

        library, home = self.library, self.settings.home
        check_retriever(asked.retriever, home)
        check_ranker(asked.rank, home)
        name = asked.retriever or ("fresh" if asked.as_of else "")
        if asked.as_of and name.partition(":")[0] != "fresh":
            raise InputError(f"`as_of` goes with the retriever fresh, not with {name}. Leave one of them out.")
        moment: dict[str, Any] = {"at": asked.as_of} if asked.as_of else {}
        ordered = chosen(self.settings, retriever=name, rank=asked.rank)
        ranker = self.rankers.get(ordered, home) if ordered else None

        def passages(k: int) -> list[Hit]:
            return library.search(
                plain_quotes(asked.query), k, retriever=name or None, rank=ranker or NONE,
                where=asked.where.strip() or None, **moment,
            )  # fmt: skip

        hits = best_of_each(passages, asked.k) if asked.each else passages(asked.k)
        entries = library.entries(documents_of(hits))
        return shapes.Hits(
            hits=[_hit(hit, entries) for hit in hits if hit.passage.span.document_id in entries], note=""
        )

    def entry(self, which: str) -> Entry:
        """The document that an id, its beginning, a path or a URL names."""
        return self.library.only(which)

    def text(self, source: str, call: Call) -> Text:
        """A document of the library, else a file or a page that the person has allowed."""
        from foveal.reading import DocumentText
        from foveal.reading.opening import opened
        from foveal.text.sources import Part, load_settings

        if found := self._held(source):
            if len(found) > 1:
                raise UnknownDocument(f"{source[:200]} holds {len(found)} documents; give the id of one.")
            return DocumentText(self.library.get(found[0].id))

        def loaded(part: Part) -> None:
            call.progressed(f"Loading: {part.read:,} of {part.of:,} {part.what}")

        settings = load_settings(self.settings)
        settings = replace(settings, fetch=replace(settings.fetch, cancel=call.cancel))
        return opened(self.allowed.source(source), settings, on_part=loaded)

    def sources(self, named: list[str]) -> list[Source]:
        """Where research searches. InputError: what is not on this machine was not allowed."""
        from foveal.research.sources import source_of

        if "arxiv" in named and not self.allowed.web:
            raise InputError("The source arxiv may not be asked: the person allows it by foveal mcp --web.")
        own = {"papers": {"papers": self.paper_search}} if "papers" in named else {}
        return [source_of(one, self.settings, **own.get(one, {})) for one in dict.fromkeys(named)]

    def add(self, asked: asked.Add, call: Call) -> shapes.Added:
        """Add to the library, which is made where there is none. InputError: a source that was not allowed."""
        from foveal.retrieval.sent_files import documents_at
        from foveal.web.uploads import file_given, forget, safe_name

        kept = None
        if asked.text:
            first = " ".join(asked.text.strip().split("\n", 1)[0].lstrip("#").split())
            name = safe_name((asked.title.strip() or first)[:LONGEST_TITLE]) or "Text"
            kept = file_given(self.settings, f"{name}.txt", asked.text.encode())
        given = [kept.source] if kept else list(dict.fromkeys(self.allowed.sources(asked.sources)))
        if not given:
            raise InputError("What was named holds no file that may be added.")
        library = self._opened(create=True)
        try:
            report = library.add(given, on_progress=lambda now: _advance(call, now))
        finally:
            if kept and not documents_at(library.store, kept.address):
                forget(kept)
        return _added(report, library)

    def remove(self, which: str) -> shapes.Removed:
        """Take one document out."""
        entry = self.library.only(which)
        self.library.remove([entry])
        return shapes.Removed(id=entry.id, title=entry.title)

    def close(self) -> None:
        """Close what was opened."""
        if "database" in self._parts:
            self._parts["database"].close()

    def _held(self, source: str) -> list[Entry]:
        """What the library holds of that name."""
        try:
            return self.library.find(source)
        except (UnknownDocument, NoLibrary):
            return []

    def _opened(self, *, create: bool) -> Library:
        from foveal.library import Library

        with self._lock:
            if "library" not in self._parts:
                self._parts["library"] = Library.open(settings=self.settings, create=create)
            found: Library = self._parts["library"]
            return found


def _hit(hit: Hit, entries: Mapping[str, Entry]) -> shapes.Hit:
    from foveal.retrieval.rows import way_to

    entry = entries[hit.passage.span.document_id]
    span, revision = hit.passage.span, hit.revision or entry.revision
    return shapes.Hit(
        span=Span.of(span),
        revision=revision,
        text=hit.passage.text,
        title=entry.title,
        where=where_of(entry.pages, hit.passage.heading, entry.title, span),
        score=hit.score,
        source=hit.source,
        via=[Way.of(place, one.title) for place, one in way_to(hit, entries)],
        uri=shapes.document_uri(span.document_id, span.start, span.end, revision),
    )


def _advance(call: Call, report: AddReport) -> None:
    if part := report.part:
        call.progressed(f"Reading: {part.read:,} of {part.of:,} {part.what}", report.sources_read, report.sources)
        return
    ready = max(report.passages, report.encoded)
    call.progressed(f"{ready:,} passages so far", report.sources_read, max(1, report.sources))


def _added(report: AddReport, library: Library) -> shapes.Added:
    states: dict[str, Any] = {
        key: state for state in ("added", "updated", "unchanged") for key in getattr(report, state)
    }
    told = list(states)[: shapes.MOST_TOLD]
    entries = library.entries(told)
    became = [
        shapes.Became(name=entries[key].title, state=states[key], id=key, said="") for key in told if key in entries
    ]
    became += [
        shapes.Became(name=one.address, state="skipped", id=None, said=one.reason)
        for one in report.skipped[: shapes.MOST_TOLD]
    ]
    counts = {name: len(getattr(report, name)) for name in ("added", "updated", "unchanged", "skipped")}
    return shapes.Added(**counts, became=became)
