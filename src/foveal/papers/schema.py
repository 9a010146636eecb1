"""The tables of the daily papers, as rows of SQLAlchemy: papers, their people, what the group did with them.

    paper ── author, category, keyword, link, edition (earlier versions' words), listing (the day it was shown)
          └─ vote, comment, collected (a collection's papers)          person ── vote, comment, collection
    organisation, topic, star_sample (a repository's stars by day), fetched (every request that a source made)
    pick (a curator's choice for a day to come), source (how far each source was read)
    headline (what is said of a title, beside it), kept (what was worked out from all papers)
    removed_paper (papers that a moderator took away), unlisted (days they were taken off): no source brings them back
    former_id (under which a paper stood before): an old address leads to it

A paper's `id` is its arXiv id without version, or `doc-…` / `title-…` where it has none (see records.py). Votes and
comments of other sites are counts of their own (`votes_elsewhere`), never rows of people who are not here.
"""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from foveal import faults
from foveal.database import Base, Moment


def now() -> datetime:
    """This moment, in UTC."""
    return faults.now()


class PaperRow(Base):
    """A paper, in its newest version."""

    __tablename__ = "paper"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int] = mapped_column(default=1)
    title: Mapped[str] = mapped_column(Text)
    title_key: Mapped[str] = mapped_column(String(32), index=True)
    abstract: Mapped[str] = mapped_column(Text, default="")
    published_at: Mapped[datetime | None] = mapped_column(Moment, index=True)
    updated_at: Mapped[datetime | None] = mapped_column(Moment)
    primary_category: Mapped[str] = mapped_column(String(40), default="")
    comment: Mapped[str] = mapped_column(Text, default="")
    journal_ref: Mapped[str] = mapped_column(Text, default="")
    doi: Mapped[str] = mapped_column(Text, default="", index=True)  # in lower case: DOIs of any case are one
    licence: Mapped[str] = mapped_column(Text, default="")
    url: Mapped[str] = mapped_column(Text, default="")
    project_url: Mapped[str] = mapped_column(Text, default="")
    repo_url: Mapped[str] = mapped_column(Text, default="", index=True)
    repo_stars: Mapped[int | None]
    stars_seen_at: Mapped[datetime | None] = mapped_column(Moment)
    organisation_id: Mapped[str | None] = mapped_column(ForeignKey("organisation.id"), index=True)
    author_count: Mapped[int] = mapped_column(default=0)  # may be more than the names that a source gave
    votes_elsewhere: Mapped[int] = mapped_column(default=0)
    comments_elsewhere: Mapped[int] = mapped_column(default=0)
    summary: Mapped[str] = mapped_column(Text, default="")
    summary_model: Mapped[str] = mapped_column(String(120), default="")
    thumbnail: Mapped[str] = mapped_column(Text, default="")
    source: Mapped[str] = mapped_column(String(40), default="")
    withdrawn: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    changed_at: Mapped[datetime] = mapped_column(Moment, default=now, index=True)

    authors: Mapped[list[AuthorRow]] = relationship(
        order_by="AuthorRow.position", cascade="all, delete-orphan", lazy="selectin"
    )
    categories: Mapped[list[CategoryRow]] = relationship(
        order_by="CategoryRow.position", cascade="all, delete-orphan", lazy="selectin"
    )
    keywords: Mapped[list[KeywordRow]] = relationship(
        order_by="KeywordRow.position", cascade="all, delete-orphan", lazy="selectin"
    )
    links: Mapped[list[LinkRow]] = relationship(cascade="all, delete-orphan", lazy="selectin", order_by="LinkRow.url")
    editions: Mapped[list[EditionRow]] = relationship(
        order_by="EditionRow.version", cascade="all, delete-orphan", lazy="select"
    )
    listings: Mapped[list[ListingRow]] = relationship(
        order_by="ListingRow.day", cascade="all, delete-orphan", lazy="selectin"
    )
    organisation: Mapped[OrganisationRow | None] = relationship(lazy="joined")


class AuthorRow(Base):
    """One author of one paper; `status` is none, claimed, claimed_verified or hidden."""

    __tablename__ = "author"

    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    name_key: Mapped[str] = mapped_column(String(120), index=True)
    affiliation: Mapped[str] = mapped_column(Text, default="")
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id", ondelete="SET NULL"), index=True)
    status: Mapped[str] = mapped_column(String(20), default="none")


