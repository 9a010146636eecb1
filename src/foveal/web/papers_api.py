"""The papers as JSON, in the shapes of the Hugging Face Hub, so that its client works with this site as its endpoint.

    HfApi(endpoint="https://papers.example.org").list_daily_papers(date="2026-10-02")

/api/daily_papers?date|week|month|submitter|sort|p|limit     /api/papers/search?q|limit      /api/papers/ID
/papers/ID.md                                                /api/papers/ID/similar          /api  what there is
POST /api/papers {"id": "2605.01234"}                        lists a paper today, by those who may

Shape   as recorded answers have it: a submitter's login is `user` within the paper and `name` beside it; the outer
        `publishedAt` is when the paper was listed, the inner one when it was published; a key without a value is absent
Ids     `_id` and `discussionId` are hashes: the same for the same thing, of no use elsewhere
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from foveal import faults
from foveal.errors import InputError
from foveal.papers.periods import Period
from foveal.papers.store import MOST, Author, Paper
from foveal.papers.upserts import PERSON
from foveal.web import papers_views as views
from foveal.web.api_description import TAGS, calls
from foveal.web.caching import conditional
from foveal.web.markup import plain
from foveal.web.pages import asset
from foveal.web.paper_page import listed_today
from foveal.web.paper_shapes import PaperDetail, PaperEntry
from foveal.web.papers_pages import shown
from foveal.web.request_limits import limited
from foveal.web.rights import Needs
from foveal.web.signed_in import ours, private, signed_in
from foveal.web.site import Site, base_url, site_of
from foveal.web.small_forms import SmallForms

router = APIRouter()


class Markdown(Response):
    """A text that nobody renders here."""

    media_type = "text/markdown; charset=utf-8"


Asked = Annotated[str | None, Query(max_length=20)]
Limit = Annotated[int, Query(ge=1, le=100)]
_LIMITED = [Depends(limited("api"))]


@router.get("/api/daily_papers", dependencies=_LIMITED, tags=["papers"], response_model=list[PaperEntry])
def daily_papers(
    request: Request,
    date: Asked = None,
    week: Asked = None,
    month: Asked = None,
    submitter: Annotated[str | None, Query(max_length=80)] = None,
    sort: Literal["publishedAt", "trending"] = "publishedAt",
    p: Annotated[int, Query(ge=0, le=10_000)] = 0,
    limit: Limit = 50,
) -> Response:
    """Papers of a day (2026-10-02), a week (2026-W40) or a month (2026-10), or of all days, the newest first."""
    site, period = site_of(request), _period(date, week, month)
    if sort == "trending":
        papers = _trending(site, period, submitter, p, limit)
    else:
        papers = site.papers.page(period, sort="published", page=p, limit=limit, submitter=submitter).papers
    return _json(request, [entry_of(paper, base_url(request)) for paper in papers])


class NewPaper(BaseModel):
    """A paper by its id, or its address at arXiv."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(max_length=300)


def submit(request: Request, body: NewPaper) -> Response:
    """List a paper today: it is fetched, unless it is here already."""
    site = site_of(request)
    which = listed_today(site, signed_in(request), body.id)
    detail = detail_of(site.papers.get(which), base_url(request))
    return JSONResponse(detail, 201, private({"location": f"/api/papers/{quote(which)}"}))


router.add_api_route(
    "/api/papers",
    submit,
    methods=["POST"],
    status_code=201,
    tags=["papers"],
    response_model=PaperDetail,
    dependencies=[Depends(ours), *_LIMITED, Depends(Needs("submit"))],
    route_class_override=SmallForms,
)


@router.get("/api/papers/search", dependencies=_LIMITED, tags=["papers"], response_model=list[PaperEntry])
def search(request: Request, q: Annotated[str, Query(min_length=1, max_length=1000)], limit: Limit = 20) -> Response:
    """Papers that fit a question, the best first."""
    hits = site_of(request).search.search(q, limit).hits
    return _json(request, [entry_of(hit.paper, base_url(request)) for hit in hits])


@router.get("/api/papers/{id:path}/similar", dependencies=_LIMITED, tags=["papers"], response_model=list[PaperEntry])
def similar(request: Request, id: str, limit: Annotated[int, Query(ge=1, le=50)] = 10) -> Response:  # noqa: A002
    """Papers near another one, the nearest first."""
    site = site_of(request)
    near = site.search.similar(site.papers.get(id).id, limit)
    return _json(request, [entry_of(paper, base_url(request)) for paper in near])


@router.get("/api/papers/{id:path}", dependencies=_LIMITED, tags=["papers"], response_model=PaperDetail)
def paper(request: Request, id: str) -> Response:  # noqa: A002
    """One paper, by its id or arXiv address."""
    return _json(request, detail_of(site_of(request).papers.get(id), base_url(request)))


@router.get("/papers/{id:path}.md", dependencies=_LIMITED, tags=["papers"], response_class=Markdown)
def markdown(request: Request, id: str) -> Response:  # noqa: A002
    """One paper as Markdown: title, authors, dates, summary, abstract, links."""
    text = markdown_of(site_of(request).papers.get(id), base_url(request))
    return conditional(request, Markdown(text), public=True, seconds=300)


@router.get("/api", include_in_schema=False)
def contents(request: Request) -> Response:
    """All addresses for programs, from the app's own OpenAPI description."""
    line = "Papers, library and research for programs"
    values = {"title": "API", "heading": "API", "line": line, "calls": list(calls(request.app)), "tags": TAGS}
    return shown(request, "papers/api.html", values)


