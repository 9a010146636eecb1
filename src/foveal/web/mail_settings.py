"""What a person who is signed in is mailed: seen, changed and left at /settings, without a link from a message.

/settings#mail                      digests of the address, and mails about answers        (people/settings.html)
/settings/mail/{number}             topics, search, hour of one digest; POST changes them
POST /settings/mail/{number}/leave  ends one
POST /settings/replies              mails about answers, on or off                         (papers/mail/replies.py)

Each is done by the token that a message would carry, so that both ways are one.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from foveal.database import Database
from foveal.errors import UnknownPaper
from foveal.papers.accounts import Person
from foveal.papers.mail import replies, subscriptions
from foveal.papers.mail.schedule import CADENCES
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail.subscriptions import Subscription
from foveal.web.mail_pages import Wished, wishes_form
from foveal.web.pages import page
from foveal.web.safety import guarded
from foveal.web.signed_in import Member, back_to, changing, ip_of, private
from foveal.web.site import site_of
from foveal.web.small_forms import Row, SmallForms, Text

router = APIRouter(route_class=SmallForms, include_in_schema=False)
writes = [Depends(guarded)]
BACK = "/settings#mail"


def mail_values(request: Request, person: Person) -> dict[str, Any]:
    """What the settings page shows of mail."""
    site = site_of(request)
    titles = {one.id: one.title for one in site.papers.topics()}
    return {
        "digests": [one for one in _of(site.database, person) if one.state in ("confirmed", "unconfirmed")],
        "wants_replies": replies.wants_replies(site.database, person),
        "topic_titles": titles,
    }


@router.post("/settings/replies", dependencies=writes)
def answers(request: Request, person: Member, on: Text = "yes") -> Response:
    """Be mailed about answers, or no longer."""
    database = changing(request, person)
    replies.wish(database, request.app.state.secret, person, on=on == "yes", ip=ip_of(request))
    return back_to(BACK)


@router.get("/settings/mail/{number}")
def look(request: Request, person: Member, number: Row) -> Response:
    """The form of one digest."""
    found, address = _one(site_of(request).database, person, number), f"/settings/mail/{number}"
    values = {**wishes_form(request, found.preferences), "found": found, "to": address, "leave": f"{address}/leave"}
    return page(request, "mail/preferences.html", values, headers=private())


@router.post("/settings/mail/{number}", dependencies=writes)
def change(request: Request, person: Member, number: Row, wanted: Wished) -> Response:
    """Other topics, another hour."""
    database = changing(request, person)
    subscriptions.change(database, _token(request, _one(database, person, number)), wanted)
    return back_to(BACK)


@router.post("/settings/mail/{number}/leave", dependencies=writes)
def leave(request: Request, person: Member, number: Row) -> Response:
    """End it; what is queued is taken back."""
    database = changing(request, person)
    subscriptions.unsubscribe(database, _token(request, _one(database, person, number)))
    return back_to(BACK)


def _of(database: Database, person: Person) -> list[Subscription]:
    """The digests of the person's address."""
    found = subscriptions.subscriptions(database, address=person.email)
    return [one for one in found if one.preferences.cadence in CADENCES]


def _one(database: Database, person: Person, number: int) -> Subscription:
    for one in _of(database, person):
        if one.id == number:
            return one
    raise UnknownPaper("You have no such digest. /settings lists those you have.")


def _token(request: Request, one: Subscription) -> str:
    return unsubscribe_token(request.app.state.secret, one.seed)
