"""How the web app runs, beyond what it shows: table [web] of foveal.toml, or FOVEAL_WEB_<NAME>.

[web]
log = "json"
memory_mb = 1024
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

from foveal.errors import InputError, UnknownName
from foveal.registry import METHODS

if TYPE_CHECKING:
    from foveal.settings import Settings

LOGS = ("text", "json")

ATTENTION = ("auto", *METHODS)
"""What `attention` may be: the choice by length, or a method by name."""


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """What an operator chooses; the defaults suit one machine."""

    log: str = "text"  # or "json": an object a line, one for each request, too
    traces: bool = False  # OpenTelemetry, to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names (foveal[traces])
    metrics_token: str = ""  # whoever sends it as a bearer token may read /metrics; without one this machine alone
    memory_mb: int = 512  # what the model has read, kept for prompts that begin alike; prompts and documents of all
    attention: str = "auto"  # how windows attend to themselves when they are read: by their length, or a method's name
    pages_at_once: int = 6  # pages that are made side by side: they share one interpreter
    pages_waiting: int = 256  # more are refused with 503
    searches_at_once: int = 2  # searches, which keep the processor busy
    searches_waiting: int = 128
    ranking_s: int = 20  # seconds that a ranker may take for a search of a stranger; 0: as long as it takes
    streams: int = 1000  # open at a time: each is a page that looks on at a job
    patience_s: int = 15  # seconds that a request waits for its turn before it is refused
    answers_at_once: int = 4  # questions that a server's model is asked side by side
    trusted_proxies: str = ""  # "10.0.0.7, 10.1.0.0/16": whose X-Forwarded-For and -Proto are believed

    def __post_init__(self) -> None:
        """InputError: a way of logging, or of attending, that is none."""
        if self.log not in LOGS:
            raise InputError(f"[web] log got {self.log!r}. There are: {', '.join(LOGS)}.")
        if self.attention not in ATTENTION:
            raise UnknownName(
                f"A site reads by no attention called {self.attention!r}. There are: {', '.join(ATTENTION)} "
                "(docs/attention.md)."
            )
        if self.ranking_s < 0:
            raise InputError(f"[web] ranking_s got {self.ranking_s}; it needs seconds, or 0 for as long as it takes.")
        for one in self.proxies:
            try:
                ip_network(one)
            except ValueError:
                raise InputError(
                    f"[web] trusted_proxies got {one!r}; it needs addresses or networks: '10.0.0.7, 10.1.0.0/16'."
                ) from None

    @property
    def proxies(self) -> tuple[str, ...]:
        """The addresses and networks of `trusted_proxies`."""
        return tuple(one for part in self.trusted_proxies.split(",") if (one := part.strip()))


def load_web(settings: Settings) -> WebSettings:
    """The settings of a home."""
    from foveal.settings import load_part

    return load_part("web", WebSettings, settings.home)
