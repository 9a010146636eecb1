"""Blocks of code in a text, as its page shows them: fenced ones and, in Markdown, indented ones.

    code_blocks(text, indented=True)        # [Code(start, body, stop, end), …]: text[body:stop] is the code

Fenced    between lines of ``` or ~~~ (headings.py finds them); a fence that nothing closes is none
Indented  lines four columns in, below a blank line; not what goes on with a list's item or a note, nor front matter
          Only of what is written as Markdown: in a plain text an indented line is a paragraph
Written   what another format shows to be code, by its letters (PDF, Word), goes between fences; a line of its prose
          that begins with "# " gets a blank there that makes no heading of it
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from foveal.text.headings import closed_regions, fenced_blocks
from foveal.text.units import Offsets

_LINE = re.compile(r"[^\n]*\n|[^\n]+\Z")
_DEEP = re.compile(r"(?: {4}| {0,3}\t)[ \t]*+\S")
_GOES_ON_BELOW = re.compile(r" {0,3}(?:[-*+•][ \t]|\d{1,9}[.)][ \t]|\[\^?[^\]\n]+\]:|:[ \t])")
_SIGN = re.compile(r"[{}\[\]=<>;_$\\|`@#*/+&]|\w\(|::|^\s|^\d{1,5} {2}")
_HEADED = re.compile(r"^([ \t]{0,3}#{1,6})[ \t]", re.MULTILINE)
_TICKS = re.compile("`{3,}")


@dataclass(frozen=True, slots=True)
class Code:
    """A block of code: characters `start` to `end`, of which `body` to `stop` are the code and the rest its fences."""

    start: int
    body: int
    stop: int
    end: int


def code_blocks(text: str, *, indented: bool) -> list[Code]:
    """The blocks of code of a text, in order; `indented` paragraphs, too."""
    found = [_fenced(text, start, end) for start, end in fenced_blocks(text)]
    if indented:
        found += (Code(start, start, end, end) for start, end in _indented(text, closed_regions(text)))
    return sorted(found, key=lambda one: one.start)


def reads_as_code(lines: Sequence[str]) -> bool:
    """Whether lines in letters of one width are code: half of them indented, numbered, or with a sign that prose hardly
    has; not those of addresses alone, as of a paper's authors.

    A single one is only if it would else read as a heading ("# a comment").
    """
    if len(lines) == 1:
        return bool(_HEADED.match(lines[0]))
    said = [line for line in lines if line.strip()]
    if all(map(_are_addresses, said)):
        return False
    return 2 * sum(bool(_SIGN.search(line)) for line in said) >= len(said)


def _are_addresses(line: str) -> bool:
    return all("@" in word[1:] or "://" in word for word in re.sub(r"([,;]) +", r"\1", line).split())


def fence_around(*bodies: str) -> str:
    """A fence that none of these texts would close."""
    return "`" * max(3, *(1 + len(ticks) for body in bodies for ticks in _TICKS.findall(body)), 0)


def no_heading(text: str) -> str:
    """`text` with a no-break space where a line would read as a heading of Markdown."""
    return _HEADED.sub("\\1\u00a0", text)


def _fenced(text: str, start: int, end: int) -> Code:
    last = text.rfind("\n", start, end - 1) + 1
    return Code(start, text.find("\n", start, end) + 1, last, end)


def _indented(text: str, closed: Offsets) -> Iterator[tuple[int, int]]:
    """Indented blocks outside of `closed` regions, each from its first line to the end of its last."""
    regions = chain(closed, [(len(text), len(text))])
    ahead = next(regions)
    start, end, below_item, blank = -1, 0, False, True
    for found in _LINE.finditer(text):
        line, at = found[0], found.start()
        while at >= ahead[1] < len(text):
            ahead = next(regions)
        inside = ahead[0] <= at < ahead[1]
        if not line.strip() and not inside:
            blank = True
            continue
        deep = not inside and bool(_DEEP.match(line))
        if deep and (start >= 0 or (blank and not below_item)):
            start, end = (start if start >= 0 else at), found.end()
        else:
            if start >= 0:
                yield start, end
            start = -1
            goes_on = below_item and (not blank or line[:1] in " \t")
            below_item = goes_on or (not inside and bool(_GOES_ON_BELOW.match(line)))
        blank = False
    if start >= 0:
        yield start, end
