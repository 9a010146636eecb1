"""Lists of papers that a person makes: filled, changed, dropped; at /collections/ID for whoever they let see them.

    which = make(database, ana, "Reads of the week", open=True)        # others may add to it: a list of the group
    put(database, bo, which, "2605.01234", note="Table 3"); put(database, bo, which, "2605.01234", on=False)
    shelves(database, ana, "2605.01234")             # the lists that she may fill, and whether each holds that paper
    placed(database, which, ["2605.01234"])          # who put it there, when, and why
    annotate(database, bo, which, "2605.01234", "Table 4"); annotate(database, bo, which, "2605.01234", "")
    change(database, ana, which, title="…", description="…", public=False); drop(database, ana, which)

Who may    what is public anybody sees; what is open is public, and whoever is signed in adds to it, and takes out what
           they added; its owner and moderators take out anything. Only its owner changes or drops it; a moderator
           hides it
Hidden     a list that one may not see is not there, whether it is or not; the words of a note that a moderator hid
           (notes.py) are told to moderators only, and no others come in their place
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from foveal.database import Database, add_unless_taken, next_number
from foveal.errors import InputError, NotAllowed, UnknownPaper
from foveal.papers.accounts import Person
from foveal.papers.known import must_be_here, one_of_a_person
from foveal.papers.moderation import must, record
from foveal.papers.people_schema import ComplaintRow
from foveal.papers.plain_titles import one_line
from foveal.papers.records import name_key
from foveal.papers.schema import CollectedRow, CollectionRow, PersonRow, now

MOST, MOST_PAPERS = 100, 2_000
TITLE, DESCRIPTION, NOTE = 120, 1_000, 500
"""Characters."""

NONE = "You have no such collection. /collections lists yours, and those of others that you may add to."


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A list: whose, how many papers it has, when the last was added, whether it holds the one that was asked about."""

    id: int
    title: str
    description: str
    public: bool
    open: bool
    person_id: int
    login: str
    by: str  # the owner's name, or login
    count: int
    last: datetime
    holds: bool
    may_take_out: bool = True  # that paper, by whoever asked


@dataclass(frozen=True)
class Placed:
    """How a paper came to a list: by whom ("" of somebody who is gone), when, with what note; in which place."""

    by: str
    login: str
    at: datetime
    note: str
    position: int
    person_id: int | None
    hidden: bool = False  # the note, by a moderator


def shelves(database: Database, person: Person, paper: str = "") -> list[Shelf]:
    """Lists that a person may put papers on, by title: their own, then open ones of others, 200 together.

    Where there are more, those that hold the paper go before others, then what was last added to.
    """
    own = CollectionRow.person_id == person.id
    wanted = _shelf(paper).where(own | (CollectionRow.open & CollectionRow.public))
    columns = wanted.selected_columns
    first = own.desc(), columns["holding"].is_(None), columns["last"].desc(), CollectionRow.id.desc()
    with database.reading() as session:
        found = [_shelf_of(row, person) for row in session.execute(wanted.order_by(*first).limit(2 * MOST))]
    return sorted(found, key=lambda one: (one.person_id != person.id, one.title.lower(), one.id))


def public(database: Database, *, but: Person | None = None, limit: int = MOST) -> list[Shelf]:
    """Lists that anybody sees, the last that was added to first; `but`: without that person's."""
    wanted = _shelf("").where(CollectionRow.public)
    if but is not None:
        wanted = wanted.where(CollectionRow.person_id != but.id)
    last = wanted.selected_columns["last"]
    with database.reading() as session:
        rows = session.execute(wanted.order_by(last.desc(), CollectionRow.id.desc()).limit(limit)).all()
        return [_shelf_of(row, but) for row in rows]


def visible(database: Database, which: int, person: Person | None = None) -> Shelf:
    """A list that is public or the person's. UnknownPaper: there is none of that number, or it is private."""
    with database.reading() as session:
        row = session.execute(_shelf("", which).where(CollectionRow.id == which)).first()
    found = _shelf_of(row, person) if row else None
    if found is None or not (found.public or (person is not None and found.person_id == person.id)):
        raise UnknownPaper(f"No public collection has the number {which}.")
    return found


def placed(
    database: Database, which: int, papers: Sequence[str], *, reader: Person | None = None
) -> Mapping[str, Placed]:
    """How these papers came to a list, as `reader` sees it; one that it does not hold is absent."""
    found = {}
    with database.reading() as session:
        for start in range(0, len(papers), 500):
            some = CollectedRow.collection_id == which, CollectedRow.paper_id.in_(papers[start : start + 500])
            for row in session.execute(_placed().where(*some)):
                found[row[0].paper_id] = _placed_of(row, reader)
    return found


