"""Who may come in now: each kind of request has its room and a queue that ends; beyond it the answer is 503, at once.

    kind      what                                                      room
    page      what is made from the database                            settings.pages_at_once, pages_waiting
    search    what keeps the processor busy: searches, papers alike     settings.searches_at_once, searches_waiting
    rank      searches whose finds a ranker orders, maybe for minutes,  settings.searches_at_once, RANKED_WAITING
              and vectors of many texts: what needs none does not wait
              for them
    fetch     papers that are submitted: another server is asked        FETCHES, FETCHES_WAITING
    write     forms, once they have come whole                          WRITES, WRITES_WAITING
    upload    files, from their first byte: they lie on the disk        UPLOADS, of one address UPLOADS_OF_ONE
    stream    server-sent events, open as long as a page is; answers    settings.streams
              that a chat client waits for
    free      /health, /ready, /metrics, static files                   any number

Why         Without this, requests that come faster than they are answered pile up: each waits longer, those that nobody
            waits for any more are worked through all the same, and the memory grows
Refused     503 with Retry-After, in a fraction of a millisecond: when the queue is full, or a turn does not come within
            `patience_s`. Retry-After is what the queue takes at the pace of the last answers
Turns       first come, first served. A turn ends when the answer begins: who reads slowly holds no room, nor does who
            sends a form slowly
Slow        a body that takes longer than `SLOW_S`, and more than a second for each `SLOWEST` bytes (of an upload, which
            holds its room meanwhile, `SLOWEST_UPLOAD`), ends in 408
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foveal.web.json_errors import as_json
from foveal.web.settings import WebSettings

WRITES, WRITES_WAITING = 6, 256
UPLOADS, UPLOADS_OF_ONE = 16, 4

FETCHES, FETCHES_WAITING = 2, 8
"""Requests that wait for another server, and those that wait for these."""

SLOW_S, SLOWEST, SLOWEST_UPLOAD = 20.0, 4096, 32 * 1024

UPLOAD_AGAIN_S = 20
"""Seconds after which to come again with one more upload."""

RANKED_WAITING = 8
"""Searches that wait for others that a ranker orders."""

LONGEST_WAIT_S = 60
"""The most that Retry-After says."""

FREE = ("/static/", "/health", "/ready", "/metrics")

SEARCHED = ("/following", "/topics/", "/feed/q/", "/feed/topic/")
"""Where lists begin that are searched for."""

CHAT = "/v1/chat/completions"
"""Where an answer is waited for, streamed or not: nothing else may wait behind it."""

VECTORS = "/v1/embeddings"
"""Where many texts may be made vectors at once."""

UPLOADED = ("/library/add", "/api/library/files")
"""Where files are sent to."""

ASKED = ("/papers", "/library", "/api/papers", "/api/library/search")
"""Pages that search where they are asked something."""

PACE = 0.1
"""Weight of the last answer in the mean time of a turn."""


class Refused(Exception):
    """No room; come again in `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"no room for {seconds} s")
        self.seconds = seconds


@dataclass
class Gate:
    """The room of one kind of request, in one event loop."""

    room: int
    waiting: int
    patience_s: float
    inside: int = 0
    mean_s: float = 0.05  # of a turn
    refused: int = 0
    _queue: deque[asyncio.Future[None]] = field(default_factory=deque)

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._queue)

    async def enter(self) -> None:
        """Wait for a turn. Refused: there will be none soon."""
        if self.inside < self.room:
            self.inside += 1
            return
        if len(self._queue) >= self.waiting:
            raise self._refusal()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await asyncio.wait_for(asyncio.shield(turn), self.patience_s)
        except TimeoutError:
            if turn.done():  # it came just now
                return
            self._queue.remove(turn)
            raise self._refusal() from None
        except asyncio.CancelledError:  # whoever asked has gone
            if turn.done():
                self._pass_on()
            else:
                self._queue.remove(turn)
            raise

    def leave(self, seconds: float) -> None:
        """The turn is over, and took so long."""
        self.mean_s += PACE * (seconds - self.mean_s)
        self._pass_on()

    def _pass_on(self) -> None:
        if self._queue:
            self._queue.popleft().set_result(None)
        else:
            self.inside -= 1

    def _refusal(self) -> Refused:
        self.refused += 1
        return Refused(min(LONGEST_WAIT_S, max(1, math.ceil(len(self._queue) * self.mean_s / self.room))))


class Admission:
    """ASGI middleware: lets requests in, kind by kind."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: WebSettings,
        gates: dict[str, Gate],
        asked_by: Callable[[Request], str] = lambda _: "",
    ) -> None:
        self.app = app
        self.gates = gates
        self.asked_by = asked_by  # whose uploads count together; "" does not count
        self._uploads = Counter[str]()  # that come now, by address
        gates |= gates_of(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on in turn, or refuse."""
        kind = kind_of(scope) if scope["type"] == "http" else "free"
        gate = self.gates.get(kind)
        if gate is None:
            await self.app(scope, receive, send)
            return
        if kind == "upload" and (address := self.asked_by(Request(scope))):
            await self._uploaded(address, gate, scope, receive, send)
            return
        await self._in_turn(kind, gate, scope, receive, send)

    async def _uploaded(self, address: str, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        """An upload of somebody who may have a few under way: they hold their room as long as they come."""
        if self._uploads[address] >= UPLOADS_OF_ONE:
            told = f"{UPLOADS_OF_ONE} uploads of yours are under way already. Send this once one of them is done."
            await refusal(Request(scope), UPLOAD_AGAIN_S, told, 429)(scope, receive, send)
            return
        self._uploads[address] += 1
        try:
            await self._in_turn("upload", gate, scope, receive, send)
        finally:
            self._uploads[address] -= 1
            if not self._uploads[address]:
                del self._uploads[address]

    async def _in_turn(self, kind: str, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        late = kind in ("write", "fetch", "rank") and scope["method"] not in ("GET", "HEAD")
        try:
            if not late:
                await gate.enter()
        except Refused as refused:
            await refusal(Request(scope), refused.seconds)(scope, receive, send)
            return
        turn = _Turn(gate, kind == "stream", inside=not late, slowest=SLOWEST_UPLOAD if kind == "upload" else SLOWEST)
        if scope["method"] not in ("GET", "HEAD"):
            receive = turn.receiving(receive)
        try:
            await self.app(scope, receive, turn.sending(send))
        finally:
            turn.end()


@dataclass
class _Turn:
    """One request; its turn begins, and ends, once."""

    gate: Gate
    whole: bool  # until the last byte, not the first
    inside: bool  # or only once its body has come
    slowest: int  # bytes of a body a second
    begun: float = field(default_factory=time.perf_counter)

    def sending(self, send: Send) -> Send:
        """`send`, which ends the turn when the answer begins."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and not self.whole:
                self.end()
            await send(message)

        return sent

    def end(self) -> None:
        """Let the next one in."""
        if self.inside:
            self.inside = False
            self.gate.leave(time.perf_counter() - self.begun)

    def receiving(self, receive: Receive) -> Receive:
        """`receive`, which does not wait for ever for a body; once that is whole, the turn begins.

        What comes after it is only that somebody has gone.
        """
        started, seen, whole = time.perf_counter(), 0, False

        async def received() -> Message:
            nonlocal seen, whole
            if whole:
                return await receive()
            left = started + SLOW_S + seen / self.slowest - time.perf_counter()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, left))
            except TimeoutError:
                raise HTTPException(408, "This comes too slowly. Send the request again.") from None
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if whole and not self.inside and message["type"] == "http.request":
                await self._enter()
            return message

        return received

    async def _enter(self) -> None:
        try:
            await self.gate.enter()
        except Refused as refused:
            raise HTTPException(503, _said(refused.seconds), {"Retry-After": str(refused.seconds)}) from None
        self.inside, self.begun = True, time.perf_counter()


def refusal(request: Request, seconds: int, said: str = "", status: int = 503) -> Response:
    """What somebody gets who cannot come in: made from nothing, since the database has enough to do."""
    said = said or _said(seconds)
    headers = {"retry-after": str(seconds), "cache-control": "no-store"}
    if (told := as_json(request, status, said, headers)) is not None:
        return told
    html = f'<!doctype html><html lang="en"><title>Not now</title><h1>Not now</h1><p>{said}</p></html>'
    return HTMLResponse(html, status, headers)


def _said(seconds: int) -> str:
    return f"The server has more to do than it can just now. Come again in {seconds} s."


def gates_of(settings: WebSettings) -> dict[str, Gate]:
    """The gates of an app."""
    patience = float(settings.patience_s)
    return {
        "page": Gate(settings.pages_at_once, settings.pages_waiting, patience),
        "search": Gate(settings.searches_at_once, settings.searches_waiting, patience),
        "rank": Gate(settings.searches_at_once, RANKED_WAITING, patience),
        "fetch": Gate(FETCHES, FETCHES_WAITING, patience),
        "write": Gate(WRITES, WRITES_WAITING, patience),
        "upload": Gate(UPLOADS, UPLOADS, patience),
        "stream": Gate(settings.streams, 0, patience),
    }


def kind_of(scope: Scope) -> str:
    """The kind of a request, by its method and address."""
    path: str = scope["path"]
    if path == "/papers/submit" and (scope["query_string"] or scope["method"] == "POST"):
        return "fetch"
    if path == "/api/papers" and scope["method"] == "POST":
        return "fetch"
    if path in (CHAT, VECTORS):
        return "stream" if path == CHAT else "rank"
    if scope["method"] not in ("GET", "HEAD"):
        return "upload" if path in UPLOADED else "write"
    if path.startswith(FREE):
        return "free"
    if path.endswith("/events") or path == "/mcp":  # of a session of assistants
        return "stream"
    asked = _named(scope["query_string"])
    searches = path.startswith(SEARCHED) or (path in ASKED and "q" in asked)
    if searches and "rank" in asked:
        return "rank"
    return "search" if searches or path.endswith(("/similar", "/search")) else "page"


def _named(query: bytes) -> set[str]:
    """The names in a query string that have a value, however they are written ("%71=…")."""
    parts = (part.partition("=") for part in query.decode("latin-1").split("&"))
    return {unquote_plus(name) for name, _, value in parts if value}
