"""Under which headings citations stand, where a passage holds several sections."""

import pytest

from foveal.errors import UnknownDocument
from foveal.reading.cited_headings import cited_headings
from foveal.types import Citation, Document, Hit, Passage, Span

TEXT = "# Lease\n\n## Parties\n\nAda and Bo.\n\n## Rent\n\nThe rent is 900.\n\n## End\n\nThree months.\n"
LEASE = Document.of("lease.md", TEXT, "Lease")


def cited(quote: str, document: Document = LEASE) -> Citation:
    start = document.text.index(quote)
    span = Span(document.id, start, start + len(quote))
    return Citation(span=span, quote=quote, title=document.title, url=None, revision=document.revision)


def hit(start: int, end: int, heading: str | None) -> Hit:
    return Hit(Passage(Span(LEASE.id, start, end), TEXT[start:end], heading), 1.0, "lexical")


def headings(citations, hits):
    return cited_headings(citations, hits, lambda one, _: {LEASE.id: LEASE}[one])


def test_each_has_that_of_its_own_section():
    joined = hit(0, len(TEXT), "Lease > Parties")
    citations = [cited("Ada and Bo."), cited("The rent is 900."), cited("Three months.")]
    assert headings(citations, [joined])[1:] == ["Lease > Rent", "Lease > End"]
    assert headings(citations, []) == ["Lease > Parties", "Lease > Rent", "Lease > End"]


def test_a_passage_without_headings_is_not_looked_through():
    assert cited_headings([cited("Ada and Bo.")], [hit(0, 40, None)], lambda *_: pytest.fail("asked")) == [None]


def test_of_a_document_that_is_gone_the_passage_tells():
    def gone(*_):
        raise UnknownDocument("It was removed.")

    passage = hit(0, len(TEXT), "Lease > Parties")
    assert cited_headings([cited("The rent is 900.")], [passage], gone) == ["Lease > Parties"]
    assert cited_headings([cited("The rent is 900.")], [], gone) == [None]
