"""Research: a question that no single page answers, its graph as it grows, the answer with its sources.

GET  /research                        the form, and earlier runs
POST /research                        begins a run, and leads to its page
GET  /research/{key}?node=NAME        the run, and one node of it; live by research_streams.py
GET  /research/{key}?cite=c1-2        a report, and one mark of it (report_views.py)
GET  /research/{key}/panel?node=NAME  the node, or the mark, alone, for HTMX; so is /answer
GET  /research/report.css             the looks of reports
POST /research/{key}/…                cancel, now (answer from what was found), go-on, edit (a node), share, remove;
                                      what a run waits for is said by research_scope.py
GET  /research/{key}/export/{form}    trace, mermaid, markdown, json; of a report: those of research/report_exports.py

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
from foveal.research.mermaid import to_mermaid
from foveal.research.report_runs import MODES, PLANNERS, ReportAsk, report_of
from foveal.research.runs import KeptRun, Owner
from foveal.research.state import RunState
from foveal.research.traces import text_of
from foveal.research.watches import Watches
from foveal.web.limits import address_of
from foveal.web.models import is_local
from foveal.web.pages import environment, page
from foveal.web.report_views import report_file, styles
from foveal.web.request_limits import sharing
from foveal.web.research_desk import Desk, lacking, sources_named
from foveal.web.research_parts import known_of, node_query
from foveal.web.research_views import ENDED
from foveal.web.research_work import Asked
from foveal.web.rights import Needs, may
from foveal.web.safety import COOKIE, guarded, token_of
from foveal.web.signed_in import hash_of, private, signed_in
from foveal.web.site import site_of
from foveal.web.small_forms import SmallForms, Text

LISTED = 20
HOUR_S = 3600.0

router = APIRouter(include_in_schema=False, route_class=SmallForms)
writes = [Depends(guarded)]
costs = [*writes, Depends(Needs("research"))]


@router.get("/research")
def research(request: Request, q: str = "") -> Response:
    """The form, and the runs of whoever looks."""
    return _form(request, {"question": q})


@router.post("/research", dependencies=costs)
def begin(
    request: Request,
    question: Text = "",
    source: Annotated[Sequence[str], Form()] = (),
    minutes: Text = "",
    pages: Text = "",
    kind: Text = "answer",
    mode: Text = "normal",
    planner: Text = "auto",
    ask: Text = "",
) -> Response:
    """Begin a run; `kind` is answer or report, and with `ask` a report's brief is shown before it begins."""
    site = site_of(request)
    try:
        budget = Budget(seconds=60 * number(minutes, "minutes"), pages=number(pages, "pages"))
        report = ReportAsk(mode=mode, planner=planner, attended=bool(ask)) if kind == "report" else None
        asked = Asked(question.strip(), sources_named(source, site.research), budget, report=report)
        key = begun(request, asked)
    except InputError as error:
        given = {"question": question, "chosen": source, "minutes": minutes, "pages": pages, "wrong": site.told(error)}
        return _form(request, given | {"kind": kind, "mode": mode, "planner": planner, "ask": ask})
    return RedirectResponse(f"/research/{key}", 303)


@router.get("/research/report.css")
def report_style() -> Response:
    """How reports look."""
    return styles()


@router.get("/research/{key}")
def run_page(request: Request, key: str, node: str = "", cite: str = "") -> Response:
    """A run as it is now."""
    return _part(request, key, "run.html", "report.html", cite or node)


@router.get("/research/{key}/panel")
def panel(request: Request, key: str, node: str = "", cite: str = "") -> Response:
    """One node, or one mark."""
    return _part(request, key, "_panel.html", "_report_panel.html", cite or node)


@router.get("/research/{key}/answer")
def answer(request: Request, key: str) -> Response:
    """The answer, or the report, so far."""
    return _part(request, key, "_answer.html", "_report_body.html", "")


@router.post("/research/{key}/cancel", dependencies=writes)
def cancel(request: Request, key: str) -> Response:
    """Stop it."""
    desk = own_desk(request, key)
    desk.cancel(key)
    return RedirectResponse(f"/research/{key}", 303)


@router.post("/research/{key}/now", dependencies=costs)
def answer_now(request: Request, key: str) -> Response:
    """Answer from what was found."""
    desk = own_desk(request, key)
    desk.answer_now(key)
    return RedirectResponse(f"/research/{key}", 303)


