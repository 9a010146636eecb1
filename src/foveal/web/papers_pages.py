"""Pages of many papers: a day, week or month; a search; what is trending; a topic, subject, author, organisation, list.

/  /papers                      the latest day that has papers         /papers?q=…            a search
/papers/date|week|month/KEY     the papers of a period                 /papers/trending       and why each is there
/papers/rankings                every order, with the numbers          /topics  /topics/ID    searches that have a name
/categories/NAME  /authors/KEY  /organisations/ID  /collections/ID     lists

A list takes `sort`, `code=yes`, `look=list` and `p`; all are links, and work without JavaScript. One paper is
paper_page.py's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from foveal import faults
from foveal.errors import InputError, UnknownName, UnknownPaper
from foveal.papers import browsing, collecting, complaints, curating, rising, trend_forecast
from foveal.papers.periods import Period
from foveal.papers.store import PaperPage
from foveal.web import papers_views as views
from foveal.web.caching import conditional
from foveal.web.offered import check_ranker, check_retriever
from foveal.web.pages import environment, page
from foveal.web.reader_views import NOBODYS, follow_of, without_muted, yours_of
from foveal.web.request_limits import limited, within
from foveal.web.signed_in import signed_in
from foveal.web.site import base_url, site_of
from foveal.web.small_forms import Row

router = APIRouter(include_in_schema=False)

PageNumber = Annotated[int, Query(ge=0, le=10_000)]
FOUND, TRENDING = 12, 40
"""Papers of a page: of a search with whole abstracts, of what is trending with each one's reasons."""

LISTED = ("xml", "json", "bib", "ris")
"""Files of a list that has a name: its feeds, and references."""

RETRIEVERS = {"hybrid": "words and meaning", "lexical": "words", "dense": "meaning"}
"""Ways of searching that a visitor may choose between; others go by their names in the address."""

LOOKS = ("", "list")
"""How papers stand on a page: as cards, or line by line without pictures."""


@dataclass(frozen=True)
class Asked:
    """How a list is to be shown: its order ("" is its own), with code only, as cards or line by line, which page."""

    sort: str = ""
    code: str = ""
    look: str = ""
    p: PageNumber = 0

    def __post_init__(self) -> None:
        """InputError: no such look."""
        if self.look not in LOOKS:
            raise InputError(f"The parameter look got {self.look[:40]!r}; it is list, or left out.")


Asking = Annotated[Asked, Depends()]

environment.filters.update(
    shortened=lambda text, most=views.ABSTRACT_SHOWN: text if len(text) <= most else f"{text[:most]} …",
    address=lambda paper: views.paper_address(paper.id),
    thumbnail=lambda paper, home: views.thumbnail(home, paper),
    people=views.people,
    votes_told=views.votes_told,
    counted=views.counted,
    safe_link=views.safe_link,
    site_name=views.site_name,
    takes=views.takes,
    few=trend_forecast.shown,
)


def shown(request: Request, template: str, values: Mapping[str, Any], *, status: int = 200) -> Response:
    """A page of papers, with what all of them know."""
    base = base_url(request)
    known = {
        "section": "Papers",
        "heading": "Daily Papers",
        "line": "",
        "q": "",
        "tabs": views.tabs(None, faults.now().date()),
        "feeds": {},
        "description": "",
        "canonical": base + request.url.path,
        "home": site_of(request).settings.home,
        "yours": NOBODYS,
        "muted": 0,
        "follow": None,
        "outlook": None,
    }
    return conditional(request, page(request, template, known | dict(values), status=status))


@router.get("/")
def first() -> Response:
    """The papers are the first page."""
    return RedirectResponse("/papers", 307)


