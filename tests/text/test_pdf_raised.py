"""Exponents, indices and marks of notes in a PDF do not become a part of the number or word before them."""

from __future__ import annotations

import re

import pytest
from fpdf import FPDF

from foveal.text.pdf import read_pdf
from foveal.text.pdf_raised import goes_on, with_raised

BODY, SMALL_ONE = 11.0, 7.0


def looks(line: str, raised=(), lowered=()):
    """How each character of a line is set, given the places of those that are not as the others."""

    def look(place: int) -> tuple[float, float, float]:
        size, level = (
            (SMALL_ONE, 104.0) if place in raised else (SMALL_ONE, 97.0) if place in lowered else (BODY, 100.0)
        )
        return size, level, 6.0 * place

    assert all(line[place] in "0123456789-+" for place in (*raised, *lowered))
    return look


@pytest.mark.parametrize(
    ("line", "raised", "lowered", "written"),
    [
        ("10-3 of 106 m2", (2, 3, 10, 13), (), "10⁻³ of 10⁶ m²"),
        ("H2O in 1990.12", (12, 13), (1,), "H₂O in 1990.¹²"),
        ("works. 9,10,31 We", (7, 9, 10, 12, 13), (), "works. ⁹,¹⁰,³¹ We"),
        ("12 See the book", (0, 1), (), "¹² See the book"),
        ("in 1990 and 42", (), (), "in 1990 and 42"),
        ("Sales 2024", (6, 7, 8, 9), (), "Sales 2024"),
        ("2024 Sales", (0, 1, 2, 3), (), "2024 Sales"),
    ],
)
def test_numbers_that_stand_off_are_written_so(line, raised, lowered, written):
    assert with_raised(line, 0, BODY, looks(line, raised, lowered)) == written


def test_small_numbers_on_the_base_line_or_beside_nothing_stay():
    assert (
        with_raised("see 12", 0, BODY, lambda place: (SMALL_ONE if place > 3 else BODY, 100.0, 6.0 * place)) == "see 12"
    )
    assert with_raised("12 13", 0, BODY, lambda place: (SMALL_ONE, 104.0, 6.0 * place)) == "12 13"
    assert with_raised("12 13", 0, 0.0, lambda place: (SMALL_ONE, 104.0, 6.0 * place)) == "12 13"


def test_a_number_behind_a_gap_and_one_in_smaller_words_stay():
    def raised_from(first: int, left: float):
        return lambda place: (SMALL_ONE, 104.0, left + 4.0 * place) if place >= first else (BODY, 100.0, 6.0 * place)

    assert with_raised("Item 24", 0, BODY, raised_from(5, 10.0)) == "Item ²⁴"
    assert with_raised("Item 24", 0, BODY, raised_from(5, 100.0)) == "Item 24"
    assert with_raised("45 of 12 all", 0, BODY, raised_from(3, 10.0)) == "45 of 12 all"


def lines(*drawn):
    """What is read of words drawn as (words, size, from the left, up) around one base line."""
    pdf = FPDF()
    pdf.add_page()
    for words, size, x, up in drawn:
        pdf.set_font("helvetica", size=size)
        pdf.text(x, 40 - up, words)
    return " ".join(read_pdf(bytes(pdf.output()), name="a.pdf", max_characters=10**6).text.split())


def test_smaller_numbers_of_a_head_stay():
    """Cells of a table's head, a caption beside a large number, the first words behind an initial."""
    assert lines(("Item", 16, 20, 0), ("24", 9, 60, 1), ("25", 9, 90, 1)) == "Item 24 25"
    assert lines(("45%", 30, 20, 0), ("of 120 asked in 21", 10, 45, 2)).endswith("of 120 asked in 21")
    assert lines(("Invoice", 20, 20, 0), ("No. 47 of 12", 10, 48, 1)).endswith("No. 47 of 12")
    assert lines(("Chapter", 14, 20, 0), ("7", 9, 40, 0.7)) == "Chapter 7"
    assert "12 ships" in lines(("A", 30, 20, 0), ("list of 12 ships, then", 10, 28, 3))


def test_in_a_file():
    pdf = FPDF()
    pdf.add_page()
    x = 20.0
    for words, size, up in (("The rate of it is 10", 11, 0), ("-6", 7, 1.3), (" in water, H", 11, 0), ("2", 7, -1)):
        pdf.set_font("helvetica", size=size)
        pdf.text(x, 40 - up, words)
        x += pdf.get_string_width(words)
    pdf.set_font("helvetica", size=11)
    pdf.text(x, 40, "O, of all seas.")
    text = read_pdf(bytes(pdf.output()), name="a.pdf", max_characters=10**6).text
    assert " ".join(text.split()) == "The rate of it is 10⁻⁶ in water, H₂O, of all seas."


