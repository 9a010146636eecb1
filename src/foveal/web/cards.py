"""Pictures for links to our pages on other sites (papers/cards.py), drawn when first asked for and kept in the home.

/papers/ID/card.png                        a paper: its title, people, subject; its first page, where that is known
/cards/day|week|month/KEY.png              the papers of a period          /cards/site.png     every other list

A period without papers has the site's picture: a visitor can ask for any day of ten thousand years.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from foveal.evaluation.files import whole_file
from foveal.papers.cards import card
from foveal.papers.periods import Period
from foveal.papers.plain_titles import plain_tex
from foveal.papers.store import Paper
from foveal.papers.thumbnails import CARDS, drawn, kept
from foveal.web import papers_views as views
from foveal.web.caching import conditional
from foveal.web.request_limits import limited
from foveal.web.site import site_of

router = APIRouter(include_in_schema=False, dependencies=[Depends(limited("search"))])

_KINDS = ("day", "week", "month")
_HOUR_S, _MONTH_S = 3_600, 30 * 86_400
_MOST = 5_000
"""Pictures that are kept, of some 100 kB each; beyond it the oldest tenth goes."""


@router.get("/papers/{which:path}/card.png")
def of_paper(request: Request, which: str) -> Response:
    """A paper."""
    site = site_of(request)
    paper = site.papers.get(which)
    page = kept(site.settings.home, paper.id)
    return _answer(request, plain_tex(paper.title), _line(paper), views.subject(paper), page)


@router.get("/cards/site.png")
def of_site(request: Request) -> Response:
    """The site."""
    return _site(request, _MONTH_S)


@router.get("/cards/{kind}/{key}.png")
def of_period(request: Request, kind: str, key: str) -> Response:
    """The papers of a day, week or month. InputError: there is no such one."""
    if kind not in _KINDS:
        raise HTTPException(404, f"There are pictures of a {', '.join(_KINDS)}, a paper, and of the site.")
    period = Period.of(kind, key)
    if not site_of(request).papers.days(period.first, period.last):
        return _site(request, _HOUR_S)  # its papers may come
    return _answer(request, f"Papers of {views.long_title(period)}", f"Daily Papers · {_title(request)}", kind)


def _site(request: Request, seconds: int) -> Response:
    line = f"What is new, what is trending, what you seek · {_title(request)}"
    return _answer(request, "Daily Papers", line, "", seconds=seconds)


def _answer(
    request: Request, title: str, line: str, subject: str, page: Path | None = None, *, seconds: int = _MONTH_S
) -> Response:
    content = _kept(site_of(request).settings.home, title[:400], line, drawn(title, subject), page)
    return conditional(request, Response(content, media_type="image/png"), public=True, seconds=seconds)


def _kept(home: Path, title: str, line: str, field: str, page: Path | None) -> bytes:
    """The picture from its file; made, where it was not drawn of the same things before."""
    first = page.read_bytes() if page else None
    name = sha256("\n".join((title, line, field)).encode("utf-8", "surrogatepass") + (first or b"")).hexdigest()[:32]
    path = home / CARDS / f"{name}.png"
    with suppress(FileNotFoundError):
        return path.read_bytes()
    content = card(title, line, field, page=first)
    with whole_file(path) as partial:
        partial.write_bytes(content)
    _thinned(path.parent)
    return content


def _thinned(folder: Path) -> None:
    """No more than `_MOST` pictures in the folder."""
    if len(paths := list(folder.iterdir())) <= _MOST:
        return
    ages = []
    for path in paths:
        with suppress(FileNotFoundError):  # another process thins it, too
            ages.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(ages)[: len(paths) - _MOST + _MOST // 10]:
        path.unlink(missing_ok=True)


def _line(paper: Paper) -> str:
    """ "Léa Martin, Bo Li +2 · cs.CL · 2026"."""
    year = str(paper.published_at.year) if paper.published_at else ""
    return " · ".join(part for part in (views.people(paper) or paper.organisation, views.subject(paper), year) if part)


def _title(request: Request) -> str:
    return site_of(request).options.title
