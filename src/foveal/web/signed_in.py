"""Who a request comes from.

    @router.get("/mine")
    def mine(person: Member) -> Response: …          # signed in, or sent to /login and back
    def anyones(person: Reader) -> Response: …       # None for a visitor

The cookie holds a random key, which scripts cannot read and other sites cannot send along with a form; the database
knows its hash. It changes at every signing in, and with it the browser's key, so that forms of before are of no use.

A program sends a token of its person (papers/tokens.py) in the place of the cookie, to the addresses below /api/ and
/v1/, and to /mcp: with one that is stolen nobody changes the account. No page of another site can send it, so that it
needs no form's token. What does not begin as ours do is another's (a proxy's, a client's own), and says nothing here.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import Depends, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.exc import SQLAlchemyError

from foveal.database import Database
from foveal.errors import FovealError
from foveal.papers.accounts import Person
from foveal.papers.rate_limits import CHANGES, take
from foveal.papers.sessions import SESSION_LIFE, local_path, session_of
from foveal.papers.tokens import PREFIX, person_of_token
from foveal.web.json_errors import OPENAI
from foveal.web.limits import asked_from
from foveal.web.other_origins import comes_from_allowed
from foveal.web.safety import COOKIE as BROWSER
from foveal.web.safety import SESSION, same_site, typed
from foveal.web.site import site_of

TOOLS = "/mcp"
"""Where assistants call (agents/http.py), if the site lets them."""

FOR_PROGRAMS = ("/api/", OPENAI, TOOLS)
"""Where addresses begin that take a token."""

BY_TOKEN = (
    "it needs a token, which its person makes in the settings of this site (/settings/tokens), and the program sends "
    "as Authorization: Bearer foveal_…"
)
"""How a program comes to be somebody."""

LONGEST = 100
"""Characters of a cookie or token that is looked up."""

NO_TOKEN = "This token is not known here: it was revoked, has expired, or is not whole. /settings/tokens makes another."

NOT_ANY_MORE = (
    "Who asked for this is not known here any more: the token or session was ended, has expired, or its account is "
    "gone. What follows is told to nobody."
)
"""What ends a stream whose asker `still_signed_in` does not find."""

logger = logging.getLogger("foveal.web")


def signed_in(request: Request) -> Person | None:
    """The person whose session, or token, the request carries; asked of the database once.

    HTTPException 401: a token that is nobody's (any more).
    """
    if not hasattr(request.state, "signed_in"):
        request.state.signed_in = _session(request)
    found: tuple[Person, int | None] | None = request.state.signed_in
    return found[0] if found else None


def names_somebody(request: Request) -> bool:
    """Whether a request carries a session or token, known here or not; this asks nothing of the database."""
    return bool(token_sent(request)) or 0 < len(request.cookies.get(SESSION, "")) <= LONGEST


def still_signed_in(request: Request) -> bool:
    """Whether whoever the request came from would still be the same: that of a stream was let in once, long ago.

    A visitor stays one, and while the database is away nobody is taken for gone.
    """
    try:
        was = signed_in(request)
        if was is None:
            return True
        found, unread = _found(request)
    except HTTPException:
        return False
    return unread or (found is not None and found[0].id == was.id)


def session_number(request: Request) -> int | None:
    """The number of that session; None of a token."""
    signed_in(request)
    found: tuple[Person, int | None] | None = request.state.signed_in
    return found[1] if found else None


def token_sent(request: Request) -> str:
    """The token of a program; "" without one."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    known = kind.lower() == "bearer" and value.strip().startswith(PREFIX)
    return value.strip() if known and request.url.path.startswith(FOR_PROGRAMS) else ""


def ours(request: Request) -> None:
    """HTTPException 403: a page of another site sent this, that is not named in the settings (other_origins.py).

    With a token no page but one that has it can.
    """
    if not token_sent(request) and not same_site(request) and not comes_from_allowed(request):
        raise HTTPException(403, "This request comes from a page of another site.")


class SignInFirst(HTTPException):
    """403 or 401, where to sign in helps: its page has the way there."""


