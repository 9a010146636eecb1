"""What is said about a paper: shown, and added to.

/discussion/{paper}                     all of it, on a page of its own; a paper's page includes people/_discussion.html
POST /discussion/{paper}                a remark (`text`, `parent`); "preview" shows it first
/remarks/{id}                           where it stands; /remarks/{id}/edit
POST /remarks/{id}/edit, delete, rate, hide, restore
POST /discussions/close                 for moderators

What somebody wrote whose session has ended is shown to them again: to be sent to sign in would lose it.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import APIRouter, Depends, Form, Query, Request, Response

from foveal.papers import complaints, moderation
from foveal.papers import discussion as talk
from foveal.papers.records import paper_id
from foveal.papers.safe_markdown import html_of
from foveal.papers.votes import standing
from foveal.web.pages import page
from foveal.web.safety import guarded
from foveal.web.signed_in import Member, back_to, came_from, must_sign_in, private, signed_in
from foveal.web.site import site_of
from foveal.web.small_forms import MaybeRow, Row, SmallForms, Text
from foveal.web.vote_routes import vote_values

router = APIRouter(route_class=SmallForms, include_in_schema=False)
writes = [Depends(guarded)]


def discussion_values(request: Request, paper: str, *, order: str = "best", part: int = 0) -> dict[str, Any]:
    """What the template people/_discussion.html shows."""
    reader = signed_in(request)
    found = talk.discussion(site_of(request).database, paper, order=order, page=part, reader=reader)
    reported = complaints.mine(site_of(request).database, reader, paper) if reader is not None else complaints.NOTHING
    return {"talk": found, "orders": talk.ORDERS, "reported": reported}


@router.get("/discussion/{paper:path}")
def show(request: Request, paper: str, order: str = "best", part: Annotated[int, Query(alias="page")] = 0) -> Response:
    """All that is said about a paper."""
    return _page(request, paper_id(paper), order=order, part=part)


@router.post("/discussion/{paper:path}", dependencies=writes)
def say(
    request: Request,
    paper: str,
    text: Text = "",
    parent: MaybeRow = None,
    preview: Text = "",
) -> Response:
    """A remark; with `preview` it is shown, and not kept."""
    which = paper_id(paper)
    if _is_unsent(request, text):
        return _unsent(request, which, text)
    person = must_sign_in(request)
    if preview:
        values = {"draft": text, "draft_html": html_of(text), "draft_parent": parent}
        if "hx-request" in request.headers:
            return page(request, "people/_discussion.html", {**_as_seen(request, which), **values})
        return _page(request, which, extra=values)
    number = talk.remark(site_of(request).database, person, which, text, parent=parent)
    return _after(request, which, number)


@router.get("/remarks/{number}")
def where(request: Request, number: Row) -> Response:
    """The place of a remark."""
    paper, part = talk.place_of(site_of(request).database, number, reader=signed_in(request))
    return back_to(f"/discussion/{quote(paper)}?order=old{f'&page={part}' if part else ''}#c-{number}")


@router.get("/remarks/{number}/edit")
def rewrite(request: Request, number: Row, person: Member) -> Response:
    """The form with one's own words."""
    paper, raw = talk.words_of(site_of(request).database, person, number)
    return page(request, "people/edit.html", {"paper_id": paper, "number": number, "raw": raw}, headers=private())


@router.post("/remarks/{number}/edit", dependencies=writes)
def rewritten(request: Request, number: Row, text: Text = "") -> Response:
    """Other words."""
    if _is_unsent(request, text):
        return _unsent(request, talk.place_of(site_of(request).database, number, reader=None)[0], text)
    person = must_sign_in(request)
    return _after(request, talk.edit(site_of(request).database, person, number, text), number)


@router.post("/remarks/{number}/delete", dependencies=writes)
def delete(request: Request, number: Row, person: Member) -> Response:
    """One's own remark, gone."""
    return _after(request, talk.delete(site_of(request).database, person, number), number)