class CategoryRow(Base):
    """A paper's subject, such as cs.CL; the primary one stands first."""

    __tablename__ = "category"

    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(40), primary_key=True, index=True)
    position: Mapped[int] = mapped_column(default=0)


class KeywordRow(Base):
    """Words of the abstract that a model or a rule chose; `model` says which."""

    __tablename__ = "keyword"

    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    words: Mapped[str] = mapped_column(String(120), index=True)
    model: Mapped[str] = mapped_column(String(120), default="")


class LinkRow(Base):
    """Something that belongs to a paper: kind is code, model, dataset, demo or page."""

    __tablename__ = "link"

    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    url: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    title: Mapped[str] = mapped_column(Text, default="")
    source: Mapped[str] = mapped_column(String(40), default="")


class EditionRow(Base):
    """Title and abstract of a version that a later one replaced."""

    __tablename__ = "edition"

    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(Text)
    abstract: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime | None] = mapped_column(Moment)


class OrganisationRow(Base):
    """A laboratory, university or company; `id` is its name in an address."""

    __tablename__ = "organisation"

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    url: Mapped[str] = mapped_column(Text, default="")


class ListingRow(Base):
    """A paper on the page of a day (UTC). `position` is the curator's order; without one, votes decide."""

    __tablename__ = "listing"

    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True, index=True)
    listed_at: Mapped[datetime] = mapped_column(Moment, default=now)
    submitted_by: Mapped[str] = mapped_column(String(80), default="")
    position: Mapped[int | None]


