"""Lists of papers that people make (papers/collecting.py), here or from a paper's page; shown by papers_pages.py.

/collections                       one's own, those of others, and a form for a new one
/collections/{id}/{kind}           the list as references: bibtex, ris, csl
POST /collections                  a new one (`open=yes`: whoever is signed in may add to it)
POST /collect/{paper}              put on a list (`collection`, or a new one's `title`; `note`), or taken off (`on=no`)
POST /collections/{id}/change, /delete; /hide, by a moderator
POST /collections/{id}/notes/{paper}/report (`reason`); /hide, /restore, by a moderator
"""

from __future__ import annotations

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from foveal.errors import InputError
from foveal.papers import collecting, complaints, notes
from foveal.papers.records import paper_id
from foveal.web.pages import page
from foveal.web.reference_files import KINDS, reference_file
from foveal.web.request_limits import limited
from foveal.web.safety import guarded
from foveal.web.signed_in import Member, Reader, back_to, came_from, changing, private
from foveal.web.site import site_of
from foveal.web.small_forms import MaybeRow, Row, SmallForms, Text

router = APIRouter(route_class=SmallForms, include_in_schema=False)
writes = [Depends(guarded)]


@router.get("/collections")
def own(request: Request, person: Member) -> Response:
    """All lists of the person, private ones too, and what others let them see."""
    database = site_of(request).database
    own = [one for one in collecting.shelves(database, person) if one.person_id == person.id]
    values = {"shelves": own, "others": collecting.public(database, but=person)}
    return page(request, "people/collections.html", values, headers=private())


@router.get("/collections/{number}/{kind}", dependencies=[Depends(limited("api"))])  # 2,000 papers with abstracts
def references(request: Request, person: Reader, number: Row, kind: str) -> Response:
    """All papers of a list that one may see, the last added first, for a list of references."""
    if kind not in KINDS:
        raise HTTPException(404, f"A collection is written as {', '.join(KINDS)}.")
    site = site_of(request)
    found = collecting.visible(site.database, number, person)
    papers = site.papers.many(list(collecting.latest(site.database, [number], collecting.MOST_PAPERS).get(number, {})))
    return reference_file(request, papers, kind, found.title, public=found.public)


@router.post("/collections", dependencies=writes)
def make(
    request: Request,
    person: Member,
    title: Text = "",
    public: Text = "no",
    open: Text = "no",  # noqa: A002
) -> Response:
    """A new list."""
    database = changing(request, person)
    which = collecting.make(database, person, title, public=public == "yes", open=open == "yes")
    return back_to(f"/collections/{which}")


@router.post("/collect/{paper:path}", dependencies=writes)
def collect(
    request: Request,
    person: Member,
    paper: str,
    collection: MaybeRow = None,
    title: Text = "",
    on: Text = "yes",
    note: Text = "",
) -> Response:
    """Put a paper on a list, or take it off."""
    database, which = changing(request, person), paper_id(paper)
    if collection is None and not title.strip():
        raise InputError("Which collection? Choose one, or give a new one a title.")
    site_of(request).papers.get(which)  # before a list is made for it
    number = collection if collection is not None else collecting.make(database, person, title)
    collecting.put(database, person, number, which, on=on == "yes", note=note)
    return back_to(came_from(request, f"/collections/{number}"))


@router.post("/collections/{number}/change", dependencies=writes)
def change(
    request: Request,
    person: Member,
    number: Row,
    title: Text = "",
    description: Text = "",
    public: Text = "no",
    open: Text = "no",  # noqa: A002
) -> Response:
    """Other words, or another audience."""
    database = changing(request, person)
    audience = {"public": public == "yes", "open": open == "yes"}
    collecting.change(database, person, number, title=title, description=description, **audience)
    return back_to(f"/collections/{number}")


@router.post("/collections/{number}/hide", dependencies=writes)
def hide(request: Request, person: Member, number: Row) -> Response:
    """Let nobody but its owner see a list."""
    collecting.hide(changing(request, person), number, by=person)
    return back_to("/collections")


@router.post("/collections/{number}/notes/{paper:path}/report", dependencies=writes)
def report_note(request: Request, person: Member, number: Row, paper: str, reason: Text = "") -> Response:
    """Tell the moderators of the note that stands beside a paper."""
    database = site_of(request).database
    complaints.report(database, person, collection=number, paper=paper_id(paper), reason=reason)
    return back_to(came_from(request, f"/collections/{number}"))


@router.post("/collections/{number}/notes/{paper:path}/hide", dependencies=writes)
def hide_note(request: Request, person: Member, number: Row, paper: str, reason: Text = "") -> Response:
    """A note out of sight, by a moderator."""
    notes.hide(site_of(request).database, number, paper_id(paper), by=person, reason=reason)
    return back_to(came_from(request, f"/collections/{number}"))


@router.post("/collections/{number}/notes/{paper:path}/restore", dependencies=writes)
def restore_note(request: Request, person: Member, number: Row, paper: str) -> Response:
    """And back."""
    notes.restore(site_of(request).database, number, paper_id(paper), by=person)
    return back_to(came_from(request, f"/collections/{number}"))


@router.post("/collections/{number}/delete", dependencies=writes)
def drop(request: Request, person: Member, number: Row) -> Response:
    """Delete a list."""
    collecting.drop(changing(request, person), person, number)
    return back_to("/collections")
