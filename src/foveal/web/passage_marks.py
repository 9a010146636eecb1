"""Words of a query, marked in what was found: the stretch of a passage that holds most of them, in pieces."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from foveal.retrieval.asked_words import asked_found
from foveal.text.table_cells import CELLS_APART, rows_in_a_line

SHOWN = 420
"""Characters of a passage that are shown."""

_HEADINGS = re.compile(r"(?:\s*+#{1,6}[ \t]++[^\n]++\n)+(?=\s*\S)")
_HEADING = re.compile(r"#{1,6}[ \t]++([^\n]*\S)")
_UNDERLINED = re.compile(r"^[ \t]*+([^\s|>#-][^\n]{0,299})\n[ \t]*+(?:={3,}|-{3,})[ \t]*+\n(?=\s*\S)", re.MULTILINE)
_INNER = re.compile(r"(?<=\n)[ \t]*+\n#{1,6}[ \t]++([^\n]*\S)[ \t]*\n(?=[ \t]*+\n)")
_FENCE = re.compile(r"^[ \t]*+(?:```|~~~)[^\n`]*+$", re.MULTILINE)
_LINK = re.compile(r"(?<![\w\])])!?\[([^\[\]\n]{1,300})\]\((?:[a-z]{2,6}:|[#./]|[\w-]{1,80}[#./])[^()\s]{0,300}\)")
_CODE = re.compile(r"(?<!`)`([^`\n]{1,300})`(?!`)")
_BOLD = re.compile(r"(?<![*\w])\*\*([^\s*](?:[^*]{0,200}[^\s*])?)\*\*(?!\*)")


@dataclass(frozen=True, slots=True)
class Marked:
    """A piece of text, and whether it is a word that was asked for."""

    text: str
    marked: bool


def marked_words(text: str, query: str, most: int = SHOWN) -> tuple[Marked, ...]:
    """At most about `most` characters of `text`, in one line, where the words of `query` stand densest."""
    line = in_a_line(text)
    found = asked_found(line, query)
    places = [place for place, _ in found]
    start = _densest(found, line, most)
    start, end = _whole_words(line, start, start + most)
    pieces = list(_pieces(line, [(a, b) for a, b in places if start <= a and b <= end], start, end))
    front, back = ("… " if start else ""), (" …" if end < len(line) else "")
    return tuple(one for one in (Marked(front, marked=False), *pieces, Marked(back, marked=False)) if one.text)


def in_a_line(text: str) -> str:
    """`text` in one line and without Markdown's marks: cells of a table with a dot between them, a link as its words.

    A heading that it begins with stands apart, too, one between blank lines, and one that is underlined; any other
    "# …" within it may be a line of a program, as all may beside a fence.
    """
    top = _HEADINGS.match(text)
    if top:
        heads = "\n".join(f"{one}{CELLS_APART}" for one in _HEADING.findall(top[0]))
        text = f"{heads}\n{text[top.end() :]}"
    if not _FENCE.search(text):
        text = _UNDERLINED.sub(rf"\1{CELLS_APART}\n", _INNER.sub(rf"\n\1{CELLS_APART}\n", text))
    line = rows_in_a_line(_LINK.sub(r"\1", _FENCE.sub("", text)))
    return _CODE.sub(r"\1", _BOLD.sub(r"\1", line))


def marks_within(text: str) -> list[tuple[int, int]]:
    """Places of the marks around links, code and bold words, which `in_a_line` leaves out, in order; none in code."""
    code = [one.span() for one in _CODE.finditer(text)]
    found = [place for start, end in code for place in ((start, start + 1), (end - 1, end))]
    begins = [start for start, _ in code]
    for one in chain(_LINK.finditer(text), _BOLD.finditer(text)):
        before = bisect_left(begins, one.start()) - 1
        if before < 0 or code[before][1] <= one.start():
            found += [(one.start(), one.start(1)), (one.end(1), one.end())]
    return sorted(found)


def _densest(found: list[tuple[tuple[int, int], str]], line: str, most: int) -> int:
    """Where a stretch of `most` characters holds the most different words, then the most; a little before the first."""
    if len(line) <= most or not found:
        return 0
    places, words = [place for place, _ in found], [word for _, word in found]
    held, first, after = Counter[str](), 0, 0  # how often each of words[first:after] stands in the stretch
    best = (0, 0, -places[0][0])
    for start, _ in places:
        while after < len(places) and places[after][0] < start + most - 90:
            held[words[after]] += 1
            after += 1
        while first < after and places[first][0] < start:
            held[words[first]] -= 1
            if not held[words[first]]:
                del held[words[first]]
            first += 1
        best = max(best, (len(held), after - first, -start))
    return max(0, min(-best[2] - 60, len(line) - most))


def _whole_words(line: str, start: int, end: int) -> tuple[int, int]:
    """The stretch without words that it would cut, where blanks are near."""
    if start and (blank := line.find(" ", start, start + 30)) >= 0:
        start = blank + 1
    if end < len(line) and (blank := line.rfind(" ", end - 30, end)) >= 0:
        end = blank
    return start, min(end, len(line))


def apart(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places in order, those that overlap or touch as one: where no space parts words, pieces of words overlap."""
    found: list[tuple[int, int]] = []
    for a, b in sorted(places):
        if found and a <= found[-1][1]:
            found[-1] = (found[-1][0], max(b, found[-1][1]))
        else:
            found.append((a, b))
    return found


def _pieces(line: str, places: list[tuple[int, int]], start: int, end: int) -> Iterator[Marked]:
    at = start
    for a, b in apart(places):
        yield Marked(line[at:a], marked=False)
        yield Marked(line[a:b], marked=True)
        at = b
    yield Marked(line[at:end], marked=False)
