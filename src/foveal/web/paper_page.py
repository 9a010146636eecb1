"""One paper: its page, what is like it, its picture; and adding one by its id.

/papers/ID             abstract with links on its keywords, versions and what changed between them
/papers/ID/similar     papers near it, on a page of their own; the paper's page loads them when they come into view
/papers/ID/thumbnail.svg, .png     see papers/thumbnails.py
/papers/ID/bibtex, …/ris, …/csl    the paper for a list of references
/papers/submit         an id or address, shown, then fetched and listed today; only where visitors may write
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse

from foveal import faults
from foveal.errors import UnknownDocument, UnknownPaper, UnreadableSource
from foveal.papers import browsing, collecting, curating, exporting, linking, removing, votes
from foveal.papers.periods import Period
from foveal.papers.person import Person
from foveal.papers.records import paper_id
from foveal.papers.store import Listing, Paper
from foveal.papers.thumbnails import drawn, first_page, keep, kept
from foveal.papers.upserts import PERSON
from foveal.web import papers_views as views
from foveal.web.caching import conditional
from foveal.web.discussion_routes import discussion_values
from foveal.web.markup import html_of, links_of
from foveal.web.papers_pages import shown
from foveal.web.reader_views import without_muted, yours_of
from foveal.web.reference_files import reference_file
from foveal.web.request_limits import limited
from foveal.web.rights import Needs
from foveal.web.safety import guarded
from foveal.web.signed_in import Reader, signed_in
from foveal.web.site import Site, base_url, site_of
from foveal.web.small_forms import SmallForms
from foveal.web.topic_views import topic_of

router = APIRouter(route_class=SmallForms, include_in_schema=False)

SIMILAR = 6
"""Papers near another one that are shown."""

LINKS = {
    "code": "Code",
    "project": "Project page",
    "model": "Model",
    "dataset": "Data set",
    "demo": "Demo",
    "page": "Something else",
}
"""What a form calls the kinds of linking.KINDS."""

DAYS = 5
"""Days that a paper is on, the last of which can be taken back on its page."""

KEYWORDS = 100
"""Keywords that are looked for in an abstract."""

_YEAR_S = 365 * 86_400
_MONTH_S = 30 * 86_400


@router.get("/papers/submit", dependencies=[Depends(Needs("submit"))])
def submit(request: Request, id: Annotated[str, Query(max_length=300)] = "") -> Response:  # noqa: A002
    """A form; with an id, what would be added."""
    which = paper_id(id) if id.strip() else ""
    there = site_of(request).papers.many([which]) if which else []
    if which and not there:
        removing.must_be_welcome(site_of(request).database, which)
    values = {
        "heading": "Add a paper",
        "line": "By its arXiv id or address",
        "title": "Add a paper",
        "which": which,
        "paper": there[0] if there else None,
    }
    return shown(request, "papers/submit.html", values)


@router.post("/papers/submit", dependencies=[Depends(guarded), Depends(Needs("submit"))])
def submitted(request: Request, person: Reader, id: Annotated[str, Form(max_length=300)]) -> Response:  # noqa: A002
    """Fetch the paper unless it is here, and list it today."""
    return RedirectResponse(views.paper_address(listed_today(site_of(request), person, id)), 303)


def listed_today(site: Site, person: Person | None, given: str) -> str:
    """The id of a paper that is fetched unless it is here, and listed today. NotAllowed: it was removed here."""
    which = paper_id(given)
    if not site.papers.many([which]):
        removing.must_be_welcome(site.database, which)
        which = site.parts.fetch(site.database, site.settings, which)
    by = f"@{person.login}" if person else ""
    browsing.list_on(site.database, which, faults.now().date(), by=by)
    return which


@router.get("/papers/{which:path}/thumbnail.svg")
def thumbnail_svg(request: Request, which: str) -> Response:
    """The picture that is drawn from a paper's title; that of its first page, where its PDF is in the library."""
    site = site_of(request)
    paper = site.papers.get(which)
    if _first_page(site, paper):
        return RedirectResponse(views.thumbnail(site.settings.home, paper), 302)
    svg = drawn(paper.title, views.subject(paper))
    return conditional(request, Response(svg, media_type="image/svg+xml"), public=True, seconds=_seconds(request))


@router.get("/papers/{which:path}/thumbnail.png")
def thumbnail_png(request: Request, which: str) -> Response:
    """The picture of a paper's first page, where there is one."""
    path = kept(site_of(request).settings.home, paper_id(which))
    if path is None:
        raise HTTPException(404, "This paper has no picture of its first page.")
    response = Response(path.read_bytes(), media_type="image/png")
    return conditional(request, response, public=True, seconds=_seconds(request))


@router.get("/papers/{which:path}/bibtex")
def bibtex(request: Request, which: str) -> Response:
    """The paper's entry for BibTeX."""
    return _reference(request, which, "bibtex")


@router.get("/papers/{which:path}/ris")
def ris(request: Request, which: str) -> Response:
    """The paper's record in the format of reference managers."""
    return _reference(request, which, "ris")


@router.get("/papers/{which:path}/csl")
def csl(request: Request, which: str) -> Response:
    """The paper's item in CSL-JSON."""
    return _reference(request, which, "csl")


@router.get("/papers/{which:path}/similar", dependencies=[Depends(limited("search"))])
def similar(request: Request, which: str) -> Response:
    """Papers near this one."""
    site = site_of(request)
    paper = site.papers.get(which)
    values = {
        "heading": "Similar papers",
        "line": "",
        "title": f"Like {paper.title}",
        "paper": paper,
        "papers": without_muted(request, site.search.similar(paper.id, SIMILAR))[0],
        "canonical": base_url(request) + views.paper_address(paper.id),
    }
    return shown(request, "papers/similar.html", values)


