"""Lists of papers: made, filled once, changed, dropped; open to others or not; nobody learns of a hidden one."""

from __future__ import annotations

import pytest
from members import OTHER, PAPER, at_once, member, record

from foveal.errors import InputError, NotAllowed, UnknownPaper
from foveal.papers import browsing, collecting, moderation, personal_data
from foveal.papers.collecting import change, drop, make, placed, put, shelves
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert


def test_papers_are_put_on_a_list_once_and_taken_off(database):
    ana = member(database, "ana")
    which = make(database, ana, "  Reads of   the week ")
    for _ in range(2):
        put(database, ana, which, PAPER)
    put(database, ana, which, OTHER)
    (shelf,) = shelves(database, ana, PAPER)
    assert (shelf.title, shelf.count, shelf.holds, shelf.public) == ("Reads of the week", 2, True, True)
    put(database, ana, which, PAPER, on=False)
    put(database, ana, which, PAPER, on=False)
    assert (shelves(database, ana, PAPER)[0].holds, shelves(database, ana, OTHER)[0].holds) == (False, True)
    assert [paper.id for paper in PaperStore(database).page(collection=which).papers] == [OTHER]
    with pytest.raises(UnknownPaper):
        put(database, ana, which, "2612.99999")


def test_a_list_is_seen_by_others_only_where_that_was_chosen(database):
    ana, bo = member(database, "ana"), member(database, "bo")
    which = make(database, ana, "Mine", public=False)
    put(database, ana, which, PAPER)
    assert collecting.visible(database, which, ana).public is False
    for reader in (None, bo):
        with pytest.raises(UnknownPaper, match="No public collection"):
            collecting.visible(database, which, reader)
    assert browsing.collections_with(database, PAPER) == []
    change(database, ana, which, title="Ours", description=" For\nall ", public=True)
    found = collecting.visible(database, which)
    assert (found.title, found.description, found.by) == ("Ours", "For all", "ana")
    assert [one.id for one in browsing.collections_with(database, PAPER)] == [which]


def test_nobody_changes_another_persons_list(database):
    ana, bo = member(database, "ana"), member(database, "bo")
    which = make(database, ana, "Hers")
    for work in (
        lambda: put(database, bo, which, PAPER),
        lambda: change(database, bo, which, title="His"),
        lambda: drop(database, bo, which),
        lambda: put(database, bo, 999, PAPER),
    ):
        with pytest.raises(UnknownPaper, match="no such collection"):
            work()
    assert [(one.title, one.count) for one in shelves(database, ana)] == [("Hers", 0)]
    assert shelves(database, bo) == []


def test_no_list_gets_the_number_of_one_that_was_dropped(both):
    """An old link would show somebody else's; SQLite would give the last numbers again."""
    ana, bo = member(both, "ana"), member(both, "bo")
    first, *dropped = (make(both, ana, title) for title in ("a", "b", "c"))
    for which in reversed(dropped):
        drop(both, ana, which)
    made = [make(both, bo, title) for title in ("d", "e")]
    assert len({first, *dropped, *made}) == 5


def test_equal_titles_and_odd_ones(database):
    ana = member(database, "ana")
    numbers = [make(database, ana, title) for title in ("Reads", "Reads", "reads!", "看", "x" * 120)]
    assert len(set(numbers)) == 5
    for title in ("", "   ", "!!!", "x" * 121):
        with pytest.raises(InputError, match="needs a title"):
            make(database, ana, title)
    with pytest.raises(InputError, match="1,001 characters"):
        change(database, ana, numbers[0], title="A", description="x" * 1001)


def test_there_is_an_end_and_many_at_once_do_no_harm(database, monkeypatch):
    ana = member(database, "ana")
    which = make(database, ana, "Reads")
    assert at_once(lambda _: put(database, ana, which, PAPER)).count(None) >= 1
    assert shelves(database, ana)[0].count == 1
    monkeypatch.setattr(collecting, "MOST_PAPERS", 1)
    with pytest.raises(InputError, match="all that it can"):
        put(database, ana, which, OTHER)
    monkeypatch.setattr(collecting, "MOST", 1)
    with pytest.raises(InputError, match="Drop one first"):
        make(database, ana, "Another")
    drop(database, ana, which)
    assert shelves(database, ana) == []
    assert PaperStore(database).get(PAPER)


