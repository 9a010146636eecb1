"""Records into the database, so that the same record twice changes nothing.

    upsert(database, records, fetched=Fetched(source="arxiv", url=…))       # one transaction, fetch included

Same paper   see same_paper.py
Versions     a higher one, told by a source that is trusted as much or reads arXiv itself, replaces the words and keeps
             what it replaced; a lower one only fills what is empty
Trust        of two sources of one version, the words of the better one hold (`TRUST`); what is empty fills any of them.
             A feed that tells of a paper of arXiv is somebody else: it only fills
At once      one transaction at a time stores papers: another one waits for it
Kept         votes, comments, listings, collections: no record touches them. Who claimed an author goes with the name
             when authors are reordered; where the name is gone, a claim that was granted is open again
Refused      what a moderator removed (removing.py): it is counted, and stored by none
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from foveal.database import Database
from foveal.papers import moderation
from foveal.papers.people_schema import ClaimRow
from foveal.papers.records import Named, PaperRecord, name_key, title_key
from foveal.papers.same_paper import FACTS, WORDS, Here, place_of
from foveal.papers.schema import (
    AuthorRow,
    CategoryRow,
    EditionRow,
    FetchRow,
    KeywordRow,
    LinkRow,
    ListingRow,
    OrganisationRow,
    PaperRow,
    PersonRow,
    StarSampleRow,
    now,
)

TRUST = {"arxiv": 3, "arxiv-feed": 2, "oai": 2, "hf": 1, "library": 1, "feed": 0, "pasted": 0}
"""Whose words hold; a source that is not here counts as 1."""

READS_ARXIV = 2
"""Trust from which a source knows of new versions at first hand."""

PERSON = "person"
"""The source of links that somebody added here (linking.py)."""

HELD = {"repo_url": "code", "project_url": "project"}
"""Fields that are a person's where one gave a link of that kind: no source replaces them."""

FEED = "feed"
LONGEST = {"title": 1_000, "abstract": 20_000}
"""Characters that are kept: more is no title, and no abstract."""

LONGEST_ADDRESS = 2_000
"""Bytes of an address that is looked up: one that is longer leads nowhere, and no index of PostgreSQL takes it, which
would cost the papers that come with it, too."""

LONGEST_DOI = 300
"""Characters of a DOI: what is longer is none."""

MOST = 2**31 - 1
"""Of what is counted, as a column of integers holds it."""

_STORING = 7_031_988_412
"""The number of the lock under which a server's papers are stored."""

REMEMBERED = 200
"""Records that are looked up and written at once: what a transaction remembers makes it slower."""


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
    refused: list[str] = field(default_factory=list)  # titles of papers that were removed here

    def __iadd__(self, other: Upserted) -> Upserted:
        self.added += other.added
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.refused += other.refused
        return self

    def counts(self) -> dict[str, int]:
        """As a fetch records them."""
        told = {"added": self.added, "updated": self.updated, "unchanged": self.unchanged}
        return {kind: len(set(ids)) for kind, ids in told.items()}


def upsert(database: Database, records: Iterable[PaperRecord], *, fetched: Fetched | None = None) -> Upserted:
    """Store the records and the fetch that they came by, all or nothing."""
    given = list(map(_clipped, records))
    done = Upserted()
    with database.writing() as session:
        one_at_a_time(session)
        for first in range(0, len(given), REMEMBERED):
            _store(session, given[first : first + REMEMBERED], done)
            session.flush()
            session.expunge_all()
        if fetched is not None:
            session.add(FetchRow(**fetched.__dict__, **done.counts()))
    return done


