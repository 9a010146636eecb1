"""Every list as a feed, Atom (RFC 4287) and JSON Feed 1.1, and what search engines ask for.

/feed/day|week|month|trending.xml|.json      /feed/q/QUERY…   /feed/topic/ID…   /feed/category/NAME…
/feed/author/KEY…  /feed/organisation/ID…  /feed/collection/ID…  (and each as .bib, .ris, .csl: references)
/robots.txt  /favicon.ico  /sitemap.xml, /sitemap/N.xml

Which     day: the newest listed ones of the last days, so that nobody who polls once a day misses any; week and month:
          those with the most votes of the week or month that has the latest papers; a collection: of a public one,
          what was put there last, each with who put it there and why
Ids       tag:HOST,2026:paper/ID: the same wherever a paper appears
Polling   ETag and Last-Modified, 304 where nothing changed; five minutes may be kept
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from foveal import faults
from foveal.errors import UnknownPaper
from foveal.papers import browsing, collecting
from foveal.papers.collecting import Placed
from foveal.papers.headline_lines import Line
from foveal.papers.periods import Period
from foveal.papers.store import Paper
from foveal.web import papers_views as views
from foveal.web.caching import conditional
from foveal.web.markup import html_of, plain
from foveal.web.pages import STATIC
from foveal.web.reference_files import ENDINGS, reference_file
from foveal.web.request_limits import limited
from foveal.web.site import Site, base_url, site_of

router = APIRouter(include_in_schema=False)

ENTRIES = 50
"""Papers of a feed."""

PART = 10_000
"""Addresses of one part of the sitemap; the standard allows 50,000."""

_ATOM = "http://www.w3.org/2005/Atom"
_SITEMAP = "http://www.sitemaps.org/schemas/sitemap/0.9"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TYPES = {"xml": "application/atom+xml; charset=utf-8", "json": "application/feed+json; charset=utf-8"}


@dataclass(frozen=True)
class Feed:
    """Papers under a title; `page` is the path of the page that shows the same."""

    title: str
    page: str
    papers: Sequence[Paper]
    lines: Mapping[str, Line] = field(default_factory=dict)  # what is said beside their titles
    placed: Mapping[str, Placed] = field(default_factory=dict)  # how they came to a collection

    @property
    def updated(self) -> datetime:
        """When the last of its papers changed, or was put on a day or into the collection; the epoch for none."""
        changed = (paper.changed_at for paper in self.papers)
        listed = (listing.listed_at for paper in self.papers for listing in paper.listings)
        put = (one.at for one in self.placed.values())
        return max([*changed, *listed, *put], default=datetime.fromtimestamp(0, UTC))


@router.get("/feed/q/{query:path}.{kind}")
def of_search(request: Request, query: str, kind: str) -> Response:
    """The papers that a search finds, those that hold a word of it."""
    limited("api")(request)
    papers = site_of(request).search.search(query[:1000], ENTRIES).holding
    return _answer(request, Feed(f"Papers for {query}", views.address("/papers", q=query), papers), kind)


@router.get("/feed/{which}/{name:path}.{kind}")
def of_list(request: Request, which: str, name: str, kind: str) -> Response:
    """A topic, subject, author or organisation."""
    return _answer(request, _named(request, site_of(request), which, name), kind)


@router.get("/feed/{which}.{kind}")
def of_period(request: Request, which: str, kind: str) -> Response:
    """The latest papers, those of the week or month, or what is trending."""
    return _answer(request, _period(site_of(request), which), kind)


@router.get("/robots.txt")
def robots(request: Request) -> Response:
    """Pages may be found; what a program would call need not be."""
    closed = "".join(
        f"Disallow: {path}\n" for path in ("/api/", "/feed/q/", "/papers/submit", "/papers?q=", "/mail/", "/u/")
    )
    return PlainTextResponse(f"User-agent: *\n{closed}\nSitemap: {base_url(request)}/sitemap.xml\n")


@router.get("/favicon.ico")
@router.get("/apple-touch-icon.png")
def icon(request: Request) -> Response:
    """The eye, for what reads no page first: feed readers, bookmarks, a phone's home screen."""
    name = request.url.path[1:]
    kind = "image/png" if name.endswith(".png") else "image/x-icon"
    return conditional(request, Response((STATIC / name).read_bytes(), media_type=kind), public=True, seconds=86_400)


