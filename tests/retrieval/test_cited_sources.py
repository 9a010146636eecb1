"""The sources of an answer: each once, with the pages and characters cited, of today's text or an older one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from foveal.retrieval.cited_sources import Known, file_name, file_path, sources_of
from foveal.types import Document, Span, document_id, revision_of

ADDRESS = "file:///books/of%20eyes.pdf"
BOOK = Document.of(
    ADDRESS, "one two three four", "Of eyes", pages=(0, 4, 8, 14), published_at=datetime(2001, 2, 3, tzinfo=UTC),
    metadata={"source": ADDRESS, "kind": "pdf", "author": "Ada Lovelace"},
)  # fmt: skip


def place(start, end, revision=BOOK.revision, key=BOOK.id):
    return Span(key, start, end), revision, "Of eyes", None


def test_each_document_is_one_source_with_all_its_places():
    other = document_id("https://example.org/x")
    cited = [place(4, 7), place(0, 3, "aa", other), place(8, 18), place(4, 7)]
    first, second = sources_of(cited, {BOOK.id: Known.of(BOOK)})
    assert (first.title, first.authors, first.file) == ("Of eyes", ("Ada Lovelace",), "of eyes.pdf")
    assert first.dated == datetime(2001, 2, 3, tzinfo=UTC).date()
    said = "page 2 (characters 4 to 7); pages 3 to 4 (characters 8 to 18)"
    assert first.note == f"Cited: {said}. text {BOOK.revision[:16]}"
    assert second.note == "Cited: characters 0 to 3. text aa"  # of a document that is gone


def test_an_older_text_is_a_source_of_its_own_without_pages_that_are_not_its():
    older = revision_of("one two")
    first, second = sources_of([place(4, 7), place(4, 7, older)], {BOOK.id: Known.of(BOOK)})
    assert "page 2" in first.note
    assert second.note == f"Cited: characters 4 to 7. text {older[:16]}"


@pytest.mark.parametrize("file", [file_name, file_path])
def test_a_page_of_the_web_has_its_address_though_the_record_has_none(file):
    known = Known("A page", "aa", source="https://example.org/p", metadata={"kind": "url"})
    (found,) = sources_of([place(0, 3, "aa")], {BOOK.id: known}, file)
    assert (found.url, found.file) == ("https://example.org/p", "")


def test_a_file_is_called_by_its_name_or_its_path():
    assert (file_name(ADDRESS), file_path(ADDRESS)) == ("of eyes.pdf", "/books/of eyes.pdf")
    assert file_path("arxiv:2605.01234") == ""