@router.get("/papers")
def papers(
    request: Request,
    q: Annotated[str | None, Query(max_length=1000)] = None,
    p: PageNumber = 0,
    retriever: Annotated[str, Query(max_length=40)] = "",
    rank: Annotated[str, Query(max_length=60)] = "",
    category: Annotated[str, Query(max_length=40)] = "",
    author: Annotated[str, Query(max_length=120)] = "",
    year: Annotated[str, Query(max_length=4, pattern="^([1-9][0-9]{3})?$")] = "",
) -> Response:
    """The search that `q` asks for, else the latest day."""
    if q is not None and q.strip():
        choices = {"retriever": retriever, "rank": rank, "category": category, "author": author, "year": year}
        return _search(request, q.strip(), p, choices)
    latest = site_of(request).papers.latest_day()
    if latest is not None:
        return RedirectResponse(views.period_address(Period.around("day", latest)), 307)
    return shown(request, "papers/welcome.html", {"line": "No papers yet"})


@router.get("/papers/date")
@router.get("/papers/week")
@router.get("/papers/month")
def newest(request: Request) -> Response:
    """The latest day, or the week or month that it is in."""
    unit = request.url.path.rsplit("/", 1)[1].replace("date", "day")
    latest = site_of(request).papers.latest_day() or faults.now().date()
    return RedirectResponse(views.period_address(Period.around(unit, latest)), 307)


@router.get("/papers/date/{key}")
def day(request: Request, key: str, asked: Asking) -> Response:
    """The papers of a day."""
    return _period(request, Period.of("day", key), asked)


@router.get("/papers/week/{key}")
def week(request: Request, key: str, asked: Asking) -> Response:
    """The papers of a week."""
    return _period(request, Period.of("week", key), asked)


@router.get("/papers/month/{key}")
def month(request: Request, key: str, asked: Asking) -> Response:
    """The papers of a month."""
    return _period(request, Period.of("month", key), asked)


