"""Pictures for links elsewhere: of the size that is asked for, with the title in it, whatever the title is."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.papers.cards import HEIGHT, MARGIN, WIDTH, _drawing, _pdf, card, measured, wrapped, writable
from foveal.papers.thumbnails import drawn, first_page

FIELD = drawn("Where to Look", "cs.CL")


def pixels(png: bytes) -> np.ndarray:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    start = png.index(b"IDAT") + 4
    lines = zlib.decompress(png[start : start + struct.unpack(">I", png[start - 8 : start - 4])[0]])
    return np.frombuffer(lines, np.uint8).reshape(height, 1 + 3 * width)[:, 1:].reshape(height, width, 3)


def test_a_card_is_the_field_with_white_words_over_it():
    plain, named = pixels(card("", "", FIELD)), pixels(card("Where to Look", "Léa Martin · cs.CL", FIELD))
    assert plain.shape == named.shape == (HEIGHT, WIDTH, 3)
    assert not (plain == 255).all(axis=2).any()
    white = (named >= 250).all(axis=2)
    rows = np.flatnonzero(white.any(axis=1))
    columns = np.flatnonzero(white.any(axis=0))
    assert MARGIN - 5 <= rows[0] <= MARGIN + 30
    assert MARGIN - 5 <= columns[0] <= MARGIN + 10
    assert columns[-1] == pytest.approx(MARGIN + measured("Where to Look", 64), abs=6)  # the widths are the font's
    assert card("Where to Look", "Léa Martin · cs.CL", FIELD) == card.__wrapped__(
        "Where to Look", "Léa Martin · cs.CL", FIELD
    )


def test_a_first_page_stands_beside_the_title():
    page = first_page(_pdf(_drawing("A first page", "", drawn("x"), None), None))
    with_page, without = pixels(card("Where to Look", "", FIELD, page=page)), pixels(card("Where to Look", "", FIELD))
    right = np.abs(with_page[250:380, 700:1100].astype(int) - without[250:380, 700:1100])
    assert right.mean() > 10
    assert np.array_equal(with_page[500:, :400], without[500:, :400])


@settings(max_examples=8, deadline=None)
@given(st.text(max_size=400), st.text(max_size=80))
def test_any_title_makes_a_card(title, line):
    assert pixels(card(title, line, FIELD)).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Where to Look", "Where to Look"),
        ("Léa’s Übung – “naïve”", "Léa’s Übung – “naïve”"),
        ("Řehoř and γ-mixing in O(n²)", "Rehor and gamma-mixing in O(n²)"),
        ("看哪里", ""),
        ("\x00\u202e(a)\\", "(a)\\"),
    ],
)
def test_letters_that_the_font_lacks(text, shown):
    assert writable(text) == shown


@given(st.text(st.sampled_from("abcW i"), max_size=120), st.integers(200, 1000), st.integers(1, 6))
def test_wrapped_lines_fit_and_lose_nothing(text, width, lines):
    found = wrapped(text, 42, width, lines)
    if found is not None:
        assert len(found) <= lines
        assert all(measured(one, 42) <= width for one in found)
        assert " ".join(found).split() == text.split()
