"""The curator's desk: the papers that a day shows first.

/desk?day=2026-10-02; POST /desk, of there or of a paper's page, and back
"""

from __future__ import annotations

from datetime import date

from fastapi import APIRouter, Depends, Request, Response

from foveal.errors import InputError
from foveal.papers import curating, desk
from foveal.papers.moderation import must
from foveal.papers.periods import Period
from foveal.papers.records import paper_id
from foveal.papers.schema import now
from foveal.web.pages import page
from foveal.web.safety import guarded
from foveal.web.signed_in import Member, back_to, came_from, private
from foveal.web.site import site_of
from foveal.web.small_forms import SmallForms, Text

router = APIRouter(route_class=SmallForms, include_in_schema=False)
writes = [Depends(guarded)]

ACTS = ("pick", "unpick", "unlist", "up", "down", "top")


@router.get("/desk")
def show(request: Request, person: Member, day: str = "") -> Response:
    """What is chosen for a day, and what could be."""
    must(person, "curate", "The desk is for curators and admins.")
    period = _day(day)
    database = site_of(request).database
    values = {
        "period": period,
        "picked": desk.picked(database, period.first),
        "candidates": curating.queue(database),
        "is_ahead": period.first > now().date(),
    }
    return page(request, "people/desk.html", values, headers=private())


@router.post("/desk", dependencies=writes)
def act(request: Request, person: Member, day: Text, act: Text, paper: Text) -> Response:
    """Pick a paper for the day, take it back or off the day's page, or move it."""
    chosen, which, database = _day(day).first, paper_id(paper), site_of(request).database
    if act not in ACTS:
        raise InputError(f"The desk cannot {act[:20]!r}. It can: {', '.join(ACTS)}.")
    if act == "pick":
        desk.pick(database, [which], chosen, by=person)
    elif act == "unpick":
        desk.unpick(database, which, chosen, by=person)
    elif act == "unlist":
        desk.unlist(database, which, chosen, by=person)
    else:
        places = {"up": -1, "down": 1, "top": -10_000}[act]
        desk.move(database, which, chosen, places, by=person)
    return back_to(came_from(request, f"/desk?day={chosen.isoformat()}"))


def _day(given: str) -> Period:
    today: date = now().date()
    return Period.of("day", given) if given else Period.around("day", today)
