"""For whoever runs the app: is it alive, may it be sent visitors, what does it do.

GET /health     200 as long as the process answers; asks nobody
GET /ready      200, or 503 with what is missing: database, library, and that the app is not being stopped; which models
                are not here is said, too, and keeps nobody away: pages of papers need none
GET /metrics    Prometheus's text format (measured.py): for this machine, or with the token of [web] metrics_token

They are answered under any name, since what watches an app asks by number, and never wait in a queue.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foveal.errors import FovealError
from foveal.web.measured import Sample
from foveal.web.site import Site, site_of

if TYPE_CHECKING:
    from foveal.models.prefix_cache import PrefixCache
    from foveal.web.admission import Gate

PATHS = ("/health", "/ready", "/metrics")

WITHIN_S = 3.0
"""Seconds that a part may take to say that it is there."""

NO_STORE = {"cache-control": "no-store"}

router = APIRouter(include_in_schema=False)

_asking = ThreadPoolExecutor(4, thread_name_prefix="foveal-ready")
"""Threads of their own: those that make pages may all be busy, which is no reason not to be ready."""


@router.get("/health")
async def health() -> Response:
    """Alive."""
    return JSONResponse({"status": "alive"}, headers=NO_STORE)


@router.get("/ready")
async def ready(request: Request) -> Response:
    """Whether visitors can be sent here."""
    site = site_of(request)
    parts = {"database": _database, "library": _library, "models": _models}
    said = await asyncio.gather(*(_within(look, site) for look in parts.values()))
    found = dict(zip(parts, said, strict=True)) | {"server": "it is being stopped" if site.jobs.closing else "ok"}
    well = all(said in ("ok", "none yet") for part, said in found.items() if part != "models")
    return JSONResponse({"status": "ready" if well else "not ready", **found}, 200 if well else 503, headers=NO_STORE)


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """What Prometheus scrapes."""
    site = site_of(request)
    if not may_measure(request, site.web.metrics_token):
        raise HTTPException(404, "There is no such page here.")
    measures = request.app.state.measures
    return Response(measures.text(), headers=NO_STORE, media_type=measures.media_type)


def may_measure(request: Request, token: str) -> bool:
    """Whether somebody may read the measures: by the token, or from this machine itself and through no proxy."""
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token and hmac.compare_digest(given.encode(), token.encode()):
        return True
    near = (request.client.host if request.client else "") in ("127.0.0.1", "::1", "testclient")
    return near and not token and "x-forwarded-for" not in request.headers and "forwarded" not in request.headers


NOT_OUR_NAME = (
    "This site is not called by that name or address. Whoever runs it adds one with --name, such as: "
    "foveal serve --name papers.example.org\n"
)


class HostCheck:
    """ASGI middleware: only requests that call us by a name of ours, as Starlette finds, and what watches the app."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: Sequence[str]) -> None:
        self.app = app
        self._names = TrustedHostMiddleware(_known, allowed_hosts=allowed_hosts, www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, if the name is ours or does not matter; else say what to do, in a page made from nothing."""
        if scope["type"] == "http" and scope["path"] not in PATHS:
            asked = dict(scope)
            await self._names(asked, receive, _unsaid)
            if not asked.get(KNOWN):
                await PlainTextResponse(NOT_OUR_NAME, 400, NO_STORE)(scope, receive, send)
                return
        await self.app(scope, receive, send)


KNOWN = "foveal.known_host"


async def _known(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    scope[KNOWN] = True


async def _unsaid(message: Message) -> None:
    """Starlette's own answer, which does not say what to do."""


def samples(site: Site, gates: dict[str, Gate]) -> Iterator[Sample]:
    """What is looked up at each scrape."""
    for kind, gate in gates.items():
        yield "foveal_admitted", "Requests that are in.", {"kind": kind}, float(gate.inside)
        yield "foveal_queued", "Requests that wait for their turn.", {"kind": kind}, float(gate.queued)
        yield "foveal_refused", "Requests that were refused since the start.", {"kind": kind}, float(gate.refused)
    lanes: dict[tuple[str, str], int] = {}
    for job in site.jobs.open_jobs():
        lane = job.work.lane.partition(" ")[0]  # without whose it is
        lanes[lane, job.state] = lanes.get((lane, job.state), 0) + 1
    for (lane, state), count in lanes.items():
        yield "foveal_jobs", "Long jobs of this process.", {"lane": lane, "state": state}, float(count)
    kept: PrefixCache | None = getattr(site.models, "kept", None)
    if kept is not None:
        yield "foveal_prefix_bytes", "Bytes of what the model has read and keeps.", {}, float(kept.bytes)
        yield "foveal_prefix_bytes_most", "The most of that.", {}, float(kept.most_bytes)
        yield "foveal_prefix_tokens_read", "Tokens of prompts that were read.", {}, float(kept.missed)
        yield "foveal_prefix_tokens_kept", "Tokens of prompts that need not be read again.", {}, float(kept.found)


async def _within(look: Callable[[Site], str], site: Site) -> str:
    loop = asyncio.get_running_loop()
    try:
        return await asyncio.wait_for(loop.run_in_executor(_asking, look, site), WITHIN_S)
    except TimeoutError:
        return f"it did not answer within {WITHIN_S:.0f} s"
    except (FovealError, SQLAlchemyError, OSError) as error:
        return f"it cannot be used ({type(error).__name__})"


def _database(site: Site) -> str:
    with site.database.reading() as session:
        session.execute(text("SELECT 1"))
    return "ok"


def _library(site: Site) -> str:
    if not site.has_library:
        return "none yet"
    site.library.store.counts()
    return "ok"


def _models(site: Site) -> str:
    from foveal.web.research_desk import lacking

    missing: Any = lacking(site.models)
    return f"not here: {missing}" if missing else "ok"
