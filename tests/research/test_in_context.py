"""A poor query is searched with the question that it serves, where texts are ranked; a search engine gets it bare."""

from __future__ import annotations

from dataclasses import replace

import pytest
from worlds import Facts, model_of

from foveal.research.mindsearch import MindSearch, MindSettings
from foveal.research.sources import Found, Sources, in_context, search_about
from foveal.research.text_sources import DocumentsSource
from foveal.types import Document

QUESTION = "Who taught the architect of the mill at Orra?"


class Asked:
    """A search engine that remembers what it was asked."""

    name = "engine"

    def __init__(self, *, ranks_texts: bool = False) -> None:
        self.queries: list[str] = []
        self.ranks_texts = ranks_texts

    def search(self, query, k, *, cancel=None):  # noqa: ARG002
        self.queries.append(query)
        return [Found(url=f"https://{len(self.queries)}.example", title="t", snippet="s")]

    def read(self, found, *, cancel=None):  # noqa: ARG002
        return Document.of(found.url, "A text.", "t")


def test_only_what_ranks_texts_is_given_the_question():
    engine, texts = Asked(), Asked(ranks_texts=True)
    search_about(engine, "Petra teacher", QUESTION, 3)
    search_about(texts, "Petra teacher", QUESTION, 3)
    search_about(texts, QUESTION, QUESTION, 3)
    search_about(texts, "Petra teacher", "", 3)
    assert engine.queries == ["Petra teacher"]
    assert texts.queries == [f"Petra teacher {QUESTION}", QUESTION, "Petra teacher"]


def test_of_several_sources_each_is_asked_in_its_way():
    engine, texts = Asked(), Asked(ranks_texts=True)
    both = Sources([engine, texts])
    search_about(both, "Petra teacher", QUESTION, 3)
    both.search("Petra", 3)
    assert engine.queries == ["Petra teacher", "Petra"]
    assert texts.queries == [in_context("Petra teacher", QUESTION), "Petra"]


def test_a_query_that_says_nothing_finds_what_the_question_finds():
    texts = {"mill": "The mill at Orra was drawn by Petra.", "film": "A film director of the year.", "x": "Else."}
    source = DocumentsSource(Document.of(name, text, name) for name, text in texts.items())
    assert [one.title for one in search_about(source, "director", "", 3)] == ["film"]
    assert search_about(source, "director", "Who drew the mill at Orra?", 3)[0].title == "mill"


@pytest.mark.parametrize("wanted", [False, True])
def test_a_run_asks_in_context_where_it_is_told_to(wanted):
    source = Facts()
    source.ranks_texts = True
    usual = MindSettings()
    settings = replace(usual, search=replace(usual.search, in_context=wanted))
    MindSearch(model_of(), source, settings=settings).ask(QUESTION)
    assert source.queries
    assert all(query.endswith(f" {QUESTION}") == wanted for query in source.queries if query != QUESTION)


def test_a_model_on_this_machine_searches_in_context(tmp_path):
    from tiny import tiny

    from foveal.models.local_chat import LocalChat

    assert MindSettings.of(LocalChat(tiny("qwen", tmp_path))).search.in_context
    assert not MindSettings.of(model_of()).search.in_context
