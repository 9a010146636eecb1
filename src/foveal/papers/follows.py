"""What a person follows, has read, and does not want to see; and the feed that comes of it.

    follow(database, ana, "author", "Léa Martin"); mute(database, ana, "survey")
    following(database, ana, search=ids_of)              # papers of the last 30 days, each with why it is there

Kinds      topic (a search that has a name here), author, organisation, category (cs.CL; cs.* is all below it), query
Search     topics and queries ask `search(query, k)`, which gives ids: whatever search the site has
Muted      a paper is out of sight where its title or abstract holds the words, whole, in any case (of a script without
           blanks between words: anywhere)
Feed       a feed reader has no cookie: the address of the feed holds a token, derived from the home's secret and a
           version that is drawn (accounts.new_row) and the person can raise, so that nothing secret is stored
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from foveal.database import Database, add_unless_taken
from foveal.errors import InputError, UnknownName, UnknownPaper
from foveal.evaluation.scripts import UNSPACED_RANGES
from foveal.papers.accounts import Person, person_of
from foveal.papers.known import must_be_here
from foveal.papers.paper_filters import parse
from foveal.papers.people_schema import FeedKeyRow, FollowRow, MuteRow, ReadMarkRow
from foveal.papers.records import name_key
from foveal.papers.schema import AuthorRow, CategoryRow, ListingRow, OrganisationRow, PaperRow, PersonRow, TopicRow, now
from foveal.papers.store import Paper, PaperStore

KINDS = ("topic", "author", "organisation", "category", "query")
MOST = 200
"""Things that one person may follow, and mute."""

SEARCHED, MOST_SEARCHED = ("topic", "query"), 20
"""Kinds that are searched for each time that somebody looks, and how many of these one person may follow."""

SINCE = timedelta(days=30)
"""How far back a feed goes."""

FOUND = 100
"""Papers that a query or topic is asked for."""

Search = Callable[[str, int], Sequence[str]]

_UNPARTED = re.compile(f"[{UNSPACED_RANGES}]")
"""A letter of a script whose words no blank parts."""


@dataclass(frozen=True)
class Follow:
    """Something followed: `value` is its id, key or words; `title` is what a page calls it."""

    kind: str
    value: str
    title: str


@dataclass(frozen=True)
class Followed:
    """A paper of the feed: when it was last listed, why it is there, and whether it was read."""

    paper: Paper
    day: date
    at: datetime
    because: tuple[Follow, ...]
    read: bool


def follow(database: Database, person: Person, kind: str, value: str, *, on: bool = True) -> Follow:
    """Follow something, or stop.

    UnknownName: no such kind. UnknownPaper: no such topic. InputError: nothing, too much, a filter that is none.
    """
    if kind not in KINDS:
        raise UnknownName(f"{kind[:40]!r} cannot be followed. There are: {', '.join(KINDS)}.")
    if on and kind == "query":
        parse(value)  # a filter that is none would fail each time that somebody looks
    with database.writing() as session:
        key = _key(session, kind, value, known=on)  # of a topic that was taken away one can stop
        row = session.get(FollowRow, (person.id, kind, key))
        if on and row is None:
            _room(session, FollowRow, person)
            if kind in SEARCHED:
                _room_to_search(session, person)
            add_unless_taken(session, FollowRow(person_id=person.id, kind=kind, value=key))
        elif not on and row is not None:
            session.delete(row)
        return titled(session, [(kind, key)])[0]


def follows(database: Database, person: Person) -> list[Follow]:
    """What a person follows, by kind and title."""
    with database.reading() as session:
        return _follows(session, person)


def is_followed(database: Database, person: Person, kind: str, value: str) -> bool:
    """Whether a person follows that. InputError, UnknownPaper: it is nothing to follow."""
    with database.reading() as session:
        return session.get(FollowRow, (person.id, kind, _key(session, kind, value))) is not None


def mute(database: Database, person: Person, words: str, *, on: bool = True) -> None:
    """Keep papers with these words out of sight, or no longer. InputError: no words, or too many."""
    plain = " ".join(words.casefold().split())
    if not re.search(r"\w", plain) or len(plain) > 120:
        raise InputError(f"{words[:60]!r} cannot be muted. Give a word or a few, up to 120 characters.")
    with database.writing() as session:
        row = session.get(MuteRow, (person.id, plain))
        if on and row is None:
            _room(session, MuteRow, person)
            add_unless_taken(session, MuteRow(person_id=person.id, words=plain))
        elif not on and row is not None:
            session.delete(row)


def mutes(database: Database, person: Person) -> list[str]:
    """The words that a person muted."""
    with database.reading() as session:
        return list(
            session.scalars(select(MuteRow.words).where(MuteRow.person_id == person.id).order_by(MuteRow.words))
        )


def is_muted(paper: Paper, words: Iterable[str]) -> bool:
    """Whether title or abstract hold any of the words."""
    return holds(f"{paper.title} {paper.abstract}", words)


def holds(text: str, words: Iterable[str]) -> bool:
    """Whether a text has any of the muted words, whole, in any case: on pages, in feeds and in mails alike."""
    pattern = "|".join(map(_whole, words))
    return bool(pattern) and re.search(pattern, _plain(text)) is not None


def _plain(text: str) -> str:
    """In any case, and however accents are stored."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split())


