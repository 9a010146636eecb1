"""Records into the database, so that the same record twice changes nothing.

    upsert(database, records, fetched=Fetched(source="arxiv", url=…))       # one transaction, fetch included

Same paper   by its id; where a record has none, or the stored paper has none yet, by its title
Versions     a higher one replaces the words and keeps what it replaced; a lower one only fills what is empty
Trust        of two sources of one version, the words of the better one hold (`TRUST`); what is empty fills any of them
Kept         votes, comments, listings, collections: no record touches them
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from foveal.database import Database
from foveal.papers.people_schema import ClosedDiscussionRow, DeliveryPaperRow, ReadMarkRow
from foveal.papers.records import PaperRecord, name_key, title_key
from foveal.papers.schema import (
    AuthorRow,
    CategoryRow,
    CollectedRow,
    CommentRow,
    EditionRow,
    FetchRow,
    KeywordRow,
    LinkRow,
    ListingRow,
    OrganisationRow,
    PaperRow,
    PickRow,
    StarSampleRow,
    VoteRow,
    now,
)

TRUST = {"arxiv": 3, "arxiv-feed": 2, "oai": 2, "hf": 1, "library": 1, "pasted": 0}
"""Whose words hold; a source that is not here counts as 1."""

WORDS = ("title", "abstract", "published_at", "updated_at")
"""Fields that the better source decides."""

FACTS = (
    "comment",
    "journal_ref",
    "doi",
    "licence",
    "url",
    "project_url",
    "repo_url",
    "thumbnail",
)
"""Fields that any source fills; a later one that says something else replaces it if it is trusted as much."""

REMEMBERED = 200
"""Papers that a transaction keeps in memory."""

_CHILDREN = (ListingRow, VoteRow, CollectedRow, ReadMarkRow, ClosedDiscussionRow, PickRow)
"""Rows of a paper whose key holds its id."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A request that was made, to be recorded beside what came of it."""

    source: str
    url: str
    status: int = 200
    etag: str = ""
    last_modified: str = ""
    sha256: str = ""
    error: str = ""


@dataclass
class Upserted:
    """Ids of papers, by what was done with them."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)

    def __iadd__(self, other: Upserted) -> Upserted:
        self.added += other.added
        self.updated += other.updated
        self.unchanged += other.unchanged
        return self


def upsert(database: Database, records: Iterable[PaperRecord], *, fetched: Fetched | None = None) -> Upserted:
    """Store the records and the fetch that they came by, all or nothing."""
    given = list(records)
    done = Upserted()
    with database.writing() as session:
        for number, record in enumerate(given):
            if number % REMEMBERED == 0:
                session.expunge_all()  # all is flushed; what is remembered makes each flush slower
            row, is_new = _row_of(session, record)
            changed = _apply(session, row, record, is_new=is_new)
            session.flush()
            (done.added if is_new else done.updated if changed else done.unchanged).append(row.id)
        if fetched is not None:
            session.add(FetchRow(**fetched.__dict__, **{k: len(set(v)) for k, v in done.__dict__.items()}))
    return done


def _row_of(session: Session, record: PaperRecord) -> tuple[PaperRow, bool]:
    """The paper's row, and whether it is new."""
    key = title_key(record.title)
    if record.id and (row := session.get(PaperRow, record.id)):
        return row, False
    same = session.scalars(select(PaperRow).where(PaperRow.title_key == key).order_by(PaperRow.created_at)).all()
    if not record.id and same:
        return same[0], False
    provisional = next((row for row in same if row.id.startswith("title-")), None)
    row = PaperRow(id=record.id or f"title-{key}", title=record.title, title_key=key, version=0)
    session.add(row)
    session.flush()
    if provisional is not None:
        _move(session, provisional, row)
        return row, False
    return row, True


def _move(session: Session, old: PaperRow, new: PaperRow) -> None:
    """Give the new row what people did with the old one, and drop the old one."""
    for table in (*_CHILDREN, CommentRow, DeliveryPaperRow):
        session.execute(update(table).where(table.paper_id == old.id).values(paper_id=new.id))
    for name in ("votes_elsewhere", "comments_elsewhere", "organisation_id", "author_count", "source", *WORDS, *FACTS):
        setattr(new, name, getattr(old, name))
    session.flush()
    session.execute(delete(PaperRow).where(PaperRow.id == old.id))
    session.expire_all()


