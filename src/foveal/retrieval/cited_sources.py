"""The sources of an answer, each once, with the places in it that are cited: for a list of references.

known = {entry.id: Known.of(entry) for entry in library.entries(ids).values()}
sources_of([(one.span, one.revision, one.title, one.url) for one in answer.citations], known)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from urllib.parse import unquote

from foveal.retrieval.rows import Entry
from foveal.text.printed_pages import pages_said
from foveal.text.references import Reference
from foveal.types import Document, Span

Place = tuple[Span, str | None, str, str | None]
"""Where a citation stands, the revision of the text that it is of, and the document's title and address."""


@dataclass(frozen=True)
class Known:
    """What is known of a document beside its text."""

    title: str
    revision: str
    url: str | None = None
    published_at: datetime | None = None
    pages: tuple[int, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    source: str = ""
    added_at: datetime | None = None

    @classmethod
    def of(cls, one: Entry | Document) -> Known:
        """A document of a library, or one that was read alone."""
        source = one.source if isinstance(one, Entry) else str(one.metadata.get("source") or "")
        added = one.added_at if isinstance(one, Entry) else None
        return cls(one.title, one.revision, one.url, one.published_at, one.pages, one.metadata, source, added)


def file_name(address: str) -> str:
    """The name alone of a file that a `file://` address names; "" of another."""
    return PurePosixPath(file_path(address)).name


def file_path(address: str) -> str:
    """The path of a file, as people write it; "" where the address is none of a file."""
    return unquote(address.removeprefix("file://")) if address.startswith("file://") else ""


def sources_of(
    places: Iterable[Place], known: Mapping[str, Known], file: Callable[[str], str] = file_name
) -> list[Reference]:
    """The documents in the order in which they are cited first; another revision of one is another source.

    `file` says how a file is called: `file_name`, or `file_path` for the one whose files they are.
    """
    cited: dict[tuple[str, str | None], list[Place]] = {}
    for place in places:
        cited.setdefault((place[0].document_id, place[1]), []).append(place)
    found = []
    for (key, revision), own in cited.items():
        _, _, title, url = own[0]
        about = known.get(key) or Known(title, revision or "", url)
        of_today = revision in (None, about.revision)
        said = dict.fromkeys(_said(span, about.pages if of_today else ()) for span, *_ in own)
        source = about.url or (about.source if about.source.startswith(("http://", "https://")) else None)
        found.append(
            Reference.of(
                title=about.title or title,
                metadata={**about.metadata, "source": about.source},
                published_at=about.published_at,
                url=source,
                file=file(about.source),
                added_at=about.added_at,
                places=list(said),
                revision=revision or about.revision,
            )
        )
    return found


def _said(span: Span, pages: tuple[int, ...]) -> str:
    """A place in words: "page 3 (characters 120 to 180)"."""
    characters, said = f"characters {span.start} to {span.end}", pages_said(pages, span)
    return f"{said} ({characters})" if said else characters
