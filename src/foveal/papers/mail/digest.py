"""Which papers a subscriber is sent, under which heading, and why.

    composer = Composer(database, trending=…, search=…, now=now)
    composer.entries(subscription, due.period)      # at most 12 Entry(paper_id, section, why), none sent lately

Sections   what the person follows, then the topics and the search of the subscription; where there is neither, what
           curators chose for the period's days, and what trends as a whole. Sections take turns, so that none crowds
           another out; a paper stands in one of them only
Trending   the order in which papers stand. One is news if it was listed in the period's days (3 for a daily digest, so
           that Monday sees the weekend; 7; 31), or is old and among the first dozen of what trends now
Search     the first twentieth of all papers, 12 to 200, counts as found: a search by meaning finds everything. One
           that cannot be asked finds nothing, and the log says so: it is one reader's, and the others get theirs. While
           the index of papers cannot be read those with a search wait (planning.py)
Follows    what was listed in the period's days counts, also where it is not among the papers that trend
Person     of the account with the address, if there is one, also where it came after the subscription
Not twice  what a digest of this subscription held in the last 30 days, what the person has read, what holds muted words
Nothing    no entry, no mail
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from foveal.database import Database
from foveal.errors import FovealError, InputError
from foveal.papers.follows import Follow, is_muted, titled
from foveal.papers.mail.sent import KEPT_DAYS
from foveal.papers.mail.subscriptions import Subscription
from foveal.papers.people_schema import DeliveryPaperRow, DeliveryRow, DigestRunRow, FollowRow, MuteRow, ReadMarkRow
from foveal.papers.periods import Period, short_date
from foveal.papers.records import name_key
from foveal.papers.schema import ListingRow, PersonRow, TopicRow
from foveal.papers.store import MOST, Paper, PaperStore

Trending = Callable[[datetime, int], Sequence[Paper]]
"""What trends at a moment, the first so many."""

Search = Callable[[str, int], Sequence[Paper]]
"""What a query finds, the first so many."""

WINDOW_DAYS = {"day": 3, "week": 7, "month": 31}

logger = logging.getLogger("foveal.papers.mail")


@dataclass(frozen=True, kw_only=True)
class DigestSettings:
    """How much is in a digest."""

    most: int = 12  # papers
    again_after_days: int = 30  # before a paper may come again, up to sent.KEPT_DAYS
    candidates: int = 200  # of what trends; of what a search finds at most
    searched_share: float = 0.05  # of all papers: how many of them a search is believed to be about

    def __post_init__(self) -> None:
        numbers = self.most >= 1 and 1 <= self.again_after_days <= KEPT_DAYS and self.candidates >= self.most
        if not (numbers and 0 < self.searched_share <= 1):
            raise InputError(
                f"{self} needs a paper at least, 1 to {KEPT_DAYS} days, as many candidates as papers, a share above 0 "
                "and up to 1."
            )


@dataclass(frozen=True)
class Entry:
    """A paper of a digest."""

    paper_id: str
    section: str
    why: str


@dataclass(frozen=True)
class Wish:
    """Something that a person wants to hear of: kind is chosen, trending, query, author, organisation or category."""

    kind: str
    value: str
    title: str


CHOSEN = Wish("chosen", "", "Chosen by a curator")
TRENDING = Wish("trending", "", "Trending")
DEFAULTS = DigestSettings()


class Composer:
    """Chooses papers for many subscribers at one moment; what they have in common is looked up once."""

    def __init__(
        self,
        database: Database,
        *,
        trending: Trending,
        search: Search,
        now: datetime,
        settings: DigestSettings = DEFAULTS,
    ) -> None:
        self.database = database
        self.settings = settings
        self.now = now
        self.papers = [paper for paper in trending(now, settings.candidates) if not paper.withdrawn]
        self.places = {paper.id: place for place, paper in enumerate(self.papers, 1)}
        self._search = search
        self._found: dict[tuple[Wish, date], list[Paper]] = {}
        self._away: FovealError | None = None  # why no search can be asked

    def entries(self, subscription: Subscription, period: Period) -> tuple[Entry, ...]:
        """The papers of a period's digest for one subscriber."""
        since = self.now.date() - timedelta(days=WINDOW_DAYS[period.kind])
        with self.database.reading() as session:
            subscription = replace(subscription, person_id=_person_of(session, subscription))
            wishes = _wishes(session, subscription)
            kept_out = self._kept_out(session, subscription)
            muted = _muted(session, subscription)
        sections = [
            (wish, iter([p for p in self._of(wish, since) if self._is_news(p, since) and p.id not in kept_out]))
            for wish in wishes
        ]
        return tuple(self._entry(paper, wish) for wish, paper in _in_turns(sections, muted, self.settings.most))

    def _of(self, wish: Wish, since: date) -> list[Paper]:
        """What fits a wish: in the order of trending, then what only the search, or the list of a follow, knows."""
        if wish == TRENDING:
            return self.papers
        if (wish, since) not in self._found:
            self._found[wish, since] = self._chosen(since) if wish == CHOSEN else self._fitting(wish, since)
        return self._found[wish, since]

    def _fitting(self, wish: Wish, since: date) -> list[Paper]:
        asked = wish.kind == "query"
        found = self._searched(wish) if asked else self._listed(wish, since)
        ids = {paper.id for paper in found}
        first = [paper for paper in self.papers if (paper.id in ids if asked else _fits(paper, wish))]
        return first + [paper for paper in found if paper.id not in self.places and not paper.withdrawn]

    def _searched(self, wish: Wish) -> Sequence[Paper]:
        """What a search finds: nothing where it cannot be asked. FovealError: none can, at this moment."""
        if self._away is not None:
            raise self._away
        try:
            return list({paper.id: paper for paper in self._search(wish.value, self._believed)}.values())
        except InputError as error:
            logger.warning("a search that somebody follows is left out of digests (%s)", type(error).__name__)
            return ()
        except FovealError as error:
            self._away = error
            raise

    def _listed(self, wish: Wish, since: date) -> Sequence[Paper]:
        """Papers of what is followed that were listed since a day, the last first."""
        days, most = Period("day", since, self.now.date()), min(self.settings.candidates, MOST)
        followed: dict[str, Any] = {wish.kind: wish.value}
        return PaperStore(self.database).page(days, sort="listed", limit=most, **followed).papers

    def _chosen(self, since: date) -> list[Paper]:
        """What curators chose for the days since one, the last day first, each in its order."""
        days, placed = ListingRow.day.between(since, self.now.date()), ListingRow.position.is_not(None)
        order = ListingRow.day.desc(), ListingRow.position, ListingRow.paper_id
        with self.database.reading() as session:
            ids = session.scalars(select(ListingRow.paper_id).where(days, placed).order_by(*order)).all()
        papers = PaperStore(self.database).many(list(dict.fromkeys(ids))[:MOST])
        return [paper for paper in papers if not paper.withdrawn]

    @cached_property
    def _believed(self) -> int:
        """How many finds of a search count: it gives an order of all papers, and knows no end of what fits."""
        share = math.ceil(PaperStore(self.database).count() * self.settings.searched_share)
        return min(self.settings.candidates, max(self.settings.most, share))

    def _is_news(self, paper: Paper, since: date) -> bool:
        lately = any(since <= listing.day <= self.now.date() for listing in paper.listings)
        return lately or self.places.get(paper.id, self.settings.most + 1) <= self.settings.most

    def _kept_out(self, session: Session, subscription: Subscription) -> set[str]:
        since = self.now - timedelta(days=self.settings.again_after_days)
        sent = (
            select(DeliveryPaperRow.paper_id)
            .join(DeliveryRow, DeliveryRow.id == DeliveryPaperRow.delivery_id)
            .join(DigestRunRow, DigestRunRow.id == DeliveryRow.run_id)
            .where(DeliveryRow.subscription_id == subscription.id, DigestRunRow.created_at >= since)
            .where(DeliveryRow.state.in_(("queued", "sending", "sent", "unknown")))
        )
        read = select(ReadMarkRow.paper_id).where(ReadMarkRow.person_id == subscription.person_id)
        return {*session.scalars(sent), *(session.scalars(read) if subscription.person_id is not None else ())}

    def _entry(self, paper: Paper, wish: Wish) -> Entry:
        return Entry(paper.id, wish.title, reason(paper, self.places.get(paper.id), self.now.date()))


