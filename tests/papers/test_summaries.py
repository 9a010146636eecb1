"""Summaries and keywords: by rule, by a model under a grammar, and what is never overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.database import Database
from foveal.errors import InputError, UnknownName
from foveal.models.chat import Cancel
from foveal.models.grammar import checked_schema
from foveal.papers.extracts import central_sentence, keyphrases
from foveal.papers.keyword_links import occurs
from foveal.papers.records import PaperRecord
from foveal.papers.store import PaperStore
from foveal.papers.summaries import EXTRACTIVE, schema_of, sound, summarise, summary_of
from foveal.papers.upserts import upsert
from foveal.settings import Settings

TITLE = "Block Sparse Attention for Long Documents"
ABSTRACT = (
    "Long documents are hard. We propose block sparse attention, which reads 128 tokens at a time and skips the blocks "
    "that a small estimator finds empty. Block sparse attention is 3.5 times as fast as dense attention on long "
    "documents. Code is available at https://example.org/code."
)


@dataclass
class Told:
    """A ChatModel that answers with what it was given, through the schema, as a grammar would."""

    answer: Callable[[type], dict] | None = None
    sentence: str = "The paper proposes block sparse attention that skips empty blocks."
    name: str = "told"
    context_tokens: int = 4096
    asked: list = field(default_factory=list)

    def parse(self, messages, schema, sampling=None, *, cancel=None):  # noqa: ARG002
        if cancel is not None:
            cancel.check()
        self.asked.append(messages[-1]["content"])
        if self.answer is not None:
            return schema.model_validate(self.answer(schema))
        choices = checked_schema(schema)["properties"]["keywords"]["items"]["enum"]
        return schema.model_validate({"sentence": self.sentence, "keywords": choices[:5]})


def record(number: int, **told: object) -> PaperRecord:
    at = datetime(2026, 1, number, tzinfo=UTC)
    plain = {"id": f"2601.0000{number}", "title": TITLE, "abstract": ABSTRACT, "published_at": at, "source": "arxiv"}
    return PaperRecord(**{**plain, "title": f"{TITLE} {number}", **told})


# -- by rule -----------------------------------------------------------------------------------------------------------


def test_a_wrong_name_is_said_where_there_is_nothing_to_write(own_settings: Settings) -> None:
    database = Database.open(own_settings)
    with pytest.raises(UnknownName, match="No language model is called 'nosuch'"):
        summarise(database, model="nosuch")
    assert summarise(database, model=None).written == []
    database.close()


def test_the_rule_takes_the_sentence_that_says_what_was_done():
    assert central_sentence(ABSTRACT, TITLE).startswith("We propose block sparse attention")
    assert "Code is" not in central_sentence(ABSTRACT)
    assert central_sentence("", TITLE) == ""
    assert central_sentence(" . ", TITLE) == ""


def test_keyphrases_are_what_the_paper_is_about():
    found = keyphrases(ABSTRACT, TITLE, 8)
    assert found[0] == "block sparse attention"
    assert "long documents" in [one.casefold() for one in found]
    assert not {"We", "which", "code", "propose"} & set(found)


@given(st.text(max_size=400) | st.lists(st.sampled_from(ABSTRACT.split()), max_size=60).map(" ".join))
def test_what_the_rule_makes_keeps_its_bounds(abstract):
    sentence = central_sentence(abstract, TITLE)
    assert len(sentence.split()) <= 40
    found = keyphrases(abstract, TITLE)
    assert len(found) <= 15
    plain = " ".join(abstract.split()).casefold()
    assert all(one.casefold() in plain for one in found)
    if abstract.strip():
        assert all(occurs(one, abstract) for one in summary_of(TITLE, abstract).keywords)


# -- by a model --------------------------------------------------------------------------------------------------------


def test_a_model_chooses_among_phrases_of_the_abstract():
    chat = Told()
    made = summary_of(TITLE, ABSTRACT, chat)
    assert (made.sentence, made.model) == (chat.sentence, "told")
    assert 5 <= len(made.keywords) <= 15
    assert all(occurs(one, ABSTRACT) for one in made.keywords)
    assert ABSTRACT in chat.asked[0]


def test_the_schema_is_one_that_a_grammar_can_keep():
    schema = schema_of(["a b", "c"])
    assert checked_schema(schema)["properties"]["keywords"]["items"]["enum"] == ["a b", "c"]
    json.dumps(checked_schema(schema_of([])))
    with pytest.raises(ValueError, match="Input should be"):
        schema.model_validate({"sentence": "x" * 30, "keywords": ["made up", "c"]})


@pytest.mark.parametrize(
    "sentence",
    ["It is 99 times as fast as dense attention.", "word " * 41 + ".", "This breaks off in the", "Too short."],
)
def test_what_the_abstract_does_not_bear_out_is_not_taken(sentence):
    assert sound(sentence, ABSTRACT) == ""
    made = summary_of(TITLE, ABSTRACT, Told(sentence=sentence.ljust(20)))
    assert made.model == EXTRACTIVE
    assert made.sentence in ABSTRACT


def test_of_several_sentences_the_first_is_taken():
    assert sound("It skips the empty blocks. It is fast.", ABSTRACT) == "It skips the empty blocks."
    assert sound("It is 3.5 times as fast\nas dense attention.", ABSTRACT).endswith(
        "3.5 times as fast as dense attention."
    )


def test_a_model_that_fails_gives_way_to_the_rule():
    def fails(schema):
        raise InputError("no JSON")

    assert summary_of(TITLE, ABSTRACT, Told(answer=fails)).model == EXTRACTIVE
    with pytest.raises(InputError, match="no abstract"):
        summary_of(TITLE, "  ")


# -- the job -----------------------------------------------------------------------------------------------------------


def test_the_job_fills_what_is_missing_the_newest_first_and_goes_on(database):
    upsert(database, [record(number) for number in (1, 2, 3)])
    seen: list[int] = []
    first = summarise(database, model=Told(), limit=2, on_progress=lambda done: seen.append(done.left))
    assert (first.written, first.left, seen) == (["2601.00003", "2601.00002"], 1, [2, 1])
    before = PaperStore(database).get("2601.00003")
    assert (before.summary, before.summary_model, len(before.keywords)) == (Told().sentence, "told", 5)
    second = summarise(database, model=Told(sentence="Another sentence of several words."))
    assert second.written == ["2601.00001"]
    assert PaperStore(database).get("2601.00003") == before
    assert summarise(database).written == []


def test_the_job_says_what_begins_and_of_how_many_papers(database, monkeypatch):
    from foveal import models

    said: list[tuple[str, int]] = []
    upsert(database, [record(number) for number in (1, 2, 3)])
    monkeypatch.setattr(models, "load_chat", lambda name: said.append((name, -1)) or Told())
    name = "qwen2.5-coder-0.5b"
    summarise(database, model=name, limit=2, on_stage=lambda *told: said.append(told))
    assert said == [(f"Loading {name}", 0), (name, -1), ("Summaries", 2)]
    summarise(database)
    said.clear()
    summarise(database, model=name, on_stage=lambda *told: said.append(told))
    assert said == [("Summaries", 0)]


def test_what_came_with_the_paper_is_never_overwritten(database):
    told = record(1, summary="Its own.", summary_model="hub", keywords=("attention",))
    authors = record(2, summary="By its authors.", keywords=("blocks",))
    upsert(database, [told, authors])
    assert summarise(database, again=False).written == []
    assert summarise(database, model=Told(), again=True).written == ["2601.00001"]
    store = PaperStore(database)
    assert store.get("2601.00001").summary_model == "told"
    kept = store.get("2601.00002")
    assert (kept.summary, kept.keywords, kept.abstract) == ("By its authors.", ("blocks",), ABSTRACT)


def test_a_cancelled_job_keeps_what_it_wrote(database):
    upsert(database, [record(number) for number in (1, 2, 3)])
    cancel = Cancel()
    done = summarise(database, model=Told(), cancel=cancel, on_progress=lambda _: cancel.set())
    assert (done.cancelled, done.written, done.left) == (True, ["2601.00003"], 2)
    assert PaperStore(database).get("2601.00003").summary_model == "told"


def test_changed_papers_are_indexed_again_and_empty_ones_passed_over(database):
    upsert(database, [record(1), record(2, abstract="")])
    at = PaperStore(database).get("2601.00001").changed_at
    done = summarise(database)
    assert (done.written, done.by_rule) == (["2601.00001"], 0)
    assert PaperStore(database).get("2601.00001").changed_at > at
    with pytest.raises(InputError, match="1 or more"):
        summarise(database, limit=0)


@pytest.mark.model
@pytest.mark.slow
def test_the_local_model_writes_a_sentence_under_the_grammar():
    from foveal.models import load_chat

    made = summary_of(TITLE, ABSTRACT, load_chat("qwen2.5-coder-0.5b"))
    assert len(made.sentence.split()) <= 40
    assert len(made.keywords) >= 5
    assert all(occurs(one, ABSTRACT) for one in made.keywords)
