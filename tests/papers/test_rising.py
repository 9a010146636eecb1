"""Rising topics: a planted one is found, named and explained; a steady stream, one group, and a new site have none."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.bench.papers_synthetic import vocabulary
from foveal.papers.records import Named, PaperRecord
from foveal.papers.rising import FIRST_DAYS, Rising, kept, mined, name_of, refresh
from foveal.papers.upserts import upsert

NOW = datetime(2026, 11, 26, 18, tzinfo=UTC)
WORDS = vocabulary(6000)


def paper(number: int, day: date, title: str, group: str, chance: Random) -> PaperRecord:
    return PaperRecord(
        id=f"26{day:%m}.{number:05d}",
        title=title,
        abstract=" ".join(chance.sample(WORDS, 40)),
        authors=(Named(name=group),),
        listed_on=day,
        source="arxiv",
    )


def stream(*, days: int = 30, each: int = 4, planted: int = 0, groups: int = 9, last: int = 0) -> list[PaperRecord]:
    """So many papers a day about nothing in common, and `planted` ones on the last two days that share a topic."""
    chance, made = Random(7), []
    for back in range(days, -1, -1):
        day = NOW.date() - timedelta(days=back)
        for _ in range(each):
            title = " ".join(chance.sample(WORDS, 7)).title()
            made.append(paper(len(made), day, title, f"Author {chance.randrange(300)}", chance))
        for number in range(planted if last <= back <= last + 1 else 0):
            a, b = chance.sample(WORDS, 2)
            title = f"{a.title()} Speculative Watermarks for {b.title()}"
            made.append(paper(len(made), day, title, f"Group {number % groups}", chance))
    return made


def test_a_planted_topic_is_found_named_and_explained(database):
    records = stream(planted=3)
    upsert(database, records)
    (topic,) = mined(database, now=NOW)
    assert topic.name == "Speculative Watermarks"
    assert (topic.count, topic.groups, topic.stage) == (6, 3, "growing")
    assert dict(topic.days) == {"2026-11-25": 3, "2026-11-26": 3}
    ids = {one.id for one in records if "Speculative" in one.title}
    assert {which for which, _ in topic.papers} == ids
    product = 1.0
    for _, value, _ in topic.explained():
        product *= value
    assert topic.score == pytest.approx(product, rel=1e-6)
    assert topic.burst > 1


@pytest.mark.parametrize(
    "records",
    [
        stream(),
        stream(planted=3, groups=1),
        stream(planted=3, last=6),
        stream(planted=3, days=FIRST_DAYS - 2),
        stream(planted=1),
        [],
    ],
    ids=["steady", "one group", "over", "a new site", "two papers", "nothing"],
)
def test_what_does_not_rise(database, records):
    upsert(database, records)
    assert mined(database, now=NOW) == []


def test_a_topic_that_was_always_there_does_not_rise(database):
    chance = Random(3)
    usual = [
        paper(90_000 + 3 * back + n, NOW.date() - timedelta(days=back), f"Speculative Watermarks {word}", word, chance)
        for back in range(31)
        for n, word in enumerate(chance.sample(WORDS, 3))
    ]
    upsert(database, stream() + usual)
    assert mined(database, now=NOW) == []


def test_it_is_kept_and_mined_anew_only_when_papers_came(database):
    assert kept(database) == Rising()
    upsert(database, stream(planted=3))
    assert refresh(database, now=NOW)
    held = kept(database)
    assert held.made_at == NOW
    assert held.topics == tuple(mined(database, now=NOW))
    assert not refresh(database, now=NOW + timedelta(hours=1))
    assert refresh(database, now=NOW + timedelta(days=1))  # a day has begun
    upsert(database, [paper(77_777, NOW.date(), "One More", "x", Random(1))])
    assert refresh(database, now=NOW + timedelta(days=1))


def test_names_are_words_that_most_titles_share():
    titles = ["Fast State Space Models", "State space models, revisited", "On the Limits of State Space Model Memory"]
    assert name_of(titles, "x") == "State Space Models"
    assert name_of(["A Test of One Thing", "Another Matter"], "the middle") == "the middle"
    assert name_of(["On the Way", "On the Way"], "x") == "Way"  # not from "on" to "the"
    parts = [f"Reading under Distribution Shift, Part {number}" for number in range(3)]
    assert name_of(parts, "x") == "Reading under Distribution Shift"  # not into the next clause
    parts = [f"{one} under Distribution Shift" for one in ("Reading", "Ranking", "Search")]
    assert name_of(parts, "x") == "Distribution Shift"  # and not from "under"
    assert name_of(["Routing: Where to Look?", "Where to Look, Again", "Where to Look!"], "x") == "Where to Look"


@given(st.lists(st.text(max_size=60), max_size=6))
def test_any_titles_have_a_name(titles):
    assert name_of(titles, "otherwise")
