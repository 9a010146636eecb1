"""Tools of the library: search, show, outline, documents, add, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.agents import asked, shapes
from foveal.agents.place import Call, Place
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.text.headings import Heading
    from foveal.types import Document

NAMED = 12
"""Headings that an error names."""


def search(place: Place, given: asked.Search, call: Call) -> shapes.Hits:  # noqa: ARG001
    """Passages with their places."""
    if not given.query.strip():
        raise InputError("The query is empty. Say what to find.")
    return place.find(given)


def documents(place: Place, given: asked.Documents, call: Call) -> shapes.Documents:  # noqa: ARG001
    """Documents, the newest first."""
    library = place.library
    first, behind = (given.p - 1) * given.limit, given.p * given.limit
    if given.where.strip():
        entries = library.documents(given.where)[::-1]
        count, shown = len(entries), entries[first:behind]
    else:
        ids = library.store.listed("id")["id"].to_pylist()[::-1]
        there = library.entries(ids[first:behind])
        count, shown = len(ids), [there[one] for one in ids[first:behind] if one in there]
    found = [shapes.Document.of(entry) for entry in shown]
    return shapes.Documents(documents=found, count=count, next=given.p + 1 if behind < count else None)


def show(place: Place, given: asked.Show, call: Call) -> shapes.Text:  # noqa: ARG001
    """A part of a document."""
    found = place.library.get(place.entry(given.which).id, revision=_revision(given.revision))
    first, behind = _part(found, given)
    start = max(first, given.start)
    if given.start > behind or (given.start and given.start < first):
        raise InputError(f"start got {given.start}; what was asked for are characters {first} to {behind}.")
    end = min(behind, start + given.most)
    return shapes.Text(
        id=found.id,
        revision=found.revision,
        title=found.title,
        start=start,
        end=end,
        characters=len(found.text),
        page=found.page(start),
        text=found.text[start:end],
        next=end if end < behind else None,
        uri=shapes.document_uri(found.id, start, end, found.revision),
    )


def outline(place: Place, given: asked.Outline, call: Call) -> shapes.Outline:  # noqa: ARG001
    """The headings of a document."""
    from foveal.text.programs import headings_in

    found = place.library.get(place.entry(given.which).id)
    headings = headings_in(found)
    behind = given.first + asked.MOST_LISTED
    shown = [
        shapes.Heading(title=one.title, level=one.level, start=one.start, page=found.page(one.start))
        for one in headings[given.first : behind]
    ]
    return shapes.Outline(
        id=found.id,
        revision=found.revision,
        title=found.title,
        characters=len(found.text),
        pages=len(found.pages),
        headings=shown,
        count=len(headings),
        next=behind if behind < len(headings) else None,
    )


def add(place: Place, given: asked.Add, call: Call) -> shapes.Added:
    """Add sources, or a text."""
    if bool(given.sources) == bool(given.text.strip()):
        raise InputError("Give either `sources` (files, folders, URLs, arXiv ids) or a `text`.")
    return place.add(given, call)


def remove(place: Place, given: asked.Remove, call: Call) -> shapes.Removed:  # noqa: ARG001
    """Take a document out."""
    return place.remove(given.which)


def _revision(given: str) -> str | None:
    """A revision's hash, or its beginning; None of "". InputError: it is none."""
    if given and not (6 <= len(given) <= 64 and set(given) <= set("0123456789abcdef")):
        raise InputError(f"{given[:80]!r} is no revision; these are hashes, 6 to 64 of the digits 0-9 and a-f.")
    return given or None


def _part(found: Document, given: asked.Show) -> tuple[int, int]:
    """The first character of what is asked for, and the one behind it. InputError: there is no such part."""
    size = len(found.text)
    if sum((bool(given.heading), given.page is not None, given.end is not None)) > 1:
        raise InputError("`heading`, `page` and `end` each name a part; give one of them.")
    if given.heading:
        return _section(found, given.heading)
    if given.page is not None:
        if not 1 <= given.page <= len(found.pages):
            there = f"has {len(found.pages)} pages" if found.pages else "has no pages; give `start` and `end`"
            raise InputError(f"page got {given.page}; the document {there}.")
        return found.pages[given.page - 1], found.pages[given.page] if given.page < len(found.pages) else size
    end = size if given.end is None else given.end
    if not given.start <= end <= size:
        raise InputError(f"The text has {size} characters; it needs 0 <= start <= end <= {size}.")
    return 0, end


def _section(found: Document, title: str) -> tuple[int, int]:
    """From a heading, and a comment above it that belongs there, up to the next one that is no deeper."""
    from foveal.text.programs import headings_in

    headings = headings_in(found)
    at = _named(headings, title)
    if at is None:
        there = ", ".join(repr(one.title) for one in headings[:NAMED]) or "none"
        more = f" and {len(headings) - NAMED} more (see outline)" if len(headings) > NAMED else ""
        raise InputError(f"No heading is called {title[:80]!r} in {found.title[:80]!r}. There are: {there}{more}.")
    level = headings[at].level
    behind = next((one.start - one.lead for one in headings[at + 1 :] if one.level <= level), len(found.text))
    return headings[at].start - headings[at].lead, behind


def _named(headings: list[Heading], title: str) -> int | None:
    """The first heading of that name, else the first whose name holds it: also as a search shows it, "Law > Fish"."""
    wanted = " ".join(title.rpartition(" > ")[2].split()).casefold()
    names = [" ".join(one.title.split()).casefold() for one in headings]
    exact = (place for place, name in enumerate(names) if name == wanted)
    return next(exact, next((place for place, name in enumerate(names) if wanted and wanted in name), None))
