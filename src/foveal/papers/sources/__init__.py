"""Where papers come from, one module each; `registry.PAPER_SOURCES` names them.

A source on the web says what address to ask first, how to ask, and what an answer holds; it keeps nothing. Asking in
turn, recording and storing is done in one place for all of them (`papers/ingest.py`):

    source = lookup(PAPER_SOURCES, "arxiv", kind="source")(Connection(...))
    url = source.first_url("cat:cs.CL", since=date(2026, 10, 1), today=date(2026, 10, 2))
    read = source.read(source.get(url).content, url)         # read.records, read.next_url

An item that cannot be read is left out and counted (`each`): what one site writes into one item costs that item.
A source on this machine only has `records`: a page that somebody saved (pasted.py), the library (library_documents.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from foveal.papers.records import PaperRecord
from foveal.text.fetching import Fetched, FetchSettings

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How the web is asked."""

    fetch: FetchSettings = field(default_factory=FetchSettings)
    pace_file: Path | None = None  # see text/arxiv.py
    interval_s: float = 3.0  # seconds between two requests to arXiv
    page_size: int = 100  # papers of one answer of arXiv's API, up to 2,000
    base_url: str | None = None  # another server than the source's own, of the same kind


DEFAULTS = Connection()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What an answer holds. `empty` says that it holds nothing although more should be there: ask again."""

    records: tuple[PaperRecord, ...] = ()
    next_url: str | None = None
    behind_url: str | None = None  # of what has not changed: goes first, if it was asked for before
    empty: bool = False
    left_out: tuple[str, ...] = ()  # why items could not be read, a line for each


def each(make: Callable[[Given], Made], given: Iterable[Given]) -> tuple[tuple[Made, ...], tuple[str, ...]]:
    """What is made of each item, and why others could not be read."""
    made, wrong = list[Made](), list[str]()
    for one in given:
        try:
            made.append(make(one))
        except (ValueError, OverflowError) as error:  # InputError, an address or a number that is none
            wrong.append(" ".join(str(error).split())[:300])
    return tuple(made), tuple(wrong)


@runtime_checkable
class WebSource(Protocol):
    """A source that is asked over HTTP."""

    name: str
    overlap_days: int
    """Days before the last reading that are read again: what was entered late, or dated back."""
    once_a_day: bool
    """Whether an address that was answered today is not asked again."""
    conditional: bool
    """Whether the answer "not changed" is enough to go on with."""

    def first_url(self, ask: str, *, since: date, today: date) -> str:
        """The address that begins a reading of what is new since a day. InputError: `ask` is none of this source."""
        ...

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Fetched:
        """The answer, within the source's manners. FetchFailed: there is none."""
        ...

    def read(self, content: bytes | None, url: str) -> Reading:
        """What an answer holds; None: it has not changed. FetchFailed, UnreadableSource: it is something else."""
        ...
