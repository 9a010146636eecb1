"""The bench of asking: what counts as an answer, and what its controls would show of one who answers anything."""

from __future__ import annotations

import json

import pytest
from reading.speakers import Quoter, Scripted

from foveal.bench import ask
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError

FACTS = {"Mills": ("The keeper of the mill is Orsin Vale.", "Who is the keeper of the mill?", "Orsin Vale")}
FACTS["Clocks"] = (
    "The clock of the tower strikes thirteen.",
    "How often does the clock of the tower strike?",
    "thirteen",
)


@pytest.fixture
def settings(tmp_path):
    articles = [
        {"title": title, "paragraphs": [{"context": said, "qas": [{"question": asked, "answers": [{"text": gold}]}]}]}
        for title, (said, asked, gold) in FACTS.items()
    ]
    for name, line in (("xquad/xquad.en.json", {"data": articles}), ("wiki_toy/corpus.jsonl", {})):
        (tmp_path / name).parent.mkdir()
        told = line or {"_id": "1", "title": "Bread", "text": "The baker sells bread on Sundays."}
        (tmp_path / name).write_text(json.dumps(told) + "\n")
    return BenchSettings(data=tmp_path, cache=tmp_path / "cache", quick=True)


def rows_of(settings, monkeypatch, chat):
    monkeypatch.setattr(ask, "QUICK", 1)
    monkeypatch.setattr(ask, "ASKED", 1)
    monkeypatch.setattr(ask, "load_chat", lambda: chat)
    monkeypatch.setattr(ask, "LOOKED_QUICK", 1)
    return {(row.system, row.metric): row for row in ask.ask(settings)}


def test_an_answer_is_held_to_the_gold_one_and_to_what_is_cited(settings, monkeypatch):
    rows = rows_of(settings, monkeypatch, Quoter())
    assert rows["passages", "holds the answer"].value == 1
    assert rows["passages", "a citation holds it"].value == 1
    assert rows["likeness, present above absent", "AUROC"].value == 1
    assert rows["present, nothing answers", "share of questions"].value == 0


def test_who_says_anything_holds_no_answer(settings, monkeypatch):
    rows = rows_of(settings, monkeypatch, Scripted("Bread."))
    assert rows["passages", "holds the answer"].ok is False
    assert rows["absent, nothing answers", "share of questions"].ok is False  # it is no model of this machine


def test_few_questions_are_parted_and_one_is_refused(settings, monkeypatch):
    monkeypatch.setattr(ask, "load_chat", Quoter)
    rows = {(row.system, row.metric): row for row in ask.ask(settings)}
    assert rows["absent, nothing answers", "share of questions"].note == "1 asked"
    assert rows["present, nothing answers", "share of questions"].note == "1 asked"
    told = {"data": [{"title": "T", "paragraphs": [{"context": "C", "qas": []}]}]}
    (settings.data / "xquad" / "xquad.en.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match="holds 0 questions; bench ask needs 2 at least"):
        list(ask.ask(settings))
