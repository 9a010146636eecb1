"""Which stretch of a passage is shown: the one with the most words of the query, found in one walk."""

import random

import pytest

from foveal.web.passage_marks import in_a_line, marked_words

ASKED = ("keeper", "river", "stone")


def stretch_by_definition(line: str, width: int) -> int:
    """Of all stretches that begin with a marked word: the most different ones, then the most, then the first."""
    places, at = [], 0
    for word in line.split(" "):
        places += [(at, word)] if word in ASKED else []
        at += len(word) + 1

    def held(start: int) -> tuple[int, int, int]:
        words = [word for place, word in places if start <= place < start + width]
        return len(set(words)), len(words), -start

    return max((place for place, _ in places), key=held)


@pytest.mark.parametrize("most", [80, 120, 200])
def test_the_densest_stretch_is_shown(most):
    draw = random.Random(most)
    for _ in range(40):
        words = draw.choices([*ASKED, ""], [1, 1, 1, 18], k=300)
        line = " ".join(word or f"n{at}" for at, word in enumerate(words))
        shown = "".join(one.text for one in marked_words(line, " ".join(ASKED), most)).strip("… ")
        start = max(0, min(stretch_by_definition(line, most - 90) - 60, len(line) - most))
        assert 0 <= line.index(shown) - start <= 31  # at the next whole word


def test_a_passage_in_which_every_word_is_asked_for():
    """Each word was once held against all the others: so many took minutes."""
    shown = marked_words("reading " * 50_000, "reading")
    assert {one.text for one in shown if one.marked} == {"reading"}
    assert sum(one.marked for one in shown) == 52


def test_what_a_question_is_asked_with_is_not_marked():
    assert [one.text for one in marked_words("A kill does no harm.", "how does a kill do harm") if one.marked] == [
        "kill",
        "harm",
    ]
    assert [one.text for one in marked_words("It does.", "does") if one.marked] == ["does"]


def test_a_row_of_a_table_is_shown_as_its_cells() -> None:
    """Not with bars, nor with the rule below its head; a bar that a cell holds stays."""
    table = "| size | seconds |\n| --- | ---: |\n| 20 \\| 30 |  |\n| 40 | 7 |\nSo a | b is no row."
    shown = "".join(one.text for one in marked_words(table, "seconds"))
    assert shown == "size · seconds · 20 | 30 · 40 · 7 · So a | b is no row."


def test_marks_of_bold_are_left_out_but_stars_that_mean_something_stay() -> None:
    """As in "2 ** 3", or a glob."""
    shown = "".join(
        one.text for one in marked_words("**Fell short**: 2 ** 3 of src/**/*.py, **a** and *b*.\n| c |", "x")
    )
    assert shown == "Fell short: 2 ** 3 of src/**/*.py, a and *b*. c"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("## Measured\n\nThe lamp burns.", "Measured · The lamp burns."),
        ("# The lamp\n## Oil\nIt is late.\n", "The lamp · Oil · It is late."),
        ("Run this:\n# light it\nlamp --on", "Run this: # light it lamp --on"),
        ("It is late.\n\n## Oil\n\n### Of whales\n\nIt burns.\n", "It is late. Oil · Of whales · It burns."),
        ("```\nlamp\n```\n\n# light it\n\nlamp --on", "lamp # light it lamp --on"),
        ("## Only this", "## Only this"),
        ("The lamp\n========\n\nIt burns.\n\nOil\n---\nOf whales.", "The lamp · It burns. Oil · Of whales."),
        ("```\ntotal\n-----\n7\n```\n", "total ----- 7"),
        ("One.\n\n---\n\nTwo -- three", "One. --- Two -- three"),
        ("#hash tags\nare none", "#hash tags are none"),
        ("Run:\n\n```sh\nlamp --on\n```\n\nIt burns.", "Run: lamp --on It burns."),
        (
            "See [the lamp](lamp.md#oil), ![a wheel](wheel.png) and [2](https://example.org/a).",
            "See the lamp, a wheel and 2.",
        ),
        ("f[0](x.y), [n](m) and [a] (b), [see](the note)", "f[0](x.y), [n](m) and [a] (b), [see](the note)"),
        ("`lamp` and **`--on`**, ``a ` b``, 5` long", "lamp and --on, ``a ` b``, 5` long"),
    ],
)
def test_a_passage_in_a_line_is_without_the_marks_of_markdown(text, line):
    assert in_a_line(text) == line