def one_at_a_time(session: Session) -> None:
    """Let nobody else store papers before this transaction ends, as SQLite does by itself.

    PostgreSQL would let two that read the same papers (a schedule, a command) fail on each other's rows.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_STORING)))


def _store(session: Session, records: Sequence[PaperRecord], done: Upserted) -> None:
    """Bring the rows up to the records; they are written together, a paper that is told of twice in between."""
    here, told = Here(session, records), set[str]()
    for record in records:
        if record.known_only and not here.knows(record):
            continue
        if here.is_removed(record):
            done.refused.append(record.title)
            continue
        row, is_new = here.row_of(record)
        if row.id in told:
            session.flush()
        told.add(row.id)
        changed = _apply(session, row, record, is_new=is_new, unlisted=here.unlisted[row.id])
        here.settle(row)
        (done.added if is_new else done.updated if changed else done.unchanged).append(row.id)


def _clipped(record: PaperRecord) -> PaperRecord:
    long: dict[str, Any] = {
        name: getattr(record, name)[:most] for name, most in LONGEST.items() if len(getattr(record, name)) > most
    }
    doi = record.doi.lower() if len(record.doi) <= LONGEST_DOI else ""  # papers are looked up by it
    if doi != record.doi:
        long["doi"] = doi
    if _is_too_long(record.repo_url):
        long["repo_url"] = ""
    if any(_is_too_long(one.url) for one in record.links):
        long["links"] = tuple(one for one in record.links if not _is_too_long(one.url))
    return replace(record, **long) if long else record


def _is_too_long(address: str) -> bool:
    return len(address.encode("utf-8", "surrogatepass")) > LONGEST_ADDRESS


def _apply(session: Session, row: PaperRow, record: PaperRecord, *, is_new: bool, unlisted: Set[date]) -> bool:
    """Bring the row up to the record; whether anything changed."""
    before = () if is_new else _state(row)
    trust = TRUST.get(record.source, 1)
    better = not row.source or trust >= TRUST.get(row.source, 1)
    newer = record.version > row.version and (better or trust >= READS_ARXIV)
    hearsay = row.source == FEED and trust >= READS_ARXIV  # neither the words nor the version were arXiv's
    elsewhere = record.source == row.source and not newer and _is_elsewhere(row, record)
    fills = record.source == FEED and bool(row.source) and (bool(record.id) or elsewhere)
    words_hold = not fills and (newer or hearsay or (record.version == row.version and better))
    if newer and row.version and not hearsay:
        session.merge(  # there, where a feed had replaced that version
            EditionRow(
                paper_id=row.id, version=row.version, title=row.title, abstract=row.abstract, updated_at=row.updated_at
            )
        )
    for name in WORDS:
        _fill(row, name, getattr(record, name), over=words_hold)
    facts_hold = not fills and better and (hearsay or record.version >= row.version)
    given = {one.kind for one in row.links if one.source == PERSON}
    for name in FACTS:
        stays = (name == "url" and _leads_there(row, record)) or HELD.get(name) in given
        _fill(row, name, getattr(record, name), over=facts_hold and not stays)
    if words_hold:
        row.version, row.source = record.version, record.source
        row.title_key = title_key(row.title)
        row.withdrawn = record.withdrawn
    elif not row.version:  # it was found by its title, and keeps the words that it had
        row.version = record.version
    _counts(row, record)
    _people(session, row, record, over=words_hold)
    _subjects(row, record, over=words_hold)
    _summary(row, record)
    _links(row, record)
    if record.organisation:
        row.organisation_id = _organisation(session, record.organisation)
    _listed(row, record, unlisted)
    _stars(session, row, record)
    changed = is_new or _state(row) != before
    if changed:
        row.changed_at = now()
    return changed


def _fill(row: PaperRow, name: str, value: object, *, over: bool) -> None:
    if value not in (None, "") and (over or getattr(row, name) in (None, "")):
        setattr(row, name, value)


def _is_elsewhere(row: PaperRow, record: PaperRecord) -> bool:
    """Whether a second site lists a paper: of two that word it in other ways none would have the last word."""
    return bool(row.url and record.url) and place_of(row.url or "") != place_of(record.url)


def _leads_there(row: PaperRow, record: PaperRecord) -> bool:
    """Whether the address that is stored will do: of two feeds that differ in it none would have the last word."""
    held = row.url or ""  # None: of a row that is not written yet
    safer = record.url.startswith("https:") and not held.startswith("https:")
    return place_of(held) == place_of(record.url) and not safer


def _counts(row: PaperRow, record: PaperRecord) -> None:
    """Counts of other sites: the last that was told."""
    for name, told in (("votes_elsewhere", record.votes), ("comments_elsewhere", record.comments)):
        setattr(row, name, (getattr(row, name) or 0) if told is None else min(max(0, told), MOST))


def _people(session: Session, row: PaperRow, record: PaperRecord, *, over: bool) -> None:
    told = record.author_count if record.author_count is not None else len(record.authors)
    named = [one for one in record.authors if one.name.strip()]  # an archive may leave a name empty
    if named and (over or not row.authors):
        _name_authors(session, row, named)
    if over or not row.authors:
        row.author_count = max(len(row.authors), min(told or row.author_count or 0, MOST))


def _name_authors(session: Session, row: PaperRow, named: Sequence[Named]) -> None:
    """Give the paper these authors; what is known of a name goes with it, whoever stood at its place before."""
    before, after = _namesakes([one.name_key for one in row.authors]), _namesakes([name_key(one.name) for one in named])
    known = {key: (one.affiliation, one.person_id, one.status) for key, one in zip(before, row.authors, strict=True)}
    rows = {one.position: one for one in row.authors}
    made = []
    for position, (key, one) in enumerate(zip(after, named, strict=True)):
        author = rows.get(position) or AuthorRow(position=position)
        affiliation, person, status = known.get(key, ("", None, "none"))
        author.name, author.name_key, author.affiliation = one.name, key[0], one.affiliation or affiliation
        author.person_id, author.status = person, status
        made.append(author)
    places = {key: position for position, key in enumerate(after)}
    moved = {author.position: places.get(key) for key, author in zip(before, row.authors, strict=True)}
    row.authors = made
    if any(old != new for old, new in moved.items()):
        _move_claims(session, row, moved)


def _namesakes(keys: Sequence[str]) -> list[tuple[str, int, int]]:
    """(key, which of its namesakes, how many there are): where their number changes, nobody knows who is who."""
    count, seen = Counter(keys), Counter[str]()
    found = []
    for key in keys:
        seen[key] += 1
        found.append((key, seen[key], count[key]))
    return found


def _move_claims(session: Session, row: PaperRow, moved: Mapping[int, int | None]) -> None:
    """Take claims along to their names' new places; one that was granted for a name that is gone is open again."""
    for claim in session.scalars(select(ClaimRow).where(ClaimRow.paper_id == row.id)):
        place = moved.get(claim.position)
        if place is not None:
            claim.position = place
        elif claim.state == "granted":
            claim.state, claim.decided_at = "open", None
            login = session.scalars(select(PersonRow.login).where(PersonRow.id == claim.person_id)).one()
            said = f"{login} was author {claim.position + 1}, by a name that is not there any more."
            moderation.record(session, "system", "reopen claim", f"paper:{row.id}", said)


