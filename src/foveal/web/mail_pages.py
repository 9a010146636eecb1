"""The morning mail on the site: asking for it, confirming, changing, leaving (papers/mail/subscriptions.py).

/subscribe                  a form; the answer is the same for every address. Without mail it says so and keeps nothing
/mail/confirm/{token}       a button; programs that open links change nothing. POST begins the subscription
/u/{token}                  a button; POST ends it: no cookie, token or redirect, as often as one likes (RFC 8058)
/mail/{token}               what the holder of a message gets; POST changes it

The addresses are those of papers/mail/links.py; pages with a token in them are not kept, indexed or told to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from foveal.errors import InputError
from foveal.papers.accounts import Person
from foveal.papers.mail import links, subscriptions
from foveal.papers.mail.links import Links
from foveal.papers.mail.schedule import CADENCES
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail.subscriptions import Preferences
from foveal.papers.mail_addresses import canonical
from foveal.web.pages import page
from foveal.web.request_limits import sharing
from foveal.web.safety import guarded
from foveal.web.signed_in import Reader, ip_of, private
from foveal.web.site import site_of
from foveal.web.small_forms import SmallForms, Text

router = APIRouter(route_class=SmallForms, include_in_schema=False)
writes = [Depends(guarded)]

_SECRET = private({"referrer-policy": "no-referrer", "x-robots-tag": "noindex"})
"""Headers of pages whose address holds a token."""


def wished(
    cadence: Text = "daily",
    topic: Annotated[list[str] | None, Form()] = None,
    query: Text = "",
    hour: Annotated[int, Form(ge=0, le=23)] = 8,
    zone: Text = "UTC",
) -> Preferences:
    """What the fields of mail/_wishes.html say. InputError: that there cannot be."""
    return Preferences(cadence=cadence, topics=tuple(topic or ()), query=query, hour=hour, zone=zone)


Wished = Annotated[Preferences, Depends(wished)]


def wishes_form(request: Request, wanted: Preferences) -> dict[str, Any]:
    """What the fields of mail/_wishes.html hold and offer."""
    return {"wanted": wanted, "topics": site_of(request).papers.topics(), "cadences": CADENCES}


@router.get("/subscribe")
def ask(request: Request, person: Reader, query: str = "") -> Response:
    """The form."""
    wanted = Preferences(query=query[: subscriptions.MOST_QUERY])
    values = {**wishes_form(request, wanted), "address": person.email if person else "", "refused": False}
    return page(request, "mail/subscribe.html", values)


@router.post("/subscribe", dependencies=writes)
def asked(request: Request, person: Reader, wanted: Wished, email: Text = "") -> Response:
    """Mail a link to confirm, where there is mail; say the same whoever the address belongs to."""
    site = site_of(request)
    if site.mail is None:
        values = {**wishes_form(request, wanted), "address": email, "refused": True}
        return page(request, "mail/subscribe.html", values, status=503)
    answer = subscriptions.subscribe(
        site.database,
        request.app.state.secret,
        email,
        wanted,
        deliver=site.deliver,
        links=Links(site.mail.url),
        ip=ip_of(request),
        sharing=sharing(request),
        person_id=_own(person, email),
    )
    return _told(request, "Look into your mail", answer)


@router.get(links.CONFIRM)
def look(request: Request, token: str) -> Response:
    """The button that confirms."""
    found = subscriptions.peek(site_of(request).database, token)
    if found is None:
        return _told(request, "This link is of no use any more", _USED_UP, status=410, to=("/subscribe", "Subscribe"))
    return page(request, "mail/confirm.html", {"found": found, "consent": _consent(found)}, headers=_SECRET)


@router.post(links.CONFIRM, dependencies=writes)
def confirm(request: Request, token: str) -> Response:
    """Begin the subscription."""
    found = subscriptions.confirm(site_of(request).database, token, ip=ip_of(request))
    own = unsubscribe_token(request.app.state.secret, found.seed)
    if found.preferences.cadence not in CADENCES:
        return _told(request, "You are subscribed", f"From now on {found.what} come to {found.address}.")
    said = f"The {found.preferences.cadence} digest comes to {found.address}. Each of its messages can end it."
    return _told(
        request, "You are subscribed", said, to=(links.PREFERENCES.format(token=own), "Topics, hour, how often")
    )


@router.get(links.UNSUBSCRIBE)
def leave(request: Request, token: str) -> Response:
    """The button that ends it."""
    found = subscriptions.peek_unsubscribe(site_of(request).database, token)
    if found is None:
        return _told(request, "No digest belongs to this link", _NOBODYS, status=404)
    return page(request, "mail/leave.html", {"found": found, "link": token}, headers=_SECRET)


@router.post(links.UNSUBSCRIBE)
def left(request: Request, token: str) -> Response:
    """End it: mail providers post here, and 200 is what they understand, the second time and after a deletion too."""
    found = subscriptions.unsubscribe(site_of(request).database, token)
    if found is None:
        return _told(request, "Nothing is sent", _NOBODYS)
    said = f"{found.address} is not sent {found.what} any more. What was on its way is taken back."
    return _told(request, "You are unsubscribed", said, to=("/subscribe", "Subscribe again"))


@router.get(links.PREFERENCES)
def preferences(request: Request, token: str) -> Response:
    """What the holder of the token gets."""
    found = subscriptions.peek_unsubscribe(site_of(request).database, token)
    if found is None:
        return _told(request, "No digest belongs to this link", _NOBODYS, status=404)
    if found.preferences.cadence not in CADENCES:
        return RedirectResponse(links.UNSUBSCRIBE.format(token=token), 303, headers=_SECRET)
    to, leave = links.PREFERENCES.format(token=token), links.UNSUBSCRIBE.format(token=token)
    values = {**wishes_form(request, found.preferences), "found": found, "to": to, "leave": leave}
    return page(request, "mail/preferences.html", values, headers=_SECRET)


@router.post(links.PREFERENCES, dependencies=writes)
def change(request: Request, token: str, wanted: Wished) -> Response:
    """Other preferences."""
    subscriptions.change(site_of(request).database, token, wanted)
    to = (links.PREFERENCES.format(token=token), "Look at them")
    return _told(request, "Your wishes are kept", "They hold from the next digest on.", to=to)


_USED_UP = "It was used, replaced by a newer one, or is older than 48 hours. Nothing was changed."
_NOBODYS = "No subscription has this link; it may be deleted. Nothing is sent because of it."


def _consent(found: subscriptions.Subscription) -> str:
    return subscriptions.consent_of(found.preferences.cadence)


def _own(person: Person | None, email: str) -> int | None:
    """The person's number, where the address is theirs."""
    try:
        return person.id if person and canonical(person.email) == canonical(email) else None
    except InputError:
        return None


def _told(
    request: Request, heading: str, said: str, *, status: int = 200, to: tuple[str, str] | None = None
) -> Response:
    values: Mapping[str, Any] = {"heading": heading, "said": said, "to": to}
    return page(request, "mail/told.html", values, status=status, headers=_SECRET)
