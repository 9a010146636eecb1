"""The papers of a home: what a page or a command asks for, as plain values.

    store = PaperStore(Database.open(Settings.load()))
    store.page(Period.of("day", "2026-10-02"), sort="votes").papers
    store.get("2605.01234"); store.many(ids); store.latest_day()

Writing is done elsewhere: records by `upserts.py`, votes and remarks of people by `people.py`. Orders that need more
than a column (trending and the formulas of other sites) are in `ranking.py`; search is in `paper_search.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from foveal import faults
from foveal.database import Database
from foveal.errors import InputError, UnknownPaper
from foveal.papers.former_ids import led_to
from foveal.papers.periods import Period
from foveal.papers.records import OURS, TITLED, name_key, paper_id
from foveal.papers.schema import (
    AuthorRow,
    CategoryRow,
    CollectedRow,
    CommentRow,
    KeywordRow,
    LinkRow,
    ListingRow,
    OrganisationRow,
    PaperRow,
    RemovedRow,
    TopicRow,
    VoteRow,
)
from foveal.text.dates import EARLIEST

PAGE = 50
"""Papers of a page."""

MOST = 200
"""Papers that one page may hold."""

SORTS = ("votes", "published", "listed", "discussed")
"""Orders that the database knows; a collection has one more, `added`: what was put there last comes first."""


@dataclass(frozen=True)
class Author:
    """An author as shown; `status` is none, claimed, claimed_verified or hidden."""

    name: str
    key: str  # in an address
    affiliation: str = ""
    status: str = "none"
    person_id: int | None = None


@dataclass(frozen=True)
class Link:
    """Something that belongs to a paper."""

    kind: str
    url: str
    title: str
    source: str = ""  # "person": added here


@dataclass(frozen=True)
class Listing:
    """A day on which a paper was shown."""

    day: date
    listed_at: datetime
    submitted_by: str
    position: int | None


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper as a page shows it."""

    id: str
    version: int
    title: str
    abstract: str
    published_at: datetime | None
    updated_at: datetime | None
    changed_at: datetime
    authors: tuple[Author, ...]
    author_count: int
    categories: tuple[str, ...]
    comment: str
    journal_ref: str
    doi: str
    licence: str
    url: str
    project_url: str
    repo_url: str
    repo_stars: int | None
    organisation: str
    organisation_id: str | None
    summary: str
    summary_model: str
    keywords: tuple[str, ...]
    links: tuple[Link, ...]
    listings: tuple[Listing, ...]
    thumbnail: str
    source: str
    withdrawn: bool
    votes: int  # of people here
    votes_elsewhere: int
    comments: int  # of people here, not hidden
    comments_elsewhere: int

    @property
    def named_authors(self) -> tuple[Author, ...]:
        """Those that may be named: all that are not hidden."""
        return tuple(author for author in self.authors if author.status != "hidden")

    @property
    def is_arxiv(self) -> bool:
        """Whether the id is arXiv's."""
        return not self.id.startswith(("doc-", "title-"))

    @property
    def page_url(self) -> str:
        """Where the paper stands for itself; "" where nothing is known."""
        return f"https://arxiv.org/abs/{self.id}" if self.is_arxiv else self.url

    @property
    def pdf_url(self) -> str:
        """The PDF of an arXiv paper, else ""."""
        return f"https://arxiv.org/pdf/{self.id}v{self.version}" if self.is_arxiv else ""

    @property
    def all_votes(self) -> int:
        """Votes here and elsewhere."""
        return self.votes + self.votes_elsewhere

    @property
    def all_comments(self) -> int:
        """Remarks here and elsewhere."""
        return self.comments + self.comments_elsewhere

    @property
    def listed_on(self) -> date | None:
        """The first day that showed it."""
        return self.listings[0].day if self.listings else None


