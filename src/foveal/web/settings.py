"""How the web app runs, beyond what it shows: table [web] of foveal.toml, or FOVEAL_WEB_<NAME>.

[web]
log = "json"
memory_mb = 1024
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING

from foveal.errors import InputError, UnknownName
from foveal.papers.rate_limits import network_of
from foveal.registry import METHODS
from foveal.web.other_origins import ANY, checked_origin

if TYPE_CHECKING:
    from foveal.settings import Settings

LOGS = ("text", "json")

WRITERS = ("nobody", "members", "anyone")
"""Who may add, ask and remove: see rights.py."""

ATTENTION = ("auto", *METHODS)
"""What `attention` may be: the choice by length, or a method by name."""


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """What an operator chooses; the defaults suit one machine."""

    writers: str = ""  # who may add, ask and remove: one of WRITERS; "": anyone on this machine alone, else nobody
    log: str = "text"  # or "json": an object a line, one for each request, too
    traces: bool = False  # OpenTelemetry, to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names (foveal[traces])
    metrics_token: str = ""  # whoever sends it as a bearer token may read /metrics; without one this machine alone
    memory_mb: int = 512  # what the model has read, kept for prompts that begin alike; prompts and documents of all
    attention: str = "auto"  # how windows attend to themselves when they are read: by their length, or a method's name
    window: int = 768  # tokens of a document that are read at once; a method may begin at more (docs/attention.md)
    pages_at_once: int = 6  # pages that are made side by side: they share one interpreter
    pages_waiting: int = 256  # more are refused with 503
    searches_at_once: int = 2  # searches, which keep the processor busy
    searches_waiting: int = 128
    ranking_s: int = field(default=20, metadata={"least": 0})  # for a search of a stranger by a ranker; 0: any time
    streams: int = 1000  # open at a time: each is a page that looks on at a job
    patience_s: int = 15  # seconds that a request waits for its turn before it is refused
    answers_at_once: int = 4  # questions that a server's model is asked side by side
    trusted_proxies: str = ""  # "10.0.0.7, 10.1.0.0/16": whose X-Forwarded-For and -Proto are believed
    shared_addresses: str = ""  # "203.0.113.7, 10.0.0.0/8": where many people come from, as from an office
    allowed_origins: str = ""  # "https://chat.example.org": pages of other sites that may call the API; "*": all

    def __post_init__(self) -> None:
        """InputError: a way of logging, or of attending, that is none, or a number out of its range."""
        checked_writers(self.writers)
        if self.log not in LOGS:
            raise InputError(f"[web] log got {self.log!r}. There are: {', '.join(LOGS)}.")
        if self.attention not in ATTENTION:
            raise UnknownName(
                f"A site reads by no attention called {self.attention!r}. There are: {', '.join(ATTENTION)} "
                "(docs/attention.md)."
            )
        if ANY in self.origins and len(self.origins) > 1:
            raise InputError("[web] allowed_origins got * and others beside it; * is every page there is: leave one.")
        if self.window < 64:
            raise InputError(f"[web] window got {self.window}; a document is read by 64 tokens at once, or more.")
        if self.ranking_s < 0:
            raise InputError(f"[web] ranking_s got {self.ranking_s}; it needs seconds, or 0 for as long as it takes.")
        for name, given in (("trusted_proxies", self.proxies), ("shared_addresses", self.shared)):
            for one in given:
                try:
                    ip_network(one)
                except ValueError:
                    raise InputError(
                        f"[web] {name} got {one!r}; it needs addresses or networks: '10.0.0.7, 10.1.0.0/16'."
                    ) from None

    @property
    def proxies(self) -> tuple[str, ...]:
        """The addresses and networks of `trusted_proxies`."""
        return _listed(self.trusted_proxies)

    @property
    def shared(self) -> tuple[str, ...]:
        """The addresses and networks of `shared_addresses`; of IPv6 at least the network of one house."""
        return tuple(network_of(one) for one in _listed(self.shared_addresses))

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of `allowed_origins`, as browsers write them. InputError: one is none."""
        return tuple(map(checked_origin, _listed(self.allowed_origins)))


def checked_writers(writers: str) -> str:
    """Who may write. UnknownName: there is no such rule."""
    if writers not in ("", *WRITERS):
        raise UnknownName(f"writers got {writers[:40]!r}. There are: {', '.join(WRITERS)}.")
    return writers


def load_web(settings: Settings) -> WebSettings:
    """The settings of a home."""
    from foveal.settings import load_part

    return load_part("web", WebSettings, settings.home)


def _listed(given: str) -> tuple[str, ...]:
    return tuple(one for part in given.split(",") if (one := part.strip()))
