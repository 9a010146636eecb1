"""Lists of papers that people made, as JSON in the shapes of the Hugging Face Hub's collections, for its client, too.

    HfApi(endpoint="https://papers.example.org").get_collection("3").items

/api/collections?limit      those that anybody sees, the last that was added to first; each with its last four papers
/api/collections/3          one, with all its papers; one's own private ones by a token

A paper's `note` is why somebody put it there, its `addedBy` who did; `position` counts from the last one added. A list
among several has no `position` of its own: the Hub's client counts them, and would be given two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from foveal.papers import collecting
from foveal.papers.collecting import Placed, Shelf
from foveal.papers.store import Paper
from foveal.web.caching import conditional
from foveal.web.markup import plain
from foveal.web.paper_shapes import CollectionShape
from foveal.web.papers_api import hash_of, iso, present
from foveal.web.request_limits import limited
from foveal.web.signed_in import signed_in
from foveal.web.site import Site, site_of
from foveal.web.small_forms import MOST_ROWS

router = APIRouter(dependencies=[Depends(limited("api"))])

FIRST = 4
"""Papers of each list where several lists are told."""


@router.get("/api/collections", tags=["papers"], response_model=list[CollectionShape])
def collections(request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Response:
    """Lists of papers that anybody sees, the last that was added to first, each with its last four papers."""
    site = site_of(request)
    told = _told(site, collecting.public(site.database, limit=limit), FIRST)
    return conditional(request, JSONResponse(told), public=True, seconds=60)


@router.get("/api/collections/{slug}", tags=["papers"], response_model=CollectionShape)
def collection(request: Request, slug: Annotated[int, Path(ge=1, le=MOST_ROWS)]) -> Response:
    """One list with all its papers, the last added first."""
    site, person = site_of(request), signed_in(request)
    found = collecting.visible(site.database, slug, person)
    (told,) = _told(site, [found], collecting.MOST_PAPERS)
    answer = JSONResponse(told | {"position": 0})
    return conditional(request, answer, public=found.public, seconds=60 if found.public else 0)


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
        _id=hash_of("collected", paper.id),
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
