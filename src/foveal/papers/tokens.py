"""Tokens by which a program is somebody: made by that person, named, shown once, ended at any time.

    made = make(database, ana, "nightly import", days=90)      # made.secret goes into the program, and is kept nowhere
    found = person_of_token(database, secret)                  # on every request: the person, None for nobody
    tokens(database, ana); revoke(database, ana, made.token.id)

Sent       `Authorization: Bearer foveal_…`, to the addresses below /api/ and /v1/ alone: with a token nobody changes an
           account, nor makes another token
May        what its person may, as they are now; it ends with the account
Kept       as SHA-256, with its first characters, by which its owner tells tokens apart. The prefix lets whoever looks
           for secrets in code find one, and tells ours from what proxies and other clients send as a bearer
Against    sessions.py: browsers, for 30 days, by a link in a mail
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update

from foveal.database import Database
from foveal.errors import InputError, UnknownPaper
from foveal.papers.accounts import Person, person_of
from foveal.papers.moderation import record
from foveal.papers.people_schema import TokenRow
from foveal.papers.rate_limits import CHANGES, take
from foveal.papers.schema import PersonRow, now
from foveal.papers.secrets import hash_of

PREFIX = "foveal_"
SHOWN = len(PREFIX) + 4
"""First characters that stay readable."""

MOST = 20
"""Tokens of one person."""

DAYS, LONGEST = 90, 366
"""Days that a token lives, and may."""

SEEN_EVERY = timedelta(minutes=10)
"""How exactly it is kept when a token was last used; not every request writes."""

KEPT_EXPIRED = timedelta(days=30)
"""How long one that ended by itself is still listed: its owner wonders why a program is refused."""


@dataclass(frozen=True)
class Token:
    """A token, without what makes it one."""

    id: int
    name: str
    begins: str
    created_at: datetime
    expires_at: datetime
    seen_at: datetime | None
    login: str
    expired: bool


@dataclass(frozen=True)
class Made:
    """A token that was just made; `secret` is shown once."""

    secret: str
    token: Token


def make(
    database: Database,
    person: Person,
    name: str,
    *,
    days: int = DAYS,
    by_system: bool = False,
    at: datetime | None = None,
) -> Made:
    """A new token for a person; `by_system`: whoever runs the site made it, which the audit says.

    InputError: no name, a life that is too long, too many tokens. TooMany: too often.
    """
    moment, called = at or now(), " ".join(name.split())[:60]
    if not called or not called.isprintable():
        raise InputError("A token needs a name, by which you know what it is for: 'nightly import'.")
    if not 1 <= days <= LONGEST:
        raise InputError(f"A token lives 1 to {LONGEST} days, not {days}.")
    take(database, CHANGES, f"person:{person.id}", at=moment)
    secret = PREFIX + secrets.token_urlsafe(32)
    with database.writing() as session:
        session.execute(delete(TokenRow).where(TokenRow.expires_at < moment - KEPT_EXPIRED))
        own = select(func.count()).where(TokenRow.person_id == person.id, TokenRow.expires_at > moment)
        if (session.scalar(own) or 0) >= MOST:
            raise InputError(f"You have {MOST} tokens, which is all that there can be. Revoke one that is not used.")
        row = TokenRow(
            person_id=person.id,
            name=called,
            token_hash=hash_of(secret),
            begins=secret[:SHOWN],
            created_at=moment,
            expires_at=moment + timedelta(days=days),
        )
        session.add(row)
        session.flush()
        if by_system:
            record(session, "system", "make token", f"person:{person.login}", called)
        return Made(secret, _token(row, person.login, moment))


def tokens(database: Database, person: Person | None = None, *, at: datetime | None = None) -> list[Token]:
    """The tokens of a person, or of all, the newest first."""
    moment = at or now()
    wanted = (
        select(TokenRow, PersonRow.login)
        .join(PersonRow, PersonRow.id == TokenRow.person_id)
        .where(TokenRow.expires_at > moment - KEPT_EXPIRED)
        .order_by(TokenRow.created_at.desc(), TokenRow.id.desc())
    )
    if person is not None:
        wanted = wanted.where(TokenRow.person_id == person.id)
    with database.reading() as session:
        return [_token(row, login, moment) for row, login in session.execute(wanted)]


def revoke(database: Database, person: Person | None, number: int) -> str:
    """End a token of a person, at once; its name. Without a person whoever runs the site ends anybody's.

    UnknownPaper: they have none of that number.
    """
    wanted = select(TokenRow, PersonRow.login).join(PersonRow, PersonRow.id == TokenRow.person_id)
    wanted = wanted.where(TokenRow.id == number)
    if person is not None:
        wanted = wanted.where(TokenRow.person_id == person.id)
    with database.writing() as session:
        found = session.execute(wanted).one_or_none()
        if found is None:
            raise UnknownPaper(f"There is no token {number} here, or it was revoked already.")
        row, login = found
        name: str = row.name
        session.delete(row)
        if person is None:
            record(session, "system", "revoke token", f"person:{login}", name)
        return name


def person_of_token(database: Database, secret: str, *, at: datetime | None = None) -> Person | None:
    """Who a program is that sends this; None: nobody (any more)."""
    moment = at or now()
    wanted = (
        select(TokenRow.id, TokenRow.seen_at, PersonRow)
        .join(PersonRow, PersonRow.id == TokenRow.person_id)
        .where(TokenRow.token_hash == hash_of(secret), TokenRow.expires_at > moment)
    )
    with database.reading() as session:
        found = session.execute(wanted).one_or_none()
    if found is None:
        return None
    number, seen, person = found
    if seen is None or moment - seen > SEEN_EVERY:
        with database.writing() as session:
            session.execute(update(TokenRow).where(TokenRow.id == number).values(seen_at=moment))
    return person_of(person)


def _token(row: TokenRow, login: str, moment: datetime) -> Token:
    return Token(
        row.id, row.name, row.begins, row.created_at, row.expires_at, row.seen_at, login, row.expires_at <= moment
    )
