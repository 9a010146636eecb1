"""Headings of PDFs: by type and by outline, at their levels, and nothing that only looks like one."""

from contextlib import closing

import pytest
from fpdf import FPDF
from hypothesis import given
from hypothesis import strategies as st
from pypdfium2 import PdfDocument

from foveal.errors import UnreadableSource
from foveal.text.headings import find_headings
from foveal.text.loading import read_document
from foveal.text.pdf import _cells, read_pdf
from foveal.text.pdf_headings import Bookmark, Line, marked
from foveal.text.pdf_letters import Glyphs, boxes
from foveal.text.segmentation import HeadingSegmenter

TEXT = "The fovea is the small part of the retina that sees sharply, and the eye turns it to what matters most."
LAST = "That is all of it."


def text(count=3):
    return [*(Line(TEXT, 10, 400) for _ in range(count)), Line(LAST, 10, 400)]


def large(title, size=14.0, weight=400):
    return Line(title, size, weight)


def found(pages, outline=()):
    whole = "\n".join(marked(pages, outline))
    return [(heading.level, heading.title) for heading in find_headings(whole)]


def chapters(*titles, size=14.0, weight=400):
    return [line for title in titles for line in (large(title, size, weight), *text())]


def test_larger_lines_are_headings_the_larger_the_higher():
    pages = [
        [large("Seeing", 20), *text(), large("Eyes", 14), *text(), large("Light", 14), *text()],
        [large("Thinking", 20), *text(), large("Words", 14), *text()],
    ]
    assert found(pages) == [(1, "Seeing"), (2, "Eyes"), (2, "Light"), (1, "Thinking"), (2, "Words")]


def test_bold_lines_of_the_texts_size_stand_below_larger_ones():
    pages = [[*chapters("Seeing"), *chapters("Eyes", "Light", size=10.0, weight=700), *chapters("Thinking")]]
    assert found(pages) == [(1, "Seeing"), (2, "Eyes"), (2, "Light"), (1, "Thinking")]


def test_the_head_of_a_table_is_no_heading():
    head = [Line("Station Level Keeper", 10, 700, cells=3), Line("Oldham 310 J. Cray", 10, 400)]
    numbered = [Line("1.1 Eyes", 10, 700, cells=2), *text()]
    pages = [[*chapters("Seeing"), *head, *numbered, *head, *chapters("Thinking"), *numbered]]
    assert found(pages) == [(1, "Seeing"), (2, "1.1 Eyes"), (1, "Thinking"), (2, "1.1 Eyes")]


def test_nothing_else_changes():
    pages = [[*text(), *chapters("Seeing", "Thinking", "Doing")], text()]
    whole = marked(pages)
    assert [line for line in whole[0].split("\n") if line and line[0] != "#"] == [
        line.text for line in pages[0] if line.size == 10
    ]
    assert whole[1] == "\n".join(line.text for line in pages[1])


def test_lines_of_one_style_are_one_heading():
    two = [large("A long title that goes on"), large("over two lines"), *text()]
    assert found([[*two, *chapters("Seeing", "Thinking")]])[0] == (1, "A long title that goes on over two lines")


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ([text(), text()], "all letters are alike"),
        ([chapters("Seeing", "Thinking")], "two are too few"),
        ([[large(f"Line {n} of a large text") for n in range(6)], *[text()] * 4], "six lines in a row are text"),
        ([[large("Encoder", 14), large("Decoder", 12), Line("3.2 ms", 7, 400), *text()]] * 2, "labels of a figure"),
        ([[*text(), Line(f"{TEXT} {n}", 10, 700), *text()] for n in range(4)], "full lines of bold are emphasis"),
        ([[large("Annual report"), *text()] for _ in range(5)], "it runs along the pages"),
        ([[large("write@example.org"), *text()], [large("www.example.org"), *text()]] * 2, "addresses"),
        ([[large("42"), *text()], [large("* * *"), *text()]] * 2, "no words"),
        ([[large(f"Field {n}"), Line("________ here", 10, 400)] for n in range(9)], "every other line"),
    ],
)
def test_what_is_no_heading(pages, why):
    assert found(pages) == [], why


