"""The contents of a document's page: topics within topics, as fine as one asks for, each with the part that holds it.

    contents = contents_of(store, document, cut, newest=True, detail=0)
    contents.steps                                  [Step(1, 6, False), Step(2, 31, True), …]: how fine it can be
    contents.entries[0].parts                       what stands below the first topic

Without headings, and with passages too few to tell topics apart, the pages serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from foveal.retrieval.document_passages import document_passages
from foveal.retrieval.store import Store
from foveal.text.code_blocks import Code, code_blocks
from foveal.text.headings import Heading
from foveal.text.programs import CODE, headings_as, language_of
from foveal.text.table_cells import Grid, grids_of
from foveal.text.topic_outline import MOST, Topic, TopicOutline, titled, topic_outline
from foveal.text.wrapping import unwrapped
from foveal.types import Document
from foveal.web.document_text import part_of

INDENTING = ("markdown", "notebook")
"""Kinds of documents in which an indented paragraph is code."""

AROUND = 10_000
"""Characters before and after what is shown that tell whether, and to which width, lines were wrapped."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the contents, and those below it."""

    title: str
    part: int
    anchor: str
    begins: str = ""  # the first words of what is no heading
    depth: int = 1
    parts: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Step:
    """A choice of how fine the contents are: its number, from 1, and how many lines it shows."""

    number: int
    count: int
    chosen: bool


@dataclass(frozen=True)
class Contents:
    """What stands beside a text; `steps` where there is a choice."""

    entries: list[Entry]
    steps: list[Step]
    detail: int  # the number of the step that was asked for and is no usual one, else 0


def contents_of(store: Store, document: Document, cut: Sequence[int], *, newest: bool, detail: int = 0) -> Contents:
    """The contents, by the step `detail` (0: the usual one; one too many: the finest)."""
    outline = _outline(store, document.id, document.revision, document.text, language_of(document), newest)
    steps = outline.steps()
    if not steps:
        return Contents(_pages(document, cut), [], 0)
    usual = outline.usual()
    level = usual if detail < 1 else steps[min(detail, len(steps)) - 1]
    shown = _titled(outline, document.revision, document.text, level)
    choices = [Step(n, len(outline.down_to(one)), one == level) for n, one in enumerate(steps, start=1)]
    asked = 0 if level == usual else steps.index(level) + 1
    return Contents(nested(shown, cut), choices if len(choices) > 1 else [], asked)


def headings_of(document: Document) -> tuple[Heading, ...]:
    """The headings of a text: a reader goes from part to part of one document."""
    return _headings(document.revision, document.text, language_of(document))


def code_of(document: Document) -> tuple[Code, ...]:
    """The blocks of code of a text; all of a program's, and of a PDF's those that were told from its lines."""
    kind = document.metadata.get("kind")
    if kind == CODE:
        return (Code(0, 0, len(document.text), len(document.text)),)
    return _code(document.revision, document.text, kind in INDENTING)


def tables_of(document: Document) -> tuple[Grid, ...]:
    """The tables of a text; none of one whose lines are those of a paper's pages."""
    return () if document.pages else grids_of(document, code_of(document))


def shown_of(document: Document, start: int, end: int) -> str:
    """The characters `start` to `end` as they are shown: a blank stands for each line end that only fits a width.

    Those of a paper's pages stay: `blocks_of` joins them, by the page.
    """
    if document.pages:
        return document.text[start:end]
    text = document.text
    first = text.rfind("\n", 0, max(0, start - AROUND)) + 1
    last = text.find("\n", min(len(text), end + AROUND)) + 1 or len(text)
    closed = [(one.start, one.end) for one in code_of(document)]
    closed += ((one.start, one.end) for one in tables_of(document))
    return unwrapped(text, first, last, closed)[start - first : end - first]


def nested(topics: Sequence[Topic], cut: Sequence[int]) -> list[Entry]:
    """The topics as entries, each below the last one before it that is less deep."""
    top: list[Entry] = []
    opened: list[tuple[int, Entry]] = []
    for one in topics:
        while opened and opened[-1][0] >= one.depth:
            opened.pop()
        anchor = f"{'h' if one.heading else 'p'}-{one.start}"
        title, begins = (one.title, one.begins) if one.title else (one.begins, "")
        entry = Entry(title, part_of(cut, one.start), anchor, begins, len(opened) + 1)
        (opened[-1][1].parts if opened else top).append(entry)
        opened.append((one.depth, entry))
    return top


def _pages(document: Document, cut: Sequence[int]) -> list[Entry]:
    step = max(1, len(document.pages) // MOST)
    pages = list(enumerate(document.pages, start=1))[::step]
    return [Entry(f"Page {number}", part_of(cut, offset), f"page-{number}") for number, offset in pages]


@lru_cache(maxsize=4)
def _headings(revision: str, text: str, language: str | None) -> tuple[Heading, ...]:  # noqa: ARG001 (a hash is fast)
    return tuple(headings_as(text, language))


@lru_cache(maxsize=4)
def _code(revision: str, text: str, indented: bool) -> tuple[Code, ...]:  # noqa: ARG001
    return tuple(code_blocks(text, indented=indented))


@lru_cache(maxsize=4)
def _outline(
    store: Store, document_id: str, revision: str, text: str, language: str | None, newest: bool
) -> TopicOutline:
    """Of an earlier text, whose passages are no longer there, the headings alone."""
    places, vectors = document_passages(store, document_id) if newest else ([], None)
    return topic_outline(text, _headings(revision, text, language), places, vectors)


@lru_cache(maxsize=8)
def _titled(outline: TopicOutline, revision: str, text: str, level: int) -> tuple[Topic, ...]:  # noqa: ARG001
    return tuple(titled(text, outline.down_to(level)))
