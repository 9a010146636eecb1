"""All that is stored of a person is told to them, and goes when they go."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from members import OTHER, PAPER, at_once, member, record
from sqlalchemy import delete, select

from foveal.database import Base, Database, engine_of
from foveal.errors import InputError, NotAllowed, UnknownPaper
from foveal.papers import (
    accounts,
    additions,
    claims,
    complaints,
    desk,
    discussion,
    follows,
    moderation,
    personal_data,
    tokens,
    votes,
)
from foveal.papers.accounts import Person
from foveal.papers.people_schema import (
    AuditRow,
    DeliveryPaperRow,
    DeliveryRow,
    DigestRunRow,
    FeedKeyRow,
    NoteRow,
    SubscriptionRow,
    SuppressedRow,
)
from foveal.papers.records import Named
from foveal.papers.schema import CollectedRow, CollectionRow, PersonRow, PickRow, now
from foveal.papers.sessions import request_link, use_link
from foveal.papers.upserts import upsert

KEPT = {"suppressed"}
"""Tables that may hold the address of somebody who left."""


@pytest.fixture
def ana(database: Database) -> Person:
    """Somebody who did everything that can be done here."""
    made = member(database, "ana-unique", "curator", domain="lab.example")
    root = member(database, "root-a", "admin")
    upsert(database, [record("2605.06666", "Third", submitted_by="@ana-unique")])
    said = discussion.remark(database, made, PAPER, "Words of Ana")
    other = discussion.remark(database, root, PAPER, "An answer", parent=said)
    discussion.rate(database, made, other, 1)
    votes.vote(database, made, PAPER)
    follows.follow(database, made, "query", "attention")
    follows.mute(database, made, "survey")
    follows.mark_read(database, made, OTHER)
    follows.renew_feed(database, made)
    tokens.make(database, made, "import")
    additions.note(database, made.id, {"a" * 32: now()})
    complaints.report(database, made, remark=other, reason="Said to ana-unique")
    claims.claim(database, made, PAPER, 0, text=made.email)
    desk.pick(database, [OTHER], now().date(), by=made)
    accounts.set_role(database, "ana-unique", "moderator", by=root)
    moderation.hide(database, other, by=accounts.find(database, "ana-unique"))
    moderation.close(database, OTHER, by=accounts.find(database, "ana-unique"))
    request_link(database, made.email, ip="192.0.2.5")
    with database.writing() as session:
        session.add(CollectionRow(id=1, person_id=made.id, slug="mine", title="Mine"))
        session.flush()
        session.add(CollectedRow(collection_id=1, paper_id=PAPER))
        key = {
            "address": made.email,
            "address_key": made.email,
            "unsubscribe_hash": "u",
            "person_id": made.id,
            "seed": "s",
        }
        session.add_all([SubscriptionRow(id=1, **key), DigestRunRow(id=1, cadence="daily", period="2026-10-02")])
        session.flush()
        session.add(DeliveryRow(id=1, run_id=1, subscription_id=1))
        session.flush()
        session.add(NoteRow(subscription_id=1, content='{"question": "What does ana-unique ask?"}'))
        session.add(DeliveryPaperRow(delivery_id=1, position=0, paper_id=PAPER, section="Trending"))
        for days, by in ((1, "ana-unique"), (2, "@ana-unique")):  # from the terminal and the desk
            session.add(PickRow(paper_id=OTHER, day=now().date() + timedelta(days), picked_by=by))
        session.add(SuppressedRow(address_key=made.email, reason="complained"))
    return accounts.find(database, "ana-unique")


def signed_up(database: Database, name: str) -> Person:
    """Somebody whose account a link made."""
    link = request_link(database, f"{name}@example.org", ip=name, browser="theirs")
    return use_link(database, link.token, browser="theirs").person


def everything(database: Database) -> dict[str, list[str]]:
    with database.reading() as session:
        return {t.name: [str(tuple(row)) for row in session.execute(select(t))] for t in Base.metadata.sorted_tables}


def test_the_export_holds_a_row_of_every_table_that_knows_a_person(database: Database, ana: Person) -> None:
    told = personal_data.export(database, ana)
    json.dumps(told)
    assert all(told.values()), told
    knows = {
        table.name
        for table in Base.metadata.sorted_tables
        if any(key.column.table.name == "person" for key in table.foreign_keys)
    }
    exported = {table.__tablename__ for table in personal_data._OF_PERSON.values()}
    assert knows - exported == {"subscription", "collected", "feed_key"}  # under names of their own; of no meaning
    assert told["remarks"][0]["raw"] == "Words of Ana"
    assert len(told["picked"]) == 2
    assert "ana-unique ask" in told["changes_told"][0]["content"]
    assert not any("hash" in key for rows in told.values() if isinstance(rows, list) for row in rows for key in row)


@pytest.mark.parametrize("remarks", ["keep", "remove"])
def test_nothing_of_a_person_is_left_but_what_is_said_to_be(database: Database, ana: Person, remarks: str) -> None:
    personal_data.erase(database, ana, remarks=remarks)
    for table, rows in everything(database).items():
        if table not in KEPT:
            assert not [row for row in rows if "ana-unique" in row], table
    talk = discussion.discussion(database, PAPER)
    assert [one.login for one in talk.remarks] == ([""] if remarks == "keep" else [])
    assert ("Words of Ana" in str(everything(database))) == (remarks == "keep")
    assert votes.standing(database, [PAPER], None)[PAPER].votes == 0
    assert moderation.audit(database)[0].action == "delete person"
    assert moderation.audit(database)[0].target == f"person:deleted-{ana.id}"


def test_an_admin_deletes_somebody_and_the_audit_says_who(database: Database, ana: Person) -> None:
    root = accounts.find(database, "root-a")
    with pytest.raises(NotAllowed, match="by an admin only"):
        personal_data.erase(database, root, by=ana)
    held, told = personal_data.held(database, ana), personal_data.export(database, ana)
    assert held == {name: len(told[name]) for name in held}
    assert held["votes"] == held["subscriptions"] == held["not_written_to"] == 1
    assert held.keys() == {*personal_data._OF_PERSON, "subscriptions", "not_written_to"}
    personal_data.erase(database, ana, by=root)
    (act,) = moderation.audit(database, target=f"person:deleted-{ana.id}")[:1]
    assert (act.actor, act.action, act.detail) == ("root-a", "delete person", "remarks: keep")
    with pytest.raises(UnknownPaper, match="ana-unique is not here any more"):
        personal_data.erase(database, ana, by=root)


def test_who_was_made_admin_since_is_the_last_one_all_the_same(database: Database) -> None:
    first, other = member(database, "first-a", "admin"), member(database, "other")
    accounts.set_role(database, "other", "admin")
    accounts.set_role(database, "first-a", "member")
    assert other.role == "member"  # as it was read before
    with pytest.raises(NotAllowed, match="other is the only admin here"):
        personal_data.erase(database, other)
    personal_data.erase(database, first)


def test_the_only_admin_of_others_cannot_leave_them_alone(database: Database, ana: Person) -> None:
    root = accounts.find(database, "root-a")
    with pytest.raises(NotAllowed, match="the only admin"):
        personal_data.erase(database, root)
    with pytest.raises(InputError, match="not 'everything'"):
        personal_data.erase(database, ana, remarks="everything")
    personal_data.erase(database, ana)
    personal_data.erase(database, root)  # nobody else is here now
    assert accounts.people(database) == []


def test_who_takes_a_login_inherits_nothing_of_it(database: Database, ana: Person) -> None:
    discussion.remark(database, ana, "2605.06666", "I listed it")
    before = personal_data.export(database, ana)
    accounts.rename(database, ana, login="ana-lee", name="")
    eve = accounts.rename(database, member(database, "eve"), login="ana-unique", name="")
    discussion.remark(database, eve, "2605.06666", "I did not")
    told = personal_data.export(database, eve)
    assert [told[name] for name in ("submitted", "picked", "closed_discussions")] == [[], [], []]
    assert [(one["actor"], one["action"]) for one in told["audit"]] == [("system", "add person")]
    badges = {one.login: one.badges for one in discussion.discussion(database, "2605.06666").remarks}
    assert badges == {"ana-lee": ("Paper submitter",), "ana-unique": ()}
    personal_data.erase(database, eve)
    after = personal_data.export(database, ana)  # by her number: she is still called as before where she signed in
    for name in ("submitted", "picked", "closed_discussions", "audit"):
        assert len(after[name]) == len(before[name]) > 0, name
    assert "ana-lee is author 1" in [act.detail for act in moderation.audit(database)]
    personal_data.erase(database, ana)
    assert "ana-lee" not in str(everything(database))


def test_nobody_gets_the_number_of_somebody_deleted(both: Database) -> None:
    """By it jobs, and the address of a feed, know whose they are; SQLite would give the last one again."""
    first = member(both, "first")
    last = [member(both, f"last-{number}") for number in range(2)]
    feeds = [follows.feed_token(both, one, b"secret") for one in last]
    for one in reversed(last):
        personal_data.erase(both, one)
    new = [member(both, "added"), signed_up(both, "reader")]
    assert len({first.id, *(one.id for one in (*last, *new))}) == 5
    for token in feeds:
        with pytest.raises(UnknownPaper, match="no such feed"):
            follows.person_of_feed(both, token, b"secret")


def test_without_the_lines_of_the_audit_no_number_is_given_again_either(both: Database) -> None:
    ana = member(both, "ana")
    personal_data.erase(both, ana)
    with both.writing() as session:
        session.execute(delete(AuditRow))
    assert signed_up(both, "reader").id > ana.id


def test_a_number_that_another_program_gave_is_not_given_again(database: Database) -> None:
    with database.writing() as session:
        session.add(PersonRow(id=50, login="imported", email="imported@example.org"))
    personal_data.erase(database, accounts.find(database, "imported"))
    assert member(database, "ana").id == 51


def test_people_who_come_and_go_at_once_have_numbers_of_their_own(both: Database) -> None:
    before = [member(both, f"before-{number}") for number in range(3)]

    def goes_and_comes(number: int) -> Person:
        if number < len(before):
            personal_data.erase(both, before[number])
        return accounts.add(both, f"new-{number}@example.org")

    came = at_once(goes_and_comes, times=6)
    assert len({one.id for one in (*before, *came) if isinstance(one, Person)}) == 9


@pytest.mark.parametrize("renewed", [False, True])
def test_where_an_older_copy_was_put_back_a_feed_given_out_since_is_nobodys(
    database: Database, tmp_path: Path, renewed: bool
) -> None:
    member(database, "before")
    with (
        closing(sqlite3.connect(tmp_path / "foveal.db")) as whole,
        closing(sqlite3.connect(tmp_path / "old.db")) as old,
    ):
        whole.backup(old)
    ana = member(database, "ana")
    token = follows.feed_token(database, ana, b"secret")
    assert follows.person_of_feed(database, token, b"secret").id == ana.id
    back = Database(engine_of(f"sqlite:///{tmp_path / 'old.db'}"))
    eve = member(back, "eve")
    if renewed:
        follows.renew_feed(back, eve)
    assert eve.id == ana.id  # it knows no Ana
    with pytest.raises(UnknownPaper, match="no such feed"):
        follows.person_of_feed(back, token, b"secret")
    own = follows.feed_token(back, eve, b"secret")
    assert follows.person_of_feed(back, own, b"secret").id == eve.id
    back.close()


def test_the_feed_of_somebody_from_before_versions_were_drawn_stays_where_it_is(database: Database) -> None:
    ana = member(database, "ana")
    with database.writing() as session:
        session.execute(delete(FeedKeyRow))
    first = follows.feed_token(database, ana, b"secret")
    assert first == follows._token(ana.id, 1, b"secret")
    follows.renew_feed(database, ana)
    assert follows.feed_token(database, ana, b"secret") == follows._token(ana.id, 2, b"secret")


def test_a_role_in_the_audit_is_nobodys_login(database: Database) -> None:
    root, person = member(database, "root-a", "admin"), member(database, "member")
    accounts.set_role(database, "member", "curator", by=root)
    personal_data.erase(database, person)
    assert "member -> curator" in [act.detail for act in moderation.audit(database)]


def test_a_claim_that_was_opened_again_names_nobody_who_left(database: Database, ana: Person) -> None:
    upsert(database, [record(version=2, authors=(Named(name="Somebody Else"),))])
    assert any(act.action == "reopen claim" and "ana-unique" in act.detail for act in moderation.audit(database))
    personal_data.erase(database, ana)
    [act] = [one for one in moderation.audit(database) if one.action == "reopen claim"]
    assert act.detail.startswith(f"deleted-{ana.id} was author 1")
