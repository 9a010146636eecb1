"""Papers as a file for a list of references: one paper, a collection, or any list that has a feed.

    return reference_file(request, papers, "bibtex", "2605.01234")           # 2605.01234.bib

Kinds     bibtex (.bib), ris (.ris), csl (.json, CSL-JSON): as the last part of an address; of a feed by its ending
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from fastapi import Request, Response

from foveal.papers import exporting
from foveal.papers.store import Paper
from foveal.web.caching import conditional

KINDS: Mapping[str, tuple[str, str]] = {
    "bibtex": ("text/x-bibtex", "bib"),
    "ris": ("application/x-research-info-systems", "ris"),
    "csl": ("application/vnd.citationstyles.csl+json", "json"),
}
"""Media type, and how the file's name ends."""

ENDINGS = {"bib": "bibtex", "ris": "ris", "csl": "csl"}
"""Kinds by the ending of a feed's address."""


def reference_file(
    request: Request,
    papers: Sequence[Paper],
    kind: str,
    name: str,
    *,
    modified: datetime | None = None,
    public: bool = True,
) -> Response:
    """The papers in a form of `KINDS`, in a file of that name; `public`: anybody may keep it for five minutes."""
    media_type, ending = KINDS[kind]
    plain = re.sub("[^A-Za-z0-9.-]+", "_", name)[:80]
    response = Response(
        exporting.EXPORTS[kind](papers),
        media_type=f"{media_type}; charset=utf-8",
        headers={"content-disposition": f'inline; filename="{plain}.{ending}"'},
    )
    return conditional(request, response, modified=modified, public=public, seconds=300 if public else 0)
