"""The library: what it holds, search in it, things put in and taken out.

GET  /library?q=…                     documents, or what a search finds; retriever, rank and filter by name; `judge=1`
                                      with grades beside each passage (judging.py)
POST /library/add                     files, and a URL, arXiv id or text: starts a job, and leads to its page
GET  /library/{which}/rename          the form for another title
POST /library/{which}/rename          gives it; an empty one gives the document its own back
GET  /library/{which}/remove          asks whether it is meant
POST /library/{which}/remove          removes the document, and the file that was kept of an upload
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile
from fastapi.responses import RedirectResponse

from foveal.errors import FovealError, InputError
from foveal.evaluation.judgements import GRADES
from foveal.ranking.chosen import chosen
from foveal.retrieval.renaming import LONGEST
from foveal.retrieval.rows import OWN_TITLE
from foveal.web.answers import author_of
from foveal.web.documents import NeedsOwn, entry_of, kept_file, own_among, renamed, taken_out
from foveal.web.job import LIBRARY
from foveal.web.library_adding import AddWork, given_by
from foveal.web.library_search import LONGEST_QUERY, Found, search_passages
from foveal.web.offered import rankers, searches
from foveal.web.pages import page
from foveal.web.request_limits import limited
from foveal.web.rights import Needs, may, whose_job
from foveal.web.safety import guarded
from foveal.web.site import site_of
from foveal.web.small_forms import SmallForms, Uploads
from foveal.web.uploads import ACCEPT, Given

LISTED = 50
"""Documents on a page."""

NOTHING_ASKED = {
    "query": "", "retriever": "", "rank": "", "where": "", "as_of": "", "found": (), "wrong": "", "judging": False,
    "each": False, "no_events": False, "note": "", "asked": {},
}  # fmt: skip
EMPTY = {"why": "", "pasted": ""}

router = APIRouter(route_class=SmallForms, include_in_schema=False)


@router.get("/library")
def library_page(
    request: Request,
    q: str = "",
    retriever: str = "",
    rank: str = "",
    where: str = "",
    as_of: str = "",
    no_events: bool = False,
    each: bool = False,
    p: int = 1,
    judge: bool = False,
) -> Response:
    """Documents, or what a search finds; `each`: of each document the best passage alone; `no_events`: by “fresh”
    without what was going on."""
    site = site_of(request)
    query, found, wrong, note = q.strip()[:LONGEST_QUERY], list[Found](), "", ""
    how = {"retriever": retriever, "rank": rank, "where": where, "as_of": as_of}
    if query and site.has_library:
        limited("search")(request)
        try:
            found, note = search_passages(
                request, query, retriever=retriever, rank=rank, where=where, as_of=as_of, events=not no_events,
                each=each, judging=judge,
            )  # fmt: skip
        except FovealError as error:  # said beside the form, which keeps what was typed
            wrong = site.told(error)
    grouped = {name: "1" for name, chosen in (("no_events", no_events), ("each", each)) if chosen}
    shown: dict[str, object] = {
        "query": query,
        "asked": {"q": query} | how | grouped,
        "each": each,
        "no_events": no_events,
        "found": found,
        "wrong": wrong,
        "note": note,
    }
    return _shown(request, shown | how | {"judging": judge and may(request, "judge")}, number=p)


def _shown(
    request: Request, asked: Mapping[str, object], *, number: int = 1, refused: Mapping[str, str] = EMPTY
) -> Response:
    """The page of the library; `refused` says what was not added, and why."""
    site = site_of(request)
    store = site.library.store if site.has_library else None
    count = store.counts()["documents"] if store else 0
    ids = [] if asked.get("query") or not store else store.listed("id")["id"].to_pylist()
    last = max(1, -(-len(ids) // LISTED))
    number = max(1, min(number, last))
    shown = ids[::-1][(number - 1) * LISTED : number * LISTED]  # the newest first; only these are read whole
    entries = site.library.entries(shown) if shown else {}
    values = {
        "documents": [entries[one] for one in shown if one in entries],
        "own": own_among(request, list(entries.values())),
        "count": count,
        "passages": store.visible_passages() if store else 0,  # without those of a document that is being written
        "number": number,
        "last": last,
        "retrievers": searches(site.settings.home, str(asked.get("retriever") or "")),
        "rankers": rankers(site.settings.home),
        "own_ranker": chosen(site.settings),
        "adding": site.jobs.unfinished(LIBRARY),
        "accept": ACCEPT,
        "refused": refused,
        "grades": GRADES,
        "author_of": author_of,
    }
    status = 400 if refused["why"] or asked["wrong"] else 200
    return page(request, "library/library.html", {**NOTHING_ASKED, **asked, **values}, status=status)


def add(
    request: Request,
    files: Annotated[list[UploadFile] | None, File()] = None,
    pasted: Annotated[str, Form()] = "",
    title: Annotated[str, Form()] = "",
) -> Response:
    """Begin to add what was given."""
    site = site_of(request)
    given: list[Given] = []
    try:
        for one in given_by(site, files or [], pasted, title):
            given.append(one)  # noqa: PERF402 (those before one that is refused are told from those after it)
        job = site.jobs.start(AddWork.of(site, tuple(given)), whose=whose_job(request))
    except Exception as error:  # whatever it is: what was kept of the files is wanted by nobody
        AddWork.of(site, tuple(given)).dropped()
        if not isinstance(error, InputError):
            raise
        together = f" None of the {len(files)} files was added." if files and len(files) > 1 else ""
        return _shown(request, {"wrong": ""}, refused={"why": site.told(error) + together, "pasted": pasted})
    return RedirectResponse(job.page, 303)


router.add_api_route(  # the one form that may be large
    "/library/add",
    add,
    methods=["POST"],
    dependencies=[Depends(guarded), Depends(Needs("add"))],
    route_class_override=Uploads,
)


@router.get("/library/{which}/rename", dependencies=[Depends(NeedsOwn("rename"))])
def ask_for_title(request: Request, which: str) -> Response:
    """The form for another title."""
    entry = entry_of(site_of(request), which)
    values = {"entry": entry, "own_title": entry.metadata.get(OWN_TITLE), "longest": LONGEST}
    return page(request, "library/rename.html", values)


@router.post("/library/{which}/rename", dependencies=[Depends(guarded), Depends(NeedsOwn("rename"))])
def rename(request: Request, which: str, title: Annotated[str, Form()] = "") -> Response:
    """Give a document another title, or its own back."""
    site = site_of(request)
    return RedirectResponse(f"/library/{renamed(site, entry_of(site, which), title).id}", 303)


@router.get("/library/{which}/remove", dependencies=[Depends(NeedsOwn("remove"))])
def ask_to_remove(request: Request, which: str) -> Response:
    """The question whether it is meant."""
    site = site_of(request)
    entry = entry_of(site, which)
    return page(request, "library/remove.html", {"entry": entry, "kept": kept_file(site, entry)})


@router.post("/library/{which}/remove", dependencies=[Depends(guarded), Depends(NeedsOwn("remove"))])
def remove(request: Request, which: str) -> Response:
    """Remove a document."""
    site = site_of(request)
    taken_out(site, entry_of(site, which))
    return RedirectResponse("/library", 303)
