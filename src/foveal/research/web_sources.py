"""Sources on the web: SearXNG, any search that answers with JSON, arXiv. Pages come through the one fetcher (text/).

Safety    public addresses only, checked at the connection and anew at each redirect; robots.txt; at most 2 MB, 5
          redirects, `timeout_s` in all; a page that has not changed is not sent twice (fetching.py)
Manners   at most `per_host` requests to one host at a time, and `interval_s` between their beginnings
Cancel    a request that is under way is left within a quarter of a second

The person names the search server, as that of a model, so its own address may be private. What it redirects to may
not, nor may the pages that it names, unless the settings allow it; they are never followed to files or other schemes.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from html import unescape
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urlencode, urljoin, urlsplit, urlunsplit

from foveal.errors import FetchFailed, InputError, UnreadableSource
from foveal.models.chat import Cancel
from foveal.research.markdown import address
from foveal.research.sources import Found
from foveal.retrieval.terms import terms
from foveal.text.arxiv import ArxivClient, arxiv_address
from foveal.text.fetching import Fetched, FetchSettings, fetch
from foveal.text.loading import Source, documents_of
from foveal.text.plain import storable
from foveal.text.recognition import RecognitionSettings
from foveal.text.sources import LoadSettings
from foveal.types import Document

if TYPE_CHECKING:
    from foveal.settings import Settings

SNIPPET = 400
HEAD = 100_000
"""Bytes of a page in which it says what its own address is."""

_REFUSED = re.compile(r".* answered with status 40[13]\.")
_LINK = re.compile(r"<link\b[^<>]{0,2000}>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""\b(rel|href)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
LISTS = ("results", "hits", "items", "data", "documents", "webPages", "value", "organic")
"""Keys under which search services list what they found, one within the other."""

FIELDS = {
    "url": ("url", "link", "href", "uri"),
    "title": ("title", "name", "heading"),
    "snippet": ("snippet", "content", "summary", "description", "text", "abstract"),
    "score": ("score", "relevance"),
}


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """How pages are fetched for a run."""

    fetch: FetchSettings = field(default_factory=lambda: FetchSettings(timeout_s=5.0, max_bytes=2 * 2**20, retries=1))
    search_timeout_s: float = 15.0
    per_host: int = 4  # requests to one host at a time
    interval_s: float = 0.05  # seconds between two requests to one host

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if self.per_host < 1 or self.interval_s < 0 or self.search_timeout_s <= 0:
            raise InputError("Fetching needs 1 request a host or more, a pause of 0 or more, and a time above 0.")

    @classmethod
    def of(cls, settings: Settings) -> WebSettings:
        """What a home's settings allow."""
        limits = cls().fetch
        own = replace(limits, allow_private=settings.allow_private_addresses, cache=settings.cache / "fetched")
        return cls(fetch=own)


class HostQueue:
    """Lets requests to a host through, a few at a time and not too fast."""

    def __init__(self, per_host: int, interval_s: float) -> None:
        self._per_host, self._interval_s = per_host, interval_s
        self._busy: dict[str, int] = {}
        self._next: dict[str, float] = {}
        self._changed = Condition()

    @contextmanager
    def turn(self, url: str, cancel: Cancel | None) -> Iterator[None]:
        """Wait for the host of `url`, and hold a place there. Cancelled: while waiting."""
        host = urlsplit(url).netloc.lower()
        with self._changed:
            while True:
                if cancel:
                    cancel.check()
                pause = self._next.get(host, 0.0) - time.monotonic()
                free = self._busy.get(host, 0) < self._per_host
                if free and pause <= 0:
                    break
                self._changed.wait(min(pause, 0.1) if free else 0.1)
            self._busy[host] = self._busy.get(host, 0) + 1
            self._next[host] = time.monotonic() + self._interval_s
        try:
            yield
        finally:
            with self._changed:
                self._busy[host] -= 1
                self._changed.notify_all()


