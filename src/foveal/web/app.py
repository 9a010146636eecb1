"""`foveal serve`: the app, from its parts.

    app = create_app(Settings.load())                  # for any ASGI server
    create_app(settings, SiteSettings(demo=True))

Routes are modules of this package, each with a `router`: pages of the papers, their API and feeds; the library, reading
and asking. They hold no logic: each calls one function of the layers below and shows what it gives. Routes are plain
functions, which run in threads; what streams is async. An error of ours becomes a page, or JSON where that was asked
for: 400 for input, 403 and 429 for what one may not do (so often), 404 for what is not here, 503 for what cannot be
reached now; 500 for a mistake of ours.
"""

from __future__ import annotations

import errno
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from foveal import __version__
from foveal.errors import FovealError, TooMany
from foveal.papers.mail.postman import Postman
from foveal.papers.mail.signing import dkim_of
from foveal.papers.secrets import secret_of
from foveal.settings import Settings
from foveal.web.admission import Admission
from foveal.web.api_description import described
from foveal.web.closing import closed_by_signals
from foveal.web.collector import settle
from foveal.web.health import HostCheck, samples
from foveal.web.json_errors import as_json, status_of
from foveal.web.measured import Measured, Measures
from foveal.web.models import LocalModels, Models
from foveal.web.other_origins import OtherOrigins
from foveal.web.pages import page
from foveal.web.refused import what_was_sent
from foveal.web.request_limits import uploading
from foveal.web.safety import HEADERS, BodyLimit, BrowserCookie, Headers, HeadOnly, NoNul
from foveal.web.settings import WebSettings, load_web
from foveal.web.signed_in import FOR_PROGRAMS, SignInFirst
from foveal.web.site import DEFAULTS, Site, SiteSettings

ROUTERS: tuple[str, ...] = (
    "login_pages",
    "people_pages",
    "token_pages",
    "collection_pages",
    "vote_routes",
    "mail_pages",
    "mail_settings",
    "discussion_routes",
    "admin_pages",
    "removal_pages",
    "link_routes",
    "desk_pages",
    "feeds",
    "papers_api",
    "collections_api",
    "papers_pages",
    "cards",
    "job_pages",
    "streams",
    "judging",
    "why_pages",
    "library_pages",
    "document_pages",
    "ask_pages",
    "read_pages",
    "source_pages",
    "watch_pages",
    "research_pages",
    "research_scope",
    "research_streams",
    "research_api",
    "library_api",
    "chat_protocol",
    "embeddings",
    "health",
    "paper_page",
)
"""Modules of this package that have a `router`; the first that takes an address answers, so paper_page goes last."""

STATIC = Path(__file__).with_name("static")

SPARE_THREADS = 10
"""Threads beside those that make pages and search: for forms, streams and other servers that are waited for."""

FULL_S = 600
"""Seconds after which to come again where the disk is full."""

AWAY_S = 10
"""Seconds after which to come again where something that we need is away."""

UNREAD = "There was an error parsing the body"
UNREADABLE = (
    "The body cannot be read. It needs JSON in UTF-8, and neither numbers of thousands of digits nor as many brackets."
)
"""What stands, for programs, in the place of what FastAPI says of a body."""

NO_BODY = "This needs a body: a JSON object, sent with the header Content-Type: application/json."

logger = logging.getLogger("foveal.web")


def create_app(
    settings: Settings,
    options: SiteSettings = DEFAULTS,
    *,
    models: Models | None = None,
    web: WebSettings | None = None,
) -> FastAPI:
    """The app over one home; `models` read and answer (default: a model of this machine), `web` is the home's own."""
    app = FastAPI(title=options.title, version=__version__, lifespan=_lifespan, docs_url=None, redoc_url=None)
    web = web or load_web(settings)
    writers = options.writers or web.writers or "anyone"
    options = replace(options, trusted_proxies=(*options.trusted_proxies, *web.proxies), writers=writers)
    local = LocalModels(cache=settings.cache, kept_mb=web.memory_mb)
    app.openapi = lambda: described(app)  # type: ignore[method-assign]
    app.state.site = Site(settings, options, models or local, web=web)
    app.state.measures, app.state.gates = Measures(), {}
    app.state.measures.collect(lambda: samples(app.state.site, app.state.gates))
    use_mail(app.state.site)
    app.state.secret = secret_of(settings.home)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.router.routes.extend(_routes())
    app.add_exception_handler(FovealError, _our_error)
    app.add_exception_handler(SQLAlchemyError, _database_error)
    app.add_exception_handler(OSError, _disk_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _wrong_parameter)
    app.add_exception_handler(Exception, _unforeseen)
    app.add_middleware(BrowserCookie)
    app.add_middleware(NoNul, told=_told)
    app.add_middleware(BodyLimit, most=options.max_upload_mb * 2**20, told=_told)
    app.add_middleware(Admission, settings=web, gates=app.state.gates, asked_by=uploading)
    app.add_middleware(HostCheck, allowed_hosts=options.hosts)
    if web.origins:
        app.add_middleware(OtherOrigins, allowed=web.origins)
    app.add_middleware(Headers)
    app.add_middleware(HeadOnly)
    app.add_middleware(Measured, measures=app.state.measures, log=web.log == "json")
    return app


