"""What people report to moderators: once, with a reason, until somebody decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from members import OTHER, PAPER, member

from foveal.database import Database
from foveal.errors import InputError, NotAllowed, TooMany, UnknownPaper
from foveal.papers import claims, collecting, complaints, discussion, moderation, notes, removing
from foveal.papers.complaints import Mine, dismiss, mine, report, waiting, waits
from foveal.papers.records import PaperRecord
from foveal.papers.upserts import upsert


def test_what_was_reported_waits_and_most_reported_comes_first(both: Database) -> None:
    ana, bo, spam = member(both, "ana"), member(both, "bo"), member(both, "spam")
    said = discussion.remark(both, spam, PAPER, "Buy this")
    report(both, ana, paper=OTHER, reason="not a  paper")
    report(both, ana, remark=said, reason="advertising")
    report(both, bo, remark=said, reason="spam")
    report(both, bo, remark=said, reason="spam, really")  # once a person
    first, second = waiting(both)
    assert (first.remark, first.paper_id, first.raw, first.login) == (said, PAPER, "Buy this", "spam")
    assert [(one.login, one.reason) for one in first.said] == [("ana", "advertising"), ("bo", "spam, really")]
    assert (second.remark, second.paper_id, second.title) == (None, OTHER, "Strings <and> Branes")
    assert [one.reason for one in second.said] == ["not a paper"]
    claims.claim(both, ana, PAPER, 0)
    assert (waits(both).claims, waits(both).reported, waits(both).all) == (1, 2, 3)
    assert mine(both, ana, PAPER) == Mine(False, frozenset({said}))
    assert mine(both, ana, OTHER) == Mine(True, frozenset())


def test_a_hidden_remark_and_a_removed_paper_wait_no_more(both: Database) -> None:
    ana, spam, mod = member(both, "ana"), member(both, "spam"), member(both, "mod", "moderator")
    hidden, deleted = (discussion.remark(both, spam, PAPER, f"Buy {one}") for one in "ab")
    for one in (hidden, deleted):
        report(both, ana, remark=one, reason="spam")
    report(both, ana, paper=OTHER, reason="spam")
    discussion.delete(both, spam, deleted)
    assert waits(both).reported == 2
    moderation.hide(both, hidden, by=mod, reason="spam")
    assert moderation.audit(both)[0].detail == "spam (reported by 1)"
    removing.remove(both, OTHER, by=mod)
    assert waiting(both) == []
    moderation.restore(both, hidden, by=mod)
    assert waits(both).reported == 0


def test_where_a_moderator_sees_no_harm_it_is_reported_again_only_once_it_changed(both: Database) -> None:
    ana, bo, mod = member(both, "ana"), member(both, "bo"), member(both, "mod", "moderator")
    said = discussion.remark(both, bo, PAPER, "A fair question")
    report(both, ana, remark=said, reason="rude")
    with pytest.raises(NotAllowed):
        dismiss(both, remark=said, by=ana)
    dismiss(both, remark=said, by=mod, reason="it is not")
    act = moderation.audit(both)[0]
    assert (act.actor, act.action, act.target, act.detail) == ("mod", "dismiss report", f"remark:{said}", "it is not")
    assert waiting(both) == []
    with pytest.raises(UnknownPaper):
        dismiss(both, remark=said, by=mod)
    with pytest.raises(NotAllowed, match="has looked"):
        report(both, ana, remark=said, reason="rude!")
    discussion.edit(both, bo, said, "A rude question")
    report(both, ana, remark=said, reason="rude now")
    assert [one.said[0].reason for one in waiting(both)] == ["rude now"]


def test_what_cannot_be_reported(both: Database) -> None:
    ana, bo, mod = member(both, "ana"), member(both, "bo"), member(both, "mod", "moderator")
    said = discussion.remark(both, ana, PAPER, "Mine")
    with pytest.raises(InputError, match="own words"):
        report(both, ana, remark=said, reason="oh")
    with pytest.raises(InputError, match="What is wrong"):
        report(both, bo, remark=said, reason="  ")
    for thing in ({"remark": 999}, {"paper": "2605.99999"}):
        with pytest.raises(UnknownPaper):
            report(both, bo, reason="gone", **thing)  # type: ignore[arg-type]
    moderation.hide(both, said, by=mod)
    with pytest.raises(UnknownPaper):
        report(both, bo, remark=said, reason="hidden")
    own = discussion.remark(both, mod, PAPER, "Of a moderator")
    report(both, bo, remark=own, reason="hm")
    with pytest.raises(NotAllowed, match="another moderator"):
        dismiss(both, remark=own, by=mod)


def test_a_note_in_a_collection_is_reported_hidden_and_shown_again(both: Database) -> None:
    ana, spam, mod = member(both, "ana"), member(both, "spam"), member(both, "mod", "moderator")
    which, other = collecting.make(both, ana, "Reads", open=True), collecting.make(both, spam, "Wares")
    for shelf in (which, other):
        collecting.put(both, spam, shelf, PAPER, note="Buy this")
    report(both, ana, paper=PAPER, reason="of the paper")
    report(both, ana, collection=which, paper=PAPER, reason="advertising")
    report(both, mod, collection=which, paper=PAPER, reason="spam")
    first, second = waiting(both)
    assert (first.collection, first.collection_title, first.paper_id, first.raw, first.login) == (
        *(which, "Reads", PAPER, "Buy this", "spam"),
    )
    assert [(one.login, one.reason) for one in first.said] == [("ana", "advertising"), ("mod", "spam")]
    assert (second.collection, second.raw, second.said[0].reason) == (None, "", "of the paper")
    assert waits(both).reported == 2
    assert mine(both, ana, PAPER) == Mine(True, frozenset())
    assert (complaints.notes_of(both, ana, which), complaints.notes_of(both, ana, other)) == ({PAPER}, frozenset())
    with pytest.raises(NotAllowed):
        notes.hide(both, which, PAPER, by=ana)
    notes.hide(both, which, PAPER, by=mod, reason="spam")
    act = moderation.audit(both)[0]
    assert (act.action, act.target, act.detail) == ("hide note", f"note:{which}:{PAPER}", "spam (reported by 2)")
    assert [one.collection for one in waiting(both)] == [None]
    seen = [collecting.placed(both, which, [PAPER], reader=one)[PAPER] for one in (None, ana, spam, mod)]
    assert [(one.note, one.hidden) for one in seen] == [("", True)] * 3 + [("Buy this", True)]
    assert collecting.placed(both, other, [PAPER])[PAPER].note == "Buy this"
    (hidden,) = notes.hidden(both)
    assert (hidden.collection, hidden.title, hidden.paper_id, hidden.note, hidden.login) == (
        *(which, "Reads", PAPER, "Buy this", "spam"),
    )
    with pytest.raises(NotAllowed, match="A moderator hid the note"):
        collecting.put(both, spam, which, PAPER, note="Buy that")
    with pytest.raises(UnknownPaper):
        report(both, ana, collection=which, paper=PAPER, reason="still")
    notes.restore(both, which, PAPER, by=mod)
    collecting.put(both, spam, which, PAPER, note="Buy that")
    assert collecting.placed(both, which, [PAPER])[PAPER].note == "Buy that"
    assert notes.hidden(both) == []


def test_a_note_that_is_no_harm_is_reported_again_only_once_it_changed(both: Database) -> None:
    ana, bo, mod = member(both, "ana"), member(both, "bo"), member(both, "mod", "moderator")
    which = collecting.make(both, ana, "Reads", open=True)
    about = {"collection": which, "paper": PAPER}
    collecting.put(both, bo, which, PAPER)
    for _ in range(2):
        with pytest.raises(UnknownPaper, match="no such note"):
            report(both, ana, reason="empty", **about)
    collecting.annotate(both, bo, which, PAPER, "Rude")
    with pytest.raises(InputError, match="own words"):
        report(both, bo, reason="mine", **about)
    report(both, ana, reason="rude", **about)
    dismiss(both, by=mod, reason="not so", **about)
    assert moderation.audit(both)[0].target == f"note:{which}:{PAPER}"
    with pytest.raises(NotAllowed, match="has looked"):
        report(both, ana, reason="rude", **about)
    collecting.annotate(both, bo, which, PAPER, "Rude")  # the same words
    with pytest.raises(NotAllowed, match="has looked"):
        report(both, ana, reason="rude", **about)
    collecting.annotate(both, bo, which, PAPER, "Ruder")
    report(both, ana, reason="ruder", **about)
    assert [one.raw for one in waiting(both)] == ["Ruder"]
    collecting.put(both, mod, which, OTHER, note="Of a moderator")
    report(both, ana, reason="hm", collection=which, paper=OTHER)
    with pytest.raises(NotAllowed, match="another moderator"):
        dismiss(both, by=mod, collection=which, paper=OTHER)
    collecting.annotate(both, bo, which, PAPER, "")  # its words are gone
    assert [one.paper_id for one in waiting(both)] == [OTHER]


def test_what_was_reported_of_a_note_goes_with_it_and_moves_with_its_paper(both: Database) -> None:
    ana, bo, mod = member(both, "ana"), member(both, "bo"), member(both, "mod", "moderator")
    which = collecting.make(both, ana, "Reads", open=True)
    pasted = PaperRecord(title="Pasted First", source="pasted")
    (first,) = upsert(both, [pasted]).added
    for paper in (PAPER, OTHER, first):
        collecting.put(both, bo, which, paper, note=f"On {paper}")
        report(both, ana, collection=which, paper=paper, reason="hm")
    collecting.put(both, bo, which, PAPER, on=False)
    assert {one.paper_id for one in waiting(both)} == {OTHER, first}
    collecting.put(both, bo, which, PAPER, note="Anew")
    report(both, ana, collection=which, paper=PAPER, reason="hm again")
    upsert(both, [replace(pasted, id="2611.70000", source="arxiv")])  # its id came to be known
    removing.remove(both, "2611.70000", by=mod, same_as=OTHER)  # which is there, with a note of its own
    assert {(one.paper_id, one.raw) for one in waiting(both)} == {(OTHER, f"On {OTHER}"), (PAPER, "Anew")}
    collecting.put(both, bo, which, OTHER, on=False)
    removing.remove(both, PAPER, by=mod, same_as=OTHER)
    assert [(one.paper_id, one.raw) for one in waiting(both)] == [(OTHER, "Anew")]
    collecting.hide(both, which, by=mod)
    assert (waiting(both), waits(both).reported) == ([], 0)
    for paper in ("", PAPER):
        with pytest.raises(UnknownPaper, match="no such note"):
            notes.restore(both, which, paper, by=mod)
    collecting.drop(both, ana, which)


def test_who_reports_all_that_there_is_is_stopped(database: Database) -> None:
    ana = member(database, "ana")
    for _ in range(complaints.COMPLAINTS.most):
        report(database, ana, paper=PAPER, reason="no")
    with pytest.raises(TooMany, match="reports to the moderators"):
        report(database, ana, paper=PAPER, reason="no")
