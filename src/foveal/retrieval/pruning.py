"""Which documents are gone from the files and folders that they came from: what `add --prune` removes.

    gone(store.entries("starts_with(source, 'file://')"), ["papers/"], report)

What could not be read is not gone: a file or folder that was skipped keeps all its documents, a bad line of JSON the
one that is called by the number of that line. A document with an id of its own is gone with its line: what cannot be
read does not say whose it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from foveal.retrieval.adding import AddReport
from foveal.retrieval.rows import Entry
from foveal.settings import expanded
from foveal.text.arxiv import arxiv_address
from foveal.text.files import file_address, path_of
from foveal.text.loading import discover
from foveal.types import document_id


def gone(entries: Iterable[Entry], sources: Sequence[str | Path], report: AddReport) -> list[Entry]:
    """The documents of these files and folders that were not among those just read; of what was unreadable none."""
    places = [address_of(str(source)) for source in sources]
    kept = {*report.added, *report.updated, *report.unchanged}
    unread: list[str] = []  # files and folders
    for one in (one.address for one in report.skipped if one.address.startswith("file://")):
        if "#" in one:  # of a record: a "#" in a file's name is written %23
            kept |= {document_id(one), document_id("#line=".join(one.rsplit("#", 1)))}  # see text/records.py
        else:
            unread.append(address_of(one))
    return [
        entry
        for entry in entries
        if entry.id not in kept
        and any(_lies_in(entry.source, place) for place in places)
        and not any(_lies_in(entry.source, place) for place in unread)
    ]


def address_of(which: str) -> str:
    """The address that a path, URL or arXiv id stands for; a path need not exist any more."""
    if "://" in which and not which.startswith("file://"):
        return next(iter(discover([which]))).address  # as `add` writes it; nothing is fetched
    if address := arxiv_address(which):
        return address
    if re.match(r"[a-z]+:[^/]", which) and not os.path.lexists(expanded(which)):  # a file may be called "to:do.md"
        return which
    return file_address(path_of(which) if which.startswith("file://") else expanded(which))


def _lies_in(address: str, place: str) -> bool:
    """Whether an address is that place, or below it."""
    return address == place or address.startswith(f"{place.rstrip('/')}/")
