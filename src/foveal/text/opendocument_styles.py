"""What the styles of an OpenDocument make of its letters, paragraphs and lists.

    styles = Styles.of(content, styles_root)        # the roots of content.xml and of styles.xml
    styles.look("paragraph", "P4").level            # 0 the title, 1 to 6 a heading, None neither
    label(styles.lists["L1"], {1: 2, 2: 3}, 2)      # "2.3"

A style says what its own element says, and for the rest what the style says that it is based on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from foveal.text.html_kept import label_of
from foveal.text.word_code import typed_styles
from foveal.text.word_numbers import number_as

_ODF = "{{urn:oasis:names:tc:opendocument:xmlns:{}:1.0}}"
OFFICE, STYLE, TEXT, TABLE, DRAW, PRESENTATION = map(
    _ODF.format, ("office", "style", "text", "table", "drawing", "presentation")
)
FO, SVG = map(_ODF.format, ("xsl-fo-compatible", "svg-compatible"))
_LOEXT = "{urn:org:documentfoundation:names:experimental:office:xmlns:loext:1.0}"

DEEPEST = 10  # levels of lists and of headings
_LONGEST = 40  # characters around a number; more would be no number, and stand before each item
_MOST_ABOVE = 30  # styles that one is based on
_LAST_ROMAN = 4999
_NO_HEADING = -1
_TYPED = ("preformatted text", "html preformatted", "source text", "source code", "teletype")
_FONT = "monospace"  # what they are set in where they do not say it
_HEADING = re.compile(r"heading (\d)")
_RAISED = re.compile(r"(super|sub|-?\d+(?:\.\d+)?%)(?:\s.*)?")
_KINDS = {"01, 02, 03, ...": "decimalZero", "一, 二, 三, ...": "chineseCountingThousand"}


class Look(NamedTuple):
    """What a style says; None is nothing, and so what the one that it is based on says."""

    face: str | None = None  # of its letters
    hidden: bool | None = None
    shift: str | None = None  # "super", "sub", or "" for on the line
    level: int | None = None  # of a heading, 0 for a title
    listed: str | None = None  # style of the list that its paragraphs are in, "" for none
    numbered: bool | None = None
    shown: bool | None = None  # a sheet, a slide


class Level(NamedTuple):
    """How a level of a list is numbered."""

    kind: str | None  # None: by bullets
    before: str = ""
    after: str = ""
    first: int = 1
    depth: int = 1  # levels that are shown, its own the last
    pattern: str = ""  # how they are put together, "%1%.%2%)", where it is said
    doubled: bool = False  # aa, bb, cc behind z

    def written(self, number: int) -> str:
        """A number of this level."""
        if not self.kind:
            return ""
        if self.kind in ("a", "A") and self.doubled:
            return number_as(number, "lowerLetter" if self.kind == "a" else "upperLetter")
        if self.kind in _KINDS:
            return number_as(number, _KINDS[self.kind])
        return label_of(number, "1" if self.kind in ("i", "I") and number > _LAST_ROMAN else self.kind)


_BULLET = Level(None)


@dataclass
class Styles:
    """The styles of a document."""

    own: dict[tuple[str, str], tuple[Look, str]]  # family and name -> what it says, and what it is based on
    lists: dict[str, dict[int, Level]]
    headings: dict[int, Level]  # how headings are numbered, by level
    known: dict[tuple[str, str], Look] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Any, others: Any) -> Styles:
        """Those of a document's text before those that it shares; `others` may be None."""
        places = [content.find(f"{OFFICE}automatic-styles")]
        if others is not None:  # what is automatic there is of heads and feet of pages, by the same names
            places.append(others.find(f"{OFFICE}styles"))
        made: Styles = cls({}, {}, {})
        fonts = {
            face.get(f"{STYLE}name"): face.get(f"{SVG}font-family")
            for root in (others, content)
            for face in (root.iterfind(f"{OFFICE}font-face-decls/{STYLE}font-face") if root is not None else ())
        }
        for place in places:
            for one in place if place is not None else ():
                if one.tag == f"{STYLE}style":
                    key = (one.get(f"{STYLE}family") or "", one.get(f"{STYLE}name") or "")
                    made.own.setdefault(key, (_look(one, fonts), one.get(f"{STYLE}parent-style-name") or ""))
                elif one.tag == f"{TEXT}list-style":
                    made.lists.setdefault(one.get(f"{STYLE}name") or "", _levels(one))
                elif one.tag == f"{TEXT}outline-style":
                    made.headings = made.headings or _levels(one)
        return made

    def look(self, family: str, name: str | None) -> Look:
        """What a style says, with all that it is based on."""
        key = (family, name or "")
        if (found := self.known.get(key)) is None:
            found, above = Look(), key[1]
            for _ in range(_MOST_ABOVE):
                if (family, above) not in self.own:
                    break
                said, above = self.own[family, above]
                found = Look._make(mine if mine is not None else its for mine, its in zip(found, said, strict=True))
            self.known[key] = found
        return found


