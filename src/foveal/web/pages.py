"""Templates to pages: what every page knows, and whole pages or the part that HTMX asked for."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from sqlalchemy.exc import SQLAlchemyError

from foveal import faults
from foveal.errors import FovealError
from foveal.papers.complaints import Waits, waits
from foveal.papers.periods import short_date
from foveal.papers.person import Person
from foveal.papers.plain_titles import plain_tex
from foveal.web.answers import coded
from foveal.web.browsers import browser_name
from foveal.web.markup import html_of
from foveal.web.rights import lists_jobs, rights
from foveal.web.safety import token_of
from foveal.web.signed_in import sign_in_address, signed_in
from foveal.web.site import base_url, site_of

logger = logging.getLogger("foveal.web")

STATIC = Path(__file__).with_name("static")

environment = Environment(
    loader=PackageLoader("foveal.web"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    auto_reload=False,
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
    person = signed_in(request)
    known = {
        "request": request,
        "site": site_of(request).options,
        "token": token_of(request),
        "base_url": base_url(request),
        "today": faults.now().date(),
        "path": request.url.path,
        "person": person,
        "sign_in": sign_in_address(request),
        "may": rights(request),
        "lists_jobs": lists_jobs(request),
        "sends_mail": site_of(request).mail is not None,
        "to_decide": _to_decide(request, person),
    }
    html = environment.get_template(template).render(known | dict(values or {}))
    kept = {"cache-control": "private, no-cache"} if person else {}  # their name is on it
    return Response(html, status, kept | dict(headers or {}), media_type="text/html; charset=utf-8")


def _to_decide(request: Request, person: Person | None) -> Waits:
    """What waits for the person, if they are a moderator."""
    if person is None or not person.may("moderate"):
        return Waits(0, 0)
    try:
        return waits(site_of(request).database)
    except (FovealError, SQLAlchemyError) as error:  # the page is about something else, and is shown all the same
        logger.warning("what waits for a moderator could not be read: %s", error)
        return Waits(0, 0)


@lru_cache
def asset(name: str) -> str:
    """The address of a static file, which changes when its content does."""
    return f"/static/{name}?{sha256((STATIC / name).read_bytes()).hexdigest()[:8]}"


def compact(number: int) -> str:
    """131, 1.54k, 86.1k, 2.3m."""
    for size, letter in ((10**9, "b"), (10**6, "m"), (10**3, "k")):
        if number >= size - size // 2000:  # 999,600 is 1m: as thousands it would read 1e+03k
            return f"{number / size:.3g}{letter}"
    return str(number)


def day_text(moment: date | datetime | None, today: date) -> str:
    """ "May 29" of this year, "Feb 27, 2025" of another; "" without a date."""
    return short_date(moment.date() if isinstance(moment, datetime) else moment, today) if moment else ""


def ago(moment: datetime, now: datetime | None = None) -> str:
    """ "3 hours ago"; from a year on the date."""
    seconds = max(0, int(((now or faults.now()) - moment).total_seconds()))
    if seconds < 60:
        return "just now"
    if seconds >= 365 * 86_400:
        return day_text(moment, faults.now().date())
    sizes = ((30 * 86_400, "month"), (7 * 86_400, "week"), (86_400, "day"), (3_600, "hour"), (60, "minute"))
    size, name = next(one for one in sizes if seconds >= one[0])
    count = seconds // size
    return f"{count} {name}{'s' * (count > 1)} ago"


def xml_text(text: str) -> str:
    """The text without characters that XML may not hold, whatever stands for them."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text)


environment.globals["asset"] = asset
environment.filters["tex"] = lambda text, marks=(): html_of(text, marks=marks)
environment.filters["plain"] = plain_tex  # titles of windows and previews, and what a screen reader says
environment.filters["xml"] = xml_text
environment.filters["ago"] = ago
environment.filters["coded"] = coded
environment.filters["compact"] = compact
environment.filters["day"] = day_text
environment.filters["browser"] = browser_name
