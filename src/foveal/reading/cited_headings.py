"""The headings that the citations of an answer stand under: of a passage of several short sections, each its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from foveal.errors import UnknownDocument
from foveal.text.programs import headings_in
from foveal.text.segmentation import Section, heading_at, sections
from foveal.types import Citation, Document, Hit

DocumentOf = Callable[[str, str | None], Document]
"""(id, revision) -> the document."""


def cited_headings(citations: Sequence[Citation], hits: Sequence[Hit], document_of: DocumentOf) -> list[str | None]:
    """The path of headings above each citation; None: there is none. `hits`: what the answer was made of."""

    @cache
    def parts_of(document_id: str, revision: str | None) -> list[Section]:
        document = document_of(document_id, revision)
        return sections(document.text, headings_in(document))

    def heading_of(citation: Citation) -> str | None:
        document_id, start = citation.span.document_id, citation.span.start
        own = (hit.passage for hit in hits if hit.passage.span.document_id == document_id)
        passage = next((one for one in own if one.span.start <= start < one.span.end), None)
        if passage is not None and passage.heading is None:  # as all of a log, which may be long
            return None
        try:
            parts = parts_of(document_id, citation.revision)
        except UnknownDocument:  # removed meanwhile
            return passage.heading if passage else None
        return heading_at(parts, passage, start)

    return [heading_of(one) for one in citations]