def latest(database: Database, lists: Sequence[int], most: int) -> Mapping[int, Mapping[str, Placed]]:
    """Of each list the `most` papers that were put there last, that one first; an empty list is absent."""
    order = CollectedRow.position.desc(), CollectedRow.paper_id
    nth = func.row_number().over(partition_by=CollectedRow.collection_id, order_by=order).label("nth")
    key = CollectedRow.collection_id, CollectedRow.paper_id
    ranked = select(*key, nth).where(CollectedRow.collection_id.in_(lists)).subquery()
    same = (ranked.c.collection_id == key[0]) & (ranked.c.paper_id == key[1])
    wanted = _placed().join(ranked, same).where(ranked.c.nth <= most).order_by(ranked.c.nth)
    found: dict[int, dict[str, Placed]] = {}
    with database.reading() as session:
        for row in session.execute(wanted):
            found.setdefault(row[0].collection_id, {})[row[0].paper_id] = _placed_of(row)
    return found


def may_take_out(person: Person | None, owner: int, put_by: int | None) -> bool:
    """Whether a person takes a paper out of a list of `owner`, on which `put_by` put it."""
    return person is not None and (person.id in (owner, put_by) or person.may("moderate"))


def make(
    database: Database,
    person: Person,
    title: str,
    *,
    description: str = "",
    public: bool = True,
    open: bool = False,  # noqa: A002
) -> int:
    """A new list; its number. An open one is public.

    InputError: it has no title, too long a description, or there are too many.
    """
    named, about = _title(title), _told(description, DESCRIPTION, "description")
    with database.writing() as session:
        one_of_a_person(session, person.id)
        own = CollectionRow.person_id == person.id
        slugs = set(session.scalars(select(CollectionRow.slug).where(own)))
        if len(slugs) >= MOST:
            raise InputError(f"You have {MOST} collections, which is all that there can be. Drop one first.")
        number = next_number(session, CollectionRow.id)
        row = CollectionRow(id=number, person_id=person.id, slug=_slug(named, slugs), title=named, description=about)
        row.public, row.open = public or open, open
        session.add(row)
        session.flush()
        return row.id


def put(database: Database, person: Person, which: int, paper: str, *, on: bool = True, note: str = "") -> None:
    """Put a paper on a list, or take it off; twice is as once, and a new note stands in the place of one's last.

    UnknownPaper: there is no such list for the person. InputError: the list is full, or the note too long.
    NotAllowed: somebody else put there what is to be taken off, or a moderator hid one's last note.
    """
    why = _told(note, NOTE, "note")
    with database.writing() as session:
        held, row = _locked(session, which), session.get(CollectedRow, (which, paper))
        if held is None or not _reaches(person, held, row, on=on):
            raise UnknownPaper(NONE)
        if not on:
            _take_out(session, person, held, row)
        elif row is not None:
            if why and row.person_id == person.id:
                _annotate(row, why)
        else:
            must_be_here(session, paper)
            there = select(func.count(), func.max(CollectedRow.position)).where(CollectedRow.collection_id == which)
            count, last = session.execute(there).one()
            if count >= MOST_PAPERS:
                raise InputError(f"This collection holds {MOST_PAPERS:,} papers, which is all that it can.")
            place = {"collection_id": which, "paper_id": paper, "position": (last or 0) + 1}
            add_unless_taken(session, CollectedRow(**place, note=why, person_id=person.id))


def annotate(database: Database, person: Person, which: int, paper: str, note: str) -> None:
    """Another note in the place of one's own, or with "" none.

    UnknownPaper: no such list for the person, or the paper is not on it. InputError: it is too long.
    NotAllowed: somebody else put the paper there, or a moderator hid the last note.
    """
    why = _told(note, NOTE, "note")
    with database.writing() as session:
        held, row = _locked(session, which), session.get(CollectedRow, (which, paper))
        if held is None or not (held.public or held.person_id == person.id):
            raise UnknownPaper(NONE)
        if row is None:
            raise UnknownPaper("This collection does not hold the paper. Put it there first.")
        if row.person_id != person.id:
            raise NotAllowed("Somebody else put this paper there: the note is theirs.")
        _annotate(row, why)


def change(
    database: Database,
    person: Person,
    which: int,
    *,
    title: str | None = None,
    description: str | None = None,
    public: bool | None = None,
    open: bool | None = None,  # noqa: A002
) -> None:
    """Other words, or another audience; None: as it is by then. An open list is public, a private one not open.

    InputError: no title, or too long a description.
    """
    named = None if title is None else _title(title)
    about = None if description is None else _told(description, DESCRIPTION, "description")
    with database.writing() as session:
        row = _own(session, person, which)
        row.title = row.title if named is None else named
        row.description = row.description if about is None else about
        row.open = row.open and public is not False if open is None else open
        row.public = row.open or (row.public if public is None else public)


def hide(database: Database, which: int, *, by: Person) -> None:
    """Let nobody but its owner see a list of somebody's, who may show it again, while the audit tells of this.

    NotAllowed: `by` is no moderator. UnknownPaper: there is no such public list.
    """
    must(by, "moderate", "Collections of others are hidden by a moderator only.")
    with database.writing() as session:
        row = _locked(session, which)
        if row is None or not row.public:
            raise UnknownPaper(f"No public collection has the number {which}.")
        row.public = row.open = False
        record(session, by.login, "hide collection", f"collection:{which}", row.title)


