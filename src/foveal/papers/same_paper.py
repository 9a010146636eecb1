"""Which of the papers that are here a record is about, asked for many records at once.

    here = Here(session, records)                  # some hundred of them
    row, is_new = here.row_of(records[0])          # the paper's row; a new one is added
    here.settle(row)                               # once the record is stored: by what it is found from now on

Same paper   by its id; where a record has none, by its address or DOI; where the record or the stored paper has
             neither (a pasted page), by its title. A site that moves to https, or counts where readers come from,
             gives its items other addresses of the same place (`place_of`): with the same title they are the same
             papers. Another version at an address of its own, or another site that lists the paper, gives its DOI
Before       an id that a paper had until an archive's was known leads to it (former_ids.py), and so does one that was
             made of a title which was changed since
DOIs         in lower case (upserts.py), in records and in the database
Removed      what a moderator took away is known by the same rules (`is_removed`), and is no paper any more
Cost         few questions to the database for all records, where each by itself would ask for its row and its parts
"""

from __future__ import annotations

import hashlib
import re
from bisect import insort
from collections import defaultdict
from collections.abc import Sequence
from datetime import date

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from foveal.papers import former_ids
from foveal.papers.people_schema import ClaimRow, ClosedDiscussionRow, ComplaintRow, DeliveryPaperRow, ReadMarkRow
from foveal.papers.records import TITLED, PaperRecord, title_key
from foveal.papers.schema import (
    AuthorRow,
    CategoryRow,
    CollectedRow,
    CommentRow,
    EditionRow,
    FormerRow,
    HeadlineRow,
    KeywordRow,
    LinkRow,
    ListingRow,
    PaperRow,
    PickRow,
    RemovedRow,
    UnlistedRow,
    VoteRow,
    now,
)

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

_CHILDREN = (ListingRow, VoteRow, CollectedRow, ReadMarkRow, ClosedDiscussionRow, PickRow, UnlistedRow)
"""Rows of a paper whose key holds its id."""

_PARTS = (AuthorRow, CategoryRow, KeywordRow, LinkRow, EditionRow, HeadlineRow)
"""What sources tell of a paper, and what models wrote of it, in rows."""

_KEPT = (
    "votes_elsewhere", "comments_elsewhere", "organisation_id", "author_count", "source", "primary_category",
    "repo_stars", "stars_seen_at", "summary", "summary_model",
)  # fmt: skip
"""Fields that go along when a paper gets its id, beside WORDS and FACTS."""


_BEGINNING = re.compile(r"https?://(?:www\.)?", re.IGNORECASE)
_TRACKING = re.compile(r"(?<=[?&])utm_\w{1,40}=[^&#]*&?", re.IGNORECASE)
_PUBMED = re.compile(r"(pubmed\.ncbi\.nlm\.nih\.gov/\d{1,12})/?\?.*", re.IGNORECASE)
"""An item of PubMed's feeds: behind the ? stands when the feed was fetched."""


