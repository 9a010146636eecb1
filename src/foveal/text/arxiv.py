"""arXiv papers: ids and addresses, the API (Atom), search, and a paper as a document.

    arxiv_address("https://arxiv.org/abs/2103.00020v1")     # "arxiv:2103.00020v1"
    ArxivClient().document("2103.00020")                    # title, abstract, and the pages of the PDF
    ArxivClient().search("all:retrieval", start=0, max_results=20)
    ArxivClient().url(search_query="cat:cs.CL", start=100)  # asked by papers/ingest.py, which keeps account of requests

Manners   arXiv asks for at most one request in three seconds: all clients of a process share one `Pace`, all processes
          of a machine one file (`ArxivSettings.pace_file`). The API is open to programs by its terms of use, whatever
          robots.txt says of it; for PDFs robots.txt holds
Versions  `2103.00020` is the newest version, `2103.00020v1` the first; they are documents of their own
Errors    UnreadableSource where arXiv has no such paper, FetchFailed where it cannot be reached
"""

from __future__ import annotations

import fcntl
import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from foveal.errors import FetchFailed, InputError, UnreadableSource
from foveal.text.dates import aware
from foveal.text.fetching import DEFAULTS, Fetched, FetchSettings, fetch
from foveal.text.plain import storable
from foveal.text.recognition import RecognitionSettings
from foveal.types import PRINTED_PAGES, Document, Scalar

MOST_RESULTS = 2000  # of one request, by the API's manual

logger = logging.getLogger("foveal.text.arxiv")

_ID = r"(?:\d{4}\.\d{4,5}|[a-z-]+(?:\.[A-Z]{2})?/\d{7})"
_GIVEN = re.compile(
    rf"(?:arxiv:\s*|https?://(?:www\.|export\.)?arxiv\.org/(?:abs|pdf|html)/)({_ID}(?:v\d+)?)(?:\.pdf)?/?(?:[?#].*)?",
    re.IGNORECASE,
)
_ENTRY_ID = re.compile(rf"/abs/({_ID})(?:v(\d+))?$")
_NAMES = {
    "a": "http://www.w3.org/2005/Atom",
    "x": "http://arxiv.org/schemas/atom",
    "o": "http://a9.com/-/spec/opensearch/1.1/",
}


@dataclass(frozen=True, kw_only=True)
class ArxivSettings:
    """Where the API is, and how it is used."""

    base_url: str = "https://export.arxiv.org/api/query"
    full_text: bool = True  # read the PDF as well
    interval_s: float = 3.0  # seconds between two requests, as the API's terms ask for
    pace_file: Path | None = None  # through which all processes of this machine keep the interval together


@dataclass(frozen=True)
class ArxivLink:
    """An address of an entry; `title` is "pdf" or "doi" where it is one."""

    href: str
    rel: str
    title: str | None


@dataclass(frozen=True)
class ArxivEntry:
    """What the API says of one version of a paper."""

    id: str  # without version
    version: int
    title: str
    abstract: str
    authors: tuple[str, ...]
    categories: tuple[str, ...]
    primary_category: str
    published: datetime | None  # of version 1
    updated: datetime | None  # of this version
    comment: str | None
    doi: str | None
    journal_ref: str | None
    pdf_url: str
    affiliations: tuple[str, ...] = ()  # one for each author, "" where none is told
    links: tuple[ArxivLink, ...] = ()


@dataclass(frozen=True)
class ArxivPage:
    """A part of what fits a query: `total` fit, these begin with the one numbered `start` (the first is 0)."""

    entries: tuple[ArxivEntry, ...]
    total: int
    start: int


class Pace:
    """Lets calls through at an interval, from any number of threads."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._next = float("-inf")
        self._lock = threading.Lock()

    def wait(self, interval_s: float) -> None:
        """Return when `interval_s` seconds have passed since the last call returned."""
        with self._lock:
            left = self._next - self._clock()
            if left > 0:
                self._sleep(left)
            self._next = self._clock() + interval_s


class FilePace:
    """Lets calls through at an interval, from any number of processes that name the same file.

    The file holds the time from which the next call may go. A call takes its turn and then sleeps, so that nobody
    holds the file for long; a clock that was set back costs no more than `MOST_TURNS` intervals.
    """

    MOST_TURNS = 100

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._path = path
        self._clock = clock
        self._sleep = sleep

    def wait(self, interval_s: float) -> None:
        """Return when it is this call's turn."""
        turn = self._turn(interval_s)
        left = turn - self._clock()
        if left > 0:
            self._sleep(left)

    def _turn(self, interval_s: float) -> float:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
            file.seek(0)
            now = self._clock()
            turn = max(now, _number(file.read()))
            if turn > now + self.MOST_TURNS * interval_s:
                turn = now
            file.truncate(0)
            file.write(f"{turn + interval_s:.6f}")
        return turn


