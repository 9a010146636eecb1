"""Research: a question that no single page answers, its graph as it grows, the answer with its sources.

GET  /research                        the form, and earlier runs
POST /research                        begins a run, and leads to its page
GET  /research/{key}?node=NAME        the run, and one node of it; live by research_streams.py
GET  /research/{key}/panel?node=NAME  the node alone, for HTMX; so is /answer
POST /research/{key}/…                cancel, now (answer from what was found), go-on, edit (a node), share, remove
GET  /research/{key}/export/{form}    trace, mermaid, markdown, json

A run is seen by whoever began it: the person, or the browser where nobody is signed in; by others only once it is
shared, and then they may look, not change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

from foveal.errors import InputError
from foveal.papers.rate_limits import Limit, take
from foveal.research.answers import researched
from foveal.research.budget import Budget
from foveal.research.graph import RESPONSE, ROOT
from foveal.research.mermaid import to_mermaid
from foveal.research.runs import KeptRun, Owner
from foveal.research.state import RunState
from foveal.research.traces import text_of
from foveal.web.ask_pages import require_writable
from foveal.web.limits import address_of
from foveal.web.pages import environment, page
from foveal.web.research_desk import Asked, Desk, is_local, lacking, sources_named
from foveal.web.research_graph import drawn
from foveal.web.research_views import ENDED, Views, counted, outline
from foveal.web.safety import COOKIE, guarded, token_of
from foveal.web.signed_in import hash_of, private, signed_in
from foveal.web.site import Site, site_of
from foveal.web.small_forms import SmallForms, Text

LISTED = 20
HOUR_S = 3600.0

router = APIRouter(include_in_schema=False, route_class=SmallForms)
writes = [Depends(guarded)]


@router.get("/research")
def research(request: Request, q: str = "") -> Response:
    """The form, and the runs of whoever looks."""
    return _form(request, {"question": q})


@router.post("/research", dependencies=writes)
def begin(
    request: Request,
    question: Text = "",
    source: Annotated[Sequence[str], Form()] = (),
    minutes: Text = "",
    pages: Text = "",
) -> Response:
    """Begin a run."""
    site = site_of(request)
    require_writable(site)
    try:
        budget = Budget(seconds=60 * number(minutes, "minutes"), pages=number(pages, "pages"))
        asked = Asked(question.strip(), sources_named(source, site.research), budget)
        key = begun(request, asked)
    except InputError as error:
        given = {"question": question, "chosen": source, "minutes": minutes, "pages": pages, "wrong": str(error)}
        return _form(request, given)
    return RedirectResponse(f"/research/{key}", 303)


@router.get("/research/{key}")
def run_page(request: Request, key: str, node: str = "") -> Response:
    """A run as it is now."""
    run = site_of(request).research.run(key, owner_of(request))
    known = whole(request, run, node)
    return page(request, "research/run.html", known, headers=private())


@router.get("/research/{key}/panel")
def panel(request: Request, key: str, node: str = "") -> Response:
    """One node."""
    run = site_of(request).research.run(key, owner_of(request))
    return page(request, "research/_panel.html", whole(request, run, node), headers=private())


@router.get("/research/{key}/answer")
def answer(request: Request, key: str) -> Response:
    """The answer so far."""
    run = site_of(request).research.run(key, owner_of(request))
    return page(request, "research/_answer.html", whole(request, run, ""), headers=private())


@router.post("/research/{key}/cancel", dependencies=writes)
def cancel(request: Request, key: str) -> Response:
    """Stop it."""
    desk = _own(request, key)
    desk.cancel(key)
    return RedirectResponse(f"/research/{key}", 303)


@router.post("/research/{key}/now", dependencies=writes)
def answer_now(request: Request, key: str) -> Response:
    """Answer from what was found."""
    desk = _own(request, key)
    desk.answer_now(key)
    return RedirectResponse(f"/research/{key}", 303)


@router.post("/research/{key}/go-on", dependencies=writes)
def go_on(request: Request, key: str) -> Response:
    """Go on where it was broken off."""
    desk = _own(request, key)
    _spend(request)
    desk.go_on(key, owner_of(request))
    return RedirectResponse(f"/research/{key}", 303)


@router.post("/research/{key}/edit", dependencies=writes)
def edit(request: Request, key: str, node: Text = "", question: Text = "") -> Response:
    """Give a node another question: it, and what builds on it, are searched anew."""
    desk = _own(request, key)
    _spend(request)
    desk.go_on(key, owner_of(request), {node: question.strip()})
    return RedirectResponse(f"/research/{key}{node_query(node)}", 303)


@router.post("/research/{key}/share", dependencies=writes)
def share(request: Request, key: str, shared: Text = "") -> Response:
    """Let others look, or not."""
    desk = _own(request, key, changing=False)
    desk.runs.share(key, shared == "yes")
    return RedirectResponse(f"/research/{key}", 303)


@router.post("/research/{key}/remove", dependencies=writes)
def remove(request: Request, key: str) -> Response:
    """Delete it."""
    desk = _own(request, key, changing=False)
    desk.remove(key)
    return RedirectResponse("/research", 303)


@router.get("/research/{key}/export/{form}")
def export(request: Request, key: str, form: str) -> Response:
    """The run as a file."""
    desk = site_of(request).research
    run = desk.run(key, owner_of(request))
    log = desk.log(run.key)
    events = desk.runs.events(run.key) if log is None else log.so_far()
    state = RunState.of(events)
    made: dict[str, Callable[[], tuple[str, str]]] = {
        "trace": lambda: (text_of(events), "jsonl"),
        "mermaid": lambda: (to_mermaid(state.graph), "mmd"),
        "markdown": lambda: (researched(state).to_markdown(), "md"),
        "json": lambda: (json.dumps(researched(state).to_json(), ensure_ascii=False, indent=2), "json"),
    }
    if form not in made:
        raise HTTPException(404, f"A run can be had as {', '.join(made)}.")
    text, ending = made[form]()
    name = {"content-disposition": f'attachment; filename="research-{run.key[:8]}.{ending}"'}
    return PlainTextResponse(text, 200, private(name))


# -- what pages, streams and the API share ----------------------------------------------------------------------------


def owner_of(request: Request) -> Owner:
    """Who asks: a person, or a browser."""
    person = signed_in(request)
    browser = str(request.cookies.get(COOKIE) or getattr(request.state, "browser", ""))
    return Owner(person.id if person else None, hash_of(browser))


def begun(request: Request, asked: Asked) -> str:
    """A new run's key. InputError: it cannot be asked so. TooMany, HTTPException 429: not now."""
    desk, owner = site_of(request).research, owner_of(request)
    desk.check(asked, owner)
    _spend(request)
    return desk.begin(asked, Owner(owner.person, "" if owner.person is not None else owner.browser))


