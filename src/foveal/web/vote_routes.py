"""Votes: by a form, or by HTMX, which gets the new button back.

POST /vote/{paper}, POST /unvote/{paper}, DELETE /vote/{paper}      twice is as once
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from foveal.papers.accounts import Person
from foveal.papers.records import paper_id
from foveal.papers.votes import Standing, vote
from foveal.web.pages import page
from foveal.web.safety import guarded
from foveal.web.signed_in import Member, back_to, came_from
from foveal.web.site import site_of
from foveal.web.small_forms import SmallForms

router = APIRouter(route_class=SmallForms, include_in_schema=False)
writes = [Depends(guarded)]


@router.post("/vote/{paper:path}", dependencies=writes)
def give(request: Request, paper: str, person: Member) -> Response:
    """Vote."""
    return _voted(request, paper, person, on=True)


@router.post("/unvote/{paper:path}", dependencies=writes)
@router.delete("/vote/{paper:path}", dependencies=writes)
def take_back(request: Request, paper: str, person: Member) -> Response:
    """Take the vote back."""
    return _voted(request, paper, person, on=False)


def vote_values(paper: str, title: str, now: Standing) -> Mapping[str, Any]:
    """What the template people/_vote.html shows."""
    return {"paper_id": paper, "paper_title": title, "votes": now.votes, "voted": now.mine}


def _voted(request: Request, given: str, person: Person, *, on: bool) -> Response:
    site = site_of(request)
    paper = paper_id(given)
    now = vote(site.database, person, paper, on=on)
    if "hx-request" in request.headers:
        title = site.papers.get(paper).title
        return page(request, "people/_vote.html", vote_values(paper, title, now))
    return back_to(came_from(request, f"/discussion/{paper}"))
