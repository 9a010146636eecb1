"""Where a searcher looks: anything that finds pages for a query and gives the text of one.

    class Source(Protocol):  search(query, k) -> [Found];  read(found) -> Document

`Sources` asks several at once and merges what they find. `source_of` makes one from what a person types:

    library, library:dense, library:hybrid+RANKER   the library, by a retriever and a ranker of the registry
    papers, papers:RETRIEVER+RANKER FILTERS         the papers of the home, as in the search over papers
    dir:PATH                                        the files below a folder
    arxiv                                           arXiv's API
    searxng:URL                                     a SearXNG server, or what answers as one does
    http:URL, https:URL                             a search that answers with JSON; {query} and {k} stand in the URL
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from foveal.errors import Cancelled, FovealError, InputError
from foveal.models.chat import Cancel
from foveal.registry import RESEARCH_SOURCES, RETRIEVERS, lookup, require_name
from foveal.research.citations import canonical
from foveal.types import Document

if TYPE_CHECKING:
    from foveal.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Found:
    """One hit of a search; `address` is what its source reads it by."""

    url: str
    title: str
    snippet: str
    score: float = 0.0  # higher is better; comes from the source, and compares within one answer only
    address: str = ""
    revision: str | None = None


class Hits(list[Found]):
    """Hits of several sources; `failed`: those that did not answer, and why."""

    failed: tuple[tuple[str, str], ...] = ()


class Source(Protocol):
    """A place to search. Calls may come from many threads at once.

    One that ranks texts by words or meaning has `ranks_texts = True`: the question that a query serves may then stand
    behind it (`search_about`). One that is searched by a retriever and a ranker has these as `retriever` and `rank`,
    None for those of the settings: they tell searches apart that its name does not (reuse.py).
    """

    name: str

    def search(self, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        """At most `k` hits, best first. A FovealError: this search failed; others may not."""
        ...

    def read(self, found: Found, *, cancel: Cancel | None = None) -> Document:
        """The text behind a hit. A FovealError: it cannot be had."""
        ...


class Sources:
    """Several sources as one: hits by turns, the best of each first."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """InputError: there are none."""
        if not sources:
            raise InputError("A run needs a source to search. Name one: library, papers, dir:PATH, searxng:URL, …")
        self.sources: dict[str, Source] = {}  # by name; of two of one name the second is "name 2"
        for one in sources:
            alike = sum(known.name == one.name for known in self.sources.values())
            self.sources[f"{one.name} {alike + 1}" if alike else one.name] = one
        self.name = "+".join(one.name for one in sources)

    def search(self, query: str, k: int, *, cancel: Cancel | None = None, about: str = "") -> list[Found]:
        """Hits of all, each marked with its source, as `Hits`, which say who did not answer. The first one's error is
        raised if all fail; Cancelled in any case: what some of them found is not the whole answer. `about`: the
        question that the query serves (`search_about`)."""
        answers: list[list[Found]] = []
        errors: dict[str, FovealError] = {}
        for name, source in self.sources.items():
            try:
                hits = search_about(source, query, about, k, cancel=cancel)
            except Cancelled:
                raise
            except FovealError as error:
                errors[name] = error
                continue
            answers.append([replace(one, address=f"{name}\n{one.address}") for one in hits])
        if errors and not answers:
            raise next(iter(errors.values()))
        longest = max(map(len, answers), default=0)
        made = Hits([hits[place] for place in range(longest) for hits in answers if place < len(hits)][:k])
        made.failed = tuple((name, str(error)) for name, error in errors.items())
        return made

    def read(self, found: Found, *, cancel: Cancel | None = None) -> Document:
        """The text, from the source that found it. InputError: a run before this one found it elsewhere."""
        name, _, address = found.address.partition("\n")
        source = self.sources.get(name)
        if source is None:
            raise InputError(f"{found.title or found.url} was found in {name}, which this run does not search.")
        return source.read(replace(found, address=address), cancel=cancel)


def search_about(source: Source, query: str, question: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
    """Search `query` as a part of `question`: sources that rank texts are given the words of both, so that a poor query
    finds what the question finds; a search engine is given it as it is. Errors: as of `source.search`; Cancelled.
    """
    if cancel:
        cancel.check()  # it may have waited for its turn
    if isinstance(source, Sources):
        return source.search(query, k, cancel=cancel, about=question)
    whole = in_context(query, question) if getattr(source, "ranks_texts", False) else query
    return source.search(whole, k, cancel=cancel)


def in_context(query: str, question: str) -> str:
    """The words of a plan's query, and those of the question that it serves."""
    return query if not question or question in query else f"{query} {question}"


def scheme_of(named: str) -> str:
    """The registry's name in what a person typed: "library" of "library:dense"."""
    return named.strip().partition(":")[0].lower()


def require_named(named: str) -> None:
    """UnknownName: no kind of source is called so, or no retriever of it; a folder or a server may come later."""
    scheme, place = scheme_of(named), named.strip().partition(":")[2]
    require_name(RESEARCH_SOURCES, scheme, kind="source")
    first = place.strip().partition(" ")[0]
    filters = scheme == "papers" and ":" in first
    retriever = re.split("[+:]", first)[0]
    if scheme in ("library", "papers") and retriever and not filters:
        require_name(RETRIEVERS, retriever, kind="retriever")


def source_of(named: str, settings: Settings, **options: Any) -> Source:
    """The source that a person names. UnknownName, InputError: there is none of that name, or it lacks its place.

    `options` are what a source needs and a name cannot hold: `papers`, the search over papers (PapersSource).
    """
    require_named(named)
    scheme, _, place = named.strip().partition(":")
    kind = lookup(RESEARCH_SOURCES, scheme.lower(), kind="source")
    made: Source = kind.named(named if scheme.lower() in ("http", "https") else place, settings, **options)
    return made


def one_source(source: Source | Sequence[Source]) -> Source:
    """The source, or several as one. InputError: none is given."""
    return Sources(source) if isinstance(source, Sequence) else source


def merged(answers: Sequence[Sequence[Found]], denied: Sequence[str] = ()) -> list[Found]:
    """Hits of several queries as one list: by turns, each address once, the snippets of duplicates joined.

    Those whose host is one of `denied`, or lies below one, are left out.
    """
    kept: dict[str, Found] = {}
    longest = max(map(len, answers), default=0)
    for place in range(longest):
        for hits in answers:
            if place < len(hits) and not _denied(hits[place].url, denied):
                _merge(kept, hits[place])
    return list(kept.values())


def _merge(kept: dict[str, Found], found: Found) -> None:
    key = canonical(found.url)
    before = kept.get(key)
    if before is None:
        kept[key] = found
    elif found.snippet.strip() and found.snippet.strip() not in before.snippet:
        kept[key] = replace(before, snippet=f"{before.snippet}\n{found.snippet}")


def _denied(url: str, denied: Sequence[str]) -> bool:
    from urllib.parse import urlsplit

    try:
        host = (urlsplit(url).hostname or "").lower()
    except ValueError:  # no address: who reads it will say so
        return False
    return any(host == one.lower() or host.endswith(f".{one.lower()}") for one in denied)