def _subjects(row: PaperRow, record: PaperRecord, *, over: bool) -> None:
    if record.categories and (over or not row.categories):
        known = {one.name: one for one in row.categories}
        names = list(dict.fromkeys(name[:40] for name in record.categories))
        row.categories = [known.get(name) or CategoryRow(name=name) for name in names]
        for position, one in enumerate(row.categories):
            one.position = position
        row.primary_category = names[0]


def _summary(row: PaperRow, record: PaperRecord) -> None:
    """A summary and keywords that came with the record; those that are there already stay."""
    if record.summary and not row.summary:
        row.summary, row.summary_model = record.summary, record.summary_model[:120]
    if record.keywords and not row.keywords:
        words = dict.fromkeys(word.strip()[:120] for word in record.keywords if word.strip())
        row.keywords = [
            KeywordRow(position=position, words=word, model=record.summary_model[:120])
            for position, word in enumerate(words)
        ]


def _links(row: PaperRow, record: PaperRecord) -> None:
    known = {link.url for link in row.links}
    told = {link.url: link for link in record.links if link.url not in known}  # each once: the address is its key
    row.links += [LinkRow(url=url, kind=one.kind, title=one.title, source=record.source) for url, one in told.items()]


def _organisation(session: Session, name: str) -> str:
    key = name_key(name)[:80]
    if session.get(OrganisationRow, key) is None:
        session.add(OrganisationRow(id=key, name=name.strip()))
        session.flush()
    return key


def _listed(row: PaperRow, record: PaperRecord, unlisted: Set[date]) -> None:
    """`unlisted` are days that a curator took it off."""
    if record.source == FEED and (row.listings or unlisted):
        return  # once: a date that is always ahead would list it on every day anew
    day = record.listed_on or (now().date() if record.source == FEED else None)  # no other page would ever show it
    if day and day not in {listing.day for listing in row.listings} | unlisted:
        row.listings.append(ListingRow(day=day, submitted_by=record.submitted_by[:80]))


def _stars(session: Session, row: PaperRow, record: PaperRecord) -> None:
    if record.repo_stars is not None and row.repo_url and record.repo_url in ("", row.repo_url):
        record_stars(session, row.repo_url, record.repo_stars, now())


def record_stars(session: Session, repo_url: str, stars: int, at: datetime) -> None:
    """The stars of a repository, seen at a time: one sample a day, and the count on its papers."""
    one_at_a_time(session)
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
