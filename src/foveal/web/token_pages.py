"""Tokens of one's own programs: made, listed, revoked; in a browser that is signed in only, never by a token.

/settings/tokens; POST /settings/tokens makes one, and shows it this once; POST /settings/tokens/{number}/revoke
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response

from foveal.errors import InputError
from foveal.papers import tokens
from foveal.papers.accounts import Person
from foveal.papers.tokens import Made
from foveal.web.pages import page
from foveal.web.safety import guarded
from foveal.web.signed_in import Member, back_to, changing, private
from foveal.web.site import site_of
from foveal.web.small_forms import Row, SmallForms, Text

router = APIRouter(route_class=SmallForms, include_in_schema=False)
writes = [Depends(guarded)]

LIVES = {30: "30 days", 90: "90 days", 365: "a year"}
"""How long a token may live, as the page offers it."""


@router.get("/settings/tokens")
def listed(request: Request, person: Member) -> Response:
    """The tokens of whoever looks, and the form for one more."""
    return _page(request, person)


@router.post("/settings/tokens", dependencies=writes)
def make(
    request: Request, person: Member, name: Text = "", days: Annotated[int, Form(ge=1, le=tokens.LONGEST)] = tokens.DAYS
) -> Response:
    """A new one; the only page that shows it."""
    site = site_of(request)
    try:
        made = tokens.make(site.database, person, name, days=days)
    except InputError as error:  # said beside the form, which keeps what was typed
        return _page(request, person, wrong=site.told(error), name=name)
    return _page(request, person, made=made)


@router.post("/settings/tokens/{number}/revoke", dependencies=writes)
def revoke(request: Request, number: Row, person: Member) -> Response:
    """It ends at once."""
    database = changing(request, person)
    tokens.revoke(database, person, number)
    return back_to("/settings/tokens")


def _page(request: Request, person: Person, *, made: Made | None = None, wrong: str = "", name: str = "") -> Response:
    known = {
        "tokens": tokens.tokens(site_of(request).database, person),
        "lives": LIVES,
        "usual": tokens.DAYS,
        "made": made,
        "wrong": wrong,
        "name": name,
    }
    return page(request, "people/tokens.html", known, status=400 if wrong else 200, headers=private())
