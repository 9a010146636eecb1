"""Clusters of letters in PDFs of Thai, Hindi, Telugu and their like, read as the file says that they are to be read.

What browsers and Skia write draws a cluster by several glyphs, each of which stands for all of it, or for nothing:
pdfium reads "สุนัข" as "สุนัสุขนั" in three lines, and "लोमड़ी" with a blank in it. Around each cluster they write its
text (ActualText; ISO 32000-2, 14.9.4), which is taken for it once, where its first glyph stands. A blank is where one
cluster ends and the next begins some way off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ctypes import POINTER, addressof, c_ulong, cast, create_string_buffer
from dataclasses import dataclass, replace
from typing import Any

from foveal.text.pdf_columns import Box
from foveal.text.pdf_letters import Glyphs

APART, FAR, LEVEL = 0.14, 1.5, 0.3
"""Of the letters' size: what parts two words, and two columns, and how much the base lines of a line may differ."""

LONGEST = 2000
"""Bytes of what a cluster says."""

_CLUSTERED = re.compile("[\u0900-\u109f\u1780-\u17ff\u1a20-\u1aaf]")
_GAP = frozenset(" \r\n")


@dataclass(frozen=True, slots=True)
class _Unit:
    """A letter, or a cluster, at a place of pdfium's text; said "": one that was said before; None: a gap."""

    place: int
    said: str | None
    left: float = 0.0
    right: float = 0.0


def with_clusters(text: Any, characters: str, glyphs: Glyphs) -> tuple[str, Glyphs]:
    """A page's text with each cluster as its file says it, and the letters by their places in it."""
    from pypdfium2 import raw

    if not _CLUSTERED.search(characters) or not hasattr(raw, "FPDFText_GetTextObject"):
        return characters, glyphs
    ends = _ends(text.page)
    if not ends:
        return characters, glyphs
    said: list[str] = []
    places: list[int] = []
    rights: list[float] = []
    for one in _with_gaps(list(_units(text, characters, glyphs, ends)), characters, glyphs):
        said.append(one.said or "")
        places += [one.place] * len(one.said or "")
        rights += [one.right if _CLUSTERED.search(one.said or "") else 0.0] * len(one.said or "")
    found = glyphs.at(places)

    def box_of(place: int) -> Box:  # all of a cluster's room, not its first glyph's: columns of tables need it
        left, bottom, right, top = found.box_of(place)
        return left, bottom, max(right, rights[place]), top

    return "".join(said), replace(found, box_of=box_of)


def _units(text: Any, characters: str, glyphs: Glyphs, ends: dict[int, float]) -> Iterator[_Unit]:
    """The letters of a page, each cluster once, in pdfium's order."""
    from pypdfium2 import raw

    seen: set[int] = set()
    for place, one in enumerate(characters):
        if one in _GAP and not glyphs.width_of(place) > 0:
            yield _Unit(place, None)
            continue
        drawn = raw.FPDFText_GetTextObject(text, glyphs.place_of(place))
        found = _marked(drawn) if drawn else None
        left = glyphs.origin_of(place)[0]  # where its glyph begins, not its ink: a danda has room before it
        if found is None:
            yield _Unit(place, one, left, left + glyphs.width_of(place))
        else:
            mark, said = found
            yield _Unit(place, "" if mark in seen else said, left, ends.get(mark, left))
            seen.add(mark)


def _with_gaps(units: Sequence[_Unit], characters: str, glyphs: Glyphs) -> Iterator[_Unit]:
    """The units that say something, with what parts them: within a line a blank, or nothing; else what pdfium has."""
    before: _Unit | None = None
    gaps: list[_Unit] = []
    for one in units:
        if one.said is None:
            gaps.append(replace(one, said=characters[one.place]))
        elif one.said:
            if gaps and before is not None:
                yield from _between(before, one, gaps, glyphs)
            yield one
            before, gaps = one, []
    yield from gaps


def _between(before: _Unit, after: _Unit, gaps: list[_Unit], glyphs: Glyphs) -> list[_Unit]:
    """What parts two units: by how far they are apart, where one is of such a script and both are of one line."""
    size = glyphs.look_of(after.place)[0]
    level = glyphs.origin_of(after.place)[1] - glyphs.origin_of(before.place)[1]
    apart = after.left - before.right
    if not _CLUSTERED.search(f"{before.said}{after.said}") or abs(level) > LEVEL * size or abs(apart) > FAR * size:
        return gaps
    return [replace(gaps[0], said=" ")] if apart > APART * size else []


def _ends(page: Any) -> dict[int, float]:
    """Where each cluster of a page ends, by its mark; of what is drawn within a form it is not known."""
    from pypdfium2 import PdfiumError, raw

    found: dict[int, float] = {}
    for one in page.get_objects(filter=(raw.FPDF_PAGEOBJ_TEXT,), max_depth=1):
        marked = _marked(one.raw)
        with suppress(PdfiumError):  # it stands nowhere
            if marked is not None:
                found[marked[0]] = max(one.get_bounds()[2], found.get(marked[0], float("-inf")))
    return found


def _marked(drawn: Any) -> tuple[int, str] | None:
    """The mark that says what a text object is to be read as, and its text; glyphs of one cluster have one mark."""
    from pypdfium2 import raw

    for number in range(raw.FPDFPageObj_CountMarks(drawn)):
        mark, length = raw.FPDFPageObj_GetMark(drawn, number), c_ulong()
        if not mark or not raw.FPDFPageObjMark_GetParamStringValue(mark, b"ActualText", None, 0, length):
            continue
        if not 2 < length.value <= LONGEST:
            continue
        buffer = create_string_buffer(length.value)
        if raw.FPDFPageObjMark_GetParamStringValue(
            mark, b"ActualText", cast(buffer, POINTER(raw.FPDF_WCHAR)), length.value, length
        ):
            said = _read(buffer.raw[: length.value].decode("utf-16-le", "replace").rstrip("\0"))
            return (addressof(mark.contents), said) if said else None
    return None


def _read(said: str) -> str:
    """What a cluster says; pdfium gives UTF-16 without its mark byte by byte."""
    if said and max(said) <= "\u00ff" and len(said) % 2 == 0:
        try:
            pairs = said.encode("latin-1").decode("utf-16-be")
        except UnicodeDecodeError:
            return said
        return pairs if _CLUSTERED.search(pairs) else said
    return said