def test_entries_of_a_table_of_contents_are_no_headings_and_its_title_is_one():
    """As LaTeX sets it: chapters bold and larger, with their pages' numbers; sections behind dots."""
    dots = [Line(f"1.{n} Of light and what it does {'. ' * 20}{3 + n}", 10, 400) for n in range(1, 5)]
    listed = [large("Contents"), large("Preface ix", 12, 700), large("1 Seeing 3", 12, 700), *dots]
    listed += [
        large("2 Thinking . . . . . . . 9", 12, 700),
        large("New in version 2 77", 12, 700),
        Line("Words 9", 10, 400),
    ]
    pages = [listed, [*chapters("1 Seeing", "2 Thinking", "Version 3", "Version 4")]]
    titles = ["Contents", "1 Seeing", "2 Thinking", "Version 3", "Version 4"]
    assert [title for _, title in found(pages)] == titles


def test_a_heading_that_ends_with_a_number_stands_below_the_contents_of_its_page():
    dots = [Line(f"1.{n} Of light and what it does {'. ' * 20}{3 + n}", 10, 400) for n in range(1, 5)]
    pages = [[large("Contents"), *dots, *chapters("What it is", "Windows 11", "Chapter 3")]]
    assert [title for _, title in found(pages)] == ["Contents", "What it is", "Windows 11", "Chapter 3"]


def test_a_style_that_is_used_once_is_no_heading():
    assert (1, "Odd") not in found([[*chapters("Seeing", "Thinking", "Doing"), *chapters("Odd", size=18.0)]])


def test_what_repeats_over_chapters_is_a_heading():
    pages = [[*chapters(name, size=20.0), *text(), *chapters("Exercises")] for name in ("Seeing", "Thinking", "Doing")]
    spread = [page for one in pages for page in (one, text(), text())]
    assert found(spread)[:3] == [(1, "Seeing"), (2, "Exercises"), (1, "Thinking")]


def test_authors_and_title_are_left_out():
    first = [large("Where the eye looks", 20), large("Ada and Grace", 14), *text(1), large("Abstract", 14), *text()]
    assert found([first, chapters("Seeing", "Thinking")]) == [(1, "Abstract"), (1, "Seeing"), (1, "Thinking")]


def test_an_abstract_that_the_outline_leaves_out():
    first = [large("Ada and Grace", 14), *text(1), large("Abstract", 14), *text(), *chapters("1 Introduction", "Eyes")]
    outline = [Bookmark("Introduction", 1, 0), Bookmark("Eyes", 1, 0), Bookmark("Thinking", 1, 1)]
    assert found([first, chapters("Thinking")], outline)[:2] == [(1, "Abstract"), (1, "1 Introduction")]


def test_a_heading_at_the_foot_of_a_page():
    pages = [[*chapters("Seeing", "Eyes"), large("Thinking"), Line("17", 8, 400)], text()]
    assert found(pages)[-1] == (1, "Thinking")


PLAIN = [[Line("1 Seeing", 10, 400), *text(), Line("Eyes", 10, 400), *text()], [Line("2 Thinking", 10, 400), *text()]]
OUTLINE = [Bookmark("Seeing", 1, 0), Bookmark("Eyes", 2, 0), Bookmark("Thinking", 1, 1)]


def test_the_outline_names_headings_that_look_like_text():
    assert found(PLAIN, OUTLINE) == [(1, "1 Seeing"), (2, "Eyes"), (1, "2 Thinking")]


def test_the_outline_gives_its_level_to_lines_of_that_style():
    pages = [[*chapters("Seeing", "Eyes", "Light", size=14.0), *chapters("Rods", "Cones", size=12.0)]]
    outline = [Bookmark(title, 2, 0) for title in ("Seeing", "Light")]
    assert found(pages, [*outline, Bookmark("Eyes", 2, 0)]) == [
        (2, "Seeing"), (2, "Eyes"), (2, "Light"), (3, "Rods"), (3, "Cones"),
    ]  # fmt: skip


