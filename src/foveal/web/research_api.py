"""Research for programs: begin a run, look at it, stop it; and the reference's own shape.

    POST   /api/research/runs             {"question": "…", "sources": ["papers"], "seconds": 300, "pages": 40};
                                          "report": {"mode": "quick", "planner": "auto"} asks for a report, and
                                          "brief" in it stands in the place of one that is written
    GET    /api/research/runs/{key}       what it adds up to now
    GET    /api/research/runs/{key}/events                  (research_streams.py)
    DELETE /api/research/runs/{key}       stop it
    POST   /api/research/solve            {"inputs": "…" or messages}: server-sent events as MindSearch's server sends
                                          them (research/compat.py); who leaves stops the run

A program is known by its person's token (papers/tokens.py), or else by the cookie that its first answer sets: a run is
its own as a browser's is (research_pages.py).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from foveal.models.characters import scalar
from foveal.research.answers import researched
from foveal.research.budget import Budget
from foveal.research.compat import asked as solve_asked
from foveal.research.compat import message
from foveal.research.deep import MODES
from foveal.research.report import Brief
from foveal.research.report_runs import ReportAsk
from foveal.research.state import RunState
from foveal.web.report_views import is_report
from foveal.web.request_limits import limited
from foveal.web.research_desk import Desk, sources_named
from foveal.web.research_pages import begun, owner_of
from foveal.web.research_streams import followed
from foveal.web.research_work import Asked
from foveal.web.rights import Needs
from foveal.web.safety import COOKIE
from foveal.web.signed_in import ours, private, token_sent
from foveal.web.site import site_of
from foveal.web.small_forms import SmallForms
from foveal.web.streams import ALIVE, HEADERS, Events, refused, while_signed_in

if TYPE_CHECKING:
    from foveal.models.chat import Message

router = APIRouter(prefix="/api/research", route_class=SmallForms, tags=["research"])


class NewReport(BaseModel):
    """That a report is wanted, and of what kind."""

    model_config = ConfigDict(extra="forbid")
    mode: str = "normal"
    planner: str = "auto"
    brief: dict[str, Any] | None = None

    def asked(self, question: str) -> ReportAsk:
        """As a run is asked for. InputError: no such mode, planner or brief."""
        ask = ReportAsk(mode=self.mode, planner=self.planner)
        if self.brief is None:
            return ask
        return replace(ask, brief=Brief.from_row({"goal": question, "words": MODES[ask.mode].words} | self.brief))


class NewRun(BaseModel):
    """What a program asks for."""

    model_config = ConfigDict(extra="forbid")
    question: str = Field(max_length=2000)
    sources: list[str] = Field(default_factory=list, max_length=12)
    tokens: int | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, ge=0)
    pages: int | None = Field(default=None, ge=0)
    report: NewReport | None = None


class NewRunTold(BaseModel):
    """A run that was begun."""

    run: str
    url: str
    events: str = Field(description="Server-sent events, as they come.")
    page: str


class RunNow(BaseModel):
    """What a run adds up to now; beside these fields those of an answer, or a `report`."""

    model_config = ConfigDict(extra="allow")
    run: str
    question: str
    status: str = Field(description="waiting, running, done or broken.")
    last_event: int
    shared: bool


writes = [Depends(ours), Depends(limited("api"))]


@router.post("/runs", status_code=201, response_model=NewRunTold, dependencies=[*writes, Depends(Needs("research"))])
def new_run(request: Request, body: NewRun) -> Response:
    """Begin a run: a question that no single page answers, or with `report` a cited report."""
    site = site_of(request)
    budget = Budget(tokens=body.tokens, seconds=body.seconds, pages=body.pages)
    report = body.report.asked(body.question.strip()) if body.report else None
    sources = sources_named(body.sources, site.research)
    key = begun(request, Asked(body.question.strip(), sources, budget, report=report))
    where = f"/api/research/runs/{key}"
    told = {"run": key, "url": where, "events": f"{where}/events", "page": f"/research/{key}"}
    return _known_again(request, JSONResponse(told, 201, private({"location": where})))


@router.get("/runs/{key}", response_model=RunNow, dependencies=[Depends(limited("api"))])
def one_run(request: Request, key: str) -> Response:
    """What a run adds up to now."""
    desk = site_of(request).research
    run = desk.run(key, owner_of(request))
    job, state = desk.job(key), desk.state(key)
    status = run.status if job is None else "waiting" if job.state == "waiting" else "running"
    told = {"run": key, "status": status, "last_event": state.last, "shared": run.shared}
    found = {"report": state.report} if is_report(run, state) else researched(state).to_json()
    return JSONResponse(told | found | {"question": run.question}, headers=private())


@router.delete("/runs/{key}", status_code=204, dependencies=writes)
def stop(request: Request, key: str) -> Response:
    """Stop a run; what it found stays."""
    desk = site_of(request).research
    desk.own(key, owner_of(request))
    desk.cancel(key)
    return Response(status_code=204)


@router.post("/solve", response_class=Events, dependencies=[*writes, Depends(Needs("research"))])
def solve(request: Request, body: Annotated[dict[str, Any], Body()]) -> Response:
    """Answer {"inputs": "…"}, a question or messages, as MindSearch's own server does; who leaves stops the run."""
    site = site_of(request)
    question, history = solve_asked(body)
    asked = Asked(scalar(question.strip()), sources_named((), site.research), history=tuple(map(_whole, history)))
    key = begun(request, asked)
    return Events(while_signed_in(request, _solved(site.research, key), refused(request)), headers=HEADERS)


async def _solved(desk: Desk, key: str) -> AsyncGenerator[str, None]:
    state = RunState()
    try:
        async for batch in followed(desk, key, 0):
            told = [one for one in (message(state, event) for event in batch) if one is not None]
            yield "".join(f"data: {json.dumps(one, ensure_ascii=False)}\n\n" for one in told) or ALIVE
    finally:
        if state.done is None:
            desk.cancel(key)  # nothing can be awaited here: who asked has gone


def _whole(message: Message) -> Message:
    """A message without halves of characters, which JSON may name and no model reads."""
    return {"role": message["role"], "content": scalar(message["content"])}


def _known_again(request: Request, answer: Response) -> Response:
    """Let a program that has no cookie yet come back to its run."""
    new = getattr(request.state, "browser", "")
    if new and not request.cookies.get(COOKIE) and not token_sent(request):
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, new, max_age=365 * 86_400, secure=secure, httponly=True, samesite="lax")
    return answer
