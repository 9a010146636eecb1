"""One person, one vote: whatever is sent, however often, at once or not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from members import OTHER, PAPER, at_once, member, record
from sqlalchemy import func, select

from foveal.database import Database
from foveal.errors import NotAllowed, TooMany, UnknownPaper
from foveal.papers.accounts import Person
from foveal.papers.rate_limits import VOTES
from foveal.papers.records import PaperRecord
from foveal.papers.schema import VoteRow
from foveal.papers.upserts import upsert
from foveal.papers.votes import Standing, mine, standing, vote, voters


def test_a_vote_twice_is_one_and_is_taken_back(both: Database) -> None:
    ana, bo = member(both, "ana"), member(both, "bo")
    assert vote(both, ana, PAPER) == vote(both, ana, PAPER) == Standing(1, True)
    assert vote(both, bo, PAPER) == Standing(2, True)
    assert vote(both, ana, PAPER, on=False) == vote(both, ana, PAPER, on=False) == Standing(1, False)
    assert standing(both, [PAPER, OTHER, "2605.09999"], bo) == {PAPER: Standing(1, True), OTHER: Standing(0, False)}
    assert (mine(both, [PAPER, OTHER], bo), mine(both, [PAPER], None)) == (frozenset({PAPER}), frozenset())


def test_who_voted_is_told_the_last_first(both: Database) -> None:
    people = [member(both, login) for login in ("ana", "bo", "cy")]
    for person in people:
        vote(both, person, PAPER)
    vote(both, people[1], PAPER, on=False)
    assert voters(both, PAPER) == [("cy", "cy"), ("ana", "ana")]
    assert voters(both, PAPER, limit=1) == [("cy", "cy")]
    assert voters(both, OTHER) == []


def test_votes_of_other_sites_count_but_are_nobodys(database: Database) -> None:
    upsert(database, [record(votes=7)])
    assert vote(database, member(database, "ana"), PAPER) == Standing(8, True)
    upsert(database, [record(votes=9)])
    assert standing(database, [PAPER], None) == {PAPER: Standing(10, False)}


def test_the_same_vote_many_times_at_once_is_one(both: Database) -> None:
    ana = member(both, "ana")
    answers = at_once(lambda _: vote(both, ana, PAPER))
    assert answers == [Standing(1, True)] * 8
    assert rows(both) == 1


def test_many_votes_within_a_minute_are_sixty_tries(database: Database) -> None:
    """Ten thousand over HTTP are tests/web/test_people_votes.py's."""
    ana = member(database, "ana")
    answers = [_tried(database, ana, on=n % 2 == 0) for n in range(200)]
    refused = [answer for answer in answers if isinstance(answer, TooMany)]
    assert len(answers) - len(refused) <= VOTES.most + 15  # one more for each second that this took
    assert refused[0].retry_after >= 1
    assert rows(database) <= 1


def _tried(database: Database, person: Person, *, on: bool) -> Standing | TooMany:
    try:
        return vote(database, person, PAPER, on=on)
    except TooMany as error:
        return error


def test_only_a_verified_address_has_a_vote(database: Database) -> None:
    with pytest.raises(NotAllowed, match="once your address is verified"):
        vote(database, replace(member(database, "ana"), verified_at=None), PAPER)
    with pytest.raises(UnknownPaper, match="is not here"):
        vote(database, member(database, "bo"), "2605.09999")
    assert rows(database) == 0


def test_what_people_did_moves_along_when_a_paper_gets_its_id(database: Database) -> None:
    from foveal.papers import discussion, follows, moderation

    ana = member(database, "ana", "admin")
    pasted = upsert(database, [PaperRecord(title="A Paper Pasted", source="pasted")]).added[0]
    vote(database, ana, pasted)
    discussion.remark(database, ana, pasted, "Good.")
    follows.mark_read(database, ana, pasted)
    moderation.close(database, pasted, by=ana)
    upsert(database, [record("2605.07777", "A paper pasted")])
    assert standing(database, ["2605.07777"], ana) == {"2605.07777": Standing(1, True)}
    talk = discussion.discussion(database, "2605.07777")
    assert (talk.count, talk.closed) == (1, True)
    assert follows.read_marks(database, ana, ["2605.07777"]) == {"2605.07777"}


def rows(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(VoteRow)) or 0
