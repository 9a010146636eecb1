"""What one request may: dependencies of routes, and what they ask of whoever asks.

    @router.get("/papers", dependencies=[Depends(limited("search"))])

The buckets themselves are in limits.py, the rankers' times in ranked.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from fastapi import HTTPException, Request

from foveal.web.limits import PERIODS, REQUESTS, address_of, people_at
from foveal.web.ranked import Within
from foveal.web.signed_in import signed_in, token_sent
from foveal.web.site import site_of


def limited(kind: str) -> Callable[[Request], None]:
    """Dependency of a route: 429 once an address has asked more often than the site allows."""

    def check(request: Request) -> None:
        take(request, kind)

    return check


def take(request: Request, kind: str, many: int = 1) -> None:
    """Count a request, as so `many` of its kind. HTTPException 429: the site does not allow them now; 401: the token is
    nobody's."""
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
    wait = site.limits.wait(kind, whose, allowed, many)
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


def sharing(request: Request) -> int:
    """How many people's share an address has that a request comes from."""
    site = site_of(request)
    return people_at(address_of(request, site.options.trusted_proxies), site.web.shared)


def uploading(request: Request) -> str:
    """Whose uploads count together; "" for this machine itself, and for addresses that many people share."""
    address = asked_by(request)
    return "" if not address or sharing(request) > 1 else address


def asked_by(request: Request) -> str:
    """Whose long jobs count together: an address; "" for this machine itself, whose people are not strangers."""
    address = address_of(request, site_of(request).options.trusted_proxies)
    return "" if address in ("127.0.0.1", "::1", "::/64", "testclient") else address


def within(request: Request, name: str, *, named: bool = True) -> Within | None:
    """The ranker of that name for a stranger; None for this machine itself, or where a site bounds no time.

    `named`: by the visitor; the site's own ranker orders as many searches as there may be. HTTPException 429: the
    address asked too often. UnknownName: there is none.
    """
    site = site_of(request)
    if not asked_by(request):
        return None
    if named:
        limited("rank")(request)
    if not site.web.ranking_s:
        return None
    ranker = site.rankers.get(name, site.settings.home)
    return Within(site.timed.get(name, ranker, site.web.ranking_s))
