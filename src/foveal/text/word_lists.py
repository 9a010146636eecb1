"""The numbers that Word writes in front of paragraphs, counted as it counts them; of .docx and .doc alike."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from foveal.text.word_numbers import number_as

DEEPEST = 9  # levels of lists


class Level(NamedTuple):
    """How a level of a list is numbered: `text` has %1 to %9 for the numbers of the levels from the top."""

    kind: str
    text: str
    first: int
    restart: int | None = None  # levels, from the top, at each of which it begins again; None: all above it
    legal: bool = False  # all its numbers are decimal ones
    style: str | None = None  # of paragraphs: those that have the list from it are on this level


@dataclass
class Numbers:
    """The lists of a document, and how far each has counted."""

    forms: dict[str, dict[int, Level]]  # of a list by level
    shared: dict[str, str]  # list -> what it counts with others
    language: str = "en"  # of the document: Word writes 1st in English only
    anew: dict[str, dict[int, int]] = field(default_factory=dict)  # of a list by level: what it begins again with
    counted: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))

    def label(self, listed: tuple[str, int]) -> str:
        """What stands in front of the next paragraph of a list, on a level."""
        number, level = listed
        form = self.forms.get(number, {}).get(level)
        if form is None:
            return "-"
        counted = self._count(number, level)
        if form.kind == "bullet":
            return "-"

        def said(place: re.Match[str]) -> str:
            above = int(place[1]) - 1
            its = self.forms[number].get(above, Level("decimal", "", 1))
            foreign = its.kind == "ordinal" and not self.language.lower().startswith("en")
            decimal = foreign or (form.legal and its.kind != "decimalZero")
            return number_as(counted.get(above, its.first), "decimal" if decimal else its.kind)

        return re.sub(r"%([1-9])", said, form.text)

    def _count(self, number: str, level: int) -> dict[int, int]:
        """Count one more paragraph of a list on a level; how far each level has counted now."""
        forms, counted = self.forms[number], self.counted[self.shared[number]]
        if (begin := self.anew.get(number, {}).pop(level, None)) is not None:
            counted[level] = begin - 1
        counted[level] = counted.get(level, forms[level].first - 1) + 1
        for deeper in [one for one in counted if one > level]:
            restart = forms[deeper].restart if deeper in forms else None
            if restart is None or level < restart or restart > deeper:
                del counted[deeper]
        return counted
