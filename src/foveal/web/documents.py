"""A document of the library by its id; who may rename it or take it out: whoever added it here, or may do so to any.

    entry_of(site, "5eba7d"); may_remove(request, entry); taken_out(site, entry)

Who added a document is known where members write (papers/additions.py), until somebody else replaces its text.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from fastapi import HTTPException, Request
from sqlalchemy.exc import SQLAlchemyError

from foveal.errors import FovealError, InputError, LibraryBusy, UnknownDocument
from foveal.library import Library
from foveal.papers import additions
from foveal.retrieval.adding import AddReport
from foveal.retrieval.rows import Entry
from foveal.text.files import file_address
from foveal.types import document_id
from foveal.web.rights import Needs, may, person_number
from foveal.web.signed_in import signed_in
from foveal.web.site import Site, site_of
from foveal.web.uploads import Given, forget, upload_of

BUSY_AFTER_S = 10
"""Seconds after which to come again to remove something meanwhile."""

NAMED = 5
"""Documents that a line of the log names."""

logger = logging.getLogger("foveal.web")


@dataclass(frozen=True)
class NeedsOwn(Needs):
    """Dependency of a route about one document: 403 unless whoever asks may do this, or added it."""

    def __call__(self, request: Request) -> None:
        """HTTPException as of `Needs`. UnknownDocument: there is none."""
        if may(request, self.act):
            return
        if not may_remove(request, entry_of(site_of(request), request.path_params["which"])):
            super().__call__(request)


def may_remove(request: Request, entry: Entry) -> bool:
    """Whether whoever asks may take a document out."""
    return may(request, "remove") or entry.id in own_among(request, [entry])


def own_among(request: Request, entries: Sequence[Entry]) -> frozenset[str]:
    """The ids of those documents that whoever asks added, and may take out again."""
    person = signed_in(request) if may(request, "add") else None
    if person is None or site_of(request).options.writers != "members":
        return frozenset()
    return additions.added_by(site_of(request).database, person.id, {one.id: one.added_at for one in entries})


def note_added(site: Site, whose: str, report: AddReport, library: Library) -> None:
    """Who added the documents of a job: they have them, whether or not the database can say whose they are."""
    if not report.added and not report.updated:
        return
    there = library.entries([*report.added, *report.updated])
    added, changed = (
        {key: there[key].added_at for key in ids if key in there} for ids in (report.added, report.updated)
    )
    try:
        additions.note(site.database, person_number(whose), added, changed=changed)
    except (SQLAlchemyError, FovealError) as error:
        some = ", ".join(islice((*added, *changed), NAMED))
        logger.warning("who added %d documents could not be noted (%s): %s", len(added) + len(changed), some, error)


def renamed(site: Site, entry: Entry, title: str) -> Entry:
    """Give a document another title. HTTPException 503: not while others are added."""
    try:
        return site.library.rename(entry, title)
    except LibraryBusy:
        raise _busy("renamed") from None


def taken_out(site: Site, entry: Entry) -> None:
    """Remove a document, and the file that was kept of an upload. HTTPException 503: not while others are added."""
    kept = kept_file(site, entry)
    try:
        site.library.remove([entry])
    except LibraryBusy:
        raise _busy("removed") from None
    if kept:
        forget(Given(kept, kept.name, entry.source, kept))
    try:
        additions.forget(site.database, [entry.id])
    except (SQLAlchemyError, FovealError) as error:  # it is out all the same; of one that comes anew the time differs
        logger.warning("who added a document that is gone is still noted: %s", error)


def kept_file(site: Site, entry: Entry) -> Path | None:
    """The file that was kept of an upload, where it goes with its document; None where there is none.

    Of what was sent again since the home was moved an older Foveal made another document, at the present address.
    """
    kept = upload_of(site.settings, entry.source)
    own = document_id(file_address(kept)) if kept else entry.id
    return kept if own == entry.id or not site.library.entries([own]) else None


def _busy(done: str) -> HTTPException:
    said = f"The library is being added to just now. Nothing was {done}; come again once that is done."
    return HTTPException(503, said, {"Retry-After": str(BUSY_AFTER_S)})


def entry_of(site: Site, which: str) -> Entry:
    """The document of that id, or of the only one that begins so. UnknownDocument: none. Never a path: an id only."""
    if not (which.isalnum() and 6 <= len(which) <= 32):
        raise InputError(f"{which[:80]!r} is no id of a document; ids have 6 to 32 letters and digits.")
    if not site.has_library:
        raise UnknownDocument("The library is empty: there is no document here yet.")
    return site.library.store.entry(which)


def checked_revision(revision: str) -> str | None:
    """A revision's hash, or its beginning; None of "". InputError: it is none."""
    if revision and not re.fullmatch("[0-9a-f]{6,64}", revision):
        raise InputError(f"{revision[:80]!r} is no revision; these are hashes, 6 to 64 of the digits 0-9 and a-f.")
    return revision or None


def place_of(site: Site, entry: Entry, start: int, end: int, revision: str) -> str | None:
    """The heading that a passage stands under. InputError: the document has changed since it was found."""
    there = {(begin, stop): heading for begin, stop, heading in site.library.store.places(entry.id)}
    if revision != entry.revision or (start, end) not in there:
        raise InputError(f"{entry.title or 'The document'} has changed since it was found. Search again.")
    return there[start, end]