@lru_cache(maxsize=256)
def is_typed(face: str) -> bool:
    """Whether letters that are called so are of one width."""
    return bool(typed_styles({"face": face}))


def label(forms: Mapping[int, Level], counted: Mapping[int, int], level: int) -> str:
    """What stands in front of an item on a level (from 1), by how far each level has counted; "-" for a bullet."""
    form = forms.get(level, _BULLET)
    if form.kind is None:
        return "-"

    def written(place: int) -> str:
        its = forms.get(place, _BULLET)
        return its.written(counted.get(place, its.first))

    if form.pattern:
        return re.sub(r"%(\d{1,2})%", lambda place: written(int(place[1])), form.pattern).strip()
    shown = range(max(1, level - form.depth + 1), level + 1) if form.kind else ()
    return f"{form.before}{'.'.join(filter(None, map(written, shown)))}{form.after}".strip()


def count(forms: Mapping[int, Level], counted: dict[int, int], level: int, begin: int | None = None) -> None:
    """Count one more item on a level, in place; `begin`: with this number."""
    before = forms.get(level, _BULLET).first - 1
    counted[level] = counted.get(level, before) + 1 if begin is None else begin
    for deeper in [one for one in counted if one > level]:
        del counted[deeper]


def number(stated: str | None) -> int | None:
    """A number that an attribute states; None: it states none."""
    return int(stated) if stated is not None and re.fullmatch(r"[0-9]{1,6}", stated) else None


def _look(style: Any, fonts: Mapping[str | None, str | None]) -> Look:
    letters, paragraphs = style.find(f"{STYLE}text-properties"), style.find(f"{STYLE}paragraph-properties")
    called = (style.get(f"{STYLE}display-name") or style.get(f"{STYLE}name") or "").replace("_20_", " ").lower()
    font = _get(letters, f"{STYLE}font-name")
    display = _get(letters, f"{TEXT}display")
    numbered = _get(paragraphs, f"{TEXT}enable-numbering")
    raised = _RAISED.fullmatch((_get(letters, f"{STYLE}text-position") or "").strip())
    shown = _get(style.find(f"{STYLE}table-properties"), f"{TABLE}display")
    seen = _get(style.find(f"{STYLE}drawing-page-properties"), f"{PRESENTATION}visibility")
    return Look(
        face=_get(letters, f"{FO}font-family") or fonts.get(font) or font or (_FONT if called in _TYPED else None),
        hidden=None if display is None else display == "none",
        shift=None if raised is None else _shift(raised[1]),
        level=_level(called, style.get(f"{STYLE}default-outline-level")),
        listed=style.get(f"{STYLE}list-style-name"),
        numbered=None if numbered is None else numbered == "true",
        shown=None if shown is None and seen is None else shown != "false" and seen != "hidden",
    )


def _get(element: Any, key: str) -> str | None:
    found: str | None = None if element is None else element.get(key)
    return found


def _shift(said: str) -> str:
    if said in ("super", "sub"):
        return said
    height = float(said[:-1])
    return "super" if height > 0 else "sub" if height < 0 else ""


def _level(called: str, stated: str | None) -> int | None:
    if called in ("title", "subtitle"):  # which some base on the title
        return 0 if called == "title" else _NO_HEADING
    if stated is not None:
        return number(stated) or _NO_HEADING
    found = _HEADING.fullmatch(called)
    return int(found[1]) if found else None


def _levels(style: Any) -> dict[int, Level]:
    found: dict[int, Level] = {}
    for one in style.iterchildren("*"):
        level = number(one.get(f"{TEXT}level"))
        if level is None or not 0 < level <= DEEPEST:
            continue
        if one.tag not in (f"{TEXT}list-level-style-number", f"{TEXT}outline-level-style"):
            found[level] = _BULLET
            continue
        first = number(one.get(f"{TEXT}start-value"))
        found[level] = Level(
            kind=one.get(f"{STYLE}num-format") or "",
            before=(one.get(f"{STYLE}num-prefix") or "")[:_LONGEST],
            after=(one.get(f"{STYLE}num-suffix") or "")[:_LONGEST],
            first=1 if first is None else first,
            depth=number(one.get(f"{TEXT}display-levels")) or 1,
            pattern=(one.get(f"{_LOEXT}num-list-format") or "")[:_LONGEST],
            doubled=one.get(f"{STYLE}num-letter-sync") == "true",
        )
    return found
