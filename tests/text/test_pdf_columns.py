"""Pages drawn across their columns read as those drawn column by column; tables, forms and lists stay as they are."""

from __future__ import annotations

from itertools import pairwise

import pytest
from fpdf import FPDF
from hypothesis import given
from hypothesis import strategies as st

from foveal.text import pdf
from foveal.text.pdf import read_pdf
from foveal.text.pdf_columns import in_columns

PROSE = (
    "The fovea is the small part of the retina that sees sharply. It holds the cones, which tell colours apart, and "
    "hardly any of the rods. In the dark one sees better beside it. A reader moves it in small jumps from word to word "
    "and takes in what stands around it, too. Machines can do alike: they look at few places of a long text and pass "
    "over all of the others. This is what sparse attention means here. We measure it on books, on statutes and on the "
    "proceedings of a parliament. What is found is shown with its place, so that nobody has to take a word on trust. "
) * 2


def lines_of(text: str, width: float, indent: int = 0) -> list[str]:
    """The text in lines of at most so many millimetres; every fifth one is cut at a hyphen where a word is long."""
    measure = FPDF()
    measure.set_font("helvetica", size=10)
    lines, line = [], " " * indent
    for word in text.split():
        if measure.get_string_width(f"{line} {word}") > width:
            cut = len(word) // 2 if len(lines) % 5 == 4 and len(word) > 6 and word.isalpha() else 0
            lines.append(f"{line} {word[:cut]}-".strip() if cut else line.strip())
            line = word[cut:]
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]


def page(columns, *, across: bool, width: float = 80.0, shift: float = 0.0, above=(), below=()) -> bytes:
    """Columns of lines, drawn line by line over all or column by column; each stands `shift` mm higher."""
    made = FPDF()
    made.set_font("helvetica", size=10)
    made.add_page()
    for y, line in above:
        made.text(18, y, line)
    places = [
        (
            18 + column * (width + 7) + (4 if line.startswith("We measure") else 0),
            50 + 5 * row - shift * column,
            line,
            row,
        )
        for column, lines in enumerate(columns)
        for row, line in enumerate(lines)
    ]
    for x, y, line, _ in sorted(places, key=lambda place: place[3]) if across else places:
        if line:
            made.text(x, y, line)
    for y, line in below:
        made.text(100, y, line)
    return bytes(made.output())


def read(content: bytes) -> str:
    return read_pdf(content, name="a.pdf", max_characters=10**6).text


def halves(lines, count=2):
    each = -(-len(lines) // count)
    return [lines[n * each : (n + 1) * each] for n in range(count)]


TITLE = [(25.0, "A study of sight, and of the machines that look where it matters, by several hands, in one page")]
NUMBER = [(280.0, "17")]


@pytest.mark.parametrize("shift", [0.0, 0.4, -0.4])
@pytest.mark.parametrize(("count", "width"), [(2, 80.0), (3, 54.0)])
def test_a_page_drawn_across_its_columns_reads_as_one_drawn_along_them(count, width, shift):
    columns = halves(lines_of(PROSE, width), count)
    given = {"width": width, "shift": shift, "above": TITLE, "below": NUMBER}
    along = read(page(columns, across=False, **given))
    across = read(page(columns, across=True, **given))
    assert across.split() == along.split()
    assert " ".join(across.split()).count("the proceedings of a parliament. What is found") == 2
    assert across.startswith("A study of sight")
    assert across.endswith("17")


def test_a_left_column_that_ends_first_and_one_with_gaps():
    lines = lines_of(PROSE, 80.0)
    left, right = lines[:9], lines[9:]
    left = [*left[:5], "", *left[5:]]
    assert len(right) > len(left)
    assert read(page([left, right], across=True)).split() == read(page([left, right], across=False)).split()


def test_what_runs_over_both_columns_parts_what_stands_above_and_below_it():
    left, right = (
        [f"{name} {n} holds so many words that they fill its line" for n in range(12)] for name in ("Left", "Right")
    )
    made = FPDF()
    made.set_font("helvetica", size=10)
    made.add_page()
    caption = (
        "Figure 1: what eyes looked at while somebody read this very sentence on a page of two columns, in seconds"
    )
    for row, (a, b) in enumerate(zip(left, right, strict=True)):
        if row == 9:
            made.text(18, 50 + 5 * row, caption)
        y = 50 + 5 * (row + (row >= 9))
        made.text(18, y, a)
        made.text(105, y, b)
    found = " ".join(read(bytes(made.output())).split())
    order = [found.index(part) for part in (left[0], left[8], right[0], right[8], caption, left[9], right[9])]
    assert order == sorted(order)


TABLES = {
    "names": [
        [f"Person number {n}" for n in range(30)],
        [f"{1900 + n} to {1970 + n}, in the town of Delft" for n in range(30)],
    ],
    "answers": [
        [f"Question {n} of the form" + " and more" * (n % 4) for n in range(30)],
        ["yes" if n % 2 else "no, never in any of the years" for n in range(30)],
    ],
    "few": halves(lines_of(PROSE, 80.0)[:14]),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_forms_and_what_is_short_read_row_by_row(name, monkeypatch):
    content = page(TABLES[name], across=True)
    found = read(content)
    monkeypatch.setattr(pdf, "in_columns", lambda *_: None)
    assert found == read(content)


boxes = st.tuples(*(st.floats(0, 600) for _ in range(2)), *(st.floats(0.1, 40) for _ in range(2)))


@given(st.lists(st.tuples(st.sampled_from("ab \n\r\ufffe"), boxes), max_size=60), st.integers(1, 20))
def test_each_character_is_in_one_piece_at_most(drawn, times):
    characters = "".join(one for one, _ in drawn) * times
    places = [(x, y, x + width, y + height) for _, (x, y, width, height) in drawn] * times
    found = in_columns(characters, places.__getitem__)
    if found is not None:
        assert sorted("".join(characters[a:b] for a, b in found).split()) == sorted(characters.split())
        ordered = sorted(found)
        assert all(end <= start for (_, end), (start, _) in pairwise(ordered))