def _number(text: str) -> float:
    try:
        return float(text or 0)
    except ValueError:  # cut off by a full disk: begin anew
        return 0.0


_PACE = Pace()


class ArxivClient:
    """Asks arXiv's API."""

    def __init__(
        self,
        settings: ArxivSettings = ArxivSettings(),
        fetch_settings: FetchSettings = DEFAULTS,
        *,
        pace: Pace | FilePace | None = None,
    ) -> None:
        self._settings = settings
        self._fetch_settings = fetch_settings
        self._pace = pace or (FilePace(settings.pace_file) if settings.pace_file else _PACE)

    def search(self, query: str, start: int = 0, max_results: int = 10) -> list[ArxivEntry]:
        """Papers that fit `query`, in the API's own language (`all:`, `ti:`, `cat:`, AND, OR), best first."""
        if not query.strip() or start < 0 or not 1 <= max_results <= MOST_RESULTS:
            raise InputError(
                f"arXiv's search got {query!r} from {start}, {max_results} results; it needs a query, a start of 0 or "
                f"more, and 1 to {MOST_RESULTS} results."
            )
        return self._ask(search_query=query, start=start, max_results=max_results)

    def entries(self, ids: Sequence[str]) -> list[ArxivEntry]:
        """The papers with these ids, in arXiv's order; those that it does not have are left out."""
        return self._ask(id_list=",".join(ids), max_results=len(ids)) if ids else []

    def document(
        self,
        paper_id: str,
        *,
        max_bytes: int | None = None,
        on_page: Callable[[int, int], None] = lambda _read, _of: None,
        recognition: RecognitionSettings | None = None,
    ) -> Document:
        """The paper: its title and abstract, then the PDF's text, if it can be had; `on_page` as for `read_pdf`.

        `recognition`: how scanned pages are read, where these are; papers from before 1995 have some.
        """
        from foveal.text.pdf import NO_RECOGNITION, read_pdf

        found = self.entries([paper_id])
        if not found:
            raise UnreadableSource(
                f"arXiv has no paper {paper_id}. Check the id; it looks like 2103.00020 or hep-th/9901001."
            )
        entry = found[0]
        text, pages, counted = f"{entry.title}\n\n{entry.abstract}", tuple[int, ...](), dict[str, Scalar]()
        if self._settings.full_text:
            most = max_bytes or self._fetch_settings.max_bytes
            try:
                content = self.pdf(entry.pdf_url, most).content
                pdf = read_pdf(
                    content,
                    name=entry.pdf_url,
                    max_characters=most,
                    on_page=on_page,
                    recognition=recognition or NO_RECOGNITION,
                )
                pages = tuple(len(text) + 2 + page for page in pdf.pages)
                text = f"{text}\n\n{pdf.text}"
                counted = {"unread_pages": pdf.unread, "recognised_pages": pdf.recognised, PRINTED_PAGES: pdf.printed}
            except (FetchFailed, UnreadableSource) as error:
                logger.warning("arxiv:%s is read without its full text: %s", paper_id, error)
        return _document(f"arxiv:{paper_id}", entry, text, pages, counted)

    def pdf(self, url: str, max_bytes: int | None = None, *, accept: Collection[int] = (200,)) -> Fetched:
        """A paper's PDF, at its turn, where robots.txt allows it. FetchFailed: it cannot be had."""
        limits = replace(self._fetch_settings, max_bytes=max_bytes or self._fetch_settings.max_bytes)
        self._pace.wait(self._settings.interval_s)
        return fetch(url, limits, accept=accept)

    def url(self, **query: str | int) -> str:
        """The address of a query: search_query, id_list, start, max_results, sortBy, sortOrder."""
        return f"{self._settings.base_url}?{urlencode(query)}"

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Fetched:
        """The answer to a query's address, at its turn; 304 where `headers` set a condition that holds."""
        limits = replace(self._fetch_settings, respect_robots=False, backoff_s=max(1.0, self._settings.interval_s))
        self._pace.wait(self._settings.interval_s)
        accept = (200, 304, 400) if headers else (200, 400)  # else an answer kept by the fetcher serves
        return fetch(url, limits, accept=accept, headers=headers)

    def _ask(self, **query: str | int) -> list[ArxivEntry]:
        url = self.url(**query)
        return parse_entries(self.get(url).content, url)