@router.get("/papers/trending")
def trending(request: Request, p: PageNumber = 0) -> Response:
    """What is trending now, and why."""
    site = site_of(request)
    found = site.parts.trending(site.database, now=faults.now(), limit=TRENDING, page=p)
    pages = -(-found.total // TRENDING)
    seen, muted = without_muted(request, found.papers)
    kept, reasons = {paper.id for paper in seen}, site.parts.explained("foveal", found)
    foretold = trend_forecast.kept(site.database) if p == 0 else trend_forecast.Forecasts()
    values = {
        "heading": "Trending Papers",
        "line": "Votes, remarks and stars of the last week",
        "papers": seen,
        "muted": muted,
        "yours": yours_of(request, seen),
        "reasons": [why for paper, why in zip(found.papers, reasons, strict=True) if paper.id in kept],
        "pager": views.pager("/papers/trending", {}, p, pages=pages),
        "first_place": p * TRENDING,
        "rising": rising.kept(site.database) if p == 0 else None,
        "foretold": foretold,
        "changing": foretold.changing(),
        "lines": site.lines(seen),
        "feeds": views.feeds(base_url(request), "trending"),
        "on_trending": True,
    }
    return shown(request, "papers/trending.html", values)


@router.get("/papers/rankings")
def rankings(request: Request, by: Annotated[str, Query(max_length=60)] = "foveal") -> Response:
    """One order of papers, its formula in words, and the numbers that went in for the first ones."""
    site = site_of(request)
    formulas = site.parts.formulas()
    if by not in formulas:
        raise UnknownName(f"No order of papers is called {by!r}. There are: {', '.join(formulas)}.")
    found = site.parts.ranked(site.database, by, now=faults.now(), limit=10, page=0)
    values = {
        "heading": "Orders",
        "line": "Every formula, and the numbers that went in",
        "by": by,
        "formulas": formulas,
        "papers": list(zip(found.papers, found.scores, site.parts.explained(by, found), strict=True)),
        "total": found.total,
    }
    return shown(request, "papers/rankings.html", values)


@router.get("/topics")
def topics(request: Request) -> Response:
    """Searches that have a name, subjects, organisations."""
    site = site_of(request)
    values = {
        "heading": "Topics",
        "line": "Searches with a name, collections, subjects, organisations",
        "topics": site.papers.topics(),
        "categories": list(site.papers.categories().items())[:120],
        "organisations": browsing.organisations(site.database),
        "collections": collecting.public(site.database, limit=24),
    }
    return shown(request, "papers/topics.html", values)


@router.get("/topics/{which}")
def topic(request: Request, which: str, p: PageNumber = 0) -> Response:
    """The papers of a named search."""
    row = browsing.topic(site_of(request).database, which)
    return _search(request, row.query, p, {}, topic=(row.id, row.title))


@router.get("/categories/{name:path}")
def category(request: Request, name: str, asked: Asking) -> Response:
    """The papers of a subject; its name may hold slashes, one behind it is the address's."""
    name = name.rstrip("/") or name
    if not browsing.has_category(site_of(request).database, name):
        raise UnknownPaper(f"No paper here has the subject {name[:40]!r}. The page /topics lists those there are.")
    values = {
        "heading": name,
        "line": "Papers of this subject",
        "feed": f"category/{name}",
        **follow_of(request, "category", name),
        **(_outlook(request, "category", name) if asked.p == 0 else {}),
    }
    return _list(request, values, asked, category=name)


@router.get("/authors/{key}")
def author(request: Request, key: str, asked: Asking) -> Response:
    """The papers of an author."""
    name = browsing.author_name(site_of(request).database, key)
    values = {
        "heading": name,
        "line": "Papers by authors of this name",
        "feed": f"author/{key}",
        **follow_of(request, "author", key),
    }
    return _list(request, values, asked, author=key)


@router.get("/organisations/{which}")
def organisation(request: Request, which: str, asked: Asking) -> Response:
    """The papers of an organisation."""
    name = site_of(request).papers.organisation(which)
    values = {"heading": name, "line": "Papers of this organisation", "feed": f"organisation/{which}"}
    values |= follow_of(request, "organisation", which)
    return _list(request, values, asked, organisation=which)


@router.get("/collections/{which}")
def collection(request: Request, which: Row, asked: Asking) -> Response:
    """A list that somebody made: a public one, or one's own."""
    database, person = site_of(request).database, signed_in(request)
    found = collecting.visible(database, which, person)
    values: dict[str, Any] = {
        "heading": found.title,
        "line": f"A collection by {found.by}{', and whoever adds to it' if found.open else ''}",
        "about": found.description,
        "collection": found,
        "reported_notes": complaints.notes_of(database, person, which) if person else (),
        **({"feed": f"collection/{which}"} if found.public else {}),
    }
    return _list(request, values, asked, collection=which)


def _period(request: Request, period: Period, asked: Asked) -> Response:
    site, today = site_of(request), faults.now().date()
    if period.first <= today <= period.last:
        curating.publish(site.database, today)  # where no schedule runs
    found = site.papers.page(period, sort=asked.sort or "votes", page=asked.p, with_code=_with_code(asked.code))
    look = {"look": asked.look}  # it goes along to other days; what else was chosen is this one's
    before, after = (views.with_choices(one, look) if one else None for one in views.neighbours(period, today))
    strip = [] if period.kind == "month" else views.strip(period, site.papers.days(*views.week_of(period)), today)
    values = {
        "title": f"{views.long_title(period)}",
        "line": views.long_title(period),
        "description": f"{views.counted(found.total, 'paper')} of {views.long_title(period)}.",
        "period": period,
        "tabs": [views.with_choices(one, look) for one in views.tabs(period, today)],
        "before": before,
        "after": after,
        "strip": [views.with_choices(one, look) for one in strip],
        "nearest": _nearest(site.database, period) if not found.total else (),
        "feeds": views.feeds(base_url(request), period.kind),
        "fresh": browsing.freshness(site.database),
        **_listed(request, found, asked, "votes"),
    }
    return shown(request, "papers/period.html", values)


def _list(request: Request, values: dict[str, Any], asked: Asked, **which: Any) -> Response:
    site = site_of(request)
    collected = which.get("collection")
    order = "published" if collected is None else "added"
    found = site.papers.page(sort=asked.sort or order, page=asked.p, with_code=_with_code(asked.code), **which)
    listed = _listed(request, found, asked, order)
    if collected is not None:
        ids = [paper.id for paper in found.papers]
        listed["placed"] = collecting.placed(site.database, collected, ids, reader=signed_in(request))
    if values.get("feed"):
        values["feeds"] = views.feeds(base_url(request), values["feed"], LISTED)
    return shown(request, "papers/list.html", {"about": "", "title": values["heading"], **values, **listed})


def _listed(request: Request, found: PaperPage, asked: Asked, order: str) -> dict[str, Any]:
    """What every list of papers shows; `order` is the one it has without a choice."""
    path, code, lines = request.url.path, asked.code == "yes", asked.look == "list"
    choices = {"sort": "" if asked.sort == order else asked.sort, "code": asked.code, "look": asked.look}
    seen, muted = without_muted(request, found.papers)
    return {
        "papers": seen,
        "muted": muted,
        "yours": yours_of(request, seen),
        "total": found.total,
        "sorts": views.sorts(path, choices, order, views.ADDED if order == "added" else views.SORTS),
        "code": views.Choice("With code", views.address(path, choices, code="" if code else "yes"), code),
        "look": views.Choice("As a list", views.address(path, choices, look="" if lines else "list"), lines),
        "pager": views.pager(path, choices, found.page, pages=found.pages),
    }


def _outlook(request: Request, kind: str, key: str) -> dict[str, Any]:
    """What is foretold of a subject or topic, if anything is."""
    foretold = trend_forecast.kept(site_of(request).database)
    return {"outlook": foretold.of(kind, key), "foretold": foretold}


def _with_code(code: str) -> bool:
    if code not in ("", "yes"):
        raise InputError(f"The parameter code got {code[:40]!r}; it is yes, or left out.")
    return code == "yes"


def _nearest(database: Any, period: Period) -> Sequence[views.Choice]:
    """The days around an empty period that have papers."""
    before, _ = browsing.nearest_days(database, period.first)
    _, after = browsing.nearest_days(database, period.last)
    days = [Period.around("day", one) for one in (before, after) if one is not None]
    return [views.Choice(views.long_title(one), views.period_address(one)) for one in days]


def _search(
    request: Request, q: str, p: int, choices: Mapping[str, Any], topic: tuple[str, str] | None = None
) -> Response:
    limited("search")(request)
    site = site_of(request)
    check_retriever(choices.get("retriever"), site.settings.home)
    check_ranker(choices.get("rank"), site.settings.home)
    given: dict[str, Any] = {name: value or None for name, value in choices.items() if name != "year"}
    year = int(choices["year"]) if choices.get("year") else None
    bounded = within(request, choices["rank"]) if choices.get("rank") else None
    if bounded:
        given |= {"rank": bounded, "candidates": bounded.candidates}
    found = site.search.search(q, FOUND, page=p, year=year, **given)
    if bounded:
        note = " ".join(filter(None, (found.note, bounded.said())))
        found = replace(found, ranker=choices["rank"], note=note)
    told = dict(choices) if topic else {"q": q, **choices}
    path = f"/topics/{topic[0]}" if topic else "/papers"
    pages = None if found.total is None else -(-found.total // FOUND)
    more = len(found.hits) == FOUND
    seen, muted = without_muted(request, [hit.paper for hit in found.hits])
    kept = {paper.id for paper in seen}
    values = {
        "heading": topic[1] if topic else "Search",
        "title": topic[1] if topic else q,
        "line": f"Papers for {q}" if topic else "",
        "q": "" if topic else q,
        "asked": q,
        "found": found,
        "hits": [hit for hit in found.hits if hit.paper.id in kept],
        "muted": muted,
        "yours": yours_of(request, seen),
        **follow_of(request, *(("topic", topic[0]) if topic else ("query", q))),
        **(_outlook(request, "topic", topic[0]) if topic and p == 0 else {}),
        "choices": choices,
        "retrievers": [
            views.Choice(name, views.address(path, told, retriever=key), key == found.retriever)
            for key, name in RETRIEVERS.items()
        ],
        "filters": [
            views.Choice(f"{name}: {choices[name]}", views.address(path, told, **{name: None}))
            for name in ("category", "author", "year", "rank")
            if choices.get(name)
        ],
        "pager": views.pager(path, told, p, pages=pages, more=more),
        "canonical": base_url(request) + views.address(path, {} if topic else {"q": q}),
        "feeds": views.feeds(base_url(request), f"topic/{topic[0]}" if topic else f"q/{q}", LISTED),
    }
    return shown(request, "papers/search.html", values)
