"""The title of a PDF: its properties' where these name one, else the largest line of its first page, else its first.

title = sane(stated) or largest_line(sized) or first_line(text)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile

from foveal.text.unspaced import width

FIRST_CHARACTERS = 4000  # of the first page, searched for the title
LONGEST = 60  # characters of a first line in a script without blanks

_END = re.compile("[。！？]")

_NO_TITLE = re.compile(
    r"untitled|^microsoft (word|powerpoint)|\.(docx?|pptx?|tex|dvi|indd|pdf|rtf|qxd|html?)$", re.IGNORECASE
)


def largest_line(sized: Sequence[tuple[str, float]]) -> str | None:
    """The first of a page's lines (with those that go on from it) in the largest letters, if larger than the usual;
    each with its letters' size."""
    letters = Counter[float]()
    for line, size in sized:
        letters[size] += len(line)
    lines = [(line, size) for line, size in sized if _wordy(line)]
    largest = max((size for _, size in lines), default=0.0)
    if not letters or largest <= 1.1 * letters.most_common(1)[0][0]:
        return None
    first = next(n for n, (_, size) in enumerate(lines) if size >= 0.5 * largest)  # a figure's letters may be larger
    title = takewhile(lambda sized: sized[1] == lines[first][1], lines[first : first + 4])
    return sane(" ".join(line for line, _ in title))


def first_line(text: str) -> str | None:
    """The first line of a text that may be its title, without the mark of a heading; the names of a table's columns
    without the bars between; of a paragraph of Chinese or Japanese, which is one line, the first sentence."""
    lines = (" ".join(line.lstrip("#").strip("| ").split(" | ")) for line in text[:FIRST_CHARACTERS].split("\n"))
    line = next((line for line in lines if len(line) > 7 and _wordy(line)), None)
    return line if line is None or len(line) <= LONGEST or width(line) < 1.5 * len(line) else _sentence(line)


def _sentence(line: str) -> str:
    ends = _END.search(line)
    return line[: ends.start()] if ends and ends.start() <= LONGEST else f"{line[: LONGEST - 1]}…"


def _wordy(line: str) -> bool:
    """Whether a line could be (part of) a title: mostly letters, and not arXiv's stamp or an address."""
    letters = sum(character.isalpha() for character in line)
    return letters >= 3 and 2 * letters > len(line) and not re.match(r"arXiv:|https?:|www\.|\S+@", line)


def sane(title: str) -> str | None:
    """A title without runs of blanks; None where it is none, such as the name of a program or file."""
    title = " ".join(title.split())
    return title if 4 <= len(title) <= 300 and _wordy(title) and not _NO_TITLE.search(title) else None
