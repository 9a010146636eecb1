"""How often one address may ask: token buckets in memory, 429 with Retry-After beyond them.

    @router.get("/papers", dependencies=[Depends(limited("search"))])

A bucket holds a period's worth of requests and fills evenly; what is spent comes back one by one. An address is that of
the connection; behind a proxy that is trusted (SiteSettings.trusted_proxies), the last one in X-Forwarded-For that is
not a proxy's itself. Networks of IPv6 give a house 2^64 addresses: they count as one. Each process counts for itself.
An address that many people share, as an office does ([web] shared_addresses), may do `SHARED` times as much. A program
with a token takes from its person's bucket, wherever it runs.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network

from fastapi import HTTPException, Request

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

    def wait(self, kind: str, address: str, allowed: int) -> float:
        """Take one request from the bucket of an address: 0, or the seconds until there is one to take."""
        rate = allowed / PERIODS[kind]
        with self._lock:
            left, at = self._buckets.pop((kind, address), (float(allowed), self.clock()))
            now = self.clock()
            left = min(float(allowed), left + (now - at) * rate)
            taken = left >= 1
            self._buckets[kind, address] = (left - taken, now)
            while len(self._buckets) > MOST_ADDRESSES:
                self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - left) / rate


def limited(kind: str) -> Callable[[Request], None]:
    """Dependency of a route: 429 once an address has asked more often than the site allows."""

    def check(request: Request) -> None:
        from foveal.web.signed_in import signed_in, token_sent
        from foveal.web.site import site_of

        site = site_of(request)
        options = site.options
        allowed = {
            "search": options.search_per_minute, "rank": options.ranked_per_minute, "api": options.api_per_hour
        }[kind]  # fmt: skip
        person, unknown = None, None
        try:
            person = signed_in(request) if token_sent(request) else None
        except HTTPException as error:  # a token that is nobody's counts for the address, so that guesses have a limit
            unknown = error
        if allowed <= 0:
            if unknown is not None:
                raise unknown
            return
        if person is not None:
            whose, named = f"person {person.id}", "with your tokens"
        else:
            whose, named = address_of(request, options.trusted_proxies), "from one address"
            allowed *= sharing(request)
        wait = site.limits.wait(kind, whose, allowed)
        if wait > 0:
            seconds = math.ceil(wait)
            raise HTTPException(
                429,
                f"That is more than {allowed} {REQUESTS[kind]} in {PERIODS[kind] / 60:.0f} min {named}. Ask again in "
                f"{seconds} s.",
                headers={"Retry-After": str(seconds)},
            )
        if unknown is not None:
            raise unknown

    return check


def address_of(request: Request, trusted: tuple[str, ...]) -> str:
    """Whose bucket a request takes from: its address, of IPv6 the network of one house."""
    return network_of(asked_from(request, trusted))


def sharing(request: Request) -> int:
    """How many people's share an address has that a request comes from."""
    from foveal.web.site import site_of

    site = site_of(request)
    return people_at(address_of(request, site.options.trusted_proxies), site.web.shared)


def people_at(address: str, shared: tuple[str, ...]) -> int:
    """How many people's share an address has, or the network of a house."""
    return SHARED if _is_of(address, shared) else 1


def uploading(request: Request) -> str:
    """Whose uploads count together; "" for this machine itself, and for addresses that many people share."""
    address = asked_by(request)
    return "" if not address or sharing(request) > 1 else address


def asked_by(request: Request) -> str:
    """Whose long jobs count together: an address; "" for this machine itself, whose people are not strangers."""
    from foveal.web.site import site_of

    address = address_of(request, site_of(request).options.trusted_proxies)
    return "" if address in ("127.0.0.1", "::1", "::/64", "testclient") else address


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
