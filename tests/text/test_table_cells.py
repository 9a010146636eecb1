"""The cells of tables: every character once, what parts them told from what they hold, as the csv module reads them."""

from __future__ import annotations

import csv
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.text.code_blocks import code_blocks
from foveal.text.table_cells import barred, grids_of, shown_of
from foveal.types import Document


def document(text, name):
    return Document.of(f"test:{name}", text, "x", metadata={"source": name})


def table(text, name="a.md"):
    """The words of the only table's cells, row by row."""
    (grid,) = grids_of(document(text, name))
    cells = grid.cells(text, 0, len(text))
    assert "".join(text[one.start : one.end] for one in cells) == text[grid.start : grid.end]
    rows = [list(group) for _, group in groupby(cells, lambda one: one.row)]
    assert all([one.column for one in row] == list(range(len(row))) for row in rows)
    return [["".join(text[a:b] for a, b in shown_of(one)) for one in row] for row in rows]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", [["a", "b"], ["1", "2"]]),
        ("a | b\n--|--\n1 | 2", [["a", "b"], ["1", "2"]]),
        ("a|b\r\n-|-\r\n1|2\r\n", [["a", "b"], ["1", "2"]]),
        ("| a | b |\n|---|---|", [["a", "b"]]),
        ("| a | b |\n|---|---|\n|  | x \\| y |\n| 1 | 2 | 3 |\n| 4\n|\n", [
            ["a", "b"], ["", "x | y"], ["1", "2", "3"], ["4"], [""],
        ]),
        ("so\n\n| a | b |\n|---|---|\n| 1 | 2 |\nx | y\n# Title | x\n", [["a", "b"], ["1", "2"], ["x", "y"]]),
        ("| a | b |\n|---|---|\n> 1 | 2\n", [["a", "b"]]),
    ],
    ids=["bars", "open", "windows", "headonly", "ragged", "around", "quotation"],
)  # fmt: skip
def test_rows_of_markdown(text, rows):
    assert table(text) == rows


def test_rules_align_columns():
    (grid,) = grids_of(document("|a|b|c|d|\n|:-|-:|:-:|-|\n|1|2|3|4|5|\n", "a.md"))
    assert [one.align for one in grid.cells("|a|b|c|d|\n|:-|-:|:-:|-|\n|1|2|3|4|5|\n", 0, 99)[4:]] == [
        "",
        "end",
        "middle",
        "",
        "",
    ]


def test_a_table_within_code_is_none():
    fenced = "```\n| a | b |\n|---|---|\n| 1 | 2 |\n```\n\n| c | d |\n|---|---|\n"
    found = grids_of(document(fenced, "a.md"), code_blocks(fenced, indented=True))
    assert [one.names(fenced) for one in found] == [["c", "d"]]


@pytest.mark.parametrize(
    ("text", "name", "head", "start"),
    [
        ("# of 1790\nname,built\nA,1\nB,2\n", "a.csv", ["name", "built"], 10),
        ("Ada,36\nBob,40\n", "a.csv", [], 0),
        ("name\tbuilt\nA\t1\n", "a.tsv", ["name", "built"], 0),
        ("name;built\nA;1,5\n", "a.csv.txt", ["name", "built"], 0),
    ],
    ids=["note", "nohead", "tabs", "upload"],
)
def test_the_head_of_a_file(text, name, head, start):
    (grid,) = grids_of(document(text, name))
    assert (grid.names(text), grid.start, grid.end) == (head, start, len(text))


def test_a_file_of_one_column_is_no_table():
    assert grids_of(document("a\nb\nc\n", "a.csv")) == ()


CELLS = st.lists(
    st.lists(st.text(st.sampled_from('ab ,"\n1'), max_size=6), min_size=2, max_size=4), min_size=1, max_size=12
)


class Kept(list[str]):
    """What a csv writer writes."""

    write = list.append


@given(CELLS, st.sampled_from(["\n", "\r\n"]))
def test_a_file_is_read_as_it_was_written(rows, ends):
    written = Kept()
    csv.writer(written, lineterminator=ends).writerows([["key", "name"], *rows])
    text = "".join(written)
    shown = table(text, "a.csv") if grids_of(document(text, "a.csv")) else None
    if shown is not None and len(shown) == len(rows) + 1:  # a wider first row is no head, but a note above the table
        assert [[*row, *[""] * (len(cells) - len(row))] for row, cells in zip(shown[1:], rows, strict=True)] == rows


@given(st.text(st.sampled_from('ab |\\-:\n#>"'), max_size=80), st.data())
def test_the_rows_of_a_stretch_are_those_that_lie_in_it(text, data):
    text = f"| a | b |\n|---|---|\n{text}"
    start, end = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=2, unique=True)))
    for grid in grids_of(document(text, "a.md")):
        every = grid.cells(text, 0, len(text))
        rows = {one.row for one in every if one.row < end and max(x.end for x in every if x.row == one.row) > start}
        assert grid.cells(text, start, end) == [one for one in every if one.row in rows]


def test_quotations_that_nothing_closes_take_no_time_and_lose_nothing():
    text = "name,built\n" + 'a,"b\n' * 20_000 + '"'
    assert table(text, "a.csv")[0] == ["name", "built"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", ["a · b", "1 · 2"]),
        (
            "so:\n\n| a | b |\n|---|---|\n| x \\| y | |\n\nEnd | of it.",
            ["so:", "", "a · b", "x | y ·", "", "End | of it."],
        ),
        ("a | b\n---|---\n1 | 2", ["a · b", "1 · 2"]),
    ],
)
def test_bars_are_dots_between_cells_and_no_character_moves(text, shown):
    cells = [cell for grid in grids_of(document(text, "a.md")) for cell in grid.cells(text, 0, len(text))]
    made = barred(text, 0, cells)
    assert len(made) == len(text)
    assert [" ".join(line.split()) for line in made.rstrip("\n").split("\n")] == shown
    for start in range(len(text)):
        assert barred(text[start:], start, cells) == made[start:]
        assert barred(text[:start], 0, cells) in (made[:start], made[: start - 1] + text[start - 1])