def must_sign_in(request: Request) -> Person:
    """The person, or a way to the page to sign in, which leads back here."""
    person = signed_in(request)
    if person is not None:
        return person
    if getattr(request.state, "session_unread", False):  # to send them to sign in would lose what they did
        raise HTTPException(503, "Who you are cannot be looked up just now. Send it again.", {"Retry-After": "10"})
    if request.url.path.startswith(FOR_PROGRAMS):
        raise SignInFirst(401, f"This is somebody's: {BY_TOKEN}", {"www-authenticate": "Bearer"})
    address = sign_in_address(request)
    if "hx-request" in request.headers:
        raise HTTPException(401, "Sign in first.", {"hx-redirect": address})
    if "application/json" in request.headers.get("accept", ""):
        raise HTTPException(401, "Sign in first.")
    if request.method != "GET" and typed(request):
        raise SignInFirst(401, "Your session had ended, so this was not taken.")
    raise HTTPException(303, "Sign in first.", {"location": address})


Reader = Annotated[Person | None, Depends(signed_in)]
Member = Annotated[Person, Depends(must_sign_in)]


def sign_in_address(request: Request) -> str:
    """The page to sign in, with the way back to what the person is looking at."""
    back = came_from(request) if _is_part(request) else _here(request)
    return f"/login?next={quote(back)}" if back not in ("", "/") and not back.startswith("/login") else "/login"


def came_from(request: Request, fallback: str = "/") -> str:
    """The page of ours that a form or a part was on."""
    try:
        parts = urlsplit(request.headers.get("hx-current-url") or request.headers.get("referer", ""))
    except ValueError:  # "http://["
        return fallback
    ours = parts.netloc == request.headers.get("host")
    return local_path(parts.path + (f"?{parts.query}" if parts.query else ""), fallback) if ours else fallback


def back_to(address: str) -> RedirectResponse:
    """After a form: to a page, by GET."""
    return RedirectResponse(local_path(address), 303)


def open_session(request: Request, response: Response, token: str) -> None:
    """Give the browser its session, and a new key for forms."""
    _set(request, response, SESSION, token, int(SESSION_LIFE.total_seconds()))
    _set(request, response, BROWSER, secrets.token_urlsafe(24), 365 * 86_400)


def close_session(request: Request, response: Response) -> None:
    """Take both back."""
    response.delete_cookie(SESSION, httponly=True, samesite="lax", secure=request.url.scheme == "https")
    _set(request, response, BROWSER, secrets.token_urlsafe(24), 365 * 86_400)


def hash_of(browser: str) -> str:
    """A browser's key as the database keeps it; "" of none."""
    return hashlib.sha256(browser.encode()).hexdigest() if browser else ""


def private(values: Mapping[str, str] | None = None) -> dict[str, str]:
    """Headers of a page that is one person's."""
    return {"cache-control": "private, no-store", **(values or {})}


def ip_of(request: Request) -> str:
    """The address that a request comes from, past the proxies that the site trusts."""
    return asked_from(request, site_of(request).options.trusted_proxies)


def changing(request: Request, person: Person) -> Database:
    """The database, for somebody who does not change too much at once, by pages and programs together.

    TooMany: they do.
    """
    database = site_of(request).database
    take(database, CHANGES, f"person:{person.id}")
    return database


def _session(request: Request) -> tuple[Person, int | None] | None:
    found, unread = _found(request)
    if unread:  # the page that says so is shown to a visitor
        request.state.session_unread = True
    return found


def _found(request: Request) -> tuple[tuple[Person, int | None] | None, bool]:
    """Person and number of the session, and whether that could not be read. HTTPException 401: a token of nobody."""
    secret, cookie = token_sent(request), request.cookies.get(SESSION, "")
    if not names_somebody(request):
        return None, False
    try:
        database = site_of(request).database
        if not secret:
            return session_of(database, cookie), False
        person = person_of_token(database, secret) if len(secret) <= LONGEST else None
    except (FovealError, SQLAlchemyError) as error:
        logger.warning("Who is signed in could not be read: %s", error)
        return None, True
    if person is None:
        raise HTTPException(401, NO_TOKEN, {"www-authenticate": 'Bearer error="invalid_token"'})
    return (person, None), False


def _is_part(request: Request) -> bool:
    return request.method != "GET" or "hx-request" in request.headers


def _here(request: Request) -> str:
    query = f"?{request.url.query}" if request.url.query else ""
    return local_path(quote(request.url.path, safe="/:@!$&'()*+,;=~-._") + query)


def _set(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(name, value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="lax")