def reason(paper: Paper, place: int | None, today: date) -> str:
    """Why a paper is here, in numbers: "no. 3 of what trends · 118 votes · 2 comments · 182 stars · listed Oct 1"."""
    told = [f"no. {place} of what trends"] if place else []
    counts = ((paper.all_votes, "vote"), (paper.all_comments, "comment"), (paper.repo_stars or 0, "star"))
    told += [f"{count:,} {what}{'s' * (count != 1)}" for count, what in counts if count > 0]
    if paper.listings:
        told.append(f"listed {short_date(paper.listings[-1].day, today)}")
    return " · ".join(told)


def _person_of(session: Session, subscription: Subscription) -> int | None:
    """Whose follows, mutes and read marks count: of the account that has the address, for sure."""
    if subscription.person_id is not None:
        return subscription.person_id
    own = PersonRow.email == subscription.address, PersonRow.verified_at.is_not(None)
    return session.scalar(select(PersonRow.id).where(*own))


def _wishes(session: Session, subscription: Subscription) -> list[Wish]:
    """What a subscriber asked for, in order, each once."""
    wanted: list[Wish] = []
    if subscription.person_id is not None:
        follows = select(FollowRow).where(FollowRow.person_id == subscription.person_id)
        rows = session.scalars(follows.order_by(FollowRow.created_at, FollowRow.kind, FollowRow.value)).all()
        named = titled(session, [(row.kind, row.value) for row in rows])
        wanted += [one for follow in named if (one := _followed(session, follow))]
    topics = [_topic(session, name) for name in subscription.preferences.topics]
    chosen = [one for one in topics if one]
    if query := subscription.preferences.query:
        chosen.append(Wish("query", query, f"Your search: {query}"))
    wanted += chosen or [CHOSEN, TRENDING]
    return list({(wish.kind, wish.value): wish for wish in reversed(wanted)}.values())[::-1]