def arxiv_address(given: str) -> str | None:
    """`arxiv:ID` for an `arxiv:` address or a URL of an abstract, PDF or HTML page of arXiv; None for others."""
    found = _GIVEN.fullmatch(given.strip())
    return f"arxiv:{found[1]}" if found else None


def parse_entries(content: bytes, url: str) -> list[ArxivEntry]:
    """The entries of an answer of the API; its complaints become UnreadableSource, a broken answer FetchFailed."""
    return list(parse_page(content, url).entries)


def parse_page(content: bytes, url: str) -> ArxivPage:
    """An answer of the API, with its place among all that fit the query. Errors as for `parse_entries`."""
    from lxml import etree

    try:
        feed = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))
    except etree.XMLSyntaxError as error:
        raise FetchFailed(f"{url} answered with something other than Atom ({error}). Try again later.") from error
    entries = feed.findall("a:entry", _NAMES)
    for entry in entries:
        if "/api/errors" in (_words(entry, "a:id") or ""):
            raise UnreadableSource(f"arXiv refuses the request: {_words(entry, 'a:summary')}. Check the id or query.")
    found = tuple(_entry(entry) for entry in entries if _ENTRY_ID.search(_words(entry, "a:id") or ""))
    return ArxivPage(found, _count(feed, "o:totalResults", len(found)), _count(feed, "o:startIndex", 0))


def _count(feed: Any, path: str, otherwise: int) -> int:
    told = _words(feed, path) or ""
    return int(told) if told.isascii() and told.isdecimal() else otherwise


def _entry(entry: Any) -> ArxivEntry:
    found = _ENTRY_ID.search(_words(entry, "a:id") or "")
    paper, version = (found[1], int(found[2] or 1)) if found else ("", 1)
    links = tuple(
        ArxivLink(str(link.get("href")), str(link.get("rel") or "alternate"), link.get("title"))
        for link in entry.findall("a:link", _NAMES)
    )
    pdfs = [link.href for link in links if link.title == "pdf"]
    people = [one for one in entry.findall("a:author", _NAMES) if _words(one, "a:name")]
    categories = tuple(str(category.get("term")) for category in entry.findall("a:category", _NAMES))
    primary = entry.find("x:primary_category", _NAMES)
    return ArxivEntry(
        id=paper,
        version=version,
        title=_words(entry, "a:title") or paper,
        abstract=_words(entry, "a:summary") or "",
        authors=tuple(_words(one, "a:name") or "" for one in people),
        categories=categories,
        primary_category=str(primary.get("term")) if primary is not None else "".join(categories[:1]),
        published=aware(_words(entry, "a:published")),
        updated=aware(_words(entry, "a:updated")),
        comment=_words(entry, "x:comment"),
        doi=_words(entry, "x:doi"),
        journal_ref=_words(entry, "x:journal_ref"),
        pdf_url=pdfs[0] if pdfs else f"https://arxiv.org/pdf/{paper}v{version}",
        affiliations=tuple(_affiliation(one) for one in people),
        links=links,
    )


def _affiliation(author: Any) -> str:
    told = (" ".join((one.text or "").split()) for one in author.findall("x:affiliation", _NAMES))
    return storable("; ".join(filter(None, told)))


def _words(element: Any, path: str) -> str | None:
    """The text of a child, with white space folded: arXiv breaks its lines."""
    text = element.findtext(path, namespaces=_NAMES)
    return storable(" ".join(text.split())) or None if text else None


def _document(
    address: str, entry: ArxivEntry, text: str, pages: tuple[int, ...], counted: Mapping[str, Scalar]
) -> Document:
    metadata: dict[str, Scalar | None] = {
        "source": address,
        "kind": "arxiv",
        "authors": "; ".join(entry.authors),
        "categories": "; ".join(entry.categories),
        "primary_category": entry.primary_category,
        "version": entry.version,
        "updated": entry.updated.isoformat() if entry.updated else None,
        "comment": entry.comment,
        "doi": entry.doi,
        "journal_ref": entry.journal_ref,
        "full_text": bool(pages),
        **{name: count or None for name, count in counted.items()},
    }
    return Document.of(
        address,
        text,
        entry.title,
        url=f"https://arxiv.org/abs/{address.removeprefix('arxiv:')}",
        published_at=entry.published,
        pages=pages,
        metadata={name: value for name, value in metadata.items() if value is not None},
    )
