"""What people report to moderators: once, with a reason, until somebody decides."""

from __future__ import annotations

import pytest
from members import OTHER, PAPER, member

from foveal.database import Database
from foveal.errors import InputError, NotAllowed, TooMany, UnknownPaper
from foveal.papers import claims, complaints, discussion, moderation, removing
from foveal.papers.complaints import Mine, dismiss, mine, report, waiting, waits


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


def test_who_reports_all_that_there_is_is_stopped(database: Database) -> None:
    ana = member(database, "ana")
    for _ in range(complaints.COMPLAINTS.most):
        report(database, ana, paper=PAPER, reason="no")
    with pytest.raises(TooMany, match="reports to the moderators"):
        report(database, ana, paper=PAPER, reason="no")
