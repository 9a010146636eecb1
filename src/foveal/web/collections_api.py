"""Lists of papers that people made, as JSON in the shapes of the Hugging Face Hub's collections, for its client, too.

    HfApi(endpoint="https://papers.example.org").get_collection("3").items
    HfApi(endpoint=…, token="foveal_…").add_collection_item("3", "2605.01234", "paper", note="Table 3")

/api/collections?limit                  those that anybody sees, the last that was added to first, with four papers each
/api/collections/3                      one, with all its papers; one's own private ones by a token
POST   /api/collections                 {"title": "…"}: a new one; description, private, open
PATCH  /api/collections/3               other words, or another audience; DELETE drops it
POST   /api/collections/3/items         {"item": {"id": "2605.01234", "type": "paper"}, "note": "…"}
PATCH  /api/collections/3/items/{item}  {"note": "…"}: another note in the place of one's own; DELETE takes it off

Who may, and how often, is as on the pages (papers/collecting.py, collection_pages.py). An `item` is named by its `_id`,
as the Hub's client does, or by the paper's id. A paper's `note` is why somebody put it there, its `addedBy` who did;
`position` counts from the last one added. A list among several has no `position` of its own: the Hub's client counts
them, and would be given two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from foveal.database import Database
from foveal.errors import InputError, NotAllowed, UnknownPaper
from foveal.papers import collecting
from foveal.papers.accounts import Person
from foveal.papers.collecting import Placed, Shelf
from foveal.papers.records import paper_id
from foveal.papers.store import Paper
from foveal.web.caching import conditional
from foveal.web.library_api import Words
from foveal.web.markup import plain
from foveal.web.paper_shapes import ChangedCollectionShape, CollectionShape
from foveal.web.papers_api import hash_of, iso, present
from foveal.web.request_limits import limited
from foveal.web.signed_in import Member, changing, ours, private, signed_in
from foveal.web.site import Site, site_of
from foveal.web.small_forms import MOST_ROWS, SmallForms

router = APIRouter(dependencies=[Depends(limited("api"))], route_class=SmallForms, tags=["papers"])
writes = [Depends(ours)]

FIRST = 4
"""Papers of each list where several lists are told."""

BOTH = "An open collection is seen by everybody: it cannot be private as well."

Number = Annotated[int, Path(ge=1, le=MOST_ROWS)]


class NewCollection(BaseModel):
    """A list to make."""

    model_config = ConfigDict(extra="forbid")
    title: Words
    description: Words = ""
    namespace: Words = Field(default="", description="The login of who makes it; nobody else's.")
    private: bool = Field(default=False, description="Seen by nobody else.")
    open: bool = Field(default=False, description="Whoever is signed in may add to it, and everybody sees it.")


class ChangedCollection(BaseModel):
    """What is to be another; what is left out stays."""

    model_config = ConfigDict(extra="forbid")
    title: Words | None = None
    description: Words | None = None
    private: bool | None = None
    open: bool | None = None


class CollectedPaper(BaseModel):
    """What a list holds."""

    model_config = ConfigDict(extra="forbid")
    id: Words = Field(max_length=300, description="Of a paper that is here.")
    type: Literal["paper"] = "paper"


class NewItem(BaseModel):
    """A paper to put on a list."""

    model_config = ConfigDict(extra="forbid")
    item: CollectedPaper
    note: Words = Field(default="", description=f"Why, in {collecting.NOTE} characters.")


class NewNote(BaseModel):
    """Another note in the place of one's own."""

    model_config = ConfigDict(extra="forbid")
    note: Words = Field(description="Empty: none.")