def _apply(session: Session, row: PaperRow, record: PaperRecord, *, is_new: bool) -> bool:
    """Bring the row up to the record; whether anything changed."""
    before = _state(row)
    newer = record.version > row.version
    better = TRUST.get(record.source, 1) >= TRUST.get(row.source, 1)
    words_hold = newer or (record.version == row.version and better)
    if newer and row.version:
        session.add(
            EditionRow(
                paper_id=row.id, version=row.version, title=row.title, abstract=row.abstract, updated_at=row.updated_at
            )
        )
    for name in WORDS:
        _fill(row, name, getattr(record, name), over=words_hold)
    for name in FACTS:
        _fill(row, name, getattr(record, name), over=better and not newer < (record.version < row.version))
    if words_hold:
        row.version, row.source = record.version, record.source
        row.title_key = title_key(row.title)
        row.withdrawn = record.withdrawn
    _counts(row, record)
    _people(row, record, over=words_hold)
    _subjects(row, record, over=words_hold)
    _summary(row, record)
    _links(row, record)
    if record.organisation:
        row.organisation_id = _organisation(session, record.organisation)
    _listed(row, record)
    _stars(session, row, record)
    session.flush()
    changed = is_new or _state(row) != before
    if changed:
        row.changed_at = now()
    return changed


def _fill(row: PaperRow, name: str, value: object, *, over: bool) -> None:
    if value not in (None, "") and (over or getattr(row, name) in (None, "")):
        setattr(row, name, value)


def _counts(row: PaperRow, record: PaperRecord) -> None:
    """Counts of other sites: the last that was told."""
    row.votes_elsewhere = (row.votes_elsewhere or 0) if record.votes is None else max(0, record.votes)
    row.comments_elsewhere = (row.comments_elsewhere or 0) if record.comments is None else max(0, record.comments)


def _people(row: PaperRow, record: PaperRecord, *, over: bool) -> None:
    told = record.author_count if record.author_count is not None else len(record.authors)
    if record.authors and (over or not row.authors):
        known = {(author.position, author.name): author for author in row.authors}
        row.authors = [
            known.get((position, one.name))
            or AuthorRow(position=position, name=one.name, name_key=name_key(one.name), affiliation=one.affiliation)
            for position, one in enumerate(record.authors)
        ]
    if over or not row.authors:
        row.author_count = max(len(row.authors), told or row.author_count or 0)


def _subjects(row: PaperRow, record: PaperRecord, *, over: bool) -> None:
    if record.categories and (over or not row.categories):
        known = {one.name: one for one in row.categories}
        names = list(dict.fromkeys(record.categories))
        row.categories = [known.get(name) or CategoryRow(name=name) for name in names]
        for position, one in enumerate(row.categories):
            one.position = position
        row.primary_category = names[0]


def _summary(row: PaperRow, record: PaperRecord) -> None:
    """A summary and keywords that came with the record; those that are there already stay."""
    if record.summary and not row.summary:
        row.summary, row.summary_model = record.summary, record.summary_model
    if record.keywords and not row.keywords:
        words = dict.fromkeys(word.strip()[:120] for word in record.keywords if word.strip())
        row.keywords = [
            KeywordRow(position=position, words=word, model=record.summary_model) for position, word in enumerate(words)
        ]


def _links(row: PaperRow, record: PaperRecord) -> None:
    known = {link.url for link in row.links}
    row.links += [
        LinkRow(url=link.url, kind=link.kind, title=link.title, source=record.source)
        for link in record.links
        if link.url not in known
    ]


def _organisation(session: Session, name: str) -> str:
    key = name_key(name)[:80]
    if session.get(OrganisationRow, key) is None:
        session.add(OrganisationRow(id=key, name=name.strip()))
        session.flush()
    return key


def _listed(row: PaperRow, record: PaperRecord) -> None:
    if record.listed_on and record.listed_on not in {listing.day for listing in row.listings}:
        row.listings.append(ListingRow(day=record.listed_on, submitted_by=record.submitted_by[:80]))


def _stars(session: Session, row: PaperRow, record: PaperRecord) -> None:
    if record.repo_stars is not None and row.repo_url:
        record_stars(session, row.repo_url, record.repo_stars, datetime.now(UTC))


def record_stars(session: Session, repo_url: str, stars: int, at: datetime) -> None:
    """The stars of a repository, seen at a time: one sample a day, and the count on its papers."""
    day = at.astimezone(UTC).date()
    session.merge(StarSampleRow(repo_url=repo_url[:200], day=day, stars=stars))
    session.execute(update(PaperRow).where(PaperRow.repo_url == repo_url).values(repo_stars=stars, stars_seen_at=at))


def _state(row: PaperRow) -> Sequence[object]:
    """All that a record may change."""
    return (
        *(getattr(row, name) for name in (*WORDS, *FACTS)),
        row.version,
        row.votes_elsewhere,
        row.comments_elsewhere,
        row.summary,
        row.organisation_id,
        row.withdrawn,
        row.author_count,
        tuple(one.name for one in row.authors),
        tuple(one.name for one in row.categories),
        tuple(one.words for one in row.keywords),
        tuple(sorted(one.url for one in row.links)),
        tuple(one.day for one in row.listings),
    )
