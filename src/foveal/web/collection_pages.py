"""A person's own lists of papers (papers/collecting.py): made here or from a paper's page; shown by papers_pages.py.

/collections                       one's own, and a form for a new one
POST /collections                  a new one
POST /collect/{paper}              put on a list (`collection`, or a new one's `title`), or taken off (`on=no`)
POST /collections/{id}/change, /delete
"""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from foveal.database import Database
from foveal.errors import InputError
from foveal.papers import collecting
from foveal.papers.accounts import Person
from foveal.papers.rate_limits import CHANGES, take
from foveal.papers.records import paper_id
from foveal.web.pages import page
from foveal.web.safety import guarded
from foveal.web.signed_in import Member, back_to, came_from, private
from foveal.web.site import site_of
from foveal.web.small_forms import MaybeRow, Row, SmallForms, Text

router = APIRouter(route_class=SmallForms, include_in_schema=False)
writes = [Depends(guarded)]


@router.get("/collections")
def own(request: Request, person: Member) -> Response:
    """All lists of the person, private ones too."""
    values = {"shelves": collecting.shelves(site_of(request).database, person)}
    return page(request, "people/collections.html", values, headers=private())


@router.post("/collections", dependencies=writes)
def make(request: Request, person: Member, title: Text = "", public: Text = "no") -> Response:
    """A new list."""
    which = collecting.make(_changing(request, person), person, title, public=public == "yes")
    return back_to(f"/collections/{which}")


@router.post("/collect/{paper:path}", dependencies=writes)
def collect(
    request: Request,
    person: Member,
    paper: str,
    collection: MaybeRow = None,
    title: Text = "",
    on: Text = "yes",
) -> Response:
    """Put a paper on a list, or take it off."""
    database, which = _changing(request, person), paper_id(paper)
    if collection is None and not title.strip():
        raise InputError("Which collection? Choose one, or give a new one a title.")
    site_of(request).papers.get(which)  # before a list is made for it
    number = collection if collection is not None else collecting.make(database, person, title)
    collecting.put(database, person, number, which, on=on == "yes")
    return back_to(came_from(request, f"/collections/{number}"))


@router.post("/collections/{number}/change", dependencies=writes)
def change(
    request: Request, person: Member, number: Row, title: Text = "", description: Text = "", public: Text = "no"
) -> Response:
    """Other words, or another audience."""
    database = _changing(request, person)
    collecting.change(database, person, number, title=title, description=description, public=public == "yes")
    return back_to(f"/collections/{number}")


@router.post("/collections/{number}/delete", dependencies=writes)
def drop(request: Request, person: Member, number: Row) -> Response:
    """Delete a list."""
    collecting.drop(_changing(request, person), person, number)
    return back_to("/collections")


def _changing(request: Request, person: Person) -> Database:
    """The database, for somebody who does not change too much at once."""
    database = site_of(request).database
    take(database, CHANGES, f"person:{person.id}")
    return database
