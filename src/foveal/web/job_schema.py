"""The table of long jobs: what waits, runs or has ended, so that it outlives the process that does it (job_keeping.py).

A job belongs to nobody: it is found by its key, which whoever asked has in the address of a page, and it is deleted a
day after its end.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from foveal import faults
from foveal.database import Base, Moment


class JobRow(Base):
    """A job: what was asked, who does it, how far it is, what came of it."""

    __tablename__ = "web_job"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))  # a key of works.KINDS
    asked: Mapped[str] = mapped_column(Text)  # JSON: what it takes to do it again
    state: Mapped[str] = mapped_column(String(12), default="waiting", index=True)
    progress: Mapped[str] = mapped_column(Text, default="{}")  # JSON: text, done, total
    shown: Mapped[str] = mapped_column(Text, default="")  # JSON: what its page shows once it is done
    error: Mapped[str] = mapped_column(Text, default="")
    tries: Mapped[int] = mapped_column(default=0)  # times that it was begun
    wish: Mapped[str] = mapped_column(String(12), default="")  # of a page of another process: "cancel", "now"
    holder: Mapped[str] = mapped_column(String(80), default="")  # the process that has it
    held_until: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment, default=faults.now, index=True)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)
