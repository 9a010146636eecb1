"""Tokens of programs: somebody's, for a while, once seen; and nothing that a thief of the database could use."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from members import member
from sqlalchemy import select

from foveal.database import Database
from foveal.errors import InputError, UnknownPaper
from foveal.papers import accounts, moderation, personal_data, tokens
from foveal.papers.people_schema import TokenRow
from foveal.papers.tokens import make, person_of_token, revoke

START = datetime(2026, 10, 2, 8, tzinfo=UTC)


def days(count: float) -> datetime:
    return START + timedelta(days=count)


def test_a_token_is_its_person_until_it_ends(both: Database) -> None:
    ana = member(both, "ana")
    made = make(both, ana, " nightly  import ", days=30, at=START)
    assert made.secret.startswith("foveal_")
    assert (made.token.name, made.token.begins, made.token.seen_at) == ("nightly import", made.secret[:11], None)
    assert person_of_token(both, made.secret, at=days(29.9)) == accounts.find(both, "ana")
    assert person_of_token(both, made.secret, at=days(30)) is None
    assert person_of_token(both, made.secret[:-1], at=START) is None
    (listed,) = tokens.tokens(both, ana, at=days(31))
    assert (listed.seen_at, listed.expired, listed.login) == (days(29.9), True, "ana")
    assert tokens.tokens(both, ana, at=days(61)) == []


def test_what_is_kept_of_a_token_is_no_token(database: Database) -> None:
    made = make(database, member(database, "ana"), "import")
    with database.reading() as session:
        row = session.scalars(select(TokenRow)).one()
        kept = {name: str(getattr(row, name)) for name in TokenRow.__table__.c.keys()}  # noqa: SIM118
    assert not any(made.secret in value for value in kept.values())
    assert all(person_of_token(database, value) is None for value in kept.values())
    assert "token_hash" not in personal_data.export(database, accounts.find(database, "ana"))["tokens"][0]


def test_its_person_ends_a_token_and_nobody_elses(both: Database) -> None:
    ana, bo = member(both, "ana"), member(both, "bo")
    first, second = make(both, ana, "first"), make(both, ana, "second")
    with pytest.raises(UnknownPaper):
        revoke(both, bo, first.token.id)
    assert revoke(both, ana, first.token.id) == "first"
    assert person_of_token(both, first.secret) is None
    assert person_of_token(both, second.secret) is not None
    with pytest.raises(UnknownPaper):
        revoke(both, ana, first.token.id)
    assert revoke(both, None, second.token.id) == "second"  # whoever runs the site
    assert moderation.audit(both, target="person:ana")[0].action == "revoke token"


def test_a_token_may_what_its_person_may_now_and_dies_with_the_account(both: Database) -> None:
    ana = member(both, "ana", "moderator")
    secret = make(both, ana, "import").secret
    accounts.set_role(both, "ana", "member")
    found = person_of_token(both, secret)
    assert found is not None
    assert not found.may("moderate")
    personal_data.erase(both, found)
    assert person_of_token(both, secret) is None


def test_when_it_was_used_is_written_every_ten_minutes(database: Database) -> None:
    ana = member(database, "ana")
    secret = make(database, ana, "import", at=START).secret
    seen = []
    for minute in (0, 9, 11):
        person_of_token(database, secret, at=START + timedelta(minutes=minute))
        seen.append(tokens.tokens(database, ana, at=START)[0].seen_at)
    assert seen == [START, START, START + timedelta(minutes=11)]


def test_what_no_token_can_be(database: Database) -> None:
    ana = member(database, "ana")
    for name, life in (("", 30), ("  ", 30), ("import", 0), ("import", 367)):
        with pytest.raises(InputError):
            make(database, ana, name, days=life)
    for number in range(tokens.MOST):
        make(database, ana, f"number {number}", at=START)
    with pytest.raises(InputError, match="Revoke one"):
        make(database, ana, "one more", at=START)
    with pytest.raises(InputError, match="Revoke one"):
        make(database, replace(ana), "one more", at=days(89))
    make(database, ana, "one more", at=days(91))  # all the others have ended by themselves
