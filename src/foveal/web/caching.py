"""Answers that a browser or a feed reader has already: ETag and Last-Modified, 304 without a body.

    return conditional(request, response, modified=newest, public=True, seconds=300)

The tag is a hash of the body, so that it is right whatever the body was made from; pages carry the token of one browser
and are private, feeds and pictures are the same for all.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import sha256

from fastapi import Request, Response


def conditional(
    request: Request,
    response: Response,
    *,
    modified: datetime | None = None,
    public: bool = False,
    seconds: int = 0,
) -> Response:
    """The response with its validators, or 304 where the request names one that still holds."""
    if response.status_code != 200:
        return response
    tag = f'"{sha256(bytes(response.body)).hexdigest()[:24]}"'
    fresh = f"max-age={seconds}" if seconds else "no-cache"
    response.headers["etag"] = tag
    response.headers["cache-control"] = f"{'public' if public else 'private'}, {fresh}"
    if not public:
        response.headers["vary"] = "Cookie, HX-Request"
    if modified is not None:
        response.headers["last-modified"] = format_datetime(modified.astimezone(UTC), usegmt=True)
    if not _is_known(request, tag, modified):
        return response
    kept = ("etag", "cache-control", "vary", "last-modified")
    return Response(status_code=304, headers={n: v for n, v in response.headers.items() if n in kept})


def _is_known(request: Request, tag: str, modified: datetime | None) -> bool:
    """If-None-Match decides where it is given; If-Modified-Since counts in whole seconds."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in tags.split(","))
    since = request.headers.get("if-modified-since")
    if since is None or modified is None:
        return False
    try:
        return modified.replace(microsecond=0) <= parsedate_to_datetime(since)
    except (TypeError, ValueError):
        return False
