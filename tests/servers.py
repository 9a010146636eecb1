"""A small web server on this machine for tests: it answers, redirects, drips, hangs, breaks off, or never ends.

    with serving({"/page": page("<p>hello</p>"), "/old": redirect("/page"), "/slow": silent()}) as server:
        fetch(server.url("/page"), settings)
        server.requests          # what was asked, in order: Asked(path, headers)

A route is a function that gets a `Call` (what was asked, and how to answer). Paths without a route answer 404, as does
/robots.txt. `dead_url()` is an address where nothing listens. All of it ends with the block, hanging answers included.
"""

from __future__ import annotations

import gzip
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch

from foveal.text import fetching
from foveal.text.robots import RobotsCache


@dataclass(frozen=True)
class Asked:
    """One request (GET or POST) as it came; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class Call:
    """One request, and the ways to answer it."""

    asked: Asked
    ended: threading.Event
    handler: BaseHTTPRequestHandler

    def start(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send the head of the answer."""
        self.handler.send_response(status)
        for name, value in (headers or {}).items():
            self.handler.send_header(name, value)
        self.handler.end_headers()

    def write(self, data: bytes) -> None:
        """Send bytes at once."""
        self.handler.wfile.write(data)
        self.handler.wfile.flush()

    def raw(self, data: bytes) -> None:
        """Send bytes in the place of an answer's head."""
        self.handler.connection.sendall(data)

    def reset(self) -> None:
        """Break the connection, so that the other side sees a reset."""
        self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.handler.connection.close()


Route = Callable[[Call], None]


@dataclass
class Server:
    """A server at work."""

    port: int
    requests: list[Asked] = field(default_factory=list)

    def url(self, path: str = "/", *, host: str = "127.0.0.1") -> str:
        """The address of `path` here."""
        return f"http://{host}:{self.port}{path}"

    def asked(self, path: str) -> int:
        """How often `path` was asked for."""
        return sum(request.path == path for request in self.requests)


@contextmanager
def serving(routes: Mapping[str, Route]) -> Iterator[Server]:
    """A server with these routes; a route is found by its path, without the query.

    What is known of other servers' robots.txt is set aside: the port may be one that an earlier test's server had.
    """
    ended = threading.Event()
    server: Server

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            server.requests.append(asked)
            route = routes.get(self.path.partition("?")[0], page("not here", status=404))
            with suppress(ConnectionError, ValueError):  # the other side may leave in the middle
                route(Call(asked, ended, self))
            self.close_connection = True

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that goes away is what these tests are about."""

    listening = Quiet(("127.0.0.1", 0), Handler)
    server = Server(listening.server_address[1])
    thread = threading.Thread(target=lambda: listening.serve_forever(poll_interval=0.02))
    thread.start()
    try:
        with patch.object(fetching, "_ROBOTS", RobotsCache()):
            yield server
    finally:
        ended.set()
        listening.shutdown()
        thread.join()
        listening.server_close()


def dead_url() -> str:
    """An address of this machine at which nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}/"


def page(
    body: str | bytes, media_type: str = "text/html; charset=utf-8", *, status: int = 200, **headers: str
) -> Route:
    """A whole answer; `headers` are named with underscores."""
    data = body.encode() if isinstance(body, str) else body
    sent = {"Content-Type": media_type, "Content-Length": str(len(data))}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}

    def route(call: Call) -> None:
        call.start(status, sent)
        call.write(data)

    return route


def gzipped(body: bytes, media_type: str = "text/plain") -> Route:
    """An answer packed with gzip."""
    return page(gzip.compress(body), media_type, Content_Encoding="gzip")


def redirect(to: str, status: int = 302) -> Route:
    """Sends the client to `to`."""
    return page("", status=status, Location=to)


def silent() -> Route:
    """Takes the request and never answers."""
    return lambda call: call.ended.wait() and None


def dripping(every_s: float = 0.02, *, head: bool = False) -> Route:
    """Sends a byte at a time, without end: of the body, or already of the head."""

    def route(call: Call) -> None:
        if head:
            call.raw(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        else:
            call.start(200, {"Content-Type": "text/plain"})
        while not call.ended.wait(every_s):
            call.raw(b"x") if head else call.write(b"x")

    return route


def endless(chunk: bytes = b"word " * 4096) -> Route:
    """A body that goes on as fast as the client takes it."""

    def route(call: Call) -> None:
        call.start(200, {"Content-Type": "text/plain"})
        while not call.ended.is_set():
            call.write(chunk)

    return route


def broken() -> Route:
    """Resets the connection in the place of an answer."""
    return lambda call: call.reset()


def in_turn(*routes: Route) -> Route:
    """A route for each request, in order; the last one stays."""
    left = list(routes)
    return lambda call: (left.pop(0) if len(left) > 1 else left[0])(call)
