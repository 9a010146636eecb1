"""What an operator measures of a running app, as Prometheus reads it: requests, their times, jobs, queues, memory.

    measures = Measures()
    measures.collect(lambda: …)        # gauges that are looked up when they are asked for
    measures.text()

One registry for each app: two in one process do not add up. Labels hold routes, never addresses, so that no token of a
link, no question and no person's name is among them, and their number stays small. Beside Prometheus's own client there
is nothing: each process of a site is scraped by itself.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foveal.registry import require
from foveal.web.other_origins import is_for_programs
from foveal.web.tracing import traced

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds."""

Sample = tuple[str, str, dict[str, str], float]
"""Name, what it says, labels, value."""

logger = logging.getLogger("foveal.web.requests")


class Measures:
    """The measures of one app."""

    def __init__(self) -> None:
        """MissingExtra: there is no Prometheus client."""
        client = require("prometheus_client", extra="web")
        self._client = client
        self.registry = client.CollectorRegistry()
        client.ProcessCollector(registry=self.registry)
        client.GCCollector(registry=self.registry)
        self.requests = client.Counter(
            "foveal_requests", "Requests that were answered.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = client.Histogram(
            "foveal_request_seconds",
            "Seconds until an answer began.",
            ("route",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.open = client.Gauge("foveal_requests_open", "Requests that are being answered.", registry=self.registry)

    def collect(self, looked_up: Callable[[], Iterable[Sample]]) -> None:
        """Add gauges whose values are looked up at each scrape."""
        self.registry.register(_LookedUp(looked_up))

    def text(self) -> bytes:
        """All of it, in the text format."""
        found: bytes = self._client.generate_latest(self.registry)
        return found

    @property
    def media_type(self) -> str:
        """Of the text format."""
        return str(self._client.CONTENT_TYPE_LATEST)


class _LookedUp:
    """A collector: Prometheus's client calls `collect`."""

    def __init__(self, looked_up: Callable[[], Iterable[Sample]]) -> None:
        self.looked_up = looked_up

    def describe(self) -> list[Any]:
        """Nothing is looked up just to know the names."""
        return []

    def collect(self) -> Iterable[Any]:
        """The families as they are now."""
        core = require("prometheus_client.core", extra="web")
        families: dict[str, Any] = {}
        for name, said, labels, value in self.looked_up():
            family = families.setdefault(name, core.GaugeMetricFamily(name, said, labels=list(labels)))
            family.add_metric(list(labels.values()), value)
        return families.values()


class Measured:
    """ASGI middleware: counts and times each request; says it in the log and as a span, where that is wanted.

    A program learns in X-Request-Id by what the log knows its call.
    """

    def __init__(self, app: ASGIApp, *, measures: Measures, log: bool) -> None:
        self.app = app
        self.measures = measures
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and measure."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500
        answered, known_as = 0.0, secrets.token_hex(8)
        program = is_for_programs(scope["path"])
        if program:
            scope.setdefault("state", {})["known_as"] = known_as

        async def sending(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], time.perf_counter() - begun
                if program:
                    MutableHeaders(scope=message)["x-request-id"] = known_as
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self.measures.open.track_inprogress(), traced("request", headers) as span:
            try:
                await self.app(scope, receive, sending)
            finally:
                route, method = route_of(scope), _method(scope["method"])
                seconds = answered or time.perf_counter() - begun
                self.measures.requests.labels(method, route, str(status)).inc()
                self.measures.seconds.labels(route).observe(seconds)
                if span is not None:
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.response.status_code", status)
                if self.log:
                    told = {"id": known_as, "method": method, "route": route, "status": status}
                    told["ms"] = round(1000 * seconds, 1)
                    logger.info("%s %s %d", method, route, status, extra={"told": told})


def route_of(scope: Scope) -> str:
    """The route that took a request, as it was declared: "/papers/{which}"; "none" where none did."""
    route = scope.get("route")
    path = getattr(route, "path", "")
    if path:
        return str(path)
    return "/static" if str(scope["path"]).startswith("/static/") else "none"


def _method(method: str) -> str:
    """The method; one that nobody knows would be a label of its own."""
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