@lru_cache(maxsize=4096)  # a page asks for each of its papers
def _whole(words: str) -> str:
    """The pattern of muted words that are no part of others; of a script without blanks any place will do."""
    plain = _plain(words)
    before = "" if _UNPARTED.match(plain) else r"(?<!\w)"
    after = "" if _UNPARTED.match(plain[-1:]) else r"(?!\w)"
    return f"{before}{re.escape(plain)}{after}"


def unmuted(database: Database, person: Person | None, papers: Sequence[Paper]) -> list[Paper]:
    """The papers without those whose words the person muted: for every list that a person looks at."""
    words = mutes(database, person) if person else []
    if not words:
        return list(papers)
    return [paper for paper in papers if not is_muted(paper, words)]


def mark_read(database: Database, person: Person, paper: str, *, on: bool = True) -> None:
    """Mark a paper as read, or as not read. UnknownPaper: it is not here."""
    with database.writing() as session:
        must_be_here(session, paper)
        row = session.get(ReadMarkRow, (person.id, paper))
        if on and row is None:
            add_unless_taken(session, ReadMarkRow(person_id=person.id, paper_id=paper))
        elif not on and row is not None:
            session.delete(row)


def read_marks(database: Database, person: Person | None, papers: Sequence[str]) -> frozenset[str]:
    """Those of the papers that the person has read."""
    if person is None or not papers:
        return frozenset()
    wanted = select(ReadMarkRow.paper_id).where(ReadMarkRow.person_id == person.id, ReadMarkRow.paper_id.in_(papers))
    with database.reading() as session:
        return frozenset(session.scalars(wanted))


def following(
    database: Database,
    person: Person,
    *,
    search: Search,
    limit: int = 50,
    at: datetime | None = None,
    unread_only: bool = False,
) -> list[Followed]:
    """Papers of what the person follows, listed in the last 30 days, the last first; muted ones left out.

    Of topics and queries the first `MOST_SEARCHED` are asked for.
    """
    moment = at or now()
    days = (moment - SINCE).astimezone(UTC).date(), moment.astimezone(UTC).date()
    why: dict[str, list[Follow]] = defaultdict(list)
    with database.reading() as session:
        wanted = _follows(session, person)
        searched = [one for one in wanted if one.kind in SEARCHED][:MOST_SEARCHED]  # there may be more, from before
        queries = {one: _query(session, one) for one in searched}
        for one in wanted:
            for paper in [] if one.kind in SEARCHED else session.scalars(_papers_of(one, days)):
                why[paper].append(one)
        marked = frozenset(session.scalars(select(ReadMarkRow.paper_id).where(ReadMarkRow.person_id == person.id)))
    for one, query in queries.items():  # no transaction is open while searching
        with suppress(InputError):  # a filter that is none, followed or made a topic when that was not looked at
            for paper in search(query, FOUND):
                why[paper].append(one)
    newest = [one for one in _newest(database, list(why), days) if not (unread_only and one[0] in marked)]
    words = mutes(database, person)
    kept: list[Followed] = []
    for start in range(0, len(newest), limit):  # as many as it takes where much is muted
        listed = {paper: (day, at) for paper, day, at in newest[start : start + limit]}
        seen = (paper for paper in PaperStore(database).many(list(listed)) if not is_muted(paper, words))
        kept += (Followed(one, *listed[one.id], tuple(why[one.id]), one.id in marked) for one in seen)
        if len(kept) >= limit:
            break
    return kept[:limit]


def listed_since(database: Database, papers: Sequence[str], since: datetime) -> bool:
    """Whether any of the papers was listed at that time or later."""
    with database.reading() as session:
        for start in range(0, len(papers), 500):
            some = ListingRow.paper_id.in_(papers[start : start + 500])
            if session.scalar(select(ListingRow.paper_id).where(some, ListingRow.listed_at >= since).limit(1)):
                return True
    return False


def feed_token(database: Database, person: Person, secret: bytes) -> str:
    """What stands in the address of the person's feed."""
    with database.reading() as session:
        return _token(person.id, _version(session, person.id), secret)


def renew_feed(database: Database, person: Person) -> None:
    """Give the feed another address; the one before leads nowhere."""
    with database.writing() as session:
        version = _version(session, person.id)
        if session.get(FeedKeyRow, person.id) is None:
            add_unless_taken(session, FeedKeyRow(person_id=person.id, version=version))
        session.get_one(FeedKeyRow, person.id).version = version + 1


def person_of_feed(database: Database, token: str, secret: bytes) -> Person:
    """Whose feed that is. UnknownPaper: nobody's, or no longer."""
    number = re.match(r"[0-9]{1,9}(?=-)", token)
    with database.reading() as session:
        person = session.get(PersonRow, int(number[0])) if number else None
        if person is None or not _same(_token(person.id, _version(session, person.id), secret), token):
            raise UnknownPaper("There is no such feed, or it has another address now.")
        return person_of(person)