class StarSampleRow(Base):
    """The stars of a repository on a day."""

    __tablename__ = "star_sample"

    repo_url: Mapped[str] = mapped_column(String(200), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    stars: Mapped[int]


class TopicRow(Base):
    """A search that has a name and a page."""

    __tablename__ = "topic"

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    title: Mapped[str] = mapped_column(Text)
    query: Mapped[str] = mapped_column(Text)
    position: Mapped[int] = mapped_column(default=0)


class FetchRow(Base):
    """One request that a source made, and what it changed."""

    __tablename__ = "fetched"
    __table_args__ = (Index("ix_fetched_source_at", "source", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(String(80))
    url: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(Moment, default=now)
    status: Mapped[int] = mapped_column(default=200)
    etag: Mapped[str] = mapped_column(Text, default="")
    last_modified: Mapped[str] = mapped_column(Text, default="")
    sha256: Mapped[str] = mapped_column(String(64), default="")
    added: Mapped[int] = mapped_column(default=0)
    updated: Mapped[int] = mapped_column(default=0)
    unchanged: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(Text, default="")


class KeptRow(Base):
    """Something worked out from all papers and kept, as JSON; `made_of` says from what state of them."""

    __tablename__ = "kept"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    made_of: Mapped[str] = mapped_column(String(64), default="")
    made_at: Mapped[datetime] = mapped_column(Moment, default=now)
    value: Mapped[str] = mapped_column(Text, default="[]")


class HeadlineRow(Base):
    """What a judge said of a paper's title, and a line that a writer would put beside it; the title itself stays.

    `made_of` is a hash of title, abstract, judge and writer: another one is judged anew.
    """

    __tablename__ = "headline"

    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    made_of: Mapped[str] = mapped_column(String(64))
    label: Mapped[str] = mapped_column(String(20))
    share: Mapped[float] = mapped_column(default=0.0)  # probability of the label
    sure: Mapped[bool] = mapped_column(default=True)
    evidence: Mapped[str] = mapped_column(Text, default="")  # the sentence of the abstract that bears the title out
    judge: Mapped[str] = mapped_column(String(120))
    written: Mapped[str] = mapped_column(Text, default="")  # "" where nothing was judged better than the title
    writer: Mapped[str] = mapped_column(String(120), default="")
    made_at: Mapped[datetime] = mapped_column(Moment, default=now)


class RemovedRow(Base):
    """A paper that was taken away for good (removing.py); what it was called, so that no source brings it again.

    `same_as` is the paper that it was another entry of, "" where it was none.
    """

    __tablename__ = "removed_paper"

    paper_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    title: Mapped[str] = mapped_column(Text)
    title_key: Mapped[str] = mapped_column(String(32), index=True)
    url: Mapped[str] = mapped_column(Text, default="")
    doi: Mapped[str] = mapped_column(Text, default="", index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    same_as: Mapped[str] = mapped_column(String(64), default="")
    removed_at: Mapped[datetime] = mapped_column(Moment, default=now)


class FormerRow(Base):
    """An id that a paper had, or that its title stood for, before an archive's was known or the title was changed.

    `paper_id` is no foreign key: where that paper was removed, the old address says so as the new one does.
    """

    __tablename__ = "former_id"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    paper_id: Mapped[str] = mapped_column(String(64), index=True)


class PickRow(Base):
    """A curator's choice for a day; it becomes a listing when that day has come (curating.py)."""

    __tablename__ = "pick"

    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True, index=True)
    position: Mapped[int] = mapped_column(default=0)
    picked_by: Mapped[str] = mapped_column(String(80), default="")
    picked_at: Mapped[datetime] = mapped_column(Moment, default=now)


class UnlistedRow(Base):
    """A day's page that a paper was taken off: no source puts it there again (curating.py)."""

    __tablename__ = "unlisted"

    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(Moment, default=now)


class SourceRow(Base):
    """How far a source was read. `cursor` is the address to go on with, "" when it was read to its end."""

    __tablename__ = "source"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    ask: Mapped[str] = mapped_column(Text, default="")
    cursor: Mapped[str] = mapped_column(Text, default="")
    started_at: Mapped[datetime | None] = mapped_column(Moment)  # of the last reading
    finished_at: Mapped[datetime | None] = mapped_column(Moment)  # of the last one that came to its end
    read_to: Mapped[date | None]  # the day on which that one was begun
    error: Mapped[str] = mapped_column(Text, default="")  # of the last one


class PersonRow(Base):
    """Somebody with an account; `role` is member, curator or admin."""

    __tablename__ = "person"

    id: Mapped[int] = mapped_column(primary_key=True)
    login: Mapped[str] = mapped_column(String(40), unique=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    name: Mapped[str] = mapped_column(Text, default="")
    role: Mapped[str] = mapped_column(String(20), default="member")
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    verified_at: Mapped[datetime | None] = mapped_column(Moment)


class VoteRow(Base):
    """One person's vote for one paper."""

    __tablename__ = "vote"

    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), primary_key=True, index=True)
    at: Mapped[datetime] = mapped_column(Moment, default=now, index=True)


class CommentRow(Base):
    """A remark on a paper; `html` is `raw` made safe. `hidden_at` is set by a moderator, or by its author's delete."""

    __tablename__ = "comment"

    id: Mapped[int] = mapped_column(primary_key=True)
    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), index=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("comment.id", ondelete="SET NULL"))
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id", ondelete="SET NULL"), index=True)
    raw: Mapped[str] = mapped_column(Text)
    html: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now, index=True)
    edited_at: Mapped[datetime | None] = mapped_column(Moment)
    hidden_at: Mapped[datetime | None] = mapped_column(Moment)


class CollectionRow(Base):
    """A person's list of papers."""

    __tablename__ = "collection"
    __table_args__ = (UniqueConstraint("person_id", "slug"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    slug: Mapped[str] = mapped_column(String(80))
    title: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="")
    public: Mapped[bool] = mapped_column(default=True)
    open: Mapped[bool] = mapped_column(default=False)  # whoever is signed in may add to it
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)


class CollectedRow(Base):
    """A paper in a collection, by whoever put it there (None: somebody who is not here any more)."""

    __tablename__ = "collected"

    collection_id: Mapped[int] = mapped_column(ForeignKey("collection.id", ondelete="CASCADE"), primary_key=True)
    paper_id: Mapped[str] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True, index=True)
    position: Mapped[int] = mapped_column(default=0)
    note: Mapped[str] = mapped_column(Text, default="")
    note_changed_at: Mapped[datetime | None] = mapped_column(Moment)
    note_hidden_at: Mapped[datetime | None] = mapped_column(Moment)  # by a moderator (notes.py)
    added_at: Mapped[datetime] = mapped_column(Moment, default=now)
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id", ondelete="SET NULL"), index=True)
