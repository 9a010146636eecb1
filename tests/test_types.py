from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import FovealError, InputError, TooMany
from foveal.types import Document, Hit, Span, document_id, page_at, revision_of


@given(st.text(), st.data())
def test_a_quote_is_exactly_the_characters_of_its_span(text, data):
    document = Document.of("test:a", text, "a")
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    assert document.quote(Span(document.id, start, end)) == text[start:end]


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (4, 3)])
def test_a_span_that_runs_backwards_is_refused(start, end):
    with pytest.raises(InputError, match="0 <= start <= end"):
        Span("a", start, end)


def test_a_span_of_another_document_or_past_the_end_is_refused():
    document = Document.of("test:a", "abc", "a")
    for span in (Span(document.id, 0, 4), Span(document_id("test:b"), 0, 1)):
        with pytest.raises(InputError, match="does not lie in document"):
            document.quote(span)


def test_identity_is_the_address_and_revision_is_the_text():
    old, new = Document.of("test:a", "one", "a"), Document.of("test:a", "two", "a")
    assert old.id == new.id == document_id("test:a") != document_id("test:b")
    assert old.revision == revision_of("one") != new.revision


def test_pages_count_from_one():
    assert [page_at((0, 10, 10, 20), offset) for offset in (0, 9, 10, 19, 20, 99)] == [1, 1, 3, 3, 4, 4]
    assert page_at((), 5) is None
    assert page_at((3, 9), 0) == 1


def test_a_text_of_ones_own_is_a_hit_that_a_ranker_takes():
    hits = [Hit.of("Rods work in dim light.", "rods"), Hit.of("The fovea is a pit."), Hit.of("", "")]
    assert [hit.passage.span for hit in hits[::2]] == [Span("rods", 0, 23), Span("", 0, 0)]
    assert hits[1].passage.span == Span(revision_of("The fovea is a pit.")[:32], 0, 19)
    assert hits[0].passage.text == "Rods work in dim light."
    assert {(hit.score, hit.source) for hit in hits} == {(0.0, "given")}


def test_errors_come_whole_from_another_process():
    sent = [kind("It failed: do this.") for kind in _kinds(FovealError) - {TooMany}] + [TooMany("Later.", 7)]
    for error in sent:
        found = pickle.loads(pickle.dumps(error))
        assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


def _kinds(kind: type[FovealError]) -> set[type[FovealError]]:
    own = {kind} if kind.__module__ == FovealError.__module__ else set()  # others stay within their process
    return own.union(*map(_kinds, kind.__subclasses__()))
