"""The tables of research, as rows of SQLAlchemy: runs, their events, summaries for later runs, watched questions.

    research_run ── research_event (numbered from 1 in each run; added to, never changed)
    research_summary (what a searcher found out, for `--reuse`; see reuse.py)
    research_watch (a question that is researched again; see watches.py)

A run's owner is a person's number, or the hash of a visitor's browser's key; runs of the command line have neither. The
number points at the table of people in the database (0003_research.py): a person who goes takes their runs along.
It is no foreign key here, since research knows nothing of people.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Double, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from foveal import faults
from foveal.database import Base, Moment


class RunRow(Base):
    """A run: what was asked, how far it is, and what its events add up to."""

    __tablename__ = "research_run"
    __table_args__ = (
        Index("ix_research_run_owner", "owner_id", "created_at"),
        Index("ix_research_run_browser", "browser_hash", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    question: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(12), default="waiting")  # waiting, running, done
    stopped_by: Mapped[str | None] = mapped_column(String(12))  # a key of answers.STOPPED
    options: Mapped[str] = mapped_column(Text, default="{}")  # JSON: sources, budget, model, as they were asked for
    used: Mapped[str] = mapped_column(Text, default="{}")  # JSON: tokens, calls, pages, seconds
    answer: Mapped[str] = mapped_column(Text, default="")
    citations: Mapped[str] = mapped_column(Text, default="[]")  # JSON, as in Researched.to_json
    owner_id: Mapped[int | None]
    browser_hash: Mapped[str] = mapped_column(String(64), default="")
    shared: Mapped[bool] = mapped_column(default=False)
    holder: Mapped[str] = mapped_column(String(80), default="")  # the process that writes its events
    held_until: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment, default=faults.now, index=True)
    changed_at: Mapped[datetime] = mapped_column(Moment, default=faults.now)


class EventRow(Base):
    """One event of a run."""

    __tablename__ = "research_event"

    run_id: Mapped[str] = mapped_column(ForeignKey("research_run.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(24))
    at: Mapped[float] = mapped_column(Double)  # seconds since the epoch
    data: Mapped[str] = mapped_column(Text)  # JSON


class SummaryRow(Base):
    """What a searcher found out on a question, from sources of these names."""

    __tablename__ = "research_summary"
    __table_args__ = (Index("ix_research_summary_place", "place", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[str] = mapped_column(String(64))  # hash of the sources, what it builds on, and the encoder
    question: Mapped[str] = mapped_column(Text)
    vector: Mapped[bytes] = mapped_column(LargeBinary)  # float32, of unit length
    found: Mapped[str] = mapped_column(Text)  # JSON: answer, origins
    at: Mapped[datetime] = mapped_column(Moment, default=faults.now)


class WatchRow(Base):
    """A question that is researched again and again."""

    __tablename__ = "research_watch"
    __table_args__ = (Index("ix_research_watch_owner", "owner_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    question: Mapped[str] = mapped_column(Text)
    options: Mapped[str] = mapped_column(Text, default="{}")  # JSON, as a run's
    every: Mapped[str] = mapped_column(String(12))  # a key of watches.EVERY
    owner_id: Mapped[int | None]
    address: Mapped[str] = mapped_column(String(320), default="")  # who is told by mail; "" = nobody
    report: Mapped[str] = mapped_column(Text, default="")  # JSON: the ledger of the last report
    run_id: Mapped[str] = mapped_column(String(32), default="")  # that made it
    looked_at: Mapped[datetime | None] = mapped_column(Moment)
    due_at: Mapped[datetime] = mapped_column(Moment, index=True)
    holder: Mapped[str] = mapped_column(String(80), default="")  # the process that looks now
    held_until: Mapped[datetime | None] = mapped_column(Moment)
    error: Mapped[str] = mapped_column(Text, default="")  # of the last look
    created_at: Mapped[datetime] = mapped_column(Moment, default=faults.now)