def drop(database: Database, person: Person, which: int) -> None:
    """Delete a list; its papers stay where they are."""
    with database.writing() as session:
        row = _own(session, person, which)
        session.execute(delete(CollectedRow).where(CollectedRow.collection_id == row.id))
        session.delete(row)


def _shelf(paper: str, which: int | None = None) -> Select[Any]:
    """Each list with its owner, its papers counted, its last change; whether it holds the paper, who put it there.

    Only the papers of `which` are counted, if it is given.
    """
    counted = select(
        CollectedRow.collection_id, func.count().label("count"), func.max(CollectedRow.added_at).label("last")
    )
    if which is not None:
        counted = counted.where(CollectedRow.collection_id == which)
    counts = counted.group_by(CollectedRow.collection_id).subquery()
    holding = select(CollectedRow.collection_id, CollectedRow.person_id.label("put_by"))
    holds = holding.where(CollectedRow.paper_id == paper).subquery()
    return (
        select(
            CollectionRow,
            PersonRow.login,
            PersonRow.name,
            func.coalesce(counts.c.count, 0).label("count"),
            func.coalesce(counts.c.last, CollectionRow.created_at).label("last"),
            holds.c.collection_id.label("holding"),
            holds.c.put_by,
        )
        .join(PersonRow, PersonRow.id == CollectionRow.person_id)
        .outerjoin(counts, counts.c.collection_id == CollectionRow.id)
        .outerjoin(holds, holds.c.collection_id == CollectionRow.id)
    )


def _shelf_of(row: Any, person: Person | None) -> Shelf:
    one = row[0]
    return Shelf(
        id=one.id,
        title=one.title,
        description=one.description,
        public=one.public,
        open=one.open,
        person_id=one.person_id,
        login=row.login,
        by=row.name or row.login,
        count=row.count,
        last=row.last,
        holds=row.holding is not None,
        may_take_out=may_take_out(person, one.person_id, row.put_by),
    )


def _placed() -> Select[CollectedRow, str, str]:
    """What lies in lists, with who put it there."""
    return select(CollectedRow, PersonRow.name, PersonRow.login).outerjoin(
        PersonRow, PersonRow.id == CollectedRow.person_id
    )


def _placed_of(found: Any, reader: Person | None = None) -> Placed:
    row, name, login = found[:3]
    hidden = row.note_hidden_at is not None and row.note != ""
    seen = not hidden or (reader is not None and reader.may("moderate"))
    told = row.added_at, row.note if seen else "", row.position, row.person_id, hidden
    return Placed(name or login or "", login or "", *told)


def _annotate(row: CollectedRow, words: str) -> None:
    if words and row.note_hidden_at is not None:
        raise NotAllowed("A moderator hid the note that you left there. Ask them before you write another.")
    if words != row.note:
        row.note, row.note_changed_at = words, now()


def _take_out(session: Session, person: Person, held: CollectionRow, row: CollectedRow | None) -> None:
    if row is None:
        return
    if not may_take_out(person, held.person_id, row.person_id):
        raise NotAllowed("Somebody else put this paper there. They, the list's owner and moderators take it out.")
    session.execute(
        delete(ComplaintRow).where(ComplaintRow.collection_id == held.id, ComplaintRow.paper_id == row.paper_id)
    )
    session.delete(row)
    if person.id not in (held.person_id, row.person_id):
        record(session, person.login, "take off collection", f"paper:{row.paper_id}", f"collection {held.id}")


def _reaches(person: Person, held: CollectionRow, row: CollectedRow | None, *, on: bool) -> bool:
    """Whether a person may put something on a list, or (`on` False) knows of what is on it."""
    if held.person_id == person.id or (held.public and held.open):
        return True
    return not on and held.public and row is not None and may_take_out(person, held.person_id, row.person_id)


def _locked(session: Session, which: int) -> CollectionRow | None:
    """The list, which others change after this transaction: two who fill it count what is there one after the other."""
    return session.get(CollectionRow, which, with_for_update=True)


def _own(session: Session, person: Person, which: int) -> CollectionRow:
    row = _locked(session, which)
    if row is None or row.person_id != person.id:
        raise UnknownPaper(NONE)
    return row


def _title(given: str) -> str:
    title = one_line(given)
    if not re.search(r"\w", title) or len(title) > TITLE:
        raise InputError(f"A collection needs a title of 1 to {TITLE} characters; this one has {len(title)}.")
    return title


def _told(given: str, most: int, what: str) -> str:
    told = one_line(given)
    if len(told) > most:
        raise InputError(f"This {what} has {len(told):,} characters; it can have {most:,}.")
    return told


def _slug(title: str, taken: set[str]) -> str:
    """The title as an address has it, with a number where that is taken."""
    first = name_key(title)[:70] or "collection"
    return next(one for n in range(1, MOST + 2) if (one := first if n == 1 else f"{first}-{n}") not in taken)
