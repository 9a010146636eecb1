"""What pages ask beside papers: days around an empty one, earlier versions, names behind addresses, lists of addresses.

nearest_days(database, date(2026, 10, 4))       # (Oct 2, Oct 5): the days before and after it that have papers
changes("one old word", "one new word")          # [("=", "one "), ("-", "old "), ("+", "new "), ("=", "word")]
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, case, func, or_, select

from foveal import faults
from foveal.database import Database, add_unless_taken
from foveal.errors import UnknownPaper
from foveal.papers.curating import relist
from foveal.papers.plans import PICTURES, STARS
from foveal.papers.records import name_key
from foveal.papers.schema import (
    AuthorRow,
    CategoryRow,
    CollectedRow,
    CollectionRow,
    EditionRow,
    FetchRow,
    ListingRow,
    OrganisationRow,
    PaperRow,
    PersonRow,
    TopicRow,
    VoteRow,
)

MOST_PAIRS = 90_000
"""Words of one text times words of the other that are compared, which takes a third of a second at worst."""

FAILED_DAYS = 3
"""Days for which a failure is told: whatever is still asked is tried again within one."""

FEED = "feed"
"""The source of which each address is one by itself."""

_WORD = re.compile(r"\s+|(?:\w+|[^\w\s])\s*")
_SENTENCE = re.compile(r"\s+|\S.*?(?:[.!?](?=\s)|$)\s*", re.DOTALL)


@dataclass(frozen=True)
class Edition:
    """An earlier version's words."""

    version: int
    title: str
    abstract: str
    updated_at: datetime | None


@dataclass(frozen=True)
class Collection:
    """A public list that a paper is on."""

    id: int
    title: str
    description: str
    by: str


def nearest_days(database: Database, day: date) -> tuple[date | None, date | None]:
    """The last day before and the first day after `day` that have papers."""
    with database.reading() as session:
        before = session.scalar(select(func.max(ListingRow.day)).where(ListingRow.day < day))
        after = session.scalar(select(func.min(ListingRow.day)).where(ListingRow.day > day))
    return before, after


@dataclass(frozen=True)
class Freshness:
    """When papers were last fetched, and the source that failed since."""

    at: datetime | None
    failed: str
    failed_at: datetime | None


def freshness(database: Database) -> Freshness:
    """The last fetch of papers that worked, and the source whose own last one did not.

    That another source was fetched since mends nothing: of feeds each is one, called by its site. A failure that is
    `FAILED_DAYS` old is of a source that nobody asks any more; a feed that was asked once was a slip of the hand.
    """
    one_of = case((FetchRow.source == FEED, FetchRow.url), else_="")
    latest = select(FetchRow).where(brings_papers()).order_by(FetchRow.id.desc()).limit(1)
    recent = FetchRow.at > faults.now() - timedelta(days=FAILED_DAYS)
    last = select(func.max(FetchRow.id)).where(brings_papers(), recent).group_by(FetchRow.source, one_of)
    last = last.having(or_(FetchRow.source != FEED, func.count() > 1))
    with database.reading() as session:
        good = session.scalar(latest.where(FetchRow.error == ""))
        bad = session.scalar(latest.where(FetchRow.error != "", FetchRow.id.in_(last)))
    at = good.at if good else None
    return Freshness(at, _site_of(bad), bad.at) if bad else Freshness(at, "", None)


def _site_of(fetched: FetchRow) -> str:
    """What a source is called: a feed by its site."""
    if fetched.source != FEED:
        return fetched.source
    try:
        return urlsplit(fetched.url).hostname or fetched.source
    except ValueError:  # http://[
        return fetched.source


def brings_papers() -> ColumnElement[bool]:
    """Whether a fetch was one of papers: not of a repository's stars or a PDF, of which some are always missing."""
    return FetchRow.source.not_in((STARS, PICTURES))


def editions(database: Database, paper_id: str) -> list[Edition]:
    """The versions that later ones replaced, the newest first."""
    wanted = select(EditionRow).where(EditionRow.paper_id == paper_id).order_by(EditionRow.version.desc())
    with database.reading() as session:
        return [Edition(row.version, row.title, row.abstract, row.updated_at) for row in session.scalars(wanted)]


