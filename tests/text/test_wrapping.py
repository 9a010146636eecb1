"""Line ends that only a width made, and those that are meant."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.text.wrapping import soft_ends, unwrapped

PROSE = (
    "The keeper of the lamp at Skerry climbed the stair each evening before the light went, and wrote in the book what "
    "the weather did. When the oil was late he burned what the sea brought, and when the sea brought nothing he rang "
    "the bell by hand until the morning came and the boats could see the rocks for themselves."
)


@pytest.mark.parametrize("width", [50, 72, 100, 120])
def test_wrapped_prose_flows(width):
    paragraphs = [PROSE, PROSE[:200], PROSE[40:]]
    text = "\n\n".join(textwrap.fill(one, width) for one in paragraphs)
    assert unwrapped(text) == "\n\n".join(paragraphs)


def test_what_is_shown_is_as_long_as_the_text():
    text = textwrap.fill(PROSE, 60) + "\n"
    shown = unwrapped(text)
    assert len(shown) == len(text)
    assert [a for a, (x, y) in enumerate(zip(text, shown, strict=True)) if x != y] == soft_ends(text, 0, len(text))
    assert shown.endswith(".\n")


def test_a_part_is_as_in_the_whole():
    text = textwrap.fill(PROSE, 60)
    start = text.index("\n") + 1
    assert unwrapped(text, start) == unwrapped(text)[start:]
    assert unwrapped(text, 0, start) == text[:start]  # one line: nothing to judge by


VERSE = """Do not go where the harbour ends
And the long road begins,
For there the wind has many friends
That sing of other people's sins,
And none of them will call you back
When once you took the stony track."""

ADDRESSES = """Ana Ferreira, Rua do Sol 4, Porto
The Example Reading Group and all of its many friends, 1 Main Street
Bo Lindgren, Vasa
Cyrus Amini, the second house on the left
Dee Okafor, Lagos"""

NAMES = "\n".join(f"{'wxyz'[n % 4] * (30 + 7 * (n % 5))}:x:{n}" for n in range(20))

ITEMS = """- the lamp must be trimmed at six, at nine and again at midnight by the keeper
- the bell must be rung by hand in fog, four strokes to the minute, without end
- the book must be written each morning, and nothing in it may be struck out
- the stair must be swept on Mondays, whatever the weather and whoever comes"""

ROWS = "| name | what it is and where it can be found on a fine day in May |\n" * 6

SENTENCES = "The lamp is lit at six.\nThe bell is rung in fog, by hand and by whoever is near.\nThe book is read.\n" * 3


@pytest.mark.parametrize(
    "text",
    [VERSE, ADDRESSES, NAMES, ITEMS, ROWS, SENTENCES],
    ids=["verse", "addresses", "names", "items", "rows", "sentences"],
)
def test_lines_that_end_where_they_do_stay(text):
    assert unwrapped(text) == text


def test_what_stands_among_wrapped_prose_stays():
    prose = textwrap.fill(PROSE, 72)
    between = f"## A heading\n{ITEMS}\n\n```\nlamp = light(oil, hour)  # as the book says\nring()\n```\n"
    text = f"{prose}\n\n{between}\n{prose}\n\n{ROWS}"
    shown = unwrapped(text)
    assert between in shown
    assert ROWS in shown
    assert shown.count(PROSE) == 2


def test_lines_of_an_item_flow():
    item = "- " + textwrap.fill(PROSE, 70).replace("\n", "\n  ")
    assert unwrapped(f"{item}\n{item}") == f"{item.replace(chr(10), ' ')}\n{item.replace(chr(10), ' ')}"


@pytest.mark.parametrize("ending", ["  ", "\\", "-"])
def test_a_break_that_is_spelt_out_stays(ending):
    lines = textwrap.wrap(PROSE, 72)
    text = "\n".join([lines[0] + ending, *lines[1:]])
    assert unwrapped(text) == f"{lines[0]}{ending}\n{' '.join(lines[1:])}"


def test_scripts_without_blanks_keep_their_lines():
    text = "\n".join(["灯台守は毎晩 階段を上り 海が何を運んで 来るかを本に 記した" * 3] * 6)
    assert unwrapped(text) == text


def test_what_is_closed_keeps_its_lines():
    prose = textwrap.fill(PROSE, 72)
    text = f"{prose}\n\n{prose}\n\n{prose}"
    start = len(prose) + 2
    shown = unwrapped(text, closed=[(start, start + len(prose))])
    assert shown == f"{PROSE}\n\n{prose}\n\n{PROSE}"


@given(st.text(alphabet="ab \n-|#`.\\\u3042", max_size=200), st.integers(0, 200), st.integers(0, 200))
def test_any_text_keeps_its_length_and_all_but_line_ends(text, one, other):
    start, end = sorted((min(one, len(text)), min(other, len(text))))
    shown = unwrapped(text, start, end)
    assert len(shown) == end - start
    assert all(x == y or (x, y) == ("\n", " ") for x, y in zip(text[start:end], shown, strict=True))
