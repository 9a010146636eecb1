"""Answers on long documents are kept as they come."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from foveal.bench.read_longdoc import Answers, Told
from foveal.evaluation.longdoc import Question, Task

QUESTIONS = tuple(Question(f"q{n}", f"d{n % 2}", f"text {n % 2}", f"question {n}", ("a",)) for n in range(5))
TASK = Task("natural_question", "f1", QUESTIONS)


def test_a_stopped_run_goes_on_with_the_text_that_it_was_at(tmp_path):
    store, asked = tmp_path / "answers.jsonl", []

    def make(questions):
        asked.append([one.id for one in questions])
        if len(asked) == 2:
            raise KeyboardInterrupt
        return [(f"answer to {one.question}", [(0, 4)]) for one in questions]

    with pytest.raises(KeyboardInterrupt):
        Answers(store, []).told(TASK, "Foveal", QUESTIONS, make)
    assert asked == [["q0", "q2", "q4"], ["q1", "q3"]]
    again = Answers(store, [Told(**one) for one in _lines(store)])
    told = again.told(TASK, "Foveal", QUESTIONS, make)
    assert asked[2:] == [["q1", "q3"]]
    assert [one.answer for one in told] == [f"answer to question {n}" for n in range(5)]
    assert again.told(TASK, "Foveal", QUESTIONS[::-1], make)[0].answer == "answer to question 4"
    assert len(asked) == 3


def test_another_system_or_text_is_asked_anew(tmp_path):
    answers = Answers(tmp_path / "answers.jsonl", [])
    first = answers.told(TASK, "Foveal", QUESTIONS, lambda asked: [("a", []) for _ in asked])
    other = answers.told(TASK, "BM25S", QUESTIONS, lambda asked: [("b", []) for _ in asked])
    moved = [replace(one, text=f"{one.text}, changed") for one in QUESTIONS]
    changed = answers.told(TASK, "Foveal", moved, lambda asked: [("c", []) for _ in asked])
    assert [{one.answer for one in told} for told in (first, other, changed)] == [{"a"}, {"b"}, {"c"}]


def _lines(store):
    return [json.loads(line) for line in store.read_text(encoding="utf-8").splitlines()]
