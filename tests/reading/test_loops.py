"""Loops end where they were said once; what repeats itself for a reason is left as it is."""

from __future__ import annotations

from itertools import chain, cycle

import pytest

from foveal.reading.loops import LEAST, LOOKED, said_once, until_round


@pytest.mark.parametrize(
    ("text", "once"),
    [
        ("Red. " + "It is so. " * 12, "Red. It is so."),
        ("Red. " + "It is so. " * 12 + "It i", "Red. It is so."),
        ("Red. " + "It was Olof Brandt. [[1]] " * 9, "Red. It was Olof Brandt. [[1]]"),
        ("Red [[2]]. " + "It was Olof Brandt [[1]]. " * 9, "Red [[2]]. It was Olof Brandt [[1]]."),
        ("He said: " + "“It is so.” " * 12, "He said: “It is so.”"),
        ("他是建筑师。[1]" * 40, "他是建筑师。[1]"),
        ("Things:\n" + "- The mill is red\n" * 9, "Things:\n- The mill is red"),
        ("| a | b |\n|---|---|\n" + "| unknown | none |\n" * 9, "| a | b |\n|---|---|\n| unknown | none |"),
    ],
)
def test_a_loop_is_said_once_with_its_marks(text, once):
    assert said_once(text) == once


@pytest.mark.parametrize("said", ["It is so. ", "It was Olof Brandt of Vasa, who taught her there. [[1]] ", ",000"])
def test_an_endless_answer_is_heard_for_a_few_rounds(said):
    heard = "".join(until_round(chain("Red. ", cycle(said))))
    assert len(heard) <= 5 + max(LEAST, 5 * len(said)) + LOOKED
    assert said_once(heard) == f"Red. {said.rstrip()}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "| Name | Year |\n|" + "-" * 70 + "|",
        "|" + " --- |" * 12,
        "| row |" + " yes |" * 12,
        "x = [0" + ", 0" * 30,
        "def f():\n    return 1" + " " * 60,
        "They sang: " + "na " * 20,
        "Row, row, row your boat,\nGently down the stream.\n" * 3,
        "It is so. " * 8,
        "".join(f"{number}. The mill is red.\n" for number in range(1, 30)),
    ],
)
def test_what_repeats_itself_for_a_reason_is_left_and_not_broken_off(text):
    for size in range(1, 9):
        pieces = [text[place : place + size] for place in range(0, len(text), size)]
        assert "".join(until_round(pieces)) == text
    assert said_once(text) == text
