"""What pages ask beside papers: days around an empty one, places of a day, differences that give both texts back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paper_site import TODAY, fill, records

from foveal import faults
from foveal.database import Database
from foveal.errors import UnknownPaper
from foveal.papers import browsing, collecting, pictures, stars
from foveal.papers.schema import FetchRow
from foveal.papers.store import PaperStore
from foveal.settings import Settings


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    home = tmp_path_factory.mktemp("browsing")
    opened = Database.open(Settings(home=home, cache=home))
    fill(opened)
    yield opened
    opened.close()


def test_nearest_days_are_those_of_the_records(database: Database):
    days = {record.listed_on for record in records()}
    for offset in range(-3, 20):
        day = date.fromordinal(TODAY.toordinal() - offset)
        before, after = [one for one in days if one < day], [one for one in days if one > day]
        assert browsing.nearest_days(database, day) == (max(before, default=None), min(after, default=None))


def test_the_place_of_a_day_counts_those_with_more_votes(database: Database):
    for paper in PaperStore(database).page(limit=200).papers:
        assert paper.listed_on is not None
        others = [one for one in PaperStore(database).page(limit=200).papers if one.listed_on == paper.listed_on]
        place = 1 + sum(other.all_votes > paper.all_votes for other in others)
        assert browsing.place_of_day(database, paper.id, paper.listed_on, paper.all_votes) == place
        if place > 3:
            break


def test_names_behind_addresses(database: Database):
    author = records()[0].authors[0].name
    assert browsing.author_name(database, author) == author
    assert collecting.visible(database, 1).by == "Mira Ito"
    assert [one.id for one in browsing.collections_with(database, records()[0].id)] == [1]
    for call in (
        lambda: browsing.author_name(database, "nobody-at-all"),
        lambda: collecting.visible(database, 2),  # private
        lambda: browsing.topic(database, "none"),
        lambda: browsing.list_on(database, "9999.99999", TODAY),
    ):
        with pytest.raises(UnknownPaper):
            call()
    assert browsing.has_category(database, "cs.CL")
    assert browsing.has_category(database, "cs.*")
    assert not browsing.has_category(database, "cs.ZZ")
    assert not browsing.has_category(database, "c%.*")


def test_listing_twice_is_listing_once(database: Database):
    first = records()[-1].id
    day = date(2020, 1, 1)
    assert browsing.list_on(database, first, day, "mira")
    assert not browsing.list_on(database, first, day)
    assert [one.day for one in PaperStore(database).get(first).listings].count(day) == 1


TEXT = st.text(alphabet="ab c.\n", max_size=60)


@given(TEXT, TEXT, st.sampled_from([1, 1, 30]))
def test_changes_give_both_texts_back(old, new, times):
    old, new = old * times, new * times
    pieces = browsing.changes(old, new)
    assert "".join(text for sign, text in pieces if sign != "+") == old
    assert "".join(text for sign, text in pieces if sign != "-") == new
    assert old == new or any(sign != "=" for sign, _ in pieces)
    assert old != new or times > 1 or all(sign == "=" for sign, _ in pieces)


def test_a_word_is_never_cut():
    assert browsing.changes("one old word", "one new word") == [
        ("=", "one "), ("-", "old "), ("+", "new "), ("=", "word")
    ]  # fmt: skip


def test_a_text_too_long_to_compare_goes_and_comes_whole():
    old, new = "word. " * 1000, "other. " * 1000
    assert browsing.changes(old, new) == [("-", old), ("+", new)]


def test_a_long_text_is_compared_by_sentences():
    said = [f"This is sentence {number} of a long abstract. " for number in range(60)]
    before, after = "".join(said), "".join([*said[:30], "Another. ", *said[31:]])
    old, new = ("".join(said[30:31]), "Another. ")
    assert browsing.changes(before, after) == [
        ("=", "".join(said[:30])), ("-", old), ("+", new), ("=", "".join(said[31:]))
    ]  # fmt: skip


@pytest.mark.parametrize("count", [100, 600])
def test_no_two_texts_take_long_to_compare(count):
    started = time.process_time()
    browsing.changes("a b c " * count, "c b a " * count)
    assert time.process_time() - started < 2


def test_a_repository_or_pdf_that_is_missing_is_no_failure_of_papers(database: Database):
    """The page of a day would say that no papers came since; nor does a star counted hide that none did."""

    def told(source: str, error: str = "") -> str:
        with database.writing() as session:
            session.add(FetchRow(source=source, url="https://example.org", error=error))
        return browsing.freshness(database).failed

    assert told("arxiv") == ""
    assert told(stars.SOURCE, "there is no such repository") == told(pictures.SOURCE, "there is no such PDF") == ""
    assert told("arxiv", "no answer") == "arxiv"
    assert told(stars.SOURCE) == "arxiv"


def test_a_source_that_failed_is_told_until_it_works_again_whatever_others_do(tmp_path: Path):
    database = Database.open(Settings(home=tmp_path, cache=tmp_path))

    def told(source: str, error: str = "", days: float = 0.0) -> tuple[str, bool]:
        at = faults.now() - timedelta(days=days)
        with database.writing() as session:
            session.add(FetchRow(source=source, url="https://example.org", error=error, at=at))
        found = browsing.freshness(database)
        return found.failed, found.at is not None

    assert told("old", "nobody asks it any more", days=4) == ("", False)
    assert told("arxiv") == ("", True)
    assert told("arxiv", "no answer") == ("arxiv", True)
    assert told("hf") == ("arxiv", True)
    assert told("hf", "no answer") == ("hf", True)
    assert told("hf") == ("arxiv", True)
    assert told("arxiv") == ("", True)
    database.close()


def test_of_several_feeds_each_is_told_by_itself(tmp_path: Path):
    """One that works hid another that did not, and none was named."""
    database = Database.open(Settings(home=tmp_path, cache=tmp_path))

    def told(site: str, error: str = "") -> str:
        with database.writing() as session:
            session.add(FetchRow(source="feed", url=f"https://me:secret@{site}/feed.xml", error=error))
        return browsing.freshness(database).failed

    assert told("a.example") == told("b.example") == ""
    assert told("a.example", "there is no such page") == "a.example"
    assert told("b.example") == "a.example"
    assert told("slip.example", "there is no such page") == "a.example"  # asked once, by hand
    assert told("slip.example", "there is no such page") == "slip.example"
    assert told("slip.example") == "a.example"
    assert told("a.example") == ""
    database.close()
