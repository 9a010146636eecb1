"""What commands of the papers have in common: the database of a home, and a table of papers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.cli.output import notes, print_table, results

if TYPE_CHECKING:
    from foveal.database import Database
    from foveal.papers.store import Paper


@contextmanager
def papers_database(home: Path | None) -> Iterator[Database]:
    """The database of a home, closed when the block ends."""
    with notes().status("Opening the papers …"):  # a first time makes their tables
        from foveal.database import Database
        from foveal.settings import Settings

        database = Database.open(Settings.load(home))
    try:
        yield database
    finally:
        database.close()


def print_papers(
    papers: Sequence[Paper], *, empty: str = "No papers here. `foveal papers update` fetches some."
) -> None:
    """A table on standard output."""
    if not papers:
        results().print(empty)
        return
    rows: list[tuple[str, ...]] = [("votes", "id", "title", "by", "date", "said")]
    for paper in papers:
        title = f"[withdrawn] {paper.title}" if paper.withdrawn else paper.title
        said = str(paper.all_comments or "")
        rows.append((_votes(paper), paper.id[:16], title, by_whom(paper), date_of(paper), said))
    print_table(rows, spare=("by", "date", "said"))


def by_whom(paper: Paper) -> str:
    """The organisation, or the number of authors, as on the page."""
    count = paper.author_count
    return paper.organisation or (f"{count} author{'s' * (count != 1)}" if count else "")


def _votes(paper: Paper) -> str:
    return str(paper.all_votes) if paper.all_votes else "-"


def date_of(paper: Paper) -> str:
    """When it was published, in short."""
    from foveal import faults
    from foveal.papers.periods import short_date

    return short_date(paper.published_at.date(), faults.now().date()) if paper.published_at else ""
