"""One way to the web: a URL to bytes, within limits of size, time and place.

Size      counted while it streams, and again while it unpacks; the rest is never read
Time      one deadline for all: names, redirects, robots.txt, waiting, retries (`addresses.py` holds the sockets to it)
Place     http and https; public addresses only, checked at the connection, anew at each redirect (`addresses.py`)
Manners   robots.txt (`robots.py`), an honest user agent, Retry-After, and no page sent twice (`page_cache.py`)
Proxies   not used unless `trust_env` is set: a proxy connects by itself, so that an address cannot be checked there
Errors    FetchFailed, for whatever goes wrong; Cancelled, where the caller stops it, within a quarter of a second
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

from foveal import faults
from foveal.errors import FetchFailed, InputError
from foveal.text.page_cache import KeptPage, PageCache
from foveal.text.robots import ALL_CLOSED, ALL_OPEN, RobotsCache, Rules, parse

if TYPE_CHECKING:
    import httpx

    from foveal.models.chat import Cancel

PROGRAM = "Foveal"  # what a robots.txt would call us
ROBOTS_BYTES = 500 * 2**10  # of a robots.txt, as RFC 9309 asks for
ERROR_BYTES = 2**16  # of a page that comes with an error
LONGEST_TYPE = 1000  # characters of a Content-Type that are read: the parser is quadratic in them
TICK_S = 0.2  # how often a wait looks whether it was cancelled
REDIRECTS = frozenset((301, 302, 303, 307, 308))
FOR_GOOD = frozenset((301, 308))
TRY_AGAIN = frozenset((429, 502, 503, 504))

_GZIP = b"\x1f\x8b"  # begins a member

_ROBOTS = RobotsCache()
_ADVICE = {
    401: "It asks for a sign-in. Save the page from a browser, and add the file.",
    403: "It refuses programs, or asks for a sign-in. Save the page from a browser, and add the file.",
    404: "There is no such page. Check the address.",
    410: "The page is gone. Look for a copy, for instance at web.archive.org.",
    429: "It asks for fewer requests. Try again later.",
}


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """The limits of a fetch."""

    timeout_s: float = 60.0  # seconds for one fetch, all redirects and retries included
    max_bytes: int = 256 * 2**20  # of the page, as sent and unpacked
    max_redirects: int = 5
    retries: int = 2  # after 429, 502, 503, 504 or a broken connection
    backoff_s: float = 0.5  # seconds before the first retry, doubled for each next; the server's Retry-After goes first
    allow_private: bool = False  # addresses of this machine and of private networks
    named: bool = False  # the person named this very server, so it may be private; what it redirects to may not
    respect_robots: bool = True
    user_agent: str = f"{PROGRAM} (+https://foveal.readthedocs.io)"
    cache: Path | None = None  # folder of pages that need not be sent again if unchanged
    trust_env: bool = False  # use HTTP_PROXY, HTTPS_PROXY, NO_PROXY; addresses are then checked as far as they resolve
    cancel: Cancel | None = None  # stops what is under way

    def __post_init__(self) -> None:
        if self.timeout_s <= 0 or self.max_bytes <= 0 or min(self.max_redirects, self.retries, self.backoff_s) < 0:
            raise InputError(f"{self} has a limit that is negative, or a time or size of 0. Give a larger number.")


@dataclass(frozen=True)
class Fetched:
    """A page as it came: `content` is unpacked, `headers` have names in lower case."""

    url: str
    final_url: str
    content: bytes
    media_type: str
    charset: str | None
    headers: Mapping[str, str]
    status: int = 200
    from_cache: bool = False
    moved_to: str = ""  # where the page has moved for good: the site asks to be asked there from now on


DEFAULTS = FetchSettings()


def fetch(
    url: str,
    settings: FetchSettings = DEFAULTS,
    *,
    accept: Collection[int] = (200,),
    headers: Mapping[str, str] | None = None,
) -> Fetched:
    """The page at `url`, after redirects; an answer whose status is not in `accept` is a FetchFailed.

    `headers` (a condition, a key) are sent to the site of `url` only, never to one that it redirects to. With 304 in
    `accept`, conditions are the caller's, and no copy is kept here. A status in `accept` is not asked again for.
    """
    with _Session(settings, headers=dict(headers or {}), accept=frozenset(accept)) as session:
        return session.follow(url, accept)


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes = b""
    from_cache: bool = False


@dataclass
class _Session:
    """One fetch: its deadline, and connections that its redirects share."""

    settings: FetchSettings
    headers: Mapping[str, str] = field(default_factory=dict)
    accept: frozenset[int] = frozenset()
    until: float = field(init=False)
    _site: str = field(init=False, default="")
    _named: tuple[str, int] | None = field(init=False, default=None)
    _clients: dict[str | None, httpx.Client] = field(init=False, default_factory=dict)

    def __enter__(self) -> _Session:
        self.until = time.monotonic() + self.settings.timeout_s
        return self

    def __exit__(self, *failure: object) -> None:
        for client in self._clients.values():
            client.close()

    def follow(self, url: str, accept: Collection[int]) -> Fetched:
        """The page at `url`, or where it redirects to."""
        hop, moved, for_good = url, "", True
        self._site = _site(_checked(url))
        self._named = _host_and_port(_checked(url)) if self.settings.named else None
        for _ in range(self.settings.max_redirects + 1):
            parts = _checked(hop)
            hop = parts._replace(fragment="").geturl()
            if self.settings.respect_robots:
                self._require_open(hop, parts)
            answer = self._answer(hop, self.settings.max_bytes)
            if answer.status not in REDIRECTS or "location" not in answer.headers:
                return self._fetched(url, hop, moved, answer, accept)
            hop = _redirected(hop, answer.headers["location"])
            for_good = for_good and answer.status in FOR_GOOD  # behind a detour nothing is said of `url` itself
            moved = hop if for_good else moved
        raise FetchFailed(
            f"{url} redirects more than {self.settings.max_redirects} times, last to {hop}. Give the address of the "
            "page itself."
        )

    def _fetched(self, url: str, final_url: str, moved_to: str, answer: _Answer, accept: Collection[int]) -> Fetched:
        if answer.status not in accept:
            advice = _ADVICE.get(answer.status, "Try again later, or check the address.")
            raise FetchFailed(f"{final_url} answered with status {answer.status}. {advice}")
        kind = Message()
        stated = answer.headers.get("content-type", "application/octet-stream")
        kind["content-type"] = stated[:LONGEST_TYPE]
        charset = kind.get_content_charset()
        return Fetched(
            url,
            final_url,
            answer.content,
            kind.get_content_type() if "content-type" in answer.headers else "",
            charset,
            answer.headers,
            answer.status,
            answer.from_cache,
            moved_to,
        )

    def _require_open(self, url: str, parts: SplitResult) -> None:
        site = f"{parts.scheme}://{parts.netloc}"
        rules = _ROBOTS.rules(site, PROGRAM, lambda: self._robots(site))
        if not rules.allow((parts.path or "/") + (f"?{parts.query}" if parts.query else "")):
            raise FetchFailed(
                f"The robots.txt of {site} asks programs not to read {url}. Save the page from a browser and add the "
                "file, or, with the owner's leave, set FetchSettings(respect_robots=False)."
            )

    def _robots(self, site: str) -> Rules:
        """None (a status in the 400s) leaves a site open; a server in trouble (500s) leaves it closed: RFC 9309."""
        url = f"{site}/robots.txt"
        for _ in range(self.settings.max_redirects + 1):
            _checked(url)
            answer = self._answer(url, ROBOTS_BYTES, cut=True)
            if answer.status not in REDIRECTS or "location" not in answer.headers:
                break
            url = _redirected(url, answer.headers["location"])
        if answer.status == 200:
            return parse(answer.content.decode("utf-8", "replace"), PROGRAM)
        return ALL_CLOSED if answer.status >= 500 else ALL_OPEN

    def _answer(self, url: str, max_bytes: int, *, cut: bool = False) -> _Answer:
        """What the server says in the end: it is asked again after trouble that may pass."""
        import httpcore

        for attempt in range(self.settings.retries + 1):
            self._check()
            wait = self.settings.backoff_s * 2**attempt
            try:
                answer = self._request(url, max_bytes, cut)
            except (httpcore.ReadError, httpcore.WriteError, httpcore.ProtocolError) as error:
                trouble = f"broke the connection ({error or type(error).__name__})"
            else:
                if answer.status not in TRY_AGAIN or answer.status in self.accept:
                    return answer
                trouble = f"answered with status {answer.status}"
                wait = _retry_after(answer.headers) or wait
                if cut:  # robots.txt: its status says enough
                    return answer
            if attempt < self.settings.retries:
                self._pause(url, wait, trouble)
        raise FetchFailed(f"{url} {trouble}, {self.settings.retries + 1} times. Try again later.")

    def _pause(self, url: str, wait: float, trouble: str) -> None:
        if time.monotonic() + wait >= self.until:
            raise FetchFailed(
                f"{url} {trouble}, and is to be asked again in {wait:.0f} s; that exceeds the "
                f"{self.settings.timeout_s:g} s that a fetch may take. Try again later."
            )
        until = time.monotonic() + wait
        while (left := until - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, TICK_S))

    def _check(self) -> None:
        if self.settings.cancel:
            self.settings.cancel.check()

    def _request(self, url: str, max_bytes: int, cut: bool) -> _Answer:
        """One request. Broken connections are passed on, to be tried again; all else that fails is FetchFailed."""
        import httpcore
        import httpx

        cache = PageCache(self.settings.cache) if self.settings.cache and 304 not in self.accept else None
        kept = cache.get(url) if cache else None
        if kept and len(kept.content) > max_bytes:
            kept = None
        try:
            with self._client(url).stream("GET", url, headers=self._asked(url, kept)) as response:
                headers = dict(response.headers)
                if response.status_code == 304 and kept:
                    return _Answer(200, kept.headers, kept.content, from_cache=True)
                if response.status_code in REDIRECTS | TRY_AGAIN:
                    return _Answer(response.status_code, headers)
                if response.status_code != 200:
                    return _Answer(response.status_code, headers, self._body(url, response, ERROR_BYTES, cut=True))
                content = self._body(url, response, max_bytes, cut)
        except httpcore.TimeoutException as error:
            raise FetchFailed(
                f"{url} did not answer in full within {self.settings.timeout_s:g} s. Try again later, or download it "
                "by hand."
            ) from error
        except (httpcore.ConnectError, httpcore.ProxyError) as error:
            raise FetchFailed(f"{url} could not be reached: {error}. Check the address{_proxy_hint(self)}.") from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # httpx reads a redirect's Location, too
            reason = str(error).rstrip(".")
            raise FetchFailed(f"{url} is no valid address, or redirects to none: {reason}. Check it.") from error
        if cache:
            cache.put(url, KeptPage(headers, content))
        return _Answer(200, headers, content)

    def _asked(self, url: str, kept: KeptPage | None) -> dict[str, str]:
        """The headers of a request beside those of every request."""
        own = self.headers if _site(urlsplit(url)) == self._site and urlsplit(url).path != "/robots.txt" else {}
        return {**(kept.conditions if kept else {}), **own}

    def _body(self, url: str, response: httpx.Response, max_bytes: int, cut: bool) -> bytes:
        """The unpacked body. httpx would unpack without a bound, so we take the bytes raw and unpack them here."""
        import httpcore

        packing = response.headers.get("content-encoding", "identity").lower()
        if packing not in ("identity", "gzip", "x-gzip", ""):
            raise FetchFailed(f"{url} is packed with {packing!r}, though gzip was asked for. Download it by hand.")
        packed = _Gzip() if "gzip" in packing else None
        content = bytearray()
        for chunk in response.iter_raw():
            room = max_bytes + 1 - len(content)
            try:
                content += packed.unpacked(chunk, room) if packed else chunk[:room]
            except zlib.error as error:
                raise FetchFailed(f"{url} sent damaged gzip data ({error}). Try again later.") from error
            if len(content) > max_bytes:
                if cut:
                    return bytes(content[:max_bytes])
                raise FetchFailed(
                    f"{url} holds more than {max_bytes:,} bytes, the most that is read. Raise max_file_mb of "
                    "foveal.toml (FetchSettings.max_bytes), or download the file and split it."
                )
            if packed and packed.over:
                break
        if packed and content and not packed.whole:
            raise httpcore.RemoteProtocolError("the gzip data stops early")
        return bytes(content)

    def _client(self, url: str) -> httpx.Client:
        import httpx

        from foveal.text.addresses import transport

        proxy = self._proxy(url)
        if proxy not in self._clients:
            headers = {"user-agent": self.settings.user_agent, "accept": "*/*", "accept-encoding": "gzip"}
            way = transport(
                until=self.until,
                allow_private=self.settings.allow_private,
                proxy=proxy,
                check=self._check if self.settings.cancel else None,
                named=self._named,
            )
            self._clients[proxy] = httpx.Client(transport=way, headers=headers, trust_env=False, timeout=None)
        return self._clients[proxy]

    def _proxy(self, url: str) -> str | None:
        """The proxy that the environment names for `url`; a host that resolves here is checked before it is asked."""
        if not self.settings.trust_env:
            return None
        from urllib.request import getproxies, proxy_bypass

        from foveal.text.addresses import require_public, resolved

        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname or ""
        proxy = None if proxy_bypass(host) else getproxies().get(scheme)
        if proxy and not self.settings.allow_private and _host_and_port(urlsplit(url)) != self._named:
            try:
                found = resolved(host, 443, timeout=max(0.0, self.until - time.monotonic()))
            except FetchFailed:  # behind a proxy, names often resolve only there
                found = []
            require_public(host, found)
        return proxy


class _Gzip:
    """What is packed with gzip, as it comes: one member, or several in a row. What stands behind them is not read."""

    def __init__(self) -> None:
        self._member: Any = zlib.decompressobj(wbits=31)
        self.over = False

    @property
    def whole(self) -> bool:
        """Whether it ends where a member does."""
        return self._member is None

    def unpacked(self, chunk: bytes, most: int) -> bytes:
        """At most so many bytes of what a chunk holds; of more, what is left is lost. zlib.error: it is damaged."""
        found = bytearray()
        while chunk and len(found) < most:
            if self._member is None:
                self.over = not _GZIP.startswith(chunk[:2])
                if self.over:
                    break
                self._member = zlib.decompressobj(wbits=31)
            found += self._member.decompress(chunk, most - len(found))
            chunk = self._member.unused_data
            self._member = None if self._member.eof else self._member
        return bytes(found)


def _site(parts: SplitResult) -> str:
    """Scheme, host and port: what may see what is meant for one site."""
    return f"{parts.scheme}://{parts.netloc}".lower()


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    """Where a connection leads to."""
    return (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def _checked(url: str) -> SplitResult:
    """The parts of a URL that may be fetched."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError as error:
        raise FetchFailed(f"{url!r} is not a valid address: {error}. Check its spelling.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchFailed(f"{url!r} cannot be fetched: an address begins with http:// or https:// and names a host.")
    if parts.username is not None or parts.password is not None:
        raise FetchFailed(
            f"The address of a page at {parts.hostname} holds a user name or password; it would be stored and shown. "
            "Download the page, and add the file."
        )
    return parts


def _redirected(url: str, location: str) -> str:
    """Where an answer of `url` leads to."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise FetchFailed(f"{url} redirects to {location!r}, which is no address: {error}. Check it.") from error


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, as the server asks for them: a number, or a date; None where it is neither."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - faults.now()).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _proxy_hint(session: _Session) -> str:
    named = [name for name in ("HTTPS_PROXY", "HTTP_PROXY") if os.environ.get(name) or os.environ.get(name.lower())]
    if named and not session.settings.trust_env:
        return f"; {named[0]} is set but not used, FetchSettings(trust_env=True) uses it"
    return " and the network"
