"""Signing in without a password: a link by mail, used once, opens a session of 30 days in one browser.

    link = request_link(database, address, next_path="/papers", ip=ip, browser=browser)     # mail link.token
    signed = use_link(database, token, browser=browser)                                     # a cookie: signed.token
    found = session_of(database, cookie)                                                    # on every request

Kept       links and sessions as SHA-256 only: a stolen database signs nobody in
A link     15 minutes, once, and only until the next one is asked for. Looking at it (`peek`) changes nothing, since
           programs that scan mail open every link. Which of used, old and unknown a link is, nobody is told
Elsewhere  in another browser than the one that asked, the address has to be typed: a link that was stolen or forwarded
           is of no use alone, and nobody is signed in to the account of a stranger by a link that was sent to them
Sign-up    is the same act: an unknown address gets an account when its first link is used, unless the site is closed;
           then nothing is sent, and nothing said either
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from foveal.database import Database, rows_changed
from foveal.errors import InputError
from foveal.papers.accounts import Person, chose_no_name, new_row, person_of
from foveal.papers.mail_addresses import canonical
from foveal.papers.people_schema import LoginLinkRow, SessionRow
from foveal.papers.rate_limits import LINK_TRIES, LINKS_OF_ADDRESS, LINKS_OF_IP, forget_idle, network_of, take
from foveal.papers.schema import PersonRow, now
from foveal.papers.secrets import hash_of

LINK_LIFE = timedelta(minutes=15)
SESSION_LIFE = timedelta(days=30)
SEEN_EVERY = timedelta(minutes=10)
"""How exactly it is kept when a session was last used; not every request writes."""

UNUSABLE = "This link was used, is older than 15 minutes, or a newer one took its place. Ask for another one."


@dataclass(frozen=True)
class Link:
    """A link that was asked for: `send` is False where the site is closed and nobody has that address."""

    address: str
    token: str
    send: bool


@dataclass(frozen=True)
class Peeked:
    """A link that can be used: for which address, in the browser that asked for it or in another."""

    address: str
    same_browser: bool


@dataclass(frozen=True)
class SignedIn:
    """A session that was just opened; `token` goes into the cookie, and is kept nowhere else.

    `is_new`: they sign in for the first time, and nobody said what they are called.
    """

    token: str
    person: Person
    is_new: bool
    next_path: str


@dataclass(frozen=True)
class OpenSession:
    """A browser in which a person is signed in."""

    id: int
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    agent: str
    ip: str


def local_path(given: str | None, fallback: str = "/") -> str:
    """`given` where it is a path of this site and can be nothing else in any browser; else `fallback`."""
    text = given or ""
    plain = text.isascii() and text.isprintable() and " " not in text and "\\" not in text and len(text) <= 500
    if not plain or not text.startswith("/") or text.startswith("//"):
        return fallback
    parts = urlsplit(text)
    odd = parts.scheme or parts.netloc or re.search(r"//|/\.{1,2}(/|$)", parts.path)
    return fallback if odd else text


def request_link(
    database: Database,
    address: str,
    *,
    next_path: str = "/",
    ip: str = "",
    browser: str = "",
    open_to_all: bool = True,
    sharing: int = 1,
    at: datetime | None = None,
) -> Link:
    """A new link for an address; those before it stop working. `sharing` people may come from `ip`.

    The same work is done whether anybody has the address or not. InputError: it is no address. TooMany: too often.
    """
    moment = at or now()
    email = canonical(address)
    take(database, LINKS_OF_IP.times(sharing), network_of(ip), at=moment)
    take(database, LINKS_OF_ADDRESS, email, at=moment)
    token = secrets.token_urlsafe(32)
    with database.writing() as session:
        forget_old(session, moment)
        known = session.scalar(select(PersonRow.id).where(PersonRow.email == email)) is not None
        session.execute(delete(LoginLinkRow).where(LoginLinkRow.email == email, LoginLinkRow.used_at.is_(None)))
        session.add(
            LoginLinkRow(
                email=email,
                token_hash=hash_of(token),
                created_at=moment,
                expires_at=moment + LINK_LIFE,
                next_path=local_path(next_path),
                ip=ip[:45],
                browser_hash=hash_of(browser),
            )
        )
    return Link(email, token, send=known or open_to_all)


def peek(database: Database, token: str, *, browser: str = "", at: datetime | None = None) -> Peeked | None:
    """What a link would do, None if nothing; changes nothing."""
    with database.reading() as session:
        row = session.scalar(_usable(token, at or now()))
    return row and Peeked(row.email, _same(row, browser))


def use_link(
    database: Database,
    token: str,
    *,
    browser: str = "",
    typed: str = "",
    agent: str = "",
    ip: str = "",
    at: datetime | None = None,
) -> SignedIn:
    """Sign in by a link; `typed` is the address, which another browser than the asking one has to give.

    InputError: the link is used, old or unknown, or the address is not the one it was sent to. TooMany: after five.
    """
    moment = at or now()
    with database.reading() as session:
        row = session.scalar(_usable(token, moment))
    if row is None:
        raise InputError(UNUSABLE)
    if not _same(row, browser):
        take(database, LINK_TRIES, row.token_hash, at=moment)
        if not hmac.compare_digest(canonical(typed).encode(), row.email.encode()):
            raise InputError("This link was sent to another address. Type the one that got it.")
    with database.writing() as session:
        used = update(LoginLinkRow).where(LoginLinkRow.id == row.id, LoginLinkRow.used_at.is_(None))
        if rows_changed(session, used.values(used_at=moment)) != 1:
            raise InputError(UNUSABLE)
        person = session.scalar(select(PersonRow).where(PersonRow.email == row.email))
        person = person or new_row(session, row.email)
        is_new = person.verified_at is None and chose_no_name(person)
        person.verified_at = person.verified_at or moment
        key = _opened(session, person, agent=agent, ip=ip, moment=moment)
        return SignedIn(key, person_of(person), is_new, row.next_path)


def session_of(database: Database, token: str, *, at: datetime | None = None) -> tuple[Person, int] | None:
    """Who is signed in by that cookie, and the session's number; None: nobody."""
    moment = at or now()
    wanted = (
        select(SessionRow, PersonRow)
        .join(PersonRow, PersonRow.id == SessionRow.person_id)
        .where(SessionRow.token_hash == hash_of(token), SessionRow.expires_at > moment)
    )
    with database.reading() as session:
        found = session.execute(wanted).one_or_none()
    if found is None:
        return None
    row, person = found
    if moment - row.seen_at > SEEN_EVERY:
        with database.writing() as session:
            session.execute(update(SessionRow).where(SessionRow.id == row.id).values(seen_at=moment))
    return person_of(person), row.id


