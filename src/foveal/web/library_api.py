"""The library for programs, as JSON: what it holds, search, adding, removing, asking, reading, and the jobs of these.

    GET    /api/me                              who the token is, and what it may do
    GET    /api/library?p=1&limit=50            documents, the newest first
    POST   /api/library                         {"sources": ["https://…", "2103.00020"]}, {"text": "…", "title": "…"}
    POST   /api/library/files                   files, as a browser sends a form (multipart), in fields `files`
    GET    /api/library/search?q=…&k=10         passages; retriever, rank, where, as_of, each as on the page
    GET    /api/library/{which}                 a document;  …/text?start=0&end=2000  its characters
    PATCH  /api/library/{which}                 {"title": "…"}: another title, or with "" its own
    DELETE /api/library/{which}                 takes it out
    POST   /api/library/{which}/read            {"question": "…", "effort": "normal"}
    POST   /api/ask                             {"question": "…"}
    GET    /api/jobs/{key}                      how far a job is, and what came of it; DELETE stops it

Adding, asking and reading take a while: each answers 202 with a job, which is looked at until it has ended. It is the
pages' own work (library_adding.py, ask_pages.py, read_pages.py), and whoever knows a job's key may look at it.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, File, Query, Request, Response, UploadFile
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from foveal.errors import InputError
from foveal.models.characters import scalar
from foveal.retrieval.renaming import LONGEST
from foveal.web import api_shapes as shapes
from foveal.web.ask_pages import ask_work
from foveal.web.documents import NeedsOwn, checked_revision, entry_of, renamed, taken_out
from foveal.web.job import Job, Work
from foveal.web.library_adding import MOST_FILES, AddWork, given_by
from foveal.web.library_search import LONGEST_QUERY, search_passages
from foveal.web.read_pages import EFFORTS, read_work
from foveal.web.request_limits import limited
from foveal.web.research_api import writes
from foveal.web.rights import Needs, check_stop, rights, whose_job
from foveal.web.signed_in import private, signed_in
from foveal.web.site import site_of
from foveal.web.small_forms import SmallForms, Uploads
from foveal.web.streams import Events, job_events, job_of
from foveal.web.uploads import Given, addresses_in

MOST_TEXT = 500_000
"""Characters of a document in one answer."""

AGAIN_S = 2
"""Seconds after which a job that goes on is worth another look."""

reads = [Depends(limited("api"))]


def fresh(response: Response) -> None:
    """Dependency: what is answered holds for now, and for who asked."""
    response.headers.update(private())


router = APIRouter(prefix="/api", route_class=SmallForms, tags=["library"], dependencies=[Depends(fresh)])


Words = Annotated[str, AfterValidator(scalar)]
"""A text without halves of characters, which JSON may name and no model or database takes."""


class NewDocuments(BaseModel):
    """What to add: addresses (URLs, arXiv ids), or a text."""

    model_config = ConfigDict(extra="forbid")
    sources: list[Annotated[Words, Field(max_length=2000)]] = Field(default_factory=list, max_length=MOST_FILES)
    text: Words = ""
    title: Words = Field(default="", max_length=200, description="Of the text; without it its first line.")


class NewTitle(BaseModel):
    """Another title for a document."""

    model_config = ConfigDict(extra="forbid")
    title: Words = Field(max_length=LONGEST, description="Empty: the one that its source gave it.")


class NewQuestion(BaseModel):
    """A question to the library."""

    model_config = ConfigDict(extra="forbid")
    question: Words
    retriever: Words = Field(default="", description="As on the page; without it words and meaning.")
    where: Words = Field(default="", max_length=2000, description="Only in documents such as 'kind=pdf'.")


class NewReading(BaseModel):
    """A question to one document, all of it."""

    model_config = ConfigDict(extra="forbid")
    question: Words
    effort: Words = Field(default="normal", description=f"{', '.join(EFFORTS)}.")


@router.get("/me", dependencies=reads)
def me(request: Request) -> shapes.Me:
    """Who asks, by token or session, and what the site allows them."""
    person = signed_in(request)
    may = {act: allowed for act, allowed in rights(request).items() if act != "sign_in"}
    if person is None:
        return shapes.Me(login=None, name=None, role=None, may=may)
    return shapes.Me(login=person.login, name=person.name, role=person.role, may=may)


@router.get("/library", dependencies=reads)
def documents(
    request: Request, p: Annotated[int, Query(ge=1, le=10**6)] = 1, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> shapes.Documents:
    """The library's documents, the newest first; `next` is the page behind this one."""
    site = site_of(request)
    ids = site.library.store.listed("id")["id"].to_pylist()[::-1] if site.has_library else []
    shown = ids[(p - 1) * limit : p * limit]
    entries = site.library.entries(shown) if shown else {}
    found = [shapes.document_of(entries[one]) for one in shown if one in entries]
    return shapes.Documents(documents=found, count=len(ids), next=p + 1 if p * limit < len(ids) else None)


@router.get("/library/search", dependencies=[*reads, Depends(limited("search"))])
def search(
    request: Request,
    q: Annotated[str, Query(min_length=1, max_length=LONGEST_QUERY)],
    k: Annotated[int, Query(ge=1, le=100)] = 20,
    retriever: str = "",
    rank: str = "",
    where: str = "",
    as_of: str = "",
    events: bool = True,
    each: bool = False,
) -> shapes.Hits:
    """Passages that fit a question, the best first; `each`: of each document the best one alone.

    `events=false`: the search “fresh” does without what was going on.
    """
    if not q.strip() or not site_of(request).has_library:
        return shapes.Hits(hits=[], note="")
    found, note = search_passages(
        request, q.strip(), retriever=retriever, rank=rank, where=where, as_of=as_of, events=events, each=each, most=k
    )
    return shapes.Hits(hits=[shapes.hit_of(one) for one in found], note=note)


