"""What a tool works on, and how a call is told how far it is.

    def search(place: Place, asked: Search, call: Call) -> Hits: …       # a tool

A place is a home of one person (home.py), or a served site as one visitor meets it (site.py): what may be named, and
what is allowed, is the place's business, so that tools are the same at both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from foveal.models.chat import Cancel

if TYPE_CHECKING:
    from foveal.agents.asked import Add, Search
    from foveal.agents.shapes import Added, Hits, Removed
    from foveal.library import Library
    from foveal.papers.paper_search import PaperSearch
    from foveal.papers.store import PaperStore
    from foveal.reading.sources import Text
    from foveal.research.sources import Source
    from foveal.retrieval.rows import Entry
    from foveal.settings import Settings
    from foveal.web.models import Models

EVERY_S = 0.2
"""Least seconds between two notes of how far a call is."""

Tell = Callable[[str, float, float | None], None]
"""What was done, how much of it, of how much (None: nobody can tell)."""


@dataclass
class Call:
    """One call that is under way: whether it is still wanted, and how far it is. Of one thread."""

    cancel: Cancel
    tell: Tell
    every_s: float = EVERY_S  # least seconds between two notes
    _told: float = field(default=0.0, repr=False)

    def progressed(self, text: str, done: float = 0, total: float | None = None, *, now: bool = False) -> None:
        """Say how far it is; more often than every `every_s` only if it must be `now`. Cancelled: it is."""
        self.cancel.check()
        if now or time.monotonic() - self._told >= self.every_s:
            self._told = time.monotonic()
            self.tell(text, done, total)


class Place(Protocol):
    """A library, papers and models, as one who asks may use them. Threads share it."""

    @property
    def settings(self) -> Settings:
        """Of the home."""
        ...

    @property
    def models(self) -> Models:
        """What answers and reads."""
        ...

    @property
    def attention(self) -> str:
        """How windows attend to themselves when a text is read."""
        ...

    @property
    def window(self) -> int:
        """Tokens of a text that are read at once."""
        ...

    @property
    def library(self) -> Library:
        """NoLibrary: there is none yet."""
        ...

    @property
    def papers(self) -> PaperStore:
        """The papers."""
        ...

    @property
    def paper_search(self) -> PaperSearch:
        """Search over them."""
        ...

    def find(self, asked: Search) -> Hits:
        """What a search finds."""
        ...

    def entry(self, which: str) -> Entry:
        """The document that is meant. UnknownDocument: none, or several."""
        ...

    def text(self, source: str, call: Call) -> Text:
        """The text that is meant, to be read whole. InputError: none that may be read."""
        ...

    def sources(self, named: list[str]) -> list[Source]:
        """Where research searches."""
        ...

    def add(self, asked: Add, call: Call) -> Added:
        """Add to the library. InputError: a source that may not be named."""
        ...

    def remove(self, which: str) -> Removed:
        """Take a document out."""
        ...