def sessions(database: Database, person: Person, *, at: datetime | None = None) -> list[OpenSession]:
    """Where a person is signed in, the last used first."""
    wanted = (
        select(SessionRow)
        .where(SessionRow.person_id == person.id, SessionRow.expires_at > (at or now()))
        .order_by(SessionRow.seen_at.desc(), SessionRow.id)
    )
    with database.reading() as session:
        rows = session.scalars(wanted).all()
    return [OpenSession(r.id, r.created_at, r.seen_at, r.expires_at, r.agent, r.ip) for r in rows]


def sign_out(database: Database, person: Person, which: int | None = None, *, but: int | None = None) -> None:
    """End one session of a person, or all of them (`but` one)."""
    ending = delete(SessionRow).where(SessionRow.person_id == person.id)
    if which is not None:
        ending = ending.where(SessionRow.id == which)
    if but is not None:
        ending = ending.where(SessionRow.id != but)
    with database.writing() as session:
        session.execute(ending)


def forget_old(session: Session, moment: datetime) -> None:
    """Drop links of yesterday, sessions that ended, and buckets that are full again."""
    session.execute(delete(LoginLinkRow).where(LoginLinkRow.expires_at < moment - timedelta(days=1)))
    session.execute(delete(SessionRow).where(SessionRow.expires_at < moment))
    forget_idle(session, moment)


def _usable(token: str, moment: datetime) -> Any:
    return select(LoginLinkRow).where(
        LoginLinkRow.token_hash == hash_of(token), LoginLinkRow.used_at.is_(None), LoginLinkRow.expires_at > moment
    )


def _same(row: LoginLinkRow, browser: str) -> bool:
    return bool(browser) and hmac.compare_digest(row.browser_hash, hash_of(browser))


def _opened(session: Session, person: PersonRow, *, agent: str, ip: str, moment: datetime) -> str:
    """A new session; its token."""
    token = secrets.token_urlsafe(32)
    session.add(
        SessionRow(
            person_id=person.id,
            token_hash=hash_of(token),
            created_at=moment,
            seen_at=moment,
            expires_at=moment + SESSION_LIFE,
            agent=agent[:200],
            ip=ip[:45],
        )
    )
    return token
