"""A follow-up in words that stand by themselves: what the model is shown, and what of its reply is the question; and,
for a model that is too small, the question before in front of it.
"""

from __future__ import annotations

import pytest
from reading.speakers import Scripted

from foveal.reading.query_rewriting import LONGEST, LONGEST_BEFORE, OF_A_TURN, TURNS, carried, leans, standalone

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


LEANS = [
    *("And who built it?", "When do they end?", "Why?", "And then?", "What mode does it have?", "Who lives there?"),
    *("And how many tokens does it take?", "Which of them are refused?", "What about the default?", "Is that done?"),
    *("How long does that hold?", "How does one leave it?", "And how can that be turned off?", "Who may read it?"),
    *("And the keeper of the mill?", "How can you do it?", "And you?"),
]
STANDS = [
    *("Who keeps the mill?", "What happens to a document when it is removed?", "Is there a limit?", "Are they ICML’s?"),
    *("Is it possible to read a page?", "What does it take to run a server?", "How does this site choose papers?"),
    *("Does FlexPrefill need it?", "Who wrote “it”?", "Is it `it`?", "Does it read foveal.toml?", "Is it 7?", "Warum?"),
    *("Wer darf das lesen?", "谁管理它？", "", "???", "When a replica dies, is it replaced?"),
    *("Who are you?", "What can you do?", "Hi there!", "So viele bücher?", "So sánh giá"),
]


@pytest.mark.parametrize("question", LEANS)
def test_a_question_that_leans_on_the_one_before_is_put_behind_it(question: str) -> None:
    assert leans(question)
    assert carried(TALK, question) == f"What stands at the river? {question}"


@pytest.mark.parametrize("question", STANDS)
def test_a_question_that_stands_by_itself_stays_as_it_is(question: str) -> None:
    assert carried(TALK, question) == question


def test_the_question_before_is_the_last_one_that_stands_by_itself() -> None:
    talk = [{"role": "user", "content": one} for one in ("Who keeps the mill", "And why?", "And since when?")]
    answer = {"role": "assistant", "content": "Orsin Vale keeps the mill."}
    assert carried([*talk, answer], "And where is it?") == "Who keeps the mill. And where is it?"
    assert carried([answer, *talk[1:]], "And where is it?") == "And where is it?"
    assert carried([], "And where is it?") == "And where is it?"
    assert carried([*talk, *[answer] * TURNS], "And where is it?") == "And where is it?"
    pasted = {"role": "user", "content": "mill " * LONGEST_BEFORE}
    assert carried([*talk, pasted], "And where is it?") == "And where is it?"
    assert (
        carried(talk, "And " + " " * 10 + "where is it" + "?" * LONGEST)
        == "And " + " " * 10 + "where is it" + "?" * LONGEST
    )
