"""A follow-up in words that stand by themselves: what the model is shown, and what of its reply is the question."""

from __future__ import annotations

import pytest
from reading.speakers import Scripted

from foveal.reading.query_rewriting import LONGEST, OF_A_TURN, TURNS, standalone

TALK = [{"role": "user", "content": "What stands at\nthe river?"}, {"role": "assistant", "content": "The {tide} mill."}]


def test_where_nothing_was_said_before_the_model_is_not_asked() -> None:
    model = Scripted("Who built the mill?")
    assert standalone(model, [], "And who built it?") == "And who built it?"
    assert model.asked == []


@pytest.mark.parametrize(
    ("written", "question"),
    [
        ("Who built the mill?", "Who built the mill?"),
        ("\n  Who built\tthe mill?\nBecause it is asked.", "Who built the mill?"),
        ('Question: "Who built the mill?"', "Who built the mill?"),
        ("The question by itself: “Wer baute die Mühle?”", "Wer baute die Mühle?"),
        ("谁建造了磨坊？", "谁建造了磨坊？"),
        ("Who built the mill? [1]", "Who built the mill?"),
        ("Who built the mill [12]?", "Who built the mill?"),
        ('Who said "no"?', 'Who said "no"?'),
        ('"Yes" or "no"', '"Yes" or "no"'),
        ("", "And who built it?"),
        ("???", "And who built it?"),
        ("why " * LONGEST, "And who built it?"),
    ],
)
def test_the_first_line_of_the_reply_is_the_question(written: str, question: str) -> None:
    assert standalone(Scripted(written), TALK, "And who built it?") == question


def test_the_end_of_the_talk_is_shown_and_of_each_message_its_beginning() -> None:
    model = Scripted("Who?")
    long = [{"role": "user", "content": f"{number} " + "x" * 2 * OF_A_TURN} for number in range(TURNS)]
    standalone(model, [*long, *TALK], "And who built it?")
    shown = model.asked[0][-1]["content"]
    assert "User: What stands at the river?\nAssistant: The {tide} mill.\n" in shown
    assert [f"User: {number} x" in shown for number in range(TURNS)] == [False, False, True, True, True, True]
    assert "x" * (OF_A_TURN - 2) in shown
    assert "x" * OF_A_TURN not in shown
