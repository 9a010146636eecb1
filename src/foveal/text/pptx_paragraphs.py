"""Paragraphs of slides (DrawingML): their words, and the bullets or numbers that PowerPoint sets before them.

Words     runs, line breaks, fields as last shown, formulas in a line; raised and lowered ones as raised.py writes them
Lists     "- ", or numbers that count on over what is below; indented by how deep they are in the list as it is shown
Bullets   as the paragraph says, or the level that it is on: of its shape, else of what the shape has from its layout
Names     elements are known by their names within their namespace, as strict documents have others
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from foveal.text.code_blocks import no_heading
from foveal.text.office_formulas import formula, local
from foveal.text.raised import lowered, raised
from foveal.text.word_numbers import number_as
from foveal.text.word_signs import plain_signs

DEEPEST = 8  # levels of lists below the first
MOST = 5000  # beyond this no number is written in letters

_LEVEL = re.compile(r"lvl([1-9])pPr")
_AUTOMATIC = re.compile(r"(arabic|alphaLc|alphaUc|romanLc|romanUc|ea1Ch|ea1Jpn)?\w*?(Period|ParenR|ParenBoth)?")
_KINDS = {
    "alphaLc": "lowerLetter", "alphaUc": "upperLetter", "romanLc": "lowerRoman", "romanUc": "upperRoman",
    "ea1Ch": "chineseCounting", "ea1Jpn": "japaneseCounting",
}  # fmt: skip
_SIGNS = {"Period": "{}.", "ParenR": "{})", "ParenBoth": "({})"}
_HOLDS = ("m", "oMathPara")
_BASELINE = re.compile(r"(-?)0*[1-9]")


class Bullet(NamedTuple):
    """What stands before a paragraph: nothing (""), a bullet ("-"), or a number of this kind."""

    kind: str
    first: int = 1


Levels = Mapping[int, Bullet]
"""The bullets of a shape's paragraphs, by level from 0."""

NONE = Bullet("")


def levels_of(styles: Any) -> dict[int, Bullet]:
    """What a list of styles says of the bullets of its levels."""
    found = {}
    for one in styles.iterchildren("*") if styles is not None else ():
        level, bullet = _LEVEL.fullmatch(local(one)), _bullet(one)
        if level and bullet is not None:
            found[int(level[1]) - 1] = bullet
    return found


def paragraphs(body: Any, levels: Levels) -> Iterator[str]:
    """The paragraphs of a text, as Markdown; empty ones, which have neither bullet nor number, are left out."""
    shown = {**levels, **levels_of(body.find("{*}lstStyle"))}
    items = _List()
    for one in body.iterchildren("{*}p"):
        text = words_of(one).strip()
        if not text:
            continue
        about = one.find("{*}pPr")
        level = min(number(about.get("lvl")) or 0, DEEPEST) if about is not None else 0
        bullet = _bullet(about) if about is not None else None
        before = items.label(level, shown.get(level, NONE) if bullet is None else bullet)
        yield no_heading(before + text.replace("\n", "\n" + " " * _width(before)))


def words_of(paragraph: Any) -> str:
    """What a paragraph says."""
    said = ""
    for baseline, group in groupby(_runs(paragraph), key=lambda run: run[0]):
        words = "".join(text for _, text in group)
        said += raised(words, said[-8:]) if baseline > 0 else lowered(words) if baseline < 0 else words
    return said


def unfolded(part: Any) -> Iterator[Any]:
    """The elements below one; of contents that are there in several ways the first, as PowerPoint shows them."""
    left = list(part.iterchildren("*"))[::-1]
    while left:
        one = left.pop()
        if local(one) != "AlternateContent":
            yield one
            continue
        chosen = next((way for way in one.iterchildren("{*}Choice", "{*}Fallback")), None)
        left += list(chosen.iterchildren("*"))[::-1] if chosen is not None else []


def number(stated: str | None) -> int | None:
    """A number that is written as an attribute; None: it is none."""
    return int(stated) if stated is not None and re.fullmatch(r"-?[0-9]{1,15}", stated) else None


@dataclass
class _List:
    """How deep the list is that goes on, and how far it has counted."""

    open: list[int] = field(default_factory=list)  # the levels that the next item may be below
    counted: dict[int, tuple[Bullet, int]] = field(default_factory=dict)

    def label(self, level: int, bullet: Bullet) -> str:
        """What stands before the next paragraph, with the blanks that indent it."""
        before = self.counted.get(level)
        self.counted = {one: count for one, count in self.counted.items() if one < level}
        if not bullet.kind:
            self.open = []
            return ""
        self.open = [one for one in self.open if one < level]
        indent = "  " * len(self.open)
        self.open.append(level)
        if bullet.kind == "-":
            return f"{indent}- "
        count = before[1] + 1 if before is not None and before[0] == bullet else bullet.first
        self.counted[level] = (bullet, count)
        return f"{indent}{_numbered(bullet.kind, count)} "


def _bullet(about: Any) -> Bullet | None:
    """What a paragraph, or a level, says of its bullet; None: nothing."""
    for one in about.iterchildren("*"):
        name = local(one)
        if name == "buNone" or (name == "buChar" and not (one.get("char") or "").strip()):
            return NONE
        if name in ("buChar", "buBlip"):
            return Bullet("-")
        if name == "buAutoNum":
            return Bullet(one.get("type") or "arabicPeriod", max(1, min(number(one.get("startAt")) or 1, MOST)))
    return None


def _numbered(kind: str, count: int) -> str:
    """A number as lists of that kind write it: "2.", "b)", "(ii)"."""
    found = _AUTOMATIC.fullmatch(kind)
    counts, sign = (found[1], found[2]) if found else (None, None)
    written = number_as(count, _KINDS.get(counts or "", "decimal") if count <= MOST else "decimal")
    return _SIGNS.get(sign or "", "{}").format(written)


def _width(before: str) -> int:
    """How far lines below the first of an item are indented."""
    return len(before) - len(before.lstrip()) + 2 if before else 0


def _runs(paragraph: Any) -> Iterator[tuple[int, str]]:
    """The runs of a paragraph: whether each is raised (1), lowered (-1) or neither, and what it says."""
    left = list(unfolded(paragraph))[::-1]
    while left:
        one = left.pop()
        name = local(one)
        if name in ("r", "fld"):
            about = one.find("{*}rPr")
            yield _baseline(about), _signs(one.findtext("{*}t") or "", about)
        elif name == "br":
            yield 0, "\n"
        elif name == "oMath":
            yield 0, formula(one)
        elif name in _HOLDS:
            left += list(unfolded(one))[::-1]


def _baseline(about: Any) -> int:
    found = _BASELINE.match(about.get("baseline") or "") if about is not None else None
    return 0 if found is None else -1 if found[1] else 1


def _signs(text: str, about: Any) -> str:
    """What a run says; signs of a font of signs as others have them."""
    font = about.find("{*}sym") if about is not None and not text.isascii() else None
    return text if font is None else plain_signs(text, font.get("typeface") or "")
