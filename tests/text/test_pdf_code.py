"""Code in PDFs: as it is indented, between fences, never a heading; prose in such letters stays prose."""

import pytest
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.text.headings import find_headings
from foveal.text.pdf import read_pdf
from foveal.text.pdf_code import typed

PROSE = "The fovea is the small part of the retina that sees sharply, and the eye turns it to what matters most. "
PROGRAM = """# Find what is near
def near(a, x):
    at = bisect(a, x)         # counted  from 0

    for one in range(
        at, len(a)
    ):
        if a[one] - x < 1:
            return one
)
}
raise ValueError("nothing")"""


def pdf(*parts, size=9, indent=10):
    made = FPDF()
    made.add_page()
    for kind, text in parts:
        if kind == "page":
            made.add_page()
        elif kind == "prose":
            made.set_font("Times", size=11)
            made.multi_cell(0, 5, text, new_x="LMARGIN", new_y="NEXT")
        else:
            made.set_font("Courier", size=size)
            for line in text.split("\n"):
                made.set_x(indent)
                made.cell(0, 4, line, new_x="LMARGIN", new_y="NEXT")
        made.ln(3)
    return bytes(made.output())


def read(*parts, **keywords):
    return read_pdf(pdf(*parts, **keywords), name="a.pdf", max_characters=10**6)


def test_a_program_keeps_its_indentation_its_gaps_and_its_blank_lines():
    text = read(("prose", PROSE * 9), ("code", PROGRAM), ("prose", PROSE * 9), indent=25).text
    assert f"most.\n\n```\n{PROGRAM}\n```\n\nThe fovea" in text


def test_neither_a_comment_nor_the_head_of_a_column_is_a_heading():
    parts = [("prose", PROSE * 9), ("code", PROGRAM), ("prose", f"# of eyes\n{PROSE * 9}"), ("code", "# alone")] * 4
    text = read(*parts).text
    assert find_headings(text) == []
    assert "#\u00a0of eyes" in text
    assert "```\n# alone\n```" in text


def test_a_program_that_goes_on_over_the_page_is_one_and_indented_alike():
    lines = PROGRAM.split("\n")
    text = read(
        ("prose", PROSE * 9),
        ("code", "\n".join(lines[:7])),
        ("page", ""),
        ("code", "\n".join(lines[7:9])),
        ("prose", PROSE * 9),
    )
    assert "```\n" + "\n".join(lines[:9]) + "\n```\n\nThe fovea" in text.text
    assert text.text[text.pages[1] :].startswith("        if a[one]")


def test_lines_that_a_hyphen_ends_are_not_joined():
    program = "total = first -\n    second\nwell-\nknown = 1"
    assert f"```\n{program}\n```" in read(("prose", PROSE * 9), ("code", program), ("prose", PROSE * 9)).text


def test_a_fence_is_longer_than_those_within():
    program = "text = '''\n```\ncode = 1\n```\n'''"
    assert f"````\n{program}\n````" in read(("prose", PROSE * 9), ("code", program), ("prose", PROSE * 9)).text


def test_prose_in_such_letters_is_no_code():
    letter = "Dear reader, I write to you\nfrom the coast, where it has\nrained since Sunday without end."
    text = read(("prose", PROSE * 9), ("code", letter), ("prose", PROSE * 9)).text
    assert letter in text
    assert "```" not in text


def test_a_document_that_is_typed_as_a_whole_stays_as_it_is():
    text = read(("prose", "A"), ("code", f"{PROGRAM}\n" * 4)).text
    assert "```" not in text


def test_larger_lines_are_headings_and_no_code():
    made = FPDF()
    made.add_page()
    for name in ("bisect", "insort", "heapify"):
        made.set_font("Courier", size=16)
        made.cell(0, 9, f"{name}(a, x)", new_x="LMARGIN", new_y="NEXT")
        made.set_font("Times", size=11)
        made.multi_cell(0, 5, PROSE * 5, new_x="LMARGIN", new_y="NEXT")
    text = read_pdf(bytes(made.output()), name="a.pdf", max_characters=10**6).text
    assert [heading.title for heading in find_headings(text)] == ["bisect(a, x)", "insort(a, x)", "heapify(a, x)"]


@pytest.mark.parametrize("size", [10.0, 12.0])
def test_lines_in_small_letters_are_headings_only_where_they_are_much_larger(size):
    made = FPDF()
    made.add_page()
    for name in ("assert", "await", "break", "class"):
        made.set_font("Times", size=size * 1.2 if size == 10 else size * 1.5)
        made.cell(0, 9, f"{name} it", new_x="LMARGIN", new_y="NEXT")
        made.set_font("Times", size=size)
        made.multi_cell(0, 5, PROSE * 5, new_x="LMARGIN", new_y="NEXT")
    text = read_pdf(bytes(made.output()), name="a.pdf", max_characters=10**6).text
    assert len(find_headings(text)) == (0 if size == 10 else 4)


WORDS = st.text(st.sampled_from("abilmnwx_=(){}[]<>+-*/.,:;'\"#%&!?0123456789"), min_size=1, max_size=8)
ROWS = st.tuples(st.integers(0, 3), st.lists(WORDS, min_size=1, max_size=5), st.integers(1, 4)).map(
    lambda row: " " * (4 * row[0]) + (" " * row[2]).join(row[1])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=12))
def test_any_program_comes_back_to_the_letter(rows):
    program = "\n".join(["def will(a):", *rows, "will[1] = {}"])
    assert f"```\n{program}\n```" in read(("prose", PROSE * 30), ("code", program), ("prose", PROSE * 30)).text


def test_letters_on_a_grid_of_any_width_are_typed_and_others_are_not():
    line = "if more: 打开 it"
    columns = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 14, 15]

    def of(places, step=6.0):
        return typed(line, 0, lambda at: (50 + places[at] * 6.0, 700.0), lambda _: step)

    assert of(columns).text == line
    assert of(columns).proven
    assert of([place * 1.3 for place in columns]) is None
    assert of(columns, step=0.0) is None
    assert typed("   ", 0, lambda _: (0.0, 0.0), lambda _: 6.0) is None
