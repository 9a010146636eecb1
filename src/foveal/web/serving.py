"""How uvicorn serves a site: what a browser, a proxy and a crowd need of it.

    with attentive():
        uvicorn.Server(server_config(app)).run(sockets=[listening])

Keep-alive  longer than a proxy or a browser keeps a connection that nothing comes over: whoever asks closes it. Where
            the server closes first, a request that is under way meets a closed door (a proxy's 502)
Proxies     what stands before the app says whom it asks for, and whether by TLS: believed of this machine, and of the
            proxies that the site trusts
Attentive   pages are made by threads that share one interpreter; the thread that takes and refuses requests must get
            its turn though they are all busy, so turns are short
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from foveal.registry import require

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

    from foveal.web.site import Site

KEEP_ALIVE_S = 75
"""Seconds: nginx and the load balancers of the clouds close after 60."""

LOOPBACK = ("127.0.0.1", "::1")

TURN_S = 0.0005
"""Seconds that a thread may hold the interpreter while others wait; Python's own choice is 0.005."""


def server_config(app: ASGIApp, **options: Any) -> uvicorn.Config:
    """What `uvicorn.Server` takes; `options` are its own. MissingExtra: uvicorn is not installed."""
    site: Site | None = getattr(getattr(app, "state", None), "site", None)
    if site is not None and site.options.trusted_proxies:
        options.setdefault("forwarded_allow_ips", [*LOOPBACK, *site.options.trusted_proxies])
    found: uvicorn.Config = require("uvicorn", extra="web").Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=KEEP_ALIVE_S, **options
    )
    return found


@contextmanager
def attentive() -> Iterator[None]:
    """Inside, threads take short turns."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(TURN_S, before))
    try:
        yield
    finally:
        sys.setswitchinterval(before)