def printed(*drawn):
    """What is read of words as a browser prints them: (words, of 5/6 of the size and higher or not)."""
    pdf = FPDF(unit="pt")
    pdf.add_page()
    x, y = 34.0, 100.0
    for words, is_raised in drawn:
        pdf.set_font("times", size=16 * (5 / 6 if is_raised else 1))
        pdf.text(x, y - (4.7 if is_raised else 0), words)
        x += pdf.get_string_width(words)
    return read_pdf(bytes(pdf.output()), name="a.pdf", max_characters=10**6).text


def test_what_a_browser_raises_does_not_end_the_line():
    """pdfium ended the line behind such a number."""
    words = ("The number was 10", "6", " per ml, of 10", "-3", " m", "2", " in all.")
    assert (
        printed(*((one, place % 2 == 1) for place, one in enumerate(words)))
        == "The number was 10⁶ per ml, of 10⁻³ m² in all."
    )
    assert printed(("in the 20", False), ("th", True), (" century", False)) == "in the 20th century"
    assert printed(("It was said", False), ("12", True), (", and seen.", False)) == "It was said¹², and seen."


def test_lines_end_where_they_do_all_the_same():
    """On the next base line, behind a gap, and behind what is not raised, or all of it is."""
    page, one, other = "by others12\r\n who", (0, 12), (13, 17)

    def joined(base=100.0, gap=0.0, raised=104.0, size=SMALL_ONE, first=9):
        def look(place):
            small = first <= place < 11
            return (size, raised, 5.0 * place) if small else (BODY, 100.0 if place < 11 else base, 5.0 * place + gap)

        return goes_on(page, one, other, look)

    assert joined(gap=-10.0)
    assert not joined(gap=-10.0, base=88.0)
    assert not joined(gap=2.0)
    assert not joined(gap=-70.0)
    assert not joined(gap=-10.0, raised=101.0)
    assert not joined(gap=-10.0, size=BODY)
    assert not joined(gap=-10.0, first=0)
    assert not goes_on("\r\n who", (0, 1), (2, 6), lambda place: (BODY, 100.0, 5.0 * place))
    assert not goes_on("by12\r\n \r", (0, 5), (6, 8), lambda place: (SMALL_ONE, 104.0, 5.0 * place))


def test_of_an_ordinary_line_two_letters_are_looked_at():
    """Every letter of each line was looked at: a file took four times as long."""
    seen = []

    def look(place):
        seen.append(place)
        return BODY, 100.0, 5.0 * place

    page = "a" * 80 + "\r\n" + "b" * 80
    assert not goes_on(page, (0, 81), (82, 162), look)
    assert len(seen) == 2


def test_a_heading_with_an_index_is_that_of_the_outline():
    pdf = FPDF(unit="pt")
    pdf.add_page()
    for n, name in enumerate(("Uptake", "Loss", "Fate")):
        pdf.set_y(70 + 120 * n)
        pdf.start_section(f"{name} of CO2")
        pdf.set_font("helvetica", size=11)
        pdf.text(72, 80 + 120 * n, f"{name} of CO")
        x = 72 + pdf.get_string_width(f"{name} of CO")
        pdf.set_font("helvetica", size=7)
        pdf.text(x, 82 + 120 * n, "2")
        pdf.set_font("helvetica", size=11)
        for line in range(6):
            words = f"The sea takes it from the air, and gives some back, in part {line}."
            pdf.text(72, 100 + 120 * n + 14 * line, words)
    text = read_pdf(bytes(pdf.output()), name="a.pdf", max_characters=10**6).text
    assert re.findall(r"^# (.*)", text, re.MULTILINE) == ["Uptake of CO₂", "Loss of CO₂", "Fate of CO₂"]


def test_what_a_browser_raises_much_does_not_begin_a_line():
    """pdfium began one before such numbers, as web pages set the marks of their notes."""

    def printed_small(*drawn, rise=6.4):
        pdf = FPDF(unit="pt")
        pdf.add_page()
        x = 34.0
        for n, words in enumerate(drawn):
            pdf.set_font("times", size=9.6 if n % 2 else 16)
            pdf.text(x, 100 - (rise if n % 2 else 0), words)
            x += pdf.get_string_width(words)
        pdf.set_font("times", size=16)
        pdf.text(34, 120, "The next line.")
        return read_pdf(bytes(pdf.output()), name="a.pdf", max_characters=10**6).text

    assert printed_small("We saw results", "12", " and more.", "3,4") == "We saw results¹² and more.³,⁴\nThe next line."
    assert printed_small("We saw results", "12 ", "and more.") == "We saw results¹² and more.\nThe next line."
    assert printed_small("The others", "[a]", " came.") == "The others[a] came.\nThe next line."
    assert printed_small("so x", "2", " grows", rise=9) == "so x² grows\nThe next line."
