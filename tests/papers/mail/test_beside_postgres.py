"""On PostgreSQL: mails about answers, rising topics, lists of one's own, pictures and lines of titles that are due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from members import at_once, member
from postgres import emptied
from sqlalchemy import select

from foveal import faults
from foveal.papers import collecting, discussion, rising, sample
from foveal.papers.headline_lines import HeadlineSettings, _asked, lines_of
from foveal.papers.mail.replies import wish
from foveal.papers.people_schema import DeliveryRow
from foveal.papers.pictures import due_papers
from foveal.papers.schema import HeadlineRow, PaperRow

NOW = datetime(2026, 10, 3, 12, tzinfo=UTC)


def test_all_of_it_on_postgresql(make_site, postgres, tmp_path: Path):
    with faults.injected({}, clock=lambda: NOW):
        site = make_site(database=emptied(postgres))
        database = site.database
        sample.load(database, NOW.date())
        assert rising.refresh(database, now=NOW)
        assert "Reading Budgets" in [one.name for one in rising.kept(database).topics]
        with database.writing() as session:
            session.get_one(PaperRow, "2610.00001").licence = "http://creativecommons.org/licenses/by/4.0/"
            session.add(HeadlineRow(paper_id="2610.00001", made_of="x", label="HREL", judge="mine"))
        assert ("2610.00001", 1) in due_papers(database, tmp_path)
        assert lines_of(database, ["2610.00001"])["2610.00001"].judge == "mine"
        assert "2610.00001" in {one.paper for one in _asked(database, HeadlineSettings(judge="mine"), tmp_path)}
        ana, bo = member(database, "ana"), member(database, "bo")
        which = collecting.make(database, ana, "Reads")
        assert set(at_once(lambda _: collecting.put(database, ana, which, "2610.00001"))) == {None}
        assert collecting.shelves(database, ana, "2610.00001")[0].count == 1
        wish(database, site.secret, ana, on=True)
        first = discussion.remark(database, ana, "2610.00001", "Is it?")
        discussion.remark(database, bo, "2610.00001", "It is.", parent=first)
    with faults.injected({}, clock=lambda: NOW + timedelta(minutes=6)):
        assert site.tick(everybody=False).sent == 1
        assert site.tick(everybody=False).sent == 0
    with database.reading() as session:
        assert [row.state for row in session.scalars(select(DeliveryRow))] == ["sent"]
