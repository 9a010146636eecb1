"""How often one address may ask: token buckets in memory, 429 with Retry-After beyond them.

    wait = limits.wait("search", address_of(request, options.trusted_proxies), 30)      # seconds; 0: go on

A bucket holds a period's worth of requests and fills evenly; what is spent comes back one by one. An address is that of
the connection; behind a proxy that is trusted (SiteSettings.trusted_proxies), the last one in X-Forwarded-For that is
not a proxy's itself. Networks of IPv6 give a house 2^64 addresses: they count as one. Each process counts for itself.
An address that many people share, as an office does ([web] shared_addresses), may do `SHARED` times as much. A program
with a token takes from its person's bucket, wherever it runs. What holds a route to them: `request_limits.py`.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network

from fastapi import Request

from foveal.papers.rate_limits import network_of

MOST_ADDRESSES = 20_000
"""Addresses that are remembered; the one that has been quiet for longest is forgotten."""

SHARED = 50
"""Times as much as one address may do what one may that many people share."""

PERIODS = {"search": 60.0, "rank": 60.0, "api": 3600.0}
"""Seconds in which a bucket fills."""

REQUESTS = {"search": "requests", "rank": "searches that a ranker orders", "api": "requests"}
"""What is counted, for people."""


@dataclass
class Limits:
    """The buckets of one running app; `clock` gives seconds."""

    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[tuple[str, str], tuple[float, float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, kind: str, address: str, allowed: int, many: int = 1) -> float:
        """Take a request from the bucket of an address, or one that counts for `many`, at most for all of it.

        0, or the seconds until there is as much to take.
        """
        wanted = min(many, allowed)
        rate = allowed / PERIODS[kind]
        with self._lock:
            left, at = self._buckets.pop((kind, address), (float(allowed), self.clock()))
            now = self.clock()
            left = min(float(allowed), left + (now - at) * rate)
            taken = left >= wanted
            self._buckets[kind, address] = (left - wanted * taken, now)
            while len(self._buckets) > MOST_ADDRESSES:
                self._buckets.popitem(last=False)
        return 0.0 if taken else (wanted - left) / rate


def address_of(request: Request, trusted: tuple[str, ...]) -> str:
    """Whose bucket a request takes from: its address, of IPv6 the network of one house."""
    return network_of(asked_from(request, trusted))


def people_at(address: str, shared: tuple[str, ...]) -> int:
    """How many people's share an address has, or the network of a house."""
    return SHARED if _is_of(address, shared) else 1


def asked_from(request: Request, trusted: tuple[str, ...]) -> str:
    """Who asks, as far as it can be believed; "" where the connection has no address."""
    address = request.client.host if request.client else ""
    if _is_of(address, trusted):
        told = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]
        address = next((one for one in reversed(told) if not _is_of(one, trusted)), address)
    return address


def _is_of(address: str, trusted: tuple[str, ...]) -> bool:
    """Whether an address, or the network of a house, is one of these, or lies in a network of theirs."""
    networks = [one for one in trusted if "/" in one]
    if not networks or address in trusted:
        return address in trusted
    try:
        own = ip_network(address)
    except ValueError:  # no address at all
        return False
    theirs = [one for one in map(ip_network, networks) if one.version == own.version]
    return any(own.subnet_of(one) for one in theirs)  # type: ignore[arg-type]