@router.post("/library", status_code=202, dependencies=[*writes, Depends(Needs("add"))])
def add(request: Request, body: NewDocuments, response: Response) -> shapes.Started:
    """Begin to add pages and papers by their addresses, or a text."""
    for one in body.sources:
        if len(addresses_in(one)) != 1:
            raise InputError(
                f"{one[:200]!r} in `sources` is neither a URL (https://…) nor an arXiv id (2103.00020). A text goes "
                "into `text`, a file to /api/library/files."
            )
    if bool(body.sources) == bool(body.text.strip()):
        raise InputError("Give either `sources` (URLs, arXiv ids) or a `text`.")
    return _added(request, response, [], "\n".join(body.sources) or body.text, body.title)


def add_files(request: Request, files: Annotated[list[UploadFile], File()], response: Response) -> shapes.Started:
    """Begin to add files: PDF, EPUB, Word, HTML, Markdown, text, mail or notebooks."""
    return _added(request, response, files, "", "")


router.add_api_route(
    "/library/files",
    add_files,
    methods=["POST"],
    status_code=202,
    dependencies=[*writes, Depends(Needs("add"))],
    route_class_override=Uploads,
)


@router.get("/library/{which}", dependencies=reads)
def document(request: Request, which: str) -> shapes.Document:
    """A document, by its id or the first 6 digits of it or more."""
    return shapes.document_of(entry_of(site_of(request), which))


@router.get("/library/{which}/text", dependencies=reads)
def text(
    request: Request,
    which: str,
    start: Annotated[int, Query(ge=0, le=10**12)] = 0,
    end: Annotated[int | None, Query(ge=0, le=10**12)] = None,
    revision: str = "",
) -> shapes.Text:
    """Characters `start` to `end` of a document; of the `revision` that a citation names, though it was replaced."""
    site = site_of(request)
    found = site.library.get(entry_of(site, which).id, revision=checked_revision(revision))
    size = len(found.text)
    last = min(size, start + MOST_TEXT if end is None else min(end, start + MOST_TEXT))
    if start > size or last < start:
        raise InputError(f"The text has {size} characters; it needs 0 <= start <= end <= {size}.")
    wanted = size if end is None else min(end, size)
    return shapes.Text(
        id=found.id, revision=found.revision, start=start, end=last, characters=size, text=found.text[start:last],
        next=last if last < wanted else None,
    )  # fmt: skip


@router.patch("/library/{which}", dependencies=[*writes, Depends(NeedsOwn("rename"))])
def rename(request: Request, which: str, body: NewTitle) -> shapes.Document:
    """Give a document another title: by whoever added it, a moderator or an admin."""
    site = site_of(request)
    return shapes.document_of(renamed(site, entry_of(site, which), body.title))


@router.delete("/library/{which}", status_code=204, dependencies=[*writes, Depends(NeedsOwn("remove"))])
def remove(request: Request, which: str) -> Response:
    """Take a document out: by whoever added it, a moderator or an admin."""
    site = site_of(request)
    taken_out(site, entry_of(site, which))
    return Response(status_code=204)


@router.post("/library/{which}/read", status_code=202, dependencies=[*writes, Depends(Needs("read"))])
def read(request: Request, which: str, body: NewReading, response: Response) -> shapes.Started:
    """Begin to read a document from end to end for a question."""
    site = site_of(request)
    entry = entry_of(site, which)
    return _begun(request, response, read_work(site, entry.id, entry.title, body.question, body.effort))


@router.post("/ask", status_code=202, dependencies=[*writes, Depends(Needs("ask"))])
def ask(request: Request, body: NewQuestion, response: Response) -> shapes.Started:
    """Begin to answer a question from the library."""
    return _begun(request, response, ask_work(site_of(request), body.question, body.retriever, body.where))


@router.get("/jobs/{key}")
def job(request: Request, key: str, response: Response) -> shapes.JobState:
    """How far a job is, or what came of it. While it goes on, `Retry-After` says when to look again."""
    found = job_of(request, key)
    if not found.over:
        response.headers["retry-after"] = str(AGAIN_S)
    return shapes.state_of(found, site_of(request).jobs.ahead(found))


@router.get("/jobs/{key}/events", response_class=Events)
async def events(request: Request, key: str, after: int = 0) -> Response:
    """What happens in a job, as it comes; behind the event that `after`, or else the header Last-Event-ID, names."""
    return await job_events(request, key, after)


@router.delete("/jobs/{key}", status_code=204, dependencies=writes)
def stop(request: Request, key: str) -> Response:
    """Stop a job: by whoever began it, a moderator or an admin. One that has ended stays as it is."""
    found = job_of(request, key)
    check_stop(request, found)
    site_of(request).jobs.cancel(found)
    return Response(status_code=204)


def _added(request: Request, response: Response, files: list[UploadFile], pasted: str, title: str) -> shapes.Started:
    site = site_of(request)
    given: list[Given] = []
    try:
        for one in given_by(site, files, pasted, title):
            given.append(one)  # noqa: PERF402 (those before one that is refused are told from those after it)
        return _begun(request, response, AddWork.of(site, tuple(given)))
    except Exception:  # whatever it is: what was kept of the files is wanted by nobody
        AddWork.of(site, tuple(given)).dropped()
        raise


def _begun(request: Request, response: Response, work: Work) -> shapes.Started:
    begun: Job = site_of(request).jobs.start(work, whose=whose_job(request))
    told = shapes.started(begun)
    response.headers["location"] = told.url
    return told