def whole(request: Request, run: KeptRun, node: str) -> dict[str, Any]:
    """All that the templates of a run know."""
    desk = site_of(request).research
    return known_of(desk, run, desk.state(run.key), node) | {"mine": run.is_of(owner_of(request))}


def known_of(desk: Desk, run: KeptRun, state: RunState, node: str) -> dict[str, Any]:
    """What does not depend on who looks. `after` is the last event that is shown."""
    job, views, found = desk.job(run.key), views_of(desk.site, run), researched(state)
    live = job is not None or run.status == "running"
    chosen = node if node in state.graph.nodes and node != RESPONSE else ROOT
    return {
        "run": run,
        "state": state,
        "after": state.last,
        "live": live,
        "here": job is not None,
        "waits": job is not None and job.state == "waiting",
        "ahead": desk.site.jobs.ahead(job) if job is not None else 0,
        "working": job.progress.text if job is not None else "",
        "ended": ended(run, state, desk.failure(run.key)) if not live else "",
        "counted": counted(state),
        "question": state.question or run.question,
        "drawing": drawn(state.graph, selected=chosen),
        "outline": outline(state.graph),
        "panel": views.panel(state, chosen),
        "written": views.written(state.answer, state, "a"),
        "sources": views.sources(state, found.numbers),
        "missing": found.missing if not live else (),
        "unsupported": found.unsupported,
        "local": is_local(desk.site.models),
        "writable": desk.site.options.writable,
        "node_query": node_query,
    }


