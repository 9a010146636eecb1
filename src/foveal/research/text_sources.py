"""Sources whose texts are at hand: a library, a folder, the papers of a home, any documents.

`DocumentsSource` searches by BM25 over passages, in memory: no index to make, for folders and collections of some
thousand documents. A larger one belongs in a library.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from foveal.errors import InputError, LibraryError, UnknownDocument
from foveal.models.chat import Cancel
from foveal.research.pages import pieces
from foveal.research.sources import Found
from foveal.types import Document, Passage, document_id

if TYPE_CHECKING:
    from foveal.library import Library
    from foveal.retrieval.past_lexical import PastIndex
    from foveal.settings import Settings
    from foveal.text.sources import LoadSettings

logger = logging.getLogger("foveal.research.sources")

SNIPPET = 400
"""Characters of a passage that a searcher is shown before it reads."""


class LibrarySource:
    """The library, by any of its retrievers, and ordered anew by any ranker."""

    ranks_texts = True

    def __init__(
        self,
        library: Library,
        *,
        retriever: str | None = None,
        rank: Any = None,
        where: str | Sequence[str] | None = None,
    ) -> None:
        """As for `Library.search`; a ranker that is named is loaded at its first use and kept."""
        self.name = f"library where {where}" if where else "library"
        self.library = library
        self.retriever, self.rank, self.where = retriever, rank, where
        self._loaded = None if isinstance(rank, str) else rank
        self._lock = Lock()

    @classmethod
    def named(cls, place: str, settings: Settings, **options: Any) -> LibrarySource:
        """`RETRIEVER+RANKER`, both of which may be missing. LibraryError: there is no library, or nothing in it.

        UnknownName: no ranker is called so.
        """
        from foveal.library import Library

        retriever, _, ranker = place.partition("+")
        _require(ranker, settings)
        given = {"retriever": retriever or None, "rank": ranker or None} | options
        library = Library.open(create=False, settings=settings)
        if not library.store.counts()["documents"]:
            raise LibraryError(f"The library in {settings.place} is empty. Fill it: foveal add FILE_OR_FOLDER")
        return cls(library, **given)

    def search(self, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        """The best passages, the first of each document."""
        if cancel:
            cancel.check()
        hits = self.library.search(query, 3 * k, retriever=self.retriever, rank=self._ranker(), where=self.where)
        titles = self.library.entries([hit.passage.span.document_id for hit in hits])
        found: dict[str, Found] = {}
        for hit in hits:
            which = hit.passage.span.document_id
            entry = titles.get(which)
            if entry is None or which in found:
                continue
            snippet = " ".join(hit.passage.text.split())[:SNIPPET]
            found[which] = Found(
                url=entry.url or _address(entry.source, which),
                title=entry.title,
                snippet=snippet,
                score=hit.score,
                address=which,
                revision=hit.revision,
            )
        return list(found.values())[:k]

    def read(self, found: Found, *, cancel: Cancel | None = None) -> Document:
        """The document, in the revision that was found."""
        if cancel:
            cancel.check()
        return self.library.get(found.address, revision=found.revision)

    def _ranker(self) -> Any:
        with self._lock:
            if self._loaded is None and self.rank is not None:
                from foveal.ranking.by_name import load_ranker

                self._loaded = load_ranker(self.rank, home=self.library.settings.home)
            return self._loaded  # beside its name: summaries that are used again are known by that (reuse.py)


def _require(ranker: str, settings: Settings) -> None:
    """UnknownName: no ranker is called so; said before a run has begun."""
    if ranker:
        from foveal.ranking.by_name import require_ranker

        require_ranker(ranker, home=settings.home)


class DocumentsSource:
    """Documents in memory."""

    ranks_texts = True

    def __init__(self, documents: Iterable[Document], *, name: str = "documents") -> None:
        """InputError: none of them holds any text."""
        self.name = name
        self.documents = {one.id: one for one in documents}
        self._passages = [passage for one in self.documents.values() for passage in pieces(one)]
        if not self._passages:
            raise InputError(f"The source {name} holds no text. Name one that does.")
        self._index: PastIndex | None = None
        self._lock = Lock()

    def search(self, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        """The best passages, the first of each document."""
        if cancel:
            cancel.check()
        found: dict[str, Found] = {}
        for number, score in self._indexed().search(query, 0.0, 5 * k).items():
            passage = self._passages[number]
            one = self.documents[passage.span.document_id]
            if one.id not in found:
                found[one.id] = _found(one, passage, score)
        return list(found.values())[:k]

    def read(self, found: Found, *, cancel: Cancel | None = None) -> Document:
        """The document. UnknownDocument: it was found in a run before this one, and is gone since."""
        if cancel:
            cancel.check()
        if found.address not in self.documents:
            raise UnknownDocument(f"{found.title or found.address} is not in {self.name} any more.")
        return self.documents[found.address]

    def _indexed(self) -> PastIndex:
        from foveal.retrieval.past_lexical import PastIndex

        with self._lock:
            if self._index is None:
                texts = [self._words(passage) for passage in self._passages]
                self._index = PastIndex(texts, [0.0] * len(texts))
            return self._index

    def _words(self, passage: Passage) -> str:
        return f"{self.documents[passage.span.document_id].title}\n{passage.text}"


class FolderSource(DocumentsSource):
    """The files below a folder; what cannot be read is passed over, and the log says so."""

    @classmethod
    def named(cls, place: str, settings: Settings) -> FolderSource:
        """InputError: there is no such folder or file."""
        from foveal.settings import expanded
        from foveal.text.sources import load_settings

        if not place:
            raise InputError("The source dir needs a folder: dir:PATH.")
        name = f"dir:{expanded(place).resolve()}"  # "." is another folder in another place
        return cls(_texts(str(expanded(place)), name, load_settings(settings)), name=name)


class Papers(Protocol):
    """The papers of a home, as `papers.PaperSearch` offers them; research does not see that part of the house."""

    def search(self, query: str, k: int, *, retriever: str | None, rank: str | None) -> Any:
        """What has `hits`, each with a `paper` and a `score`. A paper has id, title, abstract, page_url, published_at,
        named_authors, doi and licence."""
        ...

    def paper(self, which: str) -> Any:
        """The paper with that id. UnknownPaper: it is not here."""
        ...


class PapersSource:
    """The papers of a home: found by their index, read as title and abstract."""

    ranks_texts = True

    def __init__(
        self, papers: Papers, *, retriever: str | None = None, rank: str | None = None, where: str = ""
    ) -> None:
        """`where` are filters as people type them, such as "cat:cs.CL year:2024-"."""
        self.name = f"papers {where}".strip()
        self.papers = papers
        self.retriever, self.rank, self.where = retriever, rank, where

    @classmethod
    def named(cls, place: str, settings: Settings, *, papers: Papers | None = None) -> PapersSource:
        """`RETRIEVER+RANKER`, then filters; all may be missing. `papers` comes from whoever may see them.

        UnknownName: no ranker is called so.
        """
        if papers is None:
            raise InputError("The source papers needs the search over a home's papers; here there is none.")
        first, _, rest = place.strip().partition(" ")
        if ":" in first:
            first, rest = "", place
        retriever, _, ranker = first.partition("+")
        _require(ranker, settings)
        return cls(papers, retriever=retriever or None, rank=ranker or None, where=rest.strip())

    def search(self, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        """The papers that fit best and pass the filters."""
        if cancel:
            cancel.check()
        asked = f"{_only_words(query)} {self.where}".strip()
        hits = self.papers.search(asked, k, retriever=self.retriever, rank=self.rank).hits
        return [self._hit(hit.paper, hit.score) for hit in hits]

    def read(self, found: Found, *, cancel: Cancel | None = None) -> Document:
        """The paper, from the home: a run that goes on reads what another process found. UnknownPaper: it is gone."""
        if cancel:
            cancel.check()
        paper = self.papers.paper(found.address)
        text = f"{paper.title}\n\n{paper.abstract}"
        told = {"authors": "; ".join(one.name for one in paper.named_authors), "doi": paper.doi,
                "licence": paper.licence}  # fmt: skip
        metadata = {"kind": "paper"} | {name: value for name, value in told.items() if value}
        url, published = paper.page_url or None, paper.published_at
        return Document.of(f"paper:{paper.id}", text, paper.title, url=url, published_at=published, metadata=metadata)

    def _hit(self, paper: Any, score: float) -> Found:
        snippet = " ".join(paper.abstract.split())[:SNIPPET] or paper.title
        url = paper.page_url or f"paper:{paper.id}"
        return Found(url=url, title=paper.title, snippet=snippet, score=score, address=paper.id)


def _only_words(query: str) -> str:
    """A model's query without what would be a filter or a phrase: those are the person's to set."""
    return " ".join(re.sub(r'[:"“”]', " ", query).split())


def _texts(place: str, name: str, limits: LoadSettings) -> Iterator[Document]:
    """The documents below a folder that hold text."""
    from foveal.text.loading import Skipped, discover, readable

    left = list[str]()
    for file in discover([place], limits):
        for one in (file,) if isinstance(file, Skipped) else readable(file, limits):
            if isinstance(one, Skipped):
                left.append(one.reason)
            elif one.text.strip():
                yield one
    if left:
        logger.warning("of %s %d cannot be read, and are not searched; the first: %s", name, len(left), left[0])


def _address(source: str, document: str) -> str:
    """An address that this document alone has: those of one mailbox, or of one file of records, share their source."""
    if source and document_id(source) == document:
        return source
    return f"{source}#{document}" if source.startswith("file:") else f"document:{document}"


def _found(document: Document, passage: Passage, score: float) -> Found:
    return Found(
        url=document.url or _address(str(document.metadata.get("source", "")), document.id),
        title=document.title,
        snippet=" ".join(passage.text.split())[:SNIPPET],
        score=score,
        address=document.id,
        revision=document.revision,
    )