def entry_of(paper: Paper, base: str) -> dict[str, Any]:
    """A paper as one entry of a list."""
    listed = paper.listings[0] if paper.listings else None
    return present(
        paper=paper_of(paper, base),
        publishedAt=iso(listed.listed_at if listed else paper.published_at),
        title=plain(paper.title),
        summary=paper.abstract,
        thumbnail=f"{base}{views.paper_address(paper.id)}/thumbnail.svg",
        numComments=paper.all_comments,
        submittedBy=_submitter(paper, base, "name"),
        organization=_organisation(paper, base),
        isAuthorParticipating=False,
    )


def paper_of(paper: Paper, base: str) -> dict[str, Any]:
    """A paper itself."""
    listed = paper.listings[0] if paper.listings else None
    return present(
        id=paper.id,
        authors=[_author(author, paper.id, place) for place, author in enumerate(paper.authors)],
        publishedAt=iso(paper.published_at),
        submittedOnDailyAt=iso(listed.listed_at) if listed else None,
        title=plain(paper.title),
        submittedOnDailyBy=_submitter(paper, base, "user"),
        summary=paper.abstract,
        upvotes=paper.all_votes,
        discussionId=hash_of("discussion", paper.id),
        projectPage=views.safe_link(paper.project_url) or None,
        githubRepo=views.safe_link(paper.repo_url) or None,
        githubRepoAddedBy=_added_by(paper) if views.safe_link(paper.repo_url) else None,
        githubStars=paper.repo_stars,
        ai_summary=paper.summary or None,
        ai_keywords=list(paper.keywords) or None,
        organization=_organisation(paper, base),
    )


def _added_by(paper: Paper) -> str:
    by_person = any(one.source == PERSON and one.url == paper.repo_url for one in paper.links)
    return "user" if by_person else "auto"


def detail_of(paper: Paper, base: str) -> dict[str, Any]:
    """A paper as its own page gives it: with what belongs to it."""
    linked: dict[str, Any] = {}
    for kind, name in (("model", "Models"), ("dataset", "Datasets"), ("demo", "Spaces")):
        found = [{"id": link.title or link.url} for link in paper.links if link.kind == kind]
        linked |= {f"linked{name}": found, f"numTotal{name}": len(found)}
    return {**paper_of(paper, base), "numComments": paper.all_comments, **linked}


def markdown_of(paper: Paper, base: str) -> str:
    """A paper as Markdown; words of others stand as they are, in a text that nobody renders here."""
    names = [plain(author.name) for author in paper.named_authors]
    facts = {
        "Authors": ", ".join(names) or (views.counted(paper.author_count, "author") if paper.author_count else ""),
        "Organisation": plain(paper.organisation),
        "Published": f"{paper.published_at:%Y-%m-%d}" if paper.published_at else "",
        "Listed": str(paper.listed_on or ""),
        "Subjects": ", ".join(paper.categories),
        "State": "withdrawn" if paper.withdrawn else "",
        "Votes": str(paper.all_votes),
        "Paper": paper.page_url,
        "PDF": paper.pdf_url,
        "Code": views.safe_link(paper.repo_url),
        "Page": f"{base}{views.paper_address(paper.id)}",
    }
    lines = [f"- {name}: {value}" for name, value in facts.items() if value]
    summary = f"\n> {plain(paper.summary)} ({paper.summary_model or 'summary'})\n" if paper.summary else ""
    return f"# {plain(paper.title)}\n\n" + "\n".join(lines) + f"\n{summary}\n## Abstract\n\n{paper.abstract.strip()}\n"


def _json(request: Request, value: Any) -> Response:
    return conditional(request, JSONResponse(value), public=True, seconds=60)


def _period(date: str | None, week: str | None, month: str | None) -> Period | None:
    given = [(kind, key) for kind, key in (("day", date), ("week", week), ("month", month)) if key]
    if len(given) > 1:
        raise InputError("The papers of one period are asked for at a time: give date, week or month.")
    return Period.of(*given[0]) if given else None


def _trending(site: Site, period: Period | None, submitter: str | None, p: int, limit: int) -> Sequence[Paper]:
    """What trends of all, or the papers of a period (its most voted) in the order in which they trend."""
    if period is None and submitter is None:
        return site.parts.trending(site.database, now=faults.now(), limit=limit, page=p).papers
    ids = [paper.id for paper in site.papers.page(period, limit=MOST, submitter=submitter).papers]
    return site.parts.trending(site.database, now=faults.now(), limit=limit, page=p, ids=ids).papers


def present(**fields: Any) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def _author(author: Author, paper_id: str, place: int) -> dict[str, Any]:
    hidden = author.status == "hidden"
    claimed = author.status if author.status.startswith("claimed") else None
    name = "" if hidden else plain(author.name)
    return present(_id=hash_of(paper_id, str(place)), name=name, hidden=hidden, status=claimed)


def _submitter(paper: Paper, base: str, login: str) -> dict[str, Any] | None:
    """Who listed it; `login` is the key under which this place of the answer has the login."""
    by = next((listing.submitted_by for listing in paper.listings if listing.submitted_by), "")
    if not by:
        return None
    picture, name = base + asset("eye.svg"), by.removeprefix("@")
    known = {"avatarUrl": picture, "isPro": False, "fullname": name, login: name, "type": "user"}
    return {"_id": hash_of("person", by), **known}


def _organisation(paper: Paper, base: str) -> dict[str, Any] | None:
    if not paper.organisation_id:
        return None
    return {
        "_id": hash_of("organisation", paper.organisation_id),
        "name": paper.organisation_id,
        "fullname": paper.organisation,
        "avatar": base + asset("eye.svg"),
    }


def iso(moment: datetime | None) -> str | None:
    """2026-10-02T00:00:00.000Z, as the Hub's client reads it."""
    if moment is None:
        return None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def hash_of(*parts: str) -> str:
    return sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:24]
