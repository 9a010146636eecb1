"""An abstract in pieces, so that a page can make a link of each keyword in it.

    keyword_links("We study sparse attention.", ["attention", "sparse attention"])
    # [Segment("We study ", None), Segment("sparse attention", "sparse attention"), Segment(".", None)]

The pieces joined are the abstract. A keyword is found in any case and across a line's end, but only as whole words (a
hyphen joins two words to one), and never in TeX: formulas ($…$, $$…$$, \\(…\\), \\[…\\]) and environments of up to
2,000 characters, commands with their arguments. Nor in an address. Where keywords overlap the longest one holds, then
the first. An abstract may be anybody's: no text takes long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from foveal.errors import InputError

MOST = 200
"""Keywords that are looked for."""

Span = tuple[int, int]

_FORMULA = re.compile(
    r"\\\\|\\[$%#&_{}]"  # an escaped sign begins no formula: it is passed over
    r"|(?P<tex>\$\$.{0,2000}?\$\$|\$(?:\\.|[^$\\])*\$|\\\(.{0,2000}?\\\)|\\\[.{0,2000}?\\\]"
    r"|\\begin\{(?P<name>[^{}]{0,80})\}.{0,2000}?\\end\{(?P=name)\}"
    r"|\\[a-zA-Z]+\*?)",
    re.DOTALL,
)
_BRACKET = re.compile(r"(?<!\\)[\[\]{}]")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+")
_SPACE = re.compile(r"\s+")
_JOINED = r"[\w\u0300-\u036f\u200c\u200d]"
"""Signs of a word."""
_HYPHENS = "-\u2010\u2011"


class Segment(NamedTuple):
    """A piece of the text, and the keyword that it is; None: plain text."""

    text: str
    keyword: str | None


def keyword_links(text: str, keywords: Sequence[str]) -> list[Segment]:
    """The pieces of `text`, in order; none is empty. InputError: more than `MOST` keywords."""
    if len(keywords) > MOST:
        raise InputError(f"{len(keywords)} keywords were to be linked; an abstract has at most {MOST}.")
    taken = bytearray(len(text))
    for start, end in protected(text):
        taken[start:end] = b"\1" * (end - start)
    found: list[tuple[Span, str]] = []
    spans = [(span, keyword) for keyword in dict.fromkeys(keywords) for span in _standing(keyword, text)]
    for (start, end), keyword in sorted(spans, key=lambda one: (one[0][0] - one[0][1], one[0])):
        if not any(taken[start:end]):
            taken[start:end] = b"\1" * (end - start)
            found.append(((start, end), keyword))
    return list(_pieces(text, sorted(found)))


def protected(text: str) -> list[Span]:
    """Where no keyword may be found: TeX and addresses. A formula that is not closed is none."""
    spans = [found.span() for found in _ADDRESS.finditer(text)]
    tex = [found for found in _FORMULA.finditer(text) if found["tex"] is not None]
    closings = _closings(text)
    ends = [_arguments_end(closings, found.end()) if _is_command(found[0]) else found.end() for found in tex]
    return spans + [(found.start(), end) for found, end in zip(tex, ends, strict=True)]


def occurs(keyword: str, text: str) -> bool:
    """Whether a link could be made of the keyword: it stands in the text as whole words, outside of TeX."""
    return any(one.keyword is not None for one in keyword_links(text, [keyword]))


def _is_command(tex: str) -> bool:
    return tex.startswith("\\") and tex[1].isalpha() and not tex.startswith("\\begin{")


def _arguments_end(closings: Mapping[int, int], end: int) -> int:
    """Where the arguments of a command that ends at `end` are over: [...] and balanced {...} that follow at once."""
    while end in closings:
        end = closings[end]
    return end


def _closings(text: str) -> dict[int, int]:
    """Where a bracket opens -> where it has closed; each kind is balanced by itself."""
    found: dict[int, int] = {}
    opened: dict[str, list[int]] = {"}": [], "]": []}
    for one in _BRACKET.finditer(text):
        if one[0] in "{[":
            opened["}" if one[0] == "{" else "]"].append(one.start())
        elif opened[one[0]]:
            found[opened[one[0]].pop()] = one.end()
    return found


def _standing(keyword: str, text: str) -> Iterator[Span]:
    """Where the keyword stands as whole words."""
    words = keyword.split()
    if not any(map(str.isalnum, keyword)):
        return
    pattern = _SPACE.pattern.join(map(re.escape, words))
    for found in re.finditer(pattern, text, re.IGNORECASE):
        if not _cuts(text, found.start()) and not _cuts(text, found.end()):
            yield found.span()


def _cuts(text: str, place: int) -> bool:
    """Whether a cut at `place` would part a word: letters on both sides, or a hyphen that joins some."""
    left, right = text[max(0, place - 2) : place], text[place : place + 2]
    if _in_word(left[-1:]) and _in_word(right[:1]):
        return True
    if left[-1:] in _HYPHENS and left[-1:]:
        return _in_word(left[:-1]) and _in_word(right[:1])
    return bool(right[:1]) and right[0] in _HYPHENS and _in_word(left[-1:]) and _in_word(right[1:])


def _in_word(sign: str) -> bool:
    return bool(re.match(_JOINED, sign))


def _pieces(text: str, found: Sequence[tuple[Span, str]]) -> Iterator[Segment]:
    done = 0
    for (start, end), keyword in found:
        if start > done:
            yield Segment(text[done:start], None)
        yield Segment(text[start:end], keyword)
        done = end
    if done < len(text):
        yield Segment(text[done:], None)
