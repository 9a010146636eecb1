"""Lists of one's own: made, filled once, changed, dropped; nobody touches another's, or learns of it."""

from __future__ import annotations

import pytest
from members import OTHER, PAPER, at_once, member

from foveal.errors import InputError, UnknownPaper
from foveal.papers import browsing, collecting
from foveal.papers.collecting import change, drop, make, put, shelves
from foveal.papers.store import PaperStore


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
    assert browsing.collection(database, which, reader=ana.id).public is False
    for reader in (None, bo.id):
        with pytest.raises(UnknownPaper, match="No public collection"):
            browsing.collection(database, which, reader=reader)
    assert browsing.collections_with(database, PAPER) == []
    change(database, ana, which, title="Ours", description=" For\nall ", public=True)
    found = browsing.collection(database, which)
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