@router.post("/research/{key}/go-on", dependencies=costs)
def go_on(request: Request, key: str) -> Response:
    """Go on where it was broken off."""
    desk = own_desk(request, key)
    _spend(request)
    desk.go_on(key, owner_of(request))
    return RedirectResponse(f"/research/{key}", 303)


@router.post("/research/{key}/edit", dependencies=costs)
def edit(request: Request, key: str, node: Text = "", question: Text = "") -> Response:
    """Give a node another question: it, and what builds on it, are searched anew."""
    desk = own_desk(request, key)
    _spend(request)
    desk.go_on(key, owner_of(request), {node: question.strip()})
    return RedirectResponse(f"/research/{key}{node_query(node)}", 303)


@router.post("/research/{key}/share", dependencies=writes)
def share(request: Request, key: str, shared: Text = "") -> Response:
    """Let others look, or not."""
    desk = own_desk(request, key)
    desk.runs.share(key, shared == "yes")
    return RedirectResponse(f"/research/{key}", 303)


@router.post("/research/{key}/remove", dependencies=writes)
def remove(request: Request, key: str) -> Response:
    """Delete it."""
    desk = own_desk(request, key)
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
    if form != "trace" and (report := report_of(state)) is not None:
        return report_file(report, form)
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


def whole(request: Request, run: KeptRun, chosen: str) -> dict[str, Any]:
    """All that the templates of a run know; `chosen` is what its panel shows."""
    desk = site_of(request).research
    return known_of(desk, run, desk.state(run.key), chosen) | {
        "mine": run.is_of(owner_of(request)),
        "writable": may(request, "research"),
    }


def number(given: str, what: str) -> int:
    """A whole number of a form. InputError: it is none."""
    if not given.strip():
        return 10**6  # as much as the site allows
    if not given.strip().isdecimal() or not 1 <= len(given.strip()) <= 6:
        raise InputError(f"The {what} got {given[:20]!r}; give a whole number.")
    return int(given)


def own_desk(request: Request, key: str) -> Desk:
    """The desk, for the owner of a run."""
    site = site_of(request)
    site.research.own(key, owner_of(request))
    return site.research


def _part(request: Request, key: str, of_answer: str, of_report: str, chosen: str) -> Response:
    """A run's page, or a part of it, by the template for what it is."""
    run = site_of(request).research.run(key, owner_of(request))
    known = whole(request, run, chosen)
    template = of_report if "view" in known else of_answer
    return page(request, f"research/{template}", known, headers=private())


def _spend(request: Request) -> None:
    """TooMany: this person, or this address, asks too often."""
    site, owner = site_of(request), owner_of(request)
    limit = Limit(name="research", most=site.research.settings.per_hour, seconds=HOUR_S, what="runs were begun by you")
    if owner.person is not None:
        take(site.database, limit, f"person {owner.person}")
    else:
        take(site.database, limit.times(sharing(request)), address_of(request, site.options.trusted_proxies))


def _form(request: Request, given: Mapping[str, Any]) -> Response:
    site = site_of(request)
    desk, owner = site.research, owner_of(request)
    most = desk.settings
    listed = Owner(owner.person, "" if owner.person is not None else owner.browser)
    known = {
        "question": "",
        "chosen": (),
        "kind": "answer",
        "mode": "normal",
        "planner": "auto",
        "ask": "yes",
        "modes": MODES,
        "planners": PLANNERS,
        "minutes": str(max(1, min(5, most.seconds // 60))),
        "pages": str(min(40, most.pages)),
        "wrong": "",
        "offered": desk.offered(),
        "most": most,
        "model": site.models.name,
        "local": is_local(site.models),
        "lacking": lacking(site.models),
        "watched": Watches(site.database).listed(owner.person, reports=False) if owner.person is not None else [],
        "runs": [(run, listed_as(desk, run)) for run in desk.runs.listed(listed, limit=LISTED)],
    }
    return page(
        request, "research/research.html", known | dict(given), status=400 if given.get("wrong") else 200,
        headers=private(),
    )  # fmt: skip


def listed_as(desk: Desk, run: KeptRun) -> str:
    """A run's state in the list."""
    if (job := desk.job(run.key) or desk.elsewhere(run)) is not None:
        return "waits" if job.state == "waiting" else "goes on"
    if run.status == "done":
        return ENDED[run.stopped_by] if run.stopped_by else "done"
    return {"running": "goes on elsewhere", "waiting": "did not begin", "broken": "broken off"}[run.status]


def rendered(template: str, known: Mapping[str, Any], request: Request) -> str:
    """A part of the page, for a stream."""
    return environment.get_template(template).render(dict(known) | {"token": token_of(request)})