@contextmanager
def held(lock: Lock, cancel: Cancel | None) -> Iterator[None]:
    """Hold a lock; who is cancelled while waiting for it leaves at once."""
    while not lock.acquire(timeout=0.1):
        if cancel:
            cancel.check()
    try:
        if cancel:
            cancel.check()
        yield
    finally:
        lock.release()


class Pages:
    """Reads web pages (HTML, PDF, text), each address once a run."""

    def __init__(self, settings: WebSettings = WebSettings()) -> None:
        import trafilatura  # noqa: F401  (before there are threads: two that import one module at once may both fail)

        import foveal.text.addresses  # noqa: F401

        self.settings = settings
        self.hosts = HostQueue(settings.per_host, settings.interval_s)
        self._kept: dict[str, Document] = {}
        self._locks: dict[str, Lock] = {}
        self._lock = Lock()
        self._parsing = (
            Lock()
        )  # parsers of pages hand the interpreter to and fro: many at once take longer than in turn

    def read(self, url: str, *, cancel: Cancel | None = None) -> Document:
        """The page's main text. FetchFailed, UnreadableSource: it cannot be had."""
        with self._lock:
            own = self._locks.setdefault(url, Lock())
        with held(own, cancel):
            if url not in self._kept:
                self._kept[url] = self._fetched(url, cancel)
            return self._kept[url]

    def _fetched(self, url: str, cancel: Cancel | None) -> Document:
        if _web_address(url) is None:
            raise FetchFailed(f"{url[:200]!r} is no web page: an address begins with http:// or https://.")
        with self.hosts.turn(url, cancel):
            page = fetch(url, replace(self.settings.fetch, cancel=cancel))
        fast = RecognitionSettings(ocr="off")  # a run waits for each page, and a scan of hundreds takes minutes
        limits = LoadSettings(max_bytes=self.settings.fetch.max_bytes, recognition=fast)
        with held(self._parsing, cancel):
            documents = documents_of(page, Source(url, "url"), limits)
            found = next((one for one in documents if isinstance(one, Document)), None)
        if found is None or not found.text.strip():
            raise UnreadableSource(
                f"{url} holds no text that can be read. If a browser shows some, scripts draw it: name another page."
            )
        stated = stated_address(page) if found.metadata.get("kind") == "html" else ""
        return replace(found, metadata={**found.metadata, "canonical": stated}) if stated else found


class _WebSource:
    """What sources share that give addresses of pages."""

    refusal = "It refuses programs, or asks for a key, which may stand in its address."

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def read(self, found: Found, *, cancel: Cancel | None = None) -> Document:
        """The page behind a hit."""
        return self._pages.read(found.url, cancel=cancel)

    def _json(self, url: str, cancel: Cancel | None) -> Any:
        """The answer of a search. FetchFailed: none came, or it was no JSON."""
        settings = self._pages.settings
        # The search server is named by the person; robots.txt is for programs that follow links.
        limits = replace(
            settings.fetch,
            timeout_s=settings.search_timeout_s,
            retries=3,
            named=True,
            respect_robots=False,
            cancel=cancel,
        )
        try:
            with self._pages.hosts.turn(url, cancel):
                answer = fetch(url, replace(limits, cache=None))
        except FetchFailed as error:
            told = _keyless(str(error))
            refused = _REFUSED.match(told)
            raise FetchFailed(f"{refused[0]} {self.refusal}" if refused else told) from error
        try:
            return json.loads(answer.content)
        except (ValueError, RecursionError) as error:
            raise FetchFailed(
                f"{_keyless(answer.final_url)} answered with {answer.media_type or 'something'} that is no JSON. Is it "
                "the address of a search, and does the server allow format=json?"
            ) from error


