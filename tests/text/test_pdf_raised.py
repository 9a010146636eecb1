"""Exponents, indices and marks of notes in a PDF do not become a part of the number or word before them."""

from __future__ import annotations

import pytest
from fpdf import FPDF

from foveal.text.pdf import read_pdf
from foveal.text.pdf_raised import with_raised

BODY, SMALL_ONE = 11.0, 7.0


def looks(line: str, raised=(), lowered=()):
    """How each character of a line is set, given the places of those that are not as the others."""

    def look(place: int) -> tuple[float, float]:
        return (SMALL_ONE, 104.0) if place in raised else (SMALL_ONE, 97.0) if place in lowered else (BODY, 100.0)

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
    ],
)
def test_numbers_that_stand_off_are_written_so(line, raised, lowered, written):
    assert with_raised(line, 0, BODY, looks(line, raised, lowered)) == written


def test_small_numbers_on_the_base_line_or_beside_nothing_stay():
    assert with_raised("see 12", 0, BODY, lambda place: (SMALL_ONE if place > 3 else BODY, 100.0)) == "see 12"
    assert with_raised("12 13", 0, BODY, lambda _: (SMALL_ONE, 104.0)) == "12 13"
    assert with_raised("12 13", 0, 0.0, lambda _: (SMALL_ONE, 104.0)) == "12 13"


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
