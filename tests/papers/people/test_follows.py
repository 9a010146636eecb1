"""What a person follows, has read and muted; the feed, and its secret address."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from members import PAPER, member, record, today

from foveal.database import Database
from foveal.errors import InputError, UnknownName, UnknownPaper
from foveal.papers import curating, desk, follows
from foveal.papers.accounts import find
from foveal.papers.follows import Follow, follow, following, mute
from foveal.papers.paper_filters import parse
from foveal.papers.people_schema import FollowRow
from foveal.papers.schema import TopicRow
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert


class Words:
    """A search over titles: ids of papers that hold all words, as `PaperSearch` gives them."""

    def __init__(self, database: Database) -> None:
        self.store = PaperStore(database)
        self.asked: list[str] = []

    def __call__(self, query: str, k: int) -> list[str]:
        self.asked.append(query)
        papers = self.store.page(limit=200).papers
        return [one.id for one in papers if all(word in one.title.lower() for word in query.lower().split())][:k]


@pytest.fixture
def filled_days(database: Database) -> Database:
    papers = [
        record(f"2605.0200{n}", f"Paper {n} on attention", listed_on=today() - timedelta(days=n * 9), authors=())
        for n in range(5)
    ]
    chaos = record("2605.03000", "Chaos", categories=("nlin.CD",), organisation="Field Lab", authors=())
    upsert(database, [*papers, chaos])
    return database


def ids(database: Database, who: str = "ana", **more: Any) -> list[str]:
    return [one.paper.id for one in following(database, find(database, who), search=Words(database), **more)]


def test_each_kind_finds_its_papers_of_thirty_days_the_last_first(filled_days: Database) -> None:
    ana = member(filled_days, "ana")
    assert ids(filled_days) == []
    follow(filled_days, ana, "query", "attention")
    assert ids(filled_days) == ["2605.02000", "2605.02001", "2605.02002", "2605.02003"]  # the fifth is too old
    follow(filled_days, ana, "query", "attention", on=False)
    for kind, value, found in (
        ("author", "  Lea  MARTIN", PAPER),
        ("organisation", "Field Lab", "2605.03000"),
        ("category", "nlin.*", "2605.03000"),
        ("category", "hep-th", "hep-th/9901001"),
    ):
        follow(filled_days, ana, kind, value)
        assert ids(filled_days) == [found]
        follow(filled_days, ana, kind, value, on=False)
    assert ids(filled_days) == []


def test_a_paper_stands_once_and_says_why(filled_days: Database) -> None:
    ana = member(filled_days, "ana")
    with filled_days.writing() as session:
        session.add(TopicRow(id="looking", title="Where to look", query="look"))
    follow(filled_days, ana, "author", "Léa Martin")
    follow(filled_days, ana, "author", "lea-martin")
    follow(filled_days, ana, "topic", "looking")
    (one,) = following(filled_days, ana, search=Words(filled_days))
    assert one.because == (Follow("author", "lea-martin", "Léa Martin"), Follow("topic", "looking", "Where to look"))
    assert [each.title for each in follows.follows(filled_days, ana)] == ["Where to look", "Léa Martin"]


def test_what_is_muted_is_out_of_sight_in_whole_words_only(filled_days: Database) -> None:
    ana = member(filled_days, "ana")
    follow(filled_days, ana, "query", "attention")
    mute(filled_days, ana, "  Paper 1   ON ")
    mute(filled_days, ana, "ttention")
    assert ids(filled_days) == ["2605.02000", "2605.02002", "2605.02003"]
    assert follows.mutes(filled_days, ana) == ["paper 1 on", "ttention"]
    papers = PaperStore(filled_days).many(["2605.02000", "2605.02001"])
    assert follows.unmuted(filled_days, ana, papers) == papers[:1]
    assert follows.unmuted(filled_days, None, papers) == papers
    mute(filled_days, ana, "paper 1 on", on=False)
    assert "2605.02001" in ids(filled_days)
    for words in ("", "  ", "!?", "x" * 121):
        with pytest.raises(InputError, match="cannot be muted"):
            mute(filled_days, ana, words)


@pytest.mark.parametrize(
    ("words", "text", "muted"),
    [
        ("调查", "一项关于注意力的调查研究", True),  # ideographs stand in no word by themselves
        ("サーベイ", "最近のサーベイを読む", True),
        ("การสำรวจ", "นี่คือการสำรวจใหม่", True),
        ("調査", "一项关于注意力的调查研究", False),
        ("café", "A Cafe\u0301 Study", True),  # the accent as a sign of its own
        ("cafe\u0301", "A Café Study", True),
        ("cafe", "A Cafés Study", False),
        ("survey 调查", "a survey 调查研究", True),
        ("survey 调查", "surveys", False),
    ],
)
def test_muted_words_of_any_script_are_found(words: str, text: str, muted: bool) -> None:
    assert follows.holds(text, [words]) is muted


def test_what_is_muted_takes_no_place_on_the_page(filled_days: Database) -> None:
    ana = member(filled_days, "ana")
    follow(filled_days, ana, "query", "attention")
    mute(filled_days, ana, "paper 0")
    mute(filled_days, ana, "paper 1")
    assert ids(filled_days, limit=2) == ["2605.02002", "2605.02003"]


def test_a_day_to_come_is_not_in_the_feed(filled_days: Database) -> None:
    ana = member(filled_days, "ana", "curator")
    follow(filled_days, ana, "query", "attention")
    desk.pick(filled_days, ["2605.02004"], today() + timedelta(days=2), by=ana)
    assert "2605.02004" not in ids(filled_days)
    desk.pick(filled_days, ["2605.02004"], today(), by=ana)
    first = following(filled_days, ana, search=Words(filled_days))[0]
    assert (first.paper.id, first.day) == ("2605.02004", today())


def test_read_papers_are_marked_and_can_be_left_out(filled_days: Database) -> None:
    ana = member(filled_days, "ana")
    follow(filled_days, ana, "query", "attention")
    for _ in range(2):
        follows.mark_read(filled_days, ana, "2605.02001")
    assert [one.read for one in following(filled_days, ana, search=Words(filled_days))] == [False, True, False, False]
    assert ids(filled_days, unread_only=True, limit=2) == ["2605.02000", "2605.02002"]
    follows.mark_read(filled_days, ana, "2605.02001", on=False)
    assert follows.read_marks(filled_days, ana, ["2605.02001"]) == frozenset()
    with pytest.raises(UnknownPaper):
        follows.mark_read(filled_days, ana, "2605.09999")


def test_what_cannot_be_followed_is_refused(database: Database) -> None:
    ana = member(database, "ana")
    with pytest.raises(UnknownName, match="There are: topic, author"):
        follow(database, ana, "everything", "x")
    with pytest.raises(UnknownPaper, match="No topic"):
        follow(database, ana, "topic", "nothing")
    for value in ("", "  ", "---", "x" * 201):
        with pytest.raises(InputError, match="cannot be followed"):
            follow(database, ana, "query", value)
    with pytest.raises(InputError, match="The filter year:"):
        follow(database, ana, "query", "attention year:soon")
    assert follow(database, ana, "query", "attention year:soon", on=False).kind == "query"
    with database.writing() as session:
        session.add_all(FollowRow(person_id=ana.id, kind="author", value=f"name-{n}") for n in range(follows.MOST))
    with pytest.raises(InputError, match="more than 200"):
        follow(database, ana, "author", "one more")


def test_a_search_that_cannot_be_asked_hides_nothing_else(database: Database) -> None:
    def search(query: str, k: int) -> list[str]:
        parse(query)
        return [PAPER][:k]

    ana = member(database, "ana")
    follow(database, ana, "query", "attention")
    with database.writing() as session:  # from before it was refused
        session.add(FollowRow(person_id=ana.id, kind="query", value="a year:soon"))
    [found] = following(database, ana, search=search)
    assert [one.value for one in found.because] == ["attention"]


def test_what_is_searched_for_each_time_is_little(database: Database) -> None:
    ana = member(database, "ana")
    with database.writing() as session:
        session.add(TopicRow(id="looking", title="Where to look", query="look"))
    for n in range(follows.MOST_SEARCHED):
        follow(database, ana, "query", f"words {n}")
    for kind, value in (("query", "one more"), ("topic", "looking")):
        with pytest.raises(InputError, match="20 topics and searches"):
            follow(database, ana, kind, value)
    follow(database, ana, "author", "Bo Li")
    with database.writing() as session:  # from before there was a limit
        session.add_all(FollowRow(person_id=ana.id, kind="query", value=f"words {n}") for n in range(20, 200))
    words = Words(database)
    assert [one.paper.id for one in following(database, ana, search=words)] == [PAPER]
    assert len(words.asked) == follows.MOST_SEARCHED
    follow(database, ana, "query", "words 3", on=False)


def test_the_feed_has_a_secret_address_that_can_be_changed(database: Database) -> None:
    ana, bo = member(database, "ana"), member(database, "bo")
    secret = b"s" * 32
    token = follows.feed_token(database, ana, secret)
    assert follows.feed_token(database, ana, secret) == token
    assert follows.person_of_feed(database, token, secret) == ana
    follows.feed_token(database, bo, secret)
    forged = f"{bo.id}-{token.partition('-')[2]}"
    for wrong in (forged, token[:-1], token + "0", "", "1-", "x", f"{ana.id}-é", "9" * 30 + "-a"):
        with pytest.raises(UnknownPaper, match="no such feed"):
            follows.person_of_feed(database, wrong, secret)
    with pytest.raises(UnknownPaper):
        follows.person_of_feed(database, token, b"t" * 32)
    follows.renew_feed(database, ana)
    new = follows.feed_token(database, ana, secret)
    assert follows.person_of_feed(database, new, secret) == ana
    with pytest.raises(UnknownPaper):
        follows.person_of_feed(database, token, secret)


def test_a_topic_that_was_taken_away_can_be_followed_no_more_but_left(database: Database) -> None:
    ana = member(database, "ana")
    curating.set_topic(database, "sparse", query="sparse attention")
    follow(database, ana, "topic", "sparse")
    curating.remove_topic(database, "sparse")
    assert [one.value for one in follows.follows(database, ana)] == ["sparse"]
    follow(database, ana, "topic", "sparse", on=False)
    assert follows.follows(database, ana) == []
    with pytest.raises(UnknownPaper, match="No topic"):
        follow(database, ana, "topic", "sparse")
