"""People with an account: who they are, what they may do, what they call themselves.

    ana = add(database, "ana@example.org", role="admin")      # may sign in from now on; verified when she first does
    ana.may("moderate")
    invitation("Foveal", "https://papers.example.org/login")  # what a mail says to whoever was added

Address    kept as people write it, with the domain in lower case and in ASCII (IDNA 2008): `+tags` and capitals before
           the @ are somebody's wish. That form is what mail is sent to, so no two people share one
Login      the name in addresses and beside remarks; made at random, since an address is nobody's business, until the
           person chooses another. What was done under it goes along: whoever takes the one before inherits nothing
Roles      member; curator (the day's papers); moderator (remarks and claims); admin (all, and the roles of others)

Signing in is in `sessions.py`; what is stored of a person, to take away or delete, in `personal_data.py`.
"""

from __future__ import annotations

import re
import secrets
import unicodedata

from sqlalchemy import delete, func, literal, or_, select, update
from sqlalchemy.orm import Session

from foveal.database import Database, next_number
from foveal.errors import InputError, NotAllowed, UnknownName, UnknownPaper
from foveal.papers.mail_addresses import canonical
from foveal.papers.moderation import must, record
from foveal.papers.people_schema import AuditRow, ClosedDiscussionRow, FeedKeyRow, MuteRow
from foveal.papers.person import RIGHTS
from foveal.papers.person import Person as Person
from foveal.papers.schema import ListingRow, PersonRow, PickRow

_LOGIN = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]")
_MADE = "reader-"  # how a login begins that nobody chose
DELETED, GONE = "delete person", "deleted-"
"""What the audit calls a deletion, and how it calls whoever is gone, before the number."""

FEEDS = 2**30
"""First versions of a new person's feed (follows.py), of which one is drawn."""

_TAKEN = frozenset({"admin", "system", "foveal", "moderator", "curator", "deleted", "anonymous", "root", "support"})


def person_of(row: PersonRow) -> Person:
    """The row as a value."""
    return Person(row.id, row.login, row.email, row.name, row.role, row.created_at, row.verified_at)


def find(database: Database, which: str) -> Person:
    """The person with that login or address. UnknownPaper: nobody."""
    with database.reading() as session:
        return person_of(_row(session, which))


def people(database: Database) -> list[Person]:
    """Everybody, by login."""
    with database.reading() as session:
        return [person_of(row) for row in session.scalars(select(PersonRow).order_by(PersonRow.login))]


def add(
    database: Database, address: str, *, login: str = "", name: str = "", role: str = "member", by: Person | None = None
) -> Person:
    """A new person, who signs in by a link to that address; without `by` it is whoever runs the site who adds.

    InputError: address or login is taken, or is none. NotAllowed: `by` is no admin.
    """
    checked_role(role)
    if by is not None:
        must(by, "administer", "People are added by an admin only.")
    email = canonical(address)
    with database.writing() as session:
        if session.scalar(select(PersonRow.id).where(PersonRow.email == email)):
            again = "Its role can be changed" if by else "`foveal admin user role` changes what it may do"
            raise InputError(f"{email} has an account already. {again}.")
        row = new_row(session, email, login=login, name=name)
        row.role = role
        session.flush()
        record(session, by.login if by else "system", "add person", f"person:{row.login}", role)
        return person_of(row)


def invitation(title: str, address: str, by: Person | None = None) -> tuple[str, str]:
    """Subject and text of the mail to somebody who was added; `address` is the page where one signs in."""
    who = f"{by.shown} added you" if by else "You were added"
    return (
        f"You may sign in to {title}",
        f"{who} to {title}. Sign in here, whenever you like, by the address that this mail came to:\n\n"
        f"    {address}\n\n"
        "There is no password: each time a link is mailed to you. If you do not know what this is, do nothing: "
        "nothing else is sent.\n",
    )


def chose_no_name(row: PersonRow) -> bool:
    """Whether nobody, they or whoever added them, said what this person is called."""
    return not row.name and row.login.startswith(_MADE)


def new_row(session: Session, email: str, *, login: str = "", name: str = "") -> PersonRow:
    """A row for a new person, whose number nobody had before; without a login, one that tells nothing."""
    chosen = _free_login(session, login) if login else f"{_MADE}{secrets.token_hex(4)}"
    number = next_number(session, PersonRow.id)
    row = PersonRow(id=number, login=chosen, email=email, name=_shown_name(name))
    session.add(row)
    session.flush()
    # an older copy of the database that was put back knows not who came since: their feed is nobody else's then
    session.add(FeedKeyRow(person_id=row.id, version=1 + secrets.randbelow(FEEDS)))
    return row


