"""What of a page can be evidence: its passages under their headings, tables and captions by themselves, no furniture.

    structured(page, StructureRules())          # passages in the page's order

Windows   1,200 tokens with 100 shared, ending at paragraphs or sentences, never over a heading (windows.py)
Tables    each run of table lines is a passage of its own: its header line and rows stay as they are
Captions  "Figure 3: …" and "Table 2. …" are passages of their own
Dropped   reference lists, acknowledgements, what reads as cookie notes, menus and share buttons, and the front matter
          of Markdown, whose title, date and authors the source has anyway
Structure is kept for what it says, as HtmlRAG (arXiv 2411.02959) and TableRAG do; nothing is rewritten
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from foveal.text.markdown import behind_front_matter
from foveal.text.programs import headings_in
from foveal.text.segmentation import sections
from foveal.text.units import words
from foveal.text.windows import WindowRule, windows
from foveal.types import Document, Passage, Span

_REFERENCES = re.compile(
    r"^\W*(?:\d+\.?\s*)?(?:references|bibliography|works cited|acknowledge?ments?)\W*$", re.IGNORECASE
)
_FURNITURE = re.compile(
    r"\b(?:cookies?|subscribe|newsletter|sign (?:in|up)|log ?in|all rights reserved|privacy policy"
    r"|terms of (?:use|service)|share (?:this|on)|follow us|skip to (?:main )?content|advertisement|related articles"
    r"|read more|back to top)\b",
    re.IGNORECASE,
)
_TABLE = re.compile(r"(?:^[ \t]*\|.*\|[ \t]*\r?\n?){2,}", re.MULTILINE)
_TABBED = re.compile(r"(?:^[^\t\n]+(?:\t[^\t\n]*)+\n?){2,}", re.MULTILINE)
_CAPTION = re.compile(r"^(?:figure|fig\.|table)\s+\d+\s*[.:].+$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class StructureRules:
    """How a page is cut; tokens are words and marks."""

    tokens: int = 1200  # most of a passage
    overlap: int = 100  # that a passage shares with the one before

    def __post_init__(self) -> None:
        """InputError: the overlap is not below the tokens."""
        WindowRule(self.tokens, self.overlap)


def structured(page: Document, rules: StructureRules) -> list[Passage]:
    """The passages that can be evidence, in the page's order."""
    begin = behind_front_matter(page.text) if page.metadata.get("kind") == "markdown" else 0
    own = sorted((one for one in _apart(page.text) if one[0] >= begin), key=lambda one: one[0])
    found = [_passage(page, start, end, None) for start, end in own]
    for path, start, end in _prose(page, rules, begin):
        if path and _REFERENCES.match(path[-1]):
            continue
        passage = _passage(page, start, end, " > ".join(path) or None)
        if passage.text and not is_furniture(passage.text) and not _within(passage.span, own):
            found.append(passage)
    return sorted((one for one in found if one.text), key=lambda one: (one.span.start, -one.span.end))


def tables(text: str) -> Iterator[tuple[int, int]]:
    """Where the tables of a text stand: lines between bars, or with tabs."""
    for pattern in (_TABLE, _TABBED):
        for found in pattern.finditer(text):
            yield found.start(), found.end()


def is_furniture(text: str) -> bool:
    """Whether most of a text is what stands around a page's content."""
    lines = [line for line in text.splitlines() if line.strip()]
    around = sum(len(line) for line in lines if _FURNITURE.search(line) and len(line) < 200)
    return bool(lines) and 2 * around >= sum(map(len, lines))


def _apart(text: str) -> Iterator[tuple[int, int]]:
    yield from tables(text)
    for found in _CAPTION.finditer(text):
        yield found.start(), found.end()


def _prose(page: Document, rules: StructureRules, begin: int) -> Iterator[tuple[tuple[str, ...], int, int]]:
    rule = WindowRule(rules.tokens, rules.overlap)
    for section in sections(page.text, headings_in(page)):
        start = max(begin, section.start)
        for window in windows(page.text, start, section.end, rule, words, body=max(start, section.body)):
            yield section.path, window.start, window.end


def _within(span: Span, own: list[tuple[int, int]]) -> bool:
    return any(start <= span.start and span.end <= end for start, end in own)


def _passage(page: Document, start: int, end: int, heading: str | None) -> Passage:
    text = page.text[start:end].strip()
    first = start + page.text[start:end].find(text)
    return Passage(Span(page.id, first, first + len(text)), text, heading)
