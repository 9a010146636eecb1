"""What the formulas of `ranking.py` need to know of papers, read from the database in a handful of queries.

    signals = read_signals(database, ids, now)      # id -> Signals, for those that are there

Votes of 7 days   one each of people whose address is verified; one that came in an account's first day weighs `NEW`.
                  Votes at another site have no times: they count for a paper that was first listed in these 7 days
Listed            the last day that showed it, at the time it was put there: within that day, so that a day imported
                  later does not look new. Days to come do not count; without a day, when the paper was published
Stars             the last sample, and the last that is 7 days old or more (but at most 21)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foveal.database import Database
from foveal.papers.ranking import Signals
from foveal.papers.schema import (
    AuthorRow,
    CommentRow,
    LinkRow,
    ListingRow,
    PaperRow,
    PersonRow,
    StarSampleRow,
    VoteRow,
)

WEEK = timedelta(days=7)
NEW = 0.2
"""Weight of a vote that an account casts in its first day."""

FIRST_DAY = timedelta(days=1)
OLDEST_SAMPLE = timedelta(days=21)
AT_ONCE = 5000
"""Ids of one query: databases bound how many they take."""


def read_signals(
    database: Database, ids: Sequence[str], now: datetime, *, taste: Mapping[str, float] | None = None
) -> dict[str, Signals]:
    """The signals of these papers at `now`, in their order; papers that are not there are left out."""
    found: dict[str, Signals] = {}
    with database.reading() as session:
        for first in range(0, len(ids), AT_ONCE):
            found |= _signals(session, ids[first : first + AT_ONCE], now, taste or {})
    return found


def _signals(session: Session, ids: Sequence[str], now: datetime, taste: Mapping[str, float]) -> dict[str, Signals]:
    columns = (
        PaperRow.id, PaperRow.published_at, PaperRow.created_at, PaperRow.votes_elsewhere, PaperRow.comments_elsewhere,
        PaperRow.repo_url, PaperRow.project_url, PaperRow.url, PaperRow.repo_stars,
    )  # fmt: skip
    papers = {row.id: row for row in session.execute(select(*columns).where(PaperRow.id.in_(ids)))}
    first, listed, submitters = _listings(session, ids, now)
    claimed = _claimed(session, ids)
    votes, votes_7d = _votes(session, ids, now)
    comments, comments_7d = _comments(session, ids, now)
    stars = _stars(session, {row.repo_url for row in papers.values() if row.repo_url}, now.date())
    models = _counted(
        session,
        select(LinkRow.paper_id, func.count()).where(LinkRow.paper_id.in_(ids), LinkRow.kind == "model"),
        LinkRow.paper_id,
    )
    made = {}
    for one in (one for one in ids if one in papers):
        row = papers[one]
        at = listed.get(one) or row.published_at or row.created_at
        elsewhere = now - WEEK <= first.get(one, at) <= now
        today, before = stars.get(row.repo_url[:200], (None, None))
        made[one] = Signals(
            now=now.timestamp(),
            listed_at=at.timestamp(),
            votes=votes[one] + row.votes_elsewhere,
            votes_7d=votes_7d[one] + elsewhere * row.votes_elsewhere,
            comments=comments[one] + row.comments_elsewhere,
            comments_7d=comments_7d[one] + elsewhere * row.comments_elsewhere,
            comment_scores=(0,) * comments[one],
            stars=row.repo_stars if today is None else today,
            stars_7d_ago=before,
            has_url=bool(row.project_url or row.repo_url or row.url) or not one.startswith(("doc-", "title-")),
            by_author=bool(submitters.get(one, set()) & claimed.get(one, set())),
            models=models[one],
            taste=taste.get(one, 0.0),
        )
    return made


def _listings(
    session: Session, ids: Sequence[str], now: datetime
) -> tuple[dict[str, datetime], dict[str, datetime], dict[str, set[str]]]:
    """When each paper was first and last listed, up to now, and who did."""
    rows = session.execute(
        select(ListingRow.paper_id, ListingRow.day, ListingRow.listed_at, ListingRow.submitted_by).where(
            ListingRow.paper_id.in_(ids), ListingRow.day <= now.astimezone(UTC).date()
        )
    )
    begun: dict[str, datetime] = {}
    listed: dict[str, datetime] = {}
    submitters: defaultdict[str, set[str]] = defaultdict(set)
    for paper, day, at, who in rows:
        moment = within(day, at)
        begun[paper] = min(moment, begun.get(paper, moment))
        listed[paper] = max(moment, listed.get(paper, moment))
        submitters[paper].add(who)
    return begun, listed, submitters


def within(day: date, at: datetime) -> datetime:
    """`at`, moved to the nearest moment of `day` (UTC)."""
    begin = datetime.combine(day, time(), UTC)
    return min(max(at, begin), begin + timedelta(days=1))


def _claimed(session: Session, ids: Sequence[str]) -> dict[str, set[str]]:
    """Who is an author of each paper, written as in `submitted_by`: @login."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    wanted = select(AuthorRow.paper_id, PersonRow.login).join(PersonRow, PersonRow.id == AuthorRow.person_id)
    for paper, login in session.execute(
        wanted.where(AuthorRow.paper_id.in_(ids), AuthorRow.status.in_(("claimed", "claimed_verified")))
    ):
        found[paper].add(f"@{login}")
    return found


def _votes(session: Session, ids: Sequence[str], now: datetime) -> tuple[Counter[str], defaultdict[str, float]]:
    """All votes, and the weight of those of 7 days; of verified people only."""
    wanted = select(VoteRow.paper_id).join(PersonRow, PersonRow.id == VoteRow.person_id)
    wanted = wanted.where(VoteRow.paper_id.in_(ids), PersonRow.verified_at.is_not(None))
    votes = _counted(session, wanted.add_columns(func.count()), VoteRow.paper_id)
    weights: defaultdict[str, float] = defaultdict(float)
    lately = wanted.add_columns(VoteRow.at, PersonRow.created_at).where(VoteRow.at.between(now - WEEK, now))
    for paper, at, created in session.execute(lately):
        weights[paper] += NEW if at - created < FIRST_DAY else 1.0
    return votes, weights


def _comments(session: Session, ids: Sequence[str], now: datetime) -> tuple[Counter[str], Counter[str]]:
    """Comments that are shown: all, and those of 7 days."""
    shown = select(CommentRow.paper_id, func.count()).where(
        CommentRow.paper_id.in_(ids), CommentRow.hidden_at.is_(None)
    )
    lately = shown.where(CommentRow.created_at.between(now - WEEK, now))
    return _counted(session, shown, CommentRow.paper_id), _counted(session, lately, CommentRow.paper_id)


def _counted(session: Session, wanted: Any, by: Any) -> Counter[str]:
    rows = session.execute(wanted.group_by(by)).all()
    return Counter({row[0]: row[1] for row in rows})


def _stars(session: Session, repos: Iterable[str], today: date) -> dict[str, tuple[int | None, int | None]]:
    """Repository -> stars by the last sample, and by the last of 7 days ago or before."""
    names = sorted({repo[:200] for repo in repos})
    rows = session.execute(
        select(StarSampleRow.repo_url, StarSampleRow.day, StarSampleRow.stars)
        .where(StarSampleRow.repo_url.in_(names), StarSampleRow.day.between(today - OLDEST_SAMPLE, today))
        .order_by(StarSampleRow.day)
    )
    found: dict[str, tuple[int | None, int | None]] = {}
    for repo, day, stars in rows:
        before = found.get(repo, (None, None))[1]
        found[repo] = (stars, stars if day <= today - WEEK else before)
    return found
