"""How much attention a subject or a topic gets, day by day: papers listed, and votes given.

    found = counted(database, chosen(database), first, last)
    found[Series("category", "cs.CL", "cs.CL")].papers          # one number a day, from `first` to `last`

category   papers of that subject
topic      papers whose title or abstract has all words of a named search
rising     the same, of the name of a topic that rises (rising.py)
all        all papers

A paper counts on the first day that listed it; a vote on the day it was given. Days without papers count 0. A home's
history begins where its papers do (`first_day`): one old paper that somebody adds makes no years without any.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median

from sqlalchemy import func, select

from foveal.database import Database
from foveal.papers import rising
from foveal.papers.schema import CategoryRow, ListingRow, PaperRow, TopicRow, VoteRow
from foveal.papers.store import PaperStore
from foveal.retrieval.event_items import event_terms
from foveal.text.dates import EARLIEST

MOST_CATEGORIES = 40
BLOCK, SPARSE = 28, 20
"""Days that are looked at together: fewer papers in them than one in so many of the last ones', and history ends."""

MOST_OF_A_DAY = 3
"""Times the papers of a usual day that one of the last days counts for at most."""

READ_AT_ONCE = 500
"""Papers whose words are held at a time."""

_OPERATOR = re.compile(r'(?<!\S)(?:au|cat|year|org|code|ti|abs):(?:"[^"]*"|\S+)', re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Series:
    """What is counted: its kind, its key in addresses, and what it is called."""

    kind: str  # all, category, topic or rising
    key: str
    title: str
    words: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What tells it from others."""
        return f"{self.kind}:{self.key}"


@dataclass(frozen=True)
class Days:
    """One number a day."""

    papers: tuple[int, ...]
    votes: tuple[int, ...]


def chosen(database: Database) -> list[Series]:
    """All that is counted in a home: everything, the largest subjects, named searches, topics that rise."""
    counted_rows = select(CategoryRow.name).group_by(CategoryRow.name)
    largest = counted_rows.order_by(func.count().desc(), CategoryRow.name).limit(MOST_CATEGORIES)
    with database.reading() as session:
        subjects = list(session.scalars(largest))
        topics = session.execute(select(TopicRow.id, TopicRow.title, TopicRow.query).order_by(TopicRow.position)).all()
    found = [Series("all", "", "All papers"), *(Series("category", one, one) for one in subjects)]
    found += [Series("topic", key, title, words) for key, title, query in topics if (words := asked(query))]
    for one in rising.kept(database).topics:
        if words := asked(one.name):
            found.append(Series("rising", one.name[:80], one.name, words))
    return found


def asked(query: str) -> tuple[str, ...]:
    """The words that a paper must have; what narrows a search in other ways is left out."""
    return tuple(dict.fromkeys(event_terms(_OPERATOR.sub(" ", query))))


def first_day(database: Database, last: date) -> date | None:
    """The first day of a home's history up to `last`; None: it has no papers.

    Back from `last` it goes on as long as every `BLOCK` days have a share of the papers that the last ones have. Of
    these none counts for more than `MOST_OF_A_DAY` usual ones: somebody may add thousands to one.
    """
    days = PaperStore(database).days(EARLIEST, last)
    blocks: Counter[int] = Counter()
    for day, papers in days.items():
        blocks[day.toordinal() // BLOCK] += papers
    latest = [papers for day, papers in days.items() if (last - day).days < BLOCK]
    most = MOST_OF_A_DAY * median(latest or [0])
    lately = sum(min(papers, most) for papers in latest)
    block = last.toordinal() // BLOCK
    while SPARSE * blocks[block - 1] >= max(1, lately):
        block -= 1
    return min((day for day in days if day.toordinal() // BLOCK >= block), default=None)


def listed_before(database: Database, day: date) -> int:
    """Papers that were listed on earlier days: another number says that the past has changed."""
    wanted = select(func.count(func.distinct(ListingRow.paper_id))).where(ListingRow.day < day)
    with database.reading() as session:
        return session.scalar(wanted) or 0


def counted(database: Database, series: Sequence[Series], first: date, last: date) -> dict[Series, Days]:
    """The days from `first` to `last` of each; none where there is no such day."""
    width = (last - first).days + 1
    if width < 1:
        return {one: Days((), ()) for one in series}
    listed, voted = _listed(database, first, last), _voted(database, first, last)
    wanted = sorted(listed.keys() | voted.keys())
    papers = {one: [0] * width for one in series}
    votes = {one: [0] * width for one in series}
    for at in range(0, len(wanted), READ_AT_ONCE):  # the words of a year's papers are gigabytes
        known = _Contents.read(database, wanted[at : at + READ_AT_ONCE])
        for paper in known.papers:
            for one in known.holding(paper, series):
                if paper in listed:
                    papers[one][(listed[paper] - first).days] += 1
                for day in voted.get(paper, ()):
                    votes[one][(day - first).days] += 1
    return {one: Days(tuple(papers[one]), tuple(votes[one])) for one in series}


def _listed(database: Database, first: date, last: date) -> dict[str, date]:
    day = func.min(ListingRow.day)
    wanted = (
        select(ListingRow.paper_id, day)
        .join(PaperRow, PaperRow.id == ListingRow.paper_id)
        .where(PaperRow.withdrawn.is_(False))
        .group_by(ListingRow.paper_id)
        .having(day.between(first, last))
    )
    with database.reading() as session:
        return {row[0]: row[1] for row in session.execute(wanted)}


def _voted(database: Database, first: date, last: date) -> dict[str, list[date]]:
    begin, end = (datetime.combine(one, time(), UTC) for one in (first, last + timedelta(days=1)))
    found: dict[str, list[date]] = defaultdict(list)
    with database.reading() as session:
        wanted = select(VoteRow.paper_id, VoteRow.at).where(VoteRow.at >= begin, VoteRow.at < end)
        for paper, at in session.execute(wanted):
            found[paper].append(at.astimezone(UTC).date())
    return found


@dataclass(frozen=True)
class _Contents:
    """The subjects and words of some papers."""

    papers: dict[str, frozenset[str]]
    categories: dict[str, set[str]]

    @classmethod
    def read(cls, database: Database, ids: Sequence[str]) -> _Contents:
        words, categories = dict[str, frozenset[str]](), defaultdict[str, set[str]](set)
        with database.reading() as session:
            texts = select(PaperRow.id, PaperRow.title, PaperRow.abstract).where(PaperRow.id.in_(ids))
            for paper, title, abstract in session.execute(texts):
                words[paper] = frozenset(event_terms(f"{title} {abstract}"))
            held = select(CategoryRow.paper_id, CategoryRow.name).where(CategoryRow.paper_id.in_(ids))
            for paper, name in session.execute(held):
                categories[paper].add(name)
        return cls(words, dict(categories))

    def holding(self, paper: str, series: Sequence[Series]) -> list[Series]:
        """The series that a paper counts in."""
        words, subjects = self.papers[paper], self.categories.get(paper, set())
        return [
            one for one in series
            if one.kind == "all" or (one.key in subjects if one.kind == "category" else words.issuperset(one.words))
        ]  # fmt: skip
