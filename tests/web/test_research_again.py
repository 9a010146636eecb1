"""Searches that failed, on the page of a run: what did not answer is named, and a button searches it again."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from reading_site import Visitor
from research_site import QUESTION, ended, key_of, research_app, words_of

from foveal.errors import FetchFailed
from foveal.models.chat import Cancel
from foveal.research.sources import Found
from foveal.research.text_sources import LibrarySource


def test_a_run_of_which_a_search_failed_has_a_button_that_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, down = LibrarySource.search, ["architect"]

    def search(self: LibrarySource, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        if down and "designed the mill" in query:
            raise FetchFailed("The disk is away.")
        return whole(self, query, k, cancel=cancel)

    monkeypatch.setattr(LibrarySource, "search", search)
    app = research_app(tmp_path)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        visitor = Visitor(client)
        key = key_of(visitor.post("/research", question=QUESTION, source="library"))
        page = ended(client, key)
        assert "The search failed: The disk is away." in words_of(page)
        assert "Search again what failed" in page
        down.clear()
        visitor.post(f"/research/{key}/go-on")
        page = ended(client, key)
        assert "Search again what failed" not in page
        assert "Petra Lindqvist designed the mill" in words_of(page)
    app.state.site.close()


def test_a_source_that_did_not_answer_is_named_beside_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = LibrarySource.search

    def search(self: LibrarySource, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        if self.retriever == "dense":
            raise FetchFailed("Its vectors are away.")
        return whole(self, query, k, cancel=cancel)

    monkeypatch.setattr(LibrarySource, "search", search)
    monkeypatch.setenv("FOVEAL_RESEARCH_SOURCES", "library:lexical, library:dense")
    app = research_app(tmp_path)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        sources = ["library:lexical", "library:dense"]
        key = key_of(Visitor(client).post("/research", question=QUESTION, source=sources))
        told = words_of(ended(client, key))
    assert "Not searched to the end library 2: Its vectors are away." in told
    app.state.site.close()
