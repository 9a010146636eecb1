"""How far a Word document sets its paragraphs in, in widths of a letter: code that is indented so has no blanks.

    indents = Indents.of_styles(Styles.of(root))  # what the styles say; of a document without any, nothing
    indents.of(paragraph, "SourceCode")         # (first line, other lines): 4.0 is where the fifth letter would stand
    set_in(["if a:", "b"], [0.0, 3.9])          # ["if a:", "    b"], as deep as they are beside the least of them

What a paragraph does not say itself, its style does, and those that this is based on. Letters of one width are 0.6 of
their size wide, as in Courier; of a size that nobody says, 11 points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foveal.text.word_styles import Styles

WIDE = 0.6
"""Of its size: the width of a letter."""

USUAL = 22
"""Half points of letters whose size is not said."""

MOST = 40
"""Letters; what stands further in is centred, or beside something."""

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_SIDES = {"left": ("left", "start"), "firstLine": ("firstLine",), "hanging": ("hanging",)}


@dataclass(frozen=True)
class Indents:
    """What the styles of a document say: twips (1/20 point) by side, and half points of their letters as "size"."""

    styles: Mapping[str, Mapping[str, int]]

    @classmethod
    def of_styles(cls, styles: Styles) -> Indents:
        """By the styles of a document."""
        defaults = _stated(styles.defaults)
        own = {name: _stated(style) for name, style in styles.elements.items()}
        found = {name: _merged(own.get(one, {}) for one in styles.chain(name)) for name in own}
        return cls({name: defaults | said for name, said in {"": found.get(styles.usual, {}), **found}.items()})

    def of(self, paragraph: Any, style: str) -> tuple[float, float]:
        """How far the first line of a paragraph of a style is set in, and its others."""
        said = {**self.styles.get(style, {}), **_stated(paragraph)}
        sizes = [_number(one, "val") for one in paragraph.iterfind(f"{_W}r/{_W}rPr/{_W}sz")]
        size = next((one for one in sizes if one), said.get("size") or USUAL)
        letter, left = WIDE * 10 * size, said.get("left", 0)
        first = left - said["hanging"] if said.get("hanging") else left + said.get("firstLine", 0)
        return first / letter, left / letter


def set_in(lines: Sequence[str], indents: Sequence[float]) -> list[str]:
    """The lines of a block, each behind as many blanks as it is set in further than the least one of them."""
    least = min((indent for line, indent in zip(lines, indents, strict=True) if line.strip()), default=0.0)
    blanks = [round(indent - least) for indent in indents]
    return [
        f"{' ' * count}{line}" if 0 < count <= MOST and line.strip() else line
        for line, count in zip(lines, blanks, strict=True)
    ]


def _merged(said: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """What some say, the first of them before the next."""
    found = dict[str, int]()
    for one in said:
        found = {**one, **found}
    return found


def _stated(element: Any) -> dict[str, int]:
    """What a paragraph or style says itself."""
    about = element.find(f"{_W}pPr/{_W}ind") if element is not None else None
    size = element.find(f"{_W}rPr/{_W}sz") if element is not None else None
    found = {"size": _number(size, "val")} if size is not None else {}
    if about is not None:
        said = (
            (side, name) for side, names in _SIDES.items() for name in names if about.get(f"{_W}{name}") is not None
        )
        found |= {side: _number(about, name) for side, name in said}
        if "firstLine" in found:  # which then hangs by no style's word
            found.setdefault("hanging", 0)
    return found


def _number(element: Any, name: str) -> int:
    """A whole number, as Word writes it; others say nothing."""
    said = element.get(f"{_W}{name}") or ""
    return int(said) if said.removeprefix("-").isdecimal() and len(said) < 8 else 0
