"""Judging in the library's search: a grade for each passage that was found, which rankers are trained on.

GET  /library?q=…&judge=1       the search with four grades beside each passage
POST /library/judge             keeps one (evaluation/judgements.py), and leads back to the passage

The grades are those of `foveal judge`, in the same file: one may be begun here and gone on with there.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from foveal import faults
from foveal.evaluation.judgements import FILE, Judgement, keep_judgement
from foveal.types import Span
from foveal.web.documents import entry_of, place_of
from foveal.web.library_search import LONGEST_QUERY
from foveal.web.rights import Needs
from foveal.web.safety import guarded
from foveal.web.site import site_of
from foveal.web.small_forms import SmallForms

router = APIRouter(route_class=SmallForms, include_in_schema=False)


@router.post("/library/judge", dependencies=[Depends(guarded), Depends(Needs("judge"))])
def judge(
    request: Request,
    q: Annotated[str, Form()],
    document: Annotated[str, Form()],
    start: Annotated[int, Form()],
    end: Annotated[int, Form()],
    revision: Annotated[str, Form()],
    grade: Annotated[int, Form()],
    at: Annotated[int, Form()] = 1,
    retriever: Annotated[str, Form()] = "",
    rank: Annotated[str, Form()] = "",
    where: Annotated[str, Form()] = "",
    as_of: Annotated[str, Form()] = "",
    each: Annotated[str, Form()] = "",
    no_events: Annotated[str, Form()] = "",
) -> Response:
    """Keep a grade. InputError: it is none, or the passage is not there any more."""
    site = site_of(request)
    entry, query = entry_of(site, document), q.strip()[:LONGEST_QUERY]
    place_of(site, entry, start, end, revision)
    moment = faults.now().isoformat(timespec="seconds")
    keep_judgement(site.settings.home / FILE, Judgement(query, Span(entry.id, start, end), revision, grade, moment))
    asked = {
        "q": query, "retriever": retriever, "rank": rank, "where": where, "as_of": as_of, "each": each,
        "no_events": no_events,
    }  # fmt: skip
    told = urlencode({name: value for name, value in asked.items() if value} | {"judge": "1"})
    return RedirectResponse(f"/library?{told}#hit-{max(1, at)}", 303)
