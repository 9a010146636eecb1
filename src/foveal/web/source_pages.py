"""The sources of an answer to take along, for a list of references.

GET /ask/{key}/sources.{ending}                     .bib (BibTeX), .json (CSL-JSON) or .ris
GET /library/{which}/read/{key}/sources.{ending}    the same of a reading

Of a file only its name is told: where it lies on this machine is nobody's business.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastapi import APIRouter, HTTPException, Request, Response

from foveal.errors import InputError
from foveal.retrieval.cited_sources import Known, Place, sources_of
from foveal.text.references import FORMS, form_of
from foveal.types import Span
from foveal.web.answers import Cited
from foveal.web.ask_pages import AskWork
from foveal.web.read_pages import ReadWork
from foveal.web.site import Site, site_of

router = APIRouter(include_in_schema=False)

_ADDRESS = re.compile(r"/library/([0-9a-f]{32})\?span=(\d+)-(\d+)(?:&revision=([0-9a-f]+))?")


@router.get("/ask/{key}/sources.{ending}")
def sources_of_answer(request: Request, key: str, ending: str) -> Response:
    """What an answer of the library cites."""
    work = site_of(request).jobs.get(key).work
    return _file(site_of(request), work.citations if isinstance(work, AskWork) else (), ending)


@router.get("/library/{which}/read/{key}/sources.{ending}")
def sources_of_reading(request: Request, which: str, key: str, ending: str) -> Response:
    """What an answer from one text cites."""
    work = site_of(request).jobs.get(key).work
    return _file(site_of(request), work.citations if isinstance(work, ReadWork) and work.which == which else (), ending)


def _file(site: Site, citations: Sequence[Cited], ending: str) -> Response:
    """The file. HTTPException 404: nothing is cited (yet), or there is no such format."""
    try:
        form = FORMS[form_of(f"sources.{ending}")]
    except InputError as error:
        raise HTTPException(404, str(error)) from None
    if not citations:
        raise HTTPException(404, "Nothing is cited here. Once there is an answer that cites something, it is.")
    cited = [(match, one.title) for one in citations if (match := _ADDRESS.match(one.address))]
    entries = site.library.entries([match[1] for match, _ in cited]) if site.has_library else {}
    known = {key: Known.of(entry) for key, entry in entries.items()}
    found = sources_of([_place(match, title, known.get(match[1])) for match, title in cited], known)
    headers = {"content-disposition": f'attachment; filename="sources{form.ending}"', "cache-control": "no-store"}
    return Response(form.write(found).encode("utf-8", "replace"), media_type=form.media_type, headers=headers)


def _place(address: re.Match[str], title: str, today: Known | None) -> Place:
    """The place that a citation's address names; of its revision the whole hash, if it is today's."""
    revision = address[4]
    if today and revision and today.revision.startswith(revision):
        revision = today.revision
    return Span(address[1], int(address[2]), int(address[3])), revision, title, None