@router.get("/papers/{which:path}")
def one_paper(request: Request, which: str, authors: Annotated[str, Query(max_length=10)] = "") -> Response:
    """A paper's page."""
    site, name = site_of(request), paper_id(which)
    try:
        paper = site.papers.get(name)
    except UnknownPaper:
        return _missing(request, name)
    if which != paper.id:
        return RedirectResponse(views.paper_address(paper.id), 308)
    most = len(paper.authors) if authors == "all" else views.AUTHORS_SHOWN
    seen, more = views.shown_authors(paper, most)
    values = {
        "title": paper.title,
        "heading": "",
        "paper": paper,
        "abstract": _abstract(site, paper),
        "cut": max(0, len(paper.abstract) - views.ABSTRACT_SHOWN),
        "authors": seen,
        "more_authors": more,
        "editions": _editions(site, paper),
        "collections": browsing.collections_with(site.database, paper.id),
        "place": _place(site, paper),
        "description": views.description(paper),
        "canonical": base_url(request) + views.paper_address(paper.id),
        "links": _links(paper),
        "topic": topic_of(site.classes, paper),
        "headline": site.lines([paper]).get(paper.id),
        "citation": exporting.bibtex([paper], abstract=False),
        "picture_key": views.thumbnail(site.settings.home, paper).rpartition("?")[2],
        "yours": yours_of(request, [paper]),
        "shelves": collecting.shelves(site.database, person, paper.id) if (person := signed_in(request)) else [],
        "chosen": curating.days_of(site.database, paper.id) if person and person.may("curate") else [],
        "may_link": linking.may_link(paper, person),
        "own_links": [one for one in paper.links if one.source == PERSON],
        "link_kinds": LINKS,
        "voters": votes.voters(site.database, paper.id) if person else [],
        "listed": _listed(paper, person),
        "claimable": any(author.person_id is None for author in paper.authors),
        **discussion_values(request, paper.id),
    }
    return shown(request, "papers/paper.html", values)


def _listed(paper: Paper, person: Person | None) -> list[Listing]:
    """The last days that it is on; without those for which it is chosen, where a curator has these beside them."""
    curates = person is not None and person.may("curate")
    return [one for one in reversed(paper.listings) if one.position is None or not curates][:DAYS]


def _reference(request: Request, which: str, kind: str) -> Response:
    paper = site_of(request).papers.get(which)
    return reference_file(request, [paper], kind, paper.id, modified=paper.changed_at)


def _missing(request: Request, name: str) -> Response:
    """That it is not here; or was removed, which a program that asks is told by 410; or is another entry of one."""
    gone = removing.found(site_of(request).database, name)
    if gone is not None and gone.same_as:
        return RedirectResponse(views.paper_address(gone.same_as), 308)
    values = {"title": name, "heading": "Gone" if gone else "Not here yet", "line": "", "which": name, "removed": gone}
    return shown(request, "papers/missing.html", values, status=410 if gone else 404)


def _abstract(site: Site, paper: Paper) -> Any:
    """The abstract with its maths, and its keywords as links to their search."""
    shown_part = paper.abstract[: views.ABSTRACT_SHOWN]
    pieces = site.parts.keyword_links(shown_part, paper.keywords[:KEYWORDS]) if paper.keywords else [(shown_part, None)]
    text, links = links_of(pieces, "/papers?q=")
    return html_of(text, links=links)


def _editions(site: Site, paper: Paper) -> list[dict[str, Any]]:
    """Earlier versions, the newest first, each with what the one after it changed."""
    if paper.version < 2:
        return []
    found, after = [], (paper.version, paper.title, paper.abstract)
    for one in browsing.editions(site.database, paper.id):
        found.append(
            {
                "edition": one,
                "to": after[0],
                "title": browsing.changes(one.title, after[1]) if one.title != after[1] else [],
                "abstract": browsing.changes(one.abstract, after[2]) if one.abstract != after[2] else [],
            }
        )
        after = (one.version, one.title, one.abstract)
    return found


def _place(site: Site, paper: Paper) -> tuple[int, views.Choice] | None:
    """Which paper of its first day it is, where anybody voted, and that day."""
    if paper.listed_on is None:
        return None
    period = Period.around("day", paper.listed_on)
    day = views.Choice(period.title, views.period_address(period))
    given = paper.all_votes
    return (browsing.place_of_day(site.database, paper.id, paper.listed_on, given) if given else 0, day)


def _links(paper: Paper) -> list[tuple[str, list[tuple[str, str]]]]:
    """What belongs to a paper, by kind: (heading, [(name, address)]); only addresses that a page may lead to."""
    headings = {"model": "Models", "dataset": "Datasets", "demo": "Demos", "code": "Code", "page": "Elsewhere"}
    found = []
    for kind, heading in headings.items():
        links = [(link.title or link.url, link.url) for link in paper.links if link.kind == kind]
        safe = [(name, url) for name, url in links if views.safe_link(url)]
        if safe:
            found.append((heading, safe))
    return found


def _first_page(site: Site, paper: Paper) -> bool:
    """Whether there is a picture of its first page; made now, where the paper is a PDF of the library."""
    if kept(site.settings.home, paper.id):
        return True
    if not paper.id.startswith("doc-"):
        return False
    with suppress(UnknownDocument, UnreadableSource):
        source = urlsplit(site.library.find(paper.id.removeprefix("doc-"))[0].source)
        path = Path(unquote(source.path))
        if source.scheme == "file" and path.suffix.lower() == ".pdf":
            keep(site.settings.home, paper.id, first_page(path))
            return True
    return False


def _seconds(request: Request) -> int:
    """A picture with its hash in the address never changes; one without may."""
    return _YEAR_S if request.url.query else _MONTH_S // 30
