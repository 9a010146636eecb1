"""The invented papers of `foveal serve --demo` and `foveal demo`: written for Foveal, by nobody who exists.

    load(database, today)        # into the database, so that today, this week and this month have papers

The file beside this one holds titles, abstracts, people, organisations, votes and stars, all made up, and days counted
back from `today`. Their source is "sample", which every page can show; addresses lie under example.org, where nothing
ever is. Loading again on another day moves the papers to the new days.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select

from foveal.database import Database
from foveal.papers.records import Named, PaperRecord
from foveal.papers.schema import ListingRow, PaperRow, StarSampleRow, TopicRow
from foveal.papers.upserts import Fetched, Upserted, record_stars, upsert

SOURCE = "sample"
FILE = Path(__file__).with_name("sample.json")
STAR_DAYS = 8
"""Days of which the stars are told."""

TOPICS = (
    ("sparse-attention", "Sparse attention", "sparse attention"),
    ("finding", "Finding passages", "retrieval of passages"),
    ("long-texts", "Long texts", "reading long documents"),
)


def records(today: date) -> tuple[PaperRecord, ...]:
    """The papers, with their days counted back from `today`."""
    return tuple(_record(row, place, today) for place, row in enumerate(_rows()))


def load(database: Database, today: date) -> Upserted:
    """Put the sample into the database, in the place of what an earlier call put there for other days."""
    _leave_other_days(database, today)
    done = upsert(database, records(today), fetched=Fetched(source=SOURCE, url=FILE.name))
    with database.writing() as session:
        for row in _rows():
            for day, stars in _stars(row, today):
                record_stars(session, row["repository"], stars, datetime.combine(day, time(4), UTC))
        for position, (name, title, query) in enumerate(TOPICS):
            if session.get(TopicRow, name) is None:
                session.add(TopicRow(id=name, title=title, query=query, position=position))
    return done


def _rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return rows


def _record(row: Mapping[str, Any], place: int, today: date) -> PaperRecord:
    listed = today - timedelta(days=row["days_ago"])
    published = datetime.combine(listed - timedelta(days=1 + place % 3), time(place * 7 % 24, place * 13 % 60), UTC)
    return PaperRecord(
        title=row["title"],
        abstract=row["abstract"],
        authors=tuple(Named(name=name, affiliation=row["organisation"]) for name in row["authors"]),
        organisation=row["organisation"],
        published_at=published,
        updated_at=published,
        categories=tuple(row["categories"]),
        comment="An invented paper of Foveal's sample",
        repo_url=row.get("repository", ""),
        votes=row["votes"],
        comments=row["comments"],
        keywords=tuple(row["keywords"]),
        summary_model=SOURCE,
        listed_on=listed,
        source=SOURCE,
    )


def _stars(row: Mapping[str, Any], today: date) -> list[tuple[date, int]]:
    """Stars by day, from a week ago until today, along a straight line."""
    if "repository" not in row:
        return []
    first, last = row["stars_a_week_ago"], row["stars"]
    days = range(STAR_DAYS)
    return [(today - timedelta(days=STAR_DAYS - 1 - n), first + (last - first) * n // (STAR_DAYS - 1)) for n in days]


def _leave_other_days(database: Database, today: date) -> None:
    """Take the sample's papers off the days on which they do not stand any more, and their stars away."""
    repositories = [row["repository"] for row in _rows() if "repository" in row]
    kept = {record.title: record.listed_on for record in records(today)}
    with database.writing() as session:
        session.execute(delete(StarSampleRow).where(StarSampleRow.repo_url.in_(repositories)))
        wanted = select(PaperRow.id, PaperRow.title).where(PaperRow.source == SOURCE)
        for paper, title in session.execute(wanted).all():
            session.execute(delete(ListingRow).where(ListingRow.paper_id == paper, ListingRow.day != kept.get(title)))
