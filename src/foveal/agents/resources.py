"""Documents and papers as resources of the protocol: what a person attaches to a conversation by its address.

    foveal://library/ID                                  a document's text, from its beginning
    foveal://library/ID?start=100&end=900&revision=…     a part of it, as a citation names it
    foveal://papers/2605.01234                           a paper, as JSON

A text is given up to `asked.MOST_SHOWN` characters at once; a longer one says at which address it goes on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from foveal.agents import asked, library_tools, paper_tools, shapes
from foveal.agents.place import Call, Place
from foveal.errors import InputError, NoLibrary

if TYPE_CHECKING:
    from mcp.types import Resource, ResourceTemplate

LISTED = 100
"""Documents in one list."""

_NUMBER = re.compile(r"\d{1,12}")


@dataclass(frozen=True)
class Content:
    """What stands at an address."""

    text: str
    media_type: str


@dataclass(frozen=True)
class Listed:
    """Some of the resources; `next` is the cursor of more."""

    resources: list[Resource]
    next: str | None


def listed(place: Place, cursor: str | None, call: Call) -> Listed:
    """The documents of the library, the newest first. InputError: a cursor of nobody's."""
    from mcp.types import Resource

    if cursor is not None and not (_NUMBER.fullmatch(cursor) and 1 <= int(cursor) <= 10**6):
        raise InputError(f"The cursor {cursor[:40]!r} is none that was given here. Leave it out to begin anew.")
    try:
        found = library_tools.documents(place, asked.Documents(p=int(cursor or 1), limit=LISTED), call)
    except NoLibrary:  # there is none yet: clients ask for a list before anybody asks for anything
        return Listed([], None)
    shown = [
        Resource(
            uri=one.uri,
            name=one.id[:8],
            title=one.title,
            description=f"{one.kind}, {one.characters:,} characters" + (f", by {one.author}" if one.author else ""),
            mime_type="text/plain",
        )
        for one in found.documents
    ]
    return Listed(shown, str(found.next) if found.next else None)


def templates() -> list[ResourceTemplate]:
    """Where resources stand."""
    from mcp.types import ResourceTemplate

    return [
        ResourceTemplate(
            uri_template=f"{shapes.SCHEME}://library/{{id}}{{?start,end,revision}}",
            name="document",
            title="A document of the library",
            description="Its text, or the characters from `start` to `end`, of a `revision`.",
            mime_type="text/plain",
        ),
        ResourceTemplate(
            uri_template=f"{shapes.SCHEME}://papers/{{id}}",
            name="paper",
            title="A paper",
            description="A paper of the daily papers.",
            mime_type="application/json",
        ),
    ]


def content(place: Place, uri: str, call: Call) -> Content:
    """What stands at an address. InputError: it is none of ours, or nothing is there."""
    try:
        parts = urlsplit(uri)
        given = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError as error:
        raise _nothing(uri) from error
    which = unquote(parts.path.removeprefix("/"))
    if parts.scheme != shapes.SCHEME or not which:
        raise _nothing(uri)
    if parts.netloc == "papers" and not given:
        found = paper_tools.show_paper(place, asked.ShowPaper(paper=which), call)
        return Content(found.model_dump_json(), "application/json")
    if parts.netloc != "library" or given.keys() - {"start", "end", "revision"} or not which.isalnum():
        raise _nothing(uri)
    return Content(_text(place, which, given, call), "text/plain")


def _text(place: Place, which: str, given: dict[str, str], call: Call) -> str:
    numbers = {name: given[name] for name in ("start", "end") if name in given}
    for name, value in numbers.items():
        if not _NUMBER.fullmatch(value):
            raise InputError(f"{name} got {value[:40]!r}; it needs a whole number, 0 or above.")
    places = {name: int(value) for name, value in numbers.items()}
    shown = library_tools.show(
        place,
        asked.Show(which=which, revision=given.get("revision", ""), most=asked.MOST_SHOWN, **places),  # type: ignore[arg-type]
        call,
    )
    if shown.next is None:
        return shown.text
    more = shapes.document_uri(shown.id, shown.next, places.get("end"), shown.revision)
    return f"{shown.text}\n\n[{shown.characters - shown.next:,} more characters: {more}]"


def _nothing(uri: str) -> InputError:
    return InputError(
        f"There is no resource at {uri[:200]!r}. Documents are {shapes.SCHEME}://library/ID, papers "
        f"{shapes.SCHEME}://papers/ID."
    )
