"""Papers in an order of `ranking.py`: what is trending now, or what another site's formula would show first.

    page = trending(database, now=…, limit=50)          # page.papers, page.total, page.scores, page.signals
    ranked(database, "hacker-news", person_id=3)        # any order of RANKINGS; "taste" is somebody's own

Candidates are papers listed in the last 30 days, and any that lately had a vote, a comment or its stars counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import select

from foveal import faults
from foveal.database import Database
from foveal.errors import InputError
from foveal.papers.ranking import WINDOW_DAYS, Signals, ranking
from foveal.papers.schema import CommentRow, ListingRow, PaperRow, StarSampleRow, VoteRow
from foveal.papers.signals import WEEK, read_signals
from foveal.papers.store import MOST, PAGE, Paper, PaperPage, PaperStore
from foveal.papers.taste import tastes


@dataclass(frozen=True)
class RankedPage(PaperPage):
    """A page of papers with the score of each, and what it was made from (`ranking.explain(name, signals)`)."""

    ranking: str = "foveal"
    scores: tuple[float, ...] = ()
    signals: tuple[Signals, ...] = ()


def trending(
    database: Database,
    *,
    now: datetime | None = None,
    limit: int = PAGE,
    page: int = 0,
    window: timedelta = timedelta(days=WINDOW_DAYS),
    ids: Sequence[str] | None = None,
) -> RankedPage:
    """Foveal's own order; arguments are those of `ranked`."""
    return ranked(database, "foveal", now=now, limit=limit, page=page, window=window, ids=ids)


def ranked(
    database: Database,
    name: str,
    *,
    now: datetime | None = None,
    limit: int = PAGE,
    page: int = 0,
    window: timedelta = timedelta(days=WINDOW_DAYS),
    ids: Sequence[str] | None = None,
    person_id: int | None = None,
) -> RankedPage:
    """The papers of `ids` (None: the candidates of `window`) by the order called `name`, equal ones by id.

    "taste" needs somebody's `person_id`. UnknownName: no such order. InputError: no such page, or nobody to please.
    """
    _check(limit, page)
    return page_of(database, ordered(database, name, now=now, window=window, ids=ids, person_id=person_id), limit, page)


@dataclass(frozen=True)
class Order:
    """All papers of an order, best first: id, score, and what it was made from."""

    ranking: str
    places: tuple[tuple[str, float, Signals], ...]


def ordered(
    database: Database,
    name: str,
    *,
    now: datetime | None = None,
    window: timedelta = timedelta(days=WINDOW_DAYS),
    ids: Sequence[str] | None = None,
    person_id: int | None = None,
) -> Order:
    """The order that `ranked` shows a page of: it reads what was done with every candidate, so keep it for a while."""
    score = ranking(name).score
    if name == "taste" and person_id is None:
        raise InputError("The order taste is somebody's own: give person_id, or ask somebody to log in.")
    moment = now or faults.now()
    wanted = candidates(database, moment, window) if ids is None else list(dict.fromkeys(ids))
    taste = tastes(database, wanted, person_id) if name == "taste" and person_id is not None else None
    signals = read_signals(database, wanted, moment, taste=taste)
    scored = sorted((-score(known), one) for one, known in signals.items())
    return Order(name, tuple((one, -value, signals[one]) for value, one in scored))


def page_of(database: Database, order: Order, limit: int = PAGE, page: int = 0) -> RankedPage:
    """A page of an order, its papers as they are now."""
    _check(limit, page)
    best = order.places[page * limit : (page + 1) * limit]
    papers: dict[str, Paper] = {paper.id: paper for paper in PaperStore(database).many([one for one, _, _ in best])}
    shown = [(papers[one], value, known) for one, value, known in best if one in papers]
    return RankedPage(
        papers=tuple(paper for paper, _, _ in shown),
        total=len(order.places),
        page=page,
        limit=limit,
        ranking=order.ranking,
        scores=tuple(value for _, value, _ in shown),
        signals=tuple(known for _, _, known in shown),
    )


def _check(limit: int, page: int) -> None:
    if page < 0 or not 1 <= limit <= MOST:
        raise InputError(f"An order of papers got page={page}, limit={limit}; it needs 0 or more, and 1 to {MOST}.")


def candidates(database: Database, now: datetime, window: timedelta = timedelta(days=WINDOW_DAYS)) -> list[str]:
    """Ids of papers that were listed, voted for or talked about lately, or whose stars were counted, sorted."""
    today: date = now.astimezone(UTC).date()
    since = now - WEEK
    starred = select(StarSampleRow.repo_url).where(StarSampleRow.day.between(since.date(), today))
    lately = (
        select(ListingRow.paper_id).where(ListingRow.day.between(today - window, today)),
        select(VoteRow.paper_id).where(VoteRow.at.between(since, now)),
        select(CommentRow.paper_id).where(CommentRow.created_at.between(since, now), CommentRow.hidden_at.is_(None)),
        select(PaperRow.id).where(PaperRow.repo_url != "", PaperRow.repo_url.in_(starred)),
    )
    with database.reading() as session:
        return sorted({one for wanted in lately for one in session.scalars(wanted)})