@router.post("/remarks/{number}/rate", dependencies=writes)
def rate(request: Request, number: Row, person: Member, value: Annotated[int, Form()]) -> Response:
    """Whether it helps."""
    return _after(request, talk.rate(site_of(request).database, person, number, value), number)


@router.post("/remarks/{number}/report", dependencies=writes)
def report_remark(request: Request, number: Row, person: Member, reason: Text = "") -> Response:
    """Tell the moderators of a remark."""
    database = site_of(request).database
    complaints.report(database, person, remark=number, reason=reason)
    return _after(request, talk.paper_of(database, number), number)


@router.post("/report/{paper:path}", dependencies=writes)
def report_paper(request: Request, paper: str, person: Member, reason: Text = "") -> Response:
    """Tell the moderators of a paper."""
    which = paper_id(paper)
    complaints.report(site_of(request).database, person, paper=which, reason=reason)
    return _after(request, which)


@router.post("/remarks/{number}/hide", dependencies=writes)
def hide(request: Request, number: Row, person: Member, reason: Text = "") -> Response:
    """Out of sight, by a moderator."""
    return _after(request, moderation.hide(site_of(request).database, number, by=person, reason=reason), number)


@router.post("/remarks/{number}/restore", dependencies=writes)
def restore(request: Request, number: Row, person: Member) -> Response:
    """And back."""
    return _after(request, moderation.restore(site_of(request).database, number, by=person), number)


@router.post("/discussions/close", dependencies=writes)
def close(request: Request, person: Member, paper: Text, closed: Text = "yes") -> Response:
    """No more remarks, or again."""
    which = paper_id(paper)
    moderation.close(site_of(request).database, which, by=person, closed=closed == "yes")
    return _after(request, which)


def _is_unsent(request: Request, text: str) -> bool:
    """Whether a text came from somebody whose session has ended."""
    unread = getattr(request.state, "session_unread", False) if signed_in(request) is None else True
    return bool(text.strip()) and not unread and "application/json" not in request.headers.get("accept", "")


def _unsent(request: Request, paper: str, text: str) -> Response:
    """The discussion, with what was not taken."""
    if "hx-request" in request.headers:
        return page(request, "people/_discussion.html", {**_as_seen(request, paper), "unsent": text})
    return _page(request, paper, extra={"unsent": text}, status=401)


def _page(
    request: Request,
    paper: str,
    *,
    order: str = "best",
    part: int = 0,
    extra: dict[str, Any] | None = None,
    status: int = 200,
) -> Response:
    site = site_of(request)
    found = site.papers.get(paper)
    values = discussion_values(request, paper, order=order, part=part)
    vote = vote_values(paper, found.title, standing(site.database, [paper], signed_in(request))[paper])
    headers = private() if signed_in(request) else None
    shown = {"paper": found, **vote, **values, **(extra or {})}
    return page(request, "people/discussion.html", shown, status=status, headers=headers)


def _as_seen(request: Request, paper: str) -> dict[str, Any]:
    """The discussion in the order, and the part of it, that the page shows on which somebody did something."""
    asked = parse_qs(urlsplit(came_from(request)).query)
    order, part = (asked.get(name, [""])[-1] for name in ("order", "page"))
    number = int(part) if part.isdecimal() and len(part) < 6 else 0
    return discussion_values(request, paper, order=order if order in talk.ORDERS else "best", part=number)


def _after(request: Request, paper: str, number: Row | None = None) -> Response:
    """The discussion as it now is: a part for HTMX, else back to the page that the form was on."""
    if "hx-request" in request.headers:
        return page(request, "people/_discussion.html", _as_seen(request, paper))
    page_of = came_from(request, "")
    known = page_of and "/edit" not in page_of
    address = page_of if known else f"/discussion/{quote(paper)}"
    return back_to(f"{address}#c-{number}" if number else address)
