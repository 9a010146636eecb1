"""What the pages of papers ask of the parts below: orders, explanations, keyword links, fetching; each loaded on use.

`Site.parts` is one of these, `Site.search` a `PaperSearch`: whoever serves other papers, or tests pages, gives a site
others of the same shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from foveal.database import Database
    from foveal.papers.store import Paper
    from foveal.papers.trending import Order
    from foveal.settings import Settings


ORDER = timedelta(seconds=20)
"""How long an order of papers is shown before it is made anew: it takes longer than all else of a page."""


class Ordered(Protocol):
    """Papers in an order that more than a column decides, their scores and what those were made from, and how many."""

    @property
    def papers(self) -> Sequence[Paper]: ...

    @property
    def total(self) -> int: ...

    @property
    def scores(self) -> Sequence[float]: ...

    @property
    def signals(self) -> Sequence[Any]: ...


class PaperParts:
    """The parts of `foveal.papers` that pages use, besides the store and the search."""

    def __init__(self) -> None:
        self._orders: dict[str, tuple[datetime, Order]] = {}
        self._lock = Lock()

    def trending(
        self, database: Database, *, now: datetime, limit: int, page: int, ids: Sequence[str] | None = None
    ) -> Ordered:
        """The papers that are trending, of all or of `ids`."""
        if ids is None:
            return self.ranked(database, "foveal", now=now, limit=limit, page=page)
        from foveal.papers.trending import trending

        return trending(database, now=now, limit=limit, page=page, ids=ids)

    def ranked(self, database: Database, name: str, *, now: datetime, limit: int, page: int) -> Ordered:
        """The papers by a formula; their order is that of up to `ORDER` ago, they are as they are now."""
        from foveal.papers.trending import ordered, page_of

        with self._lock:  # whoever comes meanwhile waits for the same order
            at, order = self._orders.get(name, (now, None))
            if order is None or not timedelta() <= now - at < ORDER:
                order = ordered(database, name, now=now)
                self._orders[name] = (now, order)
        return page_of(database, order, limit, page)

    def formulas(self) -> dict[str, str]:
        """Name of a formula -> one sentence on it; without the one that is somebody's own."""
        from foveal.papers.ranking import RANKINGS

        return {name: sentence for name, (_, sentence) in RANKINGS.items() if name != "taste"}

    def explained(self, name: str, ordered: Ordered) -> list[list[tuple[str, float, str]]]:
        """(term, value, meaning) of a formula for each paper of a page: the numbers that went in."""
        from foveal.papers.ranking import explain

        return [list(explain(name, one)) for one in ordered.signals]

    def keyword_links(self, abstract: str, keywords: Sequence[str]) -> list[tuple[str, str | None]]:
        """The abstract in pieces (text, keyword or None)."""
        from foveal.papers.keyword_links import keyword_links

        return list(keyword_links(abstract, keywords))

    def fetch(self, database: Database, settings: Settings, paper_id: str) -> str:
        """Fetch a paper from arXiv by its id and store it: the id it has here. FetchFailed: it could not be fetched."""
        from foveal.errors import FetchFailed
        from foveal.papers.ingest import ingest
        from foveal.papers.schedule import connection_of
        from foveal.papers.sources.arxiv_api import ArxivApi

        source = ArxivApi(connection_of(settings))
        told = ingest(database, source, f"id:{paper_id}", name="add:arxiv", force=True)
        if told.error:
            raise FetchFailed(told.error)
        return paper_id
