"""A document: its text as it was read, with headings, passages and pages, and the cited characters marked.

GET /library/{which}?part=2                       a long text comes in parts
GET /library/{which}?span=120-180&revision=…      the part that holds these characters, marked; in that revision
GET /library/{which}?page=347                     leads to that page
GET /library/{which}?detail=3                     with contents that are finer or coarser (document_outline.py)
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from foveal.errors import InputError
from foveal.text.printed_pages import page_called, pages_said
from foveal.types import Document, Span
from foveal.web.answers import author_of
from foveal.web.document_outline import code_of, contents_of, headings_of, shown_of, tables_of
from foveal.web.document_pieces import pieces_of
from foveal.web.document_text import Place, blocks_of, borders, part_of, place_address
from foveal.web.documents import checked_revision, entry_of, may_remove
from foveal.web.pages import page
from foveal.web.site import site_of

router = APIRouter(include_in_schema=False)


@router.get("/library/{which}")
def document_page(
    request: Request,
    which: str,
    part: int = 1,
    span: str = "",
    revision: str = "",
    number_of_page: Annotated[str, Query(alias="page")] = "",
    printed: str = "",
    detail: str = "",
) -> Response:
    """A part of a document."""
    site = site_of(request)
    entry = entry_of(site, which)
    document = site.library.get(entry.id, revision=checked_revision(revision))
    newest = document.revision == entry.revision
    places = site.library.store.places(entry.id) if newest else []
    marked = _marked(span, document)
    cut = borders(document.text, _preferred(document, places))
    if number_of_page or printed:
        found = page_called(document.pages, printed) if printed else _numbered(document, number_of_page)
        of = "" if newest else document.revision[:16]
        return _to_page(document, cut, found, printed or number_of_page, of)
    number = part_of(cut, marked.start) if marked else max(1, min(part, len(cut) - 1))
    start, end = cut[number - 1], cut[number]
    headings = headings_of(document)
    asked = int(detail) if re.fullmatch(r"\d{1,2}", detail) else 0  # an address of another time: as usual
    contents = contents_of(site.library.store, document, cut, newest=newest, detail=asked)
    flowing = bool(document.pages)  # a page's lines end where the paper does
    tables = tables_of(document)
    blocks = blocks_of(
        document,
        places,
        headings,
        start,
        end,
        (marked.start, marked.end) if marked else (0, 0),
        flowing=flowing,
        code=code_of(document),
        tables=tables,
        shown=shown_of(document, start, end),
    )
    values = {
        "document": document,
        "entry": entry,
        "removable": may_remove(request, entry),
        "author": author_of(document.metadata),
        "newest": newest,
        "revision": "" if newest else document.revision[:16],
        "revisions": [one for one in site.library.store.revisions(document.id) if one != document.revision],
        "flowing": flowing,
        "pieces": pieces_of(blocks, tables, document.text),
        "contents": contents,
        "number": number,
        "parts": len(cut) - 1,
        "marked": marked,
        "span": span,
        "marked_page": pages_said(document.pages, marked) if marked else "",
        "goes_on": marked and marked.end > end,
        "pages": pages_said(document.pages, Span(document.id, start, end)),
        "here": place_address(document.id, marked.start, marked.end, document.revision) if marked else "",
    }
    return page(request, "library/document.html", values)


def _marked(span: str, document: Document) -> Span | None:
    """What `?span=` names. InputError: it is no span of this text."""
    if not span:
        return None
    found = re.fullmatch(r"(\d{1,12})-(\d{1,12})", span)
    if not found or not int(found[1]) < int(found[2]) <= len(document.text):
        raise InputError(
            f"The place {span[:60]!r} is not one of this text: it needs START-END, counted in characters, "
            f"with 0 <= START < END <= {len(document.text)}."
        )
    return Span(document.id, int(found[1]), int(found[2]))


def _numbered(document: Document, asked: str) -> int | None:
    return int(asked) if re.fullmatch(r"\d{1,7}", asked) and 1 <= int(asked) <= len(document.pages) else None


def _to_page(document: Document, cut: list[int], found: int | None, asked: str, revision: str) -> Response:
    """To the part that holds a page, at the page. InputError: the document has no such page."""
    pages = document.pages
    if found is None:
        has = f"It has {len(pages):,} of them." if pages else "It has none."
        raise InputError(f"{asked[:60]!r} is no page of this document. {has}")
    offset = pages[found - 1]
    number = bisect_right(pages, offset)  # an empty page begins where the next one does, which is the one shown
    of = f"&revision={revision}" if revision else ""
    return RedirectResponse(f"/library/{document.id}?part={part_of(cut, offset)}{of}#page-{number}", 303)


def _preferred(document: Document, places: list[Place]) -> list[list[int]]:
    """Where a part may end: rather with a page, else with a passage."""
    return [list(document.pages), [start for start, _, _ in places]]