def ended(run: KeptRun, state: RunState, failure: str) -> str:
    """How a run ended, for people."""
    if run.status == "waiting":
        return failure or "It waited when the server was stopped, and did not begin."
    if state.done is None:
        return "Broken off: the process that did it is no more. What it had found is kept."
    said = ENDED[state.done.get("stopped_by") or ""]
    why = next(iter(reversed(state.errors)), "") if state.done.get("stopped_by") in ("error", "model") else ""
    return f"{said}. {why}" if why else said


def views_of(site: Site, run: KeptRun) -> Views:
    """Views that know the library's documents, where the run may cite some."""
    if not site.has_library or not any(one.startswith("library") for one in run.options.get("sources", ())):
        return Views()
    held: dict[str, str | None] = {}

    def known(ids: Sequence[str]) -> Mapping[str, str]:
        new = [one for one in ids if one not in held]
        entries = site.library.entries(new) if new else {}
        held.update({one: entries[one].revision if one in entries else None for one in new})
        return {one: revision for one in ids if (revision := held[one]) is not None}

    return Views(known)


def node_query(name: str) -> str:
    """The part of an address that names a node."""
    from urllib.parse import quote

    return f"?node={quote(name, safe='')}"


def number(given: str, what: str) -> int:
    """A whole number of a form. InputError: it is none."""
    if not given.strip():
        return 10**6  # as much as the site allows
    if not given.strip().isdecimal() or not 1 <= len(given.strip()) <= 6:
        raise InputError(f"The {what} got {given[:20]!r}; give a whole number.")
    return int(given)


def _own(request: Request, key: str, *, changing: bool = True) -> Desk:
    """The desk, for the owner of a run; `changing`: what takes the machine's time."""
    site = site_of(request)
    if changing:
        require_writable(site)
    site.research.own(key, owner_of(request))
    return site.research


def _spend(request: Request) -> None:
    """TooMany: this person, or this address, asks too often."""
    site, owner = site_of(request), owner_of(request)
    limit = Limit(name="research", most=site.research.settings.per_hour, seconds=HOUR_S, what="runs were begun by you")
    who = f"person {owner.person}" if owner.person is not None else address_of(request, site.options.trusted_proxies)
    take(site.database, limit, who)


def _form(request: Request, given: Mapping[str, Any]) -> Response:
    site = site_of(request)
    desk, owner = site.research, owner_of(request)
    most = desk.settings
    listed = Owner(owner.person, "" if owner.person is not None else owner.browser)
    known = {
        "question": "",
        "chosen": (),
        "minutes": str(max(1, min(5, most.seconds // 60))),
        "pages": str(min(40, most.pages)),
        "wrong": "",
        "offered": desk.offered(),
        "most": most,
        "model": site.models.name,
        "local": is_local(site.models),
        "lacking": lacking(site.models),
        "runs": [(run, _listed_as(desk, run)) for run in desk.runs.listed(listed, limit=LISTED)],
    }
    return page(
        request, "research/research.html", known | dict(given), status=400 if given.get("wrong") else 200,
        headers=private(),
    )  # fmt: skip


def _listed_as(desk: Desk, run: KeptRun) -> str:
    """A run's state in the list."""
    if (job := desk.job(run.key)) is not None:
        return "waits" if job.state == "waiting" else "goes on"
    if run.status == "done":
        return ENDED[run.stopped_by or ""]
    return {"running": "goes on elsewhere", "waiting": "did not begin", "broken": "broken off"}[run.status]


def rendered(template: str, known: Mapping[str, Any], request: Request) -> str:
    """A part of the page, for a stream."""
    return environment.get_template(template).render(dict(known) | {"token": token_of(request)})