@cache
def _routes() -> list[BaseRoute]:
    """All routes of the site, in their order; of one process, as each app with its own takes half a second more.

    FastAPI's `dependency_overrides` of one app do not reach them.
    """
    whole = APIRouter()
    for name in ROUTERS:
        whole.include_router(import_module(f"foveal.web.{name}").router)
    return whole.routes


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    site: Site = app.state.site
    web = site.web
    to_thread.current_default_thread_limiter().total_tokens = (
        web.pages_at_once + 2 * web.searches_at_once + SPARE_THREADS
    )
    settle()
    if site.jobs.keeping is not None:
        site.jobs.keeping.begin()
    with closed_by_signals(site.jobs.close):
        yield
    gc.unfreeze()
    if isinstance(site.deliver, Postman):
        site.deliver.close()
    site.close()


def use_mail(site: Site) -> None:
    """Let the site's single mails go out, where its home says how. InputError: what it says is not whole."""
    if site.mail is not None:
        home = site.settings.home
        site.deliver = Postman(home, site.mail, dkim=dkim_of(site.mail, home))


def _our_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FovealError)
    status = status_of(error)
    if status == 503:
        logger.warning("%s %s: %s", request.method, request.url.path, error)
    after = error.retry_after if isinstance(error, TooMany) else AWAY_S if status == 503 else None
    headers = None if after is None else {"retry-after": str(after)}
    return _told(request, status, request.app.state.site.told(error), headers)


def _database_error(request: Request, error: Exception) -> Response:
    """What the database cannot do now, another try may; what it can never do is a mistake of ours."""
    if not isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        raise error
    logger.warning("%s %s: the database is away: %s", request.method, request.url.path, error)
    said = "The database cannot be used just now. Nothing was changed; come again in a moment."
    return _told(request, 503, said, {"retry-after": str(AWAY_S)})


def _disk_error(request: Request, error: Exception) -> Response:
    """A disk without room is nobody's mistake here; what was sent is not kept."""
    assert isinstance(error, OSError)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    logger.error("%s %s: %s", request.method, request.url.path, error)
    return _told(request, 503, "The server has no room left for this. Nothing was kept.", {"retry-after": str(FULL_S)})


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: "There is no such page here.", 405: "This page does not take such a request."}
    detail = error.detail if error.detail and error.detail not in ("Not Found", "Method Not Allowed") else None
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if request.url.path.startswith(FOR_PROGRAMS):
        said[404] = "There is no such call here. /api lists those that there are."
        detail = UNREADABLE if detail == UNREAD else detail
    if error.status_code == 405:  # each route knows only of itself
        headers["allow"] = ", ".join(sorted(_methods(request)))
        said[405] = f"This address takes {headers['allow']}, and not {request.method}."
    message = detail or said.get(error.status_code, "This did not work.")
    param = getattr(error, "param", None)
    return _told(
        request, error.status_code, message, headers, param=param, sign_in_first=isinstance(error, SignInFirst)
    )


def _methods(request: Request) -> set[str]:
    """What the address of a request takes."""
    ours = (route for name in ROUTERS for route in import_module(f"foveal.web.{name}").router.routes)
    return {method for route in ours if route.matches(request.scope)[0] is not Match.NONE for method in route.methods}


def _wrong_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _told(request, 400, f"The body is no JSON: {first['ctx']['error']}.")
    name = ".".join(str(part) for part in first["loc"][1:])
    if first["loc"] == ("body",):
        return _told(request, 400, NO_BODY)
    said = f"The parameter {name or 'of this page'} cannot be read: {first['msg']}."
    return _told(request, 400, said, param=name or None)


def _unforeseen(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """A mistake of ours; the server logs it. The answer passes no middleware any more, and gives nothing away."""
    said = "Something that nobody foresaw went wrong. Try it again; the log of the server says more."
    others: dict[str, str] = getattr(request.state, "origin_headers", {})
    if known_as := getattr(request.state, "known_as", ""):
        others = others | {"x-request-id": known_as}
    return _told(request, 500, said, HEADERS | {"cache-control": "no-store"} | others)


def _told(
    request: Request,
    status: int,
    message: str,
    headers: Any = None,
    *,
    param: str | None = None,
    sign_in_first: bool = False,
) -> Response:
    if (refusal := as_json(request, status, message, headers, param)) is not None:
        return refusal
    known = {"status": status, "message": message, "sign_in_first": sign_in_first}
    known |= what_was_sent(request, status, message)
    return page(request, "error.html", known, status=status, headers=headers)