@pytest.mark.parametrize("page", [1, 7, -1])
def test_an_outline_that_leads_elsewhere_is_not_believed(page):
    assert found(PLAIN, [Bookmark(one.title, one.level, page) for one in OUTLINE[:2]] * 2) == []


def test_the_outline_means_the_larger_line_of_a_page_and_not_its_head():
    head = Line("Seeing", 9, 400)
    pages = [[head, *chapters("Seeing")], [head, *chapters("Thinking")], chapters("Doing")]
    outline = [Bookmark("Seeing", 1, 0), Bookmark("Thinking", 1, 1), Bookmark("Doing", 1, 2)]
    assert found(pages, outline) == [(1, "Seeing"), (1, "Thinking"), (1, "Doing")]
    assert marked(pages, outline)[0].startswith("Seeing\n")


def test_a_bold_head_that_is_larger_elsewhere_is_no_heading():
    head = Line("Seeing", 10, 700)
    pages = [[*chapters("Seeing")], [head, *text()], [*chapters("Thinking"), head], [head, *chapters("Doing")]]
    assert found(pages) == [(1, "Seeing"), (1, "Thinking"), (1, "Doing")]


def test_a_title_over_two_lines_in_the_outline():
    pages = [[Line("1 Seeing what", 10, 400), Line("matters", 10, 400), *text()], *PLAIN]
    outline = [Bookmark("Seeing what matters", 1, 0), *(Bookmark(b.title, b.level, b.page + 1) for b in OUTLINE)]
    assert found(pages, outline)[0] == (1, "1 Seeing what matters")


# -- real PDFs ---------------------------------------------------------------------------------------------------------


def book(*, outline, sizes=(20, 14)):
    pdf = FPDF()
    pdf.set_font("helvetica", size=11)
    for chapter in ("Seeing", "Thinking"):
        pdf.add_page()
        if outline:
            pdf.start_section(chapter)
        put(pdf, chapter, sizes[0], "B")
        for section in ("Eyes", "Light"):
            if outline:
                pdf.start_section(f"{section} of {chapter}", level=1)
            put(pdf, f"{section} of {chapter}", sizes[1], "")
            put(pdf, f"{TEXT} " * 6 + LAST, 11, "")
    return bytes(pdf.output())


def put(pdf, line, size, style):
    pdf.set_font("helvetica", style=style, size=size)
    pdf.multi_cell(0, text=line, new_x="LMARGIN", new_y="NEXT")


@pytest.mark.parametrize(("outline", "sizes"), [(False, (20, 14)), (True, (20, 14)), (True, (11, 11))])
def test_a_pdf(outline, sizes):
    read = read_pdf(book(outline=outline, sizes=sizes), name="a.pdf", max_characters=10**6)
    headings = [(heading.level, heading.title) for heading in find_headings(read.text)]
    assert headings == [
        (1, "Seeing"), (2, "Eyes of Seeing"), (2, "Light of Seeing"),
        (1, "Thinking"), (2, "Eyes of Thinking"), (2, "Light of Thinking"),
    ]  # fmt: skip
    assert read.text[read.pages[1] :].startswith("# Thinking")


def test_the_head_of_a_table_is_in_cells_and_a_heading_is_not():
    pdf = FPDF()
    pdf.add_page()
    put(pdf, "1.1    Measured in all of them", 11, "B")
    with pdf.table(col_widths=(30, 30, 30)) as table:
        for row in (("Station", "Level (cm)", "Keeper"), ("Oldham", "310", "J. Cray")):
            table.row(row)
    with closing(PdfDocument(bytes(pdf.output()))) as opened:
        text = opened[0].get_textpage()
        whole, box_of = text.get_text_range(), boxes(text)
        lines = whole.splitlines()
        assert [_cells(line, whole.index(line), box_of) for line in lines] == [2, 3, 3]


