"""Recognised pieces of a page, put in the order of reading, on layouts made by hand."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.text.pdf_headings import Line, marked
from foveal.text.recognised_lines import BOLD, REGULAR, WIDEST, in_lines
from foveal.text.recognition import Written

LEADING, SIZE, STROKE = 14.0, 11.0, 1.0
WORDS = "the keeper of the mill kept the key behind a clock"


def piece(
    text: str, left: float, top: float, *, size: float = SIZE, right: float | None = None, stroke: float = STROKE
) -> Written:
    """A line whose letters are half as wide as high."""
    return Written(text, left, top, right or left + len(text) * size / 2, top + size, size, stroke * size / SIZE)


def column(name: str, left: float, top: float, lines: int, *, size: float = SIZE) -> list[Written]:
    return [piece(f"{name}{n} {WORDS}"[:40], left, top + n * LEADING, size=size) for n in range(lines)]


def texts(pieces: Sequence[Written], seed: int = 0) -> list[str]:
    """What is read of a page, in its order, however its pieces come; blank lines left out."""
    mixed = list(pieces)
    random.Random(seed).shuffle(mixed)
    (page,) = in_lines([mixed])
    return [line.text for line in page if line.text]


def names(pieces: Sequence[Written]) -> list[str]:
    return [text.split()[0] for text in texts(pieces)]


def counted(*parts: tuple[str, int]) -> list[str]:
    return [f"{name}{n}" for name, lines in parts for n in range(lines)]


def test_an_empty_page_and_a_page_of_one_line():
    assert in_lines([[], [piece("alone", 50, 50)]]) == [[], [Line("alone", SIZE, REGULAR)]]
    assert in_lines([]) == []


def test_one_column_is_read_from_the_top():
    assert names(column("a", 50, 60, 20)) == counted(("a", 20))


@pytest.mark.parametrize("lower", [0.0, 3.0, 7.0, 11.0])
def test_two_columns_one_after_the_other_though_their_base_lines_differ(lower):
    page = column("a", 50, 60, 20) + column("b", 310, 60 + lower, 18)
    assert names(page) == counted(("a", 20), ("b", 18))


def test_three_columns():
    page = [
        piece(f"{name}{n} {WORDS}"[:26], left, 60 + n * LEADING, size=9)
        for name, left in (("a", 40), ("b", 220), ("c", 400))
        for n in range(15)
    ]
    assert names(page) == counted(("a", 15), ("b", 15), ("c", 15))


def test_a_title_across_two_columns_comes_first():
    title = piece("On the motion of water wheels in streams", 100, 40, size=18)
    page = [title, *column("a", 50, 100, 20), *column("b", 310, 100, 20)]
    assert names(page) == ["On", *counted(("a", 20), ("b", 20))]


def test_a_wide_caption_parts_the_columns():
    above = column("a", 50, 60, 12) + column("b", 310, 60, 12)
    caption = piece("Figure 1: " + WORDS + " and " + WORDS, 80, 240, size=8)
    below = column("c", 50, 270, 12) + column("d", 310, 270, 12)
    assert names([*above, caption, *below]) == [
        *counted(("a", 12), ("b", 12)),
        "Figure",
        *counted(("c", 12), ("d", 12)),
    ]


def test_a_table_stays_row_by_row():
    rows = [("Oak beams", "4", "480.00"), ("Nails", "12", "42.00"), ("Labour", "16 h", "720.00")] * 3
    page = [
        piece(cell, left, 60 + 20 * n)
        for n, row in enumerate(rows)
        for cell, left in zip(row, (50, 300, 450), strict=True)
    ]
    assert texts(page) == [" ".join(row) for row in rows]


def test_two_short_lines_side_by_side_are_one():
    page = [piece("12 May 1844", 400, 50), piece("Mill Lane 4", 50, 52), *column("a", 50, 90, 8)]
    assert texts(page)[0] == "Mill Lane 4 12 May 1844"


def test_a_running_head_with_its_number_in_the_corner_is_no_part_of_a_column():
    head = [piece("Journal of Mills", 50, 30, size=8), piece("113", 540, 30, size=8)]
    foot = [piece("Orsin 1844", 280, 780, size=8)]
    page = [*head, *column("a", 50, 60, 40), *column("b", 310, 60, 40), *foot]
    assert names(page) == ["Journal", *counted(("a", 40), ("b", 40)), "Orsin"]
    assert texts(page)[0] == "Journal of Mills 113"


def test_footnotes_in_small_print_end_their_column():
    notes = [column(name, left, 400, 3, size=8) for name, left in (("x", 50), ("y", 310))]
    page = [*column("a", 50, 60, 20), *notes[0], *column("b", 310, 60, 20), *notes[1]]
    assert names(page) == counted(("a", 20), ("x", 3), ("b", 20), ("y", 3))


def test_pieces_one_upon_the_other_are_lines_of_their_own():
    assert texts([piece("the one", 50, 50), piece("the other", 52, 51)]) == ["the one", "the other"]


def test_headings_by_size_and_by_weight():
    def page(title: str, *, size: float, stroke: float) -> list[Written]:
        return [piece(title, 50, 50, size=size, stroke=stroke), *column("a", 50, 80, 12)]

    large = in_lines([page(f"Chapter {word}", size=15, stroke=1) for word in ("One", "Two", "Three")])
    assert [page[0] for page in large] == [Line(f"Chapter {word}", 15, REGULAR) for word in ("One", "Two", "Three")]
    bold = in_lines([page(f"Chapter {word}", size=SIZE, stroke=1.5) for word in ("One", "Two", "Three")])
    assert [page[0].weight for page in bold] == [BOLD] * 3
    assert {line.weight for page in bold for line in page[1:]} == {REGULAR}
    assert all("# Chapter" in text for text in marked(large) + marked(bold))


def test_blank_space_parts_paragraphs():
    page = column("a", 50, 60, 6) + column("b", 50, 60 + 6 * LEADING + 10, 6)
    (lines,) = in_lines([page])
    assert [number for number, line in enumerate(lines) if not line.text] == [6]


def test_sizes_that_were_measured_with_noise_are_one():
    noise = random.Random(1)
    page = [piece(f"{n} {WORDS}", 50, 20 + 15 * n, size=round(noise.gauss(SIZE, 0.25), 2)) for n in range(500)]
    (lines,) = in_lines([page])
    ((size, often), *_) = Counter(line.size for line in lines if line.text).most_common()
    assert size == pytest.approx(SIZE, abs=0.1)
    assert often > 460  # the others are far off


def test_bold_headings_are_of_one_size_though_the_text_is_nearly_as_large():
    noise, sizes = (
        random.Random(2),
        (10.6, 10.7, 10.7, 11.0, 11.2, 11.3, 11.5),
    )  # measured on a scan of 11 and 10 points
    pages = [
        [
            piece(f"{n} Chapter", 50, 50, size=size, stroke=1.2),
            *(piece(f"{line} {WORDS}", 50, 80 + 14 * line, size=round(noise.gauss(9.8, 0.2), 2)) for line in range(40)),
        ]
        for n, size in enumerate(sizes)
    ]
    heads = [page[0] for page in in_lines(pages)]
    assert {line.weight for line in heads} == {BOLD}
    assert {line.size for line in heads} == {11.0}


def test_the_size_of_other_pages_is_taken_where_it_is_nearly_the_same():
    page = [piece("Chapter One", 50, 50, size=22), *column("a", 50, 80, 12)]
    assert [line.size for line in in_lines([page], body=12.0)[0][:2]] == [24.0, 12.0]
    assert [line.size for line in in_lines([page], body=30.0)[0][:2]] == [22.0, 11.0]


class Tracked(str):
    """A text that counts how often its length was asked for."""

    __slots__ = ()
    asked = 0

    def __len__(self) -> int:
        Tracked.asked += 1
        return super().__len__()


def test_the_work_grows_with_the_pages_and_no_faster():
    """Each piece is looked at some times, not as many times as there are pieces."""

    def asked(pages: int) -> int:
        noise = random.Random(1)
        book = [
            [
                Written(Tracked(f"{p} {n} {WORDS}"), 50, 60 + 14 * n, 400, 71 + 14 * n, noise.gauss(11, 0.2), 1.0)
                for n in range(40)
            ]
            for p in range(pages)
        ]
        Tracked.asked = 0
        in_lines(book)
        return Tracked.asked

    assert asked(40) < 6 * asked(10)


def test_a_row_of_very_many_pieces_is_cut():
    page = [Written("w", n, 50, n + 0.5, 60, 8.0, 1.0) for n in range(3 * WIDEST)]
    assert len(texts(page)) == 3


coordinates = st.floats(-50, 2000, allow_nan=False).map(lambda one: round(one, 1))
anything = st.builds(
    Written,
    st.integers(0, 10**6).map(lambda n: f"{n}" + "w" * (n % 50)),
    coordinates,
    coordinates,
    coordinates,
    coordinates,
    st.floats(0, 400),
    st.floats(0, 40),
)
gridded = st.builds(
    lambda column, row, letters: Written("w" * letters, column * 150, row * 12, column * 150 + 140, row * 12 + 10, 9.0),
    st.integers(0, 3),
    st.integers(0, 12),
    st.integers(1, 60),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(anything | gridded, max_size=40), max_size=3))
def test_every_piece_comes_out_once(pages):
    """Whatever the boxes: without height or width, upside down, one upon the other."""
    found = in_lines(pages)
    assert len(found) == len(pages)
    for page, lines in zip(pages, found, strict=True):
        assert Counter(word for line in lines for word in line.text.split()) == Counter(one.text for one in page)
