"""Exponents and indices do not become a part of the number or word before them."""

from __future__ import annotations

import pytest
from text.books import paragraph, word

from foveal.text.docx import read_docx
from foveal.text.html import read_chapter
from foveal.text.raised import lowered, raised


@pytest.mark.parametrize(
    ("before", "words", "written"),
    [
        ("10", "6", "⁶"), ("10", "-3", "⁻³"), ("10", "\u22123", "⁻³"), ("2", "n", "ⁿ"), ("x", "n+1", "ⁿ⁺¹"),
        ("Ca", "2+", "²⁺"), ("f", "(2)", "⁽²⁾"), ("word", "1, 2", "¹, ²"), ("10", "2.5", "^2.5"), ("e", "x", "^x"),
        ("T", "3/2", "^(3/2)"), ("e", "\u2212t/τ", "^(\u2212t/τ)"), ("(a + b)", "k", "^k"),
        ("4", "th", "th"), ("2", "e", "e"), ("Smith", "x", "x"), ("name", "a,b", "a,b"), ("Foo", "TM", "TM"),
        ("w", "*", "*"), ("a", "co-author", "co-author"), ("", "", ""), ("", " ", " "),
        ("x", "2.5 ", "^2.5 "), ("x", " 1/2 ", " ^(1/2) "), ("2", "x\n", "^x\n"),
    ],
)  # fmt: skip
def test_what_is_raised(before, words, written):
    assert raised(words, before) == written


def test_what_is_lowered():
    assert [lowered(one) for one in ("2", "\u22121", "n", "")] == ["₂", "₋₁", "n", ""]


def test_on_a_page_also_where_letters_are_slanted_or_linked():
    page = (
        "<html><body><p>10<sup>\u22123</sup>, 10<sup>2.5</sup>, 2<sup><i>n</i></sup>, <i>e</i><sup>x</sup>, "
        "seen<sup><a href='notes.html'>12</a></sup>, 1<sup>st</sup>, H<sub>2</sub>O.</p></body></html>"
    )
    assert read_chapter(page.encode(), name="a") == "10⁻³, 10^2.5, 2ⁿ, e^x, seen¹², 1st, H₂O."


def test_in_a_word_document():
    run = '<w:r><w:rPr><w:vertAlign w:val="{}"/></w:rPr><w:t>{}</w:t></w:r>'
    plain = "<w:r><w:t>{}</w:t></w:r>"
    body = "".join(
        (plain.format("10"), run.format("superscript", "6"), plain.format(" H"), run.format("subscript", "2"),
         plain.format("O 1"), run.format("superscript", "st"), run.format("baseline", "7"))
    )  # fmt: skip
    assert read_docx(word(paragraph(body)), name="a", max_bytes=10**6).text == "10⁶ H₂O 1st7"