@router.get("/api/collections", response_model=list[CollectionShape])
def collections(request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Response:
    """Lists of papers that anybody sees, the last that was added to first, each with its last four papers."""
    site = site_of(request)
    told = _told(site, collecting.public(site.database, limit=limit), FIRST)
    return conditional(request, JSONResponse(told), public=True, seconds=60)


@router.get("/api/collections/{slug}", response_model=CollectionShape)
def collection(request: Request, slug: Number) -> Response:
    """One list with all its papers, the last added first."""
    found, told = _whole(request, slug, signed_in(request))
    return conditional(request, JSONResponse(told), public=found.public, seconds=60 if found.public else 0)


@router.post("/api/collections", status_code=201, response_model=CollectionShape, dependencies=writes)
def make(request: Request, person: Member, body: NewCollection) -> Response:
    """Make a list."""
    if body.namespace.strip().lower() not in ("", person.login):
        raise NotAllowed(f"This token is {person.login}'s, who makes no collection of somebody else. Leave it out.")
    if body.private and body.open:
        raise InputError(BOTH)
    audience = {"public": not body.private, "open": body.open}
    number = collecting.make(changing(request, person), person, body.title, description=body.description, **audience)
    _, told = _whole(request, number, person)
    return JSONResponse(told, 201, private({"location": f"/api/collections/{number}"}))


@router.patch("/api/collections/{slug}", response_model=ChangedCollectionShape, dependencies=writes)
def change(request: Request, person: Member, slug: Number, body: ChangedCollection) -> Response:
    """Give one's own list other words, or another audience; private, it is not open any more."""
    if body.private and body.open:
        raise InputError(BOTH)
    public = None if body.private is None else not body.private
    words = {"title": body.title, "description": body.description}
    collecting.change(changing(request, person), person, slug, **words, public=public, open=body.open)
    return JSONResponse({"data": _whole(request, slug, person)[1]}, headers=private())


@router.delete("/api/collections/{slug}", status_code=204, dependencies=writes)
def drop(request: Request, person: Member, slug: Number) -> Response:
    """Drop one's own list; its papers stay."""
    collecting.drop(changing(request, person), person, slug)
    return Response(status_code=204)


@router.post("/api/collections/{slug}/items", response_model=CollectionShape, dependencies=writes)
def add(request: Request, person: Member, slug: Number, body: NewItem) -> Response:
    """Put a paper on a list of one's own, or an open one; one that is there already stays where it is.

    A note stands in the place of one's own last one.
    """
    which = site_of(request).papers.id_of(body.item.id)
    collecting.put(changing(request, person), person, slug, which, note=body.note)
    return JSONResponse(_whole(request, slug, person)[1], headers=private())


@router.patch("/api/collections/{slug}/items/{item:path}", status_code=204, dependencies=writes)
def annotate(request: Request, person: Member, slug: Number, item: str, body: NewNote) -> Response:
    """Write another note beside a paper that one put on a list, or none."""
    database = changing(request, person)
    collecting.annotate(database, person, slug, _paper(database, person, slug, item), body.note)
    return Response(status_code=204)


@router.delete("/api/collections/{slug}/items/{item:path}", status_code=204, dependencies=writes)
def take_off(request: Request, person: Member, slug: Number, item: str) -> Response:
    """Take a paper off a list: by who put it there, the list's owner, a moderator or an admin."""
    database = changing(request, person)
    collecting.put(database, person, slug, _paper(database, person, slug, item), on=False)
    return Response(status_code=204)


def _whole(request: Request, number: int, person: Person | None) -> tuple[Shelf, dict[str, Any]]:
    """A list that one sees, and all that is told of it."""
    site = site_of(request)
    found = collecting.visible(site.database, number, person)
    (told,) = _told(site, [found], collecting.MOST_PAPERS)
    return found, told | {"position": 0}


def _paper(database: Database, person: Person, number: int, item: str) -> str:
    """The paper of a list that an item's `_id`, or the paper's own id, names. UnknownPaper: it holds no such one."""
    collecting.visible(database, number, person)
    names = {item}
    with suppress(InputError):
        names.add(paper_id(item))
    held = collecting.latest(database, [number], collecting.MOST_PAPERS).get(number, {})
    for paper in held:
        if names & {paper, _item_id(paper)}:
            return paper
    raise UnknownPaper(f"The collection {number} holds no {item[:80]!r}. It is named by its `_id`, or the paper's id.")


def _item_id(paper: str) -> str:
    return hash_of("collected", paper)


def _told(site: Site, lists: Sequence[Shelf], most: int) -> list[dict[str, Any]]:
    """The lists, each with its last `most` papers; those of all are read at once."""
    put = collecting.latest(site.database, [one.id for one in lists], most)
    papers = {paper.id: paper for paper in site.papers.many(list({which for of in put.values() for which in of}))}
    return [_list(one, put.get(one.id, {}), papers) for one in lists]


def _list(one: Shelf, put: Mapping[str, Placed], papers: Mapping[str, Paper]) -> dict[str, Any]:
    items = [(papers[which], how) for which, how in put.items() if which in papers]
    return present(
        slug=str(one.id),
        title=one.title,
        description=one.description or None,
        owner={"_id": hash_of("person", str(one.person_id)), "name": one.login, "fullname": one.by, "type": "user"},
        items=[_item(paper, place, how) for place, (paper, how) in enumerate(items)],
        numberItems=one.count,
        lastUpdated=iso(one.last),
        private=not one.public,
        open=one.open,
        theme="orange",
        upvotes=0,
    )


def _item(paper: Paper, place: int, how: Placed) -> dict[str, Any]:
    return present(
        _id=_item_id(paper.id),
        id=paper.id,
        type="paper",
        position=place,
        title=plain(paper.title),
        publishedAt=iso(paper.published_at),
        upvotes=paper.all_votes,
        note={"text": how.note} if how.note else None,
        addedBy=how.login or None,
        addedAt=iso(how.at),
    )