def test_to_an_open_list_others_add_and_take_out_what_they_added(database):
    ana, bo, cy = (member(database, login) for login in ("ana", "bo", "cy"))
    which = make(database, ana, "Reads for Friday", public=False, open=True)
    assert collecting.visible(database, which).public  # an open list is seen
    put(database, ana, which, OTHER)
    put(database, bo, which, PAPER, note=" Table\n3 ")
    put(database, ana, which, PAPER, note="not hers to say")
    told = placed(database, which, [PAPER, OTHER, "2612.99999"])
    assert [(paper, one.by, one.note) for paper, one in sorted(told.items())] == [
        (PAPER, "bo", "Table 3"),
        (OTHER, "ana", ""),
    ]
    assert [paper.id for paper in PaperStore(database).page(sort="added", collection=which).papers] == [PAPER, OTHER]
    (shelf,) = shelves(database, cy, PAPER)
    assert (shelf.by, shelf.holds, shelf.may_take_out, shelf.count) == ("ana", True, False, 2)
    for paper in (PAPER, OTHER):
        with pytest.raises(NotAllowed, match="Somebody else put this paper there"):
            put(database, cy, which, paper, on=False)
    put(database, bo, which, PAPER, note="Figure 2")
    assert placed(database, which, [PAPER])[PAPER].note == "Figure 2"
    change(database, ana, which, title="Reads", open=False)  # what is there stays, and may go
    assert shelves(database, bo) == []
    with pytest.raises(UnknownPaper, match="no such collection"):
        put(database, bo, which, "2612.99999")
    with pytest.raises(UnknownPaper, match="no such collection"):
        put(database, bo, which, OTHER, on=False)
    put(database, bo, which, PAPER, on=False)
    assert shelves(database, ana)[0].count == 1
    with pytest.raises(InputError, match="This note has 501 characters"):
        put(database, ana, which, PAPER, note="x" * 501)


def test_a_moderator_takes_out_what_others_put_on_a_list_and_the_audit_says_so(database):
    ana, bo, mod = member(database, "ana"), member(database, "bo"), member(database, "mod", "moderator")
    which, hidden = make(database, ana, "Reads", open=True), make(database, ana, "Mine", public=False)
    put(database, bo, which, PAPER)
    put(database, ana, hidden, PAPER)
    put(database, mod, which, PAPER, on=False)
    with pytest.raises(UnknownPaper):
        put(database, mod, hidden, PAPER, on=False)
    act = moderation.audit(database)[0]
    assert (act.actor, act.action, act.target) == ("mod", "take off collection", f"paper:{PAPER}")
    closed = make(database, ana, "Closed")
    with pytest.raises(UnknownPaper):
        put(database, mod, closed, PAPER)  # to moderate is not to fill


def test_a_moderator_hides_a_list_from_all_but_its_owner(both):
    ana, bo, mod = member(both, "ana"), member(both, "bo"), member(both, "mod", "moderator")
    which = make(both, ana, "Buy this", open=True)
    put(both, bo, which, PAPER)
    with pytest.raises(NotAllowed, match="by a moderator only"):
        collecting.hide(both, which, by=bo)
    collecting.hide(both, which, by=mod)
    assert (collecting.public(both), shelves(both, bo), browsing.collections_with(both, PAPER)) == ([], [], [])
    shelf = collecting.visible(both, which, ana)
    assert (shelf.public, shelf.open, shelf.count) == (False, False, 1)
    act = moderation.audit(both)[0]
    told = ("mod", "hide collection", f"collection:{which}", "Buy this")
    assert (act.actor, act.action, act.target, act.detail) == told
    with pytest.raises(UnknownPaper, match="No public collection"):
        collecting.hide(both, which, by=mod)


def test_what_is_not_changed_stays_as_others_left_it(both):
    """A program that gives a list another title does not show again what a moderator hid meanwhile."""
    ana, mod = member(both, "ana"), member(both, "mod", "moderator")
    which = make(both, ana, "Reads", description="For Friday", open=True)
    change(both, ana, which, title="Reads!")
    shelf = collecting.visible(both, which)
    assert (shelf.title, shelf.description, shelf.public, shelf.open) == ("Reads!", "For Friday", True, True)
    collecting.hide(both, which, by=mod)
    change(both, ana, which, description="")
    shelf = collecting.visible(both, which, ana)
    assert (shelf.title, shelf.description, shelf.public, shelf.open) == ("Reads!", "", False, False)
    for given, told in (
        ({"open": True}, (True, True)),
        ({"public": False}, (False, False)),
        ({"public": True}, (True, False)),
    ):
        change(both, ana, which, **given)
        shelf = collecting.visible(both, which, ana)
        assert (shelf.public, shelf.open) == told, given


