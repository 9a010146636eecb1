"""The tools at /mcp of a served site, by the protocol's streamable HTTP.

    mount(app, changes=False)          # before the app is started

Whoever asks is somebody by a token, as below /api/ (web/signed_in.py), and takes from the same limit. Sessions that
the older protocol opens belong to whom they were opened by, end after half an hour of silence, and are counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from foveal.agents.server import make_server
from foveal.agents.site import SiteDesk
from foveal.papers.accounts import Person
from foveal.web.request_limits import limited
from foveal.web.signed_in import TOOLS, ours, signed_in

MOST_SESSIONS = 1000
"""Open at a time."""


def mount(app: FastAPI, *, changes: bool) -> SiteDesk:
    """Offer the tools at /mcp; with `changes`, adding and removing, too, by whom the site lets."""
    desk = SiteDesk(app, changes)
    manager = StreamableHTTPSessionManager(make_server(desk), max_sessions=MOST_SESSIONS)
    app.router.routes.insert(0, Route(TOOLS, _Door(manager), include_in_schema=False))
    before = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(of: Any) -> AsyncIterator[Any]:
        async with before(of) as state, manager.run():
            try:
                yield state
            finally:
                await to_thread.run_sync(desk.threads.close)

    app.router.lifespan_context = lifespan
    return desk


class _Door:
    """ASGI: who asks, and whether they asked too often; then the protocol."""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """HTTPException 401, 403, 429: the app answers."""
        person = await to_thread.run_sync(_let_in, Request(scope))
        if person is not None:  # a session is its person's
            known = AccessToken(token="", client_id=f"person {person.id}", scopes=[])
            scope["user"] = AuthenticatedUser(known)
        await self._manager.handle_request(scope, receive, send)


def _let_in(request: Request) -> Person | None:
    ours(request)
    limited("api")(request)
    return signed_in(request)
