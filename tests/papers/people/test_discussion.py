"""Remarks: threads, orders, who may change what, and what is left of what is gone."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from members import OTHER, PAPER, member, record

from foveal.database import Database
from foveal.errors import InputError, NotAllowed, TooMany, UnknownPaper
from foveal.papers import claims, moderation
from foveal.papers import discussion as talk
from foveal.papers.accounts import Person
from foveal.papers.discussion import DEEPEST, Remark, discussion, edit, rate, remark
from foveal.papers.upserts import upsert


def shape(remarks: Iterable[Remark]) -> list[object]:
    """Numbers in threads: [1, [2, [3]]] is 2 and 3 below each other below 1."""
    told: list[object] = []
    for one in remarks:
        told += [one.id, shape(one.answers)] if one.answers else [one.id]
    return told


@pytest.fixture
def ana(database: Database) -> Person:
    return member(database, "ana")


@pytest.fixture
def bo(database: Database) -> Person:
    return member(database, "bo", domain="lab.example")


@pytest.fixture
def moderator(database: Database) -> Person:
    return member(database, "mo", "moderator")


def test_threads_and_their_orders(database: Database, ana: Person, bo: Person) -> None:
    first = remark(database, ana, PAPER, "In $O(n)$.")
    second = remark(database, bo, PAPER, "Second")
    answer = remark(database, bo, PAPER, "An answer", parent=first)
    last = remark(database, ana, PAPER, "And another", parent=first)
    third = remark(database, ana, PAPER, "Third")
    threads = [first, [answer, last]]
    assert shape(discussion(database, PAPER, order="old").remarks) == [*threads, second, third]
    assert shape(discussion(database, PAPER, order="new").remarks) == [third, second, *threads]
    rate(database, ana, second, 1)
    rate(database, bo, third, -1)
    told = discussion(database, PAPER, reader=ana)
    assert shape(told.remarks) == [second, *threads, third]
    assert told.count == 5
    assert (told.remarks[0].mine, told.remarks[0].helpful, told.remarks[2].unhelpful) == (1, 1, 1)
    assert "<math" in told.remarks[1].html
    assert discussion(database, OTHER).count == 0
    with pytest.raises(InputError, match="There are: best, new, old"):
        discussion(database, PAPER, order="worst")


def test_ratings_are_one_each_and_not_of_oneself(database: Database, ana: Person, bo: Person) -> None:
    one = remark(database, ana, PAPER, "Text")
    for value in (1, 1, -1, 0, 1):
        rate(database, bo, one, value)
    assert discussion(database, PAPER).remarks[0].helpful == 1
    with pytest.raises(NotAllowed, match="by others"):
        rate(database, ana, one, 1)
    with pytest.raises(InputError, match="not 5"):
        rate(database, bo, one, 5)


def test_only_the_author_changes_a_remark(database: Database, ana: Person, bo: Person) -> None:
    one = remark(database, ana, PAPER, "Text")
    for act in (lambda: edit(database, bo, one, "x"), lambda: talk.delete(database, bo, one)):
        with pytest.raises(NotAllowed, match="somebody else's"):
            act()
    assert edit(database, ana, one, "**Other**") == PAPER
    shown = discussion(database, PAPER).remarks[0]
    assert shown.html.strip() == "<p><strong>Other</strong></p>"
    assert shown.edited_at is not None
    assert talk.words_of(database, ana, one) == (PAPER, "**Other**")
    with pytest.raises(UnknownPaper, match="no such remark"):
        edit(database, ana, 999, "x")


def test_what_is_deleted_or_hidden_leaves_a_place_only_where_somebody_answered(
    database: Database, ana: Person, bo: Person, moderator: Person
) -> None:
    gone, kept = remark(database, ana, PAPER, "secret words"), remark(database, ana, PAPER, "more words")
    remark(database, bo, PAPER, "An answer", parent=kept)
    talk.delete(database, ana, gone)
    assert shape(discussion(database, PAPER, order="old").remarks) == [kept, [kept + 1]]
    talk.delete(database, ana, kept)
    place = discussion(database, PAPER, reader=moderator).remarks[0]
    assert (place.state, place.html, place.login, place.name) == ("deleted", "", "", "")
    with pytest.raises(NotAllowed, match="its words are gone"):
        moderation.restore(database, kept, by=moderator)

    spam = remark(database, bo, PAPER, "Buy this")
    with pytest.raises(NotAllowed, match="by a moderator only"):
        moderation.hide(database, spam, by=ana)
    moderation.hide(database, spam, by=moderator, reason="advertising")
    assert spam not in [one.id for one in discussion(database, PAPER, reader=bo).remarks]
    seen = next(one for one in discussion(database, PAPER, reader=moderator).remarks if one.id == spam)
    assert (seen.state, seen.login) == ("hidden", "bo")
    with pytest.raises(NotAllowed, match="cannot be changed"):
        edit(database, bo, spam, "Buy that")
    assert [one.raw for one in moderation.hidden(database)] == ["Buy this"]
    moderation.restore(database, spam, by=moderator)
    assert moderation.hidden(database) == []
    assert [act.action for act in moderation.audit(database, target=f"remark:{spam}")] == [
        "restore remark",
        "hide remark",
    ]


def test_a_closed_discussion_takes_nothing_more(database: Database, ana: Person, moderator: Person) -> None:
    one = remark(database, ana, PAPER, "Text")
    with pytest.raises(NotAllowed, match="by a moderator only"):
        moderation.close(database, PAPER, by=ana)
    moderation.close(database, PAPER, by=moderator)
    for act in (
        lambda: remark(database, ana, PAPER, "x"),
        lambda: remark(database, moderator, PAPER, "x", parent=one),
        lambda: edit(database, ana, one, "x"),
    ):
        with pytest.raises(NotAllowed, match="is closed"):
            act()
    assert discussion(database, PAPER).closed
    talk.delete(database, ana, one)  # one's own words can always be taken back
    moderation.close(database, PAPER, by=moderator, closed=False)
    remark(database, ana, PAPER, "x")


def test_badges_are_of_those_who_are_it(database: Database, ana: Person, bo: Person) -> None:
    upsert(
        database,
        [record("2605.05555", "Another", submitted_by="ana"), record("2605.06666", "Third", submitted_by="@ana")],
    )
    for paper in ("2605.05555", "2605.06666"):
        remark(database, ana, paper, "x")
    claims.claim(database, bo, PAPER, 1)
    remark(database, bo, PAPER, "x")
    assert discussion(database, "2605.05555").remarks[0].badges == ()  # an "ana" of another site
    assert discussion(database, "2605.06666").remarks[0].badges == ("Paper submitter",)
    assert discussion(database, PAPER).remarks[0].badges == ("Paper author",)


@pytest.mark.parametrize("text", ["", "   \n\t", "\u200b\u2060", "\x00"])
def test_nothing_is_no_remark(database: Database, ana: Person, text: str) -> None:
    with pytest.raises(InputError, match="is empty"):
        remark(database, ana, PAPER, text)


def test_remarks_are_limited(database: Database, ana: Person) -> None:
    for n in range(10):
        remark(database, ana, PAPER, f"Remark {n}")
    with pytest.raises(TooMany, match="10 remarks came from you within 10 minutes"):
        remark(database, ana, PAPER, "One more")
    with pytest.raises(UnknownPaper, match="about another paper"):
        remark(database, member(database, "cy"), OTHER, "x", parent=1)


def test_a_thread_of_a_thousand_answers_is_shown_flat(database: Database, ana: Person) -> None:
    from foveal.papers.schema import CommentRow

    with database.writing() as session:
        for n in range(1, 1_001):
            parent = n - 1 or None
            session.add(CommentRow(id=n, paper_id=PAPER, parent_id=parent, person_id=ana.id, raw="x", html="<p>x</p>"))
            session.flush()
    remarks = discussion(database, PAPER).remarks
    depth, count, level = 0, 0, list(remarks)
    while level:
        depth, count, level = depth + 1, count + len(level), [answer for one in level for answer in one.answers]
    assert (depth, count) == (DEEPEST + 1, 1_000)


def test_many_threads_come_in_pages(database: Database, ana: Person) -> None:
    from foveal.papers.schema import CommentRow

    with database.writing() as session:
        session.add_all(
            CommentRow(id=n, paper_id=PAPER, person_id=ana.id, raw="x", html="<p>x</p>") for n in range(1, 121)
        )
    pages = [discussion(database, PAPER, order="old", page=page) for page in range(4)]
    assert [len(one.remarks) for one in pages] == [50, 50, 20, 0]
    assert [one.id for page in pages for one in page.remarks] == list(range(1, 121))
    assert pages[0].pages == 3


def test_a_remark_is_found_on_the_page_that_shows_it(
    database: Database, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "THREADS", 2)
    said = [remark(database, ana, PAPER, f"Remark {number}") for number in range(5)]
    answer = remark(database, ana, PAPER, "An answer", parent=said[3])
    places = [talk.place_of(database, one) for one in (*said, answer)]
    assert places == [(PAPER, part) for part in (0, 0, 1, 1, 2, 1)]
    assert shape(discussion(database, PAPER, order="old", page=1).remarks) == [said[2], said[3], [answer]]
    with pytest.raises(UnknownPaper):
        talk.place_of(database, 999)
