"""A document under another title: searches, filters and lists know it at once, and its source cannot take it back."""

from __future__ import annotations

import numpy as np
import pytest

from foveal import faults
from foveal.errors import InputError, UnknownDocument
from foveal.library import Library
from foveal.types import Document


@pytest.fixture
def library(tmp_path):
    made = Library.open(tmp_path / "home", encoder="none")
    (tmp_path / "scan0043.md").write_text("# Scan 43\n\nThe mill is let for ten years.\n\n## Rent\n\nPaid in May.\n")
    (tmp_path / "other.md").write_text("# Other\n\nNothing of it.\n")
    made.add([tmp_path / "scan0043.md", tmp_path / "other.md"])
    return made


def state(library: Library):
    [entry] = [one for one in library.documents() if "scan0043" in one.source]
    return entry


def test_the_new_title_is_found_filtered_and_shown(library):
    before = state(library)
    entry = library.rename(before.id, "  Lease of\n2021 ")
    assert entry == state(library)
    assert (entry.title, entry.id, entry.revision, entry.added_at) == (
        "Lease of 2021", before.id, before.revision, before.added_at,
    )  # fmt: skip
    assert (entry.metadata["own_title"], entry.passages) == ("Scan 43", before.passages)
    for query, where in (("lease 2021", None), ("mill", 'title~"lease"'), ("may", None)):
        hit = library.search(query, 1, where=where)[0]
        assert hit.passage.span.document_id == before.id
        assert library.get(before.id).quote(hit.passage.span) == hit.passage.text
    assert library.store.counts() == {"documents": 2, "passages": before.passages + 1, "revisions": 0}


def test_it_stays_when_the_source_is_added_again_changed_or_not(library, tmp_path):
    library.rename(state(library).id, "Lease")
    assert len(library.add([tmp_path / "scan0043.md"]).unchanged) == 1
    (tmp_path / "scan0043.md").write_text("# Scan 43, again\n\nThe mill is let for twenty years.\n")
    assert len(library.add([tmp_path / "scan0043.md"]).updated) == 1
    entry = state(library)
    assert (entry.title, entry.metadata["own_title"]) == ("Lease", "Scan 43, again")
    assert library.search("lease twenty", 1)[0].passage.span.document_id == entry.id
    entry = library.rename(entry.id, "")
    assert (entry.title, dict(entry.metadata).get("own_title")) == ("Scan 43, again", None)
    assert len(library.add([tmp_path / "scan0043.md"]).unchanged) == 1
    assert not library.search("lease", 1)


def test_vectors_stay_and_an_equal_title_writes_nothing(tmp_path):
    library = Library.open(tmp_path / "home", encoder="minilm")
    (tmp_path / "a.md").write_text("# One\n\nThe mill is let.\n\n## Rent\n\nPaid in May.\n")
    library.add([tmp_path / "a.md"])
    before = {span: vector for span, _, vector in library.store.encoded()}
    entry = library.rename("file://" + str(tmp_path / "a.md"), "Two")
    after = {span: vector for span, _, vector in library.store.encoded()}
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[span], after[span]) for span in before)
    assert all(text.startswith("Two") for _, text, _ in library.store.encoded())
    moment = library.store.moment()
    assert library.rename(entry.id, "Two") == entry
    assert library.store.moment() == moment


@pytest.mark.parametrize(("stopped_at", "then"), [("store.passages-written", "Lease"), ("store.documents-written", "")])
def test_one_that_was_stopped_leaves_no_passage_twice(library, stopped_at, then):
    entry = state(library)
    with faults.injected({stopped_at: "interrupt"}), pytest.raises(KeyboardInterrupt):
        library.rename(entry.id, "Lease")
    assert library.rename(entry.id, then).title == (then or "Scan 43")
    library.compact()
    found = [hit for hit in library.search("mill rent may", 10) if hit.passage.span.document_id == entry.id]
    assert len(found) == entry.passages == len({hit.passage.span for hit in found})
    assert library.store.counts()["passages"] == library.store.visible_passages()


def test_what_cannot_be_a_title_or_names_no_document_is_refused(library):
    with pytest.raises(InputError, match="300 characters; this one has 301"):
        library.rename(state(library).id, "x" * 301)
    with pytest.raises(InputError, match="surrogate"):
        library.rename(state(library).id, "half \ud800")
    with pytest.raises(UnknownDocument):
        library.rename("abcdef0123", "Name")
    with pytest.raises(UnknownDocument, match="2 documents"):
        library.rename(state(library).source.rpartition("/")[0], "Name")
    assert state(library).title == "Scan 43"


def test_a_document_of_which_an_earlier_version_stored_a_number_that_is_none_can_be_renamed(library, monkeypatch):
    """Lance keeps what is no number, or too large a one, as null."""
    monkeypatch.setattr("foveal.library.storable", iter)
    library.add_documents([Document.of("x:1", "Some words.", "One", metadata={"n": 7, "none": float("nan")})])
    [entry] = library.find("x:1")
    assert entry.metadata == library.get(entry.id).metadata == {"n": 7}
    assert library.rename(entry, "Two").title == "Two"
