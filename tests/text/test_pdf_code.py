"""Code in PDFs: as it is indented, between fences, never a heading; prose in such letters stays prose."""

import pytest
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.text.headings import find_headings
from foveal.text.pdf import read_pdf
from foveal.text.pdf_blocks import fenced
from foveal.text.pdf_code import Code, typed
from foveal.text.pdf_headings import Typed

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


def test_headings_are_counted_against_the_lines_of_code_too():
    made = FPDF()
    made.add_page()
    for name in ("Bisect", "Insort", "Heapify", "Merge"):
        made.set_font("Times", "B", size=15)
        made.cell(0, 9, name, new_x="LMARGIN", new_y="NEXT")
        made.set_font("Times", size=11)
        made.multi_cell(0, 5, PROSE, new_x="LMARGIN", new_y="NEXT")
        made.set_font("Courier", size=9)
        for line in ("def near(a):", "    x = a", "    if x:", "        y", "    return {}"):
            made.cell(0, 4, line, new_x="LMARGIN", new_y="NEXT")
    text = read_pdf(bytes(made.output()), name="a.pdf", max_characters=10**6).text
    assert [heading.title for heading in find_headings(text)] == ["Bisect", "Insort", "Heapify", "Merge"]
    assert text.count("```\ndef near(a):\n    x = a") == 4


@pytest.mark.parametrize("above", [True, False])
def test_a_listing_within_a_sentence_is_moved_with_its_caption(above):
    made = FPDF()
    made.add_page()

    def small():
        made.set_font("Times", size=8)
        made.cell(0, 4, "Listing 3: How it is found.", new_x="LMARGIN", new_y="NEXT")

    made.set_font("Times", size=11)
    made.multi_cell(
        0, 5, f"{PROSE * 6}\nIt looks at what is near and at what is far, and if it wants to and it can then"
    )
    made.ln(3)
    if above:
        small()
    made.set_font("Courier", size=8)
    for line in ("def near(a):", "    return {}"):
        made.cell(0, 4, line, new_x="LMARGIN", new_y="NEXT")
    if not above:
        small()
    made.set_font("Times", size=11)
    made.multi_cell(0, 5, f"turns to what it sees. {PROSE * 6}")
    text = read_pdf(bytes(made.output()), name="a.pdf", max_characters=10**6).text
    code, caption = "```\ndef near(a):\n    return {}\n```", "Listing 3: How it is found."
    assert (f"{caption}\n\n{code}" if above else f"{code}\n\n{caption}") in text
    assert "it can then\nturns to" in text


def test_the_number_of_the_page_is_no_code_where_its_digits_are_as_wide():
    made = FPDF()
    made.add_page()
    made.set_font("Times", size=12)
    made.multi_cell(0, 5, PROSE * 9, new_x="LMARGIN", new_y="NEXT")
    made.set_font("Courier", size=10)
    for line in ("def near(a):", "    return {}"):
        made.cell(0, 4, line, new_x="LMARGIN", new_y="NEXT")
    made.ln(3)
    made.set_font("Times", size=12)
    made.cell(0, 5, "12")
    text = read_pdf(bytes(made.output()), name="a.pdf", max_characters=10**6).text
    assert text.endswith("```\ndef near(a):\n    return {}\n```\n\n12")


def test_addresses_are_no_code_and_numbered_lines_are():
    authors = "{ann,bob}@eye.org\nlook@sight.com"
    numbered = "1  def near(a):\n2      return it\n3  class Eye:\n4      pass"
    text = read(("prose", PROSE * 9), ("code", authors), ("prose", PROSE * 9), ("code", numbered)).text
    assert authors in text
    assert text.endswith(f"```\n{numbered}\n```")
    assert text.count("```") == 2


def test_letters_far_from_all_others_do_not_swell_the_text():
    made = FPDF()
    made.add_page()
    made.set_font("Times", size=11)
    made.multi_cell(0, 5, PROSE * 15)
    made.set_font("Courier", size=5)
    for at in range(60):
        made.text(10 if at % 2 else 9000, 120 + 2 * at, "if={m};")
    assert len(read_pdf(bytes(made.output()), name="a.pdf", max_characters=10**6).text) < 20_000


def test_blocks_that_changed_places_on_a_page_go_on_over_its_end():
    def rows(*texts):
        return Code(tuple(Typed(50.0, 700.0 - 10 * at, 6.0, text) for at, text in enumerate(texts)))

    codes = [rows("one = 1"), rows("two = 2"), rows("three = 3")]
    pages, going_on = fenced(["\ufdd01\ufdd1\nText.\n\ufdd00\ufdd1", "\ufdd02\ufdd1\nMore."], codes)
    assert pages == ["```\ntwo = 2\n```\nText.\n```\none = 1", "three = 3\n```\nMore."]
    assert going_on == {1}


def test_far_words_of_a_line_have_to_stand_in_their_columns_too():
    line = "look(at, one) is what it needs, and more"

    def of(shift, behind):
        return typed(line, 0, lambda at: (6.0 * at + (shift if at >= behind else 0), 700.0), lambda _: 6.0)

    assert of(0, 0).text == line
    assert of(12, 14).text == line.replace(" is", "   is")
    assert of(2, 20) is None
    assert of(2, len(line) - 1) is None
