"""All that is stored of a person: to take away as JSON, and to delete.

    export(database, ana)                               # {"account": {…}, "votes": […], …}
    held(database, ana)                                 # {"votes": 12, "remarks": 3, …}: how much there is
    erase(database, ana, remarks="keep")                # remarks stay, as of a deleted account; all else goes

Deleted    the account, sessions, tokens, links, votes, ratings, follows, read marks, mutes, claims, reports to the
           moderators, that documents were added by them, collections, runs of research and watched questions (which
           `research.runs` and `research.watches` export), and the mail subscriptions of the address, with what waits to
           be sent; the name beside papers listed or picked, and discussions closed
Stays      remarks without their author (`remarks="remove"` takes their words, too); lines of the audit, which then say
           deleted-<number>; addresses that must not be written to any more, since a complaint outlives an account
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import delete, func, inspect, or_, select, update
from sqlalchemy.orm import Session

from foveal.database import Base, Database, keep_numbers
from foveal.errors import InputError, NotAllowed, UnknownPaper
from foveal.papers.accounts import DELETED, GONE, Person, admins_now, name_in_audit, spellings
from foveal.papers.moderation import must, record
from foveal.papers.people_schema import (
    AdditionRow,
    AuditRow,
    ClaimRow,
    ClosedDiscussionRow,
    CommentVoteRow,
    ComplaintRow,
    DeliveryPaperRow,
    DeliveryRow,
    FollowRow,
    LoginLinkRow,
    MuteRow,
    NoteRow,
    ReadMarkRow,
    SessionRow,
    SubscriptionRow,
    SuppressedRow,
    TokenRow,
)
from foveal.papers.schema import (
    AuthorRow,
    CollectedRow,
    CollectionRow,
    CommentRow,
    ListingRow,
    PersonRow,
    PickRow,
    VoteRow,
    now,
)

_OF_PERSON: dict[str, type[Base]] = {
    "sessions": SessionRow,
    "tokens": TokenRow,
    "votes": VoteRow,
    "remarks": CommentRow,
    "remark_ratings": CommentVoteRow,
    "follows": FollowRow,
    "read_marks": ReadMarkRow,
    "muted_words": MuteRow,
    "claims": ClaimRow,
    "reports_to_moderators": ComplaintRow,
    "documents_added": AdditionRow,
    "author_places": AuthorRow,
    "collections": CollectionRow,
}
"""Tables with `person_id`, by their name in the export."""

_SECRET = frozenset({"token_hash", "confirm_hash", "unsubscribe_hash", "browser_hash", "seed"})
"""Columns that are no data of the person, and of use to a thief."""


def export(database: Database, person: Person) -> dict[str, Any]:
    """All that is stored of a person, as values that JSON can hold."""
    with database.reading() as session:
        account = session.get_one(PersonRow, person.id)
        told: dict[str, Any] = {"made_at": now().isoformat(), "account": _plain(account)}
        for name, table in _OF_PERSON.items():
            told[name] = _rows(session, table, table.__table__.c.person_id == person.id)
        collections = select(CollectionRow.id).where(CollectionRow.person_id == person.id)
        collected = or_(CollectedRow.collection_id.in_(collections), CollectedRow.person_id == person.id)
        subscriptions = select(SubscriptionRow.id).where(_subscribed(person))
        told["collected_papers"] = _rows(session, CollectedRow, collected)
        told["links_to_sign_in"] = _rows(session, LoginLinkRow, LoginLinkRow.email == person.email)
        told["subscriptions"] = _rows(session, SubscriptionRow, _subscribed(person))
        told["deliveries"] = _rows(session, DeliveryRow, DeliveryRow.subscription_id.in_(subscriptions))
        sent = select(DeliveryRow.id).where(DeliveryRow.subscription_id.in_(subscriptions))
        told["papers_sent"] = _rows(session, DeliveryPaperRow, DeliveryPaperRow.delivery_id.in_(sent))
        told["changes_told"] = _rows(session, NoteRow, NoteRow.subscription_id.in_(subscriptions))
        told["not_written_to"] = _rows(session, SuppressedRow, SuppressedRow.address_key == person.email)
        told["submitted"] = _rows(session, ListingRow, ListingRow.submitted_by == f"@{account.login}")
        told["picked"] = _rows(session, PickRow, PickRow.picked_by.in_(spellings(account.login)))
        closed = ClosedDiscussionRow.closed_by.in_(spellings(account.login))
        told["closed_discussions"] = _rows(session, ClosedDiscussionRow, closed)
        about = or_(AuditRow.actor == account.login, AuditRow.target == f"person:{account.login}")
        told["audit"] = _rows(session, AuditRow, about)
    return told


def held(database: Database, person: Person) -> dict[str, int]:
    """How many rows there are of a person, by their names in the export; what there is none of is left out."""
    wanted: dict[str, Any] = {name: table.__table__.c.person_id == person.id for name, table in _OF_PERSON.items()}
    wanted |= {"subscriptions": _subscribed(person), "not_written_to": SuppressedRow.address_key == person.email}
    with database.reading() as session:
        found = {name: session.scalar(select(func.count()).where(condition)) or 0 for name, condition in wanted.items()}
    return {name: count for name, count in found.items() if count}


def erase(database: Database, person: Person, *, remarks: str = "keep", by: Person | None = None) -> None:
    """Delete a person and what is theirs; their remarks stay without a name ("keep") or without words ("remove").

    `by` is the admin who does it; None: the person, or whoever runs the site. InputError: another word for `remarks`.
    NotAllowed: `by` is no admin, or the person the only admin of a site that others use. UnknownPaper: they are gone.
    """
    if by is not None:
        must(by, "administer", "People are deleted by an admin only.")
    if remarks not in ("keep", "remove"):
        raise InputError(
            f"Remarks can be kept without a name (keep) or lose their words (remove), not {remarks[:40]!r}."
        )
    with database.writing() as session:
        _not_the_last_admin(session, person)
        if remarks == "remove":
            own = update(CommentRow).where(CommentRow.person_id == person.id)
            session.execute(own.values(raw="", html="", hidden_at=func.coalesce(CommentRow.hidden_at, now())))
        claimed = update(AuthorRow).where(AuthorRow.person_id == person.id)
        session.execute(claimed.values(person_id=None, status="none"))
        session.execute(delete(LoginLinkRow).where(LoginLinkRow.email == person.email))
        session.execute(delete(SubscriptionRow).where(_subscribed(person)))
        _unnamed(session, person)
        keep_numbers(session, PersonRow.id)
        session.execute(delete(PersonRow).where(PersonRow.id == person.id))
        actor = "system" if by is None or by.id == person.id else by.login
        record(session, actor, DELETED, f"person:{GONE}{person.id}", f"remarks: {remarks}")


def _not_the_last_admin(session: Session, person: Person) -> None:
    admins = admins_now(session)
    row = session.get(PersonRow, person.id, with_for_update=True)  # of two who delete it one is late
    if row is None:
        raise UnknownPaper(f"{person.login} is not here any more.")
    others = session.scalar(select(func.count()).where(PersonRow.id != person.id)) or 0
    if others and admins == [person.id]:
        raise NotAllowed(f"{row.login} is the only admin here. Make somebody else one first.")


def _unnamed(session: Session, person: Person) -> None:
    """Listings, picks, closed discussions, the audit and what others muted without the login the person has by now.

    What they put on lists of others stays there, without their note.
    """
    login = session.scalar(select(PersonRow.login).where(PersonRow.id == person.id)) or person.login
    session.execute(update(ListingRow).where(ListingRow.submitted_by == f"@{login}").values(submitted_by=""))
    session.execute(update(PickRow).where(PickRow.picked_by.in_(spellings(login))).values(picked_by=""))
    closed = update(ClosedDiscussionRow).where(ClosedDiscussionRow.closed_by.in_(spellings(login)))
    session.execute(closed.values(closed_by=""))
    session.execute(delete(MuteRow).where(MuteRow.words == f"@{login}"))
    session.execute(update(CollectedRow).where(CollectedRow.person_id == person.id).values(note=""))
    name_in_audit(session, login, f"{GONE}{person.id}")


def _subscribed(person: Person) -> Any:
    return or_(SubscriptionRow.person_id == person.id, SubscriptionRow.address_key == person.email)


def _rows(session: Session, table: type[Base], condition: Any) -> list[dict[str, Any]]:
    ordered = select(table).where(condition).order_by(*inspect(table).primary_key)
    return [_plain(row) for row in session.scalars(ordered)]


def _plain(row: Base) -> dict[str, Any]:
    """A row as JSON holds it, without secrets."""
    columns = (column.key for column in row.__table__.columns if column.key not in _SECRET)
    return {name: _value(getattr(row, name)) for name in columns}


def _value(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value