def test_who_leaves_takes_their_words_along_and_leaves_the_papers(both):
    ana, bo = member(both, "ana"), member(both, "bo")
    which = make(both, ana, "Reads", open=True)
    put(both, bo, which, PAPER, note="Words of Bo")
    assert [one["note"] for one in personal_data.export(both, bo)["collected_papers"]] == ["Words of Bo"]
    personal_data.erase(both, bo)
    one = placed(both, which, [PAPER])[PAPER]
    assert (one.by, one.note, one.person_id) == ("", "", None)
    put(both, ana, which, PAPER, on=False)
    assert shelves(both, ana)[0].count == 0


def test_lists_that_all_see_come_by_their_last_paper(both):
    database = both
    ana, bo = member(database, "ana"), member(database, "bo")
    first, second = make(database, ana, "First"), make(database, bo, "Second")
    make(database, bo, "Hidden", public=False)
    put(database, ana, first, PAPER)
    assert [one.id for one in collecting.public(database)] == [first, second]
    assert [one.title for one in collecting.public(database, but=ana)] == ["Second"]
    with pytest.raises(InputError, match="No order is called 'added'"):
        PaperStore(database).page(sort="added")


def test_an_open_list_that_many_fill_at_once_ends_where_it_should(both, monkeypatch):
    people = [member(both, f"p{number}") for number in range(8)]
    papers = [f"2605.0200{number}" for number in range(8)]
    upsert(both, [record(paper, f"A Look, {paper}") for paper in papers])
    which = make(both, people[0], "Reads", open=True)
    monkeypatch.setattr(collecting, "MOST_PAPERS", 5)
    tried = at_once(lambda number: put(both, people[number], which, papers[number]))
    assert [type(one) for one in tried if one is not None] == [InputError] * 3
    assert sorted(one.position for one in placed(both, which, papers).values()) == [1, 2, 3, 4, 5]
    assert len(PaperStore(both).page(sort="added", collection=which).papers) == 5


def test_two_who_put_the_same_paper_there_put_it_once(both):
    people = [member(both, f"p{number}") for number in range(8)]
    which = make(both, people[0], "Reads", open=True)
    assert at_once(lambda number: put(both, people[number], which, PAPER, note=f"of {number}")) == [None] * 8
    (how,) = placed(both, which, [PAPER]).values()
    assert how.note == f"of {how.login[1:]}"


def test_a_papers_page_offers_all_of_ones_own_lists_and_so_many_of_others(both, monkeypatch):
    monkeypatch.setattr(collecting, "MOST", 2)
    ana, bo, cy = (member(both, login) for login in ("ana", "bo", "cy"))
    own = [make(both, ana, title) for title in ("B", "a")]
    others = [make(both, one, title, open=True) for one, title in ((bo, "1"), (bo, "2"), (cy, "3"))]
    put(both, bo, others[0], PAPER)
    put(both, cy, others[2], OTHER)
    assert [one.id for one in shelves(both, ana, PAPER)] == [own[1], own[0], others[0], others[2]]
    put(both, bo, others[1], OTHER)
    assert [one.id for one in shelves(both, ana, PAPER)] == [own[1], own[0], others[0], others[1]]


def test_the_last_papers_of_lists_are_read_at_once(both):
    ana, bo = member(both, "ana"), member(both, "bo")
    first, second, empty = (make(both, ana, title, open=True) for title in ("First", "Second", "Empty"))
    for which, paper, note in ((first, PAPER, "older"), (first, OTHER, "newer"), (second, PAPER, "")):
        put(both, bo, which, paper, note=note)
    found = collecting.latest(both, [first, second, empty], 1)
    assert {which: [(paper, how.by, how.note) for paper, how in of.items()] for which, of in found.items()} == {
        first: [(OTHER, "bo", "newer")],
        second: [(PAPER, "bo", "")],
    }
    assert list(collecting.latest(both, [first], 9)[first]) == [OTHER, PAPER]


def test_no_word_of_a_list_turns_others_around(database):
    ana = member(database, "ana")
    which = make(database, ana, "Reads\u202e of\x01ana")
    change(database, ana, which, title="Reads\u2066 of\nana", description="\u202efor all")
    put(database, ana, which, PAPER, note="see\u202e Table 3\u200f")
    (shelf,) = shelves(database, ana)
    told = (shelf.title, shelf.description, placed(database, which, [PAPER])[PAPER].note)
    assert told == ("Reads of ana", "for all", "see Table 3")
    with pytest.raises(InputError, match="needs a title"):
        make(database, ana, "\u202e")