class SearxngSource(_WebSource):
    """A SearXNG server, or what answers as one does: /search?q=…&format=json."""

    refusal = (
        "In its settings.yml, json must stand under search: formats, and its limiter must let this machine through."
    )

    def __init__(self, url: str, pages: Pages | None = None) -> None:
        super().__init__(pages or Pages())
        self.url = _search_url(url)
        self.name = f"searxng:{_name(urlsplit(self.url))}"

    @classmethod
    def named(cls, place: str, settings: Settings) -> SearxngSource:
        """The server at `place`."""
        return cls(place, Pages(WebSettings.of(settings)))

    def search(self, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        """What the server finds. FetchFailed: nothing, as engines that it asks did not answer."""
        asked = urlencode({"q": query, "format": "json"})
        answer = self._json(f"{self.url}{'&' if '?' in self.url else '?'}{asked}", cancel)
        found = hits_in(answer)
        if not found and (silent := _silent_engines(answer)):
            raise FetchFailed(f"{self.name} found nothing, and these engines of it did not answer: {silent}.")
        return found[:k]


class HttpSource(_WebSource):
    """A search that answers a GET with JSON."""

    def __init__(self, url: str, pages: Pages | None = None) -> None:
        """`url` holds {query}, and may hold {k}; without {query}, ?q=… is put behind it."""
        super().__init__(pages or Pages())
        url = url.partition("#")[0]  # what stands behind it is sent to no server, the query least of all
        parts = _web_address(url)
        if parts is None or "{query}" in parts.netloc:
            raise InputError(
                f"The search's address is {url!r}; it needs the form https://HOST/search?q={{query}}&n={{k}}."
            )
        self.name = _name(parts)
        self.url = url if "{query}" in url else f"{url}{'&' if parts.query else '?'}q={{query}}"

    @classmethod
    def named(cls, place: str, settings: Settings) -> HttpSource:
        """The search at the URL `place`, with http: once more before it or not."""
        url = place.partition(":")[2] if place.lower().startswith(("http:http", "https:http")) else place
        return cls(url, Pages(WebSettings.of(settings)))

    def search(self, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        """What the service finds."""
        url = self.url.replace("{query}", quote(query, safe="")).replace("{k}", str(k))
        return hits_in(self._json(url, cancel))[:k]


class ArxivSource:
    """arXiv: its API finds, and a hit is read as title, abstract and the PDF's text."""

    def __init__(self, client: ArxivClient | None = None, settings: FetchSettings | None = None) -> None:
        self.name = "arxiv"
        self._settings = settings or FetchSettings(timeout_s=30.0)
        self._client = client
        self._turn = Lock()  # one request at a time, as arXiv asks

    @classmethod
    def named(cls, place: str, settings: Settings) -> ArxivSource:
        """arXiv itself; it takes no place."""
        if place:
            raise InputError(f"The source arxiv takes no place; it got {place!r}.")
        own = FetchSettings(
            timeout_s=30.0, allow_private=settings.allow_private_addresses, cache=settings.cache / "fetched"
        )
        return cls(settings=own)

    def search(self, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        """Papers that hold the query's words."""
        known = list(dict.fromkeys(terms(query)))
        own = [word for word in known if len(word) > 1] or known or re.findall(r"\w+", query)
        words = " AND ".join(f"all:{word}" for word in own)
        with held(self._turn, cancel):
            found = self._asking(cancel).search(words, 0, max(1, k))
        return [
            Found(
                url=f"https://arxiv.org/abs/{one.id}",
                title=one.title,
                snippet=one.abstract[:SNIPPET],
                score=1.0 / (1 + place),
                address=one.id,
            )
            for place, one in enumerate(found)
        ]

    def read(self, found: Found, *, cancel: Cancel | None = None) -> Document:
        """The paper."""
        address = found.address or (arxiv_address(found.url) or "").removeprefix("arxiv:")
        with held(self._turn, cancel):
            return self._asking(cancel).document(address)

    def _asking(self, cancel: Cancel | None) -> ArxivClient:
        return self._client or ArxivClient(fetch_settings=replace(self._settings, cancel=cancel))


def stated_address(page: Fetched) -> str:
    """The address that a page says is its own (rel=canonical), on its own site; "" where it says none.

    One that names the site's front page from a page within says nothing: so do templates.
    """
    for tag in _LINK.findall(page.content[:HEAD].decode("utf-8", "replace")):
        told = {name.lower(): unescape(one or other or bare) for name, one, other, bare in _ATTRIBUTE.findall(tag)}
        href = told.get("href", "").strip()
        if not href or "canonical" not in told.get("rel", "").lower().split():
            continue
        try:
            found, own = _web_address(urljoin(page.final_url, href)), urlsplit(page.final_url)
        except ValueError:  # no address
            return ""
        within = found is not None and (found.path.strip("/") or found.query or not own.path.strip("/"))
        return address(found.geturl()) if found and within and _site(found) == _site(own) else ""
    return ""


def _site(parts: SplitResult) -> str:
    return (parts.hostname or "").removeprefix("www.")


def hits_in(answer: Any) -> list[Found]:
    """The hits of a search service's answer. FetchFailed: it lists none, under any name that is known."""
    rows = _rows(answer, 0)
    if rows is None:
        raise FetchFailed(
            f"The search answered with JSON that lists no hits. A list is looked for under: {', '.join(LISTS)}."
        )
    found = []
    for row in rows:
        url = address(_field(row, "url").strip())  # a line's end in it would stand in reports as one
        if _web_address(url) is not None:
            snippet = " ".join(_field(row, "snippet").split())[:SNIPPET]
            found.append(Found(url=url, title=_field(row, "title") or url, snippet=snippet, score=_score(row)))
    return found


def _rows(answer: Any, depth: int) -> list[Mapping[str, Any]] | None:
    if isinstance(answer, list):
        return [row for row in answer if isinstance(row, dict)]
    if not isinstance(answer, dict) or depth > 2:
        return None
    inside = (_rows(answer[key], depth + 1) for key in LISTS if key in answer)
    return next((rows for rows in inside if rows is not None), None)


def _field(row: Mapping[str, Any], name: str) -> str:
    told = next((row[key] for key in FIELDS[name] if isinstance(row.get(key), str) and row[key]), "")
    return storable(told)  # JSON may hold halves of characters


def _score(row: Mapping[str, Any]) -> float:
    told = next((row[key] for key in FIELDS["score"] if isinstance(row.get(key), int | float)), 0.0)
    try:
        return float(told) if math.isfinite(told) else 0.0
    except OverflowError:
        return 0.0


def _silent_engines(answer: Any) -> str:
    """The engines that a SearXNG server had no answer from, with their reasons; "" where all answered."""
    listed = answer.get("unresponsive_engines") if isinstance(answer, dict) else None
    told = [one for one in listed if isinstance(one, list) and one] if isinstance(listed, list) else []
    return ", ".join(f"{one[0]} ({one[1]})" if len(one) > 1 else str(one[0]) for one in told[:8])


def _search_url(url: str) -> str:
    parts = _web_address(url)
    if parts is None:
        raise InputError(f"The SearXNG server's address is {url!r}; it needs the form https://HOST.")
    path = parts.path.rstrip("/")
    path = path if path.endswith("/search") else f"{path}/search"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))  # ?language=de stays


def _web_address(url: str) -> SplitResult | None:
    """The parts of an address of the web; None: it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    return parts if parts.scheme.lower() in ("http", "https") and parts.hostname else None


def _keyless(message: str) -> str:
    """A message without the queries of its addresses, in which a key may stand: all who see the run read it."""
    return re.sub(r"(https?://[^\s?#'\"]+)\?[^\s'\"]*", r"\1", message)


def _name(parts: SplitResult) -> str:
    """What a search is called: its place, and a hash of its query, which may hold a key that is to be nobody's."""
    query = parts.query.encode("utf-8", "replace")
    asked = f"?{sha256(query).hexdigest()[:8]}" if query else ""
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}{asked}"
