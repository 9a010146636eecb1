"""Signing in by a link that is mailed, and out again.

/login                 asks for an address; the answer is the same for every one
/login/link/{token}    what the mail leads to: shows a button, and changes nothing
POST /login/link       the button: signs in, once
POST /logout
"""

from __future__ import annotations

import logging
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Request, Response
from starlette.background import BackgroundTask

from foveal.errors import FovealError, InputError
from foveal.papers.sessions import LINK_LIFE, UNUSABLE, local_path, peek, request_link, sign_out, use_link
from foveal.web.pages import page
from foveal.web.request_limits import sharing
from foveal.web.safety import COOKIE as BROWSER
from foveal.web.safety import guarded
from foveal.web.signed_in import (
    Reader,
    back_to,
    close_session,
    hash_of,
    ip_of,
    open_session,
    private,
    session_number,
)
from foveal.web.site import Deliver, Site, base_url, in_the_log, site_of
from foveal.web.small_forms import SmallForms

router = APIRouter(route_class=SmallForms, include_in_schema=False)
writes = [Depends(guarded)]
logger = logging.getLogger("foveal.web")

NO_NAME = (
    "This site does not know its own address, and could be made to mail links that lead elsewhere. "
    "Whoever runs it starts it with --url, such as: foveal serve --url https://papers.example.org"
)


@router.get("/login")
def ask(request: Request, person: Reader, next: str = "/") -> Response:  # noqa: A002
    """The form for an address."""
    if person is not None:
        return back_to(next)
    return page(request, "people/login.html", {"next": local_path(next)}, headers=private())


@router.post("/login", dependencies=writes)
def send(request: Request, email: Annotated[str, Form()] = "", next: Annotated[str, Form()] = "/") -> Response:  # noqa: A002
    """Mail a link, where there is somebody to mail it to; say the same in any case."""
    site = site_of(request)
    knows_its_address(site)
    link = request_link(
        site.database,
        email,
        next_path=next,
        ip=ip_of(request),
        browser=request.cookies.get(BROWSER, ""),
        open_to_all=site.options.sign_up,
        sharing=sharing(request),
    )
    values = {"address": link.address, "minutes": _minutes(), "in_log": site.deliver is in_the_log}
    answer = page(request, "people/sent.html", values, headers=private())
    if link.send:  # after the answer: how long the mail takes tells nobody whether there was one
        text = message(site.options.title, f"{base_url(request)}/login/link/{link.token}")
        answer.background = BackgroundTask(mailed, site.deliver, link.address, f"Sign in to {site.options.title}", text)
    return answer


@router.get("/login/link/{token}")
def look(request: Request, token: str) -> Response:
    """The button. Programs that scan mail come here, too: nothing changes."""
    found = peek(site_of(request).database, token, browser=request.cookies.get(BROWSER, ""))
    headers = private({"referrer-policy": "no-referrer"})
    if found is None:
        return page(request, "people/link.html", {"link": None, "why": UNUSABLE}, status=410, headers=headers)
    values = {"link": token, "found": found, "why": ""}
    return page(request, "people/link.html", values, headers=headers)


@router.post("/login/link", dependencies=writes)
def enter(
    request: Request, person: Reader, link: Annotated[str, Form()], email: Annotated[str, Form()] = ""
) -> Response:
    """Sign in; a session that this browser had before ends."""
    database = site_of(request).database
    agent = request.headers.get("user-agent", "")
    browser = request.cookies.get(BROWSER, "")
    signed = use_link(database, link, browser=browser, typed=email, agent=agent, ip=ip_of(request))
    if person is not None:
        sign_out(database, person, session_number(request))
    welcome = f"/settings?welcome={signed.person.id}&next={quote(signed.next_path)}"
    answer = back_to(welcome if signed.is_new else signed.next_path)
    # the browser gets a new key: what it asked for until now is the person's from here on
    site_of(request).research.runs.adopt(hash_of(browser), signed.person.id)
    open_session(request, answer, signed.token)
    return answer


@router.post("/logout", dependencies=writes)
def leave(request: Request, person: Reader) -> Response:
    """End this browser's session."""
    if person is not None:
        sign_out(site_of(request).database, person, session_number(request))
    answer = back_to("/")
    close_session(request, answer)
    return answer


def knows_its_address(site: Site) -> None:
    """InputError: a request alone says what the site is called, and mails would lead there."""
    if "*" in site.options.hosts and not site.options.base_url and site.deliver is not in_the_log:
        raise InputError(NO_NAME)


def message(title: str, address: str) -> str:
    """The text of the mail."""
    return (
        f"Open this page to sign in to {title}:\n\n    {address}\n\n"
        f"It works once, for {_minutes()} minutes. If you did not ask for it, do nothing: nobody is signed in.\n"
    )


def _minutes() -> int:
    return int(LINK_LIFE.total_seconds() // 60)


def mailed(deliver: Deliver, address: str, subject: str, text: str) -> None:
    """Hand the mail over; who asked for it is told nothing, whoever runs the site is."""
    try:
        deliver(address, subject, text)
    except (FovealError, OSError) as error:
        logger.warning("A mail (%s) could not be sent: %s", subject, error)
