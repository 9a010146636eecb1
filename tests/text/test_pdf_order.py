"""Lines that a PDF holds late stand where they are seen; columns and running lines stay as the file has them."""

import pytest
from fpdf import FPDF

from foveal.text.pdf import read_pdf

LEFT, RIGHT = 60, 320


def read(*written):
    """A page with lines at (x, y), y from above, in the order in which they are written."""
    pdf = FPDF(unit="pt", format="a4")
    pdf.add_page()
    for x, y, text in written:
        pdf.set_font("times", size=12)
        pdf.text(x, y, text)
    return [line for line in read_pdf(bytes(pdf.output()), name="a.pdf", max_characters=10**6).text.split("\n") if line]


def lines(x, first, *texts):
    return [(x, first + 16 * number, text) for number, text in enumerate(texts)]


PROSE = [
    "The mill stands below the bridge, where the", "river is narrow, and its wheel turns all the year.",
    "The keeper has written down how it is started:", "Then the wheel is watched for an hour, and the",
    "gate is opened by another notch, if all is well.", "In winter the ice is broken first, at sunrise:",
    "Nothing else is to be done on such a day, but to", "wait for the carts that come down from the hill.",
]  # fmt: skip
FIRST, SECOND = ["open gate one", "wait a while"], ["break ice", "carry it off"]


def test_boxes_that_are_drawn_last_stand_between_their_lines():
    body = [*lines(LEFT, 100, *PROSE[:3]), *lines(LEFT, 200, *PROSE[3:6]), *lines(LEFT, 300, *PROSE[6:])]
    boxes = [*lines(LEFT + 20, 155, *FIRST), *lines(LEFT + 20, 255, *SECOND)]
    assert read(*body, *boxes) == [*PROSE[:3], *FIRST, *PROSE[3:6], *SECOND, *PROSE[6:]]


def test_a_box_at_the_top_and_one_at_the_foot():
    body = lines(LEFT, 150, *PROSE)
    assert read(*body, *lines(LEFT, 100, *FIRST), *lines(LEFT, 290, *SECOND)) == [*FIRST, *PROSE, *SECOND]


def test_two_columns_stay_one_behind_the_other():
    left, right = [one[:30].strip() for one in PROSE[:4]], [one[:30].strip() for one in PROSE[4:]]
    assert read(*lines(LEFT, 100, *left), *lines(RIGHT, 100, *right)) == [*left, *right]
    short = left[:2], left[2:]  # with room for a picture
    written = *lines(LEFT, 100, *short[0]), *lines(LEFT, 250, *short[1]), *lines(RIGHT, 150, *right)
    assert read(*written) == [*left, *right]


def test_a_note_beside_a_line_does_not_go_into_it():
    body = lines(LEFT, 100, *PROSE)
    assert read(*body, (420, 116, "See page 4.")) in ([*PROSE, "See page 4."], [*PROSE[:2], "See page 4.", *PROSE[2:]])


@pytest.mark.parametrize("first", [True, False])
def test_a_foot_that_the_file_has_first_stays_at_the_edge(first):
    foot, body = (LEFT, 780, "The Mill at Orsin"), lines(LEFT, 100, *PROSE)
    told = read(*((foot, *body) if first else (*body, foot)))
    assert told == (["The Mill at Orsin", *PROSE] if first else [*PROSE, "The Mill at Orsin"])