def _followed(session: Session, one: Follow) -> Wish | None:
    if one.kind == "topic":
        return _topic(session, one.value)
    title = {"author": "You follow", "organisation": "From", "category": "Subject", "query": "You follow the search"}
    return Wish(one.kind, one.value, f"{title[one.kind]} {one.title}") if one.kind in title else None


def _topic(session: Session, name: str) -> Wish | None:
    row = session.get(TopicRow, name)
    return Wish("query", row.query, row.title) if row else None


def _fits(paper: Paper, wish: Wish) -> bool:
    if wish.kind == "author":
        return name_key(wish.value) in {author.key for author in paper.named_authors}
    if wish.kind == "organisation":
        return paper.organisation_id == name_key(wish.value)[:80]
    return wish.value in paper.categories or any(
        wish.value.endswith(".*") and one.startswith(wish.value[:-1]) for one in paper.categories
    )


def _muted(session: Session, subscription: Subscription) -> tuple[str, ...]:
    if subscription.person_id is None:
        return ()
    return tuple(session.scalars(select(MuteRow.words).where(MuteRow.person_id == subscription.person_id)))


def _in_turns(
    sections: Iterable[tuple[Wish, Iterator[Paper]]], muted: Sequence[str], most: int
) -> list[tuple[Wish, Paper]]:
    """Papers of the sections in turns until there are `most`, each once, section by section."""
    open_ones = list(sections)
    order = {wish: place for place, (wish, _) in enumerate(open_ones)}
    taken: dict[str, tuple[Wish, Paper]] = {}
    while open_ones and len(taken) < most:
        for section in list(open_ones):
            wish, papers = section
            new = next((p for p in papers if p.id not in taken and not is_muted(p, muted)), None)
            if new is None:
                open_ones.remove(section)
            elif len(taken) < most:
                taken[new.id] = (wish, new)
    return sorted(taken.values(), key=lambda one: order[one[0]])
