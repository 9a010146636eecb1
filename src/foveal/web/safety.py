"""What every answer and every request goes through, whatever the route.

Headers   a content security policy without inline scripts and styles, no sniffing, no framing, no referrer to others
Writing   POST, PUT, PATCH, DELETE must come from our own pages: Sec-Fetch-Site or Origin says so, and the form (or the
          header X-Foveal-Token, which HTMX sends) carries the token of this browser's cookie
Size      a body larger than an upload may be is refused before it is read, whether or not it says its length
Token     HMAC of a random cookie under `secret.key` of the home: nothing is stored, and a stolen page is of no use.
          Pages that a browser asked for at once, before it had the cookie, each bring one: the last is the browser's,
          and until somebody signs in the forms of all of them hold for `FIRST_S` (cookies `FIRST`…)

A route that writes depends on `guarded`. Why not a cookie that is SameSite alone: sites of one domain share it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE, SESSION = "foveal_browser", "foveal_session"
FIRST, FIRST_S = "foveal_first_", 3600
FIELD = "token"
HEADER = "x-foveal-token"
UNSAFE = frozenset(("POST", "PUT", "PATCH", "DELETE"))

POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


WRITTEN = ("question", "text", "pasted", "reason", "description", "goal", "cover", "without")
"""Fields in which a person writes more than a word."""

STALE = "The page that this was sent from had gone stale: the browser’s session has changed since it was opened."


class Headers:
    """ASGI middleware: adds `HEADERS` to every answer that does not set them itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with headers."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in there),
                ]
            await send(message)

        await self.app(scope, receive, sending if scope["type"] == "http" else send)


class HeadOnly:
    """ASGI middleware: HEAD is answered as GET would be, without the body; a stream is closed once it has begun."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on as GET."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        begun = False

        async def listening() -> Message:
            return {"type": "http.disconnect"} if begun else await receive()

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                await send(message)
            elif not begun:
                begun = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        asked = {**scope, "method": "GET"}
        try:
            await self.app(asked, listening, sending)
        finally:
            if "route" in asked:
                scope["route"] = asked["route"]  # measures are by route


class BodyLimit:
    """ASGI middleware: a body over `most` bytes ends in 413, counted while it comes."""

    def __init__(self, app: ASGIApp, *, most: int, told: Callable[[Request, int, str], Response]) -> None:
        self.app = app
        self.most = most
        self.told = told  # the page, or JSON, that says so

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, counting."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > self.most:
            await self.told(Request(scope), 413, _size_message(self.most))(scope, receive, send)
            return
        seen = 0

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.most:
                raise HTTPException(413, _size_message(self.most))
            return message

        await self.app(scope, counting, send)


def _size_message(most: int) -> str:
    return f"What was sent is larger than {most // 2**20} MB. Send less, or add the file with `foveal add`."


class NoNul:
    """ASGI middleware: refuses an address with the character NUL, which no text has, and PostgreSQL does not take.

    So it does a form that names a charset of its own, which would be decoded by it: UTF-7 and the like write NUL, and
    halves of characters that no page can hold, in plain ASCII.
    """

    def __init__(self, app: ASGIApp, *, told: Callable[[Request, int, str], Response]) -> None:
        self.app = app
        self.told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or say so."""
        if scope["type"] == "http" and (b"%00" in scope["query_string"] or "\x00" in scope["path"]):
            await self.told(Request({**scope, "path": "/"}), 400, NUL_MESSAGE)(scope, receive, send)
            return
        if scope["type"] == "http" and _has_charset(Request(scope).headers.get("content-type", "")):
            await self.told(Request(scope), 415, CHARSET_MESSAGE)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _has_charset(kind: str) -> bool:
    """Whether a form of parts names another charset than UTF-8, in whatever way a parser may read that."""
    kind = kind.lower()
    named = kind.startswith("multipart/") and "charset" in kind
    return named and not (kind.count("charset") == 1 and re.search(r';\s*charset="?utf-?8"?\s*(?:;|$)', kind))