class Here:
    """The papers that are here, as far as some records may be about them."""

    def __init__(self, session: Session, records: Sequence[PaperRecord]) -> None:
        self._session = session
        self._known: dict[str, tuple[str, str]] = {}  # paper -> key of its title, address
        self._order: dict[str, int] = {}  # in which they were stored
        self._called: defaultdict[tuple[str, str | None], list[str]] = defaultdict(list)
        """By the key of a title and a place, "" for none, None for any: papers, the first stored first."""
        own = {_own_id(record) for record in records}
        asked = or_(PaperRow.id.in_(own), PaperRow.title_key.in_({title_key(record.title) for record in records}))
        columns = select(PaperRow.id, PaperRow.title_key, PaperRow.url).where(asked)
        for paper, key, url in session.execute(columns.order_by(PaperRow.created_at)):
            self._know(paper, key, url)
        self._with_doi: dict[str, list[str]] = {}
        """By a DOI: papers, the first stored first."""
        self._ask_dois(records)
        wanted = own | set(filter(None, map(self._like, records)))
        self._rows = {row.id: row for row in session.scalars(select(PaperRow).where(PaperRow.id.in_(wanted)))}
        self.unlisted: defaultdict[str, set[date]] = defaultdict(set)
        """By paper: the days that a curator took it off."""
        for paper, day in session.execute(
            select(UnlistedRow.paper_id, UnlistedRow.day).where(UnlistedRow.paper_id.in_(wanted | self._known.keys()))
        ):
            self.unlisted[paper].add(day)
        self._removed = set[str]()
        self._removed_of: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        """By the key of a title: papers that were removed, each with its place."""
        self._removed_with = set[tuple[str, bool]]()
        """DOIs of papers that were removed, each with whether an archive gave that one its id."""
        keys = {title_key(record.title) for record in records}
        gone = or_(RemovedRow.paper_id.in_(own), RemovedRow.title_key.in_(keys), RemovedRow.doi.in_(_dois(records)))
        for paper, key, url, doi in session.execute(
            select(RemovedRow.paper_id, RemovedRow.title_key, RemovedRow.url, RemovedRow.doi).where(gone)
        ):
            self._removed.add(paper)
            self._removed_of[key].append((paper, place_of(url)))
            self._removed_with.add((doi, not paper.startswith(TITLED)))

    def knows(self, record: PaperRecord) -> bool:
        """Whether a paper is here under the record's id."""
        return _own_id(record) in self._known

    def is_removed(self, record: PaperRecord) -> bool:
        """Whether the record is about a paper that was removed, and about none that is here."""
        own = _own_id(record)
        if own in self._known or (not record.id and self._like(record)):
            return False
        if own in self._removed or self._is_of_removed_doi(record):
            return True
        if record.id:
            return False
        place = place_of(record.url)
        return any(
            place in ("", there) or (not there and paper.startswith("title-"))
            for paper, there in self._removed_of[title_key(record.title)]
        )

    def _is_of_removed_doi(self, record: PaperRecord) -> bool:
        """An id of an archive's is another paper than one with another such id, whatever DOI they give."""
        named, nameless = ((record.doi, known) in self._removed_with for known in (True, False))
        return bool(record.doi) and (nameless or (named and not record.id))

    def row_of(self, record: PaperRecord) -> tuple[PaperRow, bool]:
        """The paper's row, and whether it is new."""
        own = _own_id(record)
        if own in self._known:
            return self._row(own), False
        if not record.id and (like := self._like(record)):
            return self._row(like), False
        key = title_key(record.title)
        row = PaperRow(id=own, title=record.title, title_key=key, version=0, created_at=now())
        row.authors, row.categories, row.keywords, row.links, row.listings = [], [], [], [], []  # known, not asked for
        self._session.add(row)
        nameless = self._nameless(key) or self._of_doi(record, ours=True)
        self._know(own, key, "")
        self._rows[own] = row
        if not nameless:
            return row, True
        self._session.flush()
        _move(self._session, self._row(nameless), row)
        self.unlisted[own] |= self.unlisted.pop(nameless, set())
        del self._rows[nameless]
        self._forget(nameless)
        return row, False

    def settle(self, row: PaperRow) -> None:
        """Find the paper by what it is called now; an address that its title stood for leads to it still."""
        key, _ = self._known[row.id]
        if key != row.title_key:
            former_ids.retitled(self._session, row, key)
        if self._known[row.id] != (row.title_key, row.url or ""):
            self._forget(row.id)
            self._know(row.id, row.title_key, row.url or "")
        if row.doi and row.id not in (held := self._with_doi.setdefault(row.doi, [])):
            held.append(row.id)

    def _like(self, record: PaperRecord) -> str | None:
        """The paper that a record without id is about, of those with its title."""
        key = title_key(record.title)
        there = next(iter(self._called[key, place_of(record.url) or None]), None)
        return there or self._nameless(key) or self._of_doi(record)

    def _of_doi(self, record: PaperRecord, *, ours: bool = False) -> str | None:
        """The first paper with the record's DOI; `ours`: of those that no archive gave an id."""
        held = self._with_doi.get(record.doi, ()) if record.doi else ()
        return next((one for one in held if one in self._known and (not ours or one.startswith(TITLED))), None)

    def _ask_dois(self, records: Sequence[PaperRecord]) -> None:
        """Papers with the DOIs of the records."""
        dois = _dois(records)
        if not dois:
            return
        columns = select(PaperRow.id, PaperRow.title_key, PaperRow.url, PaperRow.doi)
        for paper, key, url, doi in self._session.execute(
            columns.where(PaperRow.doi.in_(dois)).order_by(PaperRow.created_at)
        ):
            if paper not in self._known:
                self._know(paper, key, url)
            self._with_doi.setdefault(doi, []).append(paper)

    def _nameless(self, key: str) -> str | None:
        """The first paper of a title that has neither id nor address."""
        return next((one for one in self._called[key, ""] if one.startswith("title-")), None)

    def _row(self, paper: str) -> PaperRow:
        if paper not in self._rows:
            self._rows[paper] = self._session.get_one(PaperRow, paper)
        return self._rows[paper]

    def _know(self, paper: str, key: str, url: str) -> None:
        self._known[paper] = (key, url)
        self._order.setdefault(paper, len(self._order))
        for place in (place_of(url), None):
            insort(self._called[key, place], paper, key=self._order.__getitem__)

    def _forget(self, paper: str) -> None:
        key, url = self._known.pop(paper)
        for place in (place_of(url), None):
            self._called[key, place].remove(paper)


def place_of(url: str) -> str:
    """What addresses of one page have in common, whatever the scheme, www. before it, and utm_… of whoever counts."""
    head, mark, part = _PUBMED.sub(r"\1", _TRACKING.sub("", _BEGINNING.sub("", url, count=1))).partition("#")
    return head.rstrip("?&/") + mark + part


def _own_id(record: PaperRecord) -> str:
    """The id under which a record is stored where nothing like it is here."""
    return record.id or f"title-{_address_key(record.url) if record.url else title_key(record.title)}"


def _dois(records: Sequence[PaperRecord]) -> set[str]:
    return {record.doi for record in records if record.doi}


def _address_key(url: str) -> str:
    """In the place of a title's key: two items called "Editorial" are two papers."""
    return hashlib.sha256(f"address {url}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _move(session: Session, old: PaperRow, new: PaperRow) -> None:
    """Give the new row what is known of the old one, and what was done with it; drop the old one."""
    for table in (*_CHILDREN, *_PARTS, ClaimRow, CommentRow, ComplaintRow, DeliveryPaperRow, FormerRow):
        session.execute(update(table).where(table.paper_id == old.id).values(paper_id=new.id))
    former_ids.keep(session, old.id, new.id)
    session.execute(update(RemovedRow).where(RemovedRow.same_as == old.id).values(same_as=new.id))
    for name in (*WORDS, *FACTS, *_KEPT):
        setattr(new, name, getattr(old, name))
    session.flush()
    session.execute(delete(PaperRow).where(PaperRow.id == old.id))
    session.expire_all()