def test_large_text_that_goes_on_is_no_heading():
    """Definitions of a contract, in a table whose letters are a little larger."""
    meant = [
        large("The premises are the ground floor of the mill with the", 11),
        large("yard and the landing stage;", 11),
    ]
    whole = [large("The term is the period of five years from 1 June on.", 11)]
    pages = [
        [*chapters("Seeing", "Eyes", "Light"), *meant, *whole, *text()],
        [*chapters("Words"), *meant, *whole, *text()],
    ]
    assert found(pages) == [(1, "Seeing"), (1, "Eyes"), (1, "Light"), (1, "Words")]


def test_letters_are_bold_where_their_font_is_named_so():
    """Browsers write a font's weight nowhere else."""
    pdf = FPDF()
    pdf.add_page()
    for number in range(1, 4):
        put(pdf, f"{number}. RENT AND DEPOSIT {number}", 11, "B")
        put(pdf, f"{TEXT} " * 6 + LAST, 11, "")
    light = bytes(pdf.output())
    read = read_pdf(light, name="a.pdf", max_characters=10**6)
    assert [one.title for one in find_headings(read.text)] == [f"{n}. RENT AND DEPOSIT {n}" for n in range(1, 4)]
    assert read.title == "1. RENT AND DEPOSIT 1"
    with closing(PdfDocument(light)) as opened:
        letters = Glyphs.of(opened[0].get_textpage())
        assert letters.look_of(0)[1] >= 700
        assert letters.look_of(60)[1] < 600


def test_titles_in_small_capitals_are_of_one_level():
    """As browsers and Word draw them: capitals of two sizes."""
    pdf = FPDF()
    for title in ("The Gate", "Chapter 2", "The Flood", "Letters"):
        pdf.add_page()
        for word in title.split():
            for part, size in ((word[0], 16), (word[1:], 11.5)):
                pdf.set_font("helvetica", size=16 if part.isdigit() else size)
                pdf.write(10, part)
            pdf.write(10, " ")
        pdf.ln(20)
        put(pdf, f"{TEXT} " * 6 + LAST, 11, "")
    read = read_pdf(bytes(pdf.output()), name="a.pdf", max_characters=10**6)
    assert [(one.level, one.title) for one in find_headings(read.text)] == [
        (1, "The Gate"), (1, "Chapter 2"), (1, "The Flood"), (1, "Letters"),
    ]  # fmt: skip


BOOK = book(outline=True)


@given(st.data())
def test_a_pdf_whose_outline_is_damaged_is_read_or_refused(data):
    content = bytearray(BOOK)
    start = BOOK.index(b"/Outlines")
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(start - 2000, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_pdf(bytes(content), name="a.pdf", max_characters=10**6)
    except UnreadableSource:
        return
    assert all(0 <= page <= len(found.text) for page in found.pages)


def test_passages_of_a_pdf_stand_under_its_headings(tmp_path):
    path = tmp_path / "book.pdf"
    path.write_bytes(book(outline=False))
    document = read_document(path)
    passages = HeadingSegmenter(min_tokens=1).segment(document)
    paths = [passage.heading for passage in passages]
    assert paths[:3] == ["Seeing > Eyes of Seeing", "Seeing > Light of Seeing", "Thinking > Eyes of Thinking"]
    assert all(document.quote(passage.span) == passage.text for passage in passages)


def test_numbers_of_verses_are_no_headings():
    verses = [f"{n} {'Then he said to them all' if n % 7 else 'The sower'} {TEXT}" for n in range(1, 200)]
    for place, number in enumerate((16, 36, 14, 44, 3, 51, 22, 9, 38)):
        verses[20 * place] = f"{number} The sower soweth the word"
    assert not [heading for heading in find_headings("\n\n".join(verses)) if "soweth" in heading.title]