def _version(session: Session, person: int) -> int:
    row = session.get(FeedKeyRow, person)
    return row.version if row else 1


def _token(person: int, version: int, secret: bytes) -> str:
    signed = hmac.new(secret, f"feed:{person}:{version}".encode(), hashlib.sha256)
    return f"{person}-{signed.hexdigest()[:40]}"


def _same(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode(), theirs.encode("utf-8", "surrogatepass"))


def _key(session: Session, kind: str, value: str, *, known: bool = True) -> str:
    """How the followed thing is kept. InputError: empty, or too long. UnknownPaper: no such topic here."""
    plain = " ".join(value.split())
    if not re.search(r"\w", plain) or len(plain) > 200:
        raise InputError(f"{value[:60]!r} cannot be followed: give a name or words, up to 200 characters.")
    if kind == "topic" and known and session.get(TopicRow, plain) is None:
        raise UnknownPaper(f"No topic here is called {plain[:80]!r}.")
    if kind in ("author", "organisation"):
        return name_key(plain)[: 80 if kind == "organisation" else 120]
    return plain


def _room(session: Session, table: type[FollowRow] | type[MuteRow], person: Person) -> None:
    count = session.scalar(select(func.count()).select_from(table).where(table.person_id == person.id)) or 0
    if count >= MOST:
        raise InputError(f"That would be more than {MOST}. Take one away first.")


def _room_to_search(session: Session, person: Person) -> None:
    searched = FollowRow.person_id == person.id, FollowRow.kind.in_(SEARCHED)
    if (session.scalar(select(func.count()).select_from(FollowRow).where(*searched)) or 0) >= MOST_SEARCHED:
        raise InputError(f"You follow {MOST_SEARCHED} topics and searches, as many as can be. Take one away first.")


def _follows(session: Session, person: Person) -> list[Follow]:
    wanted = select(FollowRow.kind, FollowRow.value).where(FollowRow.person_id == person.id)
    found = titled(session, [(kind, value) for kind, value in session.execute(wanted)])
    return sorted(found, key=lambda one: (KINDS.index(one.kind), one.title.casefold()))


def titled(session: Session, things: Sequence[tuple[str, str]]) -> list[Follow]:
    """Things followed, (kind, value) each, with what a page calls them, in few questions."""
    titles: dict[tuple[str, str], str] = {}

    def keys(kind: str) -> list[str]:
        return [value for one, value in things if one == kind]

    for topic in session.scalars(select(TopicRow).where(TopicRow.id.in_(keys("topic")))):
        titles["topic", topic.id] = topic.title
    for organisation in session.scalars(select(OrganisationRow).where(OrganisationRow.id.in_(keys("organisation")))):
        titles["organisation", organisation.id] = organisation.name
    names = select(AuthorRow.name_key, func.min(AuthorRow.name)).where(AuthorRow.name_key.in_(keys("author")))
    for key, name in session.execute(names.group_by(AuthorRow.name_key)):
        titles["author", key] = name
    return [Follow(kind, value, titles.get((kind, value), value)) for kind, value in things]


def _query(session: Session, one: Follow) -> str:
    topic = session.get(TopicRow, one.value) if one.kind == "topic" else None
    return topic.query if topic else one.value


def _papers_of(one: Follow, days: tuple[date, date]) -> Select[str]:
    recent = select(ListingRow.paper_id).where(ListingRow.day.between(*days))
    if one.kind == "organisation":
        return select(PaperRow.id).where(PaperRow.organisation_id == one.value, PaperRow.id.in_(recent))
    if one.kind == "author":
        named = AuthorRow.name_key == one.value, AuthorRow.status != "hidden"
        return select(AuthorRow.paper_id).where(*named, AuthorRow.paper_id.in_(recent))
    category = CategoryRow.name == one.value
    if one.value.endswith(".*"):
        category = CategoryRow.name.startswith(one.value[:-1], autoescape=True)
    return select(CategoryRow.paper_id).where(category, CategoryRow.paper_id.in_(recent)).distinct()


def _newest(database: Database, ids: Sequence[str], days: tuple[date, date]) -> list[tuple[str, date, datetime]]:
    """Those of the papers that were listed on these days, the last first, each with its last day and when."""
    last = func.max(ListingRow.day), func.max(ListingRow.listed_at)
    found: list[tuple[str, date, datetime]] = []
    with database.reading() as session:
        for start in range(0, len(ids), 500):
            some = ListingRow.paper_id.in_(ids[start : start + 500]), ListingRow.day.between(*days)
            wanted = select(ListingRow.paper_id, *last).where(*some).group_by(ListingRow.paper_id)
            found += [(paper, day, at) for paper, day, at in session.execute(wanted)]
    return sorted(found, key=lambda one: (-one[1].toordinal(), -one[2].timestamp(), one[0]))
