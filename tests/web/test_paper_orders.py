"""What pages keep of an order of papers, and for how long."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from paper_site import NOW, fill
from sqlalchemy import delete

from foveal.database import Database
from foveal.papers.schema import PaperRow
from foveal.settings import Settings
from foveal.web.papers_parts import ORDER, PaperParts


def test_an_order_is_kept_for_a_while_its_papers_are_not(tmp_path: Path):
    database = Database.open(Settings(home=tmp_path / "home", cache=tmp_path / "cache"))
    fill(database)
    parts = PaperParts()

    def at(moment):
        return parts.trending(database, now=moment, limit=10, page=0)

    first = at(NOW)
    with database.writing() as session:
        session.execute(delete(PaperRow).where(PaperRow.id == first.papers[0].id))
    soon, later = at(NOW + ORDER / 2), at(NOW + ORDER)
    assert soon.papers == first.papers[1:]
    assert (soon.total, later.total) == (first.total, first.total - 1)
    assert at(NOW - timedelta(days=400)).papers == ()  # a clock that was set back
    database.close()