def rename(database: Database, person: Person, *, login: str, name: str) -> Person:
    """Take another login and name; all that was done goes along. InputError: it is taken or not usable."""
    with database.writing() as session:
        row = session.get_one(PersonRow, person.id)
        if login.strip().lower() != row.login:
            before, row.login = row.login, _free_login(session, login)
            _carry_over(session, before, row.login)
        row.name = _shown_name(name)
        return person_of(row)


def set_role(database: Database, which: str, role: str, *, by: Person | None = None) -> Person:
    """Give somebody a role; without `by` it is whoever runs the site.

    NotAllowed: `by` is no admin, or the site would be left without one.
    """
    checked_role(role)
    if by is not None:
        must(by, "administer", "Roles are given by an admin only.")
    with database.writing() as session:
        admins = admins_now(session)
        row = _row(session, which)
        if role != "admin" and admins == [row.id]:
            raise NotAllowed(f"{row.login} is the only admin. Make somebody else one first.")
        if row.role != role:
            record(session, by.login if by else "system", "set role", f"person:{row.login}", f"{row.role} -> {role}")
            row.role = role
        return person_of(row)


def admins_now(session: Session) -> list[int]:
    """Who is an admin, and stays it until the transaction ends: of two who stop being one at once, one is the last.

    Ask before any other row of a person is held: who asks waits for all of these.
    """
    wanted = select(PersonRow.id).where(PersonRow.role == "admin").order_by(PersonRow.id)
    return list(session.scalars(wanted.with_for_update(key_share=True)))


def checked_role(role: str) -> str:
    """The role. UnknownName: there is none of that name."""
    if role not in RIGHTS:
        raise UnknownName(f"No role is called {role[:40]!r}. There are: {', '.join(RIGHTS)}.")
    return role


def name_in_audit(session: Session, before: str, after: str) -> None:
    """Let all lines of the audit that name a login name another."""
    session.execute(update(AuditRow).where(AuditRow.actor == before).values(actor=after))
    session.execute(update(AuditRow).where(AuditRow.target == f"person:{before}").values(target=f"person:{after}"))
    begins = func.substr(AuditRow.detail, 1, len(before) + 1) == f"{before} "
    claims = update(AuditRow).where(AuditRow.action.in_(("grant claim", "refuse claim", "reopen claim")), begins)
    session.execute(claims.values(detail=literal(after) + func.substr(AuditRow.detail, len(before) + 1)))


def spellings(login: str) -> tuple[str, str]:
    """How a login stands in tables that have no number of a person."""
    return login, f"@{login}"


def _carry_over(session: Session, before: str, after: str) -> None:
    """What stands under a login, under another; a listing without @ is by somebody of another site."""
    listed = update(ListingRow).where(ListingRow.submitted_by == f"@{before}")
    session.execute(listed.values(submitted_by=f"@{after}"))
    picked = update(PickRow).where(PickRow.picked_by.in_(spellings(before)))
    session.execute(picked.values(picked_by=f"@{after}"))
    closed = update(ClosedDiscussionRow).where(ClosedDiscussionRow.closed_by.in_(spellings(before)))
    session.execute(closed.values(closed_by=after))
    muted = MuteRow.words == f"@{before}"
    both = select(MuteRow.person_id).where(MuteRow.words == f"@{after}")
    session.execute(delete(MuteRow).where(muted, MuteRow.person_id.in_(both)))
    session.execute(update(MuteRow).where(muted).values(words=f"@{after}"))
    name_in_audit(session, before, after)


def _row(session: Session, which: str) -> PersonRow:
    email = canonical(which) if "@" in which else ""
    row = session.scalar(select(PersonRow).where(or_(PersonRow.login == which.lower(), PersonRow.email == email)))
    if row is None:
        raise UnknownPaper(f"Nobody here is called {which[:80]!r}. `foveal admin user list` shows who is.")
    return row


def _free_login(session: Session, given: str) -> str:
    login = given.strip().lower()
    offices = login in _TAKEN or login.startswith(GONE)
    if not _LOGIN.fullmatch(login) or "--" in login or offices:
        raise InputError(
            f"{given[:60]!r} cannot be a login. It needs 2 to 40 letters a-z, digits and single hyphens, a letter "
            "first, and may not look like an office."
        )
    if session.scalar(select(PersonRow.id).where(PersonRow.login == login)):
        raise InputError(f"The login {login} is taken. Choose another.")
    return login


def _shown_name(given: str) -> str:
    """A name without what could turn a line of text around or hide in it. InputError: it holds =?."""
    kept = "".join(c for c in unicodedata.normalize("NFC", given) if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    if "=?" in kept:  # begins an encoded word of mail (RFC 2047): another text, line breaks in it too
        raise InputError(f"{kept[:60]!r} cannot be a name: it holds =?, behind which mail hides text. Leave =? out.")
    return " ".join(kept.split())[:80]
