"""The code in a Word document: paragraphs in letters of one width, between fences as in Markdown.

    typed = typed_styles(faces, styles.usual)       # the styles whose letters are so
    is_typed(paragraph, style, typed)               # a paragraph of which all letters are
    with_fences(["Text", CodeLine("def a():"), CodeLine("    pass")])   # ["Text", "```\\ndef a():\\n    pass\\n```"]

Word knows no code, but how it is set: in Courier New, Consolas and their like, by a style or by hand, and indented by
blanks or by the paragraph's own setting (`word_indents.py`). Prose in such letters, and a document that was written in
them as a whole, stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from foveal.text.code_blocks import fence_around, no_heading, reads_as_code
from foveal.text.word_indents import set_in

MOST = 0.8
"""Of a document's characters; where more are typed, it was written so."""

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FACE = re.compile(
    r"\bmono(?!type)|mono\b|courier|consolas|menlo|monaco|inconsolata|lucida (?:console|sans typewriter)|typewriter"
    r"|fixedsys|(?:source|fira|cascadia|ubuntu) (?:code|mono)|dejavu sans mono|terminal|ocr[- ]?b|\bhack\b|iosevka",
    re.IGNORECASE,
)
_BLANKS = re.compile(r"\n{3,}")


class CodeLine(str):
    """A paragraph in letters of one width; how far its first line and its others are set in, in widths of a letter."""

    __slots__ = ("indents",)
    indents: tuple[float, float]

    def __new__(cls, words: str = "", indents: tuple[float, float] = (0.0, 0.0)) -> CodeLine:
        line = super().__new__(cls, words)
        line.indents = indents
        return line


def typed_styles(faces: Mapping[str, str], usual: str = "") -> frozenset[str]:
    """Of styles and what each calls its letters those that are of one width; "" is what has none, as the usual one."""
    typed = {style for style, face in faces.items() if _FACE.search(face)}
    return frozenset(typed | {""} if usual in typed else typed)


def face_of(element: Any) -> str | None:
    """What a run, or a style, calls its letters; None: nothing."""
    fonts = element.find(f"{_W}rPr/{_W}rFonts")
    return None if fonts is None else fonts.get(f"{_W}ascii") or fonts.get(f"{_W}hAnsi")


def is_typed(paragraph: Any, style: str, typed: Collection[str]) -> bool:
    """Whether all letters of a paragraph of a style are of one width, by their own word or that of a style; without
    any, those that would be."""
    runs = [run for run in paragraph.iter(f"{_W}r") if _is_seen(run, paragraph)]
    return all(_is_typed(run, style, typed) for run in runs) if runs else style in typed


def _is_seen(run: Any, paragraph: Any) -> bool:
    """Whether a run says something there: it is neither hidden, nor moved away, nor in a box beside the paragraph."""
    if run.find(f"{_W}rPr/{_W}vanish") is not None or not "".join(run.itertext(f"{_W}t")).strip():
        return False
    return next(run.iterancestors(f"{_W}p", f"{_W}moveFrom")) is paragraph


def _is_typed(run: Any, style: str, typed: Collection[str]) -> bool:
    if own := face_of(run):
        return bool(_FACE.search(own))
    named = run.find(f"{_W}rPr/{_W}rStyle")
    return style in typed or (named is not None and named.get(f"{_W}val") in typed)


def with_fences(blocks: Iterable[str]) -> list[str]:
    """The blocks of a document, those in a row that are code as one between fences."""
    blocks = list(blocks)
    typed = sum(len(block) for block in blocks if isinstance(block, CodeLine))
    if typed > MOST * sum(map(len, blocks)):
        return [_few(no_heading(block.strip()) if isinstance(block, CodeLine) else block) for block in blocks]
    return list(_fenced(blocks))


def _fenced(blocks: Iterable[str]) -> Iterator[str]:
    for typed, group in groupby(blocks, lambda block: isinstance(block, CodeLine)):
        if not typed:
            yield from map(_few, group)
            continue
        lines, indents = list[str](), list[float]()
        for block in group:
            own = block.split("\n")
            first, others = block.indents if isinstance(block, CodeLine) else (0.0, 0.0)
            lines += [line.replace("\u00a0", " ").rstrip() for line in own]
            indents += [first, *([others] * (len(own) - 1))]
        body = "\n".join(set_in(lines, indents)).strip("\n")
        if body and reads_as_code(body.split("\n")):
            fence = fence_around(body)
            yield f"{fence}\n{body}\n{fence}"
        else:
            yield from (no_heading(line.strip()) for line in lines if line.strip())


def _few(block: str) -> str:
    """Prose with at most one blank line between two others."""
    return _BLANKS.sub("\n\n", block)
