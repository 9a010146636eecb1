"""The invented papers: today always has some, their keywords occur, nothing of them is real or lies on another day."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta

import pytest
from sqlalchemy import select

from foveal.papers import sample
from foveal.papers.periods import KINDS, Period
from foveal.papers.schema import StarSampleRow
from foveal.papers.store import PaperStore

ROWS = json.loads(sample.FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("today", [date(2026, 3, 1), date(2024, 2, 29), date(2026, 6, 1), date(2027, 1, 1)])
def test_every_period_around_any_day_has_papers(today):
    days = [one.listed_on for one in sample.records(today)]
    for kind in KINDS:
        period = Period.around(kind, today)
        assert sum(period.first <= day <= period.last for day in days) >= 9
    assert max(days) == today
    assert all(one.published_at.date() <= one.listed_on for one in sample.records(today))


def test_loading_again_changes_nothing_and_another_day_moves_them(database):
    today = date(2026, 10, 2)
    assert len(sample.load(database, today).added) == len(ROWS) == 64
    assert len(sample.load(database, today).unchanged) == 64
    moved = sample.load(database, today + timedelta(days=4))
    assert (moved.added, len(moved.updated)) == ([], 64)
    store = PaperStore(database)
    papers = store.page(limit=100).papers
    assert {len(paper.listings) for paper in papers} == {1}
    assert store.latest_day() == today + timedelta(days=4)
    assert {paper.source for paper in papers} == {"sample"}
    assert [topic.id for topic in store.topics()] == ["sparse-attention", "finding", "long-texts"]
    growing = max(papers, key=lambda paper: paper.repo_stars or 0)
    with database.reading() as session:
        wanted = (
            select(StarSampleRow.stars).where(StarSampleRow.repo_url == growing.repo_url).order_by(StarSampleRow.day)
        )
        stars = list(session.scalars(wanted))
    assert stars == sorted(stars)
    assert stars[-1] == growing.repo_stars


def test_what_the_papers_hold():
    assert len({row["title"] for row in ROWS}) == len(ROWS)
    for row in ROWS:
        text = row["abstract"]
        assert 60 <= len(text.split()) <= 140, row["title"]
        assert all(word.lower() in text.lower() for word in row["keywords"]), row["title"]
        assert text.count("$") % 2 == 0
        assert row.get("repository", "https://git.example.org/").startswith("https://git.example.org/")
        assert row["authors"]
        assert all(re.fullmatch(r"[^<>\d]{5,40}", name) for name in row["authors"])
    joined = " ".join(f"{row['title']} {row['abstract']}" for row in ROWS)
    assert all(mark in joined for mark in ("$", " < ", "\\log", "%"))
    assert any(not row["organisation"] for row in ROWS)
    assert any(row["comments"] == 0 for row in ROWS)


def test_a_topic_rises_among_them(database):
    from datetime import UTC, datetime

    from foveal.papers import rising

    today = date(2026, 10, 2)
    sample.load(database, today)
    (topic,) = rising.mined(database, now=datetime(2026, 10, 2, 20, tzinfo=UTC))
    assert (topic.name, topic.count, topic.groups) == ("Reading Budgets", 3, 3)