def place_of_day(database: Database, paper_id: str, day: date, votes: int) -> int:
    """Which paper of its day it is by votes here and elsewhere, counted from 1; equal ones share the place."""
    own = select(func.count()).where(VoteRow.paper_id == PaperRow.id).scalar_subquery()
    on_day = select(ListingRow.paper_id).where(ListingRow.day == day, ListingRow.paper_id != paper_id)
    better = select(func.count()).where(PaperRow.id.in_(on_day), own + PaperRow.votes_elsewhere > votes)
    with database.reading() as session:
        return 1 + (session.scalar(better.select_from(PaperRow)) or 0)


def author_name(database: Database, key: str) -> str:
    """The name that most papers here give an author. UnknownPaper: no paper is by anybody of that name."""
    counted = (
        select(AuthorRow.name)
        .where(AuthorRow.name_key == name_key(key), AuthorRow.status != "hidden")
        .group_by(AuthorRow.name)
        .order_by(func.count().desc(), AuthorRow.name)
    )
    with database.reading() as session:
        name = session.scalar(counted.limit(1))
    if name is None:
        raise UnknownPaper(f"No paper here is by {key[:80]!r}.")
    return name


def topic(database: Database, which: str) -> TopicRow:
    """A search that has a name. UnknownPaper: there is none of that name."""
    with database.reading() as session:
        row = session.get(TopicRow, which[:80])
    if row is None:
        raise UnknownPaper(f"No topic here is called {which[:80]!r}. The page /topics lists them.")
    return row


def collections_with(database: Database, paper_id: str, *, limit: int = 8) -> list[Collection]:
    """Public lists that hold a paper."""
    wanted = (
        select(CollectionRow, PersonRow.name, PersonRow.login)
        .join(PersonRow, PersonRow.id == CollectionRow.person_id)
        .join(CollectedRow, CollectedRow.collection_id == CollectionRow.id)
        .where(CollectedRow.paper_id == paper_id, CollectionRow.public)
        .order_by(CollectionRow.id)
        .limit(limit)
    )
    with database.reading() as session:
        return [
            Collection(row.id, row.title, row.description, name or login)
            for row, name, login in session.execute(wanted)
        ]


def has_category(database: Database, name: str) -> bool:
    """Whether any paper here has that subject; "cs.*" is any below cs."""
    fits = CategoryRow.name.startswith(name[:-1], autoescape=True) if name.endswith(".*") else CategoryRow.name == name
    with database.reading() as session:
        return session.scalar(select(CategoryRow.name).where(fits).limit(1)) is not None


def organisations(database: Database, *, limit: int = 60) -> list[tuple[str, str, int]]:
    """(id, name, papers) of those with most papers here."""
    papers = func.count(PaperRow.id)
    wanted = (
        select(OrganisationRow.id, OrganisationRow.name, papers)
        .join(PaperRow, PaperRow.organisation_id == OrganisationRow.id)
        .group_by(OrganisationRow.id, OrganisationRow.name)
        .order_by(papers.desc(), OrganisationRow.name)
        .limit(limit)
    )
    with database.reading() as session:
        return [(one, name, count) for one, name, count in session.execute(wanted)]


def listed_days(database: Database) -> list[date]:
    """All days that have papers, the last first."""
    with database.reading() as session:
        return list(session.scalars(select(ListingRow.day).distinct().order_by(ListingRow.day.desc())))


def list_on(database: Database, paper_id: str, day: date, by: str = "") -> bool:
    """Show a paper on a day's page; False where it stands there already. UnknownPaper: it is not here."""
    with database.writing() as session:
        if session.get(PaperRow, paper_id) is None:
            raise UnknownPaper(f"The paper {paper_id[:80]} is not here.")
        if session.get(ListingRow, (paper_id, day)) is not None:
            return False
        relist(session, paper_id, day)
        return add_unless_taken(session, ListingRow(paper_id=paper_id, day=day, submitted_by=by[:80]))


def changes(old: str, new: str) -> list[tuple[str, str]]:
    """Words that stay ("="), go ("-") and come ("+"), in reading order; the texts come back from them.

    Joined without "+" they are `old`, without "-" `new`. Long texts are compared by sentences, very long ones go and
    come as a whole.
    """
    for pieces in (_WORD, _SENTENCE):
        before, after = pieces.findall(old), pieces.findall(new)
        if len(before) * len(after) <= MOST_PAIRS:
            return _compared(before, after)
    return [("-", old), ("+", new)]


def _compared(before: Sequence[str], after: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for what, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what == "equal":
            found.append(("=", "".join(before[a:b])))
        else:
            found += [(sign, text) for sign, text in (("-", "".join(before[a:b])), ("+", "".join(after[c:d]))) if text]
    return found
