"""Texts made to cost: long runs of one character, which a pattern may read once, but not anew from each place in them.

The sizes are such that the patterns as they were took minutes, or for ever. A clock would only add doubt.
"""

import pytest

from foveal.text.discovery import kind_of
from foveal.text.headings import find_headings
from foveal.text.html import read_html
from foveal.text.markdown import _values, markdown_date, markdown_title
from foveal.text.opendocument import _MARKED
from foveal.text.paragraph_units import readable
from foveal.text.pdf_headings import Bookmark, Line, marked
from foveal.text.pdf_lines import is_heading, joined
from foveal.text.references import names_in
from foveal.text.table_cells import rows_in_a_line
from foveal.text.tokens import normalised
from foveal.text.units import paragraphs

MANY = 300_000


def test_comments_before_what_is_no_html():
    comments = b"<!-- c -->\n" * 200
    assert kind_of(comments + b"<p>") == "text"
    assert kind_of(comments + b"<html>") == "html"
    assert kind_of(b"<!-- c" * 300 + b"<html>") == "text"


@pytest.mark.parametrize(
    "page",
    [
        "x" * MANY,
        "x" * MANY + "\ufffe",
        f"x{' ' * MANY}x",
        "x\ufffe" * (MANY // 2) + "y\tz",
        f"x\ufffe{'x' * MANY}\xa0y",
    ],
    ids=["a word", "a word cut", "blanks", "hyphens", "a word cut before a blank"],
)
def test_lines_of_a_pdf(page: str):
    text, (start,) = joined([page])
    assert (text[:1], start) == (page[:1], 0)


def test_a_broken_word_is_mended_before_any_blank():
    assert joined(["a re\ufffeport\xa0here and\tre\ufffeport\tthere, a report"])[0].count("report") == 3


@pytest.mark.parametrize(
    ("line", "is_one"), [("A.1.12. Title", True), ("A.1..2 Title", False), (f"A.{'1' * 60}", False)]
)
def test_a_heading_with_digits_without_end(line: str, is_one: bool):
    assert is_heading(line) is is_one


def test_numbers_at_the_edges_of_many_pages():
    pages = [f"{n * 7919 % 9973}" for n in range(50_000)]
    assert joined(pages)[0].split() == pages


def test_an_outline_of_thousands_that_lead_to_one_page():
    page = [Line(f"Line {n} of a page", 10, 400) for n in range(3000)]
    outline = [Bookmark(f"Chapter {n}", 1, 0) for n in range(20_000)]
    assert marked([page], outline) == ["\n".join(line.text for line in page)]


def test_a_page_of_nothing_but_what_stands_out():
    page = [Line(f"Heading {n}", 14 + n % 2, 400) for n in range(80_000)]
    assert marked([page, [Line("text " * 300_000, 10, 400)]])[0] == "\n".join(line.text for line in page)


@pytest.mark.parametrize("line", ["**Bold**", "Abstract", "**Bold**:", "Abstract."])
@pytest.mark.parametrize("blank", [" ", "\t"])
def test_a_line_that_blanks_part_from_its_end(line: str, blank: str):
    assert find_headings(f"{line}{blank * MANY}ends") == find_headings(f"{line}   ends")


@pytest.mark.parametrize("inside", ["\\" * MANY, f"<pre>x{' ' * MANY}y</pre>"], ids=["backslashes", "blanks"])
def test_a_page_of_the_web(inside: str):
    assert read_html(f"<body><p>Some words.</p>{inside}</body>".encode(), name="a page").text.startswith("Some words.")


def test_front_matter():
    text = f"---\ntitle: a{' ' * 60_000}b  \ndate: '2024-05-06' \r\n---\n"
    assert markdown_title(text) == f"a{' ' * 60_000}b"
    assert str(markdown_date(text)).startswith("2024-05-06")
    assert markdown_title("---\ntitle:  \n---\n# Heading") == "Heading"


@pytest.mark.parametrize("given", ["[" * MANY, "[](" * 30_000, "![x](" * 30_000])
def test_brackets_that_nothing_closes(given: str):
    assert readable(given) == given
    assert readable(f"{given} [a](b) ![c](d)") == f"{given} a c"


def test_dots_before_no_sign():
    assert normalised("." * MANY + "x") == "." * MANY + "x"
    assert normalised("..“x”") == ".. “x”"


def test_blank_lines_before_the_text():
    """Each begins a paragraph, as it is long; together they are blank, and part of the first one."""
    text = f"{' ' * 130}\n" * 60_000 + "Words.\n\nMore."
    assert paragraphs(text) == [(0, len(text) - 5), (len(text) - 5, len(text))]


def test_blanks_before_what_is_no_comment_of_front_matter():
    value = f"x{' ' * MANY}x"
    assert _values(value) == [value]
    assert _values("x  # a comment") == ["x"]


def test_a_style_with_a_word_without_end():
    page = f'<body><p>Some words.</p><p style="display:{"a" * MANY}!x">seen</p><p style="display:none!important">no</p>'
    assert read_html(page.encode(), name="a page").text == "Some words.\n\nseen"


def test_a_row_of_a_table_with_blanks_between():
    assert rows_in_a_line(f"|a{' ' * MANY}b|") == "a b"
    assert rows_in_a_line("| a | b |  \n|---|---|\n| c \\| d |\nand") == "a · b · c | d · and"


def test_blanks_in_a_line_of_names():
    assert names_in(f"Ada{' ' * MANY}Lovelace  <ada@a.example>; Charles Babbage") == ("Ada Lovelace", "Charles Babbage")


def test_marks_before_a_title_of_a_slide():
    assert _MARKED.sub("", "#" * MANY + "x") == "#" * MANY + "x"
    assert _MARKED.sub("", "## A - b#- c") == "A b#c"
