"""Templates to pages: what every page knows, and whole pages or the part that HTMX asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from foveal.papers.periods import short_date
from foveal.web.safety import token_of
from foveal.web.site import base_url, site_of

STATIC = Path(__file__).with_name("static")

environment = Environment(
    loader=PackageLoader("foveal.web"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(
    request: Request,
    template: str,
    values: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The page that a template and its values make."""
    known = {
        "request": request,
        "site": site_of(request).options,
        "token": token_of(request),
        "base_url": base_url(request),
        "today": datetime.now(UTC).date(),
        "path": request.url.path,
    }
    html = environment.get_template(template).render(known | dict(values or {}))
    return Response(html, status, dict(headers or {}), media_type="text/html; charset=utf-8")


@lru_cache
def asset(name: str) -> str:
    """The address of a static file, which changes when its content does."""
    return f"/static/{name}?{sha256((STATIC / name).read_bytes()).hexdigest()[:8]}"


def compact(number: int) -> str:
    """131, 1.54k, 86.1k, 2.3m."""
    for size, letter in ((1_000_000, "m"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return str(number)


def day_text(moment: date | datetime | None, today: date) -> str:
    """ "May 29" of this year, "Feb 27, 2025" of another; "" without a date."""
    return short_date(moment.date() if isinstance(moment, datetime) else moment, today) if moment else ""


environment.globals["asset"] = asset
environment.filters["compact"] = compact
environment.filters["day"] = day_text
