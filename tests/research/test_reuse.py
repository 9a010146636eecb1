"""Summaries that are used again: the same question and nothing else, fresh, with its sources; held to pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from worlds import Facts, model_of

from foveal import faults
from foveal.database import Database
from foveal.errors import InputError
from foveal.models import load_encoder
from foveal.research.citations import Origin
from foveal.research.mindsearch import MindSearch
from foveal.research.prompts import Problem
from foveal.research.reuse import ReuseSettings, Summaries, alike, memory_of
from foveal.research.searcher import Summary
from foveal.research.text_sources import LibrarySource
from foveal.settings import Settings
from foveal.types import Passage, Span

SAME = (
    ("Who designed the mill at Orra?", "Who was the designer of the mill at Orra?"),
    ("Who directed the film Casablanca?", "Who was the director of the film Casablanca?"),
    ("Who is the mother of Ada Lovelace?", "Who was Ada Lovelace's mother?"),
)
OTHER = (
    ("Who designed the mill at Orra?", "Who designed the mill at Vasa?"),
    ("When was Petra Lindqvist born?", "When did Petra Lindqvist die?"),
    ("When was Petra Lindqvist born?", "Where was Petra Lindqvist born?"),
    ("What is the capital of Australia?", "What is the capital of Austria?"),
    ("How many people live in Vasa?", "How many people worked in Vasa?"),
    ("Who directed the film Casablanca?", "Who produced the film Casablanca?"),
    ("Who directed the film Casablanca?", "Whom did the film Casablanca direct?"),
    ("Did Brazil beat Germany?", "Did Germany beat Brazil?"),
    ("Who taught Olof Brandt?", "Whom did Olof Brandt teach?"),
    ("Who wrote the novel Emma?", "Who translated the novel Emma?"),
    ("When did the Orra mill burn down?", "Why did the Orra mill burn down?"),
    ("How tall is the Eiffel Tower?", "How old is the Eiffel Tower?"),
    ("Who is the mother of Ada Lovelace?", "Who is the father of Ada Lovelace?"),
    ("Which films came out in 1994?", "Which films came out in 1995?"),
    ("Which methods are faster than dense attention?", "Which methods are not faster than dense attention?"),
    ("Who was the first owner of the mill?", "Who was the last owner of the mill?"),
    ("Which river flows through Cologne?", "Which railway runs through Cologne?"),
    ("What is the cost of the Basic plan?", "What is the limit of the Basic plan?"),
    ("Which company makes the Model T?", "Which company sells the Model T?"),
    ("What was built before the mill?", "What was built after the mill?"),
    ("Where was Marie Curie buried?", "Where was Marie Curie born?"),
    ("磨坊在哪里？", "磨坊是谁的？"),
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path))
    yield opened
    opened.close()


@dataclass
class Everything:
    """An encoder to which all questions are the same."""

    name: str = "everything"
    dimension: int = 2

    def encode(self, texts):
        return np.ones((len(texts), 2), np.float32)


def problem(question: str, *before: tuple[str, str]) -> Problem:
    return Problem(root="q", question=question, before=before, today=date(2026, 11, 1))


def summary(answer: str = "Petra did [[0]].") -> Summary:
    passage = Passage(Span("d", 3, 13), "Petra did.")
    return Summary(
        answer, {0: Origin(url="https://a.example", title="A", summary="s", passages=(passage,), revision="r")}
    )


def test_pairs_that_ask_the_same_and_pairs_that_do_not(database: Database) -> None:
    """With the encoder: vectors alone would let half of the others by, which the writing keeps out."""
    encoder = load_encoder()
    let_by = 0
    for known, asked in (*SAME, *OTHER):
        memory = Summaries(database, f"{known} {asked}", encoder)
        memory.keep(problem(known), summary())
        recalled = memory.recall(problem(asked))
        assert (recalled is not None) == ((known, asked) in SAME), asked
        one, other = (np.asarray(vector) for vector in encoder.encode([known, asked]))
        let_by += (known, asked) in OTHER and one @ other >= 0.9 * np.linalg.norm(one) * np.linalg.norm(other)
    assert let_by >= 8


def test_the_writing_alone_keeps_others_out() -> None:
    assert not [pair for pair in OTHER if alike(*pair)]
    assert all(alike(*pair) for pair in SAME)


def test_what_was_found_comes_back_whole_and_only_in_its_place(database: Database) -> None:
    memory = Summaries(database, "library", Everything())
    memory.keep(problem("Who did it?"), summary())
    recalled = memory.recall(problem("  who did it "))
    assert recalled is not None
    assert (recalled.summary, recalled.question) == (summary(), "Who did it?")
    assert memory.recall(problem("Who did it?", ("Which mill?", "Orra's"))) is None
    memory.keep(problem("Who did it?", ("Which mill?", "Orra's [[1]]")), summary("Olof [[0]]."))
    there = memory.recall(problem("Who did it?", ("Which mill?", "orra's  [[7]]")))
    assert there is not None
    assert there.summary.answer == "Olof [[0]]."
    assert Summaries(database, "papers", Everything()).recall(problem("Who did it?")) is None
    assert Summaries(database, "library", None).recall(problem("Who did it?")) is None  # another encoder's place
    memory.keep(problem("Nothing?"), Summary("", error="These queries found nothing."))
    assert memory.recall(problem("Nothing?")) is None


@dataclass
class Searched:
    """A source that finds in a way that its name does not tell."""

    name: str = "library"
    retriever: str | None = None
    rank: object = None


def test_another_models_summaries_and_those_of_another_search_are_not_taken(database: Database) -> None:
    home = Settings(home=Path("home"), cache=Path("cache"), encoder="none")
    memory_of(database, [Searched()], "small", home).keep(problem("Who did it?"), summary())
    for sources, model, settings, found in (
        ([Searched()], "small", home, True),
        ([Searched()], "large", home, False),
        ([Searched(retriever="dense")], "small", home, False),
        ([Searched(rank="knrm")], "small", home, False),
        ([Searched(rank=Everything())], "small", home, False),
        ([Searched()], "small", replace(home, ranker="mine"), False),
        ([Searched(), Searched("papers")], "small", home, False),
    ):
        recalled = memory_of(database, sources, model, settings).recall(problem("Who did it?"))
        assert (recalled is not None) is found, (sources, model)


def test_a_ranker_is_known_by_its_name_when_it_is_loaded_too(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Settings(home=Path("home"), cache=Path("cache"), encoder="none")
    shelf: Any = SimpleNamespace(settings=home, search=lambda *_, **__: [], entries=lambda _: {})
    monkeypatch.setattr("foveal.ranking.by_name.load_ranker", lambda *_, **__: Everything())
    mine, other = (LibrarySource(shelf, rank=name) for name in ("mine", "other"))
    for source in (mine, other):
        source.search("Orra", 3)
    memory_of(database, [mine], "small", home).keep(problem("Who did it?"), summary())
    assert memory_of(database, [other], "small", home).recall(problem("Who did it?")) is None
    fresh = LibrarySource(shelf, rank="mine")
    assert memory_of(database, [fresh], "small", home).recall(problem("Who did it?")) is not None


def test_the_vectors_must_be_near_too(database: Database) -> None:
    @dataclass
    class Apart(Everything):
        def encode(self, texts):
            return np.array([[1.0, 0.0] if "designer" in text else [0.8, 0.6] for text in texts], np.float32)

    for least, found in ((0.79, True), (0.81, False)):
        memory = Summaries(database, f"at {least}", Apart(), ReuseSettings(least=least))
        memory.keep(problem(SAME[0][0]), summary())
        assert (memory.recall(problem(SAME[0][1])) is not None) == found


def test_what_is_old_is_not_taken_and_goes(database: Database) -> None:
    memory = Summaries(database, "library")
    memory.keep(problem("Who did it?"), summary())
    later = faults.now() + timedelta(days=7, hours=1)
    with faults.injected({}, clock=lambda: later):
        assert memory.recall(problem("Who did it?")) is None
        memory.keep(problem("Another?"), summary())
    assert memory.recall(problem("Who did it?")) is None


def test_a_second_run_searches_nothing_and_cites_the_same(database: Database) -> None:
    question = "Who taught the architect?"
    first = MindSearch(model_of(), Facts(), memory=Summaries(database, "facts")).ask(question)
    source, model = Facts(), model_of()
    run = MindSearch(model, source, memory=Summaries(database, "facts")).start(question)
    again = run.result()
    assert (source.queries, source.read_urls) == ([], [])
    assert (again.text, again.citations) == (first.text, first.citations)
    assert [node.reused for node in again.graph.searchers()] == [node.content for node in again.graph.searchers()]
    without = Facts()
    MindSearch(model_of(), without).ask(question)
    assert without.queries


@pytest.mark.parametrize("wrong", [{"least": 0.0}, {"least": 1.1}, {"days": 0.0}])
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="likeness"):
        ReuseSettings(**wrong)