@dataclass(frozen=True)
class PaperPage:
    """Some of the papers that fit, and how many fit."""

    papers: tuple[Paper, ...]
    total: int
    page: int
    limit: int

    @property
    def pages(self) -> int:
        """Pages in all."""
        return -(-self.total // self.limit)


class PaperStore:
    """Reads the papers of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def get(self, which: str) -> Paper:
        """The paper with that id or address. InputError: that is no id, or of several. UnknownPaper: it is not here."""
        return self.many([self.id_of(which)])[0]

    def id_of(self, which: str) -> str:
        """The id of a paper that is here. Of one that is our own (title-…) its first digits are enough, as in lists.

        One that a paper had before an archive's was known leads to it: mails and bookmarks have it still.
        """
        given = paper_id(which)
        last = given + "f" * 32 if given.startswith(OURS) else given  # after it in every collation, as LIKE is in none
        with self.database.reading() as session:
            found = session.scalars(select(PaperRow.id).where(PaperRow.id.between(given, last)).limit(2)).all()
            gone = None if found else session.scalar(select(RemovedRow).where(RemovedRow.paper_id.between(given, last)))
            if not found and gone is None and given.startswith(TITLED):
                found, gone = led_to(session, given, last)
        if len(found) > 1:
            raise InputError(f"Several papers have an id that begins with {given}. Give more of it.")
        if gone is not None:
            other = f" as another entry of {gone.same_as}" if gone.same_as else ""
            raise UnknownPaper(f"The paper {gone.paper_id} was removed here on {gone.removed_at:%Y-%m-%d}{other}.")
        if not found:
            raise UnknownPaper(f"The paper {which[:80]} is not here. `foveal papers update` fetches what is new.")
        return found[0]

    def many(self, ids: Sequence[str]) -> list[Paper]:
        """The papers with these ids, in their order; those that are not here are left out."""
        if not ids:
            return []
        with self.database.reading() as session:
            return papers_of(session, ids)

    def page(
        self,
        period: Period | None = None,
        *,
        sort: str = "votes",
        page: int = 0,
        limit: int = PAGE,
        category: str | None = None,
        author: str | None = None,
        organisation: str | None = None,
        keyword: str | None = None,
        submitter: str | None = None,
        collection: int | None = None,
        with_code: bool = False,
    ) -> PaperPage:
        """Papers listed in `period` (None: all), those that fit the filters, in an order of `SORTS`.

        A collection has the order `added`, too. `author` is a name or its key; a category ending in `.*` takes all
        below it. InputError: no such order, page or limit.
        """
        _check(sort, page, limit, collection)
        wanted = select(PaperRow.id)
        listed = _listed(period, submitter)
        if listed:
            wanted = wanted.where(PaperRow.id.in_(select(ListingRow.paper_id).where(*listed)))
        for table, condition in _filters(category, author, keyword, collection):
            wanted = wanted.where(PaperRow.id.in_(select(table.paper_id).where(condition)))
        if organisation:
            wanted = wanted.where(PaperRow.organisation_id == name_key(organisation)[:80])
        if with_code:
            wanted = wanted.where(PaperRow.repo_url != "")
        with self.database.reading() as session:
            total = session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
            ids = list(session.scalars(_ordered(wanted, sort, period, collection).offset(page * limit).limit(limit)))
            return PaperPage(tuple(papers_of(session, ids)), total, page, limit)

    def all_of(self, period: Period | None = None, *, sort: str = "votes") -> Iterator[Paper]:
        """All papers of a period, a page at a time."""
        page = 0
        while found := self.page(period, sort=sort, page=page, limit=MOST).papers:
            yield from found
            page += 1

    def latest_day(self, today: date | None = None) -> date | None:
        """The last day that has papers, of those from EARLIEST to `today`: none to come, whatever a source wrote."""
        last = today or faults.now().date()
        wanted = select(func.max(ListingRow.day)).where(ListingRow.day.between(EARLIEST, last))
        with self.database.reading() as session:
            return session.scalar(wanted)

    def first_day(self) -> date | None:
        """The first day that has papers; what lies before EARLIEST is no day."""
        with self.database.reading() as session:
            return session.scalar(select(func.min(ListingRow.day)).where(ListingRow.day >= EARLIEST))

    def days(self, first: date, last: date) -> dict[date, int]:
        """Day -> number of papers listed, for the days that have any."""
        counted = (
            select(ListingRow.day, func.count())
            .where(ListingRow.day.between(first, last))
            .group_by(ListingRow.day)
            .order_by(ListingRow.day)
        )
        with self.database.reading() as session:
            return {row[0]: row[1] for row in session.execute(counted)}

    def count(self) -> int:
        """Papers here."""
        with self.database.reading() as session:
            return session.scalar(select(func.count()).select_from(PaperRow)) or 0

    def categories(self) -> dict[str, int]:
        """Category -> number of papers, the largest first."""
        counted = (
            select(CategoryRow.name, func.count())
            .group_by(CategoryRow.name)
            .order_by(func.count().desc(), CategoryRow.name)
        )
        with self.database.reading() as session:
            return {row[0]: row[1] for row in session.execute(counted)}

    def topics(self) -> list[TopicRow]:
        """Searches that have a name, in their order."""
        with self.database.reading() as session:
            return list(session.scalars(select(TopicRow).order_by(TopicRow.position, TopicRow.id)))

    def changed_since(self, moment: datetime | None, *, limit: int | None = None) -> list[tuple[str, datetime]]:
        """Ids of papers that were added or changed after `moment`, with when, the earliest first."""
        wanted = select(PaperRow.id, PaperRow.changed_at).order_by(PaperRow.changed_at, PaperRow.id).limit(limit)
        if moment is not None:
            wanted = wanted.where(PaperRow.changed_at > moment)
        with self.database.reading() as session:
            return [(paper, at) for paper, at in session.execute(wanted)]

    def part(self, first: int, limit: int) -> list[tuple[str, datetime]]:
        """So many ids from place `first` on, with when each last changed, by id: what changes meanwhile shifts none."""
        wanted = select(PaperRow.id, PaperRow.changed_at).order_by(PaperRow.id).offset(first).limit(limit)
        with self.database.reading() as session:
            return [(paper, at) for paper, at in session.execute(wanted)]

    def organisation(self, which: str) -> str:
        """The whole name of an organisation. UnknownPaper: none of its papers is here."""
        with self.database.reading() as session:
            row = session.get(OrganisationRow, name_key(which)[:80])
        if row is None:
            raise UnknownPaper(f"No paper here is from {which[:80]!r}.")
        return row.name


def papers_of(session: Session, ids: Sequence[str]) -> list[Paper]:
    """The papers with these ids, in their order, with what people did; those that are not here are left out.

    Columns, no mapped objects: a page holds fifty papers with some three hundred rows of their parts.
    """
    parts = {name: _parts(session, wanted, made, ids) for name, (wanted, made) in _PARTS.items()}
    found = {}
    for row in session.execute(_PAPERS.where(PaperRow.id.in_(ids))):
        values: dict[str, Any] = row._asdict()
        values["organisation"] = values["organisation"] or ""
        values |= {name: tuple(of.get(row.id, ())) for name, of in parts.items()}
        found[row.id] = Paper(**values)
    return [found[one] for one in ids if one in found]


_VOTES = select(func.count()).where(VoteRow.paper_id == PaperRow.id)
_REMARKS = select(func.count()).where(CommentRow.paper_id == PaperRow.id, CommentRow.hidden_at.is_(None))

_PAPERS = select(
    *(PaperRow.__table__.c[name] for name in Paper.__dataclass_fields__ if name in PaperRow.__table__.c),
    OrganisationRow.name.label("organisation"),
    _VOTES.scalar_subquery().label("votes"),
    _REMARKS.scalar_subquery().label("comments"),
).outerjoin(OrganisationRow, OrganisationRow.id == PaperRow.organisation_id)

_PARTS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "authors": (
        select(
            AuthorRow.paper_id,
            AuthorRow.name,
            AuthorRow.name_key,
            AuthorRow.affiliation,
            AuthorRow.status,
            AuthorRow.person_id,
        ).order_by(AuthorRow.position),
        Author,
    ),
    "categories": (select(CategoryRow.paper_id, CategoryRow.name).order_by(CategoryRow.position), str),
    "keywords": (select(KeywordRow.paper_id, KeywordRow.words).order_by(KeywordRow.position), str),
    "links": (
        select(LinkRow.paper_id, LinkRow.kind, LinkRow.url, LinkRow.title, LinkRow.source).order_by(LinkRow.url),
        Link,
    ),
    "listings": (
        select(
            ListingRow.paper_id, ListingRow.day, ListingRow.listed_at, ListingRow.submitted_by, ListingRow.position
        ).order_by(ListingRow.day),
        Listing,
    ),
}
"""What a paper has several of: the question, its first column the paper, and what the others make."""


def _parts(session: Session, wanted: Any, made: Callable[..., Any], ids: Sequence[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for paper, *values in session.execute(wanted.where(wanted.selected_columns[0].in_(ids))):
        found[paper].append(made(*values))
    return found


def _listed(period: Period | None, submitter: str | None) -> list[Any]:
    """Conditions on one and the same listing: who submitted a paper in May did not list it in June."""
    found: list[Any] = []
    if period is not None:
        found.append(ListingRow.day.between(period.first, period.last))
    if submitter:
        found.append(ListingRow.submitted_by.in_((submitter, f"@{submitter}")))  # @: a login of here
    return found


def _filters(
    category: str | None, author: str | None, keyword: str | None, collection: int | None
) -> list[tuple[Any, Any]]:
    """A table with `paper_id`, and the condition on it, for each filter that is given."""
    found: list[tuple[Any, Any]] = []
    if category and category.endswith(".*"):
        found.append((CategoryRow, CategoryRow.name.startswith(category[:-1], autoescape=True)))
    elif category:
        found.append((CategoryRow, CategoryRow.name == category))
    if author:
        found.append((AuthorRow, (AuthorRow.name_key == name_key(author)) & (AuthorRow.status != "hidden")))
    if keyword:
        found.append((KeywordRow, func.lower(KeywordRow.words) == keyword.lower()))
    if collection is not None:
        found.append((CollectedRow, CollectedRow.collection_id == collection))
    return found


def _ordered(wanted: Select[Any], sort: str, period: Period | None, collection: int | None = None) -> Select[Any]:
    """The curator's order first, on a day that has one; ties by id."""
    if sort == "added":
        in_it = CollectedRow.paper_id == PaperRow.id, CollectedRow.collection_id == collection
        return wanted.order_by(select(CollectedRow.position).where(*in_it).scalar_subquery().desc(), PaperRow.id)
    listed = select(func.max(ListingRow.listed_at)).where(ListingRow.paper_id == PaperRow.id).scalar_subquery()
    by = {
        "votes": (_VOTES.scalar_subquery() + PaperRow.votes_elsewhere).desc(),
        "discussed": (_REMARKS.scalar_subquery() + PaperRow.comments_elsewhere).desc(),
        "published": PaperRow.published_at.desc().nulls_last(),
        "listed": listed.desc().nulls_last(),
    }[sort]
    if period is not None and period.kind == "day" and sort == "votes":
        place = select(ListingRow.position).where(ListingRow.paper_id == PaperRow.id, ListingRow.day == period.first)
        return wanted.order_by(place.scalar_subquery().asc().nulls_last(), by, PaperRow.id)
    return wanted.order_by(by, PaperRow.id)


def _check(sort: str, page: int, limit: int, collection: int | None) -> None:
    sorts = SORTS if collection is None else (*SORTS, "added")
    if sort not in sorts:
        raise InputError(f"No order is called {sort!r}. There are: {', '.join(sorts)}.")
    if page < 0 or not 1 <= limit <= MOST:
        raise InputError(
            f"A page of papers got page={page}, limit={limit}; it needs a page of 0 or more, 1 to {MOST} each."
        )
