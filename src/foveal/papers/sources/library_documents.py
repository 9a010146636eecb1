"""Documents of the Foveal library as papers: what a group reads anyway, on the same pages as what is new.

    ""                     all documents
    "reports/", an id      what an id, a path, a folder or a URL names, as in `foveal show`

A document that came from arXiv is that paper; any other gets `doc-<its id>`. Its abstract is what stands under an
"Abstract" heading, else its first paragraph of some length, cut at a sentence.
Listed    on the day it was added to the library
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from foveal.papers.records import Named, PaperRecord
from foveal.text.tokens import sentences

if TYPE_CHECKING:
    from foveal.library import Library
    from foveal.retrieval.rows import Entry

LONGEST = 2500
"""Characters of an abstract that no heading ends."""

_HEADING = re.compile(r"^[ \t]*(?:#+[ \t]*)?(?:\*\*|_)?abstract(?:\*\*|_)?[ \t]*(?:[.:—–-]+[ \t]*|$)", re.I | re.M)
_NEXT = re.compile(
    r"^[ \t]*(?:#+[ \t]|(?:1|I)\.?[ \t]+Introduction\b|Introduction[ \t]*$|(?:Index Terms|Key ?words)\b)", re.I | re.M
)
_PROSE = 120  # characters: a shorter paragraph is a heading, names, a date
_ARXIV = re.compile(r"arxiv:(.{1,64}?)(?:v(\d+))?$")


class LibraryDocuments:
    """Source: the library of this home."""

    name = "library"

    def __init__(self, library: Library) -> None:
        self._library = library

    def records(self, ask: str = "") -> Iterator[PaperRecord]:
        """The documents that `ask` names ("" for all), in the order in which they were added. UnknownDocument: none."""
        for entry in self._library.find(ask) if ask else self._library.documents():
            yield record_of(entry, self._library.get(entry.id).text)


def record_of(entry: Entry, text: str) -> PaperRecord:
    """A document as a record."""
    found = _ARXIV.fullmatch(str(entry.metadata.get("source", "")) or entry.source)
    web = entry.url if entry.url and urlsplit(entry.url).scheme in ("http", "https") else ""
    categories = [one for one in str(entry.metadata.get("categories", "")).split("; ") if one]
    first = str(entry.metadata.get("primary_category", ""))
    return PaperRecord(
        id=found[1] if found else f"doc-{entry.id}",
        version=_version(entry.metadata.get("version"), found[2] if found else None),
        title=entry.title.strip() or entry.source,
        abstract=abstract_of(text, entry.title),
        authors=tuple(Named(name=name) for name in _names(entry)),
        published_at=entry.published_at,
        categories=tuple(dict.fromkeys(filter(None, (first, *categories)))),
        comment=str(entry.metadata.get("comment") or ""),
        journal_ref=str(entry.metadata.get("journal_ref") or ""),
        doi=str(entry.metadata.get("doi") or ""),
        url=web,
        listed_on=entry.added_at.date(),
        source=LibraryDocuments.name,
    )


def abstract_of(text: str, title: str = "") -> str:
    """The abstract that a text holds, or what comes nearest to one; "" for a text without prose."""
    headed = _HEADING.search(text)
    if headed:
        rest = text[headed.end() :].lstrip()
        end = _NEXT.search(rest, 1)
        if end and end.start() <= 2 * LONGEST:
            return _folded(rest[: end.start()])
        return _cut(_folded(rest.partition("\n\n")[0]))
    paragraphs = (_folded(one) for one in re.split(r"\n\s*\n", text[: 20 * LONGEST]))
    prose = (
        one for one in paragraphs if len(one) >= _PROSE and one != _folded(title) and not one.startswith(("#", "|"))
    )
    return _cut(next(prose, ""))


def _version(*told: object) -> int:
    """The first that is the number of a version; 1 where none is: a document may say "draft", or 2.1."""
    numbers = (str(one) for one in told)
    return next((int(one) for one in numbers if one.isdecimal() and len(one) < 7 and int(one)), 1)


def _names(entry: Entry) -> list[str]:
    told = str(entry.metadata.get("authors") or entry.metadata.get("author") or "")
    return [name.strip() for name in re.split(r";|,(?=\s)", told) if name.strip()]


def _folded(text: str) -> str:
    return " ".join(text.split())


def _cut(text: str) -> str:
    """At most LONGEST characters, ending with a sentence where one ends."""
    if len(text) <= LONGEST:
        return text
    ends = [end for _, end in sentences(text[:LONGEST])[:-1]]
    return text[: ends[-1]].rstrip() if ends else text[:LONGEST]
