"""Lines from right to left are read by where their characters stand, in whatever order pdfium gives them.

Capitals stand for Hebrew letters, as in the literature: "CBA" on paper is read "ABC".
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fpdf import FPDF
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import get_data_path

from foveal.text.pdf import read_pdf
from foveal.text.pdf_bidi import in_reading_order

LETTERS = {ord("A") + n: chr(0x05D0 + n) for n in range(22)}
WIDTH, SIZE = 6.0, 10.0


def hebrew(text: str) -> str:
    return text.translate(LETTERS)


def drawn(paper: str) -> tuple[str, list[tuple[float, float, float, float]]]:
    """The characters of a line on paper, from left to right, and where each stands."""
    marks = [n for n, character in enumerate(paper) if character == "\u05b8"]
    places = [n - sum(mark <= n for mark in marks) for n in range(len(paper))]
    return paper, [(place * WIDTH, 0.0, (place + 0.9) * WIDTH, 8.0) for place in places]


def read(line: str, boxes) -> str:
    return in_reading_order(line, lambda place: boxes[place - 3], 3, SIZE)


CASES = {
    "words": ("GFE DCBA", "ABCD EFG"),
    "stop": (".GFE DCBA", "ABCD EFG."),
    "number": ("GFE 12 DCBA", "ABCD 12 EFG"),
    "sum": (".1,234.56 DCBA", "ABCD 1,234.56."),
    "share": ("FE 50% DCBA", "ABCD 50% EF"),
    "numbers": ("20 10 DCBA", "ABCD 10 20"),
    "latin": ("GFE ,meridian shipping plc DCBA", "ABCD meridian shipping plc, EFG"),
    "clause": ("GFE clause 12 DCBA", "ABCD clause 12 EFG"),
    "brackets": ("GF (E) 12 DCBA", "ABCD 12 (E) FG"),
    "mirrored": ("GF )E( 12 DCBA", "ABCD 12 (E) FG"),
    "paragraphs": ("ED (C)(B)12 A", "A 12(B)(C) DE"),
    "open": ("FE) DCBA", "ABCD (EF"),
    "marks": ("GFE DC\u05b8BA", "ABC\u05b8D EFG"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_line_is_read_from_where_its_characters_stand(case):
    on_paper, as_read = map(hebrew, CASES[case])
    line, boxes = drawn(on_paper)
    assert read(line, boxes) == as_read
    for seed in range(5):
        order = random.Random(seed).sample(range(len(line)), len(line))
        assert read("".join(line[n] for n in order), [boxes[n] for n in order]) == as_read


def test_other_lines_stay_as_they_are():
    upright = [(5.0, 12.0 * n, 11.0, 12.0 * n + 8) for n in range(3)]
    assert read(hebrew("ABC"), upright) == hebrew("ABC")
    for line in ("abc def", hebrew("see A, page 3"), "", "\u05b8"):
        assert read(line, drawn(line)[1]) == line


def test_a_letter_and_its_vowel_that_are_one_glyph_leave_no_blank():
    boxes = [(20.0, 0.0, 26.0, 8.0), (11.0, 0.0, 14.0, 8.0), (8.0, 0.0, 11.0, 8.0), (0.0, 0.0, 7.5, 8.0)]
    assert read(hebrew("AB\u05b8C"), boxes) == hebrew("A B\u05b8C")


@given(st.text(alphabet=hebrew("ABab1 (),.%-\u05b8\ufffe"), max_size=12), st.randoms(use_true_random=False))
def test_no_character_is_lost(line, rng):
    boxes = [(rng.uniform(0, 90), 0.0, rng.uniform(90, 99), 8.0) for _ in line]
    there = sorted("".join(line.replace("(", ")").split()))
    assert sorted("".join(read(line, boxes).replace("(", ")").split())) == there


def test_a_page_in_hebrew_reads():
    made = FPDF()
    made.add_page()
    made.add_font("D", "", Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf")
    made.set_font("D", size=12)
    for n in range(3):
        made.text(40, 30 + 8 * n, hebrew("GFE ,meridian shipping plc (C) 12 BA"))
    text = read_pdf(bytes(made.output()), name="a", max_characters=10**6).text
    assert text.split("\n")[0] == hebrew("AB 12 (C) meridian shipping plc, EFG")
