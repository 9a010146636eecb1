"""Pages of other sites that may call the API in a browser (CORS), where `allowed_origins` of [web] names them.

Where     below /api/ and /v1/, /mcp, and /openapi.json; no page, form, feed or file of the site
Who       origins as a browser tells them, scheme, name and port, compared whole; "*" is every page there is
Cookies   never: those that come along with such a request are taken off before anybody looks, and none is set, so that
          a page of another site is a visitor, or whoever its token says. No answer allows credentials
Writing   an origin that is named may call what changes something, as far as the site lets visitors, or its token; a
          page that is let in by "*" alone needs a token for it (signed_in.ours)
Caches    every answer at these addresses says that it depends on the origin (Vary)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from urllib.parse import urlsplit

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foveal.errors import InputError
from foveal.web.json_errors import OPENAI

ANY = "*"

BELOW, EXACTLY = ("/api/", OPENAI), ("/mcp", "/openapi.json")
"""Addresses that other pages may call: those that begin so, and these themselves."""

METHODS = "GET, HEAD, POST, PATCH, DELETE"

EXPOSED = "Location, Retry-After, WWW-Authenticate, X-Request-Id, Mcp-Session-Id"
"""Headers of an answer that a page may read beside those that browsers always show."""

ASKED = "Authorization, Content-Type"
"""Headers that a page may send, where it asks for none; else those that it asks for: clients send many of their own."""

KEPT_S = 600
"""Seconds that a browser need not ask again."""

DEFAULT_PORTS = MappingProxyType({"http": 80, "https": 443})

_NAMES = re.compile(r"[\w!#$%&'*+.^`|~-]+(?:\s*,\s*[\w!#$%&'*+.^`|~-]+)*", re.ASCII)


def checked_origin(given: str) -> str:
    """An origin as browsers write it. InputError: it is none."""
    if given == ANY:
        return ANY
    try:
        parts = urlsplit(given)
        port, plain = parts.port, parts._replace(scheme="", netloc="").geturl() in ("", "/")
        name = parts.hostname if parts.username is None and plain else None
    except ValueError:  # a port that is no number, a bracket without its other half
        name, port = None, None
    if not (name and parts.scheme and re.fullmatch(r"[!-)+\--~]+", given)):
        raise InputError(
            f"[web] allowed_origins got {given!r}; it needs origins, which are scheme, name and port without a path: "
            "'https://chat.example.org, http://localhost:3000'; or * alone."
        )
    name = f"[{name}]" if ":" in name else name
    shown = "" if port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{port}"
    return f"{parts.scheme}://{name}{shown}"


def is_for_programs(path: str) -> bool:
    """Whether pages of other sites may call this address, if they are let."""
    return path.startswith(BELOW) or path in EXACTLY


def comes_from_allowed(request: Request) -> bool:
    """Whether a page sent this whose origin is named; it came without cookies."""
    return bool(getattr(request.state, "allowed_origin", False))


class OtherOrigins:
    """ASGI middleware: lets pages of `allowed` origins call the API, without cookies."""

    def __init__(self, app: ASGIApp, *, allowed: Sequence[str]) -> None:
        self.app = app
        self.allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what a browser asks before; pass on the rest."""
        if scope["type"] != "http" or not is_for_programs(scope["path"]):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        told = self._told(request)
        headers = request.headers
        if told and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await Response(status_code=204, headers=told | _before(headers))(scope, receive, send)
            return
        if told:
            scope["headers"] = [one for one in scope["headers"] if one[0].lower() != b"cookie"]
            state = scope.setdefault("state", {})
            state["allowed_origin"] = headers["origin"] in self.allowed
            state["origin_headers"] = told  # for an answer that passes no middleware any more

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.add_vary_header("Origin")
                if told:
                    del answer["set-cookie"]
                    answer.update(told)
            await send(message)

        await self.app(scope, receive, sending)

    def _told(self, request: Request) -> dict[str, str]:
        """What a page of another site is told that may read the answer; nothing where it may not, or there is none."""
        origin = request.headers.get("origin")
        if origin is None or _is_ours(request, origin):
            return {}
        if origin in self.allowed:
            return {"access-control-allow-origin": origin, "access-control-expose-headers": EXPOSED}
        if ANY in self.allowed:
            return {"access-control-allow-origin": ANY, "access-control-expose-headers": EXPOSED}
        return {}


def _before(headers: Mapping[str, str]) -> dict[str, str]:
    """The rest of the answer to the question whether a request may be sent."""
    asked = headers.get("access-control-request-headers", "").strip()
    return {
        "access-control-allow-methods": METHODS,
        "access-control-allow-headers": asked if _NAMES.fullmatch(asked) else ASKED,
        "access-control-max-age": str(KEPT_S),
        "vary": "Origin, Access-Control-Request-Headers",
    }


def _is_ours(request: Request, origin: str) -> bool:
    """Whether a page of this site itself asks."""
    try:
        return urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # "http://["
        return False
