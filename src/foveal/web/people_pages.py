"""A person's own pages: settings, what they follow, claims; and what others see of them.

/settings                           name, mail, sessions, muted words, claims, all data as JSON, deletion
/following, /following/feed/{token}.xml
/people/{login}                     what is public of a person
/claim/{paper}                      "I wrote this"
POST /follow, /mute, /read/{paper}, /claim/{paper}
"""

from __future__ import annotations

import json
import re
from functools import partial
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response

from foveal.errors import InputError
from foveal.papers import accounts, claims, follows, personal_data, profiles, sessions
from foveal.papers.records import paper_id
from foveal.web.caching import conditional
from foveal.web.mail_settings import mail_values
from foveal.web.own_data import everything_of
from foveal.web.pages import page
from foveal.web.request_limits import limited
from foveal.web.safety import guarded
from foveal.web.signed_in import Member, back_to, came_from, changing, close_session, private, session_number
from foveal.web.site import Site, site_of
from foveal.web.small_forms import MaybeRow, SmallForms, Text

router = APIRouter(route_class=SmallForms, include_in_schema=False)
writes = [Depends(guarded)]
searches = [Depends(limited("search"))]


@router.get("/settings")
def settings(request: Request, person: Member, welcome: str = "", next: str = "/") -> Response:  # noqa: A002
    """All that a person decides here."""
    database = site_of(request).database
    values = {
        "sessions": sessions.sessions(database, person),
        "this_session": session_number(request),
        "mutes": follows.mutes(database, person),
        "claims": claims.claims(database, state=None, person=person),
        "is_new": welcome == str(person.id),
        "next": sessions.local_path(next),
        **mail_values(request, person),
    }
    return page(request, "people/settings.html", values, headers=private())


@router.post("/settings/name", dependencies=writes)
def rename(request: Request, person: Member, login: Text, name: Text = "") -> Response:
    """Another name."""
    database = changing(request, person)
    accounts.rename(database, person, login=login, name=name)
    return back_to("/settings")


@router.post("/settings/sessions", dependencies=writes)
def end_sessions(request: Request, person: Member, which: Text) -> Response:
    """End a session, or all "others"."""
    if which != "others" and not re.fullmatch(r"[0-9]{1,9}", which):
        raise InputError("Which session? Give its number, or 'others'.")
    database = changing(request, person)
    if which == "others":
        sessions.sign_out(database, person, but=session_number(request))
    else:
        sessions.sign_out(database, person, int(which))
    return back_to("/settings")


@router.get("/settings/data.json")
def data(request: Request, person: Member) -> Response:
    """All that is stored of the person."""
    database = changing(request, person)
    told = everything_of(database, person)
    name = {"content-disposition": f'attachment; filename="foveal-{person.login}.json"'}
    return Response(json.dumps(told, ensure_ascii=False, indent=2), 200, private(name), "application/json")


@router.post("/settings/delete", dependencies=writes)
def erase(request: Request, person: Member, sure: Text = "", remarks: Text = "keep") -> Response:
    """Delete the account; `sure` is its login, typed."""
    if sure.strip().lower() != person.login:
        raise InputError(f"To delete this account, type its login, {person.login}. Nothing was deleted.")
    site = site_of(request)
    site.research.left_by(person.id, partial(personal_data.erase, site.database, person, remarks=remarks))
    answer = page(request, "people/deleted.html", {"person": None, "remarks": remarks}, headers=private())
    close_session(request, answer)
    return answer


@router.get("/following", dependencies=searches)
def following(request: Request, person: Member, unread: str = "") -> Response:
    """New papers of what the person follows."""
    site = site_of(request)
    papers = follows.following(site.database, person, search=_search(site), unread_only=unread == "yes")
    values = {
        "papers": papers,
        "follows": follows.follows(site.database, person),
        "unread_only": unread == "yes",
        "feed": follows.feed_token(site.database, person, request.app.state.secret),
    }
    return page(request, "people/following.html", values, headers=private())


@router.post("/following/feed", dependencies=writes)
def renew_feed(request: Request, person: Member) -> Response:
    """Another address for the feed; the one before leads nowhere."""
    follows.renew_feed(changing(request, person), person)
    return back_to("/following")


@router.get("/following/feed/{token}.xml", dependencies=searches)
def feed(request: Request, token: str) -> Response:
    """The same papers as Atom, for a feed reader: the address is the key."""
    site = site_of(request)
    owner = follows.person_of_feed(site.database, token, request.app.state.secret)
    papers = follows.following(site.database, owner, search=_search(site))
    answer = page(request, "people/following.xml", {"papers": papers, "owner": owner, "token": token})
    kept = Response(answer.body, media_type="application/atom+xml; charset=utf-8")
    told = conditional(request, kept, seconds=600)
    told.headers["referrer-policy"] = "no-referrer"
    return told


@router.post("/follow", dependencies=writes)
def follow(request: Request, person: Member, kind: Text, value: Text, on: Text = "yes") -> Response:
    """Follow something, or stop."""
    follows.follow(changing(request, person), person, kind, value, on=on == "yes")
    return back_to(came_from(request, "/following"))


@router.post("/mute", dependencies=writes)
def mute(request: Request, person: Member, words: Text, on: Text = "yes") -> Response:
    """Keep papers with these words out of sight, or no longer."""
    follows.mute(changing(request, person), person, words, on=on == "yes")
    return back_to(came_from(request, "/settings"))


@router.post("/read/{paper:path}", dependencies=writes)
def read(request: Request, paper: str, person: Member, on: Text = "yes") -> Response:
    """Mark a paper as read, or as not read."""
    follows.mark_read(changing(request, person), person, paper_id(paper), on=on == "yes")
    return back_to(came_from(request, "/following"))


@router.get("/people/{login}")
def profile(request: Request, login: str) -> Response:
    """What is public of a person."""
    return page(request, "people/profile.html", {"profile": profiles.profile(site_of(request).database, login)})


@router.get("/claim/{paper:path}")
def claim_form(request: Request, paper: str, person: Member) -> Response:
    """The authors of a paper, to say which one is oneself."""
    site = site_of(request)
    which = paper_id(paper)
    mine = next((one for one in claims.claims(site.database, state=None, person=person) if one.paper_id == which), None)
    return page(request, "people/claim.html", {"paper": site.papers.get(which), "mine": mine}, headers=private())


@router.post("/claim/{paper:path}", dependencies=writes)
def claim(
    request: Request,
    paper: str,
    person: Member,
    position: MaybeRow = None,
    reason: Text = "",
    withdraw: Text = "",
) -> Response:
    """Claim the place of an author, or take the claim back."""
    database, which = changing(request, person), paper_id(paper)
    if withdraw:
        claims.withdraw(database, person, which)
    elif position is None:
        raise InputError("Which author are you? Choose a name from the list.")
    else:
        text = claims.library_text(site_of(request).settings, which)
        claims.claim(database, person, which, position, reason=reason, text=text)
    return back_to(f"/claim/{quote(which)}")


def _search(site: Site) -> follows.Search:
    """The site's search, as ids of what holds a word of the query."""
    return lambda query, k: [paper.id for paper in site.search.search(query, k).holding]