@router.get("/sitemap.xml")
def sitemap(request: Request) -> Response:
    """The parts of the sitemap: lists first, then papers by thousands."""
    from lxml import etree

    parts = 1 + -(-site_of(request).papers.count() // PART)
    root = etree.Element("sitemapindex", nsmap={None: _SITEMAP})
    for number in range(parts):
        etree.SubElement(etree.SubElement(root, "sitemap"), "loc").text = f"{base_url(request)}/sitemap/{number}.xml"
    return _xml(request, root, "application/xml")


@router.get("/sitemap/{number}.xml")
def sitemap_part(request: Request, number: int) -> Response:
    """Part 0 holds the lists, the others papers."""
    from lxml import etree

    addresses = _pages(site_of(request)) if number == 0 else _papers(site_of(request), number)
    if not addresses:
        raise HTTPException(404, "The sitemap has no such part.")
    root = etree.Element("urlset", nsmap={None: _SITEMAP})
    for path, changed in addresses:
        url = etree.SubElement(root, "url")
        etree.SubElement(url, "loc").text = base_url(request) + path
        if changed:
            etree.SubElement(url, "lastmod").text = changed.strftime("%Y-%m-%d")
    return _xml(request, root, "application/xml")


def atom_of(feed: Feed, base: str, address: str) -> Any:
    """A feed as an element tree."""
    from lxml import etree

    root = etree.Element("feed", nsmap={None: _ATOM})
    own = address.removeprefix(base).strip("/").rpartition(".")[0]  # of one feed alone, and the same every week
    _texts(root, id=_id(base, own), title=feed.title, updated=_moment(feed.updated))
    etree.SubElement(root, "link", rel="self", href=_clean(address))
    etree.SubElement(root, "link", rel="alternate", type="text/html", href=_clean(base + feed.page))
    etree.SubElement(root, "generator", uri=base).text = "Foveal"
    _texts(etree.SubElement(root, "author"), name="Foveal")
    for paper in feed.papers:
        root.append(_atom_entry(paper, base, feed))
    return root


def json_of(feed: Feed, base: str, address: str) -> dict[str, Any]:
    """A feed as JSON Feed 1.1."""
    return {
        "version": "https://jsonfeed.org/version/1.1",
        "title": feed.title,
        "home_page_url": base + feed.page,
        "feed_url": address,
        "language": "en",
        "items": [_json_item(paper, base, feed) for paper in feed.papers],
    }


def _answer(request: Request, feed: Feed, kind: str) -> Response:
    if kind in ENDINGS:
        return reference_file(request, feed.papers, ENDINGS[kind], plain(feed.title))
    if kind not in _TYPES:
        raise HTTPException(404, "A feed ends in .xml (Atom), .json (JSON Feed), .bib, .ris or .csl (references).")
    feed = replace(feed, lines=site_of(request).lines(feed.papers))
    base = base_url(request)
    address = base + quote(request.scope["path"])
    if kind == "xml":
        return _xml(request, atom_of(feed, base, address), _TYPES[kind], feed.updated)
    response = JSONResponse(json_of(feed, base, address), media_type=_TYPES[kind])
    return conditional(request, response, modified=feed.updated, public=True, seconds=300)


def _xml(request: Request, root: Any, kind: str, modified: datetime | None = None) -> Response:
    from lxml import etree

    body = etree.tostring(root, xml_declaration=True, encoding="utf-8")
    return conditional(request, Response(body, media_type=kind), modified=modified, public=True, seconds=300)


def _period(site: Site, which: str) -> Feed:
    """InputError and 404 name what there is."""
    if which == "trending":
        papers = site.parts.trending(site.database, now=faults.now(), limit=ENTRIES, page=0).papers
        return Feed("Trending papers", "/papers/trending", papers)
    if which not in ("day", "week", "month"):
        raise HTTPException(404, "There are the feeds day, week, month and trending.")
    latest = site.papers.latest_day() or faults.now().date()
    period = Period.around(which, latest)
    if which == "day":
        days = Period("day", latest - timedelta(days=6), latest)
        return Feed("Daily papers", "/papers", site.papers.page(days, sort="listed", limit=2 * ENTRIES).papers)
    title = f"Papers of {views.long_title(period)}"
    return Feed(title, views.period_address(period), site.papers.page(period, limit=ENTRIES).papers)


def _named(request: Request, site: Site, which: str, name: str) -> Feed:
    newest = partial(site.papers.page, sort="published", limit=ENTRIES)
    if which == "topic":
        limited("api")(request)
        row = browsing.topic(site.database, name)
        return Feed(row.title, f"/topics/{row.id}", site.search.search(row.query, ENTRIES).holding)
    if which == "category":
        if not browsing.has_category(site.database, name):
            raise UnknownPaper(f"No paper here has the subject {name[:40]!r}.")
        return Feed(f"Papers of {name}", f"/categories/{quote(name)}", newest(category=name).papers)
    if which == "author":
        title = f"Papers by {plain(browsing.author_name(site.database, name))}"
        return Feed(title, f"/authors/{quote(name)}", newest(author=name).papers)
    if which == "organisation":
        title = f"Papers of {plain(site.papers.organisation(name))}"
        return Feed(title, f"/organisations/{quote(name)}", newest(organisation=name).papers)
    if which == "collection" and re.fullmatch("[1-9][0-9]{0,8}", name):
        found = collecting.visible(site.database, int(name))
        papers = site.papers.page(sort="added", limit=ENTRIES, collection=found.id).papers
        put = collecting.placed(site.database, found.id, [paper.id for paper in papers])
        return Feed(f"{found.title}, by {found.by}", f"/collections/{found.id}", papers, placed=put)
    known = "topic, category, author, organisation or collection"
    raise HTTPException(404, f"There are feeds of a {known}, and of a search (q).")


def _atom_entry(paper: Paper, base: str, feed: Feed) -> Any:
    from lxml import etree

    entry = etree.Element("entry")
    published = paper.published_at or paper.changed_at
    put = feed.placed.get(paper.id)
    _texts(
        entry,
        id=_id(base, f"paper/{paper.id}"),
        title=plain(paper.title),
        published=_moment(published),
        updated=_moment(max(published, paper.changed_at, *((put.at,) if put else ()))),
    )
    etree.SubElement(entry, "link", rel="alternate", type="text/html", href=base + views.paper_address(paper.id))
    if views.safe_link(paper.page_url):
        etree.SubElement(entry, "link", rel="via", href=_clean(paper.page_url))
    for author in views.shown_authors(paper, views.AUTHORS_SHOWN)[0]:
        _texts(etree.SubElement(entry, "author"), name=plain(author.name) or "?")
    for category in paper.categories:
        etree.SubElement(entry, "category", term=_clean(category))
    summary = etree.SubElement(entry, "summary")
    summary.text = _clean(plain(paper.summary or paper.abstract))
    content = etree.SubElement(entry, "content", type="html")
    content.text = _clean(_content(paper, feed))
    return entry


def _json_item(paper: Paper, base: str, feed: Feed) -> dict[str, Any]:
    put = feed.placed.get(paper.id)
    item = {
        "id": _id(base, f"paper/{paper.id}"),
        "url": base + views.paper_address(paper.id),
        "external_url": views.safe_link(paper.page_url),
        "title": plain(paper.title),
        "content_html": _content(paper, feed),
        "summary": plain(paper.summary),
        "date_published": _moment(paper.published_at) if paper.published_at else "",
        "date_modified": _moment(max([paper.changed_at, *((put.at,) if put else ())])),
        "authors": [{"name": plain(author.name)} for author in views.shown_authors(paper, views.AUTHORS_SHOWN)[0]],
        "tags": list(paper.categories),
    }
    return {name: value for name, value in item.items() if value not in ("", [])}


def _content(paper: Paper, feed: Feed) -> str:
    """What a reader shows: that it was withdrawn, who collected it, a line, people, the summary, the abstract."""
    line, put = feed.lines.get(paper.id), feed.placed.get(paper.id)
    short = f"In short, by {line.writer}: {line.written}" if line and line.written else ""
    withdrawn = "This paper was withdrawn." if paper.withdrawn else ""
    put_by = f"Added{f' by {put.by}' if put.by else ''}{f': {put.note}' if put.note else '.'}" if put else ""
    parts = [withdrawn, put_by, short, views.people(paper, 6), plain(paper.summary)]
    told = "".join(f"<p>{html_of(part)}</p>" for part in parts if part)
    return f"{told}<p>{html_of(paper.abstract[: views.ABSTRACT_SHOWN])}</p>"


def _pages(site: Site) -> list[tuple[str, datetime | None]]:
    """The addresses of lists."""
    fixed = ["/papers", "/papers/trending", "/papers/rankings", "/topics"]
    named = [f"/topics/{row.id}" for row in site.papers.topics()]
    subjects = [f"/categories/{quote(name)}" for name in site.papers.categories()]
    days = [views.period_address(Period.around("day", day)) for day in browsing.listed_days(site.database)]
    addresses: list[tuple[str, datetime | None]] = [(path, None) for path in (*fixed, *named, *subjects, *days)]
    return addresses[:PART]


def _papers(site: Site, number: int) -> list[tuple[str, datetime | None]]:
    """The addresses of a part's papers."""
    part = site.papers.part((number - 1) * PART, PART) if 0 < number < 10_000 else []
    return [(views.paper_address(one), at) for one, at in part]


def _texts(parent: Any, **texts: str) -> None:
    from lxml import etree

    for name, text in texts.items():
        etree.SubElement(parent, name).text = _clean(text)


def _clean(text: str) -> str:
    """Without what XML cannot hold, escaped or not."""
    return _NOT_XML.sub("", text)


def _id(base: str, what: str) -> str:
    return f"tag:{urlsplit(base).hostname},2026:{what}"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