ELSEWHERE = " Tokens are for programs, and taken below /api/ and /v1/ alone: see /api."
CHARSET_MESSAGE = "A form is read as UTF-8 only. Send it again without another charset."
NUL_MESSAGE = "What was sent holds the character NUL, which no text has. Take it out, and send the rest again."


class BrowserCookie:
    """ASGI middleware: a browser without our cookie gets one, with the first page that it is sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; `request.state.browser` is known before the page with its form is written."""
        if scope["type"] != "http" or Request(scope).cookies.get(COOKIE):
            await self.app(scope, receive, send)
            return
        new = secrets.token_urlsafe(24)
        scope.setdefault("state", {})["browser"] = new
        secure = "; Secure" if scope["scheme"] == "https" else ""
        lives = {COOKIE: 365 * 86400, f"{FIRST}{new[:12]}": FIRST_S}
        cookies = [
            (b"set-cookie", f"{name}={new}; HttpOnly; Max-Age={seconds}; Path=/; SameSite=lax{secure}".encode())
            for name, seconds in lives.items()
        ]

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_page(message["headers"]):
                message["headers"] = [*message["headers"], *cookies]
            await send(message)

        await self.app(scope, receive, sending)


def _is_page(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in headers)


def token_of(request: Request) -> str:
    """The token for forms of this browser; "" before it has its cookie (see `BrowserCookie`)."""
    browser = request.cookies.get(COOKIE) or getattr(request.state, "browser", "")
    return _signed(request, browser) if browser else ""


async def guarded(request: Request) -> None:
    """Dependency of routes that write: 403 unless the request comes from a page of ours."""
    if request.method not in UNSAFE:
        return
    ours = same_site(request)
    if ours:
        request.state.sent = await _sent(request)  # a page that refuses it shows it (refused.py)
    if not (ours and await _has_token(request)):
        stale = ours and bool(await _field(request))
        said = (
            STALE if stale else "This request does not come from a page of this site. Open the page again, and repeat."
        )
        raise HTTPException(403, said + (ELSEWHERE if "authorization" in request.headers else ""))


def same_site(request: Request) -> bool:
    """Whether a browser says that one of our pages, or no page at all, sent this; what is no browser says nothing."""
    fetch_site = request.headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site in ("same-origin", "none")
    origin = request.headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # "http://["
        return False


async def _sent(request: Request) -> list[tuple[str, str]] | None:
    """The fields of the form but for its token; None where files are among them, which no page can send again."""
    fields = [(name, value) for name, value in (await request.form()).multi_items() if name != FIELD]
    texts = [(name, value) for name, value in fields if isinstance(value, str)]
    files = [value for _, value in fields if not isinstance(value, str) and value.filename]
    return None if files else texts


def typed(request: Request) -> list[tuple[str, str]]:
    """Field and text of what a person wrote into the form that was sent."""
    return [
        (name, text) for name, text in getattr(request.state, "sent", None) or () if name in WRITTEN and text.strip()
    ]


async def _field(request: Request) -> str:
    form = await request.form()  # also where the header tells: a request's turn begins once its form has come whole
    return request.headers.get(HEADER) or str(form.get(FIELD, ""))


async def _has_token(request: Request) -> bool:
    given = await _field(request)
    return any(hmac.compare_digest(given.encode(), _signed(request, key).encode()) for key in _keys(request.cookies))


def _keys(cookies: Mapping[str, str]) -> list[str]:
    """The browser's key; of a visitor also those that its first pages brought."""
    first = [] if SESSION in cookies else [key for name, key in cookies.items() if name.startswith(FIRST)]
    return [key for key in (cookies.get(COOKIE, ""), *first) if key]


def _signed(request: Request, browser: str) -> str:
    secret: Any = request.app.state.secret
    return hmac.new(secret, b"form:" + browser.encode(), hashlib.sha256).hexdigest()
